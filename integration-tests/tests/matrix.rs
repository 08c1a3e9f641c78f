//! R1, a seeded sample of the failpoint matrix. All of it is a command of its own: docs/testing.md.

use tutti_integration_tests::matrix::{self, Case, Random, Survey, Victim, scenario::Scenario};

/// Points that one run passes at least.
const LEAST: usize = 60;
/// Cases of each kind.
const SAMPLE: [(Victim, usize); 4] =
    [(Victim::Compose, 4), (Victim::Job, 1), (Victim::Controller, 1), (Victim::Worker, 1)];
/// Points of composes that are disturbed besides. All scenarios but two that wait, for a lease and for a worker that has
/// no answer.
const DISTURBED: [(Scenario, Victim, &str); 10] = [
    (Scenario::Failed, Victim::Compose, "engine.store.failed.after"),
    (Scenario::Cancelled, Victim::Again, "engine.store.retry.after"),
    (Scenario::Unverified, Victim::Compose, "engine.store.verify-failed.after"),
    (Scenario::CancelledInParts, Victim::Compose, "engine.store.between"),
    (Scenario::ResumedInParts, Victim::Again, "engine.store.loaded.before"),
    (Scenario::Resumed, Victim::Again, "engine.store.worker-lost.after"),
    (Scenario::FarmCancelled, Victim::Controller, "engine.store.killed.before"),
    (Scenario::Unanswered, Victim::Controller, "engine.store.accept-timed-out.after"),
    (Scenario::Rejected, Victim::Worker, "worker.offer.rejected"),
    (Scenario::Inherited, Victim::Controller, "engine.store.worker-lost.before"),
];

/// Runs the cases: each must be struck, and end as it should.
fn judge(survey: &Survey, cases: &[Case]) {
    let results = survey.run_all(cases, 2, |_| {});
    for result in &results {
        println!("{} in {}: {:.1} s", result.case.arms(), result.case.place(), result.took.as_secs_f64());
    }
    let wrong = results.iter().filter_map(|result| Some((result.case.arms(), result.wrong.as_ref()?)));
    let wrong: Vec<_> = wrong.map(|(arms, wrong)| format!("{arms}: {wrong}")).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    let idle: Vec<_> = results.iter().filter(|result| !result.struck).map(|result| result.case.arms()).collect();
    assert!(idle.is_empty(), "nobody was killed at {idle:?}");
}

#[test]
fn r1_killed_at_a_sample_of_failpoints_a_compose_ends_as_if_undisturbed() {
    let seed = std::env::var("TUTTI_MATRIX_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let survey = matrix::survey();
    let (names, jobs) = (survey.names(), &survey.wanted().jobs);
    assert!(names.len() >= LEAST, "{} points: {names:?}", names.len());
    assert!(jobs.len() >= 40, "{} jobs: {jobs:?}", jobs.len());
    let (mut random, all) = (Random(seed), survey.cases(seed));
    let mut cases: Vec<Case> = Vec::new();
    for (victim, count) in SAMPLE {
        // First occurrences are passed in every run.
        let mut of: Vec<&Case> = all.iter().filter(|case| case.victim == victim && case.occurrence == 1).collect();
        for _ in 0..count.min(of.len()) {
            cases.push(of.swap_remove(random.below(of.len() as u64) as usize).clone());
        }
    }
    println!("seed {seed}");
    judge(&survey, &cases);
}

#[test]
fn r1_killed_while_it_fails_or_is_cancelled_or_loses_a_worker_it_ends_as_it_would() {
    let case =
        |(scenario, victim, point): &(_, _, &str)| Case { scenario: Some(*scenario), ..Case::new(*victim, point, 1) };
    let cases: Vec<Case> = DISTURBED.iter().map(case).collect();
    judge(&Survey::empty(), &cases);
}
