//! Stored forms of header and job records: a version byte, then protobuf.

use prost::Message;
use tutti_job::{Digest, Fence};

use super::{
    AttemptRecord, AttemptResult, Exclusion, FailureClass, Header, JobRecord, JobState, Output, Status, Timestamp,
    Usage,
};

/// Version byte of everything written here.
pub const RECORD_VERSION: u8 = 1;

/// Stored bytes that are refused.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// No bytes.
    #[error("stored {what} is empty")]
    Empty {
        /// What was expected.
        what: &'static str,
    },
    /// Written by another release.
    #[error(
        "stored {what} has version {found}, this program reads version {RECORD_VERSION}; hint: use the release that wrote it, or a newer one"
    )]
    Version {
        /// What was expected.
        what: &'static str,
        /// Version found.
        found: u8,
    },
    /// No such message.
    #[error("cannot decode stored {what}")]
    Message {
        /// What was expected.
        what: &'static str,
        /// Why not.
        #[source]
        source: prost::DecodeError,
    },
    /// A field has a value that none of this version has.
    #[error("stored {what}: {field} has the unknown value {value}")]
    Value {
        /// What was expected.
        what: &'static str,
        /// The field.
        field: &'static str,
        /// Its value.
        value: i64,
    },
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredHeader {
    #[prost(uint32, tag = "1")]
    status: u32,
    #[prost(uint32, optional, tag = "2")]
    doomed_by: Option<u32>,
    #[prost(bool, tag = "3")]
    cancelled: bool,
    #[prost(bool, tag = "4")]
    fail_fast: bool,
    #[prost(int64, tag = "5")]
    created_at: i64,
    #[prost(int64, optional, tag = "6")]
    started_at: Option<i64>,
    #[prost(int64, optional, tag = "7")]
    ended_at: Option<i64>,
    #[prost(bool, tag = "8")]
    stopping: bool,
    #[prost(string, tag = "9")]
    damage: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredJob {
    #[prost(uint32, tag = "1")]
    state: u32,
    #[prost(uint32, tag = "2")]
    because: u32,
    #[prost(uint32, tag = "3")]
    attempt: u32,
    #[prost(uint32, tag = "4")]
    tries: u32,
    #[prost(message, optional, tag = "5")]
    fence: Option<StoredFence>,
    #[prost(bool, tag = "6")]
    committed: bool,
    #[prost(message, repeated, tag = "7")]
    attempts: Vec<StoredAttempt>,
    #[prost(message, repeated, tag = "8")]
    outputs: Vec<StoredOutput>,
    #[prost(string, tag = "9")]
    reason: String,
    #[prost(uint32, tag = "10")]
    class: u32,
    #[prost(string, tag = "11")]
    hint: String,
    #[prost(int64, optional, tag = "12")]
    ready_at: Option<i64>,
    #[prost(int64, optional, tag = "13")]
    started_at: Option<i64>,
    #[prost(int64, optional, tag = "14")]
    ended_at: Option<i64>,
    #[prost(string, repeated, tag = "15")]
    warnings: Vec<String>,
    #[prost(message, repeated, tag = "16")]
    excluded: Vec<StoredExclusion>,
    #[prost(string, repeated, tag = "17")]
    avoid: Vec<String>,
    #[prost(uint32, tag = "18")]
    losses: u32,
    #[prost(int64, optional, tag = "19")]
    full_since: Option<i64>,
    #[prost(int64, optional, tag = "20")]
    not_before: Option<i64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredFence {
    #[prost(uint32, tag = "1")]
    job: u32,
    #[prost(uint32, tag = "2")]
    attempt: u32,
    #[prost(fixed64, tag = "3")]
    executor: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredAttempt {
    #[prost(uint32, tag = "1")]
    number: u32,
    #[prost(fixed64, tag = "2")]
    executor: u64,
    #[prost(string, tag = "3")]
    worker_id: String,
    #[prost(int64, tag = "4")]
    offered: i64,
    #[prost(int64, optional, tag = "5")]
    started: Option<i64>,
    #[prost(int64, optional, tag = "6")]
    ended: Option<i64>,
    #[prost(uint32, tag = "7")]
    result: u32,
    #[prost(uint32, tag = "8")]
    class: u32,
    #[prost(string, tag = "9")]
    cause: String,
    #[prost(uint64, tag = "10")]
    cpu_ms: u64,
    #[prost(uint64, tag = "11")]
    peak_memory_bytes: u64,
    #[prost(message, repeated, tag = "12")]
    counters: Vec<StoredCounter>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredCounter {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint64, tag = "2")]
    value: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredOutput {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "vec", tag = "2")]
    digest: Vec<u8>,
    #[prost(uint64, tag = "3")]
    size: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredExclusion {
    #[prost(string, tag = "1")]
    worker_id: String,
    #[prost(int64, tag = "2")]
    until: i64,
}

const STATUSES: [Status; 5] =
    [Status::Started, Status::Finished, Status::FinishedIncomplete, Status::Doomed, Status::Terminated];
/// `Skipped` takes its cause from a field of its own.
const STATES: [JobState; 10] = [
    JobState::Waiting,
    JobState::Ready,
    JobState::Offered,
    JobState::Running,
    JobState::Verifying,
    JobState::Committed,
    JobState::Published,
    JobState::Failed,
    JobState::Skipped { because: 0 },
    JobState::Cancelled,
];
const CLASSES: [FailureClass; 8] = [
    FailureClass::Infra,
    FailureClass::Input,
    FailureClass::Tool,
    FailureClass::Timeout,
    FailureClass::Cancelled,
    FailureClass::Poisoned,
    FailureClass::External,
    FailureClass::NoSpace,
];
const RESULTS: [AttemptResult; 6] = [
    AttemptResult::Open,
    AttemptResult::Committed,
    AttemptResult::Failed,
    AttemptResult::Lost,
    AttemptResult::NeverStarted,
    AttemptResult::Cancelled,
];

/// Number of a value in the stored form: its place in the list, from 1, so that 0 is "none".
fn code<T: PartialEq>(list: &[T], value: &T) -> u32 {
    list.iter().position(|known| known == value).and_then(|index| u32::try_from(index + 1).ok()).unwrap_or_default()
}

fn value<T: Copy>(list: &[T], code: u32, what: &'static str, field: &'static str) -> Result<T, DecodeError> {
    let found = (code as usize).checked_sub(1).and_then(|index| list.get(index)).copied();
    found.ok_or(DecodeError::Value { what, field, value: i64::from(code) })
}

fn write(message: &impl Message) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(message.encoded_len() + 1);
    bytes.push(RECORD_VERSION);
    bytes.extend(message.encode_to_vec());
    bytes
}

fn read<M: Message + Default>(bytes: &[u8], what: &'static str) -> Result<M, DecodeError> {
    match bytes.split_first() {
        None => Err(DecodeError::Empty { what }),
        Some((&RECORD_VERSION, message)) => M::decode(message).map_err(|source| DecodeError::Message { what, source }),
        Some((&found, _)) => Err(DecodeError::Version { what, found }),
    }
}

impl Header {
    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        write(&StoredHeader {
            status: code(&STATUSES, &self.status),
            doomed_by: self.doomed_by,
            cancelled: self.cancelled,
            fail_fast: self.fail_fast,
            stopping: self.stopping,
            created_at: self.created_at.0,
            started_at: self.started_at.map(|time| time.0),
            ended_at: self.ended_at.map(|time| time.0),
            damage: self.damage.clone(),
        })
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let stored: StoredHeader = read(bytes, "compose header")?;
        Ok(Self {
            status: value(&STATUSES, stored.status, "compose header", "status")?,
            doomed_by: stored.doomed_by,
            cancelled: stored.cancelled,
            fail_fast: stored.fail_fast,
            stopping: stored.stopping,
            created_at: Timestamp(stored.created_at),
            started_at: stored.started_at.map(Timestamp),
            ended_at: stored.ended_at.map(Timestamp),
            damage: stored.damage,
        })
    }
}

const JOB: &str = "job record";

impl JobRecord {
    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        let (state, because) = match self.state {
            JobState::Skipped { because } => (JobState::Skipped { because: 0 }, because),
            state => (state, 0),
        };
        let output = |output: &Output| StoredOutput {
            name: output.name.clone(),
            digest: output.digest.as_bytes().to_vec(),
            size: output.size,
        };
        let fence = |fence: Fence| StoredFence { job: fence.job, attempt: fence.attempt, executor: fence.executor };
        let exclusion =
            |known: &Exclusion| StoredExclusion { worker_id: known.worker_id.clone(), until: known.until.0 };
        write(&StoredJob {
            state: code(&STATES, &state),
            because,
            attempt: self.attempt,
            tries: self.tries,
            fence: self.fence.map(fence),
            committed: self.committed,
            attempts: self.attempts.iter().map(stored_attempt).collect(),
            outputs: self.outputs.iter().map(output).collect(),
            reason: self.reason.clone(),
            class: self.class.map_or(0, |class| code(&CLASSES, &class)),
            hint: self.hint.clone(),
            ready_at: self.ready_at.map(|time| time.0),
            started_at: self.started_at.map(|time| time.0),
            ended_at: self.ended_at.map(|time| time.0),
            warnings: self.warnings.clone(),
            excluded: self.excluded.iter().map(exclusion).collect(),
            avoid: self.avoid.clone(),
            losses: self.losses,
            full_since: self.full_since.map(|time| time.0),
            not_before: self.not_before.map(|time| time.0),
        })
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let stored: StoredJob = read(bytes, JOB)?;
        let state = match value(&STATES, stored.state, JOB, "state")? {
            JobState::Skipped { .. } => JobState::Skipped { because: stored.because },
            state => state,
        };
        let exclusion =
            |known: StoredExclusion| Exclusion { worker_id: known.worker_id, until: Timestamp(known.until) };
        Ok(Self {
            state,
            attempt: stored.attempt,
            tries: stored.tries,
            fence: stored.fence.map(|fence| Fence { job: fence.job, attempt: fence.attempt, executor: fence.executor }),
            committed: stored.committed,
            attempts: stored.attempts.into_iter().map(read_attempt).collect::<Result<_, _>>()?,
            outputs: stored.outputs.into_iter().map(read_output).collect::<Result<_, _>>()?,
            reason: stored.reason,
            class: class(stored.class)?,
            hint: stored.hint,
            ready_at: stored.ready_at.map(Timestamp),
            started_at: stored.started_at.map(Timestamp),
            ended_at: stored.ended_at.map(Timestamp),
            warnings: stored.warnings,
            excluded: stored.excluded.into_iter().map(exclusion).collect(),
            avoid: stored.avoid,
            losses: stored.losses,
            full_since: stored.full_since.map(Timestamp),
            not_before: stored.not_before.map(Timestamp),
        })
    }
}

fn class(code: u32) -> Result<Option<FailureClass>, DecodeError> {
    if code == 0 { Ok(None) } else { value(&CLASSES, code, JOB, "failure class").map(Some) }
}

fn stored_attempt(attempt: &AttemptRecord) -> StoredAttempt {
    let counter = |(name, value): &(String, u64)| StoredCounter { name: name.clone(), value: *value };
    StoredAttempt {
        number: attempt.number,
        executor: attempt.executor,
        worker_id: attempt.worker_id.clone(),
        offered: attempt.offered.0,
        started: attempt.started.map(|time| time.0),
        ended: attempt.ended.map(|time| time.0),
        result: code(&RESULTS, &attempt.result),
        class: attempt.class.map_or(0, |class| code(&CLASSES, &class)),
        cause: attempt.cause.clone(),
        cpu_ms: attempt.usage.cpu_ms,
        peak_memory_bytes: attempt.usage.peak_memory_bytes,
        counters: attempt.usage.counters.iter().map(counter).collect(),
    }
}

fn read_attempt(stored: StoredAttempt) -> Result<AttemptRecord, DecodeError> {
    let counters = stored.counters.into_iter().map(|counter| (counter.name, counter.value)).collect();
    Ok(AttemptRecord {
        number: stored.number,
        executor: stored.executor,
        worker_id: stored.worker_id,
        offered: Timestamp(stored.offered),
        started: stored.started.map(Timestamp),
        ended: stored.ended.map(Timestamp),
        result: value(&RESULTS, stored.result, JOB, "attempt result")?,
        class: class(stored.class)?,
        cause: stored.cause,
        usage: Usage { cpu_ms: stored.cpu_ms, peak_memory_bytes: stored.peak_memory_bytes, counters },
    })
}

fn read_output(stored: StoredOutput) -> Result<Output, DecodeError> {
    let length = i64::try_from(stored.digest.len()).unwrap_or(i64::MAX);
    let digest = Digest::try_from(stored.digest.as_slice()).map_err(|_| DecodeError::Value {
        what: JOB,
        field: "length of a digest",
        value: length,
    })?;
    Ok(Output { name: stored.name, digest, size: stored.size })
}
