//! Logical paths: what messages and manifests name, and what each host maps to its own directories.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// What a logical path is relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Root {
    /// The published tree, `COMPOSE/compose/`.
    Compose,
    /// The compose's own directory, with `work/`, `logs/`, `STATUS`.
    Top,
    /// The attempt's staging directory.
    Staging,
    /// A blob of the compose, named by digest.
    Blob,
    /// An absolute path as the configuration has it (package sources); hosts may map prefixes.
    File,
}

impl Root {
    fn as_str(self) -> &'static str {
        match self {
            Self::Compose => "compose",
            Self::Top => "top",
            Self::Staging => "staging",
            Self::Blob => "blob",
            Self::File => "file",
        }
    }
}

/// A path in a message: `compose:Server/x86_64/os`, `file:/srv/rpms/bash.rpm`.
///
/// Checked when made: relative (but for `file:`), without empty, `.` or `..` parts, NUL or control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogicalPath {
    root: Root,
    rest: String,
}

/// A logical path that is refused.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    /// No known root before the colon.
    #[error("{0:?} names no known root (compose:, top:, staging:, blob:, file:)")]
    Root(String),
    /// The path is empty, has a part that leads elsewhere, or a character no path of ours has.
    #[error("unsafe path {path:?}: {reason}")]
    Unsafe {
        /// The path.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The context has no such directory.
    #[error("no {0}: directory in this context")]
    Unmapped(&'static str),
}

impl LogicalPath {
    /// Makes a path below `root`; an empty `rest` is the root itself.
    ///
    /// # Errors
    /// [`PathError::Unsafe`].
    pub fn new(root: Root, rest: impl Into<String>) -> Result<Self, PathError> {
        let rest = rest.into();
        check(root, &rest).map_err(|reason| PathError::Unsafe { path: rest.clone(), reason })?;
        Ok(Self { root, rest })
    }

    /// The root.
    pub fn root(&self) -> Root {
        self.root
    }

    /// The part after the colon.
    pub fn rest(&self) -> &str {
        &self.rest
    }

    /// Returns this path with `below` appended.
    ///
    /// # Errors
    /// [`PathError::Unsafe`].
    pub fn join(&self, below: &str) -> Result<Self, PathError> {
        let rest = if self.rest.is_empty() { below.to_owned() } else { format!("{}/{below}", self.rest) };
        Self::new(self.root, rest)
    }
}

fn check(root: Root, rest: &str) -> Result<(), &'static str> {
    if rest.len() > 4096 {
        return Err("longer than 4096 bytes");
    }
    if rest.chars().any(char::is_control) {
        return Err("control character");
    }
    let relative = match root {
        Root::File => rest.strip_prefix('/').ok_or("file: needs an absolute path")?,
        Root::Compose | Root::Top | Root::Staging | Root::Blob => rest,
    };
    if relative.is_empty() {
        return Ok(());
    }
    for part in relative.split('/') {
        match part {
            "" => return Err("empty part"),
            "." | ".." => return Err("dot part"),
            _ if part.len() > 255 => return Err("part longer than 255 bytes"),
            _ => {}
        }
    }
    Ok(())
}

impl fmt::Display for LogicalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.root.as_str(), self.rest)
    }
}

impl FromStr for LogicalPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let (root, rest) = text.split_once(':').ok_or_else(|| PathError::Root(text.to_owned()))?;
        let root = [Root::Compose, Root::Top, Root::Staging, Root::Blob, Root::File]
            .into_iter()
            .find(|candidate| candidate.as_str() == root)
            .ok_or_else(|| PathError::Root(text.to_owned()))?;
        Self::new(root, rest)
    }
}

impl Serialize for LogicalPath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LogicalPath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Where logical paths are on this host, for one compose (and one attempt).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Volumes {
    /// The compose's directory.
    pub top: PathBuf,
    /// The attempt's staging directory, where there is one.
    pub staging: Option<PathBuf>,
    /// Prefixes of `file:` paths that lie elsewhere on this host: (as the configuration has it, here). First match.
    pub maps: Vec<(PathBuf, PathBuf)>,
    /// The directory of package records that all composes share, if there is one. It need not exist.
    #[serde(default)]
    pub records: Option<PathBuf>,
}

impl Volumes {
    /// Volumes of a compose in `top`, with no staging directory and no mapping.
    pub fn new(top: impl Into<PathBuf>) -> Self {
        Self { top: top.into(), staging: None, maps: Vec::new(), records: None }
    }

    /// Returns the path on this host.
    ///
    /// # Errors
    /// [`PathError::Unmapped`] for `staging:` outside an attempt.
    pub fn resolve(&self, path: &LogicalPath) -> Result<PathBuf, PathError> {
        let below = |base: &Path| if path.rest.is_empty() { base.to_owned() } else { base.join(&path.rest) };
        Ok(match path.root {
            Root::Compose => below(&self.top.join("compose")),
            Root::Top => below(&self.top),
            Root::Staging => below(self.staging.as_deref().ok_or(PathError::Unmapped("staging"))?),
            Root::Blob => below(&self.top.join(Self::BLOBS)),
            Root::File => self.map_file(Path::new(&path.rest)),
        })
    }

    /// Where this host has the file that the configuration calls `path`.
    pub fn map_file(&self, path: &Path) -> PathBuf {
        for (theirs, ours) in &self.maps {
            if let Ok(below) = path.strip_prefix(theirs) {
                return if below.as_os_str().is_empty() { ours.clone() } else { ours.join(below) };
            }
        }
        path.to_owned()
    }

    /// Where package records are if nothing else is said: beside the compose's directory, so that all composes of a
    /// target directory share them. The name is none that a compose may have.
    #[must_use]
    pub fn records_beside(&self) -> Option<PathBuf> {
        Some(self.top.parent()?.join(".tutti-records"))
    }

    /// The blob directory, below the compose's directory.
    pub const BLOBS: &'static str = "work/tutti/blobs";
    /// The directory of staging directories, below the compose's directory.
    pub const STAGING: &'static str = "work/tutti/staging";
    /// Where an attempt has what a later one can go on from, below its staging directory. With anything in it, the staging
    /// directory of a failed attempt stays until the job is committed.
    pub const CHECKPOINTS: &'static str = "checkpoints";

    /// Path of a blob on this host: two hex digits fan out to 256 directories.
    pub fn blob(&self, digest: &crate::Digest) -> PathBuf {
        let hex = digest.to_string();
        self.top.join(Self::BLOBS).join(&hex[..2]).join(hex)
    }

    /// Staging directory of an attempt on this host.
    pub fn staging_of(&self, fence: &crate::Fence) -> PathBuf {
        self.top.join(Self::STAGING).join(fence.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_paths_are_refused() {
        for text in
            ["compose:/etc", "compose:a/../b", "compose:a//b", "compose:./a", "file:etc", "top:a\0b", "other:a", "x"]
        {
            assert!(text.parse::<LogicalPath>().is_err(), "{text:?}");
        }
        let long = format!("top:{}", "a".repeat(256));
        assert!(long.parse::<LogicalPath>().is_err());
    }

    #[test]
    fn hosts_map_prefixes() {
        let mut volumes = Volumes::new("/t/C-1");
        volumes.maps.push(("/mnt/koji".into(), "/nfs/koji".into()));
        let resolve = |text: &str| volumes.resolve(&text.parse().unwrap()).unwrap();
        assert_eq!(resolve("compose:Server/x86_64"), Path::new("/t/C-1/compose/Server/x86_64"));
        assert_eq!(resolve("file:/mnt/koji/packages/a.rpm"), Path::new("/nfs/koji/packages/a.rpm"));
        assert_eq!(resolve("file:/mnt/kojiother/a.rpm"), Path::new("/mnt/kojiother/a.rpm"));
        assert!(volumes.resolve(&"staging:x".parse().unwrap()).is_err());
    }
}
