use proptest::prelude::*;
use tutti_rpm::Evr;

use super::*;
use crate::testing::variants;

fn nevra(name: &str, version: &str, release: &str, arch: &str) -> Nevra {
    Nevra {
        name: name.to_owned(),
        evr: Evr { epoch: Some(7), version: version.to_owned(), release: release.to_owned() },
        arch: arch.to_owned(),
    }
}

#[test]
fn a_variant_has_its_own_trees() {
    let variants = variants();
    let trees = Trees::of(variants.get("Server").unwrap());
    let arch = Arch::new("x86_64").unwrap();
    assert_eq!(trees.os_tree(arch), "Server/x86_64/os");
    assert_eq!(trees.repository(arch), "Server/x86_64/os");
    assert_eq!(trees.packages(arch), "Server/x86_64/os/Packages");
    assert_eq!(trees.debug_tree("x86_64"), "Server/x86_64/debug/tree");
    assert_eq!(trees.debug_repository("x86_64"), "Server/x86_64/debug/tree");
    assert_eq!(trees.debug_packages("x86_64"), "Server/x86_64/debug/tree/Packages");
    assert_eq!(trees.iso(arch).unwrap(), "Server/x86_64/iso");
    assert_eq!(trees.images(arch).unwrap(), "Server/x86_64/images");
    assert_eq!(trees.jigdo(arch).unwrap(), "Server/x86_64/jigdo");
    let source = Arch::new("src").unwrap();
    assert_eq!(trees.os_tree(source), "Server/source/tree");
    assert_eq!(trees.packages(source), "Server/source/tree/Packages");
    assert_eq!(trees.iso(source).unwrap(), "Server/source/iso");
}

#[test]
fn an_addon_lives_in_its_parent() {
    let variants = variants();
    let trees = Trees::of(variants.get("Server-HighAvailability").unwrap());
    let arch = Arch::Binary("x86_64");
    assert_eq!(trees.os_tree(arch), "Server/x86_64/os");
    assert_eq!(trees.repository(arch), "Server/x86_64/os/addons/HighAvailability");
    assert_eq!(trees.packages(arch), "Server/x86_64/os/addons/HighAvailability");
    assert_eq!(trees.debug_packages("x86_64"), "Server/x86_64/debug/tree/addons/HighAvailability");
    assert_eq!(trees.repository(Arch::Source), "Server/source/tree/addons/HighAvailability");
    assert_eq!(trees.iso(arch), None);
}

#[test]
fn other_nested_variants_have_own_trees() {
    let variants = variants();
    for uid in ["Server-optional", "Server-ResilientStorage"] {
        let trees = Trees::of(variants.get(uid).unwrap());
        assert_eq!(trees.packages(Arch::Binary("x86_64")), format!("{uid}/x86_64/os/Packages"));
    }
}

#[test]
fn no_two_repositories_share_a_place() {
    let variants = variants();
    let places = repositories(&variants);
    let mut paths: Vec<&str> = places.iter().map(|place| place.path.as_str()).collect();
    assert!(paths.contains(&"Server/source/tree/addons/HighAvailability"));
    let count = paths.len();
    paths.sort_unstable();
    paths.dedup();
    assert_eq!(paths.len(), count);
    // Six variants with 2 + 3 + 1 + 1 + 1 + 2 architectures: binary and debug each, and one source repository.
    assert_eq!(count, 2 * 10 + 6);
}

#[test]
fn packages_are_named_by_their_header() {
    let bash = nevra("Bash", "5.1~rc1", "2.el9^1", "x86_64");
    assert_eq!(package_file_name(&bash).unwrap(), "Bash-5.1~rc1-2.el9^1.x86_64.rpm");
    let hashed = package_path(&bash, PackageDirectories::Hashed).unwrap();
    assert_eq!(hashed, "b/Bash-5.1~rc1-2.el9^1.x86_64.rpm");
    assert_eq!(package_path(&nevra("0ad", "1", "1", "src"), PackageDirectories::Hashed).unwrap(), "0/0ad-1-1.src.rpm");
    assert_eq!(package_path(&nevra("0ad", "1", "1", "src"), PackageDirectories::Flat).unwrap(), "0ad-1-1.src.rpm");
}

#[test]
fn unsafe_names_are_refused() {
    let long = "x".repeat(250);
    for (name, version, reason) in [
        ("../../etc/x", "1", "slash"),
        ("a", "1/..", "slash"),
        (".hidden", "1", "dot"),
        ("..", "1", "dot"),
        ("-rf", "1", "dash"),
        ("a\0b", "1", "control"),
        ("a\nb", "1", "control"),
        ("a\u{85}b", "1", "control"),
        (long.as_str(), "1", "longer"),
    ] {
        let error = package_file_name(&nevra(name, version, "1", "noarch")).unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
        assert!(!error.to_string().contains('\n'));
    }
    assert!(Arch::new("../x").is_err() && Arch::new("").is_err());
    assert_eq!(Arch::new("nosrc").unwrap(), Arch::Source);
}

proptest! {
    #[test]
    fn no_header_leads_outside(name in "[./a-zA-ZİÄ\\PC]{0,8}", version in "[./0-9\\PC]{0,8}", arch in "[./a-z]{0,8}") {
        for directories in [PackageDirectories::Flat, PackageDirectories::Hashed] {
            if let Ok(path) = package_path(&nevra(&name, &version, "1", &arch), directories) {
                prop_assert!(path.split('/').all(|part| !matches!(part, "" | "." | "..")), "{}", path);
                prop_assert_eq!(path.matches('/').count(), usize::from(directories == PackageDirectories::Hashed));
            }
        }
    }
}
