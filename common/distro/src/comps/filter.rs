//! The comps of one variant and architecture (pungi 4.3.2 `phases/init.py`, `comps_filter`, `wrappers/comps.py`).
//!
//! The steps run in Pungi's order: drop what the `arch` and `variant` attributes exclude, clean up what became empty or
//! undefined, then select the groups and environments of the variant. There is no second clean-up: an environment of one
//! variant may name groups that another repository defines.

use std::collections::BTreeSet;

use super::{Comps, Environment, Group, GroupId, Warning};
use crate::glob;
use crate::variants::{GroupSelection, Variant};

/// What else decides which comps a variant gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterOptions {
    /// `comps_filter_environments`: keep only environments that the variant lists.
    pub filter_environments: bool,
    /// Groups that another repository defines: those of the parent variant and of `variant_as_lookaside` variants.
    pub lookaside_groups: BTreeSet<String>,
    /// Shell patterns of further group ids that stay although empty.
    pub keep_empty: Vec<String>,
}

impl Comps {
    /// Makes the comps of `variant` for `arch`.
    ///
    /// The result has no [`super::Scope`] left. The warnings name groups that the variant lists and comps lacks.
    pub fn filter(&self, arch: &str, variant: &Variant, options: &FilterOptions) -> (Self, Vec<Warning>) {
        let mut comps = self.in_scope(arch, Some(variant.uid.as_str()));
        let mut keep_empty = vec!["conflicts".to_owned(), format!("conflicts-{}", variant.uid.to_ascii_lowercase())];
        keep_empty.extend(options.keep_empty.iter().cloned());
        comps.clean_up(&keep_empty, &options.lookaside_groups);
        let mut warnings = Vec::new();
        if let GroupSelection::Listed(_) = variant.group_selection() {
            warnings = comps.select_groups(arch, variant);
        }
        let lists_any = !variant.groups.is_empty() || !variant.environments.is_empty();
        if options.filter_environments && lists_any {
            comps.select_environments(variant);
        }
        (comps, warnings)
    }

    /// Makes the comps of one architecture for all variants: what is limited to other architectures is dropped.
    pub fn filter_arch(&self, arch: &str) -> Self {
        self.in_scope(arch, None)
    }

    fn in_scope(&self, arch: &str, variant: Option<&str>) -> Self {
        let ids = |list: &[GroupId]| -> Vec<GroupId> {
            let kept = list.iter().filter(|group| group.scope.admits(arch, variant));
            let mut ids: Vec<GroupId> = Vec::new();
            let mut seen = BTreeSet::new();
            for group in kept {
                if seen.insert(group.id.as_str()) {
                    let mut group = group.clone();
                    reduce(&mut group.scope, variant);
                    ids.push(group);
                }
            }
            ids
        };
        let mut comps = self.clone();
        comps.groups.retain(|group| group.scope.admits(arch, variant));
        for group in &mut comps.groups {
            reduce(&mut group.scope, variant);
            group.packages.retain(|package| package.scope.admits(arch, variant));
            for package in &mut group.packages {
                reduce(&mut package.scope, variant);
            }
        }
        comps.environments.retain(|environment| environment.scope.admits(arch, variant));
        for environment in &mut comps.environments {
            reduce(&mut environment.scope, variant);
            environment.groups = ids(&environment.groups);
            environment.options = ids(&environment.options);
        }
        for category in &mut comps.categories {
            category.groups = ids(&category.groups);
        }
        comps
    }

    /// Drops empty groups, undefined groups of categories and environments, and what is empty after that.
    fn clean_up(&mut self, keep_empty: &[String], lookaside: &BTreeSet<String>) {
        self.groups.retain(|group| {
            !group.packages.is_empty() || keep_empty.iter().any(|pattern| glob::matches(pattern, &group.id))
        });
        let defined: BTreeSet<&str> = self.groups.iter().map(|group| group.id.as_str()).collect();
        for category in &mut self.categories {
            category.groups.retain(|group| defined.contains(group.id.as_str()));
        }
        self.categories.retain(|category| !category.groups.is_empty());
        let known = |group: &GroupId| defined.contains(group.id.as_str()) || lookaside.contains(&group.id);
        for environment in &mut self.environments {
            environment.groups.retain(known);
            environment.options.retain(known);
        }
        self.environments.retain(|environment| !environment.groups.is_empty());
    }

    fn select_groups(&mut self, arch: &str, variant: &Variant) -> Vec<Warning> {
        let mut matched = vec![false; variant.groups.len()];
        self.groups.retain_mut(|group| select_group(group, variant, &mut matched));
        let unmatched = variant.groups.iter().zip(matched).filter(|(_, matched)| !matched);
        unmatched
            .map(|(group, _)| Warning {
                message: format!(
                    "variant '{}' on {arch} lists group '{}', which no group of comps matches",
                    variant.uid, group.name
                ),
            })
            .collect()
    }

    fn select_environments(&mut self, variant: &Variant) {
        self.environments.retain_mut(|environment: &mut Environment| {
            let Some(entry) = variant.environments.iter().find(|entry| entry.name == environment.id) else {
                return false;
            };
            environment.display_order = entry.display_order;
            true
        });
    }
}

/// Keeps a group that an entry of the variant matches; the first one overrides the group's switches.
fn select_group(group: &mut Group, variant: &Variant, matched: &mut [bool]) -> bool {
    let mut kept = false;
    for (entry, matched) in variant.groups.iter().zip(matched) {
        if !entry.matches(&group.id) {
            continue;
        }
        *matched = true;
        if !kept {
            group.default = entry.default.unwrap_or(group.default);
            group.user_visible = entry.user_visible.unwrap_or(group.user_visible);
        }
        kept = true;
    }
    kept
}

/// Forgets the limits that were applied.
fn reduce(scope: &mut super::Scope, variant: Option<&str>) {
    scope.arches.clear();
    if variant.is_some() {
        scope.variants.clear();
    }
}
