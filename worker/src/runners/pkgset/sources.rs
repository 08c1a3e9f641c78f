//! Which files the repositories list: directories with or without repodata, `file://` and `http(s)://` URLs.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use tutti_job::{LogicalPath, Root, params::PkgsetParams};
use tutti_repodata::{Checksum, ReadOptions, RepoPackage, Repository};

use super::{
    super::parallel,
    download::{self, Remote},
};
use crate::{FailureClass, JobContext, OrFail as _, RunnerError, log};

/// Directories below which a tree of packages may lie.
const MAX_DEPTH: usize = 32;
/// Most packages of one repository.
const MAX_FILES: usize = 4_000_000;

/// One file, whatever lists it.
#[derive(Clone, Debug)]
pub(super) struct SourceFile {
    /// Where it is on this host.
    pub(super) path: PathBuf,
    /// What other jobs call it.
    pub(super) logical: LogicalPath,
    /// File name that it came with.
    pub(super) name: String,
    /// Checksum that its repository lists.
    pub(super) expected: Option<Checksum>,
}

/// All distinct files, by file name, and which of them each tree arch's repositories list, in order.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) files: Vec<SourceFile>,
    pub(super) by_arch: BTreeMap<String, Vec<usize>>,
}

/// Where a repository is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A directory, as the configuration has it.
    Directory(PathBuf),
    /// `http://` or `https://`.
    Remote(String),
}

impl Place {
    /// Reads a configured repository.
    ///
    /// # Errors
    /// Class input for what is neither an absolute directory nor a URL of a known scheme.
    pub(super) fn parse(text: &str) -> Result<Self, RunnerError> {
        let bad = |reason: &str| {
            RunnerError::input(format!("repository {text:?} {reason}"))
                .with_hint("use an absolute directory, or a file://, http:// or https:// URL")
        };
        if text.starts_with("http://") || text.starts_with("https://") {
            return Ok(Self::Remote(text.trim_end_matches('/').to_owned()));
        }
        let path = match text.strip_prefix("file://") {
            Some(rest) => {
                let rest = rest.strip_prefix("localhost").filter(|rest| rest.starts_with('/')).unwrap_or(rest);
                percent_decoded(rest).ok_or_else(|| bad("has a bad % escape"))?
            }
            None => text.to_owned(),
        };
        let trimmed = if path.len() > 1 { path.trim_end_matches('/') } else { &path };
        if !trimmed.starts_with('/') {
            return Err(bad("is not an absolute directory"));
        }
        Ok(Self::Directory(trimmed.into()))
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, others)) = rest.split_first() {
        rest = others;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let digits =
            std::str::from_utf8(rest.get(..2)?).ok().filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}

/// A file, and its device and inode.
type Found = (SourceFile, (u64, u64));

/// Collects files; one (device, inode) is one file.
#[derive(Default)]
struct Collector {
    files: Vec<SourceFile>,
    known: HashMap<(u64, u64), usize>,
}

impl Collector {
    fn add(&mut self, file: SourceFile, identity: (u64, u64)) -> Result<usize, RunnerError> {
        let place = *self.known.entry(identity).or_insert(self.files.len());
        if place == self.files.len() {
            self.files.push(file);
            return Ok(place);
        }
        let known = &mut self.files[place];
        match (&known.expected, file.expected) {
            (None, expected) => known.expected = expected,
            (Some(one), Some(other)) if one.kind() == other.kind() && *one != other => {
                return Err(RunnerError::input(format!(
                    "repositories list {} with two checksums: {one} and {other}",
                    known.path.display()
                ))
                .with_hint("make the metadata of both repositories anew (createrepo_c)"));
            }
            _ => {}
        }
        Ok(place)
    }
}

/// Lists all repositories of all tree arches, several directories at a time; remote packages are downloaded.
///
/// # Errors
/// Class input for repositories that are missing, damaged or lead elsewhere.
pub(super) fn list(context: &JobContext, params: &PkgsetParams) -> Result<Listing, RunnerError> {
    let mut distinct: Vec<&String> = Vec::new();
    let mut known = BTreeSet::new();
    let repositories = || params.arches.values().flat_map(|arch| &arch.repos);
    distinct.extend(repositories().filter(|repository| known.insert(*repository)));
    let look = |(): &mut (), repository: &&String| match Place::parse(repository)? {
        Place::Directory(directory) => Ok(Some(directory_files(context, &directory)?)),
        Place::Remote(_) => Ok(None),
    };
    let mut collector = Collector::default();
    let mut listed: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    parallel::ordered(
        context,
        &distinct,
        || (),
        look,
        |index, found| {
            context.progress.set("list repositories", index as u64, distinct.len() as u64);
            let repository = distinct[index];
            let found = match found {
                Some(found) => found,
                // Its packages are downloaded several at a time.
                None => remote_files(context, repository.trim_end_matches('/'))?,
            };
            log!(context, "{repository}: {} packages", found.len());
            let files = found.into_iter().map(|(file, identity)| collector.add(file, identity));
            listed.insert(repository, files.collect::<Result<_, _>>()?);
            Ok(())
        },
    )?;
    let mut by_arch: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (arch, sources) in &params.arches {
        let own = by_arch.entry(arch.clone()).or_default();
        own.extend(sources.repos.iter().filter_map(|repository| listed.get(repository.as_str())).flatten());
        let mut seen = BTreeSet::new();
        own.retain(|file| seen.insert(*file));
    }
    Ok(sorted(collector.files, by_arch))
}

/// Puts files into the order in which repositories list packages: by file name.
fn sorted(files: Vec<SourceFile>, mut by_arch: BTreeMap<String, Vec<usize>>) -> Listing {
    let mut order: Vec<usize> = (0..files.len()).collect();
    order.sort_by(|a, b| (&files[*a].name, &files[*a].logical).cmp(&(&files[*b].name, &files[*b].logical)));
    let mut places = vec![0; files.len()];
    for (place, file) in order.iter().enumerate() {
        places[*file] = place;
    }
    for file in by_arch.values_mut().flatten() {
        *file = places[*file];
    }
    let mut slots: Vec<Option<SourceFile>> = files.into_iter().map(Some).collect();
    let files = order.into_iter().filter_map(|file| slots[file].take()).collect();
    Listing { files, by_arch }
}

/// Files of a directory, by its repodata if it has one.
fn directory_files(context: &JobContext, configured: &Path) -> Result<Vec<Found>, RunnerError> {
    let directory = context.volumes.map_file(configured);
    require_directory(&directory)?;
    if !directory.join("repodata/repomd.xml").exists() {
        return walk(context, configured, &directory);
    }
    let repository = Repository::open_local(&directory)
        .or_fail(FailureClass::Input, || format!("failed to read the repository {}", directory.display()))?;
    let mut within = Within::new(&directory)?;
    let mut files = Vec::new();
    for package in packages(context, &repository, &directory.display().to_string())? {
        context.cancel.check()?;
        let href = local_href(&directory, &package)?;
        let found = listed_file(configured, &directory, &href, &package)?;
        within.check(&found.0.path)?;
        files.push(found);
    }
    Ok(files)
}

/// Fails unless there is such a directory.
pub(super) fn require_directory(directory: &Path) -> Result<(), RunnerError> {
    let cause = || format!("failed to look at the repository {}", directory.display());
    match fs::metadata(directory) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(RunnerError::input(format!("repository {} is not a directory", directory.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(RunnerError::input(format!("repository {} does not exist", directory.display()))
                .with_hint("check pkgset_repos and gather_lookaside_repos, and that this host has the directory"))
        }
        Err(error) => Err(RunnerError::caused_by(FailureClass::Input, cause(), error)),
    }
}

/// All packages that the metadata lists, once it is known that the metadata is whole.
pub(super) fn packages(
    context: &JobContext,
    repository: &Repository,
    name: &str,
) -> Result<Vec<RepoPackage>, RunnerError> {
    let options = ReadOptions { filelists: false, other: false, ..ReadOptions::default() };
    let cause = || format!("failed to read the metadata of {name}");
    let mut found = Vec::new();
    for package in repository.packages(options).or_fail(FailureClass::Input, cause)? {
        found.push(package.or_fail(FailureClass::Input, cause)?);
        if found.len() % 1024 == 0 {
            context.cancel.check()?;
            context.progress.set("read metadata", found.len() as u64, 0);
        }
        if found.len() > MAX_FILES {
            return Err(RunnerError::input(format!("{name} lists more than {MAX_FILES} packages")));
        }
    }
    Ok(found)
}

/// Location of a package within its directory; a base that leads elsewhere is refused.
fn local_href(directory: &Path, package: &RepoPackage) -> Result<String, RunnerError> {
    let Some(base) = &package.location_base else { return Ok(package.location_href.clone()) };
    let below = base.strip_prefix("file://").unwrap_or(base).trim_end_matches('/');
    if Path::new(below) == directory {
        return Ok(package.location_href.clone());
    }
    Err(RunnerError::input(format!("{} says that {} lies below {base}", directory.display(), package.location_href))
        .with_hint("packages must lie in the directory of their repository: use the other place as repository"))
}

fn listed_file(configured: &Path, directory: &Path, href: &str, package: &RepoPackage) -> Result<Found, RunnerError> {
    let href = href.strip_prefix("./").unwrap_or(href);
    let path = directory.join(href);
    let cause = || format!("failed to look at {}, which {} lists", path.display(), directory.display());
    let metadata = fs::metadata(&path).map_err(|error| {
        RunnerError::caused_by(FailureClass::Input, cause(), error)
            .with_hint("restore the file, or make the repository's metadata anew (createrepo_c)")
    })?;
    if metadata.len() != package.size {
        let cause = format!(
            "{} has {} bytes, the metadata of its repository says {}",
            path.display(),
            metadata.len(),
            package.size
        );
        return Err(RunnerError::input(cause)
            .with_hint("fetch the file again, or make the repository's metadata anew (createrepo_c)"));
    }
    let file = SourceFile {
        logical: logical(configured, href)?,
        name: href.rsplit('/').next().unwrap_or(href).to_owned(),
        path,
        expected: Some(package.checksum.clone()),
    };
    Ok((file, (metadata.dev(), metadata.ino())))
}

fn logical(configured: &Path, below: &str) -> Result<LogicalPath, RunnerError> {
    let path = configured.join(below);
    let text = path.to_str().ok_or_else(|| RunnerError::input(format!("path {path:?} is not UTF-8")))?;
    LogicalPath::new(Root::File, text).or_fail(FailureClass::Input, || format!("path {path:?} cannot be used"))
}

fn canonical(path: &Path) -> Result<PathBuf, RunnerError> {
    fs::canonicalize(path).or_fail(FailureClass::Input, || format!("failed to follow {}", path.display()))
}

/// Refuses files that symbolic links lead to out of their repository.
struct Within {
    /// The repository's own path.
    root: PathBuf,
    /// Directories that are known to lie in it.
    directories: HashSet<PathBuf>,
}

impl Within {
    fn new(directory: &Path) -> Result<Self, RunnerError> {
        Ok(Self { root: canonical(directory)?, directories: HashSet::new() })
    }

    fn check(&mut self, path: &Path) -> Result<(), RunnerError> {
        if let Some(parent) = path.parent().filter(|parent| !self.directories.contains(*parent)) {
            self.follow(parent)?;
            self.directories.insert(parent.to_owned());
        }
        let cause = || format!("failed to look at {}", path.display());
        let metadata = fs::symlink_metadata(path).or_fail(FailureClass::Input, cause)?;
        if metadata.is_symlink() { self.follow(path) } else { Ok(()) }
    }

    fn follow(&self, path: &Path) -> Result<(), RunnerError> {
        let real = canonical(path)?;
        if real.starts_with(&self.root) {
            return Ok(());
        }
        let cause = format!("{} is a symbolic link out of its repository, to {}", path.display(), real.display());
        Err(RunnerError::input(cause).with_hint("use the directory that it leads to as repository, or a hard link"))
    }
}

/// All `*.rpm` below a directory without repodata, sorted.
fn walk(context: &JobContext, configured: &Path, directory: &Path) -> Result<Vec<Found>, RunnerError> {
    let mut within = Within::new(directory)?;
    let mut found: Vec<String> = Vec::new();
    let mut pending = vec![(String::new(), 0)];
    while let Some((below, depth)) = pending.pop() {
        context.cancel.check()?;
        let path = directory.join(&below);
        if depth > MAX_DEPTH {
            return Err(RunnerError::input(format!("{} is nested too deep", path.display())));
        }
        let cause = || format!("failed to read the directory {}", path.display());
        for item in fs::read_dir(&path).or_fail(FailureClass::Input, cause)? {
            let item = item.or_fail(FailureClass::Input, cause)?;
            let kind = item.file_type().or_fail(FailureClass::Input, cause)?;
            let Ok(name) = item.file_name().into_string() else {
                if kind.is_dir() || item.path().extension().is_some_and(|extension| extension == "rpm") {
                    return Err(RunnerError::input(format!("name of {:?} is not UTF-8", item.path())));
                }
                continue;
            };
            let name_below = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
            if kind.is_dir() {
                if name != "repodata" && !name.starts_with('.') {
                    pending.push((name_below, depth + 1));
                }
            } else if name.ends_with(".rpm") && !name.starts_with('.') {
                if kind.is_symlink() {
                    within.check(&item.path())?;
                }
                found.push(name_below);
            }
        }
        if found.len() > MAX_FILES {
            return Err(RunnerError::input(format!("more than {MAX_FILES} packages below {}", directory.display())));
        }
    }
    found.sort_unstable();
    let mut files = Vec::with_capacity(found.len());
    for below in found {
        let path = directory.join(&below);
        let metadata =
            fs::metadata(&path).or_fail(FailureClass::Input, || format!("failed to look at {}", path.display()))?;
        let name = below.rsplit('/').next().unwrap_or(&below).to_owned();
        let file = SourceFile { path, logical: logical(configured, &below)?, name, expected: None };
        files.push((file, (metadata.dev(), metadata.ino())));
    }
    Ok(files)
}

/// Files of a remote repository, downloaded.
fn remote_files(context: &JobContext, url: &str) -> Result<Vec<Found>, RunnerError> {
    let remote = Remote::new(url)?;
    let repository = remote.repository()?;
    let packages = packages(context, &repository, url)?;
    let mut files = Vec::with_capacity(packages.len());
    for downloaded in download::packages(context, &remote, &packages)? {
        let path = &downloaded.path;
        let metadata =
            fs::metadata(path).or_fail(FailureClass::Infra, || format!("failed to look at {}", path.display()))?;
        files.push((downloaded, (metadata.dev(), metadata.ino())));
    }
    Ok(files)
}

#[cfg(test)]
#[path = "sources_tests.rs"]
mod tests;
