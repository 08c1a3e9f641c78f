//! Names on a volume that may be NFS.
//!
//! A call that changes a name is sent again by the NFS client when its reply was lost, and the second copy finds the
//! work done: `link`, `mkdir` and `symlink` then report EEXIST, `rename` and `unlink` ENOENT, though they succeeded
//! (RFC 1813, section 4.5: the server's cache of replies is small and does not outlive it). `stat` decides here what was
//! done. Use these in place of `std::fs` for whatever may lie on a compose's volume. `std::fs::create_dir_all` looks by
//! itself, and creating a file exclusively is safe by the protocol (a verifier in NFSv3, the session in NFSv4.1).
//!
//! [`trouble`] tells errors of the volume, which pass when somebody mends it, from those of what was asked for, and
//! [`chain`] is how an error is told to people.

mod chain;
mod claim;
mod dots;
mod shown;
mod trouble;

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

pub use chain::chain;
pub use claim::{Claim, claim_dir};
pub use dots::{NotFound, without_dots};
pub use shown::shown;
pub use trouble::{Trouble, hint_of, trouble, trouble_of};

/// What makes a file the same one under another name.
fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn is_absent(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

fn is_same(path: &Path, wanted: (u64, u64)) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| identity(&metadata) == wanted)
}

/// Returns when a file's content, or a directory's names, are on the disk: then not even a power cut takes them.
///
/// # Errors
/// Those of [`fs::File::open`] and [`fs::File::sync_all`].
pub fn sync(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}

/// As [`sync`], of a directory's names. File systems that cannot do that (EINVAL) are believed to keep them.
///
/// # Errors
/// Those of [`sync`].
pub fn sync_names(directory: &Path) -> io::Result<()> {
    match sync(directory) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        other => other,
    }
}

/// Renames as [`fs::rename`]. A rename that reports ENOENT is done if the old name is gone and the new one is the file.
///
/// # Errors
/// Those of `rename`.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let before = fs::symlink_metadata(from).map(|metadata| identity(&metadata));
    match (fs::rename(from, to), before) {
        (Err(error), Ok(file)) if error.kind() == io::ErrorKind::NotFound && is_absent(from) && is_same(to, file) => {
            Ok(())
        }
        (result, _) => result,
    }
}

/// Links as [`fs::hard_link`]. A link that reports EEXIST is done if the name is that of the very file.
///
/// # Errors
/// Those of `link`.
pub fn hard_link(original: &Path, link: &Path) -> io::Result<()> {
    match fs::hard_link(original, link) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let file = identity(&fs::symlink_metadata(original)?);
            if is_same(link, file) { Ok(()) } else { Err(error) }
        }
        other => other,
    }
}

/// As [`hard_link`], of the file that a symbolic link leads to.
///
/// # Errors
/// Those of `linkat`.
pub fn hard_link_followed(original: &Path, link: &Path) -> io::Result<()> {
    let linked = rustix::fs::linkat(CWD, original, CWD, link, AtFlags::SYMLINK_FOLLOW);
    match linked.map_err(io::Error::from) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let file = identity(&fs::metadata(original)?);
            if is_same(link, file) { Ok(()) } else { Err(error) }
        }
        other => other,
    }
}

/// Opens a regular file for reading. Links, pipes and devices are refused, and do not block.
///
/// # Errors
/// Those of `open`, and for what is no regular file.
pub fn open_regular(path: &Path) -> io::Result<fs::File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = fs::File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("is not a regular file")) }
}

/// Makes a symbolic link; one that is there with the same target is as good.
///
/// # Errors
/// Those of `symlink`.
pub fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    match std::os::unix::fs::symlink(target, link) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if fs::read_link(link).is_ok_and(|found| found == target) { Ok(()) } else { Err(error) }
        }
        other => other,
    }
}

/// Makes a directory; one that is there is as good, and a link to one is none. Returns whether it is new, as far as
/// that can be told.
///
/// # Errors
/// Those of `mkdir`.
pub fn ensure_dir(path: &Path) -> io::Result<bool> {
    match fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir()) { Ok(false) } else { Err(error) }
        }
        Err(error) => Err(error),
    }
}

fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Removes a file, if it is there.
///
/// # Errors
/// Those of `unlink`.
pub fn remove_file(path: &Path) -> io::Result<()> {
    gone(fs::remove_file(path))
}

/// Removes an empty directory, if it is there.
///
/// # Errors
/// Those of `rmdir`.
pub fn remove_dir(path: &Path) -> io::Result<()> {
    gone(fs::remove_dir(path))
}

/// Removes a directory with all that is in it, if it is there.
///
/// # Errors
/// Those of what it calls.
pub fn remove_dir_all(path: &Path) -> io::Result<()> {
    gone(fs::remove_dir_all(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_is_done_and_what_is_not_is_an_error() {
        let top = tempfile::tempdir().unwrap();
        let path = |name: &str| top.path().join(name);
        let (a, b, c) = (path("a"), path("b"), path("c"));
        fs::write(&a, "a").unwrap();
        fs::write(&c, "c").unwrap();
        hard_link(&a, &b).unwrap();
        hard_link(&a, &b).unwrap();
        assert!(hard_link(&a, &c).is_err(), "another file");
        assert!(rename(&path("none"), &b).is_err());
        symlink(Path::new("a"), &path("l")).unwrap();
        symlink(Path::new("a"), &path("l")).unwrap();
        assert!(symlink(Path::new("b"), &path("l")).is_err(), "another target");
        hard_link_followed(&path("l"), &path("f")).unwrap();
        hard_link_followed(&path("l"), &path("f")).unwrap();
        assert!(is_same(&path("f"), identity(&fs::metadata(&a).unwrap())));
        assert!(hard_link_followed(&path("l"), &c).is_err(), "another file");
        assert!(ensure_dir(&path("d")).unwrap());
        assert!(!ensure_dir(&path("d")).unwrap());
        assert!(ensure_dir(&c).is_err() && ensure_dir(&path("l")).is_err());
        remove_file(&c).unwrap();
        remove_file(&c).unwrap();
        remove_dir(&path("d")).unwrap();
        remove_dir(&path("d")).unwrap();
        remove_dir_all(&path("d")).unwrap();
    }
}
