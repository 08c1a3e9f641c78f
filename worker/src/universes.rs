//! Universes that composes share: what one has compiled of a set of packages, no other compiles again.
//!
//! They lie in the directory of package records as `universes/KEY.DIGEST`: KEY is that of the set, DIGEST the content's. Each
//! is a hard link to the compose's own file, so it takes no room of its own while that exists, and `tutti records gc` removes it
//! once it is the last link. Where links cannot be made none are kept. The job cannot write there: it leaves word in
//! `checkpoints/universes`, a line for each, and its worker makes the links.
//!
//! Readers copy a universe and compare its digest; one that is damaged is replaced by who compiles it again.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use tutti_job::{Digest, Hasher, Volumes};

/// What changes with whatever makes another universe of the same packages: reader of headers, form of facts, compiler. With
/// the number of its form ([`tutti_depsolve::universe::FORMAT`]).
const FORM: &str = concat!("universe 1 of tutti ", env!("CARGO_PKG_VERSION"), " in form ");
/// Below the directory of package records.
const DIRECTORY: &str = "universes";
/// Name of the file in which a job leaves word, among its checkpoints.
pub(crate) const LEFT: &str = "universes";
/// Longest such file that is read, in bytes.
const MAX_LEFT: u64 = 64 << 10;
/// Digits of a key.
const KEY: usize = 32;

/// A universe that a job leaves for others.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) key: String,
    pub(crate) digest: Digest,
    pub(crate) arch: String,
}

/// The key of the universe of an arch and a package list, whose digest this is: the list has the checksum of each package.
pub(crate) fn key(arch: &str, set: &Digest) -> String {
    let mut key = Hasher::new();
    let form = tutti_depsolve::universe::FORMAT.to_string();
    for part in [FORM.as_bytes(), form.as_bytes(), b"\n", arch.as_bytes(), b"\n", set.as_bytes()] {
        key.update(part);
    }
    let mut text = key.finish().0.to_string();
    text.truncate(KEY);
    text
}

/// What a job leaves.
pub(crate) fn lines(kept: &[Kept]) -> String {
    kept.iter().map(|Kept { key, digest, arch }| format!("{key} {digest} {arch}\n")).collect()
}

fn parse(text: &str) -> Option<Vec<Kept>> {
    text.lines()
        .map(|line| {
            let mut words = line.splitn(3, ' ');
            let (key, digest, arch) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
            let is_key = key.len() == KEY && key.bytes().all(|byte| byte.is_ascii_hexdigit());
            let is_arch = !arch.is_empty() && arch.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            (is_key && is_arch).then(|| Kept { key: key.to_owned(), digest, arch: arch.to_owned() })
        })
        .collect()
}

/// Universes of this key, with the digests that they must have.
pub(crate) fn find(records: &Path, key: &str) -> Vec<(PathBuf, Digest)> {
    let items = fs::read_dir(records.join(DIRECTORY)).into_iter().flatten().flatten();
    let mut found: Vec<(PathBuf, Digest)> = items
        .filter_map(|item| {
            let name = item.file_name();
            let digest = name.to_str()?.strip_prefix(key)?.strip_prefix('.')?.parse().ok()?;
            Some((item.path(), digest))
        })
        .collect();
    found.sort();
    found
}

/// Links what a finished job left.
pub(crate) fn keep(volumes: &Volumes) -> Result<(), String> {
    let (Some(records), Some(staging)) = (&volumes.records, &volumes.staging) else { return Ok(()) };
    let left = staging.join(Volumes::CHECKPOINTS).join(LEFT);
    let mut text = String::new();
    match tutti_files::open_regular(&left).and_then(|file| file.take(MAX_LEFT).read_to_string(&mut text)) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("{}: {error}", left.display())),
    }
    let kept = parse(&text).ok_or_else(|| format!("{} is no list of universes", left.display()))?;
    let directory = records.join(DIRECTORY);
    let failed = |error: io::Error| format!("{}: {error}", directory.display());
    tutti_files::ensure_dir(records).and_then(|_| tutti_files::ensure_dir(&directory)).map_err(failed)?;
    for Kept { key, digest, arch } in kept {
        let (from, to) = (staging.join("out/universe").join(arch), directory.join(format!("{key}.{digest}")));
        // The job could have put a link anywhere in its place, or on the way there.
        let is_own = fs::canonicalize(staging).and_then(|staging| Ok(fs::canonicalize(&from)?.starts_with(staging)));
        let is_file = fs::symlink_metadata(&from).is_ok_and(|found| found.is_file());
        if !(is_file && is_own.is_ok_and(|is_own| is_own)) {
            return Err(format!("{} is no file of the job", from.display()));
        }
        // Whole, it would not have been compiled again. Without it for a moment, another job compiles its own.
        tutti_files::remove_file(&to).map_err(failed)?;
        match tutti_files::hard_link(&from, &to) {
            // Another compose was as fast.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) if tutti_files::trouble(&error).is_some() => return Err(failed(error)),
            // Another file system, or one without hard links: the next compose compiles it, too.
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_comes_back_and_names_nothing_else() {
        let kept: Vec<Kept> = ["x86_64", "s390x"]
            .map(|arch| Kept {
                key: key(arch, &Digest::of(b"set")),
                digest: Digest::of(arch.as_bytes()),
                arch: arch.into(),
            })
            .into();
        assert_ne!(kept[0].key, kept[1].key);
        assert_ne!(kept[0].key, key("x86_64", &Digest::of(b"another set")));
        let text = lines(&kept);
        assert_eq!(parse(&text).unwrap(), kept);
        for (from, to) in [("x86_64", ".."), ("x86_64", "a/b"), ("x86_64", ""), (&kept[0].key[..8], "../../..")] {
            assert_eq!(parse(&text.replacen(from, to, 1)), None, "{to}");
        }
    }

    #[test]
    fn x5_links_of_a_job_are_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let staging = directory.path().join("staging");
        let mut volumes = Volumes::new(directory.path().join("compose"));
        (volumes.records, volumes.staging) = (Some(directory.path().join("records")), Some(staging.clone()));
        for made in ["staging/checkpoints", "staging/out/universe", "elsewhere"] {
            fs::create_dir_all(directory.path().join(made)).unwrap();
        }
        let secret = directory.path().join("elsewhere/x86_64");
        fs::write(&secret, "secret").unwrap();
        let kept = [Kept { key: key("x86_64", &Digest::of(b"set")), digest: Digest::of(b"u"), arch: "x86_64".into() }];
        fs::write(staging.join("checkpoints").join(LEFT), lines(&kept)).unwrap();
        let count = || fs::read_dir(directory.path().join("records/universes")).map_or(0, Iterator::count);
        let (universe, file) = (staging.join("out/universe"), staging.join("out/universe/x86_64"));
        std::os::unix::fs::symlink(&secret, &file).unwrap();
        assert!(keep(&volumes).unwrap_err().contains("is no file of the job"));
        fs::remove_dir_all(&universe).unwrap();
        std::os::unix::fs::symlink(directory.path().join("elsewhere"), &universe).unwrap();
        assert!(keep(&volumes).unwrap_err().contains("is no file of the job"));
        assert_eq!(count(), 0);
        fs::remove_file(&universe).unwrap();
        fs::create_dir(&universe).unwrap();
        fs::write(&file, "u").unwrap();
        keep(&volumes).unwrap();
        assert_eq!(count(), 1);
    }
}
