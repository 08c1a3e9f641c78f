//! The disk against manifests: a pure function.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use tutti_job::{EntryKind, LogicalPath, Root, Volumes};

use super::{
    Finding, Severity, Subject,
    expected::{Expected, LOST_BLOB, Wanted},
    observe::{Kind, Seen},
};

/// Mode of every directory of the tree.
const DIRECTORY_MODE: u32 = 0o755;
/// Jobs named in one finding.
const NAMED: usize = 3;

/// All differences. What is missing or additional together, below one directory, is one finding.
pub(super) fn compare(subject: &Subject, expected: &Expected, seen: &BTreeMap<String, Seen>) -> Vec<Finding> {
    let mut comparison = Comparison { subject, expected, seen, findings: Vec::new() };
    comparison.wanted();
    comparison.directories();
    comparison.additional();
    comparison.unpublished();
    comparison.findings
}

struct Comparison<'a> {
    subject: &'a Subject,
    expected: &'a Expected,
    seen: &'a BTreeMap<String, Seen>,
    findings: Vec<Finding>,
}

impl Comparison<'_> {
    fn job(&self, job: Option<u32>) -> String {
        job.map(|job| self.subject.name(job)).unwrap_or_default()
    }

    fn push(&mut self, severity: Severity, path: &str, job: Option<u32>, what: String, advice: String) {
        let job = self.job(job);
        self.findings.push(Finding::new(severity, path, what, advice).of_job(job));
    }

    fn is_directory(&self, path: &str) -> bool {
        self.seen.get(path).is_some_and(|seen| seen.kind == Kind::Directory)
    }

    /// The first directory on the way to `path` that is not there or no directory.
    fn broken_way<'p>(&self, path: &'p str) -> Option<&'p str> {
        path.match_indices('/').map(|(end, _)| &path[..end]).find(|way| !self.is_directory(way))
    }

    fn wanted(&mut self) {
        // What lies below a directory that is gone is said once.
        let mut gone = BTreeMap::<&str, Vec<&Wanted>>::new();
        for (path, wanted) in &self.expected.paths {
            match (self.broken_way(path), self.seen.get(path)) {
                (Some(way), _) => gone.entry(way).or_default().push(wanted),
                (None, None) => {
                    let advice = self.restore(path, wanted);
                    self.push(Severity::Error, path, wanted.job, "is missing".to_owned(), advice);
                }
                (None, Some(seen)) => self.one(path, wanted, seen),
            }
        }
        for (way, wanted) in gone {
            self.gone(way, &wanted);
        }
    }

    fn gone(&mut self, way: &str, wanted: &[&Wanted]) {
        let jobs: BTreeSet<String> =
            wanted.iter().map(|wanted| self.job(wanted.job)).filter(|job| !job.is_empty()).collect();
        let mut made_by = jobs.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        if jobs.len() > NAMED {
            let _ = write!(made_by, " and {} other jobs", jobs.len() - NAMED);
        }
        let files = if wanted.len() == 1 { "file" } else { "files" };
        let what = match self.seen.get(way) {
            None => format!("is missing, with {} {files} in it", wanted.len()),
            Some(seen) => format!("is {}, not a directory with {} {files} in it", kind(seen), wanted.len()),
        };
        let what = if jobs.len() > 1 { format!("{what} of {made_by}") } else { what };
        let advice = if is_blob(way) || way == "work" || way == "work/tutti" {
            LOST_BLOB.to_owned()
        } else {
            "restore it from a copy, or make a new compose: finished jobs do not run again".to_owned()
        };
        let job = if jobs.len() == 1 { jobs.into_iter().next().unwrap_or_default() } else { String::new() };
        self.findings.push(Finding::new(Severity::Error, way, what, advice).of_job(job));
    }

    /// How to get one file back.
    fn restore(&self, path: &str, wanted: &Wanted) -> String {
        if is_blob(path) {
            return LOST_BLOB.to_owned();
        }
        if let (EntryKind::Package, Some(source)) = (wanted.kind, self.source(wanted)) {
            return format!(
                "if {source} is unchanged since (size {}, mtime {}), link or copy it here with its mtime; else make a new compose",
                wanted.size.unwrap_or_default(),
                wanted.mtime.unwrap_or_default()
            );
        }
        match wanted.kind {
            EntryKind::Symlink => format!("make it again: ln -s '{}' here", wanted.source),
            EntryKind::Directory => "make it again: an empty directory of mode 0755".to_owned(),
            EntryKind::File | EntryKind::Package | EntryKind::Unspecified => {
                "restore it from a copy, or make a new compose: finished jobs do not run again".to_owned()
            }
        }
    }

    /// Where a package came from.
    fn source(&self, wanted: &Wanted) -> Option<String> {
        let path: LogicalPath = wanted.source.parse().ok()?;
        matches!(path.root(), Root::File | Root::Top)
            .then(|| self.subject.volumes().resolve(&path).ok().map(|path| path.display().to_string()))?
    }

    fn one(&mut self, path: &str, wanted: &Wanted, seen: &Seen) {
        let (fits, word) = match wanted.kind {
            EntryKind::File => (seen.kind == Kind::File, "a file"),
            EntryKind::Package => (seen.kind == Kind::File, "a package"),
            EntryKind::Directory => (seen.kind == Kind::Directory, "a directory"),
            EntryKind::Symlink => (seen.kind == Kind::Symlink, "a symbolic link"),
            EntryKind::Unspecified => (true, ""),
        };
        if !fits {
            let advice = format!("remove what is there; then {}", self.restore(path, wanted));
            return self.push(Severity::Error, path, wanted.job, format!("is {}, not {word}", kind(seen)), advice);
        }
        if wanted.kind == EntryKind::Symlink && seen.target != wanted.source {
            let what = format!("leads to {}, the job made it lead to {}", seen.target, wanted.source);
            let advice = format!("make it again: ln -sfn '{}' here", wanted.source);
            return self.push(Severity::Error, path, wanted.job, what, advice);
        }
        self.contents(path, wanted, seen);
        if let Some(mode) = wanted.mode.filter(|mode| *mode != seen.mode) {
            let what = format!("has mode {:04o}, the job made it with {mode:04o}", seen.mode);
            self.push(Severity::Warning, path, wanted.job, what, format!("chmod {mode:04o}"));
        }
    }

    fn contents(&mut self, path: &str, wanted: &Wanted, seen: &Seen) {
        let mut what = Vec::new();
        let is_same = matches!((&wanted.checksum, &seen.checksum), (Some((_, good)), Some(Ok(found))) if good == found);
        if let Some(size) = wanted.size.filter(|size| *size != seen.size) {
            what.push(format!("has {} bytes, {} had {size}", seen.size, made(wanted)));
        }
        if let Some(mtime) = wanted.mtime.filter(|mtime| *mtime != seen.mtime) {
            what.push(format!("has mtime {}, {} had {mtime}", seen.mtime, made(wanted)));
        }
        match (&wanted.checksum, &seen.checksum) {
            (Some((kind, good)), Some(Ok(found))) if good != found => {
                what.push(format!("has other contents: {kind} {found}, {} had {good}", made(wanted)));
            }
            (Some(_), Some(Err(reason))) => what.push(format!("cannot be read: {reason}")),
            _ => {}
        }
        if what.is_empty() {
            return;
        }
        if is_same {
            // Of other size it is not hashed: the mtime alone is another.
            let what = format!("{}; its contents are the same", what.join("; "));
            let advice = "leave it, or set its mtime back: only its times in the metadata are wrong".to_owned();
            return self.push(Severity::Warning, path, wanted.job, what, advice);
        }
        let advice = match (wanted.kind, self.source(wanted)) {
            (EntryKind::Package, Some(source)) => {
                // Package records know files by size and mtime.
                let hidden = wanted.size == Some(seen.size) && wanted.mtime == Some(seen.mtime);
                let renewed = if hidden {
                    format!(
                        "put another file in its place (cp '{source}' NEW, mv NEW '{source}') while nothing is composed of it, and "
                    )
                } else {
                    String::new()
                };
                format!(
                    "find out who changed it ({source} may be the same file, by a hard link); restore both from a copy, or {renewed}make a new compose"
                )
            }
            _ => self.restore(path, wanted),
        };
        self.push(Severity::Error, path, wanted.job, what.join("; "), advice);
    }

    /// Modes of the directories that lead to what was published.
    fn directories(&mut self) {
        let mut ways = BTreeSet::new();
        for path in self.expected.paths.keys().filter(|path| path.starts_with("compose/")) {
            ways.extend(path.match_indices('/').map(|(end, _)| &path[..end]));
        }
        for way in ways {
            let Some(seen) = self.seen.get(way).filter(|seen| seen.kind == Kind::Directory) else { continue };
            if seen.mode != DIRECTORY_MODE {
                let what = format!("has mode {:04o}, directories of the tree have {DIRECTORY_MODE:04o}", seen.mode);
                self.push(Severity::Warning, way, None, what, format!("chmod {DIRECTORY_MODE:04o}"));
            }
        }
    }

    /// What lies in directories that belong to a job, and what lies elsewhere in the tree, and nobody made.
    fn additional(&mut self) {
        let mut known: BTreeSet<&str> = self.expected.paths.keys().map(String::as_str).collect();
        for path in self.expected.paths.keys().chain(self.expected.owned.keys()) {
            known.extend(path.match_indices('/').map(|(end, _)| &path[..end]));
        }
        known.extend(self.expected.owned.keys().map(String::as_str));
        let mut strangers = BTreeMap::<&str, u64>::new();
        let mut elsewhere = Vec::new();
        for path in self.seen.keys().filter(|path| path.starts_with("compose/") && !known.contains(path.as_str())) {
            let Some(owner) = ways(path).find(|way| self.expected.owned.contains_key(*way)) else {
                if !self.is_directory(path) && !ways(path).any(|way| self.expected.unpublished.contains_key(way)) {
                    elsewhere.push(path);
                }
                continue;
            };
            // The highest directory that is not known stands for all below it.
            let top = ways(path).filter(|way| way.len() > owner.len() && !known.contains(way)).last().unwrap_or(path);
            *strangers.entry(top).or_default() += 1;
        }
        for (path, count) in strangers {
            let owner = ways(path).find_map(|way| self.expected.owned.get(way)).copied();
            let with = if count > 1 { format!(", with {} more below it,", count - 1) } else { String::new() };
            let what = format!("was made by no job{with} in a directory that belongs to {}", self.job(owner));
            self.push(Severity::Warning, path, owner, what, "remove it, or move it elsewhere".to_owned());
        }
        if let (Some(first), false) = (elsewhere.first(), self.subject.running) {
            let what = match elsewhere.len() {
                1 => "was made by no job, where no job has a directory of its own".to_owned(),
                count => format!("and {} other files were made by no job, where no job has a directory", count - 1),
            };
            let advice = "leave it if somebody wants it there".to_owned();
            self.push(Severity::Note, first, None, what, advice);
        }
    }

    /// Directories of jobs that are not done.
    fn unpublished(&mut self) {
        // They may have become done meanwhile, or begin to be.
        if self.subject.running {
            return;
        }
        for (path, job) in &self.expected.unpublished {
            let record = self.subject.record(*job);
            // Moving outputs into the tree may have been cut off: that is gone on with.
            if record.committed || !self.seen.contains_key(path) {
                continue;
            }
            let what = format!("is in the tree, but its job is {}", record.state.as_str());
            let advice = if record.state.is_dead() {
                "remove it; tutti retry makes it anew".to_owned()
            } else {
                format!("remove it; {} makes it anew", self.subject.keeper.again(&self.subject.id))
            };
            self.push(Severity::Error, path, Some(*job), what, advice);
        }
    }
}

/// The directories that lead to a path, nearest first.
fn ways(path: &str) -> impl Iterator<Item = &str> {
    path.rmatch_indices('/').map(|(end, _)| &path[..end])
}

fn is_blob(path: &str) -> bool {
    path.starts_with(Volumes::BLOBS)
}

fn made(wanted: &Wanted) -> &'static str {
    match wanted.kind {
        EntryKind::Package => "the package set",
        _ => "the job",
    }
}

fn kind(seen: &Seen) -> String {
    match seen.kind {
        Kind::File => "a file".to_owned(),
        Kind::Directory => "a directory".to_owned(),
        Kind::Symlink => format!("a symbolic link to {}", seen.target),
        Kind::Special => "a pipe, socket or device".to_owned(),
    }
}
