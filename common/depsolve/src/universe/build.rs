//! Compiles packages into a universe.

use std::collections::HashMap;
use std::hash::BuildHasher as _;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use tutti_rpm::evr::SortKey;
use tutti_rpm::{Dependency, Evr, Package, Sense};

use super::encode::{HEADER, MAGIC, count, pack, push, push_all, push_strings};
use super::files::{self, split};
use super::{FORMAT, NONE, UniverseError, checksum, requires};

/// Strings in the order in which they came. Most come once, and there are a million: they stand in one text.
#[derive(Debug, Default)]
struct Interner {
    text: String,
    /// Where each string ends.
    ends: Vec<usize>,
    /// Hashes and ids.
    ids: HashTable<(u64, u32)>,
    state: RandomState,
}

/// The string of an id.
fn string<'a>(text: &'a str, ends: &[usize], id: u32) -> &'a str {
    let id = id as usize;
    let start = id.checked_sub(1).map_or(0, |before| ends[before]);
    &text[start..ends[id]]
}

impl Interner {
    fn id(&mut self, wanted: &str) -> u32 {
        let hash = self.state.hash_one(wanted);
        let (text, ends) = (&self.text, &self.ends);
        let is_it = |known: &(u64, u32)| known.0 == hash && string(text, ends, known.1) == wanted;
        let entry = match self.ids.entry(hash, is_it, |known| known.0) {
            Entry::Occupied(known) => return known.get().1,
            Entry::Vacant(entry) => entry,
        };
        let id = self.ends.len() as u32;
        entry.insert((hash, id));
        self.text.push_str(wanted);
        self.ends.push(self.text.len());
        id
    }

    /// Returns the sorted strings, and for each id that was given out its place among them.
    fn sorted(&self) -> (Vec<&str>, Vec<u32>) {
        let get = |id: u32| string(&self.text, &self.ends, id);
        // By beginnings, which mostly decide.
        let mut all: Vec<(u128, u32)> = (0..self.ends.len() as u32).map(|id| (beginning(get(id)), id)).collect();
        all.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| get(a.1).cmp(get(b.1))));
        let mut places = vec![0; all.len()];
        for (place, (_, id)) in all.iter().enumerate() {
            places[*id as usize] = place as u32;
        }
        (all.into_iter().map(|(_, id)| get(id)).collect(), places)
    }
}

/// The first bytes of a text, in an order that is that of the texts or equal.
fn beginning(text: &str) -> u128 {
    let mut bytes = [0; 16];
    let length = text.len().min(bytes.len());
    bytes[..length].copy_from_slice(&text.as_bytes()[..length]);
    u128::from_be_bytes(bytes)
}

/// Epoch, version, release: strings by id.
type EvrKey = (u32, u32, u32);
/// Name, sense, EVR: by id.
type DependencyKey = (u32, u32, u32);

#[derive(Debug)]
struct Added {
    name: u32,
    evr: u32,
    arch: u32,
    source_rpm: u32,
    origin: u32,
    provides: Vec<u32>,
    requires: Vec<u32>,
    files: Vec<[u32; 2]>,
}

/// Collects packages for a universe.
#[derive(Debug)]
pub struct UniverseBuilder {
    arch: u32,
    strings: Interner,
    directories: Interner,
    names: Interner,
    evrs: HashMap<EvrKey, u32, RandomState>,
    evr_values: Vec<(SortKey, EvrKey)>,
    dependencies: HashMap<DependencyKey, u32, RandomState>,
    dependency_values: Vec<DependencyKey>,
    packages: Vec<Added>,
}

impl UniverseBuilder {
    /// Starts a universe for packages that fit into a tree of this architecture.
    pub fn new(arch: &str) -> UniverseBuilder {
        let mut strings = Interner::default();
        UniverseBuilder {
            arch: strings.id(arch),
            strings,
            directories: Interner::default(),
            names: Interner::default(),
            evrs: HashMap::default(),
            evr_values: Vec::new(),
            dependencies: HashMap::default(),
            dependency_values: Vec::new(),
            packages: Vec::new(),
        }
    }

    /// Adds a package. `origin` is the caller's own number for it and is given back by [`super::PackageView::origin`].
    ///
    /// Requires that repository metadata would not list are left out; a binary package provides itself even if its
    /// header does not say so (libsolv `repo_rpmmd.c`).
    pub fn add(&mut self, package: &Package, origin: u32) {
        let evr = self.evr(&package.evr);
        let name = self.strings.id(&package.name);
        let mut provides: Vec<u32> = package.provides.iter().map(|provide| self.dependency(provide)).collect();
        if !package.is_source() {
            provides.push(self.dependency_id((name, Sense::Equal.bits(), evr)));
        }
        let requires = requires::listed(package).into_iter().map(|require| self.dependency(require)).collect();
        let files = package
            .files
            .iter()
            .map(|file| {
                let (directory, name) = split(&file.path);
                [self.directories.id(directory), self.names.id(name)]
            })
            .collect();
        let added = Added {
            name,
            evr,
            arch: self.strings.id(&package.arch),
            source_rpm: package
                .source_rpm
                .as_deref()
                .filter(|_| !package.is_source())
                .map_or(NONE, |text| self.strings.id(text)),
            origin,
            provides,
            requires,
            files,
        };
        self.packages.push(added);
    }

    fn evr(&mut self, evr: &Evr) -> u32 {
        let key = (evr.epoch_number(), self.strings.id(&evr.version), self.strings.id(&evr.release));
        if let Some(id) = self.evrs.get(&key) {
            return *id;
        }
        let id = self.evr_values.len() as u32;
        self.evrs.insert(key, id);
        self.evr_values.push((evr.sort_key(), key));
        id
    }

    fn dependency(&mut self, dependency: &Dependency) -> u32 {
        let name = self.strings.id(&dependency.name);
        match &dependency.range {
            None => self.dependency_id((name, 0, NONE)),
            Some((sense, evr)) => {
                let evr = self.evr(evr);
                self.dependency_id((name, sense.bits(), evr))
            }
        }
    }

    fn dependency_id(&mut self, key: DependencyKey) -> u32 {
        let id = self.dependency_values.len() as u32;
        let id = *self.dependencies.entry(key).or_insert(id);
        if id as usize == self.dependency_values.len() {
            self.dependency_values.push(key);
        }
        id
    }

    /// Writes the universe. The bytes do not depend on the order in which packages were added.
    ///
    /// # Errors
    /// More strings, packages or files than 32 bits can number.
    pub fn finish(self) -> Result<Vec<u8>, UniverseError> {
        let (strings, string_places) = self.strings.sorted();
        count(self.packages.len(), "packages")?;
        let (evrs, evr_places) = sort_evrs(&self.evr_values, &string_places);
        let (dependencies, dependency_places) = sort_dependencies(&self.dependency_values, &string_places, &evr_places);
        let mut packages = self.packages;
        for package in &mut packages {
            package.name = string_places[package.name as usize];
            package.arch = string_places[package.arch as usize];
            package.evr = evr_places[package.evr as usize];
            if package.source_rpm != NONE {
                package.source_rpm = string_places[package.source_rpm as usize];
            }
            remap(&mut package.provides, &dependency_places);
            remap(&mut package.requires, &dependency_places);
        }
        let (directories, directory_places) = self.directories.sorted();
        let (names, name_places) = self.names.sorted();
        for [directory, name] in packages.iter_mut().flat_map(|package| &mut package.files) {
            *directory = directory_places[*directory as usize];
            *name = name_places[*name as usize];
        }
        for package in &mut packages {
            package.files.sort_unstable();
            package.files.dedup();
        }
        packages.sort_unstable_by(|a, b| order(a, &evrs).cmp(&order(b, &evrs)));

        let main = main(string_places[self.arch as usize], &strings, &evrs, &dependencies, &packages)?;
        let lists: Vec<Vec<[u32; 2]>> = packages.into_iter().map(|package| package.files).collect();
        let (files, files_len) = files::encode(&directories, &names, &lists)?;
        Ok(assemble(&pack("main", &main)?, main.len() as u64, &files, files_len))
    }
}

type Order<'a> = (u32, u32, u32, u32, u32, &'a [u32], &'a [u32], &'a [[u32; 2]], u32);

fn order<'a>(package: &'a Added, evrs: &[[u32; 4]]) -> Order<'a> {
    let rank = evrs[package.evr as usize][3];
    (
        package.name,
        rank,
        package.arch,
        package.evr,
        package.source_rpm,
        &package.provides,
        &package.requires,
        &package.files,
        package.origin,
    )
}

fn remap(ids: &mut Vec<u32>, places: &[u32]) {
    for id in ids.iter_mut() {
        *id = places[*id as usize];
    }
    ids.sort_unstable();
    ids.dedup();
}

/// Returns EVRs in RPM's order with their ranks, and the place of each id.
fn sort_evrs(values: &[(SortKey, EvrKey)], strings: &[u32]) -> (Vec<[u32; 4]>, Vec<u32>) {
    let text = |(epoch, version, release): EvrKey| (epoch, strings[version as usize], strings[release as usize]);
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by_key(|id| (&values[*id].0, text(values[*id].1)));
    let mut places = vec![0; values.len()];
    let mut sorted: Vec<[u32; 4]> = Vec::with_capacity(values.len());
    let mut previous: Option<&SortKey> = None;
    let mut rank = 0;
    for (place, id) in order.into_iter().enumerate() {
        let (key, value) = &values[id];
        rank += u32::from(previous.is_some_and(|previous| previous != key));
        previous = Some(key);
        let (epoch, version, release) = text(*value);
        sorted.push([epoch, version, release, rank]);
        places[id] = place as u32;
    }
    (sorted, places)
}

fn sort_dependencies(values: &[DependencyKey], strings: &[u32], evrs: &[u32]) -> (Vec<[u32; 3]>, Vec<u32>) {
    let evr = |id: u32| if id == NONE { NONE } else { evrs[id as usize] };
    let mut sorted: Vec<([u32; 3], usize)> = values
        .iter()
        .enumerate()
        .map(|(id, (name, sense, version))| ([strings[*name as usize], *sense, evr(*version)], id))
        .collect();
    sorted.sort_unstable();
    let mut places = vec![0; values.len()];
    for (place, (_, id)) in sorted.iter().enumerate() {
        places[*id] = place as u32;
    }
    (sorted.into_iter().map(|(value, _)| value).collect(), places)
}

fn main(
    arch: u32,
    strings: &[&str],
    evrs: &[[u32; 4]],
    dependencies: &[[u32; 3]],
    packages: &[Added],
) -> Result<Vec<u8>, UniverseError> {
    let (mut ends, mut text) = (Vec::new(), Vec::new());
    push_strings(&mut ends, &mut text, strings)?;
    let provides: usize = packages.iter().map(|package| package.provides.len()).sum();
    let requires: usize = packages.iter().map(|package| package.requires.len()).sum();
    let mut out = Vec::new();
    push(&mut out, count(strings.len(), "strings")?);
    push(&mut out, count(text.len(), "bytes of text")?);
    push(&mut out, count(evrs.len(), "EVRs")?);
    push(&mut out, count(dependencies.len(), "dependencies")?);
    push(&mut out, count(packages.len(), "packages")?);
    push(&mut out, count(provides, "provides")?);
    push(&mut out, count(requires, "requires")?);
    push(&mut out, arch);
    out.extend_from_slice(&ends);
    push_all(&mut out, evrs.iter().flatten().copied());
    push_all(&mut out, dependencies.iter().flatten().copied());
    let (mut provides_end, mut requires_end) = (0, 0);
    for package in packages {
        provides_end += package.provides.len() as u32;
        requires_end += package.requires.len() as u32;
        let head = [package.name, package.evr, package.arch, package.source_rpm, package.origin];
        push_all(&mut out, head.into_iter().chain([provides_end, requires_end]));
    }
    push_all(&mut out, packages.iter().flat_map(|package| package.provides.iter().copied()));
    push_all(&mut out, packages.iter().flat_map(|package| package.requires.iter().copied()));
    out.extend_from_slice(&text);
    Ok(out)
}

fn assemble(main: &[u8], main_len: u64, files: &[u8], files_len: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + main.len() + files.len() + 8);
    out.extend_from_slice(&MAGIC);
    push_all(&mut out, [FORMAT, 0]);
    for length in [main.len() as u64, main_len, files.len() as u64, files_len] {
        out.extend_from_slice(&length.to_le_bytes());
    }
    out.extend_from_slice(main);
    out.extend_from_slice(files);
    let sum = checksum(&out);
    out.extend_from_slice(&sum.to_le_bytes());
    out
}
