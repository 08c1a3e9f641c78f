//! Time as an argument: leases and deadlines run on a clock that a test can hold.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::Instant;

/// A monotonic clock.
#[async_trait]
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Returns the time since a fixed point in the past; it never goes back.
    fn now(&self) -> Duration;

    /// Returns once [`Clock::now`] is at least `deadline`. Cancellation safe.
    async fn sleep_until(&self, deadline: Duration);
}

/// The system's monotonic clock (tokio's, and so held by `tokio::time::pause`).
///
/// It does not run while the machine is suspended, so a deadline may be late after a suspend. No deadline decides
/// correctness: every write is fenced by a compare.
#[derive(Debug, Clone)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// Returns a clock that starts at zero.
    #[must_use]
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    async fn sleep_until(&self, deadline: Duration) {
        match self.origin.checked_add(deadline) {
            Some(instant) => tokio::time::sleep_until(instant).await,
            None => std::future::pending().await,
        }
    }
}

/// A clock that stands still until it is told to go on; clones share the time.
#[derive(Debug, Clone)]
pub struct ManualClock {
    now: watch::Sender<Duration>,
}

impl ManualClock {
    /// Returns a clock that stands at zero.
    #[must_use]
    pub fn new() -> Self {
        Self { now: watch::Sender::new(Duration::ZERO) }
    }

    /// Moves the time forward and wakes the sleepers whose deadline has come.
    pub fn advance(&self, by: Duration) {
        self.now.send_modify(|now| *now = now.saturating_add(by));
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Duration {
        *self.now.borrow()
    }

    async fn sleep_until(&self, deadline: Duration) {
        // The sender is `self`, which lives as long as this call: the only error, a closed channel, cannot come.
        let _ = self.now.subscribe().wait_for(|now| *now >= deadline).await;
    }
}
