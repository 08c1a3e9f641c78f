use super::*;

/// A repository of one commit on `master`; `make` fills its directory.
fn repository(make: impl FnOnce(&Path)) -> Option<tempfile::TempDir> {
    if Command::new("git").arg("--version").output().is_err() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "git is missing");
        println!("skipped: no git");
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let identity = ["-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "commit.gpgSign=false"];
        run(git(Some(directory.path())).args(identity).args(arguments), "git", ASK_DEADLINE).unwrap()
    };
    run(&["init", "-q", "-b", "master"]);
    make(directory.path());
    run(&["add", "."]);
    run(&["commit", "-q", "-m", "one"]);
    Some(directory)
}

fn scm(repository: &Path, file: &str, command: Option<&str>) -> Scm {
    Scm {
        scm: ScmKind::Git,
        repo: Some(repository.display().to_string()),
        branch: None,
        file: vec![file.to_owned()],
        dir: Vec::new(),
        command: command.map(str::to_owned),
        options: Default::default(),
    }
}

#[test]
fn files_come_from_the_checkout_only() {
    let outside = tempfile::NamedTempFile::new().unwrap();
    fs::write(outside.path(), "secret").unwrap();
    let made = repository(|dir| {
        fs::create_dir(dir.join("sub")).unwrap();
        fs::write(dir.join("sub/variants.xml"), "good").unwrap();
        std::os::unix::fs::symlink("sub/variants.xml", dir.join("inner.xml")).unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.join("outer.xml")).unwrap();
        std::os::unix::fs::symlink(outside.path().parent().unwrap(), dir.join("up")).unwrap();
    });
    let Some(repository) = made else { return };
    let get = |file: &str, command| from_git(&scm(repository.path(), file, command));
    for file in ["sub/variants.xml", "inner.xml"] {
        let text = get(file, None).unwrap();
        assert_eq!(text.text, "good");
        assert!(text.name.ends_with(file), "{}", text.name);
    }
    let through = format!("up/{}", outside.path().file_name().unwrap().to_str().unwrap());
    for file in ["outer.xml", &through, "../outer.xml", "/etc/passwd"] {
        assert!(matches!(get(file, None), Err(FetchError::Outside(_))), "{file}");
    }
    assert_eq!(get("made.xml", Some("stat -c %a . > made.xml")).unwrap().text, "700\n", "the checkout is ours alone");
    assert!(matches!(get("none.xml", None), Err(FetchError::Read { .. })));
}

#[test]
fn a_branch_that_is_not_there_is_named() {
    let Some(repository) = repository(|dir| fs::write(dir.join("a"), "a").unwrap()) else { return };
    let repository = repository.path().display().to_string();
    assert!(is_commit(&resolve_commit(&repository, None).unwrap()));
    let error = resolve_commit(&repository, Some("f99")).unwrap_err();
    assert!(matches!(&error, FetchError::NoBranch { branch, .. } if branch == "f99"), "{error}");
    let error = resolve_commit("ext::touch /tmp/x", None).unwrap_err().to_string();
    assert!(error.contains("not allowed"), "{error}");
}

#[test]
fn hooks_and_settings_of_others_do_nothing() {
    let Some(repository) = repository(|dir| fs::write(dir.join("a"), "a").unwrap()) else { return };
    let hook = repository.path().join(".git/hooks/post-checkout");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, "#!/bin/sh\ntouch hooked\n").unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    run(git(Some(repository.path())).args(["checkout", "-q", "--detach"]), "git checkout", ASK_DEADLINE).unwrap();
    assert!(!repository.path().join("hooked").exists());
    // Settings of the user and the system have no scope left to come from.
    let shown = run(git(None).args(["config", "--list", "--show-scope"]), "git config", ASK_DEADLINE).unwrap();
    assert!(!shown.contains("global\t") && !shown.contains("system\t"), "{shown}");
}

#[test]
fn only_regular_files_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    run(Command::new("mkfifo").arg(&pipe), "mkfifo", ASK_DEADLINE).unwrap();
    for path in [pipe.as_path(), Path::new("/dev/zero"), directory.path()] {
        assert!(matches!(read(path, ""), Err(FetchError::NotFile { .. })), "{path:?}");
    }
    let large = directory.path().join("large");
    fs::File::create(&large).unwrap().set_len(MAX_TEXT + 1).unwrap();
    assert!(matches!(read(&large, ""), Err(FetchError::TooLarge { .. })));
    fs::write(&large, b"ab\xff").unwrap();
    assert!(matches!(read(&large, ""), Err(FetchError::NotText { offset: 2, .. })));
}

#[test]
fn commands_end_in_time_and_say_little() {
    let start = Instant::now();
    let error = run(Command::new("sleep").arg("60"), "sleep", Duration::from_millis(100)).unwrap_err().to_string();
    assert!(error.contains("sleep failed: it did not end in 0.1 s"), "{error}");
    let error = run(&mut Command::new("yes"), "yes", WORK_DEADLINE).unwrap_err().to_string();
    assert!(error.contains("it says more than"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(50));
}
