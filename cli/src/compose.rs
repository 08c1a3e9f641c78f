//! `tutti compose`: everything on this machine.

use std::path::Path;

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};
use tonic::transport::Channel;
use tutti_controller::{plan, run::TakeOver, volume};
use tutti_proto::compose::{CancelRequest, ShowResponse, compose_service_client::ComposeServiceClient};

use crate::{
    args::{ComposeArgs, OutputArgs},
    embedded::{self, Embedded, For, Reached, Work},
    progress::{self, Format, Reporter, Steadfast},
    report, spec, watch,
};

/// Makes a compose and returns the exit status.
pub(crate) async fn run(args: ComposeArgs) -> Result<u8> {
    if let Some(compose_id) = &args.resume {
        return resume(&args, &embedded::meant(&args.target_dir, compose_id)).await;
    }
    let mut prepared = spec::prepare(&args.spec)?;
    // Planned before anything is made: what cannot be composed leaves nothing behind.
    let (_, plan_report) = plan::plan(&prepared.spec)?;
    err!("{}", spec::planned(&plan_report));
    let target = embedded::target(&args.target_dir)?;
    let identity = &mut prepared.spec.identity;
    let top = if identity.compose_id.is_empty() {
        let (respin, top) = volume::reserve(&target, &identity.id_prefix, identity.respin)?;
        identity.respin = respin;
        identity.compose_id = format!("{}{respin}", identity.id_prefix);
        top
    } else {
        let Some(top) = volume::reserve_exact(&target, &identity.compose_id)? else {
            bail!(
                "{} exists already\nhint: leave --compose-id out to get the next free id",
                target.join(&identity.compose_id).display()
            );
        };
        top
    };
    tutti_failpoint::pass("compose.directory.made");
    let compose_id = identity.compose_id.clone();
    let reporter = progress::reporter(args.output.format, args.output.quiet);
    let result = match Steadfast::start(reporter, &compose_id, &top.display().to_string()) {
        Ok(mut reporter) => compose(&args, prepared, &target, &top, &mut reporter).await,
        Err(error) => Err(error),
    };
    if result.is_err() && !top.join("STATUS").exists() {
        // Nothing was accepted: only our own state file is in there.
        let _ = std::fs::remove_dir_all(&top);
    }
    conclude(&result?, &args.output)
}

fn work(args: &ComposeArgs) -> Work {
    Work { jobs: args.jobs, records: args.records.get() }
}

/// Goes on with a compose whose process died or was interrupted. One that is running elsewhere is followed.
async fn resume(args: &ComposeArgs, compose_id: &str) -> Result<u8> {
    let top = embedded::compose_dir(&args.target_dir, compose_id)?;
    let reporter = progress::reporter(args.output.format, args.output.quiet);
    let mut reporter = Steadfast::start(reporter, compose_id, &top.display().to_string())?;
    crate::fsck::refuse_damaged(&top, compose_id).await?;
    let mut embedded = match embedded::reach(&top, For::Working(&work(args)), args.take_over.get()).await? {
        Reached::Ours(embedded) => embedded,
        Reached::Running(mut client) => {
            let shown = watch::follow(&mut client, compose_id, &mut reporter).await?;
            return conclude(&shown, &args.output);
        }
    };
    let result = embedded.follow(compose_id, &mut reporter).await;
    let shown = finish(embedded, result).await?;
    conclude(&shown, &args.output)
}

async fn compose(
    args: &ComposeArgs,
    prepared: tutti_controller::accept::Prepared,
    target: &Path,
    top: &Path,
    reporter: &mut dyn Reporter,
) -> Result<ShowResponse> {
    let compose_id = prepared.spec.identity.compose_id.clone();
    let mut embedded = Embedded::start(top, Some(&work(args)), TakeOver::No).await?;
    let request = spec::request(prepared, target.display().to_string(), String::new())?;
    let result = match embedded.client.submit(request).await {
        Ok(_) => embedded.follow(&compose_id, reporter).await,
        Err(status) => Err(status.into()),
    };
    finish(embedded, result).await
}

/// Ends controller and worker.
async fn finish(embedded: Embedded, result: Result<ShowResponse>) -> Result<ShowResponse> {
    let finished = embedded.finish().await;
    let summary = result.as_ref().ok().and_then(|shown| shown.summary.as_ref());
    match summary {
        Some(summary) => finished.with_context(|| {
            let status = progress::status_word(summary.status);
            format!("{} ended as {status}, and then something went wrong", summary.compose_id)
        })?,
        // Why the controller ended says more than that it is gone.
        None => finished?,
    }
    result
}

/// Follows a compose of this process; the first interrupt cancels it, the second ends the program.
pub(crate) async fn follow(
    client: &mut ComposeServiceClient<Channel>,
    compose_id: &str,
    reporter: &mut dyn Reporter,
) -> Result<ShowResponse> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen to signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen to signals")?;
    let mut canceller = client.clone();
    let follow = watch::follow(client, compose_id, reporter);
    tokio::pin!(follow);
    let mut cancelled = false;
    loop {
        // recv is cancel safe; the watch goes on being the same future.
        tokio::select! {
            result = &mut follow => return result,
            _ = interrupt.recv() => {},
            _ = terminate.recv() => {},
        }
        if cancelled {
            anyhow::bail!(
                "interrupted twice; {compose_id} is cancelled; hint: tutti retry {compose_id} runs what is not done"
            );
        }
        cancelled = true;
        errln!("cancelling {compose_id}; interrupt again to end at once");
        let request = CancelRequest { compose_id: compose_id.to_owned() };
        canceller.cancel(request).await.context("cannot cancel")?;
    }
}

/// Prints the summary and returns the exit status.
pub(crate) fn conclude(show: &ShowResponse, output: &OutputArgs) -> Result<u8> {
    let summary = show.summary.clone().unwrap_or_default();
    match output.format {
        Format::Json => progress::print_end(show)?,
        Format::Text => {
            if !output.quiet {
                out!("{}", report::render(show))?;
            }
            outln!("Compose dir: {}", summary.compose_dir)?;
            if output.quiet {
                outln!("Status: {}", progress::status_word(summary.status))?;
            }
            if let Some(hint) = report::after(&summary) {
                errln!("{hint}");
            }
        }
    }
    Ok(watch::exit_status(summary.status, output.strict))
}
