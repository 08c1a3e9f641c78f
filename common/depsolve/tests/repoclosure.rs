//! Repoclosure against libdnf: a repository of real and generated packages, made by createrepo_c, must give the same
//! unsatisfied requirements as the query that `dnf repoclosure` makes.

#![expect(clippy::unwrap_used, reason = "a broken environment must stop the test")]

mod support;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use tutti_depsolve::{PackageRef, Source, repoclosure};
use tutti_rpm::{Dependency, Evr, HeaderReader, Package};

/// Package and requirement.
type Broken = BTreeSet<(String, String)>;

/// Says why a test does not run; in CI that is a failure.
fn skip(reason: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "cannot run in CI: {reason}");
    println!("skipped: {reason}");
}

fn shared_packages() -> PathBuf {
    let shared = std::env::var_os("TUTTI_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    shared.join("rpms/packages")
}

fn rpms(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![directory.to_owned()];
    while let Some(directory) = todo.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rpm") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn works(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

/// Makes requirements comparable: real headers hold odd white space, which libdnf prints otherwise.
fn compared(lines: impl Iterator<Item = (String, String)>) -> Broken {
    lines
        .map(|(package, requirement)| (package, requirement.split_whitespace().collect::<Vec<_>>().join(" ")))
        .collect()
}

#[test]
fn agrees_with_libdnf() {
    let packages = shared_packages();
    if !packages.is_dir() {
        return skip("no real packages: set TUTTI_SHARED");
    }
    if !works("createrepo_c", &["--version"]) || !works("/usr/bin/python3", &["-c", "import dnf"]) {
        return skip("createrepo_c or dnf's python module is not installed");
    }
    let directory = std::env::temp_dir().join(format!("tutti-repoclosure-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let mut reader = HeaderReader::default();
    let mut read: Vec<Package> = Vec::new();
    for (number, path) in rpms(&packages).into_iter().enumerate() {
        let package = reader.package(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        if !package.is_source() {
            std::fs::copy(&path, directory.join(format!("{number}.rpm"))).unwrap();
            read.push(package);
        }
    }
    assert!(works("createrepo_c", &["--quiet", directory.to_str().unwrap()]));

    let ours = ours(&read);
    let theirs = theirs(&directory);
    std::fs::remove_dir_all(&directory).unwrap();
    assert_same(&ours, &theirs);
}

fn ours(packages: &[Package]) -> Broken {
    let universe = support::universe("x86_64", packages);
    let sources = [Source::own(&universe)];
    let all: Vec<PackageRef> = universe
        .packages()
        .filter(|package| !package.is_source())
        .map(|package| PackageRef::new(0, package.index()))
        .collect();
    let broken = repoclosure(&all, &[], &sources).unwrap();
    compared(broken.into_iter().map(|broken| (broken.nevra, broken.requirement)))
}

fn theirs(repository: &Path) -> Broken {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/libdnf_closure.py");
    let output = Command::new("/usr/bin/python3").arg(script).arg("x86_64").arg(repository).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    compared(text.lines().map(|line| {
        let (package, requirement) = line.split_once('\t').unwrap();
        (package.to_owned(), requirement.to_owned())
    }))
}

fn assert_same(ours: &Broken, theirs: &Broken) {
    assert!(theirs.len() > 100, "the packages are meant to lack much: {}", theirs.len());
    let only_ours: Vec<_> = ours.difference(theirs).take(20).collect();
    let only_theirs: Vec<_> = theirs.difference(ours).take(20).collect();
    assert!(only_ours.is_empty() && only_theirs.is_empty(), "only here: {only_ours:#?}\nonly libdnf: {only_theirs:#?}");
}

/// Small generator of numbers: the same packages in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn pick(&mut self, list: &[&str]) -> String {
        list[self.below(list.len())].to_owned()
    }

    fn simple(&mut self) -> String {
        let name = self.pick(&["a", "b", "c", "d", "absent", "cap", "cap2", "/usr/bin/a", "/usr/bin/z", "/opt/dir"]);
        if name.starts_with('/') || self.below(2) == 0 {
            return name;
        }
        let operator = self.pick(&["=", "<", ">", "<=", ">="]);
        let version = self.pick(&["1", "2", "1-1", "2-1", "1:1", "1:2-1", "1.0~rc1", "1.0^git", "2-2", "10"]);
        format!("{name} {operator} {version}")
    }

    fn rich(&mut self, depth: usize) -> String {
        if depth == 0 || self.below(3) == 0 {
            return self.simple();
        }
        let (left, right) = (self.rich(depth - 1), self.rich(depth - 1));
        match self.below(7) {
            0 => format!("({left} and {right})"),
            1 => format!("({left} or {right})"),
            2 => format!("({left} if {right})"),
            3 => format!("({left} if {right} else {})", self.rich(depth - 1)),
            4 => format!("({} with {})", self.simple(), self.simple()),
            5 => format!("({} without {})", self.simple(), self.simple()),
            _ => format!("({left} unless {right} else {})", self.rich(depth - 1)),
        }
    }
}

fn generated(seed: u64) -> Vec<Package> {
    let mut numbers = Numbers(seed);
    (0..400)
        .map(|number| {
            let name = if number < 4 { ["a", "b", "c", "d"][number].to_owned() } else { format!("p{number}") };
            let version = numbers.pick(&["1", "2", "1:1", "1.0~rc1", "3"]);
            let arch = numbers.pick(&["x86_64", "noarch", "i686", "aarch64"]);
            let mut package = support::package(&format!("{name}-{version}-1.{arch}"));
            package.provides.push(Dependency::parse(&format!("{name} = {}", package.evr)).unwrap());
            if number < 40 && numbers.below(2) == 0 {
                let provide =
                    numbers.pick(&["cap", "cap = 1", "cap2 = 2-1", "cap2 = 1:1", "d = 5", "cap2 = 1.0~rc1-1"]);
                package.provides.push(Dependency::parse(&provide).unwrap());
            }
            for _ in 0..4 {
                let mut text = numbers.rich(2);
                if !text.starts_with('(') && numbers.below(2) == 0 {
                    text = format!("({text} or absent)");
                }
                package.requires.push(Dependency::parse(&text).unwrap());
            }
            if number == 0 {
                package.files = ["/usr/bin/a", "/opt/dir"].map(support::file).to_vec();
            }
            package
        })
        .collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn version_attributes(evr: &Evr) -> String {
    let release = if evr.release.is_empty() { String::new() } else { format!(" rel=\"{}\"", evr.release) };
    format!("epoch=\"{}\" ver=\"{}\"{release}", evr.epoch_number(), evr.version)
}

fn entries(list: &[Dependency]) -> String {
    let entry = |dependency: &Dependency| {
        let range = dependency.range.as_ref().map_or_else(String::new, |(sense, evr)| {
            format!(" flags=\"{}\" {}", sense.repodata(), version_attributes(evr))
        });
        format!("<rpm:entry name=\"{}\"{range}/>", escape(&dependency.name))
    };
    list.iter().map(entry).collect()
}

/// Writes the metadata of packages that do not exist.
fn write_repository(directory: &Path, packages: &[Package]) {
    let (mut primary, mut filelists) = (String::new(), String::new());
    for (number, package) in packages.iter().enumerate() {
        let version = format!("<version {}/>", version_attributes(&package.evr));
        let files: String = package.files.iter().map(|file| format!("<file>{}</file>", file.path)).collect();
        write!(
            primary,
            "<package type=\"rpm\"><name>{name}</name><arch>{arch}</arch>{version}\
             <checksum type=\"sha256\" pkgid=\"YES\">{number:064x}</checksum><summary/><description/>\
             <location href=\"{number}.rpm\"/><format><rpm:provides>{}</rpm:provides>\
             <rpm:requires>{}</rpm:requires></format></package>",
            entries(&package.provides),
            entries(&package.requires),
            name = package.name,
            arch = package.arch,
        )
        .unwrap();
        let (name, arch) = (&package.name, &package.arch);
        write!(
            filelists,
            "<package pkgid=\"{number:064x}\" name=\"{name}\" arch=\"{arch}\">{version}{files}</package>"
        )
        .unwrap();
    }
    let count = packages.len();
    let common = "http://linux.duke.edu/metadata/";
    let documents = [
        (
            "primary",
            format!(
                "<metadata xmlns=\"{common}common\" xmlns:rpm=\"{common}rpm\" packages=\"{count}\">{primary}</metadata>"
            ),
        ),
        ("filelists", format!("<filelists xmlns=\"{common}filelists\" packages=\"{count}\">{filelists}</filelists>")),
    ];
    let repodata = directory.join("repodata");
    std::fs::create_dir_all(&repodata).unwrap();
    let mut data = String::new();
    for (kind, document) in documents {
        let path = repodata.join(format!("{kind}.xml"));
        std::fs::write(&path, format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{document}")).unwrap();
        let output = Command::new("sha256sum").arg(&path).output().unwrap();
        let sum = String::from_utf8(output.stdout).unwrap();
        let sum = sum.split_whitespace().next().unwrap();
        write!(
            data,
            "<data type=\"{kind}\"><checksum type=\"sha256\">{sum}</checksum>\
             <location href=\"repodata/{kind}.xml\"/></data>"
        )
        .unwrap();
    }
    std::fs::write(
        repodata.join("repomd.xml"),
        format!("<?xml version=\"1.0\"?><repomd xmlns=\"{common}repo\"><revision>1</revision>{data}</repomd>"),
    )
    .unwrap();
}

#[test]
fn agrees_with_libdnf_on_rich_dependencies() {
    if !works("/usr/bin/python3", &["-c", "import dnf"]) {
        return skip("dnf's python module is not installed");
    }
    for seed in 7..11 {
        compare_generated(seed);
    }
}

fn compare_generated(seed: u64) {
    let packages = generated(seed);
    let directory = std::env::temp_dir().join(format!("tutti-repoclosure-rich-{}-{seed}", std::process::id()));
    write_repository(&directory, &packages);
    let theirs = theirs(&directory);
    std::fs::remove_dir_all(&directory).unwrap();
    // libdnf prints rich dependencies from its own tree, with operators nested to the right: compare by package and
    // number of unsatisfied requirements.
    let count = |broken: &Broken| {
        let mut counts = std::collections::BTreeMap::<String, usize>::new();
        for (package, _) in broken {
            *counts.entry(package.clone()).or_default() += 1;
        }
        counts
    };
    let ours = ours(&packages);
    assert!(theirs.len() > 100 && theirs.iter().any(|(_, text)| text.starts_with('(')));
    if count(&ours) != count(&theirs) {
        assert_same(&ours, &theirs);
    }
}
