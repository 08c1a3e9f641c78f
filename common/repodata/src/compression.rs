//! Compression formats of repository metadata.

use std::fmt;
use std::io::{self, BufRead, Read as _, Write};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use liblzma::stream::{CONCATENATED, Check, Stream};
use serde::{Deserialize, Serialize};
use zstd::zstd_safe::CParameter;

/// zstd level of published files: 24 times faster than 19 for 8 % less ratio; also createrepo_c 1.2.5's.
pub const ZSTD_LEVEL: i32 = 10;
/// Logarithm of the number of places in a frame's hash table. The level's own 19 and more are for long texts: in frames,
/// which begin with an empty table each, they take a fifth longer, for 0.2 % (docs/createrepo-frames.md).
pub(crate) const ZSTD_FRAME_HASH_LOG: u32 = 17;
/// zstd level of internal files.
pub(crate) const ZSTD_INTERNAL_LEVEL: i32 = 3;
/// gzip level when none is asked for.
pub const GZIP_LEVEL: u32 = 6;
/// xz preset and check, bzip2 block size in 100 kB: those of createrepo_c 1.2.5 (`compression_wrapper.c`).
const XZ_PRESET: u32 = 5;
const BZIP2_LEVEL: u32 = 5;
/// Largest window that a zstd frame may ask for: 2^27 bytes, the limit of the zstd tool itself.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// Memory that an xz decoder may use, in bytes: `xz -9` needs 65 MiB.
const XZ_MEMORY_LIMIT: u64 = 160 * 1024 * 1024;

/// A compression format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not compressed.
    None,
    /// gzip, `.gz`.
    Gzip,
    /// zstd, `.zst`.
    Zstd,
    /// xz, `.xz`.
    Xz,
    /// bzip2, `.bz2`.
    Bzip2,
}

impl Compression {
    /// All formats.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Zstd, Self::Xz, Self::Bzip2];

    /// Returns the suffix of file names with its dot; empty for no compression.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
            Self::Xz => ".xz",
            Self::Bzip2 => ".bz2",
        }
    }

    /// Recognises a format by the first bytes of a file.
    pub fn detect(head: &[u8]) -> Self {
        if head.starts_with(&[0x1f, 0x8b]) {
            Self::Gzip
        } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            Self::Zstd
        } else if head.starts_with(&[0xfd, b'7', b'z', b'X', b'Z', 0]) {
            Self::Xz
        } else if head.starts_with(b"BZh") {
            Self::Bzip2
        } else {
            Self::None
        }
    }

    /// Starts a compressed stream on `output`; `gzip_level` counts only for gzip. zstd takes further threads, whose
    /// number changes no byte.
    pub(crate) fn encoder<W: Write>(self, output: W, gzip_level: u32, threads: usize) -> io::Result<Encoder<W>> {
        Ok(match self {
            Self::None => Encoder::None(output),
            // The gzip header's mtime stays 0: same input, same bytes.
            Self::Gzip => {
                Encoder::Gzip(flate2::write::GzEncoder::new(output, flate2::Compression::new(gzip_level.clamp(1, 9))))
            }
            Self::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(output, ZSTD_LEVEL)?;
                // Without any, it would cut its work in another way.
                encoder.multithread(u32::try_from(threads.clamp(1, 64)).unwrap_or(1))?;
                Encoder::Zstd(encoder)
            }
            Self::Xz => {
                let stream = Stream::new_easy_encoder(XZ_PRESET, Check::Crc32).map_err(io::Error::other)?;
                Encoder::Xz(liblzma::write::XzEncoder::new_stream(output, stream))
            }
            Self::Bzip2 => Encoder::Bzip2(bzip2::write::BzEncoder::new(output, bzip2::Compression::new(BZIP2_LEVEL))),
        })
    }

    /// Compresses one frame: a whole small file of this format.
    pub(crate) fn frame(self, text: &[u8], gzip_level: u32) -> io::Result<Vec<u8>> {
        if self == Self::Zstd {
            // A new context each time: what a used one makes may depend on what it made before.
            let mut compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL)?;
            compressor.set_parameter(CParameter::HashLog(ZSTD_FRAME_HASH_LOG))?;
            return compressor.compress(text);
        }
        let mut encoder = self.encoder(Vec::with_capacity(text.len() / 8), gzip_level, 1)?;
        encoder.write_all(text)?;
        encoder.finish()
    }

    /// Compresses all that a reader gives, as published files are.
    ///
    /// # Errors
    /// Those of reader and output.
    pub fn compress(self, input: &mut dyn io::Read, output: impl Write) -> io::Result<()> {
        let mut encoder = self.encoder(output, GZIP_LEVEL, 1)?;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match input.read(&mut buffer) {
                Ok(0) => return encoder.finish().map(drop),
                Ok(length) => encoder.write_all(&buffer[..length])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads a compressed stream, also one of several frames; bounded in memory, not in output.
    ///
    /// # Errors
    /// When the decoder cannot be made.
    pub fn decoder<'a>(self, input: impl BufRead + Send + 'a) -> io::Result<Box<dyn io::Read + Send + 'a>> {
        Ok(match self {
            Self::None => Box::new(input),
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
            Self::Xz => {
                let stream = Stream::new_stream_decoder(XZ_MEMORY_LIMIT, CONCATENATED).map_err(io::Error::other)?;
                Box::new(liblzma::bufread::XzDecoder::new_stream(input, stream))
            }
            Self::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
        })
    }
}

/// Decompresses frames, with contexts that are used again.
pub(crate) struct Unpacker {
    compression: Compression,
    idle: Mutex<Vec<zstd::bulk::Decompressor<'static>>>,
}

impl Unpacker {
    pub(crate) fn new(compression: Compression) -> Self {
        Self { compression, idle: Mutex::default() }
    }

    /// Decompresses one frame, such as [`Compression::frame`] makes, of a text of this length.
    ///
    /// # Errors
    /// When it is damaged, or its text has another length.
    pub(crate) fn unpack(&self, packed: &[u8], length: usize) -> io::Result<Vec<u8>> {
        let text = if self.compression == Compression::Zstd {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut decompressor = idle.map_or_else(zstd::bulk::Decompressor::new, Ok)?;
            let text = decompressor.decompress(packed, length)?;
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(decompressor);
            text
        } else {
            let mut text = Vec::with_capacity(length);
            self.compression.decoder(packed)?.take(length as u64 + 1).read_to_end(&mut text)?;
            text
        };
        if text.len() == length { Ok(text) } else { Err(io::Error::other("a frame has another length")) }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::None => "none",
            Self::Gzip => "gz",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Bzip2 => "bz2",
        })
    }
}

/// A compression format's name is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown compression {0:?} (hint: one of none, gz, zstd, xz, bz2)")]
pub struct UnknownCompression(String);

impl FromStr for Compression {
    type Err = UnknownCompression;

    /// Names of createrepo_c's `--general-compress-type`, and `none`.
    fn from_str(text: &str) -> Result<Self, UnknownCompression> {
        match text.to_ascii_lowercase().as_str() {
            "none" => Ok(Self::None),
            "gz" | "gzip" => Ok(Self::Gzip),
            "zstd" | "zst" => Ok(Self::Zstd),
            "xz" => Ok(Self::Xz),
            "bz2" | "bzip2" => Ok(Self::Bzip2),
            _ => Err(UnknownCompression(text.chars().take(32).collect())),
        }
    }
}

/// A compressed stream being written.
pub(crate) enum Encoder<W: Write> {
    None(W),
    Gzip(flate2::write::GzEncoder<W>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
    Xz(liblzma::write::XzEncoder<W>),
    Bzip2(bzip2::write::BzEncoder<W>),
}

impl<W: Write> Encoder<W> {
    fn inner(&mut self) -> &mut dyn Write {
        match self {
            Self::None(inner) => inner,
            Self::Gzip(inner) => inner,
            Self::Zstd(inner) => inner,
            Self::Xz(inner) => inner,
            Self::Bzip2(inner) => inner,
        }
    }

    /// Ends the stream and returns the output.
    pub(crate) fn finish(self) -> io::Result<W> {
        match self {
            Self::None(inner) => Ok(inner),
            Self::Gzip(inner) => inner.finish(),
            Self::Zstd(inner) => inner.finish(),
            Self::Xz(inner) => inner.finish(),
            Self::Bzip2(inner) => inner.finish(),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn every_format_round_trips_and_is_detected() {
        let text = "repository metadata ".repeat(10_000);
        for format in Compression::ALL {
            let mut encoder = format.encoder(Vec::new(), GZIP_LEVEL, 1).unwrap();
            encoder.write_all(text.as_bytes()).unwrap();
            let packed = encoder.finish().unwrap();
            assert_eq!(Compression::detect(&packed), format);
            let mut back = String::new();
            format.decoder(packed.as_slice()).unwrap().read_to_string(&mut back).unwrap();
            assert_eq!(back, text);
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        assert!("zck".parse::<Compression>().is_err());
    }
}
