//! Repositories that are damaged or mean harm, and manifests that cannot be written.

#![expect(clippy::unwrap_used, reason = "tests may panic")]

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tutti_repodata::{
    Checksum, ChecksumType, Compression, Entry, EntryRules, Extra, ExtraContent, FragmentOptions, Fragments,
    GroupStyle, ReadOptions, RecordId, RepoPackage, Repomd, RepomdRecord, Repository, RepositoryError, WriterError,
    WriterOptions, write_repository,
};
use tutti_rpm::{Evr, FileEntry, FileKind, Package};

fn package(name: &str) -> Package {
    Package {
        name: name.into(),
        arch: "noarch".into(),
        evr: Evr { epoch: None, version: "1".into(), release: "1".into() },
        files: vec![FileEntry { path: format!("/opt/{name}"), kind: FileKind::Ghost }],
        ..Package::default()
    }
}

fn entry(number: u32, href: &str) -> Entry {
    Entry {
        record: RecordId(number),
        location_href: href.into(),
        location_base: None,
        mtime: 1000 + u64::from(number),
        checksum: ChecksumType::Sha256.hash(&number.to_le_bytes()),
        size: 77,
    }
}

fn fragments(names: &[&str]) -> Vec<Fragments> {
    names.iter().map(|name| Fragments::make(&package(name), &FragmentOptions::default()).unwrap()).collect()
}

fn options() -> WriterOptions {
    WriterOptions { compression: Compression::Gzip, unique_names: false, ..WriterOptions::default() }
}

/// Two packages, `a` and `b`.
fn good_repository(directory: &Path) {
    let entries = [entry(1, "b.rpm"), entry(0, "a.rpm")];
    write_repository(directory, &fragments(&["a", "b"]), &entries, &[], &options()).unwrap();
}

fn read(directory: &Path) -> Result<Vec<RepoPackage>, RepositoryError> {
    Repository::open_local(directory)?.packages(ReadOptions::default())?.collect()
}

fn full_text(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", full_text(source)),
        None => error.to_string(),
    }
}

fn refusal(directory: &Path) -> String {
    full_text(&read(directory).unwrap_err())
}

/// Puts a file of the given text in place, and a `repomd.xml` that fits it.
fn replace(directory: &Path, kind: &str, text: &[u8]) {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).unwrap();
    let packed = encoder.finish().unwrap();
    replace_packed(directory, kind, &packed, Some((ChecksumType::Sha256.hash(text), text.len() as u64)));
}

fn replace_packed(directory: &Path, kind: &str, packed: &[u8], open: Option<(Checksum, u64)>) {
    let mut repomd = Repository::open_local(directory).unwrap().repomd().clone();
    let record = repomd.records.iter_mut().find(|record| record.kind == kind).unwrap();
    fs::write(directory.join(&record.location_href), packed).unwrap();
    record.checksum = ChecksumType::Sha256.hash(packed);
    record.size = Some(packed.len() as u64);
    (record.open_checksum, record.open_size) =
        open.map_or((None, None), |(checksum, size)| (Some(checksum), Some(size)));
    fs::write(directory.join("repodata/repomd.xml"), repomd.to_xml()).unwrap();
}

fn text_of(directory: &Path, kind: &str) -> String {
    let repository = Repository::open_local(directory).unwrap();
    let record = repository.repomd().record(kind).unwrap();
    String::from_utf8(repository.read(record, 1 << 20).unwrap()).unwrap()
}

fn replaced(kind: &str, from: &str, to: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    good_repository(directory.path());
    let text = text_of(directory.path(), kind);
    assert!(text.contains(from), "{text}");
    replace(directory.path(), kind, text.replace(from, to).as_bytes());
    directory
}

#[test]
fn packages_come_back_in_order_with_all_facts() {
    let directory = tempfile::tempdir().unwrap();
    good_repository(directory.path());
    let packages = read(directory.path()).unwrap();
    assert_eq!(packages.len(), 2);
    for (number, (read, name)) in packages.iter().zip(["a", "b"]).enumerate() {
        let entry = entry(number as u32, &format!("{name}.rpm"));
        assert_eq!(read.package, package(name));
        assert_eq!((&read.location_href, read.mtime, read.size), (&entry.location_href, entry.mtime, entry.size));
        assert_eq!(read.checksum, entry.checksum);
    }
}

#[test]
fn lists_in_another_order_are_joined() {
    let directory = tempfile::tempdir().unwrap();
    good_repository(directory.path());
    let expected = read(directory.path()).unwrap();
    for kind in ["filelists", "other"] {
        let text = text_of(directory.path(), kind);
        let parts: Vec<&str> = text.split_inclusive("</package>\n").collect();
        let (head, first) = parts[0].split_at(parts[0].find("<package").unwrap());
        replace(directory.path(), kind, [head, parts[1], first, parts[2]].concat().as_bytes());
    }
    assert_eq!(read(directory.path()).unwrap(), expected);
}

#[test]
fn unsafe_locations_name_the_package() {
    for (href, reason) in [
        ("../../etc/passwd", "leaves the repository"),
        ("/etc/passwd", "is an absolute path"),
        ("x&#10;y.rpm", "control character"),
        ("http://x/y.rpm", "is a URL"),
    ] {
        let directory = replaced("primary", "href=\"b.rpm\"", &format!("href=\"{href}\""));
        let error = refusal(directory.path());
        assert!(error.contains("package b ") && error.contains(reason), "{error}");
        assert!(error.contains("repodata/primary.xml.gz at byte "), "{error}");
    }
}

#[test]
fn broken_packages_name_file_byte_and_reason() {
    for (kind, from, to, expected) in [
        ("primary", "type=\"sha256\"", "type=\"crc\"", "not usable"),
        ("primary", "<location href=\"b.rpm\"/>", "", "no location"),
        ("primary", "build=\"0\"", "build=\"x\"", "not a number"),
        ("primary", "<name>b</name>", "", "no name"),
        ("primary", "<metadata", "<!DOCTYPE m><metadata", "document type"),
        ("primary", "<name>b", "<name>&bomb;", "unknown entity"),
        ("primary", "</metadata>", "", "ends inside"),
        ("primary", "epoch=\"0\"", "epoch=\"-1\"", "epoch"),
        ("filelists", "pkgid=", "id=", "no pkgid"),
        ("filelists", "name=\"b\"", "name=\"b\" x=\"&no;\"", "no"),
    ] {
        let directory = replaced(kind, from, to);
        let error = refusal(directory.path());
        let file = format!("repodata/{kind}.xml.gz at byte ");
        assert!(error.contains(&file) && error.contains(expected), "{kind} {to}: {error}");
    }
    let id = ChecksumType::Sha256.hash(&1u32.to_le_bytes());
    let directory = replaced("filelists", id.hex(), &"0".repeat(64));
    assert!(refusal(directory.path()).contains("no package with the id"));
}

#[test]
fn changed_bytes_are_told_by_checksum_or_size() {
    let directory = tempfile::tempdir().unwrap();
    good_repository(directory.path());
    for name in ["primary", "filelists", "other"] {
        let path = directory.path().join(format!("repodata/{name}.xml.gz"));
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            fs::write(&path, &bad).unwrap();
            let error = refusal(directory.path());
            assert!(error.contains(&format!("{name}.xml.gz")) && error.contains("does not match"), "{at}: {error}");
        }
        fs::write(&path, [good.as_slice(), b"more"].concat()).unwrap();
        assert!(refusal(directory.path()).contains("does not match"), "longer");
        fs::write(&path, &good[..good.len() - 1]).unwrap();
        assert!(refusal(directory.path()).contains("does not match"), "shorter");
        fs::remove_file(&path).unwrap();
        assert!(refusal(directory.path()).contains("cannot open"), "absent");
        fs::write(&path, &good).unwrap();
    }
    assert_eq!(read(directory.path()).unwrap().len(), 2);
}

/// Content that is larger than `open-size` says stops at once, and content without a declared size at a single text.
#[test]
fn decompression_bombs_are_refused_in_bounded_memory() {
    let directory = tempfile::tempdir().unwrap();
    good_repository(directory.path());
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(b"<metadata xmlns=\"x\"><package type=\"rpm\"><name>").unwrap();
    io::copy(&mut io::repeat(b'x').take(300 << 20), &mut encoder).unwrap();
    let packed = encoder.finish().unwrap();
    replace_packed(directory.path(), "primary", &packed, Some((ChecksumType::Sha256.hash(b""), 1000)));
    assert!(refusal(directory.path()).contains("larger than 1000 bytes"));
    replace_packed(directory.path(), "primary", &packed, None);
    assert!(refusal(directory.path()).contains("a tag or text is longer than"));
    let repository = Repository::open_local(directory.path()).unwrap();
    let record = repository.repomd().record("primary").unwrap();
    assert!(full_text(&repository.read(record, 1 << 20).unwrap_err()).contains("larger than 1048576 bytes"));
    let resident = fs::read_to_string("/proc/self/status").unwrap();
    let peak = resident.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib < 300 * 1024, "peak memory {kib} KiB");
}

#[test]
fn missing_lists() {
    let directory = tempfile::tempdir().unwrap();
    good_repository(directory.path());
    let path = directory.path().join("repodata/repomd.xml");
    let repomd = Repository::open_local(directory.path()).unwrap().repomd().clone();
    let without = |kind: &str| {
        let records =
            repomd.records.iter().filter(|record| record.kind != kind).cloned().collect::<Vec<RepomdRecord>>();
        fs::write(&path, Repomd { records, ..Repomd::default() }.to_xml()).unwrap();
        read(directory.path())
    };
    assert!(without("primary").unwrap_err().to_string().contains("lists no primary"));
    assert!(without("filelists").unwrap_err().to_string().contains("lists no filelists"));
    assert_eq!(without("other").unwrap().len(), 2);
    let repository = Repository::open_local(directory.path()).unwrap();
    let lean = ReadOptions { filelists: false, other: false, ..ReadOptions::default() };
    assert_eq!(repository.packages(lean).unwrap().map(Result::unwrap).count(), 2);
}

#[test]
fn manifests_that_cannot_be_written() {
    let source = fragments(&["a", "b"]);
    let refuse = |entries: &[Entry], extras: &[Extra], options: &WriterOptions| {
        let directory = tempfile::tempdir().unwrap();
        let result = write_repository(directory.path(), &source, entries, extras, options);
        assert!(!directory.path().join("repodata/repomd.xml").exists());
        full_text(&result.unwrap_err())
    };
    assert!(refuse(&[entry(0, "../a.rpm")], &[], &options()).contains("leaves the repository"));
    assert!(refuse(&[entry(0, "a"), entry(1, "a")], &[], &options()).contains("two packages"));
    assert!(refuse(&[entry(5, "a")], &[], &options()).contains("2 records and none with number 5"));
    let extra = |kind: &str, name: &str| Extra {
        kind: kind.into(),
        name: name.into(),
        content: ExtraContent::Bytes(Vec::new()),
        compression: None,
    };
    for (kind, name) in [("primary", "x"), ("x", "primary.xml"), ("x", "../y"), ("x", "a/b"), ("", "y")] {
        let error = refuse(&[], &[extra(kind, name)], &options());
        assert!(error.contains("there already") || error.contains("no usable"), "{error}");
    }
    let directory = tempfile::tempdir().unwrap();
    good_repository(directory.path());
    let again = write_repository(directory.path(), &source, &[], &[], &options());
    assert!(matches!(again, Err(WriterError::Exists { .. })));
}

/// No clock: mtimes, timestamps and revision come from the packages, and twice in a row gives the same bytes.
#[test]
fn timestamps_come_from_the_packages() {
    let directory = tempfile::tempdir().unwrap();
    good_repository(directory.path());
    let repository = Repository::open_local(directory.path()).unwrap();
    assert_eq!(repository.repomd().revision.as_deref(), Some("1001"));
    assert!(repository.repomd().records.iter().all(|record| record.timestamp == 1001));
    for entry in directory.path().join("repodata").read_dir().unwrap() {
        let modified = entry.unwrap().metadata().unwrap().modified().unwrap();
        assert_eq!(modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs(), 1001);
    }
    let one_thread = tempfile::tempdir().unwrap();
    let entries = [entry(0, "a.rpm"), entry(1, "b.rpm")];
    let options = WriterOptions { threads: 1, ..options() };
    let written = write_repository(one_thread.path(), &fragments(&["a", "b"]), &entries, &[], &options).unwrap();
    for file in &written.files {
        let bytes = fs::read(one_thread.path().join(&file.path)).unwrap();
        assert_eq!(bytes, fs::read(directory.path().join(&file.path)).unwrap(), "{}", file.path);
        assert_eq!((bytes.len() as u64, ChecksumType::Sha256.hash(&bytes).hex()), (file.size, file.sha256.as_str()));
    }
    assert_eq!(written.bytes_out, written.files.iter().map(|file| file.size).sum::<u64>());
}

#[test]
fn group_file_in_both_styles() {
    let comps = b"<comps/>".to_vec();
    let extras = [Extra::group("comps-Server.x86_64.xml", ExtraContent::Bytes(comps.clone()))];
    for (style, kinds) in
        [(GroupStyle::Compressed, vec!["group"]), (GroupStyle::PlainAndCompressed, vec!["group", "group_gz"])]
    {
        let directory = tempfile::tempdir().unwrap();
        let options =
            WriterOptions { group_style: style, unique_names: true, checksum_type: ChecksumType::Sha512, ..options() };
        let none: Vec<Fragments> = Vec::new();
        write_repository(directory.path(), &none, &[], &extras, &options).unwrap();
        let repository = Repository::open_local(directory.path()).unwrap();
        let groups: Vec<_> =
            repository.repomd().records.iter().filter(|record| record.kind.starts_with("group")).collect();
        assert_eq!(groups.iter().map(|record| record.kind.as_str()).collect::<Vec<_>>(), kinds);
        for record in groups {
            assert_eq!(repository.read(record, 100).unwrap(), comps);
            assert!(record.location_href.starts_with(&format!("repodata/{}-comps-Server", record.checksum.hex())));
        }
        assert!(repository.group().is_some() && repository.modules().is_none());
    }
}

/// A connection that breaks is reported as such, and the file is not fetched a second time.
#[test]
fn broken_connections_are_told_apart_from_damage() {
    struct Broken(fs::File, usize);
    impl Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.1 == 0 {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            let length = buffer.len().min(self.1);
            self.1 -= length;
            self.0.read(&mut buffer[..length])
        }
    }
    let directory = tempfile::tempdir().unwrap();
    good_repository(directory.path());
    let root = directory.path().to_owned();
    let fetched = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&fetched);
    let repository = Repository::load(Box::new(move |href| {
        let file = fs::File::open(root.join(href))?;
        if href.contains("filelists") {
            counter.fetch_add(1, Ordering::Relaxed);
            return Ok(Box::new(Broken(file, 100)));
        }
        Ok(Box::new(file))
    }))
    .unwrap();
    let result: Result<Vec<_>, _> = repository.packages(ReadOptions::default()).unwrap().collect();
    let error = result.unwrap_err();
    assert!(matches!(&error, RepositoryError::Read { file, .. } if file.contains("filelists")), "{error}");
    assert_eq!(fetched.load(Ordering::Relaxed), 1);
}

/// What Pungi and Koji list: packages beside the repository, and one twice. They stay as and where they are.
#[test]
fn entries_as_given_and_any_location() {
    let directory = tempfile::tempdir().unwrap();
    let entries = [entry(1, "../b.rpm"), entry(0, "/srv/a.rpm"), entry(1, "../b.rpm")];
    let rules = WriterOptions { entries: EntryRules::AsGiven, ..options() };
    write_repository(directory.path(), &fragments(&["a", "b"]), &entries, &[], &rules).unwrap();
    assert!(refusal(directory.path()).contains("leaves the repository"));
    let repository = Repository::open_local(directory.path()).unwrap();
    let any = ReadOptions { any_location: true, ..ReadOptions::default() };
    let read: Vec<RepoPackage> = repository.packages(any).unwrap().map(Result::unwrap).collect();
    let hrefs: Vec<&str> = read.iter().map(|package| package.location_href.as_str()).collect();
    assert_eq!(hrefs, ["../b.rpm", "/srv/a.rpm", "../b.rpm"]);
    let bad = write_repository(&directory.path().join("x"), &fragments(&["a"]), &[entry(0, "a\n")], &[], &rules);
    assert!(full_text(&bad.unwrap_err()).contains("control character"));
}
