//! What worker and child say to each other: one JSON request on the child's standard input, JSON lines on its
//! standard output, the last of which is the result. Not a public protocol: both ends are the same program.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};
use tutti_job::{Fence, Volumes};

use crate::{FailureClass, Output};

/// Longest line either side reads.
pub const MAX_LINE: usize = 16 << 20;

/// What the child shall do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// Canonical bytes of the spec, in hex.
    pub spec: String,
    /// `KIND.VARIANT.ARCH`, for messages.
    pub job_name: String,
    /// The attempt.
    pub fence: Fence,
    /// Where things are on this host; `staging` is set.
    pub volumes: Volumes,
    /// Staging directories of earlier attempts at the same job, newest first, to take over from.
    #[serde(default)]
    pub earlier: Vec<PathBuf>,
    /// How many threads the job may keep busy.
    pub threads: usize,
    /// What to do about Landlock.
    pub sandbox: SandboxMode,
    /// Process id of the worker.
    pub worker: u32,
}

/// How much the child insists on being confined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SandboxMode {
    /// As much as the kernel can; the worker reports what is missing as a condition.
    #[default]
    BestEffort,
    /// A kernel without full support fails the attempt.
    Required,
    /// None.
    Off,
}

/// One line from the child.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Line {
    /// How far it is.
    Progress {
        /// What it does now.
        phase: String,
        /// Units done.
        done: u64,
        /// Units in all, 0 when unknown.
        total: u64,
    },
    /// Something about this host that a person should know (`sandbox: …`).
    Condition(String),
    /// The end; nothing follows.
    Result(Report),
}

/// How it ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Outputs or failure.
    pub ending: Ending,
    /// Sums of what it did.
    pub counters: BTreeMap<String, u64>,
    /// CPU time of the child and its finished children, milliseconds.
    pub cpu_ms: u64,
    /// Most memory it had, bytes.
    pub peak_memory: u64,
}

/// Outputs or failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// All outputs are in staging.
    Success {
        /// Every output of the spec.
        outputs: Vec<Output>,
        /// What a person should read.
        warnings: Vec<String>,
    },
    /// It failed.
    Failure(Failure),
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Whose fault.
    pub class: FailureClass,
    /// One line.
    pub cause: String,
    /// What the user can do; may be empty.
    pub hint: String,
}

impl From<crate::RunnerError> for Failure {
    fn from(error: crate::RunnerError) -> Self {
        Self { class: error.class, cause: error.one_line(), hint: error.hint.unwrap_or_default() }
    }
}

/// `bytes` as lower-case hex.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// The bytes that `text` is the hex of.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trip() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(from_hex(&to_hex(&bytes)), Some(bytes));
        assert_eq!(from_hex("0"), None);
        assert_eq!(from_hex("0g"), None);
        assert_eq!(from_hex("é"), None);
    }
}
