//! Every field of every real package against what createrepo_c writes into repository metadata.
//!
//! [`written_requires`] and [`written_changelogs`] apply what createrepo_c leaves out or changes on writing
//! (1.2.5 `parsehdr.c`), which this crate does not do.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests may panic")]

mod support;

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};
use tutti_rpm::{Changelog, Dependency, FileKind, HeaderReader, Package, version_compare};

#[test]
fn real_packages_are_what_createrepo_c_writes() {
    let Some(rpms) = support::rpms() else { return };
    let Some(python) = support::python_with("createrepo_c", &["python3", "/usr/bin/python3"]) else { return };
    let packages = support::packages(&rpms);
    let input: String = packages.iter().map(|(path, _)| format!("{}\n", path.display())).collect();
    let output = support::run_python(&python, include_str!("createrepo.py"), &input);
    assert_eq!(output.lines().count(), packages.len());
    let mut reader = HeaderReader::default();
    let mut differences = Vec::new();
    for ((path, _), line) in packages.iter().zip(output.lines()) {
        let expected: Value = serde_json::from_str(line).unwrap();
        let found = as_written(&reader.package(path).unwrap());
        for (key, value) in expected.as_object().unwrap() {
            if found[key] != *value {
                let name = path.file_name().unwrap().to_string_lossy();
                differences.push(format!("{name}, {key}:\n  createrepo_c {value}\n  here         {}", found[key]));
            }
        }
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}

/// A package in the form of `createrepo.py`.
fn as_written(package: &Package) -> Value {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let list = |dependencies: &[Dependency]| -> Value { dependencies.iter().map(attributes).collect() };
    let requires: Value = written_requires(package).into_iter().map(attributes).collect();
    let kind = |kind| match kind {
        FileKind::File => "",
        FileKind::Directory => "dir",
        FileKind::Ghost => "ghost",
    };
    json!({
        "name": package.name,
        // createrepo_c knows no `nosrc`.
        "arch": if package.is_source() { "src" } else { &package.arch },
        "version": {
            "epoch": package.evr.epoch_number().to_string(),
            "ver": package.evr.version,
            "rel": package.evr.release,
        },
        "summary": package.summary,
        "description": package.description,
        "packager": text(&package.packager),
        "url": text(&package.url),
        "build": package.build_time,
        "installed": package.installed_size,
        "archive": package.archive_size,
        "license": text(&package.license),
        "vendor": text(&package.vendor),
        "group": text(&package.group),
        "buildhost": text(&package.build_host),
        "sourcerpm": text(&package.source_rpm),
        "header": [package.header_start, package.header_end],
        "dependencies": {
            "provides": list(&package.provides),
            "requires": requires,
            "conflicts": list(&package.conflicts),
            "obsoletes": list(&package.obsoletes),
            "suggests": list(&package.suggests),
            "enhances": list(&package.enhances),
            "recommends": list(&package.recommends),
            "supplements": list(&package.supplements),
        },
        "files": package.files.iter().map(|file| json!([file.path, kind(file.kind)])).collect::<Value>(),
        "changelogs": written_changelogs(&package.changelogs),
    })
}

/// Attributes of one `<rpm:entry>`.
fn attributes(dependency: &Dependency) -> Value {
    let mut attributes = json!({"name": dependency.name});
    if let Some((sense, evr)) = &dependency.range {
        attributes["flags"] = json!(sense.repodata());
        if !evr.is_empty() {
            attributes["epoch"] = json!(evr.epoch_number().to_string());
        }
        for (key, text) in [("ver", &evr.version), ("rel", &evr.release)] {
            if !text.is_empty() {
                attributes[key] = json!(text);
            }
        }
    }
    if dependency.pre {
        attributes["pre"] = json!("1");
    }
    attributes
}

fn is_primary(path: &str) -> bool {
    path.starts_with("/etc/") || path == "/usr/lib/sendmail" || path.contains("bin/")
}

fn written_requires(package: &Package) -> Vec<&Dependency> {
    let files: HashSet<&str> = package.files.iter().map(|file| file.path.as_str()).collect();
    let provided: HashSet<(&str, String)> =
        package.provides.iter().map(|provide| (provide.name.as_str(), range_text(provide))).collect();
    let mut last: HashMap<&str, &Dependency> = HashMap::new();
    let mut written = Vec::new();
    let mut libc: Option<&Dependency> = None;
    for require in &package.requires {
        let name = require.name.as_str();
        if name.starts_with("rpmlib(")
            || (name.starts_with('/') && is_primary(name) && files.contains(name))
            || provided.contains(&(name, range_text(require)))
            || last.get(name) == Some(&require)
        {
            continue;
        }
        if name.starts_with("libc.so.6") {
            if libc.is_none_or(|highest| libc_version_is_lower(&highest.name, name)) {
                libc = Some(require);
            }
            continue;
        }
        last.insert(name, require);
        written.push(require);
    }
    written.extend(libc);
    written
}

fn range_text(dependency: &Dependency) -> String {
    dependency.range.as_ref().map(|(sense, evr)| format!("{sense}{evr}")).unwrap_or_default()
}

/// Whether the first number within the first parentheses of `one` is below that of `two`.
fn libc_version_is_lower(one: &str, two: &str) -> bool {
    let version = |name: &str| -> Option<String> {
        let inside = name.split_once('(')?.1.split_once(')')?.0;
        let digit = inside.find(|letter: char| letter.is_ascii_digit())?;
        Some(inside[digit..].to_owned())
    };
    match (version(one), version(two)) {
        (Some(one), Some(two)) => version_compare(&one, &two).is_lt(),
        (None, Some(_)) => true,
        _ => false,
    }
}

/// Oldest first, without spaces after the author, and with distinct times.
fn written_changelogs(changelogs: &[Changelog]) -> Value {
    let mut written: Vec<(String, u64, String)> = Vec::new();
    let mut last_time = 0;
    for changelog in changelogs {
        let author = changelog.author.trim_end_matches(' ').to_owned();
        if changelog.time == last_time {
            for (time, earlier) in (changelog.time..).zip(written.iter_mut().rev()) {
                if earlier.1 != time {
                    break;
                }
                earlier.1 += 1;
            }
        }
        last_time = changelog.time;
        written.push((author, changelog.time, changelog.text.clone()));
    }
    written.reverse();
    written.into_iter().map(|(author, time, text)| json!([author, time, text])).collect()
}
