//! Inputs that are well made: where mutation starts. `--write-corpus` writes them below `fuzz/corpus`.

use std::io;

use prost::Message;
use tutti_controller::lifecycle::{Header, JobRecord, JobState, Output, Timestamp};
use tutti_examples::Package;
use tutti_job::{
    Digest, Entry, EntryKind, Fence, Input, JobKind, JobSpec, LogicalPath, Manifest, OutputSpec, PackageEntry,
    PackageList, Root,
};
use tutti_proto::{compose, worker};
use tutti_repodata::{ChecksumType, FileIdentity, FileLocator, KnownFile, RecordsWriter};

/// A small variants.xml with every kind of variant.
pub const VARIANTS: &str = include_str!("../seeds/variants.xml");
const COMPS: &str = include_str!("../seeds/comps.xml");
const CONF: &str = include_str!("../seeds/compose.conf");
const DEPENDENCIES: &str = include_str!("../seeds/dependencies.txt");
const PRIMARY: &str = include_str!("../seeds/primary.xml");
const FILELISTS: &str = include_str!("../seeds/filelists.xml");
const OTHER: &str = include_str!("../seeds/other.xml");
const REPOMD: &str = include_str!("../seeds/repomd.xml");

/// The seeds of a target by file name.
///
/// # Errors
/// When one cannot be made.
pub fn of(name: &str) -> io::Result<Vec<(&'static str, Vec<u8>)>> {
    let text = |name, text: &str| vec![(name, text.as_bytes().to_vec())];
    Ok(match name {
        "rpm_header" => packages()?,
        "primary" => text("two.xml", PRIMARY),
        "filelists" => text("two.xml", FILELISTS),
        "other" => text("two.xml", OTHER),
        "repomd" => text("three.xml", REPOMD),
        "compressed" => compressed(),
        "comps" => text("small.xml", COMPS),
        "variants" => text("small.xml", VARIANTS),
        "conf" => text("small.conf", CONF),
        "dependency" => text("lines.txt", DEPENDENCIES),
        "sealed_records" => vec![("one.records", sealed(false)?)],
        "checkpoints" => vec![("one.checkpoint", sealed(true)?)],
        "records" => records(),
        "protocol" => protocol(),
        "job_messages" => job_messages(),
        _ => Vec::new(),
    })
}

/// One record: sealed, or a checkpoint in which all its blocks stand.
fn sealed(checkpoint: bool) -> io::Result<Vec<u8>> {
    let directory = tempfile::tempdir()?;
    let package = tutti_rpm::Package { name: "seed".into(), arch: "noarch".into(), ..Default::default() };
    let sum = ChecksumType::Sha256.hash(b"seed");
    let identity = FileIdentity { size: 1, mtime: 2, checksum: sum.clone() };
    let (path, records) = (directory.path().join("checkpoint"), directory.path().join("records"));
    let mut writer = RecordsWriter::create(&records).map_err(io::Error::other)?;
    writer.add(&package, &identity).map_err(io::Error::other)?;
    if !checkpoint {
        writer.seal().map_err(io::Error::other)?;
        return std::fs::read(records);
    }
    let locator = FileLocator { path: crate::sealed::PATH.into(), size: 1, mtime: (2, 3), inode: 4 };
    let known = KnownFile { locator, content: ([1; 32], 2), sums: vec![sum] };
    writer.checkpoint(&path, &crate::sealed::OWNER, &[known]).map_err(io::Error::other)?;
    std::fs::read(path)
}

fn packages() -> io::Result<Vec<(&'static str, Vec<u8>)>> {
    let binary = Package::binary("seed", "1.0~rc1", "2", "x86_64")
        .epoch(Some(1))
        .provides("seed-api = 1")
        .requires("(bash >= 4 or zsh)")
        .obsoletes("sprout < 1")
        .recommends("water")
        .directory("/usr/share/seed")
        .file("/usr/share/seed/leaf", "green\n");
    let source = Package::source("seed", "1.0~rc1", "2");
    let (binary, source) = (binary.to_bytes()?, source.to_bytes()?);
    let undigested = without_digests(binary.clone());
    Ok(vec![("binary.rpm", binary), ("source.rpm", source), ("undigested.rpm", undigested)])
}

/// Gives the digests of the main header (SHA1HEADER, SHA256HEADER) numbers that nobody knows, so that mutations of the
/// header are not all refused for their digest.
fn without_digests(mut package: Vec<u8>) -> Vec<u8> {
    const SIGNATURE: usize = 96;
    let entries = package.get(SIGNATURE + 11).copied().map_or(0, usize::from);
    for entry in package.chunks_exact_mut(16).skip(SIGNATURE / 16 + 1).take(entries) {
        let tag = u32::from_be_bytes([entry[0], entry[1], entry[2], entry[3]]);
        if matches!(tag, 269 | 273) {
            entry[..4].copy_from_slice(&(tag + 7000).to_be_bytes());
        }
    }
    package
}

/// `<metadata/>` in every format, made by gzip 1.12, zstd 1.5.4, xz 5.4.1 and bzip2 1.0.8.
fn compressed() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("metadata.gz", include_bytes!("../seeds/metadata.gz").to_vec()),
        ("metadata.zst", include_bytes!("../seeds/metadata.zst").to_vec()),
        ("metadata.xz", include_bytes!("../seeds/metadata.xz").to_vec()),
        ("metadata.bz2", include_bytes!("../seeds/metadata.bz2").to_vec()),
    ]
}

fn fence() -> Fence {
    Fence { job: 3, attempt: 2, executor: 77 }
}

fn records() -> Vec<(&'static str, Vec<u8>)> {
    let header =
        Header { created_at: Timestamp(5), started_at: Some(Timestamp(6)), doomed_by: Some(1), ..Header::default() };
    let job = JobRecord {
        state: JobState::Skipped { because: 4 },
        attempt: 2,
        fence: Some(fence()),
        outputs: vec![Output { name: "result".into(), digest: Digest::of(b""), size: 9 }],
        reason: "the disk is full".into(),
        warnings: vec!["slow".into()],
        ..JobRecord::default()
    };
    vec![("header.bin", header.encode()), ("job.bin", job.encode())]
}

fn protocol() -> Vec<(&'static str, Vec<u8>)> {
    let fence = worker::Fence { compose_id: "C-1".into(), job: 3, attempt: 2, executor: 77 };
    let hello = worker::Hello {
        worker_id: "w1".into(),
        incarnation: 77,
        proto_min: 1,
        proto_max: 1,
        held: vec![fence.clone()],
        ..worker::Hello::default()
    };
    let output = worker::Output { name: "out".into(), digest: vec![7; 32], size_bytes: 4 };
    let success = worker::Success { outputs: vec![output], warnings: vec!["slow".into()] };
    let outcome = worker::Outcome {
        fence: Some(fence.clone()),
        result: Some(worker::outcome::Result::Success(success)),
        ..worker::Outcome::default()
    };
    let request = |message| worker::SessionRequest { sequence: 1, message: Some(message) }.encode_to_vec();
    let offer =
        worker::Offer { fence: Some(fence), kind: "link".into(), spec: vec![10, 0], ..worker::Offer::default() };
    let response = worker::SessionResponse {
        message: Some(worker::session_response::Message::Offer(offer)),
        ..worker::SessionResponse::default()
    };
    let submit =
        compose::SubmitRequest { spec: b"{}".to_vec(), target_dir: "/t".into(), ..compose::SubmitRequest::default() };
    let write = worker::WriteRequest { resource: "blob".into(), data: vec![1, 2], ..worker::WriteRequest::default() };
    let chosen = |choice: u8, bytes: Vec<u8>| [vec![choice], bytes].concat();
    vec![
        ("hello.bin", chosen(0, request(worker::session_request::Message::Hello(hello)))),
        ("outcome.bin", chosen(0, request(worker::session_request::Message::Outcome(outcome)))),
        ("offer.bin", chosen(1, response.encode_to_vec())),
        ("write.bin", chosen(4, write.encode_to_vec())),
        ("submit.bin", chosen(6, submit.encode_to_vec())),
    ]
}

fn job_messages() -> Vec<(&'static str, Vec<u8>)> {
    let mut found = vec![
        ("name.txt", b"createrepo-debug.Server-optional.x86_64".to_vec()),
        ("path.txt", b"compose:Server/x86_64/os".to_vec()),
    ];
    if let Ok(target) = LogicalPath::new(Root::Compose, "Server/x86_64/os") {
        let outputs = vec![OutputSpec::file("log"), OutputSpec::directory("tree", &target)];
        if let Ok(spec) = JobSpec::new(JobKind::Link, &(), vec![Input::new("set", Digest::of(b""))], outputs) {
            found.push(("spec.bin", spec.encode_canonical()));
        }
    }
    let file = |path: &str| Entry {
        path: path.into(),
        kind: EntryKind::File.into(),
        digest: vec![7; 32],
        size: 3,
        ..Entry::default()
    };
    let link = Entry { path: "b".into(), kind: EntryKind::Symlink.into(), source: "a/x".into(), ..Entry::default() };
    let manifest = Manifest { entries: vec![file("a/x"), file("a/y"), link] };
    found.push(("manifest.bin", manifest.encode_canonical().0));
    let package = PackageEntry {
        name: "bash".into(),
        version: "5".into(),
        release: "1".into(),
        arch: "noarch".into(),
        path: "file:/srv/bash.rpm".into(),
        ..PackageEntry::default()
    };
    found.push(("packages.bin", PackageList::new(vec![package]).encode_canonical().0));
    found
}
