//! The failpoint matrix (docs/reliability.md, R1): kills controller, worker and job at each point, and sees that the
//! compose ends as if undisturbed. Ends with 1 when one does not, or when there are too few points.

use std::{
    collections::BTreeMap,
    io::Write as _,
    process::{Command, ExitCode},
    time::Instant,
};

use anyhow::{Context, Result, bail};
use clap::Parser;
use tutti_integration_tests::matrix::{self, Random, Survey, Victim, scenario::Scenario};

/// Points that one run must pass at least.
const LEAST: usize = 60;

/// Kill a compose at every failpoint, and see that it ends as if undisturbed
#[derive(Debug, Parser)]
#[command(max_term_width = 110)]
struct Cli {
    /// Runs at the same time
    #[arg(long, value_name = "N", default_value_t = 3)]
    at_once: usize,
    /// Chooses jobs and later occurrences
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Only points whose name contains this
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Only scenarios whose name contains this; `undisturbed` for composes that are killed and not disturbed besides
    #[arg(long, value_name = "TEXT", default_value = "")]
    scenario: String,
    /// Only so many cases, chosen by the seed
    #[arg(long, value_name = "N")]
    sample: Option<usize>,
    /// Fail if it takes longer, in seconds
    #[arg(long, value_name = "SECONDS")]
    limit: Option<u64>,
    /// Use the program beside this one as it is; it must have been built with its failpoints
    #[arg(long)]
    no_build: bool,
}

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    if !cli.no_build && std::env::var_os("TUTTI_BIN").is_none() {
        build()?;
    }
    let begun = Instant::now();
    let mut survey = matrix::survey();
    let (jobs, undisturbed) = (survey.wanted().jobs.len(), survey.names().len());
    survey.add_scenarios(cli.at_once);
    let names = survey.names();
    println!(
        "{jobs} jobs, {:.1} s undisturbed; {undisturbed} points, {} with scenarios; after {:.1} s",
        survey.took.as_secs_f64(),
        names.len(),
        begun.elapsed().as_secs_f64()
    );
    let mut cases = survey.cases(cli.seed);
    cases.retain(|case| {
        let scenario = match case.scenario {
            Some(scenario) => scenario.as_str().contains(&cli.scenario),
            None => cli.scenario.is_empty() || cli.scenario == "undisturbed",
        };
        scenario && case.point.contains(&cli.only)
    });
    if let Some(sample) = cli.sample {
        let mut random = Random(cli.seed);
        while cases.len() > sample {
            cases.swap_remove(random.below(cases.len() as u64) as usize);
        }
    }
    println!("{} runs, {} at once, seed {}", cases.len(), cli.at_once, cli.seed);
    let results = survey.run_all(&cases, cli.at_once, |result| {
        print!(
            "{}",
            if result.wrong.is_some() {
                'F'
            } else if result.struck {
                '.'
            } else {
                '-'
            }
        );
        let _ = std::io::stdout().flush();
    });
    println!();
    let failed = report(&survey, &results);
    let idle = never_struck(&results);
    let seconds = begun.elapsed().as_secs();
    println!("{} min {} s", seconds / 60, seconds % 60);
    if names.len() < LEAST {
        bail!("only {} points, there must be {LEAST}", names.len());
    }
    if failed > 0 {
        // The directories of failed runs lie in there.
        std::mem::forget(survey);
        return Ok(ExitCode::FAILURE);
    }
    if !idle.is_empty() {
        bail!("nobody was killed at {}, though undisturbed runs pass there", idle.join(", "));
    }
    if let Some(limit) = cli.limit.filter(|limit| seconds > *limit) {
        bail!("{seconds} s, longer than {limit} s");
    }
    Ok(ExitCode::SUCCESS)
}

/// Points that a job may not reach: its worker may end it once it has its result, and how many checkpoints it makes
/// depends on the time it takes.
const MAY_MISS: [&str; 2] = ["job.result.after", "pkgset.checkpoint.due"];

/// Points whose first passing was waited for, and where nobody was killed in any run. A later passing may not come.
fn never_struck(results: &[matrix::Result]) -> Vec<String> {
    let mut struck = BTreeMap::<(String, &str), (bool, bool)>::new();
    for result in results.iter().filter(|result| !MAY_MISS.contains(&result.case.point.as_str())) {
        let row = struck.entry((result.case.place(), &result.case.point)).or_default();
        *row = (row.0 || result.case.occurrence == 1, row.1 || result.struck);
    }
    let idle = struck.iter().filter(|(_, (first, struck))| *first && !struck);
    idle.map(|((place, point), _)| format!("{place}: {point}")).collect()
}

fn build() -> Result<()> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "-q", "-p", "tutti", "--features", "failpoints"]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let status = command.status().context("cannot run cargo")?;
    if !status.success() {
        bail!("tutti cannot be built");
    }
    Ok(())
}

/// Prints a line for each point; how many cases failed.
fn report(survey: &Survey, results: &[matrix::Result]) -> usize {
    let mut rows = BTreeMap::<(Option<Scenario>, &str, Victim), Vec<&matrix::Result>>::new();
    for result in results {
        let case = &result.case;
        rows.entry((case.scenario, &case.point, case.victim)).or_default().push(result);
    }
    println!(
        "{:<20} {:<34} {:<10} {:>6} {:>6} {:>10} {:>6} {:>8}",
        "scenario", "point", "killed", "passed", "runs", "not struck", "failed", "seconds"
    );
    for ((scenario, point, victim), results) in &rows {
        let passed = survey.points.get(&(*scenario, *victim, (*point).to_owned())).copied().unwrap_or_default();
        let idle = results.iter().filter(|result| !result.struck).count();
        let failed = results.iter().filter(|result| result.wrong.is_some()).count();
        let seconds = results.iter().map(|result| result.took.as_secs_f64()).sum::<f64>();
        let (scenario, victim) = (scenario.map_or("", Scenario::as_str), victim.as_str());
        println!(
            "{scenario:<20} {point:<34} {victim:<10} {passed:>6} {:>6} {idle:>10} {failed:>6} {seconds:>8.1}",
            results.len()
        );
    }
    let mut failed = 0;
    for result in results {
        if let Some(wrong) = &result.wrong {
            failed += 1;
            println!("\nFAILED {} in {}\n{wrong}", result.case.arms(), result.case.place());
        }
    }
    let struck = results.iter().filter(|result| result.struck).count();
    let longest = results.iter().map(|result| result.took).max().unwrap_or_default();
    println!(
        "{struck} of {} runs were struck, {failed} failed; the longest took {:.1} s",
        results.len(),
        longest.as_secs_f64()
    );
    failed
}
