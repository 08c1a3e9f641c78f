//! What workers say.

use std::collections::{BTreeMap, BTreeSet};

use tutti_job::{Digest, Fence};
use tutti_proto::worker::{self as wire, session_request::Message, session_response::Message as Answer};

use super::{Actor, now};
use crate::{
    engine::{
        Reply, SessionId, keys,
        live::{self, Progress},
        persist, points,
        workers::{Gone, Sender},
    },
    lifecycle::{AttemptRecord, Effect, Event, FailureClass, JobState, Loss, Output, Usage},
    service::{fence_from, fence_to},
};

/// Losses that are remembered.
const KEPT_LOSSES: usize = 64;

impl Actor {
    pub(super) fn connect(&mut self, hello: wire::Hello, sender: Sender, reply: Reply<SessionId>) {
        tutti_failpoint::pass("session.received.hello");
        let executor = hello.incarnation;
        let result = self.workers.connect(&hello, sender, &self.timing, now());
        if result.is_ok() {
            tracing::info!(worker_id = %hello.worker_id, executor = format!("{executor:016x}"), "worker connected");
            let kept = self.inherit(&hello);
            for older in self.workers.take_older(&hello.worker_id, executor) {
                self.lose(&older, &kept);
            }
            self.workers.set_kept(executor, kept);
            self.take_back(&hello);
            // What it holds is adopted by being current; the rest it is told to end.
            self.send_desired(executor);
            self.resend_offers(executor);
            self.want_schedule();
        }
        drop(reply.send(result));
    }

    /// Makes the worker the heir of its earlier incarnations, whose outcomes it found in its journal: it speaks for
    /// them and is answered. Returns the attempts under way that it will deliver.
    fn inherit(&mut self, hello: &wire::Hello) -> BTreeSet<(String, Fence)> {
        let mut kept = BTreeSet::new();
        for (id, fence) in hello.held.iter().filter_map(|fence| fence_from(Some(fence.clone()))) {
            let record = self.composes.get(&id).and_then(|live| live.compose.job(fence.job));
            let Some(record) = record.filter(|_| fence.executor != hello.incarnation) else { continue };
            let own =
                |attempt: &AttemptRecord| attempt.executor == fence.executor && attempt.worker_id == hello.worker_id;
            if !record.attempts.iter().any(own) {
                continue;
            }
            self.workers.inherit(fence.executor, hello.incarnation);
            if record.current() == Some(fence) {
                tracing::info!(compose_id = %id, %fence, "outcome of an earlier incarnation is on its way");
                kept.insert((id, fence));
            }
        }
        kept
    }

    /// Attempts that were given up with this worker, and that nobody has been given since, go on.
    fn take_back(&mut self, hello: &wire::Hello) {
        for (id, fence) in hello.held.iter().filter_map(|fence| fence_from(Some(fence.clone()))) {
            let record = self.composes.get(&id).and_then(|live| live.compose.job(fence.job));
            let own =
                fence.executor == hello.incarnation || self.workers.heir_of(fence.executor) == Some(hello.incarnation);
            if own && record.is_some_and(|record| record.may_revive(fence)) {
                self.apply_late(&id, Event::Accepted { fence });
            }
        }
    }

    /// The stream ended. Whether the worker lives is for its lease to say, unless a new incarnation has spoken already.
    pub(super) fn disconnected(&mut self, session: SessionId) {
        self.want_schedule();
        let Some(executor) = self.workers.disconnect(session) else { return };
        if let Some((gone, kept)) = self.workers.take_superseded(executor) {
            self.lose(&gone, &kept);
        }
    }

    /// A worker incarnation is gone: its jobs go to others, but for those whose outcome its heir has.
    pub(super) fn lose(&mut self, gone: &Gone, kept: &BTreeSet<(String, Fence)>) {
        let mut executors = self.workers.disinherit(gone.executor);
        executors.push(gone.executor);
        let mut touched = BTreeMap::<(String, u64), Vec<Fence>>::new();
        for (id, live) in &self.composes {
            for fence in live.compose.numbered().filter_map(|(_, record)| record.current()) {
                if executors.contains(&fence.executor) {
                    let held = touched.entry((id.clone(), fence.executor)).or_default();
                    held.extend(kept.contains(&(id.clone(), fence)).then_some(fence));
                }
            }
        }
        // One that was asked to end, and had nothing to do, was not lost.
        if !gone.draining || !touched.is_empty() {
            self.note_loss(gone.executor);
        }
        for ((compose_id, executor), kept) in touched {
            let (losses, excused) = (self.losses.clone(), self.embedded);
            self.apply_late(&compose_id, Event::WorkerLost { executor, kept, losses, excused });
        }
    }

    fn note_loss(&mut self, executor: u64) {
        if self.losses.iter().any(|loss| loss.executor == executor) {
            return;
        }
        self.losses.push(Loss { executor, at: now() });
        let surplus = self.losses.len().saturating_sub(KEPT_LOSSES);
        self.losses.drain(..surplus);
        self.put(keys::LOSSES.to_vec(), persist::encode_losses(&self.losses));
    }

    pub(super) fn worker_says(&mut self, session: SessionId, request: wire::SessionRequest) {
        let Some(executor) = self.workers.executor_of(session) else { return };
        if self.workers.seen(executor, now()) {
            self.want_schedule();
        }
        tutti_failpoint::pass(points::received(request.message.as_ref()));
        match request.message {
            Some(Message::Sync(sync)) => self.sync(executor, sync),
            Some(Message::Accept(accept)) => self.with_fence(executor, accept.fence, |actor, id, fence| {
                actor.offers.remove(&(id.to_owned(), fence));
                actor.apply_late(id, Event::Accepted { fence });
            }),
            Some(Message::Reject(reject)) => {
                let (reason, soft) = (reject.reason, reject.soft);
                self.with_fence(executor, reject.fence, move |actor, id, fence| {
                    actor.offers.remove(&(id.to_owned(), fence));
                    actor.apply_late(id, Event::Rejected { fence, reason, soft });
                });
            }
            Some(Message::Progress(progress)) => {
                for status in progress.jobs {
                    self.progress(executor, status);
                }
            }
            Some(Message::Outcome(outcome)) => self.outcome(executor, outcome),
            Some(Message::Drain(drain)) => {
                tracing::info!(executor = format!("{executor:016x}"), reason = drain.reason, "worker drains");
                self.workers.set_draining(executor, true);
            }
            Some(Message::Hello(_)) | None => {
                tracing::debug!("message without meaning in a session, ignored");
            }
        }
    }

    /// Runs `action` for a fence of a compose that is here, if it is the sender's own.
    fn with_fence(&mut self, executor: u64, fence: Option<wire::Fence>, action: impl FnOnce(&mut Self, &str, Fence)) {
        let Some((compose_id, fence)) = fence_from(fence) else { return };
        if self.is_held(&compose_id) {
            return;
        }
        let known = self.composes.get(&compose_id).is_some_and(|compose| live::known(compose, &fence));
        if !known || (fence.executor != executor && self.workers.heir_of(fence.executor) != Some(executor)) {
            // Refused, it would remove the files.
            let record = self.composes.get(&compose_id).and_then(|live| live.compose.job(fence.job));
            if record.is_some_and(|record| record.needs_staging(fence)) {
                return;
            }
            let refused = wire::Refused {
                fence: Some(fence_to(&compose_id, &fence)),
                reason: "no such attempt of this worker here".into(),
            };
            return self.send(executor, Answer::Refused(refused));
        }
        action(self, &compose_id, fence);
    }

    fn sync(&mut self, executor: u64, sync: wire::Sync) {
        if sync.draining {
            self.workers.set_draining(executor, true);
        }
        let conditions = sync.conditions.iter().take(8).map(|condition| clip(condition, 500)).collect();
        self.workers.set_conditions(executor, conditions);
        let mut stray = false;
        for status in sync.running {
            let wanted = fence_from(status.fence.clone()).is_some_and(|(id, fence)| {
                self.is_current(&id, &fence) && !self.composes.get(&id).is_some_and(|live| live.compose.is_stopping())
            });
            stray |= !wanted;
            self.progress(executor, status);
        }
        if stray {
            self.send_desired(executor);
        }
    }

    fn is_current(&self, compose_id: &str, fence: &Fence) -> bool {
        let record = self.composes.get(compose_id).and_then(|live| live.compose.job(fence.job));
        record.and_then(|record| record.current()).is_some_and(|current| current == *fence)
    }

    /// Everything that should run on a worker: not what was to be cancelled, whose Cancel may be lost.
    fn send_desired(&mut self, executor: u64) {
        let mut fences = Vec::new();
        for (id, live) in self.composes.iter().filter(|(_, live)| !live.compose.is_stopping()) {
            for (_, record) in live.compose.numbered() {
                if let Some(fence) = record.current().filter(|fence| fence.executor == executor) {
                    fences.push(fence_to(id, &fence));
                }
            }
        }
        self.send(executor, Answer::Desired(wire::Desired { fences }));
    }

    /// Offers that were stored and perhaps never arrived; of what is to end, that it is to end.
    fn resend_offers(&mut self, executor: u64) {
        let mut effects = Vec::new();
        for (id, live) in &self.composes {
            let stops = live.compose.is_stopping();
            for (_, record) in live.compose.numbered().filter(|(_, record)| record.state == JobState::Offered) {
                let Some(fence) = record.fence.filter(|fence| fence.executor == executor) else { continue };
                let effect = if stops { Effect::CancelAttempt { fence } } else { Effect::SendOffer { fence } };
                effects.push((id.clone(), effect));
            }
        }
        for (id, effect) in effects {
            self.perform(id, effect);
        }
    }

    fn progress(&mut self, executor: u64, status: wire::JobStatus) {
        let Some((compose_id, fence)) = fence_from(status.fence) else { return };
        if fence.executor != executor || !self.is_current(&compose_id, &fence) || self.is_held(&compose_id) {
            return;
        }
        let Some(live) = self.composes.get_mut(&compose_id) else { return };
        // A status heard before the Accept (lost, or still on its way) says that the worker has begun.
        if live.compose.job(fence.job).is_some_and(|record| record.state == JobState::Offered) {
            self.offers.remove(&(compose_id.clone(), fence));
            self.apply_late(&compose_id, Event::Accepted { fence });
        }
        let Some(live) = self.composes.get_mut(&compose_id) else { return };
        let progress = Progress { phase: clip(&status.phase, 500), done: status.done, total: status.total };
        live.progress.insert(fence.job, progress);
        self.tell_watchers(&compose_id, Some(fence.job));
    }

    fn outcome(&mut self, executor: u64, outcome: wire::Outcome) {
        let usage = usage(outcome.usage.as_ref());
        let result = outcome.result;
        self.with_fence(executor, outcome.fence, move |actor, id, fence| {
            actor.offers.remove(&(id.to_owned(), fence));
            match result {
                Some(wire::outcome::Result::Success(success)) => match outputs(success.outputs) {
                    Ok(outputs) => {
                        let event = Event::Succeeded { fence, outputs, warnings: success.warnings, usage };
                        actor.apply_late(id, event);
                    }
                    Err(cause) => actor.failed(id, fence, FailureClass::Tool, cause, String::new(), usage),
                },
                Some(wire::outcome::Result::Failure(failure)) => {
                    let class = class(failure.class());
                    if class == FailureClass::Cancelled && actor.is_current(id, &fence) {
                        return actor.apply_late(id, Event::KilledConfirmed { fence });
                    }
                    actor.failed(id, fence, class, clip(&failure.cause, 2000), clip(&failure.hint, 2000), usage);
                }
                None => {
                    actor.failed(id, fence, FailureClass::Tool, "outcome without a result".into(), String::new(), usage)
                }
            }
        });
    }

    fn failed(&mut self, id: &str, fence: Fence, class: FailureClass, cause: String, hint: String, usage: Usage) {
        self.apply_late(id, Event::FailedAttempt { fence, class, cause, hint, usage });
    }
}

fn clip(text: &str, limit: usize) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).take(limit).collect()
}

fn outputs(outputs: Vec<wire::Output>) -> Result<Vec<Output>, String> {
    let convert = |output: wire::Output| {
        let digest = Digest::try_from(output.digest.as_slice())
            .map_err(|error| format!("output {:?}: {error}", clip(&output.name, 80)))?;
        Ok(Output { name: output.name, digest, size: output.size_bytes })
    };
    outputs.into_iter().map(convert).collect()
}

fn usage(usage: Option<&wire::Usage>) -> Usage {
    let Some(usage) = usage else { return Usage::default() };
    let cpu = usage.cpu.unwrap_or_default();
    Usage {
        cpu_ms: u64::try_from(cpu.seconds).unwrap_or(0) * 1000 + u64::try_from(cpu.nanos).unwrap_or(0) / 1_000_000,
        peak_memory_bytes: usage.peak_memory_bytes,
        counters: usage.counters.iter().map(|counter| (clip(&counter.name, 64), counter.value)).collect(),
    }
}

fn class(class: wire::FailureClass) -> FailureClass {
    match class {
        wire::FailureClass::Infra => FailureClass::Infra,
        wire::FailureClass::Input => FailureClass::Input,
        wire::FailureClass::Unspecified | wire::FailureClass::Tool => FailureClass::Tool,
        wire::FailureClass::Timeout => FailureClass::Timeout,
        wire::FailureClass::Cancelled => FailureClass::Cancelled,
        wire::FailureClass::Poisoned => FailureClass::Poisoned,
        wire::FailureClass::External => FailureClass::External,
        wire::FailureClass::NoSpace => FailureClass::NoSpace,
    }
}
