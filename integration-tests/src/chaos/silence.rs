//! R5: a worker that is cut off is suspected soon, and its jobs run elsewhere soon after. R7: what it has done meanwhile
//! counts if nobody else was given the job, and is refused if somebody was.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;

use super::{Sample, histories};
use crate::{
    program::run,
    sources::Tiny,
    stream::{result_of, text},
    supervised::{Farm, Worker, wait_until},
};

/// Longest time for anything that is no measurement.
const PATIENCE: Duration = Duration::from_secs(120);
/// The job that is held: the first of each compose.
pub const HELD: &str = "pkgset.repos";
/// Where the controller listens in a network of its own.
const TCP: &str = "127.0.0.1:7357";

/// How a worker is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Its process is killed: the connection is reset.
    Reset,
    /// Its process is stopped: the connection stays open and silent.
    Silence,
}

/// What was measured.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// From the cut until the worker shows as gone.
    pub suspected: Sample,
    /// From the cut until another worker runs its job.
    pub reassigned: Sample,
}

/// A farm with composes that stand still at their first job.
#[derive(Debug)]
pub struct Held {
    /// The farm.
    pub farm: Farm,
    directory: PathBuf,
    config: PathBuf,
    next: u32,
}

impl Held {
    /// Starts workers; each holds [`HELD`] until its file `release-NAME` exists in `directory`.
    ///
    /// # Errors
    /// When they cannot be started.
    pub fn start(directory: &Path, workers: usize) -> Result<Self> {
        let workers: Vec<Worker> =
            (1..=workers).map(|number| holding(directory, &format!("worker-{number}"))).collect();
        Self::with(directory, Farm::start(&directory.join("farm"), &workers)?)
    }

    /// Starts one worker that comes by TCP, while others and clients come by a Unix socket.
    ///
    /// # Errors
    /// When they cannot be started.
    pub fn start_by_tcp(directory: &Path) -> Result<Self> {
        let further = ["--listen", TCP, "--insecure-loopback"];
        let mut farm = Farm::start_with(&directory.join("farm"), &[], &further)?;
        farm.add_at(&holding(directory, "worker-1"), &format!("http://{TCP}"))?;
        farm.wait_for(1)?;
        Self::with(directory, farm)
    }

    fn with(directory: &Path, farm: Farm) -> Result<Self> {
        let config = Tiny::new(&directory.join("tiny")).write();
        Ok(Self { farm, directory: directory.to_owned(), config, next: 0 })
    }

    /// Submits a compose, waits until a worker holds its first job, and returns its id and that worker.
    ///
    /// # Errors
    /// When nobody takes it.
    pub fn submit(&mut self) -> Result<(String, String)> {
        let id = format!("Tiny-1-20260102.n.{}", self.next);
        self.next += 1;
        let mut command = self.farm.command(&["submit", "--nightly", "--date", "20260102", "--compose-id", &id]);
        command.arg("--config").arg(&self.config).arg("--target-dir").arg(self.directory.join("composes"));
        let ended = run(command);
        ensure!(ended.status == 0, "cannot submit: {}", ended.text());
        let mut holder = None;
        let _ = wait_until(PATIENCE, || {
            holder = holder_of(&self.farm.show(&id));
            holder.is_some()
        });
        Ok((id, holder.context("nobody runs the first job; is the program built with failpoints?")?))
    }

    /// Lets a worker's held jobs go on.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn release(&self, worker: &str) -> Result<()> {
        Ok(std::fs::write(release(&self.directory, worker), "")?)
    }

    /// The compose's directory.
    #[must_use]
    pub fn compose(&self, id: &str) -> PathBuf {
        self.directory.join("composes").join(id)
    }
}

/// A worker of that name that holds its first job.
fn holding(directory: &Path, name: &str) -> Worker {
    let point = format!("job.run.before[{HELD}]=pause-file({})", release(directory, name).display());
    Worker { name: name.to_owned(), cpus: 8, environment: vec![("TUTTI_FAILPOINTS".into(), point)] }
}

fn release(directory: &Path, worker: &str) -> PathBuf {
    directory.join(format!("release-{worker}"))
}

/// The record of the held job.
#[must_use]
pub fn held_job(show: &Value) -> Value {
    let mut jobs = show["jobs"].as_array().into_iter().flatten();
    jobs.find(|job| text(job, "name") == HELD).cloned().unwrap_or_default()
}

/// Who runs the held job.
#[must_use]
pub fn holder_of(show: &Value) -> Option<String> {
    let job = held_job(show);
    let last = job["attempts"].as_array()?.last()?;
    (text(&job, "state") == "running").then(|| text(last, "worker_id").to_owned())
}

/// Cuts off so many workers at once, each with a job, and measures.
///
/// # Errors
/// When a step does not happen at all.
pub fn round(held: &mut Held, cut: Cut, count: usize, measured: &mut Measured) -> Result<()> {
    let mut open = Vec::new();
    for _ in 0..count {
        open.push(held.submit()?);
    }
    let ids: Vec<String> = open.iter().map(|(id, _)| id.clone()).collect();
    let silences: Vec<_> = open.iter().map(|(_, worker)| (worker.clone(), suspicions(held, worker))).collect();
    let mut victims: Vec<(String, Instant)> = Vec::new();
    for (_, worker) in &open {
        if !victims.iter().any(|(known, _)| known == worker) {
            let service = held.farm.service(worker)?;
            victims.push((worker.clone(), Instant::now()));
            match cut {
                Cut::Silence => service.signal(Signal::STOP),
                Cut::Reset => drop(service.kill()?),
            }
        }
    }
    let cut_at = |worker: &str| victims.iter().find(|(known, _)| known == worker).map(|(_, at)| *at);
    let mut unsuspected: Vec<_> = victims.clone();
    let all = wait_until(PATIENCE, || {
        let workers = held.farm.workers();
        unsuspected.retain(|(worker, at)| {
            let there = workers.get(worker).is_some_and(|worker| worker["connected"] == true);
            if !there {
                measured.suspected.add(at.elapsed());
            }
            there
        });
        unsuspected.is_empty()
    });
    ensure!(all.is_some(), "never suspected: {unsuspected:?}");
    let all = wait_until(PATIENCE, || {
        open.retain(|(id, worker)| match (holder_of(&held.farm.show(id)), cut_at(worker)) {
            (Some(holder), Some(at)) if holder != *worker && cut_at(&holder).is_none() => {
                measured.reassigned.add(at.elapsed());
                false
            }
            _ => true,
        });
        open.is_empty()
    });
    ensure!(all.is_some(), "never given to others: {open:?}");
    for (worker, before) in &silences {
        // A broken connection shows at once: silence is not what tells of it. A silent one is suspected before it is lost.
        let told = suspicions(held, worker) - before;
        ensure!((told > 0) == (cut == Cut::Silence), "{cut:?}: {worker} was suspected {told} times for its silence");
    }
    for (worker, _) in &victims {
        let service = held.farm.service(worker)?;
        match cut {
            Cut::Silence => service.signal(Signal::CONT),
            Cut::Reset => service.restart()?,
        }
    }
    for id in &ids {
        let ended = held.farm.client(&["cancel", id]);
        ensure!(ended.status == 0, "cannot cancel: {}", ended.text());
    }
    let idle = wait_until(PATIENCE, || {
        let workers = held.farm.workers();
        let ready =
            |worker: &Value| worker["connected"] == true && worker["running"].as_array().is_none_or(Vec::is_empty);
        workers.len() + 1 == held.farm.services.len() && workers.values().all(ready)
    });
    ensure!(idle.is_some(), "workers are not idle after the cancellation: {:?}", held.farm.workers());
    histories(&held.directory)
}

/// How often the controller said that a worker is suspected because nothing is heard of it.
fn suspicions(held: &Held, worker: &str) -> usize {
    let named = |word: &str| word.strip_prefix("worker_id=").is_some_and(|name| name.trim_matches('"') == worker);
    let log = held.farm.log("controller");
    let lines = log.lines().filter(|line| line.contains("worker suspected: it is silent"));
    lines.filter(|line| line.split_whitespace().any(named)).count()
}

/// What became of a job whose worker was stopped past its lease, finished, and went on.
///
/// # Errors
/// When it is not as it must be.
pub fn zombie(directory: &Path, others: usize) -> Result<()> {
    late(Held::start(directory, 1)?, others, |held, worker, there| {
        held.farm.service(worker)?.signal(if there { Signal::CONT } else { Signal::STOP });
        Ok(())
    })
}

/// The same for a worker that lives on, and whose packets to and from the controller are lost. To be called in a network
/// namespace that is nobody else's.
///
/// # Errors
/// When it is not as it must be.
pub fn partition(directory: &Path, others: usize) -> Result<()> {
    late(Held::start_by_tcp(directory)?, others, |_, _, there| network(there))
}

/// Sets up the network of this namespace, or takes it down: packets vanish, and no connection is closed.
///
/// # Errors
/// When that is not allowed.
pub fn network(there: bool) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(["link", "set", "lo", if there { "up" } else { "down" }]);
    let ended = run(command);
    ensure!(ended.status == 0, "{}", ended.text());
    Ok(())
}

/// A worker finishes its job while the controller does not hear of it, past its lease, and is heard again.
fn late(mut held: Held, others: usize, heard: impl Fn(&mut Held, &str, bool) -> Result<()>) -> Result<()> {
    let directory = held.directory.clone();
    let (id, worker) = held.submit()?;
    for number in 0..others {
        held.farm.add(&holding(&directory, &format!("other-{number}")))?;
    }
    held.farm.wait_for(1 + others)?;
    heard(&mut held, &worker, false)?;
    // Its child, which is not stopped, does the job.
    held.release(&worker)?;
    let moved = wait_until(PATIENCE, || {
        let show = held.farm.show(&id);
        if others > 0 {
            return holder_of(&show).is_some_and(|holder| holder != worker);
        }
        text(&held_job(&show), "state") == "ready"
    });
    ensure!(moved.is_some(), "the job stays with a silent worker: {}", held_job(&held.farm.show(&id)));
    let staging = held.compose(&id).join("work/tutti/staging");
    heard(&mut held, &worker, true)?;
    if others > 0 {
        held.farm.wait_for(1 + others)?;
        let refused = wait_until(PATIENCE, || held.farm.log(&worker).contains("outcome refused"));
        ensure!(refused.is_some(), "{worker} is not told that it is too late");
        let show = held.farm.show(&id);
        ensure!(holder_of(&show).is_some_and(|holder| holder != worker), "the late result counted: {show}");
        held.release("other-0")?;
    }
    let mut show = Value::Null;
    let ended = wait_until(PATIENCE, || {
        show = held.farm.show(&id);
        show["active"] == false
    });
    ensure!(ended.is_some() && text(&show, "status") == "FINISHED", "the compose did not finish: {show}");
    let job = held_job(&show);
    let attempts: Vec<(&str, &str)> = job["attempts"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|attempt| (text(attempt, "worker_id"), result_of(attempt)))
        .collect();
    let expected: &[(&str, &str)] = match others {
        0 => &[("worker-1", "committed")],
        _ => &[("worker-1", "lost"), ("other-0", "committed")],
    };
    ensure!(attempts == expected, "attempts are {attempts:?}, not {expected:?}");
    // What it had made may serve the next attempt until the job is done.
    let mut left = Vec::new();
    let swept = wait_until(PATIENCE, || {
        left = staged(&staging);
        left.is_empty()
    });
    ensure!(swept.is_some(), "staging is left: {left:?}");
    histories(&directory)
}

/// Staging directories (`jJOB-aATTEMPT-EXECUTOR`).
fn staged(staging: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(staging).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with('j') && name.contains("-a")).collect()
}
