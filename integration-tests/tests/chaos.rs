//! The chaos command's parts in short: order and state only, never seconds. `--bin chaos` measures.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

use std::time::Duration;

use tutti_integration_tests::{
    chaos::{
        kills::{self, Kills, Plan},
        poison,
        silence::{self, Cut, Held, Measured},
        stubborn,
    },
    scratch::Scratch,
    sources, tree,
};

#[test]
fn r2_kills_at_random_change_nothing() {
    let scratch = Scratch::new("r2");
    let plan = Plan {
        config: sources::demo(&scratch.join("demo")),
        workers: 2,
        cpus: 1,
        restart: Duration::from_millis(50),
        limit: Duration::from_secs(240),
        loud: true,
    };
    let base = kills::compose(&plan, &scratch.join("base"), None).unwrap();
    assert_eq!(base.faults(), Vec::<String>::new());
    let schedule = Kills::random(1, 6, plan.workers + 1, base.wall);
    let run = kills::compose(&plan, &scratch.join("s1"), Some(&schedule)).unwrap();
    assert_eq!(run.faults(), Vec::<String>::new());
    assert!(run.killed.values().sum::<u32>() > 0, "nothing was killed");
    let differences = tree::differences(&base.compose.join("compose"), &run.compose.join("compose"));
    assert_eq!(differences, Vec::<String>::new());
}

#[test]
fn r5_a_worker_that_is_cut_off_loses_its_jobs_to_others() {
    let scratch = Scratch::new("r5");
    let mut held = Held::start(scratch.path(), 4).unwrap();
    let mut measured = Measured::default();
    for cut in [Cut::Silence, Cut::Reset] {
        silence::round(&mut held, cut, 1, &mut measured).unwrap();
    }
    assert_eq!((measured.suspected.count(), measured.reassigned.count()), (2, 2));
}

#[test]
fn r7_a_late_result_is_refused_and_swept_once_another_attempt_was_made() {
    silence::zombie(Scratch::new("r7").path(), 1).unwrap();
}

#[test]
fn r7_a_late_result_counts_while_nobody_else_was_given_the_job() {
    silence::zombie(Scratch::new("r7").path(), 0).unwrap();
}

#[test]
fn r8_a_job_that_ends_its_workers_is_poisoned_and_all_else_is_published() {
    let scratch = Scratch::new("r8");
    let ended = poison::compose(scratch.path(), 2, true).unwrap();
    poison::judge(&ended, 2).unwrap();
    assert!(ended.restarts >= 3, "{}", ended.restarts);
}

#[test]
fn r10_what_was_cancelled_is_dead() {
    let scratch = Scratch::new("r10");
    assert_eq!(stubborn::cancel(&scratch.join("cancel"), 2).unwrap().count(), 2);
    assert_eq!(stubborn::interrupt(&scratch.join("interrupt"), 2).unwrap().count(), 2);
}
