//! The units of `examples/systemd`: systemd takes them, and Tutti takes the command lines in them.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::Signal;
use tutti_integration_tests::{
    farm::{Process, start},
    program::{LIMIT, clean, has_tool, run, tutti, tutti_path},
    scratch::{Scratch, read, write},
};

fn units() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/systemd")
}

#[test]
fn systemd_finds_nothing_to_complain_about() {
    if !has_tool("systemd-analyze") {
        return;
    }
    let scratch = Scratch::new("units");
    for unit in ["tutti-controller.service", "tutti-worker.service", "tutti-tunnel.service"] {
        let text = read(units().join(unit)).replace("/usr/local/bin/tutti", &tutti_path().to_string_lossy());
        // A program that every machine has, where ssh may be missing.
        write(&scratch.join(unit), text.replace("/usr/bin/ssh", "/bin/true"));
    }
    for unit in ["tutti-controller.service", "tutti-worker.service", "tutti-tunnel.service"] {
        let mut verify = Command::new("systemd-analyze");
        verify.args(["verify", "--man=no"]).arg(scratch.join(unit));
        let ended = run(verify).expect(0);
        assert_eq!(ended.stdout + &ended.stderr, "", "{unit}");
    }
}

/// The command line of a unit, without the program, as systemd would make it.
fn command_line(unit: &str, scratch: &Scratch) -> Vec<String> {
    let text = read(units().join(unit));
    let line = text.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/tutti ")).unwrap();
    let expand = |word: &str| match word {
        "$TUTTI_WORKER_OPTIONS" => vec!["--map".to_owned(), "/mnt/compose=/srv/compose".to_owned()],
        word => vec![
            word.replace("%H", "worker-of-the-unit")
                .replace("${STATE_DIRECTORY}", &scratch.join(unit).to_string_lossy())
                .replace("${RUNTIME_DIRECTORY}", &scratch.join("run").to_string_lossy()),
        ],
    };
    line.split(' ').flat_map(expand).collect()
}

#[test]
fn their_command_lines_work_and_sigterm_ends_them_well() {
    let scratch = Scratch::new("unit-lines");
    std::fs::create_dir(scratch.join("tutti-controller.service")).unwrap();
    std::fs::create_dir(scratch.join("tutti-worker.service")).unwrap();
    let address = format!("unix:{}", scratch.join("run/controller").display());
    let controller = tutti(command_line("tutti-controller.service", &scratch));
    let mut controller: Process = start(controller, scratch.path(), "controller", Some("listening"));
    let mut worker = tutti(command_line("tutti-worker.service", &scratch));
    clean(&mut worker);
    worker.env("TUTTI_CONTROLLER", &address);
    let mut worker = start(worker, scratch.path(), "worker", None);
    let deadline = std::time::Instant::now() + LIMIT;
    loop {
        let listed = run(tutti(["drain", "--controller", &address]));
        if listed.stdout.contains("worker-of-the-unit") {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{}\n{}", listed.text(), read(scratch.join("worker.log")));
    }
    for (name, process) in [("worker", &mut worker), ("controller", &mut controller)] {
        process.signal(Signal::TERM);
        assert_eq!(process.wait(LIMIT), 0, "{name}: {}", read(scratch.join(format!("{name}.log"))));
    }
}
