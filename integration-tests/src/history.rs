//! Histories of all composes that a test made, checked when the test's directory goes ([`crate::scratch`]).

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tutti_controller::history::{self, DIRECTORY};

use crate::supervised::wait_until;

/// Words of STATUS that stay.
const ENDS: [&str; 4] = ["FINISHED", "FINISHED_INCOMPLETE", "DOOMED", "TERMINATED"];
/// How far below a test's directory composes lie.
const DEPTH: usize = 6;
/// Most faults that are told of one compose.
const TOLD: usize = 5;
/// Longest time for a controller to write down an end that people see already.
const PATIENCE: Duration = Duration::from_secs(60);

/// Directories of composes in a directory; links are not followed.
#[must_use]
pub fn composes_below(top: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    look(top, DEPTH, &mut found);
    found.sort();
    found
}

fn look(directory: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    if directory.join("COMPOSE_ID").is_file() && directory.join(DIRECTORY).is_dir() {
        found.push(directory.to_owned());
        return;
    }
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        if depth > 0 {
            look(&entry.path(), depth - 1, found);
        }
    }
}

fn has_ended(compose: &Path) -> bool {
    ENDS.contains(&fs::read_to_string(compose.join("STATUS")).unwrap_or_default().trim())
}

/// What is wrong in a compose's history, with its directory. Its last lines may have died with a controller: only a
/// history that tells of an end is held to it.
#[must_use]
pub fn faults(compose: &Path) -> Vec<String> {
    let mut wrong: Vec<String> = match history::check_directory(compose, history::tells_end(compose)) {
        Ok(violations) => violations.iter().take(TOLD).map(ToString::to_string).collect(),
        Err(error) => vec![format!("cannot be read: {error}")],
    };
    if has_ended(compose) && history::read(compose).is_ok_and(|recorded| recorded.lines.is_empty()) {
        wrong.push("the compose has ended, and nothing is told of it".to_owned());
    }
    wrong.into_iter().map(|wrong| format!("history of {}: {wrong}", compose.display())).collect()
}

/// What is wrong in the histories of all composes below.
#[must_use]
pub fn faults_below(top: &Path) -> Vec<String> {
    composes_below(top).iter().flat_map(|compose| faults(compose)).collect()
}

/// The same while their controllers live: the histories of composes that have ended tell so soon.
#[must_use]
pub fn faults_of_living(top: &Path) -> Vec<String> {
    let mut wrong = Vec::new();
    for compose in composes_below(top) {
        if has_ended(&compose) && wait_until(PATIENCE, || history::tells_end(&compose)).is_none() {
            wrong.push(format!("history of {}: the end is not told", compose.display()));
        }
        wrong.extend(faults(&compose));
    }
    wrong
}
