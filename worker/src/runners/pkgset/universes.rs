//! `universe/ARCH`: the chosen packages of one arch, compiled from the finished records.
//!
//! A finished universe is noted in `staging/checkpoints`, so that a later attempt takes it over instead of compiling it
//! again: `universe-KEY` holds the digest of `out/universe/ARCH`, where KEY is that of the job, the arch and the set.
//!
//! Other composes take it over, too, where they have the same set: [`crate::universes`].

use std::{
    fs,
    io::{self, Read as _, Write},
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use tutti_depsolve::UniverseBuilder;
use tutti_job::{Digest, Hasher, Volumes};
use tutti_repodata::{RecordId, RecordsReader};

use super::super::parallel;
use crate::{
    FailureClass, JobContext, OrFail as _, Output, RunnerError, log,
    universes::{self as shared, Kept},
};

/// Packages between two looks at whether the job is cancelled.
const STEP: usize = 256;

/// The packages of one arch.
pub(super) struct Set<'a> {
    pub(super) arch: &'a str,
    /// Of the package list, `set/ARCH`.
    pub(super) digest: Digest,
    /// Numbers of their records, in the order of the list.
    pub(super) records: Vec<u32>,
}

/// Makes the universes of all arches, several at a time. Each is kept as soon as it is finished.
pub(super) fn universes(context: &JobContext, sets: &[Set<'_>]) -> Result<Vec<Output>, RunnerError> {
    let path = context.output_path("records")?;
    let reader =
        RecordsReader::open(&path).or_fail(FailureClass::Tool, || format!("failed to read {}", path.display()))?;
    let (done, total) = (AtomicU64::new(0), sets.iter().map(|set| set.records.len() as u64).sum());
    let passed = |packages: u64| {
        let before = done.fetch_add(packages, Ordering::Relaxed);
        context.progress.set("compile universes", before + packages, total);
    };
    let make = |(): &mut (), set: &Set<'_>| {
        if let Some(output) = taken_over(context, set)? {
            passed(set.records.len() as u64);
            return Ok((output, Made::Here));
        }
        if let Some(output) = known(context, set)? {
            passed(set.records.len() as u64);
            return Ok((output, Made::Elsewhere));
        }
        Ok((compile(context, &reader, set, &passed)?, Made::Here))
    };
    let (mut outputs, mut kept) = (Vec::with_capacity(sets.len()), Vec::new());
    parallel::ordered(
        context,
        sets,
        || (),
        make,
        |number, (output, made)| {
            if made == Made::Here {
                let Set { arch, digest, .. } = &sets[number];
                kept.push(Kept { key: shared::key(arch, digest), digest: output.digest, arch: (*arch).to_owned() });
            }
            outputs.push(output);
            Ok(())
        },
    )?;
    keep(context, &kept);
    Ok(outputs)
}

/// Who compiled a universe.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Made {
    /// This job.
    Here,
    /// That of another compose.
    Elsewhere,
}

/// Leaves word of universes that other composes do not have yet. Where that fails, they compile them again.
fn keep(context: &JobContext, kept: &[Kept]) {
    if kept.is_empty() || context.volumes.records.is_none() {
        return;
    }
    let left = context.checkpoints().and_then(|directory| {
        let path = directory.join(shared::LEFT);
        fs::write(&path, shared::lines(kept))
            .or_fail(FailureClass::Tool, || format!("failed to write {}", path.display()))
    });
    if let Err(error) = left {
        log!(context, "universes are not kept for other composes: {}", error.one_line());
    }
}

fn compile(
    context: &JobContext,
    reader: &RecordsReader,
    set: &Set<'_>,
    passed: &dyn Fn(u64),
) -> Result<Output, RunnerError> {
    // In the order of the file, whose blocks are then unpacked once.
    let mut wanted: Vec<(u32, u32)> = set.records.iter().copied().zip(0..).collect();
    wanted.sort_unstable();
    let mut builder = UniverseBuilder::new(set.arch);
    for wanted in wanted.chunks(STEP) {
        context.cancel.check()?;
        for (record, origin) in wanted {
            let package = reader.solvable(RecordId(*record));
            let failed = || format!("failed to read {}", reader.path().display());
            builder.add(&package.or_fail(FailureClass::Tool, failed)?, *origin);
        }
        passed(wanted.len() as u64);
    }
    context.cancel.check()?;
    let output = write(context, set.arch, builder)?;
    note(context, set, &output.digest);
    Ok(output)
}

/// Writes `universe/ARCH`.
pub(super) fn write(context: &JobContext, arch: &str, builder: UniverseBuilder) -> Result<Output, RunnerError> {
    let bytes =
        builder.finish().or_fail(FailureClass::Input, || format!("failed to compile the universe of {arch}"))?;
    context.counters.add("universe_bytes", bytes.len() as u64);
    context.write_file(&name(arch), &bytes)
}

fn name(arch: &str) -> String {
    format!("universe/{arch}")
}

/// The file that says that the universe of a set is finished.
fn note_name(context: &JobContext, set: &Set<'_>) -> String {
    let mut key = Hasher::new();
    for part in [context.spec.key().as_bytes().as_slice(), set.digest.as_bytes(), set.arch.as_bytes()] {
        key.update(part);
    }
    format!("universe-{}", key.finish().0)
}

/// Notes that a universe is finished. Where that fails, a later attempt compiles it again.
fn note(context: &JobContext, set: &Set<'_>, digest: &Digest) {
    let noted = context.checkpoints().and_then(|directory| {
        let (path, partial) =
            (directory.join(note_name(context, set)), directory.join(format!("universe-{}.partial", set.arch)));
        let failed = || format!("failed to write {}", path.display());
        fs::write(&partial, digest.to_string()).or_fail(FailureClass::Tool, failed)?;
        tutti_files::rename(&partial, &path).or_fail(FailureClass::Tool, failed)
    });
    if let Err(error) = noted {
        log!(context, "the universe of {} would be compiled again: {}", set.arch, error.one_line());
    }
}

/// The universe that an earlier attempt finished. What is not what its note says is noted in the log and compiled.
fn taken_over(context: &JobContext, set: &Set<'_>) -> Result<Option<Output>, RunnerError> {
    let note = note_name(context, set);
    for staging in &context.earlier {
        let noted = staging.join(Volumes::CHECKPOINTS).join(&note);
        let Ok(file) = tutti_files::open_regular(&noted) else { continue };
        let mut digest = String::new();
        let read = file.take(256).read_to_string(&mut digest);
        let Ok(Ok(digest)) = read.map(|_| digest.parse::<Digest>()) else {
            log!(context, "{} is no digest: the universe of {} is compiled", noted.display(), set.arch);
            continue;
        };
        let original = staging.join("out").join(name(set.arch));
        let path = context.output_path(&name(set.arch))?;
        match copy(&original, &path) {
            Ok((found, size)) if found == digest => {
                self::note(context, set, &digest);
                context.counters.add("universes_taken_over", 1);
                context.counters.add("hashed_bytes", size);
                log!(context, "the universe of {} was compiled by an earlier attempt", set.arch);
                return Ok(Some(Output { name: name(set.arch), digest, size }));
            }
            Ok(_) => log!(context, "{} is not what was compiled: it is compiled again", original.display()),
            Err(error) => log!(context, "{} is not taken over: {error}", original.display()),
        }
    }
    Ok(None)
}

/// The universe that another compose compiled of the same set.
fn known(context: &JobContext, set: &Set<'_>) -> Result<Option<Output>, RunnerError> {
    let Some(records) = &context.volumes.records else { return Ok(None) };
    let path = context.output_path(&name(set.arch))?;
    for (original, digest) in shared::find(records, &shared::key(set.arch, &set.digest)) {
        match copy(&original, &path) {
            Ok((found, size)) if found == digest => {
                note(context, set, &digest);
                context.counters.add("universes_known", 1);
                context.counters.add("hashed_bytes", size);
                log!(context, "the universe of {} was compiled by another compose", set.arch);
                return Ok(Some(Output { name: name(set.arch), digest, size }));
            }
            Ok(_) => log!(context, "{} is damaged: the universe is compiled again", original.display()),
            Err(error) => log!(context, "{} is not taken over: {error}", original.display()),
        }
    }
    Ok(None)
}

/// Copies a regular file; the digest and length of what was copied.
fn copy(from: &Path, to: &Path) -> io::Result<(Digest, u64)> {
    let mut from = tutti_files::open_regular(from)?;
    // A file that grows meanwhile is none of ours.
    let size = from.metadata()?.len();
    let mut tee = Tee(fs::File::create(to)?, Hasher::new());
    io::copy(&mut (&mut from).take(size), &mut tee)?;
    Ok(tee.1.finish())
}

/// Hashes what it writes.
struct Tee(fs::File, Hasher);

impl Write for Tee {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.0.write(bytes)?;
        self.1.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
