//! What goes wrong: processes that die or stop, links that are cut, a store that is away.

use super::{Event, World};
use crate::sim::engine::Input;

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
        match self.random.below(9) {
            0 | 1 if self.workers[worker].up => self.kill_worker(worker, 15_000),
            2 => self.pause_worker(worker, long),
            3 | 4 => self.cut(worker, controller, long, one_way),
            5 if self.controllers[controller].up => self.kill_controller(controller),
            6 => self.pause_controller(controller, long),
            7 => self.store.away_until = self.now + long / 8,
            _ => self.workers[worker].moody = self.random.below(400),
        }
    }
}
