//! What a job waits for, in words.

use super::{Compose, JobState, MAX_TRIES};
use crate::plan::{At, Need};

/// Most jobs named in one answer.
const NAMED: usize = 20;

/// Why the job is where it is, and what it waits for. For a ready job the scheduler knows more.
pub fn why(compose: &Compose, job: u32) -> Vec<String> {
    let (Some(planned), Some(record)) = (compose.plan.job(job), compose.job(job)) else {
        return vec![format!("the compose has no job {job}")];
    };
    let name =
        |number: u32| compose.plan.job(number).map_or_else(|| format!("job {number}"), |job| job.name.to_string());
    let worker = || record.attempts.last().map_or("a worker", |attempt| attempt.worker_id.as_str());
    let mut lines = Vec::new();
    match record.state {
        JobState::Waiting if compose.header.started_at.is_none() => lines.push("the compose has not begun".to_owned()),
        JobState::Waiting => {
            let state = |number: u32| compose.job(number).map(|record| record.state).unwrap_or_default();
            let open: Vec<_> =
                planned.edges.iter().filter(|edge| !state(edge.job).satisfies(edge.at, edge.need)).collect();
            for edge in open.iter().take(NAMED) {
                let until = match (edge.at, edge.need) {
                    (At::Committed, Need::Required) => "outputs recorded",
                    (At::Published, Need::Required) => "outputs in the tree",
                    (_, Need::IfItSucceeds) => "to its end",
                };
                lines.push(format!("waits for {} ({until}), which is {}", name(edge.job), state(edge.job).as_str()));
            }
            if open.len() > NAMED {
                lines.push(format!("waits for {} more", open.len() - NAMED));
            }
        }
        JobState::Ready if record.not_before.is_some() => {
            lines.push("waits for space on a full disk, and is tried again every few seconds".to_owned());
        }
        JobState::Ready => lines.push("waits for a worker".to_owned()),
        JobState::Offered => lines.push(format!("waits for {} to accept it", worker())),
        JobState::Running => lines.push(format!("runs on {}, attempt {}", worker(), record.attempt)),
        JobState::Verifying => lines.push("its outputs are being verified".to_owned()),
        JobState::Committed => lines.push("its outputs are being moved into the tree".to_owned()),
        JobState::Published => lines.push("is done".to_owned()),
        JobState::Failed => lines.push("failed".to_owned()),
        JobState::Skipped { because } => lines.push(format!("was skipped because {} failed", name(because))),
        JobState::Cancelled => lines.push("was cancelled".to_owned()),
    }
    // Of an attempt that is under way there is nothing to say yet: these are of the one before.
    let under_way = matches!(record.state, JobState::Offered | JobState::Running | JobState::Verifying);
    if !record.reason.is_empty() && !under_way {
        lines.push(record.reason.clone());
    }
    if !record.hint.is_empty() && !under_way {
        lines.push(format!("hint: {}", record.hint));
    }
    if record.runs_alone() && record.state == JobState::Ready {
        lines.push("waits for a worker that has nothing else to do: it runs alone".to_owned());
    }
    if record.tries > 0 && record.state.is_pending() {
        lines.push(format!("{} of {MAX_TRIES} tries failed", record.tries));
    }
    lines
}
