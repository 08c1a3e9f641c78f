use proptest::prelude::*;
use tutti_rpm::{Dependency, Evr, FileEntry, FileKind, Package};

use super::*;

fn package(name: &str, version: &str, requires: &[&str], files: &[&str]) -> Package {
    Package {
        name: name.to_owned(),
        evr: Evr::parse(version),
        arch: "x86_64".to_owned(),
        source_rpm: Some(format!("{name}-{version}.src.rpm")),
        provides: vec![Dependency::parse("p(x) = 1").unwrap()],
        requires: requires.iter().map(|text| Dependency::parse(text).unwrap()).collect(),
        files: files.iter().map(|path| FileEntry { path: (*path).to_owned(), kind: FileKind::File }).collect(),
        ..Package::default()
    }
}

fn sample() -> Vec<Package> {
    vec![
        package("b", "2:1.0-1", &["c >= 1", "rpmlib(X) <= 1"], &["/usr/bin/b", "/"]),
        package("a", "10-1", &["b"], &["/usr/bin/a", "/usr/share/a/x"]),
        package("a", "9-1", &["b", "b"], &[]),
        package("a", "0:9-1", &[], &[]),
        Package { arch: "src".to_owned(), source_rpm: None, ..package("a", "9-1", &["make"], &["a.spec"]) },
    ]
}

fn bytes(packages: &[Package], order: &[usize]) -> Vec<u8> {
    let mut builder = UniverseBuilder::new("x86_64");
    for at in order {
        builder.add(&packages[*at], *at as u32);
    }
    builder.finish().unwrap()
}

#[test]
fn reads_what_was_written() {
    let universe = Universe::open(bytes(&sample(), &[0, 1, 2, 3, 4])).unwrap();
    assert_eq!(universe.arch(), "x86_64");
    let nevras: Vec<String> = universe.packages().map(|package| package.nevra()).collect();
    assert_eq!(nevras, ["a-9-1.src", "a-9-1.x86_64", "a-9-1.x86_64", "a-10-1.x86_64", "b-2:1.0-1.x86_64"]);
    let origins: Vec<u32> = universe.packages().map(|package| package.origin()).collect();
    assert_eq!(origins, [4, 3, 2, 1, 0]);
    assert_eq!(universe.package(0).unwrap().source_rpm(), None);
    assert_eq!(universe.package(4).unwrap().source_rpm(), Some("b-2:1.0-1.src.rpm"));
    assert_eq!(universe.requires(2).len(), 1, "twice the same requirement is one");
    assert_eq!(universe.requires(4).len(), 1, "rpmlib is left out");
    let provides: Vec<&str> = universe.package(4).unwrap().provide_names().collect();
    assert_eq!(provides, ["b", "p(x)"]);
    assert_eq!(universe.package(0).unwrap().provide_names().collect::<Vec<_>>(), ["p(x)"]);
    let files: Vec<_> = universe.files().unwrap().of(4).collect();
    assert_eq!(files, [("", ""), ("/usr/bin", "b")]);
    assert!(universe.package(5).is_none());
}

#[test]
fn an_empty_universe_is_one() {
    let universe = Universe::open(bytes(&[], &[])).unwrap();
    assert!(universe.is_empty() && universe.files().is_ok());
}

#[test]
fn says_what_is_wrong() {
    let good = bytes(&sample(), &[0, 1]);
    assert_eq!(Universe::open(b"something else".to_vec()).unwrap_err(), UniverseError::Magic);
    assert_eq!(Universe::open(good[..20].to_vec()).unwrap_err(), UniverseError::Damaged { what: "ends early" });
    let mut newer = good.clone();
    newer[8] = 99;
    assert_eq!(Universe::open(newer).unwrap_err(), UniverseError::Format { found: 99 });
    let mut flipped = good;
    flipped[60] ^= 1;
    assert_eq!(Universe::open(flipped).unwrap_err(), UniverseError::Damaged { what: "checksum" });
}

/// Bytes with a checksum that fits, around sections of the attacker's choice.
fn forged(main: &[u8], files: &[u8]) -> Vec<u8> {
    let (packed_main, packed_files) = (encode::pack("main", main).unwrap(), encode::pack("file", files).unwrap());
    let mut out = encode::MAGIC.to_vec();
    encode::push_all(&mut out, [FORMAT, 0]);
    for length in [packed_main.len(), main.len(), packed_files.len(), files.len()] {
        out.extend_from_slice(&(length as u64).to_le_bytes());
    }
    out.extend_from_slice(&packed_main);
    out.extend_from_slice(&packed_files);
    let sum = checksum(&out);
    out.extend_from_slice(&sum.to_le_bytes());
    out
}

fn sections(bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let length = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let (main_packed, main) = (length(16) as usize, length(24));
    let files_start = encode::HEADER + main_packed;
    let main = decode::unpack("main", &bytes[encode::HEADER..files_start], main).unwrap();
    let files = decode::unpack("file", &bytes[files_start..bytes.len() - 8], length(40)).unwrap();
    (main, files)
}

proptest! {
    #[test]
    fn order_of_adding_does_not_matter(order in Just((0..5_usize).collect::<Vec<_>>()).prop_shuffle()) {
        prop_assert_eq!(bytes(&sample(), &order), bytes(&sample(), &[0, 1, 2, 3, 4]));
    }

    #[test]
    fn any_damage_is_found(at in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let mut bytes = bytes(&sample(), &[0, 1, 2, 3, 4]);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(Universe::open(bytes).is_err());
    }

    #[test]
    fn any_cut_is_found(at in any::<prop::sample::Index>()) {
        let bytes = bytes(&sample(), &[0, 1, 2, 3, 4]);
        prop_assert!(Universe::open(bytes[..at.index(bytes.len())].to_vec()).is_err());
    }

    /// With a checksum made to fit, whatever opens must also solve without a panic.
    #[test]
    fn forged_sections_never_panic(at in any::<prop::sample::Index>(), value in any::<u8>(), in_files in any::<bool>()) {
        let (mut main, mut files) = sections(&bytes(&sample(), &[0, 1, 2, 3, 4]));
        let section = if in_files { &mut files } else { &mut main };
        let at = at.index(section.len());
        section[at] = value;
        if let Ok(universe) = Universe::open(forged(&main, &files)) {
            let sources = [crate::Source::own(&universe), crate::Source::lookaside(&universe)];
            let request = crate::GatherRequest {
                arch: "x86_64".to_owned(),
                packages: vec!["*".into()],
                fulltree: true,
                selfhosting: true,
                ..Default::default()
            };
            let _ = crate::gather(&request, &sources, &|| false);
            let all: Vec<_> = (0..universe.len() as u32).map(|package| crate::PackageRef::new(0, package)).collect();
            let _ = crate::repoclosure(&all, &[], &sources);
        }
    }
}
