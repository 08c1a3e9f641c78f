//! The rule on files in memory, step by step, and on real ones with real processes.

mod processes;
mod schedule;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::files::Real;
use super::{Judgement, Names, Owner, Record, TakeOver, World};
use crate::error::{ErrorKind, StoreError};

/// The real files, and this host's processes, but for what is said.
#[derive(Debug)]
struct Odd {
    /// The processes are another host's.
    abroad: bool,
    /// No name can be removed.
    sticky: bool,
}

const ABROAD: Odd = Odd { abroad: true, sticky: false };
const STICKY: Odd = Odd { abroad: false, sticky: true };

impl World for Odd {
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
        if self.sticky { Err(std::io::Error::other("input/output error")) } else { Real.remove(path) }
    }
    fn sweep(&self, names: &Names, number: u64) {
        if !self.sticky {
            Real.sweep(names, number);
        }
    }
    fn me(&self) -> Record {
        if !self.abroad {
            return Real.me();
        }
        Record { host: "abroad".into(), boot: "another".into(), machine: "another".into(), ..Real.me() }
    }
    fn judge(&self, path: &Path, record: &Record) -> Judgement {
        super::process::judge(record, &self.me(), || super::process::is_local(path))
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
    let theirs = Owner::acquire_in(Arc::new(ABROAD), &path, TakeOver::No).unwrap();
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

/// Taken over by force, and then taken by a third, when it is about to make its record the head.
#[derive(Debug)]
struct Late;

impl World for Late {
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
        let path = to.with_extension("");
        let kept = fs::read(from)?;
        Owner::acquire(&path, TakeOver::FromElsewhere).unwrap().release();
        // Not released: the rightful owner.
        std::mem::forget(Owner::acquire(&path, TakeOver::No).unwrap());
        // The name of its copy is swept as well: the rename that is under way at the server is not stopped by that.
        fs::write(from, kept)?;
        Real.rename(from, to)
    }
    fn remove(&self, path: &Path) -> std::io::Result<()> {
        Real.remove(path)
    }
    fn sweep(&self, _names: &Names, _number: u64) {}
    fn me(&self) -> Record {
        ABROAD.me()
    }
    fn judge(&self, path: &Path, record: &Record) -> Judgement {
        if record.number == 2 { Judgement::Dead } else { ABROAD.judge(path, record) }
    }
}

#[test]
fn r15_a_rename_that_comes_late_does_not_give_the_file_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    Owner::acquire(&path, TakeOver::No).unwrap().release();
    let late = Owner::acquire_in(Arc::new(Late), &path, TakeOver::No).unwrap();
    assert_eq!(late.check().unwrap_err().kind(), ErrorKind::TakenOver);
    // Nor does it free the file, which another has.
    late.release();
    let error = Owner::acquire(&path, TakeOver::No).unwrap_err();
    assert!(matches!(error, StoreError::OwnedElsewhere { .. }), "{error}");
}

#[test]
fn r15_litter_that_stays_costs_no_owner_its_file_and_goes_with_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    for _ in 0..3 {
        let owner = Owner::acquire_in(Arc::new(STICKY), &path, TakeOver::No).unwrap();
        owner.check().unwrap();
        owner.release();
        // It is free, and said to be.
        Owner::check_free(&path).unwrap();
    }
    assert!(names(directory.path()).iter().any(|name| name.starts_with("state.owner.new.")));
    Owner::acquire(&path, TakeOver::No).unwrap().release();
    assert_eq!(names(directory.path()).len(), 2, "{:?}", names(directory.path()));
}

#[test]
fn r15_who_follows_a_forced_owner_that_died_makes_its_copy() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let dead = Record { number: 1, state: super::State::Forced, process: 1 << 23, ..Real.me() };
    fs::write(directory.path().join("state.owner"), dead.encode()).unwrap();
    let second = Owner::acquire(&path, TakeOver::No).unwrap();
    assert!(second.is_forced());
    second.release();
    assert!(!Owner::acquire(&path, TakeOver::No).unwrap().is_forced());
}

#[test]
fn an_owner_that_is_stopped_is_refused_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    // Until waitid(2) says so, it may still run.
    let stopped = rustix::process::WaitIdOptions::STOPPED | rustix::process::WaitIdOptions::NOWAIT;
    rustix::process::waitid(rustix::process::WaitId::Pid(pid), stopped).unwrap();
    let started = super::process::started(child.id()).unwrap();
    let record = Record { number: 1, process: child.id(), started, ..Real.me() };
    fs::write(directory.path().join("state.owner"), record.encode()).unwrap();
    for take_over in [TakeOver::No, TakeOver::FromElsewhere] {
        let error = Owner::acquire(&path, take_over).unwrap_err();
        assert!(matches!(error, StoreError::InUse { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(&child.id().to_string()) && text.contains("kill -CONT"), "{text}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    Owner::acquire(&path, TakeOver::No).unwrap().release();
}

#[test]
fn records_that_are_none_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let record = Record { number: 7, ..Real.me() };
    assert_eq!(Record::decode(&record.encode()).unwrap(), record);
    let text = String::from_utf8(record.encode()).unwrap();
    let cut = text.get(..60).unwrap();
    for bad in ["", "\u{89}PNG", cut, &text.replace("held", "unknown"), &text.replace("number 7", "number x")] {
        fs::write(directory.path().join("state.owner"), bad).unwrap();
        let error = Owner::acquire(&path, TakeOver::FromElsewhere).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{bad:?}: {error}");
        assert!(error.to_string().contains("state.owner cannot be used: ") && error.to_string().contains("hint: "));
    }
    let far = directory.path().join("no/such/state");
    assert_eq!(Owner::acquire(&far, TakeOver::No).unwrap_err().kind(), ErrorKind::Unavailable);
}
