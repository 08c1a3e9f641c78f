//! A controller and workers as processes of their own, one of them killed and started again.

use std::{
    collections::VecDeque,
    fs,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{Case, EPOCH, Environment, FIXED, ID, Survey, Victim, judge};
use crate::{
    compose::Compose,
    program::{Ended, LIMIT, kill_group, log_file, run as run_command, tutti},
    stream,
};

/// How often processes are looked at.
const POLL: Duration = Duration::from_millis(5);

/// A process of the pair that is started again when it was killed by a failpoint.
struct Part {
    name: String,
    arguments: Vec<String>,
    directory: PathBuf,
    child: Child,
    killed: usize,
    /// Variables of its next lives. With none left it must not die.
    lives: VecDeque<Environment>,
}

impl Part {
    fn start(name: &str, arguments: Vec<String>, directory: &Path, lives: Vec<Environment>) -> Self {
        let mut lives = VecDeque::from(lives);
        let child = spawn(name, &arguments, directory, 0, &lives.pop_front().unwrap_or_default());
        Self { name: name.to_owned(), arguments, directory: directory.to_owned(), child, killed: 0, lives }
    }

    /// Starts it again if it is dead. It must have died by a failpoint, as often as it has lives.
    fn mind(&mut self, replace: bool) -> Result<(), String> {
        let status = self.child.try_wait().map_err(|error| error.to_string())?;
        let Some(status) = status else { return Ok(()) };
        let next = self.lives.pop_front().filter(|_| status.signal() == Some(9));
        let Some(environment) = next else {
            let log = self.directory.join(format!("{}-{}.log", self.name, self.killed));
            return Err(format!("{} ended by itself: {status}\n{}", self.name, crate::scratch::read(&log)));
        };
        self.killed += 1;
        if replace {
            self.arguments = self.arguments.iter().map(|argument| argument.replace("worker-1", "worker-2")).collect();
        }
        self.child = spawn(&self.name, &self.arguments, &self.directory, self.killed, &environment);
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
                Some(9) if !self.lives.is_empty() => {}
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

fn spawn(name: &str, arguments: &[String], directory: &Path, life: usize, environment: &Environment) -> Child {
    let mut command = tutti(arguments);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(log_file(&directory.join(format!("{name}-{life}.log"))));
    command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"))
}

/// A controller and a worker; further workers may join them.
pub(super) struct Pair {
    // Workers first: those that lose their controller would only wait.
    workers: Vec<Part>,
    controller: Part,
    directory: PathBuf,
    address: String,
    /// A worker that dies is not started again: another takes its place.
    replaced: bool,
}

impl Pair {
    pub(super) fn start(directory: &Path, controller: Vec<Environment>) -> Self {
        // In a directory of its own: the socket's must be 0700 and its path short.
        let address = format!("unix:{}", directory.join("run/c").display());
        let state = directory.join("state").display().to_string();
        let arguments = ["controller", "--listen", &address, "--state-dir", &state].map(str::to_owned).to_vec();
        let controller = Part::start("controller", arguments, directory, controller);
        Self { workers: Vec::new(), controller, directory: directory.to_owned(), address, replaced: false }
    }

    /// Starts `worker-1`, or a further one.
    pub(super) fn add_worker(&mut self, further: &[&str], lives: Vec<Environment>) {
        let id = format!("worker-{}", self.workers.len() + 1);
        let state = self.directory.join(&id).display().to_string();
        let arguments = ["worker", "--controller", &self.address, "--id", &id, "--cpus", "2", "--state-dir", &state];
        let arguments = arguments.iter().chain(further).map(|&argument| argument.to_owned()).collect();
        self.workers.push(Part::start(&id, arguments, &self.directory, lives));
    }

    /// Kills the first worker for good; another takes its place.
    pub(super) fn replace_worker(&mut self) {
        self.replaced = true;
        let worker = self.workers.first().and_then(|worker| i32::try_from(worker.child.id()).ok());
        if let Some(pid) = worker.and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    fn mind(&mut self) -> Result<(), String> {
        self.controller.mind(false)?;
        self.workers.iter_mut().try_for_each(|worker| worker.mind(self.replaced))
    }

    /// How many processes were killed.
    pub(super) fn killed(&self) -> usize {
        self.controller.killed + self.workers.iter().map(|worker| worker.killed).sum::<usize>()
    }

    /// Ends all in order.
    pub(super) fn finish(&mut self) -> Result<(), String> {
        self.workers.iter_mut().try_for_each(Part::finish)?;
        self.controller.finish()
    }

    fn client(&self, arguments: &[&str]) -> Command {
        let mut command = tutti(&arguments[..1]);
        command.args(["--controller", &self.address]).args(&arguments[1..]);
        command.env("SOURCE_DATE_EPOCH", EPOCH);
        command
    }

    /// Runs a client until it succeeds, whoever dies meanwhile; `retry` looks at its failures.
    pub(super) fn insist(&mut self, arguments: &[&str], retry: impl Fn(&Ended) -> bool) -> Result<Ended, String> {
        let begun = Instant::now();
        loop {
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
    pub(super) fn attended(&mut self, arguments: &[&str]) -> Result<Ended, String> {
        self.mind()?;
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

    /// Submits, until the compose is there.
    pub(super) fn submit(&mut self, config: &Path, target: &Path) -> Result<(), String> {
        let (config, place) = (config.display().to_string(), target.display().to_string());
        let mut submit = vec!["submit", "--config", &config, "--target-dir", &place];
        submit.extend(FIXED);
        let begun = Instant::now();
        loop {
            let ended = self.attended(&submit)?;
            if ended.status == 0 || self.attended(&["show", ID])?.status == 0 {
                return Ok(());
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
    }

    /// What the controller says of the compose.
    pub(super) fn show(&mut self) -> Result<Value, String> {
        let shown = self.insist(&["show", "--format", "json", ID], |_| true)?;
        serde_json::from_str(&shown.stdout).map_err(|error| format!("{error}: {}", shown.text()))
    }

    /// Waits until the compose is as wanted.
    pub(super) fn until(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value, String> {
        let begun = Instant::now();
        loop {
            let shown = self.show()?;
            if wanted(&shown) {
                return Ok(shown);
            }
            if begun.elapsed() > LIMIT {
                return Err(format!("{what}: not within {LIMIT:?}: {shown}"));
            }
        }
    }

    /// Follows the compose to its end; what the controller says of it then.
    pub(super) fn follow(&mut self) -> Result<Value, String> {
        let begun = Instant::now();
        loop {
            let ended = self.attended(&["watch", "--format", "json", ID])?;
            if ended.stdout.lines().any(|line| line.contains("\"end\"")) {
                return self.show();
            }
            if begun.elapsed() > LIMIT {
                return Err(ended.text());
            }
            std::thread::sleep(POLL);
        }
    }
}

fn compose(survey: &Survey, pair: &mut Pair, target: &Path) -> Result<(), String> {
    pair.submit(survey.config(), target)?;
    let shown = pair.follow()?;
    pair.finish()?;
    judge::judge(survey.wanted(), &Compose::open(&target.join(ID)), &crate::compose::jobs(&shown))
}

/// An undisturbed run; the logs of points of controller and worker.
#[must_use]
pub fn undisturbed(survey: &Survey) -> [PathBuf; 2] {
    let directory = survey.directory("pair");
    let logs = ["points.controller", "points.worker"].map(|name| directory.join(name));
    let environment = |log: &Path| vec![vec![("TUTTI_FAILPOINT_LOG".to_owned(), log.display().to_string())]];
    let mut pair = Pair::start(&directory, environment(&logs[0]));
    pair.add_worker(&[], environment(&logs[1]));
    let ended = compose(survey, &mut pair, &directory.join("target"));
    ended.unwrap_or_else(|wrong| panic!("an undisturbed pair fails: {wrong}"));
    logs
}

/// Runs a case; whether its point was passed.
///
/// # Errors
/// What is wrong at the end.
pub fn run(survey: &Survey, case: &Case, directory: &Path) -> Result<bool, String> {
    let armed = || vec![vec![("TUTTI_FAILPOINTS".to_owned(), case.arms())], Environment::new()];
    let calm = || vec![Environment::new()];
    let worker = case.victim == Victim::Worker;
    let mut pair = Pair::start(directory, if worker { calm() } else { armed() });
    pair.replaced = case.replaced;
    pair.add_worker(&[], if worker { armed() } else { calm() });
    compose(survey, &mut pair, &directory.join("target"))?;
    Ok(pair.killed() > 0)
}

/// Whether any job's attempt ended so.
pub(super) fn any_attempt(show: &Value, result: &str) -> bool {
    let jobs = show["jobs"].as_array().into_iter().flatten();
    let mut attempts = jobs.flat_map(|job| job["attempts"].as_array().into_iter().flatten());
    attempts.any(|attempt| stream::result_of(attempt) == result)
}
