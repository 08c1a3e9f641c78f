//! What can be wrong with an RPM file.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Part of an RPM file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The first 96 bytes.
    Lead,
    /// The signature header.
    Signature,
    /// The main header.
    Header,
    /// What follows the main header.
    Payload,
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Part::Lead => "lead",
            Part::Signature => "signature header",
            Part::Header => "main header",
            Part::Payload => "payload",
        })
    }
}

/// Why an RPM file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file at `path` cannot be used; the source says why.
    #[error("cannot read RPM {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: Box<Error>,
    },
    /// The operating system failed.
    #[error("i/o error at byte {offset}")]
    Io {
        /// Where in the file the read was.
        offset: u64,
        /// The operating system's word.
        #[source]
        source: io::Error,
    },
    /// The file ends too early.
    #[error("truncated in the {part}: {expected} bytes expected, {found} found")]
    Truncated {
        /// Part in which the file ends.
        part: Part,
        /// Least length of the whole file, in bytes.
        expected: u64,
        /// Length of the file, in bytes.
        found: u64,
    },
    /// Bytes that no RPM has there.
    #[error("{part} at byte {offset}: {reason}")]
    Format {
        /// Part of the file.
        part: Part,
        /// Byte of the file.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// One entry of a header is damaged.
    #[error("{part}, tag {tag} at byte {offset}: {reason}")]
    Tag {
        /// Which header.
        part: Part,
        /// Tag number.
        tag: u32,
        /// Byte of the file: the index entry, or its data once that is known to lie in the header.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// A tag that every package has is not there.
    #[error("main header has no {name} (tag {tag})")]
    Missing {
        /// Tag number.
        tag: u32,
        /// Name of the tag.
        name: &'static str,
    },
    /// The header's bytes do not have the digest that the signature header gives.
    #[error(
        "{algorithm} of the main header, bytes {start} to {end}, is {found}, the signature header says {expected}; the file is damaged, fetch it again"
    )]
    Digest {
        /// Name of the digest.
        algorithm: &'static str,
        /// Byte of the file that the header begins with.
        start: u64,
        /// Byte behind it.
        end: u64,
        /// Digest that the signature header gives.
        expected: String,
        /// Digest of the bytes.
        found: String,
    },
    /// The bytes up to the end of the file do not have the digest that its headers give.
    #[error(
        "{algorithm} of {part} and what follows, byte {start} to the end, is {found}, the headers say {expected}; the file is damaged, fetch it again"
    )]
    PayloadDigest {
        /// Name of the digest.
        algorithm: &'static str,
        /// Part that the digest starts with.
        part: Part,
        /// Byte of the file that the digest starts with.
        start: u64,
        /// Digest that the headers give.
        expected: String,
        /// Digest of the bytes.
        found: String,
    },
}

impl Error {
    /// The innermost error, without the file name.
    pub fn cause(&self) -> &Error {
        match self {
            Error::File { source, .. } => source.cause(),
            other => other,
        }
    }

    /// Adds the file to an error that has none.
    pub(crate) fn at(self, path: &std::path::Path) -> Error {
        match self {
            Error::File { .. } => self,
            other => Error::File { path: path.to_path_buf(), source: Box::new(other) },
        }
    }
}
