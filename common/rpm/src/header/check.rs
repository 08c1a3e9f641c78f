//! The checks that a header passes before it is used: counts, region, every entry.

use super::{ENTRY, FIRST_TAG, INTRO, Kind, Limits, MAGIC, MAX_ARRAY};
use crate::error::{Error, Part};
use crate::tag::region;

/// One index entry whose data was found to lie in the header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) tag: u32,
    pub(super) kind: Kind,
    /// From the start of the header.
    pub(super) start: usize,
    pub(super) length: usize,
    pub(super) count: usize,
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

/// Checks of a header whose length is right.
pub(super) struct Check<'a> {
    pub(super) part: Part,
    pub(super) offset: u64,
    pub(super) bytes: &'a [u8],
    pub(super) intro: Intro,
}

impl Check<'_> {
    pub(super) fn run(&self) -> Result<(Vec<Entry>, Option<u32>), Error> {
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
        length += memchr::memchr(0, &data[length..])? + 1;
    }
    Some(length)
}
