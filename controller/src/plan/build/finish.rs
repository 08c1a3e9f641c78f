//! What completes a tree and the compose: extra files, tree-info, checksums, metadata.

use serde_json::json;
use tutti_job::{
    JobKind, JobName, LogicalPath, OutputSpec, Root,
    params::{ChecksumParams, ExtraFile, ExtraFilesParams, MetadataParams, TreeInfoParams, TreeVariant},
};

use super::{Draft, gather::trim_name};
use crate::{
    plan::{At, PlanError, tree::Tree, variants::View},
    spec::VariantSpec,
};

/// One `extra-files` job for each tree that is given some.
pub(super) fn extra_files(view: &View<'_>, drafts: &mut Vec<Draft>) -> Result<(), PlanError> {
    for (variant, arch, items) in configured(view) {
        let params = ExtraFilesParams { items: items.to_vec() };
        let mut draft = Draft::new(JobName::new(JobKind::ExtraFiles, &variant.uid, arch), "extra-files", &params)?;
        draft.failable = view.failable(variant, arch, &["extra-files"]);
        let target = draft.path(Tree::new(variant, arch).repository())?;
        draft.outputs.push(OutputSpec::merge("files", &target));
        drafts.push(draft);
    }
    Ok(())
}

/// All trees that have extra files; also those of variants without packages.
fn configured<'a>(view: &View<'a>) -> impl Iterator<Item = (&'a VariantSpec, &'a str, &'a [ExtraFile])> {
    view.spec.variants.iter().flat_map(|variant| {
        let binary = variant.arches.iter().map(|(arch, data)| (arch.as_str(), data.extra_files.as_slice()));
        let all = binary.chain([("src", variant.source_extra_files.as_slice())]);
        all.filter(|(_, items)| !items.is_empty()).map(move |(arch, items)| (variant, arch, items))
    })
}

/// One `checksum` job for each tree with extra files, if `media_checksums` names any algorithm.
pub(super) fn checksums(view: &View<'_>, drafts: &mut Vec<Draft>) -> Result<(), PlanError> {
    let options = &view.spec.options;
    if options.media_checksums.is_empty() {
        return Ok(());
    }
    for (variant, arch, _) in configured(view) {
        let name = JobName::new(JobKind::Checksum, &variant.uid, arch);
        let root = Tree::new(variant, arch).repository();
        let root = root.map_err(|source| PlanError::Path { job: name.to_string(), source })?;
        let params = ChecksumParams {
            types: options.media_checksums.clone(),
            one_file: options.media_checksum_one_file,
            base_name: base_name(view, variant, arch, &root),
            roots: vec![root.to_string()],
            extra_files_json: true,
        };
        let mut draft = Draft::new(name, "checksum", &params)?;
        draft.failable = view.failable(variant, arch, &["checksum", "extra-files"]);
        let extra = JobName::new(JobKind::ExtraFiles, &variant.uid, arch);
        draft.input("files/0", extra.clone(), "files");
        draft.wait(extra, At::Published);
        draft.outputs.push(OutputSpec::merge("sums/0", &root));
        draft.outputs.push(OutputSpec::file("extra-files/0"));
        drafts.push(draft);
    }
    Ok(())
}

/// `media_checksum_base_filename` with its keys replaced, in both styles (pungi 4.3.2, image_checksum phase).
fn base_name(view: &View<'_>, variant: &VariantSpec, arch: &str, root: &LogicalPath) -> String {
    let identity = &view.spec.identity;
    let label = identity.label.as_deref().unwrap_or_default();
    let type_suffix = match identity.compose_type.as_str() {
        "nightly" => ".n",
        "test" => ".t",
        "ci" => ".ci",
        "development" => ".d",
        _ => "",
    };
    let respin = identity.respin.to_string();
    let pairs = [
        ("variant", variant.uid.as_str()),
        ("arch", arch),
        ("dirname", root.rest().rsplit('/').next().unwrap_or_default()),
        ("compose_id", &identity.compose_id),
        ("release_short", &identity.release_short),
        ("version", &identity.release_version),
        ("date", &identity.date),
        ("respin", &respin),
        ("type", &identity.compose_type),
        ("type_suffix", type_suffix),
        ("label", label),
        ("label_major_version", label.split('.').next().unwrap_or_default()),
    ];
    let mut name = view.spec.options.media_checksum_base_filename.clone();
    for (key, value) in pairs {
        name = name.replace(&format!("%({key})s"), value).replace(&format!("{{{key}}}"), value);
    }
    name
}

/// One `tree-info` job for each tree of its own: addons stand in their parent's.
pub(super) fn tree_infos(view: &View<'_>, drafts: &mut Vec<Draft>) -> Result<(), PlanError> {
    for variant in view.composed().filter(|variant| variant.kind != "addon") {
        for arch in variant.arches.keys().map(String::as_str).chain(["src"]) {
            drafts.push(tree_info(view, variant, arch)?);
        }
    }
    Ok(())
}

fn tree_info(view: &View<'_>, variant: &VariantSpec, arch: &str) -> Result<Draft, PlanError> {
    let addons = view.addons(variant, arch);
    let params = tree_params(view, variant, arch, &addons);
    let mut draft = Draft::new(JobName::new(JobKind::TreeInfo, &variant.uid, arch), "repo", &params)?;
    draft.failable = view.failable(variant, arch, &["repo"]);
    let target = draft.path(Tree::new(variant, arch).repository())?;
    draft.outputs.push(OutputSpec::merge("files", &target));
    let createrepo = |uid: &str| JobName::new(JobKind::Createrepo, uid, arch);
    draft.input(format!("repomd/{}", variant.uid), createrepo(&variant.uid), "repomd");
    for addon in addons {
        draft.input_if_planned(format!("repomd/{}", addon.uid), createrepo(&addon.uid), "repomd");
    }
    Ok(draft)
}

fn tree_params(view: &View<'_>, variant: &VariantSpec, arch: &str, addons: &[&VariantSpec]) -> TreeInfoParams {
    let (identity, options) = (&view.spec.identity, &view.spec.options);
    let major = identity.release_version.split('.').next().unwrap_or_default();
    let version = options.treeinfo_version.as_ref().unwrap_or(&identity.release_version);
    // A layered product looks like its parent in a release of its own (pungi 4.3.2, metadata.write_tree_info).
    let layered = variant.release.as_ref().filter(|_| variant.kind == "layered-product");
    let (release_name, release_short, release_version, base_product) = match layered {
        Some((name, short, version)) => {
            let base = (identity.release_name.clone(), identity.release_short.clone(), major.to_owned());
            (name, short, version, Some(base))
        }
        None => {
            let base = identity.base_product.as_ref();
            let base = base.map(|base| (base.name.clone(), base.short.clone(), base.version.clone()));
            (&identity.release_name, &identity.release_short, version, base)
        }
    };
    let shown =
        variant.parent.as_deref().filter(|_| layered.is_some()).and_then(|uid| view.get(uid)).unwrap_or(variant);
    let description = match (&options.discinfo_description, &base_product) {
        (Some(template), _) => described(template, variant, arch),
        (None, Some((name, _, version))) => format!("{release_name} {release_version} for {name} {version}"),
        (None, None) => format!("{release_name} {release_version}"),
    };
    TreeInfoParams {
        release_name: release_name.clone(),
        release_short: release_short.clone(),
        release_version: release_version.clone(),
        base_product,
        arch: arch.to_owned(),
        timestamp: view.spec.source_date,
        description,
        checksum_type: options.checksum_type.clone(),
        variant: TreeVariant { kind: shown_kind(variant).to_owned(), ..tree_variant(shown, arch) },
        addons: addons.iter().map(|addon| tree_variant(addon, arch)).collect(),
    }
}

fn shown_kind(variant: &VariantSpec) -> &str {
    if variant.kind == "layered-product" { "variant" } else { &variant.kind }
}

/// `release_discinfo_description` with its keys replaced.
fn described(template: &str, variant: &VariantSpec, arch: &str) -> String {
    let mut text = template.to_owned();
    for (key, value) in [("variant_name", variant.name.as_str()), ("arch", arch)] {
        text = text.replace(&format!("%({key})s"), value).replace(&format!("{{{key}}}"), value);
    }
    text
}

fn tree_variant(variant: &VariantSpec, arch: &str) -> TreeVariant {
    let tree = Tree::new(variant, arch);
    TreeVariant {
        id: variant.id.replace('-', ""),
        uid: variant.uid.clone(),
        name: variant.name.clone(),
        kind: variant.kind.clone(),
        packages: tree.packages_in_tree(),
        repository: tree.in_tree(),
        other_paths: std::collections::BTreeMap::new(),
    }
}

/// The `metadata` job: after everything that can appear in the tree, whatever became of what may fail.
pub(super) fn metadata(view: &View<'_>, drafts: &mut Vec<Draft>) -> Result<(), PlanError> {
    let params = MetadataParams { compose: compose_json(view), hashed: view.spec.options.hashed_directories };
    let mut draft = Draft::new(JobName::new(JobKind::Metadata, "", ""), "metadata", &params)?;
    for variant in view.composed() {
        for arch in variant.arches.keys() {
            for what in ["binary", "debug", "source"] {
                let trim = trim_name(view.root(variant), arch);
                draft.input_if_planned(
                    format!("{what}/{}/{arch}", variant.uid),
                    trim,
                    format!("{what}/{}", variant.uid),
                );
            }
        }
    }
    draft.needs_one = !draft.inputs.is_empty();
    for (variant, arch, _) in configured(view).filter(|_| !view.spec.options.media_checksums.is_empty()) {
        let checksum = JobName::new(JobKind::Checksum, &variant.uid, arch);
        draft.input_if_planned(format!("extra-files/{}/{arch}", variant.uid), checksum, "extra-files/0");
    }
    for other in drafts.iter() {
        let at = if other.outputs.iter().any(OutputSpec::is_tree) { At::Published } else { At::Committed };
        draft.wait(other.name.clone(), at);
    }
    let target = draft.path(LogicalPath::new(Root::Compose, "metadata"))?;
    draft.outputs.push(OutputSpec::merge("metadata", &target));
    drafts.push(draft);
    Ok(())
}

/// What composeinfo.json is made of: the identity, and the variants without what only jobs need.
fn compose_json(view: &View<'_>) -> serde_json::Value {
    let variant = |variant: &VariantSpec| {
        json!({
            "uid": variant.uid,
            "id": variant.id,
            "name": variant.name,
            "type": variant.kind,
            "parent": variant.parent,
            "release": variant.release,
            "is_empty": variant.is_empty,
            "arches": variant.arches.keys().collect::<Vec<_>>(),
        })
    };
    json!({
        "identity": view.spec.identity,
        "variants": view.spec.variants.iter().map(variant).collect::<Vec<_>>(),
    })
}
