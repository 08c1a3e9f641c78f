//! Starting child processes, and making sure that nothing of them is left.

use std::{
    io,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};
use tokio::{
    process::{Child, Command},
    sync::{mpsc, oneshot},
};

/// Name of the variable that marks all processes of one attempt, also those that left its process group.
pub(crate) const MARKER: &str = "TUTTI_ATTEMPT";
/// How long killed processes may take to disappear. A process that waits for a dead file server takes longer; its
/// fence then keeps it from doing harm.
const DEATH: Duration = Duration::from_secs(30);

type Request = (Command, oneshot::Sender<io::Result<Child>>);

/// A thread that starts all child processes.
///
/// PR_SET_PDEATHSIG means the *thread* that started the child, not the process: threads of a runtime come and go, this
/// one ends with the worker. Requests wait when 16 stand in the queue.
pub(crate) struct Spawner(mpsc::Sender<Request>);

impl Spawner {
    /// Starts the thread. Must be called within a runtime.
    pub(crate) fn start() -> io::Result<Self> {
        let (sender, mut receiver) = mpsc::channel::<Request>(16);
        let runtime = tokio::runtime::Handle::current();
        std::thread::Builder::new().name("tutti-spawner".into()).spawn(move || {
            let _guard = runtime.enter();
            while let Some((mut command, reply)) = receiver.blocking_recv() {
                // A child that nobody waits for any more is killed when it is dropped (kill_on_drop).
                let _ = reply.send(command.spawn());
            }
        })?;
        Ok(Self(sender))
    }

    pub(crate) async fn spawn(&self, command: Command) -> io::Result<Child> {
        let (reply, answer) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts processes is gone");
        self.0.send((command, reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

/// All processes of one attempt.
#[derive(Clone)]
pub(crate) struct Family {
    group: Pid,
    marker: String,
}

impl Family {
    /// The family of a child that was started as leader of its group, with `MARKER=marker` in its environment.
    pub(crate) fn of(child: &Child, marker: &str) -> Option<Self> {
        let group = Pid::from_raw(i32::try_from(child.id()?).ok()?)?;
        Some(Self { group, marker: format!("{MARKER}={marker}") })
    }

    /// Sends a signal to the process group.
    pub(crate) fn signal(&self, signal: Signal) {
        // No such group: all of it is dead already, which is what the callers want.
        let _ = rustix::process::kill_process_group(self.group, signal);
    }

    /// Kills every process of the family and waits until they are dead. Returns the ids of those that would not die
    /// in time.
    pub(crate) async fn extinguish(&self) -> Vec<i32> {
        self.signal(Signal::KILL);
        let end = Instant::now() + DEATH;
        let mut pause = Duration::from_millis(2);
        loop {
            let family = self.clone();
            let left = tokio::task::spawn_blocking(move || family.survivors()).await.unwrap_or_default();
            if left.is_empty() || Instant::now() > end {
                return left.into_iter().map(|pid| pid.as_raw_nonzero().get()).collect();
            }
            for pid in left {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }

    /// Living processes of the group, or with the marker in their environment. Dead ones that wait for their parent
    /// do not count.
    fn survivors(&self) -> Vec<Pid> {
        let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
        let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        numbers.filter(|number| self.holds(*number)).filter_map(Pid::from_raw).collect()
    }

    fn holds(&self, number: i32) -> bool {
        // proc_pid_stat(5): state is field 3, pgrp field 5; the name before them may hold anything but ends with ")".
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{number}/stat")) else { return false };
        let Some((_, rest)) = stat.rsplit_once(") ") else { return false };
        let mut fields = rest.split_ascii_whitespace();
        if matches!(fields.next(), Some("Z" | "X") | None) {
            return false;
        }
        if fields.nth(1).and_then(|text| text.parse().ok()) == Some(self.group.as_raw_nonzero().get()) {
            return true;
        }
        // Only our own user's processes can be read; others are none of ours.
        let Ok(environment) = std::fs::read(format!("/proc/{number}/environ")) else { return false };
        environment.split(|byte| *byte == 0).any(|variable| variable == self.marker.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_survives_not_even_what_left_the_group() {
        let spawner = Spawner::start().unwrap();
        let mut command = Command::new("sh");
        let script = "trap '' TERM; setsid sh -c 'trap \"\" TERM; sleep 600' & sleep 600 & echo ready; wait";
        command.args(["-c", script]).process_group(0).env(MARKER, "test-1").kill_on_drop(true);
        command.stdout(std::process::Stdio::piped());
        let mut child = spawner.spawn(command).await.unwrap();
        let family = Family::of(&child, "test-1").unwrap();
        let mut ready = [0; 6];
        tokio::io::AsyncReadExt::read_exact(child.stdout.as_mut().unwrap(), &mut ready).await.unwrap();
        assert!(!family.survivors().is_empty());
        assert_eq!(family.extinguish().await, Vec::<i32>::new());
        assert!(child.wait().await.unwrap().code().is_none());
        assert!(family.survivors().is_empty());
    }
}
