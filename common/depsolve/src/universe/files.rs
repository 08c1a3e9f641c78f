//! File lists of a universe: pairs of directory and base name.

use super::decode::{Reader, damaged, unpack};
use super::encode::{count, pack, push, push_all, push_strings};
use super::{Strings, UniverseError};

/// File lists of all packages of one universe.
#[derive(Debug)]
pub struct FileTable {
    pub(crate) directories: Strings,
    pub(crate) names: Strings,
    ends: Vec<u32>,
    entries: Vec<[u32; 2]>,
}

impl FileTable {
    /// A table of no packages with the names of `whole`.
    pub(super) fn empty_like(whole: &FileTable) -> FileTable {
        let (directories, names) = (whole.directories.clone(), whole.names.clone());
        FileTable { directories, names, ends: Vec::new(), entries: Vec::new() }
    }

    /// Adds the files of the next package, pairs of this table's ids.
    pub(super) fn push(&mut self, files: &[[u32; 2]]) {
        self.entries.extend_from_slice(files);
        self.ends.push(self.entries.len() as u32);
    }

    /// Returns the (directory id, base name id) pairs of a package, sorted.
    pub(crate) fn entries(&self, package: usize) -> &[[u32; 2]] {
        let start = if package == 0 { 0 } else { self.ends[package - 1] as usize };
        &self.entries[start..self.ends[package] as usize]
    }

    /// Returns directory (without the last `/`) and base name of each file of a package.
    pub fn of(&self, package: u32) -> impl Iterator<Item = (&str, &str)> {
        let entries = if (package as usize) < self.ends.len() { self.entries(package as usize) } else { &[] };
        entries.iter().map(|[directory, name]| (self.directories.get(*directory), self.names.get(*name)))
    }
}

/// Splits a path into directory and base name at its last `/`.
pub(crate) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// Packs file lists, which must be sorted, one per package.
pub(super) fn encode(
    directories: &[&str],
    names: &[&str],
    lists: &[Vec<[u32; 2]>],
) -> Result<(Vec<u8>, u64), UniverseError> {
    let (mut ends, mut text) = (Vec::new(), Vec::new());
    push_strings(&mut ends, &mut text, directories)?;
    let directory_text = text.len();
    let mut names_text = Vec::new();
    push_strings(&mut ends, &mut names_text, names)?;
    let entries: usize = lists.iter().map(Vec::len).sum();
    let mut plain = Vec::new();
    push(&mut plain, count(directories.len(), "directories")?);
    push(&mut plain, count(directory_text, "bytes of directories")?);
    push(&mut plain, count(names.len(), "file names")?);
    push(&mut plain, count(names_text.len(), "bytes of file names")?);
    push(&mut plain, count(entries, "files")?);
    plain.extend_from_slice(&ends);
    let mut end = 0;
    for list in lists {
        end += list.len() as u32;
        push(&mut plain, end);
    }
    for list in lists {
        push_all(&mut plain, list.iter().flatten().copied());
    }
    plain.extend_from_slice(&text);
    plain.extend_from_slice(&names_text);
    Ok((pack("file", &plain)?, plain.len() as u64))
}

pub(super) fn decode(packed: &[u8], length: u64, packages: usize) -> Result<FileTable, UniverseError> {
    let plain = unpack("file", packed, length)?;
    let mut reader = Reader(&plain);
    let [[directories, directory_text, names, names_text, entries]] = reader.rows::<5>(1)?[..] else {
        return damaged("ends early");
    };
    let directory_ends = reader.numbers(directories)?;
    let name_ends = reader.numbers(names)?;
    let ends = reader.numbers(count(packages, "packages")?)?;
    let entries = reader.rows::<2>(entries)?;
    let directories = reader.strings(directory_ends, directory_text)?;
    let names = reader.strings(name_ends, names_text)?;
    if !ends.is_sorted() || ends.last().map_or(0, |end| *end as usize) != entries.len() || !reader.0.is_empty() {
        return damaged("files of a package");
    }
    let (directory_count, name_count) = (directories.len() as u64, names.len() as u64);
    if !entries.iter().all(|[dir, name]| u64::from(*dir) < directory_count && u64::from(*name) < name_count) {
        return damaged("name of a file");
    }
    Ok(FileTable { directories, names, ends, entries })
}
