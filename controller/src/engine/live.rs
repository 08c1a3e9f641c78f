//! One compose in the engine's memory: its lifecycle, and what is known of it besides.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use tutti_job::{Fence, JobSpec, Volumes};
use tutti_proto::compose as api;

use super::{WATCH_QUEUE, submission::Meta};
use crate::{
    history::Recorder,
    lifecycle::{Compose, Status, Timestamp},
    plan::{PlanJob, close},
    spec::ComposeSpec,
};

/// A running attempt's own words, in memory only.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    pub(super) phase: String,
    pub(super) done: u64,
    pub(super) total: u64,
}

struct Watcher {
    sender: mpsc::Sender<Result<api::WatchResponse, tonic::Status>>,
    sequence: u64,
}

/// A compose and what surrounds its state.
pub(super) struct Live {
    pub(super) compose: Compose,
    pub(super) spec: Arc<ComposeSpec>,
    pub(super) meta: Meta,
    /// Cost of the longest chain of jobs that begins with each job.
    pub(super) remaining: Vec<u64>,
    pub(super) progress: BTreeMap<u32, Progress>,
    /// Why the scheduler did not place a ready job, by job: (worker, reason).
    pub(super) unplaced: BTreeMap<u32, Vec<(String, String)>>,
    /// What is being tried again, and why: for one job or, without number, for all.
    pub(super) trouble: BTreeMap<Option<u32>, String>,
    /// Why it is not gone on with: nothing is offered, verified, published or ended, and what workers say of it goes
    /// unheard (they say it again).
    pub(super) held: Option<Held>,
    /// What is to become of it is being looked at, since all its jobs are over; and whether to look once more after that.
    pub(super) looking: Option<Looking>,
    /// When parts of it were found to be gone last.
    pub(super) looked_at: Option<std::time::Instant>,
    /// Why the latest link could not be moved at the end.
    pub(super) unlinked: Option<String>,
    /// Jobs that are being verified or published, so that no effect runs twice at once.
    pub(super) busy: BTreeMap<u32, Busy>,
    /// Whether this controller's history tells of what it found.
    pub(super) told: bool,
    /// Revision at which each record that was found in the store was last written, by job.
    pub(super) stored_at: BTreeMap<u32, i64>,
    /// Whether STATUS and the latest link say what the header says.
    pub(super) settled: bool,
    /// A STATUS write is under way.
    pub(super) writing_status: bool,
    /// The newest status to write after it, and whether it is the last one.
    pub(super) next_status: Option<(Status, bool)>,
    /// The compose's span, of which the jobs' are children; closed when the compose is let go.
    span: tracing::Span,
    /// Spans of jobs that have been offered and are not over.
    job_spans: BTreeMap<u32, tracing::Span>,
    watchers: Vec<Watcher>,
}

/// Why a compose is not gone on with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// What its jobs made is being looked at.
    Looked,
    /// Parts of that are gone: which, and what to do.
    Damaged(String),
}

impl Held {
    /// In one line.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Looked => "the controller looks first whether all is there that its finished jobs made".to_owned(),
            Self::Damaged(reason) => reason.replace('\n', "; "),
        }
    }
}

/// A look at a compose whose jobs are over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Looking {
    pub(super) again: Again,
    pub(super) since: Instant,
}

/// How long a look takes before it is said.
const LONG_LOOK: Duration = Duration::from_secs(5);

/// Whether something changed since a look began, so that what it finds says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    No,
    Yes,
}

/// Disk work under way for one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Busy {
    Verifying,
    Publishing,
}

impl Live {
    pub(super) fn new(compose: Compose, spec: Arc<ComposeSpec>, meta: Meta) -> Self {
        let span = tracing::info_span!("compose", compose_id = %spec.identity.compose_id);
        if let Some(traceparent) = &meta.traceparent {
            tutti_telemetry::set_parent(&span, traceparent);
        }
        let remaining = compose.plan.critical_path_remaining();
        Self {
            compose,
            remaining,
            spec,
            meta,
            progress: BTreeMap::new(),
            unplaced: BTreeMap::new(),
            trouble: BTreeMap::new(),
            held: None,
            looking: None,
            looked_at: None,
            unlinked: None,
            busy: BTreeMap::new(),
            told: true,
            stored_at: BTreeMap::new(),
            settled: false,
            writing_status: false,
            next_status: None,
            span,
            job_spans: BTreeMap::new(),
            watchers: Vec::new(),
        }
    }

    pub(super) fn id(&self) -> &str {
        &self.spec.identity.compose_id
    }

    /// What keeps a job from going on, besides other jobs and workers.
    pub(super) fn trouble_of(&self, number: u32) -> Option<String> {
        if self.compose.job(number).is_none_or(|record| record.state.is_terminal()) {
            return None;
        }
        let held = self.held_for().map(|reason| format!("waits: {reason}"));
        held.or_else(|| self.trouble.get(&Some(number)).or_else(|| self.trouble.get(&None)).cloned())
    }

    /// Why it is not gone on with: while it is looked at, what keeps that from its end.
    fn held_for(&self) -> Option<String> {
        match self.held.as_ref()? {
            Held::Looked => self.trouble.get(&None).cloned().or(Some(Held::Looked.reason())),
            damaged => Some(damaged.reason()),
        }
    }

    /// What clients are told of the compose itself: what concerns open jobs, they are told of those.
    pub(super) fn own_trouble(&self) -> String {
        let held = self.held_for();
        let looking = self.looking.filter(|_| !self.compose.is_ended());
        let is_ending = (self.compose.is_ended() && !self.settled) || looking.is_some();
        let long = looking.is_some_and(|looking| looking.since.elapsed() > LONG_LOOK);
        let long = long.then(|| "its jobs are over, and its tree is looked at before it ends".to_owned());
        let ending = || self.trouble.get(&None).filter(|_| is_ending).cloned().or(long);
        let damage = || Some(self.compose.header.damage.clone()).filter(|damage| !damage.is_empty());
        held.or_else(ending).or_else(damage).or_else(|| self.unlinked.clone()).unwrap_or_default()
    }

    /// Tells the history once what was found in the store, before anything changes.
    pub(super) fn tell_found(&mut self, recorder: &mut Recorder, now: Timestamp) {
        if !std::mem::replace(&mut self.told, true) {
            recorder.plan_is(&self.compose.id, self.meta.plan);
            recorder.found(&self.compose, now, |job| self.stored_at.get(&job).copied());
        }
    }

    pub(super) fn volumes(&self) -> Volumes {
        Volumes::new(&self.meta.top)
    }

    pub(super) fn plan_job(&self, number: u32) -> Option<&PlanJob> {
        self.compose.plan.jobs.get(number as usize)
    }

    /// The closed spec of a job whose inputs are committed.
    pub(super) fn close(&self, number: u32) -> Result<JobSpec, String> {
        let job = self.plan_job(number).ok_or("no such job")?;
        let outputs = |producer: u32, name: &str| self.compose.input(number, producer, name);
        close(job, &outputs).map_err(|error| super::submission::chain(&error))
    }

    /// Trace context for an attempt at a job: the job's span begins with its first offer.
    pub(super) fn traceparent_of(&mut self, number: u32) -> String {
        let Some(name) = self.plan_job(number).map(|job| job.name.to_string()) else { return String::new() };
        let (parent, id) = (&self.span, &self.spec.identity.compose_id);
        let span = self
            .job_spans
            .entry(number)
            .or_insert_with(|| tracing::info_span!(parent: parent, "job", compose_id = %id, job = %name));
        tutti_telemetry::traceparent_of(span).unwrap_or_default()
    }

    /// Ends a job's span.
    pub(super) fn close_span(&mut self, number: u32) {
        self.job_spans.remove(&number);
    }

    /// Log of an attempt, relative to the compose's directory.
    pub(super) fn log_of(&self, number: u32, attempt: u32) -> String {
        self.plan_job(number).map(|job| job.log(attempt)).unwrap_or_default()
    }

    pub(super) fn log_path(&self, number: u32) -> PathBuf {
        let attempt = self.compose.jobs.get(number as usize).map_or(1, |record| record.attempt.max(1));
        self.meta.top.join(self.log_of(number, attempt))
    }

    /// Sends an event to all watchers; those that do not keep up are told so and dropped.
    pub(super) fn notify(&mut self, event: &api::watch_response::Event, now: i64) {
        self.watchers.retain_mut(|watcher| watcher.send(event.clone(), now));
    }

    pub(super) fn has_watchers(&self) -> bool {
        !self.watchers.is_empty()
    }

    /// Opens a watch that begins with `present`.
    pub(super) fn watch(
        &mut self,
        present: Vec<api::watch_response::Event>,
        now: i64,
    ) -> mpsc::Receiver<Result<api::WatchResponse, tonic::Status>> {
        // Present state must fit besides news, however many jobs the compose has.
        let (sender, receiver) = mpsc::channel(WATCH_QUEUE + present.len());
        let mut watcher = Watcher { sender, sequence: 0 };
        for event in present {
            watcher.send(event, now);
        }
        self.watchers.push(watcher);
        receiver
    }
}

impl Watcher {
    fn send(&mut self, event: api::watch_response::Event, now: i64) -> bool {
        self.sequence += 1;
        let response = api::WatchResponse {
            sequence: self.sequence,
            time: Some(crate::service::timestamp(now)),
            event: Some(event),
        };
        self.sender.try_send(Ok(response)).is_ok()
    }
}

/// Fences named in messages must belong to jobs of the plan.
pub(super) fn known(live: &Live, fence: &Fence) -> bool {
    live.plan_job(fence.job).is_some()
}
