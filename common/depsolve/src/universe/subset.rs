//! A universe of some of another's packages, without compiling it again.

use std::sync::{Arc, OnceLock};

use super::files::FileTable;
use super::{PackageRecord, Universe, UniverseError};

impl Universe {
    /// Returns a universe that holds the packages for which `keep` says so, with their origins and file lists. It lives
    /// in memory only: texts and dependencies are those of the whole, used or not.
    ///
    /// # Errors
    /// A file section that cannot be read.
    pub fn subset(&self, keep: &dyn Fn(super::PackageView<'_>) -> bool) -> Result<Universe, UniverseError> {
        let files = self.files()?;
        let mut table = FileTable::empty_like(files);
        let (mut packages, mut provides, mut requires) = (Vec::new(), Vec::new(), Vec::new());
        for view in self.packages().filter(|view| keep(*view)) {
            let index = view.index() as usize;
            provides.extend_from_slice(self.provides(index));
            requires.extend_from_slice(self.requires(index));
            packages.push(PackageRecord {
                provides_end: provides.len() as u32,
                requires_end: requires.len() as u32,
                ..self.packages[index]
            });
            table.push(files.entries(index));
        }
        let lists = OnceLock::new();
        let _ = lists.set(Ok(table));
        Ok(Universe {
            bytes: Arc::clone(&self.bytes),
            files_at: 0..0,
            files_len: 0,
            arch: self.arch,
            strings: self.strings.clone(),
            evrs: self.evrs.clone(),
            dependencies: self.dependencies.clone(),
            packages,
            provides,
            requires,
            files: lists,
        })
    }
}

#[cfg(test)]
mod tests {
    use tutti_rpm::{Dependency, FileEntry, FileKind, Package};

    use super::*;
    use crate::UniverseBuilder;

    #[test]
    fn a_subset_keeps_what_its_packages_have() {
        let mut builder = UniverseBuilder::new("x86_64");
        for (origin, name) in ["a", "b", "c"].into_iter().enumerate() {
            let package = Package {
                name: name.into(),
                arch: "noarch".into(),
                provides: vec![Dependency::any(format!("p-{name}"))],
                requires: vec![Dependency::any(format!("r-{name}"))],
                files: vec![FileEntry { path: format!("/usr/bin/{name}"), kind: FileKind::File }],
                ..Package::default()
            };
            builder.add(&package, origin as u32);
        }
        let whole = Universe::open(builder.finish().unwrap()).unwrap();
        let part = whole.subset(&|view| view.name() != "b").unwrap();
        let found: Vec<_> = part.packages().map(|view| (view.name().to_owned(), view.origin())).collect();
        assert_eq!(found, [("a".to_owned(), 0), ("c".to_owned(), 2)]);
        let second = part.package(1).unwrap();
        assert!(second.provide_names().any(|name| name == "p-c"));
        assert!(!second.provide_names().any(|name| name == "p-b"));
        let files: Vec<_> = part.files().unwrap().of(1).collect();
        assert_eq!(files, [("/usr/bin", "c")]);
        assert_eq!(part.arch(), "x86_64");
    }
}
