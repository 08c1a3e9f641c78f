//! SQLite databases of `createrepo_c` and `mergerepo_c` and ours: the same dump, on the same packages.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests, outside of test functions")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tutti_integration_tests::{
    compose::Run,
    createrepo::{bare, has_reference, ours, theirs},
    odd_rpms,
    program::{Ended, clean, has_tool, run, tutti},
    scratch::Scratch,
    skip, sources,
};

type Tool = fn(&str, &[&str], &Path) -> Ended;
const WHO: [(&str, Tool); 2] = [("theirs", theirs), ("ours", ours)];
const KINDS: [&str; 3] = ["primary", "filelists", "other"];
/// A package with an empty group in its header, which createrepo_c tells from none (docs/createrepo-differences.md).
const EMPTY_GROUP: &str = "test-1.0.0.x86_64.rpm";

/// Reads a compressed database, checks it, and prints it as SQL, but for the row of `db_info`.
const DUMP: &str = "import bz2, gzip, lzma, sqlite3, subprocess, sys, tempfile\n\
    path = sys.argv[1]\n\
    tools = {'bz2': 'bzip2', 'gz': 'gzip', 'xz': 'xz', 'zst': 'zstd'}\n\
    tool = tools.get(path.rsplit('.', 1)[1])\n\
    file = tempfile.NamedTemporaryFile()\n\
    file.write(subprocess.check_output([tool, '-dc', path]) if tool else open(path, 'rb').read())\n\
    file.flush()\n\
    database = sqlite3.connect(file.name)\n\
    for pragma in ('integrity_check', 'page_size', 'encoding', 'schema_version', 'user_version', 'freelist_count'):\n\
    \tprint(pragma, database.execute('pragma ' + pragma).fetchall())\n\
    (version, checksum), = database.execute('select * from db_info')\n\
    assert version == 10, version\n\
    assert checksum == sys.argv[2], (checksum, sys.argv[2])\n\
    print('\\n'.join(line for line in database.iterdump() if 'INSERT INTO \"db_info\"' not in line))\n";

fn is_ready() -> Option<PathBuf> {
    let set = skip::shared("rpms")?;
    if !has_tool("python3") {
        skip::skipped("python3 is absent");
        return None;
    }
    has_reference().then_some(set)
}

/// What stands in `repomd.xml` about a type.
fn record(repository: &Path, kind: &str) -> String {
    let repomd = fs::read_to_string(repository.join("repodata/repomd.xml")).unwrap();
    let start = format!("<data type=\"{kind}\">");
    let (_, record) = repomd.split_once(&start).unwrap_or_else(|| panic!("no {kind} in {repomd}"));
    record.split("</data>").next().unwrap().to_owned()
}

fn between<'a>(text: &'a str, before: &str, after: char) -> &'a str {
    text.split(before).nth(1).and_then(|rest| rest.split(after).next()).unwrap_or_else(|| panic!("{before}: {text}"))
}

/// The dump of a database that `repomd.xml` lists, and its file's name.
fn dump(repository: &Path, kind: &str) -> (String, String) {
    let path = repository.join(between(&record(repository, &format!("{kind}_db")), "href=\"", '"'));
    let checksum = record(repository, kind);
    let mut command = Command::new("python3");
    command.args(["-c", DUMP]).arg(&path).arg(between(between(&checksum, "<checksum ", '/'), ">", '<'));
    clean(&mut command);
    (bare(path.file_name().unwrap().to_str().unwrap()).to_owned(), run(command).expect(0).stdout)
}

fn compare(what: &str, kinds: &[&str], theirs: &Path, ours: &Path) {
    for kind in kinds {
        let ((their_name, expected), (name, found)) = (dump(theirs, kind), dump(ours, kind));
        assert_eq!(their_name, name, "{what}");
        let differing = expected.lines().zip(found.lines()).find(|(a, b)| a != b);
        assert!(expected == found, "{what}: {kind} differs: {differing:?}");
        assert!(found.contains("integrity_check [('ok',)]") && found.contains("INSERT INTO \"packages\""), "{what}");
        assert!(record(ours, &format!("{kind}_db")).contains("<database_version>10</database_version>"), "{what}");
    }
    let leftovers: Vec<_> = fs::read_dir(ours.join("repodata"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with('.'))
        .collect();
    assert!(leftovers.is_empty(), "{what}: {leftovers:?}");
}

#[test]
fn databases_are_those_of_createrepo_c() {
    let Some(set) = is_ready() else { return };
    let scratch = Scratch::new("databases");
    let packages = set.join("packages").display().to_string();
    let common = ["-q", "-x", EMPTY_GROUP, "--revision=1700000000", "--set-timestamp-to-revision", "-o"];
    let cases: [(&str, &[&str]); 8] = [
        ("koji", &["-d"]),
        ("again", &["-d", "--update"]),
        ("changed", &["-d", "--update", "--content=x", "--no-database", "--xz"]),
        ("digests of files", &["-d", "--filelists-ext"]),
        ("without", &[]),
        ("from metadata without databases", &["-d", "--update", "--general-compress-type=gz", "--local-sqlite"]),
        ("recycled", &["-d", "--recycle-pkglist", "--compress-type=zstd", "--simple-md-filenames"]),
        ("places", &["--compatibility", "-s", "sha512", "--changelog-limit=2", "-u", "/srv/x", "--cut-dirs=1"]),
    ];
    for (what, arguments) in cases {
        for (who, tool) in WHO {
            let out = scratch.join(who).display().to_string();
            fs::create_dir_all(&out).unwrap();
            let arguments = [arguments, &common, &[out.as_str(), packages.as_str()]].concat();
            let _ = tool("createrepo_c", &arguments, scratch.path()).expect(0);
        }
        if what != "without" {
            compare(what, &KINDS, &scratch.join("theirs"), &scratch.join("ours"));
        }
        if what == "digests of files" {
            compare(what, &["filelists-ext"], &scratch.join("theirs"), &scratch.join("ours"));
        }
    }
}

/// Texts, times, sizes and lists as no real package has them.
#[test]
fn databases_of_odd_packages_are_those_of_createrepo_c() {
    if is_ready().is_none() {
        return;
    }
    let scratch = Scratch::new("odd-databases");
    odd_rpms::write(&scratch.join("packages"), 5, 60).unwrap();
    for (who, tool) in WHO {
        fs::create_dir(scratch.join(who)).unwrap();
        let arguments = ["-q", "-d", "--compress-type=gz", "-o", who, "packages"];
        let _ = tool("createrepo_c", &arguments, scratch.path()).expect(0);
    }
    // Not filelists: names that are no UTF-8 are cut in the middle of a letter there (docs/createrepo-differences.md).
    compare("odd", &["primary", "other"], &scratch.join("theirs"), &scratch.join("ours"));
}

#[test]
fn databases_of_merged_repositories_are_those_of_mergerepo_c() {
    let Some(set) = is_ready() else { return };
    let scratch = Scratch::new("merged-databases");
    for (name, below) in [("one", "packages"), ("two", "packages/rpm-rs+rpm")] {
        let (out, below) = (scratch.join(name).display().to_string(), set.join(below).display().to_string());
        fs::create_dir(&out).unwrap();
        let _ = theirs("createrepo_c", &["-q", "-o", &out, &below], scratch.path()).expect(0);
    }
    let cases: [(&str, &[&str]); 4] = [
        ("plain", &["--all", "--omit-baseurl"]),
        ("koji", &["--koji", "-a", "x86_64"]),
        ("xz", &["--compress-type=xz"]),
        ("zstd", &["--compress-type=zstd", "--simple-md-filenames"]),
    ];
    for (what, arguments) in cases {
        for (who, tool) in WHO {
            let _ = fs::remove_dir_all(scratch.join(who));
            let arguments = [arguments, &["-d", "-r", "one", "-r", "two", "-o", who]].concat();
            let _ = tool("mergerepo_c", &arguments, scratch.path()).expect(0);
        }
        compare(what, &KINDS, &scratch.join("theirs"), &scratch.join("ours"));
        // It says 0 there, which no reader takes.
        assert!(record(&scratch.join("theirs"), "primary_db").contains("<database_version>0<"), "{what}");
    }
}

/// The modern name: an update knows databases, they go when nobody asks for them, and one can be taken out.
#[test]
fn databases_come_and_go() {
    let Some(set) = is_ready() else { return };
    let scratch = Scratch::new("database-updates");
    let packages = set.join("packages/pulp+pulp-fixtures").display().to_string();
    let out = scratch.path().display().to_string();
    let update = |more: &[&str]| {
        let ended = run(tutti([&["createrepo", "--update", "-o", &out, &packages], more].concat())).expect(0);
        ended.stderr.contains("nothing changed")
    };
    let count = || fs::read_dir(scratch.join("repodata")).unwrap().count();
    assert!(!update(&["-d", "--database-compression=none"]));
    assert!(dump(scratch.path(), "primary").0 == "primary.sqlite" && count() == 7);
    assert!(update(&["-d", "--database-compression=none"]));
    assert!(!update(&["-d"]), "another compression");
    assert!(update(&["-d"]));
    assert_eq!(dump(scratch.path(), "other").0, "other.sqlite.bz2");
    let repodata = scratch.join("repodata").display().to_string();
    let _ = ours("modifyrepo_c", &["--remove", "primary_db", &repodata], scratch.path()).expect(0);
    assert_eq!(count(), 6);
    assert!(!update(&["-d"]), "one was missing");
    assert_eq!(count(), 7);
    assert!(!update(&[]), "none are wanted");
    assert_eq!(count(), 4);
    assert!(update(&[]));
}

/// An update of metadata in frames: their texts are parsed package by package, and make the same databases.
#[test]
fn databases_of_an_update_are_those_of_a_first_run() {
    let Some(set) = is_ready() else { return };
    let scratch = Scratch::new("updated-databases");
    let packages = set.join("packages");
    let all = files_below(&packages);
    let paths = all.iter().filter(|path| path.extension().is_some_and(|extension| extension == "rpm"));
    let mut paths: Vec<&str> = paths.map(|path| path.strip_prefix(&packages).unwrap().to_str().unwrap()).collect();
    paths.sort_unstable();
    let (list, directory) = (scratch.join("list").display().to_string(), packages.display().to_string());
    let make = |out: &str, paths: &[&str], more: &[&str]| {
        fs::write(&list, paths.join("\n")).unwrap();
        let out = scratch.join(out).display().to_string();
        fs::create_dir_all(&out).unwrap();
        let arguments = ["createrepo", "-d", "--timestamp", "1700000000", "--pkglist", &list, "-o", &out, &directory];
        let ended = run(tutti([&arguments[..], more].concat())).expect(0);
        assert!(!ended.stderr.contains("nothing changed"));
        ended.text()
    };
    for (compression, name) in [("zstd", "zst"), ("gz", "gz")] {
        let options = ["--update", "--compression", compression];
        make(name, &paths[..paths.len() - 3], &options);
        let told = make(name, &paths[2..], &options);
        assert!(told.contains("taken over") && told.contains("copied"), "{told}");
        let first = format!("first-{name}");
        make(&first, &paths[2..], &options[1..]);
        compare(compression, &KINDS, &scratch.join(&first), &scratch.join(name));
    }
}

/// `createrepo_database` in the configuration of a compose: those of every tree.
#[test]
fn databases_of_a_compose_are_those_of_createrepo_c() {
    if is_ready().is_none() {
        return;
    }
    let scratch = Scratch::new("compose-databases");
    let config = sources::demo(&scratch.join("demo"));
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{text}\ncreaterepo_database = True\n")).unwrap();
    let (compose, _) = Run::default().compose(&config, &scratch.join("composes"), 0);
    let mut compared = 0;
    for repository in compose.repositories() {
        let tree = compose.tree(&repository);
        assert!(record(&tree, "primary_db").contains("primary.sqlite.bz2"), "{repository}");
        // Addons lie below other trees.
        let list: String = files_below(&tree.join("Packages"))
            .iter()
            .fold(String::new(), |text, path| format!("{text}{}\n", path.strip_prefix(&tree).unwrap().display()));
        if list.is_empty() {
            continue;
        }
        let (pkglist, out) = (scratch.join("list"), scratch.join(format!("theirs-{compared}")));
        fs::write(&pkglist, list).unwrap();
        fs::create_dir(&out).unwrap();
        let arguments =
            ["-q", "-d", "--pkglist", pkglist.to_str().unwrap(), "-o", out.to_str().unwrap(), tree.to_str().unwrap()];
        let _ = theirs("createrepo_c", &arguments, scratch.path()).expect(0);
        compare(&repository, &KINDS, &out, &tree);
        compared += 1;
    }
    assert!(compared > 2, "{compared}");
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for item in fs::read_dir(directory).into_iter().flatten() {
        let path = item.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}
