//! The distribution on disk.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result};

use crate::{catalogue, configuration};

/// How much [`write_demo`] wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Files of binary packages, all architectures; a noarch package counts once.
    pub binary_packages: usize,
    /// Source packages.
    pub source_packages: usize,
}

/// Writes the distribution into `directory`: `repos/ARCH` and `repos/source` as bare directories of RPMs,
/// `compose.conf`, `variants.xml`, `comps.xml` and `extra/EULA`. What an earlier run wrote is replaced.
///
/// # Errors
/// If something cannot be written.
pub fn write_demo(directory: &Path, build_time: u32) -> Result<Summary> {
    let repos = directory.join("repos");
    if repos.exists() {
        fs::remove_dir_all(&repos).with_context(|| format!("cannot remove {}", repos.display()))?;
    }
    let mut summary = Summary::default();
    let mut names = BTreeSet::new();
    for build in catalogue::builds(build_time)? {
        if let Some(source) = &build.source {
            source.write_into(&repos.join("source"))?;
            summary.source_packages += 1;
        }
        for (arch, packages) in &build.binaries {
            for package in packages {
                package.write_into(&repos.join(arch))?;
                names.insert(package.file_name());
            }
        }
    }
    summary.binary_packages = names.len();
    for (name, text) in configuration::FILES {
        let path = directory.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        }
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(summary)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, process::Command};

    use super::*;

    fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.extend(files(&path));
            } else {
                found.insert(path.to_string_lossy().into_owned(), fs::read(&path).unwrap());
            }
        }
        found
    }

    #[test]
    fn is_large_enough_and_the_same_every_time() {
        let directory = tempfile::tempdir().unwrap();
        let summary = write_demo(directory.path(), 1_700_000_000).unwrap();
        assert!(summary.binary_packages >= 200 && summary.source_packages >= 40, "{summary:?}");
        let first = files(directory.path());
        write_demo(directory.path(), 1_700_000_000).unwrap();
        assert!(first == files(directory.path()));
        write_demo(directory.path(), 1_700_000_001).unwrap();
        assert!(first != files(directory.path()));
    }

    #[test]
    fn every_package_is_read_by_our_reader_and_has_what_was_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        write_demo(directory.path(), 1_700_000_000).unwrap();
        let mut reader = tutti_rpm::HeaderReader::with_limits(tutti_rpm::Limits::default());
        let mut sources = 0;
        for (path, _) in files(&directory.path().join("repos")) {
            let package = reader.package(Path::new(&path)).unwrap();
            assert!(
                path.ends_with(&format!(
                    "/{}-{}-{}.{}.rpm",
                    package.name, package.evr.version, package.evr.release, package.arch
                )),
                "{path}"
            );
            sources += usize::from(package.source_rpm.is_none());
        }
        assert!(sources >= 40, "{sources}");
    }

    #[test]
    fn rpm_accepts_every_package() {
        let directory = tempfile::tempdir().unwrap();
        write_demo(directory.path(), 1_700_000_000).unwrap();
        let paths: Vec<String> = files(&directory.path().join("repos")).into_keys().collect();
        let Ok(output) = Command::new("rpm").args(["-K", "--nosignature"]).args(&paths).output() else {
            assert!(std::env::var_os("CI").is_none(), "rpm is missing");
            eprintln!("skipped: rpm is missing");
            return;
        };
        let text = String::from_utf8_lossy(&output.stdout);
        let good = text.lines().filter(|line| line.ends_with(": digests OK")).count();
        assert_eq!(good, paths.len(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        let format = "%{NAME} %{EVR} %{ARCH} %{SOURCERPM} [%{EXCLUSIVEARCH} ]\n";
        let output = Command::new("rpm").args(["-qp", "--nosignature", "--qf", format]).args(&paths).output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.lines().count(), paths.len());
        assert!(text.contains("xz-libs 1:5.4.4-1 aarch64 xz-5.4.4-1.src.rpm \n"), "{text}");
        assert!(text.contains("mcelog 3:195-2 x86_64 (none) x86_64 \n"), "{text}");
    }
}
