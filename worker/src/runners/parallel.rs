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

    fn set(&self, consumed: Option<usize>) {
        *self.consumed.lock().unwrap_or_else(PoisonError::into_inner) = consumed;
        self.moved.notify_all();
    }
}

/// Closes the gate on every way out, so that waiting threads end.
struct Close<'a>(&'a Gate);

impl Drop for Close<'_> {
    fn drop(&mut self) {
        self.0.set(None);
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
            gate.set(Some(done));
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
        ordered(&context, &items, || (), work, |index, result| {
            seen.push((index, result));
            Ok(())
        })
        .unwrap();
        assert!(seen.len() == 1000 && seen.iter().enumerate().all(|(at, (index, result))| at == *index && *result == 2 * at));

        let fail = |_: &mut (), item: &usize| {
            if *item >= 500 { Err(RunnerError::input(format!("item {item}"))) } else { Ok(()) }
        };
        let error = ordered(&context, &items, || (), fail, |_, ()| Ok(())).unwrap_err();
        assert_eq!(error.cause, "item 500");
        let refuse = |index: usize, ()| if index == 3 { Err(RunnerError::tool("enough")) } else { Ok(()) };
        assert_eq!(ordered(&context, &items, || (), |_, _| Ok(()), refuse).unwrap_err().cause, "enough");
        context.cancel.cancel();
        let error = ordered(&context, &items, || (), work, |_, _| Ok(())).unwrap_err();
        assert_eq!(error.class, crate::FailureClass::Cancelled);
    }
}
