//! Looks at what finished jobs made, which do not run again: somebody may have removed it, and the compose would end as
//! if it were whole. It is looked at when a controller finds it unended after a restart, and held if something is gone;
//! and when all its jobs are over, before it is called finished.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{Actor, trouble::Patience};
use crate::{
    engine::{
        Command,
        live::{Again, Held, Live, Looking},
        view,
    },
    fsck::{self, Keeper, Look, Then},
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

    /// Looks at what the jobs of a compose made, on a thread for it, and tells what `refusal` makes of it: why nothing
    /// should come of the compose, if so.
    fn look_and_tell(
        &self,
        live: &Live,
        then: Then,
        limit: Duration,
        told: impl FnOnce(String, Option<String>) -> Command + Send + 'static,
    ) {
        let (subject, handle, patience) = (view::subject(live, self.keeper()), self.handle.clone(), self.patience());
        let patience = Patience { limit, ..patience };
        self.handle.tasks().spawn_blocking(move || {
            let look = || {
                tutti_failpoint::pass("engine.look.before");
                let look = || fsck::look(&subject, &then, || patience.stop.is_cancelled());
                let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(look));
                tutti_failpoint::pass("engine.look.after");
                match looked {
                    Ok(Look::Troubled(trouble)) => Err(trouble),
                    Ok(looked) => Ok(looked),
                    Err(_) => Err("looking at its files panicked\nhint: a fault of the program: report it".to_owned()),
                }
            };
            let tell = |trouble: Option<&String>| {
                let text = trouble.map(|trouble| trouble.replace('\n', "; "));
                handle.tell_blocking(Command::Trouble { compose_id: subject.id.clone(), job: None, text });
            };
            let refusal = match patience.wait(look, |_| true, |_| true, tell) {
                Ok(Look::Whole) => None,
                Ok(Look::BrokenOff) => return,
                // What was troubled to the end of all patience, or is when the engine ends.
                Err(_) if patience.stop.is_cancelled() => return,
                Ok(Look::Refused(refusal) | Look::Troubled(refusal)) | Err(refusal) => Some(refusal),
            };
            handle.tell_blocking(told(subject.id, refusal));
        });
    }

    /// Looks at one that is held, and waits so long for a volume in trouble.
    pub(super) fn look(&self, compose_id: &str, limit: Duration) {
        let Some(live) = self.composes.get(compose_id) else { return };
        let then = Then::GoesOn(format!("tutti retry {compose_id} goes on"));
        self.look_and_tell(live, then, limit, |compose_id, refusal| Command::Looked { compose_id, refusal });
    }

    /// Looks at one whose jobs are over.
    pub(super) fn look_at_end(&mut self, compose_id: &str) {
        let Some(live) = self.composes.get_mut(compose_id) else { return };
        if let Some(looking) = &mut live.looking {
            looking.again = Again::Yes;
            return;
        }
        live.looking = Some(Looking { again: Again::No, since: Instant::now() });
        let then = Then::Ends(format!("tutti retry {compose_id} ends it"));
        let Some(live) = self.composes.get(compose_id) else { return };
        self.look_and_tell(live, then, self.timing.volume, |compose_id, damage| Command::LookedAtEnd {
            compose_id,
            damage,
        });
    }

    pub(super) fn looked_at_end(&mut self, compose_id: &str, damage: Option<String>) {
        let Some(live) = self.composes.get_mut(compose_id) else { return };
        if live.looking.take().is_some_and(|looking| looking.again == Again::Yes) {
            // Jobs that came back meanwhile ask for it themselves once they are over.
            if live.compose.is_to_be_looked_at() {
                self.look_at_end(compose_id);
            }
            return;
        }
        let damage = damage.map(|damage| damage.replace('\n', "; "));
        if let Some(damage) = &damage {
            tracing::error!(compose_id, damage, "the compose is not whole");
        }
        self.apply_late(compose_id, Event::Looked { damage });
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
        // It is looked at again soon.
        ids.iter().for_each(|id| self.look(id, Duration::ZERO));
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
