//! What a worker is told, and what it tells of itself.

use std::{io, path::PathBuf, time::Duration};

use tokio_util::sync::CancellationToken;
use tutti_job::JobKind;
use tutti_proto::worker::{self as proto, Capabilities, Hello};

use crate::{session::Tls, state::State, wire::SandboxMode};

/// What a worker needs to know.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// Name of this worker, stable over restarts.
    pub worker_id: String,
    /// Controllers: a path of a Unix socket, `unix://PATH`, `http://HOST:PORT` or `https://HOST:PORT`.
    pub endpoints: Vec<String>,
    /// What the scheduler may ask for.
    pub labels: Vec<(String, String)>,
    /// RPM architectures whose programs can run here; empty: this host's.
    pub run_arches: Vec<String>,
    /// Thousandths of a core that jobs may use.
    pub cpu_milli: u32,
    /// Bytes of memory that jobs may use.
    pub memory_bytes: u64,
    /// Kinds of jobs to offer for; mostly all of [`JobKind::ALL`].
    pub kinds: Vec<JobKind>,
    /// Directories that lie elsewhere on this host: (as the controller has it, here). First match.
    pub maps: Vec<(PathBuf, PathBuf)>,
    /// Where package records are that composes share.
    pub records: Records,
    /// Program of the child processes: this one, or the first word of [`set_job_prefix`](Self::set_job_prefix).
    pub executable: PathBuf,
    /// Its arguments: `run-job`.
    pub arguments: Vec<String>,
    /// How much the children insist on being confined.
    pub sandbox: SandboxMode,
    /// Directory of this worker alone, where unsettled outcomes are kept.
    pub state_dir: PathBuf,
    /// How other workers are kept out of it.
    pub state_guard: StateGuard,
    /// Certificates; none on a Unix socket.
    pub tls: Option<Tls>,
    /// First pause before an outcome is sent again.
    pub resend: Duration,
    /// How long attempts go on without a controller, until one says otherwise.
    pub orphan_grace: Duration,
}

/// How other workers are kept out of a worker's state directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StateGuard {
    /// By a lock: the directory is local.
    #[default]
    Lock,
    /// By whoever starts the worker. The directory may lie on a shared volume, where nothing is locked.
    Caller,
}

impl WorkerConfig {
    /// A configuration with the defaults: all kinds, this program, this host's processors and memory.
    ///
    /// # Errors
    /// When the path of this program cannot be found.
    pub fn new(
        worker_id: impl Into<String>,
        endpoint: impl Into<String>,
        state_dir: impl Into<PathBuf>,
    ) -> io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self {
            worker_id: worker_id.into(),
            endpoints: vec![endpoint.into()],
            labels: Vec::new(),
            run_arches: Vec::new(),
            cpu_milli: u32::try_from(cores).unwrap_or(1).saturating_mul(1000),
            memory_bytes: host_memory().unwrap_or(1 << 30),
            kinds: JobKind::ALL.to_vec(),
            maps: Vec::new(),
            records: Records::default(),
            executable: std::env::current_exe()?,
            arguments: vec!["run-job".into()],
            sandbox: SandboxMode::BestEffort,
            state_dir: state_dir.into(),
            state_guard: StateGuard::Lock,
            tls: None,
            resend: Duration::from_secs(1),
            orphan_grace: Duration::from_secs(15 * 60),
        })
    }
}

/// Where package records are that composes share: what one compose read, others need not read again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Records {
    /// In `.tutti-records` beside each compose's directory.
    #[default]
    BesideComposes,
    /// In one directory of this host, for all composes.
    In(PathBuf),
    /// Nowhere: each compose reads all its packages.
    Nowhere,
}

impl WorkerConfig {
    /// Starts each job by way of another program: `words` before what is started already. It must become the job (as
    /// `nice` or an emulator do): the job's process has to be the worker's own child.
    pub fn set_job_prefix<'a>(&mut self, words: impl IntoIterator<Item = &'a str>) {
        let mut command: Vec<String> = words.into_iter().map(str::to_owned).collect();
        command.push(self.executable.to_string_lossy().into_owned());
        command.append(&mut self.arguments);
        self.executable = command.remove(0).into();
        self.arguments = command;
    }
}

/// How to end a worker. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Start nothing new, finish what runs, then end.
    pub drain: CancellationToken,
    /// Kill what runs, report that, and end.
    pub stop: CancellationToken,
}

/// A worker that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The configuration has no controller.
    #[error("worker {0:?} has no controller to connect to")]
    NoEndpoint(String),
    /// The state directory cannot be used.
    #[error("failed to use the state directory {path}")]
    StateDir {
        /// The directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It was stopped, and processes of its jobs would not die.
    #[error("ends though processes of its jobs live on after SIGKILL: {0}")]
    Survivors(String),
    /// The thread that starts processes cannot be started.
    #[error("failed to start the thread that starts processes")]
    Spawner(#[source] io::Error),
}

/// The first message of every connection.
pub(crate) fn hello(config: &WorkerConfig, incarnation: u64, state: &State) -> Hello {
    let (held, last_epoch) = state.held();
    let mut kinds: Vec<_> = config.kinds.iter().map(|kind| kind.capability()).collect();
    kinds.sort();
    let mut run_arches = config.run_arches.clone();
    if run_arches.is_empty() {
        run_arches.push(host_arch().to_owned());
    }
    let labels = config.labels.iter().map(|(name, value)| proto::Label { name: name.clone(), value: value.clone() });
    Hello {
        worker_id: config.worker_id.clone(),
        incarnation,
        proto_min: *tutti_proto::WORKER_PROTOCOL.start(),
        proto_max: *tutti_proto::WORKER_PROTOCOL.end(),
        capabilities: Some(Capabilities {
            arch: host_arch().to_owned(),
            run_arches,
            resources: Some(state.facts.capacity),
            labels: labels.collect(),
            job_kinds: kinds,
            tool_fingerprint: concat!("tutti-", env!("CARGO_PKG_VERSION")).to_owned(),
        }),
        held,
        last_epoch,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        wall_time: None,
    }
}

/// This host's architecture as RPM calls it (rpm rpmrc.in, `buildarchtranslate`).
pub(crate) fn host_arch() -> &'static str {
    match (std::env::consts::ARCH, cfg!(target_endian = "little")) {
        ("powerpc64", true) => "ppc64le",
        ("powerpc64", false) => "ppc64",
        ("x86", _) => "i686",
        (arch, _) => arch,
    }
}

/// Memory of this host (proc_meminfo(5): MemTotal).
fn host_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_describe_this_host() {
        let config = WorkerConfig::new("w", "/run/tutti.sock", "/var/lib/tutti").unwrap();
        assert!(config.cpu_milli >= 1000 && config.memory_bytes > 1 << 26);
        assert_eq!(config.kinds.len(), JobKind::ALL.len());
        assert!(!host_arch().is_empty());
    }

    #[test]
    fn a_prefix_stands_before_the_program() {
        let mut config = WorkerConfig::new("w", "/run/tutti.sock", "/var/lib/tutti").unwrap();
        let own = config.executable.to_string_lossy().into_owned();
        config.set_job_prefix([]);
        assert_eq!(
            (config.executable.to_str(), &config.arguments[..]),
            (Some(own.as_str()), &["run-job".to_owned()][..])
        );
        config.set_job_prefix(["nice", "-n", "5"]);
        assert_eq!(
            (config.executable.to_str(), config.arguments.join(" ")),
            (Some("nice"), format!("-n 5 {own} run-job"))
        );
    }
}
