//! A job before it has a number.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use tutti_job::{Digest, JobKind, JobName, OutputSpec, PathError, Resources};

use crate::plan::{At, PlanError};

/// What becomes of a job when one that it refers to is not planned, or fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::plan) enum Link {
    /// It cannot run either.
    Must,
    /// It takes what there is: not planned, the link is dropped; failable, it waits for the end.
    IfPlanned,
}

/// An input that another job makes.
#[derive(Clone, Debug)]
pub(in crate::plan) struct DraftInput {
    pub(super) name: String,
    pub(super) producer: JobName,
    pub(super) output: String,
    pub(super) link: Link,
}

/// A wait without an input.
#[derive(Clone, Debug)]
pub(in crate::plan) struct Wait {
    pub(super) job: JobName,
    pub(super) at: At,
    pub(super) link: Link,
}

/// A job that refers to others by name.
#[derive(Clone, Debug)]
pub(in crate::plan) struct Draft {
    pub(in crate::plan) name: JobName,
    pub(super) params_json: String,
    pub(super) fixed_inputs: BTreeMap<String, Digest>,
    pub(super) inputs: Vec<DraftInput>,
    pub(super) outputs: Vec<OutputSpec>,
    pub(super) waits: Vec<Wait>,
    /// Of the inputs that it takes if they are planned, at least one must be.
    pub(super) needs_one: bool,
    pub(super) deliverable: &'static str,
    pub(super) failable: bool,
    pub(super) resources: Resources,
    pub(super) estimate: u32,
}

impl Draft {
    /// Starts a job with the usual cost of its kind.
    pub(super) fn new<P: Serialize>(name: JobName, deliverable: &'static str, params: &P) -> Result<Self, PlanError> {
        let params_json =
            serde_json::to_string(params).map_err(|source| PlanError::Params { job: name.to_string(), source })?;
        let (resources, estimate) = cost(name.kind);
        Ok(Self {
            name,
            params_json,
            fixed_inputs: BTreeMap::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            waits: Vec::new(),
            needs_one: false,
            deliverable,
            failable: false,
            resources,
            estimate,
        })
    }

    pub(super) fn fixed(&mut self, name: impl Into<String>, digest: Digest) {
        self.fixed_inputs.insert(name.into(), digest);
    }

    /// Reads `output` of `producer` as `name`.
    pub(super) fn input(&mut self, name: impl Into<String>, producer: JobName, output: impl Into<String>) {
        self.inputs.push(DraftInput { name: name.into(), producer, output: output.into(), link: Link::Must });
    }

    /// As [`Draft::input`], if there is such a job and as far as it succeeds.
    pub(super) fn input_if_planned(&mut self, name: impl Into<String>, producer: JobName, output: impl Into<String>) {
        self.inputs.push(DraftInput { name: name.into(), producer, output: output.into(), link: Link::IfPlanned });
    }

    /// Waits for `job`, if there is such a job.
    pub(super) fn wait(&mut self, job: JobName, at: At) {
        self.waits.push(Wait { job, at, link: Link::IfPlanned });
    }

    /// Puts a path problem under the job's name.
    pub(super) fn path<T>(&self, result: Result<T, PathError>) -> Result<T, PlanError> {
        result.map_err(|source| PlanError::Path { job: self.name.to_string(), source })
    }

    /// Names of all jobs referred to, each once.
    pub(in crate::plan) fn producers(&self) -> BTreeSet<&JobName> {
        self.inputs.iter().map(|input| &input.producer).chain(self.waits.iter().map(|wait| &wait.job)).collect()
    }

    /// Names of the jobs that this one cannot do without.
    pub(in crate::plan) fn must_have(&self) -> impl Iterator<Item = &JobName> {
        let inputs = self.inputs.iter().filter(|input| input.link == Link::Must).map(|input| &input.producer);
        inputs.chain(self.waits.iter().filter(|wait| wait.link == Link::Must).map(|wait| &wait.job))
    }

    /// Whether all that it lives on is gone. Checksums are no life: they say more about what is there.
    pub(in crate::plan) fn starves(&self, gone: &dyn Fn(&JobName) -> bool) -> bool {
        let lives_on = |input: &&DraftInput| input.link == Link::IfPlanned && input.producer.kind != JobKind::Checksum;
        let mut inputs = self.inputs.iter().filter(lives_on);
        self.needs_one && inputs.all(|input| gone(&input.producer))
    }

    /// Forgets all links to jobs that are not planned.
    pub(in crate::plan) fn drop_links(&mut self, gone: &dyn Fn(&JobName) -> bool) {
        self.inputs.retain(|input| !gone(&input.producer));
        self.waits.retain(|wait| !gone(&wait.job));
    }
}

/// Needs and relative cost by kind: seconds of one core for a variant of some thousand packages, roughly.
fn cost(kind: JobKind) -> (Resources, u32) {
    const MIB: u64 = 1024 * 1024;
    let (cpu_milli, memory_mib, estimate) = match kind {
        JobKind::Pkgset => (2000, 512, 100),
        JobKind::Solve => (1000, 512, 40),
        JobKind::Trim => (500, 128, 4),
        JobKind::Link => (500, 128, 10),
        JobKind::Createrepo => (1000, 256, 30),
        JobKind::CreaterepoDebug => (1000, 256, 20),
        JobKind::ExtraFiles => (250, 64, 5),
        JobKind::TreeInfo => (250, 64, 1),
        JobKind::Repoclosure => (1000, 512, 15),
        JobKind::Checksum => (500, 64, 3),
        JobKind::Metadata => (500, 256, 5),
    };
    (Resources { cpu_milli, memory_bytes: memory_mib * MIB }, estimate)
}
