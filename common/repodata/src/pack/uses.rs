//! What a compose was made of.
//!
//! Text: a line with the format's version, one with the compose's directory, one for each package file (the short form
//! of its locator), and one with their number. A file without the last line was cut.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::PackDirectory;
use crate::checkpoint::LocatorId;
use crate::checksum::to_hex;

const FIRST: &str = "tutti uses 1";
/// Largest file that is read, in bytes: some 8 million packages.
const MAX_SIZE: u64 = 256 << 20;

/// The package files of one compose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// Directory of the compose, from that of the records: as long as it exists, its records are kept.
    pub compose: PathBuf,
    /// Package files.
    pub files: HashSet<LocatorId>,
}

/// A file of uses that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UseError {
    /// Reading failed.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It is not what this program writes.
    #[error("{} is no list of used records: {what} (hint: remove it; records that no other compose uses go with the next tutti records gc)", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
}

impl Use {
    pub(super) fn read(path: &Path) -> Result<Self, UseError> {
        let io = |source| UseError::Io { path: path.to_owned(), source };
        let mut text = String::new();
        tutti_files::open_regular(path).map_err(io)?.take(MAX_SIZE).read_to_string(&mut text).map_err(io)?;
        Self::parse(&text).map_err(|what| UseError::Damaged { path: path.to_owned(), what })
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        let mut lines = text.lines();
        if lines.next() != Some(FIRST) {
            return Err("its first line is not that of a known version");
        }
        let compose = lines.next().and_then(|line| line.strip_prefix("compose ")).ok_or("it names no compose")?;
        let mut files = HashSet::new();
        for line in lines.by_ref() {
            if let Some(count) = line.strip_prefix("end ") {
                let whole = count.parse() == Ok(files.len()) && lines.next().is_none() && text.ends_with('\n');
                return if whole { Ok(Self { compose: compose.into(), files }) } else { Err("it has another length") };
            }
            files.insert(line.parse().map_err(|_| "it has a line that is no locator")?);
        }
        Err("its end is missing")
    }

    fn text(compose: &str, files: &HashSet<LocatorId>) -> String {
        let mut sorted: Vec<&LocatorId> = files.iter().collect();
        sorted.sort_unstable();
        let mut text = format!("{FIRST}\ncompose {compose}\n");
        for id in sorted {
            text.push_str(&format!("{id}\n"));
        }
        text.push_str(&format!("end {}\n", files.len()));
        text
    }
}

impl PackDirectory {
    /// Notes that the compose in the directory `compose` was made of `files`, by the job `job`. A later note of the same
    /// job of that compose replaces it.
    ///
    /// # Errors
    /// When the note cannot be written.
    pub fn note_use(&self, compose: &Path, job: &str, files: &HashSet<LocatorId>) -> io::Result<()> {
        let unfit = || io::Error::other("the compose's directory has a name that is not one line of UTF-8");
        // Hosts may have the volume at different places; a compose beside the records is found from all of them.
        let beside = compose.parent().filter(|parent| Some(*parent) == self.root.parent()).and(compose.file_name());
        let noted = beside.map_or_else(|| compose.to_owned(), |name| Path::new("..").join(name));
        let name = noted.to_str().filter(|name| !name.contains('\n')).ok_or_else(unfit)?;
        let mut key = Sha256::new();
        for part in [name, "\n", job] {
            key.update(part.as_bytes());
        }
        let directory = self.uses();
        tutti_files::ensure_dir(&self.root)?;
        tutti_files::ensure_dir(&directory)?;
        let path = directory.join(&to_hex(&key.finalize())[..32]);
        let partial = super::publish::temporary(&directory);
        let written = fs::write(&partial, Use::text(name, files)).and_then(|()| tutti_files::rename(&partial, &path));
        if written.is_err() {
            let _ = fs::remove_file(&partial);
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_come_back_and_cut_or_changed_ones_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let packs = PackDirectory::new(directory.path().join("records"));
        let files: HashSet<LocatorId> = (0..20).map(|number| LocatorId([number; 16])).collect();
        let compose = Path::new("/srv/composes/F 44");
        packs.note_use(compose, "pkgset.1", &HashSet::new()).unwrap();
        packs.note_use(compose, "pkgset.1", &files).unwrap();
        packs.note_use(compose, "pkgset.2", &files).unwrap();
        let beside = directory.path().join("F-45");
        packs.note_use(&beside, "pkgset", &HashSet::new()).unwrap();
        let found = packs.list_uses().unwrap();
        let (path, _) = found.iter().find(|(_, found)| found.as_ref().unwrap().files.is_empty()).unwrap();
        assert_eq!(Use::read(path).unwrap().compose, Path::new("../F-45"), "wherever the volume is");
        fs::remove_file(path).unwrap();
        let found = packs.list_uses().unwrap();
        assert_eq!(found.len(), 2, "one for each job");
        for (path, found) in found {
            assert_eq!(found.unwrap(), Use { compose: compose.to_owned(), files: files.clone() });
            let good = fs::read(&path).unwrap();
            for length in 0..good.len() {
                fs::write(&path, &good[..length]).unwrap();
                assert!(Use::read(&path).is_err(), "cut to {length}");
            }
            for at in 0..FIRST.len() {
                let mut bad = good.clone();
                bad[at] ^= 1;
                fs::write(&path, &bad).unwrap();
                assert!(Use::read(&path).is_err(), "at {at}");
            }
        }
    }
}
