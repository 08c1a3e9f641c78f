//! Outcomes on this host's disk, from the end of an attempt until the controller has settled it.
//!
//! A worker's children die with it, so after a restart only finished attempts matter: their outcomes are sent by the
//! next incarnation, under the fence of the old one.

use std::{
    fs, io,
    io::Read as _,
    io::Write as _,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use prost::Message as _;
use tutti_job::Digest;
use tutti_proto::worker::Outcome;

use crate::{config::StateGuard, state::Key};

/// Largest journal file that is read, bytes.
const MAX_SIZE: u64 = 16 << 20;

/// One outcome and the staging directory that its files are in.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Record {
    #[prost(message, optional, tag = "1")]
    pub(crate) outcome: Option<Outcome>,
    #[prost(string, tag = "2")]
    pub(crate) staging: String,
}

/// The directory of unsettled outcomes. One worker per directory.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    directory: PathBuf,
    /// That it fails was said, and nothing was written since.
    failing: Arc<AtomicBool>,
    /// Locked as long as it is open, with [`StateGuard::Lock`].
    _lock: Option<Arc<fs::File>>,
}

impl Journal {
    pub(crate) fn open(state: &std::path::Path, guard: StateGuard) -> io::Result<Self> {
        let directory = state.join("outcomes");
        fs::create_dir_all(&directory)?;
        if guard == StateGuard::Caller {
            return Ok(Self { directory, failing: Arc::default(), _lock: None });
        }
        let lock = fs::File::create(state.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => io::Error::other("another worker uses it"),
            fs::TryLockError::Error(error) => error,
        })?;
        Ok(Self { directory, failing: Arc::default(), _lock: Some(Arc::new(lock)) })
    }

    /// Notes whether a record could be written. Returns whether that it could not is news.
    pub(crate) fn note(&self, failed: bool) -> bool {
        !self.failing.swap(failed, Ordering::Relaxed) && failed
    }

    /// Where it is.
    pub(crate) fn place(&self) -> &std::path::Path {
        &self.directory
    }

    fn path(&self, key: &Key) -> PathBuf {
        // The compose's id comes from outside and is no file name.
        let compose = Digest::of(key.compose_id.as_bytes()).to_string();
        self.directory.join(format!("{}-{}.outcome", &compose[..16], key.fence))
    }

    /// Writes a record, whole or not at all.
    pub(crate) fn put(&self, key: &Key, record: &Record) -> io::Result<()> {
        tutti_failpoint::hit("worker.journal.put.before")?;
        let path = self.path(key);
        let temporary = path.with_extension("new");
        let write = || {
            // Somebody may have cleaned up too much.
            fs::create_dir_all(&self.directory)?;
            let mut file = fs::File::create(&temporary)?;
            file.write_all(&record.encode_to_vec())?;
            file.sync_all()?;
            tutti_failpoint::hit("worker.journal.put.written")?;
            tutti_files::rename(&temporary, &path)?;
            fs::File::open(&self.directory)?.sync_all()?;
            Ok(tutti_failpoint::hit("worker.journal.put.after")?)
        };
        write().inspect_err(|_| {
            // On a full disk half a file is in the way of the next one.
            let _ = tutti_files::remove_file(&temporary);
        })
    }

    /// Removes a record, if it is there.
    pub(crate) fn remove(&self, key: &Key) -> io::Result<()> {
        tutti_failpoint::hit("worker.journal.remove.before")?;
        tutti_files::remove_file(&self.path(key))?;
        Ok(tutti_failpoint::hit("worker.journal.remove.after")?)
    }

    /// All whole records. What is damaged is set aside as `….bad` and not read again.
    pub(crate) fn load(&self) -> io::Result<Vec<(Key, Record)>> {
        let mut records = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "outcome") {
                continue;
            }
            let mut bytes = Vec::new();
            fs::File::open(&path)?.take(MAX_SIZE).read_to_end(&mut bytes)?;
            let record = Record::decode(bytes.as_slice()).ok();
            let key = record.as_ref().and_then(|record| Key::of(record.outcome.as_ref()?.fence.as_ref()?));
            match (key, record) {
                (Some(key), Some(record)) => records.push((key, record)),
                (None, _) | (_, None) => {
                    tracing::warn!(path = %path.display(), "a journaled outcome is damaged and was set aside");
                    fs::rename(&path, path.with_extension("bad"))?;
                }
            }
        }
        records.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tutti_job::Fence;

    #[test]
    fn records_survive_and_damage_is_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::open(directory.path(), StateGuard::Lock).unwrap();
        let key = Key { compose_id: "../C/1".into(), fence: Fence { job: 1, attempt: 2, executor: 3 } };
        let outcome = Outcome { fence: Some(key.to_proto()), ..Outcome::default() };
        let record = Record { outcome: Some(outcome), staging: "/s".into() };
        journal.put(&key, &record).unwrap();
        fs::write(directory.path().join("outcomes/x.outcome"), b"\xff\xff").unwrap();
        fs::write(directory.path().join("outcomes/y.new"), b"half").unwrap();
        let error = Journal::open(directory.path(), StateGuard::Lock).unwrap_err();
        assert!(error.to_string().contains("another worker"), "{error}");
        drop(journal);
        let journal = Journal::open(directory.path(), StateGuard::Lock).unwrap();
        assert_eq!(journal.load().unwrap(), [(key.clone(), record)]);
        assert!(directory.path().join("outcomes/x.bad").exists());
        journal.remove(&key).unwrap();
        journal.remove(&key).unwrap();
        assert!(journal.load().unwrap().is_empty());
    }
}
