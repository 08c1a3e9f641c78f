//! Groups, categories, environments and language packs of a distribution ("comps").
//!
//! [`Comps::parse`] reads comps.xml and its source form comps.xml.in with the extensions that Pungi understands,
//! [`Comps::filter`] makes the comps of one variant and architecture, [`Comps::to_xml`] writes what dnf, libcomps and
//! createrepo_c read, and [`Chain`] answers gather's question for the packages of a group.

mod filter;
mod lookup;
mod parse;
#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use filter::FilterOptions;
pub use lookup::{Chain, GroupPackage, UndefinedGroup};
pub use parse::Error;

/// A text with its translations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// The untranslated text.
    pub text: String,
    /// Translation by `xml:lang`.
    pub translations: BTreeMap<String, String>,
}

/// Limits an element to some architectures and variants; an empty list limits nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// Tree architectures.
    pub arches: Vec<String>,
    /// Variant uids.
    pub variants: Vec<String>,
}

impl Scope {
    /// Tells whether the element belongs to `arch`, and to `variant` where one is given.
    pub fn admits(&self, arch: &str, variant: Option<&str>) -> bool {
        let allows = |list: &[String], value: &str| list.is_empty() || list.iter().any(|item| item == value);
        allows(&self.arches, arch) && variant.is_none_or(|variant| allows(&self.variants, variant))
    }
}

/// How much a group wants a package; the order is the order in which groups are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PackageKind {
    /// Always installed with the group.
    Mandatory,
    /// Installed unless deselected.
    Default,
    /// Installed if selected.
    Optional,
    /// Installed if the package named by `requires` is.
    Conditional,
}

impl PackageKind {
    /// Returns the value of the `type` attribute.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mandatory => "mandatory",
            Self::Default => "default",
            Self::Optional => "optional",
            Self::Conditional => "conditional",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Mandatory, Self::Default, Self::Optional, Self::Conditional]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

/// A package of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageReq {
    /// Package name.
    pub name: String,
    /// How much the group wants it.
    pub kind: PackageKind,
    /// Package that a conditional one depends on.
    pub requires: Option<String>,
    /// Only for the base architecture, not for multilib.
    pub basearch_only: bool,
    /// Where it applies.
    pub scope: Scope,
}

/// A group of packages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Id.
    pub id: String,
    /// Name for people.
    pub name: Text,
    /// Description for people.
    pub description: Text,
    /// Selected by default.
    pub default: bool,
    /// Shown to users.
    pub user_visible: bool,
    /// Only for systems with several architectures.
    pub biarch_only: bool,
    /// Only for this language.
    pub lang_only: Option<String>,
    /// Place among groups.
    pub display_order: Option<i32>,
    /// Packages in the order written.
    pub packages: Vec<PackageReq>,
    /// Where it applies.
    pub scope: Scope,
}

/// A group of an environment or category.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupId {
    /// Group id.
    pub id: String,
    /// An option of the environment that is selected by default.
    pub default: bool,
    /// Where it applies.
    pub scope: Scope,
}

/// A set of groups for people to find their way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Category {
    /// Id.
    pub id: String,
    /// Name for people.
    pub name: Text,
    /// Description for people.
    pub description: Text,
    /// Place among categories.
    pub display_order: Option<i32>,
    /// Groups in the order written.
    pub groups: Vec<GroupId>,
}

/// A set of groups that is installed as one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Id.
    pub id: String,
    /// Name for people.
    pub name: Text,
    /// Description for people.
    pub description: Text,
    /// Place among environments.
    pub display_order: Option<i32>,
    /// Groups that belong to it.
    pub groups: Vec<GroupId>,
    /// Groups that may be added.
    pub options: Vec<GroupId>,
    /// Where it applies.
    pub scope: Scope,
}

/// All comps of a distribution, or of one variant and architecture.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comps {
    /// Groups in the order written.
    pub groups: Vec<Group>,
    /// Categories in the order written.
    pub categories: Vec<Category>,
    /// Environments in the order written.
    pub environments: Vec<Environment>,
    /// Language packs: package name to name pattern of its translations (`%s` stands for the language).
    pub langpacks: BTreeMap<String, String>,
}

/// Something in comps that the user should know but that stops nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Warning {
    /// What it is, lowercase, with the place.
    pub message: String,
}

impl Comps {
    /// Returns the group with this id.
    pub fn group(&self, id: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.id == id)
    }
}

impl Group {
    /// Iterates over name, kind and `requires` of the packages.
    pub fn requirements(&self) -> impl Iterator<Item = GroupPackage<'_>> {
        self.packages.iter().map(|package| (package.name.as_str(), package.kind, package.requires.as_deref()))
    }
}
