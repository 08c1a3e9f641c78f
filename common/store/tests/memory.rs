//! The contract on memory, and the writer under faults that only memory can make.

mod contract;

use std::sync::Arc;
use std::time::Duration;

use contract::{Subject, soon};
use tutti_store::{
    Campaign, Compare, ManualClock, MemoryStore, StateStore as _, StateStoreExt as _, SystemClock, Txn, TxnFault,
    Writer, campaign,
};

macro_rules! contract {
    ($($name:ident),* $(,)?) => {$(
        #[tokio::test]
        async fn $name() {
            let clock = ManualClock::new();
            contract::$name(Subject { store: Arc::new(MemoryStore::new(Arc::new(clock.clone()))), clock }).await;
        }
    )*};
}
contract!(
    revisions_and_versions,
    compares,
    limits,
    ranges_and_pages,
    history_and_compaction,
    watches,
    leases,
    revoked_leases,
    leaders_follow_each_other,
    writer_commits_in_groups,
);

/// Each fault at each of the first transactions: every write happens once.
#[tokio::test]
async fn the_writer_writes_once_under_every_fault() {
    let faults = [
        TxnFault::Unavailable,
        TxnFault::UnknownApplied,
        TxnFault::UnknownNotApplied,
        TxnFault::UnknownAppliedLater,
        TxnFault::Delay(Duration::from_millis(1)),
    ];
    for fault in faults {
        for position in 0..4 {
            let clock = Arc::new(SystemClock::new());
            let memory = MemoryStore::new(clock.clone());
            let who = Campaign { key: b"l".to_vec(), identity: Vec::new(), ttl: Duration::from_secs(60) };
            let leader = campaign(Arc::new(memory.clone()), clock.clone(), &who).await.unwrap();
            let (writer, task) = Writer::new(Arc::new(memory.clone()), clock, leader.fence());
            let mut running = tokio::task::JoinSet::new();
            running.spawn(task.run());
            memory.fail_next_txns(std::iter::repeat_n(TxnFault::None, position).chain([fault]));
            for n in 0..4 {
                let result = soon(writer.submit(Txn::new().put("k", n.to_string()))).await.unwrap();
                assert!(result.succeeded);
                memory.release_held();
                let kv = memory.get(b"k").await.unwrap().unwrap();
                assert_eq!((kv.version, kv.mod_revision), (n + 1, result.revision), "{fault:?} at {position}");
                assert_eq!(kv.value, n.to_string().as_bytes());
            }
        }
    }
}

/// A lost request must not come true after its caller was told that its compare failed.
#[tokio::test]
async fn a_late_request_changes_nothing() {
    let clock = Arc::new(SystemClock::new());
    let memory = MemoryStore::new(clock.clone());
    let who = Campaign { key: b"l".to_vec(), identity: Vec::new(), ttl: Duration::from_secs(60) };
    let leader = campaign(Arc::new(memory.clone()), clock.clone(), &who).await.unwrap();
    let (writer, task) = Writer::new(Arc::new(memory.clone()), clock, leader.fence());
    let mut running = tokio::task::JoinSet::new();
    running.spawn(task.run());
    memory.put(b"lock", b"").await.unwrap();
    memory.fail_next_txns([TxnFault::UnknownAppliedLater]);
    let guarded = Txn::new().when(Compare::absent("lock")).put("k", "");
    assert!(!soon(writer.submit(guarded)).await.unwrap().succeeded);
    memory.txn(Txn::new().delete("lock")).await.unwrap();
    memory.release_held();
    assert_eq!(memory.get(b"k").await.unwrap(), None);
    assert!(soon(writer.submit(Txn::new().put("k", "2"))).await.unwrap().succeeded);
}
