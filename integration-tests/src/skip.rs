//! Suites whose input is not on every machine: they say so, and fail where everything must be there.

use std::path::PathBuf;

/// Says that a suite did not run; with `CI=true` that is a failure.
pub fn skipped(reason: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "CI=true, and this suite cannot run: {reason}");
    eprintln!("skipped: {reason}");
}

/// Directory of shared inputs: `TUTTI_SHARED`, else `../shared` beside the checkout; none, said aloud, where it lacks
/// `part`.
#[must_use]
pub fn shared(part: &str) -> Option<PathBuf> {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let directory = std::env::var_os("TUTTI_SHARED").map_or_else(default, PathBuf::from).join(part);
    if directory.exists() {
        return Some(directory);
    }
    skipped(&format!("{} is absent (TUTTI_SHARED names the directory that has it)", directory.display()));
    None
}
