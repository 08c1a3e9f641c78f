//! Opening and closing the file, and what its errors mean.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind as IoErrorKind;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLockReadGuard};
use std::time::Duration;

use ::redb::backends::FileBackend;
use ::redb::{Database, DatabaseError, Error as RedbError, ReadableDatabase as _, ReadableTable as _, StorageError};

use super::Inner;
use super::tables::{
    CURRENT, FORMAT, HISTORY, LEASES, LOG, META, META_COMPACTED, META_FORMAT, META_LAST_LEASE, META_REVISION, decode,
};
use crate::error::StoreError;
use crate::lease::LeaseTable;
use crate::types::{LeaseId, Revision};

/// The database, and whether it can be used.
#[derive(Debug)]
pub(super) enum Slot {
    Open(Database),
    /// An I/O error: redb refuses all further work until the file is opened again.
    Broken,
    Closed,
}

/// Where in an operation something failed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Phase {
    /// Nothing was committed.
    Before,
    /// The commit may have happened.
    Commit,
}

impl Phase {
    pub(super) fn error(self, operation: &'static str, reason: String) -> StoreError {
        match self {
            Self::Before => StoreError::Unavailable { operation, reason },
            Self::Commit => StoreError::OutcomeUnknown { operation, reason },
        }
    }
}

/// What opening finds.
pub(super) struct Opened {
    pub(super) database: Database,
    pub(super) revision: Revision,
    pub(super) leases: LeaseTable,
}

/// The error of a file whose content cannot be right.
pub(super) fn damaged(path: &Path, problem: String) -> StoreError {
    let hint = "keep a copy for the report, then move it away and start with an empty state or a backup";
    StoreError::Corrupt { path: path.to_owned(), problem, hint }
}

/// Opens the file and reads its leases; creates it if there is none.
pub(super) fn open(path: &Path, now: Duration) -> Result<Opened, StoreError> {
    let refuse = |error: std::io::Error| StoreError::Unavailable {
        operation: "open",
        reason: format!("state file {}: {error}", path.display()),
    };
    match std::fs::metadata(path) {
        Err(error) if error.kind() == IoErrorKind::NotFound => create(path)?,
        Err(error) => return Err(refuse(error)),
        // redb takes an empty file for a new one, which would silently forget everything after a truncation.
        Ok(metadata) if metadata.len() == 0 => return Err(damaged(path, "the file is empty".to_owned())),
        Ok(_) => {}
    }
    let database = Database::open(path).map_err(|error| open_error(path, error))?;
    load(path, database, now)
}

/// Makes the file under another name first: whoever sees it under its own name sees a whole one.
fn create(path: &Path) -> Result<(), StoreError> {
    let temporary = temporary_name(path);
    let refuse = |error: std::io::Error| match error.kind() {
        IoErrorKind::StorageFull => StoreError::NoSpace { operation: "creating the state file" },
        _ => StoreError::Unavailable {
            operation: "creating the state file",
            reason: format!("{}: {error}", temporary.display()),
        },
    };
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&temporary);
    let made = initialise(&temporary, file.map_err(refuse)?).and_then(|()| {
        match std::fs::hard_link(&temporary, path) {
            // Another process was faster; its file is as good.
            Err(error) if error.kind() != IoErrorKind::AlreadyExists => Err(refuse(error)),
            _ => Ok(()),
        }
    });
    let removed = std::fs::remove_file(&temporary);
    made.and(removed.map_err(refuse))?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(refuse)
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    name.into()
}

fn initialise(path: &Path, file: File) -> Result<(), StoreError> {
    let backend = FileBackend::new(file).map_err(|error| open_error(path, error))?;
    let database = Database::builder().create_with_backend(backend).map_err(|error| open_error(path, error))?;
    let write = || -> Result<(), RedbError> {
        let txn = database.begin_write()?;
        {
            let mut meta = txn.open_table(META)?;
            // An empty etcd is at revision 1.
            for (name, value) in [(META_FORMAT, FORMAT), (META_REVISION, 1), (META_COMPACTED, 0), (META_LAST_LEASE, 0)]
            {
                meta.insert(name, value)?;
            }
            txn.open_table(CURRENT)?;
            txn.open_table(HISTORY)?;
            txn.open_table(LOG)?;
            txn.open_table(LEASES)?;
        }
        Ok(txn.commit()?)
    };
    write().map_err(|error| redb_error(path, "creating the state file", Phase::Before, error))
}

/// Reads revision and leases; every lease has its full time again.
fn load(path: &Path, database: Database, now: Duration) -> Result<Opened, StoreError> {
    let read = || -> Result<Result<(Revision, LeaseTable), String>, RedbError> {
        let txn = database.begin_read()?;
        let meta = txn.open_table(META)?;
        let format = meta.get(META_FORMAT)?.map(|value| value.value());
        if format != Some(FORMAT) {
            let found = format.map_or("none".to_owned(), |format| format.to_string());
            return Ok(Err(format!("format version {found}, this program knows {FORMAT}")));
        }
        let Some(revision) = meta.get(META_REVISION)? else { return Ok(Err("no revision".to_owned())) };
        let mut leases = LeaseTable::default();
        for entry in txn.open_table(LEASES)?.iter()? {
            let (lease, seconds) = entry?;
            let seconds = u64::try_from(seconds.value()).unwrap_or(0);
            leases.grant(LeaseId(lease.value()), Duration::from_secs(seconds), now);
        }
        for entry in txn.open_table(CURRENT)?.iter()? {
            let (key, bytes) = entry?;
            match decode(bytes.value()) {
                Ok(Some(record)) => leases.attach(key.value(), record.lease),
                Ok(None) => return Ok(Err("a deleted key among the live ones".to_owned())),
                Err(problem) => return Ok(Err(problem)),
            }
        }
        Ok(Ok((Revision(revision.value()), leases)))
    };
    match read() {
        Ok(Ok((revision, leases))) => Ok(Opened { database, revision, leases }),
        Ok(Err(problem)) => Err(damaged(path, problem)),
        Err(RedbError::TableDoesNotExist(table)) => Err(damaged(path, format!("not a state file: no table {table}"))),
        Err(error) => Err(redb_error(path, "open", Phase::Before, error)),
    }
}

fn open_error(path: &Path, error: DatabaseError) -> StoreError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { path: path.to_owned() },
        DatabaseError::UpgradeRequired(version) => damaged(path, format!("it has redb's file format {version}")),
        error => redb_error(path, "open", Phase::Before, error.into()),
    }
}

/// Translates redb's errors.
pub(super) fn redb_error(path: &Path, operation: &'static str, phase: Phase, error: RedbError) -> StoreError {
    match error {
        RedbError::Corrupted(problem) => damaged(path, problem),
        RedbError::TableTypeMismatch { .. } | RedbError::TypeDefinitionChanged { .. } => {
            damaged(path, error.to_string())
        }
        // What redb says of a file without its magic number, or cut short.
        RedbError::Io(error) if matches!(error.kind(), IoErrorKind::InvalidData | IoErrorKind::UnexpectedEof) => {
            damaged(path, error.to_string())
        }
        RedbError::Io(error)
            if matches!(phase, Phase::Before)
                && matches!(error.kind(), IoErrorKind::StorageFull | IoErrorKind::QuotaExceeded) =>
        {
            StoreError::NoSpace { operation }
        }
        error => phase.error(operation, format!("{}: {error}", path.display())),
    }
}

/// True for an error after which redb answers only `PreviousIo`.
fn breaks(error: &RedbError) -> bool {
    matches!(error, RedbError::Io(_) | RedbError::PreviousIo | RedbError::LockPoisoned(_))
}

impl Inner {
    fn slot(&self) -> RwLockReadGuard<'_, Slot> {
        self.slot.read().unwrap_or_else(PoisonError::into_inner)
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
            Slot::Open(database) => work(database),
            Slot::Broken => return Err(Phase::Before.error(operation, "the file is being opened again".to_owned())),
            Slot::Closed => return Err(closed(operation)),
        };
        drop(slot);
        result.map_err(|failure| match failure {
            Failure::Store(error) => error,
            Failure::Damaged(problem) => damaged(&self.path, problem),
            Failure::Redb(phase, error) => {
                if breaks(&error) {
                    *self.slot.write().unwrap_or_else(PoisonError::into_inner) = Slot::Broken;
                }
                redb_error(&self.path, operation, phase, error)
            }
        })
    }

    fn reopen(&self) -> Result<(), StoreError> {
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*slot, Slot::Broken) {
            return Ok(());
        }
        let opened = open(&self.path, self.clock.now())?;
        *slot = Slot::Open(opened.database);
        drop(slot);
        *self.leases() = opened.leases;
        self.revision.send_replace(opened.revision);
        tracing::warn!(path = %self.path.display(), "opened the state file again after an I/O error");
        Ok(())
    }

    pub(super) fn close(&self) {
        *self.slot.write().unwrap_or_else(PoisonError::into_inner) = Slot::Closed;
        // Wakes the watchers, who find the store closed.
        self.revision.send_modify(|revision| *revision = revision.next());
    }

    pub(super) fn shrink(&self) -> Result<bool, StoreError> {
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        match &mut *slot {
            Slot::Open(database) => {
                database.compact().map_err(|error| redb_error(&self.path, "shrink", Phase::Before, error.into()))
            }
            Slot::Broken | Slot::Closed => Err(closed("shrink")),
        }
    }
}

fn closed(operation: &'static str) -> StoreError {
    Phase::Before.error(operation, "the store is closed".to_owned())
}

/// Why work on the database failed.
pub(super) enum Failure {
    /// A rule of the store.
    Store(StoreError),
    /// Stored data that cannot be right.
    Damaged(String),
    /// redb itself.
    Redb(Phase, RedbError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

macro_rules! failure_from_redb {
    ($($error:ty),*) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::Redb(Phase::Before, error.into())
            }
        }
    )*};
}
failure_from_redb!(StorageError, ::redb::TransactionError, ::redb::TableError);

impl From<::redb::CommitError> for Failure {
    fn from(error: ::redb::CommitError) -> Self {
        Self::Redb(Phase::Commit, error.into())
    }
}
