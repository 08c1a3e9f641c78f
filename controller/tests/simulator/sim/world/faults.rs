//! What goes wrong: processes that die or stop, links that are cut, a store that is away.

use super::{Event, World};
use crate::sim::engine::Input;
use tutti_controller::lifecycle::JobState;

impl World {
    pub(crate) fn kill_worker(&mut self, number: usize, longest: i64) {
        if let Some((controller, session)) = self.workers[number].session {
            // A dead process's connection is reset; whether that is heard is another matter.
            let epoch = self.controllers[controller].engine.as_ref().map(|engine| engine.epoch);
            if let Some(epoch) = epoch.filter(|_| self.random.permille(700)) {
                self.after(5, Event::Told { controller, epoch, input: Input::Disconnected(session) });
            }
        }
        for fence in self.workers[number].running() {
            self.staged.remove(&fence);
        }
        self.workers[number].die();
        let after = self.random.between(200, longest);
        self.after(after, Event::Rise { worker: number });
    }

    pub(crate) fn kill_controller(&mut self, number: usize) {
        self.controllers[number].engine = None;
        self.controllers[number].up = false;
        let after = self.random.between(100, 4_000);
        self.after(after, Event::Restart { controller: number });
    }

    pub(crate) fn pause_worker(&mut self, number: usize, millis: i64) {
        let until = self.now + millis;
        self.workers[number].paused_until = until;
    }

    pub(crate) fn pause_controller(&mut self, number: usize, millis: i64) {
        self.controllers[number].paused_until = self.now + millis;
    }

    pub(crate) fn cut(&mut self, worker: usize, controller: usize, millis: i64, only_up: bool) {
        self.cut.insert((worker, controller), (self.now + millis, only_up));
    }

    /// Somebody takes out of the tree what a job made, while others go on.
    pub(crate) fn take_from_tree(&mut self) {
        let Some(compose) = self.stored().filter(|compose| compose.counts().1 > 0) else { return };
        let published = |job: &u32| compose.job(*job).is_some_and(|record| record.state == JobState::Published);
        let jobs: Vec<u32> = self.tree.keys().copied().filter(published).collect();
        let Some(&job) = jobs.get(self.random.below(jobs.len().max(1) as u64) as usize) else { return };
        self.taken.extend(self.tree.remove(&job).map(|outputs| (job, outputs)));
    }

    /// Somebody puts it back.
    pub(crate) fn put_back(&mut self) {
        self.tree.append(&mut self.taken);
    }

    pub(super) fn fault(&mut self) {
        if self.is_quiet() {
            return;
        }
        self.counts.faults += 1;
        let next = self.random.between(1, self.profile.fault_every_ms * 2);
        self.after(next, Event::Fault);
        let worker = self.random.below(self.workers.len() as u64) as usize;
        let controller = self.random.below(self.controllers.len() as u64) as usize;
        let long = self.random.between(100, 40_000).min((self.profile.quiet_at - self.now).max(1));
        let one_way = self.random.permille(300);
        match self.random.below(10) {
            0 | 1 if self.workers[worker].up => self.kill_worker(worker, 15_000),
            2 => self.pause_worker(worker, long),
            3 | 4 => self.cut(worker, controller, long, one_way),
            5 if self.controllers[controller].up => self.kill_controller(controller),
            6 => self.pause_controller(controller, long),
            8 if self.random.permille(300) => self.take_from_tree(),
            7 => self.store.away_until = self.now + long / 8,
            _ => self.workers[worker].moody = self.random.below(400),
        }
    }
}
