//! Remote repositories: metadata by streaming, packages into the output tree `downloads`.
//!
//! A package is asked for again from where a broken connection left it (`Range`), a few times. Its size is checked
//! here, its checksum when it is read for its record. `downloads` is published to `top:work/global/download`, where
//! other jobs link packages from; what an earlier attempt published there is not fetched again.
//!
//! A download is written in the scratch directory and moved into the tree when it is whole. So what an earlier attempt
//! left in its tree can be taken over: it is linked, and fetched again unless size, mtime and checksum are right.

use std::{
    fs::{self, File},
    io::{self, Read, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use reqwest::{
    StatusCode,
    blocking::{Client, Response},
    header::{CONTENT_RANGE, RANGE},
    redirect::Policy,
};
use tutti_job::{Digest, LogicalPath, Root};
use tutti_repodata::{RepoPackage, Repository, RepositoryError};

use super::sources::SourceFile;
use crate::{FailureClass, JobContext, OrFail as _, RunnerError, log, runners::parallel};

/// Output tree of downloads.
pub(crate) const OUTPUT: &str = "downloads";
/// Where it is published, below the compose's directory.
pub(crate) const PUBLISHED: &str = "work/global/download";
/// Longest wait for a connection, and for each further block of an answer.
const CONNECT: Duration = Duration::from_secs(30);
const STALL: Duration = Duration::from_secs(60);
/// Tries for one file, and the wait after the first; it doubles.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);
const BLOCK: usize = 256 * 1024;

/// A remote repository.
#[derive(Clone)]
pub(super) struct Remote {
    url: String,
    client: Client,
}

impl Remote {
    pub(super) fn new(url: &str) -> Result<Self, RunnerError> {
        // One provider for the whole process; another thread may have set it, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .user_agent(concat!("tutti/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .timeout(STALL)
            .redirect(Policy::custom(|attempt| {
                let secure = attempt.previous().iter().all(|url| url.scheme() == "https");
                if attempt.previous().len() > 10 || (secure && attempt.url().scheme() != "https") {
                    return attempt.error("too many redirects, or one from https to http");
                }
                attempt.follow()
            }))
            .build()
            .or_fail(FailureClass::Tool, || "failed to set up the HTTP client")?;
        Ok(Self { url: url.to_owned(), client })
    }

    /// Reads `repomd.xml`.
    pub(super) fn load(&self) -> Result<Repository, RepositoryError> {
        let remote = self.clone();
        Repository::load(Box::new(move |href| {
            let response = remote.get(&remote.address(None, href), 0).map_err(io::Error::other)?;
            Ok(Box::new(response) as Box<dyn Read + Send>)
        }))
    }

    /// Reads `repomd.xml` for a job.
    pub(super) fn repository(&self) -> Result<Repository, RunnerError> {
        self.load().map_err(|error| {
            RunnerError::caused_by(FailureClass::External, format!("failed to read the repository {}", self.url), error)
                .with_hint("check pkgset_repos, and that this host reaches the server")
        })
    }

    fn address(&self, base: Option<&str>, href: &str) -> String {
        let base = base.filter(|base| base.starts_with("http://") || base.starts_with("https://")).unwrap_or(&self.url);
        let href = href.strip_prefix("./").unwrap_or(href);
        format!("{}/{}", base.trim_end_matches('/'), escaped(href))
    }

    /// Asks for a file from byte `from` on, up to [`TRIES`] times.
    fn get(&self, address: &str, from: u64) -> Result<Response, RunnerError> {
        let mut pause = PAUSE;
        for attempt in 1.. {
            let mut request = self.client.get(address);
            if from > 0 {
                request = request.header(RANGE, format!("bytes={from}-"));
            }
            let answer = request.send();
            let again = match &answer {
                Ok(response) => {
                    response.status().is_server_error() || response.status() == StatusCode::TOO_MANY_REQUESTS
                }
                Err(_) => true,
            };
            if !again || attempt >= TRIES {
                let response = answer.and_then(Response::error_for_status);
                return response.or_fail(FailureClass::External, || format!("failed to fetch {address}"));
            }
            std::thread::sleep(pause);
            pause *= 2;
        }
        Err(RunnerError::tool("no answer and no error"))
    }

    /// Directory of this repository's downloads: distinct URLs may have equal paths below.
    fn directory(&self) -> String {
        Digest::of(self.url.as_bytes()).to_string()[..16].to_owned()
    }
}

/// Reads the `repomd.xml` of a repository on a server (`http://`, `https://`).
///
/// # Errors
/// When it cannot be fetched or is not valid.
pub fn remote_repository(url: &str) -> Result<Repository, RepositoryError> {
    let failed =
        |error| RepositoryError::Open { file: "repodata/repomd.xml".to_owned(), source: io::Error::other(error) };
    Remote::new(url).map_err(failed)?.load()
}

/// Escapes what a path in a URL cannot hold; `+` and `~` of file names stay.
fn escaped(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' | b'+' | b'=' | b'@' | b',' => {
                text.push(char::from(byte));
            }
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}

/// Downloads packages, a few at a time; in their order.
pub(super) fn packages(
    context: &JobContext,
    remote: &Remote,
    packages: &[RepoPackage],
) -> Result<Vec<SourceFile>, RunnerError> {
    let tree = context.output_tree(OUTPUT)?;
    // Asks for this staging directory to be kept if the attempt fails.
    let mark = context.checkpoints()?.join(OUTPUT);
    fs::write(&mark, b"").or_fail(FailureClass::Tool, || format!("failed to write {}", mark.display()))?;
    let taken = AtomicU64::new(0);
    let mut files = Vec::with_capacity(packages.len());
    let fetch = |(): &mut (), package: &RepoPackage| download(context, remote, &tree, package, &taken);
    parallel::ordered(
        context,
        packages,
        || (),
        fetch,
        |index, file| {
            context.progress.set("download packages", index as u64 + 1, packages.len() as u64);
            files.push(file);
            Ok(())
        },
    )?;
    if !context.earlier.is_empty() {
        let (taken, total) = (taken.into_inner(), packages.len());
        log!(context, "{}: {taken} of {total} packages were downloaded by earlier attempts", remote.url);
        context.counters.add("downloads_taken_over", taken);
    }
    Ok(files)
}

/// Where earlier attempts have their downloads.
pub(super) fn earlier(context: &JobContext) -> impl Iterator<Item = PathBuf> + '_ {
    context.earlier.iter().map(|staging| staging.join("trees").join(OUTPUT))
}

/// Links a whole download of an earlier attempt to `path`. Anything that is not right is left to [`fetch`].
fn take_over(context: &JobContext, below: &str, path: &Path, package: &RepoPackage) -> bool {
    earlier(context).any(|tree| {
        if tutti_files::hard_link(&tree.join(below), path).is_err() {
            return false;
        }
        let right = is_whole(path, package).unwrap_or(false);
        if !right {
            let _ = fs::remove_file(path);
        }
        right
    })
}

/// Whether this is the file that the metadata lists: a host that lost its power may have lost some bytes of it.
fn is_whole(path: &Path, package: &RepoPackage) -> io::Result<bool> {
    let mut file = tutti_files::open_regular(path)?;
    let metadata = file.metadata()?;
    if metadata.len() != package.size || u64::try_from(metadata.mtime()) != Ok(package.mtime) {
        return Ok(false);
    }
    let mut hasher = package.checksum.kind().hasher();
    let mut block = vec![0; BLOCK];
    loop {
        match file.read(&mut block) {
            Ok(0) => return Ok(hasher.finish() == package.checksum),
            Ok(count) => hasher.update(&block[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn download(
    context: &JobContext,
    remote: &Remote,
    tree: &Path,
    package: &RepoPackage,
    taken: &AtomicU64,
) -> Result<SourceFile, RunnerError> {
    let href = package.location_href.strip_prefix("./").unwrap_or(&package.location_href);
    let below = format!("{}/{href}", remote.directory());
    let logical = LogicalPath::new(Root::Top, format!("{PUBLISHED}/{below}"))
        .or_fail(FailureClass::Input, || format!("{} lists the unusable location {href:?}", remote.url))?;
    let published = context.volumes.resolve(&logical)?;
    let path = if fs::metadata(&published).is_ok_and(|metadata| metadata.is_file() && metadata.len() == package.size) {
        published
    } else {
        let path = tree.join(&below);
        let cause = || format!("failed to write {}", path.display());
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).or_fail(FailureClass::Tool, cause)?;
        }
        if take_over(context, &below, &path, package) {
            taken.fetch_add(1, Ordering::Relaxed);
        } else {
            let address = remote.address(package.location_base.as_deref(), href);
            let temporary = fetch(context, remote, &address, package)?;
            tutti_files::rename(&temporary, &path).or_fail(FailureClass::Tool, cause)?;
        }
        path
    };
    let name = href.rsplit('/').next().unwrap_or(href).to_owned();
    Ok(SourceFile { path, logical, name, expected: Some(package.checksum.clone()) })
}

/// Fetches one file whole into the scratch directory; a broken connection is taken up where it ended.
fn fetch(context: &JobContext, remote: &Remote, address: &str, package: &RepoPackage) -> Result<PathBuf, RunnerError> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let path = context.scratch()?.join(format!("download-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
    let cause = || format!("failed to write {}", path.display());
    let mut file = File::create(&path).or_fail(FailureClass::Tool, cause)?;
    let mut have = 0;
    for attempt in 1..=TRIES {
        context.cancel.check()?;
        let mut response = remote.get(address, have)?;
        if have > 0 && !continues(&response, have) {
            // The server gave the file from its start.
            file.set_len(0).or_fail(FailureClass::Tool, cause)?;
            io::Seek::rewind(&mut file).or_fail(FailureClass::Tool, cause)?;
            have = 0;
        }
        let ended = copy(context, &mut response, &mut file, &mut have, package.size).map_err(|error| match error {
            Broken::Write(source) => RunnerError::caused_by(FailureClass::Tool, cause(), source),
            Broken::Cancelled(error) => error,
        })?;
        if have == package.size {
            let time = std::time::UNIX_EPOCH + Duration::from_secs(package.mtime);
            file.set_modified(time).or_fail(FailureClass::Tool, cause)?;
            return Ok(path);
        }
        if have > package.size || (ended && attempt == TRIES) {
            break;
        }
        std::thread::sleep(PAUSE * attempt);
    }
    Err(RunnerError::new(
        FailureClass::External,
        format!("{address} gave {have} bytes, the metadata of its repository says {}", package.size),
    )
    .with_hint("the repository may be changing: retry, or use another mirror"))
}

fn continues(response: &Response, have: u64) -> bool {
    let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    response.status() == StatusCode::PARTIAL_CONTENT
        && range.is_some_and(|range| range.starts_with(&format!("bytes {have}-")))
}

enum Broken {
    Write(io::Error),
    Cancelled(RunnerError),
}

/// Copies until the answer ends (true), breaks (false) or is longer than `limit`.
fn copy(context: &JobContext, from: &mut Response, to: &mut File, have: &mut u64, limit: u64) -> Result<bool, Broken> {
    let mut block = vec![0; BLOCK];
    loop {
        context.cancel.check().map_err(Broken::Cancelled)?;
        let count = match from.read(&mut block) {
            Ok(0) => return Ok(true),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return Ok(false),
        };
        to.write_all(&block[..count]).map_err(Broken::Write)?;
        context.counters.add("download_bytes", count as u64);
        *have += count as u64;
        if *have > limit {
            return Ok(true);
        }
    }
}
