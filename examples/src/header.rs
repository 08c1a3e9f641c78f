//! The header structure of an RPM file: an index of typed entries and a store (rpm 4.18 `lib/header.c`).

use std::collections::BTreeMap;

/// Magic and version before each header.
const MAGIC: [u8; 8] = [0x8e, 0xad, 0xe8, 0x01, 0, 0, 0, 0];
/// Bytes of one index entry, and of the region's trailer.
const ENTRY: usize = 16;

const INT16: u32 = 3;
const INT32: u32 = 4;
const STRING: u32 = 6;
const BINARY: u32 = 7;
const STRING_ARRAY: u32 = 8;
const I18N_STRING: u32 = 9;

struct Value {
    kind: u32,
    count: usize,
    data: Vec<u8>,
}

/// A header under construction; entries are written in the order of their tags.
#[derive(Default)]
pub(crate) struct Header {
    entries: BTreeMap<u32, Value>,
}

impl Header {
    fn put(&mut self, tag: u32, kind: u32, count: usize, data: Vec<u8>) {
        self.entries.insert(tag, Value { kind, count, data });
    }

    pub(crate) fn string(&mut self, tag: u32, text: &str) {
        self.put(tag, STRING, 1, zero_ended([text]));
    }

    pub(crate) fn translated(&mut self, tag: u32, text: &str) {
        self.put(tag, I18N_STRING, 1, zero_ended([text]));
    }

    /// An array; an empty one is left out, as rpm does.
    pub(crate) fn strings<'a>(&mut self, tag: u32, texts: impl IntoIterator<Item = &'a str>) {
        let texts: Vec<&str> = texts.into_iter().collect();
        if !texts.is_empty() {
            let count = texts.len();
            self.put(tag, STRING_ARRAY, count, zero_ended(texts));
        }
    }

    pub(crate) fn numbers(&mut self, tag: u32, numbers: impl IntoIterator<Item = u32>) {
        let data: Vec<u8> = numbers.into_iter().flat_map(u32::to_be_bytes).collect();
        if !data.is_empty() {
            self.put(tag, INT32, data.len() / 4, data);
        }
    }

    pub(crate) fn short_numbers(&mut self, tag: u32, numbers: impl IntoIterator<Item = u16>) {
        let data: Vec<u8> = numbers.into_iter().flat_map(u16::to_be_bytes).collect();
        if !data.is_empty() {
            self.put(tag, INT16, data.len() / 2, data);
        }
    }

    pub(crate) fn binary(&mut self, tag: u32, data: Vec<u8>) {
        self.put(tag, BINARY, data.len(), data);
    }

    /// The header's bytes, all entries within one region (`HEADERSIGNATURES` 62 or `HEADERIMMUTABLE` 63).
    pub(crate) fn to_bytes(&self, region: u32) -> Vec<u8> {
        let (mut index, mut store) = (Vec::new(), Vec::new());
        for (tag, value) in &self.entries {
            let alignment = match value.kind {
                INT16 => 2,
                INT32 => 4,
                _ => 1,
            };
            store.resize(store.len().next_multiple_of(alignment), 0);
            index.extend(words([*tag, value.kind, word(store.len()), word(value.count)]));
            store.extend_from_slice(&value.data);
        }
        let entries = self.entries.len() + 1;
        index.splice(0..0, words([region, BINARY, word(store.len()), word(ENTRY)]));
        // The trailer looks like an entry, with the length of the index as a negative offset.
        store.extend(words([region, BINARY, word(entries * ENTRY).wrapping_neg(), word(ENTRY)]));
        [MAGIC.to_vec(), words([word(entries), word(store.len())]), index, store].concat()
    }
}

fn zero_ended<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    texts.into_iter().flat_map(|text| text.bytes().chain([0])).collect()
}

fn words<const N: usize>(words: [u32; N]) -> Vec<u8> {
    words.map(u32::to_be_bytes).concat()
}

/// Sizes here are of packages of a few kilobytes.
pub(crate) fn word(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}
