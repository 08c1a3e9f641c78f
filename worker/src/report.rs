//! What a runner says while it works: progress, warnings, counters and lines of the attempt's log.

use std::{
    collections::BTreeMap,
    fmt,
    io::Write,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{RunnerError, error::one_line, wire::Line};

/// Least time between two progress lines of one phase.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);
/// Warnings kept of one attempt; more are counted only.
const MAX_WARNINGS: usize = 200;

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the lines for the worker go. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Pipe(Arc<Mutex<dyn Write + Send>>);

impl Pipe {
    pub(crate) fn new(writer: impl Write + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(writer)))
    }

    /// Writes one line. A worker that no longer reads kills this process through its standard input, so a failed
    /// write is nothing to act on.
    pub(crate) fn send(&self, line: &Line) {
        if let Ok(mut text) = serde_json::to_vec(line) {
            text.push(b'\n');
            let mut writer = lock(&self.0);
            let _ = writer.write_all(&text).and_then(|()| writer.flush());
        }
    }
}

/// Tells the worker how far the job is. Cheap to clone; for all threads.
#[derive(Clone)]
pub struct Progress {
    pipe: Pipe,
    state: Arc<Mutex<ProgressState>>,
}

struct ProgressState {
    phase: String,
    sent: Option<Instant>,
    warnings: Vec<String>,
    suppressed: u64,
}

impl Progress {
    pub(crate) fn new(pipe: Pipe) -> Self {
        let state = ProgressState { phase: String::new(), sent: None, warnings: Vec::new(), suppressed: 0 };
        Self { pipe, state: Arc::new(Mutex::new(state)) }
    }

    /// A progress that nobody sees, for tests and tools.
    pub fn hidden() -> Self {
        Self::new(Pipe::new(std::io::sink()))
    }

    /// Says that `done` of `total` units of `phase` are done; 0 of 0 where it cannot be counted. Call it as often as
    /// there is something to say: lines are sent five times a second at most. An attempt that says nothing new for
    /// long is killed.
    pub fn set(&self, phase: &str, done: u64, total: u64) {
        let mut state = lock(&self.state);
        let same = state.phase == phase;
        let last = total > 0 && done >= total;
        if same && !last && state.sent.is_some_and(|sent| sent.elapsed() < PROGRESS_INTERVAL) {
            return;
        }
        if !same {
            state.phase = phase.to_owned();
        }
        state.sent = Some(Instant::now());
        drop(state);
        self.pipe.send(&Line::Progress { phase: phase.to_owned(), done, total });
    }

    /// Notes what a person should read though the job succeeds; one line. At most 200 are kept.
    pub fn warn(&self, text: &str) {
        let mut state = lock(&self.state);
        if state.warnings.len() < MAX_WARNINGS {
            state.warnings.push(one_line(text));
        } else {
            state.suppressed += 1;
        }
    }

    pub(crate) fn take_warnings(&self) -> Vec<String> {
        let mut state = lock(&self.state);
        let mut warnings = std::mem::take(&mut state.warnings);
        if state.suppressed > 0 {
            warnings.push(format!("{} more warnings stand in the log only", state.suppressed));
        }
        warnings
    }
}

/// Sums of what the job did (`rpm_read_bytes`, `hashed_bytes` …). Cheap to clone; for all threads.
#[derive(Clone, Default)]
pub struct Counters(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Counters {
    /// Adds `count` to the counter `name`.
    pub fn add(&self, name: &'static str, count: u64) {
        let mut counters = lock(&self.0);
        let value = counters.entry(name).or_default();
        *value = value.saturating_add(count);
    }

    /// All counters, by name.
    pub fn snapshot(&self) -> BTreeMap<String, u64> {
        lock(&self.0).iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }
}

/// The attempt's log. Cheap to clone; for all threads. Lines go there as a whole.
#[derive(Clone)]
pub struct Log(Arc<Mutex<dyn Write + Send>>);

impl Log {
    /// A log that is written to `writer`.
    pub fn new(writer: impl Write + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(writer)))
    }

    /// Writes one line; what it returns of errors is lost, a job does not fail for its log. Mostly called through
    /// [`crate::log!`].
    pub fn line(&self, text: fmt::Arguments<'_>) {
        let line = format!("{text}\n");
        let _ = lock(&self.0).write_all(line.as_bytes());
    }
}

/// Writes a line to the attempt's log: `log!(context, "{} packages", n)`.
#[macro_export]
macro_rules! log {
    ($context:expr, $($arg:tt)*) => { $context.log.line(::std::format_args!($($arg)*)) };
}

/// Whether the attempt shall end. Cheap to clone; long loops poll it through [`Cancel::check`].
///
/// Mostly an attempt ends by a signal; the flag serves runners that are called within another program.
#[derive(Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks the runner to end.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it shall end.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Fails when it shall end.
    ///
    /// # Errors
    /// [`RunnerError::cancelled`].
    pub fn check(&self) -> Result<(), RunnerError> {
        if self.is_cancelled() { Err(RunnerError::cancelled()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            lock(&self.0).extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn progress_is_rate_limited_but_phases_and_ends_are_not() {
        let out = Shared::default();
        let progress = Progress::new(Pipe::new(out.clone()));
        for done in 0..=1000 {
            progress.set("reading", done, 1000);
        }
        progress.set("writing", 0, 2);
        let text = String::from_utf8(lock(&out.0).clone()).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines.len() < 50, "{} lines", lines.len());
        assert!(lines[lines.len() - 2].contains("\"done\":1000"), "{text}");
        assert!(lines[lines.len() - 1].contains("writing"), "{text}");
    }

    #[test]
    fn warnings_are_bounded() {
        let progress = Progress::hidden();
        for n in 0..300 {
            progress.warn(&format!("w{n}\nx"));
        }
        let warnings = progress.take_warnings();
        assert_eq!(warnings.len(), MAX_WARNINGS + 1);
        assert_eq!(warnings[0], "w0 x");
        assert!(warnings[MAX_WARNINGS].starts_with("100 more"));
    }
}
