//! Random plans, what their jobs are like, and what an undisturbed run makes of them.

use std::collections::{BTreeMap, BTreeSet};

use tutti_controller::{
    lifecycle::Output,
    plan::{At, Derived, Edge, Need, Plan, PlanJob, check, close},
};
use tutti_job::{Digest, JobKind, JobName, JobSpec, OutputSpec, Resources};

use super::random::Random;

/// What a job does when it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Good,
    /// Fails each time, and it is its own fault.
    Broken,
    /// Kills its worker each time.
    Poison,
    /// Fails so many times for reasons of its host, then succeeds.
    Flaky(u32),
    /// Does not end until the compose was cancelled once.
    Hangs,
}

impl Fate {
    pub(crate) fn succeeds(self) -> bool {
        !matches!(self, Self::Broken | Self::Poison)
    }
}

fn job(number: u32, edges: Vec<Edge>, tree: bool) -> PlanJob {
    let target = format!("compose:V{number}/x86_64/os/Packages").parse().expect("a good path");
    let input = |edge: &Edge| (format!("in{}", edge.job), Derived { job: edge.job, output: "out".into() });
    PlanJob {
        number,
        name: JobName::new(JobKind::Link, format!("V{number}"), "x86_64"),
        params_json: "{}".into(),
        fixed_inputs: BTreeMap::new(),
        derived_inputs: edges.iter().map(input).collect(),
        outputs: vec![if tree { OutputSpec::directory("out", &target) } else { OutputSpec::file("out") }],
        edges,
        deliverable: "repo".into(),
        failable: false,
        resources: Resources { cpu_milli: 1000, memory_bytes: 1 << 30 },
        estimate: 1,
    }
}

fn checked(jobs: Vec<PlanJob>) -> Plan {
    let plan = Plan::new(jobs);
    assert_eq!(check(&plan), [], "the simulator makes bad plans");
    plan
}

/// Each job needs the one before it.
pub(crate) fn chain_of(length: u32) -> Plan {
    let edge = |job| Edge { job, at: At::Committed, need: Need::Required };
    checked((0..length).map(|n| job(n, n.checked_sub(1).map(edge).into_iter().collect(), true)).collect())
}

/// No job needs another.
pub(crate) fn independent(count: u32) -> Plan {
    checked((0..count).map(|number| job(number, vec![], true)).collect())
}

pub(crate) fn random_plan(random: &mut Random) -> Plan {
    let count = random.between(2, 13) as u32;
    let mut trees = BTreeSet::new();
    let mut jobs = Vec::new();
    for number in 0..count {
        let mut edges = Vec::new();
        for earlier in 0..number {
            if random.permille(250) {
                let published = trees.contains(&earlier) && random.permille(400);
                let at = if published { At::Published } else { At::Committed };
                let need = if random.permille(200) { Need::IfItSucceeds } else { Need::Required };
                edges.push(Edge { job: earlier, at, need });
            }
        }
        let tree = random.permille(700);
        if tree {
            trees.insert(number);
        }
        let mut planned = job(number, edges, tree);
        planned.failable = random.permille(300);
        planned.estimate = random.between(1, 9) as u32;
        // One in twenty is too big for any worker.
        let gigabytes = if random.permille(50) { 64 } else { random.between(1, 5) as u64 };
        planned.resources = Resources { cpu_milli: random.between(2, 21) as u32 * 100, memory_bytes: gigabytes << 30 };
        jobs.push(planned);
    }
    checked(jobs)
}

pub(crate) fn random_fates(random: &mut Random, count: usize, hangs: bool) -> Vec<Fate> {
    (0..count)
        .map(|_| match random.below(40) {
            0 | 1 => Fate::Broken,
            2 => Fate::Poison,
            3..=5 => Fate::Flaky(random.between(1, 3) as u32),
            6..=9 if hangs => Fate::Hangs,
            _ => Fate::Good,
        })
        .collect()
}

/// What a right run of a closed job makes: a function of all that it reads.
pub(crate) fn result_of(spec: &JobSpec) -> Vec<Output> {
    let make = |output: &OutputSpec| {
        let digest = Digest::of([spec.key().as_bytes().as_slice(), output.name.as_bytes()].concat().as_slice());
        Output { name: output.name.clone(), digest, size: 7 }
    };
    spec.outputs.iter().map(make).collect()
}

/// How a job ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Made(Vec<Output>),
    Failed,
    Skipped,
}

/// How all jobs end when nothing disturbs them but their fates, and those in `failed` fail too: with outputs
/// that are recorded though they could not be moved, or none.
pub(crate) fn undisturbed(plan: &Plan, fates: &[Fate], failed: &BTreeMap<u32, Vec<Output>>) -> Vec<End> {
    let mut ends: Vec<End> = Vec::new();
    for (planned, fate) in plan.jobs.iter().zip(fates) {
        let dead = |edge: &Edge| edge.need == Need::Required && !matches!(ends[edge.job as usize], End::Made(_));
        let end = if planned.edges.iter().any(dead) {
            End::Skipped
        } else if !fate.succeeds() || failed.contains_key(&planned.number) {
            End::Failed
        } else {
            let made = |job: u32, name: &str| {
                let outputs = match &ends[job as usize] {
                    End::Made(outputs) => outputs,
                    // What could not be moved into the tree is not there for those who wait for that.
                    End::Failed | End::Skipped if planned.edge_to(job).is_some_and(|edge| edge.at == At::Published) => {
                        return None;
                    }
                    End::Failed | End::Skipped => failed.get(&job)?,
                };
                outputs.iter().find(|output| output.name == name).map(|output| output.digest)
            };
            End::Made(result_of(&close(planned, &made).expect("all needed inputs are made")))
        };
        ends.push(end);
    }
    ends
}
