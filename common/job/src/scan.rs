//! A look at encoded lists before memory is taken for them.
//!
//! Protobuf encodes an empty message in two bytes, and decoding makes a struct of one or two hundred of it: a list of
//! 64 MiB could take several GB. Entries that carry what they must are as long in memory as their text, more or less.

use crate::ManifestError;

/// Wire types of protobuf ("Encoding", protobuf.dev).
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH: u64 = 2;
const FIXED32: u64 = 5;
/// The field that holds the entries of our lists.
const ENTRIES: u64 = 1;

/// Fails if an entry of a list is shorter than `least`. What cannot be read is left to the decoder, which says so.
pub(crate) fn entries(bytes: &[u8], what: &'static str, least: usize) -> Result<(), ManifestError> {
    let mut rest = bytes;
    while let Some(field) = next(&mut rest) {
        if field.key == ENTRIES << 3 | LENGTH && field.length < least {
            let offset = bytes.len() - rest.len() - field.length;
            return Err(ManifestError::Short { what, offset, length: field.length, least });
        }
    }
    Ok(())
}

struct Field {
    key: u64,
    length: usize,
}

/// Steps over one field; `None` at the end, and where nothing follows that the decoder would take.
fn next(rest: &mut &[u8]) -> Option<Field> {
    let key = varint(rest)?;
    let length = match key & 7 {
        VARINT => {
            varint(rest)?;
            0
        }
        FIXED64 => 8,
        LENGTH => usize::try_from(varint(rest)?).ok()?,
        FIXED32 => 4,
        _ => return None,
    };
    *rest = rest.get(length..)?;
    Some(Field { key, length })
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for place in 0..10 {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_entries_are_found_behind_other_fields() {
        assert!(entries(&[], "list", 3).is_ok());
        assert!(entries(&[0x0a, 3, 1, 2, 3, 0x10, 0x80, 1, 0x19, 0, 0, 0, 0, 0, 0, 0, 0], "list", 3).is_ok());
        let error = entries(&[0x10, 0x80, 1, 0x0a, 2, 1, 2, 0x0a, 0], "list", 3).unwrap_err();
        assert_eq!(error.to_string(), "list has an entry of 2 bytes at byte 5, the shortest has 3");
        // The end inside of a field is the decoder's to tell.
        for cut in [&[0x0a][..], &[0x0a, 5, 1], &[0xff; 12], &[0x0f, 1]] {
            assert!(entries(cut, "list", 3).is_ok(), "{cut:?}");
        }
    }
}
