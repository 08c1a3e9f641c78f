//! Seeds that failed once: `tests/simulator/regressions`, a line `SEED what was wrong` each. Whoever finds one adds it, and
//! every later run tries these first.

use std::{fs, io::Write as _, path::PathBuf};

/// Most seeds that one run adds: where much is broken, few are enough.
const ADDED: usize = 5;

/// The file, and what was added to it.
pub(crate) struct Regressions {
    path: PathBuf,
    seeds: Vec<u64>,
    added: usize,
}

impl Regressions {
    /// That of the source tree.
    pub(crate) fn load() -> Self {
        Self::at(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/simulator/regressions"))
    }

    pub(crate) fn at(path: PathBuf) -> Self {
        let text = fs::read_to_string(&path).expect("the file of seeds can be read");
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let seed = |line: &str| line.split_whitespace().next().and_then(|word| word.parse().ok());
        let seeds = lines.map(|line| seed(line).expect("a seed begins each line"));
        Self { seeds: seeds.collect(), path, added: 0 }
    }

    /// The seeds, in the order in which they were found.
    pub(crate) fn seeds(&self) -> &[u64] {
        &self.seeds
    }

    /// Adds a seed that failed, unless it is there or this run has added enough. Says what came of it.
    pub(crate) fn add(&mut self, seed: u64, wrong: &[String]) -> String {
        let (path, known) = (self.path.display(), self.seeds.contains(&seed));
        if known || self.added >= ADDED {
            return if known { format!("it is in {path}") } else { format!("{path} has enough of this run") };
        }
        let first = wrong.first().map_or("", |text| text.lines().next().unwrap_or_default());
        let written = fs::File::options().append(true).open(&self.path);
        match written.and_then(|mut file| writeln!(file, "{seed} {first}")) {
            Ok(()) => {
                self.seeds.push(seed);
                self.added += 1;
                format!("added to {path}")
            }
            Err(error) => format!("add it to {path} ({error})"),
        }
    }
}
