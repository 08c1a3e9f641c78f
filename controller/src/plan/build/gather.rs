//! Package sets, solves and trims.

use std::collections::BTreeSet;

use tutti_job::{
    JobKind, JobName, OutputSpec,
    params::{PkgsetParams, SolveParams, TrimParams, TrimVariant},
};

use super::Draft;
use crate::{
    plan::{PlanError, PlanReport, variants::View},
    spec::{PackageSource, VariantArch, VariantSpec},
};

/// One `pkgset` job for each source that somebody composes from or leans on.
pub(super) fn pkgsets(view: &View<'_>, drafts: &mut Vec<Draft>) -> Result<(), PlanError> {
    let options = &view.spec.options;
    let leans_on = |index: usize| {
        let data = view.composed().flat_map(|variant| variant.arches.values());
        data.flat_map(|data| &data.lookaside_sources).any(|&used| used as usize == index)
    };
    for (index, source) in view.spec.sources.iter().enumerate() {
        if source.lookaside && !leans_on(index) {
            continue;
        }
        let params = PkgsetParams {
            arches: source.arches.clone(),
            sigkeys: options.sigkeys.clone(),
            checksum_type: options.checksum_type.clone(),
            exclusive_arch_considers_noarch: options.exclusive_arch_considers_noarch,
            inherit_exclusive_arch_to_noarch: options.inherit_exclusive_arch_to_noarch,
            lookaside: source.lookaside,
        };
        let mut draft = Draft::new(pkgset(view, index), "pkgset", &params)?;
        for arch in source.arches.keys() {
            draft.outputs.push(OutputSpec::file(format!("universe/{arch}")));
            if !source.lookaside {
                draft.outputs.push(OutputSpec::file(format!("set/{arch}")));
            }
        }
        if !source.lookaside {
            draft.outputs.push(OutputSpec::file("records"));
        }
        if downloads(source) {
            let target = draft.path(DOWNLOADS.parse())?;
            draft.outputs.push(OutputSpec::merge("downloads", &target));
        }
        draft.estimate = draft.estimate.saturating_mul(u32::try_from(source.arches.len()).unwrap_or(u32::MAX).max(1));
        drafts.push(draft);
    }
    Ok(())
}

/// Where packages of remote repositories are published to.
pub(in crate::plan) const DOWNLOADS: &str = "top:work/global/download";

/// Whether packages of the source have to be fetched, so that they can be linked only when they are published.
pub(super) fn downloads(source: &PackageSource) -> bool {
    let remote = |repo: &String| repo.starts_with("http://") || repo.starts_with("https://");
    !source.lookaside && source.arches.values().flat_map(|arch| &arch.repos).any(remote)
}

/// Name of the job that reads source number `index`.
pub(super) fn pkgset(view: &View<'_>, index: usize) -> JobName {
    let name = view.spec.sources.get(index).map(|source| source.name.as_str());
    JobName::new(JobKind::Pkgset, name.unwrap_or_default(), "")
}

/// One `solve` job for each variant and arch.
pub(super) fn solves(view: &View<'_>, drafts: &mut Vec<Draft>, report: &mut PlanReport) -> Result<(), PlanError> {
    for variant in view.composed() {
        for (arch, data) in &variant.arches {
            drafts.push(solve(view, variant, arch, data, report)?);
        }
    }
    Ok(())
}

fn solve(
    view: &View<'_>,
    variant: &VariantSpec,
    arch: &str,
    data: &VariantArch,
    report: &mut PlanReport,
) -> Result<Draft, PlanError> {
    let options = &view.spec.options;
    let params = SolveParams {
        variant: variant.uid.clone(),
        variant_kind: variant.kind.clone(),
        arch: arch.to_owned(),
        filter_system_release: options.filter_system_release,
        check_deps: options.check_deps,
        require_all: options.require_all_comps_packages,
    };
    let name = |uid: &str, arch: &str| JobName::new(JobKind::Solve, uid, arch);
    let mut draft = Draft::new(name(&variant.uid, arch), "repo", &params)?;
    draft.failable = view.failable(variant, arch, &["repo"]);
    draft.fixed("request", data.request);
    universes(view, &mut draft, arch, data);
    if let Some(parent) = view.parent(variant, arch) {
        draft.input("parent", name(&parent.uid, arch), "result");
    }
    for lookaside in view.lookasides(&variant.uid) {
        if !lookaside.arches.contains_key(arch) {
            report.notes.push(format!("{}: lookaside variant {} has no {arch}", draft.name, lookaside.uid));
            continue;
        }
        // Source packages of all its arches count as seen (pungi 4.3.2, lookaside_repo).
        for other in lookaside.arches.keys() {
            draft.input(format!("lookaside/{}/{other}", lookaside.uid), name(&lookaside.uid, other), "result");
        }
    }
    draft.outputs.push(OutputSpec::file("result"));
    Ok(draft)
}

/// `universe/N` and `lookaside-universe/N`, N being the index of the source.
pub(super) fn universes(view: &View<'_>, draft: &mut Draft, arch: &str, data: &VariantArch) {
    for (index, _) in view.own_sources(arch) {
        draft.input(format!("universe/{index}"), pkgset(view, index), format!("universe/{arch}"));
    }
    for (index, _) in view.lookaside_sources(data, arch) {
        draft.input(format!("lookaside-universe/{index}"), pkgset(view, index), format!("universe/{arch}"));
    }
}

/// One `trim` job for each top-level variant and arch.
pub(super) fn trims(view: &View<'_>, drafts: &mut Vec<Draft>) -> Result<(), PlanError> {
    let mut done: BTreeSet<(&str, &str)> = BTreeSet::new();
    for variant in view.composed() {
        let root = view.root(variant);
        for arch in variant.arches.keys() {
            if done.insert((root, arch)) {
                drafts.push(trim(view, root, arch)?);
            }
        }
    }
    Ok(())
}

fn trim(view: &View<'_>, root: &str, arch: &str) -> Result<Draft, PlanError> {
    let family = view.family(root, arch);
    let covered = |uid: &str| family.iter().any(|member| member.uid == uid);
    let entry = |variant: &&VariantSpec| TrimVariant {
        uid: variant.uid.clone(),
        kind: variant.kind.clone(),
        parent: variant.parent.clone().filter(|parent| covered(parent)).unwrap_or_default(),
    };
    let params = TrimParams { variants: family.iter().map(entry).collect() };
    let mut draft = Draft::new(trim_name(root, arch), "repo", &params)?;
    draft.failable = family.iter().all(|variant| view.failable(variant, arch, &["repo"]));
    for (index, _) in view.own_sources(arch) {
        draft.input(format!("set/{index}"), pkgset(view, index), format!("set/{arch}"));
    }
    for variant in &family {
        let uid = &variant.uid;
        draft.input(format!("solve/{uid}"), JobName::new(JobKind::Solve, uid, arch), "result");
        draft.outputs.extend(["binary", "debug", "source"].map(|what| OutputSpec::file(format!("{what}/{uid}"))));
    }
    Ok(draft)
}

/// Name of the `trim` job of a top-level variant.
pub(super) fn trim_name(root: &str, arch: &str) -> JobName {
    JobName::new(JobKind::Trim, root, arch)
}
