//! What makes and checks a repository: link, createrepo, repoclosure.

use tutti_job::{
    JobKind, JobName, OutputSpec,
    params::{CreaterepoParams, LinkParams, RepoclosureParams},
};

use super::{
    Draft,
    gather::{downloads, pkgset, trim_name, universes},
};
use crate::{
    plan::{At, PlanError, tree::Tree, variants::View},
    spec::{Strictness, VariantArch, VariantSpec},
};

/// One `link` job for each variant and arch, and one for its sources.
pub(super) fn links(view: &View<'_>, drafts: &mut Vec<Draft>) -> Result<(), PlanError> {
    for variant in view.composed() {
        for arch in variant.arches.keys().map(String::as_str).chain(["src"]) {
            drafts.push(link(view, variant, arch)?);
        }
    }
    Ok(())
}

fn link(view: &View<'_>, variant: &VariantSpec, arch: &str) -> Result<Draft, PlanError> {
    let options = &view.spec.options;
    let params = LinkParams { link_type: options.link_type, hashed: options.hashed_directories };
    let mut draft = Draft::new(JobName::new(JobKind::Link, &variant.uid, arch), "repo", &params)?;
    draft.failable = view.failable(variant, arch, &["repo"]);
    let tree = Tree::new(variant, arch);
    let repository = draft.path(tree.repository())?;
    draft.outputs.push(placed(&draft, "packages", &repository, &tree)?);
    if arch == "src" {
        sources(view, &mut draft, variant);
    } else {
        let trim = trim_name(view.root(variant), arch);
        draft.input("binary", trim.clone(), format!("binary/{}", variant.uid));
        draft.input("debug", trim, format!("debug/{}", variant.uid));
        let debug = draft.path(tree.debug_repository())?;
        draft.outputs.push(placed(&draft, "debug-packages", &debug, &tree)?);
    }
    for (index, _) in view.spec.sources.iter().enumerate().filter(|(_, source)| downloads(source)) {
        draft.wait(pkgset(view, index), At::Published);
    }
    Ok(draft)
}

/// Packages own their directory, but for those of an addon, which stand beside its repodata.
fn placed(
    draft: &Draft,
    name: &str,
    repository: &tutti_job::LogicalPath,
    tree: &Tree<'_>,
) -> Result<OutputSpec, PlanError> {
    match tree.packages_dir() {
        "" => Ok(OutputSpec::merge(name, repository)),
        below => Ok(OutputSpec::directory(name, &draft.path(repository.join(below))?)),
    }
}

/// `source/ARCH` of all arches, as far as they can be made.
fn sources(view: &View<'_>, draft: &mut Draft, variant: &VariantSpec) {
    draft.needs_one = true;
    for arch in variant.arches.keys() {
        let trim = trim_name(view.root(variant), arch);
        draft.input_if_planned(format!("source/{arch}"), trim, format!("source/{}", variant.uid));
    }
}

/// `createrepo` and `createrepo-debug` of each variant and arch, and `createrepo` of its sources.
pub(super) fn createrepos(view: &View<'_>, drafts: &mut Vec<Draft>) -> Result<(), PlanError> {
    for variant in view.composed() {
        for (arch, data) in &variant.arches {
            let mut binary = createrepo(view, variant, arch, JobKind::Createrepo)?;
            let trim = trim_name(view.root(variant), arch);
            binary.input("packages", trim.clone(), format!("binary/{}", variant.uid));
            if let Some(comps) = data.comps {
                binary.fixed("comps", comps);
            }
            let mut debug = createrepo(view, variant, arch, JobKind::CreaterepoDebug)?;
            debug.input("packages", trim, format!("debug/{}", variant.uid));
            drafts.extend([binary, debug]);
        }
        let mut source = createrepo(view, variant, "src", JobKind::Createrepo)?;
        sources(view, &mut source, variant);
        drafts.push(source);
    }
    Ok(())
}

/// Frames: what a later compose changes, it compresses again, and nothing else.
const LAYOUT: &str = "frames";

fn createrepo(view: &View<'_>, variant: &VariantSpec, arch: &str, kind: JobKind) -> Result<Draft, PlanError> {
    let options = &view.spec.options;
    let tree = Tree::new(variant, arch);
    let params = CreaterepoParams {
        checksum_type: options.checksum_type.clone(),
        compression: options.compression.clone(),
        layout: LAYOUT.to_owned(),
        packages_dir: tree.packages_dir().to_owned(),
        hashed: options.hashed_directories,
        revision: options.revision.clone(),
        changelog_limit: options.changelog_limit,
        database: options.database.clone(),
    };
    let mut draft = Draft::new(JobName::new(kind, &variant.uid, arch), "repo", &params)?;
    draft.failable = view.failable(variant, arch, &["repo"]);
    let root = if kind == JobKind::CreaterepoDebug { tree.debug_repository() } else { tree.repository() };
    let target = draft.path(root.and_then(|root| root.join("repodata")))?;
    draft.outputs.push(OutputSpec::directory("repodata", &target));
    if kind == JobKind::Createrepo {
        draft.outputs.push(OutputSpec::file("repomd"));
    }
    for index in 0..view.spec.sources.len() {
        let serves = |arch: &str| view.own_sources(arch).any(|(known, _)| known == index);
        let wanted = if arch == "src" { variant.arches.keys().any(|arch| serves(arch)) } else { serves(arch) };
        if wanted {
            draft.input(format!("records/{index}"), pkgset(view, index), "records");
        }
    }
    Ok(draft)
}

/// One `repoclosure` job for each variant and arch that asks for one.
pub(super) fn repoclosures(view: &View<'_>, drafts: &mut Vec<Draft>) -> Result<(), PlanError> {
    for variant in view.composed() {
        for (arch, data) in &variant.arches {
            if data.repoclosure != Strictness::Off {
                drafts.push(repoclosure(view, variant, arch, data)?);
            }
        }
    }
    Ok(())
}

fn repoclosure(view: &View<'_>, variant: &VariantSpec, arch: &str, data: &VariantArch) -> Result<Draft, PlanError> {
    let params = RepoclosureParams {
        variant: variant.uid.clone(),
        arch: arch.to_owned(),
        fatal: data.repoclosure == Strictness::Fatal,
    };
    let mut draft = Draft::new(JobName::new(JobKind::Repoclosure, &variant.uid, arch), "repoclosure", &params)?;
    draft.failable = view.failable(variant, arch, &["repoclosure", "repo"]);
    draft.outputs.push(OutputSpec::file("report"));
    universes(view, &mut draft, arch, data);
    let packages = |other: &VariantSpec| (trim_name(view.root(other), arch), format!("binary/{}", other.uid));
    let createrepo = |other: &VariantSpec| JobName::new(JobKind::Createrepo, &other.uid, arch);
    let (trim, output) = packages(variant);
    draft.input("packages", trim, output);
    draft.wait(createrepo(variant), At::Committed);
    // The parent is the one implicit lookaside (pungi 4.3.2, repoclosure phase).
    let mut lookasides: Vec<&VariantSpec> = view.parent(variant, arch).into_iter().collect();
    lookasides.extend(view.lookasides(&variant.uid).into_iter().filter(|other| other.arches.contains_key(arch)));
    for other in lookasides {
        let (trim, output) = packages(other);
        draft.input(format!("lookaside/{}", other.uid), trim, output);
        draft.wait(createrepo(other), At::Committed);
    }
    Ok(draft)
}
