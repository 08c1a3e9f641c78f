//! Packages taken over from metadata that exists.
//!
//! The key is the location in the new repository, without a leading `./`. A record is taken over when the file that is
//! now there has the size and mtime that the old metadata give, or with `skip_stat` when there is one; and only with
//! the checksum type that is wanted. Sources that say different things of one location are not believed.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use tutti_repodata::{
    Checksum, FileIdentity, FragmentOptions, PreviousPackage, ReadOptions, Record, RecordId, RecordsWriter,
    RepoPackage, Repository,
};

use crate::earlier::{Earlier, Framed};
use crate::error::Error;
use crate::events::{Control, Event};
use crate::options::Options;
use crate::tasks::Task;

/// What of a package is told to others.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// `NAME-EPOCH:VERSION-RELEASE.ARCH`.
    pub(crate) nevra: String,
    pub(crate) build_time: u64,
}

impl Facts {
    pub(crate) fn of(package: &tutti_rpm::Package) -> Self {
        let evr = &package.evr;
        let arch = if package.is_source() { "src" } else { &package.arch };
        let nevra = format!("{}-{}:{}-{}.{arch}", package.name, evr.epoch.unwrap_or(0), evr.version, evr.release);
        Self { nevra, build_time: package.build_time }
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

/// Packages that can be taken over, by location.
#[derive(Default)]
pub(crate) struct OldPackages {
    /// `None` where sources disagree.
    places: HashMap<String, Option<OldPackage>>,
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

impl OldPackages {
    /// Reads the packages of old metadata that can be taken over, and keeps their records in `records`. A source that
    /// cannot be read whole is told and not used.
    pub(crate) fn load(
        sources: &[PathBuf],
        tasks: &[Task],
        options: &Options,
        earlier: &Earlier,
        records: &mut RecordsWriter,
        control: Control<'_>,
    ) -> Result<Self, Error> {
        let loader = Loader {
            wanted: tasks.iter().map(|task| (key(&task.href), task)).collect(),
            names: tasks.iter().map(Task::name).collect(),
            options,
        };
        let mut packages = Self::default();
        let mut known = 0;
        for (number, path) in sources.iter().enumerate() {
            if number == 0 && !has_repodata(path) {
                continue;
            }
            control.tell(Event::OldMetadata(path));
            if let Some(framed) = earlier.get(path) {
                let (found, named) = loader.framed(framed);
                known += named;
                packages.merge(found);
                continue;
            }
            match loader.repository(path, records, control) {
                Ok((found, named)) => {
                    known += named;
                    packages.merge(found);
                }
                Err(error @ Error::Repository { .. }) => {
                    control.tell(Event::OldMetadataUnusable { path, error: &error });
                }
                Err(error) => return Err(error),
            }
        }
        control.tell(Event::OldPackages(known));
        Ok(packages)
    }

    fn merge(&mut self, found: Vec<(String, OldPackage)>) {
        for (place, package) in found {
            self.places
                .entry(place)
                .and_modify(|known| {
                    let same = known.as_ref().is_some_and(|known| {
                        (known.mtime, known.size, &known.checksum) == (package.mtime, package.size, &package.checksum)
                    });
                    if !same {
                        *known = None;
                    }
                })
                .or_insert(Some(package));
        }
    }

    /// The package of old metadata that is this file.
    pub(crate) fn get(&self, task: &Task) -> Option<&OldPackage> {
        self.places.get(key(&task.href))?.as_ref()
    }
}

struct Loader<'a> {
    wanted: HashMap<&'a str, &'a Task>,
    names: HashSet<&'a str>,
    options: &'a Options,
}

impl Loader<'_> {
    fn framed(&self, framed: &Framed) -> (Vec<(String, OldPackage)>, usize) {
        let packages = framed.previous.packages();
        let is_named = |package: &&PreviousPackage| {
            let name = package.location_href.rsplit('/').next().unwrap_or_default();
            self.names.contains(name)
        };
        let named = packages.iter().filter(is_named).count();
        let wanted: Vec<(usize, &Task)> = packages
            .iter()
            .enumerate()
            .filter_map(|(number, package)| Some((number, *self.wanted.get(key(&package.location_href))?)))
            .collect();
        let pairs: Vec<(&PreviousPackage, &Task)> =
            wanted.iter().map(|(number, task)| (&packages[*number], *task)).collect();
        let same = same_files(self.options, &pairs);
        let take = |(number, package): (usize, &PreviousPackage)| {
            let package_taken = OldPackage {
                record: framed.id(number),
                mtime: package.mtime,
                size: package.size,
                checksum: package.checksum.clone(),
                base: package.location_base.clone(),
                facts: Facts::from(package),
            };
            (key(&package.location_href).to_owned(), package_taken)
        };
        let found = wanted.iter().zip(same).filter(|(_, same)| *same);
        (found.map(|((number, _), _)| take((*number, &packages[*number]))).collect(), named)
    }

    fn repository(
        &self,
        path: &Path,
        records: &mut RecordsWriter,
        control: Control<'_>,
    ) -> Result<(Vec<(String, OldPackage)>, usize), Error> {
        let failed = |source| Error::Repository { path: path.to_owned(), source };
        let repository = Repository::open_local(path).map_err(failed)?;
        let read = ReadOptions { any_location: true, ..ReadOptions::default() };
        let (mut found, mut named) = (Vec::new(), 0);
        for package in repository.packages(read).map_err(failed)? {
            let package = package.map_err(failed)?;
            control.check()?;
            let name = package.location_href.rsplit('/').next().unwrap_or_default();
            named += usize::from(self.names.contains(name));
            let place = key(&package.location_href);
            let Some(task) = self.wanted.get(place) else { continue };
            if is_same_file(self.options, task, (package.size, package.mtime, &package.checksum)) {
                let place = place.to_owned();
                found.push((place, keep(package, self.options, records)?));
            }
        }
        Ok((found, named))
    }
}

/// Whether the file of a task is the one that old metadata give this size, mtime and checksum.
pub(crate) fn is_same_file(options: &Options, task: &Task, (size, mtime, checksum): (u64, u64, &Checksum)) -> bool {
    if checksum.kind() != options.reading.checksum {
        return false;
    }
    if options.update.skip_stat {
        return true;
    }
    let Ok(metadata) = fs::metadata(&task.path) else { return false };
    metadata.len() == size && u64::try_from(metadata.mtime()) == Ok(mtime)
}

/// The same of many, on several threads.
pub(crate) fn same_files(options: &Options, pairs: &[(&PreviousPackage, &Task)]) -> Vec<bool> {
    let is_same = |(package, task): &(&PreviousPackage, &Task)| {
        is_same_file(options, task, (package.size, package.mtime, &package.checksum))
    };
    let part = pairs.len().div_ceil(options.reading.workers.max(1)).max(1);
    std::thread::scope(|scope| {
        let parts: Vec<_> =
            pairs.chunks(part).map(|part| scope.spawn(move || part.iter().map(is_same).collect::<Vec<_>>())).collect();
        let joined = parts.into_iter().flat_map(|part| match part.join() {
            Ok(same) => same,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        joined.collect()
    })
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
