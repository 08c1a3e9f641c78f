//! Work on several threads whose results come in order, few of them at a time.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Items for each thread that may be made before their turn: many, because some take a hundred times as long as others.
const AHEAD: usize = 64;
/// Bytes of items that wait for their turn, above which only the next one in turn is begun.
const WAITING: usize = 32 << 20;

struct State<T, E> {
    next: usize,
    taken: usize,
    ready: BTreeMap<usize, Result<T, E>>,
    waiting: usize,
    stopped: bool,
    /// Makers that wait for room.
    idle: usize,
    /// The item that the taker waits for.
    awaited: Option<usize>,
}

impl<T, E> State<T, E> {
    /// Whether another item may be begun.
    fn has_room(&self, threads: usize) -> bool {
        let ahead = self.next - self.taken;
        ahead == 0 || (ahead < threads * AHEAD && self.waiting < WAITING)
    }
}

/// To wake somebody is a system call, also if nobody sleeps: it is done for those alone that can go on.
struct Shared<T, E> {
    state: Mutex<State<T, E>>,
    /// For makers.
    room: Condvar,
    /// For the taker.
    made: Condvar,
}

impl<T, E> Shared<T, E> {
    fn lock(&self) -> MutexGuard<'_, State<T, E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wait<'a, S>(changed: &Condvar, state: MutexGuard<'a, S>) -> MutexGuard<'a, S> {
    changed.wait(state).unwrap_or_else(PoisonError::into_inner)
}

/// Stops the others when a thread ends, however it does.
struct Stop<'a, T, E>(&'a Shared<T, E>);

impl<T, E> Drop for Stop<'_, T, E> {
    fn drop(&mut self) {
        self.0.lock().stopped = true;
        self.0.room.notify_all();
        self.0.made.notify_all();
    }
}

/// Makes items `0..count` on `threads` threads and gives them in order to `take`, which runs on the caller's. With one
/// thread, all runs on the caller's. The first error, in the order of items, wins. `size` says what an item that waits
/// takes, in bytes.
pub(crate) fn ordered<T: Send, E: Send>(
    threads: usize,
    count: usize,
    make: impl Fn(usize) -> Result<T, E> + Sync,
    size: impl Fn(&T) -> usize + Sync,
    mut take: impl FnMut(T) -> Result<(), E>,
) -> Result<(), E> {
    if threads < 2 || count < 2 {
        return (0..count).try_for_each(|number| take(make(number)?));
    }
    let ready = BTreeMap::new();
    let state = State { next: 0, taken: 0, ready, waiting: 0, stopped: false, idle: 0, awaited: None };
    let shared = Shared { state: Mutex::new(state), room: Condvar::new(), made: Condvar::new() };
    let size_of = |item: &Result<T, E>| item.as_ref().map_or(0, &size);
    let work = || {
        loop {
            let mut state = shared.lock();
            let number = loop {
                if state.stopped || state.next >= count {
                    return;
                }
                if state.has_room(threads) {
                    break state.next;
                }
                state.idle += 1;
                state = wait(&shared.room, state);
                state.idle -= 1;
            };
            state.next += 1;
            drop(state);
            let stop = Stop(&shared);
            let item = make(number);
            std::mem::forget(stop);
            let mut state = shared.lock();
            state.waiting += size_of(&item);
            state.ready.insert(number, item);
            let is_awaited = state.awaited == Some(number);
            drop(state);
            if is_awaited {
                shared.made.notify_one();
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.min(count) {
            scope.spawn(work);
        }
        let _stop = Stop(&shared);
        for number in 0..count {
            let mut state = shared.lock();
            let item = loop {
                if let Some(item) = state.ready.remove(&number) {
                    break item;
                }
                // Only a thread that panicked stops the others here; the scope panics, too.
                if state.stopped {
                    return Ok(());
                }
                state.awaited = Some(number);
                state = wait(&shared.made, state);
            };
            state.awaited = None;
            state.waiting -= size_of(&item);
            state.taken = number + 1;
            let has_room = state.idle > 0 && state.has_room(threads);
            drop(state);
            if has_room {
                shared.room.notify_all();
            }
            take(item?)?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_with_any_number_of_threads() {
        for threads in [1, 2, 7] {
            let mut taken = Vec::new();
            let make = |number: usize| {
                if number.is_multiple_of(3) {
                    std::thread::yield_now();
                }
                Ok::<_, ()>(number)
            };
            // All items are large: each waits until it is the next.
            ordered(
                threads,
                500,
                make,
                |_| WAITING,
                |item| {
                    taken.push(item);
                    Ok(())
                },
            )
            .unwrap();
            assert_eq!(taken, (0..500).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_first_error_wins_and_nothing_hangs() {
        for threads in [1, 3] {
            let make = |number: usize| if number % 10 == 7 { Err(number) } else { Ok(number) };
            let mut last = 0;
            assert_eq!(
                ordered(
                    threads,
                    1000,
                    make,
                    |_| 1,
                    |item| {
                        last = item;
                        Ok(())
                    }
                ),
                Err(7)
            );
            assert_eq!(last, 6);
            assert_eq!(ordered(threads, 1000, Ok, |_| 1, |item| if item == 4 { Err(4) } else { Ok(()) }), Err(4));
        }
    }

    #[test]
    fn a_panic_is_passed_on() {
        let make = |number: usize| if number == 20 { panic!("made to") } else { Ok::<_, ()>(number) };
        let take = |number: usize| if number == 30 { panic!("made to") } else { Ok::<_, ()>(()) };
        for threads in [1, 3] {
            assert!(std::panic::catch_unwind(|| ordered(threads, 100, make, |_| 1, |_| Ok(()))).is_err());
            assert!(std::panic::catch_unwind(|| ordered(threads, 100, Ok, |_| 1, take)).is_err());
        }
    }
}
