//! A package set whose attempts end early: what the next one takes over, and what it reads again.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use tutti_job::{JobKind, JobSpec};

use super::{
    super::pkgset::{resume::Pace, run_with},
    chain::{pkgset_outputs, pkgset_params},
};
use crate::{
    JobContext, Output, RunnerError,
    report::Log,
    runners::testing::{Case, shared, spec},
};

/// A checkpoint after each four packages.
const PACE: Pace = Pace { packages: 4, time: Duration::from_secs(3600) };

/// A repository without metadata, its files in the order in which they are read.
struct Source {
    _directory: tempfile::TempDir,
    path: PathBuf,
    files: Vec<PathBuf>,
}

fn source() -> Option<Source> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("repository");
    fs::create_dir(&path).unwrap();
    let mut files = Vec::new();
    let mut pending = vec![shared()?.join("rpms/packages/pulp+pulp-fixtures")];
    while let Some(from) = pending.pop() {
        for item in fs::read_dir(from).unwrap() {
            let item = item.unwrap();
            let name = item.file_name().into_string().unwrap();
            if item.file_type().unwrap().is_dir() {
                pending.push(item.path());
            } else if name.ends_with(".noarch.rpm") && !path.join(&name).exists() {
                fs::copy(item.path(), path.join(&name)).unwrap();
                files.push(path.join(name));
            }
        }
    }
    files.sort();
    if files.len().is_multiple_of(PACE.packages) {
        // The last packages have a checkpoint of their own.
        fs::remove_file(files.remove(0)).unwrap();
    }
    assert!(files.len() > 20, "{files:?}");
    Some(Source { _directory: directory, path, files })
}

impl Source {
    fn spec(&self) -> JobSpec {
        spec(JobKind::Pkgset, &pkgset_params(std::slice::from_ref(&self.path)), vec![], pkgset_outputs())
    }

    fn undisturbed(&self) -> Vec<Output> {
        run_with(&Case::new().context(self.spec()), Pace::default()).unwrap()
    }

    /// An attempt that ends at the last file, which is cut short for its time.
    fn broken_attempt(&self, case: &Case, number: u32, earlier: &[u32]) -> Attempt {
        let last = self.files.last().unwrap();
        let (whole, modified) = (fs::read(last).unwrap(), fs::metadata(last).unwrap().modified().unwrap());
        fs::write(last, &whole[..whole.len() - 1]).unwrap();
        let attempt = attempt(case, self.spec(), number, earlier);
        assert!(attempt.result.is_err());
        fs::write(last, whole).unwrap();
        fs::File::options().write(true).open(last).unwrap().set_modified(modified).unwrap();
        attempt
    }

    fn size_of(&self, files: std::ops::Range<usize>) -> u64 {
        self.files[files].iter().map(|file| fs::metadata(file).unwrap().len()).sum()
    }
}

#[derive(Clone, Default)]
struct Text(Arc<Mutex<Vec<u8>>>);

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct Attempt {
    result: Result<Vec<Output>, RunnerError>,
    context: JobContext,
    log: String,
}

impl Attempt {
    fn count(&self, name: &str) -> u64 {
        self.context.counters.snapshot().get(name).copied().unwrap_or(0)
    }

    fn staging(&self) -> PathBuf {
        self.context.volumes.staging.clone().unwrap()
    }

    fn checkpoints(&self) -> Vec<PathBuf> {
        let items = fs::read_dir(self.staging().join("checkpoints")).unwrap();
        let mut paths: Vec<PathBuf> = items.map(|item| item.unwrap().path()).collect();
        paths.sort();
        paths
    }
}

fn attempt(case: &Case, spec: JobSpec, number: u32, earlier: &[u32]) -> Attempt {
    let mut context = case.attempt(spec, number, earlier);
    let text = Text::default();
    context.log = Log::new(text.clone());
    let result = run_with(&context, PACE);
    let log = String::from_utf8(text.0.lock().unwrap().clone()).unwrap();
    Attempt { result, context, log }
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    let at = at.min(bytes.len() - 1);
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

#[test]
fn r2_a_later_attempt_reads_only_the_rest() {
    let Some(source) = source() else { return };
    let (case, total) = (Case::new(), source.files.len());
    let first = source.broken_attempt(&case, 1, &[]);
    assert_eq!(first.count("rpm_files"), total as u64 - 1);
    let checkpoints = first.checkpoints();
    assert_eq!(checkpoints.len(), (total - 1).div_ceil(4));
    // As if it had been killed after three: nothing after them was written.
    checkpoints[3..].iter().for_each(|path| fs::remove_file(path).unwrap());
    let second = attempt(&case, source.spec(), 2, &[1]);
    assert_eq!(second.result.as_ref().unwrap(), &source.undisturbed(), "the same bytes");
    assert_eq!((second.count("rpm_files_taken_over"), second.count("rpm_files")), (12, total as u64 - 12));
    assert_eq!(second.count("rpm_read_bytes"), source.size_of(12..total));
    assert_eq!(second.count("records_kept"), 12, "these are not even written again");
    let said = format!("12 of {total} packages were taken over from earlier attempts, {} read", total - 12);
    assert!(second.log.contains(&said), "{}", second.log);
}

#[test]
fn r2_each_attempt_goes_on_from_the_ones_before() {
    let Some(source) = source() else { return };
    let (case, total) = (Case::new(), source.files.len());
    let first = source.broken_attempt(&case, 1, &[]);
    first.checkpoints()[1..].iter().for_each(|path| fs::remove_file(path).unwrap());
    let second = source.broken_attempt(&case, 2, &[1]);
    assert_eq!(second.count("rpm_files_taken_over"), 4);
    // The second has what it took over from the first.
    fs::remove_dir_all(first.staging()).unwrap();
    let third = attempt(&case, source.spec(), 3, &[2, 1]);
    assert_eq!((third.count("rpm_files_taken_over"), third.count("rpm_files")), (total as u64 - 1, 1));
    assert_eq!(third.result.as_ref().unwrap(), &source.undisturbed());
    // And one that was killed after it had read all, while it compiled universes.
    let fourth = attempt(&case, source.spec(), 4, &[3]);
    assert_eq!((fourth.count("rpm_files_taken_over"), fourth.count("rpm_files")), (total as u64, 0));
    assert_eq!(fourth.count("records_kept"), total as u64);
    assert_eq!(fourth.result.unwrap(), third.result.unwrap());
}

#[test]
fn r2_finished_universes_are_taken_over() {
    let Some(source) = source() else { return };
    let (case, expected) = (Case::new(), source.undisturbed());
    let universe = |attempt: &Attempt| attempt.staging().join("out/universe/x86_64");
    let noted = |attempt: &Attempt| {
        let mut paths = attempt.checkpoints();
        paths.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with("universe-"));
        assert_eq!(paths.len(), 1, "{paths:?}");
        paths.remove(0)
    };
    // Each was killed after its universe was finished, so to speak.
    let first = attempt(&case, source.spec(), 1, &[]);
    assert_eq!((first.count("universes_taken_over"), first.result.as_ref().unwrap()), (0, &expected));
    let second = attempt(&case, source.spec(), 2, &[1]);
    assert_eq!((second.count("universes_taken_over"), second.result.as_ref().unwrap()), (1, &expected));
    fs::remove_dir_all(first.staging()).unwrap();
    let third = attempt(&case, source.spec(), 3, &[2, 1]);
    assert_eq!((third.count("universes_taken_over"), third.result.as_ref().unwrap()), (1, &expected));
    // What is not as it was noted is compiled again.
    type Damage<'a> = &'a dyn Fn();
    let damages: [(&str, Damage<'_>); 5] = [
        ("is not what was compiled", &|| flip(&universe(&third), 1000)),
        ("is not what was compiled", &|| fs::write(universe(&third), b"").unwrap()),
        ("is not taken over", &|| fs::remove_file(universe(&third)).unwrap()),
        ("is no digest", &|| fs::write(noted(&third), b"\x89PNG").unwrap()),
        ("", &|| fs::remove_file(noted(&third)).unwrap()),
    ];
    for (number, (said, damage)) in (4..).zip(damages) {
        damage();
        let later = attempt(&case, source.spec(), number, &[3]);
        assert_eq!((later.count("universes_taken_over"), later.result.as_ref().unwrap()), (0, &expected), "{number}");
        assert!(later.log.contains(said), "{number}: {}", later.log);
    }
    // Another set has another universe.
    fs::remove_file(&source.files[3]).unwrap();
    let fewer = attempt(&case, source.spec(), 9, &[2]);
    assert_eq!((fewer.count("universes_taken_over"), fewer.result.unwrap()), (0, source.undisturbed()));
}

#[test]
fn r2_files_that_changed_meanwhile_are_read_again() {
    let Some(source) = source() else { return };
    let case = Case::new();
    source.broken_attempt(&case, 1, &[]);
    let modified = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    let touch = |path: &Path, time| fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    // Same size, a nanosecond later; the same second for whoever looks at seconds.
    let (later, other, moved) = (&source.files[2], &source.files[5], &source.files[7]);
    touch(later, modified(later) + Duration::from_nanos(1));
    // Another file with equal size and time.
    let copy = source.path.join("copy");
    fs::copy(other, &copy).unwrap();
    touch(&copy, modified(other));
    fs::rename(&copy, other).unwrap();
    // A file that is the same under another name.
    fs::create_dir(source.path.join("moved")).unwrap();
    fs::rename(moved, source.path.join("moved").join(moved.file_name().unwrap())).unwrap();
    let second = attempt(&case, source.spec(), 2, &[1]);
    assert_eq!(second.count("rpm_files"), 4, "these three, and the last");
    assert_eq!(second.count("records_kept"), 2, "those before the first that changed");
    assert_eq!(second.result.unwrap(), source.undisturbed());
    // A checksum of another type was never made.
    let mut params = pkgset_params(std::slice::from_ref(&source.path));
    params.checksum_type = "sha512".into();
    let sha512 = attempt(&case, spec(JobKind::Pkgset, &params, vec![], pkgset_outputs()), 3, &[2, 1]);
    assert_eq!(sha512.count("rpm_files_taken_over"), 0);
    assert!(sha512.log.contains("it belongs to another job"), "{}", sha512.log);
}

#[test]
fn x5_damaged_checkpoints_are_noted_and_ignored() {
    let Some(source) = source() else { return };
    let (expected, total) = (source.undisturbed(), source.files.len() as u64);
    // Attempt, how it is damaged, and how many packages are taken over then.
    type Damage = fn(&Attempt);
    let cases: [(&str, Damage, std::ops::RangeInclusive<u64>); 8] = [
        ("is not used", |first| flip(&first.checkpoints()[0], 5), total - 5..=total - 5),
        ("is not used", |first| flip(&first.checkpoints()[1], usize::MAX), total - 5..=total - 5),
        ("is not used", |first| fs::write(&first.checkpoints()[2], b"").unwrap(), total - 5..=total - 5),
        ("is read again", |first| flip(&first.checkpoints()[0], 40), total - 5..=total - 2),
        (
            "is not a regular file",
            |first| fs::create_dir(first.staging().join("checkpoints/records-999")).unwrap(),
            total - 1..=total - 1,
        ),
        (
            "is not used",
            |first| {
                let path = first.checkpoints().remove(0);
                fs::remove_file(&path).unwrap();
                std::os::unix::fs::symlink("/dev/zero", path).unwrap();
            },
            total - 5..=total - 5,
        ),
        ("is gone", |first| fs::remove_file(first.staging().join("out/records.partial")).unwrap(), 0..=0),
        (
            "is not used",
            |first| {
                // A pipe is not waited for.
                let path = first.staging().join("checkpoints/records-000000");
                rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
            },
            total - 1..=total - 1,
        ),
    ];
    for (number, (said, damage, taken)) in cases.into_iter().enumerate() {
        let case = Case::new();
        damage(&source.broken_attempt(&case, 1, &[]));
        let second = attempt(&case, source.spec(), 2, &[1]);
        assert_eq!(second.result.as_ref().unwrap(), &expected, "case {number}");
        let found = second.count("rpm_files_taken_over");
        assert!(taken.contains(&found), "case {number}: {found} of {total}\n{}", second.log);
        assert!(second.log.contains(said), "case {number}: {}", second.log);
    }
}

/// A package set of another compose, with a directory of package records, as its worker keeps it.
fn another_compose(source: &Source, records: &Path, sha512: bool) -> Attempt {
    let case = Case::new();
    let mut params = pkgset_params(std::slice::from_ref(&source.path));
    if sha512 {
        params.checksum_type = "sha512".into();
    }
    let mut context = case.attempt(spec(JobKind::Pkgset, &params, vec![], pkgset_outputs()), 1, &[]);
    context.volumes.records = Some(records.to_owned());
    let text = Text::default();
    context.log = Log::new(text.clone());
    let result = run_with(&context, PACE);
    crate::packs::keep(&context.volumes, "pkgset.repos").unwrap();
    let log = String::from_utf8(text.0.lock().unwrap().clone()).unwrap();
    Attempt { result, context, log }
}

#[test]
fn no_package_is_read_twice_not_even_by_another_compose() {
    let Some(source) = source() else { return };
    let (records, total) = (source.path.parent().unwrap().join("records"), source.files.len() as u64);
    let packs = tutti_repodata::pack::PackDirectory::new(&records);
    let first = another_compose(&source, &records, false);
    assert_eq!((first.count("rpm_files"), first.count("rpm_files_known")), (total, 0));
    let second = another_compose(&source, &records, false);
    let counted = ["rpm_files", "rpm_read_bytes", "rpm_files_known", "records_kept", "pack_index_bytes"];
    assert_eq!(counted.map(|name| second.count(name)), [0, 0, total, total, 0]);
    assert_eq!(second.result.as_ref().unwrap(), &source.undisturbed(), "the same bytes");
    // One file is replaced: it alone is read, and has a small pack of its own.
    let changed = &source.files[9];
    let time = fs::metadata(changed).unwrap().modified().unwrap() + Duration::from_nanos(1);
    fs::File::options().write(true).open(changed).unwrap().set_modified(time).unwrap();
    let third = another_compose(&source, &records, false);
    assert_eq!((third.count("rpm_files"), third.count("rpm_read_bytes")), (1, source.size_of(9..10)));
    assert_eq!(third.count("records_kept"), 9, "those before it are not even written again");
    assert_eq!(third.result.as_ref().unwrap(), &source.undisturbed());
    let stat = packs.stat().unwrap();
    assert_eq!((stat.packs, stat.records, stat.uses), (2, source.files.len() + 1, 3));
    let fourth = another_compose(&source, &records, false);
    assert_eq!((fourth.count("rpm_files"), fourth.count("rpm_files_known")), (0, total));
    // A checksum of another type was never made.
    let sha512 = another_compose(&source, &records, true);
    assert_eq!((sha512.count("rpm_files"), sha512.count("rpm_files_known")), (total, 0));
}

#[test]
fn universes_of_one_set_are_compiled_once() {
    let Some(source) = source() else { return };
    let records = source.path.parent().unwrap().join("records");
    let universe = || {
        let mut items = fs::read_dir(records.join("universes")).unwrap().map(|item| item.unwrap().path());
        (items.next().unwrap(), items.count())
    };
    let first = another_compose(&source, &records, false);
    assert!(first.count("universe_bytes") > 0 && first.count("universes_known") == 0);
    let second = another_compose(&source, &records, false);
    assert_eq!((second.count("universe_bytes"), second.count("universes_known")), (0, 1), "{}", second.log);
    assert_eq!(second.result.unwrap(), source.undisturbed(), "the same bytes");
    // One that is damaged is compiled again, and replaced.
    let (path, 0) = universe() else { panic!("one alone") };
    let good = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, &good[1..]).unwrap();
    let third = another_compose(&source, &records, false);
    assert!(third.count("universe_bytes") > 0 && third.log.contains("is damaged"), "{}", third.log);
    assert_eq!(third.result.unwrap(), source.undisturbed());
    assert!(universe() == (path, 0));
    assert_eq!(another_compose(&source, &records, false).count("universes_known"), 1);
    // Another set is another universe.
    let changed = &source.files[9];
    let time = fs::metadata(changed).unwrap().modified().unwrap() + Duration::from_secs(1);
    fs::File::options().write(true).open(changed).unwrap().set_modified(time).unwrap();
    assert_eq!(another_compose(&source, &records, false).count("universes_known"), 0);
    assert_eq!(universe().1, 1);
}

#[test]
fn x5_damaged_packs_cost_only_a_second_reading() {
    let Some(source) = source() else { return };
    let records = source.path.parent().unwrap().join("records");
    another_compose(&source, &records, false);
    let pack = |suffix: &str| {
        let items = fs::read_dir(records.join("packs")).unwrap().map(|item| item.unwrap().path());
        items.filter(|path| path.extension().unwrap() == suffix).min().unwrap()
    };
    // The output of the first compose is the same file under another name: it must not change with it.
    for suffix in ["index", "records"] {
        let path = pack(suffix);
        let good = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, &good).unwrap();
        flip(&path, 40);
        let next = another_compose(&source, &records, false);
        assert!(next.count("rpm_files") > 0, "{suffix}");
        assert_eq!(next.result.unwrap(), source.undisturbed(), "{suffix}");
        assert!(next.log.contains(path.parent().unwrap().to_str().unwrap()), "{suffix}: {}", next.log);
        // What was read again has the place of what was damaged.
        assert_eq!(fs::read(&path).unwrap(), good, "{suffix}");
        assert_eq!(another_compose(&source, &records, false).count("rpm_files"), 0, "{suffix}");
    }
    // With another package, the new pack is another, too; the damaged one is listed no longer.
    let damaged = pack("records");
    let good = fs::read(&damaged).unwrap();
    fs::remove_file(&damaged).unwrap();
    fs::write(&damaged, good).unwrap();
    flip(&damaged, 40);
    let changed = &source.files[9];
    let time = fs::metadata(changed).unwrap().modified().unwrap() + Duration::from_nanos(1);
    fs::File::options().write(true).open(changed).unwrap().set_modified(time).unwrap();
    let next = another_compose(&source, &records, false);
    assert!(next.count("rpm_files") > 1);
    assert_eq!(next.result.unwrap(), source.undisturbed());
    let packs = tutti_repodata::pack::PackDirectory::new(&records);
    assert_eq!((packs.stat().unwrap().packs, packs.stat().unwrap().unlisted), (1, 1));
    assert_eq!(another_compose(&source, &records, false).count("rpm_files"), 0);
    assert!(packs.verify(|_| ()).unwrap().iter().all(|report| report.problem.is_none()));
}
