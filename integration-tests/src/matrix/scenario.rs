//! Composes that are disturbed on purpose, and killed on top of that: most transitions of a lifecycle happen only then.
//!
//! Each scenario is a script that waits for states: what it arms and whom it starts is the same in each run, and so is
//! what it must come to, also where [`Stage::strike`] kills one of its processes at one of its points.

use std::{
    collections::VecDeque,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use super::{
    Case, Environment, ID, Survey, Victim, embedded, judge,
    pair::{Pair, any_attempt},
};
use crate::{
    compose::{Compose, jobs},
    program::{Ended, run as run_command, tutti},
    scratch,
    stream::text,
};

/// The job that fails, or that is held while others look at the compose.
const JOB: &str = "createrepo.V1.x86_64";
/// The first job of each compose.
const FIRST: &str = "pkgset.repos";
/// Where [`JOB`]'s output is published, in the tree.
const TARGET: &str = "V1/x86_64/os/repodata";

/// How a compose is disturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scenario {
    /// Each attempt at a job fails: tried again, DOOMED, what needs it skipped; then retried.
    Failed,
    /// Cancelled while a job runs: TERMINATED; then retried.
    Cancelled,
    /// What a job made is not found as it was reported: tried again.
    Unverified,
    /// What a job made cannot be moved into the tree, as a file stands there: DOOMED; then a directory does, and it is
    /// retried.
    Unpublished,
    /// More jobs than one transaction holds are cancelled at once.
    CancelledInParts,
    /// As before, but killed between two of these transactions, and gone on with.
    ResumedInParts,
    /// `tutti compose` is killed and gone on with: the worker that it had is lost with it.
    Resumed,
    /// Cancelled at a controller, and retried there.
    FarmCancelled,
    /// A worker does not answer an offer; another is given the job; the first one answers then.
    Unanswered,
    /// A worker refuses its offers; another takes them.
    Rejected,
    /// A worker is killed with an outcome in its journal and a job that runs: its next incarnation delivers the one, and
    /// the other is given away.
    Inherited,
    /// A worker is killed for good: its lease ends.
    Gone,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Failed,
        Self::Cancelled,
        Self::Unverified,
        Self::Unpublished,
        Self::CancelledInParts,
        Self::ResumedInParts,
        Self::Resumed,
        Self::FarmCancelled,
        Self::Unanswered,
        Self::Rejected,
        Self::Inherited,
        Self::Gone,
    ];

    /// The word for the table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Unverified => "unverified",
            Self::Unpublished => "unpublished",
            Self::CancelledInParts => "cancelled-in-parts",
            Self::ResumedInParts => "resumed-in-parts",
            Self::Resumed => "resumed",
            Self::FarmCancelled => "farm-cancelled",
            Self::Unanswered => "unanswered",
            Self::Rejected => "rejected",
            Self::Inherited => "inherited",
            Self::Gone => "gone",
        }
    }

    /// Variants of the distribution: twelve have more jobs than one transaction holds.
    fn variants(self) -> usize {
        match self {
            Self::CancelledInParts | Self::ResumedInParts => 12,
            _ => 2,
        }
    }

    /// Points that undisturbed composes pass too, and that mean something else here.
    #[must_use]
    pub fn also(self, victim: Victim) -> &'static [&'static str] {
        match (self, victim) {
            (Self::Failed | Self::Cancelled, Victim::Compose | Victim::Again) => &[
                "engine.store.end",
                "engine.effect.status",
                "engine.effect.finish",
                "volume.write_status",
                "publish.sweep",
            ],
            (Self::Resumed, Victim::Again) => {
                &["controller.store", "controller.elected", "controller.engine", "embedded.bound"]
            }
            (Self::Inherited, Victim::Controller) => &["session.received.hello"],
            (Self::Inherited, Victim::Again) => &[
                "worker.receive.welcome",
                "worker.send.outcome",
                "worker.receive.commit",
                "worker.journal",
                "worker.forget",
            ],
            _ => &[],
        }
    }

    /// Runs it; whether its strike hit.
    ///
    /// # Errors
    /// What is wrong at the end.
    pub fn run(self, stage: &Stage<'_>) -> Result<bool, String> {
        match self {
            Self::Failed => stage.failed(),
            Self::Unpublished => stage.unpublished(),
            Self::Cancelled => stage.cancelled(),
            Self::Unverified => {
                let (ended, killed) =
                    stage.compose(stage.environments(Victim::Compose, "publish.verify.before=error@3"))?;
                stage.good(&ended)?;
                Ok(killed > 0)
            }
            Self::CancelledInParts => stage.cancelled_in_parts(),
            Self::ResumedInParts => stage.resumed_in_parts(),
            Self::Resumed => stage.resumed(),
            Self::FarmCancelled => stage.farm_cancelled(),
            Self::Unanswered => stage.unanswered(),
            Self::Rejected => stage.rejected(),
            Self::Inherited => stage.inherited(),
            Self::Gone => stage.gone(),
        }
    }
}

/// Where one run of a scenario takes place.
#[derive(Debug)]
pub struct Stage<'a> {
    survey: &'a Survey,
    scenario: Scenario,
    directory: PathBuf,
    /// Who is killed where; nobody in the run that tells which points there are.
    strike: Option<&'a Case>,
}

impl<'a> Stage<'a> {
    /// One in this directory, which must be new.
    #[must_use]
    pub fn new(survey: &'a Survey, scenario: Scenario, directory: &Path, strike: Option<&'a Case>) -> Self {
        Self { survey, scenario, directory: directory.to_owned(), strike }
    }

    /// Where the processes of that kind write the points that they pass, in an undisturbed run.
    #[must_use]
    pub fn log(&self, victim: Victim) -> PathBuf {
        self.directory.join(format!("points.{}", victim.as_str()))
    }

    fn config(&self) -> PathBuf {
        self.survey.variants(self.scenario.variants())
    }

    fn target(&self) -> PathBuf {
        self.directory.join("target")
    }

    /// A file that lets held processes go on.
    fn go(&self) -> PathBuf {
        self.directory.join("go")
    }

    /// Arms that hold a job until [`Self::go`] is there.
    fn hold(&self, job: &str) -> String {
        format!("job.run.before[{job}]=pause-file({})", self.go().display())
    }

    fn release(&self) {
        scratch::write(&self.go(), "");
    }

    /// Variables of a process's lives: a victim has one more than others.
    fn lives(&self, victim: Victim, arms: &str) -> Vec<Environment> {
        let armed = |arms: String| vec![("TUTTI_FAILPOINTS".to_owned(), arms)];
        let calm = armed(arms.to_owned());
        match self.strike {
            None => {
                let log = ("TUTTI_FAILPOINT_LOG".to_owned(), self.log(victim).display().to_string());
                vec![calm.into_iter().chain([log]).collect()]
            }
            Some(case) if case.victim == victim => vec![armed(format!("{arms};{}", case.arms())), calm],
            Some(_) => vec![calm],
        }
    }

    /// The same, one after another; the last over and over.
    fn environments(&self, victim: Victim, arms: &str) -> impl FnMut() -> Environment + use<> {
        let mut lives = VecDeque::from(self.lives(victim, arms));
        move || if lives.len() > 1 { lives.pop_front() } else { lives.front().cloned() }.unwrap_or_default()
    }

    fn compose(&self, environment: impl FnMut() -> Environment) -> Result<(Ended, usize), String> {
        embedded::compose(&self.config(), &self.target(), environment, run_command)
    }

    /// A compose in which something is done once that job runs, which is held; in each process anew.
    fn compose_until(
        &self,
        job: &str,
        environment: impl FnMut() -> Environment,
        then: impl Fn(),
    ) -> Result<(Ended, usize), String> {
        let attend = |command: Command| {
            let mut seen = false;
            embedded::attended(command, &self.directory, |written| {
                if !seen && runs(written, job) {
                    seen = true;
                    then();
                }
            })
        };
        embedded::compose(&self.config(), &self.target(), environment, attend)
    }

    /// Cancels from another process. It fails if the program is killed meanwhile; the next one is cancelled then.
    fn cancel(&self) {
        let mut command = tutti(["cancel", ID, "--target-dir"]);
        command.arg(self.target());
        let _ = run_command(command);
    }

    fn good(&self, ended: &Ended) -> Result<(), String> {
        if ended.status != 0 {
            return Err(ended.text());
        }
        self.judge(&judge::jobs_of(&ended.stdout))
    }

    fn judge(&self, jobs: &std::collections::BTreeMap<String, Value>) -> Result<(), String> {
        judge::judge(self.survey.wanted_of_two(), &Compose::open(&self.target().join(ID)), jobs)
    }

    fn bad(&self, status: &str, jobs: &std::collections::BTreeMap<String, Value>) -> Result<(), String> {
        judge::judge_bad_end(&Compose::open(&self.target().join(ID)), status, jobs)
    }

    /// A compose that ends with 1, and that status.
    fn bad_end(&self, status: &str, ended: &Ended) -> Result<(), String> {
        if ended.status != 1 {
            return Err(ended.text());
        }
        self.bad(status, &judge::jobs_of(&ended.stdout))
    }

    fn retried(&self) -> Result<usize, String> {
        let (ended, killed) = embedded::retry(&self.target(), self.environments(Victim::Again, ""))?;
        self.good(&ended)?;
        Ok(killed)
    }

    fn failed(&self) -> Result<bool, String> {
        let arms = format!("job.run.before[{JOB}]=error");
        let (ended, killed) = self.compose(self.environments(Victim::Compose, &arms))?;
        self.bad_end("DOOMED", &ended)?;
        Ok(killed + self.retried()? > 0)
    }

    fn unpublished(&self) -> Result<bool, String> {
        let obstacle = self.target().join(ID).join("compose").join(TARGET);
        let environment = self.environments(Victim::Compose, &self.hold(JOB));
        let (ended, killed) = self.compose_until(JOB, environment, || {
            scratch::write(&obstacle, "");
            self.release();
        })?;
        self.bad_end("DOOMED", &ended)?;
        // What can be moved aside is.
        fs::remove_file(&obstacle).map_err(|error| format!("cannot remove {}: {error}", obstacle.display()))?;
        scratch::write(&obstacle.join("foreign"), "");
        Ok(killed + self.retried()? > 0)
    }

    fn cancelled(&self) -> Result<bool, String> {
        let environment = self.environments(Victim::Compose, &self.hold(JOB));
        let (ended, killed) = self.compose_until(JOB, environment, || self.cancel())?;
        self.bad_end("TERMINATED", &ended)?;
        Ok(killed + self.retried()? > 0)
    }

    fn cancelled_in_parts(&self) -> Result<bool, String> {
        let environment = self.environments(Victim::Compose, &self.hold(FIRST));
        let (ended, killed) = self.compose_until(FIRST, environment, || self.cancel())?;
        self.bad_end("TERMINATED", &ended)?;
        Ok(killed > 0)
    }

    fn resumed_in_parts(&self) -> Result<bool, String> {
        let arms = format!("{};engine.store.between=kill", self.hold(FIRST));
        let mut first = Some(vec![("TUTTI_FAILPOINTS".to_owned(), arms)]);
        let mut further = self.environments(Victim::Again, &self.hold(FIRST));
        let environment = || first.take().unwrap_or_else(&mut further);
        let (ended, killed) = self.compose_until(FIRST, environment, || self.cancel())?;
        self.bad_end("TERMINATED", &ended)?;
        self.provoked(killed)
    }

    fn resumed(&self) -> Result<bool, String> {
        let mut first = Some(vec![("TUTTI_FAILPOINTS".to_owned(), "engine.store.committed.after=kill@3".to_owned())]);
        let mut further = self.environments(Victim::Again, "");
        let (ended, killed) = self.compose(|| first.take().unwrap_or_else(&mut further))?;
        self.good(&ended)?;
        self.provoked(killed)
    }

    /// Whether the strike hit beside the kill that belongs to the scenario.
    fn provoked(&self, killed: usize) -> Result<bool, String> {
        if killed == 0 { Err("the kill of the scenario itself did not happen".to_owned()) } else { Ok(killed > 1) }
    }

    fn farm(&self, further: &[&str], worker: Vec<Environment>) -> Result<Pair, String> {
        let mut pair = Pair::start(&self.directory, self.lives(Victim::Controller, ""));
        pair.add_worker(further, worker);
        pair.submit(&self.config(), &self.target())?;
        Ok(pair)
    }

    fn farm_is_good(&self, pair: &mut Pair) -> Result<(), String> {
        let shown = pair.follow()?;
        pair.finish()?;
        self.judge(&jobs(&shown))
    }

    fn farm_cancelled(&self) -> Result<bool, String> {
        let mut pair = self.farm(&[], self.lives(Victim::Worker, &self.hold(JOB)))?;
        pair.until("the held job runs", |show| jobs(show).get(JOB).is_some_and(|job| text(job, "state") == "running"))?;
        while pair.attended(&["cancel", ID])?.status != 0 && text(&pair.show()?, "status") != "TERMINATED" {}
        let shown = pair.follow()?;
        self.bad("TERMINATED", &jobs(&shown))?;
        self.release();
        loop {
            let retried = pair.attended(&["retry", "--format", "json", ID])?;
            let shown = pair.show()?;
            if retried.status == 0 || shown["active"] == true {
                break;
            }
            // Whoever died, the retry was stored or was not.
            if text(&shown, "status") != "TERMINATED" {
                return Err(retried.text());
            }
        }
        self.farm_is_good(&mut pair)?;
        Ok(pair.killed() > 0)
    }

    fn unanswered(&self) -> Result<bool, String> {
        let arms = format!("worker.receive.offer=pause-file({})@1", self.go().display());
        let mut pair = self.farm(&[], self.lives(Victim::Worker, &arms))?;
        pair.until("an offer goes unanswered", |show| any_attempt(show, "never-started"))?;
        pair.add_worker(&[], vec![Environment::new()]);
        self.release();
        self.farm_is_good(&mut pair)?;
        Ok(pair.killed() > 0)
    }

    fn rejected(&self) -> Result<bool, String> {
        // To this worker the compose's directory is one that it works in for nobody.
        let map = format!("{}=/", self.target().join(ID).display());
        let mut pair = self.farm(&["--map", &map], self.lives(Victim::Worker, ""))?;
        pair.until("an offer is rejected", |show| any_attempt(show, "never-started"))?;
        pair.add_worker(&[], vec![Environment::new()]);
        self.farm_is_good(&mut pair)?;
        Ok(pair.killed() > 0)
    }

    fn inherited(&self) -> Result<bool, String> {
        // By its fourth outcome the held job runs, which becomes ready with the third job.
        let arms = format!("{};worker.journal.put.after=kill@4", self.hold("solve.V1.x86_64"));
        let mut lives = vec![vec![("TUTTI_FAILPOINTS".to_owned(), arms)]];
        lives.extend(self.lives(Victim::Again, ""));
        let mut pair = self.farm(&[], lives)?;
        self.farm_is_good(&mut pair)?;
        self.provoked(pair.killed())
    }

    fn gone(&self) -> Result<bool, String> {
        let hold = vec![("TUTTI_FAILPOINTS".to_owned(), self.hold(JOB))];
        let mut pair = self.farm(&[], vec![hold, Environment::new()])?;
        pair.until("the held job runs", is_running)?;
        pair.replace_worker();
        self.farm_is_good(&mut pair)?;
        self.provoked(pair.killed())
    }
}

/// Whether [`JOB`] runs.
fn is_running(show: &Value) -> bool {
    jobs(show).get(JOB).is_some_and(|job| text(job, "state") == "running")
}

/// Whether a stream says that the job runs.
fn runs(written: &str, job: &str) -> bool {
    // The last line may be half written.
    let events = written.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events.into_iter().any(|event| text(&event, "name") == job && text(&event, "state") == "running")
}

/// Runs a scenario undisturbed, in a directory of its own; the logs of points of those that may be killed.
#[must_use]
pub fn undisturbed(survey: &Survey, scenario: Scenario) -> Vec<(Victim, PathBuf)> {
    let directory = survey.directory(scenario.as_str());
    let stage = Stage::new(survey, scenario, &directory, None);
    let ended = scenario.run(&stage);
    ended.unwrap_or_else(|wrong| panic!("{} undisturbed fails: {wrong}", scenario.as_str()));
    let logs = Victim::ALL.map(|victim| (victim, stage.log(victim)));
    let logs = logs.into_iter().filter(|(_, log)| log.exists()).collect();
    let _ = fs::remove_dir_all(stage.target());
    logs
}
