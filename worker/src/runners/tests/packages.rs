//! What packages a set takes, and which it refuses: real files, and copies with faults.

use std::{fs, path::Path};

use tutti_job::{Input, JobKind, OutputSpec, PackageList, params::SolveParams};
use tutti_rpm::HeaderReader;

use super::chain::{pkgset_outputs, pkgset_params};
use crate::{
    FailureClass, RunnerError,
    runners::testing::{Case, Done, shared, spec},
};

/// A repository of `files`: (name in the repository, file among the real packages).
fn repository(directory: &Path, shared: &Path, files: &[(&str, &str)]) -> std::path::PathBuf {
    let to = directory.join("repository");
    fs::create_dir_all(&to).unwrap();
    for (name, from) in files {
        fs::copy(find(&shared.join("rpms/packages"), from), to.join(name)).unwrap();
    }
    to
}

fn find(directory: &Path, name: &str) -> std::path::PathBuf {
    let mut pending = vec![directory.to_owned()];
    while let Some(path) = pending.pop() {
        for item in fs::read_dir(path).unwrap() {
            let item = item.unwrap();
            if item.file_type().unwrap().is_dir() {
                pending.push(item.path());
            } else if item.file_name() == name {
                return item.path();
            }
        }
    }
    panic!("no {name}");
}

fn run(case: &Case, repository: &Path) -> Result<Done, RunnerError> {
    case.run(spec(JobKind::Pkgset, &pkgset_params(&[repository.to_owned()]), vec![], pkgset_outputs()))
}

fn names(case: &Case, done: &Done) -> Vec<String> {
    let list = PackageList::decode_checked(&case.read(&done.outputs["set/x86_64"])).unwrap();
    list.packages.iter().map(|package| package.file_name()).collect()
}

const WALRUS: &str = "walrus-5.21-1.noarch.rpm";
const WHALE: &str = "whale-0.2-1.noarch.rpm";

#[test]
fn a_file_is_read_once_whatever_lists_it() {
    let Some(shared) = shared() else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = repository(directory.path(), &shared, &[(WALRUS, WALRUS), (WHALE, WHALE)]);
    fs::create_dir(path.join("again")).unwrap();
    fs::hard_link(path.join(WALRUS), path.join("again").join(WALRUS)).unwrap();
    // A copy is another file with the same content: it is read, and the first counts.
    fs::copy(path.join(WHALE), path.join("again").join(WHALE)).unwrap();
    let case = Case::new();
    let mut params = pkgset_params(std::slice::from_ref(&path));
    let arch = params.arches["x86_64"].clone();
    params.arches.insert("aarch64".into(), arch);
    let mut outputs = pkgset_outputs();
    outputs.extend(["set/aarch64", "universe/aarch64"].map(OutputSpec::file));
    let done = case.run(spec(JobKind::Pkgset, &params, vec![], outputs)).unwrap();
    assert_eq!(done.counters["rpm_files"], 3);
    assert_eq!(names(&case, &done), [WALRUS, WHALE]);
    assert_eq!(done.outputs["set/x86_64"], done.outputs["set/aarch64"]);
}

#[test]
fn the_header_counts_and_not_the_name() {
    let Some(shared) = shared() else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = repository(directory.path(), &shared, &[("other-1-1.noarch.rpm", WALRUS)]);
    let case = Case::new();
    let done = run(&case, &path).unwrap();
    assert_eq!(names(&case, &done), [WALRUS]);
    assert!(done.warnings[0].contains("other-1-1.noarch.rpm is walrus-5.21-1.noarch.rpm"), "{:?}", done.warnings);
}

#[test]
fn damaged_files_are_named() {
    let Some(shared) = shared() else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = repository(directory.path(), &shared, &[(WALRUS, WALRUS), (WHALE, WHALE)]);
    let whole = fs::read(path.join(WALRUS)).unwrap();
    for length in [0, 50, 500, whole.len() - 1] {
        fs::write(path.join(WALRUS), &whole[..length]).unwrap();
        let error = run(&Case::new(), &path).err().unwrap();
        assert_eq!(error.class, FailureClass::Input);
        assert!(error.cause.contains(WALRUS) && error.hint.is_some(), "{error:?}");
    }
    fs::remove_file(path.join(WALRUS)).unwrap();
    std::os::unix::fs::symlink(find(&shared, WALRUS), path.join(WALRUS)).unwrap();
    let error = run(&Case::new(), &path).err().unwrap();
    assert!(error.cause.contains("symbolic link out of"), "{error}");
    let error = run(&Case::new(), &directory.path().join("nowhere")).err().unwrap();
    assert!(error.cause.contains("does not exist") && error.hint.is_some(), "{error:?}");
}

/// In a bare directory, where nothing but the file itself says how it should be; the last byte, and others.
#[test]
fn x5_a_changed_payload_is_refused() {
    let Some(shared) = shared() else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = repository(directory.path(), &shared, &[(WALRUS, WALRUS), (WHALE, WHALE)]);
    let whole = fs::read(path.join(WALRUS)).unwrap();
    let start = usize::try_from(HeaderReader::default().read(&path.join(WALRUS)).unwrap().header_end()).unwrap();
    for at in [start, start + (whole.len() - start) / 2, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(path.join(WALRUS), bytes).unwrap();
        let error = run(&Case::new(), &path).err().unwrap();
        assert_eq!(error.class, FailureClass::Input);
        // An old package: its only digest is MD5 of header and payload.
        let source = error.source.as_ref().unwrap().to_string();
        assert!(source.contains(" to the end, is ") && source.contains("MD5 of main header"), "{source}");
        assert!(error.cause.contains(WALRUS) && error.hint.is_some(), "{error:?}");
    }
    fs::write(path.join(WALRUS), whole).unwrap();
    let done = run(&Case::new(), &path).unwrap();
    assert!(done.counters["rpm_payload_bytes"] > 0);
}

#[test]
fn two_different_files_of_one_nevra_are_refused() {
    let Some(shared) = shared() else { return };
    let directory = tempfile::tempdir().unwrap();
    let files = [("foo-1.0-1.noarch.rpm", "foo-1.0-1.noarch.rpm"), ("copy.rpm", "obsolete-foo-1.0-1.noarch.rpm")];
    let path = repository(directory.path(), &shared, &files);
    let error = run(&Case::new(), &path).err().unwrap();
    let named = ["two different files", "copy.rpm", "foo-1.0-1.noarch"].iter().all(|text| error.cause.contains(text));
    assert!(named && error.hint.is_some(), "{error:?}");
}

#[test]
fn copies_with_and_without_signature_are_one_package() {
    let Some(shared) = shared() else { return };
    let directory = tempfile::tempdir().unwrap();
    let (plain, signed) = ("hello-2.0-1.x86_64.rpm", "hello-2.0-1.x86_64-signed.rpm");
    let path = repository(directory.path(), &shared, &[(plain, plain), (signed, signed)]);
    let chosen = |keys: Vec<Option<String>>| {
        let case = Case::new();
        let mut params = pkgset_params(std::slice::from_ref(&path));
        params.sigkeys = keys;
        let done = case.run(spec(JobKind::Pkgset, &params, vec![], pkgset_outputs()))?;
        let mut list = PackageList::decode_checked(&case.read(&done.outputs["set/x86_64"])).unwrap();
        assert_eq!(list.packages.len(), 1);
        Ok::<_, RunnerError>(list.packages.remove(0))
    };
    assert!(chosen(vec![None]).unwrap().path.ends_with(plain));
    let error = chosen(vec![Some("0123abcd".into())]).unwrap_err();
    assert!(error.cause.contains("hello-2.0-1.x86_64") && error.hint.is_some(), "{error:?}");
    fs::remove_file(path.join(plain)).unwrap();
    let key = chosen(vec![None]).unwrap().signing_key;
    assert_eq!(key.len(), 8);
    fs::copy(find(&shared.join("rpms/packages"), plain), path.join(plain)).unwrap();
    assert!(chosen(vec![Some(key.to_uppercase()), None]).unwrap().path.ends_with(signed));
}

#[test]
fn every_damaged_real_file_is_an_error() {
    let Some(shared) = shared() else { return };
    let mut pending = vec![shared.join("rpms/damaged")];
    let mut count = 0;
    while let Some(path) = pending.pop() {
        for item in fs::read_dir(path).unwrap() {
            let item = item.unwrap();
            if item.file_type().unwrap().is_dir() {
                pending.push(item.path());
                continue;
            }
            let directory = tempfile::tempdir().unwrap();
            fs::copy(item.path(), directory.path().join(item.file_name())).unwrap();
            let error = run(&Case::new(), directory.path()).err().unwrap();
            assert_eq!(error.class, FailureClass::Input, "{error:?}");
            assert!(error.cause.contains(item.file_name().to_str().unwrap()), "{error}");
            count += 1;
        }
    }
    assert!(count >= 10);
}

#[test]
fn missing_packages_and_dependencies_fail_where_asked() {
    let Some(shared) = shared() else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = repository(directory.path(), &shared, &[(WALRUS, WALRUS), (WHALE, WHALE)]);
    let case = Case::new();
    let pkgset = run(&case, &path).unwrap();
    let solve = |names: &[&str], check_deps: bool, require_all: bool| {
        let params = SolveParams {
            variant: "Server".into(),
            variant_kind: "variant".into(),
            arch: "x86_64".into(),
            filter_system_release: true,
            check_deps,
            require_all,
        };
        let packages: Vec<_> = names.iter().map(|name| serde_json::json!({ "name": name })).collect();
        let request = serde_json::json!([{ "arch": "x86_64", "packages": packages }]);
        let request = case.blob(request.to_string().as_bytes());
        let inputs = vec![Input::new("request", request), Input::new("universe/0", pkgset.outputs["universe/x86_64"])];
        case.run(spec(JobKind::Solve, &params, inputs, vec![OutputSpec::file("result")]))
    };
    // whale requires shark and stork, which are not there.
    let lenient = solve(&["whale", "nothing*"], false, false).unwrap();
    assert_eq!(lenient.warnings.len(), 2, "{:?}", lenient.warnings);
    let error = solve(&["whale"], true, false).err().unwrap();
    assert!(error.cause.contains("whale-0.2-1.noarch requires") && error.hint.is_some(), "{error:?}");
    assert!(error.cause.contains("is asked for as whale"), "{error}");
    let error = solve(&["whale", "nothing*"], false, true).err().unwrap();
    assert!(error.cause.contains("nothing*"), "{error}");
    let error = solve(&["nothing*"], false, false).err().unwrap();
    assert!(error.cause.contains("no packages"), "{error}");
    assert_eq!(solve(&[], false, false).err().unwrap().class, FailureClass::Input);
}
