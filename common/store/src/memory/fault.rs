//! What tests can make a store do wrong.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::error::StoreError;
use crate::types::Txn;

/// A fault of one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TxnFault {
    /// No fault: lets one transaction pass.
    None,
    /// `Unavailable`; not applied.
    Unavailable,
    /// `OutcomeUnknown`; not applied, the request was lost.
    UnknownNotApplied,
    /// `OutcomeUnknown`; applied, the answer was lost.
    UnknownApplied,
    /// `OutcomeUnknown`; applied only at [`crate::MemoryStore::release_held`], as a request that waits in a network.
    UnknownAppliedLater,
    /// `NoSpace`; not applied.
    NoSpace,
    /// Applied and answered after this time on the store's clock.
    Delay(Duration),
}

/// What to do with a transaction.
pub(super) enum Verdict {
    Apply,
    Refuse(StoreError),
    ApplyAndForget(StoreError),
}

/// The faults that are still to come.
#[derive(Debug, Default)]
pub(super) struct Faults {
    next: Mutex<VecDeque<TxnFault>>,
    held: Mutex<Vec<Txn>>,
    unavailable: AtomicBool,
}

impl Faults {
    pub(super) fn push(&self, faults: impl IntoIterator<Item = TxnFault>) {
        self.next.lock().unwrap_or_else(PoisonError::into_inner).extend(faults);
    }

    pub(super) fn set_unavailable(&self, unavailable: bool) {
        self.unavailable.store(unavailable, Ordering::SeqCst);
    }

    pub(super) fn take_held(&self) -> Vec<Txn> {
        std::mem::take(&mut *self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn check_available(&self, operation: &'static str) -> Result<(), StoreError> {
        match self.unavailable.load(Ordering::SeqCst) {
            true => Err(StoreError::Unavailable { operation, reason: "injected fault".to_owned() }),
            false => Ok(()),
        }
    }

    pub(super) async fn judge(&self, txn: &Txn, clock: &dyn Clock) -> Verdict {
        let fault = self.next.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let unknown = || StoreError::OutcomeUnknown { operation: "transaction", reason: "injected fault".to_owned() };
        match fault.unwrap_or(TxnFault::None) {
            TxnFault::None => Verdict::Apply,
            TxnFault::Unavailable => Verdict::Refuse(StoreError::Unavailable {
                operation: "transaction",
                reason: "injected fault".to_owned(),
            }),
            TxnFault::UnknownNotApplied => Verdict::Refuse(unknown()),
            TxnFault::UnknownApplied => Verdict::ApplyAndForget(unknown()),
            TxnFault::UnknownAppliedLater => {
                self.held.lock().unwrap_or_else(PoisonError::into_inner).push(txn.clone());
                Verdict::Refuse(unknown())
            }
            TxnFault::NoSpace => Verdict::Refuse(StoreError::NoSpace { operation: "transaction" }),
            TxnFault::Delay(time) => {
                clock.sleep_until(clock.now().saturating_add(time)).await;
                Verdict::Apply
            }
        }
    }
}
