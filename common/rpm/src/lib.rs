//! RPM headers, EVR comparison and the dependency grammar, for hostile input.

pub mod dependency;
pub mod error;
pub mod evr;
pub mod header;
mod model;
mod openpgp;
mod package;
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
pub use model::{Changelog, FileEntry, FileKind, Nevra, Package, is_debug_name};
pub use package::package;
pub use reader::{HeaderFile, HeaderReader, HexDigest};
pub use rich::Rich;
