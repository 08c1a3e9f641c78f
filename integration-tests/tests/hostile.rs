//! Hostile input through the whole program: refused by name or harmless, and never a byte outside of the target directory.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use tutti_examples::Package;
use tutti_integration_tests::{
    compose::{Compose, Run},
    corpus,
    program::{Ended, has_tool, run},
    scratch::{Scratch, write},
    sources::Tiny,
    tree::{self, Entry},
};

/// All that lies in the scratch directory but what composes may write.
fn outside(scratch: &Scratch) -> BTreeMap<String, Entry> {
    let mut found = tree::snapshot(&scratch.join(""));
    found.retain(|path, _| path != "composes" && !path.starts_with("composes/"));
    found
}

/// Composes into `composes`, beside which nothing may change; what was made there is one directory and its links.
fn composed(scratch: &Scratch, config: &Path) -> Ended {
    write(&scratch.join("sentinel/file"), "untouched");
    let target = scratch.join("composes");
    let _ = fs::remove_dir_all(&target);
    let before = outside(scratch);
    let ended = Run::default().run(config, &target);
    assert!(!ended.stderr.contains("panicked at") && ended.status < 2, "{}", ended.text());
    let after = outside(scratch);
    assert!(before == after, "changed outside of the target: {:?}\n{}", difference(&before, &after), ended.text());
    let names: Vec<_> = fs::read_dir(&target).into_iter().flatten().map(|item| item.unwrap().file_name()).collect();
    let ours = |name: &std::ffi::OsString| {
        let name = name.to_string_lossy();
        name == ".tutti-records" || ["Tiny-1-", "Corpus-99-", "latest-"].iter().any(|start| name.starts_with(start))
    };
    assert!(names.iter().all(ours) && names.len() <= 3, "{names:?}");
    ended
}

fn difference(before: &BTreeMap<String, Entry>, after: &BTreeMap<String, Entry>) -> Vec<String> {
    let changed = |path: &&String| before.get(*path) != after.get(*path);
    let paths: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    paths.into_iter().filter(changed).cloned().collect()
}

const LEADS_OUT: [&str; 5] = ["../../../../sentinel/x", "/sentinel/x", "..", "a/../../../sentinel", "a\u{1}b"];

#[test]
fn x6_names_in_rpm_headers_write_nothing_outside() {
    let scratch = Scratch::new("hostile-headers");
    let tiny = Tiny::new(&scratch.join("tiny"));
    let from = "hello-1.0-1.src.rpm";
    let mut unbuilt = Vec::new();
    for text in LEADS_OUT {
        let packages = [
            Package::binary(text, "1", "1", "x86_64").from_source(from),
            Package::binary("evil", text, "1", "x86_64").from_source(from),
            Package::binary("evil", "1", text, "x86_64").from_source(from),
            Package::binary("evil", "1", "1", text).from_source(from),
            Package::binary("evil", "1", "1", "x86_64").from_source(text),
        ];
        for (part, package) in packages.iter().enumerate() {
            let Ok(bytes) = package.to_bytes() else {
                unbuilt.push((part, text));
                continue;
            };
            let path = scratch.join("tiny/repo/evil.rpm");
            write(&path, bytes);
            let ended = composed(&scratch, &tiny.write());
            // An arch that is none, and a source that there is not, leave the package out.
            let named = ended.text().contains("evil.rpm");
            assert!(ended.status == 0 && part >= 3 || ended.status == 1 && named, "{part} {text:?}: {}", ended.text());
            fs::remove_file(path).unwrap();
        }
    }
    // Some of these cannot be built at all.
    assert_eq!(unbuilt, []);
}

#[test]
fn x6_paths_in_file_lists_are_text() {
    let scratch = Scratch::new("hostile-files");
    let tiny = Tiny::new(&scratch.join("tiny"));
    let evil = Package::binary("hello-evil", "1.0", "1", "x86_64").from_source("hello-1.0-1.src.rpm");
    let evil = evil.file("/usr/../../../../../sentinel/file", "overwritten").file("/../sentinel/new", "new");
    tiny.add("repo", &evil);
    let mut tiny = tiny;
    tiny.comps = tiny.comps.replace(">hello<", ">hello-evil<");
    let ended = composed(&scratch, &tiny.write());
    assert!(ended.status == 0 || ended.text().contains("hello-evil"), "{}", ended.text());
}

#[test]
fn x6_comps_and_variants_write_nothing_outside() {
    let scratch = Scratch::new("hostile-texts");
    let whole = Tiny::new(&scratch.join("tiny"));
    for text in &LEADS_OUT[..4] {
        type Change = fn(&mut Tiny, &str);
        let changes: [Change; 8] = [
            |tiny, text| tiny.variants = tiny.variants.replace("id=\"Server\"", &format!("id=\"{text}\"")),
            |tiny, text| tiny.variants = tiny.variants.replace("name=\"Server\"", &format!("name=\"{text}\"")),
            |tiny, text| tiny.variants = tiny.variants.replace("<arch>x86_64<", &format!("<arch>{text}<")),
            |tiny, text| tiny.variants = tiny.variants.replace(">core<", &format!(">{text}<")),
            |tiny, text| tiny.comps = tiny.comps.replace("<id>core<", &format!("<id>{text}<")),
            |tiny, text| tiny.comps = tiny.comps.replace(">hello<", &format!(">{text}<")),
            |tiny, text| tiny.config = tiny.config.replace("[\"x86_64\"]", &format!("[{text:?}]")),
            |tiny, text| {
                let file = format!("{{\"scm\": \"file\", \"file\": \"comps.xml\", \"target\": {text:?}}}");
                tiny.config.push_str(&format!("\nextra_files = [(\"^.*$\", {{\"*\": [{file}]}})]\n"));
            },
        ];
        for (part, change) in changes.into_iter().enumerate() {
            let mut tiny = whole.clone();
            change(&mut tiny, text);
            let ended = composed(&scratch, &tiny.write());
            // A display name and a package that nothing has are texts.
            assert!(ended.status == 1 || [1, 5].contains(&part), "{part} {text:?}: {}", ended.text());
        }
    }
}

#[test]
fn x6_locations_of_a_repository_read_and_write_nothing_outside() {
    if !has_tool("createrepo_c") {
        return;
    }
    let scratch = Scratch::new("hostile-repodata");
    let tiny = Tiny::new(&scratch.join("tiny"));
    let repository = scratch.join("tiny/repo");
    let secret = scratch.join("tiny/elsewhere/hello-1.0-1.x86_64.rpm");
    fs::create_dir_all(secret.parent().unwrap()).unwrap();
    for location in ["../elsewhere/hello-1.0-1.x86_64.rpm", "x/../../elsewhere/hello-1.0-1.x86_64.rpm", "/etc/passwd"] {
        let hello = repository.join("hello-1.0-1.x86_64.rpm");
        let mut command = Command::new("createrepo_c");
        command.args(["-q", "--no-database", "--general-compress-type=gz", "--simple-md-filenames"]).arg(&repository);
        let _ = run(command).expect(0);
        fs::rename(&hello, &secret).unwrap();
        let script = "set -e; cd \"$1\"; gunzip repodata/primary.xml.gz; \
            sed -i \"s|href=\\\"hello-1.0-1.x86_64.rpm|href=\\\"$2|\" repodata/primary.xml; \
            rm repodata/repomd.xml repodata/filelists* repodata/other*; \
            printf '<?xml version=\"1.0\" encoding=\"UTF-8\"?><repomd xmlns=\"http://linux.duke.edu/metadata/repo\"><data type=\"primary\"><checksum type=\"sha256\">%s</checksum><location href=\"repodata/primary.xml\"/></data></repomd>' \
            $(sha256sum repodata/primary.xml | cut -d' ' -f1) > repodata/repomd.xml; grep -q \"$2\" repodata/primary.xml";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(&repository).arg(location);
        let _ = run(command).expect(0);
        let ended = composed(&scratch, &tiny.write());
        assert!(ended.status == 1 && ended.text().contains("location"), "{}", ended.text());
        fs::rename(&secret, &hello).unwrap();
        fs::remove_dir_all(repository.join("repodata")).unwrap();
    }
}

/// Each defect that a compose of repositories can see is refused by name, one after the other, or reported.
#[test]
fn x5_every_planted_defect_is_refused_by_name_or_reported() {
    if !has_tool("createrepo_c") {
        return;
    }
    let scratch = Scratch::new("hostile-corpus");
    let Some((config, defects)) = corpus::make_broken(&scratch.join("corpus"), 30, "x86_64", 6) else { return };
    let of = |kind: &str| defects.iter().find(|defect| defect.kind == kind).unwrap_or_else(|| panic!("no {kind}"));
    let refused = |kind: &str| {
        let ended = composed(&scratch, &config);
        assert_eq!(ended.status, 1, "{kind}: {}", ended.text());
        assert!(ended.stdout.contains(&format!("{}.rpm", of(kind).nvra)), "{kind}: {}", ended.text());
    };
    refused("truncated-rpm");
    of("truncated-rpm").files.iter().for_each(|file| fs::remove_file(file).unwrap());
    // The header's own digest of the payload tells, also where metadata was made of the damaged file.
    refused("wrong-digest");
    let mut command = Command::new("createrepo_c");
    command.args(["-q", "--no-database"]).arg(scratch.join("corpus/repos/x86_64"));
    let _ = run(command).expect(0);
    refused("wrong-digest");
    // And where the file is whole again, the metadata's checksum.
    flip(&of("wrong-digest").files[0]);
    refused("wrong-digest");
    fs::remove_dir_all(scratch.join("corpus/repos/x86_64/repodata")).unwrap();

    refused("duplicate-nevra");
    let second = of("duplicate-nevra").files.iter().find(|file| file.parent().unwrap().ends_with("dup")).unwrap();
    fs::remove_file(second).unwrap();

    // What is left is no reason to refuse: an unresolved dependency where that is lenient, file paths, which are text,
    // and the missing signed copy of a Koji build, of which the repositories have the other.
    let ended = composed(&scratch, &config);
    assert_eq!(ended.status, 0, "{}", ended.text());
    let target = scratch.join("composes");
    let made = fs::read_dir(&target).unwrap().map(|item| item.unwrap().path());
    let compose =
        Compose::open(&made.into_iter().find(|path| !path.is_symlink() && path.join("COMPOSE_ID").exists()).unwrap());
    let log = compose.log("repoclosure.Everything.x86_64");
    assert!(log.contains("corpus-no-such-package") && log.contains(&of("missing-dependency").nvra), "{log}");
    let rpms = compose.rpms();
    for kind in ["path-traversal", "missing-signed-copy"] {
        let name = format!("{}.rpm", of(kind).nvra);
        assert!(rpms.iter().any(|path| path.ends_with(&name)), "{kind}: no {name}");
    }
}

/// What the generator did to a payload; twice is as if never.
fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.len() - 9;
    bytes[at] ^= 0x55;
    fs::write(path, bytes).unwrap();
}
