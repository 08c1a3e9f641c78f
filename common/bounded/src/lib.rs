//! Runs a test or a program in a child process with limits on memory and time, and measures it.
//!
//! For tests of hostile input: a bomb that goes off ends a child, not the test run or the machine, and the peak memory
//! that is asserted is that of the one thing under test. Linux only (`/proc`, `ulimit -v`). Not part of any program
//! that is shipped.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Variable that tells a test binary that it is the child, with the test's name.
const CHILD: &str = "TUTTI_BOUNDED_CHILD";
/// What the child prints before its peak memory in KiB.
const PEAK: &str = "bounded child: peak KiB ";
/// How often a running child is looked at.
const POLL: Duration = Duration::from_millis(5);
/// Most bytes of a child's output that are read.
const MAX_OUTPUT: u64 = 1 << 20;

/// Limits of a child process.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Address space in MiB (`ulimit -v`): what a bomb runs into. Not a measure of what is used.
    pub address_space_mib: u64,
    /// Wall time after which it is killed.
    pub time: Duration,
}

impl Default for Limits {
    /// 2 GiB and a minute.
    fn default() -> Self {
        Self { address_space_mib: 2048, time: Duration::from_secs(60) }
    }
}

/// How a child ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status; `None` if it was killed for its time.
    pub status: Option<ExitStatus>,
    /// Wall time.
    pub elapsed: Duration,
    /// What it printed on standard output and standard error.
    pub output: String,
}

impl Ended {
    /// Whether it ended by itself and well.
    pub fn is_success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }
}

/// Runs a program under limits.
///
/// # Errors
/// When it cannot be started or waited for.
pub fn run<S: AsRef<OsStr>>(program: impl AsRef<OsStr>, arguments: &[S], limits: Limits) -> io::Result<Ended> {
    run_with(program.as_ref(), arguments, &[], limits)
}

fn run_with<S: AsRef<OsStr>>(
    program: &OsStr,
    arguments: &[S],
    variables: &[(&str, &str)],
    limits: Limits,
) -> io::Result<Ended> {
    // A file, since a child that fills a pipe would wait for us.
    let mut output = unnamed_file()?;
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("ulimit -v {} && exec \"$0\" \"$@\"", limits.address_space_mib * 1024)]);
    command.arg(program).args(arguments).envs(variables.iter().copied());
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output.try_clone()?);
    let started = Instant::now();
    let mut child = command.spawn()?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if started.elapsed() > limits.time {
            child.kill()?;
            child.wait()?;
            break None;
        }
        std::thread::sleep(POLL);
    };
    let elapsed = started.elapsed();
    output.rewind()?;
    let mut bytes = Vec::new();
    output.take(MAX_OUTPUT).read_to_end(&mut bytes)?;
    Ok(Ended { status, elapsed, output: String::from_utf8_lossy(&bytes).into_owned() })
}

fn unnamed_file() -> io::Result<File> {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("tutti-bounded-{}-{number}", std::process::id()));
    let file = File::options().read(true).append(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// What a body of [`peak_below`] used.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Peak resident memory of the process, program included, in KiB.
    pub peak_kib: u64,
    /// Wall time of the whole process.
    pub elapsed: Duration,
}

/// Runs `body`, the whole of the test `test`, in a child process, and fails unless its peak resident memory stays below
/// `peak_mib`.
///
/// Returns what was used; `None` in the child itself. `test` is the path of the test function within its binary
/// (`module::name`), which the child is started with.
///
/// # Panics
/// When the body fails, or goes beyond a limit.
pub fn peak_below(test: &str, peak_mib: u64, limits: Limits, body: impl FnOnce()) -> Option<Usage> {
    if std::env::var(CHILD).is_ok_and(|name| name == test) {
        body();
        println!("{PEAK}{}", peak_kib());
        return None;
    }
    let program = std::env::current_exe().unwrap_or_default();
    let ended = run_with(program.as_os_str(), &["--exact", test, "--nocapture"], &[(CHILD, test)], limits);
    let ended = ended.unwrap_or_else(|error| fail(test, &format!("cannot be started: {error}")));
    let peak = ended.output.lines().find_map(|line| line.split_once(PEAK)?.1.trim().parse::<u64>().ok());
    let (true, Some(peak_kib)) = (ended.is_success(), peak) else {
        let how = ended.status.map_or_else(|| "killed: time limit".to_owned(), |status| status.to_string());
        fail(test, &format!("failed in its child ({how}):\n{}", ended.output))
    };
    let own = |line: &&str| {
        !line.is_empty() && !line.contains(PEAK) && !line.starts_with("running ") && !line.starts_with("test ")
    };
    ended.output.lines().filter(own).for_each(|line| println!("{line}"));
    println!("{test}: peak {} MiB, {} ms", peak_kib / 1024, ended.elapsed.as_millis());
    if peak_kib > peak_mib * 1024 {
        fail(test, &format!("peak memory is {peak_kib} KiB, allowed are {peak_mib} MiB"));
    }
    Some(Usage { peak_kib, elapsed: ended.elapsed })
}

/// Longest time for one hostile input: `TUTTI_INPUT_LIMIT_MS` for who measures, else `hang`, which is against hangs only.
pub fn input_limit(hang: Duration) -> Duration {
    let limit = std::env::var("TUTTI_INPUT_LIMIT_MS").ok().and_then(|text| text.parse().ok());
    limit.map_or(hang, Duration::from_millis)
}

#[expect(clippy::panic, reason = "the failure of a test")]
fn fail(test: &str, what: &str) -> ! {
    panic!("{test}: {what}");
}

/// Peak resident memory of this process so far, in KiB; 0 where `/proc` does not tell.
pub fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    peak.and_then(|text| text.trim().parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_body_passes() {
        let usage = peak_below("tests::a_quiet_body_passes", 64, Limits::default(), || {
            std::hint::black_box(vec![1u8; 8 << 20]);
        });
        assert!(usage.is_none_or(|usage| usage.peak_kib > 8 << 10));
    }

    #[test]
    #[should_panic(expected = "peak memory is")]
    fn a_hungry_body_fails() {
        let hungry = || drop(std::hint::black_box(vec![1u8; 100 << 20]));
        if peak_below("tests::a_hungry_body_fails", 64, Limits::default(), hungry).is_none() {
            // The child passes when it panics like the parent.
            fail("child", "peak memory is for the parent to judge");
        }
    }

    #[test]
    fn an_endless_program_is_killed() {
        let limits = Limits { time: Duration::from_millis(50), ..Limits::default() };
        let ended = run("sleep", &["60"], limits).unwrap_or_else(|error| fail("sleep", &error.to_string()));
        assert!(ended.status.is_none() && !ended.is_success());
    }

    #[test]
    fn memory_is_limited() {
        let limits = Limits { address_space_mib: 64, ..Limits::default() };
        let ended = run("sh", &["-c", "x=1; while :; do x=$x$x; done"], limits);
        assert!(ended.is_ok_and(|ended| !ended.is_success() && ended.elapsed < Duration::from_secs(60)));
    }
}
