//! Where metadata files are cut into frames.
//!
//! A zstd file may be made of several frames and a gzip file of several members; readers take either for one file. In
//! the layout [`Layout::Frames`] the head is a frame, then come runs of whole packages, then the end.
//!
//! **Invariant.** The cuts are a function of the locations in the order of the file, and of nothing else: not of an
//! earlier file, and not of versions. A package begins a frame when its name and architecture have the lowest hash among
//! its neighbours, half a usual frame on each side, the first of equal ones. So a package of another version makes its own
//! frame another. One that is added or removed makes one or two others, three at most: the cuts on both sides of it may
//! come or go. Frames are about as long as each other, which matters: if a hash alone decided, most packages would be in
//! frames of twice the usual length, and a change would cost twice as much.
//!
//! Where this leaves a run that is too long, as with many versions of one package, it is cut at the package whose location
//! has the smallest hash, and so on: such cuts are nearly as local as the others.
//!
//! How long frames are was chosen by measurement: docs/createrepo-frames.md.

pub(crate) mod index;
pub(crate) mod listing;

use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::compression::{Compression, ZSTD_FRAME_HASH_LOG, ZSTD_LEVEL};
use crate::fragment::MetadataFile;

/// How a compressed metadata file is laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// Independent frames with an index of them at the end, where the format can have several: zstd and gzip.
    #[default]
    Frames,
    /// One stream.
    OneStream,
}

/// A layout's name is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown layout {0:?} (hint: frames or one-stream)")]
pub struct UnknownLayout(String);

impl FromStr for Layout {
    type Err = UnknownLayout;

    fn from_str(text: &str) -> Result<Self, UnknownLayout> {
        match text {
            "frames" => Ok(Self::Frames),
            "one-stream" => Ok(Self::OneStream),
            other => Err(UnknownLayout(other.chars().take(32).collect())),
        }
    }
}

/// A compressed frame and what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFrame {
    /// The frame.
    pub packed: Vec<u8>,
    /// Its text.
    pub text: Vec<u8>,
}

/// What makes frames of a format. Frames of another maker may be other frames of the same text.
pub(crate) fn maker(compression: Compression, gzip_level: u32) -> String {
    match compression {
        Compression::Gzip => format!("{GZIP_MAKER} {gzip_level}"),
        Compression::Zstd => {
            format!("zstd {} {ZSTD_LEVEL} {ZSTD_FRAME_HASH_LOG}", zstd::zstd_safe::version_number())
        }
        other => other.to_string(),
    }
}

/// Changes with what zlib-rs makes of a text.
const GZIP_MAKER: &str = "zlib-rs 1";

/// Longest frame, in multiples of the usual length.
const LONGEST: usize = 8;

/// Packages of a usual frame.
pub(crate) const fn usual_packages(file: MetadataFile) -> usize {
    match file {
        MetadataFile::Primary => 112,
        MetadataFile::Filelists | MetadataFile::FilelistsExt => 16,
        MetadataFile::Other => 128,
    }
}

/// What decides on cuts: the locations, in the order of the file, and a hash of each name.
pub(crate) struct Cuts<'a> {
    places: Vec<(u64, &'a str)>,
}

impl<'a> Cuts<'a> {
    pub(crate) fn new(locations: impl Iterator<Item = &'a str>) -> Self {
        Self { places: locations.map(|location| (name_hash(location), location)).collect() }
    }

    /// The first package of each frame of a file, in ascending order.
    pub(crate) fn starts(&self, file: MetadataFile) -> Vec<usize> {
        let (usual, places) = (usual_packages(file), &self.places);
        let radius = usual / 2;
        let is_lowest = |at: usize| {
            let (own, end) = (places[at].0, places.len().min(at + radius + 1));
            let before = &places[at.saturating_sub(radius)..at];
            before.iter().rev().all(|other| other.0 > own) && places[at..end].iter().all(|other| other.0 >= own)
        };
        let mut starts: Vec<usize> = (0..places.len()).filter(|at| *at == 0 || is_lowest(*at)).collect();
        let ends: Vec<usize> = starts.iter().skip(1).copied().chain([places.len()]).collect();
        let mut open: Vec<(usize, usize)> = starts.iter().copied().zip(ends).collect();
        while let Some((start, end)) = open.pop() {
            if end - start <= usual * LONGEST {
                continue;
            }
            // Nearest to the middle where hashes are equal, as those of a location that stands there many times.
            let middle = start + (end - start) / 2;
            let rank = |at: &usize| (hash(&[places[*at].1]), at.abs_diff(middle));
            let Some(cut) = (start + 1..end).min_by_key(rank) else { continue };
            starts.push(cut);
            open.extend([(start, cut), (cut, end)]);
        }
        starts.sort_unstable();
        starts
    }
}

/// Hash of the name and architecture in a location `…/NAME-VERSION-RELEASE.ARCH.rpm`; of the whole file name, if it is
/// none.
fn name_hash(location: &str) -> u64 {
    let file = location.rsplit('/').next().unwrap_or(location);
    let stem = file.strip_suffix(".rpm").unwrap_or(file);
    let parts = || {
        let (nevr, arch) = stem.rsplit_once('.')?;
        let (name_version, _) = nevr.rsplit_once('-')?;
        let (name, _) = name_version.rsplit_once('-')?;
        Some((name, arch))
    };
    match parts() {
        Some((name, arch)) => hash(&[name, ".", arch]),
        None => hash(&[stem]),
    }
}

fn hash(parts: &[&str]) -> u64 {
    let mut hasher = Sha256::new();
    parts.iter().for_each(|part| hasher.update(part));
    let digest: [u8; 32] = hasher.finalize().into();
    digest.iter().take(8).fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn frames(locations: &[String], file: MetadataFile) -> BTreeSet<Vec<String>> {
        let starts = Cuts::new(locations.iter().map(String::as_str)).starts(file);
        let ends = starts.iter().skip(1).copied().chain([locations.len()]);
        starts.iter().zip(ends).map(|(start, end)| locations[*start..end].to_vec()).collect()
    }

    #[test]
    fn names_are_found_in_locations() {
        let same = ["bash-5.2-1.fc99.x86_64.rpm", "Packages/b/bash-5.3-2.x86_64.rpm", "./bash-1:6-1.x86_64.rpm"];
        assert!(same.iter().all(|location| name_hash(location) == name_hash(same[0])));
        for other in ["bash-5.2-1.fc99.i686.rpm", "bash-libs-5.2-1.x86_64.rpm", "bash.rpm", "x86_64.rpm", "", "a-.rpm"]
        {
            assert_ne!(name_hash(other), name_hash(same[0]), "{other}");
        }
    }

    #[test]
    fn the_hash_is_fixed() {
        assert_eq!(hash(&["a", "bc"]), 0xba78_16bf_8f01_cfea);
    }

    #[test]
    fn no_frame_is_too_long_and_most_are_usual() {
        let locations: Vec<String> = (0..20_000).map(|n| format!("p/n{n:05}-1-1.noarch.rpm")).collect();
        for file in [MetadataFile::Primary, MetadataFile::Filelists, MetadataFile::Other] {
            let found = frames(&locations, file);
            assert!(found.iter().all(|frame| frame.len() <= usual_packages(file) * LONGEST));
            let expected = locations.len() / usual_packages(file);
            assert!((expected / 2..expected * 2).contains(&found.len()), "{} for {expected}", found.len());
        }
        // Many versions of one name, and one location many times: only the longest frame bounds them.
        for locations in [
            (0..5000).map(|n| format!("kernel-6-{n}.x86_64.rpm")).collect::<Vec<_>>(),
            vec!["kernel-6-1.x86_64.rpm".to_owned(); 5000],
        ] {
            let starts = Cuts::new(locations.iter().map(String::as_str)).starts(MetadataFile::Filelists);
            let longest = starts.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
            assert!(longest <= usual_packages(MetadataFile::Filelists) * LONGEST && starts.len() < 200);
        }
    }

    fn made(old: &[String], new: &[String], file: MetadataFile) -> usize {
        frames(new, file).difference(&frames(old, file)).count()
    }

    #[test]
    fn one_change_makes_few_frames() {
        let old: Vec<String> = (0..1500).map(|n| format!("n{n:05}-1-1.noarch.rpm")).collect();
        for file in [MetadataFile::Primary, MetadataFile::Filelists] {
            let mut sum = 0;
            for at in (0..old.len()).step_by(29) {
                let mut new = old.clone();
                new[at] = format!("n{at:05}-1-2.noarch.rpm");
                assert_eq!(made(&old, &new, file), 1, "a new version of {at}");
                new.remove(at);
                let (less, more) = (made(&old, &new, file), made(&new, &old, file));
                assert!(less <= 3 && more <= 3, "{less} without {at}, {more} with it");
                sum += less + more;
            }
            assert!(sum < 125, "{sum} frames for 104 packages added or removed");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        /// A package that is replaced makes one frame, one that is added or removed at most three.
        #[test]
        fn changes_are_local(
            changes in prop::collection::vec((0..6000usize, 0..3u8), 1..20),
            few_names in any::<bool>(),
        ) {
            let name = |n: usize| match few_names {
                true => format!("n{:02}-1-{n:05}.noarch.rpm", n / 1000),
                false => format!("n{n:05}-1-1.noarch.rpm"),
            };
            let old: BTreeSet<String> = (0..6000).step_by(2).map(name).collect();
            let mut new = old.clone();
            let mut most = 0;
            for (at, kind) in &changes {
                match kind {
                    0 => drop(new.insert(name(at | 1))),
                    1 => drop(new.remove(&name(at & !1))),
                    _ => if new.remove(&name(at & !1)) {
                        new.insert(name(at & !1).replace(".noarch", "a.noarch"));
                    },
                }
                // With one name all over, cuts are at locations, which a new version has another of.
                most += if few_names { 4 } else if *kind == 2 { 1 } else { 3 };
            }
            let (old, new): (Vec<_>, Vec<_>) = (old.into_iter().collect(), new.into_iter().collect());
            for file in [MetadataFile::Primary, MetadataFile::Filelists, MetadataFile::Other] {
                let made = made(&old, &new, file);
                prop_assert!(made <= most, "{made} for {changes:?}");
            }
        }
    }
}
