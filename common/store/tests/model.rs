//! The same random operations give the same answers in memory and in the file, across reopening.
#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of functions that clippy knows as tests")]

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tutti_store::{
    Compare, LeaseId, ManualClock, MemoryStore, Operation, RangeRequest, RedbStore, Revision, StateStore, StoreError,
    Txn,
};

#[derive(Debug, Clone)]
enum Step {
    Txn(Txn),
    Range(RangeRequest),
    Watch { prefix: Vec<u8>, from: i64 },
    Grant(u64),
    KeepAlive(i64),
    Revoke(i64),
    Compact(i64),
    Advance(u64),
    Reopen,
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), Just(0), Just(0xff)], 1..3),
        1 => Just(Vec::new()),
    ]
}

fn txn() -> impl Strategy<Value = Txn> {
    let compare = (key(), 0..12_i64, 0..3).prop_map(|(key, revision, kind)| match kind {
        0 => Compare::absent(key),
        1 => Compare::create_revision(key, Revision(revision)),
        _ => Compare::mod_revision(key, Revision(revision)),
    });
    let operation =
        (key(), any::<u8>(), proptest::option::weighted(0.3, 1..4_i64), 0..4).prop_map(|(key, value, lease, kind)| {
            match kind {
                0 => Operation::Delete { key },
                _ => Operation::Put { key, value: vec![value], lease: lease.map(LeaseId) },
            }
        });
    (proptest::collection::vec(compare, 0..2), proptest::collection::vec(operation, 0..5))
        .prop_map(|(compares, operations)| Txn { compares, operations })
}

fn range() -> impl Strategy<Value = RangeRequest> {
    (key(), key(), 0..3, proptest::option::of(0..20_i64), 1..4_usize, proptest::option::of(key())).prop_map(
        |(start, end, kind, at, limit, after)| {
            let request = match kind {
                0 => RangeRequest::key(start),
                1 => RangeRequest::prefix(start),
                _ => RangeRequest::between(start, end),
            };
            RangeRequest { at: at.map(Revision), limit, after, ..request }
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => txn().prop_map(Step::Txn),
        5 => range().prop_map(Step::Range),
        3 => (key(), 0..20_i64).prop_map(|(prefix, from)| Step::Watch { prefix, from }),
        2 => (0..6_u64).prop_map(Step::Grant),
        1 => (1..4_i64).prop_map(Step::KeepAlive),
        1 => (1..4_i64).prop_map(Step::Revoke),
        1 => (0..20_i64).prop_map(Step::Compact),
        1 => (0..4_u64).prop_map(Step::Advance),
        1 => Just(Step::Reopen),
    ]
}

/// The answer as text: results and errors alike.
async fn answer(store: &dyn StateStore, step: &Step) -> String {
    match step.clone() {
        Step::Txn(txn) => format!("{:?}", store.txn(txn).await),
        Step::Range(request) => format!("{:?}", store.range(request).await),
        Step::Watch { prefix, from } => match events(store, prefix, Revision(from)).await {
            Ok(events) => events.join("\n"),
            Err(error) => format!("{error:?}"),
        },
        Step::Grant(seconds) => format!("{:?}", store.grant(Duration::from_secs(seconds)).await),
        Step::KeepAlive(lease) => format!("{:?}", store.keep_alive(LeaseId(lease)).await),
        Step::Revoke(lease) => format!("{:?}", store.revoke(LeaseId(lease)).await),
        Step::Compact(revision) => format!("{:?}", store.compact(Revision(revision)).await),
        Step::Advance(_) | Step::Reopen => String::new(),
    }
}

/// Everything that a watch reports up to now: a last put marks the end.
async fn events(store: &dyn StateStore, prefix: Vec<u8>, from: Revision) -> Result<Vec<String>, StoreError> {
    let mut watcher = store.watch(prefix.clone(), from).await?;
    let mut marker = prefix;
    marker.extend_from_slice(b"~marker");
    let end = store.txn(Txn::new().put(marker, "")).await?.revision;
    let mut seen = Vec::new();
    if from > end {
        return Ok(seen);
    }
    loop {
        let batch = watcher.next().await?;
        seen.push(format!("{batch:?}"));
        if batch.revision >= end {
            return Ok(seen);
        }
    }
}

async fn run(steps: &[Step]) -> Result<(), TestCaseError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let clock = ManualClock::new();
    let memory = MemoryStore::new(Arc::new(clock.clone()));
    let mut file = RedbStore::open(&path, Arc::new(clock.clone())).await.unwrap();
    for step in steps {
        match step {
            Step::Advance(seconds) => clock.advance(Duration::from_secs(*seconds)),
            Step::Reopen => {
                // A reopened store renews its leases: let the model do the same to those that still live.
                for lease in 1..40 {
                    let _ = memory.keep_alive(LeaseId(lease)).await;
                    let _ = file.keep_alive(LeaseId(lease)).await;
                }
                let everything = RangeRequest::prefix("");
                file.range(everything).await.unwrap();
                file.close().await;
                file = RedbStore::open(&path, Arc::new(clock.clone())).await.unwrap();
            }
            step => {
                let (left, right) = (answer(&memory, step).await, answer(&file, step).await);
                prop_assert_eq!(left, right, "{:?}", step);
            }
        }
    }
    let everything = Step::Range(RangeRequest::prefix(""));
    prop_assert_eq!(answer(&memory, &everything).await, answer(&file, &everything).await);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn memory_and_file_agree(steps in proptest::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(60), run(&steps)).await.expect("hangs")
        })?;
    }
}
