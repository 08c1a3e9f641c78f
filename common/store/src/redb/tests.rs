//! The file store on a disk that loses power, fills up and fails.

mod disk;
mod disk_faults;
mod power_cut;
mod reopened;
mod size;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use self::disk::Disk;
use super::RedbStore;
use crate::check::MAX_PAGE;
use crate::clock::ManualClock;
use crate::error::StoreError;
use crate::owner::TakeOver;
use crate::store::{StateStore, StateStoreExt as _};
use crate::types::{KeyValue, LeaseId, Operation, RangeRequest, Revision, Txn, WatchBatch};

/// SplitMix64 (Steele et al., OOPSLA 2014): a seed is a case.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// Whether the whole matrix is wanted and not the part for each change.
fn full() -> bool {
    std::env::var_os("TUTTI_FULL").is_some_and(|value| value == "1")
}

async fn open(disk: &Disk) -> Result<RedbStore, StoreError> {
    RedbStore::open_on(Arc::new(disk.clone()), PathBuf::from("state"), Arc::new(ManualClock::new()), TakeOver::No).await
}

/// What a store is asked to do.
#[derive(Debug, Clone)]
enum Step {
    Txn(Txn),
    Grant,
    Revoke(LeaseId),
    Compact(Revision),
    Shrink,
    Reopen,
}

/// Everything that a store knows.
#[derive(Debug, PartialEq, Eq)]
struct View {
    kvs: Vec<KeyValue>,
    revision: Revision,
    compacted: Revision,
    log: Vec<WatchBatch>,
    leases: Vec<LeaseId>,
}

async fn view(store: &RedbStore) -> Result<View, StoreError> {
    let page = store.list(b"").await?;
    let (revision, compacted) = store.inner.revisions()?;
    let (mut log, mut from) = (Vec::new(), compacted.max(Revision(1)));
    while from <= revision {
        let chunk = store.inner.log_chunk(b"", from)?;
        log.extend(chunk.batches);
        from = chunk.next;
    }
    let leases = store.inner.leases().due(Duration::MAX);
    Ok(View { kvs: page.kvs, revision, compacted, log, leases })
}

/// The next step: mostly transactions of one to six keys, some with values that make the file grow.
fn next_step(random: &mut Random, revision: Revision, compacted: Revision, leases: &[LeaseId]) -> Step {
    let lease = |random: &mut Random| leases.get(random.below(leases.len().max(1) as u64) as usize).copied();
    match random.below(20) {
        0 => Step::Grant,
        1 => lease(random).map_or(Step::Grant, Step::Revoke),
        2 if compacted.next() < revision => {
            Step::Compact(Revision(compacted.0 + 1 + random.below((revision.0 - compacted.0) as u64) as i64))
        }
        3 => Step::Shrink,
        4 => Step::Reopen,
        _ => {
            let first = random.below(24);
            let operations = (0..=random.below(6)).map(|n| {
                let key = format!("key/{:02}", (first + n) % 24);
                let size = if random.below(8) == 0 { random.below(60_000) } else { random.below(600) };
                let value = vec![random.below(256) as u8; size as usize];
                match (random.below(5), lease(random)) {
                    (0, _) => Operation::delete(key),
                    (1, Some(lease)) => Operation::put_leased(key, value, lease),
                    _ => Operation::put(key, value),
                }
            });
            Step::Txn(Txn { compares: Vec::new(), operations: operations.collect() })
        }
    }
}

/// Does a step; a reopened store takes the place of the old one.
async fn perform(store: &mut RedbStore, disk: &Disk, step: &Step) -> Result<(), StoreError> {
    match step {
        Step::Txn(txn) => store.txn(txn.clone()).await.map(drop),
        Step::Grant => store.grant(Duration::from_secs(60)).await.map(drop),
        Step::Revoke(lease) => store.revoke(*lease).await,
        Step::Compact(revision) => store.compact(*revision).await,
        Step::Shrink => store.shrink().await.map(drop),
        Step::Reopen => {
            store.clone().close().await;
            *store = open(disk).await?;
            Ok(())
        }
    }
}

/// A page of everything.
async fn everything(store: &dyn StateStore) -> Result<(Vec<KeyValue>, Revision), StoreError> {
    let page = store.range(RangeRequest::prefix("").limit(MAX_PAGE)).await?;
    Ok((page.kvs, page.revision))
}
