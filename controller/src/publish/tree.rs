//! Files of an attempt and of the published tree as they are, never through a symbolic link: who wrote the staging
//! directory may have put links anywhere in it.

use std::{
    collections::{HashMap, HashSet},
    fs,
    io::{self, Read},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Component, Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};
use tutti_job::{Digest, Entry, EntryKind, LogicalPath, Manifest, Root, Volumes};

use super::{PublishError, ReportedOutput};
use crate::volume::{self, VolumeError, at};

/// Mode of every directory of the tree, whatever the umask of who made it.
const DIRECTORY_MODE: u32 = 0o755;
/// Largest manifest that is read, bytes: above a million entries.
const MAX_MANIFEST: u64 = 256 << 20;
/// Most directories of one tree; a manifest need not list them.
const MAX_DIRECTORIES: usize = 1_000_000;
/// Where downloaded packages lie, below the compose's directory.
const DOWNLOADS: &str = "work/global/download/";
/// Below the compose's directory: nothing here may pass for a package of a repository.
const OWN: &str = "work/tutti";

pub(super) fn mismatch(path: &Path, reason: impl Into<String>) -> PublishError {
    PublishError::Mismatch { path: path.to_owned(), reason: reason.into() }
}

/// Looks at `base/relative`, where all directories below `base` must be real ones. `None` if it is not there.
pub(super) fn look(base: &Path, relative: &Path) -> Result<Option<fs::Metadata>, PublishError> {
    let mut path = base.to_owned();
    let mut last = None;
    for part in relative.components() {
        if last.as_ref().is_some_and(|metadata: &fs::Metadata| !metadata.is_dir()) {
            return Err(mismatch(&path, "is not a directory"));
        }
        let Component::Normal(part) = part else { return Err(mismatch(relative, "has a part that is no name")) };
        path.push(part);
        match fs::symlink_metadata(&path) {
            Ok(metadata) => last = Some(metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(at("look at", &path)(error).into()),
        }
    }
    Ok(last)
}

/// Opens a regular file; a link, a pipe or a device is refused, and does not block.
pub(super) fn open(path: &Path) -> Result<fs::File, PublishError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => fs::File::from(file),
        Err(rustix::io::Errno::LOOP) => return Err(mismatch(path, "is a symbolic link")),
        Err(error) => return Err(at("open", path)(error.into()).into()),
    };
    if !file.metadata().map_err(at("look at", path))?.is_file() {
        return Err(mismatch(path, "is not a regular file"));
    }
    Ok(file)
}

/// Hashes a file. The digest decides; a known size makes the message better.
pub(super) fn check_file(path: &Path, digest: &Digest, size: Option<u64>) -> Result<u64, PublishError> {
    let (found, length) = Digest::of_reader(open(path)?).map_err(at("read", path))?;
    if found != *digest || size.is_some_and(|size| size != length) {
        let wanted = size.map(|size| format!("{size} bytes with ")).unwrap_or_default();
        let reason = format!("has {length} bytes with SHA-256 {found}, reported were {wanted}{digest}");
        return Err(mismatch(path, reason));
    }
    Ok(length)
}

/// Reads the manifest of a tree, which must have the reported digest and list as many bytes as were reported.
pub(super) fn read_manifest(path: &Path, reported: &ReportedOutput) -> Result<(Manifest, u64), PublishError> {
    let file = open(path)?;
    let length = file.metadata().map_err(at("look at", path))?.len();
    if length > MAX_MANIFEST {
        return Err(mismatch(path, format!("is a manifest of {length} bytes, at most {MAX_MANIFEST} are read")));
    }
    let mut bytes = Vec::new();
    // It may grow while it is read.
    file.take(MAX_MANIFEST + 1).read_to_end(&mut bytes).map_err(at("read manifest", path))?;
    let found = Digest::of(&bytes);
    if found != reported.digest {
        let reason = format!("has {} bytes with SHA-256 {found}, reported was {}", bytes.len(), reported.digest);
        return Err(mismatch(path, reason));
    }
    let manifest = Manifest::decode_checked(&bytes)
        .map_err(|source| PublishError::Manifest { name: reported.name.clone(), source })?;
    let size = manifest.entries.iter().map(|entry| entry.size).fold(0, u64::saturating_add);
    if size != reported.size {
        return Err(mismatch(path, format!("lists {size} bytes, reported were {}", reported.size)));
    }
    Ok((manifest, bytes.len() as u64))
}

/// What lies in a tree, relative to it.
#[derive(Default)]
struct Found {
    /// All that is no directory.
    files: HashSet<PathBuf>,
    /// Real directories, the tree itself (empty path) first.
    directories: HashSet<PathBuf>,
}

/// Lists a tree through its real directories, and fails as soon as it holds more than `limit` files.
fn walk(tree: &Path, limit: usize) -> Result<Found, PublishError> {
    let mut found = Found::default();
    match fs::symlink_metadata(tree) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return Err(mismatch(tree, "is not a directory")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(at("look at", tree)(error).into()),
    }
    let mut pending = vec![PathBuf::new()];
    found.directories.insert(PathBuf::new());
    while let Some(directory) = pending.pop() {
        let path = tree.join(&directory);
        for item in fs::read_dir(&path).map_err(at("read directory", &path))? {
            let item = item.map_err(at("read directory", &path))?;
            let below = directory.join(item.file_name());
            if item.file_type().map_err(at("look at", &path))?.is_dir() {
                found.directories.insert(below.clone());
                pending.push(below);
            } else {
                found.files.insert(below);
            }
            if found.files.len() > limit {
                return Err(mismatch(tree, format!("holds more than the {limit} files that its manifest lists")));
            }
            if found.directories.len() > MAX_DIRECTORIES {
                return Err(mismatch(tree, format!("holds more than {MAX_DIRECTORIES} directories")));
            }
        }
    }
    Ok(found)
}

/// Checks that a tree holds what its manifest lists and no more, by paths alone. A tree that is absent holds nothing.
/// Directories that are not listed may be there. Returns the directories.
pub(super) fn check_paths(tree: &Path, manifest: &Manifest) -> Result<HashSet<PathBuf>, PublishError> {
    let is_directory = |entry: &Entry| entry.kind == i32::from(EntryKind::Directory);
    let listed = manifest.entries.iter().filter(|entry| !is_directory(entry)).count();
    let found = walk(tree, listed)?;
    for entry in &manifest.entries {
        let set = if is_directory(entry) { &found.directories } else { &found.files };
        // What lies behind a symbolic link was not found.
        if !set.contains(Path::new(&entry.path)) {
            return Err(mismatch(&tree.join(&entry.path), "is listed in the manifest, but not there"));
        }
    }
    if found.files.len() != listed {
        return Err(mismatch(tree, format!("holds {} files, the manifest lists {listed}", found.files.len())));
    }
    Ok(found.directories)
}

/// Checks by `stat` that `path` is what its line of the manifest says.
pub(super) fn check_stat(path: &Path, entry: &Entry) -> Result<fs::Metadata, PublishError> {
    let metadata = fs::symlink_metadata(path).map_err(at("look at", path))?;
    let (size, mode, mtime) = (metadata.size(), metadata.mode() & 0o7777, metadata.mtime());
    let reason = match EntryKind::try_from(entry.kind) {
        Ok(EntryKind::File) if metadata.is_file() && (size, mode) != (entry.size, entry.mode) => {
            format!("has {size} bytes and mode {mode:04o}, the manifest says {} and {:04o}", entry.size, entry.mode)
        }
        Ok(EntryKind::Package) if metadata.is_file() && (size, mtime) != (entry.size, entry.mtime) => {
            format!("has size {size} and mtime {mtime}, the package set says {} and {}", entry.size, entry.mtime)
        }
        Ok(EntryKind::Symlink) if metadata.is_symlink() => {
            let target = fs::read_link(path).map_err(at("read link", path))?;
            if target.as_os_str() == entry.source.as_str() {
                return Ok(metadata);
            }
            format!("links to {}, the manifest says {}", target.display(), entry.source)
        }
        Ok(EntryKind::File | EntryKind::Package) if metadata.is_file() => return Ok(metadata),
        Ok(EntryKind::Directory) if metadata.is_dir() => return Ok(metadata),
        _ => "is not what the manifest says".to_owned(),
    };
    Err(mismatch(path, reason))
}

/// Checks a whole tree by `stat`, without reading files. Returns its directories.
pub(super) fn check_tree(tree: &Path, manifest: &Manifest) -> Result<HashSet<PathBuf>, PublishError> {
    let directories = check_paths(tree, manifest)?;
    for entry in &manifest.entries {
        check_stat(&tree.join(&entry.path), entry)?;
    }
    Ok(directories)
}

/// Sources of placed packages: files of repositories and downloads, never what a job wrote.
pub(super) struct Sources<'a> {
    volumes: &'a Volumes,
    own: PathBuf,
    /// Real paths of directories that packages lie in: there are few, and packages are many.
    directories: HashMap<PathBuf, PathBuf>,
}

impl<'a> Sources<'a> {
    pub(super) fn new(volumes: &'a Volumes) -> Result<Self, PublishError> {
        let own = volumes.top.join(OWN);
        let own = fs::canonicalize(&own).map_err(at("look at", &own))?;
        Ok(Self { volumes, own, directories: HashMap::new() })
    }

    /// A placed package: the same inode as its source, or a copy with the same size and whole-second mtime.
    pub(super) fn check(
        &mut self,
        name: &str,
        path: &Path,
        entry: &Entry,
        placed: &fs::Metadata,
    ) -> Result<(), PublishError> {
        let bad = |source| PublishError::Path { name: name.to_owned(), source };
        let logical: LogicalPath = entry.source.parse().map_err(bad)?;
        let allowed = match logical.root() {
            Root::File => true,
            Root::Top => logical.rest().starts_with(DOWNLOADS),
            Root::Compose | Root::Staging | Root::Blob => false,
        };
        let source = self.volumes.resolve(&logical).map_err(bad)?;
        let source = if allowed { self.real(&source)? } else { source };
        if !allowed || source.starts_with(&self.own) {
            return Err(mismatch(path, format!("its source {logical} is no file of a repository")));
        }
        let original = fs::metadata(&source).map_err(at("look at", &source))?;
        let same_inode = (original.dev(), original.ino()) == (placed.dev(), placed.ino());
        if !same_inode && (original.size() != entry.size || original.mtime() != entry.mtime) {
            return Err(mismatch(path, format!("its source {} changed while it was composed", source.display())));
        }
        Ok(())
    }

    fn real(&mut self, source: &Path) -> Result<PathBuf, PublishError> {
        let (Some(parent), Some(name)) = (source.parent(), source.file_name()) else {
            return Err(mismatch(source, "is no file of a repository"));
        };
        if fs::symlink_metadata(source).map_err(at("look at", source))?.is_symlink() {
            return Ok(fs::canonicalize(source).map_err(at("look at", source))?);
        }
        if let Some(real) = self.directories.get(parent) {
            return Ok(real.join(name));
        }
        let real = fs::canonicalize(parent).map_err(at("look at", parent))?;
        let source = real.join(name);
        self.directories.insert(parent.to_owned(), real);
        Ok(source)
    }
}

/// Gives a directory the mode that directories of the tree have.
pub(super) fn set_mode(path: &Path, metadata: &fs::Metadata) -> Result<(), VolumeError> {
    if metadata.mode() & 0o7777 == DIRECTORY_MODE {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(DIRECTORY_MODE)).map_err(at("set the mode of", path))
}

/// Makes the directories of `relative` below `base`, with mode 0755 whatever the umask. Those that are there must be
/// real directories; with `all` their mode is set too.
pub(super) fn make_directories(base: &Path, relative: &Path, all: bool) -> Result<PathBuf, PublishError> {
    let mut path = base.to_owned();
    for part in relative.components() {
        let Component::Normal(part) = part else { return Err(mismatch(relative, "has a part that is no name")) };
        let parent = path.clone();
        path.push(part);
        // Not new: another publication was faster, or the reply was lost.
        let made = match tutti_files::ensure_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(mismatch(&path, "stands where a directory belongs"));
            }
            made => made.map_err(at("create directory", &path))?,
        };
        let metadata = fs::symlink_metadata(&path).map_err(at("look at", &path))?;
        if made || all {
            set_mode(&path, &metadata)?;
        }
        if made {
            volume::sync_directory(&parent)?;
        }
    }
    Ok(path)
}
