//! Six composes at once on one machine, with the same packages and the same target directory.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tutti_integration_tests::{
    compose::{self, Compose, Run, jobs, verify_records},
    program::{LIMIT, has_tool, run, tutti},
    scratch::Scratch,
    sources,
    strace::{self, Calls},
    stream::{Live, job_over, text},
    tree,
};

const COMPOSES: u64 = 6;
/// The one that the link must lead to.
const NEWEST: &str = "Demo-1-20260102.n.5";
const EPOCH: &str = "1767312000";

fn nightly() -> Run {
    Run::default().with(&["--nightly", "--date", "20260102", "--jobs", "1"]).env("SOURCE_DATE_EPOCH", EPOCH)
}

/// SplitMix64 of a seed and a purpose.
fn random(seed: u64, purpose: u64, below: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(purpose.wrapping_mul(0xbf58_476d_1ce4_e5b9));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) % below
}

/// Differences of two trees but for the compose's id and respin, which their metadata name.
fn differences(first: &Compose, second: &Compose) -> Vec<String> {
    let (one, other) = (tree::snapshot(&first.tree("")), tree::snapshot(&second.tree("")));
    let paths: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let text = |compose: &Compose, path: &str| {
        let text = std::fs::read_to_string(compose.tree(path)).unwrap_or_default();
        let respin = compose.id().rsplit('.').next().unwrap_or_default().to_owned();
        text.replace(&compose.id(), "ID").replace(&format!("\"respin\": {respin}"), "\"respin\": N")
    };
    let differ = |path: &&String| match (one.get(*path), other.get(*path)) {
        (Some(one), Some(other)) if one == other => false,
        (Some(one), Some(other)) => {
            (one.kind, one.mode, one.mtime) != (other.kind, other.mode, other.mtime)
                || text(first, path).is_empty()
                || text(first, path) != text(second, path)
        }
        _ => true,
    };
    paths.into_iter().filter(differ).cloned().collect()
}

/// When one of the six is killed.
#[derive(Clone, Copy)]
struct Death {
    /// After so many jobs.
    jobs: u64,
    /// It is not resumed before the newest has ended: an older one ends last.
    waits: bool,
}

/// Waits until the newest of the six has ended, unless it is this one.
fn until_newest_ended(compose: &Compose) {
    let newest = compose.target().join(NEWEST);
    let deadline = Instant::now() + LIMIT;
    while compose.id() != NEWEST && !(newest.is_dir() && Compose::open(&newest).status() == "FINISHED") {
        assert!(Instant::now() < deadline, "{NEWEST} does not end");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// One of the six: to its end, or killed after some jobs and resumed. Returns its directory.
fn one(mut command: Command, death: Option<Death>) -> PathBuf {
    if death.is_some() {
        // The last job waits for its death, which thus never comes too late.
        command.env("TUTTI_FAILPOINTS", "job.run.before[metadata]=pause-file(/nonexistent/never)");
    }
    let mut live = Live::start(command);
    let started = live.wait_for(LIMIT, |event| text(event, "event") == "started");
    let directory = PathBuf::from(text(&started, "compose_dir"));
    let Some(death) = death else {
        let ended = live.finish(LIMIT);
        assert_eq!(ended.status, 0, "{}", ended.text());
        return directory;
    };
    let mut over = BTreeSet::new();
    live.wait_for(LIMIT, |event| text(event, "state") == "running");
    while (over.len() as u64) < death.jobs {
        let event = live.wait_for(LIMIT, job_over);
        over.insert(text(&event, "name").to_owned());
    }
    kill_process(Pid::from_raw(i32::try_from(live.id()).unwrap()).unwrap(), Signal::KILL).unwrap();
    let _ = live.finish(LIMIT);
    let compose = Compose::open(&directory);
    assert_eq!(compose.status(), "STARTED", "killed too late");
    if death.waits {
        until_newest_ended(&compose);
    }
    let mut resume = tutti(["compose", "--jobs", "1", "--resume", &compose.id(), "--target-dir"]);
    resume.arg(compose.target());
    let _ = run(resume).expect(0);
    let done = jobs(&compose.show());
    for name in over {
        assert_eq!(done[&name]["attempts"].as_array().map_or(0, Vec::len), 1, "{name} ran again");
    }
    directory
}

/// Looks at the link until told to stop: whenever it is there, it points to a whole compose.
fn watch_link(link: &Path, stop: &AtomicBool) -> BTreeMap<String, u64> {
    let mut seen = BTreeMap::new();
    while !stop.load(Ordering::SeqCst) {
        if let Ok(id) = std::fs::read_link(link) {
            let compose = Compose::open(&link.parent().unwrap().join(&id));
            assert_eq!(compose.status(), "FINISHED", "{}", id.display());
            assert!(compose.tree("metadata/composeinfo.json").is_file(), "{}", id.display());
            *seen.entry(compose.id()).or_default() += 1;
        }
        // Often enough to see every link, and not all of a core.
        std::thread::sleep(Duration::from_millis(2));
    }
    seen
}

fn six(scratch: &Scratch, config: &Path, undisturbed: &Compose, seed: u64) {
    let jobs = jobs(&undisturbed.show()).len() as u64;
    let target = scratch.join(format!("composes-{seed}"));
    let trace = scratch.join(format!("trace-{seed}"));
    let first = random(seed, 0, COMPOSES - 1);
    let second = (first + 1 + random(seed, 1, COMPOSES - 2)) % (COMPOSES - 1);
    let (stop, link) = (AtomicBool::new(false), target.join("latest-Demo-1"));
    let (directories, seen) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| watch_link(&link, &stop));
        let start = |number: u64| {
            let mut command = nightly().with(&["--format", "json"]).command(config, &target);
            // The last one is looked at, and never killed.
            if number == COMPOSES - 1 && has_tool("strace") {
                command = strace::trace(&command, "flock,fcntl", &trace);
            }
            let death = [first, second].contains(&number).then(|| {
                let jobs = random(seed, 2 + number, jobs * 3 / 4);
                Death { jobs, waits: number == first }
            });
            scope.spawn(move || one(command, death))
        };
        let running: Vec<_> = (0..COMPOSES).map(start).collect();
        let directories: Vec<_> = running.into_iter().map(|one| one.join()).collect();
        stop.store(true, Ordering::SeqCst);
        (directories, watcher.join().unwrap())
    });
    let directories: BTreeSet<PathBuf> = directories.into_iter().map(|directory| directory.unwrap()).collect();
    let wanted = (0..COMPOSES).map(|respin| target.join(format!("Demo-1-20260102.n.{respin}"))).collect();
    assert_eq!(directories, wanted, "ids");
    for directory in &directories {
        let compose = Compose::open(directory);
        assert_eq!(compose.status(), "FINISHED");
        assert_eq!(differences(undisturbed, &compose), Vec::<String>::new(), "{}", compose.id());
    }
    assert_eq!(std::fs::read_link(&link).unwrap(), Path::new(NEWEST), "the newest, not the last to end");
    share_records(config, undisturbed, &target);
    if trace.exists() {
        assert_eq!(Calls::read(&trace).locks(), Vec::<String>::new());
    }
    eprintln!("seed {seed}: numbers {first} and {second} killed; the link was at {seen:?}");
}

/// The six have left whole packs of package records, by which one more compose reads no package at all.
fn share_records(config: &Path, undisturbed: &Compose, target: &Path) {
    let packages = undisturbed.counted("rpm_files");
    let records = target.join(".tutti-records");
    verify_records(&records, 1..);
    let (next, _) = nightly().compose(config, target, 0);
    let counted = ["rpm_files", "rpm_read_bytes", "rpm_files_known"].map(|name| next.counted(name));
    assert_eq!(counted, [0, 0, packages]);
    verify_records(&records, 1..);
    let stat = compose::records(&records, "stat", &[]);
    assert_eq!(stat["uses"].as_u64(), Some(COMPOSES + 1), "{stat}");
}

/// `TUTTI_FULL=1`: ten seeds. `TUTTI_SEED`: one other.
#[test]
fn r1_six_side_by_side_two_of_them_killed() {
    let scratch = Scratch::new("six");
    let config = sources::demo(&scratch.join("demo"));
    let (undisturbed, _) = nightly().compose(&config, &scratch.join("undisturbed"), 0);
    let one = std::env::var("TUTTI_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let full = std::env::var_os("TUTTI_FULL").is_some_and(|value| value == "1");
    for seed in if full { 1..11 } else { one..one + 1 } {
        six(&scratch, &config, &undisturbed, seed);
    }
    // The comparison can fail.
    std::fs::write(undisturbed.tree("Server/x86_64/os/.treeinfo"), "other").unwrap();
    let last = Compose::open(&scratch.join(format!("composes-{}/Demo-1-20260102.n.0", if full { 1 } else { one })));
    assert_eq!(differences(&undisturbed, &last), ["Server/x86_64/os/.treeinfo"]);
}
