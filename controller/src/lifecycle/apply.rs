//! Events on a compose.

mod retry;

use tutti_job::Fence;

use super::{
    AttemptRecord, AttemptResult, Changes, Compose, Effect, Event, FailureClass, HARD_EXCLUSION_MS, IllegalTransition,
    JobState, Loss, Output, SOFT_EXCLUSION_MS, Status, TIMEOUT_EXCLUSION_MS, Timestamp, Usage,
    transition::{Bad, Transition, bounded, cut, cut_within},
};

type Applied = Result<(), IllegalTransition>;

/// Applies an event: what to store, and what to do once that is stored.
///
/// The compose itself is not changed; [`Compose::absorb`] does that after storing.
///
/// # Errors
/// [`IllegalTransition`] for what a caller should not have asked. Late and repeated messages are no errors.
pub fn apply(compose: &Compose, event: Event, now: Timestamp) -> Result<(Changes, Vec<Effect>), IllegalTransition> {
    let mut transition = Transition::new(compose, now);
    let t = &mut transition;
    match event {
        Event::Started => started(t)?,
        Event::Loaded => loaded(t),
        Event::Offered { job, executor, worker_id } => offered(t, job, executor, &worker_id)?,
        Event::Accepted { fence } => accepted(t, fence),
        Event::Rejected { fence, reason, soft } => {
            let millis = if soft { SOFT_EXCLUSION_MS } else { HARD_EXCLUSION_MS };
            not_begun(t, fence, &format!("worker refused: {reason}"), millis);
        }
        Event::AcceptTimedOut { fence } => not_begun(t, fence, "worker did not answer the offer", TIMEOUT_EXCLUSION_MS),
        Event::Succeeded { fence, outputs, warnings, usage } => succeeded(t, fence, outputs, warnings, usage)?,
        Event::VerifiedOk { fence } => verified(t, fence)?,
        Event::VerifyFailed { fence, class, cause } => verify_failed(t, fence, class, cause),
        Event::FailedAttempt { fence, class, cause, hint, usage } => {
            failed_attempt(t, fence, Bad { result: AttemptResult::Failed, class, cause, hint, usage });
        }
        Event::Published { job } => published(t, job)?,
        Event::PublishFailed { job, class, cause, lost } => publish_failed(t, job, class, &cause, lost)?,
        Event::WorkerLost { executor, kept, losses, excused } => {
            worker_lost(t, executor, &kept, (!excused).then_some(losses.as_slice()));
        }
        Event::Cancel => cancel(t)?,
        Event::Retry { jobs } => retry::retry(t, &jobs)?,
        Event::KilledConfirmed { fence } => killed(t, fence),
        Event::Looked { damage } => t.looked(damage.as_deref()),
    }
    Ok(transition.finish())
}

fn started(t: &mut Transition<'_>) -> Applied {
    if t.header.started_at.is_some() {
        return Ok(());
    }
    t.header.started_at = Some(t.now);
    t.effects.push(Effect::WriteStatus { status: t.header.status });
    for job in 0..t.compose.jobs.len() {
        t.settle_job(u32::try_from(job).unwrap_or(u32::MAX));
    }
    Ok(())
}

fn loaded(t: &mut Transition<'_>) {
    if t.header.started_at.is_none() {
        return;
    }
    let jobs: Vec<(u32, JobState)> = t.compose.numbered().map(|(job, record)| (job, record.state)).collect();
    for (job, state) in jobs {
        match state {
            JobState::Failed => drop(t.lose_again(job, job)),
            JobState::Skipped { because } => drop(t.lose_again(job, because)),
            JobState::Waiting | JobState::Ready if t.header.stopping => t.set_state(job, JobState::Cancelled),
            _ => t.settle_job(job),
        }
    }
}

fn offered(t: &mut Transition<'_>, job: u32, executor: u64, worker_id: &str) -> Applied {
    let state = t.record(job)?.state;
    if state != JobState::Ready || t.header.stopping {
        return Err(IllegalTransition::State { job: t.name(job), state: state.as_str(), wanted: "offered" });
    }
    let now = t.now;
    let attempt = t.record(job)?.attempt.saturating_add(1);
    let fence = Fence { job, attempt, executor };
    t.edit(job, |record| {
        record.attempt = attempt;
        record.fence = Some(fence);
        record.push_attempt(AttemptRecord {
            number: attempt,
            executor,
            worker_id: cut(worker_id, 64),
            offered: now,
            started: None,
            ended: None,
            result: AttemptResult::Open,
            class: None,
            cause: String::new(),
            usage: Usage::default(),
        });
    });
    t.set_state(job, JobState::Offered);
    t.effects.push(Effect::SendOffer { fence });
    Ok(())
}

fn accepted(t: &mut Transition<'_>, fence: Fence) {
    t.revive(fence);
    if !t.is_current(fence) {
        // Repeated acceptances of an attempt that has ended well need no answer.
        if !is_done(t, fence) {
            t.refuse(fence);
        }
        return;
    }
    if t.state(fence.job) == JobState::Offered {
        begin(t, fence);
        if t.header.stopping {
            t.effects.push(Effect::CancelAttempt { fence });
        }
    }
}

fn begin(t: &mut Transition<'_>, fence: Fence) {
    let now = t.now;
    t.edit(fence.job, |record| {
        record.started_at = Some(now);
        if let Some(attempt) = record.attempts.last_mut() {
            attempt.started = Some(now);
        }
    });
    t.set_state(fence.job, JobState::Running);
}

/// Whether this very attempt committed.
fn is_done(t: &Transition<'_>, fence: Fence) -> bool {
    t.record(fence.job).is_ok_and(|record| record.committed && record.fence == Some(fence))
}

/// The worker will not run it. Too late once it has accepted: then it runs.
fn not_begun(t: &mut Transition<'_>, fence: Fence, cause: &str, exclude_millis: i64) {
    if t.is_current(fence) && t.state(fence.job) == JobState::Offered {
        t.give_back(fence, AttemptResult::NeverStarted, cause, exclude_millis);
    }
}

fn succeeded(
    t: &mut Transition<'_>,
    fence: Fence,
    outputs: Vec<Output>,
    warnings: Vec<String>,
    usage: Usage,
) -> Applied {
    if is_done(t, fence) {
        t.effects.push(Effect::SendCommit { fence });
        return Ok(());
    }
    t.revive(fence);
    if !t.is_current(fence) {
        t.refuse(fence);
        return Ok(());
    }
    match t.state(fence.job) {
        // Said before: verification is under way, and the answer follows it.
        JobState::Verifying => return Ok(()),
        // The acceptance was lost.
        JobState::Offered => begin(t, fence),
        _ => {}
    }
    let mut outputs = outputs;
    outputs.sort_by(|a, b| a.name.cmp(&b.name));
    let declared = t.planned(fence.job)?.outputs.iter().map(|output| output.name.as_str());
    if !declared.eq(outputs.iter().map(|output| output.name.as_str())) {
        let made: Vec<&str> = outputs.iter().map(|output| output.name.as_str()).collect();
        let cause = format!("the worker reports other outputs than the job declares: {}", made.join(", "));
        let bad = Bad { result: AttemptResult::Failed, class: FailureClass::Tool, cause, hint: String::new(), usage };
        failed_attempt(t, fence, bad);
        return Ok(());
    }
    t.edit(fence.job, |record| {
        record.outputs = outputs;
        record.warnings = warnings.iter().take(8).map(|warning| cut_within(warning, 120)).collect();
        if let Some(attempt) = record.attempts.last_mut() {
            attempt.usage = bounded(usage);
        }
    });
    t.set_state(fence.job, JobState::Verifying);
    t.effects.push(Effect::Verify { fence });
    Ok(())
}

fn verified(t: &mut Transition<'_>, fence: Fence) -> Applied {
    if !t.is_current(fence) || t.state(fence.job) != JobState::Verifying {
        return Ok(());
    }
    let usage = t.record(fence.job)?.attempts.last().map(|attempt| attempt.usage.clone()).unwrap_or_default();
    t.close_attempt(fence.job, AttemptResult::Committed, None, "", usage);
    t.edit(fence.job, |record| {
        record.committed = true;
        record.reason.clear();
        record.hint.clear();
        record.class = None;
        record.excluded.clear();
        record.avoid.clear();
        (record.full_since, record.not_before) = (None, None);
    });
    t.set_state(fence.job, JobState::Committed);
    t.effects.push(Effect::SendCommit { fence });
    publish(t, fence.job)
}

/// Moves the outputs of a committed job into the tree; with none, it is published at once.
fn publish(t: &mut Transition<'_>, job: u32) -> Applied {
    if t.planned(job)?.has_tree_outputs() {
        t.effects.push(Effect::Publish { job });
    } else {
        t.set_state(job, JobState::Published);
    }
    Ok(())
}

fn verify_failed(t: &mut Transition<'_>, fence: Fence, class: FailureClass, cause: String) {
    if !t.is_current(fence) || t.state(fence.job) != JobState::Verifying {
        return;
    }
    t.effects.push(Effect::SendRefused { fence, reason: cut(&cause, 400) });
    let usage = Usage::default();
    let hint = match class {
        FailureClass::NoSpace => "free space on the compose volume, then run tutti retry",
        _ => "the files that the worker made are not those that it reported: look at its disk",
    };
    t.attempt_failed(fence, Bad { result: AttemptResult::Failed, class, cause, hint: hint.to_owned(), usage });
}

fn failed_attempt(t: &mut Transition<'_>, fence: Fence, bad: Bad) {
    if !t.is_current(fence) {
        t.refuse(fence);
        return;
    }
    match t.state(fence.job) {
        // It said that it succeeded: that is being looked at, and decides.
        JobState::Verifying => return,
        JobState::Offered => begin(t, fence),
        _ => {}
    }
    t.effects.push(Effect::SendCommit { fence });
    t.attempt_failed(fence, bad);
}

fn published(t: &mut Transition<'_>, job: u32) -> Applied {
    match t.record(job)?.state {
        JobState::Published => {}
        JobState::Committed => t.set_state(job, JobState::Published),
        state => return Err(IllegalTransition::State { job: t.name(job), state: state.as_str(), wanted: "published" }),
    }
    Ok(())
}

fn publish_failed(t: &mut Transition<'_>, job: u32, class: FailureClass, cause: &str, lost: bool) -> Applied {
    match t.record(job)?.state {
        JobState::Committed => {}
        // Said before, or another try at publishing had succeeded.
        JobState::Published | JobState::Failed => return Ok(()),
        state => {
            return Err(IllegalTransition::State { job: t.name(job), state: state.as_str(), wanted: "published" });
        }
    }
    let now = t.now;
    t.edit(job, |record| {
        record.reason = cut(&format!("cannot move outputs into the tree: {cause}"), 400);
        record.hint = match lost {
            true => {
                "put them back from a copy, then retry; else make a new compose: the job is done and does not run again"
            }
            false => "retry moves them again; the job itself is done",
        }
        .to_owned();
        record.class = Some(class);
        record.ended_at = Some(now);
    });
    t.fail(job);
    Ok(())
}

/// Without `losses` nobody is to blame.
fn worker_lost(t: &mut Transition<'_>, executor: u64, kept: &[Fence], losses: Option<&[Loss]>) {
    let held = t.compose.jobs.iter().filter_map(|record| record.current()).filter(|fence| fence.executor == executor);
    for fence in held.filter(|fence| !kept.contains(fence)) {
        // An earlier one of these may have stopped the compose, but no attempt ends by that.
        match t.state(fence.job) {
            JobState::Offered | JobState::Running => match losses {
                Some(losses) => t.attempt_lost(fence, losses),
                None => t.give_back(fence, AttemptResult::Lost, "ended with the program that ran it", 0),
            },
            // What it reported is on the volume: verification goes on without it.
            _ => {}
        }
    }
}

fn cancel(t: &mut Transition<'_>) -> Applied {
    if t.header.ended_at.is_some() {
        return Err(IllegalTransition::Compose { status: t.header.status.as_str(), wanted: "cancelled" });
    }
    if t.header.cancelled {
        return Ok(());
    }
    t.header.cancelled = true;
    t.header.started_at.get_or_insert(t.now);
    t.header.status = Status::Terminated;
    t.effects.push(Effect::WriteStatus { status: Status::Terminated });
    t.stop("the compose was cancelled");
    Ok(())
}

fn killed(t: &mut Transition<'_>, fence: Fence) {
    if t.is_current(fence) && t.state(fence.job) != JobState::Verifying {
        t.give_back(fence, AttemptResult::Cancelled, "the attempt was told to end", 0);
        t.effects.push(Effect::SendCommit { fence });
    }
}

/// The effects that stored state asks for: to be performed after a restart. Each is idempotent.
///
/// Answers to workers are not among them: a worker repeats its outcome until it is answered. `settled` says that all
/// was done that follows a compose's end: done again long after, it would take the `latest-` link from later composes.
pub fn pending_effects(compose: &Compose, settled: bool) -> Vec<Effect> {
    let mut effects = Vec::new();
    if compose.header.started_at.is_none() || (settled && compose.is_ended()) {
        return effects;
    }
    let status = compose.header.status;
    effects.push(Effect::WriteStatus { status });
    for (job, record) in compose.numbered() {
        match (record.state, record.fence) {
            (JobState::Offered | JobState::Running, Some(fence)) if compose.is_stopping() => {
                effects.push(Effect::CancelAttempt { fence });
            }
            (JobState::Offered, Some(fence)) => effects.push(Effect::SendOffer { fence }),
            (JobState::Verifying, Some(fence)) => effects.push(Effect::Verify { fence }),
            (JobState::Committed, _) => effects.push(Effect::Publish { job }),
            _ => {}
        }
    }
    if compose.is_ended() {
        effects.push(Effect::Finish { status });
    } else if compose.is_to_be_looked_at() {
        effects.push(Effect::Look);
    }
    effects
}
