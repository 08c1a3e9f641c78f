//! Packages in text of the very form that this crate writes, found without a parser.
//!
//! In text and attribute values `<` and `"` are escaped, so that tags and their ends can be searched for. What is not
//! in this form is not understood.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use memchr::memmem;

use crate::checksum::{Checksum, ChecksumType};
use crate::fragment::{Fill, push_location};

const END: &[u8] = b"</package>\n";
const TIME: &[u8] = b"\n  <time file=\"";
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
    pub nevra: Arc<str>,
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

/// What primary says of a package, in its text.
struct Found<'a> {
    name: Cow<'a, str>,
    arch: Cow<'a, str>,
    epoch: u32,
    version: Cow<'a, str>,
    release: Cow<'a, str>,
    kind: ChecksumType,
    checksum: Cow<'a, str>,
    mtime: u64,
    build_time: u64,
    size: u64,
    base: Option<Cow<'a, str>>,
    href: Cow<'a, str>,
}

/// Searches for a text that stands in every package.
struct Needle(LazyLock<memmem::Finder<'static>>);

impl Needle {
    fn find(&self, text: &[u8]) -> Option<usize> {
        self.0.find(text)
    }
}

static ENDS: Needle = Needle(LazyLock::new(|| memmem::Finder::new(END)));
static TIMES: Needle = Needle(LazyLock::new(|| memmem::Finder::new(TIME)));
static LOCATIONS: Needle = Needle(LazyLock::new(|| memmem::Finder::new(LOCATION)));

/// Where each of `count` packages ends, if the text has just these.
pub(super) fn ends(text: &[u8], count: usize) -> Option<Vec<usize>> {
    let mut ends = Vec::with_capacity(count.min(text.len() / END.len()));
    let mut start = 0;
    for at in ENDS.0.find_iter(text) {
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

/// Whether a package of primary is this one.
pub(super) fn is_package(part: &[u8], package: &PreviousPackage) -> bool {
    Found::read(part).is_some_and(|found| {
        found.checksum == package.checksum.hex()
            && found.kind == package.checksum.kind()
            && found.href == package.location_href
            && found.base.as_deref() == package.location_base.as_deref()
            && (found.size, found.mtime) == (package.size, package.mtime)
    })
}

/// All packages of a frame of primary.
pub(super) fn packages(text: &[u8], count: u32) -> Result<Vec<PreviousPackage>, &'static str> {
    let ends = ends(text, count as usize).ok_or("a frame has another number of packages")?;
    let mut start = 0;
    let mut nevra = String::new();
    let mut found = Vec::with_capacity(ends.len());
    for end in ends {
        let package = Found::read(&text[start..end]).and_then(|found| found.package(&mut nevra));
        found.push(package.ok_or("a package is not in the form of this program")?);
        start = end;
    }
    Ok(found)
}

impl<'a> Found<'a> {
    fn read(text: &'a [u8]) -> Option<Self> {
        let mut input = Input(text);
        input.expect("<package type=\"rpm\">\n  <name>")?;
        let name = input.until("</name>\n  <arch>")?;
        let arch = input.until("</arch>\n  <version epoch=\"")?;
        let epoch = input.until("\" ver=\"")?.parse().ok()?;
        let version = input.until("\" rel=\"")?;
        let release = input.until("\"/>\n  <checksum type=\"")?;
        let kind = input.until("\" pkgid=\"YES\">")?.parse().ok()?;
        let checksum = input.until("</checksum>\n")?;
        input.skip_behind(&TIMES, TIME)?;
        let mtime = input.until("\" build=\"")?.parse().ok()?;
        let build_time = input.until("\"/>\n  <size package=\"")?.parse().ok()?;
        let size = input.until("\" installed=\"")?.parse().ok()?;
        input.skip_behind(&LOCATIONS, LOCATION)?;
        let base = match input.expect(" xml:base=\"") {
            Some(()) => Some(input.until("\"")?),
            None => None,
        };
        input.expect(" href=\"")?;
        let href = input.until("\"/>\n")?;
        Some(Self { name, arch, epoch, version, release, kind, checksum, mtime, build_time, size, base, href })
    }

    /// `nevra` is where its NEVRA is put together.
    fn package(self, nevra: &mut String) -> Option<PreviousPackage> {
        use std::fmt::Write as _;
        let Self { name, arch, epoch, version, release, kind, checksum, mtime, build_time, size, base, href } = self;
        nevra.clear();
        write!(nevra, "{name}-{epoch}:{version}-{release}.{arch}").ok()?;
        Some(PreviousPackage {
            location_href: href.into_owned(),
            location_base: base.map(Cow::into_owned),
            size,
            mtime,
            checksum: Checksum::new(kind, &checksum).ok()?,
            nevra: nevra.as_str().into(),
            build_time,
        })
    }
}

/// Appends a package of primary with another location.
pub(super) fn with_location(part: &[u8], fill: &Fill<'_>, out: &mut Vec<u8>) -> Option<()> {
    let (head, rest) = part.split_at(LOCATIONS.find(part)? + LOCATION.len());
    let end = memmem::find(rest, b"/>\n")?;
    out.extend_from_slice(head);
    push_location(fill, out);
    out.extend_from_slice(&rest[end..]);
    Some(())
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn expect(&mut self, text: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(text.as_bytes())?;
        Some(())
    }

    fn skip_behind(&mut self, needle: &Needle, text: &[u8]) -> Option<()> {
        self.0 = &self.0[needle.find(self.0)? + text.len()..];
        Some(())
    }

    /// What is before a text, without escapes; there is no markup in it.
    fn until(&mut self, text: &str) -> Option<Cow<'a, str>> {
        let mut end = memchr::memchr3(b'<', b'"', b'&', self.0)?;
        let is_escaped = self.0[end] == b'&';
        if is_escaped {
            end = memchr::memchr2(b'<', b'"', self.0)?;
        }
        let value = std::str::from_utf8(&self.0[..end]).ok()?;
        let value = if is_escaped { unescaped(value)? } else { Cow::Borrowed(value) };
        self.0 = &self.0[end..];
        self.expect(text)?;
        Some(value)
    }
}

fn unescaped(text: &str) -> Option<Cow<'_, str>> {
    let Some((plain, mut rest)) = text.split_once('&') else { return Some(Cow::Borrowed(text)) };
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
                return Some(Cow::Owned(value));
            }
        }
    }
}
