//! Job kinds and the names that people use for jobs.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// What a job does. The text form is the one of `--only`, logs and JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobKind {
    /// Reads one source's packages: sets, universes and records.
    Pkgset,
    /// Chooses the packages of one variant and arch.
    Solve,
    /// Divides the choices of a top-level variant and its nested variants, for one arch.
    Trim,
    /// Places packages in the tree (arch `src`: source packages of all arches).
    Link,
    /// Writes the metadata of the binary repository (arch `src`: of the source repository).
    Createrepo,
    /// Writes the metadata of the debug repository.
    CreaterepoDebug,
    /// Copies extra files into a tree.
    ExtraFiles,
    /// Writes .treeinfo, .discinfo and media.repo.
    TreeInfo,
    /// Looks for unresolved dependencies in one repository.
    Repoclosure,
    /// Hashes images and extra files.
    Checksum,
    /// Writes the compose's productmd metadata.
    Metadata,
}

impl JobKind {
    /// All kinds, in the order in which a compose meets them.
    pub const ALL: [Self; 11] = [
        Self::Pkgset,
        Self::Solve,
        Self::Trim,
        Self::Link,
        Self::Createrepo,
        Self::CreaterepoDebug,
        Self::ExtraFiles,
        Self::TreeInfo,
        Self::Repoclosure,
        Self::Checksum,
        Self::Metadata,
    ];

    /// The name in texts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pkgset => "pkgset",
            Self::Solve => "solve",
            Self::Trim => "trim",
            Self::Link => "link",
            Self::Createrepo => "createrepo",
            Self::CreaterepoDebug => "createrepo-debug",
            Self::ExtraFiles => "extra-files",
            Self::TreeInfo => "tree-info",
            Self::Repoclosure => "repoclosure",
            Self::Checksum => "checksum",
            Self::Metadata => "metadata",
        }
    }

    /// Version of the kind's parameters and outputs: part of the job key, and of what a worker says it can run
    /// (`createrepo@2`). Raise it when the same spec would give other bytes.
    pub fn version(self) -> u32 {
        match self {
            // 2: metadata in frames. 3: databases, other cuts and a digest in primary's index. 4: a smaller hash table.
            Self::Createrepo | Self::CreaterepoDebug => 4,
            Self::Pkgset
            | Self::Solve
            | Self::Trim
            | Self::Link
            | Self::ExtraFiles
            | Self::TreeInfo
            | Self::Repoclosure
            | Self::Checksum
            | Self::Metadata => 1,
        }
    }

    /// `kind@version`, as workers announce it.
    pub fn capability(self) -> String {
        format!("{}@{}", self.as_str(), self.version())
    }
}

impl fmt::Display for JobKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for JobKind {
    type Err = JobNameError;

    fn from_str(text: &str) -> Result<Self, JobNameError> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| JobNameError::Kind(text.to_owned()))
    }
}

/// Name of a job within its compose: `KIND[.VARIANT[.ARCH]]`, unique in a plan.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobName {
    /// What the job does.
    pub kind: JobKind,
    /// Variant uid; for `pkgset` the source's name; empty for compose-wide jobs.
    pub variant: String,
    /// Tree arch, `src`, or empty.
    pub arch: String,
}

/// A text that is not a job name.
#[derive(Debug, thiserror::Error)]
pub enum JobNameError {
    /// The first part is no kind.
    #[error(
        "{0:?} is not a kind of job (kinds: pkgset solve trim link createrepo createrepo-debug extra-files tree-info repoclosure checksum metadata)"
    )]
    Kind(String),
    /// More than three parts.
    #[error("{0:?} is not a job name (KIND[.VARIANT[.ARCH]])")]
    Parts(String),
    /// Slashes or control characters, which no variant, source or arch has, or too long to be a file name.
    #[error("{0:?} is not safe as a job name")]
    Unsafe(String),
}

impl JobName {
    /// Makes a name from its parts.
    pub fn new(kind: JobKind, variant: impl Into<String>, arch: impl Into<String>) -> Self {
        Self { kind, variant: variant.into(), arch: arch.into() }
    }

    /// Whether the name matches a pattern `KIND[.VARIANT[.ARCH]]` whose parts may hold `*` and `?`; missing parts
    /// match anything.
    pub fn matches(&self, pattern: &str) -> bool {
        let mut parts = pattern.splitn(3, '.');
        let names = [self.kind.as_str(), &self.variant, &self.arch];
        names.into_iter().all(|name| parts.next().is_none_or(|part| glob(part.as_bytes(), name.as_bytes())))
    }
}

/// Matches `*` and `?`; linear in pattern × text, no recursion.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&c) if c == b'?' || c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((star_p, star_t)) => {
                    star = Some((star_p, star_t + 1));
                    p = star_p + 1;
                    t = star_t + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())?;
        if !self.variant.is_empty() || !self.arch.is_empty() {
            write!(f, ".{}", self.variant)?;
        }
        if !self.arch.is_empty() {
            write!(f, ".{}", self.arch)?;
        }
        Ok(())
    }
}

/// Longest job name in bytes: what a file name may have.
const MAX_NAME: usize = 255;

impl FromStr for JobName {
    type Err = JobNameError;

    fn from_str(text: &str) -> Result<Self, JobNameError> {
        let mut parts = text.split('.');
        let kind = parts.next().unwrap_or_default().parse()?;
        let name = Self::new(kind, parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if parts.next().is_some() {
            return Err(JobNameError::Parts(text.chars().take(MAX_NAME).collect()));
        }
        if text.len() > MAX_NAME || text.contains(|letter: char| letter == '/' || letter.is_control()) {
            return Err(JobNameError::Unsafe(text.chars().take(MAX_NAME).collect()));
        }
        Ok(name)
    }
}

impl Serialize for JobName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for JobName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_patterns() {
        let name: JobName = "createrepo-debug.Server-optional.x86_64".parse().unwrap();
        assert_eq!(name.to_string(), "createrepo-debug.Server-optional.x86_64");
        for pattern in ["createrepo*", "*.Server*", "createrepo-debug.Server-optional.x86_64", "*.*.x86_6?", "*"] {
            assert!(name.matches(pattern), "{pattern}");
        }
        for pattern in ["createrepo", "createrepo.Server", "*.Server", "*.*.aarch64"] {
            assert!(!name.matches(pattern), "{pattern}");
        }
        assert_eq!("metadata".parse::<JobName>().unwrap().to_string(), "metadata");
        assert!("bogus.A.b".parse::<JobName>().is_err());
        assert!("link.A.b.c".parse::<JobName>().is_err());
    }

    #[test]
    fn kinds_have_distinct_texts() {
        for kind in JobKind::ALL {
            assert_eq!(kind.as_str().parse::<JobKind>().unwrap(), kind);
        }
    }
}
