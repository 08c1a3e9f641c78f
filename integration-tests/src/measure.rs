//! What a command costs, with all its children.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};

/// How often memory is looked at. Looking takes some 2 ms of a processor.
const SAMPLE: Duration = Duration::from_millis(100);

/// Cost of one command.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Exit status; -1 for a signal.
    pub status: i32,
    /// Seconds from start to end.
    pub wall: f64,
    /// CPU seconds in user mode, waited-for children included.
    pub user: f64,
    /// CPU seconds in the kernel, likewise.
    pub system: f64,
    /// Largest sum of resident memory of the command and its descendants, sampled each 100 ms, or the largest of one of
    /// them at any time; shared pages count for each process that has them.
    pub peak_memory: u64,
    /// Bytes given by `read` calls, from cache or device.
    pub read: u64,
    /// Bytes given to `write` calls.
    pub written: u64,
    /// Bytes fetched from devices.
    pub device_read: u64,
    /// Bytes that went, or will go, to devices.
    pub device_written: u64,
}

/// Runs a command and measures it. The caller must have had no other children: their CPU time and bytes would count
/// (proc_pid_stat(5) `cutime`, `cstime`; proc_pid_io(5), which the kernel adds up at `wait`; getrusage(2)).
///
/// # Errors
/// If the command cannot be started, or `/proc` not be read.
pub fn measure(mut command: Command, output: Option<fs::File>) -> Result<Cost> {
    if let Some(output) = output {
        command.stdout(Stdio::from(output.try_clone()?)).stderr(Stdio::from(output));
    }
    command.stdin(Stdio::null());
    let (before, start) = (usage()?, Instant::now());
    let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
    let id = child.id();
    let (stop, stopped) = mpsc::channel::<()>();
    let sampler = std::thread::spawn(move || {
        let mut peak = 0;
        while stopped.recv_timeout(SAMPLE) == Err(mpsc::RecvTimeoutError::Timeout) {
            peak = peak.max(resident(id));
        }
        peak
    });
    let status = child.wait()?;
    let wall = start.elapsed().as_secs_f64();
    drop(stop);
    let largest = getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss();
    let peak_memory = sampler.join().unwrap_or_default().max(u64::try_from(largest).unwrap_or(0) * 1024);
    let after = usage()?;
    Ok(Cost {
        status: status.code().unwrap_or(-1),
        wall,
        user: after.user - before.user,
        system: after.system - before.system,
        peak_memory,
        read: after.read - before.read,
        written: after.written - before.written,
        device_read: after.device_read - before.device_read,
        device_written: after.device_written - before.device_written,
    })
}

/// What this process's ended children have used, and what it read and wrote with them.
fn usage() -> Result<Cost> {
    let stat = fs::read_to_string("/proc/self/stat").context("cannot read /proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace().collect();
    let ticks = rustix::param::clock_ticks_per_second().max(1) as f64;
    // The first field after the name is number 3; cutime is 16, cstime 17.
    let seconds =
        |number: usize| fields.get(number - 3).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0) / ticks;
    let io = fs::read_to_string("/proc/self/io").context("cannot read /proc/self/io")?;
    let io: BTreeMap<&str, u64> = io
        .lines()
        .filter_map(|line| line.split_once(": "))
        .filter_map(|(name, n)| Some((name, n.parse().ok()?)))
        .collect();
    let count = |name: &str| io.get(name).copied().unwrap_or_default();
    Ok(Cost {
        user: seconds(16),
        system: seconds(17),
        read: count("rchar"),
        written: count("wchar"),
        device_read: count("read_bytes"),
        device_written: count("write_bytes"),
        ..Cost::default()
    })
}

/// Resident memory of a process and its descendants, now.
fn resident(top: u32) -> u64 {
    let mut parents = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().map_while(Result::ok) {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if let Some(parent) = parent(&entry.path()) {
            parents.insert(id, parent);
        }
    }
    let mut family = BTreeSet::from([top]);
    loop {
        let before = family.len();
        family.extend(
            parents.iter().filter(|(_, parent)| family.contains(parent)).map(|(id, _)| *id).collect::<Vec<_>>(),
        );
        if family.len() == before {
            break;
        }
    }
    family.iter().map(|id| resident_of(*id).unwrap_or_default()).sum()
}

fn parent(process: &Path) -> Option<u32> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn resident_of(id: u32) -> Option<u64> {
    let pages = fs::read_to_string(format!("/proc/{id}/statm")).ok()?;
    let pages: u64 = pages.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_of_children_count() {
        let mut command = Command::new("sh");
        let script =
            "sh -c 'x=0; while [ $x -lt 200000 ]; do x=$((x+1)); done; head -c 5000000 /dev/zero > /dev/null'; exit 3";
        command.args(["-c", script]);
        let cost = measure(command, None).unwrap();
        assert_eq!(cost.status, 3);
        assert!(cost.user + cost.system > 0.05, "{cost:?}");
        assert!(cost.wall >= 0.05, "{cost:?}");
        assert!((5_000_000..6_000_000).contains(&cost.written), "{cost:?}");
        assert!(cost.peak_memory > 500_000, "{cost:?}");
    }
}
