//! Signals that end a run of the createrepo tools cleanly.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

/// Runs `work` with a flag that SIGINT, SIGTERM and SIGHUP set; `told` is called when one comes. A second one ends the
/// program at once.
pub(crate) fn run<T>(work: impl FnOnce(&AtomicBool) -> T, told: impl Fn() + Sync) -> T {
    let stop = Arc::new(AtomicBool::new(false));
    let (flag, told) = (Arc::clone(&stop), &told);
    // Signals are watched by a thread of its own: nothing else here is asynchronous.
    let (done, ended) = tokio::sync::oneshot::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
            runtime.block_on(async move {
                tokio::select! {
                    () = signals(&flag, told) => {}
                    _ = ended => {}
                }
            });
        });
        let result = work(&stop);
        drop(done);
        result
    })
}

async fn signals(stop: &AtomicBool, told: &(impl Fn() + Sync)) {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let [Ok(mut first), Ok(mut second), Ok(mut third)] = kinds.map(signal) else { return };
    loop {
        tokio::select! {
            _ = first.recv() => {}
            _ = second.recv() => {}
            _ = third.recv() => {}
        }
        if stop.swap(true, Ordering::Relaxed) {
            std::process::exit(1);
        }
        told();
    }
}
