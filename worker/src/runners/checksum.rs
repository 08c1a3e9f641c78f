//! `checksum`: hashes the files that others put into a tree: extra files into `extra_files.json`, images into CHECKSUM
//! files beside them (pungi 4.3.2, `phases/image_checksum.py`; extra files get no CHECKSUM file there either).

use std::{collections::BTreeMap, fs::File, io::Read as _, path::Path};

use tutti_distro::{
    checksum_file::{Algorithm, HashedFile, MultiHasher, Style, checksum_files},
    extra_files::{self, ExtraFile},
};
use tutti_job::{Digest, EntryKind, LogicalPath, Manifest, params::ChecksumParams};

use super::place;
use crate::{Access, FailureClass, JobContext, OrFail as _, Output, RunnerError};

/// Bytes of one read.
const BLOCK: usize = 512 * 1024;

/// Runs the job.
///
/// # Errors
/// Class infra when a file of the tree is not what its manifest says.
pub(super) fn run(context: &JobContext) -> Result<Vec<Output>, RunnerError> {
    let params: ChecksumParams = context.params()?;
    let algorithms: Vec<Algorithm> = params
        .types
        .iter()
        .map(|name| name.parse().or_fail(FailureClass::Input, || "media_checksums is not usable"))
        .collect::<Result<_, RunnerError>>()?;
    let mut outputs = Vec::new();
    for (number, name) in place::numbered(&context.spec, "files/")? {
        let root = params.roots.get(number as usize);
        let root = root.ok_or_else(|| RunnerError::tool(format!("no root for input {name}")))?;
        let root = context.volumes.resolve(&root.parse::<LogicalPath>()?)?;
        let manifest = Manifest::decode_checked(&context.input_bytes(&name)?)?;
        let hashed = hash_all(context, &algorithms, &root, &manifest)?;
        let output = format!("sums/{number}");
        let tree = context.output_tree(&output)?;
        if params.extra_files_json {
            let bytes = write_json(&tree, &hashed)?;
            // The compose's own list is made of these.
            let list = format!("extra-files/{number}");
            if context.spec.output(&list).is_ok() {
                outputs.push(context.write_file(&list, &bytes)?);
            }
        } else {
            write_sums(&params, &algorithms, &tree, hashed)?;
        }
        let manifest = context.scan_tree(&tree)?;
        outputs.push(context.finish_tree(&output, &manifest)?);
    }
    Ok(outputs)
}

/// What the job reads besides blobs: the trees.
pub(super) fn access(context: &JobContext) -> Result<Access, RunnerError> {
    let params: ChecksumParams = context.params()?;
    let mut access = Access::default();
    for root in &params.roots {
        access.reads.push(context.volumes.resolve(&root.parse::<LogicalPath>()?)?);
    }
    Ok(access)
}

fn hash_all(
    context: &JobContext,
    algorithms: &[Algorithm],
    root: &Path,
    manifest: &Manifest,
) -> Result<Vec<HashedFile>, RunnerError> {
    let files: Vec<_> = manifest.entries.iter().filter(|entry| entry.kind == i32::from(EntryKind::File)).collect();
    let mut wanted = algorithms.to_vec();
    // The manifest's own digest proves that the tree still has the file that was put there.
    if !wanted.contains(&Algorithm::Sha256) {
        wanted.push(Algorithm::Sha256);
    }
    let mut hashed = Vec::with_capacity(files.len());
    for (done, entry) in files.iter().enumerate() {
        context.cancel.check()?;
        context.progress.set("hash files", done as u64, files.len() as u64);
        let path = root.join(&entry.path);
        let (size, mut digests) = hash(context, &wanted, &path)?;
        let expected = Digest::try_from(entry.digest.as_slice())
            .or_fail(FailureClass::Tool, || format!("manifest has no digest of {}", entry.path))?;
        if digests.get(&Algorithm::Sha256).is_none_or(|found| *found != expected.to_string()) {
            return Err(RunnerError::infra(format!("{} is not what its manifest says", path.display()))
                .with_hint("something changed the tree: retry the extra-files job"));
        }
        digests.retain(|algorithm, _| algorithms.contains(algorithm));
        hashed.push(HashedFile { name: entry.path.clone(), size, digests });
    }
    Ok(hashed)
}

fn hash(
    context: &JobContext,
    algorithms: &[Algorithm],
    path: &Path,
) -> Result<(u64, BTreeMap<Algorithm, String>), RunnerError> {
    let failed = || format!("failed to read {}", path.display());
    let mut file = File::open(path).or_fail(FailureClass::Infra, failed)?;
    let mut hasher = MultiHasher::new(algorithms);
    let mut block = vec![0; BLOCK];
    loop {
        context.cancel.check()?;
        match file.read(&mut block).or_fail(FailureClass::Infra, failed)? {
            0 => break,
            count => {
                hasher.update(&block[..count]);
                context.counters.add("hashed_bytes", count as u64);
            }
        }
    }
    Ok(hasher.finish())
}

fn write_json(tree: &Path, hashed: &[HashedFile]) -> Result<Vec<u8>, RunnerError> {
    let files = hashed.iter().map(|file| ExtraFile {
        checksums: file.digests.iter().map(|(algorithm, digest)| (algorithm.to_string(), digest.clone())).collect(),
        file: file.name.clone(),
        size: file.size,
    });
    let mut bytes = Vec::new();
    extra_files::tree_file(&mut bytes, files.collect())
        .or_fail(FailureClass::Tool, || "failed to make extra_files.json")?;
    super::write(&tree.join("extra_files.json"), &bytes)?;
    Ok(bytes)
}

/// CHECKSUM files in each directory that has images.
fn write_sums(
    params: &ChecksumParams,
    algorithms: &[Algorithm],
    tree: &Path,
    hashed: Vec<HashedFile>,
) -> Result<(), RunnerError> {
    let mut directories: BTreeMap<String, Vec<HashedFile>> = BTreeMap::new();
    for mut file in hashed {
        let (directory, name) = match file.name.rsplit_once('/') {
            Some((directory, name)) => (directory.to_owned(), name.to_owned()),
            None => (String::new(), file.name.clone()),
        };
        file.name = name;
        directories.entry(directory).or_default().push(file);
    }
    let style = if params.one_file { Style::OneFile } else { Style::PerImage };
    for (directory, files) in directories {
        let sums = checksum_files(&files, algorithms, style, &params.base_name)
            .or_fail(FailureClass::Input, || "failed to make checksum files")?;
        for sum in sums {
            let path = tree.join(&directory).join(&sum.name);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)
                    .or_fail(FailureClass::Tool, || format!("failed to make directory {}", parent.display()))?;
            }
            super::write(&path, sum.text.as_bytes())?;
        }
    }
    Ok(())
}
