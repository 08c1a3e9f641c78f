//! A directory that is one's own: which of many that ask for a name at once gets it.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};

use crate::remove_dir;

/// Whether an empty directory of that name counts as free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// No: who counts up takes the next name. A lost reply of `mkdir` costs one.
    New,
    /// Yes: who wants this very name takes it, be the directory its own (the reply was lost) or a forgotten one.
    NewOrEmpty,
}

/// Makes a directory and the file `mark` in it, which says whose it is. False if it is another's.
///
/// The file is created exclusively, which a lost reply cannot confuse: of any number of claims at once one succeeds.
///
/// # Errors
/// Those of the calls; what was made is removed then.
pub fn claim_dir(path: &Path, mark: &Path, claim: Claim) -> io::Result<bool> {
    claim_dir_by(path, mark, claim, |mark| fs::File::create_new(mark))
}

/// Claims by `create`, which makes a file that must not be there.
fn claim_dir_by(
    path: &Path,
    mark: &Path,
    claim: Claim,
    create: impl FnOnce(&Path) -> io::Result<fs::File>,
) -> io::Result<bool> {
    match fs::create_dir(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let free = claim == Claim::NewOrEmpty && fs::read_dir(path).is_ok_and(|mut items| items.next().is_none());
            if !free {
                return Ok(false);
            }
        }
        Err(error) => return Err(error),
    }
    let mark = path.join(mark);
    let made = mark.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| create(&mark));
    let mut file = match made {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        // A mark that is there is a rival's.
        Err(error) => {
            remove_directories(path, &mark);
            return Err(error);
        }
    };
    writeln!(file, "pid {}", std::process::id()).map(|()| true).inspect_err(|_| {
        let _ = crate::remove_file(&mark);
        remove_directories(path, &mark);
    })
}

/// Removes the directories that a claim made, unless a rival has something in them. What fails here is an empty
/// directory more, and the error is on its way already.
fn remove_directories(path: &Path, mark: &Path) {
    for directory in mark.ancestors().skip(1).take_while(|directory| directory.starts_with(path)) {
        let _ = remove_dir(directory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_many_gets_it() {
        let top = tempfile::tempdir().unwrap();
        let mark = Path::new("work/claim");
        for claim in [Claim::New, Claim::NewOrEmpty] {
            let path = top.path().join(format!("{claim:?}"));
            let ask = || claim_dir(&path, mark, claim).unwrap();
            let won: usize = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..16).map(|_| scope.spawn(ask)).collect();
                threads.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum()
            });
            assert_eq!(won, 1, "{claim:?}");
        }
        let empty = top.path().join("empty");
        fs::create_dir(&empty).unwrap();
        assert!(!claim_dir(&empty, mark, Claim::New).unwrap());
        assert!(claim_dir(&empty, mark, Claim::NewOrEmpty).unwrap());
        let full = top.path().join("full");
        fs::create_dir_all(full.join("x")).unwrap();
        assert!(!claim_dir(&full, mark, Claim::NewOrEmpty).unwrap());
        // A mark that cannot be made leaves nothing.
        let refused = top.path().join("refused");
        assert!(claim_dir(&refused, Path::new("a/\0"), Claim::New).is_err());
        assert!(!refused.exists());
    }

    /// Nothing but the mark decides who gets a directory that was empty when all of them looked.
    #[test]
    fn one_of_many_gets_a_directory_that_was_left_empty() {
        let top = tempfile::tempdir().unwrap();
        for round in 0..100 {
            let path = top.path().join(format!("{round}"));
            fs::create_dir(&path).unwrap();
            let begin = std::sync::Barrier::new(8);
            let ask = || {
                begin.wait();
                claim_dir(&path, Path::new("claim"), Claim::NewOrEmpty).unwrap()
            };
            let won: usize = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
                threads.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum()
            });
            assert_eq!(won, 1, "in round {round}");
        }
    }

    #[test]
    fn a_claim_that_fails_leaves_a_rivals_mark() {
        let top = tempfile::tempdir().unwrap();
        let (path, mark) = (top.path().join("c"), Path::new("work/claim"));
        let full = |mark: &Path| {
            // Meanwhile another has got it, and there is no space for one more name.
            fs::write(mark, "pid 1\n")?;
            Err(io::ErrorKind::StorageFull.into())
        };
        assert!(claim_dir_by(&path, mark, Claim::NewOrEmpty, full).is_err());
        assert_eq!(fs::read_to_string(path.join(mark)).unwrap(), "pid 1\n");
        assert!(!claim_dir(&path, mark, Claim::NewOrEmpty).unwrap());
    }
}
