//! `--only`, `--skip`, phases, and specs that are refused.

use super::{check, edges, fixture, named, planned, spec, variant};
use crate::{
    plan::{PlanError, phase_patterns, plan},
    spec::ComposeSpec,
};

fn with(only: &[&str], skip: &[&str]) -> ComposeSpec {
    let list = |patterns: &[&str]| patterns.iter().map(|&pattern| pattern.to_owned()).collect();
    ComposeSpec { only: list(only), skip: list(skip), ..spec() }
}

fn names(spec: &ComposeSpec) -> Vec<String> {
    planned(spec).jobs.iter().map(|job| job.name.to_string()).collect()
}

fn refused(spec: &ComposeSpec) -> String {
    plan(spec).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn only_keeps_what_is_needed() {
    assert_eq!(
        names(&with(&["createrepo.Work.x86_64"], &[])),
        [
            "pkgset.repos",
            "solve.Server.aarch64",
            "solve.Server.x86_64",
            "solve.Work.x86_64",
            "trim.Work.x86_64",
            "createrepo.Work.x86_64",
        ]
    );
    assert_eq!(names(&with(&["pkgset.lookaside*"], &[])), ["pkgset.lookaside-1"]);
    assert_eq!(names(&with(&["metadata"], &[])).len(), planned(&spec()).jobs.len());
}

#[test]
fn skipping_drops_waits_and_what_has_no_input_left() {
    let whole = planned(&spec());
    let (plan_without, report) = plan(&with(&[], &["repoclosure"])).unwrap();
    let gone = whole.matching("repoclosure").count();
    assert_eq!((plan_without.jobs.len(), report.left_out.len()), (whole.jobs.len() - gone, gone));
    assert!(!edges(&plan_without, "metadata").iter().any(|edge| edge.starts_with("repoclosure")));

    let (part, report) = plan(&with(&[], &["createrepo"])).unwrap();
    assert_eq!(check(&part), []);
    assert_eq!(part.matching("tree-info").count(), 0, "it reads repodata");
    assert!(part.matching("repoclosure").count() > 0, "it only waited for createrepo");
    assert!(part.matching("metadata").count() > 0);
    let tree_info = report.left_out.iter().find(|left| left.job.to_string() == "tree-info.Work.x86_64").unwrap();
    assert_eq!(tree_info.reason, "needs createrepo.Work.x86_64, which is left out");

    let (part, _) = plan(&with(&[], &["solve.Server.aarch64"])).unwrap();
    assert_eq!(check(&part), []);
    assert_eq!(edges(&part, "link.Server.src"), ["trim.Server.x86_64@C"], "sources of what there is");
    assert_eq!(part.matching("*.Work").count(), 0, "Work leans on all arches of Server");

    let (part, _) = plan(&with(&[], &["extra-files"])).unwrap();
    assert_eq!(part.matching("checksum").count(), 0);
}

#[test]
fn nonsense_is_refused_with_a_hint() {
    assert!(refused(&with(&["createrpo"], &[])).contains("kinds: pkgset solve"));
    let error = refused(&with(&["createrepo.Sever"], &[]));
    assert!(error.contains("it has createrepo.Everything"), "{error}");
    assert!(refused(&with(&["link"], &["pkgset"])).contains("--only and --skip together"));
    assert!(refused(&with(&[], &["*"])).contains("nothing is left to do"));
    let report = plan(&with(&[], &["link.Nobody"])).unwrap().1;
    assert!(report.notes.iter().any(|note| note.contains("leaves out nothing")));
}

#[test]
fn specs_that_cannot_be_are_refused() {
    let changed = |change: &dyn Fn(&mut ComposeSpec)| {
        let mut spec = spec();
        change(&mut spec);
        refused(&spec)
    };
    assert!(changed(&|spec| spec.format = 99).contains("format 99"));
    assert!(changed(&|spec| spec.variants[0].arches.clear()).contains("is_empty"));
    assert!(changed(&|spec| spec.variants[0].uid = "../etc".into()).contains("cannot be used"));
    assert!(changed(&|spec| spec.variants[0].uid = "Server".into()).contains("two jobs"));
    assert!(changed(&|spec| spec.variants[3].parent = Some("Nobody".into())).contains("parent \"Nobody\""));
    assert!(
        changed(&|spec| spec.variants.push(variant("R", "R", "variant", None, &["riscv64"])))
            .contains("no package source has that arch")
    );
    assert!(
        changed(&|spec| spec.variants.push(variant("R", "R", "variant", None, &["src"]))).contains("cannot be used")
    );
    assert!(changed(&|spec| spec.sources.push(fixture::source("repos", &[], false))).contains("two jobs"));
    assert!(changed(&|spec| spec.variant_lookasides.push(("Work".into(), "Nobody".into()))).contains("does not exist"));
    let circle = changed(&|spec| spec.variant_lookasides.push(("Server".into(), "Work".into())));
    assert!(circle.contains("solve.Work.x86_64 → solve.Server"), "{circle}");
    assert!(changed(&|spec| (spec.variants.clear(), spec.variant_lookasides.clear()).0).contains("no variant"));
}

#[test]
fn phases_are_patterns() {
    assert_eq!(phase_patterns(&["gather", "init"]).unwrap(), ["link", "solve", "trim"]);
    assert_eq!(phase_patterns(&["createiso", "buildinstall"]).unwrap(), [""; 0]);
    let error = phase_patterns(&["gathr"]).unwrap_err();
    assert!(
        matches!(error, PlanError::Phase { .. })
            && ["extra_files", "repoclosure", "productimg"].iter().all(|name| error.to_string().contains(name))
    );
}

#[test]
fn base_names_take_both_styles_of_keys() {
    let mut spec = spec();
    spec.options.media_checksum_base_filename = "%(release_short)s-{variant}-%(arch)s-{type_suffix}{nonsense}".into();
    let plan = planned(&spec);
    let params: tutti_job::params::ChecksumParams =
        serde_json::from_str(&named(&plan, "checksum.Server.x86_64").params_json).unwrap();
    assert_eq!(params.base_name, "T-Server-x86_64-.t{nonsense}");
}
