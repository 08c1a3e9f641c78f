//! Repoclosure against libdnf: a repository of real and generated packages, made by createrepo_c, must give the same
//! unsatisfied requirements as the query that `dnf repoclosure` makes.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a broken environment must stop the test")]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use tutti_depsolve::{PackageRef, Source, repoclosure};
use tutti_rpm::{HeaderReader, Package};

/// Says why a test does not run; in CI that is a failure.
fn skip(reason: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "cannot run in CI: {reason}");
    println!("skipped: {reason}");
}

fn shared_packages() -> PathBuf {
    let shared = std::env::var_os("TUTTI_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    shared.join("rpms/packages")
}

fn rpms(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![directory.to_owned()];
    while let Some(directory) = todo.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rpm") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn works(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

/// Requirements whose text libdnf prints otherwise than it stands in the header, or where libsolv reads repository metadata
/// otherwise than rpm reads the header.
fn compared(lines: impl Iterator<Item = (String, String)>) -> BTreeSet<(String, String)> {
    lines
        .map(|(package, requirement)| (package, requirement.split_whitespace().collect::<Vec<_>>().join(" ")))
        .collect()
}

#[test]
fn agrees_with_libdnf() {
    let packages = shared_packages();
    if !packages.is_dir() {
        return skip("no real packages: set TUTTI_SHARED");
    }
    if !works("createrepo_c", &["--version"]) || !works("/usr/bin/python3", &["-c", "import dnf"]) {
        return skip("createrepo_c or dnf's python module is not installed");
    }
    let directory = std::env::temp_dir().join(format!("tutti-repoclosure-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let mut reader = HeaderReader::default();
    let mut read: Vec<Package> = Vec::new();
    for (number, path) in rpms(&packages).into_iter().enumerate() {
        let package = reader.package(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        if !package.is_source() {
            std::fs::copy(&path, directory.join(format!("{number}.rpm"))).unwrap();
            read.push(package);
        }
    }
    assert!(works("createrepo_c", &["--quiet", directory.to_str().unwrap()]));

    let universe = support::universe("x86_64", &read);
    let sources = [Source::own(&universe)];
    let all: Vec<PackageRef> = (0..universe.len() as u32).map(|package| PackageRef::new(0, package)).collect();
    let broken = repoclosure(&all, &[], &sources).unwrap();
    let ours = compared(broken.into_iter().map(|broken| (broken.nevra, broken.requirement)));

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/libdnf_closure.py");
    let output = Command::new("/usr/bin/python3").arg(script).arg("x86_64").arg(&directory).output().unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let theirs = compared(text.lines().map(|line| {
        let (package, requirement) = line.split_once('\t').unwrap();
        (package.to_owned(), requirement.to_owned())
    }));

    assert!(theirs.len() > 100, "the packages are meant to lack much: {}", theirs.len());
    let only_ours: Vec<_> = ours.difference(&theirs).collect();
    let only_theirs: Vec<_> = theirs.difference(&ours).collect();
    assert!(only_ours.is_empty() && only_theirs.is_empty(), "only here: {only_ours:#?}\nonly libdnf: {only_theirs:#?}");
}
