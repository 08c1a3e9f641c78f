//! `tutti createrepo` killed at any moment, and by signals that ask: the repository is the old one or the new one.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tutti_integration_tests::{
    chaos::createrepo::kill,
    createrepo::open,
    program::{run, spawn, tutti},
    scratch::Scratch,
    skip,
    tracer::{self, Call, Deed, Fault, Traced, Whose},
};

/// Whole and consistent: every file that `repomd.xml` lists is there and says as many packages as it has.
fn check(repository: &Path) -> String {
    check_of(repository, 500)
}

/// As [`check`], of more packages than `least`.
fn check_of(repository: &Path, least: usize) -> String {
    let repomd = open(&repository.join("repodata/repomd.xml"));
    assert!(repomd.ends_with("</repomd>\n"), "{repomd}");
    let hrefs: Vec<&str> =
        repomd.split("<location href=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(hrefs.len(), 3, "{repomd}");
    for href in hrefs {
        let text = open(&repository.join(href));
        let count: usize = text.split("packages=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap();
        assert_eq!(text.matches("<package ").count(), count, "{href}");
        assert!(count > least && text.ends_with('>'), "{href}");
    }
    repomd.split("<revision>").nth(1).unwrap().split('<').next().unwrap().to_owned()
}

#[test]
fn a_killed_run_leaves_the_old_repository_or_the_new_one_and_blocks_nobody() {
    let Some(set) = skip::shared("rpms") else { return };
    let scratch = Scratch::new("killed");
    let packages = set.join("packages").display().to_string();
    let out = scratch.path().display().to_string();
    let command = |revision: &str| tutti(["createrepo", "-q", "--revision", revision, "-o", &out, &packages]);
    let started = Instant::now();
    let _ = run(command("first")).expect(0);
    let whole = started.elapsed();
    let mut last = "first".to_owned();
    for number in 0..16u32 {
        let revision = format!("{number}");
        let mut child = spawn(&mut command(&revision));
        // Spread over the run; where exactly does not matter.
        sleep(whole * number / 15);
        let _ = child.kill();
        let _ = child.wait();
        let found = check(scratch.path());
        assert!(found == last || found == revision, "{found} is neither {last} nor {revision}");
        last = found;
    }
    let _ = run(command("end")).expect(0);
    assert_eq!(check(scratch.path()), "end");
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1, "nothing but repodata");
}

/// `--bin chaos -- createrepo` in short.
#[test]
fn whatever_makes_repositories_is_killed() {
    let Some(set) = skip::shared("rpms") else { return };
    let scratch = Scratch::new("killed-all");
    let outcome = kill(scratch.path(), &set.join("packages/pulp+pulp-fixtures"), 7, 16).unwrap();
    assert_eq!(outcome.killed + outcome.ended, 16);
}

/// Before and after each call that changes a name or a file: not only where a random moment happens to fall.
#[test]
fn r19_createrepo_killed_at_every_system_call_leaves_the_old_repository_or_the_new_one() {
    let Some(set) = skip::shared("rpms") else { return };
    if !tracer::possible() {
        return skip::skipped("system calls are traced on x86_64 only");
    }
    let scratch = Scratch::new("killed-calls");
    let packages = set.join("packages/pulp+pulp-fixtures").display().to_string();
    let (repository, report) = (scratch.join("repository"), scratch.join("report"));
    fs::create_dir(&repository).unwrap();
    let out = repository.display().to_string();
    let command = |revision: &str| tutti(["createrepo", "-q", "--revision", revision, "-o", &out, &packages]);
    // Runs it with a fault; what was traced.
    let traced = |revision: &str, fault: Option<&Fault>| -> Traced {
        let inner = command(revision);
        let mut outer = Command::new(env!("CARGO_BIN_EXE_syscalls"));
        outer.arg("run").arg("--report").arg(&report);
        if let Some(fault) = fault {
            outer.arg("--fault").arg(serde_json::to_string(fault).unwrap());
        }
        let _ = run({
            outer.arg("--").arg(inner.get_program()).args(inner.get_args());
            outer
        });
        serde_json::from_slice(&fs::read(&report).unwrap()).unwrap()
    };
    let _ = run(command("first")).expect(0);
    let undisturbed = traced("0", None);
    assert_eq!(undisturbed.status, 0);
    let (mut last, mut number, mut hits) = ("0".to_owned(), 0u32, 0u32);
    for call in [Call::Link, Call::Rename, Call::Mkdir, Call::Unlink, Call::Symlink, Call::Sync, Call::Truncate] {
        for when in 1..=undisturbed.count(Whose::Main, call) {
            for deed in [Deed::KillBefore, Deed::KillAfter] {
                number += 1;
                let revision = number.to_string();
                let fault = Fault { call, whose: Whose::Main, deed, when, below: None };
                hits += u32::from(traced(&revision, Some(&fault)).hit);
                let found = check_of(&repository, 0);
                assert!(found == last || found == revision, "{fault:?}: {found} is neither {last} nor {revision}");
                last = found;
            }
        }
    }
    println!("{hits} of {number} cases struck");
    assert!(hits > 20, "{hits} of {number}");
    let _ = run(command("end")).expect(0);
    assert_eq!(check_of(&repository, 0), "end");
    assert_eq!(fs::read_dir(&repository).unwrap().count(), 1, "nothing but repodata");
}

/// Signals that createrepo_c takes as a wish to stop: the run ends with 1 and takes its lock away, or had ended already.
#[test]
fn a_run_that_is_asked_to_stop_leaves_nothing() {
    let Some(set) = skip::shared("rpms") else { return };
    let packages = set.join("packages").display().to_string();
    let mut stopped = 0;
    for signal in [
        Signal::TERM,
        Signal::INT,
        Signal::HUP,
        Signal::ALARM,
        Signal::USR1,
        Signal::USR2,
        Signal::IO,
        Signal::PROF,
        Signal::VTALARM,
    ] {
        let scratch = Scratch::new("stopped");
        let out = scratch.path().display().to_string();
        let mut child = spawn(&mut tutti(["createrepo_c", "-o", &out, &packages]));
        let deadline = Instant::now() + Duration::from_secs(60);
        while !scratch.join(".repodata/records.partial").exists() && child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "it never began");
            sleep(Duration::from_millis(1));
        }
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        let _ = kill_process(pid, signal);
        let status = child.wait().unwrap().code();
        let made = scratch.join("repodata").exists();
        assert_eq!((status, made), if made { (Some(0), true) } else { (Some(1), false) }, "{signal:?}");
        assert!(!scratch.join(".repodata").exists(), "{signal:?}");
        stopped += usize::from(!made);
    }
    assert!(stopped > 0, "all had ended before they were asked");
}
