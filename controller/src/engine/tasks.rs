//! What runs beside the engine: named tasks, and disk work on threads.

use std::sync::Arc;

use tokio::{
    sync::{Semaphore, oneshot},
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tutti_telemetry::task::{spawn_named, spawn_named_until_done};

/// Spawns tasks that end with the engine.
#[derive(Clone, Debug)]
pub struct Tasks {
    tracker: TaskTracker,
    token: CancellationToken,
    /// Threads that disk work may have at a time.
    disk: Arc<Semaphore>,
}

/// Disk work may wait a quarter of an hour for its volume, each on a thread of tokio's, of which there are 512. The state
/// store needs one of them at any time.
const DISK_THREADS: usize = 448;

impl Tasks {
    pub(super) fn new(token: CancellationToken) -> Self {
        Self { tracker: TaskTracker::new(), token, disk: Arc::new(Semaphore::new(DISK_THREADS)) }
    }

    /// What ends when the engine stops.
    pub(super) fn stop(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Starts a named task; it is dropped when the engine stops.
    pub fn spawn<F>(&self, name: &'static str, future: F)
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        drop(spawn_named(name, &self.tracker, &self.token, future));
    }

    /// Starts the engine itself, which ends when it has come to an end.
    pub(super) fn spawn_engine<F>(&self, engine: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        spawn_named_until_done("engine", &self.tracker, engine)
    }

    /// Runs disk work on a thread for it, once there is one; whatever was started runs, also when the engine stops.
    pub(crate) fn spawn_blocking(&self, work: impl FnOnce() + Send + 'static) {
        let (disk, tracker) = (Arc::clone(&self.disk), self.tracker.clone());
        self.tracker.spawn(async move {
            // In the order in which they came; nobody closes it.
            let permit = disk.acquire_owned().await;
            tracker.spawn_blocking(move || {
                let _permit = permit;
                work();
            });
        });
    }

    /// As [`Tasks::spawn_blocking`], with an answer; none if it panicked.
    pub(super) async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.spawn_blocking(move || drop(reply.send(work())));
        answer.await.ok()
    }

    /// Runs blocking work that takes as long as the engine on a thread of its own.
    pub(super) fn spawn_thread(&self, work: impl FnOnce() + Send + 'static) {
        self.tracker.spawn_blocking(work);
    }

    /// Waits until every task has ended.
    pub async fn finish(&self) {
        self.token.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Mutex, mpsc},
        time::Duration,
    };

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test(flavor = "multi_thread")]
    async fn r15_disk_work_that_waits_leaves_threads_to_the_store() {
        let tasks = Tasks::new(CancellationToken::new());
        let (stop, stopped) = mpsc::channel::<()>();
        let stopped = Arc::new(Mutex::new(stopped));
        let (start, mut started) = tokio::sync::mpsc::unbounded_channel();
        for _ in 0..1000 {
            let (stopped, start) = (Arc::clone(&stopped), start.clone());
            // Each waits until the volume is well again.
            tasks.spawn_blocking(move || {
                let _ = start.send(());
                drop(stopped.lock().map(|stopped| stopped.recv()));
            });
        }
        // All threads of tokio's are in use, were there no limit.
        for _ in 0..DISK_THREADS.min(512) {
            tokio::time::timeout(PATIENCE, started.recv()).await.unwrap().unwrap();
        }
        let of_the_store = tokio::task::spawn_blocking(|| ());
        tokio::time::timeout(PATIENCE, of_the_store).await.unwrap().unwrap();
        let asked = tasks.blocking(|| 7);
        drop(stop);
        assert_eq!(tokio::time::timeout(PATIENCE, asked).await.unwrap(), Some(7));
        tasks.finish().await;
    }
}
