//! The actions that end a process, seen from outside: the test runs itself again as a child.
#![cfg(feature = "enabled")]
#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of functions that clippy knows as tests")]

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus};

/// Not a test of its own: the child of the others. Passes two points and ends well.
#[test]
fn child() {
    if std::env::var_os("FAILPOINT_TEST_CHILD").is_some() {
        let passed = tutti_failpoint::hit("first").and_then(|()| tutti_failpoint::hit("second"));
        std::process::exit(if passed.is_ok() { 0 } else { 9 });
    }
}

fn run(failpoints: &str) -> ExitStatus {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child"])
        .env("FAILPOINT_TEST_CHILD", "1")
        .env("TUTTI_FAILPOINTS", failpoints)
        .output()
        .unwrap()
        .status
}

#[test]
fn kill_is_sigkill() {
    assert_eq!(run("second=kill").signal(), Some(9));
    assert_eq!(run("second=kill@1").signal(), Some(9));
}

#[test]
fn exit_and_error_end_as_asked() {
    assert_eq!(run("").code(), Some(0));
    assert_eq!(run("second=kill@2").code(), Some(0));
    assert_eq!(run("second=exit(3)").code(), Some(3));
    assert_eq!(run("first=error").code(), Some(9));
}

#[test]
fn a_text_that_cannot_be_parsed_ends_the_process() {
    assert_eq!(run("second=explode").code(), Some(64));
}
