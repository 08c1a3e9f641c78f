//! A controller and a worker as processes of their own, one of them killed and started again.

use std::{
    fs,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{Case, EPOCH, FIXED, ID, Survey, Victim, judge};
use crate::{
    compose::Compose,
    program::{Ended, LIMIT, kill_group, log_file, run as run_command, tutti},
};

/// How often processes are looked at.
const POLL: Duration = Duration::from_millis(5);

/// A process of the pair that is started again, without failpoints, when it was killed by one.
struct Part {
    name: &'static str,
    arguments: Vec<String>,
    directory: PathBuf,
    child: Child,
    killed: usize,
}

impl Part {
    fn start(name: &'static str, arguments: Vec<String>, directory: &Path, environment: &[(&str, String)]) -> Self {
        let child = spawn(name, &arguments, directory, 0, environment);
        Self { name, arguments, directory: directory.to_owned(), child, killed: 0 }
    }

    /// Starts it again if it is dead. It must have died by a failpoint, and once only.
    fn mind(&mut self, replace: bool) -> Result<(), String> {
        let status = self.child.try_wait().map_err(|error| error.to_string())?;
        let Some(status) = status else { return Ok(()) };
        if status.signal() != Some(9) || self.killed > 0 {
            let log = self.directory.join(format!("{}-{}.log", self.name, self.killed));
            return Err(format!("{} ended by itself: {status}\n{}", self.name, crate::scratch::read(&log)));
        }
        self.killed += 1;
        if replace {
            self.arguments = self.arguments.iter().map(|argument| argument.replace("worker-1", "worker-2")).collect();
        }
        self.child = spawn(self.name, &self.arguments, &self.directory, self.killed, &[]);
        Ok(())
    }

    /// Ends it in order.
    fn finish(&mut self) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            // A point on the way to the end may kill it: then it is started, and ended, once more.
            self.mind(false)?;
            if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::TERM);
            }
            let ended = loop {
                if let Some(status) = self.child.try_wait().map_err(|error| error.to_string())? {
                    break status;
                }
                if begun.elapsed() > LIMIT {
                    return Err(format!("{} does not end", self.name));
                }
                std::thread::sleep(POLL);
            };
            match ended.signal() {
                None if ended.success() => return Ok(()),
                // Before it could listen to signals.
                Some(15) => return Ok(()),
                Some(9) if self.killed == 0 => {}
                _ => return Err(format!("{} ended badly: {ended}", self.name)),
            }
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        kill_group(self.child.id());
        let _ = self.child.wait();
    }
}

fn spawn(name: &str, arguments: &[String], directory: &Path, life: usize, environment: &[(&str, String)]) -> Child {
    let mut command = tutti(arguments);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(log_file(&directory.join(format!("{name}-{life}.log"))));
    command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"))
}

struct Pair {
    controller: Part,
    worker: Part,
    address: String,
    replaced: bool,
}

impl Pair {
    fn start(directory: &Path, controller: &[(&str, String)], worker: &[(&str, String)], replaced: bool) -> Self {
        // In a directory of its own: the socket's must be 0700 and its path short.
        let address = format!("unix:{}", directory.join("run/c").display());
        let text = |parts: &[&str]| parts.iter().map(|&part| part.to_owned()).collect::<Vec<_>>();
        let path = |name: &str| directory.join(name).display().to_string();
        let arguments = text(&["controller", "--listen", &address, "--state-dir", &path("state")]);
        let controller = Part::start("controller", arguments, directory, controller);
        let (id, state) = ("worker-1", path("worker-1"));
        let arguments = ["worker", "--controller", &address, "--id", id, "--cpus", "2", "--state-dir", &state];
        let worker = Part::start("worker", text(&arguments), directory, worker);
        Self { controller, worker, address, replaced }
    }

    fn mind(&mut self) -> Result<(), String> {
        self.controller.mind(false)?;
        self.worker.mind(self.replaced)
    }

    fn client(&self, arguments: &[&str]) -> Command {
        let mut command = tutti(&arguments[..1]);
        command.args(["--controller", &self.address]).args(&arguments[1..]);
        command.env("SOURCE_DATE_EPOCH", EPOCH);
        command
    }

    /// Runs a client until it succeeds, whoever dies meanwhile; `retry` looks at its failures.
    fn insist(&mut self, arguments: &[&str], retry: impl Fn(&Ended) -> bool) -> Result<Ended, String> {
        let begun = Instant::now();
        loop {
            self.mind()?;
            let ended = self.attended(arguments)?;
            if ended.status == 0 {
                return Ok(ended);
            }
            if begun.elapsed() > LIMIT || !retry(&ended) {
                return Err(ended.text());
            }
            std::thread::sleep(POLL);
        }
    }

    /// Runs a client to its end, and starts again what dies meanwhile.
    fn attended(&mut self, arguments: &[&str]) -> Result<Ended, String> {
        let command = self.client(arguments);
        std::thread::scope(|scope| {
            let client = scope.spawn(|| run_command(command));
            while !client.is_finished() {
                self.mind()?;
                std::thread::sleep(POLL);
            }
            client.join().map_err(|_| "a client did not end".to_owned())
        })
    }

    /// Submits, and follows to the end; the last answer.
    fn compose(&mut self, config: &Path, target: &Path) -> Result<Ended, String> {
        let (config, place) = (config.display().to_string(), target.display().to_string());
        let mut submit = vec!["submit", "--config", &config, "--target-dir", &place];
        submit.extend(FIXED);
        let begun = Instant::now();
        loop {
            self.mind()?;
            let ended = self.attended(&submit)?;
            if ended.status == 0 || self.attended(&["show", ID])?.status == 0 {
                break;
            }
            if ended.stderr.contains("exists already") {
                // What a controller that died had begun; it knows nothing of it.
                let known = self.insist(&["list"], |_| true)?.stdout.contains(ID);
                if !known {
                    let _ = fs::remove_dir_all(target.join(ID));
                }
            }
            if begun.elapsed() > LIMIT {
                return Err(ended.text());
            }
            std::thread::sleep(POLL);
        }
        self.insist(&["watch", "--format", "json", ID], |ended| {
            ended.stdout.lines().all(|line| !line.contains("\"end\""))
        })?;
        self.insist(&["show", "--format", "json", ID], |_| true)
    }
}

fn judge_end(survey: &Survey, target: &Path, shown: &Ended) -> Result<(), String> {
    let jobs = judge::jobs_of(&shown.stdout);
    judge::judge(survey, &Compose::open(&target.join(ID)), &jobs)
}

/// An undisturbed run; the logs of points of controller and worker.
#[must_use]
pub fn undisturbed(survey: &Survey) -> [PathBuf; 2] {
    let directory = survey.directory("pair");
    let logs = ["points.controller", "points.worker"].map(|name| directory.join(name));
    let [controller, worker] = [0, 1].map(|part: usize| [("TUTTI_FAILPOINT_LOG", logs[part].display().to_string())]);
    let mut pair = Pair::start(&directory, &controller, &worker, false);
    let mut run = || {
        let target = directory.join("target");
        let shown = pair.compose(survey.config(), &target)?;
        pair.worker.finish()?;
        pair.controller.finish()?;
        judge_end(survey, &target, &shown)
    };
    run().unwrap_or_else(|wrong: String| panic!("an undisturbed pair fails: {wrong}"));
    logs
}

/// Runs a case; whether its point was passed.
///
/// # Errors
/// What is wrong at the end.
pub fn run(survey: &Survey, case: &Case, directory: &Path) -> Result<bool, String> {
    let (armed, calm) = (("TUTTI_FAILPOINTS", case.arms()), ("TUTTI_FAILPOINTS", String::new()));
    let [controller, worker] = match case.victim {
        Victim::Worker => [calm, armed],
        _ => [armed, calm],
    };
    let mut pair = Pair::start(directory, &[controller], &[worker], case.replaced);
    let target = directory.join("target");
    let shown = pair.compose(survey.config(), &target)?;
    pair.worker.finish()?;
    pair.controller.finish()?;
    judge_end(survey, &target, &shown)?;
    Ok(pair.controller.killed + pair.worker.killed > 0)
}
