//! Errors of a volume, as opposed to those of what was asked for.

use std::{error::Error, io};

use rustix::io::Errno;

/// What is wrong with a volume; it passes when somebody mends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No space, no inodes, or no quota.
    Full,
    /// Mounted read-only.
    ReadOnly,
    /// No permission.
    Denied,
    /// The disk or the file server does not do its work.
    Failing,
}

impl Trouble {
    /// What the user can do.
    #[must_use]
    pub fn hint(self) -> &'static str {
        match self {
            Self::Full => "free space on that file system (df -h, df -i), or raise the quota",
            Self::ReadOnly => "that file system is read-only: look at the kernel's log, then mount -o remount,rw",
            Self::Denied => {
                "look at owner and mode of that path and of the directories above, for the user that runs tutti"
            }
            Self::Failing => "the disk or the file server fails: look at the kernel's log of this host",
        }
    }
}

/// The trouble that an error is of, if any.
#[must_use]
pub fn trouble(error: &io::Error) -> Option<Trouble> {
    match Errno::from_io_error(error)? {
        Errno::NOSPC | Errno::DQUOT => Some(Trouble::Full),
        Errno::ROFS => Some(Trouble::ReadOnly),
        Errno::ACCESS | Errno::PERM => Some(Trouble::Denied),
        Errno::IO | Errno::REMOTEIO | Errno::STALE | Errno::NOTCONN | Errno::HOSTDOWN | Errno::TIMEDOUT => {
            Some(Trouble::Failing)
        }
        _ => None,
    }
}

/// The trouble that is anywhere in an error's chain of causes.
#[must_use]
pub fn trouble_of(error: &(dyn Error + 'static)) -> Option<Trouble> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            // An `io::Error` made of another error does not give it as its source's first link.
            let found = trouble(io).or_else(|| io.get_ref().and_then(|inner| trouble_of(inner)));
            if found.is_some() {
                return found;
            }
        }
        next = error.source();
    }
    None
}

/// What the user can do about an error of a volume.
#[must_use]
pub fn hint_of(error: &(dyn Error + 'static)) -> Option<&'static str> {
    trouble_of(error).map(Trouble::hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn troubles_are_found_at_any_depth() {
        let io = |errno: Errno| io::Error::from_raw_os_error(errno.raw_os_error());
        assert_eq!(trouble_of(&io(Errno::NOSPC)), Some(Trouble::Full));
        assert_eq!(trouble_of(&io::Error::other(io(Errno::ROFS))), Some(Trouble::ReadOnly));
        assert_eq!(trouble_of(&io(Errno::ACCESS)), Some(Trouble::Denied));
        assert_eq!(trouble_of(&io(Errno::STALE)), Some(Trouble::Failing));
        assert_eq!(trouble_of(&io(Errno::NOENT)), None);
        assert_eq!(trouble_of(&io::Error::other("x")), None);
    }
}
