//! Lines on standard error, for logs and pipes.

use std::collections::BTreeMap;

use anyhow::Result;
use tutti_proto::compose::{ComposeSummary, Job, JobState};

use super::{Reporter, seconds_between, state_word, status_word};

/// One line for each change that a reader of a log wants.
pub(crate) struct Plain {
    quiet: bool,
    status: i32,
    trouble: String,
    done: u32,
    total: u32,
    /// Last state shown of each job: a job that changes in other ways is no news.
    shown: BTreeMap<u32, i32>,
    /// What was last shown of why a job stands still.
    waits: BTreeMap<u32, String>,
    /// Whether a full disk was told of.
    full: bool,
}

impl Plain {
    pub(crate) fn new() -> Self {
        Self {
            quiet: false,
            status: 0,
            trouble: String::new(),
            done: 0,
            total: 0,
            shown: BTreeMap::new(),
            waits: BTreeMap::new(),
            full: false,
        }
    }

    /// How far the compose is, before a line about a job.
    fn count(&self) -> String {
        if self.total == 0 { String::new() } else { format!("[{}/{}] ", self.done, self.total) }
    }

    /// Failures, what everything waits for, and the end only.
    pub(crate) fn quiet() -> Self {
        Self { quiet: true, ..Self::new() }
    }
}

/// The line of a job, if its state deserves one.
pub(crate) fn job_line(job: &Job) -> Option<String> {
    let name = &job.name;
    let line = match JobState::try_from(job.state).ok()? {
        JobState::Published => {
            let took = seconds_between(&job.started, &job.ended).unwrap_or_default();
            format!("done {name} ({took:.1} s)")
        }
        JobState::Failed => {
            let class = if job.failure_class.is_empty() { String::new() } else { format!(" [{}]", job.failure_class) };
            let mut line = format!("FAILED {name}{class}: {}", job.reason);
            if !job.hint.is_empty() {
                line += &format!("\n  hint: {}", job.hint);
            }
            if !job.log.is_empty() {
                line += &format!("\n  log: {}", job.log);
            }
            line
        }
        JobState::Skipped | JobState::Cancelled => format!("{} {name}: {}", state_word(job.state), job.reason),
        JobState::Running => format!("running {name}"),
        JobState::Ready | JobState::Waiting if !job.failure_class.is_empty() => {
            format!("trying {name} again [{}]: {}", job.failure_class, job.reason)
        }
        JobState::Unspecified | JobState::Waiting | JobState::Ready | JobState::Offered | JobState::Committed => {
            return None;
        }
    };
    Some(line)
}

impl Reporter for Plain {
    fn started(&mut self, compose_id: &str, compose_dir: &str) -> Result<()> {
        outln!("Compose: {compose_id}")?;
        if !self.quiet {
            errln!("in {compose_dir}");
        }
        Ok(())
    }

    fn compose(&mut self, summary: &ComposeSummary) -> Result<()> {
        (self.done, self.total) = (summary.jobs_done, summary.jobs_total);
        // Its end is told once STATUS says it, too.
        let word = status_word(summary.status);
        let is_early = summary.active && word.starts_with("FINISHED");
        if self.status != summary.status && !is_early {
            self.status = summary.status;
            if !self.quiet || word == "DOOMED" {
                errln!("{} is {word}", summary.compose_id);
            }
        }
        if self.trouble != summary.trouble {
            self.trouble.clone_from(&summary.trouble);
            match (summary.trouble.as_str(), summary.active) {
                ("", false) => {}
                ("", true) => errln!("{}: goes on", summary.compose_id),
                (trouble, _) => errln!("{}: {trouble}", summary.compose_id),
            }
        }
        Ok(())
    }

    fn job(&mut self, job: &Job, news: bool) -> Result<()> {
        // Why it stands still is news, once.
        let waits = Some(&job.phase).filter(|phase| phase.starts_with("waits: "));
        if self.waits.get(&job.number) != waits {
            let says = !self.quiet || self.waits.is_empty();
            match waits {
                Some(text) => {
                    if says {
                        errln!("{}{} {text}", self.count(), job.name);
                    }
                    self.waits.insert(job.number, text.clone())
                }
                None => self.waits.remove(&job.number),
            };
        }
        if self.shown.insert(job.number, job.state) == Some(job.state) {
            return Ok(());
        }
        let failed = job.state == i32::from(JobState::Failed);
        let full = job.failure_class == "ENOSPC" && !std::mem::replace(&mut self.full, true);
        if (news && !self.quiet) || failed || full {
            if let Some(line) = job_line(job) {
                errln!("{}{line}", self.count());
            }
            if super::is_over(job.state) {
                for warning in &job.warnings {
                    errln!("  warning: {}: {warning}", job.name);
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}
