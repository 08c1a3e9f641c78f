//! Signals that end a run of the createrepo tools cleanly: those of createrepo_c 1.2.5 (`cleanup.c`), but SIGPIPE, which is
//! ignored as in all of this program.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

/// Runs `work` with a flag that each of these signals sets; `told` is called when one comes. A second one ends the
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

/// Signals that would otherwise end the program and leave its lock behind.
fn kinds() -> [SignalKind; 9] {
    [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
        SignalKind::alarm(),
        SignalKind::user_defined1(),
        SignalKind::user_defined2(),
        SignalKind::io(),
        SignalKind::from_raw(Signal::PROF.as_raw()),
        SignalKind::from_raw(Signal::VTALARM.as_raw()),
    ]
}

async fn signals(stop: &AtomicBool, told: &(impl Fn() + Sync)) {
    let Ok(mut streams) = kinds().into_iter().map(signal).collect::<std::io::Result<Vec<_>>>() else { return };
    loop {
        std::future::poll_fn(|context| {
            let came = streams.iter_mut().any(|stream| stream.poll_recv(context).is_ready());
            if came { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        if stop.swap(true, Ordering::Relaxed) {
            std::process::exit(1);
        }
        told();
    }
}
