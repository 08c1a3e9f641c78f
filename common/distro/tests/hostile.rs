//! Bars X6 and X7: comps, variants and configuration that mean harm. `docs/reliability.md` says what was seen when each
//! protection is taken away.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests may panic")]

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use tutti_bounded::{Limits, input_limit, peak_below};
use tutti_distro::compose_id::ComposeId;
use tutti_distro::comps::Comps;
use tutti_distro::config::parse_conf;
use tutti_distro::extra_files::target_path;
use tutti_distro::layout::{PackageDirectories, check_file_name, package_path};
use tutti_distro::variants::{Filter, VariantUid, Variants};
use tutti_rpm::{Evr, Nevra};

const LIMITS: Limits = Limits { address_space_mib: 2048, time: Duration::from_secs(240) };
/// Against hangs; a second is promised, and asserted with `TUTTI_INPUT_LIMIT_MS=1000`.
const DEADLINE: Duration = Duration::from_secs(120);

fn comps(text: &str) -> Result<(), String> {
    Comps::parse(text, "comps.xml").map(|_| ()).map_err(|error| error.to_string())
}

fn variants(text: &str) -> Result<(), String> {
    Variants::parse(text, "variants.xml", &Filter::default()).map(|_| ()).map_err(|error| error.to_string())
}

type Parse = fn(&str) -> Result<(), String>;

/// Feeds one document at a time, so that only the largest counts.
fn refused(parse: Parse, file: &str, name: &str, reason: &str, text: String) {
    let started = Instant::now();
    let error = parse(&text).unwrap_err();
    println!("{file}: {name} of {} KiB: {} ms: {error}", text.len() / 1024, started.elapsed().as_millis());
    assert!(error.starts_with(&format!("{file}:")) && error.contains(reason), "{name}: {error}");
    assert!(error.len() < 400, "{name}: a message of {} bytes", error.len());
    assert!(started.elapsed() < input_limit(DEADLINE), "{name}");
}

fn laughs(root: &str) -> String {
    let mut text = format!("<!DOCTYPE {root} [<!ENTITY l0 'ha'>");
    for level in 1..10 {
        let _ = write!(text, "<!ENTITY l{level} '{}'>", format!("&l{};", level - 1).repeat(10));
    }
    text + &format!("]><{root}>&l9;</{root}>")
}

fn quadratic(root: &str) -> String {
    let entity = "x".repeat(100_000);
    format!("<!DOCTYPE {root} [<!ENTITY q '{entity}'>]><{root}>{}</{root}>", "&q;".repeat(100_000))
}

/// `<root>`, then `unit` as often as it takes to fill 8 MiB; without a second copy, which would count as memory.
fn filled(root: &str, head: &str, unit: &str) -> String {
    let size = 8 << 20;
    let mut text = String::with_capacity(size + unit.len() + 100);
    let _ = write!(text, "<{root}{head}");
    while text.len() < size {
        text.push_str(unit);
    }
    text
}

fn bombs(parse: Parse, root: &str, file: &str) {
    let refuse = |name, reason, text| refused(parse, file, name, reason, text);
    refuse("billion laughs", "entities are not expanded", laughs(root));
    refuse("quadratic blowup", "entities are not expanded", quadratic(root));
    refuse("depth of a million", "nest deeper than", "<a>".repeat(1_000_000));
    refuse("depth below the root", "nest deeper than", format!("<{root}>{}", "<a>".repeat(1_000_000)));
    refuse("large attribute", "start tag is longer", filled(root, " a='", "x") + "'/>");
    refuse("large name", "start tag is longer", filled(root, "", "x") + "/>");
    refuse("large text", "is longer than", filled(root, ">", "x") + &format!("</{root}>"));
    refuse("text in pieces", "is longer than", filled(root, ">", "x<!---->"));
    refuse("many elements", "MiB of memory", filled(root, ">", "<a/>"));
    refuse("many elements in a row of pairs", "MiB of memory", filled(root, ">", "<a><b/></a>"));
    let attributes: String = (0..30).map(|number| format!(" a{number}=''")).collect();
    refuse("many attributes", "MiB of memory", filled(root, ">", &format!("<a{attributes}/>")));
    refuse("many texts", "is not closed", filled(root, ">", &format!("<a>{}</a>", "x".repeat(60 << 10))));
    refuse("document of 16 MiB", "larger than 16 MiB", " ".repeat((16 << 20) + 1));
    for entity in ["SYSTEM 'file:///etc/passwd'", "SYSTEM 'http://localhost/x'", "PUBLIC 'x' 'file:///etc/passwd'"] {
        let head = format!("<!DOCTYPE {root} [<!ENTITY e {entity}><!ENTITY % p {entity}> %p;]>");
        refuse("external entity in text", "entities are not expanded", format!("{head}<{root}>&e;</{root}>"));
        refuse("external entity in attribute", "entities are not expanded", format!("{head}<{root} a='&e;'/>"));
    }
}

#[test]
fn x7_xml_bombs_as_comps() {
    peak_below("x7_xml_bombs_as_comps", 64, LIMITS, || bombs(comps, "comps", "comps.xml"));
}

#[test]
fn x7_xml_bombs_as_variants() {
    peak_below("x7_xml_bombs_as_variants", 64, LIMITS, || bombs(variants, "variants", "variants.xml"));
}

/// An external DTD is named by every real file; it is never fetched, and what it says does not count.
#[test]
fn x7_a_document_type_is_read_over() {
    comps("<!DOCTYPE comps SYSTEM 'file:///dev/zero'><comps/>").unwrap();
}

/// The largest comps known, three times over, still fits.
#[test]
fn x7_a_large_real_comps_is_read() {
    let mut text = String::from("<comps>");
    for group in 0..600 {
        let _ = write!(text, "<group><id>g{group}</id>");
        for language in 0..90 {
            let _ = write!(text, "<name xml:lang='l{language}'>A name of the group {group}</name>");
        }
        text += "<packagelist>";
        for package in 0..50 {
            let _ = write!(text, "<packagereq type='default'>package-{package}</packagereq>");
        }
        text += "</packagelist></group>";
    }
    text += "</comps>";
    assert!(text.len() > 4 << 20, "{}", text.len());
    let (read, _) = Comps::parse(&text, "comps.xml").unwrap();
    assert_eq!(read.groups.len(), 600);
}

/// The same tricks in the configuration's own language.
#[test]
fn x7_configuration_bombs() {
    peak_below("x7_configuration_bombs", 256, LIMITS, || {
        let mut doubling = String::from("v0 = ['x']\n");
        for level in 1..64 {
            let _ = writeln!(doubling, "v{level} = [v{0}, v{0}]", level - 1);
        }
        let mut format = String::from("f0 = 'xxxxxxxxxx'\n");
        for level in 1..40 {
            let _ = writeln!(format, "f{level} = '%s%s' % (f{0}, f{0})", level - 1);
        }
        let bombs = [
            ("doubled lists", doubling),
            ("doubled texts", format),
            ("depth", format!("a = {}", "[".repeat(1_000_000))),
            ("depth of dictionaries", format!("a = {}", "{'a':".repeat(500_000))),
            ("width", "a = '%999999999d' % 1".to_owned()),
            ("precision", "a = '%.999999999f' % 1.0".to_owned()),
            ("string", format!("a = '{}'", "x".repeat(8 << 20))),
            ("digits", format!("a = {}", "9".repeat(1 << 20))),
            ("name", "a".repeat(8 << 20)),
        ];
        for (name, text) in bombs {
            let started = Instant::now();
            let error = parse_conf(&text, "bomb.conf").unwrap_err().to_string();
            println!("{name}: {} ms: {error}", started.elapsed().as_millis());
            assert!(error.contains("bomb.conf:") && error.len() < 1000, "{name}: {error}");
            assert!(started.elapsed() < input_limit(DEADLINE), "{name}");
        }
    });
}

/// Texts that lead out of a directory when they are made part of a path.
const TRAVERSALS: [&str; 12] =
    ["..", "../x", "../../etc/passwd", "/etc/passwd", "a/../../b", "a/b", ".", "./a", "", "a\0b", "a\nb", "\u{7f}"];

#[test]
fn x6_variant_ids_stay_in_their_directory() {
    for text in TRAVERSALS {
        assert!(VariantUid::new(text).is_err(), "{text:?}");
        if text.contains('\0') {
            continue;
        }
        let document = format!(
            "<variants><variant id='{}' name='N' type='variant'><arches><arch>x86_64</arch></arches></variant></variants>",
            text.replace('\n', "&#10;").replace('\u{7f}', "&#127;")
        );
        let error = variants(&document).unwrap_err();
        assert!(error.starts_with("variants.xml:1: "), "{text:?}: {error}");
        let document = format!(
            "<variants><variant id='V' name='N' type='variant'><arches><arch>{text}</arch></arches></variant></variants>"
        );
        let error = variants(&document).unwrap_err();
        assert!(error.starts_with("variants.xml:"), "{text:?}: {error}");
    }
}

#[test]
fn x6_package_names_stay_in_their_directory() {
    let parts = |texts: [&str; 4]| {
        let [name, version, release, arch] = texts.map(str::to_owned);
        Nevra { name, evr: Evr { epoch: None, version, release }, arch }
    };
    for text in ["../x", "../../etc/passwd", "/etc/passwd", "a/b", "a\0b", "a\nb", &"a".repeat(300)] {
        for place in 0..4 {
            let mut texts = ["bash", "5", "1", "noarch"];
            texts[place] = text;
            for directories in [PackageDirectories::Flat, PackageDirectories::Hashed] {
                let error = package_path(&parts(texts), directories).unwrap_err();
                assert!(error.to_string().contains("not safe as a file name"), "{error}");
            }
        }
        assert!(check_file_name(text).is_err());
    }
    // Alone in first place, a dot would hide the file and a dash would be an option to tools.
    for name in [".", "..", ".hidden", "-rf", ""] {
        let path = package_path(&parts([name, "5", "1", "noarch"]), PackageDirectories::Hashed);
        assert!(path.is_err(), "{name:?}: {path:?}");
    }
    assert_eq!(
        package_path(&parts(["Ärger", "5", "1", "noarch"]), PackageDirectories::Hashed).unwrap(),
        "ä/Ärger-5-1.noarch.rpm"
    );
}

#[test]
fn x6_extra_files_stay_in_their_tree() {
    for (target, file) in [
        ("..", "a"),
        ("a/../..", "b"),
        ("/etc", "passwd"),
        ("a", "../../b"),
        ("a", "/etc/passwd"),
        ("", ".."),
        ("", ""),
        ("a\0", "b"),
        ("a", "b\n"),
        ("", "repodata/repomd.xml"),
        ("./repodata", "x"),
        ("", ".treeinfo"),
    ] {
        assert!(target_path(Some(target), file).is_err(), "{target:?} {file:?}");
    }
    assert_eq!(target_path(Some("./a//b/"), "c").unwrap(), "a/b/c");
}

#[test]
fn x6_compose_ids_are_one_name() {
    for text in TRAVERSALS {
        assert!(ComposeId::new(text).is_err(), "{text:?}");
    }
}
