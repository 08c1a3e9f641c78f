//! Retry: dead jobs come back, with what they need and what they dragged along.

use std::collections::{BTreeMap, BTreeSet};

use super::{Applied, publish};
use crate::{
    lifecycle::{IllegalTransition, JobRecord, JobState, Status, transition::Transition},
    plan::Need,
};

pub(super) fn retry(t: &mut Transition<'_>, asked: &[u32]) -> Applied {
    let chosen = match choose(t, asked) {
        // Somebody put back what was gone, or cancelled it while that was looked at: it is looked at again.
        Err(_) if asked.is_empty() && t.header.may_be_looked_at_again() => BTreeSet::new(),
        chosen => chosen?,
    };
    let mut reopened = with_needs(t, &chosen);
    reopened.extend(dragged_along(t, &reopened));
    for &job in &reopened {
        reopen(t, job)?;
    }
    t.header.ended_at = None;
    t.header.damage.clear();
    t.header.cancelled = false;
    t.header.stopping = false;
    t.header.started_at.get_or_insert(t.now);
    for &job in &reopened {
        t.settle_job(job);
    }
    let lost = |job: &&crate::plan::PlanJob| {
        !job.failable && matches!(t.state(job.number), JobState::Failed | JobState::Skipped { .. })
    };
    let still = t.compose.plan.jobs.iter().find(lost).map(|job| job.number);
    t.header.doomed_by = still.map(|job| match t.state(job) {
        JobState::Skipped { because } => because,
        _ => job,
    });
    let status = if still.is_some() { Status::Doomed } else { Status::Started };
    if status != t.header.status {
        t.header.status = status;
        t.effects.push(super::Effect::WriteStatus { status });
    }
    Ok(())
}

/// The jobs asked for; with none named, all that are dead and not too late.
fn choose(t: &Transition<'_>, asked: &[u32]) -> Result<BTreeSet<u32>, IllegalTransition> {
    let mut chosen = BTreeSet::new();
    for &job in asked {
        let state = t.record(job)?.state;
        if !state.is_dead() {
            return Err(IllegalTransition::State { job: t.name(job), state: state.as_str(), wanted: "retried" });
        }
        chosen.insert(job);
    }
    let mut too_late = None;
    if asked.is_empty() {
        chosen.extend(t.compose.numbered().filter(|(_, record)| record.state.is_dead()).map(|(job, _)| job));
    }
    for (job, (gone, user)) in too_late_to_retry(t) {
        if chosen.remove(&job) {
            too_late = Some(IllegalTransition::TooLate { job: t.name(gone), user: t.name(user) });
        }
    }
    match too_late {
        Some(error) if !asked.is_empty() || chosen.is_empty() => Err(error),
        _ if chosen.is_empty() => Err(IllegalTransition::NothingToRetry),
        _ => Ok(chosen),
    }
}

/// Dead jobs that cannot come back, because somebody went on without them or without a dead job that they need: each
/// with that job and the one that went on.
fn too_late_to_retry(t: &Transition<'_>) -> BTreeMap<u32, (u32, u32)> {
    let mut late = BTreeMap::new();
    // Numbers are topological: what a job needs was decided before it.
    for planned in &t.compose.plan.jobs {
        let job = planned.number;
        if !t.state(job).is_dead() {
            continue;
        }
        let committed = t.record(job).is_ok_and(|record| record.committed);
        let needed = planned.edges.iter().filter(|edge| edge.need == Need::Required && !committed);
        let own = went_on_without(t, job).map(|user| (job, user));
        if let Some(reason) = own.or_else(|| needed.filter_map(|edge| late.get(&edge.job).copied()).next()) {
            late.insert(job, reason);
        }
    }
    late
}

/// A job that took the failure of `job` for an answer and has begun.
fn went_on_without(t: &Transition<'_>, job: u32) -> Option<u32> {
    let begun = |state: JobState| !state.is_pending() && !state.is_dead();
    let soft = |dependent: &&crate::plan::Dependent| dependent.need == Need::IfItSucceeds;
    let users = t.compose.plan.dependents(job).iter().filter(soft);
    users.map(|dependent| dependent.job).find(|&user| begun(t.state(user)))
}

/// `jobs` and all dead jobs that they need, transitively.
fn with_needs(t: &Transition<'_>, jobs: &BTreeSet<u32>) -> BTreeSet<u32> {
    let mut all = BTreeSet::new();
    let mut queue: Vec<u32> = jobs.iter().copied().collect();
    while let Some(job) = queue.pop() {
        if !t.state(job).is_dead() || !all.insert(job) {
            continue;
        }
        // What is committed runs no more, and needs nothing.
        if t.record(job).is_ok_and(|record| record.committed) {
            continue;
        }
        let edges = t.compose.plan.job(job).map(|planned| planned.edges.as_slice()).unwrap_or_default();
        queue.extend(edges.iter().filter(|edge| edge.need == Need::Required).map(|edge| edge.job));
    }
    all
}

/// Skipped and cancelled dependents of `reopened`, transitively, as far as nothing that they need stays dead.
fn dragged_along(t: &Transition<'_>, reopened: &BTreeSet<u32>) -> BTreeSet<u32> {
    let mut all = reopened.clone();
    let mut queue: BTreeSet<u32> = BTreeSet::new();
    let plan = &t.compose.plan;
    let users = |job: u32| plan.dependents(job).iter().map(|dependent| dependent.job);
    queue.extend(reopened.iter().flat_map(|&job| users(job)));
    // Numbers are topological: all that a job needs was decided before it.
    while let Some(job) = queue.pop_first() {
        let state = t.state(job);
        if all.contains(&job) || !matches!(state, JobState::Skipped { .. } | JobState::Cancelled) {
            continue;
        }
        let edges = plan.job(job).map(|planned| planned.edges.as_slice()).unwrap_or_default();
        let stays_dead = |needed: u32| t.state(needed).is_dead() && !all.contains(&needed);
        if edges.iter().any(|edge| edge.need == Need::Required && stays_dead(edge.job)) {
            continue;
        }
        if went_on_without(t, job).is_none() {
            all.insert(job);
            queue.extend(users(job));
        }
    }
    all
}

/// Takes a dead job back into the queue; one whose outputs are committed only has them moved again.
fn reopen(t: &mut Transition<'_>, job: u32) -> Applied {
    t.edit(job, |record| {
        *record = JobRecord {
            tries: 0,
            losses: 0,
            reason: String::new(),
            hint: String::new(),
            class: None,
            ready_at: None,
            excluded: Vec::new(),
            avoid: Vec::new(),
            full_since: None,
            not_before: None,
            ..record.clone()
        };
    });
    if t.record(job)?.committed {
        t.set_state(job, JobState::Committed);
        return publish(t, job);
    }
    // Whoever still runs an attempt of before, unheard, does not come back with it: it began before the cause was mended.
    t.edit(job, |record| record.fence = None);
    t.set_state(job, JobState::Waiting);
    Ok(())
}
