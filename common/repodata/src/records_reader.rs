//! Reading a sealed file of package records, by positioned reads and without trust in what it holds.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};
use tutti_rpm::Package;

use crate::codec::{DecodeError, Decoder};
use crate::compression::{Compression, Unpacker};
use crate::fragment::{
    CHANGELOG_START, Fill, Fragment, Fragments, MetadataFile, has_digests, render_encoded, without_digests,
};
use crate::frames::StoredFrame;
use crate::record::{FileIdentity, Wanted, decode_facts, decode_wanted};
use crate::records::{Block, Part, RecordId, RecordsError};
use crate::records::{FOOTER_MAGIC, FOOTER_SIZE, FORMAT_VERSION, HEAD_MAGIC, HEAD_SIZE, MAX_PART, STREAMS};
use crate::writer::Entry;

/// Decompressed blocks kept per stream: 8 MiB of usual blocks.
const CACHED_BLOCKS: usize = 64;
/// Largest index, in bytes: 48 bytes a record, so some 20 million records.
const MAX_INDEX: u64 = 1 << 30;

/// Where a writer of metadata gets packages' fragments from.
pub trait FragmentSource: Sync {
    /// Appends one package's text for one file, with its holes filled.
    ///
    /// # Errors
    /// When there is no such record or it cannot be read.
    fn render(&self, id: RecordId, file: MetadataFile, fill: &Fill<'_>, out: &mut Vec<u8>) -> Result<(), RecordsError>;

    /// Returns a frame of an earlier file that has exactly these packages in this order, if there is one of this maker.
    ///
    /// # Errors
    /// When it cannot be read.
    fn frame(&self, file: MetadataFile, entries: &[&Entry], maker: &str) -> Result<Option<StoredFrame>, RecordsError> {
        let _ = (file, entries, maker);
        Ok(None)
    }

    /// Returns what one file says of a package, for its database; the rest is empty. Changelogs are those of the text.
    ///
    /// # Errors
    /// When there is no such record, it cannot be read, or there is nothing but texts.
    fn package(&self, id: RecordId, file: MetadataFile) -> Result<Package, RecordsError> {
        let _ = file;
        Err(RecordsError::Damaged { path: PathBuf::from("(texts)"), what: format!("record {} has no facts", id.0) })
    }
}

/// Fragments in memory, numbered by their place.
impl FragmentSource for Vec<Fragments> {
    fn render(&self, id: RecordId, file: MetadataFile, fill: &Fill<'_>, out: &mut Vec<u8>) -> Result<(), RecordsError> {
        let no_record = || RecordsError::NoRecord { path: PathBuf::from("(memory)"), id, len: self.len() as u32 };
        let start = out.len();
        self.get(id.0 as usize).ok_or_else(no_record)?.get(file).render(fill, out);
        settle_digests(file, out, start)
            .map_err(|error| RecordsError::Damaged { path: PathBuf::from("(memory)"), what: error.0.to_owned() })
    }
}

/// Blocks last used, newest last.
type BlockCache = Mutex<VecDeque<(u32, Arc<Vec<u8>>)>>;

/// A sealed file of records, open for reading; can be shared by threads.
pub struct RecordsReader {
    path: PathBuf,
    file: File,
    blocks: [Vec<Block>; STREAMS],
    parts: Vec<[Part; STREAMS]>,
    unpacker: Unpacker,
    caches: [BlockCache; STREAMS],
}

impl RecordsReader {
    /// Opens a file and checks head, footer and index. Blocks are checked when they are read.
    ///
    /// # Errors
    /// When the file cannot be read or is not a whole sealed file.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, RecordsError> {
        let path = path.into();
        let io = |source| RecordsError::Io { action: "open", path: path.clone(), source };
        let file = File::open(&path).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        let damaged = |what: &str| RecordsError::Damaged { path: path.clone(), what: what.to_owned() };
        if size < HEAD_SIZE + FOOTER_SIZE {
            return Err(damaged("it is too short"));
        }
        let head = read_at(&file, 0, HEAD_SIZE).map_err(io)?;
        let footer = read_at(&file, size - FOOTER_SIZE, FOOTER_SIZE).map_err(io)?;
        let (index, records) = check_ends(&RECORDS, &head, &footer, size).map_err(|error| damaged(error.0))?;
        let bytes = read_at(&file, index.offset, index.length).map_err(io)?;
        if Sha256::digest(&bytes)[..] != *index.sha256 {
            return Err(damaged("the checksum of its index does not match"));
        }
        let (blocks, parts) = decode_index(&bytes, records, index.offset).map_err(|error| damaged(error.0))?;
        let unpacker = Unpacker::new(Compression::Zstd);
        Ok(Self { path, file, blocks, parts, unpacker, caches: Default::default() })
    }

    /// Returns the path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Returns the numbers of all records.
    pub fn ids(&self) -> impl Iterator<Item = RecordId> + use<> {
        (0..self.parts.len() as u32).map(RecordId)
    }

    /// Reads the three fragments of a record.
    ///
    /// # Errors
    /// When there is no such record or its blocks are damaged.
    pub fn fragments(&self, id: RecordId) -> Result<Fragments, RecordsError> {
        let fragment = |file: MetadataFile| self.with_part(id, stream_of(file), Fragment::decode);
        Ok(Fragments {
            primary: fragment(MetadataFile::Primary)?,
            filelists: fragment(MetadataFile::Filelists)?,
            other: fragment(MetadataFile::Other)?,
        })
    }

    /// Reads identity and facts of a record.
    ///
    /// # Errors
    /// When there is no such record or its blocks are damaged.
    pub fn facts(&self, id: RecordId) -> Result<(FileIdentity, Package), RecordsError> {
        self.with_part(id, 0, decode_facts)
    }

    /// Reads what a solver asks for: the facts without texts, changelogs, and dependencies but provides and requires.
    ///
    /// # Errors
    /// When there is no such record or its blocks are damaged.
    pub fn solvable(&self, id: RecordId) -> Result<Package, RecordsError> {
        self.with_part(id, 0, |bytes| decode_wanted(bytes, Wanted::SOLVABLE)).map(|(_, package)| package)
    }

    fn with_part<T>(
        &self,
        id: RecordId,
        stream: usize,
        decode: impl FnOnce(&[u8]) -> Result<T, DecodeError>,
    ) -> Result<T, RecordsError> {
        let no_record = || RecordsError::NoRecord { path: self.path.clone(), id, len: self.parts.len() as u32 };
        let part = self.parts.get(id.0 as usize).ok_or_else(no_record)?[stream];
        let block = self.block(stream, part.block)?;
        let (start, length) = (part.offset as usize, part.length as usize);
        // `decode_index` made sure that parts lie within their blocks.
        let bytes = block.get(start..start + length).unwrap_or_default();
        decode(bytes).map_err(|error| self.damaged(format!("record {}: {error}", id.0)))
    }

    fn damaged(&self, what: String) -> RecordsError {
        RecordsError::Damaged { path: self.path.clone(), what }
    }

    fn block(&self, stream: usize, number: u32) -> Result<Arc<Vec<u8>>, RecordsError> {
        {
            let cache = self.caches[stream].lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, block)) = cache.iter().rev().find(|(cached, _)| *cached == number) {
                return Ok(Arc::clone(block));
            }
        }
        let block = Arc::new(self.read_block(stream, number)?);
        let mut cache = self.caches[stream].lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= CACHED_BLOCKS {
            cache.pop_front();
        }
        cache.push_back((number, Arc::clone(&block)));
        Ok(block)
    }

    fn read_block(&self, stream: usize, number: u32) -> Result<Vec<u8>, RecordsError> {
        let block = self.blocks[stream][number as usize];
        let io = |source| RecordsError::Io { action: "read", path: self.path.clone(), source };
        let packed = read_at(&self.file, block.offset, u64::from(block.packed)).map_err(io)?;
        unpack(&self.unpacker, &block, &packed).map_err(|what| self.damaged(what))
    }
}

/// The bytes of a block, if they are those that the index knows.
pub(crate) fn unpack(unpacker: &Unpacker, block: &Block, packed: &[u8]) -> Result<Vec<u8>, String> {
    if Sha256::digest(packed)[..] != block.sha256 {
        return Err(format!("the checksum of the block at byte {} does not match", block.offset));
    }
    let raw = unpacker.unpack(packed, block.raw as usize);
    raw.map_err(|error| format!("the block at byte {}: {error}", block.offset))
}

impl FragmentSource for RecordsReader {
    fn render(&self, id: RecordId, file: MetadataFile, fill: &Fill<'_>, out: &mut Vec<u8>) -> Result<(), RecordsError> {
        self.with_part(id, stream_of(file), |bytes| {
            let start = out.len();
            render_encoded(bytes, fill, out)?;
            settle_digests(file, out, start)
        })
    }

    fn package(&self, id: RecordId, file: MetadataFile) -> Result<Package, RecordsError> {
        let (_, mut package) = self.with_part(id, 0, |bytes| decode_wanted(bytes, Wanted::by(file)))?;
        if file == MetadataFile::Other {
            let is_start = |part: &&[u8]| *part == CHANGELOG_START;
            let count = |bytes: &[u8]| Ok(bytes.windows(CHANGELOG_START.len()).filter(is_start).count());
            package.changelogs.truncate(self.with_part(id, stream_of(file), count)?);
        }
        Ok(package)
    }
}

/// Takes digests of files out of filelists, and makes sure that `filelists-ext` has them.
fn settle_digests(file: MetadataFile, out: &mut Vec<u8>, start: usize) -> Result<(), DecodeError> {
    match file {
        MetadataFile::Primary | MetadataFile::Other => Ok(()),
        MetadataFile::Filelists => {
            without_digests(out, start);
            Ok(())
        }
        MetadataFile::FilelistsExt if has_digests(&out[start..]) => Ok(()),
        MetadataFile::FilelistsExt => Err(DecodeError("it has no digests of files")),
    }
}

fn stream_of(file: MetadataFile) -> usize {
    match file {
        MetadataFile::Primary => 1,
        MetadataFile::Filelists | MetadataFile::FilelistsExt => 2,
        MetadataFile::Other => 3,
    }
}

pub(crate) fn read_at(file: &File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let length = usize::try_from(length).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

pub(crate) struct IndexPlace<'a> {
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) sha256: &'a [u8],
}

/// What tells one kind of sealed file from another.
pub(crate) struct Format {
    pub(crate) magic: &'static [u8; 8],
    pub(crate) version: u32,
    pub(crate) max_index: u64,
}

const RECORDS: Format = Format { magic: HEAD_MAGIC, version: FORMAT_VERSION, max_index: MAX_INDEX };

/// What is said of a file of another version.
pub(crate) const UNKNOWN_VERSION: &str = "it has an unknown version";

/// Whether a footer is whole.
fn is_footer(footer: &[u8]) -> bool {
    let sum = Sha256::digest(footer.get(..56).unwrap_or_default());
    footer.get(56..72) == Some(&sum[..16]) && footer.get(72..80) == Some(&FOOTER_MAGIC[..])
}

pub(crate) fn check_ends<'a>(
    format: &Format,
    head: &[u8],
    footer: &'a [u8],
    size: u64,
) -> Result<(IndexPlace<'a>, u32), DecodeError> {
    let mut head = Decoder::new(head);
    if head.raw(8)? != format.magic {
        return Err(DecodeError("it is no such file"));
    }
    if head.u32()? != format.version {
        // A footer that is whole, and of this version, says that the head is damaged.
        let own = footer.get(20..24) == Some(&format.version.to_le_bytes()) && is_footer(footer);
        return Err(DecodeError(if own { "its head is damaged" } else { UNKNOWN_VERSION }));
    }
    if head.u32()? != 0 {
        return Err(DecodeError("its head has unknown flags"));
    }
    if !is_footer(footer) {
        return Err(DecodeError("its footer is missing or damaged (it was never sealed, or was cut)"));
    }
    let mut footer = Decoder::new(footer);
    let (offset, length, records) = (footer.u64()?, footer.u64()?, footer.u32()?);
    let version = footer.u32()?;
    let sha256 = footer.raw(32)?;
    if version != format.version {
        return Err(DecodeError(UNKNOWN_VERSION));
    }
    let end = offset.checked_add(length);
    if offset < HEAD_SIZE || length > format.max_index || end != Some(size - FOOTER_SIZE) {
        return Err(DecodeError("its index lies outside of the file"));
    }
    Ok((IndexPlace { offset, length, sha256 }, records))
}

type Index = ([Vec<Block>; STREAMS], Vec<[Part; STREAMS]>);

/// Decodes the index and checks that each block lies before it and each part within its block.
fn decode_index(bytes: &[u8], records: u32, end: u64) -> Result<Index, DecodeError> {
    let mut input = Decoder::new(bytes);
    let mut blocks: [Vec<Block>; STREAMS] = Default::default();
    for list in &mut blocks {
        for _ in 0..input.count(48)? {
            list.push(decode_block(&mut input, end)?);
        }
    }
    if input.rest().len() != records as usize * 12 * STREAMS {
        return Err(DecodeError("its index has another number of records"));
    }
    let mut parts = Vec::with_capacity(records as usize);
    for _ in 0..records {
        let mut places = [Part { block: 0, offset: 0, length: 0 }; STREAMS];
        for (place, list) in places.iter_mut().zip(&blocks) {
            *place = decode_part(&mut input, |number| list.get(number))?;
        }
        parts.push(places);
    }
    Ok((blocks, parts))
}

/// Decodes the place of a part, which must lie within its block.
pub(crate) fn decode_part<'a>(
    input: &mut Decoder<'_>,
    block: impl FnOnce(usize) -> Option<&'a Block>,
) -> Result<Part, DecodeError> {
    let part = Part { block: input.u32()?, offset: input.u32()?, length: input.u32()? };
    let block = block(part.block as usize).ok_or(DecodeError("a record names an unknown block"))?;
    if u64::from(part.offset) + u64::from(part.length) > u64::from(block.raw) {
        return Err(DecodeError("a record lies outside of its block"));
    }
    Ok(part)
}

/// Decodes a block, which must lie between the head and `end`.
pub(crate) fn decode_block(input: &mut Decoder<'_>, end: u64) -> Result<Block, DecodeError> {
    let (offset, packed, raw) = (input.u64()?, input.u32()?, input.u32()?);
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(input.raw(32)?);
    let fits = offset >= HEAD_SIZE && offset.checked_add(u64::from(packed)).is_some_and(|last| last <= end);
    // zstd makes nothing longer than this, even of noise; a sparse file could else ask for 4 GiB.
    let longest = u64::from(raw) + u64::from(raw) / 256 + 128;
    if !fits || raw as usize > MAX_PART || u64::from(packed) > longest {
        return Err(DecodeError("a block lies outside of the file or is too large"));
    }
    Ok(Block { offset, packed, raw, sha256 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::ChecksumType;
    use crate::records::RecordsWriter;
    use std::fs;

    fn package(number: u32) -> Package {
        Package { name: format!("p{number}"), description: format!("{number} ").repeat(400), ..Package::default() }
    }

    fn identity(number: u32) -> FileIdentity {
        let checksum = ChecksumType::Sha256.hash(&number.to_le_bytes());
        FileIdentity { size: u64::from(number), mtime: 7, checksum }
    }

    fn sealed(directory: &Path, records: u32) -> PathBuf {
        let path = directory.join("records");
        let mut writer = RecordsWriter::create(&path).unwrap();
        for number in 0..records {
            assert_eq!(writer.add(&package(number), &identity(number)).unwrap(), RecordId(number));
        }
        let sealed = writer.seal().unwrap();
        let (checksum, size) = ChecksumType::Sha256.hash_file(&path).unwrap();
        assert_eq!((checksum.hex(), size), (sealed.sha256.as_str(), sealed.size));
        path
    }

    #[test]
    fn records_come_back_from_many_blocks_in_any_order() {
        let directory = tempfile::tempdir().unwrap();
        let reader = RecordsReader::open(sealed(directory.path(), 500)).unwrap();
        assert_eq!(reader.len(), 500);
        assert!(reader.blocks[0].len() > 3, "several blocks");
        for id in reader.ids().collect::<Vec<_>>().into_iter().rev() {
            assert_eq!(reader.facts(id).unwrap(), (identity(id.0), package(id.0)));
            let expected = Fragments::make(&package(id.0), &Default::default()).unwrap();
            assert_eq!(reader.fragments(id).unwrap(), expected);
        }
        assert!(matches!(reader.facts(RecordId(500)), Err(RecordsError::NoRecord { .. })));
    }

    #[test]
    fn threads_share_a_reader() {
        let directory = tempfile::tempdir().unwrap();
        let reader = RecordsReader::open(sealed(directory.path(), 300)).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| reader.ids().for_each(|id| assert_eq!(reader.facts(id).unwrap().0, identity(id.0))));
            }
        });
    }

    #[test]
    fn unsealed_files_leave_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = RecordsWriter::create(directory.path().join("records")).unwrap();
        writer.add(&package(1), &identity(1)).unwrap();
        drop(writer);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn empty_file_of_records() {
        let directory = tempfile::tempdir().unwrap();
        assert!(RecordsReader::open(sealed(directory.path(), 0)).unwrap().is_empty());
    }

    /// Each released version of the format must still load. `TUTTI_WRITE_SAMPLES=1` writes the sample of a new one.
    #[test]
    fn samples_of_all_versions_load() {
        let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/records-v1");
        if std::env::var_os("TUTTI_WRITE_SAMPLES").is_some() {
            let directory = tempfile::tempdir().unwrap();
            fs::copy(sealed(directory.path(), 3), &sample).unwrap();
        }
        let reader = RecordsReader::open(sample).unwrap();
        assert_eq!(reader.len(), 3);
        for id in reader.ids() {
            assert_eq!(reader.facts(id).unwrap(), (identity(id.0), package(id.0)));
            let expected = Fragments::make(&package(id.0), &Default::default()).unwrap();
            assert_eq!(reader.fragments(id).unwrap(), expected);
        }
    }

    /// Every byte of the file is covered: each flip and each cut is an error at opening or at reading.
    #[test]
    fn torn_and_flipped_files_are_errors() {
        let directory = tempfile::tempdir().unwrap();
        let path = sealed(directory.path(), 3);
        let good = fs::read(&path).unwrap();
        let read_all = || -> Result<(), RecordsError> {
            let reader = RecordsReader::open(&path)?;
            for id in reader.ids() {
                reader.facts(id)?;
                reader.fragments(id)?;
            }
            Ok(())
        };
        read_all().unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x41;
            fs::write(&path, &bad).unwrap();
            let error = read_all().expect_err("a flipped byte");
            assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        }
        for length in (0..good.len()).step_by(7) {
            fs::write(&path, &good[..length]).unwrap();
            assert!(read_all().is_err(), "cut to {length}");
        }
    }
}
