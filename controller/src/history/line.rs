//! One line of a history, and its text.

use std::io::{self, BufRead, Read as _};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tutti_job::{Digest, Resources};

use crate::{
    lifecycle::{Event, JobState, Output},
    schedule::WorkerView,
};

/// Longest line that is read, in bytes: a writer makes none half as long.
pub const LONGEST: usize = 8 * 1024;

/// One stored change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The controller that stored it: create revision of its leader key.
    pub epoch: i64,
    /// Place among the lines of that controller about this compose, from 1.
    pub seq: u64,
    /// Sequence number of the first line of the same event.
    pub batch: u64,
    /// Revision of the store once it was stored.
    pub revision: i64,
    /// Milliseconds since 1970, by the controller's clock.
    pub time_ms: i64,
    /// Compose id.
    pub compose: String,
    /// The event.
    pub cause: Cause,
    /// What changed.
    #[serde(flatten)]
    pub change: Change,
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Change {
    /// The header.
    Compose(ComposeChange),
    /// A job's record.
    Job(JobChange),
}

/// A header after a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComposeChange {
    /// The blob of the plan, where a controller begins to tell of the compose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Digest>,
    /// Jobs of the plan.
    pub jobs: u32,
    /// The word of the STATUS file.
    pub status: String,
    /// The failure to blame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doomed_by: Option<u32>,
    /// Somebody cancelled it.
    pub cancelled: bool,
    /// A required failure cancels the rest.
    pub fail_fast: bool,
    /// Nothing may begin.
    pub stopping: bool,
    /// It has begun.
    pub started: bool,
    /// Nothing runs any more.
    pub ended: bool,
    /// Whoever wrote this looks at the tree before it calls a compose finished; earlier versions did not.
    #[serde(default)]
    pub looks: bool,
    /// What is gone of the tree.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub damage: String,
}

impl ComposeChange {
    /// Whether the header is the same, whoever names the plan.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        *self == Self { plan: self.plan, ..other.clone() }
    }
}

/// A job's record after a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobChange {
    /// Number in the plan.
    pub job: u32,
    /// Name, for people.
    pub name: String,
    /// State before.
    #[serde(with = "state")]
    pub from: JobState,
    /// State after.
    #[serde(with = "state")]
    pub to: JobState,
    /// Number of the last attempt.
    pub attempt: u32,
    /// Its worker's incarnation.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "executor")]
    pub executor: Option<u64>,
    /// Its worker's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub worker: String,
    /// Counted tries.
    pub tries: u32,
    /// Outputs are recorded for good.
    pub committed: bool,
    /// One digest of all outputs, reported or recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<Digest>,
    /// Kind of failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// What an attempt is counted with at its worker.
    pub cpu_milli: u32,
    /// What an attempt is counted with at its worker.
    pub memory_bytes: u64,
    /// What the scheduler counted for the worker, with this offer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// Revision at which the record was last written, when it was found in the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_at: Option<i64>,
}

/// What the scheduler counts for one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Attempts that it holds.
    pub attempts: u32,
    /// Their processor share.
    pub cpu_milli: u32,
    /// Their memory.
    pub memory_bytes: u64,
    /// What the worker has.
    pub total_cpu_milli: u32,
    /// What the worker has.
    pub total_memory_bytes: u64,
}

impl Lease {
    pub(super) fn of(view: &WorkerView) -> Self {
        Self {
            attempts: view.running,
            cpu_milli: view.total.cpu_milli.saturating_sub(view.free.cpu_milli),
            memory_bytes: view.total.memory_bytes.saturating_sub(view.free.memory_bytes),
            total_cpu_milli: view.total.cpu_milli,
            total_memory_bytes: view.total.memory_bytes,
        }
    }

    pub(super) fn add(&mut self, reserve: &Resources) {
        self.attempts = self.attempts.saturating_add(1);
        self.cpu_milli = self.cpu_milli.saturating_add(reserve.cpu_milli);
        self.memory_bytes = self.memory_bytes.saturating_add(reserve.memory_bytes);
    }
}

macro_rules! causes {
    ($($(#[$doc:meta])* $name:ident => $pattern:pat),* $(,)?) => {
        /// The event that a change follows from: those of the lifecycle, and what is found in the store.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Cause {
            /// Read from the store by a new controller.
            Found,
            $($(#[$doc])* $name,)*
        }

        impl Cause {
            /// The cause that an event is.
            pub fn of(event: &Event) -> Self {
                match event {
                    $($pattern => Self::$name,)*
                }
            }
        }
    };
}

causes! {
    /// The compose begins.
    Started => Event::Started,
    /// What was stored in part is completed.
    Loaded => Event::Loaded,
    /// A worker was chosen.
    Offered => Event::Offered { .. },
    /// A worker began.
    Accepted => Event::Accepted { .. },
    /// A worker refused.
    Rejected => Event::Rejected { .. },
    /// A worker did not answer.
    AcceptTimedOut => Event::AcceptTimedOut { .. },
    /// A worker reports success.
    Succeeded => Event::Succeeded { .. },
    /// Outputs are as reported.
    VerifiedOk => Event::VerifiedOk { .. },
    /// Outputs are not as reported.
    VerifyFailed => Event::VerifyFailed { .. },
    /// A worker reports failure.
    FailedAttempt => Event::FailedAttempt { .. },
    /// Outputs stand in the tree.
    Published => Event::Published { .. },
    /// Outputs cannot be moved there.
    PublishFailed => Event::PublishFailed { .. },
    /// A worker is gone.
    WorkerLost => Event::WorkerLost { .. },
    /// Somebody cancelled.
    Cancel => Event::Cancel,
    /// Somebody asked again.
    Retry => Event::Retry { .. },
    /// An attempt ended as told.
    KilledConfirmed => Event::KilledConfirmed { .. },
    /// The tree was looked at.
    Looked => Event::Looked { .. },
}

impl Line {
    /// The line's text, without its end.
    pub fn to_json(&self) -> String {
        // Maps with text keys and numbers only: there is nothing that JSON cannot say.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Line {
    /// What orders the lines of a compose: epoch and sequence number.
    pub fn place(&self) -> (i64, u64) {
        (self.epoch, self.seq)
    }
}

/// What stands in a file next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// A line.
    Line(Box<Line>),
    /// One that a crash or a full disk cut off, or that another release wrote.
    Unread,
    /// One that is longer than [`LONGEST`], and was passed over.
    TooLong,
}

/// Reads the next line of a file, keeping no more of it than [`LONGEST`] bytes; `None` at its end. Empty lines are none.
///
/// # Errors
/// Those of the reader.
pub fn next(reader: &mut impl BufRead) -> io::Result<Option<Next>> {
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        reader.by_ref().take(LONGEST as u64 + 1).read_until(b'\n', &mut bytes)?;
        let ends = bytes.pop_if(|last| *last == b'\n').is_some();
        if bytes.len() > LONGEST {
            if !ends {
                reader.skip_until(b'\n')?;
            }
            return Ok(Some(Next::TooLong));
        }
        if !bytes.is_empty() {
            let line = serde_json::from_slice(&bytes).map(Box::new);
            return Ok(Some(line.map_or(Next::Unread, Next::Line)));
        }
        if !ends {
            return Ok(None);
        }
    }
}

/// Reads lines. Those that a crash or a full disk cut off, or that another release wrote, are counted and left out.
pub fn parse(text: &str) -> (Vec<Line>, usize) {
    let (mut lines, mut unread) = (Vec::new(), 0);
    for line in text.lines().filter(|line| !line.is_empty()) {
        match serde_json::from_str(line) {
            Ok(line_read) if line.len() <= LONGEST => lines.push(line_read),
            _ => unread += 1,
        }
    }
    (lines, unread)
}

pub(super) fn digest_of(outputs: &[Output]) -> Option<Digest> {
    if outputs.is_empty() {
        return None;
    }
    let mut text = String::new();
    for output in outputs {
        text.push_str(&format!("{}\0{}\0{}\n", output.name, output.digest, output.size));
    }
    Some(Digest::of(text.as_bytes()))
}

/// A state is its word; `skipped:3` names the job to blame.
mod state {
    use super::{Deserialize, Deserializer, JobState, Serializer};
    use serde::de::Error as _;

    const PLAIN: [JobState; 9] = [
        JobState::Waiting,
        JobState::Ready,
        JobState::Offered,
        JobState::Running,
        JobState::Verifying,
        JobState::Committed,
        JobState::Published,
        JobState::Failed,
        JobState::Cancelled,
    ];

    pub(super) fn serialize<S: Serializer>(state: &JobState, serializer: S) -> Result<S::Ok, S::Error> {
        match state {
            JobState::Skipped { because } => serializer.serialize_str(&format!("skipped:{because}")),
            state => serializer.serialize_str(state.as_str()),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<JobState, D::Error> {
        let text = String::deserialize(deserializer)?;
        if let Some(because) = text.strip_prefix("skipped:").and_then(|job| job.parse().ok()) {
            return Ok(JobState::Skipped { because });
        }
        let known = PLAIN.into_iter().find(|state| state.as_str() == text);
        known.ok_or_else(|| D::Error::custom("no state of a job has that name"))
    }
}

/// Incarnations use all 64 bits, more than a JSON number is good for.
mod executor {
    use super::{Deserialize, Deserializer, Serializer};
    use serde::de::Error as _;

    #[expect(clippy::ref_option, reason = "the signature that serde asks for")]
    pub(super) fn serialize<S: Serializer>(value: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(executor) => serializer.serialize_str(&format!("{executor:016x}")),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| u64::from_str_radix(&text, 16).map_err(D::Error::custom)).transpose()
    }
}
