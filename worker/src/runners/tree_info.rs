//! `tree-info`: `.treeinfo`, `.discinfo` and `media.repo` of one tree.
//!
//! The checksum of each `repodata/repomd.xml` is taken from createrepo's manifest: nothing of the tree is read. It is
//! SHA-256 whatever `createrepo_checksum` says, since that is what manifests have; readers take the type from the file.

use tutti_distro::tree_info::{
    Product, TreeInfo, TreePaths, TreeVariant as Shown, TreeVariantKind, disc_info, media_repo,
};
use tutti_job::{
    Digest, Manifest,
    params::{TreeInfoParams, TreeVariant},
};

use crate::{FailureClass, JobContext, OrFail as _, Output, RunnerError};

/// Runs the job.
///
/// # Errors
/// Class input for values that the formats cannot hold.
pub(super) fn run(context: &JobContext) -> Result<Vec<Output>, RunnerError> {
    let params: TreeInfoParams = context.params()?;
    let mut info = describe(&params)?;
    for variant in std::iter::once(&params.variant).chain(&params.addons) {
        add_checksum(context, &mut info, variant)?;
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
fn add_checksum(context: &JobContext, info: &mut TreeInfo, variant: &TreeVariant) -> Result<(), RunnerError> {
    let name = format!("repodata/{}", variant.uid);
    if context.spec.input(&name).is_err() {
        // A layered product shows its parent's uid; its own repository is the only one then.
        let Some(own) = only_repodata(context, variant) else { return Ok(()) };
        return add_from(context, info, variant, &own);
    }
    add_from(context, info, variant, &name)
}

fn only_repodata(context: &JobContext, variant: &TreeVariant) -> Option<String> {
    if variant.kind == "addon" {
        return None;
    }
    let names = super::place::names_below(&context.spec, "repodata/");
    match &names[..] {
        [one] => Some(one.clone()),
        _ => None,
    }
}

fn add_from(context: &JobContext, info: &mut TreeInfo, variant: &TreeVariant, input: &str) -> Result<(), RunnerError> {
    let manifest = Manifest::decode_checked(&context.input_bytes(input)?)?;
    let entry = manifest.get("repomd.xml");
    let entry = entry.ok_or_else(|| RunnerError::tool(format!("input {input} lists no repomd.xml")))?;
    let digest = Digest::try_from(entry.digest.as_slice())
        .or_fail(FailureClass::Tool, || format!("input {input} has no checksum of repomd.xml"))?;
    let path = match variant.repository.as_str() {
        "." | "" => "repodata/repomd.xml".to_owned(),
        below => format!("{below}/repodata/repomd.xml"),
    };
    info.add_checksum(path, "sha256", &digest.to_string());
    Ok(())
}
