//! The state of a compose: header and job records as they are stored, and what is derived from them.

use std::{fmt, sync::Arc};

use tutti_job::{Digest, Fence};

use super::{Changes, KEPT_ATTEMPTS};
use crate::plan::{At, Need, Plan};

/// Milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This many milliseconds later.
    #[must_use]
    pub fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }
}

/// Status of a compose: the word in its STATUS file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Status {
    /// Under way.
    #[default]
    Started,
    /// Everything is there.
    Finished,
    /// Everything is there but deliverables that may fail.
    FinishedIncomplete,
    /// Something required failed; jobs may still be running.
    Doomed,
    /// Somebody cancelled it; jobs may still be running.
    Terminated,
}

impl Status {
    /// The word (pungi 4.3.2, STATUS).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "STARTED",
            Self::Finished => "FINISHED",
            Self::FinishedIncomplete => "FINISHED_INCOMPLETE",
            Self::Doomed => "DOOMED",
            Self::Terminated => "TERMINATED",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a job is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum JobState {
    /// For other jobs.
    #[default]
    Waiting,
    /// For a worker.
    Ready,
    /// A worker was asked.
    Offered,
    /// A worker runs it.
    Running,
    /// Success was reported, the outputs are being looked at.
    Verifying,
    /// The outputs are recorded.
    Committed,
    /// The outputs stand in the tree. Final.
    Published,
    /// Until somebody retries it.
    Failed,
    /// Cannot run.
    Skipped {
        /// The failed job to blame.
        because: u32,
    },
    /// The compose was cancelled.
    Cancelled,
}

impl JobState {
    /// The word for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Ready => "ready",
            Self::Offered => "offered",
            Self::Running => "running",
            Self::Verifying => "verifying",
            Self::Committed => "committed",
            Self::Published => "published",
            Self::Failed => "failed",
            Self::Skipped { .. } => "skipped",
            Self::Cancelled => "cancelled",
        }
    }

    /// Ends without result: failed, skipped or cancelled.
    pub fn is_dead(self) -> bool {
        matches!(self, Self::Failed | Self::Skipped { .. } | Self::Cancelled)
    }

    /// Nothing will happen to it by itself.
    pub fn is_terminal(self) -> bool {
        self == Self::Published || self.is_dead()
    }

    /// An attempt is under way: the record's fence is current.
    pub fn has_attempt(self) -> bool {
        matches!(self, Self::Offered | Self::Running | Self::Verifying)
    }

    /// Not begun: waits for jobs or a worker.
    pub fn is_pending(self) -> bool {
        matches!(self, Self::Waiting | Self::Ready)
    }

    /// Whether an edge to a job of this state holds.
    pub(super) fn satisfies(self, at: At, need: Need) -> bool {
        let arrived = match at {
            At::Committed => matches!(self, Self::Committed | Self::Published),
            At::Published => self == Self::Published,
        };
        arrived || (need == Need::IfItSucceeds && self.is_dead())
    }
}

/// Why an attempt failed; decides whether another may do better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureClass {
    /// The host, its disk or network.
    Infra,
    /// What the job reads.
    Input,
    /// The job itself.
    Tool,
    /// It took too long.
    Timeout,
    /// It was told to end.
    Cancelled,
    /// It kills whatever runs it.
    Poisoned,
    /// A service outside.
    External,
    /// The disk is full.
    NoSpace,
}

impl FailureClass {
    /// The word for people and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Infra => "infra",
            Self::Input => "input",
            Self::Tool => "tool",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Poisoned => "poisoned",
            Self::External => "external",
            Self::NoSpace => "ENOSPC",
        }
    }

    /// What to do where nobody who saw the failure knows better.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Infra => "look at the worker's host and at the compose volume; tutti retry runs the job again",
            Self::Input => {
                "mend what is named above; tutti retry runs the job again, a changed configuration needs a new compose"
            }
            Self::Tool => "look at the job's log; if the program is to blame, report it with the log",
            Self::Timeout => "look at the job's log for what it waited for; tutti retry runs it again",
            Self::Cancelled => "tutti retry runs the job again",
            Self::Poisoned => "look at the attempts' logs and at the workers' memory; tutti retry runs the job again",
            Self::External => "look at the service that is named above; tutti retry runs the job again",
            Self::NoSpace => "free space on the volume, then run tutti retry",
        }
    }

    /// Whether the same job may succeed elsewhere or later.
    pub fn may_pass(self) -> bool {
        match self {
            Self::Infra | Self::External | Self::NoSpace | Self::Cancelled => true,
            Self::Input | Self::Tool | Self::Timeout | Self::Poisoned => false,
        }
    }
}

/// Status of the whole compose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The status.
    pub status: Status,
    /// The first required job that failed.
    pub doomed_by: Option<u32>,
    /// Somebody cancelled it.
    pub cancelled: bool,
    /// A required failure cancels the rest.
    pub fail_fast: bool,
    /// No attempt may begin until a retry: cancelled, or a required job failed and `fail_fast` is set.
    pub stopping: bool,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When its first jobs became ready.
    pub started_at: Option<Timestamp>,
    /// When nothing ran any more.
    pub ended_at: Option<Timestamp>,
    /// What was gone of the tree when all jobs were over, and what to do; empty: nothing.
    pub damage: String,
}

impl Header {
    /// Whether it has ended though all its jobs may be done: only its tree was not whole, or not looked at.
    pub fn may_be_looked_at_again(&self) -> bool {
        self.ended_at.is_some() && (self.cancelled || !self.damage.is_empty())
    }

    /// Whether it is stored after the records of its jobs, where all do not fit in one transaction. One that says the
    /// end must not be there before the jobs that ended. Any other must be: jobs that were cancelled, or that came back
    /// by a retry, would be found in a compose that knows nothing of it.
    pub fn is_stored_last(&self) -> bool {
        self.ended_at.is_some() && !self.stopping
    }
}

/// What one attempt used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time in milliseconds.
    pub cpu_ms: u64,
    /// Highest memory use in bytes.
    pub peak_memory_bytes: u64,
    /// Bytes read, hashed, compressed …; the first twelve are kept.
    pub counters: Vec<(String, u64)>,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttemptResult {
    /// It has not.
    Open,
    /// Its outputs are committed.
    Committed,
    /// It failed.
    Failed,
    /// Its worker is gone.
    Lost,
    /// The worker never began it.
    NeverStarted,
    /// It was told to end.
    Cancelled,
}

impl AttemptResult {
    /// The word for people and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Committed => "committed",
            Self::Failed => "failed",
            Self::Lost => "lost",
            Self::NeverStarted => "never-started",
            Self::Cancelled => "cancelled",
        }
    }
}

/// One attempt at a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRecord {
    /// From 1.
    pub number: u32,
    /// Incarnation of the worker.
    pub executor: u64,
    /// Its name.
    pub worker_id: String,
    /// When it was offered.
    pub offered: Timestamp,
    /// When the worker accepted it.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// How it ended.
    pub result: AttemptResult,
    /// Kind of failure.
    pub class: Option<FailureClass>,
    /// One line; empty for success.
    pub cause: String,
    /// What it used.
    pub usage: Usage,
}

/// One output that a job made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Name in the job spec.
    pub name: String,
    /// SHA-256 of the file, or of the manifest of a tree.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}

/// A worker that is not to be asked for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exclusion {
    /// Name of the worker.
    pub worker_id: String,
    /// From then on it may be asked again.
    pub until: Timestamp,
}

/// What is stored of one job: small, whatever happened to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobRecord {
    /// Where it is.
    pub state: JobState,
    /// Number of the last attempt; 0 before the first.
    pub attempt: u32,
    /// Failed attempts, which count against [`super::MAX_TRIES`], since the last retry.
    pub tries: u32,
    /// Workers that were lost while they held it, since the last retry.
    pub losses: u32,
    /// The last attempt that was not refused. Current while [`JobState::has_attempt`].
    pub fence: Option<Fence>,
    /// The outputs are recorded for good: no attempt may commit again.
    pub committed: bool,
    /// The last [`KEPT_ATTEMPTS`] attempts.
    pub attempts: Vec<AttemptRecord>,
    /// What the job made, sorted by name: reported while verifying, recorded once committed.
    pub outputs: Vec<Output>,
    /// Why it failed, was skipped, or starts again.
    pub reason: String,
    /// Kind of the failure.
    pub class: Option<FailureClass>,
    /// What can be done about it.
    pub hint: String,
    /// When it last became ready.
    pub ready_at: Option<Timestamp>,
    /// When a worker last began it.
    pub started_at: Option<Timestamp>,
    /// When its last attempt ended.
    pub ended_at: Option<Timestamp>,
    /// What a person should read though it succeeded; the first eight are kept.
    pub warnings: Vec<String>,
    /// Workers not to be asked for a while.
    pub excluded: Vec<Exclusion>,
    /// Workers where it failed: asked only if there is no other.
    pub avoid: Vec<String>,
    /// Since when its attempts meet a full disk, moved along by the time in which they had space.
    pub full_since: Option<Timestamp>,
    /// It is not offered before then: for space on a full disk.
    pub not_before: Option<Timestamp>,
}

impl JobRecord {
    /// The fence of the attempt under way.
    pub fn current(&self) -> Option<Fence> {
        self.fence.filter(|_| self.state.has_attempt())
    }

    /// Whether the files of that attempt are still to be looked at or moved: its worker must keep them.
    pub fn needs_staging(&self, fence: Fence) -> bool {
        let unpublished = self.committed && self.state != JobState::Published;
        self.fence == Some(fence) && (self.state == JobState::Verifying || unpublished)
    }

    /// Whether that attempt was given up with its worker, and no other has been made: its fence still counts.
    pub fn may_revive(&self, fence: Fence) -> bool {
        let given_up = self.attempts.last().is_some_and(|attempt| {
            (attempt.number, attempt.executor, attempt.result) == (fence.attempt, fence.executor, AttemptResult::Lost)
        });
        self.state == JobState::Ready && self.fence == Some(fence) && given_up
    }

    /// Digest of a recorded output.
    pub fn output(&self, name: &str) -> Option<Digest> {
        if !self.committed {
            return None;
        }
        self.outputs.iter().find(|output| output.name == name).map(|output| output.digest)
    }

    /// Whether its next attempt gets a worker of its own: it may be what ends them.
    pub fn runs_alone(&self) -> bool {
        self.losses >= super::ALONE_AFTER
    }

    /// Names of workers that are not to be asked now.
    pub fn excluded_at(&self, now: Timestamp) -> Vec<String> {
        let active = self.excluded.iter().filter(|exclusion| exclusion.until > now);
        active.map(|exclusion| exclusion.worker_id.clone()).collect()
    }

    /// The worker of the last attempt is asked only if there is no other.
    pub(super) fn avoid_last_worker(&mut self) {
        if let Some(worker) = self.attempts.last().map(|attempt| attempt.worker_id.clone()) {
            self.avoid.retain(|known| *known != worker);
            self.avoid.push(worker);
        }
    }

    /// No job fails without a class, a cause and something to do.
    pub(super) fn explain_failure(&mut self) {
        let class = *self.class.get_or_insert(FailureClass::Tool);
        if self.reason.trim().is_empty() {
            self.reason = "the attempt failed without saying why".to_owned();
        }
        if self.hint.trim().is_empty() {
            self.hint = class.hint().to_owned();
        }
    }

    pub(super) fn push_attempt(&mut self, attempt: AttemptRecord) {
        self.attempts.push(attempt);
        if self.attempts.len() > KEPT_ATTEMPTS {
            self.attempts.remove(0);
        }
    }
}

/// What is to become of an attempt's staging directory that its worker does not remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StagingFate {
    /// Its attempt is under way, or its files are still to be looked at or moved.
    Keep,
    /// A later attempt may go on from its checkpoints; without any it is of no use.
    KeepCheckpoints,
    /// Nobody wants it.
    Remove,
}

/// Which staging directories are wanted, as of one moment.
#[derive(Clone, Debug)]
pub struct Leftovers {
    /// For each job its newest attempt, whether it is committed, and the fence whose files are needed.
    jobs: Vec<(u32, bool, Option<Fence>)>,
}

impl Leftovers {
    /// What is to become of that attempt's directory. Attempts that are newer than this are kept.
    pub fn fate(&self, fence: &Fence) -> StagingFate {
        match self.jobs.get(fence.job as usize) {
            Some((newest, _, needed)) if fence.attempt > *newest || *needed == Some(*fence) => StagingFate::Keep,
            Some((_, false, _)) => StagingFate::KeepCheckpoints,
            Some((_, true, _)) | None => StagingFate::Remove,
        }
    }
}

/// A compose as the controller holds it: stored state, and counts derived from it.
#[derive(Clone, Debug)]
pub struct Compose {
    /// Compose id.
    pub id: String,
    /// The plan; never changes.
    pub plan: Arc<Plan>,
    /// Stored header.
    pub header: Header,
    /// Stored records, by job number.
    pub jobs: Vec<JobRecord>,
    /// How many edges of each job do not hold yet.
    pub(super) unmet: Vec<u32>,
    /// How many jobs are not terminal.
    pub(super) open: usize,
}

impl Compose {
    /// A new compose, all of whose jobs wait; [`super::Event::Started`] comes next.
    pub fn new(id: impl Into<String>, plan: Arc<Plan>, fail_fast: bool, now: Timestamp) -> Self {
        let jobs = vec![JobRecord::default(); plan.jobs.len()];
        let header = Header { fail_fast, created_at: now, ..Header::default() };
        Self::load(id, plan, header, jobs)
    }

    /// A compose from the store. Missing records are those of jobs that wait.
    pub fn load(id: impl Into<String>, plan: Arc<Plan>, header: Header, mut jobs: Vec<JobRecord>) -> Self {
        jobs.resize(plan.jobs.len(), JobRecord::default());
        let mut compose = Self { id: id.into(), plan, header, jobs, unmet: Vec::new(), open: 0 };
        (compose.unmet, compose.open) = compose.counts_from_scratch();
        compose
    }

    /// Takes in what was stored.
    pub fn absorb(&mut self, changes: Changes) {
        if let Some(header) = changes.header {
            self.header = header;
        }
        let plan = Arc::clone(&self.plan);
        for (number, record) in changes.jobs {
            let Some(slot) = self.jobs.get_mut(number as usize) else { continue };
            let (before, after) = (slot.state, record.state);
            *slot = record;
            self.open = self.open + usize::from(!after.is_terminal()) - usize::from(!before.is_terminal());
            for dependent in plan.dependents(number) {
                let held = before.satisfies(dependent.at, dependent.need);
                let holds = after.satisfies(dependent.at, dependent.need);
                if let Some(count) = self.unmet.get_mut(dependent.job as usize) {
                    *count = count.saturating_add(u32::from(held)).saturating_sub(u32::from(holds));
                }
            }
        }
    }

    /// Counts the edges that do not hold and the jobs that are not terminal anew.
    pub fn counts_from_scratch(&self) -> (Vec<u32>, usize) {
        let state = |job: u32| self.jobs.get(job as usize).map(|record| record.state).unwrap_or_default();
        let unmet = |edges: &[crate::plan::Edge]| {
            let open = edges.iter().filter(|edge| !state(edge.job).satisfies(edge.at, edge.need)).count();
            u32::try_from(open).unwrap_or(u32::MAX)
        };
        let counts = self.plan.jobs.iter().map(|job| unmet(&job.edges)).collect();
        (counts, self.jobs.iter().filter(|record| !record.state.is_terminal()).count())
    }

    /// The incremental counts: must equal [`Compose::counts_from_scratch`].
    pub fn counts(&self) -> (&[u32], usize) {
        (&self.unmet, self.open)
    }

    /// The record of that job.
    pub fn job(&self, number: u32) -> Option<&JobRecord> {
        self.jobs.get(number as usize)
    }

    /// Which staging directories are wanted now.
    pub fn leftovers(&self) -> Leftovers {
        let of = |record: &JobRecord| {
            let wanted = |fence: &Fence| {
                record.current() == Some(*fence) || record.needs_staging(*fence) || record.may_revive(*fence)
            };
            let needed = record.fence.filter(wanted);
            (record.attempt, record.committed, needed)
        };
        Leftovers { jobs: self.jobs.iter().map(of).collect() }
    }

    /// Digest of a committed output, for [`crate::plan::close`].
    pub fn output(&self, job: u32, name: &str) -> Option<Digest> {
        self.job(job)?.output(name)
    }

    /// Digest of an output as `reader` may have it, for [`crate::plan::close`]: nothing where it waits for the tree and
    /// the producer could not be published.
    pub fn input(&self, reader: u32, producer: u32, name: &str) -> Option<Digest> {
        let in_tree = self.plan.job(reader)?.edge_to(producer).is_some_and(|edge| edge.at == At::Published);
        let producer = self.job(producer)?;
        if in_tree && producer.state != JobState::Published { None } else { producer.output(name) }
    }

    /// Whether no new attempt may begin: cancelled, or doomed with `--fail-fast`.
    pub fn is_stopping(&self) -> bool {
        self.header.stopping
    }

    /// Whether all jobs are over, and what they made is still to be looked at.
    pub fn is_to_be_looked_at(&self) -> bool {
        self.open == 0 && !self.is_ended() && self.header.started_at.is_some()
    }

    /// Whether nothing runs or waits.
    pub fn is_ended(&self) -> bool {
        self.header.ended_at.is_some()
    }

    /// Numbers of the jobs that wait for a worker.
    pub fn ready(&self) -> impl Iterator<Item = u32> + '_ {
        self.numbered().filter(|(_, record)| record.state == JobState::Ready).map(|(number, _)| number)
    }

    /// All records with their numbers.
    pub fn numbered(&self) -> impl Iterator<Item = (u32, &JobRecord)> + '_ {
        self.plan.jobs.iter().map(|job| job.number).zip(&self.jobs)
    }
}
