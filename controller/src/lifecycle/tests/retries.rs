//! Retry, and failures of publishing.

use super::{
    Effect, Event, FailureClass, IllegalTransition, Run, Status, chain, failed, forked, hard, job, lost, plan_of, soft,
    succeeded,
};
use crate::{
    lifecycle::why,
    plan::{At, Edge, Need},
};

#[test]
fn a_doomed_compose_goes_on_where_it_failed() {
    let mut run = Run::start(forked(&[0, 1, 2, 3, 4]), false);
    run.finish(3);
    run.offer(0, 1);
    run.ok(failed(run.fence(0), FailureClass::Tool));
    assert_eq!(run.states(), "FSSPR");
    let effects = run.ok(Event::Retry { jobs: vec![0] });
    assert_eq!(effects, [Effect::WriteStatus { status: Status::Started }]);
    assert_eq!(run.states(), "RWWPW", "4 waits for 0 again, 3 is done");
    assert_eq!((run.compose.header.doomed_by, run.compose.jobs[0].tries), (None, 0));
    run.offer(0, 2);
    assert_eq!(run.fence(0).attempt, 2, "attempts are never numbered twice");
    run.finish_offered(0);
    run.finish(1);
    run.finish(2);
    run.finish(4);
    run.ok(Event::Looked { damage: None });
    assert_eq!((run.states().as_str(), run.compose.header.status), ("PPPPP", Status::Finished));
    assert_eq!(run.compose.jobs[3].attempt, 1);
}

/// What is gone is not promised to be moved again.
#[test]
fn outputs_that_cannot_be_moved_are_kept_for_a_retry_or_lost() {
    for (lost, hint) in [(false, "retry moves them again"), (true, "else make a new compose")] {
        let mut run = Run::start(chain(1), false);
        run.commit(0);
        run.ok(Event::PublishFailed { job: 0, class: FailureClass::Infra, cause: "gone".into(), lost });
        assert!(run.compose.jobs[0].hint.contains(hint), "{}", run.compose.jobs[0].hint);
    }
}

#[test]
fn retrying_a_skipped_job_brings_back_what_it_needs() {
    let mut run = Run::start(forked(&[0, 1, 2, 3, 4]), false);
    run.offer(0, 1);
    run.ok(failed(run.fence(0), FailureClass::Tool));
    run.ok(Event::Retry { jobs: vec![2] });
    assert_eq!(run.states(), "RWWRW");
}

#[test]
fn an_ended_compose_begins_again() {
    let mut run = Run::start(chain(2), false);
    run.offer(0, 1);
    let effects = run.ok(failed(run.fence(0), FailureClass::Tool));
    assert!(effects.contains(&Effect::Finish { status: Status::Doomed }));
    run.ok(Event::Retry { jobs: vec![] });
    assert!(!run.compose.is_ended());
    run.finish(0);
    run.finish(1);
    run.ok(Event::Looked { damage: None });
    assert_eq!(run.compose.header.status, Status::Finished);
}

#[test]
fn one_of_two_failures_leaves_it_doomed() {
    let plan = plan_of(vec![job(0, vec![]), job(1, vec![]), job(2, vec![hard(0), hard(1)])]);
    let mut run = Run::start(plan, false);
    for job in [0, 1] {
        run.offer(job, 1);
        run.ok(failed(run.fence(job), FailureClass::Tool));
    }
    run.ok(Event::Retry { jobs: vec![0] });
    assert_eq!((run.states().as_str(), run.compose.header.status), ("RFS", Status::Doomed));
    assert_eq!(run.compose.header.doomed_by, Some(1));
    run.ok(Event::Retry { jobs: vec![1] });
    assert_eq!((run.states().as_str(), run.compose.header.status), ("RRW", Status::Started));
}

#[test]
fn a_cancelled_compose_can_be_taken_up() {
    let mut run = Run::start(chain(3), false);
    run.finish(0);
    run.ok(Event::Cancel);
    assert_eq!((run.states().as_str(), run.compose.header.status), ("PXX", Status::Terminated));
    run.ok(Event::Retry { jobs: vec![] });
    assert_eq!((run.states().as_str(), run.compose.header.status), ("PRW", Status::Started));
}

#[test]
fn what_was_made_without_a_job_makes_its_retry_too_late() {
    let mut plan = plan_of(vec![job(0, vec![]), job(1, vec![soft(0)])]);
    plan.jobs[0].failable = true;
    let mut run = Run::start(plan, false);
    run.offer(0, 1);
    run.ok(failed(run.fence(0), FailureClass::Tool));
    assert_eq!(run.states(), "FR");
    let mut early = Run { compose: run.compose.clone(), first: vec![], ..run };
    early.ok(Event::Retry { jobs: vec![0] });
    assert_eq!(early.states(), "RW", "nobody has begun without it");
    run.offer(1, 1);
    for jobs in [vec![0], vec![]] {
        assert!(matches!(run.apply(Event::Retry { jobs }), Err(IllegalTransition::TooLate { .. })));
    }
}

#[test]
fn retrying_what_is_well_is_refused() {
    let mut run = Run::start(chain(2), false);
    assert!(matches!(run.apply(Event::Retry { jobs: vec![1] }), Err(IllegalTransition::State { .. })));
    assert!(matches!(run.apply(Event::Retry { jobs: vec![] }), Err(IllegalTransition::NothingToRetry)));
    assert!(matches!(run.apply(Event::Retry { jobs: vec![9] }), Err(IllegalTransition::NoJob(9))));
}

#[test]
fn a_failed_publish_is_repeated_without_running_again() {
    let published = Edge { job: 0, at: At::Published, need: Need::Required };
    let plan = plan_of(vec![job(0, vec![]), job(1, vec![hard(0)]), job(2, vec![published])]);
    let mut run = Run::start(plan, false);
    run.commit(0);
    assert_eq!(run.states(), "CRW");
    run.offer(1, 2);
    run.ok(Event::PublishFailed { job: 0, class: FailureClass::NoSpace, cause: "disk full".into(), lost: false });
    assert_eq!((run.states().as_str(), run.compose.header.status), ("FOS", Status::Doomed));
    assert!(
        run.quiet(Event::PublishFailed {
            job: 0,
            class: FailureClass::NoSpace,
            cause: "disk full".into(),
            lost: false
        })
        .is_empty()
    );
    run.finish_offered(1);
    assert_eq!(run.states(), "FPS", "it had its input");
    let fence = run.fence(0);
    assert_eq!(run.quiet(succeeded(fence)), [Effect::SendCommit { fence }]);
    assert!(run.ok(Event::Retry { jobs: vec![] }).contains(&Effect::Publish { job: 0 }));
    assert_eq!(run.states(), "CPW");
    run.ok(Event::Published { job: 0 });
    assert_eq!((run.states().as_str(), run.compose.jobs[0].attempt), ("PPR", 1));
}

#[test]
fn a_lost_attempt_whose_input_is_gone_is_skipped() {
    let mut run = Run::start(chain(3), false);
    run.commit(0);
    run.offer(1, 2);
    run.ok(Event::PublishFailed { job: 0, class: FailureClass::NoSpace, cause: "disk full".into(), lost: false });
    run.ok(lost(2));
    assert_eq!(run.states(), "FSS");
    assert!(run.compose.is_ended());
}

#[test]
fn a_retry_under_fail_fast_runs_and_the_next_failure_stops_again() {
    let plan = plan_of(vec![job(0, vec![]), job(1, vec![]), job(2, vec![])]);
    let mut run = Run::start(plan, true);
    for job in [0, 1] {
        run.offer(job, 1);
    }
    run.ok(failed(run.fence(0), FailureClass::Tool));
    run.ok(failed(run.fence(1), FailureClass::Tool));
    assert_eq!(run.states(), "FFX");
    run.ok(Event::Retry { jobs: vec![0] });
    assert_eq!((run.states().as_str(), run.compose.header.status), ("RFX", Status::Doomed));
    run.ok(Event::Retry { jobs: vec![2] });
    run.offer(0, 1);
    run.ok(failed(run.fence(0), FailureClass::Tool));
    assert_eq!(run.states(), "FFX");
}

#[test]
fn a_retry_under_fail_fast_goes_on_after_a_restart_whatever_else_has_failed() {
    let plan = plan_of(vec![job(0, vec![]), job(1, vec![]), job(2, vec![])]);
    let mut run = Run::start(plan, true);
    for job in [0, 1] {
        run.offer(job, 1);
    }
    run.ok(failed(run.fence(0), FailureClass::Tool));
    run.ok(failed(run.fence(1), FailureClass::Tool));
    run.ok(Event::Retry { jobs: vec![0] });
    assert_eq!(run.states(), "RFX");
    assert_eq!(run.quiet(Event::Loaded), []);
    assert_eq!(why(&run.compose, 0), ["waits for a worker"]);
    run.finish(0);
    assert_eq!((run.states().as_str(), run.compose.header.status), ("PFX", Status::Doomed));
}

#[test]
fn a_job_that_runs_again_after_fail_fast_is_not_explained_by_what_ended_it_before() {
    let plan = plan_of(vec![job(0, vec![]), job(1, vec![]), job(2, vec![])]);
    let mut run = Run::start(plan, true);
    run.offer(0, 1);
    run.offer(1, 2);
    let fence = run.fence(1);
    run.ok(Event::Accepted { fence });
    run.ok(failed(run.fence(0), FailureClass::Tool));
    assert_eq!(run.states(), "FUX");
    assert_eq!(why(&run.compose, 2), ["was cancelled", "a required job failed and --fail-fast is set"]);
    // Asked for before the attempt that was told to end has ended.
    run.ok(Event::Retry { jobs: vec![] });
    run.ok(Event::KilledConfirmed { fence });
    assert_eq!(run.states(), "RRR");
    for job in [0, 2] {
        assert_eq!(why(&run.compose, job), ["waits for a worker"]);
    }
    assert_eq!(why(&run.compose, 1), ["waits for a worker", "the attempt was told to end"]);
    run.offer(1, 3);
    assert_eq!(why(&run.compose, 1), ["waits for w3 to accept it"]);
    let fence = run.fence(1);
    run.ok(Event::Accepted { fence });
    assert_eq!(why(&run.compose, 1), ["runs on w3, attempt 2"]);
    run.ok(succeeded(fence));
    assert_eq!(why(&run.compose, 1), ["its outputs are being verified"]);
}
