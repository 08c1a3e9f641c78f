//! What is on the disk, never through a symbolic link.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};
use tutti_job::{EntryKind, Volumes};
use tutti_repodata::ChecksumType;

use super::{Depth, Finding, Progress, Severity, Subject, Watcher, expected::Expected};
use crate::{history, lifecycle::JobState};

/// Largest manifest that is read: bytes.
const MAX_READ: u64 = 256 << 20;
/// Bytes hashed between two looks at the watcher.
const BLOCK: usize = 1 << 20;

/// Type of something on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    Symlink,
    /// A pipe, a socket or a device.
    Special,
}

/// One thing on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) kind: Kind,
    pub(super) size: u64,
    pub(super) mode: u32,
    pub(super) mtime: i64,
    /// Target of a link.
    pub(super) target: String,
    /// Checksum of the contents, or why there is none; where it was asked for.
    pub(super) checksum: Option<Result<String, String>>,
}

/// Everything that was looked at.
#[derive(Debug, Default)]
pub(super) struct Observed {
    /// By path relative to the compose's directory.
    pub(super) seen: BTreeMap<String, Seen>,
    /// Places that could not be looked at.
    pub(super) findings: Vec<Finding>,
    pub(super) files: u64,
    pub(super) bytes: u64,
}

/// Why there are no bytes.
#[derive(Debug)]
pub(super) enum Unreadable {
    Absent,
    /// A directory, a link, or something else stands there.
    NoFile,
    Failed(io::Error),
}

/// Reads a regular file of bounded size.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, Unreadable> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Unreadable::Absent,
        _ => Unreadable::Failed(error),
    };
    let file = open(path)?;
    let mut bytes = Vec::new();
    file.take(MAX_READ + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_READ {
        return Err(Unreadable::Failed(io::Error::other(format!("it is larger than {MAX_READ} bytes"))));
    }
    Ok(bytes)
}

fn open(path: &Path) -> Result<File, Unreadable> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Err(Unreadable::Absent),
        Err(rustix::io::Errno::LOOP) => return Err(Unreadable::NoFile),
        Err(error) => return Err(Unreadable::Failed(error.into())),
    };
    match file.metadata() {
        Ok(metadata) if metadata.is_file() => Ok(file),
        Ok(_) => Err(Unreadable::NoFile),
        Err(error) => Err(Unreadable::Failed(error)),
    }
}

/// Whether what cannot be looked at for this may be there all the same.
pub(super) fn is_passing(error: &io::Error) -> bool {
    !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Files and names around the tree.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Text of STATUS, or why there is none.
    pub(super) status: Option<Result<String, String>>,
    /// Text of COMPOSE_ID, or why there is none.
    pub(super) compose_id: Option<Result<String, String>>,
    /// Names of the directories of attempts; none: the directory is not there.
    pub(super) staging: Option<Vec<String>>,
    /// Where the latest link stands, where it leads, and whether something is there. `None` for what is no link.
    pub(super) latest: Option<(PathBuf, Option<Latest>)>,
    /// Logs of finished jobs that are not there, and how many should be.
    pub(super) lost_logs: (Vec<String>, usize),
    /// Whether there is a history.
    pub(super) history: bool,
    /// Of these, those that could not be looked at, and why.
    pub(super) unseen: BTreeMap<&'static str, String>,
}

/// A `latest-` link.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Latest {
    pub(super) target: String,
    pub(super) leads_somewhere: bool,
    /// Whether that is a compose of the same directory.
    pub(super) leads_to_compose: bool,
}

/// Looks at what stands around the tree.
pub(super) fn places(subject: &Subject) -> Places {
    let mut unseen = BTreeMap::new();
    let mut text = |name: &'static str| match read_file(&subject.top.join(name)) {
        Ok(bytes) => Some(Ok(String::from_utf8_lossy(&bytes).trim().chars().take(200).collect())),
        Err(Unreadable::Absent) => None,
        Err(Unreadable::NoFile) => Some(Err("is no file".to_owned())),
        Err(Unreadable::Failed(error)) => {
            unseen.insert(name, error.to_string());
            Some(Err(format!("cannot be read: {error}")))
        }
    };
    let (status, compose_id) = (text("STATUS"), text("COMPOSE_ID"));
    let staging = match list(&subject.top.join(Volumes::STAGING)) {
        Ok(names) => Some(names),
        Err(error) => {
            if is_passing(&error) {
                unseen.insert(Volumes::STAGING, error.to_string());
            }
            None
        }
    };
    Places {
        status,
        compose_id,
        staging,
        unseen,
        latest: latest(subject),
        lost_logs: lost_logs(subject),
        history: !history_files(subject).is_empty(),
    }
}

/// Names in a directory, sorted.
fn list(directory: &Path) -> io::Result<Vec<String>> {
    let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
    let mut names = fs::read_dir(directory)?.map(name).collect::<io::Result<Vec<String>>>()?;
    names.sort();
    Ok(names)
}

fn lost_logs(subject: &Subject) -> (Vec<String>, usize) {
    let finished = subject.plan.jobs.iter().zip(&subject.jobs);
    let finished = finished.filter(|(_, record)| record.state == JobState::Published && record.attempt > 0);
    let logs: Vec<String> = finished.map(|(job, record)| job.log(record.attempt)).collect();
    let count = logs.len();
    (logs.into_iter().filter(|log| fs::symlink_metadata(subject.top.join(log)).is_err()).collect(), count)
}

/// Epochs and names of the files of the history, in order.
fn history_files(subject: &Subject) -> Vec<(u64, String)> {
    let names = fs::read_dir(subject.top.join(history::DIRECTORY)).into_iter().flatten().map_while(Result::ok);
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let mut files: Vec<(u64, String)> = names.filter_map(|name| Some((history::epoch_of(&name)?, name))).collect();
    files.sort();
    files
}

fn latest(subject: &Subject) -> Option<(PathBuf, Option<Latest>)> {
    let path = subject.top.parent()?.join(subject.identity.latest_link.as_deref()?);
    match fs::symlink_metadata(&path) {
        Err(_) => None,
        Ok(metadata) if metadata.is_symlink() => {
            let target = fs::read_link(&path).map(|target| target.to_string_lossy().into_owned()).unwrap_or_default();
            let leads_somewhere = fs::metadata(&path).is_ok();
            let place = fs::canonicalize(&path).ok().filter(|place| place.join("COMPOSE_ID").is_file());
            let beside = path.parent().and_then(|target| fs::canonicalize(target).ok());
            let leads_to_compose = place.is_some_and(|place| place.parent() == beside.as_deref());
            Some((path, Some(Latest { target, leads_somewhere, leads_to_compose })))
        }
        Ok(_) => Some((path, None)),
    }
}

/// Most broken invariants that are listed: one fault breaks many.
const MAX_VIOLATIONS: usize = 1000;
/// Lines replayed between two looks at the watcher.
const LINES: u32 = 10_000;

/// Replays the event history, if there is one, line by line.
pub(super) fn history(subject: &Subject, watch: Watcher<'_>) -> Option<Vec<Finding>> {
    let directory = subject.top.join(history::DIRECTORY);
    let expect = history::Expect {
        plan: Some(&subject.plan),
        ended: subject.header.ended_at.is_some() && !subject.running,
        only_compose: false,
    };
    let mut replay = HistoryReplay { checker: history::Checker::new(expect), subject, findings: Vec::new(), lines: 0 };
    for (_, name) in history_files(subject) {
        // One that cannot be read is as good as lost: that may happen.
        if let Ok(file) = open(&directory.join(&name)) {
            replay.file(&name, file, watch)?;
        }
    }
    Some(replay.finish())
}

struct HistoryReplay<'a> {
    checker: history::Checker<'a>,
    subject: &'a Subject,
    findings: Vec<Finding>,
    lines: u64,
}

impl HistoryReplay<'_> {
    fn file(&mut self, name: &str, file: File, watch: Watcher<'_>) -> Option<()> {
        let mut reader = io::BufReader::new(file);
        let (mut long, mut foreign) = (0u64, 0u64);
        // The half line of a crash, and what goes with a disk that fails, are as good as lost, too.
        while let Ok(Some(next)) = history::next(&mut reader) {
            match next {
                history::Next::Line(line) if !self.is_planned(&line) => foreign += 1,
                history::Next::Line(line) => self.checker.line(*line),
                history::Next::TooLong => long += 1,
                history::Next::Unread => {}
            }
            self.lines += 1;
            if self.lines.is_multiple_of(u64::from(LINES)) {
                let progress = Progress { what: "replaying the history", done: self.lines, total: 0 };
                if watch(progress).is_break() {
                    return None;
                }
            }
            if self.checker.violations().len() > MAX_VIOLATIONS {
                break;
            }
        }
        self.tell(name, long, &format!("longer than {} bytes, which the program does not write", history::LONGEST));
        self.tell(name, foreign, "about jobs that the compose does not have");
        Some(())
    }

    fn is_planned(&self, line: &history::Line) -> bool {
        match &line.change {
            history::Change::Job(change) => self.subject.plan.job(change.job).is_some(),
            history::Change::Compose(_) => true,
        }
    }

    fn tell(&mut self, name: &str, count: u64, which: &str) {
        if count > 0 {
            let what = format!("has {count} lines {which}; they are passed over");
            let advice = "it was damaged or edited: nothing but this check and people read it";
            self.findings.push(Finding::new(Severity::Warning, format!("{}/{name}", history::DIRECTORY), what, advice));
        }
    }

    fn finish(self) -> Vec<Finding> {
        let Self { checker, mut findings, .. } = self;
        let advice = "a fault of the program: report it, with the files history.*.jsonl beside this one";
        let finding = |violation: history::Violation| {
            Finding::new(
                Severity::Error,
                format!("{}/{}", history::DIRECTORY, history::file_name(violation.at.0)),
                format!("tells of something that must not be: {violation}"),
                advice,
            )
        };
        let violations = checker.finish();
        if violations.len() > MAX_VIOLATIONS {
            let what = format!("tell of more than {MAX_VIOLATIONS} things that must not be; the rest goes unread");
            findings.push(Finding::new(Severity::Error, history::DIRECTORY, what, advice));
        }
        findings.extend(violations.into_iter().take(MAX_VIOLATIONS).map(finding));
        findings
    }
}

/// Looks at the whole tree, and at every other expected path.
pub(super) fn observe(subject: &Subject, expected: &Expected, depth: Depth, watch: Watcher<'_>) -> Option<Observed> {
    let mut observed = Observed::default();
    observed.walk(subject, watch)?;
    for path in expected.paths.keys().filter(|path| !path.starts_with("compose/")) {
        observed.look_with_parents(subject, path);
    }
    observed.files = observed.seen.values().filter(|seen| seen.kind != Kind::Directory).count() as u64;
    if depth != Depth::Stat {
        observed.hash(subject, expected, depth, watch)?;
    }
    Some(observed)
}

impl Observed {
    fn walk(&mut self, subject: &Subject, watch: Watcher<'_>) -> Option<()> {
        let mut pending = vec!["compose".to_owned()];
        self.look(subject, "compose");
        if self.seen.get("compose").is_none_or(|seen| seen.kind != Kind::Directory) {
            return Some(());
        }
        while let Some(directory) = pending.pop() {
            let progress = Progress { what: "looking at the tree", done: self.seen.len() as u64, total: 0 };
            if watch(progress).is_break() {
                return None;
            }
            let entries = match fs::read_dir(subject.top.join(&directory)) {
                Ok(entries) => entries,
                Err(error) => {
                    self.cannot(&directory, "be listed", &error);
                    continue;
                }
            };
            for entry in entries {
                let entry = match entry {
                    Ok(entry) => entry,
                    Err(error) => {
                        self.cannot(&directory, "be listed", &error);
                        break;
                    }
                };
                let path = format!("{directory}/{}", entry.file_name().to_string_lossy());
                if self.look(subject, &path) == Some(Kind::Directory) {
                    pending.push(path);
                }
            }
        }
        Some(())
    }

    fn cannot(&mut self, path: &str, what: &str, error: &io::Error) {
        let what = format!("cannot {what}: {error}");
        let finding = Finding::new(Severity::Error, path, what, "look at its permissions and at the disk");
        self.findings.push(Finding { may_pass: is_passing(error), ..finding });
    }

    fn look_with_parents(&mut self, subject: &Subject, path: &str) {
        let ends = path.match_indices('/').map(|(index, _)| index).chain([path.len()]);
        for end in ends {
            let part = &path[..end];
            if !self.seen.contains_key(part) && self.look(subject, part) != Some(Kind::Directory) {
                return;
            }
        }
    }

    fn look(&mut self, subject: &Subject, path: &str) -> Option<Kind> {
        let full = subject.top.join(path);
        let metadata = match fs::symlink_metadata(&full) {
            Ok(metadata) => metadata,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return None;
            }
            Err(error) => {
                self.cannot(path, "be looked at", &error);
                return None;
            }
        };
        let kind = match metadata.file_type() {
            kind if kind.is_symlink() => Kind::Symlink,
            kind if kind.is_dir() => Kind::Directory,
            kind if kind.is_file() => Kind::File,
            _ => Kind::Special,
        };
        let target = match kind {
            Kind::Symlink => fs::read_link(&full).map(|target| target.to_string_lossy().into_owned()),
            Kind::File | Kind::Directory | Kind::Special => Ok(String::new()),
        };
        if let Err(error) = &target {
            self.cannot(path, "be read", error);
        }
        let seen = Seen {
            kind,
            size: metadata.size(),
            mode: metadata.mode() & 0o7777,
            mtime: metadata.mtime(),
            target: target.unwrap_or_default(),
            checksum: None,
        };
        self.seen.insert(path.to_owned(), seen);
        Some(kind)
    }

    /// Hashes every expected file of the expected size; of another size, that is what is said of it.
    fn hash(&mut self, subject: &Subject, expected: &Expected, depth: Depth, watch: Watcher<'_>) -> Option<()> {
        let file = |kind: EntryKind| matches!(kind, EntryKind::File | EntryKind::Package);
        let wanted: Vec<(&String, ChecksumType)> = expected
            .paths
            .iter()
            .filter(|(_, wanted)| file(wanted.kind))
            .filter_map(|(path, wanted)| Some((path, wanted.checksum.as_ref()?.0)))
            .collect();
        let size = |path: &String| {
            let seen = self.seen.get(path).filter(|seen| seen.kind == Kind::File)?;
            let wanted = expected.paths.get(path)?;
            let is_touched = wanted.mtime.is_some_and(|mtime| mtime != seen.mtime);
            let is_asked = depth == Depth::Contents || is_touched;
            (is_asked && wanted.size.is_none_or(|size| size == seen.size)).then_some(seen.size)
        };
        let wanted: Vec<(&String, ChecksumType, u64)> =
            wanted.into_iter().filter_map(|(path, kind)| Some((path, kind, size(path)?))).collect();
        let total = wanted.iter().map(|(_, _, size)| size).sum();
        for (path, kind, _) in wanted {
            let checksum = self.hash_one(&subject.top.join(path), kind, total, watch)?;
            if let Some(seen) = self.seen.get_mut(path) {
                seen.checksum = Some(checksum);
            }
        }
        Some(())
    }

    fn hash_one(
        &mut self,
        path: &Path,
        kind: ChecksumType,
        total: u64,
        watch: Watcher<'_>,
    ) -> Option<Result<String, String>> {
        let mut file = match open(path) {
            Ok(file) => file,
            Err(Unreadable::Absent | Unreadable::NoFile) => return Some(Err("it went away".to_owned())),
            Err(Unreadable::Failed(error)) => return Some(Err(error.to_string())),
        };
        let mut hasher = kind.hasher();
        let mut block = vec![0; BLOCK];
        loop {
            if watch(Progress { what: "comparing contents, bytes", done: self.bytes, total }).is_break() {
                return None;
            }
            match file.read(&mut block) {
                Ok(0) => return Some(Ok(hasher.finish().hex().to_owned())),
                Ok(count) => {
                    hasher.update(&block[..count]);
                    self.bytes += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Some(Err(error.to_string())),
            }
        }
    }
}
