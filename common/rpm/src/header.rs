//! One header structure of an RPM file: an index of typed entries and their data.
//!
//! Everything is checked when a header is parsed, so that the getters cannot meet an offset outside the data. Source of
//! truth: rpm 4.20 `lib/header.c` (`hdrblobVerifyRegion`, `hdrblobVerifyInfo`, `dataLength`) for the checks and limits.
//! Unlike rpm, entries of unknown tags may have any type, and known tags are checked for their type when they are read.

use crate::error::{Error, Part};
use crate::text::decode;

mod check;

pub(crate) use check::Intro;
use check::{Check, Entry};

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
        let length = memchr::memchr(0, self.data)?;
        let text = &self.data[..length];
        self.data = &self.data[length + 1..];
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

#[cfg(test)]
mod tests;
