//! What is wrong ends with one clear error that names the file and the way out, never with a panic, and never with a tree
//! that looks finished.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

use std::{fs, path::Path};

use tutti_examples::Package;
use tutti_integration_tests::{
    compose::{Compose, Run, jobs},
    program::{Ended, has_tool, run, tutti},
    scratch::{Scratch, write},
    sources::{self, Tiny},
    stream::text,
    tree,
};

/// Composes what must not be composed; checks that nothing looks finished, and returns what the program said.
fn refused(scratch: &Scratch, config: &Path) -> Ended {
    let target = scratch.join("composes");
    let ended = Run::default().run(config, &target).expect(1);
    for (path, _) in tree_or_nothing(&target) {
        assert!(!path.starts_with("latest-"), "a failed compose is the latest");
        if path.ends_with("/STATUS") {
            let status = fs::read_to_string(target.join(&path)).unwrap();
            assert_eq!(status.trim(), "DOOMED", "{}", ended.text());
        }
    }
    ended
}

fn tree_or_nothing(top: &Path) -> Vec<(String, (char, u64))> {
    if top.exists() { tree::list(top).into_iter().collect() } else { Vec::new() }
}

/// The error stands once, is short, and says all of this.
fn says(ended: &Ended, parts: &[&str]) {
    for part in parts {
        assert!(ended.stderr.contains(part) || ended.stdout.contains(part), "no {part:?} in\n{}", ended.text());
    }
    assert!(ended.stderr.lines().filter(|line| line.starts_with("error")).count() <= 1, "{}", ended.text());
}

/// Refused before anything was made.
fn says_at_once(scratch: &Scratch, config: &Path, parts: &[&str]) {
    let ended = refused(scratch, config);
    assert!(ended.stderr.lines().any(|line| line.starts_with("error")), "{}", ended.text());
    assert!(ended.stderr.lines().count() <= 20, "too much to read: {}", ended.text());
    says(&ended, parts);
    let left: Vec<String> = tree_or_nothing(&scratch.join("composes")).into_iter().map(|(path, _)| path).collect();
    assert_eq!(left, Vec::<String>::new(), "left behind");
}

#[test]
fn missing_configuration() {
    let scratch = Scratch::new("bad-missing");
    says_at_once(&scratch, &scratch.join("nowhere.conf"), &["nowhere.conf", "No such file"]);
}

#[test]
fn picture_as_configuration() {
    let scratch = Scratch::new("bad-picture");
    let picture = scratch.join("picture.conf");
    write(&picture, b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89");
    says_at_once(&scratch, &picture, &["picture.conf"]);
    let directory = scratch.join("directory.conf");
    fs::create_dir(&directory).unwrap();
    says_at_once(&scratch, &directory, &["directory.conf"]);
}

#[test]
fn wrong_type_and_duplicate_key() {
    let scratch = Scratch::new("bad-type");
    let mut tiny = Tiny::new(&scratch.join("tiny"));
    tiny.config.push_str("hashed_directories = \"yes\"\n");
    says_at_once(&scratch, &tiny.write(), &["compose.conf", "hashed_directories"]);
    let mut tiny = Tiny::new(&scratch.join("tiny"));
    tiny.config.push_str("createrepo_extra_args = []\nmultilib_blacklist = {\"*\": [], \"*\": []}\n");
    says_at_once(&scratch, &tiny.write(), &["compose.conf", "duplicate"]);
}

/// Names of what is nowhere are no errors, as configurations are shared; they are said with their lines.
#[test]
fn names_of_what_is_nowhere_are_warnings_with_their_lines() {
    let scratch = Scratch::new("bad-names");
    let mut tiny = Tiny::new(&scratch.join("tiny"));
    tiny.config = tiny.config.replace("{\"*\": [\"repo\"]}", "{\"*\": [\"repo\", \"nowhere\"], \"vax\": \"repo\"}");
    let lines = tiny.config.lines().count();
    tiny.config += "failable_deliverables = [('^Sever$', {'*': ['repo']}),\n    ('^Server$', {'s390x': ['repo'], 'src': ['repo']})]\n";
    tiny.config += "additional_packages = [('^Server$', {'*': ['hello']})]\n";
    tiny.config += "gather_lookaside_repos = [('^Server$', {'x86_64': 'compose.conf'})]\n";
    let config = tiny.write();
    let mut check = tutti(["config", "check"]);
    check.arg(&config);
    let ended = run(check).expect(0);
    let at = |line: usize| format!("warning: {}:{line}: ", config.display());
    let repos = 1 + tiny.config.lines().position(|line| line.contains("pkgset_repos")).unwrap();
    let mut warnings = vec![
        format!(
            "{}failable_deliverables: \"^Sever$\" fits no variant, so this has no effect; variants: Server",
            at(lines + 1)
        ),
        format!(
            "{}failable_deliverables: no variant that fits \"^Server$\" has the architecture \"s390x\"",
            at(lines + 2)
        ),
    ];
    let shown = |name: &str| scratch.join("tiny").join(name).display().to_string();
    for (line, part) in [
        (repos, format!("pkgset_repos: \"{}\" cannot be looked at: No such file", shown("nowhere"))),
        (repos, "pkgset_repos: \"vax\" is an architecture of no variant".to_owned()),
        (lines + 4, format!("gather_lookaside_repos: \"{}\" is no directory", shown("compose.conf"))),
    ] {
        warnings.push(at(line) + &part);
    }
    for warning in &warnings {
        assert!(ended.stderr.contains(warning), "no {warning:?} in\n{}", ended.stderr);
    }
    assert_eq!(ended.stderr.lines().count(), warnings.len(), "{}", ended.stderr);
}

#[test]
fn unknown_option_is_a_warning_with_the_nearest_name() {
    let scratch = Scratch::new("bad-option");
    let mut tiny = Tiny::new(&scratch.join("tiny"));
    tiny.config.push_str("hashed_directory = True\n");
    let ended = Run::default().run(&tiny.write(), &scratch.join("composes")).expect(0);
    says(&ended, &["hashed_directory", "hashed_directories"]);
}

/// Real comps do that (Fedora 41's workstation names `eclipse`), so it is left out, as Pungi's comps_filter does, and that
/// is said. A variant that asks for a group by name is another matter: see below.
#[test]
fn environment_that_names_an_undefined_group_loses_it() {
    let scratch = Scratch::new("bad-comps");
    let mut tiny = Tiny::new(&scratch.join("tiny"));
    tiny.comps = tiny.comps.replace(
        "</comps>",
        "<environment><id>e</id><name>E</name><grouplist><groupid>core</groupid><groupid>nowhere</groupid></grouplist>\
         </environment></comps>",
    );
    let environments = "<environments><environment>e</environment></environments>";
    tiny.variants = tiny.variants.replace("</groups>", &format!("</groups>{environments}"));
    let ended = Run::default().run(&tiny.write(), &scratch.join("composes")).expect(0);
    says(&ended, &["warning", "nowhere", "not defined"]);
    let compose = newest(&scratch.join("composes"));
    let repodata = compose.tree("Server/x86_64/os/repodata");
    let name = tree::list(&repodata).into_keys().find(|name| name.ends_with("-comps.xml.zst")).unwrap();
    let comps = zstd::decode_all(fs::File::open(repodata.join(name)).unwrap()).unwrap();
    let comps = String::from_utf8(comps).unwrap();
    assert!(comps.contains("<groupid>core</groupid>") && !comps.contains("nowhere"), "{comps}");
}

#[test]
fn variant_that_names_an_undefined_group() {
    let scratch = Scratch::new("bad-group");
    let mut tiny = Tiny::new(&scratch.join("tiny"));
    tiny.variants = tiny.variants.replace(">core<", ">cores<");
    let ended = refused(&scratch, &tiny.write());
    says(&ended, &["cores", "Server"]);
}

#[test]
fn variant_without_packages() {
    let scratch = Scratch::new("bad-empty");
    let mut tiny = Tiny::new(&scratch.join("tiny"));
    tiny.comps = tiny.comps.replace(">hello<", ">unknown-package<");
    let ended = refused(&scratch, &tiny.write());
    says(&ended, &["Server", "x86_64"]);
}

#[test]
fn broken_variants() {
    let scratch = Scratch::new("bad-variants");
    let mut tiny = Tiny::new(&scratch.join("tiny"));
    tiny.variants = tiny.variants.replace("</variants>", "");
    says_at_once(&scratch, &tiny.write(), &["variants.xml"]);
    let mut tiny = Tiny::new(&scratch.join("tiny"));
    tiny.variants = tiny.variants.replace("id=\"Server\"", "id=\"../Server\"");
    says_at_once(&scratch, &tiny.write(), &["variants.xml", "../Server"]);
}

#[test]
fn missing_repository() {
    let scratch = Scratch::new("bad-repository");
    let mut tiny = Tiny::new(&scratch.join("tiny"));
    tiny.config = tiny.config.replace("\"repo\"", "\"nowhere\"");
    let ended = refused(&scratch, &tiny.write());
    says(&ended, &["nowhere"]);
}

#[test]
fn repository_whose_metadata_does_not_match_its_checksum() {
    if !has_tool("createrepo_c") {
        return;
    }
    let scratch = Scratch::new("bad-checksum");
    let tiny = Tiny::new(&scratch.join("tiny"));
    index(&tiny);
    let repodata = scratch.join("tiny/repo/repodata");
    for path in tree::list(&repodata).into_keys().filter(|path| path.contains("primary")) {
        let mut bytes = fs::read(repodata.join(&path)).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(repodata.join(&path), bytes).unwrap();
    }
    let ended = refused(&scratch, &tiny.write());
    says(&ended, &["primary", "checksum"]);
}

#[test]
fn package_that_is_not_what_the_metadata_says() {
    if !has_tool("createrepo_c") {
        return;
    }
    let scratch = Scratch::new("bad-package-checksum");
    let tiny = Tiny::new(&scratch.join("tiny"));
    index(&tiny);
    let path = scratch.join("tiny/repo/hello-1.0-1.x86_64.rpm");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 7]).unwrap();
    let ended = refused(&scratch, &tiny.write());
    says(&ended, &["hello-1.0-1.x86_64.rpm"]);
}

fn index(tiny: &Tiny) {
    let mut command = std::process::Command::new("createrepo_c");
    command.args(["-q", "--no-database"]).arg(tiny.directory.join("repo"));
    let _ = tutti_integration_tests::program::run(command).expect(0);
}

#[test]
fn truncated_package() {
    let scratch = Scratch::new("bad-truncated");
    let tiny = Tiny::new(&scratch.join("tiny"));
    let path = scratch.join("tiny/repo/hello-1.0-1.x86_64.rpm");
    let bytes = fs::read(&path).unwrap();
    let config = tiny.write();
    // In the payload, in the header, in the lead, and nothing at all.
    for length in [bytes.len() - 9, 900, 50, 0] {
        fs::write(&path, &bytes[..length]).unwrap();
        let ended = refused(&scratch, &config);
        says(&ended, &["hello-1.0-1.x86_64.rpm"]);
    }
}

#[test]
fn two_files_with_one_nevra() {
    let scratch = Scratch::new("bad-twice");
    let tiny = Tiny::new(&scratch.join("tiny"));
    let other = Package::binary("hello", "1.0", "1", "x86_64")
        .from_source("hello-1.0-1.src.rpm")
        .file("/usr/bin/hello", "other\n");
    tiny.add("repo/more", &other);
    let ended = refused(&scratch, &tiny.write());
    says(&ended, &["hello-1.0-1.x86_64", "repo/more"]);
    // The same file twice is no contradiction.
    fs::copy(scratch.join("tiny/repo/hello-1.0-1.x86_64.rpm"), scratch.join("tiny/repo/more/hello-1.0-1.x86_64.rpm"))
        .unwrap();
    let _ = Run::default().run(&tiny.write(), &scratch.join("good")).expect(0);
}

#[test]
fn file_name_that_contradicts_the_header() {
    let scratch = Scratch::new("bad-name");
    let tiny = Tiny::new(&scratch.join("tiny"));
    let repository = scratch.join("tiny/repo");
    fs::rename(repository.join("hello-1.0-1.x86_64.rpm"), repository.join("something-9-9.noarch.rpm")).unwrap();
    let (compose, events) = Run::default().compose(&tiny.write(), &scratch.join("composes"), 0);
    assert_eq!(compose.status(), "FINISHED");
    let rpms = compose.rpms();
    assert!(rpms.iter().any(|path| path.ends_with("/hello-1.0-1.x86_64.rpm")), "{rpms:?}");
    assert!(!rpms.iter().any(|path| path.contains("something")), "{rpms:?}");
    let all = jobs(events.last().unwrap());
    let warned =
        all.values().flat_map(|job| job["warnings"].as_array()).flatten().filter_map(|warning| warning.as_str());
    assert!(
        warned.into_iter().any(|warning| warning.contains("something-9-9.noarch.rpm")),
        "no warning names the file"
    );
}

#[test]
fn names_that_collide_in_the_tree() {
    let scratch = Scratch::new("bad-collision");
    let tiny = Tiny::new(&scratch.join("tiny"));
    // Two epochs, one file name.
    let other = Package::binary("hello", "1.0", "1", "x86_64").epoch(Some(1)).from_source("hello-1.0-1.src.rpm");
    tiny.add("repo/more", &other.file("/usr/bin/hello", "other\n"));
    let mut tiny = tiny;
    tiny.config = tiny.config.replace("gather_method = \"deps\"", "gather_method = \"nodeps\"");
    tiny.config.push_str("additional_packages = [(\"^.*$\", {\"*\": [\"*\"]})]\n");
    let ended = refused(&scratch, &tiny.write());
    says(&ended, &["hello-1.0-1.x86_64.rpm"]);
}

#[test]
fn unresolved_dependency_where_that_is_fatal() {
    let scratch = Scratch::new("bad-closure");
    let tiny = Tiny::new(&scratch.join("tiny"));
    fs::remove_file(scratch.join("tiny/repo/hello-libs-1.0-1.x86_64.rpm")).unwrap();
    let ended = refused(&scratch, &tiny.write());
    says(&ended, &["hello", "libhello.so.1"]);
    let compose = newest(&scratch.join("composes"));
    assert_eq!(compose.status(), "DOOMED");
    let all = jobs(&compose.show());
    let failed: Vec<&String> =
        all.iter().filter(|(_, job)| text(job, "state") == "failed").map(|(name, _)| name).collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
}

fn newest(target: &Path) -> Compose {
    let entries = fs::read_dir(target).unwrap().map_while(Result::ok).map(|entry| entry.path());
    let mut found: Vec<_> = entries.filter(|path| !path.is_symlink()).collect();
    found.sort();
    Compose::open(found.last().unwrap())
}

#[test]
fn the_same_id_twice() {
    let scratch = Scratch::new("bad-id");
    let config = Tiny::new(&scratch.join("tiny")).write();
    let run = Run::default().with(&["--compose-id", "Tiny-1-20260102.0", "--date", "20260102"]);
    let (first, _) = run.compose(&config, &scratch.join("composes"), 0);
    let again = run.run(&config, &scratch.join("composes")).expect(1);
    says(&again, &["Tiny-1-20260102.0", "hint"]);
    assert_eq!(first.status(), "FINISHED");
}

#[test]
fn extra_file_that_is_not_there() {
    let scratch = Scratch::new("bad-extra");
    let config = sources::demo(&scratch.join("demo"));
    fs::remove_file(scratch.join("demo/extra/EULA")).unwrap();
    let ended = refused(&scratch, &config);
    says(&ended, &["extra/EULA"]);
}

#[test]
fn comps_and_variants_that_are_not_there_or_broken() {
    let scratch = Scratch::new("bad-files");
    let mut tiny = Tiny::new(&scratch.join("tiny"));
    tiny.config = tiny.config.replace("comps.xml", "comps-2.xml");
    says_at_once(&scratch, &tiny.write(), &["comps-2.xml"]);
    let mut tiny = Tiny::new(&scratch.join("tiny"));
    tiny.config = tiny.config.replace("variants.xml", "variants-2.xml");
    says_at_once(&scratch, &tiny.write(), &["variants-2.xml"]);
    let mut tiny = Tiny::new(&scratch.join("tiny"));
    tiny.comps = tiny.comps.replace("</group>", "</grop>");
    says_at_once(&scratch, &tiny.write(), &["comps.xml"]);
    let mut tiny = Tiny::new(&scratch.join("tiny"));
    let bomb = "<!DOCTYPE comps [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;\">]><comps>";
    tiny.comps = tiny.comps.replace("<comps>", bomb).replace(">Core<", ">&b;<");
    says_at_once(&scratch, &tiny.write(), &["comps.xml"]);
}

#[test]
fn unsafe_name_in_a_header() {
    let scratch = Scratch::new("bad-unsafe");
    let tiny = Tiny::new(&scratch.join("tiny"));
    for (number, name) in ["../../evil", "e/vil", ".."].into_iter().enumerate() {
        let package = Package::binary(name, "1", "1", "x86_64").from_source("hello-1.0-1.src.rpm");
        let path = scratch.join(format!("tiny/repo/evil-{number}.rpm"));
        write(&path, package.to_bytes().unwrap());
        let ended = refused(&scratch, &tiny.write());
        says(&ended, &[&format!("evil-{number}.rpm")]);
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn damaged_packages_of_the_wild() {
    let Some(set) = tutti_integration_tests::skip::shared("rpms/damaged") else { return };
    let scratch = Scratch::new("bad-damaged");
    let tiny = Tiny::new(&scratch.join("tiny"));
    let files: Vec<String> =
        tree::list(&set).into_iter().filter(|(_, (kind, _))| *kind == 'f').map(|(path, _)| path).collect();
    assert!(files.len() >= 10, "{files:?}");
    for (number, file) in files.iter().enumerate() {
        let path = scratch.join(format!("tiny/repo/damaged-{number}.rpm"));
        fs::copy(set.join(file), &path).unwrap();
        let ended = refused(&scratch, &tiny.write());
        says(&ended, &[&format!("damaged-{number}.rpm")]);
        fs::remove_file(path).unwrap();
    }
    // Nothing else was wrong.
    let _ = Run::default().run(&tiny.write(), &scratch.join("good")).expect(0);
}
