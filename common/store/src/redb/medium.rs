//! The bytes under redb: a file whose space is reserved when it grows, and whose failed syncs are remembered.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ::redb::backends::FileBackend;
use ::redb::{BackendError, StorageBackend};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

/// How much is read and written again at once.
const CHUNK: usize = 1 << 20;

/// Where state files are: the file system, or what a test puts in its place.
pub(super) trait Medium: fmt::Debug + Send + Sync + 'static {
    /// Opens the bytes of a file that exists.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn StorageBackend>>;
}

/// The file system.
#[derive(Debug)]
pub(super) struct FileSystem;

impl Medium for FileSystem {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn StorageBackend>> {
        Ok(Arc::new(Reserving::new(OpenOptions::new().read(true).write(true).open(path)?)?))
    }
}

/// A file that grows by reserved blocks and not by a hole: a full disk shows itself when redb asks for more room,
/// before it writes anything, and the pages that it has can be written again however full the disk is.
#[derive(Debug)]
pub(super) struct Reserving {
    backend: FileBackend,
    file: File,
}

impl Reserving {
    pub(super) fn new(file: File) -> io::Result<Self> {
        let backend = FileBackend::new(file.try_clone()?).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self { backend, file })
    }

    fn reserve(&self, from: u64, to: u64) -> io::Result<()> {
        loop {
            match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), from, to - from) {
                Ok(()) => return Ok(()),
                Err(Errno::INTR) => {}
                // A file system that cannot reserve: a hole must do.
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => return self.file.set_len(to),
                Err(error) => {
                    // Part of it may have been reserved already.
                    self.file.set_len(from)?;
                    return Err(error.into());
                }
            }
        }
    }
}

/// A backend that passes on what it does not define itself.
macro_rules! pass_on {
    ($field:ident: $($method:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {$(
        fn $method(&self $(, $argument: $type)*) -> Result<$result, pass_on!(@error $method)> {
            self.$field.$method($($argument),*)
        }
    )*};
    (@error len) => { io::Error };
    (@error read) => { io::Error };
    (@error write) => { io::Error };
    (@error set_len) => { io::Error };
    (@error sync_data) => { io::Error };
    (@error close) => { io::Error };
    (@error $lock:ident) => { BackendError };
}

impl StorageBackend for Reserving {
    fn set_len(&self, len: u64) -> io::Result<()> {
        let now = self.backend.len()?;
        if len > now { self.reserve(now, len) } else { self.backend.set_len(len) }
    }

    pass_on! { backend:
        len() -> u64;
        read(offset: u64, out: &mut [u8]) -> ();
        write(offset: u64, data: &[u8]) -> ();
        sync_data() -> ();
        close() -> ();
        try_lock_range(start: Bound<u64>, end: Bound<u64>) -> bool;
        try_lock_shared_range(start: Bound<u64>, end: Bound<u64>) -> bool;
        lock_range(start: Bound<u64>, end: Bound<u64>) -> ();
        lock_shared_range(start: Bound<u64>, end: Bound<u64>) -> ();
        unlock_range(start: Bound<u64>, end: Bound<u64>) -> ();
        query_lock_range(start: Bound<u64>, end: Bound<u64>) -> bool;
    }
}

/// The bytes of one open file, as redb and its owner share them.
#[derive(Debug, Clone)]
pub(super) struct Bytes {
    medium: Arc<dyn StorageBackend>,
    /// A sync failed since the bytes were last known to be on the disk.
    doubtful: Arc<AtomicBool>,
}

impl Bytes {
    pub(super) fn new(medium: Arc<dyn StorageBackend>) -> Self {
        Self { medium, doubtful: Arc::default() }
    }

    pub(super) fn length(&self) -> io::Result<u64> {
        self.medium.len()
    }

    /// Makes sure that what is read from here is on the disk.
    ///
    /// After a failed sync Linux counts the pages as written, so they read back, a second sync succeeds, and a power cut
    /// loses them (fsync(2), "Errors"; Rebello et al., "Can Applications Recover from fsync Failures?", ATC 2020). Every
    /// byte is written again, so that the next sync covers it.
    ///
    /// Call it while redb still holds the file's lock, and no longer works on it.
    pub(super) fn settle(&self) -> io::Result<()> {
        if !self.doubtful.load(Ordering::SeqCst) {
            return Ok(());
        }
        let length = self.medium.len()?;
        let mut buffer = vec![0; CHUNK];
        let mut offset = 0;
        while offset < length {
            let size = usize::try_from(length - offset).unwrap_or(CHUNK).min(CHUNK);
            let Some(chunk) = buffer.get_mut(..size) else { break };
            self.medium.read(offset, chunk)?;
            self.medium.write(offset, chunk)?;
            offset += size as u64;
        }
        self.medium.sync_data()?;
        self.doubtful.store(false, Ordering::SeqCst);
        Ok(())
    }
}

impl StorageBackend for Bytes {
    fn sync_data(&self) -> io::Result<()> {
        let result = self.medium.sync_data();
        if result.is_err() {
            self.doubtful.store(true, Ordering::SeqCst);
        }
        result
    }

    pass_on! { medium:
        len() -> u64;
        read(offset: u64, out: &mut [u8]) -> ();
        write(offset: u64, data: &[u8]) -> ();
        set_len(len: u64) -> ();
        close() -> ();
        try_lock_range(start: Bound<u64>, end: Bound<u64>) -> bool;
        try_lock_shared_range(start: Bound<u64>, end: Bound<u64>) -> bool;
        lock_range(start: Bound<u64>, end: Bound<u64>) -> ();
        lock_shared_range(start: Bound<u64>, end: Bound<u64>) -> ();
        unlock_range(start: Bound<u64>, end: Bound<u64>) -> ();
        query_lock_range(start: Bound<u64>, end: Bound<u64>) -> bool;
    }
}
