//! `tutti why`: why a job is where it is, with what only the engine knows: workers, and what they said.

use crate::{
    lifecycle::{AttemptResult, JobRecord, JobState, Status, Timestamp, why},
    plan::PlanJob,
};

use super::{Timing, live::Live, workers::Workers};

/// What the answer is made from.
pub(super) struct Explain<'a> {
    pub(super) live: &'a Live,
    pub(super) workers: &'a Workers,
    pub(super) timing: &'a Timing,
    pub(super) now: Timestamp,
}

impl Explain<'_> {
    /// The answer, a line each: its state, why, what to do, and the attempts that went wrong.
    pub(super) fn job(&self, number: u32) -> Vec<String> {
        let mut lines = why(&self.live.compose, number);
        let Some(record) = self.live.compose.job(number) else { return lines };
        let trouble = self.live.trouble_of(number);
        match record.state {
            JobState::Waiting => self.doomed(&mut lines),
            // Nobody is asked meanwhile; why an earlier attempt failed stands with the attempts.
            JobState::Ready if trouble.is_some() => lines.clear(),
            JobState::Ready if record.not_before.is_some_and(|until| until > self.now) => {}
            JobState::Ready => self.ready(&mut lines, number, record),
            JobState::Offered | JobState::Running => self.running(&mut lines, number, record),
            JobState::Failed => {
                if let (Some(first), Some(class)) = (lines.first_mut(), record.class) {
                    *first = format!("failed [{}]", class.as_str());
                }
            }
            JobState::Skipped { because } => self.blame(&mut lines, because),
            JobState::Published => lines.extend(took(record)),
            JobState::Verifying | JobState::Committed | JobState::Cancelled => {}
        }
        lines.extend(trouble);
        lines.extend(attempts(record));
        if record.state.is_dead() {
            let blamed = match record.state {
                JobState::Skipped { because } => because,
                _ => number,
            };
            let id = self.live.id();
            lines.push(format!("tutti retry {id} {} runs it again, once its cause is mended", self.name(blamed)));
        }
        lines
    }

    fn name(&self, job: u32) -> String {
        self.live.plan_job(job).map(|job| job.name.to_string()).unwrap_or_default()
    }

    fn doomed(&self, lines: &mut Vec<String>) {
        let header = &self.live.compose.header;
        if let (Status::Doomed, Some(job)) = (header.status, header.doomed_by) {
            let name = self.name(job);
            lines.push(format!("the compose is DOOMED since {name} failed; what does not need that goes on"));
        }
    }

    /// The failed job that others were skipped for.
    fn blame(&self, lines: &mut Vec<String>, because: u32) {
        let Some(record) = self.live.compose.job(because) else { return };
        let class = record.class.map(|class| format!(" [{}]", class.as_str())).unwrap_or_default();
        lines.push(format!("{} is {}{class}: {}", self.name(because), record.state.as_str(), record.reason));
        if !record.hint.is_empty() {
            lines.push(format!("hint: {}", record.hint));
        }
    }

    /// A line for each worker that could be asked and why it is not.
    fn ready(&self, lines: &mut Vec<String>, number: u32, record: &JobRecord) {
        let needs = self.live.plan_job(number).map(needs).unwrap_or_default();
        lines.push(format!("it needs {needs}"));
        let known = self.workers.known();
        if known.is_empty() {
            lines.push("no worker is there; hint: start one: tutti worker --controller ADDRESS".to_owned());
        }
        for (id, last_seen) in self.workers.departed() {
            lines.push(format!("{id}: is gone, and was last heard {} ago", seconds(self.now.0 - last_seen.0)));
        }
        let unplaced = self.live.unplaced.get(&number);
        for worker in known {
            let excluded = record.excluded.iter().find(|known| known.worker_id == worker.id && known.until > self.now);
            let placed = unplaced.and_then(|all| all.iter().find(|(id, _)| *id == worker.id));
            let line = if !worker.connected {
                format!(
                    "is not connected, and was last heard {} ago; after {} its jobs go to others",
                    seconds(self.now.0 - worker.last_seen.0),
                    seconds(self.lost_after())
                )
            } else if self.now.0 - worker.last_seen.0 > millis(self.timing.lease) {
                format!("is suspected: nothing was heard of it for {}", seconds(self.now.0 - worker.last_seen.0))
            } else if worker.draining {
                format!("is draining; hint: tutti drain --undo {} lets it have jobs", worker.id)
            } else if let Some(exclusion) = excluded {
                let reason = record.attempts.iter().rev().find(|attempt| attempt.worker_id == worker.id);
                let reason = reason.map_or("it refused the job", |attempt| attempt.cause.as_str());
                format!("is not asked for {} more: {reason}", seconds(exclusion.until.0 - self.now.0))
            } else {
                match placed {
                    Some((_, reason)) => reason.clone(),
                    None => "is asked next".to_owned(),
                }
            };
            lines.push(format!("{}: {line}", worker.id));
        }
        let general = unplaced.into_iter().flatten().filter(|(id, _)| id.is_empty());
        lines.extend(general.map(|(_, reason)| reason.clone()).filter(|reason| reason != crate::schedule::NOBODY));
    }

    fn running(&self, lines: &mut Vec<String>, number: u32, record: &JobRecord) {
        let began = record.attempts.last().and_then(|attempt| attempt.started);
        if let (Some(began), Some(first)) = (began, lines.first_mut()) {
            *first += &format!(", for {}", seconds(self.now.0 - began.0));
        }
        let told = self.live.trouble_of(number).is_some();
        let progress = self.live.progress.get(&number).filter(|progress| !progress.phase.is_empty() && !told);
        if let Some(progress) = progress {
            let count = match (progress.done, progress.total) {
                (0, 0) => String::new(),
                (done, 0) => format!(" {done}"),
                (done, total) => format!(" {done} of {total}"),
            };
            let says = if progress.phase.starts_with("waits: ") { "it " } else { "it says: " };
            lines.push(format!("{says}{}{count}", progress.phase));
        }
        let Some(fence) = record.fence else { return };
        let Some(worker) = self.workers.known().into_iter().find(|worker| worker.executor == fence.executor) else {
            return;
        };
        let silent = self.now.0 - worker.last_seen.0;
        if !worker.connected || silent > millis(self.timing.lease) {
            let left = (self.lost_after() - silent).max(0);
            lines.push(format!(
                "nothing was heard of {} for {}: it may be dead or cut off; if that goes on, the job is given to another worker in {}",
                worker.id,
                seconds(silent),
                seconds(left)
            ));
        }
    }

    fn lost_after(&self) -> i64 {
        millis(self.timing.lease + self.timing.reassign_delay)
    }
}

fn needs(job: &PlanJob) -> String {
    let resources = &job.resources;
    let cores = f64::from(resources.cpu_milli) / 1000.0;
    format!("{}, {cores} cores and {} MiB", job.name.kind.capability(), resources.memory_bytes / (1024 * 1024))
}

fn took(record: &JobRecord) -> Option<String> {
    let (started, ended) = (record.started_at?, record.ended_at?);
    let worker = record.attempts.last().map_or("", |attempt| attempt.worker_id.as_str());
    Some(format!("it took {} on {worker}, in attempt {}", seconds(ended.0 - started.0), record.attempt))
}

/// Attempts that did not succeed, first to last.
fn attempts(record: &JobRecord) -> impl Iterator<Item = String> {
    let bad = record.attempts.iter().filter(|a| !matches!(a.result, AttemptResult::Open | AttemptResult::Committed));
    bad.map(|attempt| {
        let class = attempt.class.map(|class| format!(" [{}]", class.as_str())).unwrap_or_default();
        let (result, cause) = (attempt.result.as_str(), &attempt.cause);
        format!("attempt {} on {}: {result}{class}: {cause}", attempt.number, attempt.worker_id)
    })
}

fn millis(time: std::time::Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn seconds(millis: i64) -> String {
    format!("{:.1} s", millis.max(0) as f64 / 1000.0)
}
