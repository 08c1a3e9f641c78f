//! Which packages a solve sees, and in which role.

use fixedbitset::FixedBitSet;

use super::request::GatherRequest;
use crate::arch;
use crate::glob::Pattern;
use crate::pool::{Id, Pool};

/// Sets of packages by role.
#[derive(Debug)]
pub(super) struct Queues {
    pub(super) source: FixedBitSet,
    pub(super) binary: FixedBitSet,
    pub(super) native_binary: FixedBitSet,
    /// The second library set, and noarch.
    pub(super) multilib_binary: FixedBitSet,
    pub(super) debug: FixedBitSet,
    pub(super) native_debug: FixedBitSet,
    pub(super) multilib_debug: FixedBitSet,
    pub(super) noarch: FixedBitSet,
    /// Place in the architecture chain, best first; `u8::MAX` for what is not in it.
    pub(super) arch_index: Vec<u8>,
}

impl Queues {
    /// Sorts packages into queues and removes the excluded ones.
    pub(super) fn new(pool: &Pool<'_>, request: &GatherRequest) -> Queues {
        let yum = arch::yum_arch(&request.arch);
        let (chain, native) = (arch::arch_chain(yum), arch::native_arches(yum));
        let set = || FixedBitSet::with_capacity(pool.len());
        let mut queues = Queues {
            source: set(),
            binary: set(),
            native_binary: set(),
            multilib_binary: set(),
            debug: set(),
            native_debug: set(),
            multilib_debug: set(),
            noarch: set(),
            arch_index: vec![u8::MAX; pool.len()],
        };
        for id in pool.ids() {
            let at = id as usize;
            let arch = pool.arch(id);
            if arch::is_source(arch) {
                queues.source.insert(at);
                continue;
            }
            let Some(index) = chain.iter().position(|known| *known == arch) else { continue };
            queues.arch_index[at] = index.min(254) as u8;
            let noarch = arch == "noarch";
            queues.noarch.set(at, noarch);
            let (is_native, is_multilib) = (native.contains(&arch), noarch || !native.contains(&arch));
            if tutti_rpm::is_debug_name(pool.name(id)) {
                queues.debug.insert(at);
                queues.native_debug.set(at, is_native);
                queues.multilib_debug.set(at, is_multilib);
            } else {
                queues.binary.insert(at);
                queues.native_binary.set(at, is_native);
                queues.multilib_binary.set(at, is_multilib);
            }
        }
        let excluded = queues.excluded(pool, request);
        queues.remove(&excluded);
        queues.remove_copies(pool);
        queues
    }

    /// Excludes apply to own packages, the multilib blacklist to lookaside packages too.
    fn excluded(&self, pool: &Pool<'_>, request: &GatherRequest) -> FixedBitSet {
        let mut excluded = FixedBitSet::with_capacity(pool.len());
        let mut exclude = |pattern: &str, queue: &FixedBitSet, arched: bool, own: bool| {
            for id in pool.matching(&Pattern::shell(pattern)).into_iter().flatten() {
                let at = id as usize;
                if queue[at] && !(arched && self.noarch[at]) && !(own && pool.entry(id).lookaside) {
                    excluded.insert(at);
                }
            }
        };
        for pattern in &request.excludes {
            if let Some(name) = pattern.strip_suffix(".+") {
                exclude(name, &self.multilib_binary, true, true);
            } else if let Some(name) = pattern.strip_suffix(".src") {
                exclude(name, &self.source, false, true);
            } else if tutti_rpm::is_debug_name(pattern) {
                exclude(pattern, &self.debug, false, true);
            } else {
                exclude(pattern, &self.binary, false, true);
            }
        }
        for pattern in &request.multilib_blacklist {
            exclude(pattern, &self.multilib_binary, true, false);
        }
        excluded
    }

    /// Removes packages from all queues but the whole debug queue, which Pungi leaves alone; what it holds besides the
    /// native and multilib ones is never chosen, but makes a requirement count as satisfied.
    fn remove(&mut self, packages: &FixedBitSet) {
        for queue in [
            &mut self.source,
            &mut self.binary,
            &mut self.native_binary,
            &mut self.multilib_binary,
            &mut self.native_debug,
            &mut self.multilib_debug,
        ] {
            queue.difference_with(packages);
        }
    }

    /// Of packages of one NEVRA keeps the first: lookaside before own, then by source.
    fn remove_copies(&mut self, pool: &Pool<'_>) {
        let mut copies = FixedBitSet::with_capacity(pool.len());
        let mut kept: Vec<Id> = Vec::new();
        for id in pool.ids() {
            let at = id as usize;
            if !(self.source[at] || self.binary[at] || self.native_debug[at] || self.multilib_debug[at]) {
                continue;
            }
            let entry = pool.entry(id);
            kept.retain(|other| {
                let other = pool.entry(*other);
                (other.name, other.rank, other.arch) == (entry.name, entry.rank, entry.arch)
            });
            if kept.iter().any(|other| pool.entry(*other).evr == entry.evr) {
                copies.insert(at);
            } else {
                kept.push(id);
            }
        }
        self.remove(&copies);
        self.debug.difference_with(&copies);
    }
}
