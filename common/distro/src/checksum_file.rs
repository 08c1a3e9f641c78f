//! Checksum files beside images (pungi 4.3.2 `phases/image_checksum.py`): digests, texts, and names by template.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::Digest;

use crate::layout::{UnsafeName, check_file_name};

/// Digest algorithm of `media_checksums`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say all")]
pub enum Algorithm {
    Md5,
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

impl Algorithm {
    const ALL: [Self; 6] = [Self::Md5, Self::Sha1, Self::Sha224, Self::Sha256, Self::Sha384, Self::Sha512];

    /// Returns the name as productmd and repomd.xml have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha224 => "sha224",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    fn upper(self) -> String {
        self.as_str().to_ascii_uppercase()
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is no known digest algorithm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{name}' is not a known checksum type; use md5, sha1, sha224, sha256, sha384 or sha512")]
pub struct UnknownAlgorithm {
    /// The refused name.
    pub name: String,
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;
    fn from_str(text: &str) -> Result<Self, UnknownAlgorithm> {
        Self::ALL
            .into_iter()
            .find(|known| known.as_str() == text)
            .ok_or_else(|| UnknownAlgorithm { name: text.chars().take(40).collect() })
    }
}

/// Computes several digests in one pass over the data.
pub struct MultiHasher {
    hashers: BTreeMap<Algorithm, State>,
    size: u64,
}

enum State {
    Md5(md5::Md5),
    Sha1(sha1::Sha1),
    Sha224(sha2::Sha224),
    Sha256(sha2::Sha256),
    Sha384(sha2::Sha384),
    Sha512(sha2::Sha512),
}

impl MultiHasher {
    /// Starts the given algorithms.
    pub fn new(algorithms: &[Algorithm]) -> Self {
        let start = |algorithm: &Algorithm| match algorithm {
            Algorithm::Md5 => State::Md5(md5::Md5::new()),
            Algorithm::Sha1 => State::Sha1(sha1::Sha1::new()),
            Algorithm::Sha224 => State::Sha224(sha2::Sha224::new()),
            Algorithm::Sha256 => State::Sha256(sha2::Sha256::new()),
            Algorithm::Sha384 => State::Sha384(sha2::Sha384::new()),
            Algorithm::Sha512 => State::Sha512(sha2::Sha512::new()),
        };
        Self { hashers: algorithms.iter().map(|algorithm| (*algorithm, start(algorithm))).collect(), size: 0 }
    }

    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        for state in self.hashers.values_mut() {
            match state {
                State::Md5(state) => state.update(bytes),
                State::Sha1(state) => state.update(bytes),
                State::Sha224(state) => state.update(bytes),
                State::Sha256(state) => state.update(bytes),
                State::Sha384(state) => state.update(bytes),
                State::Sha512(state) => state.update(bytes),
            }
        }
    }

    /// Returns the number of bytes and the digests in lowercase hexadecimal.
    pub fn finish(self) -> (u64, BTreeMap<Algorithm, String>) {
        let finish = |state| match state {
            State::Md5(state) => hex(&state.finalize()),
            State::Sha1(state) => hex(&state.finalize()),
            State::Sha224(state) => hex(&state.finalize()),
            State::Sha256(state) => hex(&state.finalize()),
            State::Sha384(state) => hex(&state.finalize()),
            State::Sha512(state) => hex(&state.finalize()),
        };
        let digests = self.hashers.into_iter().map(|(algorithm, state)| (algorithm, finish(state)));
        (self.size, digests.collect())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One file of a directory with its digests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HashedFile {
    /// File name, without directory.
    pub name: String,
    /// Size in bytes.
    pub size: u64,
    /// Lowercase hexadecimal digests.
    pub digests: BTreeMap<Algorithm, String>,
}

/// A checksum file to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChecksumFile {
    /// File name in the directory of the images.
    pub name: String,
    /// Content.
    pub text: String,
}

/// How many checksum files a directory gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// One per image and algorithm, and one per directory and algorithm.
    PerImage,
    /// `media_checksum_one_file`: a single CHECKSUM for the directory; takes exactly one algorithm.
    OneFile,
}

/// Why checksum files cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// One file with several algorithms, or none.
    #[error("media_checksum_one_file needs exactly one checksum type, media_checksums has {count}; keep one of them")]
    NotOneAlgorithm {
        /// Number of algorithms configured.
        count: usize,
    },
    /// A digest was not computed.
    #[error("no {algorithm} digest of '{file}'")]
    MissingDigest {
        /// Algorithm.
        algorithm: Algorithm,
        /// File.
        file: String,
    },
    /// An image or checksum file has a name that cannot be one.
    #[error(transparent)]
    Name(#[from] UnsafeName),
    /// The template of the base name is wrong.
    #[error("media_checksum_base_filename: {problem} in '{template}'; known keys are {}", KEYS.join(", "))]
    Template {
        /// What is wrong.
        problem: String,
        /// The template.
        template: String,
    },
}

/// Makes the checksum files of one directory. `base` is the expanded base name, empty for none.
///
/// # Errors
/// If the one-file style is asked for with other than one algorithm, a digest is missing, or a name is unsafe.
pub fn checksum_files(
    files: &[HashedFile],
    algorithms: &[Algorithm],
    style: Style,
    base: &str,
) -> Result<Vec<ChecksumFile>, Error> {
    let mut sorted: Vec<&HashedFile> = files.iter().collect();
    sorted.sort_by(|left, right| left.name.cmp(&right.name));
    let prefix = if base.is_empty() { String::new() } else { format!("{base}-") };
    if style == Style::OneFile {
        let [algorithm] = algorithms else {
            return Err(Error::NotOneAlgorithm { count: algorithms.len() });
        };
        return Ok(vec![file(format!("{prefix}CHECKSUM"), &sorted, *algorithm)?]);
    }
    let mut made = Vec::new();
    for algorithm in algorithms {
        for image in &sorted {
            made.push(file(format!("{}.{}SUM", image.name, algorithm.upper()), &[image], *algorithm)?);
        }
        made.push(file(format!("{prefix}{}SUM", algorithm.upper()), &sorted, *algorithm)?);
    }
    made.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(made)
}

fn file(name: String, files: &[&HashedFile], algorithm: Algorithm) -> Result<ChecksumFile, Error> {
    check_file_name(&name)?;
    let mut text = String::new();
    for file in files {
        check_file_name(&file.name)?;
        let digest =
            file.digests.get(&algorithm).ok_or_else(|| Error::MissingDigest { algorithm, file: file.name.clone() })?;
        text.push_str(&format!("# {}: {} bytes\n", file.name, file.size));
        text.push_str(&format!("{} ({}) = {digest}\n", algorithm.upper(), file.name));
    }
    Ok(ChecksumFile { name, text })
}

/// Keys of the base name template.
pub const KEYS: &[&str] = &[
    "variant",
    "arch",
    "dirname",
    "compose_id",
    "release_short",
    "version",
    "date",
    "respin",
    "type",
    "type_suffix",
    "label",
    "label_major_version",
];

/// Expands `media_checksum_base_filename`: both `%(key)s` and `{key}`; `%%`, `{{` and `}}` stand for themselves.
///
/// # Errors
/// If a key is not in `values`, a placeholder is not closed, or the result cannot be part of a file name.
pub fn base_name(template: &str, values: &BTreeMap<&str, String>) -> Result<String, Error> {
    let fail = |problem: String| Error::Template { problem, template: template.chars().take(200).collect() };
    let value = |key: &str| {
        let found = values.get(key).map(String::as_str);
        found.ok_or_else(|| fail(format!("unknown key '{}'", key.chars().take(40).collect::<String>())))
    };
    let mut out = String::new();
    let mut rest = template;
    while let Some(at) = rest.find(['%', '{', '}']) {
        let (plain, special) = rest.split_at(at);
        out.push_str(plain);
        if let Some(double) = ["%%", "{{", "}}"].into_iter().find(|double| special.starts_with(double)) {
            out.push_str(&double[..1]);
            rest = &special[2..];
        } else if let Some(inner) = special.strip_prefix("%(") {
            let (key, after) = inner.split_once(")s").ok_or_else(|| fail("placeholder without ')s'".to_owned()))?;
            out.push_str(value(key)?);
            rest = after;
        } else if let Some(inner) = special.strip_prefix('{') {
            let (key, after) = inner.split_once('}').ok_or_else(|| fail("placeholder without '}'".to_owned()))?;
            out.push_str(value(key)?);
            rest = after;
        } else {
            return Err(fail("lone '%' or '}'".to_owned()));
        }
    }
    out.push_str(rest);
    if !out.is_empty() {
        check_file_name(&out)?;
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
