//! A whole controller: election, engine and servers, from start to clean end.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio_util::sync::CancellationToken;
use tutti_store::{
    Campaign, Clock, CompactionPolicy, Compactor, Leadership, Operation, RedbStore, StateStore, SystemClock, Txn,
    campaign,
};

pub use tutti_store::TakeOver;

use crate::{
    engine::{self, EngineError, Handle, LEADER_KEY, Timing},
    server::{self, Bound, ServerError},
};

/// Lease of the leader key. The embedded store has one owner, which its own records decide and each commit checks, so
/// nobody waits for this lease to end. It is long, that a process which stands still for a while (Ctrl-Z, a suspended
/// laptop) does not take itself for deposed.
const LEADER_TTL: Duration = Duration::from_secs(24 * 3600);

impl RunError {
    /// Whether the volume that the state is on cannot be written.
    #[must_use]
    pub fn cannot_write(&self) -> bool {
        use tutti_store::StoreError::{NoSpace, Unavailable};
        let source = match self {
            Self::Open { source, .. } | Self::Election(source) => source,
            Self::Lost(_) | Self::Engine(_) | Self::Server(_) => return false,
        };
        matches!(source, NoSpace { .. } | Unavailable { .. })
    }

    /// Whether another process of this host has the state.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        matches!(self, Self::Open { source: tutti_store::StoreError::InUse { .. }, .. })
    }
}

/// Why a controller ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The state file cannot be used.
    #[error("cannot open the state store{}", beside(path, source))]
    Open {
        /// File.
        path: String,
        /// Why.
        #[source]
        source: tutti_store::StoreError,
    },
    /// The election failed.
    #[error("cannot become the leading controller")]
    Election(#[source] tutti_store::StoreError),
    /// The state is gone.
    #[error("the state was lost")]
    Lost(#[source] tutti_store::StoreError),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A socket failed.
    #[error(transparent)]
    Server(#[from] ServerError),
}

/// The path, where the cause does not name it.
fn beside(path: &str, source: &tutti_store::StoreError) -> String {
    if source.to_string().contains(path) { String::new() } else { format!(" {path}") }
}

/// What a controller is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A process of its own, with workers in others.
    Service,
    /// One program with its worker, which ends with it.
    Embedded,
    /// One that looks at a copy of the state, and does and writes nothing.
    Observer,
}

/// The compose's directory that a state file stands in.
fn home_of(state: &Path) -> Option<PathBuf> {
    let depth = Path::new(crate::volume::EMBEDDED_STATE).components().count();
    state.ends_with(crate::volume::EMBEDDED_STATE).then(|| state.ancestors().nth(depth)).flatten().map(Path::to_owned)
}

/// A controller that runs.
pub struct Controller {
    /// The way to talk to its engine.
    pub handle: Handle,
    engine: tokio::task::JoinHandle<Result<(), EngineError>>,
    leadership: Arc<Leadership>,
    store: RedbStore,
    stop: CancellationToken,
}

impl Controller {
    /// Opens the embedded store, becomes leader and loads all composes. Nothing is served yet.
    ///
    /// # Errors
    /// [`RunError`]; a store that another process owns says so.
    pub async fn start(state: &Path, timing: Timing, stop: CancellationToken) -> Result<Self, RunError> {
        Self::start_after(state, TakeOver::No, Role::Service, timing, stop).await
    }

    /// As [`Controller::start`]; says whether the state may be taken from a process that cannot be seen from here.
    ///
    /// # Errors
    /// As [`Controller::start`].
    pub async fn start_after(
        state: &Path,
        take_over: TakeOver,
        role: Role,
        timing: Timing,
        stop: CancellationToken,
    ) -> Result<Self, RunError> {
        let home = (role == Role::Embedded).then(|| home_of(state)).flatten();
        Self::start_in(Arc::new(SystemClock::new()), state, take_over, role, home, timing, stop).await
    }

    /// As an observer of the compose in `top`, of whose state `copy` is one: nothing of it is changed.
    ///
    /// # Errors
    /// As [`Controller::start`].
    pub async fn observe(copy: &Path, top: &Path, stop: CancellationToken) -> Result<Self, RunError> {
        let (clock, home) = (Arc::new(SystemClock::new()), Some(top.to_owned()));
        Self::start_in(clock, copy, TakeOver::No, Role::Observer, home, Timing::default(), stop).await
    }

    async fn start_in(
        clock: Arc<dyn Clock>,
        state: &Path,
        take_over: TakeOver,
        role: Role,
        home: Option<PathBuf>,
        timing: Timing,
        stop: CancellationToken,
    ) -> Result<Self, RunError> {
        let opened = RedbStore::open_with(state, Arc::clone(&clock), take_over).await;
        let store = opened.map_err(|source| RunError::Open { path: state.display().to_string(), source })?;
        let shared: Arc<dyn StateStore> = Arc::new(store.clone());
        tutti_failpoint::pass("controller.store.opened");
        // The file is ours alone, so whoever led on it is dead: its lease need not be waited for.
        let take_over = Txn::new().and(Operation::delete(LEADER_KEY));
        store.txn(take_over).await.map_err(RunError::Election)?;
        let identity = format!("pid-{}", std::process::id()).into_bytes();
        let contest = Campaign { key: LEADER_KEY.to_vec(), identity, ttl: LEADER_TTL };
        let (compacted, clock_for_compaction) = (Arc::clone(&shared), Arc::clone(&clock));
        let leadership = campaign(Arc::clone(&shared), clock, &contest).await.map_err(RunError::Election)?;
        let leadership = Arc::new(leadership);
        tutti_failpoint::pass("controller.elected");
        let config = engine::Config {
            store: shared,
            place: state.display().to_string(),
            leadership: Arc::clone(&leadership),
            timing,
            embedded: role != Role::Service,
            observes: role == Role::Observer,
            home,
            stop: stop.clone(),
        };
        let engine = engine::start(config).await?;
        tutti_failpoint::pass("controller.engine.started");
        // Without it the past of every record stays in the file.
        let compactor = Compactor::new(CompactionPolicy::default());
        engine.handle.tasks().spawn("compaction", compactor.run(compacted, clock_for_compaction));
        let keeper = Arc::clone(&leadership);
        engine.handle.tasks().spawn("leader lease", async move { keeper.keep().await });
        Ok(Self { handle: engine.handle, engine: engine.task, leadership, store, stop })
    }

    /// Serves until `stop`, then ends cleanly: the next controller need not wait for the lease.
    ///
    /// # Errors
    /// [`RunError`].
    pub async fn serve(self, bound: Vec<Bound>, insecure_loopback: bool) -> Result<(), RunError> {
        let mut engine = self.engine;
        let servers = server::serve(bound, self.handle.clone(), insecure_loopback, self.stop.clone());
        tokio::pin!(servers);
        // Neither branch loses anything when dropped: the other one's end ends the process.
        let result = tokio::select! {
            served = &mut servers => served.map_err(RunError::from),
            ended = &mut engine => match ended {
                Ok(result) => result.map_err(RunError::from),
                Err(error) => Err(RunError::Engine(EngineError::Panicked(error.to_string()))),
            },
        };
        self.stop.cancel();
        tutti_failpoint::pass("controller.stop.before");
        self.handle.tasks().finish().await;
        tutti_failpoint::pass("controller.stop.finished");
        let mut result = result;
        if self.leadership.is_valid()
            && let Err(error) = self.leadership.resign().await
        {
            match error.kind() {
                // All that was stored is gone, whatever was done.
                tutti_store::ErrorKind::Vanished if result.is_ok() => result = Err(RunError::Lost(error)),
                _ => tracing::warn!(%error, "cannot give the leadership back; it ends with its lease"),
            }
        }
        self.store.close().await;
        tutti_failpoint::pass("controller.store.closed");
        result
    }
}

#[cfg(test)]
mod tests {
    use tutti_store::ManualClock;

    use super::*;

    /// A laptop that slept over night.
    #[tokio::test]
    async fn r4_a_leader_of_a_state_file_that_stood_still_for_hours_leads_still() {
        let directory = tempfile::tempdir().unwrap();
        let (state, clock) = (directory.path().join("state.redb"), ManualClock::new());
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let stop = CancellationToken::new();
        let started =
            Controller::start_in(shared, &state, TakeOver::No, Role::Embedded, None, Timing::default(), stop).await;
        let controller = started.unwrap_or_else(|error| panic!("{error}"));
        clock.advance(Duration::from_secs(10 * 3600));
        assert!(controller.leadership.is_valid());
        controller.stop.cancel();
        controller.handle.tasks().finish().await;
    }
}
