//! A worker that is told to end (SIGTERM, as systemd does): it finishes what runs, or hands it back at no cost.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

use rustix::process::Signal;
use serde_json::Value;
use tutti_integration_tests::{
    compose::jobs,
    farm::{self, Farm},
    program::{LIMIT, run},
    scratch::{Scratch, write},
    sources,
    stream::text,
};

const HELD: &str = "createrepo.Everything.x86_64";

/// Submits the demo distribution under this id.
fn submit(farm: &Farm, scratch: &Scratch, id: &str) {
    let mut submit = farm.client_command(&["submit", "--compose-id", id]);
    submit.arg("--config").arg(scratch.join("demo/compose.conf")).arg("--target-dir").arg(scratch.join("composes"));
    let _ = run(submit).expect(0);
}

fn wait_until_held(farm: &Farm, id: &str, worker: &str) {
    let _ = farm.wait_for_list("the job is held", |list| {
        list.lines().any(|line| line.starts_with(&format!("{worker} ")) && line.contains(HELD))
    });
    // The controller has heard of it: its process has passed the offer.
    let shown = farm.client(&["show", "--format", "json", id]).expect(0);
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_ne!(text(&jobs(&shown)[HELD], "state"), "published");
}

fn attempts(farm: &Farm, id: &str, job: &str) -> Vec<Value> {
    let shown: Value = serde_json::from_str(&farm.client(&["show", "--format", "json", id]).expect(0).stdout).unwrap();
    jobs(&shown)[job]["attempts"].as_array().cloned().unwrap_or_default()
}

fn environment_of(pid: &str) -> String {
    String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default()).into_owned()
}

/// Processes of attempts whose staging directory lies in `scratch`, that live.
fn processes_in(scratch: &Scratch) -> Vec<String> {
    let home = format!("HOME={}/", scratch.path().display());
    let ours = |pid: &String| {
        let environment = environment_of(pid);
        environment.contains("TUTTI_ATTEMPT=") && environment.split('\0').any(|variable| variable.starts_with(&home))
    };
    let names = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name().to_string_lossy().into());
    names.filter(|name: &String| name.bytes().all(|byte| byte.is_ascii_digit())).filter(ours).collect()
}

fn draining(worker: &str) -> impl Fn(&str) -> bool {
    move |list| list.lines().any(|line| line.starts_with(&format!("{worker} ")) && line.contains(" draining "))
}

#[test]
fn o3_sigterm_lets_a_worker_finish_what_it_runs_and_gives_it_nothing_new() {
    let scratch = Scratch::new("drain-term");
    let _ = sources::demo(&scratch.join("demo"));
    let point = format!("job.run.before[{HELD}]=pause-file({})", scratch.join("go").display());
    let mut farm = Farm::start_with(scratch.path(), 1, &[("TUTTI_FAILPOINTS", &point)]);
    let (first, second) = ("Demo-1-20260102.0", "Demo-1-20260102.1");
    submit(&farm, &scratch, first);
    wait_until_held(&farm, first, "worker-1");
    farm.worker("worker-1").signal(Signal::TERM);
    let _ = farm.wait_for_list("SIGTERM is seen by the controller", draining("worker-1"));
    assert!(farm.log("worker-1").contains("draining"), "{}", farm.log("worker-1"));

    // Work comes, and is not given to it.
    submit(&farm, &scratch, second);
    let why = farm.client(&["why", second, "pkgset.repos"]).expect(0);
    assert!(why.stdout.contains("drain"), "{}", why.text());
    write(&scratch.join("go"), "");
    assert_eq!(farm.worker("worker-1").wait(LIMIT), 0, "{}", farm.log("worker-1"));
    let done = attempts(&farm, first, HELD);
    assert_eq!((done.len(), text(&done[0], "worker_id")), (1, "worker-1"), "{done:?}");
    assert_eq!(text(&done[0], "result"), "committed", "{done:?}");
    assert_eq!(attempts(&farm, second, "pkgset.repos"), Vec::<Value>::new());

    farm.add_worker("worker-2", &[]);
    for id in [first, second] {
        let ended = farm::watch(&farm, id).finish(LIMIT).expect(0);
        assert!(ended.stdout.contains("\"FINISHED\""), "{}", ended.text());
    }
    let shown: Value =
        serde_json::from_str(&farm.client(&["show", "--format", "json", second]).expect(0).stdout).unwrap();
    for (name, job) in jobs(&shown) {
        let workers: Vec<&str> = job["attempts"].as_array().unwrap().iter().map(|a| text(a, "worker_id")).collect();
        assert_eq!(workers, ["worker-2"], "{name}");
    }
}

/// A second SIGTERM, and the limit of draining: more often than a job may be tried, and it is not charged.
#[test]
fn o3_a_second_sigterm_hands_jobs_back_at_once_and_uncharged() {
    let scratch = Scratch::new("drain-twice");
    let _ = sources::demo(&scratch.join("demo"));
    let point = format!("job.run.before[{HELD}]=pause-file({})", scratch.join("never").display());
    let environment = [("TUTTI_FAILPOINTS", point.as_str())];
    let mut farm = Farm::start_with(scratch.path(), 0, &[]);
    let id = "Demo-1-20260102.0";
    submit(&farm, &scratch, id);
    for number in 1..=4 {
        let name = format!("worker-{number}");
        let limited = ["--drain-limit", "1", "--job-prefix", "env PREFIXED=yes"];
        let limited: &[&str] = if number == 1 { &limited } else { &[] };
        farm.add_worker_by(tutti_integration_tests::program::tutti::<&str>([]), &name, limited, &environment);
        wait_until_held(&farm, id, &name);
        let prefixed = processes_in(&scratch).iter().any(|pid| environment_of(pid).contains("PREFIXED=yes"));
        assert_eq!(prefixed, number == 1, "--job-prefix");
        farm.worker(&name).signal(Signal::TERM);
        if number > 1 {
            let _ = farm.wait_for_list("SIGTERM is seen by the controller", draining(&name));
            farm.worker(&name).signal(Signal::TERM);
        }
        assert_eq!(farm.worker(&name).wait(LIMIT), 0, "{}", farm.log(&name));
        assert_eq!(processes_in(&scratch), Vec::<String>::new(), "jobs of {name} live on");
        let tries = attempts(&farm, id, HELD);
        assert_eq!(tries.len(), number, "{tries:?}");
        assert!(text(&tries[number - 1], "result").starts_with("cancelled: "), "{tries:?}");
    }
    farm.add_worker("worker-5", &[]);
    let ended = farm::watch(&farm, id).finish(LIMIT).expect(0);
    assert!(ended.stdout.contains("\"FINISHED\""), "{}", ended.text());
    let tries = attempts(&farm, id, HELD);
    assert_eq!((tries.len(), text(&tries[4], "worker_id")), (5, "worker-5"), "{tries:?}");
}
