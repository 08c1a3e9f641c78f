//! What must be on the disk: the blobs that the state names, and the trees that committed manifests list.

use std::collections::{BTreeMap, HashMap};

use tutti_job::{Digest, Entry, EntryKind, LogicalPath, Manifest, OutputSpec, PackageList, PublishMode, Root, Volumes};
use tutti_repodata::ChecksumType;

use super::{Depth, Finding, Progress, Severity, Subject, Watcher, observe};
use crate::lifecycle::{JobRecord, JobState};

/// One path that must be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The job that made it; none for the spec, the plan and what came with them.
    pub(super) job: Option<u32>,
    pub(super) kind: EntryKind,
    pub(super) size: Option<u64>,
    pub(super) mode: Option<u32>,
    pub(super) mtime: Option<i64>,
    /// Target of a link, or where a package came from.
    pub(super) source: String,
    /// Checksum of the contents; only looked for where contents are compared.
    pub(super) checksum: Option<(ChecksumType, String)>,
}

/// Everything that must be there.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// By path relative to the compose's directory.
    pub(super) paths: BTreeMap<String, Wanted>,
    /// Directories that belong to one published job alone: nothing else may lie there.
    pub(super) owned: BTreeMap<String, u32>,
    /// Directories that a job will own that is not published.
    pub(super) unpublished: BTreeMap<String, u32>,
}

/// Path of a blob relative to the compose's directory.
pub(super) fn blob_path(digest: &Digest) -> String {
    let hex = digest.to_string();
    format!("{}/{}/{hex}", Volumes::BLOBS, &hex[..2])
}

/// Collects it; a manifest that cannot be read is a finding, and its tree is not looked at.
pub(super) fn expected(
    subject: &Subject,
    depth: Depth,
    findings: &mut Vec<Finding>,
    watch: Watcher<'_>,
) -> Option<Expected> {
    let mut expected = Expected::default();
    for digest in subject.documents {
        expected.blob(None, &digest, None);
    }
    let mut checksums = HashMap::new();
    let total = subject.plan.jobs.len() as u64;
    for (job, record) in subject.plan.jobs.iter().zip(&subject.jobs) {
        let progress = Progress { what: "reading manifests", done: u64::from(job.number), total };
        if watch(progress).is_break() {
            return None;
        }
        for digest in job.fixed_inputs.values() {
            expected.blob(None, digest, None);
        }
        for declared in &job.outputs {
            let target = target(declared);
            if let (Some(path), true) = (&target, owns(declared) && record.state != JobState::Published) {
                expected.unpublished.insert(path.clone(), job.number);
            }
            let Some(output) = made(record, &declared.name) else { continue };
            let size = if declared.is_tree() { None } else { Some(output.size) };
            expected.blob(Some(job.number), &output.digest, size);
            if depth != Depth::Stat && declared.name.starts_with("set/") {
                package_checksums(subject, &output.digest, &mut checksums);
            }
            let (Some(target), JobState::Published) = (target, record.state) else { continue };
            match manifest(subject, &output.digest) {
                Ok(manifest) => expected.tree(job.number, &target, owns(declared), manifest),
                Err(None) => {}
                Err(Some(Unusable { reason, may_pass })) => {
                    let what =
                        format!("is the manifest of {target} and {reason}; that part of the tree cannot be checked");
                    let finding = Finding::new(Severity::Error, blob_path(&output.digest), what, LOST_BLOB);
                    findings.push(Finding { may_pass, ..finding.of_job(job.name.to_string()) });
                }
            }
        }
    }
    for wanted in expected.paths.values_mut().filter(|wanted| wanted.kind == EntryKind::Package) {
        wanted.checksum = checksums.get(&wanted.source).cloned();
    }
    Some(expected)
}

/// What to do when a blob is gone or damaged: nothing makes it again, as finished jobs do not run again.
pub(super) const LOST_BLOB: &str =
    "restore it from a copy; without it the compose can be neither retried nor resumed: make a new compose";

fn made<'a>(record: &'a JobRecord, name: &str) -> Option<&'a crate::lifecycle::Output> {
    record.outputs.iter().find(|output| record.committed && output.name == name)
}

fn owns(output: &OutputSpec) -> bool {
    output.is_tree() && output.mode == i32::from(PublishMode::Directory)
}

/// Where a tree output is published, relative to the compose's directory.
fn target(output: &OutputSpec) -> Option<String> {
    if !output.is_tree() {
        return None;
    }
    let path: LogicalPath = output.target.parse().ok()?;
    match path.root() {
        Root::Compose if path.rest().is_empty() => Some("compose".to_owned()),
        Root::Compose => Some(format!("compose/{}", path.rest())),
        Root::Top => Some(path.rest().to_owned()),
        Root::Staging | Root::Blob | Root::File => None,
    }
}

/// Why a blob is of no use.
struct Unusable {
    reason: String,
    /// Its volume is in trouble.
    may_pass: bool,
}

impl From<String> for Unusable {
    fn from(reason: String) -> Self {
        Self { reason, may_pass: false }
    }
}

/// Reads a manifest. One that is not there at all is found by its path, and is no reason here.
fn manifest(subject: &Subject, digest: &Digest) -> Result<Manifest, Option<Unusable>> {
    let bytes = blob(subject, digest)?;
    if Digest::of(&bytes) != *digest {
        return Err(Some(format!("has other contents than its name says (SHA-256 {})", Digest::of(&bytes)).into()));
    }
    Manifest::decode_checked(&bytes).map_err(|error| Some(format!("cannot be read: {error}").into()))
}

fn blob(subject: &Subject, digest: &Digest) -> Result<Vec<u8>, Option<Unusable>> {
    observe::read_file(&subject.volumes().blob(digest)).map_err(|error| match error {
        observe::Unreadable::Absent | observe::Unreadable::NoFile => None,
        observe::Unreadable::Failed(error) => {
            Some(Unusable { reason: format!("cannot be read: {error}"), may_pass: observe::is_passing(&error) })
        }
    })
}

/// Package sets know the checksum of every package that can be in a tree.
fn package_checksums(subject: &Subject, digest: &Digest, known: &mut HashMap<String, (ChecksumType, String)>) {
    // A set that is damaged is found as a blob.
    let Ok(list) =
        blob(subject, digest).map_err(drop).and_then(|bytes| PackageList::decode_checked(&bytes).map_err(drop))
    else {
        return;
    };
    for package in list.packages {
        if let Ok(kind) = package.checksum_type.parse() {
            known.insert(package.path, (kind, package.checksum));
        }
    }
}

impl Expected {
    fn blob(&mut self, job: Option<u32>, digest: &Digest, size: Option<u64>) {
        let wanted = Wanted {
            job,
            kind: EntryKind::File,
            size,
            mode: None,
            mtime: None,
            source: String::new(),
            checksum: Some((ChecksumType::Sha256, digest.to_string())),
        };
        self.paths.entry(blob_path(digest)).or_insert(wanted);
    }

    fn tree(&mut self, job: u32, target: &str, owned: bool, manifest: Manifest) {
        if owned {
            self.owned.insert(target.to_owned(), job);
        }
        for entry in manifest.entries {
            let path = format!("{target}/{}", entry.path);
            self.paths.insert(path, wanted(job, entry));
        }
    }
}

fn wanted(job: u32, entry: Entry) -> Wanted {
    let kind = EntryKind::try_from(entry.kind).unwrap_or_default();
    let file = matches!(kind, EntryKind::File | EntryKind::Package);
    let digest = Digest::try_from(entry.digest.as_slice()).ok().filter(|_| kind == EntryKind::File);
    Wanted {
        job: Some(job),
        kind,
        size: file.then_some(entry.size),
        mode: file.then_some(entry.mode),
        mtime: (kind == EntryKind::Package).then_some(entry.mtime),
        source: entry.source,
        checksum: digest.map(|digest| (ChecksumType::Sha256, digest.to_string())),
    }
}
