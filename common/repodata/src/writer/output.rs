//! One metadata file while it is written: hashed, compressed, hashed again.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use super::{FileWork, WriterOptions};
use crate::checksum::{Checksum, ChecksumType, Hasher};
use crate::compression::{Compression, Encoder};

/// A metadata file of one stream: hash of the text, compression, hash of the file.
pub(super) struct Output {
    open: Hasher,
    open_size: u64,
    encoder: Encoder<HashedFile>,
    kind: ChecksumType,
}

/// A file whose bytes are hashed as they are written.
pub(super) struct HashedFile {
    file: File,
    syncer: Option<Syncer>,
    checksum: Hasher,
    /// SHA-256 for the manifest, when the metadata uses another type.
    sha256: Option<Hasher>,
    size: u64,
}

pub(super) struct Totals {
    pub(super) checksum: Checksum,
    pub(super) open_checksum: Checksum,
    pub(super) sha256: Checksum,
    pub(super) size: u64,
    pub(super) open_size: u64,
    pub(super) work: FileWork,
}

impl Totals {
    /// Those of an empty file.
    pub(super) fn new(kind: ChecksumType) -> Self {
        let sum = kind.hash(b"");
        let sha256 = ChecksumType::Sha256.hash(b"");
        Self { checksum: sum.clone(), open_checksum: sum, sha256, size: 0, open_size: 0, work: FileWork::default() }
    }
}

impl Output {
    pub(super) fn create(path: &Path, compression: Compression, options: &WriterOptions) -> io::Result<Self> {
        let kind = options.checksum_type;
        let file = HashedFile::create(path, options)?;
        let encoder = compression.encoder(file, options.gzip_level, options.threads)?;
        Ok(Self { open: kind.hasher(), open_size: 0, encoder, kind })
    }

    pub(super) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.open.update(bytes);
        self.open_size += bytes.len() as u64;
        self.encoder.write_all(bytes)
    }

    pub(super) fn finish(self, timestamp: u64) -> io::Result<Totals> {
        let mut totals = Totals::new(self.kind);
        totals.open_checksum = self.open.finish();
        totals.open_size = self.open_size;
        totals.work.bytes_compressed = self.open_size;
        totals.work.frames_made = 1;
        self.encoder.finish()?.finish(timestamp, &mut totals)?;
        Ok(totals)
    }
}

impl HashedFile {
    pub(super) fn create(path: &Path, options: &WriterOptions) -> io::Result<Self> {
        let kind = options.checksum_type;
        let sha256 = (kind != ChecksumType::Sha256).then(|| ChecksumType::Sha256.hasher());
        let syncer = options.syncs_early.then(Syncer::default);
        Ok(Self { file: File::create_new(path)?, syncer, checksum: kind.hasher(), sha256, size: 0 })
    }

    /// Sets the file's time and says what is in it; `totals` knows about the text by now.
    pub(super) fn finish(self, timestamp: u64, totals: &mut Totals) -> io::Result<()> {
        self.file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(timestamp))?;
        if let Some(syncer) = self.syncer {
            syncer.finish(&self.file)?;
        }
        totals.checksum = self.checksum.finish();
        let twice = self.sha256.is_some();
        totals.sha256 = self.sha256.map_or_else(|| totals.checksum.clone(), Hasher::finish);
        totals.size = self.size;
        totals.work.bytes_hashed = totals.open_size + self.size * if twice { 2 } else { 1 };
        Ok(())
    }
}

impl Write for HashedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.checksum.update(&bytes[..written]);
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(&bytes[..written]);
        }
        self.size += written as u64;
        if let Some(syncer) = &mut self.syncer {
            syncer.wrote(&self.file, written)?;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Bytes after which what was written is brought to the disk.
const SYNCED: usize = 8 << 20;

/// Brings a file to the disk while it is written: its thread waits for the disk, and the processor has other work.
#[derive(Default)]
struct Syncer {
    /// Bytes that were written since it was last begun.
    written: usize,
    /// What is under way, from the first time on.
    syncing: Option<JoinHandle<io::Result<()>>>,
}

impl Syncer {
    fn wrote(&mut self, file: &File, bytes: usize) -> io::Result<()> {
        self.written += bytes;
        let is_free = self.syncing.as_ref().is_none_or(JoinHandle::is_finished);
        if self.written < SYNCED || !is_free {
            return Ok(());
        }
        self.join()?;
        self.written = 0;
        let file = file.try_clone()?;
        self.syncing = Some(std::thread::spawn(move || file.sync_data()));
        Ok(())
    }

    /// An error is told once by the system: whoever meets it has to pass it on.
    fn join(&mut self) -> io::Result<()> {
        match self.syncing.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(synced)) => synced,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }

    /// The rest of a large file. Small ones cost least together with others.
    fn finish(mut self, file: &File) -> io::Result<()> {
        if self.syncing.is_none() {
            return Ok(());
        }
        self.join()?;
        file.sync_data()
    }
}
