//! State of one `deps` solve, and its fixpoint.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use fixedbitset::FixedBitSet;

use super::Error;
use super::best::Kind;
use super::multilib::{self, Multilib};
use super::queues::Queues;
use super::request::{Conditional, GatherRequest};
use super::result::{Cause, Flag, GatherResult, Rule, Selected, Unresolved};
use super::subpackages::Siblings;
use crate::Source;
use crate::pool::{Id, Pool, RequirementId, StringId};

/// How many packages are looked at between two questions whether to stop.
const CANCEL_INTERVAL: u32 = 256;

/// Why a package comes in.
#[derive(Clone, Debug)]
pub(super) struct Reason {
    pub(super) rule: Rule,
    pub(super) by: Option<Id>,
    pub(super) requirement: Option<RequirementId>,
    pub(super) pattern: Option<String>,
}

impl Reason {
    pub(super) fn of(rule: Rule, by: Id) -> Reason {
        Reason { rule, by: Some(by), requirement: None, pattern: None }
    }

    pub(super) fn required(rule: Rule, by: Id, requirement: RequirementId) -> Reason {
        Reason { rule, by: Some(by), requirement: Some(requirement), pattern: None }
    }
}

/// Packages that a step has looked at.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) conditional: FixedBitSet,
    pub(super) binary: FixedBitSet,
    pub(super) build_requires: FixedBitSet,
    pub(super) sources: FixedBitSet,
    pub(super) debug: FixedBitSet,
    pub(super) debug_requires: FixedBitSet,
    pub(super) fulltree: FixedBitSet,
    pub(super) langpack: FixedBitSet,
    pub(super) multilib: FixedBitSet,
}

pub(super) struct Solver<'a> {
    pub(super) request: &'a GatherRequest,
    pub(super) conditionals: Vec<Conditional>,
    fulltree_excludes: HashSet<&'a str>,
    pub(super) pool: Rc<Pool<'a>>,
    pub(super) has_lookaside: bool,
    pub(super) queues: Queues,
    pub(super) siblings: Siblings,
    pub(super) multilib: Multilib,
    pub(super) selected_binary: FixedBitSet,
    pub(super) selected_debug: FixedBitSet,
    pub(super) selected_source: FixedBitSet,
    pub(super) done: Done,
    /// The providers chosen for a requirement: the first choice stays.
    pub(super) chosen: Vec<Option<Rc<[Id]>>>,
    /// The source package chosen for a file name: the first choice stays.
    pub(super) source_of: HashMap<StringId, Id>,
    pub(super) unresolved: BTreeSet<(Id, RequirementId)>,
    pub(super) result: GatherResult,
    flags: Vec<u16>,
    reasons: HashMap<Id, Reason>,
    cancel: &'a dyn Fn() -> bool,
    looked_at: u32,
}

/// Chooses packages by the `deps` method.
pub(super) fn solve<'a>(
    request: &'a GatherRequest,
    sources: &'a [Source<'a>],
    cancel: &'a dyn Fn() -> bool,
) -> Result<GatherResult, Error> {
    if request.groups.is_empty() && request.packages.is_empty() && request.prepopulate.is_empty() {
        return Err(Error::NoInput);
    }
    let pool = Pool::new(sources);
    let queues = Queues::new(&pool, request);
    let set = || FixedBitSet::with_capacity(pool.len());
    let mut solver = Solver {
        request,
        conditionals: request.conditionals(),
        fulltree_excludes: request.fulltree_excludes.iter().map(String::as_str).collect(),
        has_lookaside: pool.has_lookaside(),
        siblings: Siblings::new(&pool, &queues),
        multilib: multilib::Multilib::new(request)?,
        selected_binary: set(),
        selected_debug: set(),
        selected_source: set(),
        done: Done {
            conditional: set(),
            binary: set(),
            build_requires: set(),
            sources: set(),
            debug: set(),
            debug_requires: set(),
            fulltree: set(),
            langpack: set(),
            multilib: set(),
        },
        chosen: vec![None; pool.requirement_count()],
        source_of: HashMap::new(),
        unresolved: BTreeSet::new(),
        result: GatherResult::default(),
        flags: vec![0; pool.len()],
        reasons: HashMap::new(),
        cancel,
        looked_at: 0,
        queues,
        pool: Rc::new(pool),
    };
    solver.add_inputs();
    solver.add_prepopulated()?;
    solver.run()?;
    Ok(solver.finish())
}

impl Solver<'_> {
    /// Repeats the steps; as soon as one adds something, starts again with the first.
    fn run(&mut self) -> Result<(), Error> {
        type Step<'a> = fn(&mut Solver<'a>) -> Result<bool, Error>;
        let steps: [Step<'_>; 9] = [
            Solver::add_conditionals,
            Solver::add_required,
            Solver::add_build_required,
            Solver::add_sources,
            Solver::add_debug,
            Solver::add_debug_required,
            Solver::add_fulltree,
            Solver::add_langpacks,
            Solver::add_multilib,
        ];
        loop {
            let mut added = false;
            for step in steps {
                added = step(self)?;
                if added {
                    break;
                }
            }
            if !added {
                return Ok(());
            }
        }
    }

    /// Counts a package that is looked at, and stops if the caller says so.
    pub(super) fn look(&mut self) -> Result<(), Error> {
        self.looked_at += 1;
        if self.looked_at.is_multiple_of(CANCEL_INTERVAL) && (self.cancel)() { Err(Error::Cancelled) } else { Ok(()) }
    }

    pub(super) fn flag(&mut self, id: Id, flag: Flag) {
        self.flags[id as usize] |= flag.bit();
    }

    /// Selects a binary or debug package; returns whether it was not selected before.
    pub(super) fn add(&mut self, id: Id, kind: Kind, reason: Reason) -> bool {
        let selected = match kind {
            Kind::Binary => &mut self.selected_binary,
            Kind::Debug => &mut self.selected_debug,
        };
        if selected.put(id as usize) {
            return false;
        }
        self.because(id, reason);
        if self.pool.entry(id).lookaside {
            self.flag(id, Flag::Lookaside);
        }
        if self.is_fulltree_exclude(id) {
            self.flag(id, Flag::FulltreeExclude);
        }
        true
    }

    /// Remembers the first reason.
    pub(super) fn because(&mut self, id: Id, reason: Reason) {
        self.reasons.entry(id).or_insert(reason);
    }

    pub(super) fn is_fulltree_exclude(&self, id: Id) -> bool {
        let Some(source_rpm) = self.pool.entry(id).source_rpm else { return false };
        let name = super::subpackages::source_name(self.pool.string(source_rpm));
        self.fulltree_excludes.contains(name)
    }

    fn finish(mut self) -> GatherResult {
        let selected = |set: &FixedBitSet| -> Vec<Selected> { set.ones().map(|id| self.selected(id as Id)).collect() };
        let (binary, debug, source) =
            (selected(&self.selected_binary), selected(&self.selected_debug), selected(&self.selected_source));
        let mut unresolved: Vec<Unresolved> = self
            .unresolved
            .iter()
            .map(|(id, requirement)| Unresolved {
                nevra: self.pool.nevra(*id),
                requirement: self.pool.dependency(*requirement).to_string(),
                package: self.pool.entry(*id).package,
            })
            .collect();
        unresolved.sort();
        self.result.unmatched.sort();
        GatherResult { binary, debug, source, unresolved, ..self.result }
    }

    fn selected(&self, id: Id) -> Selected {
        let reason = self.reasons.get(&id);
        let requirement = reason.and_then(|reason| match reason.requirement {
            Some(requirement) => Some(self.pool.dependency(requirement).to_string()),
            None => reason.pattern.clone(),
        });
        Selected {
            package: self.pool.entry(id).package,
            flags: Flag::set(self.flags[id as usize]),
            cause: Cause {
                rule: reason.map_or(Rule::Input, |reason| reason.rule),
                by: reason.and_then(|reason| reason.by).map(|by| self.pool.entry(by).package),
                requirement,
            },
        }
    }
}

/// Returns the members of `selected` that are not in `done`, in order.
pub(super) fn pending(selected: &FixedBitSet, done: &FixedBitSet) -> Vec<Id> {
    selected.difference(done).map(|id| id as Id).collect()
}
