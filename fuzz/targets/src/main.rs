//! Fuzzes all parsers on the stable toolchain: `cargo run --release -p tutti-fuzz-targets -- --seconds 3600`.
//!
//! Each target runs in child processes with limits on memory and time. The child writes every input to a file before it
//! tries it, so that the input that ends it, in whatever way, is there: it is moved to the directory of findings, its
//! place is printed, and the exit status is 1.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use tutti_bounded::Limits;
use tutti_fuzz_targets::{Mutator, TARGETS, Target, corpus, corpus_directory, seeds, target};

/// Fuzz the parsers of hostile input
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// How long to fuzz, all targets together
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Seed of the first child; each further one takes the next number
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Address space of a child in MiB
    #[arg(long, default_value_t = 1024)]
    memory_mib: u64,
    /// Children at once
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Where failing inputs are written
    #[arg(long, default_value = "fuzz/artifacts")]
    artifacts: PathBuf,
    /// Write the seeds below `fuzz/corpus` and end
    #[arg(long)]
    write_corpus: bool,
    /// Try one input and end
    #[arg(long, value_name = "FILE", requires = "target")]
    replay: Option<PathBuf>,
    /// The file that a child writes its inputs to
    #[arg(long, hide = true, requires = "target")]
    child: Option<PathBuf>,
    /// One target instead of all
    target: Option<String>,
}

/// How long one child works on one target.
const ROUND: Duration = Duration::from_secs(15);
/// How much longer it may take before it counts as a hang.
const GRACE: Duration = Duration::from_secs(45);

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let chosen: Vec<&Target> = match &arguments.target {
        Some(name) => vec![target(name).with_context(|| format!("no target {name:?}; targets: {}", names()))?],
        None => TARGETS.iter().collect(),
    };
    if arguments.write_corpus {
        return write_corpus(&chosen);
    }
    if let (Some(file), Some(target)) = (&arguments.replay, chosen.first()) {
        (target.run)(&std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?);
        println!("{}: passed", target.name);
        return Ok(());
    }
    if let (Some(file), Some(target)) = (&arguments.child, chosen.first()) {
        return child(target, file, arguments.seed, Duration::from_secs(arguments.seconds));
    }
    parent(&arguments, &chosen)
}

fn names() -> String {
    TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(" ")
}

fn write_corpus(targets: &[&Target]) -> Result<()> {
    for target in targets {
        let directory = corpus_directory().join(target.name);
        std::fs::create_dir_all(&directory)?;
        for (name, bytes) in seeds::of(target.name)? {
            std::fs::write(directory.join(name), bytes)?;
        }
    }
    Ok(())
}

/// Mutates until the time is over; says how many inputs it tried.
fn child(target: &Target, file: &Path, seed: u64, time: Duration) -> Result<()> {
    let inputs: Vec<Vec<u8>> = corpus(target)?.into_iter().map(|(_, bytes)| bytes).collect();
    let mut current = std::fs::File::create(file)?;
    let mut attempt = |input: &[u8]| -> Result<u64> {
        use std::io::Seek as _;
        current.rewind()?;
        current.write_all(input)?;
        current.set_len(input.len() as u64)?;
        Ok((target.run)(input))
    };
    let mut mutator = Mutator::new(target, inputs.clone(), seed);
    for input in &inputs {
        let signature = attempt(input)?;
        mutator.learn(input, signature);
    }
    let (started, mut count) = (Instant::now(), 0u64);
    while started.elapsed() < time {
        for _ in 0..64 {
            let input = mutator.input();
            let signature = attempt(&input)?;
            mutator.learn(&input, signature);
            count += 1;
        }
    }
    println!("tried {count} kept {}", mutator.kept());
    Ok(())
}

/// What the threads of the parent share.
struct Shared<'a> {
    arguments: &'a Arguments,
    targets: &'a [&'a Target],
    until: Instant,
    next: AtomicUsize,
    tried: AtomicU64,
    findings: Mutex<Vec<PathBuf>>,
}

fn parent(arguments: &Arguments, targets: &[&Target]) -> Result<()> {
    let shared = Shared {
        arguments,
        targets,
        until: Instant::now() + Duration::from_secs(arguments.seconds),
        next: AtomicUsize::new(0),
        tried: AtomicU64::new(0),
        findings: Mutex::new(Vec::new()),
    };
    let results: Vec<Result<()>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..arguments.jobs.max(1)).map(|_| scope.spawn(|| work(&shared))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| bail!("a thread panicked"))).collect()
    });
    results.into_iter().collect::<Result<()>>()?;
    let findings = shared.findings.into_inner().unwrap_or_default();
    println!("{} inputs, {} findings", shared.tried.into_inner(), findings.len());
    if findings.is_empty() { Ok(()) } else { bail!("{} inputs failed, see above", findings.len()) }
}

fn work(shared: &Shared<'_>) -> Result<()> {
    // All targets have their turn within the time.
    let turns = shared.targets.len().div_ceil(shared.arguments.jobs.max(1)).max(1);
    let turn = Duration::from_secs(shared.arguments.seconds) / u32::try_from(turns).unwrap_or(1);
    while Instant::now() < shared.until {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        let target = shared.targets[number % shared.targets.len()];
        let left = shared.until.saturating_duration_since(Instant::now());
        round(shared, target, shared.arguments.seed + number as u64, left.min(turn).min(ROUND))?;
    }
    Ok(())
}

fn round(shared: &Shared<'_>, target: &Target, seed: u64, time: Duration) -> Result<()> {
    let current = std::env::temp_dir().join(format!("tutti-fuzz-{}-{}-{seed}", std::process::id(), target.name));
    let seconds = time.as_secs().max(1).to_string();
    let seed_text = seed.to_string();
    let path = current.to_string_lossy().into_owned();
    let arguments = ["--child", &path, "--seed", &seed_text, "--seconds", &seconds, target.name];
    let limits = Limits { address_space_mib: shared.arguments.memory_mib, time: time + GRACE };
    let ended = tutti_bounded::run(std::env::current_exe()?, &arguments, limits)?;
    println!("{} seed {seed}: {} ms: {}", target.name, ended.elapsed.as_millis(), last_line(&ended.output));
    if ended.is_success() {
        let tried = ended.output.split_whitespace().nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
        shared.tried.fetch_add(tried, Ordering::Relaxed);
        std::fs::remove_file(&current).ok();
        return Ok(());
    }
    std::fs::create_dir_all(&shared.arguments.artifacts)?;
    let finding = shared.arguments.artifacts.join(format!("{}-{seed}.bin", target.name));
    std::fs::copy(&current, &finding).context("the child left no input")?;
    std::fs::remove_file(&current).ok();
    let how = ended.status.map_or_else(|| "hang".to_owned(), |status| status.to_string());
    println!(
        "FOUND {} ({how}), seed {seed}; again: --replay {} {}\n{}",
        target.name,
        finding.display(),
        target.name,
        ended.output
    );
    if let Ok(mut findings) = shared.findings.lock() {
        findings.push(finding);
    }
    Ok(())
}

fn last_line(output: &str) -> &str {
    output.lines().last().unwrap_or_default()
}
