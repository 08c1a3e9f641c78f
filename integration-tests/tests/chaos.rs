//! The chaos command's parts in short: order and state only, never seconds. `--bin chaos` measures.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

use std::time::Duration;

use tutti_integration_tests::{
    chaos::{
        kills::{self, Kills, Plan},
        poison,
        silence::{self, Cut, Held, Measured},
        stubborn,
    },
    farm,
    program::{LIMIT, run},
    scratch::{self, Scratch, write},
    sources::{self, Tiny},
    stream::text,
    supervised::{self, Worker, descendants, is_alive, wait_until},
    tree,
};

#[test]
fn r2_kills_at_random_change_nothing() {
    let scratch = Scratch::new("r2");
    let plan = Plan {
        config: sources::demo(&scratch.join("demo")),
        workers: 2,
        cpus: 1,
        restart: Duration::from_millis(50),
        limit: Duration::from_secs(240),
        loud: true,
    };
    let base = kills::compose(&plan, &scratch.join("base"), None).unwrap();
    assert_eq!(base.faults(), Vec::<String>::new());
    let schedule = Kills::random(1, 6, plan.workers + 1, base.wall);
    let run = kills::compose(&plan, &scratch.join("s1"), Some(&schedule)).unwrap();
    assert_eq!(run.faults(), Vec::<String>::new());
    assert!(run.killed.values().sum::<u32>() > 0, "nothing was killed");
    let differences = tree::differences(&base.compose.join("compose"), &run.compose.join("compose"));
    assert_eq!(differences, Vec::<String>::new());
}

#[test]
fn r5_a_worker_that_is_cut_off_loses_its_jobs_to_others() {
    let scratch = Scratch::new("r5");
    let mut held = Held::start(scratch.path(), 4).unwrap();
    let mut measured = Measured::default();
    for cut in [Cut::Silence, Cut::Reset] {
        silence::round(&mut held, cut, 1, &mut measured).unwrap();
    }
    assert_eq!((measured.suspected.count(), measured.reassigned.count()), (2, 2));
}

#[test]
fn r7_a_late_result_is_refused_and_swept_once_another_attempt_was_made() {
    silence::zombie(Scratch::new("r7").path(), 1).unwrap();
}

#[test]
fn r7_a_late_result_counts_while_nobody_else_was_given_the_job() {
    silence::zombie(Scratch::new("r7").path(), 0).unwrap();
}

#[test]
fn r8_a_job_that_ends_its_workers_is_poisoned_and_all_else_is_published() {
    let scratch = Scratch::new("r8");
    let ended = poison::compose(scratch.path(), 2, true).unwrap();
    poison::judge(&ended, 2).unwrap();
    assert!(ended.restarts >= 3, "{}", ended.restarts);
}

#[test]
fn r10_what_was_cancelled_is_dead() {
    let scratch = Scratch::new("r10");
    assert_eq!(stubborn::cancel(&scratch.join("cancel"), 2).unwrap().count(), 2);
    assert_eq!(stubborn::interrupt(&scratch.join("interrupt"), 2).unwrap().count(), 2);
}

/// A job whose worker is killed while the job stands at `point`: it dies by itself.
fn dies_with_its_worker(name: &str, point: &str) {
    let scratch = Scratch::new(name);
    let config = Tiny::new(&scratch.join("tiny")).write();
    let log = scratch.join("points");
    let environment = [
        ("TUTTI_FAILPOINTS", format!("{point}=pause-file({})", scratch.join("never").display())),
        ("TUTTI_FAILPOINT_LOG", log.display().to_string()),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value)).to_vec();
    let worker = Worker { name: "worker-1".into(), cpus: 2, environment };
    let mut farm = supervised::Farm::start(&scratch.join("farm"), &[worker]).unwrap();
    let mut submit = farm.command(&["submit", "--config"]);
    submit.arg(&config).arg("--target-dir").arg(scratch.join("composes"));
    let _ = run(submit).expect(0);
    let stands = || scratch::read(&log).lines().any(|line| line.starts_with(&format!("{point} ")));
    assert!(wait_until(LIMIT, || log.exists() && stands()).is_some(), "no job came to {point}");
    let children = farm.service("worker-1").unwrap().kill().unwrap();
    let dead = wait_until(LIMIT, || !children.iter().any(|child| is_alive(*child)));
    assert!(dead.is_some() && !children.is_empty(), "{children:?} live on without their worker");
}

/// Before it watches its worker, by the kernel.
#[test]
fn r10_a_job_that_has_just_begun_dies_with_its_worker() {
    dies_with_its_worker("r10-begun", "job.start");
}

#[test]
fn r10_a_job_that_works_dies_with_its_worker() {
    dies_with_its_worker("r10-works", "job.run.before");
}

/// Processes that SIGKILL does not end, as those that wait for a dead file server: their slot stays taken, and people can
/// read why, until they are gone.
#[test]
fn r10_a_slot_is_not_free_before_its_processes_are_dead() {
    const JOB: &str = "createrepo.Server.x86_64";
    let scratch = Scratch::new("r10-undying");
    let config = Tiny::new(&scratch.join("tiny")).write();
    let points = format!(
        "job.run.before[{JOB}]=pause-file({});worker.process.kill=error-until({})",
        scratch.join("never").display(),
        scratch.join("mended").display()
    );
    let farm = farm::Farm::start_with(scratch.path(), 1, &[("TUTTI_FAILPOINTS", &points)]);
    let id = "Tiny-1-20260102.n.0";
    let mut submit = farm.client_command(&["submit", "--nightly", "--date", "20260102", "--compose-id", id]);
    submit.arg("--config").arg(&config).arg("--target-dir").arg(scratch.join("composes"));
    let _ = run(submit).expect(0);
    farm::watch(&farm, id).wait_for(LIMIT, |event| text(event, "name") == JOB && text(event, "state") == "running");
    let mut family = Vec::new();
    let started = || {
        family = descendants(i32::try_from(farm.workers[0].1.id()).unwrap());
        !family.is_empty()
    };
    assert!(wait_until(LIMIT, started).is_some());
    let cancelled = farm.client(&["cancel", id]).expect(0);
    assert!(cancelled.stderr.contains(&format!("cancelled {id}: ")), "{}", cancelled.text());
    assert!(cancelled.stderr.contains(" being ended"), "{}", cancelled.text());
    let said = "live on after SIGKILL";
    farm.wait_for_list("what lives on is told", |list| list.contains(said) && list.contains("restart the host"));
    let why = || farm.client(&["why", id, JOB]).expect(0).stdout;
    assert!(wait_until(LIMIT, || why().contains(said)).is_some(), "{}", why());
    // However often the worker is heard.
    let listed = || -> Vec<serde_json::Value> {
        serde_json::from_str(&farm.client(&["drain", "--format", "json"]).stdout).unwrap_or_default()
    };
    let mut beats = std::collections::BTreeSet::new();
    let heard = wait_until(LIMIT, || {
        beats.extend(listed().first().and_then(|worker| worker["last_seen_ms"].as_i64()));
        beats.len() > 4
    });
    assert!(heard.is_some());
    let show = || -> serde_json::Value {
        serde_json::from_str(&farm.client(&["show", "--format", "json", id]).expect(0).stdout).unwrap()
    };
    let (list, shown) = (listed(), show());
    assert!(
        list[0]["running"]
            .as_array()
            .is_some_and(|jobs| jobs.iter().any(|job| job.as_str().is_some_and(|job| job.ends_with(JOB)))),
        "{list:?}"
    );
    assert!(shown["active"] == true && family.iter().any(|process| is_alive(*process)), "{shown}");
    write(&scratch.join("mended"), "");
    assert!(wait_until(LIMIT, || show()["active"] == false).is_some(), "{}", show());
    assert!(!family.iter().any(|process| is_alive(*process)), "{family:?}");
    assert_eq!(text(&show(), "status"), "TERMINATED");
    farm.wait_for_list("nothing lives on", |list| list.contains(" ready ") && !list.contains(said));
}
