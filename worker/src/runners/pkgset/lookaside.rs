//! A lookaside source: universes from metadata alone; files are neither hashed nor, where there is metadata, opened.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use tutti_depsolve::{
    UniverseBuilder,
    arch::{self, Libraries},
};
use tutti_job::params::PkgsetParams;
use tutti_repodata::{ReadOptions, Repository};
use tutti_rpm::{HeaderReader, Package};

use super::{
    download::Remote,
    sources::{self, Place},
    universes,
};
use crate::{FailureClass, JobContext, OrFail as _, Output, RunnerError, log};

/// Makes `universe/ARCH` of all arches.
pub(super) fn run(context: &JobContext, params: &PkgsetParams) -> Result<Vec<Output>, RunnerError> {
    let mut outputs = Vec::new();
    for (arch, source) in &params.arches {
        let libraries = if source.multilib { Libraries::Multilib } else { Libraries::Native };
        let valid = arch::valid_arches(arch, libraries);
        let mut builder = UniverseBuilder::new(arch);
        let mut count: u32 = 0;
        for repository in &source.repos {
            let mut add = |package: &Package| {
                if valid.contains(&package.arch.as_str()) {
                    builder.add(package, count);
                    count = count.saturating_add(1);
                }
            };
            match Place::parse(repository)? {
                Place::Directory(directory) => directory_packages(context, &directory, &mut add)?,
                Place::Remote(url) => repository_packages(context, &Remote::new(&url)?.repository()?, &url, &mut add)?,
            }
        }
        log!(context, "{arch}: {count} packages");
        context.counters.add("packages", u64::from(count));
        outputs.push(universes::write(context, arch, builder)?);
    }
    Ok(outputs)
}

fn directory_packages(
    context: &JobContext,
    configured: &Path,
    add: &mut dyn FnMut(&Package),
) -> Result<(), RunnerError> {
    let directory = context.volumes.map_file(configured);
    sources::require_directory(&directory)?;
    if directory.join("repodata/repomd.xml").exists() {
        let name = directory.display().to_string();
        let repository = Repository::open_local(&directory)
            .or_fail(FailureClass::Input, || format!("failed to read the repository {name}"))?;
        return repository_packages(context, &repository, &name, add);
    }
    let mut reader = HeaderReader::default();
    for path in bare_files(context, configured)? {
        context.cancel.check()?;
        let package = reader.package(&path);
        add(&package.or_fail(FailureClass::Input, || format!("{} is no readable RPM", path.display()))?);
    }
    Ok(())
}

fn bare_files(context: &JobContext, configured: &Path) -> Result<Vec<PathBuf>, RunnerError> {
    let repository = configured.to_str().unwrap_or_default().to_owned();
    let arches =
        BTreeMap::from([(String::new(), tutti_job::params::PkgsetArch { repos: vec![repository], multilib: false })]);
    let params = PkgsetParams { arches, ..context.params()? };
    let listing = sources::list(context, &params)?;
    Ok(listing.files.into_iter().map(|file| file.path).collect())
}

fn repository_packages(
    context: &JobContext,
    repository: &Repository,
    name: &str,
    add: &mut dyn FnMut(&Package),
) -> Result<(), RunnerError> {
    let options = ReadOptions { filelists: true, other: false, ..ReadOptions::default() };
    let cause = || format!("failed to read the metadata of {name}");
    // The universe is an output only when the whole metadata was read and found to be right.
    for (number, package) in repository.packages(options).or_fail(FailureClass::Input, cause)?.enumerate() {
        add(&package.or_fail(FailureClass::Input, cause)?.package);
        if number % 1024 == 0 {
            context.cancel.check()?;
            context.progress.set("read metadata", number as u64, 0);
        }
    }
    Ok(())
}
