//! Paths as people are shown them.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// A path on one line: control characters and bytes that are no UTF-8 are escaped, so that neither rules the terminal.
pub fn shown(path: &Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        for character in chunk.valid().chars() {
            match character.is_control() {
                true => text.extend(character.escape_default()),
                false => text.push(character),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn one_line_and_nothing_lost() {
        assert_eq!(shown(Path::new("/a b/ü\".rpm")), "/a b/ü\".rpm");
        assert_eq!(shown(Path::new("a\r\n\u{1b}[2J")), "a\\r\\n\\u{1b}[2J");
        assert_eq!(shown(Path::new(OsStr::from_bytes(b"a\xff\xc3\xa9\xc3"))), "a\\xffé\\xc3");
    }
}
