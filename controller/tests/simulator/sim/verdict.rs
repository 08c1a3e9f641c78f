//! Whole runs from one seed, and what must be true at their end.

use std::{collections::BTreeMap, fmt::Write as _};

use tutti_controller::{
    history::{self, Expect},
    lifecycle::{Compose, FailureClass, JobState, Output, Status},
};

use super::{
    engine::{self, Input},
    plans::{End, Fate, random_fates, random_plan, undisturbed},
    random::Random,
    world::{Counts, Profile, World},
};

/// Time after the last fault within which everything must have come to its end.
const PATIENCE_MS: i64 = 3_600_000;
/// Retries that a person makes at most.
const RETRIES: u32 = 12;

/// How a run went.
#[derive(Clone, Debug, Default)]
pub(crate) struct Summary {
    pub(crate) counts: Counts,
    /// Everything that is wrong; empty for a good run.
    pub(crate) wrong: Vec<String>,
    /// The event log.
    pub(crate) history: String,
}

impl Profile {
    fn random(random: &mut Random) -> Self {
        let rough = |random: &mut Random, most: u64| if random.permille(500) { random.below(most) } else { 0 };
        let every = random.between(1_000, 15_000);
        Self {
            workers: random.between(1, 5) as usize,
            controllers: random.between(1, 4) as usize,
            loss: rough(random, 200),
            repeat: rough(random, 200),
            late: rough(random, 100),
            fault_every_ms: if random.permille(850) { every } else { 0 },
            unknown: rough(random, 150),
            die_storing: rough(random, 40),
            bad_disk: rough(random, 40),
            lines_twice: rough(random, 200),
            fail_fast: random.permille(150),
            cancel_at: random.permille(200).then(|| random.between(500, 60_000)),
            batch_size: random.pick(&[1, 2, 96]),
            quiet_at: random.between(10_000, 120_000),
            longest_job_ms: random.pick(&[500, 5_000, 40_000]),
        }
    }
}

/// Runs the schedule of a seed.
pub(crate) fn run_seed(seed: u64) -> Summary {
    let mut random = Random::new(seed);
    let plan = random_plan(&mut random);
    let profile = Profile::random(&mut random);
    let hangs = profile.cancel_at.is_some();
    let fates = random_fates(&mut random, plan.jobs.len(), hangs);
    World::new(seed, profile, plan, fates).finish()
}

impl World {
    /// Lets the run come to its end, with a person who retries what the faults broke, and judges it.
    pub(crate) fn finish(mut self) -> Summary {
        // A hanging job ends by a cancellation alone, which may find no controller: then it is asked for again.
        let limit = self.profile.quiet_at.max(self.now) + PATIENCE_MS;
        loop {
            let ended = self.run_until(limit, |world| world.is_quiet() && world.ended());
            if !ended {
                if !self.mended && self.fates.contains(&Fate::Hangs) && self.counts.retries < RETRIES {
                    self.wrong.push("a hanging job was never cancelled".to_owned());
                }
                break;
            }
            self.put_back_what_is_missed();
            let Some(retry) = self.to_retry().filter(|_| self.counts.retries < RETRIES) else { break };
            self.counts.retries += 1;
            // Who retries has mended what hung.
            self.mended = true;
            self.ask(retry);
            let soon = self.now + 3_000;
            self.run_until(soon, |_| false);
        }
        let settled = self.now + 20_000;
        self.run_until(settled, |_| false);
        self.judge()
    }

    /// The stored compose, which is what counts.
    pub(crate) fn stored(&self) -> Option<Compose> {
        engine::load(&self.store, &self.plan)
    }

    fn ended(&self) -> bool {
        let ended = |compose: &Compose| compose.is_ended();
        self.leader().is_some_and(|(_, engine)| ended(&engine.compose)) && self.stored().is_some_and(|c| ended(&c))
    }

    /// What a compose that is doomed for it misses.
    fn put_back_what_is_missed(&mut self) {
        if self.stored().is_some_and(|compose| !compose.header.damage.is_empty()) {
            self.put_back();
        }
    }

    /// What a person asks for again: everything after a cancellation, else what failed by no fault of its own.
    fn to_retry(&self) -> Option<Input> {
        let compose = self.stored()?;
        if compose.header.cancelled || !compose.header.damage.is_empty() {
            return Some(Input::Retry(vec![]));
        }
        let unlucky = |job: &u32| self.fates[*job as usize].succeeds() && !self.went_on_without(&compose, *job);
        let failed = compose.numbered().filter(|(_, record)| record.state == JobState::Failed);
        if let Some(job) = failed.map(|(job, _)| job).find(unlucky) {
            return Some(Input::Retry(vec![job]));
        }
        None
    }

    /// Whether somebody has gone on without a job, so that it cannot be retried.
    fn went_on_without(&self, compose: &Compose, job: u32) -> bool {
        let event = tutti_controller::lifecycle::Event::Retry { jobs: vec![job] };
        let now = tutti_controller::lifecycle::Timestamp(self.now);
        tutti_controller::lifecycle::apply(compose, event, now).is_err()
    }

    /// Judges the run as it is.
    pub(crate) fn judge(mut self) -> Summary {
        let mut wrong = std::mem::take(&mut self.wrong);
        self.counts.stale = self.store.stale;
        let (lines, unread) = history::parse(&self.history);
        if unread > 0 {
            wrong.push(format!("{unread} lines of the history cannot be read"));
        }
        let expect = Expect { plan: Some(&self.plan), ended: true, only_compose: true };
        wrong.extend(history::check(&lines, expect).iter().map(ToString::to_string));
        match self.stored() {
            None => wrong.push("nothing was stored".to_owned()),
            Some(compose) => self.judge_state(&compose, &mut wrong),
        }
        Summary { counts: self.counts, wrong, history: self.history }
    }

    fn judge_state(&mut self, compose: &Compose, wrong: &mut Vec<String>) {
        // Only what is called finished must be whole.
        if matches!(compose.header.status, Status::Doomed | Status::Terminated) {
            self.put_back();
        }
        if !compose.is_ended() {
            let states: String = compose.jobs.iter().fold(String::new(), |mut text, record| {
                let _ = write!(text, " {}", record.state.as_str());
                text
            });
            wrong.push(format!("the compose did not end:{states}"));
            return;
        }
        let status = compose.header.status;
        if self.status != Some(status) {
            wrong.push(format!("the STATUS file says {:?}, the store {status}", self.status));
        }
        self.counts.commits = compose.jobs.iter().filter(|record| record.committed).count() as u32;
        let poisoned = compose.jobs.iter().filter(|record| record.class == Some(FailureClass::Poisoned));
        self.counts.poisoned = poisoned.count() as u32;
        // What nobody can retry any more counts as the world's fault, and everything else must be as if undisturbed.
        let failed: BTreeMap<u32, Vec<Output>> = compose
            .numbered()
            .filter(|(job, record)| record.state.is_dead() && self.went_on_without(compose, *job))
            .map(|(job, record)| (job, record.outputs.clone()))
            .collect();
        let stopped = compose.header.cancelled || compose.header.stopping || compose.header.fail_fast;
        // What began while a job was committed ends well though that job can then not be published.
        let unpublished = failed.values().any(|outputs| !outputs.is_empty());
        let stopped = stopped || unpublished;
        let ends = undisturbed(&self.plan, &self.fates, &failed);
        for ((job, record), end) in compose.numbered().zip(&ends) {
            let name = format!("job {job}");
            let equal = match (record.state, end) {
                (JobState::Published, End::Made(outputs)) => record.outputs == *outputs,
                (JobState::Failed, End::Failed) | (JobState::Skipped { .. }, End::Skipped) => true,
                // What was stopped is not judged by where it would have come to.
                (JobState::Skipped { .. }, End::Failed) => stopped || failed.contains_key(&job),
                (JobState::Cancelled, _) => stopped,
                (JobState::Failed | JobState::Skipped { .. }, _) => stopped,
                _ => false,
            };
            if !equal && !unpublished {
                wrong.push(format!(
                    "{name} is {:?} ({}), undisturbed it is {end:?}, after {} retries",
                    record.state, record.reason, self.counts.retries
                ));
            }
            let planned = &self.plan.jobs[job as usize];
            let stands = record.state == JobState::Published && planned.has_tree_outputs();
            if stands && self.tree.get(&job) != Some(&record.outputs) {
                wrong.push(format!("{name} is published, but the tree has {:?}", self.tree.get(&job)));
            }
            if !record.committed && self.tree.contains_key(&job) {
                wrong.push(format!("{name} stands in the tree without a commit"));
            }
        }
        if !stopped {
            let lost = |end: &End| !matches!(end, End::Made(_));
            let required = self.plan.jobs.iter().zip(&ends).any(|(job, end)| lost(end) && !job.failable);
            let right = match (required, ends.iter().any(lost)) {
                (true, _) => Status::Doomed,
                (false, true) => Status::FinishedIncomplete,
                (false, false) => Status::Finished,
            };
            if status != right {
                wrong.push(format!("the compose is {status}, undisturbed it is {right}"));
            }
        }
    }
}
