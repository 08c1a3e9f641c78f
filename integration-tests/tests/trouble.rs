//! Bar R15: disks that are full, read-only or denied, with the real program, on small file systems of the test's own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests, outside of test functions")]

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tutti_integration_tests::{
    compose::{Compose, Run, jobs, verify_records},
    farm::{Farm, watch},
    program::{Ended, LIMIT, run, tutti},
    scratch::{Scratch, read, write},
    skip::skipped,
    sources::Tiny,
    stream::{Live, text},
};

const JOB: &str = "createrepo.Server.x86_64";
const ROOM: &str = "TUTTI_TEST_ROOM";

/// Runs the test `name` of this file again in a mount namespace, where `mount DIR` may be called. False in there.
fn outside(name: &str) -> bool {
    if std::env::var_os(ROOM).is_some() {
        return false;
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private"]);
    // Root without the right to pass by modes: what a service's own user is.
    command.args(["setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-all"]);
    command.arg(std::env::current_exe().unwrap()).args(["--exact", name, "--nocapture"]).env(ROOM, "1");
    let probe = Command::new("unshare").args(["--mount", "setpriv", "--dump"]).output();
    if !probe.as_ref().is_ok_and(|output| output.status.success()) {
        skipped(&format!("no right to mount here (unshare --mount): {probe:?}"));
        return true;
    }
    let ended = tutti_integration_tests::program::run_within(command, LIMIT);
    assert_eq!(ended.status, 0, "{}", ended.text());
    assert!(ended.stdout.contains("1 passed"), "{}", ended.text());
    print!("{}", ended.stdout);
    true
}

/// A file system of that size.
fn mount(directory: &Path, size: &str) {
    fs::create_dir_all(directory).unwrap();
    let options = format!("size={size},mode=0755");
    let status = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tutti"]).arg(directory).status();
    assert!(status.unwrap().success(), "cannot mount {}", directory.display());
}

/// Remounts, as soon as nobody has a file open for writing.
fn remount(directory: &Path, how: &str) {
    until("remount", || {
        let output = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(directory).output().unwrap();
        output.status.success().then_some(())
    });
}

/// Fills a file system to its last block.
fn fill(directory: &Path) -> PathBuf {
    let ballast = directory.join("ballast");
    let mut file = fs::File::create(&ballast).unwrap();
    let mut size = 1 << 20;
    while size >= 1 {
        if file.write_all(&vec![7; size]).is_err() {
            size /= 2;
        }
    }
    ballast
}

/// Waits for a state.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn tiny(scratch: &Scratch) -> PathBuf {
    let tiny = Tiny::new(&scratch.join("tiny"));
    // Not below the mounts: links across file systems are copies.
    let tiny = Tiny { config: format!("{}link_type = \"hardlink-or-copy\"\n", tiny.config), ..tiny };
    tiny.write()
}

/// A compose that stands still at `point` until the returned file is there.
fn paused(scratch: &Scratch, config: &Path, target: &Path, point: &str) -> (Live, Compose, PathBuf) {
    let file = scratch.join("go");
    let point = format!("{point}=pause-file({})", file.display());
    let command = Run::default().with(&["--format", "json"]).env("TUTTI_FAILPOINTS", &point);
    let mut live = Live::start(command.command(config, target));
    let started = live.wait_for(LIMIT, |event| text(event, "event") == "started");
    live.wait_for(LIMIT, |event| text(event, "name") == JOB && text(event, "state") == "running");
    let compose = Compose::open(Path::new(text(&started, "compose_dir")));
    (live, compose, file)
}

fn nothing_but(directory: &Path, wanted: &[&str]) {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|item| item.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, wanted);
}

fn refused(ended: Ended, path: &Path, words: &[&str]) {
    let ended = ended.expect(1);
    assert!(ended.stderr.contains(&path.display().to_string()), "{}", ended.text());
    assert!(ended.stderr.contains("hint"), "{}", ended.text());
    assert!(words.iter().any(|word| ended.stderr.contains(word)), "{}", ended.text());
}

/// Before anything is accepted: an error with path and hint, and nothing left behind.
#[test]
fn r15_full_target_accepts_nothing_and_leaves_nothing() {
    if outside("r15_full_target_accepts_nothing_and_leaves_nothing") {
        return;
    }
    let scratch = Scratch::new("r15-accept");
    let config = tiny(&scratch);
    let target = scratch.join("target");
    mount(&target, "32m");
    let ballast = fill(&target);
    refused(Run::default().run(&config, &target), &target, &["no space left", "No space left"]);
    nothing_but(&target, &["ballast"]);
    fs::remove_file(ballast).unwrap();
    let (compose, _) = Run::default().compose(&config, &target, 0);
    assert_eq!(compose.status(), "FINISHED");
}

/// The same for a target that is read-only or denied.
#[test]
fn r15_closed_target_accepts_nothing() {
    if outside("r15_closed_target_accepts_nothing") {
        return;
    }
    let scratch = Scratch::new("r15-closed");
    let config = tiny(&scratch);
    let target = scratch.join("target");
    mount(&target, "32m");
    remount(&target, "ro");
    refused(Run::default().run(&config, &target), &target, &["Read-only file system"]);
    remount(&target, "rw");
    fs::set_permissions(&target, fs::Permissions::from_mode(0o555)).unwrap();
    refused(Run::default().run(&config, &target), &target, &["Permission denied"]);
    nothing_but(&target, &[]);
    fs::set_permissions(&target, fs::Permissions::from_mode(0o755)).unwrap();
    let (compose, _) = Run::default().compose(&config, &target, 0);
    assert_eq!(compose.status(), "FINISHED");
}

/// State, staging, blobs, tree and logs on one full disk: a job meets it, says so, and goes on when there is space.
#[test]
fn r15_full_target_is_waited_for() {
    if outside("r15_full_target_is_waited_for") {
        return;
    }
    let scratch = Scratch::new("r15-full");
    let config = tiny(&scratch);
    let target = scratch.join("target");
    mount(&target, "32m");
    let (mut live, compose, file) = paused(&scratch, &config, &target, &format!("job.run.before[{JOB}]"));
    let ballast = fill(&target);
    write(&file, "");
    // How often it is tried meanwhile is open: the worker too waits for space before it begins another attempt.
    let event = live.wait_for(LIMIT, |event| text(event, "failure_class") == "ENOSPC");
    assert!(text(&event, "reason").contains("No space left"), "{event}");
    assert!(text(&event, "hint").contains("free space"), "{event}");
    assert!(!["failed", "skipped"].contains(&text(&event, "state")), "{event}");
    assert_eq!(compose.status(), "STARTED");
    fs::remove_file(ballast).unwrap();
    let ended = live.finish(LIMIT).expect(0);
    assert!(!ended.stdout.contains("\"failed\":\"1"), "{}", ended.text());
    assert_eq!(compose.status(), "FINISHED");
    tutti_integration_tests::judges::productmd(&compose);
}

/// Nobody can write there: a compose can be looked at all the same, and nothing of it changes.
#[test]
fn r15_a_compose_on_a_closed_volume_can_be_looked_at() {
    if outside("r15_a_compose_on_a_closed_volume_can_be_looked_at") {
        return;
    }
    let scratch = Scratch::new("r15-look");
    let config = tiny(&scratch);
    let target = scratch.join("target");
    mount(&target, "32m");
    // One that is over, and one whose program was killed.
    let (ended, _) = Run::default().compose(&config, &target, 0);
    let (mut live, killed, _) = paused(&scratch, &config, &target, &format!("job.run.before[{JOB}]"));
    let pid = rustix::process::Pid::from_raw(i32::try_from(live.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let _ = live.finish(LIMIT);
    let look = |how: &str| {
        for compose in [&ended, &killed] {
            let ask = |command: &str, further: &[&str]| {
                let mut ask = tutti([command, "--target-dir"]);
                ask.arg(&target).arg(compose.id()).args(further);
                run(ask)
            };
            let before = tutti_integration_tests::tree::list(compose.directory());
            let shown = ask("show", &[]).expect(0);
            assert!(shown.stdout.contains("Status: "), "{how}: {}", shown.text());
            assert_eq!(shown.stdout.contains("nobody works"), compose.id() == killed.id(), "{how}: {}", shown.text());
            let why = ask("why", &["solve.Server.x86_64"]).expect(0);
            assert!(why.stdout.contains("is done"), "{how}: {}", why.text());
            assert!(!ask("logs", &["solve.Server.x86_64"]).expect(0).stdout.is_empty(), "{how}");
            let refused = ask("retry", &[]).expect(1);
            assert!(
                ["Read-only file system", "o space left"].iter().any(|word| refused.stderr.contains(word))
                    && refused.stderr.contains("hint: "),
                "{how}: {}",
                refused.text()
            );
            assert_eq!(tutti_integration_tests::tree::list(compose.directory()), before, "{how}");
        }
    };
    remount(&target, "ro");
    look("read-only");
    remount(&target, "rw");
    let ballast = fill(&target);
    look("full");
    fs::remove_file(ballast).unwrap();
    let mut resume = tutti(["compose", "--target-dir"]);
    resume.arg(&target).args(["--resume", &killed.id()]);
    let _ = run(resume).expect(0);
}

/// With `-q` one line says what is waited for.
#[test]
fn r15_a_full_target_is_waited_for_quietly() {
    if outside("r15_a_full_target_is_waited_for_quietly") {
        return;
    }
    let scratch = Scratch::new("r15-quiet");
    let config = tiny(&scratch);
    let target = scratch.join("target");
    mount(&target, "32m");
    let (go, id) = (scratch.join("go"), "Tiny-1-20260102.0");
    let point = format!("job.run.before[{JOB}]=pause-file({})", go.display());
    let quiet = Run::default().with(&["-q", "--compose-id", id, "--date", "20260102"]).env("TUTTI_FAILPOINTS", &point);
    let command = quiet.command(&config, &target);
    let ended = std::thread::scope(|scope| {
        let ended = scope.spawn(|| run(command));
        let ask = |command: &str, further: &[&str]| {
            let mut ask = tutti([command, "--target-dir"]);
            ask.arg(&target).arg(id).args(further);
            run(ask).stdout
        };
        until("the job runs", || ask("why", &[JOB]).contains("runs on").then_some(()));
        let ballast = fill(&target);
        write(&go, "");
        until("it meets the full disk", || ask("show", &["--format", "json"]).contains("o space left").then_some(()));
        fs::remove_file(ballast).unwrap();
        ended.join().unwrap()
    });
    let ended = ended.expect(0);
    assert!(ended.stderr.contains("o space left"), "{}", ended.text());
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.text());
}

/// Publishing into directories that are full of nothing but read-only: waits, `why` says for what, and goes on.
#[test]
fn r15_read_only_and_denied_volumes_are_waited_for() {
    if outside("r15_read_only_and_denied_volumes_are_waited_for") {
        return;
    }
    let scratch = Scratch::new("r15-publish");
    let config = tiny(&scratch);
    let target = scratch.join("target");
    mount(&target, "32m");
    let go = scratch.join("go");
    // State lies elsewhere, so that nothing is open for writing on the target but logs of running jobs.
    let directory = scratch.join("farm");
    fs::create_dir_all(&directory).unwrap();
    let point = format!("job.run.before[{JOB}]=pause-file({})", go.display());
    let farm = Farm::start_with(&directory, 1, &[("TUTTI_FAILPOINTS", &point)]);
    let submit = |id: &str| {
        let mut command = farm.client_command(&["submit", "--compose-id", id, "--nightly", "--date", "20260102"]);
        command.arg("--config").arg(&config).arg("--target-dir").arg(&target);
        run(command)
    };
    let why = |id: &str, job: &str| farm.client(&["why", id, job]).stdout;

    let id = "Tiny-1-20260102.n.1";
    let _ = submit(id).expect(0);
    let compose = Compose::open(&target.join(id));
    until("the job runs", || why(id, JOB).contains("runs on").then_some(()));
    // Its outputs cannot be moved into the tree.
    let closed = compose.tree("Server/x86_64/os");
    until("the directory is there", || closed.is_dir().then_some(()));
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
    // The modes of the tree are set anew while publishing; the staging directory's are not.
    let staging = compose.directory().join("work/tutti/blobs");
    fs::set_permissions(&staging, fs::Permissions::from_mode(0o555)).unwrap();
    write(&go, "");
    let said = until("why says it", || Some(why(id, JOB)).filter(|text| text.contains("Permission denied")));
    assert!(said.contains("hint: ") && said.contains(&compose.directory().display().to_string()), "{said}");
    assert_eq!(compose.status(), "STARTED");
    fs::set_permissions(&staging, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).unwrap();
    let mut live = watch(&farm, id);
    let _ = live.finish(LIMIT).expect(0);
    assert_eq!(compose.status(), "FINISHED");

    // A second one, whose volume turns read-only while no job runs: no worker is there.
    let id = "Tiny-1-20260102.n.2";
    let mut farm = farm;
    farm.workers.clear();
    let mut command = farm.client_command(&["submit", "--compose-id", id, "--nightly", "--date", "20260102"]);
    command.arg("--config").arg(&config).arg("--target-dir").arg(&target);
    let _ = run(command).expect(0);
    let compose = Compose::open(&target.join(id));
    remount(&target, "ro");
    farm.add_worker("worker-2", &[]);
    let first = "pkgset.repos";
    let said = until("why says it", || {
        let shown = farm.client(&["show", "--format", "json", id]).stdout;
        Some(shown).filter(|text| text.contains("Read-only file system"))
    });
    assert!(said.contains("waits: "), "{first}: {said}");
    assert_eq!(compose.status(), "STARTED");
    let mut command =
        farm.client_command(&["submit", "--compose-id", "Tiny-1-20260102.n.3", "--nightly", "--date", "20260102"]);
    command.arg("--config").arg(&config).arg("--target-dir").arg(&target);
    refused(run(command), &target, &["Read-only file system"]);
    remount(&target, "rw");
    let _ = watch(&farm, id).finish(LIMIT).expect(0);
    assert_eq!(compose.status(), "FINISHED");
}

/// The controller cannot store: new composes are refused, the running one waits, all can be looked at.
#[test]
fn r15_full_state_directory_is_waited_for() {
    if outside("r15_full_state_directory_is_waited_for") {
        return;
    }
    let scratch = Scratch::new("r15-state");
    let config = tiny(&scratch);
    let (target, directory, go) = (scratch.join("target"), scratch.join("farm"), scratch.join("go"));
    fs::create_dir_all(&target).unwrap();
    mount(&directory.join("state"), "4m");
    let point = format!("job.run.before[{JOB}]=pause-file({})", go.display());
    let farm = Farm::start_with(&directory, 1, &[("TUTTI_FAILPOINTS", &point)]);
    let name = |number: usize| format!("Tiny-1-20260102.n.{number}");
    let submit = |number: usize, further: &[&str]| {
        let mut command = farm.client_command(&["submit", "--compose-id", &name(number), "--nightly"]);
        command.args(["--date", "20260102"]).args(further);
        command.arg("--config").arg(&config).arg("--target-dir").arg(&target);
        run(command)
    };
    let id = "Tiny-1-20260102.n.0";
    let _ = submit(0, &[]).expect(0);
    until("the job runs", || farm.client(&["why", id, JOB]).stdout.contains("runs on").then_some(()));
    let ballast = fill(&directory.join("state"));
    // The file has some room of its own, which whole composes fill first, and then such of one job.
    let mut number = 0;
    for further in [&[][..], &["--only", "pkgset.*"]] {
        let ended = until("a submission is refused", || {
            number += 1;
            Some(submit(number, further)).filter(|ended| ended.status != 0)
        });
        refused(ended, &directory.join("state/state.redb"), &["no space left"]);
        assert!(!target.join(name(number)).exists(), "what was refused left a directory");
        number -= 1;
    }
    write(&go, "");
    // Small changes may find room in the file; the first that does not makes all wait.
    until("a compose waits", || {
        let open = |number: &usize| read(target.join(name(*number)).join("STATUS")).trim() != "FINISHED";
        let number = (0..=number).find(open).unwrap_or_else(|| panic!("all ended, and nothing met the full disk"));
        let said = farm.client(&["show", "--format", "json", &name(number)]).expect(0).stdout;
        (said.contains("cannot store anything in") && said.contains("no space left")).then_some(())
    });
    fs::remove_file(ballast).unwrap();
    for number in 0..=number {
        let _ = watch(&farm, &name(number)).finish(LIMIT).expect(0);
        assert_eq!(Compose::open(&target.join(name(number))).status(), "FINISHED");
    }
    let _ = submit(number + 1, &[]).expect(0);
}

/// The worker cannot keep its outcomes: it says so, and delivers them all the same.
#[test]
fn r15_full_worker_state_directory_costs_nothing() {
    if outside("r15_full_worker_state_directory_costs_nothing") {
        return;
    }
    let scratch = Scratch::new("r15-worker");
    let config = tiny(&scratch);
    let (target, directory) = (scratch.join("target"), scratch.join("farm"));
    mount(&directory.join("worker-1"), "1m");
    let farm = Farm::start(&directory, 1);
    let ballast = fill(&directory.join("worker-1"));
    let mut command = farm.client_command(&["submit", "--wait"]);
    command.arg("--config").arg(&config).arg("--target-dir").arg(&target);
    let _ = run(command).expect(0);
    let log = read(directory.join("worker-1.log"));
    assert!(log.contains("failed to journal an outcome") && log.contains("No space left"), "{log}");
    let listed = until("the condition is listed", || {
        Some(farm.client(&["drain"]).expect(0).stdout).filter(|text| text.contains("cannot be kept"))
    });
    assert!(listed.contains("worker-1") && listed.contains("hint"), "{listed}");
    // A worker that begins on a full disk says why it cannot.
    let full = directory.join("full");
    mount(&full, "64k");
    let _ = fill(&full);
    fs::set_permissions(&full, fs::Permissions::from_mode(0o555)).unwrap();
    let mut command = tutti(["worker", "--controller", farm.address(), "--state-dir"]);
    command.arg(full.join("state"));
    refused(run(command), &full, &["Permission denied"]);
    drop(ballast);
}

/// A log that cannot be made costs the log, and nothing else.
#[test]
fn r15_denied_logs_cost_no_job() {
    if outside("r15_denied_logs_cost_no_job") {
        return;
    }
    let scratch = Scratch::new("r15-logs");
    let config = tiny(&scratch);
    let target = scratch.join("target");
    let (mut live, compose, file) = paused(&scratch, &config, &target, &format!("job.run.before[{JOB}]"));
    let logs = compose.directory().join("logs/x86_64");
    fs::set_permissions(&logs, fs::Permissions::from_mode(0o555)).unwrap();
    write(&file, "");
    let _ = live.finish(LIMIT).expect(0);
    assert_eq!(compose.status(), "FINISHED");
    fs::set_permissions(&logs, fs::Permissions::from_mode(0o755)).unwrap();
}

/// What a user gave and the program may not read, or that goes away: the file is named, with a hint.
#[test]
fn r15_inputs_that_cannot_be_read_are_named() {
    if outside("r15_inputs_that_cannot_be_read_are_named") {
        return;
    }
    let scratch = Scratch::new("r15-inputs");
    let tiny = Tiny::new(&scratch.join("tiny"));
    let config = tiny.write();
    let repository = tiny.directory.join("repo");
    fs::set_permissions(&repository, fs::Permissions::from_mode(0o000)).unwrap();
    let ended = Run::default().run(&config, &scratch.join("denied")).expect(1);
    assert!(ended.text().contains(&repository.display().to_string()), "{}", ended.text());
    assert!(ended.text().contains("Permission denied") && ended.text().contains("owner and mode"), "{}", ended.text());
    fs::set_permissions(&repository, fs::Permissions::from_mode(0o755)).unwrap();
    // A package that goes away between being listed and being linked.
    let go = scratch.join("go");
    let point = format!("job.run.before[link.Server.x86_64]=pause-file({})", go.display());
    let command = Run::default().with(&["--format", "json"]).env("TUTTI_FAILPOINTS", &point);
    let mut live = Live::start(command.command(&config, &scratch.join("gone")));
    live.wait_for(LIMIT, |event| text(event, "name") == "link.Server.x86_64" && text(event, "state") == "running");
    let package = repository.join("hello-1.0-1.x86_64.rpm");
    fs::remove_file(&package).unwrap();
    write(&go, "");
    let event =
        live.wait_for(LIMIT, |event| text(event, "name") == "link.Server.x86_64" && text(event, "state") == "failed");
    assert_eq!(text(&event, "failure_class"), "input", "{event}");
    assert!(text(&event, "reason").contains(&package.display().to_string()), "{event}");
    assert!(text(&event, "hint").contains("unchanged"), "{event}");
    let _ = live.finish(LIMIT).expect(1);
}

/// Warnings of the job that reads all packages.
fn warnings(compose: &Compose) -> String {
    jobs(&compose.show())["pkgset.repos"]["warnings"].to_string()
}

/// Composes finish without keeping package records, and say why; nothing is torn, and the next one reads all again.
fn not_kept(run: &Run, config: &Path, target: &Path, records: &Path, cause: &str) {
    let (compose, _) = run.compose(config, target, 0);
    assert_eq!((compose.status().as_str(), compose.counted("rpm_files_known")), ("FINISHED", 0));
    let said = warnings(&compose);
    assert!(said.contains("pkgset.repos") && said.contains(cause), "{said}");
    if records.join("packs").exists() {
        verify_records(records, 0..=0);
    }
    let torn = |name: &String| name.ends_with(".partial");
    let torn: Vec<String> = tutti_integration_tests::tree::list(records).into_keys().filter(torn).collect();
    assert!(torn.is_empty(), "{torn:?}");
}

/// The records are there again: one compose keeps them, the next reads nothing.
fn kept_and_used(run: &Run, config: &Path, target: &Path, records: &Path) {
    let (first, _) = run.compose(config, target, 0);
    assert!(first.counted("rpm_files") > 0 && warnings(&first) == "[]", "{}", warnings(&first));
    verify_records(records, 1..=1);
    let (second, _) = run.compose(config, target, 0);
    let counted = ["rpm_files", "rpm_read_bytes", "rpm_files_known"].map(|name| second.counted(name));
    assert_eq!(counted, [0, 0, first.counted("rpm_files")]);
}

/// Package records on a full disk of their own: composes go on without, and keep them when there is space.
#[test]
fn r15_full_records_cost_only_a_second_reading() {
    if outside("r15_full_records_cost_only_a_second_reading") {
        return;
    }
    let scratch = Scratch::new("r15-records");
    let (config, target, records) = (tiny(&scratch), scratch.join("target"), scratch.join("records"));
    mount(&records, "1m");
    let run = Run::default().with(&["--records", records.to_str().unwrap()]);
    let ballast = fill(&records);
    not_kept(&run, &config, &target, &records, "No space left");
    // Room for the note of what the compose used, and not for the pack.
    let ballast_file = fs::File::options().write(true).open(&ballast).unwrap();
    ballast_file.set_len(ballast_file.metadata().unwrap().len() - 4096).unwrap();
    not_kept(&run, &config, &target, &records, "No space left");
    fs::remove_file(ballast).unwrap();
    drop(ballast_file);
    kept_and_used(&run, &config, &target, &records);
    // What is there is used on a full disk too.
    let ballast = fill(&records);
    let (compose, _) = run.compose(&config, &target, 0);
    assert!(
        compose.counted("rpm_files") == 0 && warnings(&compose).contains("No space left"),
        "{}",
        warnings(&compose)
    );
    fs::remove_file(ballast).unwrap();
}

/// The same where they are read-only, denied, or no directory.
#[test]
fn r15_read_only_records_cost_only_a_second_reading() {
    if outside("r15_read_only_records_cost_only_a_second_reading") {
        return;
    }
    let scratch = Scratch::new("r15-closed-records");
    let (config, target, records) = (tiny(&scratch), scratch.join("target"), scratch.join("records"));
    mount(&records, "1m");
    let run = Run::default().with(&["--records", records.to_str().unwrap()]);
    remount(&records, "ro");
    not_kept(&run, &config, &target, &records, "Read-only file system");
    remount(&records, "rw");
    fs::set_permissions(&records, fs::Permissions::from_mode(0o555)).unwrap();
    not_kept(&run, &config, &target, &records, "Permission denied");
    fs::set_permissions(&records, fs::Permissions::from_mode(0o755)).unwrap();
    kept_and_used(&run, &config, &target, &records);
    remount(&records, "ro");
    let (compose, _) = run.compose(&config, &target, 0);
    assert!(compose.counted("rpm_files") == 0 && warnings(&compose).contains("Read-only"), "{}", warnings(&compose));
}

/// What may not be read may be whole, and in use.
#[test]
fn r15_gc_leaves_alone_what_it_may_not_read() {
    if outside("r15_gc_leaves_alone_what_it_may_not_read") {
        return;
    }
    let scratch = Scratch::new("r15-gc");
    let (config, target) = (tiny(&scratch), scratch.join("target"));
    let records = target.join(".tutti-records");
    let (first, _) = Run::default().compose(&config, &target, 0);
    assert!(first.counted("rpm_files") > 0);
    let named = |directory: &str, suffix: &str| {
        let paths = fs::read_dir(records.join(directory)).unwrap().map(|entry| entry.unwrap().path());
        let mut paths = paths.filter(|path| path.is_file() && path.display().to_string().ends_with(suffix));
        paths.next().unwrap()
    };
    let gc = || {
        let mut command = tutti(["records", "gc", "--grace", "0"]);
        command.arg(&records);
        // New ones are left alone in any case; ages are in whole seconds.
        let index = fs::metadata(named("packs", ".index")).unwrap();
        let old = UNIX_EPOCH + Duration::from_secs(index.ctime().try_into().unwrap()) + Duration::from_secs(1);
        until("the pack is old", || (SystemTime::now() > old).then_some(()));
        run(command)
    };
    for path in [named("packs", ".records"), named("packs", ".index"), named("uses", "")] {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
        let ended = gc().expect(1);
        assert!(
            ended.text().contains("Permission denied") && ended.stdout.contains("1 packs kept"),
            "{}",
            ended.text()
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    }
    let mut verify = tutti(["records", "verify"]);
    verify.arg(&records);
    let _ = run(verify).expect(0);
    let (second, _) = Run::default().compose(&config, &target, 0);
    assert_eq!(second.counted("rpm_files"), 0, "the pack is gone");
}

/// Sizes of a disk, in KiB, from one where a small repository just fits.
const SIZES: std::ops::Range<usize> = 48..6000;

/// Runs a createrepo tool on a disk that grows until it is large enough: until then it names the file that did not fit,
/// and leaves the disk as it was. Returns how often it failed.
fn on_a_growing_disk(disk: &Path, step: usize, tool: &str, arguments: &[&str], names: &[&Path]) -> usize {
    let before = tutti_integration_tests::tree::list(disk);
    for (failed, size) in SIZES.step_by(step).enumerate() {
        remount(disk, &format!("size={size}k"));
        let mut command = tutti([tool]);
        command.args(arguments);
        let ended = run(command);
        if ended.status == 0 {
            return failed;
        }
        let ended = ended.expect(1);
        assert!(
            ["o space left", "is full"].iter().any(|word| ended.stderr.contains(word)),
            "{size}k: {}",
            ended.text()
        );
        let named = names.iter().any(|name| ended.stderr.contains(&name.display().to_string()));
        assert!(named, "{size}k: {}", ended.text());
        assert_eq!(tutti_integration_tests::tree::list(disk), before, "{size}k: {}", ended.text());
    }
    panic!("{tool} needs more than {SIZES:?} KiB");
}

/// Wherever in its work a createrepo tool meets a full disk: the old repository is as it was, and nothing else is left.
#[test]
fn r15_createrepo_tools_on_a_full_disk_leave_the_old_repository() {
    if outside("r15_createrepo_tools_on_a_full_disk_leave_the_old_repository") {
        return;
    }
    let Some(set) = tutti_integration_tests::skip::shared("rpms") else { return };
    let scratch = Scratch::new("r15-createrepo");
    let packages = set.join("packages/pulp+pulp-fixtures").display().to_string();
    let made = |directory: &Path| {
        fs::create_dir_all(directory).unwrap();
        let mut command = tutti(["createrepo_c", "-q", "-n", "none", "--error-exit-val", "-o"]);
        command.arg(directory).arg(scratch.path());
        let _ = run(command).expect(2);
    };
    let (disk, other) = (scratch.join("disk"), scratch.join("other"));
    let (out, stage) = (disk.display().to_string(), disk.join(".repodata"));
    fs::create_dir(&other).unwrap();
    let mut command = tutti(["createrepo_c", "-q", "-o"]);
    command.arg(&other).arg(&packages);
    let _ = run(command).expect(0);
    let added = scratch.join("added.bin");
    let noise: Vec<u8> =
        (0..300_000u64).map(|number| (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    write(&added, &noise);
    let (file, repodata) = (added.display().to_string(), disk.join("repodata"));
    let (other, target) = (other.display().to_string(), repodata.display().to_string());
    let cases: [(&str, usize, &[&str], &[&Path]); 3] = [
        ("createrepo_c", 12, &["-d", "-o", &out, &packages], &[&stage]),
        ("mergerepo_c", 12, &["-d", "-r", &other, "-o", &out], &[&stage]),
        ("modifyrepo_c", 4, &["--no-compress", &file, &target], &[&added, &repodata]),
    ];
    for (tool, step, arguments, names) in cases {
        mount(&disk, &format!("{}k", SIZES.start));
        made(&disk);
        let failed = on_a_growing_disk(&disk, step, tool, arguments, names);
        println!("{tool}: {failed} sizes were too small");
        assert!(failed > 2, "{tool}");
        assert!(Command::new("umount").arg(&disk).status().unwrap().success());
    }
}
