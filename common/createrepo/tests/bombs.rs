//! Files whose content is held in memory whole: a bomb is refused by name, and nothing is changed.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use tutti_createrepo::merge::{MergeOptions, Source, merge};
use tutti_createrepo::modify::{Add, Change, modify};
use tutti_createrepo::{Control, Error, Options, Silent, Summary, chain, create};
use tutti_repodata::{ChecksumType, Compression, Repository};

/// Zeros in a bomb: more than are held.
const ZEROS: u64 = 300 << 20;

static NEVER: AtomicBool = AtomicBool::new(false);

fn control() -> Control<'static> {
    Control { observer: &Silent, stop: &NEVER }
}

fn bomb(path: &Path) {
    Compression::Zstd.compress(&mut io::repeat(0).take(ZEROS), File::create(path).unwrap()).unwrap();
    assert!(fs::metadata(path).unwrap().len() < 1 << 20);
}

fn make(directory: &Path, change: impl FnOnce(&mut Options)) -> Result<Summary, Error> {
    let mut options = Options::new(directory);
    change(&mut options);
    create(&options, control())
}

/// Names and contents of all files below a directory.
fn state(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.push((path.display().to_string(), Vec::new()));
            found.extend(state(&path));
        } else {
            found.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

fn assert_refused<T: std::fmt::Debug>(result: Result<T, Error>, name: &str) {
    let text = chain(&result.unwrap_err());
    assert!(text.contains(name) && text.contains("larger than"), "{text}");
}

#[test]
fn a_bomb_for_a_group_file_is_refused_by_name_and_changes_nothing() {
    let top = tempfile::tempdir().unwrap();
    let (groups, directory) = (top.path().join("groups.xml.zst"), top.path().join("repository"));
    bomb(&groups);
    fs::create_dir(&directory).unwrap();
    assert_refused(make(&directory, |options| options.metadata.group_file = Some(groups.clone())), "groups.xml.zst");
    assert_eq!(state(&directory), []);
}

#[test]
fn a_bomb_among_modules_is_refused_by_name_and_changes_nothing() {
    let top = tempfile::tempdir().unwrap();
    make(top.path(), |_| {}).unwrap();
    bomb(&top.path().join("x-modules.yaml.zst"));
    let before = state(top.path());
    assert_refused(make(top.path(), |_| {}), "x-modules.yaml.zst");
    assert_eq!(state(top.path()), before);
}

/// A repository whose modules are a bomb; files that are copied as a stream may be that large.
fn mined(top: &Path) -> std::path::PathBuf {
    let (directory, modules) = (top.join("mined"), top.join("mine"));
    fs::create_dir(&directory).unwrap();
    make(&directory, |_| {}).unwrap();
    bomb(&modules);
    let add = Add {
        path: modules,
        kind: Some("modules".to_owned()),
        new_name: Some("modules.yaml".to_owned()),
        compression: Compression::Zstd,
        checksum: ChecksumType::Sha256,
        unique_names: true,
    };
    modify(&directory.join("repodata"), &[Change::Add(add)], &|_| {}).unwrap();
    directory
}

#[test]
fn a_merge_refuses_a_bomb_among_modules_by_name_and_leaves_nothing() {
    let top = tempfile::tempdir().unwrap();
    let directory = mined(top.path());
    let output = top.path().join("merged");
    let given = directory.display().to_string();
    let source =
        Source { given: given.clone(), base: given, open: Box::new(move || Repository::open_local(directory.clone())) };
    let options = MergeOptions { sources: vec![source], output: output.clone(), ..MergeOptions::default() };
    assert_refused(merge(&options, control()), "modules.yaml");
    assert_eq!(state(&output), []);
}
