//! Steps that follow names and requirements: conditionals, requires, build requires, debug requires, langpacks.

use super::Error;
use super::best::{Kind, Wanted};
use super::result::{Flag, Rule};
use super::solver::{Reason, Solver, pending};
use crate::glob::Pattern;
use crate::pool::{Id, RequirementId};

/// The one langpack-like name that Pungi never takes for a langpack.
const NO_LANGPACK: &str = "man-pages-overrides";

impl Solver<'_> {
    /// Step 1: with each selected package come the conditionals on its name.
    pub(super) fn add_conditionals(&mut self) -> Result<bool, Error> {
        let mut added = false;
        for id in pending(&self.selected_binary, &self.done.conditional) {
            self.look()?;
            self.done.conditional.insert(id as usize);
            let name = self.pool.name(id);
            let mut found: Vec<Id> = Vec::new();
            for conditional in self.conditionals.iter().filter(|conditional| conditional.requires == name) {
                let named: Vec<Id> =
                    self.pool.named(&conditional.install).filter(|id| self.queues.binary[*id as usize]).collect();
                found.extend(self.best(&named, Wanted::Package, Kind::Binary));
            }
            for package in found {
                if self.add(package, Kind::Binary, Reason::of(Rule::Conditional, id)) {
                    self.flag(id, Flag::Conditional);
                    added = true;
                }
            }
        }
        Ok(added)
    }

    /// Step 2: requirements of selected packages.
    pub(super) fn add_required(&mut self) -> Result<bool, Error> {
        let mut added = false;
        for id in pending(&self.selected_binary, &self.done.binary) {
            self.look()?;
            self.done.binary.insert(id as usize);
            for (package, requirement) in self.resolve(id, Kind::Binary)? {
                added |= self.add(package, Kind::Binary, Reason::required(Rule::Requires, id, requirement));
            }
        }
        Ok(added)
    }

    /// Step 3: build requirements of selected source packages.
    pub(super) fn add_build_required(&mut self) -> Result<bool, Error> {
        if !self.request.selfhosting {
            return Ok(false);
        }
        let mut added = false;
        for id in pending(&self.selected_source, &self.done.build_requires) {
            self.look()?;
            self.done.build_requires.insert(id as usize);
            for (package, requirement) in self.resolve(id, Kind::Binary)? {
                if self.add(package, Kind::Binary, Reason::required(Rule::BuildRequires, id, requirement)) {
                    self.flag(id, Flag::SelfHosting);
                    added = true;
                }
            }
        }
        Ok(added)
    }

    /// Step 6: requirements of debug packages, satisfied by debug packages.
    pub(super) fn add_debug_required(&mut self) -> Result<bool, Error> {
        let mut added = false;
        for id in pending(&self.selected_debug, &self.done.debug_requires) {
            self.look()?;
            self.done.debug_requires.insert(id as usize);
            for (package, requirement) in self.resolve(id, Kind::Debug)? {
                if !self.selected_binary[package as usize] {
                    let reason = Reason::required(Rule::DebugRequires, id, requirement);
                    added |= self.add(package, Kind::Debug, reason);
                }
            }
        }
        Ok(added)
    }

    /// Chooses packages for each requirement of a package. Nothing is selected meanwhile, so that the order of a
    /// package's requirements does not matter. Lookaside packages need nothing.
    fn resolve(&mut self, id: Id, kind: Kind) -> Result<Vec<(Id, RequirementId)>, Error> {
        if self.pool.entry(id).lookaside {
            return Ok(Vec::new());
        }
        let pool = std::rc::Rc::clone(&self.pool);
        let mut found = Vec::new();
        for requirement in pool.requires(id).iter().copied() {
            if let Some(chosen) = &self.chosen[requirement as usize] {
                found.extend(chosen.iter().map(|package| (*package, requirement)));
                continue;
            }
            let queue = match kind {
                Kind::Binary => &self.queues.binary,
                Kind::Debug => &self.queues.debug,
            };
            let providers = pool.providers(requirement)?;
            let candidates: Vec<Id> = providers.iter().copied().filter(|id| queue[*id as usize]).collect();
            if candidates.is_empty() {
                self.unresolved.insert((id, requirement));
                continue;
            }
            let best = self.best(&candidates, Wanted::Requirement, kind);
            if !best.is_empty() {
                found.extend(best.iter().map(|package| (*package, requirement)));
                self.chosen[requirement as usize] = Some(best.into());
            }
        }
        Ok(found)
    }

    /// Step 8: langpacks of selected packages.
    pub(super) fn add_langpacks(&mut self) -> Result<bool, Error> {
        if self.request.langpacks.is_empty() {
            return Ok(false);
        }
        let unwanted = [Pattern::shell("*-devel"), Pattern::shell("*-static"), Pattern::shell(NO_LANGPACK)];
        let mut added = false;
        for id in pending(&self.selected_binary, &self.done.langpack) {
            self.look()?;
            self.done.langpack.insert(id as usize);
            let name = self.pool.name(id);
            let mut found: Vec<std::ops::Range<Id>> = Vec::new();
            for langpack in self.request.langpacks.iter().filter(|langpack| langpack.name == name) {
                found.extend(self.pool.matching(&Pattern::shell(&langpack.install.replace("%s", "*"))));
            }
            found.sort_unstable_by_key(|run| run.start);
            found.dedup();
            for run in found {
                let same_name: Vec<Id> = run.filter(|id| self.queues.binary[*id as usize]).collect();
                let Some(first) = same_name.first() else { continue };
                if unwanted.iter().any(|pattern| pattern.matches(self.pool.name(*first))) {
                    continue;
                }
                if let Some(package) = self.best(&same_name, Wanted::Package, Kind::Binary).first().copied() {
                    added |= self.add(package, Kind::Binary, Reason::of(Rule::Langpack, id));
                    self.flag(package, Flag::Langpack);
                }
            }
        }
        Ok(added)
    }
}
