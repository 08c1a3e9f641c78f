//! Whether a job is to blame for the end of its workers.
//!
//! A job that kills whatever runs it must not run for ever, and one that stood beside it, or on machines that fail for
//! reasons of their own, must not be called poisoned. So a lost worker is held against a job only in comparison:
//!
//! * A job that lost [`ALONE_AFTER`] workers runs its next attempts alone on their workers: whatever ends then, no
//!   neighbour is blamed for it.
//! * A job that lost [`MAX_TRIES`] workers or more is convicted when more than three times as many were lost with it on
//!   board as without it, from its first such attempt on and for at least [`RECENT_MS`]. In a calm farm that is the
//!   third loss; with one other the fourth; on machines that die at random the others are as many, and it goes on.
//! * Losses that another job explains, one that lost as many workers itself, are not counted as without it: two poison
//!   jobs do not acquit each other.
//! * [`MAX_LOSSES`] end it in any case.
//!
//! All of this is derived from the compose's records, and from the losses that the event names: idle workers too, and
//! those of other composes.

use std::collections::BTreeSet;

use tutti_job::Fence;

use super::{
    ALONE_AFTER, AttemptResult, FailureClass, JobRecord, MAX_LOSSES, MAX_TRIES, Timestamp, Usage,
    transition::{Transition, cut},
};

/// How far back losses of other workers are looked at, at least, in milliseconds.
const RECENT_MS: i64 = 60_000;
/// So many losses with a job on board weigh as much as one without it.
const WEIGHT: usize = 3;
/// Longest reason kept with a job, in characters.
const REASON: usize = 400;

/// A worker incarnation that ended, or fell silent, without having been asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Loss {
    /// Its incarnation.
    pub executor: u64,
    /// When that was noticed.
    pub at: Timestamp,
}

impl Transition<'_> {
    /// An attempt's worker is gone: another try, or the job is to blame.
    pub(super) fn attempt_lost(&mut self, fence: Fence, losses: &[Loss]) {
        let job = fence.job;
        // One that was only asked may have begun: a job that ends its worker at once must come to an end too.
        let asked = self.state(job) == super::JobState::Offered;
        let cause = if asked { "worker was lost before it answered" } else { "worker was lost" };
        let class = FailureClass::Infra;
        self.close_attempt(job, AttemptResult::Lost, Some(class), cause, Usage::default());
        self.edit(job, |record| {
            record.losses = record.losses.saturating_add(1);
            record.outputs.clear();
            record.warnings.clear();
            record.avoid_last_worker();
            record.class = Some(class);
            record.hint.clear();
        });
        let Ok(record) = self.record(job) else { return };
        let (count, without) = (record.losses, self.lost_without(job, record, losses));
        let names = lost_attempts(record).rev().map(|attempt| attempt.worker_id.as_str()).collect::<Vec<_>>();
        let names = names.join(", ");
        let many = count as usize > WEIGHT * without;
        let convicted = count >= MAX_LOSSES || (count >= MAX_TRIES && many);
        let reason = match (convicted, count) {
            (true, _) if without == 0 => format!("each of {count} tries lost its worker: {names}"),
            (true, _) => format!("{count} tries lost their workers ({names}), {without} were lost without it"),
            (false, 1) => "worker was lost".to_owned(),
            (false, ..ALONE_AFTER) => format!("{count} tries lost their workers ({names})"),
            (false, _) => format!(
                "{count} tries lost their workers ({names}), {without} were lost without it: the next try gets a worker of its own"
            ),
        };
        self.edit(job, |record| {
            record.reason = cut(&reason, REASON);
            if convicted {
                record.class = Some(FailureClass::Poisoned);
                record.hint =
                    "look at the ends of the attempts' logs and at the workers' memory; retry runs it again".into();
            }
        });
        if convicted && !self.header.stopping {
            self.fail(job);
        } else {
            self.requeue(job);
        }
    }

    /// A worker that was given up speaks of its attempt before anybody was given the job: the attempt goes on.
    pub(super) fn revive(&mut self, fence: Fence) {
        if self.header.stopping || !self.record(fence.job).is_ok_and(|record| record.may_revive(fence)) {
            return;
        }
        self.edit(fence.job, |record| {
            record.losses = record.losses.saturating_sub(1);
            (record.class, record.ended_at) = (None, None);
            record.reason.clear();
            if let Some(attempt) = record.attempts.last_mut() {
                record.avoid.retain(|known| *known != attempt.worker_id);
                (attempt.result, attempt.class, attempt.ended) = (AttemptResult::Open, None, None);
                attempt.cause.clear();
            }
        });
        self.set_state(fence.job, super::JobState::Running);
    }

    /// How many workers were lost, in the time of the job's own losses, that neither it nor another suspect was on.
    fn lost_without(&self, job: u32, record: &JobRecord, losses: &[Loss]) -> usize {
        let first = lost_attempts(record).last().map_or(self.now, |attempt| attempt.offered);
        let since = first.min(self.now.plus_millis(-RECENT_MS));
        let mut explained: BTreeSet<u64> = lost_attempts(record).map(|attempt| attempt.executor).collect();
        for (other, record) in self.compose.numbered().filter(|(other, _)| *other != job) {
            let record = self.record(other).unwrap_or(record);
            let lost = record.attempts.iter().filter(|attempt| attempt.result == AttemptResult::Lost);
            let executors: BTreeSet<u64> = lost.map(|attempt| attempt.executor).collect();
            if executors.len() >= MAX_TRIES as usize {
                explained.extend(executors);
            }
        }
        let others: BTreeSet<u64> = losses.iter().filter(|loss| loss.at >= since).map(|loss| loss.executor).collect();
        others.difference(&explained).count()
    }
}

/// The attempts that the job's losses count, the latest first.
fn lost_attempts(record: &JobRecord) -> impl DoubleEndedIterator<Item = &super::AttemptRecord> {
    let lost = |attempt: &&super::AttemptRecord| attempt.result == AttemptResult::Lost;
    let all: Vec<_> = record.attempts.iter().rev().filter(lost).take(record.losses as usize).collect();
    all.into_iter()
}
