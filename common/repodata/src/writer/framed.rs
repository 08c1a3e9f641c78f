//! A metadata file in frames: packages rendered and compressed on several threads, or frames copied.

use std::path::Path;

use super::output::{HashedFile, Totals};
use super::{Context, Entry, WriterError, head, render, tail};
use crate::checksum::Hasher;
use crate::compression::Compression;
use crate::fragment::MetadataFile;
use crate::frames::index::{Frame, FrameIndex};
use crate::frames::listing::{Listing, ListingHasher};
use crate::frames::{StoredFrame, maker};
use crate::ordered::ordered;

/// A frame on its way to the file.
struct Made {
    frame: StoredFrame,
    packages: u32,
    copied: bool,
}

/// Writes a file.
pub(super) fn write(
    context: &Context<'_>,
    file: MetadataFile,
    compression: Compression,
    path: &Path,
) -> Result<Totals, WriterError> {
    let options = context.options;
    let io = |action, source| WriterError::Io { action, path: path.to_owned(), source };
    let starts = context.cuts.starts(file);
    let ends: Vec<usize> = starts.iter().skip(1).copied().chain([context.order.len()]).collect();
    let maker = maker(compression, options.gzip_level);
    let pack = |text: Vec<u8>, packages: usize| -> Result<Made, WriterError> {
        let packed = compression.frame(&text, options.gzip_level).map_err(|source| io("compress", source))?;
        // Counts are bounded by the longest frame.
        Ok(Made { frame: StoredFrame { packed, text }, packages: packages as u32, copied: false })
    };
    let make = |number: usize| -> Result<Made, WriterError> {
        if number == 0 {
            return pack(head(file, context.order.len()), 0);
        }
        let Some((start, end)) = starts.get(number - 1).zip(ends.get(number - 1)) else {
            return pack(tail(file), 0);
        };
        let entries = &context.order[*start..*end];
        let stored = context.source.frame(file, entries, &maker);
        if let Some(frame) = stored.map_err(|source| super::records_error(entries[0], source))? {
            return Ok(Made { frame, packages: entries.len() as u32, copied: true });
        }
        let mut text = Vec::new();
        for entry in entries {
            render(context, entry, file, &mut text)?;
        }
        pack(text, entries.len())
    };
    let mut output = Output {
        file: HashedFile::create(path, options).map_err(|source| io("create", source))?,
        open: options.checksum_type.hasher(),
        totals: Totals::new(options.checksum_type),
        frames: Some(Vec::with_capacity(starts.len() + 2)),
    };
    let size = |made: &Made| made.frame.text.len() + made.frame.packed.len();
    let take = |made: Made| output.add(&made).map_err(|source| io("write", source));
    // Filelists are three quarters of all text, and their hash, which one thread makes, takes longest of all where little
    // is compressed: the others, where they are made at the same time, must not keep it from its processor.
    let threads = match file {
        MetadataFile::Primary if context.at_once() > 1 => (options.threads / 2).max(1),
        _ => options.threads,
    };
    ordered(threads, starts.len() + 2, make, size, take)?;
    let listing = (file == MetadataFile::Primary).then(|| listing(context));
    output.finish(maker, listing, compression, context.timestamp).map_err(|source| io("write", source))
}

fn listing(context: &Context<'_>) -> Listing {
    let mut hasher = ListingHasher::default();
    for Entry { location_href, location_base, size, mtime, checksum, .. } in context.order {
        hasher.add(location_href, location_base.as_deref(), *size, *mtime, checksum.kind());
    }
    Listing { digest: hasher.finish(), distinct: context.options.distinct }
}

struct Output {
    file: HashedFile,
    open: Hasher,
    totals: Totals,
    /// `None` once a frame is too long for an index, which then is left out.
    frames: Option<Vec<Frame>>,
}

impl Output {
    fn add(&mut self, made: &Made) -> std::io::Result<()> {
        use std::io::Write as _;
        let StoredFrame { packed, text } = &made.frame;
        self.open.update(text);
        self.file.write_all(packed)?;
        let totals = &mut self.totals;
        totals.open_size += text.len() as u64;
        let work = &mut totals.work;
        match made.copied {
            true => {
                work.bytes_copied += packed.len() as u64;
                work.frames_copied += 1;
            }
            false => {
                work.bytes_compressed += text.len() as u64;
                work.frames_made += u64::from(made.packages > 0);
            }
        }
        let lengths = u32::try_from(packed.len()).ok().zip(u32::try_from(text.len()).ok());
        match (&mut self.frames, lengths) {
            (Some(frames), Some((packed, open))) => frames.push(Frame { packed, open, packages: made.packages }),
            _ => self.frames = None,
        }
        Ok(())
    }

    fn finish(
        mut self,
        maker: String,
        listing: Option<Listing>,
        compression: Compression,
        timestamp: u64,
    ) -> std::io::Result<Totals> {
        use std::io::Write as _;
        if let Some(frames) = self.frames.take() {
            self.file.write_all(&FrameIndex { maker, listing, frames }.wrapped(compression))?;
        }
        self.totals.open_checksum = self.open.finish();
        self.file.finish(timestamp, &mut self.totals)?;
        Ok(self.totals)
    }
}
