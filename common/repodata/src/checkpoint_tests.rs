use std::fs;

use super::*;
use crate::{RecordId, RecordsReader, RecordsWriter};

const OWNER: [u8; 32] = [7; 32];

fn package(number: u32) -> Package {
    Package { name: format!("p{number}"), description: format!("{number} ").repeat(400), ..Package::default() }
}

fn known(number: u32) -> KnownFile {
    let locator = FileLocator {
        path: format!("file:/r/p{number}.rpm"),
        size: u64::from(number),
        mtime: (-1, 999_999_999),
        inode: u64::MAX - u64::from(number),
    };
    let sums = vec![ChecksumType::Sha256.hash(&number.to_le_bytes()), ChecksumType::Sha512.hash(b"x")];
    KnownFile { locator, content: ([3; 32], 9), sums }
}

fn record(number: u32) -> Record {
    let file = known(number);
    let identity = FileIdentity { size: file.locator.size, mtime: 7, checksum: file.sums[0].clone() };
    Record::make(&package(number), &identity, &Default::default()).unwrap()
}

/// Writes `count` records with a checkpoint after each `every`, and drops the writer.
fn killed(directory: &Path, count: u32, every: u32) -> Vec<PathBuf> {
    let mut writer = RecordsWriter::create(directory.join("records")).unwrap();
    let (mut checkpoints, mut files) = (Vec::new(), Vec::new());
    for number in 0..count {
        writer.add_record(&record(number)).unwrap();
        files.push(known(number));
        if (number + 1) % every == 0 {
            let path = directory.join(format!("checkpoint-{}", checkpoints.len()));
            writer.checkpoint(&path, &OWNER, &files).unwrap();
            files.clear();
            checkpoints.push(path);
        }
    }
    checkpoints
}

fn open(data: &Path, checkpoints: &[PathBuf], owner: [u8; 32]) -> Result<Checkpoints, RecordsError> {
    let data = Arc::new(File::open(data).unwrap());
    let mut found = Checkpoints::new(owner);
    for path in checkpoints {
        found.add(path, &File::open(path).unwrap(), &data)?;
    }
    Ok(found)
}

fn undisturbed(directory: &Path, count: u32) -> String {
    let mut writer = RecordsWriter::create(directory.join("whole")).unwrap();
    for number in 0..count {
        writer.add_record(&record(number)).unwrap();
    }
    writer.seal().unwrap().sha256
}

#[test]
fn a_later_writer_makes_the_same_file_of_what_an_earlier_one_left() {
    let directory = tempfile::tempdir().unwrap();
    let checkpoints = killed(directory.path(), 500, 60);
    let partial = directory.path().join("records.partial");
    assert_eq!(checkpoints.len(), 8);
    let found = open(&partial, &checkpoints, OWNER).unwrap();
    assert_eq!(found.len(), 480);
    let mut writer = RecordsWriter::create(directory.path().join("again")).unwrap();
    for number in 0..500 {
        let taken = found.find(&known(number).locator);
        assert_eq!(taken.is_some(), number < 480, "{number}");
        let made = match taken {
            Some((taken, file)) => {
                assert_eq!(*file, known(number));
                let (record, identity, facts) = found.record(taken).unwrap();
                assert_eq!((identity.size, facts), (u64::from(number), package(number)));
                record
            }
            None => record(number),
        };
        assert_eq!(writer.add_record(&made).unwrap(), RecordId(number));
    }
    assert_eq!(writer.seal().unwrap().sha256, undisturbed(directory.path(), 500));
    // Each checkpoint is of use alone.
    let one = open(&partial, &checkpoints[5..6], OWNER).unwrap();
    let (taken, _) = one.find(&known(310).locator).unwrap();
    assert_eq!(one.record(taken).unwrap().2, package(310));
}

fn locators(count: u32) -> Vec<FileLocator> {
    (0..count).map(|number| known(number).locator).collect()
}

#[test]
fn a_writer_goes_on_from_the_longest_beginning_with_the_same_files() {
    let directory = tempfile::tempdir().unwrap();
    let partial = directory.path().join("records.partial");
    let expected = undisturbed(directory.path(), 500);
    let checkpoints = killed(directory.path(), 500, 60);
    let found = open(&partial, &checkpoints, OWNER).unwrap();
    // How many files look as they did, and how many records that is.
    for (same, records) in [(500, 480), (480, 480), (479, 479), (421, 421), (60, 60), (59, 59), (1, 1)] {
        let mut files = locators(500);
        files[same..].iter_mut().for_each(|locator| locator.size += 1);
        let prefix = found.prefix(&files).unwrap();
        assert_eq!(prefix.len(), records, "{same} files");
        let known_files: Vec<&KnownFile> = prefix.files().map(|(_, file)| file).collect();
        assert_eq!(known_files, (0..records as u32).map(known).collect::<Vec<_>>().iter().collect::<Vec<_>>());
        let (last, _) = prefix.files().last().unwrap();
        assert_eq!(found.head(last).unwrap().1.name, package(records as u32 - 1).name);
        let mut writer = RecordsWriter::resume(directory.path().join("again"), &prefix).unwrap();
        assert_eq!((writer.len(), writer.covered()), (records, 0));
        for number in records as u32..500 {
            assert_eq!(writer.add_record(&record(number)).unwrap(), RecordId(number));
        }
        assert_eq!(writer.seal().unwrap().sha256, expected, "{same} files");
    }
    assert_eq!(found.prefix(&locators(59)).unwrap().len(), 59, "fewer files than the first checkpoint has");
    let mut files = locators(500);
    files[0].inode -= 1;
    assert!(found.prefix(&files).is_none());
    // A checkpoint is missing: what is after it has no beginning.
    let holed = open(&partial, &[&checkpoints[..2], &checkpoints[3..]].concat(), OWNER).unwrap();
    assert_eq!(holed.prefix(&locators(500)).unwrap().len(), 120);
    let headless = open(&partial, &checkpoints[1..], OWNER).unwrap();
    assert!(headless.prefix(&locators(500)).is_none());
}

fn add(writer: &mut RecordsWriter, numbers: std::ops::Range<u32>) {
    for number in numbers {
        writer.add_record(&record(number)).unwrap();
    }
}

#[test]
fn writers_go_on_from_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let checkpoints = killed(directory.path(), 100, 50);
    let first = open(&directory.path().join("records.partial"), &checkpoints, OWNER).unwrap();
    let again = directory.path().join("again");
    let mut writer = RecordsWriter::resume(&again, &first.prefix(&locators(300)).unwrap()).unwrap();
    let (one, two) = (directory.path().join("c1"), directory.path().join("c2"));
    writer.checkpoint(&one, &OWNER, &(0..100).map(known).collect::<Vec<_>>()).unwrap();
    add(&mut writer, 100..250);
    writer.checkpoint(&two, &OWNER, &(100..250).map(known).collect::<Vec<_>>()).unwrap();
    drop(writer);
    let mut second = open(&directory.path().join("again.partial"), &[one, two], OWNER).unwrap();
    let data = Arc::new(File::open(directory.path().join("records.partial")).unwrap());
    for path in &checkpoints {
        second.add(path, &File::open(path).unwrap(), &data).unwrap();
    }
    let prefix = second.prefix(&locators(300)).unwrap();
    assert_eq!(prefix.len(), 250, "the longer of the two");
    let mut writer = RecordsWriter::resume(directory.path().join("third"), &prefix).unwrap();
    add(&mut writer, 250..300);
    assert_eq!(writer.seal().unwrap().sha256, undisturbed(directory.path(), 300));
}

#[test]
fn x5_a_beginning_with_a_damaged_block_is_not_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let checkpoints = killed(directory.path(), 300, 150);
    let data = directory.path().join("records.partial");
    let found = open(&data, &checkpoints, OWNER).unwrap();
    let good = fs::read(&data).unwrap();
    for at in (16..good.len()).step_by(good.len() / 40) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&data, &bad).unwrap();
        let error = RecordsWriter::resume(directory.path().join("again"), &found.prefix(&locators(300)).unwrap());
        assert!(error.err().unwrap().to_string().contains("checksum"), "at {at}");
        assert!(!directory.path().join("again.partial").exists(), "nothing remains");
    }
}

/// Blocks that are whole, each by itself, with something else between two of them.
#[test]
fn x5_a_beginning_with_a_gap_between_its_blocks_is_not_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let checkpoints = killed(directory.path(), 300, 150);
    let data = directory.path().join("records.partial");
    let mut found = open(&data, &checkpoints, OWNER).unwrap();
    fn blocks(found: &mut Checkpoints) -> impl Iterator<Item = &mut Block> {
        let places = found.segments.iter_mut().flat_map(|segment| segment.places.iter_mut().flatten());
        places.filter(|place| place.own.is_none()).map(|place| &mut place.block)
    }
    let mut offsets: Vec<u64> = blocks(&mut found).map(|block| block.offset).collect();
    offsets.sort_unstable();
    let (at, good) = (offsets[offsets.len() / 2], fs::read(&data).unwrap());
    let (before, after) = good.split_at(at as usize);
    fs::write(&data, [before, b"gap", after].concat()).unwrap();
    blocks(&mut found).filter(|block| block.offset >= at).for_each(|block| block.offset += 3);
    for number in [0, 299] {
        let (taken, _) = found.find(&known(number).locator).unwrap();
        assert_eq!(found.record(taken).unwrap().2, package(number));
    }
    let again = RecordsWriter::resume(directory.path().join("again"), &found.prefix(&locators(300)).unwrap());
    let error = again.err().expect("the places of what follows are others").to_string();
    assert!(error.contains(&format!("a gap before byte {}", at + 3)), "{error}");
    assert!(!directory.path().join("again.partial").exists(), "nothing remains");
}

#[test]
fn checkpoints_change_no_byte_of_the_sealed_file_and_outlive_the_seal() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = RecordsWriter::create(directory.path().join("records")).unwrap();
    let path = directory.path().join("checkpoint");
    for number in 0..100 {
        writer.add_record(&record(number)).unwrap();
    }
    let files: Vec<KnownFile> = (0..100).map(known).collect();
    assert!(writer.checkpoint(&path, &OWNER, &files[1..]).is_err(), "one file is missing");
    writer.checkpoint(&path, &OWNER, &files).unwrap();
    assert_eq!(writer.covered(), 100);
    let sealed = writer.seal().unwrap();
    assert_eq!(sealed.sha256, undisturbed(directory.path(), 100));
    let found = open(&sealed.path, &[path], OWNER).unwrap();
    let (taken, _) = found.find(&known(99).locator).unwrap();
    assert_eq!(found.record(taken).unwrap().2, package(99));
    assert_eq!(RecordsReader::open(sealed.path).unwrap().len(), 100);
}

/// With an index of all records, a sealed file gives any number of its first records, as if no other had been added.
#[test]
fn a_sealed_file_with_an_index_is_a_beginning_of_any_length() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = RecordsWriter::create(directory.path().join("records")).unwrap();
    add(&mut writer, 0..500);
    let (path, files) = (directory.path().join("index"), (0..500).map(known).collect::<Vec<_>>());
    assert!(writer.write_index(&path, &OWNER, &files[1..]).is_err(), "one file is missing");
    writer.write_index(&path, &OWNER, &files).unwrap();
    let sealed = writer.seal().unwrap();
    assert_eq!(sealed.sha256, undisturbed(directory.path(), 500), "the index changes no byte");
    let found = open(&sealed.path, &[path], OWNER).unwrap();
    let (taken, _) = found.find(&known(499).locator).unwrap();
    assert_eq!(found.record(taken).unwrap().2, package(499));
    for same in [1, 37, 250, 499, 500] {
        let mut files = locators(520);
        files[same..].iter_mut().for_each(|locator| locator.size += 1);
        let prefix = found.prefix(&files).unwrap();
        assert_eq!(prefix.len(), same);
        let mut writer = RecordsWriter::resume(directory.path().join("again"), &prefix).unwrap();
        add(&mut writer, same as u32..520);
        assert_eq!(writer.seal().unwrap().sha256, undisturbed(directory.path(), 520), "{same}");
    }
}

#[test]
fn a_file_that_looks_otherwise_is_not_found() {
    let directory = tempfile::tempdir().unwrap();
    let checkpoints = killed(directory.path(), 10, 10);
    let found = open(&directory.path().join("records.partial"), &checkpoints, OWNER).unwrap();
    let good = known(3).locator;
    assert!(found.find(&good).is_some());
    for other in [
        FileLocator { path: "file:/r/p3".into(), ..good.clone() },
        FileLocator { size: 4, ..good.clone() },
        FileLocator { mtime: (-1, 999_999_998), ..good.clone() },
        FileLocator { mtime: (0, 999_999_999), ..good.clone() },
        FileLocator { inode: good.inode - 1, ..good.clone() },
    ] {
        assert!(found.find(&other).is_none(), "{other:?}");
    }
    let other_owner = open(&directory.path().join("records.partial"), &checkpoints, [8; 32]);
    assert!(other_owner.err().unwrap().to_string().contains("another job"));
}

/// Every byte is covered: each flip and each cut of checkpoint or data is an error, or gives what was there.
#[test]
fn x5_torn_and_flipped_checkpoints_are_errors() {
    let directory = tempfile::tempdir().unwrap();
    let checkpoints = killed(directory.path(), 6, 3);
    let (path, data) = (&checkpoints[1], directory.path().join("records.partial"));
    let read_all = || -> Result<(), RecordsError> {
        let found = open(&data, &checkpoints[1..], OWNER)?;
        for number in 3..6 {
            let (taken, _) = found.find(&known(number).locator).expect("an undamaged index");
            assert_eq!(found.record(taken)?.2, package(number));
        }
        Ok(())
    };
    read_all().unwrap();
    let good = fs::read(path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x41;
        fs::write(path, &bad).unwrap();
        let error = read_all().expect_err("a flipped byte");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
    for length in (0..good.len()).step_by(7) {
        fs::write(path, &good[..length]).unwrap();
        assert!(read_all().is_err(), "cut to {length}");
    }
    // Blocks that the unsealed file holds.
    let checkpoints = killed(directory.path(), 200, 200);
    let whole = fs::read(&data).unwrap();
    let first =
        || open(&data, &checkpoints, OWNER).and_then(|found| found.record(found.find(&known(0).locator).unwrap().0));
    assert_eq!(first().unwrap().2, package(0));
    for at in (16..400).step_by(16) {
        let mut bad = whole.clone();
        bad[at] ^= 1;
        fs::write(&data, &bad).unwrap();
        assert!(first().err().unwrap().to_string().contains("checksum"), "at {at}");
    }
    fs::write(&data, &whole[..whole.len() - 1]).unwrap();
    assert!(first().is_err(), "a block is not whole");
}
