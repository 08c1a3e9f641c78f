//! A small compose with a fault at one system call: what must hold after it.
//!
//! The distribution is [`Tiny`]'s with an extra file and two repositories; the compose has a fixed identity, so that its
//! tree can be compared with an undisturbed one.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    program::{self, Ended, run, tutti, tutti_path},
    scratch::write,
    sources::Tiny,
    tracer::{Call, Deed, Fault, Traced, Whose},
    tree,
};

const ID: &str = "Tiny-1-20260102.n.7";
const OLD: &str = "Tiny-1-20260101.n.0";
const LINK: &str = "latest-Tiny-1";
const EPOCH: &str = "1767312000";

/// What all cases share.
#[derive(Debug)]
pub struct Bench {
    directory: PathBuf,
    config: PathBuf,
    /// The program that traces: `syscalls`.
    tracer: PathBuf,
    /// An undisturbed compose.
    reference: PathBuf,
    /// What it called.
    pub census: Traced,
}

/// How a case went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Course {
    /// The fault's occurrence never came.
    Missed,
    /// The compose ended FINISHED by itself.
    Unaided,
    /// So it did after a job was tried again.
    TriedAgain,
    /// It was gone on with.
    Resumed,
    /// Nothing had been accepted; it was made anew.
    Anew,
}

impl Bench {
    /// Writes the distribution below `directory`, composes it, and counts its calls.
    ///
    /// # Errors
    /// When that does not go well.
    pub fn new(directory: &Path, tracer: &Path) -> Result<Self, String> {
        let mut tiny = Tiny::new(&directory.join("tiny"));
        write(&tiny.directory.join("extra/EULA"), "none\n");
        tiny.config.push_str(EXTRA);
        let config = tiny.write();
        let mut bench = Self {
            directory: directory.to_owned(),
            config,
            tracer: tracer.to_owned(),
            reference: directory.join("reference"),
            census: Traced::default(),
        };
        prepare(&bench.reference);
        let (traced, ended) = bench.compose(&bench.reference, None)?;
        if traced.status != 0 {
            return Err(ended.text());
        }
        bench.census = traced;
        Ok(bench)
    }

    /// The directory of packages.
    #[must_use]
    pub fn repository(&self) -> PathBuf {
        self.directory.join("tiny/repo")
    }

    /// All faults of a deed at a kind of call, by the census and a few more.
    #[must_use]
    pub fn faults(&self, whose: Whose, call: Call, deed: Deed) -> Vec<Fault> {
        let count = self.census.count(whose, call);
        (1..=count).map(|when| Fault { call, whose, deed, when, below: None }).collect()
    }

    fn command(target: &Path, config: &Path) -> Command {
        let mut command = tutti(["compose", "--format", "json", "--nightly", "--compose-id", ID, "--date", "20260102"]);
        command.arg("--config").arg(config).arg("--target-dir").arg(target).args(["--jobs", "2"]);
        command
    }

    /// Composes with a fault.
    fn compose(&self, target: &Path, fault: Option<&Fault>) -> Result<(Traced, Ended), String> {
        let report = target.with_extension("report");
        let mut command = Command::new(&self.tracer);
        command.arg("run").arg("--report").arg(&report).env("SOURCE_DATE_EPOCH", EPOCH);
        if let Some(fault) = fault {
            command.arg("--fault").arg(serde_json::to_string(fault).unwrap_or_default());
        }
        command.arg("--").arg(tutti_path());
        command.args(Self::command(target, &self.config).get_args());
        program::clean(&mut command);
        command.env("SOURCE_DATE_EPOCH", EPOCH);
        let ended = run(command);
        let text = fs::read_to_string(&report).map_err(|error| format!("no report: {error}\n{}", ended.text()))?;
        Ok((serde_json::from_str(&text).map_err(|error| error.to_string())?, ended))
    }

    /// Runs one case in a directory of its own, which is removed when it went well.
    ///
    /// # Errors
    /// What did not hold.
    pub fn case(&self, name: &str, fault: &Fault) -> Result<Course, String> {
        let target = self.directory.join(name);
        prepare(&target);
        let (traced, ended) = self.compose(&target, Some(fault))?;
        let course = self.judge(&target, fault, &traced, &ended);
        let course = course.map_err(|error| format!("{error}\nkept: {}\n{}", target.display(), ended.text()))?;
        let _ = fs::remove_dir_all(&target);
        let _ = fs::remove_file(target.with_extension("report"));
        Ok(course)
    }

    fn judge(&self, target: &Path, fault: &Fault, traced: &Traced, ended: &Ended) -> Result<Course, String> {
        self.whole(target)?;
        let killed = fault.whose == Whose::Main && matches!(fault.deed, Deed::KillBefore | Deed::KillAfter);
        if traced.status == 0 {
            self.finished(target, Some(fault).filter(|fault| !matches!(fault.deed, Deed::LoseReply)))?;
            return Ok(if !traced.hit {
                Course::Missed
            } else if ended.stdout.contains("\"number\":2,") && ended.stdout.contains("\"result\":\"failed") {
                Course::TriedAgain
            } else {
                Course::Unaided
            });
        }
        if !killed && (fault.deed == Deed::LoseReply || fault.whose == Whose::Jobs) {
            return Err("a lost reply, or a fault of one job, ended the compose".into());
        }
        if !killed && !ended.stderr.contains("hint: ") && !ended.stdout.contains("\"hint\":\"") {
            return Err("it ended without a hint".into());
        }
        self.go_on(target)
    }

    /// Goes on with a compose that ended early, or makes it anew if nothing was accepted.
    fn go_on(&self, target: &Path) -> Result<Course, String> {
        let accepted = target.join(ID).join("STATUS").exists();
        let doomed = fs::read_to_string(target.join(ID).join("STATUS")).is_ok_and(|text| text.trim() == "DOOMED");
        let mut again = if doomed { tutti(["retry", ID]) } else { tutti(["compose", "--resume", ID]) };
        again.arg("--target-dir").arg(target).env("SOURCE_DATE_EPOCH", EPOCH);
        let ended = run(again);
        if ended.status == 0 {
            self.finished(target, None)?;
            return Ok(Course::Resumed);
        }
        // Between STATUS and the first transaction there is nothing to go on with either.
        if accepted && target.join(ID).join("compose").read_dir().is_ok_and(|mut items| items.next().is_some()) {
            return Err(format!("it cannot be gone on with: {}", ended.text()));
        }
        let _ = fs::remove_dir_all(target.join(ID));
        let mut anew = Self::command(target, &self.config);
        anew.env("SOURCE_DATE_EPOCH", EPOCH);
        let ended = run(anew);
        if ended.status != 0 {
            return Err(format!("it cannot be made anew: {}", ended.text()));
        }
        self.finished(target, None)?;
        Ok(Course::Anew)
    }

    /// Whatever happened: what is published is whole, and the latest link is the old or the new one.
    fn whole(&self, target: &Path) -> Result<(), String> {
        let link = fs::read_link(target.join(LINK)).map_err(|error| format!("no latest link: {error}"))?;
        if link != Path::new(OLD) && link != Path::new(ID) {
            return Err(format!("the latest link leads to {}", link.display()));
        }
        let top = target.join(ID).join("compose");
        if !top.is_dir() {
            return Ok(());
        }
        let (wanted, found) = (tree::snapshot(&self.reference.join(ID).join("compose")), tree::snapshot(&top));
        for (path, entry) in &found {
            match wanted.get(path) {
                None => return Err(format!("compose/{path} does not belong there")),
                // A directory gets its mode a moment after its name.
                Some(_) if entry.kind == 'd' => {}
                Some(other) if other == entry => {}
                Some(other) => return Err(format!("compose/{path} is {entry:?}, not {other:?}")),
            }
        }
        // Directories that one job publishes by one rename.
        let owned = |path: &&String| path.ends_with("/Packages") || path.ends_with("/repodata");
        for directory in found.keys().filter(owned) {
            let below = format!("{directory}/");
            let count =
                |tree: &BTreeMap<String, tree::Entry>| tree.keys().filter(|path| path.starts_with(&below)).count();
            if count(&found) != count(&wanted) {
                return Err(format!("compose/{directory} holds {} of {} things", count(&found), count(&wanted)));
            }
        }
        Ok(())
    }

    fn finished(&self, target: &Path, fault: Option<&Fault>) -> Result<(), String> {
        let status = fs::read_to_string(target.join(ID).join("STATUS")).unwrap_or_default();
        if status.trim() != "FINISHED" {
            return Err(format!("STATUS is {status:?}"));
        }
        let differences = tree::differences(&self.reference.join(ID).join("compose"), &target.join(ID).join("compose"));
        if !differences.is_empty() {
            return Err(format!("the tree differs: {}", differences.join("; ")));
        }
        if fs::read_link(target.join(LINK)).ok().as_deref() != Some(Path::new(ID)) {
            return Err("the latest link is not the new one".into());
        }
        let staging = target.join(ID).join("work/tutti/staging");
        let removal = fault.is_some_and(|fault| (fault.whose, fault.call) == (Whose::Main, Call::Unlink));
        let left = fs::read_dir(&staging)
            .map_or(0, |items| items.flatten().filter(|item| item.file_name() != "worker").count());
        if left > 0 && !removal { Err(format!("{left} staging directories are left")) } else { Ok(()) }
    }
}

/// A target directory with an older compose that the latest link leads to.
fn prepare(target: &Path) {
    write(&target.join(OLD).join("STATUS"), "FINISHED\n");
    symlink(OLD, target.join(LINK)).unwrap_or_else(|error| panic!("cannot link: {error}"));
}

const EXTRA: &str = r#"
extra_files = [("^.*$", {"*": [{"scm": "file", "repo": None, "file": "extra/EULA", "target": ""}]})]
media_checksums = ["sha256"]
"#;
