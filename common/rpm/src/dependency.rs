//! Dependencies: names with EVR ranges, and rich (boolean) ones.
//!
//! Source of truth for matching: rpm 4.20 `lib/rpmds.c` (`rpmdsCompareIndex`) and `rpmio/rpmver.c` (`rpmverOverlap`).
//! Rich dependencies are kept as text here; [`crate::rich`] parses them.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::evr::{Evr, version_compare};

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

/// RPMSENSE_LESS.
const LESS: u32 = 1 << 1;
/// RPMSENSE_GREATER.
const GREATER: u32 = 1 << 2;
/// RPMSENSE_EQUAL.
const EQUAL: u32 = 1 << 3;
/// The bits that name a sense (rpm's RPMSENSE_SENSEMASK without the obsolete bit 0).
const SENSE_MASK: u32 = LESS | GREATER | EQUAL;

impl Sense {
    /// All senses.
    pub const ALL: [Sense; 5] = [Sense::Less, Sense::Greater, Sense::Equal, Sense::LessEqual, Sense::GreaterEqual];

    /// The sense in a header's dependency flags, whose other bits are ignored; `None` for "no version" and for the
    /// combinations that createrepo_c does not name either (`<>`, `<=>`).
    pub fn from_bits(flags: u32) -> Option<Sense> {
        Sense::ALL.into_iter().find(|sense| sense.bits() == flags & SENSE_MASK)
    }

    /// RPMSENSE bits of a header's dependency flags.
    pub fn bits(self) -> u32 {
        match self {
            Sense::Less => LESS,
            Sense::Greater => GREATER,
            Sense::Equal => EQUAL,
            Sense::LessEqual => LESS | EQUAL,
            Sense::GreaterEqual => GREATER | EQUAL,
        }
    }

    /// The `flags` attribute of repository metadata: `LT`, `GT`, `EQ`, `LE`, `GE`.
    pub fn from_repodata(text: &str) -> Option<Sense> {
        Sense::ALL.into_iter().find(|sense| sense.repodata() == text)
    }

    /// The `flags` attribute of repository metadata.
    pub fn repodata(self) -> &'static str {
        match self {
            Sense::Less => "LT",
            Sense::Greater => "GT",
            Sense::Equal => "EQ",
            Sense::LessEqual => "LE",
            Sense::GreaterEqual => "GE",
        }
    }

    /// Comparison operator in spec syntax; rpm also takes `==`, `=<` and `=>`.
    pub fn from_operator(text: &str) -> Option<Sense> {
        Some(match text {
            "<" => Sense::Less,
            ">" => Sense::Greater,
            "=" | "==" => Sense::Equal,
            "<=" | "=<" => Sense::LessEqual,
            ">=" | "=>" => Sense::GreaterEqual,
            _ => return None,
        })
    }

    /// Comparison operator in spec syntax.
    pub fn operator(self) -> &'static str {
        match self {
            Sense::Less => "<",
            Sense::Greater => ">",
            Sense::Equal => "=",
            Sense::LessEqual => "<=",
            Sense::GreaterEqual => ">=",
        }
    }

    fn has(self, bit: u32) -> bool {
        self.bits() & bit != 0
    }
}

impl fmt::Display for Sense {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.operator())
    }
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

/// Why a text is no dependency.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DependencyError {
    /// Nothing but white space.
    #[error("dependency is empty")]
    Empty,
    /// The second word is no comparison operator.
    #[error("expected <, <=, =, >= or > after {name:?}, found {found:?}")]
    Operator {
        /// Name of the dependency.
        name: String,
        /// The word found.
        found: String,
    },
    /// No version after the operator.
    #[error("version missing after {operator:?} of {name:?}")]
    Version {
        /// Name of the dependency.
        name: String,
        /// The operator.
        operator: String,
    },
    /// More words than name, operator and version.
    #[error("unexpected {found:?} after dependency {name:?}")]
    Junk {
        /// Name of the dependency.
        name: String,
        /// The first word too many.
        found: String,
    },
}

impl Dependency {
    /// A dependency on any version of `name`.
    pub fn any(name: impl Into<String>) -> Dependency {
        Dependency { name: name.into(), range: None, pre: false }
    }

    /// Reads `name` or `name operator evr`, the words set apart by white space.
    ///
    /// A text that starts with `(` is a rich dependency and becomes the name as it is; [`crate::rich::Rich::parse`] checks it.
    ///
    /// ```
    /// let dependency = tutti_rpm::Dependency::parse("foo >= 1:2-3").unwrap();
    /// assert_eq!(dependency.to_string(), "foo >= 1:2-3");
    /// ```
    pub fn parse(text: &str) -> Result<Dependency, DependencyError> {
        let text = text.trim();
        if text.starts_with('(') {
            return Ok(Dependency::any(text));
        }
        let mut words = text.split_whitespace();
        let name = words.next().ok_or(DependencyError::Empty)?.to_owned();
        let Some(operator) = words.next() else {
            return Ok(Dependency::any(name));
        };
        let Some(sense) = Sense::from_operator(operator) else {
            return Err(DependencyError::Operator { name, found: operator.to_owned() });
        };
        let Some(version) = words.next() else {
            return Err(DependencyError::Version { name, operator: operator.to_owned() });
        };
        if let Some(found) = words.next() {
            return Err(DependencyError::Junk { name, found: found.to_owned() });
        }
        Ok(Dependency { name, range: Some((sense, Evr::parse(version))), pre: false })
    }

    /// Whether this is a rich (boolean) dependency.
    pub fn is_rich(&self) -> bool {
        self.name.starts_with('(')
    }

    /// Whether this names a file, which a package's file list can satisfy.
    pub fn is_path(&self) -> bool {
        self.name.starts_with('/')
    }

    /// Whether some version satisfies both: equal names and [`ranges_overlap`].
    pub fn overlaps(&self, other: &Dependency) -> bool {
        overlaps(self, other)
    }
}

impl fmt::Display for Dependency {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)?;
        if let Some((sense, evr)) = &self.range {
            write!(formatter, " {sense} {evr}")?;
        }
        Ok(())
    }
}

/// Whether `provide` satisfies `require` by rpm's rule: equal names and overlapping ranges. Symmetric.
///
/// Names are compared as text: files and rich dependencies are the caller's matter.
pub fn overlaps(provide: &Dependency, require: &Dependency) -> bool {
    provide.name == require.name && ranges_overlap(provide.range.as_ref(), require.range.as_ref())
}

/// Whether two ranges share a version, by rpm's rule (`rpmdsCompareIndex`, `rpmverOverlap`). Symmetric.
///
/// No range, or one without any version, overlaps with everything. A missing epoch is 0. Where versions are equal and
/// one side has no release, the releases are left out of it if that side includes equality.
pub fn ranges_overlap(a: Option<&(Sense, Evr)>, b: Option<&(Sense, Evr)>) -> bool {
    let (Some((a_sense, a)), Some((b_sense, b))) = (a, b) else {
        return true;
    };
    if a.is_empty() || b.is_empty() {
        return true;
    }
    let mut order = a.epoch_number().cmp(&b.epoch_number()).then_with(|| version_compare(&a.version, &b.version));
    if order.is_eq() {
        match (a.release.is_empty(), b.release.is_empty()) {
            (false, false) => order = version_compare(&a.release, &b.release),
            (false, true) if b_sense.has(EQUAL) => return true,
            (true, false) if a_sense.has(EQUAL) => return true,
            _ => {}
        }
    }
    match order {
        Ordering::Less => a_sense.has(GREATER) || b_sense.has(LESS),
        Ordering::Greater => a_sense.has(LESS) || b_sense.has(GREATER),
        Ordering::Equal => a_sense.bits() & b_sense.bits() != 0,
    }
}

#[cfg(test)]
mod tests;
