//! Real RPMs of many distributions and rpm versions, that no one here wrote.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

use std::collections::BTreeSet;

use tutti_integration_tests::{
    compose::{Run, jobs},
    judges::{self, Judged},
    real_rpms,
    scratch::Scratch,
    skip,
    stream::text,
};

#[test]
fn the_readable_ones_make_a_compose() {
    let Some(set) = skip::shared("rpms") else { return };
    let scratch = Scratch::new("real");
    let config = real_rpms::distribution(&set, &scratch.join("real"));
    let (compose, events) = Run::default().compose(&config, &scratch.join("composes"), 0);
    let variants = [
        Judged { uid: "Server", helpers: &[], install: &["fox", "one-epoch", "kernel-headers"] },
        Judged { uid: "Everything", helpers: &[], install: &["wolf", "one-epoch", "kernel-headers"] },
    ];
    judges::check_all(&compose, &[&scratch.join("real/rpms")], &variants);
    // Everything is everything: each chosen binary package is in one of its repositories.
    let places: BTreeSet<String> =
        compose.rpms().iter().filter_map(|path| path.rsplit_once('/')).map(|(_, name)| name.to_owned()).collect();
    let chosen = real_rpms::chosen(&set);
    let missing: Vec<&String> = chosen
        .iter()
        .filter(|(nvra, row)| !row.source && !places.contains(&format!("{nvra}.rpm")))
        .map(|(nvra, _)| nvra)
        .collect();
    assert!(missing.is_empty(), "{} of {} are not in the tree: {missing:?}", missing.len(), chosen.len());
    // Some of the files have names that their headers contradict, and that is said.
    let all = jobs(events.last().unwrap());
    let warnings: Vec<&str> = all
        .iter()
        .filter(|(name, _)| name.starts_with("pkgset"))
        .flat_map(|(_, job)| job["warnings"].as_array())
        .flatten()
        .filter_map(|w| w.as_str())
        .collect();
    assert!(!warnings.is_empty(), "{:?}", all.keys().map(|name| (name, text(&all[name], "state"))).collect::<Vec<_>>());
}
