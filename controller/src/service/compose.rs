//! `tutti.compose.v1.ComposeService`: what clients ask.

use std::{io, path::Path, pin::Pin, time::Duration};

use futures::Stream;
use tokio::{
    io::{AsyncReadExt, AsyncSeekExt},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tutti_proto::compose::{
    CancelRequest, CancelResponse, DrainWorkerRequest, DrainWorkerResponse, FsckRequest, FsckResponse, ListRequest,
    ListResponse, ListWorkersRequest, ListWorkersResponse, LogsRequest, LogsResponse, RetryRequest, RetryResponse,
    ShowRequest, ShowResponse, SubmitRequest, SubmitResponse, WatchRequest, WatchResponse, WhyRequest, WhyResponse,
    compose_service_server::ComposeService,
};

use crate::engine::{Handle, LogPlace};

/// The service.
#[derive(Clone)]
pub struct ComposeApi {
    handle: Handle,
}

impl ComposeApi {
    /// A service for the engine behind `handle`.
    pub fn new(handle: Handle) -> Self {
        Self { handle }
    }
}

type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Log bytes sent in one message.
const LOG_CHUNK: usize = 64 * 1024;
/// How often a followed log is looked at again.
const LOG_POLL: Duration = Duration::from_millis(250);

#[tonic::async_trait]
impl ComposeService for ComposeApi {
    type WatchStream = Streamed<WatchResponse>;
    type LogsStream = Streamed<LogsResponse>;
    type FsckStream = Streamed<FsckResponse>;

    async fn submit(&self, request: Request<SubmitRequest>) -> Result<Response<SubmitResponse>, Status> {
        Ok(Response::new(self.handle.submit(request.into_inner()).await?))
    }

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        Ok(Response::new(ListResponse { composes: self.handle.list().await? }))
    }

    async fn show(&self, request: Request<ShowRequest>) -> Result<Response<ShowResponse>, Status> {
        Ok(Response::new(self.handle.show(request.into_inner().compose_id).await?))
    }

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let receiver = self.handle.watch(request.into_inner().compose_id).await?;
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn logs(&self, request: Request<LogsRequest>) -> Result<Response<Self::LogsStream>, Status> {
        let request = request.into_inner();
        let LogPlace { path, begun, .. } = self.handle.log_path(&request.compose_id, &request.job).await?;
        let (sender, receiver) = mpsc::channel(8);
        let handle = self.handle.clone();
        self.handle.tasks().spawn("log stream", async move {
            if let Err(error) = send_log(&handle, &request, &path, &sender).await {
                let LogsRequest { compose_id, job, .. } = &request;
                let text = match error.kind() {
                    io::ErrorKind::NotFound if !begun => {
                        format!("{job} has not begun, so it has no log; hint: tutti why {compose_id} {job} says more")
                    }
                    _ => format!(
                        "cannot read the log {}: {error}; hint: tutti why {compose_id} {job} says how it ended",
                        path.display()
                    ),
                };
                let _ = sender.send(Err(Status::not_found(text))).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn cancel(&self, request: Request<CancelRequest>) -> Result<Response<CancelResponse>, Status> {
        self.handle.cancel(request.into_inner().compose_id).await?;
        Ok(Response::new(CancelResponse {}))
    }

    async fn retry(&self, request: Request<RetryRequest>) -> Result<Response<RetryResponse>, Status> {
        let request = request.into_inner();
        let jobs = self.handle.retry(request.compose_id, request.jobs).await?;
        Ok(Response::new(RetryResponse { jobs }))
    }

    async fn why(&self, request: Request<WhyRequest>) -> Result<Response<WhyResponse>, Status> {
        let request = request.into_inner();
        let reasons = self.handle.why(request.compose_id, request.job).await?;
        Ok(Response::new(WhyResponse { reasons }))
    }

    async fn fsck(&self, request: Request<FsckRequest>) -> Result<Response<Self::FsckStream>, Status> {
        let receiver = super::fsck::start(&self.handle, request.into_inner()).await?;
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn list_workers(&self, _: Request<ListWorkersRequest>) -> Result<Response<ListWorkersResponse>, Status> {
        Ok(Response::new(ListWorkersResponse { workers: self.handle.workers().await? }))
    }

    async fn drain_worker(
        &self,
        request: Request<DrainWorkerRequest>,
    ) -> Result<Response<DrainWorkerResponse>, Status> {
        let request = request.into_inner();
        self.handle.drain(request.worker_id, !request.undo).await?;
        Ok(Response::new(DrainWorkerResponse {}))
    }
}

/// Sends a log from an offset; when following, until the job is over and all is sent.
async fn send_log(
    handle: &Handle,
    request: &LogsRequest,
    path: &Path,
    sender: &mpsc::Sender<Result<LogsResponse, Status>>,
) -> io::Result<()> {
    let mut offset = request.offset_bytes;
    loop {
        // Asked before reading: bytes written before the job's end are then sure to be read.
        let over = match handle.log_path(&request.compose_id, &request.job).await {
            Ok(log) => log.over,
            Err(_) => true,
        };
        match send_from(path, offset, sender).await {
            Ok(Some(next)) => offset = next,
            Ok(None) => return Ok(()),
            // A job that has not started has no log yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound && request.follow && !over => {}
            Err(error) => return Err(error),
        }
        if over || !request.follow {
            return Ok(());
        }
        tokio::time::sleep(LOG_POLL).await;
    }
}

/// Sends what there is from `offset`; returns the next offset, or `None` when the client has gone.
async fn send_from(
    path: &Path,
    mut offset: u64,
    sender: &mpsc::Sender<Result<LogsResponse, Status>>,
) -> io::Result<Option<u64>> {
    let mut file = tokio::fs::File::open(path).await?;
    file.seek(io::SeekFrom::Start(offset)).await?;
    let mut data = vec![0; LOG_CHUNK];
    loop {
        let count = file.read(&mut data).await?;
        if count == 0 {
            return Ok(Some(offset));
        }
        let response = LogsResponse { data: data[..count].to_vec(), offset_bytes: offset };
        if sender.send(Ok(response)).await.is_err() {
            return Ok(None);
        }
        offset += count as u64;
    }
}
