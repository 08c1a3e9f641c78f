//! Which packages belong to a variant and architecture.
//!
//! `deps` is what `pungi-gather` does (Pungi 4.8 and newer, `gather_dnf.py`), `nodeps` what Pungi's method of that name
//! does (`phases/gather/methods/method_nodeps.py`). Where Pungi leaves the outcome to the order of a Python set, packages
//! are taken in order of name, EVR, architecture, lookaside first, then source: among equals the first wins, and within
//! one pass of one step packages are looked at in that order. Of several packages of one NEVRA only the first exists.
//!
//! Pungi's own result does not depend on that order in practice but for one flag: which of several source packages that need
//! the same build requirement is flagged `self-hosting`.
//!
//! The fixpoint restarts at its first step whenever a step added something, as Pungi's does; each step only looks at
//! packages that it has not looked at before.

mod best;
mod initial;
mod multilib;
mod nodeps;
mod queues;
mod request;
mod result;
mod solver;
mod steps;
mod subpackages;
#[cfg(test)]
mod tests;

pub use request::{Conditional, GatherRequest, Greedy, Group, InputPackage, Langpack, Member, MemberKind, Method};
pub use result::{Cause, Flag, GatherResult, Rule, Selected, Unresolved};

use crate::Source;
use crate::universe::UniverseError;

/// Why there is no result.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing was asked for (Pungi refuses this too).
    #[error("no packages, groups or prepopulated packages are asked for; list a group, or use additional_packages")]
    NoInput,
    /// A multilib method that does not exist.
    #[error("unknown multilib method {0:?}; there are none, all, runtime and devel")]
    MultilibMethod(String),
    /// A prepopulate entry without an architecture.
    #[error("prepopulate entry {0:?} is not of the form name.arch")]
    Prepopulate(String),
    /// The caller asked to stop.
    #[error("gather was cancelled")]
    Cancelled,
    /// A universe whose file lists cannot be read.
    #[error("file lists of a package source cannot be read")]
    Universe(#[from] UniverseError),
}

/// Chooses packages. `cancel` is asked now and then whether to stop.
///
/// # Errors
/// See [`Error`]. Requirements that nothing satisfies and patterns that match nothing are part of the result.
pub fn gather(
    request: &GatherRequest,
    sources: &[Source<'_>],
    cancel: &dyn Fn() -> bool,
) -> Result<GatherResult, Error> {
    match request.method {
        Method::Deps => solver::solve(request, sources, cancel),
        Method::NoDeps => nodeps::select(request, sources, cancel),
    }
}
