//! Checksums of earlier runs, one small file each. The directory may be that of createrepo_c's `--cachedir`, but neither
//! uses what the other has written.
//!
//! The name says which file is meant: base name, a checksum over both headers and the file's size, installed size,
//! mtime. createrepo_c 1.2.5 (`parsepkg.c`) takes two signature tags and the header's SHA-1 in place of the headers, so
//! that a package and the same signed in today's way have one name, and the checksum of one may be given to the other.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use tutti_repodata::{Checksum, ChecksumType};
use tutti_rpm::HeaderFile;

use crate::error::Error;

/// A directory of checksums.
pub(crate) struct Cache {
    directory: PathBuf,
    kind: ChecksumType,
}

impl Cache {
    /// Opens a directory; makes it, but not its parents.
    pub(crate) fn open(directory: PathBuf, kind: ChecksumType) -> Result<Self, Error> {
        if !directory.is_dir() {
            tutti_files::ensure_dir(&directory).map_err(Error::io("create", &directory))?;
        }
        Ok(Self { directory, kind })
    }

    /// The file for a package.
    pub(crate) fn path(&self, href: &str, headers: &HeaderFile, installed: u64, (size, mtime): (u64, i64)) -> PathBuf {
        let mut hasher = self.kind.hasher();
        hasher.update(headers.signature().bytes());
        hasher.update(headers.header().bytes());
        hasher.update(&size.to_le_bytes());
        let name = href.rsplit('/').next().unwrap_or(href);
        self.directory.join(format!("{name}-{}-{installed}-{mtime}", hasher.finish().hex()))
    }

    /// What an earlier run found; what is no checksum of this type is not believed.
    pub(crate) fn get(&self, path: &Path) -> Option<Checksum> {
        let text = fs::read_to_string(path).ok().filter(|text| text.len() == self.kind.hex_len())?;
        Checksum::new(self.kind, &text).ok()
    }

    /// Remembers a checksum. A cache that cannot be written is no reason to fail: the next run reads the file again.
    pub(crate) fn put(&self, path: &Path, checksum: &Checksum) {
        let write = || -> std::io::Result<()> {
            let mut file = tempfile::Builder::new()
                .prefix(".checksum-")
                .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666))
                .tempfile_in(&self.directory)?;
            file.write_all(checksum.hex().as_bytes())?;
            file.persist(path).map_err(|error| error.error)?;
            Ok(())
        };
        let _ = write();
    }
}
