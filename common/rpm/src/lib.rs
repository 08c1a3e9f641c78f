//! RPM headers, EVR comparison and the dependency grammar, for hostile input.

pub mod dependency;
pub mod error;
pub mod evr;
mod model;
pub mod rich;

pub use dependency::{Dependency, Sense, overlaps, ranges_overlap};
pub use error::Error;
pub use evr::{Evr, SortKey, version_compare};
pub use model::{Changelog, FileEntry, FileKind, Nevra, Package, is_debug_name};
pub use rich::Rich;
