//! Whether a compose may be gone on with. Finished jobs do not run again: with a part of what they made gone, it would
//! end as if it were whole.

use std::{ops::ControlFlow, path::Path};

use super::{Depth, Finding, Severity, Subject, check};

/// Looks, without reading contents, whether everything is there that finished jobs made; says what is not, and what to
/// do. Blocks. `then` ends the advice: how to go on once all is back. When it `stops`, nothing is said.
pub fn look(subject: &Subject, then: &str, stops: impl Fn() -> bool) -> Option<String> {
    let mut watch = |_| if stops() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let report = check(subject, Depth::Stat, &mut watch)?;
    refusal(&subject.id, &subject.top, &report.findings, then)
}

/// As [`look`], of findings that are known.
pub fn refusal(id: &str, top: &Path, findings: &[Finding], then: &str) -> Option<String> {
    let ours = |finding: &&Finding| finding.severity == Severity::Error && is_made(&finding.path);
    let damaged: Vec<&Finding> = findings.iter().filter(ours).collect();
    let first = damaged.first()?;
    let more = if damaged.len() > 1 { format!(", and {} more", damaged.len() - 1) } else { String::new() };
    Some(format!(
        "cannot go on with {id}: {} in {} {}{more}\nhint: {}\nhint: tutti fsck {id} lists all; once all is back in its place, {then}",
        first.path,
        top.display(),
        first.what,
        first.advice
    ))
}

/// Whether jobs made it, and others read it or users get it.
fn is_made(path: &str) -> bool {
    path == "compose" || path.starts_with("compose/") || path.starts_with("work")
}
