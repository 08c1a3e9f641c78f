//! A controller made of channels, and a real worker with real children against it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{net::UnixListener, sync::mpsc, task::JoinHandle, time::timeout};
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming, transport::ServerTlsConfig};
use tutti_job::{Digest, Input, JobKind, JobSpec, LogicalPath, OutputSpec, Root, Volumes};
use tutti_proto::worker::{
    self as proto, Hello, Outcome, SessionRequest, SessionResponse, session_request::Message as Up,
    session_response::Message as Down, worker_service_server as service,
};
use tutti_worker::{SandboxMode, Shutdown, Tls, Worker, WorkerConfig, WorkerError};

/// For each wait: enough for a loaded machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

type Connection = (Streaming<SessionRequest>, mpsc::Sender<Result<SessionResponse, Status>>);

/// One connection of the worker, from the controller's side. Dropping it ends the stream.
pub(crate) struct Link {
    pub(crate) hello: Hello,
    up: Streaming<SessionRequest>,
    down: mpsc::Sender<Result<SessionResponse, Status>>,
    sequence: u64,
}

struct Fake(mpsc::Sender<Connection>);

#[tonic::async_trait]
impl service::WorkerService for Fake {
    type SessionStream = ReceiverStream<Result<SessionResponse, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (sender, receiver) = mpsc::channel(64);
        self.0.send((request.into_inner(), sender)).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn exchange(&self, _: Request<proto::ExchangeRequest>) -> Result<Response<proto::ExchangeResponse>, Status> {
        Err(Status::unimplemented("exchange"))
    }

    async fn write(
        &self,
        _: Request<Streaming<proto::WriteRequest>>,
    ) -> Result<Response<proto::WriteResponse>, Status> {
        Err(Status::unimplemented("write"))
    }

    async fn query_write_status(
        &self,
        _: Request<proto::QueryWriteStatusRequest>,
    ) -> Result<Response<proto::QueryWriteStatusResponse>, Status> {
        Err(Status::unimplemented("query"))
    }
}

/// A controller and one worker.
pub(crate) struct Rig {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) shutdown: Shutdown,
    pub(crate) worker: JoinHandle<Result<(), WorkerError>>,
    connections: mpsc::Receiver<Connection>,
    tracker: TaskTracker,
}

impl Rig {
    pub(crate) fn start() -> Self {
        Self::start_with(|_| {})
    }

    /// With a worker whose configuration is altered.
    pub(crate) fn start_with(alter: impl FnOnce(&mut WorkerConfig)) -> Self {
        let mut rig = Self::without_worker();
        let mut config = config(rig.directory.path());
        alter(&mut config);
        rig.worker = rig.tracker.spawn(Worker::run(config, rig.shutdown.clone()));
        rig
    }

    /// A controller alone: the test starts a worker process by [`worker_process`].
    pub(crate) fn without_worker() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("socket")).unwrap();
        let (sender, connections) = mpsc::channel(4);
        let server = tonic::transport::Server::builder()
            .add_service(service::WorkerServiceServer::new(Fake(sender)))
            .serve_with_incoming(UnixListenerStream::new(listener));
        Self::with_server(directory, connections, server)
    }

    /// A controller that asks for certificates on a TCP port of this host, and a worker that has `tls`.
    pub(crate) async fn with_tls(directory: tempfile::TempDir, server: ServerTlsConfig, tls: Tls) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, connections) = mpsc::channel(4);
        let server = tonic::transport::Server::builder()
            .tls_config(server)
            .unwrap()
            .add_service(service::WorkerServiceServer::new(Fake(sender)))
            .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener));
        let mut rig = Self::with_server(directory, connections, server);
        let mut config = config(rig.directory.path());
        config.endpoints = vec![format!("https://localhost:{port}")];
        config.tls = Some(tls);
        rig.worker = rig.tracker.spawn(Worker::run(config, rig.shutdown.clone()));
        rig
    }

    fn with_server(
        directory: tempfile::TempDir,
        connections: mpsc::Receiver<Connection>,
        server: impl Future<Output = Result<(), tonic::transport::Error>> + Send + 'static,
    ) -> Self {
        let tracker = TaskTracker::new();
        tracker.spawn(server);
        std::fs::create_dir_all(directory.path().join("compose")).unwrap();
        let shutdown = Shutdown::default();
        let worker = tracker.spawn(async { Ok(()) });
        Self { directory, shutdown, worker, connections, tracker }
    }

    /// Whether the worker connects within `time`.
    pub(crate) async fn connects_within(&mut self, time: Duration) -> bool {
        timeout(time, self.connections.recv()).await.is_ok()
    }

    /// Starts the worker again, as another incarnation.
    pub(crate) async fn restart(&mut self) {
        self.shutdown.stop.cancel();
        self.ended().await;
        self.shutdown = Shutdown::default();
        self.worker = self.tracker.spawn(Worker::run(config(self.directory.path()), self.shutdown.clone()));
    }

    /// Waits until the worker has ended.
    pub(crate) async fn ended(&mut self) {
        timeout(DEADLINE, &mut self.worker).await.expect("the worker ends").unwrap().unwrap();
    }

    /// Waits for a connection and its Hello.
    pub(crate) async fn connection(&mut self) -> Link {
        let (mut up, down) = timeout(DEADLINE, self.connections.recv()).await.expect("a connection").unwrap();
        let first = timeout(DEADLINE, up.message()).await.expect("a first message").unwrap().unwrap();
        let Some(Up::Hello(hello)) = first.message else { panic!("first message {first:?}") };
        Link { hello, up, down, sequence: 0 }
    }

    /// Waits for a connection and welcomes the worker.
    pub(crate) async fn welcome(&mut self) -> Link {
        let mut link = self.connection().await;
        link.welcome(Duration::from_secs(900)).await;
        link
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.directory.path().join(below)
    }

    /// The staging directory of a job's first attempt.
    pub(crate) fn staging(&self, fence: &proto::Fence) -> PathBuf {
        let proto::Fence { job, attempt, executor, .. } = fence;
        Volumes::new(self.path("compose")).staging_of(&tutti_job::Fence {
            job: *job,
            attempt: *attempt,
            executor: *executor,
        })
    }

    /// An offer of a job that does what `script` says, with an input `in` that is `hello`.
    pub(crate) fn offer(&self, link: &Link, job: u32, script: serde_json::Value) -> proto::Offer {
        let volumes = Volumes::new(self.path("compose"));
        let digest = Digest::of(b"hello");
        let blob = volumes.blob(&digest);
        // Written once: a job may be reading it.
        if !blob.exists() {
            std::fs::create_dir_all(blob.parent().unwrap()).unwrap();
            std::fs::write(&blob, "hello").unwrap();
        }
        let output = if script["do"] == "link" {
            OutputSpec::directory("tree", &LogicalPath::new(Root::Compose, "x").unwrap())
        } else {
            OutputSpec::file("out")
        };
        let spec = JobSpec::new(JobKind::Checksum, &script, vec![Input::new("in", digest)], vec![output]).unwrap();
        proto::Offer {
            fence: Some(proto::Fence { compose_id: "C-1".into(), job, attempt: 1, executor: link.hello.incarnation }),
            kind: "checksum".into(),
            spec: spec.encode_canonical(),
            spec_digest: spec.key().as_bytes().to_vec(),
            job_name: format!("checksum.V{job}"),
            compose_dir: format!("file:{}", self.path("compose").display()),
            reserve: Some(proto::Resources { cpu_milli: 100, memory_bytes: 1 << 20, disk_bytes: 0 }),
            log: format!("top:logs/job{job}.log"),
            ..proto::Offer::default()
        }
    }
}

/// The example that is the child, and the worker where that is to be a process.
fn program() -> PathBuf {
    // target/debug/deps/session-… → target/debug/examples/run_job
    let own = std::env::current_exe().unwrap();
    let program = own.parent().and_then(Path::parent).unwrap().join("examples/run_job");
    assert!(program.exists(), "{} is built with the tests: run all of them", program.display());
    program
}

/// Starts a worker as a process of its own.
pub(crate) fn worker_process(directory: &Path) -> std::process::Child {
    let mut command = std::process::Command::new(program());
    command.arg("worker").arg(directory.join("socket")).arg(directory.join("state"));
    command.stdin(std::process::Stdio::null()).spawn().unwrap()
}

fn config(directory: &Path) -> WorkerConfig {
    let socket = directory.join("socket").display().to_string();
    let mut config = WorkerConfig::new("w1", socket, directory.join("state")).unwrap();
    config.executable = program();
    config.kinds = vec![JobKind::Checksum];
    config.cpu_milli = 4000;
    config.memory_bytes = 1 << 30;
    config.resend = Duration::from_millis(100);
    config.sandbox = SandboxMode::BestEffort;
    config
}

impl Link {
    pub(crate) async fn welcome(&mut self, orphan_grace: Duration) {
        self.send(Down::Welcome(proto::Welcome {
            proto: 1,
            heartbeat: prost_types::Duration::try_from(Duration::from_millis(50)).ok(),
            lease: prost_types::Duration::try_from(Duration::from_secs(5)).ok(),
            orphan_grace: prost_types::Duration::try_from(orphan_grace).ok(),
            controller_version: "test".into(),
        }))
        .await;
    }

    pub(crate) async fn send(&mut self, message: Down) {
        self.send_as(7, message).await;
    }

    pub(crate) async fn send_as(&mut self, epoch: u64, message: Down) {
        self.sequence += 1;
        let response = SessionResponse { sequence: self.sequence, epoch, message: Some(message) };
        timeout(DEADLINE, self.down.send(Ok(response))).await.expect("room").expect("the worker listens");
    }

    /// Waits for the first message that `pick` takes; others are dropped.
    pub(crate) async fn until<T>(&mut self, what: &str, mut pick: impl FnMut(Up) -> Option<T>) -> T {
        let search = async {
            loop {
                let request = self.up.message().await.unwrap().unwrap_or_else(|| panic!("no {what}: closed"));
                if let Some(found) = request.message.and_then(&mut pick) {
                    return found;
                }
            }
        };
        timeout(DEADLINE, search).await.unwrap_or_else(|_| panic!("no {what} within {DEADLINE:?}"))
    }

    pub(crate) async fn accepted(&mut self) -> proto::Fence {
        self.until("Accept", |message| match message {
            Up::Accept(accept) => accept.fence,
            Up::Reject(reject) => panic!("rejected: {}", reject.reason),
            _ => None,
        })
        .await
    }

    pub(crate) async fn rejected(&mut self) -> proto::Reject {
        self.until("Reject", |message| if let Up::Reject(reject) = message { Some(reject) } else { None }).await
    }

    pub(crate) async fn outcome(&mut self) -> Outcome {
        self.until("Outcome", |message| if let Up::Outcome(outcome) = message { Some(outcome) } else { None }).await
    }

    pub(crate) async fn phase(&mut self, phase: &str) {
        self.until(phase, |message| match message {
            Up::Progress(progress) => progress.jobs.iter().any(|job| job.phase == phase).then_some(()),
            Up::Sync(sync) => sync.running.iter().any(|job| job.phase == phase).then_some(()),
            _ => None,
        })
        .await;
    }

    pub(crate) async fn sync(&mut self, wanted: impl Fn(&proto::Sync) -> bool) -> proto::Sync {
        self.until("Sync", |message| match message {
            Up::Sync(sync) if wanted(&sync) => Some(sync),
            _ => None,
        })
        .await
    }

    /// Offers a job and waits for its outcome, which is committed.
    pub(crate) async fn run(&mut self, offer: proto::Offer) -> Outcome {
        let fence = offer.fence.clone();
        self.send(Down::Offer(offer)).await;
        let outcome =
            self.until("Outcome", |up| if let Up::Outcome(o) = up { (o.fence == fence).then_some(o) } else { None });
        let outcome = outcome.await;
        self.send(Down::Commit(proto::Commit { fence })).await;
        outcome
    }
}

/// Waits until something holds.
pub(crate) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {what}"));
}
