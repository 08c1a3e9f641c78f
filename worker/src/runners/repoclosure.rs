//! `repoclosure`: looks for requirements of one repository that nothing satisfies, with the verdict of `dnf repoclosure`.
//!
//! The report is a text: a line for each broken package, below it its requirements; nothing if all is well.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use tutti_depsolve::{Broken, PackageRef, Source, Universe, repoclosure};
use tutti_job::{PackageEntry, params::RepoclosureParams};
use tutti_rpm::Evr;

use super::place;
use crate::{FailureClass, JobContext, OrFail as _, Output, RunnerError, log};

/// Runs the job.
///
/// # Errors
/// Class input for broken dependencies where they are fatal.
pub(super) fn run(context: &JobContext) -> Result<Vec<Output>, RunnerError> {
    let params: RepoclosureParams = context.params()?;
    let mut numbers: Vec<Option<u32>> = Vec::new();
    let mut universes: Vec<Universe> = Vec::new();
    for (prefix, own) in [("universe/", true), ("lookaside-universe/", false)] {
        for (number, name) in place::numbered(&context.spec, prefix)? {
            let universe = Universe::open(context.input_bytes(&name)?);
            universes.push(universe.or_fail(FailureClass::Tool, || format!("failed to read input {name}"))?);
            numbers.push(own.then_some(number));
        }
    }
    let sources: Vec<Source<'_>> = universes.iter().map(Source::own).collect();
    let index = Index::new(&numbers, &universes);
    let checked = index.find(&place::list(context, "packages")?)?;
    let mut available = index.find(&place::lists_below(context, "lookaside/")?)?;
    for (at, universe) in universes.iter().enumerate().filter(|(at, _)| numbers[*at].is_none()) {
        let binary = universe.packages().filter(|view| !view.is_source());
        available.extend(binary.map(|view| PackageRef::new(at as u32, view.index())));
    }
    context.progress.set("check dependencies", 0, checked.len() as u64);
    let broken = repoclosure(&checked, &available, &sources)
        .or_fail(FailureClass::Tool, || "failed to read the file lists of a package source")?;
    context.progress.set("check dependencies", checked.len() as u64, checked.len() as u64);
    context.counters.add("packages", checked.len() as u64);
    context.counters.add("broken", broken.len() as u64);
    let report = text(&broken);
    report.lines().for_each(|line| log!(context, "{line}"));
    verdict(context, &params, &broken)?;
    Ok(vec![context.write_file("report", report.as_bytes())?])
}

/// Number of a source, name and arch of a package.
type Key<'a> = (u32, &'a str, &'a str);

/// Packages of the own universes.
struct Index<'a>(HashMap<Key<'a>, Vec<(Evr, PackageRef)>>);

impl<'a> Index<'a> {
    fn new(numbers: &[Option<u32>], universes: &'a [Universe]) -> Self {
        let mut index: HashMap<_, Vec<_>> = HashMap::new();
        for (at, universe) in universes.iter().enumerate() {
            let Some(number) = numbers[at] else { continue };
            for view in universe.packages() {
                let key = (number, view.name(), view.arch());
                index.entry(key).or_default().push((view.evr(), PackageRef::new(at as u32, view.index())));
            }
        }
        Self(index)
    }

    fn find(&self, packages: &[PackageEntry]) -> Result<Vec<PackageRef>, RunnerError> {
        packages.iter().map(|package| self.find_one(package)).collect()
    }

    fn find_one(&self, package: &PackageEntry) -> Result<PackageRef, RunnerError> {
        let epoch = package.epoch.filter(|epoch| *epoch != 0);
        let wanted = Evr { epoch, version: package.version.clone(), release: package.release.clone() };
        let found = self.0.get(&(package.source, package.name.as_str(), package.arch.as_str()));
        let found = found.and_then(|list| list.iter().find(|(evr, _)| *evr == wanted));
        found
            .map(|(_, package)| *package)
            .ok_or_else(|| RunnerError::tool(format!("{} is not in universe/{}", package.nevra(), package.source)))
    }
}

fn by_package(broken: &[Broken]) -> BTreeMap<&str, Vec<&str>> {
    let mut packages: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for one in broken {
        packages.entry(&one.nevra).or_default().push(&one.requirement);
    }
    packages
}

fn text(broken: &[Broken]) -> String {
    let mut text = String::new();
    for (nevra, requirements) in by_package(broken) {
        let _ = writeln!(text, "package: {nevra}\n  unresolved deps:");
        for requirement in requirements {
            let _ = writeln!(text, "    {requirement}");
        }
    }
    text
}

fn verdict(context: &JobContext, params: &RepoclosureParams, broken: &[Broken]) -> Result<(), RunnerError> {
    let Some(first) = broken.first() else { return Ok(()) };
    let text = format!(
        "{} packages of {} on {} have unresolved dependencies; first: {} requires {}",
        by_package(broken).len(),
        params.variant,
        params.arch,
        first.nevra,
        first.requirement
    );
    if params.fatal {
        return Err(RunnerError::input(text).with_hint(
            "add what provides them to the variant, or set repoclosure_strictness to lenient; all are in the log",
        ));
    }
    context.warn(&text);
    Ok(())
}
