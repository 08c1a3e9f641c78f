//! `extra-files`: copies files from directories and pinned git commits into one tree.
//!
//! Each item is a `file` (a path that may hold patterns; each match is copied into the target) or a `dir` (its content
//! is copied). Symbolic links are followed as far as they stay inside the place that is copied from.

mod git;

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Component, Path, PathBuf},
};

use tutti_distro::{extra_files::target_path, glob};
use tutti_job::params::{ExtraFile, ExtraFilesParams};

use crate::{Access, FailureClass, JobContext, OrFail as _, Output, RunnerError, log};

/// Most files of one job, and most directories that a pattern may look into.
const MAX_FILES: usize = 200_000;
/// Directories within each other.
const MAX_DEPTH: usize = 64;

/// Runs the job.
///
/// # Errors
/// Class input for files that do not exist, lead elsewhere or would replace what the compose writes.
pub(super) fn run(context: &JobContext) -> Result<Vec<Output>, RunnerError> {
    let params: ExtraFilesParams = context.params()?;
    let tree = context.output_tree("files")?;
    for (done, item) in params.items.iter().enumerate() {
        context.cancel.check()?;
        context.progress.set("copy files", done as u64, params.items.len() as u64);
        let found = export(context, item, done)?;
        let what = if item.dir.is_empty() { &item.file } else { &item.dir };
        if found.is_empty() {
            let is_empty = context.volumes.map_file(Path::new(what)).is_dir();
            let which = if is_empty { "there are no files in" } else { "nothing matches" };
            return Err(RunnerError::input(format!("extra_files: {which} {what:?}{}", of(item)))
                .with_hint("check the path, or remove the item from extra_files"));
        }
        log!(context, "{what}: {} files", found.len());
        for (below, source) in found {
            let target = target_path(Some(&item.target), &below)
                .or_fail(FailureClass::Input, || format!("extra_files: {below} cannot be placed"))?;
            copy(context, &source, &tree.join(target))?;
        }
    }
    let manifest = context.scan_tree(&tree)?;
    Ok(vec![context.finish_tree("files", &manifest)?])
}

/// What the job reads: directories of `file` items; for git the network, or a local repository.
pub(super) fn access(context: &JobContext) -> Result<Access, RunnerError> {
    let params: ExtraFilesParams = context.params()?;
    let mut access = Access::default();
    for item in &params.items {
        match item.scm.as_str() {
            "git" => match git::local(&item.repo) {
                Some(path) => access.reads.push(context.volumes.map_file(&path)),
                None => access.network = true,
            },
            _ => access.reads.push(context.volumes.map_file(&root_of(pattern_of(item)))),
        }
    }
    Ok(access)
}

fn of(item: &ExtraFile) -> String {
    if item.repo.is_empty() { String::new() } else { format!(" in {}", git::shown(&item.repo)) }
}

fn pattern_of(item: &ExtraFile) -> &str {
    if item.dir.is_empty() { &item.file } else { &item.dir }
}

/// Files of one item by their path below the target.
fn export(context: &JobContext, item: &ExtraFile, number: usize) -> Result<BTreeMap<String, PathBuf>, RunnerError> {
    if item.dir.is_empty() == item.file.is_empty() {
        return Err(RunnerError::input("extra_files: an item needs either file or dir"));
    }
    let (root, pattern) = match item.scm.as_str() {
        "file" => {
            let configured = Path::new(pattern_of(item));
            if !configured.is_absolute() {
                return Err(RunnerError::input(format!("extra_files: {configured:?} is not an absolute path")));
            }
            let root = root_of(pattern_of(item));
            let below = configured.strip_prefix(&root).unwrap_or(Path::new(""));
            (context.volumes.map_file(&root), below.to_owned())
        }
        "git" => {
            let checkout = git::checkout(context, item, number)?;
            (checkout, PathBuf::from(pattern_of(item).trim_start_matches('/')))
        }
        other => {
            return Err(RunnerError::input(format!("extra_files: scm {other:?} is not supported yet"))
                .with_hint("use file or git"));
        }
    };
    let real_root = fs::canonicalize(&root)
        .or_fail(FailureClass::Input, || format!("extra_files: cannot use {}", root.display()))?;
    let mut found = BTreeMap::new();
    for path in expand(&root, &pattern)? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if item.dir.is_empty() {
            inside(&real_root, &path)?;
            if fs::metadata(&path).is_ok_and(|metadata| metadata.is_file()) {
                found.insert(name, path);
            }
        } else {
            walk(context, &real_root, &path, &mut found)?;
        }
    }
    Ok(found)
}

/// The part of a path before its first pattern; for a path without, the directory that it is in.
fn root_of(pattern: &str) -> PathBuf {
    let is_plain = |part: &Component<'_>| !part.as_os_str().to_string_lossy().contains(['*', '?', '[']);
    let path = Path::new(pattern);
    let plain: PathBuf = path.components().take_while(is_plain).collect();
    if plain.components().count() == path.components().count() {
        return plain.parent().map_or(plain.clone(), Path::to_owned);
    }
    plain
}

/// Paths below `root` that match `pattern` part by part, sorted (Python's `glob`: `*` matches no leading dot).
fn expand(root: &Path, pattern: &Path) -> Result<Vec<PathBuf>, RunnerError> {
    let mut paths = vec![root.to_owned()];
    for part in pattern.components() {
        let part = match part {
            Component::Normal(part) => part.to_str().unwrap_or_default().to_owned(),
            Component::CurDir => continue,
            _ => return Err(RunnerError::input(format!("extra_files: {pattern:?} leads out of its place"))),
        };
        let mut next = Vec::new();
        for path in paths {
            if !part.contains(['*', '?', '[']) {
                next.extend(Some(path.join(&part)).filter(|path| fs::symlink_metadata(path).is_ok()));
                continue;
            }
            let failed = || format!("extra_files: failed to read directory {}", path.display());
            match fs::read_dir(&path) {
                Err(error) if matches!(error.kind(), io::ErrorKind::NotADirectory | io::ErrorKind::NotFound) => {}
                items => {
                    for item in items.or_fail(FailureClass::Input, failed)? {
                        let name = item.or_fail(FailureClass::Input, failed)?.file_name();
                        let matches = name.to_str().is_some_and(|name| {
                            name.starts_with('.') == part.starts_with('.') && glob::matches(&part, name)
                        });
                        next.extend(matches.then(|| path.join(&name)));
                    }
                }
            }
            if next.len() > MAX_FILES {
                return Err(RunnerError::input(format!(
                    "extra_files: {pattern:?} matches more than {MAX_FILES} files"
                )));
            }
        }
        paths = next;
    }
    paths.sort();
    Ok(paths)
}

/// All files below a directory.
fn walk(
    context: &JobContext,
    root: &Path,
    directory: &Path,
    found: &mut BTreeMap<String, PathBuf>,
) -> Result<(), RunnerError> {
    let mut pending = vec![(directory.to_owned(), String::new(), 0)];
    while let Some((path, below, depth)) = pending.pop() {
        context.cancel.check()?;
        inside(root, &path)?;
        if depth > MAX_DEPTH || found.len() > MAX_FILES {
            return Err(RunnerError::input(format!("extra_files: {} is too large or too deep", directory.display())));
        }
        let failed = || format!("extra_files: failed to read directory {}", path.display());
        for item in fs::read_dir(&path).or_fail(FailureClass::Input, failed)? {
            let item = item.or_fail(FailureClass::Input, failed)?;
            let name = item.file_name().into_string();
            let name = name.map_err(|name| RunnerError::input(format!("extra_files: name {name:?} is not UTF-8")))?;
            if name == ".git" {
                continue;
            }
            let below = if below.is_empty() { name } else { format!("{below}/{name}") };
            let kind = item.file_type().or_fail(FailureClass::Input, failed)?;
            if kind.is_dir() {
                pending.push((item.path(), below, depth + 1));
            } else {
                inside(root, &item.path())?;
                found.insert(below, item.path());
            }
        }
    }
    Ok(())
}

/// Refuses what a symbolic link leads to outside of the place that is copied from.
fn inside(root: &Path, path: &Path) -> Result<(), RunnerError> {
    let real = fs::canonicalize(path)
        .or_fail(FailureClass::Input, || format!("extra_files: cannot use {}", path.display()))?;
    if real.starts_with(root) && !real.starts_with(root.join(".git")) {
        return Ok(());
    }
    Err(RunnerError::input(format!(
        "extra_files: {} leads out of {}, to {}",
        path.display(),
        root.display(),
        real.display()
    ))
    .with_hint("replace the link by what it leads to"))
}

/// Copies one regular file; of its mode only the executable bit stays.
fn copy(context: &JobContext, source: &Path, target: &Path) -> Result<(), RunnerError> {
    let failed = || format!("extra_files: failed to copy {}", source.display());
    let metadata = fs::metadata(source).or_fail(FailureClass::Input, failed)?;
    if !metadata.is_file() {
        return Err(RunnerError::input(format!("extra_files: {} is not a regular file", source.display())));
    }
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent).or_fail(FailureClass::Input, failed)?;
    }
    tutti_files::remove_file(target).map_err(|error| {
        RunnerError::caused_by(FailureClass::Input, failed(), error)
            .with_hint("one item of extra_files has a directory where another has a file")
    })?;
    let count = fs::copy(source, target).or_fail(FailureClass::Tool, failed)?;
    context.counters.add("copied_bytes", count);
    let mode = if metadata.permissions().mode() & 0o111 == 0 { 0o644 } else { 0o755 };
    fs::set_permissions(target, fs::Permissions::from_mode(mode)).or_fail(FailureClass::Tool, failed)
}

#[cfg(test)]
mod tests;
