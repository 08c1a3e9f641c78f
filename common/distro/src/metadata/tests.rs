use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proptest::prelude::*;
use tutti_rpm::{Evr, Nevra};

use super::*;
use crate::compose_id::{ComposeType, Release};
use crate::extra_files::{ExtraFile, ExtraFiles};
use crate::testing::{compose, layered_release, python, release, variants};
use crate::variants::VariantUid;

fn uid(text: &str) -> VariantUid {
    VariantUid::new(text).unwrap()
}

fn nevra(name: &str, epoch: Option<u32>, arch: &str) -> Nevra {
    Nevra {
        name: name.to_owned(),
        evr: Evr { epoch, version: "1.0~rc1".to_owned(), release: "1.el9".to_owned() },
        arch: arch.to_owned(),
    }
}

/// Lets productmd load, validate and dump a file; the dump must be the file.
fn productmd_agrees(module: &str, class: &str, bytes: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ours"), bytes).unwrap();
    let script = format!(
        "import productmd.{module} as m\no = m.{class}()\no.load('ours')\no.validate()\n\
         theirs = o.dumps()\nours = open('ours', encoding='utf-8').read()\n\
         assert ours == theirs, ours + '\\n--- productmd:\\n' + theirs\nprint('equal')\n"
    );
    if let Some(output) = python("productmd", &script, dir.path()) {
        assert_eq!(output.trim(), "equal");
    }
}

fn composeinfo(release: &Release, kind: ComposeType, label: Option<&str>, exists: &dyn Fn(&str) -> bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let compose = compose(release, kind, label);
    compose_info(&mut bytes, &compose, release, &variants(), exists).unwrap();
    bytes
}

#[test]
fn composeinfo_is_what_productmd_dumps() {
    let all = |_: &str| true;
    productmd_agrees("composeinfo", "ComposeInfo", &composeinfo(&release(), ComposeType::Nightly, None, &all));
    productmd_agrees(
        "composeinfo",
        "ComposeInfo",
        &composeinfo(&release(), ComposeType::Production, Some("RC-1.0"), &all),
    );
    productmd_agrees(
        "composeinfo",
        "ComposeInfo",
        &composeinfo(&layered_release(), ComposeType::Test, Some("Beta-2.1"), &all),
    );
    productmd_agrees("composeinfo", "ComposeInfo", &composeinfo(&release(), ComposeType::Ci, None, &|_| false));
}

#[test]
fn composeinfo_lists_what_is_there() {
    let seen = BTreeSet::from(["Server/x86_64/os", "Server/x86_64/os/addons/HighAvailability", "Server/source/tree"]);
    let bytes = composeinfo(&release(), ComposeType::Production, Some("RC-1.0"), &|path| seen.contains(path));
    let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let payload = &value["payload"];
    assert_eq!(payload["compose"]["final"], true);
    let server = &payload["variants"]["Server"];
    let source = serde_json::json!({"aarch64": "Server/source/tree", "x86_64": "Server/source/tree"});
    let os = serde_json::json!({"x86_64": "Server/x86_64/os"});
    let expected =
        serde_json::json!({"os_tree": os, "repository": os, "source_tree": source, "source_repository": source});
    assert_eq!(server["paths"], expected);
    assert_eq!(server["variants"], serde_json::json!(["HighAvailability", "ResilientStorage", "optional"]));
    let addon = &payload["variants"]["Server-HighAvailability"]["paths"]["packages"];
    assert_eq!(addon["x86_64"], "Server/x86_64/os/addons/HighAvailability");
    assert_eq!(payload["variants"]["Server-RT"]["id"], "ServerRT");
    assert_eq!(payload["variants"]["Server-ResilientStorage"]["release"]["short"], "RS");
}

fn rpms() -> Rpms {
    let (source, bash) = (nevra("bash", Some(2), "src"), nevra("bash", Some(2), "x86_64"));
    let debug = nevra("bash-debuginfo", Some(2), "x86_64");
    let mut rpms = Rpms::default();
    for arch in ["x86_64", "aarch64"] {
        let list = [
            (&bash, Some(&source), Category::Binary, "Server/x86_64/os/Packages/b/é.rpm"),
            (&debug, Some(&source), Category::Debug, "Server/x86_64/debug/tree/Packages/b/bash-debuginfo.rpm"),
            (&source, None, Category::Source, "Server/source/tree/Packages/b/bash.src.rpm"),
        ];
        for (nevra, source, category, path) in list {
            let sigkey = (category == Category::Binary).then_some("ABCDEF01");
            let rpm = Rpm { nevra, source, path, sigkey, category };
            rpms.add(&uid("Server"), arch, rpm).unwrap();
        }
    }
    rpms
}

#[test]
fn rpms_are_what_productmd_dumps() {
    let mut bytes = Vec::new();
    rpms().write(&mut bytes, &compose(&release(), ComposeType::Nightly, None)).unwrap();
    productmd_agrees("rpms", "Rpms", &bytes);
    let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let by_source = &value["payload"]["rpms"]["Server"]["aarch64"]["bash-2:1.0~rc1-1.el9.src"];
    assert_eq!(by_source["bash-2:1.0~rc1-1.el9.x86_64"]["sigkey"], "abcdef01");
    assert_eq!(by_source["bash-2:1.0~rc1-1.el9.src"]["category"], "source");
    let mut empty = Vec::new();
    Rpms::default().write(&mut empty, &compose(&release(), ComposeType::Test, None)).unwrap();
    productmd_agrees("rpms", "Rpms", &empty);
}

#[test]
fn rpms_that_productmd_refuses_are_refused() {
    let (source, bash) = (nevra("bash", None, "src"), nevra("bash", None, "x86_64"));
    let rpm = Rpm { nevra: &bash, source: Some(&source), path: "a/b.rpm", sigkey: None, category: Category::Binary };
    let mut rpms = Rpms::default();
    let mut refused = |arch: &str, rpm: Rpm<'_>| rpms.add(&uid("A"), arch, rpm).unwrap_err().to_string();
    assert!(refused("src", rpm).contains("sources are listed under binary"));
    assert!(refused("x86-64", rpm).contains("not known to productmd"));
    assert!(refused("x86_64", Rpm { path: "/a", ..rpm }).contains("not relative"));
    assert!(refused("x86_64", Rpm { path: "a/../b", ..rpm }).contains("'..'"));
    assert!(refused("x86_64", Rpm { source: None, ..rpm }).contains("no source"));
    let category = Category::Source;
    assert!(refused("x86_64", Rpm { category, ..rpm }).contains("contradicts"));
    let nevra = &source;
    assert!(refused("x86_64", Rpm { category, nevra, ..rpm }).contains("names a source package"));
    assert_eq!(rpms, Rpms::default());
    assert_eq!(nevra_text(&bash), "bash-0:1.0~rc1-1.el9.x86_64");
}

fn image(path: &str, arch: &str, kind: &str) -> Image {
    Image {
        additional_variants: Vec::new(),
        arch: arch.to_owned(),
        bootable: true,
        checksums: BTreeMap::from([("sha256".to_owned(), "0".repeat(64)), ("md5".to_owned(), path.len().to_string())]),
        disc_count: 1,
        disc_number: 1,
        format: "iso".to_owned(),
        implant_md5: Some("a".repeat(32)),
        mtime: 1_700_000_000,
        path: path.to_owned(),
        size: 5_000_000_000,
        subvariant: "Server".to_owned(),
        r#type: kind.to_owned(),
        unified: false,
        volume_id: None,
    }
}

#[test]
fn images_are_what_productmd_dumps() {
    let mut images = Images::default();
    let server = uid("Server");
    images.add(&server, "x86_64", image("Server/x86_64/iso/b.iso", "x86_64", "dvd")).unwrap();
    images.add(&server, "x86_64", image("Server/x86_64/iso/a.iso", "x86_64", "boot")).unwrap();
    let unified = Image {
        unified: true,
        additional_variants: vec!["Client".to_owned()],
        volume_id: Some("T-1".to_owned()),
        implant_md5: None,
        ..image("Server/x86_64/iso/unified.iso", "x86_64", "dvd")
    };
    images.add(&server, "x86_64", unified).unwrap();
    let source = image("Server/source/iso/s.iso", "src", "dvd");
    images.add(&server, "x86_64", source.clone()).unwrap();
    images.add(&server, "aarch64", source).unwrap();
    let mut bytes = Vec::new();
    images.write(&mut bytes, &compose(&release(), ComposeType::Development, None)).unwrap();
    productmd_agrees("images", "Images", &bytes);
    let mut bytes = Vec::new();
    images.write(&mut bytes, &compose(&release(), ComposeType::Nightly, None)).unwrap();
    productmd_agrees("images", "Images", &bytes);
    let clash = image("Server/x86_64/iso/other-name.iso", "x86_64", "dvd");
    let error = images.add(&uid("Other"), "x86_64", clash).unwrap_err().to_string();
    assert!(error.contains("cannot be told apart"), "{error}");
}

#[test]
fn images_that_productmd_refuses_are_refused() {
    let good = image("a.iso", "x86_64", "dvd");
    let bad = [
        Image { r#type: "floppy".to_owned(), ..good.clone() },
        Image { format: "img".to_owned(), ..good.clone() },
        Image { size: 0, ..good.clone() },
        Image { checksums: BTreeMap::new(), ..good.clone() },
        Image { volume_id: Some(String::new()), ..good.clone() },
        Image { implant_md5: Some("xyz".to_owned()), ..good.clone() },
        Image { additional_variants: vec!["A".to_owned()], ..good.clone() },
        Image { path: "/a.iso".to_owned(), ..good.clone() },
    ];
    for image in bad {
        assert!(Images::default().add(&uid("A"), "x86_64", image.clone()).is_err(), "{image:?}");
    }
    assert!(Images::default().add(&uid("A"), "src", good).is_err());
}

#[test]
fn tables_are_those_of_productmd() {
    let script = "import productmd.common as c, productmd.images as i, productmd.composeinfo as o\n\
                  print(*sorted(set(c.RPM_ARCHES) - {'src', 'nosrc'}))\nprint(*i.SUPPORTED_IMAGE_TYPES)\n\
                  print(*i.SUPPORTED_IMAGE_FORMATS)\nprint(*c.RELEASE_TYPES)\nprint(*o.LABEL_NAMES)";
    let Some(output) = python("productmd", script, Path::new(".")) else { return };
    let lines: Vec<BTreeSet<&str>> = output.lines().map(|line| line.split(' ').collect()).collect();
    // A newer productmd may know more, never less than what we let through.
    let known = |line: usize, ours: &[&'static str]| ours.iter().all(|name| lines[line].contains(name));
    assert!(known(0, ARCHES));
    assert!(known(1, super::images::TYPES));
    assert!(known(2, super::images::FORMATS));
    for name in &lines[3] {
        name.parse::<crate::compose_id::ReleaseType>().unwrap();
    }
    for name in &lines[4] {
        format!("{name}-1.0").parse::<Label>().unwrap();
    }
}

#[test]
fn modules_are_what_productmd_dumps() {
    let rpms = ["b-0:1-1.x86_64".to_owned(), "a-0:1-1.x86_64".to_owned()];
    let module = Module {
        name: "nodejs",
        stream: "20",
        version: "1",
        context: "c0ffee",
        koji_tag: "module-nodejs",
        modulemd_path: "Server/x86_64/os/repodata/modules.yaml.gz",
        category: Category::Binary,
        rpms: &rpms,
    };
    let mut modules = Modules::default();
    let server = uid("Server");
    modules.add(&server, "x86_64", module).unwrap();
    let debug = Module {
        category: Category::Debug,
        modulemd_path: "Server/x86_64/debug/tree/repodata/modules.yaml.gz",
        ..module
    };
    modules.add(&server, "x86_64", debug).unwrap();
    let compose = compose(&release(), ComposeType::Nightly, None);
    let mut bytes = Vec::new();
    modules.write(&mut bytes, &compose).unwrap();
    productmd_agrees("modules", "Modules", &bytes);
    let mut empty = Vec::new();
    Modules::default().write(&mut empty, &compose).unwrap();
    productmd_agrees("modules", "Modules", &empty);
    let bad = [
        Module { stream: "", ..module },
        Module { koji_tag: "", ..module },
        Module { name: "a:b", ..module },
        Module { version: "", ..module },
        Module { modulemd_path: "/x", ..module },
    ];
    for module in bad {
        assert!(Modules::default().add(&server, "x86_64", module).is_err(), "{module:?}");
    }
}

fn extra(path: &str) -> ExtraFile {
    ExtraFile {
        checksums: BTreeMap::from([("sha256".to_owned(), "0".repeat(64))]),
        file: path.to_owned(),
        size: 35_147,
    }
}

#[test]
fn extra_files_are_what_productmd_dumps() {
    let mut files = ExtraFiles::default();
    let server = uid("Server");
    for path in ["Server/x86_64/os/GPL", "Server/x86_64/os/EULA", "Server/x86_64/os/legal/é"] {
        files.add(&server, "x86_64", extra(path)).unwrap();
    }
    assert!(files.add(&server, "x86_64", extra("/etc/passwd")).is_err());
    assert!(files.add(&server, "none", extra("GPL")).is_err());
    let mut bytes = Vec::new();
    files.write(&mut bytes, &compose(&release(), ComposeType::Nightly, None)).unwrap();
    productmd_agrees("extra_files", "ExtraFiles", &bytes);
    let mut tree = Vec::new();
    files.write_for_tree(&mut tree, "Server", "x86_64", "Server/x86_64/os").unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("all"), &bytes).unwrap();
    std::fs::write(dir.path().join("tree"), &tree).unwrap();
    let script = "import io, productmd.extra_files as e\no = e.ExtraFiles()\no.load('all')\nout = io.StringIO()\n\
                  o.dump_for_tree(out, 'Server', 'x86_64', 'Server/x86_64/os')\n\
                  assert out.getvalue() == open('tree').read(), out.getvalue()\nprint('equal')";
    if let Some(output) = python("productmd", script, dir.path()) {
        assert_eq!(output.trim(), "equal");
    }
}

#[test]
fn text_is_escaped_as_python_does() {
    let text: String = (0..0x180u32).chain([0x2028, 0xFFFF, 0x1F600]).filter_map(char::from_u32).collect();
    let mut bytes = Vec::new();
    write_json(&mut bytes, &BTreeMap::from([(text.clone(), vec![text.clone()]), (String::new(), Vec::new())])).unwrap();
    assert!(bytes.is_ascii());
    let back: BTreeMap<String, Vec<String>> = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(back[&text], [text]);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("j"), &bytes).unwrap();
    let script = "import json\ntext = open('j').read()\n\
                  again = json.dumps(json.loads(text), indent=4, sort_keys=True, separators=(',', ': '))\n\
                  assert text == again, again\nprint('equal')";
    if let Some(output) = python("json", script, dir.path()) {
        assert_eq!(output.trim(), "equal");
    }
}

proptest! {
    #[test]
    fn keys_are_sorted_and_text_survives(keys in proptest::collection::btree_map("\\PC{0,6}", "\\PC{0,6}", 0..6)) {
        let mut bytes = Vec::new();
        write_json(&mut bytes, &keys).unwrap();
        prop_assert!(bytes.is_ascii());
        prop_assert_eq!(serde_json::from_slice::<BTreeMap<String, String>>(&bytes).unwrap(), keys);
    }
}
