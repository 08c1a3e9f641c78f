//! Following one compose to its end.

use std::time::Duration;

use anyhow::{Context, Result};
use tonic::{Code, transport::Channel};
use tutti_proto::compose::{
    ComposeStatus, ShowRequest, ShowResponse, WatchRequest, compose_service_client::ComposeServiceClient,
    watch_response::Event,
};

use crate::progress::Reporter;

/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(200);
/// Streams broken in a row before giving up: 30 seconds, in which a controller is started again.
const RETRIES: u32 = 150;
/// Streams broken in a row, and how often again, before that is said.
const SAID: u32 = 5;

/// Shows events until no job of the compose is active, then returns its final state.
///
/// A broken stream is opened again; the server then lists present state first, so nothing is missed.
pub(crate) async fn follow(
    client: &mut ComposeServiceClient<Channel>,
    compose_id: &str,
    reporter: &mut dyn Reporter,
) -> Result<ShowResponse> {
    let mut broken = 0;
    loop {
        match follow_stream(client, compose_id, reporter, &mut broken).await {
            Ok(true) => break,
            Ok(false) => broken += 1,
            Err(Broken::Report(error)) => return Err(error),
            // What a controller says of the compose itself does not pass.
            Err(Broken::Stream(status))
                if matches!(status.code(), Code::NotFound | Code::PermissionDenied | Code::FailedPrecondition) =>
            {
                return Err(status).with_context(|| format!("cannot watch {compose_id}"));
            }
            Err(Broken::Stream(status)) if broken >= RETRIES => {
                return Err(status).with_context(|| {
                    format!("lost the controller while watching {compose_id}\nhint: workers go on for a while without a controller: start it again, then tutti watch {compose_id}; if it was tutti compose: tutti compose --resume {compose_id}")
                });
            }
            Err(Broken::Stream(_)) => broken += 1,
        }
        if broken == SAID || (broken > 0 && broken % (10 * SAID) == 0) {
            let left = PAUSE * (RETRIES - broken);
            errln!("the controller does not answer; trying again for {} s", left.as_secs());
        }
        tokio::time::sleep(PAUSE).await;
    }
    reporter.finish()?;
    let request = ShowRequest { compose_id: compose_id.to_owned() };
    Ok(client.show(request).await.context("cannot read the final state")?.into_inner())
}

/// Why a stream was not followed to its end.
enum Broken {
    /// The controller is gone, or refuses.
    Stream(tonic::Status),
    /// Nobody can be told.
    Report(anyhow::Error),
}

impl From<tonic::Status> for Broken {
    fn from(status: tonic::Status) -> Self {
        Self::Stream(status)
    }
}

/// Returns whether the compose came to its end.
async fn follow_stream(
    client: &mut ComposeServiceClient<Channel>,
    compose_id: &str,
    reporter: &mut dyn Reporter,
    broken: &mut u32,
) -> Result<bool, Broken> {
    let request = WatchRequest { compose_id: compose_id.to_owned() };
    let mut stream = client.watch(request).await?.into_inner();
    let mut news = false;
    while let Some(response) = stream.message().await? {
        *broken = 0;
        match response.event {
            Some(Event::Compose(summary)) => {
                reporter.compose(&summary).map_err(Broken::Report)?;
                if !summary.active {
                    return Ok(true);
                }
            }
            Some(Event::Job(job)) => reporter.job(&job, news).map_err(Broken::Report)?,
            Some(Event::CaughtUp(_)) => news = true,
            None => {}
        }
    }
    Ok(false)
}

/// Exit status of a finished compose: 0 for FINISHED and FINISHED_INCOMPLETE (2 with `--strict`), else 1.
pub(crate) fn exit_status(status: i32, strict: bool) -> u8 {
    match ComposeStatus::try_from(status).unwrap_or_default() {
        ComposeStatus::Finished => 0,
        ComposeStatus::FinishedIncomplete => {
            if strict {
                2
            } else {
                0
            }
        }
        ComposeStatus::Unspecified | ComposeStatus::Started | ComposeStatus::Doomed | ComposeStatus::Terminated => 1,
    }
}
