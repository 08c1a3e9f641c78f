//! Submissions whose records need several transactions: stored whole, or not at all.

use std::collections::BTreeSet;

use tokio::sync::oneshot;
use tonic::Code;
use tutti_proto::compose as api;
use tutti_store::TxnFault;

use super::rig::{self, Does, Rig, Worker};
use crate::{
    engine::{Command, submission},
    history::Change,
};

const ID: &str = "T-1-20261122.t.7";
/// Jobs that can begin at once: more than one transaction holds.
const LARGE: usize = 100;

fn ready(show: &api::ShowResponse) -> usize {
    show.jobs.iter().filter(|job| job.state() == api::JobState::Ready).count()
}

async fn finishes(rig: Rig, id: &str, jobs: usize) {
    let _worker = Worker::connect(&rig, "w1", 1, Does::Everything).await;
    let show = rig.ended(id).await;
    assert_eq!((rig::word(&show), show.jobs.len()), (api::ComposeStatus::Finished, jobs));
    let top = rig.stop_and_keep().await;
    let top = top.path().join(id);
    let broken = crate::history::check_directory(&top, true).unwrap();
    assert!(broken.is_empty(), "{broken:?}");
    // Nor is there a line about another compose's jobs.
    let told = crate::history::read(&top).unwrap().lines.into_iter().filter_map(|line| match line.change {
        Change::Job(change) => Some(change.job as usize),
        Change::Compose(_) => None,
    });
    assert_eq!(told.collect::<BTreeSet<_>>(), (0..jobs).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn r15_a_large_submission_that_the_store_refuses_leaves_nothing() {
    for fault in [TxnFault::NoSpace, TxnFault::Unavailable] {
        let rig = Rig::start().await;
        rig.fail_store([fault]);
        let refused = rig.try_submit_as("key", ID, LARGE).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
        assert_eq!(rig.stored().await, [], "{fault:?}");
        assert_eq!(std::fs::read_dir(rig.target()).unwrap().count(), 0);
        // A rival of the same id, with other jobs, is not mixed with it: now, and after a restart.
        assert_eq!(rig.try_submit_as("rival", ID, 1).await.unwrap().compose_id, ID);
        let rig = rig.restart().await;
        let jobs = rig.handle().show(ID.into()).await.unwrap().jobs.len();
        finishes(rig, ID, jobs).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r15_a_submission_that_fails_half_way_leaves_nothing_in_the_target_directory() {
    let rig = Rig::start().await;
    // Its directory is claimed and a blob is written when it is seen that another one was not sent.
    let mut request = rig.request("key", ID, 1);
    let other = b"something else".to_vec();
    request.blobs = vec![api::Blob { digest: tutti_job::Digest::of(&other).as_bytes().to_vec(), data: other }];
    let refused = rig.handle().submit(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    assert_eq!(std::fs::read_dir(rig.target()).unwrap().count(), 0);
    rig.try_submit_as("key", ID, 1).await.unwrap();
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r15_a_large_submission_is_accepted_once_it_would_be_found_again() {
    for fault in [TxnFault::NoSpace, TxnFault::Unavailable, TxnFault::UnknownNotApplied, TxnFault::UnknownApplied] {
        let rig = Rig::start().await;
        // It is stored, its jobs are not.
        rig.fail_store([TxnFault::None, fault]);
        assert_eq!(rig.try_submit_as("key", ID, LARGE).await.unwrap().compose_id, ID, "{fault:?}");
        let show = rig.until(ID, |show| ready(show) == LARGE).await;
        assert_eq!(rig.try_submit_as("rival", ID, 1).await.unwrap_err().code(), Code::AlreadyExists);
        let rig = rig.restart().await;
        assert_eq!(rig.try_submit_as("key", ID, LARGE).await.unwrap().compose_id, ID);
        assert_eq!(ready(&rig.handle().show(ID.into()).await.unwrap()), LARGE);
        if fault == TxnFault::UnknownApplied {
            finishes(rig, ID, show.jobs.len()).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r15_a_controller_that_dies_between_two_transactions_has_accepted_it() {
    let rig = Rig::start().await;
    rig.fail_store([TxnFault::None].into_iter().chain([TxnFault::NoSpace; 1000]));
    rig.try_submit_as("key", ID, LARGE).await.unwrap();
    let records = rig.stored().await.len();
    assert_eq!(records, 2, "where it is and its header");
    let rig = rig.restart().await;
    let show = rig.until(ID, |show| ready(show) == LARGE).await;
    assert_eq!(rig.try_submit_as("key", ID, LARGE).await.unwrap().compose_id, ID);
    finishes(rig, ID, show.jobs.len()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r15_what_may_have_been_stored_is_not_taken_back() {
    // Nobody knows of the first try; that the next ones are refused says nothing of it.
    let rig = Rig::start().await;
    rig.fail_store([TxnFault::UnknownApplied, TxnFault::NoSpace, TxnFault::Unavailable]);
    assert_eq!(rig.try_submit_as("key", ID, 1).await.unwrap().compose_id, ID);
    let rig = rig.restart().await;
    let jobs = rig.handle().show(ID.into()).await.unwrap().jobs.len();
    finishes(rig, ID, jobs).await;
}

/// On one thread: the engine takes in one turn what was said before anybody waits for it.
#[tokio::test]
async fn r15_submissions_of_one_turn_are_stored_and_accepted_or_neither() {
    const SUBMISSIONS: usize = 60;
    let rig = Rig::start().await;
    // The first part of the turn is stored, the second one is not.
    rig.fail_store([TxnFault::None, TxnFault::NoSpace]);
    let mut answers = Vec::new();
    for number in 0..SUBMISSIONS {
        let request = rig.request(&format!("key-{number}"), &format!("T-1-20261122.t.{number}"), 1);
        let (accepted, (reply, answer)) = (Box::new(submission::prepare(request).unwrap()), oneshot::channel());
        rig.handle().commands.try_send(Command::Accept { accepted, reply }).map_err(drop).unwrap();
        answers.push(answer);
    }
    let mut accepted = BTreeSet::new();
    for answer in answers {
        accepted.extend(answer.await.unwrap().map(|answer| answer.compose_id));
    }
    assert!((1..SUBMISSIONS).contains(&accepted.len()), "{}", accepted.len());
    let known = |key: &[u8]| String::from_utf8(key.to_vec()).unwrap().split('/').nth(4).unwrap().to_owned();
    let stored: BTreeSet<String> = rig.stored().await.iter().map(|(key, _)| known(key)).collect();
    assert_eq!(stored, accepted);
    let rig = rig.restart().await;
    for id in &accepted {
        assert_eq!(rig::word(&rig.handle().show(id.clone()).await.unwrap()), api::ComposeStatus::Started);
    }
    let top = rig.stop_and_keep().await;
    assert_eq!(std::fs::read_dir(top.path()).unwrap().count(), accepted.len(), "directories");
}

/// On one thread, as above.
#[tokio::test]
async fn r15_one_submission_told_twice_has_one_fate() {
    for fault in [TxnFault::NoSpace, TxnFault::None] {
        let rig = Rig::start().await;
        let prepared = [(); 2].map(|()| Box::new(submission::prepare(rig.request("key", "", 1)).unwrap()));
        rig.fail_store([fault]);
        let (asked, found) = oneshot::channel();
        let mut answers = Vec::new();
        let say = |command| rig.handle().commands.try_send(command).map_err(drop).unwrap();
        for accepted in prepared {
            let (reply, answer) = oneshot::channel();
            say(Command::Accept { accepted, reply });
            answers.push(answer);
        }
        say(Command::FindSubmission { key: "key".into(), reply: asked });
        let mut ids = vec![found.await.unwrap().map(|found| found.unwrap().compose_id)];
        for answer in answers {
            ids.push(answer.await.unwrap().map(|answer| answer.compose_id));
        }
        let known = rig.handle().list().await.unwrap();
        match fault {
            TxnFault::None => {
                assert_eq!(known.len(), 1);
                let known = &known[0].compose_id;
                assert!(ids.iter().all(|id| id.as_ref().unwrap() == known), "{ids:?}");
            }
            _ => {
                assert_eq!(known, []);
                assert!(ids.iter().all(|id| id.as_ref().unwrap_err().code() == Code::ResourceExhausted), "{ids:?}");
            }
        }
        let top = rig.stop_and_keep().await;
        assert_eq!(std::fs::read_dir(top.path()).unwrap().count(), known.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r15_what_earlier_releases_left_of_a_submission_is_swept_at_the_start() {
    let rig = Rig::start().await;
    rig.try_submit_as("key", ID, LARGE).await.unwrap();
    let whole = rig.stored().await;
    let rig = rig.restart().await;
    // Jobs without header, a header without place, a place without header.
    let some = |id: &str, keep: &dyn Fn(&str) -> bool| {
        let pairs: Vec<_> = whole
            .iter()
            .map(|(key, value)| (String::from_utf8(key.clone()).unwrap().replace(ID, id), value.clone()))
            .filter(|(key, _)| keep(key))
            .collect();
        assert!(!pairs.is_empty());
        pairs
    };
    let mut parts = some("A", &|key| key.contains("/j/"));
    parts.extend(some("B", &|key| !key.ends_with("/m")));
    parts.extend(some("C", &|key| key.ends_with("/m")));
    parts.push(("/tutti/v1/s/lost".into(), b"A".to_vec()));
    for (key, value) in parts {
        rig.store(&key, &value).await;
    }
    let rig = rig.restart().await;
    let listed: Vec<_> = rig.handle().list().await.unwrap().into_iter().map(|summary| summary.compose_id).collect();
    assert_eq!(listed, [ID]);
    assert_eq!(rig.stored().await.len(), whole.len());
    assert_eq!(rig.try_submit_as("lost", "A", 1).await.unwrap().compose_id, "A");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r15_an_id_whose_directory_was_removed_is_free_and_its_records_are_not_mixed_with_the_new_ones() {
    let rig = Rig::start().await;
    rig.try_submit_as("key", ID, LARGE).await.unwrap();
    let rig = rig.restart_after(|target| std::fs::remove_dir_all(target.join(ID)).unwrap()).await;
    assert_eq!(rig.handle().show(ID.into()).await.unwrap_err().code(), Code::FailedPrecondition);
    // Refused once: what there was is known still.
    rig.fill_store_once();
    assert!(rig.try_submit_as("new", ID, 1).await.is_err());
    assert_eq!(rig.handle().show(ID.into()).await.unwrap_err().code(), Code::FailedPrecondition);
    rig.try_submit_as("new", ID, 1).await.unwrap();
    let jobs = rig.handle().show(ID.into()).await.unwrap().jobs.len();
    let stored = rig.stored().await.into_iter().map(|(key, _)| String::from_utf8(key).unwrap());
    let records: Vec<_> = stored.filter(|key| key.contains("/j/")).collect();
    assert_eq!(records.len(), 1, "{records:?}");
    let rig = rig.restart().await;
    finishes(rig, ID, jobs).await;
}
