//! `repodata/` from a manifest: entries, and a source of their fragments.
//!
//! Nothing here looks at a tree of packages or at the clock. Revision, timestamps and the files' mtimes are the newest
//! mtime of the entries unless the options set them, so the same entries give the same bytes.
//!
//! Packages are listed as createrepo_c 1.2.5 does (`createrepo_c.c`, `task_cmp`): by the bytes of the file name, then
//! of its directory.
//!
//! With [`Layout::Frames`] a metadata file is made of independent frames ([`crate::frames`]), compressed on several
//! threads or, where the source has them, copied from an earlier file. Threads and copies change no byte.

mod databases;
mod framed;
mod output;

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{self, AtomicUsize};
use std::time::{Duration, SystemTime};

pub use self::databases::DatabaseOptions;
use self::output::{Output, Totals};
use crate::checksum::{Checksum, ChecksumType};
use crate::compression::{Compression, GZIP_LEVEL};
use crate::escape::is_forbidden;
use crate::fragment::{Fill, MetadataFile};
use crate::frames::{Cuts, Layout};
use crate::location::{self, LocationError};
use crate::records::{RecordId, RecordsError};
use crate::records_reader::FragmentSource;
use crate::repomd::{Repomd, RepomdRecord, Tags};

/// Text collected before it is hashed and compressed, in bytes.
const CHUNK: usize = 1024 * 1024;

/// One package of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its fragments.
    pub record: RecordId,
    /// Where it is: within the repository, or below `location_base`.
    pub location_href: String,
    /// URL or absolute path below which the location is, when that is not the repository.
    pub location_base: Option<String>,
    /// The file's mtime, seconds since 1970.
    pub mtime: u64,
    /// The file's checksum.
    pub checksum: Checksum,
    /// The file's size in bytes.
    pub size: u64,
}

impl Entry {
    /// What is written into the holes of its fragments.
    #[must_use]
    pub fn fill(&self) -> Fill<'_> {
        Fill {
            checksum: &self.checksum,
            mtime: self.mtime,
            size: self.size,
            location_href: &self.location_href,
            location_base: self.location_base.as_deref(),
        }
    }
}

/// Content of an additional metadata file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExtraContent {
    /// Bytes in memory.
    Bytes(Vec<u8>),
    /// A file, not compressed.
    File(PathBuf),
}

/// An additional metadata file: group file, modules, updateinfo, product id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extra {
    /// `type` in `repomd.xml`, such as `group`, `modules`, `updateinfo`.
    pub kind: String,
    /// File name without compression suffix, such as `comps.xml` or `modules.yaml`.
    pub name: String,
    /// Content.
    pub content: ExtraContent,
    /// Compression; that of the options when `None`.
    pub compression: Option<Compression>,
}

impl Extra {
    /// A group (comps) file.
    pub fn group(name: impl Into<String>, content: ExtraContent) -> Self {
        Self { kind: "group".into(), name: name.into(), content, compression: None }
    }

    /// Module metadata, `modules.yaml`.
    pub fn modules(content: ExtraContent) -> Self {
        Self { kind: "modules".into(), name: "modules.yaml".into(), content, compression: None }
    }
}

/// How group files are published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupStyle {
    /// One compressed file of type `group`, as createrepo_c 1.x does.
    #[default]
    Compressed,
    /// A plain file of type `group` and a compressed one of type `group_gz`, `group_xz`, …, as createrepo_c 0.x does;
    /// yum of RHEL 6 and 7 wants this.
    PlainAndCompressed,
}

/// What is asked of entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EntryRules {
    /// Each location is a plain path within the repository or below its base, and there once. Entries are put in order.
    #[default]
    Checked,
    /// Entries stay in the order in which they are given, locations may repeat and lead anywhere: what createrepo_c
    /// makes of a list of packages outside of the repository (`../Packages/x.rpm`, as Pungi and Koji write it).
    AsGiven,
}

/// How a repository is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriterOptions {
    /// What is asked of entries.
    pub entries: EntryRules,
    /// Compression of all files but `repomd.xml`.
    pub compression: Compression,
    /// How primary, filelists and other are laid out.
    pub layout: Layout,
    /// gzip level, 1 to 9.
    pub gzip_level: u32,
    /// Checksum type of the metadata files; packages bring their own.
    pub checksum_type: ChecksumType,
    /// Whether file names start with the file's checksum.
    pub unique_names: bool,
    /// How group files are published.
    pub group_style: GroupStyle,
    /// Revision; the timestamp when `None`.
    pub revision: Option<String>,
    /// Tags of the repository.
    pub tags: Tags,
    /// Timestamps and mtimes, seconds since 1970; the newest mtime of the entries when `None`.
    pub timestamp: Option<u64>,
    /// Whether there is `filelists-ext`, too; the source must know digests of files.
    pub filelists_ext: bool,
    /// SQLite databases besides; the source must know packages, not only their texts.
    pub databases: Option<DatabaseOptions>,
    /// Whether the caller knows that no two entries have the same name, EVR and architecture. Noted in the index of frames.
    pub distinct: bool,
    /// Whether large metadata files are brought to the disk while they are written, for callers who sync them all in the
    /// end: little is left to be waited for then.
    pub syncs_early: bool,
    /// Threads that compress.
    pub threads: usize,
}

impl Default for WriterOptions {
    /// createrepo_c 1.2.5's defaults but for the layout: zstd, SHA-256, unique names.
    fn default() -> Self {
        Self {
            entries: EntryRules::default(),
            compression: Compression::Zstd,
            layout: Layout::default(),
            gzip_level: GZIP_LEVEL,
            checksum_type: ChecksumType::Sha256,
            unique_names: true,
            group_style: GroupStyle::default(),
            revision: None,
            tags: Tags::default(),
            timestamp: None,
            filelists_ext: false,
            databases: None,
            distinct: false,
            syncs_early: false,
            threads: 3,
        }
    }
}

impl WriterOptions {
    /// The files that list packages, those that take long first.
    fn files(&self) -> impl Iterator<Item = MetadataFile> + use<> {
        let ext = self.filelists_ext.then_some(MetadataFile::FilelistsExt);
        ext.into_iter().chain([MetadataFile::Filelists, MetadataFile::Primary, MetadataFile::Other])
    }
}

/// One file that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenFile {
    /// Path relative to the output directory, such as `repodata/repomd.xml`.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
}

/// What was done for one metadata file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileWork {
    /// `type` in `repomd.xml`.
    pub kind: String,
    /// Frames of packages that were compressed; 1 for a file of one stream.
    pub frames_made: u64,
    /// Frames of packages that were copied from an earlier file.
    pub frames_copied: u64,
    /// Bytes of text that were compressed.
    pub bytes_compressed: u64,
    /// Bytes of compressed frames that were copied.
    pub bytes_copied: u64,
    /// Bytes that were hashed, of the text and of the file.
    pub bytes_hashed: u64,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenRepository {
    /// All files, sorted by path.
    pub files: Vec<WrittenFile>,
    /// The `repomd.xml` that was written.
    pub repomd: Repomd,
    /// Revision.
    pub revision: String,
    /// Timestamp of all records and mtime of all files.
    pub timestamp: u64,
    /// Bytes of metadata before compression.
    pub bytes_in: u64,
    /// Bytes of the files.
    pub bytes_out: u64,
    /// What was done for it, a file each but `repomd.xml`.
    pub work: Vec<FileWork>,
}

/// Why a repository could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriterError {
    /// Reading or writing failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// There is a `repodata` in the output directory.
    #[error("{} exists already (hint: write into an empty staging directory)", path.display())]
    Exists {
        /// The directory.
        path: PathBuf,
    },
    /// A package's location cannot be used.
    #[error("package location {href:?} {source}")]
    Location {
        /// The location or base.
        href: String,
        /// The cause.
        source: LocationError,
    },
    /// Two entries at one place.
    #[error("two packages have the location {href:?}")]
    SameLocation {
        /// The location.
        href: String,
    },
    /// An additional file's type or name cannot be used, or is taken.
    #[error("metadata file {name:?} of type {kind:?} {what}")]
    Extra {
        /// Type.
        kind: String,
        /// File name.
        name: String,
        /// What is wrong.
        what: &'static str,
    },
    /// A revision that XML cannot hold.
    #[error("revision {0:?} holds a control character")]
    Revision(String),
    /// A database could not be made.
    #[error("cannot write the database {}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: rusqlite::Error,
    },
    /// A tag that XML cannot hold.
    #[error("tag {0:?} holds a control character")]
    Tag(String),
    /// Fragments could not be read.
    #[error("cannot read the metadata of {href:?}")]
    Records {
        /// The package's location.
        href: String,
        /// The cause.
        #[source]
        source: RecordsError,
    },
}

/// Writes `repodata/` into a directory, which must not have one yet; the caller publishes it by rename.
///
/// Entries may come in any order.
///
/// # Errors
/// When an entry, an additional file or the options are not usable, or reading or writing fails. What was written by
/// then stays, without `repomd.xml`.
pub fn write_repository(
    out_dir: &Path,
    source: &dyn FragmentSource,
    entries: &[Entry],
    extras: &[Extra],
    options: &WriterOptions,
) -> Result<WrittenRepository, WriterError> {
    let order = check_entries(entries, options.entries)?;
    check_options(options)?;
    let timestamp = options.timestamp.unwrap_or_else(|| entries.iter().map(|entry| entry.mtime).max().unwrap_or(0));
    let repodata = out_dir.join("repodata");
    create_directory(&repodata)?;
    let jobs = jobs(extras, options)?;
    let cuts = Cuts::new(order.iter().map(|entry| entry.location_href.as_str()));
    let context = Context { repodata: &repodata, source, order: &order, cuts, options, timestamp };
    let (databases, jobs): (Vec<_>, Vec<_>) =
        jobs.into_iter().partition(|job| matches!(job.content, Content::Database(_)));
    let mut outputs = run_jobs(&context, &jobs)?;
    outputs.extend(databases::make(&context, &databases, &outputs)?);
    outputs.sort_by(|a, b| a.written.path.cmp(&b.written.path));
    let revision = options.revision.clone().unwrap_or_else(|| timestamp.to_string());
    let mut repomd = Repomd {
        revision: Some(revision.clone()),
        tags: options.tags.clone(),
        records: outputs.iter().map(|output| output.record.clone()).collect(),
        ..Repomd::default()
    };
    repomd.sort();
    let xml = repomd.to_xml();
    let (bytes_in, bytes_out) = outputs.iter().fold((xml.len() as u64, xml.len() as u64), |(open, size), output| {
        (open + output.open_size, size + output.written.size)
    });
    let (mut files, work): (Vec<_>, Vec<_>) = outputs.into_iter().map(|output| (output.written, output.work)).unzip();
    files.push(write_repomd(&repodata, &xml, timestamp)?);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(WrittenRepository { files, repomd, revision, timestamp, bytes_in, bytes_out, work })
}

fn check_options(options: &WriterOptions) -> Result<(), WriterError> {
    match &options.revision {
        Some(revision) if is_forbidden(revision) => Err(WriterError::Revision(revision.clone())),
        _ => match options.tags.texts().find(|text| is_forbidden(text)) {
            Some(text) => Err(WriterError::Tag(text.to_owned())),
            None => Ok(()),
        },
    }
}

/// Checks locations and returns the entries in the order of the files.
fn check_entries(entries: &[Entry], rules: EntryRules) -> Result<Vec<&Entry>, WriterError> {
    for entry in entries {
        let refuse = |href: &str, source| WriterError::Location { href: href.to_owned(), source };
        let check = match rules {
            EntryRules::Checked => location::check,
            EntryRules::AsGiven => location::check_text,
        };
        check(&entry.location_href).map_err(|error| refuse(&entry.location_href, error))?;
        if let Some(base) = &entry.location_base {
            location::check_base(base).map_err(|error| refuse(base, error))?;
        }
    }
    let mut order: Vec<&Entry> = entries.iter().collect();
    if rules == EntryRules::AsGiven {
        return Ok(order);
    }
    order.sort_by(|a, b| entry_order(a, b));
    for pair in order.windows(2) {
        if entry_order(pair[0], pair[1]) == Ordering::Equal {
            return Err(WriterError::SameLocation { href: pair[0].location_href.clone() });
        }
    }
    Ok(order)
}

fn entry_order(a: &Entry, b: &Entry) -> Ordering {
    let split =
        |entry: &Entry| -> (usize, usize) { entry.location_href.rfind('/').map_or((0, 0), |slash| (slash, slash + 1)) };
    let ((directory_a, name_a), (directory_b, name_b)) = (split(a), split(b));
    a.location_href[name_a..]
        .cmp(&b.location_href[name_b..])
        .then_with(|| a.location_href[..directory_a].cmp(&b.location_href[..directory_b]))
        .then_with(|| a.location_base.cmp(&b.location_base))
}

fn create_directory(repodata: &Path) -> Result<(), WriterError> {
    let exists = || WriterError::Exists { path: repodata.to_owned() };
    let io = |source| WriterError::Io { action: "create", path: repodata.to_owned(), source };
    match tutti_files::ensure_dir(repodata) {
        Ok(true) => Ok(()),
        // Ours, if the reply was lost; an empty one is as good.
        Ok(false) if fs::read_dir(repodata).map_err(io)?.next().is_none() => Ok(()),
        Ok(false) => Err(exists()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(exists()),
        Err(error) => Err(io(error)),
    }
}

/// One file to make.
struct Job<'a> {
    kind: String,
    name: String,
    compression: Compression,
    content: Content<'a>,
}

impl Job<'_> {
    fn is_framed(&self, options: &WriterOptions) -> bool {
        let can = matches!(self.compression, Compression::Zstd | Compression::Gzip);
        can && options.layout == Layout::Frames && matches!(self.content, Content::Packages(_))
    }
}

enum Content<'a> {
    Packages(MetadataFile),
    Database(MetadataFile),
    Extra(&'a ExtraContent),
}

fn jobs<'a>(extras: &'a [Extra], options: &WriterOptions) -> Result<Vec<Job<'a>>, WriterError> {
    // Filelists first: it takes longest.
    let mut jobs: Vec<Job<'a>> = options
        .files()
        .map(|file| Job {
            kind: file.name().to_owned(),
            name: format!("{}.xml", file.name()),
            compression: options.compression,
            content: Content::Packages(file),
        })
        .collect();
    for extra in extras {
        let compression = extra.compression.unwrap_or(options.compression);
        let mut add = |kind: String, compression| {
            jobs.push(Job { kind, name: extra.name.clone(), compression, content: Content::Extra(&extra.content) });
        };
        let plain_too = extra.kind == "group" && options.group_style == GroupStyle::PlainAndCompressed;
        if plain_too && compression != Compression::None {
            add("group".into(), Compression::None);
            add(format!("group_{}", compression.suffix().trim_start_matches('.')), compression);
        } else {
            add(extra.kind.clone(), compression);
        }
    }
    jobs.extend(options.databases.iter().flat_map(|databases| databases::jobs(databases, options)));
    check_jobs(&jobs)?;
    Ok(jobs)
}

/// Types and names are used once, and names are plain file names.
fn check_jobs(jobs: &[Job<'_>]) -> Result<(), WriterError> {
    let mut taken = BTreeSet::from([String::from("repomd.xml")]);
    let mut kinds = BTreeSet::new();
    for job in jobs {
        let refuse = |what| Err(WriterError::Extra { kind: job.kind.clone(), name: job.name.clone(), what });
        if job.kind.is_empty() || is_forbidden(&job.kind) {
            return refuse("has no usable type");
        }
        if location::check(&job.name).is_err() || job.name.contains('/') {
            return refuse("has no usable file name");
        }
        if !kinds.insert(&job.kind) || !taken.insert(format!("{}{}", job.name, job.compression.suffix())) {
            return refuse("is there already");
        }
    }
    Ok(())
}

struct Context<'a> {
    repodata: &'a Path,
    source: &'a dyn FragmentSource,
    order: &'a [&'a Entry],
    cuts: Cuts<'a>,
    options: &'a WriterOptions,
    timestamp: u64,
}

impl Context<'_> {
    /// Files in frames that are made at the same time.
    fn at_once(&self) -> usize {
        if self.order.len() < MANY { 1 } else { self.options.threads.min(FRAMED) }
    }

    /// Where a file is until its name is known.
    fn partial(&self, job: &Job<'_>) -> PathBuf {
        self.repodata.join(format!(".{}.partial", job.file_name()))
    }
}

impl Job<'_> {
    fn file_name(&self) -> String {
        format!("{}{}", self.name, self.compression.suffix())
    }
}

struct Made {
    record: RepomdRecord,
    written: WrittenFile,
    open_size: u64,
    work: FileWork,
}

/// Files in frames that are made at the same time: filelists and one of the others.
const FRAMED: usize = 2;
/// Packages from which on that is done: before, the memory of another compressor, some 5 MB, counts more than the time.
const MANY: usize = 2000;

/// Files in frames are made first, each on all threads, then the others.
fn run_jobs(context: &Context<'_>, jobs: &[Job<'_>]) -> Result<Vec<Made>, WriterError> {
    let (framed, streams): (Vec<_>, Vec<_>) = jobs.iter().partition(|job| job.is_framed(context.options));
    let mut made = at_once(context.at_once(), &framed, |job| make_file(context, job))?;
    made.extend(at_once(context.options.threads, &streams, |job| make_file(context, job))?);
    Ok(made)
}

/// Runs jobs on a bounded number of threads; the first error, in the order of jobs, wins.
fn at_once<'a, T: Send>(
    threads: usize,
    jobs: &[&Job<'a>],
    make: impl Fn(&Job<'a>) -> Result<T, WriterError> + Sync,
) -> Result<Vec<T>, WriterError> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(jobs.len()));
    let work = || {
        loop {
            let number = next.fetch_add(1, atomic::Ordering::Relaxed);
            let Some(job) = jobs.get(number) else { return };
            let result = make(job);
            results.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((number, result));
        }
    };
    let threads = threads.clamp(1, jobs.len().max(1));
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    let mut results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    results.sort_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}

fn make_file(context: &Context<'_>, job: &Job<'_>) -> Result<Made, WriterError> {
    let path = context.partial(job);
    let io = |action, source| WriterError::Io { action, path: path.clone(), source };
    let mut totals = match &job.content {
        Content::Packages(file) if job.is_framed(context.options) => {
            framed::write(context, *file, job.compression, &path)?
        }
        content => {
            let output = Output::create(&path, job.compression, context.options);
            let mut output = output.map_err(|source| io("create", source))?;
            match content {
                Content::Packages(file) => write_packages(context, *file, &mut output, &path)?,
                Content::Extra(content) => write_extra(content, &mut output, &path)?,
                Content::Database(_) => {}
            }
            output.finish(context.timestamp).map_err(|source| io("write", source))?
        }
    };
    totals.work.kind.clone_from(&job.kind);
    publish(context, job, totals)
}

/// Gives a file that is whole its name, and makes its record.
fn publish(context: &Context<'_>, job: &Job<'_>, totals: Totals) -> Result<Made, WriterError> {
    let (path, file_name) = (context.partial(job), job.file_name());
    let io = |action, source| WriterError::Io { action, path: path.clone(), source };
    let name = match context.options.unique_names {
        true => format!("{}-{file_name}", totals.checksum.hex()),
        false => file_name,
    };
    tutti_files::rename(&path, &context.repodata.join(&name)).map_err(|source| io("rename", source))?;
    let compressed = job.compression != Compression::None;
    let href = format!("repodata/{name}");
    let record = RepomdRecord {
        kind: job.kind.clone(),
        checksum: totals.checksum,
        open_checksum: compressed.then_some(totals.open_checksum),
        location_href: href.clone(),
        location_base: None,
        timestamp: context.timestamp,
        size: Some(totals.size),
        open_size: compressed.then_some(totals.open_size),
        header: None,
        database_version: None,
    };
    let written = WrittenFile { path: href, size: totals.size, sha256: totals.sha256.hex().to_owned() };
    Ok(Made { record, written, open_size: totals.open_size, work: totals.work })
}

/// Name and name spaces of the files' root: createrepo_c 1.2.5 `xml_file.c`.
fn root(file: MetadataFile) -> (&'static str, &'static str) {
    match file {
        MetadataFile::Primary => ("metadata", "common\" xmlns:rpm=\"http://linux.duke.edu/metadata/rpm"),
        MetadataFile::Filelists => ("filelists", "filelists"),
        MetadataFile::Other => ("otherdata", "other"),
        MetadataFile::FilelistsExt => ("filelists-ext", "filelists-ext"),
    }
}

pub(crate) fn head(file: MetadataFile, packages: usize) -> Vec<u8> {
    let (root, name_spaces) = root(file);
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{root} xmlns=\"http://linux.duke.edu/metadata/{name_spaces}\" packages=\"{packages}\">\n"
    )
    .into_bytes()
}

/// The end of a file. No newline, as in createrepo_c.
pub(crate) fn tail(file: MetadataFile) -> Vec<u8> {
    format!("</{}>", root(file).0).into_bytes()
}

fn records_error(entry: &Entry, source: RecordsError) -> WriterError {
    WriterError::Records { href: entry.location_href.clone(), source }
}

fn render(context: &Context<'_>, entry: &Entry, file: MetadataFile, out: &mut Vec<u8>) -> Result<(), WriterError> {
    context.source.render(entry.record, file, &entry.fill(), out).map_err(|source| records_error(entry, source))
}

fn write_packages(
    context: &Context<'_>,
    file: MetadataFile,
    output: &mut Output,
    path: &Path,
) -> Result<(), WriterError> {
    let io = |source| WriterError::Io { action: "write", path: path.to_owned(), source };
    let mut chunk = Vec::with_capacity(CHUNK + CHUNK / 4);
    chunk.extend_from_slice(&head(file, context.order.len()));
    for entry in context.order {
        render(context, entry, file, &mut chunk)?;
        if chunk.len() >= CHUNK {
            output.write_all(&chunk).map_err(io)?;
            chunk.clear();
        }
    }
    chunk.extend_from_slice(&tail(file));
    output.write_all(&chunk).map_err(io)
}

fn write_extra(content: &ExtraContent, output: &mut Output, path: &Path) -> Result<(), WriterError> {
    let io = |source| WriterError::Io { action: "write", path: path.to_owned(), source };
    match content {
        ExtraContent::Bytes(bytes) => output.write_all(bytes).map_err(io),
        ExtraContent::File(from) => {
            let read = |source| WriterError::Io { action: "read", path: from.clone(), source };
            let mut input = BufReader::new(File::open(from).map_err(read)?);
            let mut buffer = vec![0; 64 * 1024];
            loop {
                match input.read(&mut buffer).map_err(read)? {
                    0 => return Ok(()),
                    length => output.write_all(&buffer[..length]).map_err(io)?,
                }
            }
        }
    }
}

/// Writes `repomd.xml`, the last of the files.
fn write_repomd(repodata: &Path, xml: &[u8], timestamp: u64) -> Result<WrittenFile, WriterError> {
    let path = repodata.join("repomd.xml");
    let write = || -> io::Result<()> {
        let mut file = File::create_new(&path)?;
        file.write_all(xml)?;
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(timestamp))
    };
    write().map_err(|source| WriterError::Io { action: "write", path: path.clone(), source })?;
    let sha256 = ChecksumType::Sha256.hash(xml).hex().to_owned();
    Ok(WrittenFile { path: "repodata/repomd.xml".into(), size: xml.len() as u64, sha256 })
}
