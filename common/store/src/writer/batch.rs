//! Which waiting transactions can go together. Pure.

use std::collections::{BTreeSet, VecDeque};

use crate::check::{MAX_TXN_BYTES, txn_bytes};
use crate::error::StoreError;
use crate::types::{Compare, Operation, Txn};

/// The most operations, and the most compares, of a group; the writer adds its own to them.
pub const MAX_BATCH_OPERATIONS: usize = 96;
/// The most bytes of a group: room is left for the writer's own keys.
const MAX_BATCH_BYTES: usize = MAX_TXN_BYTES - 16 * 1024;

/// Refuses a transaction that fits no group.
pub(super) fn check(txn: &Txn) -> Result<(), StoreError> {
    let largest = txn.operations.len().max(txn.compares.len());
    if largest > MAX_BATCH_OPERATIONS {
        let problem = format!("{largest} operations or compares, a writer takes at most {MAX_BATCH_OPERATIONS}");
        return Err(StoreError::invalid("transaction", problem));
    }
    let bytes = txn_bytes(txn);
    if bytes > MAX_BATCH_BYTES {
        let problem = format!("{bytes} bytes, a writer takes at most {MAX_BATCH_BYTES}");
        return Err(StoreError::invalid("transaction", problem));
    }
    Ok(())
}

/// Takes the next group out of the queue, at least its first transaction.
///
/// A transaction that touches a key which the group changes stays behind, and so does whatever touches a key of one that
/// stayed behind: the order of transactions on one key is kept, and compares never look at what their own group changes.
pub(super) fn take_batch<T>(queue: &mut VecDeque<T>, txn_of: impl Fn(&T) -> &Txn) -> Vec<T> {
    let mut batch = Vec::new();
    let mut behind = VecDeque::new();
    let (mut operations, mut compares, mut bytes) = (0, 0, 0);
    // Keys that the group changes, and keys that those left behind change or compare.
    let (mut changed, mut blocked) = (BTreeSet::<Vec<u8>>::new(), BTreeSet::<Vec<u8>>::new());
    while let Some(item) = queue.pop_front() {
        let txn = txn_of(&item);
        let size = txn_bytes(txn);
        let fits = operations + txn.operations.len() <= MAX_BATCH_OPERATIONS
            && compares + txn.compares.len() <= MAX_BATCH_OPERATIONS
            && bytes + size <= MAX_BATCH_BYTES;
        let free = |key: &[u8]| !changed.contains(key) && !blocked.contains(key);
        if batch.is_empty() || (fits && keys(txn).all(free)) {
            operations += txn.operations.len();
            compares += txn.compares.len();
            bytes += size;
            changed.extend(txn.operations.iter().map(|operation| operation.key().to_vec()));
            batch.push(item);
        } else {
            blocked.extend(keys(txn).map(<[u8]>::to_vec));
            behind.push_back(item);
        }
        if operations >= MAX_BATCH_OPERATIONS {
            break;
        }
    }
    behind.append(queue);
    *queue = behind;
    batch
}

/// The keys that a transaction changes or compares.
fn keys(txn: &Txn) -> impl Iterator<Item = &[u8]> {
    txn.operations.iter().map(Operation::key).chain(txn.compares.iter().map(Compare::key))
}

/// Joins transactions that go together.
pub(super) fn join<'a>(txns: impl Iterator<Item = &'a Txn>) -> Txn {
    let mut whole = Txn::new();
    for txn in txns {
        whole.compares.extend(txn.compares.iter().cloned());
        whole.operations.extend(txn.operations.iter().cloned());
    }
    whole
}
