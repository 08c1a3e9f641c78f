//! Reads of the file, each on one snapshot.

use std::ops::Bound;

use ::redb::{Database, ReadTransaction, ReadableDatabase as _};

use super::Inner;
use super::file::Failure;
use super::tables::{CURRENT, HISTORY, LOG, META, META_COMPACTED, META_REVISION, decode};
use crate::check::{Bounds, PageBuilder, readable};
use crate::error::StoreError;
use crate::types::{Event, KeyValue, Page, Revision, WatchBatch};
use crate::watch::{LOG_CHUNK, LogChunk};

/// A snapshot and its revisions.
struct Snapshot {
    txn: ReadTransaction,
    current: Revision,
    compacted: Revision,
}

impl Snapshot {
    fn take(database: &Database) -> Result<Self, Failure> {
        let txn = database.begin_read()?;
        let meta = txn.open_table(META)?;
        let number = |name: &'static str| -> Result<Revision, Failure> {
            let value = meta.get(name)?.map(|value| Revision(value.value()));
            value.ok_or_else(|| Failure::Damaged(format!("no {name}")))
        };
        let (current, compacted) = (number(META_REVISION)?, number(META_COMPACTED)?);
        Ok(Self { txn, current, compacted })
    }
}

fn borrowed(bounds: &Bounds) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (bounds.0.as_ref().map(Vec::as_slice), bounds.1.as_ref().map(Vec::as_slice))
}

impl Inner {
    /// The current and the compacted revision.
    pub(super) fn revisions(&self) -> Result<(Revision, Revision), StoreError> {
        self.with_database("watch", |database| {
            let snapshot = Snapshot::take(database)?;
            Ok((snapshot.current, snapshot.compacted))
        })
    }

    pub(super) fn range(&self, bounds: Option<Bounds>, at: Option<Revision>, limit: usize) -> Result<Page, StoreError> {
        self.with_database("range", |database| {
            let snapshot = Snapshot::take(database)?;
            let at = readable("range", at, snapshot.current, snapshot.compacted)?;
            let mut page = PageBuilder::new(limit);
            match bounds {
                None => {}
                Some(bounds) if at == snapshot.current => read_current(&snapshot, &bounds, &mut page)?,
                Some(bounds) => read_history(&snapshot, &bounds, at, &mut page)?,
            }
            Ok(page.finish(at))
        })
    }

    /// Part of the log for a watcher.
    pub(super) fn log_chunk(&self, prefix: &[u8], from: Revision) -> Result<LogChunk, StoreError> {
        self.with_database("watch", |database| {
            let snapshot = Snapshot::take(database)?;
            if from < snapshot.compacted {
                let (requested, compact_revision) = (from, snapshot.compacted);
                return Err(StoreError::Compacted { requested, compact_revision }.into());
            }
            read_log(&snapshot, prefix, from)
        })
    }
}

fn read_current(snapshot: &Snapshot, bounds: &Bounds, page: &mut PageBuilder) -> Result<(), Failure> {
    let table = snapshot.txn.open_table(CURRENT)?;
    for entry in table.range::<&[u8]>(borrowed(bounds))? {
        let (key, bytes) = entry?;
        match decode(bytes.value()).map_err(Failure::Damaged)? {
            None => return Err(Failure::Damaged("a deleted key among the live ones".to_owned())),
            Some(record) => {
                if !page.push(record.to_kv(key.value())) {
                    break;
                }
            }
        }
    }
    Ok(())
}

/// Reads each key's newest state at or before `at`: one pass over all states in key order.
fn read_history(snapshot: &Snapshot, bounds: &Bounds, at: Revision, page: &mut PageBuilder) -> Result<(), Failure> {
    let table = snapshot.txn.open_table(HISTORY)?;
    let start = match borrowed(bounds).0 {
        Bound::Included(key) => Bound::Included((key, i64::MIN)),
        Bound::Excluded(key) => Bound::Excluded((key, i64::MAX)),
        Bound::Unbounded => Bound::Unbounded,
    };
    let end = match borrowed(bounds).1 {
        Bound::Included(key) => Bound::Included((key, i64::MAX)),
        Bound::Excluded(key) => Bound::Excluded((key, i64::MIN)),
        Bound::Unbounded => Bound::Unbounded,
    };
    // The newest state so far of the key that is being read.
    let mut newest: Option<(Vec<u8>, Option<KeyValue>)> = None;
    for entry in table.range::<(&[u8], i64)>((start, end))? {
        let (position, bytes) = entry?;
        let (key, revision) = position.value();
        if newest.as_ref().is_some_and(|(seen, _)| seen != key)
            && let Some((_, Some(kv))) = newest.take()
            && !page.push(kv)
        {
            return Ok(());
        }
        if revision <= at.0 {
            let record = decode(bytes.value()).map_err(Failure::Damaged)?;
            newest = Some((key.to_vec(), record.map(|record| record.to_kv(key))));
        }
    }
    if let Some((_, Some(kv))) = newest {
        page.push(kv);
    }
    Ok(())
}

fn read_log(snapshot: &Snapshot, prefix: &[u8], from: Revision) -> Result<LogChunk, Failure> {
    let log = snapshot.txn.open_table(LOG)?;
    let history = snapshot.txn.open_table(HISTORY)?;
    let (mut batches, mut read): (Vec<WatchBatch>, usize) = (Vec::new(), 0);
    for entry in log.range((from.0, 0)..)? {
        let (position, key) = entry?;
        let (revision, place) = position.value();
        // Only between revisions: a batch is whole.
        if read >= LOG_CHUNK && place == 0 {
            return Ok(LogChunk { batches, next: Revision(revision) });
        }
        read += 1;
        let key = key.value();
        if !key.starts_with(prefix) {
            continue;
        }
        let Some(bytes) = history.get((key, revision))? else {
            return Err(Failure::Damaged(format!("revision {revision} of a logged key is missing")));
        };
        let event = event(key, Revision(revision), bytes.value())?;
        match batches.last_mut() {
            Some(batch) if batch.revision.0 == revision => batch.events.push(event),
            _ => batches.push(WatchBatch { revision: Revision(revision), events: vec![event] }),
        }
    }
    Ok(LogChunk { batches, next: snapshot.current.next().max(from) })
}

fn event(key: &[u8], revision: Revision, bytes: &[u8]) -> Result<Event, Failure> {
    Ok(match decode(bytes).map_err(Failure::Damaged)? {
        Some(record) => Event::Put(record.to_kv(key)),
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
