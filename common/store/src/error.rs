//! What can go wrong in a store, and what the caller may do about it.

use std::path::PathBuf;

use crate::types::{LeaseId, Revision};

/// The error of every store operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The revision is gone: list again and watch from the revision after the list.
    #[error("revision {requested} has been compacted, the oldest is {compact_revision}")]
    Compacted {
        /// The revision that was asked for.
        requested: Revision,
        /// The oldest revision that can be read.
        compact_revision: Revision,
    },
    /// The lease expired, was revoked or never existed.
    #[error("lease {lease} does not exist any more")]
    LeaseLost {
        /// The lease.
        lease: LeaseId,
    },
    /// The operation may or may not have happened: read to find out, or repeat it if it is idempotent.
    #[error("the outcome of {operation} is unknown: {reason}")]
    OutcomeUnknown {
        /// What was being done.
        operation: &'static str,
        /// Why it is unknown.
        reason: String,
    },
    /// The request breaks a rule of the store; repeating it cannot help.
    #[error("invalid {operation}: {problem}")]
    InvalidArgument {
        /// What was asked for.
        operation: &'static str,
        /// The rule that is broken, with the values.
        problem: String,
    },
    /// The store is full; reads still work.
    #[error("no space left for {operation} (hint: free space on its volume, or compact and defragment it)")]
    NoSpace {
        /// What was being done.
        operation: &'static str,
    },
    /// The store cannot answer now and has not done anything; repeat later.
    #[error("the store is unavailable for {operation}: {reason}")]
    Unavailable {
        /// What was being done.
        operation: &'static str,
        /// Why.
        reason: String,
    },
    /// The file is open elsewhere.
    #[error(
        "the state file {} is in use by another tutti process (hint: stop it, or choose another state directory)",
        path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// Stored data cannot be right.
    #[error("the state file {} cannot be used: {problem} (hint: {hint})", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What was found.
        problem: String,
        /// What the user can do.
        hint: &'static str,
    },
}

/// The kind of a [`StoreError`]; retry decisions read this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The revision was compacted away: list again.
    Compacted {
        /// The oldest revision that can be read.
        compact_revision: Revision,
    },
    /// The lease is gone.
    LeaseLost,
    /// It may or may not have happened.
    OutcomeUnknown,
    /// The request is wrong.
    InvalidArgument,
    /// The store is full.
    NoSpace,
    /// It has not happened; repeat later.
    Unavailable,
    /// The stored data is damaged.
    Corrupt,
}

impl StoreError {
    /// Returns the kind.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Compacted { compact_revision, .. } => ErrorKind::Compacted { compact_revision: *compact_revision },
            Self::LeaseLost { .. } => ErrorKind::LeaseLost,
            Self::OutcomeUnknown { .. } => ErrorKind::OutcomeUnknown,
            Self::InvalidArgument { .. } => ErrorKind::InvalidArgument,
            Self::NoSpace { .. } => ErrorKind::NoSpace,
            Self::Unavailable { .. } | Self::InUse { .. } => ErrorKind::Unavailable,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
        }
    }

    pub(crate) fn invalid(operation: &'static str, problem: impl Into<String>) -> Self {
        Self::InvalidArgument { operation, problem: problem.into() }
    }
}
