//! The state of a compose whose program is gone, read without changing anything.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use tutti_job::{Digest, Volumes};
use tutti_store::{RedbStore, StateStoreExt, StoreError, SystemClock};

use super::{Finding, Keeper, Severity, Subject, expected::blob_path};
use crate::{
    engine::stored::{ComposeKey, KEYS, Meta, chain, parse_key},
    lifecycle::{Header, JobRecord},
    plan::Plan,
    spec::ComposeSpec,
    volume::{self, VolumeError},
};

/// Why a state file cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum StateFileError {
    /// A program works with it.
    #[error(transparent)]
    InUse(StoreError),
    /// There is no place for the copy.
    #[error(
        "cannot make a directory for temporary files in {path} (hint: let TMPDIR name a directory that can be written)"
    )]
    Temporary {
        /// The place.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be copied.
    #[error("cannot read {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It has no such compose.
    #[error("{path} knows no compose {id}{}", if known.is_empty() { ", nor any other".to_owned() } else { format!("; it knows: {known}") })]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The compose.
        id: String,
        /// Ids of those it has.
        known: String,
    },
}

/// What could be read.
#[derive(Debug)]
pub struct Loaded {
    /// The compose's directory.
    pub top: PathBuf,
    /// The compose, if there is enough of it to check.
    pub subject: Option<Box<Subject>>,
    /// What was wrong with its state.
    pub findings: Vec<Finding>,
}

/// Reads one compose out of a state file. `top` is its directory; the state knows it where it is not given.
///
/// The file is copied first: opening it could repair it, and must not.
///
/// # Errors
/// [`StateFileError`]; a state file that is damaged is a finding.
pub async fn load(state: &Path, id: &str, top: Option<&Path>) -> Result<Loaded, StateFileError> {
    let temporary = |source| StateFileError::Temporary { path: std::env::temp_dir(), source };
    let copy = tempfile::tempdir().map_err(temporary)?;
    let path = copy.path().join("state.redb");
    copy_state(state, &path)?;
    let findings = |finding| Loaded { top: top.unwrap_or(state).to_owned(), subject: None, findings: vec![finding] };
    let store = match RedbStore::open(&path, Arc::new(SystemClock::new())).await {
        Ok(store) => store,
        Err(error) => return Ok(findings(damaged(state, &reason(error)))),
    };
    let listed = store.list(KEYS.as_bytes()).await;
    store.close().await;
    let page = match listed {
        Ok(page) => page,
        Err(error) => return Ok(findings(damaged(state, &reason(error)))),
    };
    let mut stored = Stored::default();
    let mut known = Vec::new();
    for kv in &page.kvs {
        match parse_key(&kv.key) {
            Some(ComposeKey::Meta(other)) if other != id => known.push(other.to_owned()),
            Some(key) => stored.take(state, id, &key, &kv.value),
            None => {}
        }
    }
    if !stored.seen {
        return Err(StateFileError::Unknown { path: state.to_owned(), id: id.to_owned(), known: known.join(", ") });
    }
    Ok(stored.load(state, id, top))
}

/// Copies the state file of a compose that nobody works on: whole, and without changing anything beside it.
///
/// # Errors
/// [`StateFileError`].
pub fn copy_state(state: &Path, to: &Path) -> Result<(), StateFileError> {
    copy_unused(state, || fs::copy(state, to).map(drop))
}

/// Times that a file is copied anew because somebody used it meanwhile and has ended.
const COPIES: u32 = 5;

/// Copies a state file that nobody uses, by `copy`: nobody does before, nobody does after, and it is the same file with the
/// same bytes.
fn copy_unused(state: &Path, copy: impl Fn() -> io::Result<()>) -> Result<(), StateFileError> {
    let failed = |source| StateFileError::Io { path: state.to_owned(), source };
    let look = || -> Result<[i128; 5], StateFileError> {
        let metadata = fs::metadata(state).map_err(failed)?;
        if !metadata.is_file() {
            return Err(failed(io::Error::other("it is no file")));
        }
        let (modified, changed) = (time_of(metadata.mtime(), metadata.mtime_nsec()), metadata.ctime_nsec());
        let changed = time_of(metadata.ctime(), changed);
        Ok([metadata.dev().into(), metadata.ino().into(), metadata.size().into(), modified, changed])
    };
    let mut before = look()?;
    RedbStore::check_free(state).map_err(StateFileError::InUse)?;
    for _ in 0..COPIES {
        copy().map_err(failed)?;
        RedbStore::check_free(state).map_err(StateFileError::InUse)?;
        let after = look()?;
        if after == before {
            return Ok(());
        }
        before = after;
    }
    Err(failed(io::Error::other("it changes all the time")))
}

fn time_of(seconds: i64, nanos: i64) -> i128 {
    i128::from(seconds) * 1_000_000_000 + i128::from(nanos)
}

/// Why, without the path: that of the copy says nothing to anybody.
fn reason(error: StoreError) -> String {
    match error {
        StoreError::Corrupt { problem, .. } => problem,
        other => other.to_string(),
    }
}

fn damaged(state: &Path, reason: &str) -> Finding {
    let what = format!("cannot be used: {reason}");
    let advice = "restore it from a copy; without it nothing more is known of the compose: make a new one";
    Finding::new(Severity::Error, state.display().to_string(), what, advice)
}

#[derive(Default)]
struct Stored {
    seen: bool,
    meta: Option<Meta>,
    header: Option<Header>,
    jobs: Vec<(u32, JobRecord)>,
    findings: Vec<Finding>,
}

impl Stored {
    fn take(&mut self, state: &Path, id: &str, key: &ComposeKey<'_>, value: &[u8]) {
        let (what, failed) = match key {
            ComposeKey::Meta(of) if *of == id => (
                "where it is".to_owned(),
                serde_json::from_slice(value).map(|meta| self.meta = Some(meta)).err().map(|e| e.to_string()),
            ),
            ComposeKey::Header(of) if *of == id => {
                let read = Header::decode(value).map(|header| self.header = Some(header));
                ("its status".to_owned(), read.err().map(|error| chain(&error)))
            }
            ComposeKey::Job(of, number) if *of == id => {
                let read = JobRecord::decode(value).map(|record| self.jobs.push((*number, record)));
                (format!("the record of job {number}"), read.err().map(|error| chain(&error)))
            }
            _ => return,
        };
        self.seen = true;
        if let Some(reason) = failed {
            let what = format!("has a record that cannot be read, {what}: {reason}");
            let advice = "use the release that wrote it, or a newer one; if it is damaged, restore it from a copy";
            self.findings.push(Finding::new(Severity::Error, state.display().to_string(), what, advice));
        }
    }

    fn load(mut self, state: &Path, id: &str, top: Option<&Path>) -> Loaded {
        let known = self.meta.as_ref().map(|meta| meta.top.clone());
        let directory = top.map(Path::to_owned).or(known).unwrap_or_else(|| state.to_owned());
        let (Some(meta), Some(header)) = (self.meta.take(), self.header.take()) else {
            if self.findings.is_empty() {
                self.findings.push(damaged(state, "it has jobs of the compose, but not the compose itself"));
            }
            return Loaded { top: directory, subject: None, findings: self.findings };
        };
        let volumes = Volumes::new(&directory);
        let spec = self.document::<ComposeSpec>(&volumes, &meta.spec, "spec");
        let plan = self.document::<Plan>(&volumes, &meta.plan, "plan");
        let (Some(spec), Some(plan)) = (spec, plan) else {
            return Loaded { top: directory, subject: None, findings: self.findings };
        };
        let mut jobs = vec![JobRecord::default(); plan.jobs.len()];
        for (number, record) in self.jobs {
            if let Some(slot) = jobs.get_mut(number as usize) {
                *slot = record;
            }
        }
        let subject = Subject {
            id: id.to_owned(),
            top: directory.clone(),
            recorded_top: meta.top,
            documents: [meta.spec, meta.plan],
            identity: spec.identity,
            plan,
            header,
            jobs,
            running: false,
            keeper: match top {
                Some(_) => Keeper::Itself,
                None => Keeper::Controller(state.to_owned()),
            },
        };
        Loaded { top: directory, subject: Some(Box::new(subject)), findings: self.findings }
    }

    /// The spec or the plan: without one of them nothing can be compared.
    fn document<T: serde::de::DeserializeOwned>(
        &mut self,
        volumes: &Volumes,
        digest: &Digest,
        name: &str,
    ) -> Option<T> {
        let read = volume::get_blob(volumes, digest);
        let reason = match read.map(|bytes| serde_json::from_slice(&bytes)) {
            Ok(Ok(document)) => return Some(document),
            Ok(Err(error)) => format!("cannot be read: {error}"),
            Err(VolumeError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => "is missing".to_owned(),
            Err(error) => chain(&error),
        };
        let what = format!("is the compose's {name} and {reason}; nothing can be compared without it");
        self.findings.push(Finding::new(Severity::Error, blob_path(digest), what, super::expected::LOST_BLOB));
        None
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    async fn open(state: &Path) -> RedbStore {
        RedbStore::open(state, Arc::new(SystemClock::new())).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_state_file_that_is_opened_while_it_is_copied_is_in_use_or_copied_anew() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state.redb");
        open(&state).await.close().await;
        let held = RefCell::new(None);
        let runtime = tokio::runtime::Handle::current();
        let opened = |state: &Path| tokio::task::block_in_place(|| runtime.block_on(open(state)));
        let copied = copy_unused(&state, || {
            held.replace(Some(opened(&state)));
            Ok(())
        });
        assert!(matches!(copied, Err(StateFileError::InUse(_))), "{copied:?}");
        held.take().unwrap().close().await;
        // Somebody came, wrote and went.
        let copies = Cell::new(0);
        let copied = copy_unused(&state, || {
            copies.set(copies.get() + 1);
            if copies.get() == 1 {
                let store = opened(&state);
                tokio::task::block_in_place(|| {
                    runtime.block_on(async {
                        store.put(b"k", b"v").await.unwrap();
                        store.close().await;
                    })
                });
            }
            Ok(())
        });
        assert!(copied.is_ok() && copies.get() == 2, "{copied:?} {}", copies.get());
    }
}
