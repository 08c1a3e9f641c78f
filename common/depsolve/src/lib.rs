//! Universes, gather, repoclosure and why, on interned ids.
//!
//! - [`universe`]: one source's packages for one architecture, compiled once for any number of solves.
//! - [`mod@gather`]: which packages belong to a variant and architecture, as Pungi's `deps` and `nodeps` methods choose them.
//! - [`trim`]: what an addon, layered product or optional variant keeps of its own result.
//! - [`closure`]: which requirements of a repository nothing satisfies.
//! - [`why`]: the chain of reasons that brought a package into a result.
//! - [`arch`]: architecture chains, as yum and Pungi have them.
//!
//! Everything here is a pure function of its arguments: no file, network, clock or thread is used, and equal input gives
//! equal output. A solve takes an ordered list of [`Source`]s; a [`PackageRef`] names a package by its place in it.

pub mod arch;
pub mod closure;
pub mod gather;
mod glob;
mod pool;
pub mod release;
pub mod trim;
pub mod universe;
pub mod why;

use serde::{Deserialize, Serialize};

pub use closure::{Broken, repoclosure};
pub use gather::{GatherRequest, GatherResult, Selected, gather};
pub use universe::{Universe, UniverseBuilder};

/// One universe of a solve, and what it is for.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The packages.
    pub universe: &'a Universe,
    /// Whether its packages only satisfy requirements and are never delivered.
    pub lookaside: bool,
}

impl<'a> Source<'a> {
    /// A source whose packages are delivered.
    pub fn own(universe: &'a Universe) -> Source<'a> {
        Source { universe, lookaside: false }
    }

    /// A source whose packages only satisfy requirements.
    pub fn lookaside(universe: &'a Universe) -> Source<'a> {
        Source { universe, lookaside: true }
    }
}

/// A package, by the place of its source in the list of sources and its own place in that universe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PackageRef {
    /// Index into the list of sources.
    pub source: u32,
    /// Index into that source's universe.
    pub package: u32,
}

impl PackageRef {
    /// Names package `package` of source `source`.
    pub fn new(source: u32, package: u32) -> PackageRef {
        PackageRef { source, package }
    }

    /// Returns the package, unless the reference belongs to another list of sources.
    pub fn resolve<'a>(self, sources: &[Source<'a>]) -> Option<universe::PackageView<'a>> {
        sources.get(self.source as usize)?.universe.package(self.package)
    }
}
