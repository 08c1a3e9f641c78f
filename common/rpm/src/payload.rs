//! Verifies the payload's own digest while somebody else reads the file for purposes of their own.
//!
//! rpm since 4.14 writes PAYLOADDIGEST into the main header, over the compressed payload to the end of the file; rpm 6
//! has SHA-512 beside it. Before that there is MD5 over main header and payload, in the signature header (rpm 4.20
//! `lib/rpmvs.c`). One of them is verified, in this order: both would say the same of a damaged file.

use md5::Md5;
use sha1::Sha1;
use sha2::digest::{Digest as _, DynDigest};
use sha2::{Sha224, Sha256, Sha384, Sha512};

use crate::error::{Error, Part};
use crate::reader::{HeaderFile, HexDigest, hex};

/// A digest of the payload in the making: wants all bytes of the file from the place on that it was made for.
pub struct PayloadVerifier {
    algorithm: &'static str,
    hasher: Box<dyn DynDigest + Send>,
    part: Part,
    start: u64,
    expected: String,
}

impl PayloadVerifier {
    /// For a file whose first bytes are `taken`; `None` if its headers have no digest of the payload that is known here.
    pub(crate) fn new(file: &HeaderFile, taken: &[u8]) -> Result<Option<Self>, Error> {
        let known = |digest: HexDigest| hasher(digest.algorithm).map(|hasher| (hasher, digest.hex));
        let (part, start, found) = match file.payload_digest()?.and_then(known) {
            Some(found) => (Part::Payload, file.header_end(), Some(found)),
            None => (Part::Header, file.header_start(), file.body_md5()?.and_then(known)),
        };
        let Some(((algorithm, mut hasher), expected)) = found else { return Ok(None) };
        let first = usize::try_from(start).ok().and_then(|start| taken.get(start..));
        hasher.update(first.unwrap_or_default());
        Ok(Some(Self { algorithm, hasher, part, start, expected }))
    }

    /// Adds bytes that follow those which were added so far.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// Compares, after the file's last byte.
    ///
    /// # Errors
    /// [`Error::PayloadDigest`] when the file is not as it was built.
    pub fn finish(self) -> Result<(), Error> {
        let found = hex(&self.hasher.finalize());
        if found == self.expected {
            return Ok(());
        }
        let Self { algorithm, part, start, expected, .. } = self;
        Err(Error::PayloadDigest { algorithm, part, start, expected, found })
    }
}

impl std::fmt::Debug for PayloadVerifier {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "PayloadVerifier({} from byte {})", self.algorithm, self.start)
    }
}

/// By OpenPGP's numbers (RFC 9580, 9.5), which rpm uses.
fn hasher(algorithm: u32) -> Option<(&'static str, Box<dyn DynDigest + Send>)> {
    Some(match algorithm {
        1 => ("MD5", Box::new(Md5::new())),
        2 => ("SHA-1", Box::new(Sha1::new())),
        8 => ("SHA-256", Box::new(Sha256::new())),
        9 => ("SHA-384", Box::new(Sha384::new())),
        10 => ("SHA-512", Box::new(Sha512::new())),
        11 => ("SHA-224", Box::new(Sha224::new())),
        _ => return None,
    })
}
