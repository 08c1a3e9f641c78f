//! One runner per job kind.
//!
//! A runner reads inputs by name, writes outputs below the staging directory and returns them; see [`crate::runner`].
//! Which inputs and outputs a kind has stands in [`tutti_job::params`].

mod checksum;
mod createrepo;
mod extra_files;
mod link;
mod metadata;
mod parallel;
mod pkgset;
mod place;
mod repoclosure;
pub mod result;
mod solve;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod tree_info;
mod trim;

pub use self::pkgset::download::remote_repository;
pub(crate) use self::pkgset::packs::left_in as pkgset_leftovers;

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use tutti_job::JobKind;

use crate::{Access, FailureClass, JobContext, OrFail as _, RunnerError, RunnerFn, Runners};

/// The runners of this program.
pub const ALL: Runners = Runners { find, access };

/// Returns the runner of `kind`.
///
/// # Errors
/// When this program has none.
pub fn find(kind: JobKind) -> Result<RunnerFn, RunnerError> {
    Ok(match kind {
        JobKind::Pkgset => pkgset::run,
        JobKind::Solve => solve::run,
        JobKind::Trim => trim::run,
        JobKind::Link => link::run,
        JobKind::Createrepo | JobKind::CreaterepoDebug => createrepo::run,
        JobKind::ExtraFiles => extra_files::run,
        JobKind::TreeInfo => tree_info::run,
        JobKind::Repoclosure => repoclosure::run,
        JobKind::Checksum => checksum::run,
        JobKind::Metadata => metadata::run,
    })
}

/// Returns what a job may do besides reading blobs and writing below its staging directory.
///
/// # Errors
/// When the job's parameters or inputs cannot be read.
pub fn access(context: &JobContext) -> Result<Access, RunnerError> {
    match context.spec.kind()? {
        JobKind::Pkgset => pkgset::access(context),
        JobKind::Link => link::access(context),
        JobKind::ExtraFiles => extra_files::access(context),
        JobKind::Checksum => checksum::access(context),
        JobKind::Createrepo | JobKind::CreaterepoDebug => Ok(createrepo::access(context)),
        JobKind::Solve | JobKind::Trim | JobKind::TreeInfo | JobKind::Repoclosure | JobKind::Metadata => {
            Ok(Access::default())
        }
    }
}

/// Writes a file that everybody may read.
fn write(path: &Path, bytes: &[u8]) -> Result<(), RunnerError> {
    let failed = || format!("failed to write {}", path.display());
    fs::write(path, bytes).or_fail(FailureClass::Tool, failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).or_fail(FailureClass::Tool, failed)
}
