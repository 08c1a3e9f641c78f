//! Variants of a compose, as variants.xml describes them (pungi 4.3.2 `wrappers/variants.py`, `share/variants.dtd`).
//!
//! [`Variants::parse`] resolves templates, optional children and the arch and variant filters once; the result is part
//! of the frozen spec and never changes. It is *not* the productmd view: see [`crate::metadata`] for that.

mod parse;
#[cfg(test)]
mod tests;

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Serialize};

pub use parse::Error;

/// Unique id of a variant: its parent's uid, a dash, and its own id; just the id at top level.
///
/// Made of ASCII letters, digits and dashes only, so that it is safe as a directory name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VariantUid(String);

impl VariantUid {
    /// Checks the characters of `text`.
    ///
    /// # Errors
    /// If `text` is empty, longer than 128 bytes, or has other characters than ASCII letters, digits and inner dashes.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidUid> {
        let text = text.into();
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let edges = text.starts_with('-') || text.ends_with('-');
        if text.is_empty() || text.len() > 128 || !plain || edges {
            return Err(InvalidUid { text });
        }
        Ok(Self(text))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text that cannot be a variant id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{}' is not a variant id; use ASCII letters, digits and inner dashes", text.escape_debug())]
pub struct InvalidUid {
    /// The refused text.
    pub text: String,
}

impl TryFrom<String> for VariantUid {
    type Error = InvalidUid;
    fn try_from(text: String) -> Result<Self, InvalidUid> {
        Self::new(text)
    }
}
impl From<VariantUid> for String {
    fn from(uid: VariantUid) -> Self {
        uid.0
    }
}
impl fmt::Display for VariantUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl Deref for VariantUid {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}
impl AsRef<str> for VariantUid {
    fn as_ref(&self) -> &str {
        &self.0
    }
}
impl Borrow<str> for VariantUid {
    fn borrow(&self) -> &str {
        &self.0
    }
}
impl PartialEq<str> for VariantUid {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}
impl PartialEq<&str> for VariantUid {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

/// Type of a variant; the order is the order in which gather serves them inside one rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VariantKind {
    /// Has trees of its own and may have children.
    Variant,
    /// Lives in its parent's tree, below `addons/`.
    Addon,
    /// A product on top of its parent, with a release of its own and trees of its own.
    LayeredProduct,
    /// Packages of the parent that nobody supports; trees of its own.
    Optional,
}

impl VariantKind {
    /// Returns the name that variants.xml and productmd use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Variant => "variant",
            Self::Addon => "addon",
            Self::LayeredProduct => "layered-product",
            Self::Optional => "optional",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Variant, Self::Addon, Self::LayeredProduct, Self::Optional]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }

    /// Place in the order of variants: addons and layered products share one.
    fn rank(self) -> u8 {
        match self {
            Self::Variant => 0,
            Self::Addon | Self::LayeredProduct => 1,
            Self::Optional => 2,
        }
    }
}

impl fmt::Display for VariantKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A comps group, or a pattern of groups, that belongs to a variant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRef {
    /// Group id, or a shell pattern if `glob`.
    pub name: String,
    /// Whether `name` is a pattern.
    pub glob: bool,
    /// Replaces the group's own `default`.
    pub default: Option<bool>,
    /// Replaces the group's own `uservisible`.
    pub user_visible: Option<bool>,
}

impl GroupRef {
    /// Tells whether the entry means the group `id`.
    pub fn matches(&self, id: &str) -> bool {
        if self.glob { crate::glob::matches(&self.name, id) } else { self.name == id }
    }
}

/// A comps environment that belongs to a variant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentRef {
    /// Environment id.
    pub name: String,
    /// Replaces the environment's own display order.
    pub display_order: Option<i32>,
}

/// A module that belongs to a variant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleRef {
    /// `NAME:STREAM[:VERSION[:CONTEXT]]`, as written (the old form with dashes included).
    pub name: String,
    /// Whether the name is a pattern.
    pub glob: bool,
}

/// The `<modules>` element; its presence alone makes a variant modular.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Modules {
    /// Module specifications.
    pub modules: Vec<ModuleRef>,
    /// Koji tags whose modules are taken.
    pub koji_tags: Vec<String>,
}

/// Release of a layered product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayeredRelease {
    /// Name, for example `Resilient Storage`.
    pub name: String,
    /// Short name.
    pub short: String,
    /// Version.
    pub version: String,
}

/// Which comps groups a variant takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupSelection<'a> {
    /// All groups: a plain top-level variant that names neither groups nor modules.
    All,
    /// Only these; none if empty.
    Listed(&'a [GroupRef]),
}

/// One variant, templates resolved and filters applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variant {
    /// Unique id.
    pub uid: VariantUid,
    /// Id below its parent.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Type.
    pub kind: VariantKind,
    /// Uid of the variant that it is nested in.
    pub parent: Option<VariantUid>,
    /// Tree architectures, sorted, never empty.
    pub arches: Vec<String>,
    /// Groups in the order written.
    pub groups: Vec<GroupRef>,
    /// Environments in the order written.
    pub environments: Vec<EnvironmentRef>,
    /// Present if the variant is modular.
    pub modules: Option<Modules>,
    /// The variant has no packages.
    pub is_empty: bool,
    /// Present for a layered product, and only there.
    pub release: Option<LayeredRelease>,
    /// Packages to add to the installer image of the variant.
    pub buildinstall_packages: Vec<String>,
}

impl Variant {
    /// Returns which groups of comps the variant takes (pungi 4.3.2 `phases/init.py`, `write_variant_comps`).
    pub fn group_selection(&self) -> GroupSelection<'_> {
        let all = self.groups.is_empty() && self.modules.is_none() && self.kind == VariantKind::Variant;
        if all { GroupSelection::All } else { GroupSelection::Listed(&self.groups) }
    }
}

/// Restricts a parse to some architectures and variants; an empty list restricts nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// `tree_arches` of the configuration.
    pub tree_arches: Vec<String>,
    /// `tree_variants` of the configuration: uids.
    pub tree_variants: Vec<String>,
}

/// All variants of a compose, in order: type rank (variant; addon and layered product; optional), then uid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Frozen")]
pub struct Variants {
    variants: Vec<Variant>,
    /// What a reader of the file should know but need not stop for; not part of the spec.
    #[serde(skip)]
    pub warnings: Vec<String>,
}

/// Variants as stored: checked again when read, since their names become paths.
#[derive(Deserialize)]
struct Frozen {
    variants: Vec<Variant>,
}

impl TryFrom<Frozen> for Variants {
    type Error = InvalidUid;
    fn try_from(frozen: Frozen) -> Result<Self, InvalidUid> {
        let invalid = |text: &str| Err(InvalidUid { text: text.to_owned() });
        let mut uids = std::collections::BTreeSet::new();
        for variant in &frozen.variants {
            let expected = match &variant.parent {
                None => VariantUid::new(variant.id.as_str())?,
                Some(parent) => VariantUid::new(format!("{parent}-{}", variant.id))?,
            };
            if variant.uid != expected || !uids.insert(&variant.uid) {
                return invalid(&variant.uid);
            }
            if variant.arches.is_empty() || !variant.arches.iter().all(|arch| is_tree_arch(arch)) {
                return invalid(&variant.uid);
            }
        }
        let known = |variant: &Variant| variant.parent.as_ref().is_none_or(|parent| uids.contains(parent));
        if let Some(orphan) = frozen.variants.iter().find(|variant| !known(variant)) {
            return invalid(&orphan.uid);
        }
        Ok(Self { variants: frozen.variants, warnings: Vec::new() })
    }
}

/// Tells whether `arch` can be a tree architecture: a plain word that does not mean sources or no architecture.
fn is_tree_arch(arch: &str) -> bool {
    let plain = arch.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    plain && !arch.is_empty() && arch.len() <= 32 && !matches!(arch, "src" | "nosrc" | "noarch" | "source")
}

impl Variants {
    /// Iterates over all variants in order.
    pub fn all(&self) -> impl Iterator<Item = &Variant> {
        self.variants.iter()
    }

    /// Iterates over the variants that have no parent, in order.
    pub fn top_level(&self) -> impl Iterator<Item = &Variant> {
        self.all().filter(|variant| variant.parent.is_none())
    }

    /// Iterates over the variants nested in `uid`, in order.
    pub fn children<'a>(&'a self, uid: &'a str) -> impl Iterator<Item = &'a Variant> {
        self.all().filter(move |variant| variant.parent.as_deref() == Some(uid))
    }

    /// Returns the variant with this uid.
    pub fn get(&self, uid: &str) -> Option<&Variant> {
        self.all().find(|variant| variant.uid == *uid)
    }

    /// Returns the variant that `variant` is nested in.
    pub fn parent(&self, variant: &Variant) -> Option<&Variant> {
        self.get(variant.parent.as_deref()?)
    }

    /// Returns all architectures of all variants, sorted.
    pub fn arches(&self) -> Vec<&str> {
        let mut arches: Vec<&str> = self.all().flat_map(|variant| &variant.arches).map(String::as_str).collect();
        arches.sort_unstable();
        arches.dedup();
        arches
    }

    /// Number of variants.
    pub fn len(&self) -> usize {
        self.variants.len()
    }

    /// Whether no variant is left.
    pub fn is_empty(&self) -> bool {
        self.variants.is_empty()
    }

    /// Returns whose comps to ask for a group of `variant`: its own, its parent's, for an optional variant its
    /// siblings' (pungi 4.3.2 `phases/gather/methods/method_nodeps.py`).
    pub fn comps_chain<'a>(&'a self, variant: &'a Variant) -> Vec<&'a Variant> {
        let mut chain = vec![variant];
        let Some(parent) = self.parent(variant) else {
            return chain;
        };
        chain.push(parent);
        if variant.kind == VariantKind::Optional {
            chain.extend(self.children(parent.uid.as_str()).filter(|sibling| sibling.uid != variant.uid));
        }
        chain
    }
}

impl<'a> IntoIterator for &'a Variants {
    type Item = &'a Variant;
    type IntoIter = std::slice::Iter<'a, Variant>;
    fn into_iter(self) -> Self::IntoIter {
        self.variants.iter()
    }
}
