//! Which job is to blame for the end of its workers (R8).

use super::{AttemptResult, Event, FailureClass, JobState, Run, fixture::job, lost, plan_of};
use crate::lifecycle::{Loss, MAX_LOSSES, Timestamp, why};

/// `count` jobs that need nothing.
fn apart(count: u32) -> Run {
    Run::start(plan_of((0..count).map(|number| job(number, vec![])).collect()), false)
}

fn begin(run: &mut Run, job: u32, executor: u64) {
    run.offer(job, executor);
    run.ok(Event::Accepted { fence: run.fence(job) });
}

/// The worker is lost, after the others that are named.
fn lost_among(run: &mut Run, executor: u64, others: &[u64]) {
    let now = run.now;
    let losses = others.iter().chain([&executor]).map(|executor| Loss { executor: *executor, at: now }).collect();
    run.ok(Event::WorkerLost { executor, kept: vec![], losses, excused: false });
}

#[test]
fn r8_a_poison_job_is_convicted_at_its_third_loss_and_its_neighbour_is_not() {
    let mut run = apart(2);
    for executor in [1, 2] {
        begin(&mut run, 0, executor);
        begin(&mut run, 1, executor);
        run.ok(lost(executor));
    }
    assert!(run.compose.jobs.iter().all(|record| record.losses == 2 && record.runs_alone()));
    assert!(why(&run.compose, 1).iter().any(|line| line.contains("alone")), "{:?}", why(&run.compose, 1));
    // Alone, each: only one of them takes its worker along.
    begin(&mut run, 0, 3);
    begin(&mut run, 1, 4);
    lost_among(&mut run, 3, &[1, 2]);
    let record = &run.compose.jobs[0];
    assert_eq!((record.state, record.class, record.losses), (JobState::Failed, Some(FailureClass::Poisoned), 3));
    assert_eq!(record.reason, "each of 3 tries lost its worker: w1, w2, w3");
    assert!(record.attempts.iter().all(|attempt| attempt.result == AttemptResult::Lost));
    assert_eq!(run.compose.jobs[1].state, JobState::Running);
}

#[test]
fn r8_a_job_that_ends_its_worker_before_the_answer_comes_to_an_end_too() {
    let mut run = apart(1);
    for executor in [1, 2, 3] {
        assert_eq!(run.states(), "R");
        run.offer(0, executor);
        run.ok(lost(executor));
    }
    assert_eq!(run.compose.jobs[0].class, Some(FailureClass::Poisoned));
}

#[test]
fn r8_workers_that_are_lost_without_it_acquit_a_job() {
    let mut run = apart(1);
    let mut others = Vec::new();
    for executor in 1..u64::from(MAX_LOSSES) {
        begin(&mut run, 0, executor);
        // For each loss with it another, of a worker that had nothing to do.
        others.extend([executor, 100 + executor]);
        lost_among(&mut run, executor, &others);
        assert_eq!(run.compose.jobs[0].state, JobState::Ready, "{}", run.compose.jobs[0].reason);
    }
    assert!(run.compose.jobs[0].reason.contains("7 were lost without it"), "{}", run.compose.jobs[0].reason);
    begin(&mut run, 0, 50);
    lost_among(&mut run, 50, &others);
    assert_eq!(run.compose.jobs[0].class, Some(FailureClass::Poisoned), "there is an end to it");
}

#[test]
fn r8_one_other_loss_gives_one_more_try_and_an_old_one_none() {
    let mut run = apart(2);
    // The first job's clock is long past this loss when it begins.
    let old = Loss { executor: 99, at: Timestamp(run.now.0 - 3_600_000) };
    let young = Loss { executor: 98, at: run.now };
    for (executor, job, losses, state) in [
        (1, 0, vec![old], JobState::Ready),
        (2, 0, vec![old], JobState::Ready),
        (3, 0, vec![old], JobState::Failed),
        (11, 1, vec![young], JobState::Ready),
        (12, 1, vec![young], JobState::Ready),
        (13, 1, vec![young], JobState::Ready),
        (14, 1, vec![young], JobState::Failed),
    ] {
        begin(&mut run, job, executor);
        run.ok(Event::WorkerLost { executor, kept: vec![], losses, excused: false });
        assert_eq!(run.compose.jobs[job as usize].state, state, "after worker {executor}");
    }
}

#[test]
fn r8_two_poison_jobs_do_not_acquit_each_other() {
    let mut run = apart(2);
    let mut gone = Vec::new();
    for round in 1..10 {
        for job in [0, 1] {
            if run.compose.jobs[job as usize].state == JobState::Ready {
                let executor = u64::from(job) * 100 + round;
                begin(&mut run, job, executor);
                lost_among(&mut run, executor, &gone);
                gone.push(executor);
            }
        }
    }
    let losses: Vec<u32> = run.compose.jobs.iter().map(|record| record.losses).collect();
    assert_eq!(losses, [4, 3]);
    assert!(run.compose.jobs.iter().all(|record| record.class == Some(FailureClass::Poisoned)));
}

#[test]
fn r7_a_worker_that_returns_before_anybody_took_its_job_goes_on_with_it() {
    let mut run = apart(1);
    begin(&mut run, 0, 1);
    let fence = run.fence(0);
    for event in [Event::Accepted { fence }, super::succeeded(fence)] {
        run.ok(lost(1));
        assert_eq!((run.states().as_str(), run.compose.jobs[0].losses), ("R", 1));
        run.ok(event);
        let record = &run.compose.jobs[0];
        assert_eq!((record.attempt, record.losses, record.attempts.len()), (1, 0, 1));
        assert_eq!(record.attempts[0].result, AttemptResult::Open);
        assert!(record.avoid.is_empty() && record.reason.is_empty());
    }
    assert_eq!(run.states(), "V");
}

#[test]
fn what_an_heir_delivers_is_not_lost() {
    let mut run = apart(2);
    begin(&mut run, 0, 1);
    begin(&mut run, 1, 1);
    let fence = run.fence(0);
    run.ok(Event::WorkerLost { executor: 1, kept: vec![fence], losses: vec![], excused: false });
    assert_eq!(run.states(), "UR");
    run.ok(super::succeeded(fence));
    assert_eq!(run.states(), "VR");
}

/// `tutti compose` was killed, however often: its worker ended with it.
#[test]
fn r8_the_end_of_the_whole_program_is_held_against_nobody() {
    let mut run = apart(1);
    for executor in 1..=u64::from(MAX_LOSSES) + 1 {
        begin(&mut run, 0, executor);
        run.ok(Event::WorkerLost { executor, kept: vec![], losses: vec![], excused: true });
        let record = &run.compose.jobs[0];
        assert_eq!((record.state, record.losses, record.tries), (JobState::Ready, 0, 0));
    }
    assert_eq!(run.compose.jobs[0].attempts.last().unwrap().result, AttemptResult::Lost);
}
