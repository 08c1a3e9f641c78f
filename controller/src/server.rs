//! Listening sockets and the gRPC server on them.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use futures::future::try_join_all;
use tokio::net::{TcpListener, UnixListener};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Server, server::TcpIncoming};
use tutti_proto::{
    compose::compose_service_server::ComposeServiceServer, worker::worker_service_server::WorkerServiceServer,
};

use crate::{
    engine::Handle,
    rpc::GuardLayer,
    service::{ComposeApi, WorkerApi},
};

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A Unix socket.
    Unix(PathBuf),
    /// TCP.
    Tcp(SocketAddr),
}

/// A text that is no address to listen on, or one that cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Not an address.
    #[error("{0:?} is not an address to listen on: write unix:/path/to/socket or 127.0.0.1:PORT")]
    Address(String),
    /// TCP needs certificates, which this version does not have, or loopback and consent.
    #[error(
        "refusing to listen on {0} without certificates: use unix:/path, or a loopback address with --insecure-loopback"
    )]
    Insecure(SocketAddr),
    /// The socket's directory lets others in.
    #[error(
        "directory {} of the socket is not private (mode {mode:04o}, owner's uid {owner}): it must be our own with mode 0700 (hint: {})",
        path.display(), private(path, *mode, *owner)
    )]
    Directory {
        /// Directory.
        path: PathBuf,
        /// Permission bits.
        mode: u32,
        /// Its owner's uid.
        owner: u32,
    },
    /// The system refused.
    #[error("cannot listen on {address}")]
    Bind {
        /// Address.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The server ended.
    #[error("gRPC server failed")]
    Serve(#[from] tonic::transport::Error),
}

impl std::str::FromStr for Listen {
    type Err = ServerError;

    fn from_str(text: &str) -> Result<Self, ServerError> {
        match text.strip_prefix("unix:") {
            Some(path) if !path.is_empty() => Ok(Self::Unix(path.into())),
            Some(_) => Err(ServerError::Address(text.to_owned())),
            None => text.parse().map(Self::Tcp).map_err(|_| ServerError::Address(text.to_owned())),
        }
    }
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "http://{address}"),
        }
    }
}

/// How a socket's directory becomes private. One that is shared by its meaning (`/tmp`) is left as it is.
fn private(path: &Path, mode: u32, owner: u32) -> String {
    let elsewhere = "name a socket in a directory that is not there yet: it is made so";
    if mode & 0o1000 == 0 && owner == rustix::process::geteuid().as_raw() {
        format!("chmod 700 {}, or {elsewhere}", path.display())
    } else {
        elsewhere.to_owned()
    }
}

/// Messages up to this size are taken and sent: a submitted spec carries its comps files.
const MAX_MESSAGE: usize = 64 * 1024 * 1024;
/// Unary calls at once.
const MAX_CALLS: usize = 512;

/// A bound socket, ready to serve.
pub enum Bound {
    /// Unix socket and its path.
    Unix(UnixListener, PathBuf),
    /// TCP socket.
    Tcp(TcpListener),
}

impl Bound {
    /// The address that clients use; with the real port when 0 was asked for.
    ///
    /// # Errors
    /// When the socket has no address.
    pub fn address(&self) -> io::Result<Listen> {
        Ok(match self {
            Self::Unix(_, path) => Listen::Unix(path.clone()),
            Self::Tcp(listener) => Listen::Tcp(listener.local_addr()?),
        })
    }
}

/// Binds every address before anything is served, so that a typo in the second is seen at once.
///
/// # Errors
/// [`ServerError`].
pub async fn bind(addresses: &[Listen], insecure_loopback: bool) -> Result<Vec<Bound>, ServerError> {
    let mut bound = Vec::new();
    for address in addresses {
        let failed = |source| ServerError::Bind { address: address.to_string(), source };
        bound.push(match address {
            Listen::Unix(path) => Bound::Unix(bind_unix(path).await?, path.clone()),
            Listen::Tcp(address) if address.ip().is_loopback() && insecure_loopback => {
                Bound::Tcp(TcpListener::bind(address).await.map_err(failed)?)
            }
            Listen::Tcp(address) => return Err(ServerError::Insecure(*address)),
        });
    }
    Ok(bound)
}

/// The socket's directory is made with mode 0700, or must be so already; a socket that nobody serves is replaced.
async fn bind_unix(path: &Path) -> Result<UnixListener, ServerError> {
    let failed = |source| ServerError::Bind { address: format!("unix:{}", path.display()), source };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !directory.exists() {
        fs::create_dir_all(directory).map_err(failed)?;
        fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).map_err(failed)?;
    }
    let metadata = fs::metadata(directory).map_err(failed)?;
    let (mode, owner) = (metadata.mode() & 0o7777, metadata.uid());
    if mode & 0o077 != 0 || owner != rustix::process::geteuid().as_raw() {
        return Err(ServerError::Directory { path: directory.to_owned(), mode, owner });
    }
    if tokio::net::UnixStream::connect(path).await.is_ok() {
        return Err(failed(io::Error::new(io::ErrorKind::AddrInUse, "another controller serves this socket")));
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    UnixListener::bind(path).map_err(failed)
}

/// Serves on all sockets until `stop`.
///
/// # Errors
/// When a server fails.
pub async fn serve(
    bound: Vec<Bound>,
    handle: Handle,
    insecure_loopback: bool,
    stop: CancellationToken,
) -> Result<(), ServerError> {
    let servers = bound.into_iter().map(|socket| serve_one(socket, handle.clone(), insecure_loopback, stop.clone()));
    try_join_all(servers).await?;
    Ok(())
}

async fn serve_one(
    socket: Bound,
    handle: Handle,
    insecure_loopback: bool,
    stop: CancellationToken,
) -> Result<(), ServerError> {
    let compose = ComposeServiceServer::new(ComposeApi::new(handle.clone()))
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    let worker = WorkerServiceServer::new(WorkerApi::new(handle))
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    let router = Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(5)))
        .http2_keepalive_timeout(Some(Duration::from_secs(5)))
        .http2_max_header_list_size(16 * 1024)
        .max_concurrent_streams(1024)
        .layer(GuardLayer::new(MAX_CALLS, insecure_loopback))
        .add_service(compose)
        .add_service(worker);
    let stopped = stop.cancelled_owned();
    match socket {
        Bound::Unix(listener, path) => {
            router.serve_with_incoming_shutdown(UnixListenerStream::new(listener), stopped).await?;
            let _ = fs::remove_file(path);
        }
        Bound::Tcp(listener) => {
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            router.serve_with_incoming_shutdown(incoming, stopped).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn open_doors_are_refused() {
        assert!(matches!(bind(&["0.0.0.0:0".parse().unwrap()], true).await, Err(ServerError::Insecure(_))));
        assert!(matches!(bind(&["127.0.0.1:0".parse().unwrap()], false).await, Err(ServerError::Insecure(_))));
        assert_eq!(bind(&["127.0.0.1:0".parse().unwrap()], true).await.unwrap().len(), 1);
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let listen = Listen::Unix(dir.path().join("s"));
        assert!(matches!(bind(std::slice::from_ref(&listen), false).await, Err(ServerError::Directory { .. })));
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let first = bind(std::slice::from_ref(&listen), false).await.unwrap();
        assert!(matches!(bind(std::slice::from_ref(&listen), false).await, Err(ServerError::Bind { .. })));
        drop(first);
        bind(&[listen], false).await.unwrap();
    }
}
