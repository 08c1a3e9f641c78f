//! Running programs with a time limit.

use std::{
    ffi::OsStr,
    fs::File,
    io::Read,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    time::Duration,
};

use rustix::process::{Pid, Signal};

/// Longest time for one command of a test, on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(240);
/// Variables that would change what a test sees.
const CLEARED: [&str; 9] = [
    "TUTTI_FAILPOINTS",
    "TUTTI_FAILPOINT_LOG",
    "TUTTI_CONTROLLER",
    "TUTTI_LOG",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "SOURCE_DATE_EPOCH",
    "NO_COLOR",
    "http_proxy",
    "https_proxy",
];

/// The program under test: `TUTTI_BIN`, else `tutti` in the target directory of the running test.
#[must_use]
pub fn tutti_path() -> PathBuf {
    if let Some(path) = std::env::var_os("TUTTI_BIN") {
        return path.into();
    }
    let own = std::env::current_exe().unwrap_or_else(|error| panic!("cannot find this program: {error}"));
    let path = own.ancestors().skip(1).take(2).map(|directory| directory.join("tutti")).find(|path| path.exists());
    path.unwrap_or_else(|| panic!("no tutti beside {}: cargo build -p tutti --features failpoints", own.display()))
}

/// A command of the program under test, without what the environment would change.
#[must_use]
pub fn tutti<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(tutti_path());
    command.args(arguments);
    clean(&mut command);
    command
}

/// Removes variables that would change what a test sees.
pub fn clean(command: &mut Command) {
    for name in CLEARED {
        command.env_remove(name);
    }
    command.env("NO_PROXY", "*").env("RUST_BACKTRACE", "1");
}

/// What a program did.
#[derive(Clone, Debug)]
pub struct Ended {
    /// What ran.
    pub what: String,
    /// Exit status; 128 and more for a signal.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ended {
    /// Fails the test unless the program ended with this status.
    #[must_use]
    pub fn expect(self, status: i32) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        assert!(!self.stderr.contains("panicked at"), "{}", self.text());
        self
    }

    /// All of it, for messages.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\nexit status {}\n--- stdout\n{}\n--- stderr\n{}", self.what, self.status, self.stdout, self.stderr)
    }
}

/// Runs a command to its end, within [`LIMIT`].
#[must_use]
pub fn run(command: Command) -> Ended {
    run_within(command, LIMIT)
}

/// Runs a command to its end; past the limit its process group is killed and the test fails.
#[must_use]
pub fn run_within(mut command: Command, limit: Duration) -> Ended {
    let what = format!("{command:?}");
    let mut child = spawn(&mut command);
    let id = child.id();
    let readers = (child.stdout.take().map(reader), child.stderr.take().map(reader));
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait()));
    let ended = receiver.recv_timeout(limit);
    if ended.is_err() {
        kill_group(id);
    }
    let text = |reader: Option<mpsc::Receiver<String>>| {
        reader.and_then(|reader| reader.recv_timeout(Duration::from_secs(20)).ok()).unwrap_or_default()
    };
    let (stdout, stderr) = (text(readers.0), text(readers.1));
    let Ok(status) = ended else {
        panic!("not done within {limit:?}: {what}\n--- stdout\n{stdout}\n--- stderr\n{stderr}");
    };
    let status = status.unwrap_or_else(|error| panic!("cannot wait for {what}: {error}"));
    Ended { what, status: number(status), stdout, stderr }
}

/// Starts a command as leader of a process group of its own, its output piped.
#[must_use]
pub fn spawn(command: &mut Command) -> Child {
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"))
}

fn reader(stream: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let mut stream = stream;
        // What came before an error still helps.
        let _ = stream.read_to_end(&mut bytes);
        sender.send(String::from_utf8_lossy(&bytes).into_owned())
    });
    receiver
}

fn number(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

/// Kills the process group that a spawned program leads.
pub fn kill_group(id: u32) {
    if let Some(id) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        // It may be gone already.
        let _ = rustix::process::kill_process_group(id, Signal::KILL);
    }
}

/// Whether a tool is there; else says `skipped` (and fails with `CI=true`).
#[must_use]
pub fn has_tool(name: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&paths).any(|directory| directory.join(name).exists());
    if !found {
        let installs =
            if name.starts_with("qemu-") { "package qemu-user-static" } else { ".ci/setup test installs it" };
        crate::skip::skipped(&format!("{name} is not installed ({installs})"));
    }
    found
}

/// Opens a file for a program's output.
#[must_use]
pub fn log_file(path: &Path) -> File {
    File::create(path).unwrap_or_else(|error| panic!("cannot make {}: {error}", path.display()))
}
