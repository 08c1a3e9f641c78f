//! Checkpoints of a file of records that is being written: what lets a later writer take over what an earlier one read.
//!
//! A [`crate::RecordsWriter`] appends blocks, and knows only in memory where each record is until it is sealed. A
//! checkpoint is that knowledge for the records since the last one, sealed in a small file beside it: for each record
//! the locator of its package file, and the places of its parts in blocks of the unsealed file. Parts whose block is
//! not full yet, and thus not written, stand in the checkpoint itself. So nothing is compressed twice but these, blocks
//! are those of an undisturbed run, and each checkpoint is of use without the others.
//!
//! Layout, little-endian: a 16-byte head; blocks not yet in the unsealed file; the index; the footer of
//! [`crate::records`]. Index: owner (32 bytes), number of the first record, for each stream the number of its first
//! block and its blocks (whether here, place, SHA-256), for each record its file and its parts. An owner is whoever may
//! use the records: a job's key.
//!
//! Checkpoints that follow each other from the first record on are more: all that their writer knew. Who adds the same
//! records in the same order writes the same blocks, so it takes over the file's beginning as it is ([`Prefix`]).
//!
//! Readers trust nothing: index and blocks have checksums, all places are checked, memory is bounded. What is wrong is
//! an error for the caller to note; the package is then read again. Of a beginning that is taken over as it is, only
//! the heads of facts are decoded: all else is believed by the checksums of its blocks.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};
use tutti_rpm::Package;

use crate::checksum::{Checksum, ChecksumType, to_hex};
use crate::codec::{DecodeError, Decoder, Encoder};
use crate::compression::{Compression, Unpacker};
use crate::fragment::Fragment;
use crate::record::{FileIdentity, Record, Wanted, decode_facts, decode_wanted};
use crate::records::{
    Block, FOOTER_SIZE, HEAD_SIZE, MAX_PART, Part, RecordsError, STREAMS, Stream, footer, partial_path,
};
use crate::records_reader::{Format, UNKNOWN_VERSION, check_ends, decode_block, decode_part, read_at, unpack};

const MAGIC: &[u8; 8] = b"TUTTICKP";
/// Version of the layout; raised with each change of it, also of the records' own.
const VERSION: u32 = 2;
/// Largest index, in bytes: some 300 bytes a record, and one may cover all of a package set.
const MAX_INDEX: u64 = 256 << 20;
const FORMAT: Format = Format { magic: MAGIC, version: VERSION, max_index: MAX_INDEX };
/// Most bytes that all checkpoints together may keep in memory.
const MAX_KEPT: u64 = 1 << 30;
/// Blocks in memory, in bytes: readers take records in about the order in which they were written.
const CACHED: usize = 32 << 20;
/// zstd's fastest usual level: these blocks are written once more when they are full.
const TAIL_LEVEL: i32 = 1;
/// Smallest entry of the index: its fixed fields.
const SMALLEST_ENTRY: usize = 4 + 8 + 8 + 4 + 8 + 32 + 8 + 4 + 12 * STREAMS;

/// What finds the record of a file without opening it. Not the ctime, which every hard link changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FileLocator {
    /// Name that all hosts have for it.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// Modification time: seconds since 1970 and nanoseconds.
    pub mtime: (i64, u32),
    /// Inode.
    pub inode: u64,
}

/// A locator in short: SHA-256 of its parts, the first 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LocatorId(pub [u8; 16]);

impl FileLocator {
    /// Its short form: the same on all hosts.
    #[must_use]
    pub fn id(&self) -> LocatorId {
        let mut out = Encoder::default();
        self.encode(&mut out);
        let mut id = [0; 16];
        id.copy_from_slice(&Sha256::digest(out.bytes())[..16]);
        LocatorId(id)
    }

    fn encode(&self, out: &mut Encoder) {
        out.text(&self.path);
        out.u64(self.size);
        out.raw(&self.mtime.0.to_le_bytes());
        out.u32(self.mtime.1);
        out.u64(self.inode);
    }
}

/// Not 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not 32 hexadecimal digits")]
pub struct NoLocatorId;

impl FromStr for LocatorId {
    type Err = NoLocatorId;

    fn from_str(text: &str) -> Result<Self, NoLocatorId> {
        let mut id = [0; 16];
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NoLocatorId);
        }
        for (byte, place) in id.iter_mut().zip((0..).step_by(2)) {
            let digits = text.get(place..place + 2).ok_or(NoLocatorId)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| NoLocatorId)?;
        }
        Ok(Self(id))
    }
}

impl fmt::Display for LocatorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_hex(&self.0))
    }
}

/// What was learnt of a file besides its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownFile {
    /// Where it was, and how it looked before it was read.
    pub locator: FileLocator,
    /// SHA-256 of the main header, and the payload's length.
    pub content: ([u8; 32], u64),
    /// Its checksums, of the record's type first.
    pub sums: Vec<Checksum>,
}

/// What the checkpoints before cover: records, and blocks of each stream that are in the file.
#[derive(Clone, Copy, Default)]
pub(crate) struct Covered {
    pub(crate) records: usize,
    pub(crate) blocks: [usize; STREAMS],
}

/// Writes one checkpoint: whole under its name, or not at all.
pub(crate) fn write(
    path: &Path,
    owner: &[u8; 32],
    since: &Covered,
    streams: &[Stream; STREAMS],
    parts: &[[Part; STREAMS]],
    files: &[KnownFile],
) -> Result<u64, RecordsError> {
    let partial = partial_path(path);
    let bytes = encode(owner, since, streams, parts, files).map_err(|source| RecordsError::Io {
        action: "compress",
        path: path.to_owned(),
        source,
    })?;
    // What no reader would take is not written.
    if bytes.len() as u64 > MAX_INDEX {
        return Err(RecordsError::TooLarge { path: path.to_owned(), what: "a checkpoint is larger than 256 MiB" });
    }
    let written = || -> io::Result<()> {
        let mut file = File::create(&partial)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        tutti_files::rename(&partial, path)
    };
    written().map_err(|source| {
        let _ = fs::remove_file(&partial);
        RecordsError::Io { action: "seal", path: path.to_owned(), source }
    })?;
    Ok(bytes.len() as u64)
}

fn encode(
    owner: &[u8; 32],
    since: &Covered,
    streams: &[Stream; STREAMS],
    parts: &[[Part; STREAMS]],
    files: &[KnownFile],
) -> io::Result<Vec<u8>> {
    let mut out = Encoder::default();
    out.raw(MAGIC);
    out.u32(VERSION);
    out.u32(0);
    let mut index = Encoder::default();
    index.raw(owner);
    index.length(since.records);
    // Records lie in their order: none is in a block that was full when the last checkpoint was made.
    for (stream, first) in streams.iter().zip(since.blocks) {
        let full = stream.blocks.get(first..).unwrap_or_default();
        index.length(first);
        index.length(full.len() + usize::from(!stream.pending.is_empty()));
        for block in full {
            index.u8(0);
            block.encode(&mut index);
        }
        if !stream.pending.is_empty() {
            let packed = zstd::bulk::compress(&stream.pending, TAIL_LEVEL)?;
            index.u8(1);
            let sha256 = Sha256::digest(&packed).into();
            let (offset, packed_length) = (out.bytes().len() as u64, packed.len() as u32);
            Block { offset, packed: packed_length, raw: stream.pending.len() as u32, sha256 }.encode(&mut index);
            out.raw(&packed);
        }
    }
    for (parts, file) in parts.iter().zip(files) {
        encode_file(&mut index, file);
        for (part, first) in parts.iter().zip(since.blocks) {
            index.u32(part.block - first as u32);
            index.u32(part.offset);
            index.u32(part.length);
        }
    }
    let place = out.bytes().len() as u64;
    out.raw(index.bytes());
    out.raw(&footer(place, index.bytes(), parts.len() as u32, VERSION));
    Ok(out.into_bytes())
}

fn encode_file(out: &mut Encoder, file: &KnownFile) {
    let KnownFile { locator, content: (header, payload), sums } = file;
    locator.encode(out);
    out.raw(header);
    out.u64(*payload);
    out.length(sums.len());
    for sum in sums {
        out.text(sum.kind().name());
        out.text(sum.hex());
    }
}

fn decode_file(input: &mut Decoder<'_>) -> Result<KnownFile, DecodeError> {
    let path = input.text()?;
    let size = input.u64()?;
    let mtime = (input.u64()?.cast_signed(), input.u32()?);
    let inode = input.u64()?;
    let mut header = [0; 32];
    header.copy_from_slice(input.raw(32)?);
    let payload = input.u64()?;
    let sums = (0..input.count(8)?).map(|_| decode_sum(input)).collect::<Result<_, _>>()?;
    Ok(KnownFile { locator: FileLocator { path, size, mtime, inode }, content: (header, payload), sums })
}

fn decode_sum(input: &mut Decoder<'_>) -> Result<Checksum, DecodeError> {
    let kind: ChecksumType = input.text()?.parse().map_err(|_| DecodeError("unknown checksum type"))?;
    Checksum::new(kind, &input.text()?).map_err(|_| DecodeError("bad checksum digits"))
}

/// A block and, if it stands in the checkpoint, its bytes.
struct Place {
    block: Block,
    own: Option<Vec<u8>>,
}

struct Segment {
    path: PathBuf,
    data: Arc<File>,
    /// Number of its first record.
    first: u32,
    /// Number of the first block of each stream.
    first_blocks: [u32; STREAMS],
    places: [Vec<Place>; STREAMS],
    records: Vec<(KnownFile, [Part; STREAMS])>,
}

/// Where a record is among checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    segment: u32,
    record: u32,
}

/// The beginning of a file of records: what an earlier writer knew at one of its checkpoints.
///
/// With it, [`crate::RecordsWriter::resume`] goes on as that writer would have, without compressing anything again.
pub struct Prefix<'a> {
    /// Number of the first segment.
    first: u32,
    chain: Vec<&'a Segment>,
    records: usize,
}

impl<'a> Prefix<'a> {
    /// Number of records: 1 or more.
    #[expect(clippy::len_without_is_empty, reason = "an empty prefix is none")]
    pub fn len(&self) -> usize {
        self.records
    }

    /// The records' places among the checkpoints, and what is known of their files, in order.
    pub fn files(&self) -> impl Iterator<Item = (Taken, &'a KnownFile)> + use<'_, 'a> {
        self.chain
            .iter()
            .zip(self.first..)
            .flat_map(|(segment, number)| {
                let file = move |(record, file): (usize, &'a (KnownFile, _))| {
                    (Taken { segment: number, record: record as u32 }, &file.0)
                };
                segment.records.iter().enumerate().map(file)
            })
            .take(self.records)
    }

    /// Reads a block as it is in the file.
    ///
    /// # Errors
    /// When it cannot be read or has another checksum.
    pub(crate) fn read(&self, block: &Block) -> Result<Vec<u8>, RecordsError> {
        let data = self.chain.first().map(|segment| &segment.data);
        let data = data.ok_or_else(|| self.damaged("it is empty".to_owned()))?;
        let io = |source| RecordsError::Io { action: "take over", path: self.path(), source };
        let packed = read_at(data, block.offset, u64::from(block.packed)).map_err(io)?;
        if Sha256::digest(&packed)[..] == block.sha256 {
            Ok(packed)
        } else {
            Err(self.damaged(format!("the checksum of the block at byte {} does not match", block.offset)))
        }
    }

    fn path(&self) -> PathBuf {
        self.chain.last().map(|segment| segment.path.clone()).unwrap_or_default()
    }

    pub(crate) fn damaged(&self, what: String) -> RecordsError {
        RecordsError::Checkpoint { path: self.path(), what }
    }

    /// Places of all records, by blocks of the whole file.
    pub(crate) fn parts(&self) -> Vec<[Part; STREAMS]> {
        let mut all = Vec::with_capacity(self.records);
        for segment in &self.chain {
            all.extend(segment.records.iter().map(|(_, parts)| {
                let mut parts = *parts;
                parts.iter_mut().zip(segment.first_blocks).for_each(|(part, first)| part.block += first);
                parts
            }));
        }
        all.truncate(self.records);
        all
    }

    /// The streams as they were when the last record had been added: blocks in the file, and what was not in a block
    /// yet. That may have become a block since, with more records.
    ///
    /// # Errors
    /// When that cannot be read or unpacked.
    pub(crate) fn streams(&self) -> Result<[Stream; STREAMS], RecordsError> {
        let mut streams: [Stream; STREAMS] = Default::default();
        let unpacker = Unpacker::new(Compression::Zstd);
        let Some((last, before)) = self.chain.split_last() else { return Ok(streams) };
        let in_last = self.records - before.iter().map(|segment| segment.records.len()).sum::<usize>();
        let Some((_, parts)) = in_last.checked_sub(1).and_then(|number| last.records.get(number)) else {
            return Ok(streams);
        };
        for ((number, stream), part) in streams.iter_mut().enumerate().zip(parts) {
            let full = |segment: &'a Segment| {
                segment.places[number].iter().filter(|place| place.own.is_none()).map(|place| place.block)
            };
            stream.blocks = before.iter().copied().flat_map(full).collect();
            stream.blocks.extend(full(last).take(part.block as usize));
            let unknown = || self.damaged("a record names an unknown block".to_owned());
            let place = last.places[number].get(part.block as usize).ok_or_else(unknown)?;
            let unpacked = match &place.own {
                Some(packed) => unpack(&unpacker, &place.block, packed),
                None => unpack(&unpacker, &place.block, &self.read(&place.block)?),
            };
            stream.pending = unpacked.map_err(|what| self.damaged(what))?;
            stream.pending.truncate((part.offset + part.length) as usize);
        }
        Ok(streams)
    }
}

/// Segment, stream, block; newest last.
type BlockCache = VecDeque<((u32, usize, u32), Arc<Vec<u8>>)>;

/// The records of any number of checkpoints of one owner; can be shared by threads.
pub struct Checkpoints {
    owner: [u8; 32],
    segments: Vec<Segment>,
    by_locator: HashMap<LocatorId, Taken>,
    kept: u64,
    unpacker: Unpacker,
    cache: Mutex<BlockCache>,
}

impl Checkpoints {
    /// None yet.
    pub fn new(owner: [u8; 32]) -> Self {
        let unpacker = Unpacker::new(Compression::Zstd);
        Self { owner, segments: Vec::new(), by_locator: HashMap::new(), kept: 0, unpacker, cache: Mutex::default() }
    }

    /// Number of files that are known.
    pub fn len(&self) -> usize {
        self.by_locator.len()
    }

    /// Whether no file is known.
    pub fn is_empty(&self) -> bool {
        self.by_locator.is_empty()
    }

    /// Adds a checkpoint, open as `file`, of the unsealed (or sealed) file of records that is open as `data`. Of two
    /// records of one file the first added counts. Returns how many records it has. `path` is for messages.
    ///
    /// # Errors
    /// When it cannot be read, is damaged, belongs to another owner, or is too large.
    pub fn add(&mut self, path: &Path, file: &File, data: &Arc<File>) -> Result<usize, RecordsError> {
        let io = |source| RecordsError::Io { action: "open", path: path.to_owned(), source };
        let damaged = |error: DecodeError| match error.0 {
            UNKNOWN_VERSION => RecordsError::Version { path: path.to_owned() },
            what => RecordsError::Checkpoint { path: path.to_owned(), what: what.to_owned() },
        };
        let size = file.metadata().map_err(io)?.len();
        let data_size = data.metadata().map_err(io)?.len();
        if size < HEAD_SIZE + FOOTER_SIZE {
            return Err(damaged(DecodeError("it is too short")));
        }
        let too_large = || RecordsError::TooLarge { path: path.to_owned(), what: "checkpoints keep at most 1 GiB" };
        // In memory an index has two or three times its size on disk.
        let kept = self.kept.checked_add(size.saturating_mul(3)).filter(|kept| *kept <= MAX_KEPT);
        let kept = kept.ok_or_else(too_large)?;
        let head = read_at(file, 0, HEAD_SIZE).map_err(io)?;
        let ends = read_at(file, size - FOOTER_SIZE, FOOTER_SIZE).map_err(io)?;
        let (index, records) = check_ends(&FORMAT, &head, &ends, size).map_err(damaged)?;
        let bytes = read_at(file, index.offset, index.length).map_err(io)?;
        if Sha256::digest(&bytes)[..] != *index.sha256 {
            return Err(damaged(DecodeError("the checksum of its index does not match")));
        }
        let mut input = Decoder::new(&bytes);
        if input.raw(32).map_err(damaged)? != self.owner {
            return Err(damaged(DecodeError("it belongs to another job")));
        }
        let first = input.u32().map_err(damaged)?;
        let (first_blocks, places) = decode_places(&mut input, index.offset, data_size).map_err(damaged)?;
        let places = load_own(file, places).map_err(io)?;
        let records = decode_records(&mut input, records, &places).map_err(damaged)?;
        self.kept = kept;
        Ok(self.insert(Segment { path: path.to_owned(), data: Arc::clone(data), first, first_blocks, places, records }))
    }

    fn insert(&mut self, segment: Segment) -> usize {
        // Fewer than 2^32: each has at least a head's bytes of `MAX_KEPT`.
        let number = self.segments.len() as u32;
        for (record, (file, _)) in segment.records.iter().enumerate() {
            let taken = Taken { segment: number, record: record as u32 };
            self.by_locator.entry(file.locator.id()).or_insert(taken);
        }
        let count = segment.records.len();
        self.segments.push(segment);
        count
    }

    /// The path with which the checkpoint of a record was added.
    pub fn path_of(&self, taken: Taken) -> Option<&Path> {
        self.segments.get(taken.segment as usize).map(|segment| segment.path.as_path())
    }

    /// All records, and what is known of their files.
    pub fn files(&self) -> impl Iterator<Item = (Taken, &KnownFile)> {
        self.segments.iter().zip(0..).flat_map(|(segment, number)| {
            let records = segment.records.iter().zip(0..);
            records.map(move |((file, _), record)| (Taken { segment: number, record }, file))
        })
    }

    /// The record of a file that looks as it did then.
    pub fn find(&self, locator: &FileLocator) -> Option<(Taken, &KnownFile)> {
        let taken = *self.by_locator.get(&locator.id())?;
        let (file, _) = self.segments.get(taken.segment as usize)?.records.get(taken.record as usize)?;
        (file.locator == *locator).then_some((taken, file))
    }

    /// Reads a record, ready to be added to another file, and decodes its facts.
    ///
    /// # Errors
    /// When a block of it is damaged or cannot be read.
    pub fn record(&self, taken: Taken) -> Result<(Record, FileIdentity, Package), RecordsError> {
        let part = |stream| self.part(taken, stream, <[u8]>::to_vec);
        let record = Record { facts: part(0)?, primary: part(1)?, filelists: part(2)?, other: part(3)? };
        let damaged = |error| self.damaged(taken, error);
        for fragment in [&record.primary, &record.filelists, &record.other] {
            Fragment::decode(fragment).map_err(damaged)?;
        }
        let (identity, package) = decode_facts(&record.facts).map_err(damaged)?;
        Ok((record, identity, package))
    }

    /// Decodes the facts of a record without texts, dependencies, files and changelogs.
    ///
    /// # Errors
    /// When their block is damaged or cannot be read.
    pub fn head(&self, taken: Taken) -> Result<(FileIdentity, Package), RecordsError> {
        self.part(taken, 0, |bytes| decode_wanted(bytes, Wanted::HEAD))?.map_err(|error| self.damaged(taken, error))
    }

    fn damaged(&self, taken: Taken, error: DecodeError) -> RecordsError {
        let path = self.segments.get(taken.segment as usize).map(|segment| segment.path.clone()).unwrap_or_default();
        RecordsError::Checkpoint { path, what: error.0.to_owned() }
    }

    fn part<T>(&self, taken: Taken, stream: usize, use_part: impl FnOnce(&[u8]) -> T) -> Result<T, RecordsError> {
        let no_record = || RecordsError::NoRecord {
            path: PathBuf::from("(checkpoints)"),
            id: crate::RecordId(taken.record),
            len: 0,
        };
        let segment = self.segments.get(taken.segment as usize).ok_or_else(no_record)?;
        let (_, parts) = segment.records.get(taken.record as usize).ok_or_else(no_record)?;
        let block = self.block(taken.segment, segment, stream, parts[stream].block)?;
        let (start, length) = (parts[stream].offset as usize, parts[stream].length as usize);
        // Parts lie within their blocks: `decode_part`.
        Ok(use_part(block.get(start..start + length).unwrap_or_default()))
    }

    /// The longest beginning of a file of records, of the checkpoints that were added, whose package files look like
    /// the first ones of `files`, in their order.
    pub fn prefix(&self, files: &[FileLocator]) -> Option<Prefix<'_>> {
        let beginnings = self.segments.iter().enumerate().filter(|(_, segment)| segment.first == 0);
        beginnings.filter_map(|(number, _)| self.prefix_from(number, files)).max_by_key(|prefix| prefix.len())
    }

    /// The same of checkpoints that were added one after another.
    fn prefix_from(&self, number: usize, files: &[FileLocator]) -> Option<Prefix<'_>> {
        let (mut chain, mut records, mut blocks) = (Vec::new(), 0usize, [0u32; STREAMS]);
        let data = &self.segments.get(number)?.data;
        for segment in self.segments.get(number..)? {
            let follows = segment.first as usize == records && segment.first_blocks == blocks;
            if !follows || !Arc::ptr_eq(data, &segment.data) {
                break;
            }
            let wanted = files.get(records..).unwrap_or_default();
            let same = segment.records.iter().zip(wanted).take_while(|((file, _), locator)| file.locator == **locator);
            let same = same.count();
            if same > 0 {
                records += same;
                chain.push(segment);
            }
            if same < segment.records.len() {
                break;
            }
            for (count, places) in blocks.iter_mut().zip(&segment.places) {
                *count += places.iter().filter(|place| place.own.is_none()).count() as u32;
            }
        }
        if records == 0 { None } else { Some(Prefix { first: number as u32, chain, records }) }
    }

    fn block(
        &self,
        segment_number: u32,
        segment: &Segment,
        stream: usize,
        number: u32,
    ) -> Result<Arc<Vec<u8>>, RecordsError> {
        let key = (segment_number, stream, number);
        {
            let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, block)) = cache.iter().rev().find(|(cached, _)| *cached == key) {
                return Ok(Arc::clone(block));
            }
        }
        let damaged = |what: String| RecordsError::Checkpoint { path: segment.path.clone(), what };
        let place = segment.places[stream].get(number as usize);
        let place = place.ok_or_else(|| damaged("a record names an unknown block".to_owned()))?;
        let io = |source| RecordsError::Io { action: "read", path: segment.path.clone(), source };
        let read = || read_at(&segment.data, place.block.offset, u64::from(place.block.packed)).map_err(io);
        let unpacked = match &place.own {
            Some(packed) => unpack(&self.unpacker, &place.block, packed),
            None => unpack(&self.unpacker, &place.block, &read()?),
        };
        let where_it_is = if place.own.is_some() { "" } else { "in the file of records that it is of, " };
        let block = Arc::new(unpacked.map_err(|what| damaged(format!("{where_it_is}{what}")))?);
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.push_back((key, Arc::clone(&block)));
        let mut total: usize = cache.iter().map(|(_, block)| block.len()).sum();
        while total > CACHED {
            total -= cache.pop_front().map_or(total, |(_, block)| block.len());
        }
        Ok(block)
    }
}

/// Blocks of all streams, and whether they stand in the checkpoint.
type Blocks = [Vec<(bool, Block)>; STREAMS];

/// Numbers of the first blocks, and blocks; those of the checkpoint itself lie before its index, at `own_end`, and follow each other.
fn decode_places(
    input: &mut Decoder<'_>,
    own_end: u64,
    data_size: u64,
) -> Result<([u32; STREAMS], Blocks), DecodeError> {
    let mut places = Blocks::default();
    let mut first_blocks = [0; STREAMS];
    let mut own = 0u64;
    for (list, first) in places.iter_mut().zip(&mut first_blocks) {
        *first = input.u32()?;
        for _ in 0..input.count(49)? {
            let here = input.flag()?;
            let block = decode_block(input, if here { own_end } else { data_size })?;
            own += if here { u64::from(block.packed) } else { 0 };
            list.push((here, block));
        }
    }
    // Else a small file could ask for a lot of memory.
    if own > own_end { Err(DecodeError("its blocks overlap")) } else { Ok((first_blocks, places)) }
}

fn load_own(file: &File, places: Blocks) -> io::Result<[Vec<Place>; STREAMS]> {
    let mut loaded: [Vec<Place>; STREAMS] = Default::default();
    for (list, blocks) in loaded.iter_mut().zip(places) {
        for (here, block) in blocks {
            let own = if here { Some(read_at(file, block.offset, u64::from(block.packed))?) } else { None };
            list.push(Place { block, own });
        }
    }
    Ok(loaded)
}

type Records = Vec<(KnownFile, [Part; STREAMS])>;

fn decode_records(input: &mut Decoder<'_>, count: u32, places: &[Vec<Place>; STREAMS]) -> Result<Records, DecodeError> {
    if count as usize > input.rest().len() / SMALLEST_ENTRY {
        return Err(DecodeError("its index has another number of records"));
    }
    let mut records = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let file = decode_file(input)?;
        let mut parts = [Part { block: 0, offset: 0, length: 0 }; STREAMS];
        for (part, list) in parts.iter_mut().zip(places) {
            *part = decode_part(input, |number| list.get(number).map(|place| &place.block))?;
            if part.length as usize > MAX_PART {
                return Err(DecodeError("a record is too large"));
            }
        }
        records.push((file, parts));
    }
    input.end()?;
    Ok(records)
}

#[cfg(test)]
#[path = "checkpoint_tests.rs"]
mod tests;
