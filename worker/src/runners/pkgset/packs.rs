//! Records that other composes have made are taken from packs ([`tutti_repodata::pack`]); what this compose adds to
//! them is left in staging, where the worker lists it once the job has succeeded ([`crate::packs`]):
//!
//! * `checkpoints/uses`: the package files of this source, one line for each;
//! * `checkpoints/damaged`, if packs were found to be damaged: their names, one on each line; then all records that there are
//!   become a pack, and the damaged ones go;
//! * `checkpoints/pack.index`, if packages were read that no pack has: with `checkpoints/pack.records`, which has those,
//!   or for `out/records`, if it was most of them. So little is written twice.

use std::{collections::BTreeSet, fs, path::PathBuf};

use tutti_job::Volumes;
use tutti_repodata::{
    KnownFile, LocatorId, Record, RecordsError, RecordsWriter,
    pack::{OWNER, PackName},
};

use super::resume::Origin;
use crate::{JobContext, RunnerError, error::chain, log};

/// The package files of a source.
pub(crate) const USES: &str = "uses";
/// What finds the records of a new pack.
pub(crate) const INDEX: &str = "pack.index";
/// The records of a new pack, if they are not those of the output.
pub(crate) const RECORDS: &str = "pack.records";
/// Names of packs that seem damaged.
pub(crate) const DAMAGED: &str = "damaged";

/// What becomes of records that no pack has.
enum New {
    /// There are none, or nobody wants them.
    Nothing,
    /// The output becomes a pack.
    Output,
    /// They get a file of their own.
    Own(Box<RecordsWriter>, Vec<KnownFile>),
}

/// Collects what other composes can use.
pub(super) struct Keeper<'a> {
    context: &'a JobContext,
    new: New,
    uses: Option<BTreeSet<LocatorId>>,
    /// What is known of all files of the output.
    all: Vec<KnownFile>,
}

impl<'a> Keeper<'a> {
    /// For `total` packages, `missing` of which are in no pack; `begun` if the output begins with records of another
    /// attempt, which only the output has then.
    pub(super) fn new(context: &'a JobContext, missing: usize, total: usize, begun: bool) -> Self {
        let mut keeper = Self { context, new: New::Nothing, uses: None, all: Vec::new() };
        if context.volumes.records.is_some() {
            keeper.uses = Some(BTreeSet::new());
            if missing > 0 && (begun || missing * 2 >= total) {
                keeper.new = New::Output;
            } else if missing > 0 {
                match keeper.path(RECORDS).map(RecordsWriter::create) {
                    Ok(Ok(writer)) => keeper.new = New::Own(Box::new(writer), Vec::new()),
                    Ok(Err(error)) => keeper.give_up(&chain(&error)),
                    Err(error) => keeper.give_up(&error.one_line()),
                }
            }
        }
        keeper
    }

    fn path(&self, name: &str) -> Result<PathBuf, RunnerError> {
        Ok(self.context.checkpoints()?.join(name))
    }

    /// The job needs none of this, and its outputs will meet the same disk.
    fn give_up(&mut self, error: &str) {
        log!(self.context, "no package records for other composes: {error}");
        self.new = New::Nothing;
    }

    /// Notes files whose records the output begins with.
    pub(super) fn begins_with(&mut self, files: &[KnownFile]) {
        self.uses.iter_mut().for_each(|uses| uses.extend(files.iter().map(|file| file.locator.id())));
        if self.uses.is_some() {
            self.all.extend_from_slice(files);
        }
    }

    /// Notes a file whose record was just added to the output.
    pub(super) fn added(&mut self, record: &Record, file: &KnownFile, origin: Origin) {
        if let Some(uses) = &mut self.uses {
            uses.insert(file.locator.id());
            self.all.push(file.clone());
        }
        match &mut self.new {
            New::Own(writer, files) if origin != Origin::Pack => match writer.add_record(record) {
                Ok(_) => files.push(file.clone()),
                Err(error) => self.give_up(&chain(&error)),
            },
            New::Own(..) | New::Nothing | New::Output => {}
        }
    }

    /// All packages of the output are in it. Leaves what there is for other composes; `damaged` are packs that did not give
    /// what they promised.
    pub(super) fn finish(mut self, output: &mut RecordsWriter, damaged: &BTreeSet<PackName>) {
        let Some(uses) = self.uses.take() else { return };
        if !damaged.is_empty() {
            // What those packs had must be in another one before they go. A file of records that was begun is removed.
            self.new = New::Output;
        }
        let left = (|| {
            let text: String = uses.iter().map(|id| format!("{id}\n")).collect();
            let path = self.path(USES)?;
            let write = |path: &PathBuf, text: &str| {
                fs::write(path, text).map_err(|error| RunnerError::tool(format!("{}: {error}", path.display())))
            };
            write(&path, &text)?;
            if !damaged.is_empty() {
                let names: String = damaged.iter().map(|name| format!("{name}\n")).collect();
                write(&self.path(DAMAGED)?, &names)?;
            }
            self.path(INDEX)
        })();
        let index = match left {
            Ok(index) => index,
            Err(error) => return self.give_up(&error.one_line()),
        };
        let written = match std::mem::replace(&mut self.new, New::Nothing) {
            New::Nothing => return,
            New::Output => output.write_index(&index, &OWNER, &self.all).map(|size| (size, self.all.len())),
            New::Own(writer, files) => seal(*writer, &index, &files).map(|size| (size, files.len())),
        };
        match written {
            Ok((size, files)) => {
                self.context.counters.add("pack_index_bytes", size);
                log!(
                    self.context,
                    "the records of {files} packages are left for the worker to list for other composes"
                );
            }
            Err(error) => self.give_up(&chain(&error)),
        }
    }
}

fn seal(mut writer: RecordsWriter, index: &std::path::Path, files: &[KnownFile]) -> Result<u64, RecordsError> {
    let size = writer.write_index(index, &OWNER, files)?;
    Ok(size + writer.seal()?.size)
}

/// Where a job's parts of a pack are in its staging directory: uses, index, records, and the names of damaged packs.
pub(crate) fn left_in(volumes: &Volumes) -> Option<[PathBuf; 4]> {
    let staging = volumes.staging.as_ref()?;
    let checkpoints = staging.join(Volumes::CHECKPOINTS);
    let own = checkpoints.join(RECORDS);
    let records = if own.exists() { own } else { staging.join("out/records") };
    Some([checkpoints.join(USES), checkpoints.join(INDEX), records, checkpoints.join(DAMAGED)])
}
