//! Distributions with the names and dependencies of a real one.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

use tutti_integration_tests::{compose::Run, corpus, judges, scratch::Scratch};

type Variants<'a> = [(&'a str, &'a [&'a str])];

const VARIANTS: &Variants<'_> =
    &[("Everything", &[]), ("Server", &[]), ("Server-HighAvailability", &["Server"]), ("Workstation", &[])];

fn compose_corpus(name: &str, sources: u32, arches: &str) {
    let scratch = Scratch::new(name);
    let Some(config) = corpus::make(&scratch.join("corpus"), sources, arches) else { return };
    let (compose, _) = Run::default().compose(&config, &scratch.join("composes"), 0);
    judges::check_all(&compose, &[&scratch.join("corpus/repos")], VARIANTS, &["bash", "coreutils"]);
}

#[test]
fn sixty_sources_for_two_architectures() {
    compose_corpus("corpus-b", 60, "x86_64,aarch64");
}

/// 41,000 packages: minutes, so only where `TUTTI_CORPUS_LARGE=1` asks for it.
#[test]
fn two_thousand_sources_for_four_architectures() {
    if std::env::var("TUTTI_CORPUS_LARGE").as_deref() != Ok("1") {
        eprintln!("skipped: the large corpus takes minutes; TUTTI_CORPUS_LARGE=1 runs it");
        return;
    }
    compose_corpus("corpus-c", 2000, "x86_64,aarch64,ppc64le,s390x");
}
