//! Writing changed records, fenced by the leader key, and reading all of them back.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use tutti_failpoint::pass;
use tutti_job::Volumes;
use tutti_store::{ErrorKind, Fence as LeaderFence, Operation, StateStore, StateStoreExt, StoreError, Txn};

use super::{
    EngineError,
    keys::{self, ComposeKey},
    live::Live,
    points::{self, Stored},
    submission::Meta,
};
use crate::{
    latest,
    lifecycle::{Compose, Header, JobRecord, Loss, Timestamp},
    plan::Plan,
    spec::ComposeSpec,
    volume,
};

/// Operations in one transaction: below the store's limit of 100, with room for the compare.
const BATCH: usize = 96;
/// Operations of one birth, at most.
const LARGEST_BIRTH: usize = 3;

/// Records that changed since the last write, the newest value of each key; without value it is to go.
#[derive(Default)]
pub(super) struct Dirty {
    operations: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// Composes that are not stored yet.
    births: BTreeMap<String, Birth>,
    /// Why: names the failpoints.
    reasons: BTreeSet<Stored>,
}

/// What makes a compose be there after a restart, in one transaction: where it is, its first header, and the key of its
/// submission. Jobs follow from the plan as long as they have no record.
struct Birth {
    operations: Vec<(Vec<u8>, Vec<u8>)>,
    fate: Fate,
}

/// What is known of the store's part in a compose that is not stored yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It has nothing of it.
    NotStored,
    /// Nobody knows.
    MaybeStored,
}

impl Dirty {
    pub(super) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.operations.insert(key, Some(value));
    }

    pub(super) fn delete(&mut self, key: Vec<u8>) {
        self.operations.insert(key, None);
    }

    /// A new compose, with what is to be stored before any other record of it.
    pub(super) fn born(&mut self, compose_id: &str, operations: Vec<(Vec<u8>, Vec<u8>)>) {
        self.births.insert(compose_id.to_owned(), Birth { operations, fate: Fate::NotStored });
    }

    /// What is known of a compose that waits to be stored for the first time; `None` for any other.
    pub(super) fn unborn(&self, compose_id: &str) -> Option<Fate> {
        self.births.get(compose_id).map(|birth| birth.fate)
    }

    pub(super) fn because(&mut self, reason: Stored) {
        self.reasons.insert(reason);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.operations.is_empty() && self.births.is_empty()
    }

    /// Forgets what concerns a compose.
    pub(super) fn forget(&mut self, compose_id: &str) {
        self.births.remove(compose_id);
        self.operations.retain(|key, _| keys::parse(key).is_none_or(|key| key.compose() != compose_id));
    }

    /// The transactions, in order. What was there before goes first, births are next, each whole.
    fn batches(&self) -> Vec<Batch> {
        let born = || self.births.values().flat_map(|birth| &birth.operations);
        let kept: BTreeSet<&[u8]> = born().map(|(key, _)| key.as_slice()).collect();
        let (gone, mut changed): (Vec<Change>, Vec<Change>) = (self.operations.iter())
            .filter(|(key, value)| value.is_some() || !kept.contains(key.as_slice()))
            .map(|(key, value)| (key.clone(), value.clone()))
            .partition(|(_, value)| value.is_none());
        let mut all: BTreeMap<_, _> = born().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
        all.extend(gone.iter().chain(&changed).cloned());
        if all.len() <= BATCH {
            let births = self.births.keys().cloned().collect();
            return vec![Batch { changes: all.into_iter().collect(), births }];
        }
        changed.sort_by_key(|(key, value)| place(key, value.as_deref().unwrap_or_default()));
        let plain = |changes: &[Change]| Batch { changes: changes.to_vec(), births: Vec::new() };
        let mut batches: Vec<Batch> = gone.chunks(BATCH).map(plain).collect();
        let composes: Vec<_> = self.births.iter().collect();
        batches.extend(composes.chunks(BATCH / LARGEST_BIRTH).map(|some| {
            Batch {
                changes: some
                    .iter()
                    .flat_map(|(_, birth)| &birth.operations)
                    .map(|(k, v)| (k.clone(), Some(v.clone())))
                    .collect(),
                births: some.iter().map(|(id, _)| (*id).clone()).collect(),
            }
        }));
        batches.extend(changed.chunks(BATCH).map(plain));
        batches
    }
}

/// A key and its new value.
type Change = (Vec<u8>, Option<Vec<u8>>);

/// One transaction.
struct Batch {
    changes: Vec<Change>,
    /// Composes that are stored by it for the first time.
    births: Vec<String>,
}

/// Why a write did not happen.
pub(super) enum WriteError {
    /// The store is full or does not answer: the same write may go well later.
    Passing(StoreError),
    /// This controller cannot go on.
    Final(EngineError),
}

/// Writes everything; returns the revision when it is durable. Values are whole, so a write that failed is simply repeated.
///
/// More than one transaction is needed only when very many jobs change at once (a failure that skips them, a
/// cancellation, a retry, a submission). A crash between two of them leaves jobs behind their producer's state, or behind
/// the header, which loading repairs. A compose that was stored before an error is no birth any more.
pub(super) async fn write(store: &dyn StateStore, fence: &LeaderFence, dirty: &mut Dirty) -> Result<i64, WriteError> {
    dirty.reasons.iter().for_each(|reason| pass(points::stored(*reason)[0]));
    let mut revision = 0;
    for (number, batch) in dirty.batches().into_iter().enumerate() {
        if number > 0 {
            pass("engine.store.between");
        }
        let operation = |(key, value)| match value {
            Some(value) => Operation::put(key, value),
            None => Operation::delete(key),
        };
        let txn = Txn { operations: batch.changes.into_iter().map(operation).collect(), ..Txn::new() };
        let result = commit(store, txn.when(fence.compare())).await;
        for id in &batch.births {
            match (&result, dirty.births.get_mut(id)) {
                (Ok(_), _) => drop(dirty.births.remove(id)),
                (Err(WriteError::Passing(error)), Some(birth)) if error.kind() == ErrorKind::OutcomeUnknown => {
                    birth.fate = Fate::MaybeStored;
                }
                (Err(_), _) => {}
            }
        }
        revision = result?;
    }
    dirty.reasons.iter().for_each(|reason| pass(points::stored(*reason)[1]));
    Ok(revision)
}

/// What must be there first comes first.
fn place(key: &[u8], value: &[u8]) -> u8 {
    match keys::parse(key) {
        Some(ComposeKey::Meta(_)) => 0,
        Some(ComposeKey::Header(_)) if !Header::decode(value).is_ok_and(|header| header.is_stored_last()) => 1,
        Some(ComposeKey::Job(..)) | None => 2,
        Some(ComposeKey::Header(_)) => 3,
    }
}

async fn commit(store: &dyn StateStore, txn: Txn) -> Result<i64, WriteError> {
    pass("engine.store.before");
    let result = store.txn(txn).await;
    pass("engine.store.after");
    match result {
        Ok(result) if result.succeeded => Ok(result.revision.0),
        Ok(_) => Err(WriteError::Final(EngineError::Deposed)),
        Err(error) => Err(match error.kind() {
            ErrorKind::NoSpace | ErrorKind::Unavailable | ErrorKind::OutcomeUnknown => WriteError::Passing(error),
            _ => WriteError::Final(error.into()),
        }),
    }
}

/// What was read.
#[derive(Default)]
pub(super) struct Loaded {
    pub(super) composes: BTreeMap<String, Live>,
    pub(super) unreadable: BTreeMap<String, Unreadable>,
    /// Keys of what was never stored whole.
    pub(super) litter: Vec<Vec<u8>>,
}

/// A compose that could not be read.
pub(super) struct Unreadable {
    pub(super) reason: String,
    /// Its directory, if that is known.
    pub(super) top: Option<PathBuf>,
    /// Its keys.
    pub(super) keys: Vec<Vec<u8>>,
}

/// Reads every compose. Those of a state file in a compose's directory `home` must have been made there.
pub(super) async fn load(store: &dyn StateStore, home: Option<&Path>) -> Result<Loaded, EngineError> {
    let page = store.list(keys::COMPOSES.as_bytes()).await?;
    let mut stored = BTreeMap::<String, Found>::new();
    for kv in &page.kvs {
        let Some(key) = keys::parse(&kv.key) else { continue };
        let id = key.compose();
        let found = stored.entry(id.to_owned()).or_default();
        found.keys.push(kv.key.clone());
        let result = match key {
            ComposeKey::Meta(_) => found.meta(&kv.value),
            ComposeKey::Header(_) => found.header(&kv.value),
            ComposeKey::Job(_, number) => {
                found.stored_at.insert(number, kv.mod_revision.0);
                found.job(number, &kv.value)
            }
        };
        if let Err(error) = result {
            // One compose that cannot be read must not keep the others from running.
            let reason = super::submission::chain(&*error);
            tracing::error!(compose_id = %id, error = %reason, "stored state cannot be read");
            found.damaged = Some(format!("its stored state cannot be read: {reason}"));
        }
    }
    let mut loaded = Loaded::default();
    for (id, stored) in stored {
        let top = stored.meta.as_ref().map(|meta| meta.top.clone());
        let (meta, header) = match (stored.meta, stored.header, stored.damaged) {
            (Some(meta), Some(header), None) => (meta, header),
            (_, _, Some(reason)) => {
                loaded.unreadable.insert(id, Unreadable { reason, top, keys: stored.keys });
                continue;
            }
            // Where it is and its header are stored together: nobody was told that it is accepted.
            (_, _, None) => {
                let top = top.map(|top| top.display().to_string());
                tracing::warn!(compose_id = %id, top, "what is left of a submission that was never stored whole is removed from the store");
                loaded.litter.extend(stored.keys);
                continue;
            }
        };
        if let Some(home) = home.filter(|home| !is_same_directory(home, &meta.top)) {
            // All its paths lead there: going on with a copy would change the original.
            let reason = format!(
                "it was made in {} and its state is in {} now; hint: move or rename it back, or make a new compose",
                meta.top.display(),
                home.display()
            );
            loaded.unreadable.insert(id, Unreadable { reason, top, keys: stored.keys });
            continue;
        }
        match live(&id, meta, header, stored.jobs) {
            Ok(mut live) => {
                live.stored_at = stored.stored_at;
                loaded.composes.insert(id, live);
            }
            // One compose whose directory was removed must not keep the others from running.
            Err(error) => {
                let reason = super::submission::chain(&*error);
                tracing::error!(compose_id = %id, error = %reason, "cannot load compose");
                loaded.unreadable.insert(id, Unreadable { reason, top, keys: stored.keys });
            }
        }
    }
    Ok(loaded)
}

fn is_same_directory(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
    identity(one).is_some_and(|found| Some(found) == identity(other))
}

/// What the store has of one compose.
#[derive(Default)]
struct Found {
    meta: Option<Meta>,
    header: Option<Header>,
    jobs: BTreeMap<u32, JobRecord>,
    stored_at: BTreeMap<u32, i64>,
    damaged: Option<String>,
    keys: Vec<Vec<u8>>,
}

type Read = Result<(), Box<dyn std::error::Error + Send + Sync>>;

impl Found {
    fn meta(&mut self, value: &[u8]) -> Read {
        self.meta = Some(serde_json::from_slice(value)?);
        Ok(())
    }

    fn header(&mut self, value: &[u8]) -> Read {
        self.header = Some(Header::decode(value)?);
        Ok(())
    }

    fn job(&mut self, number: u32, value: &[u8]) -> Read {
        self.jobs.insert(number, JobRecord::decode(value)?);
        Ok(())
    }
}

/// Reads the idempotency keys of submissions, each with its compose.
pub(super) async fn load_submissions(store: &dyn StateStore) -> Result<BTreeMap<String, String>, EngineError> {
    let page = store.list(keys::SUBMISSIONS.as_bytes()).await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let entry = |kv: &tutti_store::KeyValue| Some((text(kv.key.get(keys::SUBMISSIONS.len()..)?), text(&kv.value)));
    Ok(page.kvs.iter().filter_map(entry).collect())
}

/// Losses as they are stored: executor and time.
pub(super) fn encode_losses(losses: &[Loss]) -> Vec<u8> {
    let pairs: Vec<(u64, i64)> = losses.iter().map(|loss| (loss.executor, loss.at.0)).collect();
    serde_json::to_vec(&pairs).unwrap_or_default()
}

/// Reads the workers that were lost. They are evidence, not state: what cannot be read is done without.
pub(super) async fn load_losses(store: &dyn StateStore) -> Result<Vec<Loss>, EngineError> {
    let Some(stored) = store.get(keys::LOSSES).await? else { return Ok(Vec::new()) };
    let pairs: Vec<(u64, i64)> = serde_json::from_slice(&stored.value).unwrap_or_else(|error| {
        tracing::warn!(%error, "stored losses of workers cannot be read");
        Vec::new()
    });
    Ok(pairs.into_iter().map(|(executor, at)| Loss { executor, at: Timestamp(at) }).collect())
}

fn live(
    id: &str,
    meta: Meta,
    header: Header,
    records: BTreeMap<u32, JobRecord>,
) -> Result<Live, Box<dyn std::error::Error + Send + Sync>> {
    let volumes = Volumes::new(&meta.top);
    let spec: ComposeSpec = serde_json::from_slice(&volume::get_blob(&volumes, &meta.spec)?)?;
    let plan: Plan = serde_json::from_slice(&volume::get_blob(&volumes, &meta.plan)?)?;
    let mut jobs = vec![JobRecord::default(); plan.jobs.len()];
    for (number, record) in records {
        if let Some(slot) = jobs.get_mut(number as usize) {
            *slot = record;
        }
    }
    let compose = Compose::load(id, Arc::new(plan), header, jobs);
    let written = std::fs::read_to_string(meta.top.join("STATUS")).unwrap_or_default();
    let status = compose.header.status.as_str();
    // What comes after STATUS may have been cut off too.
    let linked = spec.identity.link_at_end(status).is_none_or(|link| latest::was_moved(&meta.top, link));
    let settled = compose.is_ended() && written.trim() == status && linked;
    let mut live = Live::new(compose, Arc::new(spec), meta);
    live.settled = settled;
    live.told = false;
    Ok(live)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::Status;

    #[test]
    fn a_header_that_says_the_end_is_stored_last_and_any_other_before_the_jobs() {
        let end = Some(Timestamp(1));
        let header = |ended_at, stopping| {
            let header = Header { status: Status::Finished, stopping, ended_at, ..Header::default() };
            place(&keys::header("C"), &header.encode())
        };
        let (meta, job) = (place(&keys::meta("C"), b"{}"), place(&keys::job("C", 1), &JobRecord::default().encode()));
        assert!(header(end, false) > job, "it would be taken for ended while jobs are not");
        assert!(header(None, false) < job, "jobs of a retry would be back in a compose that has ended");
        assert!(header(None, true) < job, "jobs would be cancelled in a compose that goes on");
        assert!(header(end, true) < job, "the same");
        assert!(meta < header(None, false));
    }
}
