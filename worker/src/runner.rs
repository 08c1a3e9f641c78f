//! What a runner gets and gives: [`JobContext`], [`Output`], [`RunnerFn`].
//!
//! A runner is a plain synchronous function in the child process. It reads inputs by name, writes below the staging
//! directory only, and returns every output that its spec declares:
//!
//! * a file output `NAME` is the file `staging/out/NAME` ([`JobContext::output_path`], [`JobContext::finish_file`]);
//! * a tree output `NAME` is the directory `staging/trees/NAME` ([`JobContext::output_tree`]) and its manifest, the
//!   file `staging/manifests/NAME` ([`JobContext::scan_tree`], [`JobContext::finish_tree`]);
//! * `staging/checkpoints` is for what a later attempt can go on from ([`JobContext::checkpoints`]);
//! * `staging/scratch` is for anything else, and for `TMPDIR`.

use std::{
    fs, io,
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tutti_job::{Digest, Entry, EntryKind, JobKind, JobSpec, Manifest, Volumes};

use crate::{
    FailureClass, OrFail, RunnerError,
    report::{Cancel, Counters, Log, Progress},
};

/// Largest input that is read into memory, bytes.
const MAX_INPUT: u64 = 4 << 30;
/// Most entries of a scanned tree.
const MAX_ENTRIES: usize = 4_000_000;

/// The function that does the jobs of one kind.
pub type RunnerFn = fn(&JobContext) -> Result<Vec<Output>, RunnerError>;

/// Which kinds there are runners for, and what they need of the host. [`crate::runners::ALL`], or a test's own.
#[derive(Clone, Copy)]
pub struct Runners {
    /// The runner of a kind.
    pub find: fn(JobKind) -> Result<RunnerFn, RunnerError>,
    /// What the sandbox must let a job do besides reading blobs and writing its staging directory. Called in the
    /// child before it confines itself, so it may read inputs; it must not start threads, which would stay free.
    pub access: fn(&JobContext) -> Result<Access, RunnerError>,
}

/// What a job may do besides reading blobs and writing below its staging directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Files, or directories with all below them, that it may read: paths of this host. Those that do not exist are
    /// left out.
    pub reads: Vec<PathBuf>,
    /// Directories whose files it may hard-link into `staging/trees`. Then nothing in `staging/trees` can be
    /// written to: copies are made in `staging/scratch` and renamed ([`JobContext::place_copy`]). Landlock refuses
    /// links that would give a file more rights than it had.
    pub hard_links_from: Vec<PathBuf>,
    /// Whether it may open TCP connections.
    pub network: bool,
}

/// One finished output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Name in the spec.
    pub name: String,
    /// SHA-256 of the file, or of a tree's manifest.
    pub digest: Digest,
    /// Bytes of the file; of a tree, the sum of its files.
    pub size: u64,
}

/// Everything that a runner needs.
pub struct JobContext {
    /// The job.
    pub spec: JobSpec,
    /// `KIND.VARIANT.ARCH`, for messages.
    pub job_name: String,
    /// Where things are on this host.
    pub volumes: Volumes,
    /// Staging directories of earlier attempts at this job, newest first: readable where [`Access::reads`] names them.
    /// What lies there was written by others, perhaps not to its end.
    pub earlier: Vec<PathBuf>,
    /// What [`Runners::access`] said, as it was granted.
    pub access: Access,
    /// How many threads it may keep busy, at least 1.
    pub threads: usize,
    /// How far it is.
    pub progress: Progress,
    /// Whether it shall end.
    pub cancel: Cancel,
    /// Sums of what it did.
    pub counters: Counters,
    /// The attempt's log.
    pub log: Log,
}

impl JobContext {
    /// A context outside of any attempt, for tests and tools: nobody sees progress, the log goes nowhere.
    /// `volumes.staging` must be set for outputs.
    pub fn detached(spec: JobSpec, volumes: Volumes, threads: usize) -> Self {
        Self {
            job_name: spec.kind.clone(),
            spec,
            volumes,
            earlier: Vec::new(),
            access: Access::default(),
            threads: threads.max(1),
            progress: Progress::hidden(),
            cancel: Cancel::default(),
            counters: Counters::default(),
            log: Log::new(io::sink()),
        }
    }

    /// The parameters as the kind's struct.
    ///
    /// # Errors
    /// Class tool.
    pub fn params<P: serde::de::DeserializeOwned>(&self) -> Result<P, RunnerError> {
        Ok(self.spec.params()?)
    }

    /// Notes what a person should read though the job succeeds, also in the log.
    pub fn warn(&self, text: &str) {
        self.progress.warn(text);
        self.log.line(format_args!("warning: {text}"));
    }

    /// Path of the blob of input `name`. Its bytes are *not* verified: see [`JobContext::verify_input`].
    ///
    /// # Errors
    /// Class tool for an input that the spec does not have.
    pub fn input_path(&self, name: &str) -> Result<PathBuf, RunnerError> {
        Ok(self.volumes.blob(&self.spec.input(name)?))
    }

    /// Path of the blob of input `name`, after reading and verifying all of it.
    ///
    /// # Errors
    /// Class infra when the blob is missing or is not what its name says.
    pub fn verify_input(&self, name: &str) -> Result<PathBuf, RunnerError> {
        let digest = self.spec.input(name)?;
        let path = self.volumes.blob(&digest);
        let infra = || (FailureClass::Infra, format!("failed to read input {name} ({})", path.display()));
        let file = fs::File::open(&path).map_err(|error| gone(error, infra().1))?;
        let (found, length) = Digest::of_reader(file).or_fail(infra().0, || infra().1)?;
        self.counters.add("input_read_bytes", length);
        check_digest(name, &path, digest, found)?;
        Ok(path)
    }

    /// The bytes of input `name`, verified.
    ///
    /// # Errors
    /// Class infra when the blob is missing or is not what its name says; class input above 4 GiB.
    pub fn input_bytes(&self, name: &str) -> Result<Vec<u8>, RunnerError> {
        self.blob_bytes(name, self.spec.input(name)?)
    }

    /// The bytes of a blob, verified; `name` is for messages.
    ///
    /// # Errors
    /// As [`JobContext::input_bytes`].
    pub fn blob_bytes(&self, name: &str, digest: Digest) -> Result<Vec<u8>, RunnerError> {
        let path = self.volumes.blob(&digest);
        let cause = || format!("failed to read input {name} ({})", path.display());
        let file = fs::File::open(&path).map_err(|error| gone(error, cause()))?;
        let size = file.metadata().or_fail(FailureClass::Infra, cause)?.len();
        if size > MAX_INPUT {
            return Err(RunnerError::input(format!("input {name} has {size} bytes, more than {MAX_INPUT}")));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        file.take(MAX_INPUT).read_to_end(&mut bytes).or_fail(FailureClass::Infra, cause)?;
        self.counters.add("input_read_bytes", bytes.len() as u64);
        check_digest(name, &path, digest, Digest::of(&bytes))?;
        Ok(bytes)
    }

    fn staging(&self, part: &str) -> Result<PathBuf, RunnerError> {
        let staging = self.volumes.staging.as_ref();
        Ok(staging.ok_or(tutti_job::PathError::Unmapped("staging"))?.join(part))
    }

    /// Where file output `name` is to be written; its directory exists.
    ///
    /// # Errors
    /// Class tool for an output that the spec does not have as a file, or when its directory cannot be made.
    pub fn output_path(&self, name: &str) -> Result<PathBuf, RunnerError> {
        if self.spec.output(name)?.is_tree() {
            return Err(RunnerError::tool(format!("output {name} is a tree, not a file")));
        }
        let path = self.staging("out")?.join(name);
        make_parent(&path)?;
        Ok(path)
    }

    /// The directory of tree output `name`; it exists.
    ///
    /// # Errors
    /// Class tool for an output that the spec does not have as a tree, or when it cannot be made.
    pub fn output_tree(&self, name: &str) -> Result<PathBuf, RunnerError> {
        if !self.spec.output(name)?.is_tree() {
            return Err(RunnerError::tool(format!("output {name} is a file, not a tree")));
        }
        let path = self.staging("trees")?.join(name);
        make_directories(&path)?;
        Ok(path)
    }

    /// A directory for temporary files; it exists and is on the filesystem of the outputs.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn scratch(&self) -> Result<PathBuf, RunnerError> {
        let path = self.staging("scratch")?;
        make_directories(&path)?;
        Ok(path)
    }

    /// The directory of what a later attempt can go on from; it exists. Files in it appear by rename, whole.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn checkpoints(&self) -> Result<PathBuf, RunnerError> {
        let path = self.staging(Volumes::CHECKPOINTS)?;
        make_directories(&path)?;
        Ok(path)
    }

    /// Hashes the file that was written to [`JobContext::output_path`].
    ///
    /// # Errors
    /// Class tool when it cannot be read.
    pub fn finish_file(&self, name: &str) -> Result<Output, RunnerError> {
        let path = self.output_path(name)?;
        let cause = || format!("failed to hash output {name} ({})", path.display());
        let file = fs::File::open(&path).or_fail(FailureClass::Tool, cause)?;
        let (digest, size) = Digest::of_reader(file).or_fail(FailureClass::Tool, cause)?;
        self.counters.add("hashed_bytes", size);
        Ok(Output { name: name.to_owned(), digest, size })
    }

    /// Writes `bytes` as file output `name`.
    ///
    /// # Errors
    /// Class tool when it cannot be written.
    pub fn write_file(&self, name: &str, bytes: &[u8]) -> Result<Output, RunnerError> {
        let path = self.output_path(name)?;
        fs::write(&path, bytes).or_fail(FailureClass::Tool, || format!("failed to write {}", path.display()))?;
        self.counters.add("hashed_bytes", bytes.len() as u64);
        Ok(Output { name: name.to_owned(), digest: Digest::of(bytes), size: bytes.len() as u64 })
    }

    /// Writes the manifest of tree output `name`.
    ///
    /// # Errors
    /// Class tool when it cannot be written or is not canonical.
    pub fn finish_tree(&self, name: &str, manifest: &Manifest) -> Result<Output, RunnerError> {
        self.output_tree(name)?;
        let (bytes, digest) = manifest.encode_canonical();
        // What the receiver would refuse must not leave this process.
        Manifest::decode_checked(&bytes)?;
        let path = self.staging("manifests")?.join(name);
        make_parent(&path)?;
        fs::write(&path, &bytes).or_fail(FailureClass::Tool, || format!("failed to write {}", path.display()))?;
        let size = manifest.entries.iter().map(|entry| entry.size).fold(0, u64::saturating_add);
        Ok(Output { name: name.to_owned(), digest, size })
    }

    /// Lists what is below `directory`: files with mode and SHA-256, symbolic links, empty directories.
    ///
    /// # Errors
    /// Class tool for what cannot be read, is no such thing, or has a name that is not UTF-8.
    pub fn scan_tree(&self, directory: &Path) -> Result<Manifest, RunnerError> {
        let mut entries = Vec::new();
        let mut pending = vec![(directory.to_owned(), String::new())];
        while let Some((path, relative)) = pending.pop() {
            self.cancel.check()?;
            let before = (entries.len(), pending.len());
            let cause = || format!("failed to read directory {}", path.display());
            for item in fs::read_dir(&path).or_fail(FailureClass::Tool, cause)? {
                let item = item.or_fail(FailureClass::Tool, cause)?;
                let name = item.file_name().into_string();
                let name = name.map_err(|name| RunnerError::tool(format!("name {name:?} in {path:?} is not UTF-8")))?;
                let below = if relative.is_empty() { name } else { format!("{relative}/{name}") };
                if item.file_type().or_fail(FailureClass::Tool, cause)?.is_dir() {
                    pending.push((item.path(), below));
                } else {
                    entries.push(self.scan_entry(&item.path(), below)?);
                }
            }
            if before == (entries.len(), pending.len()) && !relative.is_empty() {
                let mode = fs::metadata(&path).or_fail(FailureClass::Tool, cause)?.permissions().mode() & 0o7777;
                let kind = EntryKind::Directory.into();
                entries.push(Entry { path: relative, kind, mode, ..Entry::default() });
            }
            if entries.len() > MAX_ENTRIES {
                return Err(RunnerError::tool(format!("more than {MAX_ENTRIES} files below {}", directory.display())));
            }
        }
        Ok(Manifest::new(entries)?)
    }

    fn scan_entry(&self, path: &Path, relative: String) -> Result<Entry, RunnerError> {
        let cause = || format!("failed to read {}", path.display());
        let metadata = fs::symlink_metadata(path).or_fail(FailureClass::Tool, cause)?;
        let mut entry = Entry { path: relative, ..Entry::default() };
        if metadata.is_symlink() {
            let target = fs::read_link(path).or_fail(FailureClass::Tool, cause)?;
            let target = target.into_os_string().into_string();
            entry.kind = EntryKind::Symlink.into();
            entry.source = target.map_err(|_| RunnerError::tool(format!("target of {path:?} is not UTF-8")))?;
        } else if metadata.is_file() {
            let file = fs::File::open(path).or_fail(FailureClass::Tool, cause)?;
            let (digest, size) = Digest::of_reader(file).or_fail(FailureClass::Tool, cause)?;
            self.counters.add("hashed_bytes", size);
            entry.kind = EntryKind::File.into();
            entry.mode = metadata.permissions().mode() & 0o7777;
            entry.digest = digest.as_bytes().to_vec();
            entry.size = size;
        } else {
            return Err(RunnerError::tool(format!("{} is neither file, directory nor link", path.display())));
        }
        Ok(entry)
    }

    /// Copies `source` to `target` (below an output tree) through the scratch directory, with its mtime. Works where
    /// the sandbox lets files be linked or renamed into the tree but not written there.
    ///
    /// # Errors
    /// Class input when the source cannot be read, tool when the copy cannot be written.
    pub fn place_copy(&self, source: &Path, target: &Path) -> Result<(), RunnerError> {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let temporary = self.scratch()?.join(format!("copy-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        let cause = || format!("failed to copy {} to {}", source.display(), temporary.display());
        let mut from = fs::File::open(source).or_fail(FailureClass::Input, cause)?;
        let modified = from.metadata().and_then(|metadata| metadata.modified()).or_fail(FailureClass::Input, cause)?;
        let mut to = fs::File::create(&temporary).or_fail(FailureClass::Tool, cause)?;
        let count = io::copy(&mut from, &mut to).or_fail(FailureClass::Tool, cause)?;
        to.set_modified(modified).or_fail(FailureClass::Tool, cause)?;
        self.counters.add("copied_bytes", count);
        tutti_files::rename(&temporary, target)
            .or_fail(FailureClass::Tool, || format!("failed to move a copy to {}", target.display()))
    }
}

/// An input that cannot be opened. One that is not there was removed by hand: jobs hand it to each other.
fn gone(error: io::Error, cause: String) -> RunnerError {
    let absent = error.kind() == io::ErrorKind::NotFound;
    let failure = RunnerError::caused_by(FailureClass::Infra, cause, error);
    if !absent {
        return failure;
    }
    failure.with_hint(
        "somebody removed what an earlier job made, and finished jobs do not run again: restore it from a copy, or make a new compose; tutti fsck says what else is missing",
    )
}

fn check_digest(name: &str, path: &Path, wanted: Digest, found: Digest) -> Result<(), RunnerError> {
    if wanted == found {
        return Ok(());
    }
    Err(RunnerError::infra(format!("input {name} is damaged: {} has SHA-256 {found}", path.display()))
        .with_hint("remove the file and retry the job that made it"))
}

fn make_parent(path: &Path) -> Result<(), RunnerError> {
    path.parent().map_or(Ok(()), make_directories)
}

fn make_directories(path: &Path) -> Result<(), RunnerError> {
    fs::create_dir_all(path).or_fail(FailureClass::Tool, || format!("failed to make directory {}", path.display()))
}

#[cfg(test)]
#[path = "runner_tests.rs"]
mod tests;
