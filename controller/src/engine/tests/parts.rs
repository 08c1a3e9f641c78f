//! What one transaction does not hold, and a store that refuses in between.

use std::{collections::BTreeSet, fs, sync::Arc, time::Duration};

use tokio::task::JoinSet;
use tutti_store::{Clock, ManualClock, MemoryStore, TxnFault};

use super::rig::{self, Rig};

/// Submissions at once: each has three records or more, and a transaction holds fewer than 100.
const SUBMISSIONS: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn r15_submissions_that_are_stored_in_part_are_accepted() {
    let clock = ManualClock::new();
    let store = MemoryStore::new(Arc::new(clock.clone()));
    let target = Arc::new(tempfile::tempdir().unwrap());
    let shared_clock: Arc<dyn Clock> = Arc::new(clock.clone());
    let ttl = Duration::from_secs(3600);
    let rig = Rig::with(Arc::clone(&target), store.clone(), Arc::new(store.clone()), shared_clock, ttl).await;
    // One submission stands still in the store, so that the others come in one turn; the second part of that meets a
    // full disk.
    store.fail_next_txns([TxnFault::Delay(Duration::from_secs(1)), TxnFault::None, TxnFault::NoSpace]);
    let rig = Arc::new(rig);
    let mut answers = JoinSet::new();
    for number in 0..=SUBMISSIONS {
        let rig = Arc::clone(&rig);
        answers.spawn(async move { rig.try_submit(&format!("key-{number}")).await });
    }
    let made = || fs::read_dir(target.path()).unwrap().count() == SUBMISSIONS + 1;
    tokio::time::timeout(rig::PATIENCE, async {
        while !made() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    clock.advance(Duration::from_secs(1));
    let answered = tokio::time::timeout(rig::PATIENCE, answers.join_all()).await.unwrap();
    let accepted: BTreeSet<String> = answered.into_iter().flatten().map(|answer| answer.compose_id).collect();
    assert!(!accepted.is_empty());
    let rig = Arc::into_inner(rig).unwrap();
    let stored: BTreeSet<String> =
        rig.stored().await.into_iter().map(|(key, _)| String::from_utf8(key).unwrap()).collect();
    let of_nobody: Vec<&String> =
        stored.iter().filter(|key| !accepted.iter().any(|id| key.contains(&format!("/{id}/")))).collect();
    assert_eq!(of_nobody, Vec::<&String>::new(), "refused, yet stored");
    // Another controller has them all, and nothing that it cannot read.
    let again = rig.restart().await;
    for id in &accepted {
        let show = again.handle().show(id.clone()).await.unwrap();
        assert_eq!(rig::word(&show), tutti_proto::compose::ComposeStatus::Started, "{id}");
    }
    again.stop().await;
}
