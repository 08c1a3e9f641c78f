//! Bar R14: a power cut at every write.

use super::disk::{Cut, Disk, Entry, Replay};
use super::{Random, View, full, next_step, open, perform, view};
use crate::store::StateStoreExt as _;

/// A recorded run: what the disk was asked, and the state after each step; the first is that before all.
struct Record {
    start: Vec<u8>,
    entries: Vec<Entry>,
    views: Vec<View>,
}

async fn record(seed: u64, steps: usize, lies: bool) -> Record {
    let disk = Disk::initialised();
    let start = disk.content();
    if lies {
        disk.lie();
    }
    let mut store = open(&disk).await.unwrap();
    let mut random = Random(seed);
    let mut views = vec![view(&store).await.unwrap()];
    for number in 1..=steps {
        let before = &views[number - 1];
        let step = next_step(&mut random, before.revision, before.compacted, &before.leases);
        disk.mark(Entry::Began(number));
        perform(&mut store, &disk, &step).await.unwrap();
        disk.mark(Entry::Acked(number));
        views.push(view(&store).await.unwrap());
    }
    store.close().await;
    Record { start, entries: disk.entries(), views }
}

/// What a disk that had lost power holds must be one of the states from the last acknowledged step to the last that
/// was asked for, whole, and the store must go on from there.
async fn check(image: Vec<u8>, replay: &Replay, views: &[View]) -> Result<(), String> {
    let store = open(&Disk::with_content(image)).await.map_err(|error| format!("it does not open: {error}"))?;
    let found = view(&store).await.map_err(|error| format!("it cannot be read: {error}"))?;
    if !views[replay.acked..=replay.began].contains(&found) {
        let (acked, began) = (replay.acked, replay.began);
        let known = views.iter().position(|view| *view == found);
        return Err(format!("steps {acked} to {began} are possible, found is {known:?} (none: torn)"));
    }
    let next = store.put(b"after", b"").await.map_err(|error| format!("it cannot be written: {error}"))?;
    if next != found.revision.next() {
        return Err(format!("revision {} is followed by {next}", found.revision));
    }
    Ok(())
}

/// The cuts at one place.
fn cuts(random: &mut Random, replay: &Replay, seeds: usize) -> Vec<Cut> {
    let mut cuts = vec![Cut::Prefix];
    if replay.unsynced() > 0 {
        cuts.push(Cut::SyncedOnly);
    }
    if replay.unsynced() > 0 {
        for _ in 0..seeds {
            cuts.extend([
                Cut::Subset(random.next()),
                Cut::Reordered(random.next()),
                Cut::Halves(random.next()),
                Cut::Torn(random.next()),
            ]);
        }
    }
    cuts
}

/// Checks the cuts after each `stride`-th entry; returns the number of images and the failures.
async fn cut_everywhere(record: &Record, seed: u64, stride: u64, seeds: usize) -> (usize, Vec<String>) {
    let mut replay = Replay::new(record.start.clone());
    let mut random = Random(seed);
    let (mut images, mut failures) = (0, Vec::new());
    for (place, entry) in record.entries.iter().enumerate() {
        replay.advance(entry);
        if random.below(stride) != 0 {
            continue;
        }
        for cut in cuts(&mut random, &replay, seeds) {
            images += 1;
            if let Err(problem) = check(replay.image(cut), &replay, &record.views).await {
                failures.push(format!("seed {seed}, {cut:?} after entry {place} ({entry:.60?}): {problem}"));
            }
        }
    }
    (images, failures)
}

/// `TUTTI_FULL=1` cuts after every write of longer runs; else a seeded part of them.
#[tokio::test]
async fn r14_power_cut_at_every_write() {
    let (runs, steps, stride, seeds) = if full() { (6, 80, 1, 4) } else { (1, 40, 8, 1) };
    let (mut images, mut entries) = (0, 0);
    for seed in 0..runs {
        let record = record(seed, steps, false).await;
        let (checked, failures) = cut_everywhere(&record, seed, stride, seeds).await;
        assert!(failures.is_empty(), "{} of {checked} images:\n{}", failures.len(), failures.join("\n"));
        images += checked;
        entries += record.entries.len();
    }
    assert!(images > 100, "only {images} images");
    eprintln!("r14: {images} images of {entries} recorded calls, nothing acknowledged was lost");
}

/// The checker is worth something: on a disk that does not do its syncs it finds the loss.
#[tokio::test]
async fn r14_finds_syncs_that_are_not_done() {
    let record = record(1, 30, true).await;
    let (images, failures) = cut_everywhere(&record, 1, 40, 1).await;
    assert!(failures.len() * 4 > images, "{} failures of {images} images", failures.len());
}
