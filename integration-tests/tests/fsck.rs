//! `tutti fsck` finds each damage, says where it is and what to do, and finds nothing in a compose that is whole.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tutti_integration_tests::{
    compose::{Compose, Run},
    farm::{self, Farm},
    program::{Ended, LIMIT, run, tutti},
    scratch::{Scratch, write},
    sources::{self, Tiny},
    stream::{Live, text},
    tree,
};

const PACKAGE: &str = "compose/Server/x86_64/os/Packages/hello-1.0-1.x86_64.rpm";
const REPODATA: &str = "compose/Server/x86_64/os/repodata";

fn fsck(compose: &Compose, further: &[&str]) -> Ended {
    let mut command = tutti(["fsck", "--target-dir"]);
    command.arg(compose.target()).arg(compose.id()).args(further);
    run(command)
}

fn json(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap()
}

/// Findings as `severity path [job] what`.
fn findings(compose: &Compose, further: &[&str]) -> Vec<String> {
    let mut arguments = vec!["--format", "json"];
    arguments.extend(further);
    let ended = fsck(compose, &arguments);
    let report = json(&ended);
    let lines: Vec<String> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| {
            assert!(!text(finding, "advice").is_empty(), "no advice: {finding}");
            let (severity, path, job) = (text(finding, "severity"), text(finding, "path"), text(finding, "job"));
            format!("{severity} {path} [{job}] {}", text(finding, "what"))
        })
        .collect();
    let wrong = lines.iter().any(|line| !line.starts_with("note "));
    assert_eq!(ended.status, i32::from(wrong), "{}", ended.text());
    lines
}

fn whole(compose: &Compose) {
    for further in [[].as_slice(), &["--checksums"]] {
        assert_eq!(findings(compose, further), Vec::<String>::new(), "{further:?}");
    }
}

fn copy(from: &Path, to: &Path) {
    let mut command = std::process::Command::new("cp");
    command.arg("-a").arg(from).arg(to);
    let _ = run(command).expect(0);
}

fn set_mtime(path: &Path, seconds: u64) {
    let file = fs::File::options().append(true).open(path).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
}

/// Changes one byte and keeps size and mtime.
fn flip(path: &Path) {
    let before = fs::metadata(path).unwrap().modified().unwrap();
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
    fs::File::options().append(true).open(path).unwrap().set_modified(before).unwrap();
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The largest blob that is no JSON: a package set's records or universe.
fn blob(top: &Path) -> PathBuf {
    let blobs = top.join("work/tutti/blobs");
    let mut found: Vec<(u64, String)> = tree::list(&blobs)
        .into_iter()
        .filter(|(path, (kind, _))| *kind == 'f' && !fs::read(blobs.join(path)).unwrap().starts_with(b"{"))
        .map(|(path, (_, size))| (size, path))
        .collect();
    found.sort();
    blobs.join(&found.last().unwrap().1)
}

/// One way to damage a compose: what is done, whether contents must be read to see it, and what must be said, a part for each finding.
struct Damage {
    does: fn(&Path),
    contents: bool,
    says: &'static [&'static str],
}

const fn damage(does: fn(&Path), says: &'static [&'static str]) -> Damage {
    Damage { does, contents: false, says }
}

const DAMAGES: &[Damage] = &[
    damage(
        |top| fs::remove_file(top.join(PACKAGE)).unwrap(),
        &["error compose/Server/x86_64/os/Packages/hello-1.0-1.x86_64.rpm [link.Server.x86_64] is missing"],
    ),
    damage(
        |top| fs::write(top.join(PACKAGE), "short").unwrap(),
        &["hello-1.0-1.x86_64.rpm [link.Server.x86_64] has 5 bytes, the package set had"],
    ),
    damage(|top| set_mtime(&top.join(PACKAGE), 5), &["hello-1.0-1.x86_64.rpm [link.Server.x86_64] has mtime 5"]),
    Damage {
        does: |top| flip(&top.join(PACKAGE)),
        contents: true,
        says: &["hello-1.0-1.x86_64.rpm [link.Server.x86_64] has other contents: sha256"],
    },
    Damage {
        does: |top| flip(&top.join(REPODATA).join("repomd.xml")),
        contents: true,
        says: &["repodata/repomd.xml [createrepo.Server.x86_64] has other contents: sha256"],
    },
    damage(
        |top| chmod(&top.join(REPODATA).join("repomd.xml"), 0o600),
        &["repodata/repomd.xml [createrepo.Server.x86_64] has mode 0600, the job made it with 0644"],
    ),
    damage(|top| chmod(&top.join(REPODATA), 0o700), &["warning compose/Server/x86_64/os/repodata [] has mode 0700"]),
    damage(
        |top| write(&top.join(REPODATA).join("old/x"), ""),
        &["warning compose/Server/x86_64/os/repodata/old [createrepo.Server.x86_64] was made by no job, with 1 more"],
    ),
    damage(
        |top| {
            fs::remove_file(top.join(PACKAGE)).unwrap();
            symlink("/etc/hostname", top.join(PACKAGE)).unwrap();
        },
        &["hello-1.0-1.x86_64.rpm [link.Server.x86_64] is a symbolic link to /etc/hostname, not a package"],
    ),
    damage(
        |top| fs::rename(top.join(REPODATA), top.join("repodata-away")).unwrap(),
        &["error compose/Server/x86_64/os/repodata [createrepo.Server.x86_64] is missing, with 5 files in it"],
    ),
    damage(|top| fs::remove_dir_all(top.join("compose")).unwrap(), &["error compose [] is missing, with "]),
    damage(
        |top| fs::write(top.join("STATUS"), "STARTED\n").unwrap(),
        &["error STATUS [] says \"STARTED\", the state says FINISHED"],
    ),
    damage(|top| fs::remove_file(top.join("STATUS")).unwrap(), &["error STATUS [] is missing"]),
    damage(|top| fs::remove_file(top.join("COMPOSE_ID")).unwrap(), &["error COMPOSE_ID [] is missing"]),
    damage(|top| fs::remove_file(blob(top)).unwrap(), &["[pkgset.repos] is missing"]),
    Damage { does: |top| flip(&blob(top)), contents: true, says: &["[pkgset.repos] has other contents: sha256"] },
    damage(
        |top| fs::remove_dir_all(top.join("work/tutti/blobs")).unwrap(),
        &["is the compose's spec and is missing", "is the compose's plan and is missing"],
    ),
    damage(
        |top| fs::create_dir(top.join("work/tutti/staging/j0-a1-00000000000000ff")).unwrap(),
        &[
            "warning work/tutti/staging/j0-a1-00000000000000ff [pkgset.repos] was left behind by attempt 1, which is over",
        ],
    ),
    damage(
        |top| fs::remove_file(top.join("work/tutti/state.redb")).unwrap(),
        &["error work/tutti/state.redb [] is missing, so nothing is known"],
    ),
    damage(
        |top| fs::write(top.join("work/tutti/state.redb"), "no database").unwrap(),
        &["work/tutti/state.redb [] cannot be used: "],
    ),
    damage(
        |top| {
            let link = top.parent().unwrap().join("latest-Tiny-1");
            fs::remove_file(&link).unwrap();
            symlink("Tiny-1-20260101.0", link).unwrap();
        },
        &["latest-Tiny-1 [] leads to Tiny-1-20260101.0, which is not there"],
    ),
    damage(|top| lead(top, "/etc"), &["latest-Tiny-1 [] leads to /etc, which is no compose of this directory"]),
    damage(|top| lead(top, "../tiny"), &["latest-Tiny-1 [] leads to ../tiny, which is no compose of this directory"]),
    damage(
        |top| fs::remove_dir_all(top.join("logs")).unwrap(),
        &["warning logs [] is without the logs of ", "warning logs/global [] is without the history of the compose"],
    ),
    damage(
        |top| fs::remove_file(top.join("logs/x86_64/link-Server.x86_64.log")).unwrap(),
        &["warning logs [] is without the logs of 1 of "],
    ),
];

/// Lets the latest link lead elsewhere.
fn lead(top: &Path, to: &str) {
    let link = top.parent().unwrap().join("latest-Tiny-1");
    fs::remove_file(&link).unwrap();
    symlink(to, link).unwrap();
}

/// Each damage gives the findings that it must, and no other.
#[test]
fn finds_each_damage_and_nothing_else() {
    let scratch = Scratch::new("fsck-damage");
    let tiny = Tiny::new(&scratch.join("tiny")).write();
    let (compose, _) = Run::default().compose(&tiny, &scratch.join("composes"), 0);
    whole(&compose);
    let good = scratch.join("good");
    copy(compose.target(), &good);
    for damage in DAMAGES {
        (damage.does)(compose.directory());
        if damage.contents {
            assert_eq!(findings(&compose, &[]), Vec::<String>::new(), "{:?} is seen without reading", damage.says);
        }
        let found = findings(&compose, if damage.contents { &["--checksums"] } else { &[] });
        let all = found.join("\n");
        for part in damage.says {
            assert!(all.contains(part), "no {part:?} in\n{all}");
        }
        assert_eq!(found.len(), damage.says.len(), "{:?}:\n{all}", damage.says);
        fs::remove_dir_all(compose.target()).unwrap();
        copy(&good, compose.target());
    }
    // As people read it.
    fs::remove_file(compose.directory().join(PACKAGE)).unwrap();
    let ended = fsck(&compose, &[]).expect(1);
    assert!(ended.stdout.contains("\n  what to do: if ") && ended.stdout.contains("/tiny/repo/"), "{}", ended.text());
    assert!(ended.stdout.contains("(FINISHED): 1 finding; "), "{}", ended.text());
}

/// What is written after that is no damage.
#[test]
fn finds_logs_that_were_removed_while_the_compose_ran() {
    let scratch = Scratch::new("fsck-logs");
    let tiny = Tiny::new(&scratch.join("tiny")).write();
    let point = format!("job.run.before[createrepo.Server.x86_64]=pause-file({})", scratch.join("go").display());
    let command = Run::default().with(&["--format", "json"]).env("TUTTI_FAILPOINTS", &point);
    let mut live = Live::start(command.command(&tiny, &scratch.join("composes")));
    let started = live.wait_for(LIMIT, |event| text(event, "event") == "started");
    live.wait_for(LIMIT, |event| {
        text(event, "name") == "createrepo.Server.x86_64" && text(event, "state") == "running"
    });
    let compose = Compose::open(Path::new(text(&started, "compose_dir")));
    let logs = compose.directory().join("logs");
    // Its program may write another one meanwhile.
    while fs::remove_dir_all(&logs).is_err_and(|error| error.kind() == ErrorKind::DirectoryNotEmpty) {}
    write(&scratch.join("go"), "");
    assert_eq!(live.finish(LIMIT).status, 0);
    let found = findings(&compose, &["--checksums"]);
    assert!(found.len() == 1 && found[0].starts_with("warning logs [] is without the logs of "), "{found:?}");
    let history = tree::list(&compose.directory().join("logs/global"));
    assert!(history.keys().any(|name| name.contains("history.")), "no history any more: {history:?}");
}

/// A package that was edited through the repository is the same file in the tree.
#[test]
fn finds_a_package_that_was_edited_behind_its_back() {
    let scratch = Scratch::new("fsck-edited");
    let tiny = Tiny::new(&scratch.join("tiny")).write();
    let (compose, _) = Run::default().compose(&tiny, &scratch.join("composes"), 0);
    flip(&scratch.join("tiny/repo/hello-1.0-1.x86_64.rpm"));
    let found = findings(&compose, &["--checksums"]);
    assert!(found.len() == 1 && found[0].contains("[link.Server.x86_64] has other contents"), "{found:?}");
}

#[test]
fn finds_nothing_in_doomed_retried_cancelled_and_resumed_composes() {
    let scratch = Scratch::new("fsck-ends");
    let config = sources::demo(&scratch.join("demo"));
    let point = "job.run.before[createrepo.Server.x86_64]=error";
    let (doomed, _) = Run::default().env("TUTTI_FAILPOINTS", point).compose(&config, &scratch.join("doomed"), 1);
    assert_eq!(doomed.status(), "DOOMED");
    whole(&doomed);
    let mut retry = tutti(["retry", "--target-dir"]);
    retry.arg(doomed.target()).arg(doomed.id());
    let _ = run(retry).expect(0);
    whole(&doomed);

    for (name, signal, status) in [("killed", Signal::KILL, "STARTED"), ("cancelled", Signal::INT, "TERMINATED")] {
        let paused =
            format!("job.run.before[createrepo.Everything.x86_64]=pause-file({})", scratch.join("never").display());
        let command = Run::default().with(&["--format", "json"]).env("TUTTI_FAILPOINTS", &paused);
        let mut live = Live::start(command.command(&config, &scratch.join(name)));
        let started = live.wait_for(LIMIT, |event| text(event, "event") == "started");
        live.wait_for(LIMIT, |event| {
            text(event, "name") == "createrepo.Everything.x86_64" && text(event, "state") == "running"
        });
        let compose = Compose::open(Path::new(text(&started, "compose_dir")));
        // While it runs, its controller is asked.
        let ended = fsck(&compose, &["--format", "json"]).expect(0);
        assert_eq!(json(&ended)["running"], true, "{}", ended.text());
        assert!(ended.stdout.contains("works on this compose now"), "{}", ended.text());
        kill_process(Pid::from_raw(i32::try_from(live.id()).unwrap()).unwrap(), signal).unwrap();
        let _ = live.finish(LIMIT);
        assert_eq!(compose.status(), status);
        if signal == Signal::INT {
            whole(&compose);
            continue;
        }
        // Dead: a note says so, and what goes on with it.
        let found = findings(&compose, &[]);
        assert!(found.iter().any(|line| line.contains("its program ended before the compose did")), "{found:?}");
        let mut resume = tutti(["compose", "--target-dir"]);
        resume.arg(compose.target()).args(["--resume", &compose.id()]);
        let _ = run(resume).expect(0);
        whole(&compose);
    }
}

/// Of a controller: asked while it runs, read from its state directory when it does not.
#[test]
fn asks_a_controller_and_reads_the_state_of_a_dead_one() {
    let scratch = Scratch::new("fsck-farm");
    let config = sources::demo(&scratch.join("demo"));
    let farm = Farm::start(scratch.path(), 1);
    let mut submit = farm.client_command(&["submit", "--wait", "--format", "json"]);
    submit.arg("--config").arg(&config).arg("--target-dir").arg(scratch.join("composes"));
    let events = tutti_integration_tests::stream::parse(&farm::to_end(submit).expect(0).stdout);
    let id = text(events.last().unwrap(), "compose_id").to_owned();
    let compose = Compose::open(Path::new(text(events.last().unwrap(), "compose_dir")));
    let good = farm.client(&["fsck", "--checksums", "--format", "json", &id]).expect(0);
    assert_eq!(json(&good)["findings"], Value::Array(vec![]), "{}", good.text());
    assert!(json(&good)["bytes_read"].as_u64().unwrap() > 0);
    let repodata = compose.tree("Server/x86_64/os/repodata/repomd.xml");
    fs::remove_file(&repodata).unwrap();
    let bad = farm.client(&["fsck", &id]).expect(1);
    assert!(bad.stdout.contains("repodata/repomd.xml [createrepo.Server.x86_64]: is missing"), "{}", bad.text());
    let wrong = farm.client(&["fsck", "Demo-1-19990101.0"]).expect(1);
    assert!(wrong.stderr.contains("no compose Demo-1-19990101.0 here; did you mean"), "{}", wrong.text());
    let state = scratch.join("state");
    let dead = |status: i32| {
        let mut command = tutti(["fsck", "--state-dir"]);
        command.arg(&state).arg(&id);
        run(command).expect(status)
    };
    let busy = dead(1);
    assert!(busy.stderr.contains("in use by another tutti process"), "{}", busy.text());
    drop(farm);
    let bad = dead(1);
    assert!(bad.stdout.contains("repodata/repomd.xml [createrepo.Server.x86_64]: is missing"), "{}", bad.text());
}
