//! What tests of runners share: a compose directory with blobs, and jobs that run in it.

use std::{
    cell::Cell,
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::Serialize;
use tutti_job::{Digest, Fence, Input, JobKind, JobSpec, Manifest, OutputSpec, PublishMode, Volumes};

use crate::{JobContext, RunnerError};

/// Makes a spec.
pub(crate) fn spec<P: Serialize>(kind: JobKind, params: &P, inputs: Vec<Input>, outputs: Vec<OutputSpec>) -> JobSpec {
    JobSpec::new(kind, params, inputs, outputs).unwrap()
}

/// One compose directory.
pub(crate) struct Case {
    pub(crate) directory: tempfile::TempDir,
    attempts: Cell<u32>,
}

/// Digests of a job's outputs by name, and what it said.
pub(crate) struct Done {
    pub(crate) outputs: BTreeMap<String, Digest>,
    pub(crate) warnings: Vec<String>,
    pub(crate) counters: BTreeMap<String, u64>,
}

impl Case {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), attempts: Cell::new(0) }
    }

    /// The compose's directory.
    pub(crate) fn top(&self) -> PathBuf {
        self.directory.path().join("compose-1")
    }

    pub(crate) fn volumes(&self) -> Volumes {
        Volumes::new(self.top())
    }

    /// A context of a new attempt at a job.
    pub(crate) fn context(&self, spec: JobSpec) -> JobContext {
        self.attempts.set(self.attempts.get() + 1);
        let mut volumes = self.volumes();
        volumes.staging = Some(volumes.staging_of(&Fence { job: self.attempts.get(), attempt: 1, executor: 1 }));
        JobContext::detached(spec, volumes, 2)
    }

    /// Stores a blob.
    pub(crate) fn blob(&self, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        let path = self.volumes().blob(&digest);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        digest
    }

    pub(crate) fn read(&self, digest: &Digest) -> Vec<u8> {
        fs::read(self.volumes().blob(digest)).unwrap()
    }

    /// A context of attempt `number` at job 1, after `earlier` ones.
    pub(crate) fn attempt(&self, spec: JobSpec, number: u32, earlier: &[u32]) -> JobContext {
        let mut context = self.context(spec);
        let staging = |attempt| self.volumes().staging_of(&Fence { job: 1, attempt, executor: u64::from(attempt) });
        context.volumes.staging = Some(staging(number));
        context.earlier = earlier.iter().map(|attempt| staging(*attempt)).collect();
        context
    }

    /// Runs a job as a worker would, without the sandbox, and publishes its outputs as a controller would.
    pub(crate) fn run(&self, spec: JobSpec) -> Result<Done, RunnerError> {
        let mut context = self.context(spec);
        context.access = super::access(&context)?;
        let outputs = (super::find(context.spec.kind().unwrap()).unwrap())(&context)?;
        let names: Vec<&String> = context.spec.outputs.iter().map(|output| &output.name).collect();
        let mut made: Vec<&String> = outputs.iter().map(|output| &output.name).collect();
        made.sort();
        assert_eq!(made, names, "outputs of {}", context.spec.kind);
        let staging = context.volumes.staging.clone().unwrap();
        for output in &outputs {
            let declared = context.spec.output(&output.name).unwrap();
            if declared.is_tree() {
                let bytes = fs::read(staging.join("manifests").join(&output.name)).unwrap();
                assert_eq!(self.blob(&bytes), output.digest);
                self.publish(
                    &staging.join("trees").join(&output.name),
                    declared,
                    &Manifest::decode_checked(&bytes).unwrap(),
                );
            } else {
                let bytes = fs::read(staging.join("out").join(&output.name)).unwrap();
                assert_eq!((self.blob(&bytes), bytes.len() as u64), (output.digest, output.size), "{}", output.name);
            }
        }
        Ok(Done {
            outputs: outputs.into_iter().map(|output| (output.name, output.digest)).collect(),
            warnings: context.progress.take_warnings(),
            counters: context.counters.snapshot(),
        })
    }

    /// Moves a tree to its target, after comparing it with its manifest.
    fn publish(&self, tree: &Path, output: &OutputSpec, manifest: &Manifest) {
        let target = self.volumes().resolve(&output.target.parse().unwrap()).unwrap();
        if output.mode == i32::from(PublishMode::Directory) {
            assert!(!target.exists(), "{} is there already", target.display());
        }
        fs::create_dir_all(&target).unwrap();
        for entry in &manifest.entries {
            let place = target.join(&entry.path);
            let staged = tree.join(&entry.path);
            let metadata = fs::symlink_metadata(&staged).unwrap();
            if entry.kind == i32::from(tutti_job::EntryKind::File) {
                assert_eq!(Digest::of(&fs::read(&staged).unwrap()).as_bytes()[..], entry.digest[..], "{}", entry.path);
            }
            if !metadata.is_symlink() {
                assert_eq!(metadata.len(), entry.size, "{}", entry.path);
            }
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::rename(staged, place).unwrap();
        }
    }
}

/// Directory of the real packages; without it tests say so and pass, but not in CI.
pub(crate) fn shared() -> Option<PathBuf> {
    let path = std::env::var_os("TUTTI_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    if path.join("rpms/packages").is_dir() {
        return Some(path);
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{} is missing", path.display());
    println!("skipped: no {}", path.display());
    None
}
