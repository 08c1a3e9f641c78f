//! New packs.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{OWNER, PackDirectory, PackName, open_regular};
use crate::checkpoint::Checkpoints;
use crate::checksum::ChecksumType;
use crate::records::RecordsError;

/// How often records that vanish meanwhile are given their name again.
const TRIES: usize = 3;

impl PackDirectory {
    /// Lists a sealed file of records, `records`, whose `index` was written with [`crate::RecordsWriter::write_index`]
    /// for the owner [`OWNER`]. Both get a second name where the file system can do that, and are copied elsewhere. A
    /// pack that is there already is as good, if it is whole; a damaged one is replaced.
    ///
    /// # Errors
    /// When the two do not belong together or are damaged, or when names cannot be made; nothing is listed then.
    pub fn publish(&self, records: &Path, index: &Path) -> Result<PackName, RecordsError> {
        let mut check = Checkpoints::new(OWNER);
        check.add(index, &open_regular(index)?, &Arc::new(open_regular(records)?))?;
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| RecordsError::Io { action: "publish", path, source }
        };
        let (sum, _) = ChecksumType::Sha256.hash_file(index).map_err(io(index))?;
        let name = PackName(sum.hex()[..32].to_owned());
        let directory = self.packs();
        tutti_files::ensure_dir(self.root()).map_err(io(self.root()))?;
        tutti_files::ensure_dir(&directory).map_err(io(&directory))?;
        let [to_records, to_index] = self.paths(&name);
        if self.is_damaged(&name, sum.hex()) {
            replace(records, &to_records).map_err(io(&to_records))?;
            replace(index, &to_index).map_err(io(&to_index))?;
        }
        for _ in 0..TRIES {
            place(records, &to_records).map_err(io(&to_records))?;
            place(index, &to_index).map_err(io(&to_index))?;
            // Records of an unlisted pack of that name may have been removed just now.
            if fs::symlink_metadata(&to_records).is_ok() {
                break;
            }
        }
        File::open(&directory).and_then(|directory| directory.sync_all()).map_err(io(&directory))?;
        Ok(name)
    }
}

impl PackDirectory {
    /// Whether something has the names of this pack and is not what they say. All of it is read, which is rare: it
    /// was made anew because it could not be used.
    fn is_damaged(&self, name: &PackName, index_sum: &str) -> bool {
        let [records, index] = self.paths(name);
        let [has_records, has_index] = [&records, &index].map(|path| fs::symlink_metadata(path).is_ok());
        if !has_index {
            // Of a killed writer, or of a pack that is unlisted: nothing says what is in it.
            return has_records;
        }
        let is_index = open_regular(&index).is_ok()
            && ChecksumType::Sha256.hash_file(&index).is_ok_and(|(sum, _)| sum.hex() == index_sum);
        !is_index || self.check(name).is_err()
    }
}

/// Gives a file another name, whatever has that name now. Whoever has that open, or reads it while its index is read,
/// goes on with what it has, and finds out as before what is wrong with it; whoever opens the name finds the old file
/// or the new one. As the name stands for the content, two writers who replace it at once do the same.
fn replace(from: &Path, to: &Path) -> io::Result<()> {
    let partial = temporary(to.parent().unwrap_or(Path::new("/")));
    let replaced = place(from, &partial).and_then(|()| tutti_files::rename(&partial, to));
    // Two names of one file are not renamed to each other: then the first one is still there.
    let _ = fs::remove_file(&partial);
    replaced
}

/// A name in a directory that nobody else uses.
pub(super) fn temporary(directory: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // Process ids are those of one host; the time tells hosts apart, and a host's own earlier life.
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos();
    directory.join(format!(".{time:x}-{}-{}.partial", process::id(), NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// Gives a file another name. A file that has the name already is the same.
fn place(from: &Path, to: &Path) -> io::Result<()> {
    match tutti_files::hard_link(from, to) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) if tutti_files::trouble(&error).is_some() => return Err(error),
        // Another file system, or one without hard links, or a file that has too many.
        Err(_) => {}
    }
    let partial = temporary(to.parent().unwrap_or(Path::new("/")));
    let copied = || -> io::Result<()> {
        fs::copy(from, &partial)?;
        File::open(&partial)?.sync_all()?;
        tutti_files::rename(&partial, to)
    };
    copied().inspect_err(|_| drop(fs::remove_file(&partial)))
}
