//! The leases of a store and the keys under them. Pure: time is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::error::StoreError;
use crate::types::LeaseId;

#[derive(Debug)]
struct Entry {
    ttl: Duration,
    deadline: Duration,
    keys: BTreeSet<Vec<u8>>,
}

/// Leases, their deadlines and their keys.
#[derive(Debug, Default)]
pub(crate) struct LeaseTable {
    leases: BTreeMap<LeaseId, Entry>,
    of_key: BTreeMap<Vec<u8>, LeaseId>,
}

impl LeaseTable {
    /// Adds a lease with its full TTL ahead.
    pub(crate) fn grant(&mut self, lease: LeaseId, ttl: Duration, now: Duration) {
        self.leases.insert(lease, Entry { ttl, deadline: now.saturating_add(ttl), keys: BTreeSet::new() });
    }

    /// Renews a lease; an expired one stays expired, even if its keys are not deleted yet.
    pub(crate) fn keep_alive(&mut self, lease: LeaseId, now: Duration) -> Result<Duration, StoreError> {
        match self.leases.get_mut(&lease) {
            Some(entry) if now < entry.deadline => {
                entry.deadline = now.saturating_add(entry.ttl);
                Ok(entry.ttl)
            }
            _ => Err(StoreError::LeaseLost { lease }),
        }
    }

    /// Refuses a lease that is gone or expired.
    pub(crate) fn check(&self, lease: LeaseId, now: Duration) -> Result<(), StoreError> {
        match self.leases.get(&lease) {
            Some(entry) if now < entry.deadline => Ok(()),
            _ => Err(StoreError::LeaseLost { lease }),
        }
    }

    /// Puts a key under a lease, or under none.
    pub(crate) fn attach(&mut self, key: &[u8], lease: Option<LeaseId>) {
        if let Some(old) = self.of_key.remove(key)
            && let Some(entry) = self.leases.get_mut(&old)
        {
            entry.keys.remove(key);
        }
        if let Some(lease) = lease
            && let Some(entry) = self.leases.get_mut(&lease)
        {
            entry.keys.insert(key.to_vec());
            self.of_key.insert(key.to_vec(), lease);
        }
    }

    /// The keys under a lease, in order.
    pub(crate) fn keys(&self, lease: LeaseId) -> Vec<Vec<u8>> {
        self.leases.get(&lease).map(|entry| entry.keys.iter().cloned().collect()).unwrap_or_default()
    }

    /// Forgets a lease; its keys belong to none.
    pub(crate) fn remove(&mut self, lease: LeaseId) {
        for key in self.leases.remove(&lease).map(|entry| entry.keys).unwrap_or_default() {
            self.of_key.remove(&key);
        }
    }

    /// The leases whose time is over, by id.
    pub(crate) fn due(&self, now: Duration) -> Vec<LeaseId> {
        self.leases.iter().filter(|(_, entry)| entry.deadline <= now).map(|(lease, _)| *lease).collect()
    }

    /// When the next lease ends.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.leases.values().map(|entry| entry.deadline).min()
    }
}
