//! What a gather is asked for.

use serde::{Deserialize, Serialize};
use tutti_rpm::Evr;

/// How packages are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Input packages and all that they need.
    #[default]
    Deps,
    /// Input packages alone, in every version and matching architecture.
    NoDeps,
}

/// Which of several providers of a requirement are taken (`greedy_method`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Greedy {
    /// The best one.
    #[default]
    None,
    /// All of them.
    All,
    /// The best one, and all others built from the same source package.
    Build,
}

/// How a group lists a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberKind {
    /// Always installed with the group.
    Mandatory,
    /// Installed unless deselected.
    Default,
    /// Installed on request.
    Optional,
    /// Installed with the group if the named package is installed.
    Conditional {
        /// Name of the package that is the condition.
        requires: String,
    },
}

/// One package of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Name, which may be a pattern.
    pub name: String,
    /// How the group lists it.
    pub kind: MemberKind,
}

/// A comps group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Id.
    pub id: String,
    /// Packages.
    pub members: Vec<Member>,
}

/// A package that is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputPackage {
    /// Name or pattern. For `deps` all forms of `pungi-gather`: `name`, glob, `name.arch`, `name.+` (second library set).
    pub name: String,
    /// Only this architecture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// Only this EVR, by text; the name is then no pattern. `nodeps` only: how modular packages are asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evr: Option<Evr>,
}

impl From<&str> for InputPackage {
    fn from(name: &str) -> InputPackage {
        InputPackage { name: name.to_owned(), arch: None, evr: None }
    }
}

/// A comps langpack: with package `name` come all that match `install`, in which `%s` stands for the language.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Langpack {
    /// Name of the package that has langpacks.
    pub name: String,
    /// Name of its langpacks.
    pub install: String,
}

/// With package `requires` comes package `install`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conditional {
    /// Name of the package that is the condition.
    pub requires: String,
    /// Name of the package that comes.
    pub install: String,
}

/// Everything that a gather depends on, besides the packages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GatherRequest {
    /// Tree architecture.
    pub arch: String,
    /// Method.
    pub method: Method,
    /// Groups, found and merged by the caller.
    pub groups: Vec<Group>,
    /// Packages besides those of the groups.
    pub packages: Vec<InputPackage>,
    /// Patterns of packages that do not exist for this gather (`filter_packages`): `name`, glob, `name.+`, `name.src`.
    /// `deps` only, as all that follows.
    pub excludes: Vec<String>,
    /// Langpacks.
    pub langpacks: Vec<Langpack>,
    /// Greediness.
    pub greedy: Greedy,
    /// Whether all binary packages of a selected source package come.
    pub fulltree: bool,
    /// Names of source packages to which `fulltree` does not apply.
    pub fulltree_excludes: Vec<String>,
    /// Whether build requirements of selected source packages come.
    pub selfhosting: bool,
    /// Multilib methods: `none`, `all`, `runtime`, `devel`.
    pub multilib_methods: Vec<String>,
    /// Patterns of names that come for the second library set whatever the methods say.
    pub multilib_whitelist: Vec<String>,
    /// Patterns of names that never come for the second library set.
    pub multilib_blacklist: Vec<String>,
    /// Further inputs, as `name.arch`.
    pub prepopulate: Vec<String>,
}

impl GatherRequest {
    /// Returns the conditional members of all groups, sorted.
    pub(crate) fn conditionals(&self) -> Vec<Conditional> {
        let mut found: Vec<Conditional> = Vec::new();
        for member in self.groups.iter().flat_map(|group| &group.members) {
            if let MemberKind::Conditional { requires } = &member.kind {
                found.push(Conditional { requires: requires.clone(), install: member.name.clone() });
            }
        }
        found.sort();
        found.dedup();
        found
    }

    /// Returns the input patterns of `deps`, sorted.
    pub(crate) fn patterns(&self) -> Vec<String> {
        let members = self.groups.iter().flat_map(|group| &group.members);
        let unconditional = members.filter(|member| !matches!(member.kind, MemberKind::Conditional { .. }));
        let packages = self.packages.iter().map(|package| match &package.arch {
            Some(arch) => format!("{}.{arch}", package.name),
            None => package.name.clone(),
        });
        let mut patterns: Vec<String> = unconditional.map(|member| member.name.clone()).chain(packages).collect();
        patterns.sort_unstable();
        patterns.dedup();
        patterns
    }
}
