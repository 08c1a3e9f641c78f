//! Workers of other architectures, s390x with its big-endian words among them, run by qemu in a farm whose controller is
//! of this machine's: the trees are those of this machine.
//!
//! `.ci/dist --test` builds the programs into `target/dist` (`TUTTI_DIST` names another place) and runs this. Building them
//! takes longer than all other tests: so these are ignored unless they are asked for.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;
use tutti_integration_tests::{
    compose::{Compose, Run, jobs},
    farm::Farm,
    program::{self, has_tool, run_within},
    scratch::Scratch,
    skip::skipped,
    sources,
    stream::text,
    tree,
};

const ID: &str = "Demo-1-20260102.n.7";
const EPOCH: &str = "1767312000";
const FIXED: [&str; 5] = ["--nightly", "--compose-id", ID, "--date", "20260102"];
/// An emulated compose takes a minute on an idle machine.
const LIMIT: Duration = Duration::from_secs(1800);

/// A program of another architecture and the emulator that runs it.
struct Foreign {
    arch: &'static str,
    emulator: String,
    program: PathBuf,
}

impl Foreign {
    /// The one in `target/dist`; says so where it is missing.
    fn find(arch: &'static str) -> Option<Self> {
        let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/dist");
        let directory = std::env::var_os("TUTTI_DIST").map_or_else(default, PathBuf::from);
        let (emulator, program) = (format!("qemu-{arch}-static"), directory.join(arch).join("tutti"));
        if !program.exists() {
            skipped(&format!("{} is absent (.ci/dist --test builds it and runs this)", program.display()));
            return None;
        }
        if !has_tool(&emulator) {
            return None;
        }
        Some(Self { arch, emulator, program })
    }

    fn name(&self) -> String {
        format!("worker-{}", self.arch)
    }

    /// Adds a worker of this kind to a farm.
    fn join(&self, farm: &mut Farm) {
        let mut command = Command::new(&self.emulator);
        command.arg(&self.program);
        program::clean(&mut command);
        // The kernel does not know how to run the program by itself: so the worker starts its jobs by the emulator too.
        farm.add_worker_by(command, &self.name(), &["--job-prefix", &self.emulator], &[]);
    }
}

/// Composes with these workers; each did something, and nobody else did anything. Returns what `tutti show` says, too.
fn compose(farm: &Farm, names: &BTreeSet<String>, config: &Path, target: &Path) -> (Compose, Value) {
    farm.wait_for_workers(names.len());
    let mut command = farm.client_command(&["submit", "--wait"]);
    command.arg("--config").arg(config).arg("--target-dir").arg(target).args(FIXED).env("SOURCE_DATE_EPOCH", EPOCH);
    let _ = run_within(command, LIMIT).expect(0);
    let shown: Value = serde_json::from_str(&farm.client(&["show", "--format", "json", ID]).expect(0).stdout).unwrap();
    let all = jobs(&shown);
    let kinds: BTreeSet<&str> = all.keys().map(|name| name.split('.').next().unwrap()).collect();
    for kind in ["pkgset", "solve", "trim", "link", "createrepo", "repoclosure", "tree-info", "checksum", "metadata"] {
        assert!(kinds.contains(kind), "no job of kind {kind}: {kinds:?}");
    }
    let mut workers = BTreeSet::new();
    for (name, job) in &all {
        let attempts = job["attempts"].as_array().unwrap();
        assert_eq!(text(job, "state"), "published", "{name}: {job}");
        workers.extend(attempts.iter().map(|attempt| text(attempt, "worker_id").to_owned()));
    }
    assert_eq!(&workers, names);
    (Compose::open(&target.join(ID)), shown)
}

fn assert_equal(first: &Compose, second: &Compose) {
    assert_eq!((first.status(), second.status()), ("FINISHED".into(), "FINISHED".into()));
    let differences = tree::differences(&first.tree(""), &second.tree(""));
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    assert!(first.rpms().len() > 300, "{}", first.rpms().len());
}

/// What this machine makes by itself.
fn native(scratch: &Scratch, config: &Path) -> Compose {
    Run::default().with(&FIXED).env("SOURCE_DATE_EPOCH", EPOCH).compose(config, &scratch.join("native"), 0).0
}

fn alone(arch: &'static str) {
    let Some(foreign) = Foreign::find(arch) else { return };
    let scratch = Scratch::new(arch);
    let config = sources::demo(&scratch.join("demo"));
    let native = native(&scratch, &config);
    let mut farm = Farm::start(scratch.path(), 0);
    foreign.join(&mut farm);
    // The emulator knows no Landlock: that is said before the first job runs.
    let list = farm.wait_for_list("the worker is there", |list| list.contains(&foreign.name()));
    assert!(list.lines().any(|line| line.contains(&format!(" {arch} "))), "{list}");
    let _ = farm.wait_for_list("its missing sandbox is shown", |list| list.contains("has no Landlock"));
    let made = compose(&farm, &BTreeSet::from([foreign.name()]), &config, &scratch.join("foreign")).0;
    assert_equal(&native, &made);
}

#[test]
#[ignore = "needs the programs that .ci/dist builds"]
fn an_s390x_worker_makes_the_same_tree() {
    alone("s390x");
}

/// Package records and frames of metadata that this machine wrote, read by a machine with the other order of bytes.
#[test]
#[ignore = "needs the programs that .ci/dist builds"]
fn an_s390x_worker_takes_over_what_this_machine_has_read() {
    let Some(foreign) = Foreign::find("s390x") else { return };
    let scratch = Scratch::new("s390x-packs");
    let config = sources::demo(&scratch.join("demo"));
    let native = native(&scratch, &config);
    let target = scratch.join("foreign");
    let before = ["--nightly", "--compose-id", "Demo-1-20260102.n.6", "--date", "20260102"];
    let (before, _) = Run::default().with(&before).env("SOURCE_DATE_EPOCH", EPOCH).compose(&config, &target, 0);
    assert!(before.counted("rpm_read_bytes") > 0);
    let mut farm = Farm::start(scratch.path(), 0);
    foreign.join(&mut farm);
    let (made, shown) = compose(&farm, &BTreeSet::from([foreign.name()]), &config, &target);
    assert_equal(&native, &made);
    let counted = |name: &str| -> Option<u64> {
        let attempts =
            jobs(&shown).into_values().flat_map(|job| job["attempts"].as_array().cloned().unwrap_or_default());
        attempts.map(|attempt| attempt["counters"][name].as_u64()).filter(Option::is_some).sum()
    };
    assert_eq!(counted("rpm_read_bytes"), Some(0), "{shown}");
    assert!(counted("frames_copied") > Some(0), "{shown}");
}

#[test]
#[ignore = "needs the programs that .ci/dist builds"]
fn an_aarch64_worker_makes_the_same_tree() {
    alone("aarch64");
}

#[test]
#[ignore = "needs the programs that .ci/dist builds"]
fn a_ppc64le_worker_makes_the_same_tree() {
    alone("ppc64le");
}

/// What one architecture wrote, another reads.
#[test]
#[ignore = "needs the programs that .ci/dist builds"]
fn workers_of_all_architectures_make_the_same_tree_together() {
    let Some(foreign) = ["s390x", "aarch64", "ppc64le"].map(Foreign::find).into_iter().collect::<Option<Vec<_>>>()
    else {
        return;
    };
    let scratch = Scratch::new("all-arches");
    let config = sources::demo(&scratch.join("demo"));
    let native = native(&scratch, &config);
    let mut farm = Farm::start(scratch.path(), 1);
    foreign.iter().for_each(|foreign| foreign.join(&mut farm));
    let names = foreign.iter().map(Foreign::name).chain(["worker-1".to_owned()]).collect();
    let made = compose(&farm, &names, &config, &scratch.join("together")).0;
    assert_equal(&native, &made);
}
