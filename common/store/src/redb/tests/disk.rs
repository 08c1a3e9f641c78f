//! A disk in memory: it records every change, forgets what was not synced, and fails on demand.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::redb::StorageBackend;

use super::Random;
use crate::error::StoreError;
use crate::owner::{Owner, TakeOver};
use crate::redb::file::initialise;
use crate::redb::medium::Medium;

/// The unit that a disk writes as a whole.
const SECTOR: usize = 512;

/// A change of the disk, or a mark of who asked for it.
#[derive(Debug, Clone)]
pub(super) enum Entry {
    Write {
        offset: usize,
        data: Vec<u8>,
    },
    SetLen(usize),
    Sync,
    /// A sync that failed: what was not yet written back is counted as written and is lost.
    FailedSync,
    /// The store was asked for this step.
    Began(usize),
    /// The store answered that it is done.
    Acked(usize),
}

/// Which calls a fault concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Write,
    Grow,
    Sync,
}

/// The disk fails at the changing call number `at`, and at the next ones until it has failed `times` times.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) times: usize,
    pub(super) kind: io::ErrorKind,
}

#[derive(Debug, Default)]
struct State {
    /// What is read.
    content: Vec<u8>,
    entries: Vec<Entry>,
    calls: Vec<Call>,
    fault: Option<Fault>,
    capacity: Option<usize>,
    /// Syncs are answered and not done.
    lies: bool,
}

/// The disk; clones share it. It holds one file.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk(Arc<Mutex<State>>);

impl Disk {
    /// A disk with an empty store, all of it on the disk.
    pub(super) fn initialised() -> Self {
        let disk = Self::default();
        initialise(Path::new("state"), disk.clone()).unwrap();
        let content = std::mem::take(&mut disk.state().content);
        Self::with_content(content)
    }

    pub(super) fn with_content(content: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(State { content, ..State::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn mark(&self, entry: Entry) {
        self.state().entries.push(entry);
    }

    pub(super) fn lie(&self) {
        self.state().lies = true;
    }

    /// Fails from now on, counted from the next call as 0.
    pub(super) fn fail(&self, fault: Fault) {
        let mut state = self.state();
        let at = state.calls.len() + fault.at;
        state.fault = Some(Fault { at, ..fault });
    }

    pub(super) fn heal(&self) {
        self.state().fault = None;
    }

    /// Lets the file grow to this size and no more.
    pub(super) fn set_capacity(&self, capacity: Option<usize>) {
        self.state().capacity = capacity;
    }

    pub(super) fn length(&self) -> usize {
        self.state().content.len()
    }

    pub(super) fn content(&self) -> Vec<u8> {
        self.state().content.clone()
    }

    pub(super) fn entries(&self) -> Vec<Entry> {
        self.state().entries.clone()
    }

    pub(super) fn calls(&self) -> usize {
        self.state().calls.len()
    }
}

impl State {
    /// Counts a changing call; the error if it is to fail.
    fn call(&mut self, call: Call) -> io::Result<()> {
        let number = self.calls.len();
        self.calls.push(call);
        match &mut self.fault {
            Some(fault) if number >= fault.at && fault.times > 0 => {
                fault.times -= 1;
                Err(fault.kind.into())
            }
            _ => Ok(()),
        }
    }
}

impl Medium for Disk {
    fn own(&self, _path: &Path, _take_over: TakeOver) -> Result<Option<Owner>, StoreError> {
        Ok(None)
    }

    fn open(&self, _path: &Path) -> io::Result<(Arc<dyn StorageBackend>, u64)> {
        Ok((Arc::new(self.clone()), 0))
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().content.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = offset as usize;
        match self.state().content.get(offset..offset + out.len()) {
            Some(bytes) => out.copy_from_slice(bytes),
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        state.call(Call::Grow)?;
        let len = len as usize;
        if len > state.content.len() && state.capacity.is_some_and(|capacity| len > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.content.resize(len, 0);
        state.entries.push(Entry::SetLen(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state();
        let result = state.call(Call::Sync);
        if !state.lies {
            state.entries.push(if result.is_ok() { Entry::Sync } else { Entry::FailedSync });
        }
        result
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let result = state.call(Call::Write);
        // A write that fails has written a part.
        let data = if result.is_ok() { data } else { &data[..data.len() / 2] };
        let entry = Entry::Write { offset: offset as usize, data: data.to_vec() };
        entry.apply(&mut state.content, |_| true);
        state.entries.push(entry);
        result
    }
}

impl Entry {
    /// Changes an image, only in the sectors that are chosen.
    fn apply(&self, image: &mut Vec<u8>, mut chosen: impl FnMut(usize) -> bool) {
        match self {
            Self::Write { offset, data } => {
                if image.len() < offset + data.len() {
                    image.resize(offset + data.len(), 0);
                }
                for (number, sector) in data.chunks(SECTOR).enumerate() {
                    if chosen(number) {
                        let start = offset + number * SECTOR;
                        image[start..start + sector.len()].copy_from_slice(sector);
                    }
                }
            }
            Self::SetLen(len) => image.resize(*len, 0),
            Self::Sync | Self::FailedSync | Self::Began(_) | Self::Acked(_) => {}
        }
    }
}

/// What a power cut does with the changes that were not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// All of them reached the disk: the image of a prefix of the record.
    Prefix,
    /// None did.
    SyncedOnly,
    /// Some did, each whole.
    Subset(u64),
    /// Some did, in another order.
    Reordered(u64),
    /// Of each, some halves did: 2 KiB of each 4 KiB.
    Halves(u64),
    /// Of each, some sectors did.
    Torn(u64),
}

/// The disk as the record goes on.
#[derive(Debug)]
pub(super) struct Replay {
    durable: Vec<u8>,
    unsynced: Vec<Entry>,
    pub(super) began: usize,
    pub(super) acked: usize,
}

impl Replay {
    pub(super) fn new(start: Vec<u8>) -> Self {
        Self { durable: start, unsynced: Vec::new(), began: 0, acked: 0 }
    }

    pub(super) fn advance(&mut self, entry: &Entry) {
        match entry {
            Entry::Write { .. } | Entry::SetLen(_) => self.unsynced.push(entry.clone()),
            Entry::Sync => {
                for entry in self.unsynced.drain(..) {
                    entry.apply(&mut self.durable, |_| true);
                }
            }
            Entry::FailedSync => self.unsynced.clear(),
            Entry::Began(step) => self.began = *step,
            Entry::Acked(step) => self.acked = *step,
        }
    }

    pub(super) fn unsynced(&self) -> usize {
        self.unsynced.len()
    }

    /// What is on the disk after the power came back.
    pub(super) fn image(&self, cut: Cut) -> Vec<u8> {
        let mut image = self.durable.clone();
        let mut entries: Vec<&Entry> = self.unsynced.iter().collect();
        let seed = match cut {
            Cut::Prefix | Cut::SyncedOnly => 0,
            Cut::Subset(seed) | Cut::Reordered(seed) | Cut::Halves(seed) | Cut::Torn(seed) => seed,
        };
        let mut random = Random(seed);
        if let Cut::Reordered(_) = cut {
            for last in (1..entries.len()).rev() {
                entries.swap(last, random.below(last as u64 + 1) as usize);
            }
        }
        for entry in entries {
            match cut {
                Cut::Prefix => entry.apply(&mut image, |_| true),
                Cut::SyncedOnly => {}
                Cut::Subset(_) | Cut::Reordered(_) => {
                    if random.below(2) == 0 {
                        entry.apply(&mut image, |_| true);
                    }
                }
                Cut::Halves(_) => {
                    let halves = random.next();
                    entry.apply(&mut image, |sector| halves >> (sector / 4 % 64) & 1 == 1);
                }
                Cut::Torn(_) => entry.apply(&mut image, |_| random.below(2) == 0),
            }
        }
        image
    }
}
