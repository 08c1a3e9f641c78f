//! The engine: one task that owns all composes and workers, and the handle through which services talk to it.
//!
//! A turn takes what has arrived, applies it to the pure lifecycle, matches ready jobs with workers, stores every
//! changed record in transactions that compare the leader key, and only then sends messages, answers callers and starts
//! verifying and publishing. What a crash cuts off is derived again from the store.
//!
//! Disk work (verify, publish, STATUS, history) runs beside the engine on blocking threads; what it found comes back as a
//! command.

mod actor;
mod explain;
mod history;
mod keys;
mod live;
mod persist;
mod points;
mod submission;
mod tasks;
#[cfg(test)]
mod tests;
mod view;
mod workers;

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tutti_proto::{compose as api, worker as wire};
use tutti_store::{Leadership, StateStore};

use actor::Actor;
pub use keys::LEADER as LEADER_KEY;
pub use submission::SubmitError;
pub use tasks::Tasks;
pub(crate) use view::wire_status;
pub use workers::SessionId;

use crate::fsck;

/// What is stored of a compose, for those who read it without an engine.
pub(crate) mod stored {
    pub(crate) use super::{
        keys::{COMPOSES as KEYS, ComposeKey, parse as parse_key},
        submission::{Meta, chain},
    };
}

/// Commands that may wait for the engine. A caller waits for a place; nothing is dropped.
const QUEUE: usize = 4096;
/// Events that may wait for one watcher. A watcher that lets more pile up is cut off and may watch again.
const WATCH_QUEUE: usize = 4096;

/// Times that the protocol promises.
#[derive(Clone, Debug)]
pub struct Timing {
    /// How often workers say that they live.
    pub heartbeat: Duration,
    /// Silence after which a worker is suspected.
    pub lease: Duration,
    /// Time from suspicion to giving its jobs to others.
    pub reassign_delay: Duration,
    /// Time that an offer may go unanswered.
    pub accept: Duration,
    /// How long a worker without controller goes on.
    pub orphan_grace: Duration,
    /// Longest time that an attempt may go without progress.
    pub idle: Duration,
    /// Longest time of an attempt.
    pub wall: Duration,
    /// How long a volume that is full, read-only or failing is waited for before a job fails of it.
    pub volume: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(2),
            lease: Duration::from_secs(5),
            reassign_delay: Duration::from_secs(3),
            accept: Duration::from_secs(2),
            orphan_grace: Duration::from_secs(15 * 60),
            idle: Duration::from_secs(30 * 60),
            wall: Duration::from_secs(4 * 3600),
            volume: Duration::from_secs(15 * 60),
        }
    }
}

/// What an engine is made of.
pub struct Config {
    /// Where state is.
    pub store: Arc<dyn StateStore>,
    /// What people call that place.
    pub place: String,
    /// The election that this controller won.
    pub leadership: Arc<Leadership>,
    /// Times.
    pub timing: Timing,
    /// Whether workers are part of this program, and end with it.
    pub embedded: bool,
    /// Whether it only looks: nothing is sent, moved or written but to the store.
    pub observes: bool,
    /// The compose's directory that the store stands in, if it is that of one compose.
    pub home: Option<PathBuf>,
    /// Ends the engine and all its tasks.
    pub stop: CancellationToken,
}

/// Where a job's log is.
#[derive(Clone, Debug)]
pub struct LogPlace {
    /// File on the controller's host.
    pub path: PathBuf,
    /// Whether no more will be written.
    pub over: bool,
    /// Whether the job has begun: else there is none yet.
    pub begun: bool,
}

type Reply<T> = oneshot::Sender<Result<T, Status>>;

/// What the engine is told.
pub(crate) enum Command {
    Accept {
        accepted: Box<submission::Accepted>,
        reply: Reply<api::SubmitResponse>,
    },
    FindSubmission {
        key: String,
        reply: Reply<Option<api::SubmitResponse>>,
    },
    List {
        reply: Reply<Vec<api::ComposeSummary>>,
    },
    Show {
        compose_id: String,
        reply: Reply<api::ShowResponse>,
    },
    Watch {
        compose_id: String,
        reply: Reply<mpsc::Receiver<Result<api::WatchResponse, Status>>>,
    },
    LogPath {
        compose_id: String,
        job: String,
        reply: Reply<LogPlace>,
    },
    Cancel {
        compose_id: String,
        reply: Reply<()>,
    },
    Retry {
        compose_id: String,
        patterns: Vec<String>,
        reply: Reply<Vec<String>>,
    },
    Why {
        compose_id: String,
        job: String,
        reply: Reply<Vec<String>>,
    },
    Inspect {
        compose_id: String,
        reply: Reply<Box<crate::fsck::Subject>>,
    },
    Workers {
        reply: Reply<Vec<api::Worker>>,
    },
    Drain {
        worker_id: String,
        draining: bool,
        reply: Reply<()>,
    },
    Connect {
        hello: wire::Hello,
        sender: workers::Sender,
        reply: Reply<SessionId>,
    },
    FromWorker {
        session: SessionId,
        message: wire::SessionRequest,
    },
    Disconnected {
        session: SessionId,
    },
    Verified {
        compose_id: String,
        fence: tutti_job::Fence,
        result: Result<u64, crate::publish::PublishError>,
    },
    Published {
        compose_id: String,
        job: u32,
        result: Result<(), crate::publish::PublishError>,
        /// What was staged is gone.
        lost: bool,
    },
    StatusWritten {
        compose_id: String,
        last: bool,
        result: Result<(), crate::volume::VolumeError>,
        /// Why the latest link could not be moved.
        unlinked: Option<String>,
    },
    /// A compose that is held for it was looked at: why it cannot be gone on with, if it cannot.
    Looked {
        compose_id: String,
        refusal: Option<String>,
    },
    /// The tree of a compose was looked at, after all its jobs were over: what is gone, and what to do.
    LookedAtEnd {
        compose_id: String,
        damage: Option<String>,
    },
    /// Work on the volume is being tried again because of `text`; none: it went well.
    Trouble {
        compose_id: String,
        job: Option<u32>,
        text: Option<String>,
    },
}

/// Talks to the engine. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    tasks: Tasks,
}

/// An engine that runs.
pub struct Engine {
    /// The way to talk to it.
    pub handle: Handle,
    /// Its end: an error when the store or the leadership was lost.
    pub task: tokio::task::JoinHandle<Result<(), EngineError>>,
}

/// Why an engine ended.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Another controller leads.
    #[error("another controller has taken over; this one stops without writing anything more")]
    Deposed,
    /// The store failed for good.
    #[error("state store failed")]
    Store(#[from] tutti_store::StoreError),
    /// A fault of this program.
    #[error("the engine panicked: {0}")]
    Panicked(String),
}

/// Loads stored state and starts the engine.
///
/// # Errors
/// When state cannot be read.
pub async fn start(config: Config) -> Result<Engine, EngineError> {
    let (commands, receiver) = mpsc::channel(QUEUE);
    let tasks = Tasks::new(config.stop.clone());
    let handle = Handle { commands, tasks: tasks.clone() };
    let actor = Actor::load(config, handle.clone()).await?;
    let task = tasks.spawn_engine(actor.run(receiver));
    Ok(Engine { handle, task })
}

impl Handle {
    /// The engine's tasks.
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    async fn ask<T>(&self, make: impl FnOnce(Reply<T>) -> Command) -> Result<T, Status> {
        let (reply, answer) = oneshot::channel();
        let stopped = || Status::unavailable("the controller is stopping");
        self.commands.send(make(reply)).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    async fn tell(&self, command: Command) -> bool {
        self.commands.send(command).await.is_ok()
    }

    /// Tells from a blocking thread.
    pub(crate) fn tell_blocking(&self, command: Command) {
        // An engine that stopped needs no answer: what was done is found done at the next start.
        let _ = self.commands.blocking_send(command);
    }

    /// Accepts a compose; answers when it is stored.
    pub async fn submit(&self, request: api::SubmitRequest) -> Result<api::SubmitResponse, Status> {
        let key = request.idempotency_key.clone();
        if !key.is_empty()
            && let Some(found) = self.ask(|reply| Command::FindSubmission { key, reply }).await?
        {
            return Ok(found);
        }
        let prepared = self.tasks.blocking(move || submission::prepare(request)).await;
        let accepted = prepared.ok_or_else(|| Status::internal("the submission's directory could not be made"))??;
        self.ask(|reply| Command::Accept { accepted: Box::new(accepted), reply }).await
    }

    pub(crate) async fn list(&self) -> Result<Vec<api::ComposeSummary>, Status> {
        self.ask(|reply| Command::List { reply }).await
    }

    pub(crate) async fn show(&self, compose_id: String) -> Result<api::ShowResponse, Status> {
        self.ask(|reply| Command::Show { compose_id, reply }).await
    }

    pub(crate) async fn watch(
        &self,
        compose_id: String,
    ) -> Result<mpsc::Receiver<Result<api::WatchResponse, Status>>, Status> {
        self.ask(|reply| Command::Watch { compose_id, reply }).await
    }

    pub(crate) async fn log_path(&self, compose_id: &str, job: &str) -> Result<LogPlace, Status> {
        let (compose_id, job) = (compose_id.to_owned(), job.to_owned());
        self.ask(|reply| Command::LogPath { compose_id, job, reply }).await
    }

    /// Cancels a compose.
    pub async fn cancel(&self, compose_id: String) -> Result<(), Status> {
        self.ask(|reply| Command::Cancel { compose_id, reply }).await
    }

    /// Opens new attempts, if all is there that finished jobs made: they do not run again.
    pub(crate) async fn retry(&self, compose_id: String, patterns: Vec<String>) -> Result<Vec<String>, Status> {
        let subject = self.inspect(compose_id.clone()).await?;
        let stop = self.tasks.stop();
        let then = fsck::Then::GoesOn("run this again".to_owned());
        let looked = self.tasks.blocking(move || fsck::look(&subject, &then, || stop.is_cancelled())).await;
        match looked.ok_or_else(|| Status::internal("looking at its files panicked: see the controller's log"))? {
            fsck::Look::Whole => self.ask(|reply| Command::Retry { compose_id, patterns, reply }).await,
            fsck::Look::Refused(refusal) | fsck::Look::Troubled(refusal) => Err(Status::failed_precondition(refusal)),
            fsck::Look::BrokenOff => Err(Status::unavailable("the controller ends; hint: run this again later")),
        }
    }

    pub(crate) async fn why(&self, compose_id: String, job: String) -> Result<Vec<String>, Status> {
        self.ask(|reply| Command::Why { compose_id, job, reply }).await
    }

    /// A copy of a compose's state, to be compared with its files.
    pub(crate) async fn inspect(&self, compose_id: String) -> Result<Box<crate::fsck::Subject>, Status> {
        self.ask(|reply| Command::Inspect { compose_id, reply }).await
    }

    pub(crate) async fn workers(&self) -> Result<Vec<api::Worker>, Status> {
        self.ask(|reply| Command::Workers { reply }).await
    }

    pub(crate) async fn drain(&self, worker_id: String, draining: bool) -> Result<(), Status> {
        self.ask(|reply| Command::Drain { worker_id, draining, reply }).await
    }

    pub(crate) async fn connect_worker(
        &self,
        hello: wire::Hello,
        sender: workers::Sender,
    ) -> Result<SessionId, Status> {
        self.ask(|reply| Command::Connect { hello, sender, reply }).await
    }

    pub(crate) async fn worker_says(&self, session: SessionId, message: wire::SessionRequest) -> bool {
        self.tell(Command::FromWorker { session, message }).await
    }

    pub(crate) async fn disconnected(&self, session: SessionId) {
        self.tell(Command::Disconnected { session }).await;
    }
}
