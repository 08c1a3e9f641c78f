//! When to forget the past: a leader runs a [`Compactor`], so that the store stays as small as its content.
//!
//! The decision is pure; revisions get their time from the passes that saw them. Not here: giving the space back to the
//! file system, which [`crate::RedbStore::close`] and [`crate::RedbStore::shrink`] do.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::error::{ErrorKind, StoreError};
use crate::store::StateStore;
use crate::types::{RangeRequest, Revision};

/// What is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactionPolicy {
    /// So many revisions always: a watcher that reconnects finds its place.
    pub keep_at_least: u32,
    /// Never more revisions than these, however young.
    pub keep_at_most: u32,
    /// Revisions as young as this, up to `keep_at_most`.
    pub keep_for: Duration,
    /// The time between two passes.
    pub interval: Duration,
    /// The most revisions that one transaction forgets: other writers wait for it.
    pub step: u32,
}

impl Default for CompactionPolicy {
    /// 1,000 to 100,000 revisions of the last 10 minutes, looked at each minute, 5,000 at a time.
    fn default() -> Self {
        Self {
            keep_at_least: 1000,
            keep_at_most: 100_000,
            keep_for: Duration::from_secs(600),
            interval: Duration::from_secs(60),
            step: 5000,
        }
    }
}

/// Decides what to forget and has the store forget it.
#[derive(Debug)]
pub struct Compactor {
    policy: CompactionPolicy,
    /// When which revision was the current one, oldest first.
    seen: VecDeque<(Duration, Revision)>,
    compacted: Revision,
}

impl Compactor {
    /// Returns a compactor that has seen nothing.
    #[must_use]
    pub fn new(policy: CompactionPolicy) -> Self {
        Self { policy, seen: VecDeque::new(), compacted: Revision::NONE }
    }

    /// Notes the current revision and returns the one to compact to, if there is anything to forget.
    ///
    /// Forgotten is what is older than `keep_for`, save the last `keep_at_least` revisions, and what is more than
    /// `keep_at_most` revisions ago.
    pub fn decide(&mut self, now: Duration, current: Revision) -> Option<Revision> {
        self.seen.push_back((now, current));
        let old = now.checked_sub(self.policy.keep_for);
        let is_old = |seen: &(Duration, Revision)| old.is_some_and(|old| seen.0 <= old);
        // Of those that are old enough, the newest counts.
        while self.seen.get(1).is_some_and(is_old) {
            self.seen.pop_front();
        }
        let by_age = self.seen.front().filter(|seen| is_old(seen)).map_or(Revision::NONE, |(_, revision)| *revision);
        let back = |count: u32| Revision(current.0.saturating_sub(i64::from(count)));
        let target = by_age.min(back(self.policy.keep_at_least)).max(back(self.policy.keep_at_most));
        (target > self.compacted.max(Revision(1))).then_some(target)
    }

    /// Compacts once, in steps.
    ///
    /// # Errors
    ///
    /// As [`StateStore::compact`]; that it is done already is none.
    pub async fn pass(
        &mut self,
        store: &dyn StateStore,
        now: Duration,
        current: Revision,
    ) -> Result<Revision, StoreError> {
        let Some(target) = self.decide(now, current) else { return Ok(self.compacted) };
        while self.compacted < target {
            let step = Revision(self.compacted.0.saturating_add(i64::from(self.policy.step.max(1)))).min(target);
            match store.compact(step).await {
                Ok(()) => self.compacted = step,
                // By an earlier leader, say.
                Err(error) => match error.kind() {
                    ErrorKind::Compacted { compact_revision } if compact_revision > self.compacted => {
                        self.compacted = compact_revision;
                    }
                    _ => return Err(error),
                },
            }
        }
        Ok(self.compacted)
    }

    /// Compacts at each interval, for ever: the leader drops the future when it leads no more. An error is logged and
    /// tried again at the next interval.
    pub async fn run(mut self, store: Arc<dyn StateStore>, clock: Arc<dyn Clock>) {
        loop {
            let now = clock.now();
            let done = match store.range(RangeRequest::prefix("").limit(1)).await {
                Ok(page) => self.pass(&*store, now, page.revision).await,
                Err(error) => Err(error),
            };
            match done {
                Ok(revision) => tracing::debug!(revision = revision.0, "compacted the store"),
                Err(error) => tracing::warn!(error = %error, "cannot compact the store"),
            }
            clock.sleep_until(now.saturating_add(self.policy.interval)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::memory::MemoryStore;
    use crate::store::StateStoreExt as _;

    fn policy() -> CompactionPolicy {
        CompactionPolicy { keep_at_least: 10, keep_at_most: 100, ..CompactionPolicy::default() }
    }

    fn minutes(minutes: u64) -> Duration {
        Duration::from_secs(60 * minutes)
    }

    #[test]
    fn young_revisions_are_kept() {
        let mut compactor = Compactor::new(policy());
        assert_eq!(compactor.decide(minutes(0), Revision(40)), None);
        assert_eq!(compactor.decide(minutes(9), Revision(60)), None);
        assert_eq!(compactor.decide(minutes(10), Revision(70)), Some(Revision(40)));
        assert_eq!(compactor.decide(minutes(18), Revision(71)), Some(Revision(40)));
        assert_eq!(compactor.decide(minutes(19), Revision(72)), Some(Revision(60)));
    }

    #[test]
    fn the_last_ones_are_kept_however_old() {
        let mut compactor = Compactor::new(policy());
        assert_eq!(compactor.decide(minutes(0), Revision(40)), None);
        assert_eq!(compactor.decide(minutes(60), Revision(40)), Some(Revision(30)));
        let mut compactor = Compactor::new(policy());
        assert_eq!(compactor.decide(minutes(60), Revision(5)), None);
    }

    #[test]
    fn too_many_are_forgotten_however_young() {
        let mut compactor = Compactor::new(policy());
        assert_eq!(compactor.decide(minutes(0), Revision(1000)), Some(Revision(900)));
    }

    #[tokio::test]
    async fn a_new_leader_goes_on_where_the_old_one_stopped() {
        let store = MemoryStore::new(Arc::new(ManualClock::new()));
        for n in 0..200_u8 {
            store.put(b"key", &[n]).await.unwrap();
        }
        store.compact(Revision(70)).await.unwrap();
        let mut compactor = Compactor::new(CompactionPolicy { step: 7, ..policy() });
        assert_eq!(compactor.pass(&store, minutes(0), Revision(201)).await.unwrap(), Revision(101));
        let error = store.range(RangeRequest::key("key").at(Revision(100))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Compacted { compact_revision: Revision(101) });
        assert_eq!(compactor.pass(&store, minutes(0), Revision(201)).await.unwrap(), Revision(101));
    }
}
