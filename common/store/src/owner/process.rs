//! Whether the process of a record lives, as far as this process can see.

use std::fs;
use std::path::Path;
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

/// Judges the process of `record`, as `me`; `is_local` tells whether only one machine sees the records.
///
/// Another boot id alone says little: machines cloned from one template and containers of one image share machine id and
/// host name, and may share a volume. Only where no other machine sees the file, it means that this one was started
/// again.
pub(super) fn judge(record: &Record, me: &Record, is_local: impl FnOnce() -> bool) -> Judgement {
    let known = |text: &str| !text.is_empty();
    if known(&record.boot) && record.boot == me.boot {
        if record.namespaces != me.namespaces {
            return Judgement::Elsewhere("it is in another container on this host");
        }
        return if lives(record) { Judgement::Alive } else { Judgement::Dead };
    }
    let same_machine = is_machine_id(&record.machine) && record.machine == me.machine && record.host == me.host;
    let same_processes = pid_namespace(record).is_some_and(|theirs| pid_namespace(me) == Some(theirs));
    if same_machine && same_processes && known(&record.boot) && known(&me.boot) && is_local() {
        // This machine was started again since.
        return Judgement::Dead;
    }
    Judgement::Elsewhere("only that host can tell whether it runs")
}

/// machine-id(5): images have none or `uninitialized`.
fn is_machine_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The host's own has the same number after each start; a container's new one has another.
fn pid_namespace(record: &Record) -> Option<&str> {
    record.namespaces.split(' ').next().filter(|namespace| namespace.starts_with("pid:["))
}

/// Whether no other machine can have this directory mounted, as far as that is known of its file system.
pub(super) fn is_local(directory: &Path) -> bool {
    // statfs(2): ext2 to ext4, XFS, Btrfs, F2FS, bcachefs, ZFS, tmpfs.
    const LOCAL: [u64; 7] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0xca45_1a4e, 0x2fc1_2fc1, 0x0102_1994];
    rustix::fs::statfs(directory)
        .is_ok_and(|found| LOCAL.iter().any(|local| i128::from(found.f_type) == i128::from(*local)))
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

/// What to do about an owner that lives.
pub(super) fn hint(record: &Record) -> &'static str {
    match stat(record.process) {
        Some(stat) if matches!(stat.state, b'Z' | b'X') => {
            "it was killed, but a thread of it still waits for a disk or a file server: mend that, or restart the host"
        }
        Some(stat) if matches!(stat.state, b'T' | b't') => "it is stopped: kill -CONT lets it go on",
        _ => "wait for it, or stop it",
    }
}

/// Whether that process of this host is stopped, by Ctrl-Z or a debugger: it answers nobody until it goes on.
pub fn is_stopped(process: u32) -> bool {
    stat(process).is_some_and(|stat| matches!(stat.state, b'T' | b't'))
}

/// Start of a process in ticks since boot.
#[cfg(test)]
pub(super) fn started(process: u32) -> Option<u64> {
    stat(process).map(|stat| stat.started)
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
        assert_eq!(judge(&me, &me, || true), Judgement::Alive);
        let dead = |record: Record| judge(&record, &me, || true) == Judgement::Dead;
        // Process ids come back.
        assert!(dead(Record { started: me.started + 1, ..me.clone() }));
        // Higher than any that Linux gives.
        assert!(dead(Record { process: 1 << 23, ..me.clone() }));
        let elsewhere = |record: Record| matches!(judge(&record, &me, || true), Judgement::Elsewhere(_));
        assert!(elsewhere(Record { namespaces: "pid:[1]".into(), ..me.clone() }));
        assert!(elsewhere(Record { boot: String::new(), ..me.clone() }));
    }

    #[test]
    fn another_boot_means_dead_only_on_this_machines_own_disk() {
        let me = Record { machine: "0".repeat(32), namespaces: "pid:[1] time:[2]".into(), ..me() };
        let before = Record { boot: "before".into(), ..me.clone() };
        assert_eq!(judge(&before, &me, || true), Judgement::Dead);
        assert!(matches!(judge(&before, &me, || false), Judgement::Elsewhere(_)), "clones share a volume");
        let elsewhere = |record: Record| matches!(judge(&record, &me, || true), Judgement::Elsewhere(_));
        assert!(elsewhere(Record { machine: "1".repeat(32), ..before.clone() }));
        assert!(elsewhere(Record { host: "another".into(), ..before.clone() }));
        assert!(elsewhere(Record { namespaces: "pid:[3] time:[2]".into(), ..before.clone() }));
        for (machine, namespaces) in [("", ""), ("uninitialized", ""), ("", "- -")] {
            let image = |record: &Record| Record {
                machine: if machine.is_empty() && !namespaces.is_empty() {
                    record.machine.clone()
                } else {
                    machine.into()
                },
                namespaces: if namespaces.is_empty() { record.namespaces.clone() } else { namespaces.into() },
                ..record.clone()
            };
            assert!(matches!(judge(&image(&before), &image(&me), || true), Judgement::Elsewhere(_)), "{machine:?}");
        }
        // A file system that nobody would put a state file on is none of those that are known to be local.
        assert!(!is_local(Path::new("/proc")) && !is_local(Path::new("/no/such")));
    }

    /// A child that nobody has waited for, once the kernel says that it is in one of these states.
    fn until(child: &std::process::Child, states: &[u8]) -> Record {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            let stat = stat(child.id()).unwrap();
            if states.contains(&stat.state) {
                return Record { process: child.id(), started: stat.started, ..me() };
            }
            assert!(std::time::Instant::now() < deadline, "it is {:?}", char::from(stat.state));
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_to_do_about_an_owner_that_is_stopped_or_ending_is_said() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let record = until(&child, b"SR");
        assert_eq!(hint(&record), "wait for it, or stop it");
        let signal = |signal| {
            rustix::process::kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), signal).unwrap();
        };
        signal(rustix::process::Signal::STOP);
        let record = until(&child, b"T");
        assert!(lives(&record), "it may go on at any time");
        assert!(hint(&record).contains("is stopped") && hint(&record).contains("kill -CONT"), "{}", hint(&record));
        signal(rustix::process::Signal::KILL);
        let record = until(&child, b"ZX");
        assert!(
            hint(&record).contains("was killed") && hint(&record).contains("restart the host"),
            "{}",
            hint(&record)
        );
        child.wait().unwrap();
        assert_eq!(hint(&record), "wait for it, or stop it");
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
