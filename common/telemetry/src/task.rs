//! The one way to start an asynchronous task.
//!
//! A task has a name, a span, a tracker that its owner waits for, and a token that ends it. `tokio::spawn` itself is a
//! disallowed method.

use std::future::Future;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, Span};

/// How a task ended, if it did not panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskEnd<T> {
    /// It came to its own end.
    Done(T),
    /// The token was cancelled first; the future was dropped where it waited.
    Cancelled,
}

/// Starts a task: named `name` in its span (a child of the current one), counted by `tracker`, dropped at its next
/// `await` when `token` is cancelled.
///
/// The handle tells its end, `JoinError::is_panic` included; a panic is also logged as an error. Dropping the handle
/// leaves the task running under its tracker. A task that has to clean up takes a clone of the token and looks at it
/// itself: see [`spawn_named_until_done`].
pub fn spawn_named<F>(
    name: &'static str,
    tracker: &TaskTracker,
    token: &CancellationToken,
    future: F,
) -> JoinHandle<TaskEnd<F::Output>>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let token = token.clone();
    let guarded = async move {
        match token.run_until_cancelled(future).await {
            Some(output) => TaskEnd::Done(output),
            None => TaskEnd::Cancelled,
        }
    };
    spawn_named_until_done(name, tracker, guarded)
}

/// Starts a task that nothing cuts short; it must watch a token of its own where it can wait for long.
pub fn spawn_named_until_done<F>(name: &'static str, tracker: &TaskTracker, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let span = tracing::info_span!("task", task = name);
    let end = PanicLog { name, span: span.clone() };
    let future = async move {
        let output = future.await;
        drop(end);
        output
    };
    tracker.spawn(future.instrument(span))
}

/// Logs when it is dropped by a panic: a task whose handle nobody reads must not vanish silently.
struct PanicLog {
    name: &'static str,
    span: Span,
}

impl Drop for PanicLog {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(parent: &self.span, task = self.name, "a task panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_owner_sees_the_end() {
        let (tracker, token) = (TaskTracker::new(), CancellationToken::new());
        let done = spawn_named("done", &tracker, &token, async { 7 });
        assert_eq!(done.await.unwrap(), TaskEnd::Done(7));
        let endless = spawn_named("endless", &tracker, &token, std::future::pending::<()>());
        assert_eq!(tracker.len(), 1);
        token.cancel();
        assert_eq!(endless.await.unwrap(), TaskEnd::Cancelled);
        tracker.close();
        tracker.wait().await;
    }

    #[tokio::test]
    async fn the_owner_sees_a_panic() {
        let (tracker, token) = (TaskTracker::new(), CancellationToken::new());
        let broken = spawn_named("broken", &tracker, &token, async { panic!("on purpose") });
        assert!(broken.await.unwrap_err().is_panic());
        assert!(tracker.is_empty());
    }
}
