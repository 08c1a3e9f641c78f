//! The settings of a compose: the configuration with types, every default filled in, paths resolved.
//!
//! This is what is frozen into a compose's specification. It depends on the configuration files alone, not on the machine that reads them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::createrepo::{Compression, CreaterepoExtra};
use super::mapping::{ArchMap, VariantArchMap, VariantMap};

macro_rules! string_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$doc])* #[serde(rename = $text)] $variant,)+ }

        impl $name {
            /// Returns the name that a configuration uses.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// Returns the value of this name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use string_enum;

string_enum! {
    /// How packages and images are placed into the tree.
    LinkType {
        /// Hard link, failing across file systems.
        Hardlink = "hardlink",
        /// Copy.
        Copy = "copy",
        /// Hard link, or a copy across file systems.
        HardlinkOrCopy = "hardlink-or-copy",
        /// Relative symbolic link.
        Symlink = "symlink",
        /// Absolute symbolic link.
        AbsoluteSymlink = "abspath-symlink",
    }
}
string_enum! {
    /// How the packages of one source are chosen.
    GatherMethod {
        /// With all that they require.
        Deps = "deps",
        /// Only what is asked for.
        Nodeps = "nodeps",
    }
}
string_enum! {
    /// Where requests for packages come from.
    GatherSource {
        /// Modules of the variant.
        Module = "module",
        /// Groups of the variant and `additional_packages`.
        Comps = "comps",
        /// `gather_source_mapping`.
        Json = "json",
    }
}
string_enum! {
    /// Which of several providers are taken.
    GreedyMethod {
        /// The best one.
        None = "none",
        /// All.
        All = "all",
        /// The best one and all providers from the same build.
        Build = "build",
    }
}
string_enum! {
    /// Which packages are taken for the second architecture too.
    MultilibMethod {
        /// None.
        None = "none",
        /// All.
        All = "all",
        /// Development packages and their libraries.
        Devel = "devel",
        /// Libraries that programs load at run time.
        Runtime = "runtime",
    }
}
string_enum! {
    /// What unresolved dependencies of a repository mean.
    Strictness {
        /// Not looked for.
        Off = "off",
        /// Logged.
        Lenient = "lenient",
        /// The compose is doomed.
        Fatal = "fatal",
    }
}
string_enum! {
    /// Checksum algorithm.
    ChecksumType {
        /// MD5.
        Md5 = "md5",
        /// SHA-1.
        Sha1 = "sha1",
        /// SHA-256.
        Sha256 = "sha256",
        /// SHA-512.
        Sha512 = "sha512",
    }
}
string_enum! {
    /// Where a file comes from.
    ScmKind {
        /// Local files.
        File = "file",
        /// A git repository.
        Git = "git",
    }
}

/// Settings of a compose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Product identity.
    pub release: Release,
    /// Base of a layered product.
    pub base_product: Option<Release>,
    /// `release_internal`.
    pub release_internal: bool,
    /// Template of the description in `.discinfo` and `media.repo`; keys `variant_name` and `arch`.
    pub release_discinfo_description: Option<String>,
    /// Version for `.treeinfo`, when it is not the release's.
    pub treeinfo_version: Option<String>,
    /// `compose_type`: test, ci, nightly, production or development.
    pub compose_type: Option<String>,
    /// variants.xml.
    pub variants_file: FileSource,
    /// comps.
    pub comps_file: Option<FileSource>,
    /// Whether environments that a variant does not list are left out.
    pub comps_filter_environments: bool,
    /// Architectures to compose; empty means all.
    pub tree_arches: Vec<String>,
    /// Variants to compose; empty means all.
    pub tree_variants: Vec<String>,
    /// Prefixes of local paths and what they are as URLs.
    pub translate_paths: Vec<(String, String)>,
    /// How packages and images are placed.
    pub link_type: LinkType,
    /// Whether packages are spread over directories by their first letter.
    pub hashed_directories: bool,
    /// Names of Pungi's phases to leave out.
    pub skip_phases: Vec<String>,
    /// Names of deliverables that may fail.
    pub failable_deliverables: VariantArchMap<String>,
    /// Package sets.
    pub pkgset: Pkgset,
    /// Choice of packages.
    pub gather: Gather,
    /// Repositories.
    pub createrepo: Createrepo,
    /// What unresolved dependencies mean; [`Settings::repoclosure`] gives the default.
    pub repoclosure_strictness: VariantArchMap<Strictness>,
    /// Additional files of a tree.
    pub extra_files: VariantArchMap<ExtraFile>,
    /// Checksum files.
    pub media_checksums: MediaChecksums,
}

/// Identity of a product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Name for people.
    pub name: String,
    /// Name for file names and ids.
    pub short: String,
    /// Version.
    pub version: String,
    /// Type: ga, updates, updates-testing, eus, …
    #[serde(rename = "type")]
    pub kind: String,
}

/// A file given by path or by source repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileSource {
    /// Absolute path.
    Path(PathBuf),
    /// From a source repository.
    Scm(Scm),
}

/// Files in a source repository or on the local file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scm {
    /// Kind of repository.
    pub scm: ScmKind,
    /// URL of the repository; absent for local files.
    pub repo: Option<String>,
    /// Branch, tag or commit.
    pub branch: Option<String>,
    /// Globs for files: in the repository, or absolute for local files.
    pub file: Vec<String>,
    /// Globs for directories whose content is taken.
    pub dir: Vec<String>,
    /// Command to run in the checkout first.
    pub command: Option<String>,
    /// Further options, such as `credential_helper`.
    pub options: BTreeMap<String, String>,
}

/// One entry of `extra_files`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtraFile {
    /// What is copied.
    pub source: Scm,
    /// Directory in the tree, relative and without `..`; empty is the root of the tree.
    pub target: String,
}

/// Place of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RepoLocation {
    /// Absolute path of a directory.
    Path(PathBuf),
    /// URL.
    Url(String),
}

/// Repository that packages come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageRepo {
    /// Name, when the configuration gives one.
    pub name: Option<String>,
    /// Place.
    pub location: RepoLocation,
    /// Globs of packages to leave out.
    pub exclude: Vec<String>,
}

/// Settings of package sets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pkgset {
    /// Repositories by architecture.
    pub repos: ArchMap<PackageRepo>,
    /// Whether "noarch" counts when ExclusiveArch is looked at.
    pub exclusive_arch_considers_noarch: bool,
    /// Whether noarch packages inherit the architecture limits of their source package.
    pub inherit_exclusive_arch_to_noarch: bool,
    /// Accepted key ids in order of preference, in lower case; `None` accepts unsigned packages.
    pub sigkeys: Vec<Option<String>>,
}

/// Gather methods of all variants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GatherMethods {
    /// One method for everything.
    Global(GatherMethod),
    /// Methods by variant; the last expression that matches counts.
    Variants(VariantMap<BTreeMap<GatherSource, GatherMethod>>),
}

/// Settings of the choice of packages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gather {
    /// `gather_method`.
    pub method: GatherMethods,
    /// Whether all packages of a chosen source are taken.
    pub fulltree: bool,
    /// Whether build requirements are taken.
    pub selfhosting: bool,
    /// Which of several providers are taken.
    pub greedy: GreedyMethod,
    /// Packages chosen beforehand.
    pub prepopulate: Option<FileSource>,
    /// Repositories whose packages satisfy dependencies but are not taken.
    pub lookaside_repos: VariantArchMap<RepoLocation>,
    /// Pairs (variant, variant that serves as its lookaside).
    pub variant_as_lookaside: Vec<(String, String)>,
    /// Packages to add: names, `name.arch` and globs.
    pub additional_packages: VariantArchMap<String>,
    /// Packages to leave out: names, `name.arch` and globs.
    pub filter_packages: VariantArchMap<String>,
    /// Whether a variant gets only its own release package.
    pub filter_system_release_packages: bool,
    /// Multilib methods.
    pub multilib: VariantArchMap<MultilibMethod>,
    /// Globs of packages that are always multilib.
    pub multilib_whitelist: ArchMap<String>,
    /// Globs of packages that never are.
    pub multilib_blacklist: ArchMap<String>,
    /// Whether unresolved dependencies are fatal.
    pub check_deps: bool,
    /// Whether each package that comps names must exist.
    pub require_all_comps_packages: bool,
}

/// Settings of repository metadata.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Createrepo {
    /// Checksum type.
    pub checksum: ChecksumType,
    /// Whether metadata is compressed by xz.
    pub use_xz: bool,
    /// Repositories made at the same time; absent means as many as there are processors.
    pub num_threads: Option<u32>,
    /// Threads of one repository.
    pub num_workers: u32,
    /// Whether sqlite databases are wanted.
    pub database: bool,
    /// What `createrepo_extra_args` asks for.
    pub extra: CreaterepoExtra,
}

/// Settings of checksum files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaChecksums {
    /// Algorithms; one only when `one_file` is set.
    pub types: Vec<ChecksumType>,
    /// Whether each directory gets one CHECKSUM file and images get none.
    pub one_file: bool,
    /// Template of the file name before `-CHECKSUM`; may be empty.
    pub base_filename: String,
}

impl Settings {
    /// Tells whether the compose may go on without this deliverable (`failable_deliverables`).
    pub fn is_failable(&self, variant: &str, arch: &str, deliverable: &str) -> bool {
        self.failable_deliverables.iter(variant, arch).any(|name| name == deliverable)
    }

    /// Returns what unresolved dependencies of a variant's repository mean: the last match, else lenient.
    pub fn repoclosure(&self, variant: &str, arch: &str) -> Strictness {
        self.repoclosure_strictness.last(variant, arch).copied().unwrap_or(Strictness::Lenient)
    }

    /// Tells whether packages of an architecture's second architecture are wanted anywhere in the compose.
    pub fn is_multilib(&self, arch: &str) -> bool {
        self.gather.multilib.any_variant(arch).next().is_some()
    }

    /// Returns a local path as URL: the first prefix of `translate_paths` that fits is replaced.
    pub fn translate_path(&self, path: &Path) -> Option<String> {
        let text = path.to_str()?;
        self.translate_paths.iter().find_map(|(prefix, url)| {
            let rest = text.strip_prefix(prefix.trim_end_matches('/'))?;
            (rest.is_empty() || rest.starts_with('/')).then(|| format!("{}{rest}", url.trim_end_matches('/')))
        })
    }

    /// Returns the variants that serve as lookaside of this one.
    pub fn lookaside_variants(&self, variant: &str) -> Vec<&str> {
        self.gather
            .variant_as_lookaside
            .iter()
            .filter(|(user, _)| user == variant)
            .map(|(_, lookaside)| lookaside.as_str())
            .collect()
    }
}

impl Createrepo {
    /// Returns the compression of primary, filelists and other that the configuration asks for; `None` leaves it to the writer.
    pub fn compression(&self) -> Option<Compression> {
        let asked = self.extra.general_compress_type;
        let compatible = self.extra.compatibility.then_some(Compression::Gz);
        let xz = self.use_xz.then_some(Compression::Xz);
        asked.or(compatible).or(xz)
    }

    /// Returns the compression of the databases, if they are wanted: that of createrepo_c 1.2.5 with the arguments that Pungi
    /// gives it. `--no-database` among the additional ones does not count beside `--database`.
    pub fn database_compression(&self) -> Option<Compression> {
        if !self.database && !self.extra.database {
            return None;
        }
        let xz = self.use_xz.then_some(Compression::Xz);
        Some(self.extra.general_compress_type.or(xz).unwrap_or(Compression::Bz2))
    }
}

impl GatherMethods {
    /// Returns the method for one source of a variant; `None` when the configuration names none.
    pub fn method(&self, variant: &str, source: GatherSource) -> Option<GatherMethod> {
        match self {
            Self::Global(method) => Some(*method),
            Self::Variants(map) => map.last(variant)?.get(&source).copied(),
        }
    }
}
