//! A worker, after `worker/src/state.rs`: attempts that run or wait for an answer to their outcome.

use std::collections::{BTreeMap, BTreeSet};

use tutti_controller::lifecycle::{FailureClass, Output};
use tutti_job::{Fence, JobSpec, Resources};

use super::network::{Down, Session, Up};

const RESEND_MS: i64 = 500;
const RESEND_LIMIT_MS: i64 = 8_000;
/// Time that an attempt takes to die.
const GRACE_MS: i64 = 3_000;

pub(crate) type Ending = Result<Vec<Output>, FailureClass>;

#[derive(Clone, Debug)]
enum Slot {
    Running { spec: JobSpec, reserve: Resources, abandoned: bool },
    Done { result: Ending, due: i64, pause: i64 },
}

/// What the world does for a worker.
pub(crate) enum Act {
    Send(Up),
    Start {
        fence: Fence,
        spec: JobSpec,
    },
    /// The attempt ends as cancelled after that time.
    Stop {
        fence: Fence,
        after_ms: i64,
    },
    /// Its staging directory is removed.
    Forget(Fence),
}

pub(crate) struct Worker {
    pub(crate) incarnation: u64,
    pub(crate) up: bool,
    pub(crate) paused_until: i64,
    pub(crate) total: Resources,
    /// Refuses so many offers of a thousand for no good reason.
    pub(crate) moody: u64,
    /// The controller that it is connected to, once that one has answered.
    pub(crate) session: Option<(usize, Session)>,
    /// The connection that it tries.
    pub(crate) trying: Option<(usize, Session)>,
    pub(crate) heard: i64,
    pub(crate) synced: i64,
    slots: BTreeMap<Fence, Slot>,
    settled: BTreeSet<Fence>,
    epoch: i64,
}

impl Worker {
    pub(crate) fn new(incarnation: u64, total: Resources) -> Self {
        Self {
            incarnation,
            up: true,
            paused_until: 0,
            total,
            moody: 0,
            session: None,
            trying: None,
            heard: 0,
            synced: 0,
            slots: BTreeMap::new(),
            settled: BTreeSet::new(),
            epoch: 0,
        }
    }

    /// The process dies; what it journaled is there for the next one.
    pub(crate) fn die(&mut self) {
        self.up = false;
        self.session = None;
        self.trying = None;
        self.slots.retain(|_, slot| matches!(slot, Slot::Done { .. }));
        self.settled.clear();
    }

    pub(crate) fn rise(&mut self, incarnation: u64) {
        self.up = true;
        self.incarnation = incarnation;
        self.epoch = 0;
    }

    pub(crate) fn is_running(&self, fence: Fence) -> bool {
        matches!(self.slots.get(&fence), Some(Slot::Running { .. }))
    }

    pub(crate) fn held(&self) -> Vec<Fence> {
        self.slots.keys().copied().collect()
    }

    pub(crate) fn running(&self) -> Vec<Fence> {
        self.slots.iter().filter(|(_, slot)| matches!(slot, Slot::Running { .. })).map(|(fence, _)| *fence).collect()
    }

    pub(crate) fn spec(&self, fence: Fence) -> Option<&JobSpec> {
        match self.slots.get(&fence) {
            Some(Slot::Running { spec, .. }) => Some(spec),
            _ => None,
        }
    }

    fn fits(&self, reserve: &Resources) -> bool {
        let (mut cpu, mut memory) = (reserve.cpu_milli, reserve.memory_bytes);
        for slot in self.slots.values() {
            if let Slot::Running { reserve, .. } = slot {
                cpu += reserve.cpu_milli;
                memory += reserve.memory_bytes;
            }
        }
        cpu <= self.total.cpu_milli && memory <= self.total.memory_bytes
    }

    /// A message came. `refuses` is the mood of the day.
    pub(crate) fn receive(
        &mut self,
        epoch: i64,
        session: Session,
        from: usize,
        down: Down,
        now: i64,
        refuses: bool,
    ) -> Vec<Act> {
        if epoch < self.epoch {
            return vec![];
        }
        self.epoch = epoch;
        if let Down::Welcome = down {
            if self.trying == Some((from, session)) {
                self.session = self.trying.take();
                self.heard = now;
                for slot in self.slots.values_mut() {
                    if let Slot::Done { due, pause, .. } = slot {
                        (*due, *pause) = (now, RESEND_MS);
                    }
                }
            }
            return self.due(now);
        }
        match down {
            Down::Offer { fence, spec, reserve } => self.offer(fence, spec, reserve, now, refuses),
            Down::Cancel(fence) if self.is_running(fence) => vec![Act::Stop { fence, after_ms: GRACE_MS }],
            Down::Commit(fence) => self.settle(fence, false),
            Down::Refused(fence) => self.settle(fence, true),
            Down::Desired(wanted) => {
                let unwanted = self.running().into_iter().filter(|fence| !wanted.contains(fence));
                unwanted.map(|fence| Act::Stop { fence, after_ms: GRACE_MS }).collect()
            }
            Down::Cancel(_) | Down::Welcome => vec![],
        }
    }

    fn offer(&mut self, fence: Fence, spec: JobSpec, reserve: Resources, now: i64, refuses: bool) -> Vec<Act> {
        match self.slots.get_mut(&fence) {
            Some(Slot::Running { .. }) => return vec![Act::Send(Up::Accept(fence))],
            Some(Slot::Done { due, .. }) => {
                *due = now;
                return self.due(now);
            }
            None => {}
        }
        let hard = self.settled.contains(&fence) || fence.executor != self.incarnation;
        if hard || refuses || !self.fits(&reserve) {
            return vec![Act::Send(Up::Reject { fence, soft: !hard })];
        }
        self.slots.insert(fence, Slot::Running { spec: spec.clone(), reserve, abandoned: false });
        vec![Act::Send(Up::Accept(fence)), Act::Start { fence, spec }]
    }

    fn settle(&mut self, fence: Fence, refused: bool) -> Vec<Act> {
        match self.slots.get_mut(&fence) {
            Some(Slot::Done { .. }) => self.forget(fence),
            Some(Slot::Running { abandoned, .. }) if refused => {
                *abandoned = true;
                vec![Act::Stop { fence, after_ms: GRACE_MS }]
            }
            Some(Slot::Running { .. }) | None => vec![],
        }
    }

    fn forget(&mut self, fence: Fence) -> Vec<Act> {
        self.slots.remove(&fence);
        self.settled.insert(fence);
        vec![Act::Forget(fence)]
    }

    /// An attempt ended.
    pub(crate) fn finished(&mut self, fence: Fence, result: Ending, now: i64) -> Vec<Act> {
        match self.slots.get(&fence) {
            Some(Slot::Running { abandoned: true, .. }) => self.forget(fence),
            Some(Slot::Running { .. }) => {
                self.slots.insert(fence, Slot::Done { result, due: now, pause: RESEND_MS });
                self.due(now)
            }
            Some(Slot::Done { .. }) | None => vec![],
        }
    }

    /// Outcomes to be said (again).
    pub(crate) fn due(&mut self, now: i64) -> Vec<Act> {
        let mut acts = Vec::new();
        for (fence, slot) in &mut self.slots {
            if let Slot::Done { result, due, pause } = slot
                && *due <= now
            {
                *due = now + *pause;
                *pause = (*pause * 2).min(RESEND_LIMIT_MS);
                acts.push(Act::Send(Up::Outcome { fence: *fence, result: result.clone() }));
            }
        }
        acts
    }
}
