//! The engine's one task: a turn applies what arrived, stores it, then acts.

mod clients;
mod effects;
mod holds;
mod sessions;
mod trouble;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::sync::mpsc;
use tutti_job::{Fence, Resources};
use tutti_proto::{compose as api, worker as wire};
use tutti_store::{Leadership, StateStore};

use self::trouble::{Accepting, StoreTrouble};
use super::{
    Command, EngineError, Handle, Timing, history, keys,
    live::{Again, Held, Live},
    persist::{self, Dirty, Loaded, Unreadable},
    points::Stored,
    view,
    workers::Workers,
};
use crate::{
    history::{Cause, Recorder},
    lifecycle::{self, Changes, Effect, Event, IllegalTransition, JobRecord, JobState, Loss, Timestamp},
    schedule::{ReadyJob, schedule},
};

/// How often leases, offers and the leader's own time are looked at.
const TICK: Duration = Duration::from_millis(250);
/// Commands taken in one turn: enough to share a transaction, few enough to answer soon.
const TURN: usize = 256;

/// Milliseconds since 1970 that never go back or jump: the wall clock at the first call, and the monotonic clock since.
/// A step of the wall clock ends no lease and no offer. The one place where the engine asks for the time.
pub(super) fn now() -> Timestamp {
    static START: OnceLock<(Instant, Duration)> = OnceLock::new();
    let (start, wall) =
        START.get_or_init(|| (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()));
    Timestamp(i64::try_from((*wall + start.elapsed()).as_millis()).unwrap_or(i64::MAX))
}

/// Something to do after the turn's changes are stored.
type Deferred = Box<dyn FnOnce(&mut Actor) + Send>;

pub(super) struct Actor {
    pub(super) store: Arc<dyn StateStore>,
    pub(super) leadership: Arc<Leadership>,
    pub(super) timing: Timing,
    pub(super) handle: Handle,
    pub(super) composes: BTreeMap<String, Live>,
    pub(super) workers: Workers,
    /// Composes whose state could not be read, and why.
    pub(super) unreadable: BTreeMap<String, Unreadable>,
    /// Idempotency keys of submissions, with their compose.
    pub(super) submissions: BTreeMap<String, String>,
    /// Offers that await an answer, with the time by which it is due.
    pub(super) offers: BTreeMap<(String, Fence), Timestamp>,
    /// Workers that were lost in the recent past.
    pub(super) losses: Vec<Loss>,
    dirty: Dirty,
    recorder: Recorder,
    history: history::Writer,
    /// Composes and jobs whose watchers must be told.
    changed: BTreeSet<(String, Option<u32>)>,
    effects: Vec<(String, Effect)>,
    deferred: Vec<Deferred>,
    /// Submissions that are answered once they are stored.
    accepting: Vec<Accepting>,
    /// What the store said, while it refuses.
    trouble: Option<StoreTrouble>,
    /// Ends of disk work that came meanwhile.
    held: Vec<Command>,
    /// What people call the store's place.
    place: String,
    /// Whether workers end with this program.
    embedded: bool,
    /// Whether nothing is done but to look.
    observes: bool,
    /// Whether something happened that may let a waiting job start.
    reschedule: bool,
}

impl Actor {
    /// Reads stored state; pending effects are performed in the first turn.
    pub(super) async fn load(config: super::Config, handle: Handle) -> Result<Self, EngineError> {
        let Loaded { composes, unreadable, litter } = persist::load(&*config.store, config.home.as_deref()).await?;
        let submissions = persist::load_submissions(&*config.store).await?;
        let losses = persist::load_losses(&*config.store).await?;
        let epoch = config.leadership.fence().epoch.0.0;
        let history = history::Writer::start(epoch, handle.tasks());
        let mut actor = Self {
            store: config.store,
            leadership: config.leadership,
            timing: config.timing,
            handle,
            composes,
            workers: Workers::new(u64::try_from(epoch).unwrap_or(0)),
            unreadable,
            submissions,
            offers: BTreeMap::new(),
            losses,
            dirty: Dirty::default(),
            recorder: Recorder::new(epoch),
            history,
            changed: BTreeSet::new(),
            effects: Vec::new(),
            deferred: Vec::new(),
            accepting: Vec::new(),
            trouble: None,
            held: Vec::new(),
            place: config.place,
            embedded: config.embedded,
            observes: config.observes,
            reschedule: true,
        };
        litter.into_iter().for_each(|key| actor.dirty.delete(key));
        actor.forget_lost_submissions();
        actor.recover();
        Ok(actor)
    }

    /// Keys of submissions that nothing is left of.
    fn forget_lost_submissions(&mut self) {
        let known = |id: &String| self.composes.contains_key(id) || self.unreadable.contains_key(id);
        let lost: Vec<_> = self.submissions.extract_if(.., |_, id| !known(id)).collect();
        lost.iter().for_each(|(key, _)| self.dirty.delete(keys::submission(key)));
    }

    /// Derives again what a restart cut off.
    fn recover(&mut self) {
        let now = now();
        for (id, live) in &mut self.composes {
            // Of what has ended, and whose history says so, there is nothing more to tell.
            if !live.compose.is_ended() || !crate::history::tells_end(&live.meta.top) {
                live.tell_found(&mut self.recorder, now);
            }
            // What an embedded one is to go on with was looked at before, and one that is stopping offers and publishes nothing.
            if !live.compose.is_ended() && !live.compose.is_stopping() && !self.embedded {
                live.held = Some(Held::Looked);
            } else {
                let pending = lifecycle::pending_effects(&live.compose, live.settled);
                self.effects.extend(pending.into_iter().map(|effect| (id.clone(), effect)));
            }
            for (_, record) in live.compose.numbered() {
                let Some(fence) = record.current() else { continue };
                let name = record.attempts.last().map(|attempt| attempt.worker_id.clone()).unwrap_or_default();
                self.workers.expect(fence.executor, &name, now);
            }
        }
        // Nobody but this controller writes since it leads.
        self.tell_history(self.recorder.epoch());
        let ids: Vec<String> = self.composes.keys().cloned().collect();
        for id in ids {
            if self.is_held(&id) {
                self.look(&id, self.timing.volume);
                continue;
            }
            self.apply_late(&id, Event::Started);
            self.apply_late(&id, Event::Loaded);
        }
    }

    /// Runs until the engine is told to stop or cannot go on.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) -> Result<(), EngineError> {
        let stop = self.handle.tasks().stop();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.turn(Vec::new()).await?;
        loop {
            // Both branches lose nothing when dropped: recv and tick are cancel safe.
            let mut batch = Vec::new();
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                command = commands.recv() => match command {
                    Some(command) => batch.push(command),
                    None => return Ok(()),
                },
                _ = tick.tick() => self.expire(),
            }
            while batch.len() < TURN
                && let Ok(command) = commands.try_recv()
            {
                batch.push(command);
            }
            self.turn(batch).await?;
        }
    }

    async fn turn(&mut self, batch: Vec<Command>) -> Result<(), EngineError> {
        if self.trouble.is_none() {
            for command in std::mem::take(&mut self.held) {
                self.handle_command(command);
            }
        }
        for command in batch {
            match self.trouble {
                None => self.handle_command(command),
                Some(_) => self.handle_in_trouble(command),
            }
        }
        if self.reschedule && self.trouble.is_none() {
            self.reschedule = false;
            self.place_jobs();
        }
        self.commit().await
    }

    /// Stores what changed, then acts. Acting may change more (a job that cannot be offered), so it goes round.
    async fn commit(&mut self) -> Result<(), EngineError> {
        loop {
            if !self.store_changes().await? {
                return Ok(());
            }
            for effect in std::mem::take(&mut self.effects) {
                self.perform(effect.0, effect.1);
            }
            for action in std::mem::take(&mut self.deferred) {
                action(self);
            }
            self.notify();
            if self.dirty.is_empty() && self.effects.is_empty() && self.deferred.is_empty() {
                return Ok(());
            }
        }
    }

    /// Hands what was stored to the history's writer, which does not make anybody wait.
    fn tell_history(&mut self, revision: i64) {
        for (compose_id, lines) in self.recorder.take(revision) {
            if self.observes {
                continue;
            }
            if let Some(live) = self.composes.get(&compose_id) {
                self.history.write(&live.meta.top, lines);
            }
        }
    }

    fn handle_command(&mut self, command: Command) {
        match command {
            Command::Accept { accepted, reply } => self.accept(*accepted, reply),
            Command::FindSubmission { key, reply } => self.tell_submission(&key, reply),
            Command::List { reply } => drop(reply.send(Ok(self.list()))),
            Command::Show { compose_id, reply } => drop(reply.send(self.live(&compose_id).map(view::show))),
            Command::Watch { compose_id, reply } => drop(reply.send(self.watch(&compose_id))),
            Command::LogPath { compose_id, job, reply } => drop(reply.send(self.log_place(&compose_id, &job))),
            Command::Cancel { compose_id, reply } => self.cancel(&compose_id, reply),
            Command::Retry { compose_id, patterns, reply } => self.retry(&compose_id, &patterns, reply),
            Command::Why { compose_id, job, reply } => drop(reply.send(self.why(&compose_id, &job))),
            Command::Inspect { compose_id, reply } => {
                drop(reply.send(self.live(&compose_id).map(|live| view::subject(live, self.keeper()))));
            }
            Command::Looked { compose_id, refusal } => self.looked(&compose_id, refusal),
            Command::LookedAtEnd { compose_id, damage } => self.looked_at_end(&compose_id, damage),
            Command::Workers { reply } => {
                let names = view::running_names(&self.composes);
                drop(reply.send(Ok(self.workers.list(&names))));
            }
            Command::Drain { worker_id, draining, reply } => drop(reply.send(self.drain(&worker_id, draining))),
            Command::Connect { hello, sender, reply } => self.connect(hello, sender, reply),
            Command::FromWorker { session, message } => self.worker_says(session, message),
            Command::Disconnected { session } => self.disconnected(session),
            Command::Verified { compose_id, fence, result } => self.verified(&compose_id, fence, result),
            Command::Published { compose_id, job, result, lost } => self.published(&compose_id, job, result, lost),
            Command::StatusWritten { compose_id, last, result, unlinked } => {
                self.status_written(&compose_id, last, result, unlinked);
            }
            Command::Trouble { compose_id, job, text } => {
                self.set_trouble(&compose_id, job, text);
            }
        }
    }

    /// Applies an event: memory now, store at the end of the turn, effects after that.
    pub(super) fn apply(&mut self, compose_id: &str, event: Event) -> Result<(), IllegalTransition> {
        let Some(live) = self.composes.get_mut(compose_id) else { return Ok(()) };
        let (cause, now) = (Cause::of(&event), now());
        let (changes, effects) = lifecycle::apply(&live.compose, event, now)?;
        self.effects.extend(effects.into_iter().map(|effect| (compose_id.to_owned(), effect)));
        if changes.is_empty() {
            return Ok(());
        }
        live.tell_found(&mut self.recorder, now);
        self.recorder.change(&live.compose, cause, &changes, now);
        self.dirty.because(Stored::Event(cause));
        if changes.header.as_ref().is_some_and(|header| header.ended_at.is_some()) {
            self.dirty.because(Stored::End);
        }
        self.record(compose_id, &changes);
        if let Some(looking) = self.composes.get_mut(compose_id).and_then(|live| live.looking.as_mut()) {
            // What it finds is of before.
            looking.again = Again::Yes;
        }
        if let Some(live) = self.composes.get_mut(compose_id) {
            for (job, record) in &changes.jobs {
                if !matches!(record.state, JobState::Running | JobState::Verifying) {
                    live.progress.remove(job);
                }
                if record.state.is_terminal() {
                    live.close_span(*job);
                }
            }
            live.compose.absorb(changes);
        }
        self.reschedule = true;
        Ok(())
    }

    /// As [`Actor::apply`] where an event that does not fit is nobody's fault: late and repeated messages.
    pub(super) fn apply_late(&mut self, compose_id: &str, event: Event) {
        if let Err(error) = self.apply(compose_id, event) {
            tracing::debug!(compose_id, %error, "event does not fit the state, ignored");
        }
    }

    fn record(&mut self, compose_id: &str, changes: &Changes) {
        if let Some(header) = &changes.header {
            self.dirty.put(keys::header(compose_id), header.encode());
            if let Some(live) = self.composes.get_mut(compose_id) {
                live.settled = false;
            }
        }
        for (number, record) in &changes.jobs {
            self.dirty.put(keys::job(compose_id, *number), record.encode());
            self.changed.insert((compose_id.to_owned(), Some(*number)));
            if let Some(job) = self.composes.get(compose_id).and_then(|live| live.plan_job(*number)) {
                tracing::info!(compose_id, job = %job.name, attempt = record.attempt, state = record.state.as_str(), reason = %record.reason, "job changed");
            }
        }
        self.changed.insert((compose_id.to_owned(), None));
    }

    /// A compose that is to be stored for the first time, with what is stored before all else of it. Nothing of an
    /// earlier one of that id stays.
    pub(super) fn begins(&mut self, compose_id: &str, plan: tutti_job::Digest, birth: Vec<(Vec<u8>, Vec<u8>)>) {
        let earlier = self.unreadable.get(compose_id).map(|found| found.keys.clone()).unwrap_or_default();
        earlier.into_iter().for_each(|key| self.dirty.delete(key));
        self.dirty.born(compose_id, birth);
        self.dirty.because(Stored::Submission);
        self.recorder.plan_is(compose_id, plan);
    }

    pub(super) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.dirty.put(key, value);
    }

    /// Remembers something to do once the turn's changes are stored, such as answering a caller.
    pub(super) fn later(&mut self, action: impl FnOnce(&mut Self) + Send + 'static) {
        self.deferred.push(Box::new(action));
    }

    pub(super) fn tell_watchers(&mut self, compose_id: &str, job: Option<u32>) {
        self.changed.insert((compose_id.to_owned(), job));
    }

    pub(super) fn want_schedule(&mut self) {
        self.reschedule = true;
    }

    /// Matches ready jobs with workers.
    fn place_jobs(&mut self) {
        let now = now();
        let ready = self.ready_jobs(now);
        if ready.is_empty() {
            return;
        }
        let views = self.workers.views(&self.running());
        let (assignments, unplaced) = schedule(&ready, &views, now);
        self.recorder.round(&views);
        for live in self.composes.values_mut() {
            live.unplaced.clear();
        }
        for waiting in unplaced {
            let Some(live) = self.composes.get_mut(&waiting.compose) else { continue };
            live.unplaced.insert(waiting.job, waiting.reasons);
        }
        for assignment in assignments {
            if let Some(note) = &assignment.note {
                tracing::warn!(compose_id = %assignment.compose, worker_id = %assignment.worker_id, note, "job is larger than its worker");
            }
            self.recorder.assigned(&assignment);
            let event =
                Event::Offered { job: assignment.job, executor: assignment.executor, worker_id: assignment.worker_id };
            self.apply_late(&assignment.compose, event);
        }
        // What was placed changed the state, which asks for another round only when something else does.
        self.reschedule = false;
    }

    fn ready_jobs(&self, now: Timestamp) -> Vec<ReadyJob> {
        let mut ready = Vec::new();
        for (id, live) in &self.composes {
            if live.compose.is_stopping() || live.held.is_some() {
                continue;
            }
            for number in live.compose.ready() {
                let (Some(job), Some(record)) = (live.plan_job(number), live.compose.job(number)) else { continue };
                if record.not_before.is_some_and(|time| time > now) {
                    continue;
                }
                ready.push(ReadyJob {
                    compose: id.clone(),
                    job: number,
                    name: job.name.clone(),
                    capability: job.name.kind.capability(),
                    arch: None,
                    resources: job.resources,
                    alone: record.runs_alone(),
                    excluded: record.excluded_at(now),
                    avoid: record.avoid.clone(),
                    critical_path: live.remaining.get(number as usize).copied().unwrap_or(0),
                    ready_at: record.ready_at.unwrap_or(now),
                });
            }
        }
        ready
    }

    /// What each worker holds, with what is reserved for it.
    fn running(&self) -> BTreeMap<u64, Vec<(Fence, Resources)>> {
        let mut running = BTreeMap::<u64, Vec<_>>::new();
        for live in self.composes.values().filter(|live| !live.compose.is_ended()) {
            for (number, record) in live.compose.numbered() {
                // A job being verified no longer runs: its worker is free for others.
                let holds = matches!(record.state, JobState::Offered | JobState::Running);
                if let (true, Some(fence), Some(job)) = (holds, record.fence, live.plan_job(number)) {
                    let reserved = self.reserved(fence, record, job.resources);
                    running.entry(fence.executor).or_default().push((fence, reserved));
                }
            }
        }
        running
    }

    /// What an attempt has of its worker.
    pub(super) fn reserved(&self, fence: Fence, record: &JobRecord, wanted: Resources) -> Resources {
        let all = Resources { cpu_milli: u32::MAX, memory_bytes: u64::MAX };
        self.workers.clamp(fence.executor, if record.runs_alone() { all } else { wanted })
    }

    /// Looks at everything that time ends.
    fn expire(&mut self) {
        if self.trouble.is_some() {
            return;
        }
        self.look_again();
        let now = now();
        let due: Vec<_> =
            self.offers.iter().filter(|(_, deadline)| **deadline <= now).map(|(key, _)| key.clone()).collect();
        for (compose_id, fence) in due {
            self.offers.remove(&(compose_id.clone(), fence));
            let state = self.composes.get(&compose_id).and_then(|live| live.compose.job(fence.job));
            if state.is_some_and(|record| record.state == JobState::Offered && record.fence == Some(fence)) {
                self.apply_late(&compose_id, Event::AcceptTimedOut { fence });
            }
        }
        // Looked at every tick, so early by two: suspected within the lease.
        for (executor, worker_id) in self.workers.suspect(self.timing.lease.saturating_sub(TICK * 2), now) {
            tracing::warn!(worker_id, executor = format!("{executor:016x}"), "worker suspected: it is silent");
            self.reschedule = true;
        }
        // Tests look at workers that are suspected and not lost yet.
        let lost_after = self.timing.lease + self.timing.reassign_delay;
        if self.workers.any_lost(lost_after, now) && tutti_failpoint::hit("worker.lost.before").is_err() {
            return;
        }
        for gone in self.workers.take_lost(lost_after, now) {
            tracing::warn!(worker_id = %gone.id, executor = format!("{:016x}", gone.executor), "worker lost: its lease ended");
            self.lose(&gone, &BTreeSet::new());
        }
        // Exclusions end by time alone.
        if self.composes.values().any(|live| live.compose.ready().next().is_some()) {
            self.reschedule = true;
        }
    }

    /// Tells watchers what changed, jobs before the compose, so that its end comes last.
    fn notify(&mut self) {
        let now = now();
        let changed = std::mem::take(&mut self.changed);
        let mut composes = BTreeSet::new();
        for (compose_id, job) in changed {
            composes.insert(compose_id.clone());
            let Some(live) = self.composes.get_mut(&compose_id) else { continue };
            if !live.has_watchers() {
                continue;
            }
            if let Some(job) = job.and_then(|number| view::job(live, number)) {
                live.notify(&api::watch_response::Event::Job(job), now.0);
            }
        }
        for compose_id in composes {
            if let Some(live) = self.composes.get_mut(&compose_id) {
                let summary = view::summary(live);
                live.notify(&api::watch_response::Event::Compose(summary), now.0);
            }
        }
    }

    pub(super) fn send(&mut self, executor: u64, message: wire::session_response::Message) {
        self.workers.send(executor, message);
    }
}
