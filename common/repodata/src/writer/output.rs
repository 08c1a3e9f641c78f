//! One metadata file while it is written: hashed, compressed, hashed again.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::checksum::{Checksum, ChecksumType, Hasher};
use crate::compression::{Compression, Encoder};
use crate::writer::WriterOptions;

/// A metadata file being written: hash of the text, compression, hash of the file.
pub(super) struct Output {
    open: Hasher,
    open_size: u64,
    encoder: Encoder<HashedFile>,
}

struct HashedFile {
    file: File,
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
}

impl Output {
    pub(super) fn create(path: &Path, compression: Compression, options: &WriterOptions) -> io::Result<Self> {
        let kind = options.checksum_type;
        let sha256 = (kind != ChecksumType::Sha256).then(|| ChecksumType::Sha256.hasher());
        let file = HashedFile { file: File::create_new(path)?, checksum: kind.hasher(), sha256, size: 0 };
        Ok(Self { open: kind.hasher(), open_size: 0, encoder: compression.encoder(file, options.gzip_level)? })
    }

    pub(super) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.open.update(bytes);
        self.open_size += bytes.len() as u64;
        self.encoder.write_all(bytes)
    }

    pub(super) fn finish(self, timestamp: u64) -> io::Result<Totals> {
        let HashedFile { file, checksum, sha256, size } = self.encoder.finish()?;
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(timestamp))?;
        let checksum = checksum.finish();
        let sha256 = sha256.map_or_else(|| checksum.clone(), Hasher::finish);
        Ok(Totals { checksum, open_checksum: self.open.finish(), sha256, size, open_size: self.open_size })
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
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
