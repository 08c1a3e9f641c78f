//! Opening and closing the file, and what its errors mean.

use std::fs::{File, OpenOptions};
use std::io::{Error as IoError, ErrorKind as IoErrorKind};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::redb::{
    Database, DatabaseError, Error as RedbError, ReadableDatabase as _, ReadableTable as _, StorageBackend,
    StorageError,
};

use super::medium::{Bytes, Medium, Reserving};
use super::slot::Handle;
use super::tables::{
    CURRENT, FORMAT, HISTORY, LEASES, LOG, META, META_COMPACTED, META_FORMAT, META_LAST_LEASE, META_REVISION, decode,
};
use crate::error::{StoreError, is_full};
use crate::lease::LeaseTable;
use crate::types::{LeaseId, Revision};

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
    pub(super) inode: u64,
    pub(super) handle: Handle,
    pub(super) revision: Revision,
    pub(super) leases: LeaseTable,
}

/// The error of a file whose content cannot be right.
pub(super) fn damaged(path: &Path, problem: String) -> StoreError {
    let hint =
        "keep a copy of it for the report, then put a backup in its place: an empty one knows nothing of what was done";
    StoreError::Corrupt { path: path.to_owned(), problem, hint }
}

/// The error of a file of another version.
fn foreign(path: &Path, problem: String) -> StoreError {
    let hint = "use the version of tutti that wrote it";
    StoreError::Corrupt { path: path.to_owned(), problem, hint }
}

/// Opens the file and reads its leases; creates it if there is none.
///
/// `check` is asked with the inode before anything is written: whoever owns the file after it was opened has the right
/// one, since who takes over puts a copy in its place after the claim.
pub(super) fn open(
    medium: &dyn Medium,
    path: &Path,
    now: Duration,
    check: impl FnOnce(u64) -> Result<(), StoreError>,
) -> Result<Opened, StoreError> {
    let refuse = |error: IoError| StoreError::refused("open", format!("state file {}", path.display()), &error);
    let bytes = match medium.open(path) {
        Err(error) if error.kind() == IoErrorKind::NotFound => {
            create(path)?;
            medium.open(path)
        }
        other => other,
    };
    let (bytes, inode) = bytes.map_err(refuse)?;
    check(inode)?;
    let bytes = Bytes::new(bytes);
    // redb takes an empty file for a new one, which would silently forget everything after a truncation.
    if bytes.length().map_err(refuse)? == 0 {
        return Err(damaged(path, "the file is empty".to_owned()));
    }
    bytes.settle().map_err(|error| redb_error(path, "open", RedbError::Io(error)))?;
    // Without the check redb trusts a file that was closed cleanly, and panics when the disk has damaged it since.
    let database = Database::builder().set_check_integrity_on_open(true).create_with_backend(bytes.clone());
    let database = database.map_err(|error| open_error(path, error))?;
    let (revision, leases) = load(path, &database, now)?;
    Ok(Opened { inode, handle: Handle { database, bytes }, revision, leases })
}

/// Makes the file under another name first: whoever sees it under its own name sees a whole one.
fn create(path: &Path) -> Result<(), StoreError> {
    let temporary = temporary_name(path);
    let refuse = |error: IoError| StoreError::refused("creating the state file", temporary.display(), &error);
    // Left by a process of the same number that was killed here. It may be linked to a state file: never write to it.
    tutti_files::remove_file(&temporary).map_err(refuse)?;
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&temporary);
    let backend = Reserving::new(file.map_err(refuse)?);
    let made = initialise(&temporary, backend).and_then(|()| {
        match std::fs::hard_link(&temporary, path) {
            // Done, with the reply lost: nobody else makes the file while we own it.
            Err(error) if error.kind() != IoErrorKind::AlreadyExists => Err(refuse(error)),
            _ => Ok(()),
        }
    });
    let removed = tutti_files::remove_file(&temporary);
    made.and(removed.map_err(refuse))?;
    sync_directory(path).map_err(refuse)
}

/// Where the file that was taken over stays until the next clean close: its copy is torn if the other process wrote to it
/// meanwhile. It is the first one, should several be taken over in a row.
pub(super) fn original_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".taken-over");
    name.into()
}

/// Gives the name to a copy of the file: a process that was taken for dead goes on writing to the original, which keeps
/// [`original_name`] only.
pub(super) fn copy_away(path: &Path) -> Result<(), StoreError> {
    let temporary = temporary_name(path);
    let refuse = |error: IoError| StoreError::refused("take-over", temporary.display(), &error);
    tutti_files::remove_file(&temporary).map_err(refuse)?;
    match std::fs::hard_link(path, original_name(path)) {
        Err(error) if !matches!(error.kind(), IoErrorKind::AlreadyExists | IoErrorKind::NotFound) => {
            return Err(refuse(error));
        }
        _ => {}
    }
    let copied = std::fs::copy(path, &temporary).and_then(|_| {
        File::open(&temporary)?.sync_all()?;
        tutti_files::rename(&temporary, path)
    });
    match copied {
        Ok(()) => sync_directory(path).map_err(refuse),
        // There is no state yet.
        Err(error) if error.kind() == IoErrorKind::NotFound && !path.exists() => Ok(()),
        Err(error) => {
            let _ = std::fs::remove_file(&temporary);
            Err(refuse(error))
        }
    }
}

fn sync_directory(path: &Path) -> Result<(), IoError> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory).and_then(|directory| directory.sync_all())
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    name.into()
}

/// Writes an empty store to empty bytes.
pub(super) fn initialise(path: &Path, backend: impl StorageBackend) -> Result<(), StoreError> {
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
    write().map_err(|error| redb_error(path, "creating the state file", error))?;
    database.close().map_err(|error| redb_error(path, "creating the state file", error.into()))
}

/// Reads revision and leases; every lease has its full time again.
fn load(path: &Path, database: &Database, now: Duration) -> Result<(Revision, LeaseTable), StoreError> {
    let read = || -> Result<Result<(Revision, LeaseTable), Unfit>, RedbError> {
        let txn = database.begin_read()?;
        let meta = txn.open_table(META)?;
        let format = meta.get(META_FORMAT)?.map(|value| value.value());
        if format != Some(FORMAT) {
            let found = format.map_or("none".to_owned(), |format| format.to_string());
            return Ok(Err(Unfit::Format(format!("format version {found}, this program knows {FORMAT}"))));
        }
        let Some(revision) = meta.get(META_REVISION)? else { return Ok(Err(Unfit::Content("no revision".to_owned()))) };
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
                Ok(None) => return Ok(Err(Unfit::Content("a deleted key among the live ones".to_owned()))),
                Err(problem) => return Ok(Err(Unfit::Content(problem))),
            }
        }
        Ok(Ok((Revision(revision.value()), leases)))
    };
    match read() {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(Unfit::Content(problem))) => Err(damaged(path, problem)),
        Ok(Err(Unfit::Format(problem))) => Err(foreign(path, problem)),
        Err(RedbError::TableDoesNotExist(table)) => Err(damaged(path, format!("not a state file: no table {table}"))),
        Err(error) => Err(redb_error(path, "open", error)),
    }
}

/// Why a whole file is not taken.
enum Unfit {
    Format(String),
    Content(String),
}

fn open_error(path: &Path, error: DatabaseError) -> StoreError {
    match error {
        DatabaseError::UpgradeRequired(version) => foreign(path, format!("it has redb's file format {version}")),
        error => redb_error(path, "open", error.into()),
    }
}

/// Translates redb's errors of work that left nothing behind.
pub(super) fn redb_error(path: &Path, operation: &'static str, error: RedbError) -> StoreError {
    match error {
        RedbError::Corrupted(problem) => damaged(path, problem),
        RedbError::TableTypeMismatch { .. } | RedbError::TypeDefinitionChanged { .. } => {
            damaged(path, error.to_string())
        }
        // What redb says of a file without its magic number, or cut short.
        RedbError::Io(error) if matches!(error.kind(), IoErrorKind::InvalidData | IoErrorKind::UnexpectedEof) => {
            damaged(path, error.to_string())
        }
        RedbError::Io(error) if is_full(error.kind()) => StoreError::NoSpace { operation },
        error => Phase::Before.error(operation, format!("{}: {error}", path.display())),
    }
}

/// Why work on the database failed.
pub(super) enum Failure {
    /// A rule of the store.
    Store(StoreError),
    /// Stored data that cannot be right.
    Damaged(String),
    /// redb itself.
    Redb(RedbError),
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
                Self::Redb(error.into())
            }
        }
    )*};
}
failure_from_redb!(StorageError, ::redb::TransactionError, ::redb::TableError);
