//! Somebody removes, by hand, what finished jobs of a farm's compose made: it is not gone on with until that is back.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use tutti_integration_tests::{
    compose::jobs,
    farm::{self, Farm},
    program::{Ended, LIMIT, run},
    scratch::{self, Scratch, write},
    sources,
    stream::text,
};

const JOB: &str = "createrepo.Server.x86_64";
/// Made by other jobs, and not read by this one.
const OTHERS: &str = "compose/Everything/x86_64/os/Packages";

struct Farmed {
    scratch: Scratch,
    farm: Farm,
    id: String,
}

/// A farm with one worker, whose failpoints are armed, and its compose.
fn farmed(name: &str, point: impl Fn(&Scratch) -> String) -> Farmed {
    let scratch = Scratch::new(name);
    let config = sources::demo(&scratch.join("demo"));
    let farm = Farm::start_with(scratch.path(), 1, &[("TUTTI_FAILPOINTS", &point(&scratch))]);
    let mut submit = farm.client_command(&["submit"]);
    submit.arg("--config").arg(&config).arg("--target-dir").arg(scratch.join("composes"));
    let said = run(submit).expect(0).stdout;
    let id = said.split_whitespace().find(|word| word.starts_with("Demo-1-")).unwrap_or_default().to_owned();
    Farmed { scratch, farm, id }
}

impl Farmed {
    fn top(&self) -> PathBuf {
        self.scratch.join("composes").join(&self.id)
    }

    fn status(&self) -> String {
        scratch::read(self.top().join("STATUS")).trim().to_owned()
    }

    /// Asks until the answer has all of these words.
    fn until(&self, arguments: &[&str], words: &[&str]) -> Ended {
        let deadline = Instant::now() + LIMIT;
        loop {
            let ended = self.farm.client(arguments);
            if words.iter().all(|word| ended.stdout.contains(word)) {
                return ended;
            }
            assert!(Instant::now() < deadline, "never {words:?}: {}", ended.text());
            assert_ne!(self.status(), "FINISHED", "a compose with a hole went on");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "no {word:?} in\n{said}");
    }
}

#[test]
fn a_doomed_compose_with_a_hole_is_not_retried() {
    let farmed = farmed("hole-retry", |scratch| {
        format!("job.run.before[{JOB}]=error-until({})", scratch.join("mended").display())
    });
    let Farmed { scratch, farm, id } = &farmed;
    assert_eq!(farm::watch(farm, id).finish(LIMIT).status, 1);
    assert_eq!(farmed.status(), "DOOMED");
    write(&scratch.join("mended"), "");
    let (there, away) = (farmed.top().join(OTHERS), scratch.join("away"));
    fs::rename(&there, &away).unwrap();
    let refused = farm.client(&["retry", id]).expect(1);
    says(
        &refused.stderr,
        &["error: cannot go on with ", OTHERS, "is missing, with ", "\nhint: restore", "tutti fsck", "run this again"],
    );
    assert_eq!(farmed.status(), "DOOMED", "a compose with a hole went on");
    // As the advice says.
    fs::rename(&away, &there).unwrap();
    let _ = farm.client(&["retry", id]).expect(0);
    assert_eq!(farmed.status(), "FINISHED");
    let _ = farm.client(&["fsck", "--checksums", id]).expect(0);
}

#[test]
fn a_compose_with_a_hole_is_held_when_its_controller_starts_again() {
    let mut farmed =
        farmed("hole-restart", |scratch| format!("job.run.before[{JOB}]=pause-file({})", scratch.join("go").display()));
    let done = |event: &serde_json::Value| {
        text(event, "name") == "link.Everything.x86_64" && text(event, "state") == "published"
    };
    farm::watch(&farmed.farm, &farmed.id).wait_for(LIMIT, done);
    farmed.until(&["why", &farmed.id, JOB], &["runs on worker-1"]);
    farmed.farm.kill_controller();
    let (there, away) = (farmed.top().join(OTHERS), farmed.scratch.join("away"));
    fs::rename(&there, &away).unwrap();
    farmed.farm.restart_controller();
    let id = farmed.id.clone();
    // What the worker does meanwhile is not lost: it says it until it is heard.
    write(&farmed.scratch.join("go"), "");
    let words = ["cannot go on with ", OTHERS, "is missing, with ", "hint: ", &format!("tutti retry {id} goes on")];
    farmed.until(&["list"], &[&words[..], &[" held "]].concat());
    farmed.until(&["show", &id], &[&words[..], &["Trouble: "]].concat());
    farmed.until(&["why", &id, JOB], &[&words[..], &["waits: "]].concat());
    says(&farmed.farm.client(&["retry", &id]).expect(1).stderr, &["cannot go on with ", OTHERS]);
    assert_eq!(farmed.status(), "STARTED", "a compose with a hole went on");
    // As the advice says.
    fs::rename(&away, &there).unwrap();
    let retried = farmed.farm.client(&["retry", &id]).expect(0);
    says(&retried.stderr, &[&format!("{id} goes on")]);
    assert_eq!(farmed.status(), "FINISHED");
    let _ = farmed.farm.client(&["fsck", "--checksums", &id]).expect(0);
    let shown = farmed.farm.client(&["show", "--format", "json", &id]).expect(0).stdout;
    let held = &jobs(&serde_json::from_str(&shown).unwrap())[JOB]["attempts"];
    assert_eq!(held.as_array().map(Vec::len), Some(1), "the worker's job ran again: {held}");
}

/// What is to end need not be whole.
#[test]
fn a_compose_that_is_held_can_be_cancelled() {
    let mut farmed =
        farmed("hole-cancel", |scratch| format!("job.run.before[{JOB}]=pause-file({})", scratch.join("go").display()));
    let done = |event: &serde_json::Value| {
        text(event, "name") == "link.Everything.x86_64" && text(event, "state") == "published"
    };
    farm::watch(&farmed.farm, &farmed.id).wait_for(LIMIT, done);
    farmed.farm.kill_controller();
    fs::remove_dir_all(farmed.top().join(OTHERS)).unwrap();
    farmed.farm.restart_controller();
    let id = farmed.id.clone();
    farmed.until(&["list"], &[" held "]);
    let _ = farmed.farm.client(&["cancel", &id]).expect(0);
    farmed.until(&["list"], &["TERMINATED", " ended "]);
    assert_eq!(farmed.status(), "TERMINATED");
}

/// Nobody looks again but at the end.
#[test]
fn a_compose_with_a_hole_is_not_called_finished() {
    let farmed =
        farmed("hole-end", |scratch| format!("job.run.before[{JOB}]=pause-file({})", scratch.join("go").display()));
    let Farmed { scratch, farm, id } = &farmed;
    let done = |event: &serde_json::Value| {
        text(event, "name") == "link.Everything.x86_64" && text(event, "state") == "published"
    };
    let mut live = farm::watch(farm, id);
    live.wait_for(LIMIT, done);
    let (there, away) = (farmed.top().join(OTHERS), scratch.join("away"));
    fs::rename(&there, &away).unwrap();
    write(&scratch.join("go"), "");
    assert_eq!(live.finish(LIMIT).status, 1);
    assert_eq!(farmed.status(), "DOOMED");
    let words = ["cannot finish ", OTHERS, "is missing, with ", "hint: ", &format!("tutti retry {id} ends it")];
    says(&farm.client(&["list"]).expect(0).stdout, &[&words[..], &["DOOMED"]].concat());
    says(&farm.client(&["show", id]).expect(0).stdout, &[&words[..], &["Trouble: "]].concat());
    says(&farm.client(&["retry", id]).expect(1).stderr, &["cannot go on with ", OTHERS]);
    says(&farm.client(&["fsck", id]).expect(1).stdout, &words);
    // As the advice says.
    fs::rename(&away, &there).unwrap();
    says(&farm.client(&["retry", id]).expect(0).stderr, &[&format!("{id} goes on")]);
    assert_eq!(farmed.status(), "FINISHED");
    let _ = farm.client(&["fsck", "--checksums", id]).expect(0);
}

/// It may have been the volume that was away.
#[test]
fn a_compose_that_is_whole_again_goes_on_by_itself() {
    let mut farmed =
        farmed("hole-again", |scratch| format!("job.run.before[{JOB}]=pause-file({})", scratch.join("go").display()));
    let done = |event: &serde_json::Value| {
        text(event, "name") == "link.Everything.x86_64" && text(event, "state") == "published"
    };
    farm::watch(&farmed.farm, &farmed.id).wait_for(LIMIT, done);
    farmed.farm.kill_controller();
    let (there, away) = (farmed.top().join(OTHERS), farmed.scratch.join("away"));
    fs::rename(&there, &away).unwrap();
    farmed.farm.restart_controller();
    let id = farmed.id.clone();
    farmed.until(&["list"], &[" held "]);
    // A name that is none releases nothing.
    says(&farmed.farm.client(&["retry", &id, "createrepo.Sever.x86_64"]).expect(1).stderr, &["cannot go on with "]);
    fs::rename(&away, &there).unwrap();
    says(&farmed.farm.client(&["retry", &id, "createrepo.Sever.x86_64"]).expect(1).stderr, &["has no job"]);
    says(&farmed.farm.client(&["list"]).expect(0).stdout, &[" held "]);
    write(&farmed.scratch.join("go"), "");
    assert_eq!(farm::watch(&farmed.farm, &id).finish(LIMIT).status, 0);
    assert_eq!(farmed.status(), "FINISHED");
}

/// What is to end need not be whole.
#[test]
fn a_compose_that_is_stopping_is_not_held() {
    let mut farmed =
        farmed("hole-stop", |scratch| format!("job.run.before[{JOB}]=pause-file({})", scratch.join("go").display()));
    let done = |event: &serde_json::Value| {
        text(event, "name") == "link.Everything.x86_64" && text(event, "state") == "published"
    };
    farm::watch(&farmed.farm, &farmed.id).wait_for(LIMIT, done);
    farmed.until(&["why", &farmed.id, JOB], &["runs on worker-1"]);
    // Its worker does not hear that the job is to end.
    let worker = rustix::process::Pid::from_raw(i32::try_from(farmed.farm.workers[0].1.id()).unwrap()).unwrap();
    rustix::process::kill_process(worker, rustix::process::Signal::STOP).unwrap();
    let id = farmed.id.clone();
    let _ = farmed.farm.client(&["cancel", &id]).expect(0);
    farmed.farm.kill_controller();
    fs::remove_dir_all(farmed.top().join(OTHERS)).unwrap();
    farmed.farm.restart_controller();
    let said = farmed.farm.client(&["list"]).expect(0).stdout;
    assert!(said.contains("TERMINATED") && !said.contains(" held "), "{said}");
    rustix::process::kill_process(worker, rustix::process::Signal::CONT).unwrap();
    farmed.until(&["list"], &["TERMINATED", " ended "]);
}
