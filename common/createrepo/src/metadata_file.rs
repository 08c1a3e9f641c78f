//! One metadata file of `repodata/`: its name, its content, its record in `repomd.xml`.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use tutti_repodata::{Checksum, ChecksumType, Compression, Hasher, RepomdRecord};

use crate::error::Error;

/// Largest decompressed metadata file that is taken from elsewhere, in bytes: a bomb must end somewhere.
pub(crate) const MAX_OPEN: u64 = 4 << 30;
/// Largest content that is held in memory whole (a compressed group file, module metadata), in bytes: those of
/// distributions are below 20 MB, and a bomb of some KB must not take all memory of a host.
pub(crate) const MAX_WHOLE: u64 = 256 << 20;

/// Suffixes that createrepo_c 1.2.5 knows (`compression_wrapper.c`), and their compressions.
const SUFFIXES: [(&str, Compression); 5] = [
    (".gz", Compression::Gzip),
    (".bz2", Compression::Bzip2),
    (".xz", Compression::Xz),
    (".zst", Compression::Zstd),
    (".zck", Compression::None),
];

/// A file name without a suffix of a compression.
pub fn without_suffix(name: &str) -> &str {
    SUFFIXES.iter().find_map(|(suffix, _)| name.strip_suffix(suffix)).unwrap_or(name)
}

/// A file name with the checksum of the file in front, in place of an earlier one (createrepo_c 1.2.5 `repomd.c`; its
/// rule knows neither SHA-224 nor SHA-384, whose names grow with each run).
pub fn unique_name(name: &str, checksum: &str) -> String {
    if name.starts_with(&format!("{checksum}-")) {
        return name.to_owned();
    }
    format!("{checksum}-{}", without_checksum(name))
}

/// A file name without a checksum in front.
pub fn without_checksum(name: &str) -> &str {
    let lengths = ChecksumType::ALL.map(ChecksumType::hex_len);
    let earlier = lengths.iter().find(|length| {
        name.as_bytes().get(**length) == Some(&b'-') && name[..**length].bytes().all(|byte| byte.is_ascii_hexdigit())
    });
    earlier.and_then(|length| name.get(length + 1..)).filter(|rest| !rest.is_empty()).unwrap_or(name)
}

/// The decompressed content of a file, by what its first bytes say.
///
/// # Errors
/// When it cannot be read or decompressed, or is larger than 256 MiB.
pub fn read_open(path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let mut read = || -> io::Result<usize> {
        let (mut stream, _) = open_stream(File::open(path)?)?;
        stream.by_ref().take(MAX_WHOLE + 1).read_to_end(&mut bytes)
    };
    let length = read().map_err(Error::io("read", path))?;
    if length as u64 > MAX_WHOLE {
        return Err(Error::io("read", path)(too_large(MAX_WHOLE)));
    }
    Ok(bytes)
}

pub(crate) fn too_large(limit: u64) -> io::Error {
    io::Error::other(format!("its content is larger than {limit} bytes"))
}

pub(crate) fn open_stream(file: impl Read + Send + 'static) -> io::Result<(Box<dyn Read + Send>, Compression)> {
    let mut input = BufReader::with_capacity(1 << 16, file);
    let compression = Compression::detect(input.fill_buf()?);
    Ok((Box::new(compression.decoder(input)?.take(MAX_OPEN + 1)), compression))
}

/// Hashes what passes.
struct Hashing {
    file: File,
    state: std::sync::Arc<std::sync::Mutex<(Option<Hasher>, u64)>>,
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(hasher) = &mut state.0 {
            hasher.update(&buffer[..count]);
        }
        state.1 += count as u64;
        Ok(count)
    }
}

/// Makes the record of a file that lies in `repodata/`, in one pass. Its timestamp is the file's mtime.
///
/// # Errors
/// When it cannot be read, is no regular file, or is compressed and damaged.
pub fn record_of(path: &Path, kind: &str, checksum: ChecksumType) -> Result<RepomdRecord, Error> {
    let failed = || Error::io("read", path);
    let metadata = fs::metadata(path).map_err(failed())?;
    if !metadata.is_file() {
        return Err(failed()(io::Error::other("not a regular file")));
    }
    let state = std::sync::Arc::new(std::sync::Mutex::new((Some(checksum.hasher()), 0)));
    let file = File::open(path).map_err(failed())?;
    let hashing = Hashing { file, state: std::sync::Arc::clone(&state) };
    let (mut stream, compression) = open_stream(hashing).map_err(failed())?;
    let (open_checksum, open_size) = checksum.hash_reader(&mut stream).map_err(failed())?;
    if open_size > MAX_OPEN {
        return Err(failed()(too_large(MAX_OPEN)));
    }
    drop(stream);
    let mut state = state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // What follows the compressed stream, if anything, is part of the file: then it is read again.
    let whole: (Checksum, u64) = match (state.0.take(), state.1 == metadata.size()) {
        (Some(hasher), true) => (hasher.finish(), state.1),
        _ => checksum.hash_file(path).map_err(failed())?,
    };
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let compressed = compression != Compression::None;
    Ok(RepomdRecord {
        kind: kind.to_owned(),
        checksum: whole.0,
        open_checksum: compressed.then_some(open_checksum),
        location_href: format!("repodata/{name}"),
        location_base: None,
        timestamp: u64::try_from(metadata.mtime()).unwrap_or(0),
        size: Some(whole.1),
        open_size: compressed.then_some(open_size),
        header: None,
        database_version: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_in_names_are_replaced() {
        let (old, new) = ("a".repeat(64), "b".repeat(64));
        assert_eq!(unique_name("x.xml", &new), format!("{new}-x.xml"));
        assert_eq!(unique_name(&format!("{old}-x.xml"), &new), format!("{new}-x.xml"));
        assert_eq!(unique_name(&format!("{new}-x.xml"), &new), format!("{new}-x.xml"));
        let (old, new) = ("a".repeat(96), "b".repeat(96));
        assert_eq!(unique_name(&format!("{old}-x.xml"), &new), format!("{new}-x.xml"));
        let word = format!("{}-x", "z".repeat(64));
        assert_eq!(unique_name(&word, "c"), format!("c-{word}"));
        assert_eq!(without_suffix("comps.xml.gz"), "comps.xml");
        assert_eq!(without_suffix("comps.xml"), "comps.xml");
    }

    #[test]
    fn records_of_plain_and_compressed_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.xml");
        fs::write(&path, "text").unwrap();
        let plain = record_of(&path, "x", ChecksumType::Sha256).unwrap();
        assert_eq!((plain.size, &plain.open_checksum, plain.open_size), (Some(4), &None, None));
        assert_eq!(
            (plain.location_href.as_str(), &plain.checksum),
            ("repodata/x.xml", &ChecksumType::Sha256.hash(b"text"))
        );
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut encoder, b"text").unwrap();
        let packed = encoder.finish().unwrap();
        fs::write(&path, &packed).unwrap();
        let record = record_of(&path, "x", ChecksumType::Sha512).unwrap();
        assert_eq!(record.checksum, ChecksumType::Sha512.hash(&packed));
        assert_eq!((record.open_checksum, record.open_size), (Some(ChecksumType::Sha512.hash(b"text")), Some(4)));
        assert_eq!(read_open(&path).unwrap(), b"text");
        fs::write(&path, &packed[..packed.len() - 3]).unwrap();
        let error = record_of(&path, "x", ChecksumType::Sha512).unwrap_err().to_string();
        assert!(error.contains("x.xml"), "{error}");
        assert!(read_open(&directory.path().join("none")).unwrap_err().to_string().contains("none"));
    }
}
