//! Changes of the file: each is one durable commit.

use std::collections::BTreeSet;
use std::time::Duration;

use ::redb::{Error as RedbError, ReadableTable as _, Table, WriteTransaction};

use super::Inner;
use super::file::Failure;
use super::tables::{
    CURRENT, HISTORY, LEASES, LOG, META, META_COMMITS, META_COMPACTED, META_LAST_LEASE, META_REVISION, Record,
    TOMBSTONE_RECORD, decode,
};
use crate::check::check_compact;
use crate::error::StoreError;
use crate::types::{Compare, LeaseId, Operation, Revision, Txn};

/// What to do.
pub(super) enum Change {
    Txn { txn: Txn, now: Duration },
    EndLease { lease: LeaseId, keys: Vec<Vec<u8>> },
    Grant { ttl: Duration },
    Compact(Revision),
}

/// What was done.
pub(super) struct Applied {
    pub(super) succeeded: bool,
    pub(super) revision: Revision,
    /// The keys that were put or deleted, and the lease that each is under now.
    pub(super) attached: Vec<(Vec<u8>, Option<LeaseId>)>,
    pub(super) lease: Option<LeaseId>,
}

/// A change that is made in an open transaction.
struct Prepared {
    applied: Applied,
    commit: Commit,
}

/// Whether there is anything to commit.
enum Commit {
    Needed,
    Nothing,
}

impl Inner {
    /// Needs the gate.
    pub(super) fn change(&self, operation: &'static str, change: Change) -> Result<Applied, StoreError> {
        let result = self.with_database(operation, |database| {
            let write = database.begin_write()?;
            let Prepared { applied, commit } = match change {
                Change::Txn { txn, now } => self.prepare_txn(&write, &txn, now)?,
                Change::EndLease { lease, keys } => end_lease(&write, lease, keys)?,
                Change::Grant { ttl } => grant(&write, ttl)?,
                Change::Compact(revision) => compact(&write, revision)?,
            };
            if matches!(commit, Commit::Nothing) {
                return Ok(Ok(applied));
            }
            let number = count_commit(&write)?;
            self.check_owner()?;
            Ok(match write.commit() {
                Ok(()) => Ok(applied),
                Err(error) => Err(((applied, number), RedbError::from(error))),
            })
        })?;
        result.or_else(|(attempt, error)| self.resolve(operation, attempt, error))
    }

    fn prepare_txn(&self, write: &WriteTransaction, txn: &Txn, now: Duration) -> Result<Prepared, Failure> {
        let mut tables = Tables::open(write)?;
        let revision = tables.revision()?;
        for compare in &txn.compares {
            if !tables.holds(compare)? {
                let applied = Applied { succeeded: false, revision, attached: Vec::new(), lease: None };
                return Ok(Prepared { applied, commit: Commit::Nothing });
            }
        }
        for operation in &txn.operations {
            if let Operation::Put { lease: Some(lease), .. } = operation {
                self.leases().check(*lease, now)?;
            }
        }
        let applied = tables.change(&txn.operations)?;
        let commit = if applied.revision == revision { Commit::Nothing } else { Commit::Needed };
        Ok(Prepared { applied, commit })
    }
}

/// Counts the commit that is being made; returns its number.
fn count_commit(write: &WriteTransaction) -> Result<i64, Failure> {
    let mut meta = write.open_table(META)?;
    let number = meta.get(META_COMMITS)?.map_or(0, |number| number.value()).saturating_add(1);
    meta.insert(META_COMMITS, number)?;
    Ok(number)
}

fn end_lease(write: &WriteTransaction, lease: LeaseId, keys: Vec<Vec<u8>>) -> Result<Prepared, Failure> {
    write.open_table(LEASES)?.remove(lease.0)?;
    let deletes: Vec<Operation> = keys.into_iter().map(Operation::delete).collect();
    let applied = Tables::open(write)?.change(&deletes)?;
    Ok(Prepared { applied, commit: Commit::Needed })
}

fn grant(write: &WriteTransaction, ttl: Duration) -> Result<Prepared, Failure> {
    let mut meta = write.open_table(META)?;
    let lease = number(&meta, META_LAST_LEASE)?.saturating_add(1);
    meta.insert(META_LAST_LEASE, lease)?;
    let seconds = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
    write.open_table(LEASES)?.insert(lease, seconds)?;
    let revision = Revision(number(&meta, META_REVISION)?);
    let applied = Applied { succeeded: true, revision, attached: Vec::new(), lease: Some(LeaseId(lease)) };
    Ok(Prepared { applied, commit: Commit::Needed })
}

/// Forgets superseded states. Only what the log says was changed up to `revision` is looked at, so the cost follows the
/// changes since the last compaction and not the number of keys.
fn compact(write: &WriteTransaction, revision: Revision) -> Result<Prepared, Failure> {
    let mut meta = write.open_table(META)?;
    let current = Revision(number(&meta, META_REVISION)?);
    check_compact(revision, current, Revision(number(&meta, META_COMPACTED)?))?;
    meta.insert(META_COMPACTED, revision.0)?;
    let mut log = write.open_table(LOG)?;
    let mut history = write.open_table(HISTORY)?;
    let mut changed: BTreeSet<Vec<u8>> = BTreeSet::new();
    for entry in log.range((i64::MIN, 0)..=(revision.0, u32::MAX))? {
        changed.insert(entry?.1.value().to_vec());
    }
    for key in &changed {
        forget(&mut history, key, revision)?;
    }
    // What happened at the compacted revision itself can still be watched.
    log.retain_in((i64::MIN, 0)..(revision.0, 0), |_, _| false)?;
    let applied = Applied { succeeded: true, revision: current, attached: Vec::new(), lease: None };
    Ok(Prepared { applied, commit: Commit::Needed })
}

/// Removes the states of a key before its newest at or before `revision`, and that one too if it is an older delete.
fn forget(history: &mut Table<'_, (&[u8], i64), &[u8]>, key: &[u8], revision: Revision) -> Result<(), Failure> {
    let newest = match history.range((key, i64::MIN)..=(key, revision.0))?.next_back() {
        None => return Ok(()),
        Some(entry) => {
            let (position, bytes) = entry?;
            let tombstone = decode(bytes.value()).map_err(Failure::Damaged)?.is_none();
            (position.value().1, tombstone)
        }
    };
    let (newest, tombstone) = newest;
    let end = if tombstone && newest < revision.0 { newest.saturating_add(1) } else { newest };
    history.retain_in((key, i64::MIN)..(key, end), |_, _| false)?;
    Ok(())
}

fn number(meta: &Table<'_, &'static str, i64>, name: &'static str) -> Result<i64, Failure> {
    meta.get(name)?.map(|value| value.value()).ok_or_else(|| Failure::Damaged(format!("no {name}")))
}

/// The tables that a transaction changes.
struct Tables<'t> {
    meta: Table<'t, &'static str, i64>,
    current: Table<'t, &'static [u8], &'static [u8]>,
    history: Table<'t, (&'static [u8], i64), &'static [u8]>,
    log: Table<'t, (i64, u32), &'static [u8]>,
}

impl<'t> Tables<'t> {
    fn open(write: &'t WriteTransaction) -> Result<Self, Failure> {
        Ok(Self {
            meta: write.open_table(META)?,
            current: write.open_table(CURRENT)?,
            history: write.open_table(HISTORY)?,
            log: write.open_table(LOG)?,
        })
    }

    fn revision(&self) -> Result<Revision, Failure> {
        number(&self.meta, META_REVISION).map(Revision)
    }

    /// Create revision, mod revision and version of a live key; zeros for an absent one.
    fn revisions(&self, key: &[u8]) -> Result<(Revision, Revision, i64), Failure> {
        match self.current.get(key)? {
            None => Ok((Revision::NONE, Revision::NONE, 0)),
            Some(bytes) => match decode(bytes.value()).map_err(Failure::Damaged)? {
                Some(record) => Ok((record.create_revision, record.mod_revision, record.version)),
                None => Err(Failure::Damaged("a deleted key among the live ones".to_owned())),
            },
        }
    }

    fn holds(&self, compare: &Compare) -> Result<bool, Failure> {
        let (create, modified, _) = self.revisions(compare.key())?;
        Ok(compare.holds(create, modified))
    }

    /// Does the operations at the next revision, if they change anything.
    fn change(&mut self, operations: &[Operation]) -> Result<Applied, Failure> {
        let before = self.revision()?;
        let revision = before.next();
        let mut attached = Vec::new();
        for operation in operations {
            let key = operation.key();
            let (create, _, version) = self.revisions(key)?;
            let lease = match operation {
                Operation::Delete { .. } if version == 0 => continue,
                Operation::Delete { .. } => {
                    self.current.remove(key)?;
                    self.history.insert((key, revision.0), TOMBSTONE_RECORD)?;
                    None
                }
                Operation::Put { value, lease, .. } => {
                    let create_revision = if version == 0 { revision } else { create };
                    let (version, lease) = (version.saturating_add(1), *lease);
                    let record = Record { create_revision, mod_revision: revision, version, lease, value };
                    let bytes = record.encode();
                    self.current.insert(key, bytes.as_slice())?;
                    self.history.insert((key, revision.0), bytes.as_slice())?;
                    lease
                }
            };
            let position = u32::try_from(attached.len()).unwrap_or(u32::MAX);
            self.log.insert((revision.0, position), key)?;
            attached.push((key.to_vec(), lease));
        }
        if attached.is_empty() {
            return Ok(Applied { succeeded: true, revision: before, attached, lease: None });
        }
        self.meta.insert(META_REVISION, revision.0)?;
        Ok(Applied { succeeded: true, revision, attached, lease: None })
    }
}
