//! What can go wrong in a store, and what the caller may do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

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
    #[error("no space left for {operation} (hint: free space on its volume)")]
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
    /// The file is open in a process of this host.
    #[error(
        "the state file {} is in use by another tutti process, number {process} (hint: {hint})",
        path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
        /// Its process id.
        process: u32,
        /// What to do.
        hint: &'static str,
    },
    /// The file belongs to a process that cannot be seen from here.
    #[error(
        "the state file {} belongs to {owner}, and {why} (hint: look there; once it is known to be dead, --take-over \
         goes on without it)",
        path.display()
    )]
    OwnedElsewhere {
        /// The file.
        path: PathBuf,
        /// Process and host.
        owner: String,
        /// Why it cannot be seen.
        why: &'static str,
    },
    /// Another process took the file over, so this one may do nothing more.
    #[error("the state file {} was taken over by {by}", path.display())]
    TakenOver {
        /// The file.
        path: PathBuf,
        /// Process and host.
        by: String,
    },
    /// Somebody removed the file, or the record of who owns it.
    #[error("{} was removed while this program worked with it (hint: {})", path.display(), removed_hint(path))]
    Vanished {
        /// What is gone.
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

/// What to do when a file went away under a program.
fn removed_hint(path: &Path) -> &'static str {
    match path.extension().is_some_and(|extension| extension == "owner") {
        true => {
            "it only says who works with the state file: if that is still there, begin again, as by tutti compose --resume"
        }
        false => "what was stored is gone with it: put it back from a copy, or make a new compose",
    }
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
    /// The store is another's now: end.
    TakenOver,
    /// The store is gone: end.
    Vanished,
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
            Self::Unavailable { .. } | Self::InUse { .. } | Self::OwnedElsewhere { .. } => ErrorKind::Unavailable,
            Self::TakenOver { .. } => ErrorKind::TakenOver,
            Self::Vanished { .. } => ErrorKind::Vanished,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
        }
    }

    /// What a refused call on the file system means: nothing was done.
    pub(crate) fn refused(operation: &'static str, what: impl fmt::Display, error: &io::Error) -> Self {
        if is_full(error.kind()) {
            return Self::NoSpace { operation };
        }
        Self::Unavailable { operation, reason: format!("{what}: {error}") }
    }

    pub(crate) fn invalid(operation: &'static str, problem: impl Into<String>) -> Self {
        Self::InvalidArgument { operation, problem: problem.into() }
    }
}

/// True if there is no room: on the volume, in the quota, or below the size limit of the process or file system.
pub(crate) fn is_full(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}
