use super::*;
use crate::testing::{Entry as Sample, header};

fn parse(bytes: &[u8]) -> Result<RpmHeader, Error> {
    RpmHeader::parse(bytes, Part::Header, 96, &Limits::default())
}

fn reason(bytes: &[u8]) -> String {
    parse(bytes).unwrap_err().to_string()
}

fn sample() -> Vec<u8> {
    header(
        Some(63),
        &[
            Sample::string(1000, "name"),
            Sample::strings(1004, &["C text", "other"]),
            Sample::u16s(1030, &[1, 0x8000]),
            Sample::u32s(1037, &[7, 8, 9]),
            Sample { tag: 5009, kind: 5, count: 1, data: (1u64 << 40).to_be_bytes().to_vec() },
            Sample::binary(5555, &[1, 0, 2]),
        ],
    )
}

/// Puts one big-endian word at a byte.
fn patched(mut bytes: Vec<u8>, at: usize, word: u32) -> Vec<u8> {
    bytes[at..at + 4].copy_from_slice(&word.to_be_bytes());
    bytes
}

#[test]
fn getters() {
    let header = parse(&sample()).unwrap();
    assert!(header.has_region());
    assert_eq!(header.string(1000).unwrap().unwrap(), "name");
    assert_eq!(header.i18n(1004).unwrap().unwrap(), "C text");
    assert_eq!(header.strings(1004).unwrap(), ["C text", "other"]);
    assert_eq!(header.u32s(1030).unwrap(), [1, 0x8000]);
    assert_eq!(header.u64s(1037).unwrap(), [7, 8, 9]);
    assert_eq!(header.number(5009).unwrap(), Some(1 << 40));
    assert_eq!(header.binary(5555).unwrap(), Some(&[1, 0, 2][..]));
    assert_eq!(header.string(4711).unwrap(), None);
    assert_eq!(header.kind(1030), Some((Kind::Int16, 2)));
    assert_eq!(header.end(), 96 + sample().len() as u64);
    assert!(!header.contains(63));
}

#[test]
fn wrong_types_are_errors() {
    let header = parse(&sample()).unwrap();
    let start = 96 + 16 + 7 * 16;
    assert_eq!(
        header.number(1000).unwrap_err().to_string(),
        format!("main header, tag 1000 at byte {start}: type is string, not a number")
    );
    assert!(header.string(1030).unwrap_err().to_string().ends_with("type is int16, not a string"));
    assert!(header.binary(1000).unwrap_err().to_string().ends_with("type is string, not binary"));
    assert!(header.u32s(5009).unwrap_err().to_string().ends_with("1099511627776 does not fit 32 bits"));
}

#[test]
fn damaged_intro() {
    assert_eq!(reason(&[0; 8]), "truncated in the main header: 112 bytes expected, 104 found");
    assert_eq!(reason(&[0; 16]), "main header at byte 96: header magic is wrong");
    assert_eq!(reason(&patched(sample(), 8, 0)), "main header at byte 104: 0 index entries, allowed are 1 to 65535");
    assert!(reason(&patched(sample(), 8, u32::MAX)).contains("4294967295 index entries"));
    assert!(reason(&patched(sample(), 12, 0x1000_0000)).contains("268435456 bytes of data"));
    assert!(reason(&patched(sample(), 12, 0x0fff_ffff)).starts_with("truncated in the main header"));
}

#[test]
fn damaged_region() {
    let region = |at: usize, word| reason(&patched(sample(), 16 + at, word));
    assert!(region(4, 6).ends_with("tag 63 at byte 112: region entry has a wrong type or length"));
    assert!(region(8, 0).ends_with("region trailer is not at the end of the data"));
    assert!(region(8, u32::MAX).ends_with("region trailer is not at the end of the data"));
    let trailer = sample().len() - 16;
    assert!(reason(&patched(sample(), trailer, 62)).ends_with("region trailer is damaged"));
    assert!(reason(&patched(sample(), trailer + 8, 0)).ends_with("region does not cover all index entries"));
}

#[test]
fn damaged_entries() {
    let entry = |at: usize, word| reason(&patched(sample(), 16 + 16 + at, word));
    assert_eq!(entry(0, 63), "main header, tag 63 at byte 128: tag number is too low");
    assert_eq!(entry(4, 10), "main header, tag 1000 at byte 128: type 10 is unknown");
    assert!(entry(8, u32::MAX).contains("data at 4294967295, expected from 0"));
    assert!(entry(12, 0).ends_with("0 elements"));
    assert!(entry(12, 2).ends_with("2 elements of type string"));
    assert!(entry(4, 0).ends_with("no data"));
    // A string array that has fewer strings than it says.
    assert!(reason(&patched(sample(), 16 + 2 * 16 + 12, 10_000)).contains("10000 elements of type string array reach"));
    assert!(reason(&patched(sample(), 16 + 2 * 16 + 12, u32::MAX)).ends_with("4294967295 elements"));
    // An unaligned number.
    let offset = u32::from_be_bytes(sample()[16 + 3 * 16 + 8..][..4].try_into().unwrap());
    assert!(reason(&patched(sample(), 16 + 3 * 16 + 8, offset + 1)).contains("is not aligned for type int16"));
    // Data of two entries that overlap.
    assert!(reason(&patched(sample(), 16 + 2 * 16 + 8, 0)).contains("data at 0, expected from 5"));
}

#[test]
fn without_region() {
    let bytes = header(None, &[Sample::string(1000, "old")]);
    let header = parse(&bytes).unwrap();
    assert!(!header.has_region());
    assert_eq!(header.string(1000).unwrap().unwrap(), "old");
}

#[test]
fn signature_region_may_name_the_image() {
    let mut bytes = header(Some(62), &[Sample::u32s(1000, &[1])]);
    let trailer = bytes.len() - 16;
    bytes = patched(bytes, trailer, 61);
    assert!(RpmHeader::parse(&bytes, Part::Signature, 96, &Limits::default()).unwrap().has_region());
}

#[test]
fn entries_behind_the_region_of_a_signature() {
    let mut bytes = header(Some(62), &[Sample::u32s(1000, &[1]), Sample::u32s(1007, &[2])]);
    // One more entry, SIZE again, with its data behind the trailer.
    let at = u32::try_from(bytes.len() - 16 - 3 * 16).unwrap();
    let entry = [1000, 4, at, 1].map(u32::to_be_bytes).concat();
    bytes.splice(64..64, entry);
    bytes.extend(5u32.to_be_bytes());
    bytes = patched(patched(bytes, 8, 4), 12, at + 4);
    let parse = |bytes: &[u8], part| RpmHeader::parse(bytes, part, 96, &Limits::default());
    assert_eq!(parse(&bytes, Part::Signature).unwrap().number(1000).unwrap(), Some(5));
    let inside = patched(bytes, 64 + 8, at - 4);
    assert!(parse(&inside, Part::Signature).unwrap_err().to_string().ends_with("data overlap the region trailer"));
}
