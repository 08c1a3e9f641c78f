//! Frames of an earlier compose's metadata, which need not be compressed again.
//!
//! Composes of one target directory lie side by side, and most of a repository is as it was in the one before. A frame
//! is copied when it unpacks to the very text that this job is about to write, and its file says that the same compressor
//! made it: what the earlier compose was made of, with which options and by which version, and whether it is damaged,
//! makes no difference to any byte, but only to the time. So nothing of this is in the job's spec, and the earlier compose
//! may vanish at any moment. That its file names its compressor truly, and that a frame is one, is believed: so nothing is
//! copied from what another user could have written ([`is_own`]).

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tutti_job::{JobSpec, Volumes};
use tutti_repodata::{Entry, MetadataFile, Previous, Repository, StoredFrame};
use tutti_rpm::version_compare;

use crate::{JobContext, error::chain, log};

/// Composes that are looked at for a repository, the newest first.
const MAX_LOOKS: usize = 64;

/// The `repodata` of an earlier compose that is likely to have the most frames of `output`, if there is one: that of the
/// newest compose of the same release beside this one, else of any. Without package records nothing of other composes is
/// used.
pub(super) fn find(volumes: &Volumes, spec: &JobSpec, output: &str) -> Option<PathBuf> {
    volumes.records.as_ref()?;
    let target = volumes.resolve(&spec.output(output).ok()?.target.parse().ok()?).ok()?;
    let below = target.strip_prefix(&volumes.top).ok()?;
    let (parent, own) = (volumes.top.parent()?, volumes.top.file_name()?.to_str()?);
    // No link on the way: it could lead anywhere, and what is named here the job may read.
    let parent = fs::canonicalize(parent).ok()?;
    let names = fs::read_dir(&parent).ok()?.filter_map(|item| {
        let item = item.ok().filter(|item| item.file_type().is_ok_and(|kind| kind.is_dir()))?;
        item.file_name().into_string().ok().filter(|name| name != own && !name.starts_with('.'))
    });
    let mut names: Vec<String> = names.collect();
    let is_same = |name: &String| release(name) == release(own);
    names.sort_by(|a, b| is_same(b).cmp(&is_same(a)).then_with(|| version_compare(b, a)));
    let mut repositories = names.iter().take(MAX_LOOKS).map(|name| parent.join(name).join(below));
    let is_direct = |path: &Path| fs::canonicalize(path).is_ok_and(|real| real == path);
    repositories.find(|path| is_direct(path) && path.join("repomd.xml").is_file() && is_own(&parent, path))
}

/// Whether this user owns a repository below `parent`, with all that leads to it from there and all files in it, and
/// nobody but the user's own group may write there, or rename what is in `parent`. It is looked at once: who may change it
/// later is trusted anyway.
fn is_own(parent: &Path, repodata: &Path) -> bool {
    const WRITABLE_BY_GROUP: u32 = 0o020;
    const WRITABLE_BY_ALL: u32 = 0o002;
    const STICKY: u32 = 0o1000;
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let is_closed = |found: &fs::Metadata| {
        found.mode() & WRITABLE_BY_ALL == 0 && (found.mode() & WRITABLE_BY_GROUP == 0 || found.gid() == group)
    };
    let own = |path: &Path| fs::symlink_metadata(path).is_ok_and(|found| found.uid() == user && is_closed(&found));
    if !fs::metadata(parent).is_ok_and(|found| is_closed(&found) || found.mode() & STICKY != 0) {
        return false;
    }
    let is_file = |item: &fs::DirEntry| item.file_type().is_ok_and(|kind| kind.is_file());
    let files = fs::read_dir(repodata).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    repodata.ancestors().take_while(|way| *way != parent).all(own)
        && files.is_ok_and(|files| files.iter().all(|file| is_file(file) && own(&file.path())))
}

/// What comes before the date in the id of a compose.
fn release(id: &str) -> &str {
    id.rsplit_once('-').map_or(id, |(release, _)| release)
}

/// A repository of an earlier compose.
pub(super) struct Earlier {
    previous: Previous,
    /// Numbers of its packages by their locations.
    numbers: HashMap<String, usize>,
    /// Why it is of no use any more.
    trouble: Mutex<Option<String>>,
    failed: AtomicBool,
}

impl Earlier {
    /// Opens a `repodata` that [`find`] found. One that is of no use is noted in the log.
    pub(super) fn open(context: &JobContext, repodata: &Path) -> Option<Self> {
        let directory = repodata.parent()?;
        let opened = Repository::open_local(directory).map_err(|error| chain(&error)).and_then(|repository| {
            Previous::open(directory, repository.repomd(), context.threads).map_err(|error| chain(&error))
        });
        match opened {
            Ok(previous) => {
                log!(context, "frames of {} are copied where they are the same", directory.display());
                let packages = previous.packages().iter().enumerate();
                let numbers = packages.map(|(number, package)| (package.location_href.clone(), number)).collect();
                Some(Self { previous, numbers, trouble: Mutex::default(), failed: AtomicBool::new(false) })
            }
            Err(error) => {
                log!(context, "no frames of {} are copied: {error}", directory.display());
                None
            }
        }
    }

    /// A frame that may be the one of these packages: its text is to be compared.
    pub(super) fn frame(&self, file: MetadataFile, entries: &[&Entry], maker: &str) -> Option<StoredFrame> {
        if self.failed.load(Ordering::Relaxed) {
            return None;
        }
        let first = *self.numbers.get(&entries.first()?.location_href)?;
        let packages = self.previous.packages().get(first..first.checked_add(entries.len())?)?;
        // Spares unpacking what is certainly another.
        if entries.iter().zip(packages).any(|(entry, package)| entry.checksum != package.checksum) {
            return None;
        }
        self.previous.frame(file, first, entries, maker).unwrap_or_else(|error| {
            self.failed.store(true, Ordering::Relaxed);
            *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(chain(&error));
            None
        })
    }

    /// Notes in the log what went wrong meanwhile.
    pub(super) fn tell(&self, context: &JobContext) {
        if let Some(trouble) = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take() {
            log!(context, "from there on no frames were copied: {trouble}");
        }
    }
}
