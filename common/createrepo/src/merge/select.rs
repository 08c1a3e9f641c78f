//! Which packages of several repositories a merged one has: the rules of mergerepo_c 1.2.5, and of its koji mode.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

use tutti_repodata::hash_order;
use tutti_rpm::Evr;
use tutti_rpm::evr::version_compare;

use super::{MergeOptions, Method};

/// What choosing needs to know of a package.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arch: String,
    pub(super) evr: Evr,
    pub(super) source_rpm: Option<String>,
    pub(super) href: String,
    pub(super) mtime: u64,
    pub(super) size: u64,
}

impl Candidate {
    /// `NAME-VERSION-RELEASE.ARCH`.
    pub(super) fn nvra(&self) -> String {
        format!("{}-{}-{}.{}", self.name, self.evr.version, self.evr.release, self.arch)
    }
}

/// A package by its repository and its place in that repository's `primary`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) repository: usize,
    pub(super) number: usize,
}

/// What was chosen.
#[derive(Debug, Default)]
pub(super) struct Selection {
    pub(super) places: Vec<Place>,
    /// Packages for which `pkgorigins` has a line, in its order.
    pub(super) origins: Vec<Place>,
    /// Packages that are not source packages and name none, by location.
    pub(super) without_source: Vec<Place>,
}

/// The order in which mergerepo_c looks at the packages of one repository: that of a hash table by package id, filled
/// in the order of another one. Of packages with one id, those of equal size and time count once, others not at all.
pub(super) fn order(candidates: &[Candidate]) -> Vec<usize> {
    let mut first: HashMap<&str, usize> = HashMap::new();
    let mut contradicted: HashSet<&str> = HashSet::new();
    let mut distinct: Vec<usize> = Vec::with_capacity(candidates.len());
    for (number, candidate) in candidates.iter().enumerate() {
        match first.get(candidate.id.as_str()) {
            None => {
                first.insert(&candidate.id, number);
                distinct.push(number);
            }
            Some(other) => {
                let other = &candidates[*other];
                if (other.mtime, other.size) != (candidate.mtime, candidate.size) {
                    contradicted.insert(&candidate.id);
                }
            }
        }
    }
    let through = |numbers: Vec<usize>| -> Vec<usize> {
        let keys: Vec<&str> = numbers.iter().map(|number| candidates[*number].id.as_str()).collect();
        hash_order::order(&keys).into_iter().map(|place| numbers[place]).collect()
    };
    let mut once = through(distinct);
    once.retain(|number| !contradicted.contains(candidates[*number].id.as_str()));
    through(once)
}

/// Chooses. `orders` has what [`order`] says of each repository.
pub(super) fn select(repositories: &[Vec<Candidate>], options: &MergeOptions) -> Selection {
    let orders: Vec<Vec<usize>> = repositories.iter().map(|candidates| order(candidates)).collect();
    let mut selection = Selection::default();
    let koji = options.koji.as_ref();
    let sources = koji.filter(|koji| !koji.simple).map(|_| sources(repositories, &orders, &mut selection));
    let mut rules = Rules {
        options,
        sources,
        seen: koji.filter(|koji| !koji.simple).map(|_| HashSet::new()),
        chosen: HashMap::new(),
    };
    for (repository, order) in orders.iter().enumerate() {
        for number in order {
            let place = Place { repository, number: *number };
            rules.add(repositories, place, &mut selection);
        }
    }
    selection.places = rules.chosen.into_values().flatten().collect();
    selection
}

/// For each source package's name, the file name of the one whose packages are taken: of the first repository that has
/// any, the newest.
fn sources(
    repositories: &[Vec<Candidate>],
    orders: &[Vec<usize>],
    selection: &mut Selection,
) -> HashMap<String, String> {
    let mut found: HashMap<String, (usize, Evr, String)> = HashMap::new();
    for (repository, order) in orders.iter().enumerate() {
        for number in order {
            let Some(file) = &repositories[repository][*number].source_rpm else {
                selection.without_source.push(Place { repository, number: *number });
                continue;
            };
            let Some((name, evr)) = source_name(file) else { continue };
            match found.get(&name) {
                Some((first, _, _)) if *first != repository => {}
                Some((_, known, _)) if compare(&evr, known) != Ordering::Greater => {}
                _ => drop(found.insert(name, (repository, evr, file.clone()))),
            }
        }
    }
    found.into_iter().map(|(name, (_, _, file))| (name, file)).collect()
}

/// Name, version and release in a source package's file name.
fn source_name(file: &str) -> Option<(String, Evr)> {
    let stem = file.strip_suffix(".rpm").unwrap_or(file);
    let (stem, _arch) = stem.rsplit_once('.')?;
    let (stem, release) = stem.rsplit_once('-')?;
    let (name, version) = stem.rsplit_once('-')?;
    Some((name.to_owned(), Evr { epoch: None, version: version.to_owned(), release: release.to_owned() }))
}

/// Part by part, as createrepo_c compares (`misc.c`, `cr_cmp_evr`): a missing part counts as empty.
fn compare(a: &Evr, b: &Evr) -> Ordering {
    a.epoch_number()
        .cmp(&b.epoch_number())
        .then_with(|| version_compare(&a.version, &b.version))
        .then_with(|| version_compare(&a.release, &b.release))
}

struct Rules<'a> {
    options: &'a MergeOptions,
    sources: Option<HashMap<String, String>>,
    seen: Option<HashSet<String>>,
    /// What was chosen, by name and architecture.
    chosen: HashMap<(String, String), Vec<Place>>,
}

impl Rules<'_> {
    fn add(&mut self, repositories: &[Vec<Candidate>], place: Place, selection: &mut Selection) {
        let get = |place: Place| &repositories[place.repository][place.number];
        let candidate = get(place);
        let is_wanted = self.options.arches.as_ref().is_none_or(|arches| arches.contains(&candidate.arch));
        if !is_wanted || !self.allows(candidate) {
            return;
        }
        let others = self.chosen.entry((candidate.name.clone(), candidate.arch.clone())).or_default();
        let equal = others.iter().any(|other| compare(&get(*other).evr, &candidate.evr) == Ordering::Equal);
        if self.options.keeps_all() {
            let simple = self.options.koji.as_ref().is_some_and(|koji| koji.simple);
            if !equal {
                selection.origins.push(place);
            }
            if !equal || simple {
                others.push(place);
            }
            return;
        }
        let Some(other) = others.first_mut() else {
            others.push(place);
            return selection.origins.push(place);
        };
        let replaces = match self.options.method {
            Method::Repo => false,
            Method::Time => candidate.mtime > get(*other).mtime,
            Method::Version => compare(&candidate.evr, &get(*other).evr) == Ordering::Greater,
        };
        if replaces {
            *other = place;
        }
    }

    /// What koji mode and `pkgorigins` ask of a package.
    fn allows(&mut self, candidate: &Candidate) -> bool {
        if self.options.koji.is_none() && !self.options.origins {
            return true;
        }
        if let Some(file) = &candidate.source_rpm {
            let Some((name, _)) = source_name(file) else { return false };
            let blocked = self.options.koji.as_ref().is_some_and(|koji| koji.blocked.contains(&name));
            let another = self.sources.as_ref().is_some_and(|sources| sources.get(&name) != Some(file));
            if blocked || another {
                return false;
            }
        }
        self.seen.as_mut().is_none_or(|seen| seen.insert(candidate.nvra()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Koji;
    use super::*;

    fn candidate(name: &str, evr: &str, source: &str) -> Candidate {
        let evr = Evr::parse(evr);
        Candidate {
            id: format!("{name}{evr}{source}"),
            name: name.into(),
            arch: "noarch".into(),
            source_rpm: (!source.is_empty()).then(|| source.into()),
            href: format!("{name}.rpm"),
            mtime: 1,
            size: 1,
            evr,
        }
    }

    fn chosen(repositories: &[Vec<Candidate>], options: &MergeOptions) -> Vec<String> {
        let places = select(repositories, options).places;
        let mut found: Vec<String> = places
            .iter()
            .map(|place| format!("{}:{}", place.repository, repositories[place.repository][place.number].nvra()))
            .collect();
        found.sort();
        found
    }

    #[test]
    fn winners_by_method() {
        let mut later = candidate("a", "2-1", "a-2-1.src.rpm");
        later.mtime = 9;
        let repositories = [vec![candidate("a", "10-1", "a-10-1.src.rpm")], vec![later]];
        let by = |method, all| chosen(&repositories, &MergeOptions { method, all, ..MergeOptions::default() });
        assert_eq!(by(Method::Repo, false), ["0:a-10-1.noarch"]);
        assert_eq!(by(Method::Time, false), ["1:a-2-1.noarch"]);
        assert_eq!(by(Method::Version, false), ["0:a-10-1.noarch"]);
        assert_eq!(by(Method::Repo, true), ["0:a-10-1.noarch", "1:a-2-1.noarch"]);
        let arches = Some(vec!["x86_64".to_owned()]);
        assert!(chosen(&repositories, &MergeOptions { arches, ..MergeOptions::default() }).is_empty());
    }

    #[test]
    fn koji_takes_packages_of_one_source() {
        let repositories = [
            vec![candidate("a", "1-1", "s-1-1.src.rpm"), candidate("b", "2-1", "s-2-1.src.rpm")],
            vec![
                candidate("a", "9-1", "s-9-1.src.rpm"),
                candidate("c", "1-1", "t-1-1.src.rpm"),
                candidate("s", "1-1", ""),
            ],
        ];
        let koji = |simple, blocked: &[&str]| MergeOptions {
            koji: Some(Koji { simple, blocked: blocked.iter().map(|name| (*name).to_owned()).collect() }),
            ..MergeOptions::default()
        };
        assert_eq!(chosen(&repositories, &koji(false, &[])), ["0:b-2-1.noarch", "1:c-1-1.noarch", "1:s-1-1.noarch"]);
        assert_eq!(chosen(&repositories, &koji(false, &["t"])), ["0:b-2-1.noarch", "1:s-1-1.noarch"]);
        assert_eq!(chosen(&repositories, &koji(true, &["s"])), ["1:c-1-1.noarch", "1:s-1-1.noarch"]);
        assert_eq!(chosen(&repositories, &koji(true, &[])).len(), 5);
    }

    #[test]
    fn one_id_counts_once_or_not_at_all() {
        let a = candidate("a", "1-1", "");
        let other_size = Candidate { size: 7, ..a.clone() };
        assert_eq!(order(&[a.clone(), a.clone()]), [0]);
        assert!(order(&[a, other_size]).is_empty());
        assert_eq!(source_name("a-b-1.2-3.fc40.src.rpm").unwrap().0, "a-b");
        assert!(source_name("x.rpm").is_none());
    }
}
