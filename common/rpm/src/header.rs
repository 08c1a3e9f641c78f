//! One header structure of an RPM file: an index of typed entries and their data.
//!
//! Everything is checked when a header is parsed, so that the getters cannot meet an offset outside the data. Source of
//! truth: rpm 4.20 `lib/header.c` (`hdrblobVerifyRegion`, `hdrblobVerifyInfo`, `dataLength`) for the checks and limits.
//! Unlike rpm, entries of unknown tags may have any type, and known tags are checked for their type when they are read.

use std::ffi::CStr;

use crate::error::{Error, Part};
use crate::tag::region;
use crate::text::decode;

/// Magic, version 1 and four reserved bytes.
pub const MAGIC: [u8; 8] = [0x8e, 0xad, 0xe8, 0x01, 0, 0, 0, 0];

/// Bytes before the index: magic, count of entries, length of the data.
pub const INTRO: usize = 16;

/// Bytes of one index entry; also the length of a region's trailer.
const ENTRY: usize = 16;

/// Tags below this are regions and the like, which may only stand first.
const FIRST_TAG: u32 = 100;

/// Most elements of one array (rpm's HEADER_ARRAY_MAX): a million files are more than any package has.
const MAX_ARRAY: u32 = 0x000f_ffff;

/// Largest headers that are read. The defaults are those of rpm 4.20.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries of the signature header.
    pub signature_entries: u32,
    /// Bytes of data of the signature header.
    pub signature_data: u32,
    /// Entries of the main header.
    pub header_entries: u32,
    /// Bytes of data of the main header.
    pub header_data: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            signature_entries: 32,
            signature_data: 64 * 1024 * 1024,
            header_entries: 0xffff,
            header_data: 0x0fff_ffff,
        }
    }
}

/// Type of an entry's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No data.
    Null,
    /// One byte.
    Char,
    /// One byte.
    Int8,
    /// Two bytes, big-endian.
    Int16,
    /// Four bytes, big-endian.
    Int32,
    /// Eight bytes, big-endian.
    Int64,
    /// One NUL-terminated string.
    String,
    /// Bytes.
    Binary,
    /// NUL-terminated strings.
    StringArray,
    /// NUL-terminated strings, one per locale, the first for `C`.
    I18nString,
}

impl Kind {
    fn from_number(number: u32) -> Option<Kind> {
        Some(match number {
            0 => Kind::Null,
            1 => Kind::Char,
            2 => Kind::Int8,
            3 => Kind::Int16,
            4 => Kind::Int32,
            5 => Kind::Int64,
            6 => Kind::String,
            7 => Kind::Binary,
            8 => Kind::StringArray,
            9 => Kind::I18nString,
            _ => return None,
        })
    }

    /// Bytes of one element; `None` for strings.
    fn width(self) -> Option<usize> {
        match self {
            Kind::Null => Some(0),
            Kind::Char | Kind::Int8 | Kind::Binary => Some(1),
            Kind::Int16 => Some(2),
            Kind::Int32 => Some(4),
            Kind::Int64 => Some(8),
            Kind::String | Kind::StringArray | Kind::I18nString => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Char => "char",
            Kind::Int8 => "int8",
            Kind::Int16 => "int16",
            Kind::Int32 => "int32",
            Kind::Int64 => "int64",
            Kind::String => "string",
            Kind::Binary => "binary",
            Kind::StringArray => "string array",
            Kind::I18nString => "localised string",
        }
    }
}

/// One index entry whose data was found to lie in the header.
#[derive(Clone, Copy, Debug)]
struct Entry {
    tag: u32,
    kind: Kind,
    /// From the start of the header.
    start: usize,
    length: usize,
    count: usize,
}

/// An index entry as it stands in the file.
#[derive(Clone, Copy)]
struct RawEntry {
    tag: u32,
    kind: u32,
    offset: u32,
    count: u32,
}

impl RawEntry {
    fn read(bytes: &[u8; ENTRY]) -> RawEntry {
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        RawEntry { tag: word(0), kind: word(4), offset: word(8), count: word(12) }
    }
}

/// Counts given in a header's first 16 bytes, checked against the limits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Intro {
    entries: usize,
    data: usize,
}

impl Intro {
    pub(crate) fn parse(bytes: &[u8; INTRO], part: Part, offset: u64, limits: &Limits) -> Result<Intro, Error> {
        let format = |at: u64, reason: String| Error::Format { part, offset: offset + at, reason };
        if bytes[..8] != MAGIC {
            return Err(format(0, "header magic is wrong".to_owned()));
        }
        let [.., e0, e1, e2, e3, d0, d1, d2, d3] = *bytes;
        let (entries, data) = (u32::from_be_bytes([e0, e1, e2, e3]), u32::from_be_bytes([d0, d1, d2, d3]));
        let (max_entries, max_data) = match part {
            Part::Signature => (limits.signature_entries, limits.signature_data),
            _ => (limits.header_entries, limits.header_data),
        };
        if entries == 0 || entries > max_entries {
            return Err(format(8, format!("{entries} index entries, allowed are 1 to {max_entries}")));
        }
        if data > max_data {
            return Err(format(12, format!("{data} bytes of data, allowed are {max_data}")));
        }
        Ok(Intro { entries: entries as usize, data: data as usize })
    }

    /// Bytes of the whole header, these 16 included.
    pub(crate) fn length(self) -> usize {
        INTRO + self.entries * ENTRY + self.data
    }
}

/// A parsed header that owns its bytes.
#[derive(Clone, Debug)]
pub struct RpmHeader {
    part: Part,
    /// Place in the file.
    offset: u64,
    /// Magic, counts, index and data.
    bytes: Vec<u8>,
    /// Sorted by tag; the last of equal tags counts.
    entries: Vec<Entry>,
    /// Tag of the region that covers this header, if any.
    region: Option<u32>,
}

impl RpmHeader {
    /// Parses a header: `bytes` start with the magic; bytes beyond the header are not used.
    ///
    /// `offset` is the place of the header in its file, for error messages.
    pub fn parse(bytes: &[u8], part: Part, offset: u64, limits: &Limits) -> Result<RpmHeader, Error> {
        let truncated = |expected: usize| Error::Truncated {
            part,
            expected: offset + expected as u64,
            found: offset + bytes.len() as u64,
        };
        let intro = Intro::parse(bytes.first_chunk().ok_or_else(|| truncated(INTRO))?, part, offset, limits)?;
        let length = intro.length();
        let bytes = bytes.get(..length).ok_or_else(|| truncated(length))?.to_vec();
        Check { part, offset, bytes: &bytes, intro }.run().map(|(entries, region)| RpmHeader {
            part,
            offset,
            bytes,
            entries,
            region,
        })
    }

    /// The header's bytes, magic included: what the header digests cover.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Which header of the file this is.
    pub fn part(&self) -> Part {
        self.part
    }

    /// First byte in the file.
    pub fn start(&self) -> u64 {
        self.offset
    }

    /// First byte after the header in the file.
    pub fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }

    /// Whether an immutable region covers the header; not so in packages of rpm 3 and before.
    pub fn has_region(&self) -> bool {
        self.region.is_some()
    }

    /// Whether there is such a tag.
    pub fn contains(&self, tag: u32) -> bool {
        self.entry(tag).is_some()
    }

    /// Tags, ascending.
    pub fn tags(&self) -> impl Iterator<Item = u32> {
        self.entries.iter().map(|entry| entry.tag)
    }

    /// Type and number of elements of a tag.
    pub fn kind(&self, tag: u32) -> Option<(Kind, usize)> {
        self.entry(tag).map(|entry| (entry.kind, entry.count))
    }

    /// Bytes of a binary tag.
    pub fn binary(&self, tag: u32) -> Result<Option<&[u8]>, Error> {
        match self.entry(tag) {
            None => Ok(None),
            Some(entry) if entry.kind == Kind::Binary => Ok(Some(self.data(entry))),
            Some(entry) => Err(self.wrong_type(entry, "binary")),
        }
    }

    /// Bytes of the strings of a tag, without their NULs; none if there is no such tag.
    pub fn raw_strings(&self, tag: u32) -> Result<RawStrings<'_>, Error> {
        match self.entry(tag) {
            None => Ok(RawStrings { left: 0, data: &[] }),
            Some(entry) if entry.kind.width().is_none() => Ok(RawStrings { left: entry.count, data: self.data(entry) }),
            Some(entry) => Err(self.wrong_type(entry, "a string")),
        }
    }

    /// First string of a tag as text; see [`RpmHeader::strings`]. For a localised string, that of the `C` locale.
    pub fn string(&self, tag: u32) -> Result<Option<String>, Error> {
        Ok(self.raw_strings(tag)?.next().map(decode))
    }

    /// First string of a localised tag: that of the `C` locale.
    pub fn i18n(&self, tag: u32) -> Result<Option<String>, Error> {
        self.string(tag)
    }

    /// Strings of a tag as text; bytes that are not UTF-8 are read as createrepo_c reads them (Latin-1 without control
    /// codes). None if there is no such tag.
    pub fn strings(&self, tag: u32) -> Result<Vec<String>, Error> {
        Ok(self.raw_strings(tag)?.map(decode).collect())
    }

    /// Numbers of a tag, of whatever width; none if there is no such tag.
    pub fn numbers(&self, tag: u32) -> Result<Numbers<'_>, Error> {
        match self.entry(tag) {
            None => Ok(Numbers { width: 1, data: &[] }),
            Some(entry) => match (entry.kind, entry.kind.width()) {
                (Kind::Binary | Kind::Null, _) | (_, None) => Err(self.wrong_type(entry, "a number")),
                (_, Some(width)) => Ok(Numbers { width, data: self.data(entry) }),
            },
        }
    }

    /// First number of a tag.
    pub fn number(&self, tag: u32) -> Result<Option<u64>, Error> {
        Ok(self.numbers(tag)?.next())
    }

    /// Numbers of a tag that fit 32 bits; an error if one does not.
    pub fn u32s(&self, tag: u32) -> Result<Vec<u32>, Error> {
        let mut numbers = Vec::new();
        for number in self.numbers(tag)? {
            numbers.push(
                u32::try_from(number).map_err(|_| self.tag_error(tag, format!("{number} does not fit 32 bits")))?,
            );
        }
        Ok(numbers)
    }

    /// Numbers of a tag.
    pub fn u64s(&self, tag: u32) -> Result<Vec<u64>, Error> {
        Ok(self.numbers(tag)?.collect())
    }

    /// An error about a tag's data.
    pub(crate) fn tag_error(&self, tag: u32, reason: String) -> Error {
        let start = self.entry(tag).map_or(0, |entry| entry.start);
        Error::Tag { part: self.part, tag, offset: self.offset + start as u64, reason }
    }

    fn entry(&self, tag: u32) -> Option<&Entry> {
        // An entry that was added behind the region replaces one in it.
        let after = self.entries.partition_point(|entry| entry.tag <= tag);
        self.entries.get(after.checked_sub(1)?).filter(|entry| entry.tag == tag)
    }

    fn data(&self, entry: &Entry) -> &[u8] {
        &self.bytes[entry.start..entry.start + entry.length]
    }

    fn wrong_type(&self, entry: &Entry, wanted: &str) -> Error {
        self.tag_error(entry.tag, format!("type is {}, not {wanted}", entry.kind.name()))
    }
}

/// Strings of one tag as bytes.
#[derive(Clone, Debug)]
pub struct RawStrings<'a> {
    left: usize,
    data: &'a [u8],
}

impl<'a> Iterator for RawStrings<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let text = CStr::from_bytes_until_nul(self.data).ok()?.to_bytes();
        self.data = &self.data[text.len() + 1..];
        Some(text)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for RawStrings<'_> {}

/// Numbers of one tag.
#[derive(Clone, Debug)]
pub struct Numbers<'a> {
    width: usize,
    data: &'a [u8],
}

impl Iterator for Numbers<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let (element, rest) = self.data.split_at_checked(self.width)?;
        self.data = rest;
        Some(element.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.data.len() / self.width;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Numbers<'_> {}

/// Checks of a header whose length is right.
struct Check<'a> {
    part: Part,
    offset: u64,
    bytes: &'a [u8],
    intro: Intro,
}

impl Check<'_> {
    fn run(&self) -> Result<(Vec<Entry>, Option<u32>), Error> {
        let region = self.region()?;
        let first = usize::from(region.is_some());
        let mut entries = Vec::with_capacity(self.intro.entries);
        let mut free_from = 0;
        for place in first..self.intro.entries {
            let entry = self.entry(place, free_from)?;
            if let Some((_, trailer)) = region {
                self.check_beside_trailer(&entry, trailer, place)?;
            }
            free_from = entry.start + entry.length - self.data_start();
            entries.push(entry);
        }
        entries.sort_by_key(|entry| entry.tag);
        Ok((entries, region.map(|(tag, _)| tag)))
    }

    fn data_start(&self) -> usize {
        INTRO + self.intro.entries * ENTRY
    }

    fn raw(&self, place: usize) -> RawEntry {
        let start = INTRO + place * ENTRY;
        match self.bytes.get(start..).and_then(|rest| rest.first_chunk()) {
            Some(bytes) => RawEntry::read(bytes),
            None => RawEntry { tag: 0, kind: 0, offset: 0, count: 0 },
        }
    }

    fn error(&self, tag: u32, at: usize, reason: String) -> Error {
        Error::Tag { part: self.part, tag, offset: self.offset + at as u64, reason }
    }

    /// Checks the region entry, if the header starts with one, and its trailer. Returns the region's tag and the place
    /// of the trailer in the header.
    ///
    /// The region covers the whole of a main header; behind that of a signature header, entries may have been added.
    fn region(&self) -> Result<Option<(u32, usize)>, Error> {
        let entry = self.raw(0);
        let wanted: &[u32] = match self.part {
            Part::Signature => &[region::SIGNATURES],
            _ => &[region::IMMUTABLE, region::IMAGE],
        };
        if !wanted.contains(&entry.tag) {
            return Ok(None);
        }
        let fail = |reason: &str| Err(self.error(entry.tag, INTRO, format!("region {reason}")));
        if entry.kind != 7 || entry.count as usize != ENTRY {
            return fail("entry has a wrong type or length");
        }
        let exact = self.part != Part::Signature;
        if exact && entry.offset as usize + ENTRY != self.intro.data {
            return fail("trailer is not at the end of the data");
        }
        let start = self.data_start() + entry.offset as usize;
        let Some(trailer) = self.bytes.get(start..).and_then(|rest| rest.first_chunk()).map(RawEntry::read) else {
            return fail("trailer lies outside the data");
        };
        // Some old packages name HEADERIMAGE in the trailer of the signature header (rpm lib/header.c).
        let same = trailer.tag == entry.tag || (self.part == Part::Signature && trailer.tag == region::IMAGE);
        if !same || trailer.kind != 7 || trailer.count as usize != ENTRY {
            return fail("trailer is damaged");
        }
        let covered = trailer.offset.wrapping_neg() as usize;
        let all = self.intro.entries * ENTRY;
        if covered > all || !covered.is_multiple_of(ENTRY) || (exact && covered != all) {
            return fail("does not cover all index entries");
        }
        Ok(Some((entry.tag, start)))
    }

    fn check_beside_trailer(&self, entry: &Entry, trailer: usize, place: usize) -> Result<(), Error> {
        if entry.start + entry.length > trailer && entry.start < trailer + ENTRY {
            let reason = "data overlap the region trailer".to_owned();
            return Err(self.error(entry.tag, INTRO + place * ENTRY, reason));
        }
        Ok(())
    }

    /// Checks one entry; its data must lie behind those of the entry before it (`free_from`).
    fn entry(&self, place: usize, free_from: usize) -> Result<Entry, Error> {
        let (raw, data_end) = (self.raw(place), self.intro.data);
        let fail = |reason: String| Err(self.error(raw.tag, INTRO + place * ENTRY, reason));
        if raw.tag < FIRST_TAG {
            return fail("tag number is too low".to_owned());
        }
        let Some(kind) = Kind::from_number(raw.kind) else {
            return fail(format!("type {} is unknown", raw.kind));
        };
        if raw.count == 0 || (raw.count > MAX_ARRAY && kind != Kind::Binary) {
            return fail(format!("{} elements", raw.count));
        }
        let (offset, count) = (raw.offset as usize, raw.count as usize);
        if offset < free_from || offset > data_end {
            return fail(format!("data at {offset}, expected from {free_from} to {data_end}"));
        }
        if kind.width().is_some_and(|width| width > 1 && offset % width != 0) {
            return fail(format!("data at {offset} is not aligned for type {}", kind.name()));
        }
        let data = &self.bytes[self.data_start() + offset..self.data_start() + data_end];
        let length = match kind.width() {
            Some(width) => Some(width * count).filter(|length| *length <= data.len()),
            None if kind == Kind::String && count != 1 => return fail(format!("{count} elements of type string")),
            None => strings_length(data, count),
        };
        match length {
            Some(length) if length > 0 => {
                Ok(Entry { tag: raw.tag, kind, start: self.data_start() + offset, length, count })
            }
            Some(_) => fail("no data".to_owned()),
            None => fail(format!("{count} elements of type {} reach beyond the data", kind.name())),
        }
    }
}

/// Bytes of `count` NUL-terminated strings; `None` if the data end before.
fn strings_length(data: &[u8], count: usize) -> Option<usize> {
    let mut length = 0;
    for _ in 0..count {
        length += CStr::from_bytes_until_nul(&data[length..]).ok()?.count_bytes() + 1;
    }
    Some(length)
}

#[cfg(test)]
mod tests;
