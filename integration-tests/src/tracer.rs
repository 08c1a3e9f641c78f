//! Faults at the N-th system call of a kind, counted over a whole process tree.
//!
//! strace counts occurrences for each thread apart (6.1: three threads meet `when=2` three times), and its injection of
//! an error replaces the call. Here a call can also be let through and its *reply* lost: what an NFS client shows when it
//! sends a request again that had been done. Numbers and registers are those of x86_64; elsewhere nothing is traced.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    process::Command,
};

use serde::{Deserialize, Serialize};

/// Kinds of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Call {
    /// `link`, `linkat`.
    Link,
    /// `rename`, `renameat`, `renameat2`.
    Rename,
    /// `mkdir`, `mkdirat`.
    Mkdir,
    /// `unlink`, `unlinkat`, `rmdir`.
    Unlink,
    /// `symlink`, `symlinkat`.
    Symlink,
    /// `fsync`, `fdatasync`.
    Sync,
    /// `ftruncate`, `fallocate`.
    Truncate,
    /// `open`, `openat`.
    Open,
    /// `read`, `pread64`.
    Read,
    /// `getdents64`.
    List,
}

impl Call {
    /// All kinds.
    pub const ALL: [Self; 10] = [
        Self::Link,
        Self::Rename,
        Self::Mkdir,
        Self::Unlink,
        Self::Symlink,
        Self::Sync,
        Self::Truncate,
        Self::Open,
        Self::Read,
        Self::List,
    ];

    /// Numbers on x86_64 (arch/x86/entry/syscalls/syscall_64.tbl).
    fn numbers(self) -> &'static [u64] {
        match self {
            Self::Link => &[86, 265],
            Self::Rename => &[82, 264, 316],
            Self::Mkdir => &[83, 258],
            Self::Unlink => &[87, 263, 84],
            Self::Symlink => &[88, 266],
            Self::Sync => &[74, 75],
            Self::Truncate => &[77, 285],
            Self::Open => &[2, 257],
            Self::Read => &[0, 17],
            Self::List => &[217],
        }
    }

    fn of(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|call| call.numbers().contains(&number))
    }
}

/// Whose calls count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Whose {
    /// The program that was started.
    Main,
    /// Its children: jobs.
    Jobs,
}

/// What happens at the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Deed {
    /// The process is killed before it.
    KillBefore,
    /// The process is killed after it.
    KillAfter,
    /// It is done, and reports that it had been done before: EEXIST or ENOENT.
    LoseReply,
    /// It is not done: EIO.
    Eio,
    /// It is not done: ENOSPC.
    Enospc,
    /// It is not done: ESTALE.
    Estale,
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Kind of call.
    pub call: Call,
    /// Of whom.
    pub whose: Whose,
    /// What happens.
    pub deed: Deed,
    /// At which occurrence, from 1; of calls that succeed, for a lost reply.
    pub when: u64,
    /// Only calls on files below this directory; for `Open` and `Read`.
    pub below: Option<PathBuf>,
}

/// What a traced program did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traced {
    /// Its exit status; 128 and more for a signal.
    pub status: i32,
    /// Calls of each kind, by `MAIN/KIND` and `JOBS/KIND`.
    pub calls: BTreeMap<String, u64>,
    /// The fault happened.
    pub hit: bool,
}

impl Traced {
    /// How many calls of a kind there were.
    #[must_use]
    pub fn count(&self, whose: Whose, call: Call) -> u64 {
        self.calls.get(&key(whose, call)).copied().unwrap_or(0)
    }
}

fn key(whose: Whose, call: Call) -> String {
    format!("{whose:?}/{call:?}")
}

/// Whether this machine can do it.
#[must_use]
pub fn possible() -> bool {
    cfg!(all(target_os = "linux", target_arch = "x86_64"))
}

/// Runs a command to the end of all its processes. Call it in a process that has no other children.
///
/// # Errors
/// When it cannot be started or traced.
pub fn trace(command: &[String], fault: Option<&Fault>) -> io::Result<Traced> {
    machine::trace(command, fault)
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
mod machine {
    use super::{Fault, Traced};
    pub(super) fn trace(_: &[String], _: Option<&Fault>) -> std::io::Result<Traced> {
        Err(std::io::Error::other("system calls are traced on x86_64 only"))
    }
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod machine {
    use std::{collections::HashMap, fs, os::unix::fs::FileExt as _};

    use nix::{
        errno::Errno,
        sys::{
            ptrace::{self, Options},
            signal::{Signal, kill},
            wait::{WaitPidFlag, WaitStatus, waitpid},
        },
        unistd::Pid,
    };

    use super::{Call, Command, Deed, Fault, Path, PathBuf, Traced, Whose, io, key};

    /// Entry and exit in `PTRACE_GET_SYSCALL_INFO`.
    const ENTRY: u8 = 1;
    const EXIT: u8 = 2;

    pub(super) fn trace(command: &[String], fault: Option<&Fault>) -> io::Result<Traced> {
        // Stops itself before the program begins, so that nothing of it is missed.
        let mut shell = Command::new("sh");
        let child = shell.args(["-c", "kill -STOP $$; exec \"$@\"", "sh"]).args(command).spawn()?;
        let root = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
        waitpid(root, Some(WaitPidFlag::WUNTRACED))?;
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_EXITKILL;
        ptrace::seize(root, options)?;
        kill(root, Signal::SIGCONT)?;
        let mut tracer =
            Tracer { root, fault, traced: Traced::default(), counted: 0, groups: HashMap::new(), failing: None };
        tracer.run()?;
        Ok(tracer.traced)
    }

    struct Tracer<'a> {
        root: Pid,
        fault: Option<&'a Fault>,
        traced: Traced,
        /// Calls so far that the fault may choose.
        counted: u64,
        /// Process of each thread.
        groups: HashMap<Pid, Pid>,
        /// The thread whose call is being replaced, and by what.
        failing: Option<(Pid, Errno)>,
    }

    impl Tracer<'_> {
        fn run(&mut self) -> io::Result<()> {
            loop {
                let (thread, signal) = match waitpid(None, Some(WaitPidFlag::__WALL)) {
                    Err(Errno::ECHILD) => return Ok(()),
                    Err(Errno::EINTR) => continue,
                    Err(error) => return Err(error.into()),
                    Ok(WaitStatus::Exited(thread, status)) => {
                        self.ended(thread, status);
                        continue;
                    }
                    Ok(WaitStatus::Signaled(thread, signal, _)) => {
                        self.ended(thread, 128 + signal as i32);
                        continue;
                    }
                    Ok(WaitStatus::PtraceSyscall(thread)) => {
                        // A thread that was killed meanwhile is waited for like all others.
                        let _ = self.syscall(thread);
                        (thread, None)
                    }
                    Ok(WaitStatus::PtraceEvent(thread, _, _)) => (thread, None),
                    Ok(WaitStatus::Stopped(thread, signal)) => (thread, Some(signal)),
                    Ok(_) => continue,
                };
                let _ = ptrace::syscall(thread, signal);
            }
        }

        fn ended(&mut self, thread: Pid, status: i32) {
            self.groups.remove(&thread);
            if thread == self.root {
                self.traced.status = status;
            }
        }

        fn syscall(&mut self, thread: Pid) -> nix::Result<()> {
            let mut registers = ptrace::getregs(thread)?;
            let phase = ptrace::syscall_info(thread)?.op;
            if phase == EXIT
                && let Some((_, errno)) = self.failing.take_if(|(failing, _)| *failing == thread)
            {
                registers.rax = (-i64::from(errno as i32)).cast_unsigned();
                return ptrace::setregs(thread, registers);
            }
            let Some(call) = Call::of(registers.orig_rax) else { return Ok(()) };
            let (group, whose) = self.owner(thread);
            if phase == ENTRY {
                *self.traced.calls.entry(key(whose, call)).or_default() += 1;
            }
            let Some(fault) = self.fault.filter(|fault| (fault.call, fault.whose) == (call, whose)) else {
                return Ok(());
            };
            let succeeded = registers.rax.cast_signed() >= 0;
            let counts = match fault.deed {
                Deed::KillBefore | Deed::Eio | Deed::Enospc | Deed::Estale => phase == ENTRY,
                Deed::KillAfter => phase == EXIT,
                Deed::LoseReply => phase == EXIT && succeeded,
            };
            if !counts || !self.concerns(fault, thread, &registers) {
                return Ok(());
            }
            self.counted += 1;
            if self.counted != fault.when {
                return Ok(());
            }
            self.traced.hit = true;
            match fault.deed {
                Deed::KillBefore | Deed::KillAfter => kill(group, Signal::SIGKILL),
                Deed::LoseReply => {
                    let errno = match call {
                        Call::Rename | Call::Unlink => Errno::ENOENT,
                        _ => Errno::EEXIST,
                    };
                    registers.rax = (-i64::from(errno as i32)).cast_unsigned();
                    ptrace::setregs(thread, registers)
                }
                Deed::Eio | Deed::Enospc | Deed::Estale => {
                    let errno = match fault.deed {
                        Deed::Enospc => Errno::ENOSPC,
                        Deed::Estale => Errno::ESTALE,
                        _ => Errno::EIO,
                    };
                    self.failing = Some((thread, errno));
                    // No such call: the kernel does nothing.
                    registers.orig_rax = u64::MAX;
                    ptrace::setregs(thread, registers)
                }
            }
        }

        /// The process of a thread, and whether it is the one that was started.
        fn owner(&mut self, thread: Pid) -> (Pid, Whose) {
            let group = *self.groups.entry(thread).or_insert_with(|| {
                let status = fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
                let line = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
                line.and_then(|text| text.trim().parse().ok()).map_or(thread, Pid::from_raw)
            });
            (group, if group == self.root { Whose::Main } else { Whose::Jobs })
        }

        /// Whether the call is on a file that the fault is for.
        #[expect(clippy::unused_self, reason = "a part of the tracer")]
        fn concerns(&self, fault: &Fault, thread: Pid, registers: &nix::libc::user_regs_struct) -> bool {
            let Some(below) = &fault.below else { return true };
            let path = match fault.call {
                Call::Open => text(thread, if registers.orig_rax == 2 { registers.rdi } else { registers.rsi }),
                _ => fs::read_link(format!("/proc/{thread}/fd/{}", registers.rdi)).ok(),
            };
            path.is_some_and(|path| path.starts_with(below) && path != Path::new(below))
        }
    }

    /// A path in the memory of a thread.
    fn text(thread: Pid, address: u64) -> Option<PathBuf> {
        let memory = fs::File::open(format!("/proc/{thread}/mem")).ok()?;
        let mut bytes = vec![0; 4096];
        // What lies behind the end of a page need not be there.
        let count = (1..=16).rev().find_map(|parts| memory.read_at(&mut bytes[..parts * 256], address).ok())?;
        let end = bytes[..count].iter().position(|byte| *byte == 0)?;
        Some(PathBuf::from(String::from_utf8_lossy(&bytes[..end]).into_owned()))
    }
}
