//! What is asked for.

use std::path::PathBuf;

use tutti_repodata::fragment::CHANGELOG_LIMIT;
use tutti_repodata::{ChecksumType, Compression, DatabaseOptions, Layout, Tags};

/// A repository to make.
#[derive(Clone, Debug)]
pub struct Options {
    /// Directory of the packages; locations are relative to it.
    pub directory: PathBuf,
    /// Directory in which `repodata/` is made; that of the packages if `None`.
    pub output: Option<PathBuf>,
    /// Which files are packages.
    pub selection: Selection,
    /// How locations are made.
    pub location: LocationOptions,
    /// How packages are read.
    pub reading: Reading,
    /// What is taken over from metadata that exists.
    pub update: Update,
    /// What becomes of packages that say the same name, EVR and architecture.
    pub duplicates: Duplicates,
    /// What is written besides the packages, and how.
    pub metadata: Metadata,
    /// Work beside whoever has the lock; of several runs at once, the last one's repository stays.
    pub ignore_lock: bool,
}

impl Options {
    /// Defaults for a directory.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            output: None,
            selection: Selection::default(),
            location: LocationOptions::default(),
            reading: Reading::default(),
            update: Update::default(),
            duplicates: Duplicates::default(),
            metadata: Metadata::default(),
            ignore_lock: false,
        }
    }
}

/// Which files are packages.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// File with one path a line, relative to the directory, in place of all files below it.
    pub package_list: Option<PathBuf>,
    /// Such lines.
    pub include: Vec<String>,
    /// Patterns (`*`, `?`) of what is left out.
    pub excludes: Vec<String>,
    /// Leave out links to files that the walk finds.
    pub skip_symlinks: bool,
    /// What becomes of files that cannot be listed.
    pub broken: OnBroken,
    /// What becomes of a location that comes up twice.
    pub clashes: Clashes,
}

/// What becomes of files that cannot be listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnBroken {
    /// They are named, and no repository is made.
    #[default]
    Refuse,
    /// They are named, and the repository is made without them.
    Skip,
}

/// What becomes of a location that comes up twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clashes {
    /// A file that is listed twice counts once; two files at one location are refused.
    #[default]
    Refuse,
    /// It stands twice in the metadata, as with createrepo_c.
    Keep,
}

/// How locations are made of paths.
#[derive(Clone, Debug, Default)]
pub struct LocationOptions {
    /// `xml:base` of all packages.
    pub base_url: Option<String>,
    /// Leading directories to drop, at most all of them.
    pub cut_dirs: usize,
    /// Put in front, with a `/` between.
    pub prefix: Option<String>,
}

/// How packages are read.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Checksum type of the packages.
    pub checksum: ChecksumType,
    /// Newest changelog entries to keep; `None` keeps all.
    pub changelog_limit: Option<usize>,
    /// Threads that read packages.
    pub workers: usize,
    /// Directory with checksums of earlier runs, one small file each; relative to the output directory.
    pub cache: Option<PathBuf>,
    /// Compare payloads with the digests in their headers, and lengths with what headers say.
    pub verify_payload: bool,
    /// File that gets the location of each package that was read, a line each.
    pub read_list: Option<PathBuf>,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            checksum: ChecksumType::Sha256,
            changelog_limit: Some(CHANGELOG_LIMIT),
            workers: std::thread::available_parallelism().map_or(2, usize::from),
            cache: None,
            verify_payload: false,
            read_list: None,
        }
    }
}

/// What is taken over from metadata that exists.
#[derive(Clone, Debug, Default)]
pub struct Update {
    /// Take over packages whose file has the same time and size, and additional metadata.
    pub packages: bool,
    /// More repositories to take packages over from, the last one first.
    pub paths: Vec<PathBuf>,
    /// Believe that a file of the same name is the same.
    pub skip_stat: bool,
    /// Leave additional metadata (groups, modules, updateinfo, …) of the old repository behind.
    pub discard_additional: bool,
    /// The packages are those that the old metadata list.
    pub recycle_list: bool,
}

impl Update {
    /// Whether old metadata is read at all.
    pub(crate) fn is_wanted(&self) -> bool {
        self.packages || self.recycle_list
    }
}

/// What becomes of packages that say the same name, EVR and architecture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Duplicates {
    /// They are told, and all are listed.
    #[default]
    Keep,
    /// Only the one built last is listed; of those built in one second, the one with the last location.
    KeepLast,
}

/// What is written besides the packages, and how.
#[derive(Clone, Debug)]
pub struct Metadata {
    /// Compression of primary, filelists and other.
    pub compression: Compression,
    /// How they are laid out.
    pub layout: Layout,
    /// Compression of group file and modules.
    pub additional_compression: Compression,
    /// Compression of the group file, if another.
    pub group_compression: Option<Compression>,
    /// `filelists-ext` besides: filelists with digests of files. An update reads all packages that are not all unchanged.
    pub filelists_ext: bool,
    /// SQLite databases of primary, filelists and other.
    pub databases: Option<DatabaseOptions>,
    /// Checksum type of the metadata files.
    pub checksum: ChecksumType,
    /// Whether file names start with the file's checksum.
    pub unique_names: bool,
    /// Group (comps) file.
    pub group_file: Option<PathBuf>,
    /// Revision; that of the time if `None`.
    pub revision: Option<String>,
    /// Timestamps and mtimes of metadata, seconds since 1970; the newest mtime of the packages if `None`.
    pub timestamp: Option<u64>,
    /// Tags of the repository.
    pub tags: Tags,
    /// Which files of the old `repodata/` stay.
    pub retain: Retain,
}

impl Default for Metadata {
    fn default() -> Self {
        Self {
            compression: Compression::Zstd,
            layout: Layout::default(),
            additional_compression: Compression::Zstd,
            group_compression: None,
            filelists_ext: false,
            databases: None,
            checksum: ChecksumType::Sha256,
            unique_names: true,
            group_file: None,
            revision: None,
            timestamp: None,
            tags: Tags::default(),
            retain: Retain::default(),
        }
    }
}

/// Which files of the old `repodata/` stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retain {
    /// Those that its `repomd.xml` does not list.
    #[default]
    Unlisted,
    /// All.
    All,
    /// Those that were changed at most this many seconds ago.
    Younger(u64),
    /// Of primary, filelists and other, as XML and as database, the newest so many each; and all other files.
    Newest(usize),
}
