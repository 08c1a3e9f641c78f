//! RPM headers, EVR comparison and the dependency grammar, for hostile input.

pub mod dependency;
pub mod evr;
mod model;

pub use dependency::{Dependency, Sense};
pub use evr::Evr;
pub use model::{Changelog, FileEntry, FileKind, Nevra, Package, is_debug_name};
