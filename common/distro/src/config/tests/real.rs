//! Configurations that are in use.

use super::{Files, shared};
use crate::config::{GatherMethod, GatherSource, check, load_document};

/// Form of the configurations that the test corpus generator writes.
const CORPUS: &str = r#"
# Repos flavour: run createrepo_c in each directory below repos/ first.
release_name = "Corpus"
release_short = "Corpus"
release_version = "99"
release_type = "ga"

variants_file = "variants-repos.xml"
comps_file = "comps.xml"
sigkeys = ["a15b79cc", None]
hashed_directories = True

tree_arches = ['x86_64', 'aarch64']
gather_method = {
    "^Everything$": {"comps": "nodeps", "module": "nodeps"},
    "^.*$": {"comps": "deps", "module": "nodeps"},
}
greedy_method = "build"
check_deps = False
multilib = [
    ("^.*$", {"x86_64": ["devel", "runtime"]}),
]
multilib_blacklist = {"*": ["kernel*", "*-debuginfo", "*-debugsource"]}
additional_packages = [
    ("^Everything$", {"*": ["*"]}),
]
filter_packages = [
    ("^(Server|Workstation)$", {"*": ["*-javadoc"]}),
]
createrepo_c = True
createrepo_checksum = "sha256"
createrepo_use_xz = False
create_jigdo = False
repoclosure_strictness = [
    ("^Everything$", {"*": "lenient"}),
    ("^.*$", {"*": "lenient"}),
]
create_optional_isos = False
skip_phases = ["buildinstall", "createiso"]

pkgset_source = "repos"
pkgset_repos = {
    "x86_64": ["repos/x86_64", "repos/x86_64-debug", "repos/source"],
    "aarch64": ["repos/aarch64", "repos/aarch64-debug", "repos/source"],
}
"#;

#[test]
fn the_corpus_loads_without_a_remark() {
    let files = Files::new(&[("compose-repos.conf", CORPUS)]);
    let loaded = files.load("compose-repos.conf").expect("valid");
    assert_eq!(loaded.warnings, []);
    let settings = loaded.settings;
    assert_eq!(settings.pkgset.repos.lists("aarch64").len(), 3);
    assert_eq!(settings.pkgset.sigkeys, [Some("a15b79cc".to_owned()), None]);
    // The last expression that matches counts, so the first entry has no effect.
    let method = settings.gather.method.method("Everything", GatherSource::Comps);
    assert_eq!(method, Some(GatherMethod::Deps));
}

#[test]
fn ultramarine() {
    let Some(shared) = shared() else { return };
    let directory = shared.join("rpms/metadata/pungi/ultramarine");
    for (name, version) in [("um35", "35"), ("um36", "36"), ("um36-updates", "36")] {
        let path = directory.join(format!("{name}.conf"));
        let document = load_document(&path, &[]).unwrap_or_else(|e| super::fail(name, &e));
        assert_eq!(document.options["release_version"].as_str(), Some(version));
        assert_eq!(document.options["koji_profile"].as_str(), Some("uml-compose"));
        assert_eq!(document.files.len(), 2);
        // Only what needs Koji stands in the way.
        let report = check(&path);
        let errors: Vec<&String> = report.errors.iter().collect();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].contains("common.conf:11: pkgset_source: \"koji\" comes with"), "{errors:?}");
        assert!(report.warnings.is_empty(), "{:?}", report.warnings);
        assert!(report.unsupported.iter().any(|line| line.contains("koji_profile")));
    }
    let document = load_document(&directory.join("um35.conf"), &[]).expect("read above");
    let substitutions = document.options["volume_id_substitutions"].to_json();
    assert_eq!(substitutions["GNOME"], "G", "missing comma before it");
}

#[test]
fn bodhi() {
    let Some(shared) = shared() else { return };
    let directory = shared.join("rpms/metadata/pungi/bodhi");
    let general = check(&directory.join("pungi_general.conf"));
    assert!(
        general.errors.iter().all(|error| error.contains("missing") || error.contains("koji")),
        "{:?}",
        general.errors
    );
    assert_eq!(general.warnings.len(), 1, "{:?}", general.warnings);
    assert!(general.warnings[0].contains("release_is_layered: no longer has any effect"));
    let multilib = load_document(&directory.join("pungi_multilib.conf"), &[]).expect("plain");
    let blacklist = multilib.options["multilib_blacklist"].to_json();
    assert!(blacklist["*"].as_array().is_some_and(|list| list.len() > 15));
    // Templates are no configurations before they are filled in.
    let template = check(&directory.join("pungi.rpm.conf.j2"));
    assert_eq!(template.errors.len(), 1, "{:?}", template.errors);
}
