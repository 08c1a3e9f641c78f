//! The compose spec: everything a compose needs to know, resolved once and never changed.
//!
//! Made by [`crate::accept`] from the configuration, variants and comps; kept with the compose. It holds plain values,
//! so the planner needs no configuration language, and names what is big (comps, gather requests) by digest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tutti_job::{
    Digest,
    params::{ExtraFile, LinkType, PkgsetArch},
};

/// Version of the spec's own format: raised when an older controller must not run it.
pub const SPEC_FORMAT: u32 = 1;

/// The immutable description of one compose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComposeSpec {
    /// [`SPEC_FORMAT`].
    pub format: u32,
    /// What the compose is called.
    pub identity: Identity,
    /// Time that artefacts may carry, seconds since 1970: `SOURCE_DATE_EPOCH`, else the start.
    pub source_date: i64,
    /// Values for the whole compose.
    pub options: Options,
    /// Package sources; own ones first, then lookasides. The index is [`tutti_job::PackageEntry::source`].
    pub sources: Vec<PackageSource>,
    /// Variants in the order of Pungi's rounds: type rank, then uid.
    pub variants: Vec<VariantSpec>,
    /// `variant_as_lookaside`: (variant uid, uid of the variant it may lean on).
    pub variant_lookasides: Vec<(String, String)>,
    /// `--only` patterns; empty: everything.
    pub only: Vec<String>,
    /// `--skip` kinds or patterns.
    pub skip: Vec<String>,
    /// The effective configuration with all defaults, for `logs/global/config-dump.global.log`.
    pub settings: serde_json::Value,
}

/// Release and compose identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Compose id; empty until the controller has counted the respin.
    pub compose_id: String,
    /// Id without the respin number: `Fedora-Rawhide-20261122.n.`; the respin is appended.
    pub id_prefix: String,
    /// `production`, `nightly`, `test`, `ci`, `development`.
    pub compose_type: String,
    /// `YYYYMMDD`.
    pub date: String,
    /// Respin number.
    pub respin: u32,
    /// Milestone label, such as `RC-1.0`.
    pub label: Option<String>,
    /// Whether the label (or `--supported`) makes the compose final.
    pub supported: bool,
    /// Release name.
    pub release_name: String,
    /// Release short name.
    pub release_short: String,
    /// Release version.
    pub release_version: String,
    /// Release type (`ga`, `updates`, …).
    pub release_type: String,
    /// `release_internal`.
    pub release_internal: bool,
    /// Base product (name, short, version, type) of a layered release.
    pub base_product: Option<BaseProduct>,
    /// Name of the `latest-` link; none: no link.
    pub latest_link: Option<String>,
    /// Statuses at the end of which the link is moved.
    pub latest_link_status: Vec<String>,
}

impl Identity {
    /// Name of the `latest-` link that a compose ending with this status moves, if it does.
    pub fn link_at_end(&self, status: &str) -> Option<&str> {
        let wanted = self.latest_link_status.iter().any(|wanted| wanted == status);
        self.latest_link.as_deref().filter(|_| wanted)
    }
}

/// What a layered release is layered on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseProduct {
    /// Name.
    pub name: String,
    /// Short name.
    pub short: String,
    /// Version.
    pub version: String,
    /// Type.
    pub product_type: String,
}

/// Values that jobs of the whole compose use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// `link_type`.
    pub link_type: LinkType,
    /// `hashed_directories`.
    pub hashed_directories: bool,
    /// `sigkeys`.
    pub sigkeys: Vec<Option<String>>,
    /// `pkgset_exclusive_arch_considers_noarch`.
    pub exclusive_arch_considers_noarch: bool,
    /// `pkgset_inherit_exclusive_arch_to_noarch`.
    pub inherit_exclusive_arch_to_noarch: bool,
    /// `check_deps`.
    pub check_deps: bool,
    /// `require_all_comps_packages`.
    pub require_all_comps_packages: bool,
    /// `filter_system_release_packages`.
    pub filter_system_release: bool,
    /// `createrepo_checksum`.
    pub checksum_type: String,
    /// Compression of metadata: `zstd`, or `xz` with `createrepo_use_xz`.
    pub compression: String,
    /// Fixed repodata revision, if configured.
    pub revision: Option<String>,
    /// Changelog entries kept.
    pub changelog_limit: u32,
    /// `createrepo_database`: compression of the SQLite databases, if they are wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// `media_checksums`.
    pub media_checksums: Vec<String>,
    /// `media_checksum_one_file`.
    pub media_checksum_one_file: bool,
    /// `media_checksum_base_filename` as configured.
    pub media_checksum_base_filename: String,
    /// `treeinfo_version`.
    pub treeinfo_version: Option<String>,
    /// `release_discinfo_description`.
    pub discinfo_description: Option<String>,
    /// `--fail-fast`: a required failure cancels the rest.
    pub fail_fast: bool,
}

/// One package source: a `pkgset` job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageSource {
    /// Name in job names: `repos`, `lookaside-1`.
    pub name: String,
    /// Repositories per tree arch.
    pub arches: BTreeMap<String, PkgsetArch>,
    /// An external lookaside (`gather_lookaside_repos`): not composed from.
    pub lookaside: bool,
}

/// One variant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariantSpec {
    /// Uid: `Server-optional`.
    pub uid: String,
    /// Id: `optional`.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// `variant`, `addon`, `optional`, `layered-product`.
    pub kind: String,
    /// Uid of the parent; nested variants only.
    pub parent: Option<String>,
    /// Release of a layered product: (name, short, version).
    pub release: Option<(String, String, String)>,
    /// Nothing is gathered or composed for it (`is_empty`).
    pub is_empty: bool,
    /// What is particular to each tree arch.
    pub arches: BTreeMap<String, VariantArch>,
    /// `extra_files` of the source tree.
    pub source_extra_files: Vec<ExtraFile>,
}

/// One variant on one tree arch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariantArch {
    /// Blob: the gather request (JSON of `tutti_depsolve`'s request).
    pub request: Digest,
    /// Blob: the filtered comps file; none without `comps_file`.
    pub comps: Option<Digest>,
    /// Indexes of the external lookaside sources.
    pub lookaside_sources: Vec<u32>,
    /// `repoclosure_strictness`.
    pub repoclosure: Strictness,
    /// Deliverables that may fail (`failable_deliverables`): `repo`, `repoclosure`, `*` …, as configured.
    pub failable: Vec<String>,
    /// `extra_files`, pinned.
    pub extra_files: Vec<ExtraFile>,
}

impl VariantArch {
    /// Digests of the blobs that it names.
    pub fn blobs(&self) -> impl Iterator<Item = Digest> {
        [Some(self.request), self.comps].into_iter().flatten()
    }
}

/// `repoclosure_strictness`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strictness {
    /// Not run.
    Off,
    /// Reported.
    Lenient,
    /// Unresolved dependencies fail the job.
    Fatal,
}
