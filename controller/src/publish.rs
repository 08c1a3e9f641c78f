//! Outputs of an attempt: verified before the commit, published into the tree after it.
//!
//! Verifying hashes generated files again and compares packages by stat with what they were linked from, so no tree
//! holds what nobody checked. Publishing moves directories and files by rename; a move that is done is found done.
//!
//! | output | staged at | becomes |
//! |---|---|---|
//! | file `NAME` | `out/NAME` | blob |
//! | manifest of tree `NAME` | `manifests/NAME` | blob |
//! | tree `NAME` | `trees/NAME/…` | its target in the compose |

mod sweep;
mod tree;

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use tutti_failpoint::failpoint;
use tutti_files::Trouble;
use tutti_job::{
    Digest, Entry, EntryKind, Fence, JobSpec, LogicalPath, Manifest, OutputSpec, PathError, PublishMode, Root, Volumes,
};

pub use self::sweep::{sweep, sweep_earlier};
use self::tree::Sources;
use crate::lifecycle::FailureClass;
use crate::volume::{self, VolumeError, at};

/// One output as a worker reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedOutput {
    /// Name in the spec.
    pub name: String,
    /// SHA-256 of the file, or of the tree's manifest.
    pub digest: Digest,
    /// Bytes of the file, or of all files of the tree.
    pub size: u64,
}

/// Outputs that are not what the worker says, or cannot be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The report does not name exactly the declared outputs.
    #[error("the worker reported outputs {reported:?}, the job declares {declared:?}")]
    Names {
        /// Names that were reported.
        reported: Vec<String>,
        /// Names that the spec declares.
        declared: Vec<String>,
    },
    /// Bytes on the volume differ from the report.
    #[error("{path}: {reason}")]
    Mismatch {
        /// File.
        path: PathBuf,
        /// In what it differs.
        reason: String,
    },
    /// The manifest is refused.
    #[error("output {name}: bad manifest")]
    Manifest {
        /// Output.
        name: String,
        /// Why.
        #[source]
        source: tutti_job::ManifestError,
    },
    /// A path in spec or manifest is unsafe.
    #[error("output {name}: bad path")]
    Path {
        /// Output.
        name: String,
        /// Why.
        #[source]
        source: tutti_job::PathError,
    },
    /// The volume failed.
    #[error(transparent)]
    Volume(#[from] VolumeError),
}

impl From<tutti_failpoint::FailpointError> for PublishError {
    fn from(error: tutti_failpoint::FailpointError) -> Self {
        Self::Volume(error.into())
    }
}

impl PublishError {
    /// Whether another attempt may do better: the volume failed, rather than the worker lied.
    pub fn is_infra(&self) -> bool {
        matches!(self, Self::Volume(_))
    }

    /// What is wrong with the volume, if that is it: the same may go well later.
    pub fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::Volume(error) => error.trouble(),
            _ => None,
        }
    }

    /// The class of a job's failure for this.
    pub fn class(&self) -> FailureClass {
        match self.trouble() {
            Some(Trouble::Full) => FailureClass::NoSpace,
            _ => FailureClass::Infra,
        }
    }
}

/// Why a staged output is not there: a worker removes it only when it is told to.
const REMOVED: &str = "was removed before the controller took it over (hint: leave everything below work/tutti to tutti while a compose runs)";

/// Checks every output of an attempt against its report, and moves files and manifests to the blobs.
///
/// Returns how many bytes were hashed. Doing it again after a crash is harmless.
///
/// # Errors
/// [`PublishError`]; nothing of the attempt is visible to others then but, perhaps, unused blobs.
pub fn verify(
    volumes: &Volumes,
    fence: &Fence,
    spec: &JobSpec,
    reported: &[ReportedOutput],
) -> Result<u64, PublishError> {
    failpoint!("publish.verify.before");
    let mut names: Vec<_> = reported.iter().map(|output| output.name.clone()).collect();
    names.sort();
    let declared: Vec<_> = spec.outputs.iter().map(|output| output.name.clone()).collect();
    if names != declared {
        return Err(PublishError::Names { reported: names, declared });
    }
    let mut hashed = 0;
    for output in reported {
        let declared = spec.output(&output.name).map_err(|_| PublishError::Names {
            reported: names.clone(),
            declared: spec.outputs.iter().map(|output| output.name.clone()).collect(),
        })?;
        hashed += verify_output(volumes, fence, declared, output)?;
    }
    failpoint!("publish.verify.after");
    Ok(hashed)
}

fn verify_output(
    volumes: &Volumes,
    fence: &Fence,
    declared: &OutputSpec,
    reported: &ReportedOutput,
) -> Result<u64, PublishError> {
    let part = if declared.is_tree() { "manifests" } else { "out" };
    let (staged, present) = staged(volumes, fence, part, &reported.name)?;
    let blob = volumes.blob(&reported.digest);
    // After a crash in the middle, what was staged may already be a blob: both places count.
    let present = if present.is_some() { &staged } else { &blob };
    if present == &blob && fs::symlink_metadata(&blob).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return Err(tree::mismatch(&staged, REMOVED));
    }
    let hashed = if declared.is_tree() {
        let (manifest, length) = tree::read_manifest(present, reported)?;
        length + verify_tree(volumes, fence, reported, &manifest)?
    } else {
        tree::check_file(present, &reported.digest, Some(reported.size))?
    };
    volume::adopt_blob(volumes, &staged, &reported.digest)?;
    Ok(hashed)
}

/// Path of a staged file or tree, and what is there. All directories that lead to it must be real ones.
fn staged(
    volumes: &Volumes,
    fence: &Fence,
    part: &str,
    name: &str,
) -> Result<(PathBuf, Option<fs::Metadata>), PublishError> {
    let relative = Path::new(&fence.to_string()).join(part).join(name);
    let base = volumes.top.join(Volumes::STAGING);
    let found = tree::look(&base, &relative)?;
    Ok((base.join(relative), found))
}

fn verify_tree(
    volumes: &Volumes,
    fence: &Fence,
    output: &ReportedOutput,
    manifest: &Manifest,
) -> Result<u64, PublishError> {
    let (tree, _) = staged(volumes, fence, "trees", &output.name)?;
    tree::check_paths(&tree, manifest)?;
    let mut sources = Sources::new(volumes)?;
    let mut hashed = 0;
    for entry in &manifest.entries {
        hashed += verify_entry(&mut sources, &tree.join(&entry.path), output, entry)?;
    }
    Ok(hashed)
}

fn verify_entry(
    sources: &mut Sources<'_>,
    path: &Path,
    output: &ReportedOutput,
    entry: &Entry,
) -> Result<u64, PublishError> {
    let metadata = tree::check_stat(path, entry)?;
    match EntryKind::try_from(entry.kind) {
        Ok(EntryKind::File) => {
            let digest =
                Digest::try_from(entry.digest.as_slice()).map_err(|error| tree::mismatch(path, error.to_string()))?;
            // Not synced to the disk, as packages are not either: an fsync a file costs more than all the rest of the
            // check, and a tree is compared with its manifest, and can be composed again.
            tree::check_file(path, &digest, Some(entry.size))
        }
        Ok(EntryKind::Package) => sources.check(&output.name, path, entry, &metadata).map(|()| 0),
        _ => Ok(0),
    }
}

/// Moves the trees of a committed attempt to their targets. Repeating it finds what is done and finishes the rest.
///
/// # Errors
/// [`PublishError`]; the move can be tried again.
pub fn publish(
    volumes: &Volumes,
    fence: &Fence,
    spec: &JobSpec,
    outputs: &[ReportedOutput],
) -> Result<(), PublishError> {
    failpoint!("publish.publish.before");
    for output in outputs {
        let Ok(declared) = spec.output(&output.name) else { continue };
        if !declared.is_tree() {
            continue;
        }
        let target =
            Target::new(&declared.target).map_err(|source| PublishError::Path { name: output.name.clone(), source })?;
        let (tree, present) = staged(volumes, fence, "trees", &output.name)?;
        let (manifest, _) = tree::read_manifest(&volumes.blob(&output.digest), output)?;
        match PublishMode::try_from(declared.mode) {
            Ok(PublishMode::Directory) if present.is_some() => publish_directory(volumes, &tree, &target, &manifest)?,
            Ok(PublishMode::Directory) => find_published(volumes, &target, &manifest)?,
            _ => publish_files(volumes, &tree, &target, &manifest)?,
        }
    }
    failpoint!("publish.publish.after");
    Ok(())
}

/// Where a tree is published, relative to the compose's directory.
struct Target {
    path: PathBuf,
    /// Whether it belongs to the tree that people see, where directories that are there get their mode too.
    in_tree: bool,
}

impl Target {
    fn new(target: &str) -> Result<Self, PathError> {
        let target: LogicalPath = target.parse()?;
        match target.root() {
            Root::Compose => Ok(Self { path: Path::new("compose").join(target.rest()), in_tree: true }),
            Root::Top => Ok(Self { path: target.rest().into(), in_tree: false }),
            Root::Staging | Root::Blob | Root::File => {
                Err(PathError::Unsafe { path: target.to_string(), reason: "nothing is published there" })
            }
        }
    }

    /// Makes the directory that is `below` the target, and all that lead to it.
    fn make(&self, volumes: &Volumes, below: &Path) -> Result<PathBuf, PublishError> {
        tree::make_directories(&volumes.top, &self.path.join(below), self.in_tree)
    }

    fn make_parent(&self, volumes: &Volumes) -> Result<PathBuf, PublishError> {
        let parent = self.path.parent().unwrap_or(Path::new(""));
        tree::make_directories(&volumes.top, parent, self.in_tree)
    }
}

/// A tree that is not staged any more was published before if its target is what the manifest says; an empty tree
/// may never have had a directory. Anything else is lost, and must not pass for published.
fn find_published(volumes: &Volumes, target: &Target, manifest: &Manifest) -> Result<(), PublishError> {
    let path = volumes.top.join(&target.path);
    match tree::look(&volumes.top, &target.path)? {
        Some(_) => tree::check_tree(&path, manifest).map(drop),
        None if manifest.entries.is_empty() => target.make(volumes, Path::new("")).map(drop),
        None => {
            Err(tree::mismatch(&path, "is not published, and was removed from its staging directory below work/tutti"))
        }
    }
}

/// One rename. An older directory of an earlier attempt is moved aside first and removed.
fn publish_directory(volumes: &Volumes, tree: &Path, target: &Target, manifest: &Manifest) -> Result<(), PublishError> {
    // Also between verification and now somebody may have begun to remove it.
    for directory in tree::check_tree(tree, manifest)? {
        let path = tree.join(directory);
        let metadata = fs::symlink_metadata(&path).map_err(at("look at", &path))?;
        tree::set_mode(&path, &metadata)?;
    }
    let parent = target.make_parent(volumes)?;
    let target = volumes.top.join(&target.path);
    failpoint!("publish.directory.before");
    match tutti_files::rename(tree, &target) {
        Ok(()) => {}
        Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => {
            let aside = tree.with_extension("replaced");
            tutti_files::rename(&target, &aside).map_err(at("move aside", &target))?;
            failpoint!("publish.directory.aside");
            tutti_files::rename(tree, &target).map_err(at("move into place", &target))?;
            tutti_files::remove_dir_all(&aside).map_err(at("remove", &aside))?;
        }
        Err(error) => return Err(at("move into place", &target)(error).into()),
    }
    failpoint!("publish.directory.after");
    Ok(volume::sync_directory(&parent)?)
}

/// One rename a file, in manifest order.
fn publish_files(volumes: &Volumes, tree: &Path, target: &Target, manifest: &Manifest) -> Result<(), PublishError> {
    // Neighbours share their directory: each is made once.
    let mut directory = (PathBuf::new(), target.make(volumes, Path::new(""))?);
    let mut changed = BTreeSet::new();
    for entry in &manifest.entries {
        let below = Path::new(&entry.path);
        if entry.kind == i32::from(EntryKind::Directory) {
            target.make(volumes, below)?;
            continue;
        }
        let parent = below.parent().unwrap_or(Path::new(""));
        if parent != directory.0 {
            directory = (parent.to_owned(), target.make(volumes, parent)?);
        }
        let place = directory.1.join(below.file_name().unwrap_or_default());
        failpoint!("publish.file.before");
        match tutti_files::rename(&tree.join(below), &place) {
            Ok(()) => {}
            // Moved before, if it is what stands there.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                tree::check_stat(&place, entry)?;
            }
            Err(error) => return Err(at("move into place", &place)(error).into()),
        }
        failpoint!("publish.file.after");
        if !changed.contains(&directory.1) {
            changed.insert(directory.1.clone());
        }
    }
    for directory in changed {
        volume::sync_directory(&directory)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
