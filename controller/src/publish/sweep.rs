//! What attempts leave behind: a worker cleans up after itself when it is told how its attempt ended; one that died,
//! or never came back, cannot. Checkpoints of attempts that failed or were lost stay until their job is committed.

use std::{fs, io, path::Path};

use tutti_failpoint::failpoint;
use tutti_job::{Fence, Volumes};

use crate::{
    lifecycle::StagingFate,
    volume::{VolumeError, at},
};

/// Removes staging directories, each as `fate` says; returns how many. What is no directory named after a fence is
/// left alone. One that cannot be removed does not keep others from it.
///
/// # Errors
/// The first I/O error; a directory that somebody else removes meanwhile is none.
pub fn sweep(volumes: &Volumes, fate: impl Fn(&Fence) -> StagingFate) -> Result<u64, VolumeError> {
    failpoint!("publish.sweep.before");
    let base = volumes.top.join(Volumes::STAGING);
    let items = match fs::read_dir(&base) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        items => items.map_err(at("list", &base))?,
    };
    let (mut removed, mut first) = (0, None);
    for item in items {
        let item = item.map_err(at("list", &base))?;
        let fence = item.file_name().to_str().and_then(|name| name.parse::<Fence>().ok());
        let path = item.path();
        let unwanted = |fence: &Fence| match fate(fence) {
            StagingFate::Keep => false,
            StagingFate::KeepCheckpoints => !has_checkpoints(&path),
            StagingFate::Remove => true,
        };
        if fence.as_ref().is_some_and(unwanted) && item.file_type().is_ok_and(|kind| kind.is_dir()) {
            match tutti_files::remove_dir_all(&path) {
                Ok(()) => removed += 1,
                Err(error) => first = first.or(Some(at("remove", &path)(error))),
            }
        }
    }
    first.map_or(Ok(removed), Err)
}

/// Removes what earlier attempts at a job left, once a later one is verified.
///
/// # Errors
/// As [`sweep`].
pub fn sweep_earlier(volumes: &Volumes, verified: &Fence) -> Result<u64, VolumeError> {
    if verified.attempt <= 1 {
        return Ok(0);
    }
    sweep(volumes, |fence| match fence.job == verified.job && fence.attempt < verified.attempt {
        true => StagingFate::Remove,
        false => StagingFate::Keep,
    })
}

fn has_checkpoints(staging: &Path) -> bool {
    fs::read_dir(staging.join(Volumes::CHECKPOINTS)).is_ok_and(|mut items| items.next().is_some())
}
