//! Going on where an earlier attempt at the same job ended, whatever ended it, and with what other composes have read.
//!
//! While packages are read, checkpoints are sealed in `staging/checkpoints`: [`tutti_repodata::checkpoint`]. A later
//! attempt takes from them the records of files that look as they did, and reads the others. Where the first files are
//! all as they were, which is usual, the beginning of the file of records is taken over as it is, by whole blocks. The
//! outputs are the same bytes: records are added in the same order, and nothing of an output depends on where a record
//! came from.
//!
//! Packs of records that other composes made ([`tutti_repodata::pack`]) serve in the same way.
//!
//! What others left is foreign matter: damaged checkpoints are noted in the log and ignored, and a record
//! counts only if all that can be checked without reading its file fits.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tutti_distro::layout::package_file_name;
use tutti_job::{LogicalPath, Volumes};
use tutti_repodata::{
    Checkpoints, ChecksumType, FileIdentity, FileLocator, KnownFile, RecordsWriter, Taken,
    pack::{self, PackDirectory, PackName},
};
use tutti_rpm::Package;

use super::{
    super::parallel,
    read::{Facts, Found, facts},
    sources::SourceFile,
};
use crate::{JobContext, RunnerError, error::chain, log};

/// Most checkpoints of one attempt that are looked at.
const MAX_CHECKPOINTS: usize = 4096;
/// Notes in the log about damaged records.
const MAX_NOTES: u64 = 10;

/// How often a checkpoint is made: whichever comes first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) packages: usize,
    pub(crate) time: Duration,
}

/// A kill costs at most this much; an undisturbed job pays a few milliseconds for each.
impl Default for Pace {
    fn default() -> Self {
        Self { packages: 5_000, time: Duration::from_secs(5) }
    }
}

/// How a file looks, under the name that all hosts have for it.
pub(super) fn locator(logical: &LogicalPath, metadata: &fs::Metadata) -> FileLocator {
    FileLocator {
        path: logical.to_string(),
        size: metadata.size(),
        // Nanoseconds are below 10^9.
        mtime: (metadata.mtime(), u32::try_from(metadata.mtime_nsec()).unwrap_or(0)),
        inode: metadata.ino(),
    }
}

/// Where a record came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Its package file.
    File,
    /// An earlier attempt at this job.
    Attempt,
    /// Another compose.
    Pack,
}

/// What earlier attempts and other composes read.
pub(super) struct Earlier {
    /// In the order in which they are asked.
    sets: [(Origin, Checkpoints); 2],
    taken: [AtomicU64; 2],
    notes: AtomicU64,
    /// Packs that did not give what they promised.
    damaged: Mutex<BTreeSet<PackName>>,
}

impl Earlier {
    /// Looks at the staging directories of earlier attempts, the newest first, and at the packs of all composes.
    pub(super) fn open(context: &JobContext) -> Self {
        let mut checkpoints = Checkpoints::new(*context.spec.key().as_bytes());
        for staging in &context.earlier {
            add_attempt(context, staging, &mut checkpoints);
        }
        if !checkpoints.is_empty() {
            log!(context, "earlier attempts left the records of {} packages", checkpoints.len());
        }
        let mut damaged = BTreeSet::new();
        let packs = match &context.volumes.records {
            Some(directory) => {
                context.progress.set("look for package records", 0, 0);
                PackDirectory::new(directory).open(&mut |note, suspect| {
                    log!(context, "{note}");
                    damaged.extend(suspect);
                })
            }
            None => Checkpoints::new(pack::OWNER),
        };
        let sets = [(Origin::Attempt, checkpoints), (Origin::Pack, packs)];
        Self { sets, taken: Default::default(), notes: AtomicU64::new(0), damaged: Mutex::new(damaged) }
    }

    /// Packs that were found to be damaged.
    pub(super) fn damaged_packs(&self) -> BTreeSet<PackName> {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note_damage(&self, origin: Origin, set: &Checkpoints, taken: Option<Taken>) {
        if origin == Origin::Pack {
            let name = taken.and_then(|taken| set.path_of(taken)).and_then(PackName::of_index);
            self.damaged.lock().unwrap_or_else(PoisonError::into_inner).extend(name);
        }
    }

    fn is_empty(&self) -> bool {
        self.sets.iter().all(|(_, set)| set.is_empty())
    }

    /// Says in the log how much was taken over.
    pub(super) fn tell(&self, context: &JobContext, total: u64) {
        let [attempts, packs] = self.taken.each_ref().map(|taken| taken.load(Ordering::Relaxed));
        if !context.earlier.is_empty() {
            let read = total - attempts - packs;
            log!(context, "{attempts} of {total} packages were taken over from earlier attempts, {read} read");
        }
        if packs > 0 {
            log!(context, "{packs} of {total} packages were read by other composes");
        }
    }

    /// How all files look now, if that can be of use; otherwise nothing.
    ///
    /// # Errors
    /// Cancellation alone.
    pub(super) fn look(
        &self,
        context: &JobContext,
        sources: &[SourceFile],
    ) -> Result<Vec<Option<FileLocator>>, RunnerError> {
        let mut looks = Vec::new();
        if self.is_empty() {
            return Ok(looks);
        }
        looks.reserve(sources.len());
        let look = |(): &mut (), source: &SourceFile| {
            Ok(fs::metadata(&source.path).ok().map(|metadata| locator(&source.logical, &metadata)))
        };
        parallel::ordered(
            context,
            sources,
            || (),
            look,
            |_, found| {
                looks.push(found);
                Ok(())
            },
        )?;
        Ok(looks)
    }

    /// How many files that look so are in packs.
    pub(super) fn in_packs(&self, looks: &[Option<FileLocator>]) -> usize {
        let [_, (_, packs)] = &self.sets;
        looks.iter().flatten().filter(|look| packs.find(look).is_some()).count()
    }

    /// Starts the file of records at `path` with what the first files of `sources`, which look like `looks`, have in
    /// common with those of an earlier attempt or another compose. With none, all are to be added.
    ///
    /// # Errors
    /// Cancellation alone: what cannot be taken over is noted in the log.
    pub(super) fn beginning(
        &self,
        context: &JobContext,
        kind: ChecksumType,
        sources: &[SourceFile],
        looks: &[Option<FileLocator>],
        path: &Path,
    ) -> Result<Option<Beginning>, RunnerError> {
        let looks: Vec<FileLocator> = looks.iter().map_while(Clone::clone).collect();
        let found = self.sets.iter().filter_map(|(origin, set)| Some((*origin, set, set.prefix(&looks)?)));
        let Some((origin, set, prefix)) = found.max_by_key(|(.., prefix)| prefix.len()) else { return Ok(None) };
        let known: Vec<_> = prefix.files().zip(sources).collect();
        let mut facts = Vec::with_capacity(known.len());
        let decode = |(): &mut (), ((place, known), source): &((Taken, &KnownFile), &SourceFile)| {
            Ok(set.head(*place).map_err(|error| chain(&error)).and_then(|(identity, package)| {
                usable(kind, source, known, &identity, package).ok_or_else(|| "it does not fit its file".to_owned())
            }))
        };
        let mut problem = None;
        parallel::ordered(
            context,
            &known,
            || (),
            decode,
            |index, found| {
                context.progress.set("take over packages", index as u64 + 1, known.len() as u64);
                match found {
                    Ok(found) => facts.push(found),
                    Err(error) => {
                        problem.get_or_insert_with(|| format!("{}: {error}", sources[index].path.display()));
                    }
                }
                Ok(())
            },
        )?;
        let writer = match problem {
            Some(problem) => Err(problem),
            None => RecordsWriter::resume(path, &prefix).map_err(|error| chain(&error)),
        };
        match writer {
            Ok(writer) => {
                self.count(context, origin, facts.len() as u64);
                context.counters.add("records_kept", facts.len() as u64);
                let known = known.into_iter().map(|((_, known), _)| known.clone()).collect();
                Ok(Some(Beginning { writer, facts, known, origin }))
            }
            Err(error) => {
                self.note_damage(origin, set, prefix.files().next().map(|(taken, _)| taken));
                log!(context, "the beginning of the records is made again, not taken over: {error}");
                Ok(None)
            }
        }
    }

    /// The record of a file that looks as it did when it was read. With none, the file is to be read.
    pub(super) fn take(
        &self,
        context: &JobContext,
        kind: ChecksumType,
        source: &SourceFile,
    ) -> Option<(Found, Origin)> {
        if self.is_empty() {
            return None;
        }
        // Not as it looked when the job began: that may be a while ago.
        let locator = locator(&source.logical, &fs::metadata(&source.path).ok()?);
        self.sets.iter().find_map(|(origin, set)| {
            let (place, known) = set.find(&locator)?;
            let (record, identity, package) = match set.record(place) {
                Ok(found) => found,
                Err(error) => {
                    self.note_damage(*origin, set, Some(place));
                    if self.notes.fetch_add(1, Ordering::Relaxed) < MAX_NOTES {
                        log!(context, "{} is read again: {}", source.path.display(), chain(&error));
                    }
                    return None;
                }
            };
            let facts = usable(kind, source, known, &identity, package)?;
            self.count(context, *origin, 1);
            Some((Found { facts, record, known: known.clone() }, *origin))
        })
    }

    fn count(&self, context: &JobContext, origin: Origin, taken: u64) {
        let (number, counter) = match origin {
            Origin::File => return,
            Origin::Attempt => (0, "rpm_files_taken_over"),
            Origin::Pack => (1, "rpm_files_known"),
        };
        self.taken[number].fetch_add(taken, Ordering::Relaxed);
        context.counters.add(counter, taken);
    }
}

/// What an earlier attempt or another compose leaves of a file of records.
pub(super) struct Beginning {
    pub(super) origin: Origin,
    /// The records are in it.
    pub(super) writer: RecordsWriter,
    pub(super) facts: Vec<Facts>,
    pub(super) known: Vec<KnownFile>,
}

/// Facts of a record, if all that can be checked without reading its file fits.
fn usable(
    kind: ChecksumType,
    source: &SourceFile,
    known: &KnownFile,
    identity: &FileIdentity,
    package: Package,
) -> Option<Facts> {
    let locator = &known.locator;
    let checksum = known.sums.first().filter(|sum| sum.kind() == kind && **sum == identity.checksum)?.clone();
    let same_file = identity.size == locator.size && identity.mtime == u64::try_from(locator.mtime.0).unwrap_or(0);
    let listed = source.expected.as_ref().is_none_or(|expected| known.sums.contains(expected));
    let named = package_file_name(&package.nevra()).is_ok();
    (same_file && listed && named).then(|| facts(package, locator.size, locator.mtime.0, checksum, known.content))
}

fn add_attempt(context: &JobContext, staging: &Path, checkpoints: &mut Checkpoints) {
    let names = match names(&staging.join(Volumes::CHECKPOINTS)) {
        Ok(names) if names.is_empty() => return,
        Ok(names) => names,
        Err(error) => return log!(context, "checkpoints in {} are not used: {error}", staging.display()),
    };
    // Sealed, or as the end of its writer left it.
    let data = ["out/records.partial", "out/records"]
        .iter()
        .find_map(|name| tutti_files::open_regular(&staging.join(name)).ok());
    let Some(data) = data.map(Arc::new) else {
        return log!(context, "checkpoints in {} are not used: what they lead to is gone", staging.display());
    };
    for path in names.into_values() {
        let added = tutti_files::open_regular(&path)
            .map_err(|error| error.to_string())
            .and_then(|file| checkpoints.add(&path, &file, &data).map_err(|error| chain(&error)));
        if let Err(error) = added {
            log!(context, "checkpoint {} is not used: {error}", path.display());
        }
    }
}

/// Sealed checkpoints of an attempt by number.
fn names(directory: &Path) -> io::Result<BTreeMap<u32, PathBuf>> {
    let mut names = BTreeMap::new();
    let items = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(names),
        items => items?,
    };
    for item in items {
        let item = item?;
        let number = item.file_name().to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse().ok());
        names.extend(number.map(|number| (number, item.path())));
        // The first ones are a beginning, in whatever order they are listed.
        if names.len() > MAX_CHECKPOINTS {
            names.pop_last();
        }
    }
    Ok(names)
}

const PREFIX: &str = "records-";

/// Makes checkpoints while records are written.
pub(super) struct Checkpointer<'a> {
    context: &'a JobContext,
    owner: [u8; 32],
    pace: Pace,
    number: u32,
    last: Instant,
    files: Vec<KnownFile>,
    /// A checkpoint could not be written: the job goes on without.
    broken: bool,
}

impl<'a> Checkpointer<'a> {
    pub(super) fn new(context: &'a JobContext, pace: Pace) -> Self {
        let (owner, last) = (*context.spec.key().as_bytes(), Instant::now());
        Self { context, owner, pace, number: 0, last, files: Vec::new(), broken: false }
    }

    /// Notes files whose records are in the file before any was added here, and makes the first checkpoint: the next
    /// attempt need not find what this one found.
    pub(super) fn begins_with(&mut self, writer: &mut RecordsWriter, files: Vec<KnownFile>) {
        if !files.is_empty() {
            self.files = files;
            self.write(writer);
        }
    }

    /// Notes the file whose record was just added, and makes a checkpoint when it is time.
    pub(super) fn added(&mut self, writer: &mut RecordsWriter, file: KnownFile) {
        if self.broken {
            return;
        }
        self.files.push(file);
        let asked = tutti_failpoint::hit_for("pkgset.checkpoint.due", &self.context.job_name).is_err();
        if asked || self.files.len() >= self.pace.packages || self.last.elapsed() >= self.pace.time {
            self.write(writer);
        }
    }

    /// The job fails: what was read is kept for a retry.
    pub(super) fn failed(&mut self, writer: &mut RecordsWriter) {
        if !self.broken && !self.files.is_empty() {
            self.write(writer);
        }
    }

    /// All was read. A job that took long enough to have checkpoints covers its last packages too: compiling universes
    /// takes a while as well.
    pub(super) fn complete(&mut self, writer: &mut RecordsWriter) {
        if self.number > 0 {
            self.failed(writer);
        }
    }

    fn write(&mut self, writer: &mut RecordsWriter) {
        match self.try_write(writer) {
            Ok(size) => {
                self.context.counters.add("checkpoint_bytes", size);
                self.files.clear();
                self.last = Instant::now();
                // Where a test holds the job, or kills it; an error here is none of the job's.
                let _ = tutti_failpoint::hit_for("pkgset.checkpoint.made", &self.context.job_name);
            }
            Err(error) => {
                // The job does not need it, and the outputs will meet the same disk.
                log!(self.context, "no more checkpoints: {error}");
                (self.broken, self.files) = (true, Vec::new());
            }
        }
    }

    fn try_write(&mut self, writer: &mut RecordsWriter) -> Result<u64, String> {
        self.number += 1;
        let directory = self.context.checkpoints().map_err(|error| error.one_line())?;
        let path = directory.join(format!("{PREFIX}{:06}", self.number));
        writer.checkpoint(&path, &self.owner, &self.files).map_err(|error| chain(&error))
    }
}
