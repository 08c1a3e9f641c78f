use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::testing::{VARIANTS, variants};

fn filtered(arches: &[&str], uids: &[&str]) -> Variants {
    let owned = |list: &[&str]| list.iter().map(|item| (*item).to_owned()).collect();
    let filter = Filter { tree_arches: owned(arches), tree_variants: owned(uids) };
    Variants::parse(VARIANTS, "v.xml", &filter).unwrap()
}

fn uids(variants: &Variants) -> Vec<&str> {
    variants.all().map(|variant| variant.uid.as_str()).collect()
}

/// Wraps variants into a file, one element per line.
fn file(body: &str) -> String {
    format!("<variants>\n{body}\n</variants>")
}

fn failure(body: &str) -> String {
    Variants::parse(&file(body), "v.xml", &Filter::default()).unwrap_err().to_string()
}

const ARCHES: &str = "<arches><arch>x86_64</arch></arches>";

#[test]
fn variants_come_in_order_of_rank_and_uid() {
    let variants = variants();
    let expected =
        ["Everything", "Server", "Server-RT", "Server-HighAvailability", "Server-ResilientStorage", "Server-optional"];
    assert_eq!(uids(&variants), expected);
    assert!(variants.warnings.is_empty());
    let top: Vec<&str> = variants.top_level().map(|variant| variant.uid.as_str()).collect();
    assert_eq!(top, ["Everything", "Server", "Server-RT"]);
    let nested: Vec<&str> = variants.children("Server").map(|variant| variant.id.as_str()).collect();
    assert_eq!(nested, ["HighAvailability", "ResilientStorage", "optional"]);
    assert_eq!(variants.arches(), ["aarch64", "s390x", "x86_64"]);
}

#[test]
fn all_parts_are_read() {
    let variants = variants();
    let server = variants.get("Server").unwrap();
    assert_eq!(server.arches, ["aarch64", "x86_64"]);
    assert_eq!(server.groups[0].default, Some(true));
    assert_eq!(server.groups[1].user_visible, Some(false));
    assert!(server.groups[2].matches("system-tools") && !server.groups[2].matches("core"));
    assert_eq!(server.environments[0].display_order, Some(10));
    assert_eq!(server.environments[1].display_order, None);
    assert_eq!(server.buildinstall_packages, ["lorax-templates"]);
    assert_eq!(server.group_selection(), GroupSelection::Listed(&server.groups));

    let addon = variants.get("Server-HighAvailability").unwrap();
    assert_eq!(addon.arches, ["x86_64"], "s390x is not an architecture of the parent");
    let layered = variants.get("Server-ResilientStorage").unwrap();
    assert_eq!(layered.release.as_ref().unwrap().version, "2.1");
    let optional = variants.get("Server-optional").unwrap();
    assert_eq!((optional.kind, &optional.arches), (VariantKind::Optional, &server.arches));
    assert_eq!(optional.group_selection(), GroupSelection::Listed(&[]));

    assert_eq!(variants.get("Everything").unwrap().group_selection(), GroupSelection::All);
    let modular = variants.get("Server-RT").unwrap();
    assert_eq!(modular.group_selection(), GroupSelection::Listed(&[]));
    let modules = modular.modules.as_ref().unwrap();
    assert_eq!((modules.modules.len(), modules.koji_tags.len()), (2, 1));
}

#[test]
fn comps_are_asked_from_own_to_parent_to_siblings() {
    let variants = variants();
    let chain = |uid: &str| -> Vec<String> {
        let chain = variants.comps_chain(variants.get(uid).unwrap());
        chain.iter().map(|variant| variant.uid.to_string()).collect()
    };
    assert_eq!(chain("Server"), ["Server"]);
    assert_eq!(chain("Server-HighAvailability"), ["Server-HighAvailability", "Server"]);
    let optional = ["Server-optional", "Server", "Server-HighAvailability", "Server-ResilientStorage"];
    assert_eq!(chain("Server-optional"), optional);
}

#[test]
fn filters_leave_out_in_silence() {
    let variants = filtered(&["s390x"], &[]);
    assert_eq!(uids(&variants), ["Everything"]);
    assert_eq!(variants.get("Everything").unwrap().arches, ["s390x"]);
    assert_eq!(uids(&filtered(&["aarch64"], &[])), ["Everything", "Server", "Server-optional"]);
    assert_eq!(uids(&filtered(&[], &["Server", "Server-optional"])), ["Server", "Server-optional"]);
    assert_eq!(uids(&filtered(&[], &["Server-optional"])), Vec::<&str>::new(), "its parent is left out");
    let unknown = filtered(&[], &["Nowhere"]);
    assert!(unknown.warnings[0].contains("tree_variants names 'Nowhere'"), "{:?}", unknown.warnings);
}

#[test]
fn explicit_optional_child_wins_over_has_optional() {
    let body = format!(
        "<variant id='A' name='A' type='variant' has_optional='true'>{ARCHES}<variants>\
         <variant id='extra' name='Extra' type='optional'>{ARCHES}<groups><group>g</group></groups></variant>\
         </variants></variant>"
    );
    let variants = Variants::parse(&file(&body), "v.xml", &Filter::default()).unwrap();
    assert_eq!(uids(&variants), ["A", "A-extra"]);
}

#[test]
fn errors_name_the_line_and_the_way_out() {
    let variant = |id: &str, rest: &str| format!("<variant id='{id}' name='N' type='variant'>{rest}</variant>");
    for (body, expected) in [
        (variant("A", ""), "v.xml:2: variant has no <arch>"),
        (format!("\n{}", variant("A/B", ARCHES)), "v.xml:3: 'A/B' is not a variant id"),
        (variant("..", ARCHES), "is not a variant id"),
        (format!("{0}\n{0}", variant("A", ARCHES)), "v.xml:3: variant 'A' stands twice, first on line 2"),
        (variant("A", "<arches><arch>src</arch></arches>"), "'src' is not a tree architecture"),
        (variant("A", "<arches><arch> x86_64</arch></arches>"), "blanks around 'x86_64'; remove them"),
        (variant("A", &format!("{ARCHES}<group>x</group>")), "<group> is not allowed in <variant>"),
        (variant("A", &format!("{ARCHES}{ARCHES}")), "<arches> stands twice"),
        (variant("A", &format!("{ARCHES}text")), "<variant> contains text"),
        (variant("A", &format!("{ARCHES}<groups><group default='1'>g</group></groups>")), "use \"true\" or \"false\""),
        (variant("A", &format!("{ARCHES}<groups><group globb='true'>g</group></groups>")), "unknown attribute 'globb'"),
        (variant("A", &format!("{ARCHES}<variants><ref id='X'/></variants>")), "<ref> names 'X', which is not defined"),
        (
            variant("A", &format!("{ARCHES}<variants>{}</variants>", variant("B", ARCHES))),
            "contains a variant of type variant",
        ),
        (
            format!("<variant id='A' name='N' type='addon' has_optional='true'>{ARCHES}</variant>")
                + &variant("B", &format!("{ARCHES}<variants><ref id='A'/></variants>")),
            "'B-A' of type addon has children",
        ),
        (
            format!("<variant id='A' name='N' type='addon'>{ARCHES}</variant>")
                + &variant("A", &format!("{ARCHES}<variants><ref id='A'/></variants>")),
            "variant 'A' has its parent's id",
        ),
        (
            format!("<variant id='L' name='N' type='layered-product'>{ARCHES}</variant>")
                + &variant("B", &format!("{ARCHES}<variants><ref id='L'/></variants>")),
            "layered product has no <release>",
        ),
        (
            "<variant id='A' name='N' type='addon'><arches><arch>s390x</arch></arches></variant>".to_owned()
                + &variant("B", &format!("{ARCHES}<variants><ref id='A'/></variants>")),
            "no architecture in common with 'B'",
        ),
        (format!("<variant id='A' name='N' type='optional'>{ARCHES}</variant>"), "has_optional"),
        (format!("<variant id='A' name='N' type='spin'>{ARCHES}</variant>"), "unknown variant type 'spin'"),
        (String::new(), "no variant is defined"),
    ] {
        let error = failure(&body);
        assert!(error.contains(expected), "{body}\n{error}\nwanted: {expected}");
    }
}

#[test]
fn is_empty_false_means_false() {
    let body = format!("<variant id='A' name='A' type='variant' is_empty='false'>{ARCHES}</variant>");
    let variants = Variants::parse(&file(&body), "v.xml", &Filter::default()).unwrap();
    assert!(!variants.get("A").unwrap().is_empty);
    assert!(variants.warnings[0].starts_with("v.xml:2: is_empty"), "{:?}", variants.warnings);
    let body = body.replace("false", "true");
    let variants = Variants::parse(&file(&body), "v.xml", &Filter::default()).unwrap();
    assert!(variants.get("A").unwrap().is_empty && variants.warnings.is_empty());
}

#[test]
fn frozen_form_reads_back() {
    let variants = variants();
    let text = serde_json::to_string(&variants).unwrap();
    assert_eq!(serde_json::from_str::<Variants>(&text).unwrap(), variants);
    for (from, to) in [
        ("\"uid\":\"Everything\"", "\"uid\":\"../etc\""),
        ("\"uid\":\"Everything\"", "\"uid\":\"Server\""),
        ("\"uid\":\"Everything\"", "\"uid\":\"Nothing\""),
        ("\"id\":\"HighAvailability\"", "\"id\":\"../x\""),
        ("\"parent\":\"Server\"", "\"parent\":\"Nowhere\""),
        ("\"arches\":[\"x86_64\"]", "\"arches\":[\"../x\"]"),
        ("\"arches\":[\"x86_64\"]", "\"arches\":[]"),
    ] {
        assert!(text.contains(from), "{from}");
        assert!(serde_json::from_str::<Variants>(&text.replace(from, to)).is_err(), "{to}");
    }
}

#[test]
fn short_hostile_files_are_refused_fast() {
    let start = Instant::now();
    let groups = "<group>g</group>".repeat(20_000);
    let template = format!("<variant id='T' name='T' type='addon'>{ARCHES}<groups>{groups}</groups></variant>");
    let users: String = (0..10_000)
        .map(|n| {
            format!("<variant id='V{n}' name='V' type='variant'>{ARCHES}<variants><ref id='T'/></variants></variant>")
        })
        .collect();
    assert!(failure(&format!("{template}{users}")).contains("templates expand"));
    assert!(failure(&"<variant>".repeat(1_000_000)).contains("deeper"));
    assert!(failure(&format!("<variant id='{}'/>", "A".repeat(10_000_000))).contains("start tag is longer"));
    let bomb = "<!DOCTYPE variants [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;&a;'>]><variants>&b;</variants>";
    assert!(Variants::parse(bomb, "v.xml", &Filter::default()).is_err());
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

proptest! {
    #[test]
    fn damaged_files_never_panic(at in 0usize..VARIANTS.len(), length in 0usize..40, insert in "[<>&;\"'a/\\PC]{0,6}") {
        prop_assume!(VARIANTS.is_char_boundary(at));
        let end = (at + length).min(VARIANTS.len());
        let text = format!("{}{insert}{}", &VARIANTS[..at], &VARIANTS[end..]);
        if let Ok(variants) = Variants::parse(&text, "v.xml", &Filter::default()) {
            for variant in variants.all() {
                prop_assert!(!variant.arches.is_empty());
                prop_assert!(VariantUid::new(variant.uid.as_str()).is_ok());
            }
        }
    }
}

#[test]
fn real_files_are_read() {
    let Some(dir) = crate::testing::shared("rpms/metadata/pungi") else { return };
    let text = std::fs::read_to_string(dir.join("ultramarine/variants.xml")).unwrap();
    let variants = Variants::parse(&text, "variants.xml", &Filter::default()).unwrap();
    assert!(variants.get("Everything").is_some_and(|variant| variant.arches.contains(&"x86_64".to_owned())));
    // A template whose only variant is modular; its placeholder is plain text for us.
    let text = std::fs::read_to_string(dir.join("bodhi/variants.module.xml.j2")).unwrap();
    let variants = Variants::parse(&text, "variants.module.xml.j2", &Filter::default()).unwrap();
    assert_eq!(variants.get("Everything").unwrap().modules.as_ref().unwrap().koji_tags.len(), 1);
}
