//! Bar R15 at the state file on a real file system: a small tmpfs in a mount namespace of its own.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use tutti_store::{ErrorKind, ManualClock, RedbStore, StateStore as _, StateStoreExt as _, Txn};

/// Not a test of its own: the child of the next one, on a file system of 4 MiB.
#[tokio::test]
async fn child_fills_the_disk() {
    let Some(directory) = std::env::var_os("STORE_TEST_TMPFS") else { return };
    let directory = Path::new(&directory);
    let path = directory.join("state");
    let ballast = directory.join("ballast");
    let store = RedbStore::open(&path, Arc::new(ManualClock::new())).await.unwrap();
    store.put(b"before", b"").await.unwrap();
    fill(&ballast).unwrap();
    let (mut stored, mut refused) = (0, 0);
    for n in 0..600 {
        match store.txn(Txn::new().put(format!("key/{n:04}"), [1; 6000]).put("count", n.to_string())).await {
            Ok(_) => stored += 1,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
                assert!(error.to_string().contains("hint: free space"), "{error}");
                refused += 1;
                // All that was answered can be read while the disk is full.
                assert_eq!(store.list(b"key/").await.unwrap().kvs.len(), stored);
                if refused == 2 {
                    store.clone().close().await;
                    let again = RedbStore::open(&path, Arc::new(ManualClock::new())).await.unwrap();
                    assert_eq!(again.list(b"key/").await.unwrap().kvs.len(), stored);
                    std::fs::remove_file(&ballast).unwrap();
                    again.put(b"after", b"").await.unwrap();
                    println!("went on after {stored} transactions");
                    return;
                }
            }
        }
    }
    panic!("the disk is never full");
}

/// Leaves 600 KiB.
fn fill(ballast: &Path) -> std::io::Result<()> {
    let mut file = std::fs::File::create(ballast)?;
    let mut length = 0;
    while file.write_all(&[0; 4096]).is_ok() {
        length += 4096;
    }
    file.set_len(length - (600 << 10))
}

#[test]
fn r15_full_tmpfs_refuses_and_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=4m tutti \"$STORE_TEST_TMPFS\" || exit 77; exec \"$@\"";
    let child = Command::new("unshare")
        .args(["--mount", "--user", "--map-root-user", "sh", "-c", script, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child_fills_the_disk", "--nocapture"])
        .env("STORE_TEST_TMPFS", directory.path())
        .output();
    let allowed = child.as_ref().is_ok_and(|output| !matches!(output.status.code(), Some(77)));
    let Ok(output) = child else { return skip("no unshare(1)") };
    let errors = String::from_utf8_lossy(&output.stderr);
    if !allowed || errors.starts_with("unshare:") {
        return skip(&errors);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("went on after"), "{text}{errors}");
}

/// A skip in CI too: containers seldom allow mounts. The same faults on a disk in memory are always tested:
/// `r15_full_disk_refuses_and_goes_on`.
fn skip(reason: &str) {
    eprintln!(
        "skipped, with CI=true too: no right to mount a tmpfs here (unshare --mount --user): {}; \
         r15_full_disk_refuses_and_goes_on tests the same on a disk in memory",
        reason.trim()
    );
}

/// The file's pages have their room before they are written, so no commit within it can meet a full disk.
#[tokio::test]
async fn r15_the_file_has_no_holes() {
    use std::os::unix::fs::MetadataExt as _;
    let directory = tempfile::tempdir().unwrap();
    let probe = std::fs::File::create(directory.path().join("probe")).unwrap();
    if let Err(error) = rustix::fs::fallocate(&probe, rustix::fs::FallocateFlags::empty(), 0, 4096) {
        eprintln!("skipped, with CI=true too: the file system of the temporary directory reserves no space: {error}");
        return;
    }
    let path = directory.path().join("state");
    let store = RedbStore::open(&path, Arc::new(ManualClock::new())).await.unwrap();
    for n in 0..40 {
        store.put(format!("key/{n}").as_bytes(), &[1; 50_000]).await.unwrap();
        let file = std::fs::metadata(&path).unwrap();
        assert!(file.blocks() * 512 >= file.len(), "{} of {} bytes", file.blocks() * 512, file.len());
    }
}
