//! The job that reads all packages is killed, or fails: the next attempt reads only what is left.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tutti_integration_tests::{
    compose::{Compose, Run, jobs},
    program::{LIMIT, has_tool, kill_group, run, spawn, tutti},
    scratch::{Scratch, read, write},
    sources, tree,
};

const PKGSET: &str = "pkgset.repos";
const ID: &str = "Demo-1-20260102.0";

fn fixed() -> Run {
    Run::default().with(&["--compose-id", ID, "--date", "20260102"]).env("SOURCE_DATE_EPOCH", "1767312000")
}

/// Composes until package 10 has its checkpoint, and kills the program and its children there and then.
fn killed_at_a_checkpoint(scratch: &Scratch, config: &Path) -> Compose {
    let never = scratch.join("never");
    let points = format!("pkgset.checkpoint.due=error@10;pkgset.checkpoint.made=pause-file({})", never.display());
    let target = scratch.join("killed");
    let mut child = spawn(&mut fixed().env("TUTTI_FAILPOINTS", &points).command(config, &target));
    let deadline = Instant::now() + LIMIT;
    let top = target.join(ID);
    while checkpoints(&top).is_empty() {
        assert!(Instant::now() < deadline && child.try_wait().unwrap().is_none(), "no checkpoint in {}", top.display());
        std::thread::sleep(Duration::from_millis(20));
    }
    kill_group(child.id());
    child.wait().unwrap();
    Compose::open(&top)
}

/// Sealed checkpoints of all attempts.
fn checkpoints(top: &Path) -> Vec<PathBuf> {
    let staging = fs::read_dir(top.join("work/tutti/staging")).into_iter().flatten().map_while(Result::ok);
    let files = staging.filter_map(|item| fs::read_dir(item.path().join("checkpoints")).ok()).flatten();
    let sealed = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("records-"))
            && path.extension().is_none()
    };
    files.map_while(Result::ok).map(|item| item.path()).filter(sealed).collect()
}

/// The counters of the last attempt, and how many there were.
fn counters(compose: &Compose) -> (usize, impl Fn(&str) -> u64) {
    let attempts: Vec<Value> = jobs(&compose.show())[PKGSET]["attempts"].as_array().cloned().unwrap();
    let last = attempts.last().unwrap().clone();
    (attempts.len(), move |name: &str| last["counters"][name].as_u64().unwrap_or(0))
}

/// Staging directories of attempts: all but that of the worker itself.
fn staged(compose: &Compose) -> Vec<String> {
    let items = fs::read_dir(compose.directory().join("work/tutti/staging")).unwrap();
    items.map(|item| item.unwrap().file_name().into_string().unwrap()).filter(|name| name != "worker").collect()
}

fn same_as_undisturbed(scratch: &Scratch, config: &Path, compose: &Compose) {
    assert_eq!(compose.status(), "FINISHED");
    assert_eq!(staged(compose), Vec::<String>::new());
    let (whole, _) = fixed().compose(config, &scratch.join("whole"), 0);
    let differences = tree::differences(&whole.tree(""), &compose.tree(""));
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert_eq!(staged(&whole), Vec::<String>::new());
}

fn again(compose: &Compose, command: &str, further: &[&str]) {
    let mut command = tutti([command, "--target-dir"]);
    command.arg(compose.target()).args(further);
    let _ = run(command).expect(0);
}

#[test]
fn r2_a_killed_package_set_reads_only_the_rest() {
    let scratch = Scratch::new("resumed-pkgset");
    let config = sources::demo(&scratch.join("demo"));
    let compose = killed_at_a_checkpoint(&scratch, &config);
    again(&compose, "compose", &["--resume", ID]);
    let (attempts, count) = counters(&compose);
    assert_eq!((attempts, count("rpm_files_taken_over")), (2, 10));
    assert!(count("rpm_files") > 0, "there was a rest");
    let log = compose.log(PKGSET);
    assert!(log.contains("10 of ") && log.contains(" packages were taken over from earlier attempts"), "{log}");
    assert!(!log.contains("not used"), "{log}");
    same_as_undisturbed(&scratch, &config, &compose);
}

#[test]
fn r2_a_package_set_that_failed_is_retried_without_reading_all_again() {
    let scratch = Scratch::new("retried-pkgset");
    let config = sources::demo(&scratch.join("demo"));
    let repository = scratch.join("demo/repos/x86_64");
    let mut files: Vec<PathBuf> = fs::read_dir(repository).unwrap().map(|item| item.unwrap().path()).collect();
    files.sort();
    let last = files.last().unwrap();
    let (whole, modified) = (fs::read(last).unwrap(), fs::metadata(last).unwrap().modified().unwrap());
    fs::write(last, &whole[..whole.len() - 1]).unwrap();
    let (compose, _) = fixed().compose(&config, &scratch.join("failed"), 1);
    assert_eq!((compose.status().as_str(), checkpoints(compose.directory()).len()), ("DOOMED", 1));
    fs::write(last, whole).unwrap();
    fs::File::options().write(true).open(last).unwrap().set_modified(modified).unwrap();
    again(&compose, "retry", &[ID]);
    let (attempts, count) = counters(&compose);
    assert!(attempts == 2 && count("rpm_files_taken_over") > 0, "{attempts}");
    same_as_undisturbed(&scratch, &config, &compose);
}

/// Python's own web server on a free port, killed when dropped.
struct Server(Child, u16);

const SERVE: &str = "import http.server, sys, functools
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[1])
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
print(server.server_address[1], flush=True)
server.serve_forever()";

impl Drop for Server {
    fn drop(&mut self) {
        kill_group(self.0.id());
        let _ = self.0.wait();
    }
}

fn serve(directory: &Path) -> Server {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new("python3");
    command.args(["-c", SERVE]).arg(directory).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    Server(child, line.trim().parse().unwrap())
}

#[test]
fn r2_downloads_of_a_killed_package_set_are_taken_over() {
    if !has_tool("createrepo_c") {
        return;
    }
    let scratch = Scratch::new("resumed-http");
    let config = sources::demo(&scratch.join("demo"));
    for repository in ["x86_64", "aarch64", "source"] {
        let mut command = Command::new("createrepo_c");
        command.args(["-q", "--no-database"]).arg(scratch.join("demo/repos").join(repository));
        let _ = run(command).expect(0);
    }
    let server = serve(&scratch.join("demo"));
    let remote = config.with_file_name("remote.conf");
    write(&remote, read(&config).replace("\"repos/", &format!("\"http://127.0.0.1:{}/repos/", server.1)));
    let compose = killed_at_a_checkpoint(&scratch, &remote);
    again(&compose, "compose", &["--resume", ID]);
    let (attempts, count) = counters(&compose);
    assert_eq!((attempts, count("download_bytes"), count("rpm_files_taken_over")), (2, 0, 10));
    assert_eq!(count("downloads_taken_over"), count("rpm_files") + 10, "all of them");
    same_as_undisturbed(&scratch, &remote, &compose);
}
