//! What a solve starts with: inputs and prepopulated packages.

use super::Error;
use super::best::{Kind, Wanted};
use super::request::Greedy;
use super::result::{Flag, Rule};
use super::solver::{Reason, Solver};
use crate::glob::Pattern;
use crate::pool::Id;

/// What Pungi's patterns for debug names, used as regular expressions on a pattern, find: the word after at least one
/// character (and for `-debuginfo` nothing more, since the match is one of prefixes).
fn looks_like_debug(pattern: &str) -> bool {
    let after_something =
        |word: &str| pattern.char_indices().nth(1).is_some_and(|(at, _)| pattern[at..].contains(word));
    after_something("-debuginfo") || after_something("-debugsource")
}

impl Solver<'_> {
    /// Adds what the patterns match: of each name the best package.
    pub(super) fn add_inputs(&mut self) {
        let mut added: Vec<(Id, Kind, String)> = Vec::new();
        for pattern in self.request.patterns() {
            let (kind, mut found) = self.find_input(&pattern);
            found.sort_unstable();
            if found.is_empty() {
                self.result.unmatched.push(pattern);
                continue;
            }
            let pool = std::rc::Rc::clone(&self.pool);
            for same_name in found.chunk_by(|a, b| pool.entry(*a).name == pool.entry(*b).name) {
                let best = self.best(same_name, Wanted::Package, kind);
                added.extend(best.into_iter().map(|id| (id, kind, pattern.clone())));
            }
        }
        // Nothing counts as selected before all patterns have been looked at.
        for (id, kind, pattern) in added {
            let reason = Reason { rule: Rule::Input, by: None, requirement: None, pattern: Some(pattern) };
            self.add(id, kind, reason);
            self.flag(id, Flag::Input);
        }
    }

    fn find_input(&self, pattern: &str) -> (Kind, Vec<Id>) {
        let queues = &self.queues;
        if pattern == "system-release" && self.request.greedy == Greedy::All {
            let providers = self.pool.providers_of_name(pattern);
            return (Kind::Binary, providers.into_iter().filter(|id| queues.binary[*id as usize]).collect());
        }
        let multilib = pattern.strip_suffix(".+");
        let (kind, queue) = match (looks_like_debug(pattern), multilib) {
            (true, Some(_)) => (Kind::Debug, &queues.multilib_debug),
            (true, None) => (Kind::Debug, &queues.debug),
            (false, Some(_)) => (Kind::Binary, &queues.multilib_binary),
            (false, None) => (Kind::Binary, &queues.binary),
        };
        let mut name = multilib.unwrap_or(pattern);
        let mut arch = None;
        // The split is at the first dot, so that `python3.11.x86_64` finds nothing: Pungi's rule.
        if kind == Kind::Binary
            && multilib.is_none()
            && let Some((head, tail)) = pattern.split_once('.')
            && crate::arch::is_known(tail)
        {
            (name, arch) = (head, Some(tail));
        }
        let matching = self.pool.matching(&Pattern::shell(name)).into_iter().flatten();
        let found =
            matching.filter(|id| queue[*id as usize] && arch.is_none_or(|arch| self.pool.arch(*id) == arch)).collect();
        (kind, found)
    }

    /// Adds prepopulated packages: name and architecture exactly.
    pub(super) fn add_prepopulated(&mut self) -> Result<(), Error> {
        let mut entries: Vec<&String> = self.request.prepopulate.iter().collect();
        entries.sort_unstable();
        entries.dedup();
        let mut added = Vec::new();
        for entry in entries {
            let Some((name, arch)) = entry.rsplit_once('.') else { return Err(Error::Prepopulate(entry.clone())) };
            let found: Vec<Id> = self
                .pool
                .named(name)
                .filter(|id| self.queues.binary[*id as usize] && self.pool.arch(*id) == arch)
                .collect();
            let best = self.best(&found, Wanted::Package, Kind::Binary);
            if best.is_empty() {
                self.result.missing_prepopulate.push(entry.clone());
            }
            added.extend(best.into_iter().map(|id| (id, entry.clone())));
        }
        for (id, entry) in added {
            let reason = Reason { rule: Rule::Prepopulate, by: None, requirement: None, pattern: Some(entry) };
            self.add(id, Kind::Binary, reason);
            self.flag(id, Flag::Prepopulate);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::looks_like_debug;

    #[test]
    fn debug_patterns() {
        for pattern in ["foo-debuginfo", "*-debuginfo", "foo-debuginfo-common.+", "x-debugsource", "é-debuginfo"] {
            assert!(looks_like_debug(pattern), "{pattern}");
        }
        for pattern in ["-debuginfo", "debuginfo", "foo", "", "-debugsource"] {
            assert!(!looks_like_debug(pattern), "{pattern}");
        }
    }
}
