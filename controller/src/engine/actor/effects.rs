//! What the engine does once a change is stored.

use std::time::Duration;

use tutti_failpoint::pass;
use tutti_job::{Fence, Volumes};
use tutti_proto::worker::{self as wire, session_response::Message};

use super::{Actor, now, trouble::Patience};
use crate::{
    engine::{Command, Handle, live::Busy, points, submission},
    latest,
    lifecycle::{Effect, Event, FailureClass, JobState, Output, Status, Usage},
    publish::{self, PublishError, ReportedOutput},
    service::fence_to,
    volume,
};

/// Time between SIGTERM and SIGKILL of a cancelled attempt.
const CANCEL_GRACE: i64 = 3;

fn seconds(time: Duration) -> prost_types::Duration {
    prost_types::Duration { seconds: time.as_secs() as i64, nanos: time.subsec_nanos() as i32 }
}

/// Whether what an attempt staged is not there, though its volume is.
fn is_gone(volumes: &Volumes, fence: &Fence) -> bool {
    let found = std::fs::symlink_metadata(volumes.staging_of(fence));
    found.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) && volumes.top.join("COMPOSE_ID").exists()
}

fn mismatch(volumes: &Volumes, reason: String) -> PublishError {
    PublishError::Mismatch { path: volumes.top.clone(), reason }
}

/// Turns a panic, which is a fault of this program, into an error: a job must not hang because of it.
fn caught<T>(volumes: &Volumes, work: impl FnOnce() -> Result<T, PublishError>) -> Result<T, PublishError> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(mismatch(volumes, "looking at it panicked; the controller's log has more".to_owned())))
}

/// Files that stay behind take space, and change nothing else.
fn warn_unswept(result: Result<u64, volume::VolumeError>) {
    match result {
        Ok(0) => {}
        Ok(count) => tracing::info!(count, "removed staging directories that attempts left"),
        Err(error) => tracing::warn!(error = %submission::chain(&error), "a staging directory stays behind"),
    }
}

fn reported(outputs: &[Output]) -> Vec<ReportedOutput> {
    let report =
        |output: &Output| ReportedOutput { name: output.name.clone(), digest: output.digest, size: output.size };
    outputs.iter().map(report).collect()
}

/// What tells people why disk work for a job is tried again.
fn tells<'a>(
    handle: &'a Handle,
    compose_id: &'a str,
    job: u32,
    what: &'a str,
) -> impl Fn(Option<&PublishError>) + use<'a> {
    move |error| {
        let text = error.map(|error| format!("cannot {what}: {}", submission::chain(error)));
        handle.tell_blocking(Command::Trouble { compose_id: compose_id.to_owned(), job: Some(job), text });
    }
}

impl Actor {
    pub(super) fn patience(&self) -> Patience {
        Patience { limit: self.timing.volume, stop: self.handle.tasks().stop() }
    }

    pub(super) fn perform(&mut self, compose_id: String, effect: Effect) {
        let wire_fence = |fence: &Fence| Some(fence_to(&compose_id, fence));
        // What is held has its effects derived again once it is gone on with.
        let ends = matches!(effect, Effect::SendRefused { .. } | Effect::CancelAttempt { .. });
        if self.observes || (!ends && self.is_held(&compose_id)) {
            return;
        }
        let [before, after] = points::effect(&effect);
        pass(before);
        match effect {
            Effect::SendOffer { fence } => self.send_offer(&compose_id, fence),
            Effect::SendCommit { fence } => self.send_commit(&compose_id, fence),
            Effect::SendRefused { fence, reason } => {
                let refused = wire::Refused { fence: wire_fence(&fence), reason };
                self.send(fence.executor, Message::Refused(refused));
            }
            Effect::CancelAttempt { fence } => {
                let grace = Some(prost_types::Duration { seconds: CANCEL_GRACE, nanos: 0 });
                let cancel = wire::Cancel { fence: wire_fence(&fence), grace };
                self.expect_answer(&compose_id, fence);
                self.send(fence.executor, Message::Cancel(cancel));
            }
            Effect::Verify { fence } => self.start_verify(&compose_id, fence),
            Effect::Publish { job } => self.start_publish(&compose_id, job),
            Effect::WriteStatus { status } => self.start_status(&compose_id, status, false),
            Effect::Look => self.look_at_end(&compose_id),
            Effect::Finish { status } => self.start_status(&compose_id, status, true),
        }
        pass(after);
    }

    fn send_offer(&mut self, compose_id: &str, fence: Fence) {
        let Some(live) = self.composes.get_mut(compose_id) else { return };
        let traceparent = live.traceparent_of(fence.job);
        let spec = match live.close(fence.job) {
            Ok(spec) => spec,
            Err(cause) => {
                let event = Event::FailedAttempt {
                    fence,
                    class: FailureClass::Tool,
                    cause: format!("cannot make the job spec: {cause}"),
                    hint: String::new(),
                    usage: Usage::default(),
                };
                return self.apply_late(compose_id, event);
            }
        };
        let Some(live) = self.composes.get(compose_id) else { return };
        let (Some(job), Some(record)) = (live.plan_job(fence.job), live.compose.job(fence.job)) else { return };
        let reserve = self.reserved(fence, record, job.resources);
        let offer = wire::Offer {
            fence: Some(fence_to(compose_id, &fence)),
            kind: job.name.kind.capability(),
            spec: spec.encode_canonical(),
            spec_digest: spec.key().as_bytes().to_vec(),
            job_name: job.name.to_string(),
            compose_dir: format!("file:{}", live.meta.top.display()),
            reserve: Some(wire::Resources {
                cpu_milli: reserve.cpu_milli,
                memory_bytes: reserve.memory_bytes,
                disk_bytes: 0,
            }),
            deadlines: Some(wire::Deadlines {
                accept: Some(seconds(self.timing.accept)),
                idle: Some(seconds(self.timing.idle)),
                wall: Some(seconds(self.timing.wall)),
            }),
            traceparent,
            log: format!("top:{}", live.log_of(fence.job, fence.attempt)),
        };
        self.offers.remove(&(compose_id.to_owned(), fence));
        self.expect_answer(compose_id, fence);
        self.send(fence.executor, Message::Offer(offer));
    }

    /// The worker is to say within a while whether it has what it was offered: an offer that an earlier controller
    /// stored may never have arrived.
    fn expect_answer(&mut self, compose_id: &str, fence: Fence) {
        let record = self.composes.get(compose_id).and_then(|live| live.compose.job(fence.job));
        if record.is_some_and(|record| record.state == JobState::Offered && record.fence == Some(fence)) {
            let due = now().plus_millis(i64::try_from(self.timing.accept.as_millis()).unwrap_or(i64::MAX));
            self.offers.entry((compose_id.to_owned(), fence)).or_insert(due);
        }
    }

    /// The worker removes what is staged when it hears this, so trees must have been moved first; until then it
    /// repeats its outcome and is answered when they have.
    fn send_commit(&mut self, compose_id: &str, fence: Fence) {
        let Some(live) = self.composes.get(compose_id) else { return };
        // Also when moving them failed: a retry moves them again.
        if !live.compose.job(fence.job).is_some_and(|record| record.needs_staging(fence)) {
            let commit = wire::Commit { fence: Some(fence_to(compose_id, &fence)) };
            self.send(fence.executor, Message::Commit(commit));
        }
    }

    fn start_verify(&mut self, compose_id: &str, fence: Fence) {
        let Some(live) = self.composes.get_mut(compose_id) else { return };
        if live.busy.get(&fence.job) == Some(&Busy::Verifying) {
            return;
        }
        let spec = live.close(fence.job);
        let outputs = live.compose.job(fence.job).map(|record| reported(&record.outputs)).unwrap_or_default();
        live.busy.insert(fence.job, Busy::Verifying);
        let volumes = live.volumes();
        let (handle, compose_id, patience) = (self.handle.clone(), compose_id.to_owned(), self.patience());
        self.handle.tasks().spawn_blocking(move || {
            let once = || match &spec {
                Ok(spec) => publish::verify(&volumes, &fence, spec, &outputs),
                // The inputs were committed when the job was offered; they cannot have gone.
                Err(cause) => Err(mismatch(&volumes, cause.clone())),
            };
            let tell = tells(&handle, &compose_id, fence.job, "verify its outputs");
            let result = patience.wait(|| caught(&volumes, once), |_| false, |error| error.trouble().is_some(), tell);
            let verified = result.is_ok();
            handle.tell_blocking(Command::Verified { compose_id, fence, result });
            if verified {
                warn_unswept(publish::sweep_earlier(&volumes, &fence));
            }
        });
    }

    pub(super) fn verified(&mut self, compose_id: &str, fence: Fence, result: Result<u64, PublishError>) {
        if let Some(live) = self.composes.get_mut(compose_id) {
            live.busy.remove(&fence.job);
        }
        let event = match result {
            Ok(_) => Event::VerifiedOk { fence },
            Err(error) => {
                let cause = submission::chain(&error);
                tracing::warn!(compose_id, fence = %fence, cause, "outputs do not verify");
                // A full disk is the controller's, and says nothing of the worker.
                Event::VerifyFailed { fence, class: error.class(), cause }
            }
        };
        self.apply_late(compose_id, event);
    }

    fn start_publish(&mut self, compose_id: &str, job: u32) {
        let Some(live) = self.composes.get_mut(compose_id) else { return };
        if live.busy.contains_key(&job) {
            return;
        }
        let Some((fence, outputs)) =
            live.compose.job(job).and_then(|record| Some((record.fence?, reported(&record.outputs))))
        else {
            return;
        };
        let spec = live.close(job);
        live.busy.insert(job, Busy::Publishing);
        let volumes = live.volumes();
        let (handle, compose_id, patience) = (self.handle.clone(), compose_id.to_owned(), self.patience());
        self.handle.tasks().spawn_blocking(move || {
            let once = || match &spec {
                Ok(spec) => publish::publish(&volumes, &fence, spec, &outputs),
                Err(cause) => Err(mismatch(&volumes, cause.clone())),
            };
            let tell = tells(&handle, &compose_id, job, "move its outputs into the tree");
            let result = patience.wait(
                || caught(&volumes, once),
                PublishError::is_infra,
                |error| error.trouble().is_some(),
                tell,
            );
            // Somebody removed it: no retry can move it.
            let lost = result.as_ref().is_err_and(|error| error.trouble().is_none()) && is_gone(&volumes, &fence);
            handle.tell_blocking(Command::Published { compose_id, job, result, lost });
        });
    }

    pub(super) fn published(&mut self, compose_id: &str, job: u32, result: Result<(), PublishError>, lost: bool) {
        let Some(live) = self.composes.get_mut(compose_id) else { return };
        live.busy.remove(&job);
        let fence = live.compose.job(job).and_then(|record| record.fence);
        match result {
            Ok(()) => {
                self.apply_late(compose_id, Event::Published { job });
                let Some(fence) = fence else { return };
                let compose_id = compose_id.to_owned();
                // Only a stored Published lets the worker clean up.
                self.later(move |actor| actor.send_commit(&compose_id, fence));
            }
            Err(error) => {
                let cause = submission::chain(&error);
                tracing::error!(compose_id, job, cause, "cannot publish");
                let class = error.class();
                self.apply_late(compose_id, Event::PublishFailed { job, class, cause, lost });
            }
        }
    }

    /// Writes STATUS and, at the end, moves the latest link. One write at a time, the newest word last.
    fn start_status(&mut self, compose_id: &str, status: Status, last: bool) {
        let Some(live) = self.composes.get_mut(compose_id) else { return };
        if live.writing_status {
            live.next_status = Some((status, last));
            return;
        }
        live.writing_status = true;
        let link = live.spec.identity.link_at_end(status.as_str()).filter(|_| last).map(str::to_owned);
        let volumes: Volumes = live.volumes();
        let leftovers = last.then(|| live.compose.leftovers());
        let (handle, compose_id, patience) = (self.handle.clone(), compose_id.to_owned(), self.patience());
        self.handle.tasks().spawn_blocking(move || {
            if let Some(leftovers) = leftovers {
                warn_unswept(publish::sweep(&volumes, |fence| leftovers.fate(fence)));
            }
            let result = patience.wait(
                || volume::write_status(&volumes.top, status.as_str()),
                |_| true,
                |error| error.trouble().is_some(),
                |error| {
                    let text = error.map(|error| submission::chain(error));
                    handle.tell_blocking(Command::Trouble { compose_id: compose_id.clone(), job: None, text });
                },
            );
            let mut unlinked = None;
            if let (Ok(()), Some(link), Some(target)) = (&result, &link, volumes.top.parent())
                && let Err(error) = patience.wait(
                    || latest::move_latest_link(target, link, &compose_id),
                    |_| false,
                    |error| error.trouble().is_some(),
                    |_| {},
                )
            {
                // The compose is whole without it; something else stands where the link should be.
                let text = submission::chain(&error);
                tracing::warn!(compose_id, error = %text, "cannot move the latest link");
                unlinked = Some(format!(
                    "{text}; hint: the compose is whole; move away what stands there, then, if this is the newest: ln -sfn {compose_id} {link} in {}",
                    target.display()
                ));
            }
            handle.tell_blocking(Command::StatusWritten { compose_id: compose_id.clone(), last, result, unlinked });
        });
    }

    pub(super) fn status_written(
        &mut self,
        compose_id: &str,
        last: bool,
        result: Result<(), volume::VolumeError>,
        unlinked: Option<String>,
    ) {
        let refused = result.err().map(|error| {
            let text = submission::chain(&error);
            if text.contains("hint: ") {
                text
            } else {
                format!("{text}; hint: move away what stands there; it is tried again")
            }
        });
        if let Some(text) = &refused
            && self.set_trouble(compose_id, None, Some(text.clone()))
        {
            // Clients see it too, and how long it lasts.
            tracing::warn!(compose_id, error = %text, "cannot write STATUS, trying again");
        }
        let Some(live) = self.composes.get_mut(compose_id) else { return };
        live.writing_status = false;
        live.unlinked = unlinked;
        let mut next = live.next_status.take();
        match refused {
            // The end is not told before STATUS says it.
            Some(_) => next = next.or(Some((live.compose.header.status, last))),
            None => drop(live.trouble.remove(&None)),
        }
        if let Some((status, last)) = next {
            return self.start_status(compose_id, status, last);
        }
        live.settled = last && live.compose.is_ended();
        self.tell_watchers(compose_id, None);
    }
}
