//! The bytes under redb: a file whose space is reserved when it grows, and what a failed sync may have lost.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::Arc;

use ::redb::StorageBackend;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use crate::error::StoreError;
use crate::owner::{Owner, TakeOver};

/// How much is read and written again at once.
const CHUNK: usize = 1 << 20;

/// Where state files are: the file system, or what a test puts in its place.
pub(super) trait Medium: fmt::Debug + Send + Sync + 'static {
    /// Makes this process the owner of a file, which need not exist.
    fn own(&self, path: &Path, take_over: TakeOver) -> Result<Option<Owner>, StoreError>;
    /// Opens the bytes of a file that exists, and says which file it is (its inode).
    fn open(&self, path: &Path) -> io::Result<(Arc<dyn StorageBackend>, u64)>;
}

/// The file system.
#[derive(Debug)]
pub(super) struct FileSystem;

impl Medium for FileSystem {
    fn own(&self, path: &Path, take_over: TakeOver) -> Result<Option<Owner>, StoreError> {
        Owner::acquire(path, take_over).map(Some)
    }

    fn open(&self, path: &Path) -> io::Result<(Arc<dyn StorageBackend>, u64)> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let inode = file.metadata()?.ino();
        Ok((Arc::new(Reserving::new(file)), inode))
    }
}

/// A file that grows by reserved blocks and not by a hole: a full disk shows itself when redb asks for more room,
/// before it writes anything, and the pages that it has can be written again however full the disk is.
///
/// It has no locks: see [`crate::owner`].
#[derive(Debug)]
pub(super) struct Reserving(File);

impl Reserving {
    pub(super) fn new(file: File) -> Self {
        Self(file)
    }

    fn reserve(&self, from: u64, to: u64) -> io::Result<()> {
        loop {
            match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), from, to - from) {
                Ok(()) => return Ok(()),
                Err(Errno::INTR) => {}
                // A file system that cannot reserve: a hole must do.
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => return self.0.set_len(to),
                Err(error) => {
                    // Part of it may have been reserved already.
                    self.0.set_len(from)?;
                    return Err(error.into());
                }
            }
        }
    }
}

impl StorageBackend for Reserving {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let now = self.len()?;
        if len > now { self.reserve(now, len) } else { self.0.set_len(len) }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }
}

/// The bytes of one open file, as redb and its owner share them.
#[derive(Debug, Clone)]
pub(super) struct Bytes(Arc<dyn StorageBackend>);

impl Bytes {
    pub(super) fn new(medium: Arc<dyn StorageBackend>) -> Self {
        Self(medium)
    }

    pub(super) fn length(&self) -> io::Result<u64> {
        self.0.len()
    }

    /// Makes sure that what is read from here is on the disk. Call it before redb works on the bytes.
    ///
    /// After a failed sync Linux counts the pages as written, so they read back, a second sync succeeds, and a power cut
    /// loses them (fsync(2), "Errors"; Rebello et al., "Can Applications Recover from fsync Failures?", ATC 2020). Whoever
    /// opens a file cannot know how the last sync of it ended, which may have been another process's last act. So every
    /// byte is written again, that a sync covers it.
    ///
    /// A power cut meanwhile leaves a part of what was lost on the disk, as it could have before the sync that failed.
    pub(super) fn settle(&self) -> io::Result<()> {
        let length = self.0.len()?;
        // The length may have been lost too.
        self.0.set_len(length)?;
        let mut buffer = vec![0; CHUNK];
        let mut offset = 0;
        while offset < length {
            let size = usize::try_from(length - offset).unwrap_or(CHUNK).min(CHUNK);
            let Some(chunk) = buffer.get_mut(..size) else { break };
            self.0.read(offset, chunk)?;
            self.0.write(offset, chunk)?;
            offset += size as u64;
        }
        self.0.sync_data()
    }
}

impl StorageBackend for Bytes {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}
