//! The index of a file's frames, at its end, where readers of the format see nothing.
//!
//! In zstd it is a skippable frame (RFC 8878, 3.1.2), in gzip the extra field of empty members (RFC 1952, 2.3.1.1).
//! It says where frames are and how many packages each has. It says nothing about single packages: who uses them looks at
//! the frames themselves, so that a wrong index costs time and nothing else.
//!
//! All numbers are little-endian. Index: version, what made the frames, whether there is a listing (0 no, 1 yes, 2 yes and
//! packages are distinct) and its digest ([`super::listing`]), and for each frame its length compressed and not, and its
//! packages. Footer: length of all that was appended, length of the index, magic.

use crate::codec::{DecodeError, Decoder, Encoder};
use crate::compression::Compression;
use crate::frames::listing::Listing;

const MAGIC: &[u8; 8] = b"TUTTIFRM";
const VERSION: u32 = 2;
const FOOTER: usize = 16;
/// One of the sixteen magic numbers of skippable frames.
const SKIPPABLE: [u8; 4] = 0x184D_2A5E_u32.to_le_bytes();
/// Bytes of an index in one gzip member: an extra field has at most 65,535.
const MEMBER_DATA: usize = 60_000;
/// gzip header with an extra field, no time, unknown system.
const MEMBER_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff];
/// An empty deflate stream, CRC and length of nothing.
const MEMBER_END: [u8; 10] = [3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// Bytes of a member besides its data: head, length of the extra field, subfield's name and length, end.
const MEMBER_REST: usize = 26;
const SUBFIELD: [u8; 2] = *b"TU";

/// Bytes at the end of a file that are enough for [`appended`].
pub(crate) const TAIL: u64 = 64;
/// Largest index that is read, in bytes: some four million frames.
pub(crate) const MAX_APPENDED: u64 = 48 << 20;

/// One frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Compressed length in bytes.
    pub(crate) packed: u32,
    /// Length of the text in bytes.
    pub(crate) open: u32,
    /// Packages; none in the first and last frame.
    pub(crate) packages: u32,
}

/// All frames of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FrameIndex {
    /// What made them: frames of another program or version are not copied.
    pub(crate) maker: String,
    /// Of all packages; primary has one.
    pub(crate) listing: Option<Listing>,
    /// In order.
    pub(crate) frames: Vec<Frame>,
}

impl FrameIndex {
    fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        out.u32(VERSION);
        out.text(&self.maker);
        match &self.listing {
            None => out.u8(0),
            Some(Listing { digest, distinct }) => {
                out.u8(if *distinct { 2 } else { 1 });
                out.raw(digest);
            }
        }
        out.length(self.frames.len());
        for frame in &self.frames {
            out.u32(frame.packed);
            out.u32(frame.open);
            out.u32(frame.packages);
        }
        out.into_bytes()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Decoder::new(bytes);
        if input.u32()? != VERSION {
            return Err(DecodeError("index of an unknown version"));
        }
        let maker = input.text()?;
        let listing = match input.u8()? {
            0 => None,
            kind @ (1 | 2) => Some(Listing { digest: input.array()?, distinct: kind == 2 }),
            _ => return Err(DecodeError("listing of an unknown kind")),
        };
        let mut frames = Vec::with_capacity(input.count(12)?);
        for _ in 0..frames.capacity() {
            frames.push(Frame { packed: input.u32()?, open: input.u32()?, packages: input.u32()? });
        }
        input.end()?;
        Ok(Self { maker, listing, frames })
    }

    /// What is appended to a file of this compression; nothing, if it cannot have an index.
    pub(crate) fn wrapped(&self, compression: Compression) -> Vec<u8> {
        let mut data = self.encode();
        let index = data.len();
        let total = match compression {
            Compression::Zstd => index + FOOTER + 8,
            Compression::Gzip => index + FOOTER + (index + FOOTER).div_ceil(MEMBER_DATA) * MEMBER_REST,
            Compression::None | Compression::Xz | Compression::Bzip2 => return Vec::new(),
        };
        let (Ok(total), Ok(index)) = (u32::try_from(total), u32::try_from(index)) else { return Vec::new() };
        data.extend_from_slice(&total.to_le_bytes());
        data.extend_from_slice(&index.to_le_bytes());
        data.extend_from_slice(MAGIC);
        let mut out = Vec::with_capacity(total as usize);
        if compression == Compression::Zstd {
            out.extend_from_slice(&SKIPPABLE);
            out.extend_from_slice(&(total - 8).to_le_bytes());
            out.extend_from_slice(&data);
            return out;
        }
        // The last member is full, so that the footer is never cut.
        for part in parts(data.len()) {
            out.extend_from_slice(&MEMBER_HEAD);
            // At most MEMBER_DATA + 4.
            out.extend_from_slice(&(part.len() as u16 + 4).to_le_bytes());
            out.extend_from_slice(&SUBFIELD);
            out.extend_from_slice(&(part.len() as u16).to_le_bytes());
            out.extend_from_slice(&data[part]);
            out.extend_from_slice(&MEMBER_END);
        }
        out
    }
}

/// Parts of data for members: the first takes what is left over.
fn parts(length: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let count = length.div_ceil(MEMBER_DATA);
    let end = move |number: usize| length - (count - number) * MEMBER_DATA;
    (0..count).map(move |number| if number == 0 { 0..end(1) } else { end(number)..end(number + 1) })
}

/// Length of what was appended to a file, by its last [`TAIL`] bytes.
pub(crate) fn appended(compression: Compression, tail: &[u8]) -> Option<u64> {
    let tail = match compression {
        Compression::Zstd => tail,
        Compression::Gzip => tail.strip_suffix(&MEMBER_END)?,
        Compression::None | Compression::Xz | Compression::Bzip2 => return None,
    };
    let footer = tail.last_chunk::<FOOTER>()?;
    let (total, _) = read_footer(footer)?;
    Some(u64::from(total)).filter(|total| *total <= MAX_APPENDED)
}

fn read_footer(footer: &[u8; FOOTER]) -> Option<(u32, u32)> {
    let mut input = Decoder::new(footer);
    let (total, index) = (input.u32().ok()?, input.u32().ok()?);
    (input.rest() == MAGIC).then_some((total, index))
}

/// Reads an index from what was appended.
pub(crate) fn unwrap(compression: Compression, appended: &[u8]) -> Option<FrameIndex> {
    let data = match compression {
        Compression::Zstd => {
            let data = appended.strip_prefix(&SKIPPABLE)?.get(4..)?.to_vec();
            (appended[4..8] == u32::try_from(data.len()).ok()?.to_le_bytes()).then_some(data)?
        }
        Compression::Gzip => members(appended)?,
        Compression::None | Compression::Xz | Compression::Bzip2 => return None,
    };
    let (index, footer) = data.split_last_chunk::<FOOTER>()?;
    let (total, length) = read_footer(footer)?;
    if total as usize != appended.len() || length as usize != index.len() {
        return None;
    }
    FrameIndex::decode(index).ok()
}

fn members(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut data = Vec::with_capacity(rest.len());
    while !rest.is_empty() {
        let mut input = Decoder::new(rest.strip_prefix(&MEMBER_HEAD)?);
        let lengths = input.raw(2).ok()?;
        let outer = u16::from_le_bytes([lengths[0], lengths[1]]);
        let lengths = input.raw(4).ok()?;
        let inner = u16::from_le_bytes([lengths[2], lengths[3]]);
        if lengths[..2] != SUBFIELD || outer != inner.checked_add(4)? {
            return None;
        }
        data.extend_from_slice(input.raw(usize::from(inner)).ok()?);
        rest = input.rest().strip_prefix(&MEMBER_END)?;
    }
    Some(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn index(frames: u32) -> FrameIndex {
        let frames: Vec<Frame> = (0..frames).map(|n| Frame { packed: n, open: n * 10, packages: 3 }).collect();
        let listing =
            (frames.len().is_multiple_of(2)).then_some(Listing { digest: [7; 32], distinct: frames.len() == 7 });
        FrameIndex { maker: "test".into(), listing, frames }
    }

    #[test]
    fn comes_back_and_readers_see_nothing() {
        for frames in [0, 1, 4998, 4999, 5000, 20_000] {
            for compression in [Compression::Zstd, Compression::Gzip] {
                let mut file = Vec::new();
                compression.compress(&mut &b"text"[..], &mut file).unwrap();
                let wrapped = index(frames).wrapped(compression);
                file.extend_from_slice(&wrapped);
                let tail = &file[file.len().saturating_sub(TAIL as usize)..];
                assert_eq!(appended(compression, tail), Some(wrapped.len() as u64), "{frames} {compression}");
                assert_eq!(unwrap(compression, &wrapped), Some(index(frames)));
                let mut text = String::new();
                compression.decoder(file.as_slice()).unwrap().read_to_string(&mut text).unwrap();
                assert_eq!(text, "text");
            }
        }
    }

    #[test]
    fn damage_is_noticed_or_changes_numbers_only() {
        for compression in [Compression::Zstd, Compression::Gzip] {
            let wrapped = index(7).wrapped(compression);
            for at in 0..wrapped.len() {
                let mut bad = wrapped.clone();
                bad[at] ^= 1;
                assert_ne!(unwrap(compression, &bad), Some(index(7)), "byte {at}");
                assert_eq!(unwrap(compression, &wrapped[..at]), None);
                assert_eq!(unwrap(compression, &wrapped[at + 1..]), None);
            }
        }
    }
}
