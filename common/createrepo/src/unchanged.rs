//! An update that changes nothing, found out without making anything: `primary` of the old metadata is read, its packages
//! are compared with the files that are there, and the metadata files with their checksums. Filelists and other are
//! hashed and not decompressed; nothing is compressed. Metadata in frames are not even parsed.
//!
//! Whatever is not plainly the same is left to the run that makes the metadata, which compares what it has made.

use std::path::Path;

use tutti_repodata::{PreviousPackage, ReadOptions, RepoPackage, Repomd, RepomdRecord, Repository};

use crate::additional::is_additional;
use crate::earlier::{Earlier, Framed};
use crate::error::Error;
use crate::events::{Control, Event};
use crate::metadata_file::{record_of, unique_name, without_checksum};
use crate::old::{Facts, is_same_file, same_files};
use crate::options::{Duplicates, Options, Retain};
use crate::packages::tell_duplicates;
use crate::tasks::{Task, Tasks};

/// Filelists with digests of files.
const EXT: &str = "filelists-ext";

/// The old `repomd.xml`, if the new one would be the same but for times, and the number of packages.
pub(crate) fn find(
    options: &Options,
    output: &Path,
    tasks: &Tasks,
    earlier: &Earlier,
    control: Control<'_>,
) -> Result<Option<Repomd>, Error> {
    if !is_simple(options) || !tasks.modules.is_empty() || !tasks.broken.is_empty() {
        return Ok(None);
    }
    let Ok(repository) = Repository::open_local(output) else { return Ok(None) };
    // Files of a repository that was opened by frames were hashed then.
    let framed = earlier.get(output).filter(|framed| framed.repomd == *repository.repomd());
    let hash = if framed.is_some() { Hash::Additional } else { Hash::All };
    if !are_files_equal(options, output, repository.repomd(), hash) {
        return Ok(None);
    }
    let facts = match framed {
        Some(framed) => framed_packages(options, framed, tasks),
        None => packages(options, &repository, tasks, control)?,
    };
    let Some(facts) = facts else { return Ok(None) };
    control.tell(Event::OldMetadata(output));
    control.tell(Event::OldPackages(facts.len()));
    for task in &tasks.packages {
        control.tell(Event::Package { href: &task.href, reused: true });
    }
    control.tell(Event::ReadingDone { broken: 0 });
    let named: Vec<(&str, &Facts)> =
        tasks.packages.iter().zip(&facts).map(|(task, facts)| (task.href.as_str(), facts)).collect();
    tell_duplicates(&named, control);
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

/// As [`packages`], without parsing.
fn framed_packages(options: &Options, framed: &Framed, tasks: &Tasks) -> Option<Vec<Facts>> {
    let packages = framed.previous.packages();
    let base_url = options.location.base_url.as_ref();
    let is_there = |(package, task): (&PreviousPackage, &Task)| {
        package.location_href == task.href && base_url.is_none_or(|base| package.location_base.as_ref() == Some(base))
    };
    let pairs: Vec<(&PreviousPackage, &Task)> = packages.iter().zip(&tasks.packages).collect();
    let same = packages.len() == tasks.packages.len()
        && pairs.iter().copied().all(is_there)
        && same_files(options, &pairs).into_iter().all(|same| same);
    same.then(|| packages.iter().map(Facts::from).collect())
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
        let base_url = options.location.base_url.as_ref();
        let is_there = |package: &RepoPackage| {
            package.location_href == task.href
                && base_url.is_none_or(|base| package.location_base.as_ref() == Some(base))
                && is_same_file(options, task, (package.size, package.mtime, &package.checksum))
        };
        if !is_there(&package) {
            return Ok(None);
        }
        facts.push(Facts::of(&package.package));
    }
    Ok((facts.len() == tasks.packages.len()).then_some(facts))
}
