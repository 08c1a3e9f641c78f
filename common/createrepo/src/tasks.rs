//! Which files are packages: the walk of createrepo_c 1.2.5 (`createrepo_c.c`), or its package list.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, RawDir};
use rustix::io::Errno;

use tutti_repodata::location;

use crate::error::{Broken, Error, PackageError};
use crate::glob;
use crate::lock;
use crate::options::{Clashes, LocationOptions, Selection};
use crate::stat::{Looker, Stat};

/// A file to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    /// The directory that was walked, or that a list is of.
    top: Arc<Path>,
    /// The file's path below it, as it was found or listed, which gives the order.
    relative: String,
    /// Where the file name begins in it: looked for once, and not each time that two are compared.
    name: usize,
    /// Location in the repository, if it is not that path.
    href: Option<String>,
    /// What the file is, if it was looked at.
    pub(crate) stat: Option<Stat>,
}

impl Task {
    fn new(top: &Arc<Path>, relative: String, location: &LocationOptions) -> Self {
        let name = relative.rfind('/').map_or(0, |slash| slash + 1);
        let href = href(&relative, location);
        Self { top: Arc::clone(top), relative, name, href, stat: None }
    }

    /// The file.
    pub(crate) fn path(&self) -> PathBuf {
        below(&self.top, self.relative.as_bytes())
    }

    /// Location in the repository.
    pub(crate) fn href(&self) -> &str {
        self.href.as_deref().unwrap_or(&self.relative)
    }

    /// File name.
    pub(crate) fn name(&self) -> &str {
        self.order().0
    }

    fn order(&self) -> (&str, &str) {
        (&self.relative[self.name..], &self.relative[..self.name.saturating_sub(1)])
    }

    /// Whether the location is the path that gives the order.
    pub(crate) fn is_plain(&self) -> bool {
        self.href.is_none() && !self.relative.starts_with('/') && !self.relative.starts_with("./")
    }

    /// Compares with a location, if this is plain.
    pub(crate) fn cmp_location(&self, href: &str) -> Ordering {
        self.order().cmp(&href.rsplit_once('/').map_or((href, ""), |(directory, name)| (name, directory)))
    }
}

/// A path below a directory, also one that starts with `/`, which [`Path::join`] takes as it is.
fn below(top: &Path, relative: &[u8]) -> PathBuf {
    let mut path = top.as_os_str().as_bytes().to_vec();
    if !path.ends_with(b"/") {
        path.push(b'/');
    }
    path.extend_from_slice(relative);
    PathBuf::from(OsString::from_vec(path))
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    /// Packages, in the order of the metadata.
    pub(crate) packages: Vec<Task>,
    /// Module metadata.
    pub(crate) modules: Vec<PathBuf>,
    /// What could not be looked at.
    pub(crate) broken: Vec<Broken>,
}

/// The texts that make a file module metadata, anywhere in its path.
const MODULES: [&str; 3] = ["modules.yaml", ".modulemd.yaml", ".modulemd-defaults.yaml"];

fn is_modules(path: &str) -> bool {
    MODULES.iter().any(|text| path.contains(text))
}

/// Walks below a directory. Links to directories are followed, hidden files count, the order does not matter.
/// Packages are given to `looker`.
pub(crate) fn walk(top: &Path, selection: &Selection, location: &LocationOptions, looker: &mut Looker) -> Tasks {
    let (top, ancestors, tasks) = (Arc::from(top), Vec::new(), Tasks::default());
    let mut walker = Walk { top, selection, location, looker, ancestors, tasks };
    walker.directory("");
    walker.tasks
}

/// Bytes of entries that are read at once.
const ENTRIES: usize = 64 * 1024;

/// A directory.
struct Level {
    /// Device and inode.
    identity: (u64, u64),
    /// Directories in it, relative to the top.
    directories: Vec<String>,
}

struct Walk<'a> {
    top: Arc<Path>,
    selection: &'a Selection,
    location: &'a LocationOptions,
    looker: &'a mut Looker,
    /// Device and inode of the directories that are open: a link to one of them is a loop.
    ancestors: Vec<(u64, u64)>,
    tasks: Tasks,
}

impl Walk<'_> {
    fn directory(&mut self, relative: &str) {
        let path = if relative.is_empty() { self.top.to_path_buf() } else { below(&self.top, relative.as_bytes()) };
        let Level { identity, directories } = match self.files(&path, relative) {
            Ok(Some(found)) => found,
            Ok(None) => return,
            Err(error) => {
                let error = PackageError::Directory(error);
                return self.tasks.broken.push(Broken { path, error });
            }
        };
        self.ancestors.push(identity);
        for directory in directories {
            self.directory(&directory);
        }
        self.ancestors.pop();
    }

    /// Takes the files of a directory. Returns what it is and the directories in it; nothing, if it is an ancestor.
    fn files(&mut self, path: &Path, relative: &str) -> io::Result<Option<Level>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = Arc::new(rustix::fs::open(path, flags, Mode::empty())?);
        let found = self.files_in(path, relative, &directory);
        // Also of a directory that could not be read to its end.
        self.looker.flush(Some(&directory));
        found
    }

    fn files_in(&mut self, path: &Path, relative: &str, directory: &Arc<OwnedFd>) -> io::Result<Option<Level>> {
        let stat = rustix::fs::fstat(directory)?;
        let identity = (stat.st_dev, stat.st_ino);
        if self.ancestors.contains(&identity) {
            return Ok(None);
        }
        let in_modules = is_modules(&path.to_string_lossy());
        let prefix = if relative.is_empty() { String::new() } else { format!("{relative}/") };
        let (mut directories, mut buffer) = (Vec::new(), Vec::with_capacity(ENTRIES));
        let mut entries = RawDir::new(directory, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            // Nor is what others are making now a part of the repository.
            if matches!(name, b"." | b"..") || lock::is_place(name) {
                continue;
            }
            let text = String::from_utf8_lossy(name);
            if glob::any(&self.selection.excludes, &text) {
                continue;
            }
            let place = || below(&self.top, &[prefix.as_bytes(), name].concat());
            let kind = match self.kind(entry.file_type(), place) {
                Ok(kind) => kind,
                Err(error) => {
                    let (path, error) = (place(), PackageError::Open(error));
                    self.tasks.broken.push(Broken { path, error });
                    continue;
                }
            };
            let Cow::Borrowed(name) = text else {
                // Locations are UTF-8: neither it nor what is in it can be listed.
                if kind == FileType::Directory || (kind == FileType::RegularFile && name.ends_with(b".rpm")) {
                    let path = place();
                    self.tasks.broken.push(Broken { path, error: PackageError::Name });
                }
                continue;
            };
            match kind {
                FileType::Directory => directories.push([&prefix, name].concat()),
                FileType::RegularFile => self.file(name, [&prefix, name].concat(), in_modules, directory),
                _ => {}
            }
        }
        Ok(Some(Level { identity, directories }))
    }

    /// What an entry is, or leads to; unknown, if it is not to be taken. Fails where that cannot be told: packages may
    /// be there.
    fn kind(&self, kind: FileType, path: impl Fn() -> PathBuf) -> io::Result<FileType> {
        let kind = if kind == FileType::Unknown { kind_of(fs::symlink_metadata(path()))? } else { kind };
        if kind != FileType::Symlink {
            return Ok(kind);
        }
        Ok(match kind_of(fs::metadata(path()))? {
            FileType::RegularFile if self.selection.skip_symlinks => FileType::Unknown,
            kind => kind,
        })
    }

    fn file(&mut self, name: &str, relative: String, in_modules: bool, directory: &Arc<OwnedFd>) {
        if in_modules || is_modules(name) {
            self.tasks.modules.push(below(&self.top, relative.as_bytes()));
        } else if name.ends_with(".rpm") && !glob::any(&self.selection.excludes, &relative) {
            match unlisted(&self.top, &relative) {
                Some(broken) => self.tasks.broken.push(broken),
                None => self.looker.add(Task::new(&self.top, relative, self.location), Some(directory)),
            }
        }
    }
}

/// What cannot stand in metadata as a location: its path has a control character, say.
fn unlisted(top: &Path, relative: &str) -> Option<Broken> {
    let error = location::check_text(relative).err()?;
    Some(Broken { path: below(top, relative.as_bytes()), error: PackageError::Location(error) })
}

/// The kind of what was looked at; unknown, if nothing is there.
fn kind_of(found: io::Result<fs::Metadata>) -> io::Result<FileType> {
    let leads_nowhere = |error: &io::Error| {
        matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
            || Errno::from_io_error(error) == Some(Errno::LOOP)
    };
    match found {
        Ok(found) if found.is_symlink() => Ok(FileType::Symlink),
        Ok(found) if found.is_dir() => Ok(FileType::Directory),
        Ok(found) if found.is_file() => Ok(FileType::RegularFile),
        Ok(_) => Ok(FileType::Unknown),
        // Passed over, as createrepo_c does: links to nothing, to themselves, or below a file.
        Err(error) if leads_nowhere(&error) => Ok(FileType::Unknown),
        Err(error) => Err(error),
    }
}

/// Adds the lines of a package list to others. Returns those that are no UTF-8, as locations must be.
pub(crate) fn lines(top: &Path, list: &[u8], selection: &Selection, lines: &mut Vec<String>) -> Vec<Broken> {
    let mut broken = Vec::new();
    for line in list.split(|byte| *byte == b'\n') {
        match String::from_utf8_lossy(line) {
            Cow::Borrowed(line) => lines.push(line.to_owned()),
            Cow::Owned(text) if glob::any(&selection.excludes, &text) => {}
            Cow::Owned(_) => broken.push(Broken { path: below(top, line), error: PackageError::Name }),
        }
    }
    broken
}

/// Takes the lines of a package list, which are paths relative to `top`; nothing is cut from them, not even spaces.
/// Packages are given to `looker`.
pub(crate) fn listed<'a>(
    top: &Path,
    lines: impl Iterator<Item = &'a str>,
    selection: &Selection,
    location: &LocationOptions,
    looker: &mut Looker,
) -> Tasks {
    let top = Arc::from(top);
    let mut tasks = Tasks::default();
    for line in lines.filter(|line| !line.is_empty() && !glob::any(&selection.excludes, line)) {
        if is_modules(line) {
            tasks.modules.push(below(&top, line.as_bytes()));
        } else if let Some(broken) = unlisted(&top, line) {
            tasks.broken.push(broken);
        } else {
            looker.add(Task::new(&top, line.to_owned(), location), None);
        }
    }
    looker.flush(None);
    tasks
}

/// The location of a path, if it is another: fewer directories, then the prefix.
fn href(relative: &str, options: &LocationOptions) -> Option<String> {
    let mut rest = relative;
    for _ in 0..options.cut_dirs {
        let Some((_, after)) = rest.trim_start_matches('/').split_once('/') else { break };
        rest = after;
    }
    match &options.prefix {
        Some(prefix) if !prefix.is_empty() => {
            Some(format!("{}/{}", prefix.trim_end_matches('/'), rest.trim_start_matches('/')))
        }
        _ => (rest.len() != relative.len()).then(|| rest.to_owned()),
    }
}

impl Tasks {
    fn sort(&mut self) {
        // Numbers are sorted, which are short, by beginnings of names, which mostly decide.
        let beginning = |task: &Task| {
            let (name, mut bytes) = (task.name().as_bytes(), [0; 16]);
            let length = name.len().min(bytes.len());
            bytes[..length].copy_from_slice(&name[..length]);
            u128::from_be_bytes(bytes)
        };
        let mut numbers: Vec<(u128, usize)> =
            self.packages.iter().enumerate().map(|(number, task)| (beginning(task), number)).collect();
        let rest = |number: usize| (self.packages[number].order(), number);
        numbers.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| rest(a.1).cmp(&rest(b.1))));
        let mut packages: Vec<Option<Task>> = std::mem::take(&mut self.packages).into_iter().map(Some).collect();
        self.packages = numbers.into_iter().filter_map(|(_, number)| packages[number].take()).collect();
    }

    /// Puts packages in order, by file name and then directory, bytewise; refuses clashes.
    pub(crate) fn arrange(&mut self, clashes: Clashes) -> Result<(), Error> {
        self.sort();
        if clashes == Clashes::Keep {
            return Ok(());
        }
        self.packages.dedup_by(|a, b| a.relative == b.relative);
        if self.packages.iter().all(|task| task.href.is_none() && is_normal(&task.relative)) {
            // Paths differ, hence locations do.
            return Ok(());
        }
        let mut places: HashMap<String, usize> = HashMap::with_capacity(self.packages.len());
        let mut keep = vec![true; self.packages.len()];
        for (number, task) in self.packages.iter().enumerate() {
            let mut entry = match places.entry(normal(task.href())) {
                Entry::Vacant(vacant) => {
                    vacant.insert(number);
                    continue;
                }
                Entry::Occupied(entry) => entry,
            };
            let other = &self.packages[*entry.get()];
            let (first, second) = (other.path(), task.path());
            if !is_one(&first, &second) {
                return Err(Error::Clash { href: entry.key().clone(), first, second });
            }
            // Of several ways to write it the plainest stays.
            let is_plainer = task.href().len() < other.href().len();
            keep[if is_plainer { entry.insert(number) } else { number }] = false;
        }
        let mut keep = keep.into_iter();
        self.packages.retain(|_| keep.next().unwrap_or(true));
        Ok(())
    }
}

/// A path without `.`, `..` behind a name, and slashes behind slashes: what clients ask a server for.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let root = if path.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}

fn is_normal(path: &str) -> bool {
    !path.as_bytes().split(|byte| *byte == b'/').any(|part| matches!(part, b"" | b"." | b".."))
}

/// Whether two paths lead to one file.
fn is_one(first: &Path, second: &Path) -> bool {
    match (fs::canonicalize(first), fs::canonicalize(second)) {
        (Ok(first), Ok(second)) => first == second,
        // What is not there is named later.
        (Err(_), Err(_)) => normal(&first.to_string_lossy()) == normal(&second.to_string_lossy()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stat;

    fn walk(top: &Path, selection: &Selection, location: &LocationOptions) -> Tasks {
        let (tasks, packages) = stat::look(1, false, |looker| super::walk(top, selection, location, looker));
        Tasks { packages, ..tasks }
    }

    fn listed<'a>(
        top: &Path,
        lines: impl Iterator<Item = &'a str>,
        selection: &Selection,
        location: &LocationOptions,
    ) -> Tasks {
        let (tasks, packages) = stat::look(1, false, |looker| super::listed(top, lines, selection, location, looker));
        Tasks { packages, ..tasks }
    }

    fn hrefs(tasks: &Tasks) -> Vec<&str> {
        tasks.packages.iter().map(Task::href).collect()
    }

    fn broken(tasks: &Tasks) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = tasks.broken.iter().map(|broken| broken.path.clone()).collect();
        paths.sort();
        paths
    }

    #[test]
    fn locations_as_createrepo_c_makes_them() {
        let made = |path: &str, cut_dirs, prefix: Option<&str>| {
            let location = LocationOptions { cut_dirs, prefix: prefix.map(str::to_owned), base_url: None };
            Task::new(&Arc::from(Path::new("/top")), path.to_owned(), &location).href().to_owned()
        };
        assert_eq!(made("a/b/c.rpm", 0, None), "a/b/c.rpm");
        assert_eq!(made("a/b/c.rpm", 1, None), "b/c.rpm");
        assert_eq!(made("a/b/c.rpm", 9, Some("x/")), "x/c.rpm");
        assert_eq!(made("./a/c.rpm", 1, Some("x")), "x/a/c.rpm");
        assert_eq!(made("../a/c.rpm", 0, None), "../a/c.rpm");
    }

    #[test]
    fn lists_are_taken_to_the_letter_and_ordered_by_name() {
        let selection = Selection { excludes: vec!["no*".into()], ..Selection::default() };
        let lines =
            ["b/x.rpm", "a/y.rpm", "./a/x.rpm", "", "no.rpm", "a/no.rpm", "../q.rpm", "b/x.rpm", "m/modules.yaml"];
        let mut tasks = listed(Path::new("/top"), lines.into_iter(), &selection, &LocationOptions::default());
        tasks.arrange(Clashes::Keep).unwrap();
        assert_eq!(hrefs(&tasks), ["a/no.rpm", "../q.rpm", "./a/x.rpm", "b/x.rpm", "b/x.rpm", "a/y.rpm"]);
        assert_eq!(tasks.modules, [Path::new("/top/m/modules.yaml")]);
        tasks.arrange(Clashes::Refuse).unwrap();
        assert_eq!(hrefs(&tasks).len(), 5, "one file listed twice counts once");
    }

    #[test]
    fn a_line_that_is_not_utf8_is_named_and_the_others_are_taken() {
        let selection = Selection { excludes: vec!["no*".into()], ..Selection::default() };
        let mut found = vec!["old.rpm".to_owned()];
        let broken = lines(Path::new("/top"), b"a.rpm\nb/\xff.rpm\nno\xff.rpm\nc.rpm\n", &selection, &mut found);
        assert_eq!(found, ["old.rpm", "a.rpm", "c.rpm", ""]);
        assert_eq!(broken.len(), 1);
        assert!(matches!(broken[0].error, PackageError::Name));
        assert_eq!(broken[0].path, below(Path::new("/top"), b"b/\xff.rpm"));
    }

    #[test]
    fn one_file_written_in_many_ways_counts_once() {
        let top = tempfile::tempdir().unwrap();
        fs::create_dir_all(top.path().join("a")).unwrap();
        fs::create_dir_all(top.path().join("far/b")).unwrap();
        std::os::unix::fs::symlink("far/b", top.path().join("b")).unwrap();
        for name in ["a/x.rpm", "a/y.rpm", "far/y.rpm"] {
            fs::write(top.path().join(name), "").unwrap();
        }
        let settled = |lines: &[&str]| {
            let lines = lines.iter().copied();
            let mut tasks = listed(top.path(), lines, &Selection::default(), &LocationOptions::default());
            let arranged = tasks.arrange(Clashes::Refuse).map_err(|error| error.to_string());
            arranged.map(|()| hrefs(&tasks).into_iter().map(str::to_owned).collect::<Vec<_>>())
        };
        let ways = ["./a/x.rpm", "a//x.rpm", "far/../a/x.rpm", "a/./x.rpm", "a/x.rpm", "a/y.rpm"];
        assert_eq!(settled(&ways).unwrap(), ["a/x.rpm", "a/y.rpm"]);
        // A link leads elsewhere, and clients do not know.
        let error = settled(&["y.rpm", "b/../y.rpm"]).unwrap_err();
        assert!(error.contains("would both be at y.rpm"), "{error}");
        assert_eq!(normal("/../a/../../b"), "/../../b");
    }

    #[test]
    fn what_metadata_cannot_hold_is_named_and_the_rest_is_taken() {
        let top = tempfile::tempdir().unwrap();
        fs::create_dir(top.path().join("d\u{1}")).unwrap();
        for name in ["a\nb.rpm", "d\u{1}/c.rpm", "e.rpm", "text\n"] {
            fs::write(top.path().join(name), "").unwrap();
        }
        let tasks = walk(top.path(), &Selection::default(), &LocationOptions::default());
        assert_eq!(hrefs(&tasks), ["e.rpm"]);
        assert_eq!(broken(&tasks), [top.path().join("a\nb.rpm"), top.path().join("d\u{1}/c.rpm")]);
        let lines = ["e.rpm", "e.rpm\r", "x\0y"].into_iter();
        let tasks = listed(top.path(), lines, &Selection::default(), &LocationOptions::default());
        assert_eq!(hrefs(&tasks), ["e.rpm"]);
        let texts: Vec<String> = tasks.broken.iter().map(Broken::text).collect();
        assert!(texts[0].ends_with("/e.rpm\\r: its path holds a control character"), "{texts:?}");
        assert!(texts[1].ends_with("/x\\u{0}y: its path holds a control character"), "{texts:?}");
    }

    #[test]
    fn two_files_at_one_location_are_refused_by_name() {
        let location = LocationOptions { cut_dirs: 1, ..LocationOptions::default() };
        let mut tasks = listed(Path::new("/top"), ["a/x.rpm", "b/x.rpm"].into_iter(), &Selection::default(), &location);
        let error = tasks.arrange(Clashes::Refuse).unwrap_err().to_string();
        assert!(error.contains("/top/a/x.rpm and /top/b/x.rpm would both be at x.rpm"), "{error}");
    }

    #[test]
    fn the_walk_follows_links_once_and_takes_hidden_files() {
        let top = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = top.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        };
        for name in [
            "z.rpm",
            "a/.h.rpm",
            "a/skip/q.rpm",
            "text",
            ".hidden/b.rpm",
            "repodata/x-modules.yaml.gz",
            "dir.rpm/c.rpm",
            ".repodata/repodata/modules.yaml",
            ".repodata.tutti.7.a/x.rpm",
        ] {
            make(name);
        }
        std::os::unix::fs::symlink("..", top.path().join("a/loop")).unwrap();
        std::os::unix::fs::symlink("nowhere", top.path().join("dangling.rpm")).unwrap();
        std::os::unix::fs::symlink("z.rpm", top.path().join("link.rpm")).unwrap();
        let selection = Selection { excludes: vec!["skip".into()], ..Selection::default() };
        let mut tasks = walk(top.path(), &selection, &LocationOptions::default());
        tasks.arrange(Clashes::Refuse).unwrap();
        assert_eq!(hrefs(&tasks), ["a/.h.rpm", ".hidden/b.rpm", "dir.rpm/c.rpm", "link.rpm", "z.rpm"]);
        assert_eq!(tasks.modules.len(), 1);
        let selection = Selection { skip_symlinks: true, ..Selection::default() };
        assert!(!hrefs(&walk(top.path(), &selection, &LocationOptions::default())).contains(&"link.rpm"));
    }
    #[test]
    fn what_cannot_be_listed_by_its_name_is_named() {
        let top = tempfile::tempdir().unwrap();
        let place = |name: &[u8]| below(top.path(), name);
        fs::create_dir(place(b"d\xff")).unwrap();
        fs::create_dir(place(b"left-out-\xff")).unwrap();
        for name in [&b"d\xff/in.rpm"[..], b"f\xff.rpm", b"text\xff", b"good.rpm"] {
            fs::write(place(name), "").unwrap();
        }
        std::os::unix::fs::symlink(place(b"d\xff"), place(b"link\xff")).unwrap();
        std::os::unix::fs::symlink("nowhere", place(b"nowhere\xff.rpm")).unwrap();
        let selection = Selection { excludes: vec!["left-out-*".into()], ..Selection::default() };
        let tasks = walk(top.path(), &selection, &LocationOptions::default());
        assert_eq!(hrefs(&tasks), ["good.rpm"]);
        assert!(tasks.broken.iter().all(|broken| matches!(broken.error, PackageError::Name)));
        assert_eq!(broken(&tasks), [place(b"d\xff"), place(b"f\xff.rpm"), place(b"link\xff")]);
    }

    #[test]
    fn a_link_that_cannot_be_followed_is_named_unless_it_leads_nowhere() {
        let top = tempfile::tempdir().unwrap();
        fs::write(top.path().join("file.rpm"), "").unwrap();
        // A name longer than any file system takes: the target cannot be looked at.
        for (name, target) in [
            ("nowhere.rpm", "none"),
            ("self.rpm", "self.rpm"),
            ("below.rpm", "file.rpm/inside"),
            ("far.rpm", "x".repeat(300).as_str()),
        ] {
            std::os::unix::fs::symlink(target, top.path().join(name)).unwrap();
        }
        let tasks = walk(top.path(), &Selection::default(), &LocationOptions::default());
        assert_eq!(hrefs(&tasks), ["file.rpm"]);
        assert_eq!(broken(&tasks), [top.path().join("far.rpm")]);
        assert!(tasks.broken[0].text().contains("far.rpm: cannot open it: "), "{}", tasks.broken[0].text());
    }
}
