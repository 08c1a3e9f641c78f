//! What clients ask of the engine.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::mpsc;
use tonic::Status;
use tutti_proto::compose as api;

use super::{Actor, now};
use crate::{
    engine::{LogPlace, Reply, explain::Explain, keys, live::Live, persist::Unreadable, submission::Accepted, view},
    lifecycle::{Compose, Event, IllegalTransition, JobState},
    nearest,
};

/// Jobs named in one answer.
const NAMED: usize = 8;

fn no_job(live: &Live, name: &str) -> Status {
    let names: Vec<String> = live.compose.plan.jobs.iter().map(|job| job.name.to_string()).collect();
    let near = nearest::suggestion(name, names.iter().map(String::as_str));
    Status::not_found(format!("{} has no job {name:?}{near}; hint: tutti show --format json lists them", live.id()))
}

fn unreadable_reason(compose_id: &str, Unreadable { reason, .. }: &Unreadable) -> String {
    let hint = if reason.contains("hint: ") { "" } else { "; hint: tutti fsck says what is damaged and what to do" };
    format!("{compose_id} cannot be gone on with: {reason}{hint}")
}

fn refused(error: &IllegalTransition) -> Status {
    Status::failed_precondition(error.to_string())
}

impl Actor {
    /// Stores a prepared compose and starts it; answers when it is durable.
    pub(super) fn accept(&mut self, accepted: Accepted, reply: Reply<api::SubmitResponse>) {
        let id = accepted.spec.identity.compose_id.clone();
        if let Some(known) = self.find_submission(&accepted.key) {
            // The same submission arrived twice at once; this copy lost and leaves nothing behind.
            if known.compose_id != id {
                let top = accepted.meta.top;
                self.handle.tasks().spawn_blocking(move || drop(tutti_files::remove_dir_all(&top)));
            }
            return self.answer_when_stored(accepted.key, known, move |answer| drop(reply.send(answer)));
        }
        if let Some(known) = self.rival(&id, &accepted.meta.top) {
            let top = accepted.meta.top;
            let refusal = format!(
                "compose {id} is known already, in {}; hint: one controller has an id once, whatever the target directory: give another one with --compose-id",
                known.display()
            );
            self.handle.tasks().spawn_blocking(move || {
                // What was refused must not look like a compose.
                if top != known {
                    drop(tutti_files::remove_dir_all(&top));
                }
                drop(reply.send(Err(Status::already_exists(refusal))));
            });
            return;
        }
        let meta = match serde_json::to_vec(&accepted.meta) {
            Ok(meta) => meta,
            Err(error) => return drop(reply.send(Err(Status::internal(error.to_string())))),
        };
        let created = crate::lifecycle::Timestamp(accepted.meta.created);
        let fail_fast = accepted.spec.options.fail_fast;
        let compose = Compose::new(id.as_str(), Arc::new(accepted.plan), fail_fast, created);
        let mut birth = vec![(keys::meta(&id), meta), (keys::header(&id), compose.header.encode())];
        if !accepted.key.is_empty() {
            birth.push((keys::submission(&accepted.key), id.clone().into_bytes()));
            self.submissions.insert(accepted.key.clone(), id.clone());
        }
        self.begins(&id, accepted.meta.plan, birth);
        let key = accepted.key;
        let answer =
            api::SubmitResponse { compose_id: id.clone(), compose_dir: accepted.meta.top.display().to_string() };
        let live = Live::new(compose, Arc::new(accepted.spec), accepted.meta);
        self.composes.insert(id.clone(), live);
        if let Err(error) = self.apply(&id, Event::Started) {
            return drop(reply.send(Err(refused(&error))));
        }
        self.answer_when_stored(key, answer, move |answer| drop(reply.send(answer)));
    }

    /// Directory of a compose that has the id already. One that cannot be read is none once its directory is gone, which
    /// it is if the new one was made there.
    fn rival(&self, id: &str, top: &Path) -> Option<PathBuf> {
        let live = self.composes.get(id).map(|live| live.meta.top.clone());
        let unreadable = || self.unreadable.get(id)?.top.clone().filter(|known| known != top);
        live.or_else(unreadable)
    }

    /// Tells of an earlier submission with that key, once it is stored.
    pub(super) fn tell_submission(&mut self, key: &str, reply: Reply<Option<api::SubmitResponse>>) {
        match self.find_submission(key) {
            Some(known) if self.dirty.unborn(&known.compose_id).is_some() => {
                self.answer_when_stored(key.to_owned(), known, move |answer| drop(reply.send(answer.map(Some))));
            }
            found => drop(reply.send(Ok(found))),
        }
    }

    fn find_submission(&self, key: &str) -> Option<api::SubmitResponse> {
        let live = self.composes.get(self.submissions.get(key)?)?;
        Some(api::SubmitResponse { compose_id: live.id().to_owned(), compose_dir: live.meta.top.display().to_string() })
    }

    pub(super) fn live(&self, compose_id: &str) -> Result<&Live, Status> {
        self.composes.get(compose_id).ok_or_else(|| self.unknown(compose_id))
    }

    /// All composes, those that could not be read among them.
    pub(super) fn list(&self) -> Vec<api::ComposeSummary> {
        let mut all: Vec<_> = self.composes.values().map(view::summary).collect();
        let lost = self.unreadable.iter().filter(|(id, _)| !self.composes.contains_key(*id));
        all.extend(lost.map(|(id, unreadable)| api::ComposeSummary {
            compose_id: id.clone(),
            compose_dir: unreadable.top.as_ref().map(|top| top.display().to_string()).unwrap_or_default(),
            trouble: unreadable_reason(id, unreadable),
            ..api::ComposeSummary::default()
        }));
        let order = |one: &str, other: &str| tutti_rpm::version_compare(one, other).then_with(|| one.cmp(other));
        all.sort_by(|one, other| order(&one.compose_id, &other.compose_id));
        all
    }

    /// No such compose, or one whose state could not be read.
    fn unknown(&self, compose_id: &str) -> Status {
        if let Some(unreadable) = self.unreadable.get(compose_id) {
            return Status::failed_precondition(unreadable_reason(compose_id, unreadable));
        }
        let linked =
            self.composes.values().filter(|live| live.spec.identity.latest_link.as_deref() == Some(compose_id));
        if let Some(newest) = linked.max_by_key(|live| live.meta.created) {
            let id = newest.id();
            return Status::not_found(format!("{compose_id} is a link, no compose; hint: the newest for it is {id}"));
        }
        let near = nearest::suggestion(compose_id, self.composes.keys().map(String::as_str));
        Status::not_found(format!("no compose {compose_id} here{near}"))
    }

    /// The job of that name, or the only one that fits it as a pattern.
    fn job_number(live: &Live, name: &str) -> Result<u32, Status> {
        let plan = &live.compose.plan;
        if let Some(job) = plan.jobs.iter().find(|job| job.name.to_string() == name) {
            return Ok(job.number);
        }
        match plan.matching(name).collect::<Vec<_>>().as_slice() {
            [] => Err(no_job(live, name)),
            [job] => Ok(*job),
            several => {
                let names = several.iter().take(NAMED).filter_map(|job| plan.job(*job));
                let mut names: Vec<String> = names.map(|job| job.name.to_string()).collect();
                if several.len() > NAMED {
                    names.push(format!("and {} more", several.len() - NAMED));
                }
                Err(Status::invalid_argument(format!("{name:?} fits {} jobs: {}", several.len(), names.join(", "))))
            }
        }
    }

    pub(super) fn watch(
        &mut self,
        compose_id: &str,
    ) -> Result<mpsc::Receiver<Result<api::WatchResponse, Status>>, Status> {
        self.live(compose_id)?;
        let Some(live) = self.composes.get_mut(compose_id) else {
            return Err(Status::internal("the compose went away"));
        };
        let mut present: Vec<_> = (0..live.compose.jobs.len() as u32)
            .filter_map(|number| view::job(live, number))
            .map(api::watch_response::Event::Job)
            .collect();
        present.push(api::watch_response::Event::CaughtUp(api::Caught {}));
        // Last, because a compose that is not active any more ends the watch.
        present.push(api::watch_response::Event::Compose(view::summary(live)));
        Ok(live.watch(present, now().0))
    }

    pub(super) fn log_place(&self, compose_id: &str, job: &str) -> Result<LogPlace, Status> {
        let live = self.live(compose_id)?;
        let number = Self::job_number(live, job)?;
        let record = live.compose.job(number);
        let begun = record.is_some_and(|record| record.attempt > 0);
        let state = record.map(|record| record.state).unwrap_or_default();
        let over = !matches!(state, JobState::Waiting | JobState::Ready | JobState::Offered | JobState::Running);
        Ok(LogPlace { path: live.log_path(number), over, begun })
    }

    pub(super) fn cancel(&mut self, compose_id: &str, reply: Reply<()>) {
        if let Err(error) = self.live(compose_id).map(|_| ()) {
            return drop(reply.send(Err(error)));
        }
        match self.apply(compose_id, Event::Cancel) {
            Ok(()) => {
                // What is to end need not be whole.
                self.release(compose_id);
                self.later(move |_| drop(reply.send(Ok(()))));
            }
            Err(error) => {
                // It has ended while it was held, say because its worker was lost: its end is to be told.
                self.release(compose_id);
                drop(reply.send(Err(refused(&error))));
            }
        }
    }

    /// Opens new attempts, of a compose of which all was there a moment ago: see [`crate::engine::Handle::retry`].
    pub(super) fn retry(&mut self, compose_id: &str, patterns: &[String], reply: Reply<Vec<String>>) {
        let dead = match self.jobs_to_retry(compose_id, patterns) {
            Ok(found) => found,
            // That it goes on is what was asked for.
            Err(_) if patterns.is_empty() && self.release(compose_id) => {
                return self.later(move |_| drop(reply.send(Ok(Vec::new()))));
            }
            Err(error) => return drop(reply.send(Err(error))),
        };
        // Of all, those are left out that others have gone on without.
        let jobs = if patterns.is_empty() { Vec::new() } else { dead.clone() };
        match self.apply(compose_id, Event::Retry { jobs }) {
            Ok(()) => {
                self.release(compose_id);
                let names = self.names_of_living(compose_id, &dead);
                self.later(move |_| drop(reply.send(Ok(names))));
            }
            Err(error) => drop(reply.send(Err(refused(&error)))),
        }
    }

    /// Names of those jobs that came back.
    fn names_of_living(&self, compose_id: &str, jobs: &[u32]) -> Vec<String> {
        let Some(live) = self.composes.get(compose_id) else { return Vec::new() };
        let lives = |job: &&u32| live.compose.job(**job).is_some_and(|record| !record.state.is_dead());
        let planned = jobs.iter().filter(lives).filter_map(|job| live.plan_job(*job));
        planned.map(|job| job.name.to_string()).collect()
    }

    /// Numbers of the jobs that the patterns name and that did not succeed.
    fn jobs_to_retry(&self, compose_id: &str, patterns: &[String]) -> Result<Vec<u32>, Status> {
        let live = self.live(compose_id)?;
        let plan = &live.compose.plan;
        for pattern in patterns {
            if !plan.jobs.iter().any(|job| job.name.matches(pattern)) {
                return Err(no_job(live, pattern));
            }
        }
        let dead = |number: u32| live.compose.job(number).is_some_and(|record| record.state.is_dead());
        let wanted = |name: &tutti_job::JobName| patterns.is_empty() || patterns.iter().any(|p| name.matches(p));
        let jobs = plan.jobs.iter().filter(|job| dead(job.number) && wanted(&job.name));
        let jobs: Vec<u32> = jobs.map(|job| job.number).collect();
        // What was gone when its jobs were over is looked at again.
        let again = patterns.is_empty() && live.compose.header.may_be_looked_at_again();
        if jobs.is_empty() && !again {
            let (id, status) = (live.id(), live.compose.header.status);
            let message = format!(
                "{id} is {status}, and none of these jobs failed, was skipped or cancelled: there is nothing to retry"
            );
            return Err(Status::failed_precondition(message));
        }
        Ok(jobs)
    }

    pub(super) fn why(&self, compose_id: &str, job: &str) -> Result<Vec<String>, Status> {
        let live = self.live(compose_id)?;
        let number = Self::job_number(live, job)?;
        let explain = Explain { live, workers: &self.workers, timing: &self.timing, now: now() };
        Ok(explain.job(number))
    }

    pub(super) fn drain(&mut self, worker_id: &str, draining: bool) -> Result<(), Status> {
        if !self.workers.drain(worker_id, draining) {
            return Err(Status::not_found(format!("no worker {worker_id:?}; `tutti drain` lists them")));
        }
        self.want_schedule();
        Ok(())
    }
}
