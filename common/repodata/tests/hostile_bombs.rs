//! Bars X6, X7 and X8: repositories whose metadata lead outside, or are far larger than they look.
//! `docs/reliability.md` says what was seen when each protection is taken away.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests may panic")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Cursor, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tutti_bounded::{Limits, input_limit, peak_below};
use tutti_repodata::{ChecksumType, ReadOptions, Repomd, RepomdRecord, Repository, RepositoryError};

const LIMITS: Limits = Limits { address_space_mib: 2048, time: Duration::from_secs(240) };
/// Against hangs; a second is promised, and asserted with `TUTTI_INPUT_LIMIT_MS=1000`.
const DEADLINE: Duration = Duration::from_secs(120);
const MIB: u64 = 1 << 20;

fn full_text(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", full_text(source)),
        None => error.to_string(),
    }
}

/// Files of a repository in memory: for each kind its bytes, and what `open-size` says.
#[derive(Default)]
struct Forged {
    files: BTreeMap<&'static str, (Vec<u8>, Option<u64>)>,
}

impl Forged {
    /// Whole and empty lists, of which `kind` is replaced.
    fn with(kind: &'static str, bytes: Vec<u8>, open_size: Option<u64>) -> Repository {
        let mut forged = Self::default();
        for (kind, root) in [("primary", "metadata"), ("filelists", "filelists"), ("other", "otherdata")] {
            forged.files.insert(kind, (format!("<{root}/>").into_bytes(), None));
        }
        forged.files.insert(kind, (bytes, open_size));
        forged.open()
    }

    fn open(self) -> Repository {
        let records = self.files.iter().map(|(kind, (bytes, open_size))| RepomdRecord {
            kind: (*kind).to_owned(),
            location_href: format!("repodata/{kind}.xml"),
            location_base: None,
            checksum: ChecksumType::Sha256.hash(bytes),
            open_checksum: None,
            timestamp: 0,
            size: Some(bytes.len() as u64),
            open_size: *open_size,
            header: None,
            database_version: None,
        });
        let repomd = Repomd { records: records.collect(), ..Repomd::default() }.to_xml();
        let files: BTreeMap<String, Arc<[u8]>> =
            self.files.into_iter().map(|(kind, (bytes, _))| (format!("repodata/{kind}.xml"), bytes.into())).collect();
        Repository::load(Box::new(move |href| {
            Ok(match href {
                "repodata/repomd.xml" => Box::new(Cursor::new(repomd.clone())),
                other => match files.get(other) {
                    Some(bytes) => Box::new(Cursor::new(Arc::clone(bytes))),
                    None => return Err(io::Error::from(io::ErrorKind::NotFound)),
                },
            })
        }))
        .unwrap()
    }
}

fn packages(repository: &Repository) -> Result<usize, RepositoryError> {
    let mut count = 0;
    for package in repository.packages(ReadOptions::default())? {
        package?;
        count += 1;
    }
    Ok(count)
}

fn zstd(parts: &mut dyn Read) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    io::copy(parts, &mut encoder).unwrap();
    encoder.finish().unwrap()
}

/// `unit` again and again, at least `length` bytes of it.
fn repeated(unit: &str, length: u64) -> Repeated {
    Repeated { block: unit.repeat((1 << 16) / unit.len() + 1).into_bytes(), at: 0, left: length }
}

struct Repeated {
    block: Vec<u8>,
    at: usize,
    left: u64,
}

impl Read for Repeated {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && self.at == 0 {
            return Ok(0);
        }
        let part = &self.block[self.at..];
        let length = part.len().min(buffer.len());
        buffer[..length].copy_from_slice(&part[..length]);
        self.at = (self.at + length) % self.block.len();
        self.left = self.left.saturating_sub(length as u64);
        Ok(length)
    }
}

fn refused(kind: &'static str, name: &str, reason: &str, text: &mut dyn Read) {
    let repository = Forged::with(kind, zstd(text), None);
    let started = Instant::now();
    let error = full_text(&packages(&repository).unwrap_err());
    println!("{kind}: {name}: {} ms: {error}", started.elapsed().as_millis());
    assert!(error.contains(&format!("repodata/{kind}.xml")) && error.contains(reason), "{kind}: {name}: {error}");
    assert!(error.len() < 1000, "{name}: a message of {} bytes", error.len());
    assert!(started.elapsed() < input_limit(DEADLINE), "{kind}: {name}");
}

fn laughs(root: &str) -> String {
    let mut text = format!("<!DOCTYPE {root} [<!ENTITY l0 'ha'>");
    for level in 1..10 {
        let _ = write!(text, "<!ENTITY l{level} '{}'>", format!("&l{};", level - 1).repeat(10));
    }
    text + &format!("]><{root}>&l9;</{root}>")
}

fn bombs(kind: &'static str, root: &'static str) {
    let refuse = |name, reason, text: &mut dyn Read| refused(kind, name, reason, text);
    let package = format!("<{root}><package pkgid='1' name='n' type='rpm'>");
    refuse("billion laughs", "document type", &mut laughs(root).as_bytes());
    let quadratic = format!("<!DOCTYPE {root} [<!ENTITY q '{}'>]><{root}>&q;&q;</{root}>", "x".repeat(100_000));
    refuse("quadratic blowup", "document type", &mut quadratic.as_bytes());
    refuse("entity without declaration", "unknown entity", &mut format!("<{root}>&e;</{root}>").as_bytes());
    for entity in ["SYSTEM 'file:///etc/passwd'", "PUBLIC 'x' 'http://localhost/'"] {
        let text = format!("<!DOCTYPE {root} [<!ENTITY e {entity}>]><{root}>&e;</{root}>");
        refuse("external entity", "document type", &mut text.as_bytes());
    }
    refuse(
        "depth of a million",
        "nested deeper",
        &mut format!("<{root}>").as_bytes().chain(repeated("<a>", 3_000_000)),
    );
    let long = "longer than 16777216 bytes";
    let after = |head: String| Cursor::new(head);
    refuse("attribute of 1 GiB", long, &mut after(format!("<{root} a='")).chain(repeated("x", 1024 * MIB)));
    refuse("name", long, &mut after("<".into()).chain(repeated("x", 64 * MIB)));
    refuse("text", long, &mut after(package.clone()).chain(repeated("x", 64 * MIB)));
    refuse("comment", long, &mut after("<!--".into()).chain(repeated("x", 64 * MIB)));
    let attributes = format!("<{root}><package ");
    let end = Cursor::new("/>");
    refuse(
        "a million attributes",
        "more than 64 attributes",
        &mut after(attributes).chain(repeated("a='' ", 5 * MIB)).chain(end),
    );
}

#[test]
fn x7_xml_bombs_as_primary() {
    peak_below("x7_xml_bombs_as_primary", 64, LIMITS, || bombs("primary", "metadata"));
}

#[test]
fn x7_xml_bombs_as_filelists() {
    peak_below("x7_xml_bombs_as_filelists", 64, LIMITS, || bombs("filelists", "filelists"));
}

#[test]
fn x7_xml_bombs_as_other() {
    peak_below("x7_xml_bombs_as_other", 64, LIMITS, || bombs("other", "otherdata"));
}

/// `repomd.xml` from its own generator each time.
fn load(text: impl Fn() -> Box<dyn Read + Send> + Send + Sync + 'static) -> String {
    let started = Instant::now();
    let error = Repository::load(Box::new(move |_| Ok(text()))).err().unwrap();
    println!("repomd.xml: {} ms: {}", started.elapsed().as_millis(), full_text(&error));
    assert!(started.elapsed() < input_limit(DEADLINE));
    full_text(&error)
}

#[test]
fn x7_xml_bombs_as_repomd() {
    peak_below("x7_xml_bombs_as_repomd", 64, LIMITS, || {
        let text = |head: String, unit: &'static str| {
            load(move || Box::new(Cursor::new(head.clone()).chain(repeated(unit, 1024 * MIB))))
        };
        assert!(text(laughs("repomd"), " ").contains("document type"));
        assert!(text("<repomd>&e;".into(), " ").contains("unknown entity"));
        assert!(text("<repomd>".into(), "<a>").contains("nested deeper"));
        for (head, unit) in [("<repomd a='", "x"), ("<repomd>", "x"), ("<repomd>", "<a/>"), ("<repomd>", "x<!---->")] {
            let error = text(head.into(), unit);
            assert!(error.contains("16777216 bytes"), "{error}");
        }
        let error = text(
            "<repomd>".into(),
            "<data type='x'><checksum type='md5'>0123456789abcdef0123456789abcdef</checksum><location href='a'/></data>",
        );
        assert!(error.contains("records"), "{error}");
    });
}

/// One list of a package with more entries than an RPM header can have.
#[test]
fn x7_endless_lists() {
    peak_below("x7_endless_lists", 512, LIMITS, || {
        let head = "<filelists><package pkgid='1' name='n'>";
        let text = &mut Cursor::new(head).chain(repeated("<file>/</file>", 100 * MIB));
        refused("filelists", "files", "a list has more than", text);
        let text = &mut Cursor::new(head.replace("filelists", "otherdata"))
            .chain(repeated("<changelog date='1'/>", 100 * MIB));
        refused("other", "changelogs", "a list has more than", text);
        let head = "<metadata><package type='rpm'><format><rpm:provides>";
        let text = &mut Cursor::new(head).chain(repeated("<rpm:entry name='a'/>", 100 * MIB));
        refused("primary", "provides", "a list has more than", text);
    });
}

#[derive(Clone, Copy, Debug)]
enum Format {
    Gzip,
    Zstd,
    Xz,
    Bzip2,
}

const FORMATS: [Format; 4] = [Format::Gzip, Format::Zstd, Format::Xz, Format::Bzip2];

impl Format {
    fn pack(self, mut text: impl Read) -> Vec<u8> {
        match self {
            Self::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(9));
                io::copy(&mut text, &mut encoder).unwrap();
                encoder.finish().unwrap()
            }
            Self::Zstd => zstd(&mut text),
            Self::Xz => {
                let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
                io::copy(&mut text, &mut encoder).unwrap();
                encoder.finish().unwrap()
            }
            Self::Bzip2 => {
                let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::new(9));
                io::copy(&mut text, &mut encoder).unwrap();
                encoder.finish().unwrap()
            }
        }
    }
}

/// Compressed members in a row, each 32 MiB of blanks: some 4 MiB that hold many GiB.
fn bomb(format: Format) -> Vec<u8> {
    let member = format.pack(repeated("        ", 32 * MIB));
    let copies = (4 * MIB) as usize / member.len() + 3;
    let mut bomb = format.pack(&b"<metadata>"[..]);
    for _ in 0..copies {
        bomb.extend_from_slice(&member);
    }
    println!("{format:?}: {} KiB hold {} MiB", bomb.len() / 1024, 32 * copies);
    bomb
}

fn stops(format: Format) {
    let bomb = bomb(format);
    for (declared, expected) in [(Some(1000), "larger than 1000 bytes"), (None, "longer than 16777216 bytes")] {
        let repository = Forged::with("primary", bomb.clone(), declared);
        let started = Instant::now();
        let error = full_text(&packages(&repository).unwrap_err());
        println!("{format:?}, declared {declared:?}: {} ms: {error}", started.elapsed().as_millis());
        assert!(error.contains("repodata/primary.xml") && error.contains(expected), "{format:?}: {error}");
        assert!(started.elapsed() < input_limit(DEADLINE));
        // As a whole file (comps, modules).
        let record = repository.repomd().record("primary").unwrap();
        let limit = declared.unwrap_or(MIB);
        let error = full_text(&repository.read(record, MIB).unwrap_err());
        assert!(error.contains(&format!("larger than {limit} bytes")), "{format:?}: {error}");
    }
}

#[test]
fn x8_decompression_bombs_gz() {
    peak_below("x8_decompression_bombs_gz", 96, LIMITS, || stops(FORMATS[0]));
}

#[test]
fn x8_decompression_bombs_zstd() {
    peak_below("x8_decompression_bombs_zstd", 96, LIMITS, || stops(FORMATS[1]));
}

#[test]
fn x8_decompression_bombs_xz() {
    peak_below("x8_decompression_bombs_xz", 96, LIMITS, || stops(FORMATS[2]));
}

#[test]
fn x8_decompression_bombs_bz2() {
    peak_below("x8_decompression_bombs_bz2", 96, LIMITS, || stops(FORMATS[3]));
}

/// A bomb within a bomb is one layer and then not XML.
#[test]
fn x8_nested_bombs() {
    peak_below("x8_nested_bombs", 96, LIMITS, || {
        for outer in FORMATS {
            let nested = outer.pack(&*Format::Gzip.pack(repeated("x", 64 * MIB)));
            let error = full_text(&packages(&Forged::with("primary", nested, None)).unwrap_err());
            assert!(error.contains("repodata/primary.xml"), "{error}");
        }
    });
}

fn primary_refusal(bytes: Vec<u8>) -> String {
    full_text(&packages(&Forged::with("primary", bytes, None)).unwrap_err())
}

/// RFC 8878: a window of 2 GiB, asked for in the window descriptor or by the content size of a single segment.
#[test]
fn x8_zstd_window_of_2_gib() {
    peak_below("x8_zstd_window_of_2_gib", 64, LIMITS, || {
        let magic = [0x28, 0xb5, 0x2f, 0xfd];
        // Raw block of one byte that is the last.
        let block = [0x09, 0, 0, b'<'];
        let window = [&magic[..], &[0, 21 << 3], &block].concat();
        let single = [&magic[..], &[0xa0, 0, 0, 0, 0x80], &block].concat();
        for frame in [window, single] {
            // Not "not enough memory", which is what the allocator says once it has been asked.
            let error = primary_refusal(frame);
            assert!(error.contains("requires too much memory"), "{error}");
        }
        // The largest that is allowed, and a lie about the content's size.
        let error = primary_refusal([&magic[..], &[0, 17 << 3], &block].concat());
        assert!(error.contains("primary.xml at byte"), "{error}");
        let error = primary_refusal([&magic[..], &[0xe0], &[0xff; 8], &block].concat());
        assert!(error.contains("primary.xml"), "{error}");
    });
}

/// xz file format 1.1.0: the dictionary's size is one byte of the block header, which ends with its CRC-32.
#[test]
fn x8_xz_dictionary_of_4_gib() {
    peak_below("x8_xz_dictionary_of_4_gib", 64, LIMITS, || {
        let mut packed = Format::Xz.pack(&b"<metadata/>"[..]);
        let length = (usize::from(packed[12]) + 1) * 4;
        assert_eq!(packed[14..16], [0x21, 1], "LZMA2 with one byte of properties");
        let mut with = |size: u8| {
            packed[16] = size;
            let mut crc = flate2::Crc::new();
            crc.update(&packed[12..12 + length - 4]);
            packed[12 + length - 4..12 + length].copy_from_slice(&crc.sum().to_le_bytes());
            packed.clone()
        };
        assert_eq!(packages(&Forged::with("primary", with(22), None)).unwrap(), 0);
        for size in [40, 39, 36, 31] {
            let error = primary_refusal(with(size));
            assert!(error.contains("memory"), "{size}: {error}");
        }
    });
}

/// Every truncation and every flipped bit of a packed file: an answer in bounded memory. One that was cut short is
/// refused, also where all of its text is there; one with a flipped bit is refused or says the same.
#[test]
fn x8_damaged_streams() {
    peak_below("x8_damaged_streams", 256, LIMITS, || {
        for format in FORMATS {
            let packed = format.pack(&b"<metadata packages='0'><!-- nothing, nothing and nothing --></metadata>"[..]);
            let read = |bytes: &[u8]| packages(&Forged::with("primary", bytes.to_vec(), None)).ok();
            assert_eq!(read(&packed), Some(0), "{format:?}");
            for at in 0..packed.len() {
                assert_eq!(read(&packed[..at]), None, "{format:?}, {at} of {} bytes", packed.len());
                for bit in 0..8 {
                    let mut bytes = packed.clone();
                    bytes[at] ^= 1 << bit;
                    assert!(matches!(read(&bytes), None | Some(0)), "{format:?}, bit {bit} of byte {at}");
                }
            }
        }
    });
}

/// Metadata files of a repository on disk: neither outside of it, nor something that never ends.
#[test]
fn x6_metadata_locations() {
    let limits = Limits { time: Duration::from_secs(20), ..LIMITS };
    peak_below("x6_metadata_locations", 64, limits, metadata_locations);
}

fn metadata_locations() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("repository");
    fs::create_dir_all(root.join("repodata")).unwrap();
    fs::write(directory.path().join("outside.xml"), "<metadata/>").unwrap();
    let outside = directory.path().join("outside.xml").display().to_string();
    let checksum = ChecksumType::Sha256.hash(b"<metadata/>");
    let repomd = |href: &str| {
        format!(
            "<repomd><data type='primary'><checksum type='sha256'>{}</checksum><location href='{href}'/></data></repomd>",
            checksum.hex()
        )
    };
    let refusal = |href: &str| {
        fs::write(root.join("repodata/repomd.xml"), repomd(href)).unwrap();
        let lean = ReadOptions { filelists: false, other: false, ..ReadOptions::default() };
        let opened = Repository::open_local(&root)
            .and_then(|repository| repository.packages(lean)?.collect::<Result<Vec<_>, _>>());
        full_text(&opened.unwrap_err())
    };
    for href in
        ["../outside.xml", "repodata/../../outside.xml", &outside, "file:///etc/passwd", "repodata//x", "", "a&#0;b"]
    {
        let error = refusal(href);
        let named = error.contains("repository") || error.contains("repomd.xml");
        assert!(named && !error.contains("does not match"), "{href:?}: {error}");
    }
    let pipe = root.join("repodata/pipe.xml");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(refusal("repodata/pipe.xml").contains("not a regular file"));
    std::os::unix::fs::symlink("/dev/zero", root.join("repodata/zero.xml")).unwrap();
    assert!(refusal("repodata/zero.xml").contains("not a regular file"));
    assert!(refusal("repodata").contains("not a regular file"));
}
