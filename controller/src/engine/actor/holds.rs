//! Composes that are not gone on with. After a restart each unended one is looked at first: somebody may have removed what
//! its finished jobs made, which do not run again, and it would end as if it were whole.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use super::Actor;
use crate::{
    engine::{
        Command,
        live::{Held, Live},
        view,
    },
    fsck::{self, Keeper, Look},
    lifecycle::{self, Event},
};

/// How often what is held is looked at again.
const AGAIN: Duration = Duration::from_secs(30);

impl Actor {
    pub(super) fn keeper(&self) -> Keeper {
        if self.embedded { Keeper::Itself } else { Keeper::Controller(PathBuf::from(&self.place)) }
    }

    pub(super) fn is_held(&self, compose_id: &str) -> bool {
        self.composes.get(compose_id).is_some_and(|live| live.held.is_some())
    }

    /// Looks at what the jobs of a compose made, on a thread for it.
    pub(super) fn look(&self, compose_id: &str) {
        let Some(live) = self.composes.get(compose_id) else { return };
        let (subject, handle) = (view::subject(live, self.keeper()), self.handle.clone());
        let stop = self.handle.tasks().stop();
        self.handle.tasks().spawn_blocking(move || {
            let compose_id = subject.id.clone();
            let then = format!("tutti retry {compose_id} goes on");
            let look = || fsck::look(&subject, &then, || stop.is_cancelled());
            let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(look));
            let refusal = match looked {
                Ok(Look::Whole) => None,
                Ok(Look::Refused(refusal)) => Some(refusal),
                Ok(Look::BrokenOff) => return,
                Err(_) => Some("looking at its files panicked\nhint: see the controller's log".to_owned()),
            };
            handle.tell_blocking(Command::Looked { compose_id, refusal });
        });
    }

    /// Looks again at what is held: its volume may have been away, or what was missing is back.
    pub(super) fn look_again(&mut self) {
        let damaged = |live: &&mut Live| matches!(live.held, Some(Held::Damaged(_)));
        let due = |live: &&mut Live| live.looked_at.is_none_or(|at| at.elapsed() >= AGAIN);
        let mut ids = Vec::new();
        for live in self.composes.values_mut().filter(damaged).filter(due) {
            live.looked_at = Some(Instant::now());
            ids.push(live.id().to_owned());
        }
        ids.iter().for_each(|id| self.look(id));
    }

    pub(super) fn looked(&mut self, compose_id: &str, refusal: Option<String>) {
        let Some(live) = self.composes.get_mut(compose_id).filter(|live| live.held.is_some()) else { return };
        let Some(reason) = refusal else {
            self.release(compose_id);
            return;
        };
        let held = Held::Damaged(reason);
        live.looked_at = Some(Instant::now());
        if live.held.as_ref() == Some(&held) {
            return;
        }
        tracing::error!(compose_id, reason = %held.reason(), "the compose is held");
        live.held = Some(held);
        self.tell_watchers(compose_id, None);
    }

    /// Goes on with a compose; whether it was held.
    pub(super) fn release(&mut self, compose_id: &str) -> bool {
        let Some(live) = self.composes.get_mut(compose_id).filter(|live| live.held.is_some()) else { return false };
        live.held = None;
        let pending = lifecycle::pending_effects(&live.compose, live.settled);
        self.effects.extend(pending.into_iter().map(|effect| (compose_id.to_owned(), effect)));
        self.apply_late(compose_id, Event::Started);
        self.apply_late(compose_id, Event::Loaded);
        self.want_schedule();
        self.tell_watchers(compose_id, None);
        true
    }
}
