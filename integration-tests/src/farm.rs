//! A controller and workers as processes of their own, on a Unix socket.

use std::{
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::program::{self, Ended, LIMIT, kill_group, log_file, run, tutti};

/// Longest time for a process to say that it is there: an emulated one on a busy machine takes a while.
const START: Duration = Duration::from_secs(120);

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

    /// Sends it alone a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(id) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may be gone already: that shows in its status.
            let _ = kill_process(id, signal);
        }
    }

    /// Waits for its end by itself and returns its exit status; -1 for a signal.
    pub fn wait(&mut self, limit: Duration) -> i32 {
        let deadline = Instant::now() + limit;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return status.code().unwrap_or(-1),
                Ok(None) => assert!(Instant::now() < deadline, "process {} did not end in {limit:?}", self.child.id()),
                Err(error) => panic!("cannot wait for process {}: {error}", self.child.id()),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
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
    /// The controller's variables.
    environment: Vec<(String, String)>,
    /// Workers by name.
    pub workers: Vec<(String, Process)>,
    // Dropped last: workers that lose their controller first would only wait.
    controller: Process,
}

impl Farm {
    /// Starts a controller in `directory`, and as many workers.
    #[must_use]
    pub fn start(directory: &Path, workers: usize) -> Self {
        Self::start_with(directory, workers, &[])
    }

    /// As [`start`](Self::start), with variables for the controller and these workers.
    #[must_use]
    pub fn start_with(directory: &Path, workers: usize, environment: &[(&str, &str)]) -> Self {
        // In a directory of its own: the socket's must be 0700 and its path short.
        let address = format!("unix:{}", directory.join("run/c").display());
        let own: Vec<_> = environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        let controller = controller(directory, &address, &own);
        let directory = directory.to_owned();
        let mut farm = Self { directory, address, environment: own, workers: Vec::new(), controller };
        for number in 1..=workers {
            farm.add_worker(&format!("worker-{number}"), environment);
        }
        farm.wait_for_workers(workers);
        farm
    }

    /// Starts one more worker.
    pub fn add_worker(&mut self, name: &str, environment: &[(&str, &str)]) {
        self.add_worker_by(tutti::<&str>([]), name, &[], environment);
    }

    /// Starts one more worker by another program, with further arguments.
    pub fn add_worker_by(&mut self, program: Command, name: &str, further: &[&str], environment: &[(&str, &str)]) {
        let mut command = program;
        command.args(["worker", "--controller", &self.address, "--id", name, "--cpus", "2"]);
        command.arg("--state-dir").arg(self.directory.join(name)).args(further);
        command.envs(environment.iter().copied());
        let process = start(command, &self.directory, name, None);
        self.workers.push((name.to_owned(), process));
    }

    /// A worker that was started under this name.
    ///
    /// # Panics
    /// When there is none.
    pub fn worker(&mut self, name: &str) -> &mut Process {
        let found = self.workers.iter_mut().find(|(known, _)| known == name);
        &mut found.unwrap_or_else(|| panic!("no worker {name}")).1
    }

    /// Waits until `tutti drain`, the list of workers, is as wanted; returns it.
    ///
    /// # Panics
    /// When it is not in time.
    pub fn wait_for_list(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + LIMIT;
        loop {
            let listed = self.client(&["drain"]);
            if wanted(&listed.stdout) {
                return listed.stdout;
            }
            assert!(Instant::now() < deadline, "{what}: not within {LIMIT:?}: {}", listed.text());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What a worker, or the controller, wrote to its log.
    #[must_use]
    pub fn log(&self, name: &str) -> String {
        crate::scratch::read(self.directory.join(format!("{name}.log")))
    }

    /// Kills the controller.
    pub fn kill_controller(&mut self) {
        self.controller.kill();
    }

    /// Starts the controller again, on the same state and address.
    pub fn restart_controller(&mut self) {
        self.controller.kill();
        self.controller = controller(&self.directory, &self.address, &self.environment);
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

fn controller(directory: &Path, address: &str, environment: &[(String, String)]) -> Process {
    let mut command = tutti(["controller", "--listen", address, "--state-dir"]);
    command.arg(directory.join("state")).envs(environment.iter().map(|(name, value)| (name, value)));
    start(command, directory, "controller", Some("listening"))
}

/// Starts a process whose log lies in `directory`, and waits for the line that says that it is ready.
#[must_use]
pub fn start(mut command: Command, directory: &Path, name: &str, ready: Option<&str>) -> Process {
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
