//! Repositories whose makers are killed: after `kill -9` at any moment a repository is the old one or the new one, dnf takes
//! it, and nobody is blocked.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, ensure};
use sha2::{Digest as _, Sha256};

use super::Random;
use crate::program::{clean, has_tool, run, spawn, tutti};

/// What is killed.
pub const KINDS: [&str; 4] = ["cold", "update", "merge", "modify"];

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Moments at which the process was still there.
    pub killed: usize,
    /// Moments at which it had ended.
    pub ended: usize,
    /// Of the killed: those after which the new repository was in its place.
    pub new: usize,
    /// Looks of dnf at a repository.
    pub dnf: usize,
}

/// One repository and what makes it.
struct Victim {
    kind: &'static str,
    top: PathBuf,
    directory: PathBuf,
    whole: Duration,
}

impl Victim {
    /// The command that makes the repository anew; `number` makes it another one than before.
    fn command(&self, number: usize) -> Result<Command> {
        let directory = self.directory.display().to_string();
        let packages = self.top.join("packages").display().to_string();
        let revision = format!("{number}");
        Ok(match self.kind {
            "cold" => tutti(["createrepo", "-q", "--database", "--revision", &revision, "-o", &directory, &packages]),
            "update" => {
                let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000 + number as u64);
                for path in packages_below(&self.top.join("packages"))?.iter().step_by(7) {
                    fs::File::options().write(true).open(path)?.set_modified(time)?;
                }
                tutti(["createrepo", "-q", "--update", "-o", &directory, &packages])
            }
            "merge" => {
                let sources = ["cold", "update"].map(|name| self.top.join(name).display().to_string());
                tutti(["mergerepo_c", "--all", "-r", &sources[0], "-r", &sources[1], "-o", &directory])
            }
            _ => {
                let info = self.top.join("updateinfo.xml");
                fs::write(&info, format!("<updates><!-- {number} --></updates>\n"))?;
                let repodata = self.directory.join("repodata").display().to_string();
                tutti(["modifyrepo_c", "--compress-type=gz", &info.display().to_string(), &repodata])
            }
        })
    }

    fn finish(&self, number: usize) -> Result<()> {
        let ended = run(self.command(number)?);
        ensure!(ended.status == 0, "{}, not disturbed: {}", self.kind, ended.text());
        Ok(())
    }
}

/// Kills each kind of command in turn, `moments` in all, at random moments of its run.
///
/// # Errors
/// When a repository is neither old nor new, dnf refuses it, or a later run cannot finish.
pub fn kill(directory: &Path, packages: &Path, seed: u64, moments: usize) -> Result<Outcome> {
    copy(packages, &directory.join("packages"))?;
    let mut victims = Vec::new();
    for kind in KINDS {
        let mut victim =
            Victim { kind, top: directory.to_owned(), directory: directory.join(kind), whole: Duration::ZERO };
        fs::create_dir_all(&victim.directory)?;
        if kind == "modify" {
            copy(&directory.join("cold/repodata"), &victim.directory.join("repodata"))?;
        }
        victim.finish(0)?;
        let begin = Instant::now();
        victim.finish(1)?;
        victim.whole = begin.elapsed();
        victims.push(victim);
    }
    let mut random = Random::new(seed);
    let mut outcome = Outcome::default();
    for number in 0..moments {
        let victim = &victims[number % victims.len()];
        let moment = victim.whole.mul_f64(random.below(1100) as f64 / 1000.0);
        one(victim, number + 2, moment, &mut outcome)
            .with_context(|| format!("{} killed after {moment:?} (seed {seed}, moment {number})", victim.kind))?;
    }
    for victim in &victims {
        victim.finish(moments + 2)?;
        check(&victim.directory)?;
        let left: Vec<_> = fs::read_dir(&victim.directory)?.map(|entry| entry.map(|entry| entry.file_name())).collect();
        ensure!(left.len() == 1, "{}: more than repodata is left: {left:?}", victim.kind);
    }
    Ok(outcome)
}

fn one(victim: &Victim, number: usize, moment: Duration, outcome: &mut Outcome) -> Result<()> {
    let before = check(&victim.directory)?;
    let mut child = spawn(victim.command(number)?.stdout(Stdio::null()));
    sleep(moment);
    let over = child.try_wait()?.is_some();
    let _ = child.kill();
    let _ = child.wait();
    let after = check(&victim.directory)?;
    match over {
        true => outcome.ended += 1,
        false => {
            outcome.killed += 1;
            outcome.new += usize::from(before != after);
        }
    }
    if has_tool("dnf") {
        dnf(victim)?;
        outcome.dnf += 1;
    }
    Ok(())
}

/// Every file that `repomd.xml` lists is there and has its checksum. Returns `repomd.xml`.
fn check(repository: &Path) -> Result<String> {
    let path = repository.join("repodata/repomd.xml");
    let repomd = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    ensure!(repomd.ends_with("</repomd>\n"), "{} is cut short", path.display());
    let between = |text: &str, start: &str, end: char| -> Option<String> {
        Some(text.split_once(start)?.1.split(end).next()?.to_owned())
    };
    let mut kinds = 0;
    for record in repomd.split("<data type=").skip(1) {
        let sum = between(record, "<checksum type=\"sha256\">", '<').context("no checksum")?;
        let href = between(record, "<location href=\"", '"').context("no location")?;
        let bytes = fs::read(repository.join(&href)).with_context(|| href.clone())?;
        let found: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        ensure!(found == sum, "{href} has another checksum");
        kinds += 1;
    }
    ensure!(kinds >= 3, "{repomd}");
    Ok(repomd)
}

/// Whether dnf reads all of it, with an empty cache.
fn dnf(victim: &Victim) -> Result<()> {
    let cache = victim.top.join("cache");
    let mut command = Command::new("dnf");
    command.args(["-q", "--setopt=reposdir=/nonexistent", "--forcearch", "x86_64", "--releasever", "1"]);
    command.arg(format!("--setopt=cachedir={}", cache.display())).args(["--setopt=skip_if_unavailable=0"]);
    command.arg(format!("--repofrompath=r,file://{}", victim.directory.display())).args(["--repo", "r"]);
    command.args(["repoquery", "--queryformat", "%{name}"]);
    clean(&mut command);
    let ended = run(command);
    let names = ended.stdout.lines().filter(|line| !line.is_empty()).count();
    let _ = fs::remove_dir_all(&cache);
    ensure!(ended.status == 0 && names > 0, "dnf: {}", ended.text());
    Ok(())
}

fn packages_below(directory: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut open) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            match path.is_dir() {
                true => open.push(path),
                false => found.push(path),
            }
        }
    }
    found.sort();
    Ok(found)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    for path in packages_below(from)? {
        let target = to.join(path.strip_prefix(from)?);
        fs::create_dir_all(target.parent().context("no parent")?)?;
        fs::copy(&path, &target)?;
    }
    Ok(())
}
