//! Files that the configuration names: local ones, and ones in git.

use std::{
    fs,
    io::{self, Read as _, Seek as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::fs::OFlags;
use tutti_distro::config::{FileSource, Scm, ScmKind};

/// A text with the name to use in messages.
#[derive(Clone, Debug)]
pub(super) struct Text {
    pub(super) name: String,
    pub(super) text: String,
}

/// Largest variants, comps or prepopulate file. Fedora's comps is 2 MB.
const MAX_TEXT: u64 = 64 * 1024 * 1024;
/// Longest time of a question to a repository, which moves next to nothing.
const ASK_DEADLINE: Duration = Duration::from_secs(120);
/// Longest time of what may move or make much: a fetch, a command of the configuration.
const WORK_DEADLINE: Duration = Duration::from_secs(600);
/// Time between two looks at a running command.
const POLL: Duration = Duration::from_millis(10);
/// Most bytes that a command may say.
const MAX_SAID: u64 = 16 * 1024 * 1024;

/// Why a file cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// It cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// File.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is too large to be what it should be.
    #[error("{path} has more than the {MAX_TEXT} bytes that such a file may have")]
    TooLarge {
        /// File.
        path: PathBuf,
    },
    /// It is a directory, a device, a pipe or the like.
    #[error("{path} is no regular file")]
    NotFile {
        /// File.
        path: PathBuf,
    },
    /// It is no text.
    #[error("{path} is not UTF-8 text (byte {offset})")]
    NotText {
        /// File.
        path: PathBuf,
        /// First byte that is not.
        offset: usize,
    },
    /// The option names no file, or several.
    #[error("exactly one file must be named, found {0}")]
    OneFile(usize),
    /// A path leads out of the checkout.
    #[error("{0:?} leads out of the repository")]
    Outside(String),
    /// git or the command failed.
    #[error("{what} failed: {message}")]
    Command {
        /// What was run.
        what: String,
        /// What it said.
        message: String,
    },
    /// The branch is not there.
    #[error("{repo} has no branch or tag {branch:?}")]
    NoBranch {
        /// Repository.
        repo: String,
        /// Branch.
        branch: String,
    },
}

/// Reads the file that a source names.
pub(super) fn text(source: &FileSource) -> Result<Text, FetchError> {
    match source {
        FileSource::Path(path) => read(path, &super::shown(path)),
        FileSource::Scm(scm) => match scm.scm {
            ScmKind::File => local(scm),
            ScmKind::Git => from_git(scm),
        },
    }
}

fn one_file(scm: &Scm) -> Result<&str, FetchError> {
    match scm.file.as_slice() {
        [file] => Ok(file),
        files => Err(FetchError::OneFile(files.len())),
    }
}

fn local(scm: &Scm) -> Result<Text, FetchError> {
    let file = Path::new(one_file(scm)?);
    if let (Some(command), Some(dir)) = (&scm.command, file.parent()) {
        run(Command::new("sh").arg("-c").arg(command).current_dir(dir), command, WORK_DEADLINE)?;
    }
    read(file, &super::shown(file))
}

fn read(path: &Path, name: &str) -> Result<Text, FetchError> {
    let failed = |source| FetchError::Read { path: path.to_owned(), source };
    // A pipe must not keep the program waiting for a writer: it is opened without waiting, and then refused.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = fs::File::options().read(true).custom_flags(flags).open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(FetchError::NotFile { path: path.to_owned() });
    }
    // The size may change while it is read, and some file systems do not tell it.
    let mut bytes = Vec::new();
    file.take(MAX_TEXT + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_TEXT {
        return Err(FetchError::TooLarge { path: path.to_owned() });
    }
    let text = String::from_utf8(bytes)
        .map_err(|error| FetchError::NotText { path: path.to_owned(), offset: error.utf8_error().valid_up_to() })?;
    Ok(Text { name: name.to_owned(), text })
}

fn from_git(scm: &Scm) -> Result<Text, FetchError> {
    let repo = scm.repo.clone().unwrap_or_default();
    let file = one_file(scm)?.to_owned();
    let inside = Path::new(&file).components().all(|part| matches!(part, std::path::Component::Normal(_)));
    if !inside {
        return Err(FetchError::Outside(file));
    }
    let commit = resolve_commit(&repo, scm.branch.as_deref())?;
    let temporary = std::env::temp_dir();
    // Ours alone: commands run in there.
    let dir = tempfile::Builder::new()
        .prefix("tutti-scm-")
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir_in(&temporary)
        .map_err(|source| FetchError::Read { path: temporary, source })?;
    checkout(&repo, &commit, dir.path())?;
    if let Some(command) = &scm.command {
        run(Command::new("sh").arg("-c").arg(command).current_dir(dir.path()), command, WORK_DEADLINE)?;
    }
    read(&below(dir.path(), &file)?, &format!("{repo}#{commit}:{file}"))
}

/// The file in a checkout. A symbolic link of the repository must not lead to the files of this host.
fn below(dir: &Path, file: &str) -> Result<PathBuf, FetchError> {
    let real =
        |path: &Path| fs::canonicalize(path).map_err(|source| FetchError::Read { path: path.to_owned(), source });
    let (dir, path) = (real(dir)?, real(&dir.join(file))?);
    if path.starts_with(&dir) { Ok(path) } else { Err(FetchError::Outside(file.to_owned())) }
}

fn is_commit(name: &str) -> bool {
    matches!(name.len(), 40 | 64) && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The commit that a branch or tag (default `master`, as Pungi) names now; a full commit id stays as it is.
pub(super) fn resolve_commit(repo: &str, branch: Option<&str>) -> Result<String, FetchError> {
    let branch = branch.unwrap_or("master");
    if is_commit(branch) {
        return Ok(branch.to_owned());
    }
    let mut command = git(None);
    command.args(["ls-remote", "--exit-code", "--"]).arg(url(repo)).arg(branch);
    let output = run(&mut command, "git ls-remote", ASK_DEADLINE).map_err(|error| match error {
        // --exit-code: 2 when nothing matches.
        FetchError::Command { ref message, .. } if message.is_empty() => {
            FetchError::NoBranch { repo: repo.to_owned(), branch: branch.to_owned() }
        }
        other => other,
    })?;
    // A branch goes before a tag of the same name; a tag's commit stands in its peeled line.
    let lines = output.lines().filter_map(|line| line.split_once('\t'));
    let lines: Vec<(&str, &str)> = lines.filter(|(commit, _)| is_commit(commit)).collect();
    let named = |name: String| lines.iter().find(|(_, reference)| *reference == name).map(|(commit, _)| *commit);
    named(format!("refs/heads/{branch}"))
        .or_else(|| named(format!("refs/tags/{branch}^{{}}")))
        .or_else(|| named(format!("refs/tags/{branch}")))
        .or_else(|| named(branch.to_owned()))
        .map(str::to_owned)
        .ok_or_else(|| FetchError::NoBranch { repo: repo.to_owned(), branch: branch.to_owned() })
}

fn checkout(repo: &str, commit: &str, dir: &Path) -> Result<(), FetchError> {
    let repo = url(repo);
    run(git(Some(dir)).args(["init", "-q"]), "git init", ASK_DEADLINE)?;
    let shallow = ["fetch", "-q", "--no-tags", "--depth=1", "--", &repo, commit];
    if run(git(Some(dir)).args(shallow), "git fetch", WORK_DEADLINE).is_err() {
        // Servers need not give single commits.
        let all = ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"];
        run(git(Some(dir)).args(["fetch", "-q", "--", &repo]).args(all), "git fetch", WORK_DEADLINE)?;
    }
    run(git(Some(dir)).args(["checkout", "-q", "--detach", commit]), "git checkout", WORK_DEADLINE)?;
    Ok(())
}

/// Pungi writes `git+https://…`; git itself does not know that.
fn url(repo: &str) -> String {
    repo.strip_prefix("git+").unwrap_or(repo).to_owned()
}

/// git without prompts, without hooks or helpers of the repository's choice, and without settings of host or user:
/// the same configuration gives the same files to everybody.
fn git(dir: Option<&Path>) -> Command {
    let mut command = Command::new("git");
    command
        .args(["-c", "core.hooksPath=/dev/null", "-c", "protocol.ext.allow=never"])
        .args(["-c", "submodule.recurse=false", "-c", "gc.auto=0"])
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_ASKPASS", "true")
        .env("GIT_ALLOW_PROTOCOL", "file:git:http:https:ssh");
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_CONFIG_COUNT", "GIT_CONFIG_PARAMETERS"] {
        command.env_remove(variable);
    }
    if std::env::var_os("GIT_SSH_COMMAND").is_none() {
        command.env("GIT_SSH_COMMAND", "ssh -oBatchMode=yes");
    }
    if let Some(dir) = dir {
        command.current_dir(dir);
    }
    command
}

fn run(command: &mut Command, what: &str, deadline: Duration) -> Result<String, FetchError> {
    let failed = |message: String| FetchError::Command { what: what.to_owned(), message };
    let io_failed = |error: io::Error| failed(error.to_string());
    // Files, not pipes: what outlives the command cannot keep us waiting for their end.
    let (mut stdout, mut stderr) = (tempfile::tempfile().map_err(io_failed)?, tempfile::tempfile().map_err(io_failed)?);
    command.stdin(Stdio::null());
    command.stdout(stdout.try_clone().map_err(io_failed)?).stderr(stderr.try_clone().map_err(io_failed)?);
    let mut child = command.spawn().map_err(io_failed)?;
    let ended = wait(&mut child, &[&stdout, &stderr], deadline);
    if ended.is_err() {
        // It may have ended in this moment, and then there is nothing to kill.
        let _ = child.kill();
        let _ = child.wait();
    }
    let status = ended.map_err(io_failed)?;
    let said = |file: &mut fs::File| -> io::Result<String> {
        let mut bytes = Vec::new();
        file.rewind()?;
        file.take(MAX_SAID).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    if !status.success() {
        return Err(failed(said(&mut stderr).map_err(io_failed)?.trim().to_owned()));
    }
    said(&mut stdout).map_err(io_failed)
}

/// Waits for the end of a command, as long as it may take and say so much.
fn wait(child: &mut Child, said: &[&fs::File], deadline: Duration) -> io::Result<ExitStatus> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if start.elapsed() > deadline {
            return Err(io::Error::other(format!("it did not end in {} s", deadline.as_secs_f32())));
        }
        for file in said {
            if file.metadata()?.len() > MAX_SAID {
                return Err(io::Error::other(format!("it says more than {MAX_SAID} bytes")));
            }
        }
        std::thread::sleep(POLL);
    }
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
