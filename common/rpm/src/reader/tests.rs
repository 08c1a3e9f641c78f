use std::io::Write;

use super::*;
use crate::dependency::Dependency;
use crate::model::{FileEntry, FileKind};
use crate::testing::{Entry, file, header};

fn read(bytes: &[u8]) -> Result<HeaderFile, Error> {
    HeaderReader::default().read_from(&mut &*bytes)
}

fn main_entries() -> Vec<Entry> {
    vec![
        Entry::string(1000, "tutti"),
        Entry::string(1001, "1.0"),
        Entry::string(1002, "2"),
        Entry::u32s(1003, &[0]),
        Entry::string(1020, ""),
        Entry::string(1022, "noarch"),
        Entry::u16s(1030, &[0o40755, 0o100644, 0o100644]),
        Entry::u32s(1037, &[64, 64, 0]),
        Entry::string(1044, "tutti-1.0-2.src.rpm"),
        Entry::strings(1047, &["tutti"]),
        Entry::u32s(1048, &[12 | 1 << 9, 1 << 19, 0]),
        Entry::strings(1049, &["bash", "old", "plain"]),
        Entry::strings(1050, &["0:4-1", "", ""]),
        Entry::u32s(1112, &[8]),
        Entry::strings(1113, &["1.0-2"]),
        Entry::u32s(1116, &[0, 1, 1]),
        Entry::strings(1117, &["x", "y", "z"]),
        Entry::strings(1118, &["/a/", "/b/"]),
        Entry::u32s(1158, &[0, 1 << 27]),
    ]
}

fn sample(payload: &[u8]) -> Vec<u8> {
    let mut entries = main_entries();
    entries.insert(18, Entry::strings(1157, &["", ""]));
    entries.insert(18, Entry::strings(1156, &["weak", "strong"]));
    let header_bytes = header(Some(63), &entries);
    let size = u32::try_from(header_bytes.len() + 10).unwrap();
    let digest = hex(&Sha256::digest(&header_bytes));
    let issuer = [0xc2, 20, 4, 0, 1, 8, 0, 2, 1, 9, 0, 10, 9, 16, 1, 2, 3, 4, 0xde, 0xad, 0xbe, 0xef];
    let signature = header(
        Some(62),
        &[
            Entry::binary(268, &issuer),
            Entry::string(273, &digest),
            Entry::u32s(1000, &[size]),
            Entry::u32s(1007, &[777]),
        ],
    );
    file(&signature, &header_bytes, payload)
}

fn on_disk(bytes: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    file
}

#[test]
fn reads_a_package() {
    let file = read(&sample(&[0; 10])).unwrap();
    assert_eq!(file.verify_header_digest().unwrap(), Some("SHA-256"));
    assert_eq!(file.expected_size().unwrap(), Some(sample(&[0; 10]).len() as u64));
    let package = file.package().unwrap();
    assert_eq!(package.nevra().to_owned().name, "tutti");
    assert_eq!((package.evr.to_string().as_str(), package.url, package.archive_size), ("1.0-2", None, 777));
    assert_eq!(package.signing_key.as_deref(), Some("deadbeef"));
    let entry = |path: &str, kind| FileEntry { path: path.to_owned(), kind };
    assert_eq!(
        package.files,
        [entry("/a/x", FileKind::Directory), entry("/b/y", FileKind::Ghost), entry("/b/z", FileKind::File)]
    );
    let bash = Dependency { pre: true, ..Dependency::parse("bash >= 4-1").unwrap() };
    assert_eq!(package.requires, [bash, Dependency::any("plain")]);
    assert_eq!(package.recommends, [Dependency::any("old"), Dependency::any("strong")]);
    assert_eq!(package.suggests, [Dependency::any("weak")]);
}

#[test]
fn old_packages() {
    let entries = [
        Entry::string(1000, "old"),
        Entry::string(1001, "1"),
        Entry::string(1002, "1"),
        Entry::strings(1027, &["old.spec", "old.tar.gz"]),
        Entry::u32s(1051, &[1]),
    ];
    let bytes = file(&header(None, &[Entry::u32s(1000, &[5])]), &header(None, &entries), b"");
    let file = read(&bytes).unwrap();
    let package = file.package().unwrap();
    assert_eq!((package.arch.as_str(), package.source_rpm), ("nosrc", None));
    assert_eq!(package.files[1].path, "old.tar.gz");
    assert_eq!(file.verify_header_digest().unwrap(), None);
}

/// rpm 3 did not say that a package provides itself; what has a region says all that it wants to.
#[test]
fn packages_without_a_region_provide_themselves() {
    let provides = |region, entries: &[Entry]| {
        let bytes = file(&header(None, &[Entry::u32s(1000, &[5])]), &header(region, entries), b"");
        read(&bytes).unwrap().package().unwrap().provides
    };
    let mut entries = main_entries();
    entries.retain(|entry| entry.tag != 1158);
    let itself = Dependency::parse("tutti = 1.0-2").unwrap();
    assert_eq!(provides(None, &entries), std::slice::from_ref(&itself), "said already");
    entries.retain(|entry| ![1047, 1112, 1113].contains(&entry.tag));
    assert_eq!(provides(None, &entries), [itself]);
    assert_eq!(provides(Some(63), &entries), []);
    entries.retain(|entry| entry.tag != 1044);
    let source = [Entry::u32s(1106, &[1])];
    entries.extend(source);
    entries.sort_by_key(|entry| entry.tag);
    assert_eq!(provides(None, &entries), [], "source packages provide nothing");
}

#[test]
fn missing_tags_are_named() {
    let bytes = file(
        &header(None, &[Entry::u32s(1000, &[5])]),
        &header(Some(63), &[Entry::string(1000, "x"), Entry::string(1044, "x.src.rpm")]),
        b"",
    );
    assert_eq!(read(&bytes).unwrap().package().unwrap_err().to_string(), "main header has no VERSION (tag 1001)");
}

#[test]
fn names_that_leave_the_directory_are_refused() {
    for (tag, bad) in [(1000, "../../etc/cron.d/x"), (1001, ""), (1002, "1\n"), (1022, "a/b"), (1044, "../x.src.rpm")] {
        let mut entries = main_entries();
        entries.retain(|entry| entry.tag != 1158);
        let place = entries.iter().position(|entry| entry.tag == tag).unwrap();
        entries[place] = Entry::string(tag, bad);
        let bytes = file(&header(None, &[Entry::u32s(1000, &[5])]), &header(Some(63), &entries), b"");
        let error = read(&bytes).unwrap().package().unwrap_err();
        let Error::Tag { tag: named, reason, .. } = error else { panic!("{error}") };
        assert_eq!((named, reason), (tag, format!("{bad:?} cannot be part of a file name")));
    }
}

#[test]
fn directories_out_of_range() {
    let mut entries = main_entries();
    entries.retain(|entry| entry.tag != 1116 && entry.tag != 1158);
    entries.insert(14, Entry::u32s(1116, &[0, 1, 2]));
    entries.sort_by_key(|entry| entry.tag);
    let bytes = file(&header(None, &[Entry::u32s(1000, &[5])]), &header(Some(63), &entries), b"");
    let error = read(&bytes).unwrap().package().unwrap_err().to_string();
    assert!(error.ends_with("directory 2 of 2"), "{error}");
}

#[test]
fn truncation_is_told_as_such() {
    let whole = sample(&[0; 10]);
    let mut reader = HeaderReader::default();
    reader.read(on_disk(&whole).path()).unwrap().check_complete().unwrap();
    for length in 0..whole.len() {
        let file = on_disk(&whole[..length]);
        let error = match reader.read(file.path()) {
            Ok(file) => file.check_complete().unwrap_err(),
            Err(Error::File { path, source }) => {
                assert_eq!(path, file.path());
                *source
            }
            Err(error) => panic!("no path in {error}"),
        };
        let Error::Truncated { expected, found, .. } = error else { panic!("{length}: {error}") };
        assert!(found == length as u64 && expected > found && expected <= whole.len() as u64);
    }
}

#[test]
fn a_wrong_digest_is_an_error() {
    let mut bytes = sample(b"");
    let at = bytes.windows(5).position(|window| window == b"tutti").unwrap();
    bytes[at] = b'T';
    let error = read(&bytes).unwrap().verify_header_digest().unwrap_err().to_string();
    assert!(error.starts_with("SHA-256 of the main header, bytes "), "{error}");
}

/// Every bit of the file but the payload is flipped: an error or a package, never a panic, and never much memory.
#[test]
fn flipped_bits() {
    let whole = sample(b"");
    let mut reader = HeaderReader::default();
    let mut readable = 0;
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            let Ok(file) = reader.read_from(&mut &*bytes) else { continue };
            readable += 1;
            let _ = (file.package(), file.check_complete(), file.payload_digest());
            assert!(at < file.header_start() as usize || file.verify_header_digest().is_err());
        }
    }
    assert!(readable > 1000);
    assert!(reader.buffer.capacity() < 1024 * 1024);
}

#[test]
fn lengths_that_lie_allocate_nothing() {
    let mut bytes = sample(b"");
    bytes[96 + 12..96 + 16].copy_from_slice(&0x03ff_ffffu32.to_be_bytes());
    let mut reader = HeaderReader::default();
    let error = reader.read_from(&mut &*bytes).unwrap_err();
    assert!(matches!(error, Error::Truncated { part: Part::Signature, .. }), "{error}");
    assert!(reader.buffer.capacity() < 1024 * 1024);
}

#[test]
fn not_an_rpm() {
    assert_eq!(read(&[0; 100]).unwrap_err().to_string(), "lead at byte 0: not an RPM package (magic is wrong)");
    assert_eq!(read(b"abc").unwrap_err().to_string(), "truncated in the lead: 96 bytes expected, 3 found");
    let mut reader = HeaderReader::default();
    let error = reader.read(Path::new("/nonexistent.rpm")).unwrap_err();
    assert_eq!(error.to_string(), "cannot read RPM /nonexistent.rpm");
    let directory = tempfile::tempdir().unwrap();
    let error = reader.read(directory.path()).unwrap_err();
    assert_eq!(error.cause().to_string(), "lead at byte 0: not a regular file");
}

/// A package whose payload has the digest that `with` adds to main and signature header, read as a stream.
fn verify(payload: &[u8], main: &[Entry], md5: Option<&[u8]>) -> Option<Result<(), Error>> {
    let mut entries = main_entries();
    entries.extend(main.iter().cloned());
    let header_bytes = header(Some(63), &entries);
    let mut signature = vec![Entry::u32s(1000, &[u32::try_from(header_bytes.len() + 5).unwrap()])];
    if let Some(of) = md5 {
        let digest = <md5::Md5 as md5::Digest>::new().chain_update(&header_bytes).chain_update(of).finalize();
        signature.push(Entry::binary(1004, &digest));
    }
    // Larger than what is read with the headers.
    let mut payload = payload.to_vec();
    payload.resize(3 * CHUNK, 7);
    let bytes = file(&header(Some(62), &signature), &header_bytes, &payload);
    let mut reader = HeaderReader::default();
    let mut stream = bytes.as_slice();
    let headers = reader.read_from(&mut stream).unwrap();
    let mut verifier = reader.payload_verifier(&headers).unwrap()?;
    stream.chunks(1000).for_each(|chunk| verifier.update(chunk));
    Some(verifier.finish())
}

#[test]
fn payloads_are_verified_by_the_digest_that_there_is() {
    let mut payload = b"hello".to_vec();
    payload.resize(3 * CHUNK, 7);
    let sha256 = [Entry::strings(5092, &[&hex(&Sha256::digest(&payload))]), Entry::u32s(5093, &[8])];
    let sha512 = [Entry::strings(5121, &[&hex(&sha2::Sha512::digest(&payload))])];
    let unknown = [Entry::strings(5092, &["00"]), Entry::u32s(5093, &[99])];
    for main in [&sha256[..], &sha512] {
        verify(b"hello", main, Some(b"not looked at")).unwrap().unwrap();
        let error = verify(b"hullo", main, None).unwrap().unwrap_err().to_string();
        assert!(error.contains("of payload and what follows, byte ") && error.contains("SHA-"), "{error}");
    }
    verify(b"hello", &[], Some(&payload)).unwrap().unwrap();
    let error = verify(b"hullo", &[], Some(&payload)).unwrap().unwrap_err().to_string();
    assert!(error.starts_with("MD5 of main header and what follows, byte "), "{error}");
    assert!(verify(b"hullo", &[], None).is_none());
    verify(b"hello", &unknown, Some(&payload)).unwrap().unwrap();
    assert!(verify(b"hullo", &unknown, None).is_none());
}
