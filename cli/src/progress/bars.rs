//! Live bars on a terminal: one for the compose, a line for each running job.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tutti_proto::compose::{ComposeSummary, Job, JobState};

use super::{Reporter, is_over, plain::job_line, status_word};

/// Lines of running jobs shown at once; more are counted in the compose's bar.
const LINES: usize = 12;

/// Bars on standard error.
pub(crate) struct Bars {
    all: MultiProgress,
    compose: ProgressBar,
    jobs: BTreeMap<u32, ProgressBar>,
    trouble: String,
}

impl Bars {
    pub(crate) fn new() -> Self {
        let all = MultiProgress::new();
        let compose = all.add(ProgressBar::new(0));
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} jobs  {elapsed}  {msg}") {
            compose.set_style(style);
        }
        compose.enable_steady_tick(Duration::from_millis(500));
        Self { all, compose, jobs: BTreeMap::new(), trouble: String::new() }
    }

    fn bar_of(&mut self, job: &Job) -> Option<&ProgressBar> {
        if !self.jobs.contains_key(&job.number) {
            if self.jobs.len() >= LINES {
                return None;
            }
            let bar = self.all.add(ProgressBar::new(0));
            if let Ok(style) = ProgressStyle::with_template("  {prefix:<40} {elapsed:>5}  {msg}") {
                bar.set_style(style);
            }
            bar.set_prefix(job.name.clone());
            self.jobs.insert(job.number, bar);
        }
        self.jobs.get(&job.number)
    }
}

impl Reporter for Bars {
    fn started(&mut self, compose_id: &str, compose_dir: &str) -> Result<()> {
        self.all.suspend(|| {
            errln!("in {compose_dir}");
            outln!("Compose: {compose_id}")
        })
    }

    fn compose(&mut self, summary: &ComposeSummary) -> Result<()> {
        self.compose.set_length(summary.jobs_total.into());
        self.compose.set_position(summary.jobs_done.into());
        let failed = if summary.jobs_failed > 0 { format!(", {} failed", summary.jobs_failed) } else { String::new() };
        self.compose.set_message(format!("{}{failed}", status_word(summary.status)));
        if self.trouble != summary.trouble {
            self.trouble.clone_from(&summary.trouble);
            if !summary.trouble.is_empty() {
                self.all.println(format!("{}: {}", summary.compose_id, summary.trouble))?;
            }
        }
        Ok(())
    }

    fn job(&mut self, job: &Job, news: bool) -> Result<()> {
        if job.state == i32::from(JobState::Running) {
            let message = match (job.phase.as_str(), job.total) {
                ("", _) => String::new(),
                (phase, 0) => phase.to_owned(),
                (phase, total) => format!("{phase} {}/{total}", job.done),
            };
            if let Some(bar) = self.bar_of(job) {
                bar.set_message(message);
                bar.tick();
            }
            return Ok(());
        }
        if is_over(job.state) {
            if let Some(bar) = self.jobs.remove(&job.number) {
                bar.finish_and_clear();
            }
            let bad = job.state != i32::from(JobState::Published);
            if bad
                && (news || job.state == i32::from(JobState::Failed))
                && let Some(line) = job_line(job)
            {
                self.all.println(line)?;
            }
            for warning in &job.warnings {
                self.all.println(format!("warning: {}: {warning}", job.name))?;
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        for (_, bar) in std::mem::take(&mut self.jobs) {
            bar.finish_and_clear();
        }
        self.compose.finish_and_clear();
        Ok(())
    }
}
