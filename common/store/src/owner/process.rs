//! Whether the process of a record lives, as far as this process can see.

use std::fs;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use super::record::{Record, State};

/// What is known of a record's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judgement {
    Alive,
    Dead,
    /// It cannot be seen from here; why.
    Elsewhere(&'static str),
}

/// A record of this process, with a token of its own; its number is for the caller to say.
pub(super) fn me() -> Record {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    static SELF: OnceLock<Record> = OnceLock::new();
    let me = SELF.get_or_init(|| Record {
        number: 0,
        state: State::Held,
        token: String::new(),
        host: one_line(rustix::system::uname().nodename().to_string_lossy().into_owned()),
        machine: first_line("/etc/machine-id"),
        boot: first_line("/proc/sys/kernel/random/boot_id"),
        namespaces: ["pid", "time"].map(namespace).join(" "),
        process: std::process::id(),
        started: stat(std::process::id()).map_or(0, |stat| stat.started),
    });
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let Record { boot, process, started, .. } = me;
    let token = format!("{boot}-{process}-{started}-{now}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    Record { token, ..me.clone() }
}

/// Judges the process of `record`, as `me`.
pub(super) fn judge(record: &Record, me: &Record) -> Judgement {
    let known = |text: &str| !text.is_empty();
    if known(&record.boot) && record.boot == me.boot {
        if record.namespaces != me.namespaces {
            return Judgement::Elsewhere("it is in another container on this host");
        }
        return if lives(record) { Judgement::Alive } else { Judgement::Dead };
    }
    let same_machine = known(&record.machine) && record.machine == me.machine && record.host == me.host;
    if same_machine && known(&record.boot) && known(&me.boot) {
        // This machine was started again since.
        return Judgement::Dead;
    }
    Judgement::Elsewhere("only that host can tell whether it runs")
}

fn lives(record: &Record) -> bool {
    let Some(pid) = i32::try_from(record.process).ok().and_then(Pid::from_raw) else { return false };
    if test_kill_process(pid) == Err(Errno::SRCH) {
        return false;
    }
    // A process that may not be looked at (hidepid) is there, whichever it is.
    let Some(stat) = stat(record.process) else { return test_kill_process(pid) != Err(Errno::SRCH) };
    if stat.started != record.started {
        return false;
    }
    // A zombie writes nothing any more, once its last thread is gone.
    let threads = || fs::read_dir(format!("/proc/{}/task", record.process)).map_or(0, Iterator::count);
    !matches!(stat.state, b'Z' | b'X') || threads() > 1
}

struct Stat {
    state: u8,
    started: u64,
}

/// proc(5), `/proc/pid/stat`: the name in parentheses may hold anything, fields 3 and 22 come after it.
fn stat(process: u32) -> Option<Stat> {
    let text = fs::read(format!("/proc/{process}/stat")).ok()?;
    let end = text.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(text.get(end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    Some(Stat { state, started: fields.nth(18)?.parse().ok()? })
}

fn namespace(kind: &str) -> String {
    fs::read_link(format!("/proc/self/ns/{kind}"))
        .map_or_else(|_| "-".into(), |link| link.to_string_lossy().into_owned())
}

fn first_line(path: &str) -> String {
    one_line(fs::read_to_string(path).unwrap_or_default())
}

fn one_line(text: String) -> String {
    text.lines().next().unwrap_or_default().trim().chars().take(256).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_judged_by_what_can_be_seen() {
        let me = me();
        assert_eq!(judge(&me, &me), Judgement::Alive);
        let dead = |record: Record| judge(&record, &me) == Judgement::Dead;
        // Process ids come back.
        assert!(dead(Record { started: me.started + 1, ..me.clone() }));
        // Higher than any that Linux gives.
        assert!(dead(Record { process: 1 << 23, ..me.clone() }));
        let elsewhere = |record: Record| matches!(judge(&record, &me), Judgement::Elsewhere(_));
        assert!(elsewhere(Record { namespaces: "pid:[1]".into(), ..me.clone() }));
        let rebooted = Record { boot: "before".into(), machine: "m".into(), ..me.clone() };
        assert_eq!(judge(&rebooted, &Record { machine: "m".into(), ..me.clone() }), Judgement::Dead);
        assert!(elsewhere(Record { machine: "another".into(), ..rebooted.clone() }));
        assert!(elsewhere(Record { machine: String::new(), ..rebooted.clone() }));
        assert!(elsewhere(Record { host: "another".into(), ..rebooted.clone() }));
        assert!(elsewhere(Record { boot: String::new(), ..me.clone() }));
    }

    #[test]
    fn a_killed_process_is_dead_before_its_parent_has_seen_it() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let record = Record { process: child.id(), started: stat(child.id()).unwrap().started, ..me() };
        assert!(lives(&record));
        child.kill().unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while lives(&record) {
            assert!(std::time::Instant::now() < deadline, "a zombie is taken for alive");
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(!lives(&record));
    }
}
