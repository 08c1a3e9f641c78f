//! The failpoint matrix (bar R1): a compose is killed at each named point, gone on with, and must end as if undisturbed.
//!
//! A clean run tells which points there are ([`survey`]). Each case ([`Case`]) arms one occurrence of one point with
//! `kill` in the process that passes it: `tutti compose` with its embedded store ([`embedded`]), or a controller and a
//! worker as processes of their own ([`pair`]). Points of jobs' processes (`job.*`) are armed for the first attempt of
//! one job. Whatever dies is started again without failpoints, and [`judge`] looks at the end.

pub mod embedded;
pub mod judge;
pub mod pair;

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    compose::Compose,
    scratch::{Scratch, read},
    sources,
    tree::{self, Entry},
};

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
}

impl Victim {
    /// The word for the table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Compose => "compose",
            Self::Job => "job",
            Self::Controller => "controller",
            Self::Worker => "worker",
        }
    }
}

/// One run to be disturbed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Case {
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
    /// The tree that every run must end with.
    pub tree: BTreeMap<String, Entry>,
    /// Names of all jobs.
    pub jobs: Vec<String>,
    /// How often each point is passed, by victim.
    pub points: BTreeMap<(Victim, String), u64>,
    /// How long one undisturbed `tutti compose` took.
    pub took: Duration,
}

/// Whether a job's own process passes the point, not the program that started it.
fn of_job(point: &str) -> bool {
    ["job.", "pkgset."].iter().any(|area| point.starts_with(area))
}

/// Makes the distribution, runs it undisturbed in both ways, and lists the points that were passed.
#[must_use]
pub fn survey() -> Survey {
    let scratch = Scratch::new("matrix");
    let config = sources::several_variants(&scratch.join("distribution"), 5);
    let begun = Instant::now();
    let directory = scratch.join("undisturbed");
    let log = scratch.join("points.compose");
    let ended = embedded::start(&config, &directory, &[("TUTTI_FAILPOINT_LOG", &log.display().to_string())]).expect(0);
    let took = begun.elapsed();
    let compose = Compose::open(&directory.join(ID));
    let jobs = judge::jobs_of(&ended.stdout).into_keys().collect();
    let tree = tree::snapshot(&compose.tree(""));
    let mut survey = Survey { scratch, config, tree, jobs, points: BTreeMap::new(), took };
    survey.count(&log, |name| if of_job(name) { Victim::Job } else { Victim::Compose });
    let logs = pair::undisturbed(&survey);
    survey.count(&logs[0], |_| Victim::Controller);
    // Points of jobs are passed in the same way in both.
    survey.count(&logs[1], |name| if of_job(name) { Victim::Job } else { Victim::Worker });
    survey
}

impl Survey {
    /// The distribution's configuration.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// A directory for one run.
    #[must_use]
    pub fn directory(&self, name: &str) -> PathBuf {
        let directory = self.scratch.join(name);
        std::fs::create_dir_all(&directory).unwrap_or_else(|error| panic!("cannot make {name}: {error}"));
        directory
    }

    fn count(&mut self, log: &Path, victim: impl Fn(&str) -> Victim) {
        for line in read(log).lines() {
            let Some((name, occurrence)) = line.split_once(' ') else { continue };
            let count = self.points.entry((victim(name), name.to_owned())).or_default();
            *count = (*count).max(occurrence.parse().unwrap_or(0));
        }
    }

    /// Distinct names of points.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.points.keys().map(|(_, name)| name.clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// All cases: occurrences 1 to 3 of each point in `tutti compose`, three jobs for each point of jobs, and for a
    /// controller and a worker the first occurrence and a later one.
    #[must_use]
    pub fn cases(&self, seed: u64) -> Vec<Case> {
        let mut random = Random(seed);
        let mut cases = Vec::new();
        for ((victim, point), count) in &self.points {
            let case =
                |occurrence| Case { point: point.clone(), victim: *victim, occurrence, job: None, replaced: false };
            match victim {
                Victim::Compose => {
                    cases.extend((1..=OCCURRENCES.min(*count)).map(case));
                    // One somewhere in the middle, where other jobs run.
                    if *count > 2 * OCCURRENCES {
                        cases.push(case(OCCURRENCES + 1 + random.below(count - OCCURRENCES - 1)));
                    }
                }
                Victim::Job => {
                    for _ in 0..OCCURRENCES {
                        let job = self.jobs.get(random.below(self.jobs.len() as u64) as usize).cloned();
                        cases.push(Case { job, ..case(1) });
                    }
                }
                Victim::Controller | Victim::Worker => {
                    cases.push(case(1));
                    if *count > 1 {
                        let replaced = *victim == Victim::Worker && random.below(8) == 0;
                        cases.push(Case { replaced, ..case(2 + random.below(count - 1)) });
                    }
                }
            }
        }
        cases.sort();
        cases.dedup();
        cases
    }

    /// Runs one case.
    #[must_use]
    pub fn run(&self, number: usize, case: &Case) -> Result {
        let begun = Instant::now();
        let directory = self.directory(&format!("case-{number}"));
        // Helpers panic when something is not as it must be.
        let run = AssertUnwindSafe(|| match case.victim {
            Victim::Compose | Victim::Job => embedded::run(self, case, &directory),
            Victim::Controller | Victim::Worker => pair::run(self, case, &directory),
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
        let next = AtomicUsize::new(0);
        let results = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..at_once.max(1) {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let Some(case) = cases.get(number) else { break };
                        let result = self.run(number, case);
                        done(&result);
                        results.lock().unwrap_or_else(PoisonError::into_inner).push(result);
                    }
                });
            }
        });
        results.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
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
