//! `tutti compose`, killed, and gone on with by `--resume`.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use tutti_controller::history;

use super::{Case, EPOCH, Environment, FIXED, ID, Survey, Victim, judge};
use crate::{
    compose::{Compose, Run},
    program::{Ended, LIMIT, kill_group, log_file, run as run_command, tutti},
    scratch::read,
};

/// Times that a compose is gone on with before that is a fault.
const RESUMES: usize = 3;
/// What a shell calls the end by SIGKILL.
const KILLED: i32 = 128 + 9;
/// How often a program is looked at that somebody attends.
const POLL: Duration = Duration::from_millis(5);

/// The command that begins the compose in `target`.
fn beginning(config: &Path, target: &Path) -> Command {
    let run = Run::default().with(&FIXED).with(&["--format", "json", "--jobs", "2"]);
    run.env("SOURCE_DATE_EPOCH", EPOCH).command(config, target)
}

/// The command that goes on with it.
fn resuming(target: &Path) -> Command {
    let mut command = tutti(["compose", "--resume", ID, "--format", "json", "--jobs", "2", "--target-dir"]);
    command.arg(target);
    command
}

/// The command that runs again what failed.
pub(super) fn retrying(target: &Path) -> Command {
    let mut command = tutti(["retry", "--format", "json", "--target-dir"]);
    command.arg(target).arg(ID);
    command
}

/// Begins the compose in `target` and waits for the end of the program.
#[must_use]
pub fn start(config: &Path, target: &Path, environment: &Environment) -> Ended {
    run_command(with(beginning(config, target), environment))
}

pub(super) fn with(mut command: Command, environment: &Environment) -> Command {
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command
}

/// Begins the compose, and goes on with it until the program ends by itself: how it ended, and how often it was killed.
///
/// Each process has the `environment` that is asked for, and is run by `attend`.
///
/// # Errors
/// When it neither ends with 0 or 1 nor is killed, or a compose that was accepted is lost.
pub(super) fn compose(
    config: &Path,
    target: &Path,
    mut environment: impl FnMut() -> Environment,
    mut attend: impl FnMut(Command) -> Ended,
) -> Result<(Ended, usize), String> {
    let mut ended = attend(with(beginning(config, target), &environment()));
    let mut killed = 0;
    for _ in 0..RESUMES {
        if ended.status != KILLED {
            break;
        }
        killed += 1;
        ended = attend(with(resuming(target), &environment()));
        if ended.status == 1 && not_accepted(&ended) {
            let top = target.join(ID);
            if !history::read(&top).map_err(|error| error.to_string())?.lines.is_empty() {
                return Err(format!("it was accepted and is not known: {}", ended.text()));
            }
            // Nobody was told that it is accepted: the user begins anew.
            let _ = fs::remove_dir_all(&top);
            ended = attend(with(beginning(config, target), &environment()));
        }
    }
    if !matches!(ended.status, 0 | 1) || ended.stderr.contains("panicked at") {
        return Err(ended.text());
    }
    Ok((ended, killed))
}

fn not_accepted(ended: &Ended) -> bool {
    // The directory has no state, or the state has no such compose.
    ended.stderr.contains("is only the beginning of a compose")
}

/// Runs `tutti retry`, and goes on until the compose is done: how that ended, and how often a program was killed.
///
/// # Errors
/// When it does not succeed.
pub(super) fn retry(target: &Path, mut environment: impl FnMut() -> Environment) -> Result<(Ended, usize), String> {
    let mut ended = run_command(with(retrying(target), &environment()));
    let mut killed = 0;
    for _ in 0..RESUMES {
        if ended.status != KILLED {
            break;
        }
        killed += 1;
        ended = run_command(with(resuming(target), &environment()));
        if ended.status == 1 {
            // It was killed before the retry was stored: the bad end stands, and the user asks again.
            ended = run_command(with(retrying(target), &environment()));
        }
    }
    if ended.status != 0 || ended.stderr.contains("panicked at") { Err(ended.text()) } else { Ok((ended, killed)) }
}

/// Runs a program to its end; meanwhile `look` sees what it has written so far.
pub(super) fn attended(mut command: Command, directory: &Path, mut look: impl FnMut(&str)) -> Ended {
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    let (out, err) = (directory.join("attended.out"), directory.join("attended.err"));
    command.process_group(0).stdin(Stdio::null()).stdout(log_file(&out)).stderr(log_file(&err));
    let what = format!("{command:?}");
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {what}: {error}"));
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap_or_else(|error| panic!("cannot wait for {what}: {error}")) {
            break status;
        }
        if begun.elapsed() > LIMIT {
            kill_group(child.id());
            let _ = child.wait();
            panic!("not done within {LIMIT:?}: {what}\n{}\n{}", read(&out), read(&err));
        }
        look(&read(&out));
        std::thread::sleep(POLL);
    };
    let status = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    Ended { what, status, stdout: read(&out), stderr: read(&err) }
}

/// Runs a case; whether its point was passed.
///
/// # Errors
/// What is wrong at the end.
pub fn run(survey: &Survey, case: &Case, target: &Path) -> Result<bool, String> {
    let mut first = Some(vec![("TUTTI_FAILPOINTS".to_owned(), case.arms())]);
    let (ended, killed) = compose(survey.config(), target, || first.take().unwrap_or_default(), run_command)?;
    if ended.status != 0 {
        return Err(ended.text());
    }
    let jobs = judge::jobs_of(&ended.stdout);
    judge::judge(survey.wanted(), &Compose::open(&target.join(ID)), &jobs)?;
    if case.victim != Victim::Job {
        return Ok(killed > 0);
    }
    let attempts = case.job.as_ref().and_then(|job| jobs.get(job)?["attempts"].as_array()).map_or(0, Vec::len);
    Ok(attempts > 1)
}
