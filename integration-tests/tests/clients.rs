//! The commands that ask a controller.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

use std::collections::BTreeSet;

use serde_json::Value;
use tutti_integration_tests::{
    farm::{self, Farm},
    program::{LIMIT, run},
    scratch::{Scratch, write},
    sources,
    stream::text,
};

const PAUSED: &str = "createrepo.Everything.x86_64";

/// A farm whose workers stop at one job until a file appears, and the compose that waits there.
fn paused(scratch: &Scratch, workers: usize) -> (Farm, String) {
    let config = sources::demo(&scratch.join("demo"));
    let point = format!("job.run.before[{PAUSED}]=pause-file({})", scratch.join("go").display());
    let farm = Farm::start_with(scratch.path(), workers, &[("TUTTI_FAILPOINTS", &point)]);
    let mut submit = farm.client_command(&["submit"]);
    submit.arg("--config").arg(&config).arg("--target-dir").arg(scratch.join("composes"));
    let submitted = run(submit).expect(0);
    let id = submitted.stdout.split_whitespace().find(|word| word.starts_with("Demo-1-")).unwrap_or_default();
    assert!(!id.is_empty(), "no compose id: {}", submitted.text());
    let id = id.to_owned();
    let mut watcher = farm::watch(&farm, &id);
    watcher.wait_for(LIMIT, |event| text(event, "name") == PAUSED && text(event, "state") == "running");
    (farm, id)
}

#[test]
fn say_what_happens_while_a_job_runs() {
    let scratch = Scratch::new("clients");
    let (farm, id) = paused(&scratch, 2);
    let listed = farm.client(&["list"]).expect(0);
    assert!(listed.stdout.contains(&id) && listed.stdout.contains("STARTED"), "{}", listed.text());
    let listed: Value = serde_json::from_str(&farm.client(&["list", "--format", "json"]).expect(0).stdout).unwrap();
    assert_eq!((text(&listed[0], "compose_id"), &listed[0]["active"]), (id.as_str(), &Value::Bool(true)));
    let why = farm.client(&["why", &id, "repoclosure.Everything.x86_64"]).expect(0);
    assert!(why.stdout.contains(PAUSED), "{}", why.text());
    let why = farm.client(&["why", &id, "createrepo.Nowhere.x86_64"]).expect(1);
    assert!(why.stderr.contains("createrepo.Nowhere.x86_64"), "{}", why.text());
    let unknown = farm.client(&["show", "Demo-1-19990101.0"]).expect(1);
    assert!(unknown.stderr.contains("Demo-1-19990101.0"), "{}", unknown.text());
    let workers = farm.client(&["drain"]).expect(0);
    assert!(workers.stdout.contains(PAUSED), "{}", workers.text());

    // A watcher that comes in the middle sees all that was, and the end.
    let mut watcher = farm::watch(&farm, &id);
    watcher.wait_for(LIMIT, |event| text(event, "name") == "pkgset.repos" && text(event, "state") == "published");
    write(&scratch.join("go"), "");
    let ended = watcher.finish(LIMIT).expect(0);
    assert!(ended.stdout.contains("\"FINISHED\""), "{}", ended.text());
    let log = farm.client(&["logs", &id, PAUSED]).expect(0);
    assert!(!log.stdout.is_empty(), "the job's log is empty");
}

#[test]
fn cancel_ends_what_runs() {
    let scratch = Scratch::new("cancel");
    let (farm, id) = paused(&scratch, 1);
    let mut watcher = farm::watch(&farm, &id);
    let cancelled = farm.client(&["cancel", "--format", "json", &id]).expect(0);
    let ended = watcher.finish(LIMIT).expect(1);
    assert!(ended.stdout.contains("\"TERMINATED\""), "{}", ended.text());
    let shown: Value = serde_json::from_str(&farm.client(&["show", "--format", "json", &id]).expect(0).stdout).unwrap();
    let jobs = tutti_integration_tests::compose::jobs(&shown);
    assert_eq!(text(&jobs[PAUSED], "state"), "cancelled", "{}", jobs[PAUSED]);
    // As docs/json-stream.md has it: the object of `compose` in the stream, as it is while jobs are being ended.
    let cancelled: Value = serde_json::from_str(&cancelled.stdout).unwrap();
    assert_eq!((text(&cancelled, "compose_id"), text(&cancelled, "status")), (id.as_str(), "TERMINATED"));
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let page = tutti_integration_tests::scratch::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/json-stream.md"));
    let (_, section) = page.split_once("## `compose`").unwrap();
    let rows =
        section.split("\n## ").next().unwrap().lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let documented: BTreeSet<String> = rows.map(|(name, _)| name.to_owned()).filter(|name| name != "event").collect();
    assert_eq!(keys(&cancelled), documented);
    assert_eq!(
        tutti_integration_tests::scratch::read(scratch.join("composes").join(&id).join("STATUS")).trim(),
        "TERMINATED"
    );
    assert!(!scratch.join("composes/latest-Demo-1").exists());

    // What was cancelled can be taken up again.
    write(&scratch.join("go"), "");
    let _ = farm.client(&["retry", &id]).expect(0);
    assert!(scratch.join("composes/latest-Demo-1").exists());
}

#[test]
fn drain_keeps_new_jobs_from_a_worker() {
    let scratch = Scratch::new("drain");
    let (farm, id) = paused(&scratch, 2);
    let workers = farm.client(&["drain"]).expect(0);
    let busy = workers.stdout.lines().find(|line| line.contains(PAUSED)).unwrap().split(' ').next().unwrap().to_owned();
    let other = if busy == "worker-1" { "worker-2" } else { "worker-1" };
    let _ = farm.client(&["drain", other]).expect(0);
    let workers = farm.client(&["drain"]).expect(0);
    assert!(
        workers.stdout.lines().any(|line| line.starts_with(other) && line.contains("draining")),
        "{}",
        workers.text()
    );
    write(&scratch.join("go"), "");
    let _ = farm.client(&["watch", &id]).expect(0);
    let shown: Value = serde_json::from_str(&farm.client(&["show", "--format", "json", &id]).expect(0).stdout).unwrap();
    let jobs = tutti_integration_tests::compose::jobs(&shown);
    assert_eq!(text(&jobs["metadata"]["attempts"][0], "worker_id"), busy, "{}", jobs["metadata"]);
}
