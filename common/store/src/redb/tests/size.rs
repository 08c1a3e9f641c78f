//! Files that were closed, damaged, or grow.

use std::time::Duration;

use super::disk::Disk;
use super::{Random, full, open};
use crate::clock::{Clock as _, ManualClock};
use crate::compact::{CompactionPolicy, Compactor};
use crate::error::ErrorKind;
use crate::store::{StateStore as _, StateStoreExt as _};
use crate::types::Revision;

/// 10,000 updates of the same 50 keys: with the compactor the file stays small.
#[tokio::test]
async fn the_file_stays_small() {
    let disk = Disk::initialised();
    let store = open(&disk).await.unwrap();
    let clock = ManualClock::new();
    let policy = CompactionPolicy { keep_at_least: 500, keep_at_most: 2000, ..CompactionPolicy::default() };
    let mut compactor = Compactor::new(policy);
    let mut largest = [0; 2];
    for n in 0..10_000_u32 {
        let revision = store.put(format!("key/{}", n % 50).as_bytes(), &[n as u8; 400]).await.unwrap();
        clock.advance(Duration::from_millis(20));
        if n % 500 == 0 {
            compactor.pass(&store, clock.now(), revision).await.unwrap();
        }
        let half = usize::from(n >= 5000);
        largest[half] = largest[half].max(disk.length());
    }
    assert!(largest[1] <= largest[0], "the file grows on: {largest:?}");
    assert!(largest[1] < 16 << 20, "{largest:?}");
    let revision = store.list(b"").await.unwrap().revision;
    store.compact(revision).await.unwrap();
    store.close().await;
    assert!(disk.length() < 512 << 10, "{} bytes after closing", disk.length());
    let store = open(&disk).await.unwrap();
    assert_eq!(store.list(b"key/").await.unwrap().revision, Revision(10_001));
}

/// A bit that flips in a closed file is found, or was not in use; it never stops the process.
#[tokio::test]
async fn damage_is_refused() {
    let disk = Disk::initialised();
    let store = open(&disk).await.unwrap();
    for n in 0..60 {
        store.put(format!("key/{n}").as_bytes(), &[n; 700]).await.unwrap();
    }
    store.close().await;
    let whole = disk.content();
    let store = open(&Disk::with_content(whole.clone())).await.unwrap();
    let expected = super::view(&store).await.unwrap();
    let mut random = Random(7);
    let (cases, mut refused) = (if full() { 5000 } else { 150 }, 0);
    for case in 0..cases {
        let mut damaged = whole.clone();
        // The header as often as all the rest.
        let end = if case % 2 == 0 { 400 } else { damaged.len() as u64 };
        let place = random.below(end) as usize;
        damaged[place] ^= 1 << random.below(8);
        match open(&Disk::with_content(damaged)).await {
            Ok(store) => match super::view(&store).await {
                Ok(found) => assert_eq!(found, expected, "byte {place}"),
                Err(error) => panic!("byte {place}: opened and then: {error}"),
            },
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {place}: {error}");
                refused += 1;
            }
        }
    }
    assert!(refused > cases / 10, "{refused} of {cases}");
}
