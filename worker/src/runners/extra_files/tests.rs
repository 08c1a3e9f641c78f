use std::os::unix::fs::symlink;

use tutti_job::{Input, JobKind, LogicalPath, Manifest, OutputSpec, Root, params::ChecksumParams};

use super::*;
use crate::runners::testing::{Case, Done, spec};

fn item(file: &str, dir: &str, target: &str) -> ExtraFile {
    ExtraFile {
        scm: "file".into(),
        repo: String::new(),
        commit: String::new(),
        file: file.into(),
        dir: dir.into(),
        target: target.into(),
    }
}

fn run(case: &Case, items: Vec<ExtraFile>) -> Result<Done, RunnerError> {
    let target = LogicalPath::new(Root::Compose, "A/x86_64/os").unwrap();
    let outputs = vec![OutputSpec::merge("files", &target)];
    case.run(spec(JobKind::ExtraFiles, &ExtraFilesParams { items }, vec![], outputs))
}

fn paths(case: &Case, done: &Done) -> Vec<String> {
    let manifest = Manifest::decode_checked(&case.read(&done.outputs["files"])).unwrap();
    manifest.entries.iter().map(|entry| entry.path.clone()).collect()
}

/// A directory with some files below the case's.
fn source(case: &Case) -> String {
    let root = case.directory.path().join("source");
    fs::create_dir_all(root.join("docs/deep")).unwrap();
    for name in ["GPL", "README.txt", "docs/a.txt", "docs/deep/b.txt", ".hidden.txt"] {
        fs::write(root.join(name), name).unwrap();
    }
    fs::set_permissions(root.join("GPL"), fs::Permissions::from_mode(0o700)).unwrap();
    root.to_str().unwrap().to_owned()
}

#[test]
fn files_patterns_and_directories() {
    let case = Case::new();
    let root = source(&case);
    let items = vec![
        item(&format!("{root}/GPL"), "", ""),
        item(&format!("{root}/*/?.txt"), "", "legal/"),
        item("", &format!("{root}/docs"), "docs"),
        item(&format!("{root}/*.txt"), "", ""),
    ];
    let done = run(&case, items).unwrap();
    assert_eq!(paths(&case, &done), ["GPL", "README.txt", "docs/a.txt", "docs/deep/b.txt", "legal/a.txt"]);
    let mode = fs::metadata(case.top().join("compose/A/x86_64/os/GPL")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
}

#[test]
fn later_items_replace_earlier_ones_and_nothing_else() {
    let case = Case::new();
    let root = source(&case);
    let items = vec![item(&format!("{root}/README.txt"), "", "x"), item("", &format!("{root}/docs"), "x")];
    fs::write(Path::new(&root).join("docs/README.txt"), "later").unwrap();
    run(&case, items).unwrap();
    assert_eq!(fs::read_to_string(case.top().join("compose/A/x86_64/os/x/README.txt")).unwrap(), "later");
    for (bad, text) in [
        (item(&format!("{root}/GPL"), "", "../x"), ".."),
        (item(&format!("{root}/GPL"), "", "repodata"), "cannot be placed"),
        (item(&format!("{root}/nothing*"), "", ""), "nothing matches"),
        (item("relative", "", ""), "not an absolute path"),
        (item("", "", ""), "needs either"),
    ] {
        let error = run(&case, vec![bad]).err().unwrap();
        assert!(error.one_line().contains(text), "{}", error.one_line());
    }
}

#[test]
fn links_out_of_the_place_are_refused() {
    let case = Case::new();
    let root = source(&case);
    symlink("docs/a.txt", Path::new(&root).join("inside")).unwrap();
    let done = run(&case, vec![item(&format!("{root}/inside"), "", "")]).unwrap();
    assert_eq!(paths(&case, &done), ["inside"]);
    symlink("/etc/hostname", Path::new(&root).join("docs/outside")).unwrap();
    let error = run(&case, vec![item("", &format!("{root}/docs"), "")]).err().unwrap();
    assert!(error.cause.contains("leads out of"), "{error}");
}

#[test]
fn one_commit_of_a_repository() {
    let case = Case::new();
    let root = source(&case);
    let git = |arguments: &[&str]| {
        let output = std::process::Command::new("git")
            .args(["-c", "user.name=x", "-c", "user.email=x@x", "-c", "init.defaultBranch=main"])
            .args(arguments)
            .current_dir(&root)
            .output()
            .ok()?;
        assert!(output.status.success(), "{output:?}");
        Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
    };
    if git(&["init", "--quiet"]).is_none() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "git is missing");
        println!("skipped: no git");
        return;
    }
    git(&["add", "."]);
    git(&["commit", "--quiet", "-m", "one"]);
    let commit = git(&["rev-parse", "HEAD"]).unwrap();
    fs::write(Path::new(&root).join("README.txt"), "two").unwrap();
    symlink("/etc/hostname", Path::new(&root).join("outside")).unwrap();
    git(&["add", "."]);
    git(&["commit", "--quiet", "-m", "two"]);
    let second = git(&["rev-parse", "HEAD"]).unwrap();

    let git_item = |commit: &str, file: &str, dir: &str| ExtraFile {
        scm: "git".into(),
        repo: format!("file://{root}"),
        commit: commit.into(),
        ..item(file, dir, "")
    };
    let done = run(&case, vec![git_item(&commit, "README*", ""), git_item(&commit, "", "docs")]).unwrap();
    assert_eq!(paths(&case, &done), ["README.txt", "a.txt", "deep/b.txt"]);
    let text = fs::read_to_string(case.top().join("compose/A/x86_64/os/README.txt")).unwrap();
    assert_eq!(text, "README.txt", "the file of the pinned commit");
    let error = run(&case, vec![git_item(&second, "outside", "")]).err().unwrap();
    assert!(error.cause.contains("leads out of"), "{error}");
    let missing = run(&case, vec![git_item(&"0".repeat(40), "GPL", "")]).err().unwrap();
    assert!(missing.hint.is_some() && missing.class == FailureClass::External, "{missing:?}");
    assert!(run(&case, vec![git_item("--upload-pack=x", "GPL", "")]).is_err());
}

#[test]
fn extra_files_are_hashed_as_published() {
    let case = Case::new();
    let root = source(&case);
    let done = run(&case, vec![item("", &format!("{root}/docs"), "docs")]).unwrap();
    let tree = LogicalPath::new(Root::Compose, "A/x86_64/os").unwrap();
    let params = ChecksumParams {
        types: vec!["md5".into(), "sha512".into()],
        one_file: false,
        base_name: String::new(),
        roots: vec![tree.to_string()],
        extra_files_json: true,
    };
    let job = || {
        let inputs = vec![Input::new("files/0", done.outputs["files"])];
        spec(JobKind::Checksum, &params, inputs, vec![OutputSpec::merge("sums/0", &tree)])
    };
    case.run(job()).unwrap();
    let path = case.top().join("compose/A/x86_64/os/extra_files.json");
    let json: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    assert_eq!(json["data"][0]["file"], "docs/a.txt");
    let sums = json["data"][0]["checksums"].as_object().unwrap();
    assert_eq!(sums.keys().collect::<Vec<_>>(), ["md5", "sha512"]);
    assert_eq!(json["data"][0]["size"], 10);
    fs::write(case.top().join("compose/A/x86_64/os/docs/a.txt"), "changed!!!").unwrap();
    assert_eq!(case.run(job()).err().unwrap().class, FailureClass::Infra);
}

#[test]
fn addresses_are_shown_without_secrets() {
    assert_eq!(git::shown("https://user:secret@host/a/b.git"), "https://host/a/b.git");
    assert_eq!(git::shown("/srv/a"), "/srv/a");
    assert_eq!(git::local("file:///srv/a"), Some("/srv/a".into()));
    assert_eq!(git::local("https://h/a"), None);
}
