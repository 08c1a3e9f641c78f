//! When something refuses for a while: the state store, or a compose's volume.
//!
//! While the store refuses, nothing changes: what workers say goes unheard (they say it again), submissions and other
//! changes are refused with the reason, ends of disk work are kept, leases do not run out. Everything can be looked at;
//! what clients see may be one step ahead of what is stored. Effects and answers wait until it is.
//!
//! Disk work waits on its own thread ([`Patience`]) and says why through the engine.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tonic::Status;
use tutti_proto::{compose as api, compose::watch_response::Event as Watched};
use tutti_store::StoreError;

use super::{Actor, now};
use crate::{
    engine::{
        Command, EngineError,
        persist::{self, Dirty, Fate, WriteError},
        view,
    },
    lifecycle::Timestamp,
};

/// Pause between tries while the store refuses, in milliseconds.
const STORE_PAUSE: i64 = 200;
/// Pauses of disk work: these, then the last one over and over.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(20),
    Duration::from_millis(80),
    Duration::from_millis(300),
    Duration::from_millis(1500),
    Duration::from_millis(3000),
];
/// How long an end of the engine may go unseen by disk work that pauses.
const GLANCE: Duration = Duration::from_millis(100);

/// What the store said.
pub(super) struct StoreTrouble {
    text: String,
    /// When it is asked again.
    again: Timestamp,
}

/// A submission that is answered once its compose is stored.
pub(super) struct Accepting {
    key: String,
    answer: api::SubmitResponse,
    reply: Box<dyn FnOnce(Result<api::SubmitResponse, Status>) + Send>,
}

impl Actor {
    pub(super) fn answer_when_stored(
        &mut self,
        key: String,
        answer: api::SubmitResponse,
        reply: impl FnOnce(Result<api::SubmitResponse, Status>) + Send + 'static,
    ) {
        self.accepting.push(Accepting { key, answer, reply: Box::new(reply) });
    }

    /// Stores what changed; false while the store refuses.
    pub(super) async fn store_changes(&mut self) -> Result<bool, EngineError> {
        if !self.dirty.is_empty() {
            if self.trouble.as_ref().is_some_and(|trouble| now() < trouble.again) {
                return Ok(false);
            }
            if !self.leadership.is_valid() {
                return Err(EngineError::Deposed);
            }
            match persist::write(&*self.store, &self.leadership.fence(), &mut self.dirty).await {
                Ok(revision) => {
                    self.dirty = Dirty::default();
                    self.tell_history(revision);
                }
                Err(WriteError::Passing(error)) => {
                    self.store_refuses(&error);
                    return Ok(false);
                }
                Err(WriteError::Final(error)) => return Err(error),
            }
        }
        for accepted in std::mem::take(&mut self.accepting) {
            self.is_accepted(accepted);
        }
        if self.trouble.take().is_some() {
            self.store_takes_again();
        }
        Ok(true)
    }

    fn store_refuses(&mut self, error: &StoreError) {
        let text = format!("the controller cannot store anything in {}: {error}", self.place);
        if self.trouble.is_none() {
            tracing::error!(error = %error, place = self.place, "the state store refuses; composes wait until it takes changes again");
        }
        self.trouble = Some(StoreTrouble { text: text.clone(), again: now().plus_millis(STORE_PAUSE) });
        // Looked at before anything is taken back: several may have asked for one compose.
        let waiting: Vec<_> = std::mem::take(&mut self.accepting)
            .into_iter()
            .map(|accepted| (self.dirty.unborn(&accepted.answer.compose_id), accepted))
            .collect();
        for (fate, accepted) in waiting {
            match fate {
                None => self.is_accepted(accepted),
                // What may have been stored cannot be taken back.
                Some(Fate::MaybeStored) => self.accepting.push(accepted),
                Some(Fate::NotStored) => self.unaccept(accepted, &text),
            }
        }
        self.tell_trouble(Some(&text));
    }

    fn is_accepted(&mut self, accepted: Accepting) {
        tutti_failpoint::pass("submission.answer.before");
        self.unreadable.remove(&accepted.answer.compose_id);
        (accepted.reply)(Ok(accepted.answer));
    }

    /// A compose that could not be stored was never accepted.
    fn unaccept(&mut self, accepted: Accepting, text: &str) {
        let Accepting { key, answer, reply } = accepted;
        let id = answer.compose_id;
        self.submissions.remove(&key);
        self.dirty.forget(&id);
        self.recorder.forget(&id);
        self.effects.retain(|(compose_id, _)| *compose_id != id);
        self.changed.retain(|(compose_id, _)| *compose_id != id);
        let top = self.composes.remove(&id).map(|live| live.meta.top);
        let refusal = Status::resource_exhausted(format!("compose {id} is not accepted: {text}"));
        self.handle.tasks().spawn_blocking(move || {
            // What was refused must not look like a compose.
            let _ = top.map(|top| tutti_files::remove_dir_all(&top));
            reply(Err(refusal));
        });
    }

    fn store_takes_again(&mut self) {
        tracing::info!(place = self.place, "the state store takes changes again");
        let now = now();
        self.workers.seen_all(now);
        // Acceptances went unheard; the next heartbeats say what runs.
        let heard = i64::try_from((self.timing.heartbeat * 2 + self.timing.accept).as_millis()).unwrap_or(i64::MAX);
        for due in self.offers.values_mut() {
            *due = (*due).max(now.plus_millis(heard));
        }
        self.tell_trouble(None);
        self.want_schedule();
    }

    fn tell_trouble(&mut self, text: Option<&String>) {
        let open: Vec<String> =
            self.composes.iter().filter(|(_, live)| !live.compose.is_ended()).map(|(id, _)| id.clone()).collect();
        for id in open {
            self.set_trouble(&id, None, text.cloned());
        }
    }

    /// Notes why a compose or a job does not go on, and tells its watchers; whether that is news.
    pub(super) fn set_trouble(&mut self, compose_id: &str, job: Option<u32>, text: Option<String>) -> bool {
        let now = now();
        let Some(live) = self.composes.get_mut(compose_id) else { return false };
        let text = text.map(|text| format!("waits: {text}"));
        let before = match &text {
            Some(text) => live.trouble.insert(job, text.clone()),
            None => live.trouble.remove(&job),
        };
        if before == text || !live.has_watchers() {
            return before != text;
        }
        let concerned = (0..live.compose.jobs.len() as u32).filter(|number| job.is_none_or(|job| job == *number));
        let under_way = |number: &u32| {
            live.compose.job(*number).is_some_and(|record| !record.state.is_terminal() && !record.state.is_pending())
        };
        let jobs: Vec<api::Job> = concerned.filter(under_way).filter_map(|number| view::job(live, number)).collect();
        for job in jobs {
            live.notify(&Watched::Job(job), now.0);
        }
        if job.is_none() {
            let summary = view::summary(live);
            live.notify(&Watched::Compose(summary), now.0);
        }
        true
    }

    /// While the store refuses.
    pub(super) fn handle_in_trouble(&mut self, command: Command) {
        let text = self.trouble.as_ref().map(|trouble| trouble.text.clone()).unwrap_or_default();
        let refusal = || Status::resource_exhausted(text.clone());
        match command {
            Command::Accept { accepted, reply } => {
                let refusal = refusal();
                self.handle.tasks().spawn_blocking(move || {
                    let _ = tutti_files::remove_dir_all(&accepted.meta.top);
                    drop(reply.send(Err(refusal)));
                });
            }
            Command::Cancel { reply, .. } => drop(reply.send(Err(refusal()))),
            Command::Retry { reply, .. } => drop(reply.send(Err(refusal()))),
            Command::Connect { reply, .. } => drop(reply.send(Err(Status::unavailable(text)))),
            Command::FromWorker { session, .. } => {
                if let Some(executor) = self.workers.executor_of(session) {
                    self.workers.seen(executor, now());
                }
            }
            Command::Verified { .. }
            | Command::Published { .. }
            | Command::StatusWritten { .. }
            | Command::Looked { .. }
            | Command::LookedAtEnd { .. } => {
                self.held.push(command);
            }
            Command::FindSubmission { .. }
            | Command::List { .. }
            | Command::Show { .. }
            | Command::Watch { .. }
            | Command::LogPath { .. }
            | Command::Why { .. }
            | Command::Inspect { .. }
            | Command::Workers { .. }
            | Command::Drain { .. }
            | Command::Disconnected { .. }
            | Command::Trouble { .. } => self.handle_command(command),
        }
    }
}

/// How long disk work is tried again.
pub(super) struct Patience {
    /// For a volume in trouble.
    pub(super) limit: Duration,
    /// The end of the engine ends it.
    pub(super) stop: CancellationToken,
}

impl Patience {
    /// Tries again while an error may pass: for about two seconds whatever `may_pass`, such as a lost NFS reply, and a
    /// volume in `trouble` up to the limit; the second and later errors of that are told, and its end.
    pub(super) fn wait<T, E>(
        &self,
        work: impl Fn() -> Result<T, E>,
        may_pass: impl Fn(&E) -> bool,
        trouble: impl Fn(&E) -> bool,
        tell: impl Fn(Option<&E>),
    ) -> Result<T, E> {
        let begin = Instant::now();
        let mut told = false;
        for number in 0.. {
            let result = work();
            let Err(error) = &result else { return tell_end(result, told, tell) };
            let waits = trouble(error) && begin.elapsed() < self.limit;
            if self.stop.is_cancelled() || !(waits || (number < PAUSES.len() - 1 && may_pass(error))) {
                return tell_end(result, told, tell);
            }
            if waits && number > 0 {
                told = true;
                tell(Some(error));
            }
            self.pause(PAUSES[number.min(PAUSES.len() - 1)]);
        }
        work()
    }

    fn pause(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end && !self.stop.is_cancelled() {
            std::thread::sleep(end.saturating_duration_since(Instant::now()).min(GLANCE));
        }
    }
}

fn tell_end<T, E>(result: Result<T, E>, told: bool, tell: impl Fn(Option<&E>)) -> Result<T, E> {
    if told {
        tell(None);
    }
    result
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn r15_a_volume_in_trouble_is_waited_for_up_to_the_limit() {
        let patience = Patience { limit: Duration::from_secs(3600), stop: CancellationToken::new() };
        let (tries, told) = (Cell::new(0), std::cell::RefCell::new(Vec::new()));
        let work = || {
            tries.set(tries.get() + 1);
            if tries.get() < 4 { Err("full") } else { Ok(()) }
        };
        let tell = |error: Option<&&str>| told.borrow_mut().push(error.map(|text| (*text).to_owned()));
        patience.wait(work, |_| false, |_| true, tell).unwrap();
        assert_eq!(*told.borrow(), [Some("full".to_owned()), Some("full".to_owned()), None]);
        // What is no trouble and may not pass is not tried again.
        let tries = Cell::new(0);
        let work = || {
            tries.set(tries.get() + 1);
            Err::<(), _>("wrong")
        };
        assert!(patience.wait(work, |_| false, |_| false, |_| {}).is_err());
        assert_eq!(tries.get(), 1);
        let impatient = Patience { limit: Duration::ZERO, stop: CancellationToken::new() };
        assert!(impatient.wait(work, |_| false, |_| true, |_| {}).is_err());
        assert_eq!(tries.get(), 2);
    }
}
