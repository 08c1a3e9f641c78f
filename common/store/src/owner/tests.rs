//! The rule on files in memory, step by step, and on real ones with real processes.

mod processes;
mod schedule;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::files::Real;
use super::{Judgement, Names, Owner, Record, TakeOver, World};
use crate::error::{ErrorKind, StoreError};

/// The real files, and another host's processes.
#[derive(Debug)]
struct Abroad;

impl World for Abroad {
    fn read(&self, path: &Path) -> std::io::Result<Option<Vec<u8>>> {
        Real.read(path)
    }
    fn write(&self, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
        Real.write(path, bytes)
    }
    fn link(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        Real.link(from, to)
    }
    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        Real.rename(from, to)
    }
    fn remove(&self, path: &Path) -> std::io::Result<()> {
        Real.remove(path)
    }
    fn sweep(&self, names: &Names, number: u64) {
        Real.sweep(names, number);
    }
    fn me(&self) -> Record {
        Record { host: "abroad".into(), boot: "another".into(), machine: "another".into(), ..Real.me() }
    }
    fn judge(&self, record: &Record) -> Judgement {
        super::process::judge(record, &self.me())
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = entries.collect();
    names.sort();
    names
}

#[test]
fn one_owner_after_another() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    for round in 0..5 {
        let owner = Owner::acquire(&path, TakeOver::No).unwrap();
        owner.check().unwrap();
        let error = Owner::acquire(&path, TakeOver::FromElsewhere).unwrap_err();
        assert!(matches!(&error, StoreError::InUse { process, .. } if *process == std::process::id()), "{error}");
        owner.release();
        assert_eq!(owner.check().unwrap_err().kind(), ErrorKind::TakenOver);
        // The head, and that it is free.
        assert_eq!(names(directory.path()), ["state.owner".to_owned(), format!("state.owner.{}", round * 2 + 2)]);
    }
}

#[test]
fn an_owner_on_another_host_is_refused_until_the_user_says_that_it_is_dead() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let theirs = Owner::acquire_in(Arc::new(Abroad), &path, TakeOver::No).unwrap();
    let error = Owner::acquire(&path, TakeOver::No).unwrap_err();
    assert!(matches!(error, StoreError::OwnedElsewhere { .. }));
    let text = error.to_string();
    assert!(text.contains("on host abroad") && text.contains("--take-over"), "{text}");
    theirs.check().unwrap();
    let ours = Owner::acquire(&path, TakeOver::FromElsewhere).unwrap();
    assert!(ours.is_forced());
    // It was not dead: it finds out before it does anything, and what it says afterwards changes nothing.
    assert_eq!(theirs.check().unwrap_err().kind(), ErrorKind::TakenOver);
    theirs.release();
    ours.check().unwrap();
    ours.release();
    assert!(!Owner::acquire(&path, TakeOver::No).unwrap().is_forced());
}

#[test]
fn records_that_are_none_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let record = Record { number: 7, ..Real.me() };
    assert_eq!(Record::decode(&record.encode()).unwrap(), record);
    let text = String::from_utf8(record.encode()).unwrap();
    let cut = text.get(..60).unwrap();
    for bad in ["", "\u{89}PNG", cut, &text.replace("held", "free"), &text.replace("number 7", "number x")] {
        fs::write(directory.path().join("state.owner"), bad).unwrap();
        let error = Owner::acquire(&path, TakeOver::FromElsewhere).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{bad:?}: {error}");
        assert!(error.to_string().contains("state.owner cannot be used: ") && error.to_string().contains("hint: "));
    }
    let far = directory.path().join("no/such/state");
    assert_eq!(Owner::acquire(&far, TakeOver::No).unwrap_err().kind(), ErrorKind::Unavailable);
}
