//! Some processes, one step of one of them at a time in a seeded order; they die at any step, and replies are lost.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::StoreError;
use crate::owner::record::State;
use crate::owner::{Judgement, Names, Owner, Record, TakeOver, World};

const SLOTS: usize = 4;
const ROUNDS: usize = 4;
const LOOKS: usize = 3;

#[derive(Debug)]
struct Shared {
    files: BTreeMap<PathBuf, Vec<u8>>,
    alive: BTreeSet<u32>,
    running: BTreeSet<usize>,
    turn: usize,
    random: u64,
    /// Who works with the file.
    inside: BTreeSet<u32>,
    /// Of these, from whom it was taken.
    ousted: BTreeSet<u32>,
    /// There are two hosts, which cannot see each other's processes, and people say that the other one's are dead.
    forcing: bool,
    /// Records that each process made.
    tokens: BTreeMap<u32, u32>,
    deaths: usize,
    lost: usize,
    litter: usize,
    owned: usize,
    forced: usize,
    looked: usize,
    /// A head was put back: what the rule says of that is less.
    late: bool,
    problem: Option<String>,
    /// What happened, where that is asked for.
    log: Option<Vec<String>>,
    /// Nobody dies any more.
    quiet: bool,
}

impl Shared {
    fn below(&mut self, end: u64) -> u64 {
        // SplitMix64, as in the tests of the file.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    /// Process of the last record of the chain.
    fn tail(&self) -> u32 {
        let names = Names::new(Path::new("state"));
        let record = |name: PathBuf| self.files.get(&name).map(|bytes| Record::decode(bytes).unwrap());
        let mut tail = record(names.head()).unwrap();
        while let Some(next) = record(names.successor(tail.number + 1)) {
            tail = next;
        }
        tail.process
    }

    /// Mostly the same one goes on, so that another's view grows old.
    fn next_turn(&mut self) {
        if self.running.contains(&self.turn) && self.below(8) > 0 {
            return;
        }
        if let Some(last) = self.running.len().checked_sub(1) {
            let chosen = self.below(last as u64 + 1) as usize;
            self.turn = *self.running.iter().nth(chosen).unwrap();
        }
    }
}

#[derive(Debug, Clone)]
struct Process {
    shared: Arc<(Mutex<Shared>, Condvar)>,
    slot: usize,
    id: u32,
}

impl Process {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does `work` when it is this process's turn, unless it dies before or after it.
    fn step<T>(&self, work: impl FnOnce(&mut Shared) -> io::Result<T>) -> io::Result<T> {
        let mut shared = self.lock();
        if !shared.alive.contains(&self.id) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        while shared.turn != self.slot {
            shared = self.shared.1.wait(shared).unwrap_or_else(PoisonError::into_inner);
        }
        let fate = if shared.quiet { 2 } else { shared.below(40) };
        let result = if fate == 0 { Err(io::ErrorKind::BrokenPipe.into()) } else { work(&mut shared) };
        if fate < 2 {
            shared.alive.remove(&self.id);
            shared.deaths += 1;
        }
        shared.next_turn();
        self.shared.1.notify_all();
        if fate < 2 { Err(io::ErrorKind::BrokenPipe.into()) } else { result }
    }

    fn host(&self, forcing: bool) -> String {
        if forcing { format!("host {}", self.slot % 2) } else { String::new() }
    }

    fn note(&self, shared: &mut Shared, what: impl FnOnce() -> String) {
        let line = |what: String| format!("{} of slot {}: {what}", self.id, self.slot);
        if shared.problem.is_none()
            && let Some(log) = &mut shared.log
        {
            log.push(line(what()));
        }
    }

    fn is_dead(&self) -> bool {
        !self.lock().alive.contains(&self.id)
    }

    /// Owns the file a few times; false when it died.
    fn live(&self, world: &Arc<dyn World>) -> bool {
        for _ in 0..ROUNDS {
            match Owner::acquire_in(Arc::clone(world), Path::new("state"), self.take_over()) {
                Ok(owner) => {
                    let entered = self.step(|shared| {
                        self.enter(shared, owner.record.number, owner.is_forced());
                        Ok(())
                    });
                    if entered.is_ok() {
                        self.work(&owner);
                    }
                    let _ = self.step(|shared| {
                        shared.inside.remove(&self.id);
                        shared.ousted.remove(&self.id);
                        Ok(())
                    });
                    owner.release();
                }
                // One from whom it was taken, and who put the head back, stands in its own way until it ends.
                Err(StoreError::InUse { process, .. }) if process != self.id || self.lock().forcing => {}
                Err(StoreError::OwnedElsewhere { .. }) if self.lock().forcing => {}
                Err(_) if self.is_dead() => {}
                Err(error) => self.lock().problem = Some(error.to_string()),
            }
            if self.is_dead() {
                return false;
            }
        }
        true
    }

    fn take_over(&self) -> TakeOver {
        // Whatever is drawn is drawn in its turn, or a seed would not stand for one schedule.
        let forces = self.lock().forcing && self.step(|shared| Ok(shared.below(2) == 0)).unwrap_or_default();
        if forces { TakeOver::FromElsewhere } else { TakeOver::No }
    }

    /// With force, there may be two for a while: whoever is not at the end of the chain has to see it.
    fn enter(&self, shared: &mut Shared, number: u64, forced: bool) {
        let owner = shared.tail();
        let Shared { inside, ousted, alive, problem, forcing, .. } = &mut *shared;
        inside.retain(|inside| alive.contains(inside));
        inside.insert(self.id);
        ousted.extend(inside.iter().filter(|inside| **inside != owner));
        if inside.len() > 1 && !*forcing {
            *problem = Some(format!("{inside:?} own the file"));
        }
        shared.owned += 1;
        shared.forced += usize::from(forced);
        self.note(shared, || format!("owns the file by record {number}, by force: {forced}"));
    }

    /// Looks at the chain a few times, as before each commit.
    fn work(&self, owner: &Owner) {
        let looks = if self.lock().forcing { LOOKS } else { 1 };
        for _ in 0..looks {
            let (ousted, forcing) = {
                let shared = self.lock();
                (shared.ousted.contains(&self.id), shared.forcing)
            };
            match owner.check() {
                _ if self.is_dead() => return,
                Ok(()) if ousted && !self.lock().late => {
                    self.lock().problem = Some(format!("the file was taken from {}, which goes on", self.id));
                }
                Ok(()) => {}
                Err(_) if forcing => {
                    self.lock().looked += 1;
                    return;
                }
                Err(error) => self.lock().problem = Some(format!("{} lost the file: {error}", self.id)),
            }
        }
    }
}

impl World for Process {
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        self.step(|shared| {
            let found = shared.files.get(path).cloned();
            self.note(shared, || format!("reads {}: {}", path.display(), found.as_deref().map_or("-".into(), shown)));
            Ok(found)
        })
    }
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.step(|shared| {
            self.note(shared, || format!("writes {}: {}", path.display(), shown(bytes)));
            shared.files.insert(path.to_owned(), bytes.to_vec());
            Ok(())
        })
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(|shared| {
            let bytes = shared.files.get(from).cloned().ok_or(io::ErrorKind::NotFound)?;
            let taken = shared.files.contains_key(to);
            self.note(shared, || format!("links {}, which is there: {taken}", to.display()));
            if shared.files.contains_key(to) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            shared.files.insert(to.to_owned(), bytes);
            if shared.below(8) == 0 {
                shared.lost += 1;
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            Ok(())
        })
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(|shared| {
            let bytes = shared.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
            self.note(shared, || format!("renames to {}: {}", to.display(), shown(&bytes)));
            let number = |bytes: &Vec<u8>| Record::decode(bytes).unwrap().number;
            shared.late |= shared.files.get(to).is_some_and(|head| number(head) > number(&bytes));
            shared.files.insert(to.to_owned(), bytes);
            if shared.below(8) == 0 {
                shared.lost += 1;
                return Err(io::ErrorKind::NotFound.into());
            }
            Ok(())
        })
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step(|shared| {
            if !shared.quiet && shared.below(8) == 0 {
                shared.litter += 1;
                return Err(io::ErrorKind::Other.into());
            }
            self.note(shared, || format!("removes {}", path.display()));
            shared.files.remove(path);
            Ok(())
        })
    }
    fn sweep(&self, names: &Names, number: u64) {
        let Ok(behind) = self.step(|shared| Ok(shared.files.keys().cloned().collect::<Vec<_>>())) else { return };
        for name in behind.into_iter().filter(|name| names.is_behind(name.as_os_str(), number)) {
            let _ = self.remove(&name);
        }
    }
    fn me(&self) -> Record {
        let mut shared = self.lock();
        let count = shared.tokens.entry(self.id).or_default();
        *count += 1;
        let token = format!("{}-{count}", self.id);
        let host = self.host(shared.forcing);
        let (machine, boot, namespaces) = Default::default();
        Record { number: 0, state: State::Held, token, host, machine, boot, namespaces, process: self.id, started: 1 }
    }
    fn judge(&self, _path: &Path, record: &Record) -> Judgement {
        if self.host(self.lock().forcing) != record.host {
            return Judgement::Elsewhere("it is on another host");
        }
        match self.step(|shared| Ok(shared.alive.contains(&record.process))) {
            Ok(true) | Err(_) => Judgement::Alive,
            Ok(false) => Judgement::Dead,
        }
    }
}

fn shown(bytes: &[u8]) -> String {
    let record = Record::decode(bytes).unwrap();
    format!("record {} of {}, {:?}", record.number, record.process, record.state)
}

/// What happened in some schedules.
#[derive(Debug, Default)]
struct Counts {
    owned: usize,
    forced: usize,
    /// Owners that saw that the file was taken from them.
    looked: usize,
    /// Schedules in which a head was put back.
    late: usize,
    deaths: usize,
    lost: usize,
    litter: usize,
}

/// Runs one seed.
fn run(seed: u64, forcing: bool, logging: bool) -> Result<Counts, String> {
    let shared = Shared {
        files: BTreeMap::new(),
        alive: BTreeSet::new(),
        running: (0..SLOTS).collect(),
        turn: 0,
        random: seed,
        inside: BTreeSet::new(),
        ousted: BTreeSet::new(),
        forcing,
        tokens: BTreeMap::new(),
        deaths: 0,
        lost: 0,
        litter: 0,
        owned: 0,
        forced: 0,
        looked: 0,
        late: false,
        problem: None,
        log: logging.then(Vec::new),
        quiet: false,
    };
    let shared = Arc::new((Mutex::new(shared), Condvar::new()));
    std::thread::scope(|scope| {
        for slot in 0..SLOTS {
            let shared = Arc::clone(&shared);
            scope.spawn(move || {
                let mut process = Process { shared, slot, id: 0 };
                for life in 0..8u32 {
                    process.id = life * SLOTS as u32 + slot as u32 + 1;
                    process.lock().alive.insert(process.id);
                    let world: Arc<dyn World> = Arc::new(process.clone());
                    if process.live(&world) {
                        break;
                    }
                }
                let mut state = process.lock();
                while state.turn != slot {
                    state = process.shared.1.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                state.running.remove(&slot);
                state.next_turn();
                process.shared.1.notify_all();
            });
        }
    });
    let last = Process { shared, slot: 0, id: 0 };
    let mut state = last.lock();
    (state.quiet, state.turn) = (true, 0);
    (state.running, state.alive) = (BTreeSet::from([0]), BTreeSet::from([0]));
    drop(state);
    let world: Arc<dyn World> = Arc::new(last.clone());
    let owner =
        Owner::acquire_in(world, Path::new("state"), TakeOver::FromElsewhere).map_err(|error| error.to_string())?;
    owner.release();
    let shared = last.lock();
    if let Some(problem) = &shared.problem {
        return Err(format!("seed {seed}: {problem}\n{}", shared.log.as_deref().unwrap_or_default().join("\n")));
    }
    if shared.files.len() > 2 && !forcing {
        return Err(format!("seed {seed}: {:?} are left", shared.files.keys()));
    }
    let Shared { owned, forced, looked, late, deaths, lost, litter, .. } = *shared;
    Ok(Counts { owned, forced, looked, late: usize::from(late), deaths, lost, litter })
}

fn run_all(forcing: bool) -> Counts {
    let full = std::env::var_os("TUTTI_FULL").is_some_and(|value| value == "1");
    let seeds = if forcing { 300 } else { 1_000 } * if full { 50 } else { 1 };
    let mut sum = Counts::default();
    for seed in 0..seeds {
        let counts = run(seed, forcing, false)
            .or_else(|_| run(seed, forcing, true))
            .unwrap_or_else(|problem| panic!("{problem}"));
        sum.owned += counts.owned;
        sum.forced += counts.forced;
        sum.looked += counts.looked;
        sum.late += counts.late;
        sum.deaths += counts.deaths;
        sum.lost += counts.lost;
        sum.litter += counts.litter;
    }
    eprintln!("owner: {seeds} schedules: {sum:?}");
    assert!([sum.owned, sum.deaths, sum.lost, sum.litter].iter().all(|count| *count as u64 > seeds), "{sum:?}");
    sum
}

/// `TUTTI_FULL=1`: fifty times as many.
#[test]
fn r15_no_schedule_gives_a_file_two_owners() {
    run_all(false);
}

#[test]
fn r4_no_schedule_with_forced_take_overs_lets_two_owners_go_on() {
    let sum = run_all(true);
    assert!(sum.forced > 300 && sum.looked > 100 && sum.late * 10 < sum.owned, "{sum:?}");
}
