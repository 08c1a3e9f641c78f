//! Standard output that nobody reads any more (`tutti … | head`), or that cannot be written.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::{
    fs::File,
    process::{Command, Output, Stdio},
};

/// `tutti config dump` of the example.
fn dump(stdout: impl Into<Stdio>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tutti"));
    command.args(["config", "dump", concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/distribution/compose.conf")]);
    command.stdout(stdout).stderr(Stdio::piped());
    command.spawn().unwrap().wait_with_output().unwrap()
}

#[test]
fn a_closed_pipe_ends_the_program_without_a_word() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = dump(writer);
    assert_eq!((ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()), (Some(141), ""));
}

#[test]
fn what_cannot_be_written_is_an_error() {
    let ended = dump(File::options().write(true).open("/dev/full").unwrap());
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.starts_with("error: cannot write to standard output: No space left on device"), "{said}");
}
