//! Packages become records: taken over, or read by several threads.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

use tutti_repodata::{Checksum, ChecksumType, Entry, FileIdentity, FragmentOptions, Record, RecordId, RecordsWriter};

use crate::cache::Cache;
use crate::error::{Broken, Error, PackageError};
use crate::events::{Control, Double, Event};
use crate::old::{Facts, OldPackages};
use crate::options::{Duplicates, Options};
use crate::rpm_file::{Buffers, RpmFile};
use crate::tasks::Task;

/// A package with its record.
pub(crate) struct Listed {
    pub(crate) entry: Entry,
    pub(crate) facts: Facts,
    pub(crate) reused: bool,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// RPM files opened.
    pub rpm_files: u64,
    /// Bytes read of them.
    pub rpm_bytes: u64,
    /// Packages taken over from old metadata.
    pub reused: u64,
}

/// All packages, in the order of the tasks.
pub(crate) struct Packages {
    pub(crate) listed: Vec<Listed>,
    pub(crate) broken: Vec<Broken>,
    pub(crate) work: Work,
}

/// Takes over what can be taken over, reads the rest, and adds the records of what it read.
pub(crate) fn gather(
    tasks: &[Task],
    mut old: OldPackages<'_>,
    options: &Options,
    cache: Option<&Cache>,
    records: &mut RecordsWriter,
    control: Control<'_>,
) -> Result<Packages, Error> {
    let mut found: Vec<Option<Listed>> = Vec::with_capacity(tasks.len());
    let mut to_read = Vec::new();
    let mut work = Work::default();
    for (number, task) in tasks.iter().enumerate() {
        let reused = old.take(number).map(|package| Listed {
            entry: Entry {
                record: package.record,
                location_href: task.href().to_owned(),
                location_base: options.location.base_url.clone().or(package.base),
                mtime: package.mtime,
                checksum: package.checksum,
                size: package.size,
            },
            facts: package.facts,
            reused: true,
        });
        match &reused {
            Some(_) => {
                work.reused += 1;
                control.tell(Event::Package { href: task.href(), reused: true });
            }
            None => to_read.push(number),
        }
        found.push(reused);
    }
    let pool = Pool { tasks, to_read, options, cache, control };
    let broken = pool.run(&mut found, &mut work, records)?;
    Ok(Packages { listed: found.into_iter().flatten().collect(), broken, work })
}

/// Packages for each thread that may wait to be added.
const AHEAD: usize = 16;

struct Pool<'a> {
    tasks: &'a [Task],
    to_read: Vec<usize>,
    options: &'a Options,
    cache: Option<&'a Cache>,
    control: Control<'a>,
}

/// What a thread made of one file.
struct Made {
    record: Record,
    identity: FileIdentity,
    facts: Facts,
    read: u64,
}

impl Pool<'_> {
    /// Records are added as they come, by the calling thread; few wait for it.
    fn run(
        &self,
        found: &mut [Option<Listed>],
        work: &mut Work,
        records: &mut RecordsWriter,
    ) -> Result<Vec<Broken>, Error> {
        let workers = self.options.reading.workers.clamp(1, self.to_read.len().max(1));
        let (next, abandoned) = (AtomicUsize::new(0), AtomicBool::new(false));
        let (sender, receiver) = mpsc::sync_channel::<(usize, Result<Made, PackageError>)>(workers * AHEAD);
        let mut broken: BTreeMap<usize, Broken> = BTreeMap::new();
        let read = |sender: mpsc::SyncSender<_>| {
            let mut buffers = Buffers::default();
            loop {
                let Some(number) = self.to_read.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
                if abandoned.load(Ordering::Relaxed) || self.control.check().is_err() {
                    return;
                }
                let made = self.read(&self.tasks[*number], &mut buffers);
                if sender.send((*number, made)).is_err() {
                    return;
                }
            }
        };
        std::thread::scope(|scope| -> Result<(), Error> {
            for _ in 0..workers {
                let sender = sender.clone();
                scope.spawn(move || read(sender));
            }
            drop(sender);
            let mut take = |number: usize, made: Result<Made, PackageError>| -> Result<(), Error> {
                let task = &self.tasks[number];
                match made {
                    Ok(made) => {
                        work.rpm_files += 1;
                        work.rpm_bytes += made.read;
                        let record = records.add_record(&made.record)?;
                        self.control.tell(Event::Package { href: task.href(), reused: false });
                        found[number] = Some(self.listed(task, made, record));
                    }
                    Err(error) => {
                        let package = Broken { path: task.path(), error };
                        self.control.tell(Event::Broken(&package));
                        broken.insert(number, package);
                    }
                }
                Ok(())
            };
            for (number, made) in receiver {
                if let Err(error) = take(number, made) {
                    abandoned.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
            Ok(())
        })?;
        self.control.check()?;
        Ok(broken.into_values().collect())
    }

    fn listed(&self, task: &Task, made: Made, record: RecordId) -> Listed {
        let FileIdentity { size, mtime, checksum } = made.identity;
        let entry = Entry {
            record,
            location_href: task.href().to_owned(),
            location_base: self.options.location.base_url.clone(),
            mtime,
            checksum,
            size,
        };
        Listed { entry, facts: made.facts, reused: false }
    }

    fn read(&self, task: &Task, buffers: &mut Buffers) -> Result<Made, PackageError> {
        let reading = &self.options.reading;
        let mut file = RpmFile::open(&task.path(), &[reading.checksum], buffers)?;
        let (size, mtime) = (file.metadata().size(), file.metadata().mtime());
        let mut package = file.headers().package().map_err(PackageError::Rpm)?;
        if self.options.metadata.filelists_ext {
            package.file_digests = Some(tutti_rpm::file_digests(file.headers()).map_err(PackageError::Rpm)?);
        }
        let cached = match self.cache {
            None => None,
            Some(cache) => {
                let path = cache.path(task.href(), file.headers(), package.installed_size, (size, mtime));
                Some((cache, cache.get(&path), path))
            }
        };
        let (checksum, read) = match cached {
            Some((_, Some(checksum), _)) if !reading.verify_payload => (checksum, file.headers().header_end()),
            other => {
                let mut whole = file.finish(reading.verify_payload, buffers)?;
                let checksum = first_sum(std::mem::take(&mut whole.sums), reading.checksum);
                let length = whole.length;
                whole.verify_payload()?;
                if let Some((cache, _, path)) = other {
                    cache.put(&path, &checksum);
                }
                (checksum, length)
            }
        };
        let identity = FileIdentity { size, mtime: u64::try_from(mtime).unwrap_or(0), checksum };
        let options = FragmentOptions { changelog_limit: reading.changelog_limit };
        // Databases are made of facts, all else of texts.
        let record = match self.options.metadata.databases {
            Some(_) => Record::make(&package, &identity, &options)?,
            None => Record::of_fragments(&package, &options)?,
        };
        Ok(Made { record, identity, facts: Facts::of(&package), read })
    }
}

/// The checksum that was asked for; of nothing, if nothing was.
fn first_sum(sums: Vec<Checksum>, kind: ChecksumType) -> Checksum {
    sums.into_iter().next().unwrap_or_else(|| kind.hash(b""))
}

/// Numbers of packages with one NEVRA, where there are several.
fn doubles<'a>(facts: impl Iterator<Item = &'a Facts>) -> Vec<(&'a str, Vec<usize>)> {
    let state = RandomState::new();
    let mut hashed: Vec<(u64, usize, &str)> =
        facts.enumerate().map(|(number, facts)| (state.hash_one(&*facts.nevra), number, &*facts.nevra)).collect();
    hashed.sort_unstable();
    let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    // Those of one hash, most of which are alone.
    for alike in hashed.chunk_by(|a, b| a.0 == b.0).filter(|alike| alike.len() > 1) {
        for (_, number, nevra) in alike {
            groups.entry(nevra).or_default().push(*number);
        }
    }
    groups.into_iter().filter(|(_, numbers)| numbers.len() > 1).collect()
}

/// Tells of packages with one NEVRA, all of which are listed.
pub(crate) fn tell_duplicates(packages: &[(&str, &Facts)], control: Control<'_>) {
    for (nevra, mut numbers) in doubles(packages.iter().map(|(_, facts)| *facts)) {
        numbers.sort_by_key(|number| packages[*number].0.len());
        let found: Vec<Double<'_>> = numbers
            .into_iter()
            .map(|number| Double { href: packages[number].0, build_time: packages[number].1.build_time, listed: true })
            .collect();
        control.tell(Event::Duplicate { nevra, packages: &found });
    }
}

/// Tells of packages with one NEVRA, and leaves out all but one of them if asked to. Returns whether no two of those that
/// are left have the same.
pub(crate) fn settle_duplicates(listed: &mut Vec<Listed>, rule: Duplicates, control: Control<'_>) -> bool {
    let (mut dropped, mut distinct) = (Vec::new(), true);
    for (nevra, mut numbers) in doubles(listed.iter().map(|package| &package.facts)) {
        let rank =
            |number: &usize| (listed[*number].facts.build_time, listed[*number].entry.location_href.as_str(), *number);
        let last = numbers.iter().copied().max_by_key(rank);
        let keeps = |number: usize| rule == Duplicates::Keep || Some(number) == last;
        numbers.sort_by_key(|number| listed[*number].entry.location_href.len());
        let packages: Vec<Double<'_>> = numbers
            .iter()
            .map(|number| Double {
                href: &listed[*number].entry.location_href,
                build_time: listed[*number].facts.build_time,
                listed: keeps(*number),
            })
            .collect();
        control.tell(Event::Duplicate { nevra, packages: &packages });
        distinct &= rule != Duplicates::Keep;
        dropped.extend(numbers.into_iter().filter(|number| !keeps(*number)));
    }
    dropped.sort_unstable();
    let mut number = 0;
    listed.retain(|_| {
        let keep = dropped.binary_search(&number).is_err();
        number += 1;
        keep
    });
    distinct
}
