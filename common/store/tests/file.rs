//! The contract on redb, what outlives the process, and files that are no state files.

mod contract;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use contract::Subject;
use tutti_store::{
    ErrorKind, ManualClock, Operation, RangeRequest, RedbStore, Revision, StateStore as _, StateStoreExt as _,
    StoreError, Txn,
};

macro_rules! contract {
    ($($name:ident),* $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let directory = tempfile::tempdir().unwrap();
            let clock = ManualClock::new();
            let store = open(&directory.path().join("state"), &clock).await.unwrap();
            contract::$name(Subject { store: Arc::new(store), clock }).await;
        }
    )*};
}
contract!(
    revisions_and_versions,
    compares,
    limits,
    ranges_and_pages,
    history_and_compaction,
    watches,
    leases,
    revoked_leases,
    leaders_follow_each_other,
    writer_commits_in_groups,
);

async fn open(path: &Path, clock: &ManualClock) -> Result<RedbStore, StoreError> {
    RedbStore::open(path, Arc::new(clock.clone())).await
}

#[tokio::test]
async fn everything_outlives_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let clock = ManualClock::new();
    let store = open(&path, &clock).await.unwrap();
    let lease = store.grant(Duration::from_secs(10)).await.unwrap().id;
    store.txn(Txn::new().and(Operation::put_leased("leased", "", lease)).put("kept", "1")).await.unwrap();
    store.put(b"kept", b"2").await.unwrap();
    clock.advance(Duration::from_secs(9));
    store.clone().close().await;
    assert_eq!(store.get(b"kept").await.unwrap_err().kind(), ErrorKind::Unavailable);

    let store = open(&path, &clock).await.unwrap();
    let kv = store.get(b"kept").await.unwrap().unwrap();
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (Revision(2), Revision(3), 2));
    let old = store.range(RangeRequest::key("kept").at(Revision(2))).await.unwrap();
    assert_eq!(old.kvs[0].value, b"1");
    let mut watcher = store.watch(b"kept".to_vec(), Revision(2)).await.unwrap();
    assert_eq!(watcher.next().await.unwrap().revision, Revision(2));
    // The lease has its full time again, and then ends.
    clock.advance(Duration::from_secs(9));
    assert!(store.get(b"leased").await.unwrap().is_some());
    clock.advance(Duration::from_secs(1));
    assert!(store.get(b"leased").await.unwrap().is_none());
    let other = store.grant(Duration::from_secs(10)).await.unwrap().id;
    assert_ne!(other, lease);
    store.compact(Revision(3)).await.unwrap();
    store.shrink().await.unwrap();
    store.close().await;
    let store = open(&path, &clock).await.unwrap();
    let compacted = store.range(RangeRequest::key("kept").at(Revision(2))).await.unwrap_err();
    assert_eq!(compacted.kind(), ErrorKind::Compacted { compact_revision: Revision(3) });
}

#[tokio::test]
async fn one_process_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let clock = ManualClock::new();
    let store = open(&path, &clock).await.unwrap();
    let error = open(&path, &clock).await.unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }));
    assert!(error.to_string().contains("in use by another tutti process"), "{error}");
    store.close().await;
    open(&path, &clock).await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_none_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let good = directory.path().join("good");
    let store = open(&good, &clock).await.unwrap();
    for n in 0..200 {
        store.put(format!("key/{n}").as_bytes(), &[7; 500]).await.unwrap();
    }
    store.close().await;
    let bytes = std::fs::read(&good).unwrap();
    let cases =
        [Vec::new(), b"not a store at all".to_vec(), vec![0; 1 << 16], bytes[..100].to_vec(), bytes[..5000].to_vec()];
    for (number, content) in cases.into_iter().enumerate() {
        let path = directory.path().join(format!("bad{number}"));
        std::fs::write(&path, &content).unwrap();
        let error = open(&path, &clock).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "case {number}: {error}");
        assert!(error.to_string().contains("hint: "), "{error}");
        assert_eq!(std::fs::read(&path).unwrap().len(), content.len(), "case {number}");
    }
    let missing = directory.path().join("no/such/state");
    assert_eq!(open(&missing, &clock).await.unwrap_err().kind(), ErrorKind::Unavailable);
}

/// Not a test of its own: the child of the next one. Writes until it is killed, and says what was answered.
#[tokio::test]
async fn child_writes() {
    let Some(path) = std::env::var_os("STORE_TEST_CHILD") else { return };
    let store = open(Path::new(&path), &ManualClock::new()).await.unwrap();
    for n in 0..u32::MAX {
        let key = format!("key/{n:08}");
        store.txn(Txn::new().put(key, "v").put("count", n.to_string())).await.unwrap();
        eprintln!("done {n}");
    }
}

#[tokio::test]
async fn what_was_answered_survives_sigkill() {
    use std::io::{BufRead as _, BufReader};
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let mut answered = None;
    for round in 1..=3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_writes", "--nocapture"])
            .env("STORE_TEST_CHILD", &path)
            .stderr(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        for _ in 0..20 * round {
            let line = lines.next().unwrap().unwrap();
            answered = line.strip_prefix("done ").map(|n| n.parse::<u32>().unwrap());
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let store = open(&path, &ManualClock::new()).await.unwrap();
        let count = store.get(b"count").await.unwrap().unwrap();
        let count: u32 = String::from_utf8(count.value).unwrap().parse().unwrap();
        assert!(count >= answered.unwrap(), "{count} stored, {answered:?} answered");
        let keys = store.list(b"key/").await.unwrap().kvs;
        assert!(keys.iter().any(|kv| kv.key == format!("key/{count:08}").as_bytes()));
        store.close().await;
    }
}
