//! RPM headers, EVR comparison and the dependency grammar, for hostile input.
//!
//! - [`HeaderReader`] reads the headers of an RPM file, [`package()`] makes a [`Package`] of them. Every length and offset
//!   is checked before it is used, memory is bounded by what the file really holds, and errors name tag and byte.
//! - [`Evr`] compares as rpm does; [`SortKey`] is the same order as bytes.
//! - [`ranges_overlap`] is rpm's rule of which provide satisfies which requirement.
//! - [`Rich`] parses boolean dependencies without recursion.
//! - [`PayloadVerifier`] compares the payload with its digest, for somebody who reads the file anyway.
//!
//! This crate neither verifies signatures nor unpacks payloads, and it applies no rule of repository metadata on what to
//! leave out.

pub mod dependency;
pub mod error;
pub mod evr;
pub mod header;
mod model;
mod openpgp;
mod package;
mod payload;
pub mod reader;
pub mod rich;
pub mod tag;
#[cfg(test)]
mod testing;
mod text;

pub use dependency::{Dependency, Sense, overlaps, ranges_overlap};
pub use error::Error;
pub use evr::{Evr, SortKey, version_compare};
pub use header::{Limits, RpmHeader};
pub use model::{Changelog, FileDigests, FileEntry, FileKind, Nevra, Package, is_debug_name};
pub use package::{file_digests, package};
pub use payload::PayloadVerifier;
pub use reader::{HeaderFile, HeaderReader, HexDigest};
pub use rich::Rich;
