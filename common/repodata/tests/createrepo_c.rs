//! The same packages through createrepo_c 1.2 and through this crate.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests may panic")]

mod support;

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use support::{createrepo_c, real_directory, real_packages, run, skip, works, write};
use tutti_repodata::{
    Compression, Entry, Extra, ExtraContent, FragmentOptions, Fragments, ReadOptions, RecordId, Repository,
    WriterOptions, write_repository,
};

fn gunzip(path: &Path) -> String {
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text
}

fn plain_names(compression: Compression) -> WriterOptions {
    WriterOptions { compression, unique_names: false, ..WriterOptions::default() }
}

/// Fails at the first line that differs, with what stands around it.
fn assert_same(file: &str, expected: &str, actual: &str) {
    if expected == actual {
        return;
    }
    let differing = expected.lines().zip(actual.lines()).enumerate().filter(|(_, (a, b))| a != b);
    let shown: Vec<String> =
        differing.take(5).map(|(line, (a, b))| format!("line {}:\n  theirs {a}\n  ours   {b}", line + 1)).collect();
    panic!("{file} differs ({} and {} bytes)\n{}", expected.len(), actual.len(), shown.join("\n"));
}

#[test]
fn uncompressed_bytes_are_equal() {
    let (Some(root), Some(tool)) = (real_directory(), createrepo_c()) else { return };
    let work = tempfile::tempdir().unwrap();
    let theirs = work.path().join("theirs");
    fs::create_dir(&theirs).unwrap();
    let arguments = ["--no-database", "--general-compress-type=gz", "--simple-md-filenames", "--outputdir"];
    let comps = work.path().join("comps.xml");
    fs::write(&comps, "<comps/>").unwrap();
    run(Command::new(tool).args(arguments).arg(&theirs).arg("--groupfile").arg(&comps).arg(&root));
    let ours = work.path().join("ours");
    let extras = [Extra::group("comps.xml", ExtraContent::File(comps))];
    let written = write(&real_packages(&root), &extras, &plain_names(Compression::Gzip), &ours);
    for name in ["primary", "filelists", "other"] {
        let path = format!("repodata/{name}.xml.gz");
        assert_same(name, &gunzip(&theirs.join(&path)), &gunzip(&ours.join(&path)));
    }
    let their_repomd = fs::read_to_string(theirs.join("repodata/repomd.xml")).unwrap();
    let (theirs, ours) = (Repository::open_local(&theirs).unwrap(), Repository::open_local(&ours).unwrap());
    assert_same("repomd.xml", &their_repomd, &String::from_utf8(theirs.repomd().to_xml()).unwrap());
    assert_eq!(theirs.repomd().records.len(), 4);
    assert_eq!(ours.repomd(), &written.repomd);
    for (theirs, ours) in theirs.repomd().records.iter().zip(&ours.repomd().records) {
        assert_eq!((&theirs.kind, &theirs.location_href), (&ours.kind, &ours.location_href));
        assert_eq!((&theirs.open_checksum, theirs.open_size), (&ours.open_checksum, ours.open_size));
    }
}

/// A base URL with characters to escape, and fewer changelog entries.
#[test]
fn bytes_are_equal_with_a_base_and_another_changelog_limit() {
    let (Some(root), Some(tool)) = (real_directory(), createrepo_c()) else { return };
    let work = tempfile::tempdir().unwrap();
    let (theirs, ours) = (work.path().join("theirs"), work.path().join("ours"));
    for directory in [&theirs, &ours] {
        fs::create_dir(directory).unwrap();
    }
    let base = "/srv/a b&\"é\"<c>/";
    let arguments = ["--no-database", "--general-compress-type=gz", "--simple-md-filenames", "--changelog-limit=3"];
    run(Command::new(tool).args(arguments).arg("--baseurl").arg(base).arg("--outputdir").arg(&theirs).arg(&root));
    let packages = real_packages(&root);
    let options = FragmentOptions { changelog_limit: Some(3) };
    let fragments: Vec<_> = packages.iter().map(|real| Fragments::make(&real.package, &options).unwrap()).collect();
    let entry = |(number, real): (usize, &support::RealPackage)| Entry {
        record: RecordId(number as u32),
        location_href: real.href.clone(),
        location_base: Some(base.into()),
        mtime: real.identity.mtime,
        checksum: real.identity.checksum.clone(),
        size: real.identity.size,
    };
    let entries: Vec<_> = packages.iter().enumerate().map(entry).collect();
    write_repository(&ours, &fragments, &entries, &[], &plain_names(Compression::Gzip)).unwrap();
    for name in ["primary", "filelists", "other"] {
        let path = format!("repodata/{name}.xml.gz");
        assert_same(name, &gunzip(&theirs.join(&path)), &gunzip(&ours.join(&path)));
    }
}

/// What is read of a repository makes the same repository again, for each compression.
#[test]
fn packages_read_back_make_the_same_metadata() {
    let Some(root) = real_directory() else { return };
    let work = tempfile::tempdir().unwrap();
    let packages = real_packages(&root);
    let mut plain_text: Option<Vec<String>> = None;
    for compression in Compression::ALL {
        let first = work.path().join(compression.to_string());
        let options = plain_names(compression);
        let written = write(&packages, &[], &options, &first);
        let repository = Repository::open_local(&first).unwrap();
        let read: Vec<_> = repository.packages(ReadOptions::default()).unwrap().map(Result::unwrap).collect();
        assert_eq!(read.len(), packages.len());
        let fragments: Vec<Fragments> = read
            .iter()
            .map(|package| Fragments::make(&package.package, &FragmentOptions::default()).unwrap())
            .collect();
        let entries: Vec<Entry> = read
            .iter()
            .enumerate()
            .map(|(number, package)| Entry {
                record: RecordId(number as u32),
                location_href: package.location_href.clone(),
                location_base: package.location_base.clone(),
                mtime: package.mtime,
                checksum: package.checksum.clone(),
                size: package.size,
            })
            .collect();
        let second = work.path().join(format!("{compression}-again"));
        fs::create_dir(&second).unwrap();
        let again = write_repository(&second, &fragments, &entries, &[], &options).unwrap();
        assert_eq!(again, written, "{compression}");
        let text: Vec<String> = written
            .repomd
            .records
            .iter()
            .map(|record| String::from_utf8(repository.read(record, 1 << 30).unwrap()).unwrap())
            .collect();
        assert_eq!(plain_text.get_or_insert_with(|| text.clone()), &text, "{compression}");
    }
}

/// The Python module reads every package of a repository with comps and modules, and warns of nothing.
#[test]
fn createrepo_c_parses_without_warnings() {
    let (Some(root), Some(_)) = (real_directory(), createrepo_c()) else { return };
    let work = tempfile::tempdir().unwrap();
    let packages = real_packages(&root);
    let script = "import createrepo_c as cr, sys\n\
        warnings = []\n\
        def warn(kind, message):\n    warnings.append(message)\n    return True\n\
        md = cr.Repomd(); cr.xml_parse_repomd(sys.argv[1] + '/repodata/repomd.xml', md, warn)\n\
        paths = {r.type: sys.argv[1] + '/' + r.location_href for r in md.records}\n\
        iterator = cr.PackageIterator(primary_path=paths['primary'], filelists_path=paths['filelists'],\n\
            other_path=paths['other'], warningcb=warn)\n\
        count = sum(1 for package in iterator)\n\
        assert not warnings, warnings\n\
        print(count, sorted(paths))";
    for compression in Compression::ALL {
        let out = work.path().join(compression.to_string());
        let options = WriterOptions { compression, ..WriterOptions::default() };
        let extras = [
            Extra::group("comps.xml", ExtraContent::Bytes(b"<comps/>".to_vec())),
            Extra::modules(ExtraContent::Bytes(b"---\n".to_vec())),
        ];
        write(&packages, &extras, &options, &out);
        let output = run(Command::new("python3").args(["-c", script]).arg(&out));
        let expected = format!("{} ['filelists', 'group', 'modules', 'other', 'primary']\n", packages.len());
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{compression}");
    }
}

#[test]
fn dnf_queries_every_compression() {
    let Some(root) = real_directory() else { return };
    if !works(Command::new("dnf").arg("--version")) {
        return skip("no dnf");
    }
    let work = tempfile::tempdir().unwrap();
    let packages: Vec<_> = real_packages(&root).into_iter().take(40).collect();
    let expected: std::collections::BTreeSet<String> = packages.iter().map(|real| real.package.name.clone()).collect();
    for compression in Compression::ALL {
        let out = work.path().join(compression.to_string());
        let options = WriterOptions { compression, ..WriterOptions::default() };
        write(&packages, &[], &options, &out);
        let mut dnf = Command::new("dnf");
        dnf.args(["-q", "--disableplugin=*", "--setopt=reposdir=/dev/null", "--forcearch=x86_64"]);
        dnf.arg(format!("--setopt=cachedir={}", work.path().join("cache").display()));
        dnf.arg(format!("--repofrompath=t,file://{}", out.display()));
        dnf.args(["--repo=t", "repoquery", "--queryformat=%{name}"]);
        let output = run(&mut dnf);
        let found: std::collections::BTreeSet<String> =
            String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect();
        // dnf leaves out packages of architectures that do not fit, none that it does not find.
        let missing: Vec<_> = expected.difference(&found).collect();
        let foreign = |name: &String| {
            let of_name = packages.iter().filter(|real| real.package.name == *name);
            of_name
                .into_iter()
                .all(|real| !["noarch", "x86_64", "i686", "i386", "src"].contains(&real.package.arch.as_str()))
        };
        assert!(!found.is_empty() && missing.iter().all(|name| foreign(name)), "{compression}: {missing:?}");
    }
}

/// Real repositories, made by other tools over the years; each gives as many packages as its `primary` declares.
#[test]
fn repositories_of_others_are_read() {
    let Some(root) = real_directory() else { return };
    let mut read = 0;
    for entry in root.join("../metadata/repodata").read_dir().unwrap() {
        let directory = entry.unwrap().path();
        if !directory.join("repodata/repomd.xml").is_file() {
            continue;
        }
        let repository = Repository::open_local(&directory).unwrap();
        let primary = repository.repomd().record("primary").unwrap();
        let text = String::from_utf8(repository.read(primary, 1 << 30).unwrap()).unwrap();
        let declared = text.split_once("packages=\"").and_then(|(_, rest)| rest.split('"').next()).unwrap();
        // Of some repositories only a part of the files was kept.
        let kept = |kind| {
            repository.repomd().record(kind).is_some_and(|record| directory.join(&record.location_href).is_file())
        };
        let options = ReadOptions { filelists: kept("filelists"), other: kept("other"), ..ReadOptions::default() };
        let packages: Result<Vec<_>, _> = repository.packages(options).unwrap().collect();
        let packages = packages.unwrap_or_else(|error| panic!("{}: {error:?}", directory.display()));
        assert_eq!(packages.len().to_string(), declared, "{}", directory.display());
        read += packages.len();
    }
    assert!(read > 0);
}

/// A repository without packages of its own: `xml:base` says where they are, and dnf looks there.
#[test]
fn dnf_follows_the_base() {
    let Some(root) = real_directory() else { return };
    let python = "/usr/bin/python3";
    if !works(Command::new(python).args(["-c", "import dnf"])) {
        return skip("no dnf module for Python");
    }
    let work = tempfile::tempdir().unwrap();
    let packages = real_packages(&root);
    let real = packages.iter().find(|real| real.package.arch == "noarch").unwrap();
    let fragments = vec![Fragments::make(&real.package, &FragmentOptions::default()).unwrap()];
    let entry = Entry {
        record: RecordId(0),
        location_href: real.href.clone(),
        location_base: Some(format!("{}/", root.display())),
        mtime: real.identity.mtime,
        checksum: real.identity.checksum.clone(),
        size: real.identity.size,
    };
    let out = work.path().join("repository");
    fs::create_dir(&out).unwrap();
    let extras = [Extra::group("comps.xml", ExtraContent::Bytes(b"<comps></comps>".to_vec()))];
    write_repository(&out, &fragments, &[entry], &extras, &WriterOptions::default()).unwrap();
    // `repoquery --location` of dnf 4 leaves the base out; what is installed comes from `localPkg`.
    let script = "import dnf, sys\n\
        base = dnf.Base(); base.conf.cachedir = sys.argv[2]; base.conf.substitutions['releasever'] = '1'\n\
        base.repos.add_new_repo('t', base.conf, baseurl=['file://' + sys.argv[1]])\n\
        base.fill_sack(load_system_repo=False)\n\
        print(*[package.localPkg() for package in base.sack.query()], sep='\\n')";
    let output = run(Command::new(python).args(["-c", script]).arg(&out).arg(work.path().join("cache")));
    let expected = root.join(&real.href).display().to_string();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), expected);
}
