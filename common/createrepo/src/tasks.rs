//! Which files are packages: the walk of createrepo_c 1.2.5 (`createrepo_c.c`), or its package list.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Broken, Error, PackageError};
use crate::glob;
use crate::options::{Clashes, LocationOptions, Selection};

/// A file to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    /// The file.
    pub(crate) path: PathBuf,
    /// Its path as it was found or listed, which gives the order.
    relative: String,
    /// Where its file name begins in it: looked for once, and not each time that two are compared.
    name: usize,
    /// Location in the repository.
    pub(crate) href: String,
}

impl Task {
    fn new(path: PathBuf, relative: String, href: String) -> Self {
        let name = relative.rfind('/').map_or(0, |slash| slash + 1);
        Self { path, relative, name, href }
    }

    fn order(&self) -> (&str, &str) {
        (&self.relative[self.name..], &self.relative[..self.name.saturating_sub(1)])
    }

    /// File name.
    pub(crate) fn name(&self) -> &str {
        self.order().0
    }
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
pub(crate) fn walk(top: &Path, selection: &Selection, location: &LocationOptions) -> Tasks {
    let mut walker = Walk { top, selection, location, ancestors: Vec::new(), tasks: Tasks::default() };
    walker.directory(top, "");
    walker.tasks
}

struct Walk<'a> {
    top: &'a Path,
    selection: &'a Selection,
    location: &'a LocationOptions,
    /// Device and inode of the directories that are open: a link to one of them is a loop.
    ancestors: Vec<(u64, u64)>,
    tasks: Tasks,
}

impl Walk<'_> {
    fn directory(&mut self, path: &Path, relative: &str) {
        let read = || -> std::io::Result<_> {
            let metadata = fs::metadata(path)?;
            let entries = fs::read_dir(path)?.collect::<std::io::Result<Vec<_>>>()?;
            Ok(((metadata.dev(), metadata.ino()), entries))
        };
        let (identity, entries) = match read() {
            Ok(found) => found,
            Err(error) => {
                let error = PackageError::Directory(error);
                return self.tasks.broken.push(Broken { path: path.to_owned(), error });
            }
        };
        if self.ancestors.contains(&identity) {
            return;
        }
        self.ancestors.push(identity);
        for entry in entries {
            self.entry(&entry, relative);
        }
        self.ancestors.pop();
    }

    fn entry(&mut self, entry: &fs::DirEntry, directory: &str) {
        let path = entry.path();
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
            let wanted = path.as_os_str().as_encoded_bytes().ends_with(b".rpm");
            if wanted {
                self.tasks.broken.push(Broken { path, error: PackageError::Name });
            }
            return;
        };
        if glob::any(&self.selection.excludes, &name) {
            return;
        }
        let kind = entry.file_type();
        let is_link = kind.as_ref().is_ok_and(fs::FileType::is_symlink);
        // Links that lead nowhere are passed over, as createrepo_c does.
        let kind = if is_link { fs::metadata(&path).map(|metadata| metadata.file_type()) } else { kind };
        let Ok(kind) = kind else { return };
        let relative = if directory.is_empty() { name } else { format!("{directory}/{name}") };
        if kind.is_dir() {
            return self.directory(&path, &relative);
        }
        if !kind.is_file() || (is_link && self.selection.skip_symlinks) {
            return;
        }
        if is_modules(&path.to_string_lossy()) {
            self.tasks.modules.push(path);
        } else if relative.ends_with(".rpm") && !glob::any(&self.selection.excludes, &relative) {
            debug_assert!(path.starts_with(self.top));
            let href = href(&relative, self.location);
            self.tasks.packages.push(Task::new(path, relative, href));
        }
    }
}

/// Takes the lines of a package list, which are paths relative to `top`; nothing is cut from them, not even spaces.
pub(crate) fn listed<'a>(
    top: &Path,
    lines: impl Iterator<Item = &'a str>,
    selection: &Selection,
    location: &LocationOptions,
) -> Tasks {
    let mut tasks = Tasks::default();
    for line in lines.filter(|line| !line.is_empty() && !glob::any(&selection.excludes, line)) {
        // Not `join`: a line that starts with `/` is below the directory, too.
        let mut path = top.as_os_str().to_owned();
        path.push("/");
        path.push(line);
        let path = PathBuf::from(path);
        if is_modules(line) {
            tasks.modules.push(path);
        } else {
            tasks.packages.push(Task::new(path, line.to_owned(), href(line, location)));
        }
    }
    tasks
}

/// The location of a path: fewer directories, then the prefix.
fn href(relative: &str, options: &LocationOptions) -> String {
    let mut rest = relative;
    for _ in 0..options.cut_dirs {
        let Some((_, after)) = rest.trim_start_matches('/').split_once('/') else { break };
        rest = after;
    }
    match &options.prefix {
        Some(prefix) if !prefix.is_empty() => {
            format!("{}/{}", prefix.trim_end_matches('/'), rest.trim_start_matches('/'))
        }
        _ => rest.to_owned(),
    }
}

impl Tasks {
    /// Puts packages in order, by file name and then directory, bytewise; refuses clashes.
    pub(crate) fn arrange(&mut self, clashes: Clashes) -> Result<(), Error> {
        self.packages.sort_by(|a, b| a.order().cmp(&b.order()));
        if clashes == Clashes::Keep {
            return Ok(());
        }
        self.packages.dedup_by(|a, b| a.path == b.path && a.href == b.href);
        let mut places: HashMap<&str, &Task> = HashMap::with_capacity(self.packages.len());
        for task in &self.packages {
            match places.entry(&task.href) {
                Entry::Vacant(vacant) => drop(vacant.insert(task)),
                Entry::Occupied(other) => {
                    let (first, second) = (other.get().path.clone(), task.path.clone());
                    return Err(Error::Clash { href: task.href.clone(), first, second });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hrefs(tasks: &Tasks) -> Vec<&str> {
        tasks.packages.iter().map(|task| task.href.as_str()).collect()
    }

    #[test]
    fn locations_as_createrepo_c_makes_them() {
        let made = |path: &str, cut_dirs, prefix: Option<&str>| {
            href(path, &LocationOptions { cut_dirs, prefix: prefix.map(str::to_owned), base_url: None })
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
}
