//! Same input, same bytes: by one process, again, and by three workers.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

use std::path::{Path, PathBuf};

use tutti_integration_tests::{
    compose::{Compose, Run},
    farm::Farm,
    program::has_tool,
    scratch::Scratch,
    sources, tree,
};

const ID: &str = "Demo-1-20260102.n.7";
const EPOCH: &str = "1767312000";
const FIXED: [&str; 5] = ["--nightly", "--compose-id", ID, "--date", "20260102"];

fn run() -> Run {
    Run::default().with(&FIXED).env("SOURCE_DATE_EPOCH", EPOCH)
}

/// Composes on a farm, with the same identity.
fn on_a_farm(scratch: &Scratch, workers: usize, config: &Path, target: &Path) -> Compose {
    let directory = scratch.join(format!("farm-{workers}"));
    std::fs::create_dir_all(&directory).unwrap();
    let farm = Farm::start(&directory, workers);
    let mut command = farm.client_command(&["submit", "--wait"]);
    command.arg("--config").arg(config).arg("--target-dir").arg(target).args(FIXED);
    command.env("SOURCE_DATE_EPOCH", EPOCH);
    let ended = tutti_integration_tests::program::run(command).expect(0);
    assert!(ended.stdout.contains(ID), "{}", ended.text());
    let compose = Compose::open(&target.join(ID));
    let shown = farm.client(&["show", "--format", "json", ID]).expect(0);
    for number in 1..=workers {
        assert!(shown.stdout.contains(&format!("worker-{number}")), "worker-{number} did nothing: {}", shown.text());
    }
    compose
}

fn assert_equal(first: &Compose, second: &Compose) {
    assert_eq!((first.status(), second.status()), ("FINISHED".into(), "FINISHED".into()));
    let differences = tree::differences(&first.tree(""), &second.tree(""));
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    assert!(first.rpms().len() > 300, "{}", first.rpms().len());
}

#[test]
fn once_twice_and_by_three_workers() {
    let scratch = Scratch::new("equal");
    let config = sources::demo(&scratch.join("demo"));
    let (first, _) = run().compose(&config, &scratch.join("first"), 0);
    let (second, _) = run().with(&["--jobs", "1"]).compose(&config, &scratch.join("second"), 0);
    assert_equal(&first, &second);
    let third = on_a_farm(&scratch, 3, &config, &scratch.join("third"));
    assert_equal(&first, &third);
    // The comparison can fail: another date gives other metadata.
    let other = Run::default().with(&["--nightly", "--compose-id", ID, "--date", "20260102"]);
    let (other, _) = other.env("SOURCE_DATE_EPOCH", "1767398400").compose(&config, &scratch.join("other"), 0);
    assert_ne!(tree::differences(&first.tree(""), &other.tree("")), Vec::<String>::new());
}

/// What a repository says of its packages is as good as what their headers say.
#[test]
fn from_headers_and_from_repodata() {
    if !has_tool("createrepo_c") {
        return;
    }
    let scratch = Scratch::new("equal-repodata");
    let config = sources::demo(&scratch.join("demo"));
    let (bare, _) = run().compose(&config, &scratch.join("bare"), 0);
    for repository in ["x86_64", "aarch64", "source"] {
        let mut command = std::process::Command::new("createrepo_c");
        let directory: PathBuf = scratch.join("demo/repos").join(repository);
        command.args(["-q", "--no-database"]).arg(directory);
        let _ = tutti_integration_tests::program::run(command).expect(0);
    }
    let (indexed, _) = run().compose(&config, &scratch.join("indexed"), 0);
    assert_equal(&bare, &indexed);
}
