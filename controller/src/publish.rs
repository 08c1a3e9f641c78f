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

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use tutti_failpoint::failpoint;
use tutti_job::{Digest, Entry, EntryKind, Fence, JobSpec, LogicalPath, Manifest, OutputSpec, PublishMode, Volumes};

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

    /// Whether the volume is full.
    pub fn is_no_space(&self) -> bool {
        matches!(self, Self::Volume(VolumeError::Io { source, .. }) if source.kind() == io::ErrorKind::StorageFull)
    }
}

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
    let staging = volumes.staging_of(fence);
    let mut hashed = 0;
    for output in reported {
        let declared = spec.output(&output.name).map_err(|_| PublishError::Names {
            reported: names.clone(),
            declared: spec.outputs.iter().map(|output| output.name.clone()).collect(),
        })?;
        hashed += verify_output(volumes, &staging, declared, output)?;
    }
    failpoint!("publish.verify.after");
    Ok(hashed)
}

fn verify_output(
    volumes: &Volumes,
    staging: &Path,
    declared: &OutputSpec,
    reported: &ReportedOutput,
) -> Result<u64, PublishError> {
    let part = if declared.is_tree() { "manifests" } else { "out" };
    let staged = staging.join(part).join(&reported.name);
    let blob = volumes.blob(&reported.digest);
    // After a crash in the middle, what was staged may already be a blob: both places count.
    let present = if staged.exists() { &staged } else { &blob };
    let file_size = (!declared.is_tree()).then_some(reported.size);
    let mut hashed = check_file(present, &reported.digest, file_size)?;
    if declared.is_tree() {
        let bytes = fs::read(present).map_err(at("read manifest", present))?;
        let manifest = Manifest::decode_checked(&bytes)
            .map_err(|source| PublishError::Manifest { name: reported.name.clone(), source })?;
        hashed += verify_tree(volumes, &staging.join("trees").join(&reported.name), declared, &manifest)?;
    }
    volume::adopt_blob(volumes, &staged, &reported.digest)?;
    Ok(hashed)
}

fn verify_tree(volumes: &Volumes, tree: &Path, output: &OutputSpec, manifest: &Manifest) -> Result<u64, PublishError> {
    let mut hashed = 0;
    for entry in &manifest.entries {
        hashed += verify_entry(volumes, &tree.join(&entry.path), output, entry)?;
    }
    let listed = manifest.entries.iter().filter(|entry| entry.kind != i32::from(EntryKind::Directory)).count();
    let found = count_files(tree)?;
    if found != listed {
        let reason = format!("holds {found} files, the manifest lists {listed}");
        return Err(PublishError::Mismatch { path: tree.to_owned(), reason });
    }
    Ok(hashed)
}

fn verify_entry(volumes: &Volumes, path: &Path, output: &OutputSpec, entry: &Entry) -> Result<u64, PublishError> {
    let mismatch = |reason: String| PublishError::Mismatch { path: path.to_owned(), reason };
    let metadata = fs::symlink_metadata(path).map_err(at("look at", path))?;
    match EntryKind::try_from(entry.kind) {
        Ok(EntryKind::File) => {
            let digest = Digest::try_from(entry.digest.as_slice()).map_err(|error| mismatch(error.to_string()))?;
            if !metadata.is_file() {
                return Err(mismatch("is not a regular file".into()));
            }
            check_file(path, &digest, Some(entry.size))
        }
        Ok(EntryKind::Directory) if metadata.is_dir() => Ok(0),
        Ok(EntryKind::Symlink) => {
            let target = fs::read_link(path).map_err(at("read link", path))?;
            if target.as_os_str() == entry.source.as_str() {
                Ok(0)
            } else {
                Err(mismatch(format!("links to {}", target.display())))
            }
        }
        Ok(EntryKind::Package) => {
            check_package(volumes, path, output, entry, &metadata)?;
            Ok(0)
        }
        _ => Err(mismatch("is not what the manifest says".into())),
    }
}

/// A placed package: the same inode as its source, or a copy with the same size and whole-second mtime.
fn check_package(
    volumes: &Volumes,
    path: &Path,
    output: &OutputSpec,
    entry: &Entry,
    placed: &fs::Metadata,
) -> Result<(), PublishError> {
    let mismatch = |reason: String| PublishError::Mismatch { path: path.to_owned(), reason };
    let source: LogicalPath =
        entry.source.parse().map_err(|source| PublishError::Path { name: output.name.clone(), source })?;
    let source = volumes.resolve(&source).map_err(|source| PublishError::Path { name: output.name.clone(), source })?;
    if placed.size() != entry.size || placed.mtime() != entry.mtime {
        return Err(mismatch(format!(
            "has size {} and mtime {}, the package set says {} and {}",
            placed.size(),
            placed.mtime(),
            entry.size,
            entry.mtime
        )));
    }
    let original = fs::metadata(&source).map_err(at("look at", &source))?;
    let same_inode = (original.dev(), original.ino()) == (placed.dev(), placed.ino());
    if !same_inode && (original.size() != entry.size || original.mtime() != entry.mtime) {
        return Err(mismatch(format!("its source {} changed while it was composed", source.display())));
    }
    Ok(())
}

/// The digest decides; a known size makes the message better.
fn check_file(path: &Path, digest: &Digest, size: Option<u64>) -> Result<u64, PublishError> {
    let file = fs::File::open(path).map_err(at("open", path))?;
    let (found, length) = Digest::of_reader(file).map_err(at("read", path))?;
    if found != *digest || size.is_some_and(|size| size != length) {
        let wanted = size.map(|size| format!("{size} bytes with ")).unwrap_or_default();
        let reason = format!("has {length} bytes with SHA-256 {found}, reported were {wanted}{digest}");
        return Err(PublishError::Mismatch { path: path.to_owned(), reason });
    }
    Ok(length)
}

fn count_files(tree: &Path) -> Result<usize, PublishError> {
    let mut count = 0;
    let mut directories = vec![tree.to_owned()];
    while let Some(directory) = directories.pop() {
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound && directory == tree => return Ok(0),
            Err(error) => return Err(at("read directory", &directory)(error).into()),
        };
        for entry in entries {
            let entry = entry.map_err(at("read directory", &directory))?;
            let kind = entry.file_type().map_err(at("look at", &directory))?;
            if kind.is_dir() {
                directories.push(entry.path());
            } else {
                count += 1;
            }
        }
    }
    Ok(count)
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
        let target: LogicalPath =
            declared.target.parse().map_err(|source| PublishError::Path { name: output.name.clone(), source })?;
        let target =
            volumes.resolve(&target).map_err(|source| PublishError::Path { name: output.name.clone(), source })?;
        let tree = volumes.staging_of(fence).join("trees").join(&output.name);
        match PublishMode::try_from(declared.mode) {
            Ok(PublishMode::Directory) => publish_directory(&tree, &target)?,
            _ => publish_files(volumes, &tree, &target, output)?,
        }
    }
    failpoint!("publish.publish.after");
    Ok(())
}

/// One rename. An older directory of an earlier attempt is moved aside first and removed.
fn publish_directory(tree: &Path, target: &Path) -> Result<(), PublishError> {
    if !tree.exists() {
        // An empty tree has no directory, and a tree that was moved already has none either: the target decides.
        return match fs::metadata(target) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(target).map_err(at("create directory", target)).map_err(Into::into)
            }
            Err(error) => Err(at("look at", target)(error).into()),
        };
    }
    let parent = target.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(at("create directory", parent))?;
    match fs::rename(tree, target) {
        Ok(()) => return Ok(()),
        Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => {}
        Err(error) => return Err(at("move into place", target)(error).into()),
    }
    let aside = tree.with_extension("replaced");
    fs::rename(target, &aside).map_err(at("move aside", target))?;
    fs::rename(tree, target).map_err(at("move into place", target))?;
    fs::remove_dir_all(&aside).map_err(at("remove", &aside))?;
    Ok(())
}

/// One rename a file, in manifest order.
fn publish_files(volumes: &Volumes, tree: &Path, target: &Path, output: &ReportedOutput) -> Result<(), PublishError> {
    let bytes = volume::get_blob(volumes, &output.digest)?;
    let manifest = Manifest::decode_checked(&bytes)
        .map_err(|source| PublishError::Manifest { name: output.name.clone(), source })?;
    fs::create_dir_all(target).map_err(at("create directory", target))?;
    for entry in &manifest.entries {
        let place = target.join(&entry.path);
        if entry.kind == i32::from(EntryKind::Directory) {
            fs::create_dir_all(&place).map_err(at("create directory", &place))?;
            continue;
        }
        let parent = place.parent().unwrap_or(target);
        fs::create_dir_all(parent).map_err(at("create directory", parent))?;
        let staged = tree.join(&entry.path);
        match fs::rename(&staged, &place) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(&place).is_ok() => {}
            Err(error) => return Err(at("move into place", &place)(error).into()),
        }
    }
    Ok(())
}

/// Removes an attempt's staging directory; one that is gone is fine.
///
/// # Errors
/// I/O errors.
pub fn clean(volumes: &Volumes, fence: &Fence) -> Result<(), VolumeError> {
    let staging = volumes.staging_of(fence);
    match fs::remove_dir_all(&staging) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at("remove", &staging)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tutti_job::{JobKind, Root};

    struct Case {
        _dir: tempfile::TempDir,
        volumes: Volumes,
        fence: Fence,
        spec: JobSpec,
        reported: Vec<ReportedOutput>,
    }

    fn case(mode: PublishMode) -> Case {
        let dir = tempfile::tempdir().unwrap();
        let volumes = Volumes::new(dir.path());
        let fence = Fence { job: 1, attempt: 1, executor: 7 };
        let staging = volumes.staging_of(&fence);
        let tree = staging.join("trees/repodata");
        fs::create_dir_all(&tree).unwrap();
        fs::create_dir_all(staging.join("manifests")).unwrap();
        fs::write(tree.join("repomd.xml"), b"<repomd/>").unwrap();
        let entry = Entry {
            path: "repomd.xml".into(),
            kind: EntryKind::File.into(),
            size: 9,
            mode: 0o644,
            digest: Digest::of(b"<repomd/>").as_bytes().to_vec(),
            ..Entry::default()
        };
        let (bytes, digest) = Manifest::new(vec![entry]).unwrap().encode_canonical();
        fs::write(staging.join("manifests/repodata"), &bytes).unwrap();
        let target = LogicalPath::new(Root::Compose, "Server/x86_64/os/repodata").unwrap();
        let output = match mode {
            PublishMode::Directory => OutputSpec::directory("repodata", &target),
            _ => OutputSpec::merge("repodata", &target),
        };
        let spec = JobSpec::new(JobKind::Createrepo, &(), vec![], vec![output]).unwrap();
        let reported = vec![ReportedOutput { name: "repodata".into(), digest, size: bytes.len() as u64 }];
        Case { _dir: dir, volumes, fence, spec, reported }
    }

    #[test]
    fn verify_and_publish_can_be_repeated() {
        for mode in [PublishMode::Directory, PublishMode::Merge] {
            let case = case(mode);
            for _ in 0..2 {
                verify(&case.volumes, &case.fence, &case.spec, &case.reported).unwrap();
            }
            for _ in 0..2 {
                publish(&case.volumes, &case.fence, &case.spec, &case.reported).unwrap();
            }
            let published = case.volumes.top.join("compose/Server/x86_64/os/repodata/repomd.xml");
            assert_eq!(fs::read(published).unwrap(), b"<repomd/>");
            clean(&case.volumes, &case.fence).unwrap();
            clean(&case.volumes, &case.fence).unwrap();
        }
    }

    #[test]
    fn what_differs_from_the_report_is_refused() {
        let tampered: [fn(&Case); 3] = [
            |case| {
                fs::write(case.volumes.staging_of(&case.fence).join("trees/repodata/repomd.xml"), b"<evilmd/>").unwrap()
            },
            |case| fs::write(case.volumes.staging_of(&case.fence).join("trees/repodata/extra"), b"x").unwrap(),
            |case| fs::remove_file(case.volumes.staging_of(&case.fence).join("trees/repodata/repomd.xml")).unwrap(),
        ];
        for tamper in tampered {
            let case = case(PublishMode::Directory);
            tamper(&case);
            verify(&case.volumes, &case.fence, &case.spec, &case.reported).unwrap_err();
        }
        let mut case = case(PublishMode::Directory);
        case.reported[0].name = "other".into();
        assert!(matches!(
            verify(&case.volumes, &case.fence, &case.spec, &case.reported),
            Err(PublishError::Names { .. })
        ));
    }

    #[test]
    fn a_directory_of_an_earlier_attempt_is_replaced() {
        let case = case(PublishMode::Directory);
        let target = case.volumes.top.join("compose/Server/x86_64/os/repodata");
        fs::create_dir_all(&target).unwrap();
        fs::write(target.join("old"), b"old").unwrap();
        verify(&case.volumes, &case.fence, &case.spec, &case.reported).unwrap();
        publish(&case.volumes, &case.fence, &case.spec, &case.reported).unwrap();
        assert!(!target.join("old").exists() && target.join("repomd.xml").exists());
    }
}
