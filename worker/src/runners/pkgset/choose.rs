//! Which files belong to the package set of one tree arch (pungi 4.3.2, `phases/pkgset/pkgsets.py`).
//!
//! - Packages of the tree arch's own architectures and noarch; those of the second library set if asked for.
//! - Noarch packages keep to ExcludeArch and ExclusiveArch of their source package.
//! - Source packages come if a kept binary has their name as the name of its source package.
//! - Among copies of one package that differ in their signature only, the first key of the list decides; `None` asks for
//!   no signature: an unsigned copy if there is one, else any.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use tutti_depsolve::arch::{self, Libraries, NoarchRules};
use tutti_job::params::PkgsetParams;

use super::{read::Facts, sources::SourceFile};
use crate::RunnerError;

/// What identifies a package: name, epoch, version, release, arch.
type Key<'a> = (&'a str, u32, &'a str, &'a str, &'a str);

fn key(facts: &Facts) -> Key<'_> {
    (&facts.name, facts.evr.epoch_number(), &facts.evr.version, &facts.evr.release, &facts.arch)
}

/// All files with what was read of them.
pub(super) struct Files<'a> {
    pub(super) files: &'a [SourceFile],
    pub(super) facts: &'a [Facts],
}

/// What a choice left behind that a person should know.
#[derive(Default)]
pub(super) struct Notes {
    /// Noarch packages whose source package is in no repository, so that its limits are unknown.
    pub(super) no_source: BTreeSet<String>,
}

/// Chooses among the files `listed` for `tree_arch`, in the order of its repositories. Returns numbers of files.
///
/// # Errors
/// Class input for packages without an acceptable signature and for different files of one NEVRA.
pub(super) fn choose(
    files: &Files<'_>,
    params: &PkgsetParams,
    tree_arch: &str,
    multilib: bool,
    listed: &[usize],
    notes: &mut Notes,
) -> Result<Vec<usize>, RunnerError> {
    let libraries = if multilib { Libraries::Multilib } else { Libraries::Native };
    let valid = arch::valid_arches(tree_arch, libraries);
    let candidates: Vec<usize> =
        listed.iter().copied().filter(|file| valid.contains(&files.facts[*file].arch.as_str())).collect();
    let unique = best_copies(files, &candidates, &params.sigkeys)?;
    let (sources, binaries): (Vec<usize>, Vec<usize>) =
        unique.into_iter().partition(|file| files.facts[*file].is_source());
    let mut kept = allowed_binaries(files, params, tree_arch, &sources, binaries, notes);
    let wanted: HashSet<&str> =
        kept.iter().filter_map(|file| source_name(files.facts[*file].source_rpm.as_deref()?)).collect();
    let wanted: Vec<usize> =
        sources.into_iter().filter(|file| wanted.contains(files.facts[*file].name.as_str())).collect();
    kept.extend(wanted);
    Ok(kept)
}

/// Name of a source package from its file name `NAME-VERSION-RELEASE.src.rpm`.
fn source_name(file: &str) -> Option<&str> {
    file.rsplitn(3, '-').nth(2)
}

/// One file for each package, in the order of the first copies.
fn best_copies(files: &Files<'_>, candidates: &[usize], keys: &[Option<String>]) -> Result<Vec<usize>, RunnerError> {
    let mut places: HashMap<Key<'_>, usize> = HashMap::new();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for &file in candidates {
        let place = *places.entry(key(&files.facts[file])).or_insert(groups.len());
        if place == groups.len() {
            groups.push(Vec::new());
        }
        groups[place].push(file);
    }
    let mut best = Vec::with_capacity(groups.len());
    let mut refused = BTreeSet::new();
    for group in groups {
        check_equal(files, &group)?;
        match acceptable(files, &group, keys) {
            Some(file) => best.push(file),
            None => {
                refused.insert(files.facts[group[0]].nevra());
            }
        }
    }
    if refused.is_empty() { Ok(best) } else { Err(unsigned(&refused, keys)) }
}

fn unsigned(refused: &BTreeSet<String>, keys: &[Option<String>]) -> RunnerError {
    let shown: Vec<&str> = refused.iter().take(20).map(String::as_str).collect();
    let more =
        if refused.len() > shown.len() { format!(" and {} more", refused.len() - shown.len()) } else { String::new() };
    let keys: Vec<&str> = keys.iter().flatten().map(String::as_str).filter(|key| !key.is_empty()).collect();
    RunnerError::input(format!(
        "{} packages are not signed with any of the keys {}: {}{more}",
        refused.len(),
        keys.join(", "),
        shown.join(", ")
    ))
    .with_hint("sign them, or add their key, or None for unsigned packages, to sigkeys")
}

/// The copy that the list of keys prefers. Without a list, the first.
fn acceptable(files: &Files<'_>, group: &[usize], keys: &[Option<String>]) -> Option<usize> {
    if keys.is_empty() {
        return group.first().copied();
    }
    keys.iter().find_map(|key| match key.as_deref() {
        None | Some("") => {
            let unsigned = group.iter().find(|file| files.facts[**file].signing_key.is_none());
            unsigned.or(group.first()).copied()
        }
        Some(key) => group.iter().copied().find(|file| {
            let own = files.facts[*file].signing_key.as_deref();
            own.is_some_and(|own| key.to_ascii_lowercase().ends_with(own))
        }),
    })
}

/// Refuses copies that differ in more than their signature.
fn check_equal(files: &Files<'_>, group: &[usize]) -> Result<(), RunnerError> {
    let Some((first, others)) = group.split_first() else { return Ok(()) };
    let differs = |file: &&usize| files.facts[**file].content != files.facts[*first].content;
    match others.iter().find(differs) {
        None => Ok(()),
        Some(other) => Err(RunnerError::input(format!(
            "two different files are {}: {} and {}",
            files.facts[*first].nevra(),
            files.files[*first].path.display(),
            files.files[*other].path.display()
        ))
        .with_hint("remove one of them from the repositories, or rebuild it with another release")),
    }
}

/// Refuses different source packages of one NEVRA among all arches: they share one tree.
pub(super) fn check_sources(files: &Files<'_>, sets: &BTreeMap<&str, Vec<usize>>) -> Result<(), RunnerError> {
    let mut seen: HashMap<Key<'_>, Vec<usize>> = HashMap::new();
    for &file in sets.values().flatten().filter(|file| files.facts[**file].is_source()) {
        seen.entry(key(&files.facts[file])).or_default().push(file);
    }
    let mut groups: Vec<Vec<usize>> = seen.into_values().filter(|group| group.len() > 1).collect();
    groups.sort_unstable();
    groups.iter().try_for_each(|group| check_equal(files, group))
}

fn allowed_binaries(
    files: &Files<'_>,
    params: &PkgsetParams,
    tree_arch: &str,
    sources: &[usize],
    binaries: Vec<usize>,
    notes: &mut Notes,
) -> Vec<usize> {
    let rules = NoarchRules {
        inherit: params.inherit_exclusive_arch_to_noarch,
        considers_noarch: params.exclusive_arch_considers_noarch,
    };
    let by_name: HashMap<String, usize> = sources.iter().map(|file| (files.facts[*file].file_name(), *file)).collect();
    let mut allowed = |file: &usize| {
        let facts = &files.facts[*file];
        if facts.arch != "noarch" {
            return true;
        }
        let source = facts.source_rpm.as_deref().and_then(|name| by_name.get(name));
        if source.is_none() && !sources.is_empty() {
            notes.no_source.insert(facts.nevra());
        }
        let limits = source.map_or(facts, |source| &files.facts[*source]);
        arch::noarch_allowed(tree_arch, &limits.exclude_arch, &limits.exclusive_arch, rules)
    };
    binaries.into_iter().filter(|file| allowed(file)).collect()
}

#[cfg(test)]
#[path = "choose_tests.rs"]
mod tests;
