//! `link`: places packages below `Packages/`.
//!
//! What is placed is what the package set saw: its size and mtime are compared, those of a hard link behind it, as it is
//! the very file. On NFS a lost reply makes a link that was made report EEXIST; the inode decides.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Component, Path, PathBuf},
};

use tutti_job::{
    Entry, EntryKind, LogicalPath, Manifest, PackageEntry,
    params::{LinkParams, LinkType},
};

use super::{parallel, place};
use crate::{Access, FailureClass, JobContext, OrFail as _, Output, RunnerError, sandbox};

/// Rules that the sandbox gets for directories of packages, at most.
const MAX_DIRECTORIES: usize = 64;

/// Runs the job.
///
/// # Errors
/// Class input for sources that are gone or changed, or are on another filesystem where only hard links are wanted.
pub(super) fn run(context: &JobContext) -> Result<Vec<Output>, RunnerError> {
    let params: LinkParams = context.params()?;
    let mut outputs = Vec::new();
    for (output, packages) in outputs_of(context)? {
        let places = place::places(packages, params.hashed)?;
        outputs.push(tree(context, params.link_type, output, places)?);
    }
    Ok(outputs)
}

/// What the job reads and links from.
pub(super) fn access(context: &JobContext) -> Result<Access, RunnerError> {
    let params: LinkParams = context.params()?;
    let mut files = Vec::new();
    let mut parents = BTreeMap::new();
    for package in outputs_of(context)?.into_iter().flat_map(|(_, packages)| packages) {
        files.push(real(context.volumes.resolve(&package.path.parse::<LogicalPath>()?)?, &mut parents));
    }
    let directories = sandbox::covering_directories(files.iter().map(PathBuf::as_path), MAX_DIRECTORIES);
    Ok(match params.link_type {
        LinkType::Hardlink | LinkType::HardlinkOrCopy => Access { hard_links_from: directories, ..Access::default() },
        LinkType::Copy => Access { reads: directories, ..Access::default() },
        LinkType::Symlink | LinkType::AbspathSymlink => Access::default(),
    })
}

/// Where a package really is: rules of the sandbox hold for the real directory of what a symbolic link leads to. What
/// cannot be followed stays as it is; the job itself says what is wrong with it.
fn real(file: PathBuf, parents: &mut BTreeMap<PathBuf, PathBuf>) -> PathBuf {
    if fs::symlink_metadata(&file).is_ok_and(|metadata| metadata.is_symlink()) {
        return fs::canonicalize(&file).unwrap_or(file);
    }
    let (Some(parent), Some(name)) = (file.parent(), file.file_name()) else { return file };
    if let Some(known) = parents.get(parent) {
        return known.join(name);
    }
    let found = fs::canonicalize(parent).unwrap_or_else(|_| parent.to_owned());
    let file = found.join(name);
    parents.insert(parent.to_owned(), found);
    file
}

/// Outputs with their packages.
fn outputs_of(context: &JobContext) -> Result<Vec<(&'static str, Vec<PackageEntry>)>, RunnerError> {
    if context.spec.input("binary").is_err() {
        return Ok(vec![("packages", place::lists_below(context, "source/")?)]);
    }
    Ok(vec![("packages", place::list(context, "binary")?), ("debug-packages", place::list(context, "debug")?)])
}

/// One package to place.
struct Item {
    place: String,
    package: PackageEntry,
    source: PathBuf,
}

fn tree(
    context: &JobContext,
    link_type: LinkType,
    output: &str,
    places: BTreeMap<String, PackageEntry>,
) -> Result<Output, RunnerError> {
    let tree = context.output_tree(output)?;
    let target: LogicalPath = context.spec.output(output)?.target.parse()?;
    let target = context.volumes.resolve(&target)?;
    let mut items = Vec::with_capacity(places.len());
    for (place, package) in places {
        if let Some((directory, _)) = place.rsplit_once('/') {
            let directory = tree.join(directory);
            fs::create_dir_all(&directory)
                .or_fail(FailureClass::Tool, || format!("failed to make directory {}", directory.display()))?;
        }
        let source = context.volumes.resolve(&package.path.parse::<LogicalPath>()?)?;
        items.push(Item { place, package, source });
    }
    let mut entries = Vec::with_capacity(items.len());
    let total = items.len() as u64;
    let put = |(): &mut (), item: &Item| put(context, link_type, &tree, &target, item);
    parallel::ordered(
        context,
        &items,
        || (),
        put,
        |index, entry| {
            context.progress.set(output, index as u64 + 1, total);
            entries.push(entry);
            Ok(())
        },
    )?;
    context.finish_tree(output, &Manifest::new(entries)?)
}

fn put(
    context: &JobContext,
    link_type: LinkType,
    tree: &Path,
    target: &Path,
    item: &Item,
) -> Result<Entry, RunnerError> {
    let Item { place, package, source } = item;
    let staged = tree.join(place);
    context.counters.add("packages", 1);
    let link = match link_type {
        LinkType::Hardlink | LinkType::HardlinkOrCopy => {
            match tutti_files::hard_link_followed(source, &staged) {
                Ok(()) => {}
                Err(error) => {
                    check(source, package)?;
                    if link_type == LinkType::Hardlink || !is_cross_device(&error) {
                        return Err(cannot_link(source, &staged, error));
                    }
                    context.place_copy(source, &staged)?;
                }
            }
            None
        }
        LinkType::Copy => {
            check(source, package)?;
            context.place_copy(source, &staged)?;
            None
        }
        LinkType::Symlink => {
            check(source, package)?;
            let directory = target.join(place);
            Some(relative(directory.parent().unwrap_or(target), source))
        }
        LinkType::AbspathSymlink => {
            check(source, package)?;
            Some(source.clone())
        }
    };
    let Some(link) = link else { return placed_entry(item, &staged) };
    tutti_files::symlink(&link, &staged)
        .or_fail(FailureClass::Tool, || format!("failed to make the link {}", staged.display()))?;
    let text = link.to_str().ok_or_else(|| RunnerError::input(format!("path {link:?} is not UTF-8")))?;
    Ok(Entry { path: place.clone(), kind: EntryKind::Symlink.into(), source: text.to_owned(), ..Entry::default() })
}

fn placed_entry(item: &Item, staged: &Path) -> Result<Entry, RunnerError> {
    let Item { place, package, source } = item;
    let metadata = fs::symlink_metadata(staged)
        .or_fail(FailureClass::Infra, || format!("failed to look at {}", staged.display()))?;
    if (metadata.len(), metadata.mtime()) != (package.size, package.mtime) {
        return Err(changed(source, package, &metadata));
    }
    Ok(Entry {
        path: place.clone(),
        kind: EntryKind::Package.into(),
        size: package.size,
        mode: metadata.permissions().mode() & 0o7777,
        source: package.path.clone(),
        mtime: package.mtime,
        ..Entry::default()
    })
}

/// Fails unless the source is what the package set saw.
fn check(source: &Path, package: &PackageEntry) -> Result<(), RunnerError> {
    let metadata = fs::metadata(source).map_err(|error| {
        let cause = format!("failed to look at the package {}", source.display());
        let class = if error.kind() == io::ErrorKind::NotFound { FailureClass::Input } else { FailureClass::Infra };
        RunnerError::caused_by(class, cause, error).with_hint("keep repositories unchanged until a compose is done")
    })?;
    if (metadata.len(), metadata.mtime()) == (package.size, package.mtime) {
        Ok(())
    } else {
        Err(changed(source, package, &metadata))
    }
}

fn changed(source: &Path, package: &PackageEntry, found: &fs::Metadata) -> RunnerError {
    RunnerError::input(format!(
        "{} changed while it was composed: size {} and mtime {}, the package set says {} and {}",
        source.display(),
        found.len(),
        found.mtime(),
        package.size,
        package.mtime
    ))
    .with_hint("keep repositories unchanged until a compose is done, and start the compose again")
}

fn is_cross_device(error: &io::Error) -> bool {
    use rustix::io::Errno;
    // EMLINK: the inode has as many links as its filesystem allows. A copy serves there too.
    matches!(Errno::from_io_error(error), Some(Errno::XDEV | Errno::MLINK))
}

fn cannot_link(source: &Path, staged: &Path, error: io::Error) -> RunnerError {
    let cause = format!("failed to link {} to {}", source.display(), staged.display());
    if is_cross_device(&error) {
        return RunnerError::caused_by(FailureClass::Input, cause, error).with_hint(
            "packages and compose are on different filesystems: set link_type = \"hardlink-or-copy\", or move one of them",
        );
    }
    RunnerError::caused_by(FailureClass::Infra, cause, error)
}

/// `target` as seen from `directory`; both absolute and without `..`.
fn relative(directory: &Path, target: &Path) -> PathBuf {
    let shared = directory.components().zip(target.components()).take_while(|(a, b)| a == b).count();
    let mut path: PathBuf = directory.components().skip(shared).map(|_| Component::ParentDir).collect();
    path.extend(target.components().skip(shared));
    path
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
