use super::*;

/// `name.arch`, with `!` for fulltree-exclude, `+` for input, `~` for lookaside.
fn entries(text: &str) -> Vec<Entry<String>> {
    let entry = |word: &str| {
        let flags = [('!', Flag::FulltreeExclude), ('+', Flag::Input), ('~', Flag::Lookaside)];
        let (name, arch) = word.trim_end_matches(['!', '+', '~']).rsplit_once('.').unwrap();
        Entry {
            name: name.to_owned(),
            arch: arch.to_owned(),
            flags: flags.into_iter().filter(|(mark, _)| word.contains(*mark)).map(|(_, flag)| flag).collect(),
            value: word.to_owned(),
        }
    };
    text.split_whitespace().map(entry).collect()
}

fn variant(uid: &str, kind: VariantKind, binary: &str, source: &str, debug: &str) -> Variant<String> {
    let parent = (kind != VariantKind::Variant).then(|| "Server".to_owned());
    let packages = Packages { binary: entries(binary), source: entries(source), debug: entries(debug) };
    Variant { uid: uid.to_owned(), kind, parent, packages }
}

fn text(list: &[Entry<String>]) -> String {
    list.iter().map(|entry| entry.value.clone()).collect::<Vec<_>>().join(" ")
}

fn texts(variant: &Variant<String>) -> [String; 3] {
    [text(&variant.packages.binary), text(&variant.packages.source), text(&variant.packages.debug)]
}

#[test]
fn trims_in_order_of_kind() {
    let mut variants = [
        variant("Server-optional", VariantKind::Optional, "base.x ha.x lp.x ha.i x-devel.x", "lp.src x.src", ""),
        variant("Server", VariantKind::Variant, "base.x", "base.src", "base-debuginfo.x"),
        variant(
            "Server-LP",
            VariantKind::LayeredProduct,
            "lp.x ha.x base.x",
            "lp.src ha.src base.src",
            "ha-debuginfo.x",
        ),
        variant(
            "Server-HA",
            VariantKind::Addon,
            "ha.x base.x base.i sub.x! asked.x!+",
            "ha.src base.src",
            "ha-debuginfo.x",
        ),
    ];
    trim(&mut variants).unwrap();
    // sub came without being asked for, from a source package of the parent: the parent gets it.
    assert_eq!(texts(&variants[1]), ["base.x sub.x!", "base.src", "base-debuginfo.x"]);
    assert_eq!(texts(&variants[3]), ["ha.x base.i asked.x!+", "ha.src", "ha-debuginfo.x"]);
    // Binary packages of addons go, their source and debug packages stay.
    assert_eq!(texts(&variants[2]), ["lp.x", "lp.src ha.src", "ha-debuginfo.x"]);
    // Optional loses whatever addons and layered products have, by name in any architecture; base went as the name of
    // an addon package (base.i).
    assert_eq!(texts(&variants[0]), ["x-devel.x", "x.src", ""]);
}

#[test]
fn nothing_comes_to_the_parent_twice() {
    let mut variants = [
        variant("Server", VariantKind::Variant, "", "", ""),
        variant("A", VariantKind::Addon, "sub.x!", "", ""),
        variant("B", VariantKind::Addon, "sub.x!", "", ""),
        variant("O", VariantKind::Optional, "kept.x!", "", ""),
    ];
    trim(&mut variants).unwrap();
    assert_eq!(texts(&variants[0])[0], "sub.x!");
    assert_eq!(texts(&variants[1])[0], "");
    assert_eq!(texts(&variants[2])[0], "");
    assert_eq!(texts(&variants[3])[0], "kept.x!", "nothing moves out of optional variants");
}

#[test]
fn lookaside_packages_are_not_delivered() {
    let mut packages = variant("Server", VariantKind::Variant, "a.x b.x~", "a.src~", "c.x+~").packages;
    packages.retain_delivered();
    assert_eq!((text(&packages.binary).as_str(), packages.source.len(), packages.debug.len()), ("a.x", 0, 0));
}

#[test]
fn a_parent_must_be_there() {
    let mut variants = [variant("A", VariantKind::Addon, "", "", "")];
    assert_eq!(trim(&mut variants), Err(Error::Parent { uid: "A".into(), parent: Some("Server".into()) }));
}
