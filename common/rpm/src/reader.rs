//! Reads the headers of RPM files: lead, signature header, main header. The payload is not looked into.
//!
//! One read of 64 KiB holds the headers of nearly every package; larger headers are read further, but never beyond what
//! the file really has, so that a damaged length cannot make the reader allocate. Format: rpm 4.20
//! `docs/manual/format_v4.md` and `lib/package.c`.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::error::{Error, Part};
use crate::header::{INTRO, Intro, Limits, RpmHeader};
use crate::model::Package;
use crate::payload::PayloadVerifier;
use crate::tag::{main, signature};

/// Bytes of the lead.
pub const LEAD: usize = 96;

/// Bytes that are read first, and at least per further read.
const CHUNK: usize = 64 * 1024;

/// Reads many headers with one buffer.
///
/// ```no_run
/// let mut reader = tutti_rpm::HeaderReader::default();
/// let package = reader.package("tutti-1-1.noarch.rpm".as_ref())?;
/// println!("{} {}", package.name, package.evr);
/// # Ok::<(), tutti_rpm::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct HeaderReader {
    buffer: Vec<u8>,
    limits: Limits,
}

impl HeaderReader {
    /// A reader that refuses headers above `limits`.
    pub fn with_limits(limits: Limits) -> HeaderReader {
        HeaderReader { buffer: Vec::new(), limits }
    }

    /// Reads the headers of the file at `path`. Errors name the path.
    pub fn read(&mut self, path: &Path) -> Result<HeaderFile, Error> {
        let open = || {
            // Before it is opened: opening a named pipe waits for its other end.
            regular(&std::fs::metadata(path).map_err(|source| Error::Io { offset: 0, source })?)?;
            File::open(path).map_err(|source| Error::Io { offset: 0, source })
        };
        open().and_then(|file| self.read_file(&file)).map_err(|error| error.at(path))
    }

    /// Reads the headers of the file at `path` and the facts in them. Errors name the path.
    ///
    /// A payload that is cut short is not noticed; see [`HeaderFile::check_complete`].
    pub fn package(&mut self, path: &Path) -> Result<Package, Error> {
        self.read(path)?.package().map_err(|error| error.at(path))
    }

    /// Reads the headers of an open file by positioned reads; its cursor does not matter.
    pub fn read_file(&mut self, file: &File) -> Result<HeaderFile, Error> {
        let metadata = file.metadata().map_err(|source| Error::Io { offset: 0, source })?;
        regular(&metadata)?;
        let size = metadata.len();
        let read = |buffer: &mut [u8], offset: u64| file.read_at(buffer, offset);
        let parsed = Parser { buffer: &mut self.buffer, read, limits: self.limits }.run();
        // A read error tells less than the length of the whole file.
        let (signature, header) = parsed.map_err(|error| match error {
            Error::Truncated { part, expected, .. } => Error::Truncated { part, expected, found: size },
            other => other,
        })?;
        Ok(HeaderFile { signature, header, file_size: Some(size) })
    }

    /// Reads the headers from a stream, of which up to 64 KiB more than the headers are taken.
    pub fn read_from(&mut self, stream: &mut dyn Read) -> Result<HeaderFile, Error> {
        let read = |buffer: &mut [u8], _offset: u64| stream.read(buffer);
        let (signature, header) = Parser { buffer: &mut self.buffer, read, limits: self.limits }.run()?;
        Ok(HeaderFile { signature, header, file_size: None })
    }

    /// Starts to verify the payload of `file`, the last that was read [from a stream](HeaderReader::read_from): what was
    /// taken from the stream is in it, and all that follows is to be added. `None` if the headers have no digest of it.
    pub fn payload_verifier(&self, file: &HeaderFile) -> Result<Option<PayloadVerifier>, Error> {
        PayloadVerifier::new(file, &self.buffer)
    }
}

fn regular(metadata: &std::fs::Metadata) -> Result<(), Error> {
    if metadata.is_file() {
        return Ok(());
    }
    Err(Error::Format { part: Part::Lead, offset: 0, reason: "not a regular file".to_owned() })
}

/// Fills `buffer` from the start of the file as far as parsing needs it.
struct Parser<'a, R> {
    buffer: &'a mut Vec<u8>,
    read: R,
    limits: Limits,
}

impl<R: FnMut(&mut [u8], u64) -> io::Result<usize>> Parser<'_, R> {
    fn run(mut self) -> Result<(RpmHeader, RpmHeader), Error> {
        self.buffer.clear();
        self.need(LEAD, Part::Lead)?;
        check_lead(self.buffer)?;
        let signature = self.header(Part::Signature, LEAD)?;
        // rpm lib/header.c: the main header starts at a multiple of 8 after the signature header.
        let start = LEAD + signature.bytes().len().next_multiple_of(8);
        let header = self.header(Part::Header, start)?;
        Ok((signature, header))
    }

    fn header(&mut self, part: Part, start: usize) -> Result<RpmHeader, Error> {
        let offset = start as u64;
        self.need(start + INTRO, part)?;
        let intro = match self.buffer[start..].first_chunk() {
            Some(bytes) => Intro::parse(bytes, part, offset, &self.limits)?,
            None => return Err(Error::Truncated { part, expected: offset, found: self.buffer.len() as u64 }),
        };
        self.need(start + intro.length(), part)?;
        RpmHeader::parse(&self.buffer[start..start + intro.length()], part, offset, &self.limits)
    }

    /// Reads until the buffer holds `length` bytes.
    fn need(&mut self, length: usize, part: Part) -> Result<(), Error> {
        while self.buffer.len() < length {
            let have = self.buffer.len();
            // Grows at most twofold, so that a damaged length alone allocates nothing.
            let goal = length.max(CHUNK).min((have * 2).max(CHUNK));
            self.buffer.resize(goal, 0);
            let got = self.fill(have);
            self.buffer.truncate(have + got.as_ref().copied().unwrap_or(0));
            if got? == 0 {
                return Err(Error::Truncated { part, expected: length as u64, found: have as u64 });
            }
        }
        Ok(())
    }

    /// Reads once into the buffer from byte `have` on.
    fn fill(&mut self, have: usize) -> Result<usize, Error> {
        loop {
            match (self.read)(&mut self.buffer[have..], have as u64) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result.map_err(|source| Error::Io { offset: have as u64, source }),
            }
        }
    }
}

/// Checks what rpm 4.18 checks in the lead (`lib/rpmlead.c`); the rest of it has been obsolete for decades.
fn check_lead(bytes: &[u8]) -> Result<(), Error> {
    let fail = |offset: u64, reason: String| Err(Error::Format { part: Part::Lead, offset, reason });
    if bytes[..4] != [0xed, 0xab, 0xee, 0xdb] {
        return fail(0, "not an RPM package (magic is wrong)".to_owned());
    }
    if bytes[4] < 3 {
        return fail(4, format!("RPM format {} is not supported", bytes[4]));
    }
    let kind = u16::from_be_bytes([bytes[78], bytes[79]]);
    if kind != 5 {
        return fail(78, format!("signature type {kind} is not supported"));
    }
    Ok(())
}

/// The headers of one RPM file.
#[derive(Clone, Debug)]
pub struct HeaderFile {
    signature: RpmHeader,
    header: RpmHeader,
    file_size: Option<u64>,
}

/// A digest as a header gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HexDigest {
    /// Algorithm by OpenPGP's numbers: 1 MD5, 2 SHA-1, 8 SHA-256, 9 SHA-384, 10 SHA-512.
    pub algorithm: u32,
    /// Lower-case hex digits.
    pub hex: String,
}

impl HeaderFile {
    /// The signature header.
    pub fn signature(&self) -> &RpmHeader {
        &self.signature
    }

    /// The main header.
    pub fn header(&self) -> &RpmHeader {
        &self.header
    }

    /// First byte of the main header in the file (`start` of `rpm:header-range`).
    pub fn header_start(&self) -> u64 {
        self.header.start()
    }

    /// First byte after the main header, where the payload starts (`end` of `rpm:header-range`).
    pub fn header_end(&self) -> u64 {
        self.header.end()
    }

    /// Length of the file; `None` if it was read from a stream.
    pub fn file_size(&self) -> Option<u64> {
        self.file_size
    }

    /// The facts of the package, once the main header has been found to have the digest that the signature header gives
    /// (see [`HeaderFile::verify_header_digest`]): one changed bit can make another name or version of it.
    pub fn package(&self) -> Result<Package, Error> {
        crate::package::package(self)
    }

    /// Length that the file must have: from the signature header's SIZE or LONGSIZE (main header and payload), or, in
    /// the format of rpm 6, from PAYLOADSIZE in the main header. `None` if the headers do not tell.
    pub fn expected_size(&self) -> Result<Option<u64>, Error> {
        for tag in [signature::LONG_SIZE, signature::SIZE] {
            if let Some(size) = self.signature.number(tag)? {
                return Ok(Some(self.header_start().saturating_add(size)));
            }
        }
        let payload = self.header.number(main::PAYLOAD_SIZE)?;
        Ok(payload.map(|size| self.header_end().saturating_add(size)))
    }

    /// Fails if the file is shorter than its headers say; passes if they do not say or the length is unknown.
    pub fn check_complete(&self) -> Result<(), Error> {
        match (self.expected_size()?, self.file_size) {
            (Some(expected), Some(found)) if found < expected => {
                let part = if found < self.header_end() { Part::Header } else { Part::Payload };
                Err(Error::Truncated { part, expected, found })
            }
            _ => Ok(()),
        }
    }

    /// SHA-256 of the main header, as the signature header gives it (SHA256HEADER).
    pub fn header_sha256(&self) -> Result<Option<String>, Error> {
        Ok(self.signature.string(signature::SHA256)?.map(|hex| hex.to_ascii_lowercase()))
    }

    /// SHA-1 of the main header, as the signature header gives it (SHA1HEADER).
    pub fn header_sha1(&self) -> Result<Option<String>, Error> {
        Ok(self.signature.string(signature::SHA1)?.map(|hex| hex.to_ascii_lowercase()))
    }

    /// Digest of the compressed payload, as the main header gives it.
    pub fn payload_digest(&self) -> Result<Option<HexDigest>, Error> {
        if let Some(hex) = self.header.string(main::PAYLOAD_DIGEST)? {
            let algorithm = self.header.u32s(main::PAYLOAD_DIGEST_ALGORITHM)?.first().copied().unwrap_or(8);
            return Ok(Some(HexDigest { algorithm, hex: hex.to_ascii_lowercase() }));
        }
        let hex = self.header.string(main::PAYLOAD_SHA512)?;
        Ok(hex.map(|hex| HexDigest { algorithm: 10, hex: hex.to_ascii_lowercase() }))
    }

    /// MD5 of main header and payload, as the signature header gives it.
    pub fn body_md5(&self) -> Result<Option<HexDigest>, Error> {
        let digest = self.signature.binary(signature::MD5)?;
        Ok(digest.map(|digest| HexDigest { algorithm: 1, hex: hex(digest) }))
    }

    /// Verifies the digest of the main header and names the algorithm; `None` if the signature header has no digest
    /// that is known here (SHA-256, SHA-1), as in packages of rpm 4.0 and before.
    pub fn verify_header_digest(&self) -> Result<Option<&'static str>, Error> {
        let (algorithm, expected, found) = if let Some(expected) = self.header_sha256()? {
            ("SHA-256", expected, hex(&Sha256::digest(self.header.bytes())))
        } else if let Some(expected) = self.header_sha1()? {
            ("SHA-1", expected, hex(&Sha1::digest(self.header.bytes())))
        } else {
            return Ok(None);
        };
        if found == expected {
            return Ok(Some(algorithm));
        }
        Err(Error::Digest { algorithm, start: self.header_start(), end: self.header_end(), expected, found })
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
