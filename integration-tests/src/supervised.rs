//! A farm whose processes are killed, and started again at once, as systemd would with a short RestartSec.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::program::{Ended, run, tutti};

/// Longest time for all processes to be ready.
const START: Duration = Duration::from_secs(60);

/// What a worker is to be.
#[derive(Clone, Debug, Default)]
pub struct Worker {
    /// Its name.
    pub name: String,
    /// Cores that it offers.
    pub cpus: u32,
    /// Variables.
    pub environment: Vec<(String, String)>,
}

/// One process that is kept alive.
#[derive(Debug)]
pub struct Service {
    /// `controller`, or the worker's name.
    pub name: String,
    /// How often it was started.
    pub starts: u32,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    log: PathBuf,
    child: Child,
}

impl Service {
    fn start(log: PathBuf, name: &str, arguments: Vec<String>, environment: Vec<(String, String)>) -> Result<Self> {
        let child = spawn(&log, &arguments, &environment)?;
        Ok(Self { name: name.to_owned(), starts: 1, arguments, environment, log, child })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or(0)
    }

    /// Sends a signal to the process alone, not to its children.
    pub fn signal(&self, signal: Signal) {
        // It may be dead already.
        let _ = Pid::from_raw(self.id()).map(|pid| kill_process(pid, signal));
    }

    /// Kills the process alone, and returns the children that it had: they must die by themselves.
    ///
    /// # Errors
    /// When its end cannot be waited for.
    pub fn kill(&mut self) -> Result<Vec<i32>> {
        let family = descendants(self.id());
        self.signal(Signal::KILL);
        self.child.wait().with_context(|| format!("cannot wait for {}", self.name))?;
        Ok(family)
    }

    /// Starts it again if it died.
    ///
    /// # Errors
    /// When it cannot be looked at or started.
    pub fn revive(&mut self) -> Result<()> {
        let ended = self.child.try_wait().with_context(|| format!("cannot look at {}", self.name))?;
        if ended.is_some() { self.restart() } else { Ok(()) }
    }

    /// Starts it again.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn restart(&mut self) -> Result<()> {
        self.child = spawn(&self.log, &self.arguments, &self.environment)?;
        self.starts += 1;
        Ok(())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.signal(Signal::CONT);
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }
}

fn spawn(log: &Path, arguments: &[String], environment: &[(String, String)]) -> Result<Child> {
    let open = || fs::File::options().create(true).append(true).open(log);
    let file = open().and_then(|file| Ok((file.try_clone()?, file)));
    let (out, err) = file.with_context(|| format!("cannot open {}", log.display()))?;
    let mut command = tutti(arguments);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command.process_group(0).stdin(Stdio::null()).stdout(out).stderr(err);
    command.spawn().with_context(|| format!("cannot start {command:?}"))
}

/// A controller and workers. All is killed when this is dropped.
#[derive(Debug)]
pub struct Farm {
    /// The controller first, then the workers.
    pub services: Vec<Service>,
    directory: PathBuf,
    address: String,
}

impl Farm {
    /// Starts all, with logs, state and socket in `directory`, and waits until the workers are there.
    ///
    /// # Errors
    /// When a process cannot be started, or is not ready in time.
    pub fn start(directory: &Path, workers: &[Worker]) -> Result<Self> {
        Self::start_with(directory, workers, &[])
    }

    /// As [`start`](Self::start), with further arguments for the controller.
    ///
    /// # Errors
    /// As those of `start`.
    pub fn start_with(directory: &Path, workers: &[Worker], further: &[&str]) -> Result<Self> {
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let address = format!("unix:{}", directory.join("run/c").display());
        let mut farm = Self { services: Vec::new(), directory: directory.to_owned(), address };
        let state = directory.join("state").display().to_string();
        let mut arguments = vec!["controller", "--listen", &farm.address, "--state-dir", &state];
        arguments.extend(further);
        let arguments = arguments.into_iter().map(str::to_owned).collect();
        farm.services.push(Service::start(directory.join("controller.log"), "controller", arguments, vec![])?);
        for worker in workers {
            farm.add(worker)?;
        }
        farm.wait_for(workers.len())?;
        Ok(farm)
    }

    /// Starts one more worker.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn add(&mut self, worker: &Worker) -> Result<()> {
        let address = self.address.clone();
        self.add_at(worker, &address)
    }

    /// Starts one more worker, which comes to the controller by that address.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn add_at(&mut self, worker: &Worker, address: &str) -> Result<()> {
        let state = self.directory.join(&worker.name).display().to_string();
        let cpus = worker.cpus.to_string();
        let arguments =
            ["worker", "--controller", address, "--id", &worker.name, "--cpus", &cpus, "--state-dir", &state];
        let log = self.directory.join(format!("{}.log", worker.name));
        let arguments = arguments.map(str::to_owned).to_vec();
        self.services.push(Service::start(log, &worker.name, arguments, worker.environment.clone())?);
        Ok(())
    }

    /// Waits until so many workers are ready.
    ///
    /// # Errors
    /// When they are not in time.
    pub fn wait_for(&self, count: usize) -> Result<()> {
        let deadline = Instant::now() + START;
        loop {
            let workers = self.workers();
            if workers.values().filter(|worker| worker["connected"] == true).count() >= count {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("not {count} workers within {START:?}: {workers:?}; logs are in {}", self.directory.display());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A client command: its name and arguments, the controller's address is added.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = tutti(&arguments[..1]);
        command.args(["--controller", &self.address]).args(&arguments[1..]);
        command
    }

    /// Runs a client command.
    #[must_use]
    pub fn client(&self, arguments: &[&str]) -> Ended {
        run(self.command(arguments))
    }

    /// A service by name.
    ///
    /// # Errors
    /// When there is none.
    pub fn service(&mut self, name: &str) -> Result<&mut Service> {
        let found = self.services.iter_mut().find(|service| service.name == name);
        found.with_context(|| format!("no process {name}"))
    }

    /// What a process has written to its log.
    #[must_use]
    pub fn log(&self, name: &str) -> String {
        fs::read_to_string(self.directory.join(format!("{name}.log"))).unwrap_or_default()
    }

    /// What the controller says of its workers, by name; nothing while it does not answer. Of several incarnations the
    /// connected one counts.
    #[must_use]
    pub fn workers(&self) -> BTreeMap<String, Value> {
        let ended = self.client(&["drain", "--format", "json"]);
        let list: Vec<Value> = serde_json::from_str(&ended.stdout).unwrap_or_default();
        let mut found = BTreeMap::new();
        for worker in list {
            let name = worker["worker_id"].as_str().unwrap_or_default().to_owned();
            if worker["connected"] == true || !found.contains_key(&name) {
                found.insert(name, worker);
            }
        }
        found
    }

    /// What `show` says of a compose; null while the controller does not answer.
    #[must_use]
    pub fn show(&self, compose_id: &str) -> Value {
        let ended = self.client(&["show", "--format", "json", compose_id]);
        serde_json::from_str(&ended.stdout).unwrap_or_default()
    }
}

/// All living processes below a process, by their parents.
#[must_use]
pub fn descendants(id: i32) -> Vec<i32> {
    let mut children = BTreeMap::<i32, Vec<i32>>::new();
    for (pid, parent) in processes() {
        children.entry(parent).or_default().push(pid);
    }
    let mut found = Vec::new();
    let mut queue = vec![id];
    while let Some(parent) = queue.pop() {
        for child in children.get(&parent).into_iter().flatten() {
            found.push(*child);
            queue.push(*child);
        }
    }
    found
}

/// Whether a process lives. A dead one that nobody has waited for does not.
#[must_use]
pub fn is_alive(pid: i32) -> bool {
    parent(pid).is_some()
}

fn processes() -> Vec<(i32, i32)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    numbers.filter_map(|pid| Some((pid, parent(pid)?))).collect()
}

fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything but ends with ")"; state and parent follow it (proc_pid_stat(5)).
    let mut fields = stat.rsplit_once(") ")?.1.split_ascii_whitespace();
    let state = fields.next()?;
    (!matches!(state, "Z" | "X")).then(|| fields.next()?.parse().ok()).flatten()
}

/// Waits until something holds, looking every few milliseconds; how long that took, or nothing in time.
#[must_use]
pub fn wait_until(limit: Duration, mut holds: impl FnMut() -> bool) -> Option<Duration> {
    let start = Instant::now();
    loop {
        if holds() {
            return Some(start.elapsed());
        }
        if start.elapsed() > limit {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
