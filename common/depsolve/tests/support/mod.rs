//! Packages and results as text, for tests.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a broken test case must stop its test")]
#![allow(dead_code, reason = "each test program uses its own part")]

use std::fmt::Write;

use tutti_depsolve::{GatherResult, PackageRef, Selected, Source, Universe, UniverseBuilder};
use tutti_rpm::{Dependency, Evr, FileEntry, FileKind, Package};

/// Makes a package out of `name-[epoch:]version-release.arch`; its source package has its own name unless said otherwise.
pub(crate) fn package(nevra: &str) -> Package {
    let (rest, arch) = nevra.rsplit_once('.').unwrap();
    let (rest, release) = rest.rsplit_once('-').unwrap();
    let (name, version) = rest.rsplit_once('-').unwrap();
    let evr = Evr::parse(&format!("{version}-{release}"));
    let source_rpm = format!("{name}-{}-{release}.src.rpm", evr.version);
    let source = arch == "src" || arch == "nosrc";
    Package {
        name: name.to_owned(),
        evr,
        arch: arch.to_owned(),
        source_rpm: (!source).then_some(source_rpm),
        ..Package::default()
    }
}

pub(crate) fn file(path: &str) -> FileEntry {
    FileEntry { path: path.to_owned(), kind: FileKind::File }
}

/// One `source NAME` or `lookaside NAME` section.
pub(crate) struct Section {
    pub(crate) lookaside: bool,
    pub(crate) packages: Vec<Package>,
}

/// Reads sections of packages; `#` starts a comment.
///
/// ```text
/// source main
/// foo-1-1.x86_64 from foo-all-1-1
///   provides bar = 1
///   requires baz >= 2
///   file /usr/bin/foo
/// ```
pub(crate) fn parse(text: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for line in text.lines().map(|line| line.split('#').next().unwrap()).filter(|line| !line.trim().is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if !line.starts_with(' ') {
            match words[0] {
                "source" | "lookaside" => {
                    sections.push(Section { lookaside: words[0] == "lookaside", packages: Vec::new() });
                }
                nevra => {
                    let mut package = package(nevra);
                    if let Some(source) = words.get(2) {
                        package.source_rpm = Some(format!("{source}.src.rpm"));
                    }
                    sections.last_mut().unwrap().packages.push(package);
                }
            }
            continue;
        }
        let package = sections.last_mut().unwrap().packages.last_mut().unwrap();
        let value = words[1..].join(" ");
        match words[0] {
            "provides" => package.provides.push(Dependency::parse(&value).unwrap()),
            "requires" => package.requires.push(Dependency::parse(&value).unwrap()),
            "file" => package.files.push(file(&value)),
            other => panic!("unknown line {other}"),
        }
    }
    sections
}

pub(crate) fn universe(arch: &str, packages: &[Package]) -> Universe {
    let mut builder = UniverseBuilder::new(arch);
    for (origin, package) in packages.iter().enumerate() {
        builder.add(package, origin as u32);
    }
    Universe::open(builder.finish().unwrap()).unwrap()
}

fn nevra(package: PackageRef, sources: &[Source<'_>]) -> String {
    let own = package.resolve(sources).unwrap().nevra();
    if package.source == 0 { own } else { format!("{own}@{}", package.source) }
}

/// Writes a result, one line a package: kind, NEVRA (with `@n` for the n-th further source), flags, first cause.
pub(crate) fn render(result: &GatherResult, sources: &[Source<'_>]) -> String {
    let mut out = String::new();
    let mut list = |kind: &str, list: &[Selected]| {
        for selected in list {
            let flags: Vec<&str> = selected.flags.iter().map(|flag| flag.name()).collect();
            let rule = serde_json::to_value(selected.cause.rule).unwrap();
            write!(out, "{kind} {} [{}] {}", nevra(selected.package, sources), flags.join(" "), rule.as_str().unwrap())
                .unwrap();
            if let Some(requirement) = &selected.cause.requirement {
                write!(out, " {requirement}").unwrap();
            }
            if let Some(by) = selected.cause.by {
                write!(out, " by {}", nevra(by, sources)).unwrap();
            }
            out.push('\n');
        }
    };
    list("binary", &result.binary);
    list("debug", &result.debug);
    list("source", &result.source);
    for unresolved in &result.unresolved {
        writeln!(out, "unresolved {}: {}", unresolved.nevra, unresolved.requirement).unwrap();
    }
    for pattern in &result.unmatched {
        writeln!(out, "unmatched {pattern}").unwrap();
    }
    for entry in &result.missing_prepopulate {
        writeln!(out, "missing prepopulate {entry}").unwrap();
    }
    out
}
