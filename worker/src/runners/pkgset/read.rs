//! One pass over one RPM file: headers, facts, checksums.

use std::{os::unix::fs::MetadataExt as _, path::Path};

use sha2::{Digest as _, Sha256};
pub(super) use tutti_createrepo::rpm_file::Buffers;
use tutti_createrepo::{PackageError, rpm_file::RpmFile};
use tutti_distro::layout::package_file_name;
use tutti_repodata::{Checksum, ChecksumType, FileIdentity, FragmentOptions, KnownFile, Record};
use tutti_rpm::{Evr, Package};

use super::{resume, sources::SourceFile};
use crate::{FailureClass, JobContext, OrFail as _, RunnerError};

/// What to do about a damaged file.
const FETCH_AGAIN: &str = "fetch the file again or remove it from the repository";

/// What choosing packages needs to know of one file; everything else is in its record.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) name: String,
    pub(super) evr: Evr,
    pub(super) arch: String,
    pub(super) source_rpm: Option<String>,
    pub(super) signing_key: Option<String>,
    pub(super) exclude_arch: Vec<String>,
    pub(super) exclusive_arch: Vec<String>,
    pub(super) size: u64,
    pub(super) mtime: i64,
    pub(super) checksum: Checksum,
    /// SHA-256 of the main header, and the payload's length: equal for copies that differ in their signature only.
    pub(super) content: ([u8; 32], u64),
}

impl Facts {
    /// `NAME-VERSION-RELEASE.ARCH.rpm`, as the header says.
    pub(super) fn file_name(&self) -> String {
        format!("{}-{}-{}.{}.rpm", self.name, self.evr.version, self.evr.release, self.arch)
    }

    /// `NAME-[EPOCH:]VERSION-RELEASE.ARCH`.
    pub(super) fn nevra(&self) -> String {
        format!("{}-{}.{}", self.name, self.evr, self.arch)
    }

    pub(super) fn is_source(&self) -> bool {
        self.arch == "src" || self.arch == "nosrc"
    }
}

/// One package, read or taken over.
pub(super) struct Found {
    pub(super) facts: Facts,
    pub(super) record: Record,
    /// For a checkpoint.
    pub(super) known: KnownFile,
}

/// Reads one file from its first byte to its last, once, and makes its record.
///
/// # Errors
/// Class input, naming the file, for what is no whole RPM or not what its repository says; infra when the volume fails.
pub(super) fn read(
    context: &JobContext,
    kind: ChecksumType,
    buffers: &mut Buffers,
    source: &SourceFile,
) -> Result<Found, RunnerError> {
    let path = &source.path;
    let kinds = kinds_to_hash(kind, source.expected.as_ref());
    let mut file = RpmFile::open(path, &kinds, buffers).map_err(|error| refused(path, error))?;
    let mut whole = file.finish(true, buffers).map_err(|error| refused(path, error))?;
    let (sums, length) = (std::mem::take(&mut whole.sums), whole.length);
    if let Some(expected) = &source.expected {
        check_expected(path, expected, &sums)?;
    }
    // Metadata may have been made of a file that was damaged already.
    let verified = whole.verify_payload().map_err(|error| refused(path, error))?;
    if verified > 0 {
        context.counters.add("rpm_payload_bytes", verified);
    }
    let (headers, metadata) = (file.headers(), file.metadata());
    let package = headers.package().map_err(|error| unreadable(path, error))?;
    package_file_name(&package.nevra())
        .or_fail(FailureClass::Input, || format!("the header of {} has an unusable name", path.display()))?;
    let header = headers.header().bytes();
    context.counters.add("rpm_files", 1);
    context.counters.add("rpm_read_bytes", length);
    context.counters.add("rpm_hash_bytes", length * kinds.len() as u64);
    context.counters.add("header_bytes", header.len() as u64);
    let content = (Sha256::digest(header).into(), length.saturating_sub(headers.header_end()));
    let checksum = sums.first().cloned().ok_or_else(|| RunnerError::tool("no checksum was made"))?;
    let identity =
        FileIdentity { size: length, mtime: u64::try_from(metadata.mtime()).unwrap_or(0), checksum: checksum.clone() };
    let record = Record::make(&package, &identity, &FragmentOptions::default())
        .or_fail(FailureClass::Input, || format!("{} cannot be listed in repository metadata", path.display()))?;
    let facts = facts(package, length, metadata.mtime(), checksum, content);
    // As the file looked before it was read: a change since then shows as another locator.
    let known = KnownFile { locator: resume::locator(&source.logical, metadata), content, sums };
    Ok(Found { facts, record, known })
}

pub(super) fn facts(package: Package, size: u64, mtime: i64, checksum: Checksum, content: ([u8; 32], u64)) -> Facts {
    Facts {
        name: package.name,
        evr: package.evr,
        arch: package.arch,
        source_rpm: package.source_rpm,
        signing_key: package.signing_key,
        exclude_arch: package.exclude_arch,
        exclusive_arch: package.exclusive_arch,
        size,
        mtime,
        checksum,
        content,
    }
}

/// The wanted type first; then that of the repository's own metadata, if it is another.
fn kinds_to_hash(kind: ChecksumType, expected: Option<&Checksum>) -> Vec<ChecksumType> {
    let mut kinds = vec![kind];
    kinds.extend(expected.map(Checksum::kind).filter(|other| *other != kind));
    kinds
}

fn unreadable(path: &Path, error: tutti_rpm::Error) -> RunnerError {
    RunnerError::caused_by(FailureClass::Input, format!("{} is no readable RPM", path.display()), error)
        .with_hint(FETCH_AGAIN)
}

fn refused(path: &Path, error: PackageError) -> RunnerError {
    let input = |cause: String, source| RunnerError::caused_by(FailureClass::Input, cause, source);
    match error {
        PackageError::Open(error) => input(format!("failed to open {}", path.display()), error),
        PackageError::Read(error) => input(format!("failed to read {}", path.display()), error),
        PackageError::Rpm(error) => unreadable(path, error),
        PackageError::Changed { before, after } => {
            let cause = format!("{} changed while it was read: {before} bytes at first, then {after}", path.display());
            RunnerError::input(cause).with_hint("retry when the repository is at rest")
        }
        PackageError::Truncated { expected, found } => {
            let cause = format!("{} is truncated: {expected} bytes expected, {found} found", path.display());
            RunnerError::input(cause).with_hint(FETCH_AGAIN)
        }
        other => RunnerError::caused_by(FailureClass::Input, format!("{} cannot be used", path.display()), other),
    }
}

fn check_expected(path: &Path, expected: &Checksum, sums: &[Checksum]) -> Result<(), RunnerError> {
    match sums.iter().find(|sum| sum.kind() == expected.kind()) {
        Some(sum) if sum == expected => Ok(()),
        found => Err(RunnerError::input(format!(
            "{} is not the file that its repository lists: {} expected, {} found",
            path.display(),
            expected,
            found.map(ToString::to_string).unwrap_or_default()
        ))
        .with_hint("fetch the file again, or make the repository's metadata anew (createrepo_c)")),
    }
}
