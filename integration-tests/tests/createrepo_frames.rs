//! Repositories in frames: others read them, and an update makes what a first run makes, out of little.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tutti_integration_tests::{
    judges,
    program::{clean, has_tool, run, tutti},
    scratch::Scratch,
    skip,
};

/// Links to all packages of the shared set, in one directory.
fn packages(scratch: &Scratch) -> Option<PathBuf> {
    let set = skip::shared("rpms")?.join("packages");
    let top = scratch.join("packages");
    fs::create_dir(&top).unwrap();
    let mut open = vec![set];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|suffix| suffix == "rpm") {
                let link = top.join(path.file_name().unwrap());
                let _ = std::os::unix::fs::symlink(&path, link);
            }
        }
    }
    Some(top)
}

fn names(top: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(top).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Name, length and `repomd.xml`: the others have their checksums in their names.
fn repodata(directory: &Path) -> (BTreeMap<String, u64>, String) {
    let repodata = directory.join("repodata");
    let size = |name: &String| fs::metadata(repodata.join(name)).unwrap().len();
    let sizes = names(&repodata).into_iter().map(|name| (name.clone(), size(&name))).collect();
    (sizes, fs::read_to_string(repodata.join("repomd.xml")).unwrap())
}

fn createrepo(arguments: &[&str], out: &Path, top: &Path) -> String {
    fs::create_dir_all(out).unwrap();
    let places = ["-o", out.to_str().unwrap(), top.to_str().unwrap()];
    run(tutti([&["createrepo", "--timestamp=1700000000"], arguments, &places].concat())).expect(0).stderr
}

#[test]
fn others_read_what_is_in_frames() {
    let scratch = Scratch::new("frames");
    let Some(top) = packages(&scratch) else { return };
    let total = names(&top).len();
    for compression in ["zstd", "gz"] {
        let path = top.display().to_string();
        createrepo(&["-z", compression], &top, &top);
        if let Some(answer) = judges::python(&["repodata", &path]) {
            let found = &answer["repositories"][&path];
            assert_eq!(found["problems"].as_array().map(Vec::len), Some(0), "{found}");
            assert_eq!(found["warnings"].as_array().map(Vec::len), Some(0), "{found}");
        }
        if has_tool("repo2solv") {
            let mut command = Command::new("repo2solv");
            command.args(["-X", "-o", &scratch.join("solv").display().to_string(), &path]);
            let _ = run(command).expect(0);
            assert!(fs::metadata(scratch.join("solv")).unwrap().len() > 100 * total as u64);
        }
        if has_tool("dnf") {
            let query = |what: &[&str]| {
                let mut command = Command::new("dnf");
                command.args(["-q", "--setopt=reposdir=/nonexistent", "--releasever", "1", "--repo", "c"]);
                command.arg(format!("--setopt=cachedir={}", scratch.join("cache").display()));
                command.arg(format!("--repofrompath=c,file://{path}")).arg("repoquery").args(what);
                clean(&mut command);
                run(command).expect(0).stdout.lines().count()
            };
            assert!(query(&["--location"]) * 10 > total * 9);
            assert!(query(&["-l"]) > 10_000 && query(&["--changelogs"]) > 1000);
        }
    }
}

#[test]
fn an_update_makes_the_bytes_of_a_first_run() {
    let scratch = Scratch::new("update");
    let Some(top) = packages(&scratch) else { return };
    let updated = scratch.join("updated");
    for compression in ["zstd", "gz"] {
        let _ = fs::remove_dir_all(&updated);
        createrepo(&["-z", compression], &updated, &top);
        for step in 0..5u32 {
            // Removed, moved to another directory, replaced by another package of that name.
            let all: Vec<String> = names(&top).into_iter().filter(|name| name.ends_with(".rpm")).collect();
            let chosen = |n: usize| all[(n * 97 + step as usize * 31) % all.len()].clone();
            let directory = top.join(format!("d{step}"));
            fs::create_dir_all(&directory).unwrap();
            let _ = fs::remove_file(top.join(chosen(1)));
            let _ = fs::rename(top.join(chosen(2)), directory.join(chosen(2)));
            if chosen(3) != chosen(4) {
                let _ = fs::rename(top.join(chosen(3)), top.join(chosen(4)));
            }
            let told = createrepo(&["-z", compression, "--update", "--workers=2"], &updated, &top);
            assert!(told.contains("taken over") && told.contains("copied"), "{told}");
            let fresh = scratch.join(format!("{compression}{step}"));
            createrepo(&["-z", compression, "--workers=1"], &fresh, &top);
            assert_eq!(repodata(&updated), repodata(&fresh), "step {step}");
            let told = createrepo(&["-z", compression, "--update"], &updated, &top);
            assert!(told.contains("nothing changed"), "{told}");
        }
    }
}

/// Filelists of other packages, with an index and checksums that fit: the packages are read anew.
#[test]
fn frames_of_other_packages_are_not_copied() {
    let scratch = Scratch::new("forged");
    let Some(top) = packages(&scratch) else { return };
    let all: Vec<String> = names(&top);
    let half = all.len() / 2;
    for (name, part) in [("a", &all[..half]), ("b", &all[half..half * 2])] {
        fs::create_dir(scratch.join(name)).unwrap();
        for package in part {
            std::os::unix::fs::symlink(top.join(package), scratch.join(name).join(package)).unwrap();
        }
        createrepo(&[], &scratch.join(format!("{name}-out")), &scratch.join(name));
    }
    let record = |name: &str| {
        let text = fs::read_to_string(scratch.join(format!("{name}-out/repodata/repomd.xml"))).unwrap();
        let start = text.find("<data type=\"filelists\">").unwrap();
        let end = text[start..].find("</data>").unwrap() + start;
        text[start..end].to_owned()
    };
    let (own, other) = (record("a"), record("b"));
    let location = |record: &str| record.split("href=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let href = location(&other);
    fs::remove_file(scratch.join("a-out").join(location(&own))).unwrap();
    fs::copy(scratch.join("b-out").join(&href), scratch.join("a-out").join(&href)).unwrap();
    let repomd = scratch.join("a-out/repodata/repomd.xml");
    let text = fs::read_to_string(&repomd).unwrap();
    fs::write(&repomd, text.replace(&own, &other)).unwrap();
    fs::remove_file(scratch.join("a").join(&all[0])).unwrap();
    let told = createrepo(&["--update"], &scratch.join("a-out"), &scratch.join("a"));
    assert!(told.contains("copied") && !told.contains("taken over"), "{told}");
    createrepo(&[], &scratch.join("fresh"), &scratch.join("a"));
    assert_eq!(repodata(&scratch.join("a-out")), repodata(&scratch.join("fresh")));
}
