//! The values that cross the store's interface.

use std::fmt;
use std::time::Duration;

/// A point in the store's history; 0 means "none" (an absent key) or "latest", as in etcd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub i64);

impl Revision {
    /// No revision: what an absent key compares as.
    pub const NONE: Self = Self(0);

    /// Returns the revision after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The id of a lease; never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub i64);

impl fmt::Display for LeaseId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

/// A granted lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Its id.
    pub id: LeaseId,
    /// The time to live that was granted, which may be longer than what was asked for.
    pub ttl: Duration,
}

/// A condition of a transaction, on the state before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compare {
    /// The key was created at this revision (0: it does not exist).
    CreateRevision {
        /// The key.
        key: Vec<u8>,
        /// The revision it must equal.
        revision: Revision,
    },
    /// The key was last changed at this revision (0: it does not exist).
    ModRevision {
        /// The key.
        key: Vec<u8>,
        /// The revision it must equal.
        revision: Revision,
    },
    /// The key does not exist; in etcd: create revision equals 0.
    Absent {
        /// The key.
        key: Vec<u8>,
    },
}

impl Compare {
    /// Requires that `key` was created at `revision`.
    pub fn create_revision(key: impl Into<Vec<u8>>, revision: Revision) -> Self {
        Self::CreateRevision { key: key.into(), revision }
    }

    /// Requires that `key` was last changed at `revision`.
    pub fn mod_revision(key: impl Into<Vec<u8>>, revision: Revision) -> Self {
        Self::ModRevision { key: key.into(), revision }
    }

    /// Requires that `key` does not exist.
    pub fn absent(key: impl Into<Vec<u8>>) -> Self {
        Self::Absent { key: key.into() }
    }

    /// Returns the key that is compared.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        match self {
            Self::CreateRevision { key, .. } | Self::ModRevision { key, .. } | Self::Absent { key } => key,
        }
    }

    /// Returns whether the condition holds for a key with these revisions (both 0 if absent).
    pub(crate) fn holds(&self, create: Revision, modified: Revision) -> bool {
        match self {
            Self::CreateRevision { revision, .. } => create == *revision,
            Self::ModRevision { revision, .. } => modified == *revision,
            Self::Absent { .. } => create == Revision::NONE,
        }
    }
}

/// A change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Sets the value, and the lease that the key lives under from now on.
    Put {
        /// The key.
        key: Vec<u8>,
        /// Its new value.
        value: Vec<u8>,
        /// The lease whose end deletes the key; none detaches it.
        lease: Option<LeaseId>,
    },
    /// Removes the key; nothing happens if it does not exist.
    Delete {
        /// The key.
        key: Vec<u8>,
    },
}

impl Operation {
    /// Puts a value under no lease.
    pub fn put(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self::Put { key: key.into(), value: value.into(), lease: None }
    }

    /// Puts a value under a lease.
    pub fn put_leased(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>, lease: LeaseId) -> Self {
        Self::Put { key: key.into(), value: value.into(), lease: Some(lease) }
    }

    /// Deletes a key.
    pub fn delete(key: impl Into<Vec<u8>>) -> Self {
        Self::Delete { key: key.into() }
    }

    /// Returns the key that is changed.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }
}

/// Operations that happen together, and only if all compares hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Txn {
    /// The conditions, on the state before the transaction.
    pub compares: Vec<Compare>,
    /// The changes, in order; no key twice.
    pub operations: Vec<Operation>,
}

impl Txn {
    /// Returns an empty transaction.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition.
    #[must_use]
    pub fn when(mut self, compare: Compare) -> Self {
        self.compares.push(compare);
        self
    }

    /// Adds an operation.
    #[must_use]
    pub fn and(mut self, operation: Operation) -> Self {
        self.operations.push(operation);
        self
    }

    /// Adds a put under no lease.
    #[must_use]
    pub fn put(self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        self.and(Operation::put(key, value))
    }

    /// Adds a delete.
    #[must_use]
    pub fn delete(self, key: impl Into<Vec<u8>>) -> Self {
        self.and(Operation::delete(key))
    }
}

/// What became of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TxnResult {
    /// Whether all compares held and the operations were done.
    pub succeeded: bool,
    /// The store's revision after the transaction; on success of one with puts, the mod revision of what it put.
    pub revision: Revision,
}

/// A key with its value and history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Vec<u8>,
    /// Its value; empty in a delete event.
    pub value: Vec<u8>,
    /// The revision that created it; 0 in a delete event.
    pub create_revision: Revision,
    /// The revision that last changed it.
    pub mod_revision: Revision,
    /// How often it was put since its creation, from 1; 0 in a delete event.
    pub version: i64,
    /// The lease that it lives under.
    pub lease: Option<LeaseId>,
}

/// Which keys a range reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyRange {
    /// This one key.
    Key(Vec<u8>),
    /// All keys that begin so; an empty prefix means every key.
    Prefix(Vec<u8>),
    /// Keys from `start` up to, not including, `end`.
    Between {
        /// The first key.
        start: Vec<u8>,
        /// The key after the last one.
        end: Vec<u8>,
    },
}

/// A request for one page of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeRequest {
    /// Which keys.
    pub range: KeyRange,
    /// Reads the state as it was at this revision; the latest if absent.
    pub at: Option<Revision>,
    /// At most this many keys, between 1 and [`crate::MAX_PAGE`].
    pub limit: usize,
    /// Only keys greater than this one: the last key of the page before.
    pub after: Option<Vec<u8>>,
}

impl RangeRequest {
    /// Asks for the first page of a prefix, now.
    pub fn prefix(prefix: impl Into<Vec<u8>>) -> Self {
        Self { range: KeyRange::Prefix(prefix.into()), at: None, limit: crate::MAX_PAGE, after: None }
    }

    /// Asks for one key, now.
    pub fn key(key: impl Into<Vec<u8>>) -> Self {
        Self { range: KeyRange::Key(key.into()), at: None, limit: 1, after: None }
    }

    /// Asks for the first page of the keys from `start` to before `end`, now.
    pub fn between(start: impl Into<Vec<u8>>, end: impl Into<Vec<u8>>) -> Self {
        let range = KeyRange::Between { start: start.into(), end: end.into() };
        Self { range, at: None, limit: crate::MAX_PAGE, after: None }
    }

    /// Reads at a revision.
    #[must_use]
    pub fn at(mut self, revision: Revision) -> Self {
        self.at = Some(revision);
        self
    }

    /// Reads at most this many keys.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Reads only keys greater than this one.
    #[must_use]
    pub fn after(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.after = Some(key.into());
        self
    }
}

/// One page of keys, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The keys.
    pub kvs: Vec<KeyValue>,
    /// The revision that was read: pass it as `at` for the next page, or watch from the one after it.
    pub revision: Revision,
    /// Whether there are more keys after the last one.
    pub more: bool,
}

/// A change that a watch reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The key was put.
    Put(KeyValue),
    /// The key was deleted; only key and mod revision (that of the delete) are set.
    Delete(KeyValue),
}

impl Event {
    /// Returns the key and its state after the change.
    #[must_use]
    pub fn kv(&self) -> &KeyValue {
        match self {
            Self::Put(kv) | Self::Delete(kv) => kv,
        }
    }
}

/// All changes of one revision that concern a watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchBatch {
    /// The revision.
    pub revision: Revision,
    /// Its changes, in the order of the transaction's operations; never empty.
    pub events: Vec<Event>,
}
