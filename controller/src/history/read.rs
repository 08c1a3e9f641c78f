//! The history of a compose as it lies in its directory.

use std::{
    fs, io,
    io::{Read as _, Seek as _},
    path::Path,
};

use tutti_job::{Digest, Volumes};

use super::{Change, DIRECTORY, Expect, Line, Violation, check, epoch_of, is_file_name, parse};
use crate::{plan::Plan, volume};

/// Most bytes that are read of all files: a writer stops before that in one. What comes after goes unread.
const LARGEST: u64 = 256 << 20;

/// How much of a file's end is looked at for the last header.
const TAIL: u64 = 256 << 10;

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// All lines of all epochs.
    pub lines: Vec<Line>,
    /// Lines that were cut off, or that another release wrote.
    pub unread: usize,
    /// Files: one for each controller that changed something.
    pub files: usize,
}

/// Reads the history below a compose's directory. One that has none, as those of older releases, gives no lines.
///
/// # Errors
/// I/O errors.
pub fn read(top: &Path) -> io::Result<Recorded> {
    let mut recorded = Recorded::default();
    let entries = match fs::read_dir(top.join(DIRECTORY)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(recorded),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().into_string().unwrap_or_default();
        if is_file_name(&name) && entry.file_type()?.is_file() {
            files.push((epoch_of(&name), entry.path()));
        }
    }
    files.sort_unstable();
    let mut left = LARGEST;
    for (_, path) in files {
        let mut bytes = Vec::new();
        let read = fs::File::open(path)?.take(left).read_to_end(&mut bytes)?;
        left = left.saturating_sub(read as u64);
        let (lines, unread) = parse(&String::from_utf8_lossy(&bytes));
        recorded.lines.extend(lines);
        recorded.unread += unread;
        recorded.files += 1;
    }
    Ok(recorded)
}

/// Whether the newest file of a compose's history says at its end that the compose has ended: a crash, or a full disk,
/// may have taken that along.
pub fn tells_end(top: &Path) -> bool {
    let last_line = || -> io::Result<bool> {
        let names = fs::read_dir(top.join(DIRECTORY))?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let Some(name) = names.filter(|name| is_file_name(name)).max_by_key(|name| epoch_of(name)) else {
            return Ok(false);
        };
        let mut file = fs::File::open(top.join(DIRECTORY).join(name))?;
        let length = file.metadata()?.len();
        file.seek(io::SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        let (lines, _) = parse(&String::from_utf8_lossy(&bytes));
        let header = |line: &Line| match &line.change {
            Change::Compose(header) => Some(header.ended),
            Change::Job(_) => None,
        };
        Ok(lines.iter().rev().find_map(header).unwrap_or_default())
    };
    last_line().unwrap_or_default()
}

/// Reads and checks the history of the compose in that directory, with its plan where that is there. `ended` says that
/// the compose must have come to its end.
///
/// # Errors
/// I/O errors.
pub fn check_directory(top: &Path, ended: bool) -> io::Result<Vec<Violation>> {
    let recorded = read(top)?;
    let plan = recorded.lines.iter().rev().find_map(plan_of).and_then(|digest| load(top, &digest));
    Ok(check(&recorded.lines, Expect { plan: plan.as_ref(), ended, only_compose: false }))
}

fn plan_of(line: &Line) -> Option<Digest> {
    match &line.change {
        Change::Compose(change) => change.plan,
        Change::Job(_) => None,
    }
}

fn load(top: &Path, digest: &Digest) -> Option<Plan> {
    let bytes = volume::get_blob(&Volumes::new(top), digest).ok()?;
    serde_json::from_slice(&bytes).ok()
}
