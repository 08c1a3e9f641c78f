//! A real worker with real child processes, driven by a controller made of channels.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panic, as tests do")]

mod rig;
mod tls;

use std::{fs, time::Duration};

use rig::{Rig, eventually, worker_process};
use serde_json::json;
use tutti_job::Digest;
use tutti_proto::worker::{
    self as proto, Cancel, Commit, Desired, FailureClass, GoAway, Outcome, Refused, outcome::Result as Ended,
    session_response::Message as Down,
};

fn failure(outcome: &Outcome) -> (FailureClass, &str, &str) {
    match outcome.result.as_ref() {
        Some(Ended::Failure(failure)) => (failure.class(), &failure.cause, &failure.hint),
        other => panic!("no failure but {other:?}"),
    }
}

fn success(outcome: &Outcome) -> &proto::Success {
    match outcome.result.as_ref() {
        Some(Ended::Success(success)) => success,
        other => panic!("no success but {other:?}"),
    }
}

fn alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[tokio::test(flavor = "multi_thread")]
async fn success_is_repeated_until_commit_and_then_cleaned_up() {
    let mut rig = Rig::start();
    let mut link = rig.welcome().await;
    assert_eq!(link.hello.capabilities.as_ref().unwrap().job_kinds, ["checksum@1"]);
    let offer = rig.offer(&link, 1, json!({"do": "copy"}));
    link.send(Down::Offer(offer)).await;
    let fence = link.accepted().await;
    let outcome = link.outcome().await;
    let success = success(&outcome);
    assert_eq!(success.outputs[0].digest, Digest::of(b"hello").as_bytes());
    assert_eq!((success.outputs[0].size_bytes, success.warnings.as_slice()), (5, &["copied only".to_owned()][..]));
    let usage = outcome.usage.as_ref().unwrap();
    assert!(usage.peak_memory_bytes > 0 && usage.counters.iter().any(|c| c.name == "input_read_bytes" && c.value == 5));
    assert!(outcome.started.is_some() && outcome.ended.is_some());
    for _ in 0..3 {
        assert_eq!(link.outcome().await, outcome);
    }
    let staging = rig.staging(&fence);
    assert_eq!(fs::read(staging.join("out/out")).unwrap(), b"hello");
    assert_eq!(fs::read_dir(rig.path("state/outcomes")).unwrap().count(), 1);
    link.send(Down::Commit(Commit { fence: Some(fence) })).await;
    eventually("staging is removed", || !staging.exists()).await;
    eventually("the journal is empty", || fs::read_dir(rig.path("state/outcomes")).unwrap().count() == 0).await;
    link.sync(|sync| sync.running.is_empty() && sync.free.unwrap().cpu_milli == 4000).await;
    assert!(fs::read_to_string(rig.path("compose/logs/job1.log")).unwrap().contains("example runs"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_end_is_an_outcome_with_a_class_and_a_cause() {
    let mut rig = Rig::start();
    let mut link = rig.welcome().await;
    let cases = [
        ("fail", FailureClass::Input, "no such package", "add it"),
        ("panic", FailureClass::Tool, "checksum.V1 panicked: on purpose", "bug"),
        ("die", FailureClass::Infra, "killed by signal 9", "memory"),
        ("exit", FailureClass::Infra, "status 3", "log"),
        ("babble", FailureClass::Infra, "reported nonsense", ""),
        ("unheard-of", FailureClass::Tool, "parameters of checksum do not fit", ""),
    ];
    for (job, (script, class, cause, hint)) in (1..).zip(cases) {
        let outcome = link.run(rig.offer(&link, job, json!({"do": script}))).await;
        let found = failure(&outcome);
        let cause = cause.replace("V1", &format!("V{job}"));
        assert!(found.0 == class && found.1.contains(&cause) && found.2.contains(hint), "{script}: {found:?}");
    }
    let log = fs::read_to_string(rig.path("compose/logs/job2.log")).unwrap();
    assert!(log.contains("on purpose") && log.contains("run_job.rs"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r10_cancel_kills_the_whole_family_before_the_slot_is_free() {
    let mut rig = Rig::start();
    let mut link = rig.welcome().await;
    // Many times for figures: TUTTI_R10_SAMPLES=200, with the grace that controllers give.
    let samples = std::env::var("TUTTI_R10_SAMPLES").ok().and_then(|text| text.parse().ok());
    let grace = Duration::from_millis(if samples.is_some() { 3000 } else { 200 });
    let mut times = Vec::new();
    for job in 1..=samples.unwrap_or(3) {
        let offer = rig.offer(&link, job, json!({"do": "stubborn", "pids": "pids"}));
        link.send(Down::Offer(offer)).await;
        let fence = link.accepted().await;
        link.phase("waiting").await;
        let pids = fs::read_to_string(rig.staging(&fence).join("scratch/pids")).unwrap();
        assert!(pids.lines().count() == 3 && pids.lines().all(alive), "{pids}");
        let begin = std::time::Instant::now();
        let grace = prost_types::Duration::try_from(grace).ok();
        link.send(Down::Cancel(Cancel { fence: Some(fence.clone()), grace })).await;
        assert_eq!(failure(&link.outcome().await).0, FailureClass::Cancelled);
        times.push(begin.elapsed());
        assert!(!pids.lines().any(alive), "an outcome was reported while processes live");
        link.send(Down::Commit(Commit { fence: Some(fence) })).await;
    }
    times.sort();
    let place = (times.len() * 99).div_ceil(100) - 1;
    println!("R10: {} cancellations, p99 {:?}, longest {:?}", times.len(), times[place], times.last());
    if samples.is_some() {
        assert!(times.last().is_some_and(|longest| *longest <= Duration::from_secs(5)), "longer than 5 s");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicate_offers_run_once_and_deposed_controllers_not_at_all() {
    let mut rig = Rig::start();
    let mut link = rig.welcome().await;
    let go = rig.path("go");
    let offer = rig.offer(&link, 1, json!({"do": "wait", "file": go}));
    let stale = rig.offer(&link, 9, json!({"do": "copy"}));
    link.send_as(3, Down::Offer(stale)).await;
    for _ in 0..3 {
        link.send(Down::Offer(offer.clone())).await;
        assert_eq!(link.accepted().await.job, 1);
    }
    link.send_as(3, Down::Desired(Desired { fences: vec![] })).await;
    link.phase("waiting").await;
    fs::write(&go, "").unwrap();
    let outcome = link.outcome().await;
    success(&outcome);
    link.send(Down::Commit(Commit { fence: outcome.fence })).await;
    let log = fs::read_to_string(rig.path("compose/logs/job1.log")).unwrap();
    assert_eq!(log.matches("example runs").count(), 1, "{log}");
    link.send(Down::Offer(offer)).await;
    assert_eq!(link.rejected().await.reason, "this attempt is over");
    assert!(!rig.path("compose/logs/job9.log").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_outlive_connections() {
    let mut rig = Rig::start();
    let mut link = rig.welcome().await;
    let go = rig.path("go");
    let offer = rig.offer(&link, 1, json!({"do": "wait", "file": go}));
    link.send(Down::Offer(offer)).await;
    let fence = link.accepted().await;
    let incarnation = link.hello.incarnation;
    drop(link);
    let mut link = rig.welcome().await;
    assert_eq!((link.hello.incarnation, link.hello.held.as_slice()), (incarnation, &[fence.clone()][..]));
    assert_eq!(link.hello.last_epoch, 7);
    link.phase("waiting").await;
    link.send(Down::GoAway(GoAway { reason: "restart".into(), reconnect_after: None })).await;
    let mut link = rig.connection().await;
    fs::write(&go, "").unwrap();
    assert_eq!(link.hello.held, [fence]);
    link.welcome(Duration::from_secs(900)).await;
    success(&link.outcome().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_without_a_controller_end_after_the_grace() {
    let mut rig = Rig::start();
    let mut link = rig.connection().await;
    link.welcome(Duration::from_millis(100)).await;
    let offer = rig.offer(&link, 1, json!({"do": "wait", "file": rig.path("never/go")}));
    link.send(Down::Offer(offer)).await;
    link.accepted().await;
    drop(link);
    let mut link = rig.connection().await;
    // No welcome yet: still without a controller.
    let record = || fs::read_dir(rig.path("state/outcomes")).unwrap().count() == 1;
    eventually("the outcome is journaled", record).await;
    link.welcome(Duration::from_secs(900)).await;
    let outcome = link.outcome().await;
    let found = failure(&outcome);
    assert!(found.0 == FailureClass::Infra && found.1.contains("no controller"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlines_end_attempts() {
    let mut rig = Rig::start();
    let mut link = rig.welcome().await;
    let short = prost_types::Duration::try_from(Duration::from_millis(500)).ok();
    let cases = [
        (
            proto::Deadlines { wall: short, ..Default::default() },
            json!({"do": "wait", "file": "/never"}),
            "longer than",
        ),
        (proto::Deadlines { idle: short, ..Default::default() }, json!({"do": "idle"}), "no progress"),
    ];
    for (job, (deadlines, script, cause)) in (1..).zip(cases) {
        let mut offer = rig.offer(&link, job, script);
        offer.deadlines = Some(deadlines);
        let outcome = link.run(offer).await;
        let found = failure(&outcome);
        assert!(found.0 == FailureClass::Timeout && found.1.contains(cause), "{found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_survive_the_worker() {
    let mut rig = Rig::start();
    let mut link = rig.welcome().await;
    let offer = rig.offer(&link, 1, json!({"do": "copy"}));
    link.send(Down::Offer(offer)).await;
    let outcome = link.outcome().await;
    let fence = outcome.fence.clone().unwrap();
    drop(link);
    let dead = rig.connection().await;
    assert_eq!(dead.hello.held.first(), Some(&fence));
    rig.restart().await;
    let mut link = loop {
        let link = rig.connection().await;
        if link.hello.incarnation != fence.executor {
            break link;
        }
    };
    assert_eq!(link.hello.held.first(), Some(&fence));
    link.welcome(Duration::from_secs(900)).await;
    assert_eq!(link.outcome().await, outcome);
    let staging = rig.staging(&fence);
    assert!(staging.join("out/out").exists());
    link.send(Down::Refused(Refused { fence: Some(fence), reason: "late".into() })).await;
    eventually("staging is removed", || !staging.exists()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_desired_is_killed() {
    let mut rig = Rig::start();
    let mut link = rig.welcome().await;
    let mut fences = Vec::new();
    for job in 1..=2 {
        let offer = rig.offer(&link, job, json!({"do": "wait", "file": rig.path("never/go")}));
        link.send(Down::Offer(offer)).await;
        fences.push(link.accepted().await);
    }
    link.sync(|sync| sync.running.len() == 2).await;
    link.send(Down::Desired(Desired { fences: vec![fences[1].clone()] })).await;
    let outcome = link.outcome().await;
    assert_eq!((outcome.fence.as_ref(), failure(&outcome).0), (Some(&fences[0]), FailureClass::Cancelled));
    link.sync(|sync| sync.running.len() == 1 && sync.running[0].fence.as_ref() == Some(&fences[1])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_worker_finishes_and_ends() {
    let mut rig = Rig::start();
    let mut link = rig.welcome().await;
    let go = rig.path("go");
    let offer = rig.offer(&link, 1, json!({"do": "wait", "file": go}));
    link.send(Down::Offer(offer)).await;
    link.accepted().await;
    rig.shutdown.drain.cancel();
    link.sync(|sync| sync.draining).await;
    let offer = rig.offer(&link, 2, json!({"do": "copy"}));
    link.send(Down::Offer(offer)).await;
    let reject = link.rejected().await;
    assert!(reject.soft && reject.reason == "draining");
    fs::write(&go, "").unwrap();
    let outcome = link.outcome().await;
    success(&outcome);
    link.send(Down::Commit(Commit { fence: outcome.fence })).await;
    rig.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_sandbox_is_said_before_any_job_runs() {
    let mut rig = Rig::start_with(|config| config.sandbox = tutti_worker::SandboxMode::Off);
    let mut link = rig.welcome().await;
    let sync = link.sync(|_| true).await;
    assert_eq!(sync.conditions, ["sandbox: switched off, jobs are not confined"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_write_nothing_outside_their_staging_directory() {
    let mut rig = Rig::start();
    let mut link = rig.welcome().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let source = rig.path("packages/p.rpm");
    fs::create_dir_all(source.parent().unwrap()).unwrap();
    fs::write(&source, "rpm").unwrap();

    let outcome = link.run(rig.offer(&link, 1, json!({"do": "link", "source": source}))).await;
    assert_eq!(success(&outcome).outputs[0].name, "tree");

    let victim = rig.path("victim");
    let escape = link.run(rig.offer(&link, 2, json!({"do": "escape", "file": victim}))).await;
    let port = listener.local_addr().unwrap().port();
    let connect = link.run(rig.offer(&link, 3, json!({"do": "connect", "port": port}))).await;
    let sync = link.sync(|_| true).await;
    if !sync.conditions.is_empty() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "no full Landlock here: {:?}", sync.conditions);
        println!("skipped: {:?}", sync.conditions);
        return;
    }
    assert!(failure(&escape).1.contains("Permission denied"), "{escape:?}");
    assert!(!victim.exists());
    assert!(failure(&connect).1.contains("Permission denied"), "{connect:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r2_r10_children_die_with_their_worker() {
    let mut rig = Rig::without_worker();
    let mut process = worker_process(rig.directory.path());
    let mut link = rig.welcome().await;
    let offer = rig.offer(&link, 1, json!({"do": "stubborn", "pids": "pids"}));
    link.send(Down::Offer(offer)).await;
    let fence = link.accepted().await;
    link.phase("waiting").await;
    let pids = fs::read_to_string(rig.staging(&fence).join("scratch/pids")).unwrap();
    let child = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap());
    let parent_of = |pid: &String| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<u32>().ok()
    };
    let child: Vec<_> = child.filter(|pid| parent_of(pid) == Some(process.id())).collect();
    assert_eq!(child.len(), 1, "{child:?}");
    process.kill().unwrap();
    process.wait().unwrap();
    eventually("the child dies", || !alive(&child[0])).await;
    assert_eq!(pids.lines().count(), 3, "{pids}");
    eventually("all that it started die, also what left its group, session and environment", || {
        !pids.lines().any(alive)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_followed_and_lost_volumes_are_infra_failures() {
    let mut rig = Rig::start();
    let mut link = rig.connection().await;
    let endpoint = format!("unix://{}", rig.path("socket").display());
    link.send(Down::Redirect(proto::Redirect { endpoint })).await;
    let mut link = rig.welcome().await;
    let mut offer = rig.offer(&link, 1, json!({"do": "copy"}));
    fs::write(rig.path("file"), "").unwrap();
    offer.compose_dir = format!("file:{}/compose", rig.path("file").display());
    let outcome = link.run(offer).await;
    let found = failure(&outcome);
    assert!(found.0 == FailureClass::Infra && found.1.contains("staging directory"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn deposed_controllers_are_left() {
    let mut rig = Rig::start();
    let mut link = rig.welcome().await;
    link.sync(|_| true).await;
    drop(link);
    let mut stale = rig.connection().await;
    assert_eq!(stale.hello.last_epoch, 7);
    let welcome = proto::Welcome { proto: 1, ..Default::default() };
    stale.send_as(6, Down::Welcome(welcome)).await;
    // It connects again though this stream is still open.
    let again = rig.connection().await;
    assert_eq!(again.hello.last_epoch, 7);
}
