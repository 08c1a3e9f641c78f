//! Bar X6 for what messages and blobs name: paths, manifests, package lists, specs. `docs/reliability.md` says what was
//! seen when each protection is taken away.

#![allow(clippy::unwrap_used, reason = "tests may panic")]

use prost::Message as _;
use std::path::{Component, Path};
use tutti_bounded::{Limits, peak_below};
use tutti_job::{
    Entry, EntryKind, Input, JobKind, JobName, JobSpec, LogicalPath, Manifest, ManifestError, OutputSpec, PackageEntry,
    PackageList, Root, Volumes,
};

/// Texts that lead out of a directory when they are made part of a path.
const TRAVERSALS: [&str; 12] =
    ["..", "../x", "a/../../b", "/etc/passwd", "a//b", "./a", "a/.", "a/..", "a\0b", "a\nb", "a\u{7f}", "\u{85}"];

fn file(path: &str) -> Entry {
    Entry { path: path.into(), kind: EntryKind::File.into(), digest: vec![7; 32], ..Entry::default() }
}

fn link(path: &str, target: &str) -> Entry {
    Entry { path: path.into(), kind: EntryKind::Symlink.into(), source: target.into(), ..Entry::default() }
}

fn directory(path: &str) -> Entry {
    Entry { path: path.into(), kind: EntryKind::Directory.into(), ..Entry::default() }
}

/// As somebody else would send it: not through [`Manifest::new`], but sorted.
fn decoded(mut entries: Vec<Entry>) -> Result<Manifest, ManifestError> {
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Manifest::decode_checked(&Manifest { entries }.encode_to_vec())
}

#[test]
fn x6_manifest_paths() {
    assert!(decoded(vec![file("a"), directory("b"), file("b/c"), link("d", "../b/c")]).is_ok());
    for path in TRAVERSALS {
        for entry in [file(path), link(path, "a"), directory(path)] {
            assert!(decoded(vec![entry]).is_err(), "{path:?}");
        }
    }
    assert!(decoded(vec![file(&"a".repeat(256))]).is_err());
    assert!(decoded(vec![file(&"a/".repeat(2049))]).is_err());
    let unsorted = Manifest { entries: vec![file("b"), file("a")] }.encode_to_vec();
    assert!(matches!(Manifest::decode_checked(&unsorted), Err(ManifestError::Order(_))));
}

/// A link and then a file below it: the file would go where the link leads.
#[test]
fn x6_manifest_symlink_then_file() {
    for target in ["/etc", "../../..", "b"] {
        for below in ["a/passwd", "a/b/c/passwd"] {
            // Names that sort between a link and what lies below it.
            let error = decoded(vec![link("a", target), file("a-b"), file("a.b/x"), file(below)]).unwrap_err();
            assert!(error.to_string().contains("lies below an entry that is no directory"), "{error}");
        }
    }
    assert!(decoded(vec![file("a"), file("a/b")]).is_err());
    assert!(decoded(vec![file("x/y/z"), link("x/y", "/"), file("x/w")]).is_err());
    assert!(decoded(vec![file("x/a/1"), file("x/a/2"), file("x/b/1"), link("x/c", "a"), directory("x")]).is_ok());
}

fn package() -> PackageEntry {
    PackageEntry {
        name: "bash".into(),
        version: "5".into(),
        release: "1".into(),
        arch: "noarch".into(),
        path: "file:/srv/bash.rpm".into(),
        ..PackageEntry::default()
    }
}

#[test]
fn x6_package_lists() {
    let decoded = |entry| PackageList::decode_checked(&PackageList { packages: vec![entry] }.encode_to_vec());
    assert!(decoded(package()).is_ok());
    for text in ["", "..", "../x", "a/b", "/x", "a\0b", "a\nb"] {
        let hostile = [
            PackageEntry { name: text.into(), ..package() },
            PackageEntry { version: text.into(), ..package() },
            PackageEntry { release: text.into(), ..package() },
            PackageEntry { arch: text.into(), ..package() },
            PackageEntry { path: text.into(), ..package() },
            PackageEntry { path: format!("file:/srv/{text}/../x"), ..package() },
            PackageEntry { path: format!("staging:{text}"), ..package() },
        ];
        for entry in hostile {
            assert!(decoded(entry.clone()).is_err(), "{entry:?}");
        }
    }
    assert!(decoded(PackageEntry { source_rpm: "../x.src.rpm".into(), ..package() }).is_err());
}

/// Whatever is accepted stays below its root on every host.
#[test]
fn x6_logical_paths_stay_below_their_root() {
    let mut volumes = Volumes::new("/t/C-1");
    volumes.staging = Some("/t/C-1/work/s".into());
    volumes.maps.push(("/mnt/koji".into(), "/nfs/koji".into()));
    let roots = [("compose:", "/t/C-1/compose"), ("top:", "/t/C-1"), ("staging:", "/t/C-1/work/s"), ("file:", "/")];
    for text in TRAVERSALS.into_iter().chain(["", "a", "a/b", "mnt/koji/x", "/mnt/koji/x"]) {
        for (root, base) in roots {
            let Ok(path) = format!("{root}{text}").parse::<LogicalPath>() else { continue };
            let place = volumes.resolve(&path).unwrap();
            assert!(place.starts_with(base), "{path}: {}", place.display());
            assert!(!place.components().any(|part| part == Component::ParentDir), "{path}: {}", place.display());
        }
    }
    for text in TRAVERSALS {
        let below = LogicalPath::new(Root::Compose, "Server").unwrap().join(text);
        assert!(below.is_err(), "{text:?}");
        assert!(format!("file:{text}").parse::<LogicalPath>().is_err() || text == "/etc/passwd", "{text:?}");
    }
    let mapped = volumes.map_file(Path::new("/mnt/koji/../../etc"));
    assert!(!mapped.starts_with("/etc"));
}

#[test]
fn x6_job_specs() {
    let target = LogicalPath::new(Root::Compose, "Server/x86_64/os").unwrap();
    let spec = |output: OutputSpec| {
        let spec = JobSpec::new(JobKind::Link, &(), vec![Input::new("a", tutti_job::Digest::of(b""))], vec![output]);
        JobSpec::decode_checked(&spec.unwrap().encode_canonical())
    };
    assert!(spec(OutputSpec::directory("tree", &target)).is_ok());
    for text in TRAVERSALS {
        let tree = OutputSpec::directory("tree", &target);
        assert!(spec(OutputSpec { name: text.into(), ..tree.clone() }).is_err(), "{text:?}");
        assert!(spec(OutputSpec { target: format!("compose:{text}"), ..tree.clone() }).is_err(), "{text:?}");
        assert!(spec(OutputSpec { target: text.into(), ..tree }).is_err(), "{text:?}");
        assert!(format!("link.{text}.x86_64").parse::<JobName>().is_err(), "{text:?}");
        assert!(format!("link.Server.{text}").parse::<JobName>().is_err(), "{text:?}");
    }
    assert!("link.Server.x86_64".parse::<JobName>().is_ok());
    assert!(format!("link.{}.x86_64", "a".repeat(300)).parse::<JobName>().is_err());
}

/// Eight million empty entries in 16 MiB would take more than a GB.
#[test]
fn x9_empty_entries_take_no_memory() {
    peak_below("x9_empty_entries_take_no_memory", 96, Limits::default(), || {
        let bytes = [0x0a, 0].repeat(8 << 20);
        let error = Manifest::decode_checked(&bytes).unwrap_err();
        assert!(error.to_string().contains("an entry of 0 bytes at byte 2"), "{error}");
        assert!(PackageList::decode_checked(&bytes).is_err());
    });
}
