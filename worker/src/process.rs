//! Starting child processes, and making sure that nothing of them is left.

use std::{
    collections::BTreeSet,
    io,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    process::{Child, Command},
    sync::{mpsc, oneshot},
};

/// Name of the variable that marks all processes of one attempt, also those that left its process group.
pub(crate) const MARKER: &str = "TUTTI_ATTEMPT";
/// After so long, what does not die is told about.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a job's own process waits for what it has left behind; the worker, which watches it, waits for ever.
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

/// Makes what tools leave behind, whatever they forked and renamed, come to this process.
///
/// Where that cannot be had ([`lacking`]), process groups and markers are left.
pub(crate) fn adopt_descendants() -> io::Result<()> {
    match rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
        Err(Errno::INVAL) => Ok(()),
        result => Ok(result?),
    }
}

/// Why processes that a job leaves behind are found less surely here: Linux has child subreapers since 3.4, qemu's user
/// emulation (7.2) refuses them as unknown.
pub(crate) fn lacking() -> Option<&'static str> {
    let refused = rustix::process::child_subreaper() == Err(Errno::INVAL);
    refused.then_some(
        "processes: no child subreapers here (an emulator?), what leaves its process group and empties its environment may outlive a job",
    )
}

/// All processes of one attempt.
///
/// Its leader, `tutti run-job`, is a child subreaper: what it starts stays below it, also after a double fork with a
/// session and an environment of its own. So all of it can be found as long as the leader lives, and it is the last
/// to be killed. Where it died of something else first, the process group and the marker in the environment are left.
///
/// The leader must not be waited for ([`Child::wait`]) before [`Family::extinguish`] has returned: as long as it is a
/// zombie at least, the system gives neither its id nor that of its group to others.
#[derive(Clone)]
pub(crate) struct Family {
    leader: Process,
    marker: String,
}

impl Family {
    /// The family of a child that was started as leader of its group, with `MARKER=marker` in its environment.
    pub(crate) fn of(child: &Child, marker: &str) -> Option<Self> {
        let leader = process(i32::try_from(child.id()?).ok()?)?;
        Some(Self { leader, marker: format!("{MARKER}={marker}") })
    }

    /// Returns when the leader has ended, without waiting for it. Cancel safe.
    pub(crate) async fn leader_ended(&self) {
        // A handle that can be read says that its process has ended (pidfd_open(2)).
        if let Some(handle) = self.leader.handle().and_then(watched)
            && handle.readable().await.is_ok()
        {
            return;
        }
        // A system without such handles.
        while process(self.leader.id).is_some_and(|now| now.is(&self.leader) && !now.dead) {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Asks all but the leader, which keeps them together, to end. Returns once they have, or after `grace`.
    pub(crate) async fn ask_to_end(&self, grace: Duration) {
        let end = Instant::now() + grace;
        let mut asked = BTreeSet::new();
        loop {
            let below = self.members(false).await;
            if below.as_ref().is_some_and(Vec::is_empty) || Instant::now() > end {
                return;
            }
            for process in below.unwrap_or_default() {
                if asked.insert((process.id, process.start)) {
                    process.signal(Signal::TERM);
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Kills every process of the family, and returns when they are dead: as long as one lives, nothing that it holds is
    /// free. What does not die soon, as it waits for a file server or a disk, is told to `tell`, again and again. The
    /// leader is stopped first, so that it starts nothing more and what loses its parent comes to it. (Should this
    /// process die in that moment: the kernel ends a stopped process whose group is orphaned by SIGHUP.)
    pub(crate) async fn extinguish(&self, mut tell: impl FnMut(&str)) {
        self.leader.signal(Signal::STOP);
        let begin = Instant::now();
        let mut pause = Duration::from_millis(2);
        let mut leader_too = false;
        loop {
            let left = self.members(leader_too).await;
            match &left {
                Some(left) if left.is_empty() && leader_too => return,
                Some(left) if left.is_empty() => {
                    leader_too = true;
                    continue;
                }
                Some(left) => left.iter().for_each(Process::kill),
                None => {}
            }
            if begin.elapsed() > PATIENCE {
                tell(&left.as_deref().map_or_else(|| "/proc cannot be read".to_owned(), names));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }

    /// All that live; none that cannot be told, as when no file can be opened.
    async fn members(&self, leader_too: bool) -> Option<Vec<Process>> {
        let family = self.clone();
        let mut members = tokio::task::spawn_blocking(move || family.survivors()).await.ok()?.ok()?;
        members.retain(|process| leader_too || !process.is(&self.leader));
        Some(members)
    }

    /// Living processes below the leader, of its group, or with the marker in their environment. Dead ones that wait for
    /// their parent do not count.
    fn survivors(&self) -> io::Result<Vec<Process>> {
        let all = processes()?;
        let leader = self.leader.id;
        // Once it was waited for, its id may be another's.
        let known = all.iter().any(|process| process.is(&self.leader));
        let below = if known { below(&all, leader) } else { BTreeSet::new() };
        let mut found = Vec::new();
        for process in all.iter().filter(|process| !process.dead) {
            let near = (known && process.group == leader) || below.contains(&process.id);
            // Nothing of the family is older than its leader: to read the environments of all others is most of the work.
            if near || (process.start >= self.leader.start && self.is_marked(process)?) {
                found.push(process.clone());
            }
        }
        Ok(found)
    }

    fn is_marked(&self, process: &Process) -> io::Result<bool> {
        match std::fs::read(format!("/proc/{}/environ", process.id)) {
            Ok(environment) => {
                Ok(environment.split(|byte| *byte == 0).any(|variable| variable == self.marker.as_bytes()))
            }
            Err(error) if is_none_of_ours(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[expect(deprecated, reason = "unsound for what closes its file while it is watched; an OwnedFd does not")]
fn watched(handle: OwnedFd) -> Option<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(handle, Interest::READABLE).ok()
}

/// Up to four processes by id and name: `12 (sh), 13 (dd)`.
fn names(processes: &[Process]) -> String {
    let name = |process: &Process| {
        let name = std::fs::read_to_string(format!("/proc/{}/comm", process.id)).unwrap_or_default();
        format!("{} ({})", process.id, crate::error::one_line(name.trim()))
    };
    let mut text = processes.iter().take(4).map(name).collect::<Vec<_>>().join(", ");
    if processes.len() > 4 {
        text += &format!(" and {} more", processes.len() - 4);
    }
    text
}

/// A process as it was seen. Its id may be another's later; id and start together are its own.
#[derive(Clone, Debug)]
struct Process {
    id: i32,
    parent: i32,
    group: i32,
    /// When it began, in the system's ticks.
    start: u64,
    dead: bool,
}

impl Process {
    fn is(&self, other: &Self) -> bool {
        (self.id, self.start) == (other.id, other.start)
    }

    /// What stands for this process and, whatever becomes of its id, for no other. None if it is gone, or on a system that
    /// has no such handles (Linux before 5.3, emulators).
    fn handle(&self) -> Option<OwnedFd> {
        let handle = pidfd_open(Pid::from_raw(self.id)?, PidfdFlags::empty()).ok()?;
        // Of two processes that had this id one after the other, the handle is the later one's: only if the id is still
        // ours now it was ours then.
        process(self.id).is_some_and(|now| now.is(self)).then_some(handle)
    }

    fn kill(&self) {
        // Tests make processes that do not die here.
        if tutti_failpoint::hit("worker.process.kill").is_ok() {
            self.signal(Signal::KILL);
        }
    }

    /// Sends a signal, to this process only.
    fn signal(&self, signal: Signal) {
        // It may be gone meanwhile: that is what is wanted.
        match self.handle() {
            Some(handle) => drop(pidfd_send_signal(handle, signal)),
            None if process(self.id).is_some_and(|now| now.is(self)) => {
                let _ = Pid::from_raw(self.id).map(|pid| kill_process(pid, signal));
            }
            None => {}
        }
    }
}

/// All processes that can be seen.
fn processes() -> io::Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        if let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) {
            match stat(id) {
                Ok(process) => found.extend(process),
                Err(error) if is_none_of_ours(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(found)
}

/// Whether an error says that a process is no longer there to be read, or is another user's: those refuse their
/// environment always, and all the rest where /proc is mounted with `hidepid=1` (proc(5)).
fn is_none_of_ours(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
        || error.raw_os_error() == Some(Errno::SRCH.raw_os_error())
}

fn process(id: i32) -> Option<Process> {
    stat(id).ok().flatten()
}

fn stat(id: i32) -> io::Result<Option<Process>> {
    // The name in it, which is anybody's choice, need not be UTF-8.
    Ok(parse(id, &String::from_utf8_lossy(&std::fs::read(format!("/proc/{id}/stat"))?)))
}

/// proc_pid_stat(5): state, parent and group are fields 3 to 5, the number of threads is 20, the start 22; the name before
/// them may hold anything but ends with ")".
fn parse(id: i32, stat: &str) -> Option<Process> {
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).copied();
    // A process whose first thread has ended is called a zombie too, while others of its threads go on.
    let threads: u64 = field(20)?.parse().ok()?;
    let dead = matches!(field(3)?, "Z" | "X") && threads < 2;
    let (parent, group, start) = (field(4)?.parse().ok()?, field(5)?.parse().ok()?, field(22)?.parse().ok()?);
    Some(Process { id, parent, group, start, dead })
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
/// time that no process needs to die; its worker looks after it then.
pub(crate) fn kill_below_self() {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let end = Instant::now() + DEATH;
    loop {
        let all = processes();
        let unknown = all.is_err();
        let all = all.unwrap_or_default();
        let below = below(&all, own);
        let living: Vec<&Process> = all.iter().filter(|process| !process.dead && below.contains(&process.id)).collect();
        if (living.is_empty() && !unknown) || Instant::now() > end {
            return;
        }
        living.iter().for_each(|process| process.signal(Signal::KILL));
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn shell(script: &str, marker: &str) -> (Child, Family) {
        let spawner = Spawner::start().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]).process_group(0).env(MARKER, marker).kill_on_drop(true);
        command.stdout(std::process::Stdio::piped());
        let mut child = spawner.spawn(command).await.unwrap();
        let family = Family::of(&child, marker).unwrap();
        let mut ready = [0; 6];
        tokio::io::AsyncReadExt::read_exact(child.stdout.as_mut().unwrap(), &mut ready).await.unwrap();
        (child, family)
    }

    #[tokio::test]
    async fn nothing_survives_not_even_what_left_the_group() {
        let script = "trap '' TERM; setsid sh -c 'trap \"\" TERM; sleep 600' & sleep 600 & echo ready; wait";
        let (mut child, family) = shell(script, "test-1").await;
        assert!(family.survivors().unwrap().len() > 1);
        family.extinguish(|_| {}).await;
        assert!(child.wait().await.unwrap().code().is_none());
        assert!(family.survivors().unwrap().is_empty());
    }

    #[tokio::test]
    async fn r10_a_leader_that_died_by_itself_keeps_its_id_until_its_family_is_dead() {
        let (mut child, family) = shell("setsid sleep 600 & sleep 600 & echo ready", "test-2").await;
        family.leader_ended().await;
        let leader = process(family.leader.id).unwrap();
        assert!(leader.dead && leader.is(&family.leader));
        assert_eq!(family.survivors().unwrap().len(), 2);
        family.extinguish(|_| {}).await;
        assert!(child.wait().await.unwrap().success());
        assert!(process(family.leader.id).is_none_or(|now| !now.is(&family.leader)));
    }

    /// The leader was waited for, and others got its id: they and their group are no family, and are not killed.
    #[tokio::test]
    async fn r10_a_process_that_got_the_id_of_a_dead_one_is_left_alone() {
        let (mut child, family) = shell("sleep 600 & echo ready; wait", "test-3").await;
        let earlier = Process { start: family.leader.start - 1, ..family.leader.clone() };
        assert!(earlier.handle().is_none());
        earlier.signal(Signal::KILL);
        let another = Family { leader: earlier, marker: "test-none".to_owned() };
        assert_eq!(another.survivors().unwrap().len(), 0);
        another.leader_ended().await;
        another.extinguish(|_| {}).await;
        assert_eq!(family.survivors().unwrap().len(), 2);
        assert!(child.try_wait().unwrap().is_none());
        family.extinguish(|_| {}).await;
        let _ = child.wait().await;
    }

    #[test]
    fn names_do_not_confuse_and_a_zombie_with_threads_lives() {
        let stat = |state: &str, threads: u32| {
            format!("7 (a) Z 9 (b)) {state} 2 3 0 0 -1 0 0 0 0 0 0 0 0 0 20 0 {threads} 0 4711 0")
        };
        let seen = |state, threads| parse(7, &stat(state, threads)).unwrap();
        let one = seen("S", 1);
        assert_eq!((one.parent, one.group, one.start, one.dead), (2, 3, 4711, false));
        assert!(seen("Z", 1).dead && !seen("Z", 2).dead && seen("X", 0).dead);
    }
}
