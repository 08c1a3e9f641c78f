//! Several repositories merged into one: mergerepo_c 1.2.5, with its koji mode.
//!
//! Two passes: `primary` of all repositories says what is chosen, then the chosen packages become records, one after
//! the other. Memory grows with the number of packages, not with their contents.

pub mod arches;
mod select;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use tutti_repodata::{
    Compression, DatabaseOptions, Entry, EntryRules, Extra, ExtraContent, FileIdentity, FragmentOptions, Layout,
    ReadOptions, Record, RecordsReader, RecordsWriter, RepoPackage, Repomd, Repository, RepositoryError, WriterOptions,
    write_repository,
};

use self::select::{Candidate, Place, Selection};
use crate::create::write_repomd;
use crate::error::Error;
use crate::events::Control;
use crate::metadata_file::{MAX_WHOLE, without_suffix};
use crate::options::Retain;
use crate::stage::Stage;

/// Types of records in their order.
const RECORDS: [&str; 10] = [
    "primary",
    "filelists",
    "other",
    "primary_db",
    "filelists_db",
    "other_db",
    "group",
    "updateinfo",
    "origin",
    "modules",
];

/// Which of two packages of one name and architecture is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// That of the first repository.
    #[default]
    Repo,
    /// The one with the later file time.
    Time,
    /// The one with the higher version.
    Version,
}

/// Koji mode.
#[derive(Clone, Debug, Default)]
pub struct Koji {
    /// Keep all packages, of any source and with any NEVRA.
    pub simple: bool,
    /// Names of source packages whose packages are left out.
    pub blocked: HashSet<String>,
}

/// A repository to merge.
pub struct Source {
    /// As it was named.
    pub given: String,
    /// What its packages' locations are relative to, when they have no base.
    pub base: String,
    /// Opens it; may be called more than once.
    pub open: Box<dyn Fn() -> Result<Repository, RepositoryError>>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Source({})", self.given)
    }
}

/// What is asked for.
#[derive(Debug, Default)]
pub struct MergeOptions {
    /// Repositories; the first counts most.
    pub sources: Vec<Source>,
    /// Directory in which `repodata/` is made.
    pub output: PathBuf,
    /// Architectures to take; all if `None`.
    pub arches: Option<Vec<String>>,
    /// Which of two packages is taken.
    pub method: Method,
    /// Take all that differ in epoch, version or release.
    pub all: bool,
    /// Koji mode.
    pub koji: Option<Koji>,
    /// Write `pkgorigins`, which koji mode always does.
    pub origins: bool,
    /// Add no base to packages.
    pub omit_base: bool,
    /// Group file; that of the first repository that has one if `None`.
    pub group_file: Option<PathBuf>,
    /// Write an empty updateinfo, as mergerepo_c does.
    pub empty_updateinfo: bool,
    /// Compression of all but `pkgorigins`, which is gzip; zstd if `None`.
    pub compression: Option<Compression>,
    /// SQLite databases.
    pub databases: Option<DatabaseOptions>,
    /// File names without checksums.
    pub simple_names: bool,
    /// Revision; that of the timestamp if `None`.
    pub revision: Option<String>,
    /// Timestamp, seconds since 1970; the newest of the packages' if `None`.
    pub timestamp: Option<u64>,
}

impl MergeOptions {
    pub(self) fn keeps_all(&self) -> bool {
        self.all || self.koji.is_some()
    }

    /// Whether there are `pkgorigins`.
    fn has_origins(&self) -> bool {
        self.origins || self.koji.is_some()
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Merged {
    /// Number of packages.
    pub packages: usize,
    /// Locations of packages that name no source package, with their repositories: koji mode takes them all.
    pub without_source: Vec<(String, String)>,
    /// Its `repomd.xml`.
    pub repomd: Repomd,
}

/// Merges repositories.
///
/// # Errors
/// When a repository cannot be read, somebody else is at the output, or the volume fails. What was there is then as it
/// was.
pub fn merge(options: &MergeOptions, control: Control<'_>) -> Result<Merged, Error> {
    fs::create_dir_all(&options.output).map_err(Error::io("create", &options.output))?;
    let stage = Stage::open(&options.output, false)?;
    let repositories = open(&options.sources)?;
    let mut candidates = Vec::new();
    for (source, repository) in options.sources.iter().zip(&repositories) {
        candidates.push(list(source, repository, control)?);
    }
    let selection = select::select(&candidates, options);
    let (entries, reader) = records(options, &repositories, &candidates, &selection, &stage, control)?;
    let extras = extras(options, &repositories, &candidates, &selection)?;
    let writer = WriterOptions {
        entries: EntryRules::AsGiven,
        compression: options.compression.unwrap_or(Compression::Zstd),
        layout: Layout::OneStream,
        unique_names: !options.simple_names,
        revision: options.revision.clone(),
        timestamp: options.timestamp,
        databases: options.databases.clone(),
        ..WriterOptions::default()
    };
    let written = write_repository(stage.root(), &reader, &entries, &extras, &writer)?;
    let mut repomd = written.repomd;
    // Not sorted there.
    let rank = |kind: &str| RECORDS.iter().position(|known| *known == kind);
    repomd.records.sort_by_key(|record| rank(&record.kind));
    write_repomd(&stage.repodata(), &repomd, Some(written.timestamp))?;
    control.check()?;
    stage.publish(Retain::Newest(0))?;
    let without_source = selection
        .without_source
        .iter()
        .map(|place| {
            let href = candidates[place.repository][place.number].href.clone();
            (href, options.sources[place.repository].given.clone())
        })
        .collect();
    Ok(Merged { packages: entries.len(), without_source, repomd })
}

fn failed(source: &Source) -> impl Fn(RepositoryError) -> Error {
    let path = PathBuf::from(&source.given);
    move |source| Error::Repository { path: path.clone(), source }
}

fn open(sources: &[Source]) -> Result<Vec<Repository>, Error> {
    sources.iter().map(|source| (source.open)().map_err(failed(source))).collect()
}

/// What `primary` of a repository says.
fn list(source: &Source, repository: &Repository, control: Control<'_>) -> Result<Vec<Candidate>, Error> {
    let lean = ReadOptions { filelists: false, other: false, any_location: true };
    let mut found = Vec::new();
    for package in repository.packages(lean).map_err(failed(source))? {
        control.check()?;
        let RepoPackage { package, location_href, size, mtime, checksum, .. } = package.map_err(failed(source))?;
        found.push(Candidate {
            id: checksum.hex().to_owned(),
            name: package.name,
            arch: package.arch,
            evr: package.evr,
            source_rpm: package.source_rpm,
            href: location_href,
            mtime,
            size,
        });
    }
    Ok(found)
}

/// Makes records of the chosen packages, and their entries in mergerepo_c's order: name, location, base.
fn records(
    options: &MergeOptions,
    repositories: &[Repository],
    candidates: &[Vec<Candidate>],
    selection: &Selection,
    stage: &Stage,
    control: Control<'_>,
) -> Result<(Vec<Entry>, RecordsReader), Error> {
    let mut wanted: BTreeMap<Place, usize> = BTreeMap::new();
    for place in &selection.places {
        *wanted.entry(*place).or_default() += 1;
    }
    let path = stage.root().join("records");
    let mut records = RecordsWriter::create(&path)?;
    let mut entries: Vec<(String, Entry)> = Vec::new();
    for (number, repository) in repositories.iter().enumerate() {
        let source = &options.sources[number];
        // The first repository is koji's own.
        let own = options.has_origins() && number == 0;
        let base = (!own && !options.omit_base).then_some(&source.base);
        let read = ReadOptions { any_location: true, ..ReadOptions::default() };
        for (place, package) in repository.packages(read).map_err(failed(source))?.enumerate() {
            control.check()?;
            let package = package.map_err(failed(source))?;
            let place = Place { repository: number, number: place };
            if !wanted.contains_key(&place) {
                continue;
            }
            debug_assert_eq!(candidates[number][place.number].href, package.location_href);
            entries.push(keep(package, base, &mut records)?);
        }
    }
    records.seal_for_now()?;
    entries.sort_by(|(name_a, a), (name_b, b)| {
        (name_a, &a.location_href, &a.location_base).cmp(&(name_b, &b.location_href, &b.location_base))
    });
    Ok((entries.into_iter().map(|(_, entry)| entry).collect(), RecordsReader::open(&path)?))
}

fn keep(package: RepoPackage, base: Option<&String>, records: &mut RecordsWriter) -> Result<(String, Entry), Error> {
    let RepoPackage { package, location_href, location_base, size, mtime, checksum } = package;
    let identity = FileIdentity { size, mtime, checksum };
    let record = Record::make(&package, &identity, &FragmentOptions { changelog_limit: None })
        .map_err(tutti_repodata::RecordsError::Fragment)?;
    let record = records.add_record(&record)?;
    let FileIdentity { size, mtime, checksum } = identity;
    let location_base = location_base.or_else(|| base.cloned());
    Ok((package.name, Entry { record, location_href, location_base, mtime, checksum, size }))
}

fn extras(
    options: &MergeOptions,
    repositories: &[Repository],
    candidates: &[Vec<Candidate>],
    selection: &Selection,
) -> Result<Vec<Extra>, Error> {
    let mut extras = Vec::new();
    extras.extend(group(options, repositories)?);
    let plain = |kind: &str, name: &str, text: String| Extra {
        kind: kind.to_owned(),
        name: name.to_owned(),
        content: ExtraContent::Bytes(text.into_bytes()),
        compression: None,
    };
    if options.empty_updateinfo {
        let empty = "<?xml version=\"1.0\"?>\n<updates></updates>\n".to_owned();
        extras.push(plain("updateinfo", "updateinfo.xml", empty));
    }
    if options.has_origins() {
        let lines = origins(options, candidates, selection);
        extras.push(Extra { compression: Some(Compression::Gzip), ..plain("origin", "pkgorigins", lines) });
    }
    if let Some(text) = modules(options, repositories)? {
        extras.push(plain("modules", "modules.yaml", text));
    }
    Ok(extras)
}

fn group(options: &MergeOptions, repositories: &[Repository]) -> Result<Option<Extra>, Error> {
    if let Some(path) = &options.group_file {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let content = ExtraContent::Bytes(crate::metadata_file::read_open(path)?);
        return Ok(Some(Extra::group(without_suffix(&name), content)));
    }
    for (source, repository) in options.sources.iter().zip(repositories) {
        let Some(record) = repository.repomd().record("group") else { continue };
        let bytes = repository.read(record, MAX_WHOLE).map_err(failed(source))?;
        let name = record.location_href.rsplit('/').next().unwrap_or_default();
        let name = crate::metadata_file::without_checksum(without_suffix(name));
        return Ok(Some(Extra::group(name, ExtraContent::Bytes(bytes))));
    }
    Ok(None)
}

fn modules(options: &MergeOptions, repositories: &[Repository]) -> Result<Option<String>, Error> {
    let mut texts = Vec::new();
    for (source, repository) in options.sources.iter().zip(repositories) {
        let Some(record) = repository.modules() else { continue };
        let bytes = repository.read(record, MAX_WHOLE).map_err(failed(source))?;
        let text = String::from_utf8(bytes).map_err(|_| {
            let error = std::io::Error::other("module metadata must be UTF-8");
            Error::io("read the modules of", Path::new(&source.given))(error)
        })?;
        texts.push(text);
    }
    if texts.is_empty() {
        return Ok(None);
    }
    Ok(Some(crate::additional::merged_documents(texts.iter().map(String::as_str))))
}

/// A line for each package: NVRA, tab, repository.
fn origins(options: &MergeOptions, candidates: &[Vec<Candidate>], selection: &Selection) -> String {
    let kept: BTreeSet<Place> = selection.places.iter().copied().collect();
    let mut lines = String::new();
    for place in &selection.origins {
        debug_assert!(!options.keeps_all() || kept.contains(place));
        let given = options.sources[place.repository].given.trim_end_matches('/');
        let scheme = if given.starts_with('/') { "file://" } else { "" };
        lines += &format!("{}\t{scheme}{given}/\n", candidates[place.repository][place.number].nvra());
    }
    lines
}
