//! The child process of one attempt: what `tutti run-job` does.
//!
//! It lives no longer than its worker. Until it watches its standard input the kernel kills it when the worker's
//! spawning thread ends (PR_SET_PDEATHSIG); from then on the end of standard input, which the kernel closes when the
//! worker dies, makes it kill all that it started, tools included. The signal is cleared at that moment: it would
//! kill this process alone, before it could kill its tools.

use std::{
    io::{self, BufRead, Read as _, Write as _},
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
};

use rustix::process::{Pid, Signal};
use tutti_job::JobSpec;

use crate::{
    Access, FailureClass, JobContext, OrFail as _, Output, RunnerError, Runners, process,
    report::{Cancel, Counters, Log, Pipe, Progress},
    sandbox,
    wire::{Ending, Failure, Line, MAX_LINE, Report, Request, from_hex},
};

/// Does the job that standard input asks for and reports on standard output. The log is standard error.
///
/// The exit status is 0 when a result was reported, whatever it says.
pub fn main(runners: &Runners) -> ExitCode {
    // Trees do not depend on whom the worker runs as.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    // First of all that can fail, so that no moment is without it.
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
        eprintln!("cannot tie this process to its worker: {error}");
        return ExitCode::from(70);
    }
    let request = match read_request(&mut io::stdin().lock()) {
        Ok(request) => request,
        Err(error) => {
            eprintln!("run-job is started by a worker, not by hand: {}", error.one_line());
            return ExitCode::from(64);
        }
    };
    if let Err(error) = process::adopt_descendants() {
        eprintln!("cannot keep track of child processes: {error}");
        return ExitCode::from(70);
    }
    // The worker may have died before the signal was set.
    if rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs()) != Some(request.worker) {
        eprintln!("the worker that started this process is gone");
        return ExitCode::from(70);
    }
    // When memory runs out, this process and its tools go first, not the worker or a controller beside it
    // (proc_pid_oom_score_adj(5)). A kernel that refuses changes nothing else.
    let _ = std::fs::write("/proc/self/oom_score_adj", "500");
    let pipe = Pipe::new(io::stdout());
    let counters = Counters::default();
    let progress = Progress::new(pipe.clone());
    let result = run(runners, &request, &pipe, &progress, &counters);
    let report = report(result, &progress, &counters);
    let _ = tutti_failpoint::hit_for("job.result.before", &subject(&request));
    pipe.send(&Line::Result(report));
    let _ = tutti_failpoint::hit_for("job.result.after", &subject(&request));
    process::kill_below_self();
    ExitCode::SUCCESS
}

fn report(result: Result<Vec<Output>, RunnerError>, progress: &Progress, counters: &Counters) -> Report {
    let ending = match result {
        Ok(outputs) => Ending::Success { outputs, warnings: progress.take_warnings() },
        Err(error) => {
            let failure = Failure::from(error);
            // A log that cannot be written (its disk is full) must not cost the report: eprintln would panic.
            let _ = writeln!(io::stderr(), "failed: {}", failure.cause);
            Ending::Failure(failure)
        }
    };
    Report { ending, counters: counters.snapshot(), cpu_ms: cpu_ms().unwrap_or(0), peak_memory: peak().unwrap_or(0) }
}

/// What failpoints of this attempt are armed for.
fn subject(request: &Request) -> String {
    format!("{}#{}", request.job_name, request.fence.attempt)
}

/// Reads one line of at most [`MAX_LINE`] bytes.
fn read_request(input: &mut impl BufRead) -> Result<Request, RunnerError> {
    let mut line = Vec::new();
    let cause = || "failed to read the request";
    input.take(MAX_LINE as u64).read_until(b'\n', &mut line).or_fail(FailureClass::Infra, cause)?;
    if line.last() != Some(&b'\n') {
        return Err(RunnerError::infra("the request is not one whole line"));
    }
    serde_json::from_slice(&line).or_fail(FailureClass::Infra, cause)
}

fn run(
    runners: &Runners,
    request: &Request,
    pipe: &Pipe,
    progress: &Progress,
    counters: &Counters,
) -> Result<Vec<Output>, RunnerError> {
    let bytes = from_hex(&request.spec).ok_or_else(|| RunnerError::infra("the request's spec is not hex"))?;
    let mut context = JobContext {
        spec: JobSpec::decode_checked(&bytes)?,
        job_name: request.job_name.clone(),
        volumes: request.volumes.clone(),
        earlier: request.earlier.clone(),
        access: Access::default(),
        threads: request.threads.max(1),
        progress: progress.clone(),
        cancel: Cancel::default(),
        counters: counters.clone(),
        log: Log::new(io::stderr()),
    };
    let (name, subject) = (&request.job_name, subject(request));
    // Before the confinement: the log of failpoints is opened at the first one.
    tutti_failpoint::hit_for("job.start", &subject).or_fail(FailureClass::Infra, || "failpoint")?;
    let guarded = AssertUnwindSafe(|| {
        let runner = (runners.find)(context.spec.kind()?)?;
        context.access = (runners.access)(&context)?;
        if let Some(condition) = sandbox::confine(&context.volumes, &context.access, request.sandbox)? {
            pipe.send(&Line::Condition(condition));
        }
        // After the confinement: it holds for threads that are started later.
        watch_input(context.cancel.clone())?;
        tutti_failpoint::hit_for("job.confined", &subject).or_fail(FailureClass::Infra, || "failpoint")?;
        tutti_failpoint::hit_for("job.run.before", &subject).or_fail(FailureClass::Infra, || "failpoint")?;
        let outputs = runner(&context)?;
        tutti_failpoint::hit_for("job.run.after", &subject).or_fail(FailureClass::Infra, || "failpoint")?;
        check_outputs(&context.spec, outputs)
    });
    // The default hook has written message and place to the log.
    catch_unwind(guarded).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(RunnerError::tool(format!("{name} panicked: {text}"))
            .with_hint("this is a bug in Tutti; the place stands in the attempt's log"))
    })
}

/// A runner must return what its spec declares, each once, and nothing else.
fn check_outputs(spec: &JobSpec, mut outputs: Vec<Output>) -> Result<Vec<Output>, RunnerError> {
    outputs.sort_by(|a, b| a.name.cmp(&b.name));
    let found = outputs.iter().map(|output| &output.name);
    if found.eq(spec.outputs.iter().map(|output| &output.name)) {
        return Ok(outputs);
    }
    let list = |names: Vec<&str>| names.join(", ");
    let made = list(outputs.iter().map(|output| output.name.as_str()).collect());
    let declared = list(spec.outputs.iter().map(|output| output.name.as_str()).collect());
    Err(RunnerError::tool(format!("{} made outputs [{made}], its spec declares [{declared}]", spec.kind)))
}

/// Starts the thread that waits for the end of standard input: the worker closes it to end the attempt, and the
/// kernel closes it when the worker dies.
fn watch_input(cancel: Cancel) -> Result<(), RunnerError> {
    let watch = move || {
        let mut rest = [0; 64];
        loop {
            match io::stdin().lock().read(&mut rest) {
                Ok(0) => break,
                Err(error) if error.kind() != io::ErrorKind::Interrupted => break,
                Ok(_) | Err(_) => {}
            }
        }
        cancel.cancel();
        end_group();
    };
    std::thread::Builder::new()
        .name("watch-stdin".into())
        .spawn(watch)
        .and_then(|_| Ok(rustix::process::set_parent_process_death_signal(None)?))
        .or_fail(FailureClass::Infra, || "failed to start the thread that watches the worker")
}

/// Kills what this process has below it, the group that it leads, and itself.
fn end_group() -> ! {
    process::kill_below_self();
    let own = rustix::process::getpid();
    if rustix::process::getpgrp() == own {
        let _ = rustix::process::kill_process_group(own, Signal::KILL);
    }
    let _ = rustix::process::kill_process(own, Signal::KILL);
    std::process::exit(70)
}

/// CPU time of this process and its waited-for children (proc_pid_stat(5): utime, stime, cutime, cstime).
fn cpu_ms() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    // The first field after the name is number 3.
    let ticks: u64 = fields.get(14 - 3..=17 - 3)?.iter().filter_map(|field| field.parse::<u64>().ok()).sum();
    Some(ticks * 1000 / rustix::param::clock_ticks_per_second().max(1))
}

/// Peak resident memory (proc_pid_status(5): VmHWM).
fn peak() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// This process's id as a number.
pub(crate) fn own_pid() -> u32 {
    Pid::as_raw_nonzero(rustix::process::getpid()).get().unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tutti_job::{Digest, JobKind, OutputSpec};

    #[test]
    fn requests_must_be_one_bounded_line() {
        for text in ["", "{}", "{}\n", "null\n", "\u{0}\n"] {
            assert!(read_request(&mut text.as_bytes()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn outputs_must_be_those_of_the_spec() {
        let outputs = vec![OutputSpec::file("a"), OutputSpec::file("b")];
        let spec = JobSpec::new(JobKind::Trim, &(), vec![], outputs).unwrap();
        let made = |names: &[&str]| {
            let output = |name: &&str| Output { name: (*name).to_owned(), digest: Digest::of(b""), size: 0 };
            check_outputs(&spec, names.iter().map(output).collect())
        };
        assert!(made(&["b", "a"]).is_ok());
        for names in [&["a"][..], &["a", "a", "b"], &["a", "b", "c"]] {
            assert_eq!(made(names).unwrap_err().class, FailureClass::Tool, "{names:?}");
        }
    }

    #[test]
    fn usage_is_read_from_proc() {
        assert!(peak().unwrap() > 1 << 20);
        assert!(cpu_ms().is_some());
        assert_eq!(own_pid(), std::process::id());
    }
}
