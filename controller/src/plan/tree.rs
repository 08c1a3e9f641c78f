//! Where things of a variant stand below `compose/` (pungi 4.3.2, compose paths).

use tutti_job::{LogicalPath, PathError, Root};

use crate::spec::VariantSpec;

/// The paths of one variant on one arch; addons stand inside their parent's tree.
pub(super) struct Tree<'a> {
    /// Uid of the directory: the variant's, or an addon's parent's.
    top: &'a str,
    arch: &'a str,
    addon: Option<&'a str>,
}

impl<'a> Tree<'a> {
    pub(super) fn new(variant: &'a VariantSpec, arch: &'a str) -> Self {
        match (&variant.parent, variant.kind.as_str()) {
            (Some(parent), "addon") => Self { top: parent, arch, addon: Some(&variant.id) },
            _ => Self { top: &variant.uid, arch, addon: None },
        }
    }

    /// Repository root: `Server/x86_64/os`, `Server/x86_64/os/addons/HA`, `Server/source/tree`.
    pub(super) fn repository(&self) -> Result<LogicalPath, PathError> {
        match self.arch {
            "src" => self.below("source/tree".to_owned()),
            arch => self.below(format!("{arch}/os")),
        }
    }

    /// Root of the debug repository.
    pub(super) fn debug_repository(&self) -> Result<LogicalPath, PathError> {
        self.below(format!("{}/debug/tree", self.arch))
    }

    /// Directory of packages relative to the repository: an addon's packages stand beside its repodata.
    pub(super) fn packages_dir(&self) -> &'static str {
        if self.addon.is_some() { "" } else { "Packages" }
    }

    /// The repository relative to the tree that it is part of.
    pub(super) fn in_tree(&self) -> String {
        self.addon.map_or_else(|| ".".to_owned(), |id| format!("addons/{id}"))
    }

    /// The packages relative to the tree that they are part of.
    pub(super) fn packages_in_tree(&self) -> String {
        self.addon.map_or_else(|| "Packages".to_owned(), |id| format!("addons/{id}"))
    }

    fn below(&self, tree: String) -> Result<LogicalPath, PathError> {
        let addon = self.addon.map(|id| format!("/addons/{id}")).unwrap_or_default();
        LogicalPath::new(Root::Compose, format!("{}/{tree}{addon}", self.top))
    }
}
