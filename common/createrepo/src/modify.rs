//! Metadata files added to a repository, and removed from it.
//!
//! All files are written whole, then `repomd.xml` is replaced by a rename, then what it no longer lists is removed: a reader
//! finds the old repository or the new one. Where a file would take the place of another of its name, which `repomd.xml`
//! lists until then, a new directory is made beside the old one, and both are exchanged in one step. The rules of names and types are those of modifyrepo_c 1.2.5
//! (`modifyrepo_shared.c`).

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use tutti_repodata::{ChecksumType, Compression, Repomd, RepomdRecord, Repository};

use crate::create::write_repomd;
use crate::error::Error;
use crate::lock;
use crate::metadata_file::{MAX_OPEN, open_stream, record_of, too_large, unique_name, without_suffix};
use crate::stage::bring;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A file is added, in place of the one of its type.
    Add(Add),
    /// The file of a type is removed.
    Remove {
        /// The type.
        kind: String,
    },
}

/// A file to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Add {
    /// The file; it is decompressed first, if need be.
    pub path: PathBuf,
    /// Its type; that of its name if `None`.
    pub kind: Option<String>,
    /// Its name in the repository, to which a suffix is added; its own name without one if `None`.
    pub new_name: Option<String>,
    /// Its compression there.
    pub compression: Compression,
    /// Checksum type of its record.
    pub checksum: ChecksumType,
    /// Whether its name starts with its checksum.
    pub unique_names: bool,
}

impl Add {
    fn name(&self) -> String {
        let base = |name: &Path| name.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let name = match &self.new_name {
            Some(name) => base(Path::new(name)),
            None => without_suffix(&base(&self.path)).to_owned(),
        };
        name + self.compression.suffix()
    }

    fn kind(&self) -> String {
        let named = self.new_name.as_deref().map_or(self.path.as_path(), Path::new);
        self.kind.clone().unwrap_or_else(|| type_of(&named.to_string_lossy()))
    }
}

/// The type that a file name says: all before its first dot.
pub fn type_of(name: &str) -> String {
    let base = name.rsplit('/').next().unwrap_or(name);
    base.split('.').next().unwrap_or(base).to_owned()
}

/// What was noticed, and is no error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A record of that type was there, and is replaced.
    Replaced(String),
    /// No record of that type is there to be removed.
    Missing(String),
}

/// Changes a repository, whose metadata are in the directory `repodata`.
///
/// # Errors
/// When the repository or a file cannot be read or written, or another process is at it. The repository is then as it
/// was.
pub fn modify(repodata: &Path, changes: &[Change], notice: &dyn Fn(Notice)) -> Result<(), Error> {
    load(repodata)?;
    check(changes)?;
    if changes.is_empty() {
        return Ok(());
    }
    let top = repodata.join("..");
    let lock = Lock { path: lock::take(&top, false)? };
    // It may have been changed until now.
    let mut repomd = load(repodata)?;
    let mut dropped: Vec<RepomdRecord> = Vec::new();
    let mut added: Vec<Added> = Vec::new();
    for change in changes {
        let kind = match change {
            Change::Add(add) => add.kind(),
            Change::Remove { kind } => kind.clone(),
        };
        let made = match change {
            Change::Add(add) => Some(make(repodata, add, &kind, added.len())?),
            Change::Remove { .. } => None,
        };
        let old: Vec<RepomdRecord> = repomd.records.extract_if(.., |record| record.kind == kind).collect();
        match (&made, old.is_empty()) {
            (Some(_), false) => notice(Notice::Replaced(kind)),
            (None, true) => notice(Notice::Missing(kind)),
            _ => {}
        }
        dropped.extend(old);
        if let Some(made) = made {
            repomd.records.push(made.record.clone());
            added.push(made);
        }
    }
    repomd.sort();
    let exchanged = added.iter().any(|added| added.replaces(repodata)) && exchange(repodata, &lock, &added, &repomd);
    if exchanged {
        tutti_files::sync_names(&top).map_err(Error::io("sync, though the change is in place,", &top))?;
    } else {
        put_in_place(repodata, &added, &repomd)?;
    }
    let own = added.iter().filter_map(|added| added.source.clone()).collect();
    drop(added);
    clean(&top, &repomd, &dropped, own)
}

/// A file that is made, and has not got its name yet. It is removed when this is dropped.
struct Added {
    record: RepomdRecord,
    partial: PathBuf,
    name: String,
    /// The file that it was made of, if that lies there under the very name.
    source: Option<PathBuf>,
}

impl Added {
    /// Whether it takes the place of something else.
    fn replaces(&self, repodata: &Path) -> bool {
        let place = repodata.join(&self.name);
        let is_it = || self.record.checksum.kind().hash_file(&place).is_ok_and(|(sum, _)| sum == self.record.checksum);
        fs::symlink_metadata(&place).is_ok() && !is_it()
    }
}

impl Drop for Added {
    fn drop(&mut self) {
        let _ = tutti_files::remove_file(&self.partial);
    }
}

/// Gives files their names, then replaces `repomd.xml`.
fn put_in_place(repodata: &Path, added: &[Added], repomd: &Repomd) -> Result<(), Error> {
    let synced = || tutti_files::sync_names(repodata).map_err(Error::io("write", repodata));
    let mut fresh = Fresh::default();
    for Added { partial, name, .. } in added {
        let last = repodata.join(name);
        let is_fresh = fs::symlink_metadata(&last).is_err();
        tutti_files::rename(partial, &last).map_err(Error::io("rename", partial))?;
        fresh.paths.extend(is_fresh.then_some(last));
    }
    synced()?;
    write_repomd(repodata, repomd, None)?;
    fresh.paths.clear();
    synced()
}

/// Makes a directory with these files, all others and `repomd.xml`, and exchanges it with the old one. Returns whether that
/// could be done; if not, nothing has changed.
fn exchange(repodata: &Path, lock: &Lock, added: &[Added], repomd: &Repomd) -> bool {
    let made = || -> Result<(), Error> {
        let place = fs::canonicalize(repodata).map_err(Error::io("look at", repodata))?;
        let new = lock.path.join("repodata");
        let io = |source| Error::Io { action: "make", path: new.clone(), source };
        fs::create_dir(&new).map_err(io)?;
        for Added { partial, name, .. } in added {
            tutti_files::hard_link(partial, &new.join(name)).map_err(io)?;
        }
        for entry in fs::read_dir(&place).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(io)? {
            let to = new.join(entry.file_name());
            let is_ours = entry.file_name() == "repomd.xml"
                || added.iter().any(|added| added.partial == repodata.join(entry.file_name()));
            if !is_ours && fs::symlink_metadata(&to).is_err() {
                bring(&entry.path(), &to).map_err(io)?;
            }
        }
        write_repomd(&new, repomd, None)?;
        fs::set_permissions(&new, fs::metadata(&place).map_err(io)?.permissions()).map_err(io)?;
        tutti_files::sync_names(&new).map_err(io)?;
        renameat_with(CWD, &new, CWD, &place, RenameFlags::EXCHANGE).map_err(io::Error::from).map_err(io)
    };
    made().is_ok()
}

/// Files that were not there before. Those that are still in it at the end are removed: nothing lists them.
#[derive(Default)]
struct Fresh {
    paths: Vec<PathBuf>,
}

impl Drop for Fresh {
    fn drop(&mut self) {
        for path in &self.paths {
            let _ = tutti_files::remove_file(path);
        }
    }
}

struct Lock {
    path: PathBuf,
}

impl Drop for Lock {
    fn drop(&mut self) {
        lock::release(&self.path);
    }
}

fn load(repodata: &Path) -> Result<Repomd, Error> {
    let path = repodata.join("repomd.xml");
    let open = path.clone();
    let repository = Repository::load(Box::new(move |_| {
        if !fs::metadata(&open)?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        Ok(Box::new(File::open(&open)?))
    }));
    let repository = repository.map_err(|source| Error::Repository { path: repodata.to_owned(), source })?;
    Ok(repository.repomd().clone())
}

/// All that can be checked is checked before anything is changed.
fn check(changes: &[Change]) -> Result<(), Error> {
    for change in changes {
        let kind = match change {
            Change::Remove { kind } => kind.clone(),
            Change::Add(add) => {
                let metadata = fs::metadata(&add.path).map_err(Error::io("open", &add.path))?;
                if !metadata.is_file() {
                    return Err(Error::io("open", &add.path)(io::Error::other("not a regular file")));
                }
                let name = add.name();
                if name.is_empty() || name == add.compression.suffix() || name == "repomd.xml" {
                    return Err(Error::Option(format!("{} has no usable name", add.path.display())));
                }
                add.kind()
            }
        };
        if kind.is_empty() || kind.contains(char::is_control) {
            return Err(Error::Option(format!("{kind:?} is no type of metadata")));
        }
    }
    Ok(())
}

/// Writes a file into `repodata` under a name of its own.
fn make(repodata: &Path, add: &Add, kind: &str, number: usize) -> Result<Added, Error> {
    let name = add.name();
    let place = repodata.join(&name);
    let inode = |path: &Path| fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
    let in_place = inode(&place).is_some() && inode(&place) == inode(&add.path);
    let partial = repodata.join(format!(".{name}.{number}.partial"));
    let write = || -> io::Result<()> {
        let (stream, _) = open_stream(File::open(&add.path)?)?;
        tutti_files::remove_file(&partial)?;
        let mut counted = Bounded { stream, read: 0 };
        add.compression.compress(&mut counted, File::create_new(&partial)?)?;
        tutti_files::sync(&partial)
    };
    let made = write().map_err(Error::io("add", &add.path)).and_then(|()| record_of(&partial, kind, add.checksum));
    let mut record = made.inspect_err(|_| {
        let _ = tutti_files::remove_file(&partial);
    })?;
    let name = if add.unique_names { unique_name(&name, record.checksum.hex()) } else { name };
    record.location_href = format!("repodata/{name}");
    let source = (in_place && repodata.join(&name) != place).then_some(place);
    Ok(Added { record, partial, name, source })
}

/// Content that ends with an error where it is too large.
struct Bounded<R> {
    stream: R,
    read: u64,
}

impl<R: io::Read> io::Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        self.read += count as u64;
        if self.read > MAX_OPEN { Err(too_large(MAX_OPEN)) } else { Ok(count) }
    }
}

/// Removes files of records that are gone, unless another record has the same file.
fn clean(top: &Path, repomd: &Repomd, dropped: &[RepomdRecord], own: BTreeSet<PathBuf>) -> Result<(), Error> {
    let inode = |path: &Path| fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
    let listed: BTreeSet<(u64, u64)> = repomd
        .records
        .iter()
        .filter(|record| record.location_base.is_none())
        .filter_map(|record| inode(&top.join(&record.location_href)))
        .collect();
    let files = dropped.iter().filter(|record| record.location_base.is_none());
    for path in files.map(|record| top.join(&record.location_href)).chain(own) {
        if inode(&path).is_some_and(|inode| !listed.contains(&inode)) {
            tutti_files::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    fn repository() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("repodata")).unwrap();
        write_repomd(&directory.path().join("repodata"), &Repomd::default(), None).unwrap();
        directory
    }

    fn add(path: &Path) -> Add {
        Add {
            path: path.to_owned(),
            kind: None,
            new_name: None,
            compression: Compression::Gzip,
            checksum: ChecksumType::Sha256,
            unique_names: true,
        }
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = entries.collect();
        names.sort();
        names
    }

    #[test]
    fn files_are_added_replaced_and_removed() {
        let directory = repository();
        let repodata = directory.path().join("repodata");
        let source = directory.path().join("updateinfo.xml");
        fs::write(&source, "<updates/>").unwrap();
        let notices = RefCell::new(Vec::new());
        let run = |change: Change| modify(&repodata, &[change], &|notice| notices.borrow_mut().push(notice));
        run(Change::Add(add(&source))).unwrap();
        let first = load(&repodata).unwrap().records;
        assert_eq!((first.len(), first[0].kind.as_str()), (1, "updateinfo"));
        assert!(first[0].location_href.ends_with("-updateinfo.xml.gz"));
        fs::write(&source, "<updates></updates>").unwrap();
        run(Change::Add(add(&source))).unwrap();
        let second = load(&repodata).unwrap().records;
        assert_eq!(second.len(), 1);
        assert_ne!(second, first);
        assert_eq!(names(&repodata).len(), 2, "the old file is gone: {:?}", names(&repodata));
        run(Change::Remove { kind: "updateinfo".into() }).unwrap();
        run(Change::Remove { kind: "none".into() }).unwrap();
        assert_eq!(names(&repodata), ["repomd.xml"]);
        assert_eq!(*notices.borrow(), [Notice::Replaced("updateinfo".into()), Notice::Missing("none".into())]);
        assert!(!directory.path().join(".repodata").exists());
    }

    #[test]
    fn a_file_that_lies_there_already_is_renamed() {
        let directory = repository();
        let repodata = directory.path().join("repodata");
        fs::write(repodata.join("self.xml"), "x").unwrap();
        let change = Add { compression: Compression::None, ..add(&repodata.join("self.xml")) };
        modify(&repodata, &[Change::Add(change.clone())], &|_| {}).unwrap();
        assert_eq!(names(&repodata).len(), 2, "{:?}", names(&repodata));
        // By a simple name it stays.
        let named = repodata.join(&names(&repodata)[0]);
        let change = Add { unique_names: false, kind: Some("self".into()), ..add(&named) };
        modify(&repodata, &[Change::Add(Add { compression: Compression::None, ..change })], &|_| {}).unwrap();
        assert_eq!(names(&repodata).len(), 2, "{:?}", names(&repodata));
    }

    #[test]
    fn nothing_changes_where_a_change_cannot_be_made() {
        let directory = repository();
        let repodata = directory.path().join("repodata");
        let good = directory.path().join("good");
        fs::write(&good, "x").unwrap();
        let before = fs::read(repodata.join("repomd.xml")).unwrap();
        let bad = [Change::Add(add(&good)), Change::Add(add(&directory.path().join("none")))];
        assert!(modify(&repodata, &bad, &|_| {}).unwrap_err().to_string().contains("none"));
        fs::write(&good, [0x1f, 0x8b, 0, 0]).unwrap();
        assert!(modify(&repodata, &[Change::Add(add(&good))], &|_| {}).unwrap_err().to_string().contains("good"));
        // One that was added before another could not be is gone, too.
        let whole = directory.path().join("whole");
        fs::write(&whole, "x").unwrap();
        assert!(modify(&repodata, &[Change::Add(add(&whole)), Change::Add(add(&good))], &|_| {}).is_err());
        assert_eq!(fs::read(repodata.join("repomd.xml")).unwrap(), before);
        assert_eq!(names(&repodata), ["repomd.xml"]);
        fs::write(repodata.join("repomd.xml"), "<repomd>").unwrap();
        assert!(modify(&repodata, &[], &|_| {}).is_err());
    }

    /// What `repomd.xml` lists is there, with that checksum.
    fn assert_whole(repodata: &Path) {
        for record in load(repodata).unwrap().records {
            let path = repodata.join("..").join(&record.location_href);
            assert_eq!(record.checksum.kind().hash_file(&path).unwrap().0, record.checksum, "{}", record.location_href);
        }
    }

    #[test]
    fn a_listed_file_is_not_replaced_before_what_lists_it() {
        let directory = repository();
        let repodata = directory.path().join("repodata");
        let simple = |path: &Path| Change::Add(Add { unique_names: false, ..add(path) });
        let (one, two) = (directory.path().join("updateinfo.xml"), directory.path().join("other.xml"));
        fs::write(&one, "<updates/>").unwrap();
        fs::write(repodata.join("stray"), "x").unwrap();
        modify(&repodata, &[simple(&one)], &|_| {}).unwrap();
        let first = load(&repodata).unwrap();
        // A later change fails: nothing has changed.
        fs::write(&one, "<updates></updates>").unwrap();
        fs::write(&two, [0x1f, 0x8b, 0, 0]).unwrap();
        assert!(modify(&repodata, &[simple(&one), simple(&two)], &|_| {}).is_err());
        assert_eq!(load(&repodata).unwrap(), first);
        assert_whole(&repodata);
        let before = fs::metadata(&repodata).unwrap();
        modify(&repodata, &[simple(&one)], &|_| {}).unwrap();
        assert_ne!(load(&repodata).unwrap(), first);
        assert_whole(&repodata);
        let after = fs::metadata(&repodata).unwrap();
        assert_ne!(before.ino(), after.ino(), "exchanged in one step");
        assert_eq!(before.mode(), after.mode());
        assert_eq!(names(&repodata), ["repomd.xml", "stray", "updateinfo.xml.gz"]);
        assert!(!directory.path().join(".repodata").exists());
    }

    #[test]
    fn types_end_at_the_first_dot() {
        assert_eq!(type_of("a/updateinfo.xml.gz"), "updateinfo");
        assert_eq!(type_of("productid"), "productid");
    }
}
