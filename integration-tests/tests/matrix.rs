//! R1, a seeded sample of the failpoint matrix. All of it is a command of its own: docs/testing.md.

use tutti_integration_tests::matrix::{self, Case, Random, Victim};

/// Points that one run passes at least.
const LEAST: usize = 60;
/// Cases of each kind.
const SAMPLE: [(Victim, usize); 4] =
    [(Victim::Compose, 4), (Victim::Job, 1), (Victim::Controller, 1), (Victim::Worker, 1)];

#[test]
fn r1_killed_at_a_sample_of_failpoints_a_compose_ends_as_if_undisturbed() {
    let seed = std::env::var("TUTTI_MATRIX_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let survey = matrix::survey();
    let names = survey.names();
    assert!(names.len() >= LEAST, "{} points: {names:?}", names.len());
    assert!(survey.jobs.len() >= 40, "{} jobs: {:?}", survey.jobs.len(), survey.jobs);
    let (mut random, all) = (Random(seed), survey.cases(seed));
    let mut cases: Vec<Case> = Vec::new();
    for (victim, count) in SAMPLE {
        // First occurrences are passed in every run.
        let mut of: Vec<&Case> = all.iter().filter(|case| case.victim == victim && case.occurrence == 1).collect();
        for _ in 0..count.min(of.len()) {
            cases.push(of.swap_remove(random.below(of.len() as u64) as usize).clone());
        }
    }
    let results = survey.run_all(&cases, 2, |_| {});
    for result in &results {
        println!("{} in {}: {:.1} s", result.case.arms(), result.case.victim.as_str(), result.took.as_secs_f64());
    }
    let wrong = results.iter().filter_map(|result| Some((result.case.arms(), result.wrong.as_ref()?)));
    let wrong: Vec<_> = wrong.map(|(arms, wrong)| format!("{arms}: {wrong}")).collect();
    assert!(wrong.is_empty(), "seed {seed}\n{}", wrong.join("\n\n"));
    let idle: Vec<_> = results.iter().filter(|result| !result.struck).map(|result| result.case.arms()).collect();
    assert!(idle.is_empty(), "nobody was killed at {idle:?}");
}
