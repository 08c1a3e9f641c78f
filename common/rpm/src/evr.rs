//! Epoch, version, release, and RPM's order over them.

use serde::{Deserialize, Serialize};

/// Epoch, version and release of a package or a dependency.
///
/// `Eq` and `Ord` are those of the text, for use as a map key; RPM's order is [`Evr::compare`], under which distinct texts may be equal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Evr {
    /// Epoch; `None` where the header has none (it counts as 0).
    pub epoch: Option<u32>,
    /// Version.
    pub version: String,
    /// Release; empty in a dependency that has none.
    pub release: String,
}
