//! `pkgset`: what one package source has, for all its tree arches.
//!
//! Each distinct file is opened once and read once, whatever number of arches and repositories list it: its header gives
//! the facts, the same pass gives its checksum, and its metadata fragments are made there and then. Facts are kept in
//! short only; universes are compiled from the finished records, so memory does not grow with file lists.
//!
//! What an earlier attempt or another compose read is taken over: [`resume`], [`packs`].
//!
//! Outputs: `records`; for each arch `set/ARCH` and `universe/ARCH`, whose origins are places in the set; `downloads`,
//! if a repository is remote. A lookaside has universes alone.

mod choose;
pub(crate) mod download;
mod lookaside;
pub(crate) mod packs;
mod read;
pub(crate) mod resume;
mod sources;
mod universes;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use tutti_job::{Digest, Entry, EntryKind, Manifest, PackageEntry, PackageList, params::PkgsetParams};
use tutti_repodata::{ChecksumType, RecordsWriter};

use super::parallel;
use crate::{Access, FailureClass, JobContext, OrFail as _, Output, RunnerError, log};
use choose::{Files, Notes};
use packs::Keeper;
use read::{Buffers, Facts};
use resume::{Checkpointer, Earlier, Origin, Pace};
use sources::{Listing, Place};

/// Runs the job.
///
/// # Errors
/// Class input for repositories and packages that cannot be used, with the file's name.
pub(super) fn run(context: &JobContext) -> Result<Vec<Output>, RunnerError> {
    run_with(context, Pace::default())
}

/// As [`run`], with checkpoints at a pace of one's own.
pub(crate) fn run_with(context: &JobContext, pace: Pace) -> Result<Vec<Output>, RunnerError> {
    let params: PkgsetParams = context.params()?;
    if params.lookaside {
        return lookaside::run(context, &params);
    }
    let kind: ChecksumType =
        params.checksum_type.parse().or_fail(FailureClass::Input, || "createrepo_checksum is not known".to_owned())?;
    let listing = sources::list(context, &params)?;
    let (facts, records) = read_all(context, kind, &listing, pace)?;
    let sets = choose_all(context, &params, &listing, &facts)?;
    let mut outputs = vec![records];
    let sets = write_sets(context, &listing, &facts, &sets, &mut outputs)?;
    outputs.extend(universes::universes(context, &sets)?);
    outputs.extend(downloads(context)?);
    Ok(outputs)
}

/// What the job reads besides blobs.
pub(super) fn access(context: &JobContext) -> Result<Access, RunnerError> {
    let params: PkgsetParams = context.params()?;
    let mut access = Access::default();
    for repository in params.arches.values().flat_map(|arch| &arch.repos) {
        match Place::parse(repository)? {
            Place::Directory(directory) => access.reads.push(context.volumes.map_file(&directory)),
            Place::Remote(_) => {
                access.network = true;
                access.reads.push(context.volumes.top.join(download::PUBLISHED));
            }
        }
    }
    access.reads.extend(context.earlier.iter().cloned());
    access.reads.extend(context.volumes.records.clone());
    if access.network {
        access.hard_links_from = download::earlier(context).collect();
    }
    access.reads.sort_unstable();
    access.reads.dedup();
    Ok(access)
}

/// Reads every file once; writes `records`, one for each file, with the same numbers.
fn read_all(
    context: &JobContext,
    kind: ChecksumType,
    listing: &Listing,
    pace: Pace,
) -> Result<(Vec<Facts>, Output), RunnerError> {
    let path = context.output_path("records")?;
    let failed = || format!("failed to write {}", path.display());
    let earlier = Earlier::open(context);
    let looks = earlier.look(context, &listing.files)?;
    let missing = listing.files.len() - earlier.in_packs(&looks);
    let mut checkpointer = Checkpointer::new(context, pace);
    let (mut writer, mut facts, mut keeper) = match earlier.beginning(context, kind, &listing.files, &looks, &path)? {
        Some(mut beginning) => {
            let begun = beginning.origin == Origin::Attempt;
            let mut keeper = Keeper::new(context, missing, listing.files.len(), begun);
            keeper.begins_with(&beginning.known);
            checkpointer.begins_with(&mut beginning.writer, beginning.known);
            (beginning.writer, beginning.facts, keeper)
        }
        None => {
            let writer = RecordsWriter::create(&path).or_fail(FailureClass::Tool, failed)?;
            (writer, Vec::new(), Keeper::new(context, missing, listing.files.len(), false))
        }
    };
    let first = facts.len();
    let (rest, total) = (&listing.files[first..], listing.files.len() as u64);
    let read = |buffers: &mut Buffers, file: &sources::SourceFile| match earlier.take(context, kind, file) {
        Some(found) => Ok(found),
        None => Ok((read::read(context, kind, buffers, file)?, Origin::File)),
    };
    for (facts, file) in facts.iter().zip(&listing.files) {
        warn_of_other_name(context, file, facts);
    }
    let done = parallel::ordered(context, rest, Buffers::default, read, |index, (found, origin)| {
        context.progress.set("read packages", (first + index) as u64 + 1, total);
        warn_of_other_name(context, &rest[index], &found.facts);
        writer.add_record(&found.record).or_fail(FailureClass::Tool, failed)?;
        keeper.added(&found.record, &found.known, origin);
        checkpointer.added(&mut writer, found.known);
        facts.push(found.facts);
        Ok(())
    });
    if let Err(error) = done {
        checkpointer.failed(&mut writer);
        return Err(error);
    }
    checkpointer.complete(&mut writer);
    keeper.finish(&mut writer, &earlier.damaged_packs());
    earlier.tell(context, total);
    let sealed = writer.seal().or_fail(FailureClass::Tool, failed)?;
    context.counters.add("records_bytes", sealed.size);
    let digest: Digest = sealed.sha256.parse().or_fail(FailureClass::Tool, failed)?;
    Ok((facts, Output { name: "records".to_owned(), digest, size: sealed.size }))
}

fn warn_of_other_name(context: &JobContext, file: &sources::SourceFile, facts: &Facts) {
    let named = facts.file_name();
    if named != file.name {
        context.warn(&format!("{} is {named} by its header, which counts", file.path.display()));
    }
}

type Sets<'a> = BTreeMap<&'a str, Vec<usize>>;

fn choose_all<'a>(
    context: &JobContext,
    params: &PkgsetParams,
    listing: &'a Listing,
    facts: &[Facts],
) -> Result<Sets<'a>, RunnerError> {
    let files = Files { files: &listing.files, facts };
    let mut notes = Notes::default();
    let mut sets = Sets::new();
    for (arch, listed) in &listing.by_arch {
        context.cancel.check()?;
        let multilib = params.arches.get(arch).is_some_and(|arch| arch.multilib);
        let chosen = choose::choose(&files, params, arch, multilib, listed, &mut notes)?;
        log!(context, "{arch}: {} of {} packages", chosen.len(), listed.len());
        if chosen.is_empty() {
            return Err(RunnerError::input(format!("the repositories of {arch} have no package for it"))
                .with_hint("check pkgset_repos: are these the repositories of that architecture?"));
        }
        sets.insert(arch, chosen);
    }
    choose::check_sources(&files, &sets)?;
    if let Some(first) = notes.no_source.first().filter(|_| params.inherit_exclusive_arch_to_noarch) {
        context.warn(&format!(
            "the source packages of {} noarch packages are in no repository, so their ExcludeArch and ExclusiveArch are unknown; the first is {first}",
            notes.no_source.len()
        ));
        notes.no_source.iter().for_each(|nevra| log!(context, "no source package for {nevra}"));
    }
    Ok(sets)
}

/// Writes `set/ARCH` for each arch.
fn write_sets<'a>(
    context: &JobContext,
    listing: &Listing,
    facts: &[Facts],
    sets: &Sets<'a>,
    outputs: &mut Vec<Output>,
) -> Result<Vec<universes::Set<'a>>, RunnerError> {
    let mut written = Vec::with_capacity(sets.len());
    for (arch, files) in sets {
        let entries = files.iter().map(|file| entry(*file, listing, &facts[*file])).collect();
        let list = PackageList::new(entries);
        let (bytes, _) = list.encode_canonical();
        let output = context.write_file(&format!("set/{arch}"), &bytes)?;
        context.counters.add("packages", list.packages.len() as u64);
        let records = list.packages.iter().map(|entry| entry.record).collect();
        written.push(universes::Set { arch, digest: output.digest, records });
        outputs.push(output);
    }
    Ok(written)
}

fn entry(file: usize, listing: &Listing, facts: &Facts) -> PackageEntry {
    PackageEntry {
        name: facts.name.clone(),
        epoch: facts.evr.epoch,
        version: facts.evr.version.clone(),
        release: facts.evr.release.clone(),
        arch: facts.arch.clone(),
        path: listing.files[file].logical.to_string(),
        size: facts.size,
        mtime: facts.mtime,
        checksum_type: facts.checksum.kind().name().to_owned(),
        checksum: facts.checksum.hex().to_owned(),
        signing_key: facts.signing_key.clone().unwrap_or_default(),
        source_rpm: facts.source_rpm.clone().unwrap_or_default(),
        // The number of this source is its place in the compose, which a package set does not know: `trim` sets it.
        source: 0,
        // File numbers are below 2^32: `RecordsWriter` takes no more.
        record: u32::try_from(file).unwrap_or(u32::MAX),
        flags: Vec::new(),
    }
}

/// The tree of downloads, if the job declares one.
fn downloads(context: &JobContext) -> Result<Option<Output>, RunnerError> {
    if context.spec.output(download::OUTPUT).is_err() {
        return Ok(None);
    }
    let tree: PathBuf = context.output_tree(download::OUTPUT)?;
    let manifest = context.scan_tree(&tree)?;
    // Empty directories are of no use to anybody.
    let directory = i32::from(EntryKind::Directory);
    let entries: Vec<Entry> = manifest.entries.into_iter().filter(|entry| entry.kind != directory).collect();
    let kinds: BTreeSet<i32> = entries.iter().map(|entry| entry.kind).collect();
    if kinds.iter().any(|kind| *kind != i32::from(EntryKind::File)) {
        return Err(RunnerError::tool("the tree of downloads holds something else than files"));
    }
    Ok(Some(context.finish_tree(download::OUTPUT, &Manifest::new(entries)?)?))
}
