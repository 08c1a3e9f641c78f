//! Many items, a few threads, results in the order of the items.

use std::{
    collections::BTreeMap,
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};

use crate::{JobContext, RunnerError};

/// Items per thread that may be done but not yet consumed: what bounds the memory.
const WINDOW: usize = 32;

/// How far the consumer is.
struct Gate {
    consumed: Mutex<Option<usize>>,
    moved: Condvar,
}

impl Gate {
    /// Waits until item `index` is near enough; false when nothing more is wanted.
    fn wait_for(&self, index: usize, window: usize) -> bool {
        let mut consumed = self.consumed.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match *consumed {
                None => return false,
                Some(done) if index < done + window => return true,
                Some(_) => consumed = self.moved.wait(consumed).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// A closed gate stays closed.
    fn advance(&self, consumed: usize) {
        let mut state = self.consumed.lock().unwrap_or_else(PoisonError::into_inner);
        *state = state.map(|_| consumed);
        self.moved.notify_all();
    }

    fn close(&self) {
        *self.consumed.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.moved.notify_all();
    }
}

/// Closes the gate on every way out of the consumer, so that waiting threads end.
struct Close<'a>(&'a Gate);

impl Drop for Close<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Closes the gate when a thread panics: its item will never come, and nobody must wait for it.
struct Alarm<'a>(&'a Gate);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.close();
        }
    }
}

/// Runs `work` on all items with the context's number of threads, each with a state of its own, and `consume` on this
/// thread with the results in the order of the items. The first error, in that order, ends everything.
///
/// # Errors
/// Those of `work` and `consume`; [`RunnerError::cancelled`].
pub(super) fn ordered<T: Sync, S, R: Send>(
    context: &JobContext,
    items: &[T],
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, &T) -> Result<R, RunnerError> + Sync,
    mut consume: impl FnMut(usize, R) -> Result<(), RunnerError>,
) -> Result<(), RunnerError> {
    let threads = context.threads.clamp(1, items.len().max(1));
    let next = AtomicUsize::new(0);
    let gate = Gate { consumed: Mutex::new(Some(0)), moved: Condvar::new() };
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let sender = sender.clone();
            let (next, gate, state, work) = (&next, &gate, &state, &work);
            scope.spawn(move || {
                let _alarm = Alarm(gate);
                let mut state = state();
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { return };
                    if !gate.wait_for(index, threads * WINDOW) {
                        return;
                    }
                    let result = if context.cancel.is_cancelled() {
                        Err(RunnerError::cancelled())
                    } else {
                        work(&mut state, item)
                    };
                    if sender.send((index, result)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let _close = Close(&gate);
        let mut waiting = BTreeMap::new();
        let mut done = 0;
        while done < items.len() {
            let (index, result) =
                receiver.recv().map_err(|_| RunnerError::tool("a thread of the runner ended early"))?;
            waiting.insert(index, result);
            while let Some(result) = waiting.remove(&done) {
                consume(done, result?)?;
                done += 1;
            }
            gate.advance(done);
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runners::testing;

    #[test]
    fn results_come_in_order_and_the_first_error_wins() {
        let case = testing::Case::new();
        let mut context = case.context(testing::spec(tutti_job::JobKind::Trim, &(), vec![], vec![]));
        context.threads = 4;
        let items: Vec<usize> = (0..1000).collect();
        let mut seen = Vec::new();
        let work = |_: &mut (), item: &usize| Ok(item * 2);
        ordered(
            &context,
            &items,
            || (),
            work,
            |index, result| {
                seen.push((index, result));
                Ok(())
            },
        )
        .unwrap();
        assert!(
            seen.len() == 1000
                && seen.iter().enumerate().all(|(at, (index, result))| at == *index && *result == 2 * at)
        );

        let fail = |_: &mut (), item: &usize| {
            if *item >= 500 { Err(RunnerError::input(format!("item {item}"))) } else { Ok(()) }
        };
        let error = ordered(&context, &items, || (), fail, |_, ()| Ok(())).unwrap_err();
        assert_eq!(error.cause, "item 500");
        let refuse = |index: usize, ()| if index == 3 { Err(RunnerError::tool("enough")) } else { Ok(()) };
        assert_eq!(ordered(&context, &items, || (), |_, _| Ok(()), refuse).unwrap_err().cause, "enough");
        let stumble = |_: &mut (), item: &usize| if *item == 7 { panic!("stumbled") } else { Ok(()) };
        let panicked = std::panic::AssertUnwindSafe(|| ordered(&context, &items, || (), stumble, |_, ()| Ok(())));
        assert!(std::panic::catch_unwind(panicked).is_err(), "the panic is passed on and nobody waits for ever");
        context.cancel.cancel();
        let error = ordered(&context, &items, || (), work, |_, _| Ok(())).unwrap_err();
        assert_eq!(error.class, crate::FailureClass::Cancelled);
    }
}
