//! Measures composes and repositories: `bench compose`, `bench createrepo` (docs/benchmarks.md).

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use serde_json::Value;
use tutti_integration_tests::{
    compose::Run,
    corpus, createrepo_bench,
    measure::{Cost, measure},
    program::tutti_path,
    stream::{self, Live, text},
};

/// Measure the real program on real work
#[derive(Debug, Parser)]
#[command(max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Subject,
}

#[derive(Debug, Subcommand)]
enum Subject {
    /// Measure a whole compose, and another composer on the same input
    Compose(ComposeArgs),
    /// Measure one repository, made and updated, and other programs on the same packages
    Createrepo(createrepo_bench::CreaterepoArgs),
    /// One measured run, in a process that has no other children; prints JSON
    #[command(hide = true)]
    Measured {
        /// File for the command's output
        output: PathBuf,
        /// The command
        #[arg(trailing_var_arg = true, required = true)]
        command: Vec<String>,
    },
}

#[derive(Debug, Args)]
struct ComposeArgs {
    /// Corpus to compose, with compose-repos.conf; made if not given
    #[arg(long, value_name = "DIR")]
    corpus: Option<PathBuf>,
    /// Configuration in the corpus
    #[arg(long, value_name = "FILE", default_value = "compose-repos.conf")]
    config: PathBuf,
    /// Sources of the corpus that is made
    #[arg(long, value_name = "N", default_value_t = 2000)]
    sources: u32,
    /// Architectures of the corpus that is made
    #[arg(long, value_name = "ARCHES", default_value = "x86_64,aarch64,ppc64le,s390x")]
    arches: String,
    /// Directory for composes, on the corpus's filesystem; removed at the end
    #[arg(long, value_name = "DIR")]
    target: Option<PathBuf>,
    /// Jobs at once
    #[arg(long, short, value_name = "N")]
    jobs: Option<u32>,
    /// Another composer: a shell command with {config} and {target}
    #[arg(long, value_name = "CMD")]
    peer: Option<String>,
    /// Further argument for `tutti compose`
    #[arg(long = "argument", value_name = "ARGUMENT", allow_hyphen_values = true)]
    arguments: Vec<String>,
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Subject::Compose(args) => compose(&args),
        Subject::Createrepo(args) => createrepo_bench::run(&args, &run),
        Subject::Measured { output, command } => measured(&output, &command),
    }
}

fn measured(output: &Path, words: &[String]) -> Result<()> {
    let (program, arguments) = words.split_first().context("no command")?;
    let mut command = Command::new(program);
    command.args(arguments);
    let cost = measure(command, Some(fs::File::create(output)?))?;
    println!("{}", serde_json::to_string(&cost)?);
    Ok(())
}

/// Runs a command below a process of its own, which measures it.
fn run(output: &Path, words: &[String]) -> Result<Cost> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("measured").arg(output).args(words).stderr(Stdio::inherit());
    for name in ["TUTTI_FAILPOINTS", "TUTTI_CONTROLLER", "SOURCE_DATE_EPOCH"] {
        command.env_remove(name);
    }
    let answer = command.output()?;
    serde_json::from_slice(&answer.stdout).with_context(|| format!("the measuring process failed: {}", answer.status))
}

fn compose(args: &ComposeArgs) -> Result<()> {
    let place = match &args.target {
        Some(directory) => {
            fs::create_dir_all(directory)?;
            tempfile::tempdir_in(directory)?
        }
        None => tempfile::tempdir()?,
    };
    let corpus = match &args.corpus {
        Some(directory) => directory.clone(),
        None => {
            eprintln!("making a corpus of {} sources for {}", args.sources, args.arches);
            let directory = place.path().join("corpus");
            let made = corpus::make(&directory, args.sources, &args.arches);
            made.context("cannot make a corpus; --corpus names one")?;
            directory
        }
    };
    let config = corpus.join(&args.config);
    let own = own(args, &config, place.path())?;
    let delay = fail_delay(args, &config, &place.path().join("broken"))?;
    match delay {
        Some(delay) => println!("a failed job is seen as DOOMED after {delay} ms"),
        None => println!("fail-to-doomed delay: not measured, this tutti was built without --features failpoints"),
    }
    if let Some(peer) = &args.peer {
        let theirs = run_peer(peer, &config, place.path())?;
        print_ratios(&own, &theirs);
    }
    Ok(())
}

fn own(args: &ComposeArgs, config: &Path, place: &Path) -> Result<Cost> {
    let target = place.join("composes");
    let command = options(args).with(&["--format", "json"]).command(config, &target);
    let words: Vec<String> = [command.get_program()]
        .into_iter()
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let output = place.join("stream");
    println!("{}", words.join(" "));
    let cost = run(&output, &words)?;
    let output = fs::read_to_string(&output)?;
    let end = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).next_back();
    let Some(end) = end.filter(|end| text(end, "event") == "end") else { bail!("no end of the compose:\n{output}") };
    print_cost("tutti", &cost);
    println!("status {}", text(&end, "status"));
    print_kinds(&end);
    if cost.status != 0 {
        bail!("tutti ended with {}", cost.status);
    }
    Ok(cost)
}

fn options(args: &ComposeArgs) -> Run {
    let mut run = Run { arguments: args.arguments.clone(), environment: Vec::new() };
    if let Some(jobs) = args.jobs {
        run = run.with(&["--jobs", &jobs.to_string()]);
    }
    run
}

/// Milliseconds from the failure of a job to the line that says DOOMED, at the watcher.
fn fail_delay(args: &ComposeArgs, config: &Path, target: &Path) -> Result<Option<i64>> {
    let run = options(args)
        .with(&["--format", "json"])
        .env("TUTTI_FAILPOINTS", "job.run.before[createrepo.Server.x86_64]=error");
    let mut live = Live::start(run.command(config, target));
    let ended = live.finish(Duration::from_secs(3600));
    let mut failed = None;
    for (at, event) in &live.events {
        if text(event, "event") == "job" && text(event, "state") == "failed" && failed.is_none() {
            failed = event["ended_ms"].as_i64();
        }
        if text(event, "event") == "compose" && text(event, "status") == "DOOMED" {
            let Some(ended_ms) = failed else { bail!("DOOMED before a job failed:\n{}", ended.stdout) };
            return Ok(Some(milliseconds(*at) - ended_ms));
        }
    }
    Ok(None)
}

/// A moment as milliseconds since 1970, by this machine's clock.
fn milliseconds(at: Instant) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.saturating_sub(at.elapsed()).as_millis()).unwrap_or_default()
}

fn run_peer(peer: &str, config: &Path, place: &Path) -> Result<Cost> {
    let target = place.join("peer");
    fs::create_dir_all(&target)?;
    let line =
        peer.replace("{config}", &config.display().to_string()).replace("{target}", &target.display().to_string());
    println!("\n{line}");
    let output = place.join("peer.log");
    let cost = run(&output, &["sh".into(), "-c".into(), line])?;
    if cost.status != 0 {
        bail!("the peer ended with {}:\n{}", cost.status, fs::read_to_string(output)?);
    }
    print_cost("peer", &cost);
    Ok(cost)
}

fn print_cost(name: &str, cost: &Cost) {
    println!("\n{name:<8} {:>10.2} s wall", cost.wall);
    println!("{:<8} {:>10.2} s CPU (user {:.2}, system {:.2})", "", cost.user + cost.system, cost.user, cost.system);
    println!("{:<8} {:>10.1} MB peak memory of all processes", "", megabytes(cost.peak_memory));
    println!("{:<8} {:>10.1} MB read ({:.1} from devices)", "", megabytes(cost.read), megabytes(cost.device_read));
    println!(
        "{:<8} {:>10.1} MB written ({:.1} to devices)",
        "",
        megabytes(cost.written),
        megabytes(cost.device_written)
    );
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn print_ratios(own: &Cost, theirs: &Cost) {
    let ratios = [
        ("wall", theirs.wall / own.wall),
        ("CPU", (theirs.user + theirs.system) / (own.user + own.system)),
        ("memory", theirs.peak_memory as f64 / own.peak_memory.max(1) as f64),
        ("read", theirs.read as f64 / own.read.max(1) as f64),
        ("written", theirs.written as f64 / own.written.max(1) as f64),
    ];
    println!("\npeer / tutti");
    for (name, ratio) in ratios {
        println!("  {name:<8} {ratio:>8.2}");
    }
}

#[derive(Default)]
struct Kind {
    jobs: u64,
    run: f64,
    wait: f64,
    cpu: f64,
    memory: u64,
    counters: BTreeMap<String, u64>,
}

/// Time by kind of job, and what the jobs counted.
fn print_kinds(end: &Value) {
    let mut kinds: BTreeMap<&str, Kind> = BTreeMap::new();
    for job in end["jobs"].as_array().into_iter().flatten() {
        let kind = kinds.entry(text(job, "name").split('.').next().unwrap_or_default()).or_default();
        let seconds = |from: &str, to: &str| match (job[from].as_i64(), job[to].as_i64()) {
            (Some(from), Some(to)) => (to - from).max(0) as f64 / 1000.0,
            _ => 0.0,
        };
        kind.jobs += 1;
        kind.run += seconds("started_ms", "ended_ms");
        kind.wait += seconds("ready_ms", "started_ms");
        for attempt in job["attempts"].as_array().into_iter().flatten() {
            kind.cpu += attempt["cpu_ms"].as_f64().unwrap_or_default() / 1000.0;
            kind.memory = kind.memory.max(attempt["peak_memory_bytes"].as_u64().unwrap_or_default());
            for (name, value) in attempt["counters"].as_object().into_iter().flatten() {
                *kind.counters.entry(name.clone()).or_default() += value.as_u64().unwrap_or_default();
            }
        }
    }
    println!("\n{:<18} {:>5} {:>9} {:>9} {:>9} {:>8}", "kind", "jobs", "run s", "cpu s", "wait s", "peak MB");
    for (name, kind) in &kinds {
        let memory = megabytes(kind.memory);
        println!("{name:<18} {:>5} {:>9.2} {:>9.2} {:>9.2} {memory:>8.0}", kind.jobs, kind.run, kind.cpu, kind.wait);
    }
    println!("\ncounted by jobs");
    for (name, kind) in &kinds {
        for (counter, value) in &kind.counters {
            println!("  {name:<18} {counter:<32} {value:>14}");
        }
    }
    let path: Vec<&str> = end["critical_path"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    println!("\ncritical path: {}", path.join(" > "));
    let over = end["jobs"].as_array().into_iter().flatten().filter(|job| stream::OVER.contains(&text(job, "state")));
    println!("{} jobs over, with {}", over.count(), tutti_path().display());
}
