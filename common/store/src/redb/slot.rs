//! The open database, and opening it again after an I/O error.
//!
//! redb refuses all work after its first I/O error, so every error ends with the file being opened again, which repairs
//! it from its last whole commit, without a restart of the process. A commit that failed is looked up then: its number
//! stands in the file or it does not, so its outcome is known unless the file cannot be opened at all.

use std::os::unix::fs::MetadataExt as _;
use std::sync::{PoisonError, RwLockReadGuard, RwLockWriteGuard};

use ::redb::{Database, Error as RedbError, ReadableDatabase as _};

use super::Inner;
use super::apply::Applied;
use super::file::{self, Failure, Phase, damaged, redb_error};
use super::medium::Bytes;
use super::tables::{META, META_COMMITS};
use crate::error::StoreError;

/// Who has taken a file over that is another one.
const ANOTHER_FILE: &str = "somebody who put another file there";
/// A file above this size is made as small as its content when it is closed.
const SHRINK_ABOVE: u64 = 4 << 20;

/// A database and its bytes.
#[derive(Debug)]
pub(super) struct Handle {
    // Dropped first: redb's last words go to the bytes.
    pub(super) database: Database,
    pub(super) bytes: Bytes,
}

/// The database, and whether it can be used.
#[derive(Debug)]
pub(super) enum Slot {
    Open(Handle),
    /// An I/O error: redb refuses all further work until the file is opened again.
    Broken,
    Closed,
}

/// True for an error after which redb answers only `PreviousIo`.
fn breaks(error: &RedbError) -> bool {
    matches!(error, RedbError::Io(_) | RedbError::PreviousIo | RedbError::LockPoisoned(_))
}

impl Inner {
    fn slot(&self) -> RwLockReadGuard<'_, Slot> {
        self.slot.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot_mut(&self) -> RwLockWriteGuard<'_, Slot> {
        self.slot.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the file is still this process's own.
    pub(super) fn check_owner(&self) -> Result<(), StoreError> {
        let Some(owner) = &self.owner else { return Ok(()) };
        owner.check()?;
        // Work goes on with a file that has lost its name, and is lost with it.
        match std::fs::metadata(&self.path) {
            Ok(found) if found.ino() != self.inode => {
                Err(StoreError::TakenOver { path: self.path.clone(), by: ANOTHER_FILE.to_owned() })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(StoreError::Vanished { path: self.path.clone() })
            }
            // What cannot be looked at says nothing.
            _ => Ok(()),
        }
    }

    pub(super) fn check_open(&self, operation: &'static str) -> Result<(), StoreError> {
        match *self.slot() {
            Slot::Closed => Err(closed(operation)),
            Slot::Open(_) | Slot::Broken => Ok(()),
        }
    }

    /// Calls `work` with the database; opens it again first if an I/O error broke it.
    pub(super) fn with_database<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Database) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        if matches!(*self.slot(), Slot::Broken) {
            self.reopen()?;
        }
        let slot = self.slot();
        let result = match &*slot {
            Slot::Open(handle) => work(&handle.database),
            Slot::Broken => return Err(Phase::Before.error(operation, "the file is being opened again".to_owned())),
            Slot::Closed => return Err(closed(operation)),
        };
        drop(slot);
        result.map_err(|failure| match failure {
            Failure::Store(error) => error,
            Failure::Damaged(problem) => damaged(&self.path, problem),
            Failure::Redb(error) => {
                if breaks(&error) {
                    self.set_broken();
                }
                redb_error(&self.path, operation, error)
            }
        })
    }

    /// Finds out whether a commit that failed is in the file. Needs the gate.
    ///
    /// `error` is what redb said of it. If it is in the file, it is on the disk too: see [`Bytes::settle`].
    pub(super) fn resolve(
        &self,
        operation: &'static str,
        (applied, number): (Applied, i64),
        error: RedbError,
    ) -> Result<Applied, StoreError> {
        self.set_broken();
        match self.commits() {
            Ok(found) if found == number => {
                tracing::warn!(path = %self.path.display(), error = %error, "a commit failed and is in the file");
                Ok(applied)
            }
            Ok(found) if found.checked_add(1) == Some(number) => Err(redb_error(&self.path, operation, error)),
            Ok(found) => Err(damaged(&self.path, format!("commit {found} is the last, {number} was being made"))),
            Err(again) => {
                let path = self.path.display();
                let reason = format!("{path}: {error}; then, when the file was opened again: {again}");
                Err(StoreError::OutcomeUnknown { operation, reason })
            }
        }
    }

    /// The number of the last commit in the file.
    fn commits(&self) -> Result<i64, StoreError> {
        self.with_database("commit", |database| {
            let commits = database.begin_read()?.open_table(META)?.get(META_COMMITS)?;
            Ok(commits.map_or(0, |commits| commits.value()))
        })
    }

    fn set_broken(&self) {
        let mut slot = self.slot_mut();
        if let Slot::Open(_) = *slot {
            *slot = Slot::Broken;
        }
    }

    fn reopen(&self) -> Result<(), StoreError> {
        let mut slot = self.slot_mut();
        let Slot::Broken = *slot else { return Ok(()) };
        // Before it could make a new file, and once more when it is open.
        self.check_owner()?;
        let opened = file::open(&*self.medium, &self.path, self.clock.now(), |inode| {
            self.check_owner()?;
            if inode == self.inode {
                return Ok(());
            }
            // On a network volume the record of the new owner may be seen later than its file.
            Err(StoreError::TakenOver { path: self.path.clone(), by: ANOTHER_FILE.to_owned() })
        })?;
        *slot = Slot::Open(opened.handle);
        // While nobody else can change the file.
        *self.leases() = opened.leases;
        self.revision.send_replace(opened.revision);
        drop(slot);
        tracing::warn!(path = %self.path.display(), "opened the state file again after an I/O error");
        Ok(())
    }

    /// Needs the gate.
    pub(super) fn close(&self) {
        let large = matches!(&*self.slot(), Slot::Open(handle) if handle.bytes.length().unwrap_or(0) > SHRINK_ABOVE);
        if large && let Err(error) = self.shrink() {
            tracing::warn!(path = %self.path.display(), error = %error, "cannot make the state file smaller");
        }
        let old = std::mem::replace(&mut *self.slot_mut(), Slot::Closed);
        if let Slot::Open(handle) = old {
            match handle.database.close() {
                Ok(()) => self.forget_original(),
                // Nothing is lost: every commit was on the disk before.
                Err(error) => {
                    tracing::warn!(path = %self.path.display(), error = %error, "the state file is repaired when it is opened");
                }
            }
        }
        if let Some(owner) = &self.owner {
            owner.release();
        }
        // Wakes the watchers, who find the store closed.
        self.revision.send_modify(|revision| *revision = revision.next());
    }

    /// The copy of a file that was taken over is whole: it was closed.
    fn forget_original(&self) {
        if self.owner.is_some() && self.check_owner().is_ok() {
            // What stays is in nobody's way.
            let _ = std::fs::remove_file(file::original_name(&self.path));
        }
    }

    /// Needs the gate.
    pub(super) fn shrink(&self) -> Result<bool, StoreError> {
        self.check_owner()?;
        // Opens a broken file first.
        self.commits()?;
        let mut slot = self.slot_mut();
        let result = match &mut *slot {
            Slot::Open(handle) => handle.database.compact().map_err(RedbError::from),
            Slot::Broken | Slot::Closed => return Err(closed("shrink")),
        };
        drop(slot);
        result.map_err(|error| {
            if breaks(&error) {
                self.set_broken();
            }
            redb_error(&self.path, "shrink", error)
        })
    }
}

fn closed(operation: &'static str) -> StoreError {
    Phase::Before.error(operation, "the store is closed".to_owned())
}
