//! R2: a compose on a farm whose processes are killed at random ends as if undisturbed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tutti_controller::history::{self, Change};

use super::Random;
use crate::{
    program::run,
    stream::{result_of, text},
    supervised::{Farm, Worker, is_alive, wait_until},
};

/// Identity of every run, so that trees are equal.
const FIXED: [&str; 5] = ["--nightly", "--compose-id", ID, "--date", "20260102"];
const ID: &str = "Chaos-1-20260102.n.0";
const EPOCH: &str = "1767312000";
/// After so long, children of a killed worker are said to live on. How long they may take is for the chaos command.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is composed, and on what.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Configuration.
    pub config: PathBuf,
    /// Workers beside the controller.
    pub workers: usize,
    /// Cores that each offers.
    pub cpus: u32,
    /// Time from a kill to the new start.
    pub restart: Duration,
    /// Longest time of a run.
    pub limit: Duration,
    /// Whether to print each kill.
    pub loud: bool,
}

/// How often progress is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Kills of one run.
#[derive(Clone, Debug)]
pub struct Kills {
    /// When, as a part of the undisturbed run, and which process (0: the controller).
    pub schedule: Vec<(f64, usize)>,
    /// Time of the undisturbed run. A run that is faster, as the machine's other load changes, is killed by its progress:
    /// once that part of its jobs is done.
    pub time: Duration,
}

impl Kills {
    /// `count` kills of random processes, spread over most of `time`.
    #[must_use]
    pub fn random(seed: u64, count: u32, processes: usize, time: Duration) -> Self {
        let mut random = Random::new(seed);
        let mut schedule: Vec<_> = (0..count)
            .map(|_| {
                let part = 0.02 + 0.83 * (random.below(1 << 20) as f64 / f64::from(1 << 20));
                (part, random.below(processes as u64) as usize)
            })
            .collect();
        schedule.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        Self { schedule, time }
    }
}

/// How a run went.
#[derive(Clone, Debug)]
pub struct Run {
    /// From the submission to STATUS.
    pub wall: Duration,
    /// The compose's directory.
    pub compose: PathBuf,
    /// What `show` said at the end.
    pub show: Value,
    /// Kills that happened while it ran, by process.
    pub killed: BTreeMap<String, u32>,
    /// Longest time from a kill until all children were dead.
    pub orphans: Duration,
}

impl Run {
    /// Attempts of all jobs that ended so.
    #[must_use]
    pub fn attempts(&self, result: &str) -> usize {
        let jobs = self.show["jobs"].as_array().into_iter().flatten();
        jobs.flat_map(attempts).filter(|attempt| result_of(attempt) == result).count()
    }

    /// Processor seconds of all attempts that committed.
    #[must_use]
    pub fn cpu(&self) -> f64 {
        let jobs = self.show["jobs"].as_array().into_iter().flatten();
        jobs.flat_map(attempts).filter_map(|attempt| attempt["cpu_ms"].as_f64()).sum::<f64>() / 1000.0
    }

    /// What is wrong with the compose itself.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut found = Vec::new();
        if text(&self.show, "status") != "FINISHED" {
            found.push(format!("status is {}", text(&self.show, "status")));
        }
        for job in self.show["jobs"].as_array().into_iter().flatten() {
            let name = text(job, "name");
            if text(job, "state") != "published" {
                found.push(format!("{name} is {}: {}", text(job, "state"), text(job, "reason")));
            }
            let results: Vec<&str> = attempts(job).map(result_of).collect();
            match results.iter().filter(|result| **result == "committed").count() {
                1 if results.last() == Some(&"committed") => {}
                1 => found.push(format!("{name} ran again after it was done: {results:?}")),
                count => found.push(format!("{name} committed {count} times: {results:?}")),
            }
        }
        match history::check_directory(&self.compose, true) {
            Ok(violations) => found.extend(violations.iter().take(5).map(|violation| format!("history: {violation}"))),
            Err(error) => found.push(format!("the history cannot be read: {error}")),
        }
        found
    }
}

fn attempts(job: &Value) -> impl Iterator<Item = &Value> {
    job["attempts"].as_array().into_iter().flatten()
}

/// Part of the jobs that are done, by the compose's history; 0 before there is one.
fn done(compose: &Path) -> f64 {
    let Ok(recorded) = history::read(compose) else { return 0.0 };
    let (mut jobs, mut committed) = (0, BTreeSet::new());
    for line in &recorded.lines {
        match &line.change {
            Change::Compose(change) => jobs = change.jobs,
            Change::Job(change) if change.committed => drop(committed.insert(change.job)),
            Change::Job(_) => {}
        }
    }
    if jobs == 0 { 0.0 } else { committed.len() as f64 / f64::from(jobs) }
}

/// Composes on a fresh farm in `directory`, disturbed by `kills`.
///
/// # Errors
/// When the farm cannot be started or does not come to an end in time, or children outlive a killed worker.
pub fn compose(plan: &Plan, directory: &Path, kills: Option<&Kills>) -> Result<Run> {
    let workers: Vec<Worker> = (1..=plan.workers)
        .map(|number| Worker { name: format!("worker-{number}"), cpus: plan.cpus, environment: vec![] })
        .collect();
    let mut farm = Farm::start(directory, &workers)?;
    let target = directory.join("composes");
    let begin = Instant::now();
    let mut command = farm.command(&["submit", "--config"]);
    command.arg(&plan.config).arg("--target-dir").arg(&target).args(FIXED).env("SOURCE_DATE_EPOCH", EPOCH);
    let ended = run(command);
    ensure!(ended.status == 0, "cannot submit: {}", ended.text());
    let compose = target.join(ID);
    let submitted = Instant::now();
    let mut schedule = kills.map(|kills| kills.schedule.clone()).unwrap_or_default();
    schedule.reverse();
    let (mut looked, mut progress) = (submitted, 0.0);
    let (mut killed, mut orphans) = (BTreeMap::new(), Duration::ZERO);
    let wall = loop {
        let status = fs::read_to_string(compose.join("STATUS")).unwrap_or_default();
        if matches!(status.trim(), "FINISHED" | "FINISHED_INCOMPLETE" | "DOOMED" | "TERMINATED") {
            break begin.elapsed();
        }
        if begin.elapsed() > plan.limit {
            bail!("not done within {:?}; all is in {}", plan.limit, directory.display());
        }
        if !schedule.is_empty() && looked.elapsed() >= LOOK {
            (looked, progress) = (Instant::now(), done(&compose));
        }
        let due =
            |part: f64| progress >= part || kills.is_some_and(|kills| begin.elapsed() >= kills.time.mul_f64(part));
        match schedule.last() {
            Some((part, process)) if due(*part) => {
                let process = *process;
                schedule.pop();
                let service = farm.services.get_mut(process).context("no such process")?;
                if plan.loud {
                    println!("    {:6.2} s kill -9 {}", submitted.elapsed().as_secs_f64(), service.name);
                }
                let children = service.kill()?;
                let begin = Instant::now();
                *killed.entry(service.name.clone()).or_insert(0) += 1;
                std::thread::sleep(plan.restart);
                service.restart()?;
                let gone = || !children.iter().any(|child| is_alive(*child));
                let name = service.name.clone();
                ensure!(wait_until(PATIENCE, gone).is_some(), "children of {name} outlived it: {children:?}");
                orphans = orphans.max(begin.elapsed());
            }
            _ => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    let mut show = Value::Null;
    let shown = wait_until(Duration::from_secs(60), || {
        show = farm.show(ID);
        show["active"] == false
    });
    ensure!(shown.is_some(), "the controller does not show an ended compose: {show}");
    Ok(Run { wall, compose, show, killed, orphans })
}
