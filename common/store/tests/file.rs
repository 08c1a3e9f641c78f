//! The contract on redb, what outlives the process, and files that are no state files.

mod contract;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use contract::Subject;
use tutti_store::{
    ErrorKind, ManualClock, Operation, RangeRequest, RedbStore, Revision, StateStore as _, StateStoreExt as _,
    StoreError, TakeOver, Txn,
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
async fn r15_a_store_that_was_taken_over_commits_nothing_more() {
    use std::os::unix::fs::MetadataExt as _;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    let clock = ManualClock::new();
    let theirs = open(&path, &clock).await.unwrap();
    theirs.put(b"key", b"1").await.unwrap();
    // As if a process on another host had written it.
    let record = path.with_extension("owner");
    let text = std::fs::read_to_string(&record).unwrap();
    let abroad = text.lines().map(|line| match line.split_once(' ') {
        Some((field @ ("host" | "boot" | "machine"), _)) => format!("{field} abroad\n"),
        _ => format!("{line}\n"),
    });
    std::fs::write(&record, abroad.collect::<String>()).unwrap();
    let error = open(&path, &clock).await.unwrap_err();
    assert!(matches!(error, StoreError::OwnedElsewhere { .. }), "{error}");
    assert!(error.to_string().contains("on host abroad") && error.to_string().contains("--take-over"), "{error}");
    let inode = std::fs::metadata(&path).unwrap().ino();
    let ours = RedbStore::open_with(&path, Arc::new(clock.clone()), TakeOver::FromElsewhere).await.unwrap();
    // Whatever the other process writes from now on, it writes to a file under another name, which stays for a while.
    let original = path.with_extension("taken-over");
    assert_eq!(std::fs::metadata(&original).unwrap().ino(), inode);
    assert_ne!(std::fs::metadata(&path).unwrap().ino(), inode);
    assert_eq!(theirs.put(b"key", b"2").await.unwrap_err().kind(), ErrorKind::TakenOver);
    assert_eq!(theirs.grant(Duration::from_secs(10)).await.unwrap_err().kind(), ErrorKind::TakenOver);
    theirs.close().await;
    assert!(original.exists());
    assert_eq!(ours.get(b"key").await.unwrap().unwrap().value, b"1");
    ours.put(b"key", b"3").await.unwrap();
    ours.close().await;
    assert!(!original.exists());
    assert_eq!(open(&path, &clock).await.unwrap().get(b"key").await.unwrap().unwrap().value, b"3");
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
    let cases = [
        Vec::new(),
        b"not a store at all".to_vec(),
        b"\x89PNG\r\n\x1a\n".repeat(999),
        vec![0; 1 << 16],
        bytes[..100].to_vec(),
        bytes[..5000].to_vec(),
    ];
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

#[tokio::test]
async fn a_file_that_is_removed_while_it_is_used_is_not_written_any_more() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["state", "state.owner"] {
        let store = open(&directory.path().join("state"), &ManualClock::new()).await.unwrap();
        store.put(b"key", b"1").await.unwrap();
        std::fs::remove_file(directory.path().join(name)).unwrap();
        let error = store.put(b"key", b"2").await.unwrap_err();
        let gone = directory.path().join(name);
        assert!(matches!(&error, StoreError::Vanished { path } if *path == gone), "{name}: {error}");
        assert_eq!(error.kind(), ErrorKind::Vanished);
        store.close().await;
    }
}
