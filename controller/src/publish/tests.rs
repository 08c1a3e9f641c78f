use std::os::unix::fs::{PermissionsExt, symlink};

use tutti_job::JobKind;

use super::*;
use crate::lifecycle::StagingFate;

const TARGET: &str = "compose/Server/x86_64/os/repodata";

struct Case {
    dir: tempfile::TempDir,
    volumes: Volumes,
    fence: Fence,
    spec: JobSpec,
    reported: Vec<ReportedOutput>,
}

/// A line of `bytes`, as a file with mode 0644.
fn file(path: &str, bytes: &[u8]) -> Entry {
    Entry {
        path: path.into(),
        kind: EntryKind::File.into(),
        size: bytes.len() as u64,
        mode: 0o644,
        digest: Digest::of(bytes).as_bytes().to_vec(),
        ..Entry::default()
    }
}

fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
    set_mode(path, 0o644);
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

impl Case {
    /// An attempt that staged nothing yet, with `trees/repodata` as its output.
    fn new(mode: PublishMode, entries: Vec<Entry>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let target = LogicalPath::new(Root::Compose, "Server/x86_64/os/repodata").unwrap();
        let output = match mode {
            PublishMode::Directory => OutputSpec::directory("repodata", &target),
            _ => OutputSpec::merge("repodata", &target),
        };
        let mut case = Case {
            volumes: Volumes::new(dir.path().join("C-1")),
            dir,
            fence: Fence { job: 1, attempt: 1, executor: 7 },
            spec: JobSpec::new(JobKind::Createrepo, &(), vec![], vec![output]).unwrap(),
            reported: Vec::new(),
        };
        case.list(entries);
        case
    }

    fn list(&mut self, entries: Vec<Entry>) {
        let size = entries.iter().map(|entry| entry.size).sum();
        let (bytes, digest) = Manifest::new(entries).unwrap().encode_canonical();
        write(&self.staging("manifests/repodata"), &bytes);
        self.reported = vec![ReportedOutput { name: "repodata".into(), digest, size }];
    }

    fn staging(&self, below: &str) -> PathBuf {
        self.volumes.staging_of(&self.fence).join(below)
    }

    fn target(&self, below: &str) -> PathBuf {
        self.volumes.top.join(TARGET).join(below)
    }

    fn verify(&self) -> Result<u64, PublishError> {
        verify(&self.volumes, &self.fence, &self.spec, &self.reported)
    }

    fn publish(&self) -> Result<(), PublishError> {
        publish(&self.volumes, &self.fence, &self.spec, &self.reported)
    }

    /// The message of the refusal.
    fn refused(&self) -> String {
        self.verify().unwrap_err().to_string()
    }
}

fn repomd(mode: PublishMode) -> Case {
    let case = Case::new(mode, vec![file("repomd.xml", b"<repomd/>")]);
    write(&case.staging("trees/repodata/repomd.xml"), b"<repomd/>");
    case
}

#[test]
fn verify_and_publish_can_be_repeated() {
    for mode in [PublishMode::Directory, PublishMode::Merge] {
        let case = repomd(mode);
        for _ in 0..2 {
            case.verify().unwrap();
        }
        for _ in 0..2 {
            case.publish().unwrap();
        }
        assert_eq!(fs::read(case.target("repomd.xml")).unwrap(), b"<repomd/>");
        assert_eq!(sweep(&case.volumes, |_| StagingFate::Remove).unwrap(), 1);
        assert_eq!(sweep(&case.volumes, |_| StagingFate::Remove).unwrap(), 0);
        case.publish().unwrap();
    }
}

#[test]
fn what_differs_from_the_report_is_refused() {
    let tampered: [fn(&Case); 4] = [
        |case| fs::write(case.staging("trees/repodata/repomd.xml"), b"<evilmd/>").unwrap(),
        |case| fs::write(case.staging("trees/repodata/extra"), b"x").unwrap(),
        |case| fs::remove_file(case.staging("trees/repodata/repomd.xml")).unwrap(),
        |case| set_mode(&case.staging("trees/repodata/repomd.xml"), 0o4755),
    ];
    for tamper in tampered {
        let case = repomd(PublishMode::Directory);
        tamper(&case);
        case.verify().unwrap_err();
    }
    let mut case = repomd(PublishMode::Directory);
    case.reported[0].name = "other".into();
    assert!(matches!(case.verify(), Err(PublishError::Names { .. })));
}

#[test]
fn a_directory_of_an_earlier_attempt_is_replaced() {
    let case = repomd(PublishMode::Directory);
    write(&case.target("old"), b"old");
    case.verify().unwrap();
    case.publish().unwrap();
    assert!(!case.target("old").exists() && case.target("repomd.xml").exists());
}

#[test]
fn a_lost_tree_does_not_pass_for_published() {
    for mode in [PublishMode::Directory, PublishMode::Merge] {
        let case = repomd(mode);
        case.verify().unwrap();
        fs::remove_dir_all(case.staging("trees")).unwrap();
        case.publish().unwrap_err();
        assert!(!case.target("repomd.xml").exists());
        // The directory of an earlier attempt is not what this one made.
        for bytes in [&b"<older/>"[..], b"<repomd/>"] {
            write(&case.target("repomd.xml"), bytes);
            set_mode(&case.target("repomd.xml"), 0o644);
            assert_eq!(case.publish().is_ok(), bytes == b"<repomd/>");
        }
        if mode == PublishMode::Directory {
            write(&case.target("older.xml"), b"x");
            case.publish().unwrap_err();
        }
    }
}

#[test]
fn a_tree_that_is_being_removed_is_not_published() {
    let case = repomd(PublishMode::Directory);
    case.verify().unwrap();
    fs::remove_file(case.staging("trees/repodata/repomd.xml")).unwrap();
    case.publish().unwrap_err();
    assert!(!case.target("").exists());
}

#[test]
fn an_empty_tree_is_an_empty_directory() {
    let case = Case::new(PublishMode::Directory, vec![]);
    case.verify().unwrap();
    case.publish().unwrap();
    assert!(case.target("").is_dir());
    write(&case.target("old"), b"old");
    case.publish().unwrap_err();
}

#[test]
fn nothing_is_published_outside_the_compose() {
    let mut case = repomd(PublishMode::Directory);
    case.verify().unwrap();
    let outside = case.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::create_dir(case.volumes.top.join("compose")).unwrap();
    symlink(&outside, case.volumes.top.join("compose/Server")).unwrap();
    case.publish().unwrap_err();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    case.spec.outputs[0].target = format!("file:{}/x", outside.display());
    assert!(matches!(case.publish(), Err(PublishError::Path { .. })));
}

#[test]
fn links_in_the_staging_directory_are_not_followed() {
    let case = Case::new(PublishMode::Directory, vec![file("a/x", b"x")]);
    let outside = case.dir.path().join("outside");
    write(&outside.join("x"), b"x");
    write(&outside.join("repodata/a/x"), b"x");
    // A directory of the tree, the tree, and one above it.
    for (link, to) in
        [("trees/repodata/a", outside.clone()), ("trees/repodata", outside.join("repodata")), ("trees", outside)]
    {
        let link = case.staging(link);
        let _ = fs::remove_dir_all(case.staging("trees"));
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(to, &link).unwrap();
        case.verify().unwrap_err();
        fs::remove_file(&link).unwrap();
    }
    write(&case.staging("trees/repodata/a/x"), b"x");
    case.verify().unwrap();
}

#[test]
fn blobs_are_regular_files() {
    let mut case = Case::new(PublishMode::Directory, vec![]);
    case.spec = JobSpec::new(JobKind::Pkgset, &(), vec![], vec![OutputSpec::file("list")]).unwrap();
    case.reported = vec![ReportedOutput { name: "list".into(), digest: Digest::of(b"x"), size: 1 }];
    let outside = case.dir.path().join("outside");
    write(&outside, b"x");
    let staged = case.staging("out/list");
    fs::create_dir_all(staged.parent().unwrap()).unwrap();
    symlink(&outside, &staged).unwrap();
    assert!(case.refused().contains("symbolic link"));
    fs::remove_file(&staged).unwrap();
    // Opening a pipe would wait for a writer for ever.
    rustix::fs::mknodat(rustix::fs::CWD, &staged, rustix::fs::FileType::Fifo, 0o644.into(), 0).unwrap();
    assert!(case.refused().contains("not a regular file"));
    fs::remove_file(&staged).unwrap();
    write(&staged, b"x");
    case.verify().unwrap();
}

#[test]
fn what_was_removed_from_staging_is_named_and_not_the_blob_that_it_was_to_be() {
    let mut case = Case::new(PublishMode::Directory, vec![]);
    case.spec = JobSpec::new(JobKind::Pkgset, &(), vec![], vec![OutputSpec::file("list")]).unwrap();
    case.reported = vec![ReportedOutput { name: "list".into(), digest: Digest::of(b"x"), size: 1 }];
    let said = case.refused();
    assert!(said.contains("out/list: was removed before") && !said.contains("blobs"), "{said}");
    // Taken over already is as good.
    let staged = case.staging("out/list");
    write(&staged, b"x");
    case.verify().unwrap();
    fs::remove_dir_all(staged.parent().unwrap()).unwrap();
    case.verify().unwrap();
}

#[test]
fn packages_come_from_repositories_only() {
    let mut case = Case::new(PublishMode::Directory, vec![]);
    let placed = case.staging("trees/repodata/a.rpm");
    write(&placed, b"rpm");
    let modified = fs::metadata(&placed).unwrap();
    let alias = case.dir.path().join("alias");
    symlink(&case.volumes.top, &alias).unwrap();
    let (repository, download) =
        (case.dir.path().join("repo/a.rpm"), case.volumes.top.join("work/global/download/1/a.rpm"));
    let other = case.volumes.top.join("compose/a.rpm");
    for copy in [&repository, &download, &other] {
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::hard_link(&placed, copy).unwrap();
    }
    let below = format!("{}/{}/trees/repodata/a.rpm", Volumes::STAGING, case.fence);
    let link = case.dir.path().join("repo/link.rpm");
    symlink(&placed, &link).unwrap();
    let pool = case.dir.path().join("repo/pool.rpm");
    symlink("a.rpm", &pool).unwrap();
    let sources = [
        (format!("file:{}", repository.display()), true),
        (format!("file:{}", pool.display()), true),
        ("top:work/global/download/1/a.rpm".into(), true),
        (format!("file:{}", placed.display()), false),
        (format!("file:{}/{below}", alias.display()), false),
        (format!("file:{}", link.display()), false),
        (format!("top:{below}"), false),
        ("top:compose/a.rpm".into(), false),
        ("compose:a.rpm".into(), false),
        ("staging:trees/repodata/a.rpm".into(), false),
    ];
    for (source, good) in sources {
        case.list(vec![Entry {
            path: "a.rpm".into(),
            kind: EntryKind::Package.into(),
            size: 3,
            mode: 0o644,
            source: source.clone(),
            mtime: std::os::unix::fs::MetadataExt::mtime(&modified),
            ..Entry::default()
        }]);
        assert_eq!(case.verify().is_ok(), good, "{source}");
    }
}

#[test]
fn manifests_are_bounded_and_sizes_are_compared() {
    let mut case = repomd(PublishMode::Directory);
    case.reported[0].size = 8;
    assert!(case.refused().contains("lists 9 bytes"));
    let case = repomd(PublishMode::Directory);
    // Sparse: it takes no space, and would take as much memory as this.
    let manifest = fs::File::create(case.staging("manifests/repodata")).unwrap();
    manifest.set_len(1 << 40).unwrap();
    assert!(case.refused().contains("at most"));
}

/// Runs itself in a process with umask 077: the umask belongs to the process, not to the thread.
#[test]
fn modes_of_directories_do_not_depend_on_the_umask() {
    const CHILD: &str = "TUTTI_TEST_UMASK_077";
    if std::env::var_os(CHILD).is_none() {
        let status = std::process::Command::new("sh")
            .args(["-c", "umask 077; exec \"$0\" \"$@\""])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "publish::tests::modes_of_directories_do_not_depend_on_the_umask"])
            .env(CHILD, "1")
            .status();
        assert!(status.unwrap().success());
        return;
    }
    for publish_mode in [PublishMode::Directory, PublishMode::Merge] {
        let case = Case::new(publish_mode, vec![file("a/b/x", b"x")]);
        write(&case.staging("trees/repodata/a/b/x"), b"x");
        fs::create_dir(case.volumes.top.join("compose")).unwrap();
        assert_eq!(mode(&case.volumes.top.join("compose")), 0o700);
        case.verify().unwrap();
        case.publish().unwrap();
        for directory in case.target("a/b").ancestors().take_while(|path| *path != case.volumes.top) {
            assert_eq!(mode(directory), 0o755, "{}", directory.display());
        }
        assert_eq!(mode(&case.target("a/b/x")), 0o644);
    }
}

#[test]
fn names_are_synced_after_publishing() {
    for mode in [PublishMode::Directory, PublishMode::Merge] {
        let case = repomd(mode);
        case.verify().unwrap();
        crate::volume::SYNCED.take();
        case.publish().unwrap();
        let synced = crate::volume::SYNCED.take();
        let parent = if mode == PublishMode::Directory { ".." } else { "" };
        let parent = fs::canonicalize(case.target(parent)).unwrap();
        assert!(synced.contains(&parent), "{synced:?}");
    }
}

#[test]
fn r15_staging_that_no_worker_removes_is_swept_as_its_fate_says() {
    let case = repomd(PublishMode::Directory);
    let fence = |job, attempt| Fence { job, attempt, executor: 7 };
    let directory = |fence: &Fence| case.volumes.staging_of(fence);
    let all = [fence(1, 1), fence(1, 2), fence(1, 3), fence(2, 1), fence(2, 2), fence(12, 1)];
    let make = || {
        for fence in &all {
            fs::create_dir_all(directory(fence).join("checkpoints")).unwrap();
        }
        write(&directory(&fence(2, 1)).join("checkpoints/records-000001"), b"x");
    };
    let left = || -> Vec<Fence> { all.iter().copied().filter(|fence| directory(fence).exists()).collect() };
    let staging = case.volumes.top.join(Volumes::STAGING);
    make();
    // Neither what is no attempt's, nor what a link leads to.
    let outside = case.dir.path().join("outside");
    write(&outside.join("file"), b"x");
    fs::create_dir(staging.join("of-somebody")).unwrap();
    symlink(&outside, staging.join(fence(3, 1).to_string())).unwrap();
    assert_eq!(sweep_earlier(&case.volumes, &fence(1, 3)).unwrap(), 2);
    assert_eq!(left(), [fence(1, 3), fence(2, 1), fence(2, 2), fence(12, 1)]);
    assert_eq!(sweep_earlier(&case.volumes, &fence(12, 1)).unwrap(), 0);
    make();
    assert_eq!(sweep(&case.volumes, |_| StagingFate::KeepCheckpoints).unwrap(), 5);
    assert_eq!(left(), [fence(2, 1)]);
    assert_eq!(sweep(&case.volumes, |_| StagingFate::Keep).unwrap(), 0);
    assert_eq!(sweep(&case.volumes, |_| StagingFate::Remove).unwrap(), 1);
    assert_eq!(fs::read_dir(&staging).unwrap().count(), 2);
    assert!(outside.join("file").exists());
}
