//! The checker finds nothing in a good history, and something in each that breaks an invariant. I8 is about Koji tasks,
//! which there are none of yet.

use std::sync::Arc;

use tutti_job::{Digest, Fence, JobKind, JobName, OutputSpec, Resources};

use super::{
    Cause, Change, Checker, ComposeChange, Expect, Invariant, JobChange, LONGEST, Line, Next, Recorder, check, next,
    parse,
};
use crate::{
    lifecycle::{Compose, Event, FailureClass, JobState, Output, Timestamp, Usage, apply},
    plan::{At, Edge, Need, Plan, PlanJob},
    schedule::{Assignment, WorkerView},
};

const EPOCH: i64 = 10;
const ROOM: Resources = Resources { cpu_milli: 1000, memory_bytes: 1 << 30 };

fn job(number: u32, edges: Vec<Edge>) -> PlanJob {
    PlanJob {
        number,
        name: JobName::new(JobKind::Link, format!("V{number}"), "x86_64"),
        params_json: "{}".into(),
        fixed_inputs: Default::default(),
        derived_inputs: Default::default(),
        outputs: vec![OutputSpec::directory("out", &format!("compose:V{number}").parse().unwrap())],
        edges,
        deliverable: "repo".into(),
        failable: false,
        resources: ROOM,
        estimate: 1,
    }
}

/// 1 needs 0; 2 stands alone; 3 needs 2 only if it succeeds.
fn plan() -> Plan {
    let edge = |job, need| Edge { job, at: At::Committed, need };
    Plan::new(vec![
        job(0, vec![]),
        job(1, vec![edge(0, Need::Required)]),
        job(2, vec![]),
        job(3, vec![edge(2, Need::IfItSucceeds)]),
    ])
}

/// A controller, as far as its history is concerned.
struct Run {
    compose: Compose,
    recorder: Recorder,
    revision: i64,
    lines: Vec<Line>,
}

impl Run {
    fn start() -> Self {
        let compose = Compose::new("C", Arc::new(plan()), false, Timestamp(1));
        let mut run = Self { compose, recorder: Recorder::new(EPOCH), revision: EPOCH, lines: vec![] };
        run.tell(Event::Started);
        run
    }

    fn tell(&mut self, event: Event) {
        let cause = Cause::of(&event);
        let (changes, _) = apply(&self.compose, event, Timestamp(5)).unwrap();
        self.recorder.change(&self.compose, cause, &changes, Timestamp(5));
        self.compose.absorb(changes);
        self.store();
        if self.compose.is_to_be_looked_at() {
            self.tell(Event::Looked { damage: None });
        }
    }

    fn store(&mut self) {
        self.revision += 1;
        self.lines.extend(self.recorder.take(self.revision).into_values().flatten());
    }

    fn offer(&mut self, job: u32, executor: u64) -> Fence {
        let held: Vec<_> =
            self.compose.jobs.iter().filter(|r| r.current().is_some_and(|f| f.executor == executor)).collect();
        let held = held.len() as u32;
        let free = Resources {
            cpu_milli: 4000 - held * ROOM.cpu_milli,
            memory_bytes: (4 << 30) - u64::from(held) * ROOM.memory_bytes,
        };
        let view = WorkerView {
            id: format!("w{executor}"),
            executor,
            arch: "x86_64".into(),
            run_arches: vec![],
            kinds: vec![],
            free,
            total: Resources { cpu_milli: 4000, memory_bytes: 4 << 30 },
            draining: false,
            connected: true,
            running: held,
        };
        self.recorder.round(&[view]);
        let worker_id = format!("w{executor}");
        let assignment =
            Assignment { compose: "C".into(), job, worker_id: worker_id.clone(), executor, reserve: ROOM, note: None };
        self.recorder.assigned(&assignment);
        self.tell(Event::Offered { job, executor, worker_id });
        self.compose.jobs[job as usize].fence.unwrap()
    }

    fn begin(&mut self, job: u32, executor: u64) -> Fence {
        let fence = self.offer(job, executor);
        self.tell(Event::Accepted { fence });
        fence
    }

    fn commit(&mut self, fence: Fence) {
        let outputs = vec![Output { name: "out".into(), digest: Digest::of(fence.to_string().as_bytes()), size: 3 }];
        self.tell(Event::Succeeded { fence, outputs, warnings: vec![], usage: Usage::default() });
        self.tell(Event::VerifiedOk { fence });
    }

    fn finish(&mut self, fence: Fence) {
        self.commit(fence);
        self.tell(Event::Published { job: fence.job });
    }

    fn fail(&mut self, fence: Fence, class: FailureClass) {
        let (cause, hint, usage) = (String::new(), String::new(), Usage::default());
        self.tell(Event::FailedAttempt { fence, class, cause, hint, usage });
    }

    /// Another controller takes over.
    fn restart(&mut self) {
        self.revision += 1;
        self.recorder = Recorder::new(self.revision);
        let stored_at = self.revision - 1;
        self.recorder.found(&self.compose, Timestamp(6), |_| Some(stored_at));
        self.store();
    }
}

/// Two jobs at once, a lost worker, a failure, another controller, a retry, and the end.
fn good() -> Vec<Line> {
    let mut run = Run::start();
    let (first, second) = (run.begin(0, 1), run.begin(2, 1));
    run.finish(first);
    run.tell(Event::WorkerLost { executor: 1, kept: vec![], losses: vec![], excused: false });
    let again = run.begin(2, 2);
    assert_ne!(again, second);
    run.fail(again, FailureClass::Tool);
    let last = run.begin(3, 2);
    run.restart();
    run.finish(last);
    let one = run.begin(1, 2);
    run.finish(one);
    run.lines
}

/// As good, and nothing failed.
fn good_end() -> Vec<Line> {
    let mut run = Run::start();
    for job in [0, 2, 1, 3] {
        let fence = run.begin(job, 1);
        run.finish(fence);
    }
    run.lines
}

fn found(lines: &[Line], ended: bool) -> Vec<Invariant> {
    let plan = plan();
    let expect = Expect { plan: Some(&plan), ended, only_compose: true };
    let mut found: Vec<_> = check(lines, expect).into_iter().map(|violation| violation.invariant).collect();
    found.sort_unstable();
    found.dedup();
    found
}

fn job_of(line: &mut Line) -> Option<&mut JobChange> {
    match &mut line.change {
        Change::Job(change) => Some(change),
        Change::Compose(_) => None,
    }
}

fn header_of(line: &mut Line) -> Option<&mut ComposeChange> {
    match &mut line.change {
        Change::Compose(change) => Some(change),
        Change::Job(_) => None,
    }
}

/// The first line by that event about that job.
fn position(lines: &mut [Line], cause: Cause, job: u32) -> usize {
    let wanted = |line: &mut Line| line.cause == cause && job_of(line).is_some_and(|change| change.job == job);
    lines.iter_mut().position(wanted).unwrap()
}

/// Adds a line after all others: a copy of that one, changed.
fn add(lines: &mut Vec<Line>, of: usize, alter: impl FnOnce(&mut JobChange)) {
    let (seq, epoch, revision) = lines.last().map(|line| (line.seq + 1, line.epoch, line.revision + 1)).unwrap();
    let mut line = Line { seq, epoch, revision, batch: seq, ..lines[of].clone() };
    alter(job_of(&mut line).unwrap());
    lines.push(line);
}

/// The line that says the end.
fn position_of_end(lines: &[Line]) -> usize {
    lines.iter().position(|line| matches!(&line.change, Change::Compose(change) if change.ended)).unwrap()
}

#[test]
fn good_histories_are_good_in_any_order_and_repeated() {
    for mut lines in [good(), good_end()] {
        assert_eq!(found(&lines, true), []);
        lines.reverse();
        lines.extend(lines.clone());
        assert_eq!(found(&lines, true), []);
        let text: String = lines.iter().map(|line| line.to_json() + "\n").collect();
        assert_eq!(parse(&(text + "{\"epoch\": 1, \"se")), (lines, 1));
    }
}

/// Lines that a crash took along are no fault.
#[test]
fn what_is_lost_is_not_held_against_anybody() {
    let lines = good();
    let restart = lines.iter().position(|line| line.cause == Cause::Found).unwrap();
    for lost in 1..restart {
        let mut rest = lines.clone();
        rest.drain(lost..restart);
        assert_eq!(found(&rest, true), [], "all from line {lost}");
        let mut rest = lines.clone();
        rest.remove(lost);
        assert_eq!(found(&rest, true), [], "line {lost}");
    }
}

/// One that ended with a failed job and one that was skipped for it.
fn doomed() -> Run {
    let mut run = Run::start();
    let first = run.begin(0, 1);
    run.fail(first, FailureClass::Tool);
    for job in [2, 3] {
        let fence = run.begin(job, 1);
        run.finish(fence);
    }
    run
}

/// A job that was skipped, and waits again since a retry, looks as if it had never begun.
#[test]
fn a_retry_whose_lines_are_lost_is_found_in_the_store() {
    let mut run = doomed();
    let told = run.lines.len();
    run.tell(Event::Retry { jobs: vec![] });
    run.lines.truncate(told);
    run.restart();
    for job in [0, 1] {
        let fence = run.begin(job, 1);
        run.finish(fence);
    }
    assert_eq!(found(&run.lines, true), []);
}

/// A controller that finds a compose ended tells of it with the first change, of which a crash may take the rest along.
#[test]
fn what_is_found_is_as_old_as_the_epoch_whenever_it_is_told() {
    let mut run = doomed();
    run.revision += 1;
    run.recorder = Recorder::new(run.revision);
    let stored_at = run.revision - 1;
    run.recorder.found(&run.compose, Timestamp(6), |_| Some(stored_at));
    run.tell(Event::Retry { jobs: vec![] });
    let told = run.lines.iter().rposition(|line| line.cause == Cause::Found).unwrap();
    run.lines.truncate(told + 1);
    run.restart();
    for job in [0, 1] {
        let fence = run.begin(job, 1);
        run.finish(fence);
    }
    assert_eq!(found(&run.lines, true), []);
}

type Break = fn(&mut Vec<Line>);

fn caught(invariant: Invariant, breaks: &[Break]) {
    for (number, damage) in breaks.iter().enumerate() {
        let mut lines = good();
        damage(&mut lines);
        let found = found(&lines, true);
        assert!(found.contains(&invariant), "{invariant:?} {number}: found {found:?}");
    }
}

#[test]
fn i1_two_commits_are_caught() {
    caught(
        Invariant::I1,
        &[
            |lines| {
                let of = position(lines, Cause::VerifiedOk, 0);
                add(lines, of, |change| change.attempt += 1);
            },
            |lines| {
                let of = position(lines, Cause::VerifiedOk, 0);
                add(lines, of, |change| change.outputs = Some(Digest::of(b"other")));
            },
            // The very same commit once more is a second one too.
            |lines| {
                let of = position(lines, Cause::VerifiedOk, 0);
                add(lines, of, |_| {});
            },
            |lines| {
                let of = position(lines, Cause::Published, 0);
                add(lines, of, |change| change.committed = false);
            },
        ],
    );
}

#[test]
fn i2_stale_fences_and_deposed_controllers_are_caught() {
    caught(
        Invariant::I2,
        &[
            // Attempt 1 of job 2, which was lost, commits after attempt 2 was offered.
            |lines| {
                let of = position(lines, Cause::Accepted, 2);
                add(lines, of, |change| {
                    (change.from, change.to, change.committed) = (JobState::Verifying, JobState::Committed, true);
                });
            },
            |lines| {
                let of = position(lines, Cause::Accepted, 0);
                job_of(&mut lines[of]).unwrap().executor = Some(7);
            },
            // The first controller stores something after the second became the leader.
            |lines| {
                let restart = lines.iter().position(|line| line.cause == Cause::Found).unwrap();
                let (last, epoch) = (restart - 1, lines[restart].epoch);
                lines[last].revision = epoch + 1;
            },
            // Two writers with one epoch.
            |lines| {
                let mut other = lines[3].clone();
                other.time_ms += 1;
                lines.push(other);
            },
        ],
    );
}

#[test]
fn i3_an_end_with_open_jobs_and_a_compose_of_nobodys_are_caught() {
    caught(
        Invariant::I3,
        &[
            // It ends before the last job is published.
            |lines| {
                let last = lines
                    .iter()
                    .rposition(|line| line.cause == Cause::Published && matches!(line.change, Change::Job(_)))
                    .unwrap();
                lines.remove(last);
                lines.iter_mut().skip(last).for_each(|line| line.seq -= 1);
            },
            |lines| {
                lines.iter_mut().filter_map(header_of).for_each(|header| header.ended = false);
            },
            |lines| {
                let of = position(lines, Cause::FailedAttempt, 2);
                job_of(&mut lines[of]).unwrap().tries = 9;
            },
        ],
    );
    // What waits while nothing runs never ends.
    let mut run = Run::start();
    let fence = run.begin(0, 1);
    run.finish(fence);
    let mut lines = run.lines;
    assert_eq!(found(&lines, false), []);
    for change in lines.iter_mut().filter_map(job_of).filter(|change| change.to == JobState::Ready) {
        change.to = JobState::Waiting;
    }
    assert!(found(&lines, false).contains(&Invariant::I3));
}

#[test]
fn i4_terminal_jobs_that_change_are_caught() {
    caught(
        Invariant::I4,
        &[
            |lines| {
                let of = position(lines, Cause::Published, 0);
                add(lines, of, |change| (change.from, change.to) = (JobState::Published, JobState::Failed));
            },
            |lines| {
                let of = position(lines, Cause::FailedAttempt, 2);
                add(lines, of, |change| (change.from, change.to) = (JobState::Failed, JobState::Ready));
            },
            // An ended compose goes on without a retry.
            |lines| {
                let end =
                    lines.iter_mut().rposition(|line| header_of(line).is_some_and(|header| header.ended)).unwrap();
                let seq = lines.last().unwrap().seq + 1;
                let mut line = Line { seq, ..lines[end].clone() };
                header_of(&mut line).unwrap().status = "STARTED".into();
                lines.push(line);
            },
        ],
    );
}

#[test]
fn i5_forgotten_leases_and_overfull_workers_are_caught() {
    caught(
        Invariant::I5,
        &[
            // Two jobs run there, one is counted.
            |lines| {
                let of = position(lines, Cause::Offered, 2);
                job_of(&mut lines[of]).unwrap().lease.as_mut().unwrap().attempts = 1;
            },
            // Nothing else runs there, two are counted.
            |lines| {
                let of = position(lines, Cause::Offered, 0);
                job_of(&mut lines[of]).unwrap().lease.as_mut().unwrap().attempts = 2;
            },
            |lines| {
                let of = position(lines, Cause::Offered, 2);
                job_of(&mut lines[of]).unwrap().lease.as_mut().unwrap().total_cpu_milli = 1500;
            },
        ],
    );
}

#[test]
fn i6_what_was_not_verified_is_caught() {
    caught(
        Invariant::I6,
        &[
            // Nobody looked at the outputs.
            |lines| {
                let of = position(lines, Cause::Succeeded, 0);
                job_of(&mut lines[of]).unwrap().to = JobState::Running;
                let of = position(lines, Cause::VerifiedOk, 0);
                job_of(&mut lines[of]).unwrap().from = JobState::Running;
            },
            // Others were looked at than are recorded.
            |lines| {
                let of = position(lines, Cause::Succeeded, 0);
                job_of(&mut lines[of]).unwrap().outputs = Some(Digest::of(b"other"));
            },
            |lines| {
                for change in lines.iter_mut().filter_map(job_of).filter(|change| change.job == 1) {
                    change.committed = false;
                }
            },
        ],
    );
}

#[test]
fn i6_an_end_of_a_tree_that_nobody_looked_at_is_caught() {
    let of = position_of_end(&good_end());
    let mut lines = good_end();
    lines[of].cause = Cause::Published;
    assert_eq!(found(&lines, true), [Invariant::I6]);
    // An earlier version did not look, and did not say so.
    let old = lines[of].to_json().replace("\"looks\":true,", "").replace(",\"looks\":true", "");
    assert!(!old.contains("looks"), "{old}");
    lines[of] = parse(&old).0.remove(0);
    assert_eq!(found(&lines, true), []);
    let mut lines = good_end();
    let Change::Compose(change) = &mut lines[of].change else { panic!("{:?}", lines[of]) };
    change.damage = "compose is missing".into();
    assert_eq!(found(&lines, true), [Invariant::I6], "what was found is not heeded");
}

#[test]
fn i7_failures_that_hurt_others_are_caught() {
    caught(
        Invariant::I7,
        &[
            // Job 1 does not need job 2; job 3 can do without it.
            |lines| {
                let of = position(lines, Cause::Offered, 1);
                job_of(&mut lines[of]).unwrap().to = JobState::Skipped { because: 2 };
            },
            |lines| {
                let of = position(lines, Cause::Offered, 3);
                job_of(&mut lines[of]).unwrap().to = JobState::Skipped { because: 2 };
            },
            |lines| {
                let of = position(lines, Cause::Offered, 1);
                job_of(&mut lines[of]).unwrap().to = JobState::Cancelled;
            },
            // Nobody cancelled the compose, and yet it stops.
            |lines| {
                lines.iter_mut().filter_map(header_of).for_each(|header| header.stopping = true);
            },
            // The failure of job 2 ends an attempt at job 3.
            |lines| {
                let (of, at) = (position(lines, Cause::Accepted, 3), position(lines, Cause::FailedAttempt, 2));
                let batch = lines[at].batch;
                lines[of].cause = Cause::FailedAttempt;
                lines[of].batch = batch;
                lines.swap(at + 1, of);
                let (a, b) = (lines[at + 1].seq, lines[of].seq);
                (lines[at + 1].seq, lines[of].seq) = (b, a);
                job_of(&mut lines[at + 1]).unwrap().to = JobState::Ready;
            },
        ],
    );
}

#[test]
fn what_the_store_loses_is_caught() {
    caught(
        Invariant::Durable,
        &[
            |lines| {
                let of = position(lines, Cause::Found, 0);
                lines.remove(of);
                lines.iter_mut().skip(of).for_each(|line| line.seq -= 1);
            },
            |lines| {
                let of = position(lines, Cause::Found, 3);
                let change = job_of(&mut lines[of]).unwrap();
                (change.from, change.to, change.stored_at) = (JobState::Offered, JobState::Offered, Some(EPOCH));
            },
        ],
    );
}

#[test]
fn lines_are_read_one_by_one_and_longer_ones_are_passed_over() {
    let good = Run::start().lines.remove(0);
    let json = good.to_json();
    let longest = format!("{json}{}", " ".repeat(LONGEST - json.len()));
    let text = format!("{json}\n\n{{\"half\n{longest}\n{longest} \n{}\n{json}\n{}", "x".repeat(1 << 20), &json[..9]);
    let mut reader = text.as_bytes();
    let read: Vec<Next> = std::iter::from_fn(|| next(&mut reader).unwrap()).collect();
    let line = || Next::Line(Box::new(good.clone()));
    assert_eq!(read, [line(), Next::Unread, line(), Next::TooLong, Next::TooLong, line(), Next::Unread]);
    // One that has no end.
    let mut endless = std::io::BufReader::new(std::io::Read::take(std::io::repeat(b'x'), 64 << 20));
    assert_eq!((next(&mut endless).unwrap(), next(&mut endless).unwrap()), (Some(Next::TooLong), None));
}

#[test]
fn lines_that_come_one_by_one_are_in_order() {
    let lines = Run::start().lines;
    assert!(lines.len() > 1);
    let mut checker = Checker::new(Expect::default());
    lines.iter().for_each(|line| checker.line(line.clone()));
    checker.line(lines[lines.len() - 1].clone());
    assert_eq!(checker.violations(), []);
    checker.line(lines[0].clone());
    let broken: Vec<_> = checker.finish().into_iter().map(|violation| violation.invariant).collect();
    assert_eq!(broken, [Invariant::I2]);
}
