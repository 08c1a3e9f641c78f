//! Makes small RPM files for tests, also damaged ones.

use crate::header::MAGIC;

/// One entry to be written.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) tag: u32,
    pub(crate) kind: u32,
    pub(crate) count: u32,
    pub(crate) data: Vec<u8>,
}

impl Entry {
    pub(crate) fn string(tag: u32, text: &str) -> Entry {
        Entry { tag, kind: 6, count: 1, data: [text.as_bytes(), b"\0"].concat() }
    }

    pub(crate) fn strings(tag: u32, texts: &[&str]) -> Entry {
        let data = texts.iter().flat_map(|text| text.bytes().chain([0])).collect();
        Entry { tag, kind: 8, count: u32::try_from(texts.len()).unwrap(), data }
    }

    pub(crate) fn u16s(tag: u32, numbers: &[u16]) -> Entry {
        let data = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
        Entry { tag, kind: 3, count: u32::try_from(numbers.len()).unwrap(), data }
    }

    pub(crate) fn u32s(tag: u32, numbers: &[u32]) -> Entry {
        let data = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
        Entry { tag, kind: 4, count: u32::try_from(numbers.len()).unwrap(), data }
    }

    pub(crate) fn binary(tag: u32, data: &[u8]) -> Entry {
        Entry { tag, kind: 7, count: u32::try_from(data.len()).unwrap(), data: data.to_vec() }
    }
}

/// A header with its magic; `region` is 62 or 63, `None` for one as rpm 3 wrote them.
pub(crate) fn header(region: Option<u32>, entries: &[Entry]) -> Vec<u8> {
    let total = entries.len() + usize::from(region.is_some());
    let (mut index, mut data) = (Vec::new(), Vec::new());
    let words = |words: [u32; 4]| words.map(u32::to_be_bytes).concat();
    for entry in entries {
        let width = match entry.kind {
            3 => 2,
            4 => 4,
            5 => 8,
            _ => 1usize,
        };
        data.resize(data.len().next_multiple_of(width), 0);
        index.extend(words([entry.tag, entry.kind, u32::try_from(data.len()).unwrap(), entry.count]));
        data.extend(&entry.data);
    }
    if let Some(region) = region {
        let first = words([region, 7, u32::try_from(data.len()).unwrap(), 16]);
        index.splice(0..0, first);
        data.extend(words([region, 7, u32::try_from(total * 16).unwrap().wrapping_neg(), 16]));
    }
    let counts = [total, data.len()].map(|count| u32::try_from(count).unwrap().to_be_bytes()).concat();
    [MAGIC.to_vec(), counts, index, data].concat()
}

/// A file of lead, signature header, main header and payload.
pub(crate) fn file(signature: &[u8], header: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 96];
    bytes[..5].copy_from_slice(&[0xed, 0xab, 0xee, 0xdb, 3]);
    bytes[79] = 5;
    bytes.extend(signature);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend(header);
    bytes.extend(payload);
    bytes
}
