//! Bar R15 at the state file: a disk that is full, or fails, at any call.

use std::io::ErrorKind as IoErrorKind;
use std::sync::Arc;

use super::disk::{Cut, Disk, Entry, Fault, Replay};
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

/// What is in a store.
type Content = (Vec<KeyValue>, Revision);

/// A run with a fault: the disk, and what the store held after each step; the first is that before all.
struct Run {
    start: Vec<u8>,
    disk: Disk,
    contents: Vec<Content>,
    outcomes: Outcomes,
}

/// Steps with one fault among them; after each, the store holds what it said that it holds.
async fn run(seed: u64, fault: Option<Fault>) -> Run {
    let disk = Disk::initialised();
    let start = disk.content();
    let mut store = open(&disk).await.unwrap();
    let memory = MemoryStore::new(Arc::new(ManualClock::new()));
    let mut random = Random(seed);
    let mut outcomes = Outcomes::default();
    let mut contents = vec![everything(&memory).await.unwrap()];
    if let Some(fault) = fault {
        disk.fail(fault);
    }
    for number in 1..=STEPS {
        let Some(before) = view(&store).await.ok() else {
            disk.heal();
            contents.push(contents[number - 1].clone());
            continue;
        };
        let step = next_step(&mut random, before.revision, before.compacted, &before.leases);
        disk.mark(Entry::Began(number));
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
        disk.mark(Entry::Acked(number));
        contents.push(found);
    }
    Run { start, disk, contents, outcomes }
}

/// What was acknowledged is on the disk whenever the power fails, whatever a failed sync threw away: at the end, and
/// after every `stride`-th call from the first failed one on.
async fn power_cuts(run: &Run, seed: u64, fault: Fault, stride: u64) -> usize {
    let mut replay = Replay::new(run.start.clone());
    let (mut random, mut images, mut failed) = (Random(seed ^ fault.at as u64), 0, false);
    let entries = run.disk.entries();
    for (place, entry) in entries.iter().enumerate() {
        replay.advance(entry);
        failed |= matches!(entry, Entry::FailedSync);
        let last = place + 1 == entries.len();
        if !last && (!failed || random.below(stride) != 0) {
            continue;
        }
        for cut in [Cut::SyncedOnly, Cut::Prefix, Cut::Subset(random.next()), Cut::Torn(random.next())] {
            images += 1;
            let what = format!("seed {seed}, {fault:?}, {cut:?} after entry {place} of {}", entries.len());
            let store =
                open(&Disk::with_content(replay.image(cut))).await.unwrap_or_else(|error| panic!("{what}: {error}"));
            let found = everything(&store).await.unwrap();
            let possible = &run.contents[replay.acked..=replay.began.max(replay.acked)];
            assert!(possible.contains(&found), "{what}: revision {} is none of the last {}", found.1, possible.len());
        }
    }
    images
}

/// `TUTTI_FULL=1`: every call of more runs; else every eleventh call of one.
#[tokio::test]
async fn r15_disk_fails_at_every_call() {
    let (seeds, stride, cut_stride) = if full() { (0..4, 1, 40) } else { (0..1, 11, 40) };
    let (mut runs, mut images, mut sum) = (0, 0, Outcomes::default());
    for seed in seeds {
        let calls = run(seed, None).await.disk.calls();
        for at in (0..calls).step_by(stride) {
            for kind in [IoErrorKind::StorageFull, IoErrorKind::Other] {
                for times in [1, 2, 4, usize::MAX] {
                    let fault = Fault { at, times, kind };
                    let run = run(seed, Some(fault)).await;
                    images += power_cuts(&run, seed, fault, cut_stride).await;
                    runs += 1;
                    sum.refused += run.outcomes.refused;
                    sum.unknown += run.outcomes.unknown;
                }
            }
        }
    }
    assert!(sum.refused > 0);
    let Outcomes { refused, unknown } = sum;
    eprintln!("r15: {runs} runs, {refused} steps refused, {unknown} with an unknown outcome, {images} power cuts");
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
