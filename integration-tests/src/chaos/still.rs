//! R4: `tutti compose` stands still (Ctrl-Z, a laptop that sleeps) and goes on as if nothing had been.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::histories;
use crate::{
    compose::{Compose, Run, jobs},
    scratch::write,
    sources::Tiny,
    stream::{Live, text},
    supervised::wait_until,
};

const HELD: &str = "createrepo.Server.x86_64";
/// Longest time for anything that is no measurement.
const PATIENCE: Duration = Duration::from_secs(240);

/// Stops a compose for so long while one of its jobs runs; returns how long it took to its end from then on.
///
/// # Errors
/// When it does not end well, or ran the job again.
pub fn stop(directory: &Path, time: Duration) -> Result<Duration> {
    let config = Tiny::new(&directory.join("tiny")).write();
    let go = directory.join("go");
    let point = format!("job.run.before[{HELD}]=pause-file({})", go.display());
    let run = Run::default().with(&["--format", "json"]).env("TUTTI_FAILPOINTS", &point);
    let mut live = Live::start(run.command(&config, &directory.join("composes")));
    let started = live.wait_for(PATIENCE, |event| text(event, "event") == "started");
    live.wait_for(PATIENCE, |event| text(event, "name") == HELD && text(event, "state") == "running");
    let id = live.id();
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw).context("no process id")?;
    kill_process(pid, Signal::STOP)?;
    ensure!(wait_until(PATIENCE, || is_stopped(id)).is_some(), "SIGSTOP does not stop it");
    std::thread::sleep(time);
    kill_process(pid, Signal::CONT)?;
    let begin = Instant::now();
    write(&go, "");
    let ended = live.finish(PATIENCE);
    let took = begin.elapsed();
    let compose = Compose::open(Path::new(text(&started, "compose_dir")));
    ensure!((ended.status, compose.status().as_str()) == (0, "FINISHED"), "{}", ended.text());
    let held = jobs(&compose.show()).remove(HELD).unwrap_or_default();
    ensure!(held["attempts"].as_array().map(Vec::len) == Some(1), "it lost its own worker: {held}");
    histories(compose.target())?;
    Ok(took)
}

fn is_stopped(id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
}
