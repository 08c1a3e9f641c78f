//! A compose that is interrupted, or killed, can be gone on with.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

use std::{fs, path::Path, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use tutti_integration_tests::{
    chaos::still,
    compose::{Compose, Run, jobs},
    history, judges,
    program::{LIMIT, run, tutti},
    scratch::{Scratch, read},
    sources,
    stream::{Live, text},
};

const PAUSED: &str = "createrepo.Everything.x86_64";

/// A compose that stands still at one job.
fn paused(scratch: &Scratch) -> (Live, Compose) {
    let config = sources::demo(&scratch.join("demo"));
    let point = format!("job.run.before[{PAUSED}]=pause-file({})", scratch.join("never").display());
    let command = Run::default().with(&["--format", "json"]).env("TUTTI_FAILPOINTS", &point);
    let mut live = Live::start(command.command(&config, &scratch.join("composes")));
    let started = live.wait_for(LIMIT, |event| text(event, "event") == "started");
    live.wait_for(LIMIT, |event| text(event, "name") == PAUSED && text(event, "state") == "running");
    (live, Compose::open(Path::new(text(&started, "compose_dir"))))
}

fn signal(live: &Live, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(live.id()).unwrap()).unwrap(), signal).unwrap();
}

fn finish(compose: &Compose, command: &str, further: &[&str]) {
    let mut again = tutti([command, "--target-dir"]);
    again.arg(compose.target()).args(further);
    let _ = run(again).expect(0);
    assert_eq!(compose.status(), "FINISHED");
    judges::repodata(compose);
    judges::productmd(compose);
}

#[test]
fn by_the_user_it_is_cancelled_and_a_retry_completes_it() {
    let scratch = Scratch::new("interrupt");
    let (mut live, compose) = paused(&scratch);
    signal(&live, Signal::INT);
    let ended = live.finish(LIMIT);
    assert_eq!(ended.status, 1, "{}", ended.text());
    assert_eq!(compose.status(), "TERMINATED");
    let before = jobs(&compose.show());
    assert_eq!(text(&before[PAUSED], "state"), "cancelled", "{}", before[PAUSED]);
    finish(&compose, "retry", &[&compose.id()]);
}

/// Ctrl-Z: it goes on as if nothing had been. That this may last longer than any lease is shown by `chaos r4`, which stands
/// still for 30 s, and by the length of the leader's lease.
#[test]
fn r4_what_stood_still_goes_on() {
    let _ = still::stop(Scratch::new("stood-still").path(), Duration::ZERO).unwrap();
}

#[test]
fn by_kill_9_it_is_resumed_and_done_jobs_stay_done() {
    let scratch = Scratch::new("killed");
    let (mut live, compose) = paused(&scratch);
    signal(&live, Signal::KILL);
    let _ = live.finish(LIMIT);
    assert_eq!(compose.status(), "STARTED");
    let before = jobs(&compose.show());
    finish(&compose, "compose", &["--resume", &compose.id()]);
    for (name, job) in jobs(&compose.show()) {
        let attempts = |job: &serde_json::Value| job["attempts"].as_array().map_or(0, Vec::len);
        if text(&before[&name], "state") == "published" {
            assert_eq!(attempts(&job), attempts(&before[&name]), "{name} ran again");
        }
    }
}

/// The histories of all composes that a test has made are looked at when its directory goes, and that look is no formality.
#[test]
fn i4_a_history_that_was_changed_is_seen() {
    let scratch = Scratch::new("changed-history");
    let config = sources::Tiny::new(&scratch.join("tiny")).write();
    let (compose, _) = Run::default().compose(&config, &scratch.join("composes"), 0);
    assert_eq!(history::faults_below(scratch.path()), Vec::<String>::new());
    assert_eq!(history::composes_below(scratch.path()), [compose.directory()]);
    let logs = fs::read_dir(compose.directory().join("logs/global")).unwrap().map(|item| item.unwrap().path());
    let path = logs.filter(|path| path.extension().is_some_and(|end| end == "jsonl")).min().unwrap();
    let good = read(&path);
    // What was published is ready again.
    let line = good.lines().rfind(|line| line.contains("\"to\":\"published\"")).unwrap();
    let mut change: serde_json::Value = serde_json::from_str(line).unwrap();
    let last = good.lines().last().and_then(|line| serde_json::from_str::<serde_json::Value>(line).ok()).unwrap();
    let next = last["seq"].as_u64().unwrap() + 1;
    (change["seq"], change["batch"]) = (next.into(), next.into());
    (change["from"], change["to"]) = ("published".into(), "ready".into());
    fs::write(&path, format!("{good}{change}\n")).unwrap();
    let wrong = history::faults_below(scratch.path());
    assert!(wrong.iter().any(|wrong| wrong.contains("I4 ")), "{wrong:?}");
    fs::write(&path, "").unwrap();
    let wrong = history::faults_below(scratch.path());
    assert!(wrong.iter().any(|wrong| wrong.contains("nothing is told of it")), "{wrong:?}");
    fs::write(&path, good).unwrap();
}
