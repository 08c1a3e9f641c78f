//! Writing changed records, fenced by the leader key, and reading all of them back.

use std::{
    collections::{BTreeMap, BTreeSet},
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

/// Records that changed since the last write, the newest value of each key.
#[derive(Clone, Default)]
pub(super) struct Dirty {
    operations: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Why: names the failpoints.
    reasons: BTreeSet<Stored>,
}

impl Dirty {
    pub(super) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.operations.insert(key, value);
    }

    pub(super) fn because(&mut self, reason: Stored) {
        self.reasons.insert(reason);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Forgets what concerns a compose, and one more key.
    pub(super) fn forget(&mut self, compose_id: &str, further: &[u8]) {
        self.operations.retain(|key, _| {
            let owner = match keys::parse(key) {
                Some(ComposeKey::Meta(id) | ComposeKey::Header(id) | ComposeKey::Job(id, _)) => Some(id),
                None => None,
            };
            owner != Some(compose_id) && key != further
        });
    }
}

/// Why a write did not happen.
pub(super) enum WriteError {
    /// The store is full or does not answer: the same write may go well later.
    Passing {
        /// What it said.
        error: StoreError,
        /// Some of it is stored, or may be.
        began: bool,
    },
    /// This controller cannot go on.
    Final(EngineError),
}

/// Writes everything; returns the revision when it is durable. Values are whole, so a write that failed is simply repeated.
///
/// More than one transaction is needed only when very many jobs change at once (a failure that skips them, a
/// cancellation, a retry), or many composes are submitted. A crash between two of them leaves jobs behind their
/// producer's state, or behind the header, which loading repairs; a submission without a header was never accepted.
pub(super) async fn write(store: &dyn StateStore, fence: &LeaderFence, dirty: &Dirty) -> Result<i64, WriteError> {
    dirty.reasons.iter().for_each(|reason| pass(points::stored(*reason)[0]));
    let mut revision = 0;
    let mut operations: Vec<_> = dirty.operations.iter().collect();
    operations.sort_by_key(|(key, value)| place(key, value));
    for (number, batch) in operations.chunks(BATCH).enumerate() {
        if number > 0 {
            pass("engine.store.between");
        }
        let mut txn = Txn::new().when(fence.compare());
        for (key, value) in batch {
            txn = txn.and(Operation::put((*key).clone(), (*value).clone()));
        }
        revision = commit(store, txn, number > 0).await?;
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

/// Commits a part; `began` if it is not the first.
async fn commit(store: &dyn StateStore, txn: Txn, began: bool) -> Result<i64, WriteError> {
    pass("engine.store.before");
    let result = store.txn(txn).await;
    pass("engine.store.after");
    match result {
        Ok(result) if result.succeeded => Ok(result.revision.0),
        Ok(_) => Err(WriteError::Final(EngineError::Deposed)),
        Err(error) => Err(match error.kind() {
            ErrorKind::NoSpace | ErrorKind::Unavailable => WriteError::Passing { error, began },
            ErrorKind::OutcomeUnknown => WriteError::Passing { error, began: true },
            _ => WriteError::Final(error.into()),
        }),
    }
}

/// Composes that were read, and why others could not be.
pub(super) type Composes = (BTreeMap<String, Live>, BTreeMap<String, String>);

/// Reads every compose.
pub(super) async fn load(store: &dyn StateStore) -> Result<Composes, EngineError> {
    let page = store.list(keys::COMPOSES.as_bytes()).await?;
    let mut stored = BTreeMap::<String, Found>::new();
    for kv in &page.kvs {
        let (id, result) = match keys::parse(&kv.key) {
            Some(ComposeKey::Meta(id)) => (id, stored.entry(id.to_owned()).or_default().meta(&kv.value)),
            Some(ComposeKey::Header(id)) => (id, stored.entry(id.to_owned()).or_default().header(&kv.value)),
            Some(ComposeKey::Job(id, number)) => {
                let found = stored.entry(id.to_owned()).or_default();
                found.stored_at.insert(number, kv.mod_revision.0);
                (id, found.job(number, &kv.value))
            }
            None => continue,
        };
        if let Err(error) = result {
            // One compose that cannot be read must not keep the others from running.
            let reason = super::submission::chain(&*error);
            tracing::error!(compose_id = %id, error = %reason, "stored state cannot be read");
            stored.entry(id.to_owned()).or_default().damaged =
                Some(format!("its stored state cannot be read: {reason}"));
        }
    }
    let (mut composes, mut unreadable) = (BTreeMap::new(), BTreeMap::new());
    for (id, stored) in stored {
        if stored.header.is_none() && stored.jobs.is_empty() && stored.damaged.is_none() {
            tracing::warn!(compose_id = %id, "the controller ended while this compose was submitted: it was not accepted");
            continue;
        }
        let (Some(meta), Some(header), None) = (stored.meta, stored.header, &stored.damaged) else {
            unreadable.insert(id, stored.damaged.unwrap_or_else(|| "its stored state is not whole".to_owned()));
            continue;
        };
        match live(&id, meta, header, stored.jobs) {
            Ok(mut live) => {
                live.stored_at = stored.stored_at;
                composes.insert(id, live);
            }
            // One compose whose directory was removed must not keep the others from running.
            Err(error) => {
                let reason = super::submission::chain(&*error);
                tracing::error!(compose_id = %id, error = %reason, "cannot load compose");
                unreadable.insert(id, reason);
            }
        }
    }
    Ok((composes, unreadable))
}

/// What the store has of one compose.
#[derive(Default)]
struct Found {
    meta: Option<Meta>,
    header: Option<Header>,
    jobs: BTreeMap<u32, JobRecord>,
    stored_at: BTreeMap<u32, i64>,
    damaged: Option<String>,
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
