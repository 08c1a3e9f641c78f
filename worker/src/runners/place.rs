//! Where packages lie below their directory: one rule for `link`, `createrepo` and `metadata`.

use std::collections::BTreeMap;

use tutti_distro::layout::{PackageDirectories, package_path};
use tutti_job::{JobSpec, PackageEntry, PackageList};
use tutti_rpm::{Evr, Nevra};

use crate::{FailureClass, JobContext, OrFail as _, RunnerError};

/// Identity of a package as the domain crates have it.
pub(super) fn nevra(entry: &PackageEntry) -> Nevra {
    let evr = Evr { epoch: entry.epoch, version: entry.version.clone(), release: entry.release.clone() };
    Nevra { name: entry.name.clone(), evr, arch: entry.arch.clone() }
}

/// Packages by their path relative to the directory of packages, sorted. The same content listed twice is there once.
///
/// # Errors
/// Class input for an unsafe name, and for two different files that would have one name.
pub(super) fn places(packages: Vec<PackageEntry>, hashed: bool) -> Result<BTreeMap<String, PackageEntry>, RunnerError> {
    let directories = if hashed { PackageDirectories::Hashed } else { PackageDirectories::Flat };
    let mut places: BTreeMap<String, PackageEntry> = BTreeMap::new();
    for entry in packages {
        let place = package_path(&nevra(&entry), directories)
            .or_fail(FailureClass::Input, || format!("the header of {} has an unusable name", entry.path))?;
        match places.get(&place) {
            None => {
                places.insert(place, entry);
            }
            Some(known) if (&known.checksum_type, &known.checksum) == (&entry.checksum_type, &entry.checksum) => {}
            Some(known) => {
                return Err(RunnerError::input(format!(
                    "two different packages would be {place}: {} and {}",
                    known.path, entry.path
                ))
                .with_hint("remove one of them from the repositories, or exclude it with filter_packages"));
            }
        }
    }
    Ok(places)
}

/// The packages of input `name`.
pub(super) fn list(context: &JobContext, name: &str) -> Result<Vec<PackageEntry>, RunnerError> {
    Ok(PackageList::decode_checked(&context.input_bytes(name)?)?.packages)
}

/// The packages of all inputs below `prefix`, one list after the other.
pub(super) fn lists_below(context: &JobContext, prefix: &str) -> Result<Vec<PackageEntry>, RunnerError> {
    let mut packages = Vec::new();
    for name in names_below(&context.spec, prefix) {
        packages.extend(list(context, &name)?);
    }
    Ok(packages)
}

/// Names of the inputs below `prefix`.
pub(super) fn names_below(spec: &JobSpec, prefix: &str) -> Vec<String> {
    spec.inputs.iter().map(|input| input.name.clone()).filter(|name| name.starts_with(prefix)).collect()
}

/// Inputs `PREFIX/N` by N.
///
/// # Errors
/// Class tool for an input whose N is no number.
pub(super) fn numbered(spec: &JobSpec, prefix: &str) -> Result<BTreeMap<u32, String>, RunnerError> {
    let mut found = BTreeMap::new();
    for name in names_below(spec, prefix) {
        let number = name[prefix.len()..].parse();
        let number = number.or_fail(FailureClass::Tool, || format!("input {name} does not end in a number"))?;
        found.insert(number, name);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, epoch: Option<u32>, checksum: &str) -> PackageEntry {
        PackageEntry {
            name: name.into(),
            epoch,
            version: "1".into(),
            release: "2".into(),
            arch: "noarch".into(),
            path: format!("file:/r/{checksum}.rpm"),
            checksum: checksum.into(),
            ..PackageEntry::default()
        }
    }

    #[test]
    fn places_are_hashed_and_deduplicated_and_never_shared() {
        let found =
            places(vec![entry("Bash", None, "a"), entry("Bash", None, "a"), entry("zsh", None, "b")], true).unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), ["b/Bash-1-2.noarch.rpm", "z/zsh-1-2.noarch.rpm"]);
        let found = places(vec![entry("zsh", None, "b")], false).unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), ["zsh-1-2.noarch.rpm"]);
        let error = places(vec![entry("zsh", None, "a"), entry("zsh", Some(1), "b")], false).unwrap_err();
        assert!(error.cause.contains("file:/r/a.rpm") && error.cause.contains("file:/r/b.rpm"), "{error}");
        assert!(places(vec![entry("../x", None, "a")], false).is_err());
    }
}
