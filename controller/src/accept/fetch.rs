//! Files that the configuration names: local ones, and ones in git.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tutti_distro::config::{FileSource, Scm, ScmKind};

/// A text with the name to use in messages.
#[derive(Clone, Debug)]
pub(super) struct Text {
    pub(super) name: String,
    pub(super) text: String,
}

/// Largest variants, comps or prepopulate file. Fedora's comps is 2 MB.
const MAX_TEXT: u64 = 64 * 1024 * 1024;

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
    #[error("{path} has {size} bytes, more than the {MAX_TEXT} that such a file may have")]
    TooLarge {
        /// File.
        path: PathBuf,
        /// Bytes.
        size: u64,
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
        run(Command::new("sh").arg("-c").arg(command).current_dir(dir), command)?;
    }
    read(file, &super::shown(file))
}

fn read(path: &Path, name: &str) -> Result<Text, FetchError> {
    let failed = |source| FetchError::Read { path: path.to_owned(), source };
    let size = fs::metadata(path).map_err(failed)?.len();
    if size > MAX_TEXT {
        return Err(FetchError::TooLarge { path: path.to_owned(), size });
    }
    let bytes = fs::read(path).map_err(failed)?;
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
    let dir =
        std::env::temp_dir().join(format!("tutti-scm-{}-{}", std::process::id(), &commit[..commit.len().min(12)]));
    let result = checkout(&repo, &commit, &dir).and_then(|()| {
        if let Some(command) = &scm.command {
            run(Command::new("sh").arg("-c").arg(command).current_dir(&dir), command)?;
        }
        read(&dir.join(&file), &format!("{repo}#{commit}:{file}"))
    });
    let _ = fs::remove_dir_all(&dir);
    result
}

/// The commit that a branch or tag (default `master`, as Pungi) names now; a full commit id stays as it is.
pub(super) fn resolve_commit(repo: &str, branch: Option<&str>) -> Result<String, FetchError> {
    let branch = branch.unwrap_or("master");
    if branch.len() == 40 && branch.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(branch.to_owned());
    }
    let output = run(git(None).args(["ls-remote", "--exit-code", "--"]).arg(url(repo)).arg(branch), "git ls-remote")
        .map_err(|error| match error {
            // --exit-code: 2 when nothing matches.
            FetchError::Command { ref message, .. } if message.is_empty() => {
                FetchError::NoBranch { repo: repo.to_owned(), branch: branch.to_owned() }
            }
            other => other,
        })?;
    // A branch goes before a tag of the same name; a tag's commit stands in its peeled line.
    let lines: Vec<(&str, &str)> = output.lines().filter_map(|line| line.split_once('\t')).collect();
    let named = |name: String| lines.iter().find(|(_, reference)| *reference == name).map(|(commit, _)| *commit);
    named(format!("refs/heads/{branch}"))
        .or_else(|| named(format!("refs/tags/{branch}^{{}}")))
        .or_else(|| named(format!("refs/tags/{branch}")))
        .or_else(|| named(branch.to_owned()))
        .map(str::to_owned)
        .ok_or_else(|| FetchError::NoBranch { repo: repo.to_owned(), branch: branch.to_owned() })
}

fn checkout(repo: &str, commit: &str, dir: &Path) -> Result<(), FetchError> {
    let _ = fs::remove_dir_all(dir);
    fs::create_dir_all(dir).map_err(|source| FetchError::Read { path: dir.to_owned(), source })?;
    run(git(Some(dir)).args(["init", "-q"]), "git init")?;
    run(git(Some(dir)).args(["fetch", "-q", "--depth", "1", "--", &url(repo), commit]), "git fetch")?;
    run(git(Some(dir)).args(["checkout", "-q", "--detach", "FETCH_HEAD"]), "git checkout")?;
    Ok(())
}

/// Pungi writes `git+https://…`; git itself does not know that.
fn url(repo: &str) -> String {
    repo.strip_prefix("git+").unwrap_or(repo).to_owned()
}

/// git without prompts, hooks or helpers that run commands of the repository's choice.
fn git(dir: Option<&Path>) -> Command {
    let mut command = Command::new("git");
    command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_ALLOW_PROTOCOL", "file:git:http:https:ssh");
    if let Some(dir) = dir {
        command.current_dir(dir);
    }
    command
}

fn run(command: &mut Command, what: &str) -> Result<String, FetchError> {
    let failed = |message: String| FetchError::Command { what: what.to_owned(), message };
    let output = command.stdin(Stdio::null()).output().map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
