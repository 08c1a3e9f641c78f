//! A universe: one source's packages for one architecture, compiled for solving.
//!
//! Bytes, little-endian:
//!
//! | part | content |
//! |---|---|
//! | header | magic, format number, packed and plain length of both sections |
//! | main section (zstd) | strings, EVRs with ranks, distinct dependencies, packages, their provides and requires |
//! | file section (zstd) | directories, base names, and per package the pairs of both; unpacked only when asked for |
//! | checksum | 64 bits over everything before |
//!
//! Strings are sorted, EVRs are in RPM's order, packages are in order of name, EVR, architecture: equal packages make
//! equal bytes whatever the order in which they were added. The checksum finds damage, not malice; every index is checked
//! when a universe is opened, so that no bytes can make a solve panic.

mod build;
mod decode;
mod encode;
mod files;
mod requires;
mod subset;
#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};

use tutti_rpm::{Evr, Sense};

pub use build::UniverseBuilder;
pub use files::FileTable;
pub(crate) use files::split as split_path;

/// Number of the byte format. A reader refuses any other.
pub const FORMAT: u32 = 1;

/// Bound on the plain length of one section, in bytes: several times what the largest distribution needs.
pub const MAX_SECTION: u64 = 1 << 30;

/// An id that says "none".
pub(crate) const NONE: u32 = u32::MAX;

/// Why a universe cannot be written or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UniverseError {
    /// The bytes are of something else.
    #[error("no universe: wrong magic")]
    Magic,
    /// Another version of the program wrote it.
    #[error("universe has format {found}, this program reads {FORMAT}")]
    Format {
        /// Number in the file.
        found: u32,
    },
    /// The bytes end early or do not add up.
    #[error("damaged universe: {what}")]
    Damaged {
        /// What does not fit.
        what: &'static str,
    },
    /// Packing or unpacking failed.
    #[error("zstd fails on the {section} section of a universe: {message}")]
    Zstd {
        /// Which section.
        section: &'static str,
        /// What zstd says.
        message: String,
    },
    /// More of something than the format can hold.
    #[error("too many {what} for one universe")]
    TooMany {
        /// Of what.
        what: &'static str,
    },
}

/// Sorted distinct strings in one text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Strings {
    pub(crate) ends: Vec<u32>,
    pub(crate) text: String,
}

impl Strings {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns a string; empty for an id out of range, which opening has ruled out.
    pub(crate) fn get(&self, id: u32) -> &str {
        let id = id as usize;
        let Some(end) = self.ends.get(id) else { return "" };
        let start = if id == 0 { 0 } else { self.ends[id - 1] };
        self.text.get(start as usize..*end as usize).unwrap_or("")
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|id| self.get(id as u32))
    }

    pub(crate) fn find(&self, text: &str) -> Option<u32> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = (low + high) / 2;
            match self.get(middle as u32).cmp(text) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Some(middle as u32),
            }
        }
        None
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct EvrRecord {
    pub(crate) epoch: u32,
    pub(crate) version: u32,
    pub(crate) release: u32,
    /// Equal for EVRs that RPM calls equal, growing in its order.
    pub(crate) rank: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct DependencyRecord {
    pub(crate) name: u32,
    pub(crate) sense: Option<Sense>,
    /// `NONE` without a sense.
    pub(crate) evr: u32,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct PackageRecord {
    pub(crate) name: u32,
    pub(crate) evr: u32,
    pub(crate) arch: u32,
    /// `NONE` for source packages.
    pub(crate) source_rpm: u32,
    pub(crate) origin: u32,
    pub(crate) provides_end: u32,
    pub(crate) requires_end: u32,
}

/// An opened universe.
#[derive(Debug)]
pub struct Universe {
    bytes: Arc<[u8]>,
    files_at: std::ops::Range<usize>,
    files_len: u64,
    arch: u32,
    pub(crate) strings: Strings,
    pub(crate) evrs: Vec<EvrRecord>,
    pub(crate) dependencies: Vec<DependencyRecord>,
    pub(crate) packages: Vec<PackageRecord>,
    provides: Vec<u32>,
    requires: Vec<u32>,
    files: OnceLock<Result<FileTable, UniverseError>>,
}

impl Universe {
    /// Reads a universe and checks all of it but the file section, which is read when first asked for.
    ///
    /// # Errors
    /// Wrong magic or format number, a checksum that does not fit, an index out of range, lengths over the bounds.
    pub fn open(bytes: impl Into<Arc<[u8]>>) -> Result<Universe, UniverseError> {
        decode::open(bytes.into())
    }

    /// Returns the architecture that the universe was built for.
    pub fn arch(&self) -> &str {
        self.strings.get(self.arch)
    }

    /// Returns the number of packages.
    pub fn len(&self) -> usize {
        self.packages.len()
    }

    /// Whether there are no packages.
    pub fn is_empty(&self) -> bool {
        self.packages.is_empty()
    }

    /// Returns one package.
    pub fn package(&self, index: u32) -> Option<PackageView<'_>> {
        self.packages.get(index as usize).map(|record| PackageView { universe: self, index, record })
    }

    /// Returns all packages in order of name, EVR, architecture.
    pub fn packages(&self) -> impl Iterator<Item = PackageView<'_>> {
        self.packages.iter().enumerate().map(|(index, record)| PackageView {
            universe: self,
            index: index as u32,
            record,
        })
    }

    /// Returns the file lists, unpacked on first use.
    ///
    /// # Errors
    /// A file section that does not add up.
    pub fn files(&self) -> Result<&FileTable, UniverseError> {
        self.files
            .get_or_init(|| files::decode(&self.bytes[self.files_at.clone()], self.files_len, self.packages.len()))
            .as_ref()
            .map_err(Clone::clone)
    }

    pub(crate) fn provides(&self, index: usize) -> &[u32] {
        let start = if index == 0 { 0 } else { self.packages[index - 1].provides_end as usize };
        &self.provides[start..self.packages[index].provides_end as usize]
    }

    pub(crate) fn requires(&self, index: usize) -> &[u32] {
        let start = if index == 0 { 0 } else { self.packages[index - 1].requires_end as usize };
        &self.requires[start..self.packages[index].requires_end as usize]
    }

    pub(crate) fn evr(&self, id: u32) -> Evr {
        let record = self.evrs[id as usize];
        Evr {
            epoch: (record.epoch != 0).then_some(record.epoch),
            version: self.strings.get(record.version).to_owned(),
            release: self.strings.get(record.release).to_owned(),
        }
    }
}

/// One package of a universe.
#[derive(Clone, Copy, Debug)]
pub struct PackageView<'a> {
    universe: &'a Universe,
    index: u32,
    record: &'a PackageRecord,
}

impl<'a> PackageView<'a> {
    /// Returns the package's place in its universe.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Returns the name.
    pub fn name(&self) -> &'a str {
        self.universe.strings.get(self.record.name)
    }

    /// Returns the architecture; `src` or `nosrc` for source packages.
    pub fn arch(&self) -> &'a str {
        self.universe.strings.get(self.record.arch)
    }

    /// Returns the EVR; an epoch of 0 is left out.
    pub fn evr(&self) -> Evr {
        self.universe.evr(self.record.evr)
    }

    /// Returns `name-[epoch:]version-release.arch`; an epoch of 0 is left out.
    pub fn nevra(&self) -> String {
        format!("{}-{}.{}", self.name(), self.evr(), self.arch())
    }

    /// Returns the file name of the source package; `None` for source packages.
    pub fn source_rpm(&self) -> Option<&'a str> {
        (self.record.source_rpm != NONE).then(|| self.universe.strings.get(self.record.source_rpm))
    }

    /// Returns the number that the builder was given with the package.
    pub fn origin(&self) -> u32 {
        self.record.origin
    }

    /// Whether this is a source package.
    pub fn is_source(&self) -> bool {
        crate::arch::is_source(self.arch())
    }

    /// Whether the name is that of a debuginfo or debugsource package.
    pub fn is_debug(&self) -> bool {
        tutti_rpm::is_debug_name(self.name())
    }

    /// Returns the names of all provides, sorted; a name provided in several versions comes once for each.
    pub fn provide_names(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let universe = self.universe;
        universe
            .provides(self.index as usize)
            .iter()
            .map(|id| universe.strings.get(universe.dependencies[*id as usize].name))
    }

    /// Whether the package provides `system-release`.
    pub fn is_system_release(&self) -> bool {
        self.provide_names().any(|name| name == "system-release")
    }
}

/// Order-dependent 64-bit sum of bytes. Each step is a bijection of the state, so that one damaged word always shows.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    let step = |state: u64, word: u64| (state ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    let mut state = bytes.len() as u64;
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        state = step(state, u64::from_le_bytes(word.try_into().unwrap_or_default()));
    }
    let mut last = [0; 8];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    step(state, u64::from_le_bytes(last))
}
