//! `solve`: which packages belong to one variant and arch.
//!
//! Input `request` is a JSON array of gather requests, one for each gather source, comps first. They run one after the
//! other and what they choose is put together (pungi 4.3.2, `phases/gather/__init__.py`).

use std::collections::{BTreeMap, BTreeSet};

use tutti_depsolve::{
    GatherRequest, GatherResult, PackageRef, Source, Universe,
    arch::is_source,
    gather::{self, InputPackage, Rule},
    release::{SystemRelease, system_release},
    why,
};
use tutti_job::params::SolveParams;

use super::{
    place,
    result::{Origin, SolveResult},
};
use crate::{FailureClass, JobContext, OrFail as _, Output, RunnerError, log};

/// Unresolved requirements that are explained: each takes a look at the whole result.
const MAX_CHAINS: usize = 100;

/// One universe with what it is.
struct Loaded {
    number: u32,
    kind: Kind,
    universe: Universe,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A source that packages are composed from.
    Own,
    /// An external lookaside.
    Lookaside,
    /// What the solve of a lookaside variant chose from an own source.
    VariantLookaside,
}

/// Runs the job.
///
/// # Errors
/// Class input when nothing is asked for or found, and for missing dependencies and packages where the parameters say.
pub(super) fn run(context: &JobContext) -> Result<Vec<Output>, RunnerError> {
    let params: SolveParams = context.params()?;
    let requests: Vec<GatherRequest> = serde_json::from_slice(&context.input_bytes("request")?)
        .or_fail(FailureClass::Tool, || "input request is no list of gather requests")?;
    let parent = match context.spec.input("parent") {
        Ok(_) => Some(SolveResult::load(context, "parent")?),
        Err(_) => None,
    };
    context.progress.set("read package sources", 0, 0);
    let loaded = load(context, &params)?;
    let sources: Vec<Source<'_>> =
        loaded.iter().map(|one| Source { universe: &one.universe, lookaside: one.kind != Kind::Own }).collect();
    let mut solve = Solve { context, params: &params, loaded: &loaded, sources: &sources };
    let result = solve.run(requests, parent.as_ref())?;
    let bytes = serde_json::to_vec(&result).or_fail(FailureClass::Tool, || "failed to write the result")?;
    Ok(vec![context.write_file("result", &bytes)?])
}

fn open(context: &JobContext, name: &str) -> Result<Universe, RunnerError> {
    Universe::open(context.input_bytes(name)?).or_fail(FailureClass::Tool, || format!("failed to read input {name}"))
}

fn load(context: &JobContext, params: &SolveParams) -> Result<Vec<Loaded>, RunnerError> {
    let mut loaded = Vec::new();
    for (number, name) in place::numbered(&context.spec, "universe/")? {
        loaded.push(Loaded { number, kind: Kind::Own, universe: open(context, &name)? });
    }
    for (number, name) in place::numbered(&context.spec, "lookaside-universe/")? {
        loaded.push(Loaded { number, kind: Kind::Lookaside, universe: open(context, &name)? });
    }
    if loaded.iter().all(|one| one.kind != Kind::Own) {
        return Err(RunnerError::tool("the job has no package source of its own"));
    }
    let seen = lookaside_packages(context, &params.arch)?;
    if !seen.is_empty() {
        let own = loaded.iter().filter(|one| one.kind == Kind::Own);
        let subsets = own.map(|one| {
            let keep = |view: tutti_depsolve::universe::PackageView<'_>| seen.contains(&view.nevra());
            let universe = one.universe.subset(&keep);
            let universe =
                universe.or_fail(FailureClass::Tool, || format!("failed to read input universe/{}", one.number))?;
            Ok(Loaded { number: one.number, kind: Kind::VariantLookaside, universe })
        });
        let subsets: Result<Vec<Loaded>, RunnerError> = subsets.collect();
        loaded.extend(subsets?);
    }
    Ok(loaded)
}

/// NEVRAs of what lookaside variants chose: all of this arch, and source packages of all arches.
fn lookaside_packages(context: &JobContext, arch: &str) -> Result<BTreeSet<String>, RunnerError> {
    let mut seen = BTreeSet::new();
    for name in place::names_below(&context.spec, "lookaside/") {
        let same_arch = name.rsplit('/').next() == Some(arch);
        let result = SolveResult::load(context, &name)?;
        let counts = result.all().filter(|chosen| same_arch || is_source(&chosen.arch));
        seen.extend(counts.map(|chosen| format!("{}-{}.{}", chosen.name, chosen.evr, chosen.arch)));
    }
    Ok(seen)
}

struct Solve<'a> {
    context: &'a JobContext,
    params: &'a SolveParams,
    loaded: &'a [Loaded],
    sources: &'a [Source<'a>],
}

impl Solve<'_> {
    fn run(
        &mut self,
        mut requests: Vec<GatherRequest>,
        parent: Option<&SolveResult>,
    ) -> Result<SolveResult, RunnerError> {
        let mut result = SolveResult { system_release: self.system_release(parent), ..SolveResult::default() };
        prepare(self.params, &mut requests, parent, &result.system_release);
        let total = requests.len() as u64;
        let mut chains = BTreeMap::new();
        let mut without_input = 0;
        for (done, request) in requests.iter().enumerate() {
            self.context.progress.set("gather", done as u64, total);
            match gather::gather(request, self.sources, &|| self.context.cancel.is_cancelled()) {
                Ok(found) => {
                    chains.extend(self.chains(&found));
                    for missing in &found.missing_prepopulate {
                        self.context.warn(&format!("prepopulate: {missing} is in no package source"));
                    }
                    result.add(&found, &|package| self.origin(package));
                }
                Err(gather::Error::Cancelled) => return Err(RunnerError::cancelled()),
                Err(gather::Error::NoInput) => without_input += 1,
                Err(error) => return Err(self.refused(error)),
            }
        }
        if without_input == requests.len() {
            return Err(self.refused(gather::Error::NoInput));
        }
        result.normalise();
        self.check(&result, &chains)?;
        Ok(result)
    }

    fn refused(&self, error: gather::Error) -> RunnerError {
        let SolveParams { variant, arch, .. } = self.params;
        let cause = format!("cannot gather packages for {variant} on {arch}");
        RunnerError::caused_by(FailureClass::Input, cause, error)
    }

    fn origin(&self, package: PackageRef) -> Option<Origin<'_>> {
        let loaded = self.loaded.get(package.source as usize)?;
        let view = loaded.universe.package(package.package)?;
        Some(Origin { number: loaded.number, has_set: loaded.kind != Kind::Lookaside, view })
    }

    /// What system-release means here; nested variants have their parent's answer.
    fn system_release(&self, parent: Option<&SolveResult>) -> SystemRelease {
        if !self.params.filter_system_release {
            return SystemRelease::default();
        }
        if let Some(parent) = parent.filter(|_| self.params.variant_kind != "variant") {
            return parent.system_release.clone();
        }
        let own = self.loaded.iter().filter(|one| one.kind == Kind::Own);
        let packages = own.flat_map(|one| one.universe.packages());
        let providers = packages.filter(|view| !view.is_source() && view.is_system_release()).map(|view| view.name());
        system_release(providers, &self.params.variant)
    }

    /// For the first unresolved requirements, the chains that brought their packages.
    fn chains(&self, found: &GatherResult) -> Vec<((String, String), String)> {
        let chain = |one: &gather::Unresolved| {
            let steps = why::why(found, one.package, self.sources);
            let text = steps.iter().map(link).collect::<Vec<_>>().join(", ");
            ((one.nevra.clone(), one.requirement.clone()), text)
        };
        found.unresolved.iter().take(MAX_CHAINS).map(chain).collect()
    }

    fn check(&self, result: &SolveResult, chains: &BTreeMap<(String, String), String>) -> Result<(), RunnerError> {
        let (context, SolveParams { variant, arch, .. }) = (self.context, self.params);
        log!(
            context,
            "{} binary, {} debug and {} source packages",
            result.binary.len(),
            result.debug.len(),
            result.source.len()
        );
        context.counters.add("packages", result.all().count() as u64);
        self.check_unmatched(result)?;
        if result.binary.is_empty() && result.source.is_empty() {
            let cause = format!(
                "variant {variant} has no packages on {arch}: nothing that it asks for is in the package sources"
            );
            return Err(RunnerError::input(cause)
                .with_hint("check its groups, additional_packages and pkgset_repos, or mark it is_empty=\"true\""));
        }
        let Some(first) = result.unresolved.first() else { return Ok(()) };
        let chain = |nevra: &String, requirement: &String| {
            chains.get(&(nevra.clone(), requirement.clone())).cloned().unwrap_or_default()
        };
        for one in &result.unresolved {
            log!(
                context,
                "unresolved: {} requires {}; {}",
                one.nevra,
                one.requirement,
                chain(&one.nevra, &one.requirement)
            );
        }
        let text = format!(
            "{} unresolved dependencies in {variant} on {arch}; first: {} requires {} ({})",
            result.unresolved.len(),
            first.nevra,
            first.requirement,
            chain(&first.nevra, &first.requirement)
        );
        if self.params.check_deps {
            return Err(RunnerError::input(text).with_hint(
                "add a package that provides it to the repositories, leave the package out with filter_packages, or set check_deps = False; all are in the log",
            ));
        }
        context.warn(&text);
        Ok(())
    }

    fn check_unmatched(&self, result: &SolveResult) -> Result<(), RunnerError> {
        if result.unmatched.is_empty() {
            return Ok(());
        }
        let shown: Vec<&str> = result.unmatched.iter().take(20).map(String::as_str).collect();
        let more = result.unmatched.len() - shown.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        result.unmatched.iter().for_each(|pattern| log!(self.context, "no package matches {pattern}"));
        let text =
            format!("{} on {}: no package matches {}{more}", self.params.variant, self.params.arch, shown.join(", "));
        if self.params.require_all {
            return Err(RunnerError::input(text).with_hint(
                "remove them from comps and additional_packages, or set require_all_comps_packages = False",
            ));
        }
        self.context.warn(&text);
        Ok(())
    }
}

/// One link of a chain, in words.
fn link(step: &why::Step) -> String {
    let what = step.cause.requirement.as_deref().unwrap_or_default();
    let reason = match step.cause.rule {
        Rule::Input => format!("is asked for as {what}"),
        Rule::Prepopulate => "is prepopulated".to_owned(),
        Rule::Conditional => "comes with a conditional of comps".to_owned(),
        Rule::Requires | Rule::DebugRequires => format!("satisfies {what} of the next"),
        Rule::BuildRequires => format!("satisfies the build requirement {what} of the next"),
        Rule::Source => "is the source of the next".to_owned(),
        Rule::Debug => "is debug information of the next".to_owned(),
        Rule::Fulltree => "is built from the same source as the next".to_owned(),
        Rule::Langpack => "is a langpack of the next".to_owned(),
        Rule::Multilib => "is the multilib package of the next".to_owned(),
    };
    format!("{} {reason}", step.nevra)
}

/// Adds to the requests what is known only now: system-release for comps, the parent's sources for fulltree.
fn prepare(
    params: &SolveParams,
    requests: &mut [GatherRequest],
    parent: Option<&SolveResult>,
    release: &SystemRelease,
) {
    if let Some(comps) = requests.first_mut() {
        comps.packages.extend(release.input.as_deref().map(InputPackage::from));
        comps.excludes.extend(release.excludes.iter().cloned());
    }
    let Some(parent) = parent.filter(|_| matches!(params.variant_kind.as_str(), "addon" | "layered-product")) else {
        return;
    };
    let names: BTreeSet<&String> = parent.source.iter().map(|chosen| &chosen.name).collect();
    for request in requests {
        request.fulltree_excludes.extend(names.iter().map(|name| (*name).clone()));
        request.fulltree_excludes.sort_unstable();
        request.fulltree_excludes.dedup();
    }
}
