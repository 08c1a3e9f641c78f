//! Several `tutti createrepo` at one repository.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

use std::fs;

use tutti_integration_tests::{
    createrepo::open,
    program::{run, spawn, tutti},
    scratch::Scratch,
    skip,
};

/// COPR passes `--ignore-lock` always: whoever is first must not lose to the others, nor they to it.
#[test]
fn who_ignores_locks_makes_a_whole_repository_beside_others() {
    let Some(set) = skip::shared("rpms") else { return };
    let scratch = Scratch::new("at-once");
    fs::create_dir(scratch.join("packages")).unwrap();
    let link = scratch.join("packages/linked");
    std::os::unix::fs::symlink(set.join("packages/pulp+pulp-fixtures"), link).unwrap();
    let top = scratch.join("packages").display().to_string();
    // Broken packages are among them.
    let alone = run(tutti(["createrepo", "-q", "--skip-broken", &top])).status;
    for more in [&[][..], &["--update"]] {
        for round in 0..6 {
            let start = |number: u32| {
                let revision = format!("{round}.{number}");
                let words = ["createrepo", "-q", "--skip-broken", "--ignore-lock", "--revision", &revision, &top];
                spawn(&mut tutti(words.iter().chain(more)))
            };
            let all: Vec<_> = (0..4).map(start).collect();
            for mut child in all {
                // Nor does one take what others are making for a part of the repository.
                assert_eq!(child.wait().unwrap().code(), Some(alone), "in round {round} with {more:?}");
            }
            let place = scratch.join("packages/repodata");
            let repomd = open(&place.join("repomd.xml"));
            let hrefs: Vec<&str> =
                repomd.split("href=\"repodata/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
            assert_eq!(hrefs.len(), 3, "{repomd}");
            let counts: Vec<usize> =
                hrefs.iter().map(|href| open(&place.join(href)).matches("<package ").count()).collect();
            assert!(counts[0] > 30 && counts.iter().all(|count| *count == counts[0]), "{counts:?}");
            let names: Vec<_> = fs::read_dir(scratch.join("packages"))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter(|name| name.starts_with('.'))
                .collect();
            assert!(names.is_empty(), "{names:?} is left");
        }
    }
    // Who does not ignore them waits for nobody, and says so.
    fs::create_dir(scratch.join("packages/.repodata")).unwrap();
    let refused = run(tutti(["createrepo", "-q", "--skip-broken", &top])).expect(1).text();
    assert!(refused.contains(".repodata exists"), "{refused}");
}
