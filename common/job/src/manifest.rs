//! Manifests: canonical lists of what a job made or read, and the package lists that flow from package set to
//! repository.

use prost::Message;

use crate::{Digest, LogicalPath, Root, scan};

/// Kind of one [`Entry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum EntryKind {
    /// Never written; refused on reading.
    Unspecified = 0,
    /// A generated file: the receiver hashes it again.
    File = 1,
    /// A directory, listed where it must exist though it is empty.
    Directory = 2,
    /// A symbolic link; `source` is its target text.
    Symlink = 3,
    /// A package placed by link or copy; `source` is the logical path it came from, and the receiver compares
    /// size and mtime by stat.
    Package = 4,
}

/// One line of a manifest.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Entry {
    /// Path relative to the output's root, `/` between parts.
    #[prost(string, tag = "1")]
    pub path: String,
    /// What it is.
    #[prost(enumeration = "EntryKind", tag = "2")]
    pub kind: i32,
    /// Bytes; 0 for directories and links.
    #[prost(uint64, tag = "3")]
    pub size: u64,
    /// Permission bits; 0 for links.
    #[prost(uint32, tag = "4")]
    pub mode: u32,
    /// SHA-256 of a [`EntryKind::File`].
    #[prost(bytes = "vec", tag = "5")]
    pub digest: Vec<u8>,
    /// Link target or source.
    #[prost(string, tag = "6")]
    pub source: String,
    /// Seconds since 1970, for packages only.
    #[prost(int64, tag = "7")]
    pub mtime: i64,
}

/// What an output tree holds, sorted by path without repetition.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Manifest {
    /// Lines.
    #[prost(message, repeated, tag = "1")]
    pub entries: Vec<Entry>,
}

/// Least bytes of a line: a path of one letter and a kind, and of a package: five texts of one letter (a checksum and a
/// path are longer).
const SHORTEST_ENTRY: usize = 5;
const SHORTEST_PACKAGE: usize = 15;

/// A manifest or list that is refused.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The bytes are no such message.
    #[error("cannot decode {what}")]
    Decode {
        /// What was expected.
        what: &'static str,
        /// Why not.
        #[source]
        source: prost::DecodeError,
    },
    /// There are lines too short to be of use: a message of two bytes would take a hundred in memory.
    #[error("{what} has an entry of {length} bytes at byte {offset}, the shortest has {least}")]
    Short {
        /// What was expected.
        what: &'static str,
        /// Where in the bytes.
        offset: usize,
        /// Length found.
        length: usize,
        /// Least length.
        least: usize,
    },
    /// A path is unsafe.
    #[error(transparent)]
    Path(#[from] crate::PathError),
    /// Lines are not sorted, or a path stands twice.
    #[error("manifest is not in canonical order at {0:?}")]
    Order(String),
    /// A line lacks what its kind needs.
    #[error("manifest entry {path:?}: {reason}")]
    Entry {
        /// Path of the line.
        path: String,
        /// What is wrong.
        reason: &'static str,
    },
}

impl Manifest {
    /// Makes a manifest of `entries` in any order.
    ///
    /// # Errors
    /// As [`Manifest::decode_checked`].
    pub fn new(mut entries: Vec<Entry>) -> Result<Self, ManifestError> {
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        let manifest = Self { entries };
        manifest.check()?;
        Ok(manifest)
    }

    /// Decodes and checks a manifest that somebody else wrote.
    ///
    /// # Errors
    /// When it is not a manifest, not canonical, names an unsafe path, or a path below a link or file of its own.
    pub fn decode_checked(bytes: &[u8]) -> Result<Self, ManifestError> {
        scan::entries(bytes, "manifest", SHORTEST_ENTRY)?;
        let manifest = Self::decode(bytes).map_err(|source| ManifestError::Decode { what: "manifest", source })?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), ManifestError> {
        let mut previous: Option<&str> = None;
        for entry in &self.entries {
            if previous.is_some_and(|previous| previous >= entry.path.as_str()) {
                return Err(ManifestError::Order(entry.path.clone()));
            }
            previous = Some(&entry.path);
            entry.check()?;
        }
        self.check_parents()
    }

    /// What is written below a link that the same manifest makes would be written where the link leads.
    fn check_parents(&self) -> Result<(), ManifestError> {
        // Neighbours share their directory: each is looked up once.
        let mut seen = "";
        for entry in &self.entries {
            let mut path = entry.path.as_str();
            while let Some((parent, _)) = path.rsplit_once('/') {
                if parent == seen {
                    break;
                }
                if self.get(parent).is_some_and(|above| above.kind != i32::from(EntryKind::Directory)) {
                    let reason = "lies below an entry that is no directory";
                    return Err(ManifestError::Entry { path: entry.path.clone(), reason });
                }
                path = parent;
            }
            seen = entry.path.rsplit_once('/').map_or("", |(parent, _)| parent);
        }
        Ok(())
    }

    /// Canonical bytes and their digest.
    pub fn encode_canonical(&self) -> (Vec<u8>, Digest) {
        let bytes = self.encode_to_vec();
        let digest = Digest::of(&bytes);
        (bytes, digest)
    }

    /// The line of `path`.
    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.entries.binary_search_by(|entry| entry.path.as_str().cmp(path)).ok().map(|index| &self.entries[index])
    }
}

impl Entry {
    fn check(&self) -> Result<(), ManifestError> {
        let bad = |reason| Err(ManifestError::Entry { path: self.path.clone(), reason });
        if self.path.is_empty() {
            return bad("empty path");
        }
        crate::LogicalPath::new(crate::Root::Staging, self.path.as_str())?;
        match EntryKind::try_from(self.kind) {
            Ok(EntryKind::File) if self.digest.len() != 32 => bad("file without SHA-256"),
            Ok(EntryKind::Package) if self.source.is_empty() => bad("package without source"),
            Ok(EntryKind::Symlink) if self.source.is_empty() => bad("link without target"),
            Ok(EntryKind::Unspecified) | Err(_) => bad("unknown kind"),
            Ok(EntryKind::File | EntryKind::Directory | EntryKind::Symlink | EntryKind::Package) => Ok(()),
        }
    }
}

/// One RPM of a package set or of a repository.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PackageEntry {
    /// Package name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Epoch, where the header has one.
    #[prost(uint32, optional, tag = "2")]
    pub epoch: Option<u32>,
    /// Version.
    #[prost(string, tag = "3")]
    pub version: String,
    /// Release.
    #[prost(string, tag = "4")]
    pub release: String,
    /// RPM architecture; `src` or `nosrc` for sources.
    #[prost(string, tag = "5")]
    pub arch: String,
    /// Logical path of the file (`file:/…`).
    #[prost(string, tag = "6")]
    pub path: String,
    /// File size in bytes.
    #[prost(uint64, tag = "7")]
    pub size: u64,
    /// File mtime in whole seconds since 1970.
    #[prost(int64, tag = "8")]
    pub mtime: i64,
    /// Type of `checksum`, as createrepo names it (`sha256`).
    #[prost(string, tag = "9")]
    pub checksum_type: String,
    /// Checksum of the whole file, lower-case hex.
    #[prost(string, tag = "10")]
    pub checksum: String,
    /// Key id of the signature, 8 lower-case hex digits; empty when unsigned.
    #[prost(string, tag = "11")]
    pub signing_key: String,
    /// File name of the source package; empty for sources.
    #[prost(string, tag = "12")]
    pub source_rpm: String,
    /// Which package set it is from: index into the compose's list of sources.
    #[prost(uint32, tag = "13")]
    pub source: u32,
    /// Record number within that package set's `records` file.
    #[prost(uint32, tag = "14")]
    pub record: u32,
    /// Why gather chose it (`input`, `multilib`, …), sorted; empty in package sets.
    #[prost(string, repeated, tag = "15")]
    pub flags: Vec<String>,
}

impl PackageEntry {
    /// The file's name in the tree: `name-version-release.arch.rpm`. The header decides, not the name the file came
    /// with.
    pub fn file_name(&self) -> String {
        format!("{}-{}-{}.{}.rpm", self.name, self.version, self.release, self.arch)
    }

    /// `name-epoch:version-release.arch`, the epoch always written (productmd's rpms.json).
    pub fn nevra(&self) -> String {
        format!("{}-{}:{}-{}.{}", self.name, self.epoch.unwrap_or(0), self.version, self.release, self.arch)
    }

    /// Whether this is a source package.
    pub fn is_source(&self) -> bool {
        self.arch == "src" || self.arch == "nosrc"
    }
}

/// A list of packages: a package set of one arch, or the content of one repository.
///
/// Order is by (name, EVR text, arch, path); [`PackageList::new`] sorts.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PackageList {
    /// Packages.
    #[prost(message, repeated, tag = "1")]
    pub packages: Vec<PackageEntry>,
}

impl PackageList {
    /// Makes a list in canonical order.
    pub fn new(mut packages: Vec<PackageEntry>) -> Self {
        packages.sort_by(|a, b| a.sort_key().cmp(&b.sort_key()));
        Self { packages }
    }

    /// Decodes and checks a list.
    ///
    /// # Errors
    /// When the bytes are no such list, a name or version cannot be part of a file name, or a path is unsafe.
    pub fn decode_checked(bytes: &[u8]) -> Result<Self, ManifestError> {
        const WHAT: &str = "package list";
        scan::entries(bytes, WHAT, SHORTEST_PACKAGE)?;
        let list = Self::decode(bytes).map_err(|source| ManifestError::Decode { what: WHAT, source })?;
        for package in &list.packages {
            package.check()?;
        }
        Ok(list)
    }

    /// Canonical bytes and their digest.
    pub fn encode_canonical(&self) -> (Vec<u8>, Digest) {
        let bytes = self.encode_to_vec();
        let digest = Digest::of(&bytes);
        (bytes, digest)
    }
}

impl PackageEntry {
    fn check(&self) -> Result<(), ManifestError> {
        let bad = |reason| Err(ManifestError::Entry { path: self.path.clone(), reason });
        for part in [&self.name, &self.version, &self.release, &self.arch] {
            if part.is_empty() || part.starts_with("..") || part.contains(|c: char| c == '/' || c.is_control()) {
                return bad("name, version, release or arch cannot be part of a file name");
            }
        }
        if self.source_rpm.contains(|c: char| c == '/' || c.is_control()) {
            return bad("name of the source package is not a file name");
        }
        if self.path.parse::<LogicalPath>()?.root() == Root::Staging {
            return bad("path lies in a staging directory");
        }
        Ok(())
    }

    fn sort_key(&self) -> (&str, u32, &str, &str, &str, &str) {
        (&self.name, self.epoch.unwrap_or(0), &self.version, &self.release, &self.arch, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> Entry {
        Entry { path: path.into(), kind: EntryKind::File.into(), digest: vec![0; 32], ..Entry::default() }
    }

    #[test]
    fn order_does_not_matter_to_the_maker_but_to_the_reader() {
        let one = Manifest::new(vec![file("b"), file("a")]).unwrap();
        let two = Manifest::new(vec![file("a"), file("b")]).unwrap();
        assert_eq!(one.encode_canonical(), two.encode_canonical());
        let bytes = Manifest { entries: vec![file("b"), file("a")] }.encode_to_vec();
        assert!(matches!(Manifest::decode_checked(&bytes), Err(ManifestError::Order(_))));
        assert!(Manifest::new(vec![file("a"), file("a")]).is_err());
        assert!(one.get("b").is_some() && one.get("c").is_none());
    }

    #[test]
    fn hostile_entries_are_refused() {
        for path in ["", "../a", "/a", "a/./b", "a\nb"] {
            assert!(Manifest::new(vec![file(path)]).is_err(), "{path:?}");
        }
        assert!(Manifest::new(vec![Entry { digest: vec![], ..file("a") }]).is_err());
        assert!(Manifest::new(vec![Entry { kind: 99, ..file("a") }]).is_err());
        assert!(Manifest::decode_checked(b"\xff\xff").is_err());
    }
}
