//! The real files of the chain.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::World;
use super::process::{self, Judgement};
use super::record::Record;

/// Largest record, bytes.
const MAX_RECORD: u64 = 4096;
/// Readings of a name whose file was replaced on another host meanwhile (ESTALE).
const TRIES: usize = 10;

/// Names of the records of one state file.
#[derive(Debug)]
pub(crate) struct Names(PathBuf);

impl Names {
    pub(super) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    fn with(&self, suffix: &str) -> PathBuf {
        let mut name = self.0.as_os_str().to_owned();
        name.push(suffix);
        name.into()
    }

    pub(super) fn head(&self) -> PathBuf {
        self.with(".owner")
    }

    pub(super) fn successor(&self, number: u64) -> PathBuf {
        self.with(&format!(".owner.{number}"))
    }

    /// Whether a name is of no more use once the head has this number.
    pub(super) fn is_behind(&self, name: &OsStr, number: u64) -> bool {
        let own = self.0.file_name().and_then(|own| name.as_encoded_bytes().strip_prefix(own.as_encoded_bytes()));
        let Some(rest) = own.and_then(|rest| rest.strip_prefix(b".owner.")) else { return false };
        let found = std::str::from_utf8(rest).ok().and_then(|text| text.parse::<u64>().ok());
        rest.starts_with(b"new.") || found.is_some_and(|found| found <= number)
    }

    pub(super) fn temporary(&self, token: &str) -> PathBuf {
        self.with(&format!(".owner.new.{token}"))
    }
}

/// The file system and the processes of this host.
#[derive(Debug)]
pub(super) struct Real;

impl World for Real {
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let mut tries = 0;
        loop {
            match read(path) {
                Err(error) if error.kind() == io::ErrorKind::StaleNetworkFileHandle && tries < TRIES => tries += 1,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                other => return other.map(Some),
            }
        }
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        // What stands there was left by ourselves.
        self.remove(path)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        written.inspect_err(|_| drop(fs::remove_file(path)))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn sweep(&self, names: &Names, number: u64) {
        let Ok(entries) = fs::read_dir(directory(&names.0)) else { return };
        for entry in entries.map_while(Result::ok) {
            if names.is_behind(&entry.file_name(), number) {
                // What stays is in nobody's way.
                let _ = self.remove(&entry.path());
            }
        }
    }

    fn me(&self) -> Record {
        process::me()
    }

    fn judge(&self, path: &Path, record: &Record) -> Judgement {
        process::judge(record, &self.me(), || process::is_local(directory(path)))
    }
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let flags = i32::try_from((rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits()).unwrap_or(0);
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    file.take(MAX_RECORD + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
