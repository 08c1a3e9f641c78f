//! The state against itself and against what stands around the tree: pure functions.

use std::sync::Arc;

use tutti_job::{Fence, Volumes};

use super::{Finding, Severity, Subject, observe::Places};
use crate::{
    lifecycle::{Compose, JobRecord, JobState, StagingFate},
    plan::{At, Need, PlanJob},
};

/// What to do about state that contradicts itself.
const FAULT: &str = "a fault of the program, or an edited state file: report it, and make a new compose";

/// What is wrong with the records alone.
pub(super) fn records(subject: &Subject) -> Vec<Finding> {
    let mut findings = Vec::new();
    if subject.running {
        let what = "a program works on this compose now; only what was published when the check began is compared";
        findings.push(Finding::new(Severity::Note, "STATUS", what, "check again when it has ended"));
    } else if subject.header.ended_at.is_none() {
        let what = format!(
            "its program ended before the compose did: it is {}, {} of {} jobs are over",
            subject.header.status,
            subject.jobs.iter().filter(|record| record.state.is_terminal()).count(),
            subject.jobs.len()
        );
        let advice = format!("{} goes on with it", subject.keeper.again(&subject.id));
        findings.push(Finding::new(Severity::Note, "STATUS", what, advice));
    }
    if !subject.header.damage.is_empty() {
        let what = format!("says {}, for when its jobs were over: {}", subject.header.status, subject.header.damage);
        let advice = "mend what else is found here, then do as it says".to_owned();
        findings.push(Finding::new(Severity::Note, "STATUS", what, advice));
    }
    let ended = subject.header.ended_at.is_some();
    for (job, record) in subject.plan.jobs.iter().zip(&subject.jobs) {
        let state = record.state.as_str();
        if ended && !record.state.is_terminal() {
            findings.push(fault(
                subject,
                job,
                format!("says that {} is {state}, though the compose has ended", job.name),
            ));
        }
        if !matches!(record.state, JobState::Committed | JobState::Published) {
            continue;
        }
        if !made_all(job, record) {
            let what = format!("says that {} is {state}, without all outputs that its plan declares", job.name);
            findings.push(fault(subject, job, what));
        }
        findings.extend(unmet(subject, job).map(|what| fault(subject, job, what)));
    }
    findings
}

fn fault(subject: &Subject, job: &PlanJob, what: String) -> Finding {
    Finding::new(Severity::Error, subject.keeper.state(), what, FAULT).of_job(job.name.to_string())
}

fn made_all(job: &PlanJob, record: &JobRecord) -> bool {
    let made: Vec<&str> = record.outputs.iter().map(|output| output.name.as_str()).collect();
    record.committed && job.outputs.iter().all(|declared| made.contains(&declared.name.as_str()))
}

/// A finished job whose needs are not.
fn unmet(subject: &Subject, job: &PlanJob) -> Option<String> {
    let holds = |number: u32, at: At| match (at, subject.record(number).state) {
        (At::Committed, JobState::Committed) | (_, JobState::Published) => true,
        // Its outputs were recorded; that moving them failed was found out later.
        (At::Committed, JobState::Failed) => subject.record(number).committed,
        _ => false,
    };
    let edge = job.edges.iter().find(|edge| edge.need == Need::Required && !holds(edge.job, edge.at))?;
    Some(format!("says that {} is done, though it needs {}, which is not", job.name, subject.name(edge.job)))
}

/// What is wrong with STATUS, COMPOSE_ID, staging directories and the latest link.
pub(super) fn places(subject: &Subject, places: &Places) -> Vec<Finding> {
    let mut findings = Vec::new();
    let status = subject.header.status.as_str();
    let written = text(subject, "STATUS", status, &places.status);
    // It is written after the state is stored.
    findings.extend(written.filter(|_| !subject.running));
    let compose_id = text(subject, "COMPOSE_ID", &subject.id, &places.compose_id);
    let may_pass = places.unseen.contains_key("COMPOSE_ID");
    findings.extend(compose_id.map(|finding| Finding { may_pass, ..finding }));
    if subject.top != subject.recorded_top {
        let what = format!("is not where the state says that the compose is: {}", subject.recorded_top.display());
        let advice = "move it back before retry or resume: they would write there";
        findings.push(Finding::new(Severity::Warning, ".", what, advice));
    }
    if !subject.running {
        match places.unseen.get(Volumes::STAGING) {
            Some(error) => {
                let (what, advice) = (format!("cannot be listed: {error}"), "look at its permissions and at the disk");
                let finding = Finding::new(Severity::Error, Volumes::STAGING, what, advice);
                findings.push(Finding { may_pass: true, ..finding });
            }
            None => findings.extend(staging(subject, places.staging.as_deref())),
        }
        findings.extend(latest(subject, places));
        findings.extend(logs(subject, places));
    }
    findings
}

/// Logs that somebody removed: nothing needs them but people.
fn logs(subject: &Subject, places: &Places) -> Vec<Finding> {
    let advice = "restore them from a copy, or do without: only people and this check read them";
    let mut findings = Vec::new();
    let (lost, all) = &places.lost_logs;
    if let Some(first) = lost.first() {
        let what = format!("is without the logs of {} of {all} finished jobs, such as {first}", lost.len());
        findings.push(Finding::new(Severity::Warning, "logs", what, advice));
    }
    if !places.history && subject.header.started_at.is_some() {
        let what = "is without the history of the compose, which its controller wrote there";
        findings.push(Finding::new(Severity::Warning, crate::history::DIRECTORY, what, advice));
    }
    findings
}

fn text(subject: &Subject, name: &str, wanted: &str, found: &Option<Result<String, String>>) -> Option<Finding> {
    let what = match found {
        Some(Ok(text)) if text == wanted => return None,
        Some(Ok(text)) if text.is_empty() => format!("is empty, the state says {wanted}"),
        Some(Ok(text)) => format!("says {text:?}, the state says {wanted}"),
        Some(Err(reason)) => reason.clone(),
        None => "is missing".to_owned(),
    };
    let advice = match (name, subject.header.ended_at) {
        ("STATUS", None) => format!("{} writes it again", subject.keeper.again(&subject.id)),
        _ => format!("write the word {wanted} into it"),
    };
    Some(Finding::new(Severity::Error, name, what, advice))
}

/// Directories of attempts that nobody waits for any more.
fn staging(subject: &Subject, names: Option<&[String]>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let ended = subject.header.ended_at.is_some();
    for (number, record) in (0u32..).zip(&subject.jobs) {
        let Some(fence) = record.fence.filter(|fence| record.needs_staging(*fence)) else { continue };
        let planned = subject.plan.job(number);
        let trees = planned.is_some_and(PlanJob::has_tree_outputs);
        if trees && !names.is_some_and(|names| names.contains(&fence.to_string())) {
            let what = format!("is missing, and {} is only {}", subject.name(number), record.state.as_str());
            let advice = match (record.committed, ended) {
                (true, _) => "its outputs are lost, and it does not run again: make a new compose".to_owned(),
                (false, _) => format!("{} runs it again", subject.keeper.again(&subject.id)),
            };
            let path = format!("{}/{fence}", Volumes::STAGING);
            let severity = if record.committed { Severity::Error } else { Severity::Note };
            findings.push(Finding::new(severity, path, what, advice).of_job(subject.name(number)));
        }
    }
    let plan = Arc::new(subject.plan.clone());
    let leftovers = Compose::load(&subject.id, plan, subject.header.clone(), subject.jobs.clone()).leftovers();
    for name in names.unwrap_or_default() {
        // The embedded worker keeps its journal there.
        if name == "worker" {
            continue;
        }
        let path = format!("{}/{name}", Volumes::STAGING);
        let advice = "remove it: nothing will use it";
        let finding = match name.parse::<Fence>() {
            // What a job that is not done has read is of use to its next attempt.
            Ok(fence) if leftovers.fate(&fence) != StagingFate::Remove => continue,
            Ok(fence) => {
                let what = format!("was left behind by attempt {}, which is over", fence.attempt);
                // Whoever goes on with the compose removes it.
                let severity = if ended { Severity::Warning } else { Severity::Note };
                Finding::new(severity, path, what, advice).of_job(subject.name(fence.job))
            }
            Err(_) => Finding::new(Severity::Warning, path, "is no attempt's directory", advice),
        };
        findings.push(finding);
    }
    findings
}

fn latest(subject: &Subject, places: &Places) -> Option<Finding> {
    let identity = &subject.identity;
    let name = identity.latest_link.as_deref()?;
    let status = subject.header.status.as_str();
    let moved = subject.header.ended_at.is_some() && identity.link_at_end(status).is_some();
    let again = format!("if this is the newest compose: ln -sfn {} {name} in the target directory", subject.id);
    let path = subject.top.parent().map(|target| target.join(name).display().to_string()).unwrap_or_default();
    match &places.latest {
        None if moved => Some(Finding::new(Severity::Warning, path, "is missing", again)),
        None => None,
        Some((_, None)) => {
            let what = "is not a symbolic link, so it cannot be moved to the newest compose";
            Some(Finding::new(Severity::Warning, path, what, format!("remove it; {again}")))
        }
        Some((_, Some(link))) if !link.leads_somewhere => {
            let what = format!("leads to {}, which is not there", link.target);
            Some(Finding::new(Severity::Warning, path, what, again))
        }
        Some((_, Some(link))) if !link.leads_to_compose && link.target != subject.id => {
            let what = format!("leads to {}, which is no compose of this directory", link.target);
            Some(Finding::new(Severity::Warning, path, what, again))
        }
        Some((_, Some(link))) if link.target == subject.id && !moved && subject.header.ended_at.is_some() => {
            let what = format!("leads to this compose, which is {status}");
            Some(Finding::new(Severity::Warning, path, what, "let it lead to the newest good compose"))
        }
        Some(_) => None,
    }
}
