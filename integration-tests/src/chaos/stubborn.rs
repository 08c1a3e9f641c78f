//! R10: who cancels need not wait long, and what was cancelled is dead. Process trees that resist are in the worker's
//! tests (`r10_cancel_kills_the_whole_family…`), as no job of Tutti starts any.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::{
    Sample, histories,
    silence::{HELD, Held},
};
use crate::{
    compose::Run,
    sources::Tiny,
    stream::{Live, text},
    supervised::{descendants, is_alive, wait_until},
};

/// Longest time for processes to die, here and for whatever is no measurement.
const PATIENCE: Duration = Duration::from_secs(120);

fn until_dead(begin: Instant, children: &[i32]) -> Result<Duration> {
    let dead = wait_until(PATIENCE, || !children.iter().any(|child| is_alive(*child)));
    ensure!(dead.is_some(), "processes {children:?} live on");
    Ok(begin.elapsed())
}

/// The processes of the job below a worker: it says that the job runs a moment before it starts them.
fn processes(worker: i32) -> Result<Vec<i32>> {
    let mut found = Vec::new();
    let there = wait_until(PATIENCE, || {
        found = descendants(worker);
        !found.is_empty()
    });
    ensure!(there.is_some(), "{HELD} runs without a process");
    Ok(found)
}

/// Cancels so many composes at a controller, each with a job that runs; times until the job's processes are dead.
///
/// # Errors
/// When a step does not happen.
pub fn cancel(directory: &Path, count: usize) -> Result<Sample> {
    let mut held = Held::start(directory, 2)?;
    let mut sample = Sample::default();
    for _ in 0..count {
        let (id, worker) = held.submit()?;
        let children = processes(held.farm.service(&worker)?.id())?;
        let begin = Instant::now();
        let ended = held.farm.client(&["cancel", &id]);
        ensure!(ended.status == 0, "cannot cancel: {}", ended.text());
        sample.add(until_dead(begin, &children)?);
        let over = wait_until(PATIENCE, || held.farm.show(&id)["active"] == false);
        ensure!(over.is_some(), "the cancelled compose does not end");
        ensure!(text(&held.farm.show(&id), "status") == "TERMINATED", "{}", held.farm.show(&id));
    }
    histories(directory)?;
    Ok(sample)
}

/// Interrupts so many `tutti compose`, each with a job that runs; times until all processes are dead.
///
/// # Errors
/// When a step does not happen.
pub fn interrupt(directory: &Path, count: usize) -> Result<Sample> {
    let config = Tiny::new(&directory.join("tiny")).write();
    let point = format!("job.run.before[{HELD}]=pause-file({})", directory.join("never").display());
    let mut sample = Sample::default();
    for _ in 0..count {
        let run = Run::default().with(&["--format", "json"]).env("TUTTI_FAILPOINTS", &point);
        let mut live = Live::start(run.command(&config, &directory.join("composes")));
        live.wait_for(PATIENCE, |event| text(event, "name") == HELD && text(event, "state") == "running");
        let id = i32::try_from(live.id()).unwrap_or(0);
        let mut all = processes(id)?;
        all.push(id);
        let begin = Instant::now();
        kill_process(Pid::from_raw(id).context("no process id")?, Signal::INT)?;
        let ended = live.finish(PATIENCE);
        sample.add(until_dead(begin, &all)?);
        ensure!(ended.status == 1, "{}", ended.text());
    }
    histories(directory)?;
    Ok(sample)
}
