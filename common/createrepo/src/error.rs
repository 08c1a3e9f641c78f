//! Why a repository is not made.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use tutti_repodata::location::LocationError;
use tutti_repodata::{FragmentError, RecordsError, RepositoryError, WriterError};

/// Broken packages that an error's text names; more are counted.
const NAMED: usize = 20;

/// Why one file is not listed.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// It cannot be opened or looked at.
    #[error("cannot open it")]
    Open(#[source] io::Error),
    /// It cannot be read.
    #[error("cannot read it")]
    Read(#[source] io::Error),
    /// It is no readable RPM.
    #[error("it is no readable RPM")]
    Rpm(#[source] tutti_rpm::Error),
    /// It has another length than before it was read.
    #[error("it changed while it was read: {before} bytes at first, then {after}")]
    Changed {
        /// Bytes, by stat.
        before: u64,
        /// Bytes read.
        after: u64,
    },
    /// It is shorter than its headers say.
    #[error("it is truncated: {expected} bytes expected, {found} found")]
    Truncated {
        /// Bytes, by its headers.
        expected: u64,
        /// Bytes read.
        found: u64,
    },
    /// XML cannot hold what it says.
    #[error("it cannot be listed")]
    Fragment(#[from] FragmentError),
    /// Metadata cannot hold its path.
    #[error("its path {0}")]
    Location(LocationError),
    /// Its path is no UTF-8, which metadata must be.
    #[error("its path is not UTF-8")]
    Name,
    /// A directory cannot be listed.
    #[error("the directory cannot be read")]
    Directory(#[source] io::Error),
}

/// A file that is not listed, and why.
#[derive(Debug)]
pub struct Broken {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub error: PackageError,
}

impl Broken {
    /// The path and all causes, on one line.
    pub fn text(&self) -> String {
        format!("{}: {}", tutti_files::shown(&self.path), tutti_files::chain(&self.error))
    }
}

/// Why a repository is not made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory of the repository cannot be used.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The directory of packages, or the output directory, is none.
    #[error("{what} {} is no directory (hint: make it first)", path.display())]
    NoDirectory {
        /// Which of them.
        what: &'static str,
        /// The path.
        path: PathBuf,
    },
    /// Another process makes this repository, or died doing so.
    #[error("{} exists: {owner}", path.display())]
    Locked {
        /// The lock directory.
        path: PathBuf,
        /// Whose it is, and what to do.
        owner: String,
    },
    /// Packages that cannot be listed.
    #[error("{}", broken_text(.0))]
    Broken(Vec<Broken>),
    /// Two files would have one location.
    #[error(
        "{} and {} would both be at {href} in the repository (hint: rename one, or change the options that make locations)",
        tutti_files::shown(first),
        tutti_files::shown(second)
    )]
    Clash {
        /// The location.
        href: String,
        /// One file.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// Metadata that exists cannot be used.
    #[error("cannot use the metadata in {}", path.display())]
    Repository {
        /// The directory that holds `repodata/`.
        path: PathBuf,
        /// The cause.
        #[source]
        source: RepositoryError,
    },
    /// Additional metadata are to be kept, and what lists them cannot be read.
    #[error(
        "cannot read {}, which lists {} beside the packages (hint: mend it; or let go of these by --discard-additional-metadata)",
        path.display(),
        kinds
    )]
    WouldLose {
        /// `repomd.xml`.
        path: PathBuf,
        /// Their types.
        kinds: String,
        /// The cause.
        #[source]
        source: Box<RepositoryError>,
    },
    /// The package records cannot be kept.
    #[error("cannot keep package records")]
    Records(#[from] RecordsError),
    /// The metadata cannot be written.
    #[error("cannot write the metadata")]
    Writer(#[from] WriterError),
    /// Options that do not fit, or that are not supported.
    #[error("{0}")]
    Option(String),
    /// Somebody asked to stop.
    #[error("stopped; nothing was changed")]
    Cancelled,
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { action, path, source }
    }
}

fn broken_text(broken: &[Broken]) -> String {
    let mut text = match broken.len() {
        1 => String::from("a package cannot be listed, and no repository was written"),
        count => format!("{count} packages cannot be listed, and no repository was written"),
    };
    for package in broken.iter().take(NAMED) {
        let _ = write!(text, "\n  {}", package.text());
    }
    if broken.len() > NAMED {
        let _ = write!(text, "\n  and {} more", broken.len() - NAMED);
    }
    text + "\nhint: fetch or remove them; --skip-broken makes a repository without them"
}
