use std::collections::HashSet;
use std::time::{Duration, Instant, SystemTime};

use super::*;
use crate::checkpoint::{FileLocator, KnownFile, LocatorId};
use crate::checksum::ChecksumType;
use crate::record::{FileIdentity, Record};
use crate::records::RecordsWriter;
use sha2::{Digest as _, Sha256};
use tutti_rpm::Package;

fn package(number: u32) -> Package {
    Package { name: format!("p{number}"), description: format!("{number} ").repeat(200), ..Package::default() }
}

fn locator(number: u32) -> FileLocator {
    FileLocator { path: format!("file:/r/p{number}.rpm"), size: 7, mtime: (1, 2), inode: u64::from(number) }
}

fn known(number: u32) -> KnownFile {
    let sums = vec![ChecksumType::Sha256.hash(&number.to_le_bytes())];
    KnownFile { locator: locator(number), content: ([3; 32], 9), sums }
}

/// Writes and publishes a pack of the packages `numbers`.
fn publish(packs: &PackDirectory, numbers: std::ops::Range<u32>) -> PackName {
    let staging = tempfile::tempdir().unwrap();
    let (records, index) = (staging.path().join("records"), staging.path().join("index"));
    let mut writer = RecordsWriter::create(&records).unwrap();
    for number in numbers.clone() {
        let identity = FileIdentity { size: 7, mtime: 1, checksum: known(number).sums[0].clone() };
        writer.add_record(&Record::make(&package(number), &identity, &Default::default()).unwrap()).unwrap();
    }
    let files: Vec<KnownFile> = numbers.map(known).collect();
    writer.write_index(&index, &OWNER, &files).unwrap();
    writer.seal().unwrap();
    packs.publish(&records, &index).unwrap()
}

fn has(packs: &Checkpoints, number: u32) -> bool {
    packs.find(&locator(number)).is_some_and(|(taken, file)| {
        assert_eq!(*file, known(number));
        packs.record(taken).unwrap().2 == package(number)
    })
}

fn quiet(packs: &PackDirectory) -> Checkpoints {
    packs.open(&mut |note, _| panic!("{note}"))
}

fn note_use(packs: &PackDirectory, compose: &Path, numbers: impl Iterator<Item = u32>) {
    let files: HashSet<LocatorId> = numbers.map(|number| locator(number).id()).collect();
    packs.note_use(compose, "pkgset", &files).unwrap();
}

fn later(days: u64, dry_run: bool) -> gc::Options {
    let day = Duration::from_secs(24 * 3600);
    gc::Options { now: SystemTime::now() + day * u32::try_from(days).unwrap(), grace: day, dry_run }
}

#[test]
fn packs_are_found_by_the_files_that_they_were_made_of() {
    let directory = tempfile::tempdir().unwrap();
    let packs = PackDirectory::new(directory.path().join("records"));
    assert!(quiet(&packs).is_empty(), "none yet");
    let one = publish(&packs, 0..40);
    assert_eq!(publish(&packs, 0..40), one, "the same again");
    publish(&packs, 30..60);
    let found = quiet(&packs);
    assert!((0..60).all(|number| has(&found, number)));
    assert!(found.find(&FileLocator { mtime: (1, 3), ..locator(5) }).is_none(), "changed behind its name");
    let stat = packs.stat().unwrap();
    assert_eq!((stat.packs, stat.records, stat.files, stat.unlisted), (2, 70, 60, 0));
    assert!(packs.verify(|_| ()).unwrap().iter().all(|report| report.problem.is_none()));
}

/// What a killed or cut off writer leaves is no pack, and costs only itself.
#[test]
fn x5_torn_packs_are_noted_and_not_used() {
    let directory = tempfile::tempdir().unwrap();
    let packs = PackDirectory::new(directory.path());
    let [good, bad] = [publish(&packs, 0..10), publish(&packs, 10..20)];
    let [records, index] = packs.paths(&bad);
    let whole = fs::read(&index).unwrap();
    for length in (0..whole.len()).step_by(61) {
        // A name of its own: packs may share their bytes with a file of a compose.
        fs::remove_file(&index).unwrap();
        fs::write(&index, &whole[..length]).unwrap();
        let mut notes = Vec::new();
        let mut suspects = Vec::new();
        let found = packs.open(&mut |note, suspect| {
            notes.push(note);
            suspects.extend(suspect);
        });
        assert_eq!(suspects.as_slice(), std::slice::from_ref(&bad), "cut to {length}");
        assert!(has(&found, 3) && !has(&found, 13), "cut to {length}");
        assert!(notes.len() == 1 && notes[0].contains(index.to_str().unwrap()), "{notes:?}");
    }
    fs::write(&index, &whole).unwrap();
    // Records that are damaged inside are found when they are read.
    let mut bytes = fs::read(&records).unwrap();
    bytes[40] ^= 1;
    fs::remove_file(&records).unwrap();
    fs::write(&records, bytes).unwrap();
    let found = quiet(&packs);
    let (taken, _) = found.find(&locator(13)).unwrap();
    assert!(found.record(taken).err().unwrap().to_string().contains("checksum"));
    let reports = packs.verify(|_| ()).unwrap();
    let problems: Vec<_> = reports.iter().filter(|report| report.problem.is_some()).map(|found| &found.name).collect();
    assert_eq!(problems, [&bad]);
    // Records without an index are none.
    fs::remove_file(&index).unwrap();
    assert_eq!(packs.list().unwrap(), [good]);
    // Nor are links and pipes.
    fs::remove_file(&records).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &index).unwrap();
    let mut notes = Vec::new();
    packs.open(&mut |note, _| notes.push(note));
    assert_eq!(notes.len(), 1, "{notes:?}");
}

#[test]
fn a_pack_that_is_not_whole_is_not_published() {
    let directory = tempfile::tempdir().unwrap();
    let packs = PackDirectory::new(directory.path().join("packs"));
    let name = publish(&packs, 0..100);
    let other = PackDirectory::new(directory.path().join("other"));
    let [records, index] = packs.paths(&name);
    let cut = directory.path().join("cut");
    fs::write(&cut, &fs::read(&records).unwrap()[..100]).unwrap();
    assert!(other.publish(&cut, &index).is_err(), "its blocks are missing");
    assert!(other.publish(&records, &records).is_err(), "no index");
    assert!(other.list().unwrap().is_empty());
}

/// Puts another file, with one bit flipped, in the place of one that composes may share.
fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn x5_a_damaged_pack_is_replaced_by_who_makes_it_again() {
    let directory = tempfile::tempdir().unwrap();
    let packs = PackDirectory::new(directory.path());
    let name = publish(&packs, 0..40);
    let reader = quiet(&packs);
    for path in packs.paths(&name) {
        let length = fs::metadata(&path).unwrap().len() as usize;
        for at in [3, 40, length / 2, length - 1] {
            flip(&path, at);
            assert_eq!(publish(&packs, 0..40), name);
            assert!((0..40).all(|number| has(&quiet(&packs), number)), "{} at {at}", path.display());
        }
        // What has the name need not be a file of that kind at all.
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        publish(&packs, 0..40);
        assert!((0..40).all(|number| has(&quiet(&packs), number)));
    }
    assert!((0..40).all(|number| has(&reader, number)), "who had opened it goes on");
    assert_eq!(fs::read_dir(packs.packs()).unwrap().count(), 2, "nothing else remains");
    // Records without an index say nothing of themselves.
    let [records, index] = packs.paths(&name);
    fs::remove_file(&index).unwrap();
    flip(&records, 40);
    publish(&packs, 0..40);
    assert!((0..40).all(|number| has(&quiet(&packs), number)));
}

#[test]
fn damaged_packs_are_unlisted_and_others_stay() {
    let directory = tempfile::tempdir().unwrap();
    let packs = PackDirectory::new(directory.path());
    let [good, bad, cut] = [publish(&packs, 0..10), publish(&packs, 10..20), publish(&packs, 20..30)];
    flip(&packs.paths(&bad)[0], 40);
    flip(&packs.paths(&cut)[1], 40);
    let damaged = [bad, cut];
    let suspects = [&damaged[..], std::slice::from_ref(&good)].concat();
    assert_eq!(packs.unlist_damaged(&suspects, SystemTime::now()).unwrap(), damaged);
    assert_eq!(packs.list().unwrap(), [good]);
    assert_eq!(packs.stat().unwrap().unlisted, 2);
}

/// Releases share a directory: each leaves the packs of the other alone.
#[test]
fn packs_of_another_version_are_noted_and_stay() {
    let directory = tempfile::tempdir().unwrap();
    let packs = PackDirectory::new(directory.path());
    let [own, other] = [publish(&packs, 0..10), publish(&packs, 10..20)];
    let index = &packs.paths(&other)[1];
    let whole = fs::read(index).unwrap();
    // Head: magic, version. Footer, the last 80 bytes: version from byte 20, checksum of the first 56 bytes after those.
    let (mut newer, end) = (whole.clone(), whole.len() - 80);
    newer[8] += 1;
    let replace = |bytes: &[u8]| {
        fs::remove_file(index).unwrap();
        fs::write(index, bytes).unwrap();
    };
    let suspects = || {
        let (mut notes, mut suspects) = (0, Vec::new());
        packs.open(&mut |_, suspect| {
            notes += 1;
            suspects.extend(suspect);
        });
        assert_eq!(notes, 1);
        suspects
    };
    // The footer says that it is damage.
    replace(&newer);
    assert_eq!(suspects().as_slice(), std::slice::from_ref(&other));
    newer[end + 20] += 1;
    let sum = Sha256::digest(&newer[end..end + 56]);
    newer[end + 56..end + 72].copy_from_slice(&sum[..16]);
    replace(&newer);
    assert_eq!(suspects(), []);
    assert_eq!(packs.unlist_damaged(&[own.clone(), other.clone()], SystemTime::now()).unwrap(), []);
    assert_eq!(packs.list().unwrap().len(), 2);
}

#[test]
fn garbage_goes_in_two_steps_and_what_is_used_stays() {
    let directory = tempfile::tempdir().unwrap();
    let packs = PackDirectory::new(directory.path().join("records"));
    let compose = directory.path().join("compose");
    fs::create_dir(&compose).unwrap();
    let [whole, half, none] = [publish(&packs, 0..100), publish(&packs, 100..200), publish(&packs, 200..300)];
    note_use(&packs, &compose, (0..100).chain(100..120));
    note_use(&packs, &directory.path().join("gone"), 200..300);
    // All are new: their composes may not be noted yet.
    let report = packs.gc(&later(0, false)).unwrap();
    assert_eq!((report.kept, report.forgotten, report.removed), (3, 1, 0));
    let reader = quiet(&packs);
    let before = packs.gc(&later(2, true)).unwrap();
    assert_eq!(packs.list().unwrap().len(), 3, "a dry run changes nothing");
    let report = packs.gc(&later(2, false)).unwrap();
    assert_eq!((&before.dropped, &before.merged), (&report.dropped, &report.merged));
    assert_eq!((report.kept, report.dropped, report.merged), (1, vec![none.clone()], vec![half.clone()]));
    let listed = packs.list().unwrap();
    assert!(listed.len() == 2 && listed.contains(&whole) && listed.contains(&report.into[0]));
    let found = quiet(&packs);
    assert!((0..120).all(|number| has(&found, number)) && !has(&found, 130) && !has(&found, 230));
    assert!((0..300).all(|number| has(&reader, number)), "who had opened them goes on");
    // Their records lie there for who opens them now.
    assert!(packs.paths(&none)[0].exists() && packs.paths(&half)[0].exists());
    let report = packs.gc(&later(2, false)).unwrap();
    assert_eq!((report.kept, report.removed), (2, 0), "their time is not over");
    let report = packs.gc(&later(4, false)).unwrap();
    assert_eq!(report.removed, 4);
    assert!(!packs.paths(&none)[0].exists() && !packs.paths(&half)[0].exists());
    assert!(quiet(&packs).len() == 120 && report.problems.is_empty());
}

#[test]
fn a_pack_that_comes_back_while_it_is_unlisted_keeps_its_records() {
    let directory = tempfile::tempdir().unwrap();
    let packs = PackDirectory::new(directory.path());
    let name = publish(&packs, 0..10);
    assert_eq!(packs.gc(&later(2, false)).unwrap().dropped, std::slice::from_ref(&name));
    assert_eq!(publish(&packs, 0..10), name);
    note_use(&packs, directory.path(), 0..10);
    packs.gc(&later(4, false)).unwrap();
    assert!((0..10).all(|number| has(&quiet(&packs), number)));
}

#[test]
fn remains_of_killed_writers_are_swept() {
    let directory = tempfile::tempdir().unwrap();
    let packs = PackDirectory::new(directory.path());
    let name = publish(&packs, 0..10);
    note_use(&packs, directory.path(), 0..10);
    let remains = [packs.packs().join(".1-2-3.partial"), packs.uses().join(".1-2-4.partial.partial")];
    remains.iter().for_each(|path| fs::write(path, b"x").unwrap());
    let orphan = packs.packs().join(format!("{}.records", "0".repeat(32)));
    fs::write(&orphan, b"x").unwrap();
    packs.gc(&later(0, false)).unwrap();
    assert!(remains.iter().chain([&orphan]).all(|path| path.exists()), "somebody may be at it");
    assert_eq!(packs.gc(&later(2, false)).unwrap().removed, 3);
    assert_eq!(packs.list().unwrap(), [name]);
}

#[test]
fn universes_stay_as_long_as_a_compose_has_them() {
    let directory = tempfile::tempdir().unwrap();
    let packs = PackDirectory::new(directory.path().join("records"));
    fs::create_dir_all(packs.universes()).unwrap();
    let [own, link, alone] = [directory.path().join("own"), packs.universes().join("a"), packs.universes().join("b")];
    fs::write(&own, "1").unwrap();
    fs::hard_link(&own, &link).unwrap();
    fs::write(&alone, "22").unwrap();
    assert_eq!(packs.gc(&later(0, false)).unwrap().removed, 0, "they are new");
    let report = packs.gc(&later(2, false)).unwrap();
    assert_eq!((report.removed, report.removed_bytes), (1, 2));
    assert!(link.exists() && !alone.exists());
    fs::remove_file(&own).unwrap();
    packs.gc(&later(2, false)).unwrap();
    assert!(!link.exists());
}

/// Directory of packs and first number of a writer that is a process of its own.
const WRITER: &str = "TUTTI_PACKS_WRITER";
/// How long they write at least, in seconds.
const SECONDS: &str = "TUTTI_PACKS_SECONDS";

/// Publishes packs of 200 packages that are used, again and again, and packs of others, and finds them.
fn write_packs(packs: &PackDirectory, first: u32, least: Duration) {
    let begin = Instant::now();
    let mut round = 0;
    while round < 10 || begin.elapsed() < least {
        for half in [0, 100] {
            let number = first + half + round % 10 * 10;
            publish(packs, number..number + 10);
            assert!(has(&packs.open(&mut |_, _| ()), number), "{number} is lost in round {round}");
        }
        if round >= 10 {
            publish(packs, 10_000 + first + round % 7..10_000 + first + round % 7 + 3);
        }
        round += 1;
    }
    eprintln!("{round} rounds from {first}");
}

/// Two processes that write, readers and collections at once: nothing that is used is lost.
#[test]
fn writers_readers_and_collections_at_once_lose_nothing() {
    let seconds = std::env::var(SECONDS).ok().map_or(0, |text| text.parse().unwrap());
    let least = Duration::from_secs(seconds);
    if let Ok(writer) = std::env::var(WRITER) {
        let (first, directory) = writer.split_once(' ').unwrap();
        return write_packs(&PackDirectory::new(directory), first.parse().unwrap(), least);
    }
    let directory = tempfile::tempdir().unwrap();
    let packs = PackDirectory::new(directory.path().join("records"));
    note_use(&packs, directory.path(), 0..400);
    let mut writers: Vec<_> = [0, 200]
        .map(|first| {
            let mut command = std::process::Command::new(std::env::current_exe().unwrap());
            let name = std::thread::current().name().unwrap().to_owned();
            command.args(["--exact", &name, "--nocapture"]);
            command.env(WRITER, format!("{first} {}", packs.root().display())).spawn().unwrap()
        })
        .into();
    // A clock that is days ahead finds all old, also what is on its way: only for a moment.
    let options = || match seconds {
        0 => later(2, false),
        _ => gc::Options { now: SystemTime::now(), grace: Duration::from_secs(2), dry_run: false },
    };
    let (mut collections, mut most) = (0, 0);
    while collections < 20 || writers.iter_mut().any(|writer| writer.try_wait().unwrap().is_none()) {
        packs.gc(&options()).unwrap();
        collections += 1;
        // What a reader finds, it can read.
        let found = packs.open(&mut |_, _| ());
        let read = (0..400).step_by(37).filter(|number| has(&found, *number)).count();
        most = most.max(read);
    }
    for mut writer in writers {
        assert!(writer.wait().unwrap().success());
    }
    packs.gc(&later(2, false)).unwrap();
    let found = quiet(&packs);
    assert!((0..400).all(|number| has(&found, number)));
    eprintln!("{collections} collections");
    assert!(most > 0, "readers found nothing");
}
