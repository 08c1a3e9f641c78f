//! Which packages the demo distribution has: reads `distribution/packages.txt`, which also describes its form.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

use crate::Package;

const DESCRIPTION: &str = include_str!("../distribution/packages.txt");
/// Suffix of sonames that 64-bit packages provide (rpm 4.18 `tools/elfdeps.c`).
const SONAME_SUFFIX: &str = "()(64bit)";

/// Architectures of the distribution.
pub const ARCHES: [&str; 2] = ["x86_64", "aarch64"];

/// All that is built from one source.
#[derive(Debug, Default)]
pub struct Build {
    /// The source package.
    pub source: Option<Package>,
    /// Binary packages by architecture; a noarch one stands under each that may have it.
    pub binaries: BTreeMap<&'static str, Vec<Package>>,
}

#[derive(Default)]
struct Source<'a> {
    name: &'a str,
    version: &'a str,
    release: &'a str,
    epoch: Option<u32>,
    arches: Vec<&'a str>,
    needs: Vec<&'a str>,
    parts: Vec<Part<'a>>,
}

struct Part<'a> {
    name: &'a str,
    noarch: bool,
    lines: Vec<(&'a str, &'a str)>,
}

impl Part<'_> {
    fn has_code(&self) -> bool {
        self.lines.iter().any(|(word, _)| matches!(*word, "program" | "sbin" | "library"))
    }
}

/// Returns all builds of the distribution, in the order of the description.
///
/// # Errors
/// If the description cannot be understood.
pub fn builds(build_time: u32) -> Result<Vec<Build>> {
    parse(DESCRIPTION)?.iter().map(|source| build(source, build_time)).collect()
}

fn parse(text: &str) -> Result<Vec<Source<'_>>> {
    let mut sources: Vec<Source<'_>> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let place = || format!("packages.txt line {number}: {line}");
        let (word, rest) = line.split_once(' ').with_context(place)?;
        if word == "source" {
            sources.push(parse_source(rest).with_context(place)?);
            continue;
        }
        let source = sources.last_mut().with_context(place)?;
        match word {
            "build" => source.needs.push(rest),
            "package" | "noarch" => source.parts.push(Part { name: rest, noarch: word == "noarch", lines: Vec::new() }),
            _ => source.parts.last_mut().with_context(place)?.lines.push((word, rest)),
        }
    }
    Ok(sources)
}

fn parse_source(text: &str) -> Result<Source<'_>> {
    let mut words = text.split(' ');
    let mut next = || words.next().context("too few words");
    let mut source = Source { name: next()?, version: next()?, release: next()?, ..Source::default() };
    for option in words {
        match option.split_once('=') {
            Some(("epoch", epoch)) => source.epoch = Some(epoch.parse()?),
            Some(("arch", arches)) => source.arches = arches.split(',').collect(),
            _ => bail!("unknown option {option:?}"),
        }
    }
    Ok(source)
}

fn build(source: &Source<'_>, build_time: u32) -> Result<Build> {
    let mut package = Package::source(source.name, source.version, source.release)
        .epoch(source.epoch)
        .built_at(build_time)
        .exclusive_arch(&source.arches);
    for need in &source.needs {
        package = package.requires(need);
    }
    let source_file = package.file_name();
    let mut build = Build { source: Some(package), binaries: BTreeMap::new() };
    let arches = ARCHES.into_iter().filter(|arch| source.arches.is_empty() || source.arches.contains(arch));
    for arch in arches {
        let packages = build.binaries.entry(arch).or_default();
        for part in &source.parts {
            let arch = if part.noarch { "noarch" } else { arch };
            let new = |name: &str| {
                let package = Package::binary(name, source.version, source.release, arch);
                package.epoch(source.epoch).built_at(build_time).from_source(&source_file)
            };
            packages.push(part_package(source, part, arch, new(part.name))?);
            if part.has_code() {
                packages.push(debug_package(source, part, new(&format!("{}-debuginfo", part.name))));
            }
        }
        if source.parts.iter().any(Part::has_code) {
            let name = format!("{}-debugsource", source.name);
            let path = format!("/usr/src/debug/{}-{}/main.c", source.name, source.version);
            let package = Package::binary(&name, source.version, source.release, arch)
                .epoch(source.epoch)
                .built_at(build_time)
                .from_source(&source_file);
            packages.push(package.file(&path, "int main(void) { return 0; }\n"));
        }
    }
    Ok(build)
}

fn part_package(source: &Source<'_>, part: &Part<'_>, arch: &str, mut package: Package) -> Result<Package> {
    let evr = package.evr();
    if part.noarch && !source.arches.is_empty() {
        package = package.exclusive_arch(&source.arches);
    }
    if part.has_code() && source.name != "glibc" {
        package = package.requires(&format!("libc.so.6{SONAME_SUFFIX}"));
    }
    let isa = match arch {
        "x86_64" => "(x86-64)",
        "aarch64" => "(aarch-64)",
        _ => "",
    };
    for (word, rest) in &part.lines {
        let text = rest.replace("%{evr}", &evr).replace("%{isa}", isa);
        // Differs by package and architecture, as real code does.
        let data = format!("{} {evr} {arch} {text}\n", part.name);
        package = match *word {
            "program" => package.file(&format!("/usr/bin/{text}"), &data),
            "sbin" => package.file(&format!("/usr/sbin/{text}"), &data),
            "library" => package.provides(&format!("{text}{SONAME_SUFFIX}")).file(&format!("/usr/lib64/{text}"), &data),
            "needs" => package.requires(&format!("{text}{SONAME_SUFFIX}")),
            "file" => package.file(&text, &data),
            "directory" => package.directory(&text),
            "provides" => package.provides(&text),
            "requires" => package.requires(&text),
            "conflicts" => package.conflicts(&text),
            "obsoletes" => package.obsoletes(&text),
            "recommends" => package.recommends(&text),
            "suggests" => package.suggests(&text),
            "supplements" => package.supplements(&text),
            "enhances" => package.enhances(&text),
            _ => bail!("package {} has an unknown line: {word} {rest}", part.name),
        };
    }
    Ok(package)
}

fn debug_package(source: &Source<'_>, part: &Part<'_>, package: Package) -> Package {
    let evr = package.evr();
    let package = package
        .recommends(&format!("{}-debugsource = {evr}", source.name))
        .provides(&format!("debuginfo(build-id) = {}", part.name.len()));
    package.file(&format!("/usr/lib/debug/usr/lib/{}-{}.debug", part.name, source.version), "symbols\n")
}
