//! The `tutti` program.
//!
//! Data goes to standard output, everything else to standard error. Exit status: see [`watch::exit_status`]; 1 for any
//! error, 64 for a wrong command line, 141 when standard output was closed.

#![warn(clippy::print_stdout, clippy::print_stderr)]

#[macro_use]
mod out;

mod args;
mod client;
mod compose;
mod config_command;
mod connect;
mod createrepo;
mod dropin;
mod embedded;
mod fsck;
mod progress;
mod records;
mod report;
mod serve;
mod spec;
mod watch;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use tutti_controller::run::RunError;
use tutti_telemetry::{LogFormat, TelemetryOptions};

use args::{Cli, Command, Global};

/// Permission bits that new files and directories do not get: the same tree comes out whoever composes it.
const UMASK: u32 = 0o022;

fn main() -> ExitCode {
    // The createrepo tools keep the caller's umask, as people expect of them.
    if let Some(status) = dropin::main_if_called() {
        return status;
    }
    // Before any thread runs: it holds for the whole process, and for the jobs that a worker starts.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(UMASK));
    // The child of a worker: no runtime, no telemetry, nothing between it and its job.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == "run-job") {
        return tutti_worker::child::main(&tutti_worker::runners::ALL);
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 64 } else { 0 });
        }
    };
    let command = match cli.command {
        Command::Createrepo(args) => return ended(createrepo::run(*args)),
        Command::Records(command) => return ended(records::run(command)),
        command => command,
    };
    let cli = Cli { command, global: cli.global };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            errln!("error: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(Box::pin(run(cli)));
    // A client that is cut off must not keep the program from ending.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    ended(result)
}

fn ended(result: Result<u8>) -> ExitCode {
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) if out::is_closed(&error) => ExitCode::from(out::CLOSED),
        Err(error) => {
            errln!("error: {}", text(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error with its causes, each once, and hints last, a line each.
fn text(error: &anyhow::Error) -> String {
    let (mut text, mut hints) = (String::new(), String::new());
    for cause in error.chain() {
        let line = match cause.downcast_ref::<tonic::Status>() {
            Some(status) => status.message().to_owned(),
            None => cause.to_string(),
        };
        let (line, hint) = match line.split_once("\nhint: ") {
            Some((line, hint)) => (line.to_owned(), format!("\nhint: {hint}")),
            None => (line, String::new()),
        };
        hints += &hint;
        if !text.ends_with(&line) {
            text += if text.is_empty() { "" } else { ": " };
            text += &line;
        }
    }
    text += &hints;
    let hint = tutti_files::hint_of(error.as_ref()).or_else(|| hint_of_store(error));
    if let Some(hint) = hint.filter(|_| !text.contains("hint: ")) {
        text += &format!("\nhint: {hint}");
    }
    text
}

/// The store says of its file only what went wrong.
fn hint_of_store(error: &anyhow::Error) -> Option<&'static str> {
    let open = error.chain().any(|cause| matches!(cause.downcast_ref(), Some(RunError::Open { .. })));
    open.then_some("look at that directory (owner, mode, df -h) and at the kernel's log of this host")
}

async fn run(cli: Cli) -> Result<u8> {
    let _telemetry = telemetry(&cli.global, &cli.command)?;
    match cli.command {
        Command::Compose(args) => compose::run(args).await,
        Command::Controller(args) => serve::controller(args).await,
        Command::Worker(args) => serve::worker(args).await,
        Command::Submit(args) => client::submit(args).await,
        Command::List(args) => client::list(args).await,
        Command::Show(args) => client::show(args).await,
        Command::Watch(args) => client::watch(args).await,
        Command::Logs(args) => client::logs(args).await,
        Command::Cancel(args) => client::cancel(args).await,
        Command::Retry(args) => client::retry(args).await,
        Command::Why(args) => client::why(args).await,
        Command::Fsck(args) => fsck::run(args).await,
        Command::Drain(args) => client::drain(args).await,
        Command::Config(command) => config_command::run(command),
        // Handled before the runtime starts.
        Command::Createrepo(_) | Command::Records(_) | Command::RunJob => Ok(1),
    }
}

fn telemetry(global: &Global, command: &Command) -> Result<tutti_telemetry::Guard> {
    // Daemons say what happens; commands only what must not be missed.
    let default = match command {
        Command::Controller(_) | Command::Worker(_) => "info",
        // What composes wait for and what ends badly is said in words for people.
        Command::Compose(_) | Command::Retry(_) => "error,tutti_controller::engine::actor=off,tutti_worker::worker=off",
        _ => "error",
    };
    Ok(tutti_telemetry::init(&TelemetryOptions {
        log_filter: global.log.clone().unwrap_or_else(|| default.to_owned()),
        format: if global.log_json { LogFormat::Json } else { LogFormat::Text },
        otlp_endpoint: global.otlp.clone(),
        service_name: "tutti".to_owned(),
    })?)
}

#[cfg(test)]
mod tests {
    #[test]
    fn hints_come_last_and_causes_once() {
        let error = anyhow::anyhow!("no such file").context("no such file").context("cannot look\nhint: look again");
        assert_eq!(super::text(&error), "cannot look: no such file\nhint: look again");
    }
}
