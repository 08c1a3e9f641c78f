//! The connection to the leading controller: connects, says Hello, beats, and connects again.
//!
//! It holds no state of attempts. What it needs of it, the worker publishes ([`Links::hello`], [`Links::sync`]); what
//! the controller says, it passes on ([`Event`]).

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use ring::rand::SecureRandom as _;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};
use tutti_proto::worker::{
    self as proto, Hello, SessionRequest, SessionResponse, Welcome, session_request::Message as Up,
    session_response::Message as Down, worker_service_client::WorkerServiceClient,
};

use crate::{
    error::{chain, one_line},
    offer::duration,
};

/// Messages that may wait for the network. Full means a controller that does not read: the connection is given up,
/// the next one states everything again.
const OUTGOING: usize = 256;
/// Largest message either way; offers carry specs of at most 1 MiB.
const MAX_MESSAGE: usize = 16 << 20;
/// For connecting, for the stream's start and for its first message, each.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bounds of the full-jitter backoff.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// Certificates of a worker, PEM.
#[derive(Clone)]
pub struct Tls {
    /// Authorities that the controller's certificate must come from.
    pub ca: Vec<u8>,
    /// The worker's certificate chain.
    pub certificate: Vec<u8>,
    /// Its private key.
    pub key: Vec<u8>,
    /// Name that the controller's certificate must have, where it is not the endpoint's.
    pub domain: Option<String>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("domain", &self.domain).field("key", &"****").finish_non_exhaustive()
    }
}

/// What the session tells the worker.
pub(crate) enum Event {
    /// A controller welcomed this worker.
    Up { welcome: Welcome, epoch: u64, outgoing: Outgoing },
    /// A message.
    Message(SessionResponse),
    /// The connection is gone.
    Down,
}

/// The sending side of one connection. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Outgoing {
    inner: Arc<Mutex<(u64, mpsc::Sender<SessionRequest>)>>,
    broken: CancellationToken,
}

impl Outgoing {
    fn new(sender: mpsc::Sender<SessionRequest>, broken: CancellationToken) -> Self {
        Self { inner: Arc::new(Mutex::new((0, sender))), broken }
    }

    /// Queues a message. Never waits; when the queue is full the connection is given up.
    pub(crate) fn send(&self, message: Up) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.0 += 1;
        let request = SessionRequest { sequence: inner.0, message: Some(message) };
        if inner.1.try_send(request).is_err() {
            self.broken.cancel();
        }
    }
}

/// What session and worker share.
pub(crate) struct Links {
    /// What to say first; `held` and `last_epoch` change.
    pub(crate) hello: watch::Receiver<Hello>,
    /// What to say at every heartbeat.
    pub(crate) sync: watch::Receiver<proto::Sync>,
    /// Full: the session waits, and with it the controller.
    pub(crate) events: mpsc::Sender<Event>,
}

/// Where controllers are.
pub(crate) struct Route {
    pub(crate) endpoints: Vec<String>,
    pub(crate) tls: Option<Tls>,
}

/// Why a connection ended.
enum Ending {
    /// Try again at once (it was up), or after a growing pause.
    Lost(String),
    /// The controller asked for another connection.
    GoAway(Duration),
    /// The leader is elsewhere.
    Redirect(String),
}

/// Keeps a session with the leading controller until `token` is cancelled (the caller drops the future then).
pub(crate) async fn run(route: Route, links: Links, tracker: TaskTracker, token: CancellationToken) {
    let next = AtomicUsize::new(0);
    let mut hint: Option<String> = None;
    let mut failures = 0;
    loop {
        let position = next.load(Ordering::Relaxed) % route.endpoints.len().max(1);
        let Some(endpoint) = hint.take().or_else(|| route.endpoints.get(position).cloned()) else { return };
        let mut welcomed = false;
        let ending = Box::pin(connection(&endpoint, &route, &links, &tracker, &token, &mut welcomed)).await;
        if welcomed {
            failures = 0;
            if links.events.send(Event::Down).await.is_err() {
                return;
            }
        }
        let pause = match ending {
            Ending::Lost(reason) => {
                tracing::warn!(endpoint, reason, "no session with the controller");
                next.fetch_add(usize::from(!welcomed), Ordering::Relaxed);
                jitter(failures)
            }
            Ending::GoAway(pause) => pause + jitter(0),
            Ending::Redirect(leader) => {
                // Two followers that name each other must not make a busy loop.
                let pause = if failures == 0 { Duration::ZERO } else { jitter(failures) };
                hint = Some(leader);
                pause
            }
        };
        failures = failures.saturating_add(1);
        tokio::time::sleep(pause).await;
    }
}

/// Full jitter: anything between nothing and a bound that doubles with each failure.
fn jitter(failures: u32) -> Duration {
    let bound = BACKOFF.0.saturating_mul(1 << failures.min(10)).min(BACKOFF.1);
    let part = u32::try_from(random() >> 32).unwrap_or(u32::MAX);
    bound.mul_f64(f64::from(part) / f64::from(u32::MAX))
}

/// A random number from the system.
pub(crate) fn random() -> u64 {
    let mut bytes = [0; 8];
    // The system has random numbers or the program cannot make keys either; a clock is the poorest substitute.
    if ring::rand::SystemRandom::new().fill(&mut bytes).is_err() {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        return now.as_nanos() as u64 ^ u64::from(std::process::id()) << 32;
    }
    u64::from_le_bytes(bytes)
}

async fn connection(
    endpoint: &str,
    route: &Route,
    links: &Links,
    tracker: &TaskTracker,
    token: &CancellationToken,
    welcomed: &mut bool,
) -> Ending {
    // Ends with this connection, however that ends.
    let scope = token.child_token();
    let _ends = scope.clone().drop_guard();
    let (outgoing, mut incoming) = match open(endpoint, route, links, &scope).await {
        Ok(opened) => opened,
        Err(reason) => return Ending::Lost(reason),
    };
    let first = match timeout(PATIENCE, incoming.message()).await {
        Ok(Ok(Some(first))) => first,
        Ok(Ok(None)) => return Ending::Lost("closed before its first message".into()),
        Ok(Err(status)) => return Ending::Lost(said(&status)),
        Err(_) => return Ending::Lost(format!("no first message within {PATIENCE:?}")),
    };
    let newest = links.hello.borrow().last_epoch;
    if matches!(first.message, Some(Down::Welcome(_))) && first.epoch < newest {
        return Ending::Lost(format!("a controller of epoch {}, deposed by {newest}", first.epoch));
    }
    match first.message {
        Some(Down::Welcome(welcome)) if tutti_proto::WORKER_PROTOCOL.contains(&welcome.proto) => {
            let beat = duration(welcome.heartbeat.as_ref()).unwrap_or(Duration::from_secs(2));
            let beat = beat.clamp(Duration::from_millis(20), Duration::from_secs(60));
            let up = Event::Up { welcome, epoch: first.epoch, outgoing: outgoing.clone() };
            if links.events.send(up).await.is_err() {
                return Ending::Lost("the worker ended".into());
            }
            *welcomed = true;
            let beats = heartbeat(outgoing, links.sync.clone(), beat);
            drop(tutti_telemetry::task::spawn_named("heartbeat", tracker, &scope, beats));
        }
        Some(Down::Welcome(welcome)) => return Ending::Lost(format!("it speaks protocol {}", welcome.proto)),
        Some(Down::GoAway(away)) => return Ending::GoAway(pause_of(&away)),
        Some(Down::Redirect(redirect)) => return Ending::Redirect(redirect.endpoint),
        _ => return Ending::Lost("its first message is not Welcome".into()),
    }
    receive(&mut incoming, links, &scope).await
}

fn pause_of(away: &proto::GoAway) -> Duration {
    duration(away.reconnect_after.as_ref()).unwrap_or_default().min(Duration::from_secs(300))
}

/// Passes messages on until the connection ends. A dead peer is noticed by HTTP/2 pings (5 s, 5 s).
async fn receive(incoming: &mut tonic::Streaming<SessionResponse>, links: &Links, scope: &CancellationToken) -> Ending {
    loop {
        let message = tokio::select! {
            () = scope.cancelled() => return Ending::Lost("the controller does not read".into()),
            // Dropped only when the connection is given up.
            message = incoming.message() => message,
        };
        let message = match message {
            Ok(Some(message)) => message,
            Ok(None) => return Ending::Lost("closed".into()),
            Err(status) => return Ending::Lost(said(&status)),
        };
        match &message.message {
            Some(Down::GoAway(away)) => return Ending::GoAway(pause_of(away)),
            Some(Down::Redirect(redirect)) => return Ending::Redirect(redirect.endpoint.clone()),
            // Of a newer protocol than was agreed upon: neither side may guess.
            None => return Ending::Lost("it sent a message that this program does not know".into()),
            Some(_) => {}
        }
        if links.events.send(Event::Message(message)).await.is_err() {
            return Ending::Lost("the worker ended".into());
        }
    }
}

async fn heartbeat(outgoing: Outgoing, sync: watch::Receiver<proto::Sync>, beat: Duration) {
    // The worker says the first Sync itself, after the outcomes that it holds: what is neither running nor reported
    // would look lost.
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + beat, beat);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let state = sync.borrow().clone();
        outgoing.send(Up::Sync(state));
    }
}

async fn open(
    endpoint: &str,
    route: &Route,
    links: &Links,
    scope: &CancellationToken,
) -> Result<(Outgoing, tonic::Streaming<SessionResponse>), String> {
    let channel = timeout(PATIENCE, prepare(endpoint, route.tls.as_ref())?.connect())
        .await
        .map_err(|_| format!("no connection within {PATIENCE:?}"))?
        .map_err(|error| chain(&error))?;
    let mut client =
        WorkerServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE);
    let (sender, receiver) = mpsc::channel(OUTGOING);
    let outgoing = Outgoing::new(sender, scope.clone());
    let mut hello = links.hello.borrow().clone();
    hello.wall_time = Some(std::time::SystemTime::now().into());
    tutti_failpoint::pass("worker.send.hello");
    outgoing.send(Up::Hello(hello));
    let stream = timeout(PATIENCE, client.session(ReceiverStream::new(receiver)))
        .await
        .map_err(|_| format!("no session within {PATIENCE:?}"))?
        .map_err(|status| said(&status))?;
    Ok((outgoing, stream.into_inner()))
}

/// Keepalive on: a half-open connection is noticed within ten seconds, also while nothing is sent.
fn prepare(endpoint: &str, tls: Option<&Tls>) -> Result<Endpoint, String> {
    let text = if endpoint.starts_with('/') { format!("unix://{endpoint}") } else { endpoint.to_owned() };
    let mut prepared = Endpoint::from_shared(text)
        .map_err(|error| chain(&error))?
        .connect_timeout(Duration::from_secs(5))
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true);
    if let Some(tls) = tls {
        let mut config = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&tls.ca))
            .identity(Identity::from_pem(&tls.certificate, &tls.key));
        if let Some(domain) = &tls.domain {
            config = config.domain_name(domain);
        }
        prepared = prepared.tls_config(config).map_err(|error| chain(&error))?;
    }
    Ok(prepared)
}

/// What a controller, or the connection to it, answered.
fn said(status: &tonic::Status) -> String {
    match status.message() {
        "" => status.code().description().to_owned(),
        message => one_line(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_but_stay_bounded() {
        for failures in 0..40 {
            let bound = BACKOFF.0.saturating_mul(1 << failures.min(10)).min(BACKOFF.1);
            assert!(jitter(failures) <= bound);
        }
        assert_ne!(random(), random());
    }

    #[test]
    fn a_controller_that_does_not_read_is_given_up() {
        let (sender, _unread) = mpsc::channel(2);
        let broken = CancellationToken::new();
        let outgoing = Outgoing::new(sender, broken.clone());
        for _ in 0..2 {
            outgoing.send(Up::Sync(proto::Sync::default()));
            assert!(!broken.is_cancelled());
        }
        outgoing.send(Up::Sync(proto::Sync::default()));
        assert!(broken.is_cancelled());
    }

    #[test]
    fn keys_are_not_printed() {
        let tls = Tls { ca: vec![], certificate: vec![], key: b"secret".to_vec(), domain: None };
        assert!(!format!("{tls:?}").contains("115"));
    }
}
