//! A repository of a directory of RPM files.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use tutti_repodata::{
    Entry, EntryRules, FileWork, RecordsError, RecordsReader, RecordsWriter, Repomd, Repository, WriterError,
    WriterOptions, write_repository,
};

use crate::additional;
use crate::cache::Cache;
use crate::earlier::{Earlier, Source};
use crate::error::{Broken, Error};
use crate::events::{Control, Event};
use crate::old::{self, OldPackages};
use crate::options::{OnBroken, Options};
use crate::packages::{self, Listed, Packages, Work};
use crate::stage::Stage;
use crate::stat;
use crate::tasks::{self, Tasks};
use crate::unchanged;

/// What came of it.
#[derive(Debug, Default)]
pub struct Summary {
    /// Packages in the repository.
    pub packages: usize,
    /// Files that are not in it, and why.
    pub broken: Vec<Broken>,
    /// What was done for it.
    pub work: Work,
    /// Whether the old metadata were equal, and stay.
    pub unchanged: bool,
    /// Its `repomd.xml`.
    pub repomd: Repomd,
    /// Bytes of metadata before compression.
    pub bytes_in: u64,
    /// Bytes of metadata.
    pub bytes_out: u64,
    /// What was done for each metadata file that was made.
    pub files: Vec<FileWork>,
}

/// Makes `repodata/` for a directory of packages.
///
/// # Errors
/// When options do not fit, somebody else is at it, a package is broken (unless such are to be skipped), metadata to
/// use cannot be read, or the volume fails. The old `repodata/` is then as it was, and nothing else remains.
pub fn create(options: &Options, control: Control<'_>) -> Result<Summary, Error> {
    let run = Run::new(options, control)?;
    let stage = Stage::open(&run.output, options.ignore_lock)?;
    let sources = old::sources(&run.output, options);
    let (mut tasks, mut earlier) = std::thread::scope(|scope| {
        let open = || {
            if options.update.is_wanted() {
                Earlier::open(&sources, options.reading.workers)
            } else {
                Earlier::default()
            }
        };
        // At the same time: one waits for the disk, the other computes.
        let earlier = scope.spawn(open);
        let tasks = run.tasks(&sources);
        match earlier.join() {
            Ok(earlier) => tasks.map(|tasks| (tasks, earlier)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })?;
    let update = options.update.is_wanted() && !tasks.packages.is_empty();
    if update && let Some(repomd) = unchanged::find(options, &run.output, &tasks, &mut earlier, control)? {
        control.tell(Event::Unchanged);
        let packages = tasks.packages.len();
        let work = Work { reused: packages as u64, ..Work::default() };
        return Ok(Summary { packages, work, unchanged: true, repomd, ..Summary::default() });
    }
    earlier.look(options.reading.workers);
    // Without old packages there is no old metadata either: what it says is looked at before anything is read.
    let old_repomd = match Repository::open_local(&run.output) {
        Ok(repository) => Some(repository.repomd().clone()),
        Err(source) => {
            let keeps = update && !options.update.discard_additional;
            let lost = if keeps { additional::listed_by_name(&run.output) } else { Vec::new() };
            if !lost.is_empty() {
                let (path, kinds) = (run.output.join("repodata/repomd.xml"), lost.join(", "));
                return Err(Error::WouldLose { path, kinds, source: Box::new(source) });
            }
            None
        }
    };
    let plan = additional::plan(options, &run.output, &tasks.modules, old_repomd.as_ref().filter(|_| update))?;
    let mut broken = std::mem::take(&mut tasks.broken);
    let nothing = Earlier::default();
    let mut make = |earlier: &Earlier| {
        let earlier = update.then_some(earlier);
        run.make(&stage, &sources, &tasks, earlier, &plan, &mut broken)
    };
    // Digests of files are not in the three files whose frames are taken.
    let texts_do = !options.metadata.filelists_ext;
    let mut summary = match make(if texts_do { &earlier } else { &nothing }) {
        Err(Unmade::Earlier) => {
            // The old metadata are not what their index says: they are read as those of anybody.
            let repodata = stage.repodata();
            tutti_files::remove_dir_all(&repodata).map_err(Error::io("remove", &repodata))?;
            make(&nothing)
        }
        other => other,
    }
    .map_err(|unmade| match unmade {
        Unmade::Other(error) => error,
        Unmade::Earlier => unreachable!("nothing earlier was used"),
    })?;
    summary.broken = broken;
    // Some 300,000 texts, of a large repository: nobody waits for them to be freed.
    std::thread::spawn(move || drop((tasks, earlier)));
    control.check()?;
    let is_equal = |old: &Repomd| is_same(old, &summary.repomd) && unchanged::are_files_whole(&run.output, old);
    let same = update && old_repomd.as_ref().is_some_and(is_equal);
    if same && options.metadata.retain == crate::options::Retain::Unlisted {
        summary.unchanged = true;
        control.tell(Event::Unchanged);
    } else {
        stage.publish(options.metadata.retain)?;
    }
    Ok(summary)
}

/// Whether two repositories are the same but for revision and timestamps, as createrepo_c 1.2.5 compares them
/// (`repomd.c`, `cr_repomd_compare`).
fn is_same(old: &Repomd, new: &Repomd) -> bool {
    let plain = |repomd: &Repomd| {
        let mut repomd = Repomd { revision: None, ..repomd.clone() };
        for record in &mut repomd.records {
            record.timestamp = 0;
        }
        repomd.sort();
        repomd
    };
    plain(old) == plain(new)
}

/// Why a run made nothing.
enum Unmade {
    /// Earlier metadata are not what the index of their frames says.
    Earlier,
    Other(Error),
}

impl From<Error> for Unmade {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

struct Run<'a> {
    options: &'a Options,
    output: PathBuf,
    control: Control<'a>,
}

impl<'a> Run<'a> {
    fn new(options: &'a Options, control: Control<'a>) -> Result<Self, Error> {
        let output = options.output.clone().unwrap_or_else(|| options.directory.clone());
        for (what, path) in [("the directory", &options.directory), ("the output directory", &output)] {
            if !path.is_dir() {
                return Err(Error::NoDirectory { what, path: path.clone() });
            }
        }
        Ok(Self { options, output, control })
    }

    fn tasks(&self, sources: &[PathBuf]) -> Result<Tasks, Error> {
        let Options { directory, selection, location, update, .. } = self.options;
        let is_listed = selection.package_list.is_some() || !selection.include.is_empty() || update.recycle_list;
        let (lines, broken) = match is_listed {
            true => self.lines(sources).map(|(lines, broken)| (Some(lines), broken))?,
            false => (None, Vec::new()),
        };
        let wanted = update.is_wanted() && !update.skip_stat && old::are_there(sources);
        let (tasks, packages) = stat::look(self.options.reading.workers, wanted, |looker| match &lines {
            Some(lines) => tasks::listed(directory, lines.iter().map(String::as_str), selection, location, looker),
            None => {
                self.control.tell(Event::WalkStarted);
                tasks::walk(directory, selection, location, looker)
            }
        });
        let mut tasks = Tasks { packages, ..tasks };
        tasks.broken.extend(broken);
        tasks.arrange(selection.clashes)?;
        self.control.tell(Event::Found { packages: tasks.packages.len() });
        for package in &tasks.broken {
            self.control.tell(Event::Broken(package));
        }
        Ok(tasks)
    }

    /// The lines of package lists, and those that are no UTF-8.
    fn lines(&self, sources: &[PathBuf]) -> Result<(Vec<String>, Vec<Broken>), Error> {
        let Options { directory, selection, update, .. } = self.options;
        let bytes = match &selection.package_list {
            Some(path) => fs::read(path).map_err(Error::io("read the package list", path))?,
            None => Vec::new(),
        };
        let mut lines = if update.recycle_list { old::locations(sources, self.control) } else { Vec::new() };
        let broken = tasks::lines(directory, &bytes, selection, &mut lines);
        lines.extend(selection.include.iter().cloned());
        Ok((lines, broken))
    }

    /// Takes over and reads packages, and writes all metadata into the stage. `earlier` is for an update.
    fn make(
        &self,
        stage: &Stage,
        sources: &[PathBuf],
        tasks: &Tasks,
        earlier: Option<&Earlier>,
        plan: &additional::Plan,
        broken: &mut Vec<Broken>,
    ) -> Result<Summary, Unmade> {
        let found_before = broken.len();
        let (packages, reader) = self.packages(stage, sources, tasks, earlier)?;
        let Packages { mut listed, broken: unreadable, work } = packages;
        broken.extend(unreadable);
        self.control.tell(Event::ReadingDone { broken: broken.len() });
        if !broken.is_empty() && self.options.selection.broken == OnBroken::Refuse {
            return Err(Error::Broken(std::mem::take(broken)).into());
        }
        let distinct = packages::settle_duplicates(&mut listed, self.options.duplicates, self.control);
        self.write_read_list(&listed)?;
        self.control.tell(Event::Writing(listed.len()));
        let mut summary = Summary { packages: listed.len(), work, ..Summary::default() };
        let nothing = Earlier::default();
        let source = Source { reader, earlier: earlier.unwrap_or(&nothing), stop: self.control.stop };
        match self.write(stage, &source, listed, distinct, plan, &mut summary) {
            Err(Error::Writer(WriterError::Records { source: RecordsError::Previous(_), .. })) => {
                broken.truncate(found_before);
                Err(Unmade::Earlier)
            }
            Err(error) => Err(error.into()),
            Ok(()) => Ok(summary),
        }
    }

    /// Takes over and reads packages; their records are then in a file of the stage.
    fn packages(
        &self,
        stage: &Stage,
        sources: &[PathBuf],
        tasks: &Tasks,
        earlier: Option<&Earlier>,
    ) -> Result<(Packages, RecordsReader), Error> {
        let reading = &self.options.reading;
        let cache = match &reading.cache {
            Some(path) => Some(Cache::open(self.output.join(path), reading.checksum)?),
            None => None,
        };
        let path = stage.root().join("records");
        let mut records = RecordsWriter::create(&path)?;
        let old = match earlier {
            // Old filelists and other say nothing of digests.
            Some(earlier) if !self.options.metadata.filelists_ext => {
                let (records, control) = (&mut records, self.control);
                OldPackages::load(sources, &tasks.packages, self.options, earlier, records, control)?
            }
            _ => OldPackages::none(tasks.packages.len()),
        };
        self.control.tell(Event::Staging(stage.root()));
        self.control.tell(Event::Reading { workers: reading.workers, packages: tasks.packages.len() });
        let gathered =
            packages::gather(&tasks.packages, old, self.options, cache.as_ref(), &mut records, self.control)?;
        records.seal_for_now()?;
        Ok((gathered, RecordsReader::open(&path)?))
    }

    fn write_read_list(&self, listed: &[Listed]) -> Result<(), Error> {
        let Some(path) = &self.options.reading.read_list else { return Ok(()) };
        let lines: String = listed
            .iter()
            .filter(|package| !package.reused)
            .flat_map(|package| [package.entry.location_href.as_str(), "\n"])
            .collect();
        fs::write(path, lines).map_err(Error::io("write", path))
    }

    /// Writes all metadata into the stage.
    fn write(
        &self,
        stage: &Stage,
        source: &Source<'_>,
        listed: Vec<Listed>,
        distinct: bool,
        plan: &additional::Plan,
        summary: &mut Summary,
    ) -> Result<(), Error> {
        let metadata = &self.options.metadata;
        let entries: Vec<Entry> = listed.into_iter().map(|package| package.entry).collect();
        let options = WriterOptions { distinct, ..writer_options(self.options) };
        let written = write_repository(stage.root(), source, &entries, &plan.extras, &options);
        let written = match written {
            Err(_) if self.control.stop.load(Ordering::Relaxed) => return Err(Error::Cancelled),
            other => other?,
        };
        (summary.bytes_in, summary.bytes_out) = (written.bytes_in, written.bytes_out);
        summary.repomd = written.repomd;
        summary.files = written.work;
        if !plan.kept.is_empty() {
            let repodata = stage.repodata();
            let records =
                additional::bring(&plan.kept, &self.output, &repodata, metadata, written.timestamp, self.control)?;
            summary.repomd.records.extend(records);
            summary.repomd.sort();
            write_repomd(&repodata, &summary.repomd, Some(written.timestamp))?;
        }
        Ok(())
    }
}

fn writer_options(options: &Options) -> WriterOptions {
    let metadata = &options.metadata;
    WriterOptions {
        entries: EntryRules::AsGiven,
        compression: metadata.compression,
        layout: metadata.layout,
        threads: options.reading.workers,
        checksum_type: metadata.checksum,
        unique_names: metadata.unique_names,
        revision: metadata.revision.clone(),
        tags: metadata.tags.clone(),
        timestamp: metadata.timestamp,
        filelists_ext: metadata.filelists_ext,
        databases: metadata.databases.clone(),
        // All are synced before they are put in place.
        syncs_early: true,
        ..WriterOptions::default()
    }
}

/// Writes `repomd.xml` in one step: a reader finds the old one or the new one.
pub(crate) fn write_repomd(repodata: &Path, repomd: &Repomd, mtime: Option<u64>) -> Result<(), Error> {
    let (path, partial) = (repodata.join("repomd.xml"), repodata.join(".repomd.xml.partial"));
    let write = || -> std::io::Result<()> {
        tutti_files::remove_file(&partial)?;
        let mut file = File::create_new(&partial)?;
        file.write_all(&repomd.to_xml())?;
        if let Some(seconds) = mtime {
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))?;
        }
        file.sync_all()?;
        tutti_files::rename(&partial, &path)
    };
    write().map_err(|error| {
        let _ = tutti_files::remove_file(&partial);
        Error::io("write", &path)(error)
    })
}
