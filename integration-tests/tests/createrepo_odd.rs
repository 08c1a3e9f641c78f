//! `createrepo_c` and ours on packages that no builder of today makes: old tags, many languages, large lists, odd texts.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

use std::fs;

use tutti_integration_tests::{
    createrepo::{Keep, assert_equal, files, has_reference, ours, theirs},
    odd_rpms,
    scratch::Scratch,
};

#[test]
fn odd_packages_have_the_metadata_of_createrepo_c() {
    if !has_reference() {
        return;
    }
    let scratch = Scratch::new("odd");
    // More seeds find more: TUTTI_ODD_SEEDS=100.
    let seeds = std::env::var("TUTTI_ODD_SEEDS").ok().map_or(4, |text| text.parse().unwrap());
    for seed in 1..=seeds {
        let packages = scratch.join("packages");
        odd_rpms::write(&packages, seed, 60).unwrap();
        for (who, tool) in [("theirs", theirs as fn(&str, &[&str], &std::path::Path) -> _), ("ours", ours)] {
            fs::create_dir(scratch.join(who)).unwrap();
            let pinned = ["-q", "--revision=1", "--set-timestamp-to-revision", "--simple-md-filenames"];
            let _ = tool("createrepo_c", &[&pinned[..], &["-o", who, "packages"]].concat(), scratch.path()).expect(0);
        }
        let read = |who: &str| files(&scratch.join(who), Keep::Times);
        let expected = read("theirs");
        assert_eq!(expected["primary.xml.zst"].matches("<package ").count(), 60);
        assert_equal(&format!("seed {seed}"), &expected, &read("ours"));
        for directory in ["packages", "theirs", "ours"] {
            fs::remove_dir_all(scratch.join(directory)).unwrap();
        }
    }
}
