//! A leading controller, after `engine/actor.rs`: a turn applies what arrived, stores it, then acts.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use tutti_controller::{
    history::{Cause, Recorder},
    lifecycle::{
        AttemptRecord, Compose, Effect, Event, FailureClass, Header, IllegalTransition, JobRecord, JobState, Loss,
        Output, Status, Timestamp, Usage, apply, pending_effects,
    },
    plan::{Plan, close},
    schedule::{ReadyJob, WorkerView, schedule},
};
use tutti_job::{Fence, Resources};

use super::{
    network::{Down, Session, Up},
    sabotage::Sabotage,
    store::{Batch, Store},
};

pub(crate) const COMPOSE: &str = "Sim-1";
const ACCEPT_MS: i64 = 2_000;
const LOST_MS: i64 = 5_000 + 3_000;
/// Commands taken in one turn.
const TURN: usize = 8;

/// What an engine is told.
pub(crate) enum Input {
    FromWorker { session: Session, up: Up },
    Disconnected(Session),
    Verified { fence: Fence, result: Result<(), FailureClass> },
    Published { job: u32, result: Result<(), String> },
    Looked { damage: Option<String> },
    Cancel,
    Retry(Vec<u32>),
    Tick,
}

/// What the world does for an engine.
pub(crate) enum Act {
    Send {
        worker: usize,
        session: Session,
        down: Down,
    },
    Verify {
        fence: Fence,
        outputs: Vec<Output>,
    },
    Publish {
        job: u32,
        fence: Fence,
        outputs: Vec<Output>,
    },
    Look,
    Status(Status),
    /// Text to append to the history.
    Lines(String),
}

/// How a step went.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// There is more to do.
    More,
    Idle,
    Deposed,
}

/// What the store does to a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Good,
    /// Not applied, and the caller is told so.
    Away,
    /// Applied or not, and the caller is not told which.
    Unknown(bool),
}

struct Known {
    number: usize,
    total: Resources,
    session: Option<Session>,
    last_seen: i64,
}

pub(crate) struct Engine {
    pub(crate) epoch: i64,
    pub(crate) compose: Compose,
    inbox: VecDeque<Input>,
    dirty: BTreeMap<Vec<u8>, Vec<u8>>,
    batches: VecDeque<Batch>,
    batch_size: usize,
    effects: Vec<Effect>,
    commits: Vec<Fence>,
    workers: BTreeMap<u64, Known>,
    heirs: BTreeMap<u64, u64>,
    losses: Vec<Loss>,
    offers: BTreeMap<Fence, i64>,
    busy: BTreeSet<u32>,
    /// The tree is being looked at, and whether to look once more after that.
    looking: Option<bool>,
    recorder: Recorder,
    remaining: Vec<u64>,
    reschedule: bool,
    acts: Vec<Act>,
    sabotage: Option<Sabotage>,
}

pub(crate) fn header_key() -> Vec<u8> {
    b"h".to_vec()
}

fn losses_key() -> Vec<u8> {
    b"losses".to_vec()
}

fn load_losses(store: &Store) -> Vec<Loss> {
    let Some((bytes, _)) = store.get(&losses_key()) else { return vec![] };
    let text = String::from_utf8_lossy(bytes).into_owned();
    let pair = |line: &str| line.split_once(' ').map(|(executor, at)| (executor.parse(), at.parse()));
    let loss = |line: &str| match pair(line)? {
        (Ok(executor), Ok(at)) => Some(Loss { executor, at: Timestamp(at) }),
        _ => None,
    };
    text.lines().filter_map(loss).collect()
}

pub(crate) fn job_key(job: u32) -> Vec<u8> {
    format!("j/{job:08}").into_bytes()
}

/// The compose as it is stored.
pub(crate) fn load(store: &Store, plan: &Arc<Plan>) -> Option<Compose> {
    let header = Header::decode(store.get(&header_key())?.0).expect("a stored header reads back");
    let record = |job: u32| match store.get(&job_key(job)) {
        Some((bytes, _)) => JobRecord::decode(bytes).expect("a stored record reads back"),
        None => JobRecord::default(),
    };
    let jobs = plan.jobs.iter().map(|planned| record(planned.number)).collect();
    Some(Compose::load(COMPOSE, Arc::clone(plan), header, jobs))
}

impl Engine {
    /// A controller that has just become the leader.
    pub(crate) fn start(
        epoch: i64,
        store: &Store,
        plan: &Arc<Plan>,
        fail_fast: bool,
        batch_size: usize,
        now: i64,
        sabotage: Option<Sabotage>,
    ) -> Self {
        let stored = load(store, plan);
        let found = stored.is_some();
        let compose = stored.unwrap_or_else(|| Compose::new(COMPOSE, Arc::clone(plan), fail_fast, Timestamp(now)));
        let mut engine = Self {
            epoch,
            remaining: compose.plan.critical_path_remaining(),
            compose,
            inbox: VecDeque::new(),
            dirty: BTreeMap::new(),
            batches: VecDeque::new(),
            batch_size,
            effects: Vec::new(),
            commits: Vec::new(),
            workers: BTreeMap::new(),
            heirs: BTreeMap::new(),
            losses: load_losses(store),
            offers: BTreeMap::new(),
            busy: BTreeSet::new(),
            looking: None,
            recorder: Recorder::new(epoch),
            reschedule: true,
            acts: Vec::new(),
            sabotage,
        };
        if found {
            let stored_at = |job: u32| store.get(&job_key(job)).map(|(_, revision)| revision);
            engine.recorder.found(&engine.compose, Timestamp(now), stored_at);
            let lines = engine.recorder.stored(store.revision());
            engine.acts.extend(lines.into_values().map(Act::Lines));
        } else {
            engine.dirty.insert(header_key(), engine.compose.header.encode());
        }
        engine.effects = pending_effects(&engine.compose, false);
        for (_, record) in engine.compose.numbered() {
            if let Some(fence) = record.current() {
                let known = Known { number: usize::MAX, total: Resources::default(), session: None, last_seen: now };
                engine.workers.entry(fence.executor).or_insert(known);
            }
        }
        engine.late(Event::Started, now);
        engine.late(Event::Loaded, now);
        engine
    }

    pub(crate) fn tell(&mut self, input: Input) {
        self.inbox.push_back(input);
    }

    /// Whether that connection is open at this end: one that is forgotten is closed.
    pub(crate) fn knows(&self, session: Session) -> bool {
        self.workers.values().any(|known| known.session == Some(session))
    }

    /// Whether the next step is a transaction.
    pub(crate) fn is_storing(&self) -> bool {
        !self.batches.is_empty()
    }

    pub(crate) fn take_acts(&mut self) -> Vec<Act> {
        std::mem::take(&mut self.acts)
    }

    /// One transaction, or one turn.
    pub(crate) fn step(&mut self, store: &mut Store, fate: Fate, now: i64) -> Step {
        if let Some(batch) = self.batches.front() {
            let applied = match fate {
                Fate::Away => return Step::More,
                Fate::Unknown(applied) => {
                    if applied {
                        let _ = store.txn(self.epoch, batch, now);
                    }
                    return Step::More;
                }
                Fate::Good => store.txn(self.epoch, batch, now),
            };
            let Some(revision) = applied else { return Step::Deposed };
            self.batches.pop_front();
            if self.batches.is_empty() {
                self.acts.extend(self.recorder.stored(revision).into_values().map(Act::Lines));
                self.act(now);
            }
        } else {
            for _ in 0..TURN {
                let Some(input) = self.inbox.pop_front() else { break };
                self.take(input, now);
            }
            if std::mem::take(&mut self.reschedule) {
                self.place_jobs(now);
            }
            if self.dirty.is_empty() {
                self.act(now);
            }
        }
        if self.batches.is_empty() && !self.dirty.is_empty() {
            let mut operations: Vec<_> = std::mem::take(&mut self.dirty).into_iter().collect();
            let is_last = self.compose.header.is_stored_last();
            operations.sort_by_key(|(key, _)| is_last && *key == header_key());
            self.batches = operations.chunks(self.batch_size).map(<[_]>::to_vec).collect();
        }
        let idle = self.batches.is_empty() && self.inbox.is_empty() && !self.reschedule;
        if idle { Step::Idle } else { Step::More }
    }

    /// What is stored may be acted upon.
    fn act(&mut self, now: i64) {
        for effect in std::mem::take(&mut self.effects) {
            self.perform(effect, now);
        }
        for fence in std::mem::take(&mut self.commits) {
            self.send_commit(fence);
        }
    }

    fn apply(&mut self, event: Event, now: i64) -> Result<(), IllegalTransition> {
        let cause = Cause::of(&event);
        let (mut changes, effects) = apply(&self.compose, event, Timestamp(now))?;
        if self.sabotage.is_some_and(|sabotage| !sabotage.spoil(&self.compose, cause, &mut changes)) {
            return Ok(());
        }
        self.effects.extend(effects);
        if changes.is_empty() {
            return Ok(());
        }
        self.recorder.change(&self.compose, cause, &changes, Timestamp(now));
        if self.sabotage == Some(Sabotage::CommitsTwice) && cause == Cause::VerifiedOk {
            self.recorder.change(&self.compose, cause, &changes, Timestamp(now));
        }
        if let Some(header) = &changes.header {
            self.dirty.insert(header_key(), header.encode());
        }
        for (job, record) in &changes.jobs {
            self.dirty.insert(job_key(*job), record.encode());
        }
        self.compose.absorb(changes);
        self.reschedule = true;
        Ok(())
    }

    fn late(&mut self, event: Event, now: i64) {
        // Late and repeated messages are nobody's fault.
        drop(self.apply(event, now));
    }

    fn take(&mut self, input: Input, now: i64) {
        match input {
            Input::FromWorker { session, up } => self.worker_says(session, up, now),
            Input::Disconnected(session) => {
                for known in self.workers.values_mut().filter(|known| known.session == Some(session)) {
                    known.session = None;
                }
                self.reschedule = true;
            }
            Input::Verified { fence, result } => {
                self.busy.remove(&fence.job);
                match result {
                    Ok(()) => self.late(Event::VerifiedOk { fence }, now),
                    Err(class) => self.late(Event::VerifyFailed { fence, class, cause: "differs".into() }, now),
                }
            }
            Input::Published { job, result } => {
                self.busy.remove(&job);
                match result {
                    Ok(()) => {
                        self.late(Event::Published { job }, now);
                        self.commits.extend(self.compose.job(job).and_then(|record| record.fence));
                    }
                    Err(cause) => {
                        let class = FailureClass::Infra;
                        self.late(Event::PublishFailed { job, class, cause, lost: false }, now);
                    }
                }
            }
            Input::Looked { damage } => {
                if self.looking.take() == Some(true) {
                    self.perform(Effect::Look, now);
                } else {
                    self.late(Event::Looked { damage }, now);
                }
            }
            Input::Cancel => self.late(Event::Cancel, now),
            Input::Retry(jobs) => self.late(Event::Retry { jobs }, now),
            Input::Tick => self.expire(now),
        }
    }

    fn worker_says(&mut self, session: Session, up: Up, now: i64) {
        if let Up::Hello { worker, executor, total, held } = up {
            return self.connect(session, worker, executor, total, &held, now);
        }
        let Some(executor) = self.workers.iter().find(|(_, w)| w.session == Some(session)).map(|(e, _)| *e) else {
            return;
        };
        if let Some(known) = self.workers.get_mut(&executor) {
            known.last_seen = now;
        }
        match up {
            Up::Hello { .. } => {}
            Up::Sync { running } => {
                let stray = self.compose.is_stopping() || running.iter().any(|fence| !self.is_current(*fence));
                for fence in running {
                    let offered = self.compose.job(fence.job).is_some_and(|record| record.state == JobState::Offered);
                    if offered && self.is_current(fence) {
                        self.offers.remove(&fence);
                        self.late(Event::Accepted { fence }, now);
                    }
                }
                if stray {
                    self.send_desired(executor);
                }
            }
            Up::Accept(fence) => self.with_fence(executor, fence, Event::Accepted { fence }, now),
            Up::Reject { fence, soft } => {
                self.with_fence(executor, fence, Event::Rejected { fence, reason: "no room".into(), soft }, now);
            }
            Up::Outcome { fence, result } => self.outcome(executor, fence, result, now),
        }
    }

    fn with_fence(&mut self, executor: u64, fence: Fence, event: Event, now: i64) {
        if fence.executor != executor && self.heirs.get(&fence.executor) != Some(&executor) {
            if !self.needs_staging(fence) {
                self.send(executor, Down::Refused(fence));
            }
            return;
        }
        self.offers.remove(&fence);
        self.late(event, now);
    }

    fn outcome(&mut self, executor: u64, fence: Fence, result: Result<Vec<Output>, FailureClass>, now: i64) {
        let usage = Usage::default();
        let (cause, hint) = (String::from("it broke"), String::new());
        let event = match result {
            Ok(outputs) => Event::Succeeded { fence, outputs, warnings: vec![], usage },
            Err(FailureClass::Cancelled) if self.is_current(fence) => Event::KilledConfirmed { fence },
            Err(class) => Event::FailedAttempt { fence, class, cause, hint, usage },
        };
        self.with_fence(executor, fence, event, now);
    }

    fn connect(&mut self, session: Session, number: usize, executor: u64, total: Resources, held: &[Fence], now: i64) {
        self.workers.insert(executor, Known { number, total, session: Some(session), last_seen: now });
        self.send(executor, Down::Welcome);
        let older = |(e, known): (&u64, &Known)| {
            (*e != executor && known.session.is_none() && known.number == number).then_some(*e)
        };
        let older: Vec<u64> = self.workers.iter().filter_map(older).collect();
        let name = format!("w{number}");
        for fence in held.iter().filter(|fence| fence.executor != executor) {
            let own = |attempt: &AttemptRecord| attempt.executor == fence.executor && attempt.worker_id == name;
            if self.compose.job(fence.job).is_some_and(|record| record.attempts.iter().any(own)) {
                self.heirs.insert(fence.executor, executor);
            }
        }
        for executor in older {
            self.lose(executor, held, now);
        }
        for fence in held {
            let own = fence.executor == executor || self.heirs.get(&fence.executor) == Some(&executor);
            if own && self.compose.job(fence.job).is_some_and(|record| record.may_revive(*fence)) {
                self.late(Event::Accepted { fence: *fence }, now);
            }
        }
        self.send_desired(executor);
        let offered = self.compose.numbered().filter(|(_, record)| record.state == JobState::Offered);
        let fences: Vec<Fence> = offered.filter_map(|(_, record)| record.fence).collect();
        for fence in fences.into_iter().filter(|fence| fence.executor == executor) {
            self.perform(Effect::SendOffer { fence }, now);
        }
        self.reschedule = true;
    }

    fn lose(&mut self, executor: u64, held: &[Fence], now: i64) {
        self.workers.remove(&executor);
        if self.losses.iter().all(|loss| loss.executor != executor) {
            self.losses.push(Loss { executor, at: Timestamp(now) });
            let text: Vec<String> = self.losses.iter().map(|loss| format!("{} {}", loss.executor, loss.at.0)).collect();
            self.dirty.insert(losses_key(), text.join("\n").into_bytes());
        }
        let mut gone: Vec<u64> = self.heirs.iter().filter(|(_, heir)| **heir == executor).map(|(e, _)| *e).collect();
        self.heirs.retain(|_, heir| *heir != executor);
        gone.push(executor);
        for executor in gone {
            let event =
                Event::WorkerLost { executor, kept: held.to_vec(), losses: self.losses.clone(), excused: false };
            self.late(event, now);
        }
    }

    fn needs_staging(&self, fence: Fence) -> bool {
        self.compose.job(fence.job).is_some_and(|record| record.needs_staging(fence))
    }

    fn is_current(&self, fence: Fence) -> bool {
        self.compose.job(fence.job).and_then(JobRecord::current) == Some(fence)
    }

    fn send_desired(&mut self, executor: u64) {
        let stopping = self.compose.is_stopping();
        let current = self.compose.numbered().filter(|_| !stopping).filter_map(|(_, record)| record.current());
        let fences = current.filter(|fence| fence.executor == executor).collect();
        self.send(executor, Down::Desired(fences));
    }

    fn send(&mut self, executor: u64, down: Down) {
        let executor = self.heirs.get(&executor).copied().unwrap_or(executor);
        let Some(known) = self.workers.get(&executor) else { return };
        if let Some(session) = known.session {
            self.acts.push(Act::Send { worker: known.number, session, down });
        }
    }

    fn send_commit(&mut self, fence: Fence) {
        if !self.needs_staging(fence) {
            self.send(fence.executor, Down::Commit(fence));
        }
    }

    fn perform(&mut self, effect: Effect, now: i64) {
        match effect {
            Effect::SendOffer { fence } => self.send_offer(fence, now),
            Effect::SendCommit { fence } => self.send_commit(fence),
            Effect::SendRefused { fence, .. } => self.send(fence.executor, Down::Refused(fence)),
            Effect::CancelAttempt { fence } => self.send(fence.executor, Down::Cancel(fence)),
            Effect::Verify { fence } => {
                let outputs = self.compose.job(fence.job).map(|record| record.outputs.clone()).unwrap_or_default();
                if self.busy.insert(fence.job) {
                    self.acts.push(Act::Verify { fence, outputs });
                }
            }
            Effect::Publish { job } => {
                let Some(record) = self.compose.job(job) else { return };
                let (Some(fence), outputs) = (record.fence, record.outputs.clone()) else { return };
                if self.busy.insert(job) {
                    self.acts.push(Act::Publish { job, fence, outputs });
                }
            }
            Effect::Look if self.sabotage == Some(Sabotage::NeverLooks) => {
                self.inbox.push_back(Input::Looked { damage: None });
            }
            Effect::Look => match &mut self.looking {
                Some(again) => *again = true,
                None => {
                    self.looking = Some(false);
                    self.acts.push(Act::Look);
                }
            },
            Effect::WriteStatus { status } | Effect::Finish { status } => self.acts.push(Act::Status(status)),
        }
    }

    fn send_offer(&mut self, fence: Fence, now: i64) {
        let Some(planned) = self.compose.plan.job(fence.job) else { return };
        let spec = close(planned, &|job, name| self.compose.input(fence.job, job, name))
            .expect("what is offered has its inputs");
        let total = self.workers.get(&fence.executor).map(|known| known.total).unwrap_or_default();
        let wanted = if self.alone(fence.job) { total } else { planned.resources };
        let reserve = Resources {
            cpu_milli: wanted.cpu_milli.min(total.cpu_milli),
            memory_bytes: wanted.memory_bytes.min(total.memory_bytes),
        };
        self.offers.insert(fence, now + ACCEPT_MS);
        self.send(fence.executor, Down::Offer { fence, spec, reserve });
    }

    fn expire(&mut self, now: i64) {
        let due: Vec<Fence> = self.offers.iter().filter(|(_, due)| **due <= now).map(|(fence, _)| *fence).collect();
        for fence in due {
            self.offers.remove(&fence);
            self.late(Event::AcceptTimedOut { fence }, now);
        }
        let lost: Vec<u64> =
            self.workers.iter().filter(|(_, known)| now - known.last_seen > LOST_MS).map(|(e, _)| *e).collect();
        for executor in lost {
            self.lose(executor, &[], now);
        }
        if self.compose.ready().next().is_some() {
            self.reschedule = true;
        }
    }

    fn place_jobs(&mut self, now: i64) {
        if self.compose.is_stopping() {
            return;
        }
        let ready: Vec<ReadyJob> = self.compose.ready().filter_map(|job| self.ready_job(job, now)).collect();
        if ready.is_empty() {
            return;
        }
        let views = self.views();
        let (assignments, _) = schedule(&ready, &views, Timestamp(now));
        self.recorder.round(&views);
        for assignment in assignments {
            self.recorder.assigned(&assignment);
            let (job, executor, worker_id) = (assignment.job, assignment.executor, assignment.worker_id);
            self.late(Event::Offered { job, executor, worker_id }, now);
        }
        self.reschedule = false;
    }

    fn ready_job(&self, job: u32, now: i64) -> Option<ReadyJob> {
        let (planned, record) = (self.compose.plan.job(job)?, self.compose.job(job)?);
        Some(ReadyJob {
            compose: COMPOSE.to_owned(),
            job,
            name: planned.name.clone(),
            capability: planned.name.kind.capability(),
            arch: None,
            resources: planned.resources,
            alone: record.runs_alone(),
            excluded: record.excluded_at(Timestamp(now)),
            avoid: record.avoid.clone(),
            critical_path: self.remaining[job as usize],
            ready_at: record.ready_at.unwrap_or(Timestamp(now)),
        })
    }

    fn alone(&self, job: u32) -> bool {
        self.compose.job(job).is_some_and(JobRecord::runs_alone)
    }

    fn views(&self) -> Vec<WorkerView> {
        let mut views = Vec::new();
        for (executor, known) in &self.workers {
            let holds = |record: &&JobRecord| {
                matches!(record.state, JobState::Offered | JobState::Running)
                    && record.fence.is_some_and(|fence| fence.executor == *executor)
            };
            let mut held: Vec<Resources> = self
                .compose
                .numbered()
                .filter(|(_, record)| holds(record))
                .filter_map(|(job, _)| {
                    let resources = self.compose.plan.job(job).map(|planned| planned.resources);
                    if self.alone(job) { Some(known.total) } else { resources }
                })
                .collect();
            if self.sabotage == Some(Sabotage::ForgetsLeases) {
                held.pop();
            }
            let total = known.total;
            views.push(WorkerView {
                id: format!("w{}", known.number),
                executor: *executor,
                arch: "x86_64".into(),
                run_arches: vec![],
                kinds: vec![tutti_job::JobKind::Link.capability()],
                free: Resources {
                    cpu_milli: total.cpu_milli.saturating_sub(held.iter().map(|held| held.cpu_milli).sum()),
                    memory_bytes: total.memory_bytes.saturating_sub(held.iter().map(|held| held.memory_bytes).sum()),
                },
                total,
                draining: false,
                connected: known.session.is_some(),
                running: held.len() as u32,
            });
        }
        views
    }
}
