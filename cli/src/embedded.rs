//! Controller and worker in this process, for composes on one machine: the same code and messages as on a farm, over a
//! Unix socket in a directory of mode 0700.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tokio::task::{JoinError, JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::transport::Channel;
use tutti_controller::{
    engine::Timing,
    run::{Controller, Role, RunError, TakeOver},
    server::{self, Listen},
};
use tutti_failpoint::pass;
use tutti_job::Volumes;
use tutti_proto::compose::{ListRequest, ShowResponse, compose_service_client::ComposeServiceClient};
use tutti_telemetry::task::spawn_named_until_done;
use tutti_worker::{Records, Shutdown, StateGuard, Worker, WorkerConfig, WorkerError};

use crate::{
    compose,
    connect::{self, Address, Stopped},
    progress::Reporter,
};

/// Where a compose keeps the state of its embedded controller, below its directory.
pub(crate) const STATE: &str = tutti_controller::volume::EMBEDDED_STATE;
/// Where a running one says how to reach it.
const ADDRESS: &str = "work/tutti/controller";
/// The controller's socket, in a directory of this process.
const SOCKET: &str = "controller";
/// Longest time for the worker to end: killing its children, and asking for answers to its last outcomes (10 s).
const STOP: Duration = Duration::from_secs(30);

/// Longest time that a process has the state and cannot be reached, on a busy machine.
const BUSY: Duration = Duration::from_secs(30);

/// A running pair of controller and worker.
pub(crate) struct Embedded {
    /// The way to talk to it.
    pub(crate) client: ComposeServiceClient<Channel>,
    top: PathBuf,
    stop: CancellationToken,
    worker: Option<(Shutdown, JoinHandle<Result<(), WorkerError>>)>,
    /// Whether it looks at a copy of the state.
    observes: bool,
    /// None once it has ended.
    controller: Option<JoinHandle<Result<(), RunError>>>,
    directory: tempfile::TempDir,
}

/// A target directory as jobs may name it: absolute, without `..`.
pub(crate) fn target(path: &Path) -> Result<PathBuf> {
    Ok(tutti_files::without_dots(path)?)
}

/// The compose's directory below a target directory.
pub(crate) fn compose_dir(target: &Path, compose_id: &str) -> Result<PathBuf> {
    let top = known_dir(target, compose_id)?;
    let state = top.join(STATE);
    match fs::metadata(&state) {
        Ok(metadata) if metadata.is_file() => Ok(top),
        Ok(_) => bail!("{} is no file\nhint: tutti fsck says more", state.display()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && is_begun(&top) => Err(never_accepted(&top)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
            "{} is no compose that `tutti compose` made: it has no {STATE}\nhint: ask the controller that made it, by --controller; if the file was removed, restore it from a copy or make a new compose",
            top.display()
        ),
        Err(error) => Err(error).with_context(|| format!("cannot look at {}", state.display())),
    }
}

/// Whether a directory is that of a compose that had not come to its id.
pub(crate) fn is_begun(top: &Path) -> bool {
    is_bare(top) && fs::symlink_metadata(top.join("COMPOSE_ID")).is_err()
}

/// Whether a compose had made nothing that anybody would miss: its directory is claimed, and there is neither a tree nor a
/// history, which every compose has that was accepted.
pub(crate) fn is_bare(top: &Path) -> bool {
    let is_empty = |name: &str| match fs::read_dir(top.join(name)) {
        Ok(mut items) => items.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    };
    let is_history = |name: &std::ffi::OsStr| name.to_str().is_some_and(tutti_controller::history::is_file_name);
    let logs = fs::read_dir(top.join(tutti_controller::history::DIRECTORY));
    let has_history = logs.is_ok_and(|items| items.flatten().any(|item| is_history(&item.file_name())));
    top.join(tutti_controller::volume::CLAIM).is_file() && is_empty("compose") && !has_history
}

/// Says that a compose ended before there was anything of it.
pub(crate) fn never_accepted(top: &Path) -> anyhow::Error {
    let id = top.file_name().unwrap_or_default().display();
    anyhow::anyhow!(
        "{} is only the beginning of a compose: unless it was begun this very moment, its program ended before the compose was accepted, and there is nothing to go on with\nhint: remove that directory, and begin again with the command of before; --compose-id {id} gives it the same id",
        top.display()
    )
}

/// The id that is meant: that of the compose which a `latest-` link of this name leads to, else what was given.
pub(crate) fn meant(target: &Path, compose_id: &str) -> String {
    let plain = |name: &Path| name.file_name() == Some(name.as_os_str());
    let there =
        fs::read_link(target.join(compose_id)).ok().filter(|there| plain(Path::new(compose_id)) && plain(there));
    let there = there.filter(|there| target.join(there).is_dir());
    there.and_then(|there| there.into_os_string().into_string().ok()).unwrap_or_else(|| compose_id.to_owned())
}

/// The directory of that name, whatever is in it; a wrong id is answered with those that are there.
pub(crate) fn known_dir(target: &Path, compose_id: &str) -> Result<PathBuf> {
    tutti_distro::compose_id::ComposeId::new(compose_id)?;
    let target = self::target(target)?;
    let top = target.join(compose_id);
    if top.is_dir() {
        return Ok(top);
    }
    if fs::symlink_metadata(&top).is_ok() {
        bail!("{} is no directory, so it is no compose", top.display());
    }
    if target.join("COMPOSE_ID").exists() {
        bail!(
            "{} is a compose itself\nhint: --target-dir is the directory that it is in: {}",
            target.display(),
            target.parent().unwrap_or(&target).display()
        );
    }
    let known = composes(&target)?;
    let near = tutti_controller::nearest::suggestion(compose_id, known.iter().map(String::as_str));
    bail!("there is no compose {compose_id} in {}{near}", target.display());
}

/// Names of the composes in a target directory.
pub(crate) fn composes(target: &Path) -> Result<Vec<String>> {
    let entries =
        fs::read_dir(target).with_context(|| format!("cannot list the target directory {}", target.display()))?;
    let is_compose = |top: PathBuf| top.join("COMPOSE_ID").exists() || is_begun(&top);
    let composes = entries.map_while(std::io::Result::ok).filter(|entry| is_compose(entry.path()));
    let mut known: Vec<String> = composes
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    known.sort_by(|one, other| tutti_rpm::version_compare(one, other).then_with(|| one.cmp(other)));
    Ok(known)
}

/// Connects to the process that composes in `top` right now, if there is one.
///
/// # Errors
/// If that process is stopped.
pub(crate) async fn running(top: &Path) -> Result<Option<ComposeServiceClient<Channel>>, Stopped> {
    let address = fs::read_to_string(top.join(ADDRESS)).ok().and_then(|text| text.trim().parse().ok());
    let Some(address) = address else { return Ok(None) };
    match connect::connect(&address).await {
        Ok(client) => Ok(Some(client)),
        Err(error) => error.downcast::<Stopped>().map_or(Ok(None), Err),
    }
}

/// What a worker of this process is given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Work {
    /// Cores; all of this machine if not given.
    pub(crate) jobs: Option<u32>,
    /// Where package records are.
    pub(crate) records: Records,
}

/// What a compose is reached for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum For<'a> {
    /// To look at it: its volume need not be writable.
    Looking,
    /// To change its state.
    Changing,
    /// To work on it.
    Working(&'a Work),
}

/// Who works on a compose.
pub(crate) enum Reached {
    /// Another process.
    Running(ComposeServiceClient<Channel>),
    /// This one, from now on.
    Ours(Embedded),
}

/// Connects to the process that has the compose in `top`, or becomes it: see [`Embedded::start`].
///
/// A process that begins or ends has the state and cannot be reached; `tutti show` does so for a moment.
pub(crate) async fn reach(top: &Path, what: For<'_>, take_over: TakeOver) -> Result<Reached> {
    let work = match what {
        For::Working(work) => Some(work),
        For::Looking | For::Changing => None,
    };
    let deadline = Instant::now() + BUSY;
    loop {
        let running = running(top).await.with_context(|| format!("cannot reach {}", top.display()))?;
        if let Some(client) = running {
            return Ok(Reached::Running(client));
        }
        let error = match Embedded::start(top, work, take_over).await {
            Ok(embedded) => return embedded.accepted().await.map(Reached::Ours),
            Err(error) => error,
        };
        let in_use = error.downcast_ref::<RunError>().is_some_and(RunError::is_in_use);
        if matches!(what, For::Looking) && !in_use && cannot_write(&error) {
            // Why it cannot be copied either says less.
            return Embedded::observe(top).await.map(Reached::Ours).map_err(|_| error);
        }
        if !in_use || Instant::now() >= deadline {
            return Err(error);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Whether what failed is a volume that is full, read-only or denied.
fn cannot_write(error: &anyhow::Error) -> bool {
    let store = error.downcast_ref::<RunError>().is_some_and(RunError::cannot_write);
    store || tutti_files::trouble_of(error.as_ref()).is_some()
}

/// A directory of this process alone, for a socket and what else it needs for a while.
fn temporary() -> Result<tempfile::TempDir> {
    let made = tempfile::Builder::new().prefix("tutti-").permissions(fs::Permissions::from_mode(0o700)).tempdir();
    made.with_context(|| {
        let place = std::env::temp_dir();
        format!(
            "cannot make a directory for temporary files in {}\nhint: let TMPDIR name a directory that can be written",
            place.display()
        )
    })
}

impl Embedded {
    /// Starts a controller on the compose's own state, and a worker if there is `work` for one.
    pub(crate) async fn start(top: &Path, work: Option<&Work>, take_over: TakeOver) -> Result<Self> {
        let state = top.join(STATE);
        if let Some(parent) = state.parent() {
            fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
        }
        let directory = temporary()?;
        let stop = CancellationToken::new();
        let controller =
            Controller::start_after(&state, take_over, Role::Embedded, Timing::default(), stop.clone()).await?;
        let mut embedded = Self::serve(top, controller, directory, stop).await?;
        match embedded.begin(work) {
            Ok(()) => Ok(embedded),
            Err(error) => {
                // The state is free for whoever comes next, this process too.
                let _ = embedded.finish().await;
                Err(error)
            }
        }
    }

    /// Itself, if its compose was accepted.
    async fn accepted(mut self) -> Result<Self> {
        let known = self.client.list(ListRequest {}).await;
        if is_bare(&self.top) && known.is_ok_and(|known| known.into_inner().composes.is_empty()) {
            let error = never_accepted(&self.top);
            self.finish().await?;
            return Err(error);
        }
        Ok(self)
    }

    fn begin(&mut self, work: Option<&Work>) -> Result<()> {
        pass("embedded.bound");
        let socket = self.directory.path().join(SOCKET);
        let address = Address::Unix(socket.clone());
        fs::write(self.top.join(ADDRESS), format!("{address}\n")).context("cannot write the controller's address")?;
        pass("embedded.address.written");
        self.worker = work.map(|work| worker(&TaskTracker::new(), &self.top, &socket, work)).transpose()?;
        Ok(())
    }

    /// Starts a controller that looks at a copy of the compose's own state, where that cannot be written.
    async fn observe(top: &Path) -> Result<Self> {
        let directory = temporary()?;
        let copy = directory.path().join("state.redb");
        tutti_controller::fsck::copy_state(&top.join(STATE), &copy)?;
        let stop = CancellationToken::new();
        let controller = Controller::observe(&copy, top, stop.clone()).await?;
        let embedded = Self::serve(top, controller, directory, stop).await?;
        Ok(Self { observes: true, ..embedded })
    }

    async fn serve(
        top: &Path,
        controller: Controller,
        directory: tempfile::TempDir,
        stop: CancellationToken,
    ) -> Result<Self> {
        let socket = directory.path().join(SOCKET);
        let bound = server::bind(&[Listen::Unix(socket.clone())], false).await?;
        let controller =
            spawn_named_until_done("embedded controller", &TaskTracker::new(), controller.serve(bound, false));
        let client = connect::connect(&Address::Unix(socket)).await?;
        let (top, controller) = (top.to_owned(), Some(controller));
        Ok(Self { client, top, stop, worker: None, observes: false, controller, directory })
    }

    /// Follows a compose to its end, or until controller or worker cannot go on.
    pub(crate) async fn follow(&mut self, compose_id: &str, reporter: &mut dyn Reporter) -> Result<ShowResponse> {
        let mut client = self.client.clone();
        let follow = compose::follow(&mut client, compose_id, reporter);
        // Whichever ended before is not there to end.
        let (worker, controller) = (self.worker.as_mut().map(|(_, task)| task), self.controller.as_mut());
        tokio::select! {
            shown = follow => shown,
            ended = end_of(worker) => {
                self.worker = None;
                ended.context("the worker panicked")??;
                bail!("the worker ended before the compose\nhint: tutti compose --resume {compose_id} goes on")
            }
            ended = end_of(controller) => {
                self.controller = None;
                let why = ended.context("the controller panicked")?;
                why.with_context(|| format!("the controller of {compose_id} ended before the compose"))?;
                bail!("the controller ended before the compose\nhint: tutti compose --resume {compose_id} goes on")
            }
        }
    }

    /// Ends the worker with all its children, then the controller, and closes the state.
    pub(crate) async fn finish(self) -> Result<()> {
        pass("embedded.finish.before");
        if let Some((shutdown, worker)) = self.worker {
            shutdown.stop.cancel();
            match tokio::time::timeout(STOP, worker).await {
                Ok(ended) => ended.context("the worker panicked")??,
                Err(_) => bail!("the worker did not end within {STOP:?}"),
            }
        }
        pass("embedded.finish.worker-ended");
        self.stop.cancel();
        if !self.observes {
            let _ = fs::remove_file(self.top.join(ADDRESS));
        }
        if let Some(controller) = self.controller {
            controller.await.context("the controller panicked")??;
        }
        Ok(())
    }
}

/// The end of a task, if there is one.
async fn end_of<T>(task: Option<&mut JoinHandle<T>>) -> Result<T, JoinError> {
    match task {
        Some(task) => task.await,
        None => std::future::pending().await,
    }
}

type RunningWorker = (Shutdown, JoinHandle<Result<(), WorkerError>>);

fn worker(tracker: &TaskTracker, top: &Path, socket: &Path, work: &Work) -> Result<RunningWorker> {
    let state_dir = top.join(Volumes::STAGING).join("worker");
    let mut config = WorkerConfig::new("local", socket.display().to_string(), state_dir)?;
    // Whoever owns the compose's state is alone with its directories.
    config.state_guard = StateGuard::Caller;
    if let Some(jobs) = work.jobs {
        config.cpu_milli = jobs.max(1).saturating_mul(1000);
    }
    config.records = work.records.clone();
    let shutdown = Shutdown::default();
    let task = spawn_named_until_done("embedded worker", tracker, Box::pin(Worker::run(config, shutdown.clone())));
    Ok((shutdown, task))
}
