//! The history of all keys in memory. Pure: time is an argument.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::check::{Bounds, PageBuilder, check_compact, readable};
use crate::error::StoreError;
use crate::lease::LeaseTable;
use crate::types::{Event, KeyValue, LeaseId, Operation, Page, Revision, Txn, TxnResult, WatchBatch};
use crate::watch::{LOG_CHUNK, LogChunk};

/// One state of a key: live, or a tombstone left by a delete.
#[derive(Debug)]
struct Version {
    mod_revision: Revision,
    live: Option<KeyValue>,
}

/// Everything that a store holds.
#[derive(Debug)]
pub(super) struct State {
    revision: Revision,
    compacted: Revision,
    /// The states of each key since compaction, oldest first.
    keys: BTreeMap<Vec<u8>, Vec<Version>>,
    /// The keys that each revision changed, in order.
    log: BTreeMap<Revision, Vec<Vec<u8>>>,
    pub(super) leases: LeaseTable,
    last_lease: i64,
}

impl Default for State {
    /// An empty etcd is at revision 1.
    fn default() -> Self {
        Self {
            revision: Revision(1),
            compacted: Revision::NONE,
            keys: BTreeMap::new(),
            log: BTreeMap::new(),
            leases: LeaseTable::default(),
            last_lease: 0,
        }
    }
}

impl State {
    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    pub(super) fn compacted(&self) -> Revision {
        self.compacted
    }

    fn live(&self, key: &[u8]) -> Option<&KeyValue> {
        self.keys.get(key)?.last()?.live.as_ref()
    }

    pub(super) fn apply(&mut self, txn: &Txn, now: Duration) -> Result<TxnResult, StoreError> {
        let holds = txn.compares.iter().all(|compare| match self.live(compare.key()) {
            Some(kv) => compare.holds(kv.create_revision, kv.mod_revision),
            None => compare.holds(Revision::NONE, Revision::NONE),
        });
        if !holds {
            return Ok(TxnResult { succeeded: false, revision: self.revision });
        }
        for operation in &txn.operations {
            if let Operation::Put { lease: Some(lease), .. } = operation {
                self.leases.check(*lease, now)?;
            }
        }
        self.change(&txn.operations);
        Ok(TxnResult { succeeded: true, revision: self.revision })
    }

    /// Does the operations at the next revision, if they change anything.
    fn change(&mut self, operations: &[Operation]) {
        let revision = self.revision.next();
        let mut changed = Vec::new();
        for operation in operations {
            let version = match operation {
                Operation::Delete { key } if self.live(key).is_none() => continue,
                Operation::Delete { .. } => Version { mod_revision: revision, live: None },
                Operation::Put { key, value, lease } => {
                    let (create_revision, version) =
                        self.live(key).map_or((revision, 1), |old| (old.create_revision, old.version + 1));
                    let (key, value, lease) = (key.clone(), value.clone(), *lease);
                    let kv = KeyValue { key, value, create_revision, mod_revision: revision, version, lease };
                    Version { mod_revision: revision, live: Some(kv) }
                }
            };
            let key = operation.key();
            self.leases.attach(key, version.live.as_ref().and_then(|kv| kv.lease));
            self.keys.entry(key.to_vec()).or_default().push(version);
            changed.push(key.to_vec());
        }
        if !changed.is_empty() {
            self.revision = revision;
            self.log.insert(revision, changed);
        }
    }

    pub(super) fn range(&self, bounds: Option<Bounds>, at: Option<Revision>, limit: usize) -> Result<Page, StoreError> {
        let at = readable("range", at, self.revision, self.compacted)?;
        let mut page = PageBuilder::new(limit);
        for (_, versions) in bounds.into_iter().flat_map(|bounds| self.keys.range::<Vec<u8>, _>(bounds)) {
            let version = versions.iter().rev().find(|version| version.mod_revision <= at);
            if let Some(kv) = version.and_then(|version| version.live.clone())
                && !page.push(kv)
            {
                break;
            }
        }
        Ok(page.finish(at))
    }

    pub(super) fn read_log(&self, prefix: &[u8], from: Revision) -> Result<LogChunk, StoreError> {
        if from < self.compacted {
            return Err(StoreError::Compacted { requested: from, compact_revision: self.compacted });
        }
        let (mut batches, mut read) = (Vec::new(), 0);
        for (revision, keys) in self.log.range(from..) {
            if read >= LOG_CHUNK {
                return Ok(LogChunk { batches, next: *revision });
            }
            read += keys.len();
            let keys = keys.iter().filter(|key| key.starts_with(prefix));
            let events: Vec<Event> = keys.filter_map(|key| self.event(key, *revision)).collect();
            if !events.is_empty() {
                batches.push(WatchBatch { revision: *revision, events });
            }
        }
        Ok(LogChunk { batches, next: self.revision.next().max(from) })
    }

    fn event(&self, key: &[u8], revision: Revision) -> Option<Event> {
        let version = self.keys.get(key)?.iter().find(|version| version.mod_revision == revision)?;
        Some(match &version.live {
            Some(kv) => Event::Put(kv.clone()),
            None => Event::Delete(KeyValue {
                key: key.to_vec(),
                value: Vec::new(),
                create_revision: Revision::NONE,
                mod_revision: revision,
                version: 0,
                lease: None,
            }),
        })
    }

    pub(super) fn compact(&mut self, revision: Revision) -> Result<(), StoreError> {
        check_compact(revision, self.revision, self.compacted)?;
        self.compacted = revision;
        self.log = self.log.split_off(&revision);
        self.keys.retain(|_, versions| {
            let newest = versions.iter().rposition(|version| version.mod_revision <= revision);
            versions.drain(..newest.unwrap_or(0));
            // A delete before the compaction is forgotten; one at it can still be watched.
            if versions.first().is_some_and(|first| first.live.is_none() && first.mod_revision < revision) {
                versions.remove(0);
            }
            !versions.is_empty()
        });
        Ok(())
    }

    pub(super) fn grant(&mut self, ttl: Duration, now: Duration) -> LeaseId {
        self.last_lease += 1;
        let lease = LeaseId(self.last_lease);
        self.leases.grant(lease, ttl, now);
        lease
    }

    pub(super) fn end_lease(&mut self, lease: LeaseId) {
        let deletes: Vec<Operation> = self.leases.keys(lease).into_iter().map(Operation::delete).collect();
        self.leases.remove(lease);
        self.change(&deletes);
    }

    pub(super) fn expire(&mut self, now: Duration) {
        for lease in self.leases.due(now) {
            self.end_lease(lease);
        }
    }
}
