//! SQLite databases beside the three XML files: what createrepo_c 1.2.5 makes with `--database`, and yum, old dnf, zif and
//! Koji's older tools read.
//!
//! The content is equal to the letter, rows and their order included; bytes of the files depend on the library's version.
//! A database is made in a file of its own that nobody else opens: no locks, no journal, thrown away after a failure.

mod rows;
mod schema;

use std::path::Path;

use rusqlite::{Connection, OpenFlags, Result};
use tutti_rpm::Package;

pub(crate) use self::schema::VERSION;
use crate::checksum::Checksum;
use crate::fragment::{Fill, MetadataFile};

/// A database that is being filled.
pub(crate) struct Database {
    connection: Connection,
    file: MetadataFile,
}

impl Database {
    /// Makes the file, which must not be there, and its tables.
    pub(crate) fn create(path: &Path, file: MetadataFile) -> Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_EXRESCODE;
        // Network file systems may know no locks, and nobody else has this file.
        let connection = Connection::open_with_flags_and_vfs(path, flags, c"unix-none")?;
        connection
            .execute_batch("PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF; PRAGMA temp_store = MEMORY; BEGIN")?;
        // One statement for each table, and each list of dependencies.
        connection.set_prepared_statement_cache_capacity(16);
        for statement in schema::tables(file) {
            connection.execute_batch(&statement)?;
        }
        Ok(Self { connection, file })
    }

    /// Adds a package; its changelogs are taken whole.
    pub(crate) fn add(&self, package: &Package, fill: &Fill<'_>) -> Result<()> {
        match self.file {
            MetadataFile::Primary => rows::primary(&self.connection, package, fill),
            MetadataFile::Filelists | MetadataFile::FilelistsExt => rows::filelists(&self.connection, package, fill),
            MetadataFile::Other => rows::other(&self.connection, package, fill),
        }
    }

    /// Completes the file. `checksum` is that of the XML file with the same packages, as it is published.
    pub(crate) fn finish(self, checksum: &Checksum) -> Result<()> {
        for statement in schema::indexes(self.file) {
            self.connection.execute_batch(&statement)?;
        }
        let info = "INSERT INTO db_info (dbversion, checksum) VALUES (?, ?)";
        self.connection.execute(info, rusqlite::params![VERSION, checksum.hex()])?;
        self.connection.execute_batch("COMMIT")?;
        self.connection.close().map_err(|(_, error)| error)
    }
}
