//! The choice among several packages: Pungi's `_get_best_package`.

use fixedbitset::FixedBitSet;

use super::request::Greedy;
use super::solver::Solver;
use crate::pool::{Id, Pool};

/// What a package is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// An input, a conditional, a langpack.
    Package,
    /// A requirement: greedy `build` applies.
    Requirement,
}

/// Which of the two kinds of queue is chosen from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Binary packages.
    Binary,
    /// Debug packages.
    Debug,
}

impl Solver<'_> {
    /// Chooses among candidates, which must be sorted. Returns none, one, or with greediness several, best first.
    pub(super) fn best(&self, candidates: &[Id], wanted: Wanted, kind: Kind) -> Vec<Id> {
        let (native, multilib) = match kind {
            Kind::Binary => (&self.queues.native_binary, &self.queues.multilib_binary),
            Kind::Debug => (&self.queues.native_debug, &self.queues.multilib_debug),
        };
        let candidates = self.prefer_lookaside(candidates);
        let native = latest(&self.pool, &candidates, native);
        let multilib = latest(&self.pool, &candidates, multilib);
        if self.request.greedy == Greedy::All {
            let mut all = [native, multilib].concat();
            self.sort(&mut all);
            all.dedup();
            return all;
        }
        let selected =
            |pool: &[Id]| -> Vec<Id> { pool.iter().copied().filter(|id| self.selected_binary[*id as usize]).collect() };
        let mut pool = [selected(&native), selected(&multilib), native.clone(), multilib.clone()]
            .into_iter()
            .find(|pool| !pool.is_empty())
            .unwrap_or_default();
        self.sort(&mut pool);
        let Some(first) = pool.first().copied() else { return Vec::new() };
        if self.request.greedy != Greedy::Build || wanted != Wanted::Requirement {
            return vec![first];
        }
        let build = self.pool.entry(first).source_rpm;
        let siblings = if self.is_native(first) { native } else { multilib };
        let mut all: Vec<Id> = siblings.into_iter().filter(|id| self.pool.entry(*id).source_rpm == build).collect();
        self.sort(&mut all);
        all
    }

    /// With any lookaside source: keeps the candidates of the one highest EVR over all names, then drops own packages
    /// whose name and EVR a lookaside package has too.
    fn prefer_lookaside(&self, candidates: &[Id]) -> Vec<Id> {
        if !self.has_lookaside {
            return candidates.to_vec();
        }
        let entry = |id: &Id| self.pool.entry(*id);
        let highest = candidates.iter().map(|id| entry(id).rank).max();
        let mut kept: Vec<Id> = candidates.iter().copied().filter(|id| Some(entry(id).rank) == highest).collect();
        let mut lookaside: Vec<_> =
            kept.iter().map(entry).filter(|entry| entry.lookaside).map(|entry| (entry.name, entry.evr)).collect();
        lookaside.sort_unstable();
        kept.retain(|id| {
            let entry = entry(id);
            entry.lookaside || lookaside.binary_search(&(entry.name, entry.evr)).is_err()
        });
        kept
    }

    /// Sorts by architecture, length of the name, name, then id.
    fn sort(&self, packages: &mut [Id]) {
        packages.sort_by_key(|id| {
            let name = self.pool.name(*id);
            (self.queues.arch_index[*id as usize], name.chars().count(), name, *id)
        });
    }

    /// Whether the package is of a native architecture or noarch.
    pub(super) fn is_native(&self, id: Id) -> bool {
        self.queues.native_binary[id as usize] || self.queues.native_debug[id as usize]
    }
}

/// Returns the packages of a queue among sorted candidates, of each name and architecture those of the highest EVR.
fn latest(pool: &Pool<'_>, candidates: &[Id], queue: &FixedBitSet) -> Vec<Id> {
    let mut kept: Vec<Id> = Vec::new();
    // Highest first; `seen` holds the architectures of the current name.
    let mut seen: Vec<(u32, u32)> = Vec::new();
    let mut name = None;
    for id in candidates.iter().rev().copied().filter(|id| queue[*id as usize]) {
        let entry = pool.entry(id);
        if name != Some(entry.name) {
            seen.clear();
            name = Some(entry.name);
        }
        match seen.iter().find(|(arch, _)| *arch == entry.arch) {
            Some((_, rank)) if *rank != entry.rank => continue,
            Some(_) => {}
            None => seen.push((entry.arch, entry.rank)),
        }
        kept.push(id);
    }
    kept.reverse();
    kept
}
