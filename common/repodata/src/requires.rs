//! Which requirements go into `primary`: the filter of createrepo_c 1.2.5 (`parsehdr.c`).
//!
//! In header order: `rpmlib(…)` is dropped; so is a path that is one of the package's own files in `primary`, a
//! requirement that equals one of the package's provides in name, sense and version, and one that equals the last
//! requirement kept under the same name. Of all `libc.so.6…` only the one with the highest symbol version stays, and
//! it goes to the end. The filter changes nothing when it runs over its own output.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

use tutti_rpm::evr::version_compare;
use tutti_rpm::{Dependency, Evr, Package, Sense};

/// Whether a path belongs into `primary` (createrepo_c 1.2.5 `misc.h`, `cr_is_primary`).
pub(crate) fn is_primary(path: &str) -> bool {
    path.starts_with("/etc/") || path == "/usr/lib/sendmail" || path.contains("bin/")
}

type Range = Option<(Sense, Evr)>;

/// Returns the requirements to write, in order.
pub(crate) fn filtered(package: &Package) -> Vec<&Dependency> {
    let own_files = own_primary_files(package);
    let provided: HashSet<(&str, &Range)> =
        package.provides.iter().map(|provide| (provide.name.as_str(), &provide.range)).collect();
    let mut last_kept: HashMap<&str, (&Range, bool)> = HashMap::new();
    let mut kept = Vec::with_capacity(package.requires.len());
    let mut libc: Option<&Dependency> = None;
    for require in &package.requires {
        let name = require.name.as_str();
        if name.starts_with("rpmlib(") || own_files.contains(name) || provided.contains(&(name, &require.range)) {
            continue;
        }
        if last_kept.get(name) == Some(&(&require.range, require.pre)) {
            continue;
        }
        if name.starts_with("libc.so.6") {
            if libc.is_none_or(|best| symbol_version_order(&best.name, name) == Ordering::Less) {
                libc = Some(require);
            }
            continue;
        }
        last_kept.insert(name, (&require.range, require.pre));
        kept.push(require);
    }
    kept.extend(libc);
    kept
}

/// The package's own files in `primary`, if a requirement can name one at all.
fn own_primary_files(package: &Package) -> HashSet<&str> {
    if !package.requires.iter().any(|require| require.name.starts_with('/') && is_primary(&require.name)) {
        return HashSet::new();
    }
    package
        .files
        .iter()
        .map(|file| file.path.as_str())
        .filter(|path| path.starts_with('/') && is_primary(path))
        .collect()
}

/// Compares `libc.so.6()`, `libc.so.6(GLIBC_2.3.4)(64bit)` and the like by the version inside the first parentheses.
fn symbol_version_order(first: &str, second: &str) -> Ordering {
    match (symbol_version(first), symbol_version(second)) {
        (Ok(first), Ok(second)) => version_compare(first, second),
        (Ok(_), Err(_)) => Ordering::Greater,
        (Err(_), Ok(_)) => Ordering::Less,
        (Err(first), Err(second)) => first.cmp(&second),
    }
}

/// The text from the first digit inside the first parentheses up to the closing one; without such a version, the rank
/// of what is there: no parenthesis, an unclosed one, nothing inside, no digit inside.
fn symbol_version(name: &str) -> Result<&str, u8> {
    let (_, inside) = name.split_once('(').ok_or(0u8)?;
    let (inside, _) = inside.split_once(')').ok_or(1u8)?;
    if inside.is_empty() {
        return Err(2);
    }
    let digit = inside.find(|c: char| c.is_ascii_digit()).ok_or(3u8)?;
    Ok(&inside[digit..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use tutti_rpm::{FileEntry, FileKind};

    fn dependency(name: &str, version: &str, pre: bool) -> Dependency {
        let evr = Evr { epoch: None, version: version.into(), release: String::new() };
        Dependency { name: name.into(), range: (!version.is_empty()).then_some((Sense::Equal, evr)), pre }
    }

    fn names(requires: &[(&str, &str, bool)], provides: &[(&str, &str)], files: &[&str]) -> Vec<String> {
        let package = Package {
            requires: requires.iter().map(|(name, version, pre)| dependency(name, version, *pre)).collect(),
            provides: provides.iter().map(|(name, version)| dependency(name, version, false)).collect(),
            files: files.iter().map(|path| FileEntry { path: (*path).into(), kind: FileKind::File }).collect(),
            ..Package::default()
        };
        filtered(&package).iter().map(|require| require.name.clone()).collect()
    }

    #[test]
    fn own_things_and_rpmlib_are_dropped() {
        let requires = [
            ("rpmlib(X)", "1", false),
            ("/usr/bin/a", "", true),
            ("/opt/a", "", false),
            ("b", "1", true),
            ("b", "2", false),
        ];
        assert_eq!(names(&requires, &[("b", "1")], &["/usr/bin/a", "/opt/a"]), ["/opt/a", "b"]);
    }

    #[test]
    fn only_the_last_of_a_name_is_compared() {
        let twice = [("a", "1", false), ("a", "1", false), ("a", "1", true), ("a", "1", false)];
        assert_eq!(names(&twice, &[], &[]), ["a", "a", "a"]);
    }

    #[test]
    fn highest_libc_goes_to_the_end() {
        let requires = [
            ("libc.so.6()(64bit)", "", false),
            ("libc.so.6(GLIBC_2.9)(64bit)", "", false),
            ("libc.so.6(GLIBC_2.34)(64bit)", "", false),
            ("libc.so.6(GLIBC_2.4)(64bit)", "", false),
            ("z", "", false),
        ];
        assert_eq!(names(&requires, &[], &[]), ["z", "libc.so.6(GLIBC_2.34)(64bit)"]);
        let ranks = ["libc.so.6", "libc.so.6(x", "libc.so.6()", "libc.so.6(x)(64bit)", "libc.so.6(G_2)"];
        assert!(ranks.windows(2).all(|pair| symbol_version_order(pair[0], pair[1]) == Ordering::Less));
    }

    #[test]
    fn primary_paths() {
        assert!(is_primary("/usr/sbin/x") && is_primary("/etc/x") && is_primary("/opt/mybin/x"));
        assert!(is_primary("/usr/lib/sendmail") && !is_primary("/usr/lib/sendmail.x") && !is_primary("/usr/bin"));
    }
}
