//! What `tutti createrepo --update` keeps besides the packages, and that it says so rather than lose it.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use tutti_integration_tests::{
    program::{Ended, run, tutti},
    scratch::{Scratch, read, write},
    sources::Tiny,
};

struct Kept {
    scratch: Scratch,
    /// A repository with a group file.
    directory: PathBuf,
}

impl Kept {
    fn new(name: &str) -> Self {
        let scratch = Scratch::new(name);
        let directory = Tiny::new(&scratch.join("tiny")).directory.join("repo");
        let groups = scratch.join("comps.xml");
        write(&groups, "<comps/>\n".repeat(1000));
        let kept = Self { scratch, directory };
        let _ = kept.make(&["--groupfile", groups.to_str().unwrap()]).expect(0);
        kept
    }

    fn make(&self, more: &[&str]) -> Ended {
        let mut command = tutti(["createrepo", "-q"]);
        command.args(more).arg(&self.directory);
        run(command)
    }

    fn repomd(&self) -> PathBuf {
        self.directory.join("repodata/repomd.xml")
    }
}

fn listed(repomd: &Path) -> Vec<String> {
    read(repomd).split("<data type=\"").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
}

#[test]
fn a_list_that_cannot_be_read_is_refused_where_something_would_be_lost() {
    let kept = Kept::new("kept-list");
    let good = read(kept.repomd());
    for damage in [("type=\"sha256\">", "type=\"md5x\">"), ("<timestamp>", "<timestamp>x"), ("</repomd>", "")] {
        let bad = good.replacen(damage.0, damage.1, 1);
        assert_ne!(bad, good);
        write(&kept.repomd(), &bad);
        let refused = kept.make(&["--update"]).expect(1).stderr;
        for words in ["repomd.xml, which lists group beside", "--discard-additional-metadata"] {
            assert!(refused.contains(words), "{refused}");
        }
        assert_eq!(read(kept.repomd()), bad);
    }
    let _ = kept.make(&["--update", "--discard-additional-metadata"]).expect(0);
    assert_eq!(listed(&kept.repomd()), ["primary", "filelists", "other"]);
    // Where nothing is lost, all is made again.
    write(&kept.repomd(), "<repomd>");
    let _ = kept.make(&["--update"]).expect(0);
    assert_eq!(listed(&kept.repomd()), ["primary", "filelists", "other"]);
    drop(kept.scratch);
}

#[test]
fn a_damaged_file_that_is_kept_is_named_as_it_is_called() {
    let kept = Kept::new("kept-file");
    let files = fs::read_dir(kept.directory.join("repodata")).unwrap().map(|entry| entry.unwrap().path());
    let groups = files.into_iter().find(|path| path.display().to_string().contains("comps.xml")).unwrap();
    let bytes = fs::read(&groups).unwrap();
    fs::write(&groups, &bytes[..bytes.len() / 2]).unwrap();
    let package = kept.directory.join("hello-1.0-1.x86_64.rpm");
    fs::rename(&package, kept.directory.join("moved.rpm")).unwrap();
    let refused = kept.make(&["--update"]).expect(1).stderr;
    assert!(refused.contains(&groups.display().to_string()) && !refused.contains("partial"), "{refused}");
    assert_eq!(listed(&kept.repomd()), ["primary", "filelists", "other", "group"]);
    drop(kept.scratch);
}
