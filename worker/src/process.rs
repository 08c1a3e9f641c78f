//! Starting child processes, and making sure that nothing of them is left.

use std::{
    collections::BTreeSet,
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

/// Between two looks at dying processes.
const PAUSE: Duration = Duration::from_millis(5);

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
///
/// Its leader, `tutti run-job`, is a child subreaper: what it starts stays below it, also after a double fork with a
/// session and an environment of its own. So all of it can be found as long as the leader lives, and it is the last
/// to be killed. Where it died of something else first, the process group and the marker in the environment are left.
#[derive(Clone)]
pub(crate) struct Family {
    leader: Pid,
    marker: String,
}

impl Family {
    /// The family of a child that was started as leader of its group, with `MARKER=marker` in its environment.
    pub(crate) fn of(child: &Child, marker: &str) -> Option<Self> {
        let leader = Pid::from_raw(i32::try_from(child.id()?).ok()?)?;
        Some(Self { leader, marker: format!("{MARKER}={marker}") })
    }

    /// Asks all but the leader, which keeps them together, to end. Returns once they have, or after `grace`.
    pub(crate) async fn ask_to_end(&self, grace: Duration) {
        let end = Instant::now() + grace;
        let mut asked = BTreeSet::new();
        loop {
            let below = self.members(false).await;
            if below.is_empty() || Instant::now() > end {
                return;
            }
            for pid in below {
                if asked.insert(pid.as_raw_nonzero()) {
                    let _ = rustix::process::kill_process(pid, Signal::TERM);
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Kills every process of the family and waits until they are dead. Returns the ids of those that would not die in
    /// time. The leader is stopped first, so that it starts nothing more and what loses its parent comes to it. (Should this
    /// process die in that moment: the kernel ends a stopped process whose group is orphaned by SIGHUP.)
    pub(crate) async fn extinguish(&self) -> Vec<i32> {
        let _ = rustix::process::kill_process(self.leader, Signal::STOP);
        let end = Instant::now() + DEATH;
        let mut pause = Duration::from_millis(2);
        let mut leader_too = false;
        loop {
            let left = self.members(leader_too).await;
            if Instant::now() > end || (left.is_empty() && leader_too) {
                return left.into_iter().map(|pid| pid.as_raw_nonzero().get()).collect();
            }
            for pid in &left {
                let _ = rustix::process::kill_process(*pid, Signal::KILL);
            }
            if left.is_empty() {
                leader_too = true;
                let _ = rustix::process::kill_process_group(self.leader, Signal::KILL);
                continue;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }

    async fn members(&self, leader_too: bool) -> Vec<Pid> {
        let family = self.clone();
        let members = tokio::task::spawn_blocking(move || family.survivors()).await.unwrap_or_default();
        members.into_iter().filter(|pid| leader_too || *pid != self.leader).collect()
    }

    /// Living processes below the leader, of its group, or with the marker in their environment. Dead ones that wait for
    /// their parent do not count.
    fn survivors(&self) -> Vec<Pid> {
        let all = processes();
        let below = below(&all, self.leader.as_raw_nonzero().get());
        let leader = self.leader.as_raw_nonzero().get();
        let ours =
            |process: &&Process| process.group == leader || below.contains(&process.id) || self.is_marked(process.id);
        let living = all.iter().filter(|process| !process.dead);
        living.filter(ours).filter_map(|process| Pid::from_raw(process.id)).collect()
    }

    fn is_marked(&self, number: i32) -> bool {
        // Only our own user's processes can be read; others are none of ours.
        let Ok(environment) = std::fs::read(format!("/proc/{number}/environ")) else { return false };
        environment.split(|byte| *byte == 0).any(|variable| variable == self.marker.as_bytes())
    }
}

struct Process {
    id: i32,
    parent: i32,
    group: i32,
    dead: bool,
}

/// All processes that can be seen.
fn processes() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    numbers.filter_map(process).collect()
}

fn process(id: i32) -> Option<Process> {
    // proc_pid_stat(5): state, parent and group are fields 3 to 5; the name before them may hold anything but ends
    // with ")".
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split_ascii_whitespace();
    let dead = matches!(fields.next()?, "Z" | "X");
    Some(Process { id, parent: fields.next()?.parse().ok()?, group: fields.next()?.parse().ok()?, dead })
}

/// Ids of all processes that have `top` above them.
fn below(all: &[Process], top: i32) -> BTreeSet<i32> {
    let mut found = BTreeSet::new();
    let mut queue = vec![top];
    while let Some(parent) = queue.pop() {
        let children = all.iter().filter(|process| process.parent == parent).map(|process| process.id);
        queue.extend(children.filter(|id| found.insert(*id)));
    }
    found
}

/// Kills all that this process has below it, which must be a child subreaper. Returns when nothing is left, or after a
/// time that no process needs to die.
pub(crate) fn kill_below_self() {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let end = Instant::now() + DEATH;
    loop {
        let all = processes();
        let below = below(&all, own);
        let living = all.iter().filter(|process| !process.dead && below.contains(&process.id));
        let living: Vec<Pid> = living.filter_map(|process| Pid::from_raw(process.id)).collect();
        if living.is_empty() || Instant::now() > end {
            return;
        }
        for pid in living {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(PAUSE);
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
        assert!(family.survivors().len() > 1);
        assert_eq!(family.extinguish().await, Vec::<i32>::new());
        assert!(child.wait().await.unwrap().code().is_none());
        assert!(family.survivors().is_empty());
    }
}
