//! Bytes of a universe, writing side.

use super::UniverseError;

pub(super) const MAGIC: [u8; 8] = *b"TuttiUni";

/// Magic, format number, reserved word, and for two sections packed and plain length.
pub(super) const HEADER: usize = 8 + 4 + 4 + 4 * 8;

/// zstd level of the sections: fast to write, and no smaller worth the time for a file that lives in caches.
const LEVEL: i32 = 3;

pub(super) fn push(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn push_all(out: &mut Vec<u8>, values: impl IntoIterator<Item = u32>) {
    for value in values {
        push(out, value);
    }
}

/// Makes a count of the format out of a length.
pub(super) fn count(length: usize, what: &'static str) -> Result<u32, UniverseError> {
    u32::try_from(length).ok().filter(|count| *count != super::NONE).ok_or(UniverseError::TooMany { what })
}

pub(super) fn pack(section: &'static str, plain: &[u8]) -> Result<Vec<u8>, UniverseError> {
    zstd::stream::encode_all(plain, LEVEL).map_err(|error| UniverseError::Zstd { section, message: error.to_string() })
}

/// Appends sorted strings as ends and text.
pub(super) fn push_strings(ends: &mut Vec<u8>, text: &mut Vec<u8>, strings: &[&str]) -> Result<(), UniverseError> {
    for string in strings {
        text.extend_from_slice(string.as_bytes());
        push(ends, count(text.len(), "bytes of text")?);
    }
    Ok(())
}
