//! Events of any kind at any time: what must never happen does not.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tutti_job::Fence;

use super::{Event, FailureClass, JobState, Run, Status, failed, lost, model::plans, pending_effects, succeeded, why};
use crate::lifecycle::{Compose, Header, JobRecord};

/// An event made of numbers: about current attempts, attempts of long ago and ones that never were.
fn event(run: &Run, seen: &[Fence], (kind, a, b): (u8, u32, u32)) -> Event {
    let count = run.compose.jobs.len() as u32;
    let job = a % (count + 1);
    let current: Vec<Fence> = run.compose.jobs.iter().filter_map(JobRecord::current).collect();
    let pick = |list: &[Fence]| list.get(a as usize % list.len().max(1)).copied();
    let bogus = Fence { job, attempt: b % 4, executor: u64::from(b % 3) };
    let fence = if b % 4 == 0 { pick(seen) } else { pick(&current) }.unwrap_or(bogus);
    let classes = [FailureClass::Infra, FailureClass::Tool, FailureClass::NoSpace, FailureClass::Cancelled];
    match kind % 26 {
        0..=5 => {
            let ready: Vec<u32> = run.compose.ready().collect();
            let job = ready.get(a as usize % ready.len().max(1)).copied().unwrap_or(job);
            Event::Offered { job, executor: u64::from(b % 3), worker_id: format!("w{}", b % 3) }
        }
        6 => Event::Accepted { fence },
        7 => Event::Rejected { fence, reason: "no".into(), soft: b % 2 == 0 },
        8 => Event::AcceptTimedOut { fence },
        9..=11 => succeeded(fence),
        12..=13 => Event::VerifiedOk { fence },
        14 => Event::VerifyFailed { fence, class: classes[b as usize % 3], cause: "differs".into() },
        15 => failed(fence, classes[b as usize % classes.len()]),
        16..=18 => {
            let committed = run.compose.numbered().filter(|(_, record)| record.state == JobState::Committed);
            let list: Vec<u32> = committed.map(|(job, _)| job).collect();
            let job = list.get(a as usize % list.len().max(1)).copied().unwrap_or(job);
            Event::Published { job }
        }
        19 => Event::PublishFailed { job, class: FailureClass::NoSpace, cause: "full".into(), lost: false },
        20 => lost(u64::from(b % 3)),
        21 if b % 5 == 0 => Event::Cancel,
        22 => Event::Retry { jobs: if b % 2 == 0 { vec![] } else { vec![job] } },
        23 => Event::KilledConfirmed { fence },
        24 => Event::Looked { damage: (b % 3 == 0).then(|| "compose/V0 is missing".into()) },
        _ => Event::Started,
    }
}

/// `job` and all that wait for it, transitively.
fn reach(compose: &Compose, jobs: &[u32]) -> BTreeSet<u32> {
    let mut all = BTreeSet::new();
    let mut queue = jobs.to_vec();
    while let Some(job) = queue.pop() {
        if all.insert(job) {
            queue.extend(compose.plan.dependents(job).iter().map(|dependent| dependent.job));
        }
    }
    all
}

/// What holds in every state.
fn sound(run: &Run) -> Result<(), TestCaseError> {
    let compose = &run.compose;
    let (unmet, open) = compose.counts_from_scratch();
    let stopping = compose.is_stopping();
    for (job, record) in compose.numbered() {
        match record.state {
            JobState::Waiting => prop_assert!(unmet[job as usize] > 0, "job {} waits for nothing", job),
            JobState::Ready => prop_assert_eq!(unmet[job as usize], 0, "job {} is ready too early", job),
            _ => {}
        }
        prop_assert!(!(stopping && record.state.is_pending()), "job {} may begin while stopping", job);
        prop_assert!(record.attempts.len() <= super::super::KEPT_ATTEMPTS);
        prop_assert_eq!(&JobRecord::decode(&record.encode()).unwrap(), record);
        prop_assert!(!why(compose, job).is_empty());
    }
    let header = &compose.header;
    prop_assert_eq!(&Header::decode(&header.encode()).unwrap(), header);
    let over = header.ended_at.is_some() || compose.is_to_be_looked_at();
    prop_assert_eq!(open == 0, over, "ended: {}", run.states());
    let dead = |state: JobState| matches!(state, JobState::Failed | JobState::Skipped { .. });
    let doomed =
        compose.numbered().any(|(job, record)| dead(record.state) && !compose.plan.jobs[job as usize].failable);
    if !header.cancelled {
        prop_assert_eq!(
            header.status == Status::Doomed,
            doomed || !header.damage.is_empty(),
            "{} in {}",
            header.status,
            run.states()
        );
    }
    Ok(())
}

/// The jobs that an event is about.
fn subjects(compose: &Compose, event: &Event) -> Vec<u32> {
    match event {
        Event::Offered { job, .. } | Event::Published { job } | Event::PublishFailed { job, .. } => vec![*job],
        Event::Accepted { fence }
        | Event::Rejected { fence, .. }
        | Event::AcceptTimedOut { fence }
        | Event::Succeeded { fence, .. }
        | Event::VerifiedOk { fence }
        | Event::VerifyFailed { fence, .. }
        | Event::FailedAttempt { fence, .. }
        | Event::KilledConfirmed { fence } => vec![fence.job],
        Event::WorkerLost { executor, .. } => {
            let held = compose.jobs.iter().filter_map(JobRecord::current).filter(|fence| fence.executor == *executor);
            held.map(|fence| fence.job).collect()
        }
        Event::Looked { .. } => vec![],
        Event::Started | Event::Loaded | Event::Cancel | Event::Retry { .. } => {
            (0..compose.jobs.len() as u32).collect()
        }
    }
}

/// What one event may do to each job.
fn step_is_allowed(before: &Compose, run: &Run, event: &Event) -> Result<(), TestCaseError> {
    let reach = reach(before, &subjects(before, event));
    let retry = matches!(event, Event::Retry { .. });
    for (job, (old, new)) in before.jobs.iter().zip(&run.compose.jobs).enumerate() {
        if old == new {
            continue;
        }
        let stopped = !before.is_stopping() && run.compose.is_stopping();
        prop_assert!(reach.contains(&(job as u32)) || stopped, "I7: {:?} changed job {}", event, job);
        prop_assert!(old.state != JobState::Published, "I4: job {} was done", job);
        prop_assert!(!old.state.is_terminal() || retry, "I4: job {} left {:?}", job, old.state);
        prop_assert!(new.attempt >= old.attempt);
        prop_assert!(!old.committed || (new.committed && new.outputs == old.outputs && new.attempt == old.attempt));
    }
    prop_assert!(before.header.ended_at.is_none() || retry || before.header == run.compose.header);
    Ok(())
}

proptest! {
    #[test]
    fn nothing_forbidden_happens(
        plan in plans(),
        fail_fast in any::<bool>(),
        steps in proptest::collection::vec((any::<u8>(), any::<u32>(), any::<u32>()), 1..200),
    ) {
        let mut run = Run::start(plan, fail_fast);
        let mut seen: Vec<Fence> = Vec::new();
        let mut commits: BTreeMap<u32, Fence> = BTreeMap::new();
        for step in steps {
            let event = event(&run, &seen, step);
            run.now = run.now.plus_millis(i64::from(step.1 % 10_000));
            let before = run.compose.clone();
            let old: Vec<bool> = before.jobs.iter().map(|record| record.committed).collect();
            if run.apply(event.clone()).is_err() {
                prop_assert_eq!(&before.jobs, &run.compose.jobs);
                continue;
            }
            step_is_allowed(&before, &run, &event)?;
            sound(&run)?;
            for (job, was) in old.into_iter().enumerate() {
                let record = &run.compose.jobs[job];
                if record.committed && !was {
                    let fence = record.fence.unwrap();
                    prop_assert!(commits.insert(job as u32, fence).is_none(), "I1: job {} committed twice", job);
                    prop_assert_eq!(fence.attempt, record.attempt, "I2: an older attempt committed");
                    prop_assert_eq!(&event, &Event::VerifiedOk { fence });
                }
                seen.extend(record.fence.filter(|fence| !seen.contains(fence)));
            }
            // A restart changes nothing.
            let loaded = Compose::load("C-1", run.compose.plan.clone(), run.compose.header.clone(), run.compose.jobs.clone());
            prop_assert_eq!(pending_effects(&loaded, false), pending_effects(&run.compose, false));
        }
    }
}
