//! One transition under construction: changed records over a compose that stays as it is.

use std::collections::BTreeMap;

use tutti_job::Fence;

use super::{
    AttemptRecord, AttemptResult, Changes, Compose, Effect, Exclusion, FULL_DISK_MS, FULL_DISK_NOTICED_MS,
    FULL_DISK_PAUSE_MAX_MS, FULL_DISK_PAUSE_MS, FailureClass, Header, IllegalTransition, JobRecord, JobState,
    KEPT_ATTEMPTS, MAX_TRIES, Status, Timestamp, Usage,
};
use crate::plan::{Need, PlanJob};

/// Longest cause kept with an attempt, and longest reason and hint kept with a job, in characters.
const CAUSE: usize = 120;
const REASON: usize = 400;
/// Longest account of what is gone of a tree, in bytes: a header is at most 2 KiB.
const DAMAGE: usize = 1500;
/// Most counters kept with an attempt, and the longest of their names in characters. Package sets have some 20.
const COUNTERS: usize = 32;
const COUNTER_NAME: usize = 24;

pub(super) struct Transition<'a> {
    pub(super) compose: &'a Compose,
    pub(super) now: Timestamp,
    pub(super) header: Header,
    pub(super) effects: Vec<Effect>,
    changed: BTreeMap<u32, JobRecord>,
    /// What was published has been looked at.
    looked: bool,
    /// Changes of [`Compose::unmet`], for dependents of jobs whose state changed.
    unmet: BTreeMap<u32, i64>,
    open: i64,
}

/// How an attempt ended badly.
pub(super) struct Bad {
    pub(super) result: AttemptResult,
    pub(super) class: FailureClass,
    pub(super) cause: String,
    pub(super) hint: String,
    pub(super) usage: Usage,
}

impl<'a> Transition<'a> {
    pub(super) fn new(compose: &'a Compose, now: Timestamp) -> Self {
        Self {
            compose,
            now,
            header: compose.header.clone(),
            effects: Vec::new(),
            changed: BTreeMap::new(),
            looked: false,
            unmet: BTreeMap::new(),
            open: 0,
        }
    }

    /// Makes dependents ready, ends the compose if nothing is left, and gives the result.
    pub(super) fn finish(mut self) -> (Changes, Vec<Effect>) {
        self.settle();
        self.end();
        let header = (self.header != self.compose.header).then_some(self.header);
        let compose = self.compose;
        let jobs = self.changed.into_iter().filter(|(job, record)| compose.job(*job) != Some(record)).collect();
        (Changes { header, jobs }, self.effects)
    }

    pub(super) fn planned(&self, job: u32) -> Result<&'a PlanJob, IllegalTransition> {
        self.compose.plan.job(job).ok_or(IllegalTransition::NoJob(job))
    }

    pub(super) fn record(&self, job: u32) -> Result<&JobRecord, IllegalTransition> {
        self.changed.get(&job).or_else(|| self.compose.job(job)).ok_or(IllegalTransition::NoJob(job))
    }

    pub(super) fn state(&self, job: u32) -> JobState {
        self.record(job).map(|record| record.state).unwrap_or_default()
    }

    /// Changes anything of a record but its state.
    pub(super) fn edit(&mut self, job: u32, change: impl FnOnce(&mut JobRecord)) {
        if let Ok(record) = self.record(job) {
            let mut record = record.clone();
            let state = record.state;
            change(&mut record);
            record.state = state;
            self.changed.insert(job, record);
        }
    }

    /// Changes a job's state, and counts what that means to its dependents.
    pub(super) fn set_state(&mut self, job: u32, state: JobState) {
        let Ok(record) = self.record(job) else { return };
        let before = record.state;
        if before == state {
            return;
        }
        let record = JobRecord { state, ..record.clone() };
        self.changed.insert(job, record);
        self.open += i64::from(!state.is_terminal()) - i64::from(!before.is_terminal());
        for dependent in self.compose.plan.dependents(job) {
            let held = before.satisfies(dependent.at, dependent.need);
            let holds = state.satisfies(dependent.at, dependent.need);
            if held != holds {
                *self.unmet.entry(dependent.job).or_default() += if held { 1 } else { -1 };
            }
        }
    }

    fn unmet(&self, job: u32) -> i64 {
        let stored = self.compose.unmet.get(job as usize).copied().unwrap_or_default();
        i64::from(stored) + self.unmet.get(&job).copied().unwrap_or_default()
    }

    /// Dependents whose edges changed: those whose edges all hold become ready, others wait (again).
    fn settle(&mut self) {
        let touched: Vec<u32> = self.unmet.keys().copied().collect();
        for job in touched {
            self.settle_job(job);
        }
    }

    /// A pending job waits or is ready, as its edges say.
    pub(super) fn settle_job(&mut self, job: u32) {
        if self.header.started_at.is_none() || !self.state(job).is_pending() {
            return;
        }
        match (self.state(job), self.unmet(job)) {
            (JobState::Waiting, 0) => self.make_ready(job),
            (JobState::Ready, 1..) => self.set_state(job, JobState::Waiting),
            _ => {}
        }
    }

    fn make_ready(&mut self, job: u32) {
        let now = self.now;
        self.edit(job, |record| record.ready_at = Some(now));
        self.set_state(job, JobState::Ready);
    }

    /// Whether all jobs are over, and the compose has not ended.
    fn may_end(&self) -> bool {
        let open = i64::try_from(self.compose.open).unwrap_or(i64::MAX).saturating_add(self.open);
        open <= 0 && self.header.ended_at.is_none() && self.header.started_at.is_some()
    }

    /// Takes note of what a look at the tree found. One that was begun before a retry says nothing.
    pub(super) fn looked(&mut self, damage: Option<&str>) {
        if self.may_end() {
            self.looked = true;
            self.header.damage = damage.map(|damage| cut_to_bytes(damage, DAMAGE)).unwrap_or_default();
        }
    }

    /// Ends the compose when no job is open. Nobody is told that it is whole before that was looked at.
    fn end(&mut self) {
        if !self.may_end() {
            return;
        }
        let status = self.final_status();
        if matches!(status, Status::Finished | Status::FinishedIncomplete) && !self.looked {
            // What changes nothing, as an outcome that is said again, does not make it look anew.
            let changes = |(job, record): (&u32, &JobRecord)| self.compose.job(*job) != Some(record);
            if self.changed.iter().any(changes) || self.header != self.compose.header {
                self.effects.push(Effect::Look);
            }
            return;
        }
        if status != self.header.status {
            self.header.status = status;
            self.effects.push(Effect::WriteStatus { status });
        }
        self.header.ended_at = Some(self.now);
        self.effects.push(Effect::Finish { status });
    }

    fn final_status(&self) -> Status {
        if self.header.cancelled {
            return Status::Terminated;
        }
        let (mut incomplete, mut cancelled) = (false, false);
        for job in &self.compose.plan.jobs {
            match self.state(job.number) {
                JobState::Failed | JobState::Skipped { .. } if !job.failable => return Status::Doomed,
                JobState::Cancelled => cancelled = true,
                JobState::Failed | JobState::Skipped { .. } => incomplete = true,
                _ => {}
            }
        }
        match (cancelled, incomplete) {
            (true, _) => Status::Terminated,
            _ if !self.header.damage.is_empty() => Status::Doomed,
            (false, true) => Status::FinishedIncomplete,
            (false, false) => Status::Finished,
        }
    }

    /// Whether the fence is that of an attempt under way.
    pub(super) fn is_current(&self, fence: Fence) -> bool {
        self.record(fence.job).is_ok_and(|record| record.current() == Some(fence))
    }

    /// Tells the worker that its message has no effect.
    pub(super) fn refuse(&mut self, fence: Fence) {
        let reason = match self.record(fence.job) {
            Err(_) => "the compose has no such job".to_owned(),
            Ok(record) => match record.current() {
                Some(current) => format!("attempt {} of this job is current", current.attempt),
                None => format!("the job is {}, no attempt is under way", record.state.as_str()),
            },
        };
        self.effects.push(Effect::SendRefused { fence, reason });
    }

    /// Closes the last attempt in the history.
    pub(super) fn close_attempt(
        &mut self,
        job: u32,
        result: AttemptResult,
        class: Option<FailureClass>,
        cause: &str,
        usage: Usage,
    ) {
        let now = self.now;
        self.edit(job, |record| {
            record.ended_at = Some(now);
            if let Some(attempt) = record.attempts.last_mut() {
                let usage = bounded(usage);
                *attempt = super::AttemptRecord {
                    ended: Some(now),
                    result,
                    class,
                    cause: cut(cause, CAUSE),
                    usage,
                    ..attempt.clone()
                };
            }
        });
    }

    /// An attempt ended that is not to blame on the job: it goes back to the queue, uncounted.
    pub(super) fn give_back(&mut self, fence: Fence, result: AttemptResult, cause: &str, exclude_millis: i64) {
        let until = self.now.plus_millis(exclude_millis);
        self.close_attempt(fence.job, result, None, cause, Usage::default());
        self.edit(fence.job, |record| {
            let worker = record.attempts.last().map(|attempt| attempt.worker_id.clone());
            record.reason = cut(cause, REASON);
            record.excluded.retain(|known| Some(&known.worker_id) != worker.as_ref());
            if let Some(worker_id) = worker.filter(|_| exclude_millis > 0) {
                record.excluded.push(Exclusion { worker_id, until });
            }
            let surplus = record.excluded.len().saturating_sub(8);
            record.excluded.drain(..surplus);
        });
        self.requeue(fence.job);
    }

    /// An attempt failed: another try, or the end of the job.
    pub(super) fn attempt_failed(&mut self, fence: Fence, bad: Bad) {
        let job = fence.job;
        self.close_attempt(job, bad.result, Some(bad.class), &bad.cause, bad.usage);
        let waits = bad.class == FailureClass::NoSpace && self.waits_for_space(job);
        self.edit(job, |record| {
            record.tries = record.tries.saturating_add(u32::from(!waits));
            record.outputs.clear();
            record.warnings.clear();
            record.avoid_last_worker();
            record.reason = cut(&bad.cause, REASON);
            record.hint = cut(&bad.hint, REASON);
            record.class = Some(bad.class);
        });
        let tries = self.record(job).map_or(MAX_TRIES, |record| record.tries);
        let again = waits || (bad.class != FailureClass::NoSpace && tries < MAX_TRIES);
        if bad.class.may_pass() && (again || self.header.stopping) {
            self.requeue(job);
            return;
        }
        self.edit(job, JobRecord::explain_failure);
        self.fail(job);
    }

    /// A full disk is to blame on nobody: the job waits until somebody makes space, but not for ever, for it may be the
    /// job that is too large.
    ///
    /// Only time in which the disk may have been full counts: the pauses, and a little of each attempt that met it. So
    /// `full_since` moves along with the time in which the job waited for a worker, or ran and had space.
    fn waits_for_space(&mut self, job: u32) -> bool {
        let now = self.now;
        let Ok(record) = self.record(job) else { return false };
        let started = record.attempts.last().and_then(|attempt| attempt.started).unwrap_or(now);
        let asked_for = record.not_before.map_or(0, |time| started.0.saturating_sub(time.0)).max(0);
        let had_space = now.0.saturating_sub(started.0).saturating_sub(FULL_DISK_NOTICED_MS).max(0);
        let moved = |since: Timestamp| Timestamp(since.plus_millis(asked_for).plus_millis(had_space).0.min(now.0));
        let since = record.full_since.map_or(now, moved);
        if now.0.saturating_sub(since.0) >= FULL_DISK_MS {
            self.edit(job, |record| (record.full_since, record.not_before) = (None, None));
            return false;
        }
        let full = |attempt: &&AttemptRecord| attempt.class == Some(FailureClass::NoSpace);
        let times = record.attempts.iter().rev().take_while(full).count().clamp(1, KEPT_ATTEMPTS);
        let pause = FULL_DISK_PAUSE_MS.saturating_mul(1 << (times - 1)).min(FULL_DISK_PAUSE_MAX_MS);
        self.edit(job, |record| {
            record.full_since = Some(since);
            record.not_before = Some(now.plus_millis(pause));
        });
        true
    }

    /// Puts a job whose attempt ended back to where its edges say, or lets it end with the compose.
    pub(super) fn requeue(&mut self, job: u32) {
        if self.header.stopping {
            self.set_state(job, JobState::Cancelled);
            return;
        }
        let edges = self.planned(job).map(|planned| planned.edges.as_slice()).unwrap_or_default();
        let dead = edges.iter().find(|edge| edge.need == Need::Required && self.state(edge.job).is_dead());
        if let Some(edge) = dead {
            // What it needs failed after it had begun.
            let (cause, name) = (self.root_cause(edge.job), self.name(edge.job));
            self.edit(job, |record| record.reason = cut(&format!("needs {name}"), REASON));
            self.set_state(job, JobState::Skipped { because: cause });
            self.lose(job, cause);
            return;
        }
        self.set_state(job, JobState::Waiting);
        self.settle_job(job);
    }

    /// Ends a job as failed: its dependents are skipped and the compose is doomed at once, if it was required.
    pub(super) fn fail(&mut self, job: u32) {
        self.set_state(job, JobState::Failed);
        self.lose(job, job);
    }

    /// Skips all pending jobs that cannot run without `job`, transitively, and dooms the compose if one of them, or
    /// `job` itself, is required; with `--fail-fast` it stops then.
    pub(super) fn lose(&mut self, job: u32, cause: u32) {
        if self.lose_again(job, cause) && self.header.fail_fast && !self.header.stopping {
            self.stop("a required job failed and --fail-fast is set");
        }
    }

    /// As [`Transition::lose`] for a failure of before, which does not stop the compose: where it did, that is stored
    /// before the failure; where it does not stop any more, a retry of others goes on. Returns whether something required
    /// is lost.
    pub(super) fn lose_again(&mut self, job: u32, cause: u32) -> bool {
        let mut lost = vec![job];
        let mut queue = vec![job];
        while let Some(gone) = queue.pop() {
            let name = self.name(gone);
            for dependent in self.compose.plan.dependents(gone) {
                if dependent.need == Need::Required && self.state(dependent.job).is_pending() {
                    self.edit(dependent.job, |record| record.reason = cut(&format!("needs {name}"), REASON));
                    self.set_state(dependent.job, JobState::Skipped { because: cause });
                    lost.push(dependent.job);
                    queue.push(dependent.job);
                }
            }
        }
        let required = |job: &u32| self.compose.plan.job(*job).is_some_and(|planned| !planned.failable);
        if !lost.iter().any(required) {
            return false;
        }
        if self.header.status == Status::Started {
            self.header.status = Status::Doomed;
            self.header.doomed_by = Some(cause);
            self.effects.push(Effect::WriteStatus { status: Status::Doomed });
        }
        true
    }

    /// Cancels what has not begun, and asks for the end of what has.
    pub(super) fn stop(&mut self, reason: &str) {
        self.header.stopping = true;
        let compose = self.compose;
        for job in compose.plan.jobs.iter().map(|planned| planned.number) {
            let state = self.state(job);
            let current = self.record(job).ok().and_then(JobRecord::current);
            match state {
                JobState::Waiting | JobState::Ready => {
                    self.edit(job, |record| record.reason = reason.to_owned());
                    self.set_state(job, JobState::Cancelled);
                }
                JobState::Offered | JobState::Running => {
                    self.effects.extend(current.map(|fence| Effect::CancelAttempt { fence }));
                }
                JobState::Verifying
                | JobState::Committed
                | JobState::Published
                | JobState::Failed
                | JobState::Skipped { .. }
                | JobState::Cancelled => {}
            }
        }
    }

    /// The failed job that a dead job is to blame on.
    fn root_cause(&self, job: u32) -> u32 {
        match self.state(job) {
            JobState::Skipped { because } => because,
            _ => job,
        }
    }

    pub(super) fn name(&self, job: u32) -> String {
        self.compose.plan.job(job).map_or_else(|| format!("job {job}"), |planned| planned.name.to_string())
    }
}

/// What is kept of an attempt's usage: a record must stay small, whatever a worker reports.
pub(super) fn bounded(mut usage: Usage) -> Usage {
    usage.counters.truncate(COUNTERS);
    for (name, _) in &mut usage.counters {
        *name = cut(name, COUNTER_NAME);
    }
    usage
}

/// The first `length` characters, on one line.
pub(super) fn cut(text: &str, length: usize) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    match text.char_indices().nth(length) {
        None => text.chars().map(plain).collect(),
        Some((end, _)) => text[..end].chars().map(plain).chain(['…']).collect(),
    }
}

/// As [`cut_within`], for so many bytes.
fn cut_to_bytes(text: &str, bytes: usize) -> String {
    let lengths = (0..=bytes).rev().step_by(50);
    lengths.map(|length| cut_within(text, length)).find(|text| text.len() <= bytes).unwrap_or_default()
}

/// Beginning and end, `length` characters in all, on one line: an error ends with its cause.
pub(super) fn cut_within(text: &str, length: usize) -> String {
    let count = text.chars().count();
    if count <= length {
        return cut(text, length);
    }
    let tail: String = text.chars().skip(count - length.div_ceil(2)).collect();
    cut(text, length / 2) + &cut(&tail, length)
}
