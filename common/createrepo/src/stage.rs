//! Where a repository is made, and how it comes to its place: whole, or not at all.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use tutti_repodata::{Repomd, Repository};

use crate::error::Error;
use crate::lock;
use crate::options::Retain;

/// A directory in which a repository is made; gone, with the lock, when this is dropped.
pub(crate) struct Stage {
    output: PathBuf,
    root: PathBuf,
}

impl Stage {
    /// Takes the lock of an output directory.
    pub(crate) fn open(output: &Path, ignore_lock: bool) -> Result<Self, Error> {
        let root = lock::take(output, ignore_lock)?;
        Ok(Self { output: output.to_owned(), root })
    }

    /// Directory for all that is made.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The new metadata.
    pub(crate) fn repodata(&self) -> PathBuf {
        self.root.join("repodata")
    }

    /// Puts the new metadata in place of the old, of which `retain` says what stays.
    ///
    /// The two directories are exchanged in one step, where the file system can do that: no reader finds none, and
    /// whoever is killed leaves one or the other. Others who ignore locks may do so at the same time; the last one stays.
    ///
    /// What is put in place is on the disk by then: nor does a power cut leave anything but one or the other.
    pub(crate) fn publish(self, retain: Retain) -> Result<(), Error> {
        let new = self.repodata();
        settle(&new).map_err(Error::io("write", &new))?;
        self.put_in_place(retain)?;
        // It is in place, and whole: what is missing is that its name outlives a power cut.
        tutti_files::sync_names(&self.output)
            .map_err(Error::io("sync, though the new repository is in place,", &self.output))
    }

    fn put_in_place(&self, retain: Retain) -> Result<(), Error> {
        for _ in 1..TRIES {
            match self.put(retain) {
                Err(Error::Io { source, .. }) if is_of_another(&source) => {}
                other => return other,
            }
        }
        self.put(retain)
    }

    fn put(&self, retain: Retain) -> Result<(), Error> {
        let (new, place) = (self.repodata(), self.output.join("repodata"));
        match fs::symlink_metadata(&place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return tutti_files::rename(&new, &place).map_err(Error::io("rename", &new));
            }
            Err(error) => return Err(Error::io("look at", &place)(error)),
            Ok(_) if place.is_dir() => {
                keep_files(&self.output, &new, retain)?;
                tutti_files::sync_names(&new).map_err(Error::io("write", &new))?;
            }
            Ok(_) => {}
        }
        if renameat_with(CWD, &new, CWD, &place, RenameFlags::EXCHANGE).is_ok() {
            return Ok(());
        }
        let aside = self.root.join("old");
        tutti_files::remove_dir_all(&aside).map_err(Error::io("remove", &aside))?;
        tutti_files::rename(&place, &aside).map_err(Error::io("rename", &place))?;
        tutti_files::rename(&new, &place).map_err(|error| {
            let _ = tutti_files::rename(&aside, &place);
            Error::io("rename", &new)(error)
        })
    }
}

/// Has all files of a directory on the disk, several at a time, then their names.
fn settle(directory: &Path) -> io::Result<()> {
    let entries = fs::read_dir(directory)?.collect::<io::Result<Vec<_>>>()?;
    std::thread::scope(|scope| {
        let synced: Vec<_> = entries.iter().map(|entry| scope.spawn(|| tutti_files::sync(&entry.path()))).collect();
        synced.into_iter().try_for_each(|synced| match synced.join() {
            Ok(synced) => synced,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })?;
    tutti_files::sync_names(directory)
}

/// Times that metadata are put in place while others do the same.
const TRIES: usize = 20;

/// Whether a step may have failed because another process put its metadata in place just then.
fn is_of_another(error: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, DirectoryNotEmpty, NotFound};
    matches!(error.kind(), NotFound | AlreadyExists | DirectoryNotEmpty)
}

impl Drop for Stage {
    fn drop(&mut self) {
        lock::release(&self.root);
    }
}

/// Brings files of the old metadata into the new, unless there is one of that name: by a link, or a copy with its time.
fn keep_files(output: &Path, new: &Path, retain: Retain) -> Result<(), Error> {
    let place = &output.join("repodata");
    let identity = || fs::metadata(place).map(|metadata| (metadata.dev(), metadata.ino()));
    let before = identity().map_err(Error::io("look at", place))?;
    let old = Repository::open_local(output).map(|repository| repository.repomd().clone());
    let entries = fs::read_dir(place).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = entries.map_err(Error::io("read", place))?;
    if identity().map_err(Error::io("look at", place))? != before {
        // Another process put its repository in place meanwhile: names and list are of two.
        return Err(Error::io("keep files of", place)(io::ErrorKind::NotFound.into()));
    }
    let names: Vec<String> = entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let leave = Leave::new(place, &names, retain, old.ok().as_ref());
    for (entry, name) in entries.iter().zip(&names) {
        let (from, to) = (entry.path(), new.join(entry.file_name()));
        if name != "repomd.xml" && !leave.takes(&from, name) && fs::symlink_metadata(&to).is_err() {
            bring(&from, &to).map_err(Error::io("keep", &from))?;
        }
    }
    Ok(())
}

pub(crate) fn bring(from: &Path, to: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(from)?;
    if metadata.is_symlink() {
        return tutti_files::symlink(&fs::read_link(from)?, to);
    }
    if metadata.is_dir() {
        tutti_files::ensure_dir(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            bring(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    if !metadata.is_file() || tutti_files::hard_link(from, to).is_ok() {
        return Ok(());
    }
    fs::copy(from, to)?;
    let copy = fs::File::options().write(true).open(to)?;
    copy.set_modified(metadata.modified()?)?;
    copy.sync_all()
}

/// What does not stay.
enum Leave {
    Names(Vec<String>),
    Older(SystemTime),
}

impl Leave {
    fn new(place: &Path, names: &[String], retain: Retain, old: Option<&Repomd>) -> Self {
        match retain {
            Retain::All => Self::Names(Vec::new()),
            Retain::Younger(seconds) => {
                let now = SystemTime::now();
                Self::Older(now.checked_sub(Duration::from_secs(seconds)).unwrap_or(SystemTime::UNIX_EPOCH))
            }
            Retain::Unlisted => {
                let records = old.map(|repomd| repomd.records.as_slice()).unwrap_or_default();
                let listed = |href: &String| href.rsplit('/').next().map(str::to_owned);
                Self::Names(records.iter().filter_map(|record| listed(&record.location_href)).collect())
            }
            Retain::Newest(count) => Self::Names(surplus(place, names, count)),
        }
    }

    fn takes(&self, path: &Path, name: &str) -> bool {
        match self {
            Self::Names(names) => names.iter().any(|other| other == name),
            Self::Older(limit) => {
                fs::symlink_metadata(path).and_then(|metadata| metadata.modified()).is_ok_and(|time| time < *limit)
            }
        }
    }
}

/// All but the newest `count` of each kind of file that createrepo makes.
fn surplus(place: &Path, names: &[String], count: usize) -> Vec<String> {
    let mut surplus = Vec::new();
    for kind in ["primary", "filelists", "other"] {
        for form in ["xml", "sqlite"] {
            let part = format!("{kind}.{form}.");
            let is_one = |name: &&String| {
                name.starts_with(&part) || name.split_once('-').is_some_and(|(_, rest)| rest.starts_with(&part))
            };
            let time = |name: &String| {
                fs::metadata(place.join(name))
                    .and_then(|metadata| metadata.modified())
                    .unwrap_or(SystemTime::UNIX_EPOCH)
            };
            let mut found: Vec<_> = names.iter().filter(is_one).map(|name| (time(name), name)).collect();
            found.sort_by(|a, b| b.cmp(a));
            surplus.extend(found.into_iter().skip(count).map(|(_, name)| name.clone()));
        }
    }
    surplus
}

#[cfg(test)]
mod tests {
    use super::*;
    use tutti_repodata::{ChecksumType, RepomdRecord};

    fn old_repodata(output: &Path) {
        let place = output.join("repodata");
        fs::create_dir_all(place.join("sub")).unwrap();
        for name in ["1-primary.xml.gz", "2-primary.xml.gz", "stray", "sub/x"] {
            fs::write(place.join(name), name).unwrap();
        }
        let record = RepomdRecord {
            kind: "primary".into(),
            checksum: ChecksumType::Sha256.hash(b""),
            open_checksum: None,
            location_href: "repodata/1-primary.xml.gz".into(),
            location_base: None,
            timestamp: 0,
            size: None,
            open_size: None,
            header: None,
            database_version: None,
        };
        let repomd = Repomd { records: vec![record], ..Repomd::default() };
        fs::write(place.join("repomd.xml"), repomd.to_xml()).unwrap();
    }

    fn published(retain: Retain) -> Vec<String> {
        let output = tempfile::tempdir().unwrap();
        old_repodata(output.path());
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let stray = fs::File::options().write(true).open(output.path().join("repodata/stray")).unwrap();
        stray.set_modified(time).unwrap();
        let stage = Stage::open(output.path(), false).unwrap();
        fs::create_dir(stage.repodata()).unwrap();
        fs::write(stage.repodata().join("repomd.xml"), "new").unwrap();
        stage.publish(retain).unwrap();
        assert_eq!(fs::read_to_string(output.path().join("repodata/repomd.xml")).unwrap(), "new");
        assert_eq!(fs::read_dir(output.path()).unwrap().count(), 1, "nothing but repodata");
        let mut names: Vec<String> = fs::read_dir(output.path().join("repodata"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "repomd.xml")
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_stays_of_the_old_metadata() {
        assert_eq!(published(Retain::Unlisted), ["2-primary.xml.gz", "stray", "sub"]);
        assert_eq!(published(Retain::All), ["1-primary.xml.gz", "2-primary.xml.gz", "stray", "sub"]);
        assert_eq!(published(Retain::Younger(3600)), ["1-primary.xml.gz", "2-primary.xml.gz", "sub"]);
        assert_eq!(published(Retain::Newest(0)), ["stray", "sub"]);
        assert_eq!(published(Retain::Newest(1)).len(), 3);
    }

    #[test]
    fn many_put_theirs_in_place_at_once_and_one_of_them_stays() {
        let output = tempfile::tempdir().unwrap();
        let stages: Vec<Stage> = (0..8).map(|_| Stage::open(output.path(), true).unwrap()).collect();
        for (number, stage) in stages.iter().enumerate() {
            fs::create_dir(stage.repodata()).unwrap();
            fs::write(stage.repodata().join("repomd.xml"), number.to_string()).unwrap();
            fs::write(stage.repodata().join(format!("{number}-stray")), "").unwrap();
        }
        std::thread::scope(|scope| {
            for stage in stages {
                scope.spawn(move || stage.publish(Retain::All).unwrap());
            }
        });
        let last: usize = fs::read_to_string(output.path().join("repodata/repomd.xml")).unwrap().parse().unwrap();
        assert!(output.path().join(format!("repodata/{last}-stray")).is_file());
        assert_eq!(fs::read_dir(output.path()).unwrap().count(), 1, "nothing but repodata");
    }

    #[test]
    fn what_is_not_published_leaves_nothing() {
        let output = tempfile::tempdir().unwrap();
        old_repodata(output.path());
        let stage = Stage::open(output.path(), false).unwrap();
        fs::write(stage.root().join("half"), "").unwrap();
        drop(stage);
        assert!(output.path().join("repodata/repomd.xml").is_file());
        assert_eq!(fs::read_dir(output.path()).unwrap().count(), 1);
    }
}
