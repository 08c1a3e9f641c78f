//! Metadata of a compose beside those of earlier composes.

use std::{
    collections::BTreeMap,
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use tutti_job::{Fence, Input, JobKind, JobSpec, LogicalPath, OutputSpec, PackageList, Root, Volumes};
use tutti_repodata::{FileIdentity, RecordsWriter};
use tutti_rpm::{Changelog, Evr, FileEntry, FileKind};

use super::*;
use crate::report::Log;

const PLACE: &str = "Server/x86_64/os/repodata";
/// Enough for many frames of each file.
const PACKAGES: usize = 900;

#[derive(Clone, Default)]
struct Text(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Text {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Versions of all packages, and what else their metadata depend on.
#[derive(Clone)]
struct Wanted {
    versions: Vec<u32>,
    description: &'static str,
    compression: &'static str,
    changelog_limit: u32,
}

impl Wanted {
    fn new() -> Self {
        let versions = vec![1; PACKAGES];
        Self { versions, description: "A package", compression: "zstd", changelog_limit: 10 }
    }

    fn package(&self, number: usize) -> Package {
        Package {
            name: format!("package-{number:04}"),
            evr: Evr { epoch: None, version: self.versions[number].to_string(), release: "1".into() },
            arch: "noarch".into(),
            description: format!("{} number {number}", self.description),
            files: vec![FileEntry { path: format!("/usr/share/{number}"), kind: FileKind::File }],
            changelogs: [9, 8, 7].map(|time| Changelog { author: "a".into(), time, text: "t".into() }).to_vec(),
            ..Package::default()
        }
    }
}

/// What a job made and said.
struct Made {
    files: BTreeMap<String, Vec<u8>>,
    counters: BTreeMap<String, u64>,
    log: String,
}

impl Made {
    fn frames(&self) -> (u64, u64) {
        (self.counters["frames_made"], self.counters["frames_copied"])
    }
}

/// One target directory.
struct Target(tempfile::TempDir);

impl Target {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        fs::canonicalize(self.0.path()).unwrap()
    }

    fn repository(&self, compose: &str) -> PathBuf {
        self.path().join(compose).join("compose").join(PLACE)
    }

    /// The job of a compose that uses what others have made.
    fn context(&self, compose: &str, wanted: &Wanted) -> JobContext {
        let mut volumes = Volumes::new(self.path().join(compose));
        volumes.records = Some(self.path().join(".tutti-records"));
        volumes.staging = Some(volumes.staging_of(&Fence { job: 1, attempt: 1, executor: 1 }));
        let records = self.path().join("records");
        let mut writer = RecordsWriter::create(&records).unwrap();
        let mut list = Vec::new();
        for (number, version) in wanted.versions.iter().enumerate() {
            let package = wanted.package(number);
            let checksum = ChecksumType::Sha256.hash(format!("{number} {version}").as_bytes());
            let identity = FileIdentity { size: 5, mtime: 6, checksum: checksum.clone() };
            list.push(PackageEntry {
                name: package.name.clone(),
                version: package.evr.version.clone(),
                release: "1".into(),
                arch: "noarch".into(),
                path: format!("file:/r/{number}.rpm"),
                size: 5,
                mtime: 6,
                checksum_type: "sha256".into(),
                checksum: checksum.hex().to_owned(),
                record: writer.add(&package, &identity).unwrap().0,
                ..PackageEntry::default()
            });
        }
        writer.seal().unwrap();
        let blob = |bytes: &[u8]| {
            let (digest, path) = (Digest::of(bytes), volumes.blob(&Digest::of(bytes)));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
            digest
        };
        let params = CreaterepoParams {
            checksum_type: "sha256".into(),
            compression: wanted.compression.into(),
            layout: "frames".into(),
            packages_dir: "Packages".into(),
            hashed: true,
            revision: None,
            changelog_limit: wanted.changelog_limit,
            database: None,
        };
        let inputs = vec![
            Input::new("packages", blob(&PackageList::new(list).encode_canonical().0)),
            Input::new("records/0", blob(&fs::read(&records).unwrap())),
        ];
        let outputs = vec![OutputSpec::directory(REPODATA, &LogicalPath::new(Root::Compose, PLACE).unwrap())];
        let spec = JobSpec::new(JobKind::Createrepo, &params, inputs, outputs).unwrap();
        JobContext::detached(spec, volumes, 2)
    }

    /// Runs the job of a compose and publishes what it made; `between` is called before it runs, when it is known what it
    /// may read.
    fn compose_with(&self, compose: &str, wanted: &Wanted, between: impl FnOnce(&JobContext)) -> Made {
        let mut context = self.context(compose, wanted);
        let text = Text::default();
        context.log = Log::new(text.clone());
        context.access = access(&context);
        between(&context);
        let made = run_job(&context);
        let place = self.repository(compose);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::rename(context.volumes.staging.as_ref().unwrap().join("trees/repodata"), place).unwrap();
        let log = String::from_utf8(text.0.lock().unwrap().clone()).unwrap();
        Made { log, ..made }
    }

    fn compose(&self, compose: &str, wanted: &Wanted) -> Made {
        self.compose_with(compose, wanted, |_| {})
    }
}

fn run_job(context: &JobContext) -> Made {
    run(context).unwrap();
    let tree = context.volumes.staging.as_ref().unwrap().join("trees/repodata");
    let files = fs::read_dir(tree).unwrap().map(|item| {
        let item = item.unwrap();
        (item.file_name().into_string().unwrap(), fs::read(item.path()).unwrap())
    });
    Made { files: files.collect(), counters: context.counters.snapshot(), log: String::new() }
}

/// What is made where there is no other compose.
fn alone(wanted: &Wanted) -> Made {
    Target::new().compose("T-1-20260101.0", wanted)
}

#[test]
fn what_an_earlier_compose_compressed_is_copied() {
    for compression in ["zstd", "gz"] {
        let target = Target::new();
        let mut wanted = Wanted { compression, ..Wanted::new() };
        let first = target.compose("T-1-20260101.0", &wanted);
        let (made, copied) = first.frames();
        assert!(made > 50 && copied == 0, "{made} {copied}");
        let second = target.compose("T-1-20260102.0", &wanted);
        assert_eq!(second.frames(), (0, made), "{}", second.log);
        assert!(second.counters["compressed_bytes"] < 1500, "heads and ends: {:?}", second.counters);
        assert!(second.files == first.files);
        // At most two frames in each of three files.
        wanted.versions[PACKAGES / 2] = 2;
        let third = target.compose("T-1-20260103.0", &wanted);
        let (changed, kept) = third.frames();
        assert!((3..=6).contains(&changed) && kept >= made - 6, "{changed} {kept} of {made}");
        assert!(third.files == alone(&wanted).files, "the same bytes");
    }
}

#[test]
fn an_earlier_compose_of_other_texts_changes_no_byte() {
    let wanted = Wanted::new();
    let expected = alone(&wanted);
    let others = [
        // The packages are the same, by all that metadata say of their files.
        Wanted { description: "Another", ..wanted.clone() },
        Wanted { changelog_limit: 2, ..wanted.clone() },
        Wanted { compression: "gz", ..wanted.clone() },
        Wanted { compression: "xz", ..wanted.clone() },
    ];
    for (number, other) in others.iter().enumerate() {
        let target = Target::new();
        target.compose("T-1-20260101.0", other);
        let made = target.compose("T-1-20260102.0", &wanted);
        assert!(made.files == expected.files, "case {number}: {}", made.log);
    }
}

#[test]
fn x5_damaged_metadata_of_an_earlier_compose_are_noted_and_not_copied() {
    let wanted = Wanted::new();
    let expected = alone(&wanted);
    for kind in ["primary", "filelists", "other", "repomd"] {
        let target = Target::new();
        target.compose("T-1-20260101.0", &wanted);
        let items = fs::read_dir(target.repository("T-1-20260101.0")).unwrap().map(|item| item.unwrap().path());
        let path = items.into_iter().find(|path| path.file_name().unwrap().to_str().unwrap().contains(kind)).unwrap();
        let good = fs::read(&path).unwrap();
        let mut flipped = good.clone();
        flipped[good.len() / 2] ^= 1;
        for (number, bad) in [&flipped, &good[..good.len() / 2], &b""[..]].into_iter().enumerate() {
            // A bit of repomd.xml may be one of a time.
            if (kind, number) == ("repomd", 0) {
                continue;
            }
            fs::write(&path, bad).unwrap();
            let name = format!("T-1-2026010{}.0", number + 2);
            let made = target.compose(&name, &wanted);
            assert_eq!(made.frames().1, 0, "{kind} {number}");
            assert!(made.files == expected.files, "{kind} {number}");
            assert!(made.log.contains("no frames of"), "{kind} {number}: {}", made.log);
            fs::remove_dir_all(target.path().join(name)).unwrap();
        }
    }
}

#[test]
fn an_earlier_compose_may_vanish_at_any_moment() {
    let (target, wanted) = (Target::new(), Wanted::new());
    let first = target.compose("T-1-20260101.0", &wanted);
    let second = target.compose_with("T-1-20260102.0", &wanted, |context| {
        let found = target.repository("T-1-20260101.0");
        assert_eq!(context.access.reads, [found]);
        fs::remove_dir_all(target.path().join("T-1-20260101.0")).unwrap();
    });
    assert_eq!(second.frames().1, 0);
    assert!(second.files == first.files);
    // Its files are cut after they were opened and compared.
    let mut context = target.context("T-1-20260103.0", &wanted);
    let (text, params) = (Text::default(), context.params().unwrap());
    context.log = Log::new(text.clone());
    context.access = access(&context);
    let places = place::places(place::list(&context, "packages").unwrap(), true).unwrap();
    let (mut source, entries) = combine(&context, &params, places).unwrap();
    source.earlier = Earlier::open(&context, &context.access.reads[0]);
    for item in fs::read_dir(&context.access.reads[0]).unwrap() {
        fs::File::options().write(true).open(item.unwrap().path()).unwrap().set_len(10).unwrap();
    }
    let out = target.path().join("out");
    let options = options(&context, &params).unwrap();
    fs::create_dir(&out).unwrap();
    let written = write_repository(&out, &source, &entries, &[], &options).unwrap();
    assert!(written.work.iter().all(|work| work.frames_copied == 0));
    assert!(first.files.iter().all(|(name, bytes)| fs::read(out.join("repodata").join(name)).unwrap() == *bytes));
    source.earlier.unwrap().tell(&context);
    let log = String::from_utf8(text.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("from there on no frames were copied"), "{log}");
}

#[test]
fn the_newest_compose_of_the_release_beside_this_one_is_looked_at() {
    let (target, wanted) = (Target::new(), Wanted::new());
    let found = |own: &str| access(&target.context(own, &wanted)).reads;
    assert!(found("T-1-20260105.0").is_empty());
    let make = |compose: &str| {
        let place = target.repository(compose);
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("repomd.xml"), "").unwrap();
        vec![place]
    };
    let other = make("Other-9-20260109.0");
    assert_eq!(found("T-1-20260105.0"), other, "better than none");
    let same = make("T-1-20260104.9");
    assert_eq!(found("T-1-20260105.0"), same);
    let newer = make("T-1-20260104.10");
    assert_eq!(found("T-1-20260105.0"), newer);
    // No repository, one that is elsewhere, the compose itself, a link to a compose.
    fs::create_dir_all(target.repository("T-1-20260108.0")).unwrap();
    let linked = target.repository("T-1-20260107.0");
    fs::create_dir_all(linked.parent().unwrap()).unwrap();
    symlink(&other[0], &linked).unwrap();
    make("T-1-20260105.0");
    symlink("Other-9-20260109.0", target.path().join("T-1-20260106.0")).unwrap();
    assert_eq!(found("T-1-20260105.0"), newer);
    let mut context = target.context("T-1-20260105.0", &wanted);
    context.volumes.records = None;
    assert_eq!(access(&context), Access::default(), "nothing of other composes is wanted");
}

/// Frames are copied as they are, and the index that names their compressor is believed.
#[test]
fn x5_nothing_is_copied_from_what_another_user_could_have_written() {
    let (target, wanted) = (Target::new(), Wanted::new());
    let found = |own: &str| access(&target.context(own, &wanted)).reads;
    target.compose("T-1-20260104.0", &wanted);
    let theirs = target.repository("T-1-20260104.0");
    let primary = fs::read_dir(&theirs).unwrap().map(|item| item.unwrap().path());
    let primary = primary.into_iter().find(|path| path.to_string_lossy().contains("primary")).unwrap();
    let ways = [theirs.clone(), target.path().join("T-1-20260104.0"), theirs.join("repomd.xml"), primary.clone()];
    for way in ways {
        let mode = fs::metadata(&way).unwrap().permissions();
        fs::set_permissions(&way, PermissionsExt::from_mode(mode.mode() | 0o002)).unwrap();
        assert!(found("T-1-20260105.0").is_empty(), "{}", way.display());
        fs::set_permissions(&way, mode).unwrap();
        assert_eq!(found("T-1-20260105.0").as_slice(), std::slice::from_ref(&theirs));
        // Only root gives files away.
        if rustix::process::geteuid().is_root() {
            chown(&way, Some(65534), None).unwrap();
            assert!(found("T-1-20260105.0").is_empty(), "{}", way.display());
            chown(&way, Some(0), None).unwrap();
        }
    }
    let away = target.path().join("away");
    fs::rename(&primary, &away).unwrap();
    symlink(&away, &primary).unwrap();
    assert!(found("T-1-20260105.0").is_empty(), "a link leads anywhere");
}

/// A path below which nothing is.
#[test]
fn a_target_directory_that_cannot_be_listed_is_none() {
    let mut volumes = Volumes::new("/nonexistent/T-1-20260105.0");
    volumes.records = Some(Path::new("/nonexistent/.tutti-records").to_owned());
    let target = Target::new();
    let context = target.context("T-1-20260105.0", &Wanted::new());
    assert_eq!(earlier::find(&volumes, &context.spec, REPODATA), None);
}
