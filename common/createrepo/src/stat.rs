//! Size and mtime of many files.
//!
//! Half of what it costs to look at a file is finding it by its path. While a directory is walked it is open anyway, and
//! files are looked up in it: by another thread, as looking takes as long as walking.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::AtFlags;

use crate::tasks::Task;

/// What is compared with old metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    /// Size in bytes.
    pub(crate) size: u64,
    /// mtime, seconds since 1970.
    pub(crate) mtime: u64,
}

/// Tasks that are looked at together.
const BATCH: usize = 500;
/// Batches that may wait, each of which may keep a directory open.
const WAITING: usize = 64;

/// Tasks whose files lie in one directory, or anywhere.
struct Batch {
    directory: Option<Arc<OwnedFd>>,
    tasks: Vec<Task>,
}

/// Takes tasks, and has their files looked at.
pub(crate) struct Looker {
    /// Whether they are looked at at all.
    wanted: bool,
    /// Where others wait for them.
    others: Option<SyncSender<Batch>>,
    next: Vec<Task>,
    done: Vec<Task>,
}

impl Looker {
    /// Adds a task. `directory` is the one that its file is in, the same until [`Self::flush`].
    pub(crate) fn add(&mut self, task: Task, directory: Option<&Arc<OwnedFd>>) {
        self.next.push(task);
        if self.next.len() >= BATCH {
            self.flush(directory);
        }
    }

    /// Ends a directory.
    pub(crate) fn flush(&mut self, directory: Option<&Arc<OwnedFd>>) {
        let batch = Batch { directory: directory.cloned(), tasks: std::mem::take(&mut self.next) };
        if !self.wanted || batch.tasks.is_empty() {
            return self.done.extend(batch.tasks);
        }
        let left = match &self.others {
            Some(others) => others.try_send(batch).err().map(|error| match error {
                TrySendError::Full(batch) | TrySendError::Disconnected(batch) => batch,
            }),
            None => Some(batch),
        };
        // Those who look are behind, or there are none.
        if let Some(batch) = left {
            self.done.extend(batch.look());
        }
    }
}

/// Runs `find`, which adds tasks and flushes them. Returns what it returns and the tasks, in any order. If `wanted`, their
/// files are looked at, on so many threads; who cannot be looked at has no [`Stat`].
pub(crate) fn look<T>(workers: usize, wanted: bool, find: impl FnOnce(&mut Looker) -> T) -> (T, Vec<Task>) {
    let (sender, receiver) = sync_channel(WAITING);
    let receiver = Mutex::new(receiver);
    std::thread::scope(|scope| {
        let count = if wanted { workers.saturating_sub(1) } else { 0 };
        let others: Vec<_> = (0..count).map(|_| scope.spawn(|| drain(&receiver))).collect();
        let senders = (count > 0).then_some(sender);
        let mut looker = Looker { wanted, others: senders, next: Vec::new(), done: Vec::new() };
        let found = find(&mut looker);
        let Looker { mut done, others: senders, .. } = looker;
        // Nothing more comes.
        drop(senders);
        done.extend(drain(&receiver));
        for other in others {
            match other.join() {
                Ok(more) => done.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        (found, done)
    })
}

fn drain(receiver: &Mutex<Receiver<Batch>>) -> Vec<Task> {
    let mut looked = Vec::new();
    loop {
        let batch = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(batch) = batch else { return looked };
        looked.extend(batch.look());
    }
}

impl Batch {
    fn look(mut self) -> Vec<Task> {
        for task in &mut self.tasks {
            task.stat = match &self.directory {
                Some(directory) => look_in(directory, task.name()),
                None => look_alone(&task.path()),
            };
        }
        self.tasks
    }
}

fn look_in(directory: &OwnedFd, name: &str) -> Option<Stat> {
    let found = rustix::fs::statat(directory, name, AtFlags::empty()).ok()?;
    Some(Stat { size: u64::try_from(found.st_size).ok()?, mtime: u64::try_from(found.st_mtime).ok()? })
}

fn look_alone(path: &Path) -> Option<Stat> {
    let found = fs::metadata(path).ok()?;
    Some(Stat { size: found.len(), mtime: u64::try_from(found.mtime()).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{LocationOptions, Selection};
    use crate::tasks;
    use std::time::{Duration, SystemTime};

    #[test]
    fn all_are_looked_at_wherever_they_lie() {
        let top = tempfile::tempdir().unwrap();
        let mut lines = String::new();
        for number in 0..1800u64 {
            // A directory of several batches, and more directories than are kept open.
            let name = match number {
                0..1200 => format!("many/{number}.rpm"),
                1200..1600 => format!("few{number}/{number}.rpm"),
                _ => format!("{number}.rpm"),
            };
            let path = top.path().join(&name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, vec![0; number as usize]).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(number);
            fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
            lines.push_str(&name);
            lines.push('\n');
        }
        std::os::unix::fs::symlink("7.rpm", top.path().join("many/link.rpm")).unwrap();
        lines.push_str("many/link.rpm\nmany/none.rpm\nnone/none.rpm");
        let (selection, location) = (Selection::default(), LocationOptions::default());
        for (workers, wanted) in [(1, true), (2, true), (5, true), (2, false)] {
            let (_, listed) =
                look(workers, wanted, |looker| tasks::listed(top.path(), lines.lines(), &selection, &location, looker));
            let (_, walked) = look(workers, wanted, |looker| tasks::walk(top.path(), &selection, &location, looker));
            assert_eq!((listed.len(), walked.len()), (1803, 1801));
            for task in listed.iter().chain(&walked) {
                let number = match task.name() {
                    "none.rpm" => None,
                    "link.rpm" => Some(7),
                    name => name.strip_suffix(".rpm").unwrap().parse().ok(),
                };
                let expected = number.filter(|_| wanted).map(|number| Stat { size: number, mtime: number });
                assert_eq!(task.stat, expected, "{}", task.path().display());
            }
        }
    }
}
