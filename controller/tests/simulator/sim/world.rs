//! Time, controllers, disk and network around engines; [`workers`] and [`faults`] are what else there is.

mod faults;
mod workers;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    sync::Arc,
};

use tutti_controller::{
    lifecycle::{FailureClass, Output, Status},
    plan::Plan,
};
use tutti_job::{Digest, Fence, Resources};

use super::{
    engine::{self, Engine, Input, Step},
    network::{Down, Session, Up},
    plans::Fate,
    random::Random,
    sabotage::Sabotage,
    store::Store,
    worker::{Ending, Worker},
};

const TICK_MS: i64 = 250;
/// Silence after which a worker looks for another controller.
const DEAF_MS: i64 = 6_000;

/// How rough a run is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Profile {
    pub(crate) workers: usize,
    pub(crate) controllers: usize,
    /// Messages of a thousand that are lost, said twice, or late by seconds.
    pub(crate) loss: u64,
    pub(crate) repeat: u64,
    pub(crate) late: u64,
    /// Mean time between faults of processes and links; none when zero.
    pub(crate) fault_every_ms: i64,
    /// Transactions of a thousand whose outcome is unknown, and after which the controller dies.
    pub(crate) unknown: u64,
    pub(crate) die_storing: u64,
    /// Outcomes of a thousand that do not verify, and publications that fail.
    pub(crate) bad_disk: u64,
    /// Lines of a thousand that are written twice.
    pub(crate) lines_twice: u64,
    pub(crate) fail_fast: bool,
    pub(crate) cancel_at: Option<i64>,
    /// Operations of one transaction.
    pub(crate) batch_size: usize,
    /// From then on nothing goes wrong but what the jobs do.
    pub(crate) quiet_at: i64,
    pub(crate) longest_job_ms: i64,
}

/// What happened, to see that the checks had something to look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) events: u64,
    pub(crate) faults: u32,
    pub(crate) epochs: u32,
    pub(crate) stale: u32,
    /// Outcomes of attempts that outlived their connection: accepted while current, and refused after.
    pub(crate) late_accepted: u32,
    pub(crate) late_refused: u32,
    pub(crate) poisoned: u32,
    pub(crate) commits: u32,
    pub(crate) retries: u32,
    /// Looks at the tree that found something gone.
    pub(crate) holes: u32,
    pub(crate) started: u32,
}

enum Event {
    Step(usize),
    Tick(usize),
    WorkerTick(usize),
    Up { controller: usize, session: Session, up: Up },
    Down { worker: usize, controller: usize, epoch: i64, session: Session, down: Down },
    Told { controller: usize, epoch: i64, input: Input },
    JobEnds { worker: usize, incarnation: u64, fence: Fence, ending: Option<Ending> },
    Rise { worker: usize },
    Restart { controller: usize },
    Fault,
    Cancel,
}

pub(crate) struct Controller {
    pub(crate) up: bool,
    pub(crate) paused_until: i64,
    pub(crate) engine: Option<Engine>,
    stepping: bool,
    /// Looks at its own clock before it writes; without that, only the store's comparison protects.
    careful: bool,
    kept_alive: i64,
}

pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) profile: Profile,
    pub(crate) now: i64,
    pub(crate) store: Store,
    pub(crate) plan: Arc<Plan>,
    pub(crate) fates: Vec<Fate>,
    pub(crate) controllers: Vec<Controller>,
    pub(crate) workers: Vec<Worker>,
    pub(crate) history: String,
    pub(crate) counts: Counts,
    pub(crate) status: Option<Status>,
    /// Files of attempts, manifests kept for good, and the tree.
    pub(crate) staged: BTreeMap<Fence, Vec<Output>>,
    pub(crate) blobs: BTreeSet<Digest>,
    pub(crate) tree: BTreeMap<u32, Vec<Output>>,
    /// What somebody took out of the tree.
    pub(crate) taken: BTreeMap<u32, Vec<Output>>,
    /// What the checks of `verdict` cannot see afterwards.
    pub(crate) wrong: Vec<String>,
    queue: BinaryHeap<Reverse<(i64, u64)>>,
    events: BTreeMap<(i64, u64), Event>,
    sequence: u64,
    sessions: u64,
    incarnations: u64,
    /// Links (worker, controller) that are cut, up to when, and whether only upwards.
    cut: BTreeMap<(usize, usize), (i64, bool)>,
    flaked: BTreeMap<u32, u32>,
    pub(crate) mended: bool,
    /// What is broken in every engine.
    pub(crate) sabotage: Option<Sabotage>,
    /// Attempts whose worker lost its connection while they ran.
    orphaned: BTreeSet<Fence>,
    answered: BTreeSet<Fence>,
}

impl World {
    pub(crate) fn new(seed: u64, profile: Profile, plan: Plan, fates: Vec<Fate>) -> Self {
        let mut random = Random::new(seed ^ 0x5eed);
        let controllers = (0..profile.controllers)
            .map(|_| Controller {
                up: true,
                paused_until: 0,
                engine: None,
                stepping: false,
                careful: random.permille(500),
                kept_alive: 0,
            })
            .collect();
        let mut world = Self {
            random,
            now: 1_000,
            store: Store::default(),
            plan: Arc::new(plan),
            fates,
            controllers,
            workers: vec![],
            history: String::new(),
            counts: Counts::default(),
            status: None,
            staged: BTreeMap::new(),
            blobs: BTreeSet::new(),
            tree: BTreeMap::new(),
            taken: BTreeMap::new(),
            wrong: vec![],
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            sequence: 0,
            sessions: 0,
            incarnations: 0,
            cut: BTreeMap::new(),
            flaked: BTreeMap::new(),
            mended: false,
            sabotage: None,
            orphaned: BTreeSet::new(),
            answered: BTreeSet::new(),
            profile,
        };
        world.populate();
        world
    }

    fn populate(&mut self) {
        for controller in 0..self.profile.controllers {
            self.after(controller as i64 * 100, Event::Tick(controller));
        }
        for number in 0..self.profile.workers {
            let cores = self.random.between(1, 5) as u32;
            let total = Resources { cpu_milli: cores * 1000, memory_bytes: u64::from(cores) << 31 };
            let incarnation = self.incarnation();
            self.workers.push(Worker::new(incarnation, total));
            self.after(10 + number as i64, Event::WorkerTick(number));
        }
        if self.profile.fault_every_ms > 0 {
            self.after(self.profile.fault_every_ms, Event::Fault);
        }
        if let Some(at) = self.profile.cancel_at {
            self.after(at, Event::Cancel);
        }
    }

    fn incarnation(&mut self) -> u64 {
        self.incarnations += 1;
        self.incarnations
    }

    fn after(&mut self, millis: i64, event: Event) {
        self.sequence += 1;
        let key = (self.now + millis, self.sequence);
        self.queue.push(Reverse(key));
        self.events.insert(key, event);
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.now >= self.profile.quiet_at
    }

    /// Runs until `over` says so or that time has come; whether `over` did.
    pub(crate) fn run_until(&mut self, limit: i64, over: impl Fn(&Self) -> bool) -> bool {
        while !over(self) {
            let Some(Reverse(key)) = self.queue.pop() else { return false };
            if key.0 > limit {
                self.queue.push(Reverse(key));
                return false;
            }
            self.now = self.now.max(key.0);
            if let Some(event) = self.events.remove(&key) {
                self.counts.events += 1;
                self.happen(event);
            }
        }
        true
    }

    /// The engine of the controller that leads by the store's word.
    pub(crate) fn leader(&self) -> Option<(usize, &Engine)> {
        let engines = self.controllers.iter().enumerate().filter_map(|(n, c)| c.engine.as_ref().map(|e| (n, e)));
        engines.max_by_key(|(_, engine)| engine.epoch)
    }

    /// Somebody asks the leader for something.
    pub(crate) fn ask(&mut self, input: Input) {
        if let Some((number, epoch)) = self.leader().map(|(number, engine)| (number, engine.epoch)) {
            self.after(1, Event::Told { controller: number, epoch, input });
        }
    }

    /// Controllers do not look at their clocks before they write.
    pub(crate) fn be_careless(&mut self) {
        self.controllers.iter_mut().for_each(|controller| controller.careful = false);
    }

    /// The worker that runs a job.
    pub(crate) fn holder_of(&self, job: u32) -> Option<usize> {
        self.workers.iter().position(|worker| worker.running().iter().any(|fence| fence.job == job))
    }

    fn happen(&mut self, event: Event) {
        if let Some(until) = self.asleep(&event) {
            // A stopped process finds everything when it goes on.
            let wait = until - self.now;
            return self.after(wait, event);
        }
        match event {
            Event::Step(controller) => self.step(controller),
            Event::Tick(controller) => self.tick(controller),
            Event::WorkerTick(worker) => self.worker_tick(worker),
            Event::Up { controller, session, up } => self.tell(controller, None, Input::FromWorker { session, up }),
            Event::Told { controller, epoch, input } => self.tell(controller, Some(epoch), input),
            Event::Down { worker, controller, epoch, session, down } => {
                self.receive(worker, controller, epoch, session, down);
            }
            Event::JobEnds { worker, incarnation, fence, ending } => self.job_ends(worker, incarnation, fence, ending),
            Event::Rise { worker } => {
                let incarnation = self.incarnation();
                self.workers[worker].rise(incarnation);
            }
            Event::Restart { controller } => self.controllers[controller].up = true,
            Event::Fault => self.fault(),
            Event::Cancel => self.cancel(),
        }
    }

    /// Somebody cancels, and asks again until that is so.
    fn cancel(&mut self) {
        let header = engine::load(&self.store, &self.plan).map(|compose| compose.header);
        if header.is_some_and(|header| header.cancelled || header.ended_at.is_some()) {
            return;
        }
        self.mended = true;
        self.ask(Input::Cancel);
        self.after(2_000, Event::Cancel);
    }

    fn asleep(&self, event: &Event) -> Option<i64> {
        let until = match event {
            Event::Step(number) | Event::Tick(number) => self.controllers[*number].paused_until,
            Event::Up { controller, .. } | Event::Told { controller, .. } => self.controllers[*controller].paused_until,
            Event::WorkerTick(worker) | Event::Down { worker, .. } | Event::JobEnds { worker, .. } => {
                self.workers[*worker].paused_until
            }
            Event::Rise { .. } | Event::Restart { .. } | Event::Fault | Event::Cancel => 0,
        };
        (until > self.now).then_some(until)
    }

    fn tell(&mut self, controller: usize, epoch: Option<i64>, input: Input) {
        let Some(engine) = self.controllers[controller].engine.as_mut() else { return };
        if epoch.is_none_or(|epoch| epoch == engine.epoch) {
            engine.tell(input);
            self.wake(controller, 1);
        }
    }

    fn wake(&mut self, controller: usize, millis: i64) {
        if !std::mem::replace(&mut self.controllers[controller].stepping, true) {
            self.after(millis, Event::Step(controller));
        }
    }

    fn tick(&mut self, number: usize) {
        self.after(TICK_MS, Event::Tick(number));
        let now = self.now;
        let controller = &mut self.controllers[number];
        if !controller.up {
            return;
        }
        if let Some(engine) = &mut controller.engine {
            self.store.keep_alive(engine.epoch, now);
            if self.store.leads(engine.epoch, now) {
                controller.kept_alive = now;
            } else if self.store.away_until <= now && self.random.permille(100) {
                // It was told that it leads no more; until it hears that, it goes on.
                controller.engine = None;
                return;
            }
            engine.tell(Input::Tick);
            return self.wake(number, 1);
        }
        if let Some(epoch) = self.store.campaign(now) {
            let Profile { fail_fast, batch_size, .. } = self.profile;
            self.counts.epochs += 1;
            controller.kept_alive = now;
            let engine = Engine::start(epoch, &self.store, &self.plan, fail_fast, batch_size, now, self.sabotage);
            controller.engine = Some(engine);
            self.wake(number, 1);
        }
    }

    fn step(&mut self, number: usize) {
        self.controllers[number].stepping = false;
        let now = self.now;
        let fate = self.store_fate();
        let controller = &mut self.controllers[number];
        let Some(engine) = controller.engine.as_mut() else { return };
        let storing = engine.is_storing();
        let expired = now - controller.kept_alive > super::store::LEASE_MS;
        if storing && controller.careful && expired {
            controller.engine = None;
            return;
        }
        let step = engine.step(&mut self.store, fate, now);
        let acts = engine.take_acts();
        if storing && !self.is_quiet() && self.random.permille(self.profile.die_storing) {
            // Stored, perhaps, and nobody has heard of it.
            return self.kill_controller(number);
        }
        if step == Step::Deposed {
            self.controllers[number].engine = None;
            return;
        }
        let epoch = self.controllers[number].engine.as_ref().map_or(0, |engine| engine.epoch);
        for act in acts {
            self.act(number, epoch, act);
        }
        if step == Step::More {
            let pause = if fate == engine::Fate::Good { self.random.between(1, 6) } else { 200 };
            self.wake(number, pause);
        }
    }

    fn store_fate(&mut self) -> engine::Fate {
        if self.store.away_until > self.now {
            return engine::Fate::Away;
        }
        if !self.is_quiet() && self.random.permille(self.profile.unknown) {
            return engine::Fate::Unknown(self.random.permille(500));
        }
        engine::Fate::Good
    }

    fn act(&mut self, controller: usize, epoch: i64, act: engine::Act) {
        let told = |input| Event::Told { controller, epoch, input };
        match act {
            engine::Act::Send { worker, session, down } => {
                if worker < self.workers.len() && !self.is_cut(worker, controller, false) {
                    self.note_answer(&down);
                    for delay in self.deliveries() {
                        let down = down.clone();
                        self.after(delay, Event::Down { worker, controller, epoch, session, down });
                    }
                }
            }
            engine::Act::Verify { fence, outputs } => {
                let good = self.staged.get(&fence) == Some(&outputs);
                let spoiled = self.bad_disk();
                if good && !spoiled {
                    self.blobs.extend(outputs.iter().map(|output| output.digest));
                }
                let class = if self.random.permille(500) { FailureClass::Infra } else { FailureClass::NoSpace };
                let result = if good && !spoiled { Ok(()) } else { Err(class) };
                let delay = self.random.between(1, 200);
                self.after(delay, told(Input::Verified { fence, result }));
            }
            engine::Act::Publish { job, fence, outputs } => {
                let result = if self.bad_disk() {
                    Err("the disk is full".to_owned())
                } else {
                    self.publish(job, fence, outputs)
                };
                let delay = self.random.between(1, 200);
                self.after(delay, told(Input::Published { job, result }));
            }
            engine::Act::Look => {
                let damage = self.taken.keys().next().map(|job| format!("the outputs of job {job} are gone"));
                self.counts.holes += u32::from(damage.is_some());
                // On a large tree it takes longer than workers wait until they say something again.
                let most = self.random.pick(&[200, 20_000]);
                let delay = self.random.between(1, most);
                self.after(delay, told(Input::Looked { damage }));
            }
            engine::Act::Status(status) => self.status = Some(status),
            engine::Act::Lines(text) => {
                let twice = self.random.permille(self.profile.lines_twice);
                self.history.push_str(&text);
                if twice {
                    self.history.push_str(&text);
                }
            }
        }
    }

    fn note_answer(&mut self, down: &Down) {
        match down {
            Down::Commit(fence) if self.orphaned.contains(fence) && self.answered.insert(*fence) => {
                self.counts.late_accepted += 1;
            }
            Down::Refused(fence) if self.orphaned.contains(fence) && self.answered.insert(*fence) => {
                self.counts.late_refused += 1;
            }
            _ => {}
        }
    }

    fn bad_disk(&mut self) -> bool {
        !self.is_quiet() && self.random.permille(self.profile.bad_disk)
    }

    fn publish(&mut self, job: u32, fence: Fence, outputs: Vec<Output>) -> Result<(), String> {
        if self.tree.get(&job) == Some(&outputs) {
            return Ok(());
        }
        match self.staged.remove(&fence) {
            Some(staged) if staged == outputs => {
                if self.tree.insert(job, outputs).is_some() {
                    self.wrong.push(format!("job {job} was published twice, with other outputs"));
                }
                Ok(())
            }
            Some(_) | None => Err("nothing is staged".to_owned()),
        }
    }

    fn is_cut(&self, worker: usize, controller: usize, up: bool) -> bool {
        let cut = self.cut.get(&(worker, controller));
        cut.is_some_and(|(until, only_up)| *until > self.now && (up || !only_up))
    }

    /// After how long a message arrives; several times or never, perhaps.
    fn deliveries(&mut self) -> Vec<i64> {
        // A calm network keeps the order of messages.
        let calm = self.profile.loss + self.profile.repeat + self.profile.late == 0;
        let mut delays = vec![if calm { 5 } else { self.random.between(1, 30) }];
        if !self.is_quiet() {
            if self.random.permille(self.profile.loss) {
                delays.clear();
            }
            if self.random.permille(self.profile.repeat) {
                delays.push(self.random.between(1, 8_000));
            }
            if self.random.permille(self.profile.late) {
                delays.iter_mut().for_each(|delay| *delay *= 200);
            }
        }
        delays
    }
}
