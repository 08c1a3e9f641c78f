//! Generated distributions: `corpus/make-corpus` takes names and dependencies from the machine's own apt.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rustix::fs::FlockOperation;

use crate::{
    program::{Ended, run_within},
    skip::skipped,
};

/// Fetching and converting the index takes minutes once.
const LIMIT: Duration = Duration::from_secs(1200);

/// Where the converted package index is kept: `TUTTI_CORPUS_CACHE`, else `~/.cache/make-corpus`.
#[must_use]
pub fn cache() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/make-corpus");
    std::env::var_os("TUTTI_CORPUS_CACHE").map_or_else(home, PathBuf::from)
}

fn make_corpus(arguments: &[&str]) -> Ended {
    let mut command = Command::new("python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/make-corpus")).args(arguments);
    command.arg("--cache").arg(cache());
    run_within(command, LIMIT)
}

/// Makes a corpus in `directory` and returns its configuration; none, said aloud, where the index cannot be had.
#[must_use]
pub fn make(directory: &Path, sources: u32, arches: &str) -> Option<PathBuf> {
    make_with(directory, sources, arches, &[])
}

fn make_with(directory: &Path, sources: u32, arches: &str, further: &[&str]) -> Option<PathBuf> {
    let cache = cache();
    let lock = fs::create_dir_all(&cache).and_then(|()| fs::File::create(cache.join("tutti-tests.lock")));
    let lock = lock.unwrap_or_else(|error| panic!("cannot make a file in {}: {error}", cache.display()));
    // Two tests at once would both convert the index. Closing the file unlocks.
    let locked = rustix::fs::flock(&lock, FlockOperation::LockExclusive);
    locked.unwrap_or_else(|error| panic!("cannot lock {}: {error}", cache.display()));
    let index = make_corpus(&["index"]);
    drop(lock);
    if index.status != 0 {
        skipped(&format!("the package index cannot be fetched: {}", index.stderr.lines().last().unwrap_or_default()));
        return None;
    }
    let path = directory.display().to_string();
    let sources = sources.to_string();
    let mut arguments = vec!["--out", path.as_str(), "--sources", &sources, "--arches", arches, "--repos"];
    arguments.extend(further);
    let _ = make_corpus(&arguments).expect(0);
    Some(directory.join("compose-repos.conf"))
}

/// One planted defect, of `defects.json`.
#[derive(Clone, Debug)]
pub struct Defect {
    /// What is wrong with it.
    pub kind: String,
    /// `NAME-VERSION-RELEASE.ARCH`.
    pub nvra: String,
    /// Its files below `repos/`.
    pub files: Vec<PathBuf>,
}

/// As [`make`], with so many defects planted.
#[must_use]
pub fn make_broken(directory: &Path, sources: u32, arches: &str, defects: u32) -> Option<(PathBuf, Vec<Defect>)> {
    let config = make_with(directory, sources, arches, &["--broken", &defects.to_string()])?;
    let text = crate::scratch::read(directory.join("defects.json"));
    let list: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("defects.json: {error}"));
    let defect = |entry: &serde_json::Value| {
        let nvra = crate::stream::text(entry, "nvra").to_owned();
        let files = files_named(&directory.join("repos"), &format!("{nvra}.rpm"));
        Defect { kind: crate::stream::text(entry, "kind").to_owned(), nvra, files }
    };
    Some((config, list.as_array().into_iter().flatten().map(defect).collect()))
}

fn files_named(directory: &Path, name: &str) -> Vec<PathBuf> {
    let found = crate::tree::list(directory).into_keys().map(|path| directory.join(path));
    found.filter(|path| path.file_name().is_some_and(|own| own == name)).collect()
}
