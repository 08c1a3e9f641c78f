//! Steps that follow source packages: sources, debug, fulltree; and multilib, which follows equal versions.

use std::collections::HashMap;

use super::Error;
use super::best::{Kind, Wanted};
use super::queues::Queues;
use super::request::Greedy;
use super::result::{Flag, Rule};
use super::solver::{Reason, Solver, pending};
use crate::pool::{Id, Pool, StringId};

/// Packages by the source package that they were built from, and source packages by name, version, release.
#[derive(Debug, Default)]
pub(super) struct Siblings {
    native: HashMap<StringId, Vec<Id>>,
    multilib: HashMap<StringId, Vec<Id>>,
    noarch: HashMap<StringId, Vec<Id>>,
    native_debug: HashMap<StringId, Vec<Id>>,
    multilib_debug: HashMap<StringId, Vec<Id>>,
    sources: HashMap<(StringId, StringId, StringId), Vec<Id>>,
}

impl Siblings {
    pub(super) fn new(pool: &Pool<'_>, queues: &Queues) -> Siblings {
        let mut siblings = Siblings::default();
        for id in pool.ids() {
            let (at, entry) = (id as usize, pool.entry(id));
            if queues.source[at] {
                let (_, version, release) = entry.evr;
                siblings.sources.entry((entry.name, version, release)).or_default().push(id);
            }
            let Some(source_rpm) = entry.source_rpm else { continue };
            let push = |map: &mut HashMap<StringId, Vec<Id>>| map.entry(source_rpm).or_default().push(id);
            let noarch = queues.noarch[at];
            if queues.native_binary[at] {
                push(if noarch { &mut siblings.noarch } else { &mut siblings.native });
            }
            if queues.multilib_binary[at] && !noarch {
                push(&mut siblings.multilib);
            }
            if queues.native_debug[at] {
                push(&mut siblings.native_debug);
            }
            if queues.multilib_debug[at] {
                push(&mut siblings.multilib_debug);
            }
        }
        siblings
    }
}

fn get(map: &HashMap<StringId, Vec<Id>>, source_rpm: StringId) -> Vec<Id> {
    map.get(&source_rpm).cloned().unwrap_or_default()
}

/// Returns the name in a source package's file name: what stands before the last but one `-`.
pub(super) fn source_name(source_rpm: &str) -> &str {
    source_rpm.rsplitn(3, '-').nth(2).unwrap_or(source_rpm)
}

/// Splits `name-version-release.arch.rpm` into name, version, release.
pub(crate) fn source_nvr(source_rpm: &str) -> Option<(&str, &str, &str)> {
    let stem = source_rpm.strip_suffix(".rpm").unwrap_or(source_rpm);
    let (stem, _) = stem.rsplit_once('.')?;
    let (rest, release) = stem.rsplit_once('-')?;
    let (name, version) = rest.rsplit_once('-')?;
    Some((name, version, release))
}

impl Solver<'_> {
    /// Step 4: the source package of each selected package; of several the one from the same source, else the first.
    pub(super) fn add_sources(&mut self) -> Result<bool, Error> {
        let mut added = false;
        for id in pending(&self.selected_binary, &self.done.sources) {
            self.look()?;
            self.done.sources.insert(id as usize);
            let Some(source) = self.find_source(id) else { continue };
            let (binary, package) = (self.pool.entry(id), self.pool.entry(source));
            if binary.lookaside || package.lookaside {
                self.flag(source, Flag::Lookaside);
            }
            if !self.selected_source.put(source as usize) {
                self.because(source, Reason::of(Rule::Source, id));
                added = true;
            }
        }
        Ok(added)
    }

    /// The first answer for a source package's file name stays.
    fn find_source(&mut self, id: Id) -> Option<Id> {
        let pool = &self.pool;
        let entry = pool.entry(id);
        let source_rpm = entry.source_rpm?;
        if let Some(known) = self.source_of.get(&source_rpm) {
            return Some(*known);
        }
        let (name, version, release) = source_nvr(pool.string(source_rpm))?;
        let key = (pool.find_string(name)?, pool.find_string(version)?, pool.find_string(release)?);
        let candidates = self.siblings.sources.get(&key)?;
        let same = candidates.iter().find(|id| pool.entry(**id).package.source == entry.package.source);
        let found = *same.or_else(|| candidates.first())?;
        self.source_of.insert(source_rpm, found);
        Some(found)
    }

    /// Step 5: debugsource and own debuginfo of each selected package.
    pub(super) fn add_debug(&mut self) -> Result<bool, Error> {
        let mut added = false;
        for id in pending(&self.selected_binary, &self.done.debug) {
            self.look()?;
            self.done.debug.insert(id as usize);
            let entry = *self.pool.entry(id);
            let Some(source_rpm) = entry.source_rpm else { continue };
            let native = self.is_native(id);
            let candidates =
                get(if native { &self.siblings.native_debug } else { &self.siblings.multilib_debug }, source_rpm);
            let own = format!("{}-debuginfo", self.pool.name(id));
            for package in candidates {
                let candidate = *self.pool.entry(package);
                let name = self.pool.name(package);
                if candidate.arch != entry.arch || !(name.contains("-debugsource") || name == own) {
                    continue;
                }
                if candidate.lookaside {
                    self.flag(package, Flag::Lookaside);
                }
                if !self.selected_debug.put(package as usize) {
                    self.because(package, Reason::of(Rule::Debug, id));
                    added = true;
                }
            }
        }
        Ok(added)
    }

    /// Step 7: the other packages of the source package. What comes so brings no others itself.
    pub(super) fn add_fulltree(&mut self) -> Result<bool, Error> {
        if !self.request.fulltree {
            return Ok(false);
        }
        let mut added = false;
        for id in pending(&self.selected_binary, &self.done.fulltree) {
            self.look()?;
            // A package that came before it in this pass may have marked it.
            if self.done.fulltree[id as usize] {
                continue;
            }
            self.done.fulltree.insert(id as usize);
            let Some(source_rpm) = self.pool.entry(id).source_rpm else { continue };
            if self.is_fulltree_exclude(id) {
                continue;
            }
            for package in self.fulltree_of(source_rpm) {
                self.done.fulltree.insert(package as usize);
                if self.add(package, Kind::Binary, Reason::of(Rule::Fulltree, id)) {
                    self.flag(package, Flag::Fulltree);
                    added = true;
                }
            }
        }
        Ok(added)
    }

    fn fulltree_of(&self, source_rpm: StringId) -> Vec<Id> {
        let native = get(&self.siblings.native, source_rpm);
        let multilib = get(&self.siblings.multilib, source_rpm);
        let any_selected = |packages: &[Id]| packages.iter().any(|id| self.selected_binary[*id as usize]);
        let pull_native = !native.is_empty() && (any_selected(&native) || !any_selected(&multilib));
        let all = self.request.greedy == Greedy::All;
        let mut packages = Vec::new();
        if pull_native || all {
            packages.extend(native);
        }
        if !pull_native || all {
            packages.extend(multilib);
        }
        packages.extend(get(&self.siblings.noarch, source_rpm));
        packages
    }

    /// Step 9: the second library set's build of each selected native package, if a method wants it.
    pub(super) fn add_multilib(&mut self) -> Result<bool, Error> {
        let mut added = false;
        for id in pending(&self.selected_binary, &self.done.multilib) {
            self.look()?;
            if self.queues.noarch[id as usize] || !self.is_native(id) {
                self.done.multilib.insert(id as usize);
                continue;
            }
            let entry = *self.pool.entry(id);
            let (_, version, release) = entry.evr;
            let candidates: Vec<Id> = self
                .pool
                .named(self.pool.string(entry.name))
                .filter(|other| {
                    let (_, other_version, other_release) = self.pool.entry(*other).evr;
                    self.queues.multilib_binary[*other as usize]
                        && !self.queues.noarch[*other as usize]
                        && (other_version, other_release) == (version, release)
                })
                .collect();
            // A refusal is final only if no other candidate can become the best one later.
            if candidates.len() < 2 {
                self.done.multilib.insert(id as usize);
            }
            for package in self.best(&candidates, Wanted::Package, Kind::Binary) {
                if self.multilib.wants(&self.pool, package)? {
                    self.done.multilib.insert(id as usize);
                    self.add(package, Kind::Binary, Reason::of(Rule::Multilib, id));
                    self.flag(package, Flag::Multilib);
                    added = true;
                }
            }
        }
        Ok(added)
    }
}

#[cfg(test)]
mod tests {
    use super::{source_name, source_nvr};

    #[test]
    fn names_of_source_packages() {
        assert_eq!(source_name("a-b-1.0-2.src.rpm"), "a-b");
        assert_eq!(source_name("odd"), "odd");
        assert_eq!(source_nvr("a-b-1.0-2.fc40.src.rpm"), Some(("a-b", "1.0", "2.fc40")));
        assert_eq!(source_nvr("odd.rpm"), None);
    }
}
