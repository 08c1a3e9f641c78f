//! Specs for tests.

use tutti_job::{
    Digest,
    params::{ExtraFile, LinkType, PkgsetArch},
};

use crate::spec::{ComposeSpec, Identity, Options, PackageSource, SPEC_FORMAT, Strictness, VariantArch, VariantSpec};

pub(super) fn extra_file() -> ExtraFile {
    let text = |text: &str| text.to_owned();
    ExtraFile {
        scm: text("file"),
        repo: text(""),
        commit: text(""),
        file: text("/srv/GPL"),
        dir: text(""),
        target: text(""),
    }
}

pub(crate) fn variant(uid: &str, id: &str, kind: &str, parent: Option<&str>, arches: &[&str]) -> VariantSpec {
    let data = |arch: &&str| {
        let data = VariantArch {
            request: Digest::of(format!("{uid}.{arch}").as_bytes()),
            comps: Some(Digest::of(b"comps")),
            lookaside_sources: vec![],
            repoclosure: Strictness::Lenient,
            failable: vec![],
            extra_files: vec![],
        };
        ((*arch).to_owned(), data)
    };
    VariantSpec {
        uid: uid.into(),
        id: id.into(),
        name: uid.into(),
        kind: kind.into(),
        parent: parent.map(Into::into),
        release: None,
        is_empty: false,
        arches: arches.iter().map(data).collect(),
        source_extra_files: vec![],
    }
}

pub(super) fn source(name: &str, arches: &[&str], lookaside: bool) -> PackageSource {
    let repos =
        |arch: &&str| ((*arch).to_owned(), PkgsetArch { repos: vec![format!("/srv/{name}/{arch}")], multilib: false });
    PackageSource { name: name.into(), arches: arches.iter().map(repos).collect(), lookaside }
}

/// Everything, Server with an addon and an optional variant, and Work that leans on Server; two arches.
pub(crate) fn spec() -> ComposeSpec {
    let both = ["aarch64", "x86_64"];
    let mut everything = variant("Everything", "Everything", "variant", None, &both);
    if let Some(data) = everything.arches.get_mut("x86_64") {
        data.lookaside_sources = vec![1];
    }
    let mut server = variant("Server", "Server", "variant", None, &both);
    if let Some(data) = server.arches.get_mut("x86_64") {
        data.extra_files = vec![extra_file()];
    }
    ComposeSpec {
        format: SPEC_FORMAT,
        identity: identity(),
        source_date: 1_700_000_000,
        options: options(),
        sources: vec![source("repos", &both, false), source("lookaside-1", &["x86_64"], true)],
        variants: vec![
            everything,
            server,
            variant("Work", "Work", "variant", None, &["x86_64"]),
            variant("Server-HA", "HA", "addon", Some("Server"), &both),
            variant("Server-optional", "optional", "optional", Some("Server"), &both),
        ],
        variant_lookasides: vec![("Work".into(), "Server".into())],
        only: vec![],
        skip: vec![],
        settings: serde_json::Value::Null,
    }
}

fn identity() -> Identity {
    Identity {
        compose_id: "T-7.1-20261122.t.0".into(),
        id_prefix: "T-7.1-20261122.t.".into(),
        compose_type: "test".into(),
        date: "20261122".into(),
        respin: 0,
        label: None,
        supported: false,
        release_name: "Test".into(),
        release_short: "T".into(),
        release_version: "7.1".into(),
        release_type: "ga".into(),
        release_internal: false,
        base_product: None,
        latest_link: None,
        latest_link_status: vec![],
    }
}

fn options() -> Options {
    Options {
        link_type: LinkType::HardlinkOrCopy,
        hashed_directories: false,
        sigkeys: vec![None],
        exclusive_arch_considers_noarch: true,
        inherit_exclusive_arch_to_noarch: true,
        check_deps: true,
        require_all_comps_packages: false,
        filter_system_release: true,
        checksum_type: "sha256".into(),
        compression: "zstd".into(),
        revision: None,
        changelog_limit: 10,
        database: None,
        media_checksums: vec!["sha256".into()],
        media_checksum_one_file: false,
        media_checksum_base_filename: String::new(),
        treeinfo_version: None,
        discinfo_description: None,
        fail_fast: false,
    }
}

/// Any spec of up to five top-level variants: `bits` decides everything.
pub(super) fn generated(bits: &[u8]) -> ComposeSpec {
    let mut spec = spec();
    let mut next = bits.iter().copied().cycle();
    let mut bit = |below: u8| next.next().unwrap_or_default() % below;
    let all = ["aarch64", "ppc64le", "s390x", "x86_64"];
    let served = &all[..1 + usize::from(bit(4))];
    spec.sources =
        vec![source("repos", served, false), source("more", &served[..1], false), source("look", served, true)];
    spec.variants.clear();
    spec.variant_lookasides.clear();
    let tops = 1 + bit(5);
    for top in 0..tops {
        let uid = format!("V{top}");
        let arches = &served[..1 + usize::from(bit(4)) % served.len()];
        spec.variants.push(variant(&uid, &uid, "variant", None, arches));
        for (id, kind) in [("HA", "addon"), ("LP", "layered-product"), ("optional", "optional")] {
            if bit(2) == 0 {
                let child = &arches[..1 + usize::from(bit(4)) % arches.len()];
                spec.variants.push(variant(&format!("{uid}-{id}"), id, kind, Some(&uid), child));
            }
        }
        if top > 0 && bit(3) == 0 {
            spec.variant_lookasides.push((uid, format!("V{}", bit(top))));
        }
    }
    for variant in &mut spec.variants {
        variant.is_empty = bit(8) == 0;
        let extra = |wanted: bool| if wanted { vec![extra_file()] } else { vec![] };
        variant.source_extra_files = extra(bit(4) == 0);
        for data in variant.arches.values_mut() {
            data.repoclosure = [Strictness::Off, Strictness::Lenient, Strictness::Fatal][usize::from(bit(3))];
            data.lookaside_sources = if bit(3) == 0 { vec![2] } else { vec![] };
            data.extra_files = extra(bit(3) == 0);
            data.failable =
                ["repo", "repoclosure", "*", "iso"].iter().filter(|_| bit(4) == 0).map(|&name| name.into()).collect();
            data.comps = (bit(2) == 0).then(|| Digest::of(b"comps"));
        }
    }
    spec
}

/// Reads a variants.xml.
pub(super) fn parse_variants(xml: &str) -> Option<tutti_distro::variants::Variants> {
    let filter = tutti_distro::variants::Filter::default();
    tutti_distro::variants::Variants::parse(xml, "variants.xml", &filter).ok()
}
