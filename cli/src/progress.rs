//! What a person or a machine sees while a compose runs.

mod bars;
mod json;
mod plain;

use std::io::IsTerminal;

use anyhow::Result;
pub(crate) use json::{compose_object, print_end, print_json, worker_object};
use tutti_proto::compose::{ComposeStatus, ComposeSummary, Job, JobState};

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Bars on a terminal, else lines.
    Text,
    /// One JSON object a line on standard output (docs/json-stream.md).
    Json,
}

/// Takes the events of one watched compose.
pub(crate) trait Reporter {
    /// The compose has this id and directory: printed at once.
    fn started(&mut self, compose_id: &str, compose_dir: &str) -> Result<()>;
    /// The compose's own state changed.
    fn compose(&mut self, summary: &ComposeSummary) -> Result<()>;
    /// A job changed. `news` is false while present state is still being listed.
    fn job(&mut self, job: &Job, news: bool) -> Result<()>;
    /// Nothing more will come; leaves the terminal clean.
    fn finish(&mut self) -> Result<()>;
}

/// Goes on when nobody can be told any more: the work counts. What is printed at the end says so then.
pub(crate) struct Steadfast {
    inner: Box<dyn Reporter>,
    lost: bool,
}

impl Steadfast {
    /// Reports on what was started before.
    pub(crate) fn new(inner: Box<dyn Reporter>) -> Self {
        Self { inner, lost: false }
    }

    /// Starts to report; not even the compose's id may be lost.
    pub(crate) fn start(mut inner: Box<dyn Reporter>, compose_id: &str, compose_dir: &str) -> Result<Self> {
        inner.started(compose_id, compose_dir)?;
        Ok(Self::new(inner))
    }

    fn tell(&mut self, tell: impl FnOnce(&mut dyn Reporter) -> Result<()>) {
        if self.lost {
            return;
        }
        if let Err(error) = tell(self.inner.as_mut()) {
            self.lost = true;
            errln!("warning: no more progress is shown, the compose goes on: {error:#}");
        }
    }
}

impl Reporter for Steadfast {
    fn started(&mut self, compose_id: &str, compose_dir: &str) -> Result<()> {
        self.inner.started(compose_id, compose_dir)
    }
    fn compose(&mut self, summary: &ComposeSummary) -> Result<()> {
        self.tell(|inner| inner.compose(summary));
        Ok(())
    }
    fn job(&mut self, job: &Job, news: bool) -> Result<()> {
        self.tell(|inner| inner.job(job, news));
        Ok(())
    }
    fn finish(&mut self) -> Result<()> {
        self.tell(|inner| inner.finish());
        Ok(())
    }
}

/// The reporter for a format and this terminal.
pub(crate) fn reporter(format: Format, quiet: bool) -> Box<dyn Reporter> {
    match format {
        Format::Json => Box::new(json::Json),
        Format::Text if quiet => Box::new(plain::Plain::quiet()),
        Format::Text if std::io::stderr().is_terminal() => Box::new(bars::Bars::new()),
        Format::Text => Box::new(plain::Plain::new()),
    }
}

/// Word for a job state.
pub(crate) fn state_word(state: i32) -> &'static str {
    match JobState::try_from(state).unwrap_or_default() {
        JobState::Unspecified => "unknown",
        JobState::Waiting => "waiting",
        JobState::Ready => "ready",
        JobState::Offered => "offered",
        JobState::Running => "running",
        JobState::Committed => "committed",
        JobState::Published => "published",
        JobState::Failed => "failed",
        JobState::Skipped => "skipped",
        JobState::Cancelled => "cancelled",
    }
}

/// Word for a compose status, as in the STATUS file.
pub(crate) fn status_word(status: i32) -> &'static str {
    match ComposeStatus::try_from(status).unwrap_or_default() {
        ComposeStatus::Unspecified => "UNKNOWN",
        ComposeStatus::Started => "STARTED",
        ComposeStatus::Finished => "FINISHED",
        ComposeStatus::FinishedIncomplete => "FINISHED_INCOMPLETE",
        ComposeStatus::Doomed => "DOOMED",
        ComposeStatus::Terminated => "TERMINATED",
    }
}

/// The status that a STATUS file says.
pub(crate) fn status_of(word: &str) -> ComposeStatus {
    let all = [
        ComposeStatus::Started,
        ComposeStatus::Finished,
        ComposeStatus::FinishedIncomplete,
        ComposeStatus::Doomed,
        ComposeStatus::Terminated,
    ];
    all.into_iter().find(|status| status_word((*status).into()) == word).unwrap_or_default()
}

/// Whether a job is over, one way or another.
pub(crate) fn is_over(state: i32) -> bool {
    matches!(
        JobState::try_from(state),
        Ok(JobState::Published | JobState::Failed | JobState::Skipped | JobState::Cancelled)
    )
}

/// Milliseconds since 1970 of a wire timestamp.
pub(crate) fn millis(time: &Option<prost_types::Timestamp>) -> Option<i64> {
    time.as_ref().map(|time| time.seconds * 1000 + i64::from(time.nanos) / 1_000_000)
}

/// Seconds between two wire timestamps, not below zero.
pub(crate) fn seconds_between(
    from: &Option<prost_types::Timestamp>,
    to: &Option<prost_types::Timestamp>,
) -> Option<f64> {
    Some(((millis(to)? - millis(from)?).max(0)) as f64 / 1000.0)
}
