//! `mergerepo_c` and `modifyrepo_c` of others and ours on the same repositories: the same metadata.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

use std::fs;
use std::path::Path;

use tutti_integration_tests::{
    createrepo::{Keep, assert_equal, files, has_reference, ours, theirs},
    program::{Ended, run, tutti},
    scratch::Scratch,
    skip,
};

type Tool = fn(&str, &[&str], &Path) -> Ended;
const WHO: [(&str, Tool); 2] = [("theirs", theirs), ("ours", ours)];

/// Three repositories below a directory: the first with groups and modules, the last with much of the others'.
fn repositories(set: &Path, scratch: &Scratch) {
    let packages = set.join("packages");
    fs::write(scratch.join("comps.xml"), "<comps/>\n").unwrap();
    let comps = scratch.join("comps.xml").display().to_string();
    for (name, below, more) in [
        ("one", "pulp+pulp-fixtures", &["-g", comps.as_str()][..]),
        ("two", "rpm-software-management+dnf", &["-u", "http://example.com/two"]),
        ("three", "", &["--simple-md-filenames", "-x", "rpm-software-management+libdnf"]),
    ] {
        let out = scratch.join(name).display().to_string();
        fs::create_dir(&out).unwrap();
        let below = packages.join(below).display().to_string();
        let _ = theirs("createrepo_c", &[more, &["-q", "-o", &out, &below]].concat(), scratch.path()).expect(0);
    }
}

#[test]
fn merged_repositories_are_those_of_mergerepo_c() {
    let Some(set) = skip::shared("rpms") else { return };
    if !has_reference() {
        return;
    }
    let scratch = Scratch::new("merge");
    repositories(&set, &scratch);
    fs::write(scratch.join("blocked"), "shark\nglibc\nbash\n").unwrap();
    let file = format!("file://{}/", scratch.join("two").display());
    let three = scratch.join("three").display().to_string();
    let all = ["-r", "one", "-r", &file, "-r", &three];
    let koji = ["--koji", "-b", "blocked", "-a", "x86_64", "--arch-expand"];
    let replace = ["--method", "nvr", "--repo-prefix-search", &three, "--repo-prefix-replace", "http://cache/x"];
    let cases: [(&str, &[&str]); 11] = [
        ("plain", &[]),
        ("koji", &koji),
        ("koji with groups", &["-k", "-b", "blocked", "-a", "i386;src", "-g", "comps.xml", "--noupdateinfo"]),
        ("koji without arches", &["-k"]),
        ("bare", &["--pkgorigins", "--all", "-a", "x86_64", "--arch-expand"]),
        ("odcs", &replace),
        ("by time", &["--method=ts", "--omit-baseurl", "--no-database"]),
        ("all", &["--all", "--compress-type=xz", "--simple-md-filenames"]),
        ("arches", &["-a", "armv7l,x86_64"]),
        ("origins", &["--pkgorigins"]),
        ("nogroups", &["--nogroups"]),
    ];
    for (what, arguments) in cases {
        for (who, tool) in WHO {
            let _ = fs::remove_dir_all(scratch.join(who));
            let arguments = [arguments, &all[..], &["-o", who]].concat();
            let _ = tool("mergerepo_c", &arguments, scratch.path()).expect(0);
        }
        let read = |who: &str| files(&scratch.join(who), Keep::Nothing);
        let (expected, found) = (read("theirs"), read("ours"));
        assert!(expected["repomd.xml"].contains("primary"));
        assert_equal(what, &expected, &found);
    }
}

/// In simple koji mode mergerepo_c counts packages wrongly that are there twice; all else is equal.
#[test]
fn simple_koji_mode_counts_rightly() {
    let Some(set) = skip::shared("rpms") else { return };
    if !has_reference() {
        return;
    }
    let scratch = Scratch::new("simple");
    repositories(&set, &scratch);
    for (who, tool) in WHO {
        let arguments = ["-k", "--simple", "-a", "x86_64", "-r", "one", "-r", "three", "-o", who];
        let _ = tool("mergerepo_c", &arguments, scratch.path()).expect(0);
    }
    let read = |who: &str| files(&scratch.join(who), Keep::Nothing);
    let (expected, found) = (read("theirs"), read("ours"));
    assert_eq!(expected["pkgorigins.gz"], found["pkgorigins.gz"]);
    for name in ["primary.xml.zst", "filelists.xml.zst", "other.xml.zst"] {
        let rest =
            |text: &str| text.lines().filter(|line| !line.contains("packages=\"")).collect::<Vec<_>>().join("\n");
        assert_eq!(rest(&expected[name]), rest(&found[name]), "{name}");
        let count = found[name].matches("<package ").count();
        assert!(found[name].contains(&format!("packages=\"{count}\"")), "{name}: {count}");
        assert!(!expected[name].contains(&format!("packages=\"{count}\"")), "{name}: no longer wrong there");
    }
}

#[test]
fn a_merge_that_fails_leaves_nothing() {
    let scratch = Scratch::new("merge-fails");
    fs::create_dir_all(scratch.join("bad/repodata")).unwrap();
    fs::write(scratch.join("bad/repodata/repomd.xml"), "<repomd>").unwrap();
    for bad in ["none", "bad"] {
        let ended = ours("mergerepo_c", &["-r", bad, "-o", "out"], scratch.path()).expect(1);
        assert!(ended.stderr.contains(bad), "{}", ended.text());
        assert_eq!(fs::read_dir(scratch.join("out")).unwrap().count(), 0, "{bad}");
    }
    let ended = ours("mergerepo_c", &["-r", "ftp://x/", "-o", "out"], scratch.path()).expect(1);
    assert!(ended.stderr.contains("ftp://x/ is not supported"), "{}", ended.text());
    let ended = ours("mergerepo_c", &["-r", "x", "--zck"], scratch.path()).expect(1);
    assert!(ended.stderr.contains("Option --zck is not supported"), "{}", ended.text());
}

/// What Pungi, OBS and COPR do with modifyrepo_c, and batch files.
#[test]
fn modified_repositories_are_those_of_modifyrepo_c() {
    let Some(set) = skip::shared("rpms") else { return };
    if !has_reference() {
        return;
    }
    let scratch = Scratch::new("modify");
    let packages = set.join("packages/pulp+pulp-fixtures").display().to_string();
    let tags = ["--distro=cpe:/o:x:y,Name & more", "--content=a", "--content=b", "--repo=r"];
    for (who, _) in WHO {
        let out = scratch.join(who).display().to_string();
        fs::create_dir(&out).unwrap();
        let pinned = ["--revision=1700000000", "--set-timestamp-to-revision", "-q", "-o", &out, &packages];
        let _ = theirs("createrepo_c", &[&tags[..], &pinned].concat(), scratch.path()).expect(0);
    }
    fs::write(scratch.join("productid"), "text\n").unwrap();
    fs::write(scratch.join("modules.yaml"), "---\na: 1\n").unwrap();
    fs::write(scratch.join("updateinfo.xml"), "<updates/>\n").unwrap();
    let batch = "# a batch\n[productid]\nremove=true\n\n[updateinfo.xml]\ncompress-type=xz\nnew-name=info.xml\n[x]\npath=modules.yaml\ntype=other_modules\ncompress=false\nunique-md-filenames=false\n";
    fs::write(scratch.join("batch"), batch).unwrap();
    let steps: [&[&str]; 8] = [
        &["productid", "DIR", "--compress", "--compress-type=gz"],
        &["modules.yaml", "DIR", "--mdtype=modules", "--compress", "--compress-type=gz"],
        &["--no-compress", "updateinfo.xml", "DIR"],
        &["updateinfo.xml", "DIR", "-s", "sha512", "--simple-md-filenames"],
        &["--remove", "modules.yaml.gz", "DIR"],
        &["--remove", "nothing", "DIR"],
        &["--mdtype=updateinfo", "--new-name=/x/other.xml", "modules.yaml", "DIR"],
        &["-f", "batch", "DIR"],
    ];
    for arguments in steps {
        for (who, tool) in WHO {
            let directory = format!("{who}/repodata");
            let arguments: Vec<&str> =
                arguments.iter().map(|word| if *word == "DIR" { directory.as_str() } else { *word }).collect();
            let _ = tool("modifyrepo_c", &arguments, scratch.path()).expect(0);
        }
        let read = |who: &str| files(&scratch.join(who), Keep::Nothing);
        assert_equal(&arguments.join(" "), &read("theirs"), &read("ours"));
    }
    for (arguments, error) in [
        (&["none", "ours/repodata"][..], "none"),
        (&["productid", "none"], "none"),
        (&["productid"], "Usage: modifyrepo_c"),
        (&["--zck", "productid", "ours/repodata"], "Option --zck is not supported"),
    ] {
        let ended = ours("modifyrepo_c", arguments, scratch.path()).expect(1);
        assert!(ended.stderr.contains(error), "{}", ended.text());
    }
}

/// dnf, libsolv, createrepo_c's module and rpmrepo_metadata read what was made, in every compression and layout, and what was
/// merged and modified.
#[test]
fn everybody_reads_what_is_made() {
    let Some(set) = skip::shared("rpms") else { return };
    let scratch = Scratch::new("readers");
    let packages = set.join("packages").display().to_string();
    fs::write(scratch.join("comps.xml"), "<comps/>\n").unwrap();
    fs::write(scratch.join("updateinfo.xml"), "<updates/>\n").unwrap();
    let path = |name: &str| scratch.join(name).display().to_string();
    let (comps, base) = (path("comps.xml"), format!("--baseurl=file://{packages}/"));
    let mut counts = Vec::new();
    // One stream, and frames where there can be such.
    for tool in ["createrepo_c", "createrepo"] {
        for compression in ["zstd", "gz", "xz", "bz2", "none"] {
            if (tool, compression) == ("createrepo_c", "none") {
                continue;
            }
            let name = format!("{tool}-{compression}");
            fs::create_dir(scratch.join(&name)).unwrap();
            let (general, out) = (format!("--general-compress-type={compression}"), path(&name));
            let arguments = ["-q", &general, "-g", &comps, &base, "-o", &out, &packages];
            let _ = match tool {
                "createrepo" => run(tutti([&["createrepo", "--skip-broken"][..], &arguments].concat())).expect(0),
                tool => ours(tool, &arguments, scratch.path()).expect(0),
            };
            counts.push((name.clone(), readers::count(&scratch, &name)));
        }
    }
    let sources = [path("createrepo_c-gz"), path("createrepo-zstd")];
    let merged = ["--all", "--omit-baseurl", "-r", &sources[0], "-r", &sources[1], "-o", &path("merged")];
    let _ = ours("mergerepo_c", &merged, scratch.path()).expect(0);
    let _ = ours("modifyrepo_c", &[&path("updateinfo.xml"), &path("createrepo-gz/repodata")], scratch.path()).expect(0);
    counts.push(("modified".to_owned(), readers::count(&scratch, "createrepo-gz")));
    let one = counts[0].1.clone();
    assert!(one.iter().all(|count| *count == one[0] && *count > 500), "{counts:?}");
    assert!(counts.iter().all(|(_, count)| *count == one), "{counts:?}");
    // Packages of one NEVRA are taken once.
    let merged = readers::count(&scratch, "merged");
    assert!(merged.iter().all(|count| *count == merged[0] && *count > 500), "{merged:?}");
}

mod readers {
    use std::process::Command;

    use rpmrepo_metadata::RepositoryReader;
    use tutti_integration_tests::program::{clean, has_tool, run};
    use tutti_integration_tests::scratch::Scratch;

    /// Packages of a repository, as each tool that is there counts them.
    pub(super) fn count(scratch: &Scratch, name: &str) -> Vec<usize> {
        let directory = scratch.join(name);
        let mut counts = Vec::new();
        if has_tool("dnf") {
            let mut command = Command::new("dnf");
            command.args(["-q", "--setopt=reposdir=/nonexistent", "--forcearch", "x86_64", "--releasever", "1"]);
            command.arg(format!("--setopt=cachedir={}", scratch.join(format!("{name}-cache")).display()));
            command.arg(format!("--repofrompath=r,file://{}", directory.display())).args(["--repo", "r"]);
            command.args(["repoquery", "--queryformat", "%{name}-%{evr}.%{arch} %{location}"]);
            clean(&mut command);
            let lines = run(command).expect(0).stdout;
            counts.push(lines.lines().filter(|line| !line.is_empty()).count());
        }
        if has_tool("python3") {
            let script = "import createrepo_c as cr, sys\n\
                warnings = []\n\
                r = cr.RepositoryReader.from_path(sys.argv[1])\n\
                print(len(list(r.iter_packages(warningcb=lambda k, m: warnings.append(m) or True))))\n\
                assert not warnings, warnings\n";
            let mut command = Command::new("python3");
            command.args(["-c", script]).arg(&directory);
            clean(&mut command);
            let ended = run(command);
            match ended.stderr.contains("No module named") {
                true => tutti_integration_tests::skip::skipped("python3 lacks createrepo_c"),
                false => counts.push(ended.expect(0).stdout.trim().parse().unwrap()),
            }
        }
        if has_tool("repo2solv") {
            let mut command = Command::new("repo2solv");
            let solv = scratch.join(format!("{name}.solv"));
            command.arg("-o").arg(&solv).arg(&directory);
            clean(&mut command);
            let _ = run(command).expect(0);
            if has_tool("dumpsolv") {
                let mut command = Command::new("dumpsolv");
                command.arg(&solv);
                clean(&mut command);
                // Of each package all that libsolv knows follows.
                let dump = run(command).expect(0).stdout;
                counts.push(dump.lines().filter(|line| line.starts_with("solvable ")).count());
            }
        }
        let reader = RepositoryReader::new_from_directory(&directory).unwrap();
        let packages: Vec<_> = reader.iter_packages().unwrap().collect::<Result<_, _>>().unwrap();
        let (files, changes): (Vec<_>, Vec<_>) =
            packages.iter().map(|package| (package.files().iter().count(), package.changelogs().len())).unzip();
        assert!(files.iter().sum::<usize>() > 10_000 && changes.iter().sum::<usize>() > 1000, "{name}");
        counts.push(packages.len());
        counts
    }
}
