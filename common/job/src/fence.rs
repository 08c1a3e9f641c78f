//! Fences: what makes one attempt at a job different from any other.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The identity of one attempt: (job, attempt number, executor), fixed when the offer is stored.
///
/// The executor is a worker incarnation or, later, a Koji intent id. The controller's epoch is no part of it: a job
/// goes on under a new leader. Text form `j12-a1-00c0ffee00c0ffee`, which is also the attempt's staging directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fence {
    /// Number of the job in its plan.
    pub job: u32,
    /// Attempt, from 1.
    pub attempt: u32,
    /// Worker incarnation.
    pub executor: u64,
}

/// A text that is not a fence.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a fence (like j12-a1-00c0ffee00c0ffee)")]
pub struct FenceError(String);

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "j{}-a{}-{:016x}", self.job, self.attempt, self.executor)
    }
}

impl FromStr for Fence {
    type Err = FenceError;

    fn from_str(text: &str) -> Result<Self, FenceError> {
        let parse = || {
            let (job, rest) = text.strip_prefix('j')?.split_once("-a")?;
            let (attempt, executor) = rest.split_once('-')?;
            let executor = (executor.len() == 16).then(|| u64::from_str_radix(executor, 16).ok())??;
            Some(Self { job: job.parse().ok()?, attempt: attempt.parse().ok()?, executor })
        };
        // Only the canonical text counts: "+1", leading zeros and capitals would name a second directory.
        parse().filter(|fence| fence.to_string() == text).ok_or_else(|| FenceError(text.chars().take(80).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trip_is_canonical() {
        let fence = Fence { job: 12, attempt: 3, executor: 0xc0ffee };
        assert_eq!(fence.to_string(), "j12-a3-0000000000c0ffee");
        assert_eq!("j12-a3-0000000000c0ffee".parse::<Fence>().unwrap(), fence);
        for text in ["j12-a3-c0ffee", "j012-a3-0000000000c0ffee", "j12-a3-0000000000C0FFEE", "j1-a1-../../../../../etc"]
        {
            assert!(text.parse::<Fence>().is_err(), "{text}");
        }
    }
}
