//! R8: a job that ends its worker each time is called poisoned after three tries, and nothing else suffers.

use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use serde_json::Value;

use super::{Sample, histories};
use crate::{
    compose::jobs,
    program::run,
    sources,
    stream::{result_of, text},
    supervised::{Farm, Worker},
};

/// The job that is poison.
const POISON: &str = "createrepo.Everything.x86_64";
const ID: &str = "Demo-1-20260102.n.0";
/// Longest time of a compose of the demo distribution.
const LIMIT: Duration = Duration::from_secs(240);

/// How a compose went.
#[derive(Clone, Debug)]
pub struct Ended {
    /// What `show` said.
    pub show: Value,
    /// How long ready jobs waited for a worker, but for the poison job and those that need it.
    pub waits: Sample,
    /// How often workers had to be started again.
    pub restarts: u32,
}

/// Composes the demo distribution on so many workers, which are started again when they die.
///
/// # Errors
/// When it does not come to an end.
pub fn compose(directory: &Path, workers: usize, poison: bool) -> Result<Ended> {
    let environment = match poison {
        true => vec![("TUTTI_FAILPOINTS".to_owned(), format!("worker.attempt.running[{POISON}]=kill"))],
        false => vec![],
    };
    let workers: Vec<Worker> = (1..=workers)
        .map(|number| Worker { name: format!("worker-{number}"), cpus: 1, environment: environment.clone() })
        .collect();
    let (config, target) = (sources::demo(&directory.join("demo")), directory.join("composes"));
    let mut farm = Farm::start(&directory.join("farm"), &workers)?;
    let mut command = farm.command(&["submit", "--nightly", "--date", "20260102", "--compose-id", ID]);
    command.arg("--config").arg(config).arg("--target-dir").arg(&target);
    let ended = run(command);
    ensure!(ended.status == 0, "cannot submit: {}", ended.text());
    let begin = Instant::now();
    let show = loop {
        for service in &mut farm.services {
            service.revive()?;
        }
        let show = farm.show(ID);
        if show["active"] == false {
            break show;
        }
        ensure!(begin.elapsed() < LIMIT, "no end within {LIMIT:?}: {show}");
        std::thread::sleep(Duration::from_millis(50));
    };
    histories(&target)?;
    let restarts = farm.services.iter().map(|service| service.starts - 1).sum();
    let mut waits = Sample::default();
    for (name, job) in jobs(&show) {
        let wait = job["started_ms"].as_i64().zip(job["ready_ms"].as_i64()).map(|(started, ready)| started - ready);
        if let Some(wait) = wait.filter(|_| name != POISON) {
            waits.add(Duration::from_millis(u64::try_from(wait).unwrap_or(0)));
        }
    }
    Ok(Ended { show, waits, restarts })
}

/// Checks that the poison job, and nothing else, is blamed, after three tries on at least two workers.
///
/// # Errors
/// What is not so.
pub fn judge(ended: &Ended, workers: usize) -> Result<()> {
    let jobs = jobs(&ended.show);
    let poison = jobs.get(POISON).cloned().unwrap_or_default();
    ensure!(text(&poison, "state") == "failed", "the poison job is not failed: {poison}");
    ensure!(text(&poison, "failure_class") == "poisoned", "the poison job is not poisoned: {poison}");
    let attempts: Vec<&Value> = poison["attempts"].as_array().into_iter().flatten().collect();
    let lost: Vec<&&Value> = attempts.iter().filter(|attempt| result_of(attempt) == "lost").collect();
    ensure!(lost.len() == 3, "{} attempts lost their worker, not 3: {poison}", lost.len());
    let on: BTreeSet<&str> = lost.iter().map(|attempt| text(attempt, "worker_id")).collect();
    ensure!(on.len() >= workers.min(2), "all tries were on {on:?}");
    ensure!(on.iter().all(|worker| text(&poison, "reason").contains(worker)), "no history: {poison}");
    for (name, job) in &jobs {
        let state = text(job, "state");
        let fine = name == POISON || state == "published" || state == "skipped";
        ensure!(fine, "{name} is {state}: {job}");
    }
    let skipped = jobs.values().filter(|job| text(job, "state") == "skipped");
    for job in skipped {
        let reason = text(job, "reason");
        let dead = |need: &Value| jobs.values().any(|job| job["number"] == *need && text(job, "state") != "published");
        let needs_it = job["needs"].as_array().into_iter().flatten().any(dead);
        ensure!(needs_it, "{} was skipped though all it needs is there: {reason}", text(job, "name"));
    }
    Ok(())
}
