//! What the rest of Tutti knows of one RPM file: plain data, no borrowed bytes.
//!
//! A [`Package`] is made by the header reader of this crate from an RPM file, or by `tutti-repodata` from the
//! `primary`, `filelists` and `other` metadata of a repository. Both ways must give an equal value for the same file.

use serde::{Deserialize, Serialize};

use crate::dependency::Dependency;
use crate::evr::Evr;

/// Name, EVR and architecture of one package.
///
/// `arch` of a source package is `src` (or `nosrc`), as file names and repository metadata have it, although the
/// header's own `ARCH` tag then names the build host's architecture.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Nevra {
    /// Package name.
    pub name: String,
    /// Epoch, version and release.
    pub evr: Evr,
    /// RPM architecture, `noarch`, `src` or `nosrc`.
    pub arch: String,
}

/// Kind of one entry of a package's file list, as the `type` attribute of `<file>` in repository metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FileKind {
    /// Regular file, link, device: no `type` attribute.
    File,
    /// Directory (`type="dir"`).
    Directory,
    /// Ghost (`type="ghost"`); a ghost directory counts as a directory, as in createrepo_c.
    Ghost,
}

/// One entry of a package's file list.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileEntry {
    /// Whole path: directory and base name joined, in header order.
    pub path: String,
    /// What the entry is.
    pub kind: FileKind,
}

/// Digests of a package's files, which only `filelists-ext` metadata have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDigests {
    /// Number of the algorithm (RFC 4880, 9.4), if the header has one; where it has none, it is MD5.
    pub algorithm: Option<u32>,
    /// One for each entry of the file list, in hex; empty for what is no regular file.
    pub digests: Vec<String>,
}

/// One changelog entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Changelog {
    /// Author line (`Name <mail> - EVR`).
    pub author: String,
    /// Seconds since 1970.
    pub time: u64,
    /// Text.
    pub text: String,
}

/// The facts of one RPM file.
///
/// Strings are those of the `C` locale. Lists are in header order and unfiltered: writers apply the rules of their
/// format (for example, which requires createrepo leaves out).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Name of the package.
    pub name: String,
    /// Epoch, version and release.
    pub evr: Evr,
    /// RPM architecture; `src` or `nosrc` for source packages.
    pub arch: String,
    /// One-line summary.
    pub summary: String,
    /// Description.
    pub description: String,
    /// Project URL.
    pub url: Option<String>,
    /// Licence tag.
    pub license: Option<String>,
    /// Vendor tag.
    pub vendor: Option<String>,
    /// Group tag.
    pub group: Option<String>,
    /// Packager tag.
    pub packager: Option<String>,
    /// Host that built the package.
    pub build_host: Option<String>,
    /// File name of the source package; `None` for source packages themselves.
    pub source_rpm: Option<String>,
    /// Build time, seconds since 1970.
    pub build_time: u64,
    /// Installed size in bytes.
    pub installed_size: u64,
    /// Uncompressed payload size in bytes.
    pub archive_size: u64,
    /// First byte of the main header in the file.
    pub header_start: u64,
    /// First byte after the main header in the file.
    pub header_end: u64,
    /// Provides.
    pub provides: Vec<Dependency>,
    /// Requires, with [`Dependency::pre`] set for scriptlet requirements.
    pub requires: Vec<Dependency>,
    /// Conflicts.
    pub conflicts: Vec<Dependency>,
    /// Obsoletes.
    pub obsoletes: Vec<Dependency>,
    /// Recommends.
    pub recommends: Vec<Dependency>,
    /// Suggests.
    pub suggests: Vec<Dependency>,
    /// Supplements.
    pub supplements: Vec<Dependency>,
    /// Enhances.
    pub enhances: Vec<Dependency>,
    /// File list, header order.
    pub files: Vec<FileEntry>,
    /// Changelog, header order (newest first).
    pub changelogs: Vec<Changelog>,
    /// `ExcludeArch` of a source package.
    pub exclude_arch: Vec<String>,
    /// `ExclusiveArch` of a source package.
    pub exclusive_arch: Vec<String>,
    /// Key id (8 lower-case hex digits, as Koji and rpms.json have it) of the header's signature.
    pub signing_key: Option<String>,
    /// Digests of the files, where somebody asked for them: [`crate::file_digests`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_digests: Option<FileDigests>,
}

impl Package {
    /// Returns the package's NEVRA.
    pub fn nevra(&self) -> Nevra {
        Nevra { name: self.name.clone(), evr: self.evr.clone(), arch: self.arch.clone() }
    }

    /// Whether this is a source package.
    pub fn is_source(&self) -> bool {
        self.arch == "src" || self.arch == "nosrc"
    }

    /// Whether the name says debuginfo or debugsource (the rule of Pungi's gather: `*-debuginfo`,
    /// `*-debuginfo-*`, `*-debugsource`).
    pub fn is_debug(&self) -> bool {
        is_debug_name(&self.name)
    }
}

/// Whether a package name is that of a debuginfo or debugsource package.
pub fn is_debug_name(name: &str) -> bool {
    name.ends_with("-debuginfo") || name.ends_with("-debugsource") || name.contains("-debuginfo-")
}
