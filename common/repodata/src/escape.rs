//! Text and attribute values as libxml2 writes them for createrepo_c.
//!
//! createrepo_c 1.2.5 and 0.17.3 both dump nodes that belong to no document. libxml2 then writes text as UTF-8, but
//! attribute values with a character reference for each character outside ASCII; seen in `other.xml`, where authors'
//! names are `&#xE1;` and the changelog text beside them is not.

/// Appends text content: `<`, `>`, `&` and carriage return are escaped.
pub(crate) fn push_text(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut done = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let replacement: &[u8] = match byte {
            b'<' => b"&lt;",
            b'>' => b"&gt;",
            b'&' => b"&amp;",
            b'\r' => b"&#13;",
            _ => continue,
        };
        out.extend_from_slice(&bytes[done..at]);
        out.extend_from_slice(replacement);
        done = at + 1;
    }
    out.extend_from_slice(&bytes[done..]);
}

/// Appends an attribute's value (without quotes).
pub(crate) fn push_attribute(out: &mut Vec<u8>, value: &str) {
    let bytes = value.as_bytes();
    let mut done = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let replacement: &[u8] = match byte {
            b'<' => b"&lt;",
            b'>' => b"&gt;",
            b'&' => b"&amp;",
            b'"' => b"&quot;",
            b'\t' => b"&#9;",
            b'\n' => b"&#10;",
            b'\r' => b"&#13;",
            0x80.. => return push_attribute_slowly(out, &value[done..]),
            _ => continue,
        };
        out.extend_from_slice(&bytes[done..at]);
        out.extend_from_slice(replacement);
        done = at + 1;
    }
    out.extend_from_slice(&bytes[done..]);
}

/// The rest of an attribute's value that has characters outside ASCII.
fn push_attribute_slowly(out: &mut Vec<u8>, value: &str) {
    for character in value.chars() {
        if character.is_ascii() {
            let mut one = [0; 4];
            push_attribute(out, character.encode_utf8(&mut one));
        } else {
            out.extend_from_slice(format!("&#x{:X};", u32::from(character)).as_bytes());
        }
    }
}

/// Appends ` name="value"`.
pub(crate) fn push_named(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(b' ');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"=\"");
    push_attribute(out, value);
    out.push(b'"');
}

/// Appends a decimal number.
pub(crate) fn push_number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Whether XML 1.0 cannot hold the text: control characters other than tab, newline and carriage return, U+FFFE, U+FFFF.
pub(crate) fn is_forbidden(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.iter().any(|byte| *byte < 32 && !matches!(byte, b'\t' | b'\n' | b'\r'))
        || (bytes.contains(&0xef) && text.chars().any(|c| matches!(c, '\u{fffe}' | '\u{ffff}')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> String {
        let mut out = Vec::new();
        push_text(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    fn attribute(value: &str) -> String {
        let mut out = Vec::new();
        push_attribute(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn as_libxml2() {
        assert_eq!(text("a<b>&\"c'\t\r\né"), "a&lt;b&gt;&amp;\"c'\t&#13;\né");
        assert_eq!(attribute("Tomáš <t@x> \"q\"\n\t\r"), "Tom&#xE1;&#x161; &lt;t@x&gt; &quot;q&quot;&#10;&#9;&#13;");
        assert_eq!(attribute("\u{1f600}a"), "&#x1F600;a");
    }

    #[test]
    fn numbers() {
        for number in [0, 9, 10, 12345, u64::MAX] {
            let mut out = Vec::new();
            push_number(&mut out, number);
            assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
        }
    }

    #[test]
    fn forbidden_characters() {
        assert!(is_forbidden("a\u{1}") && is_forbidden("\u{ffff}") && is_forbidden("\0") && is_forbidden("x\u{fffe}"));
        assert!(!is_forbidden("tab\tnl\ncr\r del\u{7f} \u{ff5e} \u{fffd} é"));
    }
}
