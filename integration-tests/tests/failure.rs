//! One job fails: everybody sees it at once, nothing else suffers, and a retry runs it alone.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

use std::collections::BTreeMap;

use serde_json::Value;
use tutti_integration_tests::{
    compose::{Compose, Run, jobs},
    farm::{self, Farm},
    program::{LIMIT, run, tutti},
    scratch::{self, Scratch},
    sources, stream,
    stream::{Live, job_over, text},
};

const BROKEN: &str = "createrepo.Server.x86_64";
const POINT: &str = "job.run.before[createrepo.Server.x86_64]=error";

fn is_failure(event: &Value) -> bool {
    text(event, "event") == "job" && text(event, "state") == "failed"
}

fn is_doomed(event: &Value) -> bool {
    text(event, "event") == "compose" && text(event, "status") == "DOOMED"
}

/// The failure is seen, then DOOMED, and in between no other job ends but by being skipped.
fn check_order(events: &[Value]) {
    let failed = events.iter().position(is_failure).expect("no failure was seen");
    assert_eq!(text(&events[failed], "name"), BROKEN);
    assert!(
        !text(&events[failed], "reason").is_empty() && !text(&events[failed], "log").is_empty(),
        "{}",
        events[failed]
    );
    let doomed = events.iter().position(is_doomed).expect("DOOMED was never seen");
    let (from, to) = (failed.min(doomed), failed.max(doomed));
    for event in events[from..to].iter().filter(|event| job_over(event) && !is_failure(event)) {
        assert_eq!(text(event, "state"), "skipped", "{event} came between the failure and DOOMED");
    }
    let after = events[to..].iter().filter(|event| job_over(event) && text(event, "state") == "published").count();
    assert!(after > 0, "nothing else went on after the failure");
}

/// Names of the jobs that a job needs.
fn needs<'a>(job: &'a Value, numbers: &'a BTreeMap<u64, &String>) -> impl Iterator<Item = &'a str> {
    let needs = job["needs"].as_array().into_iter().flatten().filter_map(Value::as_u64);
    needs.filter_map(|number| numbers.get(&number).map(|name| name.as_str()))
}

/// States of all jobs: the broken one failed, what needs it is skipped, all else is published.
fn check_states(all: &BTreeMap<String, Value>) {
    let numbers: BTreeMap<u64, &String> =
        all.iter().filter_map(|(name, job)| Some((job["number"].as_u64()?, name))).collect();
    let mut dependents = std::collections::BTreeSet::new();
    loop {
        let before = dependents.len();
        for (name, job) in all {
            if needs(job, &numbers).any(|need| need == BROKEN || dependents.contains(need)) {
                dependents.insert(name.clone());
            }
        }
        if dependents.len() == before {
            break;
        }
    }
    assert!(dependents.contains("repoclosure.Server.x86_64"), "{dependents:?}");
    for (name, job) in all {
        let expected = if name == BROKEN {
            "failed"
        } else if dependents.contains(name) {
            "skipped"
        } else {
            "published"
        };
        assert_eq!(text(job, "state"), expected, "{name}: {job}");
        if expected == "skipped" {
            // The reason names what is missing: one of its own needs, which is the broken job or skipped itself.
            let missing = needs(job, &numbers).find(|need| text(job, "reason") == format!("needs {need}"));
            assert!(missing.is_some_and(|need| need == BROKEN || dependents.contains(need)), "{name}: {job}");
        }
    }
}

fn attempts(all: &BTreeMap<String, Value>) -> BTreeMap<String, usize> {
    all.iter().map(|(name, job)| (name.clone(), job["attempts"].as_array().map_or(0, Vec::len))).collect()
}

/// After the retry: all published, and only what was not done has new attempts.
fn check_retry(before: &BTreeMap<String, Value>, after: &BTreeMap<String, Value>) {
    let (old, new) = (attempts(before), attempts(after));
    for (name, job) in after {
        assert_eq!(text(job, "state"), "published", "{name}: {job}");
        let done = text(&before[name], "state") == "published";
        assert_eq!(new[name] > old[name], !done, "{name}: {} attempts, then {}", old[name], new[name]);
    }
}

#[test]
fn is_seen_at_once_and_retried_alone() {
    let scratch = Scratch::new("failure");
    let config = sources::demo(&scratch.join("demo"));
    let run_broken = Run::default().with(&["--format", "json"]).env("TUTTI_FAILPOINTS", POINT);
    let mut live = Live::start(run_broken.command(&config, &scratch.join("composes")));
    let started = live.wait_for(LIMIT, |event| text(event, "event") == "started");
    let ended = live.finish(LIMIT);
    assert_eq!(ended.status, 1, "{}", ended.text());
    let events: Vec<Value> = live.events.iter().map(|(_, event)| event.clone()).collect();
    check_order(&events);
    let compose = Compose::open(std::path::Path::new(text(&started, "compose_dir")));
    assert_eq!(compose.status(), "DOOMED");
    assert!(!compose.target().join("latest-Demo-1").exists(), "a doomed compose became the latest");
    let before = jobs(&compose.show());
    check_states(&before);
    assert!(compose.log(BROKEN).contains("failpoint"), "{}", compose.log(BROKEN));

    let mut retry = tutti(["retry", "--target-dir"]);
    retry.arg(compose.target()).args([&compose.id(), BROKEN, "--format", "json"]);
    let _ = run(retry).expect(0);
    assert_eq!(compose.status(), "FINISHED");
    check_retry(&before, &jobs(&compose.show()));
    tutti_integration_tests::judges::repodata(&compose);
    tutti_integration_tests::judges::productmd(&compose);
}

#[test]
fn on_a_farm_a_watcher_sees_it_and_a_retry_completes_it() {
    let scratch = Scratch::new("failure-farm");
    let config = sources::demo(&scratch.join("demo"));
    let mut farm = Farm::start_with(scratch.path(), 2, &[("TUTTI_FAILPOINTS", POINT)]);
    let mut submit = farm.client_command(&["submit", "--format", "json"]);
    submit.arg("--config").arg(&config).arg("--target-dir").arg(scratch.join("composes"));
    let submitted = run(submit).expect(0);
    let submitted: Value = serde_json::from_str(submitted.stdout.lines().next().unwrap_or_default()).unwrap();
    let id = text(&submitted, "compose_id").to_owned();
    let mut watcher = farm::watch(&farm, &id);
    let ended = watcher.finish(LIMIT);
    assert_eq!(ended.status, 1, "{}", ended.text());
    // How soon is for `chaos r11` to measure.
    let events: Vec<Value> = watcher.events.iter().map(|(_, event)| event.clone()).collect();
    check_order(&events);
    let show = |farm: &Farm| -> Value {
        let shown = farm.client(&["show", "--format", "json", &id]).expect(0);
        serde_json::from_str(&shown.stdout).unwrap()
    };
    let before = jobs(&show(&farm));
    check_states(&before);
    let why = farm.client(&["why", &id, "repoclosure.Server.x86_64"]).expect(0);
    assert!(why.stdout.contains(BROKEN), "{}", why.text());

    // The fix: workers that are not broken.
    farm.workers.clear();
    farm.add_worker("worker-9", &[]);
    let retried = farm.client(&["retry", "--format", "json", &id, BROKEN]).expect(0);
    assert!(
        stream::parse(&retried.stdout).iter().any(|event| text(event, "status") == "FINISHED"),
        "{}",
        retried.text()
    );
    check_retry(&before, &jobs(&show(&farm)));
}

#[test]
fn of_a_failable_repository_leaves_the_rest_good() {
    let place = Scratch::new("failable");
    let config = sources::demo(&place.join("demo"));
    let mut configuration = scratch::read(&config);
    configuration.push_str("failable_deliverables = [(\"^Server$\", {\"x86_64\": [\"*\"]})]\n");
    scratch::write(&config, configuration);
    for (strict, status) in [(false, 0), (true, 2)] {
        let mut run = Run::default().env("TUTTI_FAILPOINTS", POINT);
        if strict {
            run = run.with(&["--strict"]);
        }
        let (compose, events) = run.compose(&config, &place.join("composes"), status);
        assert_eq!(compose.status(), "FINISHED_INCOMPLETE");
        assert!(!events.iter().any(is_doomed));
        let all = jobs(&compose.show());
        assert_eq!(text(&all[BROKEN], "state"), "failed");
        assert_eq!(all[BROKEN]["failable"], true);
        assert_eq!(text(&all["createrepo.Server.aarch64"], "state"), "published");
        assert_eq!(text(&all["metadata"], "state"), "published", "{}", all["metadata"]);
        check_too_late(&compose);
    }
}

/// Others went on without the failable job, so a retry of it is refused, by name and of all, and changes nothing.
fn check_too_late(compose: &Compose) {
    let before = jobs(&compose.show());
    for names in [[BROKEN].as_slice(), &[]] {
        let mut retry = tutti(["retry", "--target-dir"]);
        retry.arg(compose.target()).arg(compose.id()).args(names);
        let refused = run(retry).expect(1);
        let says = |what: &str| assert!(refused.stderr.contains(what), "no {what:?}: {}", refused.text());
        says("error: ");
        says("too late to retry; hint: make a new compose");
        if !names.is_empty() {
            says(&format!(" was made without {BROKEN},"));
        }
        assert_eq!(compose.status(), "FINISHED_INCOMPLETE");
        assert!(jobs(&compose.show()) == before, "the refused retry changed a job");
    }
}

#[test]
fn fail_fast_cancels_the_rest() {
    let scratch = Scratch::new("fail-fast");
    let config = sources::demo(&scratch.join("demo"));
    let run =
        Run::default().with(&["--fail-fast"]).env("TUTTI_FAILPOINTS", "job.run.before[solve.Server.aarch64]=error");
    let (compose, _) = run.compose(&config, &scratch.join("composes"), 1);
    assert_eq!(compose.status(), "DOOMED");
    let all = jobs(&compose.show());
    assert!(all.values().any(|job| text(job, "state") == "cancelled"), "{:?}", all.keys().collect::<Vec<_>>());
}
