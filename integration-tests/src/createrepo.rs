//! The createrepo tools of others, and repositories as they and ours made them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    program::{Ended, clean, has_tool, run, tutti},
    skip,
};

/// Version line of the tools that are the reference.
const REFERENCE: &str = "Version: 1.2.5 ";

/// Whether the reference tools are there; says so if not.
#[must_use]
pub fn has_reference() -> bool {
    let there = has_tool("createrepo_c") && {
        let mut command = Command::new("createrepo_c");
        command.arg("--version");
        run(command).stdout.starts_with(REFERENCE)
    };
    if !there {
        skip::skipped("createrepo_c 1.2.5 is absent (.ci/setup test installs it in target/venv)");
    }
    there
}

/// Runs the reference of a tool.
#[must_use]
pub fn theirs(tool: &str, arguments: &[&str], directory: &Path) -> Ended {
    let mut command = Command::new(tool);
    command.args(arguments).current_dir(directory);
    clean(&mut command);
    run(command)
}

/// Runs ours under the same name.
#[must_use]
pub fn ours(tool: &str, arguments: &[&str], directory: &Path) -> Ended {
    let mut command = tutti([tool]);
    command.args(arguments).current_dir(directory);
    run(command)
}

/// The files of a `repodata/`: name without checksum, and decompressed content; `repomd.xml` without what must differ.
#[must_use]
pub fn files(repository: &Path, keep: Keep) -> BTreeMap<String, String> {
    let directory = repository.join("repodata");
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files = BTreeMap::new();
    for entry in entries {
        let path = entry.unwrap_or_else(|error| panic!("{error}")).path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let text = if name == "repomd.xml" { masked(&open(&path), keep) } else { open(&path) };
        files.insert(bare(&name).to_owned(), text);
    }
    files
}

/// What of a `repomd.xml` is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// All but the checksums and sizes of compressed files: two versions of a library compress differently.
    Times,
    /// Nor times and revision.
    Nothing,
    /// All.
    All,
}

/// A file name without the checksum in front.
#[must_use]
pub fn bare(name: &str) -> &str {
    match name.split_once('-') {
        Some((sum, rest)) if sum.len() >= 32 && sum.bytes().all(|byte| byte.is_ascii_hexdigit()) => rest,
        _ => name,
    }
}

fn masked(text: &str, keep: Keep) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let trimmed = line.trim_start();
        let of_packed = ["<checksum ", "<size>", "<location "].iter().any(|start| trimmed.starts_with(start));
        let of_time = ["<timestamp>", "<revision>"].iter().any(|start| trimmed.starts_with(start));
        match (keep, of_packed, of_time) {
            (Keep::Times | Keep::Nothing, true, _) if trimmed.starts_with("<location ") => {
                let name = trimmed.split('"').nth(1).and_then(|href| href.rsplit('/').next()).unwrap_or_default();
                out += bare(name);
            }
            (Keep::Times | Keep::Nothing, true, _) | (Keep::Nothing, _, true) => {
                out += trimmed.split(['>', ' ']).next().unwrap_or_default();
            }
            _ => out += line,
        }
        out += "\n";
    }
    out
}

/// A file's content, decompressed by the tool for its suffix.
#[must_use]
pub fn open(path: &Path) -> String {
    let suffix = path.extension().map(|suffix| suffix.to_string_lossy().into_owned()).unwrap_or_default();
    let tool = match suffix.as_str() {
        "zst" => "zstd",
        "gz" => "gzip",
        "xz" => "xz",
        "bz2" => "bzip2",
        _ => {
            let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            return String::from_utf8_lossy(&bytes).into_owned();
        }
    };
    let mut command = Command::new(tool);
    command.arg("-dc").arg(path);
    run(command).expect(0).stdout
}

/// Fails at the first line that differs.
pub fn assert_equal(what: &str, theirs: &BTreeMap<String, String>, ours: &BTreeMap<String, String>) {
    let names = |files: &BTreeMap<String, String>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(theirs), names(ours), "{what}: the files");
    for (name, expected) in theirs {
        let actual = &ours[name];
        if expected == actual {
            continue;
        }
        let differing = expected.lines().zip(actual.lines()).enumerate().find(|(_, (a, b))| a != b);
        panic!("{what}: {name} differs, {} and {} bytes; first line: {differing:?}", expected.len(), actual.len());
    }
}

/// A link to the program under test by another name.
#[must_use]
pub fn linked(directory: &Path, name: &str) -> PathBuf {
    let link = directory.join(name);
    std::os::unix::fs::symlink(crate::program::tutti_path(), &link).unwrap_or_else(|error| panic!("{name}: {error}"));
    link
}
