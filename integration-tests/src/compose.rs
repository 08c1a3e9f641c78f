//! A finished compose, seen from outside.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{
    program::{Ended, run, tutti},
    scratch::read,
    stream,
};

/// Options of one `tutti compose`.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Further arguments.
    pub arguments: Vec<String>,
    /// Variables.
    pub environment: Vec<(String, String)>,
}

impl Run {
    /// Adds arguments.
    #[must_use]
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// Adds a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The command that composes `config` into `target`.
    #[must_use]
    pub fn command(&self, config: &Path, target: &Path) -> std::process::Command {
        let mut command = tutti(["compose", "--config"]);
        command.arg(config).arg("--target-dir").arg(target).args(&self.arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Composes and returns what the program did.
    #[must_use]
    pub fn run(&self, config: &Path, target: &Path) -> Ended {
        run(self.command(config, target))
    }

    /// Composes with the JSON stream; the status must be `expected`.
    #[must_use]
    pub fn compose(&self, config: &Path, target: &Path, expected: i32) -> (Compose, Vec<Value>) {
        let ended = self.clone().with(&["--format", "json"]).run(config, target).expect(expected);
        let events = stream::parse(&ended.stdout);
        let directory = events.first().map_or("", |event| stream::text(event, "compose_dir"));
        assert!(!directory.is_empty(), "{}", ended.text());
        (Compose::open(Path::new(directory)), events)
    }
}

/// A compose's directory.
#[derive(Clone, Debug)]
pub struct Compose {
    directory: PathBuf,
}

impl Compose {
    /// The compose in this directory.
    #[must_use]
    pub fn open(directory: &Path) -> Self {
        assert!(directory.is_dir(), "{} is no directory", directory.display());
        Self { directory: directory.to_owned() }
    }

    /// Its directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its id: the directory's name.
    #[must_use]
    pub fn id(&self) -> String {
        self.directory.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// A path below `compose/`.
    #[must_use]
    pub fn tree(&self, path: &str) -> PathBuf {
        self.directory.join("compose").join(path)
    }

    /// The text of STATUS.
    #[must_use]
    pub fn status(&self) -> String {
        read(self.directory.join("STATUS")).trim().to_owned()
    }

    /// Its target directory.
    #[must_use]
    pub fn target(&self) -> &Path {
        self.directory.parent().unwrap_or(&self.directory)
    }

    /// What `tutti show --format json` says.
    #[must_use]
    pub fn show(&self) -> Value {
        let mut command = tutti(["show", "--format", "json", &self.id(), "--target-dir"]);
        command.arg(self.target());
        let ended = run(command).expect(0);
        serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.text()))
    }

    /// What `tutti show` prints.
    #[must_use]
    pub fn show_text(&self) -> String {
        let mut command = tutti(["show", &self.id(), "--target-dir"]);
        command.arg(self.target());
        run(command).expect(0).stdout
    }

    /// What `tutti logs` prints for a job.
    #[must_use]
    pub fn log(&self, job: &str) -> String {
        let mut command = tutti(["logs", "--target-dir"]);
        command.arg(self.target()).args([&self.id(), job]);
        run(command).expect(0).stdout
    }

    /// The sum of a counter over all attempts of all jobs.
    #[must_use]
    pub fn counted(&self, name: &str) -> u64 {
        let jobs = jobs(&self.show()).into_values();
        let attempts = jobs.flat_map(|job| job["attempts"].as_array().cloned().unwrap_or_default());
        attempts.filter_map(|attempt| attempt["counters"][name].as_u64()).sum()
    }

    /// The sum of a counter over all attempts of jobs of a kind, one of which must have it.
    #[must_use]
    pub fn counted_by(&self, kind: &str, name: &str) -> u64 {
        let jobs = jobs(&self.show());
        let named = jobs.iter().filter(|(job, _)| job.split('.').next() == Some(kind));
        let attempts = named.flat_map(|(_, job)| job["attempts"].as_array().cloned().unwrap_or_default());
        let counts: Vec<u64> = attempts.filter_map(|attempt| attempt["counters"][name].as_u64()).collect();
        assert!(!counts.is_empty(), "no {kind} job counted {name}");
        counts.iter().sum()
    }

    /// All repositories: directories with `repodata/`, relative to `compose/`, sorted.
    #[must_use]
    pub fn repositories(&self) -> Vec<String> {
        let mut found = Vec::new();
        repositories_below(&self.tree(""), "", &mut found);
        found.sort();
        found
    }

    /// All RPM files below `compose/`: paths relative to it.
    #[must_use]
    pub fn rpms(&self) -> Vec<String> {
        let paths = crate::tree::list(&self.tree(""));
        paths.into_keys().filter(|path| path.ends_with(".rpm")).collect()
    }
}

fn repositories_below(directory: &Path, relative: &str, found: &mut Vec<String>) {
    if directory.join("repodata/repomd.xml").exists() {
        found.push(relative.to_owned());
    }
    let entries =
        fs::read_dir(directory).unwrap_or_else(|error| panic!("cannot list {}: {error}", directory.display()));
    for entry in entries.map_while(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) && name != "Packages" && name != "repodata" {
            let path = if relative.is_empty() { name } else { format!("{relative}/{name}") };
            repositories_below(&entry.path(), &path, found);
        }
    }
}

/// What `tutti records COMMAND` says of a directory of package records, which must be whole.
#[must_use]
pub fn records(directory: &Path, command: &str, further: &[&str]) -> Value {
    let mut command = tutti(["records", command, "--format", "json"]);
    command.arg(directory).args(further);
    let ended = run(command).expect(0);
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.text()))
}

/// All packs of a directory of package records are whole, and there are so many.
pub fn verify_records(directory: &Path, packs: impl std::ops::RangeBounds<usize>) {
    let verified = records(directory, "verify", &[]);
    let all = verified.as_array().map(Vec::as_slice).unwrap_or_default();
    assert!(all.iter().all(|pack| pack["problem"].is_null()), "{verified}");
    assert!(packs.contains(&all.len()), "{} packs: {verified}", all.len());
}

/// Jobs of a `show` or `end` object, by name.
#[must_use]
pub fn jobs(show: &Value) -> BTreeMap<String, Value> {
    let jobs = show["jobs"].as_array().cloned().unwrap_or_default();
    jobs.into_iter().map(|job| (stream::text(&job, "name").to_owned(), job)).collect()
}
