//! `tutti compose`, killed, and gone on with by `--resume`.

use std::{fs, path::Path};

use tutti_controller::history;

use super::{Case, EPOCH, FIXED, ID, Survey, Victim, judge};
use crate::{
    compose::{Compose, Run},
    program::{Ended, run as run_command, tutti},
};

/// Times that a compose is gone on with before that is a fault.
const RESUMES: usize = 3;

/// Begins the compose in `target` and waits for the end of the program.
#[must_use]
pub fn start(config: &Path, target: &Path, environment: &[(&str, &str)]) -> Ended {
    let mut run = Run::default().with(&FIXED).with(&["--format", "json", "--jobs", "2"]);
    run = run.env("SOURCE_DATE_EPOCH", EPOCH);
    for (name, value) in environment {
        run = run.env(name, value);
    }
    run.run(config, target)
}

fn resume(target: &Path) -> Ended {
    let mut command = tutti(["compose", "--resume", ID, "--format", "json", "--jobs", "2", "--target-dir"]);
    command.arg(target);
    run_command(command)
}

/// Runs a case; whether its point was passed.
///
/// # Errors
/// What is wrong at the end.
pub fn run(survey: &Survey, case: &Case, target: &Path) -> Result<bool, String> {
    let mut ended = start(survey.config(), target, &[("TUTTI_FAILPOINTS", &case.arms())]);
    let killed = ended.status == 128 + 9;
    for _ in 0..RESUMES {
        if ended.status == 0 {
            break;
        }
        if ended.status != 128 + 9 {
            return Err(format!("it was not killed: {}", ended.text()));
        }
        ended = resume(target);
        if ended.status == 1 && not_accepted(&ended) {
            let top = target.join(ID);
            if !history::read(&top).map_err(|error| error.to_string())?.lines.is_empty() {
                return Err(format!("it was accepted and is not known: {}", ended.text()));
            }
            // Nobody was told that it is accepted: the user begins anew.
            let _ = fs::remove_dir_all(&top);
            ended = start(survey.config(), target, &[]);
        }
    }
    if ended.status != 0 || ended.stderr.contains("panicked at") {
        return Err(ended.text());
    }
    let jobs = judge::jobs_of(&ended.stdout);
    judge::judge(survey, &Compose::open(&target.join(ID)), &jobs)?;
    if case.victim != Victim::Job {
        return Ok(killed);
    }
    let attempts = case.job.as_ref().and_then(|job| jobs.get(job)?["attempts"].as_array()).map_or(0, Vec::len);
    Ok(attempts > 1)
}

fn not_accepted(ended: &Ended) -> bool {
    // The directory has no state, or the state has no such compose.
    ended.stderr.contains("killed before the compose was accepted") || ended.stderr.contains("no compose ")
}
