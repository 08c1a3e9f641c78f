//! Repoclosure: which requirements of a repository nothing satisfies.
//!
//! The verdict is that of `dnf repoclosure` (dnf-plugins-core 4.3.1, `plugins/repoclosure.py`): every requirement of every
//! checked package, scriptlet requirements included and weak dependencies not; `rpmlib(…)` is left out; providers are all
//! available binary packages of an architecture that the machine can install, whatever their version; rich dependencies
//! as libsolv expands them (see `pool/dependency.rs`).

use fixedbitset::FixedBitSet;
use serde::{Deserialize, Serialize};

use crate::pool::{Id, Pool};
use crate::universe::UniverseError;
use crate::{PackageRef, Source, arch};

/// A requirement that nothing satisfies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Broken {
    /// Package, as `name-[epoch:]version-release.arch`.
    pub nevra: String,
    /// Requirement.
    pub requirement: String,
    /// The package.
    pub package: PackageRef,
}

/// Checks the packages of a repository against themselves and `available`, the packages of its lookaside repositories.
///
/// The architecture is that of the first source's universe. Source packages among `repo` are checked like others (their
/// requirements are build requirements); leave them out for what Pungi checks. References to other sources are ignored.
/// Sorted by package and requirement.
///
/// # Errors
/// A universe whose file lists cannot be read.
pub fn repoclosure(
    repo: &[PackageRef],
    available: &[PackageRef],
    sources: &[Source<'_>],
) -> Result<Vec<Broken>, UniverseError> {
    let pool = Pool::new(sources);
    let tree_arch = sources.first().map_or("noarch", |source| source.universe.arch());
    let chain = arch::arch_chain(arch::yum_arch(tree_arch));
    let mut provides = FixedBitSet::with_capacity(pool.len());
    for id in repo.iter().chain(available).filter_map(|package| pool.id(*package)) {
        provides.set(id as usize, chain.contains(&pool.arch(id)));
    }
    let mut checked: Vec<Id> = repo.iter().filter_map(|package| pool.id(*package)).collect();
    checked.sort_unstable();
    checked.dedup();
    let mut satisfied: Vec<Option<bool>> = vec![None; pool.requirement_count()];
    let mut broken = Vec::new();
    for id in checked {
        for requirement in pool.requires(id).iter().copied() {
            let known = match satisfied[requirement as usize] {
                Some(known) => known,
                None => pool.providers(requirement)?.iter().any(|id| provides[*id as usize]),
            };
            satisfied[requirement as usize] = Some(known);
            if !known {
                broken.push(Broken {
                    nevra: pool.nevra(id),
                    requirement: pool.dependency(requirement).to_string(),
                    package: pool.entry(id).package,
                });
            }
        }
    }
    broken.sort();
    Ok(broken)
}
