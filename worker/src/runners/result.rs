//! What `solve` found, as `trim` and nested variants' `solve` read it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tutti_depsolve::{
    GatherResult, PackageRef, Selected,
    gather::{Cause, Flag},
    release::SystemRelease,
    universe::PackageView,
};
use tutti_rpm::Evr;

use crate::{FailureClass, JobContext, OrFail as _, RunnerError};

/// One chosen package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chosen {
    /// Number of its package source.
    pub source: u32,
    /// Its place in that source's package set; none for packages of lookaside sources, which have no set.
    pub index: Option<u32>,
    /// Name.
    pub name: String,
    /// Epoch, version, release.
    pub evr: Evr,
    /// Architecture; `src` or `nosrc` for source packages.
    pub arch: String,
    /// Why it was chosen.
    pub flags: BTreeSet<Flag>,
    /// The rule that first brought it, and what it was applied to.
    pub reason: Reason,
}

/// The first cause of a choice, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// Rule, as [`tutti_depsolve::gather::Rule`] is written.
    pub rule: tutti_depsolve::gather::Rule,
    /// NEVRA of the package that it was applied to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub by: Option<String>,
    /// Requirement, or the pattern that was asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub requirement: Option<String>,
}

/// A requirement that nothing satisfies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unresolved {
    /// Package.
    pub nevra: String,
    /// Its requirement.
    pub requirement: String,
}

/// Output `result` of a `solve` job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SolveResult {
    /// Binary packages.
    pub binary: Vec<Chosen>,
    /// Debug packages.
    pub debug: Vec<Chosen>,
    /// Source packages.
    pub source: Vec<Chosen>,
    /// Requirements that nothing satisfies.
    pub unresolved: Vec<Unresolved>,
    /// Patterns that match nothing.
    pub unmatched: Vec<String>,
    /// Answer of the system-release rule, which nested variants reuse.
    pub system_release: SystemRelease,
}

/// Where the package of a reference is from: number of its source, and whether that has a package set.
pub(super) struct Origin<'a> {
    pub(super) number: u32,
    pub(super) has_set: bool,
    pub(super) view: PackageView<'a>,
}

impl SolveResult {
    /// Reads input `name`.
    ///
    /// # Errors
    /// Class tool when it is no result.
    pub(super) fn load(context: &JobContext, name: &str) -> Result<Self, RunnerError> {
        serde_json::from_slice(&context.input_bytes(name)?)
            .or_fail(FailureClass::Tool, || format!("input {name} is no gather result"))
    }

    /// Adds what one gather found.
    pub(super) fn add<'a>(&mut self, found: &GatherResult, origin: &dyn Fn(PackageRef) -> Option<Origin<'a>>) {
        for (list, selected) in
            [(&mut self.binary, &found.binary), (&mut self.debug, &found.debug), (&mut self.source, &found.source)]
        {
            list.extend(selected.iter().filter_map(|selected| chosen(selected, origin)));
        }
        let unresolved = |one: &tutti_depsolve::gather::Unresolved| Unresolved {
            nevra: one.nevra.clone(),
            requirement: one.requirement.clone(),
        };
        self.unresolved.extend(found.unresolved.iter().map(unresolved));
        self.unmatched.extend(found.unmatched.iter().cloned());
    }

    /// Merges what several gathers chose and sorts: the first of equal packages stays, with the flags of all.
    pub(super) fn normalise(&mut self) {
        for list in [&mut self.binary, &mut self.debug, &mut self.source] {
            let mut merged: BTreeMap<_, Chosen> = BTreeMap::new();
            for chosen in list.drain(..) {
                let key = (chosen.name.clone(), chosen.evr.clone(), chosen.arch.clone(), chosen.source, chosen.index);
                match merged.get_mut(&key) {
                    Some(known) => known.flags.extend(chosen.flags),
                    None => {
                        merged.insert(key, chosen);
                    }
                }
            }
            list.extend(merged.into_values());
        }
        self.unresolved.sort();
        self.unresolved.dedup();
        self.unmatched.sort();
        self.unmatched.dedup();
    }

    /// All packages: binary, debug, source.
    pub fn all(&self) -> impl Iterator<Item = &Chosen> {
        self.binary.iter().chain(&self.debug).chain(&self.source)
    }
}

fn chosen<'a>(selected: &Selected, origin: &dyn Fn(PackageRef) -> Option<Origin<'a>>) -> Option<Chosen> {
    let Origin { number, has_set, view } = origin(selected.package)?;
    let Cause { rule, by, requirement } = &selected.cause;
    Some(Chosen {
        source: number,
        index: has_set.then(|| view.origin()),
        name: view.name().to_owned(),
        evr: view.evr(),
        arch: view.arch().to_owned(),
        flags: selected.flags.clone(),
        reason: Reason {
            rule: *rule,
            by: by.and_then(origin).map(|by| by.view.nevra()),
            requirement: requirement.clone(),
        },
    })
}
