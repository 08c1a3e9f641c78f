//! Where everything lies in a compose (pungi 4.3.2 `paths.py`): pure functions from names to paths.
//!
//! All paths are relative to the `compose/` directory and have `/` between their parts, as in productmd metadata and in
//! logical paths. Variant uids and architectures are checked types or checked here, so that no path leaves its root.

use tutti_rpm::Nevra;

use crate::variants::{Variant, VariantKind, VariantUid, Variants};

/// Directory below the compose's own that users read.
pub const COMPOSE_DIR: &str = "compose";
/// Directory of productmd metadata, in [`COMPOSE_DIR`].
pub const METADATA_DIR: &str = "metadata";
/// Longest file name that common filesystems take, in bytes.
pub const MAX_FILE_NAME: usize = 255;

/// Architecture as a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Arch<'a> {
    /// A tree architecture.
    Binary(&'a str),
    /// Sources of all architectures.
    Source,
}

impl<'a> Arch<'a> {
    /// Reads an architecture: `src`, `nosrc` and `source` mean sources.
    ///
    /// # Errors
    /// If the name cannot be a directory of its own.
    pub fn new(text: &'a str) -> Result<Self, UnsafeName> {
        match text {
            "src" | "nosrc" | "source" => Ok(Self::Source),
            _ => {
                check_file_name(text)?;
                Ok(Self::Binary(text))
            }
        }
    }

    fn directory(self) -> &'a str {
        match self {
            Self::Binary(arch) => arch,
            Self::Source => "source",
        }
    }
}

/// How package directories are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PackageDirectories {
    /// All packages in one directory.
    Flat,
    /// `hashed_directories`: one directory per first letter of the package name.
    Hashed,
}

/// The trees of one variant. An addon shares those of its parent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Trees<'a> {
    /// Variant that owns the directories.
    owner: &'a VariantUid,
    addon: Option<&'a str>,
}

impl<'a> Trees<'a> {
    /// Returns the trees of `variant`.
    pub fn of(variant: &'a Variant) -> Self {
        match (variant.kind, &variant.parent) {
            (VariantKind::Addon, Some(parent)) => Self { owner: parent, addon: Some(&variant.id) },
            _ => Self { owner: &variant.uid, addon: None },
        }
    }

    /// `Server/x86_64`, `Server/source`.
    pub fn top(&self, arch: Arch<'_>) -> String {
        format!("{}/{}", self.owner, arch.directory())
    }

    /// `Server/x86_64/os`, `Server/source/tree`; an addon's is its parent's.
    pub fn os_tree(&self, arch: Arch<'_>) -> String {
        let name = match arch {
            Arch::Binary(_) => "os",
            Arch::Source => "tree",
        };
        format!("{}/{name}", self.top(arch))
    }

    /// Directory that holds `repodata/`: the tree, or `…/os/addons/ID` for an addon.
    pub fn repository(&self, arch: Arch<'_>) -> String {
        self.in_tree(self.os_tree(arch))
    }

    /// Directory of packages: `…/os/Packages`; an addon's packages lie beside its `repodata/`.
    pub fn packages(&self, arch: Arch<'_>) -> String {
        self.packages_of(self.repository(arch))
    }

    /// `Server/x86_64/debug/tree`. Sources have none.
    pub fn debug_tree(&self, arch: &str) -> String {
        format!("{}/debug/tree", self.top(Arch::Binary(arch)))
    }

    /// Directory of the debug repository.
    pub fn debug_repository(&self, arch: &str) -> String {
        self.in_tree(self.debug_tree(arch))
    }

    /// Directory of debug packages.
    pub fn debug_packages(&self, arch: &str) -> String {
        self.packages_of(self.debug_repository(arch))
    }

    /// `Server/x86_64/iso`; none for an addon.
    pub fn iso(&self, arch: Arch<'_>) -> Option<String> {
        self.own(arch, "iso")
    }

    /// `Server/x86_64/images`; none for an addon.
    pub fn images(&self, arch: Arch<'_>) -> Option<String> {
        self.own(arch, "images")
    }

    /// `Server/x86_64/jigdo`; none for an addon.
    pub fn jigdo(&self, arch: Arch<'_>) -> Option<String> {
        self.own(arch, "jigdo")
    }

    fn own(&self, arch: Arch<'_>, name: &str) -> Option<String> {
        self.addon.is_none().then(|| format!("{}/{name}", self.top(arch)))
    }

    fn in_tree(&self, tree: String) -> String {
        match self.addon {
            Some(id) => format!("{tree}/addons/{id}"),
            None => tree,
        }
    }

    fn packages_of(&self, repository: String) -> String {
        match self.addon {
            Some(_) => repository,
            None => format!("{repository}/Packages"),
        }
    }
}

/// A text that cannot be one part of a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{}' is not safe as a file name: {reason}", name.escape_debug())]
pub struct UnsafeName {
    /// The refused name, cut to 300 characters.
    pub name: String,
    /// Why.
    pub reason: &'static str,
}

/// Checks that `name` is one part of a path and nothing else.
///
/// # Errors
/// If it is empty, longer than [`MAX_FILE_NAME`] bytes, begins with a dot or dash, or has a slash or control character.
pub fn check_file_name(name: &str) -> Result<(), UnsafeName> {
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.len() > MAX_FILE_NAME {
        "it is longer than 255 bytes"
    } else if name.contains('/') {
        "it has a slash"
    } else if name.chars().any(char::is_control) {
        "it has a control character"
    } else if name.starts_with('.') {
        "it begins with a dot"
    } else if name.starts_with('-') {
        "it begins with a dash"
    } else {
        return Ok(());
    };
    Err(UnsafeName { name: name.chars().take(300).collect(), reason })
}

/// Returns the file name that a package's header asks for: `NAME-VERSION-RELEASE.ARCH.rpm`.
///
/// # Errors
/// If the header would lead to an unsafe name.
pub fn package_file_name(nevra: &Nevra) -> Result<String, UnsafeName> {
    let name = format!("{}-{}-{}.{}.rpm", nevra.name, nevra.evr.version, nevra.evr.release, nevra.arch);
    check_file_name(&name)?;
    Ok(name)
}

/// Returns where a package lies below its `Packages` directory.
///
/// # Errors
/// If the header would lead to an unsafe name.
pub fn package_path(nevra: &Nevra, directories: PackageDirectories) -> Result<String, UnsafeName> {
    let file = package_file_name(nevra)?;
    match directories {
        PackageDirectories::Flat => Ok(file),
        PackageDirectories::Hashed => {
            // The name was checked: its first character is neither dot nor slash.
            let letter: String = file.chars().take(1).flat_map(char::to_lowercase).collect();
            Ok(format!("{letter}/{file}"))
        }
    }
}

/// Returns all repositories of a compose with the variant, architecture and directory of each: binary, debug, source.
pub fn repositories(variants: &Variants) -> Vec<RepositoryPlace<'_>> {
    let mut places = Vec::new();
    for variant in variants.all().filter(|variant| !variant.is_empty) {
        let trees = Trees::of(variant);
        let place = |content, arch, path| RepositoryPlace { variant, content, arch, path };
        for arch in &variant.arches {
            places.push(place(Content::Binary, Some(arch.as_str()), trees.repository(Arch::Binary(arch))));
            places.push(place(Content::Debug, Some(arch.as_str()), trees.debug_repository(arch)));
        }
        places.push(place(Content::Source, None, trees.repository(Arch::Source)));
    }
    places
}

/// What a repository holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Content {
    /// Packages to install.
    Binary,
    /// Debug information.
    Debug,
    /// Source packages.
    Source,
}

/// One repository of a compose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryPlace<'a> {
    /// Whose it is.
    pub variant: &'a Variant,
    /// What it holds.
    pub content: Content,
    /// Tree architecture; none for sources.
    pub arch: Option<&'a str>,
    /// Directory that holds `repodata/`.
    pub path: String,
}

#[cfg(test)]
mod tests;
