use std::collections::BTreeMap;

use tutti_job::{Digest, EntryKind, Fence, JobKind, JobName, LogicalPath, OutputSpec, Resources, Root};

use super::{
    Finding, Keeper, Severity, Subject,
    compare::compare,
    expected::{Expected, Wanted, blob_path},
    observe::{Kind, Latest, Places, Seen},
    state,
};
use crate::{
    lifecycle::{Header, JobRecord, JobState, Output, Status, Timestamp},
    plan::{At, Edge, Need, Plan, PlanJob},
    spec::Identity,
};

const PACKAGES: &str = "compose/S/x86_64/os/Packages";
const REPODATA: &str = "compose/S/x86_64/os/repodata";

fn job(number: u32, kind: JobKind, name: &str, target: &str, edges: Vec<Edge>) -> PlanJob {
    let target = LogicalPath::new(Root::Compose, target).unwrap();
    PlanJob {
        number,
        name: JobName::new(kind, "S", "x86_64"),
        params_json: "{}".into(),
        fixed_inputs: BTreeMap::new(),
        derived_inputs: BTreeMap::new(),
        outputs: vec![OutputSpec::directory(name, &target)],
        edges,
        deliverable: "repo".into(),
        failable: false,
        resources: Resources::default(),
        estimate: 1,
    }
}

fn published(name: &str) -> JobRecord {
    JobRecord {
        state: JobState::Published,
        attempt: 1,
        committed: true,
        outputs: vec![Output { name: name.into(), digest: Digest::of(name.as_bytes()), size: 3 }],
        ..JobRecord::default()
    }
}

/// A finished compose of two jobs.
fn subject() -> Subject {
    let needs = vec![Edge { job: 0, at: At::Published, need: Need::Required }];
    let plan = Plan::new(vec![
        job(0, JobKind::Link, "packages", "S/x86_64/os/Packages", vec![]),
        job(1, JobKind::Createrepo, "repodata", "S/x86_64/os/repodata", needs),
    ]);
    Subject {
        id: "C-1-20260102.0".into(),
        top: "/t/C-1-20260102.0".into(),
        keeper: Keeper::Itself,
        recorded_top: "/t/C-1-20260102.0".into(),
        documents: [Digest::of(b"spec"), Digest::of(b"plan")],
        identity: Identity {
            compose_id: "C-1-20260102.0".into(),
            id_prefix: "C-1-20260102.".into(),
            compose_type: "production".into(),
            date: "20260102".into(),
            respin: 0,
            label: None,
            supported: false,
            release_name: "C".into(),
            release_short: "C".into(),
            release_version: "1".into(),
            release_type: "ga".into(),
            release_internal: false,
            base_product: None,
            latest_link: Some("latest-C-1".into()),
            latest_link_status: vec!["FINISHED".into()],
        },
        plan,
        header: Header {
            status: Status::Finished,
            started_at: Some(Timestamp(1)),
            ended_at: Some(Timestamp(2)),
            ..Header::default()
        },
        jobs: vec![published("packages"), published("repodata")],
        running: false,
    }
}

fn wanted(job: u32, kind: EntryKind) -> Wanted {
    let package = kind == EntryKind::Package;
    Wanted {
        job: Some(job),
        kind,
        size: Some(3),
        mode: Some(0o644),
        mtime: package.then_some(7),
        source: if package { "file:/r/a.rpm".into() } else { String::new() },
        checksum: None,
    }
}

fn expected() -> Expected {
    let mut expected = Expected::default();
    expected.paths.insert(format!("{PACKAGES}/a/a.rpm"), wanted(0, EntryKind::Package));
    expected.paths.insert(format!("{REPODATA}/repomd.xml"), wanted(1, EntryKind::File));
    let blob = Wanted { mode: None, ..wanted(1, EntryKind::File) };
    expected.paths.insert(blob_path(&Digest::of(b"repodata")), blob);
    expected.owned.insert(PACKAGES.into(), 0);
    expected.owned.insert(REPODATA.into(), 1);
    expected
}

fn entry(kind: Kind) -> Seen {
    let (size, mode) = if kind == Kind::Directory { (40, 0o755) } else { (3, 0o644) };
    Seen { kind, size, mode, mtime: 7, target: String::new(), checksum: None }
}

/// What is on the disk when all is good.
fn seen() -> BTreeMap<String, Seen> {
    let mut seen = BTreeMap::new();
    for path in expected().paths.keys() {
        for (end, _) in path.match_indices('/') {
            seen.insert(path[..end].to_owned(), entry(Kind::Directory));
        }
        seen.insert(path.clone(), entry(Kind::File));
    }
    seen
}

fn line(finding: &Finding) -> String {
    format!("{} {} [{}] {} => {}", finding.severity, finding.path, finding.job, finding.what, finding.advice)
}

/// The findings after one change of what is on the disk.
fn after(change: impl FnOnce(&mut BTreeMap<String, Seen>)) -> Vec<String> {
    let mut seen = seen();
    change(&mut seen);
    compare(&subject(), &expected(), &seen).iter().map(line).collect()
}

fn set(path: &str, change: impl FnOnce(&mut Seen)) -> Vec<String> {
    after(|seen| change(seen.get_mut(path).unwrap()))
}

#[test]
fn a_good_tree_has_no_findings() {
    assert_eq!(after(|_| {}), Vec::<String>::new());
}

#[test]
fn each_damage_of_the_tree_is_one_finding() {
    let package = format!("{PACKAGES}/a/a.rpm");
    let index = format!("{REPODATA}/repomd.xml");
    let missing = after(|seen| drop(seen.remove(&package)));
    assert_eq!(
        missing,
        [format!(
            "error {package} [link.S.x86_64] is missing => if /r/a.rpm is unchanged since (size 3, mtime 7), link or copy it here with its mtime; else make a new compose"
        )]
    );
    let short = set(&index, |seen| seen.size = 2);
    assert_eq!(
        short,
        [format!(
            "error {index} [createrepo.S.x86_64] has 2 bytes, the job had 3 => restore it from a copy, or make a new compose: finished jobs do not run again"
        )]
    );
    let mode = set(&index, |seen| seen.mode = 0o600);
    assert_eq!(
        mode,
        [format!("warning {index} [createrepo.S.x86_64] has mode 0600, the job made it with 0644 => chmod 0644")]
    );
    let edited = set(&package, |seen| seen.mtime = 8);
    assert_eq!(edited.len(), 1);
    assert!(
        edited[0].contains("has mtime 8, the package set had 7 =>") && edited[0].contains("/r/a.rpm"),
        "{edited:?}"
    );
    let linked = set(&index, |seen| {
        *seen = Seen { kind: Kind::Symlink, target: "/etc/passwd".into(), ..entry(Kind::File) };
    });
    assert!(linked.len() == 1 && linked[0].contains("is a symbolic link to /etc/passwd, not a file"), "{linked:?}");
    let directory = set(REPODATA, |seen| seen.mode = 0o700);
    assert_eq!(
        directory,
        [format!("warning {REPODATA} [] has mode 0700, directories of the tree have 0755 => chmod 0755")]
    );
}

#[test]
fn contents_are_compared_where_they_were_read() {
    let index = format!("{REPODATA}/repomd.xml");
    let (mut expected, mut seen) = (expected(), seen());
    let good = (tutti_repodata::ChecksumType::Sha256, "aa".to_owned());
    expected.paths.get_mut(&index).unwrap().checksum = Some(good);
    assert!(compare(&subject(), &expected, &seen).is_empty());
    for (found, says) in
        [(Ok("bb".to_owned()), "other contents: sha256 bb, the job had aa"), (Err("EIO".into()), "EIO")]
    {
        seen.get_mut(&index).unwrap().checksum = Some(found);
        let findings = compare(&subject(), &expected, &seen);
        assert!(findings.len() == 1 && findings[0].what.contains(says), "{findings:?}");
    }
    seen.get_mut(&index).unwrap().checksum = Some(Ok("aa".into()));
    assert!(compare(&subject(), &expected, &seen).is_empty());
}

#[test]
fn what_is_gone_or_new_together_is_one_finding() {
    let gone = after(|seen| seen.retain(|path, _| !path.starts_with(PACKAGES)));
    assert_eq!(gone.len(), 1);
    assert!(
        gone[0].starts_with(&format!("error {PACKAGES} [link.S.x86_64] is missing, with 1 file in it")),
        "{gone:?}"
    );
    let all = after(|seen| seen.retain(|path, _| !path.starts_with("compose")));
    assert_eq!(all.len(), 1);
    assert!(
        all[0].starts_with(
            "error compose [] is missing, with 2 files in it of createrepo.S.x86_64, link.S.x86_64 => restore"
        ),
        "{all:?}"
    );
    let replaced = set(REPODATA, |seen| {
        *seen = Seen { kind: Kind::Symlink, target: "elsewhere".into(), ..entry(Kind::File) };
    });
    assert!(
        replaced.len() == 1 && replaced[0].contains("is a symbolic link to elsewhere, not a directory"),
        "{replaced:?}"
    );
    let new = after(|seen| {
        seen.insert(format!("{REPODATA}/old"), entry(Kind::Directory));
        seen.insert(format!("{REPODATA}/old/x"), entry(Kind::File));
        seen.insert(format!("{REPODATA}/old/y"), entry(Kind::File));
    });
    assert_eq!(
        new,
        [format!(
            "warning {REPODATA}/old [createrepo.S.x86_64] was made by no job, with 2 more below it, in a directory that belongs to createrepo.S.x86_64 => remove it, or move it elsewhere"
        )]
    );
    let blobs = after(|seen| seen.retain(|path, _| !path.starts_with("work/tutti/blobs")));
    assert!(
        blobs.len() == 1 && blobs[0].contains("work/tutti/blobs") && blobs[0].contains("neither retried"),
        "{blobs:?}"
    );
}

#[test]
fn what_lies_where_no_job_has_a_directory_is_a_note() {
    let note = after(|seen| drop(seen.insert("compose/S/x86_64/iso.iso".into(), entry(Kind::File))));
    assert!(note.len() == 1 && note[0].starts_with("note compose/S/x86_64/iso.iso"), "{note:?}");
}

#[test]
fn outputs_of_a_job_that_is_not_published_are_found() {
    let mut subject = subject();
    subject.jobs[1] = JobRecord { state: JobState::Failed, ..JobRecord::default() };
    let mut expected = expected();
    expected.paths.retain(|path, _| path.starts_with(PACKAGES));
    expected.owned.remove(REPODATA);
    expected.unpublished.insert(REPODATA.into(), 1);
    let findings: Vec<_> = compare(&subject, &expected, &seen()).iter().map(line).collect();
    assert_eq!(
        findings,
        [format!(
            "error {REPODATA} [createrepo.S.x86_64] is in the tree, but its job is failed => remove it; tutti retry makes it anew"
        )]
    );
    subject.running = true;
    assert!(compare(&subject, &expected, &seen()).is_empty());
}

#[test]
fn state_that_contradicts_itself_is_found() {
    assert!(state::records(&subject()).is_empty());
    let says = |change: fn(&mut Subject)| {
        let mut subject = subject();
        change(&mut subject);
        state::records(&subject).iter().map(line).collect::<Vec<_>>()
    };
    let unmet = says(|subject| subject.jobs[0].state = JobState::Skipped { because: 0 });
    assert!(
        unmet.len() == 1 && unmet[0].contains("createrepo.S.x86_64 is done, though it needs link.S.x86_64"),
        "{unmet:?}"
    );
    let outputs = says(|subject| subject.jobs[1].outputs.clear());
    assert!(outputs.len() == 1 && outputs[0].contains("without all outputs"), "{outputs:?}");
    let open = says(|subject| subject.jobs[1].state = JobState::Running);
    assert!(open.len() == 1 && open[0].contains("is running, though the compose has ended"), "{open:?}");
    let dead = says(|subject| subject.header.ended_at = None);
    assert!(dead.len() == 1 && dead[0].starts_with("note") && dead[0].contains("--resume C-1-20260102.0"), "{dead:?}");
}

fn good_places() -> Places {
    let latest = Latest { target: "C-1-20260102.0".into(), leads_somewhere: true, leads_to_compose: true };
    Places {
        status: Some(Ok("FINISHED".into())),
        compose_id: Some(Ok("C-1-20260102.0".into())),
        staging: Some(vec!["worker".into()]),
        latest: Some(("/t/latest-C-1".into(), Some(latest))),
        lost_logs: (vec![], 2),
        history: true,
        unseen: BTreeMap::new(),
    }
}

#[test]
fn each_thing_around_the_tree_is_found() {
    let says = |change: fn(&mut Places)| {
        let mut places = good_places();
        change(&mut places);
        state::places(&subject(), &places).iter().map(line).collect::<Vec<_>>()
    };
    assert!(says(|_| {}).is_empty());
    assert_eq!(
        says(|places| places.status = Some(Ok("DOOMED".into()))),
        ["error STATUS [] says \"DOOMED\", the state says FINISHED => write the word FINISHED into it"]
    );
    assert_eq!(says(|places| places.status = None), ["error STATUS [] is missing => write the word FINISHED into it"]);
    let other = says(|places| places.compose_id = Some(Ok("D-1-20260102.0".into())));
    assert!(other.len() == 1 && other[0].starts_with("error COMPOSE_ID"), "{other:?}");
    let left = says(|places| places.staging = Some(vec!["j1-a1-00000000000000ff".into(), "x".into()]));
    assert_eq!(left.len(), 2);
    assert!(
        left[0].starts_with(
            "warning work/tutti/staging/j1-a1-00000000000000ff [createrepo.S.x86_64] was left behind by attempt 1"
        ),
        "{left:?}"
    );
    assert!(left[1].contains("work/tutti/staging/x [] is no attempt's directory"), "{left:?}");
    let gone = says(|places| places.latest = None);
    assert!(gone.len() == 1 && gone[0].contains("/t/latest-C-1 [] is missing"), "{gone:?}");
    let file = says(|places| places.latest = Some(("/t/latest-C-1".into(), None)));
    assert!(file.len() == 1 && file[0].contains("is not a symbolic link"), "{file:?}");
    let nowhere = says(|places| {
        let latest = Latest { target: "C-1-20260101.0".into(), leads_somewhere: false, leads_to_compose: false };
        places.latest = Some(("/t/latest-C-1".into(), Some(latest)));
    });
    assert!(nowhere.len() == 1 && nowhere[0].contains("leads to C-1-20260101.0, which is not there"), "{nowhere:?}");
}

#[test]
fn the_latest_link_must_not_lead_to_a_doomed_compose() {
    let mut subject = subject();
    subject.header.status = Status::Doomed;
    let places = Places { status: Some(Ok("DOOMED".into())), ..good_places() };
    let findings = state::places(&subject, &places);
    assert!(findings.len() == 1 && findings[0].what.contains("leads to this compose, which is DOOMED"), "{findings:?}");
}

#[test]
fn staged_outputs_that_are_still_to_be_moved_are_needed() {
    let mut subject = subject();
    let fence = Fence { job: 1, attempt: 1, executor: 255 };
    subject.jobs[1].state = JobState::Failed;
    subject.jobs[1].fence = Some(fence);
    let findings = state::places(&subject, &good_places());
    assert!(findings.len() == 1 && findings[0].severity == Severity::Error, "{findings:?}");
    assert!(findings[0].what.contains("is missing, and createrepo.S.x86_64 is only failed"), "{findings:?}");
    let places = Places { staging: Some(vec![fence.to_string()]), ..good_places() };
    assert!(state::places(&subject, &places).is_empty());
}

#[test]
fn a_history_of_any_size_is_read_line_by_line_in_the_order_of_its_epochs() {
    use crate::{
        history::{Cause, DIRECTORY, Recorder},
        lifecycle::{Changes, Compose, Event, apply},
    };
    let top = tempfile::tempdir().unwrap();
    let subject = Subject { top: top.path().to_owned(), ..subject() };
    let started = |plan: Plan, epoch| {
        let compose = Compose::new(subject.id.as_str(), std::sync::Arc::new(plan), false, Timestamp(1));
        let (changes, _): (Changes, _) = apply(&compose, Event::Started, Timestamp(1)).unwrap();
        let mut recorder = Recorder::new(epoch);
        recorder.change(&compose, Cause::Started, &changes, Timestamp(1));
        recorder.take(epoch).into_values().flatten().map(|line| line.to_json() + "\n").collect::<String>()
    };
    let larger = Plan::new((0..4).map(|number| job(number, JobKind::Link, "p", "S/x86_64/p", vec![])).collect());
    std::fs::create_dir_all(top.path().join(DIRECTORY)).unwrap();
    let write = |epoch: i64, text: String| {
        std::fs::write(top.path().join(DIRECTORY).join(format!("history.{epoch}.jsonl")), text).unwrap();
    };
    let history = |watch: super::Watcher<'_>| super::observe::history(&subject, watch);
    let mut go_on = |_| std::ops::ControlFlow::Continue(());
    // As names, 10 comes before 9.
    write(9, started(subject.plan.clone(), 9));
    write(10, started(subject.plan.clone(), 10));
    let of_good = history(&mut go_on).unwrap();
    assert!(of_good.iter().all(|finding| finding.what.contains("I3")), "nothing but that it did not end: {of_good:?}");
    write(9, format!("{}\n{}{}\n", "x".repeat(1 << 20), started(larger, 9), "y".repeat(1 << 20)));
    let found = history(&mut go_on).unwrap();
    let of = |what: &str| found.iter().filter(|finding| finding.what.contains(what)).collect::<Vec<_>>();
    let (long, foreign) =
        (of("2 lines longer than 8192 bytes"), of("2 lines about jobs that the compose does not have"));
    for finding in long.iter().chain(&foreign) {
        assert_eq!((finding.severity, finding.path.as_str()), (Severity::Warning, "logs/global/history.9.jsonl"));
    }
    assert_eq!((long.len(), foreign.len()), (1, 1), "{found:?}");
    // It can be broken off, and ends where everything is wrong.
    write(9, "x\n".repeat(30_000));
    assert!(history(&mut |_| std::ops::ControlFlow::Break(())).is_none());
    write(9, started(subject.plan.clone(), 9).repeat(2_000));
    let found = history(&mut go_on).unwrap();
    assert!((1000..1010).contains(&found.len()), "{}", found.len());
    assert!(found.iter().any(|finding| finding.what.contains("more than 1000 things")), "{:?}", found.first());
}
