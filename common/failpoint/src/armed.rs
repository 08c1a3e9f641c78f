//! Counting hits and doing what the environment asks for.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::FailpointError;
use crate::parse::{Action, Rule, parse};

/// `EX_USAGE` of sysexits(3): the environment is wrong, not the program.
const BAD_ENVIRONMENT: i32 = 64;
/// How often a paused point looks for its file.
const PAUSE_POLL: Duration = Duration::from_millis(5);

/// The armed points and the counts of one process.
pub(crate) struct Failpoints {
    rules: BTreeMap<String, Vec<Rule>>,
    log: Option<Mutex<std::fs::File>>,
    counts: Mutex<BTreeMap<&'static str, u64>>,
}

impl Failpoints {
    /// The points of this process, armed from the environment at the first call.
    pub(crate) fn global() -> &'static Self {
        static GLOBAL: OnceLock<Failpoints> = OnceLock::new();
        GLOBAL.get_or_init(|| {
            let text = std::env::var_os("TUTTI_FAILPOINTS").unwrap_or_default();
            let log = std::env::var_os("TUTTI_FAILPOINT_LOG");
            Self::new(&text, log).unwrap_or_else(|problem| {
                eprintln!("{problem}");
                std::process::exit(BAD_ENVIRONMENT)
            })
        })
    }

    fn new(text: &OsString, log: Option<OsString>) -> Result<Self, String> {
        let text = text.to_str().ok_or("TUTTI_FAILPOINTS is not UTF-8")?;
        let rules = parse(text).map_err(|error| error.to_string())?;
        let log = match log.filter(|path| !path.is_empty()) {
            None => None,
            Some(path) => {
                let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
                Some(Mutex::new(file.map_err(|error| {
                    format!("failed to open the failpoint log {}: {error}", Path::new(&path).display())
                })?))
            }
        };
        Ok(Self { rules, log, counts: Mutex::default() })
    }

    pub(crate) fn hit(&self, name: &'static str, subject: Option<&str>) -> Result<(), FailpointError> {
        let occurrence = self.count(name);
        self.write_log(name, occurrence);
        let matches = |rule: &&Rule| rule.occurrence.is_none_or(|wanted| wanted == occurrence);
        let special = subject.and_then(|subject| self.rules.get(&format!("{name}[{subject}]")));
        // `JOB#ATTEMPT` is also meant by `JOB`.
        let wider = subject.and_then(|subject| self.rules.get(&format!("{name}[{}]", subject.split_once('#')?.0)));
        match special.into_iter().chain(wider).chain(self.rules.get(name)).flatten().find(matches) {
            None => Ok(()),
            Some(rule) => act(&rule.action, name, occurrence),
        }
    }

    pub(crate) fn names_seen(&self) -> Vec<(&'static str, u64)> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|(name, count)| (*name, *count)).collect()
    }

    fn count(&self, name: &'static str) -> u64 {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(name).or_insert(0);
        *count += 1;
        *count
    }

    /// One `write` call per line, so that the lines of several processes with one log do not mix.
    fn write_log(&self, name: &str, occurrence: u64) {
        let Some(log) = &self.log else { return };
        let line = format!("{name} {occurrence}\n");
        let mut file = log.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.write_all(line.as_bytes()) {
            eprintln!("failed to write the failpoint log: {error}");
            std::process::exit(BAD_ENVIRONMENT);
        }
    }
}

fn act(action: &Action, name: &'static str, occurrence: u64) -> Result<(), FailpointError> {
    match action {
        Action::ErrorUntil(path) if path.exists() => {}
        Action::Error | Action::ErrorUntil(_) => return Err(FailpointError { name, occurrence }),
        Action::Sleep(duration) => std::thread::sleep(*duration),
        Action::PauseFile(path) => {
            while !path.exists() {
                std::thread::sleep(PAUSE_POLL);
            }
        }
        Action::Exit(status) => std::process::exit(*status),
        Action::Kill => kill_this_process(),
    }
    Ok(())
}

/// SIGKILL cannot be caught: no destructor, no flush, no core dump, as when a machine or an operator kills us.
fn kill_this_process() -> ! {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    // Delivered before the call returns when this is the only thread that can take it; otherwise in an instant.
    std::thread::sleep(Duration::from_secs(1));
    std::process::abort()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn armed(text: &str) -> Failpoints {
        Failpoints::new(&OsString::from(text), None).unwrap()
    }

    #[test]
    fn counts_each_name_apart_and_fails_at_the_named_occurrence() {
        let points = armed("a=error@2");
        assert_eq!(points.hit("a", None), Ok(()));
        assert_eq!(points.hit("b", None), Ok(()));
        assert_eq!(points.hit("a", None), Err(FailpointError { name: "a", occurrence: 2 }));
        assert_eq!(points.hit("a", None), Ok(()));
        assert_eq!(points.names_seen(), [("a", 3), ("b", 1)]);
    }

    #[test]
    fn fails_every_time_without_an_occurrence() {
        let points = armed("a=error");
        assert!(points.hit("a", None).is_err());
        assert!(points.hit("a", None).is_err());
    }

    #[test]
    fn fails_for_the_named_subject_only() {
        let points = armed("a[x.y]=error");
        assert_eq!(points.hit("a", None), Ok(()));
        assert_eq!(points.hit("a", Some("x")), Ok(()));
        assert_eq!(points.hit("b", Some("x.y")), Ok(()));
        assert!(points.hit("a", Some("x.y")).is_err());
        assert!(armed("a=error").hit("a", Some("x.y")).is_err());
    }

    #[test]
    fn a_subject_may_be_one_attempt_of_many() {
        for (text, first, second) in [("a[x#1]=error", true, false), ("a[x]=error", true, true)] {
            let points = armed(text);
            assert_eq!(points.hit("a", Some("x#1")).is_err(), first);
            assert_eq!(points.hit("a", Some("x#2")).is_err(), second);
        }
    }

    #[test]
    fn writes_each_hit_to_the_log() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let points = Failpoints::new(&OsString::from("b=error"), Some(path.clone().into())).unwrap();
        points.hit("a", None).unwrap();
        points.hit("b", None).unwrap_err();
        points.hit("a", None).unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "a 1\nb 1\na 2\n");
    }

    #[test]
    fn fails_until_the_file_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("go");
        let points = armed(&format!("a=error-until({})", path.display()));
        assert!(points.hit("a", None).is_err() && points.hit("a", None).is_err());
        std::fs::write(&path, "").unwrap();
        assert_eq!(points.hit("a", None), Ok(()));
    }

    #[test]
    fn waits_for_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("go");
        let points = armed(&format!("a=pause-file({})", path.display()));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| points.hit("a", None));
            std::thread::sleep(Duration::from_millis(30));
            assert!(!waiting.is_finished());
            std::fs::write(&path, "").unwrap();
            assert_eq!(waiting.join().unwrap(), Ok(()));
        });
    }
}
