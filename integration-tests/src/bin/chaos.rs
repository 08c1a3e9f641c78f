//! Breaks a running farm on purpose, measures, prints figures in seconds, and fails on a miss (docs/reliability.md).
//!
//! Never part of CI, whose tests assert order and state by the same parts (`tests/chaos.rs`).

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Parser, Subcommand};
use tutti_integration_tests::{
    chaos::{
        Sample, bombs, createrepo, failing,
        kills::{self, Kills, Plan},
        poison, records,
        silence::{self, Cut, Held, Measured},
        still, stubborn,
    },
    corpus,
    program::tutti_path,
    tree::Reader,
};

/// Longest time for children of a killed worker to die, and the time until it is started again.
const CHILDREN: Duration = Duration::from_secs(5);
/// Variable that says that this process has a network of its own.
const NETWORK: &str = "TUTTI_CHAOS_NETWORK";

/// Break a running farm on purpose, measure, and fail on a miss
#[derive(Debug, Parser)]
#[command(max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    suite: Suite,
}

#[derive(Debug, Args)]
struct Place {
    /// Directory for all that is made (R2: on the corpus's filesystem); a temporary one if not given
    #[arg(long, value_name = "DIR", global = true)]
    directory: Option<PathBuf>,
    /// Keep everything, also of what went well
    #[arg(long, global = true)]
    keep: bool,
    /// Fewer samples
    #[arg(long, global = true)]
    quick: bool,
}

#[derive(Debug, Subcommand)]
enum Suite {
    /// 20 random kill -9 of controller and workers: an equal tree, within 1.5 times the undisturbed time
    R2(R2),
    /// `tutti compose` that stands still for longer than leases last goes on with its own jobs (needs failpoints)
    R4(R4),
    /// A worker that is cut off: suspected, and its jobs run elsewhere (needs failpoints)
    R5(R5),
    /// A worker that returns: refused once another attempt was made, heard before (needs failpoints)
    R7,
    /// The same for a worker whose packets are lost, in a network namespace of its own (needs failpoints, and root)
    Partition,
    /// A job that ends its workers: poisoned after three tries, nothing else suffers (needs failpoints)
    R8,
    /// Cancel and interrupt: everything dead within 5 s (needs failpoints)
    R10,
    /// A job that fails: its watcher sees DOOMED within 1 s (needs failpoints)
    R11,
    /// XML bombs given to the whole program: refused within 1 s
    X7,
    /// createrepo, its updates, merges and changes, killed at random moments: dnf takes every repository
    Createrepo(Createrepo),
    /// Composes that write package records, killed at random moments, and two at once: every pack can be read
    Records(Records),
    /// All of them, with their defaults
    All,
}

#[derive(Clone, Debug, Args)]
struct R2 {
    /// Corpus to compose, with compose-repos.conf; made if not given
    #[arg(long, value_name = "DIR")]
    corpus: Option<PathBuf>,
    /// Sources of the corpus that is made
    #[arg(long, value_name = "N", default_value_t = 2000)]
    sources: u32,
    /// Architectures of the corpus that is made
    #[arg(long, value_name = "ARCHES", default_value = "x86_64,aarch64,ppc64le,s390x")]
    arches: String,
    /// How many seeds
    #[arg(long, value_name = "N", default_value_t = 10)]
    seeds: u64,
    /// The first seed
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    first_seed: u64,
    /// Kills of each run
    #[arg(long, value_name = "N", default_value_t = 20)]
    kills: u32,
    /// Workers beside the controller
    #[arg(long, value_name = "N", default_value_t = 3)]
    workers: usize,
    /// Cores that each worker offers
    #[arg(long, value_name = "N", default_value_t = 1)]
    cpus: u32,
    /// Time from a kill to the new start, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 100)]
    restart_ms: u64,
    /// Longest time, as a multiple of the undisturbed one
    #[arg(long, value_name = "FACTOR", default_value_t = 1.5)]
    factor: f64,
}

#[derive(Clone, Debug, Args)]
struct R4 {
    /// How long it stands still, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    still: u64,
}

#[derive(Clone, Debug, Args)]
struct R5 {
    /// Samples of each kind
    #[arg(long, value_name = "N", default_value_t = 200)]
    samples: usize,
    /// Workers; half of them are cut off at once
    #[arg(long, value_name = "N", default_value_t = 12)]
    workers: usize,
}

#[derive(Clone, Debug, Args)]
struct Createrepo {
    /// Directory of packages, copied
    #[arg(long, value_name = "DIR", default_value = "../shared/rpms/packages")]
    packages: PathBuf,
    /// How often something is killed
    #[arg(long, value_name = "N", default_value_t = 200)]
    moments: usize,
    /// Seed of the moments
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
}

#[derive(Clone, Debug, Args)]
struct Records {
    /// How often a compose is killed
    #[arg(long, value_name = "N", default_value_t = 200)]
    moments: usize,
    /// How long two composes write at once
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    seconds: u64,
    /// Seed of the moments
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Parser)]
struct Defaults<A: Args> {
    #[command(flatten)]
    arguments: A,
}

/// The arguments of a suite when none is given.
fn defaults<A: Args>() -> A {
    Defaults::<A>::parse_from(["chaos"]).arguments
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    println!("program: {}", tutti_path().display());
    let suites = match cli.suite {
        Suite::All => {
            let (createrepo, records) = (Suite::Createrepo(defaults()), Suite::Records(defaults()));
            let (r2, r4, r5) = (Suite::R2(defaults()), Suite::R4(defaults()), Suite::R5(defaults()));
            let mut all = vec![r2, r4, r5, Suite::R7, Suite::Partition, Suite::R8, Suite::R10, Suite::R11, Suite::X7];
            all.extend([createrepo, records]);
            all
        }
        suite => vec![suite],
    };
    let mut failed = 0;
    for suite in suites {
        let name = match suite {
            Suite::R2(_) => "r2",
            Suite::R4(_) => "r4",
            Suite::R5(_) => "r5",
            Suite::R7 => "r7",
            Suite::Partition => "partition",
            Suite::R8 => "r8",
            Suite::R10 => "r10",
            Suite::R11 => "r11",
            Suite::X7 => "x7",
            Suite::Createrepo(_) => "createrepo",
            Suite::Records(_) => "records",
            Suite::All => "all",
        };
        match run(name, &suite, &cli.place) {
            Ok(()) => println!("{name}: passed"),
            Err(error) => {
                println!("{name}: FAILED: {error:#}");
                failed += 1;
            }
        }
    }
    ExitCode::from(u8::from(failed > 0))
}

/// Runs a suite in a directory of its own, which stays when it fails.
fn run(name: &str, suite: &Suite, place: &Place) -> Result<()> {
    let made = match &place.directory {
        Some(directory) => {
            fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
            tempfile::Builder::new().prefix(&format!("{name}-")).tempdir_in(directory)
        }
        // Short: sockets lie in it.
        None => tempfile::Builder::new().prefix(&format!("tutti-{name}-")).tempdir(),
    };
    let mut scratch = made.context("cannot make a directory")?;
    scratch.disable_cleanup(true);
    let path = scratch.path().to_owned();
    let result = match suite {
        Suite::R2(args) => r2(args, &path, place),
        Suite::R4(args) => r4(args, &path, place),
        Suite::R5(args) => r5(args, &path, place),
        Suite::R7 => r7(&path, place),
        Suite::Partition => partition(&path, place),
        Suite::R8 => r8(&path, place),
        Suite::R10 => r10(&path, place),
        Suite::R11 => r11(&path, place),
        Suite::X7 => x7(&path, place),
        Suite::Createrepo(args) => createrepo(args, &path, place),
        Suite::Records(args) => records(args, &path, place),
        Suite::All => bail!("it is taken apart before"),
    };
    if result.is_err() || place.keep {
        println!("{name}: kept {}", path.display());
    } else {
        scratch.disable_cleanup(false);
    }
    result
}

fn r2(args: &R2, directory: &Path, place: &Place) -> Result<()> {
    let config = match &args.corpus {
        Some(corpus) => corpus.join("compose-repos.conf"),
        None => {
            println!("making a corpus of {} sources for {}", args.sources, args.arches);
            corpus::make(&directory.join("corpus"), args.sources, &args.arches).context("no corpus")?
        }
    };
    let plan = Plan {
        config,
        workers: args.workers,
        cpus: args.cpus,
        restart: Duration::from_millis(args.restart_ms),
        limit: Duration::from_secs(1800),
        loud: true,
    };
    // The first run warms the caches of the machine.
    let warm = kills::compose(&plan, &directory.join("warm"), None)?;
    println!("undisturbed, cold: {:.2} s", warm.wall.as_secs_f64());
    fs::remove_dir_all(directory.join("warm"))?;
    let base = kills::compose(&plan, &directory.join("base"), None)?;
    ensure!(base.faults().is_empty(), "the undisturbed compose is not whole: {:?}", base.faults());
    println!("undisturbed: {:.2} s, {:.1} s of processors", base.wall.as_secs_f64(), base.cpu());
    let mut reader = Reader::default();
    let expected = reader.snapshot(&base.compose.join("compose"));
    let (mut failed, mut walls) = (Vec::new(), Sample::default());
    let seeds = if place.quick { args.seeds.min(2) } else { args.seeds };
    for seed in args.first_seed..args.first_seed + seeds {
        println!("  seed {seed}");
        let own = directory.join(format!("s{seed}"));
        let schedule = Kills::random(seed, args.kills, args.workers + 1, base.wall);
        let (wrong, run) = match kills::compose(&plan, &own, Some(&schedule)) {
            Err(error) => (vec![format!("{error:#}")], None),
            Ok(run) => {
                let mut wrong = run.faults();
                let found = Reader::differences(&expected, &reader.snapshot(&run.compose.join("compose")));
                wrong.extend(found.iter().take(5).cloned());
                if run.wall > base.wall.mul_f64(args.factor) {
                    wrong.push(format!("longer than {} times the undisturbed time", args.factor));
                }
                if run.orphans > CHILDREN {
                    wrong.push(format!("children of a killed worker lived for {:.1} s", run.orphans.as_secs_f64()));
                }
                let killed: u32 = run.killed.values().sum();
                if killed < args.kills {
                    wrong.push(format!("it ended after {killed} of {} kills", args.kills));
                }
                (wrong, Some(run))
            }
        };
        if let Some(run) = &run {
            walls.add(run.wall);
            println!(
                "  seed {seed}: {:.2} s, {:.2} times the undisturbed; {} attempts lost, {} never started; children dead within {:.1} s; killed {:?}",
                run.wall.as_secs_f64(),
                run.wall.as_secs_f64() / base.wall.as_secs_f64(),
                run.attempts("lost"),
                run.attempts("never-started"),
                run.orphans.as_secs_f64(),
                run.killed
            );
        }
        if wrong.is_empty() && !place.keep {
            fs::remove_dir_all(&own)?;
        }
        if !wrong.is_empty() {
            println!("  seed {seed}: FAILED, all is in {}\n    {}", own.display(), wrong.join("\n    "));
            failed.push(seed);
        }
    }
    println!("r2: {}; undisturbed {:.2} s", walls.text(), base.wall.as_secs_f64());
    ensure!(failed.is_empty(), "seeds {failed:?}");
    Ok(())
}

fn within(what: &str, sample: &Sample, limit: Duration) -> Result<()> {
    println!("  {what}: {}", sample.text());
    ensure!(sample.count() > 0 && sample.permille(990) <= limit, "{what}: p99 is above {limit:?}");
    Ok(())
}

/// Leases of workers, with the delay until their jobs go to others, last 8 s, those of leaders in etcd 3 s.
fn r4(args: &R4, directory: &Path, place: &Place) -> Result<()> {
    let still = if place.quick { args.still.min(10) } else { args.still };
    let took = still::stop(directory, Duration::from_secs(still))?;
    println!("  it stood still for {still} s, and ended FINISHED {:.2} s later", took.as_secs_f64());
    Ok(())
}

fn r5(args: &R5, directory: &Path, place: &Place) -> Result<()> {
    let samples = if place.quick { args.samples.min(12) } else { args.samples };
    for (cut, name, limit) in [(Cut::Reset, "reset", 1), (Cut::Silence, "silence", 5)] {
        let mut held = Held::start(&directory.join(name), args.workers)?;
        let mut measured = Measured::default();
        while measured.suspected.count() < samples {
            silence::round(&mut held, cut, args.workers / 2, &mut measured)?;
            println!("  {name}: {} of {samples}", measured.suspected.count());
        }
        within(&format!("{name}, suspected"), &measured.suspected, Duration::from_secs(limit))?;
        within(&format!("{name}, jobs run elsewhere"), &measured.reassigned, Duration::from_secs(10))?;
    }
    Ok(())
}

fn r7(directory: &Path, place: &Place) -> Result<()> {
    let rounds = if place.quick { 1 } else { 5 };
    for round in 0..rounds {
        silence::zombie(&directory.join(format!("taken-{round}")), 1).context("another worker has taken the job")?;
        silence::zombie(&directory.join(format!("alone-{round}")), 0).context("no other worker is there")?;
        println!("  {} of {rounds}: refused and swept; heard", round + 1);
    }
    Ok(())
}

fn partition(directory: &Path, place: &Place) -> Result<()> {
    if std::env::var_os(NETWORK).is_none() {
        let mut command = Command::new("unshare");
        command.arg("--net").arg(std::env::current_exe()?).arg("partition").arg("--directory").arg(directory);
        command.args(place.quick.then_some("--quick")).args(place.keep.then_some("--keep"));
        let status = command.env(NETWORK, "1").status().context("cannot run unshare")?;
        ensure!(status.success(), "it failed in its network namespace: {status}");
        return Ok(());
    }
    silence::network(true)?;
    let rounds = if place.quick { 1 } else { 5 };
    for round in 0..rounds {
        silence::partition(&directory.join(format!("taken-{round}")), 1).context("another worker has taken the job")?;
        silence::partition(&directory.join(format!("alone-{round}")), 0).context("no other worker is there")?;
        println!("  {} of {rounds}: refused and swept; heard", round + 1);
    }
    Ok(())
}

fn r8(directory: &Path, place: &Place) -> Result<()> {
    let rounds = if place.quick { 1 } else { 5 };
    let (mut calm, mut poisoned) = (Sample::default(), Sample::default());
    for round in 0..rounds {
        let quiet = poison::compose(&directory.join(format!("calm-{round}")), 3, false)?;
        let ended = poison::compose(&directory.join(format!("poison-{round}")), 3, true)?;
        poison::judge(&ended, 3)?;
        println!("  {} of {rounds}: poisoned after 3 tries; {} restarts", round + 1, ended.restarts);
        calm.merge(&quiet.waits);
        poisoned.merge(&ended.waits);
    }
    println!("  jobs wait for workers, calm: {}", calm.text());
    // Below a tenth of a second a factor means nothing.
    within("jobs wait for workers, beside poison", &poisoned, (calm.permille(990) * 2).max(Duration::from_millis(100)))
}

fn createrepo(args: &Createrepo, directory: &Path, place: &Place) -> Result<()> {
    let moments = if place.quick { args.moments.min(20) } else { args.moments };
    let outcome = createrepo::kill(directory, &args.packages, args.seed, moments)?;
    println!("  {outcome:?}");
    ensure!(outcome.killed > moments / 2, "too few were killed while they ran");
    Ok(())
}

fn records(args: &Records, directory: &Path, place: &Place) -> Result<()> {
    let (moments, seconds) = if place.quick { (args.moments.min(10), 5) } else { (args.moments, args.seconds) };
    let outcome = records::kill(directory, args.seed, moments, seconds)?;
    println!("  {outcome:?}");
    ensure!(outcome.killed > moments / 2, "too few were killed while they ran");
    Ok(())
}

fn r10(directory: &Path, place: &Place) -> Result<()> {
    let samples = if place.quick { 5 } else { 100 };
    let limit = Duration::from_secs(5);
    within("tutti cancel", &stubborn::cancel(&directory.join("cancel"), samples)?, limit)?;
    within("SIGINT of tutti compose", &stubborn::interrupt(&directory.join("int"), samples)?, limit)
}

fn r11(directory: &Path, place: &Place) -> Result<()> {
    let seen = failing::composes(directory, if place.quick { 5 } else { 100 })?;
    within("a job is seen to fail, then DOOMED", &seen.doomed, Duration::from_secs(1))?;
    within("a job ends, then DOOMED is seen", &seen.since_end, Duration::from_secs(1))
}

fn x7(directory: &Path, place: &Place) -> Result<()> {
    let limit = Duration::from_secs(1);
    let refusals = bombs::compose(directory, if place.quick { 1 } else { 5 })?;
    println!("  whole distributions, composed: {}", refusals.whole.text());
    // The whole of a compose that ends there, with its start and its controller.
    for (what, sample) in [("comps and variants", &refusals.documents), ("metadata", &refusals.metadata)] {
        within(&format!("{what}, refused"), sample, limit)?;
    }
    Ok(())
}
