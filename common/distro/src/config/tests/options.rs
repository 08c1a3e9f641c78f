//! Names, types and rules of options, as the user sees them.

use super::{Files, errors};
use crate::config::{OPTIONS, Status, nearest, option};

#[test]
fn names_are_known_once() {
    let mut names: Vec<&str> = OPTIONS.iter().map(|spec| spec.name).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(count >= 175, "{count} options");
}

#[test]
fn defaults_have_the_right_shape() {
    for spec in OPTIONS {
        let Some(value) = spec.default.to_value() else { continue };
        let mut errors = Vec::new();
        assert!(spec.shape.check(spec.name, &value, &mut errors), "{errors:?}");
    }
}

#[test]
fn required_options_are_named_together() {
    let report = Files::new(&[("c.conf", "")]).check("c.conf");
    insta::assert_snapshot!(report.errors.join("\n"), @r#"
    gather_method: missing in c.conf; expected one of "deps", "nodeps", "hybrid", or a dictionary {variant expression: value}
    pkgset_source: missing in c.conf; expected one of "repos", "koji"
    release_name: missing in c.conf; expected a string
    release_short: missing in c.conf; expected a string
    release_version: missing in c.conf; expected a string
    variants_file: missing in c.conf; expected a string, or a dictionary with the keys scm, repo, branch, file, dir, command, options
    "#);
}

#[test]
fn wrong_types_name_file_line_and_option() {
    let text = r#"release_internal = "yes"
release_version = 35
release_type = "beta"
tree_arches = "x86_64"
tree_variants = [1]
hashed_directories = 1
createrepo_num_threads = -1
createrepo_num_workers = 0
translate_paths = [('/a', 'b', 'c')]
sigkeys = [1]
skip_phases = ["createisos"]
comps_file = {"scm": "git", "repos": "x", "file": "comps.xml"}
additional_packages = {"*": ["a"]}
filter_packages = [("^(?!Server)", {"*": 5})]
multilib = [("^.*$", {"x86_64": ["development"]})]
multilib_blacklist = [("a", "b")]
gather_method = {"^Server$": {"comps": "dnf"}}
repoclosure_strictness = [("^.*$", "lenient")]
media_checksums = ["crc32"]
extra_files = [("^.*$", {"*": [{"scm": "file"}]})]
createiso_max_size = 5
"#;
    insta::assert_snapshot!(errors(text).join("\n"), @r#"
    c.conf:9: release_internal: expected True or False, found the string "yes"
    c.conf:10: release_version: expected a string, found the number 35; write it in quotes
    c.conf:11: release_type: expected one of "fast", "ga", "updates", "updates-testing", "eus", "aus", "els", "tus", "e4s", found the string "beta"
    c.conf:12: tree_arches: expected a list, each item a string, found the string "x86_64"
    c.conf:13: tree_variants: expected a string, found the number 1; write it in quotes
    c.conf:14: hashed_directories: expected True or False, found the number 1
    c.conf:15: createrepo_num_threads: expected a whole number, found the number -1
    c.conf:16: createrepo_num_workers: expected a number from 1 on
    c.conf:17: translate_paths: expected a pair of strings, found a tuple of 3
    c.conf:18: sigkeys: expected a string or None, found the number 1
    c.conf:19: skip_phases: expected a known name, found the string "createisos"; did you mean "createiso"?
    c.conf:20: comps_file: unknown key "repos"; known are scm, repo, branch, file, dir, command, options
    c.conf:21: additional_packages: expected a list of pairs (variant expression, {arch or "*": value}), found a dictionary of 1
    c.conf:22: filter_packages: regular expression "^(?!Server)": look-ahead is not supported; list the wanted variants, e.g. ^(Server|Client)$
    c.conf:22: filter_packages: expected a string or a list of such, found the number 5
    c.conf:23: multilib: expected one of "none", "all", "devel", "runtime", found the string "development"
    c.conf:24: multilib_blacklist: expected a dictionary, found a list of 1
    c.conf:25: gather_method: expected one of "deps", "nodeps", found the string "dnf"
    c.conf:26: repoclosure_strictness: expected {arch or "*": value} after the variant expression, found the string "lenient"
    c.conf:27: media_checksums: expected one of "md5", "sha1", "sha256", "sha512", found the string "crc32"
    c.conf:28: extra_files: expected one of the keys "file" and "dir"
    c.conf:29: createiso_max_size: expected a list of pairs (variant expression, {arch or "*": value}), found the number 5
    "#);
}

#[test]
fn rules_between_options() {
    let text = r#"base_product_name = "Base"
pkgset_koji_tag = "f42"
cts_url = "https://cts.example.com/"
product_id_allow_missing = True
lorax_options = [("^.*$", {"*": {"noupgrade": True}})]
media_checksum_one_file = True
variant_as_lookaside = [["A", "B"], ["B", "C"], ["C", "B"]]
gather_backend = "yum"
pkgset_scratch_modules = {"^Server$": ["a:1:2:3"]}
"#;
    insta::assert_snapshot!(errors(text).join("\n"), @r#"
    c.conf:9: base_product_short: missing; a layered product needs the base product's name, short and version
    c.conf:9: base_product_version: missing; a layered product needs the base product's name, short and version
    c.conf:10: pkgset_koji_tag: cannot be combined with pkgset_source = "repos"
    c.conf:11: cts_url: needs translate_paths, which is not set
    c.conf:12: product_id_allow_missing: needs product_id, which is not set
    c.conf:13: lorax_options: needs buildinstall_method, which is not set
    c.conf:14: media_checksum_one_file: needs exactly one type in media_checksums, e.g. media_checksums = ["sha256"]
    c.conf:15: variant_as_lookaside: variant B becomes its own lookaside
    c.conf:16: gather_backend: "yum" no longer exists; remove the option
    c.conf:17: pkgset_scratch_modules: needs mbs_api_url, which is not set
    "#);
    insta::assert_snapshot!(errors("pkgset_source = 'koji'").join("\n"), @r#"
    c.conf:7: pkgset_repos: cannot be combined with pkgset_source = "koji"
    c.conf:9: pkgset_source: "koji" comes with a later release; use "repos" with pkgset_repos
    "#);
    insta::assert_snapshot!(errors("pkgset_repos = {}").join("\n"), @r#"c.conf:6: pkgset_repos: missing; pkgset_source = "repos" needs it: {arch or "*": repositories}"#);
    insta::assert_snapshot!(errors("gather_method = 'hybrid'").join("\n"), @r#"c.conf:9: gather_method: "hybrid" is not supported yet; supported are "deps" and "nodeps""#);
    insta::assert_snapshot!(errors("gather_method = {'^.*$': 'hybrid'}").join("\n"), @r#"c.conf:9: gather_method: "hybrid" is not supported yet; supported are "deps" and "nodeps""#);
}

#[test]
fn values_that_lead_outside() {
    let text = r#"release_short = "../x"
release_name = ""
tree_arches = ["x86_64", "../etc"]
extra_files = [("^.*$", {"*": [
    {"scm": "file", "repo": None, "file": "a", "target": "../../etc"},
    {"scm": "file", "repo": "x", "file": "a", "target": "/etc"},
    {"scm": "git", "repo": None, "file": "a"},
    {"scm": "cvs", "repo": "x", "file": "a"},
    {"scm": "git", "repo": "x"},
]})]
comps_file = {"scm": "git", "repo": "x", "dir": "d"}
variants_file = ""
"#;
    insta::assert_snapshot!(errors(text).join("\n"), @r#"
    c.conf:9: release_short: expected a text without blanks and slashes, found "../x"
    c.conf:10: release_name: expected a text, found an empty string
    c.conf:11: tree_arches: expected an architecture, found the string "../etc"
    c.conf:13: extra_files: target "../../etc" must stay inside the tree
    c.conf:14: extra_files: scm file takes no key "repo"
    c.conf:14: extra_files: target "/etc" must stay inside the tree
    c.conf:15: extra_files: scm git needs the key "repo"
    c.conf:16: extra_files: scm "cvs" is not supported; supported are file and git
    c.conf:17: extra_files: expected one of the keys "file" and "dir"
    c.conf:19: comps_file: expected one file: key "file" with a path
    c.conf:20: variants_file: expected a path, found an empty string
    "#);
}

#[test]
fn options_without_effect_are_reported_once_per_group() {
    let text = r#"createiso_max_size = [("^.*$", {"*": 5})]
create_jigdo = False
create_optional_isos = True
image_build = {"^Server$": [{"image-build": {}}]}
koji_profile = "x"
runroot = True
live_images = []
relase_type = "ga"
gather_metod = "deps"
something_else_entirely = 1
"#;
    let report = Files::minimal(text).check("c.conf");
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    insta::assert_snapshot!(report.unsupported.join("\n"), @r#"
    not supported yet (ISO): create_optional_isos, createiso_max_size, ignored
    not supported yet (Koji): koji_profile, ignored
    not supported yet (images): image_build, ignored
    "#);
    insta::assert_snapshot!(report.warnings.join("\n"), @r#"
    c.conf:14: runroot: no longer has any effect, ignored
    c.conf:15: live_images: no longer has any effect, ignored
    c.conf:16: relase_type: unknown option, ignored; did you mean release_type?
    c.conf:17: gather_metod: unknown option, ignored; did you mean gather_method?
    c.conf:18: something_else_entirely: unknown option, ignored
    "#);
}

#[test]
fn values_that_change_nothing() {
    let report = Files::minimal("createrepo_c = False\ncreaterepo_database = True\n").check("c.conf");
    insta::assert_snapshot!(report.warnings.join("\n"), @r#"c.conf:9: createrepo_c: False has no effect: repositories are always written in the same way"#);
}

#[test]
fn garbage_is_not_repeated_without_end() {
    let text = format!("additional_packages = [{}]", "1, ".repeat(100_000));
    assert!(errors(&text).len() <= 201);
    let patterns = format!("additional_packages = [{}]", "('a', {}), ".repeat(20_000));
    assert_eq!(errors(&patterns), ["c.conf:9: additional_packages: more than 10000 variant expressions"]);
    let unknown: String = (0..50_000).map(|i| format!("name_{i} = 1\n")).collect();
    assert_eq!(Files::minimal(&unknown).check("c.conf").warnings.len(), 50_000);
}

#[test]
fn nearest_names() {
    assert_eq!(nearest("relase_name"), Some("release_name"));
    assert_eq!(nearest("comps_files"), Some("comps_file"));
    assert_eq!(nearest("xyzzy"), None);
    assert_eq!(nearest(&"x".repeat(100_000)), None);
    assert_eq!(option("live_images").map(|spec| spec.status), Some(Status::Dead));
}

#[test]
fn createrepo_arguments_are_honoured_or_refused_by_name() {
    insta::assert_snapshot!(errors("createrepo_extra_args = ['--zck', '--zck-dict-dir=/usr/share']").join("\n"), @"c.conf:9: createrepo_extra_args: createrepo_c argument --zck is not supported; remove it from createrepo_extra_args");
    insta::assert_snapshot!(errors("createrepo_extra_args = ['--general-compress-type=lzma']").join("\n"), @r#"c.conf:9: createrepo_extra_args: --general-compress-type needs gz, bz2, xz or zstd, found "lzma""#);
    insta::assert_snapshot!(errors("createrepo_extra_args = ['--distro']").join("\n"), @"c.conf:9: createrepo_extra_args: --distro needs a value");
    insta::assert_snapshot!(errors("createrepo_extra_args = ['--changelog-limit', 'x']").join("\n"), @r#"c.conf:9: createrepo_extra_args: --changelog-limit needs a whole number, found "x""#);
}
