//! Who starts the program does not decide the modes of a tree.

#![allow(clippy::unwrap_used, reason = "a helper outside of test functions")]

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Ends the program, whatever becomes of the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The umask of the program once it has changed it, or the one that it was started with after 10 s.
fn umask_of(arguments: &[&str]) -> String {
    let mut command = Command::new("sh");
    command.args(["-c", "umask 077 && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_tutti")]).args(arguments);
    let running = Running(command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let start = Instant::now();
    loop {
        // proc_pid_status(5): Umask, since Linux 4.7.
        let status = fs::read_to_string(format!("/proc/{}/status", running.0.id())).unwrap();
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let umask = field("Umask:").unwrap_or("none: it has ended");
        // Before that it is the test itself, then the shell.
        let ours = field("Name:") == Some("tutti");
        if ours && umask != "0077" || start.elapsed() > Duration::from_secs(10) {
            return umask.to_owned();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn new_files_have_the_same_modes_for_everybody() {
    let directory = tempfile::tempdir().unwrap();
    let [state, listen] = ["state", "private/socket"].map(|name| directory.path().join(name).display().to_string());
    let listen = format!("unix:{listen}");
    assert_eq!(umask_of(&["controller", "--state-dir", &state, "--listen", &listen]), "0022");
    assert_eq!(umask_of(&["run-job"]), "0022", "it waits for its request");
}
