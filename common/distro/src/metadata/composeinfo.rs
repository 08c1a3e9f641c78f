//! composeinfo.json: what a compose is and where its parts lie (productmd 1.x `composeinfo.py`, pungi 4.3.2
//! `metadata.py`).

use std::collections::BTreeMap;
use std::io;

use serde::Serialize;

use super::{Compose, Error, write_document};
use crate::compose_id::{BaseProduct, Release};
use crate::layout::{Arch, Trees};
use crate::variants::{Variant, VariantKind, Variants};

const FILE: &str = "composeinfo.json";

#[derive(Serialize)]
struct Payload<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    base_product: Option<BaseSection<'a>>,
    compose: super::ComposeSection<'a>,
    release: ReleaseSection<'a>,
    variants: BTreeMap<&'a str, VariantSection<'a>>,
}

#[derive(Serialize)]
struct BaseSection<'a> {
    name: &'a str,
    short: &'a str,
    r#type: &'static str,
    version: &'a str,
}

#[derive(Serialize)]
struct ReleaseSection<'a> {
    internal: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_layered: Option<bool>,
    name: &'a str,
    short: &'a str,
    r#type: &'static str,
    version: &'a str,
}

#[derive(Serialize)]
struct VariantSection<'a> {
    arches: &'a [String],
    id: String,
    name: &'a str,
    paths: BTreeMap<&'static str, BTreeMap<&'a str, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    release: Option<ReleaseSection<'a>>,
    r#type: &'static str,
    uid: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    variants: Vec<&'a str>,
}

/// Writes composeinfo.json.
///
/// `exists` tells of a path relative to `compose/` whether the directory is there; paths of missing directories are left
/// out. (Pungi leaves them out of top-level variants only.)
///
/// # Errors
/// If the release has values that productmd refuses, or writing fails.
pub fn compose_info(
    out: impl io::Write,
    compose: &Compose,
    release: &Release,
    variants: &Variants,
    exists: &dyn Fn(&str) -> bool,
) -> io::Result<()> {
    release.validate().map_err(io::Error::other)?;
    let mut sections = BTreeMap::new();
    for variant in variants {
        if variant.name.trim().is_empty() {
            return Err(io::Error::other(Error::new(FILE, "name of variant", variant.uid.as_str(), "is empty")));
        }
        sections.insert(variant.uid.as_str(), variant_section(variant, variants, exists));
    }
    let payload = Payload {
        base_product: release.base_product.as_ref().map(base_section),
        compose: compose.section(),
        release: ReleaseSection {
            internal: release.internal,
            is_layered: release.is_layered().then_some(true),
            name: &release.name,
            short: &release.short,
            r#type: release.kind.as_str(),
            version: &release.version,
        },
        variants: sections,
    };
    write_document(out, "productmd.composeinfo", payload)
}

fn base_section(base: &BaseProduct) -> BaseSection<'_> {
    BaseSection { name: &base.name, short: &base.short, r#type: base.kind.as_str(), version: &base.version }
}

fn variant_section<'a>(
    variant: &'a Variant,
    variants: &'a Variants,
    exists: &dyn Fn(&str) -> bool,
) -> VariantSection<'a> {
    let mut children: Vec<&str> = variants.children(&variant.uid).map(|child| child.id.as_str()).collect();
    children.sort_unstable();
    VariantSection {
        arches: &variant.arches,
        // productmd allows no dash in an id; only the uid keeps it.
        id: variant.id.replace('-', ""),
        name: &variant.name,
        paths: paths(variant, exists),
        release: layered_release(variant),
        r#type: variant.kind.as_str(),
        uid: &variant.uid,
        variants: children,
    }
}

fn layered_release(variant: &Variant) -> Option<ReleaseSection<'_>> {
    if variant.kind != VariantKind::LayeredProduct {
        return None;
    }
    let release = variant.release.as_ref()?;
    Some(ReleaseSection {
        internal: false,
        is_layered: Some(true),
        name: &release.name,
        short: &release.short,
        r#type: "ga",
        version: &release.version,
    })
}

fn paths<'a>(variant: &'a Variant, exists: &dyn Fn(&str) -> bool) -> BTreeMap<&'static str, BTreeMap<&'a str, String>> {
    let trees = Trees::of(variant);
    let mut paths: BTreeMap<&'static str, BTreeMap<&'a str, String>> = BTreeMap::new();
    for arch in &variant.arches {
        let binary = Arch::Binary(arch);
        let candidates = [
            ("os_tree", Some(trees.os_tree(binary))),
            ("repository", Some(trees.repository(binary))),
            ("packages", Some(trees.packages(binary))),
            ("isos", trees.iso(binary)),
            ("images", trees.images(binary)),
            ("jigdos", trees.jigdo(binary)),
            ("source_tree", Some(trees.os_tree(Arch::Source))),
            ("source_repository", Some(trees.repository(Arch::Source))),
            ("source_packages", Some(trees.packages(Arch::Source))),
            ("source_isos", trees.iso(Arch::Source)),
            ("source_jigdos", trees.jigdo(Arch::Source)),
            ("debug_tree", Some(trees.debug_tree(arch))),
            ("debug_repository", Some(trees.debug_repository(arch))),
            ("debug_packages", Some(trees.debug_packages(arch))),
        ];
        for (field, path) in candidates {
            if let Some(path) = path.filter(|path| exists(path)) {
                paths.entry(field).or_default().insert(arch, path);
            }
        }
    }
    paths
}
