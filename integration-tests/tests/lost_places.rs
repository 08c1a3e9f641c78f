//! Nobody reads what the program says any more, or directories are not where they were: the work goes on, or is refused
//! before it harms anything.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use tutti_integration_tests::{
    compose::{Compose, Run},
    program::{LIMIT, run, tutti},
    scratch::Scratch,
    sources::Tiny,
    tree,
};

fn config(scratch: &Scratch) -> PathBuf {
    Tiny::new(&scratch.join("tiny")).write()
}

/// The only compose in a target directory.
fn only(target: &Path) -> Compose {
    let mut found: Vec<PathBuf> = fs::read_dir(target).unwrap().map(|item| item.unwrap().path()).collect();
    found.retain(|path| path.join("COMPOSE_ID").exists() && !path.is_symlink());
    assert_eq!(found.len(), 1, "{found:?}");
    Compose::open(&found[0])
}

/// Runs a command by a shell, which gives it its outputs.
fn by_shell(command: &Command, redirection: &str) -> i32 {
    let words = |text: &std::ffi::OsStr| format!("'{}'", text.to_str().unwrap());
    let mut line = words(command.get_program());
    command.get_args().for_each(|argument| line += &format!(" {}", words(argument)));
    let mut shell = Command::new("timeout");
    shell.args(["240", "bash", "-c", &format!("{line} {redirection}; exit ${{PIPESTATUS[0]}}")]);
    shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    shell.status().unwrap().code().unwrap()
}

#[test]
fn a_compose_goes_on_when_nobody_reads_what_it_says() {
    let scratch = Scratch::new("lost-output");
    let config = config(&scratch);
    for (name, format, redirection, status) in [
        ("full-log", "text", "2>/dev/full", 0),
        ("closed-log", "text", "2>&1 >/dev/null | head -c 1", 0),
        // What is left to say at the end cannot be said.
        ("closed-stream", "json", "| head -n 1", 141),
    ] {
        let target = scratch.join(name);
        let command = Run::default().with(&["--format", format]).command(&config, &target);
        assert_eq!(by_shell(&command, redirection), status, "{name}");
        assert_eq!(only(&target).status(), "FINISHED", "{name}");
    }
    // A compose whose name nobody learns is not begun.
    let target = scratch.join("full-stream");
    let command = Run::default().command(&config, &target);
    assert_eq!(by_shell(&command, ">/dev/full"), 1);
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
}

#[test]
fn a_copy_of_a_compose_never_writes_into_the_original() {
    let scratch = Scratch::new("copied-compose");
    let (config, target, copies) = (config(&scratch), scratch.join("composes"), scratch.join("copies"));
    let (compose, _) = Run::default().compose(&config, &target, 0);
    fs::create_dir(&copies).unwrap();
    let copied = Command::new("cp").arg("-a").arg(compose.directory()).arg(&copies).status().unwrap();
    assert!(copied.success());
    let before = tree::list(compose.directory());
    for command in ["retry", "show", "cancel"] {
        let mut command = tutti([command, "--target-dir"]);
        command.arg(&copies).arg(compose.id());
        let refused = run(command).expect(1);
        let said = &refused.stderr;
        assert!(
            said.contains(compose.directory().to_str().unwrap()) && said.contains("move or rename it back"),
            "{said}"
        );
        assert!(!said.contains("ERROR"), "no line of the log: {said}");
    }
    let mut resume = tutti(["compose", "--resume", &compose.id(), "--target-dir"]);
    resume.arg(&copies);
    assert!(run(resume).expect(1).stderr.contains("move or rename it back"));
    assert_eq!(tree::list(compose.directory()), before);
    // By another way to the same directory it is itself.
    std::os::unix::fs::symlink(&target, scratch.join("link")).unwrap();
    let mut show = tutti(["show", "--target-dir"]);
    show.arg(scratch.join("link")).arg(compose.id());
    let _ = run(show).expect(0);
}

#[test]
fn a_target_directory_may_be_written_with_dots() {
    let scratch = Scratch::new("dotted-target");
    let config = config(&scratch);
    fs::create_dir(scratch.join("below")).unwrap();
    let (compose, _) = Run::default().compose(&config, &scratch.join("below/../composes"), 0);
    assert_eq!(compose.target(), fs::canonicalize(scratch.join("composes")).unwrap());
    let refused = Run::default().run(&config, &scratch.join("nowhere/../composes")).expect(1);
    assert!(refused.stderr.contains("cannot find") && refused.stderr.contains("nowhere"), "{}", refused.stderr);
}

#[test]
fn a_configuration_and_its_repositories_may_be_written_with_dots() {
    let scratch = Scratch::new("dotted-config");
    let mut tiny = Tiny::new(&scratch.join("tiny"));
    tiny.config = tiny.config.replace("\"repo\"", "\"../tiny/repo\"");
    assert!(tiny.config.contains("../tiny/repo"), "{}", tiny.config);
    let _ = tiny.write();
    fs::create_dir(scratch.join("below")).unwrap();
    let dotted = scratch.join("below/../tiny/compose.conf");
    let (compose, _) = Run::default().compose(&dotted, &scratch.join("composes"), 0);
    assert_eq!(compose.status(), "FINISHED");
    tiny.config = tiny.config.replace("../tiny/repo", "nowhere/../repo");
    let refused = Run::default().run(&tiny.write(), &scratch.join("refused")).expect(1);
    let words = ["error: pkgset_repos: cannot find ", "tiny/nowhere/..: No such file"];
    assert!(words.iter().all(|word| refused.stderr.contains(word)), "{}", refused.stderr);
    assert!(!scratch.join("refused").exists(), "something was left behind");
}

/// The directory of the worker's state cannot be made, once: the compose says so and does not wait for ever.
#[test]
fn a_worker_that_cannot_start_ends_the_compose() {
    let scratch = Scratch::new("no-worker");
    let (config, target) = (config(&scratch), scratch.join("composes"));
    let id = "Tiny-1-20260102.0";
    let top = target.join(id);
    let go = scratch.join("go");
    let point = format!("embedded.address.written=pause-file({})", go.display());
    let fixed = Run::default().with(&["--compose-id", id, "--date", "20260102"]).env("TUTTI_FAILPOINTS", &point);
    let command = fixed.command(&config, &target);
    let ended = std::thread::scope(|scope| {
        let ended = scope.spawn(|| run(command));
        let deadline = Instant::now() + LIMIT;
        while !top.join("work/tutti/controller").exists() {
            assert!(Instant::now() < deadline && !ended.is_finished(), "it does not begin");
            std::thread::sleep(Duration::from_millis(10));
        }
        fs::create_dir_all(top.join("work/tutti/staging")).unwrap();
        fs::write(top.join("work/tutti/staging/worker"), "").unwrap();
        fs::write(&go, "").unwrap();
        ended.join().unwrap()
    });
    let ended = ended.expect(1);
    assert!(ended.stderr.contains("state directory") && ended.stderr.contains("staging/worker"), "{}", ended.stderr);
}
