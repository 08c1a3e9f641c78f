//! What a run must have come to, whatever disturbed it.

use std::collections::BTreeMap;

use serde_json::Value;
use tutti_controller::history;

use super::ID;
use crate::{
    compose::{self, Compose},
    stream::{self, result_of, text},
    tree::{self, Entry},
};

/// What an undisturbed run came to.
#[derive(Debug, Default)]
pub struct Wanted {
    /// The tree.
    pub tree: BTreeMap<String, Entry>,
    /// Names of all jobs.
    pub jobs: Vec<String>,
}

impl Wanted {
    /// What that compose came to.
    #[must_use]
    pub fn of(compose: &Compose, jobs: &BTreeMap<String, Value>) -> Self {
        Self { tree: tree::snapshot(&compose.tree("")), jobs: jobs.keys().cloned().collect() }
    }
}

/// All jobs of the last line of a JSON stream, by name.
#[must_use]
pub fn jobs_of(stdout: &str) -> BTreeMap<String, Value> {
    let events = stream::parse(stdout);
    events.iter().rev().find(|event| text(event, "event") == "end").map(compose::jobs).unwrap_or_default()
}

/// Judges a run that has ended: FINISHED, the tree of the undisturbed one, each job committed once and not run again
/// after that, and a history in which nothing is wrong.
///
/// # Errors
/// What is wrong, a line each.
pub fn judge(wanted: &Wanted, compose: &Compose, jobs: &BTreeMap<String, Value>) -> Result<(), String> {
    let mut wrong = common(compose, "FINISHED", jobs);
    let tree = tree::snapshot(&compose.tree(""));
    let added = tree.keys().filter(|path| !wanted.tree.contains_key(*path));
    let differing = wanted.tree.keys().chain(added).filter(|path| wanted.tree.get(*path) != tree.get(*path));
    for path in differing.take(5) {
        wrong.push(format!("{path} is {:?}, undisturbed {:?}", tree.get(path), wanted.tree.get(path)));
    }
    if !wanted.jobs.iter().eq(jobs.keys()) {
        wrong.push(format!("other jobs than undisturbed: {:?}", jobs.keys()));
    }
    let unfinished = |(name, job): (&String, &Value)| {
        let last = attempts(job).last().map(result_of).unwrap_or_default();
        let good = text(job, "state") == "published" && last == "committed";
        (!good).then(|| format!("{name} is {}, its last attempt {last:?}", text(job, "state")))
    };
    wrong.extend(jobs.iter().filter_map(unfinished));
    let link = std::fs::read_link(compose.target().join("latest-Matrix-1")).unwrap_or_default();
    if link.as_os_str() != ID {
        wrong.push(format!("the latest link points to {}", link.display()));
    }
    verdict(&wrong)
}

/// Judges a compose that came to a bad end, as it was meant to: that STATUS, no latest link, all jobs over, and the rest
/// as of a good one.
///
/// # Errors
/// What is wrong, a line each.
pub fn judge_bad_end(compose: &Compose, status: &str, jobs: &BTreeMap<String, Value>) -> Result<(), String> {
    let mut wrong = common(compose, status, jobs);
    if compose.target().join("latest-Matrix-1").exists() {
        wrong.push(format!("a compose that is {status} is the latest"));
    }
    let open = jobs.iter().filter(|(_, job)| !stream::OVER.contains(&text(job, "state")));
    wrong.extend(open.map(|(name, job)| format!("{name} is {}", text(job, "state"))));
    verdict(&wrong)
}

fn verdict(wrong: &[String]) -> Result<(), String> {
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// What holds at every end: STATUS is written, no job was committed twice or ran again after that, and the history is
/// in order.
fn common(compose: &Compose, status: &str, jobs: &BTreeMap<String, Value>) -> Vec<String> {
    let mut wrong = Vec::new();
    if compose.status() != status {
        wrong.push(format!("STATUS is {}, not {status}", compose.status()));
    }
    if jobs.is_empty() {
        wrong.push("no jobs are shown".to_owned());
    }
    for (name, job) in jobs {
        let results: Vec<&str> = attempts(job).map(result_of).collect();
        let place = results.iter().position(|result| *result == "committed");
        if place.is_some_and(|place| place + 1 != results.len()) {
            wrong.push(format!("{name} ran again after it was done: {results:?}"));
        }
    }
    match history::check_directory(compose.directory(), true) {
        Ok(violations) => wrong.extend(violations.iter().map(ToString::to_string)),
        Err(error) => wrong.push(format!("the history cannot be read: {error}")),
    }
    wrong
}

fn attempts(job: &Value) -> impl DoubleEndedIterator<Item = &Value> {
    job["attempts"].as_array().into_iter().flatten()
}
