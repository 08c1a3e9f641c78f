//! The judges can say no: a good compose is damaged in one way at a time, and somebody must notice.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::Command,
};

use tutti_integration_tests::{
    compose::{Compose, Run},
    judges::{self, Dnf},
    program::{has_tool, run},
    scratch::{Scratch, read},
    sources,
};

/// A copy of the compose whose packages are the same inodes.
fn copy(compose: &Compose, target: &Path) -> Compose {
    fs::create_dir_all(target).unwrap();
    let mut command = Command::new("cp");
    command.arg("-al").arg(compose.directory()).arg(target);
    let _ = run(command).expect(0);
    Compose::open(&target.join(compose.id()))
}

/// Replaces a file, without touching other links to it.
fn rewrite(path: &Path, change: impl Fn(Vec<u8>) -> Vec<u8>) {
    let bytes = fs::read(path).unwrap();
    fs::remove_file(path).unwrap();
    fs::write(path, change(bytes)).unwrap();
}

fn notices(what: &str, judge: impl Fn()) {
    let judged = catch_unwind(AssertUnwindSafe(judge));
    assert!(judged.is_err(), "{what}: nobody noticed");
}

#[test]
fn damage_is_noticed() {
    let scratch = Scratch::new("judges");
    let config = sources::demo(&scratch.join("demo"));
    let (good, _) = Run::default().compose(&config, &scratch.join("good"), 0);
    if judges::productmd(&good).is_none() {
        return;
    }
    judges::repodata(&good);
    let sources = scratch.join("demo/repos");
    judges::hardlinks(&good, &[&sources]);
    let bash = "Server/x86_64/os/Packages/b/bash-5.2.21-2.x86_64.rpm";
    let damaged = |name: &str| copy(&good, &scratch.join(name));

    let compose = damaged("metadata-bytes");
    let repodata = compose.tree("Server/x86_64/os/repodata");
    let primary = fs::read_dir(&repodata).unwrap().map_while(Result::ok).map(|entry| entry.path());
    let primary = primary.into_iter().find(|path| path.to_string_lossy().contains("primary.xml")).unwrap();
    rewrite(&primary, |mut bytes| {
        bytes.truncate(bytes.len() - 5);
        bytes
    });
    notices("truncated primary", || drop(judges::repodata(&compose)));

    let compose = damaged("missing-package");
    fs::remove_file(compose.tree(bash)).unwrap();
    notices("missing package, to createrepo_c", || drop(judges::repodata(&compose)));
    notices("missing package, to productmd", || drop(judges::productmd(&compose)));

    let compose = damaged("other-package");
    rewrite(&compose.tree(bash), |mut bytes| {
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        bytes
    });
    notices("changed package", || drop(judges::repodata(&compose)));
    notices("package that is no link", || judges::hardlinks(&compose, &[&sources]));

    let install = |compose: &Compose| {
        if let Some(dnf) = Dnf::new(compose, &["Server/x86_64/os"]) {
            dnf.download(&["bash"]);
        }
    };
    install(&good);
    let compose = damaged("swapped-package");
    let other = fs::read(compose.tree("Server/x86_64/os/Packages/h/httpd-2.4.58-1.x86_64.rpm")).unwrap();
    rewrite(&compose.tree(bash), |_| other.clone());
    if has_tool("dnf") {
        notices("package that is another", || install(&compose));
    }

    let compose = damaged("rpms-json");
    rewrite(&compose.tree("metadata/rpms.json"), |bytes| {
        String::from_utf8(bytes).unwrap().replace("bash-5.2.21-2.x86_64.rpm", "bush-5.2.21-2.x86_64.rpm").into_bytes()
    });
    notices("path in rpms.json", || drop(judges::productmd(&compose)));

    let compose = damaged("treeinfo");
    rewrite(&compose.tree("Server/x86_64/os/.treeinfo"), |bytes| {
        String::from_utf8(bytes).unwrap().replace("sha256:", "sha256:0").into_bytes()
    });
    notices("checksum in .treeinfo", || drop(judges::productmd(&compose)));

    let closure = |compose: &Compose| {
        judges::check_closure(compose, "Server", &["Server/x86_64/os".to_owned()]);
    };
    closure(&good);
    let compose = damaged("closure");
    // Tutti's verdict stands in its log; the repository is swapped for one that lacks much.
    let os = compose.tree("Server/x86_64/os");
    fs::remove_dir_all(os.join("repodata")).unwrap();
    fs::rename(compose.tree("Server/x86_64/os/addons/HighAvailability/repodata"), os.join("repodata")).unwrap();
    if let Some(dnf) = Dnf::new(&compose, &["Server/x86_64/os"]) {
        notices("repository that is not closed", || closure(&compose));
        notices("packages that cannot be had", || dnf.download(&["httpd"]));
    }
    assert_eq!(read(good.directory().join("STATUS")).trim(), "FINISHED");
}
