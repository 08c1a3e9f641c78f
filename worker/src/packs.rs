//! Lists what a finished package set leaves for other composes in the directory of package records.
//!
//! The job itself cannot write there: it is confined to its staging directory.

use std::{collections::HashSet, io::Read as _, time::SystemTime};

use tutti_job::Volumes;
use tutti_repodata::{
    LocatorId,
    pack::{PackDirectory, PackName},
};

use crate::{error::chain, runners::pkgset_leftovers, universes};

/// Longest list of package files that is read, in bytes: 33 for each.
const MAX_USES: u64 = 256 << 20;
/// Most packs that are read to see whether they are damaged; others are left to the next compose that meets them.
const MAX_SUSPECTS: usize = 8;

/// Notes what the compose was made of, and lists the new pack, if there is one, and universes. An error costs no job
/// anything: the packages are read again by the next compose.
pub(crate) fn keep(volumes: &Volumes, job: &str) -> Result<(), String> {
    let (Some(directory), Some([uses, index, records, damaged])) = (&volumes.records, pkgset_leftovers(volumes)) else {
        return Ok(());
    };
    let mut text = String::new();
    let read = |path: &std::path::Path, text: &mut String| {
        tutti_files::open_regular(path)?.take(MAX_USES).read_to_string(text)
    };
    match read(&uses, &mut text) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("{}: {error}", uses.display())),
    }
    let files: Option<HashSet<LocatorId>> = text.lines().map(|line| line.parse().ok()).collect();
    let files = files.ok_or_else(|| format!("{} is no list of package files", uses.display()))?;
    let packs = PackDirectory::new(directory);
    packs.note_use(&volumes.top, job, &files).map_err(|error| format!("{}: {error}", directory.display()))?;
    tutti_failpoint::pass("worker.records.noted");
    if index.exists() {
        packs.publish(&records, &index).map_err(|error| chain(&error))?;
        tutti_failpoint::pass("worker.records.listed");
    }
    if damaged.exists() {
        // After what they had has been listed anew.
        let mut text = String::new();
        read(&damaged, &mut text).map_err(|error| format!("{}: {error}", damaged.display()))?;
        let suspects: Vec<PackName> = text.lines().filter_map(|line| line.parse().ok()).take(MAX_SUSPECTS).collect();
        packs
            .unlist_damaged(&suspects, SystemTime::now())
            .map_err(|error| format!("{}: {error}", directory.display()))?;
    }
    universes::keep(volumes)
}
