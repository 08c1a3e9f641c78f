//! The store: keys with revisions, one leader key under a lease, and transactions that compare it.

use std::collections::BTreeMap;

/// How long a leader lives without saying so, in milliseconds.
pub(crate) const LEASE_MS: i64 = 3_000;

pub(crate) type Batch = Vec<(Vec<u8>, Vec<u8>)>;

#[derive(Debug)]
struct Leader {
    epoch: i64,
    until: i64,
}

#[derive(Debug, Default)]
pub(crate) struct Store {
    revision: i64,
    keys: BTreeMap<Vec<u8>, (Vec<u8>, i64)>,
    leader: Option<Leader>,
    pub(crate) away_until: i64,
    /// Transactions of deposed controllers that were refused.
    pub(crate) stale: u32,
    /// Stores whatever it is given: to see that the checks bite.
    pub(crate) compares_nothing: bool,
    /// Acknowledges each of so many transactions without storing it; none if zero.
    pub(crate) forgets: i64,
}

impl Store {
    fn expire(&mut self, now: i64) {
        if self.leader.as_ref().is_some_and(|leader| leader.until <= now) {
            self.leader = None;
            self.revision += 1;
        }
    }

    /// Makes the caller the leader if there is none; its epoch.
    pub(crate) fn campaign(&mut self, now: i64) -> Option<i64> {
        self.expire(now);
        if self.away_until > now || self.leader.is_some() {
            return None;
        }
        self.revision += 1;
        self.leader = Some(Leader { epoch: self.revision, until: now + LEASE_MS });
        Some(self.revision)
    }

    pub(crate) fn keep_alive(&mut self, epoch: i64, now: i64) {
        self.expire(now);
        if self.away_until > now {
            return;
        }
        if let Some(leader) = self.leader.as_mut().filter(|leader| leader.epoch == epoch) {
            leader.until = now + LEASE_MS;
        }
    }

    /// Whether that epoch leads.
    pub(crate) fn leads(&mut self, epoch: i64, now: i64) -> bool {
        self.expire(now);
        self.leader.as_ref().is_some_and(|leader| leader.epoch == epoch)
    }

    /// The revision after the transaction, or none when the leader key is another's.
    pub(crate) fn txn(&mut self, epoch: i64, batch: &Batch, now: i64) -> Option<i64> {
        if !self.leads(epoch, now) {
            self.stale += 1;
            if !self.compares_nothing {
                return None;
            }
        }
        self.revision += 1;
        if self.forgets > 0 && self.revision % self.forgets == 0 {
            return Some(self.revision);
        }
        for (key, value) in batch {
            self.keys.insert(key.clone(), (value.clone(), self.revision));
        }
        Some(self.revision)
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<(&[u8], i64)> {
        self.keys.get(key).map(|(value, revision)| (value.as_slice(), *revision))
    }

    pub(crate) fn revision(&self) -> i64 {
        self.revision
    }
}
