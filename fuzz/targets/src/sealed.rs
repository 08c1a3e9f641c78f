//! Sealed files of package records, and checkpoints of them, which an earlier attempt may have left in any state.
//!
//! All checksums are made right first, so that what they protect is looked at.

use std::{fs::File, io::Write, os::fd::AsRawFd, path::Path, sync::Arc};

use sha2::{Digest, Sha256};
use tutti_repodata::{Checkpoints, FileLocator, RecordsReader};

use crate::{Signature, combined, signature};

/// Size of the footer, which has index offset and length, count and version, the index's SHA-256, and the digest of these.
const FOOTER: usize = 80;
/// Owner of the seed.
pub(crate) const OWNER: [u8; 32] = [7; 32];
/// Name of the file that the seed knows.
pub(crate) const PATH: &str = "file:/r/seed.rpm";

/// How an index looks.
#[derive(Clone, Copy)]
struct Layout {
    /// Bytes before the blocks.
    before: usize,
    /// Bytes of a block before its offset, packed and raw length, and SHA-256.
    flags: usize,
}

/// A checkpoint and its records.
pub fn checkpoints(data: &[u8]) -> Signature {
    let mut bytes = data.to_vec();
    let sealed = seal(&mut bytes, Layout { before: 32, flags: 1 });
    let mut parts = vec![u64::from(sealed.is_some())];
    let (Ok(file), Ok(blocks)) = (open(&bytes), open(data)) else { return 0 };
    let mut found = Checkpoints::new(OWNER);
    parts.push(signature(&found.add(Path::new("checkpoint"), &file, &Arc::new(blocks))));
    for path in [PATH, ""] {
        let locator = FileLocator { path: path.to_owned(), size: 1, mtime: (2, 3), inode: 4 };
        if let Some((taken, known)) = found.find(&locator) {
            assert_eq!(known.locator, locator);
            parts.push(signature(&found.record(taken)));
        }
    }
    combined(&parts)
}

/// A sealed file of records: those that it says it has, first and last.
pub fn sealed_records(data: &[u8]) -> Signature {
    let mut bytes = data.to_vec();
    let sealed = seal(&mut bytes, Layout { before: 0, flags: 0 });
    let mut parts = vec![u64::from(sealed.is_some())];
    let Ok(file) = open(&bytes) else { return 0 };
    let reader = RecordsReader::open(format!("/proc/self/fd/{}", file.as_raw_fd()));
    parts.push(signature(&reader));
    if let Ok(reader) = reader {
        for id in reader.ids().take(4).chain(reader.ids().last()) {
            parts.push(signature(&reader.facts(id)));
            parts.push(signature(&reader.fragments(id)));
        }
    }
    combined(&parts)
}

fn open(bytes: &[u8]) -> std::io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create("fuzz", rustix::fs::MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    Ok(file)
}

/// Makes the checksums of footer, index and blocks those of the bytes, where there are any.
fn seal(bytes: &mut [u8], layout: Layout) -> Option<()> {
    let end = bytes.len().checked_sub(FOOTER)?;
    let (start, length) = (number(bytes, end)?, number(bytes, end + 8)?);
    let stop = start.checked_add(length).filter(|stop| *stop <= end)?;
    seal_blocks(bytes, start.saturating_add(layout.before)..stop, layout.flags);
    let index = Sha256::digest(bytes.get(start..stop)?);
    bytes[end + 24..end + 56].copy_from_slice(&index);
    let fields = Sha256::digest(&bytes[end..end + 56]);
    bytes[end + 56..end + 72].copy_from_slice(&fields[..16]);
    Some(())
}

/// As far as they can be understood: four streams, each with the number of its blocks and these.
fn seal_blocks(bytes: &mut [u8], index: std::ops::Range<usize>, flags: usize) -> Option<()> {
    let size = flags + 48;
    let mut at = index.start;
    for _ in 0..4 {
        let count = half(bytes, at)?;
        at += 4;
        for _ in 0..count {
            let place = at + flags;
            at = at.checked_add(size).filter(|at| *at <= index.end)?;
            let (offset, packed) = (number(bytes, place)?, half(bytes, place + 8)?);
            if let Some(block) = offset.checked_add(packed).and_then(|last| bytes.get(offset..last)) {
                let digest = Sha256::digest(block);
                bytes[place + 16..place + 48].copy_from_slice(&digest);
            }
        }
    }
    Some(())
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..at.checked_add(8)?)?;
    usize::try_from(u64::from_le_bytes(bytes.try_into().ok()?)).ok()
}

fn half(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
}
