use std::time::{Duration, UNIX_EPOCH};

use tutti_job::{Input, JobKind, JobSpec, OutputSpec, PackageList, Root};

use super::*;
use crate::runners::testing::{Case, spec};

fn package(directory: &Path) -> PackageEntry {
    let path = directory.join("a-1-1.noarch.rpm");
    fs::write(&path, b"package").unwrap();
    let time = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    PackageEntry {
        name: "a".into(),
        version: "1".into(),
        release: "1".into(),
        arch: "noarch".into(),
        path: format!("file:{}", path.display()),
        size: 7,
        mtime: 1_000_000_000,
        ..PackageEntry::default()
    }
}

fn job(case: &Case, package: &PackageEntry, link_type: LinkType) -> JobSpec {
    let (bytes, _) = PackageList::new(vec![package.clone()]).encode_canonical();
    let inputs = ["aarch64", "x86_64"].map(|arch| Input::new(format!("source/{arch}"), case.blob(&bytes)));
    let target = LogicalPath::new(Root::Compose, format!("A/source/{link_type:?}")).unwrap();
    let params = LinkParams { link_type, hashed: true };
    spec(JobKind::Link, &params, inputs.to_vec(), vec![OutputSpec::directory("packages", &target)])
}

#[test]
fn every_type_places_the_same_bytes() {
    let case = Case::new();
    let package = package(case.directory.path());
    let source = case.directory.path().join("a-1-1.noarch.rpm");
    for link_type in
        [LinkType::Hardlink, LinkType::Copy, LinkType::HardlinkOrCopy, LinkType::Symlink, LinkType::AbspathSymlink]
    {
        case.run(job(&case, &package, link_type)).unwrap();
        let placed = case.top().join(format!("compose/A/source/{link_type:?}/a/a-1-1.noarch.rpm"));
        assert_eq!(fs::read(&placed).unwrap(), b"package", "{link_type:?}");
        let (metadata, original) = (fs::symlink_metadata(&placed).unwrap(), fs::metadata(&source).unwrap());
        let same = metadata.ino() == original.ino();
        assert_eq!(same, matches!(link_type, LinkType::Hardlink | LinkType::HardlinkOrCopy), "{link_type:?}");
        match link_type {
            LinkType::Symlink => assert!(fs::read_link(&placed).unwrap().starts_with("..")),
            LinkType::AbspathSymlink => assert_eq!(fs::read_link(&placed).unwrap(), source),
            LinkType::Hardlink | LinkType::Copy | LinkType::HardlinkOrCopy => {
                assert_eq!(metadata.mtime(), 1_000_000_000);
            }
        }
    }
}

#[test]
fn links_among_the_sources_are_covered_where_they_lead() {
    let case = Case::new();
    let root = fs::canonicalize(case.directory.path()).unwrap();
    let [pool, repository] = ["pool", "repository"].map(|name| root.join(name));
    fs::create_dir(&pool).unwrap();
    fs::create_dir(&repository).unwrap();
    let mut entry = package(&pool);
    std::os::unix::fs::symlink("../pool/a-1-1.noarch.rpm", repository.join("a-1-1.noarch.rpm")).unwrap();
    std::os::unix::fs::symlink("pool", root.join("linked")).unwrap();
    for directory in ["repository", "linked", "pool"] {
        entry.path = format!("file:{}", root.join(directory).join("a-1-1.noarch.rpm").display());
        let covered = access(&case.context(job(&case, &entry, LinkType::Hardlink))).unwrap();
        assert_eq!(covered.hard_links_from, std::slice::from_ref(&pool), "{directory}");
    }
}

#[test]
fn changed_and_missing_sources_are_refused() {
    let case = Case::new();
    let package = package(case.directory.path());
    let source = case.directory.path().join("a-1-1.noarch.rpm");
    fs::write(&source, b"another").unwrap();
    let error = case.run(job(&case, &package, LinkType::Hardlink)).err().unwrap();
    assert!(error.cause.contains("changed while it was composed") && error.class == FailureClass::Input, "{error:?}");
    fs::remove_file(&source).unwrap();
    let error = case.run(job(&case, &package, LinkType::Copy)).err().unwrap();
    assert!(error.cause.contains("a-1-1.noarch.rpm") && error.class == FailureClass::Input, "{error:?}");
}

/// Says why a test does not run; in CI that is a failure.
fn skip(reason: &str) {
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{reason}");
    println!("skipped: {reason}");
}

#[test]
fn other_filesystems() {
    let (Ok(other), case) = (tempfile::tempdir_in("/dev/shm"), Case::new()) else {
        return skip("no /dev/shm");
    };
    if fs::metadata(other.path()).unwrap().dev() == fs::metadata(case.directory.path()).unwrap().dev() {
        return skip("/dev/shm is no filesystem of its own");
    }
    let package = package(other.path());
    let error = case.run(job(&case, &package, LinkType::Hardlink)).err().unwrap();
    assert!(error.hint.as_deref().is_some_and(|hint| hint.contains("hardlink-or-copy")), "{error:?}");
    case.run(job(&case, &package, LinkType::HardlinkOrCopy)).unwrap();
    let placed = case.top().join("compose/A/source/HardlinkOrCopy/a/a-1-1.noarch.rpm");
    assert_eq!(fs::metadata(placed).unwrap().mtime(), 1_000_000_000);
}

#[test]
fn relative_paths() {
    let relative = |from: &str, to: &str| relative(Path::new(from), Path::new(to)).to_str().unwrap().to_owned();
    assert_eq!(relative("/a/b/c", "/a/x/y.rpm"), "../../x/y.rpm");
    assert_eq!(relative("/a", "/a/b.rpm"), "b.rpm");
    assert_eq!(relative("/a/b", "/c"), "../../c");
}
