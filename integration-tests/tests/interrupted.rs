//! A compose that is interrupted, or killed, can be gone on with.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

use std::{path::Path, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use tutti_integration_tests::{
    compose::{Compose, Run, jobs},
    judges,
    program::{LIMIT, run, tutti},
    scratch::{Scratch, write},
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

/// Ctrl-Z, or a laptop that sleeps, for longer than leases of leaders (3 s in etcd) and workers (8 s until their jobs go to
/// others) last: it goes on as if nothing had been.
#[test]
fn r4_what_stood_still_goes_on() {
    let scratch = Scratch::new("stood-still");
    let (mut live, compose) = paused(&scratch);
    signal(&live, Signal::STOP);
    std::thread::sleep(Duration::from_secs(10));
    signal(&live, Signal::CONT);
    write(&scratch.join("never"), "");
    let ended = live.finish(LIMIT);
    assert_eq!((ended.status, compose.status().as_str()), (0, "FINISHED"), "{}", ended.text());
    let held = &jobs(&compose.show())[PAUSED];
    assert_eq!(held["attempts"].as_array().map(Vec::len), Some(1), "it lost its own worker: {held}");
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
