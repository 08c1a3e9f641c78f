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

#[derive(Debug)]
struct Shared {
    files: BTreeMap<PathBuf, Vec<u8>>,
    alive: BTreeSet<u32>,
    running: BTreeSet<usize>,
    turn: usize,
    random: u64,
    inside: Option<u32>,
    processes: u32,
    tokens: u32,
    deaths: usize,
    lost: usize,
    owned: usize,
    problem: Option<String>,
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

    fn next_turn(&mut self) {
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

    fn is_dead(&self) -> bool {
        !self.lock().alive.contains(&self.id)
    }

    /// Owns the file a few times; false when it died.
    fn live(&self, world: &Arc<dyn World>) -> bool {
        for _ in 0..ROUNDS {
            match Owner::acquire_in(Arc::clone(world), Path::new("state"), TakeOver::No) {
                Ok(owner) => {
                    let entered = self.step(|shared| {
                        if let Some(other) = shared.inside.filter(|other| shared.alive.contains(other)) {
                            shared.problem = Some(format!("{other} and {} own the file", self.id));
                        }
                        shared.inside = Some(self.id);
                        shared.owned += 1;
                        Ok(())
                    });
                    if entered.is_ok()
                        && let Err(error) = owner.check()
                        && !self.is_dead()
                    {
                        self.lock().problem = Some(format!("{} lost the file: {error}", self.id));
                    }
                    let _ = self.step(|shared| {
                        shared.inside = shared.inside.filter(|inside| *inside != self.id);
                        Ok(())
                    });
                    owner.release();
                }
                Err(StoreError::InUse { process, .. }) if process != self.id => {}
                Err(_) if self.is_dead() => {}
                Err(error) => self.lock().problem = Some(error.to_string()),
            }
            if self.is_dead() {
                return false;
            }
        }
        true
    }
}

impl World for Process {
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        self.step(|shared| Ok(shared.files.get(path).cloned()))
    }
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.step(|shared| {
            shared.files.insert(path.to_owned(), bytes.to_vec());
            Ok(())
        })
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(|shared| {
            let bytes = shared.files.get(from).cloned().ok_or(io::ErrorKind::NotFound)?;
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
            shared.files.remove(path);
            Ok(())
        })
    }
    fn sweep(&self, names: &Names, number: u64) {
        let behind: Vec<PathBuf> = self.lock().files.keys().cloned().collect();
        for name in behind.into_iter().filter(|name| names.is_behind(name.as_os_str(), number)) {
            let _ = self.remove(&name);
        }
    }
    fn me(&self) -> Record {
        let mut shared = self.lock();
        shared.tokens += 1;
        let token = format!("{}", shared.tokens);
        let (host, machine, boot, namespaces) = Default::default();
        Record { number: 0, state: State::Held, token, host, machine, boot, namespaces, process: self.id, started: 1 }
    }
    fn judge(&self, _path: &Path, record: &Record) -> Judgement {
        match self.step(|shared| Ok(shared.alive.contains(&record.process))) {
            Ok(true) | Err(_) => Judgement::Alive,
            Ok(false) => Judgement::Dead,
        }
    }
}

/// Runs one seed; returns how often the file was owned, how many died, and how many replies were lost.
fn run(seed: u64) -> Result<(usize, usize, usize), String> {
    let shared = Shared {
        files: BTreeMap::new(),
        alive: BTreeSet::new(),
        running: (0..SLOTS).collect(),
        turn: 0,
        random: seed,
        inside: None,
        processes: 0,
        tokens: 0,
        deaths: 0,
        lost: 0,
        owned: 0,
        problem: None,
        quiet: false,
    };
    let shared = Arc::new((Mutex::new(shared), Condvar::new()));
    std::thread::scope(|scope| {
        for slot in 0..SLOTS {
            let shared = Arc::clone(&shared);
            scope.spawn(move || {
                let mut process = Process { shared, slot, id: 0 };
                for _ in 0..8 {
                    let mut state = process.lock();
                    state.processes += 1;
                    let id = state.processes;
                    state.alive.insert(id);
                    drop(state);
                    process.id = id;
                    let world: Arc<dyn World> = Arc::new(process.clone());
                    if process.live(&world) {
                        break;
                    }
                }
                let mut state = process.lock();
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
    let owner = Owner::acquire_in(world, Path::new("state"), TakeOver::No).map_err(|error| error.to_string())?;
    owner.release();
    let shared = last.lock();
    if let Some(problem) = &shared.problem {
        return Err(format!("seed {seed}: {problem}"));
    }
    if shared.files.len() > 2 {
        return Err(format!("seed {seed}: {:?} are left", shared.files.keys()));
    }
    Ok((shared.owned, shared.deaths, shared.lost))
}

/// `TUTTI_FULL=1`: fifty times as many.
#[test]
fn r15_no_schedule_gives_a_file_two_owners() {
    let seeds = if std::env::var_os("TUTTI_FULL").is_some_and(|value| value == "1") { 50_000 } else { 1_000 };
    let (mut owned, mut deaths, mut lost) = (0, 0, 0);
    for seed in 0..seeds {
        let (more, dead, replies) = run(seed).unwrap_or_else(|problem| panic!("{problem}"));
        owned += more;
        deaths += dead;
        lost += replies;
    }
    assert!(owned > 1000 && deaths > 1000 && lost > 1000, "{owned} {deaths} {lost}");
    eprintln!("owner: {seeds} schedules, owned {owned} times, {deaths} deaths, {lost} lost replies");
}
