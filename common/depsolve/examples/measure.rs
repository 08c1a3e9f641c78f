//! Times universe, gather and repoclosure over directories of RPMs.
//!
//! `cargo run --release -p tutti-depsolve --example measure -- REQUEST.json DIRECTORY…`

#![expect(clippy::unwrap_used, reason = "a tool for measuring by hand")]

use std::path::{Path, PathBuf};
use std::time::Instant;

use tutti_depsolve::{GatherRequest, PackageRef, Source, Universe, UniverseBuilder, gather, repoclosure};
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

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let text = std::fs::read_to_string(arguments.next().unwrap()).unwrap();
    let request: GatherRequest = serde_json::from_str(&text).unwrap();
    let mut files = Vec::new();
    arguments.for_each(|directory| rpms(Path::new(&directory), &mut files));
    files.sort();
    let mut reader = HeaderReader::default();
    let start = Instant::now();
    let packages: Vec<_> = files.iter().map(|path| reader.package(path).unwrap()).collect();
    println!("{} packages read in {:?}", packages.len(), start.elapsed());

    let start = Instant::now();
    let mut builder = UniverseBuilder::new(&request.arch);
    for (origin, package) in packages.iter().enumerate() {
        builder.add(package, origin as u32);
    }
    let bytes = builder.finish().unwrap();
    println!("universe of {} bytes built in {:?}", bytes.len(), start.elapsed());
    let start = Instant::now();
    let universe = Universe::open(bytes).unwrap();
    println!("opened in {:?}", start.elapsed());

    let sources = [Source::own(&universe)];
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
    for unresolved in result.unresolved.iter().step_by(1 + result.unresolved.len() / 5) {
        println!("  unresolved, for example: {}: {}", unresolved.nevra, unresolved.requirement);
    }
    let start = Instant::now();
    let selected: Vec<PackageRef> = result.binary.iter().map(|selected| selected.package).collect();
    let broken = repoclosure(&selected, &[], &sources).unwrap();
    println!("repoclosure: {} broken in {:?}", broken.len(), start.elapsed());
}
