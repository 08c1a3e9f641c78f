//! The checker: replays a history and says which of the invariants I1–I7 it breaks. (I8, that no Koji task is made twice
//! and each is recorded before it is waited for, comes with the first Koji task.)
//!
//! It knows nothing of how the lifecycle decides, only what must hold whatever it decides. Lines may be lost where a
//! controller died and may be repeated; what is certain in spite of that is checked.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use tutti_job::Digest;

use super::line::{Cause, Change, ComposeChange, JobChange, Line};
use crate::{
    lifecycle::{JobState, MAX_TRIES},
    plan::{Need, Plan},
};

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// At most one commit of each job.
    I1,
    /// No commit by a fence older than the newest; no write by a deposed controller.
    I2,
    /// A compose ends, or somebody owns its work.
    I3,
    /// What is terminal changes by a retry only, and what is published or committed never.
    I4,
    /// What a worker is counted with is the sum of what it holds, and no more than it has.
    I5,
    /// Nothing is committed or published that was not verified.
    I6,
    /// The failure of a job touches only those that need it.
    I7,
    /// What was stored is found again.
    Durable,
}

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// Epoch and sequence number of the line that breaks it.
    pub at: (i64, u64),
    /// How.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at epoch {} line {}: {}", self.invariant, self.at.0, self.at.1, self.text)
    }
}

/// What is known besides the history.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expect<'a> {
    /// The plan: what needs what.
    pub plan: Option<&'a Plan>,
    /// The compose has come to its end.
    pub ended: bool,
    /// Workers serve this compose alone.
    pub only_compose: bool,
}

/// Replays the lines of one compose, in any order and perhaps repeated, and returns all that is broken.
pub fn check(lines: &[Line], expect: Expect<'_>) -> Vec<Violation> {
    let mut sorted: Vec<&Line> = lines.iter().collect();
    sorted.sort_by_key(|line| line.place());
    let mut checker = Checker::new(expect);
    for line in sorted {
        checker.line(line.clone());
    }
    checker.finish()
}

/// Replays lines one by one, in their order; one may be repeated at once. What it keeps is what is known of each job.
pub struct Checker<'a> {
    replay: Replay<'a>,
    last: Option<Line>,
}

impl<'a> Checker<'a> {
    /// Begins before the first line.
    pub fn new(expect: Expect<'a>) -> Self {
        Self { replay: Replay { expect, ..Replay::default() }, last: None }
    }

    /// Replays the next line.
    pub fn line(&mut self, line: Line) {
        match self.last.as_ref().map(|last| (line.place().cmp(&last.place()), *last == line)) {
            Some((Ordering::Less, _)) => {
                self.replay.broken(Invariant::I2, &line, "it comes after one that was written later".to_owned());
            }
            Some((Ordering::Equal, true)) => {}
            Some((Ordering::Equal, false)) => {
                self.replay.broken(Invariant::I2, &line, "two different lines have the same place".to_owned());
            }
            Some((Ordering::Greater, _)) | None => {
                self.replay.line(self.last.as_ref(), &line);
                self.last = Some(line);
            }
        }
    }

    /// What is broken so far.
    pub fn violations(&self) -> &[Violation] {
        &self.replay.violations
    }

    /// What is broken after the last line.
    pub fn finish(mut self) -> Vec<Violation> {
        if let Some(last) = &self.last {
            self.replay.end(last);
        }
        self.replay.violations
    }
}

#[derive(Default)]
struct Job {
    last: Option<JobChange>,
    /// Revision of the line that told of it last.
    revision: i64,
    /// Lines about it may be missing.
    unsure: bool,
    commit: Option<(u32, Option<u64>, Option<Digest>)>,
    /// Worker incarnation of each attempt.
    executors: BTreeMap<u32, u64>,
    /// What was reported by an attempt and is being looked at.
    reported: Option<(u32, Option<Digest>)>,
}

#[derive(Default)]
struct Replay<'a> {
    expect: Expect<'a>,
    jobs: BTreeMap<u32, Job>,
    header: Option<ComposeChange>,
    header_unsure: bool,
    /// Lines are missing: those of jobs that nothing was told of may be among them.
    gaps: bool,
    /// The same for the present epoch alone.
    gaps_in_epoch: bool,
    /// Jobs that a new controller has found in the store; `None` while nothing is being found.
    found: Option<BTreeSet<u32>>,
    batch: (i64, u64),
    /// Jobs that lost an attempt or a result by the present event.
    hurt: BTreeSet<u32>,
    violations: Vec<Violation>,
}

impl Replay<'_> {
    fn broken(&mut self, invariant: Invariant, line: &Line, text: String) {
        self.violations.push(Violation { invariant, at: (line.epoch, line.seq), text });
    }

    fn line(&mut self, before: Option<&Line>, line: &Line) {
        let first = before.is_none_or(|before| before.epoch != line.epoch);
        let gap = line.seq != if first { 1 } else { before.map_or(0, |before| before.seq) + 1 };
        if let Some(before) = before.filter(|before| before.epoch != line.epoch)
            && before.revision >= line.epoch
        {
            let text = format!("the controller of epoch {} stored revision {} after it", before.epoch, before.revision);
            self.broken(Invariant::I2, line, text);
        }
        if line.revision < line.epoch {
            self.broken(Invariant::I2, line, format!("revision {} is older than the epoch", line.revision));
        }
        self.gaps |= gap;
        self.gaps_in_epoch = gap || (self.gaps_in_epoch && !first);
        if gap || (first && before.is_some()) {
            self.header_unsure = true;
            self.jobs.values_mut().for_each(|job| job.unsure = true);
        }
        if (line.epoch, line.batch) != self.batch {
            self.batch = (line.epoch, line.batch);
            self.hurt.clear();
        }
        if line.cause == Cause::Found {
            self.found.get_or_insert_default();
        } else if let Some(found) = self.found.take() {
            self.all_found(&found, line);
        }
        match &line.change {
            Change::Compose(change) => self.compose(change, line),
            Change::Job(change) => self.job(change, line),
        }
    }

    /// After the last line about what was found: nothing known may be missing.
    fn all_found(&mut self, found: &BTreeSet<u32>, line: &Line) {
        let untold = |job: &Job| job.last.as_ref().is_some_and(|last| last.to != JobState::Waiting || last.attempt > 0);
        let lost: Vec<u32> =
            self.jobs.iter().filter(|(number, job)| untold(job) && !found.contains(number)).map(|(n, _)| *n).collect();
        let sure = !self.gaps_in_epoch;
        for job in lost.into_iter().filter(|_| sure) {
            self.broken(Invariant::Durable, line, format!("the record of job {job} was stored and is gone"));
        }
    }

    fn compose(&mut self, change: &ComposeChange, line: &Line) {
        let unsure = std::mem::take(&mut self.header_unsure);
        if let Some(known) = self.header.take()
            && known.ended
            && !unsure
            && !change.says_the_same(&known)
            && line.cause != Cause::Retry
        {
            self.broken(Invariant::I4, line, format!("an ended compose changed by {:?}", line.cause));
        }
        let whole = change.ended && change.status.starts_with("FINISHED");
        if whole && change.looks && !matches!(line.cause, Cause::Looked | Cause::Found) {
            self.broken(Invariant::I6, line, format!("it is {} and nobody looked at its tree", change.status));
        }
        if whole && !change.damage.is_empty() {
            self.broken(Invariant::I6, line, format!("it is {}, but {}", change.status, change.damage));
        }
        if change.stopping && !change.cancelled && !(change.fail_fast && change.doomed_by.is_some()) {
            self.broken(
                Invariant::I7,
                line,
                "it stops, but nobody cancelled it and nothing required failed".to_owned(),
            );
        }
        self.header = Some(change.clone());
    }

    fn job(&mut self, change: &JobChange, line: &Line) {
        let unsure = self.gaps;
        let mut job = self.jobs.remove(&change.job).unwrap_or_else(|| Job { unsure, ..Job::default() });
        if let Some(found) = &mut self.found {
            found.insert(change.job);
        }
        self.same_record(&job, change, line);
        self.commits(&mut job, change, line);
        self.attempts(&mut job, change, line);
        self.terminal(&job, change, line);
        self.blame(change, line);
        job.unsure = false;
        job.revision = line.revision;
        job.last = Some(change.clone());
        self.jobs.insert(change.job, job);
        self.leases(change, line);
    }

    /// What a line says was there is what the lines before it left there.
    fn same_record(&mut self, job: &Job, change: &JobChange, line: &Line) {
        let state = job.last.as_ref().map_or(JobState::Waiting, |last| last.to);
        if line.cause == Cause::Found {
            let Some(last) = &job.last else { return };
            let unchanged = change.stored_at.is_some_and(|stored| stored <= job.revision);
            let same = (last.to, last.attempt, last.committed, last.outputs)
                == (change.to, change.attempt, change.committed, change.outputs);
            if unchanged && !same {
                let text =
                    format!("{} was stored as {} and found as {}", change.name, last.to.as_str(), change.to.as_str());
                self.broken(Invariant::Durable, line, text);
            }
        } else if !job.unsure && state != change.from {
            let text = format!("{} was {}, the line says {}", change.name, state.as_str(), change.from.as_str());
            self.broken(Invariant::I4, line, text);
        }
    }

    fn commits(&mut self, job: &mut Job, change: &JobChange, line: &Line) {
        let mine = (change.attempt, change.executor, change.outputs);
        let name = &change.name;
        match (job.commit, change.committed) {
            (None, true) => {
                let newest = job.executors.keys().next_back().copied().unwrap_or(0);
                let holder = job.executors.get(&change.attempt).copied();
                let stale = change.attempt < newest || (holder.is_some() && holder != change.executor);
                if stale {
                    self.broken(
                        Invariant::I2,
                        line,
                        format!("attempt {} committed {name}, {newest} is newer", change.attempt),
                    );
                }
                let verified = job.reported == Some((change.attempt, change.outputs));
                if !job.unsure && !verified && line.cause != Cause::Found {
                    self.broken(Invariant::I6, line, format!("{name} committed outputs that were not verified"));
                }
                job.commit = Some(mine);
            }
            (Some(commit), true) if commit != mine || (line.cause == Cause::VerifiedOk && !job.unsure) => {
                self.broken(
                    Invariant::I1,
                    line,
                    format!("{name} committed twice: attempts {} and {}", commit.0, mine.0),
                );
            }
            (Some(_), false) => self.broken(Invariant::I1, line, format!("{name} was committed and is no more")),
            (Some(_), true) | (None, false) => {}
        }
        if matches!(change.to, JobState::Committed | JobState::Published) && !change.committed {
            self.broken(Invariant::I6, line, format!("{name} is {} without commit", change.to.as_str()));
        }
        job.reported = (change.to == JobState::Verifying).then_some((change.attempt, change.outputs));
    }

    fn attempts(&mut self, job: &mut Job, change: &JobChange, line: &Line) {
        let newest = job.executors.keys().next_back().copied().unwrap_or(0);
        if change.attempt < newest {
            let text = format!("{} went back from attempt {newest} to {}", change.name, change.attempt);
            self.broken(Invariant::I2, line, text);
        }
        if let Some(executor) = change.executor
            && *job.executors.entry(change.attempt).or_insert(executor) != executor
        {
            self.broken(Invariant::I2, line, format!("attempt {} of {} changed hands", change.attempt, change.name));
        }
        let stopping = self.header.as_ref().is_some_and(|header| header.stopping);
        if change.tries > MAX_TRIES && !stopping {
            self.broken(Invariant::I3, line, format!("{} was tried {} times", change.name, change.tries));
        }
    }

    fn terminal(&mut self, job: &Job, change: &JobChange, line: &Line) {
        let Some(last) = &job.last else { return };
        if last.to == change.to {
            return;
        }
        let name = &change.name;
        if last.to == JobState::Published {
            self.broken(Invariant::I4, line, format!("{name} was published and is {}", change.to.as_str()));
        } else if last.to.is_dead() && line.cause != Cause::Retry && !job.unsure {
            let text = format!("{name} was {} and is {} by {:?}", last.to.as_str(), change.to.as_str(), line.cause);
            self.broken(Invariant::I4, line, text);
        }
    }

    /// Who is to blame for what became of the job.
    fn blame(&mut self, change: &JobChange, line: &Line) {
        if line.cause == Cause::Found || change.from == change.to {
            return;
        }
        let name = &change.name;
        match change.to {
            JobState::Skipped { because } if !self.may_blame(change.job, because) => {
                self.broken(
                    Invariant::I7,
                    line,
                    format!("{name} was skipped because of job {because}, which it can do without"),
                );
            }
            JobState::Cancelled
                if !self.header_unsure && !self.header.as_ref().is_some_and(|header| header.stopping) =>
            {
                self.broken(Invariant::I7, line, format!("{name} was cancelled, but the compose does not stop"));
            }
            _ => {}
        }
        let alone = matches!(line.cause, Cause::FailedAttempt | Cause::VerifyFailed | Cause::PublishFailed);
        if alone && !change.from.is_pending() {
            self.hurt.insert(change.job);
            if self.hurt.len() > 1 {
                self.broken(Invariant::I7, line, format!("the failure of another job ended an attempt of {name}"));
            }
        }
    }

    /// Whether `because` failed and `job` needs it, by way of jobs that did not succeed either.
    fn may_blame(&self, job: u32, because: u32) -> bool {
        let failed = |job: u32| self.jobs.get(&job).and_then(|job| job.last.as_ref()).map(|last| last.to);
        let sure = self.jobs.get(&because).is_none_or(|job| !job.unsure);
        // Lines of one event are in order of numbers, and what is needed has a lower number.
        if sure && !failed(because).is_some_and(JobState::is_dead) {
            return false;
        }
        let Some(plan) = self.expect.plan else { return true };
        let mut queue = vec![job];
        let mut seen = BTreeSet::new();
        while let Some(job) = queue.pop() {
            if job == because {
                return true;
            }
            let edges = plan.job(job).map(|planned| planned.edges.as_slice()).unwrap_or_default();
            let needed = edges.iter().filter(|edge| edge.need == Need::Required).map(|edge| edge.job);
            queue.extend(needed.filter(|needed| seen.insert(*needed)));
        }
        false
    }

    fn leases(&mut self, change: &JobChange, line: &Line) {
        let (Some(lease), Some(executor)) = (change.lease, change.executor) else { return };
        // What ended by a line that is missing is not counted.
        let held =
            self.jobs.values().filter(|job| !job.unsure).filter_map(|job| job.last.as_ref()).filter(|last| {
                last.executor == Some(executor) && matches!(last.to, JobState::Offered | JobState::Running)
            });
        let (mut attempts, mut cpu, mut memory) = (0, 0u32, 0u64);
        for last in held {
            attempts += 1;
            cpu = cpu.saturating_add(last.cpu_milli);
            memory = memory.saturating_add(last.memory_bytes);
        }
        let worker = &change.worker;
        let over = |job: &Job| job.last.as_ref().is_some_and(|last| last.to == JobState::Published);
        let whole = self.expect.only_compose && !self.gaps && !self.jobs.values().any(|job| job.unsure && !over(job));
        if attempts > lease.attempts || (whole && attempts < lease.attempts) {
            let text = format!("{worker} is counted with {} attempts and holds {attempts}", lease.attempts);
            self.broken(Invariant::I5, line, text);
        }
        // A job that is too big for all workers runs alone on the biggest.
        if lease.attempts > 1 && (cpu > lease.total_cpu_milli || memory > lease.total_memory_bytes) {
            self.broken(Invariant::I5, line, format!("{worker} holds more than it has: {cpu} mCPU, {memory} bytes"));
        }
    }

    fn end(&mut self, last: &Line) {
        let Some(header) = self.header.clone().filter(|_| !self.header_unsure) else { return };
        let sure = |job: &&Job| !job.unsure;
        let states: Vec<JobState> =
            self.jobs.values().filter(sure).filter_map(|job| job.last.as_ref()).map(|job| job.to).collect();
        let told = u32::try_from(self.jobs.len()).unwrap_or(u32::MAX);
        let untold = if self.gaps { 0 } else { header.jobs.saturating_sub(told) };
        let open = states.iter().filter(|state| !state.is_terminal()).count() + untold as usize;
        if header.ended && open > 0 {
            self.broken(Invariant::I3, last, format!("the compose has ended, {open} jobs have not"));
        }
        let moves = states.iter().any(|state| !state.is_terminal() && *state != JobState::Waiting);
        let unsure = self.gaps || self.jobs.values().any(|job| job.unsure);
        // With none open, its controller looks at the tree.
        if !header.ended && header.started && open > 0 && !moves && !unsure {
            self.broken(Invariant::I3, last, format!("nobody owns the compose: {open} jobs are open, none can move"));
        }
        if self.expect.ended && !header.ended {
            self.broken(Invariant::I3, last, format!("the compose did not end: it is {}", header.status));
        }
    }
}
