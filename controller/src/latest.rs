//! The `latest-` link: to the newest of the composes that wanted it, whichever of them ends last.
//!
//! Composes of one target directory end side by side, in any order, and maybe on several hosts; nothing is locked. A
//! compose that wants the link first writes a *claim* into its own directory, then looks for the newest compose of its
//! family (same id but for date and respin) that has a claim, points the link there if it is not there or further, and
//! looks again, until there is nothing to do. So whoever moves the link last has seen every claim that was there then, and
//! a newer one that comes later moves it itself: at rest the link is at the newest. A process that is killed in between
//! may leave it at an older compose; whoever looks at the compose next, or the next one that ends, moves it on.
//!
//! Pungi (4.3.2, `compose.py`: `symlink_latest`) links whatever ended last. So do composes of different families here,
//! such as nightly and test composes of one release, and ids that somebody chose freely: they have no order.

use std::{fs, io, path::Path};

use tutti_failpoint::failpoint;

use crate::volume::{VolumeError, at, sync_directory, write_atomically};

/// Where a compose says that it wants the link: the link's name, and once it is moved, [`MOVED`] in a second line.
const CLAIM: &str = "work/tutti/latest";
const MOVED: &str = "moved";
/// Times that others may be faster.
const TRIES: usize = 100;

/// What orders the composes of a family, and the family.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Age {
    family: String,
    date: String,
    respin: u64,
}

/// Reads `NAME-YYYYMMDD[.TYPE].RESPIN`.
fn age(id: &str) -> Option<Age> {
    let (rest, respin) = id.rsplit_once('.')?;
    let (name, day) = rest.rsplit_once('-')?;
    let (date, kind) = day.split_at_checked(8)?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(date) || !digits(respin) || !(kind.is_empty() || kind.starts_with('.')) {
        return None;
    }
    Some(Age { family: format!("{name}-{kind}"), date: date.to_owned(), respin: respin.parse().ok()? })
}

/// Whether the compose in `top` has moved this link, or seen that it need not: a later one of another family may have
/// it since, and must not lose it to an old compose that somebody looks at.
pub fn was_moved(top: &Path, link: &str) -> bool {
    fs::read_to_string(top.join(CLAIM)).is_ok_and(|text| text.lines().eq([link, MOVED]))
}

/// Points `target/latest-…` to a compose that has ended, unless a newer one of its family is or belongs there.
///
/// # Errors
/// I/O errors; something that is not a link stands in the way.
pub fn move_latest_link(target: &Path, link: &str, compose_id: &str) -> Result<(), VolumeError> {
    move_between(target, link, compose_id, || {})?;
    let claim = target.join(compose_id).join(CLAIM);
    write_atomically(&claim, format!("{link}\n{MOVED}\n").as_bytes())?;
    failpoint!("volume.latest_link.after");
    Ok(())
}

/// `decided` is called between each look and the move that follows from it: others are faster there in tests.
fn move_between(target: &Path, link: &str, compose_id: &str, mut decided: impl FnMut()) -> Result<(), VolumeError> {
    failpoint!("volume.latest_link.before");
    let Some(own) = age(compose_id) else { return point(target, link, compose_id, compose_id) };
    let claim = target.join(compose_id).join(CLAIM);
    write_atomically(&claim, format!("{link}\n").as_bytes())?;
    failpoint!("volume.latest_link.claimed");
    let mut moved = false;
    for _ in 0..TRIES {
        let newest = newest(target, link, compose_id, &own)?;
        let there = fs::read_link(target.join(link)).ok().filter(|there| target.join(there).is_dir());
        let there = there.as_deref().and_then(Path::to_str).and_then(age);
        let done = match &there {
            Some(there) if there.family == own.family => age(&newest).is_some_and(|newest| newest <= *there),
            // Of another family, which came after us.
            _ => moved,
        };
        if done {
            return Ok(());
        }
        decided();
        point(target, link, compose_id, &newest)?;
        moved = true;
    }
    Ok(())
}

/// The newest compose with a claim on the link: this one, or a newer one.
fn newest(target: &Path, link: &str, compose_id: &str, own: &Age) -> Result<String, VolumeError> {
    let mut newest = (own.clone(), compose_id.to_owned());
    for item in fs::read_dir(target).map_err(at("list", target))? {
        let name = item.map_err(at("list", target))?.file_name();
        let Some(id) = name.to_str() else { continue };
        let Some(found) = age(id).filter(|found| found.family == own.family && *found > newest.0) else { continue };
        // One that is being removed by hand may lose its files in any order.
        let claims =
            fs::read_to_string(target.join(id).join(CLAIM)).is_ok_and(|text| text.lines().next() == Some(link));
        if claims && target.join(id).join("STATUS").is_file() {
            newest = (found, id.to_owned());
        }
    }
    Ok(newest.1)
}

/// Replaces the link by rename.
fn point(target: &Path, link: &str, compose_id: &str, to: &str) -> Result<(), VolumeError> {
    let path = target.join(link);
    if fs::symlink_metadata(&path).is_ok_and(|metadata| !metadata.file_type().is_symlink()) {
        let error = io::Error::new(io::ErrorKind::AlreadyExists, "exists and is not a symbolic link");
        return Err(at("replace", &path)(error));
    }
    let temporary = target.join(format!(".{link}.{compose_id}.tmp"));
    // One of the same name is of this compose, left by a crash.
    tutti_files::remove_file(&temporary).map_err(at("remove", &temporary))?;
    tutti_files::symlink(Path::new(to), &temporary).map_err(at("link", &temporary))?;
    failpoint!("volume.latest_link.made");
    tutti_files::rename(&temporary, &path).map_err(at("replace", &path))?;
    failpoint!("volume.latest_link.moved");
    sync_directory(target)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn finished(target: &Path, id: &str) {
        fs::create_dir_all(target.join(id).join("work/tutti")).unwrap();
        fs::write(target.join(id).join("STATUS"), "FINISHED\n").unwrap();
    }

    fn there(target: &Path) -> PathBuf {
        fs::read_link(target.join("latest-C-1")).unwrap()
    }

    #[test]
    fn ids_have_an_age_or_none() {
        assert!(age("C-1-20261122.n.9") < age("C-1-20261122.n.10"));
        assert!(age("C-1-20261121.n.9") < age("C-1-20261122.n.0"));
        assert_eq!(age("C-1-updates-20261122.0").unwrap().family, "C-1-updates-");
        assert_ne!(age("C-1-20261122.n.0").unwrap().family, age("C-1-20261122.t.0").unwrap().family);
        for none in
            ["", "C-1", "C-1-0", "C-1-2026112.n.0", "C-1-20261122.n.x", "C-1-20261122n.0", "20261122.n.0", "é-é.0"]
        {
            assert_eq!(age(none), None, "{none}");
        }
    }

    #[test]
    fn it_goes_forward_and_never_onto_a_directory() {
        let target = tempfile::tempdir().unwrap();
        let target = target.path();
        let moved = |id: &str| {
            finished(target, id);
            move_latest_link(target, "latest-C-1", id).unwrap();
            there(target)
        };
        assert_eq!(moved("C-1-20261122.n.1"), Path::new("C-1-20261122.n.1"));
        assert_eq!(moved("C-1-20261122.n.0"), Path::new("C-1-20261122.n.1"), "older");
        assert_eq!(moved("C-1-20261122.n.10"), Path::new("C-1-20261122.n.10"));
        assert_eq!(moved("C-1-20261122.t.0"), Path::new("C-1-20261122.t.0"), "of another family");
        assert_eq!(moved("C-1-20261121.n.11"), Path::new("C-1-20261122.n.10"), "the newest of the family");
        assert_eq!(moved("mine"), Path::new("mine"), "an id without order");
        fs::remove_dir_all(target.join("C-1-20261122.n.10")).unwrap();
        assert_eq!(moved("C-1-20261122.n.2"), Path::new("C-1-20261122.n.2"), "those that are gone do not count");
        fs::create_dir(target.join("latest-D-1")).unwrap();
        assert!(was_moved(&target.join("C-1-20261122.n.2"), "latest-C-1"));
        assert!(move_latest_link(target, "latest-D-1", "C-1-20261122.n.2").is_err());
        assert!(!was_moved(&target.join("C-1-20261122.n.2"), "latest-D-1"), "something stands in its way");
    }

    /// A newer compose moves the link between an older one's look and its move.
    #[test]
    fn a_move_backwards_is_seen_and_taken_back() {
        let target = tempfile::tempdir().unwrap();
        let target = target.path();
        let mut newer = (1..4).map(|respin| format!("C-1-20261122.n.{respin}"));
        finished(target, "C-1-20261122.n.0");
        let faster = || {
            let Some(id) = newer.next() else { return };
            finished(target, &id);
            move_latest_link(target, "latest-C-1", &id).unwrap();
        };
        move_between(target, "latest-C-1", "C-1-20261122.n.0", faster).unwrap();
        assert_eq!(there(target), Path::new("C-1-20261122.n.3"));
    }

    /// Many at once, in any order: at rest it is the newest.
    #[test]
    fn many_at_once_leave_it_at_the_newest() {
        let target = tempfile::tempdir().unwrap();
        let target = target.path();
        for round in 0..30 {
            let ids: Vec<String> = (0..4).map(|respin| format!("C-1-2026{:04}.n.{respin}", 1000 + round)).collect();
            ids.iter().for_each(|id| finished(target, id));
            std::thread::scope(|scope| {
                for id in &ids {
                    scope.spawn(|| move_latest_link(target, "latest-C-1", id).unwrap());
                }
            });
            assert_eq!(there(target), Path::new(&ids[3]), "round {round}");
            ids.iter().for_each(|id| fs::remove_dir_all(target.join(id)).unwrap());
        }
    }
}
