//! Small plans, and a compose that takes events.

use std::sync::Arc;

use tutti_job::{Digest, Fence, JobKind, JobName, OutputSpec, Resources};

use crate::{
    lifecycle::{Compose, Effect, Event, FailureClass, IllegalTransition, JobState, Output, Timestamp, Usage, apply},
    plan::{At, Edge, Need, Plan, PlanJob},
};

pub(super) fn hard(job: u32) -> Edge {
    Edge { job, at: At::Committed, need: Need::Required }
}

pub(super) fn soft(job: u32) -> Edge {
    Edge { job, at: At::Committed, need: Need::IfItSucceeds }
}

/// A required job with one tree output.
pub(super) fn job(number: u32, edges: Vec<Edge>) -> PlanJob {
    let target = format!("compose:V{number}/x86_64/os/Packages").parse().unwrap();
    PlanJob {
        number,
        name: JobName::new(JobKind::Link, format!("V{number}"), "x86_64"),
        params_json: "{}".into(),
        fixed_inputs: Default::default(),
        derived_inputs: Default::default(),
        outputs: vec![OutputSpec::directory("out", &target)],
        edges,
        deliverable: "repo".into(),
        failable: false,
        resources: Resources::default(),
        estimate: 1,
    }
}

pub(super) fn plan_of(jobs: Vec<PlanJob>) -> Plan {
    let plan = Plan::new(jobs);
    assert_eq!(crate::plan::check(&plan), []);
    plan
}

/// Each job needs the one before it.
pub(super) fn chain(length: u32) -> Plan {
    plan_of((0..length).map(|number| job(number, number.checked_sub(1).map(hard).into_iter().collect())).collect())
}

pub(super) fn succeeded(fence: Fence) -> Event {
    let digest = Digest::of(fence.to_string().as_bytes());
    let outputs = vec![Output { name: "out".into(), digest, size: 3 }];
    Event::Succeeded { fence, outputs, warnings: vec!["odd".into()], usage: Usage { cpu_ms: 5, ..Usage::default() } }
}

pub(super) fn failed(fence: Fence, class: FailureClass) -> Event {
    Event::FailedAttempt { fence, class, cause: "it broke".into(), hint: "mend it".into(), usage: Usage::default() }
}

/// A worker is gone, and no other has been lost of late.
pub(super) fn lost(executor: u64) -> Event {
    Event::WorkerLost { executor, kept: vec![], losses: vec![], excused: false }
}

pub(super) struct Run {
    pub(super) compose: Compose,
    pub(super) now: Timestamp,
    /// Effects of the start.
    pub(super) first: Vec<Effect>,
}

impl Run {
    pub(super) fn start(plan: Plan, fail_fast: bool) -> Self {
        let compose = Compose::new("C-1", Arc::new(plan), fail_fast, Timestamp(1));
        let mut run = Self { compose, now: Timestamp(1000), first: vec![] };
        run.first = run.ok(Event::Started);
        run
    }

    /// Applies and absorbs; what is counted incrementally must be what is counted anew.
    pub(super) fn apply(&mut self, event: Event) -> Result<Vec<Effect>, IllegalTransition> {
        let (changes, effects) = apply(&self.compose, event, self.now)?;
        self.compose.absorb(changes);
        let (unmet, open) = self.compose.counts_from_scratch();
        assert_eq!(self.compose.counts(), (unmet.as_slice(), open));
        Ok(effects)
    }

    pub(super) fn ok(&mut self, event: Event) -> Vec<Effect> {
        self.apply(event).unwrap()
    }

    /// Applies an event that must change nothing.
    pub(super) fn quiet(&self, event: Event) -> Vec<Effect> {
        let (changes, effects) = apply(&self.compose, event, self.now).unwrap();
        assert!(changes.is_empty(), "{changes:?}");
        effects
    }

    pub(super) fn offer(&mut self, job: u32, executor: u64) -> Vec<Effect> {
        self.ok(Event::Offered { job, executor, worker_id: format!("w{executor}") })
    }

    pub(super) fn fence(&self, job: u32) -> Fence {
        self.compose.jobs[job as usize].fence.unwrap()
    }

    pub(super) fn commit(&mut self, job: u32) {
        self.offer(job, 1);
        self.commit_offered(job);
    }

    pub(super) fn commit_offered(&mut self, job: u32) {
        let fence = self.fence(job);
        self.ok(Event::Accepted { fence });
        self.ok(succeeded(fence));
        self.ok(Event::VerifiedOk { fence });
    }

    pub(super) fn finish_offered(&mut self, job: u32) {
        self.commit_offered(job);
        self.ok(Event::Published { job });
    }

    pub(super) fn finish(&mut self, job: u32) {
        self.offer(job, 1);
        self.finish_offered(job);
    }

    /// One letter for each job.
    pub(super) fn states(&self) -> String {
        let letter = |state: JobState| match state {
            JobState::Waiting => 'W',
            JobState::Ready => 'R',
            JobState::Offered => 'O',
            JobState::Running => 'U',
            JobState::Verifying => 'V',
            JobState::Committed => 'C',
            JobState::Published => 'P',
            JobState::Failed => 'F',
            JobState::Skipped { .. } => 'S',
            JobState::Cancelled => 'X',
        };
        self.compose.jobs.iter().map(|record| letter(record.state)).collect()
    }
}
