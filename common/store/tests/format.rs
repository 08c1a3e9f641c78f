//! The stored format: samples of every version still load, and a version from the future is refused.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use redb::{Database, TableDefinition};
use tutti_store::{ErrorKind, LeaseId, ManualClock, RedbStore, Revision, StateStore as _, StateStoreExt as _};

const META: TableDefinition<'static, &str, i64> = TableDefinition::new("meta");

fn copy_of_sample(directory: &Path) -> std::io::Result<PathBuf> {
    let path = directory.join("state");
    std::fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/format-1.redb"), &path)?;
    Ok(path)
}

/// What `tests/data/format-1.redb` holds: two puts of `compose/1`, of which the first is compacted away, `compose/2`
/// put and deleted, two puts of `job/1` and a key under a lease of 30 s. It has no count of commits.
#[tokio::test]
async fn format_1_loads() {
    let directory = tempfile::tempdir().unwrap();
    let path = copy_of_sample(directory.path()).unwrap();
    for round in 0..2 {
        let clock = ManualClock::new();
        let store = RedbStore::open(&path, Arc::new(clock.clone())).await.unwrap();
        let page = store.list(b"").await.unwrap();
        assert_eq!(page.revision, Revision(5 + round));
        let found: Vec<_> = page.kvs.iter().map(|kv| (kv.key.as_slice(), kv.value.as_slice(), kv.version)).collect();
        let job: &[u8] = if round == 0 { b"done" } else { b"again" };
        assert_eq!(
            found,
            [(&b"compose/1"[..], &b"second"[..], 2), (b"job/1", job, 2 + round), (b"worker/a", b"alive", 1)]
        );
        assert_eq!(page.kvs[0].create_revision, Revision(2));
        assert_eq!(page.kvs[2].lease, Some(LeaseId(1)));
        let old = store.watch(Vec::new(), Revision(2)).await.map(drop).unwrap_err();
        assert_eq!(old.kind(), ErrorKind::Compacted { compact_revision: Revision(3) });
        let mut watch = store.watch(Vec::new(), Revision(3)).await.unwrap();
        assert_eq!(watch.next().await.unwrap().events.len(), 3);
        assert_eq!(watch.next().await.unwrap().events.len(), 2);
        // And it can be written.
        store.put(b"job/1", b"again").await.unwrap();
        assert_eq!(store.grant(Duration::from_secs(5)).await.unwrap().id, LeaseId(2 + round));
        if round == 1 {
            clock.advance(Duration::from_secs(30));
            assert_eq!(store.get(b"worker/a").await.unwrap(), None);
        }
        store.close().await;
    }
}

#[tokio::test]
async fn another_format_is_refused() {
    for (format, says) in [(Some(2), "format version 2, this program knows 1"), (None, "format version none")] {
        let directory = tempfile::tempdir().unwrap();
        let path = copy_of_sample(directory.path()).unwrap();
        let database = Database::open(&path).unwrap();
        let write = database.begin_write().unwrap();
        match format {
            Some(format) => drop(write.open_table(META).unwrap().insert("format", format).unwrap()),
            None => drop(write.open_table(META).unwrap().remove("format").unwrap()),
        }
        write.commit().unwrap();
        drop(database);
        let error = RedbStore::open(&path, Arc::new(ManualClock::new())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let text = error.to_string();
        assert!(text.contains(says) && text.contains("use the version of tutti that wrote it"), "{text}");
    }
}
