//! What people read where something stands in the way, is not there, or is written in another way.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tutti_integration_tests::{
    compose::{Compose, Run},
    program::{Ended, LIMIT, run, tutti},
    scratch::{Scratch, read, write},
    sources::Tiny,
    stream::{Live, text},
};

const JOB: &str = "createrepo.Server.x86_64";
const LATEST: &str = "latest-Tiny-1";

fn config(scratch: &Scratch) -> PathBuf {
    Tiny::new(&scratch.join("tiny")).write()
}

fn says(ended: &Ended, words: &[&str]) {
    let said = format!("{}\n{}", ended.stderr, ended.stdout);
    for word in words {
        assert!(said.contains(word), "no {word:?} in\n{said}");
    }
    assert!(!said.contains("ERROR"), "a line of the log: {said}");
}

/// `tutti COMMAND --target-dir TARGET ID …`
fn ask(target: &Path, command: &str, further: &[&str]) -> Ended {
    let mut ask = tutti([command, "--target-dir"]);
    ask.arg(target).args(further);
    run(ask)
}

/// A compose that stands still before a job until `go` is there.
fn paused(scratch: &Scratch, format: &str) -> (Live, Compose) {
    paused_with(scratch, format, Run::default())
}

fn paused_with(scratch: &Scratch, format: &str, run: Run) -> (Live, Compose) {
    let (config, target) = (config(scratch), scratch.join("composes"));
    let point = format!("job.run.before[{JOB}]=pause-file({})", scratch.join("go").display());
    let id = "Tiny-1-20260102.0";
    let fixed = ["--compose-id", id, "--date", "20260102", "--format", format];
    let live = Live::start(run.with(&fixed).env("TUTTI_FAILPOINTS", &point).command(&config, &target));
    let deadline = Instant::now() + LIMIT;
    while !(target.join(id).join("work/tutti/controller").exists()
        && ask(&target, "why", &[id, JOB]).stdout.contains("runs on"))
    {
        assert!(Instant::now() < deadline, "the job does not run");
        std::thread::sleep(Duration::from_millis(50));
    }
    (live, Compose::open(&target.join(id)))
}

#[test]
fn logs_that_are_not_there_are_named() {
    let scratch = Scratch::new("no-logs");
    let (compose, _) = Run::default().compose(&config(&scratch), &scratch.join("composes"), 0);
    let log = compose.directory().join("logs/x86_64/link-Server.x86_64.log");
    fs::remove_file(&log).unwrap();
    let ended = ask(compose.target(), "logs", &[&compose.id(), "link.Server.x86_64"]).expect(1);
    says(&ended, &[&format!("error: cannot read the log {}: No such file", log.display()), "hint: tutti why"]);
    let scratch = Scratch::new("no-log-yet");
    let (mut live, compose) = paused(&scratch, "json");
    let ended = ask(compose.target(), "logs", &[&compose.id(), "metadata"]).expect(1);
    says(&ended, &["metadata has not begun, so it has no log; hint: tutti why"]);
    write(&scratch.join("go"), "");
    let _ = live.finish(LIMIT).expect(0);
}

/// A directory in the place of STATUS: said once, and gone on with once it is away.
#[test]
fn a_directory_in_the_place_of_the_status_is_said_once() {
    let scratch = Scratch::new("no-status");
    let points = scratch.join("points");
    let run = Run::default().env("TUTTI_FAILPOINT_LOG", &points.display().to_string()).env("TUTTI_LOG", "warn");
    let (mut live, compose) = paused_with(&scratch, "json", run);
    let status = compose.directory().join("STATUS");
    fs::remove_file(&status).unwrap();
    fs::create_dir(&status).unwrap();
    write(&scratch.join("go"), "");
    let told = live.wait_for(LIMIT, |event| text(event, "trouble").contains("STATUS"));
    for word in ["waits: cannot write ", &status.display().to_string(), "Is a directory", "hint: move away"] {
        assert!(text(&told, "trouble").contains(word), "{told}");
    }
    says(&ask(compose.target(), "show", &[&compose.id()]).expect(0), &["Trouble: waits: cannot write "]);
    // A try writes five times, and its failure is heard of before the next one begins: two more have failed.
    let writes = || read(&points).lines().filter(|line| line.starts_with("volume.write_status.before ")).count();
    let (wanted, deadline) = (writes() + 2 * 5 + 1, Instant::now() + LIMIT);
    while writes() < wanted {
        assert!(Instant::now() < deadline, "it is not tried again: {}", read(&points));
        std::thread::sleep(Duration::from_millis(50));
    }
    fs::remove_dir(&status).unwrap();
    let ended = live.finish(LIMIT).expect(0);
    let events = tutti_integration_tests::stream::parse(&ended.stdout);
    let told = events.iter().filter(|event| text(event, "event") == "compose" && !text(event, "trouble").is_empty());
    assert_eq!(told.count(), 1, "{}", ended.text());
    assert_eq!(ended.stderr.matches("cannot write STATUS, trying again").count(), 1, "{}", ended.text());
    assert_eq!((compose.status().as_str(), ended.stderr.contains("ERROR")), ("FINISHED", false), "{}", ended.text());
}

#[test]
fn a_directory_in_the_place_of_the_latest_link_is_said_once() {
    let scratch = Scratch::new("no-latest");
    let target = scratch.join("composes");
    fs::create_dir_all(target.join(LATEST)).unwrap();
    let ended = Run::default().run(&config(&scratch), &target).expect(0);
    says(&ended, &["exists and is not a symbolic link", "hint: the compose is whole; move away", "ln -sfn Tiny-1-"]);
    assert_eq!(ended.stderr.matches("is not a symbolic link").count(), 1, "{}", ended.text());
}

#[test]
fn show_does_without_status_and_by_the_latest_link() {
    let scratch = Scratch::new("show-latest");
    let (compose, _) = Run::default().compose(&config(&scratch), &scratch.join("composes"), 0);
    fs::remove_file(compose.directory().join("STATUS")).unwrap();
    let shown = ask(compose.target(), "show", &[&compose.id()]).expect(0);
    assert!(!shown.stdout.contains("nobody works"), "{}", shown.text());
    let why = ask(compose.target(), "why", &[&compose.id(), JOB]).expect(0);
    assert!(!why.stdout.contains("nobody works"), "{}", why.text());
    for (command, further) in [("show", &[LATEST][..]), ("why", &[LATEST, JOB]), ("logs", &[LATEST, JOB])] {
        let _ = ask(compose.target(), command, further).expect(0);
    }
    let deadline = Instant::now() + LIMIT;
    while ask(compose.target(), "fsck", &[LATEST]).status != 0 {
        assert!(Instant::now() < deadline, "{}", ask(compose.target(), "fsck", &[LATEST]).text());
    }
    says(&ask(compose.target(), "show", &["latest-Tiny-2"]).expect(1), &["there is no compose latest-Tiny-2 in "]);
}

#[test]
fn list_and_watch_and_why_for_programs_look_into_a_target_directory() {
    let scratch = Scratch::new("list-target");
    let (mut live, compose) = paused(&scratch, "json");
    let (id, target) = (compose.id(), compose.target().to_owned());
    fs::create_dir(target.join("other")).unwrap();
    let listed = |status: &str| {
        let ended = ask(&target, "list", &[]).expect(0);
        assert_eq!(ended.stdout.lines().count(), 1, "{}", ended.text());
        says(&ended, &[&id, status]);
        serde_json::from_str::<Value>(&ask(&target, "list", &["--format", "json"]).expect(0).stdout).unwrap()
    };
    assert_eq!(listed(" active ")[0]["active"], true);
    let why = ask(&target, "why", &[&id, JOB, "--format", "json"]).expect(0);
    let why: Value = serde_json::from_str(&why.stdout).unwrap();
    assert_eq!((text(&why, "compose_id"), text(&why, "job")), (id.as_str(), JOB));
    assert!(why["reasons"][0].as_str().unwrap().contains("runs on"), "{why}");
    kill_process(Pid::from_raw(i32::try_from(live.id()).unwrap()).unwrap(), Signal::KILL).unwrap();
    let _ = live.finish(LIMIT);
    assert_eq!(listed("STARTED")[0]["active"], Value::Null);
    let refused = ask(&target, "watch", &[&id]).expect(1);
    says(&refused, &["error: nobody works on ", "tutti compose --resume"]);
    write(&scratch.join("go"), "");
    let _ = ask(&target, "compose", &["--resume", &id]).expect(0);
    let _ = listed("FINISHED");
    says(&ask(&target, "watch", &[&id]).expect(0), &["Status: FINISHED"]);
    let mut nowhere = tutti(["list"]);
    nowhere.env_remove("TUTTI_CONTROLLER");
    says(&run(nowhere).expect(1), &["--controller or --target-dir is needed"]);
}

#[test]
fn temporary_directory_and_jobs_that_cannot_be() {
    let scratch = Scratch::new("no-tmpdir");
    let (config, nowhere) = (config(&scratch), scratch.join("nowhere"));
    let target = scratch.join("composes");
    let ended = Run::default().env("TMPDIR", nowhere.to_str().unwrap()).run(&config, &target).expect(1);
    says(&ended, &["temporary files in ", nowhere.to_str().unwrap(), "No such file", "hint: let TMPDIR name"]);
    let (compose, _) = Run::default().compose(&config, &target, 0);
    let mut fsck = tutti(["fsck", &compose.id(), "--target-dir"]);
    fsck.arg(&target).env("TMPDIR", &nowhere);
    says(&run(fsck).expect(1), &["temporary files in ", nowhere.to_str().unwrap(), "hint: let TMPDIR name"]);
    says(&Run::default().with(&["-j", "0"]).run(&config, &target).expect(64), &["'0'", "--jobs", "1.."]);
}
