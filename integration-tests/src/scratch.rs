//! A directory of one test, kept when the test fails. At the end the histories of all composes in it are checked.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A temporary directory; where the test panics it stays, and its path is printed.
#[derive(Debug)]
pub struct Scratch {
    directory: Option<tempfile::TempDir>,
    path: PathBuf,
}

impl Scratch {
    /// Makes one; `name` is part of its name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let made = tempfile::Builder::new().prefix(&format!("tutti-{name}-")).tempdir();
        let directory = made.unwrap_or_else(|error| panic!("cannot make a temporary directory: {error}"));
        let path = directory.path().to_owned();
        Self { directory: Some(directory), path }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path in it.
    #[must_use]
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let Some(directory) = self.directory.take() else { return };
        if !std::thread::panicking() {
            let wrong = crate::history::faults_below(&self.path);
            if !wrong.is_empty() {
                panic!("kept: {}\n{}", directory.keep().display(), wrong.join("\n"));
            }
        }
        if std::thread::panicking() || std::env::var_os("TUTTI_KEEP").is_some() {
            eprintln!("kept: {}", directory.keep().display());
        }
    }
}

/// Writes a file, with its directories.
pub fn write(path: &Path, text: impl AsRef<[u8]>) {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).unwrap_or_else(|error| panic!("cannot make {}: {error}", parent.display()));
    }
    fs::write(path, text).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
}

/// Reads a text file.
#[must_use]
pub fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}
