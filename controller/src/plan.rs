//! The graph of jobs of one compose, made from its spec by a pure function.
//!
//! There are no phases: an edge stands only where one job reads what another made, or must not be seen before it.
//! What reads manifests waits for *Committed*, what reads the tree for *Published*.

mod build;
mod check;
mod close;
mod phases;
mod select;
#[cfg(test)]
mod tests;
mod tree;
mod variants;

use std::{collections::BTreeMap, sync::OnceLock};

use serde::{Deserialize, Serialize};
use tutti_job::{Digest, JobName, OutputSpec, Resources};

pub use check::{Problem, check};
pub use close::{CloseError, close};
pub use phases::{PHASES, phase_patterns};

use crate::spec::ComposeSpec;

/// All jobs of a compose, in topological order: a job's number is its index, and edges lead to lower numbers only.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The jobs.
    pub jobs: Vec<PlanJob>,
    #[serde(skip)]
    dependents: OnceLock<Vec<Vec<Dependent>>>,
}

impl PartialEq for Plan {
    fn eq(&self, other: &Self) -> bool {
        self.jobs == other.jobs
    }
}

/// One job of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanJob {
    /// Index in [`Plan::jobs`].
    pub number: u32,
    /// `KIND.VARIANT.ARCH`.
    pub name: JobName,
    /// JSON of the kind's struct in [`tutti_job::params`].
    pub params_json: String,
    /// Inputs known from the spec.
    pub fixed_inputs: BTreeMap<String, Digest>,
    /// Inputs that other jobs make.
    pub derived_inputs: BTreeMap<String, Derived>,
    /// Declared outputs, sorted by name.
    #[serde(with = "close::outputs")]
    pub outputs: Vec<OutputSpec>,
    /// What it waits for, sorted by number; one edge for each job.
    pub edges: Vec<Edge>,
    /// What users call the thing that this job is for: `repo`, `repoclosure`, `extra-files` …
    pub deliverable: String,
    /// May fail without dooming the compose.
    pub failable: bool,
    /// What an attempt needs of its host.
    pub resources: Resources,
    /// Cost relative to other jobs, for the critical path.
    pub estimate: u32,
}

/// An output of another job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Derived {
    /// Number of the job that makes it.
    pub job: u32,
    /// Name of its output.
    pub output: String,
}

/// A wait for another job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edge {
    /// Number of the job waited for.
    pub job: u32,
    /// How far it must have come.
    pub at: At,
    /// What its failure means.
    pub need: Need,
}

/// How far a job must have come for an edge to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum At {
    /// Its outputs are recorded: manifests and files can be read.
    Committed,
    /// Its outputs stand in the tree.
    Published,
}

/// What the failure of a job means to one that waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// Waits for its end, and uses what it made when it succeeded.
    IfItSucceeds,
    /// Cannot run without it.
    Required,
}

/// The other end of an [`Edge`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dependent {
    /// Number of the job that waits.
    pub job: u32,
    /// How far the other must have come.
    pub at: At,
    /// What the other's failure means.
    pub need: Need,
}

/// What the planner did besides the plan: shown to people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanReport {
    /// Jobs left out by `--only` or `--skip`, and because of them, with the reason.
    pub left_out: Vec<LeftOut>,
    /// Things worth knowing: patterns that match nothing, lookasides without that arch.
    pub notes: Vec<String>,
}

/// A job that is not in the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Its name.
    pub job: JobName,
    /// Why.
    pub reason: String,
}

/// A spec of which no plan can be made.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The spec's format is another.
    #[error("compose spec has format {found}, this controller plans format {known}")]
    Format {
        /// Format of the spec.
        found: u32,
        /// Format known here.
        known: u32,
    },
    /// Two variants or jobs have one name.
    #[error("two jobs are called {0}; hint: variant uids and source names must differ")]
    Duplicate(String),
    /// A uid, arch or source name cannot stand in a job name or path.
    #[error("{0:?} cannot be used in job names and paths; hint: use letters, digits, - and _")]
    Name(String),
    /// A path of the tree is refused.
    #[error("bad path for {job}")]
    Path {
        /// Job that would write there.
        job: String,
        /// Why it is refused.
        #[source]
        source: tutti_job::PathError,
    },
    /// Parameters cannot be written as JSON.
    #[error("cannot encode parameters of {job}")]
    Params {
        /// The job.
        job: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A variant has packages to gather but no arch.
    #[error("variant {0} has no arches and is not marked is_empty; hint: list arches, or set is_empty=\"true\"")]
    NoArches(String),
    /// No package source serves the arch.
    #[error(
        "variant {variant} is composed for {arch}, but no package source has that arch; hint: add {arch} to pkgset_repos or remove it from the variant"
    )]
    NoSource {
        /// Variant uid.
        variant: String,
        /// Tree arch.
        arch: String,
    },
    /// A variant names a source or variant that does not exist.
    #[error("{who} refers to {what}, which does not exist")]
    Unknown {
        /// Who refers.
        who: String,
        /// What to.
        what: String,
    },
    /// Jobs wait for each other.
    #[error("jobs wait for each other: {}; hint: variant_as_lookaside must not lead back to the variant", .0.join(" → "))]
    Cycle(Vec<String>),
    /// A pattern of `--only` or `--skip` is no pattern.
    #[error("{pattern:?} names no kind of job; kinds: {kinds}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// All kinds.
        kinds: String,
    },
    /// A pattern of `--only` matches no job.
    #[error("--only {pattern:?} matches no job of this compose; hint: {hint}")]
    NoMatch {
        /// The pattern.
        pattern: String,
        /// Names of jobs of that kind.
        hint: String,
    },
    /// No job is left.
    #[error("nothing is left to do; hint: {0}")]
    Nothing(&'static str),
    /// No phase of that name.
    #[error("{name:?} is not a phase; phases: {}", PHASES.join(" "))]
    Phase {
        /// The name.
        name: String,
    },
}

/// Makes the plan of `spec`.
///
/// Deterministic: equal specs give equal plans, byte by byte.
///
/// # Errors
/// [`PlanError`], each with what can be done about it.
pub fn plan(spec: &ComposeSpec) -> Result<(Plan, PlanReport), PlanError> {
    let mut report = PlanReport::default();
    let drafts = build::drafts(spec, &mut report)?;
    let drafts = select::select(drafts, &spec.only, &spec.skip, &mut report)?;
    let plan = build::number(drafts)?;
    Ok((plan, report))
}

impl Plan {
    /// A plan of these jobs, numbered by their index.
    pub fn new(jobs: Vec<PlanJob>) -> Self {
        Self { jobs, dependents: OnceLock::new() }
    }

    /// The job of that number.
    pub fn job(&self, number: u32) -> Option<&PlanJob> {
        self.jobs.get(number as usize)
    }

    /// The job of that name.
    pub fn find(&self, name: &JobName) -> Option<&PlanJob> {
        self.jobs.iter().find(|job| job.name == *name)
    }

    /// Numbers of all jobs that match the pattern, in order.
    pub fn matching<'a>(&'a self, pattern: &'a str) -> impl Iterator<Item = u32> + 'a {
        self.jobs.iter().filter(move |job| job.name.matches(pattern)).map(|job| job.number)
    }

    /// The jobs that wait for `number`.
    pub fn dependents(&self, number: u32) -> &[Dependent] {
        let all = self.dependents.get_or_init(|| {
            let mut all = vec![Vec::new(); self.jobs.len()];
            for job in &self.jobs {
                for edge in &job.edges {
                    if let Some(list) = all.get_mut(edge.job as usize) {
                        list.push(Dependent { job: job.number, at: edge.at, need: edge.need });
                    }
                }
            }
            all
        });
        all.get(number as usize).map_or(&[], Vec::as_slice)
    }

    /// Cost of each job and of the longest chain of jobs that waits for it, by number.
    pub fn critical_path_remaining(&self) -> Vec<u64> {
        let mut remaining = vec![0u64; self.jobs.len()];
        for job in self.jobs.iter().rev() {
            let after = self.dependents(job.number).iter().filter_map(|d| remaining.get(d.job as usize)).max();
            let total = u64::from(job.estimate).saturating_add(after.copied().unwrap_or(0));
            if let Some(slot) = remaining.get_mut(job.number as usize) {
                *slot = total;
            }
        }
        remaining
    }
}

impl PlanJob {
    /// Whether publishing it moves anything into the tree.
    pub fn has_tree_outputs(&self) -> bool {
        self.outputs.iter().any(OutputSpec::is_tree)
    }

    /// Log of an attempt, relative to the compose's directory: `logs/ARCH/KIND-VARIANT.ARCH.log`.
    pub fn log(&self, attempt: u32) -> String {
        let arch = if self.name.arch.is_empty() { "global" } else { &self.name.arch };
        let what = if self.name.variant.is_empty() {
            self.name.kind.to_string()
        } else {
            format!("{}-{}", self.name.kind, self.name.variant)
        };
        // The first attempt has the plain name that Pungi's users look for.
        let again = if attempt > 1 { format!(".attempt-{attempt}") } else { String::new() };
        format!("logs/{arch}/{what}.{arch}{again}.log")
    }

    /// The edge to that job.
    pub fn edge_to(&self, job: u32) -> Option<&Edge> {
        self.edges.iter().find(|edge| edge.job == job)
    }
}
