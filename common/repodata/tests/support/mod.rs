//! What the tests with real files and other tools share.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tutti_repodata::{
    ChecksumType, Entry, Extra, FileIdentity, RecordsReader, RecordsWriter, WriterOptions, WrittenRepository,
    write_repository,
};
use tutti_rpm::{HeaderReader, Package};

/// A real package file: path, location below the shared packages, facts and identity.
pub(crate) struct RealPackage {
    pub(crate) href: String,
    pub(crate) package: Package,
    pub(crate) identity: FileIdentity,
}

/// Prints why a suite does nothing; in CI that is a failure.
pub(crate) fn skip(reason: &str) {
    println!("skipped: {reason}");
    assert!(std::env::var("CI").as_deref() != Ok("true"), "skipped in CI: {reason}");
}

/// Directory of real packages, from `TUTTI_SHARED` or beside the workspace.
pub(crate) fn real_directory() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let shared = std::env::var_os("TUTTI_SHARED").map_or_else(beside, PathBuf::from);
    let packages = shared.join("rpms/packages").canonicalize().ok();
    if packages.is_none() {
        skip("no real packages (set TUTTI_SHARED)");
    }
    packages
}

/// Reads all packages below a directory with the project's own header reader, in path order.
pub(crate) fn real_packages(root: &Path) -> Vec<RealPackage> {
    let mut files = Vec::new();
    collect(root, &mut files);
    files.sort();
    let mut reader = HeaderReader::default();
    let mut packages = Vec::new();
    for path in files {
        let package = reader.package(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (checksum, size) = ChecksumType::Sha256.hash_file(&path).unwrap();
        let modified = path.metadata().unwrap().modified().unwrap();
        let mtime = modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let href = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        packages.push(RealPackage { href, package, identity: FileIdentity { size, mtime, checksum } });
    }
    packages
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in directory.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rpm") {
            files.push(path);
        }
    }
}

/// Makes records of packages and a repository of them in `out`.
pub(crate) fn write(
    packages: &[RealPackage],
    extras: &[Extra],
    options: &WriterOptions,
    out: &Path,
) -> WrittenRepository {
    let path = out.with_extension("records");
    let mut writer = RecordsWriter::create(&path).unwrap();
    let mut entries = Vec::new();
    for real in packages {
        let record = writer.add(&real.package, &real.identity).unwrap();
        entries.push(Entry {
            record,
            location_href: real.href.clone(),
            location_base: None,
            mtime: real.identity.mtime,
            checksum: real.identity.checksum.clone(),
            size: real.identity.size,
        });
    }
    writer.seal().unwrap();
    let reader = RecordsReader::open(&path).unwrap();
    std::fs::create_dir_all(out).unwrap();
    write_repository(out, &reader, &entries, extras, options).unwrap()
}

/// Runs a command and fails the test with its output when it fails.
pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{}{text}", String::from_utf8_lossy(&output.stdout));
    output
}

/// Whether a command exists and succeeds.
pub(crate) fn works(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// The createrepo_c command of the Python package, version 1.2.
pub(crate) fn createrepo_c() -> Option<PathBuf> {
    let script = "import createrepo_c, os, sys\n\
                  assert createrepo_c.VERSION.startswith('1.2.')\n\
                  print(os.path.join(sys.prefix, 'bin', 'createrepo_c'))";
    let output = Command::new("python3").args(["-c", script]).output().ok()?;
    let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    if output.status.success() && path.is_file() {
        return Some(path);
    }
    skip("no createrepo_c 1.2 (pip install createrepo_c==1.2.5)");
    None
}
