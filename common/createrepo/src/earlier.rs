//! Repositories that this program made in frames, and packages taken from them as they are.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use tutti_repodata::{
    Entry, Fill, FragmentSource, Listing, MetadataFile, Previous, PreviousFiles, RecordId, RecordsError, RecordsReader,
    Repomd, Repository, StoredFrame,
};

/// Numbers from here on are packages of earlier repositories, those below records.
const FIRST: u32 = 1 << 31;

/// One repository whose packages are known.
pub(crate) struct Framed {
    path: PathBuf,
    pub(crate) previous: Previous,
    /// Number of its first package.
    first: u32,
}

impl Framed {
    /// The number of a package.
    pub(crate) fn id(&self, number: usize) -> RecordId {
        // `Earlier::look` made sure that all have a number.
        RecordId(self.first + number as u32)
    }
}

/// One repository whose files are as `repomd.xml` says.
struct Opened {
    path: PathBuf,
    repomd: Repomd,
    files: PreviousFiles,
}

/// All that could be opened in this way.
#[derive(Default)]
pub(crate) struct Earlier {
    opened: Vec<Opened>,
    looked: Vec<Framed>,
}

impl Earlier {
    /// Opens what can be opened; the others are for [`crate::old`] to read.
    pub(crate) fn open(sources: &[PathBuf], threads: usize) -> Self {
        let mut opened = Vec::new();
        for path in sources {
            let Ok(repository) = Repository::open_local(path) else { continue };
            let repomd = repository.repomd().clone();
            let Ok(files) = PreviousFiles::open(path, &repomd, threads) else { continue };
            opened.push(Opened { path: path.clone(), repomd, files });
        }
        Self { opened, looked: Vec::new() }
    }

    /// The `repomd.xml` that a repository was opened with, and what its index says of all packages; as long as no
    /// packages were looked at.
    pub(crate) fn opened(&self, path: &Path) -> Option<(&Repomd, Option<&Listing>)> {
        let opened = self.opened.iter().find(|opened| opened.path == path)?;
        Some((&opened.repomd, opened.files.listing()))
    }

    /// Looks at all packages of what was opened.
    pub(crate) fn look(&mut self, threads: usize) {
        let mut first = FIRST;
        for Opened { path, files, .. } in self.opened.drain(..) {
            let Ok(previous) = files.look(threads) else { continue };
            let count = u32::try_from(previous.packages().len()).ok();
            let Some(next) = count.and_then(|count| first.checked_add(count)) else { continue };
            self.looked.push(Framed { path, previous, first });
            first = next;
        }
    }

    /// A repository whose packages were looked at.
    pub(crate) fn get(&self, path: &Path) -> Option<&Framed> {
        self.looked.iter().find(|framed| framed.path == path)
    }

    fn find(&self, id: RecordId) -> Option<(&Previous, usize)> {
        let framed = self.looked.iter().rfind(|framed| framed.first <= id.0)?;
        Some((&framed.previous, (id.0 - framed.first) as usize))
    }
}

/// Records and earlier repositories; neither is given any longer when somebody asks to stop.
pub(crate) struct Source<'a> {
    pub(crate) reader: RecordsReader,
    pub(crate) earlier: &'a Earlier,
    pub(crate) stop: &'a AtomicBool,
}

impl Source<'_> {
    fn check(&self) -> Result<(), RecordsError> {
        if self.stop.load(Ordering::Relaxed) {
            let source = std::io::Error::from(std::io::ErrorKind::Interrupted);
            return Err(RecordsError::Io { action: "read", path: self.reader.path().to_owned(), source });
        }
        Ok(())
    }
}

impl FragmentSource for Source<'_> {
    fn render(&self, id: RecordId, file: MetadataFile, fill: &Fill<'_>, out: &mut Vec<u8>) -> Result<(), RecordsError> {
        self.check()?;
        match self.earlier.find(id) {
            Some((previous, number)) => Ok(previous.render(number, file, fill, out)?),
            None => self.reader.render(id, file, fill, out),
        }
    }

    fn package(&self, id: RecordId, file: MetadataFile) -> Result<tutti_rpm::Package, RecordsError> {
        self.check()?;
        match self.earlier.find(id) {
            Some((previous, number)) => Ok(previous.package(number, file)?),
            None => self.reader.package(id, file),
        }
    }

    fn frame(&self, file: MetadataFile, entries: &[&Entry], maker: &str) -> Result<Option<StoredFrame>, RecordsError> {
        self.check()?;
        let Some(first) = entries.first() else { return Ok(None) };
        let follows = |(entry, number): (&&Entry, u32)| entry.record.0 == number;
        match self.earlier.find(first.record) {
            Some((previous, number)) if entries.iter().zip(first.record.0..).all(follows) => {
                Ok(previous.frame(file, number, entries, maker)?)
            }
            _ => Ok(None),
        }
    }
}
