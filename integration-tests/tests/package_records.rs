//! Package records that composes share: what one has read, no other reads again.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::Value;
use tutti_examples::Package;
use tutti_integration_tests::{
    chaos,
    compose::{self, Compose, Run, verify_records},
    program::{LIMIT, kill_group, spawn},
    scratch::Scratch,
    sources, tree,
};

const DATE: &str = "20260102";

fn fixed() -> Run {
    Run::default().with(&["--date", DATE]).env("SOURCE_DATE_EPOCH", "1767312000")
}

fn composed(config: &Path, target: &Path) -> Compose {
    fixed().compose(config, target, 0).0
}

fn records(target: &Path, command: &str, further: &[&str]) -> Value {
    compose::records(&target.join(".tutti-records"), command, further)
}

fn packages(demo: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(demo.join("repos/x86_64")).unwrap().map(|item| item.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "rpm"));
    files.sort();
    files
}

/// Metadata and packages of all repositories are the same; only the compose's name and time are not.
fn same_repositories(one: &Compose, other: &Compose) {
    let repositories = one.repositories();
    assert!(repositories == other.repositories() && repositories.len() > 1, "{repositories:?}");
    for repository in repositories {
        let differences = tree::differences(
            &one.tree(&format!("{repository}/repodata")),
            &other.tree(&format!("{repository}/repodata")),
        );
        assert!(differences.is_empty(), "{repository}: {}", differences.join("\n"));
    }
    assert_eq!(one.rpms(), other.rpms());
}

#[test]
fn the_next_compose_reads_only_what_changed() {
    let scratch = Scratch::new("package-records");
    let (demo, target) = (scratch.join("demo"), scratch.join("composes"));
    let config = sources::demo(&demo);
    let first = composed(&config, &target);
    let total = first.counted("rpm_files");
    assert!(total > 0 && first.counted("rpm_read_bytes") > 0);
    let second = composed(&config, &target);
    assert_eq!((second.counted("rpm_files"), second.counted("rpm_read_bytes")), (0, 0));
    assert_eq!(second.counted("rpm_files_known"), total);
    same_repositories(&first, &second);
    // One is touched: the file may be another, so it is read.
    let changed = packages(&demo).remove(0);
    let time = fs::metadata(&changed).unwrap().modified().unwrap() + Duration::from_nanos(1);
    fs::File::options().write(true).open(&changed).unwrap().set_modified(time).unwrap();
    let third = composed(&config, &target);
    let read = (third.counted("rpm_files"), third.counted("rpm_read_bytes"));
    assert_eq!(read, (1, fs::metadata(&changed).unwrap().len()));
    same_repositories(&first, &third);
    // Without records all is read.
    let alone = Run::default().with(&["--date", DATE, "--records", "none"]).env("SOURCE_DATE_EPOCH", "1767312000");
    let (alone, _) = alone.compose(&config, &target, 0);
    assert_eq!((alone.counted("rpm_files"), alone.counted("rpm_files_known")), (total, 0));
    same_repositories(&first, &alone);
    let stat = records(&target, "stat", &[]);
    assert_eq!((&stat["packs"], &stat["records"], &stat["uses"]), (&2.into(), &(total + 1).into(), &3.into()));
    verify_records(&target.join(".tutti-records"), 2..=2);
    // What composes use is kept; those that are removed use nothing. New packs are left alone.
    assert_eq!(records(&target, "gc", &["--grace", "0", "--dry-run"])["dropped"], Value::Array(vec![]));
    for compose in [first, second, third] {
        fs::remove_dir_all(compose.directory()).unwrap();
    }
    assert_eq!(records(&target, "gc", &[])["composes_forgotten"], 3);
    assert_eq!(records(&target, "stat", &[])["packs"], 2, "they are new");
}

/// Frames of metadata that were made, and that were copied from another compose.
fn frames(compose: &Compose) -> (u64, u64) {
    (compose.counted("frames_made"), compose.counted("frames_copied"))
}

/// Length of the text of all createrepo jobs' metadata, and of their files, as `repomd.xml` says.
fn metadata(compose: &Compose) -> (u64, u64) {
    let sum = |text: &str, tag: &str| -> u64 {
        let tag = format!("<{tag}>");
        let values = text.split(tag.as_str()).skip(1);
        values.map(|rest| rest.split('<').next().unwrap().parse::<u64>().unwrap()).sum()
    };
    let repositories = compose.repositories();
    // Those for debug packages are made by jobs of another kind.
    let of_kind = repositories.iter().filter(|repository| !repository.contains("debug"));
    let files =
        of_kind.map(|repository| fs::read_to_string(compose.tree(repository).join("repodata/repomd.xml")).unwrap());
    files.fold((0, 0), |(open, size), text| (open + sum(&text, "open-size"), size + sum(&text, "size")))
}

#[test]
fn the_next_compose_compresses_only_what_changed() {
    let scratch = Scratch::new("compose-frames");
    let (mut tiny, target) = (sources::Tiny::new(&scratch.join("tiny")), scratch.join("composes"));
    let part = |number: u32, version: &str| {
        let package = Package::binary(&format!("part-{number:03}"), version, "1", "x86_64");
        package.from_source("hello-1.0-1.src.rpm").file(&format!("/usr/share/part/{number}"), "part\n")
    };
    let mut wanted = String::new();
    for number in 0..300 {
        tiny.add("repo", &part(number, "1"));
        wanted += &format!("<packagereq type=\"mandatory\">part-{number:03}</packagereq>\n");
    }
    tiny.comps = tiny.comps.replace("</packagelist>", &format!("{wanted}</packagelist>"));
    let config = tiny.write();
    let first = composed(&config, &target);
    let (made, copied) = frames(&first);
    assert!(made > 20 && copied == 0, "{made} {copied}");
    let second = composed(&config, &target);
    assert_eq!(frames(&second), (0, made));
    same_repositories(&first, &second);
    // Heads, ends and the group file.
    let bytes = |compose: &Compose| compose.counted("compressed_bytes");
    assert!(bytes(&second) * 5 < bytes(&first), "{} of {}", bytes(&second), bytes(&first));
    assert_eq!(second.counted("rpm_read_bytes"), 0);
    // All that packages are listed in is copied or compressed, and hashed: the text, and what is written.
    let (text, written) = metadata(&second);
    let copied = second.counted_by("createrepo", "copied_bytes");
    assert!(copied * 10 > written * 9 && copied < written, "{copied} of {written}");
    let hashed = second.counted_by("createrepo", "hashed_bytes");
    // A job's outputs are hashed once more when they are handed over.
    assert!((text + written..text + 3 * written).contains(&hashed), "{hashed} of {text} and {written}");
    assert_eq!(first.counted_by("createrepo", "hashed_bytes"), hashed);
    // The last names of the longest list.
    assert!(first.counted_by("pkgset", "universe_bytes") > 0 && second.counted_by("pkgset", "universes_known") > 0);
    let shown = second.show_text();
    let work = shown.split("Work done:").nth(1).unwrap();
    for name in ["compressed_bytes", "copied_bytes", "frames_copied", "hashed_bytes", "universes_known"] {
        let line = work.lines().find(|line| line.trim_start().starts_with(name)).unwrap_or_else(|| panic!("{shown}"));
        assert_eq!(line.contains(" MB"), name.ends_with("_bytes"), "{line}");
    }
    fs::remove_file(tiny.directory.join("repo").join(part(150, "1").file_name())).unwrap();
    tiny.add("repo", &part(150, "2"));
    let third = composed(&config, &target);
    let (changed, kept) = frames(&third);
    assert!((3..=6).contains(&changed) && changed + kept >= made, "two for each file: {changed} {kept} {made}");
    let alone = Run::default().with(&["--date", DATE, "--records", "none"]).env("SOURCE_DATE_EPOCH", "1767312000");
    let (alone, _) = alone.compose(&config, &target, 0);
    assert_eq!(frames(&alone), (changed + kept, 0), "nothing of other composes is used");
    same_repositories(&third, &alone);
}

/// Composes that are killed at any moment leave packs that can be read, and cost the next one only what was not kept.
#[test]
fn x5_composes_that_are_killed_leave_no_torn_pack() {
    let scratch = Scratch::new("package-records-killed");
    let (demo, target) = (scratch.join("demo"), scratch.join("composes"));
    let config = sources::demo(&demo);
    for point in ["worker.records.noted", "worker.records.listed", "job.run.after"] {
        let _ = fs::remove_dir_all(target.join(".tutti-records"));
        let never = scratch.join("never");
        let points = format!("{point}=pause-file({})", never.display());
        let log = scratch.join(format!("log-{point}"));
        let mut command = fixed()
            .env("TUTTI_FAILPOINTS", &points)
            .env("TUTTI_FAILPOINT_LOG", log.to_str().unwrap())
            .command(&config, &target);
        let mut child = spawn(&mut command);
        let deadline = Instant::now() + LIMIT;
        while !fs::read_to_string(&log).unwrap_or_default().contains(point) {
            assert!(Instant::now() < deadline && child.try_wait().unwrap().is_none(), "{point} was not reached");
            std::thread::sleep(Duration::from_millis(20));
        }
        kill_group(child.id());
        child.wait().unwrap();
        let compose = composed(&config, &target);
        assert_eq!(compose.status(), "FINISHED");
        verify_records(&target.join(".tutti-records"), 1..);
    }
    assert_eq!(composed(&config, &target).counted("rpm_files"), 0);
}

/// The short form of `chaos records`.
#[test]
fn x5_composes_that_are_killed_or_write_at_once_lose_no_record() {
    let scratch = Scratch::new("package-records-chaos");
    let outcome = chaos::records::kill(scratch.path(), 1, 4, 0).unwrap();
    assert!(outcome.killed > 0 && outcome.pairs == 1 && outcome.packs > 3, "{outcome:?}");
}
