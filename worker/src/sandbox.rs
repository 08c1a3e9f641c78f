//! Confinement of the child process by Landlock.
//!
//! The child may read the compose's blobs, what [`Access`] names, and the system's programs and settings; it may
//! write below its staging directory and nowhere else. It can signal only itself and its own children, and opens no
//! TCP connection unless its kind needs one. This is not a jail against a hostile kernel interface: it keeps a
//! runner's mistake, or a tool that was given a crafted file, away from the tree and from other jobs.
//!
//! Rules of the kernel that shape this (Documentation/userspace-api/landlock.rst, Linux 6.12):
//!
//! * rights add up along a path, so what is denied below must not be granted above;
//! * a hard link or rename to another directory needs REFER on both sides, and the new place must not grant the file
//!   more rights than the old one: packages are linked from read-only places, so `staging/trees` grants no write then;
//! * only the calling thread and its later children are restricted: [`confine`] runs before any thread is started.

use std::{
    io,
    path::{Path, PathBuf},
};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr as _, RulesetCreated,
    RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope, make_bitflags,
};
use tutti_job::Volumes;

use crate::{Access, FailureClass, OrFail as _, RunnerError, wire::SandboxMode};

/// Programs and libraries: readable and executable.
const PROGRAMS: [&str; 7] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store"];
/// Settings and facts of the system: readable.
/// All of `/proc`: a job finds what it started there. Environments and memory of processes outside of the confinement stay
/// closed (ptrace rules).
const SETTINGS: [&str; 4] = ["/etc", "/proc", "/dev/urandom", "/dev/zero"];
/// Name service: where `/etc/resolv.conf` may lead.
const RESOLVER: [&str; 3] = ["/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager"];
/// Written to by tools that throw something away.
const NULL: &str = "/dev/null";
/// Subdirectories of a staging directory.
pub(crate) const STAGING_PARTS: [&str; 5] = ["out", "trees", "manifests", "scratch", Volumes::CHECKPOINTS];

const READ: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});
const EXECUTE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir | Execute});
const LINK_FROM: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir | Refer});
const LINK_TO: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    ReadFile | ReadDir | Refer | MakeReg | MakeDir | MakeSym | RemoveFile | RemoveDir
});
const WRITE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    ReadFile | ReadDir | Refer | MakeReg | MakeDir | MakeSym | RemoveFile | RemoveDir | WriteFile | Truncate
});
/// Rights that a rule on a file, not a directory, may have.
const FILE_RIGHTS: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | WriteFile | Execute | Truncate});

/// Confines this process. Returns what a person should know when the kernel cannot do all of it.
///
/// # Errors
/// Class infra when rules cannot be made, or when `mode` requires more than the kernel has.
pub fn confine(volumes: &Volumes, access: &Access, mode: SandboxMode) -> Result<Option<String>, RunnerError> {
    if mode == SandboxMode::Off {
        return Ok(None);
    }
    let staging = volumes.staging.as_deref().ok_or(tutti_job::PathError::Unmapped("staging"))?;
    let blobs = volumes.top.join(Volumes::BLOBS);
    let status = restrict(staging, &blobs, access)
        .or_fail(FailureClass::Infra, || format!("failed to confine the job to {}", staging.display()))?;
    let Some(condition) = lacking(status) else { return Ok(None) };
    match mode {
        SandboxMode::Required => Err(RunnerError::infra(condition)
            .with_hint("boot with lsm=landlock,… on Linux 6.12 or newer, or do not require the sandbox")),
        SandboxMode::BestEffort | SandboxMode::Off => Ok(Some(condition.to_owned())),
    }
}

/// What jobs on this host will lack of their confinement: known before the first one runs.
///
/// # Errors
/// When the kernel cannot be asked.
pub(crate) fn probe() -> io::Result<Option<&'static str>> {
    let confine = || ruleset(false)?.restrict_self().map(|confined| confined.ruleset);
    // A thread of its own: it alone is confined, and ends.
    let probe = std::thread::Builder::new().name("sandbox-probe".into()).spawn(confine)?;
    let status = probe.join().map_err(|_| io::Error::other("the thread that asked panicked"))?;
    status.map(lacking).map_err(io::Error::other)
}

fn lacking(status: RulesetStatus) -> Option<&'static str> {
    match status {
        RulesetStatus::FullyEnforced => None,
        RulesetStatus::PartiallyEnforced => Some("sandbox: this kernel enforces only part of the Landlock rules"),
        RulesetStatus::NotEnforced => Some("sandbox: this kernel has no Landlock, jobs are not confined"),
    }
}

/// Everything is handled, nothing allowed.
fn ruleset(network: bool) -> Result<RulesetCreated, RulesetError> {
    let mut rules = Ruleset::default().handle_access(AccessFs::from_all(ABI::V5))?.scope(Scope::from_all(ABI::V6))?;
    if !network {
        rules = rules.handle_access(AccessNet::ConnectTcp | AccessNet::BindTcp)?;
    }
    rules.create()
}

fn restrict(staging: &Path, blobs: &Path, access: &Access) -> Result<RulesetStatus, RulesetError> {
    let mut rules = ruleset(access.network)?;
    for path in PROGRAMS {
        rules = allow(rules, Path::new(path), EXECUTE)?;
    }
    for path in SETTINGS {
        rules = allow(rules, Path::new(path), READ)?;
    }
    for path in RESOLVER.iter().filter(|_| access.network) {
        rules = allow(rules, Path::new(path), READ)?;
    }
    rules = allow(rules, Path::new(NULL), READ | AccessFs::WriteFile)?;
    rules = allow(rules, blobs, READ)?;
    for path in &access.reads {
        rules = allow(rules, path, READ)?;
    }
    for path in &access.hard_links_from {
        rules = allow(rules, path, LINK_FROM)?;
    }
    for part in STAGING_PARTS {
        let links = part == "trees" && !access.hard_links_from.is_empty();
        rules = allow(rules, &staging.join(part), if links { LINK_TO } else { WRITE })?;
    }
    rules = allow(rules, staging, READ)?;
    Ok(rules.restrict_self()?.ruleset)
}

/// Adds one rule; what does not exist needs none.
fn allow(rules: RulesetCreated, path: &Path, rights: BitFlags<AccessFs>) -> Result<RulesetCreated, RulesetError> {
    let Ok(handle) = PathFd::new(path) else { return Ok(rules) };
    let directory = path.metadata().map_or(true, |metadata| metadata.is_dir());
    rules.add_rule(PathBeneath::new(handle, if directory { rights } else { rights & FILE_RIGHTS }))
}

/// At most `limit` directories that together hold all of `paths` (each a file): the longest common beginnings, but
/// never `/`. With more top-level directories than `limit`, all of those.
///
/// A rule per directory of a Koji volume would be tens of thousands of rules; a few volume roots do as well.
pub fn covering_directories<'a>(paths: impl IntoIterator<Item = &'a Path>, limit: usize) -> Vec<PathBuf> {
    let mut found: std::collections::BTreeSet<PathBuf> = std::collections::BTreeSet::new();
    // Bounded all the way, so that a long list costs no memory; cutting early can only make directories wider.
    for path in paths {
        if let Some(parent) = path.parent().filter(|parent| parent.components().count() > 1) {
            if !parent.ancestors().any(|above| found.contains(above)) {
                found.insert(parent.to_owned());
            }
            if found.len() > limit.max(1).saturating_mul(4) {
                shorten(&mut found, limit);
            }
        }
    }
    shorten(&mut found, limit);
    found.into_iter().collect()
}

fn shorten(found: &mut std::collections::BTreeSet<PathBuf>, limit: usize) {
    loop {
        let nested: Vec<_> =
            found.iter().filter(|path| path.ancestors().skip(1).any(|above| found.contains(above))).cloned().collect();
        nested.iter().for_each(|path| {
            found.remove(path);
        });
        let deepest = found.iter().map(|path| path.components().count()).max().unwrap_or(0);
        // Two components: the root and one name.
        if found.len() <= limit || deepest <= 2 {
            return;
        }
        *found = found
            .iter()
            .map(|path| match path.parent() {
                Some(parent) if path.components().count() == deepest => parent.to_owned(),
                _ => path.clone(),
            })
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_cover_all_paths_and_stay_few() {
        let paths: Vec<PathBuf> =
            (0..500).map(|n| format!("/mnt/koji/packages/p{n}/1/1/x86_64/p{n}.rpm").into()).collect();
        let all = paths.iter().map(PathBuf::as_path).chain([Path::new("/srv/extra/a.rpm"), Path::new("/b.rpm")]);
        let found = covering_directories(all, 8);
        assert_eq!(found, [PathBuf::from("/mnt/koji/packages"), PathBuf::from("/srv/extra")]);
        let few = covering_directories([Path::new("/a/b/c/d.rpm"), Path::new("/a/b/e.rpm")], 8);
        assert_eq!(few, [PathBuf::from("/a/b")]);
        assert!(covering_directories([Path::new("/x.rpm")], 8).is_empty());
    }
}
