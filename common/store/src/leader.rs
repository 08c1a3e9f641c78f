//! Leader election: a key created under a lease.
//!
//! The recipe is one transaction, `create_revision(key) == 0` then put under the lease, and a watch while the key
//! exists (etcd's `client/v3/concurrency/election.go` does the same with a queue of keys). The key's create revision is
//! the controller [`Epoch`]: it rises with every leader and is compared in every mutating transaction, see [`Fence`].
//!
//! Whether a leader still leads is judged by its own monotonic clock, from when it *sent* the last keep-alive that was
//! answered plus two thirds of the TTL: it stops before the store lets another one in, even if answers are late. That
//! is politeness; correctness comes from the fence alone.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::error::{ErrorKind, StoreError};
use crate::store::{StateStore, StateStoreExt as _};
use crate::types::{Compare, Event, LeaseId, Operation, RangeRequest, Revision, Txn};

/// The number of a leadership: the create revision of its key; later leaders have higher ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub Revision);

impl fmt::Display for Epoch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// What every transaction of a leader compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// The leader key.
    pub key: Vec<u8>,
    /// Its create revision.
    pub epoch: Epoch,
}

impl Fence {
    /// Returns the compare that fails once another leader, or none, holds the key.
    #[must_use]
    pub fn compare(&self) -> Compare {
        Compare::create_revision(self.key.clone(), self.epoch.0)
    }
}

/// Who wants to lead.
#[derive(Debug, Clone)]
pub struct Campaign {
    /// The leader key.
    pub key: Vec<u8>,
    /// The value that it gets: what followers need to find the leader.
    pub identity: Vec<u8>,
    /// How long the key outlives a leader that is silent.
    pub ttl: Duration,
}

/// How long a candidate waits after an error that may pass.
const RETRY: Duration = Duration::from_millis(500);

/// Waits until this candidate leads. Cancellation safe up to a lease that then ends by itself.
///
/// # Errors
///
/// Errors that cannot pass by waiting: `InvalidArgument`, `Corrupt`. All others are retried, with a warning.
pub async fn campaign(
    store: Arc<dyn StateStore>,
    clock: Arc<dyn Clock>,
    campaign: &Campaign,
) -> Result<Leadership, StoreError> {
    loop {
        match stand(&store, &clock, campaign).await {
            Ok(Some(leadership)) => return Ok(leadership),
            Ok(None) => {}
            Err(error) if matches!(error.kind(), ErrorKind::InvalidArgument | ErrorKind::Corrupt) => return Err(error),
            Err(error) => {
                tracing::warn!(error = %error, "the leader election met an error and goes on");
                clock.sleep_until(clock.now().saturating_add(RETRY)).await;
            }
        }
    }
}

/// One round: waits while there is a leader, then tries to become it.
async fn stand(
    store: &Arc<dyn StateStore>,
    clock: &Arc<dyn Clock>,
    campaign: &Campaign,
) -> Result<Option<Leadership>, StoreError> {
    let page = store.range(RangeRequest::key(campaign.key.clone())).await?;
    if !page.kvs.is_empty() {
        // A watch may be silent for reasons of its own, so the key is read again every TTL.
        let recheck = clock.now().saturating_add(campaign.ttl);
        tokio::select! {
            result = wait_for_delete(&**store, &campaign.key, page.revision.next()) => result?,
            () = clock.sleep_until(recheck) => {}
        }
        return Ok(None);
    }
    let sent = clock.now();
    let lease = store.grant(campaign.ttl).await?;
    let put = Operation::put_leased(campaign.key.clone(), campaign.identity.clone(), lease.id);
    let txn = Txn::new().when(Compare::absent(campaign.key.clone())).and(put);
    let epoch = match store.txn(txn).await {
        Ok(result) if result.succeeded => Some(result.revision),
        Ok(_) => None,
        // The lease tells whether the key is ours. If the put is still under way, the revoke below makes it fail.
        Err(error) if error.kind() == ErrorKind::OutcomeUnknown => {
            let found = store.get(&campaign.key).await?;
            found.filter(|kv| kv.lease == Some(lease.id)).map(|kv| kv.create_revision)
        }
        Err(error) => return Err(error),
    };
    let Some(epoch) = epoch else {
        // If this fails, the lease ends by itself.
        let _ = store.revoke(lease.id).await;
        return Ok(None);
    };
    let (deadline, renew_at) = (sent.saturating_add(trusted(lease.ttl)), sent.saturating_add(lease.ttl / 4));
    let status = Status { deadline, renew_at, lost: false };
    Ok(Some(Leadership {
        store: Arc::clone(store),
        clock: Arc::clone(clock),
        fence: Fence { key: campaign.key.clone(), epoch: Epoch(epoch) },
        lease: lease.id,
        ttl: lease.ttl,
        status: watch::Sender::new(status),
    }))
}

async fn wait_for_delete(store: &dyn StateStore, key: &[u8], from: Revision) -> Result<(), StoreError> {
    let mut watcher = store.watch(key.to_vec(), from).await?;
    loop {
        let batch = watcher.next().await?;
        if batch.events.iter().any(|event| matches!(event, Event::Delete(kv) if kv.key == key)) {
            return Ok(());
        }
    }
}

/// How long after sending a keep-alive its answer is relied on.
fn trusted(ttl: Duration) -> Duration {
    ttl.saturating_mul(2) / 3
}

#[derive(Debug, Clone, Copy)]
struct Status {
    deadline: Duration,
    /// When to send the next keep-alive: kept here so that a `keep` that is dropped and called again goes on.
    renew_at: Duration,
    lost: bool,
}

/// A leadership, while it lasts.
pub struct Leadership {
    store: Arc<dyn StateStore>,
    clock: Arc<dyn Clock>,
    fence: Fence,
    lease: LeaseId,
    ttl: Duration,
    status: watch::Sender<Status>,
}

impl fmt::Debug for Leadership {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = formatter.debug_struct("Leadership");
        out.field("fence", &self.fence).field("lease", &self.lease).field("valid", &self.is_valid()).finish()
    }
}

impl Leadership {
    /// Returns the number of this leadership.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.fence.epoch
    }

    /// Returns what every transaction of this leader compares.
    #[must_use]
    pub fn fence(&self) -> Fence {
        self.fence.clone()
    }

    /// Returns the lease of the leader key.
    #[must_use]
    pub fn lease(&self) -> LeaseId {
        self.lease
    }

    /// Returns whether this leader may still believe that it leads.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let status = *self.status.borrow();
        !status.lost && self.clock.now() < status.deadline
    }

    /// Waits until the leadership is lost, be it by the store's word or by the clock. Cancellation safe.
    pub async fn lost(&self) {
        let mut status = self.status.subscribe();
        loop {
            let Status { deadline, lost, .. } = *status.borrow_and_update();
            if lost || self.clock.now() >= deadline {
                return;
            }
            tokio::select! {
                () = self.clock.sleep_until(deadline) => {}
                // Cannot fail: the sender is `self`.
                _ = status.changed() => {}
            }
        }
    }

    /// Keeps the lease alive until the leadership is lost; the owner runs this beside its work.
    ///
    /// A keep-alive is sent every quarter of the TTL, after an error again at a tenth. Cancellation safe.
    pub async fn keep(&self) {
        while self.is_valid() {
            let renew_at = self.status.borrow().renew_at;
            tokio::select! {
                () = self.clock.sleep_until(renew_at) => {}
                () = self.lost() => break,
            }
            let sent = self.clock.now();
            let answer = tokio::select! {
                answer = self.store.keep_alive(self.lease) => answer,
                () = self.lost() => break,
            };
            match answer {
                Ok(ttl) => self.status.send_modify(|status| {
                    status.deadline = sent.saturating_add(trusted(ttl));
                    status.renew_at = sent.saturating_add(ttl / 4);
                }),
                Err(error) if error.kind() == ErrorKind::LeaseLost => break,
                Err(error) => {
                    tracing::warn!(error = %error, "failed to renew the leadership");
                    self.status.send_modify(|status| status.renew_at = sent.saturating_add(self.ttl / 10));
                }
            }
        }
        self.status.send_modify(|status| status.lost = true);
        tracing::warn!(epoch = %self.epoch(), "the leadership is lost");
    }

    /// Gives the leadership up, so that another one can lead at once.
    ///
    /// # Errors
    ///
    /// `LeaseLost` if it was lost already; else the key goes when the lease ends.
    pub async fn resign(&self) -> Result<(), StoreError> {
        self.status.send_modify(|status| status.lost = true);
        self.store.revoke(self.lease).await
    }
}
