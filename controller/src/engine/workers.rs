//! The workers that this controller knows, connected or not.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::sync::mpsc;
use tonic::Status;
use tutti_failpoint::pass;
use tutti_job::Fence;
use tutti_proto::{compose as api, worker as wire, worker::session_response::Message};

use super::points;
use crate::{lifecycle::Timestamp, schedule::WorkerView, service::timestamp};

/// What goes down a session.
pub(crate) type Sender = mpsc::Sender<Result<wire::SessionResponse, Status>>;

/// One connection of a worker; a worker that connects again gets a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionId(pub(super) u64);

/// One worker process.
pub(super) struct Worker {
    pub(super) id: String,
    pub(super) arch: String,
    pub(super) run_arches: BTreeSet<String>,
    pub(super) kinds: BTreeSet<String>,
    pub(super) cpu_milli: u32,
    pub(super) memory_bytes: u64,
    pub(super) draining: bool,
    pub(super) conditions: Vec<String>,
    pub(super) session: Option<(SessionId, Sender)>,
    pub(super) last_seen: Timestamp,
    /// Silent for its lease: it gets nothing new until it speaks again.
    suspected: bool,
    /// Attempts of earlier incarnations whose outcomes it delivers.
    kept: BTreeSet<(String, Fence)>,
    sent: u64,
}

/// How long a worker whose lease ended is listed as gone, and how many are.
const LISTED_MILLIS: i64 = 3_600_000;
const MAX_LISTED: usize = 64;

/// A worker that was taken out.
pub(super) struct Gone {
    pub(super) executor: u64,
    pub(super) id: String,
    /// It was asked to end.
    pub(super) draining: bool,
}

impl Worker {
    /// Connected, and not silent for too long.
    fn is_there(&self) -> bool {
        self.session.is_some() && !self.suspected
    }
}

fn silence(worker: &Worker, now: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(now.0.saturating_sub(worker.last_seen.0)).unwrap_or(0))
}

/// What people are told of a worker.
pub(super) struct Known {
    pub(super) id: String,
    pub(super) executor: u64,
    pub(super) connected: bool,
    pub(super) draining: bool,
    pub(super) last_seen: Timestamp,
}

/// A worker whose lease ended, as it was.
struct Departed {
    arch: String,
    cpu_milli: u32,
    memory_bytes: u64,
    last_seen: Timestamp,
}

/// All workers, by incarnation.
pub(super) struct Workers {
    by_executor: BTreeMap<u64, Worker>,
    /// Those whose lease ended, by name: for people only.
    departed: BTreeMap<String, Departed>,
    /// Who speaks for incarnations that ended with outcomes in their journal.
    heirs: BTreeMap<u64, u64>,
    next_session: u64,
    epoch: u64,
}

/// What the controller says of itself in Welcome.
const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Workers {
    pub(super) fn new(epoch: u64) -> Self {
        Self { by_executor: BTreeMap::new(), departed: BTreeMap::new(), heirs: BTreeMap::new(), next_session: 1, epoch }
    }

    /// Takes a worker's Hello. Returns its session, and answers with Welcome.
    pub(super) fn connect(
        &mut self,
        hello: &wire::Hello,
        sender: Sender,
        timing: &super::Timing,
        now: Timestamp,
    ) -> Result<SessionId, Status> {
        let ours = tutti_proto::WORKER_PROTOCOL;
        let proto = hello.proto_max.min(*ours.end());
        if proto < hello.proto_min.max(*ours.start()) {
            return Err(Status::failed_precondition(format!(
                "this controller speaks worker protocol {}-{}, the worker {}-{}: upgrade the older one",
                ours.start(),
                ours.end(),
                hello.proto_min,
                hello.proto_max
            )));
        }
        if hello.worker_id.is_empty() || hello.worker_id.len() > 128 || hello.worker_id.chars().any(char::is_control) {
            return Err(Status::invalid_argument("worker_id must have 1 to 128 characters, none of them control"));
        }
        let capabilities = hello.capabilities.clone().unwrap_or_default();
        let resources = capabilities.resources.unwrap_or_default();
        let session = SessionId(self.next_session);
        self.next_session += 1;
        // The same incarnation connecting again is still draining if it was.
        let draining = self.by_executor.get(&hello.incarnation).is_some_and(|worker| worker.draining);
        let worker = Worker {
            id: hello.worker_id.clone(),
            arch: capabilities.arch,
            run_arches: capabilities.run_arches.into_iter().collect(),
            kinds: capabilities.job_kinds.into_iter().collect(),
            cpu_milli: resources.cpu_milli,
            memory_bytes: resources.memory_bytes,
            draining,
            conditions: Vec::new(),
            session: Some((session, sender)),
            last_seen: now,
            suspected: false,
            kept: BTreeSet::new(),
            sent: 0,
        };
        self.departed.remove(&hello.worker_id);
        self.by_executor.insert(hello.incarnation, worker);
        let duration = |time: Duration| prost_types::Duration {
            seconds: time.as_secs() as i64,
            nanos: time.subsec_nanos() as i32,
        };
        let welcome = wire::Welcome {
            proto,
            heartbeat: Some(duration(timing.heartbeat)),
            lease: Some(duration(timing.lease)),
            orphan_grace: Some(duration(timing.orphan_grace)),
            controller_version: VERSION.to_owned(),
        };
        self.send(hello.incarnation, Message::Welcome(welcome));
        Ok(session)
    }

    /// Incarnation of the worker behind a session, if that session is its present one.
    pub(super) fn executor_of(&self, session: SessionId) -> Option<u64> {
        let owner = |worker: &Worker| worker.session.as_ref().is_some_and(|(own, _)| *own == session);
        self.by_executor.iter().find(|(_, worker)| owner(worker)).map(|(executor, _)| *executor)
    }

    /// What a job may have there: what it needs, or all the worker has.
    pub(super) fn clamp(&self, executor: u64, wanted: tutti_job::Resources) -> tutti_job::Resources {
        let Some(worker) = self.by_executor.get(&executor) else { return wanted };
        tutti_job::Resources {
            cpu_milli: wanted.cpu_milli.min(worker.cpu_milli),
            memory_bytes: wanted.memory_bytes.min(worker.memory_bytes),
        }
    }

    /// It spoke. Returns whether that clears it of a suspicion.
    pub(super) fn seen(&mut self, executor: u64, now: Timestamp) -> bool {
        let Some(worker) = self.by_executor.get_mut(&executor) else { return false };
        worker.last_seen = now;
        std::mem::take(&mut worker.suspected)
    }

    /// Connected workers that were silent for `limit` and were not suspected before: they get nothing new.
    pub(super) fn suspect(&mut self, limit: Duration, now: Timestamp) -> Vec<(u64, String)> {
        let mut found = Vec::new();
        for (executor, worker) in &mut self.by_executor {
            let silent = worker.session.is_some() && silence(worker, now) >= limit;
            if silent && !std::mem::replace(&mut worker.suspected, true) {
                found.push((*executor, worker.id.clone()));
            }
        }
        found
    }

    /// The incarnation `heir` speaks for `executor` from now on.
    pub(super) fn inherit(&mut self, executor: u64, heir: u64) {
        self.heirs.insert(executor, heir);
    }

    /// Who speaks for an incarnation that ended.
    pub(super) fn heir_of(&self, executor: u64) -> Option<u64> {
        self.heirs.get(&executor).copied()
    }

    /// Forgets what `heir` inherited: the incarnations that nobody speaks for any more.
    pub(super) fn disinherit(&mut self, heir: u64) -> Vec<u64> {
        let lost = self.heirs.iter().filter(|(_, known)| **known == heir).map(|(executor, _)| *executor).collect();
        self.heirs.retain(|_, known| *known != heir);
        lost
    }

    pub(super) fn set_kept(&mut self, executor: u64, kept: BTreeSet<(String, Fence)>) {
        if let Some(worker) = self.by_executor.get_mut(&executor) {
            worker.kept = kept;
        }
    }

    /// All that are connected were heard of: nobody listened.
    pub(super) fn seen_all(&mut self, now: Timestamp) {
        for worker in self.by_executor.values_mut() {
            worker.last_seen = now;
        }
    }

    pub(super) fn set_draining(&mut self, executor: u64, draining: bool) {
        if let Some(worker) = self.by_executor.get_mut(&executor) {
            worker.draining = draining;
        }
    }

    pub(super) fn set_conditions(&mut self, executor: u64, conditions: Vec<String>) {
        if let Some(worker) = self.by_executor.get_mut(&executor) {
            worker.conditions = conditions;
        }
    }

    /// Marks workers of that name; returns whether there is one.
    pub(super) fn drain(&mut self, worker_id: &str, draining: bool) -> bool {
        let mut found = false;
        for worker in self.by_executor.values_mut().filter(|worker| worker.id == worker_id) {
            worker.draining = draining;
            found = true;
        }
        found
    }

    /// The stream ended: whether the worker lives is for its lease to say.
    pub(super) fn disconnect(&mut self, session: SessionId) -> Option<u64> {
        let executor = self.executor_of(session)?;
        if let Some(worker) = self.by_executor.get_mut(&executor) {
            worker.session = None;
        }
        Some(executor)
    }

    /// A worker that stored state names and that has not connected (yet) to this controller.
    pub(super) fn expect(&mut self, executor: u64, worker_id: &str, now: Timestamp) {
        self.by_executor.entry(executor).or_insert_with(|| Worker {
            id: worker_id.to_owned(),
            arch: String::new(),
            run_arches: BTreeSet::new(),
            kinds: BTreeSet::new(),
            cpu_milli: 0,
            memory_bytes: 0,
            draining: false,
            conditions: Vec::new(),
            session: None,
            last_seen: now,
            suspected: false,
            kept: BTreeSet::new(),
            sent: 0,
        });
    }

    /// Takes out earlier incarnations of a worker that have no session: their processes died with them.
    pub(super) fn take_older(&mut self, worker_id: &str, incarnation: u64) -> Vec<Gone> {
        self.take_where(|executor, worker| {
            executor != incarnation && worker.id == worker_id && worker.session.is_none()
        })
    }

    /// Takes out a worker without session if a later incarnation of it is connected; also what that one keeps of it.
    pub(super) fn take_superseded(&mut self, executor: u64) -> Option<(Gone, BTreeSet<(String, Fence)>)> {
        let id = &self.by_executor.get(&executor)?.id;
        let later =
            |(other, worker): &(&u64, &Worker)| **other != executor && worker.id == *id && worker.session.is_some();
        let kept = self.by_executor.iter().find(later).map(|(_, worker)| worker.kept.clone())?;
        self.take_where(|known, _| known == executor).pop().map(|gone| (gone, kept))
    }

    /// Whether [`Workers::take_lost`] would take one.
    pub(super) fn any_lost(&self, limit: Duration, now: Timestamp) -> bool {
        self.by_executor.values().any(|worker| silence(worker, now) > limit)
    }

    /// Workers that were silent for longer than `limit`; they are forgotten, but for being listed a while, unless they
    /// were asked to end.
    pub(super) fn take_lost(&mut self, limit: Duration, now: Timestamp) -> Vec<Gone> {
        let lost = |worker: &&Worker| silence(worker, now) > limit && !worker.draining;
        for worker in self.by_executor.values().filter(lost) {
            let Worker { arch, cpu_milli, memory_bytes, last_seen, .. } = worker;
            let (cpu_milli, memory_bytes, last_seen) = (*cpu_milli, *memory_bytes, *last_seen);
            let departed = Departed { arch: arch.clone(), cpu_milli, memory_bytes, last_seen };
            self.departed.insert(worker.id.clone(), departed);
        }
        let listed = |departed: &Departed| now.0 - departed.last_seen.0 < LISTED_MILLIS;
        self.departed.retain(|_, departed| listed(departed));
        while self.departed.len() > MAX_LISTED {
            let oldest = self.departed.iter().min_by_key(|(_, departed)| departed.last_seen).map(|(id, _)| id.clone());
            oldest.map(|id| self.departed.remove(&id));
        }
        self.take_where(|_, worker| silence(worker, now) > limit)
    }

    /// Names of workers whose lease ended a while ago, and when they were last heard.
    pub(super) fn departed(&self) -> impl Iterator<Item = (&str, Timestamp)> {
        self.departed.iter().map(|(id, departed)| (id.as_str(), departed.last_seen))
    }

    fn take_where(&mut self, wanted: impl Fn(u64, &Worker) -> bool) -> Vec<Gone> {
        let found: Vec<_> =
            self.by_executor.iter().filter(|(e, worker)| wanted(**e, worker)).map(|(e, _)| *e).collect();
        let take = |executor: u64| {
            let worker = self.by_executor.remove(&executor)?;
            Some(Gone { executor, id: worker.id, draining: worker.draining })
        };
        found.into_iter().filter_map(take).collect()
    }

    /// Sends, if the worker is connected and reads. One that lets the queue fill is cut off: it connects again and
    /// states everything anew.
    pub(super) fn send(&mut self, executor: u64, message: Message) {
        let epoch = self.epoch;
        let executor = self.heir_of(executor).unwrap_or(executor);
        let Some(worker) = self.by_executor.get_mut(&executor) else { return };
        worker.sent += 1;
        let [before, after] = points::sent(&message);
        pass(before);
        let response = wire::SessionResponse { sequence: worker.sent, epoch, message: Some(message) };
        let full = worker.session.as_ref().is_some_and(|(_, sender)| sender.try_send(Ok(response)).is_err());
        pass(after);
        if full {
            tracing::warn!(worker_id = %worker.id, "worker does not read its session; cutting it off");
            worker.session = None;
        }
    }

    /// All that are known, by name.
    pub(super) fn known(&self) -> Vec<Known> {
        let known = |(executor, worker): (&u64, &Worker)| Known {
            id: worker.id.clone(),
            executor: *executor,
            connected: worker.session.is_some(),
            draining: worker.draining,
            last_seen: worker.last_seen,
        };
        let mut all: Vec<Known> = self.by_executor.iter().map(known).collect();
        all.sort_by(|a, b| (&a.id, a.executor).cmp(&(&b.id, b.executor)));
        all
    }

    /// What the scheduler sees. `running` names what each worker runs, with what it was reserved.
    pub(super) fn views(&self, running: &BTreeMap<u64, Vec<(Fence, tutti_job::Resources)>>) -> Vec<WorkerView> {
        let empty = Vec::new();
        self.by_executor
            .iter()
            .map(|(executor, worker)| {
                let jobs = running.get(executor).unwrap_or(&empty);
                let used_cpu: u32 = jobs.iter().map(|(_, reserved)| reserved.cpu_milli).sum();
                let used_memory: u64 = jobs.iter().map(|(_, reserved)| reserved.memory_bytes).sum();
                let total = tutti_job::Resources { cpu_milli: worker.cpu_milli, memory_bytes: worker.memory_bytes };
                WorkerView {
                    id: worker.id.clone(),
                    executor: *executor,
                    arch: worker.arch.clone(),
                    run_arches: worker.run_arches.iter().cloned().collect(),
                    kinds: worker.kinds.iter().cloned().collect(),
                    free: tutti_job::Resources {
                        cpu_milli: total.cpu_milli.saturating_sub(used_cpu),
                        memory_bytes: total.memory_bytes.saturating_sub(used_memory),
                    },
                    total,
                    draining: worker.draining,
                    connected: worker.is_there(),
                    running: jobs.len() as u32,
                }
            })
            .collect()
    }

    /// What `tutti drain` lists. `names` gives what each runs.
    pub(super) fn list(&self, names: &BTreeMap<u64, Vec<String>>) -> Vec<api::Worker> {
        let gone = self.departed.iter().map(|(id, departed)| api::Worker {
            worker_id: id.clone(),
            arch: departed.arch.clone(),
            last_seen: Some(timestamp(departed.last_seen.0)),
            cpu_milli: departed.cpu_milli,
            memory_bytes: departed.memory_bytes,
            conditions: vec!["its lease ended: what it ran was given to others".to_owned()],
            ..api::Worker::default()
        });
        self.by_executor
            .iter()
            .map(|(executor, worker)| api::Worker {
                worker_id: worker.id.clone(),
                arch: worker.arch.clone(),
                connected: worker.is_there(),
                draining: worker.draining,
                running: names.get(executor).cloned().unwrap_or_default(),
                last_seen: Some(timestamp(worker.last_seen.0)),
                cpu_milli: worker.cpu_milli,
                memory_bytes: worker.memory_bytes,
                conditions: worker.conditions.clone(),
            })
            .chain(gone)
            .collect()
    }
}
