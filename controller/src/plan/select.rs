//! `--only` and `--skip`.

use std::collections::{BTreeMap, BTreeSet};

use tutti_job::{JobKind, JobName};

use super::{LeftOut, PlanError, PlanReport, build::Draft};

/// Leaves out what was not asked for, and what cannot be made without it.
pub(super) fn select(
    drafts: Vec<Draft>,
    only: &[String],
    skip: &[String],
    report: &mut PlanReport,
) -> Result<Vec<Draft>, PlanError> {
    only.iter().chain(skip).try_for_each(|pattern| check_pattern(pattern))?;
    let mut gone: BTreeMap<JobName, String> = BTreeMap::new();
    for pattern in skip {
        let before = gone.len();
        for draft in drafts.iter().filter(|draft| draft.name.matches(pattern)) {
            gone.entry(draft.name.clone()).or_insert_with(|| format!("--skip {pattern}"));
        }
        if gone.len() == before {
            report.notes.push(format!("--skip {pattern} leaves out nothing: the compose has no such job"));
        }
    }
    let wanted = wanted(&drafts, only, &gone)?;
    if !only.is_empty() {
        let count = drafts.iter().filter(|draft| !wanted.contains(&draft.name)).count();
        report.notes.push(format!("--only leaves out {count} of {} jobs", drafts.len()));
    }
    spread(&drafts, &wanted, &mut gone);
    report.left_out.extend(gone.iter().map(|(job, reason)| LeftOut { job: job.clone(), reason: reason.clone() }));
    let planned: BTreeSet<JobName> = wanted.into_iter().filter(|name| !gone.contains_key(name)).collect();
    let mut kept: Vec<Draft> = drafts.into_iter().filter(|draft| planned.contains(&draft.name)).collect();
    for draft in &mut kept {
        draft.drop_links(&|name| !planned.contains(name));
    }
    if kept.is_empty() {
        return Err(PlanError::Nothing("--only and --skip together leave out every job"));
    }
    Ok(kept)
}

/// A pattern must begin with something that matches a kind: a typing error would silently select nothing.
fn check_pattern(pattern: &str) -> Result<(), PlanError> {
    let kind = pattern.split('.').next().unwrap_or_default();
    if JobKind::ALL.into_iter().any(|known| JobName::new(known, "", "").matches(kind)) {
        return Ok(());
    }
    let kinds = JobKind::ALL.map(JobKind::as_str).join(" ");
    Err(PlanError::Pattern { pattern: pattern.chars().take(100).collect(), kinds })
}

/// Names of the jobs that match `only`, and of all that they need; all jobs without patterns.
fn wanted(drafts: &[Draft], only: &[String], gone: &BTreeMap<JobName, String>) -> Result<BTreeSet<JobName>, PlanError> {
    if only.is_empty() {
        return Ok(drafts.iter().map(|draft| draft.name.clone()).collect());
    }
    let by_name: BTreeMap<&JobName, &Draft> = drafts.iter().map(|draft| (&draft.name, draft)).collect();
    let mut queue: Vec<&JobName> = Vec::new();
    for pattern in only {
        let before = queue.len();
        queue.extend(by_name.keys().copied().filter(|name| name.matches(pattern)));
        if queue.len() == before {
            return Err(PlanError::NoMatch { pattern: pattern.clone(), hint: near(drafts, pattern) });
        }
    }
    let mut wanted = BTreeSet::new();
    while let Some(name) = queue.pop() {
        let Some(draft) = by_name.get(name) else { continue };
        if !gone.contains_key(name) && wanted.insert(name.clone()) {
            queue.extend(draft.producers());
        }
    }
    Ok(wanted)
}

/// Some names of the pattern's kind.
fn near(drafts: &[Draft], pattern: &str) -> String {
    let kind = pattern.split('.').next().unwrap_or_default();
    let names: Vec<String> =
        drafts.iter().filter(|draft| draft.name.matches(kind)).take(8).map(|draft| draft.name.to_string()).collect();
    if names.is_empty() { format!("the compose has no {kind} jobs") } else { format!("it has {}", names.join(", ")) }
}

/// Adds to `gone` what must have a job that is gone, and what has none of its inputs left.
fn spread(drafts: &[Draft], wanted: &BTreeSet<JobName>, gone: &mut BTreeMap<JobName, String>) {
    if gone.is_empty() {
        return;
    }
    let mut users: BTreeMap<&JobName, Vec<&Draft>> = BTreeMap::new();
    for draft in drafts {
        for producer in draft.producers() {
            users.entry(producer).or_default().push(draft);
        }
    }
    let mut queue: Vec<JobName> = gone.keys().cloned().collect();
    while let Some(name) = queue.pop() {
        for user in users.get(&name).into_iter().flatten() {
            let needs = user.must_have().any(|needed| *needed == name);
            let starves = user.starves(&|producer| gone.contains_key(producer));
            if (needs || starves) && wanted.contains(&user.name) && !gone.contains_key(&user.name) {
                gone.insert(user.name.clone(), format!("needs {name}, which is left out"));
                queue.push(user.name.clone());
            }
        }
    }
}
