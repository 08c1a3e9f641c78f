//! Times universe, gather and repoclosure over directories of RPMs.
//!
//! `cargo run --release -p tutti-depsolve --example solve_and_time -- REQUEST.json [lookaside:]DIRECTORY…`; with `LIST=file` in the environment
//! the result is written there, one line a package, in a form that compares with other solvers'.

#![expect(clippy::unwrap_used, reason = "a tool for measuring by hand")]

use std::path::{Path, PathBuf};
use std::time::Instant;

use tutti_depsolve::{GatherRequest, GatherResult, PackageRef, Source, Universe, UniverseBuilder, gather, repoclosure};
use tutti_rpm::HeaderReader;

fn rpms(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rpms(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rpm") {
            found.push(path);
        }
    }
}

fn list(result: &GatherResult, sources: &[Source<'_>]) -> String {
    let mut lines = Vec::new();
    for (kind, list) in [("binary", &result.binary), ("debug", &result.debug), ("source", &result.source)] {
        for selected in list {
            let mut flags: Vec<&str> = selected.flags.iter().map(|flag| flag.name()).collect();
            flags.sort_unstable();
            let nevra = selected.package.resolve(sources).unwrap().nevra();
            lines.push(format!("{kind} {nevra} [{}]\n", flags.join(" ")));
        }
    }
    lines.sort();
    lines.concat()
}

fn compile(arch: &str, directory: &str) -> Universe {
    let mut files = Vec::new();
    rpms(Path::new(directory), &mut files);
    files.sort();
    let mut reader = HeaderReader::default();
    let start = Instant::now();
    let packages: Vec<_> = files.iter().map(|path| reader.package(path).unwrap()).collect();
    println!("{directory}: {} packages read in {:?}", packages.len(), start.elapsed());

    let start = Instant::now();
    let mut builder = UniverseBuilder::new(arch);
    for (origin, package) in packages.iter().enumerate() {
        builder.add(package, origin as u32);
    }
    let bytes = builder.finish().unwrap();
    println!("universe of {} bytes built in {:?}", bytes.len(), start.elapsed());
    let start = Instant::now();
    let universe = Universe::open(bytes).unwrap();
    println!("opened in {:?}", start.elapsed());
    universe
}

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let text = std::fs::read_to_string(arguments.next().unwrap()).unwrap();
    let request: GatherRequest = serde_json::from_str(&text).unwrap();
    let directories: Vec<String> = arguments.map(|argument| argument.into_string().unwrap()).collect();
    let universes: Vec<(bool, Universe)> = directories
        .iter()
        .map(|directory| match directory.strip_prefix("lookaside:") {
            Some(directory) => (true, compile(&request.arch, directory)),
            None => (false, compile(&request.arch, directory)),
        })
        .collect();
    let sources: Vec<Source<'_>> =
        universes.iter().map(|(lookaside, universe)| Source { universe, lookaside: *lookaside }).collect();
    let start = Instant::now();
    let result = gather(&request, &sources, &|| false).unwrap();
    println!(
        "gathered {} binary, {} debug, {} source, {} unresolved, {} unmatched in {:?}",
        result.binary.len(),
        result.debug.len(),
        result.source.len(),
        result.unresolved.len(),
        result.unmatched.len(),
        start.elapsed(),
    );
    if let Some(path) = std::env::var_os("LIST") {
        std::fs::write(path, list(&result, &sources)).unwrap();
    }
    for unresolved in result.unresolved.iter().step_by(1 + result.unresolved.len() / 5) {
        println!("  unresolved, for example: {}: {}", unresolved.nevra, unresolved.requirement);
    }
    let start = Instant::now();
    let selected: Vec<PackageRef> = result.binary.iter().map(|selected| selected.package).collect();
    let broken = repoclosure(&selected, &[], &sources).unwrap();
    println!("repoclosure: {} broken in {:?}", broken.len(), start.elapsed());
}
