//! The tower layer before the services: policy, deadline, number of calls.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use tokio::sync::Semaphore;
use tonic::{Status, body::Body, transport::server::TcpConnectInfo, transport::server::UdsConnectInfo};
use tower::{Layer, Service};

use super::policy::{Role, row};

/// Makes [`Guard`]s.
#[derive(Clone, Debug)]
pub struct GuardLayer {
    calls: Arc<Semaphore>,
    own_uid: u32,
    insecure_loopback: bool,
}

impl GuardLayer {
    /// A guard that lets `max_calls` unary calls run at once and refuses more with RESOURCE_EXHAUSTED.
    ///
    /// Peers on the Unix socket have all roles if their uid is ours or root's. Peers over TCP have roles by their
    /// certificate; without certificates they have none, unless `insecure_loopback` gives all roles to loopback.
    pub fn new(max_calls: usize, insecure_loopback: bool) -> Self {
        let own_uid = rustix::process::geteuid().as_raw();
        Self { calls: Arc::new(Semaphore::new(max_calls)), own_uid, insecure_loopback }
    }

    fn roles(&self, extensions: &http::Extensions) -> &'static [Role] {
        if let Some(info) = extensions.get::<UdsConnectInfo>() {
            let uid = info.peer_cred.map(|cred| cred.uid());
            return if uid == Some(self.own_uid) || uid == Some(0) { &Role::ALL } else { &[] };
        }
        let loopback = extensions
            .get::<TcpConnectInfo>()
            .and_then(TcpConnectInfo::remote_addr)
            .is_some_and(|address| address.ip().is_loopback());
        if loopback && self.insecure_loopback { &Role::ALL } else { &[] }
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard { inner, layer: self.clone() }
    }
}

/// A service behind policy, deadline and limit.
#[derive(Clone, Debug)]
pub struct Guard<S> {
    inner: S,
    layer: GuardLayer,
}

impl<S, B> Service<http::Request<B>> for Guard<S>
where
    S: Service<http::Request<B>, Response = http::Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    B: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let deadline = match self.admit(&request) {
            Ok(deadline) => deadline,
            Err(status) => return Box::pin(async move { Ok(status.into_http()) }),
        };
        // The clone is the one that was not polled ready; the ready one must be used.
        let clone = self.inner.clone();
        let mut ready = std::mem::replace(&mut self.inner, clone);
        let Some(deadline) = deadline else { return Box::pin(ready.call(request)) };
        let Ok(permit) = self.layer.calls.clone().try_acquire_owned() else {
            let status = Status::resource_exhausted("too many calls at once, try again");
            return Box::pin(async move { Ok(status.into_http()) });
        };
        Box::pin(async move {
            let answer = tokio::time::timeout(deadline, ready.call(request)).await;
            drop(permit);
            answer
                .unwrap_or_else(|_| Ok(Status::deadline_exceeded(format!("no answer within {deadline:?}")).into_http()))
        })
    }
}

impl<S> Guard<S> {
    /// Returns the call's deadline, if the peer may make it.
    fn admit<B>(&self, request: &http::Request<B>) -> Result<Option<Duration>, Status> {
        let path = request.uri().path();
        let row = row(path).ok_or_else(|| Status::unimplemented(format!("no such call: {path}")))?;
        let roles = self.layer.roles(request.extensions());
        if !row.roles.iter().any(|role| roles.contains(role)) {
            return Err(Status::permission_denied(format!("{path} is for {:?}", row.roles)));
        }
        let asked = request.headers().get("grpc-timeout").and_then(|value| parse_timeout(value.to_str().ok()?));
        Ok(row.deadline.map(|limit| asked.map_or(limit, |asked| asked.min(limit))))
    }
}

/// `grpc-timeout`: at most eight digits and a unit (gRPC over HTTP/2, "Timeout").
fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_of_the_wire() {
        assert_eq!(parse_timeout("10S"), Some(Duration::from_secs(10)));
        assert_eq!(parse_timeout("250m"), Some(Duration::from_millis(250)));
        for text in ["", "S", "123456789S", "10", "é", "-1S"] {
            assert_eq!(parse_timeout(text), None, "{text}");
        }
    }

    fn call(
        path: &str,
        layer: &GuardLayer,
        prepare: impl FnOnce(&mut http::Request<()>),
    ) -> Result<Option<Duration>, Status> {
        let mut request = http::Request::builder().uri(path).body(()).unwrap();
        prepare(&mut request);
        layer.layer(()).admit(&request)
    }

    #[test]
    fn peers_without_a_role_are_refused() {
        let path = "/tutti.compose.v1.ComposeService/List";
        let layer = GuardLayer::new(1, false);
        let status = call(path, &layer, |_| {}).unwrap_err();
        assert_eq!(status.code(), tonic::Code::PermissionDenied);
        let remote = TcpConnectInfo { local_addr: None, remote_addr: Some(([127, 0, 0, 1], 9).into()) };
        let with = |request: &mut http::Request<()>| {
            request.extensions_mut().insert(remote.clone());
        };
        assert!(call(path, &layer, with).is_err());
        assert!(call(path, &GuardLayer::new(1, true), with).unwrap().is_some());
        assert_eq!(call("/other/Call", &layer, with).unwrap_err().code(), tonic::Code::Unimplemented);
    }
}
