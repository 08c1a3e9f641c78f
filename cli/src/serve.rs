//! `tutti controller` and `tutti worker`.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tutti_controller::{
    engine::Timing,
    run::{Controller, Role},
    server::{self, Listen},
};
use tutti_telemetry::task::spawn_named;
use tutti_worker::{Shutdown, Worker, WorkerConfig};

use crate::{
    args::{ControllerArgs, WorkerArgs},
    connect::Address,
};

/// Runs a controller until SIGTERM or SIGINT.
pub(crate) async fn controller(args: ControllerArgs) -> Result<u8> {
    std::fs::create_dir_all(&args.state_dir).with_context(|| format!("cannot create {}", args.state_dir.display()))?;
    let state_dir = std::path::absolute(&args.state_dir)?;
    let listen: Vec<Listen> = if args.listen.is_empty() {
        vec![Listen::Unix(state_dir.join("run/controller"))]
    } else {
        args.listen.iter().map(|text| text.parse()).collect::<Result<_, _>>()?
    };
    let stop = CancellationToken::new();
    let tracker = TaskTracker::new();
    let token = stop.clone();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    drop(spawn_named("signals", &tracker, &stop, async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        token.cancel();
    }));
    let state = state_dir.join("state.redb");
    let controller =
        Controller::start_after(&state, args.take_over.get(), Role::Service, Timing::default(), stop).await?;
    let bound = server::bind(&listen, args.insecure_loopback).await?;
    for socket in &bound {
        outln!("listening on {}", socket.address()?)?;
    }
    controller.serve(bound, args.insecure_loopback).await?;
    Ok(0)
}

/// Runs a worker: SIGTERM lets it finish what runs; a second one, SIGINT or the limit of that end it with its jobs.
pub(crate) async fn worker(args: WorkerArgs) -> Result<u8> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let id = args.id.unwrap_or_else(|| format!("{host}-{}", std::process::id()));
    let endpoint = match &args.controller {
        Address::Unix(path) => path.display().to_string(),
        Address::Http(uri) => uri.clone(),
    };
    // Without a directory of its own, what the controller did not acknowledge is lost with the worker and done again.
    let temporary;
    let state_dir = match args.state_dir {
        Some(dir) => dir,
        None => {
            temporary = tempfile::Builder::new().prefix("tutti-worker-").tempdir()?;
            temporary.path().to_owned()
        }
    };
    let mut config = WorkerConfig::new(id, endpoint, state_dir)?;
    if let Some(cpus) = args.cpus {
        config.cpu_milli = cpus.max(1).saturating_mul(1000);
    }
    if let Some(prefix) = &args.job_prefix {
        config.set_job_prefix(prefix.split_ascii_whitespace());
    }
    config.maps = args.maps.iter().map(|text| map(text)).collect::<Result<_>>()?;
    config.records = args.records.get();
    let shutdown = Shutdown::default();
    let tracker = TaskTracker::new();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let asked = shutdown.clone();
    drop(spawn_named("signals", &tracker, &CancellationToken::new(), async move {
        tokio::select! {
            _ = interrupt.recv() => return asked.stop.cancel(),
            _ = terminate.recv() => asked.drain.cancel(),
        }
        let limit = args.drain_limit.map(|seconds| Duration::from_secs(seconds.into()));
        tokio::select! {
            _ = interrupt.recv() => {},
            _ = terminate.recv() => {}
            () = tokio::time::sleep(limit.unwrap_or(Duration::MAX)) => {}
        }
        asked.stop.cancel();
    }));
    Box::pin(Worker::run(config, shutdown)).await?;
    Ok(0)
}

fn map(text: &str) -> Result<(PathBuf, PathBuf)> {
    let Some((theirs, ours)) = text.split_once('=') else { bail!("--map {text:?}: write THEIRS=OURS") };
    if !theirs.starts_with('/') || !ours.starts_with('/') {
        bail!("--map {text:?}: both sides must be absolute paths");
    }
    Ok((theirs.into(), ours.into()))
}
