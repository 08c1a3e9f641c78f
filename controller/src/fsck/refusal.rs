//! Whether a compose may be gone on with. Finished jobs do not run again: with a part of what they made gone, it would
//! end as if it were whole.

use std::{ops::ControlFlow, path::Path};

use super::{Depth, Finding, Report, Severity, Subject, check_files};

/// What a look at a compose found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// All is there.
    Whole,
    /// What is not, and what to do.
    Refused(String),
    /// What could not be looked at: the volume is in trouble.
    Troubled(String),
    /// It was broken off, and says nothing.
    BrokenOff,
}

/// What a compose cannot do while something is gone, and what does it once all is back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Then {
    /// Be gone on with.
    GoesOn(String),
    /// End as finished.
    Ends(String),
}

/// Looks, without reading contents but of packages that were touched, whether everything is there that finished jobs
/// made. Blocks, at most until it `stops`.
pub fn look(subject: &Subject, then: &Then, stops: impl Fn() -> bool) -> Look {
    let mut watch = |_| if stops() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let refused = |report: &Report| refusal(&subject.id, &subject.top, &report.findings, then);
    let passes = |report: &Report| report.findings.iter().any(|finding| finding.may_pass);
    let report = match check_files(subject, Depth::Stat, &mut watch) {
        // Perhaps packages were only touched.
        Some(report) if !passes(&report) && refused(&report).is_some() => {
            check_files(subject, Depth::Changed, &mut watch)
        }
        report => report,
    };
    match report {
        None => Look::BrokenOff,
        Some(report) => match refused(&report) {
            None => Look::Whole,
            Some(refusal) if passes(&report) => Look::Troubled(refusal),
            // The volume may have gone meanwhile, or before.
            Some(refusal) => match std::fs::metadata(&subject.top) {
                Ok(_) => Look::Refused(refusal),
                Err(error) => Look::Troubled(format!("cannot look at {}: {error}", subject.top.display())),
            },
        },
    }
}

/// As [`look`], of findings that are known.
pub fn refusal(id: &str, top: &Path, findings: &[Finding], then: &Then) -> Option<String> {
    let ours = |finding: &&Finding| finding.severity == Severity::Error && is_made(&finding.path);
    let damaged: Vec<&Finding> = findings.iter().filter(ours).collect();
    // What may pass explains the rest.
    let first = damaged.iter().find(|finding| finding.may_pass).or(damaged.first())?;
    let more = if damaged.len() > 1 { format!(", and {} more", damaged.len() - 1) } else { String::new() };
    let (cannot, then) = match then {
        Then::GoesOn(then) => ("go on with", then),
        Then::Ends(then) => ("finish", then),
    };
    Some(format!(
        "cannot {cannot} {id}: {} in {} {}{more}\nhint: {}\nhint: tutti fsck {id} lists all; once all is back in its place, {then}",
        first.path,
        top.display(),
        first.what,
        first.advice
    ))
}

/// Whether jobs made it, and others read it or users get it.
fn is_made(path: &str) -> bool {
    ["compose", "COMPOSE_ID"].contains(&path) || path.starts_with("compose/") || path.starts_with("work")
}
