//! Connections to a controller.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint};
use tutti_proto::compose::compose_service_client::ComposeServiceClient;

/// Where a controller listens: `unix:/path` or `http://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// Unix socket.
    Unix(PathBuf),
    /// Plain TCP (loopback).
    Http(String),
}

impl std::str::FromStr for Address {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.into()));
        }
        if text.starts_with("http://") {
            return Ok(Self::Http(text.to_owned()));
        }
        bail!("{text:?} is no controller address: write unix:/path/to/socket or http://127.0.0.1:PORT")
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Http(uri) => f.write_str(uri),
        }
    }
}

/// Longest message in either direction: a submitted spec carries its comps files.
pub(crate) const MAX_MESSAGE: usize = 64 * 1024 * 1024;

/// The process that listens on a socket is stopped: it takes connections and answers nobody.
#[derive(Debug)]
pub(crate) struct Stopped {
    process: u32,
}

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let process = self.process;
        write!(
            f,
            "process {process}, which works there, is stopped\nhint: kill -CONT {process} lets it go on; or end it by kill -KILL {process}, and go on anew"
        )
    }
}

impl std::error::Error for Stopped {}

/// How long a process may be stopped before that is said.
const STOPPED: Duration = Duration::from_secs(2);

/// Makes sure that whoever listens on a socket is not stopped.
async fn awake(path: &Path) -> Result<(), Stopped> {
    // What else is wrong with it is said by whoever connects in earnest.
    let connected = tokio::time::timeout(STOPPED, tokio::net::UnixStream::connect(path)).await;
    let Ok(Ok(stream)) = connected else { return Ok(()) };
    let process = stream.peer_cred().ok().and_then(|peer| u32::try_from(peer.pid()?).ok());
    let Some(process) = process else { return Ok(()) };
    let deadline = Instant::now() + STOPPED;
    while tutti_store::is_stopped(process) {
        if Instant::now() >= deadline {
            return Err(Stopped { process });
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Connects within ten seconds.
///
/// # Errors
/// Among others [`Stopped`], itself and in no context.
pub(crate) async fn connect(address: &Address) -> Result<ComposeServiceClient<Channel>> {
    if let Address::Unix(path) = address {
        awake(path).await?;
    }
    let channel = channel(address).await.with_context(|| {
        format!("cannot reach the controller at {address}\nhint: is `tutti controller` running, and is this its --listen address?")
    })?;
    Ok(ComposeServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE))
}

/// How long another host may be silent before it is asked for a sign of life, and then until its connection counts as
/// broken.
const ALIVE: Duration = Duration::from_secs(20);

async fn channel(address: &Address) -> Result<Channel> {
    let wait = Duration::from_secs(10);
    Ok(match address {
        Address::Http(uri) => {
            Endpoint::from_shared(uri.clone())?
                .connect_timeout(wait)
                .tcp_nodelay(true)
                .http2_keep_alive_interval(ALIVE)
                .keep_alive_timeout(ALIVE)
                .keep_alive_while_idle(true)
                .connect()
                .await?
        }
        Address::Unix(path) => {
            let path = path.clone();
            let connector = tower::service_fn(move |_: tonic::transport::Uri| {
                let path = path.clone();
                async move { Ok::<_, std::io::Error>(TokioIo::new(tokio::net::UnixStream::connect(path).await?)) }
            });
            // The URI is never resolved; the connector knows the path.
            Endpoint::from_static("http://controller").connect_timeout(wait).connect_with_connector(connector).await?
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!("unix:/run/t.sock".parse::<Address>().unwrap(), Address::Unix("/run/t.sock".into()));
        assert_eq!("http://127.0.0.1:9".parse::<Address>().unwrap().to_string(), "http://127.0.0.1:9");
        assert!("localhost:9".parse::<Address>().is_err());
    }
}
