//! The table at the end of a compose, also what `tutti show` prints.

use std::{collections::BTreeMap, fmt::Write};

use tutti_proto::compose::{Attempt, ComposeStatus, ComposeSummary, Job, JobState, ShowResponse};

use crate::progress::{millis, seconds_between, state_word, status_word};

#[derive(Default)]
struct Row {
    jobs: usize,
    published: usize,
    run: f64,
    wait: f64,
    cpu: f64,
    memory: u64,
    counters: BTreeMap<String, u64>,
}

/// Renders the summary: jobs by kind with run and wait time apart, the critical path, and what went wrong.
pub(crate) fn render(show: &ShowResponse) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{:<18} {:>5} {:>5} {:>9} {:>9} {:>9} {:>8}",
        "kind", "jobs", "done", "run s", "cpu s", "wait s", "peak MB"
    );
    let mut total = Row::default();
    for (kind, row) in by_kind(&show.jobs) {
        let _ = writeln!(
            out,
            "{kind:<18} {:>5} {:>5} {:>9.2} {:>9.2} {:>9.2} {:>8.0}",
            row.jobs,
            row.published,
            row.run,
            row.cpu,
            row.wait,
            row.memory as f64 / 1e6
        );
        total.jobs += row.jobs;
        total.published += row.published;
        total.run += row.run;
        total.cpu += row.cpu;
        total.wait += row.wait;
        total.memory = total.memory.max(row.memory);
        for (name, value) in row.counters {
            *total.counters.entry(name).or_default() += value;
        }
    }
    let _ = writeln!(
        out,
        "{:<18} {:>5} {:>5} {:>9.2} {:>9.2} {:>9.2} {:>8.0}",
        "all",
        total.jobs,
        total.published,
        total.run,
        total.cpu,
        total.wait,
        total.memory as f64 / 1e6
    );
    counters(&mut out, &total.counters);
    critical_path(&mut out, show);
    troubles(&mut out, &show.jobs);
    attempts(&mut out, &show.jobs);
    if let Some(summary) = &show.summary {
        let took = seconds_between(&summary.created, &summary.ended).map(|took| format!(" after {took:.1} s"));
        let _ = writeln!(out, "\nStatus: {}{}", status_word(summary.status), took.unwrap_or_default());
    }
    out
}

/// What a compose that was cancelled has and still does, for the end of a sentence.
pub(crate) fn remains(show: &ShowResponse) -> String {
    let Some(summary) = &show.summary else { return String::new() };
    let count = |wanted: &[JobState]| {
        show.jobs.iter().filter(|job| wanted.iter().any(|state| job.state == i32::from(*state))).count()
    };
    // What is committed will be published, also of a compose that ends.
    let done = count(&[JobState::Committed, JobState::Published]);
    let mut text = format!(": {done} of {} jobs are done and kept", summary.jobs_total);
    match count(&[JobState::Offered, JobState::Running]) {
        0 => {}
        1 => text += ", 1 that runs is being ended",
        count => text += &format!(", {count} that run are being ended"),
    }
    text
}

/// How to go on with a compose that ended without all of its jobs.
pub(crate) fn again(id: &str) -> String {
    format!("tutti retry {id} runs what is not done")
}

/// What to do about a compose that ended badly, for people.
pub(crate) fn after(summary: &ComposeSummary) -> Option<String> {
    let id = &summary.compose_id;
    match ComposeStatus::try_from(summary.status).unwrap_or_default() {
        ComposeStatus::Terminated => Some(format!("{id} is TERMINATED: it was cancelled; hint: {}", again(id))),
        ComposeStatus::Doomed => Some(format!("{id} is DOOMED; hint: once its causes are mended, {}", again(id))),
        _ => None,
    }
}

/// Since when a worker is silent.
pub(crate) fn last_heard(at: &Option<prost_types::Timestamp>) -> String {
    let Some(at) = millis(at).and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok()) else {
        return "never heard".to_owned();
    };
    let ago = jiff::Timestamp::now().as_second().saturating_sub(at.as_second()).max(0);
    format!("last heard at {at:.0}, {ago} s ago")
}

fn by_kind(jobs: &[Job]) -> BTreeMap<String, Row> {
    let mut rows = BTreeMap::<String, Row>::new();
    for job in jobs {
        let kind = job.name.split('.').next().unwrap_or_default();
        let row = rows.entry(kind.to_owned()).or_default();
        row.jobs += 1;
        row.published += usize::from(job.state == i32::from(JobState::Published));
        row.run += seconds_between(&job.started, &job.ended).unwrap_or_default();
        row.wait += seconds_between(&job.ready, &job.started).unwrap_or_default();
        for attempt in &job.attempts {
            row.cpu += attempt.cpu.as_ref().map_or(0.0, |cpu| cpu.seconds as f64 + f64::from(cpu.nanos) / 1e9);
            row.memory = row.memory.max(attempt.peak_memory_bytes);
            for counter in &attempt.counters {
                *row.counters.entry(counter.name.clone()).or_default() += counter.value;
            }
        }
    }
    rows
}

fn counters(out: &mut String, counters: &BTreeMap<String, u64>) {
    if counters.is_empty() {
        return;
    }
    let _ = writeln!(out, "\nWork done:");
    for (name, value) in counters {
        let _ = match name.ends_with("_bytes") {
            true => writeln!(out, "  {name:<32} {:>12.1} MB", *value as f64 / 1e6),
            false => writeln!(out, "  {name:<32} {value:>12}"),
        };
    }
}

fn critical_path(out: &mut String, show: &ShowResponse) {
    if show.critical_path.is_empty() {
        return;
    }
    let jobs: BTreeMap<_, _> = show.jobs.iter().map(|job| (job.name.as_str(), job)).collect();
    let _ = writeln!(out, "\nCritical path:");
    for name in &show.critical_path {
        let Some(job) = jobs.get(name.as_str()) else { continue };
        let run = seconds_between(&job.started, &job.ended).unwrap_or_default();
        let wait = seconds_between(&job.ready, &job.started).unwrap_or_default();
        let _ = writeln!(out, "  {name:<44} run {run:>7.2} s  wait {wait:>6.2} s");
    }
}

fn troubles(out: &mut String, jobs: &[Job]) {
    let bad = |job: &&Job| {
        matches!(JobState::try_from(job.state), Ok(JobState::Failed | JobState::Skipped | JobState::Cancelled))
    };
    if jobs.iter().any(|job| bad(&job)) {
        let _ = writeln!(out, "\nNot done:");
    }
    for job in jobs.iter().filter(bad) {
        let failable = if job.failable { " (failable)" } else { "" };
        let class = if job.failure_class.is_empty() { String::new() } else { format!(" [{}]", job.failure_class) };
        let _ = writeln!(out, "  {} {}{failable}{class}: {}", state_word(job.state), job.name, job.reason);
        if !job.hint.is_empty() {
            let _ = writeln!(out, "    hint: {}", job.hint);
        }
        if job.state == i32::from(JobState::Failed) && !job.log.is_empty() {
            let _ = writeln!(out, "    log: {}", job.log);
        }
    }
}

/// Each attempt of the jobs that did not succeed at once: where it ran, how it ended, and why.
fn attempts(out: &mut String, jobs: &[Job]) {
    let told = |job: &&Job| {
        let failed = |attempt: &Attempt| !matches!(attempt.outcome.as_str(), "committed" | "open" | "");
        job.attempts.iter().any(failed)
    };
    if jobs.iter().any(|job| told(&job)) {
        let _ = writeln!(out, "\nAttempts:");
    }
    for job in jobs.iter().filter(told) {
        let _ = writeln!(out, "  {} ({})", job.name, state_word(job.state));
        for attempt in &job.attempts {
            let _ = writeln!(out, "    {}", attempt_line(attempt));
        }
    }
}

fn attempt_line(attempt: &Attempt) -> String {
    let class = match attempt.failure_class.as_str() {
        "" => String::new(),
        class => format!(" [{class}]"),
    };
    let outcome = match attempt.outcome.as_str() {
        "open" => "has not ended",
        outcome => outcome,
    };
    let cause = if attempt.cause.is_empty() { String::new() } else { format!(": {}", attempt.cause) };
    let took = seconds_between(&attempt.started, &attempt.ended).map(|took| format!(" after {took:.1} s"));
    let begun = attempt.started.or(attempt.offered);
    let at = millis(&begun).and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok());
    let at = at.map(|at| format!("{:.0}", at)).unwrap_or_default();
    format!("{}. {at} on {}: {outcome}{class}{}{cause}", attempt.number, attempt.worker_id, took.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Option<prost_types::Timestamp> {
        Some(prost_types::Timestamp { seconds, nanos: 0 })
    }

    #[test]
    fn attempts_of_jobs_that_did_not_succeed_at_once_are_told() {
        let lost = Attempt {
            number: 1,
            worker_id: "w1".into(),
            offered: at(1_767_225_600),
            started: at(1_767_225_600),
            ended: at(1_767_225_603),
            outcome: "lost".into(),
            failure_class: "infra".into(),
            cause: "worker was lost".into(),
            ..Attempt::default()
        };
        let good =
            Attempt { number: 2, worker_id: "w2".into(), outcome: "committed".into(), started: None, ..lost.clone() };
        let good = Attempt { failure_class: String::new(), cause: String::new(), ..good };
        let twice = Job {
            name: "link.S.x86_64".into(),
            state: JobState::Published.into(),
            attempts: vec![lost, good.clone()],
            ..Job::default()
        };
        let once = Job { name: "metadata".into(), attempts: vec![good], ..Job::default() };
        let mut out = String::new();
        attempts(&mut out, &[twice, once]);
        assert_eq!(
            out,
            "\nAttempts:\n  link.S.x86_64 (published)\n    1. 2026-01-01T00:00:00Z on w1: lost [infra] after 3.0 s: worker was lost\n    2. 2026-01-01T00:00:00Z on w2: committed\n"
        );
    }
}
