//! Where gather finds the packages of a group.

use super::{Comps, Group, PackageKind};

/// Name, kind and `requires` of a package of a group.
pub type GroupPackage<'a> = (&'a str, PackageKind, Option<&'a str>);

/// A group that no comps file of the chain defines.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("undefined group '{group}' in variant '{variant}' ({arch}): not in the comps of {}", searched.join(", "))]
pub struct UndefinedGroup {
    /// Group id.
    pub group: String,
    /// Uid of the variant that wants it.
    pub variant: String,
    /// Tree architecture.
    pub arch: String,
    /// Uids of the variants whose comps were searched.
    pub searched: Vec<String>,
}

/// Filtered comps of one architecture in the order of [`crate::variants::Variants::comps_chain`].
#[derive(Clone, Debug)]
pub struct Chain<'a> {
    variant: &'a str,
    arch: &'a str,
    comps: Vec<(&'a str, &'a Comps)>,
}

impl<'a> Chain<'a> {
    /// Starts a chain with the comps of the variant itself.
    pub fn new(variant: &'a str, arch: &'a str, own: &'a Comps) -> Self {
        Self { variant, arch, comps: vec![(variant, own)] }
    }

    /// Adds the comps of the parent or of a sibling, to be asked after those before.
    pub fn push(&mut self, variant: &'a str, comps: &'a Comps) {
        self.comps.push((variant, comps));
    }

    /// Returns the group from the first comps that has it.
    ///
    /// # Errors
    /// If none has it.
    pub fn group(&self, id: &str) -> Result<&'a Group, UndefinedGroup> {
        let found = self.comps.iter().find_map(|(_, comps)| comps.group(id));
        found.ok_or_else(|| UndefinedGroup {
            group: id.to_owned(),
            variant: self.variant.to_owned(),
            arch: self.arch.to_owned(),
            searched: self.comps.iter().map(|(uid, _)| (*uid).to_owned()).collect(),
        })
    }

    /// Returns name, kind and `requires` of the packages of a group.
    ///
    /// # Errors
    /// If no comps of the chain has the group.
    pub fn group_packages(&self, id: &str) -> Result<Vec<GroupPackage<'a>>, UndefinedGroup> {
        Ok(self.group(id)?.requirements().collect())
    }
}
