//! Packages taken over from metadata that exists.
//!
//! The key is the location in the new repository, without a leading `./`. A record is taken over when the file that is
//! now there has the size and mtime that the old metadata give, or with `skip_stat` when there is one; and only with
//! the checksum type that is wanted. Sources that say different things of one location are not believed.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tutti_repodata::{
    Checksum, FileIdentity, FragmentOptions, PreviousPackage, ReadOptions, Record, RecordId, RecordsWriter,
    RepoPackage, Repository,
};

use crate::earlier::{Earlier, Framed};
use crate::error::Error;
use crate::events::{Control, Event};
use crate::options::Options;
use crate::stat::Stat;
use crate::tasks::Task;

/// What of a package is told to others.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// `NAME-EPOCH:VERSION-RELEASE.ARCH`.
    pub(crate) nevra: Arc<str>,
    pub(crate) build_time: u64,
}

impl Facts {
    pub(crate) fn of(package: &tutti_rpm::Package) -> Self {
        let evr = &package.evr;
        let arch = if package.is_source() { "src" } else { &package.arch };
        let nevra = format!("{}-{}:{}-{}.{arch}", package.name, evr.epoch.unwrap_or(0), evr.version, evr.release);
        Self { nevra: nevra.into(), build_time: package.build_time }
    }
}

impl From<&PreviousPackage> for Facts {
    fn from(package: &PreviousPackage) -> Self {
        Self { nevra: package.nevra.clone(), build_time: package.build_time }
    }
}

/// A package of old metadata.
#[derive(Clone, Debug)]
pub(crate) struct OldPackage {
    pub(crate) record: RecordId,
    pub(crate) mtime: u64,
    pub(crate) size: u64,
    pub(crate) checksum: Checksum,
    pub(crate) base: Option<String>,
    pub(crate) facts: Facts,
}

impl OldPackage {
    fn of_framed(record: RecordId, package: &PreviousPackage) -> Self {
        Self {
            record,
            mtime: package.mtime,
            size: package.size,
            checksum: package.checksum.clone(),
            base: package.location_base.clone(),
            facts: Facts::from(package),
        }
    }
}

/// What old metadata say of a task. Small: a large repository has 75,000, most of which are in frames.
#[derive(Clone, Debug)]
enum Known<'a> {
    Nothing,
    Framed(RecordId, &'a PreviousPackage),
    Read(Box<OldPackage>),
    /// Sources disagree.
    Disputed,
}

impl Known<'_> {
    /// Mtime, size and checksum of one package.
    fn identity(&self) -> Option<(u64, u64, &Checksum)> {
        match self {
            Self::Framed(_, package) => Some((package.mtime, package.size, &package.checksum)),
            Self::Read(package) => Some((package.mtime, package.size, &package.checksum)),
            Self::Nothing | Self::Disputed => None,
        }
    }
}

/// Packages that can be taken over, by the numbers of tasks.
pub(crate) struct OldPackages<'a> {
    by_task: Vec<Known<'a>>,
}

pub(crate) fn key(href: &str) -> &str {
    href.strip_prefix("./").unwrap_or(href)
}

/// Where old metadata may be: the repository itself, then further ones, the last first.
pub(crate) fn sources(output: &Path, options: &Options) -> Vec<PathBuf> {
    let further = options.update.paths.iter().rev().cloned();
    std::iter::once(output.to_owned()).chain(further).collect()
}

/// Locations of all packages of old metadata, for `recycle_list`.
pub(crate) fn locations(sources: &[PathBuf], control: Control<'_>) -> Vec<String> {
    let lean = ReadOptions { filelists: false, other: false, any_location: true };
    let mut found = Vec::new();
    for path in sources.iter().filter(|path| has_repodata(path)) {
        let list = || -> Result<Vec<String>, tutti_repodata::RepositoryError> {
            Repository::open_local(path)?.packages(lean)?.map(|package| Ok(package?.location_href)).collect()
        };
        match list() {
            Ok(list) => found.extend(list),
            Err(source) => {
                let error = Error::Repository { path: path.clone(), source };
                control.tell(Event::OldMetadataUnusable { path, error: &error });
            }
        }
    }
    found
}

fn has_repodata(path: &Path) -> bool {
    path.join("repodata/repomd.xml").is_file()
}

/// Whether there are metadata that packages could be taken over from.
pub(crate) fn are_there(sources: &[PathBuf]) -> bool {
    sources.iter().any(|path| has_repodata(path))
}

impl<'a> OldPackages<'a> {
    /// Nothing for so many tasks.
    pub(crate) fn none(tasks: usize) -> Self {
        Self { by_task: vec![Known::Nothing; tasks] }
    }

    /// Finds the packages of old metadata that can be taken over, and keeps records of those that have to be read in
    /// `records`. A source that cannot be read whole is told and not used.
    pub(crate) fn load(
        sources: &[PathBuf],
        tasks: &[Task],
        options: &Options,
        earlier: &'a Earlier,
        records: &mut RecordsWriter,
        control: Control<'_>,
    ) -> Result<Self, Error> {
        let loader = Loader { places: Places::new(tasks), options };
        let mut packages = Self::none(tasks.len());
        let mut known = 0;
        for (number, path) in sources.iter().enumerate() {
            if number == 0 && !has_repodata(path) {
                continue;
            }
            control.tell(Event::OldMetadata(path));
            if let Some(framed) = earlier.get(path) {
                known += loader.framed(framed, &mut packages);
                continue;
            }
            match loader.repository(path, records, control) {
                Ok((found, named)) => {
                    known += named;
                    found.into_iter().for_each(|(task, package)| packages.add(task, Known::Read(Box::new(package))));
                }
                Err(error @ Error::Repository { .. }) => {
                    control.tell(Event::OldMetadataUnusable { path, error: &error });
                }
                Err(error) => return Err(error),
            }
        }
        control.tell(Event::OldPackages(known));
        packages.share(&loader.places);
        Ok(packages)
    }

    fn add(&mut self, task: usize, package: Known<'a>) {
        let known = &mut self.by_task[task];
        match known {
            Known::Nothing => *known = package,
            one if one.identity() == package.identity() => {}
            _ => *known = Known::Disputed,
        }
    }

    /// Several tasks may have one location; packages were found for one of them.
    fn share(&mut self, places: &Places<'_>) {
        for task in 0..self.by_task.len() {
            if !matches!(self.by_task[task], Known::Nothing) {
                continue;
            }
            match places.at(places.tasks[task].href()) {
                Some(other) if other != task => self.by_task[task] = self.by_task[other].clone(),
                _ => {}
            }
        }
    }

    /// The package of old metadata that is this task's file. It is given once.
    pub(crate) fn take(&mut self, task: usize) -> Option<OldPackage> {
        match std::mem::replace(self.by_task.get_mut(task)?, Known::Nothing) {
            Known::Framed(record, package) => Some(OldPackage::of_framed(record, package)),
            Known::Read(package) => Some(*package),
            Known::Nothing | Known::Disputed => None,
        }
    }
}

/// Finds tasks by locations. Mostly they come in the order of the tasks.
struct Places<'a> {
    tasks: &'a [Task],
    /// Where the order of tasks is not that of locations.
    tables: Option<(HashMap<&'a str, usize>, HashSet<&'a str>)>,
}

impl<'a> Places<'a> {
    fn new(tasks: &'a [Task]) -> Self {
        let tables = || {
            let places = tasks.iter().enumerate().map(|(number, task)| (key(task.href()), number)).collect();
            (places, tasks.iter().map(Task::name).collect())
        };
        Self { tasks, tables: (!tasks.iter().all(Task::is_plain)).then(tables) }
    }

    fn at(&self, href: &str) -> Option<usize> {
        let place = key(href);
        match &self.tables {
            Some((places, _)) => places.get(place).copied(),
            None => self.tasks.binary_search_by(|task| task.cmp_location(place)).ok(),
        }
    }

    /// The task at a location. `next` is the one that is likely to be it, and then the one behind it.
    fn find(&self, href: &str, next: &mut usize) -> Option<usize> {
        let is_next = self.tasks.get(*next).is_some_and(|task| key(task.href()) == key(href));
        let found = if is_next { *next } else { self.at(href)? };
        *next = found + 1;
        Some(found)
    }

    /// Whether a task's file has the name of this one.
    fn is_named(&self, href: &str) -> bool {
        let name = href.rsplit('/').next().unwrap_or_default();
        match &self.tables {
            Some((_, names)) => names.contains(name),
            None => self.tasks.binary_search_by(|task| task.name().cmp(name)).is_ok(),
        }
    }
}

struct Loader<'a> {
    places: Places<'a>,
    options: &'a Options,
}

impl Loader<'_> {
    /// Adds packages of a repository in frames. Returns how many have the name of a task's file.
    fn framed<'a>(&self, framed: &'a Framed, packages: &mut OldPackages<'a>) -> usize {
        let (mut next, mut named) = (0, 0);
        for (number, package) in framed.previous.packages().iter().enumerate() {
            let Some(task) = self.places.find(&package.location_href, &mut next) else {
                named += usize::from(self.places.is_named(&package.location_href));
                continue;
            };
            named += 1;
            if self.is_same(task, package.size, package.mtime, &package.checksum) {
                packages.add(task, Known::Framed(framed.id(number), package));
            }
        }
        named
    }

    /// Reads all of a repository. Returns packages with their tasks, and how many have the name of a task's file.
    fn repository(
        &self,
        path: &Path,
        records: &mut RecordsWriter,
        control: Control<'_>,
    ) -> Result<(Vec<(usize, OldPackage)>, usize), Error> {
        let failed = |source| Error::Repository { path: path.to_owned(), source };
        let repository = Repository::open_local(path).map_err(failed)?;
        let read = ReadOptions { any_location: true, ..ReadOptions::default() };
        let (mut found, mut named, mut next) = (Vec::new(), 0, 0);
        for package in repository.packages(read).map_err(failed)? {
            let package = package.map_err(failed)?;
            control.check()?;
            let Some(task) = self.places.find(&package.location_href, &mut next) else {
                named += usize::from(self.places.is_named(&package.location_href));
                continue;
            };
            named += 1;
            if self.is_same(task, package.size, package.mtime, &package.checksum) {
                found.push((task, keep(package, self.options, records)?));
            }
        }
        Ok((found, named))
    }

    fn is_same(&self, task: usize, size: u64, mtime: u64, checksum: &Checksum) -> bool {
        is_same_file(self.options, &self.places.tasks[task], (size, mtime, checksum))
    }
}

/// Whether the file of a task is the one that old metadata give this size, mtime and checksum.
pub(crate) fn is_same_file(options: &Options, task: &Task, (size, mtime, checksum): (u64, u64, &Checksum)) -> bool {
    checksum.kind() == options.reading.checksum && (options.update.skip_stat || task.stat == Some(Stat { size, mtime }))
}

fn keep(package: RepoPackage, options: &Options, records: &mut RecordsWriter) -> Result<OldPackage, Error> {
    let RepoPackage { package, location_base, size, mtime, checksum, .. } = package;
    // The changelog stays as it was: what was cut from it is not in the old metadata.
    let fragments = FragmentOptions { changelog_limit: None };
    let identity = FileIdentity { size, mtime, checksum };
    // Databases are made of facts, all else of texts.
    let record = match options.metadata.databases {
        Some(_) => Record::make(&package, &identity, &fragments),
        None => Record::of_fragments(&package, &fragments),
    };
    let record = records.add_record(&record.map_err(tutti_repodata::RecordsError::Fragment)?)?;
    let FileIdentity { size, mtime, checksum } = identity;
    Ok(OldPackage { record, mtime, size, checksum, base: location_base, facts: Facts::of(&package) })
}
