//! One pass over one RPM file: headers, checksums, payload.
//!
//! A file is opened once and read once, from its first byte to its last. Callers that know its checksum stop after the
//! headers.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use tutti_repodata::{Checksum, ChecksumType, Hasher};
use tutti_rpm::{HeaderFile, HeaderReader, PayloadVerifier};

use crate::error::PackageError;

/// Bytes of one read after the headers.
const BLOCK: usize = 512 * 1024;

/// Buffers of one thread.
pub struct Buffers {
    headers: HeaderReader,
    block: Vec<u8>,
}

impl Default for Buffers {
    fn default() -> Self {
        Self { headers: HeaderReader::default(), block: vec![0; BLOCK] }
    }
}

/// An RPM file whose headers were read.
pub struct RpmFile {
    tee: Tee,
    headers: HeaderFile,
    metadata: Metadata,
}

/// What was found in a whole file.
#[derive(Debug)]
pub struct Whole {
    /// Checksums, in the order of the types asked for.
    pub sums: Vec<Checksum>,
    /// Length in bytes.
    pub length: u64,
    payload: Option<PayloadVerifier>,
    header_end: u64,
}

impl Whole {
    /// Compares the payload with its digest in the headers, if the file was read for that and there is one; returns the
    /// number of bytes that were compared.
    ///
    /// # Errors
    /// When it is another.
    pub fn verify_payload(self) -> Result<u64, PackageError> {
        let Some(payload) = self.payload else { return Ok(0) };
        payload.finish().map_err(PackageError::Rpm)?;
        Ok(self.length.saturating_sub(self.header_end))
    }
}

/// Counts and hashes what passes.
struct Tee {
    file: File,
    hashers: Vec<Hasher>,
    payload: Option<PayloadVerifier>,
    length: u64,
}

impl Read for Tee {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        for hasher in &mut self.hashers {
            hasher.update(&buffer[..count]);
        }
        if let Some(payload) = &mut self.payload {
            payload.update(&buffer[..count]);
        }
        self.length += count as u64;
        Ok(count)
    }
}

impl RpmFile {
    /// Opens a file and reads its headers; checksums of these types can be had.
    ///
    /// # Errors
    /// When it is no regular file, cannot be read, or is no RPM.
    pub fn open(path: &Path, kinds: &[ChecksumType], buffers: &mut Buffers) -> Result<Self, PackageError> {
        // Before it is opened: opening a named pipe waits for its other end.
        if !std::fs::metadata(path).map_err(PackageError::Open)?.is_file() {
            return Err(PackageError::Open(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
        }
        let file = File::open(path).map_err(PackageError::Open)?;
        let metadata = file.metadata().map_err(PackageError::Open)?;
        let hashers = kinds.iter().map(|kind| kind.hasher()).collect();
        let mut tee = Tee { file, hashers, payload: None, length: 0 };
        let headers = buffers.headers.read_from(&mut tee).map_err(PackageError::Rpm)?;
        Ok(Self { tee, headers, metadata })
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderFile {
        &self.headers
    }

    /// What stat said when the file was opened.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Reads the rest, once, with the buffers that the file was opened with. `verify` compares the length with what the
    /// headers say, and reads for [`Whole::verify_payload`].
    ///
    /// # Errors
    /// When the file cannot be read, has changed, or is shorter than its headers say.
    pub fn finish(&mut self, verify: bool, buffers: &mut Buffers) -> Result<Whole, PackageError> {
        if verify {
            self.tee.payload = buffers.headers.payload_verifier(&self.headers).map_err(PackageError::Rpm)?;
        }
        drain(&mut self.tee, &mut buffers.block).map_err(PackageError::Read)?;
        let (before, after) = (self.metadata.size(), self.tee.length);
        if before != after {
            return Err(PackageError::Changed { before, after });
        }
        if verify
            && let Some(expected) = self.headers.expected_size().map_err(PackageError::Rpm)?
            && after < expected
        {
            return Err(PackageError::Truncated { expected, found: after });
        }
        let hashers = std::mem::take(&mut self.tee.hashers);
        Ok(Whole {
            sums: hashers.into_iter().map(Hasher::finish).collect(),
            length: after,
            payload: self.tee.payload.take(),
            header_end: self.headers.header_end(),
        })
    }
}

fn drain(reader: &mut impl Read, block: &mut [u8]) -> io::Result<()> {
    loop {
        match reader.read(block) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
