//! Packs: sealed files of records that all composes share, so that no package file is read twice.
//!
//! Layout of a pack directory, which may be on NFS and used by any number of hosts at once without locks:
//!
//! | path | what |
//! |---|---|
//! | `packs/NAME.records` | a sealed file of records |
//! | `packs/NAME.index` | what finds them by their package files: a checkpoint of all records. It is the last to get its name, so a pack without one is none |
//! | `unlisted/NAME.records`, `.index` | a pack that no new reader uses; removed when the longest job is over |
//! | `universes/*` | what jobs keep besides, each a link to a compose's own file |
//! | `uses/KEY` | which package files a compose was made of, for [`gc`] |
//!
//! NAME is the beginning of the index's SHA-256, and the index has the checksums of all blocks: two packs of one name
//! are the same, and writers never meet. Readers open sealed files only, by positioned reads of checksummed blocks, and
//! trust nothing: a pack that is damaged, cut or of another version is noted and not used; its packages are read again,
//! and then its name is given to what was made of them, or it is unlisted.

pub mod gc;
mod publish;
mod uses;
mod verify;

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::checkpoint::Checkpoints;
use crate::records::RecordsError;
pub use uses::{Use, UseError};
pub use verify::{PackReport, Stat};

/// Owner of the checkpoints that are packs' indexes: anybody.
pub const OWNER: [u8; 32] = *b"tutti pack: records of any job\0\0";

/// Suffix of a pack's records.
const RECORDS: &str = ".records";
/// Suffix of its index.
const INDEX: &str = ".index";
/// Most packs that are used: `gc` merges small ones.
const MAX_PACKS: usize = 4096;

/// A directory of packs.
#[derive(Clone, Debug)]
pub struct PackDirectory {
    root: PathBuf,
}

/// One listed pack, by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PackName(String);

impl PackName {
    /// A name as [`PackDirectory::publish`] makes them, and nothing else: 32 hexadecimal digits.
    fn parse(file_name: &str) -> Option<Self> {
        let name = file_name.strip_suffix(INDEX)?;
        let hex = name.len() == 32 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        hex.then(|| Self(name.to_owned()))
    }

    /// The name of the pack whose index this is.
    pub fn of_index(path: &Path) -> Option<Self> {
        Self::parse(path.file_name()?.to_str()?)
    }
}

impl std::str::FromStr for PackName {
    type Err = NoPackName;

    fn from_str(text: &str) -> Result<Self, NoPackName> {
        Self::parse(&format!("{text}{INDEX}")).ok_or(NoPackName)
    }
}

/// A text is no name of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no name of a pack: those are 32 hexadecimal digits")]
pub struct NoPackName;

/// Whether a pack that cannot be read is damaged, rather than its volume in trouble, the pack too large, or another version's.
pub(super) fn is_damage(error: &RecordsError) -> bool {
    match error {
        RecordsError::Io { source, .. } => source.kind() == io::ErrorKind::UnexpectedEof,
        RecordsError::TooLarge { .. } | RecordsError::Version { .. } => false,
        RecordsError::Damaged { .. }
        | RecordsError::Checkpoint { .. }
        | RecordsError::NoRecord { .. }
        | RecordsError::Previous(_)
        | RecordsError::Fragment(_) => true,
    }
}

impl std::fmt::Display for PackName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl PackDirectory {
    /// The directory at `root`, which need not exist.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where it is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn packs(&self) -> PathBuf {
        self.root.join("packs")
    }

    fn unlisted(&self) -> PathBuf {
        self.root.join("unlisted")
    }

    fn universes(&self) -> PathBuf {
        self.root.join("universes")
    }

    fn uses(&self) -> PathBuf {
        self.root.join("uses")
    }

    /// Listed packs in the order of their names.
    ///
    /// # Errors
    /// When the directory is there and cannot be listed.
    pub fn list(&self) -> io::Result<Vec<PackName>> {
        let mut names = Vec::new();
        for item in entries(&self.packs())? {
            names.extend(item?.file_name().to_str().and_then(PackName::parse));
        }
        names.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(names)
    }

    /// All listed packs, to take records from. What is wrong with one is told to `note`, and that one is left out.
    pub fn open(&self, note: &mut dyn FnMut(String, Option<PackName>)) -> Checkpoints {
        let mut found = Checkpoints::new(OWNER);
        let mut seen = HashSet::new();
        loop {
            let (mut vanished, mut new) = (false, false);
            let names = self.list().unwrap_or_else(|error| {
                note(format!("package records in {} are not used: {error}", self.packs().display()), None);
                Vec::new()
            });
            for name in names {
                if seen.len() >= MAX_PACKS || !seen.insert(name.0.clone()) {
                    continue;
                }
                new = true;
                match self.add(&name, &mut found) {
                    Ok(()) => {}
                    Err(RecordsError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => vanished = true,
                    Err(error) => {
                        let text = format!("a pack is not used: {}", tutti_files::chain(&error));
                        note(text, is_damage(&error).then_some(name));
                    }
                }
            }
            // What was in it may have been merged into a pack that was listed meanwhile.
            if !vanished || !new {
                break;
            }
        }
        if seen.len() >= MAX_PACKS {
            let root = self.root.display();
            let text =
                format!("of the packs in {root} {MAX_PACKS} are used (hint: tutti records gc merges small ones)");
            note(text, None);
        }
        found
    }

    /// One pack by itself.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    fn open_one(&self, name: &PackName) -> Result<Checkpoints, RecordsError> {
        let mut found = Checkpoints::new(OWNER);
        self.add(name, &mut found)?;
        Ok(found)
    }

    fn add(&self, name: &PackName, to: &mut Checkpoints) -> Result<(), RecordsError> {
        let [records, index] = self.paths(name);
        let file = open_regular(&index)?;
        let data = Arc::new(open_regular(&records)?);
        to.add(&index, &file, &data).map(drop)
    }

    /// Records and index of a listed pack.
    fn paths(&self, name: &PackName) -> [PathBuf; 2] {
        [RECORDS, INDEX].map(|suffix| self.packs().join(format!("{name}{suffix}")))
    }

    /// Bytes of a listed pack, with its index.
    fn size(&self, name: &PackName) -> io::Result<u64> {
        self.paths(name).iter().map(|path| Ok(fs::metadata(path)?.len())).sum()
    }

    /// What composes were made of, by the names of the files that say so.
    ///
    /// # Errors
    /// When the directory is there and cannot be listed.
    fn list_uses(&self) -> io::Result<BTreeMap<PathBuf, Result<Use, UseError>>> {
        let mut found = BTreeMap::new();
        for item in entries(&self.uses())? {
            let path = item?.path();
            if path.extension().is_none() {
                found.insert(path.clone(), Use::read(&path));
            }
        }
        Ok(found)
    }
}

/// Items of a directory; none if it is not there.
fn entries(directory: &Path) -> io::Result<impl Iterator<Item = io::Result<fs::DirEntry>> + use<>> {
    match fs::read_dir(directory) {
        Ok(items) => Ok(Some(items).into_iter().flatten()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None.into_iter().flatten()),
        Err(error) => Err(error),
    }
}

/// Opens a regular file; links, pipes and devices are refused, and do not block.
fn open_regular(path: &Path) -> Result<File, RecordsError> {
    tutti_files::open_regular(path).map_err(|source| RecordsError::Io { action: "open", path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
