//! Composes that are not gone on with. After a restart each unended one is looked at first: somebody may have removed what
//! its finished jobs made, which do not run again, and it would end as if it were whole.

use std::path::PathBuf;

use super::Actor;
use crate::{
    engine::{Command, live::Held, view},
    fsck::{self, Keeper},
    lifecycle::{self, Event},
};

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
            let refusal = looked.unwrap_or_else(|_| {
                tracing::error!(compose_id, "looking at its files panicked; it is gone on with");
                None
            });
            handle.tell_blocking(Command::Looked { compose_id, refusal });
        });
    }

    pub(super) fn looked(&mut self, compose_id: &str, refusal: Option<String>) {
        let Some(live) = self.composes.get_mut(compose_id).filter(|live| live.held == Some(Held::Looked)) else {
            return;
        };
        let Some(reason) = refusal else {
            self.release(compose_id);
            return;
        };
        let held = Held::Damaged(reason);
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
