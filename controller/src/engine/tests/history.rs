//! The history that the engine writes.

use crate::{
    engine::tests::rig::{self, Does, Rig, Worker},
    history::{self, Change},
};
use tutti_proto::compose as api;

/// A run with a failure, a retry and two controllers leaves a history in which nothing is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn the_engines_history_is_whole_and_keeps_all_invariants() {
    let rig = Rig::start().await;
    let id = rig.submit().await;
    let _worker = Worker::connect(&rig, "w1", 1, Does::AllBut("createrepo.V.x86_64")).await;
    rig.ended(&id).await;
    let rig = rig.restart().await;
    let _worker = Worker::connect(&rig, "w1", 2, Does::Everything).await;
    rig.handle().retry(id.clone(), Vec::new()).await.unwrap();
    let show = rig.ended(&id).await;
    assert_eq!(rig::word(&show), api::ComposeStatus::Finished);
    let target = rig.stop_and_keep().await;
    let top = target.path().join(&id);
    let recorded = history::read(&top).unwrap();
    assert_eq!((recorded.files, recorded.unread), (2, 0));
    assert!(recorded.lines.iter().all(|line| line.compose == id));
    let commits = recorded.lines.iter().filter(|line| line.cause == history::Cause::VerifiedOk);
    assert!(commits.count() >= show.jobs.len());
    assert!(recorded.lines.iter().any(|line| matches!(&line.change, Change::Job(job) if job.lease.is_some())));
    let violations = history::check_directory(&top, true).unwrap();
    assert!(violations.is_empty(), "{violations:?}");
    // With the plan: a job that was skipped for another's sake must need that one.
    let mut damaged =
        std::fs::read_to_string(top.join("logs/global").join(history::file_name(recorded.lines[0].epoch))).unwrap();
    damaged = damaged.replacen("skipped:", "skipped:9", 1);
    std::fs::write(top.join("logs/global").join(history::file_name(recorded.lines[0].epoch)), damaged).unwrap();
    assert!(!history::check_directory(&top, true).unwrap().is_empty());
}

/// Where it cannot be written, the compose goes on without.
#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_cannot_be_written_holds_nobody_up() {
    let rig = Rig::start().await;
    let id = rig.submit().await;
    let logs = rig.target().join(&id).join("logs/global");
    // The engine may be writing there.
    while std::fs::write(&logs, "not a directory").is_err() {
        let _ = std::fs::remove_dir_all(&logs);
        tokio::task::yield_now().await;
    }
    let _worker = Worker::connect(&rig, "w1", 1, Does::Everything).await;
    let show = rig.ended(&id).await;
    assert_eq!(rig::word(&show), api::ComposeStatus::Finished);
    rig.stop().await;
}
