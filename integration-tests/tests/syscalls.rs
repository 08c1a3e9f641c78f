//! Bar R19 and lost replies: a fault at one system call of a small compose. A part of what `syscalls matrix` does.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests, outside of test functions")]

use std::path::Path;

use tutti_integration_tests::{
    scratch::Scratch,
    skip::skipped,
    syscalls::{Bench, Course},
    tracer::{self, Call, Deed, Fault, Whose},
};

/// A bench; none, said aloud, where nothing can be traced.
fn bench(scratch: &Scratch) -> Option<Bench> {
    if !tracer::possible() {
        skipped("system calls are traced on x86_64 only");
        return None;
    }
    Some(Bench::new(scratch.path(), Path::new(env!("CARGO_BIN_EXE_syscalls"))).unwrap())
}

/// Runs cases, each of which must have hit.
fn cases(bench: &Bench, faults: &[Fault]) -> Vec<Course> {
    let mut courses = Vec::new();
    for (number, fault) in faults.iter().enumerate() {
        let course = bench.case(&format!("case-{number}"), fault).unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        println!("{fault:?}: {course:?}");
        courses.push(course);
    }
    assert!(courses.iter().any(|course| *course != Course::Missed), "no fault happened: {courses:?}");
    courses
}

/// `count` of all faults of a kind, spread over them.
fn some(bench: &Bench, whose: Whose, call: Call, deed: Deed, count: usize) -> Vec<Fault> {
    let all = bench.faults(whose, call, deed);
    assert!(all.len() >= count, "{call:?} by {whose:?}: only {} calls", all.len());
    (0..count).map(|n| all[(2 * n + 1) * all.len() / (2 * count)].clone()).collect()
}

#[test]
fn r19_killed_at_a_system_call_it_is_resumed() {
    let scratch = Scratch::new("r19");
    let Some(bench) = bench(&scratch) else { return };
    let mut faults = some(&bench, Whose::Main, Call::Rename, Deed::KillAfter, 3);
    faults.extend(some(&bench, Whose::Main, Call::Mkdir, Deed::KillBefore, 1));
    faults.extend(some(&bench, Whose::Main, Call::Sync, Deed::KillBefore, 1));
    faults.extend(some(&bench, Whose::Main, Call::Symlink, Deed::KillAfter, 1));
    let courses = cases(&bench, &faults);
    assert!(courses.contains(&Course::Resumed), "{courses:?}");
}

#[test]
fn r19_a_job_killed_at_a_system_call_is_tried_again() {
    let scratch = Scratch::new("r19-jobs");
    let Some(bench) = bench(&scratch) else { return };
    let mut faults = some(&bench, Whose::Jobs, Call::Link, Deed::KillAfter, 1);
    faults.extend(some(&bench, Whose::Jobs, Call::Rename, Deed::KillBefore, 1));
    let courses = cases(&bench, &faults);
    assert_eq!(courses, [Course::TriedAgain; 2]);
}

#[test]
fn lost_replies_change_nothing() {
    let scratch = Scratch::new("lost");
    let Some(bench) = bench(&scratch) else { return };
    let mut faults = Vec::new();
    for (whose, call, count) in [
        (Whose::Main, Call::Rename, 3),
        (Whose::Main, Call::Mkdir, 2),
        (Whose::Main, Call::Symlink, 1),
        (Whose::Main, Call::Unlink, 1),
        (Whose::Jobs, Call::Link, 1),
        (Whose::Jobs, Call::Rename, 1),
    ] {
        faults.extend(some(&bench, whose, call, Deed::LoseReply, count));
    }
    let courses = cases(&bench, &faults);
    assert!(courses.iter().all(|course| matches!(course, Course::Unaided | Course::Missed)), "{courses:?}");
}

/// ESTALE and EIO of a read are the volume's: the job is tried again.
#[test]
fn reads_that_fail_are_tried_again() {
    let scratch = Scratch::new("estale");
    let Some(bench) = bench(&scratch) else { return };
    let fault = |call, deed| Fault { call, whose: Whose::Jobs, deed, when: 2, below: Some(bench.repository()) };
    let faults = [fault(Call::Read, Deed::Estale), fault(Call::Read, Deed::Eio), fault(Call::Open, Deed::Estale)];
    let courses = cases(&bench, &faults);
    assert_eq!(courses, [Course::TriedAgain; 3]);
}

/// The tree is looked at before the compose ends: what cannot be looked at is not taken for gone.
#[test]
fn r15_a_tree_that_cannot_be_listed_for_a_moment_is_looked_at_again() {
    let scratch = Scratch::new("list");
    let Some(bench) = bench(&scratch) else { return };
    let all = bench.faults(Whose::Main, Call::List, Deed::Eio);
    // The look is among the last that list directories.
    let mut faults: Vec<Fault> = all[all.len() - 40..].iter().step_by(4).cloned().collect();
    // And what it opens: directories, manifests, COMPOSE_ID.
    let all = bench.faults(Whose::Main, Call::Open, Deed::Eio);
    faults.extend(all[all.len() - 120..].iter().step_by(20).cloned());
    let courses = cases(&bench, &faults);
    assert!(courses.iter().all(|course| matches!(course, Course::Unaided | Course::Missed)), "{courses:?}");
}
