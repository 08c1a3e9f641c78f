//! An update that changes nothing, found out without making anything: the packages of the old metadata are compared with the
//! files that are there, and the metadata files with their checksums. Filelists and other are hashed and not decompressed;
//! nothing is compressed. Of metadata in frames not even primary is decompressed: the index has a digest of what it says of
//! files.
//!
//! Whatever is not plainly the same is left to the run that makes the metadata, which compares what it has made.

use std::path::Path;

use tutti_repodata::{
    Listing, ListingHasher, PreviousPackage, ReadOptions, RepoPackage, Repomd, RepomdRecord, Repository,
};

use crate::additional::is_additional;
use crate::earlier::{Earlier, Framed};
use crate::error::Error;
use crate::events::{Control, Event};
use crate::metadata_file::{record_of, unique_name, without_checksum};
use crate::old::{Facts, is_same_file};
use crate::options::{Duplicates, Options, Retain};
use crate::packages::tell_duplicates;
use crate::stat::Stat;
use crate::tasks::{Task, Tasks};

/// Filelists with digests of files.
const EXT: &str = "filelists-ext";

/// The old `repomd.xml`, if the new one would be the same but for times.
pub(crate) fn find(
    options: &Options,
    output: &Path,
    tasks: &Tasks,
    earlier: &mut Earlier,
    control: Control<'_>,
) -> Result<Option<Repomd>, Error> {
    if !is_simple(options) || !tasks.modules.is_empty() || !tasks.broken.is_empty() {
        return Ok(None);
    }
    let Ok(repository) = Repository::open_local(output) else { return Ok(None) };
    // Files of a repository that was opened by frames were hashed then.
    let opened = earlier.opened(output).filter(|(repomd, _)| *repomd == repository.repomd());
    let hash = if opened.is_some() { Hash::Additional } else { Hash::All };
    if !are_files_equal(options, output, repository.repomd(), hash) {
        return Ok(None);
    }
    let facts = match opened {
        Some((_, Some(Listing { digest, distinct: true }))) if digest_of(options, tasks) == Some(*digest) => Some(None),
        Some(_) => {
            earlier.look(options.reading.workers);
            framed_packages(options, earlier.get(output), tasks).map(Some)
        }
        None => packages(options, &repository, tasks, control)?.map(Some),
    };
    let Some(facts) = facts else { return Ok(None) };
    control.tell(Event::OldMetadata(output));
    control.tell(Event::OldPackages(tasks.packages.len()));
    for task in &tasks.packages {
        control.tell(Event::Package { href: task.href(), reused: true });
    }
    control.tell(Event::ReadingDone { broken: 0 });
    if let Some(facts) = facts {
        let named: Vec<(&str, &Facts)> = tasks.packages.iter().map(Task::href).zip(&facts).collect();
        tell_duplicates(&named, control);
    }
    Ok(Some(repository.repomd().clone()))
}

/// Whether all files that a `repomd.xml` lists are what it says: a damaged one is to be replaced, by an equal one too.
pub(crate) fn are_files_whole(output: &Path, repomd: &Repomd) -> bool {
    repomd.records.iter().filter(|record| record.location_base.is_none()).all(|record| is_whole(output, record))
}

fn is_whole(output: &Path, record: &RepomdRecord) -> bool {
    let sum = record.checksum.kind().hash_file(&output.join(&record.location_href));
    sum.is_ok_and(|(sum, size)| sum == record.checksum && record.size.is_none_or(|known| known == size))
}

/// Which files are hashed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hash {
    All,
    Additional,
}

/// Whether options ask for nothing that needs more than a look.
fn is_simple(options: &Options) -> bool {
    let Options { update, metadata, reading, duplicates, .. } = options;
    update.packages
        && !update.recycle_list
        && !update.discard_additional
        && update.paths.is_empty()
        && *duplicates == Duplicates::Keep
        && metadata.group_file.is_none()
        && metadata.retain == Retain::Unlisted
        && reading.read_list.is_none()
        && !reading.verify_payload
}

/// Whether the metadata files are of the kind that is asked for, and what `repomd.xml` says of them.
fn are_files_equal(options: &Options, output: &Path, repomd: &Repomd, hash: Hash) -> bool {
    let metadata = &options.metadata;
    let own: Vec<&RepomdRecord> = repomd.records.iter().filter(|record| !is_additional(&record.kind)).collect();
    let kinds: Vec<&str> = own.iter().map(|record| record.kind.as_str()).collect();
    let is_named = |record: &&RepomdRecord| {
        let wanted = match (record.kind.strip_suffix("_db"), &metadata.databases) {
            (Some(kind), Some(databases)) => format!("{kind}.sqlite{}", databases.compression.suffix()),
            _ => format!("{}.xml{}", record.kind, metadata.compression.suffix()),
        };
        record.location_href.strip_prefix("repodata/").is_some_and(|name| match metadata.unique_names {
            true => name == unique_name(&wanted, record.checksum.hex()),
            false => name == wanted,
        })
    };
    let mut wanted = vec!["primary", "filelists", "other"];
    if metadata.databases.is_some() {
        wanted.extend(["primary_db", "filelists_db", "other_db"]);
    }
    if metadata.filelists_ext {
        wanted.push(EXT);
        wanted.extend(metadata.databases.is_some().then_some("filelists-ext_db"));
    }
    if kinds != wanted
        || !own.iter().all(is_named)
        || repomd.tags != metadata.tags
        || repomd.repoid.is_some()
        || repomd.contenthash.is_some()
    {
        return false;
    }
    repomd.records.iter().all(|record| is_file_equal(options, output, record, hash))
}

fn is_file_equal(options: &Options, output: &Path, record: &RepomdRecord, hash: Hash) -> bool {
    let path = output.join(&record.location_href);
    let kind = options.metadata.checksum;
    if record.checksum.kind() != kind || record.location_base.is_some() {
        return false;
    }
    if !is_additional(&record.kind) {
        let is_hashed = hash == Hash::Additional && !record.kind.ends_with("_db") && record.kind != EXT;
        return is_hashed || is_whole(output, record);
    }
    // What would be kept gets a new record and perhaps a new name.
    let name = record.location_href.rsplit('/').next().unwrap_or_default();
    let named = !options.metadata.unique_names || name == unique_name(without_checksum(name), record.checksum.hex());
    let made = record_of(&path, &record.kind, kind);
    named && made.is_ok_and(|made| RepomdRecord { timestamp: record.timestamp, ..made } == *record)
}

/// The digest that an index has if files and options are those that its metadata were made of.
fn digest_of(options: &Options, tasks: &Tasks) -> Option<[u8; 32]> {
    let mut hasher = ListingHasher::default();
    let base = options.location.base_url.as_deref();
    for task in &tasks.packages {
        let Stat { size, mtime } = task.stat?;
        hasher.add(task.href(), base, size, mtime, options.reading.checksum);
    }
    Some(hasher.finish())
}

/// As [`packages`], without parsing.
fn framed_packages(options: &Options, framed: Option<&Framed>, tasks: &Tasks) -> Option<Vec<Facts>> {
    let packages = framed?.previous.packages();
    let is_there = |(number, package): (usize, &PreviousPackage)| {
        let PreviousPackage { location_href, location_base, size, mtime, checksum, .. } = package;
        is_at(options, &tasks.packages[number], location_href, location_base.as_ref())
            && is_same_file(options, &tasks.packages[number], (*size, *mtime, checksum))
    };
    let same = packages.len() == tasks.packages.len() && packages.iter().enumerate().all(is_there);
    same.then(|| packages.iter().map(Facts::from).collect())
}

/// Whether a package of old metadata is where it would be put.
fn is_at(options: &Options, task: &Task, href: &str, base: Option<&String>) -> bool {
    href == task.href() && options.location.base_url.as_ref().is_none_or(|wanted| base == Some(wanted))
}

/// What the packages of `primary` say, if they are the files that are there, in the same order.
fn packages(
    options: &Options,
    repository: &Repository,
    tasks: &Tasks,
    control: Control<'_>,
) -> Result<Option<Vec<Facts>>, Error> {
    let lean = ReadOptions { filelists: false, other: false, any_location: true };
    let Ok(list) = repository.packages(lean) else { return Ok(None) };
    let mut facts = Vec::with_capacity(tasks.packages.len());
    for package in list {
        control.check()?;
        let Ok(package) = package else { return Ok(None) };
        let Some(task) = tasks.packages.get(facts.len()) else { return Ok(None) };
        let RepoPackage { location_href, location_base, size, mtime, checksum, .. } = &package;
        if !is_at(options, task, location_href, location_base.as_ref())
            || !is_same_file(options, task, (*size, *mtime, checksum))
        {
            return Ok(None);
        }
        facts.push(Facts::of(&package.package));
    }
    Ok((facts.len() == tasks.packages.len()).then_some(facts))
}
