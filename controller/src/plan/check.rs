//! An independent checker of plans: it knows nothing of how they are made.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use tutti_job::{LogicalPath, OutputKind, OutputSpec, PublishMode, Root};

use super::{At, Plan, PlanJob};

/// A broken invariant of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Name of the job, as it is written.
    pub job: String,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.job, self.what)
    }
}

/// Lists all broken invariants; empty for a good plan.
pub fn check(plan: &Plan) -> Vec<Problem> {
    let mut checker = Checker { plan, problems: Vec::new() };
    let mut names = BTreeSet::new();
    for (index, job) in plan.jobs.iter().enumerate() {
        if job.number as usize != index {
            checker.report(job, format!("has number {} at index {index}", job.number));
        }
        if !names.insert(&job.name) {
            checker.report(job, "name stands twice");
        }
        let read_back = job.name.to_string().parse();
        if !read_back.is_ok_and(|name: tutti_job::JobName| name == job.name) {
            checker.report(job, "name does not read back");
        }
        checker.edges(job, index);
        checker.inputs(job);
        checker.outputs(job);
    }
    checker.targets();
    checker.problems
}

struct Checker<'a> {
    plan: &'a Plan,
    problems: Vec<Problem>,
}

impl<'a> Checker<'a> {
    fn report(&mut self, job: &PlanJob, what: impl Into<String>) {
        self.problems.push(Problem { job: job.name.to_string(), what: what.into() });
    }

    fn edges(&mut self, job: &PlanJob, index: usize) {
        let mut previous = None;
        for edge in &job.edges {
            if edge.job as usize >= index {
                self.report(job, format!("waits for job {}, which is not before it", edge.job));
            }
            if previous.is_some_and(|previous| previous >= edge.job) {
                self.report(job, format!("edges are not sorted at job {}", edge.job));
            }
            previous = Some(edge.job);
        }
    }

    fn inputs(&mut self, job: &PlanJob) {
        if serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&job.params_json).is_err() {
            self.report(job, "parameters are no JSON object");
        }
        for (name, derived) in &job.derived_inputs {
            if job.fixed_inputs.contains_key(name) {
                self.report(job, format!("input {name:?} is fixed and derived"));
            }
            if job.edge_to(derived.job).is_none() {
                self.report(job, format!("input {name:?} comes from job {}, which it does not wait for", derived.job));
            }
            let producer = self.plan.job(derived.job);
            if !producer.is_some_and(|producer| producer.outputs.iter().any(|output| output.name == derived.output)) {
                self.report(job, format!("input {name:?}: job {} makes no {:?}", derived.job, derived.output));
            }
        }
        for edge in job.edges.iter().filter(|edge| edge.at == At::Published) {
            let producer = self.plan.job(edge.job);
            if producer.is_some_and(|producer| !producer.has_tree_outputs()) {
                self.report(job, format!("waits for job {} to be published, which publishes nothing", edge.job));
            }
        }
    }

    fn outputs(&mut self, job: &PlanJob) {
        if job.outputs.is_empty() {
            self.report(job, "has no outputs");
        }
        let mut names: BTreeSet<&str> = BTreeSet::new();
        for output in &job.outputs {
            if !names.insert(&output.name) {
                self.report(job, format!("output {:?} stands twice", output.name));
            }
            if let Err(what) = check_output(output) {
                self.report(job, format!("output {:?} {what}", output.name));
            }
        }
        // Outputs are directories and files of one staging directory.
        for name in &names {
            if names.iter().any(|other| other.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'))) {
                self.report(job, format!("output {name:?} holds another output"));
            }
        }
    }

    /// A directory has one owner, and nobody writes below it.
    fn targets(&mut self) {
        let mut owners: BTreeMap<&str, &PlanJob> = BTreeMap::new();
        let mut found = Vec::new();
        let trees = |job: &'a PlanJob| job.outputs.iter().filter(|output| output.is_tree());
        let plan = self.plan;
        for job in &plan.jobs {
            for output in trees(job).filter(|output| output.mode == i32::from(PublishMode::Directory)) {
                if let Some(other) = owners.insert(&output.target, job) {
                    found.push((job, format!("target {:?} belongs to {} too", output.target, other.name)));
                }
            }
        }
        for job in &plan.jobs {
            for output in trees(job) {
                let below = output.target.match_indices('/').map(|(end, _)| &output.target[..end]);
                let whole = (output.mode == i32::from(PublishMode::Merge)).then_some(output.target.as_str());
                for directory in below.chain(whole) {
                    if let Some(owner) = owners.get(directory) {
                        found.push((job, format!("target {:?} is inside what {} owns", output.target, owner.name)));
                    }
                }
            }
        }
        for (job, what) in found {
            self.report(job, what);
        }
    }
}

fn check_output(output: &OutputSpec) -> Result<(), String> {
    LogicalPath::new(Root::Staging, output.name.as_str()).map_err(|error| error.to_string())?;
    match OutputKind::try_from(output.kind) {
        Ok(OutputKind::File) if output.target.is_empty() => Ok(()),
        Ok(OutputKind::File) => Err("is a file with a target".to_owned()),
        Ok(OutputKind::Tree) => {
            let target: LogicalPath = output.target.parse().map_err(|error: tutti_job::PathError| error.to_string())?;
            match PublishMode::try_from(output.mode) {
                // Downloaded packages are no part of the tree; they lie where Pungi has them.
                Ok(PublishMode::Merge) if target.to_string() == super::build::DOWNLOADS => Ok(()),
                _ if target.root() != Root::Compose => Err(format!("leaves the tree with {target}")),
                Ok(PublishMode::Directory) if target.rest().is_empty() => {
                    Err("would replace the whole tree".to_owned())
                }
                Ok(PublishMode::Directory | PublishMode::Merge) => Ok(()),
                Ok(PublishMode::Unspecified) | Err(_) => Err("is a tree without mode".to_owned()),
            }
        }
        Ok(OutputKind::Unspecified) | Err(_) => Err("has no kind".to_owned()),
    }
}
