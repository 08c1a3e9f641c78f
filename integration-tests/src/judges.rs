//! What other people's tools say of a compose.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    process::Command,
};

use serde_json::Value;

use crate::{
    compose::Compose,
    program::{Ended, clean, has_tool, run},
    scratch::Scratch,
};

/// Packages with unresolved dependencies, and those.
pub type Verdict = BTreeMap<String, BTreeSet<String>>;

/// Runs `python/judge.py`; none, said aloud, where its modules are missing.
#[must_use]
pub fn python(arguments: &[&str]) -> Option<Value> {
    let mut probe = Command::new("python3");
    probe.args(["-c", "import createrepo_c, productmd"]);
    if run(probe).status != 0 {
        crate::skip::skipped("python3 lacks createrepo_c or productmd (.ci/setup test installs them in target/venv)");
        return None;
    }
    let mut command = Command::new("python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/python/judge.py")).args(arguments);
    let ended = run(command).expect(0);
    // createrepo_c complains on standard error of what it has no callback for.
    assert!(ended.stderr.is_empty(), "{}", ended.text());
    Some(serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.text())))
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// createrepo_c reads every repository without a warning, and every file is what the metadata says. Returns the
/// packages of each: their NEVRAs.
#[expect(clippy::must_use_candidate, reason = "the checks are the point")]
pub fn repodata(compose: &Compose) -> BTreeMap<String, BTreeSet<String>> {
    let repositories = compose.repositories();
    assert!(!repositories.is_empty(), "no repositories in {}", compose.directory().display());
    let mut found = BTreeMap::new();
    for repository in &repositories {
        let path = compose.tree(repository).display().to_string();
        let Some(answer) = python(&["repodata", &path]) else { return BTreeMap::new() };
        let one = &answer["repositories"][&path];
        assert_eq!(strings(&one["warnings"]), Vec::<&str>::new(), "{repository}");
        assert_eq!(strings(&one["problems"]), Vec::<&str>::new(), "{repository}");
        let packages = one["packages"].as_array().into_iter().flatten();
        found
            .insert(repository.clone(), packages.map(|package| nevra(crate::stream::text(package, "nevra"))).collect());
    }
    found
}

/// productmd loads and validates all metadata, and every path in it exists. Returns what it read.
#[expect(clippy::must_use_candidate, reason = "the checks are the point")]
pub fn productmd(compose: &Compose) -> Option<Value> {
    let answer = python(&["productmd", &compose.directory().display().to_string()])?;
    assert_eq!(strings(&answer["problems"]), Vec::<&str>::new());
    assert_eq!(answer["compose"]["id"].as_str(), Some(compose.id().as_str()));
    assert!(answer["rpms"].as_u64() > Some(0) && answer["trees"].as_object().is_some_and(|trees| !trees.is_empty()));
    Some(answer)
}

/// Every RPM in the tree is the same inode as a file below one of these directories.
pub fn hardlinks(compose: &Compose, sources: &[&Path]) {
    let mut inodes = BTreeSet::new();
    for source in sources {
        for (path, _) in crate::tree::list(source).iter().filter(|(path, _)| path.ends_with(".rpm")) {
            let metadata = fs::metadata(source.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
            inodes.insert((metadata.dev(), metadata.ino()));
        }
    }
    let rpms = compose.rpms();
    assert!(!rpms.is_empty());
    for path in rpms {
        let metadata = fs::metadata(compose.tree(&path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(inodes.contains(&(metadata.dev(), metadata.ino())), "{path} is no hardlink of its source");
    }
}

/// dnf, with the given repositories of a compose and nothing of this machine.
pub struct Dnf<'a> {
    compose: &'a Compose,
    scratch: Scratch,
    repositories: Vec<(String, String)>,
}

impl<'a> Dnf<'a> {
    /// With these repositories (paths below `compose/`); none where dnf is missing.
    #[must_use]
    pub fn new(compose: &'a Compose, repositories: &[&str]) -> Option<Self> {
        if !has_tool("dnf") {
            return None;
        }
        let named = (0..).zip(repositories).map(|(number, path): (u32, _)| (format!("r{number}"), (*path).to_owned()));
        Some(Self { compose, scratch: Scratch::new("dnf"), repositories: named.collect() })
    }

    /// Runs dnf for x86_64.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Ended {
        let mut command = Command::new("dnf");
        command.args(["-q", "-y", "--setopt=reposdir=/nonexistent", "--setopt=keepcache=0", "--nogpgcheck"]);
        command.args(["--setopt=install_weak_deps=False", "--releasever", "1", "--forcearch", "x86_64"]);
        command.arg(format!("--setopt=cachedir={}", self.scratch.join("cache").display()));
        command.arg(format!("--setopt=persistdir={}", self.scratch.join("persist").display()));
        command.arg(format!("--setopt=logdir={}", self.scratch.path().display()));
        for (name, path) in &self.repositories {
            command.arg(format!("--repofrompath={name},file://{}", self.compose.tree(path).display()));
            command.args(["--repo", name]);
        }
        command.args(arguments);
        clean(&mut command);
        run(command)
    }

    /// NEVRAs of all packages, epochs left out where they are 0.
    #[must_use]
    pub fn query(&self) -> BTreeSet<String> {
        let format = "%{name}-%{epoch}:%{version}-%{release}.%{arch}";
        let ended = self.run(&["repoquery", "--queryformat", format]).expect(0);
        ended.stdout.lines().map(nevra).filter(|line| !line.is_empty()).collect()
    }

    /// What `dnf repoclosure` says of the first repository, with the others to help it.
    #[must_use]
    pub fn repoclosure(&self) -> Verdict {
        // As Pungi asks: all that an x86_64 machine can install.
        let arches = ["x86_64", "amd64", "ia32e", "athlon", "i686", "i586", "i486", "i386", "noarch"];
        let mut arguments = vec!["repoclosure", "--check", "r0"];
        arguments.extend(arches.iter().flat_map(|arch| ["--arch", arch]));
        let ended = self.run(&arguments);
        let verdict = parse_verdict(&ended.stdout);
        assert_eq!(ended.status == 0, verdict.is_empty(), "{}", ended.text());
        verdict
    }

    /// The newest package of each name for an x86_64 machine: its NEVRA.
    #[must_use]
    pub fn newest(&self, names: &[&str]) -> BTreeMap<String, String> {
        let format = "%{name} %{name}-%{epoch}:%{version}-%{release}.%{arch}";
        let arguments = ["repoquery", "--latest-limit", "1", "--arch", "x86_64", "--arch", "noarch", "--queryformat"];
        let ended = self.run(&[arguments.as_slice(), &[format], names].concat()).expect(0);
        let pairs = ended.stdout.lines().filter_map(|line| line.split_once(' '));
        pairs.filter(|(name, _)| names.contains(name)).map(|(name, text)| (name.to_owned(), nevra(text))).collect()
    }

    /// Downloads packages with all they need for an empty root, and installs nothing. What the files are, their headers
    /// say to rpm: the newest package of each name must be there, and nothing that the repositories do not list.
    pub fn download(&self, packages: &[&str]) {
        let root = self.scratch.join("root");
        let directory = self.scratch.join("packages");
        let paths = [format!("--installroot={}", root.display()), format!("--downloaddir={}", directory.display())];
        let mut arguments = vec!["install", "--downloadonly", &paths[0], &paths[1]];
        arguments.extend(packages);
        let ended = self.run(&arguments).expect(0);
        let got = headers(&directory);
        let newest = self.newest(packages);
        for package in packages {
            let found = newest.get(*package).is_some_and(|nevra| got.contains(nevra));
            assert!(found, "{package} of {newest:?} is not among {got:?}\n{}", ended.text());
        }
        let foreign: Vec<_> = got.difference(&self.query()).cloned().collect();
        assert!(foreign.is_empty(), "no repository lists {foreign:?}");
    }
}

/// NEVRAs in the headers of all RPM files below a directory.
fn headers(directory: &Path) -> BTreeSet<String> {
    let files: Vec<String> = crate::tree::list(directory).into_keys().filter(|file| file.ends_with(".rpm")).collect();
    assert!(!files.is_empty(), "no packages in {}", directory.display());
    let mut command = Command::new("rpm");
    command.args(["-qp", "--nosignature", "--qf", "%{NAME}-%{EPOCHNUM}:%{VERSION}-%{RELEASE}.%{ARCH}\n"]);
    command.args(files.iter().map(|file| directory.join(file)));
    run(command).expect(0).stdout.lines().map(nevra).collect()
}

/// A NEVRA without an epoch of 0.
fn nevra(text: &str) -> String {
    text.replace("-0:", "-")
}

/// Reads the report of `dnf repoclosure`, or Tutti's in the same form.
#[must_use]
pub fn parse_verdict(text: &str) -> Verdict {
    let mut verdict = Verdict::new();
    let mut current = None;
    for line in text.lines() {
        // A job's log may begin its lines with a time.
        if let Some((_, rest)) = line.split_once("package: ") {
            let nevra = nevra(rest.split(" from ").next().unwrap_or_default().trim());
            verdict.entry(nevra.clone()).or_default();
            current = Some(nevra);
        } else if let (Some(nevra), Some((_, requirement))) = (&current, line.split_once("    ")) {
            verdict.entry(nevra.clone()).or_default().insert(requirement.trim().to_owned());
        }
    }
    verdict
}

/// A variant's x86_64 repository, for the judges.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'a> {
    /// The variant's UID.
    pub uid: &'a str,
    /// Variants whose repositories help it.
    pub helpers: &'a [&'a str],
    /// Packages to install from it and its helpers.
    pub install: &'a [&'a str],
}

/// Everything that is asked of a good compose, whose x86_64 repositories `variants` must name all.
pub fn check_all(compose: &Compose, sources: &[&Path], variants: &[Judged<'_>]) {
    assert_eq!(compose.status(), "FINISHED");
    let listed = repodata(compose);
    productmd(compose);
    hardlinks(compose, sources);
    let judged: BTreeSet<String> = variants.iter().map(|variant| repository_of(compose, variant.uid)).collect();
    let all = compose.repositories().into_iter().filter(|path| path.contains("/x86_64/os"));
    assert_eq!(judged, all.collect(), "each x86_64 repository has its judgement");
    for Judged { uid: variant, helpers, install } in variants {
        let paths: Vec<String> =
            [*variant].iter().chain(*helpers).map(|variant| repository_of(compose, variant)).collect();
        let Some(alone) = Dnf::new(compose, &[&paths[0]]) else { return };
        if let Some(packages) = listed.get(&paths[0]) {
            assert_eq!(&alone.query(), packages, "{variant}");
        }
        check_closure(compose, variant, &paths);
        assert!(!install.is_empty(), "{variant}: nothing to install");
        if let Some(dnf) = Dnf::new(compose, &paths.iter().map(String::as_str).collect::<Vec<_>>()) {
            dnf.download(install);
        }
    }
}

/// dnf's repoclosure of the first repository and Tutti's of its variant name the same packages and requirements.
pub fn check_closure(compose: &Compose, variant: &str, paths: &[String]) {
    let Some(dnf) = Dnf::new(compose, &paths.iter().map(String::as_str).collect::<Vec<_>>()) else { return };
    let ours = parse_verdict(&compose.log(&format!("repoclosure.{variant}.x86_64")));
    let theirs = dnf.repoclosure();
    let only = |one: &Verdict, other: &Verdict| -> Vec<String> {
        let pairs = one.iter().flat_map(|(nevra, needs)| needs.iter().map(move |need| (nevra, need)));
        let new = pairs.filter(|(nevra, need)| !other.get(*nevra).is_some_and(|known| known.contains(*need)));
        new.map(|(nevra, need)| format!("{nevra} needs {need}")).collect()
    };
    let differences = (only(&theirs, &ours), only(&ours, &theirs));
    assert_eq!(differences, (Vec::new(), Vec::new()), "{variant}: only dnf says, and only we say");
    assert_eq!(theirs, ours);
}

/// Path of a variant's x86_64 repository, an addon's too.
#[must_use]
pub fn repository_of(compose: &Compose, uid: &str) -> String {
    let own = format!("{uid}/x86_64/os");
    match uid.rsplit_once('-') {
        Some((parent, addon)) if !compose.tree(&own).exists() => format!("{parent}/x86_64/os/addons/{addon}"),
        _ => own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_read_in_both_forms() {
        let dnf = "package: a-1:2-3.x86_64 from r0\n  unresolved deps:\n    libx.so\n    /bin/y\npackage: b-1-1.noarch from r0\n  unresolved deps:\n    z >= 2\n";
        let ours = "package: a-1:2-3.x86_64\n  unresolved deps:\n    /bin/y\n    libx.so\npackage: b-1-1.noarch\n  unresolved deps:\n    z >= 2\n";
        let verdict = parse_verdict(dnf);
        assert_eq!(verdict, parse_verdict(ours));
        assert_eq!(verdict.len(), 2);
        assert_eq!(verdict["a-1:2-3.x86_64"].len(), 2);
        assert!(parse_verdict("all is well\n").is_empty());
    }
}
