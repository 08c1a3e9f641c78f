//! How a job fails: a class that the scheduler reads, a line and a hint that people read.

use std::error::Error;

use serde::{Deserialize, Serialize};
use tutti_files::Trouble;

/// Whose fault a failure is. Retry decisions read this and never a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureClass {
    /// The host, its volume or the network: another attempt may well succeed.
    Infra,
    /// What the job was given is wrong: packages, comps, configuration.
    Input,
    /// The runner or a tool that it calls did what it should not.
    Tool,
    /// The attempt ran too long, or made no progress for too long.
    Timeout,
    /// Somebody wanted it to end.
    Cancelled,
    /// The job killed more than one worker (the controller's verdict).
    Poisoned,
    /// A service elsewhere failed.
    External,
    /// No space left.
    NoSpace,
}

/// Why a runner could not do its job.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub struct RunnerError {
    /// Whose fault it is.
    pub class: FailureClass,
    /// What was being done, and to what; lower case, no full stop.
    pub cause: String,
    /// What the user can do about it.
    pub hint: Option<String>,
    /// The error below.
    #[source]
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl RunnerError {
    /// A failure with no error below it.
    pub fn new(class: FailureClass, cause: impl Into<String>) -> Self {
        Self { class, cause: cause.into(), hint: None, source: None }
    }

    /// A failure of class [`FailureClass::Input`].
    pub fn input(cause: impl Into<String>) -> Self {
        Self::new(FailureClass::Input, cause)
    }

    /// A failure of class [`FailureClass::Tool`].
    pub fn tool(cause: impl Into<String>) -> Self {
        Self::new(FailureClass::Tool, cause)
    }

    /// A failure of class [`FailureClass::Infra`].
    pub fn infra(cause: impl Into<String>) -> Self {
        Self::new(FailureClass::Infra, cause)
    }

    /// What a runner returns when it finds itself cancelled.
    pub fn cancelled() -> Self {
        Self::new(FailureClass::Cancelled, "cancelled")
    }

    /// A failure with the error below it. A full disk ([`FailureClass::NoSpace`]), and a volume that went away
    /// (`ESTALE`, `EIO`) or is read-only ([`FailureClass::Infra`]) anywhere in the chain overrule `class`, and give the
    /// hint.
    pub fn caused_by(
        class: FailureClass,
        cause: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        let source = source.into();
        let trouble = tutti_files::trouble_of(source.as_ref());
        let class = trouble.and_then(class_of).unwrap_or(class);
        let hint = trouble.map(|trouble| trouble.hint().to_owned());
        Self { class, cause: cause.into(), hint, source: Some(source) }
    }

    /// Adds what the user can do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The whole chain in one line, without control characters, at most 2000 characters.
    pub fn one_line(&self) -> String {
        chain(self)
    }
}

/// An error and those below it in one line, as [`RunnerError::one_line`]. What is said already is not said again:
/// libraries repeat in an error what stands below it.
pub(crate) fn chain(error: &dyn Error) -> String {
    one_line(&tutti_files::chain(error))
}

/// `text` with control characters as spaces, at most 2000 characters.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().take(2000).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// What a trouble of the volume says of a failure. That a path is denied is often its owner's wish.
fn class_of(trouble: Trouble) -> Option<FailureClass> {
    match trouble {
        Trouble::Full => Some(FailureClass::NoSpace),
        Trouble::ReadOnly | Trouble::Failing => Some(FailureClass::Infra),
        Trouble::Denied => None,
    }
}

/// Turns errors into [`RunnerError`]s, saying what was being done.
pub trait OrFail<T> {
    /// On error: a failure of `class` (but see [`RunnerError::caused_by`]) with the text that `cause` makes.
    ///
    /// # Errors
    /// That of `self`.
    fn or_fail<S: Into<String>>(self, class: FailureClass, cause: impl FnOnce() -> S) -> Result<T, RunnerError>;
}

impl<T, E: Into<Box<dyn Error + Send + Sync>>> OrFail<T> for Result<T, E> {
    fn or_fail<S: Into<String>>(self, class: FailureClass, cause: impl FnOnce() -> S) -> Result<T, RunnerError> {
        self.map_err(|source| RunnerError::caused_by(class, cause(), source))
    }
}

impl From<tutti_job::SpecError> for RunnerError {
    fn from(source: tutti_job::SpecError) -> Self {
        Self::caused_by(FailureClass::Tool, "job spec does not fit its runner", source)
    }
}

impl From<tutti_job::PathError> for RunnerError {
    fn from(source: tutti_job::PathError) -> Self {
        Self::caused_by(FailureClass::Input, "path refused", source)
    }
}

impl From<tutti_job::ManifestError> for RunnerError {
    fn from(source: tutti_job::ManifestError) -> Self {
        Self::caused_by(FailureClass::Tool, "manifest refused", source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn full_disks_and_lost_volumes_overrule_the_caller() {
        let io = |errno: rustix::io::Errno| io::Error::from_raw_os_error(errno.raw_os_error());
        let class = |error: io::Error| Err::<(), _>(error).or_fail(FailureClass::Tool, || "write x").unwrap_err().class;
        assert_eq!(class(io(rustix::io::Errno::NOSPC)), FailureClass::NoSpace);
        assert_eq!(class(io(rustix::io::Errno::STALE)), FailureClass::Infra);
        assert_eq!(class(io(rustix::io::Errno::NOENT)), FailureClass::Tool);
        let wrapped = io::Error::other(RunnerError::caused_by(FailureClass::Tool, "x", io(rustix::io::Errno::NOSPC)));
        assert_eq!(class(wrapped), FailureClass::NoSpace);
    }

    #[test]
    fn a_failure_is_one_line_with_its_chain() {
        let error = RunnerError::caused_by(FailureClass::Input, "read a\nb", io::Error::other("gone"));
        assert_eq!(error.one_line(), "read a b: gone");
    }
}
