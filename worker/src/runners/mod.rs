//! One runner per job kind.

use tutti_job::JobKind;

use crate::{Access, JobContext, RunnerError, RunnerFn, Runners};

/// The runners of this program.
pub const ALL: Runners = Runners { find, access };

/// Returns the runner of `kind`.
///
/// # Errors
/// When this program has none.
pub fn find(kind: JobKind) -> Result<RunnerFn, RunnerError> {
    match kind {
        JobKind::Pkgset
        | JobKind::Solve
        | JobKind::Trim
        | JobKind::Link
        | JobKind::Createrepo
        | JobKind::CreaterepoDebug
        | JobKind::ExtraFiles
        | JobKind::TreeInfo
        | JobKind::Repoclosure
        | JobKind::Checksum
        | JobKind::Metadata => Err(RunnerError::tool(format!("no runner for {kind}"))),
    }
}

/// Returns what a job may do besides reading blobs and writing below its staging directory.
///
/// # Errors
/// When the job's parameters or inputs cannot be read.
pub fn access(context: &JobContext) -> Result<Access, RunnerError> {
    match context.spec.kind()? {
        JobKind::Pkgset | JobKind::ExtraFiles => Ok(Access { network: true, ..Access::default() }),
        JobKind::Solve
        | JobKind::Trim
        | JobKind::Link
        | JobKind::Createrepo
        | JobKind::CreaterepoDebug
        | JobKind::TreeInfo
        | JobKind::Repoclosure
        | JobKind::Checksum
        | JobKind::Metadata => Ok(Access::default()),
    }
}
