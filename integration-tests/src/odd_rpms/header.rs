//! The header structure of an RPM file: an index of typed entries and a store (rpm 4.18 `lib/header.c`).

use std::collections::BTreeMap;

/// Width of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// 16 bits.
    Short,
    /// 32 bits.
    Word,
    /// 64 bits.
    Long,
}

impl Number {
    fn kind(self) -> (u32, usize) {
        match self {
            Self::Short => (3, 2),
            Self::Word => (4, 4),
            Self::Long => (5, 8),
        }
    }
}

struct Value {
    kind: u32,
    count: usize,
    alignment: usize,
    data: Vec<u8>,
}

/// A header under construction; entries are written in the order of their tags.
#[derive(Default)]
pub struct Header {
    entries: BTreeMap<u32, Value>,
}

impl Header {
    fn put(&mut self, tag: u32, kind: u32, count: usize, alignment: usize, data: Vec<u8>) {
        self.entries.insert(tag, Value { kind, count, alignment, data });
    }

    /// One text.
    pub fn string(&mut self, tag: u32, text: &[u8]) {
        self.put(tag, 6, 1, 1, zero_ended(&[text]));
    }

    /// A list of texts; an empty one is left out, as rpm does.
    pub fn strings<T: AsRef<[u8]>>(&mut self, tag: u32, texts: &[T]) {
        self.texts(tag, 8, texts);
    }

    /// A text for each locale of the table (tag 100).
    pub fn translated<T: AsRef<[u8]>>(&mut self, tag: u32, texts: &[T]) {
        self.texts(tag, 9, texts);
    }

    fn texts<T: AsRef<[u8]>>(&mut self, tag: u32, kind: u32, texts: &[T]) {
        if !texts.is_empty() {
            let texts: Vec<&[u8]> = texts.iter().map(AsRef::as_ref).collect();
            self.put(tag, kind, texts.len(), 1, zero_ended(&texts));
        }
    }

    /// Numbers, cut to their width; none are left out.
    pub fn numbers(&mut self, tag: u32, width: Number, numbers: &[u64]) {
        let (kind, bytes) = width.kind();
        let data: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()[8 - bytes..].to_vec()).collect();
        if !data.is_empty() {
            self.put(tag, kind, numbers.len(), bytes, data);
        }
    }

    /// Whether there is a tag.
    #[must_use]
    pub fn contains(&self, tag: u32) -> bool {
        self.entries.contains_key(&tag)
    }

    /// The header's bytes, all entries within one region: 62 for signatures, 63 for the main header, none for rpm 3's.
    #[must_use]
    pub fn to_bytes(&self, region: Option<u32>) -> Vec<u8> {
        let (mut index, mut store) = (Vec::new(), Vec::new());
        for (tag, value) in &self.entries {
            store.resize(store.len().next_multiple_of(value.alignment), 0);
            index.extend(words([*tag, value.kind, word(store.len()), word(value.count)]));
            store.extend_from_slice(&value.data);
        }
        let entries = self.entries.len() + usize::from(region.is_some());
        if let Some(region) = region {
            index.splice(0..0, words([region, 7, word(store.len()), 16]));
            // The trailer looks like an entry, with the length of the index as a negative offset.
            store.extend(words([region, 7, word(entries * 16).wrapping_neg(), 16]));
        }
        let magic = vec![0x8e, 0xad, 0xe8, 0x01, 0, 0, 0, 0];
        [magic, words([word(entries), word(store.len())]), index, store].concat()
    }
}

fn zero_ended(texts: &[&[u8]]) -> Vec<u8> {
    texts.iter().flat_map(|text| [*text, &[0]].concat()).collect()
}

fn words<const N: usize>(words: [u32; N]) -> Vec<u8> {
    words.map(u32::to_be_bytes).concat()
}

/// Sizes here are of headers of a few megabytes.
fn word(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}
