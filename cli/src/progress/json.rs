//! The stable JSON stream: one object a line on standard output. The format is described in docs/json-stream.md.

use std::io::Write;

use anyhow::Result;
use serde_json::{Value, json};
use tutti_proto::compose::{ComposeSummary, Job};

use super::{Reporter, millis, state_word, status_word};

/// Writes the stream.
pub(crate) struct Json;

/// Version of the stream: raised when a field goes or changes its meaning.
const STREAM_VERSION: u32 = 1;

fn line(value: &Value) -> Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, value)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// A compose as an object; also what `show --format json` prints.
pub(crate) fn compose_object(summary: &ComposeSummary) -> Value {
    json!({
        "compose_id": summary.compose_id,
        "status": status_word(summary.status),
        "active": summary.active,
        "compose_dir": summary.compose_dir,
        "created_ms": millis(&summary.created),
        "ended_ms": millis(&summary.ended),
        "jobs_total": summary.jobs_total,
        "jobs_done": summary.jobs_done,
        "jobs_failed": summary.jobs_failed,
        "trouble": summary.trouble,
    })
}

/// A job as an object.
pub(crate) fn job_object(job: &Job) -> Value {
    let attempts: Vec<_> = job.attempts.iter().map(attempt_object).collect();
    json!({
        "number": job.number,
        "name": job.name,
        "state": state_word(job.state),
        "failable": job.failable,
        "reason": job.reason,
        "failure_class": job.failure_class,
        "hint": job.hint,
        "log": job.log,
        "ready_ms": millis(&job.ready),
        "started_ms": millis(&job.started),
        "ended_ms": millis(&job.ended),
        "needs": job.needs,
        "warnings": job.warnings,
        "phase": job.phase,
        "done": job.done,
        "total": job.total,
        "attempts": attempts,
    })
}

fn attempt_object(attempt: &tutti_proto::compose::Attempt) -> Value {
    let counters: serde_json::Map<_, _> =
        attempt.counters.iter().map(|counter| (counter.name.clone(), json!(counter.value))).collect();
    let cpu_ms = attempt.cpu.as_ref().map(|cpu| cpu.seconds * 1000 + i64::from(cpu.nanos) / 1_000_000);
    json!({
        "number": attempt.number,
        "worker_id": attempt.worker_id,
        "started_ms": millis(&attempt.started),
        "ended_ms": millis(&attempt.ended),
        "result": attempt.result,
        "outcome": attempt.outcome,
        "failure_class": attempt.failure_class,
        "cause": attempt.cause,
        "offered_ms": millis(&attempt.offered),
        "log": attempt.log,
        "cpu_ms": cpu_ms,
        "peak_memory_bytes": attempt.peak_memory_bytes,
        "counters": counters,
    })
}

/// A worker as an object, as `drain --format json` lists them.
pub(crate) fn worker_object(worker: &tutti_proto::compose::Worker) -> Value {
    json!({
        "worker_id": worker.worker_id,
        "arch": worker.arch,
        "connected": worker.connected,
        "draining": worker.draining,
        "running": worker.running,
        "last_seen_ms": millis(&worker.last_seen),
        "cpu_milli": worker.cpu_milli,
        "memory_bytes": worker.memory_bytes,
        "conditions": worker.conditions,
    })
}

/// Prints the last line of the stream, which is also what `show --format json` prints.
pub(crate) fn print_end(show: &tutti_proto::compose::ShowResponse) -> Result<()> {
    let jobs: Vec<_> = show.jobs.iter().map(job_object).collect();
    let mut object = compose_object(&show.summary.clone().unwrap_or_default());
    if let Some(map) = object.as_object_mut() {
        map.insert("jobs".into(), json!(jobs));
        map.insert("critical_path".into(), json!(show.critical_path));
    }
    line(&with_event("end", object))
}

/// Prints a value for people who read JSON.
pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<()> {
    outln!("{}", serde_json::to_string_pretty(value)?)
}

fn with_event(event: &str, mut object: Value) -> Value {
    if let Some(map) = object.as_object_mut() {
        map.insert("event".into(), json!(event));
    }
    object
}

impl Reporter for Json {
    fn started(&mut self, compose_id: &str, compose_dir: &str) -> Result<()> {
        line(
            &json!({"event": "started", "version": STREAM_VERSION, "compose_id": compose_id, "compose_dir": compose_dir}),
        )
    }

    fn compose(&mut self, summary: &ComposeSummary) -> Result<()> {
        line(&with_event("compose", compose_object(summary)))
    }

    fn job(&mut self, job: &Job, _news: bool) -> Result<()> {
        line(&with_event("job", job_object(job)))
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}
