//! Repositories with metadata: local, remote and as lookaside.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tutti_job::{JobKind, LogicalPath, OutputSpec, PackageList, Root};

use super::chain::{pkgset_outputs, pkgset_params};
use crate::runners::testing::{Case, shared, spec};

const NAMES: [&str; 2] = ["walrus-5.21-1.noarch.rpm", "whale-0.2-1.noarch.rpm"];

/// A repository with metadata by createrepo_c; none without that program.
fn repository(directory: &Path) -> Option<PathBuf> {
    let shared = shared()?;
    let to = directory.join("repository");
    fs::create_dir_all(&to).unwrap();
    let mut pending = vec![shared.join("rpms/packages/pulp+pulp-fixtures")];
    while let Some(path) = pending.pop() {
        for item in fs::read_dir(path).unwrap() {
            let item = item.unwrap();
            if item.file_type().unwrap().is_dir() {
                pending.push(item.path());
            } else if NAMES.iter().any(|name| item.file_name() == *name) {
                fs::copy(item.path(), to.join(item.file_name())).unwrap();
            }
        }
    }
    match Command::new("createrepo_c").arg("--quiet").arg(&to).status() {
        Ok(status) if status.success() => Some(to),
        _ => {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "createrepo_c is missing");
            println!("skipped: no createrepo_c");
            None
        }
    }
}

fn run(
    case: &Case,
    repository: &str,
    outputs: Vec<OutputSpec>,
) -> Result<crate::runners::testing::Done, crate::RunnerError> {
    let params = pkgset_params(&[PathBuf::from(repository)]);
    case.run(spec(JobKind::Pkgset, &params, vec![], outputs))
}

#[test]
fn metadata_says_what_files_there_are_and_must_be() {
    let directory = tempfile::tempdir().unwrap();
    let Some(path) = repository(directory.path()) else { return };
    let url = format!("file://{}/", path.display());
    fs::write(path.join("unlisted.rpm"), b"nothing").unwrap();
    let done = run(&Case::new(), &url, pkgset_outputs()).unwrap();
    assert_eq!(done.counters["rpm_files"], 2);

    let file = path.join(NAMES[0]);
    let whole = fs::read(&file).unwrap();
    let mut changed = whole.clone();
    *changed.last_mut().unwrap() ^= 1;
    fs::write(&file, &changed).unwrap();
    let error = run(&Case::new(), &url, pkgset_outputs()).err().unwrap();
    assert!(
        error.cause.contains(NAMES[0]) && error.cause.contains("not the file that its repository lists"),
        "{error:?}"
    );
    fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    let error = run(&Case::new(), &url, pkgset_outputs()).err().unwrap();
    assert!(error.cause.contains(NAMES[0]) && error.hint.is_some(), "{error:?}");
    fs::remove_file(&file).unwrap();
    let error = run(&Case::new(), &url, pkgset_outputs()).err().unwrap();
    assert!(error.cause.contains(NAMES[0]), "{error:?}");
    fs::write(&file, &whole).unwrap();

    for item in fs::read_dir(path.join("repodata")).unwrap() {
        let item = item.unwrap().path();
        if item.to_str().unwrap().contains("primary.xml") {
            let mut bytes = fs::read(&item).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(&item, bytes).unwrap();
        }
    }
    let error = run(&Case::new(), &url, pkgset_outputs()).err().unwrap();
    assert!(
        error.one_line().contains("primary.xml") && error.one_line().contains("repomd.xml"),
        "{}",
        error.one_line()
    );
}

#[test]
fn a_lookaside_needs_metadata_alone() {
    let directory = tempfile::tempdir().unwrap();
    let Some(path) = repository(directory.path()) else { return };
    for name in NAMES {
        fs::remove_file(path.join(name)).unwrap();
    }
    let mut params = pkgset_params(&[path]);
    params.lookaside = true;
    let case = Case::new();
    let outputs = vec![OutputSpec::file("universe/x86_64")];
    let done = case.run(spec(JobKind::Pkgset, &params, vec![], outputs)).unwrap();
    let universe = tutti_depsolve::Universe::open(case.read(&done.outputs["universe/x86_64"])).unwrap();
    assert_eq!(universe.packages().map(|view| view.name().to_owned()).collect::<Vec<_>>(), ["walrus", "whale"]);
}

/// Serves a directory; each first answer with a package breaks off in the middle.
fn serve(root: PathBuf) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let resumed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&resumed);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (root, count) = (root.clone(), Arc::clone(&count));
            std::thread::spawn(move || {
                // A client that goes away is none of this server's business.
                let _ = answer(&root, stream?, &count);
                Ok::<(), std::io::Error>(())
            });
        }
    });
    (url, resumed)
}

fn answer(root: &Path, mut stream: TcpStream, resumed: &AtomicUsize) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().unwrap_or(Ok(String::new()))?;
    let mut from = 0;
    for line in lines {
        let line = line?.to_ascii_lowercase();
        if let Some(range) = line.strip_prefix("range: bytes=") {
            from = range.trim_end_matches('-').parse().unwrap_or(0);
        }
        if line.is_empty() {
            break;
        }
    }
    let path = first.split(' ').nth(1).unwrap_or("/").trim_start_matches('/').to_owned();
    let Ok(mut file) = fs::File::open(root.join(&path)) else {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let total = bytes.len();
    let head = if from == 0 {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {total}\r\nConnection: close\r\n\r\n")
    } else {
        resumed.fetch_add(1, Ordering::SeqCst);
        let left = total - from;
        format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{}/{total}\r\nContent-Length: {left}\r\nConnection: close\r\n\r\n",
            total - 1
        )
    };
    stream.write_all(head.as_bytes())?;
    let end = if path.ends_with(".rpm") && from == 0 { total / 2 } else { total };
    stream.write_all(&bytes[from..end])
}

#[test]
fn remote_packages_are_downloaded_and_taken_up_where_they_broke_off() {
    let directory = tempfile::tempdir().unwrap();
    let Some(path) = repository(directory.path()) else { return };
    let (url, resumed) = serve(path.clone());
    let case = Case::new();
    let mut outputs = pkgset_outputs();
    let target = LogicalPath::new(Root::Top, "work/global/download").unwrap();
    outputs.push(OutputSpec::merge("downloads", &target));
    let done = run(&case, &url, outputs.clone()).unwrap();
    assert_eq!(resumed.load(Ordering::SeqCst), 2);
    let list = PackageList::decode_checked(&case.read(&done.outputs["set/x86_64"])).unwrap();
    for package in &list.packages {
        let place: LogicalPath = package.path.parse().unwrap();
        let bytes = fs::read(case.volumes().resolve(&place).unwrap()).unwrap();
        assert_eq!(bytes, fs::read(path.join(package.file_name())).unwrap());
    }
    // What is published is not fetched again.
    let again = run(&case, &url, outputs.clone()).unwrap();
    assert!(!again.counters.contains_key("download_bytes"), "{:?}", again.counters);
    assert_eq!(again.outputs["set/x86_64"], done.outputs["set/x86_64"]);

    let error = run(&Case::new(), &format!("{url}/nowhere"), outputs).err().unwrap();
    assert!(error.cause.contains("/nowhere") && error.hint.is_some(), "{error:?}");
}

#[test]
fn r2_whole_downloads_of_an_earlier_attempt_are_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let Some(path) = repository(directory.path()) else { return };
    let (url, _) = serve(path.clone());
    let mut outputs = pkgset_outputs();
    outputs.push(OutputSpec::merge("downloads", &LogicalPath::new(Root::Top, "work/global/download").unwrap()));
    let spec = || spec(JobKind::Pkgset, &pkgset_params(&[PathBuf::from(&url)]), vec![], outputs.clone());
    let case = Case::new();
    let fetched = |context: &crate::JobContext| {
        let counters = context.counters.snapshot();
        let count = |name: &str| counters.get(name).copied().unwrap_or(0);
        (count("download_bytes"), count("downloads_taken_over"))
    };
    let size = |name: &str| fs::metadata(path.join(name)).unwrap().len();
    let (all, last) = (size(NAMES[0]) + size(NAMES[1]), size(NAMES[1]));

    // The second package cannot be had.
    fs::rename(path.join(NAMES[1]), path.join("hidden")).unwrap();
    let mut first = case.attempt(spec(), 1, &[]);
    first.threads = 1;
    assert!(super::super::pkgset::run(&first).is_err());
    fs::rename(path.join("hidden"), path.join(NAMES[1])).unwrap();
    let second = case.attempt(spec(), 2, &[1]);
    let made = super::super::pkgset::run(&second).unwrap();
    assert_eq!(fetched(&second), (last, 1));
    let whole = super::super::pkgset::run(&Case::new().attempt(spec(), 1, &[])).unwrap();
    assert_eq!(made, whole);

    // What is damaged is fetched again, whatever its mtime says.
    let tree = second.volumes.staging.as_ref().unwrap().join("trees/downloads");
    let kept = fs::read_dir(tree).unwrap().next().unwrap().unwrap().path();
    let damage = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let modified = fs::metadata(kept.join(name)).unwrap().modified().unwrap();
        let mut bytes = fs::read(kept.join(name)).unwrap();
        change(&mut bytes);
        // A file of its own: an earlier attempt may share the one that is there.
        fs::remove_file(kept.join(name)).unwrap();
        fs::write(kept.join(name), bytes).unwrap();
        fs::File::options().write(true).open(kept.join(name)).unwrap().set_modified(modified).unwrap();
    };
    damage(NAMES[0], &|bytes| *bytes.last_mut().unwrap() ^= 1);
    damage(NAMES[1], &|bytes| bytes.truncate(100));
    let third = case.attempt(spec(), 3, &[2]);
    assert_eq!(super::super::pkgset::run(&third).unwrap(), whole);
    assert_eq!(fetched(&third), (all, 0));
    let fourth = case.attempt(spec(), 4, &[3, 2, 1]);
    assert_eq!(super::super::pkgset::run(&fourth).unwrap(), whole);
    assert_eq!(fetched(&fourth), (0, 2));
}
