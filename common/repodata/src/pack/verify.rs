//! Looking at packs: how many, how large, and whether all that is in them can be read.

use std::collections::HashSet;
use std::io;
use std::time::SystemTime;

use super::{PackDirectory, PackName, entries, is_damage};
use crate::records::RecordsError;

/// What a pack directory holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// Packs that are used.
    pub packs: usize,
    /// Their bytes, with indexes.
    pub bytes: u64,
    /// Their records.
    pub records: usize,
    /// Package files that have a record.
    pub files: usize,
    /// Packs that are not used any more, and removed later.
    pub unlisted: usize,
    /// Notes of what composes were made of.
    pub uses: usize,
    /// What could not be looked at.
    pub problems: Vec<String>,
}

/// One pack, read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackReport {
    /// Its name.
    pub name: PackName,
    /// Its bytes, with the index.
    pub bytes: u64,
    /// Records that were read and decoded.
    pub records: usize,
    /// The first thing that is wrong with it.
    pub problem: Option<String>,
    /// Whether that is damage; else its volume did not give it, and it may be whole.
    pub damaged: bool,
}

impl PackDirectory {
    /// Counts what there is. Indexes are read, records are not.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub fn stat(&self) -> io::Result<Stat> {
        let mut stat = Stat::default();
        let mut files = HashSet::new();
        for name in self.list()? {
            stat.packs += 1;
            stat.bytes += self.size(&name).unwrap_or(0);
            match self.open_one(&name) {
                Ok(pack) => {
                    stat.records += pack.files().count();
                    files.extend(pack.files().map(|(_, file)| file.locator.id()));
                }
                Err(error) => stat.problems.push(tutti_files::chain(&error)),
            }
        }
        stat.files = files.len();
        stat.unlisted = entries(&self.unlisted())?.count();
        let uses = self.list_uses()?;
        stat.uses = uses.len();
        stat.problems.extend(uses.values().filter_map(|found| Some(tutti_files::chain(found.as_ref().err()?))));
        Ok(stat)
    }

    /// Reads every record of every pack; `seen` is told of each pack.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub fn verify(&self, mut seen: impl FnMut(&PackReport)) -> io::Result<Vec<PackReport>> {
        let mut reports = Vec::new();
        for name in self.list()? {
            let (records, problem, damaged) = match self.check(&name) {
                Ok(records) => (records, None, false),
                Err((records, error)) => {
                    (records, Some(tutti_files::chain(&error)), tutti_files::trouble_of(&error).is_none())
                }
            };
            let report = PackReport { bytes: self.size(&name).unwrap_or(0), name, records, problem, damaged };
            seen(&report);
            reports.push(report);
        }
        Ok(reports)
    }

    /// Reads every record of a pack; the number of those that could be read, before the first one that could not.
    pub(super) fn check(&self, name: &PackName) -> Result<usize, (usize, RecordsError)> {
        let pack = self.open_one(name).map_err(|error| (0, error))?;
        let mut records = 0;
        for (taken, _) in pack.files() {
            pack.record(taken).map_err(|error| (records, error))?;
            records += 1;
        }
        Ok(records)
    }

    /// Reads those packs, and unlists those of them that are damaged. What they have is to be in another one by then, or it
    /// is read again. One that a volume in trouble does not give is left alone.
    ///
    /// # Errors
    /// When names cannot be changed.
    pub fn unlist_damaged(&self, suspects: &[PackName], now: SystemTime) -> io::Result<Vec<PackName>> {
        let mut damaged = Vec::new();
        for name in suspects {
            if self.check(name).is_err_and(|(_, error)| is_damage(&error)) {
                self.unlist(name, now)?;
                damaged.push(name.clone());
            }
        }
        Ok(damaged)
    }
}
