//! The interface of every store.

use std::time::Duration;

use async_trait::async_trait;

use crate::error::StoreError;
use crate::types::{KeyValue, Lease, LeaseId, Operation, Page, RangeRequest, Revision, Txn, TxnResult, WatchBatch};

/// A linearizable, ordered key-value store with revisions, transactions, watches and leases.
///
/// The rules are those of the crate's head. All methods may return [`crate::ErrorKind::Unavailable`]. A caller that
/// drops a future of a mutating method does not know whether it happened.
#[async_trait]
pub trait StateStore: Send + Sync + 'static {
    /// Does all operations, if all compares hold, or none.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a transaction that breaks a limit; `LeaseLost` when a put names a lease that is gone (and
    /// the compares hold); `OutcomeUnknown` when it may have happened; `NoSpace`.
    async fn txn(&self, txn: Txn) -> Result<TxnResult, StoreError>;

    /// Reads one page of keys in order, linearizably, or as of a revision.
    ///
    /// # Errors
    ///
    /// `Compacted` for a revision below the compacted one, `InvalidArgument` for one in the future.
    async fn range(&self, request: RangeRequest) -> Result<Page, StoreError>;

    /// Reports the changes of all keys that begin with `prefix`, from revision `from` on, which is included;
    /// `Revision::NONE` means from now on.
    ///
    /// # Errors
    ///
    /// `Compacted` as for [`StateStore::range`].
    async fn watch(&self, prefix: Vec<u8>, from: Revision) -> Result<Box<dyn WatchSource>, StoreError>;

    /// Grants a lease of at least `ttl`. The answer says how long it is: at least [`crate::MIN_LEASE_TTL`], in whole
    /// seconds.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a TTL above [`crate::MAX_LEASE_TTL`].
    async fn grant(&self, ttl: Duration) -> Result<Lease, StoreError>;

    /// Renews a lease to its full TTL, which is returned.
    ///
    /// # Errors
    ///
    /// `LeaseLost` if it is gone.
    async fn keep_alive(&self, lease: LeaseId) -> Result<Duration, StoreError>;

    /// Ends a lease and deletes its keys in one revision.
    ///
    /// # Errors
    ///
    /// `LeaseLost` if it is gone, and its keys with it.
    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError>;

    /// Forgets what was overwritten or deleted before `revision`; the state at `revision` and after it stays readable.
    ///
    /// # Errors
    ///
    /// `Compacted` if that much is forgotten already, `InvalidArgument` for a revision in the future.
    async fn compact(&self, revision: Revision) -> Result<(), StoreError>;
}

/// The events of a watch.
#[async_trait]
pub trait WatchSource: Send {
    /// Waits for the next revision that changed a watched key. Revisions come in order and whole.
    ///
    /// Nothing is lost by a slow reader until compaction overtakes it. Cancellation safe: a batch that was not returned
    /// comes again.
    ///
    /// # Errors
    ///
    /// `Compacted` when the reader fell behind a compaction: list again and watch from the revision after the list.
    /// `Unavailable` when the store is gone or the stream broke: watch again from the last revision plus one.
    async fn next(&mut self) -> Result<WatchBatch, StoreError>;
}

/// What can be said in terms of [`StateStore`].
#[async_trait]
pub trait StateStoreExt: StateStore {
    /// Reads one key.
    ///
    /// # Errors
    ///
    /// As [`StateStore::range`].
    async fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, StoreError> {
        Ok(self.range(RangeRequest::key(key)).await?.kvs.pop())
    }

    /// Puts one key without a condition; returns its mod revision.
    ///
    /// # Errors
    ///
    /// As [`StateStore::txn`].
    async fn put(&self, key: &[u8], value: &[u8]) -> Result<Revision, StoreError> {
        Ok(self.txn(Txn::new().and(Operation::put(key, value))).await?.revision)
    }

    /// Reads all keys of a prefix, page by page at one revision; watch from the page's revision plus one.
    ///
    /// # Errors
    ///
    /// As [`StateStore::range`]; `Compacted` when a compaction overtakes the reading, so call it again.
    async fn list(&self, prefix: &[u8]) -> Result<Page, StoreError> {
        let mut page = self.range(RangeRequest::prefix(prefix)).await?;
        while page.more {
            let Some(last) = page.kvs.last() else { break };
            let request = RangeRequest::prefix(prefix).at(page.revision).after(last.key.clone());
            let next = self.range(request).await?;
            page.kvs.extend(next.kvs);
            page.more = next.more;
        }
        Ok(page)
    }
}

impl<S: StateStore + ?Sized> StateStoreExt for S {}
