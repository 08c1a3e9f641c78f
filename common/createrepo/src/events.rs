//! What a run tells while it goes on.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Broken, Error};

/// Something that happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// The directory is being walked.
    WalkStarted,
    /// So many packages are to be listed.
    Found {
        /// Their number.
        packages: usize,
    },
    /// Packages of this repository are being taken over.
    OldMetadata(&'a Path),
    /// A repository to take over from cannot be read, and is not used.
    OldMetadataUnusable {
        /// The directory that holds `repodata/`.
        path: &'a Path,
        /// Why.
        error: &'a Error,
    },
    /// So many packages of old repositories have names of files to list.
    OldPackages(usize),
    /// Additional metadata of the old repository that stays.
    Kept {
        /// Its type.
        kind: &'a str,
        /// Its file.
        file: &'a str,
    },
    /// Metadata is written below this directory.
    Staging(&'a Path),
    /// Packages are read by so many threads.
    Reading {
        /// Threads.
        workers: usize,
        /// Packages.
        packages: usize,
    },
    /// One more package is done.
    Package {
        /// Its location.
        href: &'a str,
        /// Whether it was taken over from old metadata.
        reused: bool,
    },
    /// A file cannot be listed.
    Broken(&'a Broken),
    /// All packages are done.
    ReadingDone {
        /// Files that cannot be listed.
        broken: usize,
    },
    /// Packages with one name, EVR and architecture.
    Duplicate {
        /// `NAME-EPOCH:VERSION-RELEASE.ARCH`.
        nevra: &'a str,
        /// The packages, shortest location first.
        packages: &'a [Double<'a>],
    },
    /// Metadata of so many packages is being written.
    Writing(usize),
    /// The old repository is equal to the new one, and stays.
    Unchanged,
}

/// One of several packages of one name, EVR and architecture.
#[derive(Clone, Copy, Debug)]
pub struct Double<'a> {
    /// Its location.
    pub href: &'a str,
    /// When it was built, seconds since 1970.
    pub build_time: u64,
    /// Whether it is listed.
    pub listed: bool,
}

/// Takes events; from several threads.
pub trait Observer: Sync {
    /// Something happened.
    fn event(&self, event: Event<'_>);
}

/// Nobody looks.
pub struct Silent;

impl Observer for Silent {
    fn event(&self, _event: Event<'_>) {}
}

/// Who looks on, and whether to stop.
#[derive(Clone, Copy)]
pub struct Control<'a> {
    /// Takes the events.
    pub observer: &'a dyn Observer,
    /// Set to stop; looked at between packages.
    pub stop: &'a AtomicBool,
}

impl Control<'_> {
    pub(crate) fn tell(&self, event: Event<'_>) {
        self.observer.event(event);
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.stop.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }
}
