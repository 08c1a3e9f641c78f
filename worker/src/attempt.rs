//! One attempt, as the worker sees it: a child process with deadlines, killed with all that it started.
//!
//! [`run`] always returns an ending, and returns only when every process of the attempt is dead: a slot that is
//! reported free is free. The staging directory stays; what becomes of it is decided by Commit or Refused.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Seek as _,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, SystemTime},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::watch,
    time::{Instant, timeout},
};
use tutti_job::{Fence, Volumes};

use crate::{
    FailureClass, OrFail as _, RunnerError, child, packs,
    process::{Family, MARKER, Spawner},
    sandbox,
    wire::{Ending, Failure, Line, MAX_LINE, Report, Request, SandboxMode, to_hex},
};

/// How long the child may take to read its request, and to end after its result.
const SHORT: Duration = Duration::from_secs(10);
/// Most earlier attempts that one may take over from.
const MAX_EARLIER: usize = 16;
/// How long a volume in trouble is waited for before an attempt fails of it.
const VOLUME: Duration = Duration::from_secs(15 * 60);
/// What glibc's allocator is told by.
const TUNABLES: &str = "GLIBC_TUNABLES";
/// For children, which live for seconds and hold universes and package lists of tens of MB: memory in large pages, where the
/// kernel gives them (from glibc 2.35 on), and none given back only to be asked for again. Of a compose's processor time 5 %
/// went into page faults that this spares.
const ALLOCATOR: &str =
    "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=33554432:glibc.malloc.trim_threshold=268435456";
/// Variables that the child gets from the worker's environment; all others are dropped.
const KEPT: [&str; 13] = [
    "PATH",
    TUNABLES,
    "RUST_BACKTRACE",
    "TUTTI_FAILPOINTS",
    "TUTTI_FAILPOINT_LOG",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// What to run, and for how long.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) compose_id: String,
    pub(crate) fence: Fence,
    pub(crate) job_name: String,
    pub(crate) spec: Vec<u8>,
    /// With the staging directory set.
    pub(crate) volumes: Volumes,
    pub(crate) threads: usize,
    pub(crate) idle: Duration,
    pub(crate) wall: Duration,
    pub(crate) log: PathBuf,
    pub(crate) traceparent: String,
}

/// The program that children run.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) executable: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) sandbox: SandboxMode,
}

/// Why an attempt shall end before its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stop {
    pub(crate) failure: Failure,
    pub(crate) grace: Duration,
}

/// How far an attempt is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) phase: String,
    pub(crate) done: u64,
    pub(crate) total: u64,
    /// What a person should know of the host as long as the attempt is there.
    pub(crate) condition: Option<String>,
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub(crate) struct Finished {
    pub(crate) ending: Ending,
    pub(crate) counters: BTreeMap<String, u64>,
    pub(crate) cpu: Duration,
    pub(crate) peak_memory: u64,
    pub(crate) started: SystemTime,
    pub(crate) ended: SystemTime,
    pub(crate) conditions: Vec<String>,
}

/// Runs one attempt to its end.
pub(crate) async fn run(
    order: &Order,
    program: &Program,
    spawner: &Spawner,
    stop: watch::Receiver<Option<Stop>>,
    status: impl Fn(Status),
) -> Finished {
    let started = SystemTime::now();
    let mut conditions = Vec::new();
    let report = match Box::pin(attempt(order, program, spawner, stop, status, &mut conditions)).await {
        Ok(report) => report,
        Err(failure) => {
            Report { ending: Ending::Failure(failure), counters: BTreeMap::new(), cpu_ms: 0, peak_memory: 0 }
        }
    };
    Finished {
        ending: report.ending,
        counters: report.counters,
        cpu: Duration::from_millis(report.cpu_ms),
        peak_memory: report.peak_memory,
        started,
        ended: SystemTime::now(),
        conditions,
    }
}

/// What a job reported, after what it left for other composes is kept, if it succeeded.
async fn kept(order: &Order, mut report: Report) -> Report {
    if let Ending::Success { warnings, .. } = &mut report.ending
        && let Some(warning) = keep_records(order).await
    {
        // First: of many warnings only some are kept.
        warnings.insert(0, warning);
    }
    report
}

/// Keeps what a successful job left for other composes. What a person should know of it is returned.
async fn keep_records(order: &Order) -> Option<String> {
    let (volumes, job) = (order.volumes.clone(), order.job_name.clone());
    // On a thread of its own: the volume may hang.
    let kept = tokio::task::spawn_blocking(move || packs::keep(&volumes, &job)).await;
    let error = kept.unwrap_or_else(|error| Err(error.to_string())).err()?;
    Some(format!("the package records of {} are not kept for other composes: {error}", order.job_name))
}

/// What a process of the job, whose staging directory was made, has come to: a failure where somebody has removed that
/// directory says so. What the job met is a consequence, and another attempt has a directory of its own.
async fn undermined(order: &Order, failure: Failure) -> Failure {
    let own = !matches!(failure.class, FailureClass::Cancelled | FailureClass::NoSpace);
    let Some(staging) = order.volumes.staging.clone().filter(|_| own) else { return failure };
    // On a thread of its own: the volume may be what fails, and hang.
    let look = tokio::task::spawn_blocking(move || {
        sandbox::STAGING_PARTS
            .iter()
            .map(|part| staging.join(part))
            .find(|path| fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound))
    });
    match look.await.ok().flatten() {
        Some(path) => Failure {
            class: FailureClass::Infra,
            cause: format!(
                "its staging directory was removed while it ran: {} is gone ({})",
                path.display(),
                failure.cause
            ),
            hint: "leave everything below work/tutti to tutti while a compose runs; tutti retry runs the job again"
                .to_owned(),
        },
        None => failure,
    }
}

enum End {
    Reported(Report),
    Stopped(Stop),
    Exited,
    Broken(String),
}

async fn attempt(
    order: &Order,
    program: &Program,
    spawner: &Spawner,
    mut stop: watch::Receiver<Option<Stop>>,
    status: impl Fn(Status),
    conditions: &mut Vec<String>,
) -> Result<Report, Failure> {
    tutti_failpoint::hit("worker.attempt.prepare").or_fail(FailureClass::Infra, || "failpoint")?;
    let Prepared { log, earlier } = Box::pin(prepare_patiently(order, &mut stop, &status, conditions)).await?;
    let begin = Instant::now();
    tutti_failpoint::pass("worker.attempt.staged");
    let marker = format!("{}/{}", order.compose_id, order.fence);
    let mut child = spawner.spawn(command(order, program, &marker, log)).await.or_fail(FailureClass::Infra, || {
        format!("failed to start {} for {}", program.executable.display(), order.job_name)
    })?;
    tutti_failpoint::pass("worker.attempt.spawned");
    let family = Family::of(&child, &marker);
    let (Some(family), Some(mut stdin), Some(stdout)) = (family, child.stdin.take(), child.stdout.take()) else {
        return Err(RunnerError::infra(format!("the process of {} ended at once", order.job_name)).into());
    };
    let mut lines = Lines::new(stdout);
    let sent = send_request(&mut stdin, order, earlier, program).await;
    tutti_failpoint::pass("worker.attempt.requested");
    // A test ends the worker here, as a poison job does.
    let _ = tutti_failpoint::hit_for("worker.attempt.running", &order.job_name);
    let end = match sent {
        Ok(()) => Box::pin(watch_child(order, begin, &family, &mut lines, &mut stop, &status, conditions)).await,
        // A child that could not even read its request says more by its status.
        Err(_) => End::Exited,
    };
    tutti_failpoint::pass("worker.attempt.ended");
    let exit = end_child(&end, &mut child, stdin, &family, |left| status(undying(order, left))).await;
    tutti_failpoint::pass("worker.attempt.extinguished");
    let failure = match end {
        End::Reported(Report { ending: Ending::Failure(failure), counters, cpu_ms, peak_memory }) => {
            let ending = Ending::Failure(undermined(order, failure).await);
            return Ok(Report { ending, counters, cpu_ms, peak_memory });
        }
        End::Reported(report) => return Ok(kept(order, report).await),
        End::Stopped(stop) => stop.failure,
        End::Broken(text) => RunnerError::infra(format!("{} reported nonsense: {text}", order.job_name)).into(),
        // The result may stand in the pipe though the exit was noticed first.
        End::Exited => match timeout(SHORT, last_report(&mut lines)).await {
            Ok(Some(report)) => return Ok(kept(order, report).await),
            Ok(None) | Err(_) => without_result(&order.job_name, exit),
        },
    };
    Err(undermined(order, failure).await)
}

struct Prepared {
    log: fs::File,
    /// Staging directories of earlier attempts.
    earlier: Vec<PathBuf>,
}

/// As [`prepare`]; a volume that is full, read-only or failing is waited for, up to [`VOLUME`].
async fn prepare_patiently(
    order: &Order,
    stop: &mut watch::Receiver<Option<Stop>>,
    status: &impl Fn(Status),
    conditions: &mut Vec<String>,
) -> Result<Prepared, Failure> {
    let begin = Instant::now();
    let mut pause = Duration::from_millis(50);
    loop {
        let error = match prepare(order, conditions).await {
            Ok(prepared) => return Ok(prepared),
            Err(error) => error,
        };
        if tutti_files::trouble_of(&error).is_none() || begin.elapsed() >= VOLUME {
            return Err(error.into());
        }
        status(Status { phase: format!("waits: {}", error.one_line()), ..Status::default() });
        tokio::select! {
            wanted = stop_order(stop) => return Err(wanted.failure),
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(Duration::from_secs(3));
    }
}

/// Makes a fresh staging directory, looks for those of earlier attempts, and opens the log at its end. A log that cannot be opened is none of the job's
/// business: it runs without.
async fn prepare(order: &Order, conditions: &mut Vec<String>) -> Result<Prepared, RunnerError> {
    let staging = order.volumes.staging.clone().ok_or(tutti_job::PathError::Unmapped("staging"))?;
    let (log, fence) = (order.log.clone(), order.fence);
    tokio::task::spawn_blocking(move || {
        // What cannot be listed cannot be taken over: the job is done from its beginning.
        let earlier = earlier_attempts(&staging, &fence).unwrap_or_default();
        make_staging(&staging)
            .or_fail(FailureClass::Infra, || format!("failed to make the staging directory {}", staging.display()))?;
        match open_log(&log) {
            Ok(log) => Ok((Prepared { log, earlier }, None)),
            Err(error) => {
                let lost = format!("no log of this attempt, {} cannot be opened: {error}", log.display());
                let nowhere = fs::OpenOptions::new().write(true).open("/dev/null");
                let log = nowhere.or_fail(FailureClass::Infra, || "failed to open /dev/null")?;
                Ok((Prepared { log, earlier }, Some(lost)))
            }
        }
    })
    .await
    .or_fail(FailureClass::Infra, || "failed to prepare the attempt")?
    .map(|(prepared, condition)| {
        conditions.extend(condition);
        prepared
    })
}

/// Staging directories of earlier attempts at the job of `fence`, newest first: siblings of `staging` that are real
/// directories and named after a fence.
fn earlier_attempts(staging: &Path, fence: &Fence) -> io::Result<Vec<PathBuf>> {
    let Some(parent) = staging.parent().filter(|_| fence.attempt > 1) else { return Ok(Vec::new()) };
    let mut found: Vec<Fence> = Vec::new();
    for item in fs::read_dir(parent)? {
        let item = item?;
        let other = item.file_name().to_str().and_then(|name| name.parse::<Fence>().ok());
        let earlier = |other: &Fence| other.job == fence.job && other.attempt < fence.attempt;
        found.extend(other.filter(earlier).filter(|_| item.file_type().is_ok_and(|kind| kind.is_dir())));
    }
    found.sort_unstable_by_key(|other| std::cmp::Reverse((other.attempt, other.executor)));
    found.truncate(MAX_EARLIER);
    Ok(found.iter().map(|other| parent.join(other.to_string())).collect())
}

fn make_staging(staging: &Path) -> io::Result<()> {
    tutti_files::remove_dir_all(staging)?;
    sandbox::STAGING_PARTS.iter().try_for_each(|part| fs::create_dir_all(staging.join(part)))
}

/// The child and its tools share one open file, hence one position: nothing is overwritten, and no O_APPEND, which
/// NFS does not have, is needed.
fn open_log(path: &Path) -> io::Result<fs::File> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    file.seek(io::SeekFrom::End(0))?;
    Ok(file)
}

fn command(order: &Order, program: &Program, marker: &str, log: fs::File) -> Command {
    let mut command = Command::new(&program.executable);
    command.args(&program.arguments).env_clear().process_group(0).kill_on_drop(true).current_dir("/");
    for name in KEPT {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    let scratch = order.volumes.staging.as_deref().unwrap_or(Path::new("/nonexistent")).join("scratch");
    if std::env::var_os(TUNABLES).is_none() {
        command.env(TUNABLES, ALLOCATOR);
    }
    command.env("LC_ALL", "C.UTF-8").env("TZ", "UTC").env("HOME", &scratch).env("TMPDIR", &scratch);
    command.env(MARKER, marker);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::from(log));
    command
}

async fn send_request(
    stdin: &mut ChildStdin,
    order: &Order,
    earlier: Vec<PathBuf>,
    program: &Program,
) -> io::Result<()> {
    let request = Request {
        spec: to_hex(&order.spec),
        job_name: order.job_name.clone(),
        fence: order.fence,
        volumes: order.volumes.clone(),
        earlier,
        threads: order.threads,
        sandbox: program.sandbox,
        worker: child::own_pid(),
    };
    let mut line = serde_json::to_vec(&request)?;
    line.push(b'\n');
    timeout(SHORT, stdin.write_all(&line)).await?
}

/// Waits for the result, the end of the process, an order to stop, or a deadline. Every branch may be dropped and
/// polled anew: [`Lines`] keeps what it has read, `watch` and the process its state.
async fn watch_child(
    order: &Order,
    begin: Instant,
    family: &Family,
    lines: &mut Lines,
    stop: &mut watch::Receiver<Option<Stop>>,
    status: &impl Fn(Status),
    conditions: &mut Vec<String>,
) -> End {
    let wall = begin + order.wall;
    let mut idle = begin + order.idle;
    let mut last = Status::default();
    loop {
        tokio::select! {
            wanted = stop_order(stop) => return End::Stopped(wanted),
            () = tokio::time::sleep_until(wall.min(idle)) => return End::Stopped(too_long(order, wall <= idle, &last)),
            line = lines.next() => match line {
                Ok(Some(Line::Progress { phase, done, total })) => {
                    let now = Status { phase: crate::error::one_line(&phase), done, total, condition: None };
                    if now != last {
                        idle = Instant::now() + order.idle;
                        last = now.clone();
                        status(now);
                    }
                }
                Ok(Some(Line::Condition(text))) if conditions.len() < 16 => conditions.push(crate::error::one_line(&text)),
                Ok(Some(Line::Condition(_))) => {}
                Ok(Some(Line::Result(report))) => return End::Reported(report),
                Ok(None) => return End::Exited,
                Err(error) => return End::Broken(error.to_string()),
            },
            () = family.leader_ended() => return End::Exited,
        }
    }
}

/// Waits for an order to stop. A worker that dropped the sender wants the attempt to end as well.
async fn stop_order(stop: &mut watch::Receiver<Option<Stop>>) -> Stop {
    match stop.wait_for(Option::is_some).await.map(|value| value.clone()) {
        Ok(Some(order)) => order,
        Ok(None) | Err(_) => Stop {
            failure: RunnerError::new(FailureClass::Cancelled, "the worker ended").into(),
            grace: Duration::ZERO,
        },
    }
}

fn too_long(order: &Order, wall: bool, last: &Status) -> Stop {
    let cause = if wall {
        format!("{} ran longer than its limit of {:?}", order.job_name, order.wall)
    } else {
        format!("{} made no progress for {:?}", order.job_name, order.idle)
    };
    let place = if last.phase.is_empty() {
        String::from("it had not reported any phase")
    } else {
        format!("last seen in phase {:?} at {} of {}", last.phase, last.done, last.total)
    };
    let error = RunnerError::new(FailureClass::Timeout, cause).with_hint(place);
    Stop { failure: error.into(), grace: Duration::from_secs(3) }
}

/// What is told of an attempt whose processes do not die: until they do, its slot is not free.
fn undying(order: &Order, left: &str) -> Status {
    let phase = format!("waits: its processes live on after SIGKILL: {left}");
    let condition = format!(
        "{} has processes that live on after SIGKILL, and its slot until they are gone: {left}; hint: they wait for a disk or a file server, mostly: mend that, or restart the host",
        order.job_name
    );
    Status { phase, condition: Some(condition), ..Status::default() }
}

/// Ends the leader and all that it started, and takes its status. Returns when they are dead.
async fn end_child(
    end: &End,
    child: &mut Child,
    stdin: ChildStdin,
    family: &Family,
    tell: impl FnMut(&str),
) -> Option<ExitStatus> {
    match end {
        End::Stopped(stop) => family.ask_to_end(stop.grace).await,
        // It kills what it has left by itself before it ends.
        End::Reported(_) | End::Exited => drop(timeout(SHORT, family.leader_ended()).await),
        End::Broken(_) => {}
    }
    family.extinguish(tell).await;
    let status = child.try_wait().ok().flatten();
    // Until here it was the child's sign that we live.
    drop(stdin);
    status
}

async fn last_report(lines: &mut Lines) -> Option<Report> {
    loop {
        match lines.next().await {
            Ok(Some(Line::Result(report))) => return Some(report),
            Ok(Some(Line::Progress { .. } | Line::Condition(_))) => {}
            Ok(None) | Err(_) => return None,
        }
    }
}

fn without_result(job: &str, exit: Option<ExitStatus>) -> Failure {
    let error = match exit.map(|status| (status.signal(), status.code())) {
        Some((Some(9), _)) => RunnerError::infra(format!("{job} was killed by signal 9"))
            .with_hint("perhaps the host or its control group ran out of memory; see the kernel's log there"),
        Some((Some(signal), _)) => RunnerError::infra(format!("{job} was killed by signal {signal}")),
        Some((None, Some(code))) => RunnerError::infra(format!("{job} ended with status {code} and without a result"))
            .with_hint("the end of the attempt's log may say more"),
        Some((None, None)) | None => RunnerError::infra(format!("{job} ended without a result")),
    };
    error.into()
}

/// Lines of JSON from a pipe, each bounded.
struct Lines {
    pipe: ChildStdout,
    buffer: Vec<u8>,
    /// Bytes of the buffer that are known to hold no newline.
    searched: usize,
}

impl Lines {
    fn new(pipe: ChildStdout) -> Self {
        Self { pipe, buffer: Vec::new(), searched: 0 }
    }

    /// The next line; none at the end. Cancel safe: bytes that were read stay in the buffer.
    async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            if let Some(position) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(self.searched + position + 1);
                let line = std::mem::replace(&mut self.buffer, rest);
                self.searched = 0;
                return Ok(Some(serde_json::from_slice(&line)?));
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > MAX_LINE {
                return Err(io::Error::other(format!("a line longer than {MAX_LINE} bytes")));
            }
            if self.pipe.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_real_directories_of_earlier_attempts_at_the_same_job_are_earlier() {
        let directory = tempfile::tempdir().unwrap();
        let fence = |job, attempt, executor| Fence { job, attempt, executor };
        let others = [fence(1, 1, 9), fence(1, 2, 1), fence(1, 2, 7), fence(2, 1, 9), fence(1, 3, 8), fence(1, 4, 1)];
        for other in &others {
            fs::create_dir(directory.path().join(other.to_string())).unwrap();
        }
        let link = directory.path().join(fence(1, 1, 5).to_string());
        std::os::unix::fs::symlink("/etc", link).unwrap();
        fs::write(directory.path().join(fence(1, 1, 6).to_string()), b"").unwrap();
        fs::create_dir(directory.path().join("j1-a01-0000000000000009")).unwrap();
        let of = |own: Fence| earlier_attempts(&directory.path().join(own.to_string()), &own).unwrap();
        let paths = |fences: &[Fence]| -> Vec<PathBuf> {
            fences.iter().map(|fence| directory.path().join(fence.to_string())).collect()
        };
        assert_eq!(of(fence(1, 3, 8)), paths(&[fence(1, 2, 7), fence(1, 2, 1), fence(1, 1, 9)]));
        assert!(of(fence(1, 1, 8)).is_empty() && of(fence(3, 2, 1)).is_empty());
    }
}
