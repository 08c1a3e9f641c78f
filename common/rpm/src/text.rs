//! Header bytes as text.

/// Text of header bytes, as createrepo_c writes it: UTF-8 is kept; anything else is read as Latin-1, of which control
/// codes (below 0x20 save tab, line feed and carriage return; 0x80 to 0xbf) are left out.
///
/// createrepo_c 1.2.5 `xml_dump.c` (`cr_latin1_to_utf8`) drops 0xa0–0xbf too, although those are printable.
pub(crate) fn decode(bytes: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.to_owned();
    }
    let kept = bytes.iter().filter(|byte| match byte {
        b'\t' | b'\n' | b'\r' => true,
        0..0x20 | 0x80..0xc0 => false,
        _ => true,
    });
    kept.map(|byte| char::from(*byte)).collect()
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn utf8_is_kept() {
        assert_eq!(decode("Jiří\u{1}".as_bytes()), "Jiří\u{1}");
    }

    #[test]
    fn other_bytes_are_latin1_without_controls() {
        assert_eq!(decode(b"Ren\xe9 \x96\xa9\x01\tx"), "René \tx");
    }
}
