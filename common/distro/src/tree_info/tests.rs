use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::testing::{layered_release, python, release, variants};

const TIME: i64 = 1_795_390_200;

fn tree(uid: &str, arch: &str) -> TreeInfo {
    let variants = variants();
    TreeInfo::for_variant(&release(), &variants, variants.get(uid).unwrap(), arch, TIME).unwrap()
}

/// Lets productmd load, validate and dump files; each dump must be the file.
fn productmd_agrees(texts: &[String]) {
    let dir = tempfile::tempdir().unwrap();
    for (number, text) in texts.iter().enumerate() {
        std::fs::write(dir.path().join(format!("{number}.treeinfo")), text).unwrap();
    }
    let script = "import glob, productmd.treeinfo as t\nfor name in glob.glob('*.treeinfo'):\n    o = t.TreeInfo()\n\
                  \x20   o.load(name)\n    o.validate()\n    theirs = o.dumps()\n\
                  \x20   ours = open(name, encoding='utf-8').read()\n\
                  \x20   assert ours == theirs, ours + '--- productmd:\\n' + theirs\n    print('equal')\n";
    if let Some(output) = python("productmd", script, dir.path()) {
        assert_eq!(output.lines().count(), texts.len());
    }
}

#[test]
fn a_tree_with_an_addon() {
    let mut info = tree("Server", "x86_64");
    info.add_checksum("repodata/repomd.xml", "sha256", &"0".repeat(64));
    info.add_checksum("addons/HighAvailability/repodata/repomd.xml", "sha256", &"1".repeat(64));
    let text = info.to_text().unwrap();
    productmd_agrees(std::slice::from_ref(&text));
    insta::assert_snapshot!(text);
}

#[test]
fn a_tree_on_a_disc_with_images() {
    let mut info = tree("Server-RT", "x86_64");
    info.platforms.insert("xen".to_owned());
    for platform in ["x86_64", "xen"] {
        let images = BTreeMap::from([("kernel".to_owned(), "images/pxeboot/vmlinuz".to_owned())]);
        info.images.insert(platform.to_owned(), images);
    }
    info.main_image = Some("images/install.img".to_owned());
    info.media = Some(Media { disc_number: 1, total_discs: 2 });
    productmd_agrees(&[info.to_text().unwrap()]);
}

#[test]
fn trees_of_all_kinds() {
    let variants = variants();
    let mut texts = Vec::new();
    for release in [release(), layered_release()] {
        for variant in variants.all().filter(|variant| variant.kind != VariantKind::Addon) {
            for arch in &variant.arches {
                let info = TreeInfo::for_variant(&release, &variants, variant, arch, TIME).unwrap();
                texts.push(info.to_text().unwrap());
            }
        }
    }
    productmd_agrees(&texts);
    let addon = variants.get("Server-HighAvailability").unwrap();
    assert!(TreeInfo::for_variant(&release(), &variants, addon, "x86_64", TIME).is_none());
    let layered = tree("Server-ResilientStorage", "x86_64");
    assert_eq!(layered.release.short, "RS");
    assert_eq!(layered.base_product.as_ref().unwrap().version, "1");
    assert_eq!(layered.variants[0].uid, "Server");
    let paths = &tree("Server", "aarch64").variants[0];
    assert_eq!(paths.paths.repository.as_deref(), Some("."));
    assert!(paths.addons.is_empty(), "the addon is for x86_64 only");
}

#[test]
fn a_source_tree() {
    let mut info = tree("Server", "x86_64");
    info.arch = "src".to_owned();
    let paths = std::mem::take(&mut info.variants[0].paths);
    info.variants[0].paths.source_packages = paths.packages;
    info.variants[0].paths.source_repository = paths.repository;
    info.variants[0].addons.clear();
    let text = info.to_text().unwrap();
    assert!(text.contains("packagedir = Packages"));
    productmd_agrees(std::slice::from_ref(&text));
}

#[test]
fn what_the_format_cannot_hold_is_refused() {
    let good = tree("Server", "x86_64");
    let change = |change: &dyn Fn(&mut TreeInfo)| {
        let mut info = good.clone();
        change(&mut info);
        info.to_text().unwrap_err().to_string()
    };
    assert!(change(&|info| info.release.name = "a\n[b]".to_owned()).contains("one line"));
    assert!(change(&|info| info.variants[0].name = " a".to_owned()).contains("one line"));
    assert!(change(&|info| info.add_checksum("a:b", "md5", "0")).contains("cannot be a key"));
    assert!(change(&|info| info.add_checksum("../a", "md5", "0")).contains("inside the tree"));
    assert!(change(&|info| info.add_checksum("/a", "md5", "0")).contains("inside the tree"));
    assert!(change(&|info| info.variants[0].uid = "a]".to_owned()).contains("section"));
    assert!(change(&|info| info.variants[0].id = "a-b".to_owned()).contains("dash"));
    assert!(change(&|info| info.variants[0].addons[0].uid = "X".to_owned()).contains("parent"));
    assert!(change(&|info| info.build_timestamp = 0).contains("positive"));
    assert!(change(&|info| info.variants.clear()).contains("no variant"));
    let images = || BTreeMap::from([("xen".to_owned(), BTreeMap::new())]);
    assert!(change(&|info| info.images = images()).contains("platforms"));
}

#[test]
fn percent_signs_survive_interpolation() {
    let mut info = tree("Server", "x86_64");
    info.release.name = "100% Linux %(x)s".to_owned();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(".treeinfo"), info.to_text().unwrap()).unwrap();
    let script = "import productmd.treeinfo as t\no = t.TreeInfo()\no.load('.treeinfo')\nprint(o.release.name)";
    if let Some(output) = python("productmd", script, dir.path()) {
        assert_eq!(output.trim(), "100% Linux %(x)s");
    }
}

#[test]
fn discinfo_and_media_repo() {
    let variants = variants();
    let described = description(&release(), variants.get("Server").unwrap());
    assert_eq!(described, "Test Distribution 1.2");
    let layered = description(&release(), variants.get("Server-ResilientStorage").unwrap());
    assert_eq!(layered, "Resilient Storage 2.1 for Test Distribution 1");
    assert_eq!(description(&layered_release(), variants.get("Server").unwrap()), "Test Distribution 1.2 for Base é 9");

    let text = disc_info(TIME, &described, "x86_64", &[]).unwrap();
    assert_eq!(text, "1795390200\nTest Distribution 1.2\nx86_64\nALL\n");
    assert!(disc_info(TIME, &described, "x86_64", &[1, 2]).unwrap().ends_with("\n1,2\n"));
    assert!(disc_info(TIME, "a\nb", "x86_64", &[]).is_err() && disc_info(TIME, "", "x86_64", &[]).is_err());
    let repo = media_repo(TIME, &described).unwrap();
    let expected =
        "[InstallMedia]\nname=Test Distribution 1.2\nmediaid=1795390200\nmetadata_expire=-1\ngpgcheck=0\ncost=500\n";
    assert_eq!(repo, expected);
    assert!(media_repo(TIME, "a\nenabled=1").is_err());

    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(".discinfo"), text).unwrap();
    let script = "import productmd.discinfo as d\no = d.DiscInfo()\no.load('.discinfo')\no.validate()\n\
                  print(int(o.timestamp), o.description, o.arch, *o.disc_numbers, sep='|')";
    if let Some(output) = python("productmd", script, dir.path()) {
        assert_eq!(output.trim(), "1795390200|Test Distribution 1.2|x86_64|ALL");
    }
}

/// Values that the format takes must come back, whatever they are.
#[test]
fn odd_values_read_back() {
    let names = ["é", "a = b", "a : b", "; a", "# a", "[a]", "%", "a;b", "\"a\"", "ª²", "$HOME"];
    let mut script = String::from("import productmd.common as c\n");
    let mut ini = ini::Ini::new("x");
    for (number, name) in names.iter().enumerate() {
        ini.set("s", &format!("k{number:02}"), name).unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("x"), ini.to_text()).unwrap();
    script.push_str(
        "p = c.SortedConfigParser()\np.read_file(open('x', encoding='utf-8'))\nfor k, v in p.items('s'): print(v)",
    );
    if let Some(output) = python("productmd", &script, Path::new(dir.path())) {
        assert_eq!(output.lines().collect::<Vec<_>>(), names);
    }
}

proptest! {
    #[test]
    fn every_line_is_a_section_a_key_or_empty(name in "\\PC{0,12}", path in "[a/.=:\\[#;\\PC]{0,12}") {
        let mut info = tree("Server", "x86_64");
        info.release.name = name;
        info.add_checksum(path, "md5", "0");
        if let Ok(text) = info.to_text() {
            for line in text.lines() {
                prop_assert!(line.is_empty() || line.starts_with('[') || line.contains(" = "), "{}", line);
            }
        }
    }
}
