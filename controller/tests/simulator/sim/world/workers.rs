//! Workers in their world: connections, and jobs that take time and end as they are fated to.

use tutti_controller::{lifecycle::FailureClass, plan::At};
use tutti_job::{Digest, Fence, JobSpec};

use super::{DEAF_MS, Event, World};
use crate::sim::{
    engine::Input,
    network::{Down, Session, Up},
    plans::{Fate, result_of},
    worker::{Act, Ending},
};

impl World {
    pub(super) fn worker_tick(&mut self, number: usize) {
        self.after(500, Event::WorkerTick(number));
        let now = self.now;
        if !self.workers[number].up {
            return;
        }
        if let Some((controller, session)) = self.workers[number].session {
            let reachable = self.controllers[controller].engine.is_some()
                && self.controllers[controller].paused_until <= now
                && !self.is_cut(number, controller, true)
                && !self.is_cut(number, controller, false);
            let open = self.controllers[controller].engine.as_ref().is_some_and(|engine| engine.knows(session));
            let worker = &mut self.workers[number];
            if reachable && open {
                worker.heard = now;
            } else if reachable || now - worker.heard > DEAF_MS || self.controllers[controller].engine.is_none() {
                worker.session = None;
                self.orphaned.extend(worker.running());
                let epoch = self.controllers[controller].engine.as_ref().map(|engine| engine.epoch);
                if let Some(epoch) = epoch.filter(|_| self.random.permille(500)) {
                    self.after(5, Event::Told { controller, epoch, input: Input::Disconnected(session) });
                }
            }
        }
        if self.workers[number].session.is_none() {
            self.hello(number);
        }
        let worker = &mut self.workers[number];
        let mut acts = worker.due(now);
        if now - worker.synced >= 2_000 {
            worker.synced = now;
            let running = worker.running();
            acts.push(Act::Send(Up::Sync { running }));
        }
        self.worker_acts(number, acts);
    }

    fn hello(&mut self, number: usize) {
        let listening: Vec<usize> =
            (0..self.controllers.len()).filter(|n| self.controllers[*n].engine.is_some()).collect();
        if listening.is_empty() {
            return;
        }
        let controller = self.random.pick(&listening);
        self.sessions += 1;
        let session = Session(self.sessions);
        let worker = &mut self.workers[number];
        worker.trying = Some((controller, session));
        let (executor, total, held) = (worker.incarnation, worker.total, worker.held());
        self.send_up(number, controller, session, Up::Hello { worker: number, executor, total, held });
    }

    fn send_up(&mut self, worker: usize, controller: usize, session: Session, up: Up) {
        if !self.is_cut(worker, controller, true) {
            for delay in self.deliveries() {
                let up = up.clone();
                self.after(delay, Event::Up { controller, session, up });
            }
        }
    }

    pub(super) fn receive(&mut self, number: usize, controller: usize, epoch: i64, session: Session, down: Down) {
        let refuses = !self.is_quiet() && self.random.permille(self.workers[number].moody);
        let worker = &mut self.workers[number];
        let mine = [worker.session, worker.trying].contains(&Some((controller, session)));
        if worker.up && mine {
            let acts = worker.receive(epoch, session, controller, down, self.now, refuses);
            self.worker_acts(number, acts);
        }
    }

    fn worker_acts(&mut self, number: usize, acts: Vec<Act>) {
        for act in acts {
            match act {
                Act::Send(up) => {
                    if let Some((controller, session)) = self.workers[number].session {
                        self.send_up(number, controller, session, up);
                    }
                }
                Act::Start { fence, spec } => self.start(number, fence, &spec),
                Act::Stop { fence, after_ms } => {
                    let (incarnation, ending) = (self.workers[number].incarnation, Some(Err(FailureClass::Cancelled)));
                    let after = self.random.between(1, after_ms);
                    self.after(after, Event::JobEnds { worker: number, incarnation, fence, ending });
                }
                Act::Forget(fence) => drop(self.staged.remove(&fence)),
            }
        }
    }

    fn start(&mut self, worker: usize, fence: Fence, spec: &JobSpec) {
        self.counts.started += 1;
        for input in &spec.inputs {
            let digest = Digest::try_from(input.digest.as_slice());
            if !digest.is_ok_and(|digest| self.blobs.contains(&digest)) {
                self.wrong.push(format!("{fence} began without its input {}", input.name));
            }
        }
        let edges = self.plan.job(fence.job).map(|planned| planned.edges.clone()).unwrap_or_default();
        for edge in edges.iter().filter(|edge| edge.at == At::Published) {
            let read = spec.inputs.iter().any(|input| input.name == format!("in{}", edge.job));
            let stood = self.tree.contains_key(&edge.job) || self.taken.contains_key(&edge.job);
            if read && !stood {
                self.wrong.push(format!("{fence} began before job {} stood in the tree", edge.job));
            }
        }
        let incarnation = self.workers[worker].incarnation;
        let duration = self.random.between(10, self.profile.longest_job_ms);
        self.after(duration, Event::JobEnds { worker, incarnation, fence, ending: None });
    }

    pub(super) fn job_ends(&mut self, number: usize, incarnation: u64, fence: Fence, ending: Option<Ending>) {
        let worker = &self.workers[number];
        if !worker.up || worker.incarnation != incarnation || !worker.is_running(fence) {
            return;
        }
        let ending = match ending {
            Some(ending) => ending,
            None => match self.run(number, fence) {
                Some(ending) => ending,
                None => return,
            },
        };
        if let Ok(outputs) = &ending {
            self.staged.insert(fence, outputs.clone());
        }
        let acts = self.workers[number].finished(fence, ending, self.now);
        self.worker_acts(number, acts);
    }

    /// What a job does at its end; nothing if it has none, or its worker.
    fn run(&mut self, number: usize, fence: Fence) -> Option<Ending> {
        let spec = self.workers[number].spec(fence)?;
        let made = result_of(spec);
        match self.fates[fence.job as usize] {
            Fate::Good => Some(Ok(made)),
            Fate::Broken => Some(Err(FailureClass::Tool)),
            Fate::Hangs if !self.mended => None,
            Fate::Hangs => Some(Ok(made)),
            Fate::Poison => {
                self.kill_worker(number, 2_000);
                None
            }
            Fate::Flaky(times) => {
                let flaked = self.flaked.entry(fence.job).or_default();
                if *flaked >= times {
                    return Some(Ok(made));
                }
                *flaked += 1;
                let class = if *flaked == 1 { FailureClass::Infra } else { FailureClass::NoSpace };
                Some(Err(class))
            }
        }
    }
}
