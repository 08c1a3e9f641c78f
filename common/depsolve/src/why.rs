//! Why a package is in a gather result.

use std::collections::{HashMap, HashSet};

use crate::gather::{Cause, GatherResult};
use crate::{PackageRef, Source};

/// One link of a chain of reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The package, as `name-[epoch:]version-release.arch`.
    pub nevra: String,
    /// The package.
    pub package: PackageRef,
    /// What brought it: `by`, if given, is the package of the next step.
    pub cause: Cause,
}

/// Returns the chain of first causes from a package to an input, the package itself first. Empty if the package is not in
/// the result.
///
/// Each pass of a solve selects what the pass before needs, so the first cause lies on a chain of fewest passes.
pub fn why(result: &GatherResult, package: PackageRef, sources: &[Source<'_>]) -> Vec<Step> {
    let mut causes: HashMap<PackageRef, &Cause> = HashMap::new();
    for selected in result.all() {
        causes.entry(selected.package).or_insert(&selected.cause);
    }
    let mut chain = Vec::new();
    let mut seen = HashSet::new();
    let mut next = Some(package);
    // A result that was read back from somewhere may hold a circle.
    while let Some(package) = next.filter(|package| seen.insert(*package)) {
        let Some(cause) = causes.get(&package) else { break };
        let nevra = package.resolve(sources).map_or_else(String::new, |view| view.nevra());
        next = cause.by;
        chain.push(Step { nevra, package, cause: (*cause).clone() });
    }
    chain
}
