//! Somebody breaks something by hand: what they read says what happened, where, and what to do.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tutti_integration_tests::{
    compose::{Compose, Run, jobs},
    farm::{self, Farm},
    program::{Ended, LIMIT, run, tutti},
    scratch::{self, Scratch, write},
    sources::{self, Tiny},
    stream::{Live, text},
};

const REPO: &str = "createrepo.Server.x86_64";
const LINK: &str = "link.Server.x86_64";
const HELLO: &str = "hello-1.0-1.x86_64.rpm";

/// What nobody may ever read.
fn readable(said: &str) {
    for word in ["panicked", "unwrap", "Error {", "Os {", "Some(", "stack backtrace", "RUST_BACKTRACE"] {
        assert!(!said.contains(word), "{word:?} in:\n{said}");
    }
    for line in said.lines() {
        let parts: Vec<&str> = line.split(": ").filter(|part| part.len() > 12).collect();
        for (index, part) in parts.iter().enumerate() {
            assert!(!parts[index + 1..].contains(part), "said twice in one line: {part:?}\n{line}");
        }
    }
}

fn says(ended: &Ended, words: &[&str]) {
    let said = format!("{}\n{}", ended.stderr, ended.stdout);
    readable(&said);
    for word in words {
        assert!(said.contains(word), "no {word:?} in\n{said}");
    }
}

/// A compose that stands still before a job until `go` is there.
struct Paused {
    scratch: Scratch,
    live: Live,
    compose: Compose,
}

fn paused(name: &str, job: &str) -> Paused {
    let scratch = Scratch::new(name);
    let config = Tiny::new(&scratch.join("tiny")).write();
    let point = format!("job.run.before[{job}]=pause-file({})", scratch.join("go").display());
    let command = Run::default().with(&["--format", "json"]).env("TUTTI_FAILPOINTS", &point);
    let mut live = Live::start(command.command(&config, &scratch.join("composes")));
    let started = live.wait_for(LIMIT, |event| text(event, "event") == "started");
    let compose = Compose::open(Path::new(text(&started, "compose_dir")));
    live.wait_for(LIMIT, |event| text(event, "name") == job && text(event, "state") == "running");
    Paused { scratch, live, compose }
}

impl Paused {
    /// Waits until a job is published.
    fn until_published(&mut self, job: &str) {
        let over = |event: &serde_json::Value| text(event, "name") == job && text(event, "state") == "published";
        if !self.live.events.iter().any(|(_, event)| over(event)) {
            self.live.wait_for(LIMIT, over);
        }
    }

    /// Lets the job go on, and waits for the end.
    fn go_on(&mut self, status: i32) -> Ended {
        write(&self.scratch.join("go"), "");
        let ended = self.live.finish(LIMIT);
        assert_eq!(ended.status, status, "{}", ended.text());
        readable(&ended.stderr);
        ended
    }

    fn kill(&mut self) {
        kill_process(pid(self.live.id()), Signal::KILL).unwrap();
        let _ = self.live.finish(LIMIT);
    }

    /// `tutti COMMAND --target-dir … ID …`.
    fn ask(&self, command: &str, further: &[&str]) -> Ended {
        let mut ask = tutti([command, "--target-dir"]);
        ask.arg(self.compose.target()).arg(self.compose.id()).args(further);
        run(ask)
    }

    fn resume(&self) -> Ended {
        let mut resume = tutti(["compose", "--target-dir"]);
        resume.arg(self.compose.target()).args(["--resume", &self.compose.id()]);
        run(resume)
    }

    /// Class, cause and hint of a failed job.
    fn failure(&self, job: &str) -> (String, String, String) {
        let all = jobs(&self.compose.show());
        let field = |name: &str| text(&all[job], name).to_owned();
        assert_eq!(field("state"), "failed", "{}", all[job]);
        (field("failure_class"), field("reason"), field("hint"))
    }
}

fn pid(id: u32) -> Pid {
    Pid::from_raw(i32::try_from(id).unwrap()).unwrap()
}

/// Changes a byte; size and mtime stay.
fn edit(path: &Path) {
    let before = fs::metadata(path).unwrap().modified().unwrap();
    let mut bytes = fs::read(path).unwrap();
    let last = bytes.len() - 3;
    bytes[last] ^= 1;
    fs::write(path, bytes).unwrap();
    fs::File::options().append(true).open(path).unwrap().set_modified(before).unwrap();
}

#[test]
fn staging_removed_while_a_job_runs_costs_an_attempt() {
    let mut paused = paused("hand-staging", REPO);
    fs::remove_dir_all(paused.compose.directory().join("work/tutti/staging")).unwrap();
    let _ = paused.go_on(0);
    assert_eq!(paused.compose.status(), "FINISHED");
    let shown = paused.ask("show", &[]).expect(0);
    says(&shown, &["Attempts:", REPO, "failed [infra]", "its staging directory was removed while it ran: "]);
    let _ = paused.ask("fsck", &["--checksums"]).expect(0);
}

#[test]
fn blobs_removed_while_a_job_runs() {
    let mut paused = paused("hand-blobs", REPO);
    let blobs = paused.compose.directory().join("work/tutti/blobs");
    fs::rename(&blobs, paused.scratch.join("blobs")).unwrap();
    let ended = paused.go_on(1);
    readable(&ended.stdout);
    let (class, cause, hint) = paused.failure_without_show(&ended, REPO);
    assert_eq!(class, "infra");
    assert!(cause.contains("work/tutti/blobs/") && cause.contains("No such file"), "{cause}");
    assert!(hint.contains("restore it from a copy, or make a new compose") && hint.contains("tutti fsck"), "{hint}");
    let id = paused.compose.id();
    for (command, further) in [("show", vec![]), ("why", vec![REPO]), ("retry", vec![])] {
        let ended = paused.ask(command, &further).expect(1);
        says(&ended, &["error: ", "work/tutti/blobs/", "hint: ", "tutti fsck"]);
    }
    says(&paused.resume().expect(1), &["error: cannot go on with", &id, "work/tutti/blobs", "hint: "]);
    says(&paused.ask("fsck", &[]).expect(1), &["work/tutti/blobs/", "is missing", "what to do: "]);
    // As the advice says.
    let mut back = std::process::Command::new("cp");
    back.arg("-a").arg(paused.scratch.join("blobs/.")).arg(&blobs);
    let _ = run(back).expect(0);
    let _ = paused.ask("retry", &[]).expect(0);
    assert_eq!(paused.compose.status(), "FINISHED");
    let _ = paused.ask("fsck", &["--checksums"]).expect(0);
}

impl Paused {
    /// As [`Paused::failure`], from the stream: `show` needs the blobs.
    fn failure_without_show(&self, ended: &Ended, job: &str) -> (String, String, String) {
        let events = tutti_integration_tests::stream::parse(&ended.stdout);
        let failed = events.iter().rev().find(|event| text(event, "name") == job).unwrap();
        let field = |name: &str| text(failed, name).to_owned();
        (field("failure_class"), field("reason"), field("hint"))
    }
}

#[test]
fn published_directory_removed_before_resume() {
    let mut paused = paused("hand-published", REPO);
    paused.until_published(LINK);
    paused.kill();
    let packages = paused.compose.tree("Server/x86_64/os/Packages");
    fs::rename(&packages, paused.scratch.join("Packages")).unwrap();
    let refused = paused.resume().expect(1);
    says(
        &refused,
        &[
            "error: cannot go on with ",
            "compose/Server/x86_64/os/Packages in ",
            "is missing, with ",
            "hint: restore",
            "tutti fsck",
        ],
    );
    assert_eq!(paused.compose.status(), "STARTED", "a compose with a hole went on");
    // As the advice says.
    fs::rename(paused.scratch.join("Packages"), &packages).unwrap();
    let _ = paused.resume().expect(0);
    let _ = paused.ask("fsck", &["--checksums"]).expect(0);
}

/// Finished jobs do not run again: what was removed meanwhile is missed before the compose is called finished.
#[test]
fn published_files_removed_while_the_compose_runs() {
    for gone in ["compose/Server/x86_64/os/Packages", "COMPOSE_ID"] {
        let mut paused = paused("hand-hole", REPO);
        paused.until_published(LINK);
        let (there, away) = (paused.compose.directory().join(gone), paused.scratch.join("away"));
        fs::rename(&there, &away).unwrap();
        let ended = paused.go_on(1);
        let names = ["cannot finish ", gone, "is missing", "hint: ", "ends it"];
        says(&ended, &names);
        assert_eq!(paused.compose.status(), "DOOMED");
        let links = || {
            fs::read_dir(paused.compose.target())
                .unwrap()
                .filter(|item| item.as_ref().unwrap().file_name().to_string_lossy().starts_with("latest-"))
        };
        assert_eq!(links().count(), 0, "{gone}");
        says(&paused.ask("show", &[]).expect(0), &names);
        says(&paused.ask("fsck", &[]).expect(1), &names);
        says(&paused.ask("retry", &[]).expect(1), &["cannot go on with ", gone]);
        // As the advice says.
        fs::rename(&away, &there).unwrap();
        let _ = paused.ask("retry", &[]).expect(0);
        assert_eq!(paused.compose.status(), "FINISHED");
        assert_eq!(links().count(), 1, "{gone}");
        let _ = paused.ask("fsck", &["--checksums"]).expect(0);
    }
}

/// Only its times in the metadata are wrong then.
#[test]
fn a_package_that_is_touched_while_the_compose_runs_costs_nothing() {
    let mut paused = paused("hand-touched", REPO);
    paused.until_published(LINK);
    let package = paused.compose.directory().join("compose/Server/x86_64/os/Packages").join(HELLO);
    fs::File::options().append(true).open(&package).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    let _ = paused.go_on(0);
    assert_eq!(paused.compose.status(), "FINISHED");
    says(&paused.ask("fsck", &["--checksums"]).expect(1), &["warning", HELLO, "its contents are the same"]);
    // Edited too, it is damage.
    let mut edited = self::paused("hand-edited", REPO);
    edited.until_published(LINK);
    let package = edited.compose.directory().join("compose/Server/x86_64/os/Packages").join(HELLO);
    edit(&package);
    fs::File::options().append(true).open(&package).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    says(&edited.go_on(1), &["cannot finish ", HELLO, "has other contents"]);
    assert_eq!(edited.compose.status(), "DOOMED");
}

/// Who asks a program that is stopped is told so, and does not wait.
#[test]
fn a_compose_that_is_stopped() {
    let mut paused = paused("hand-stopped", REPO);
    let process = pid(paused.live.id());
    kill_process(process, Signal::STOP).unwrap();
    let hint = format!("kill -CONT {} lets it go on", paused.live.id());
    for (command, further) in
        [("show", &[][..]), ("why", &[REPO][..]), ("logs", &[REPO][..]), ("retry", &[]), ("cancel", &[]), ("fsck", &[])]
    {
        says(&paused.ask(command, further).expect(1), &["is stopped", &hint]);
    }
    says(&paused.resume().expect(1), &["is stopped", &hint]);
    let mut list = tutti(["list", "--target-dir"]);
    list.arg(paused.compose.target());
    says(&run(list).expect(0), &["is stopped", &hint]);
    kill_process(process, Signal::CONT).unwrap();
    let _ = paused.go_on(0);
    assert_eq!(paused.compose.status(), "FINISHED");
}

/// Nothing was accepted, so nothing is lost; but a directory stays.
#[test]
fn a_compose_that_is_killed_in_its_first_moments() {
    for point in
        ["compose.directory.made", "embedded.bound", "submission.plan.written", "engine.store.submission.before"]
    {
        let scratch = Scratch::new("hand-early");
        let config = Tiny::new(&scratch.join("tiny")).write();
        let target = scratch.join("composes");
        let id = "Tiny-1-20260102.0";
        let begin = Run::default().with(&["--compose-id", id, "--date", "20260102"]);
        let _ = run(begin.env("TUTTI_FAILPOINTS", &format!("{point}=kill")).command(&config, &target));
        let words = [
            &*target.join(id).display().to_string(),
            "is only the beginning of a compose",
            "hint: remove that directory",
            "--compose-id Tiny-1-20260102.0",
        ];
        for (command, further) in [
            ("show", None),
            ("why", Some(REPO)),
            ("logs", Some(REPO)),
            ("retry", None),
            ("cancel", None),
            ("fsck", None),
        ] {
            let mut ask = tutti([command, "--target-dir"]);
            ask.arg(&target).arg(id).args(further);
            says(&run(ask).expect(1), &words);
        }
        let mut resume = tutti(["compose", "--target-dir"]);
        resume.arg(&target).args(["--resume", id]);
        says(&run(resume).expect(1), &words);
        // As the advice says.
        fs::remove_dir_all(target.join(id)).unwrap();
        let _ =
            run(Run::default().with(&["--compose-id", id, "--date", "20260102"]).command(&config, &target)).expect(0);
    }
}

#[test]
fn package_changed_behind_its_back_before_it_is_linked() {
    for (name, change) in [
        ("grown", (|path| write(path, [fs::read(path).unwrap(), vec![0]].concat())) as fn(&Path)),
        ("removed", |path| fs::remove_file(path).unwrap()),
        ("replaced", |path| {
            fs::remove_file(path).unwrap();
            write(path, b"another");
        }),
    ] {
        let mut paused = paused(&format!("hand-{name}"), LINK);
        change(&paused.scratch.join("tiny/repo").join(HELLO));
        let _ = paused.go_on(1);
        let (class, cause, hint) = paused.failure(LINK);
        assert_eq!(class, "input", "{name}");
        assert!(cause.contains(&format!("tiny/repo/{HELLO}")), "{name}: {cause}");
        let happened = if name == "removed" { "No such file" } else { "changed while it was composed: size" };
        assert!(cause.contains(happened), "{name}: {cause}");
        assert!(hint.contains("keep repositories unchanged until a compose is done"), "{name}: {hint}");
    }
}

/// Size and mtime are what a package is known by while it is composed; a change that keeps both is found by its contents.
#[test]
fn package_edited_with_its_mtime_kept_is_found_by_fsck() {
    for job in [LINK, REPO] {
        let mut paused = paused("hand-edited", job);
        edit(&paused.scratch.join("tiny/repo").join(HELLO));
        let _ = paused.go_on(0);
        let found = paused.ask("fsck", &["--checksums"]).expect(1);
        says(&found, &[HELLO, "has other contents: sha256", "what to do: find out who changed it", "/tiny/repo/"]);
    }
}

#[test]
fn configuration_that_is_no_configuration() {
    let scratch = Scratch::new("hand-config");
    let picture = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01";
    write(&scratch.join("picture.conf"), picture);
    write(&scratch.join("empty.conf"), "");
    write(&scratch.join("types.json"), r#"{"release_name": 5, "tree_arches": "x86_64"}"#);
    write(&scratch.join("list.json"), "[1, 2]");
    write(&scratch.join("binary.conf"), b"\x7fELF\x02\x01\x01\0\0\0\0");
    fs::create_dir(scratch.join("directory.conf")).unwrap();
    let cases: [(&str, &[&str]); 6] = [
        ("picture.conf", &["not a text file"]),
        ("empty.conf", &["release_name: missing in "]),
        ("types.json", &["release_name: expected a string, found the number 5", "tree_arches: expected a list"]),
        ("list.json", &["expected an object"]),
        ("binary.conf", &["not a text file"]),
        ("directory.conf", &["it is a directory: name the file in it"]),
    ];
    for (name, words) in cases {
        let ended = Run::default().run(&scratch.join(name), &scratch.join("composes")).expect(1);
        says(&ended, words);
        says(&ended, &["error: ", name]);
        assert!(!scratch.join("composes").exists(), "{name} left something behind");
    }
}

#[test]
fn variants_comps_and_repositories_that_are_something_else() {
    let scratch = Scratch::new("hand-inputs");
    let picture = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01";
    for name in ["variants.xml", "comps.xml"] {
        let config = Tiny::new(&scratch.join("tiny")).write();
        let path = scratch.join("tiny").join(name);
        write(&path, picture);
        says(&Run::default().run(&config, &scratch.join("composes")).expect(1), &["error: ", name, "not UTF-8 text"]);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        says(&Run::default().run(&config, &scratch.join("composes")).expect(1), &["error: ", name, "no regular file"]);
        fs::remove_dir(&path).unwrap();
    }
    let config = Tiny::new(&scratch.join("tiny")).write();
    let repository = scratch.join("tiny/repo");
    fs::rename(&repository, scratch.join("repo")).unwrap();
    write(&repository, picture);
    let ended = Run::default().run(&config, &scratch.join("composes")).expect(1);
    says(&ended, &["FAILED pkgset.repos [input]", "tiny/repo", "is not a directory", "hint: ", "log: "]);
    fs::remove_file(&repository).unwrap();
    write(&repository.join("a.rpm"), picture);
    let ended = Run::default().run(&config, &scratch.join("composes")).expect(1);
    says(&ended, &["FAILED pkgset.repos [input]", "a.rpm is no readable RPM", "hint: fetch the file again"]);
}

/// All of them at once, each with its line.
#[test]
fn files_that_a_configuration_names_and_that_are_not_there() {
    let scratch = Scratch::new("hand-missing");
    let config = Tiny::new(&scratch.join("tiny")).write();
    let good = scratch::read(&config);
    let check = || {
        let mut check = tutti(["config", "check"]);
        check.arg(&config);
        run(check)
    };
    let line = |option: &str| good.lines().position(|line| line.starts_with(option)).unwrap() + 1;
    write(&config, good.replace("variants.xml", "variantz.xml").replace("comps.xml", "compz.xml"));
    let place = |option: &str| format!("{}:{}: {option}: ", config.display(), line(option));
    says(&check().expect(1), &[&place("variants_file"), "variantz.xml", &place("comps_file"), "compz.xml"]);
    let file = "\nextra_files = [(\"^.*$\", {\"*\": [{\"scm\": \"file\", \"repo\": None, \"file\": \"EULAS\"}]})]\n";
    write(&config, &(good.clone() + file));
    says(&check().expect(0), &["warning: ", "extra_files: ", "EULAS", "No such file"]);
}

/// Where nobody is root: as root, files of any mode can be read, so another user is taken.
#[test]
fn files_without_permission() {
    if !rustix::process::getuid().is_root() {
        return tutti_integration_tests::skip::skipped("only root can run a program as somebody else");
    }
    if !tutti_integration_tests::program::has_tool("setpriv") {
        return;
    }
    let scratch = Scratch::new("hand-permission");
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let config = Tiny::new(&scratch.join("tiny")).write();
    let target = scratch.join("composes");
    fs::create_dir(&target).unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o777)).unwrap();
    // The program itself may lie where only root may look.
    let program = scratch.join("tutti");
    fs::copy(tutti_integration_tests::program::tutti_path(), &program).unwrap();
    let compose = || {
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&program);
        command.args(["compose", "--config"]).arg(&config).arg("--target-dir").arg(&target);
        run(command).expect(1)
    };
    for name in ["compose.conf", "variants.xml", "comps.xml", &format!("repo/{HELLO}")] {
        let path = scratch.join("tiny").join(name);
        let mode = fs::metadata(&path).unwrap().permissions();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
        says(&compose(), &[name, "Permission denied", "hint: look at owner and mode"]);
        fs::set_permissions(&path, mode).unwrap();
    }
}

#[test]
fn names_that_do_not_exist() {
    let scratch = Scratch::new("hand-names");
    let config = Tiny::new(&scratch.join("tiny")).write();
    let (compose, _) = Run::default().compose(&config, &scratch.join("composes"), 0);
    let id = compose.id();
    let ask = |arguments: &[&str]| {
        let mut command = tutti([arguments[0], "--target-dir"]);
        command.arg(compose.target()).args(&arguments[1..]);
        let ended = run(command).expect(1);
        says(&ended, &["error: "]);
        ended
    };
    let wrong = format!("{}9", id.trim_end_matches('0'));
    for command in ["show", "fsck", "retry", "cancel"] {
        says(&ask(&[command, &wrong]), &[&format!("there is no compose {wrong} in "), &format!("did you mean {id}?")]);
    }
    says(&ask(&["compose", "--resume", &wrong]), &["did you mean"]);
    says(&ask(&["compose", "--resume", "../x"]), &["'../x' is not valid"]);
    says(&ask(&["why", &id, "createrepo.Sever.x86_64"]), &["no job", "did you mean createrepo.Server.x86_64"]);
    says(&ask(&["why", &id, "createrepo*"]), &["fits 3 jobs: createrepo.Server.x86_64"]);
    says(&ask(&["logs", &id, "metadat"]), &["did you mean metadata?"]);
    says(&ask(&["retry", &id, "lnk.Server.x86_64"]), &["did you mean link.Server.x86_64"]);
    // What is no compose, and state that is no state.
    fs::create_dir(compose.target().join("Other-1-20260101.0")).unwrap();
    says(&ask(&["compose", "--resume", "Other-1-20260101.0"]), &["has no work/tutti/state.redb", "hint: "]);
    write(&compose.target().join("File-1-20260101.0"), "");
    says(&ask(&["show", "File-1-20260101.0"]), &["is no directory"]);
    let state = compose.directory().join("work/tutti/state.redb");
    write(&state, b"\x89PNG\r\n\x1a\n");
    for arguments in [vec!["show", &id], vec!["compose", "--resume", &id], vec!["retry", &id]] {
        says(&ask(&arguments), &["state.redb", "cannot be used", "hint: "]);
    }
    fs::remove_file(&state).unwrap();
    says(&ask(&["show", &id]), &["has no work/tutti/state.redb", "hint: "]);
}

/// What is stored is lost with its name; the compose says so, and does not wait for a controller that is gone.
#[test]
fn state_or_directory_removed_while_the_compose_runs() {
    let cases: [(&str, &[&str]); 3] = [
        ("", &["work/tutti/state.redb.owner was removed while"]),
        ("work/tutti/state.redb", &["work/tutti/state.redb was removed while"]),
        ("work/tutti/state.redb.owner", &["work/tutti/state.redb.owner was removed while"]),
    ];
    for (name, words) in cases {
        let mut paused = paused("hand-vanished", REPO);
        let path = paused.compose.directory().join(name);
        let deadline = Instant::now() + LIMIT;
        match path.is_dir() {
            // The compose still writes into it.
            true => while fs::remove_dir_all(&path).is_err() && Instant::now() < deadline {},
            false => fs::remove_file(&path).unwrap(),
        }
        assert!(!path.exists(), "{}", path.display());
        let ended = paused.go_on(1);
        says(&ended, &["error: the controller of ", "ended before the compose: ", "hint: "]);
        says(&ended, words);
        assert!(!ended.stderr.contains("does not answer"), "{}", ended.stderr);
    }
}

#[test]
fn state_removed_at_the_very_end() {
    let scratch = Scratch::new("hand-vanished-late");
    let (config, target) = (Tiny::new(&scratch.join("tiny")).write(), scratch.join("composes"));
    let point = format!("embedded.finish.before=pause-file({})", scratch.join("go").display());
    let command = Run::default().env("TUTTI_FAILPOINTS", &point).command(&config, &target);
    let ended = std::thread::scope(|scope| {
        let ended = scope.spawn(|| run(command));
        let deadline = Instant::now() + LIMIT;
        let top = loop {
            let link = target.join("latest-Tiny-1");
            match fs::read_link(&link) {
                Ok(id) => break target.join(id),
                Err(_) => assert!(Instant::now() < deadline && !ended.is_finished(), "it does not end"),
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        assert_eq!(scratch::read(top.join("STATUS")).trim(), "FINISHED");
        fs::remove_file(top.join("work/tutti/state.redb")).unwrap();
        write(&scratch.join("go"), "");
        ended.join().unwrap()
    });
    says(&ended.expect(1), &["ended as FINISHED, and then ", "work/tutti/state.redb was removed while", "hint: "]);
}

/// A farm with a worker that holds a job until `go` is there, and the compose. No worker is taken for lost before `lost` is
/// there.
fn farm_at(scratch: &Scratch, job: &str) -> (Farm, String) {
    let config = sources::demo(&scratch.join("demo"));
    let (go, lost) = (scratch.join("go"), scratch.join("lost"));
    let point = format!(
        "job.run.before[{job}]=pause-file({});worker.lost.before=error-until({})",
        go.display(),
        lost.display()
    );
    let farm = Farm::start_with(scratch.path(), 1, &[("TUTTI_FAILPOINTS", &point)]);
    let mut submit = farm.client_command(&["submit"]);
    submit.arg("--config").arg(&config).arg("--target-dir").arg(scratch.join("composes"));
    let submitted = run(submit).expect(0);
    let id =
        submitted.stdout.split_whitespace().find(|word| word.starts_with("Demo-1-")).unwrap_or_default().to_owned();
    let mut watcher = farm::watch(&farm, &id);
    watcher.wait_for(LIMIT, |event| text(event, "name") == job && text(event, "state") == "running");
    (farm, id)
}

/// Asks until the answer has all of these words.
fn until(farm: &Farm, arguments: &[&str], words: &[&str]) -> Ended {
    let deadline = Instant::now() + LIMIT;
    loop {
        let ended = farm.client(arguments);
        readable(&ended.stderr);
        if words.iter().all(|word| ended.stdout.contains(word)) {
            return ended;
        }
        assert!(Instant::now() < deadline, "never {words:?}: {}", ended.text());
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn worker_whose_cable_is_pulled() {
    let job = "createrepo.Everything.x86_64";
    let scratch = Scratch::new("hand-cable");
    let (mut farm, id) = farm_at(&scratch, job);
    // It lives and says nothing.
    let frozen = pid(farm.workers[0].1.id());
    kill_process_group(frozen, Signal::STOP).unwrap();
    until(&farm, &["why", &id, job], &["runs on worker-1", "nothing was heard of worker-1", "may be dead or cut off"]);
    until(&farm, &["drain"], &["worker-1", " gone ", "last heard at "]);
    write(&scratch.join("lost"), "");
    until(
        &farm,
        &["why", &id, job],
        &["waits for a worker", "worker was lost", "worker-1: is gone, and was last heard "],
    );
    // It stays in the list.
    until(&farm, &["drain"], &["worker-1", " gone ", "last heard at ", "what it ran was given to others"]);
    farm.add_worker("worker-2", &[]);
    let mut watcher = farm::watch(&farm, &id);
    let ended = watcher.finish(LIMIT);
    assert_eq!(ended.status, 0, "{}", ended.text());
    let shown = farm.client(&["show", &id]).expect(0);
    says(&shown, &["Attempts:", job, "on worker-1: lost [infra]", "worker was lost", "on worker-2: committed"]);
    // Plugged in again, it is refused and sweeps up; nothing is left.
    kill_process_group(frozen, Signal::CONT).unwrap();
    write(&scratch.join("go"), "");
    let deadline = Instant::now() + LIMIT;
    while farm.client(&["fsck", &id]).status != 0 {
        assert!(Instant::now() < deadline, "{}", farm.client(&["fsck", &id]).text());
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn why_says_what_stands_against_each_worker() {
    let scratch = Scratch::new("hand-why");
    let config = sources::demo(&scratch.join("demo"));
    let mut farm = Farm::start(scratch.path(), 0);
    let mut submit = farm.client_command(&["submit"]);
    submit.arg("--config").arg(&config).arg("--target-dir").arg(scratch.join("composes"));
    let submitted = run(submit).expect(0);
    let id =
        submitted.stdout.split_whitespace().find(|word| word.starts_with("Demo-1-")).unwrap_or_default().to_owned();
    let nobody = farm.client(&["why", &id, "pkgset.repos"]).expect(0);
    says(&nobody, &["waits for a worker", "it needs pkgset@", "no worker is there; hint: start one: tutti worker"]);
    says(&farm.client(&["why", &id, "metadata"]).expect(0), &["waits for ", "which is waiting"]);
    let point = format!("job.run.before[pkgset.repos]=pause-file({})", scratch.join("go").display());
    farm.add_worker("worker-1", &[("TUTTI_FAILPOINTS", &point)]);
    until(&farm, &["why", &id, "pkgset.repos"], &["runs on worker-1, attempt 1"]);
    let _ = farm.client(&["drain", "worker-1"]).expect(0);
    write(&scratch.join("go"), "");
    until(&farm, &["why", &id, "pkgset.repos"], &["is done", "it took "]);
    until(&farm, &["why", &id, "solve.Server.x86_64"], &["worker-1: is draining; hint: tutti drain --undo worker-1"]);
    let _ = farm.client(&["drain", "--undo", "worker-1"]).expect(0);
    let mut watcher = farm::watch(&farm, &id);
    assert_eq!(watcher.finish(LIMIT).status, 0);
}

#[test]
fn controller_that_goes_away() {
    let scratch = Scratch::new("hand-controller");
    let (mut farm, id) = farm_at(&scratch, "createrepo.Everything.x86_64");
    let mut watcher = farm.client_command(&["watch", &id]);
    watcher.stderr(std::process::Stdio::from(tutti_integration_tests::program::log_file(&scratch.join("watch.err"))));
    let mut watcher = watcher.stdout(std::process::Stdio::null()).spawn().unwrap();
    let heard = |path: PathBuf, word: &str| {
        let deadline = Instant::now() + LIMIT;
        while !scratch::read(&path).contains(word) {
            assert!(Instant::now() < deadline, "no {word:?} in {}", scratch::read(&path));
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    heard(scratch.join("watch.err"), " is STARTED");
    farm.kill_controller();
    // Everybody says so, and how to go on.
    heard(scratch.join("watch.err"), "the controller does not answer; trying again for");
    heard(scratch.join("worker-1.log"), "no session with the controller");
    says(
        &farm.client(&["show", &id]).expect(1),
        &["error: cannot reach the controller at unix:", "hint: is `tutti controller` running"],
    );
    farm.restart_controller();
    // The worker is back, and has heard what it is to run, before the job may end: heartbeats follow that.
    let heard = || {
        let listed = farm.client(&["drain", "--format", "json"]).stdout;
        let listed: Vec<serde_json::Value> = serde_json::from_str(&listed).unwrap_or_default();
        let there = listed.iter().find(|worker| text(worker, "worker_id") == "worker-1");
        there.filter(|worker| worker["connected"] == true).and_then(|worker| worker["last_seen_ms"].as_i64())
    };
    let (deadline, mut beats) = (Instant::now() + LIMIT, BTreeSet::new());
    while beats.len() < 4 {
        assert!(Instant::now() < deadline, "{}", scratch::read(scratch.join("worker-1.log")));
        beats.extend(heard());
        std::thread::sleep(Duration::from_millis(50));
    }
    until(&farm, &["why", &id, "createrepo.Everything.x86_64"], &["runs on worker-1, attempt 1"]);
    write(&scratch.join("go"), "");
    assert!(watcher.wait().unwrap().success(), "{}", scratch::read(scratch.join("watch.err")));
    readable(&scratch::read(scratch.join("watch.err")));
    let attempts =
        jobs(&serde_json::from_str(&farm.client(&["show", "--format", "json", &id]).expect(0).stdout).unwrap());
    let held = &attempts["createrepo.Everything.x86_64"]["attempts"];
    assert_eq!(held.as_array().map(Vec::len), Some(1), "the worker's job ran again: {held}");
}
