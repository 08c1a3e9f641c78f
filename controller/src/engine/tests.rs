//! The engine with the memory store and workers that do as they are told: whole composes without runners.

mod deposed;
mod history;
mod rig;
mod submissions;
mod wire;

use std::time::Duration;

use rig::{Does, Rig, Worker};
use tutti_proto::compose as api;

#[tokio::test(flavor = "multi_thread")]
async fn a_compose_from_submission_to_the_latest_link() {
    let rig = Rig::start().await;
    let id = rig.submit().await;
    let top = rig.target().join(&id);
    assert_eq!(rig::status(&top), "STARTED");
    let mut events = rig.handle().watch(id.clone()).await.unwrap();
    let worker = Worker::connect(&rig, "w1", 1, Does::Everything).await;
    let show = rig.ended(&id).await;
    assert_eq!(rig::word(&show), api::ComposeStatus::Finished);
    assert!(show.jobs.iter().all(|job| job.state == i32::from(api::JobState::Published)));
    assert!(!show.critical_path.is_empty());
    assert_eq!(rig::status(&top), "FINISHED");
    assert_eq!(std::fs::read_link(rig.target().join("latest-T-1")).unwrap().to_str(), Some(id.as_str()));
    assert_eq!(worker.started().len(), show.jobs.len());
    // The watcher saw every job end, and the end itself last.
    let mut published = std::collections::BTreeSet::new();
    let mut last_active = true;
    while let Ok(Some(Ok(event))) = tokio::time::timeout(Duration::from_secs(10), events.recv()).await {
        match event.event {
            Some(api::watch_response::Event::Job(job)) if job.state == i32::from(api::JobState::Published) => {
                published.insert(job.name);
            }
            Some(api::watch_response::Event::Compose(summary)) => {
                last_active = summary.active;
                if !last_active {
                    break;
                }
            }
            _ => {}
        }
    }
    assert!(!last_active);
    assert_eq!(published.len(), show.jobs.len());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r19_a_kill_between_status_and_latest_link_is_made_good() {
    let rig = Rig::start().await;
    let id = rig.submit().await;
    let worker = Worker::connect(&rig, "w1", 1, Does::Everything).await;
    rig.ended(&id).await;
    worker.vanish();
    let link = rig.target().join("latest-T-1");
    // As if it had been killed before the link was moved; what it had been is not known.
    let claim = rig.target().join(&id).join("work/tutti/latest");
    std::fs::remove_file(&claim).unwrap();
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("older", &link).unwrap();
    let rig = rig.restart().await;
    rig.ended(&id).await;
    assert_eq!(std::fs::read_link(&link).unwrap().to_str(), Some(id.as_str()));
    // Once moved, it is left alone: another compose may have it by now.
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("another", &link).unwrap();
    let rig = rig.restart().await;
    rig.ended(&id).await;
    let _target = rig.stop_and_keep().await;
    assert_eq!(std::fs::read_link(&link).unwrap().to_str(), Some("another"));
}

#[tokio::test(flavor = "multi_thread")]
async fn r15_while_the_store_refuses_nothing_changes_and_all_can_be_seen() {
    let rig = Rig::start().await;
    let id = rig.submit().await;
    // The first to meet it is not accepted, and leaves nothing behind.
    rig.fill_store_once();
    let refused = rig.try_submit("key").await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{refused}");
    assert!(refused.message().contains("in memory: no space left"), "{refused}");
    assert_eq!(rig.handle().list().await.unwrap().len(), 1);
    assert_eq!(std::fs::read_dir(rig.target()).unwrap().count(), 1);
    // A change that cannot be stored is not acted upon.
    rig.refuse_to_store(true);
    let worker = Worker::connect(&rig, "w1", 1, Does::Everything).await;
    let waits = |show: &api::ShowResponse| show.jobs.iter().any(|job| job.phase.starts_with("waits: the controller"));
    rig.until(&id, waits).await;
    assert_eq!(worker.started(), [""; 0], "an offer was sent before it was stored");
    let why = rig.handle().why(id.clone(), "pkgset.repos".into()).await.unwrap();
    assert!(why.iter().any(|line| line.contains("cannot store anything in memory")), "{why:?}");
    for refused in [rig.try_submit("").await.map(drop), rig.handle().cancel(id.clone()).await] {
        assert_eq!(refused.unwrap_err().code(), tonic::Code::ResourceExhausted);
    }
    assert_eq!(std::fs::read_dir(rig.target()).unwrap().count(), 1);
    rig.refuse_to_store(false);
    let show = rig.ended(&id).await;
    assert_eq!(rig::word(&show), api::ComposeStatus::Finished);
    assert!(show.jobs.iter().all(|job| job.phase.is_empty()));
    rig.try_submit("key").await.unwrap();
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_controller_goes_on_and_repeats_nothing() {
    let rig = Rig::start().await;
    let id = rig.submit().await;
    let worker = Worker::connect(&rig, "w1", 1, Does::Only("pkgset")).await;
    rig.until(&id, |show| rig::state(show, "pkgset.repos") == api::JobState::Published).await;
    let before = worker.started();
    let rig = rig.restart().await;
    let worker = Worker::connect(&rig, "w1", 2, Does::Everything).await;
    let show = rig.ended(&id).await;
    assert_eq!(rig::word(&show), api::ComposeStatus::Finished);
    let again = worker.started();
    assert!(before.iter().any(|name| name == "pkgset.repos") && !again.iter().any(|name| name == "pkgset.repos"));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_workers_job_goes_to_another_and_its_late_outcome_is_refused() {
    let rig = Rig::start().await;
    let id = rig.submit().await;
    let silent = Worker::connect(&rig, "silent", 1, Does::AcceptOnly).await;
    silent.until_started("pkgset.repos").await;
    let lost = rig::staging(&rig, &id, "j0-a1-0000000000000001", true);
    silent.vanish();
    let other = Worker::connect(&rig, "other", 2, Does::Everything).await;
    let show = rig.ended(&id).await;
    assert_eq!(rig::word(&show), api::ComposeStatus::Finished);
    assert!(other.started().iter().any(|name| name == "pkgset.repos"));
    let back = Worker::connect(&rig, "silent", 1, Does::AcceptOnly).await;
    assert!(back.report_again(&silent, "pkgset.repos").await, "a late outcome must be refused");
    let pkgset = show.jobs.iter().find(|job| job.name == "pkgset.repos").unwrap();
    assert_eq!(pkgset.attempts.len(), 2);
    // Nobody else removes what a lost worker left.
    assert!(!lost.exists() && rig::staged(&rig, &id).is_empty(), "{:?}", rig::staged(&rig, &id));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r2_a_restarted_worker_delivers_what_it_had_done_and_only_the_rest_runs_again() {
    let rig = Rig::start().await;
    let id = rig.submit().await;
    let first = Worker::connect(&rig, "w1", 1, Does::AcceptOnly).await;
    first.until_started("pkgset.repos").await;
    let second = Worker::succeed(&rig, &first, "w1", 2, "pkgset.repos").await;
    let show = rig.ended(&id).await;
    assert_eq!(rig::word(&show), api::ComposeStatus::Finished);
    let pkgset = show.jobs.iter().find(|job| job.name == "pkgset.repos").unwrap();
    assert_eq!(pkgset.attempts.len(), 1, "{pkgset:?}");
    assert!(!second.started().iter().any(|name| name == "pkgset.repos"));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r15_what_a_lost_attempt_left_goes_with_the_commit_of_a_later_one() {
    let rig = Rig::start().await;
    let id = rig.submit().await;
    let silent = Worker::connect(&rig, "silent", 1, Does::AcceptOnly).await;
    silent.until_started("pkgset.repos").await;
    let lost = rig::staging(&rig, &id, "j0-a1-0000000000000001", true);
    silent.vanish();
    // Nothing after the package set ends, so the compose does not.
    let _other = Worker::connect(&rig, "other", 2, Does::Only("pkgset")).await;
    rig.until(&id, |show| rig::state(show, "pkgset.repos") == api::JobState::Published).await;
    let gone = async {
        while lost.exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(rig::PATIENCE, gone).await.expect("what the lost attempt left must go");
    rig.stop().await;
}

/// A controller may die between storing an offer and sending it.
#[tokio::test(flavor = "multi_thread")]
async fn a_held_compose_whose_offer_never_arrived_can_be_cancelled() {
    let rig = Rig::start().await;
    let id = rig.submit().await;
    let deaf = Worker::connect(&rig, "w1", 1, Does::Hears).await;
    deaf.until_started("pkgset.repos").await;
    let rig = rig.restart_after(|target| std::fs::remove_file(target.join(&id).join("COMPOSE_ID")).unwrap()).await;
    let _deaf = Worker::connect(&rig, "w1", 1, Does::Hears).await;
    let held = rig.handle().show(id.clone()).await.unwrap().summary.unwrap();
    assert!(held.trouble.contains("cannot go on with "), "{held:?}");
    rig.handle().cancel(id.clone()).await.unwrap();
    let show = rig.ended(&id).await;
    assert_eq!(rig::word(&show), api::ComposeStatus::Terminated);
    assert!(show.jobs.iter().all(|job| job.state() == api::JobState::Cancelled), "{:?}", show.jobs);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_dooms_at_once_and_a_retry_runs_nothing_else_again() {
    let rig = Rig::start().await;
    let id = rig.submit().await;
    let failing = Worker::connect(&rig, "w1", 1, Does::AllBut("createrepo.V.x86_64")).await;
    let show = rig.ended(&id).await;
    assert_eq!(rig::word(&show), api::ComposeStatus::Doomed);
    assert_eq!(rig::status(&rig.target().join(&id)), "DOOMED");
    assert_eq!(rig::state(&show, "createrepo.V.x86_64"), api::JobState::Failed);
    assert_eq!(rig::state(&show, "metadata"), api::JobState::Skipped);
    assert_eq!(rig::state(&show, "createrepo.V.src"), api::JobState::Published);
    assert_eq!(rig::staged(&rig, &id), Vec::<String>::new());
    // What a failed attempt's worker would have kept for the retry stays until then.
    let failed = show.jobs.iter().position(|job| job.name == "createrepo.V.x86_64").unwrap();
    let kept = rig::staging(&rig, &id, &format!("j{failed}-a1-0000000000000001"), true);
    rig::staging(&rig, &id, &format!("j{failed}-a1-0000000000000002"), false);
    let first = failing.started();
    failing.obey(Does::Everything);
    let names = rig.handle().retry(id.clone(), Vec::new()).await.unwrap();
    assert!(names.iter().any(|name| name == "createrepo.V.x86_64"));
    let show = rig.ended(&id).await;
    assert_eq!(rig::word(&show), api::ComposeStatus::Finished);
    let second = failing.started()[first.len()..].to_vec();
    let repeated: Vec<_> = second.iter().filter(|name| first.contains(name)).collect();
    assert_eq!(repeated, ["createrepo.V.x86_64"]);
    assert!(!kept.exists() && rig::staged(&rig, &id).is_empty(), "{:?}", rig::staged(&rig, &id));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tampered_outputs_are_not_committed() {
    let rig = Rig::start().await;
    let id = rig.submit().await;
    let _worker = Worker::connect(&rig, "w1", 1, Does::Tamper("pkgset.repos")).await;
    let show = rig.ended(&id).await;
    assert_eq!(rig::word(&show), api::ComposeStatus::Doomed);
    assert_eq!(rig::state(&show, "pkgset.repos"), api::JobState::Failed);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposed_controller_writes_nothing_more() {
    let rig = Rig::start().await;
    let id = rig.submit().await;
    rig.depose().await;
    let before = rig.stored().await;
    let refused = rig.handle().cancel(id).await;
    assert!(refused.is_err());
    assert_eq!(rig.stored().await, before);
    rig.has_ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_submission_twice_is_one_compose() {
    let rig = Rig::start().await;
    let first = rig.submit_with_key("key-1").await;
    let second = rig.submit_with_key("key-1").await;
    assert_eq!(first, second);
    let rig = rig.restart().await;
    assert_eq!(rig.submit_with_key("key-1").await, first);
    assert_ne!(rig.submit_with_key("key-2").await, first);
    rig.stop().await;
}
