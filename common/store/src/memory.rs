//! The store in memory, with fault hooks: for tests and as the model of the others.

mod fault;
mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

pub use self::fault::TxnFault;
use self::fault::{Faults, Verdict};
use self::state::State;
use crate::check::{check_txn, granted_ttl, range_bounds, watch_start};
use crate::clock::Clock;
use crate::error::StoreError;
use crate::store::{StateStore, WatchSource};
use crate::sweep::{Expire, Sweeper};
use crate::types::{Lease, LeaseId, Page, RangeRequest, Revision, Txn, TxnResult};
use crate::watch::{LogChunk, LogSource, LogWatcher};

/// A store in memory; clones share it.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    revision: watch::Sender<Revision>,
    sweeper: Sweeper,
    faults: Faults,
}

impl MemoryStore {
    /// Returns an empty store on this clock.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let state = State::default();
        let revision = watch::Sender::new(state.revision());
        let inner =
            Inner { clock, state: Mutex::new(state), revision, sweeper: Sweeper::default(), faults: Faults::default() };
        Self { inner: Arc::new(inner) }
    }

    /// Makes the next transactions fail, one fault for each, in order.
    pub fn fail_next_txns(&self, faults: impl IntoIterator<Item = TxnFault>) {
        self.inner.faults.push(faults);
    }

    /// While true, every call answers `Unavailable` and leases run on: the store as seen over a cut network.
    pub fn set_unavailable(&self, unavailable: bool) {
        self.inner.faults.set_unavailable(unavailable);
    }

    /// Applies the transactions that [`TxnFault::UnknownAppliedLater`] held back, in order.
    pub fn release_held(&self) {
        for txn in self.inner.faults.take_held() {
            // The caller was told that the outcome is unknown; nobody waits for this answer.
            let _ = self.inner.apply(&txn);
        }
    }
}

impl Inner {
    /// The state, with expired leases removed.
    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.expire(self.clock.now());
        self.publish(&state);
        state
    }

    fn publish(&self, state: &State) {
        self.revision.send_if_modified(|revision| {
            let changed = *revision != state.revision();
            *revision = state.revision();
            changed
        });
    }

    fn apply(&self, txn: &Txn) -> Result<TxnResult, StoreError> {
        let mut state = self.state();
        let result = state.apply(txn, self.clock.now());
        self.publish(&state);
        result
    }
}

#[async_trait]
impl StateStore for MemoryStore {
    async fn txn(&self, txn: Txn) -> Result<TxnResult, StoreError> {
        self.inner.faults.check_available("transaction")?;
        check_txn(&txn)?;
        match self.inner.faults.judge(&txn, &*self.inner.clock).await {
            Verdict::Apply => self.inner.apply(&txn),
            Verdict::Refuse(error) => Err(error),
            Verdict::ApplyAndForget(error) => {
                let _ = self.inner.apply(&txn);
                Err(error)
            }
        }
    }

    async fn range(&self, request: RangeRequest) -> Result<Page, StoreError> {
        self.inner.faults.check_available("range")?;
        let bounds = range_bounds(&request)?;
        self.inner.state().range(bounds, request.at, request.limit)
    }

    async fn watch(&self, prefix: Vec<u8>, from: Revision) -> Result<Box<dyn WatchSource>, StoreError> {
        self.inner.faults.check_available("watch")?;
        let state = self.inner.state();
        let next = watch_start(from, state.revision(), state.compacted())?;
        Ok(Box::new(LogWatcher::new(&self.inner, self.inner.revision.subscribe(), prefix, next)))
    }

    async fn grant(&self, ttl: Duration) -> Result<Lease, StoreError> {
        self.inner.faults.check_available("lease grant")?;
        let ttl = granted_ttl(ttl)?;
        let id = self.inner.state().grant(ttl, self.inner.clock.now());
        self.inner.sweeper.deadline_changed(&self.inner, &self.inner.clock);
        Ok(Lease { id, ttl })
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Duration, StoreError> {
        self.inner.faults.check_available("keep-alive")?;
        self.inner.state().leases.keep_alive(lease, self.inner.clock.now())
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.inner.faults.check_available("lease revoke")?;
        let mut state = self.inner.state();
        state.leases.check(lease, self.inner.clock.now())?;
        state.end_lease(lease);
        self.inner.publish(&state);
        Ok(())
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.inner.faults.check_available("compaction")?;
        self.inner.state().compact(revision)
    }
}

#[async_trait]
impl LogSource for Inner {
    async fn read_log(self: Arc<Self>, prefix: &[u8], from: Revision) -> Result<LogChunk, StoreError> {
        self.faults.check_available("watch")?;
        self.state().read_log(prefix, from)
    }
}

#[async_trait]
impl Expire for Inner {
    fn next_deadline(&self) -> Option<Duration> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).leases.next_deadline()
    }

    async fn expire(self: Arc<Self>) -> bool {
        drop(self.state());
        true
    }
}
