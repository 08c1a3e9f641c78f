//! Golden directories: each folder of `tests/golden` has `packages.txt`, `request.json` and the `expected.txt` that a
//! gather must give. `UPDATE_GOLDEN=1` writes the expectations anew; read the difference before committing it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a broken test case must stop its test")]

mod support;

use std::path::Path;

use tutti_depsolve::{GatherRequest, Source, Universe, gather};

fn run(case: &Path) -> String {
    let read = |name: &str| {
        std::fs::read_to_string(case.join(name)).unwrap_or_else(|error| panic!("{}/{name}: {error}", case.display()))
    };
    let request: GatherRequest = serde_json::from_str(&read("request.json")).unwrap();
    let sections = support::parse(&read("packages.txt"));
    let universes: Vec<Universe> =
        sections.iter().map(|section| support::universe(&request.arch, &section.packages)).collect();
    let sources: Vec<Source<'_>> = universes
        .iter()
        .zip(&sections)
        .map(|(universe, section)| Source { universe, lookaside: section.lookaside })
        .collect();
    let result = gather(&request, &sources, &|| false).unwrap();
    support::render(&result, &sources)
}

#[test]
fn cases() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases: Vec<_> = std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 15, "golden directories are missing");
    let mut failed = Vec::new();
    for case in cases {
        let found = run(&case);
        let path = case.join("expected.txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &found).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        if found != expected {
            failed.push(format!("{}\n--- expected\n{expected}--- found\n{found}", case.display()));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
