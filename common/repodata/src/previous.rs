//! Metadata in frames that an earlier run made: packages are taken from it without parsing it.
//!
//! The files have the checksums that `repomd.xml` gives, and the index at their ends says where frames are; whatever is
//! else used is looked at itself. Each frame that is read must have as many packages as the index says, in the very
//! form that this crate writes, and filelists and other must have the ids that primary has. What does not fit is an
//! error, after which callers read the metadata as anybody's ([`crate::reader`]). So an index that lies, or none, costs
//! time only, but for its [`Listing`], which is believed.

mod scan;

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tutti_rpm::Package;

pub use self::scan::PreviousPackage;
use crate::checksum::Checksum;
use crate::compression::{Compression, Unpacker};
use crate::fragment::{Fill, MetadataFile};
use crate::frames::StoredFrame;
use crate::frames::index::{self, Frame};
use crate::frames::listing::Listing;
use crate::ordered::ordered;
use crate::parse;
use crate::records_reader::read_at;
use crate::repomd::{Repomd, RepomdRecord};
use crate::writer::{self, Entry};

/// Largest text of a frame, in bytes: twice the largest of one package.
const MAX_OPEN: u32 = 512 << 20;
/// Frames of a file that are kept open while packages are taken from them.
const KEPT: usize = 8;

/// Why earlier metadata cannot be used in this way.
#[derive(Debug, thiserror::Error)]
pub enum PreviousError {
    /// Reading failed.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It is not in frames of this program, or not what it should be.
    #[error("{} cannot be used frame by frame: {what}", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: &'static str,
    },
}

/// Primary, filelists and other of an earlier run, whose packages are not known yet.
pub struct PreviousFiles {
    files: [FramedFile; 3],
    listing: Option<Listing>,
}

/// Primary, filelists and other of an earlier run.
pub struct Previous {
    files: [FramedFile; 3],
    packages: Vec<PreviousPackage>,
}

impl PreviousFiles {
    /// Opens the metadata of a directory that `repomd` describes, and compares checksums, on `threads` threads.
    ///
    /// # Errors
    /// When a file cannot be read, has another checksum, or has no index.
    pub fn open(directory: &Path, repomd: &Repomd, threads: usize) -> Result<Self, PreviousError> {
        let files = [MetadataFile::Primary, MetadataFile::Filelists, MetadataFile::Other];
        let mut opened = Vec::with_capacity(files.len());
        let open = |number: usize| FramedFile::open(directory, repomd, files[number]);
        ordered(
            threads,
            files.len(),
            open,
            |_| 0,
            |file| {
                opened.push(file);
                Ok(())
            },
        )?;
        let files: [FramedFile; 3] =
            opened.try_into().map_err(|_| PreviousError::Unfit { path: directory.to_owned(), what: "no files" })?;
        let [primary, filelists, other] = &files;
        let listing = primary.listing;
        if primary.packages != filelists.packages || primary.packages != other.packages {
            return Err(primary.unfit("the files have different numbers of packages"));
        }
        Ok(Self { files, listing })
    }

    /// Number of packages.
    pub fn len(&self) -> usize {
        self.files[0].packages
    }

    /// Whether there are no packages.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the index says of all packages, if anything.
    pub fn listing(&self) -> Option<&Listing> {
        self.listing.as_ref()
    }

    /// Looks at all of primary on `threads` threads.
    ///
    /// # Errors
    /// When it cannot be read, or is not in this crate's form.
    pub fn look(self, threads: usize) -> Result<Previous, PreviousError> {
        let Self { files, .. } = self;
        let primary = &files[0];
        let mut packages = Vec::with_capacity(primary.packages.min(1 << 20));
        // Not the head and the end.
        let frames = primary.frames.len().saturating_sub(2);
        let look = |number: usize| {
            let number = number + 1;
            let (text, place) = (primary.text(number)?, primary.frames[number]);
            scan::packages(&text, place.frame.packages).map_err(|what| primary.unfit(what))
        };
        ordered(
            threads,
            frames,
            look,
            |_| 0,
            |found| {
                packages.extend(found);
                Ok(())
            },
        )?;
        Ok(Previous { files, packages })
    }
}

impl Previous {
    /// Opens the metadata of a directory that `repomd` describes, and looks at all packages.
    ///
    /// # Errors
    /// Those of [`PreviousFiles::open`] and [`PreviousFiles::look`].
    pub fn open(directory: &Path, repomd: &Repomd, threads: usize) -> Result<Self, PreviousError> {
        PreviousFiles::open(directory, repomd, threads)?.look(threads)
    }

    /// All packages, in the order of the files. They are numbered by their place.
    pub fn packages(&self) -> &[PreviousPackage] {
        &self.packages
    }

    /// Appends the text of a package as it is, but for its location.
    ///
    /// # Errors
    /// When there is no such package, or the file is not what it was or should be.
    pub fn render(
        &self,
        number: usize,
        file: MetadataFile,
        fill: &Fill<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), PreviousError> {
        let framed =
            self.file(file).ok_or_else(|| self.files[0].unfit("it is taken for files that are never made of it"))?;
        let package = self.packages.get(number).ok_or_else(|| framed.unfit("it has no such package"))?;
        let (parts, at) = framed.parts(number, &self.packages)?;
        let part = parts.part(at);
        if file == MetadataFile::Primary && !package.is_at(fill.location_href, fill.location_base) {
            return scan::with_location(part, fill, out).ok_or_else(|| framed.unfit("a package has no location"));
        }
        out.extend_from_slice(part);
        Ok(())
    }

    /// What one file says of a package, for its database; the rest is empty. Only this package's text is parsed.
    ///
    /// # Errors
    /// When there is no such package, or the file is not what it was or should be.
    pub fn package(&self, number: usize, file: MetadataFile) -> Result<Package, PreviousError> {
        let framed =
            self.file(file).ok_or_else(|| self.files[0].unfit("it is taken for files that are never made of it"))?;
        let (parts, at) = framed.parts(number, &self.packages)?;
        let package = parse::one_package(file, parts.part(at));
        package.ok().flatten().ok_or_else(|| framed.unfit("a package cannot be parsed"))
    }

    /// The frame that has exactly these packages, `first` and those that follow, if it can be copied.
    ///
    /// # Errors
    /// When the file is not what it was or should be.
    pub fn frame(
        &self,
        file: MetadataFile,
        first: usize,
        entries: &[&Entry],
        maker: &str,
    ) -> Result<Option<StoredFrame>, PreviousError> {
        let Some(framed) = self.file(file) else { return Ok(None) };
        let Some(place) = framed.place(first) else { return Ok(None) };
        let Placed { frame, first: begin, .. } = framed.frames[place];
        if begin != first || frame.packages as usize != entries.len() || framed.maker != maker {
            return Ok(None);
        }
        let Some(packages) = self.packages.get(first..first + entries.len()) else { return Ok(None) };
        let is_at = |(entry, package): (&&Entry, &PreviousPackage)| {
            package.is_at(&entry.location_href, entry.location_base.as_deref())
        };
        if file == MetadataFile::Primary && !entries.iter().zip(packages).all(is_at) {
            return Ok(None);
        }
        let packed = framed.packed(place)?;
        let text = framed.unpack(place, &packed)?;
        framed.check(&text, packages)?;
        Ok(Some(StoredFrame { packed, text }))
    }

    fn file(&self, file: MetadataFile) -> Option<&FramedFile> {
        match file {
            MetadataFile::Primary => Some(&self.files[0]),
            MetadataFile::Filelists => Some(&self.files[1]),
            MetadataFile::Other => Some(&self.files[2]),
            // Few have it; it is made anew.
            MetadataFile::FilelistsExt => None,
        }
    }
}

#[derive(Clone, Copy)]
struct Placed {
    frame: Frame,
    offset: u64,
    /// Number of its first package.
    first: usize,
}

/// The text of a frame, and where its packages end.
struct Parts {
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Parts {
    fn part(&self, at: usize) -> &[u8] {
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.ends.get(at).and_then(|end| self.text.get(start..*end)).unwrap_or_default()
    }
}

struct FramedFile {
    kind: MetadataFile,
    path: PathBuf,
    file: File,
    unpacker: Unpacker,
    maker: String,
    listing: Option<Listing>,
    frames: Vec<Placed>,
    packages: usize,
    kept: Mutex<VecDeque<(usize, Arc<Parts>)>>,
}

impl FramedFile {
    fn open(directory: &Path, repomd: &Repomd, kind: MetadataFile) -> Result<Self, PreviousError> {
        let missing = || PreviousError::Unfit { path: directory.to_owned(), what: "a metadata file is not listed" };
        let record = repomd.record(kind.name()).ok_or_else(missing)?;
        let path = directory.join(&record.location_href);
        let unfit = |what| PreviousError::Unfit { path: path.clone(), what };
        let io = |source| PreviousError::Io { path: path.clone(), source };
        let is_plain = record.location_base.is_none() && crate::location::check(&record.location_href).is_ok();
        if !is_plain || !path.metadata().map_err(io)?.is_file() {
            return Err(unfit("it is no file of the repository"));
        }
        let mut file = File::open(&path).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        let head = read_at(&file, 0, size.min(8)).map_err(io)?;
        let compression = Compression::detect(&head);
        let tail = size.min(index::TAIL);
        let tail = read_at(&file, size - tail, tail).map_err(io)?;
        let appended = index::appended(compression, &tail).filter(|length| *length < size);
        let appended = appended.ok_or_else(|| unfit("it has no index of frames"))?;
        let bytes = read_at(&file, size - appended, appended).map_err(io)?;
        let found = index::unwrap(compression, &bytes).ok_or_else(|| unfit("its index of frames is damaged"))?;
        let (frames, packages) =
            placed(&found.frames, size - appended, record).ok_or_else(|| unfit("its index does not fit"))?;
        let sum: (Checksum, u64) = record.checksum.kind().hash_reader(&mut file).map_err(io)?;
        if sum != (record.checksum.clone(), record.size.unwrap_or(size)) {
            return Err(unfit("repomd.xml gives another checksum"));
        }
        let kept = Mutex::default();
        let unpacker = Unpacker::new(compression);
        let index::FrameIndex { maker, listing, .. } = found;
        let file = Self { kind, path, file, unpacker, maker, listing, frames, packages, kept };
        file.check_ends()?;
        Ok(file)
    }

    /// Head and end are those that this crate writes, with nothing else in them.
    fn check_ends(&self) -> Result<(), PreviousError> {
        let ends = [(0, writer::head(self.kind, self.packages)), (self.frames.len() - 1, writer::tail(self.kind))];
        for (place, expected) in ends {
            if self.text(place)? != expected {
                return Err(self.unfit("its head or end is another"));
            }
        }
        Ok(())
    }

    fn unfit(&self, what: &'static str) -> PreviousError {
        PreviousError::Unfit { path: self.path.clone(), what }
    }

    fn packed(&self, place: usize) -> Result<Vec<u8>, PreviousError> {
        let Placed { frame, offset, .. } = self.frames[place];
        let io = |source| PreviousError::Io { path: self.path.clone(), source };
        read_at(&self.file, offset, u64::from(frame.packed)).map_err(io)
    }

    fn unpack(&self, place: usize, packed: &[u8]) -> Result<Vec<u8>, PreviousError> {
        let text = self.unpacker.unpack(packed, self.frames[place].frame.open as usize);
        text.map_err(|_| self.unfit("a frame is damaged"))
    }

    fn text(&self, place: usize) -> Result<Vec<u8>, PreviousError> {
        self.unpack(place, &self.packed(place)?)
    }

    /// The frame of a package.
    fn place(&self, package: usize) -> Option<usize> {
        let next = self.frames.partition_point(|placed| placed.first <= package);
        // The last of those that begin there: the head begins with the first package, too, and has none.
        let place = next.checked_sub(1)?;
        (package < self.frames[place].first + self.frames[place].frame.packages as usize).then_some(place)
    }

    /// The frame of a package, and the package's place in it.
    fn parts(&self, package: usize, all: &[PreviousPackage]) -> Result<(Arc<Parts>, usize), PreviousError> {
        let place = self.place(package).ok_or_else(|| self.unfit("it has no such package"))?;
        let Placed { first, frame, .. } = self.frames[place];
        let at = package - first;
        {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, parts)) = kept.iter().rev().find(|(other, _)| *other == place) {
                return Ok((Arc::clone(parts), at));
            }
        }
        let text = self.text(place)?;
        let packages = all.get(first..first + frame.packages as usize).unwrap_or_default();
        let ends = self.check(&text, packages)?;
        let parts = Arc::new(Parts { text, ends });
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back((place, Arc::clone(&parts)));
        Ok((parts, at))
    }

    /// Checks that a text is that of these packages; returns where they end.
    fn check(&self, text: &[u8], packages: &[PreviousPackage]) -> Result<Vec<usize>, PreviousError> {
        let ends = scan::ends(text, packages.len()).ok_or_else(|| self.unfit("a frame has other packages"))?;
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let is_right = starts.zip(packages).all(|(start, package)| match self.kind {
            MetadataFile::Primary => scan::is_package(&text[start..], package),
            MetadataFile::Filelists | MetadataFile::Other | MetadataFile::FilelistsExt => {
                scan::has_id(&text[start..], package.checksum.hex())
            }
        });
        if is_right { Ok(ends) } else { Err(self.unfit("a frame has other packages")) }
    }
}

/// Where the frames are, and the number of packages, if they fill the file and have the length that `repomd.xml` gives.
fn placed(frames: &[Frame], size: u64, record: &RepomdRecord) -> Option<(Vec<Placed>, usize)> {
    let (mut offset, mut open, mut packages) = (0u64, 0u64, 0usize);
    let mut found = Vec::with_capacity(frames.len());
    for frame in frames {
        if frame.open > MAX_OPEN {
            return None;
        }
        found.push(Placed { frame: *frame, offset, first: packages });
        offset = offset.checked_add(u64::from(frame.packed))?;
        open = open.checked_add(u64::from(frame.open))?;
        packages = packages.checked_add(frame.packages as usize)?;
    }
    let is_framed = frames.len() >= 2 && frames.first()?.packages == 0 && frames.last()?.packages == 0;
    (is_framed && offset == size && record.open_size == Some(open)).then_some((found, packages))
}
