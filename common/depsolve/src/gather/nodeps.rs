//! The `nodeps` method: input packages alone (Pungi 4.3.2, `method_nodeps.py`).
//!
//! Excludes, greediness, multilib, fulltree, langpacks, prepopulate and lookaside sources play no part. Every version is
//! taken. Group members of all kinds count, and match their own name in the tree's architecture or noarch only. A package
//! that several inputs match comes once (Pungi lists it several times).

use std::collections::{HashMap, HashSet};

use super::Error;
use super::request::{GatherRequest, InputPackage};
use super::result::{Cause, Flag, GatherResult, Rule, Selected};
use crate::Source;
use crate::arch::{self, Libraries};
use crate::glob::Pattern;
use crate::pool::{Id, Pool, StringId};

pub(super) fn select(
    request: &GatherRequest,
    sources: &[Source<'_>],
    cancel: &dyn Fn() -> bool,
) -> Result<GatherResult, Error> {
    let pool = Pool::new(sources);
    let mut inputs = request.packages.clone();
    for member in request.groups.iter().flat_map(|group| &group.members) {
        inputs.push(InputPackage { name: member.name.clone(), arch: Some(request.arch.clone()), evr: None });
    }
    let mut result = GatherResult::default();
    let mut found: HashMap<Id, String> = HashMap::new();
    for input in inputs {
        if cancel() {
            return Err(Error::Cancelled);
        }
        let matching = matching(&pool, &input);
        if matching.is_empty() {
            result.unmatched.push(input.name.clone());
        }
        for id in matching {
            found.entry(id).or_insert_with(|| input.name.clone());
        }
    }
    result.unmatched.sort();
    result.unmatched.dedup();

    // Per source package's file name: a binary that wants it, and the architectures of all that do.
    let mut builds: HashMap<StringId, (Id, HashSet<&str>)> = HashMap::new();
    for id in pool.ids().filter(|id| found.contains_key(id)) {
        if let Some(source_rpm) = pool.entry(id).source_rpm {
            builds.entry(source_rpm).or_insert_with(|| (id, HashSet::new())).1.insert(pool.arch(id));
        }
        let cause = Cause { rule: Rule::Input, by: None, requirement: found.get(&id).cloned() };
        let package = pool.entry(id).package;
        result.binary.push(Selected { package, flags: [Flag::Input].into(), cause });
    }
    for id in pool.ids().filter(|id| !pool.entry(*id).lookaside) {
        let build = |name: StringId| builds.get(&name);
        let selected = |rule, by: Id| Selected {
            package: pool.entry(id).package,
            flags: Default::default(),
            cause: Cause { rule, by: Some(pool.entry(by).package), requirement: None },
        };
        if arch::is_source(pool.arch(id)) {
            if let Some((by, _)) = pool.find_string(&file_name(&pool, id)).and_then(build) {
                result.source.push(selected(Rule::Source, *by));
            }
        } else if tutti_rpm::is_debug_name(pool.name(id))
            && let Some((by, arches)) = pool.entry(id).source_rpm.and_then(build)
            && fits(pool.arch(id), arches)
        {
            result.debug.push(selected(Rule::Debug, *by));
        }
    }
    Ok(result)
}

fn file_name(pool: &Pool<'_>, id: Id) -> String {
    let evr = pool.view(id).evr();
    format!("{}-{}-{}.{}.rpm", pool.name(id), evr.version, evr.release, pool.arch(id))
}

fn matching(pool: &Pool<'_>, input: &InputPackage) -> Vec<Id> {
    let runs = match &input.evr {
        Some(_) => vec![pool.named(&input.name)],
        None => pool.matching(&Pattern::star(&input.name)),
    };
    let wanted = |id: &Id| {
        let (arch, evr) = (pool.arch(*id), || pool.view(*id).evr());
        let arch_fits = match (&input.arch, &input.evr) {
            (None, _) => true,
            (Some(wanted), None) => wanted == arch || arch == "noarch",
            (Some(wanted), Some(_)) => wanted == arch,
        };
        let evr_fits = input.evr.as_ref().is_none_or(|wanted| {
            let own = evr();
            own.epoch_number() == wanted.epoch_number()
                && (&own.version, &own.release) == (&wanted.version, &wanted.release)
        });
        !pool.entry(*id).lookaside
            && arch_fits
            && evr_fits
            && !arch::is_source(arch)
            && !tutti_rpm::is_debug_name(pool.name(*id))
    };
    runs.into_iter().flatten().filter(wanted).collect()
}

/// Whether a debug package of this architecture belongs to packages of those, noarch aside.
fn fits(arch: &str, arches: &HashSet<&str>) -> bool {
    let compatible = arch::compatible_arches(arch::base_arch(arch), Libraries::Native);
    compatible.into_iter().any(|arch| arch != "noarch" && arches.contains(arch))
}
