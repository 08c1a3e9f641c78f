//! Who may use a state file: one process on one host at a time, on any file system, NFS too.
//!
//! There is no lock that the kernel of the file's host keeps for us: `flock` on a shared volume is a promise between
//! hosts that many servers do not keep, and nobody can see who holds it. Instead a *record* beside the file says who
//! owns it, and a process that wants it reads the record and judges its owner: alive, dead, or elsewhere.
//!
//! # The chain
//!
//! Records are numbered. `FILE.owner` is the *head*, `FILE.owner.N` the successor of record `N - 1`. From the head one
//! walks to the *tail*, the record that has no successor: its process owns the file, unless it says `released`.
//!
//! A walk during which the head changed is done again.
//!
//! * **Claim.** A process whose judgement of tail `N` is *released*, *dead*, or *elsewhere* with
//!   [`TakeOver::FromElsewhere`], writes its record to a name of its own, syncs it and links it as `FILE.owner.N+1`
//!   (the first of all as `FILE.owner`). A link is made or refused as a whole: a record has at most one successor.
//! * **Verify.** It walks again from the head. Only if its own record is the tail, it owns the file.
//! * **Shorten.** The owner renames a copy of its record over the head, then removes the names before its own.
//!   Its own stays, and is looked at in every check: whoever is taken over by force between its verification and its
//!   rename puts the head back, and finds its own name gone once a later owner has shortened. That later one is no tail
//!   any more and stops at its next look, but a claim that follows the old head does not wait for that: after a take-over by
//!   force from a process that was alive and stood still in its own claim, there can be two owners until the next look, and
//!   one that was no tail can become it again. What stands below "What it does not do" is all there is against that.
//! * **Release.** The owner links a `released` record as its successor.
//!
//! # Why there is never a second owner
//!
//! 1. The head exists from the first claim on: it is only ever replaced, by rename, and always by a later record.
//! 2. A name `N` is removed only after the head has become `N` or later. So while the head is before `N`, the names up
//!    to the tail are all there, and one walk finds the true tail.
//! 3. A claim of `N+1` that succeeds either follows the true tail `N`, and is alone in that by the link; or `N+1` was
//!    removed before. Then, by 2, the head is `N+1` or later by now, the walk that verifies starts there, and, as it goes
//!    upwards only, does not end at this claim, whose number is no higher and whose token is another. The claim fails, and its name is
//!    taken away.
//! 4. So whoever owns the file followed the true tail. That one's process was judged when its record was there: released,
//!    dead, or by the user's word dead elsewhere. Dead processes stay dead: a process id comes back with another start
//!    time or in another boot.
//!
//! Every step of this is a look-up of a name, never a listing of a directory, which would not be one moment's. What two
//! processes on one host see is one file system; another host may see a name late, which lets a claim fail and never
//! succeed, since link and rename are decided where the file is, and a client that has changed a directory looks anew.
//!
//! # Who is dead
//!
//! A process of this boot and these namespaces is looked up. A process of another boot is dead if this machine was
//! started again: equal machine id (a real one), host name and process id namespace, and the records on a file system
//! that only one machine mounts. Everything else is elsewhere and needs the user's word: another host, a clone of this
//! machine on a shared volume, another container on this host, and a restarted container too, whose process ids are
//! another namespace's.
//!
//! # Lost replies
//!
//! A link or rename whose reply was lost may be reported as EEXIST or ENOENT though it was done (NFS, after a resend).
//! Looking decides: each record has a token of its own, so a name with our bytes is ours.
//!
//! # What it does not do
//!
//! A host that was taken for dead and is not may be in the middle of a write. Two things stand behind the record then:
//! whoever takes over from elsewhere goes on with a *copy* under the file's name, so late writes go to a file that has
//! none; and an owner looks at the chain before each commit and ends if it is no longer the tail. The leader key in the
//! store ([`crate::Fence`]) is the second line for everybody who reads the file afterwards: commits of an older epoch
//! are refused, and workers refuse its messages.

mod files;
mod process;
pub use self::process::is_stopped;
mod record;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use self::files::Names;
use self::process::Judgement;
use self::record::{Record, State};
use crate::error::StoreError;

/// What to do about an owner that cannot be seen from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TakeOver {
    /// Refuse.
    #[default]
    No,
    /// The user says that it is dead.
    FromElsewhere,
}

/// Claims that fail because others claimed before this gives up, and steps of a walk.
const TRIES: u32 = 1000;

/// The names and processes that the rule is about: the real ones, or a test's.
pub(crate) trait World: fmt::Debug + Send + Sync {
    /// Reads a file that is replaced and never changed; `None` if it is not there.
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>>;
    /// Makes a file with these bytes, and syncs it.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a name; one that is gone is fine.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes the records up to a number but the head, and what claims that were cut off have left. A claim whose file
    /// this takes away begins anew.
    fn sweep(&self, names: &Names, number: u64);
    /// A record of this process.
    fn me(&self) -> Record;
    /// Judges the process of a record of the state file `path`.
    fn judge(&self, path: &Path, record: &Record) -> Judgement;
}

/// The right to use a state file; it ends with [`Owner::release`] or when this is dropped.
#[derive(Debug)]
pub(crate) struct Owner {
    world: Arc<dyn World>,
    path: PathBuf,
    record: Record,
    /// The one before was not seen to be dead.
    forced: bool,
    released: AtomicBool,
}

impl Owner {
    /// Becomes the owner of a state file, which need not exist yet; its directory must.
    ///
    /// # Errors
    ///
    /// `InUse` and `OwnedElsewhere` when there is one; `Unavailable` and `NoSpace` when the volume refuses; `Corrupt` when
    /// a record cannot be read.
    pub(crate) fn acquire(path: &Path, take_over: TakeOver) -> Result<Self, StoreError> {
        Self::acquire_in(Arc::new(files::Real), path, take_over)
    }

    fn acquire_in(world: Arc<dyn World>, path: &Path, take_over: TakeOver) -> Result<Self, StoreError> {
        let names = Names::new(path);
        for _ in 0..TRIES {
            let chain = walk(&*world, &names)?;
            let (number, forced) = match &chain.tail {
                None => (1, false),
                Some(tail) => (tail.number.saturating_add(1), may_follow(&*world, path, tail, take_over)?),
            };
            let state = if forced { State::Forced } else { State::Held };
            let record = Record { number, state, ..world.me() };
            let name = if chain.tail.is_some() { names.successor(number) } else { names.head() };
            if !claim(&*world, &names, &record, &name)? {
                continue;
            }
            let verified = walk(&*world, &names)?;
            if verified.tail.as_ref() != Some(&record) {
                // Behind the head no walk comes by, whose bytes are there now does not matter. Before it, it was taken
                // over by force meanwhile, and is part of the chain.
                if number > 1 && number <= verified.head {
                    remove_litter(&*world, &name);
                }
                continue;
            }
            shorten(&*world, &names, &record, chain.head);
            return Ok(Self { world, path: path.to_owned(), record, forced, released: AtomicBool::new(false) });
        }
        let reason = format!("{}: {TRIES} others took it first", names.head().display());
        Err(StoreError::Unavailable { operation: "open", reason })
    }

    /// Fails if a process owns the file or may own it; changes nothing.
    ///
    /// # Errors
    ///
    /// As [`Owner::acquire`].
    pub(crate) fn check_free(path: &Path) -> Result<(), StoreError> {
        let world = files::Real;
        let tail = walk(&world, &Names::new(path))?.tail;
        tail.map_or(Ok(()), |tail| may_follow(&world, path, &tail, TakeOver::No).map(drop))
    }

    /// Whether it was taken from a process that may not be dead.
    pub(crate) fn is_forced(&self) -> bool {
        self.forced
    }

    /// Looks whether the file is still ours.
    ///
    /// # Errors
    ///
    /// `TakenOver` when it is not, `Vanished` when nobody's record is there.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let names = Names::new(&self.path);
        let tail = walk(&*self.world, &names)?.tail;
        // A late rename of ours may have put the head back; then our own name tells that others came since. The first
        // record of all is the head itself.
        let number = self.record.number;
        let own = if number == 1 { None } else { read(&*self.world, &names.successor(number))? };
        if tail.as_ref() == Some(&self.record) && (number == 1 || own == tail) {
            return Ok(());
        }
        let Some(tail) = tail else { return Err(StoreError::Vanished { path: names.head() }) };
        let by = match tail == self.record {
            true => format!("another process, unless {} was removed by hand", names.successor(number).display()),
            false => tail.to_string(),
        };
        Err(StoreError::TakenOver { path: self.path.clone(), by })
    }

    /// Gives the file up. Call it when nothing of this process writes to it any more.
    pub(crate) fn release(&self) {
        if self.released.swap(true, Ordering::SeqCst) {
            return;
        }
        let names = Names::new(&self.path);
        // Another has shortened the chain since. Where a late rename of ours put the head back, a release would free its file.
        let own = names.successor(self.record.number);
        if self.record.number > 1 && read(&*self.world, &own).is_ok_and(|found| found.as_ref() != Some(&self.record)) {
            return tracing::warn!(path = %self.path.display(), "the state file was taken over");
        }
        let number = self.record.number.saturating_add(1);
        let record = Record { number, state: State::Released, ..self.world.me() };
        match claim(&*self.world, &names, &record, &names.successor(number)) {
            // No more need of the own name.
            Ok(true) => remove_litter(&*self.world, &own),
            Ok(false) => tracing::warn!(path = %self.path.display(), "the state file was taken over"),
            // Who comes next on this host sees that this process is gone.
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "cannot note that the state file is free")
            }
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.release();
    }
}

/// Where a walk began and ended.
struct Chain {
    head: u64,
    tail: Option<Record>,
}

/// Walks until the head stays the same meanwhile: then no name on the way was removed.
fn walk(world: &dyn World, names: &Names) -> Result<Chain, StoreError> {
    let Some(mut head) = read(world, &names.head())? else { return Ok(Chain { head: 0, tail: None }) };
    for _ in 0..TRIES {
        let tail = tail(world, names, head.clone())?;
        match read(world, &names.head())? {
            Some(again) if again != head => head = again,
            _ => return Ok(Chain { head: head.number, tail: Some(tail) }),
        }
    }
    Err(damaged(&names.head(), "it changes all the time"))
}

fn tail(world: &dyn World, names: &Names, head: Record) -> Result<Record, StoreError> {
    let mut tail = head;
    for _ in 0..TRIES {
        let number = tail.number.saturating_add(1);
        match read(world, &names.successor(number))? {
            None => return Ok(tail),
            Some(next) if next.number == number => tail = next,
            Some(_) => return Err(damaged(&names.successor(number), "it has another record's number")),
        }
    }
    Err(damaged(&names.head(), "it is followed by too many others"))
}

fn read(world: &dyn World, name: &Path) -> Result<Option<Record>, StoreError> {
    let Some(bytes) = world.read(name).map_err(|error| refused(name, &error))? else { return Ok(None) };
    Record::decode(&bytes).map(Some).map_err(|problem| damaged(name, &problem))
}

/// Whether the file may be taken after `tail`, and if so, whether only because the user says so.
fn may_follow(world: &dyn World, path: &Path, tail: &Record, take_over: TakeOver) -> Result<bool, StoreError> {
    if tail.state == State::Released {
        return Ok(false);
    }
    match world.judge(path, tail) {
        // It may have died before it had its copy.
        Judgement::Dead => Ok(tail.state == State::Forced),
        Judgement::Alive => {
            let hint = process::hint(tail);
            Err(StoreError::InUse { path: path.to_owned(), process: tail.process, hint })
        }
        Judgement::Elsewhere(_) if take_over == TakeOver::FromElsewhere => Ok(true),
        Judgement::Elsewhere(why) => {
            Err(StoreError::OwnedElsewhere { path: path.to_owned(), owner: tail.to_string(), why })
        }
    }
}

/// Removes a name that no walk comes by. Where it stays, it says nothing to anybody, and the next owner sweeps it away.
fn remove_litter(world: &dyn World, name: &Path) {
    if let Err(error) = world.remove(name) {
        tracing::warn!(path = %name.display(), %error, "a name that is of no more use stays beside the state file, until the next owner comes");
    }
}

/// Gives a record its name; false if the name is another's.
fn claim(world: &dyn World, names: &Names, record: &Record, name: &Path) -> Result<bool, StoreError> {
    let temporary = names.temporary(&record.token);
    world.write(&temporary, &record.encode()).map_err(|error| refused(&temporary, &error))?;
    let linked = world.link(&temporary, name);
    remove_litter(world, &temporary);
    let claimed = match linked {
        Ok(()) => true,
        // Another's; or ours, with the reply lost; or our own name was swept away by an owner.
        Err(error) => match (read(world, name)?, error.kind()) {
            (Some(found), _) if found == *record => true,
            (_, io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound) => false,
            _ => return Err(refused(name, &error)),
        },
    };
    Ok(claimed)
}

/// Makes the owner's record the head, and takes away what no walk comes by any more. Should it fail, the chain is long.
fn shorten(world: &dyn World, names: &Names, record: &Record, head: u64) {
    let done = || -> io::Result<()> {
        if head != 0 {
            let temporary = names.temporary(&record.token);
            world.write(&temporary, &record.encode())?;
            let renamed = world.rename(&temporary, &names.head());
            if let Err(error) = renamed {
                // With the reply lost, the head is ours.
                if world.read(&names.head())?.is_none_or(|bytes| bytes != record.encode()) {
                    remove_litter(world, &temporary);
                    return Err(error);
                }
            }
        }
        world.sweep(names, record.number.saturating_sub(1));
        Ok(())
    };
    if let Err(error) = done() {
        tracing::warn!(path = %names.head().display(), %error, "cannot shorten the chain of owners");
    }
}

fn refused(name: &Path, error: &io::Error) -> StoreError {
    StoreError::refused("open", format!("owner record {}", name.display()), error)
}

fn damaged(name: &Path, problem: &str) -> StoreError {
    let hint = "if no tutti process on any host uses the state beside it, remove this file";
    StoreError::Corrupt { path: name.to_owned(), problem: problem.to_owned(), hint }
}
