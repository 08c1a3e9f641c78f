//! What primary says of the files, in one digest: whether they are still the same is known without reading primary.
//!
//! It stands in the index of primary's frames. Whoever could write a wrong one could as well write a wrong primary, whose
//! sizes and times are believed just so.

use sha2::{Digest as _, Sha256};

use crate::checksum::ChecksumType;

/// What an index says of all packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listing {
    /// See [`ListingHasher`].
    pub digest: [u8; 32],
    /// Whether it is known that no two packages have the same name, EVR and architecture.
    pub distinct: bool,
}

/// Makes the digest of a list of packages.
#[derive(Default)]
pub struct ListingHasher {
    hasher: Sha256,
    buffer: Vec<u8>,
}

impl ListingHasher {
    /// Adds the next package: location and base, size in bytes and mtime in seconds since 1970 of its file, and the type of
    /// its checksum.
    pub fn add(&mut self, href: &str, base: Option<&str>, size: u64, mtime: u64, kind: ChecksumType) {
        self.buffer.clear();
        for text in [href, base.unwrap_or_default(), kind.name()] {
            self.buffer.extend_from_slice(&(text.len() as u64).to_le_bytes());
            self.buffer.extend_from_slice(text.as_bytes());
        }
        self.buffer.extend_from_slice(&size.to_le_bytes());
        self.buffer.extend_from_slice(&mtime.to_le_bytes());
        self.hasher.update(&self.buffer);
    }

    /// The digest of all that was added.
    pub fn finish(self) -> [u8; 32] {
        self.hasher.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_counts() {
        let digest = |packages: &[(&str, Option<&str>, u64, u64, ChecksumType)]| {
            let mut hasher = ListingHasher::default();
            for (href, base, size, mtime, kind) in packages {
                hasher.add(href, *base, *size, *mtime, *kind);
            }
            hasher.finish()
        };
        let a = ("a", Some("b"), 1, 2, ChecksumType::Sha256);
        let others = [
            vec![],
            vec![a, a],
            vec![("ab", None, 1, 2, ChecksumType::Sha256)],
            vec![("a", None, 1, 2, ChecksumType::Sha256)],
            vec![("a", Some("b"), 2, 1, ChecksumType::Sha256)],
            vec![("a", Some("b"), 1, 2, ChecksumType::Sha512)],
        ];
        for other in others {
            assert_ne!(digest(&[a]), digest(&other), "{other:?}");
        }
        assert_eq!(digest(&[a]), digest(&[a]));
    }
}
