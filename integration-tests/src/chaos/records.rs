//! Package records whose writers are killed, and two that write at once: every pack can be read, and nothing that a compose
//! has read is lost.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread::sleep,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Random;
use crate::{
    compose::{Compose, Run},
    program::{kill_group, run, spawn, tutti},
    sources,
};

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Moments at which the compose was still running.
    pub killed: usize,
    /// Moments at which it had ended.
    pub ended: usize,
    /// Pairs of composes that wrote at the same time.
    pub pairs: usize,
    /// Packs that were read whole, in all looks.
    pub packs: usize,
}

/// A distribution, some packages of which are others before each compose, and its records.
struct Place {
    config: PathBuf,
    packages: Vec<PathBuf>,
    records: PathBuf,
    top: PathBuf,
}

impl Place {
    fn new(directory: &Path) -> Result<Self> {
        let config = sources::demo(&directory.join("demo"));
        let mut packages = Vec::new();
        for entry in fs::read_dir(directory.join("demo/repos/x86_64"))? {
            packages.push(entry?.path());
        }
        packages.retain(|path| path.extension().is_some_and(|suffix| suffix == "rpm"));
        packages.sort();
        Ok(Self { config, packages, records: directory.join("records"), top: directory.to_owned() })
    }

    /// Gives one package in seven another time, so that it has to be read again.
    fn touch(&self, number: usize) -> Result<()> {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000 + number as u64);
        for path in self.packages.iter().skip(number % 7).step_by(7) {
            fs::File::options().write(true).open(path)?.set_modified(time)?;
        }
        Ok(())
    }

    fn start(&self, target: &str) -> Child {
        let records = self.records.display().to_string();
        let run = Run::default().with(&["-q", "--records", &records]);
        spawn(run.command(&self.config, &self.top.join(target)).stdout(Stdio::null()).stderr(Stdio::null()))
    }

    /// Looks at all packs, and returns their number.
    fn verify(&self) -> Result<usize> {
        if !self.records.exists() {
            return Ok(0);
        }
        let mut command = tutti(["records", "verify", "--format", "json"]);
        command.arg(&self.records);
        let ended = run(command);
        let found: Value = serde_json::from_str(&ended.stdout).with_context(|| ended.text())?;
        let packs = found.as_array().context("no list")?;
        ensure!(packs.iter().all(|pack| pack["problem"].is_null()), "a pack cannot be read: {found}");
        Ok(packs.len())
    }

    fn compose(&self, target: &str, records: &str) -> Compose {
        Run::default().with(&["--records", records]).compose(&self.config, &self.top.join(target), 0).0
    }
}

/// Kills a compose at so many random moments, then has two at once for so long.
///
/// # Errors
/// When a pack cannot be read, a compose fails that nobody kills, or one reads again what was read.
pub fn kill(directory: &Path, seed: u64, moments: usize, seconds: u64) -> Result<Outcome> {
    let place = Place::new(directory)?;
    let mut outcome = Outcome::default();
    let begin = Instant::now();
    let whole = place.start("whole").wait()?;
    ensure!(whole.success(), "the first compose: {whole}");
    let whole = begin.elapsed();
    let mut random = Random::new(seed);
    for number in 0..moments {
        place.touch(number)?;
        let moment = whole.mul_f64(random.below(1100) as f64 / 1000.0);
        let mut child = place.start("killed");
        sleep(moment);
        match child.try_wait()?.is_some() {
            true => outcome.ended += 1,
            false => outcome.killed += 1,
        }
        kill_group(child.id());
        let _ = child.wait();
        outcome.packs +=
            place.verify().with_context(|| format!("killed after {moment:?} (seed {seed}, moment {number})"))?;
        let _ = fs::remove_dir_all(directory.join("killed"));
    }
    let end = Instant::now() + Duration::from_secs(seconds);
    while outcome.pairs == 0 || Instant::now() < end {
        place.touch(moments + outcome.pairs)?;
        let mut children = ["left", "right"].map(|target| place.start(target));
        for child in &mut children {
            let status = child.wait()?;
            ensure!(status.success(), "one of two composes at once: {status}");
        }
        outcome.packs += place.verify().context("after two composes at once")?;
        outcome.pairs += 1;
        for target in ["left", "right"] {
            let _ = fs::remove_dir_all(directory.join(target));
        }
    }
    let last = place.compose("last", &place.records.display().to_string());
    let read = last.counted("rpm_read_bytes");
    ensure!(read == 0, "{read} bytes of packages were read again");
    let alone = place.compose("alone", "none");
    for repository in alone.repositories() {
        let repomd = |compose: &Compose| fs::read_to_string(compose.tree(&repository).join("repodata/repomd.xml"));
        ensure!(repomd(&last)? == repomd(&alone)?, "{repository} is another than without records");
    }
    Ok(outcome)
}
