//! The background task that deletes the keys of expired leases, so that watchers learn of it without any request.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::clock::Clock;

/// How long to wait after an expiry that failed (a full disk, say).
const RETRY: Duration = Duration::from_secs(1);

/// A store with leases that end.
#[async_trait]
pub(crate) trait Expire: Send + Sync + 'static {
    /// When the next lease ends.
    fn next_deadline(&self) -> Option<Duration>;
    /// Deletes what has expired; false if that failed.
    async fn expire(self: Arc<Self>) -> bool;
}

/// Owner of the task; it ends with this value.
#[derive(Debug, Default)]
pub(crate) struct Sweeper {
    changed: Arc<Notify>,
    task: Mutex<JoinSet<()>>,
}

impl Sweeper {
    /// Tells the task that a deadline may be earlier than before; starts it at the first call.
    pub(crate) fn deadline_changed<S: Expire>(&self, store: &Arc<S>, clock: &Arc<dyn Clock>) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if task.is_empty() {
            task.spawn(sweep(Arc::downgrade(store), Arc::clone(clock), Arc::clone(&self.changed)));
        }
        drop(task);
        self.changed.notify_one();
    }
}

async fn sweep<S: Expire>(store: Weak<S>, clock: Arc<dyn Clock>, changed: Arc<Notify>) {
    loop {
        let Some(deadline) = store.upgrade().map(|store| store.next_deadline()) else { return };
        let wait = async {
            match deadline {
                Some(deadline) => clock.sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        // Both branches may be dropped at any time: they only wait, and a notification leaves a permit.
        tokio::select! {
            () = wait => {
                let Some(store) = store.upgrade() else { return };
                if !store.expire().await {
                    clock.sleep_until(clock.now().saturating_add(RETRY)).await;
                }
            }
            () = changed.notified() => {}
        }
    }
}
