//! One sealed file of package records: how it is written.
//!
//! Layout, all numbers little-endian: an 16-byte head, compressed blocks, the index, an 80-byte footer. A record has a
//! part in each of four streams (facts, primary, filelists, other), and each stream has its own blocks, so that writing
//! one metadata file decompresses only what it needs. The index has each block's place and SHA-256 and each record's
//! parts; the footer has the index's place and SHA-256. A file without a good footer is no file of records: it is
//! written under another name and renamed when it is sealed.
//!
//! Readers are in [`crate::RecordsReader`]; any number of processes may read one file.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tutti_rpm::Package;

use crate::checkpoint::{self, Covered, KnownFile, Prefix};
use crate::checksum::to_hex;
use crate::codec::Encoder;
use crate::compression::ZSTD_INTERNAL_LEVEL;
use crate::fragment::{FragmentError, FragmentOptions};
use crate::record::{FileIdentity, Record};

pub(crate) const HEAD_MAGIC: &[u8; 8] = b"TUTTIREC";
pub(crate) const FOOTER_MAGIC: &[u8; 8] = b"TUTTIEND";
/// Version of the layout; raised with each change of it.
pub(crate) const FORMAT_VERSION: u32 = 1;
pub(crate) const HEAD_SIZE: u64 = 16;
pub(crate) const FOOTER_SIZE: u64 = 80;
/// Streams: facts, primary, filelists, other.
pub(crate) const STREAMS: usize = 4;
/// Bytes of one block before compression, unless a single record's part is larger. Small, because a reader that wants
/// one record decompresses a whole block.
const BLOCK_SIZE: usize = 128 * 1024;
/// Largest part of one record, in bytes before compression: the largest file lists known are some 50 MB.
pub(crate) const MAX_PART: usize = 256 * 1024 * 1024;

/// Number of a record in its file, from 0 in the order of adding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecordId(pub u32);

/// What can go wrong with a file of records.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    /// Reading or writing failed.
    #[error("cannot {action} records file {}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The file is not a sealed file of records, or was damaged.
    #[error("records file {} is damaged: {what} (hint: remove it; the run or job that wrote it makes it again)", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// A checkpoint is damaged, or does not fit what it belongs to. Nothing is to be done: its packages are read again.
    #[error("{}, an index of package records, cannot be used: {what}", path.display())]
    Checkpoint {
        /// The checkpoint.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// It was made by another version of this program, which can use it.
    #[error("{} is of another version of this program", path.display())]
    Version {
        /// The file.
        path: PathBuf,
    },
    /// No such record.
    #[error("records file {} has {len} records and none with number {}", path.display(), id.0)]
    NoRecord {
        /// The file.
        path: PathBuf,
        /// The number asked for.
        id: RecordId,
        /// Number of records.
        len: u32,
    },
    /// A record or their number is too large.
    #[error("records file {} cannot take a record: {what}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Which limit.
        what: &'static str,
    },
    /// Earlier metadata that packages were taken over from cannot be used after all.
    #[error(transparent)]
    Previous(#[from] crate::previous::PreviousError),
    /// The package cannot be written as XML.
    #[error(transparent)]
    Fragment(#[from] FragmentError),
}

/// A sealed file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedRecords {
    /// Where it is.
    pub path: PathBuf,
    /// Number of records.
    pub records: u32,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of the whole file, hexadecimal.
    pub sha256: String,
}

#[derive(Clone, Copy)]
pub(crate) struct Block {
    pub(crate) offset: u64,
    pub(crate) packed: u32,
    pub(crate) raw: u32,
    pub(crate) sha256: [u8; 32],
}

impl Block {
    pub(crate) fn encode(&self, out: &mut Encoder) {
        out.u64(self.offset);
        out.u32(self.packed);
        out.u32(self.raw);
        out.raw(&self.sha256);
    }
}

/// Place of one part: block of its stream, offset and length within.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    pub(crate) block: u32,
    pub(crate) offset: u32,
    pub(crate) length: u32,
}

#[derive(Default)]
pub(crate) struct Stream {
    /// What the next block will hold.
    pub(crate) pending: Vec<u8>,
    /// What is in the file.
    pub(crate) blocks: Vec<Block>,
}

/// Writes a file of records.
///
/// Records are read fastest in the order in which they were added, so add them in the order in which repositories
/// list packages: by file name.
pub struct RecordsWriter {
    path: PathBuf,
    partial: PathBuf,
    file: File,
    digest: Sha256,
    position: u64,
    options: FragmentOptions,
    streams: [Stream; STREAMS],
    parts: Vec<[Part; STREAMS]>,
    /// What checkpoints cover: with one record or more, an unsealed file is kept.
    covered: Covered,
    /// A block could not be written: what is in memory and what is in the file no longer fit.
    failed: bool,
    sealed: bool,
}

impl RecordsWriter {
    /// Starts a file with the default fragment options.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self, RecordsError> {
        Self::with_options(path, FragmentOptions::default())
    }

    /// Starts a file.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn with_options(path: impl Into<PathBuf>, options: FragmentOptions) -> Result<Self, RecordsError> {
        let path = path.into();
        let partial = partial_path(&path);
        let io = |source| RecordsError::Io { action: "create", path: path.clone(), source };
        let file = File::create(&partial).map_err(io)?;
        let mut writer = Self {
            path,
            partial,
            file,
            digest: Sha256::new(),
            position: 0,
            options,
            streams: Default::default(),
            parts: Vec::new(),
            covered: Covered::default(),
            failed: false,
            sealed: false,
        };
        let mut head = Encoder::default();
        head.raw(HEAD_MAGIC);
        head.u32(FORMAT_VERSION);
        head.u32(0);
        writer.put(head.bytes())?;
        Ok(writer)
    }

    /// Starts a file with the records of `prefix`, whose options must be the default ones: as if they had been added.
    /// Its first checkpoint covers them too.
    ///
    /// # Errors
    /// When it cannot be read, is damaged, or the file cannot be written; no file remains.
    pub fn resume(path: impl Into<PathBuf>, prefix: &Prefix<'_>) -> Result<Self, RecordsError> {
        let mut writer = Self::create(path)?;
        let streams = prefix.streams()?;
        let mut blocks: Vec<Block> = streams.iter().flat_map(|stream| &stream.blocks).copied().collect();
        blocks.sort_unstable_by_key(|block| block.offset);
        for block in &blocks {
            let packed = prefix.read(block)?;
            // Blocks lie side by side, so nothing of the file is left out.
            if block.offset != writer.position {
                return Err(prefix.damaged(format!("there is a gap before byte {}", block.offset)));
            }
            writer.put(&packed)?;
        }
        writer.streams = streams;
        writer.parts = prefix.parts();
        Ok(writer)
    }

    /// Returns the options with which [`RecordsWriter::add`] makes fragments.
    pub fn options(&self) -> FragmentOptions {
        self.options
    }

    /// Number of records so far.
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// Whether nothing was added yet.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Makes and adds the record of a package.
    ///
    /// # Errors
    /// When the package cannot stand in XML, or writing fails.
    pub fn add(&mut self, package: &Package, identity: &FileIdentity) -> Result<RecordId, RecordsError> {
        let record = Record::make(package, identity, &self.options)?;
        self.add_record(&record)
    }

    /// Adds a record that was made elsewhere, with the same options.
    ///
    /// # Errors
    /// When the record is too large or writing fails.
    pub fn add_record(&mut self, record: &Record) -> Result<RecordId, RecordsError> {
        let parts = [&record.facts, &record.primary, &record.filelists, &record.other];
        if parts.iter().any(|part| part.len() > MAX_PART) {
            return Err(RecordsError::TooLarge { path: self.path.clone(), what: "it is larger than 256 MiB" });
        }
        let too_many = || RecordsError::TooLarge { path: self.path.clone(), what: "there are 2^32 already" };
        let id = u32::try_from(self.parts.len()).map_err(|_| too_many())?;
        let mut places = [Part { block: 0, offset: 0, length: 0 }; STREAMS];
        for (stream, (place, part)) in places.iter_mut().zip(parts).enumerate() {
            // With an error between two parts, the first streams have a part that no record has.
            *place = self.add_part(stream, part).inspect_err(|_| self.failed = true)?;
        }
        self.parts.push(places);
        Ok(RecordId(id))
    }

    fn add_part(&mut self, stream: usize, part: &[u8]) -> Result<Part, RecordsError> {
        let pending = self.streams[stream].pending.len();
        if pending > 0 && pending + part.len() > BLOCK_SIZE {
            self.flush_block(stream)?;
        }
        let stream = &mut self.streams[stream];
        // Blocks are at most MAX_PART long and records fewer than 2^32, so these conversions lose nothing.
        let place =
            Part { block: stream.blocks.len() as u32, offset: stream.pending.len() as u32, length: part.len() as u32 };
        stream.pending.extend_from_slice(part);
        Ok(place)
    }

    fn flush_block(&mut self, stream: usize) -> Result<(), RecordsError> {
        let raw = std::mem::take(&mut self.streams[stream].pending);
        let io = |source| RecordsError::Io { action: "compress", path: self.path.clone(), source };
        let packed = zstd::bulk::compress(&raw, ZSTD_INTERNAL_LEVEL).map_err(io)?;
        let block = Block {
            offset: self.position,
            packed: packed.len() as u32,
            raw: raw.len() as u32,
            sha256: Sha256::digest(&packed).into(),
        };
        self.streams[stream].blocks.push(block);
        self.put(&packed)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), RecordsError> {
        let io = |source| RecordsError::Io { action: "write", path: self.partial.clone(), source };
        self.file.write_all(bytes).map_err(io)?;
        self.digest.update(bytes);
        self.position += bytes.len() as u64;
        Ok(())
    }

    /// Number of records that checkpoints cover.
    pub fn covered(&self) -> usize {
        self.covered.records
    }

    /// Seals a checkpoint: what a later writer needs to take over the records since the last one, whose files are
    /// `files`. From now on the unsealed file stays when this writer is dropped. See [`crate::checkpoint`].
    ///
    /// # Errors
    /// When writing fails, or failed before, or `files` are not as many as the records; the checkpoint then does not exist.
    pub fn checkpoint(&mut self, path: &Path, owner: &[u8; 32], files: &[KnownFile]) -> Result<u64, RecordsError> {
        if self.failed {
            return Err(RecordsError::Checkpoint {
                path: path.to_owned(),
                what: "its file of records could not be written".to_owned(),
            });
        }
        let parts = &self.parts[self.covered.records..];
        if parts.len() != files.len() {
            return Err(RecordsError::TooLarge { path: path.to_owned(), what: "files and records differ in number" });
        }
        // A checkpoint must not outlive, on a disk or for another host, the blocks that it names.
        let io = |source| RecordsError::Io { action: "flush", path: self.partial.clone(), source };
        self.file.sync_data().map_err(io)?;
        let size = checkpoint::write(path, owner, &self.covered, &self.streams, parts, files)?;
        let blocks = std::array::from_fn(|stream| self.streams[stream].blocks.len());
        self.covered = Covered { records: self.parts.len(), blocks };
        Ok(size)
    }

    /// Writes, in a file of its own, what finds all records by their package files, which are `files`: a checkpoint that
    /// leads to the sealed file. Nothing may be added afterwards.
    ///
    /// # Errors
    /// When writing fails, or failed before, or `files` are not as many as the records; the index then does not exist.
    pub fn write_index(&mut self, path: &Path, owner: &[u8; 32], files: &[KnownFile]) -> Result<u64, RecordsError> {
        if self.failed || self.parts.len() != files.len() {
            return Err(RecordsError::TooLarge { path: path.to_owned(), what: "files and records differ in number" });
        }
        self.flush_blocks()?;
        checkpoint::write(path, owner, &Covered::default(), &self.streams, &self.parts, files)
    }

    fn flush_blocks(&mut self) -> Result<(), RecordsError> {
        for stream in 0..STREAMS {
            if !self.streams[stream].pending.is_empty() {
                self.flush_block(stream).inspect_err(|_| self.failed = true)?;
            }
        }
        Ok(())
    }

    /// Writes index and footer, flushes to disk and gives the file its name.
    ///
    /// # Errors
    /// When writing fails; the file then does not exist under its name.
    pub fn seal(self) -> Result<SealedRecords, RecordsError> {
        self.finish(true)
    }

    /// The same without flushing, for a file that nobody needs after a crash. On a busy volume a flush takes as long as
    /// whatever others have written.
    ///
    /// # Errors
    /// Those of [`RecordsWriter::seal`].
    pub fn seal_for_now(self) -> Result<SealedRecords, RecordsError> {
        self.finish(false)
    }

    fn finish(mut self, flush: bool) -> Result<SealedRecords, RecordsError> {
        self.flush_blocks()?;
        let index = self.index();
        let offset = self.position;
        self.put(&index)?;
        let footer = footer(offset, &index, self.parts.len() as u32, FORMAT_VERSION);
        self.put(&footer)?;
        let io = |source| RecordsError::Io { action: "seal", path: self.path.clone(), source };
        if flush {
            self.file.sync_all().map_err(io)?;
        }
        tutti_files::rename(&self.partial, &self.path).map_err(io)?;
        self.sealed = true;
        Ok(SealedRecords {
            path: self.path.clone(),
            records: self.parts.len() as u32,
            size: self.position,
            sha256: to_hex(&std::mem::take(&mut self.digest).finalize()),
        })
    }

    fn index(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        for stream in &self.streams {
            out.length(stream.blocks.len());
            stream.blocks.iter().for_each(|block| block.encode(&mut out));
        }
        for parts in &self.parts {
            for part in parts {
                out.u32(part.block);
                out.u32(part.offset);
                out.u32(part.length);
            }
        }
        out.into_bytes()
    }
}

impl Drop for RecordsWriter {
    fn drop(&mut self) {
        if !self.sealed && self.covered.records == 0 {
            // Nothing can be done about a failure here; a stale partial file is overwritten by the next writer.
            let _ = fs::remove_file(&self.partial);
        }
    }
}

/// Footer: index offset, index length, number of records, version, SHA-256 of the index, of the fields before, magic.
pub(crate) fn footer(offset: u64, index: &[u8], records: u32, version: u32) -> Vec<u8> {
    let mut out = Encoder::default();
    out.u64(offset);
    out.u64(index.len() as u64);
    out.u32(records);
    out.u32(version);
    out.raw(&Sha256::digest(index));
    let fields: [u8; 32] = Sha256::digest(out.bytes()).into();
    out.raw(&fields[..16]);
    out.raw(FOOTER_MAGIC);
    out.into_bytes()
}

/// The name of a file until it is sealed.
pub(crate) fn partial_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".partial");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::ChecksumType;

    /// A disk that is full when a block is to be written, in whichever stream.
    #[test]
    fn r15_a_writer_that_failed_seals_no_checkpoint() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = RecordsWriter::create(directory.path().join("records")).unwrap();
        let good = std::mem::replace(&mut writer.file, File::options().write(true).open("/dev/full").unwrap());
        let package = Package { description: "text ".repeat(1000), ..Package::default() };
        let identity = FileIdentity { size: 1, mtime: 1, checksum: ChecksumType::Sha256.hash(b"") };
        let mut added = 0;
        let error = loop {
            match writer.add(&package, &identity) {
                Ok(_) => added += 1,
                Err(error) => break error,
            }
        };
        assert!(added > 1 && matches!(error, RecordsError::Io { .. }), "{added} records, {error}");
        // There is space again, and the checkpoint itself could be written.
        writer.file = good;
        let path = directory.path().join("checkpoint");
        let refused = writer.checkpoint(&path, &[0; 32], &[]).unwrap_err();
        assert!(refused.to_string().contains("could not be written"), "{refused}");
        assert!(!path.exists());
        drop(writer);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "nothing remains");
    }
}
