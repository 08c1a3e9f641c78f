//! XML text with holes: location, file time, checksum and size, which depend on the repository and not the package.

use crate::checksum::Checksum;
use crate::codec::{DecodeError, Decoder, Encoder};
use crate::escape::{push_attribute, push_named, push_number};

/// What a hole takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HoleKind {
    /// Checksum type, the rest of the start tag, and the digits.
    Checksum,
    /// The package's id: the digits of its checksum.
    PackageId,
    /// The file's mtime in seconds.
    FileTime,
    /// The file's size in bytes.
    PackageSize,
    /// The attributes of `<location>`.
    Location,
}

impl HoleKind {
    fn code(self) -> u8 {
        match self {
            Self::Checksum => 1,
            Self::PackageId => 2,
            Self::FileTime => 3,
            Self::PackageSize => 4,
            Self::Location => 5,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        [Self::Checksum, Self::PackageId, Self::FileTime, Self::PackageSize, Self::Location]
            .into_iter()
            .find(|kind| kind.code() == code)
    }
}

/// What is written into the holes.
#[derive(Clone, Copy, Debug)]
pub struct Fill<'a> {
    /// The file's checksum; its digits are the package id.
    pub checksum: &'a Checksum,
    /// The file's mtime, seconds since 1970.
    pub mtime: u64,
    /// The file's size in bytes.
    pub size: u64,
    /// Location within the repository or below its base.
    pub location_href: &'a str,
    /// `xml:base`; a value that starts with `/` becomes a `file://` URL.
    pub location_base: Option<&'a str>,
}

/// XML text of one package in one file, with its holes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fragment {
    pub(super) text: Vec<u8>,
    holes: Vec<(HoleKind, u32)>,
}

impl Fragment {
    pub(super) fn hole(&mut self, kind: HoleKind) {
        // Texts are below 4 GiB: `make` refuses larger ones.
        self.holes.push((kind, u32::try_from(self.text.len()).unwrap_or(u32::MAX)));
    }

    /// Appends the text with its holes filled.
    pub fn render(&self, fill: &Fill<'_>, out: &mut Vec<u8>) {
        let mut done = 0;
        for (kind, at) in &self.holes {
            let at = *at as usize;
            out.extend_from_slice(&self.text[done..at]);
            render_hole(*kind, fill, out);
            done = at;
        }
        out.extend_from_slice(&self.text[done..]);
    }

    /// Appends the stored form: number of holes, holes, text to the end.
    pub(crate) fn encode(&self, out: &mut Encoder) {
        out.u8(self.holes.len() as u8);
        for (kind, at) in &self.holes {
            out.u8(kind.code());
            out.u32(*at);
        }
        out.raw(&self.text);
    }

    /// Reads the stored form.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Decoder::new(bytes);
        let holes = decode_holes(&mut input)?;
        Ok(Self { text: input.rest().to_vec(), holes })
    }
}

/// Renders straight from the stored form, without a copy of the text.
pub(crate) fn render_encoded(bytes: &[u8], fill: &Fill<'_>, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let mut input = Decoder::new(bytes);
    let holes = decode_holes(&mut input)?;
    let text = input.rest();
    let mut done = 0;
    for (kind, at) in holes {
        let at = at as usize;
        out.extend_from_slice(&text[done..at]);
        render_hole(kind, fill, out);
        done = at;
    }
    out.extend_from_slice(&text[done..]);
    Ok(())
}

/// Reads holes and checks that they lie in the text, in ascending order.
fn decode_holes(input: &mut Decoder<'_>) -> Result<Vec<(HoleKind, u32)>, DecodeError> {
    let count = input.u8()?;
    let mut holes = Vec::with_capacity(usize::from(count));
    let mut last = 0;
    for _ in 0..count {
        let kind = HoleKind::from_code(input.u8()?).ok_or(DecodeError("unknown kind of hole"))?;
        let at = input.u32()?;
        if at < last {
            return Err(DecodeError("holes out of order"));
        }
        last = at;
        holes.push((kind, at));
    }
    if last as usize > input.rest().len() {
        return Err(DecodeError("hole outside of its text"));
    }
    Ok(holes)
}

fn render_hole(kind: HoleKind, fill: &Fill<'_>, out: &mut Vec<u8>) {
    match kind {
        HoleKind::Checksum => {
            push_named(out, "type", fill.checksum.kind().name());
            out.extend_from_slice(b" pkgid=\"YES\">");
            out.extend_from_slice(fill.checksum.hex().as_bytes());
        }
        HoleKind::PackageId => out.extend_from_slice(fill.checksum.hex().as_bytes()),
        HoleKind::FileTime => push_number(out, fill.mtime),
        HoleKind::PackageSize => push_number(out, fill.size),
        HoleKind::Location => push_location(fill, out),
    }
}

/// Appends the attributes of `<location>`.
pub(crate) fn push_location(fill: &Fill<'_>, out: &mut Vec<u8>) {
    if let Some(base) = fill.location_base.filter(|base| !base.is_empty()) {
        out.extend_from_slice(b" xml:base=\"");
        if base.starts_with('/') {
            out.extend_from_slice(b"file://");
        }
        push_attribute(out, base);
        out.push(b'"');
    }
    push_named(out, "href", fill.location_href);
}
