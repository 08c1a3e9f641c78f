//! The chaos command's parts: what is broken on purpose, measured, and judged. Tests run small forms of the same.

pub mod bombs;
pub mod createrepo;
pub mod failing;
pub mod kills;
pub mod poison;
pub mod records;
pub mod silence;
pub mod still;
pub mod stubborn;

use std::{path::Path, time::Duration};

use anyhow::{Result, ensure};

/// A small seeded generator (splitmix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.draw() % limit.max(1)
    }
}

/// Times that were measured.
#[derive(Clone, Debug, Default)]
pub struct Sample(Vec<Duration>);

impl Sample {
    /// Adds one.
    pub fn add(&mut self, time: Duration) {
        self.0.push(time);
        self.0.sort();
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &Self) {
        self.0.extend(&other.0);
        self.0.sort();
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The time that so many of a thousand do not exceed; zero where there is none.
    #[must_use]
    pub fn permille(&self, part: usize) -> Duration {
        let place = (self.0.len() * part).div_ceil(1000).saturating_sub(1);
        self.0.get(place).copied().unwrap_or_default()
    }

    /// All of them in words.
    #[must_use]
    pub fn text(&self) -> String {
        let seconds = |part| self.permille(part).as_secs_f64();
        let (p50, p99, max) = (seconds(500), seconds(990), seconds(1000));
        format!("{} samples: p50 {p50:.3} s, p99 {p99:.3} s, longest {max:.3} s", self.0.len())
    }
}

/// The histories of all composes below, whose controllers live still, are good.
///
/// # Errors
/// What is wrong in them.
pub fn histories(top: &Path) -> Result<()> {
    let wrong = crate::history::faults_of_living(top);
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_sample() {
        let mut sample = Sample::default();
        (1..=200).rev().for_each(|number| sample.add(Duration::from_millis(number)));
        assert_eq!(
            (sample.permille(500), sample.permille(990)),
            (Duration::from_millis(100), Duration::from_millis(198))
        );
        assert_eq!(Sample::default().permille(990), Duration::ZERO);
        assert_ne!(Random::new(1).draw(), Random::new(2).draw());
    }
}
