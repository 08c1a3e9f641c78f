//! All packages of a list of sources under one numbering, and who provides what.
//!
//! An [`Id`] is the package's place in order of name, EVR, architecture, own or lookaside, source, place in its universe:
//! a lower id is the tie-break wherever Pungi leaves a choice to the order of a set. Among equal NEVRAs lookaside
//! packages come first, as they do in libdnf when Pungi loads lookaside repositories first.

mod dependency;
mod strings;

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::ops::Range;

use tutti_rpm::evr::SortKey;
use tutti_rpm::{Dependency, Evr, Sense};

use crate::universe::{NONE, PackageView, UniverseError};
use crate::{PackageRef, Source};
use strings::PoolStrings;

/// Number of a package in a pool.
pub(crate) type Id = u32;
/// Number of a distinct requirement in a pool.
pub(crate) type RequirementId = u32;
/// Number of a string in a pool; string order is number order.
pub(crate) type StringId = u32;

/// One distinct requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Requirement {
    pub(crate) name: StringId,
    sense: u32,
    epoch: u32,
    version: StringId,
    release: StringId,
}

#[derive(Clone, Copy, Debug)]
struct Provide {
    package: Id,
    range: Option<(Sense, u32)>,
}

/// What is known of one package.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) name: StringId,
    pub(crate) arch: StringId,
    /// Equal for EVRs that RPM calls equal.
    pub(crate) rank: u32,
    /// Strings of the EVR, to tell apart what RPM calls equal.
    pub(crate) evr: (u32, StringId, StringId),
    pub(crate) source_rpm: Option<StringId>,
    pub(crate) lookaside: bool,
    pub(crate) package: PackageRef,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Pool<'a> {
    sources: &'a [Source<'a>],
    strings: PoolStrings<'a>,
    entries: Vec<Entry>,
    /// Per source and package: its id.
    ids: Vec<Vec<Id>>,
    evrs: Vec<Evr>,
    requirements: Vec<Requirement>,
    requires: Vec<RequirementId>,
    requires_ends: Vec<u32>,
    provides: Vec<Provide>,
    provides_ends: Vec<u32>,
    memo: RefCell<HashMap<RequirementId, std::rc::Rc<[Id]>>>,
    files: OnceCell<Result<HashMap<String, Vec<Id>>, UniverseError>>,
}

impl<'a> Pool<'a> {
    pub(crate) fn new(sources: &'a [Source<'a>]) -> Pool<'a> {
        let strings = PoolStrings::new(sources);
        let (evrs, evr_bases, ranks) = collect_evrs(sources);
        let entries = collect_entries(sources, &strings, &evr_bases, &ranks);
        let mut ids: Vec<Vec<Id>> = sources.iter().map(|source| vec![0; source.universe.len()]).collect();
        for (id, entry) in entries.iter().enumerate() {
            ids[entry.package.source as usize][entry.package.package as usize] = id as Id;
        }
        let mut pool = Pool {
            sources,
            strings,
            entries,
            ids,
            evrs,
            requirements: Vec::new(),
            requires: Vec::new(),
            requires_ends: Vec::new(),
            provides: Vec::new(),
            provides_ends: Vec::new(),
            memo: RefCell::new(HashMap::new()),
            files: OnceCell::new(),
        };
        pool.index_requires();
        pool.index_provides(&evr_bases);
        pool
    }

    fn index_requires(&mut self) {
        let mut known: HashMap<Requirement, RequirementId> = HashMap::new();
        // A dependency of a universe is looked at once, however many packages have it.
        let mut seen: Vec<Vec<RequirementId>> =
            self.sources.iter().map(|source| vec![NONE; source.universe.dependencies.len()]).collect();
        for entry in &self.entries {
            let source = entry.package.source as usize;
            let universe = self.sources[source].universe;
            for dependency in universe.requires(entry.package.package as usize) {
                let place = &mut seen[source][*dependency as usize];
                if *place == NONE {
                    let record = universe.dependencies[*dependency as usize];
                    let mut key = Requirement {
                        name: self.strings.of(source, record.name),
                        sense: record.sense.map_or(0, Sense::bits),
                        epoch: 0,
                        version: NONE,
                        release: NONE,
                    };
                    if record.sense.is_some() {
                        let evr = universe.evrs[record.evr as usize];
                        key.epoch = evr.epoch;
                        key.version = self.strings.of(source, evr.version);
                        key.release = self.strings.of(source, evr.release);
                    }
                    let next = self.requirements.len() as RequirementId;
                    *place = *known.entry(key).or_insert(next);
                    if *place == next {
                        self.requirements.push(key);
                    }
                }
                self.requires.push(*place);
            }
            self.requires_ends.push(self.requires.len() as u32);
        }
    }

    fn index_provides(&mut self, evr_bases: &[u32]) {
        let sources = self.sources;
        let dependencies = |entry: &Entry| {
            let universe = sources[entry.package.source as usize].universe;
            universe.provides(entry.package.package as usize).iter().map(|id| universe.dependencies[*id as usize])
        };
        // Source packages provide nothing to anybody (libsolv pool_createwhatprovides skips what is not installable).
        let binary: Vec<bool> = self.entries.iter().map(|entry| !self.is_source_arch(entry.arch)).collect();
        let mut ends = vec![0_u32; self.strings.len() + 1];
        for (entry, _) in self.entries.iter().zip(&binary).filter(|(_, binary)| **binary) {
            for record in dependencies(entry) {
                ends[self.strings.of(entry.package.source as usize, record.name) as usize + 1] += 1;
            }
        }
        for at in 1..ends.len() {
            ends[at] += ends[at - 1];
        }
        let total = ends.last().copied().unwrap_or(0);
        let mut next = ends.clone();
        let mut provides = vec![Provide { package: NONE, range: None }; total as usize];
        for (id, entry) in self.entries.iter().enumerate().filter(|(id, _)| binary[*id]) {
            let source = entry.package.source as usize;
            for record in dependencies(entry) {
                let at = &mut next[self.strings.of(source, record.name) as usize];
                let range = record.sense.map(|sense| (sense, evr_bases[source] + record.evr));
                provides[*at as usize] = Provide { package: id as Id, range };
                *at += 1;
            }
        }
        self.provides = provides;
        self.provides_ends = ends;
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn ids(&self) -> Range<Id> {
        0..self.entries.len() as Id
    }

    pub(crate) fn entry(&self, id: Id) -> &Entry {
        &self.entries[id as usize]
    }

    pub(crate) fn has_lookaside(&self) -> bool {
        self.sources.iter().any(|source| source.lookaside)
    }

    /// Returns the id of a package; `None` if the reference is of another list of sources.
    pub(crate) fn id(&self, package: PackageRef) -> Option<Id> {
        self.ids.get(package.source as usize)?.get(package.package as usize).copied()
    }

    pub(crate) fn view(&self, id: Id) -> PackageView<'a> {
        let package = self.entry(id).package;
        match package.resolve(self.sources) {
            Some(view) => view,
            None => unreachable!("entries are made from the sources"),
        }
    }

    pub(crate) fn nevra(&self, id: Id) -> String {
        self.view(id).nevra()
    }

    pub(crate) fn name(&self, id: Id) -> &'a str {
        self.strings.get(self.entry(id).name)
    }

    pub(crate) fn arch(&self, id: Id) -> &'a str {
        self.strings.get(self.entry(id).arch)
    }

    pub(crate) fn string(&self, id: StringId) -> &'a str {
        self.strings.get(id)
    }

    pub(crate) fn find_string(&self, text: &str) -> Option<StringId> {
        self.strings.find(text)
    }

    fn is_source_arch(&self, arch: StringId) -> bool {
        crate::arch::is_source(self.strings.get(arch))
    }

    /// Returns the packages of one name.
    pub(crate) fn named(&self, name: &str) -> Range<Id> {
        self.find_string(name).map_or(0..0, |name| self.run(name))
    }

    fn run(&self, name: StringId) -> Range<Id> {
        let start = self.entries.partition_point(|entry| entry.name < name);
        let end = self.entries.partition_point(|entry| entry.name <= name);
        start as Id..end as Id
    }

    /// Returns, for each name that matches, its packages.
    pub(crate) fn matching(&self, pattern: &crate::glob::Pattern) -> Vec<Range<Id>> {
        if let Some(name) = pattern.literal() {
            let run = self.named(name);
            return if run.is_empty() { Vec::new() } else { vec![run] };
        }
        let mut runs = Vec::new();
        let mut start = 0;
        for run in self.entries.chunk_by(|a, b| a.name == b.name) {
            let end = start + run.len() as Id;
            if pattern.matches(self.strings.get(run[0].name)) {
                runs.push(start..end);
            }
            start = end;
        }
        runs
    }

    pub(crate) fn requires(&self, id: Id) -> &[RequirementId] {
        let start = if id == 0 { 0 } else { self.requires_ends[id as usize - 1] as usize };
        &self.requires[start..self.requires_ends[id as usize] as usize]
    }

    /// Returns the number of distinct requirements.
    pub(crate) fn requirement_count(&self) -> usize {
        self.requirements.len()
    }

    /// Returns the file lists of the universe that a package is of.
    pub(crate) fn files(&self, id: Id) -> Result<&'a crate::universe::FileTable, UniverseError> {
        self.sources[self.entry(id).package.source as usize].universe.files()
    }

    /// Returns the requirement as a dependency.
    pub(crate) fn dependency(&self, id: RequirementId) -> Dependency {
        let requirement = self.requirements[id as usize];
        let range = Sense::from_bits(requirement.sense).map(|sense| {
            let evr = Evr {
                epoch: (requirement.epoch != 0).then_some(requirement.epoch),
                version: self.strings.get(requirement.version).to_owned(),
                release: self.strings.get(requirement.release).to_owned(),
            };
            (sense, evr)
        });
        Dependency { name: self.strings.get(requirement.name).to_owned(), range, pre: false }
    }
}

/// Returns all EVRs, where those of each source start, and the rank of each.
fn collect_evrs(sources: &[Source<'_>]) -> (Vec<Evr>, Vec<u32>, Vec<u32>) {
    let mut evrs = Vec::new();
    let mut bases = Vec::new();
    for source in sources {
        bases.push(evrs.len() as u32);
        evrs.extend((0..source.universe.evrs.len()).map(|id| source.universe.evr(id as u32)));
    }
    if let [source] = sources {
        let ranks = source.universe.evrs.iter().map(|record| record.rank).collect();
        return (evrs, bases, ranks);
    }
    let mut keys: Vec<(SortKey, usize)> = evrs.iter().enumerate().map(|(at, evr)| (evr.sort_key(), at)).collect();
    // Runs of ascending keys, one a source: a stable sort merges them.
    keys.sort();
    let mut ranks = vec![0; evrs.len()];
    let mut rank = 0;
    for (place, (key, at)) in keys.iter().enumerate() {
        rank += u32::from(place > 0 && keys[place - 1].0 != *key);
        ranks[*at] = rank;
    }
    (evrs, bases, ranks)
}

fn collect_entries(sources: &[Source<'_>], strings: &PoolStrings<'_>, bases: &[u32], ranks: &[u32]) -> Vec<Entry> {
    let mut entries = Vec::with_capacity(sources.iter().map(|source| source.universe.len()).sum());
    for (at, source) in sources.iter().enumerate() {
        for (index, record) in source.universe.packages.iter().enumerate() {
            let evr = source.universe.evrs[record.evr as usize];
            entries.push(Entry {
                name: strings.of(at, record.name),
                arch: strings.of(at, record.arch),
                rank: ranks[(bases[at] + record.evr) as usize],
                evr: (evr.epoch, strings.of(at, evr.version), strings.of(at, evr.release)),
                source_rpm: (record.source_rpm != NONE).then(|| strings.of(at, record.source_rpm)),
                lookaside: source.lookaside,
                package: PackageRef::new(at as u32, index as u32),
            });
        }
    }
    entries.sort_by_key(|entry| (entry.name, entry.rank, entry.arch, !entry.lookaside, entry.package));
    entries
}
