//! Named points where tests make the program stop, fail or wait.
//!
//! A point is a call of [`hit`] (or [`failpoint!`], which returns early with the error) at each state transition and
//! before and after each external effect. Names are `area.step.moment`, for example `store.txn.before`. Without the
//! feature `enabled` a point is an empty inline function: a release binary cannot be armed from its environment.
//!
//! With it, two environment variables are read once, at the first hit:
//!
//! * `TUTTI_FAILPOINTS="name=action[@occurrence];…"` arms points. The occurrence counts from 1 per name and process;
//!   without one the action happens at every hit. Actions: `kill` (SIGKILL to this process, nothing is flushed),
//!   `exit` or `exit(status)`, `error`, `error-until(path)` (an error until the file exists), `sleep(milliseconds)`,
//!   `pause-file(path)` (waits until the file exists).
//!   `name[subject]` arms a point for one subject only, where the point has one ([`hit_for`]): for `job.*` points the
//!   job's name, or `JOB#ATTEMPT` for one attempt at it.
//! * `TUTTI_FAILPOINT_LOG=file` appends a line `name occurrence` for each hit, which is how a test learns the points
//!   that a run passes and then repeats the run failing at each of them. The line is written before the action.
//!
//! A text that cannot be parsed ends the process with status 64 and says why: a test that meant to break something
//! and did not would pass for the wrong reason.
//!
//! `sleep` and `pause-file` block the calling thread; that is their purpose.

#[cfg(feature = "enabled")]
mod armed;
#[cfg(feature = "enabled")]
mod parse;

/// The error that an armed point with the action `error` returns.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failpoint {name} failed on purpose at occurrence {occurrence}")]
pub struct FailpointError {
    /// The name of the point.
    pub name: &'static str,
    /// How often this process had passed the point, this time included.
    pub occurrence: u64,
}

impl From<FailpointError> for std::io::Error {
    fn from(error: FailpointError) -> Self {
        std::io::Error::other(error)
    }
}

/// Passes the point `name`, and does there what the environment asks for.
///
/// # Errors
///
/// [`FailpointError`] where the point is armed with `error`; never without the feature `enabled`.
#[cfg(feature = "enabled")]
pub fn hit(name: &'static str) -> Result<(), FailpointError> {
    armed::Failpoints::global().hit(name, None)
}

/// Passes the point `name`: nothing happens, the feature `enabled` is off.
///
/// # Errors
///
/// Never.
#[cfg(not(feature = "enabled"))]
#[inline(always)]
pub fn hit(_name: &'static str) -> Result<(), FailpointError> {
    Ok(())
}

/// Passes the point `name` on behalf of `subject`, such as a job: also `name[subject]=action` arms it.
///
/// # Errors
///
/// As [`hit`].
#[cfg(feature = "enabled")]
pub fn hit_for(name: &'static str, subject: &str) -> Result<(), FailpointError> {
    armed::Failpoints::global().hit(name, Some(subject))
}

/// Passes the point `name` on behalf of `subject`: nothing happens, the feature `enabled` is off.
///
/// # Errors
///
/// Never.
#[cfg(not(feature = "enabled"))]
#[inline(always)]
pub fn hit_for(_name: &'static str, _subject: &str) -> Result<(), FailpointError> {
    Ok(())
}

/// Passes the point `name` where an error would mean nothing: `error` does nothing there.
#[inline(always)]
pub fn pass(name: &'static str) {
    let _ = hit(name);
}

/// Returns the points passed by this process so far with their counts, sorted by name; empty without `enabled`.
#[must_use]
pub fn names_seen() -> Vec<(&'static str, u64)> {
    #[cfg(feature = "enabled")]
    return armed::Failpoints::global().names_seen();
    #[cfg(not(feature = "enabled"))]
    Vec::new()
}

/// True where the feature `enabled` is compiled in.
#[must_use]
pub const fn is_enabled() -> bool {
    cfg!(feature = "enabled")
}

/// Passes a point and returns its error, converted with `?`, from the enclosing function.
///
/// ```
/// fn publish() -> Result<(), std::io::Error> {
///     tutti_failpoint::failpoint!("publish.rename.before");
///     Ok(())
/// }
/// # publish().unwrap();
/// ```
#[macro_export]
macro_rules! failpoint {
    ($name:expr) => {
        $crate::hit($name)?
    };
}

#[cfg(all(test, not(feature = "enabled")))]
mod tests {
    #[test]
    fn does_nothing_without_the_feature() {
        assert_eq!(super::hit("a.point"), Ok(()));
        assert!(super::names_seen().is_empty());
        assert!(!super::is_enabled());
    }
}
