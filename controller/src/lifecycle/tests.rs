//! Transitions one by one; random ones in [`random`], whole runs against a model in [`model`].

mod blame;
mod fixture;
mod model;
mod random;
mod records;
mod retries;

use super::{
    AttemptResult, Changes, Effect, Event, FailureClass, IllegalTransition, JobState, Status, Timestamp, apply,
    pending_effects, why,
};
use fixture::{Run, chain, failed, hard, job, lost, plan_of, soft, succeeded};

#[test]
fn a_job_from_ready_to_published() {
    let mut run = Run::start(chain(2), false);
    assert_eq!(run.states(), "RW");
    let effects = run.offer(0, 7);
    let fence = run.fence(0);
    assert_eq!(effects, [Effect::SendOffer { fence }]);
    assert_eq!((fence.attempt, fence.executor), (1, 7));
    assert_eq!(run.ok(Event::Accepted { fence }), []);
    assert_eq!(run.ok(succeeded(fence)), [Effect::Verify { fence }]);
    assert_eq!(run.states(), "VW");
    assert_eq!(run.ok(Event::VerifiedOk { fence }), [Effect::SendCommit { fence }, Effect::Publish { job: 0 }]);
    assert_eq!(run.states(), "CR", "the next reads outputs, not the tree");
    assert_eq!(run.ok(Event::Published { job: 0 }), []);
    run.finish(1);
    assert_eq!(run.states(), "PP");
    assert!(!run.compose.is_ended(), "nobody has looked at the tree");
    run.ok(Event::Looked { damage: None });
    assert_eq!(run.compose.header.status, Status::Finished);
    assert!(run.compose.is_ended());
}

#[test]
fn the_last_job_finishes_the_compose() {
    let mut run = Run::start(chain(1), false);
    assert_eq!(run.first, [Effect::WriteStatus { status: Status::Started }]);
    run.commit(0);
    let status = Status::Finished;
    assert_eq!(run.ok(Event::Published { job: 0 }), [Effect::Look]);
    let started = Status::Started;
    assert_eq!(pending_effects(&run.compose, false), [Effect::WriteStatus { status: started }, Effect::Look]);
    let fence = run.fence(0);
    for again in [Event::Loaded, succeeded(fence), Event::Published { job: 0 }, lost(7)] {
        assert!(!run.quiet(again).contains(&Effect::Look), "what changes nothing starts no other look");
    }
    let ends = run.ok(Event::Looked { damage: None });
    assert_eq!(ends, [Effect::WriteStatus { status }, Effect::Finish { status }]);
    assert_eq!(run.quiet(Event::Looked { damage: Some("late".into()) }), []);
    assert_eq!(pending_effects(&run.compose, false), [Effect::WriteStatus { status }, Effect::Finish { status }]);
    assert_eq!(pending_effects(&run.compose, true), [], "what has ended for all to see is left alone");
    assert!(run.apply(Event::Cancel).is_err());
    assert_eq!(run.apply(Event::Retry { jobs: vec![] }).unwrap_err(), IllegalTransition::NothingToRetry);
}

#[test]
fn jobs_without_tree_outputs_are_published_at_once() {
    let mut plan = chain(1);
    plan.jobs[0].outputs = vec![tutti_job::OutputSpec::file("out")];
    let mut run = Run::start(plan, false);
    run.offer(0, 1);
    let fence = run.fence(0);
    run.ok(succeeded(fence));
    let status = Status::Finished;
    assert_eq!(run.ok(Event::VerifiedOk { fence }), [Effect::SendCommit { fence }, Effect::Look]);
    let ends = run.ok(Event::Looked { damage: None });
    assert_eq!(ends, [Effect::WriteStatus { status }, Effect::Finish { status }]);
}

#[test]
fn a_compose_with_a_hole_is_doomed_until_that_is_mended() {
    let mut run = Run::start(chain(2), false);
    run.finish(0);
    assert_eq!(run.quiet(Event::Looked { damage: Some("early".into()) }), [], "a job is open");
    run.finish(1);
    let status = Status::Doomed;
    let damage = Some("compose/V0 is missing".into());
    let longest = Some("ä".repeat(5000));
    let (changes, _) = apply(&run.compose, Event::Looked { damage: longest }, run.now).unwrap();
    assert!(changes.header.unwrap().encode().len() <= 2048);
    let ends = run.ok(Event::Looked { damage: damage.clone() });
    assert_eq!(ends, [Effect::WriteStatus { status }, Effect::Finish { status }]);
    assert!(run.apply(Event::Retry { jobs: vec![0] }).is_err(), "its jobs are done");
    let status = Status::Started;
    assert_eq!(run.ok(Event::Retry { jobs: vec![] }), [Effect::WriteStatus { status }, Effect::Look]);
    run.ok(Event::Looked { damage });
    assert_eq!(run.compose.header.status, Status::Doomed);
    run.ok(Event::Retry { jobs: vec![] });
    run.ok(Event::Cancel);
    assert_eq!((run.compose.header.status, run.compose.is_ended()), (Status::Terminated, true));
    run.ok(Event::Retry { jobs: vec![] });
    run.ok(Event::Looked { damage: None });
    let header = &run.compose.header;
    assert_eq!((header.status, header.damage.as_str(), run.states().as_str()), (Status::Finished, "", "PP"));
}

#[test]
fn repeated_messages_change_nothing() {
    let mut run = Run::start(chain(2), false);
    run.offer(0, 1);
    let fence = run.fence(0);
    run.ok(Event::Accepted { fence });
    assert!(run.quiet(Event::Accepted { fence }).is_empty());
    assert!(run.quiet(Event::AcceptTimedOut { fence }).is_empty(), "it had accepted");
    run.ok(succeeded(fence));
    assert!(run.quiet(succeeded(fence)).is_empty(), "verification is under way");
    assert!(run.quiet(failed(fence, FailureClass::Tool)).is_empty(), "what it said first counts");
    run.ok(Event::VerifiedOk { fence });
    assert!(run.quiet(Event::VerifiedOk { fence }).is_empty());
    assert_eq!(run.quiet(succeeded(fence)), [Effect::SendCommit { fence }], "the answer was lost");
    run.ok(Event::Published { job: 0 });
    assert!(run.quiet(Event::Published { job: 0 }).is_empty());
    assert_eq!(run.quiet(succeeded(fence)), [Effect::SendCommit { fence }]);
    assert!(run.quiet(lost(1)).is_empty());
}

#[test]
fn old_fences_are_refused() {
    let mut run = Run::start(chain(1), false);
    run.offer(0, 1);
    let old = run.fence(0);
    run.ok(Event::Accepted { fence: old });
    run.ok(lost(1));
    assert_eq!(run.states(), "R");
    assert!(
        matches!(run.quiet(failed(old, FailureClass::Tool)).as_slice(), [Effect::SendRefused { fence, .. }] if *fence == old)
    );
    run.offer(0, 2);
    for event in [Event::Accepted { fence: old }, succeeded(old), failed(old, FailureClass::Tool)] {
        assert!(matches!(run.quiet(event).as_slice(), [Effect::SendRefused { fence, .. }] if *fence == old));
    }
    let fence = run.fence(0);
    assert_eq!((fence.attempt, fence.executor), (2, 2));
    assert!(
        matches!(run.quiet(succeeded(old)).as_slice(), [Effect::SendRefused { reason, .. }] if reason.contains("attempt 2"))
    );
    assert!(run.quiet(Event::VerifiedOk { fence: old }).is_empty());
    assert!(run.quiet(Event::KilledConfirmed { fence: old }).is_empty());
    let nowhere = tutti_job::Fence { job: 99, ..old };
    assert!(matches!(run.quiet(succeeded(nowhere)).as_slice(), [Effect::SendRefused { .. }]));
    assert_eq!(run.compose.jobs[0].attempts[0].result, AttemptResult::Lost);
}

#[test]
fn a_late_success_counts_while_its_fence_is_current() {
    let mut run = Run::start(chain(1), false);
    run.offer(0, 1);
    let fence = run.fence(0);
    assert_eq!(run.ok(succeeded(fence)), [Effect::Verify { fence }], "the acceptance was lost");
    run.ok(lost(1));
    assert_eq!(run.states(), "V", "its outputs are on the volume");
    run.ok(Event::VerifiedOk { fence });
    assert_eq!(run.states(), "C");
}

#[test]
fn infrastructure_failures_get_three_tries_and_others_one() {
    let mut run = Run::start(chain(2), false);
    for (executor, states) in [(1, "RW"), (2, "RW"), (3, "FS")] {
        run.offer(0, executor);
        let fence = run.fence(0);
        run.ok(Event::Accepted { fence });
        run.ok(failed(fence, FailureClass::Infra));
        assert_eq!(run.states(), states);
    }
    assert_eq!(run.compose.jobs[0].avoid, ["w1", "w2", "w3"]);
    let mut run = Run::start(chain(2), false);
    run.offer(0, 1);
    run.ok(failed(run.fence(0), FailureClass::Tool));
    assert_eq!(run.states(), "FS");
}

#[test]
fn r15_a_full_disk_is_waited_for_and_counts_as_no_try() {
    let mut run = Run::start(chain(2), false);
    let begin = run.now;
    let mut pauses = Vec::new();
    let mut executor = 0;
    while run.states() == "RW" {
        executor += 1;
        run.offer(0, executor);
        let fence = run.fence(0);
        run.ok(Event::Accepted { fence });
        run.ok(failed(fence, FailureClass::NoSpace));
        let record = &run.compose.jobs[0];
        let Some(until) = record.not_before.filter(|_| record.state == JobState::Ready) else { break };
        assert_eq!(record.tries, 0);
        assert!(why(&run.compose, 0)[0].contains("space"), "{:?}", why(&run.compose, 0));
        pauses.push(until.0 - run.now.0);
        run.now = until;
    }
    assert_eq!(pauses[..6], [1_000, 2_000, 4_000, 8_000, 16_000, 20_000]);
    assert_eq!(run.states(), "FS", "not for ever");
    assert!(
        (super::FULL_DISK_MS..super::FULL_DISK_MS + 60_000).contains(&(run.now.0 - begin.0)),
        "{}",
        run.now.0 - begin.0
    );
    assert_eq!(run.compose.jobs[0].class.unwrap().as_str(), "ENOSPC");
    run.ok(Event::Retry { jobs: vec![0] });
    assert_eq!((run.compose.jobs[0].not_before, run.compose.jobs[0].full_since), (None, None));
}

#[test]
fn r15_only_time_without_space_is_counted() {
    let mut run = Run::start(chain(2), false);
    let full = |run: &mut Run, waits: i64, runs: i64| {
        run.now = run.compose.jobs[0].not_before.unwrap_or(run.now).plus_millis(waits);
        run.offer(0, 1);
        let fence = run.fence(0);
        run.ok(Event::Accepted { fence });
        run.now = run.now.plus_millis(runs);
        run.ok(failed(fence, FailureClass::NoSpace));
    };
    let minutes = |minutes: i64| minutes * 60_000;
    // Long jobs, and long queues for a worker, each longer than the whole patience.
    for (waits, runs) in [(0, 20), (0, 20), (20, 0), (20, 20)] {
        full(&mut run, minutes(waits), minutes(runs));
        assert_eq!(run.states(), "RW", "{waits} {runs}: it had space until then");
    }
    // But not for ever: it may be the job that is too large.
    let mut tries = 4;
    while run.states() == "RW" {
        full(&mut run, 0, minutes(20));
        tries += 1;
    }
    assert!((6..12).contains(&tries), "{tries}");
    assert_eq!(run.states(), "FS");
}

#[test]
fn attempts_that_never_began_do_not_count() {
    let mut run = Run::start(chain(1), false);
    for _ in 0..5 {
        run.offer(0, 1);
        run.ok(Event::AcceptTimedOut { fence: run.fence(0) });
        run.offer(0, 2);
        run.ok(Event::Rejected { fence: run.fence(0), reason: "busy".into(), soft: true });
    }
    let record = &run.compose.jobs[0];
    assert_eq!((record.state, record.attempt, record.tries), (JobState::Ready, 10, 0));
    assert_eq!(record.attempts.len(), super::KEPT_ATTEMPTS);
    assert!(record.attempts.iter().all(|attempt| attempt.result == AttemptResult::NeverStarted));
    assert_eq!(record.excluded_at(run.now), ["w1", "w2"]);
    assert_eq!(record.excluded_at(run.now.plus_millis(20_000)), ["w2"]);
    assert_eq!(record.excluded_at(run.now.plus_millis(60_000)), [""; 0]);
}

#[test]
fn wrong_outputs_fail_the_attempt() {
    let mut run = Run::start(chain(1), false);
    run.offer(0, 1);
    let fence = run.fence(0);
    let none = Event::Succeeded { fence, outputs: vec![], warnings: vec![], usage: Default::default() };
    assert_eq!(run.ok(none)[0], Effect::SendCommit { fence });
    assert_eq!(run.states(), "F");
    assert!(run.compose.jobs[0].reason.contains("other outputs"));

    let mut run = Run::start(chain(1), false);
    run.offer(0, 1);
    let fence = run.fence(0);
    run.ok(succeeded(fence));
    let effects =
        run.ok(Event::VerifyFailed { fence, class: FailureClass::Infra, cause: "out: digest differs".into() });
    assert!(matches!(effects.as_slice(), [Effect::SendRefused { .. }]));
    assert_eq!(run.states(), "R", "another worker may do better");
    assert!(run.compose.jobs[0].outputs.is_empty());
}

/// 0 → 1 → 2; 3 alone; 4 takes 0 if it succeeds, and needs 3.
fn forked(required: &[u32]) -> crate::plan::Plan {
    let mut plan = plan_of(vec![
        job(0, vec![]),
        job(1, vec![hard(0)]),
        job(2, vec![hard(1)]),
        job(3, vec![]),
        job(4, vec![soft(0), hard(3)]),
    ]);
    for job in &mut plan.jobs {
        job.failable = !required.contains(&job.number);
    }
    plan
}

#[test]
fn a_required_failure_dooms_at_once_and_the_rest_goes_on() {
    let mut run = Run::start(forked(&[0, 1, 2, 3, 4]), false);
    run.offer(0, 1);
    run.offer(3, 2);
    let fence = run.fence(0);
    let effects = run.ok(failed(fence, FailureClass::Tool));
    assert_eq!(effects, [Effect::SendCommit { fence }, Effect::WriteStatus { status: Status::Doomed }]);
    assert_eq!(run.states(), "FSSOW");
    assert_eq!(run.compose.jobs[2].state, JobState::Skipped { because: 0 });
    assert_eq!(run.compose.header.doomed_by, Some(0));
    run.finish_offered(3);
    assert_eq!(run.states(), "FSSPR", "its soft edge holds with the failure");
    run.offer(4, 1);
    run.finish_offered(4);
    assert!(run.compose.is_ended());
    assert_eq!(run.compose.header.status, Status::Doomed);
}

#[test]
fn a_skipped_required_job_dooms_too() {
    let mut run = Run::start(forked(&[2]), false);
    run.offer(0, 1);
    run.ok(failed(run.fence(0), FailureClass::Input));
    assert_eq!(run.compose.header.status, Status::Doomed);
    assert_eq!(run.compose.header.doomed_by, Some(0));
}

#[test]
fn failable_failures_leave_it_incomplete() {
    let mut run = Run::start(forked(&[3, 4]), false);
    run.offer(0, 1);
    run.ok(failed(run.fence(0), FailureClass::Tool));
    assert_eq!(run.compose.header.status, Status::Started);
    run.finish(3);
    run.finish(4);
    run.ok(Event::Looked { damage: None });
    assert_eq!((run.states().as_str(), run.compose.header.status), ("FSSPP", Status::FinishedIncomplete));
}

#[test]
fn fail_fast_cancels_the_rest() {
    let mut run = Run::start(forked(&[0, 1, 2, 3, 4]), true);
    run.offer(0, 1);
    run.offer(3, 2);
    let running = run.fence(3);
    run.ok(Event::Accepted { fence: running });
    let fence = run.fence(0);
    let effects = run.ok(failed(fence, FailureClass::Tool));
    assert_eq!(effects[2..], [Effect::CancelAttempt { fence: running }]);
    assert_eq!(run.states(), "FSSUX");
    assert!(pending_effects(&run.compose, false).contains(&Effect::CancelAttempt { fence: running }));
    let status = Status::Doomed;
    let answer = Effect::SendCommit { fence: running };
    assert_eq!(run.ok(Event::KilledConfirmed { fence: running }), [answer, Effect::Finish { status }]);
    assert_eq!(run.states(), "FSSXX");
}

#[test]
fn cancelling_keeps_what_is_done() {
    let mut run = Run::start(forked(&[0, 1, 2, 3, 4]), false);
    run.offer(0, 1);
    run.offer(3, 2);
    let fence = run.fence(0);
    run.ok(succeeded(run.fence(3)));
    let effects = run.ok(Event::Cancel);
    assert_eq!(effects, [Effect::WriteStatus { status: Status::Terminated }, Effect::CancelAttempt { fence }]);
    assert!(run.quiet(Event::Cancel).is_empty());
    run.ok(Event::VerifiedOk { fence: run.fence(3) });
    run.ok(Event::Published { job: 3 });
    assert_eq!(run.states(), "OXXPX");
    assert!(!run.compose.is_ended(), "an attempt is under way");
    run.ok(lost(1));
    assert!(run.compose.is_ended());
    assert_eq!((run.states().as_str(), run.compose.header.status), ("XXXPX", Status::Terminated));
}

#[test]
fn effects_come_back_after_a_restart() {
    let mut run = Run::start(forked(&[0, 1, 2, 3, 4]), false);
    run.offer(0, 1);
    let offered = run.fence(0);
    run.offer(3, 2);
    let verifying = run.fence(3);
    run.ok(succeeded(verifying));
    let status = Effect::WriteStatus { status: Status::Started };
    let expected = [status.clone(), Effect::SendOffer { fence: offered }, Effect::Verify { fence: verifying }];
    assert_eq!(pending_effects(&run.compose, false), expected);
    run.ok(Event::VerifiedOk { fence: verifying });
    run.ok(Event::Accepted { fence: offered });
    assert_eq!(pending_effects(&run.compose, false), [status, Effect::Publish { job: 3 }]);
}

#[test]
fn why_names_what_is_waited_for() {
    let mut run = Run::start(forked(&[0, 1, 2, 3, 4]), false);
    let name = |number: usize| run.compose.plan.jobs[number].name.to_string();
    let (zero, three) = (name(0), name(3));
    assert_eq!(
        why(&run.compose, 4),
        [
            format!("waits for {zero} (to its end), which is ready"),
            format!("waits for {three} (outputs recorded), which is ready"),
        ]
    );
    assert_eq!(why(&run.compose, 0), ["waits for a worker"]);
    run.offer(0, 1);
    run.ok(failed(run.fence(0), FailureClass::Tool));
    assert_eq!(why(&run.compose, 2)[0], format!("was skipped because {zero} failed"));
    assert_eq!(why(&run.compose, 0), ["failed", "it broke", "hint: mend it"]);
    assert_eq!(why(&run.compose, 77), ["the compose has no job 77"]);
}

#[test]
fn callers_mistakes_are_errors() {
    let run = Run::start(chain(2), false);
    let apply = |event| apply(&run.compose, event, Timestamp(1));
    let offer = |job| Event::Offered { job, executor: 1, worker_id: "w1".into() };
    assert!(apply(offer(1)).unwrap_err().to_string().contains("is waiting, it cannot be offered"));
    assert_eq!(apply(offer(9)).unwrap_err(), IllegalTransition::NoJob(9));
    assert!(apply(Event::Published { job: 0 }).is_err());
    assert!(
        apply(Event::PublishFailed { job: 0, class: FailureClass::Infra, cause: String::new(), lost: false }).is_err()
    );
    assert_eq!(apply(Event::Started).unwrap().0, Changes::default());
}

#[test]
fn a_change_that_was_stored_in_part_is_completed_on_loading() {
    let mut run = Run::start(chain(3), false);
    run.offer(0, 1);
    let fence = run.fence(0);
    run.ok(Event::Accepted { fence });
    let (whole, _) = apply(&run.compose, failed(fence, FailureClass::Tool), Timestamp(9)).unwrap();
    assert_eq!(whole.jobs.len(), 3, "the failure skips its dependents in the same change");
    for arrived in 1..=3 {
        let mut part = run.compose.clone();
        part.absorb(Changes { header: None, jobs: whole.jobs[..arrived].to_vec() });
        let (rest, _) = apply(&part, Event::Loaded, Timestamp(10)).unwrap();
        part.absorb(rest);
        let states: Vec<_> = part.jobs.iter().map(|record| record.state).collect();
        let skipped = JobState::Skipped { because: 0 };
        assert_eq!(states, [JobState::Failed, skipped, skipped]);
        assert_eq!(part.header.status, Status::Doomed);
        assert!(apply(&part, Event::Loaded, Timestamp(11)).unwrap().0.is_empty());
    }
}

#[test]
fn r15_staging_is_kept_while_somebody_wants_it() {
    let mut run = Run::start(chain(2), false);
    let fate =
        |run: &Run, attempt, executor| run.compose.leftovers().fate(&tutti_job::Fence { job: 0, attempt, executor });
    use super::StagingFate::{Keep, KeepCheckpoints, Remove};
    run.offer(0, 1);
    let first = run.fence(0);
    run.ok(Event::Accepted { fence: first });
    assert_eq!((fate(&run, 1, 1), fate(&run, 1, 2)), (Keep, KeepCheckpoints), "under way");
    run.ok(lost(1));
    assert_eq!((fate(&run, 1, 1), fate(&run, 2, 9)), (Keep, Keep), "it may go on; the next may have begun");
    run.offer(0, 2);
    let second = run.fence(0);
    run.ok(Event::Accepted { fence: second });
    run.ok(succeeded(second));
    assert_eq!((fate(&run, 1, 1), fate(&run, 2, 2)), (KeepCheckpoints, Keep), "being looked at");
    run.ok(Event::VerifiedOk { fence: second });
    assert_eq!((fate(&run, 1, 1), fate(&run, 2, 2)), (Remove, Keep), "still to be moved");
    run.ok(Event::PublishFailed { job: 0, class: FailureClass::NoSpace, cause: "full".into(), lost: false });
    assert_eq!((fate(&run, 1, 1), fate(&run, 2, 2)), (Remove, Keep), "a retry moves it");
    run.ok(Event::Retry { jobs: vec![0] });
    run.ok(Event::Published { job: 0 });
    assert_eq!((fate(&run, 1, 1), fate(&run, 2, 2), fate(&run, 3, 1)), (Remove, Remove, Keep));
    let unknown = tutti_job::Fence { job: 99, attempt: 1, executor: 1 };
    assert_eq!(run.compose.leftovers().fate(&unknown), Remove);
}
