//! Packages in text of the very form that this crate writes, found without a parser.
//!
//! In text and attribute values `<` and `"` are escaped, so that tags and their ends can be searched for. What is not
//! in this form is not understood.

use memchr::memmem;

use crate::checksum::Checksum;
use crate::fragment::{Fill, push_location};

const END: &[u8] = b"</package>\n";
const LOCATION: &[u8] = b"\n  <location";

/// What primary says of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviousPackage {
    /// Location.
    pub location_href: String,
    /// `xml:base`.
    pub location_base: Option<String>,
    /// Size of the file in bytes.
    pub size: u64,
    /// mtime of the file, seconds since 1970.
    pub mtime: u64,
    /// Checksum of the file.
    pub checksum: Checksum,
    /// `NAME-EPOCH:VERSION-RELEASE.ARCH`.
    pub nevra: String,
    /// When it was built, seconds since 1970.
    pub build_time: u64,
}

impl PreviousPackage {
    /// Whether a location is this one; a base that is a path is written as a URL.
    pub(crate) fn is_at(&self, href: &str, base: Option<&str>) -> bool {
        let own = self.location_base.as_deref();
        let same_base = match base.filter(|base| !base.is_empty()) {
            Some(base) if base.starts_with('/') => own.and_then(|own| own.strip_prefix("file://")) == Some(base),
            base => own == base,
        };
        same_base && self.location_href == href
    }
}

/// Where each of `count` packages ends, if the text has just these.
pub(super) fn ends(text: &[u8], count: usize) -> Option<Vec<usize>> {
    let mut ends = Vec::with_capacity(count.min(text.len() / END.len()));
    let mut start = 0;
    for at in memmem::find_iter(text, END) {
        if !text[start..].starts_with(b"<package ") {
            return None;
        }
        start = at + END.len();
        ends.push(start);
    }
    (ends.len() == count && start == text.len()).then_some(ends)
}

/// Whether a package of filelists or other has this id.
pub(super) fn has_id(part: &[u8], id: &str) -> bool {
    let rest = part.strip_prefix(b"<package pkgid=\"").and_then(|rest| rest.strip_prefix(id.as_bytes()));
    rest.is_some_and(|rest| rest.starts_with(b"\" name=\""))
}

/// All packages of a frame of primary.
pub(super) fn packages(text: &[u8], count: u32) -> Result<Vec<PreviousPackage>, &'static str> {
    let ends = ends(text, count as usize).ok_or("a frame has another number of packages")?;
    let mut start = 0;
    let mut found = Vec::with_capacity(ends.len());
    for end in ends {
        found.push(package(&text[start..end]).ok_or("a package is not in the form of this program")?);
        start = end;
    }
    Ok(found)
}

fn package(text: &[u8]) -> Option<PreviousPackage> {
    let mut input = Input(text);
    input.expect("<package type=\"rpm\">\n  <name>")?;
    let name = input.until("</name>\n  <arch>")?;
    let arch = input.until("</arch>\n  <version epoch=\"")?;
    let epoch: u32 = input.until("\" ver=\"")?.parse().ok()?;
    let version = input.until("\" rel=\"")?;
    let release = input.until("\"/>\n  <checksum type=\"")?;
    let kind = input.until("\" pkgid=\"YES\">")?.parse().ok()?;
    let checksum = Checksum::new(kind, &input.until("</checksum>\n")?).ok()?;
    input.skip_to("\n  <time file=\"")?;
    let mtime = input.until("\" build=\"")?.parse().ok()?;
    let build_time = input.until("\"/>\n  <size package=\"")?.parse().ok()?;
    let size = input.until("\" installed=\"")?.parse().ok()?;
    input.skip_to(std::str::from_utf8(LOCATION).ok()?)?;
    let location_base = match input.expect(" xml:base=\"") {
        Some(()) => Some(input.until("\"")?),
        None => None,
    };
    input.expect(" href=\"")?;
    let location_href = input.until("\"/>\n")?;
    let nevra = format!("{name}-{epoch}:{version}-{release}.{arch}");
    Some(PreviousPackage { location_href, location_base, size, mtime, checksum, nevra, build_time })
}

/// Appends a package of primary with another location.
pub(super) fn with_location(part: &[u8], fill: &Fill<'_>, out: &mut Vec<u8>) -> Option<()> {
    let (head, rest) = part.split_at(memmem::find(part, LOCATION)? + LOCATION.len());
    let end = memmem::find(rest, b"/>\n")?;
    out.extend_from_slice(head);
    push_location(fill, out);
    out.extend_from_slice(&rest[end..]);
    Some(())
}

struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn expect(&mut self, text: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(text.as_bytes())?;
        Some(())
    }

    fn skip_to(&mut self, text: &str) -> Option<()> {
        self.0 = &self.0[memmem::find(self.0, text.as_bytes())? + text.len()..];
        Some(())
    }

    /// What is before a text, without escapes; there is no markup in it.
    fn until(&mut self, text: &str) -> Option<String> {
        let end = self.0.iter().position(|byte| matches!(byte, b'<' | b'"'))?;
        let value = unescaped(std::str::from_utf8(&self.0[..end]).ok()?)?;
        self.0 = &self.0[end..];
        self.expect(text)?;
        Some(value)
    }
}

fn unescaped(text: &str) -> Option<String> {
    let Some((plain, mut rest)) = text.split_once('&') else { return Some(text.to_owned()) };
    let mut value = plain.to_owned();
    loop {
        let (name, after) = rest.split_once(';')?;
        value.push(match name {
            "lt" => '<',
            "gt" => '>',
            "amp" => '&',
            "quot" => '"',
            _ => {
                let number = name.strip_prefix('#')?;
                let code = match number.strip_prefix('x') {
                    Some(digits) => u32::from_str_radix(digits, 16),
                    None => number.parse(),
                };
                char::from_u32(code.ok()?)?
            }
        });
        match after.split_once('&') {
            Some((plain, next)) => {
                value.push_str(plain);
                rest = next;
            }
            None => {
                value.push_str(after);
                return Some(value);
            }
        }
    }
}
