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
    let written = mark
        .parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::File::create_new(&mark))
        .and_then(|mut file| writeln!(file, "pid {}", std::process::id()));
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => {
            unmake(path, &mark);
            Err(error)
        }
    }
}

/// Removes what a claim made. What fails here is an empty directory more, and the error is on its way already.
fn unmake(path: &Path, mark: &Path) {
    let _ = crate::remove_file(mark);
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
}
