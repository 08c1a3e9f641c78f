//! Drafts of all jobs, and their numbers.

mod draft;
mod finish;
mod gather;
mod repository;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use tutti_job::{JobKind, JobName};

use super::{At, Derived, Edge, Need, Plan, PlanError, PlanJob, PlanReport, variants::View};
use crate::spec::ComposeSpec;

pub(super) use draft::{Draft, Link};
pub(super) use gather::DOWNLOADS;

/// Drafts of all jobs that the spec asks for, before `--only` and `--skip`.
pub(super) fn drafts(spec: &ComposeSpec, report: &mut PlanReport) -> Result<Vec<Draft>, PlanError> {
    let view = View::new(spec)?;
    let mut drafts = Vec::new();
    gather::pkgsets(&view, &mut drafts)?;
    gather::solves(&view, &mut drafts, report)?;
    gather::trims(&view, &mut drafts)?;
    repository::links(&view, &mut drafts)?;
    repository::createrepos(&view, &mut drafts)?;
    finish::extra_files(&view, &mut drafts)?;
    finish::tree_infos(&view, &mut drafts)?;
    repository::repoclosures(&view, &mut drafts)?;
    finish::checksums(&view, &mut drafts)?;
    if drafts.iter().all(|draft| draft.name.kind == JobKind::Pkgset) {
        let hint = "no variant has packages or extra files: look at variants.xml, tree_variants and tree_arches";
        return Err(PlanError::Nothing(hint));
    }
    finish::metadata(&view, &mut drafts)?;
    Ok(drafts)
}

/// Sorts drafts topologically, the first of the ready ones first, and gives them their numbers.
pub(super) fn number(drafts: Vec<Draft>) -> Result<Plan, PlanError> {
    let mut index: BTreeMap<&JobName, usize> = BTreeMap::new();
    for (position, draft) in drafts.iter().enumerate() {
        if index.insert(&draft.name, position).is_some() {
            return Err(PlanError::Duplicate(draft.name.to_string()));
        }
    }
    let order = order(&drafts, &index)?;
    let mut numbers = vec![0u32; drafts.len()];
    for (number, &position) in order.iter().enumerate() {
        numbers[position] = u32::try_from(number).unwrap_or(u32::MAX);
    }
    let find = |name: &JobName| index.get(name).map(|&position| (numbers[position], drafts[position].failable));
    let jobs = order.iter().map(|&position| finished(&drafts[position], numbers[position], &find)).collect();
    Ok(Plan::new(jobs))
}

/// Positions in topological order.
fn order(drafts: &[Draft], index: &BTreeMap<&JobName, usize>) -> Result<Vec<usize>, PlanError> {
    let mut missing: Vec<usize> = vec![0; drafts.len()];
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); drafts.len()];
    for (position, draft) in drafts.iter().enumerate() {
        for producer in draft.producers().into_iter().filter_map(|name| index.get(name)) {
            users[*producer].push(position);
            missing[position] += 1;
        }
    }
    let mut ready: BinaryHeap<Reverse<usize>> =
        (0..drafts.len()).filter(|&position| missing[position] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(drafts.len());
    while let Some(Reverse(position)) = ready.pop() {
        order.push(position);
        for &user in &users[position] {
            missing[user] -= 1;
            if missing[user] == 0 {
                ready.push(Reverse(user));
            }
        }
    }
    if order.len() < drafts.len() {
        return Err(PlanError::Cycle(cycle(drafts, index, &missing)));
    }
    Ok(order)
}

/// Names along one circle among the jobs that never became ready.
fn cycle(drafts: &[Draft], index: &BTreeMap<&JobName, usize>, missing: &[usize]) -> Vec<String> {
    let stuck_producer = |position: usize| {
        let producers = drafts[position].producers();
        producers.into_iter().filter_map(|name| index.get(name).copied()).find(|&producer| missing[producer] > 0)
    };
    let mut seen: Vec<usize> = Vec::new();
    let mut next = missing.iter().position(|&count| count > 0);
    while let Some(position) = next {
        if let Some(start) = seen.iter().position(|&known| known == position) {
            seen.drain(..start);
            seen.push(position);
            break;
        }
        seen.push(position);
        next = stuck_producer(position);
    }
    seen.into_iter().rev().map(|position| drafts[position].name.to_string()).collect()
}

/// Resolves names to numbers and merges several links to one job into one edge, the stronger of each property.
fn finished(draft: &Draft, number: u32, find: &dyn Fn(&JobName) -> Option<(u32, bool)>) -> PlanJob {
    let mut edges: BTreeMap<u32, Edge> = BTreeMap::new();
    let mut wait = |name: &JobName, at: At, link: Link| {
        let (job, failable) = find(name)?;
        let need = if link == Link::IfPlanned && failable { Need::IfItSucceeds } else { Need::Required };
        let edge = edges.entry(job).or_insert(Edge { job, at, need });
        edge.at = edge.at.max(at);
        edge.need = edge.need.max(need);
        Some(job)
    };
    let mut derived_inputs = BTreeMap::new();
    for input in &draft.inputs {
        if let Some(job) = wait(&input.producer, At::Committed, input.link) {
            derived_inputs.insert(input.name.clone(), Derived { job, output: input.output.clone() });
        }
    }
    for waited in &draft.waits {
        wait(&waited.job, waited.at, waited.link);
    }
    let mut outputs = draft.outputs.clone();
    outputs.sort_by(|a, b| a.name.cmp(&b.name));
    PlanJob {
        number,
        name: draft.name.clone(),
        params_json: draft.params_json.clone(),
        fixed_inputs: draft.fixed_inputs.clone(),
        derived_inputs,
        outputs,
        edges: edges.into_values().collect(),
        deliverable: draft.deliverable.to_owned(),
        failable: draft.failable,
        resources: draft.resources,
        estimate: draft.estimate,
    }
}
