//! Removing records that no compose uses, and merging what is left of packs, while readers and writers go on.
//!
//! A pack is unlisted first: its index is renamed away, so that no new reader finds it. Its records stay until the
//! longest job is over that may have opened it. What is merged is listed in its new pack before the old ones are
//! unlisted, so a reader finds it in one of them.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{INDEX, OWNER, PackDirectory, PackName, RECORDS, entries, publish};
use crate::checkpoint::{KnownFile, LocatorId};
use crate::records::{RecordsError, RecordsWriter};

/// Packs below this size, in bytes, are merged when there are [`MANY`] of them.
const SMALL: u64 = 16 << 20;
const MANY: usize = 8;
/// Most records of a merged pack.
const MAX_MERGED: usize = 400_000;

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The time.
    pub now: SystemTime,
    /// How long new packs are left alone, and unlisted ones kept: longer than the longest job.
    pub grace: Duration,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// What was done, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Packs that stay as they are.
    pub kept: usize,
    /// Packs that no compose uses, or that cannot be read: unlisted.
    pub dropped: Vec<PackName>,
    /// Packs whose used records are in other packs now: unlisted.
    pub merged: Vec<PackName>,
    /// The packs that have them.
    pub into: Vec<PackName>,
    /// Notes of composes that are gone.
    pub forgotten: usize,
    /// Files of packs unlisted earlier, and remains of killed writers, that were removed.
    pub removed: usize,
    /// Their bytes.
    pub removed_bytes: u64,
    /// Packs, and notes of composes, that their volume did not give. Of a note it is not known which packs it uses: then
    /// none is dropped or merged.
    pub left: usize,
    /// What could not be read or removed.
    pub problems: Vec<String>,
}

/// What is known of one pack.
struct Found {
    name: PackName,
    bytes: u64,
    /// Left alone: listed so lately that its compose may not be noted yet, or not to be read while its volume is in trouble.
    alone: bool,
    readable: bool,
    files: Vec<LocatorId>,
}

/// What becomes of packs, by their places among those that were found.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    drop: Vec<usize>,
    merge: Vec<usize>,
}

/// Drops packs without a used record, and merges those that are used for less than half, or are small and many. Of
/// several records of one file, that of the largest pack counts.
fn plan(packs: &[Found], used: &HashSet<LocatorId>) -> Plan {
    let mut order: Vec<usize> = (0..packs.len()).collect();
    order.sort_by(|a, b| packs[*b].bytes.cmp(&packs[*a].bytes).then_with(|| packs[*a].name.0.cmp(&packs[*b].name.0)));
    let mut seen = HashSet::new();
    let (mut plan, mut small) = (Plan::default(), Vec::new());
    for number in order {
        let pack = &packs[number];
        let live = pack.files.iter().filter(|file| used.contains(file) && seen.insert(**file)).count();
        if pack.alone {
            continue;
        }
        if !pack.readable || live == 0 {
            plan.drop.push(number);
        } else if live * 2 < pack.files.len() {
            plan.merge.push(number);
        } else if pack.bytes < SMALL {
            small.push(number);
        }
    }
    if small.len() >= MANY {
        plan.merge.append(&mut small);
    }
    plan
}

impl PackDirectory {
    /// Collects garbage. Any number of readers and writers may go on meanwhile; of two collections at once each finds
    /// less to do.
    ///
    /// # Errors
    /// When a directory cannot be listed or a merged pack cannot be written. What was done until then is whole.
    pub fn gc(&self, options: &Options) -> Result<Report, RecordsError> {
        let mut report = Report::default();
        let io = |source| RecordsError::Io { action: "collect garbage in", path: self.root().to_owned(), source };
        let used = self.used(options, &mut report).map_err(io)?;
        let is_all_known = report.left == 0;
        let packs = self.find(options, &mut report).map_err(io)?;
        let plan = if is_all_known { plan(&packs, &used) } else { Plan::default() };
        report.kept = packs.len() - plan.drop.len() - plan.merge.len();
        let names = |places: &[usize]| places.iter().map(|number| packs[*number].name.clone()).collect();
        (report.dropped, report.merged) = (names(&plan.drop), names(&plan.merge));
        if !options.dry_run {
            report.into = self.merge(&report.merged, &used)?;
            for name in report.dropped.iter().chain(&report.merged).filter(|name| !report.into.contains(name)) {
                self.unlist(name, options.now).map_err(io)?;
            }
        }
        self.sweep(options, &mut report).map_err(io)?;
        Ok(report)
    }

    /// Package files of all composes that exist; notes of others are removed.
    fn used(&self, options: &Options, report: &mut Report) -> io::Result<HashSet<LocatorId>> {
        let mut used = HashSet::new();
        for (path, found) in self.list_uses()? {
            match found {
                Ok(found) if is_gone(&self.root().join(&found.compose)) => {
                    report.forgotten += 1;
                    if !options.dry_run {
                        tutti_files::remove_file(&path)?;
                    }
                }
                Ok(found) => used.extend(found.files),
                Err(error) => {
                    report.left += usize::from(tutti_files::trouble_of(&error).is_some());
                    report.problems.push(tutti_files::chain(&error));
                }
            }
        }
        Ok(used)
    }

    fn find(&self, options: &Options, report: &mut Report) -> io::Result<Vec<Found>> {
        let mut packs = Vec::new();
        for name in self.list()? {
            let [_, index] = self.paths(&name);
            let Ok(metadata) = fs::symlink_metadata(&index) else { continue };
            let mut found = Found {
                bytes: self.size(&name).unwrap_or(0),
                alone: is_young(&metadata, options),
                readable: true,
                files: Vec::new(),
                name,
            };
            match self.open_one(&found.name) {
                Ok(pack) => found.files = pack.files().map(|(_, file)| file.locator.id()).collect(),
                Err(error) => {
                    found.readable = false;
                    if tutti_files::trouble_of(&error).is_some() {
                        found.alone = true;
                        report.left += 1;
                    }
                    report.problems.push(tutti_files::chain(&error));
                }
            }
            packs.push(found);
        }
        Ok(packs)
    }

    /// Writes the used records of some packs into new ones. A record that is damaged is left out: its file is read again
    /// when it is needed.
    fn merge(&self, names: &[PackName], used: &HashSet<LocatorId>) -> Result<Vec<PackName>, RecordsError> {
        let mut into = Vec::new();
        let mut seen = HashSet::new();
        let mut merger = None;
        for name in names {
            let pack = self.open_one(name)?;
            for (taken, file) in pack.files() {
                let id = file.locator.id();
                if !used.contains(&id) || !seen.insert(id) {
                    continue;
                }
                let record = match pack.record(taken) {
                    Ok((record, ..)) => record,
                    // It may be whole.
                    Err(error) if tutti_files::trouble_of(&error).is_some() => return Err(error),
                    Err(_) => continue,
                };
                let open: &mut Merger = match &mut merger {
                    Some(open) => open,
                    none => none.insert(Merger::new(&self.packs())?),
                };
                open.writer.add_record(&record)?;
                open.files.push(file.clone());
                if open.files.len() >= MAX_MERGED {
                    into.extend(merger.take().map(|merger| merger.publish(self)).transpose()?);
                }
            }
        }
        into.extend(merger.take().map(|merger| merger.publish(self)).transpose()?);
        Ok(into)
    }

    /// Takes a pack from the list. Its records stay where they are for who has them open, or opens them now.
    pub(super) fn unlist(&self, name: &PackName, now: SystemTime) -> io::Result<()> {
        tutti_files::ensure_dir(&self.unlisted())?;
        let [_, index] = self.paths(name);
        match tutti_files::rename(&index, &self.unlisted().join(format!("{name}@{}", seconds(now)))) {
            // Another collection was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    /// Removes packs that were unlisted long ago, and what killed writers left.
    fn sweep(&self, options: &Options, report: &mut Report) -> io::Result<()> {
        let mut remove = |path: &Path| match fs::symlink_metadata(path) {
            Ok(metadata) => {
                report.removed += 1;
                report.removed_bytes += metadata.len();
                if options.dry_run { Ok(()) } else { tutti_files::remove_file(path) }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        let mut unlisted = HashSet::new();
        for item in entries(&self.unlisted())? {
            let item = item?;
            let file_name = item.file_name();
            let parsed = file_name
                .to_str()
                .and_then(|name| name.split_once('@'))
                .and_then(|(name, time)| Some((PackName::parse(&format!("{name}{INDEX}"))?, time.parse().ok()?)));
            let Some((name, time)) = parsed else { continue };
            let age = options.now.duration_since(UNIX_EPOCH + Duration::from_secs(time)).unwrap_or_default();
            let [records, index] = self.paths(&name);
            if age <= options.grace {
                unlisted.insert(name.0);
            } else {
                if fs::symlink_metadata(&index).is_err() {
                    remove(&records)?;
                }
                remove(&item.path())?;
            }
        }
        for directory in [self.packs(), self.uses()] {
            for item in entries(&directory)? {
                let path = item?.path();
                let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
                let orphan = name.strip_suffix(RECORDS).is_some_and(|name| {
                    !unlisted.contains(name) && fs::symlink_metadata(path.with_extension(&INDEX[1..])).is_err()
                });
                let remains = orphan || (name.starts_with('.') && name.contains(".partial"));
                if remains && fs::symlink_metadata(&path).is_ok_and(|metadata| !is_young(&metadata, options)) {
                    remove(&path)?;
                }
            }
        }
        for item in entries(&self.universes())? {
            let path = item?.path();
            let is_last = |metadata: &fs::Metadata| metadata.nlink() == 1 && !is_young(metadata, options);
            if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_file() && is_last(&metadata)) {
                remove(&path)?;
            }
        }
        Ok(())
    }
}

/// A pack that is being merged.
struct Merger {
    writer: RecordsWriter,
    files: Vec<KnownFile>,
    records: PathBuf,
    index: PathBuf,
}

impl Merger {
    fn new(directory: &Path) -> Result<Self, RecordsError> {
        let (records, index) = (publish::temporary(directory), publish::temporary(directory));
        Ok(Self { writer: RecordsWriter::create(&records)?, files: Vec::new(), records, index })
    }

    fn publish(self, packs: &PackDirectory) -> Result<PackName, RecordsError> {
        let Self { mut writer, files, records, index } = self;
        let published = (|| {
            writer.write_index(&index, &OWNER, &files)?;
            writer.seal()?;
            packs.publish(&records, &index)
        })();
        for path in [&records, &index] {
            let _ = fs::remove_file(path);
        }
        published
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Whether a name was given to a file within the grace time: every link and rename changes its ctime.
fn is_young(metadata: &fs::Metadata, options: &Options) -> bool {
    let named = UNIX_EPOCH + Duration::from_secs(u64::try_from(metadata.ctime()).unwrap_or(0));
    options.now.duration_since(named).unwrap_or_default() <= options.grace
}

/// A directory that certainly does not exist; one that cannot be looked at may.
fn is_gone(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(name: u8, bytes: u64, files: std::ops::Range<u8>) -> Found {
        let name = PackName(format!("{name:032x}"));
        Found { name, bytes, alone: false, readable: true, files: files.map(|file| LocatorId([file; 16])).collect() }
    }

    fn used(files: impl IntoIterator<Item = u8>) -> HashSet<LocatorId> {
        files.into_iter().map(|file| LocatorId([file; 16])).collect()
    }

    #[test]
    fn unused_packs_go_and_half_used_ones_are_merged() {
        let large = 100 << 20;
        let packs = [pack(0, large, 0..10), pack(1, large, 10..20), pack(2, large, 20..30), pack(3, large, 30..40)];
        let plan = plan(&packs, &used((0..10).chain(10..14).chain(20..25)));
        assert_eq!(plan, Plan { drop: vec![3], merge: vec![1] });
    }

    #[test]
    fn of_several_records_of_one_file_the_largest_pack_has_the_one_that_counts() {
        let large = 100 << 20;
        let packs = [pack(0, large, 0..10), pack(1, large + 1, 0..20)];
        assert_eq!(plan(&packs, &used(0..20)), Plan { drop: vec![0], merge: vec![] });
    }

    #[test]
    fn small_packs_are_merged_when_they_are_many() {
        let packs: Vec<Found> = (0..8).map(|number| pack(number, 1 << 20, number * 10..number * 10 + 10)).collect();
        let all = used(0..80);
        assert_eq!(plan(&packs[..7], &all), Plan::default());
        assert_eq!(plan(&packs, &all).merge.len(), 8);
    }

    #[test]
    fn new_packs_are_left_alone_and_damaged_ones_dropped() {
        let young = Found { alone: true, ..pack(0, 1, 0..10) };
        let bad = Found { readable: false, ..pack(1, 1, 10..10) };
        assert_eq!(plan(&[young, bad], &used([])), Plan { drop: vec![1], merge: vec![] });
    }
}
