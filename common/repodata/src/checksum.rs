//! Checksum types of repository metadata, and hashing.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::digest::DynDigest;

/// Buffer of one read while hashing, in bytes.
const READ_SIZE: usize = 256 * 1024;

/// Checksum types that createrepo_c 1.2.5 reads and writes (its `checksum.c`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChecksumType {
    /// MD5.
    Md5,
    /// SHA-1 under the name `sha`, which old repositories use.
    Sha,
    /// SHA-1.
    Sha1,
    /// SHA-224.
    Sha224,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl ChecksumType {
    /// All types.
    pub const ALL: [Self; 7] =
        [Self::Md5, Self::Sha, Self::Sha1, Self::Sha224, Self::Sha256, Self::Sha384, Self::Sha512];

    /// Returns the name used in the `type` attribute.
    pub fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha => "sha",
            Self::Sha1 => "sha1",
            Self::Sha224 => "sha224",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// Returns the number of hexadecimal digits of a checksum of this type.
    pub fn hex_len(self) -> usize {
        match self {
            Self::Md5 => 32,
            Self::Sha | Self::Sha1 => 40,
            Self::Sha224 => 56,
            Self::Sha256 => 64,
            Self::Sha384 => 96,
            Self::Sha512 => 128,
        }
    }

    /// Starts hashing.
    pub fn hasher(self) -> Hasher {
        let inner: Box<dyn DynDigest + Send> = match self {
            Self::Md5 => Box::<md5::Md5>::default(),
            Self::Sha | Self::Sha1 => Box::<sha1::Sha1>::default(),
            Self::Sha224 => Box::<sha2::Sha224>::default(),
            Self::Sha256 => Box::<sha2::Sha256>::default(),
            Self::Sha384 => Box::<sha2::Sha384>::default(),
            Self::Sha512 => Box::<sha2::Sha512>::default(),
        };
        Hasher { kind: self, inner }
    }

    /// Hashes bytes in memory.
    pub fn hash(self, bytes: &[u8]) -> Checksum {
        let mut hasher = self.hasher();
        hasher.update(bytes);
        hasher.finish()
    }

    /// Hashes everything that a reader gives; returns the checksum and the number of bytes.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn hash_reader(self, reader: &mut dyn Read) -> io::Result<(Checksum, u64)> {
        let mut hasher = self.hasher();
        let mut buffer = vec![0; READ_SIZE];
        let mut total = 0u64;
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok((hasher.finish(), total)),
                Ok(read) => {
                    hasher.update(&buffer[..read]);
                    total += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Hashes a file; returns the checksum and the number of bytes read.
    ///
    /// # Errors
    /// When the file cannot be opened or read.
    pub fn hash_file(self, path: &Path) -> io::Result<(Checksum, u64)> {
        self.hash_reader(&mut File::open(path)?)
    }
}

impl fmt::Display for ChecksumType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for ChecksumType {
    type Err = ChecksumError;

    fn from_str(text: &str) -> Result<Self, ChecksumError> {
        let found = Self::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(text));
        found.ok_or_else(|| ChecksumError::UnknownType(text.chars().take(32).collect()))
    }
}

/// A hash in progress.
pub struct Hasher {
    kind: ChecksumType,
    inner: Box<dyn DynDigest + Send>,
}

impl Hasher {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.inner.update(bytes);
    }

    /// Returns the checksum of all bytes added.
    pub fn finish(self) -> Checksum {
        Checksum { kind: self.kind, hex: to_hex(&self.inner.finalize()).into() }
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Hasher({})", self.kind)
    }
}

/// A checksum with its type. The digits are lower-case and their number fits the type.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Unchecked", into = "Unchecked")]
pub struct Checksum {
    kind: ChecksumType,
    /// Shared: an update has each of them in several lists.
    hex: Arc<str>,
}

/// The stored form of a checksum, before its digits were looked at.
#[derive(Serialize, Deserialize)]
struct Unchecked {
    kind: ChecksumType,
    hex: String,
}

impl TryFrom<Unchecked> for Checksum {
    type Error = ChecksumError;

    fn try_from(raw: Unchecked) -> Result<Self, ChecksumError> {
        Self::new(raw.kind, &raw.hex)
    }
}

impl From<Checksum> for Unchecked {
    fn from(checksum: Checksum) -> Self {
        Self { kind: checksum.kind, hex: checksum.hex.as_ref().to_owned() }
    }
}

impl Checksum {
    /// Makes a checksum from its hexadecimal text.
    ///
    /// # Errors
    /// When the text has the wrong length for the type or holds other characters than hexadecimal digits.
    pub fn new(kind: ChecksumType, hex: &str) -> Result<Self, ChecksumError> {
        // Not one after another: a compiler compares many at once.
        let digits = hex.bytes().filter(u8::is_ascii_hexdigit).count();
        if hex.len() != kind.hex_len() || digits != hex.len() {
            return Err(ChecksumError::BadDigits { kind, text: hex.chars().take(140).collect() });
        }
        let is_lower = !hex.bytes().any(|digit| digit.is_ascii_uppercase());
        Ok(Self { kind, hex: if is_lower { hex.into() } else { hex.to_ascii_lowercase().into() } })
    }

    /// Returns the type.
    pub fn kind(&self) -> ChecksumType {
        self.kind
    }

    /// Returns the digits, lower case.
    pub fn hex(&self) -> &str {
        &self.hex
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.kind, self.hex)
    }
}

/// What is wrong with a checksum or its type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChecksumError {
    /// The type's name is not known.
    #[error("unknown checksum type {0:?} (hint: one of sha256, sha512, sha384, sha224, sha1, sha, md5)")]
    UnknownType(String),
    /// Wrong number of digits, or no digits.
    #[error("{text:?} is not a {kind} checksum of {} hexadecimal digits", kind.hex_len())]
    BadDigits {
        /// Type.
        kind: ChecksumType,
        /// Text, cut to 140 characters.
        text: String,
    },
}

/// Writes bytes as lower-case hexadecimal digits.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        assert_eq!(ChecksumType::Md5.hash(b"").hex(), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(ChecksumType::Sha.hash(b"abc").hex(), "a9993e364706816aba3e25717850c26c9cd0d89d");
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(ChecksumType::Sha256.hash(b"abc").hex(), sha256);
        let (checksum, bytes) = ChecksumType::Sha256.hash_reader(&mut &b"abc"[..]).unwrap();
        assert_eq!((checksum.hex(), bytes), (sha256, 3));
    }

    #[test]
    fn names_and_lengths_agree_with_the_hashes() {
        for kind in ChecksumType::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
            assert_eq!(kind.hash(b"x").hex().len(), kind.hex_len());
        }
        assert_eq!("SHA256".parse(), Ok(ChecksumType::Sha256));
        assert!("ripemd160".parse::<ChecksumType>().is_err());
    }

    #[test]
    fn bad_digits_are_refused_also_when_deserialised() {
        assert!(Checksum::new(ChecksumType::Md5, "zz1d8cd98f00b204e9800998ecf8427e").is_err());
        assert!(Checksum::new(ChecksumType::Md5, "d4").is_err());
        assert!(serde_json::from_str::<Checksum>(r#"{"kind":"md5","hex":"\"><x"}"#).is_err());
        let good = ChecksumType::Sha1.hash(b"x");
        assert_eq!(serde_json::from_str::<Checksum>(&serde_json::to_string(&good).unwrap()).unwrap(), good);
    }
}
