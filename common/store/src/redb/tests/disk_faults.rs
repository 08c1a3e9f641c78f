//! Bar R15 at the state file: a disk that is full, or fails, at any call.

use std::io::ErrorKind as IoErrorKind;
use std::sync::Arc;

use super::disk::{Cut, Disk, Fault, Replay};
use super::{Random, Step, everything, full, next_step, open, perform, view};
use crate::clock::ManualClock;
use crate::error::{ErrorKind, StoreError};
use crate::memory::MemoryStore;
use crate::store::{StateStore as _, StateStoreExt as _};
use crate::types::{KeyValue, Revision};

const STEPS: usize = 24;

/// What a run with a fault came to.
#[derive(Debug, Default)]
struct Outcomes {
    refused: usize,
    unknown: usize,
}

/// Does to the model what was done to the store.
async fn mirror(memory: &MemoryStore, step: &Step) {
    match step {
        Step::Txn(txn) => drop(memory.txn(txn.clone()).await.unwrap()),
        Step::Grant => drop(memory.grant(std::time::Duration::from_secs(60)).await.unwrap()),
        Step::Revoke(lease) => memory.revoke(*lease).await.unwrap(),
        Step::Compact(revision) => memory.compact(*revision).await.unwrap(),
        Step::Shrink | Step::Reopen => {}
    }
}

/// An error says what happened: only one that outlasts the opening of the file leaves an outcome unknown.
fn check_error(error: &StoreError, fault: Fault) {
    let expected = if fault.kind == IoErrorKind::StorageFull { ErrorKind::NoSpace } else { ErrorKind::Unavailable };
    let unknown = error.kind() == ErrorKind::OutcomeUnknown && fault.times > 1;
    assert!(error.kind() == expected || unknown, "{fault:?}: {error}");
}

/// Steps with one fault among them; after each, the store holds what it said that it holds.
async fn run(seed: u64, fault: Option<Fault>) -> (Disk, Outcomes) {
    let disk = Disk::initialised();
    let start = disk.content();
    let mut store = open(&disk).await.unwrap();
    let memory = MemoryStore::new(Arc::new(ManualClock::new()));
    let mut random = Random(seed);
    let mut outcomes = Outcomes::default();
    if let Some(fault) = fault {
        disk.fail(fault);
    }
    for _ in 0..STEPS {
        let Some(before) = view(&store).await.ok() else {
            disk.heal();
            continue;
        };
        let step = next_step(&mut random, before.revision, before.compacted, &before.leases);
        match perform(&mut store, &disk, &step).await {
            Ok(()) => mirror(&memory, &step).await,
            Err(error) => {
                check_error(&error, fault.unwrap());
                outcomes.refused += 1;
                if matches!(step, Step::Reopen) {
                    disk.heal();
                    store = open(&disk).await.unwrap();
                }
                if error.kind() == ErrorKind::OutcomeUnknown {
                    outcomes.unknown += 1;
                    disk.heal();
                    if view(&store).await.unwrap() != before {
                        mirror(&memory, &step).await;
                    }
                }
            }
        }
        let found = match everything(&store).await {
            Ok(found) => found,
            Err(error) => {
                check_error(&error, fault.unwrap());
                disk.heal();
                everything(&store).await.unwrap()
            }
        };
        assert_eq!(found, everything(&memory).await.unwrap(), "seed {seed}, {fault:?}, after {step:.200?}");
    }
    power_cut(&start, &disk, &everything(&memory).await.unwrap()).await;
    (disk, outcomes)
}

/// What was acknowledged is on the disk, whatever a failed sync threw away.
async fn power_cut(start: &[u8], disk: &Disk, expected: &(Vec<KeyValue>, Revision)) {
    let mut replay = Replay::new(start.to_vec());
    for entry in disk.entries() {
        replay.advance(&entry);
    }
    for cut in [Cut::SyncedOnly, Cut::Prefix, Cut::Subset(1), Cut::Torn(2)] {
        let store = open(&Disk::with_content(replay.image(cut))).await.unwrap();
        assert_eq!(everything(&store).await.unwrap(), *expected, "{cut:?}");
    }
}

/// `TUTTI_FULL=1`: every call of more runs; else every eleventh call of one.
#[tokio::test]
async fn r15_disk_fails_at_every_call() {
    let (seeds, stride) = if full() { (0..4, 1) } else { (0..1, 11) };
    let (mut runs, mut sum) = (0, Outcomes::default());
    for seed in seeds {
        let calls = run(seed, None).await.0.calls();
        for at in (0..calls).step_by(stride) {
            for kind in [IoErrorKind::StorageFull, IoErrorKind::Other] {
                for times in [1, 2, 4, usize::MAX] {
                    let (_, outcomes) = run(seed, Some(Fault { at, times, kind })).await;
                    runs += 1;
                    sum.refused += outcomes.refused;
                    sum.unknown += outcomes.unknown;
                }
            }
        }
    }
    assert!(sum.refused > 0);
    eprintln!("r15: {runs} runs, {} steps refused, {} with an unknown outcome", sum.refused, sum.unknown);
}

/// While the disk is full all can be read; once there is space, all goes on.
#[tokio::test]
async fn r15_full_disk_refuses_and_goes_on() {
    let disk = Disk::initialised();
    let mut store = open(&disk).await.unwrap();
    disk.set_capacity(Some(disk.length() + (256 << 10)));
    let mut stored = 0;
    for round in 0..3 {
        let error = loop {
            match store.put(format!("key/{stored:04}").as_bytes(), &[7; 8000]).await {
                Ok(_) => stored += 1,
                Err(error) => break error,
            }
            assert!(stored < 1000, "the disk is never full");
        };
        assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
        assert_eq!(store.list(b"key/").await.unwrap().kvs.len(), stored);
        if round == 1 {
            store.close().await;
            store = open(&disk).await.unwrap();
            assert_eq!(store.list(b"key/").await.unwrap().kvs.len(), stored);
        }
        disk.set_capacity(Some(disk.length() * 3));
    }
    assert!(stored > 20, "{stored}");
    disk.set_capacity(None);
    store.put(b"last", b"").await.unwrap();
    assert_eq!(store.list(b"key/").await.unwrap().kvs.len(), stored);
}
