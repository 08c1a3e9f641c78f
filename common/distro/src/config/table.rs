//! All options that Pungi knows: the 175 top-level options of Pungi 4.3.2's schema (`checks.py`) and those that came later, up to 4.14.

use super::schema::{Default, Field, OptionSpec, Shape, Status};
use Default::{Absent, Bool as B, Int as I, List as L, Str as S};
use Shape::{Any, Bool, Dict, Either, Enum, Int, Nullable, Number, OneOrList, Pair, Str, Variant};
use Shape::{Fields, List, VariantArch};

const RELEASE_TYPES: Shape = Enum(&["fast", "ga", "updates", "updates-testing", "eus", "aus", "els", "tus", "e4s"]);
const CHECKSUMS: Shape = Enum(&["md5", "sha1", "sha256", "sha512"]);
const GATHER: Shape = Enum(&["deps", "nodeps"]);
const RUNROOT: Shape = Enum(&["local", "koji", "openssh"]);
const STRINGS: Shape = OneOrList(&Str);
const VARIANT_ARCH_STRINGS: Shape = VariantArch(&STRINGS);

/// Names of Pungi 4.3.2's phases and of later ones, as `skip_phases` takes them.
pub const PHASES: &[&str] = &[
    "buildinstall",
    "createiso",
    "createrepo",
    "extra_files",
    "extra_isos",
    "gather",
    "image_build",
    "image_checksum",
    "image_container",
    "imagebuilder",
    "init",
    "kiwibuild",
    "live_images",
    "live_media",
    "osbs",
    "osbuild",
    "ostree",
    "ostree_container",
    "ostree_installer",
    "pkgset",
    "product_img",
    "productimg",
    "repoclosure",
    "test",
    "weaver",
];

const SCM_FIELDS: &[Field] = &[
    field("scm", Enum(&["file", "git", "cvs", "rpm", "koji", "container-image"]), true),
    field("repo", Nullable(&Str), false),
    field("branch", Nullable(&Str), false),
    field("file", STRINGS, false),
    field("dir", STRINGS, false),
    field("command", Str, false),
    field("options", Dict(&Any), false),
];
const EXTRA_FILE_FIELDS: &[Field] = &[
    field("scm", Enum(&["file", "git", "cvs", "rpm", "koji", "container-image"]), true),
    field("repo", Nullable(&Str), false),
    field("branch", Nullable(&Str), false),
    field("file", STRINGS, false),
    field("dir", STRINGS, false),
    field("command", Str, false),
    field("options", Dict(&Any), false),
    field("target", Str, false),
];
const GATHER_FIELDS: &[Field] =
    &[field("module", GATHER, false), field("comps", GATHER, false), field("json", GATHER, false)];
const REPO_FIELDS: &[Field] = &[
    field("name", Str, false),
    field("baseurl", Str, true),
    field("exclude", STRINGS, false),
    field("gpgcheck", Any, false),
    field("enabled", Any, false),
];
const FILE_OR_SCM: Shape = Either(&[Str, Fields(SCM_FIELDS)]);
const REPO: Shape = Either(&[Str, Fields(REPO_FIELDS)]);

const fn field(name: &'static str, shape: Shape, required: bool) -> Field {
    Field { name, shape, required }
}

const fn on(name: &'static str, shape: Shape, default: Default) -> OptionSpec {
    OptionSpec { name, shape, default, status: Status::Supported, group: "compose", required: false }
}

const fn required(name: &'static str, shape: Shape) -> OptionSpec {
    let mut spec = on(name, shape, Absent);
    spec.required = true;
    spec
}

const fn later(group: &'static str, name: &'static str, shape: Shape, default: Default) -> OptionSpec {
    let mut spec = on(name, shape, default);
    spec.status = Status::NotYet;
    spec.group = group;
    spec
}

const fn dead(name: &'static str) -> OptionSpec {
    let mut spec = on(name, Any, Absent);
    spec.status = Status::Dead;
    spec
}

const NULL_STR: Shape = Nullable(&Str);

/// Every known option, in the order of Pungi's documentation.
pub const OPTIONS: &[OptionSpec] = &[
    // Release and general.
    required("release_name", Str),
    required("release_short", Str),
    required("release_version", Str),
    on("release_type", RELEASE_TYPES, S("ga")),
    on("release_internal", Bool, B(false)),
    on("release_discinfo_description", Str, Absent),
    on("treeinfo_version", Str, Absent),
    on("compose_type", Enum(&["test", "ci", "nightly", "production", "development"]), Absent),
    on("base_product_name", Str, Absent),
    on("base_product_short", Str, Absent),
    on("base_product_version", Str, Absent),
    on("base_product_type", RELEASE_TYPES, S("ga")),
    required("variants_file", FILE_OR_SCM),
    on("comps_file", FILE_OR_SCM, Absent),
    on("comps_filter_environments", Bool, B(true)),
    on("tree_arches", List(&Str), L(&[])),
    on("tree_variants", List(&Str), L(&[])),
    on("translate_paths", List(&Pair), L(&[])),
    on(
        "link_type",
        Enum(&["hardlink", "copy", "hardlink-or-copy", "symlink", "abspath-symlink"]),
        S("hardlink-or-copy"),
    ),
    on("hashed_directories", Bool, B(false)),
    on("skip_phases", List(&Enum(PHASES)), L(&[])),
    on("failable_deliverables", VARIANT_ARCH_STRINGS, L(&[])),
    later("general", "paths_module", Str, Absent),
    later("general", "disc_types", Dict(&Str), Default::Dict),
    later("general", "dogpile_cache_backend", Str, Absent),
    later("general", "dogpile_cache_expiration_time", Number, I(3600)),
    later("general", "dogpile_cache_arguments", Dict(&Any), Default::Dict),
    later("general", "rpm_repo_mapping", Any, Absent),
    later("Koji", "koji_profile", Str, Absent),
    later("Koji", "koji_event", Int, Absent),
    later("Koji", "koji_cache", Str, Absent),
    later("compose tracking", "cts_url", Str, Absent),
    later("compose tracking", "cts_keytab", Str, Absent),
    later("compose tracking", "cts_oidc_token_url", Str, Absent),
    later("compose tracking", "cts_oidc_client_id", Str, Absent),
    dead("release_is_layered"),
    dead("runroot"),
    dead("bootable"),
    dead("gather_source"),
    dead("old_composes_per_release_type"),
    dead("keep_original_comps"),
    dead("productimg"),
    dead("pdc_url"),
    dead("pdc_develop"),
    dead("pdc_insecure"),
    // Runroot.
    later("runroot", "runroot_tag", Str, Absent),
    later("runroot", "runroot_channel", NULL_STR, Absent),
    later("runroot", "runroot_weights", Dict(&Number), Default::Dict),
    later("runroot", "runroot_method", Either(&[RUNROOT, Dict(&RUNROOT)]), Absent),
    later("runroot", "global_runroot_method", RUNROOT, Absent),
    later("runroot", "runroot_ssh_username", Str, S("root")),
    later("runroot", "runroot_ssh_hostnames", Dict(&Str), Default::Dict),
    later("runroot", "runroot_ssh_init_template", Str, Absent),
    later("runroot", "runroot_ssh_install_packages_template", Str, Absent),
    later("runroot", "runroot_ssh_run_template", Str, Absent),
    // Package sets.
    required("pkgset_source", Enum(&["repos", "koji"])),
    on("pkgset_repos", Dict(&OneOrList(&REPO)), Default::Dict),
    on("pkgset_exclusive_arch_considers_noarch", Bool, B(true)),
    on("pkgset_inherit_exclusive_arch_to_noarch", Bool, B(true)),
    on("sigkeys", List(&NULL_STR), Default::ListOfNone),
    later("Koji", "pkgset_koji_tag", STRINGS, Absent),
    later("Koji", "pkgset_koji_builds", STRINGS, Absent),
    later("Koji", "pkgset_koji_scratch_tasks", OneOrList(&Either(&[Str, Int])), Absent),
    later("Koji", "pkgset_koji_module_tag", STRINGS, Absent),
    later("Koji", "pkgset_koji_module_builds", Variant(&STRINGS), Absent),
    later("Koji", "pkgset_scratch_modules", Variant(&STRINGS), Absent),
    later("Koji", "mbs_api_url", Str, Absent),
    later("Koji", "pkgset_koji_inherit", Bool, B(true)),
    later("Koji", "pkgset_koji_inherit_modules", Bool, B(false)),
    later("Koji", "pkgset_allow_reuse", Bool, B(true)),
    later("Koji", "signed_packages_retries", Number, I(0)),
    later("Koji", "signed_packages_wait", Number, I(30)),
    // Gather.
    required(
        "gather_method",
        Either(&[Enum(&["deps", "nodeps", "hybrid"]), Variant(&Either(&[Enum(&["hybrid"]), Fields(GATHER_FIELDS)]))]),
    ),
    on("gather_backend", Enum(&["dnf", "yum"]), S("dnf")),
    on("gather_fulltree", Bool, B(false)),
    on("gather_selfhosting", Bool, B(false)),
    on("greedy_method", Enum(&["none", "all", "build"]), S("none")),
    on("gather_prepopulate", FILE_OR_SCM, Absent),
    on("gather_lookaside_repos", VARIANT_ARCH_STRINGS, L(&[])),
    on("variant_as_lookaside", List(&Pair), L(&[])),
    on("additional_packages", VARIANT_ARCH_STRINGS, L(&[])),
    on("filter_packages", VARIANT_ARCH_STRINGS, L(&[])),
    on("filter_system_release_packages", Bool, B(true)),
    on("multilib", VariantArch(&OneOrList(&Enum(&["none", "all", "devel", "runtime"]))), L(&[])),
    on("multilib_whitelist", Dict(&STRINGS), Default::Dict),
    on("multilib_blacklist", Dict(&STRINGS), Default::Dict),
    on("check_deps", Bool, B(true)),
    on("require_all_comps_packages", Bool, B(false)),
    later("gather", "gather_source_mapping", Str, Absent),
    later("gather", "gather_profiler", Bool, B(false)),
    later("gather", "gather_allow_reuse", Bool, B(false)),
    later("modules", "filter_modules", VARIANT_ARCH_STRINGS, L(&[])),
    later("modules", "module_defaults_dir", FILE_OR_SCM, Absent),
    later("modules", "module_obsoletes_dir", FILE_OR_SCM, Absent),
    later("modules", "module_defaults_override_dir", Str, Absent),
    // Repositories.
    on("createrepo_c", Bool, B(true)),
    on("createrepo_checksum", Enum(&["sha1", "sha256", "sha512"]), S("sha256")),
    on("createrepo_use_xz", Bool, B(false)),
    on("createrepo_num_threads", Int, Absent),
    on("createrepo_num_workers", Int, I(3)),
    on("createrepo_database", Bool, B(false)),
    on("createrepo_extra_args", List(&Str), L(&[])),
    on("repoclosure_strictness", VariantArch(&Enum(&["off", "lenient", "fatal"])), L(&[])),
    on("repoclosure_backend", Enum(&["dnf", "yum"]), S("dnf")),
    later("createrepo", "createrepo_enable_cache", Bool, B(true)),
    later("createrepo", "createrepo_extra_modulemd", Variant(&Any), Default::Dict),
    later("createrepo", "createrepo_deltas", Either(&[Bool, VariantArch(&Bool)]), B(false)),
    later("createrepo", "product_id", FILE_OR_SCM, Absent),
    later("createrepo", "product_id_allow_missing", Bool, B(false)),
    later("createrepo", "product_id_allow_name_prefix", Bool, B(true)),
    // Buildinstall.
    later("buildinstall", "buildinstall_method", Enum(&["lorax", "buildinstall"]), Absent),
    later("buildinstall", "lorax_options", VariantArch(&Dict(&Any)), L(&[])),
    later("buildinstall", "lorax_extra_sources", VariantArch(&OneOrList(&REPO)), L(&[])),
    later("buildinstall", "lorax_use_koji_plugin", Bool, B(false)),
    later("buildinstall", "buildinstall_kickstart", FILE_OR_SCM, Absent),
    later("buildinstall", "buildinstall_topdir", Str, Absent),
    later("buildinstall", "buildinstall_use_guestmount", Bool, B(true)),
    later("buildinstall", "buildinstall_skip", VariantArch(&Bool), L(&[])),
    later("buildinstall", "buildinstall_packages", VARIANT_ARCH_STRINGS, L(&[])),
    later("buildinstall", "buildinstall_allow_reuse", Bool, B(false)),
    // Media.
    later("ISO", "createiso_skip", VariantArch(&Bool), L(&[])),
    later("ISO", "createiso_max_size", VariantArch(&Number), L(&[])),
    later("ISO", "createiso_max_size_is_strict", VariantArch(&Bool), L(&[])),
    later("ISO", "createiso_break_hardlinks", Bool, B(false)),
    later("ISO", "createiso_use_xorrisofs", Bool, B(false)),
    later("ISO", "createiso_allow_reuse", Bool, B(true)),
    later("ISO", "extraiso_allow_reuse", Bool, B(true)),
    later("ISO", "create_optional_isos", Bool, B(false)),
    later("ISO", "create_jigdo", Bool, B(false)),
    later("ISO", "symlink_isos_to", Str, Absent),
    later("ISO", "iso_size", Either(&[Number, Str]), I(4_700_000_000)),
    later("ISO", "split_iso_reserve", Either(&[Number, Str]), I(10 << 20)),
    later("ISO", "iso_level", Either(&[Int, VariantArch(&Int)]), Absent),
    later("ISO", "iso_hfs_ppc64le_compatible", Bool, B(true)),
    later("ISO", "image_name_format", Either(&[Str, Variant(&STRINGS)]), Absent),
    later("ISO", "image_volid_formats", List(&Str), Absent),
    later("ISO", "image_volid_layered_product_formats", List(&Str), Absent),
    later("ISO", "restricted_volid", Bool, B(false)),
    later("ISO", "volume_id_substitutions", Dict(&Str), Default::Dict),
    later("ISO", "extra_isos", Variant(&OneOrList(&Dict(&Any))), Default::Dict),
    on("extra_files", VariantArch(&OneOrList(&Fields(EXTRA_FILE_FIELDS))), L(&[])),
    on("media_checksums", List(&CHECKSUMS), L(&["md5", "sha1", "sha256"])),
    on("media_checksum_one_file", Bool, B(false)),
    on("media_checksum_base_filename", Str, S("")),
    // Images.
    later("images", "global_ksurl", Str, Absent),
    later("images", "global_version", Str, Absent),
    later("images", "global_target", Str, Absent),
    later("images", "global_release", NULL_STR, Absent),
    later("images", "image_build", Variant(&OneOrList(&Dict(&Any))), Default::Dict),
    later("images", "image_build_ksurl", Str, Absent),
    later("images", "image_build_target", Str, Absent),
    later("images", "image_build_release", NULL_STR, Absent),
    later("images", "image_build_version", Str, Absent),
    later("images", "image_build_allow_reuse", Bool, B(false)),
    later("images", "live_media", Variant(&OneOrList(&Dict(&Any))), Default::Dict),
    later("images", "live_media_ksurl", Str, Absent),
    later("images", "live_media_target", Str, Absent),
    later("images", "live_media_release", NULL_STR, Absent),
    later("images", "live_media_version", Str, Absent),
    later("images", "osbuild", Variant(&OneOrList(&Dict(&Any))), Default::Dict),
    later("images", "osbuild_target", Str, Absent),
    later("images", "osbuild_release", NULL_STR, Absent),
    later("images", "osbuild_version", Str, Absent),
    later("images", "kiwibuild", Variant(&OneOrList(&Dict(&Any))), Default::Dict),
    later("images", "kiwibuild_description_scm", Str, Absent),
    later("images", "kiwibuild_description_path", Str, Absent),
    later("images", "kiwibuild_target", Str, Absent),
    later("images", "kiwibuild_release", NULL_STR, Absent),
    later("images", "kiwibuild_type", Str, Absent),
    later("images", "kiwibuild_type_attr", List(&Str), Absent),
    later("images", "kiwibuild_bundle_name_format", Str, Absent),
    later("images", "kiwibuild_version", Str, Absent),
    later("images", "kiwibuild_repo_releasever", Str, Absent),
    later("images", "kiwibuild_use_buildroot_repo", Bool, B(false)),
    later("images", "imagebuilder", Variant(&OneOrList(&Dict(&Any))), Default::Dict),
    later("images", "imagebuilder_target", Str, Absent),
    later("images", "imagebuilder_release", NULL_STR, Absent),
    later("images", "imagebuilder_version", Str, Absent),
    later("images", "imagebuilder_seed", Either(&[Str, Int]), Absent),
    later("images", "imagebuilder_scratch", Bool, B(false)),
    // OSTree.
    later(
        "OSTree",
        "ostree",
        Either(&[Variant(&OneOrList(&Dict(&Any))), VariantArch(&OneOrList(&Dict(&Any)))]),
        Default::Dict,
    ),
    later("OSTree", "ostree_container", Variant(&OneOrList(&Dict(&Any))), Default::Dict),
    later("OSTree", "ostree_installer", VariantArch(&OneOrList(&Dict(&Any))), L(&[])),
    later("OSTree", "ostree_use_koji_plugin", Bool, B(false)),
    later("OSTree", "ostree_installer_use_koji_plugin", Bool, B(false)),
    later("OSTree", "ostree_container_use_koji_plugin", Bool, B(false)),
    later("OSTree", "ostree_installer_overwrite", Bool, B(false)),
    dead("live_images"),
    dead("live_images_ksurl"),
    dead("live_images_target"),
    dead("live_images_release"),
    dead("live_images_version"),
    dead("live_images_no_rename"),
    dead("live_target"),
    dead("signing_key_id"),
    dead("signing_key_password_file"),
    dead("signing_command"),
    dead("osbs"),
    dead("osbs_registries"),
    dead("osbs_allow_reuse"),
    dead("image_container"),
];

/// Returns the option of this name.
pub fn option(name: &str) -> Option<&'static OptionSpec> {
    OPTIONS.iter().find(|spec| spec.name == name)
}

/// Returns the known option whose name looks most like this one, if any is close.
pub fn nearest(name: &str) -> Option<&'static str> {
    if name.len() > 100 {
        return None;
    }
    OPTIONS
        .iter()
        .filter(|spec| spec.status != Status::Dead)
        .map(|spec| (strsim::damerau_levenshtein(name, spec.name), spec.name))
        .min()
        .filter(|(distance, known)| *distance <= 1 + known.len() / 5)
        .map(|(_, known)| known)
}
