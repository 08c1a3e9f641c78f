//! Faults at every system call of a small compose: killed, refused, or the reply lost.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use tutti_integration_tests::{
    scratch::Scratch,
    syscalls::{Bench, Course},
    tracer::{self, Call, Deed, Fault, Whose},
};

/// Put a fault at each system call of a compose
#[derive(Debug, Parser)]
#[command(max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Subject,
}

#[derive(Debug, Subcommand)]
enum Subject {
    /// Run the whole matrix on a small compose, or a part of it
    Matrix(MatrixArgs),
    /// Run one command with one fault
    Run {
        /// The fault, as JSON: {"call":"link","whose":"jobs","deed":"lose-reply","when":1,"below":null}
        #[arg(long)]
        fault: Option<String>,
        /// File for what was seen
        #[arg(long)]
        report: Option<PathBuf>,
        /// The command
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

#[derive(Debug, Args)]
struct MatrixArgs {
    /// Only these deeds
    #[arg(long, value_enum)]
    deed: Vec<Deed>,
    /// Only these calls
    #[arg(long, value_enum)]
    call: Vec<Call>,
    /// Only calls of the program itself, or of its jobs
    #[arg(long, value_enum)]
    whose: Vec<Whose>,
    /// Only each N-th case of each kind
    #[arg(long, value_name = "N", default_value_t = 1)]
    every: usize,
    /// Cases at once
    #[arg(long, default_value_t = 2)]
    parallel: usize,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Subject::Matrix(args) => matrix(&args),
        Subject::Run { fault, report, command } => run(fault.as_deref(), report, &command),
    };
    match result {
        Ok(status) => status,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(fault: Option<&str>, report: Option<PathBuf>, command: &[String]) -> Result<ExitCode> {
    let fault: Option<Fault> = fault.map(serde_json::from_str).transpose().context("bad --fault")?;
    let traced = tracer::trace(command, fault.as_ref()).context("cannot trace")?;
    let text = serde_json::to_string_pretty(&traced)?;
    match report {
        Some(path) => std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?,
        None => println!("{text}"),
    }
    Ok(ExitCode::from(u8::try_from(traced.status).unwrap_or(1)))
}

/// The calls that change names and files, with what is done to them.
fn kinds() -> Vec<(Whose, Call, Deed)> {
    let names = [Call::Link, Call::Rename, Call::Mkdir, Call::Unlink, Call::Symlink];
    let files = [Call::Sync, Call::Truncate];
    let mut kinds = Vec::new();
    for whose in [Whose::Main, Whose::Jobs] {
        for call in names {
            kinds.push((whose, call, Deed::LoseReply));
        }
        for call in names.into_iter().chain(files) {
            for deed in [Deed::KillBefore, Deed::KillAfter, Deed::Eio, Deed::Enospc, Deed::Estale] {
                kinds.push((whose, call, deed));
            }
        }
    }
    kinds
}

fn matrix(args: &MatrixArgs) -> Result<ExitCode> {
    if !tracer::possible() {
        bail!("system calls are traced on x86_64 only");
    }
    let scratch = Scratch::new("syscalls");
    let own = std::env::current_exe().context("cannot find this program")?;
    let bench = Bench::new(scratch.path(), &own).map_err(anyhow::Error::msg)?;
    println!("calls of the undisturbed compose: {:?}", bench.census.calls);
    let wanted = |(whose, call, deed): &(Whose, Call, Deed)| {
        (args.deed.is_empty() || args.deed.contains(deed))
            && (args.call.is_empty() || args.call.contains(call))
            && (args.whose.is_empty() || args.whose.contains(whose))
    };
    let mut faults = Vec::new();
    for (whose, call, deed) in kinds().into_iter().filter(wanted) {
        faults.extend(bench.faults(whose, call, deed).into_iter().step_by(args.every.max(1)));
    }
    let started = Instant::now();
    let failures = all(&bench, &faults, args.parallel);
    println!("{} cases in {:.0} s, {failures} failed", faults.len(), started.elapsed().as_secs_f64());
    if failures > 0 {
        // What failed is to be looked at.
        std::mem::forget(scratch);
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs all cases, and prints a line for each kind and each failure.
fn all(bench: &Bench, faults: &[Fault], parallel: usize) -> usize {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(BTreeMap::<(Whose, Call, Deed), BTreeMap<Option<Course>, usize>>::new());
    std::thread::scope(|scope| {
        for _ in 0..parallel.max(1) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(fault) = faults.get(number) else { return };
                    let result = std::panic::catch_unwind(|| bench.case(&format!("case-{number}"), fault));
                    let result = result.unwrap_or_else(|_| Err("panicked, see above".into()));
                    if let Err(error) = &result {
                        println!("FAILED {fault:?}\n{error}\n");
                    }
                    let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                    *results
                        .entry((fault.whose, fault.call, fault.deed))
                        .or_default()
                        .entry(result.ok())
                        .or_default() += 1;
                }
            });
        }
    });
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    for ((whose, call, deed), courses) in &results {
        let text: Vec<String> = courses
            .iter()
            .map(|(course, count)| {
                course.map_or_else(|| format!("FAILED {count}"), |course| format!("{course:?} {count}"))
            })
            .collect();
        println!("{whose:?} {call:?} {deed:?}: {}", text.join(", "));
    }
    results.values().filter_map(|courses| courses.get(&None)).sum()
}
