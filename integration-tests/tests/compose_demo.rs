//! The demo distribution, composed by one program.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

use std::{collections::BTreeSet, fs, os::unix::fs::FileTypeExt};

use serde_json::Value;
use tutti_integration_tests::{
    compose::{Run, jobs},
    judges::{self, Judged},
    scratch::{Scratch, read},
    sources,
    stream::{self, text},
    tree,
};

const DATE: &str = "20260102";

#[test]
fn finishes_with_the_layout_of_a_compose() {
    let scratch = Scratch::new("demo");
    let config = sources::demo(&scratch.join("demo"));
    let target = scratch.join("composes");
    let ended = Run::default().with(&["--date", DATE]).run(&config, &target).expect(0);
    let id = format!("Demo-1-{DATE}.0");
    assert!(ended.stdout.contains(&format!("Compose dir: {}", target.join(&id).display())), "{}", ended.text());
    assert!(ended.stdout.contains("Critical path:") && ended.stdout.contains("createrepo"), "{}", ended.text());
    let top = target.join(&id);
    assert_eq!(read(top.join("COMPOSE_ID")).trim(), id);
    assert_eq!(read(top.join("STATUS")).trim(), "FINISHED");
    assert_eq!(fs::read_link(target.join("latest-Demo-1")).unwrap().to_string_lossy(), id);
    let files = tree::list(&top.join("compose"));
    let places = [
        "metadata/composeinfo.json",
        "metadata/rpms.json",
        "metadata/images.json",
        "metadata/modules.json",
        "Everything/x86_64/os/repodata/repomd.xml",
        "Everything/x86_64/os/.treeinfo",
        "Everything/x86_64/os/.discinfo",
        "Everything/x86_64/os/media.repo",
        "Everything/x86_64/os/EULA",
        "Everything/x86_64/os/Packages/h/httpd-2.4.58-1.x86_64.rpm",
        "Everything/x86_64/debug/tree/repodata/repomd.xml",
        "Everything/x86_64/debug/tree/Packages/h/httpd-debuginfo-2.4.58-1.x86_64.rpm",
        "Everything/source/tree/repodata/repomd.xml",
        "Everything/source/tree/Packages/h/httpd-2.4.58-1.src.rpm",
        "Everything/x86_64/os/Packages/m/mcelog-195-2.x86_64.rpm",
        "Server/aarch64/os/repodata/repomd.xml",
        "Server/aarch64/os/Packages/h/httpd-2.4.58-1.aarch64.rpm",
        "Server/x86_64/os/addons/HighAvailability/repodata/repomd.xml",
        "Server/x86_64/os/Packages/o/openssl-libs-3.1.4-2.x86_64.rpm",
    ];
    for place in places {
        assert_eq!(files.get(place).map(|entry| entry.0), Some('f'), "{place} is missing");
    }
    let absent = [
        // ExclusiveArch of a package and of a noarch one.
        "Everything/aarch64/os/Packages/m/mcelog-195-2.x86_64.rpm",
        "Everything/aarch64/os/Packages/m/microcode_ctl-2.1-58.noarch.rpm",
        // Only the addon's.
        "Server/x86_64/os/Packages/p/pacemaker-2.1.7-1.x86_64.rpm",
        // filter_packages, and what nothing asks for.
        "Server/x86_64/os/Packages/g/glibc-doc-2.38-7.noarch.rpm",
        "Server/x86_64/os/Packages/d/demo-backgrounds-38-1.noarch.rpm",
    ];
    for place in absent {
        assert!(!files.contains_key(place), "{place} should not be there");
    }
    let pacemaker: Vec<&String> = files.keys().filter(|path| path.contains("/pacemaker-2")).collect();
    assert!(
        pacemaker.iter().any(|path| path.starts_with("Server/x86_64/os/addons/HighAvailability/")),
        "{pacemaker:?}"
    );
}

#[test]
fn other_tools_agree_with_it() {
    let scratch = Scratch::new("demo-judged");
    let config = sources::demo(&scratch.join("demo"));
    let (compose, events) = Run::default().compose(&config, &scratch.join("composes"), 0);
    let variants = [
        Judged { uid: "Everything", helpers: &[], install: &["bash", "pcs"] },
        Judged { uid: "Server", helpers: &[], install: &["bash", "httpd"] },
        Judged { uid: "Server-HighAvailability", helpers: &["Server"], install: &["pcs", "httpd"] },
    ];
    judges::check_all(&compose, &[&scratch.join("demo/repos")], &variants);
    if let Some(dnf) = judges::Dnf::new(&compose, &["Server/x86_64/os"]) {
        let groups = dnf.run(&["group", "list", "--hidden"]).expect(0);
        for name in ["Core", "Editors", "Web Server", "Demo Server"] {
            assert!(groups.stdout.contains(name), "{}", groups.text());
        }
        assert!(!groups.stdout.contains("Development") && !groups.stdout.contains("High"), "{}", groups.text());
    }
    let end = events.last().unwrap();
    assert_eq!(text(end, "event"), "end");
    let states: BTreeSet<String> = jobs(end).values().map(|job| text(job, "state").to_owned()).collect();
    assert_eq!(states, BTreeSet::from(["published".to_owned()]));
    if let Some(metadata) = judges::productmd(&compose) {
        let variants: Vec<&String> = metadata["variants"].as_object().unwrap().keys().collect();
        assert_eq!(variants, ["Everything", "Server", "Server-HighAvailability"]);
        assert_eq!(metadata["variants"]["Server-HighAvailability"]["type"], "addon");
        assert_eq!(metadata["trees"]["Server/x86_64/os"]["arch"], "x86_64");
    }
}

#[test]
fn the_stream_is_what_its_page_says() {
    let scratch = Scratch::new("demo-stream");
    let config = sources::demo(&scratch.join("demo"));
    let (compose, events) = Run::default().compose(&config, &scratch.join("composes"), 0);
    assert_eq!(text(&events[0], "event"), "started");
    assert_eq!(text(&events[0], "compose_id"), compose.id());
    let mut found = BTreeSet::new();
    events.iter().for_each(|event| stream::fields(event, &mut found));
    let page = read(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/json-stream.md"));
    let documented = documented(&page);
    let unknown: Vec<&String> = found.difference(&documented).collect();
    assert!(unknown.is_empty(), "docs/json-stream.md lacks {unknown:?}");
    let gone: Vec<&String> = documented.difference(&found).collect();
    assert!(gone.is_empty(), "docs/json-stream.md describes what is never sent: {gone:?}");
    // Every job's last line is its end, and the number of jobs is what the summary says.
    let end = events.last().unwrap();
    let all = jobs(end);
    assert_eq!(all.len() as u64, end["jobs_total"].as_u64().unwrap());
    for (name, job) in &all {
        let last = events.iter().rfind(|event| text(event, "event") == "job" && text(event, "name") == name);
        assert!(last.is_some_and(stream::job_over), "{name} has no line that says its end");
        assert_eq!(text(job, "state"), "published", "{name}");
    }
    let shown = compose.show();
    assert_eq!(text(&shown, "status"), "FINISHED");
    assert_eq!(jobs(&shown).keys().collect::<Vec<_>>(), all.keys().collect::<Vec<_>>());
}

/// Fields that the page lists: rows `| `field` | …` below a heading `## `event``.
fn documented(page: &str) -> BTreeSet<String> {
    let mut fields = BTreeSet::new();
    let mut event = "";
    for line in page.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            event = heading.split('`').nth(1).unwrap_or_default();
        } else if let Some(field) = line.strip_prefix("| `").and_then(|rest| rest.split('`').next()) {
            fields.insert(format!("{event}.{field}"));
        }
    }
    fields
}

#[test]
fn quiet_prints_id_directory_and_status_only() {
    let scratch = Scratch::new("demo-quiet");
    let config = sources::Tiny::new(&scratch.join("tiny")).write();
    let target = scratch.join("composes");
    let ended = Run::default().with(&["--quiet", "--date", DATE, "--nightly"]).run(&config, &target).expect(0);
    let id = format!("Tiny-1-{DATE}.n.0");
    let expected = format!("Compose: {id}\nCompose dir: {}\nStatus: FINISHED", target.join(&id).display());
    assert_eq!(ended.stdout.trim(), expected, "{}", ended.text());
    assert_eq!(ended.stderr, "");
}

#[test]
fn respins_count_and_only_limits_what_runs() {
    let scratch = Scratch::new("respin");
    let config = sources::Tiny::new(&scratch.join("tiny")).write();
    let target = scratch.join("composes");
    let run = Run::default().with(&["--date", DATE, "--test"]);
    let (first, _) = run.compose(&config, &target, 0);
    assert_eq!(first.id(), format!("Tiny-1-{DATE}.t.0"));
    let (second, events) = run.with(&["--only", "createrepo.Server.x86_64"]).compose(&config, &target, 0);
    assert_eq!(second.id(), format!("Tiny-1-{DATE}.t.1"));
    let kinds: BTreeSet<String> = jobs(events.last().unwrap()).into_keys().collect();
    assert!(kinds.contains("createrepo.Server.x86_64") && kinds.contains("solve.Server.x86_64"), "{kinds:?}");
    assert!(!kinds.iter().any(|name| name.starts_with("repoclosure") || name.starts_with("metadata")), "{kinds:?}");
}

#[test]
fn configuration_commands_answer() {
    let scratch = Scratch::new("config");
    let config = sources::demo(&scratch.join("demo"));
    let command = |word: &str| {
        let mut command = tutti_integration_tests::program::tutti(["config", word]);
        command.arg(&config);
        tutti_integration_tests::program::run(command)
    };
    let checked = command("check").expect(0);
    assert!(!checked.stderr.contains("error"), "{}", checked.text());
    let dumped = command("dump").expect(0);
    let dumped: Value = serde_json::from_str(&dumped.stdout).unwrap();
    assert_eq!(dumped["release_short"], "Demo");
    assert_eq!(dumped["link_type"], "hardlink-or-copy");
}

#[test]
fn nothing_is_left_running_or_open() {
    let scratch = Scratch::new("left");
    let config = sources::Tiny::new(&scratch.join("tiny")).write();
    let (compose, _) = Run::default().compose(&config, &scratch.join("composes"), 0);
    let mut sockets = Vec::new();
    for path in tree::list(compose.directory()).keys() {
        let kind = fs::symlink_metadata(compose.directory().join(path)).unwrap().file_type();
        if kind.is_socket() || kind.is_fifo() {
            sockets.push(path.clone());
        }
    }
    assert_eq!(sockets, Vec::<String>::new());
    let staging: Vec<String> = tree::list(compose.directory())
        .into_iter()
        .filter(|(path, (kind, _))| path.contains("staging/") && *kind == 'f' && !path.ends_with("/worker/lock"))
        .map(|(path, _)| path)
        .collect();
    assert_eq!(staging, Vec::<String>::new());
    let marker = compose.directory().display().to_string();
    for entry in fs::read_dir("/proc").unwrap().map_while(Result::ok) {
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        assert!(!command.contains(&marker), "still running: {command}");
    }
}
