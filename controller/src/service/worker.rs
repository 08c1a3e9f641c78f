//! `tutti.worker.v1.WorkerService`: one session per worker.

use std::{pin::Pin, time::Duration};

use futures::Stream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tutti_proto::worker::{
    ExchangeRequest, ExchangeResponse, QueryWriteStatusRequest, QueryWriteStatusResponse, SessionRequest,
    SessionResponse, WriteRequest, WriteResponse, session_request::Message, worker_service_server::WorkerService,
};

use crate::engine::Handle;

/// Messages that may wait for a worker to read them. A worker that lets this many pile up has stopped reading: its
/// session ends, and it connects again.
pub(crate) const SESSION_QUEUE: usize = 1024;
/// A worker that says nothing for this long has gone; its lease ended long before.
const SILENCE: Duration = Duration::from_secs(60);
/// The first message is due at once.
const HELLO: Duration = Duration::from_secs(10);

/// The service.
#[derive(Clone)]
pub struct WorkerApi {
    handle: Handle,
}

impl WorkerApi {
    /// A service for the engine behind `handle`.
    pub fn new(handle: Handle) -> Self {
        Self { handle }
    }
}

type Responses = Pin<Box<dyn Stream<Item = Result<SessionResponse, Status>> + Send>>;

#[tonic::async_trait]
impl WorkerService for WorkerApi {
    type SessionStream = Responses;

    async fn session(&self, request: Request<Streaming<SessionRequest>>) -> Result<Response<Responses>, Status> {
        let mut stream = request.into_inner();
        let first = tokio::time::timeout(HELLO, stream.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no Hello within 10 s"))??;
        let Some(SessionRequest { message: Some(Message::Hello(hello)), .. }) = first else {
            return Err(Status::invalid_argument("the first message of a session must be Hello"));
        };
        let (sender, receiver) = mpsc::channel(SESSION_QUEUE);
        let session = self.handle.connect_worker(hello, sender).await?;
        let handle = self.handle.clone();
        self.handle.tasks().spawn("worker session", async move {
            // Ends when the stream does, when the worker is silent, or when the engine dropped the session.
            while let Ok(Ok(Some(message))) = tokio::time::timeout(SILENCE, stream.message()).await {
                if !handle.worker_says(session, message).await {
                    break;
                }
            }
            handle.disconnected(session).await;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn exchange(&self, _: Request<ExchangeRequest>) -> Result<Response<ExchangeResponse>, Status> {
        Err(Status::unimplemented("this controller offers sessions only"))
    }

    async fn write(&self, _: Request<Streaming<WriteRequest>>) -> Result<Response<WriteResponse>, Status> {
        Err(Status::unimplemented("this controller takes outputs from the shared volume only"))
    }

    async fn query_write_status(
        &self,
        _: Request<QueryWriteStatusRequest>,
    ) -> Result<Response<QueryWriteStatusResponse>, Status> {
        Err(Status::unimplemented("this controller takes outputs from the shared volume only"))
    }
}
