//! Commands that ask a controller: a running one, or the state of a compose that `tutti compose` made.

use std::io::Write;

use anyhow::{Context, Result};
use tonic::transport::Channel;
use tutti_controller::plan;
use tutti_proto::compose::{
    CancelRequest, ComposeSummary, DrainWorkerRequest, ListRequest, ListWorkersRequest, LogsRequest, RetryRequest,
    ShowRequest, ShowResponse, WhyRequest, compose_service_client::ComposeServiceClient,
};

use crate::{
    args::{
        CancelArgs, DrainArgs, ListArgs, LogsArgs, OneArgs, OutputArgs, PlaceArgs, RetryArgs, SubmitArgs, TakeOverArgs,
        WatchArgs, WhyArgs,
    },
    compose,
    connect::connect,
    embedded::{self, Embedded, For, Reached, Work},
    progress::{self, Format, Reporter, Steadfast, status_word},
    report, spec, watch as follow,
};

/// Jobs named in one line.
const NAMED: usize = 20;

/// A client, and what must be ended after its use.
struct Place {
    client: ComposeServiceClient<Channel>,
    /// The compose's id.
    id: String,
    embedded: Option<Embedded>,
}

impl Place {
    /// Reaches the controller of a compose.
    async fn open(args: &PlaceArgs, take_over: &TakeOverArgs, compose_id: &str, what: For<'_>) -> Result<Self> {
        if let Some(address) = args.controller()? {
            return Ok(Self { client: connect(&address).await?, id: compose_id.to_owned(), embedded: None });
        }
        let target = args.target_dir.as_deref().context("--controller or --target-dir is needed")?;
        let id = embedded::meant(target, compose_id);
        let top = embedded::compose_dir(target, &id)?;
        if let For::Working(_) = what {
            crate::fsck::refuse_damaged(&top, &id).await?;
        }
        Ok(match embedded::reach(&top, what, take_over.get()).await? {
            Reached::Running(client) => Self { client, id, embedded: None },
            Reached::Ours(embedded) => Self { client: embedded.client.clone(), id, embedded: Some(embedded) },
        })
    }

    /// Whether the controller that answers was started to look, not to work.
    fn is_asleep(&self) -> bool {
        self.embedded.is_some()
    }

    /// Follows a compose to its end; of this process, an interrupt cancels it.
    async fn follow(&mut self, compose_id: &str, reporter: &mut dyn Reporter) -> Result<ShowResponse> {
        match &mut self.embedded {
            Some(embedded) => embedded.follow(compose_id, reporter).await,
            None => compose::follow(&mut self.client, compose_id, reporter).await,
        }
    }

    async fn close(self) -> Result<()> {
        match self.embedded {
            Some(embedded) => embedded.finish().await,
            None => Ok(()),
        }
    }
}

pub(crate) async fn submit(args: SubmitArgs) -> Result<u8> {
    let prepared = spec::prepare(&args.spec)?;
    // The controller plans too; what there is to know about it is for this user's eyes.
    let (_, plan_report) = plan::plan(&prepared.spec)?;
    err!("{}", spec::planned(&plan_report));
    let target = embedded::target(&args.target_dir)?;
    let mut client = connect(&args.client.controller).await?;
    let key = format!("{}-{}", std::process::id(), jiff::Timestamp::now().as_nanosecond());
    let request = spec::request(prepared, target.display().to_string(), key)?;
    let accepted = client.submit(request).await.context("the controller refuses the compose")?.into_inner();
    let mut reporter = progress::reporter(args.client.format, false);
    reporter.started(&accepted.compose_id, &accepted.compose_dir)?;
    if !args.wait {
        return Ok(0);
    }
    let show = follow::follow(&mut client, &accepted.compose_id, reporter.as_mut()).await?;
    compose::conclude(&show, &OutputArgs { format: args.client.format, quiet: false, strict: args.strict })
}

pub(crate) async fn list(args: ListArgs) -> Result<u8> {
    let composes = match args.place.controller()? {
        Some(address) => connect(&address).await?.list(ListRequest {}).await?.into_inner().composes,
        None => {
            let target = args.place.target_dir.as_deref().context("--controller or --target-dir is needed")?;
            listed(&embedded::target(target)?).await?
        }
    };
    match args.format {
        Format::Json => progress::print_json(&composes.iter().map(listed_object).collect::<Vec<_>>())?,
        Format::Text => {
            for compose in composes {
                outln!("{}", listed_line(&compose))?;
                if !compose.trouble.is_empty() {
                    outln!("  {}", compose.trouble)?;
                }
            }
        }
    }
    Ok(0)
}

/// Whether nothing is known of a compose but what its own files say.
fn is_found_only(compose: &ComposeSummary) -> bool {
    compose.jobs_total == 0 && compose.trouble.is_empty()
}

fn listed_line(compose: &ComposeSummary) -> String {
    let (id, status) = (&compose.compose_id, status_word(compose.status));
    if compose.jobs_total == 0 && !compose.active {
        return format!("{id:<44} {status}");
    }
    let active = match (compose.active, compose.trouble.is_empty()) {
        (true, true) => "active",
        (false, _) if compose.jobs_total > 0 => "ended",
        _ => "held",
    };
    let (done, total, failed) = (compose.jobs_done, compose.jobs_total, compose.jobs_failed);
    format!("{id:<44} {status:<20} {active:<7} {done}/{total} jobs, {failed} failed")
}

fn listed_object(compose: &ComposeSummary) -> serde_json::Value {
    let mut object = progress::compose_object(compose);
    if is_found_only(compose) {
        for name in ["active", "jobs_total", "jobs_done", "jobs_failed"] {
            object[name] = serde_json::Value::Null;
        }
    }
    object
}

/// The composes of a target directory, from their own files: jobs are known of those that run, or are shown one by one.
async fn listed(target: &std::path::Path) -> Result<Vec<ComposeSummary>> {
    let mut composes = Vec::new();
    for id in embedded::composes(target)? {
        let top = target.join(&id);
        let trouble = match embedded::running(&top).await {
            Ok(Some(mut client)) => match client.list(ListRequest {}).await {
                Ok(answer) => {
                    composes.extend(answer.into_inner().composes);
                    continue;
                }
                // It has ended since.
                Err(_) => String::new(),
            },
            Ok(None) if embedded::is_begun(&top) => "it is only the beginning of a compose".to_owned(),
            Ok(None) => String::new(),
            Err(stopped) => stopped.to_string().replace('\n', "; "),
        };
        let written = std::fs::read_to_string(top.join("STATUS")).unwrap_or_default();
        composes.push(ComposeSummary {
            status: progress::status_of(written.trim()).into(),
            compose_dir: top.display().to_string(),
            compose_id: id,
            trouble,
            ..ComposeSummary::default()
        });
    }
    Ok(composes)
}

pub(crate) async fn show(args: OneArgs) -> Result<u8> {
    let mut place = Place::open(&args.place, &args.take_over, &args.compose_id, For::Looking).await?;
    let result = place.client.show(ShowRequest { compose_id: place.id.clone() }).await;
    let asleep = place.is_asleep();
    place.close().await?;
    let show = result?.into_inner();
    match args.format {
        Format::Json => progress::print_end(&show)?,
        Format::Text => {
            out!("{}", report::render(&show))?;
            let summary = show.summary.unwrap_or_default();
            outln!("Compose dir: {}", summary.compose_dir)?;
            if !summary.trouble.is_empty() {
                outln!("Trouble: {}", summary.trouble)?;
            }
            if asleep && summary.ended.is_none() {
                outln!("{}", nobody_works(&summary.compose_id))?;
            }
        }
    }
    Ok(0)
}

pub(crate) async fn watch(args: WatchArgs) -> Result<u8> {
    let mut place = Place::open(&args.place, &args.take_over, &args.compose_id, For::Looking).await?;
    let id = place.id.clone();
    let show = if place.is_asleep() {
        // It has ended, or nobody lets it come to an end.
        let shown = place.client.show(ShowRequest { compose_id: id.clone() }).await;
        let show = shown.map(tonic::Response::into_inner).map_err(anyhow::Error::from);
        let going_on = |show: &ShowResponse| show.summary.as_ref().is_some_and(|summary| summary.ended.is_none());
        show.and_then(|show| if going_on(&show) { Err(anyhow::anyhow!(nobody_works(&id))) } else { Ok(show) })
    } else {
        let mut reporter = progress::reporter(args.format, false);
        follow::follow(&mut place.client, &id, reporter.as_mut()).await
    };
    place.close().await?;
    compose::conclude(&show?, &OutputArgs { format: args.format, quiet: false, strict: args.strict })
}

pub(crate) async fn logs(args: LogsArgs) -> Result<u8> {
    let mut place = Place::open(&args.place, &args.take_over, &args.compose_id, For::Looking).await?;
    // Where nobody works no more will come.
    let follow = args.follow && !place.is_asleep();
    if args.follow && !follow {
        errln!("{}", nobody_works(&place.id));
    }
    let request = LogsRequest { compose_id: place.id.clone(), job: args.job, offset_bytes: 0, follow };
    let result = print_log(&mut place.client, request).await;
    place.close().await?;
    result.map(|()| 0)
}

async fn print_log(client: &mut ComposeServiceClient<Channel>, request: LogsRequest) -> Result<()> {
    let mut stream = client.logs(request).await?.into_inner();
    let mut out = std::io::stdout().lock();
    while let Some(part) = stream.message().await? {
        out.write_all(&part.data)?;
        out.flush()?;
    }
    Ok(())
}

pub(crate) async fn cancel(args: CancelArgs) -> Result<u8> {
    let CancelArgs { one: args, quiet } = args;
    let mut place = Place::open(&args.place, &args.take_over, &args.compose_id, For::Changing).await?;
    let id = place.id.clone();
    let result = place.client.cancel(CancelRequest { compose_id: id.clone() }).await;
    let shown = place.client.show(ShowRequest { compose_id: id.clone() }).await;
    place.close().await?;
    result?;
    // It is cancelled, whether it can be looked at or not.
    let show = shown.map(tonic::Response::into_inner).unwrap_or_default();
    if args.format == Format::Json {
        progress::print_json(&progress::compose_object(&show.summary.clone().unwrap_or_default()))?;
    } else if !quiet {
        errln!("cancelled {id}{}", report::remains(&show));
        errln!("hint: {}", report::again(&id));
    }
    Ok(0)
}

pub(crate) async fn retry(args: RetryArgs) -> Result<u8> {
    let work = Work { jobs: None, records: args.records.get() };
    let mut place = Place::open(&args.place, &args.take_over, &args.compose_id, For::Working(&work)).await?;
    let id = place.id.clone();
    let request = RetryRequest { compose_id: id.clone(), jobs: args.jobs };
    let mut reporter = Steadfast::new(progress::reporter(args.output.format, args.output.quiet));
    let retried = place.client.retry(request).await;
    let result = match retried {
        Ok(response) => {
            if !args.output.quiet {
                match response.into_inner().jobs.as_slice() {
                    [] => errln!("{id} goes on"),
                    jobs => errln!("running again: {}", some(jobs)),
                }
            }
            place.follow(&id, &mut reporter).await
        }
        // Killed, perhaps: its jobs did not fail.
        Err(status) if place.is_asleep() && status.message().contains("STARTED") => Err(anyhow::anyhow!(
            "{}\nhint: if it was interrupted, tutti compose --resume {id} goes on",
            status.message()
        )),
        Err(status) => Err(status.into()),
    };
    place.close().await?;
    compose::conclude(&result?, &args.output)
}

/// The first of many names.
fn some(names: &[String]) -> String {
    let more = names.len().saturating_sub(NAMED);
    let named = names[..names.len() - more].join(" ");
    if more > 0 { format!("{named} and {more} more") } else { named }
}

pub(crate) async fn why(args: WhyArgs) -> Result<u8> {
    let mut place = Place::open(&args.place, &args.take_over, &args.compose_id, For::Looking).await?;
    let id = place.id.clone();
    let shown = place.client.show(ShowRequest { compose_id: id.clone() }).await;
    let result = place.client.why(WhyRequest { compose_id: id.clone(), job: args.job.clone() }).await;
    let asleep = place.is_asleep();
    place.close().await?;
    let reasons = result?.into_inner().reasons;
    let unended = |show: &ShowResponse| show.summary.as_ref().is_some_and(|summary| summary.ended.is_none());
    let left = asleep && unended(&shown?.into_inner());
    if args.format == Format::Json {
        let object = serde_json::json!({"compose_id": id, "job": args.job, "nobody_works": left, "reasons": reasons});
        progress::print_json(&object)?;
        return Ok(0);
    }
    if left {
        outln!("{}; what was stored last:", nobody_works(&id))?;
    }
    for reason in reasons {
        outln!("{reason}")?;
    }
    Ok(0)
}

fn nobody_works(id: &str) -> String {
    format!("nobody works on {id} now; hint: tutti compose --resume {id} goes on with it")
}

pub(crate) async fn drain(args: DrainArgs) -> Result<u8> {
    let mut client = connect(&args.client.controller).await?;
    if let Some(worker_id) = args.worker_id {
        client.drain_worker(DrainWorkerRequest { worker_id, undo: args.undo }).await?;
        return Ok(0);
    }
    let workers = client.list_workers(ListWorkersRequest {}).await?.into_inner().workers;
    if args.client.format == Format::Json {
        progress::print_json(&workers.iter().map(progress::worker_object).collect::<Vec<_>>())?;
        return Ok(0);
    }
    for worker in workers {
        let state = match (worker.connected, worker.draining) {
            (false, _) => "gone",
            (true, true) => "draining",
            (true, false) => "ready",
        };
        let cores = f64::from(worker.cpu_milli) / 1000.0;
        outln!("{:<32} {:<8} {state:<9} {cores} cores  {}", worker.worker_id, worker.arch, worker.running.join(", "))?;
        if !worker.connected {
            outln!("  {}", report::last_heard(&worker.last_seen))?;
        }
        for condition in &worker.conditions {
            outln!("  {condition}")?;
        }
    }
    Ok(0)
}
