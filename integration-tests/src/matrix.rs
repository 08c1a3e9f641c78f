//! The failpoint matrix (bar R1): a compose is killed at each named point, gone on with, and must end as if undisturbed.
//!
//! A clean run tells which points there are ([`survey`]). Each case ([`Case`]) arms one occurrence of one point with
//! `kill` in the process that passes it: `tutti compose` with its embedded store ([`embedded`]), or a controller and a
//! worker as processes of their own ([`pair`]). Points of jobs' processes (`job.*`) are armed for the first attempt of
//! one job. Whatever dies is started again without failpoints, and [`judge`] looks at the end.
//!
//! What only composes pass that fail, are cancelled, lose a worker … is passed by [`scenario`]s.

pub mod embedded;
pub mod judge;
pub mod pair;
pub mod scenario;

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use self::{
    judge::Wanted,
    scenario::{Scenario, Stage},
};
use crate::{
    compose::Compose,
    scratch::{Scratch, read},
    sources,
};

/// Variables of a process.
type Environment = Vec<(String, String)>;

/// The compose's id, the same in every run.
pub const ID: &str = "Matrix-1-20260102.n.0";
/// `SOURCE_DATE_EPOCH` of every run.
pub const EPOCH: &str = "1767312000";
/// What every compose of the matrix is asked for.
pub const FIXED: [&str; 5] = ["--nightly", "--compose-id", ID, "--date", "20260102"];
/// Occurrences of a point that are tried.
const OCCURRENCES: u64 = 3;

/// The process that is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Victim {
    /// `tutti compose`.
    Compose,
    /// A job's process, in `tutti compose`.
    Job,
    /// `tutti controller`.
    Controller,
    /// `tutti worker`.
    Worker,
    /// Who comes after: `tutti retry`, `tutti compose --resume`, the next incarnation of a worker.
    Again,
}

impl Victim {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Compose, Self::Job, Self::Controller, Self::Worker, Self::Again];

    /// The word for the table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Compose => "compose",
            Self::Job => "job",
            Self::Controller => "controller",
            Self::Worker => "worker",
            Self::Again => "again",
        }
    }
}

/// One run to be disturbed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Case {
    /// How the compose is disturbed besides.
    pub scenario: Option<Scenario>,
    /// Name of the point.
    pub point: String,
    /// Who is killed.
    pub victim: Victim,
    /// Which passing of the point, from 1.
    pub occurrence: u64,
    /// The job whose first attempt is meant.
    pub job: Option<String>,
    /// Another worker takes the dead one's place.
    pub replaced: bool,
}

impl Case {
    /// That occurrence of a point, of a compose that is not disturbed besides.
    #[must_use]
    pub fn new(victim: Victim, point: &str, occurrence: u64) -> Self {
        Self { scenario: None, point: point.to_owned(), victim, occurrence, job: None, replaced: false }
    }

    /// Scenario and victim, for people.
    #[must_use]
    pub fn place(&self) -> String {
        let scenario = self.scenario.map(|scenario| format!("{}: ", scenario.as_str()));
        format!("{}{}", scenario.unwrap_or_default(), self.victim.as_str())
    }

    /// The text of `TUTTI_FAILPOINTS`.
    #[must_use]
    pub fn arms(&self) -> String {
        match &self.job {
            Some(job) => format!("{}[{job}#1]=kill", self.point),
            None => format!("{}=kill@{}", self.point, self.occurrence),
        }
    }
}

/// How a case went.
#[derive(Clone, Debug)]
pub struct Result {
    /// What was run.
    pub case: Case,
    /// Whether the point was passed, and somebody killed there.
    pub struck: bool,
    /// What is wrong; nothing for a good run.
    pub wrong: Option<String>,
    /// How long it took.
    pub took: Duration,
}

/// What undisturbed runs are like.
#[derive(Debug)]
pub struct Survey {
    scratch: Scratch,
    config: PathBuf,
    wanted: Wanted,
    /// What scenarios end with.
    wanted_of_two: OnceLock<Wanted>,
    /// How often each point is passed, by scenario and victim.
    pub points: BTreeMap<(Option<Scenario>, Victim, String), u64>,
    /// How long one undisturbed `tutti compose` took.
    pub took: Duration,
}

/// Variants of the distribution that is composed undisturbed.
const VARIANTS: usize = 4;

/// Whether a job's own process passes the point, not the program that started it.
fn of_job(point: &str) -> bool {
    ["job.", "pkgset."].iter().any(|area| point.starts_with(area))
}

/// Makes the distribution, runs it undisturbed in both ways, and lists the points that were passed.
#[must_use]
pub fn survey() -> Survey {
    let mut survey = Survey::empty();
    let begun = Instant::now();
    let log = survey.scratch.join("points.compose");
    let environment = vec![("TUTTI_FAILPOINT_LOG".to_owned(), log.display().to_string())];
    survey.wanted = survey.compose(&survey.config, "undisturbed", &environment);
    survey.took = begun.elapsed();
    survey.count(None, &log, |name| if of_job(name) { Victim::Job } else { Victim::Compose });
    let logs = pair::undisturbed(&survey);
    survey.count(None, &logs[0], |_| Victim::Controller);
    // Points of jobs are passed in the same way in both.
    survey.count(None, &logs[1], |name| if of_job(name) { Victim::Job } else { Victim::Worker });
    survey
}

impl Survey {
    /// One that knows of no points: enough to run cases of scenarios.
    #[must_use]
    pub fn empty() -> Self {
        let scratch = Scratch::new("matrix");
        let config = sources::several_variants(&scratch.join("distribution"), VARIANTS);
        Self {
            scratch,
            config,
            wanted: Wanted::default(),
            wanted_of_two: OnceLock::new(),
            points: BTreeMap::new(),
            took: Duration::ZERO,
        }
    }

    /// Runs each scenario undisturbed, some at a time, and lists the points that they pass.
    pub fn add_scenarios(&mut self, at_once: usize) {
        let found = each(&Scenario::ALL, at_once, |_, scenario| (*scenario, scenario::undisturbed(self, *scenario)));
        for (scenario, logs) in found {
            for (victim, log) in logs {
                self.count(Some(scenario), &log, |name| if of_job(name) { Victim::Job } else { victim });
            }
        }
    }

    /// Composes undisturbed, and says what that came to.
    fn compose(&self, config: &Path, name: &str, environment: &Environment) -> Wanted {
        let directory = self.scratch.join(name);
        let ended = embedded::start(config, &directory, environment).expect(0);
        Wanted::of(&Compose::open(&directory.join(ID)), &judge::jobs_of(&ended.stdout))
    }

    /// The distribution's configuration.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// What each run must come to.
    #[must_use]
    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// A distribution of so many variants.
    fn variants(&self, count: usize) -> PathBuf {
        let directory = self.scratch.join(format!("variants-{count}"));
        let config = directory.join("compose.conf");
        static MAKING: Mutex<()> = Mutex::new(());
        let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        if config.exists() { config } else { sources::several_variants(&directory, count) }
    }

    /// What scenarios must come to that end well.
    fn wanted_of_two(&self) -> &Wanted {
        self.wanted_of_two.get_or_init(|| self.compose(&self.variants(2), "undisturbed-2", &Environment::new()))
    }

    /// A directory for one run.
    #[must_use]
    pub fn directory(&self, name: &str) -> PathBuf {
        let directory = self.scratch.join(name);
        std::fs::create_dir_all(&directory).unwrap_or_else(|error| panic!("cannot make {name}: {error}"));
        directory
    }

    fn count(&mut self, scenario: Option<Scenario>, log: &Path, victim: impl Fn(&str) -> Victim) {
        for line in read(log).lines() {
            let Some((name, occurrence)) = line.split_once(' ') else { continue };
            let count = self.points.entry((scenario, victim(name), name.to_owned())).or_default();
            *count = (*count).max(occurrence.parse().unwrap_or(0));
        }
    }

    /// Distinct names of points.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.points.keys().map(|(_, _, name)| name.clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// All cases: occurrences 1 to 3 of each point in `tutti compose`, three jobs for each point of jobs, for a
    /// controller and a worker the first occurrence and a later one, and occurrences 1 to 3 of what scenarios add.
    #[must_use]
    pub fn cases(&self, seed: u64) -> Vec<Case> {
        let mut random = Random(seed);
        let mut cases = Vec::new();
        for ((scenario, victim, point), count) in &self.points {
            match scenario {
                None => self.undisturbed_cases(*victim, point, *count, &mut random, &mut cases),
                Some(scenario) if self.is_new(*scenario, *victim, point) => {
                    let case = |occurrence| Case { scenario: Some(*scenario), ..Case::new(*victim, point, occurrence) };
                    cases.extend((1..=OCCURRENCES.min(*count)).map(case));
                }
                Some(_) => {}
            }
        }
        cases.sort();
        cases.dedup();
        cases
    }

    /// Whether undisturbed composes do not pass this point, or it means something else in that scenario.
    fn is_new(&self, scenario: Scenario, victim: Victim, point: &str) -> bool {
        let passed = self.points.keys().any(|(scenario, _, known)| scenario.is_none() && known == point);
        victim != Victim::Job && (!passed || scenario.also(victim).iter().any(|also| point.starts_with(also)))
    }

    fn undisturbed_cases(&self, victim: Victim, point: &str, count: u64, random: &mut Random, cases: &mut Vec<Case>) {
        let case = |occurrence| Case::new(victim, point, occurrence);
        match victim {
            Victim::Compose | Victim::Again => {
                cases.extend((1..=OCCURRENCES.min(count)).map(case));
                // One somewhere in the middle, where other jobs run.
                if count > 2 * OCCURRENCES {
                    cases.push(case(OCCURRENCES + 1 + random.below(count - OCCURRENCES - 1)));
                }
            }
            Victim::Job => {
                for _ in 0..OCCURRENCES {
                    let job = self.wanted.jobs.get(random.below(self.wanted.jobs.len() as u64) as usize).cloned();
                    cases.push(Case { job, ..case(1) });
                }
            }
            Victim::Controller | Victim::Worker => {
                cases.push(case(1));
                if count > 1 {
                    let replaced = victim == Victim::Worker && random.below(8) == 0;
                    cases.push(Case { replaced, ..case(2 + random.below(count - 1)) });
                }
            }
        }
    }

    /// Runs one case.
    #[must_use]
    pub fn run(&self, number: usize, case: &Case) -> Result {
        let begun = Instant::now();
        let directory = self.directory(&format!("case-{number}"));
        // Helpers panic when something is not as it must be.
        let run = AssertUnwindSafe(|| match (case.scenario, case.victim) {
            (Some(scenario), _) => scenario.run(&Stage::new(self, scenario, &directory, Some(case))),
            (None, Victim::Controller | Victim::Worker) => pair::run(self, case, &directory),
            (None, _) => embedded::run(self, case, &directory),
        });
        let (struck, wrong) = match catch_unwind(run) {
            Ok(Ok(struck)) => (struck, None),
            Ok(Err(wrong)) => (true, Some(wrong)),
            Err(panic) => (true, Some(text_of(&*panic))),
        };
        if wrong.is_none() {
            let _ = std::fs::remove_dir_all(&directory);
        }
        Result { case: case.clone(), struck, wrong, took: begun.elapsed() }
    }

    /// Runs cases, some at a time; `done` hears of each as it ends.
    pub fn run_all(&self, cases: &[Case], at_once: usize, done: impl Fn(&Result) + Sync) -> Vec<Result> {
        each(cases, at_once, |number, case| {
            let result = self.run(number, case);
            done(&result);
            result
        })
    }
}

/// Does something with each item, on so many threads; the results in the order in which they came.
fn each<T: Sync, R: Send>(items: &[T], at_once: usize, work: impl Fn(usize, &T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..at_once.max(1) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(number) else { break };
                    let result = work(number, item);
                    results.lock().unwrap_or_else(PoisonError::into_inner).push(result);
                }
            });
        }
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

/// Numbers from a seed (splitmix64).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// A number below the limit.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit.max(1)
    }
}
