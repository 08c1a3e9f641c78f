//! A controller on a memory store, and workers that answer offers by a rule.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tutti_job::{Digest, Fence, JobSpec, Manifest, Volumes, params::LinkType, params::PkgsetArch};
use tutti_proto::{compose as api, worker as wire, worker::session_request, worker::session_response};
use tutti_store::{Campaign, Clock, MemoryStore, Operation, StateStore, StateStoreExt, SystemClock, Txn, campaign};

use crate::{
    engine::{self, Engine, Handle, LEADER_KEY, SessionId, Timing},
    spec::{ComposeSpec, Identity, Options, PackageSource, SPEC_FORMAT, Strictness, VariantArch, VariantSpec},
};

/// Longest wait for a state: a guard against hangs, nothing else.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Rig {
    target: Arc<tempfile::TempDir>,
    store: MemoryStore,
    engine: Engine,
    stop: CancellationToken,
}

impl Rig {
    pub(super) async fn start() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        Self::on(Arc::new(tempfile::tempdir().unwrap()), MemoryStore::new(clock)).await
    }

    async fn on(target: Arc<tempfile::TempDir>, store: MemoryStore) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let shared: Arc<dyn StateStore> = Arc::new(store.clone());
        Self::with(target, store, shared, clock, Duration::from_secs(3600)).await
    }

    /// A controller that sees the store through `shared`, and leads as long as it says so by that clock.
    pub(super) async fn with(
        target: Arc<tempfile::TempDir>,
        store: MemoryStore,
        shared: Arc<dyn StateStore>,
        clock: Arc<dyn Clock>,
        ttl: Duration,
    ) -> Self {
        let contest = Campaign { key: LEADER_KEY.to_vec(), identity: vec![], ttl };
        let leadership = Arc::new(campaign(Arc::clone(&shared), clock, &contest).await.unwrap());
        let stop = CancellationToken::new();
        let timing = Timing {
            lease: Duration::from_millis(300),
            reassign_delay: Duration::from_millis(100),
            ..Timing::default()
        };
        let engine = engine::start(engine::Config {
            store: shared,
            place: "memory".into(),
            leadership,
            timing,
            embedded: false,
            observes: false,
            home: None,
            stop: stop.clone(),
        })
        .await
        .unwrap();
        Self { target, store, engine, stop }
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.engine.handle
    }

    pub(super) fn target(&self) -> &Path {
        self.target.path()
    }

    /// A controller that died without a word, and another one on the same store.
    pub(super) async fn restart(self) -> Self {
        self.restart_after(|_| ()).await
    }

    /// As [`Rig::restart`]; something happens to the target directory while there is none.
    pub(super) async fn restart_after(self, meanwhile: impl FnOnce(&Path)) -> Self {
        self.stop.cancel();
        self.engine.handle.tasks().finish().await;
        // Whatever the store still had in store for the first one.
        while self.store.txn(Txn::new().and(Operation::delete(LEADER_KEY))).await.is_err() {}
        meanwhile(self.target.path());
        let rig = Self::on(self.target, self.store).await;
        // What these workers say is said once: it must not go unheard.
        let look = async {
            while rig.handle().list().await.unwrap().iter().any(|summary| summary.trouble.contains("looks first")) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, look).await.expect("the look must end");
        rig
    }

    /// Another controller takes the leader key.
    pub(super) async fn depose(&self) {
        self.store.txn(Txn::new().and(Operation::delete(LEADER_KEY))).await.unwrap();
        self.store.put(LEADER_KEY, b"other").await.unwrap();
    }

    pub(super) async fn stored(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let page = self.store.list(b"/tutti/v1/c/").await.unwrap();
        page.kvs.into_iter().map(|kv| (kv.key, kv.value)).collect()
    }

    pub(super) async fn has_ended(self) {
        let ended = tokio::time::timeout(PATIENCE, self.engine.task).await.unwrap().unwrap();
        assert!(matches!(ended, Err(engine::EngineError::Deposed)));
    }

    pub(super) async fn stop(self) {
        self.stop.cancel();
        self.engine.task.await.unwrap().unwrap();
    }

    /// As [`Rig::stop`], however it ends.
    pub(super) async fn end(self) {
        self.stop.cancel();
        drop(self.engine.task.await);
    }

    /// As [`Rig::stop`], and waits until everything is written. The directory goes on to be.
    pub(super) async fn stop_and_keep(self) -> Arc<tempfile::TempDir> {
        self.stop.cancel();
        self.engine.task.await.unwrap().unwrap();
        self.engine.handle.tasks().finish().await;
        self.target
    }

    pub(super) async fn submit(&self) -> String {
        self.submit_with_key("").await
    }

    pub(super) async fn submit_with_key(&self, key: &str) -> String {
        self.try_submit(key).await.unwrap().compose_id
    }

    pub(super) async fn try_submit(&self, key: &str) -> Result<api::SubmitResponse, tonic::Status> {
        self.try_submit_as(key, "", 1).await
    }

    /// A compose of that id, if not empty, with so many jobs that can begin at once.
    pub(super) async fn try_submit_as(
        &self,
        key: &str,
        id: &str,
        sources: usize,
    ) -> Result<api::SubmitResponse, tonic::Status> {
        self.handle().submit(self.request(key, id, sources)).await
    }

    pub(super) fn request(&self, key: &str, id: &str, sources: usize) -> api::SubmitRequest {
        let blob = b"[]".to_vec();
        let mut spec = spec(Digest::of(&blob));
        spec.identity.compose_id = id.into();
        let source = spec.sources[0].clone();
        spec.sources
            .extend((1..sources).map(|number| PackageSource { name: format!("more{number}"), ..source.clone() }));
        api::SubmitRequest {
            idempotency_key: key.to_owned(),
            spec: serde_json::to_vec(&spec).unwrap(),
            blobs: vec![api::Blob { digest: Digest::of(&blob).as_bytes().to_vec(), data: blob }],
            target_dir: self.target().display().to_string(),
            traceparent: String::new(),
        }
    }

    /// While true the store takes nothing.
    pub(super) fn refuse_to_store(&self, refuse: bool) {
        self.store.set_unavailable(refuse);
    }

    /// What becomes of the next transactions.
    pub(super) fn fail_store(&self, faults: impl IntoIterator<Item = tutti_store::TxnFault>) {
        self.store.fail_next_txns(faults);
    }

    pub(super) async fn store(&self, key: &str, value: &[u8]) {
        self.store.put(key.as_bytes(), value).await.unwrap();
    }

    /// The next transaction meets a full disk.
    pub(super) fn fill_store_once(&self) {
        self.store.fail_next_txns([tutti_store::TxnFault::NoSpace]);
    }

    pub(super) async fn until(&self, id: &str, done: impl Fn(&api::ShowResponse) -> bool) -> api::ShowResponse {
        let mut events = self.handle().watch(id.to_owned()).await.unwrap();
        let look = async {
            loop {
                let show = self.handle().show(id.to_owned()).await.unwrap();
                if done(&show) {
                    return show;
                }
                // Any event may have brought the state; a stream that ended is opened again.
                if events.recv().await.is_none() {
                    events = self.handle().watch(id.to_owned()).await.unwrap();
                }
            }
        };
        tokio::time::timeout(PATIENCE, look).await.expect("the state must come")
    }

    pub(super) async fn ended(&self, id: &str) -> api::ShowResponse {
        self.until(id, |show| show.summary.as_ref().is_some_and(|summary| !summary.active)).await
    }
}

pub(super) fn word(show: &api::ShowResponse) -> api::ComposeStatus {
    show.summary.as_ref().unwrap().status()
}

pub(super) fn state(show: &api::ShowResponse, name: &str) -> api::JobState {
    show.jobs.iter().find(|job| job.name == name).unwrap().state()
}

pub(super) fn status(top: &Path) -> String {
    fs::read_to_string(top.join("STATUS")).unwrap().trim().to_owned()
}

/// What a worker does with an offer.
#[derive(Clone, Copy)]
pub(super) enum Does {
    Everything,
    /// Accepts and reports nothing.
    AcceptOnly,
    /// As if no message to it arrived.
    Hears,
    /// Does jobs of one kind and keeps silent about others.
    Only(&'static str),
    /// Fails one job.
    AllBut(&'static str),
    /// Changes the output of one job after reporting it.
    Tamper(&'static str),
}

struct Shared {
    does: Does,
    started: Vec<String>,
    offers: BTreeMap<String, wire::Offer>,
    refused: bool,
    /// Messages from the controller.
    heard: usize,
    session: SessionId,
}

pub(super) struct Worker {
    shared: Arc<Mutex<Shared>>,
    handle: Handle,
    heart: CancellationToken,
}

impl Worker {
    pub(super) async fn connect(rig: &Rig, name: &str, incarnation: u64, does: Does) -> Self {
        Self::connect_with(rig, name, incarnation, does, vec![]).await
    }

    /// A new incarnation, whose journal has the outcome of a job that the earlier one had done; it reports that.
    pub(super) async fn succeed(rig: &Rig, earlier: &Self, name: &str, incarnation: u64, job: &str) -> Self {
        earlier.vanish();
        let offer = earlier.shared.lock().unwrap().offers.get(job).cloned().unwrap();
        rig.handle().disconnected(earlier.session()).await;
        let held = offer.fence.clone().into_iter().collect();
        let worker = Self::connect_with(rig, name, incarnation, Does::Everything, held).await;
        let outcome = work(&offer, Does::Everything, rig.target()).unwrap();
        tell(&worker.handle, worker.session(), session_request::Message::Outcome(outcome)).await;
        worker
    }

    async fn connect_with(rig: &Rig, name: &str, incarnation: u64, does: Does, held: Vec<wire::Fence>) -> Self {
        let (sender, receiver) = mpsc::channel(1024);
        let handle = rig.handle().clone();
        let hello = hello(name, incarnation);
        let session = handle.connect_worker(wire::Hello { held, ..hello.clone() }, sender).await.unwrap();
        let (started, offers) = (vec![], BTreeMap::new());
        let shared = Arc::new(Mutex::new(Shared { does, started, offers, refused: false, heard: 0, session }));
        let worker = Self { shared, handle, heart: CancellationToken::new() };
        let (shared, handle, heart) = (Arc::clone(&worker.shared), worker.handle.clone(), worker.heart.clone());
        let target = rig.target().to_owned();
        worker.handle.tasks().spawn("test worker", async move {
            heart.run_until_cancelled(live(shared, handle, hello, receiver, target)).await;
        });
        worker
    }

    fn session(&self) -> SessionId {
        self.shared.lock().unwrap().session
    }

    pub(super) fn started(&self) -> Vec<String> {
        self.shared.lock().unwrap().started.clone()
    }

    /// How many messages came.
    pub(super) fn heard(&self) -> usize {
        self.shared.lock().unwrap().heard
    }

    pub(super) fn obey(&self, does: Does) {
        self.shared.lock().unwrap().does = does;
    }

    /// Says nothing any more; the session stays open, as a cut cable leaves it.
    pub(super) fn vanish(&self) {
        self.heart.cancel();
    }

    pub(super) async fn until_started(&self, name: &str) {
        let look = async {
            while !self.started().iter().any(|started| started == name) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, look).await.expect("the job must start");
    }

    /// Reports an attempt of another session of this worker; returns whether it was refused.
    pub(super) async fn report_again(&self, earlier: &Self, name: &str) -> bool {
        let fence = earlier.shared.lock().unwrap().offers.get(name).and_then(|offer| offer.fence.clone());
        let outcome = wire::Outcome {
            fence,
            result: Some(wire::outcome::Result::Success(wire::Success::default())),
            ..wire::Outcome::default()
        };
        tell(&self.handle, self.session(), session_request::Message::Outcome(outcome)).await;
        let look = async {
            while !self.shared.lock().unwrap().refused {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, look).await.is_ok()
    }
}

/// How a worker that can do everything introduces itself.
pub(super) fn hello(name: &str, incarnation: u64) -> wire::Hello {
    let capabilities = wire::Capabilities {
        arch: "x86_64".into(),
        run_arches: vec!["x86_64".into(), "noarch".into()],
        resources: Some(wire::Resources { cpu_milli: 4000, memory_bytes: 1 << 40, disk_bytes: 0 }),
        job_kinds: tutti_job::JobKind::ALL.iter().map(|kind| kind.capability()).collect(),
        ..wire::Capabilities::default()
    };
    wire::Hello {
        worker_id: name.into(),
        incarnation,
        proto_min: 1,
        proto_max: 1,
        capabilities: Some(capabilities),
        ..wire::Hello::default()
    }
}

pub(super) async fn tell(handle: &Handle, session: SessionId, message: session_request::Message) {
    handle.worker_says(session, wire::SessionRequest { sequence: 0, message: Some(message) }).await;
}

type Receiver = mpsc::Receiver<Result<wire::SessionResponse, tonic::Status>>;

/// On a busy machine a heartbeat may come too late for the short lease of these tests: it connects again, as workers do.
async fn live(shared: Arc<Mutex<Shared>>, handle: Handle, hello: wire::Hello, mut receiver: Receiver, target: PathBuf) {
    loop {
        let session = shared.lock().unwrap().session;
        serve(&shared, &handle, session, receiver, &target).await;
        let (sender, next) = mpsc::channel(1024);
        let Ok(session) = handle.connect_worker(hello.clone(), sender).await else { return };
        shared.lock().unwrap().session = session;
        receiver = next;
    }
}

async fn serve(shared: &Mutex<Shared>, handle: &Handle, session: SessionId, mut receiver: Receiver, target: &Path) {
    let mut heartbeat = tokio::time::interval(Duration::from_millis(50));
    loop {
        tokio::select! {
            _ = heartbeat.tick() => tell(handle, session, session_request::Message::Sync(wire::Sync::default())).await,
            response = receiver.recv() => match response {
                Some(Ok(response)) => answer(shared, handle, session, response, target).await,
                _ => return,
            },
        }
    }
}

async fn answer(
    shared: &Mutex<Shared>,
    handle: &Handle,
    session: SessionId,
    response: wire::SessionResponse,
    target: &Path,
) {
    shared.lock().unwrap().heard += 1;
    match response.message {
        Some(session_response::Message::Offer(offer)) => {
            let does = {
                let mut shared = shared.lock().unwrap();
                shared.started.push(offer.job_name.clone());
                shared.offers.insert(offer.job_name.clone(), offer.clone());
                shared.does
            };
            if matches!(does, Does::Hears) {
                return;
            }
            let accept = wire::Accept { fence: offer.fence.clone() };
            tell(handle, session, session_request::Message::Accept(accept)).await;
            if let Some(outcome) = work(&offer, does, target) {
                tell(handle, session, session_request::Message::Outcome(outcome)).await;
            }
        }
        Some(session_response::Message::Refused(_)) => shared.lock().unwrap().refused = true,
        _ => {}
    }
}

/// Makes outputs with the declared names and hardly any content.
pub(super) fn work(offer: &wire::Offer, does: Does, target: &Path) -> Option<wire::Outcome> {
    let fence = offer.fence.clone()?;
    let outcome =
        |result| Some(wire::Outcome { fence: offer.fence.clone(), result: Some(result), ..Default::default() });
    match does {
        Does::AcceptOnly | Does::Hears => return None,
        Does::Only(kind) if !offer.job_name.starts_with(kind) => return None,
        Does::AllBut(name) if offer.job_name == name => {
            let failure =
                wire::Failure { class: wire::FailureClass::Input.into(), cause: "bad".into(), hint: String::new() };
            return outcome(wire::outcome::Result::Failure(failure));
        }
        _ => {}
    }
    let spec = JobSpec::decode_checked(&offer.spec).unwrap();
    let volumes = Volumes::new(target.join(&fence.compose_id));
    let staging = volumes.staging_of(&Fence { job: fence.job, attempt: fence.attempt, executor: fence.executor });
    let mut outputs = Vec::new();
    for declared in &spec.outputs {
        let (part, bytes) = if declared.is_tree() {
            ("manifests", Manifest::new(vec![]).unwrap().encode_canonical().0)
        } else {
            ("out", format!("{} of {}", declared.name, offer.job_name).into_bytes())
        };
        let path = staging.join(part).join(&declared.name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &bytes).unwrap();
        let digest = Digest::of(&bytes).as_bytes().to_vec();
        outputs.push(wire::Output { name: declared.name.clone(), digest, size_bytes: bytes.len() as u64 });
        if matches!(does, Does::Tamper(name) if name == offer.job_name) {
            fs::write(&path, b"something else").unwrap();
        }
    }
    outcome(wire::outcome::Result::Success(wire::Success { outputs, warnings: vec![] }))
}

/// One variant on one arch.
fn spec(request: Digest) -> ComposeSpec {
    let arch = PkgsetArch { repos: vec!["/nowhere".into()], multilib: false };
    let variant_arch = VariantArch {
        request,
        comps: None,
        lookaside_sources: vec![],
        repoclosure: Strictness::Lenient,
        failable: vec![],
        extra_files: vec![],
    };
    ComposeSpec {
        format: SPEC_FORMAT,
        identity: Identity {
            compose_id: String::new(),
            id_prefix: "T-1-20261122.t.".into(),
            compose_type: "test".into(),
            date: "20261122".into(),
            respin: 0,
            label: None,
            supported: false,
            release_name: "T".into(),
            release_short: "T".into(),
            release_version: "1".into(),
            release_type: "ga".into(),
            release_internal: false,
            base_product: None,
            latest_link: Some("latest-T-1".into()),
            latest_link_status: vec!["FINISHED".into()],
        },
        source_date: 1,
        options: Options {
            link_type: LinkType::Hardlink,
            hashed_directories: false,
            sigkeys: vec![None],
            exclusive_arch_considers_noarch: true,
            inherit_exclusive_arch_to_noarch: true,
            check_deps: false,
            require_all_comps_packages: false,
            filter_system_release: true,
            checksum_type: "sha256".into(),
            compression: "zstd".into(),
            revision: None,
            changelog_limit: 10,
            database: None,
            media_checksums: vec![],
            media_checksum_one_file: false,
            media_checksum_base_filename: String::new(),
            treeinfo_version: None,
            discinfo_description: None,
            fail_fast: false,
        },
        sources: vec![PackageSource {
            name: "repos".into(),
            arches: [("x86_64".to_owned(), arch)].into(),
            lookaside: false,
        }],
        variants: vec![VariantSpec {
            uid: "V".into(),
            id: "V".into(),
            name: "V".into(),
            kind: "variant".into(),
            parent: None,
            release: None,
            is_empty: false,
            arches: [("x86_64".to_owned(), variant_arch)].into(),
            source_extra_files: vec![],
        }],
        variant_lookasides: vec![],
        only: vec![],
        skip: vec![],
        settings: serde_json::Value::Null,
    }
}

/// Makes the staging directory of an attempt whose worker will not remove it, with or without a checkpoint.
pub(super) fn staging(rig: &Rig, id: &str, fence: &str, checkpoint: bool) -> std::path::PathBuf {
    let directory = rig.target().join(id).join(Volumes::STAGING).join(fence);
    fs::create_dir_all(directory.join("checkpoints")).unwrap();
    if checkpoint {
        fs::write(directory.join("checkpoints/records-000001"), b"x").unwrap();
    }
    directory
}

/// Names of the staging directories that there are.
pub(super) fn staged(rig: &Rig, id: &str) -> Vec<String> {
    let items = fs::read_dir(rig.target().join(id).join(Volumes::STAGING)).unwrap();
    items.map(|item| item.unwrap().file_name().into_string().unwrap()).collect()
}
