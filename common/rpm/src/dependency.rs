//! Dependencies: names with EVR ranges, and rich (boolean) ones.

use serde::{Deserialize, Serialize};

use crate::evr::Evr;

/// Sense of a versioned dependency, as the `flags` attribute of repository metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Sense {
    /// `<` (LT)
    Less,
    /// `>` (GT)
    Greater,
    /// `=` (EQ)
    Equal,
    /// `<=` (LE)
    LessEqual,
    /// `>=` (GE)
    GreaterEqual,
}

/// One dependency as it stands in a header.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Dependency {
    /// Name, file path, or the whole text of a rich dependency (starts with `(`).
    pub name: String,
    /// Range: sense and EVR; `None` when any version will do.
    pub range: Option<(Sense, Evr)>,
    /// Needed by a scriptlet or before installation (`pre="1"` in repository metadata; RPMSENSE_PREREQ,
    /// RPMSENSE_SCRIPT_PRE or RPMSENSE_SCRIPT_POST).
    pub pre: bool,
}
