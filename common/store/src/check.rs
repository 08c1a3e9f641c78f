//! The limits that every store enforces, and bounds of key ranges.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::time::Duration;

use crate::error::StoreError;
use crate::types::{KeyRange, KeyValue, Operation, Page, RangeRequest, Revision, Txn};

/// The most operations, and the most compares, of one transaction. etcd's `--max-txn-ops` is 128 by default and counts
/// each apart; the rest is kept for what a store layer may add.
pub const MAX_TXN_OPERATIONS: usize = 100;
/// The most bytes of all keys and values of one transaction, with [`OPERATION_OVERHEAD`] for each operation and
/// compare: 1.5 MiB, etcd's `--max-request-bytes`, which counts the encoded request.
pub const MAX_TXN_BYTES: usize = 1_572_864;
/// The most bytes of a key. etcd has no limit of its own; redb and sane listings need one.
pub const MAX_KEY_BYTES: usize = 4096;
/// The most keys of one page.
pub const MAX_PAGE: usize = 1000;
/// The shortest lease. etcd grants no less than one and a half election timeouts, 2 s with its defaults.
pub const MIN_LEASE_TTL: Duration = Duration::from_secs(2);
/// The longest lease: a day. (etcd's `maxLeaseTTL` is 9,000,000,000 s, but no lease of ours outlives a day.)
pub const MAX_LEASE_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// More than protobuf's tags and lengths need.
const OPERATION_OVERHEAD: usize = 64;

/// Refuses a transaction that breaks a limit.
pub(crate) fn check_txn(txn: &Txn) -> Result<(), StoreError> {
    let refuse = |problem: String| Err(StoreError::invalid("transaction", problem));
    if txn.operations.len() > MAX_TXN_OPERATIONS {
        return refuse(format!("{} operations, at most {MAX_TXN_OPERATIONS} are allowed", txn.operations.len()));
    }
    if txn.compares.len() > MAX_TXN_OPERATIONS {
        return refuse(format!("{} compares, at most {MAX_TXN_OPERATIONS} are allowed", txn.compares.len()));
    }
    for key in txn.compares.iter().map(crate::Compare::key).chain(txn.operations.iter().map(Operation::key)) {
        check_key("transaction", key)?;
    }
    let mut keys = BTreeSet::new();
    for operation in &txn.operations {
        if !keys.insert(operation.key()) {
            return refuse(format!("key {} is changed twice", operation.key().escape_ascii()));
        }
    }
    let bytes = txn_bytes(txn);
    if bytes > MAX_TXN_BYTES {
        return refuse(format!("{bytes} bytes, at most {MAX_TXN_BYTES} are allowed"));
    }
    Ok(())
}

/// What a transaction counts towards [`MAX_TXN_BYTES`].
pub(crate) fn txn_bytes(txn: &Txn) -> usize {
    let compares = txn.compares.iter().map(|compare| compare.key().len() + OPERATION_OVERHEAD);
    let operations = txn.operations.iter().map(|operation| {
        let value = match operation {
            Operation::Put { value, .. } => value.len(),
            Operation::Delete { .. } => 0,
        };
        operation.key().len() + value + OPERATION_OVERHEAD
    });
    compares.chain(operations).sum()
}

fn check_key(operation: &'static str, key: &[u8]) -> Result<(), StoreError> {
    if key.is_empty() {
        return Err(StoreError::invalid(operation, "empty key"));
    }
    if key.len() > MAX_KEY_BYTES {
        return Err(StoreError::invalid(
            operation,
            format!("key of {} bytes, at most {MAX_KEY_BYTES} are allowed", key.len()),
        ));
    }
    Ok(())
}

/// Rounds a wanted TTL to what is granted.
pub(crate) fn granted_ttl(ttl: Duration) -> Result<Duration, StoreError> {
    if ttl > MAX_LEASE_TTL {
        return Err(StoreError::invalid("lease", format!("a TTL of {ttl:?}, at most {MAX_LEASE_TTL:?} is allowed")));
    }
    let whole = if ttl.subsec_nanos() == 0 { ttl } else { Duration::from_secs(ttl.as_secs() + 1) };
    Ok(whole.max(MIN_LEASE_TTL))
}

/// The bounds of a range in key order.
pub(crate) type Bounds = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// Checks a range request; returns the bounds of the keys that it reads, or none when there can be no key.
pub(crate) fn range_bounds(request: &RangeRequest) -> Result<Option<Bounds>, StoreError> {
    if request.limit == 0 || request.limit > MAX_PAGE {
        return Err(StoreError::invalid("range", format!("limit {}, allowed are 1 to {MAX_PAGE}", request.limit)));
    }
    if request.at.is_some_and(|at| at.0 < 0) {
        return Err(StoreError::invalid("range", "negative revision"));
    }
    let (start, end) = match &request.range {
        KeyRange::Key(key) => {
            check_key("range", key)?;
            (key.clone(), Bound::Included(key.clone()))
        }
        KeyRange::Prefix(prefix) => (prefix.clone(), prefix_end(prefix)),
        KeyRange::Between { start, end } => (start.clone(), Bound::Excluded(end.clone())),
    };
    let start = match &request.after {
        Some(after) if *after >= start => Bound::Excluded(after.clone()),
        _ => Bound::Included(start),
    };
    Ok(not_empty((start, end)))
}

/// The end of all keys with a prefix: the prefix with its last byte that is not 0xff counted up
/// (etcd `client/v3/op.go`: `getPrefix`).
pub(crate) fn prefix_end(prefix: &[u8]) -> Bound<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Bound::Excluded(end);
        }
    }
    Bound::Unbounded
}

/// `BTreeMap::range` panics on bounds that exclude each other, so those are no bounds at all.
fn not_empty(bounds: Bounds) -> Option<Bounds> {
    let empty = match (&bounds.0, &bounds.1) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(start), Bound::Included(end)) => start > end,
        (Bound::Included(start) | Bound::Excluded(start), Bound::Included(end) | Bound::Excluded(end)) => start >= end,
    };
    (!empty).then_some(bounds)
}

/// A page ends when its values reach this size, although more keys would be allowed: twice that is what a gRPC client
/// decodes by default (4 MiB), and one value may still be added.
const PAGE_BYTES: usize = 2 << 20;

/// Collects a page up to its limits.
pub(crate) struct PageBuilder {
    kvs: Vec<KeyValue>,
    limit: usize,
    bytes: usize,
    more: bool,
}

impl PageBuilder {
    pub(crate) fn new(limit: usize) -> Self {
        Self { kvs: Vec::new(), limit, bytes: 0, more: false }
    }

    /// Adds a key, or notes that there is one more; then it returns false and reading can stop.
    pub(crate) fn push(&mut self, kv: KeyValue) -> bool {
        if self.kvs.len() >= self.limit || self.bytes >= PAGE_BYTES {
            self.more = true;
            return false;
        }
        self.bytes += kv.key.len() + kv.value.len();
        self.kvs.push(kv);
        true
    }

    pub(crate) fn finish(self, revision: Revision) -> Page {
        Page { kvs: self.kvs, revision, more: self.more }
    }
}

/// Refuses a revision that is compacted or in the future; returns the one to read.
pub(crate) fn readable(
    operation: &'static str,
    wanted: Option<Revision>,
    current: Revision,
    compacted: Revision,
) -> Result<Revision, StoreError> {
    match wanted.filter(|wanted| *wanted != Revision::NONE) {
        None => Ok(current),
        Some(wanted) if wanted > current => {
            Err(StoreError::invalid(operation, format!("revision {wanted} is in the future, current is {current}")))
        }
        Some(wanted) if wanted < compacted => {
            Err(StoreError::Compacted { requested: wanted, compact_revision: compacted })
        }
        Some(wanted) => Ok(wanted),
    }
}

/// The first revision of a watch.
pub(crate) fn watch_start(from: Revision, current: Revision, compacted: Revision) -> Result<Revision, StoreError> {
    match from {
        Revision::NONE => Ok(current.next()),
        from if from.0 < 0 => Err(StoreError::invalid("watch", "negative revision")),
        from if from < compacted => Err(StoreError::Compacted { requested: from, compact_revision: compacted }),
        from => Ok(from),
    }
}

/// Refuses to compact twice, or into the future (etcd `mvcc/kvstore.go`: `updateCompactRev`).
pub(crate) fn check_compact(revision: Revision, current: Revision, compacted: Revision) -> Result<(), StoreError> {
    if revision > current {
        let problem = format!("revision {revision} is in the future, current is {current}");
        return Err(StoreError::invalid("compaction", problem));
    }
    if revision <= compacted {
        return Err(StoreError::Compacted { requested: revision, compact_revision: compacted });
    }
    Ok(())
}
