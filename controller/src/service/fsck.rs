//! Comparing a compose's files with its state, for a client.

use std::ops::ControlFlow;

use tokio::sync::mpsc;
use tonic::Status;
use tutti_proto::compose as api;

use crate::{
    engine::{Handle, wire_status},
    fsck::{self, Depth, Finding, Report, Subject},
};

/// Messages that may wait for a client; progress is left out when it reads too slowly.
const QUEUE: usize = 64;

type Sender = mpsc::Sender<Result<api::FsckResponse, Status>>;

/// Checks on a blocking thread; the stream ends with the end, and the check with the client.
pub(super) async fn start(
    handle: &Handle,
    request: api::FsckRequest,
) -> Result<mpsc::Receiver<Result<api::FsckResponse, Status>>, Status> {
    let subject = handle.inspect(request.compose_id).await?;
    let depth = if request.contents { Depth::Contents } else { Depth::Stat };
    let (sender, receiver) = mpsc::channel(QUEUE);
    handle.tasks().spawn_blocking(move || check(&subject, depth, &sender));
    Ok(receiver)
}

fn check(subject: &Subject, depth: Depth, sender: &Sender) {
    let mut watch = |progress: fsck::Progress| {
        let fsck::Progress { what, done, total } = progress;
        let progress = api::FsckProgress { what: what.to_owned(), done, total };
        match sender.try_send(Ok(event(api::fsck_response::Event::Progress(progress)))) {
            Err(mpsc::error::TrySendError::Closed(_)) => ControlFlow::Break(()),
            Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => ControlFlow::Continue(()),
        }
    };
    let Some(report) = fsck::check(subject, depth, &mut watch) else { return };
    for response in responses(subject, report) {
        // A client that has gone needs no answer.
        if sender.blocking_send(Ok(response)).is_err() {
            return;
        }
    }
}

fn responses(subject: &Subject, report: Report) -> impl Iterator<Item = api::FsckResponse> {
    let end = api::FsckEnd {
        compose_dir: subject.top.display().to_string(),
        status: wire_status(subject.header.status).into(),
        running: subject.running,
        files: report.files,
        bytes: report.bytes,
    };
    let findings = report.findings.into_iter().map(|finding| api::fsck_response::Event::Finding(wire(finding)));
    findings.chain([api::fsck_response::Event::End(end)]).map(event)
}

fn event(event: api::fsck_response::Event) -> api::FsckResponse {
    api::FsckResponse { event: Some(event) }
}

fn wire(finding: Finding) -> api::FsckFinding {
    let Finding { severity, path, job, what, advice, may_pass: _ } = finding;
    api::FsckFinding { severity: severity.as_str().to_owned(), path, job, what, advice }
}
