//! What a run must have come to, whatever disturbed it.

use std::collections::BTreeMap;

use serde_json::Value;
use tutti_controller::history;

use super::{ID, Survey};
use crate::{
    compose::{self, Compose},
    stream::{self, text},
    tree,
};

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
pub fn judge(survey: &Survey, compose: &Compose, jobs: &BTreeMap<String, Value>) -> Result<(), String> {
    let mut wrong = Vec::new();
    if compose.status() != "FINISHED" {
        wrong.push(format!("STATUS is {}", compose.status()));
    }
    let tree = tree::snapshot(&compose.tree(""));
    let added = tree.keys().filter(|path| !survey.tree.contains_key(*path));
    let differing = survey.tree.keys().chain(added).filter(|path| survey.tree.get(*path) != tree.get(*path));
    for path in differing.take(5) {
        wrong.push(format!("{path} is {:?}, undisturbed {:?}", tree.get(path), survey.tree.get(path)));
    }
    if !survey.jobs.iter().eq(jobs.keys()) {
        wrong.push(format!("other jobs than undisturbed: {:?}", jobs.keys()));
    }
    for (name, job) in jobs {
        wrong.extend(attempts(name, job));
    }
    let link = std::fs::read_link(compose.target().join("latest-Matrix-1")).unwrap_or_default();
    if link.as_os_str() != ID {
        wrong.push(format!("the latest link points to {}", link.display()));
    }
    match history::check_directory(compose.directory(), true) {
        Ok(violations) => wrong.extend(violations.iter().map(ToString::to_string)),
        Err(error) => wrong.push(format!("the history cannot be read: {error}")),
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

fn attempts(name: &str, job: &Value) -> Option<String> {
    let results: Vec<&str> = job["attempts"].as_array()?.iter().map(|attempt| text(attempt, "result")).collect();
    let commits = results.iter().filter(|result| result.starts_with("committed")).count();
    let last = results.last().is_some_and(|result| result.starts_with("committed"));
    let good = text(job, "state") == "published" && commits == 1 && last;
    (!good).then(|| format!("{name} is {} after attempts {results:?}", text(job, "state")))
}
