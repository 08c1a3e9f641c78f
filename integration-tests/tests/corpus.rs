//! Distributions with the names and dependencies of a real one.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

use tutti_integration_tests::{
    compose::Run,
    corpus,
    judges::{self, Judged},
    scratch::Scratch,
};

const VARIANTS: [Judged<'_>; 8] = [
    judged("Cloud", &[]),
    judged("Everything", &[]),
    judged("Labs", &[]),
    judged("Server", &[]),
    judged("Server-HighAvailability", &["Server"]),
    judged("Server-optional", &["Server"]),
    judged("Spins", &[]),
    judged("Workstation", &[]),
];

const fn judged<'a>(uid: &'a str, helpers: &'a [&'a str]) -> Judged<'a> {
    Judged { uid, helpers, install: &["bash", "coreutils"] }
}

fn compose_corpus(name: &str, sources: u32, arches: &str) {
    let scratch = Scratch::new(name);
    let Some(config) = corpus::make(&scratch.join("corpus"), sources, arches) else { return };
    let (compose, _) = Run::default().compose(&config, &scratch.join("composes"), 0);
    judges::check_all(&compose, &[&scratch.join("corpus/repos")], &VARIANTS);
}

#[test]
fn sixty_sources_for_two_architectures() {
    compose_corpus("corpus-b", 60, "x86_64,aarch64");
}

/// 41,000 packages.
#[test]
#[ignore = "takes minutes: a command of its own, see docs/testing.md"]
fn two_thousand_sources_for_four_architectures() {
    compose_corpus("corpus-c", 2000, "x86_64,aarch64,ppc64le,s390x");
}
