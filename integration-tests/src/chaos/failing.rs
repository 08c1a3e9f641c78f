//! R11: who watches a farm sees at once that a job has failed and that the compose is doomed.

use std::{
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Sample, histories};
use crate::{
    farm::{self, Farm},
    program::run,
    sources::Tiny,
    stream::text,
};

const BROKEN: &str = "createrepo.Server.x86_64";
/// Longest time of a compose.
const PATIENCE: Duration = Duration::from_secs(240);

/// What a watcher saw of composes with a job that fails.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// From the line that says that the job failed to the line that says DOOMED.
    pub doomed: Sample,
    /// From the job's end, as the controller noted it, to the line that says DOOMED.
    pub since_end: Sample,
}

/// So many composes on a farm, each with a job that fails.
///
/// # Errors
/// When one does not end so.
pub fn composes(directory: &Path, count: usize) -> Result<Seen> {
    let config = Tiny::new(&directory.join("tiny")).write();
    let target = directory.join("composes");
    let point = format!("job.run.before[{BROKEN}]=error");
    std::fs::create_dir_all(directory.join("farm"))?;
    let farm = Farm::start_with(&directory.join("farm"), 2, &[("TUTTI_FAILPOINTS", &point)]);
    let mut seen = Seen::default();
    for number in 0..count {
        let id = format!("Tiny-1-20260102.n.{number}");
        let mut submit = farm.client_command(&["submit", "--nightly", "--date", "20260102", "--compose-id", &id]);
        submit.arg("--config").arg(&config).arg("--target-dir").arg(&target);
        let ended = run(submit);
        ensure!(ended.status == 0, "cannot submit: {}", ended.text());
        let mut watcher = farm::watch(&farm, &id);
        let ended = watcher.finish(PATIENCE);
        let find = |wanted: fn(&Value) -> bool| watcher.events.iter().find(|(_, event)| wanted(event));
        let (failed_at, failed) = find(is_failure).with_context(|| format!("no failure: {}", ended.text()))?;
        let (doomed_at, _) = find(is_doomed).with_context(|| format!("no DOOMED: {}", ended.text()))?;
        ensure!(text(failed, "name") == BROKEN, "another job failed: {failed}");
        seen.doomed.add(doomed_at.saturating_duration_since(*failed_at));
        let end = failed["ended_ms"].as_u64().context("a failed job without an end")?;
        seen.since_end.add(since_1970(*doomed_at).saturating_sub(Duration::from_millis(end)));
    }
    histories(&target)?;
    Ok(seen)
}

fn is_failure(event: &Value) -> bool {
    text(event, "event") == "job" && text(event, "state") == "failed"
}

fn is_doomed(event: &Value) -> bool {
    text(event, "event") == "compose" && text(event, "status") == "DOOMED"
}

/// A moment by this machine's clock.
fn since_1970(at: Instant) -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(at.elapsed())
}
