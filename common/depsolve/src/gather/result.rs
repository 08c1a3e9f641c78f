//! What a gather found.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::PackageRef;

/// Why or how a package is in a result; names are those that `pungi-gather` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flag {
    /// It is in a lookaside source too and must not be delivered.
    Lookaside,
    /// It was asked for.
    Input,
    /// It was prepopulated.
    Prepopulate,
    /// It brought a conditional package (the flag is on the condition, not on what came).
    Conditional,
    /// Its build requirements brought something (source packages).
    SelfHosting,
    /// It came with another package of the same source package.
    Fulltree,
    /// It came for the second library set.
    Multilib,
    /// It is a langpack.
    Langpack,
    /// Its source package is one that fulltree leaves alone.
    FulltreeExclude,
}

impl Flag {
    /// All flags, in order.
    pub const ALL: [Flag; 9] = [
        Flag::Lookaside,
        Flag::Input,
        Flag::Prepopulate,
        Flag::Conditional,
        Flag::SelfHosting,
        Flag::Fulltree,
        Flag::Multilib,
        Flag::Langpack,
        Flag::FulltreeExclude,
    ];

    pub(crate) fn bit(self) -> u16 {
        1 << self as u16
    }

    pub(crate) fn set(bits: u16) -> BTreeSet<Flag> {
        Flag::ALL.into_iter().filter(|flag| bits & flag.bit() != 0).collect()
    }

    /// Returns the name that `pungi-gather` prints.
    pub fn name(self) -> &'static str {
        match self {
            Flag::Lookaside => "lookaside",
            Flag::Input => "input",
            Flag::Prepopulate => "prepopulate",
            Flag::Conditional => "conditional",
            Flag::SelfHosting => "self-hosting",
            Flag::Fulltree => "fulltree",
            Flag::Multilib => "multilib",
            Flag::Langpack => "langpack",
            Flag::FulltreeExclude => "fulltree-exclude",
        }
    }
}

/// The rule that brought a package into a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// It was asked for.
    Input,
    /// It was prepopulated.
    Prepopulate,
    /// A comps conditional.
    Conditional,
    /// A requirement of a binary package.
    Requires,
    /// A build requirement of a source package.
    BuildRequires,
    /// It is the source package of a selected package.
    Source,
    /// It is debug information of a selected package.
    Debug,
    /// A requirement of a debug package.
    DebugRequires,
    /// It has the source package of a selected package.
    Fulltree,
    /// It is a langpack of a selected package.
    Langpack,
    /// It is a selected package for the second library set.
    Multilib,
}

/// What first brought a package into a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The rule.
    pub rule: Rule,
    /// The selected package that it was applied to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub by: Option<PackageRef>,
    /// The requirement, or the pattern that was asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub requirement: Option<String>,
}

/// A package of a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selected {
    /// The package.
    pub package: PackageRef,
    /// Flags.
    pub flags: BTreeSet<Flag>,
    /// What first brought it.
    pub cause: Cause,
}

impl Selected {
    /// Whether the package is delivered: lookaside packages are not.
    pub fn is_delivered(&self) -> bool {
        !self.flags.contains(&Flag::Lookaside)
    }
}

/// A requirement of a selected package that nothing satisfies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unresolved {
    /// Package, as `name-[epoch:]version-release.arch`.
    pub nevra: String,
    /// Requirement.
    pub requirement: String,
    /// The package.
    pub package: PackageRef,
}

/// What a gather found. Lists are in order of name, EVR, architecture.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatherResult {
    /// Binary packages.
    pub binary: Vec<Selected>,
    /// Debuginfo and debugsource packages.
    pub debug: Vec<Selected>,
    /// Source packages.
    pub source: Vec<Selected>,
    /// Requirements that nothing satisfies; whether that is an error is the caller's decision (`check_deps`).
    pub unresolved: Vec<Unresolved>,
    /// Patterns that match nothing (`require_all_comps_packages`).
    pub unmatched: Vec<String>,
    /// Prepopulate entries that match nothing.
    pub missing_prepopulate: Vec<String>,
}

impl GatherResult {
    /// Returns all packages: binary, debug, source.
    pub fn all(&self) -> impl Iterator<Item = &Selected> {
        self.binary.iter().chain(&self.debug).chain(&self.source)
    }
}
