//! A controller and workers as processes of their own, on a Unix socket.

use std::{
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use crate::program::{self, Ended, kill_group, log_file, run, tutti};

/// Longest time for a process to say that it is there.
const START: Duration = Duration::from_secs(30);

/// A process that is killed, with its children, when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it with its children.
    pub fn kill(&mut self) {
        kill_group(self.child.id());
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A controller with its workers. Their logs lie in the given directory.
#[derive(Debug)]
pub struct Farm {
    directory: PathBuf,
    address: String,
    /// Workers by name.
    pub workers: Vec<(String, Process)>,
    // Dropped last: workers that lose their controller first would only wait.
    _controller: Process,
}

impl Farm {
    /// Starts a controller in `directory`, and as many workers.
    #[must_use]
    pub fn start(directory: &Path, workers: usize) -> Self {
        Self::start_with(directory, workers, &[])
    }

    /// As [`start`](Self::start), with variables for the workers.
    #[must_use]
    pub fn start_with(directory: &Path, workers: usize, environment: &[(&str, &str)]) -> Self {
        // In a directory of its own: the socket's must be 0700 and its path short.
        let address = format!("unix:{}", directory.join("run/c").display());
        let mut command = tutti(["controller", "--listen", &address, "--state-dir"]);
        command.arg(directory.join("state"));
        let controller = start(command, directory, "controller", Some("listening"));
        let mut farm = Self { directory: directory.to_owned(), address, workers: Vec::new(), _controller: controller };
        for number in 1..=workers {
            farm.add_worker(&format!("worker-{number}"), environment);
        }
        farm.wait_for_workers(workers);
        farm
    }

    /// Starts one more worker.
    pub fn add_worker(&mut self, name: &str, environment: &[(&str, &str)]) {
        let mut command = tutti(["worker", "--controller", &self.address, "--id", name, "--cpus", "2", "--state-dir"]);
        command.arg(self.directory.join(name));
        command.envs(environment.iter().copied());
        let process = start(command, &self.directory, name, None);
        self.workers.push((name.to_owned(), process));
    }

    /// The controller's address.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Waits until so many workers are connected.
    pub fn wait_for_workers(&self, count: usize) {
        let deadline = Instant::now() + START;
        loop {
            let listed = self.client(&["drain"]);
            let ready = |line: &&str| line.starts_with("worker-") && line.contains(" ready ");
            if listed.stdout.lines().filter(ready).count() >= count {
                return;
            }
            assert!(Instant::now() < deadline, "not {count} workers within {START:?}: {}", listed.text());
        }
    }

    /// Runs a client command: its name and arguments, the controller's address is added.
    #[must_use]
    pub fn client(&self, arguments: &[&str]) -> Ended {
        run(self.client_command(arguments))
    }

    /// A client command.
    #[must_use]
    pub fn client_command(&self, arguments: &[&str]) -> Command {
        let mut command = tutti(&arguments[..1]);
        command.args(["--controller", &self.address]).args(&arguments[1..]);
        command
    }
}

fn start(mut command: Command, directory: &Path, name: &str, ready: Option<&str>) -> Process {
    let what = format!("{command:?}");
    let log = directory.join(format!("{name}.log"));
    command.process_group(0).stdin(Stdio::null()).stderr(log_file(&log));
    match ready {
        Some(_) => command.stdout(Stdio::piped()),
        None => command.stdout(log_file(&directory.join(format!("{name}.out")))),
    };
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {what}: {error}"));
    let stdout = child.stdout.take();
    let process = Process { child };
    if let (Some(ready), Some(stdout)) = (ready, stdout) {
        let (sender, receiver) = mpsc::channel();
        // Goes on reading, so that the program never waits for us.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let line = receiver.recv_timeout(START).unwrap_or_default();
        assert!(line.contains(ready), "{what} is not ready: {line:?}\n{}", crate::scratch::read(&log));
    }
    process
}

/// Follows a compose of the farm from outside.
#[must_use]
pub fn watch(farm: &Farm, compose_id: &str) -> crate::stream::Live {
    crate::stream::Live::start(farm.client_command(&["watch", "--format", "json", compose_id]))
}

/// Runs a program and returns its end: [`program::run`] under a name that reads well beside [`watch`].
#[must_use]
pub fn to_end(command: Command) -> Ended {
    program::run(command)
}
