//! Two trees are equal when all below `compose/` has the same path, type, mode, bytes and link target, and RPMs the same
//! mtime.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use sha2::{Digest, Sha256};

/// What is compared of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// `d`, `f` or `l`.
    pub kind: char,
    /// Permissions; 0 for a symbolic link.
    pub mode: u32,
    /// Digest of the bytes, or the link's target.
    pub content: String,
    /// Modification time in seconds, of RPMs.
    pub mtime: Option<i64>,
}

/// Lists a tree without reading files: path to kind and size.
#[must_use]
pub fn list(top: &Path) -> BTreeMap<String, (char, u64)> {
    let mut found = BTreeMap::new();
    walk(top, "", &mut |path, metadata| {
        let kind = kind(metadata);
        found.insert(path.to_owned(), (kind, if kind == 'f' { metadata.len() } else { 0 }));
    });
    found
}

/// Reads a tree.
#[must_use]
pub fn snapshot(top: &Path) -> BTreeMap<String, Entry> {
    Reader::default().snapshot(top)
}

/// Differences of two trees, one a line; none if they are equal.
#[must_use]
pub fn differences(first: &Path, second: &Path) -> Vec<String> {
    let mut reader = Reader::default();
    Reader::differences(&reader.snapshot(first), &reader.snapshot(second))
}

/// Reads trees that share files: each file once.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    /// Digests by device, inode, size and modification time, of files that have other names too. What has none may be
    /// removed with its tree, and its inode given to a file of equal size and time.
    digests: BTreeMap<(u64, u64, u64, i64, i64), String>,
}

impl Reader {
    /// Reads a tree.
    pub fn snapshot(&mut self, top: &Path) -> BTreeMap<String, Entry> {
        let mut found = BTreeMap::new();
        walk(top, "", &mut |path, metadata| {
            let full = top.join(path);
            let kind = kind(metadata);
            let content = match kind {
                'f' => self.digest(&full, metadata),
                'l' => fs::read_link(&full).map(|target| target.to_string_lossy().into_owned()).unwrap_or_default(),
                _ => String::new(),
            };
            let mode = if kind == 'l' { 0 } else { metadata.permissions().mode() & 0o7777 };
            let mtime = path.ends_with(".rpm").then(|| metadata.mtime());
            found.insert(path.to_owned(), Entry { kind, mode, content, mtime });
        });
        found
    }

    fn digest(&mut self, path: &Path, metadata: &fs::Metadata) -> String {
        let (device, inode, size) = (metadata.dev(), metadata.ino(), metadata.len());
        let key = (device, inode, size, metadata.mtime(), metadata.mtime_nsec());
        if metadata.nlink() == 1 {
            return digest(path);
        }
        self.digests.entry(key).or_insert_with(|| digest(path)).clone()
    }

    /// Differences of two trees, one a line; none if they are equal.
    #[must_use]
    pub fn differences(first: &BTreeMap<String, Entry>, second: &BTreeMap<String, Entry>) -> Vec<String> {
        let mut found = Vec::new();
        for (path, entry) in first {
            match second.get(path) {
                None => found.push(format!("{path}: only in the first")),
                Some(other) if other != entry => found.push(format!("{path}: {entry:?} and {other:?}")),
                Some(_) => {}
            }
        }
        let more = second.keys().filter(|path| !first.contains_key(*path));
        found.extend(more.map(|path| format!("{path}: only in the second")));
        found
    }
}

fn kind(metadata: &fs::Metadata) -> char {
    if metadata.is_symlink() {
        'l'
    } else if metadata.is_dir() {
        'd'
    } else {
        'f'
    }
}

fn walk(top: &Path, relative: &str, take: &mut dyn FnMut(&str, &fs::Metadata)) {
    let directory = top.join(relative);
    let entries =
        fs::read_dir(&directory).unwrap_or_else(|error| panic!("cannot list {}: {error}", directory.display()));
    for entry in entries {
        let entry = entry.unwrap_or_else(|error| panic!("cannot list {}: {error}", directory.display()));
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if relative.is_empty() { name } else { format!("{relative}/{name}") };
        let metadata = entry.metadata().unwrap_or_else(|error| panic!("cannot look at {path}: {error}"));
        take(&path, &metadata);
        if metadata.is_dir() {
            walk(top, &path, take);
        }
    }
}

/// SHA-256 of a file, in hex.
#[must_use]
pub fn digest(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a tree, changes it in one way, and returns what is found different.
    fn change(alter: impl Fn(&Path)) -> Vec<String> {
        let scratch = crate::scratch::Scratch::new("tree");
        for side in ["a", "b"] {
            let top = scratch.join(side);
            crate::scratch::write(&top.join("d/x.rpm"), "x");
            crate::scratch::write(&top.join("d/y"), "y");
            std::os::unix::fs::symlink("y", top.join("d/l")).unwrap();
            let file = fs::File::options().write(true).open(top.join("d/x.rpm")).unwrap();
            file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(5)).unwrap();
        }
        alter(&scratch.join("b/d"));
        differences(&scratch.join("a"), &scratch.join("b"))
    }

    #[test]
    fn sees_every_kind_of_difference() {
        assert_eq!(change(|_| {}), Vec::<String>::new());
        type Alter = fn(&Path);
        let alterations: [Alter; 6] = [
            |d| fs::write(d.join("y"), "z").unwrap(),
            |d| fs::write(d.join("new"), "").unwrap(),
            |d| fs::remove_file(d.join("y")).unwrap(),
            |d| fs::set_permissions(d.join("y"), fs::Permissions::from_mode(0o600)).unwrap(),
            |d| {
                fs::remove_file(d.join("l")).unwrap();
                std::os::unix::fs::symlink("z", d.join("l")).unwrap();
            },
            |d| {
                let file = fs::File::options().write(true).open(d.join("x.rpm")).unwrap();
                file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(6)).unwrap();
            },
        ];
        for (number, alter) in alterations.into_iter().enumerate() {
            assert_eq!(change(alter).len(), 1, "{number}");
        }
    }
}
