use proptest::prelude::*;

use super::*;

fn hashed(name: &str, data: &[u8]) -> HashedFile {
    let mut hasher = MultiHasher::new(&Algorithm::ALL);
    hasher.update(data);
    let (size, digests) = hasher.finish();
    HashedFile { name: name.to_owned(), size, digests }
}

#[test]
fn digests_are_those_of_the_standards() {
    // Digests of the empty message: RFC 1321, FIPS 180-4 examples.
    let file = hashed("empty", b"");
    assert_eq!(file.digests[&Algorithm::Md5], "d41d8cd98f00b204e9800998ecf8427e");
    assert_eq!(file.digests[&Algorithm::Sha1], "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    let sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(file.digests[&Algorithm::Sha256], sha256);
    let lengths: Vec<usize> = file.digests.values().map(String::len).collect();
    assert_eq!(lengths, [32, 40, 56, 64, 96, 128]);
}

#[test]
fn one_file_holds_all_sorted() {
    let files = [hashed("b.iso", b"b"), hashed("a.iso", b"a")];
    let made = checksum_files(&files, &[Algorithm::Sha256], Style::OneFile, "T-1").unwrap();
    let expected = format!(
        "# a.iso: 1 bytes\nSHA256 (a.iso) = {}\n# b.iso: 1 bytes\nSHA256 (b.iso) = {}\n",
        files[1].digests[&Algorithm::Sha256],
        files[0].digests[&Algorithm::Sha256]
    );
    let file = ChecksumFile { name: "T-1-CHECKSUM".to_owned(), text: expected };
    assert_eq!(made, [file]);
    let error = checksum_files(&files, &[Algorithm::Md5, Algorithm::Sha1], Style::OneFile, "").unwrap_err();
    assert_eq!(error, Error::NotOneAlgorithm { count: 2 });
}

#[test]
fn default_style_has_one_file_per_image_and_directory() {
    let files = [hashed("b.iso", b"b"), hashed("a.iso", b"a")];
    let made = checksum_files(&files, &[Algorithm::Md5, Algorithm::Sha256], Style::PerImage, "").unwrap();
    let names: Vec<&str> = made.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["MD5SUM", "SHA256SUM", "a.iso.MD5SUM", "a.iso.SHA256SUM", "b.iso.MD5SUM", "b.iso.SHA256SUM"]);
    assert!(checksum_files(&[hashed("../a", b"")], &[Algorithm::Md5], Style::PerImage, "").is_err());
    assert!(checksum_files(&[hashed("a\nb", b"")], &[Algorithm::Md5], Style::PerImage, "").is_err());
}

#[test]
fn templates_have_both_styles() {
    let values =
        BTreeMap::from([("variant", "Server".to_owned()), ("arch", "x86_64".to_owned()), ("label", String::new())]);
    let expand = |template: &str| base_name(template, &values);
    assert_eq!(expand("%(variant)s-{arch}").unwrap(), "Server-x86_64");
    assert_eq!(expand("100%%{{x}}").unwrap(), "100%{x}");
    assert_eq!(expand("").unwrap(), "");
    assert_eq!(expand("%(label)s").unwrap(), "");
    for bad in ["%(nope)s", "{nope}", "{arch", "%(arch)", "%d", "}", "{arch}/x", "../{arch}", "{arch!r}"] {
        assert!(expand(bad).is_err(), "{bad}");
    }
}

#[test]
fn coreutils_accepts_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let files = [hashed("a b.iso", b"first"), hashed("c.iso", b"second")];
    std::fs::write(dir.path().join("a b.iso"), b"first").unwrap();
    std::fs::write(dir.path().join("c.iso"), b"second").unwrap();
    let made = checksum_files(&files, &[Algorithm::Sha256], Style::OneFile, "").unwrap();
    std::fs::write(dir.path().join(&made[0].name), &made[0].text).unwrap();
    let output = std::process::Command::new("sha256sum").args(["-c", "CHECKSUM"]).current_dir(dir.path()).output();
    let output = match output {
        Ok(output) => output,
        Err(error) => return crate::testing::skip(&format!("sha256sum cannot be run: {error}")),
    };
    assert!(output.status.success(), "{output:?}");
}

proptest! {
    #[test]
    fn templates_never_panic(template in "[%(){}sa-z/.\\PC]{0,30}") {
        let values = BTreeMap::from([("a", "x".to_owned()), ("s", "y".to_owned())]);
        if let Ok(name) = base_name(&template, &values) {
            prop_assert!(!name.contains('/'));
        }
    }
}
