//! Names of the engine's failpoints: before and after each kind of change that is stored, each effect, each message.

use tutti_proto::worker::{session_request::Message as Up, session_response::Message as Down};

use crate::{history::Cause, lifecycle::Effect};

/// What a transaction stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stored {
    /// A new compose.
    Submission,
    /// What follows from an event.
    Event(Cause),
    /// That a compose has ended.
    End,
}

/// Names of the points before and after something.
type Pair = [&'static str; 2];

macro_rules! pair {
    ($prefix:literal, $name:literal) => {
        [concat!($prefix, ".", $name, ".before"), concat!($prefix, ".", $name, ".after")]
    };
}

pub(super) fn stored(what: Stored) -> Pair {
    match what {
        Stored::Submission => pair!("engine.store", "submission"),
        Stored::End => pair!("engine.store", "end"),
        Stored::Event(cause) => match cause {
            Cause::Found => pair!("engine.store", "found"),
            Cause::Started => pair!("engine.store", "started"),
            Cause::Loaded => pair!("engine.store", "loaded"),
            Cause::Offered => pair!("engine.store", "offered"),
            Cause::Accepted => pair!("engine.store", "accepted"),
            Cause::Rejected => pair!("engine.store", "rejected"),
            Cause::AcceptTimedOut => pair!("engine.store", "accept-timed-out"),
            Cause::Succeeded => pair!("engine.store", "succeeded"),
            Cause::VerifiedOk => pair!("engine.store", "committed"),
            Cause::VerifyFailed => pair!("engine.store", "verify-failed"),
            Cause::FailedAttempt => pair!("engine.store", "failed"),
            Cause::Published => pair!("engine.store", "published"),
            Cause::PublishFailed => pair!("engine.store", "publish-failed"),
            Cause::WorkerLost => pair!("engine.store", "worker-lost"),
            Cause::Cancel => pair!("engine.store", "cancel"),
            Cause::Retry => pair!("engine.store", "retry"),
            Cause::KilledConfirmed => pair!("engine.store", "killed"),
            Cause::Looked => pair!("engine.store", "looked"),
        },
    }
}

pub(super) fn effect(effect: &Effect) -> Pair {
    match effect {
        Effect::SendOffer { .. } => pair!("engine.effect", "offer"),
        Effect::SendCommit { .. } => pair!("engine.effect", "commit"),
        Effect::SendRefused { .. } => pair!("engine.effect", "refused"),
        Effect::CancelAttempt { .. } => pair!("engine.effect", "cancel"),
        Effect::Verify { .. } => pair!("engine.effect", "verify"),
        Effect::Publish { .. } => pair!("engine.effect", "publish"),
        Effect::WriteStatus { .. } => pair!("engine.effect", "status"),
        Effect::Look => pair!("engine.effect", "look"),
        Effect::Finish { .. } => pair!("engine.effect", "finish"),
    }
}

pub(super) fn sent(message: &Down) -> Pair {
    match message {
        Down::Welcome(_) => pair!("session.send", "welcome"),
        Down::Offer(_) => pair!("session.send", "offer"),
        Down::Cancel(_) => pair!("session.send", "cancel"),
        Down::Commit(_) => pair!("session.send", "commit"),
        Down::Refused(_) => pair!("session.send", "refused"),
        Down::Desired(_) => pair!("session.send", "desired"),
        Down::GoAway(_) => pair!("session.send", "go-away"),
        Down::Redirect(_) => pair!("session.send", "redirect"),
    }
}

pub(super) fn received(message: Option<&Up>) -> &'static str {
    match message {
        Some(Up::Hello(_)) => "session.received.hello",
        Some(Up::Sync(_)) => "session.received.sync",
        Some(Up::Accept(_)) => "session.received.accept",
        Some(Up::Reject(_)) => "session.received.reject",
        Some(Up::Progress(_)) => "session.received.progress",
        Some(Up::Outcome(_)) => "session.received.outcome",
        Some(Up::Drain(_)) => "session.received.drain",
        None => "session.received.nothing",
    }
}
