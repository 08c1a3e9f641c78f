//! The history of a compose: one line of JSON for each change that was stored, to be read by people and checked by
//! [`check`].
//!
//! Lines are written after the transaction that they tell of, by best effort: a crash loses the last ones, and a line
//! may be there twice. So each carries the controller's epoch and a sequence number within it, and what a new
//! controller finds in the store it states again ([`Cause::Found`]). Every epoch has a file of its own, because several
//! writers must not append to one file on a shared volume.

mod check;
mod line;
mod read;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use check::{Checker, Expect, Invariant, Violation, check};
pub use line::{Cause, Change, ComposeChange, JobChange, LONGEST, Lease, Line, Next, next, parse};
pub use read::{Recorded, check_directory, read, tells_end};

use tutti_job::Digest;

use crate::{
    lifecycle::{Changes, Compose, Header, JobRecord, Timestamp},
    schedule::{Assignment, WorkerView},
};

/// Directory of the files, below the compose's directory.
pub const DIRECTORY: &str = "logs/global";

/// Name of the file of one epoch.
pub fn file_name(epoch: i64) -> String {
    format!("history.{epoch}.jsonl")
}

/// Whether a file of [`DIRECTORY`] belongs to the history.
pub fn is_file_name(name: &str) -> bool {
    epoch_of(name).is_some()
}

/// Epoch of a file of that name; `None` for one that is not part of the history.
pub fn epoch_of(name: &str) -> Option<u64> {
    let epoch = name.strip_prefix("history.").and_then(|rest| rest.strip_suffix(".jsonl"))?;
    epoch.bytes().all(|byte| byte.is_ascii_digit()).then(|| epoch.parse().ok())?
}

/// Collects lines while a turn changes the state, and gives them out once that is stored.
#[derive(Debug)]
pub struct Recorder {
    epoch: i64,
    sequences: BTreeMap<String, u64>,
    pending: Vec<Line>,
    plans: BTreeMap<String, Digest>,
    /// What the scheduler counts for workers that are about to be offered a job.
    leases: BTreeMap<u64, Lease>,
}

impl Recorder {
    /// A recorder of the controller of that epoch.
    pub fn new(epoch: i64) -> Self {
        Self { epoch, sequences: BTreeMap::new(), pending: Vec::new(), plans: BTreeMap::new(), leases: BTreeMap::new() }
    }

    /// The epoch, which names the file.
    pub fn epoch(&self) -> i64 {
        self.epoch
    }

    /// Names the blob of a compose's plan, which the next line about its header will tell.
    pub fn plan_is(&mut self, compose: &str, plan: Digest) {
        self.plans.insert(compose.to_owned(), plan);
    }

    /// Forgets a compose that was never stored.
    pub fn forget(&mut self, compose: &str) {
        self.sequences.remove(compose);
        self.plans.remove(compose);
        self.pending.retain(|line| line.compose != compose);
    }

    /// Notes what was read from the store. `stored_at` gives the revision at which a job's record was last written.
    pub fn found(&mut self, compose: &Compose, now: Timestamp, stored_at: impl Fn(u32) -> Option<i64>) {
        let batch = self.next(&compose.id);
        let header = compose_change(compose, &compose.header, self.plans.remove(&compose.id));
        self.push(compose, batch, Cause::Found, now, Change::Compose(header));
        for (job, record) in compose.numbered() {
            let stored = stored_at(job);
            // A job that was retried waits as if it had never begun, but it has a record, and had a history before.
            if stored.is_some() || *record != JobRecord::default() {
                let mut change = job_change(compose, job, record, record);
                change.stored_at = stored;
                self.push(compose, batch, Cause::Found, now, Change::Job(change));
            }
        }
    }

    /// Notes what the scheduler counts, before the offers of its round are applied.
    pub fn round(&mut self, views: &[WorkerView]) {
        self.leases = views.iter().map(|view| (view.executor, Lease::of(view))).collect();
    }

    /// Notes an assignment of the round, before its offer is applied.
    pub fn assigned(&mut self, assignment: &Assignment) {
        if let Some(lease) = self.leases.get_mut(&assignment.executor) {
            lease.add(&assignment.reserve);
        }
    }

    /// Notes the changes of one event; `compose` does not have them yet.
    pub fn change(&mut self, compose: &Compose, cause: Cause, changes: &Changes, now: Timestamp) {
        let batch = self.next(&compose.id);
        if let Some(header) = &changes.header {
            let header = compose_change(compose, header, self.plans.remove(&compose.id));
            self.push(compose, batch, cause, now, Change::Compose(header));
        }
        for (job, record) in &changes.jobs {
            let Some(before) = compose.job(*job) else { continue };
            let mut change = job_change(compose, *job, before, record);
            if cause == Cause::Offered {
                change.lease = change.executor.and_then(|executor| self.leases.get(&executor).copied());
            }
            self.push(compose, batch, cause, now, Change::Job(change));
        }
    }

    /// All lines since the last call, which are stored as of `revision`, by compose.
    pub fn take(&mut self, revision: i64) -> BTreeMap<String, Vec<Line>> {
        let mut lines = BTreeMap::<String, Vec<Line>>::new();
        for line in std::mem::take(&mut self.pending) {
            // What was found was there when the epoch began, whenever that is told.
            let revision = if line.cause == Cause::Found { self.epoch } else { revision };
            lines.entry(line.compose.clone()).or_default().push(Line { revision, ..line });
        }
        lines
    }

    /// As [`Recorder::take`], as text to append.
    pub fn stored(&mut self, revision: i64) -> BTreeMap<String, String> {
        let text = |lines: Vec<Line>| lines.iter().map(|line| line.to_json() + "\n").collect();
        self.take(revision).into_iter().map(|(compose, lines)| (compose, text(lines))).collect()
    }

    fn next(&self, compose: &str) -> u64 {
        self.sequences.get(compose).copied().unwrap_or(0) + 1
    }

    fn push(&mut self, compose: &Compose, batch: u64, cause: Cause, now: Timestamp, change: Change) {
        let seq = self.next(&compose.id);
        self.sequences.insert(compose.id.clone(), seq);
        let (epoch, compose) = (self.epoch, compose.id.clone());
        self.pending.push(Line { epoch, seq, batch, revision: 0, time_ms: now.0, compose, cause, change });
    }
}

fn compose_change(compose: &Compose, header: &Header, plan: Option<Digest>) -> ComposeChange {
    ComposeChange {
        plan,
        jobs: u32::try_from(compose.plan.jobs.len()).unwrap_or(u32::MAX),
        status: header.status.as_str().to_owned(),
        doomed_by: header.doomed_by,
        cancelled: header.cancelled,
        fail_fast: header.fail_fast,
        stopping: header.stopping,
        started: header.started_at.is_some(),
        ended: header.ended_at.is_some(),
        looks: true,
        damage: header.damage.clone(),
    }
}

fn job_change(compose: &Compose, job: u32, before: &JobRecord, after: &JobRecord) -> JobChange {
    let planned = compose.plan.job(job);
    let resources = planned.map(|planned| planned.resources).unwrap_or_default();
    JobChange {
        job,
        name: planned.map(|planned| planned.name.to_string()).unwrap_or_default(),
        from: before.state,
        to: after.state,
        attempt: after.attempt,
        executor: after.fence.map(|fence| fence.executor),
        worker: after.attempts.last().map(|attempt| attempt.worker_id.clone()).unwrap_or_default(),
        tries: after.tries,
        committed: after.committed,
        outputs: line::digest_of(&after.outputs),
        class: after.class.map(|class| class.as_str().to_owned()),
        cpu_milli: resources.cpu_milli,
        memory_bytes: resources.memory_bytes,
        lease: None,
        stored_at: None,
    }
}
