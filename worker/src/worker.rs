//! The worker: joins session, attempts and journal.
//!
//! One loop owns the [`State`]; attempts, session and heartbeat are tasks of their own that talk to it over bounded
//! channels. Attempts outlive connections; outcomes outlive the worker.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::{mpsc, watch},
    task::JoinError,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument as _;
use tutti_proto::worker::{
    self as proto, DrainRequest, Hello, Outcome, session_request::Message as Up, session_response::Message as Down,
};

use crate::{
    FailureClass, RunnerError,
    attempt::{self, Finished, Order, Program, Status, Stop},
    config::{Shutdown, WorkerConfig, WorkerError, hello, host_arch},
    journal::{Journal, Record},
    offer,
    process::Spawner,
    sandbox,
    session::{self, Event, Links, Outgoing, Route},
    state::{Effect, Facts, Key, Leftovers, State},
    wire::{Ending, SandboxMode},
};

/// Least time between two Progress messages.
const PROGRESS: Duration = Duration::from_millis(200);
/// How long a worker that shall end waits for outcomes to be settled; they are journaled.
const SETTLE: Duration = Duration::from_secs(10);
/// How long a worker that was stopped waits for processes that do not die: longer than their grace. Then it ends without
/// them, and says so; what they were to do is given to others, and their fences keep them from harm.
const STUBBORN: Duration = Duration::from_secs(25);

type Ended = BoxFuture<'static, (Key, Result<(Outcome, Vec<String>), JoinError>)>;

/// A running worker.
pub struct Worker {
    config: Arc<WorkerConfig>,
    program: Arc<Program>,
    state: State,
    journal: Journal,
    spawner: Arc<Spawner>,
    tracker: TaskTracker,
    stops: BTreeMap<Key, watch::Sender<Option<Stop>>>,
    ended: FuturesUnordered<Ended>,
    statuses: mpsc::Sender<(Key, Status)>,
    outgoing: Option<Outgoing>,
    hello: watch::Sender<Hello>,
    sync: watch::Sender<proto::Sync>,
    orphan_grace: Duration,
    /// Since when there is no controller.
    alone: Option<Instant>,
}

impl Worker {
    /// Works until `shutdown` asks for the end and nothing runs any more.
    ///
    /// # Errors
    /// When it cannot start. A controller that cannot be reached is none: it is tried for ever.
    pub async fn run(config: WorkerConfig, shutdown: Shutdown) -> Result<(), WorkerError> {
        if config.endpoints.is_empty() {
            return Err(WorkerError::NoEndpoint(config.worker_id));
        }
        let (statuses, mut status) = mpsc::channel(256);
        // Full: the session waits, and the controller's messages with it.
        let (events, mut event) = mpsc::channel(64);
        let route = Route { endpoints: config.endpoints.clone(), tls: config.tls.clone() };
        let mut worker = Self::start(config, statuses)?;
        let links = Links { hello: worker.hello.subscribe(), sync: worker.sync.subscribe(), events };
        let token = CancellationToken::new();
        let session = session::run(route, links, worker.tracker.clone(), token.clone());
        drop(tutti_telemetry::task::spawn_named("session", &worker.tracker, &token, session));
        let worked = Box::pin(worker.work(&mut event, &mut status, &shutdown)).await;
        token.cancel();
        // The session may wait for room in a channel that is no longer read.
        drop(event);
        // Attempts whose processes live on would be waited for in vain.
        worked?;
        worker.tracker.close();
        worker.tracker.wait().await;
        tracing::info!(unsettled = worker.state.unsettled(), "worker ends");
        Ok(())
    }

    fn start(config: WorkerConfig, statuses: mpsc::Sender<(Key, Status)>) -> Result<Self, WorkerError> {
        let state_dir = |source| WorkerError::StateDir { path: config.state_dir.clone(), source };
        let journal = Journal::open(&config.state_dir, config.state_guard).map_err(state_dir)?;
        let incarnation = session::random();
        let capacity =
            proto::Resources { cpu_milli: config.cpu_milli, memory_bytes: config.memory_bytes, disk_bytes: 0 };
        let mut state = State::new(Facts {
            incarnation,
            capacity,
            kinds: config.kinds.iter().copied().collect(),
            maps: config.maps.clone(),
            records: config.records.clone(),
            resend: config.resend,
            resend_limit: Duration::from_secs(5).max(config.resend),
        });
        for (key, record) in journal.load().map_err(state_dir)? {
            state.hold(key, record.outcome.unwrap_or_default(), record.staging.into(), Instant::now());
        }
        state.add_conditions(sandbox_conditions(config.sandbox));
        state.add_conditions(crate::process::lacking().map(str::to_owned).into_iter().collect());
        let sync = watch::Sender::new(state.sync());
        let hello = watch::Sender::new(hello(&config, incarnation, &state));
        let program = Program {
            executable: config.executable.clone(),
            arguments: config.arguments.clone(),
            sandbox: config.sandbox,
        };
        Ok(Self {
            program: Arc::new(program),
            state,
            journal,
            spawner: Arc::new(Spawner::start().map_err(WorkerError::Spawner)?),
            tracker: TaskTracker::new(),
            stops: BTreeMap::new(),
            ended: FuturesUnordered::new(),
            statuses,
            outgoing: None,
            hello,
            sync,
            orphan_grace: config.orphan_grace,
            alone: Some(Instant::now()),
            config: Arc::new(config),
        })
    }

    async fn work(
        &mut self,
        event: &mut mpsc::Receiver<Event>,
        status: &mut mpsc::Receiver<(Key, Status)>,
        shutdown: &Shutdown,
    ) -> Result<(), WorkerError> {
        let mut progress_at = Instant::now();
        let (mut draining, mut stopped) = (false, false);
        let mut stubborn = None;
        // Since when nothing runs any more and nothing new can start.
        let mut quiet = None;
        loop {
            self.publish();
            let busy = !draining || self.state.running() > 0 || !self.ended.is_empty();
            quiet = if busy { None } else { quiet.or(Some(Instant::now())) };
            if quiet.is_some_and(|since| self.is_over(since, stopped)) {
                return Ok(());
            }
            if stubborn.is_some_and(|end| Instant::now() >= end) && self.state.running() > 0 {
                return Err(WorkerError::Survivors(self.state.sync().conditions.join("; ")));
            }
            let wake = self.next_wake(progress_at, quiet);
            let wake = stubborn.map_or(wake, |end| wake.min(end));
            // Every branch may be dropped: channels keep what was not taken, FuturesUnordered keeps its futures.
            tokio::select! {
                () = shutdown.stop.cancelled(), if !stopped => {
                    (stopped, draining) = (true, true);
                    stubborn = Some(Instant::now() + STUBBORN);
                    self.drain();
                    tracing::info!(running = self.state.running(), "stopping: ends what runs");
                    let effects = self.state.stop_all(FailureClass::Cancelled, "the worker was stopped");
                    self.perform(effects);
                }
                () = shutdown.drain.cancelled(), if !draining => {
                    draining = true;
                    self.drain();
                }
                received = event.recv() => match received {
                    Some(event) => self.on_event(event),
                    None => return Ok(()),
                },
                Some((key, status)) = status.recv() => self.state.progress(&key, status),
                Some((key, result)) = self.ended.next() => self.on_end(&key, result),
                () = tokio::time::sleep_until(wake.into()) => {
                    let now = Instant::now();
                    if now >= progress_at && self.state.has_progress() {
                        progress_at = now + PROGRESS;
                        let message = self.state.take_progress();
                        self.perform(message.map(Effect::Send).into_iter().collect());
                    }
                    self.on_time(now);
                }
            }
        }
    }

    fn drain(&mut self) {
        self.state.drain();
        tracing::info!(running = self.state.running(), "draining: takes nothing new and finishes what runs");
        let reason = String::from("the worker was asked to end");
        self.perform(vec![Effect::Send(Up::Drain(DrainRequest { reason }))]);
    }

    /// Whether all is said and done, `quiet` being since when nothing runs. Outcomes that nobody takes stay in the
    /// journal; without a controller a worker that was stopped does not wait for one.
    fn is_over(&self, quiet: Instant, stopped: bool) -> bool {
        self.state.unsettled() == 0 || quiet.elapsed() >= SETTLE || (stopped && self.outgoing.is_none())
    }

    fn next_wake(&self, progress_at: Instant, quiet: Option<Instant>) -> Instant {
        let mut wake = Instant::now() + Duration::from_secs(60);
        if self.outgoing.is_some() {
            wake = self.state.next_due().map_or(wake, |due| wake.min(due));
            if self.state.has_progress() {
                wake = wake.min(progress_at);
            }
        }
        if let (Some(since), true) = (self.alone, self.state.running() > 0) {
            wake = wake.min(since + self.orphan_grace);
        }
        if let Some(since) = quiet {
            wake = wake.min(since + SETTLE);
        }
        // A deadline that has passed and cannot be acted upon must not make a busy loop.
        wake.max(Instant::now() + Duration::from_millis(1))
    }

    fn on_time(&mut self, now: Instant) {
        if self.outgoing.is_some() {
            let effects = self.state.due(now);
            self.perform(effects);
        }
        if let Some(since) = self.alone
            && now.duration_since(since) >= self.orphan_grace
        {
            let cause = format!("no controller for {:?}", self.orphan_grace);
            let effects = self.state.stop_all(FailureClass::Infra, &cause);
            self.perform(effects);
            self.alone = Some(now);
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Up { welcome, epoch, outgoing } => {
                if !self.state.admit(epoch) {
                    tracing::warn!(epoch, "welcomed by a deposed controller; its messages are ignored");
                }
                tracing::info!(epoch, controller = welcome.controller_version, "session with the controller");
                if let Some(grace) = offer::duration(welcome.orphan_grace.as_ref()).filter(|grace| !grace.is_zero()) {
                    self.orphan_grace = grace.min(Duration::from_secs(7 * 24 * 3600));
                }
                tutti_failpoint::pass("worker.receive.welcome");
                self.outgoing = Some(outgoing);
                self.alone = None;
                let now = Instant::now();
                self.state.connected(now);
                let mut effects = self.state.due(now);
                effects.push(Effect::Send(Up::Sync(self.state.sync())));
                self.perform(effects);
            }
            Event::Message(message) => {
                if let Some(body) = message.message {
                    tutti_failpoint::pass(name_of_answer(&body));
                    let effects = self.state.receive(message.epoch, message.sequence, body, Instant::now());
                    self.perform(effects);
                }
            }
            Event::Down => {
                self.outgoing = None;
                self.alone = Some(Instant::now());
            }
        }
    }

    fn on_end(&mut self, key: &Key, result: Result<(Outcome, Vec<String>), JoinError>) {
        self.stops.remove(key);
        let (outcome, conditions) = result.unwrap_or_else(|error| {
            // Its children are dead: dropping the future killed them.
            let failure = RunnerError::infra(format!("the worker failed to watch the attempt: {error}"));
            let now = std::time::SystemTime::now();
            let finished = Finished {
                ending: Ending::Failure(failure.into()),
                counters: BTreeMap::new(),
                cpu: Duration::ZERO,
                peak_memory: 0,
                started: now,
                ended: now,
                conditions: Vec::new(),
            };
            (offer::outcome(key, finished), Vec::new())
        });
        self.state.add_conditions(conditions);
        let effects = self.state.finished(key, outcome, Instant::now());
        self.perform(effects);
    }

    /// Publishes what session and heartbeat say.
    fn publish(&mut self) {
        let sync = self.state.sync();
        self.sync.send_if_modified(|old| {
            let changed = *old != sync;
            *old = sync;
            changed
        });
        let (held, last_epoch) = self.state.held();
        self.hello.send_if_modified(|hello| {
            let changed = hello.held != held || hello.last_epoch != last_epoch;
            (hello.held, hello.last_epoch) = (held, last_epoch);
            changed
        });
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send(message) => {
                    if let Some(outgoing) = &self.outgoing {
                        tutti_failpoint::pass(name_of(&message));
                        outgoing.send(message);
                    }
                }
                Effect::Start(order) => self.start_attempt(*order),
                Effect::Stop(key, stop) => {
                    if let Some(sender) = self.stops.get(&key) {
                        tutti_failpoint::pass("worker.attempt.stop");
                        // The first order stands: a later one must not lengthen the grace.
                        sender.send_if_modified(|wanted| {
                            let first = wanted.is_none();
                            wanted.get_or_insert(stop);
                            first
                        });
                    }
                }
                Effect::Forget(key, staging, leftovers) => self.forget(key, staging, leftovers),
            }
        }
    }

    fn start_attempt(&mut self, order: Order) {
        let key = Key { compose_id: order.compose_id.clone(), fence: order.fence };
        let (stop, stopped) = watch::channel(None);
        self.stops.insert(key.clone(), stop);
        let span = tracing::info_span!(
            "attempt",
            compose_id = key.compose_id,
            job = order.job_name,
            attempt = key.fence.attempt,
            worker_id = self.config.worker_id,
            arch = host_arch(),
        );
        tutti_telemetry::set_parent(&span, &order.traceparent);
        let task = run_attempt(
            key.clone(),
            order,
            Arc::clone(&self.program),
            Arc::clone(&self.spawner),
            self.journal.clone(),
            stopped,
            self.statuses.clone(),
        );
        let handle = span.in_scope(|| {
            tutti_telemetry::task::spawn_named_until_done("attempt", &self.tracker, task.in_current_span())
        });
        self.ended.push(handle.map(|result| (key, result)).boxed());
    }

    /// Removes what is left of a settled attempt. A failure leaves files, no wrong state: it is logged only.
    fn forget(&self, key: Key, staging: PathBuf, leftovers: Leftovers) {
        tutti_failpoint::pass("worker.forget.before");
        let journal = self.journal.clone();
        let remove = move || {
            let kept = leftovers == Leftovers::KeepCheckpoints && has_checkpoints(&staging);
            // Of what stays, temporary files are of no use.
            let unwanted = if kept { staging.join("scratch") } else { staging.clone() };
            let removed = tutti_files::remove_dir_all(&unwanted);
            tutti_failpoint::pass("worker.forget.unstaged");
            if let Err(error) = removed.and_then(|()| journal.remove(&key)) {
                tracing::warn!(%error, staging = %staging.display(), "failed to clean up after an attempt");
            }
        };
        let task = async move {
            let _ = tokio::task::spawn_blocking(remove).await;
        };
        drop(tutti_telemetry::task::spawn_named_until_done("forget", &self.tracker, task));
    }
}

/// Whether a later attempt may go on from what is in this staging directory.
fn has_checkpoints(staging: &Path) -> bool {
    std::fs::read_dir(staging.join(tutti_job::Volumes::CHECKPOINTS)).is_ok_and(|mut items| items.next().is_some())
}

/// What a person should know of this host's sandbox before any job runs.
fn sandbox_conditions(mode: SandboxMode) -> Vec<String> {
    let condition = match mode {
        SandboxMode::Off => Some("sandbox: switched off, jobs are not confined".to_owned()),
        SandboxMode::BestEffort | SandboxMode::Required => match sandbox::probe() {
            Ok(condition) => condition.map(str::to_owned),
            Err(error) => Some(format!("sandbox: cannot tell whether jobs are confined: {error}")),
        },
    };
    if let Some(condition) = &condition {
        tracing::warn!(condition, "jobs on this host are less confined than they should be");
    }
    condition.into_iter().collect()
}

async fn run_attempt(
    key: Key,
    order: Order,
    program: Arc<Program>,
    spawner: Arc<Spawner>,
    journal: Journal,
    stop: watch::Receiver<Option<Stop>>,
    statuses: mpsc::Sender<(Key, Status)>,
) -> (Outcome, Vec<String>) {
    tracing::info!("attempt starts");
    let staging = order.volumes.staging.clone().unwrap_or_default();
    let status = |status| {
        // Full: the loop is busy, and the next one says more.
        let _ = statuses.try_send((key.clone(), status));
    };
    let finished = Box::pin(attempt::run(&order, &program, &spawner, stop, status)).await;
    match &finished.ending {
        Ending::Success { .. } => tracing::info!("attempt succeeded"),
        Ending::Failure(failure) => tracing::info!(class = ?failure.class, cause = failure.cause, "attempt failed"),
    }
    let mut conditions = finished.conditions.clone();
    let outcome = offer::outcome(&key, finished);
    tutti_failpoint::pass("worker.outcome.made");
    let record = Record { outcome: Some(outcome.clone()), staging: staging.to_string_lossy().into_owned() };
    let directory = journal.place().to_owned();
    let written = tokio::task::spawn_blocking(move || {
        let written = journal.put(&key, &record);
        let news = journal.note(written.is_err());
        written.map_err(|error| (error, news))
    });
    let written = written.await.unwrap_or_else(|error| Err((io::Error::other(error), true)));
    if let Err((error, news)) = written {
        // It can still be delivered by this process; only a restart would lose it, and then the job runs again.
        if news {
            let directory = directory.display();
            tracing::error!(%error, %directory, "failed to journal an outcome; if this worker is started again before that is mended, the job runs again");
        }
        let hint = tutti_files::hint_of(&error).map(|hint| format!("; hint: {hint}")).unwrap_or_default();
        conditions.push(format!("outcomes cannot be kept in {}: {error}{hint}", directory.display()));
    }
    (outcome, conditions)
}

fn name_of_answer(message: &Down) -> &'static str {
    match message {
        Down::Welcome(_) => "worker.receive.welcome",
        Down::Offer(_) => "worker.receive.offer",
        Down::Cancel(_) => "worker.receive.cancel",
        Down::Commit(_) => "worker.receive.commit",
        Down::Refused(_) => "worker.receive.refused",
        Down::Desired(_) => "worker.receive.desired",
        Down::GoAway(_) => "worker.receive.go-away",
        Down::Redirect(_) => "worker.receive.redirect",
    }
}

fn name_of(message: &Up) -> &'static str {
    match message {
        Up::Hello(_) => "worker.send.hello",
        Up::Sync(_) => "worker.send.sync",
        Up::Accept(_) => "worker.offer.accepted",
        Up::Reject(_) => "worker.offer.rejected",
        Up::Progress(_) => "worker.send.progress",
        Up::Outcome(_) => "worker.send.outcome",
        Up::Drain(_) => "worker.send.drain",
    }
}
