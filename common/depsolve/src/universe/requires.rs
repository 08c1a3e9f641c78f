//! Which requires of a header count in a solve.
//!
//! Pungi's solver and `dnf repoclosure` read repository metadata, and createrepo_c leaves some requires out of it
//! (createrepo_c 1.2.5, `parsehdr.c` and `misc.h`): those on `rpmlib(…)`, on a file of the package itself that is in
//! `primary`, on exactly what the package provides, and all on `libc.so.6…` but the one of the highest symbol version.
//! The choice of a provider depends on which requirements there are, so the same rule is applied here. It changes nothing
//! for packages that were read from metadata.

use std::cmp::Ordering;
use std::collections::HashSet;

use tutti_rpm::evr::version_compare;
use tutti_rpm::{Dependency, Evr, Package, Sense};

type Key<'a> = (&'a str, Option<(Sense, u32, &'a str, &'a str)>);

fn key(dependency: &Dependency) -> Key<'_> {
    let range = dependency.range.as_ref().map(|(sense, Evr { epoch, version, release })| {
        (*sense, epoch.unwrap_or(0), version.as_str(), release.as_str())
    });
    (dependency.name.as_str(), range)
}

/// Whether createrepo_c lists the file in `primary`.
fn is_primary(path: &str) -> bool {
    path.starts_with("/etc/") || path == "/usr/lib/sendmail" || path.contains("bin/")
}

/// Returns the requires that repository metadata lists.
pub(super) fn listed(package: &Package) -> Vec<&Dependency> {
    let provided: HashSet<Key<'_>> = package.provides.iter().map(key).collect();
    let files: HashSet<&str> = if package.requires.iter().any(|require| is_primary(&require.name)) {
        package.files.iter().map(|file| file.path.as_str()).filter(|path| is_primary(path)).collect()
    } else {
        HashSet::new()
    };
    let mut listed = Vec::with_capacity(package.requires.len());
    let mut libc: Option<&Dependency> = None;
    for require in &package.requires {
        let name = require.name.as_str();
        let own_file = files.contains(name);
        if name.starts_with("rpmlib(") || own_file || provided.contains(&key(require)) {
            continue;
        }
        if !name.starts_with("libc.so.6") {
            listed.push(require);
        } else if libc.is_none_or(|highest| libc_order(&highest.name, name) == Ordering::Less) {
            libc = Some(require);
        }
    }
    listed.extend(libc);
    listed
}

/// Orders `libc.so.6(GLIBC_2.4)(64bit)` by the number in the first parentheses; without one is lowest.
fn libc_order(a: &str, b: &str) -> Ordering {
    match (libc_version(a), libc_version(b)) {
        (Some(a), Some(b)) => version_compare(a, b),
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

fn libc_version(name: &str) -> Option<&str> {
    let (_, rest) = name.split_once('(')?;
    let (inside, _) = rest.split_once(')')?;
    inside.find(|c: char| c.is_ascii_digit()).map(|at| &inside[at..])
}

#[cfg(test)]
mod tests {
    use tutti_rpm::{FileEntry, FileKind};

    use super::*;

    fn package(requires: &[&str]) -> Package {
        Package {
            provides: vec![Dependency::parse("self = 1-1").unwrap()],
            requires: requires.iter().map(|text| Dependency::parse(text).unwrap()).collect(),
            files: ["/usr/bin/own", "/usr/share/own"]
                .map(|path| FileEntry { path: path.to_owned(), kind: FileKind::File })
                .to_vec(),
            ..Package::default()
        }
    }

    fn names(package: &Package) -> Vec<String> {
        listed(package).into_iter().map(ToString::to_string).collect()
    }

    #[test]
    fn leaves_out_what_createrepo_leaves_out() {
        let all = [
            "rpmlib(X) <= 1",
            "/usr/bin/own",
            "/usr/share/own",
            "/usr/bin/other",
            "self = 1-1",
            "self",
            "self = 0:1-1",
        ];
        assert_eq!(names(&package(&all)), ["/usr/share/own", "/usr/bin/other", "self"]);
    }

    #[test]
    fn keeps_the_highest_libc() {
        let all = ["libc.so.6()(64bit)", "libc.so.6(GLIBC_2.4)(64bit)", "a", "libc.so.6(GLIBC_2.34)(64bit)"];
        assert_eq!(names(&package(&all)), ["a", "libc.so.6(GLIBC_2.34)(64bit)"]);
        assert_eq!(names(&package(&["libc.so.6", "libc.so.6()(64bit)"])), ["libc.so.6"]);
    }
}
