//! `tree-info`: `.treeinfo`, `.discinfo` and `media.repo` of one tree.
//!
//! Each `repodata/repomd.xml` comes as an input with its bytes: nothing of the tree is read. Its checksum has the type that
//! `createrepo_checksum` names (pungi 4.3.2, `metadata.write_tree_info`).

use tutti_distro::tree_info::{
    Product, TreeInfo, TreePaths, TreeVariant as Shown, TreeVariantKind, disc_info, media_repo,
};
use tutti_job::params::{TreeInfoParams, TreeVariant};
use tutti_repodata::ChecksumType;

use crate::{FailureClass, JobContext, OrFail as _, Output, RunnerError};

/// Runs the job.
///
/// # Errors
/// Class input for values that the formats cannot hold.
pub(super) fn run(context: &JobContext) -> Result<Vec<Output>, RunnerError> {
    let params: TreeInfoParams = context.params()?;
    let mut info = describe(&params)?;
    let kind = params.checksum_type.parse();
    let kind: ChecksumType = kind.or_fail(FailureClass::Input, || "createrepo_checksum is not known")?;
    for variant in std::iter::once(&params.variant).chain(&params.addons) {
        add_checksum(context, &mut info, kind, variant)?;
    }
    let failed = |file: &'static str| move || format!("failed to make {file}");
    let texts = [
        (".treeinfo", info.to_text().or_fail(FailureClass::Input, failed(".treeinfo"))?),
        (
            ".discinfo",
            disc_info(params.timestamp, &params.description, &params.arch, &[])
                .or_fail(FailureClass::Input, failed(".discinfo"))?,
        ),
        (
            "media.repo",
            media_repo(params.timestamp, &params.description).or_fail(FailureClass::Input, failed("media.repo"))?,
        ),
    ];
    let tree = context.output_tree("files")?;
    for (name, text) in texts {
        let path = tree.join(name);
        super::write(&path, text.as_bytes())?;
    }
    context.progress.set("write tree files", 3, 3);
    let manifest = context.scan_tree(&tree)?;
    Ok(vec![context.finish_tree("files", &manifest)?])
}

fn describe(params: &TreeInfoParams) -> Result<TreeInfo, RunnerError> {
    let product = |name: &str, short: &str, version: &str| Product {
        name: name.to_owned(),
        short: short.to_owned(),
        version: version.to_owned(),
    };
    let mut variant = shown(&params.variant)?;
    for addon in &params.addons {
        variant.addons.push(shown(addon)?);
    }
    Ok(TreeInfo {
        release: product(&params.release_name, &params.release_short, &params.release_version),
        base_product: params.base_product.as_ref().map(|(name, short, version)| product(name, short, version)),
        arch: params.arch.clone(),
        build_timestamp: params.timestamp,
        platforms: Default::default(),
        variants: vec![variant],
        checksums: Default::default(),
        images: Default::default(),
        main_image: None,
        media: None,
    })
}

fn shown(variant: &TreeVariant) -> Result<Shown, RunnerError> {
    let kind = match variant.kind.as_str() {
        "variant" | "layered-product" => TreeVariantKind::Variant,
        "optional" => TreeVariantKind::Optional,
        "addon" => TreeVariantKind::Addon,
        other => return Err(RunnerError::tool(format!("variant {} has the unknown type {other:?}", variant.uid))),
    };
    let mut paths = TreePaths {
        packages: Some(variant.packages.clone()),
        repository: Some(variant.repository.clone()),
        ..TreePaths::default()
    };
    for (name, path) in &variant.other_paths {
        let slot = match name.as_str() {
            "source_packages" => &mut paths.source_packages,
            "source_repository" => &mut paths.source_repository,
            "debug_packages" => &mut paths.debug_packages,
            "debug_repository" => &mut paths.debug_repository,
            "identity" => &mut paths.identity,
            other => return Err(RunnerError::tool(format!(".treeinfo has no path {other:?}"))),
        };
        *slot = Some(path.clone());
    }
    Ok(Shown {
        id: variant.id.clone(),
        uid: variant.uid.clone(),
        name: variant.name.clone(),
        kind,
        paths,
        addons: Vec::new(),
    })
}

/// Adds the checksum of a variant's `repomd.xml`; an addon whose repository could not be made has none.
fn add_checksum(
    context: &JobContext,
    info: &mut TreeInfo,
    kind: ChecksumType,
    variant: &TreeVariant,
) -> Result<(), RunnerError> {
    let name = format!("repomd/{}", variant.uid);
    // A layered product shows its parent's uid; its own repository is the only one then.
    let known = context.spec.input(&name).is_ok().then_some(name);
    let Some(input) = known.or_else(|| only_repomd(context, variant)) else { return Ok(()) };
    let checksum = kind.hash(&context.input_bytes(&input)?);
    let path = match variant.repository.as_str() {
        "." | "" => "repodata/repomd.xml".to_owned(),
        below => format!("{below}/repodata/repomd.xml"),
    };
    info.add_checksum(path, kind.name(), checksum.hex());
    Ok(())
}

fn only_repomd(context: &JobContext, variant: &TreeVariant) -> Option<String> {
    if variant.kind == "addon" {
        return None;
    }
    let names = super::place::names_below(&context.spec, "repomd/");
    match &names[..] {
        [one] => Some(one.clone()),
        _ => None,
    }
}
