//! What becomes of a compose and its jobs: total pure functions over stored state.
//!
//! [`apply`] takes an event and gives the records to store and the effects to perform once they are stored;
//! [`Compose::absorb`] takes the stored changes in. After a restart [`pending_effects`] gives the effects again: each
//! is idempotent by (job, attempt).
//!
//! Messages may be late, repeated or about attempts of long ago. Whatever names a fence that is not current changes
//! nothing; where a worker waits for an answer it is told [`Effect::SendRefused`].

mod apply;
mod blame;
mod record;
mod state;
#[cfg(test)]
mod tests;
mod transition;
mod why;

pub use apply::{apply, pending_effects};
pub use blame::Loss;
pub use record::{DecodeError, RECORD_VERSION};
pub use state::{
    AttemptRecord, AttemptResult, Compose, Exclusion, FailureClass, Header, JobRecord, JobState, Leftovers, Output,
    StagingFate, Status, Timestamp, Usage,
};
pub use why::why;

use tutti_job::Fence;

/// Counted tries of a job before an infrastructure failure is final.
pub const MAX_TRIES: u32 = 3;
/// Lost workers after which a job is called poisoned however many others are being lost.
pub const MAX_LOSSES: u32 = 8;
/// Lost workers after which a job runs alone on its worker, so that nothing beside it is blamed for its end.
pub const ALONE_AFTER: u32 = 2;
/// How long a job that met a full disk is tried again, uncounted, before that is its failure, in milliseconds of
/// waiting for space.
pub const FULL_DISK_MS: i64 = 15 * 60_000;
/// How much of the time of an attempt that met a full disk counts as waiting, in milliseconds: what ran longer had space.
pub const FULL_DISK_NOTICED_MS: i64 = 2 * 60_000;
/// The first pause of such a job in milliseconds; it doubles, up to [`FULL_DISK_PAUSE_MAX_MS`].
pub const FULL_DISK_PAUSE_MS: i64 = 1_000;
/// The longest one.
pub const FULL_DISK_PAUSE_MAX_MS: i64 = 20_000;
/// Attempts that a record keeps.
pub const KEPT_ATTEMPTS: usize = 8;
/// How long a worker that refused a job for a passing reason is not asked again, in milliseconds.
pub const SOFT_EXCLUSION_MS: i64 = 60_000;
/// How long a worker that said it cannot run a job is not asked again, in milliseconds.
pub const HARD_EXCLUSION_MS: i64 = 600_000;
/// How long a worker that did not answer an offer is not asked again, in milliseconds.
pub const TIMEOUT_EXCLUSION_MS: i64 = 5_000;

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The compose begins: jobs that wait for nothing become ready.
    Started,
    /// The state was read from the store, where a change of very many jobs may have arrived in part: what follows from
    /// the part that is there is done again.
    Loaded,
    /// A worker is chosen for a ready job. To be stored before the offer is sent.
    Offered {
        /// The job.
        job: u32,
        /// Incarnation of the worker.
        executor: u64,
        /// Its name.
        worker_id: String,
    },
    /// The worker began.
    Accepted {
        /// The attempt.
        fence: Fence,
    },
    /// The worker does not begin.
    Rejected {
        /// The attempt.
        fence: Fence,
        /// Why.
        reason: String,
        /// Worth trying again there later.
        soft: bool,
    },
    /// The worker did not answer an offer in time. Not counted as a try.
    AcceptTimedOut {
        /// The attempt.
        fence: Fence,
    },
    /// The worker reports success.
    Succeeded {
        /// The attempt.
        fence: Fence,
        /// What it made.
        outputs: Vec<Output>,
        /// What a person should read.
        warnings: Vec<String>,
        /// What it used.
        usage: Usage,
    },
    /// The outputs were found as reported.
    VerifiedOk {
        /// The attempt.
        fence: Fence,
    },
    /// The outputs are not as reported, or cannot be looked at.
    VerifyFailed {
        /// The attempt.
        fence: Fence,
        /// Kind of failure: of the worker's host, or of the controller's disk.
        class: FailureClass,
        /// How they differ.
        cause: String,
    },
    /// The worker reports failure.
    FailedAttempt {
        /// The attempt.
        fence: Fence,
        /// Kind of failure.
        class: FailureClass,
        /// One line.
        cause: String,
        /// What can be done; may be empty.
        hint: String,
        /// What it used.
        usage: Usage,
    },
    /// The outputs of a committed job stand in the tree.
    Published {
        /// The job.
        job: u32,
    },
    /// They cannot be moved there.
    PublishFailed {
        /// The job.
        job: u32,
        /// Kind of failure: the disk is full, or anything else of the volume.
        class: FailureClass,
        /// Why.
        cause: String,
        /// What was staged is not there any more: no retry can move it.
        lost: bool,
    },
    /// A worker incarnation is gone for good: its lease ran out, or the worker started anew.
    WorkerLost {
        /// Its incarnation.
        executor: u64,
        /// Attempts that had ended before it, and whose outcome its successor will deliver.
        kept: Vec<Fence>,
        /// All workers lost in the recent past, this one too or not.
        losses: Vec<Loss>,
        /// Whether it ended with its controller, as the worker of `tutti compose` does: no job is to blame for that.
        excused: bool,
    },
    /// Somebody cancels the compose.
    Cancel,
    /// Somebody asks for jobs again; an empty list means all that can be.
    Retry {
        /// Numbers of failed, skipped or cancelled jobs.
        jobs: Vec<u32>,
    },
    /// The worker ended an attempt because it was told to.
    KilledConfirmed {
        /// The attempt.
        fence: Fence,
    },
    /// What was published was looked at, after all jobs were over.
    Looked {
        /// What is gone, and what to do; none: all is there.
        damage: Option<String>,
    },
}

/// What is to be done once the changes are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send the offer to the worker that the fence names.
    SendOffer {
        /// The attempt.
        fence: Fence,
    },
    /// Tell the worker that its outcome is stored, success or failure.
    SendCommit {
        /// The attempt.
        fence: Fence,
    },
    /// Tell the worker that its message has no effect.
    SendRefused {
        /// The attempt.
        fence: Fence,
        /// Why.
        reason: String,
    },
    /// Tell the worker to end the attempt.
    CancelAttempt {
        /// The attempt.
        fence: Fence,
    },
    /// Compare the reported outputs with the files.
    Verify {
        /// The attempt.
        fence: Fence,
    },
    /// Move the outputs of a committed job into the tree.
    Publish {
        /// The job.
        job: u32,
    },
    /// Write the compose's STATUS file.
    WriteStatus {
        /// The status.
        status: Status,
    },
    /// All jobs are over and nothing required failed: look whether all stands in the tree that was published.
    Look,
    /// Nothing runs any more: latest link, last status, summary.
    Finish {
        /// The status.
        status: Status,
    },
}

/// What is to be stored, all in one transaction.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// The new header, if it changed.
    pub header: Option<Header>,
    /// Number and new record of each changed job, by number.
    pub jobs: Vec<(u32, JobRecord)>,
}

impl Changes {
    /// Whether there is nothing to store.
    pub fn is_empty(&self) -> bool {
        self.header.is_none() && self.jobs.is_empty()
    }
}

/// An event that does not fit the state: a mistake of the caller, or a request that cannot be granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IllegalTransition {
    /// The plan has no such job.
    #[error("the compose has no job {0}")]
    NoJob(u32),
    /// The job's state does not allow it.
    #[error("job {job} is {state}, it cannot be {wanted}")]
    State {
        /// Name of the job.
        job: String,
        /// Its state.
        state: &'static str,
        /// What was to become of it.
        wanted: &'static str,
    },
    /// The compose has begun already, or not yet.
    #[error("the compose is {status}, it cannot be {wanted}")]
    Compose {
        /// Its status.
        status: &'static str,
        /// What was to become of it.
        wanted: &'static str,
    },
    /// No job can be run again.
    #[error("no job failed, was skipped or cancelled: there is nothing to retry")]
    NothingToRetry,
    /// Somebody has gone on without the job.
    #[error("{user} was made without {job}, which is too late to retry; hint: make a new compose")]
    TooLate {
        /// Name of the job to retry.
        job: String,
        /// Name of the one that went on.
        user: String,
    },
}
