//! Who makes a repository: `.repodata/` in its directory, as with createrepo_c, which so keeps away from ours and we
//! from its.
//!
//! A lock of ours names its process. One whose process is gone from this machine is taken away: a run that was killed, or
//! cut off with its machine, does not block the next one. No file is locked, so that this holds on NFS, too. Who ignores
//! locks takes none away from the living: it works in a directory of its own beside theirs, and both come to an end.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::error::Error;

/// Name of the lock, and of the directory in which a repository is made.
pub(crate) const LOCK: &str = ".repodata";
/// File in it that says whose it is.
const OWNER: &str = "owner";

/// Takes the lock in `output`, or with `ignore` a place beside that of somebody who lives. Returns the directory to work in,
/// which [`release`] gives back.
pub(crate) fn take(output: &Path, ignore: bool) -> Result<PathBuf, Error> {
    let lock = output.join(LOCK);
    sweep(output);
    let aside = aside(output);
    for _ in 0..3 {
        match make(&aside, &lock) {
            Ok(()) => return Ok(lock),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let owner = fs::read_to_string(lock.join(OWNER)).ok();
                let is_left = match owner.as_deref() {
                    Some(owner) if is_name(owner) => is_dead(owner),
                    _ => ignore && is_old(&lock),
                };
                if fs::symlink_metadata(&lock).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
                    // Given back just now.
                } else if is_left {
                    clear(output, &lock, owner.as_deref())?;
                } else if ignore {
                    break;
                } else {
                    return Err(Error::Locked { path: lock, owner: words(owner.as_deref()) });
                }
            }
            Err(error) => return Err(Error::io("create", &lock)(error)),
        }
    }
    if ignore {
        return named(&aside).map_err(Error::io("create", &aside)).map(|()| aside);
    }
    Err(Error::Locked { path: lock, owner: "others take it again and again".to_owned() })
}

/// Makes the lock with its owner's name in one step, so that whoever is killed leaves none without a name.
fn make(aside: &Path, lock: &Path) -> io::Result<()> {
    named(aside)?;
    let renamed = renameat_with(CWD, aside, CWD, lock, RenameFlags::NOREPLACE).map_err(io::Error::from);
    match renamed {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            // Not on every file system.
            tutti_files::remove_dir_all(aside)?;
            named(lock)
        }
        Err(error) => tutti_files::remove_dir_all(aside).and(Err(error)),
        Ok(()) => Ok(()),
    }
}

fn named(directory: &Path) -> io::Result<()> {
    fs::create_dir(directory)?;
    let made = fs::File::create_new(directory.join(OWNER)).and_then(|mut file| file.write_all(me().as_bytes()));
    made.inspect_err(|_| drop(tutti_files::remove_dir_all(directory)))
}

/// Start of names beside the lock.
const BESIDE: &str = ".repodata.tutti.";

/// Whether a directory of this name is a lock, or a place beside one.
pub(crate) fn is_place(name: &[u8]) -> bool {
    name == LOCK.as_bytes() || name.starts_with(BESIDE.as_bytes())
}

/// How old what has no name is before it is taken for left behind, rather than for somebody's who has not written his name
/// yet; longer than clocks of hosts differ.
const NAMELESS: Duration = Duration::from_secs(600);

fn is_old(path: &Path) -> bool {
    let modified = fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > NAMELESS))
}

/// A name beside the lock that nobody has: of this process, now, on this host.
fn aside(output: &Path) -> PathBuf {
    let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    output.join(format!("{BESIDE}{}.{nanos:x}.{}", std::process::id(), token()))
}

/// This boot and process namespace, short.
fn token() -> String {
    let (boot, namespace) = machine();
    let namespace: String = namespace.chars().filter(char::is_ascii_digit).collect();
    format!("{}-{namespace}", boot.split('-').next().unwrap_or_default())
}

/// Gives back what [`take`] gave: its name goes first, then what is in it, so that no lock is left without an owner.
pub(crate) fn release(place: &Path) {
    let Some(output) = place.parent() else { return };
    let aside = aside(output);
    let gone = tutti_files::rename(place, &aside).is_ok();
    let _ = tutti_files::remove_dir_all(if gone { &aside } else { place });
}

/// Removes what killed processes of this machine left beside a lock.
fn sweep(output: &Path) {
    for entry in fs::read_dir(output).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(BESIDE)) else { continue };
        let mut parts = rest.split('.');
        let Some(process) = parts.next().and_then(|id| id.parse().ok()) else { continue };
        let is_from_here = parts.nth(1) == Some(token().as_str());
        // On another host it may live; then it says so.
        let owner = fs::read_to_string(entry.path().join(OWNER)).ok();
        let is_left = match owner.as_deref() {
            None | Some("") => is_from_here || is_old(&entry.path()),
            Some(owner) => is_dead(owner),
        };
        if started(process).is_none() && is_left {
            let _ = rescue(&entry.path(), output);
            let _ = tutti_files::remove_dir_all(&entry.path());
        }
    }
}

/// Of a run that was killed between two renames, what it made is whole.
fn rescue(aside: &Path, output: &Path) -> Result<(), Error> {
    let (made, place) = (aside.join("repodata"), output.join("repodata"));
    if made.join("repomd.xml").is_file() && fs::symlink_metadata(&place).is_err() {
        tutti_files::rename(&made, &place).map_err(Error::io("rename", &made))?;
    }
    Ok(())
}

/// Takes a lock away: by a rename, so that one of two processes does it.
fn clear(output: &Path, lock: &Path, owner: Option<&str>) -> Result<(), Error> {
    let aside = aside(output);
    match tutti_files::rename(lock, &aside) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("rename", lock)(error)),
    }
    // Somebody else may have taken it in between: then it is his, and the caller looks again.
    if fs::read_to_string(aside.join(OWNER)).ok().as_deref() != owner && fs::rename(&aside, lock).is_ok() {
        return Ok(());
    }
    rescue(&aside, output)?;
    if aside.is_dir() { tutti_files::remove_dir_all(&aside) } else { tutti_files::remove_file(&aside) }
        .map_err(Error::io("remove", &aside))
}

fn words(owner: Option<&str>) -> String {
    let remedy = "hint: wait for it; or, if no process is at work on this repository, remove the directory";
    match owner.and_then(|owner| owner.split(' ').nth(3)) {
        Some(process) => format!("process {process} makes this repository ({remedy})"),
        None => format!("another process makes this repository ({remedy})"),
    }
}

/// This process, as [`parts`] takes it.
fn me() -> String {
    let (boot, namespace) = machine();
    let process = std::process::id();
    format!("{boot} {namespace} {} {process} {}", host(), started(process).unwrap_or_default())
}

/// Name and machine id of this host. Where there is no id, as in containers, nothing but the name.
fn host() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().replace(' ', "_");
    let id = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    match id.trim() {
        "" => name,
        id => format!("{name}@{id}"),
    }
}

fn machine() -> (String, String) {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    (boot.trim().to_owned(), namespace.display().to_string())
}

/// When a process of this machine started, in ticks since boot.
fn started(process: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19).map(str::to_owned)
}

/// Parts of an owner: kernel boot, process namespace, host, process id, start.
fn parts(owner: &str) -> Option<[&str; 5]> {
    let fields: Vec<&str> = owner.split(' ').collect();
    fields.try_into().ok()
}

/// Whether an owner is written whole.
fn is_name(owner: &str) -> bool {
    parts(owner).is_some()
}

/// Whether an owner was a process of this boot and namespace, and is no more, or one of an earlier boot of this machine.
fn is_dead(owner: &str) -> bool {
    let Some([boot, namespace, its_host, process, start]) = parts(owner) else { return false };
    let (our_boot, our_namespace) = machine();
    if !boot.is_empty() && !our_boot.is_empty() && boot != our_boot {
        return its_host.contains('@') && its_host == host();
    }
    let (Ok(process), false) = (process.parse::<u32>(), our_boot.is_empty() || our_namespace.is_empty()) else {
        return false;
    };
    (boot, namespace) == (our_boot.as_str(), our_namespace.as_str())
        && !start.is_empty()
        && started(process).as_deref() != Some(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn age(path: &Path) {
        fs::File::open(path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    }

    #[test]
    fn what_an_earlier_boot_of_this_machine_left_is_taken_away() {
        let output = tempfile::tempdir().unwrap();
        let lock = take(output.path(), false).unwrap();
        let owner = |host: &str| format!("earlier-boot {} {host} {} 1", machine().1, std::process::id());
        for abroad in ["there@1234".to_owned(), "there".to_owned(), host().split('@').next().unwrap().to_owned()] {
            fs::write(lock.join(OWNER), owner(&abroad)).unwrap();
            assert!(take(output.path(), false).is_err(), "{abroad}");
        }
        let here = host();
        if here.contains('@') {
            fs::write(lock.join(OWNER), owner(&here)).unwrap();
            assert_eq!(take(output.path(), false).unwrap(), lock);
        }
    }

    #[test]
    fn the_living_are_waited_for_and_the_dead_are_not() {
        let output = tempfile::tempdir().unwrap();
        let lock = take(output.path(), false).unwrap();
        let error = take(output.path(), false).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        // Another process, long gone, had it: same place, other start.
        let gone = me().rsplit_once(' ').unwrap().0.to_owned() + " 1";
        fs::write(lock.join(OWNER), gone).unwrap();
        take(output.path(), false).unwrap();
        // Those of createrepo_c have no name.
        fs::remove_file(lock.join(OWNER)).unwrap();
        assert!(take(output.path(), false).is_err());
        fs::write(lock.join(OWNER), "cut off").unwrap();
        assert!(take(output.path(), false).is_err());
        // Perhaps it is being written.
        let beside = take(output.path(), true).unwrap();
        assert!(beside != lock && lock.is_dir());
        release(&beside);
        age(&lock);
        assert!(take(output.path(), false).is_err());
        assert_eq!(take(output.path(), true).unwrap(), lock);
        fs::remove_dir_all(&lock).unwrap();
        fs::write(&lock, "").unwrap();
        assert!(take(output.path(), false).is_err());
        age(&lock);
        take(output.path(), true).unwrap();
        assert_eq!(fs::read_dir(output.path()).unwrap().count(), 1);
    }

    #[test]
    fn who_ignores_locks_works_beside_the_living() {
        let output = tempfile::tempdir().unwrap();
        let lock = take(output.path(), true).unwrap();
        let beside = take(output.path(), true).unwrap();
        assert!(lock.ends_with(LOCK) && beside != lock && lock.is_dir() && beside.is_dir());
        // Nor does anybody sweep it while its process lives.
        let third = take(output.path(), true).unwrap();
        for (place, left) in [(beside, 2), (lock.clone(), 1), (third, 0)] {
            assert!(place.join(OWNER).is_file());
            release(&place);
            assert_eq!(fs::read_dir(output.path()).unwrap().count(), left);
        }
        assert_eq!(take(output.path(), true).unwrap(), lock, "nobody has it any more");
    }

    #[test]
    fn what_was_killed_between_two_renames_is_put_in_place() {
        let output = tempfile::tempdir().unwrap();
        let lock = take(output.path(), false).unwrap();
        fs::create_dir(lock.join("repodata")).unwrap();
        fs::write(lock.join("repodata/repomd.xml"), "new").unwrap();
        fs::write(lock.join(OWNER), me().rsplit_once(' ').unwrap().0.to_owned() + " 1").unwrap();
        take(output.path(), false).unwrap();
        assert_eq!(fs::read_to_string(output.path().join("repodata/repomd.xml")).unwrap(), "new");
    }

    /// An id that no process has.
    const NOBODY: u32 = u32::MAX;

    fn left(output: &Path, process: &str, owner: Option<&str>) -> PathBuf {
        let aside = output.join(format!("{BESIDE}{process}.5"));
        fs::create_dir(&aside).unwrap();
        owner.into_iter().for_each(|owner| fs::write(aside.join(OWNER), owner).unwrap());
        aside
    }

    fn gone() -> String {
        let (boot, namespace) = machine();
        format!("{boot} {namespace} here {NOBODY} 1")
    }

    #[test]
    fn what_the_dead_of_this_machine_left_is_swept_and_nothing_else() {
        let nobody = NOBODY.to_string();
        for owner in [None, Some(String::new()), Some(gone())] {
            let output = tempfile::tempdir().unwrap();
            let aside = left(output.path(), &nobody, owner.as_deref());
            sweep(output.path());
            let is_named = owner.as_ref().is_some_and(|owner| !owner.is_empty());
            assert_eq!(aside.exists(), !is_named, "{owner:?}: it may be about to get its name");
            if !is_named {
                age(&aside);
                sweep(output.path());
            }
            assert!(!aside.exists(), "{owner:?}");
        }
        let output = tempfile::tempdir().unwrap();
        let abroad = format!("other-boot {} there {NOBODY} 1", machine().1);
        let kept = [
            // Its process may live, on another host or here.
            left(output.path(), &nobody, Some(&abroad)),
            left(output.path(), &std::process::id().to_string(), Some(&gone())),
            left(output.path(), "none", Some(&gone())),
            output.path().join("repodata"),
        ];
        fs::create_dir(&kept[3]).unwrap();
        sweep(output.path());
        for path in kept {
            assert!(path.exists(), "{}", path.display());
        }
        sweep(&output.path().join("nowhere"));
    }

    #[test]
    fn what_was_killed_before_it_wrote_its_name_is_swept_at_once_on_its_own_host() {
        let output = tempfile::tempdir().unwrap();
        let place = output.path().join(format!("{BESIDE}{NOBODY}.5.{}", token()));
        fs::create_dir(&place).unwrap();
        sweep(output.path());
        assert!(!place.exists());
    }

    #[test]
    fn what_is_swept_is_put_in_place_first_if_it_is_a_whole_repository() {
        let output = tempfile::tempdir().unwrap();
        let aside = left(output.path(), &NOBODY.to_string(), Some(&gone()));
        fs::create_dir(aside.join("repodata")).unwrap();
        fs::write(aside.join("repodata/repomd.xml"), "new").unwrap();
        sweep(output.path());
        assert_eq!(fs::read_to_string(output.path().join("repodata/repomd.xml")).unwrap(), "new");
        assert_eq!(fs::read_dir(output.path()).unwrap().count(), 1);
    }

    #[test]
    fn only_a_whole_repository_is_rescued_and_only_where_there_is_none() {
        let output = tempfile::tempdir().unwrap();
        let (aside, place) = (output.path().join("aside"), output.path().join("repodata"));
        fs::create_dir_all(aside.join("repodata")).unwrap();
        rescue(&aside, output.path()).unwrap();
        assert!(!place.exists(), "it was not finished");
        fs::write(aside.join("repodata/repomd.xml"), "new").unwrap();
        // Whatever has the name is somebody's, also a link that leads nowhere.
        std::os::unix::fs::symlink("nowhere", &place).unwrap();
        rescue(&aside, output.path()).unwrap();
        assert!(fs::symlink_metadata(&place).unwrap().is_symlink() && aside.join("repodata").exists());
        fs::remove_file(&place).unwrap();
        fs::create_dir(&place).unwrap();
        rescue(&aside, output.path()).unwrap();
        assert!(!place.join("repomd.xml").exists(), "the newer one was replaced");
        fs::remove_dir(&place).unwrap();
        rescue(&aside, output.path()).unwrap();
        assert!(place.join("repomd.xml").exists() && !aside.join("repodata").exists());
        // Nothing was made.
        rescue(&aside, output.path()).unwrap();
    }
}
