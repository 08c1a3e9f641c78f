//! `metadata`: composeinfo.json, rpms.json, images.json and modules.json of the compose, and extra_files.json if it has
//! extra files.
//!
//! What the tree holds is known from package lists; the tree itself is only asked which directories exist.

use std::{collections::BTreeMap, fs};

use serde::Deserialize;
use tutti_distro::{
    compose_id::{BaseProduct, ComposeDate, ComposeId, ComposeIdentity, Label, Release},
    extra_files::{ExtraFile, ExtraFiles},
    layout::{Arch, Trees},
    metadata::{Category, Compose, Images, Modules, Rpm, Rpms, compose_info},
    variants::{Variant, VariantUid, Variants},
};
use tutti_job::{LogicalPath, PackageEntry, Root, params::MetadataParams};
use tutti_rpm::{Evr, Nevra};

use super::place;
use crate::{FailureClass, JobContext, OrFail as _, Output, RunnerError, log};

/// What `params.compose` says: the identity, and the variants.
#[derive(Deserialize)]
struct Described {
    identity: Identity,
    variants: Vec<DescribedVariant>,
}

#[derive(Deserialize)]
struct Identity {
    compose_id: String,
    compose_type: String,
    date: String,
    respin: u32,
    label: Option<String>,
    release_name: String,
    release_short: String,
    release_version: String,
    release_type: String,
    release_internal: bool,
    base_product: Option<Base>,
}

#[derive(Deserialize)]
struct Base {
    name: String,
    short: String,
    version: String,
    product_type: String,
}

#[derive(Deserialize)]
struct DescribedVariant {
    uid: String,
    id: String,
    name: String,
    #[serde(rename = "type")]
    kind: String,
    parent: Option<String>,
    release: Option<(String, String, String)>,
    is_empty: bool,
    arches: Vec<String>,
}

/// Runs the job.
///
/// # Errors
/// Class input for values that productmd refuses.
pub(super) fn run(context: &JobContext) -> Result<Vec<Output>, RunnerError> {
    let params: MetadataParams = context.params()?;
    let described: Described = serde_json::from_value(params.compose.clone())
        .or_fail(FailureClass::Tool, || "the job's description of the compose is not usable")?;
    let variants = variants(&described.variants)?;
    let (compose, release) = identity(&described.identity)
        .or_fail(FailureClass::Input, || "the compose's identity cannot stand in productmd metadata")?;
    let rpms = rpms(context, &params, &variants)?;
    let exists = |path: &str| {
        let path = LogicalPath::new(Root::Compose, path).ok().and_then(|path| context.volumes.resolve(&path).ok());
        path.is_some_and(|path| fs::metadata(path).is_ok_and(|metadata| metadata.is_dir()))
    };
    let tree = context.output_tree("metadata")?;
    let file = |name: &str, make: &dyn Fn(&mut Vec<u8>) -> std::io::Result<()>| {
        let mut bytes = Vec::new();
        make(&mut bytes).or_fail(FailureClass::Input, || format!("failed to make {name}"))?;
        super::write(&tree.join(name), &bytes)
    };
    file("composeinfo.json", &|out| compose_info(out, &compose, &release, &variants, &exists))?;
    file("rpms.json", &|out| rpms.write(out, &compose))?;
    file("images.json", &|out| Images::default().write(out, &compose))?;
    file("modules.json", &|out| Modules::default().write(out, &compose))?;
    if let Some(files) = extra_files(context, &variants)? {
        file("extra_files.json", &|out| files.write(out, &compose))?;
    }
    context.progress.set("write metadata", 4, 4);
    let manifest = context.scan_tree(&tree)?;
    Ok(vec![context.finish_tree("metadata", &manifest)?])
}

/// The lists of all trees as one, with paths from `compose/` on; none without extra files.
fn extra_files(context: &JobContext, variants: &Variants) -> Result<Option<ExtraFiles>, RunnerError> {
    /// What an extra_files.json of a tree has that counts here.
    #[derive(Deserialize)]
    struct OfTree {
        data: Vec<ExtraFile>,
    }
    let mut all = None;
    for name in place::names_below(&context.spec, "extra-files/") {
        let failed = || format!("input {name} is not usable");
        let of_tree: OfTree =
            serde_json::from_slice(&context.input_bytes(&name)?).or_fail(FailureClass::Tool, failed)?;
        let found = name.strip_prefix("extra-files/").and_then(|rest| rest.rsplit_once('/'));
        let found = found.and_then(|(uid, arch)| Some((variants.all().find(|one| one.uid == *uid)?, arch)));
        let (variant, arch) = found.ok_or_else(|| RunnerError::tool(failed()))?;
        let root = Trees::of(variant).repository(if arch == "src" { Arch::Source } else { Arch::Binary(arch) });
        for file in of_tree.data {
            let file = ExtraFile { file: format!("{root}/{}", file.file), ..file };
            let files = all.get_or_insert_with(ExtraFiles::default);
            files.add(&variant.uid, arch, file).or_fail(FailureClass::Input, failed)?;
        }
    }
    Ok(all)
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

fn identity(identity: &Identity) -> Result<(Compose, Release), BoxError> {
    let release = Release {
        name: identity.release_name.clone(),
        short: identity.release_short.clone(),
        version: identity.release_version.clone(),
        kind: identity.release_type.parse()?,
        internal: identity.release_internal,
        base_product: match &identity.base_product {
            None => None,
            Some(base) => Some(BaseProduct {
                name: base.name.clone(),
                short: base.short.clone(),
                version: base.version.clone(),
                kind: base.product_type.parse()?,
            }),
        },
    };
    let compose = Compose {
        id: ComposeId::new(identity.compose_id.clone())?,
        identity: ComposeIdentity {
            date: ComposeDate::new(identity.date.clone())?,
            kind: identity.compose_type.parse()?,
            respin: identity.respin,
        },
        label: match &identity.label {
            None => None,
            Some(label) => Some(label.parse::<Label>()?),
        },
    };
    Ok((compose, release))
}

/// Variants as the distro crate has them, through its stored form, which checks them.
fn variants(described: &[DescribedVariant]) -> Result<Variants, RunnerError> {
    let variant = |variant: &DescribedVariant| {
        let release = variant
            .release
            .as_ref()
            .map(|(name, short, version)| serde_json::json!({ "name": name, "short": short, "version": version }));
        serde_json::json!({
            "uid": variant.uid,
            "id": variant.id,
            "name": variant.name,
            "kind": variant.kind,
            "parent": variant.parent,
            "arches": variant.arches,
            "groups": [],
            "environments": [],
            "modules": null,
            "is_empty": variant.is_empty,
            "release": release,
            "buildinstall_packages": [],
        })
    };
    let stored = serde_json::json!({ "variants": described.iter().map(variant).collect::<Vec<_>>() });
    serde_json::from_value(stored).or_fail(FailureClass::Tool, || "the job's description of the variants is not usable")
}

/// Lists of one variant and arch.
struct Lists<'a> {
    variant: &'a Variant,
    arch: &'a str,
    lists: [(Category, Vec<PackageEntry>); 3],
}

fn rpms(context: &JobContext, params: &MetadataParams, variants: &Variants) -> Result<Rpms, RunnerError> {
    let mut all = Vec::new();
    for variant in variants.all() {
        for arch in &variant.arches {
            let list = |what: &str| {
                let name = format!("{what}/{}/{arch}", variant.uid);
                if context.spec.input(&name).is_ok() { place::list(context, &name) } else { Ok(Vec::new()) }
            };
            let lists = [
                (Category::Binary, list("binary")?),
                (Category::Debug, list("debug")?),
                (Category::Source, list("source")?),
            ];
            all.push(Lists { variant, arch, lists });
        }
    }
    // One map for all variants: an addon's sources may stand in its parent's tree alone.
    let sources: BTreeMap<String, Nevra> = all
        .iter()
        .flat_map(|lists| &lists.lists)
        .flat_map(|(_, packages)| packages)
        .filter(|package| package.is_source())
        .map(|package| (package.file_name(), place::nevra(package)))
        .collect();
    let mut rpms = Rpms::default();
    let mut guessed = 0;
    let total = all.len() as u64;
    for (done, lists) in all.into_iter().enumerate() {
        context.cancel.check()?;
        context.progress.set("list packages", done as u64, total);
        let trees = Trees::of(lists.variant);
        for (category, packages) in lists.lists {
            let directory = match category {
                Category::Binary => trees.packages(Arch::Binary(lists.arch)),
                Category::Debug => trees.debug_packages(lists.arch),
                Category::Source => trees.packages(Arch::Source),
            };
            for (place, package) in place::places(packages, params.hashed)? {
                let source = source(&sources, &package, &mut guessed);
                add(
                    &mut rpms,
                    &lists.variant.uid,
                    lists.arch,
                    category,
                    &format!("{directory}/{place}"),
                    &package,
                    source,
                )?;
            }
        }
    }
    if guessed > 0 {
        log!(context, "{guessed} packages have no source package in the compose; its NEVRA is guessed from their own");
    }
    Ok(rpms)
}

fn add(
    rpms: &mut Rpms,
    uid: &VariantUid,
    arch: &str,
    category: Category,
    path: &str,
    package: &PackageEntry,
    source: Option<Nevra>,
) -> Result<(), RunnerError> {
    let nevra = place::nevra(package);
    let rpm = Rpm {
        nevra: &nevra,
        source: source.as_ref(),
        path,
        sigkey: Some(package.signing_key.as_str()).filter(|key| !key.is_empty()),
        category,
    };
    rpms.add(uid, arch, rpm).or_fail(FailureClass::Input, || format!("{path} cannot be listed in rpms.json"))
}

/// The source package of a binary; one that is not in the compose is guessed: its epoch is the binary's (pungi 4.3.2,
/// `link_files`).
fn source(sources: &BTreeMap<String, Nevra>, package: &PackageEntry, guessed: &mut u64) -> Option<Nevra> {
    if package.is_source() {
        return None;
    }
    if let Some(known) = sources.get(&package.source_rpm) {
        return Some(known.clone());
    }
    *guessed += 1;
    let stem = package.source_rpm.strip_suffix(".rpm").unwrap_or_default();
    let parts = stem.rsplit_once('.').and_then(|(rest, arch)| {
        let mut parts = rest.rsplitn(3, '-');
        let (release, version, name) = (parts.next()?, parts.next()?, parts.next()?);
        let evr = Evr { epoch: package.epoch, version: version.to_owned(), release: release.to_owned() };
        Some(Nevra { name: name.to_owned(), evr, arch: arch.to_owned() })
    });
    // Packages made by hand name no source at all; productmd wants one.
    Some(parts.unwrap_or_else(|| Nevra { arch: "src".to_owned(), ..place::nevra(package) }))
}
