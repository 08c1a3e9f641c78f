//! The table at the end of a compose, also what `tutti show` prints.

use std::{collections::BTreeMap, fmt::Write};

use tutti_proto::compose::{Job, JobState, ShowResponse};

use crate::progress::{seconds_between, state_word, status_word};

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
    if let Some(summary) = &show.summary {
        let took = seconds_between(&summary.created, &summary.ended).map(|took| format!(" after {took:.1} s"));
        let _ = writeln!(out, "\nStatus: {}{}", status_word(summary.status), took.unwrap_or_default());
    }
    out
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
