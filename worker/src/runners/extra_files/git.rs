//! Checks out one commit of a git repository with the `git` program.
//!
//! The repository is hostile: no hooks, no prompts, no submodules, no protocols but those of transport, no settings of
//! host or user, a deadline for each call.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tutti_job::params::ExtraFile;

use crate::{FailureClass, JobContext, OrFail as _, RunnerError};

/// Longest time of one call of git.
const DEADLINE: Duration = Duration::from_secs(600);
/// Time between two looks at a running git.
const POLL: Duration = Duration::from_millis(20);
/// Text kept of what git says.
const MAX_TEXT: u64 = 64 * 1024;

/// Directory of a repository on this host, if it is one.
pub(super) fn local(repository: &str) -> Option<PathBuf> {
    let repository = repository.strip_prefix("git+").unwrap_or(repository);
    let path = repository.strip_prefix("file://").unwrap_or(repository);
    path.starts_with('/').then(|| PathBuf::from(path))
}

/// A repository's address without user and password.
pub(super) fn shown(repository: &str) -> String {
    let Some((scheme, rest)) = repository.split_once("://") else { return repository.to_owned() };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("{scheme}://{host}/{path}")
}

/// Checks out the item's commit; returns the directory.
pub(super) fn checkout(context: &JobContext, item: &ExtraFile, number: usize) -> Result<PathBuf, RunnerError> {
    let is_commit = matches!(item.commit.len(), 40 | 64) && item.commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_commit {
        return Err(RunnerError::input(format!("extra_files: {:?} is not a whole commit id", item.commit)));
    }
    let scratch = context.scratch()?;
    let directory = scratch.join(format!("git-{number}"));
    fs::create_dir_all(&directory)
        .or_fail(FailureClass::Tool, || format!("failed to make directory {}", directory.display()))?;
    let git = Git { context, home: &scratch, directory: &directory };
    let address = match local(&item.repo) {
        Some(path) => context.volumes.map_file(&path).display().to_string(),
        None => item.repo.strip_prefix("git+").unwrap_or(&item.repo).to_owned(),
    };
    if address.starts_with('-') {
        return Err(RunnerError::input(format!("extra_files: {:?} is no repository", item.repo)));
    }
    context.progress.set("fetch from git", number as u64, 0);
    git.run(&["init", "--quiet"])?;
    let shallow = ["fetch", "--quiet", "--no-tags", "--depth=1", "--", &address, &item.commit];
    if git.run(&shallow).is_err() {
        context.cancel.check()?;
        // Servers need not give single commits.
        git.run(&[
            "fetch",
            "--quiet",
            "--",
            &address,
            "+refs/heads/*:refs/remotes/origin/*",
            "+refs/tags/*:refs/tags/*",
        ])
        .map_err(|error| RunnerError {
            hint: Some("check the repository's address and that this host reaches it".into()),
            ..error
        })?;
    }
    git.run(&["checkout", "--quiet", "--force", "--detach", &item.commit]).map_err(|error| RunnerError {
        hint: Some(format!("is commit {} still in {}?", item.commit, shown(&item.repo))),
        ..error
    })?;
    Ok(directory)
}

struct Git<'a> {
    context: &'a JobContext,
    home: &'a Path,
    directory: &'a Path,
}

impl Git<'_> {
    fn run(&self, arguments: &[&str]) -> Result<(), RunnerError> {
        let said = self.home.join("git-said");
        let failed = || format!("failed to run git {}", arguments.first().copied().unwrap_or_default());
        let output = fs::File::create(&said).or_fail(FailureClass::Tool, failed)?;
        let mut child = Command::new("git")
            .args(["-c", "core.hooksPath=/dev/null", "-c", "core.symlinks=true", "-c", "protocol.ext.allow=never"])
            .args(["-c", "safe.directory=*", "-c", "submodule.recurse=false", "-c", "gc.auto=0"])
            .args(arguments)
            .current_dir(self.directory)
            .env("HOME", self.home)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ASKPASS", "true")
            .env("GIT_SSH_COMMAND", "ssh -oBatchMode=yes")
            .env("GIT_ALLOW_PROTOCOL", "file:git:http:https:ssh")
            .env_remove("GIT_DIR")
            .env_remove("GIT_WORK_TREE")
            .env_remove("GIT_INDEX_FILE")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .or_fail(FailureClass::Infra, failed)?;
        let succeeded = self.wait(&mut child)?;
        if succeeded {
            return Ok(());
        }
        let mut text = Vec::new();
        let said = fs::File::open(&said).or_fail(FailureClass::Tool, failed)?;
        said.take(MAX_TEXT).read_to_end(&mut text).or_fail(FailureClass::Tool, failed)?;
        let text: String = String::from_utf8_lossy(&text).split_whitespace().map(shown).collect::<Vec<_>>().join(" ");
        Err(RunnerError::new(FailureClass::External, format!("{}: {text}", failed())))
    }

    /// Waits for the end; true if it went well.
    fn wait(&self, child: &mut Child) -> Result<bool, RunnerError> {
        let start = Instant::now();
        loop {
            if let Some(status) = child.try_wait().or_fail(FailureClass::Infra, || "failed to wait for git")? {
                return Ok(status.success());
            }
            let ended = self.context.cancel.is_cancelled().then(RunnerError::cancelled).or_else(|| {
                let late = start.elapsed() > DEADLINE;
                late.then(|| {
                    RunnerError::new(FailureClass::Timeout, format!("git did not end in {} s", DEADLINE.as_secs()))
                })
            });
            if let Some(error) = ended {
                // It may have ended in this moment, and then there is nothing to kill.
                let _ = child.kill();
                let _ = child.wait();
                return Err(error);
            }
            std::thread::sleep(POLL);
        }
    }
}
