//! The child process of the session tests: `tutti run-job` with one runner that does what its parameters say.
//!
//! An example and not a program of its own, so that it is built with the tests and shipped with nothing.

#![expect(clippy::panic, reason = "one of the scripts is to panic")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use serde::Deserialize;
use tutti_job::JobKind;
use tutti_worker::{
    Access, FailureClass, JobContext, OrFail as _, Output, RunnerError, RunnerFn, Runners, Shutdown, Worker,
    WorkerConfig,
};

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
enum Script {
    /// Writes its input to its output.
    Copy,
    /// Fails with a hint.
    Fail,
    Panic,
    /// Kills itself.
    Die,
    /// Ends without a result.
    Exit,
    /// Writes what is no message.
    Babble,
    /// Says `waiting` and waits for a file.
    Wait {
        file: PathBuf,
    },
    /// Starts shells that ignore SIGTERM, in sessions of their own too, one of which forked twice and forgot its
    /// environment, and waits for ever.
    Stubborn {
        pids: String,
    },
    /// Says the same for ever.
    Idle,
    /// Writes to a file that it may not write to.
    Escape {
        file: PathBuf,
    },
    /// Hard-links a file into its tree, then tries to write to it.
    Link {
        source: PathBuf,
    },
    /// Opens a TCP connection.
    Connect {
        port: u16,
    },
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "worker", socket, state] => worker(socket, state),
        _ => tutti_worker::child::main(&Runners { find, access }),
    }
}

/// A worker, for the test that kills one.
fn worker(socket: &str, state: &str) -> ExitCode {
    let run = || {
        let config = WorkerConfig::new("w1", socket, state)?;
        let runtime = tokio::runtime::Runtime::new()?;
        runtime.block_on(Worker::run(config, Shutdown::default())).map_err(std::io::Error::other)
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn find(kind: JobKind) -> Result<RunnerFn, RunnerError> {
    match kind {
        JobKind::Checksum => Ok(run),
        _ => Err(RunnerError::tool(format!("no runner for {kind}"))),
    }
}

fn access(context: &JobContext) -> Result<Access, RunnerError> {
    let mut access = Access::default();
    match context.params()? {
        Script::Wait { file } => access.reads.extend(file.parent().map(Path::to_owned)),
        Script::Link { source } => access.hard_links_from.extend(source.parent().map(Path::to_owned)),
        _ => {}
    }
    Ok(access)
}

fn run(context: &JobContext) -> Result<Vec<Output>, RunnerError> {
    tutti_worker::log!(context, "example runs {}", context.spec.params);
    match context.params()? {
        Script::Copy => {
            context.progress.set("copying", 1, 1);
            context.warn("copied only");
            let bytes = context.input_bytes("in")?;
            Ok(vec![context.write_file("out", &bytes)?])
        }
        Script::Fail => Err(RunnerError::input("no such package").with_hint("add it")),
        Script::Panic => panic!("on purpose"),
        Script::Die => {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            wait_for(context, Path::new("/never"))
        }
        Script::Exit => std::process::exit(3),
        Script::Babble => {
            println!("hello");
            wait_for(context, Path::new("/never"))
        }
        Script::Wait { file } => {
            wait_for(context, &file)?;
            Ok(vec![context.write_file("out", b"waited")?])
        }
        Script::Stubborn { pids } => {
            let path = context.scratch()?.join(pids);
            let script = "trap '' TERM; echo $$ > \"$0\"; setsid sh -c 'trap \"\" TERM; echo $$ >> \"$0\"; \
                          while :; do sleep 1; done' \"$0\" & \
                          (setsid env -i /bin/sh -c '(trap \"\" TERM; /bin/sh -c \"trap : HUP; echo \\$\\$ >> $0; \
                          while :; do /bin/sleep 1; done\" & )' \"$0\" &) ; while :; do sleep 1; done";
            let mut shell =
                Command::new("sh").args(["-c", script]).arg(&path).spawn().or_fail(FailureClass::Tool, || "sh")?;
            while fs::read_to_string(&path).unwrap_or_default().lines().count() < 3 {
                std::thread::yield_now();
            }
            context.progress.set("waiting", 0, 0);
            let _ = shell.wait();
            Err(RunnerError::tool("the shell ended"))
        }
        Script::Idle => loop {
            context.progress.set("turning", 1, 2);
            std::thread::sleep(std::time::Duration::from_millis(20));
        },
        Script::Escape { file } => {
            fs::write(&file, b"escaped").or_fail(FailureClass::Tool, || format!("write {}", file.display()))?;
            Ok(vec![context.write_file("out", b"escaped")?])
        }
        Script::Link { source } => link(context, &source),
        Script::Connect { port } => {
            std::net::TcpStream::connect(("127.0.0.1", port)).or_fail(FailureClass::Tool, || "connect")?;
            Ok(vec![context.write_file("out", b"connected")?])
        }
    }
}

fn link(context: &JobContext, source: &Path) -> Result<Vec<Output>, RunnerError> {
    let tree = context.output_tree("tree")?;
    fs::create_dir_all(tree.join("l")).or_fail(FailureClass::Tool, || "make directory")?;
    fs::hard_link(source, tree.join("l/linked")).or_fail(FailureClass::Tool, || "link")?;
    std::os::unix::fs::symlink("linked", tree.join("l/soft")).or_fail(FailureClass::Tool, || "symlink")?;
    context.place_copy(source, &tree.join("l/copied"))?;
    for path in [tree.join("l/linked"), source.to_owned()] {
        if fs::OpenOptions::new().append(true).open(&path).is_ok() {
            return Err(RunnerError::tool(format!("{} can be written to", path.display())));
        }
    }
    let manifest = context.scan_tree(&tree)?;
    Ok(vec![context.finish_tree("tree", &manifest)?])
}

fn wait_for(context: &JobContext, file: &Path) -> Result<Vec<Output>, RunnerError> {
    let mut turns = 0;
    while !file.exists() {
        context.progress.set("waiting", turns, 0);
        turns += 1;
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    Ok(Vec::new())
}
