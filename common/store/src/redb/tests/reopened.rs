//! A file that somebody takes over while it is being opened again.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ::redb::StorageBackend;

use crate::clock::ManualClock;
use crate::error::{ErrorKind, StoreError};
use crate::owner::{Owner, TakeOver};
use crate::redb::RedbStore;
use crate::redb::medium::{FileSystem, Medium};
use crate::redb::slot::Slot;
use crate::store::StateStoreExt as _;

/// The real files; when `late` is set, another's record follows before the file is opened.
#[derive(Debug, Default)]
struct Late(AtomicBool);

impl Medium for Late {
    fn own(&self, path: &Path, take_over: TakeOver) -> Result<Option<Owner>, StoreError> {
        FileSystem.own(path, take_over)
    }

    fn open(&self, path: &Path) -> io::Result<(Arc<dyn StorageBackend>, u64)> {
        if self.0.load(Ordering::SeqCst) {
            let head = fs::read_to_string(path.with_extension("owner"))?;
            let next = head.replace("number 1", "number 2").replace("token ", "token another-");
            fs::write(path.with_extension("owner.2"), next)?;
        }
        FileSystem.open(path)
    }
}

#[tokio::test]
async fn r15_a_file_that_is_taken_over_while_it_is_opened_again_is_left_alone() {
    for late in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let medium = Arc::new(Late::default());
        let clock = Arc::new(ManualClock::new());
        let store = RedbStore::open_on(Arc::clone(&medium) as _, path.clone(), clock, TakeOver::No).await.unwrap();
        store.put(b"key", b"1").await.unwrap();
        *store.inner.slot.write().unwrap() = Slot::Broken;
        medium.0.store(late, Ordering::SeqCst);
        if !late {
            // Its record is not to be seen yet, its copy is.
            let copy = directory.path().join("copy");
            fs::copy(&path, &copy).unwrap();
            fs::rename(&copy, &path).unwrap();
        }
        let modified = || fs::metadata(&path).unwrap().modified().unwrap();
        let before = modified();
        assert_eq!(store.get(b"key").await.unwrap_err().kind(), ErrorKind::TakenOver, "{late}");
        assert_eq!(modified(), before, "{late}: it was written to");
    }
}
