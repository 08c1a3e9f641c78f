//! Runs many seeded schedules of the simulator, those that failed once first: `simulate [--seeds N] [--from SEED]`. Ends
//! with 1 and the seeds that failed, which are added to `tests/simulator/regressions`.

#[path = "../tests/simulator/sim/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the tests use all of it")]
mod sim;

use std::{process::ExitCode, time::Instant};

fn main() -> ExitCode {
    let (mut seeds, mut from) = (10_000u64, 0u64);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().and_then(|text| text.parse().ok());
        match (name.as_str(), value) {
            ("--seeds", Some(value)) => seeds = value,
            ("--from", Some(value)) => from = value,
            _ => {
                eprintln!("usage: simulate [--seeds N] [--from SEED]");
                return ExitCode::from(2);
            }
        }
    }
    let begun = Instant::now();
    let (mut failed, mut events, mut epochs, mut stale) = (0u64, 0, 0u64, 0u64);
    let mut regressions = sim::Regressions::load();
    let first = if seeds > 1 { regressions.seeds().to_vec() } else { Vec::new() };
    let run = first.len() as u64 + seeds;
    for seed in first.into_iter().chain(from..from.saturating_add(seeds)) {
        let summary = sim::run_seed(seed);
        events += summary.counts.events;
        epochs += u64::from(summary.counts.epochs);
        stale += u64::from(summary.counts.stale);
        if !summary.wrong.is_empty() {
            failed += 1;
            if seeds == 1 {
                print!("{}", summary.history);
            }
            let noted = regressions.add(seed, &summary.wrong);
            println!("seed {seed}: {noted}\n  {}", summary.wrong.join("\n  "));
        }
    }
    let seconds = begun.elapsed().as_secs_f64().max(0.001);
    println!(
        "{run} schedules in {seconds:.1} s ({:.0} a minute), {events} events, {epochs} epochs, {stale} stale transactions refused: {failed} failed",
        run as f64 * 60.0 / seconds
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
