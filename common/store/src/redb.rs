//! The store in one file: durable, for a single machine.
//!
//! Every transaction is on the disk before it is answered (redb's `Durability::Immediate`: copy-on-write pages, one
//! fsync'd commit). Work on the file is done on tokio's blocking threads, one writer at a time; readers see whole
//! commits. One process at a time has the file, by the rule of [`crate::owner`], which holds on NFS too.
//!
//! Source of truth: the file. Beside it stand only the deadlines of the leases, which begin anew when it is opened.

mod apply;
mod file;
mod medium;
mod read;
mod slot;
mod tables;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use self::apply::{Applied, Change};
use self::file::Phase;
use self::medium::{FileSystem, Medium};
use self::slot::Slot;
use crate::check::{check_txn, granted_ttl, range_bounds, watch_start};
use crate::clock::Clock;
use crate::error::StoreError;
use crate::lease::LeaseTable;
use crate::owner::{Owner, TakeOver};
use crate::store::{StateStore, WatchSource};
use crate::sweep::{Expire, Sweeper};
use crate::types::{Lease, LeaseId, Page, RangeRequest, Revision, Txn, TxnResult};
use crate::watch::{LogChunk, LogSource, LogWatcher};

/// A store in a file; clones share it. The file is closed with the last clone, or by [`RedbStore::close`].
#[derive(Debug, Clone)]
pub struct RedbStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// Which file stood there when it was opened first.
    inode: u64,
    medium: Arc<dyn Medium>,
    clock: Arc<dyn Clock>,
    // Dropped before its owner, who gives the file up.
    slot: RwLock<Slot>,
    owner: Option<Owner>,
    /// Held over each change of the file and of the leases, by the blocking thread that does it: a caller who goes away
    /// does not let the next one in too early.
    gate: Arc<tokio::sync::Mutex<()>>,
    leases: Mutex<LeaseTable>,
    revision: watch::Sender<Revision>,
    sweeper: Sweeper,
}

impl RedbStore {
    /// Opens the file, or creates it (mode 0600) in a directory that exists.
    ///
    /// # Errors
    ///
    /// `Unavailable` when another process owns it or the file system refuses; `Corrupt` when it is not a state file
    /// of a known format, is empty or damaged. Nothing is ever repaired by deleting.
    pub async fn open(path: impl AsRef<Path>, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        Self::open_with(path, clock, TakeOver::No).await
    }

    /// As [`RedbStore::open`]; with [`TakeOver::FromElsewhere`] also after a process that cannot be seen from here.
    ///
    /// # Errors
    ///
    /// As [`RedbStore::open`].
    pub async fn open_with(
        path: impl AsRef<Path>,
        clock: Arc<dyn Clock>,
        take_over: TakeOver,
    ) -> Result<Self, StoreError> {
        Self::open_on(Arc::new(FileSystem), path.as_ref().to_owned(), clock, take_over).await
    }

    /// Fails if another process uses the file; leaves everything as it is. For those who read a copy of it.
    ///
    /// # Errors
    ///
    /// `Unavailable` when another process owns it, or may own it; `Corrupt` when that cannot be told.
    pub fn check_free(path: impl AsRef<Path>) -> Result<(), StoreError> {
        Owner::check_free(path.as_ref())
    }

    async fn open_on(
        medium: Arc<dyn Medium>,
        path: PathBuf,
        clock: Arc<dyn Clock>,
        take_over: TakeOver,
    ) -> Result<Self, StoreError> {
        let (bytes, file) = (Arc::clone(&medium), path.clone());
        let now = clock.now();
        let (opened, owner) = run_blocking(&path, "open", Phase::Before, move || {
            let owner = bytes.own(&file, take_over)?;
            if owner.as_ref().is_some_and(Owner::is_forced) {
                file::copy_away(&file)?;
            }
            let opened = file::open(&*bytes, &file, now, |_| owner.as_ref().map_or(Ok(()), Owner::check))?;
            Ok((opened, owner))
        })
        .await?;
        let inner = Arc::new(Inner {
            path,
            inode: opened.inode,
            medium,
            clock,
            slot: RwLock::new(Slot::Open(opened.handle)),
            owner,
            gate: Arc::default(),
            leases: Mutex::new(opened.leases),
            revision: watch::Sender::new(opened.revision),
            sweeper: Sweeper::default(),
        });
        inner.sweeper.deadline_changed(&inner, &inner.clock);
        Ok(Self { inner })
    }

    /// Closes the file, so that it can be opened again at once; clones and watchers answer `Unavailable` from then on.
    /// A large file is made as small as its content first.
    pub async fn close(self) {
        let inner = Arc::clone(&self.inner);
        let gate = Arc::clone(&inner.gate).lock_owned().await;
        // Only a panic could fail here, and then the file is closed by the unwinding.
        let _ = tokio::task::spawn_blocking(move || {
            let _gate = gate;
            inner.close();
        })
        .await;
    }

    /// Gives back the space that compaction of the history left in the file; nothing else runs meanwhile.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the file cannot be rewritten.
    pub async fn shrink(&self) -> Result<bool, StoreError> {
        self.write("shrink", |inner| inner.shrink()).await
    }

    /// Runs `work` as the only writer, on a blocking thread.
    async fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        Inner::write(&self.inner, operation, work).await
    }

    async fn read<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        Inner::read(&self.inner, operation, work).await
    }
}

impl Inner {
    async fn write<T: Send + 'static>(
        self: &Arc<Self>,
        operation: &'static str,
        work: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let gate = Arc::clone(&self.gate).lock_owned().await;
        let inner = Arc::clone(self);
        run_blocking(&self.path, operation, Phase::Commit, move || {
            let _gate = gate;
            inner.expire_due()?;
            work(&inner)
        })
        .await
    }

    async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        operation: &'static str,
        work: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        if !self.leases().due(self.clock.now()).is_empty() {
            self.write(operation, |_| Ok(())).await?;
        }
        let inner = Arc::clone(self);
        run_blocking(&self.path, operation, Phase::Before, move || work(&inner)).await
    }

    fn leases(&self) -> MutexGuard<'_, LeaseTable> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deletes the keys of expired leases, each lease in a revision of its own. Needs the gate.
    fn expire_due(&self) -> Result<(), StoreError> {
        let due = self.leases().due(self.clock.now());
        for lease in due {
            self.end_lease("lease expiry", lease)?;
        }
        Ok(())
    }

    /// Needs the gate.
    fn end_lease(&self, operation: &'static str, lease: LeaseId) -> Result<(), StoreError> {
        let keys = self.leases().keys(lease);
        let applied = self.change(operation, Change::EndLease { lease, keys })?;
        self.leases().remove(lease);
        self.publish(&applied);
        Ok(())
    }

    /// Makes a commit known to leases and watchers. Needs the gate.
    fn publish(&self, applied: &Applied) {
        let mut leases = self.leases();
        for (key, lease) in &applied.attached {
            leases.attach(key, *lease);
        }
        drop(leases);
        self.revision.send_if_modified(|revision| {
            let changed = *revision != applied.revision;
            *revision = applied.revision;
            changed
        });
    }

    fn txn(&self, txn: Txn) -> Result<TxnResult, StoreError> {
        failpoint("store.txn.before", Phase::Before)?;
        let now = self.clock.now();
        let applied = self.change("transaction", Change::Txn { txn, now })?;
        self.publish(&applied);
        failpoint("store.txn.committed", Phase::Commit)?;
        Ok(TxnResult { succeeded: applied.succeeded, revision: applied.revision })
    }
}

fn failpoint(name: &'static str, phase: Phase) -> Result<(), StoreError> {
    tutti_failpoint::hit(name).map_err(|error| phase.error("transaction", error.to_string()))
}

/// Runs file work on a blocking thread. redb panics on some damage; that panic becomes an error here.
async fn run_blocking<T: Send + 'static>(
    path: &Path,
    operation: &'static str,
    phase: Phase,
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => Err(file::damaged(path, format!("redb stopped in {operation}: {error}"))),
        Err(error) => Err(phase.error(operation, error.to_string())),
    }
}

#[async_trait]
impl StateStore for RedbStore {
    async fn txn(&self, txn: Txn) -> Result<TxnResult, StoreError> {
        check_txn(&txn)?;
        self.write("transaction", |inner| inner.txn(txn)).await
    }

    async fn range(&self, request: RangeRequest) -> Result<Page, StoreError> {
        let bounds = range_bounds(&request)?;
        self.read("range", move |inner| inner.range(bounds, request.at, request.limit)).await
    }

    async fn watch(&self, prefix: Vec<u8>, from: Revision) -> Result<Box<dyn WatchSource>, StoreError> {
        // Subscribed before the revision is read: a change in between is seen, not missed.
        let revision = self.inner.revision.subscribe();
        let (current, compacted) = self.read("watch", Inner::revisions).await?;
        let next = watch_start(from, current, compacted)?;
        Ok(Box::new(LogWatcher::new(&self.inner, revision, prefix, next)))
    }

    async fn grant(&self, ttl: Duration) -> Result<Lease, StoreError> {
        let ttl = granted_ttl(ttl)?;
        let id = self
            .write("lease grant", move |inner| {
                let applied = inner.change("lease grant", Change::Grant { ttl })?;
                let id = applied.lease.unwrap_or(LeaseId(0));
                inner.leases().grant(id, ttl, inner.clock.now());
                Ok(id)
            })
            .await?;
        self.inner.sweeper.deadline_changed(&self.inner, &self.inner.clock);
        Ok(Lease { id, ttl })
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Duration, StoreError> {
        // In memory only, as in etcd: a restarted store gives every lease its full time anyway.
        self.inner.check_open("keep-alive")?;
        self.inner.leases().keep_alive(lease, self.inner.clock.now())
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.write("lease revoke", move |inner| {
            inner.leases().check(lease, inner.clock.now())?;
            inner.end_lease("lease revoke", lease)
        })
        .await
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.write("compaction", move |inner| inner.change("compaction", Change::Compact(revision)).map(drop)).await
    }
}

#[async_trait]
impl LogSource for Inner {
    async fn read_log(self: Arc<Self>, prefix: &[u8], from: Revision) -> Result<LogChunk, StoreError> {
        let prefix = prefix.to_vec();
        self.read("watch", move |inner| inner.log_chunk(&prefix, from)).await
    }
}

#[async_trait]
impl Expire for Inner {
    fn next_deadline(&self) -> Option<Duration> {
        self.leases().next_deadline()
    }

    async fn expire(self: Arc<Self>) -> bool {
        match self.write("lease expiry", |_| Ok(())).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(error = %error, "failed to delete the keys of expired leases");
                false
            }
        }
    }
}
