//! What a worker knows of its attempts, and what it does about each message: no clock, no I/O, no tasks.
//!
//! [`State`] takes messages and events, changes, and returns [`Effect`]s in order. Sending may fail or be lost: all
//! that matters is said again, by Sync (what runs), Hello (what is held) and the repetition of outcomes.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::PathBuf,
    time::{Duration, Instant},
};

use tutti_job::{Fence, JobKind};
use tutti_proto::worker::{
    self as proto, Accept, Outcome, Refused, Reject, Resources, session_request::Message as Up,
    session_response::Message as Down,
};

use crate::{
    FailureClass, RunnerError,
    attempt::{Order, Status, Stop},
    config::Records,
    offer::{self, Refusal},
};

/// How many settled attempts are remembered, so that a late copy of an offer does not run again.
const REMEMBERED: usize = 4096;
/// Grace of attempts that are no longer wanted.
pub(crate) const GRACE: Duration = Duration::from_secs(3);

/// An attempt among all composes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) compose_id: String,
    pub(crate) fence: Fence,
}

impl Key {
    pub(crate) fn of(fence: &proto::Fence) -> Option<Self> {
        let proto::Fence { compose_id, job, attempt, executor } = fence;
        (!compose_id.is_empty() && compose_id.len() <= 256).then(|| Self {
            compose_id: compose_id.clone(),
            fence: Fence { job: *job, attempt: *attempt, executor: *executor },
        })
    }

    pub(crate) fn to_proto(&self) -> proto::Fence {
        let Fence { job, attempt, executor } = self.fence;
        proto::Fence { compose_id: self.compose_id.clone(), job, attempt, executor }
    }
}

/// What the shell shall do.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Send a message, if there is a connection.
    Send(Up),
    /// Start an attempt.
    Start(Box<Order>),
    /// End a running attempt.
    Stop(Key, Stop),
    /// Remove journal record and staging directory.
    Forget(Key, PathBuf, Leftovers),
}

/// What becomes of checkpoints in a staging directory that is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leftovers {
    /// Nobody wants them.
    Remove,
    /// The attempt failed: a later one may go on from them, so a directory that has some stays. The controller removes
    /// it when the job is committed.
    KeepCheckpoints,
}

enum Slot {
    Running { reserve: Resources, status: Status, changed: bool, abandoned: bool, staging: PathBuf },
    Done { outcome: Box<Outcome>, staging: PathBuf, due: Instant, pause: Duration },
}

/// Fixed facts of a worker.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) incarnation: u64,
    pub(crate) capacity: Resources,
    pub(crate) kinds: BTreeSet<JobKind>,
    pub(crate) maps: Vec<(PathBuf, PathBuf)>,
    pub(crate) records: Records,
    /// First pause before an outcome is sent again; it doubles up to `resend_limit`.
    pub(crate) resend: Duration,
    pub(crate) resend_limit: Duration,
}

/// All attempts of a worker.
pub(crate) struct State {
    pub(crate) facts: Facts,
    slots: BTreeMap<Key, Slot>,
    settled: VecDeque<Key>,
    epoch: u64,
    acknowledged: u64,
    draining: bool,
    conditions: BTreeSet<String>,
}

impl State {
    pub(crate) fn new(facts: Facts) -> Self {
        Self {
            facts,
            slots: BTreeMap::new(),
            settled: VecDeque::new(),
            epoch: 0,
            acknowledged: 0,
            draining: false,
            conditions: BTreeSet::new(),
        }
    }

    /// Whether a message of this epoch counts; remembers the highest.
    pub(crate) fn admit(&mut self, epoch: u64) -> bool {
        let current = epoch >= self.epoch;
        self.epoch = self.epoch.max(epoch);
        current
    }

    /// Takes a message that is not about the connection.
    pub(crate) fn receive(&mut self, epoch: u64, sequence: u64, message: Down, now: Instant) -> Vec<Effect> {
        if !self.admit(epoch) {
            tracing::warn!(epoch, newest = self.epoch, "ignored a message of a deposed controller");
            return Vec::new();
        }
        self.acknowledged = self.acknowledged.max(sequence);
        match message {
            Down::Offer(offer) => self.offer(offer, now),
            Down::Cancel(cancel) => self.cancel(&cancel),
            Down::Commit(commit) => self.settle(commit.fence.as_ref(), None),
            Down::Refused(refused) => {
                let Refused { fence, reason } = refused;
                self.settle(fence.as_ref(), Some(reason))
            }
            Down::Desired(desired) => self.desire(&desired.fences),
            // Those of the connection: the session acts on them.
            Down::Welcome(_) | Down::GoAway(_) | Down::Redirect(_) => Vec::new(),
        }
    }

    fn offer(&mut self, offer: proto::Offer, now: Instant) -> Vec<Effect> {
        let Some(fence) = offer.fence.clone() else { return Vec::new() };
        let reject = |refusal: Refusal| {
            tracing::info!(reason = refusal.reason, "rejected an offer");
            let Refusal { reason, soft } = refusal;
            vec![Effect::Send(Up::Reject(Reject { fence: Some(fence.clone()), reason, soft }))]
        };
        let Some(key) = Key::of(&fence) else { return reject(Refusal::hard("the fence names no compose")) };
        match self.slots.get_mut(&key) {
            // The answer was lost.
            Some(Slot::Running { .. }) => return vec![Effect::Send(Up::Accept(Accept { fence: Some(fence) }))],
            Some(Slot::Done { due, .. }) => {
                *due = now;
                return self.due(now);
            }
            None => {}
        }
        match self.check(&key, offer) {
            Err(refusal) => reject(refusal),
            Ok((order, reserve)) => {
                let staging = order.volumes.staging.clone().unwrap_or_default();
                let status = Status::default();
                self.slots.insert(key, Slot::Running { reserve, status, changed: false, abandoned: false, staging });
                vec![Effect::Send(Up::Accept(Accept { fence: Some(fence) })), Effect::Start(Box::new(order))]
            }
        }
    }

    fn check(&self, key: &Key, offer: proto::Offer) -> Result<(Order, Resources), Refusal> {
        if self.settled.contains(key) {
            return Err(Refusal::hard("this attempt is over"));
        }
        if key.fence.executor != self.facts.incarnation {
            return Err(Refusal::hard("the offer was made to another incarnation of this worker"));
        }
        if self.draining {
            return Err(Refusal::soft("draining"));
        }
        let reserve = offer.reserve.unwrap_or_default();
        let free = self.free();
        if reserve.cpu_milli > free.cpu_milli || reserve.memory_bytes > free.memory_bytes {
            return Err(Refusal::soft(format!(
                "needs {} mCPU and {} bytes of memory, free are {} and {}",
                reserve.cpu_milli, reserve.memory_bytes, free.cpu_milli, free.memory_bytes
            )));
        }
        Ok((offer::order(key, offer, &self.facts)?, reserve))
    }

    fn cancel(&mut self, cancel: &proto::Cancel) -> Vec<Effect> {
        let Some(key) = cancel.fence.as_ref().and_then(Key::of) else { return Vec::new() };
        let grace = offer::duration(cancel.grace.as_ref()).unwrap_or(GRACE).min(Duration::from_secs(60));
        match self.slots.get(&key) {
            Some(Slot::Running { .. }) => vec![Effect::Stop(key, Stop { failure: cancelled("cancelled"), grace })],
            // Its outcome is said until it is answered.
            Some(Slot::Done { .. }) => Vec::new(),
            // The offer never arrived, or it is over and answered, which this does not change.
            None => {
                let reason = "it was not begun here before it was cancelled".to_owned();
                vec![Effect::Send(Up::Reject(Reject { fence: cancel.fence.clone(), reason, soft: true }))]
            }
        }
    }

    /// Commit (`refused` is none) or Refused: the controller is done with this attempt.
    fn settle(&mut self, fence: Option<&proto::Fence>, refused: Option<String>) -> Vec<Effect> {
        let Some(key) = fence.and_then(Key::of) else { return Vec::new() };
        match (self.slots.get_mut(&key), refused) {
            (Some(Slot::Done { outcome, .. }), reason) => {
                if let Some(reason) = reason {
                    tracing::warn!(compose_id = key.compose_id, fence = %key.fence, reason, "outcome refused");
                    // Another attempt decides, or has: the controller may have cleaned up, and will not come again.
                    return self.forget(key, Leftovers::Remove);
                }
                let failed = matches!(outcome.result, Some(proto::outcome::Result::Failure(_)));
                self.forget(key, if failed { Leftovers::KeepCheckpoints } else { Leftovers::Remove })
            }
            (Some(Slot::Running { abandoned, .. }), Some(reason)) => {
                *abandoned = true;
                vec![Effect::Stop(key, Stop { failure: cancelled(&format!("refused: {reason}")), grace: GRACE })]
            }
            (Some(Slot::Running { .. }), None) => {
                tracing::error!(compose_id = key.compose_id, fence = %key.fence, "commit of an attempt that still runs");
                Vec::new()
            }
            (None, _) => Vec::new(),
        }
    }

    fn forget(&mut self, key: Key, leftovers: Leftovers) -> Vec<Effect> {
        let Some(Slot::Running { staging, .. } | Slot::Done { staging, .. }) = self.slots.remove(&key) else {
            return Vec::new();
        };
        self.settled.push_back(key.clone());
        if self.settled.len() > REMEMBERED {
            self.settled.pop_front();
        }
        vec![Effect::Forget(key, staging, leftovers)]
    }

    fn desire(&mut self, fences: &[proto::Fence]) -> Vec<Effect> {
        let wanted: BTreeSet<Key> = fences.iter().filter_map(Key::of).collect();
        self.stop_where(|key| !wanted.contains(key), &cancelled("no longer wanted by the controller"))
    }

    /// Ends all running attempts.
    pub(crate) fn stop_all(&self, class: FailureClass, cause: &str) -> Vec<Effect> {
        self.stop_where(|_| true, &RunnerError::new(class, cause).into())
    }

    fn stop_where(&self, unwanted: impl Fn(&Key) -> bool, failure: &crate::wire::Failure) -> Vec<Effect> {
        let running = self.slots.iter().filter(|(_, slot)| matches!(slot, Slot::Running { .. }));
        let keys = running.map(|(key, _)| key).filter(|key| unwanted(key));
        keys.map(|key| Effect::Stop(key.clone(), Stop { failure: failure.clone(), grace: GRACE })).collect()
    }

    /// Notes how far a running attempt is.
    pub(crate) fn progress(&mut self, key: &Key, now: Status) {
        if let Some(Slot::Running { status, changed, .. }) = self.slots.get_mut(key) {
            *changed |= *status != now;
            *status = now;
        }
    }

    /// Takes the end of a running attempt; its outcome is journaled already.
    pub(crate) fn finished(&mut self, key: &Key, outcome: Outcome, now: Instant) -> Vec<Effect> {
        match self.slots.get(key) {
            Some(Slot::Running { abandoned: true, .. }) => self.forget(key.clone(), Leftovers::Remove),
            Some(Slot::Running { staging, .. }) => {
                let staging = staging.clone();
                self.hold(key.clone(), outcome, staging, now);
                self.due(now)
            }
            Some(Slot::Done { .. }) | None => Vec::new(),
        }
    }

    /// Holds an outcome until it is settled.
    pub(crate) fn hold(&mut self, key: Key, outcome: Outcome, staging: PathBuf, now: Instant) {
        let slot = Slot::Done { outcome: Box::new(outcome), staging, due: now, pause: self.facts.resend };
        self.slots.insert(key, slot);
    }

    /// Makes all held outcomes due: a new connection.
    pub(crate) fn connected(&mut self, now: Instant) {
        for slot in self.slots.values_mut() {
            if let Slot::Done { due, pause, .. } = slot {
                *due = now;
                *pause = self.facts.resend;
            }
        }
    }

    /// The outcomes that are due, to be sent.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        for slot in self.slots.values_mut() {
            if let Slot::Done { outcome, due, pause, .. } = slot
                && *due <= now
            {
                *due = now + *pause;
                *pause = (*pause * 2).min(self.facts.resend_limit);
                effects.push(Effect::Send(Up::Outcome((**outcome).clone())));
            }
        }
        effects
    }

    /// When [`State::due`] has something next.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let due = self.slots.values().filter_map(|slot| match slot {
            Slot::Done { due, .. } => Some(*due),
            Slot::Running { .. } => None,
        });
        due.min()
    }

    /// What changed since the last call.
    pub(crate) fn take_progress(&mut self) -> Option<Up> {
        let mut jobs = Vec::new();
        for (key, slot) in &mut self.slots {
            if let Slot::Running { status, changed, .. } = slot
                && std::mem::take(changed)
            {
                jobs.push(job_status(key, status));
            }
        }
        (!jobs.is_empty()).then_some(Up::Progress(proto::Progress { jobs }))
    }

    /// Whether [`State::take_progress`] has something.
    pub(crate) fn has_progress(&self) -> bool {
        self.slots.values().any(|slot| matches!(slot, Slot::Running { changed: true, .. }))
    }

    /// Starts nothing any more.
    pub(crate) fn drain(&mut self) {
        self.draining = true;
    }

    /// Adds what a person should know of this host.
    pub(crate) fn add_conditions(&mut self, conditions: Vec<String>) {
        for condition in conditions {
            if self.conditions.len() < 32 {
                self.conditions.insert(condition);
            }
        }
    }

    pub(crate) fn running(&self) -> usize {
        self.slots.values().filter(|slot| matches!(slot, Slot::Running { .. })).count()
    }

    /// Attempts whose outcome is not settled.
    pub(crate) fn unsettled(&self) -> usize {
        self.slots.len() - self.running()
    }

    /// Resources that no running attempt has reserved.
    pub(crate) fn free(&self) -> Resources {
        let mut free = self.facts.capacity;
        for slot in self.slots.values() {
            if let Slot::Running { reserve, .. } = slot {
                free.cpu_milli = free.cpu_milli.saturating_sub(reserve.cpu_milli);
                free.memory_bytes = free.memory_bytes.saturating_sub(reserve.memory_bytes);
                free.disk_bytes = free.disk_bytes.saturating_sub(reserve.disk_bytes);
            }
        }
        free
    }

    /// All fences that are running or unsettled, and the highest epoch: for Hello.
    pub(crate) fn held(&self) -> (Vec<proto::Fence>, u64) {
        (self.slots.keys().map(Key::to_proto).collect(), self.epoch)
    }

    /// Conditions that end with running attempts.
    fn passing(&self) -> impl Iterator<Item = &String> {
        self.slots.values().filter_map(|slot| match slot {
            Slot::Running { status, .. } => status.condition.as_ref(),
            Slot::Done { .. } => None,
        })
    }

    /// The whole state.
    pub(crate) fn sync(&self) -> proto::Sync {
        let running = self.slots.iter().filter_map(|(key, slot)| match slot {
            Slot::Running { status, .. } => Some(job_status(key, status)),
            Slot::Done { .. } => None,
        });
        proto::Sync {
            running: running.collect(),
            free: Some(self.free()),
            // Those that end with their attempts first: a controller keeps a few only.
            conditions: self.passing().chain(&self.conditions).cloned().collect(),
            acknowledged_sequence: self.acknowledged,
            draining: self.draining,
        }
    }
}

fn job_status(key: &Key, status: &Status) -> proto::JobStatus {
    let Status { phase, done, total, .. } = status.clone();
    proto::JobStatus { fence: Some(key.to_proto()), phase, done, total }
}

fn cancelled(cause: &str) -> crate::wire::Failure {
    RunnerError::new(FailureClass::Cancelled, cause).into()
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
