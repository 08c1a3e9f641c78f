//! Real packages and tools that the tests compare with.

#![allow(dead_code, clippy::unwrap_used, clippy::panic, reason = "each test file uses a part of it; tests may panic")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Says what is missing and passes, or fails where `CI=true`.
pub(crate) fn skip(what: &str) {
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{what} is missing");
    println!("skipped: {what} is missing");
}

/// The directory of real RPM files (`$TUTTI_SHARED/rpms`, else beside the workspace).
pub(crate) fn rpms() -> Option<PathBuf> {
    let shared = std::env::var_os("TUTTI_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    let rpms = shared.join("rpms");
    if rpms.join("index.jsonl").exists() {
        return Some(rpms);
    }
    skip("TUTTI_SHARED with rpms/index.jsonl");
    None
}

/// Lines of the index of the real packages, with the path of each.
pub(crate) fn index(rpms: &Path) -> Vec<(PathBuf, serde_json::Value)> {
    let text = std::fs::read_to_string(rpms.join("index.jsonl")).unwrap();
    text.lines()
        .map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            (rpms.join(value["file"].as_str().unwrap()), value)
        })
        .collect()
}

/// Readable packages among the real ones.
pub(crate) fn packages(rpms: &Path) -> Vec<(PathBuf, serde_json::Value)> {
    index(rpms).into_iter().filter(|(_, value)| value["file"].as_str().unwrap().starts_with("packages/")).collect()
}

/// First Python among `candidates` that has the module.
pub(crate) fn python_with(module: &str, candidates: &[&str]) -> Option<String> {
    for python in candidates {
        let output = Command::new(python).args(["-c", &format!("import {module}")]).stderr(Stdio::null()).status();
        if output.is_ok_and(|status| status.success()) {
            return Some((*python).to_owned());
        }
    }
    skip(&format!("Python with module {module}"));
    None
}

/// Runs a Python program with `input` and returns what it prints.
pub(crate) fn run_python(python: &str, program: &str, input: &str) -> String {
    let mut child = Command::new(python)
        .args(["-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    writer.join().unwrap().unwrap();
    String::from_utf8(output.stdout).unwrap()
}
