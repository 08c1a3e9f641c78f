//! The committed corpora and a fixed number of mutations of them, each target in a child process with limits. The seed
//! is fixed and printed; `TUTTI_FUZZ_SEED` and `TUTTI_FUZZ_CASES` change what is tried.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests may panic")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use tutti_bounded::{Limits, peak_below};
use tutti_fuzz_targets::{Mutator, TARGETS, corpus, corpus_directory, seeds, target};

const LIMITS: Limits = Limits { address_space_mib: 1024, time: Duration::from_secs(120) };
/// Mutations of each target.
const CASES: u64 = 10_000;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn replay_and_mutate(test: &str) {
    peak_below(test, 160, LIMITS, || {
        let target = target(test).unwrap();
        let (seed, cases) = (number("TUTTI_FUZZ_SEED", 20_261_123), number("TUTTI_FUZZ_CASES", CASES));
        println!("{test}: seed {seed}, {cases} cases");
        let attempt = |name: &str, input: &[u8]| {
            catch_unwind(AssertUnwindSafe(|| (target.run)(input))).unwrap_or_else(|_| {
                let path = std::env::temp_dir().join(format!("tutti-fuzz-{test}.bin"));
                std::fs::write(&path, input).unwrap();
                panic!("{test}: {name} with seed {seed} fails; the input is {}", path.display());
            })
        };
        let inputs = corpus(target).unwrap();
        assert!(!inputs.is_empty(), "no corpus");
        let mut mutator = Mutator::new(target, inputs.iter().map(|(_, bytes)| bytes.clone()).collect(), seed);
        for (name, input) in &inputs {
            let signature = attempt(name, input);
            mutator.learn(input, signature);
        }
        for case in 0..cases {
            let input = mutator.input();
            let signature = attempt(&format!("case {case}"), &input);
            mutator.learn(&input, signature);
        }
        println!("{test}: {} inputs kept", mutator.kept());
        assert!(mutator.kept() > inputs.len(), "no mutation changed the answer");
    });
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            replay_and_mutate(stringify!($name));
        })*

        /// A target that is added must be added here too.
        #[test]
        fn every_target_is_tested() {
            let tested = [$(stringify!($name)),*];
            assert_eq!(TARGETS.iter().map(|target| target.name).collect::<Vec<_>>(), tested);
        }
    };
}

targets!(rpm_header primary filelists other repomd compressed comps variants conf dependency sealed_records checkpoints records protocol job_messages);

/// The committed corpora are what `--write-corpus` writes, and small.
#[test]
fn corpora_hold_the_seeds() {
    for target in TARGETS {
        let inputs = corpus(target).unwrap();
        for (name, bytes) in seeds::of(target.name).unwrap() {
            let committed = inputs.iter().find(|(committed, _)| committed == name);
            assert!(
                committed.is_some_and(|(_, committed)| *committed == bytes),
                "{}/{name}: run --write-corpus",
                target.name
            );
        }
        let size: usize = inputs.iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(size < 32 * 1024, "{} has {size} bytes", target.name);
        // And each is a program for cargo-fuzz.
        let program = corpus_directory().join(format!("../fuzz_targets/{}.rs", target.name));
        assert!(program.is_file(), "{}", program.display());
    }
}

/// The same seed gives the same inputs, and another one others.
#[test]
fn mutations_repeat() {
    let inputs = |seed| {
        let mut mutator = Mutator::new(&TARGETS[1], vec![b"<metadata/>".to_vec()], seed);
        (0..200).map(|_| mutator.input()).collect::<Vec<_>>()
    };
    assert_eq!(inputs(1), inputs(1));
    assert_ne!(inputs(1), inputs(2));
}
