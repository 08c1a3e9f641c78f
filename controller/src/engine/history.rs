//! Writes the history of composes beside the engine: by best effort, on a thread of its own.
//!
//! The engine hands over lines and goes on. While the disk is slow they wait, up to [`WAITING`]; what does not fit is
//! dropped, and so is what cannot be written: the gap in the sequence numbers says so to the checker. A file grows to
//! [`LARGEST`] at most. How many lines there are is bounded by what is stored: each is one record of a transaction.
//!
//! Writes are positioned, and a part of a write that failed is cut off again, at once or before the next one: a file never
//! holds a half line but at its end. Nothing is synced.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, Receiver, Sender},
    },
};

use rustix::fs::OFlags;

use super::Tasks;
use crate::history::{DIRECTORY, Line, file_name};

/// Lines that may wait for the disk: about 30 MB.
const WAITING: usize = 1 << 16;
/// Largest file, in bytes: more than a compose of 100,000 jobs needs.
const LARGEST: u64 = 256 << 20;

/// The engine's end of the writer, which ends when this is dropped and all is written.
pub(super) struct Writer {
    lines: Sender<(PathBuf, Vec<Line>)>,
    waiting: Arc<AtomicUsize>,
}

impl Writer {
    /// Starts the thread. The epoch names the files.
    pub(super) fn start(epoch: i64, tasks: &Tasks) -> Self {
        let (sender, receiver) = mpsc::channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&waiting);
        tasks.spawn_thread(move || run(epoch, &receiver, &counter));
        Self { lines: sender, waiting }
    }

    /// Hands over lines of the compose in that directory. Never waits.
    pub(super) fn write(&self, top: &Path, lines: Vec<Line>) {
        let count = lines.len();
        if self.waiting.load(Ordering::Relaxed).saturating_add(count) > WAITING {
            tracing::warn!(top = %top.display(), count, "the disk is too slow for the history: lines are lost");
            return;
        }
        self.waiting.fetch_add(count, Ordering::Relaxed);
        // A writer that is gone has panicked; the engine does not need it.
        let _ = self.lines.send((top.to_owned(), lines));
    }
}

fn run(epoch: i64, receiver: &Receiver<(PathBuf, Vec<Line>)>, waiting: &AtomicUsize) {
    let mut files = BTreeMap::<PathBuf, File>::new();
    while let Ok(first) = receiver.recv() {
        let mut texts = BTreeMap::<PathBuf, String>::new();
        // All that came in the meantime is one write.
        for (top, lines) in std::iter::once(first).chain(receiver.try_iter()) {
            waiting.fetch_sub(lines.len(), Ordering::Relaxed);
            let text = texts.entry(top).or_default();
            for line in lines {
                text.push_str(&line.to_json());
                text.push('\n');
            }
        }
        for (top, text) in texts {
            let path = top.join(DIRECTORY).join(file_name(epoch));
            files.entry(top).or_default().append(&path, &text);
        }
    }
}

/// What is known of a file of this epoch, which nobody else writes.
#[derive(Default)]
struct File {
    length: Option<u64>,
    /// The last write failed, which was said.
    failing: bool,
}

impl File {
    fn append(&mut self, path: &Path, text: &str) {
        match self.try_append(path, text) {
            Ok(()) => self.failing = false,
            Err(error) if !self.failing => {
                tracing::warn!(path = %path.display(), %error, "cannot write the history; lines are lost");
                self.failing = true;
            }
            Err(_) => {}
        }
    }

    fn try_append(&mut self, path: &Path, text: &str) -> io::Result<()> {
        self.try_append_by(path, text, |file, bytes, offset| file.write_all_at(bytes, offset))
    }

    /// Appends by `write`, which may fail after a part.
    fn try_append_by(
        &mut self,
        path: &Path,
        text: &str,
        write: impl FnOnce(&fs::File, &[u8], u64) -> io::Result<()>,
    ) -> io::Result<()> {
        tutti_failpoint::hit("history.write.before")?;
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(false).custom_flags(i32::try_from(flags.bits()).unwrap_or(0));
        let file = match options.open(path) {
            // Somebody removed the logs; what comes from now on is told again.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_directory_of(path)?;
                options.open(path)?
            }
            opened => opened?,
        };
        let length = file.metadata()?.len();
        // One that is shorter than what was written is another: a hole at its beginning would be no line.
        let offset = self.length.unwrap_or(length).min(length);
        let end = offset.saturating_add(text.len() as u64);
        if end > LARGEST {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it would grow beyond {LARGEST} bytes")));
        }
        if length > offset {
            // What an earlier write left that failed, and could not take back.
            file.set_len(offset)?;
        }
        write(&file, text.as_bytes(), offset).inspect_err(|_| drop(file.set_len(offset)))?;
        self.length = Some(end);
        Ok(tutti_failpoint::hit("history.write.after")?)
    }
}

/// Makes the directory of a history in a compose's directory, which must be there.
fn make_directory_of(path: &Path) -> io::Result<()> {
    let ways: Vec<&Path> = path.ancestors().skip(1).take(Path::new(DIRECTORY).components().count()).collect();
    for way in ways.into_iter().rev() {
        match fs::create_dir(way) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Change, Recorder};
    use crate::{
        lifecycle::{Compose, Event, Timestamp, apply},
        plan::Plan,
    };

    fn line() -> Line {
        let compose = Compose::new("C", Arc::new(Plan::new(vec![])), false, Timestamp(1));
        let mut recorder = Recorder::new(1);
        let (changes, _) = apply(&compose, Event::Started, Timestamp(1)).unwrap();
        recorder.change(&compose, crate::history::Cause::Started, &changes, Timestamp(1));
        recorder.take(2).remove("C").unwrap().remove(0)
    }

    #[test]
    fn what_waits_for_a_disk_that_stands_still_is_bounded() {
        let (sender, receiver) = mpsc::channel();
        let writer = Writer { lines: sender, waiting: Arc::default() };
        for _ in 0..200 {
            writer.write(Path::new("/nowhere"), vec![line(); 1000]);
        }
        let waiting: usize = receiver.try_iter().map(|(_, lines)| lines.len()).sum();
        assert!((60_000..=WAITING).contains(&waiting), "{waiting}");
    }

    #[test]
    fn a_part_of_a_write_that_failed_is_written_over_and_links_are_not_followed() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join(file_name(1));
        let mut file = File::default();
        file.try_append(&path, "one\n").unwrap();
        // As a disk that was full in the middle of a line leaves it.
        fs::write(&path, "one\ntw").unwrap();
        file.try_append(&path, "two\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        // Another process finds what is there.
        File::default().try_append(&path, "three\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\nthree\n");
        let link = top.path().join("link");
        std::os::unix::fs::symlink("history.1.jsonl", &link).unwrap();
        assert!(File::default().try_append(&link, "x").is_err());
        assert!(matches!(line().change, Change::Compose(_)));
    }

    #[test]
    fn r15_a_line_cut_by_a_full_disk_is_taken_back() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join(file_name(1));
        let text = || fs::read_to_string(&path).unwrap();
        let full = |file: &fs::File, bytes: &[u8], offset: u64| {
            file.write_all_at(&bytes[..bytes.len() / 2], offset)?;
            Err(io::ErrorKind::StorageFull.into())
        };
        let mut file = File::default();
        // The very first write, after which nothing is known of the length but by looking.
        assert!(file.try_append_by(&path, "one and more\n", full).is_err());
        assert_eq!(text(), "");
        file.try_append(&path, "1\n").unwrap();
        assert!(file.try_append_by(&path, "two and more\n", full).is_err());
        assert_eq!(text(), "1\n");
        // One that could not be taken back goes with the next write, which may be shorter.
        fs::write(&path, "1\ntwo and").unwrap();
        file.try_append(&path, "3\n").unwrap();
        assert_eq!(text(), "1\n3\n");
    }

    #[test]
    fn a_file_has_an_end() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("h");
        fs::File::create(&path).unwrap().set_len(LARGEST - 2).unwrap();
        let mut file = File { length: Some(LARGEST - 2), failing: false };
        assert!(file.try_append(&path, "one\n").is_err());
        assert_eq!(fs::metadata(&path).unwrap().len(), LARGEST - 2);
    }

    #[test]
    fn a_file_that_was_removed_begins_anew() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join(DIRECTORY).join("h");
        let mut file = File { length: None, failing: false };
        file.try_append(&path, "one\n").unwrap();
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
        file.try_append(&path, "two\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
    }
}
