//! What does not fit together in one compose, each thing with what to do about it.
//!
//! The state says which jobs are published and what they made; manifests among the blobs say what that is, file by
//! file. Everything expected comes from there ([`expected`]), everything found from the disk ([`observe`]), and
//! [`compare`] and [`state`] are pure functions from both to findings. Nothing is changed, and nothing is repaired.
//!
//! A compose whose program is gone is read from a copy of its state file ([`stored`]); a running one is asked of its
//! controller, and then only what was published when the check began is looked at.

mod compare;
mod expected;
mod observe;
mod refusal;
mod state;
mod stored;
#[cfg(test)]
mod tests;

use std::{fmt, ops::ControlFlow, path::PathBuf};

use tutti_job::{Digest, Volumes};

pub use refusal::{Look, Then, look, refusal};
pub use stored::{Loaded, StateFileError, copy_state, load};

use crate::{
    lifecycle::{Header, JobRecord},
    plan::Plan,
    spec::Identity,
    volume,
};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; not a finding.
    Note,
    /// Nothing that users get is wrong, but something should be cleaned up or set right.
    Warning,
    /// The compose is not what it says it is.
    Error,
}

impl Severity {
    /// The word for people and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Where: relative to the compose's directory, or absolute for what lies outside of it.
    pub path: String,
    /// Name of the job that is concerned; empty for none.
    pub job: String,
    /// What is wrong; goes on after the path.
    pub what: String,
    /// What to do.
    pub advice: String,
    /// The place could not be looked at, as its volume is in trouble: it may look otherwise later.
    pub may_pass: bool,
}

impl Finding {
    fn new(severity: Severity, path: impl Into<String>, what: impl Into<String>, advice: impl Into<String>) -> Self {
        let (path, what, advice) = (path.into(), what.into(), advice.into());
        Self { severity, path, job: String::new(), what, advice, may_pass: false }
    }

    fn of_job(mut self, job: impl Into<String>) -> Self {
        self.job = job.into();
        self
    }
}

/// Who keeps a compose's state, and goes on with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// `tutti compose`, in the compose's own directory.
    Itself,
    /// A controller, with this file.
    Controller(PathBuf),
}

impl Keeper {
    /// What findings call the state.
    fn state(&self) -> String {
        match self {
            Self::Itself => volume::EMBEDDED_STATE.to_owned(),
            Self::Controller(path) => path.display().to_string(),
        }
    }

    /// What goes on with the compose of that id, for the beginning of a sentence.
    fn again(&self, id: &str) -> String {
        match self {
            Self::Itself => format!("tutti compose --resume {id}"),
            Self::Controller(_) => "its controller, once it is started again,".to_owned(),
        }
    }
}

/// A compose to check: its state, and where it is.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Compose id.
    pub id: String,
    /// Its directory on this host.
    pub top: PathBuf,
    /// The directory that its state names; another one after the compose was moved.
    pub recorded_top: PathBuf,
    /// Blobs of spec and plan.
    pub documents: [Digest; 2],
    /// Release and compose identity.
    pub identity: Identity,
    /// The plan.
    pub plan: Plan,
    /// Stored header.
    pub header: Header,
    /// Stored records, by job number.
    pub jobs: Vec<JobRecord>,
    /// A controller works on it now.
    pub running: bool,
    /// Who keeps its state.
    pub keeper: Keeper,
}

impl Subject {
    fn volumes(&self) -> Volumes {
        Volumes::new(&self.top)
    }

    fn name(&self, job: u32) -> String {
        self.plan.job(job).map_or_else(|| format!("job {job}"), |job| job.name.to_string())
    }

    fn record(&self, job: u32) -> JobRecord {
        self.jobs.get(job as usize).cloned().unwrap_or_default()
    }
}

/// How much is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Names, types, sizes, modes, link targets, and the mtime of packages.
    Stat,
    /// And the contents of packages whose mtime is another: somebody may only have touched them.
    Changed,
    /// All contents too.
    Contents,
}

/// How far a check is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub what: &'static str,
    /// How much of it is done.
    pub done: u64,
    /// How much there is; 0 if that is not known.
    pub total: u64,
}

/// Is told how far a check is, often; breaks it off by its answer.
pub type Watcher<'a> = &'a mut dyn FnMut(Progress) -> ControlFlow<()>;

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// All findings, worst first, then by path.
    pub findings: Vec<Finding>,
    /// Files and links that were looked at.
    pub files: u64,
    /// Bytes that were read and hashed.
    pub bytes: u64,
}

impl Report {
    /// A report of findings alone.
    pub fn of(findings: Vec<Finding>) -> Self {
        let mut report = Self { findings, ..Self::default() };
        report.sort();
        report
    }

    /// Whether there is anything but notes.
    pub fn is_clean(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity == Severity::Note)
    }

    fn sort(&mut self) {
        self.findings.sort_by(|a, b| {
            b.severity.cmp(&a.severity).then_with(|| (&a.path, &a.job, &a.what).cmp(&(&b.path, &b.job, &b.what)))
        });
    }
}

/// Checks a compose. Blocks; `None` when the watcher broke it off.
pub fn check(subject: &Subject, depth: Depth, watch: Watcher<'_>) -> Option<Report> {
    let history = observe::history(subject, watch)?;
    let mut report = check_files(subject, depth, watch)?;
    report.findings.extend(history);
    report.sort();
    Some(report)
}

/// As [`check`], but for the history, which tells of the past.
fn check_files(subject: &Subject, depth: Depth, watch: Watcher<'_>) -> Option<Report> {
    let mut findings = state::records(subject);
    let places = observe::places(subject);
    findings.extend(state::places(subject, &places));
    let expected = expected::expected(subject, depth, &mut findings, watch)?;
    let observed = observe::observe(subject, &expected, depth, watch)?;
    findings.extend(compare::compare(subject, &expected, &observed.seen));
    findings.extend(observed.findings);
    let mut report = Report { findings, files: observed.files, bytes: observed.bytes };
    report.sort();
    Some(report)
}
