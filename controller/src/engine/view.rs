//! The engine's state as clients see it.

use std::collections::BTreeMap;

use tutti_proto::compose as api;

use super::live::Live;
use crate::{
    fsck::{Keeper, Subject},
    lifecycle::{AttemptRecord, JobRecord, JobState, Status, Timestamp, why},
    service::timestamp,
};

pub(crate) fn wire_status(status: Status) -> api::ComposeStatus {
    match status {
        Status::Started => api::ComposeStatus::Started,
        Status::Finished => api::ComposeStatus::Finished,
        Status::FinishedIncomplete => api::ComposeStatus::FinishedIncomplete,
        Status::Doomed => api::ComposeStatus::Doomed,
        Status::Terminated => api::ComposeStatus::Terminated,
    }
}

fn wire_state(state: JobState) -> api::JobState {
    match state {
        JobState::Waiting => api::JobState::Waiting,
        JobState::Ready => api::JobState::Ready,
        JobState::Offered => api::JobState::Offered,
        JobState::Running | JobState::Verifying => api::JobState::Running,
        JobState::Committed => api::JobState::Committed,
        JobState::Published => api::JobState::Published,
        JobState::Failed => api::JobState::Failed,
        JobState::Skipped { .. } => api::JobState::Skipped,
        JobState::Cancelled => api::JobState::Cancelled,
    }
}

fn time(at: Option<Timestamp>) -> Option<prost_types::Timestamp> {
    at.map(|at| timestamp(at.0))
}

fn duration(millis: u64) -> prost_types::Duration {
    prost_types::Duration { seconds: (millis / 1000) as i64, nanos: (millis % 1000 * 1_000_000) as i32 }
}

/// A compose in short.
pub(super) fn summary(live: &Live) -> api::ComposeSummary {
    let compose = &live.compose;
    let count = |wanted: fn(JobState) -> bool| compose.jobs.iter().filter(|job| wanted(job.state)).count() as u32;
    api::ComposeSummary {
        compose_id: live.id().to_owned(),
        status: wire_status(compose.header.status).into(),
        // STATUS and the latest link belong to the end: a client that sees it may rely on them.
        active: !(compose.is_ended() && live.settled),
        compose_dir: live.meta.top.display().to_string(),
        created: Some(timestamp(live.meta.created)),
        ended: time(compose.header.ended_at),
        jobs_total: compose.jobs.len() as u32,
        jobs_done: count(|state| state.is_terminal() && state != JobState::Cancelled),
        jobs_failed: count(|state| state == JobState::Failed),
        trouble: live.own_trouble(),
    }
}

/// One job in full.
pub(super) fn job(live: &Live, number: u32) -> Option<api::Job> {
    let plan = live.plan_job(number)?;
    let record = live.compose.job(number)?;
    let progress = live.progress.get(&number).cloned().unwrap_or_default();
    let waits = record.state.is_pending() && record.reason.is_empty();
    let log = if record.attempt > 0 { live.log_path(number).display().to_string() } else { String::new() };
    Some(api::Job {
        number,
        name: plan.name.to_string(),
        state: wire_state(record.state).into(),
        failable: plan.failable,
        attempts: record.attempts.iter().map(|record| attempt(live, number, record)).collect(),
        reason: if waits { waiting_for(live, number) } else { record.reason.clone() },
        failure_class: record.class.map(|class| class.as_str().to_owned()).unwrap_or_default(),
        hint: record.hint.clone(),
        ready: time(record.ready_at),
        started: time(record.started_at),
        ended: time(record.ended_at),
        needs: plan.edges.iter().map(|edge| edge.job).collect(),
        warnings: record.warnings.clone(),
        log,
        phase: live.trouble_of(number).unwrap_or(progress.phase),
        done: progress.done,
        total: progress.total,
    })
}

fn waiting_for(live: &Live, number: u32) -> String {
    why(&live.compose, number).into_iter().next().unwrap_or_default()
}

fn attempt(live: &Live, job: u32, record: &AttemptRecord) -> api::Attempt {
    let cause = if record.cause.is_empty() { String::new() } else { format!(": {}", record.cause) };
    api::Attempt {
        number: record.number,
        worker_id: record.worker_id.clone(),
        started: time(record.started),
        ended: time(record.ended),
        result: format!("{}{cause}", record.result.as_str()),
        cpu: Some(duration(record.usage.cpu_ms)),
        peak_memory_bytes: record.usage.peak_memory_bytes,
        counters: record
            .usage
            .counters
            .iter()
            .map(|(name, value)| api::Counter { name: name.clone(), value: *value })
            .collect(),
        outcome: record.result.as_str().to_owned(),
        failure_class: record.class.map(|class| class.as_str().to_owned()).unwrap_or_default(),
        cause: record.cause.clone(),
        offered: Some(timestamp(record.offered.0)),
        log: match record.started {
            Some(_) => live.meta.top.join(live.log_of(job, record.number)).display().to_string(),
            None => String::new(),
        },
    }
}

/// A copy of what is known of a compose, to be compared with its files.
pub(super) fn subject(live: &Live, keeper: Keeper) -> Box<Subject> {
    Box::new(Subject {
        id: live.id().to_owned(),
        top: live.meta.top.clone(),
        recorded_top: live.meta.top.clone(),
        documents: [live.meta.spec, live.meta.plan],
        identity: live.spec.identity.clone(),
        plan: (*live.compose.plan).clone(),
        header: live.compose.header.clone(),
        jobs: live.compose.jobs.clone(),
        // Nothing changes in one that is held.
        running: !(live.compose.is_ended() && live.settled) && live.held.is_none(),
        keeper,
    })
}

/// Everything of a compose.
pub(super) fn show(live: &Live) -> api::ShowResponse {
    api::ShowResponse {
        summary: Some(summary(live)),
        jobs: (0..live.compose.jobs.len() as u32).filter_map(|number| job(live, number)).collect(),
        critical_path: critical_path(live),
    }
}

/// The chain of jobs that the end waited for: from the job that ended last, back over whichever of its needs ended last.
fn critical_path(live: &Live) -> Vec<String> {
    let ended = |number: u32| live.compose.job(number).and_then(|record: &JobRecord| record.ended_at);
    let mut path = Vec::new();
    let mut next =
        (0..live.compose.jobs.len() as u32).filter(|number| ended(*number).is_some()).max_by_key(|n| ended(*n));
    while let Some(number) = next {
        let Some(plan) = live.plan_job(number) else { break };
        path.push(plan.name.to_string());
        next = plan.edges.iter().map(|edge| edge.job).filter(|job| ended(*job).is_some()).max_by_key(|job| ended(*job));
    }
    path.reverse();
    path
}

/// What every worker runs, in words.
pub(super) fn running_names(composes: &BTreeMap<String, Live>) -> BTreeMap<u64, Vec<String>> {
    let mut names = BTreeMap::<u64, Vec<String>>::new();
    for live in composes.values() {
        for (number, record) in live.compose.numbered() {
            if let (Some(fence), Some(plan)) = (record.current(), live.plan_job(number)) {
                names.entry(fence.executor).or_default().push(format!("{} {}", live.id(), plan.name));
            }
        }
    }
    names
}
