//! `createrepo_c` of others and `tutti createrepo_c` on the same packages: the same metadata.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use tutti_integration_tests::{
    createrepo::{Keep, assert_equal, files, has_reference, linked, ours, theirs},
    program::{clean, has_tool, run, tutti},
    scratch::Scratch,
    skip,
};

/// Revision and times, so that repomd.xml can be compared whole.
const PINNED: [&str; 2] = ["--revision=1700000000", "--set-timestamp-to-revision"];

/// Both tools with these arguments; `OUT` is each one's own directory.
fn both(scratch: &Scratch, arguments: &[&str], status: i32) {
    for (who, tool) in [("theirs", theirs as fn(&str, &[&str], &Path) -> _), ("ours", ours)] {
        let out = scratch.join(who).display().to_string();
        fs::create_dir_all(&out).unwrap();
        let arguments: Vec<String> = arguments.iter().map(|argument| argument.replace("OUT", &out)).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let _ = tool("createrepo_c", &arguments, scratch.path()).expect(status);
    }
}

fn compare(scratch: &Scratch, what: &str, keep: Keep) {
    assert_equal(what, &files(&scratch.join("theirs"), keep), &files(&scratch.join("ours"), keep));
}

/// Paths of the packages below a directory, in order.
fn package_files(top: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![top.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|suffix| suffix == "rpm") {
                found.push(path.strip_prefix(top).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// Paths below a directory, some twice and some by another spelling, and one above it.
fn package_list(top: &Path) -> String {
    let found = package_files(top);
    let name = top.file_name().unwrap().to_str().unwrap();
    let more: Vec<String> = found.iter().step_by(7).map(|path| format!("../{name}/{path}")).collect();
    let again: Vec<String> = found.iter().step_by(11).map(|path| format!("./{path}")).collect();
    [found.into_iter().step_by(3).collect::<Vec<_>>(), more, again].concat().join("\n")
}

/// What Pungi, Koji, OBS, COPR and mock ask for, on all that can be read.
#[test]
fn metadata_are_those_of_createrepo_c() {
    let Some(set) = skip::shared("rpms") else { return };
    if !has_reference() {
        return;
    }
    let scratch = Scratch::new("oracle");
    let packages = set.join("packages").display().to_string();
    let comps = set.join("metadata/comps/koji-comps-example.xml.gz").display().to_string();
    fs::write(scratch.join("list"), package_list(&set.join("packages"))).unwrap();
    let pungi = ["--update", "--no-database", "--checksum=sha256", "--unique-md-filenames", "--workers=3"];
    let koji = ["--error-exit-val", "-vq", "-i", "list", "--update", "--skip-stat"];
    let obs = [
        "-q",
        "--no-database",
        "--changelog-limit",
        "20",
        "--general-compress-type=gz",
        "--simple-md-filenames",
        "--checksum=sha512",
        "--compress-type=gz",
    ];
    let cases: [(&str, &[&str], Keep); 10] = [
        ("plain", &[], Keep::Times),
        ("pungi", &pungi, Keep::Times),
        ("pungi variant", &["-i", "list", "-g", &comps, "--xz"], Keep::Times),
        ("koji", &koji, Keep::Times),
        ("obs", &obs, Keep::Times),
        ("filelists-ext", &["--filelists-ext"], Keep::Times),
        (
            "copr",
            &["--ignore-lock", "--local-sqlite", "--general-compress-type=gz", "--excludes", "*tests/*"],
            Keep::Times,
        ),
        ("mock", &["-q", "-x", "*.src.rpm", "--no-database"], Keep::Times),
        ("xz", &["--general-compress-type=xz"], Keep::All),
        (
            "places",
            &[
                "-u",
                "/srv/a b",
                "--location-prefix=x/",
                "--cut-dirs=2",
                "--repomd-checksum=sha384",
                "-s",
                "sha224",
                "--general-compress-type=bz2",
                "--duplicated-nevra=keep-last",
                "--changelog-limit=-1",
            ],
            Keep::All,
        ),
    ];
    for (what, arguments, keep) in cases {
        for who in ["theirs", "ours"] {
            let _ = fs::remove_dir_all(scratch.join(who));
        }
        both(&scratch, &[arguments, &PINNED, &["-o", "OUT", &packages]].concat(), 0);
        compare(&scratch, what, keep);
        if what.starts_with("pungi") || what == "koji" {
            // Again, with what the first run left.
            both(&scratch, &[arguments, &["--update"], &PINNED, &["-o", "OUT", &packages]].concat(), 0);
            compare(&scratch, &format!("{what}, again"), keep);
        }
    }
}

#[test]
fn broken_packages_end_with_two_and_the_rest_gets_its_repository() {
    let Some(set) = skip::shared("rpms") else { return };
    if !has_reference() {
        return;
    }
    let scratch = Scratch::new("damaged");
    let damaged = set.join("damaged").display().to_string();
    both(&scratch, &[&PINNED, &["-o", "OUT", &damaged][..]].concat(), 2);
    compare(&scratch, "damaged only", Keep::Times);
    // The modern name refuses them, each by its name, and leaves nothing.
    let out = scratch.join("modern");
    fs::create_dir(&out).unwrap();
    let command = tutti(["createrepo", "-q", "-o", out.to_str().unwrap(), &damaged]);
    let ended = run(command).expect(1);
    let count = fs::read_to_string(set.join("index.jsonl")).unwrap().matches("\"file\": \"damaged/").count();
    assert!(ended.stderr.contains(&format!("{count} packages cannot be listed")), "{}", ended.text());
    assert_eq!(ended.stderr.lines().filter(|line| line.starts_with("warning: ")).count(), count, "{}", ended.text());
    assert!(ended.stderr.contains("at byte") || ended.stderr.contains("truncated"), "{}", ended.text());
    assert_eq!(fs::read_dir(&out).unwrap().count(), 0);
    let command = tutti(["createrepo", "-q", "--skip-broken", "-o", out.to_str().unwrap(), &damaged]);
    let _ = run(command).expect(2);
    assert!(out.join("repodata/repomd.xml").exists());
}

/// What is done to the packages, and how the tools are then called.
type Step<'a> = (&'a str, &'a [&'a str], &'a dyn Fn(&Path));

/// A small repository through additions, changes, removals, additional metadata and stray files.
#[test]
fn updates_are_those_of_createrepo_c() {
    let Some(set) = skip::shared("rpms") else { return };
    if !has_reference() {
        return;
    }
    let scratch = Scratch::new("updates");
    let source = set.join("packages/rpm-software-management+createrepo_c");
    let fixtures = set.join("packages/pulp+pulp-fixtures");
    for who in ["theirs", "ours"] {
        copy(&source, &scratch.join(who).join("a"));
    }
    fs::write(scratch.join("updateinfo.xml"), "<updates/>\n").unwrap();
    fs::write(scratch.join("comps.xml"), "<comps/>\n").unwrap();
    let comps = scratch.join("comps.xml").display().to_string();
    let steps: [Step<'_>; 6] = [
        ("first", &["-g", &comps], &|_| {}),
        ("nothing changed", &["--update"], &|_| {}),
        ("more packages", &["--update"], &|top| copy(&fixtures, &top.join("b"))),
        ("touched", &["--update", "--skip-stat"], &touch_all),
        ("touched and looked at", &["--update"], &touch_all),
        ("fewer", &["--update", "--discard-additional-metadata", "-s", "sha512"], &|top| {
            fs::remove_dir_all(top.join("a")).unwrap();
            fs::write(top.join("repodata/stray"), "stays").unwrap();
        }),
    ];
    for (what, arguments, change) in steps {
        for who in ["theirs", "ours"] {
            change(&scratch.join(who));
        }
        both(&scratch, &[arguments, &PINNED, &["OUT"]].concat(), 0);
        compare(&scratch, what, Keep::Nothing);
        if what == "first" {
            // Metadata that others added stay.
            for who in ["theirs", "ours"] {
                let repodata = scratch.join(who).join("repodata").display().to_string();
                let info = scratch.join("updateinfo.xml").display().to_string();
                let _ = theirs("modifyrepo_c", &["--compress-type=gz", &info, &repodata], scratch.path()).expect(0);
            }
        }
    }
}

/// Lines about packages of one NEVRA, without the time and the word in front that depend on the part that speaks.
fn doubles(stderr: &str) -> Vec<&str> {
    let is_meant = |line: &&str| line.contains("duplicate metadata entries") || line.contains("Sourced from location");
    stderr.lines().filter(is_meant).filter_map(|line| line.split_once("Warning: ").map(|(_, text)| text)).collect()
}

/// What is not made anew is told anew: whoever looks at the last run only must see it.
#[test]
fn an_update_that_changes_nothing_warns_of_packages_with_one_nevra_as_the_first_run_did() {
    let Some(set) = skip::shared("rpms") else { return };
    if !has_reference() {
        return;
    }
    let scratch = Scratch::new("doubles");
    let source = set.join("packages/pulp+pulp-fixtures");
    for who in ["theirs", "ours", "modern"] {
        copy(&source, &scratch.join(who).join("a"));
        copy(&source, &scratch.join(who).join("second"));
    }
    for arguments in [&["."][..], &["--update", "."], &["--update", "."]] {
        let arguments = [&PINNED, arguments].concat();
        let theirs = theirs("createrepo_c", &arguments, &scratch.join("theirs")).expect(0);
        let ours = ours("createrepo_c", &arguments, &scratch.join("ours")).expect(0);
        let (mut theirs, mut ours) = (doubles(&theirs.stderr), doubles(&ours.stderr));
        assert!(ours.len() >= 3, "{ours:?}");
        // The order is that of a hash table there.
        theirs.sort_unstable();
        ours.sort_unstable();
        assert_eq!(ours, theirs, "{arguments:?}");
    }
    let modern = |arguments: &[&str]| {
        let mut command = tutti(["createrepo"]);
        command.args(arguments).arg(".").current_dir(scratch.join("modern"));
        run(command).expect(0).stderr
    };
    let warnings = |text: &str| text.lines().filter(|line| line.contains(" is there ")).count();
    let first = modern(&[]);
    assert!(warnings(&first) > 0, "{first}");
    for _ in 0..2 {
        let again = modern(&["--update"]);
        assert!(again.contains("nothing changed"), "{again}");
        assert_eq!(warnings(&again), warnings(&first), "{again}");
    }
    assert_eq!(warnings(&modern(&["--update", "-q"])), 0);
}

/// A bar with a count is for eyes only.
#[test]
fn progress_is_shown_on_a_terminal_and_nowhere_else() {
    let Some(set) = skip::shared("rpms") else { return };
    if !has_tool("script") {
        return;
    }
    let scratch = Scratch::new("terminal");
    let top = set.join("packages");
    let count = package_files(&top).len();
    let command = |out: &str| {
        let out = scratch.join(out);
        fs::create_dir(&out).unwrap();
        tutti(["createrepo".as_ref(), "-o".as_ref(), out.as_os_str(), top.as_os_str()])
    };
    let piped = run(command("piped")).expect(0).stderr;
    assert_eq!(piped.lines().filter(|line| !line.starts_with("warning: ")).count(), 1, "{piped}");
    assert!(
        piped.contains(&format!(": {count} packages;")) && !piped.contains(&format!("/{count} packages")),
        "{piped}"
    );
    let inner = command("seen");
    let words: Vec<String> = [inner.get_program()]
        .into_iter()
        .chain(inner.get_args())
        .map(|word| format!("'{}'", word.to_str().unwrap()))
        .collect();
    let mut outer = Command::new("script");
    clean(&mut outer);
    outer.env("TERM", "xterm").args(["-qec", &format!("stty cols 100; {}", words.join(" ")), "/dev/null"]);
    let seen = run(outer).expect(0).stdout;
    let shown = format!("/{count} packages");
    assert!(seen.contains(&shown), "{seen:?}");
    // It counts, and is gone at the end.
    let last = seen.rsplit(&shown).next().unwrap();
    assert!(last.contains(&format!(": {count} packages;")), "{seen:?}");
    assert!(last.contains("\u{1b}[2K") || last.contains("\u{1b}[K") || last.contains("\u{1b}[J"), "{seen:?}");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else if entry.path().extension().is_some_and(|suffix| suffix == "rpm") {
            fs::copy(entry.path(), &target).unwrap();
            let modified = entry.metadata().unwrap().modified().unwrap();
            fs::File::options().write(true).open(&target).unwrap().set_modified(modified).unwrap();
        }
    }
}

fn touch_all(top: &Path) {
    for entry in fs::read_dir(top).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "repodata") {
            touch_all(&path);
        } else if path.extension().is_some_and(|suffix| suffix == "rpm") {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
            fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        }
    }
}

/// The same packages give the same bytes at any time, and an update that changes nothing writes nothing.
#[test]
fn the_modern_name_makes_equal_bytes_and_leaves_what_is_equal() {
    let Some(set) = skip::shared("rpms") else { return };
    let scratch = Scratch::new("modern");
    copy(&set.join("packages/pulp+pulp-fixtures"), &scratch.join("repo"));
    let repo = scratch.join("repo").display().to_string();
    let read = |name: &str| fs::read(scratch.join("repo/repodata").join(name)).unwrap();
    let _ = run(tutti(["createrepo", &repo])).expect(0);
    let first = read("repomd.xml");
    let _ = run(tutti(["createrepo", &repo])).expect(0);
    assert_eq!(read("repomd.xml"), first, "made again");
    let before = fs::metadata(scratch.join("repo/repodata")).unwrap();
    let ended = run(tutti(["createrepo", "--update", &repo])).expect(0);
    assert!(
        ended.stderr.contains("nothing changed") && ended.stderr.contains("; 0 B of packages read"),
        "{}",
        ended.text()
    );
    let after = fs::metadata(scratch.join("repo/repodata")).unwrap();
    assert_eq!(before.modified().unwrap(), after.modified().unwrap());
    assert!(!scratch.join("repo/.repodata").exists());
    // Whatever is not the same is made anew: a damaged file, another compression, tag, time or number of packages.
    let path = scratch.join("repo");
    let others = fs::read_dir(path.join("repodata")).unwrap().map(|entry| entry.unwrap().path());
    let filelists = others.into_iter().find(|path| path.to_str().unwrap().contains("filelists")).unwrap();
    let good = fs::read(&filelists).unwrap();
    fs::write(&filelists, vec![0; good.len()]).unwrap();
    let one = path.join(package_list(&path).lines().next().unwrap());
    let touch = |seconds| {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        fs::File::options().write(true).open(&one).unwrap().set_modified(time).unwrap();
    };
    let steps: [(&[&str], &dyn Fn()); 5] = [
        (&[], &|| {}),
        (&["--compression=gz"], &|| {}),
        (&["--compression=gz", "--content-tag=x"], &|| {}),
        (&["--compression=gz", "--content-tag=x"], &|| touch(1_500_000_000)),
        (&["--compression=gz", "--content-tag=x"], &|| fs::remove_file(&one).unwrap()),
    ];
    for (arguments, change) in steps {
        change();
        let update =
            |arguments: &[&str]| run(tutti([&["createrepo", "--update", &repo], arguments].concat())).expect(0);
        let ended = update(arguments);
        assert!(!ended.stderr.contains("nothing changed"), "{}", ended.text());
        let ended = update(arguments);
        assert!(ended.stderr.contains("nothing changed"), "{}", ended.text());
    }
    assert!(!filelists.exists());
}

#[test]
fn a_link_is_the_tool_whose_name_it_has() {
    let scratch = Scratch::new("links");
    let program = linked(scratch.path(), "createrepo_c");
    let call = |arguments: &[&str]| {
        let mut command = std::process::Command::new(&program);
        command.args(arguments).current_dir(scratch.path());
        clean(&mut command);
        run(command)
    };
    let version = call(&["--version"]).expect(0).stdout;
    assert_eq!(version, "Version: 1.2.5 (Features: LegacyWeakdeps )\n");
    assert!(call(&["--help"]).expect(0).stdout.contains("--recycle-pkglist"));
    for (arguments, error) in [
        (&["--split", "."][..], "Option --split is not supported"),
        (&["--foo", "."], "Unknown option --foo"),
        (&[], "Must specify exactly one directory to index."),
        (&["none"], "Directory none/ must exist"),
        (&["-g", "none", "."], "groupfile ./none doesn't exist"),
        (&["--checksum=md5", "."], "Unknown/Unsupported checksum type \"md5\""),
    ] {
        let ended = call(arguments).expect(1);
        assert!(ended.stderr.contains(error), "{}", ended.text());
        assert!(!scratch.join("repodata").exists() && !scratch.join(".repodata").exists());
    }
    let ended = call(&["."]).expect(0);
    assert!(ended.stdout.contains("Directory walk done - 0 packages\n"), "{}", ended.text());
    assert!(scratch.join("repodata/repomd.xml").exists());
    fs::create_dir(scratch.join(".repodata")).unwrap();
    assert!(call(&["."]).expect(1).stderr.contains("already exists! (Another createrepo process is running?)"));
    assert!(scratch.join(".repodata").exists(), "it is another's");
    let _ = call(&["--ignore-lock", "."]).expect(0);
}

/// Checksums of an earlier run are used, and only those of the very file.
#[test]
fn a_cache_of_checksums_is_used_and_told_from_others() {
    let Some(set) = skip::shared("rpms") else { return };
    let scratch = Scratch::new("cache");
    copy(&set.join("packages/rpm-rs+rpm"), &scratch.join("repo"));
    let repo = scratch.join("repo").display().to_string();
    let run_ours = |more: &[&str]| {
        let arguments =
            [&["-q", "--general-compress-type=gz", "--simple-md-filenames"], more, &[repo.as_str()]].concat();
        let _ = ours("createrepo_c", &arguments, scratch.path()).expect(0);
        files(&scratch.join("repo"), Keep::Nothing)
    };
    let plain = run_ours(&[]);
    assert_eq!(run_ours(&["--cachedir=cache"]), plain, "made");
    let cached: Vec<_> = fs::read_dir(scratch.join("repo/cache")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(cached.len() > 20);
    assert_eq!(run_ours(&["-c", "cache"]), plain, "used");
    // It is believed: what it says is what is written; and what is no checksum is not.
    let sum = fs::read_to_string(&cached[0]).unwrap();
    let other: String = sum.chars().rev().collect();
    fs::write(&cached[0], &other).unwrap();
    assert!(run_ours(&["-c", "cache"])["primary.xml.gz"].contains(&other));
    fs::write(&cached[0], "none").unwrap();
    assert_eq!(run_ours(&["-c", "cache"]), plain, "mended");
}

/// Digests of files, in an update that changes a part: as of one run. createrepo_c loses those of packages it takes over.
#[test]
fn digests_of_files_are_there_after_an_update() {
    let Some(set) = skip::shared("rpms") else { return };
    if !has_reference() {
        return;
    }
    let scratch = Scratch::new("filelists-ext");
    let path = set.join("packages").display().to_string();
    let list = package_list(&set.join("packages"));
    let list: Vec<&str> = list.lines().filter(|line| !line.starts_with('.')).collect();
    let listing = scratch.join("list").display().to_string();
    let arguments = [&["--update", "--filelists-ext", "-i", &listing][..], &PINNED, &["-o", "OUT", &path]].concat();
    fs::write(&listing, list.join("\n")).unwrap();
    both(&scratch, &arguments, 0);
    compare(&scratch, "first run", Keep::Times);
    fs::write(&listing, list[1..].join("\n")).unwrap();
    fs::remove_dir_all(scratch.join("theirs")).unwrap();
    both(&scratch, &arguments, 0);
    compare(&scratch, "one package less", Keep::Times);
    // Of a repository without them, createrepo_c makes one that says of old packages that their files have none.
    let modern = |further: &[&str]| {
        let out = scratch.join("modern").display().to_string();
        let arguments = ["createrepo", "-q", "--update", "--pkglist", &listing, "-o", &out, &path];
        let _ = run(tutti([&arguments, further].concat())).expect(0);
        files(&scratch.join("modern"), Keep::Nothing)
    };
    fs::create_dir(scratch.join("modern")).unwrap();
    let without = modern(&[]);
    let with = modern(&["--filelists-ext"]);
    assert_eq!(
        with.get("filelists-ext.xml.zst"),
        files(&scratch.join("ours"), Keep::Nothing).get("filelists-ext.xml.zst")
    );
    assert!(
        with.get("filelists.xml.zst") == without.get("filelists.xml.zst")
            && !without.contains_key("filelists-ext.xml.zst")
    );
    assert!(!modern(&[]).contains_key("filelists-ext.xml.zst"), "they go when nobody asks for them");
}
