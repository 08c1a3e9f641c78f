use tutti_repodata::ChecksumType;
use tutti_rpm::Evr;

use super::*;

/// A file of a package: name, arch, signing key, content.
fn file(name: &str, arch: &str, key: Option<&str>, content: u8) -> (SourceFile, Facts) {
    let text = format!("/r/{name}.{arch}.{}.{content}.rpm", key.unwrap_or("unsigned"));
    let source = SourceFile {
        path: text.clone().into(),
        logical: format!("file:{text}").parse().unwrap(),
        name: format!("{name}-1-1.{arch}.rpm"),
        expected: None,
    };
    let is_source = arch == "src";
    let facts = Facts {
        name: name.into(),
        evr: Evr { epoch: None, version: "1".into(), release: "1".into() },
        arch: arch.into(),
        source_rpm: (!is_source).then(|| format!("{}-1-1.src.rpm", name.trim_end_matches("-libs"))),
        signing_key: key.map(str::to_owned),
        exclude_arch: vec![],
        exclusive_arch: vec![],
        size: 1,
        mtime: 1,
        checksum: ChecksumType::Sha256.hash(text.as_bytes()),
        content: ([content; 32], 1),
    };
    (source, facts)
}

fn params(keys: &[Option<&str>]) -> PkgsetParams {
    PkgsetParams {
        arches: BTreeMap::new(),
        sigkeys: keys.iter().map(|key| key.map(str::to_owned)).collect(),
        checksum_type: "sha256".into(),
        exclusive_arch_considers_noarch: true,
        inherit_exclusive_arch_to_noarch: true,
        lookaside: false,
    }
}

fn chosen(
    list: &[(SourceFile, Facts)],
    params: &PkgsetParams,
    arch: &str,
    multilib: bool,
) -> Result<Vec<usize>, RunnerError> {
    let (files, facts): (Vec<SourceFile>, Vec<Facts>) = list.iter().cloned().unzip();
    let all: Vec<usize> = (0..files.len()).collect();
    choose(&Files { files: &files, facts: &facts }, params, arch, multilib, &all, &mut Notes::default())
}

#[test]
fn only_fitting_architectures_and_their_sources() {
    let list = [
        file("a", "x86_64", None, 0),
        file("a-libs", "i686", None, 1),
        file("a", "aarch64", None, 2),
        file("a", "src", None, 3),
        file("b", "aarch64", None, 4),
        file("b", "src", None, 5),
        file("c", "noarch", None, 6),
    ];
    assert_eq!(chosen(&list, &params(&[None]), "x86_64", false).unwrap(), [0, 6, 3]);
    assert_eq!(chosen(&list, &params(&[None]), "x86_64", true).unwrap(), [0, 1, 6, 3]);
    assert_eq!(chosen(&list, &params(&[None]), "aarch64", true).unwrap(), [2, 4, 6, 3, 5]);
}

#[test]
fn noarch_packages_keep_to_the_limits_of_their_source() {
    let mut list = [file("a-libs", "noarch", None, 0), file("a", "src", None, 1)];
    list[1].1.exclusive_arch = vec!["s390x".into()];
    assert!(chosen(&list, &params(&[None]), "x86_64", false).unwrap().is_empty());
    assert_eq!(chosen(&list, &params(&[None]), "s390x", false).unwrap(), [0, 1]);
    let free = PkgsetParams { inherit_exclusive_arch_to_noarch: false, ..params(&[None]) };
    assert_eq!(chosen(&list, &free, "x86_64", false).unwrap(), [0, 1]);
}

#[test]
fn the_first_key_of_the_list_wins() {
    let list = [
        file("a", "noarch", None, 0),
        file("a", "noarch", Some("aaaaaaaa"), 0),
        file("a", "noarch", Some("bbbbbbbb"), 0),
    ];
    let pick = |keys: &[Option<&str>]| chosen(&list, &params(keys), "x86_64", false);
    assert_eq!(pick(&[None]).unwrap(), [0]);
    assert_eq!(pick(&[]).unwrap(), [0]);
    assert_eq!(pick(&[Some("BBBBBBBB"), None]).unwrap(), [2]);
    assert_eq!(pick(&[Some("cccccccc"), Some("00000000aaaaaaaa")]).unwrap(), [1]);
    assert_eq!(pick(&[Some("cccccccc"), Some("")]).unwrap(), [0]);
    let error = pick(&[Some("cccccccc")]).unwrap_err();
    assert!(error.cause.contains("a-1-1.noarch") && error.cause.contains("cccccccc"), "{error}");
    // Nobody asks for a signature: a signed copy alone will do.
    assert_eq!(chosen(&list[1..], &params(&[None]), "x86_64", false).unwrap(), [0]);
}

#[test]
fn copies_must_have_the_same_content() {
    let list = [file("a", "noarch", None, 0), file("a", "noarch", None, 1)];
    let error = chosen(&list, &params(&[None]), "x86_64", false).unwrap_err();
    assert!(error.cause.contains(".0.rpm") && error.cause.contains(".1.rpm"), "{error}");

    let (files, facts): (Vec<_>, Vec<_>) = [file("a", "src", None, 0), file("a", "src", None, 1)].into_iter().unzip();
    let files = Files { files: &files, facts: &facts };
    let sets = BTreeMap::from([("aarch64", vec![0]), ("x86_64", vec![1])]);
    assert!(check_sources(&files, &sets).is_err(), "source packages of all arches share one tree");
    assert!(check_sources(&files, &BTreeMap::from([("aarch64", vec![0]), ("x86_64", vec![0])])).is_ok());
}
