//! Bars X5, X6 and X9: damaged and hostile RPM files. Each test says its own bar; `docs/reliability.md` says what was
//! seen when its protection is taken away.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests may panic")]

mod support;
#[allow(dead_code, reason = "shared with the unit tests")]
#[path = "../src/testing.rs"]
mod testing;
mod header {
    pub(crate) use tutti_rpm::header::MAGIC;
}

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::Duration;

use testing::Entry;
use tutti_bounded::{Limits, peak_below};
use tutti_rpm::{Error, HeaderReader, Package};

const LIMITS: Limits = Limits { address_space_mib: 2048, time: Duration::from_secs(240) };

/// What a package set does with a file before it believes it, but for the checksum of the whole file.
fn accept(reader: &mut HeaderReader, file: &File) -> Result<Package, Error> {
    reader.read_file(file)?.check_complete()?;
    let mut stream = file;
    stream.rewind().unwrap();
    let headers = reader.read_from(&mut stream)?;
    let package = headers.package()?;
    let mut payload = reader.payload_verifier(&headers)?.ok_or(Error::Missing { tag: 5092, name: "PAYLOADDIGEST" })?;
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    payload.update(&rest);
    payload.finish()?;
    Ok(package)
}

/// The three smallest readable packages that have a header digest and a size.
fn smallest() -> Option<Vec<PathBuf>> {
    let mut packages = support::packages(&support::rpms()?);
    packages.sort_by_key(|(path, expected)| (expected["size"].as_u64(), path.clone()));
    let mut reader = HeaderReader::default();
    let has_digest = |path: &PathBuf| {
        let Ok(file) = reader.read(path) else { return false };
        let sized = matches!(file.expected_size(), Ok(Some(size)) if Some(size) == file.file_size());
        sized && matches!(file.verify_header_digest(), Ok(Some(_)))
    };
    let found: Vec<PathBuf> = packages.into_iter().map(|(path, _)| path).filter(has_digest).take(3).collect();
    assert_eq!(found.len(), 3);
    Some(found)
}

/// A private copy of a package that can be damaged in place.
struct Victim {
    file: File,
    _directory: tempfile::TempDir,
    bytes: Vec<u8>,
    whole: Package,
    /// The first byte that a digest covers: all that follow are covered.
    covered: u64,
}

impl Victim {
    fn new(path: &PathBuf) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join("victim.rpm");
        let bytes = std::fs::read(path).unwrap();
        std::fs::write(&copy, &bytes).unwrap();
        let file = File::options().read(true).write(true).open(&copy).unwrap();
        let mut reader = HeaderReader::default();
        let read = reader.read_file(&file).unwrap();
        Self {
            whole: accept(&mut reader, &file).unwrap(),
            covered: read.header_start(),
            file,
            _directory: directory,
            bytes,
        }
    }

    fn read(&self, reader: &mut HeaderReader) -> Result<Package, Error> {
        accept(reader, &self.file)
    }
}

/// Every error says where: a byte, or how many bytes were expected and found; or what was expected and found.
fn names_its_place(error: &Error) -> bool {
    match error.cause() {
        Error::Format { .. } | Error::Tag { .. } | Error::Io { .. } => error.to_string().contains(" byte "),
        Error::Truncated { .. } => error.to_string().contains(" bytes expected, "),
        Error::Digest { expected, found, start, end, .. } => expected != found && start < end,
        Error::PayloadDigest { expected, found, .. } => expected != found && error.to_string().contains(" byte "),
        Error::Missing { .. } => error.to_string().contains("tag "),
        Error::File { .. } => false,
    }
}

/// What a signature may change: everything else comes from the main header, which its digest covers.
fn without_signature(package: &Package) -> Package {
    Package { signing_key: None, archive_size: 0, ..package.clone() }
}

#[test]
fn x5_every_byte_flipped() {
    let Some(paths) = smallest() else { return };
    peak_below("x5_every_byte_flipped", 64, LIMITS, || {
        let (mut cases, mut refused) = (0, 0);
        let mut reader = HeaderReader::default();
        for path in &paths {
            let victim = Victim::new(path);
            for (at, byte) in (0u64..).zip(&victim.bytes) {
                for value in (0..8).map(|bit| byte ^ 1 << bit) {
                    victim.file.write_all_at(&[value], at).unwrap();
                    cases += 1;
                    let place = || format!("{}: byte {at} is {value:#x}", path.display());
                    match victim.read(&mut reader) {
                        Ok(package) => {
                            assert!(at < victim.covered, "{}: accepted", place());
                            assert_eq!(without_signature(&package), without_signature(&victim.whole), "{}", place());
                        }
                        Err(error) => {
                            refused += 1;
                            assert!(names_its_place(&error), "{}: {error}", place());
                        }
                    }
                }
                victim.file.write_all_at(&[*byte], at).unwrap();
            }
            assert_eq!(victim.read(&mut reader).unwrap(), victim.whole);
        }
        println!("{cases} flips, {refused} refused");
        assert!(cases > 30_000 && refused > cases / 2);
    });
}

#[test]
fn x5_every_truncation() {
    let Some(paths) = smallest() else { return };
    peak_below("x5_every_truncation", 64, LIMITS, || {
        let mut reader = HeaderReader::default();
        for path in &paths {
            let victim = Victim::new(path);
            let length = victim.bytes.len() as u64;
            for cut in (0..length).rev() {
                victim.file.set_len(cut).unwrap();
                match victim.read(&mut reader) {
                    Err(Error::Truncated { expected, found, .. }) => {
                        assert_eq!(found, cut);
                        assert!(cut < expected && expected <= length, "{}: {cut} {expected}", path.display());
                    }
                    other => panic!("{} cut to {cut}: {other:?}", path.display()),
                }
            }
        }
    });
}

#[test]
fn x5_damaged_samples_are_refused_with_path_and_place() {
    let Some(rpms) = support::rpms() else { return };
    let damaged = rpms.join("damaged");
    let paths: Vec<PathBuf> =
        support::index(&rpms).into_iter().map(|(path, _)| path).filter(|path| path.starts_with(&damaged)).collect();
    assert!(paths.len() >= 10);
    peak_below("x5_damaged_samples_are_refused_with_path_and_place", 64, LIMITS, || {
        for path in &paths {
            let error = HeaderReader::default().package(path).unwrap_err();
            assert!(error.to_string().contains(&path.display().to_string()), "{error}");
            assert!(names_its_place(error.cause()), "{}", error.cause());
        }
    });
}

/// A named pipe in a package directory must not stop the reader for ever.
#[test]
fn x5_a_pipe_is_not_waited_for() {
    peak_below("x5_a_pipe_is_not_waited_for", 64, Limits { time: Duration::from_secs(20), ..LIMITS }, || {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe.rpm");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let error = HeaderReader::default().read(&pipe).unwrap_err();
        assert!(error.cause().to_string().contains("not a regular file"), "{error}");
        let error = HeaderReader::default().read(directory.path()).unwrap_err();
        assert!(error.cause().to_string().contains("not a regular file"), "{error}");
    });
}

fn main_entries(name: &str, version: &str, release: &str, arch: &str, source: &str) -> Vec<Entry> {
    vec![
        Entry::string(1000, name),
        Entry::string(1001, version),
        Entry::string(1002, release),
        Entry::string(1022, arch),
        Entry::string(1044, source),
    ]
}

fn plain_entries() -> Vec<Entry> {
    main_entries("tutti", "1", "2", "noarch", "tutti-1-2.src.rpm")
}

fn forged(entries: &[Entry]) -> Vec<u8> {
    let signature = testing::header(Some(62), &[Entry::u32s(1007, &[1])]);
    testing::file(&signature, &testing::header(Some(63), entries), b"")
}

fn read(bytes: &[u8]) -> Result<Package, Error> {
    HeaderReader::default().read_from(&mut &*bytes)?.package()
}

#[test]
fn x6_names_that_leave_their_directory_are_refused() {
    assert_eq!(read(&forged(&plain_entries())).unwrap().name, "tutti");
    let hostile = [
        "../../etc/passwd",
        "/etc/passwd",
        "a/b",
        "..",
        "../",
        "..x",
        "",
        "a\nb",
        "a\tb",
        "a\u{7f}b",
        "a\u{85}b",
        "a\u{1b}[2J",
    ];
    for text in hostile {
        for place in 0..5 {
            let mut parts = ["tutti", "1", "2", "noarch", "tutti-1-2.src.rpm"];
            parts[place] = text;
            let [name, version, release, arch, source] = parts;
            let result = read(&forged(&main_entries(name, version, release, arch, source)));
            if place == 4 && text.is_empty() {
                assert_eq!(result.unwrap().source_rpm, None);
                continue;
            }
            let error = result.unwrap_err();
            assert!(matches!(error, Error::Tag { .. }) && names_its_place(&error), "{text:?} at {place}: {error}");
        }
    }
}

/// Nothing is unpacked, so that file paths are text; they must stay with the file and never reach a name.
#[test]
fn x6_file_paths_are_text_only() {
    let mut entries = plain_entries();
    entries.push(Entry::u32s(1116, &[0, 1]));
    entries.push(Entry::strings(1117, &["../../passwd", "x"]));
    entries.push(Entry::strings(1118, &["/etc/", "../../../"]));
    let package = read(&forged(&entries)).unwrap();
    let paths: Vec<&str> = package.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["/etc/../../passwd", "../../../x"]);
    assert_eq!((package.name.as_str(), package.source_rpm.as_deref()), ("tutti", Some("tutti-1-2.src.rpm")));
    let mut wrong = plain_entries();
    wrong.push(Entry::u32s(1116, &[u32::MAX]));
    wrong.push(Entry::strings(1117, &["x"]));
    wrong.push(Entry::strings(1118, &["/"]));
    assert!(read(&forged(&wrong)).unwrap_err().to_string().contains("directory 4294967295 of 1"));
}

/// Puts one big-endian word at a byte.
fn patched(mut bytes: Vec<u8>, at: usize, word: u32) -> Vec<u8> {
    bytes[at..at + 4].copy_from_slice(&word.to_be_bytes());
    bytes
}

/// Counts that ask for gigabytes, in a small file and in a sparse one that really has them.
#[test]
fn x9_counts_of_two_billion() {
    peak_below("x9_counts_of_two_billion", 64, LIMITS, || {
        let good = forged(&plain_entries());
        let main = good.len() - testing::header(Some(63), &plain_entries()).len();
        for header in [96, main] {
            for count in [1 << 31, u32::MAX, 0x0100_0000, 0x0fff_ffff, 0x7fff_ffff] {
                for at in [8, 12] {
                    let bytes = patched(good.clone(), header + at, count);
                    let error = read(&bytes).unwrap_err();
                    assert!(names_its_place(&error), "{error}");
                    let mut file = tempfile::tempfile().unwrap();
                    file.write_all(&bytes).unwrap();
                    let error = HeaderReader::default().read_file(&file).unwrap_err();
                    assert!(matches!(error, Error::Truncated { .. } | Error::Format { .. }), "{error}");
                }
            }
        }
        // The elements of one entry.
        for (number, entry) in plain_entries().iter().enumerate() {
            for count in [1 << 31, u32::MAX, 0x000f_ffff, 2] {
                let at = main + 16 + (number + 1) * 16 + 12;
                let error = read(&patched(good.clone(), at, count)).unwrap_err();
                assert!(error.to_string().contains(&format!("tag {}", entry.tag)), "{error}");
            }
        }
    });
}

/// A header at the limit that the file really has, as a sparse file: its memory is that of two copies, and no more.
#[test]
fn x9_a_sparse_header_of_the_largest_size() {
    peak_below("x9_a_sparse_header_of_the_largest_size", 600, LIMITS, || {
        let good = forged(&plain_entries());
        let main = good.len() - testing::header(Some(63), &plain_entries()).len();
        let mut file = tempfile::tempfile().unwrap();
        for header in [96, main] {
            file.write_all_at(&patched(good.clone(), header + 8, 1 << 31), 0).unwrap();
            file.set_len(64 << 30).unwrap();
            let error = HeaderReader::default().read_file(&file).unwrap_err();
            assert!(error.to_string().contains("2147483648 index entries"), "{error}");
        }
        file.set_len(0).unwrap();
        file.write_all(&patched(good, main + 12, 0x0fff_ffff)).unwrap();
        file.set_len(4 << 30).unwrap();
        let error = HeaderReader::default().read_file(&file).unwrap_err();
        assert!(error.to_string().contains("region trailer is not at the end"), "{error}");
    });
}

/// All 65,535 entries on the same bytes: without the check of order, work and memory grow with their product.
#[test]
fn x9_overlapping_entries() {
    peak_below("x9_overlapping_entries", 128, LIMITS, || {
        for kind in [6, 7, 8, 9] {
            let count = 65_534u32;
            let mut index = Vec::new();
            let data = vec![0u8; 1 << 20];
            for number in 0..count {
                let elements = if kind == 6 { 1 } else { 1 << 19 };
                index.extend([1000 + number, kind, 0, elements].map(u32::to_be_bytes).concat());
            }
            let counts = [count, data.len() as u32].map(u32::to_be_bytes).concat();
            let header = [header::MAGIC.to_vec(), counts, index, data].concat();
            let signature = testing::header(Some(62), &[Entry::u32s(1007, &[1])]);
            let error = read(&testing::file(&signature, &header, b"")).unwrap_err();
            assert!(error.to_string().contains("expected from"), "{error}");
        }
    });
}

/// A million locales, and one text of 100 MB: read without a copy of each.
#[test]
fn x9_huge_localised_strings() {
    peak_below("x9_huge_localised_strings", 512, LIMITS, || {
        let localised = |data: Vec<u8>, count| Entry { tag: 1004, kind: 9, count, data };
        let mut entries = plain_entries();
        entries.insert(3, localised(vec![0; 1_000_000], 1_000_000));
        assert_eq!(read(&forged(&entries)).unwrap().summary, "");
        entries[3] = localised(vec![0; 3_000_000], 3_000_000);
        assert!(read(&forged(&entries)).unwrap_err().to_string().contains("3000000 elements"));
        let mut text = vec![b'x'; 50 << 20];
        text.push(0);
        entries[3] = localised(text, 1);
        assert_eq!(read(&forged(&entries)).unwrap().summary.len(), 50 << 20);
    });
}

/// One directory name of 64 KiB used by a million files would be 64 GB of paths.
#[test]
fn x9_one_directory_a_million_times() {
    peak_below("x9_one_directory_a_million_times", 96, LIMITS, || {
        let files = 1_000_000u32;
        let mut entries = plain_entries();
        entries.push(Entry { tag: 1116, kind: 4, count: files, data: vec![0; files as usize * 4] });
        entries.push(Entry { tag: 1117, kind: 8, count: files, data: vec![0; files as usize] });
        entries.push(Entry::strings(1118, &[&"d".repeat(65_536)]));
        let error = read(&forged(&entries)).unwrap_err();
        assert!(error.to_string().contains("longer than"), "{error}");
    });
}
