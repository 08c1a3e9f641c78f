//! Real packages, whole, damaged and damaged here.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests may panic")]

mod support;

use tutti_rpm::{Error, HeaderReader, Package};

#[test]
fn real_packages_match_their_index() {
    let Some(rpms) = support::rpms() else { return };
    let packages = support::packages(&rpms);
    assert!(packages.len() > 600);
    let mut reader = HeaderReader::default();
    let (mut verified, mut incomplete) = (0, Vec::new());
    for (path, expected) in &packages {
        let file = reader.read(path).unwrap_or_else(|error| panic!("{}: {}", path.display(), error.cause()));
        let package = file.package().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let text = |key: &str| expected[key].as_str().map(str::to_owned);
        assert_eq!(Some(&package.name), text("name").as_ref());
        assert_eq!(Some(&package.evr.version), text("version").as_ref(), "{}", path.display());
        assert_eq!(Some(&package.evr.release), text("release").as_ref());
        assert_eq!(u64::from(package.evr.epoch_number()), expected["epoch"].as_u64().unwrap_or(0));
        assert_eq!(Some(package.is_source()), expected["source"].as_bool(), "{}", path.display());
        if !package.is_source() {
            assert_eq!(Some(&package.arch), text("arch").as_ref());
            assert_eq!(package.source_rpm, text("sourcerpm").filter(|name| name != "(none)"), "{}", path.display());
        }
        assert_eq!(Some(package.build_time), expected["buildtime"].as_u64());
        assert_eq!(Some(package.files.len() as u64), expected["nfiles"].as_u64(), "{}", path.display());
        assert_eq!(Some(package.changelogs.len() as u64), expected["n_changelog"].as_u64(), "{}", path.display());
        assert_eq!(Some(package.header_start), expected["hdr"][0].as_u64());
        assert_eq!(Some(package.header_end), expected["hdr"][1].as_u64());
        assert_eq!(Some(file.payload_digest().unwrap().is_some()), expected["paydigest"].as_bool());
        let signatures = expected["sig"].as_array().unwrap();
        if signatures.is_empty() && !file.signature().contains(tutti_rpm::tag::signature::OPENPGP) {
            assert_eq!(package.signing_key, None, "{}", path.display());
        }
        verified += usize::from(file.verify_header_digest().unwrap().is_some());
        if let Err(error) = file.check_complete() {
            assert!(matches!(error, Error::Truncated { .. }), "{error}");
            incomplete.push(path.file_name().unwrap().to_string_lossy().into_owned());
            assert_ne!(expected["rpmkeys_K_nosignature"], "digests OK", "{}: {error}", path.display());
        }
    }
    println!("{verified} header digests verified; cut short: {incomplete:?}");
    assert!(verified > 500 && !incomplete.is_empty());
}

/// Signatures of rpm 6, which stand in a tag of their own; the ids are the ends of the first eight bytes of the fingerprints
/// (RFC 9580, 5.5.4.3), read from the files by hand.
#[test]
fn keys_of_rpm_6() {
    let Some(rpms) = support::rpms() else { return };
    let packages = support::packages(&rpms);
    for (name, key) in [
        ("rpm-basic-with-ed25519-2.3.4-5.el9.noarch.rpm", "2365d909"),
        ("rpm-basic-with-rsa4k-2.3.4-5.el9.noarch.rpm", "46105918"),
        ("rpm-basic-with-mldsa65-ed25519-2.3.4-5.el9.noarch.rpm", "77b8bbcf"),
        // The first of several.
        ("rpm-basic-multiple-signatures-2.3.4-5.el9.noarch.rpm", "2365d909"),
        ("empty-signed-v6-multiple-0-0.x86_64.rpm", "719ce7a5"),
    ] {
        let mut found = 0;
        for (path, _) in packages.iter().filter(|(path, _)| path.ends_with(name)) {
            let file = HeaderReader::default().read(path).unwrap();
            if file.signature().contains(tutti_rpm::tag::signature::OPENPGP) {
                assert_eq!(file.package().unwrap().signing_key.as_deref(), Some(key), "{}", path.display());
                found += 1;
            }
        }
        assert!(found > 0, "{name}");
    }
}

#[test]
fn damaged_packages_are_refused() {
    let Some(rpms) = support::rpms() else { return };
    let damaged: Vec<_> =
        support::index(&rpms).into_iter().filter(|(path, _)| path.starts_with(rpms.join("damaged"))).collect();
    assert!(damaged.len() >= 10);
    for (path, _) in damaged {
        let error = HeaderReader::default().package(&path).unwrap_err();
        let Error::File { path: named, source } = error else { panic!("{error} names no file") };
        assert_eq!(named, path);
        println!("{}: {source}", path.file_name().unwrap().to_string_lossy());
    }
}

/// Changes every byte of the headers of a few small real packages, and cuts them at every length.
#[test]
fn damaged_here() {
    let Some(rpms) = support::rpms() else { return };
    let mut packages = support::packages(&rpms);
    packages.sort_by_key(|(_, expected)| expected["hdr"][1].as_u64());
    let mut reader = HeaderReader::default();
    for (path, _) in packages.iter().step_by(packages.len() / 4).take(3) {
        let whole = std::fs::read(path).unwrap();
        let end = usize::try_from(reader.read(path).unwrap().header_end()).unwrap();
        for at in 0..end {
            assert!(reader.read_from(&mut &whole[..at]).is_err());
            for value in [0xff, whole[at] ^ 1] {
                let mut bytes = whole[..end].to_vec();
                bytes[at] = value;
                if let Ok(file) = reader.read_from(&mut &*bytes) {
                    let _ = (file.package(), file.check_complete(), file.payload_digest());
                }
            }
        }
    }
}

/// The `rpm` crate, an independent reader (which panics on some damaged headers).
#[test]
fn the_rpm_crate_reads_the_same() {
    let Some(rpms) = support::rpms() else { return };
    let mut reader = HeaderReader::default();
    let mut compared = 0;
    for (path, _) in support::packages(&rpms) {
        let Ok(Ok(other)) = std::panic::catch_unwind(|| rpm::PackageMetadata::open(&path)) else { continue };
        let Ok(Ok(names)) = std::panic::catch_unwind(|| names_of(&other)) else { continue };
        let package = reader.package(&path).unwrap();
        // The rpm crate replaces what is not UTF-8.
        if names.1.iter().any(|name| name.contains('\u{fffd}')) {
            continue;
        }
        assert_eq!(names, names_here(&package), "{}", path.display());
        let offsets = other.get_package_segment_offsets();
        assert_eq!((package.header_start, package.header_end), (offsets.header, offsets.payload), "{}", path.display());
        compared += 1;
    }
    println!("{compared} packages compared");
    assert!(compared > 500);
}

type Names = (String, Vec<String>, Vec<String>, Vec<String>);

fn names_of(metadata: &rpm::PackageMetadata) -> Result<Names, rpm::Error> {
    let list = |dependencies: Vec<rpm::Dependency>| dependencies.into_iter().map(|entry| entry.name).collect();
    let files = metadata.get_file_paths()?.into_iter().map(|path| path.to_string_lossy().into_owned()).collect();
    Ok((metadata.get_name()?.to_owned(), list(metadata.get_provides()?), list(metadata.get_conflicts()?), files))
}

fn names_here(package: &Package) -> Names {
    let list = |dependencies: &[tutti_rpm::Dependency]| dependencies.iter().map(|entry| entry.name.clone()).collect();
    let files = package.files.iter().map(|file| file.path.clone()).collect();
    (package.name.clone(), list(&package.provides), list(&package.conflicts), files)
}
