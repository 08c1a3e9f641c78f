//! A compose whose state file or owner record was damaged, or is another host's: what a user reads, and what goes on.

use std::{fs, path::Path};

use tutti_integration_tests::{
    compose::{Compose, Run},
    program::{Ended, run, tutti},
    scratch::Scratch,
    sources::Tiny,
};

fn ask(compose: &Compose, command: &[&str], further: &[&str]) -> Ended {
    let mut asked = tutti(command);
    asked.arg(compose.id()).arg("--target-dir").arg(compose.target()).args(further);
    run(asked)
}

/// Both commands must refuse, with the path and a hint, and leave the file alone.
fn refused(compose: &Compose, path: &Path, said: &str) {
    let before = fs::read(path).unwrap_or_default();
    for command in [&["show"][..], &["compose", "--resume"]] {
        let ended = ask(compose, command, &[]).expect(1);
        for part in [said, &path.display().to_string(), "hint: "] {
            assert!(ended.stderr.contains(part), "no {part:?}: {}", ended.text());
        }
        assert_eq!(fs::read(path).unwrap_or_default(), before);
    }
}

#[test]
fn r14_a_damaged_state_is_named_and_left_alone() {
    let scratch = Scratch::new("hostile-state");
    let config = Tiny::new(&scratch.join("tiny")).write();
    let (compose, _) = Run::default().with(&["--nightly"]).compose(&config, &scratch.join("composes"), 0);
    let state = compose.directory().join("work/tutti/state.redb");
    let record = compose.directory().join("work/tutti/state.redb.owner");
    let whole = fs::read(&state).unwrap();
    let cut = whole.get(..whole.len() / 2).unwrap();
    for bad in [b"".as_slice(), b"\x89PNG\r\n\x1a\n", &b"\x89PNG\r\n\x1a\n".repeat(9999), cut] {
        fs::write(&state, bad).unwrap();
        refused(&compose, &state, "cannot be used");
    }
    fs::write(&state, &whole).unwrap();
    let _ = ask(&compose, &["show"], &[]).expect(0);
    // A record that says that a process on another host has the state: removed successors make the head the tail.
    let text = fs::read_to_string(&record).unwrap();
    for entry in fs::read_dir(record.parent().unwrap()).unwrap().map(Result::unwrap) {
        if entry.file_name().to_string_lossy().starts_with("state.redb.owner.") {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    let abroad = text.lines().map(|line| match line.split_once(' ') {
        Some((field @ ("host" | "boot" | "machine"), _)) => format!("{field} abroad\n"),
        _ => format!("{line}\n"),
    });
    fs::write(&record, abroad.collect::<String>()).unwrap();
    let ended = ask(&compose, &["show"], &[]).expect(1);
    assert!(ended.stderr.contains("on host abroad") && ended.stderr.contains("--take-over"), "{}", ended.text());
    let _ = ask(&compose, &["show"], &["--take-over"]).expect(0);
    let _ = ask(&compose, &["compose", "--resume"], &[]).expect(0);
    fs::write(&record, b"\x89PNG\r\n\x1a\n").unwrap();
    refused(&compose, &record, "cannot be used");
    fs::remove_file(&state).unwrap();
    fs::remove_file(&record).unwrap();
    let ended = ask(&compose, &["compose", "--resume"], &[]).expect(1);
    assert!(
        ended.stderr.contains("has no work/tutti/state.redb") && ended.stderr.contains("hint: "),
        "{}",
        ended.text()
    );
}
