//! Which packages satisfy a requirement, by libsolv's rules.

use std::collections::HashMap;
use std::rc::Rc;

use tutti_rpm::dependency::ranges_overlap;
use tutti_rpm::rich::{Node, Rich};
use tutti_rpm::{Dependency, Evr, Sense};

use super::{Id, Pool, RequirementId};
use crate::universe::{FileTable, UniverseError};

impl Pool<'_> {
    /// Returns the binary packages, of any architecture, that satisfy a requirement; sorted, asked for once.
    ///
    /// # Errors
    /// A requirement on a file, and a universe whose file lists cannot be read.
    pub(crate) fn providers(&self, id: RequirementId) -> Result<Rc<[Id]>, UniverseError> {
        if let Some(known) = self.memo.borrow().get(&id) {
            return Ok(Rc::clone(known));
        }
        let providers: Rc<[Id]> = self.find_providers(&self.dependency(id))?.into();
        self.memo.borrow_mut().insert(id, Rc::clone(&providers));
        Ok(providers)
    }

    /// Returns the binary packages that provide a name in any version; sorted.
    pub(crate) fn providers_of_name(&self, name: &str) -> Vec<Id> {
        self.plain(name, None)
    }

    fn find_providers(&self, dependency: &Dependency) -> Result<Vec<Id>, UniverseError> {
        if !dependency.is_rich() {
            return self.simple(dependency);
        }
        // What does not parse is a name that nobody provides (libsolv pool_parserpmrichdep returns 0).
        Rich::parse(&dependency.name).map_or(Ok(Vec::new()), |rich| self.rich(&rich))
    }

    fn simple(&self, dependency: &Dependency) -> Result<Vec<Id>, UniverseError> {
        let found = self.plain(&dependency.name, dependency.range.as_ref());
        // A versioned requirement is never satisfied by a file list.
        if dependency.is_path() && dependency.range.is_none() {
            let files = self.files.get_or_init(|| self.scan_files()).as_ref().map_err(Clone::clone)?;
            if let Some(owners) = files.get(&dependency.name) {
                return Ok(union(&found, owners));
            }
        }
        Ok(found)
    }

    fn plain(&self, name: &str, range: Option<&(Sense, Evr)>) -> Vec<Id> {
        let Some(name) = self.find_string(name) else { return Vec::new() };
        let name = name as usize;
        let provides = &self.provides[self.provides_ends[name] as usize..self.provides_ends[name + 1] as usize];
        let mut found: Vec<Id> = Vec::new();
        for provide in provides {
            let overlaps = match (range, provide.range) {
                (Some(range), Some((sense, evr))) => {
                    ranges_overlap(Some(&(sense, self.evrs[evr as usize].clone())), Some(range))
                }
                _ => true,
            };
            if overlaps && found.last() != Some(&provide.package) {
                found.push(provide.package);
            }
        }
        found
    }

    /// Rich dependencies as libsolv's `pool_addrelproviders` expands them: `and` and `or` are unions, the condition of
    /// `if` and `unless` is taken to hold for the left side and not to hold for the `else` side, `with` is an
    /// intersection, `without` a difference.
    fn rich(&self, rich: &Rich) -> Result<Vec<Id>, UniverseError> {
        let mut values: Vec<Vec<Id>> = Vec::with_capacity(rich.nodes().len());
        for node in rich.nodes() {
            let value = match node {
                Node::Simple(dependency) => self.simple(dependency)?,
                Node::And(operands) | Node::Or(operands) => fold(&values, operands, union),
                Node::With(operands) => fold(&values, operands, intersection),
                Node::Without { wanted, unwanted } => difference(&values[*wanted], &values[*unwanted]),
                Node::If { wanted, otherwise, .. } | Node::Unless { wanted, otherwise, .. } => match otherwise {
                    Some(otherwise) => union(&values[*wanted], &values[*otherwise]),
                    None => values[*wanted].clone(),
                },
            };
            values.push(value);
        }
        Ok(values.pop().unwrap_or_default())
    }

    /// Finds the owners of all paths that any requirement names, in one pass over all file lists.
    fn scan_files(&self) -> Result<HashMap<String, Vec<Id>>, UniverseError> {
        let mut owners: HashMap<String, Vec<Id>> = HashMap::new();
        for requirement in &self.requirements {
            let name = self.strings.get(requirement.name);
            if name.starts_with('/') {
                owners.insert(name.to_owned(), Vec::new());
            } else if name.starts_with('(')
                && name.contains('/')
                && let Ok(rich) = Rich::parse(name)
            {
                owners.extend(rich.leaves().filter(|leaf| leaf.is_path()).map(|leaf| (leaf.name.clone(), Vec::new())));
            }
        }
        for (at, source) in self.sources.iter().enumerate() {
            let files = source.universe.files()?;
            let wanted = wanted_entries(files, owners.keys());
            let mut found: HashMap<[u32; 2], Vec<Id>> = HashMap::new();
            for package in 0..source.universe.len() {
                let id = self.ids[at][package];
                if self.is_source_arch(self.entries[id as usize].arch) {
                    continue;
                }
                for entry in files.entries(package) {
                    if wanted.directories.contains(entry[0] as usize) && wanted.paths.contains_key(entry) {
                        found.entry(*entry).or_default().push(id);
                    }
                }
            }
            for (entry, ids) in found {
                if let Some(owners) = wanted.paths.get(&entry).and_then(|path| owners.get_mut(path)) {
                    owners.extend(ids);
                }
            }
        }
        for ids in owners.values_mut() {
            ids.sort_unstable();
            ids.dedup();
        }
        Ok(owners)
    }
}

struct Wanted {
    directories: fixedbitset::FixedBitSet,
    paths: HashMap<[u32; 2], String>,
}

fn wanted_entries<'p>(files: &FileTable, paths: impl Iterator<Item = &'p String>) -> Wanted {
    let mut wanted =
        Wanted { directories: fixedbitset::FixedBitSet::with_capacity(files.directories.len()), paths: HashMap::new() };
    for path in paths {
        let (directory, name) = crate::universe::split_path(path);
        if let (Some(directory), Some(name)) = (files.directories.find(directory), files.names.find(name)) {
            wanted.directories.insert(directory as usize);
            wanted.paths.insert([directory, name], path.clone());
        }
    }
    wanted
}

fn fold(values: &[Vec<Id>], operands: &[usize], step: fn(&[Id], &[Id]) -> Vec<Id>) -> Vec<Id> {
    let mut operands = operands.iter().map(|operand| &values[*operand]);
    let first = operands.next().cloned().unwrap_or_default();
    operands.fold(first, |so_far, operand| step(&so_far, operand))
}

fn union(a: &[Id], b: &[Id]) -> Vec<Id> {
    let mut all = [a, b].concat();
    all.sort_unstable();
    all.dedup();
    all
}

fn intersection(a: &[Id], b: &[Id]) -> Vec<Id> {
    a.iter().copied().filter(|id| b.binary_search(id).is_ok()).collect()
}

fn difference(a: &[Id], b: &[Id]) -> Vec<Id> {
    a.iter().copied().filter(|id| b.binary_search(id).is_err()).collect()
}
