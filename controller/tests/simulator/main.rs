//! Seeded schedules of the whole pure core, and the bars that they show. See `sim/mod.rs`.

mod sim;

use sim::{Fate, Profile, Regressions, Sabotage, Summary, World, chain_of, independent, run_seed};
use tutti_controller::lifecycle::{AttemptResult, FailureClass, JobState, Status};

/// Schedules of one run of the tests; `TUTTI_SIM_SEEDS` sets another number.
const SEEDS: u64 = 1000;

fn assert_good(seed: u64, summary: &Summary) {
    let wrong = summary.wrong.join("\n  ");
    if !wrong.is_empty() {
        println!("{}", summary.history);
    }
    assert!(summary.wrong.is_empty(), "seed {seed}\n  {wrong}");
}

/// Seeds that failed once.
#[test]
fn regressions_stay_mended() {
    let regressions = Regressions::load();
    assert!(!regressions.seeds().is_empty());
    for seed in regressions.seeds() {
        assert_good(*seed, &run_seed(*seed));
    }
}

/// Who finds a seed that fails notes it; each once, and not all of many.
#[test]
fn seeds_that_fail_are_noted() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("regressions");
    std::fs::write(&path, "# Seeds\n\n42 lost\n").expect("written");
    let mut regressions = Regressions::at(path.clone());
    for seed in [42, 7, 7, 8, 9, 10, 11, 12] {
        let _ = regressions.add(seed, &["I1 twice\nmore".to_owned(), "else".to_owned()]);
    }
    let text = std::fs::read_to_string(&path).expect("read");
    assert_eq!(text.lines().nth(3), Some("7 I1 twice"), "{text}");
    assert_eq!(Regressions::at(path).seeds(), [42, 7, 8, 9, 10, 11]);
}

/// I1–I7 hold in any schedule, and everything ends as if undisturbed. The sum shows that the schedules are rough.
#[test]
fn r1_r2_every_schedule_ends_as_if_undisturbed() {
    let seeds = std::env::var("TUTTI_SIM_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SEEDS);
    let mut sum = sim_sum();
    for seed in 0..seeds {
        let summary = run_seed(seed);
        if !summary.wrong.is_empty() {
            println!("seed {seed}: {}", Regressions::load().add(seed, &summary.wrong));
        }
        assert_good(seed, &summary);
        sum.add(&summary);
    }
    println!("{sum:?}");
    if seeds >= SEEDS {
        assert!(
            sum.stale > 10 && sum.poisoned > 10 && sum.holes > 10 && sum.late_accepted > 10 && sum.late_refused > 10,
            "{sum:?}"
        );
        assert!(sum.retries > 10 && sum.epochs > seeds && sum.commits > seeds, "{sum:?}");
    }
}

#[derive(Debug, Default)]
struct Sum {
    events: u64,
    epochs: u64,
    stale: u64,
    poisoned: u64,
    late_accepted: u64,
    late_refused: u64,
    retries: u64,
    commits: u64,
    holes: u64,
}

fn sim_sum() -> Sum {
    Sum::default()
}

impl Sum {
    fn add(&mut self, summary: &Summary) {
        let counts = &summary.counts;
        self.events += counts.events;
        self.epochs += u64::from(counts.epochs);
        self.stale += u64::from(counts.stale);
        self.poisoned += u64::from(counts.poisoned);
        self.late_accepted += u64::from(counts.late_accepted);
        self.late_refused += u64::from(counts.late_refused);
        self.retries += u64::from(counts.retries);
        self.commits += u64::from(counts.commits);
        self.holes += u64::from(counts.holes);
    }
}

fn calm(workers: usize, controllers: usize, longest_job_ms: i64) -> Profile {
    Profile { workers, controllers, batch_size: 96, longest_job_ms, ..Profile::default() }
}

/// A controller that is stopped for 30 s while it works, and goes on while another leads.
fn deposed(seed: u64, compares_nothing: bool) -> (u32, Summary) {
    let mut world = World::new(seed, calm(3, 2, 4_000), chain_of(12), vec![Fate::Good; 12]);
    world.store.compares_nothing = compares_nothing;
    world.be_careless();
    let busy = |world: &World| world.stored().is_some_and(|c| c.numbered().any(|(_, r)| r.state == JobState::Running));
    assert!(world.run_until(60_000, busy));
    // Stopped between turn and transaction, where looking at the clock does not help.
    let storing = |world: &World| world.leader().is_some_and(|(_, engine)| engine.is_storing());
    assert!(world.run_until(60_000, storing));
    let number = world.leader().map(|(number, _)| number).expect("it leads");
    world.pause_controller(number, 30_000);
    let before = world.store.stale;
    assert!(world.run_until(120_000, |world| world.now > 45_000));
    let stale = world.store.stale - before;
    (stale, if compares_nothing { world.judge() } else { world.finish() })
}

#[test]
fn r4_a_deposed_controller_makes_no_effective_write() {
    let mut refused = 0;
    for seed in 0..40 {
        let (stale, summary) = deposed(seed, false);
        assert_good(seed, &summary);
        assert_eq!(summary.counts.epochs, 2, "the other one took over");
        refused += stale;
    }
    assert!(refused >= 40, "each one tried to write: {refused}");
}

/// The same without the comparison of the leader key: the checker sees it.
#[test]
fn r4_a_store_that_compares_nothing_is_caught() {
    let caught = (0..8).filter(|seed| deposed(*seed, true).1.wrong.iter().any(|text| text.starts_with("I2"))).count();
    assert!(caught >= 6, "{caught} of 8");
}

/// A run with lost workers and a failure, in which something is broken.
fn broken(seed: u64, sabotage: Option<Sabotage>, forgets: i64) -> Summary {
    let profile = Profile { fault_every_ms: 5_000, quiet_at: 60_000, ..calm(3, 2, 8_000) };
    let mut fates = vec![Fate::Good; 16];
    fates[3] = Fate::Broken;
    let mut world = World::new(seed, profile, independent(16), fates);
    world.sabotage = sabotage;
    world.store.forgets = forgets;
    world.run_until(600_000, |world| world.now > 300_000);
    world.judge()
}

/// Whatever is broken, the checker of the history says so, and names the invariant.
#[test]
fn i1_to_i7_broken_engines_are_caught() {
    for (sabotage, invariant) in [
        (Sabotage::CommitsTwice, "I1 "),
        (Sabotage::ForgetsLostWorkers, "I3 "),
        (Sabotage::ChangesPublished, "I4 "),
        (Sabotage::ForgetsLeases, "I5 "),
        (Sabotage::CommitsUnverified, "I6 "),
        (Sabotage::SkipsUnrelated, "I7 "),
    ] {
        let caught = |seed: &u64| broken(*seed, Some(sabotage), 0).wrong.iter().any(|text| text.starts_with(invariant));
        let caught = (0..8).filter(caught).count();
        assert!(caught >= 4, "{sabotage:?}: {caught} of 8");
    }
    let caught = |seed: &u64| broken(*seed, None, 9).wrong.iter().any(|text| text.starts_with("Durable "));
    let caught = (0..8).filter(caught).count();
    assert!(caught >= 4, "a store that forgets: {caught} of 8");
    // And nothing is found where nothing is broken.
    // But that a job which shared three ends of workers with the poison fails until it is retried: nobody retries here.
    let wrong = |seed| broken(seed, None, 0).wrong.into_iter().filter(|text| !text.contains("tries lost its worker"));
    let wrong: Vec<String> = (0..8).flat_map(wrong).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// Somebody takes away what a job made, while others go on; `sabotage` tells of the engine.
fn holed(seed: u64, sabotage: Option<Sabotage>) -> Summary {
    let mut world = World::new(seed, calm(2, 1, 4_000), chain_of(6), vec![Fate::Good; 6]);
    world.sabotage = sabotage;
    let made = |world: &World| world.stored().is_some_and(|c| c.jobs[0].state == JobState::Published);
    assert!(world.run_until(60_000, made));
    world.take_from_tree();
    assert_eq!(world.taken.len(), 1);
    world.finish()
}

/// It is missed before the compose is called finished, put back, and the compose ends.
#[test]
fn r1_a_compose_with_a_hole_is_not_called_finished() {
    for seed in 0..8 {
        let summary = holed(seed, None);
        assert_good(seed, &summary);
        assert_eq!((summary.counts.holes, summary.counts.retries), (1, 1));
        let wrong = holed(seed, Some(Sabotage::NeverLooks)).wrong;
        assert!(wrong.iter().any(|text| text.contains("is published, but the tree has None")), "{wrong:?}");
    }
}

/// A worker is cut off with its only job; `hands` says whether somebody else is there to take it.
fn zombie(seed: u64, workers: usize, away_ms: i64) -> (World, u32) {
    let mut world = World::new(seed, calm(workers, 1, 20_000), chain_of(1), vec![Fate::Good]);
    let running = |world: &World| world.stored().is_some_and(|compose| compose.jobs[0].state == JobState::Running);
    assert!(world.run_until(60_000, running));
    let holder = world.holder_of(0).expect("somebody runs it");
    world.cut(holder, 0, away_ms, false);
    let started = world.counts.started;
    (world, started)
}

/// Back within the lease: the fence is current, and the result counts.
#[test]
fn r7_a_zombies_result_is_accepted_while_its_fence_is_current() {
    for seed in 0..40 {
        let (world, started) = zombie(seed, 2, 7_000);
        let summary = world.finish();
        assert_good(seed, &summary);
        assert_eq!(summary.counts.started, started, "seed {seed}: nobody ran it again");
        assert_eq!(summary.counts.commits, 1);
    }
}

/// Away for a minute: another ran the job, and the late result is refused and swept up.
#[test]
fn r7_a_zombies_result_is_refused_once_another_attempt_has_begun() {
    let mut refused = 0;
    for seed in 0..40 {
        let (mut world, started) = zombie(seed, 2, 60_000);
        let now = world.now;
        assert!(!world.run_until(now + 100_000, |_| false));
        assert!(world.staged.is_empty(), "seed {seed}: staging of {:?} is left", world.staged.keys());
        let record = world.stored().expect("stored").jobs[0].clone();
        let summary = world.finish();
        assert_good(seed, &summary);
        assert!(summary.counts.started > started, "seed {seed}: another ran it");
        assert_eq!(record.attempts[0].result, AttemptResult::Lost);
        refused += summary.counts.late_refused;
    }
    assert!(refused >= 20, "{refused} of 40 came back with a result");
}

/// A job that kills its workers ends after three tries on two workers, with its history. No job that ran beside it shares
/// its end.
#[test]
fn r8_a_poison_job_ends_after_three_tries_on_two_workers() {
    for seed in 0..100 {
        let mut fates = vec![Fate::Good; 12];
        fates[5] = Fate::Poison;
        let mut world = World::new(seed, calm(2, 1, 3_000), independent(12), fates);
        let failed = |world: &World| world.stored().is_some_and(|compose| compose.is_ended());
        assert!(world.run_until(600_000, failed), "seed {seed}");
        let compose = world.stored().expect("stored");
        let record = &compose.jobs[5];
        assert_eq!((record.state, record.class), (JobState::Failed, Some(FailureClass::Poisoned)), "seed {seed}");
        let lost: Vec<_> = record.attempts.iter().filter(|attempt| attempt.result == AttemptResult::Lost).collect();
        assert_eq!((lost.len(), record.losses), (3, 3), "seed {seed}");
        let blamed = compose.jobs.iter().filter(|record| record.state == JobState::Failed).count();
        assert_eq!(blamed, 1, "seed {seed}: a job that only stood beside it is not blamed");
        let workers: std::collections::BTreeSet<_> = lost.iter().map(|attempt| &attempt.worker_id).collect();
        assert_eq!(workers.len(), 2, "seed {seed}");
        assert!(record.reason.contains("w0") && record.reason.contains("w1"), "{}", record.reason);
        assert_eq!(compose.header.status, Status::Doomed);
        assert_good(seed, &world.finish());
    }
}

/// With one worker there is no other to try.
#[test]
fn r8_a_poison_job_ends_with_a_single_worker_too() {
    let mut world = World::new(7, calm(1, 1, 1_000), independent(1), vec![Fate::Poison]);
    assert!(world.run_until(600_000, |world| world.stored().is_some_and(|compose| compose.is_ended())));
    assert_eq!(world.stored().expect("stored").jobs[0].class, Some(FailureClass::Poisoned));
    assert_good(7, &world.finish());
}

/// A failure is stored with the first transaction after its report, and what needs the job is skipped with it.
#[test]
fn r11_a_failure_and_its_skips_are_one_transaction() {
    let mut fates = vec![Fate::Good; 6];
    fates[2] = Fate::Broken;
    let mut world = World::new(3, calm(2, 1, 1_000), chain_of(6), fates);
    let seen = |world: &World| world.stored().is_some_and(|compose| compose.jobs[2].state == JobState::Failed);
    assert!(world.run_until(60_000, seen));
    let compose = world.stored().expect("stored");
    let skipped = |job: &u32| compose.jobs[*job as usize].state == JobState::Skipped { because: 2 };
    assert!((3..6).all(|job| skipped(&job)), "{:?}", compose.jobs);
    assert_eq!(compose.header.status, Status::Doomed);
}
