//! Repositories that others made.
//!
//! Everything read is hostile: sizes are bounded, checksums of the files and of their content are compared with
//! `repomd.xml`, and locations that leave the repository are errors. Files are streamed, so their checksums are known
//! only at their end: **packages may be used only when the iterator has ended without an error**.
//!
//! How files are fetched is the caller's business: a function gives a reader for a path relative to the repository.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tutti_rpm::{Changelog, FileEntry, Package};

use crate::checksum::{Checksum, Hasher};
use crate::compression::Compression;
use crate::location;
use crate::parse::{Filelists, ListReader, ListState, Other, Primary};
use crate::repomd::{Repomd, RepomdRecord, parse_repomd};

/// Largest `repomd.xml`, in bytes.
const MAX_REPOMD: u64 = 16 * 1024 * 1024;
/// Largest metadata file, in bytes, where `repomd.xml` says no size or a larger one.
const MAX_FILE: u64 = 4 << 30;
/// Largest decompressed metadata file, in bytes, where `repomd.xml` says no size or a larger one.
const MAX_OPEN: u64 = 16 << 30;
/// Most files and changelog entries kept of packages that `primary` has not come to yet.
const MAX_WAITING: usize = 20_000_000;

/// Gives a reader for a path relative to the repository, such as `repodata/repomd.xml`.
pub type Fetch = Box<dyn Fn(&str) -> io::Result<Box<dyn Read + Send>> + Send + Sync>;

/// One package of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepoPackage {
    /// Its facts, as far as the metadata has them.
    pub package: Package,
    /// Location, checked by [`location::check`].
    pub location_href: String,
    /// `xml:base`.
    pub location_base: Option<String>,
    /// Size of the file in bytes.
    pub size: u64,
    /// mtime of the file, seconds since 1970.
    pub mtime: u64,
    /// Checksum of the file.
    pub checksum: Checksum,
}

/// Which metadata files are read besides `primary`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadOptions {
    /// Whole file lists. Without them a package has the files of `primary` alone.
    pub filelists: bool,
    /// Changelogs.
    pub other: bool,
    /// Locations may lead anywhere (`../Packages/x.rpm`, as Pungi and Koji have it): for readers that open no file there.
    pub any_location: bool,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { filelists: true, other: true, any_location: false }
    }
}

/// Why a repository cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// A file cannot be fetched or opened.
    #[error("cannot open {file} of the repository")]
    Open {
        /// Path relative to the repository.
        file: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A file cannot be read or decompressed.
    #[error("cannot read {file} of the repository")]
    Read {
        /// Path relative to the repository.
        file: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{file} at byte {offset}: {what}")]
    Invalid {
        /// Path relative to the repository.
        file: String,
        /// Byte in the decompressed file.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// A file does not fit `repomd.xml`.
    #[error(
        "{file} does not match repomd.xml: {what} should be {expected}, is {actual} (hint: the repository is damaged, or was replaced while it was read)"
    )]
    Mismatch {
        /// Path relative to the repository.
        file: String,
        /// Which value.
        what: &'static str,
        /// Value in `repomd.xml`.
        expected: String,
        /// Value found.
        actual: String,
    },
    /// A metadata file that is needed is not listed.
    #[error("repodata/repomd.xml lists no {kind} metadata")]
    NoRecord {
        /// Type.
        kind: String,
    },
    /// `filelists` or `other` lacks a package.
    #[error("{file} has no package with the id {id}, which is {href}")]
    MissingPackage {
        /// Path relative to the repository.
        file: String,
        /// The package's id.
        id: String,
        /// The package's location.
        href: String,
    },
}

/// A repository whose `repomd.xml` was read.
pub struct Repository {
    fetch: Fetch,
    repomd: Repomd,
}

impl Repository {
    /// Reads `repodata/repomd.xml`.
    ///
    /// # Errors
    /// When it cannot be fetched or is not valid.
    pub fn load(fetch: Fetch) -> Result<Self, RepositoryError> {
        let file = "repodata/repomd.xml";
        let input = fetch(file).map_err(|source| RepositoryError::Open { file: file.into(), source })?;
        let input = Counted::new(input, None, MAX_REPOMD).0;
        Ok(Self { repomd: parse_repomd(file, input)?, fetch })
    }

    /// Opens a repository in a directory, the one that holds `repodata/`.
    ///
    /// # Errors
    /// When `repomd.xml` cannot be read or is not valid.
    pub fn open_local(directory: impl Into<PathBuf>) -> Result<Self, RepositoryError> {
        let directory: PathBuf = directory.into();
        Self::load(Box::new(move |href| open_below(&directory, href)))
    }

    /// Returns the contents of `repomd.xml`.
    pub fn repomd(&self) -> &Repomd {
        &self.repomd
    }

    /// Returns the record of the group (comps) file: `group`, or else a compressed form such as `group_gz`.
    pub fn group(&self) -> Option<&RepomdRecord> {
        self.repomd.record("group").or_else(|| {
            let supported = ["group_zst", "group_xz", "group_gz", "group_bz2"];
            supported.iter().find_map(|kind| self.repomd.record(kind))
        })
    }

    /// Returns the record of module metadata.
    pub fn modules(&self) -> Option<&RepomdRecord> {
        self.repomd.record("modules")
    }

    /// Reads a whole metadata file, decompressed and verified, of at most `limit` bytes.
    ///
    /// # Errors
    /// When it cannot be read, is too large, or does not match `repomd.xml`.
    pub fn read(&self, record: &RepomdRecord, limit: u64) -> Result<Vec<u8>, RepositoryError> {
        let mut stream = self.open(record, limit)?;
        let mut bytes = Vec::new();
        let result = stream.read_to_end(&mut bytes).map_err(|source| self.read_error(record, source));
        let result = result.and_then(|_| stream.finish(record));
        result.map_err(|error| self.explain(record, error))?;
        Ok(bytes)
    }

    /// Starts reading the packages. See the module's words on when they may be used.
    ///
    /// # Errors
    /// When a file is not listed or cannot be opened. `other` may be absent.
    pub fn packages(&self, options: ReadOptions) -> Result<Packages<'_>, RepositoryError> {
        let needed =
            |kind: &str| self.repomd.record(kind).ok_or_else(|| RepositoryError::NoRecord { kind: kind.to_owned() });
        let filelists = if options.filelists { Some(List::open(self, needed("filelists")?)?) } else { None };
        let other = match self.repomd.record("other").filter(|_| options.other) {
            Some(record) => Some(List::open(self, record)?),
            None => None,
        };
        let mut primary: List<'_, Primary> = List::open(self, needed("primary")?)?;
        primary.reader.state_mut().any_location = options.any_location;
        Ok(Packages { primary: Some(primary), filelists: filelists.map(Joined::new), other: other.map(Joined::new) })
    }

    fn open(&self, record: &RepomdRecord, limit: u64) -> Result<Stream, RepositoryError> {
        let file = &record.location_href;
        if record.location_base.is_some() {
            let what = format!("the record {:?} has a base, which is not supported", record.kind);
            return Err(RepositoryError::Invalid { file: file.clone(), offset: 0, what });
        }
        let input = (self.fetch)(file).map_err(|source| RepositoryError::Open { file: file.clone(), source })?;
        Stream::new(input, record, limit).map_err(|source| self.explain(record, self.read_error(record, source)))
    }

    fn read_error(&self, record: &RepomdRecord, source: io::Error) -> RepositoryError {
        RepositoryError::Read { file: record.location_href.clone(), source }
    }

    /// A file that cannot be used is fetched again: if its checksum is wrong, that is the better thing to say.
    fn explain(&self, record: &RepomdRecord, error: RepositoryError) -> RepositoryError {
        match &error {
            RepositoryError::Open { .. } | RepositoryError::Mismatch { .. } => return error,
            RepositoryError::Read { source, .. } if is_connection_error(source) => return error,
            _ => {}
        }
        let Ok(input) = (self.fetch)(&record.location_href) else { return error };
        let limit = record.size.unwrap_or(MAX_FILE).min(MAX_FILE);
        let mut input = input.take(limit.saturating_add(1));
        match record.checksum.kind().hash_reader(&mut input) {
            Ok((checksum, _)) if checksum != record.checksum => {
                mismatch(record, "checksum", &record.checksum, &checksum)
            }
            _ => error,
        }
    }
}

/// Whether reading failed on the way, which says nothing about the file.
fn is_connection_error(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionReset | Kind::ConnectionAborted | Kind::NotConnected | Kind::TimedOut | Kind::BrokenPipe
    )
}

fn mismatch(
    record: &RepomdRecord,
    what: &'static str,
    expected: &dyn ToString,
    actual: &dyn ToString,
) -> RepositoryError {
    let file = record.location_href.clone();
    RepositoryError::Mismatch { file, what, expected: expected.to_string(), actual: actual.to_string() }
}

fn open_below(directory: &Path, href: &str) -> io::Result<Box<dyn Read + Send>> {
    location::check(href).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, format!("the path {error}")))?;
    let path = directory.join(href);
    // Before it is opened: opening a named pipe waits for its other end, and a device has no end.
    if !path.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(Box::new(File::open(path)?))
}

/// What went through a [`Counted`] reader.
struct Count {
    hasher: Option<Hasher>,
    bytes: u64,
}

type SharedCount = Arc<Mutex<Count>>;

/// Input that is counted, hashed and limited.
struct Counted<R> {
    input: R,
    count: SharedCount,
    limit: u64,
}

impl<R> Counted<R> {
    fn new(input: R, hasher: Option<Hasher>, limit: u64) -> (Self, SharedCount) {
        let count = Arc::new(Mutex::new(Count { hasher, bytes: 0 }));
        (Self { input, count: Arc::clone(&count), limit }, count)
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        count.bytes += read as u64;
        if count.bytes > self.limit {
            return Err(io::Error::other(format!(
                "it is larger than {} bytes, the size declared or allowed",
                self.limit
            )));
        }
        if let Some(hasher) = &mut count.hasher {
            hasher.update(&buffer[..read]);
        }
        Ok(read)
    }
}

/// The decompressed content of one metadata file.
struct Stream {
    text: Counted<Box<dyn Read + Send>>,
    packed: SharedCount,
    open: SharedCount,
}

impl Stream {
    fn new(input: Box<dyn Read + Send>, record: &RepomdRecord, limit: u64) -> io::Result<Self> {
        let packed_limit = record.size.unwrap_or(MAX_FILE).min(MAX_FILE);
        let (input, packed) = Counted::new(input, Some(record.checksum.kind().hasher()), packed_limit);
        let mut input = BufReader::with_capacity(1 << 16, input);
        let compression = Compression::detect(input.fill_buf()?);
        let open_limit = record.open_size.unwrap_or(MAX_OPEN).min(MAX_OPEN).min(limit);
        let hasher = record.open_checksum.as_ref().map(|checksum| checksum.kind().hasher());
        let open_limit =
            if compression == Compression::None { open_limit.max(packed_limit).min(limit) } else { open_limit };
        let (text, open) = Counted::new(compression.decoder(input)?, hasher, open_limit);
        Ok(Self { text, packed, open })
    }

    /// Reads what is left and compares sizes and checksums with `repomd.xml`.
    fn finish(mut self, record: &RepomdRecord) -> Result<(), RepositoryError> {
        io::copy(&mut self.text, &mut io::sink())
            .map_err(|source| RepositoryError::Read { file: record.location_href.clone(), source })?;
        let packed = (&self.packed, record.size, Some(&record.checksum), "size", "checksum");
        let open = (&self.open, record.open_size, record.open_checksum.as_ref(), "open-size", "open-checksum");
        for (count, size, checksum, size_name, checksum_name) in [packed, open] {
            let mut count = count.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(checksum) = checksum
                && let Some(found) = count.hasher.take().map(Hasher::finish)
                && found != *checksum
            {
                return Err(mismatch(record, checksum_name, checksum, &found));
            }
            if let Some(size) = size.filter(|size| *size != count.bytes) {
                return Err(mismatch(record, size_name, &size, &count.bytes));
            }
        }
        Ok(())
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.text.read(buffer)
    }
}

/// One of the three files being read.
struct List<'a, S: ListState> {
    repository: &'a Repository,
    record: &'a RepomdRecord,
    reader: ListReader<Stream, S>,
}

impl<'a, S: ListState> List<'a, S> {
    fn open(repository: &'a Repository, record: &'a RepomdRecord) -> Result<Self, RepositoryError> {
        let stream = repository.open(record, MAX_OPEN)?;
        Ok(Self { repository, record, reader: ListReader::new(&record.location_href, stream) })
    }

    fn next(&mut self) -> Result<Option<S::Item>, RepositoryError> {
        self.reader.next().map_err(|error| self.repository.explain(self.record, error))
    }

    /// Reads to the end and verifies the file.
    fn finish(mut self) -> Result<(), RepositoryError> {
        while self.next()?.is_some() {}
        let Self { repository, record, reader } = self;
        reader.into_input().finish(record).map_err(|error| repository.explain(record, error))
    }
}

/// `filelists` or `other`, with what was read of it before `primary` came to it.
struct Joined<'a, S: ListState> {
    list: List<'a, S>,
    waiting: HashMap<String, VecDeque<S::Item>>,
    weight: usize,
}

/// What is joined to a package: its id, and how much it holds.
trait Part {
    fn id(&self) -> &str;
    fn weight(&self) -> usize;
}

impl<T> Part for (String, Vec<T>) {
    fn id(&self) -> &str {
        &self.0
    }

    fn weight(&self) -> usize {
        self.1.len() + 1
    }
}

impl<'a, S: ListState> Joined<'a, S>
where
    S::Item: Part,
{
    fn new(list: List<'a, S>) -> Self {
        Self { list, waiting: HashMap::new(), weight: 0 }
    }

    /// Returns the part of a package. Files in the order of `primary`, as createrepo_c writes them, wait for nothing.
    fn take(&mut self, package: &RepoPackage) -> Result<S::Item, RepositoryError> {
        let id = package.checksum.hex();
        if let Some(item) = self.waiting.get_mut(id).and_then(VecDeque::pop_front) {
            self.weight -= item.weight();
            return Ok(item);
        }
        let file = || self.list.record.location_href.clone();
        loop {
            let Some(item) = self.list.next()? else {
                let href = package.location_href.clone();
                let error = RepositoryError::MissingPackage { file: file(), id: id.to_owned(), href };
                return Err(self.list.repository.explain(self.list.record, error));
            };
            if item.id() == id {
                return Ok(item);
            }
            self.weight += item.weight();
            if self.weight > MAX_WAITING {
                let what = "too many packages stand in another order than in primary".to_owned();
                return Err(RepositoryError::Invalid { file: self.list.record.location_href.clone(), offset: 0, what });
            }
            self.waiting.entry(item.id().to_owned()).or_default().push_back(item);
        }
    }
}

/// The packages of a repository, in the order of `primary`. Ends after the first error.
pub struct Packages<'a> {
    primary: Option<List<'a, Primary>>,
    filelists: Option<Joined<'a, Filelists>>,
    other: Option<Joined<'a, Other>>,
}

impl Packages<'_> {
    fn read(&mut self) -> Result<Option<RepoPackage>, RepositoryError> {
        let Some(primary) = &mut self.primary else { return Ok(None) };
        let Some(mut package) = primary.next()? else {
            return self.finish().map(|()| None);
        };
        // A package that is missed elsewhere may stand wrongly in a damaged primary.
        let explain = |error| primary.repository.explain(primary.record, error);
        if let Some(filelists) = &mut self.filelists {
            let (_, files): (String, Vec<FileEntry>) = filelists.take(&package).map_err(explain)?;
            package.package.files = files;
        }
        if let Some(other) = &mut self.other {
            let (_, changelogs): (String, Vec<Changelog>) = other.take(&package).map_err(explain)?;
            package.package.changelogs = changelogs;
        }
        Ok(Some(package))
    }

    fn finish(&mut self) -> Result<(), RepositoryError> {
        if let Some(primary) = self.primary.take() {
            primary.finish()?;
        }
        if let Some(filelists) = self.filelists.take() {
            filelists.list.finish()?;
        }
        if let Some(other) = self.other.take() {
            other.list.finish()?;
        }
        Ok(())
    }
}

impl Iterator for Packages<'_> {
    type Item = Result<RepoPackage, RepositoryError>;

    fn next(&mut self) -> Option<Self::Item> {
        let result = self.read().transpose();
        if matches!(result, Some(Err(_))) {
            self.primary = None;
        }
        result
    }
}
