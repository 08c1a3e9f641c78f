//! The compose volume as the controller uses it: making a compose's directory, its blobs and STATUS.
//!
//! Every step is idempotent, so it can be done again after a crash. Files appear by rename, whole or not at all.
//! The volume may be NFS: no locks, no appends by two writers, and calls whose reply may be lost are [`tutti_files`]'s.

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};
use tutti_failpoint::failpoint;
use tutti_files::{Claim, Trouble, claim_dir};
use tutti_job::{Digest, Volumes};

/// What went wrong on the volume.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// A call failed.
    #[error("cannot {what} {path}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The target directory is something else.
    #[error(
        "target directory {0} is a file, or a link to nothing, and no directory (hint: name a directory, or one that is not there yet: it is made)"
    )]
    NoDirectory(PathBuf),
    /// A blob's bytes are not those that its name says.
    #[error("blob {digest} has other bytes than its name says ({path})")]
    Digest {
        /// Name.
        digest: Digest,
        /// Where.
        path: PathBuf,
    },
    /// More respins than anybody makes in one day.
    #[error("no free compose id {prefix}N below {limit} in {dir}")]
    Respins {
        /// Id without the number.
        prefix: String,
        /// How many were tried.
        limit: u32,
        /// Target directory.
        dir: PathBuf,
    },
    /// A test's failpoint.
    #[error(transparent)]
    Failpoint(#[from] tutti_failpoint::FailpointError),
}

impl VolumeError {
    /// What is wrong with the volume, if it is the volume: then the same may go well later.
    pub fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::Io { source, .. } => tutti_files::trouble(source),
            Self::NoDirectory(_) | Self::Digest { .. } | Self::Respins { .. } | Self::Failpoint(_) => None,
        }
    }
}

/// Adds what was being done to an I/O error.
pub(crate) fn at<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> VolumeError + 'a {
    move |source| VolumeError::Io { what, path: path.to_owned(), source }
}

/// Respins of one day that are probed before giving up.
const RESPIN_LIMIT: u32 = 100_000;
/// Where a compose of `tutti compose` keeps the state of its controller, below its directory.
pub const EMBEDDED_STATE: &str = "work/tutti/state.redb";
/// Says whose a compose's directory is, below it.
pub const CLAIM: &str = "work/tutti/claim";

/// Makes the directory of a new compose by counting up from respin `first` until a name is free, as Pungi does.
///
/// Of any number of composes that start at once each gets its own. Returns the respin and the directory.
///
/// # Errors
/// When the target directory cannot be written.
pub fn reserve(target: &Path, id_prefix: &str, first: u32) -> Result<(u32, PathBuf), VolumeError> {
    make_target(target)?;
    for respin in first..RESPIN_LIMIT {
        let dir = target.join(format!("{id_prefix}{respin}"));
        if claim(&dir, Claim::New)? {
            return Ok((respin, dir));
        }
    }
    Err(VolumeError::Respins { prefix: id_prefix.to_owned(), limit: RESPIN_LIMIT, dir: target.to_owned() })
}

/// Makes the directory of a new compose of this very name. `None` if there is one already.
///
/// # Errors
/// When the target directory cannot be written.
pub fn reserve_exact(target: &Path, id: &str) -> Result<Option<PathBuf>, VolumeError> {
    make_target(target)?;
    let dir = target.join(id);
    Ok(claim(&dir, Claim::NewOrEmpty)?.then_some(dir))
}

fn make_target(target: &Path) -> Result<(), VolumeError> {
    match fs::create_dir_all(target) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(VolumeError::NoDirectory(target.to_owned())),
        result => result.map_err(at("create target directory", target)),
    }
}

fn claim(dir: &Path, claim: Claim) -> Result<bool, VolumeError> {
    claim_dir(dir, Path::new(CLAIM), claim).map_err(at("create compose directory", dir))
}

/// Writes a file so that readers see the old or the new bytes, never a part.
///
/// # Errors
/// I/O errors; the temporary file is removed then.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), VolumeError> {
    let parent = directory_of(path);
    make_directory(parent)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = parent.join(name);
    let write = || -> io::Result<()> {
        let mut file = fs::File::create(&temporary)?;
        file.write_all(bytes)?;
        sync(&file, &temporary)?;
        tutti_failpoint::hit("volume.write.synced")?;
        tutti_files::rename(&temporary, path)?;
        Ok(tutti_failpoint::hit("volume.write.renamed")?)
    };
    write().map_err(|error| {
        let _ = tutti_files::remove_file(&temporary);
        at("write", path)(error)
    })?;
    sync_directory(parent)
}

// What this thread has synced, in order.
#[cfg(test)]
thread_local! {
    pub(crate) static SYNCED: std::cell::RefCell<Vec<PathBuf>> = const { std::cell::RefCell::new(Vec::new()) };
}

fn sync(file: &fs::File, _path: &Path) -> io::Result<()> {
    #[cfg(test)]
    SYNCED.with_borrow_mut(|synced| synced.push(_path.to_owned()));
    file.sync_all()
}

/// Makes the names of a directory outlast a power failure.
///
/// # Errors
/// I/O errors. A file system that cannot do it is taken as it is.
pub(crate) fn sync_directory(path: &Path) -> Result<(), VolumeError> {
    let synced = fs::File::open(path).and_then(|directory| sync(&directory, path));
    match synced {
        Err(error) if !matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Err(at("sync", path)(error))
        }
        _ => Ok(()),
    }
}

/// Makes one directory and those above; new names are synced.
fn make_directory(path: &Path) -> Result<(), VolumeError> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path).map_err(at("create directory", path))?;
    path.parent().map_or(Ok(()), sync_directory)
}

/// Puts a blob into the compose's blob directory; one that is there is left alone.
///
/// # Errors
/// I/O errors.
pub fn put_blob(volumes: &Volumes, bytes: &[u8]) -> Result<Digest, VolumeError> {
    let digest = Digest::of(bytes);
    let path = volumes.blob(&digest);
    if fs::metadata(&path).is_ok_and(|metadata| metadata.len() == bytes.len() as u64) {
        return Ok(digest);
    }
    write_atomically(&path, bytes)?;
    Ok(digest)
}

/// Reads a blob and checks its digest.
///
/// # Errors
/// When it is absent, unreadable or has other bytes.
pub fn get_blob(volumes: &Volumes, digest: &Digest) -> Result<Vec<u8>, VolumeError> {
    let path = volumes.blob(digest);
    let bytes = fs::read(&path).map_err(at("read blob", &path))?;
    if Digest::of(&bytes) != *digest {
        return Err(VolumeError::Digest { digest: *digest, path });
    }
    Ok(bytes)
}

/// Moves a verified staged file to its place among the blobs. Done again after success, it changes nothing.
///
/// # Errors
/// I/O errors, and when neither the staged file nor the blob is there.
pub fn adopt_blob(volumes: &Volumes, staged: &Path, digest: &Digest) -> Result<(), VolumeError> {
    failpoint!("volume.adopt_blob.before");
    let path = volumes.blob(digest);
    let parent = directory_of(&path);
    make_directory(parent)?;
    failpoint!("volume.adopt_blob.directory");
    // A commit is written down after this, so the bytes must be on the disk before they have their name.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let moved = rustix::fs::open(staged, flags, Mode::empty())
        .map_err(io::Error::from)
        .and_then(|file| sync(&fs::File::from(file), staged))
        .and_then(|()| tutti_files::rename(staged, &path));
    match moved {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.exists() => {}
        Err(error) => return Err(at("move into place", staged)(error)),
    }
    failpoint!("volume.adopt_blob.renamed");
    sync_directory(parent)?;
    failpoint!("volume.adopt_blob.after");
    Ok(())
}

/// The directory that a path is in.
fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes the one word of `STATUS`.
///
/// # Errors
/// I/O errors.
pub fn write_status(top: &Path, status: &str) -> Result<(), VolumeError> {
    failpoint!("volume.write_status.before");
    write_atomically(&top.join("STATUS"), format!("{status}\n").as_bytes())?;
    failpoint!("volume.write_status.after");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn respins_count_up() {
        let target = tempfile::tempdir().unwrap();
        assert_eq!(reserve(target.path(), "C-1-20261122.n.", 0).unwrap().0, 0);
        assert_eq!(reserve(target.path(), "C-1-20261122.n.", 0).unwrap().0, 1);
        assert_eq!(reserve(target.path(), "C-1-20261122.t.", 0).unwrap().0, 0);
        assert!(reserve_exact(target.path(), "C-1-20261122.t.0").unwrap().is_none());
        // Made by a call whose reply was lost.
        fs::create_dir(target.path().join("C-1-20261122.t.1")).unwrap();
        assert!(reserve_exact(target.path(), "C-1-20261122.t.1").unwrap().is_some());
    }

    #[test]
    fn adopting_twice_is_harmless_and_bytes_are_checked() {
        let top = tempfile::tempdir().unwrap();
        let volumes = Volumes::new(top.path());
        let staged = top.path().join("staged");
        fs::write(&staged, b"abc").unwrap();
        let digest = Digest::of(b"abc");
        adopt_blob(&volumes, &staged, &digest).unwrap();
        adopt_blob(&volumes, &staged, &digest).unwrap();
        assert_eq!(get_blob(&volumes, &digest).unwrap(), b"abc");
        fs::write(volumes.blob(&digest), b"abd").unwrap();
        assert!(matches!(get_blob(&volumes, &digest), Err(VolumeError::Digest { .. })));
        assert!(adopt_blob(&volumes, &staged, &Digest::of(b"other")).is_err());
    }

    #[test]
    fn bytes_and_names_are_synced() {
        let top = tempfile::tempdir().unwrap();
        let volumes = Volumes::new(top.path());
        let staged = top.path().join("staged");
        fs::write(&staged, b"abc").unwrap();
        let digest = Digest::of(b"abc");
        SYNCED.take();
        adopt_blob(&volumes, &staged, &digest).unwrap();
        let directory = volumes.blob(&digest).parent().unwrap().to_owned();
        // The new directory's name, the bytes under their old name, the new name.
        assert_eq!(SYNCED.take(), [directory.parent().unwrap(), &staged, &directory]);
        write_status(top.path(), "STARTED").unwrap();
        let synced = SYNCED.take();
        assert_eq!((synced.len(), synced.last().map(PathBuf::as_path)), (2, Some(top.path())));
        put_blob(&volumes, b"abd").unwrap();
        let directory = volumes.blob(&Digest::of(b"abd")).parent().unwrap().to_owned();
        assert_eq!(SYNCED.take().last(), Some(&directory));
        crate::latest::move_latest_link(top.path(), "latest-C-1", "C-1-0").unwrap();
        // The link, before the word that it is moved.
        assert_eq!(SYNCED.take().first().map(PathBuf::as_path), Some(top.path()));
    }
}
