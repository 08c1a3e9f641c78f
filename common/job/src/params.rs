//! Parameters of each kind of job: plain structs whose JSON stands in [`crate::JobSpec::params`].
//!
//! They hold values that the job uses and nothing else. Maps are sorted, so that equal parameters have equal bytes.
//!
//! N is the index of a source in the compose's list of sources ([`crate::PackageEntry::source`]): there may be gaps, and
//! inputs are sorted as texts (10 before 2). Inputs marked ? are left out when the job that makes them is not planned,
//! or may fail and did.
//!
//! | kind | inputs | outputs |
//! |---|---|---|
//! | pkgset | – | `records`, `set/ARCH`, `universe/ARCH`; of a lookaside only `universe/ARCH`; with http(s) repositories also tree `downloads` |
//! | solve | `request` (gather request JSON), `universe/N` (own sources, N from 0), `lookaside-universe/N`, `parent` (parent's `result`), `lookaside/UID/ARCH` (results) | `result` |
//! | trim | `set/N` (package set of source N), `solve/UID` | `binary/UID`, `debug/UID`, `source/UID` |
//! | link | `binary`, `debug`; for arch `src`: `source/ARCH`? | trees `packages`, `debug-packages` (not for `src`) |
//! | createrepo, createrepo-debug | `packages` (arch `src`: `source/ARCH`?), `records/N`, `comps`? | tree `repodata`; `repomd`? (the bytes of repomd.xml; not of createrepo-debug) |
//! | extra-files | – | tree `files` |
//! | tree-info | `repomd/UID` (repomd.xml; addons' ?) | tree `files` |
//! | repoclosure | `packages`, `universe/N`, `lookaside/UID` (package lists), `lookaside-universe/N` | `report` |
//! | checksum | `files/N` (manifests) | tree `sums/N`; `extra-files/N`? (that tree's extra_files.json) |
//! | metadata | `binary/UID/ARCH`?, `debug/UID/ARCH`?, `source/UID/ARCH`? (package lists), `extra-files/UID/ARCH`? (extra_files.json of a tree) | tree `metadata` |

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `pkgset`: what one source has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PkgsetParams {
    /// Repositories per tree arch.
    pub arches: BTreeMap<String, PkgsetArch>,
    /// Signing keys in order of preference; `None` accepts unsigned copies.
    pub sigkeys: Vec<Option<String>>,
    /// Checksum type of the metadata to write (`sha256`): files are hashed once, here.
    pub checksum_type: String,
    /// `pkgset_exclusive_arch_considers_noarch`.
    pub exclusive_arch_considers_noarch: bool,
    /// `pkgset_inherit_exclusive_arch_to_noarch`.
    pub inherit_exclusive_arch_to_noarch: bool,
    /// A lookaside: only the universes are wanted; metadata is enough and files are neither read nor hashed.
    pub lookaside: bool,
}

/// One tree arch of a package source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PkgsetArch {
    /// Absolute directories, `file://` or `http(s)://` URLs, in order.
    pub repos: Vec<String>,
    /// Whether multilib arches belong to the set.
    pub multilib: bool,
}

/// `solve`: which packages belong to one variant and arch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SolveParams {
    /// Variant uid.
    pub variant: String,
    /// `variant`, `addon`, `optional` or `layered-product`.
    pub variant_kind: String,
    /// Tree arch.
    pub arch: String,
    /// `filter_system_release_packages`.
    pub filter_system_release: bool,
    /// `check_deps`: unresolved dependencies fail the job.
    pub check_deps: bool,
    /// `require_all_comps_packages`: patterns without a match fail the job.
    pub require_all: bool,
}

/// `trim`: divides a top-level variant and its nested variants, for one arch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrimParams {
    /// The top-level variant first, then nested ones in order.
    pub variants: Vec<TrimVariant>,
}

/// One variant that a `trim` job covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrimVariant {
    /// Variant uid.
    pub uid: String,
    /// `variant`, `addon`, `optional` or `layered-product`.
    pub kind: String,
    /// Uid of the parent; empty for the top-level variant.
    pub parent: String,
}

/// How packages are placed (`link_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkType {
    /// Hard links; another filesystem is an error.
    Hardlink,
    /// Copies.
    Copy,
    /// Hard links, copies where the source is on another filesystem.
    HardlinkOrCopy,
    /// Relative symbolic links.
    Symlink,
    /// Absolute symbolic links.
    AbspathSymlink,
}

/// `link`: places packages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkParams {
    /// How.
    pub link_type: LinkType,
    /// `hashed_directories`: `Packages/b/bash…`.
    pub hashed: bool,
}

/// `createrepo` and `createrepo-debug`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreaterepoParams {
    /// Checksum type of packages and metadata files.
    pub checksum_type: String,
    /// `zstd`, `gz`, `xz`, `bz2` or `none`.
    pub compression: String,
    /// How compressed metadata files are laid out: `frames` or `one-stream`.
    pub layout: String,
    /// Directory of packages relative to the repository root: `Packages`.
    pub packages_dir: String,
    /// `hashed_directories`.
    pub hashed: bool,
    /// Fixed revision; `None`: newest mtime among the packages.
    pub revision: Option<String>,
    /// Newest changelog entries kept for each package.
    pub changelog_limit: u32,
    /// `createrepo_database`: compression of the SQLite databases; `None`: none are made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
}

/// `extra-files`: copies files into one tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtraFilesParams {
    /// What to fetch, in order; later items replace earlier files of the same path.
    pub items: Vec<ExtraFile>,
}

/// One item of `extra_files`, pinned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtraFile {
    /// `file` or `git`.
    pub scm: String,
    /// Repository URL; empty for `file`.
    pub repo: String,
    /// Commit that the branch named when the compose was accepted; empty for `file`.
    pub commit: String,
    /// File or glob to copy; empty when `dir` is given.
    pub file: String,
    /// Directory whose content is copied; empty when `file` is given.
    pub dir: String,
    /// Directory below the tree's root; empty for the root.
    pub target: String,
}

/// `tree-info`: the small files that describe one tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeInfoParams {
    /// Release name.
    pub release_name: String,
    /// Release short name.
    pub release_short: String,
    /// Release version, or `treeinfo_version`.
    pub release_version: String,
    /// Whether the release is layered on a base product.
    pub base_product: Option<(String, String, String)>,
    /// Tree arch (`src` for the source tree).
    pub arch: String,
    /// Seconds since 1970 (`SOURCE_DATE_EPOCH`, else the compose's start).
    pub timestamp: i64,
    /// Description of .discinfo and media.repo.
    pub description: String,
    /// Checksum type of .treeinfo.
    pub checksum_type: String,
    /// The tree's own variant.
    pub variant: TreeVariant,
    /// Addons inside the tree.
    pub addons: Vec<TreeVariant>,
}

/// One variant or addon in .treeinfo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeVariant {
    /// Variant id without dashes.
    pub id: String,
    /// Variant uid.
    pub uid: String,
    /// Name for people.
    pub name: String,
    /// `variant`, `addon`, `optional`, `layered-product`.
    pub kind: String,
    /// Packages directory relative to the tree.
    pub packages: String,
    /// Repository directory relative to the tree (`.` for the tree itself).
    pub repository: String,
    /// Source, debug trees relative to this tree, where they exist: (`source_packages` …) name → path.
    pub other_paths: BTreeMap<String, String>,
}

/// `repoclosure`: looks for unresolved dependencies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepoclosureParams {
    /// Variant uid.
    pub variant: String,
    /// Tree arch.
    pub arch: String,
    /// Unresolved dependencies fail the job (`repoclosure_strictness = fatal`).
    pub fatal: bool,
}

/// `checksum`: hashes images and extra files of one tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChecksumParams {
    /// `media_checksums`: `md5`, `sha1`, `sha256`, `sha512`.
    pub types: Vec<String>,
    /// `media_checksum_one_file`.
    pub one_file: bool,
    /// `media_checksum_base_filename`, keys already replaced.
    pub base_name: String,
    /// Directories to look at: logical path of each `files/N` manifest's root, by N.
    pub roots: Vec<String>,
    /// Whether `extra_files.json` is written into the root.
    pub extra_files_json: bool,
}

/// `metadata`: the compose's own JSON files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetadataParams {
    /// What composeinfo.json says: `identity` (the compose spec's) and `variants`, a list of objects with `uid`, `id`,
    /// `name`, `type`, `parent`, `release` (name, short, version), `is_empty` and `arches`.
    pub compose: serde_json::Value,
    /// `hashed_directories`.
    pub hashed: bool,
}
