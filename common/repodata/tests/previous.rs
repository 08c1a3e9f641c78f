//! Metadata in frames: what is made with an earlier run's files is what is made without, and little is made again.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use tutti_repodata::{
    ChecksumType, Compression, Entry, Fill, FragmentOptions, FragmentSource, Fragments, Layout, MetadataFile, Previous,
    PreviousError, ReadOptions, RecordId, RecordsError, Repository, StoredFrame, WriterOptions, WrittenRepository,
    write_repository,
};
use tutti_rpm::{Changelog, Evr, FileEntry, FileKind, Package};

/// A package: its name and version, and the directory it is in.
type Packages = BTreeMap<(u32, u32), u32>;

const OLD: u32 = 1 << 31;

/// Fragments of all packages, and an earlier repository.
struct Source<'a> {
    fragments: Vec<Fragments>,
    previous: Option<&'a Previous>,
}

impl FragmentSource for Source<'_> {
    fn render(&self, id: RecordId, file: MetadataFile, fill: &Fill<'_>, out: &mut Vec<u8>) -> Result<(), RecordsError> {
        match self.previous.filter(|_| id.0 >= OLD) {
            Some(previous) => Ok(previous.render((id.0 - OLD) as usize, file, fill, out)?),
            None => self.fragments.render(id, file, fill, out),
        }
    }

    fn frame(&self, file: MetadataFile, entries: &[&Entry], maker: &str) -> Result<Option<StoredFrame>, RecordsError> {
        let first = entries[0].record.0;
        let follow = entries.iter().zip(first..).all(|(entry, id)| entry.record.0 == id);
        match self.previous.filter(|_| first >= OLD && follow) {
            Some(previous) => Ok(previous.frame(file, (first - OLD) as usize, entries, maker)?),
            None => Ok(None),
        }
    }
}

fn package((name, version): (u32, u32)) -> Package {
    Package {
        name: format!("n<{name:04}"),
        evr: Evr { epoch: (version == 3).then_some(1), version: version.to_string(), release: "1".into() },
        arch: "noarch".into(),
        description: "<package> \"x\" & é\n</package>\n".into(),
        files: (0..name % 4).map(|n| FileEntry { path: format!("/usr/é&{n}"), kind: FileKind::File }).collect(),
        changelogs: vec![Changelog { author: "a \"b\" <é>".into(), time: 7, text: "- <t>".into() }],
        ..Package::default()
    }
}

fn href((name, version): (u32, u32), directory: u32) -> String {
    format!("d&{directory}/n{name:04}-{version}-1.noarch.rpm")
}

/// Writes a repository, with what can be taken from an earlier one.
fn write(out: &Path, packages: &Packages, previous: Option<&Previous>, options: &WriterOptions) -> WrittenRepository {
    let known = previous.map(numbers).unwrap_or_default();
    let mut source = Source { fragments: Vec::new(), previous };
    let mut entries = Vec::new();
    for (id, directory) in packages {
        let location_href = href(*id, *directory);
        let record = known.get(location_href.as_str()).copied().unwrap_or_else(|| {
            source.fragments.push(Fragments::make(&package(*id), &FragmentOptions::default()).unwrap());
            source.fragments.len() as u32 - 1
        });
        let checksum = ChecksumType::Sha256.hash(location_href.as_bytes());
        let (mtime, size) = (u64::from(id.1), u64::from(id.0));
        entries.push(Entry { record: RecordId(record), location_href, location_base: None, mtime, checksum, size });
    }
    fs::create_dir_all(out).unwrap();
    write_repository(out, &source, &entries, &[], options).unwrap()
}

/// Numbers of the packages of an earlier repository, by location.
fn numbers(previous: &Previous) -> BTreeMap<&str, u32> {
    previous.packages().iter().zip(OLD..).map(|(package, id)| (package.location_href.as_str(), id)).collect()
}

fn open(directory: &Path) -> Result<Previous, PreviousError> {
    let repomd = Repository::open_local(directory).unwrap().repomd().clone();
    Previous::open(directory, &repomd, 2)
}

fn options(compression: Compression) -> WriterOptions {
    WriterOptions { compression, timestamp: Some(1), threads: 2, ..WriterOptions::default() }
}

fn many() -> Packages {
    (0..1500).map(|name| ((name, 1), 0)).chain((0..300).map(|version| ((700, version), 1))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    /// Packages added, removed, replaced, moved to another directory, with one name or many, all at once.
    #[test]
    fn an_update_makes_what_a_first_run_makes(
        changes in prop::collection::vec((0..1600u32, 0..4u32, 0..4u8), 0..40),
        gzip in any::<bool>(),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let options = options(if gzip { Compression::Gzip } else { Compression::Zstd });
        let old = many();
        write(&at("old"), &old, None, &options);
        let mut new = old.clone();
        for (name, version, kind) in &changes {
            match kind {
                0 => drop(new.insert((*name, *version), 0)),
                1 => drop(new.remove(&(*name, 1))),
                2 => drop(new.remove(&(*name, 1)).map(|directory| new.insert((*name, 2), directory))),
                _ => drop(new.get_mut(&(*name, 1)).map(|directory| *directory += 1)),
            }
        }
        let previous = open(&at("old")).unwrap();
        let updated = write(&at("updated"), &new, Some(&previous), &options);
        let fresh = write(&at("fresh"), &new, None, &WriterOptions { threads: 1, ..options.clone() });
        prop_assert_eq!(&updated.files, &fresh.files);
        for work in &updated.work {
            let most: u64 = changes.iter().map(|(_, _, kind)| if *kind < 2 { 3 } else { 1 }).sum();
            prop_assert!(work.frames_made <= most, "{:?} for {:?}", work, changes);
            prop_assert!(work.frames_copied > 0 || changes.len() > 10);
        }
        let read = Repository::open_local(at("updated")).unwrap();
        prop_assert_eq!(read.packages(ReadOptions::default()).unwrap().filter(Result::is_ok).count(), new.len());
    }
}

#[test]
fn a_location_that_changes_is_put_in() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let options = options(Compression::Zstd);
    let old = many();
    write(&at("old"), &old, None, &options);
    let previous = open(&at("old")).unwrap();
    let entries = |previous: Option<&Previous>| -> Vec<Entry> {
        let known = previous.map(numbers).unwrap_or_default();
        let entry = |(number, (id, directory)): (u32, (&(u32, u32), &u32))| {
            let location_href = href(*id, *directory);
            let record = RecordId(known.get(location_href.as_str()).copied().unwrap_or(number));
            let checksum = ChecksumType::Sha256.hash(location_href.as_bytes());
            let (mtime, size) = (u64::from(id.1), u64::from(id.0));
            Entry { record, location_href, location_base: Some("/srv/&".into()), mtime, checksum, size }
        };
        (0..).zip(&old).map(entry).collect()
    };
    let fragments: Vec<Fragments> =
        old.keys().map(|id| Fragments::make(&package(*id), &FragmentOptions::default()).unwrap()).collect();
    for name in ["updated", "fresh"] {
        fs::create_dir(at(name)).unwrap();
    }
    let source = Source { fragments: Vec::new(), previous: Some(&previous) };
    let updated = write_repository(&at("updated"), &source, &entries(Some(&previous)), &[], &options).unwrap();
    let fresh = write_repository(&at("fresh"), &fragments, &entries(None), &[], &options).unwrap();
    assert_eq!(updated.files, fresh.files);
    // Once more: the base is read as a URL, and is the same.
    let previous = open(&at("fresh")).unwrap();
    let source = Source { fragments: Vec::new(), previous: Some(&previous) };
    fs::create_dir(at("again")).unwrap();
    let again = write_repository(&at("again"), &source, &entries(Some(&previous)), &[], &options).unwrap();
    assert_eq!(again.files, fresh.files);
    assert!(again.work.iter().all(|work| work.frames_made == 0));
}

#[test]
fn what_is_not_in_frames_is_not_opened() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    for (name, compression, layout) in [
        ("stream", Compression::Zstd, Layout::OneStream),
        ("xz", Compression::Xz, Layout::Frames),
        ("plain", Compression::None, Layout::Frames),
    ] {
        write(&at(name), &many(), None, &WriterOptions { layout, ..options(compression) });
        assert!(matches!(open(&at(name)), Err(PreviousError::Unfit { .. })), "{name}");
    }
    write(&at("framed"), &many(), None, &options(Compression::Zstd));
    let repomd = Repository::open_local(at("framed")).unwrap().repomd().clone();
    for record in &repomd.records {
        let path = at("framed").join(&record.location_href);
        let bytes = fs::read(&path).unwrap();
        for at_byte in [0, bytes.len() / 2, bytes.len() - 1] {
            let mut bad = bytes.clone();
            bad[at_byte] ^= 1;
            fs::write(&path, &bad).unwrap();
            assert!(open(&at("framed")).is_err(), "{} at {at_byte}", record.kind);
        }
        fs::write(&path, &bytes).unwrap();
    }
    open(&at("framed")).unwrap();
}

/// Threads change no byte, in no layout; nor does zstd with more of them.
#[test]
fn threads_change_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let packages = many();
    for layout in [Layout::Frames, Layout::OneStream] {
        for compression in Compression::ALL {
            let made = [1, 2, 5].map(|threads| {
                let out = directory.path().join(format!("{layout:?}-{compression}-{threads}"));
                write(&out, &packages, None, &WriterOptions { threads, layout, ..options(compression) }).files
            });
            assert_eq!(made[0], made[1], "{layout:?} {compression}");
            assert_eq!(made[0], made[2], "{layout:?} {compression}");
        }
    }
}
