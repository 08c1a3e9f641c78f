//! Which ready job goes to which worker: a pure function of jobs, workers and time.
//!
//! Jobs are taken by the cost of the longest chain that waits for them, then by age. A job that finds no place stays
//! where it is and says why, for each worker; later ones are placed around it, but a worker that it could have is not
//! given to them for ever: after [`HOLD_AFTER_MS`] one is kept free for it.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use tutti_job::{JobName, Resources};

use crate::lifecycle::Timestamp;

/// A ready job that has waited this long for room has a worker kept free for it.
pub const HOLD_AFTER_MS: i64 = 30_000;
/// Why no job runs where there are no workers.
pub(crate) const NOBODY: &str = "no worker is known";

/// A job that waits for a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadyJob {
    /// Compose id.
    pub compose: String,
    /// Number in its plan.
    pub job: u32,
    /// Its name, for people.
    pub name: JobName,
    /// `kind@version`.
    pub capability: String,
    /// Architecture that the host must be able to run; none: any.
    pub arch: Option<String>,
    /// What an attempt needs.
    pub resources: Resources,
    /// It needs a worker of its own.
    pub alone: bool,
    /// Names of workers that must not be asked now.
    pub excluded: Vec<String>,
    /// Names of workers to be asked only if no other can.
    pub avoid: Vec<String>,
    /// Cost of the longest chain of jobs that begins with it.
    pub critical_path: u64,
    /// Since when it waits.
    pub ready_at: Timestamp,
}

/// What is known of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerView {
    /// Name.
    pub id: String,
    /// Incarnation.
    pub executor: u64,
    /// Host architecture.
    pub arch: String,
    /// Architectures that it can run.
    pub run_arches: Vec<String>,
    /// `kind@version` of all it can do.
    pub kinds: Vec<String>,
    /// What is free: total, less what its attempts reserve.
    pub free: Resources,
    /// All it has.
    pub total: Resources,
    /// Takes nothing new.
    pub draining: bool,
    /// Has a session.
    pub connected: bool,
    /// Attempts that it holds, offered ones too.
    pub running: u32,
}

/// A job for a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Compose id.
    pub compose: String,
    /// Number in its plan.
    pub job: u32,
    /// The worker's name.
    pub worker_id: String,
    /// Its incarnation.
    pub executor: u64,
    /// What to reserve there.
    pub reserve: Resources,
    /// Something a person should know: it runs alone on a host that is too small.
    pub note: Option<String>,
}

/// A job that goes on waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unplaced {
    /// Compose id.
    pub compose: String,
    /// Number in its plan.
    pub job: u32,
    /// Why each worker cannot have it: (worker, reason). The worker is empty for reasons that concern none.
    pub reasons: Vec<(String, String)>,
}

/// Assigns ready jobs to workers.
///
/// Deterministic: equal arguments, in any order of `ready` and `workers`, give equal results.
pub fn schedule(ready: &[ReadyJob], workers: &[WorkerView], now: Timestamp) -> (Vec<Assignment>, Vec<Unplaced>) {
    let mut workers: Vec<WorkerView> = workers.to_vec();
    workers.sort_by(|a, b| (&a.id, a.executor).cmp(&(&b.id, b.executor)));
    let mut jobs: Vec<&ReadyJob> = ready.iter().collect();
    jobs.sort_by_key(|job| (Reverse(job.critical_path), job.ready_at, &job.compose, job.job));
    let mut round = Round { workers, held: BTreeMap::new(), placed: BTreeSet::new() };
    let (mut assignments, mut unplaced) = (Vec::new(), Vec::new());
    for job in jobs {
        if !round.placed.insert((job.compose.clone(), job.job)) {
            continue;
        }
        match round.place(job, now) {
            Ok(assignment) => assignments.push(assignment),
            Err(reasons) => unplaced.push(Unplaced { compose: job.compose.clone(), job: job.job, reasons }),
        }
    }
    (assignments, unplaced)
}

struct Round {
    workers: Vec<WorkerView>,
    /// Index of a worker that is kept free, and the name of the job that it is kept for.
    held: BTreeMap<usize, String>,
    placed: BTreeSet<(String, u32)>,
}

/// How well a worker suits a job; the least is taken.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Fit {
    avoided: bool,
    too_small: bool,
    /// The bigger, the better for a job that is too big anyway.
    size: Reverse<(u64, u32)>,
    running: u32,
    /// Free processor share, most first.
    free: Reverse<u32>,
    index: usize,
}

impl Round {
    fn place(&mut self, job: &ReadyJob, now: Timestamp) -> Result<Assignment, Vec<(String, String)>> {
        if self.workers.is_empty() {
            return Err(vec![(String::new(), NOBODY.to_owned())]);
        }
        let able: Vec<Result<(), String>> = self.workers.iter().map(|worker| able(job, worker)).collect();
        let open = |index: &usize| able.get(*index).is_some_and(Result::is_ok);
        let indexes: Vec<usize> = (0..self.workers.len()).filter(open).collect();
        let too_big = !indexes.iter().any(|&index| covers(&self.workers[index].total, &job.resources));
        let biggest = indexes.iter().map(|&index| size(&self.workers[index].total)).max();
        let suits = |worker: &WorkerView| suits(job, worker, too_big, biggest);
        let avoidable =
            indexes.iter().map(|&index| &self.workers[index]).any(|w| suits(w) && !job.avoid.contains(&w.id));
        let mut reasons = Vec::new();
        let mut best: Option<Fit> = None;
        for (index, (worker, able)) in self.workers.iter().zip(&able).enumerate() {
            let room = able.clone().and_then(|()| {
                if let Some(other) = self.held.get(&index) {
                    return Err(format!("is kept free for {other}, which waits for room"));
                }
                let avoided = job.avoid.contains(&worker.id);
                if avoided && avoidable {
                    return Err("the job failed there, and another worker can take it".to_owned());
                }
                room(job, worker, too_big, biggest)?;
                Ok(Fit {
                    avoided,
                    too_small: too_big,
                    size: Reverse(if too_big { size(&worker.total) } else { (0, 0) }),
                    running: worker.running,
                    free: Reverse(worker.free.cpu_milli),
                    index,
                })
            });
            match room {
                Ok(fit) if best.as_ref().is_none_or(|known| fit < *known) => best = Some(fit),
                Ok(_) => {}
                Err(reason) => reasons.push((worker.id.clone(), reason)),
            }
        }
        match best {
            Some(fit) => Ok(self.assign(job, fit.index, too_big)),
            None => {
                self.hold(job, &indexes, too_big, biggest, now);
                Err(reasons)
            }
        }
    }

    fn assign(&mut self, job: &ReadyJob, index: usize, too_big: bool) -> Assignment {
        let worker = &mut self.workers[index];
        let wanted = job.resources;
        let reserve = if too_big || job.alone { worker.total } else { wanted };
        worker.free.cpu_milli = worker.free.cpu_milli.saturating_sub(reserve.cpu_milli);
        worker.free.memory_bytes = worker.free.memory_bytes.saturating_sub(reserve.memory_bytes);
        worker.running = worker.running.saturating_add(1);
        let note = too_big.then(|| {
            format!(
                "needs {}, more than any worker has: runs alone on {} with {}",
                text(&wanted),
                worker.id,
                text(&worker.total)
            )
        });
        Assignment {
            compose: job.compose.clone(),
            job: job.job,
            worker_id: worker.id.clone(),
            executor: worker.executor,
            reserve,
            note,
        }
    }

    /// Keeps one worker free for a job that has waited long: smaller ones would pass it for ever.
    fn hold(&mut self, job: &ReadyJob, able: &[usize], too_big: bool, biggest: Option<(u64, u32)>, now: Timestamp) {
        // One that must be alone would wait for ever while there is anything else to do.
        if !job.alone && now.0.saturating_sub(job.ready_at.0) < HOLD_AFTER_MS {
            return;
        }
        let suits = |index: &usize| suits(job, &self.workers[*index], too_big, biggest);
        let open = able.iter().copied().filter(suits).filter(|index| !self.held.contains_key(index));
        let avoided = |index: usize| job.avoid.contains(&self.workers[index].id);
        if let Some(index) = open.min_by_key(|&index| (avoided(index), self.workers[index].running, index)) {
            self.held.insert(index, job.name.to_string());
        }
    }
}

/// Whether the worker could ever run it, as it stands.
fn able(job: &ReadyJob, worker: &WorkerView) -> Result<(), String> {
    if !worker.connected {
        return Err("is not connected".to_owned());
    }
    if worker.draining {
        return Err("is draining".to_owned());
    }
    if !worker.kinds.contains(&job.capability) {
        return Err(format!("cannot run {}", job.capability));
    }
    if let Some(arch) = &job.arch
        && worker.arch != *arch
        && !worker.run_arches.contains(arch)
    {
        return Err(format!("is {}, the job needs {arch}", worker.arch));
    }
    if job.excluded.contains(&worker.id) {
        return Err("refused the job a short while ago".to_owned());
    }
    Ok(())
}

/// Whether the worker is big enough when nothing else runs there; for a job too big for all, the biggest is.
fn suits(job: &ReadyJob, worker: &WorkerView, too_big: bool, biggest: Option<(u64, u32)>) -> bool {
    if too_big { Some(size(&worker.total)) == biggest } else { covers(&worker.total, &job.resources) }
}

/// Whether it has room now.
fn room(job: &ReadyJob, worker: &WorkerView, too_big: bool, biggest: Option<(u64, u32)>) -> Result<(), String> {
    if too_big {
        return match (Some(size(&worker.total)) == biggest, worker.running) {
            (false, _) => Err(format!("has {}, the job needs {}", text(&worker.total), text(&job.resources))),
            (true, 0) => Ok(()),
            (true, running) => Err(format!("the job is too big for it and must run alone; {running} others run")),
        };
    }
    if !covers(&worker.total, &job.resources) {
        return Err(format!("has {}, the job needs {}", text(&worker.total), text(&job.resources)));
    }
    if job.alone && worker.running > 0 {
        return Err(format!("the job must run alone, as it lost its workers before; {} others run", worker.running));
    }
    if !covers(&worker.free, &job.resources) {
        return Err(format!("has {} free, the job needs {}", text(&worker.free), text(&job.resources)));
    }
    Ok(())
}

fn covers(has: &Resources, needs: &Resources) -> bool {
    has.cpu_milli >= needs.cpu_milli && has.memory_bytes >= needs.memory_bytes
}

fn size(total: &Resources) -> (u64, u32) {
    (total.memory_bytes, total.cpu_milli)
}

fn text(resources: &Resources) -> String {
    let (whole, part) = (resources.cpu_milli / 1000, resources.cpu_milli % 1000 / 100);
    format!("{whole}.{part} cores and {} MiB", resources.memory_bytes / (1024 * 1024))
}

#[cfg(test)]
mod tests;
