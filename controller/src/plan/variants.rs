//! A checked view of the spec's variants and sources.

use std::collections::BTreeMap;

use super::PlanError;
use crate::spec::{ComposeSpec, PackageSource, SPEC_FORMAT, VariantArch, VariantSpec};

/// The spec with its variants by uid; every reference in it was checked.
pub(super) struct View<'a> {
    pub(super) spec: &'a ComposeSpec,
    by_uid: BTreeMap<&'a str, &'a VariantSpec>,
}

impl<'a> View<'a> {
    pub(super) fn new(spec: &'a ComposeSpec) -> Result<Self, PlanError> {
        if spec.format != SPEC_FORMAT {
            return Err(PlanError::Format { found: spec.format, known: SPEC_FORMAT });
        }
        let mut by_uid = BTreeMap::new();
        for variant in &spec.variants {
            check_name(&variant.uid)?;
            check_name(&variant.id)?;
            if by_uid.insert(variant.uid.as_str(), variant).is_some() {
                return Err(PlanError::Duplicate(variant.uid.clone()));
            }
        }
        let view = Self { spec, by_uid };
        view.check_sources()?;
        for variant in &spec.variants {
            view.check_variant(variant)?;
        }
        for (user, lookaside) in &spec.variant_lookasides {
            for uid in [user, lookaside] {
                let what = || format!("variant {uid:?}");
                view.get(uid).ok_or_else(|| PlanError::Unknown { who: "variant_as_lookaside".into(), what: what() })?;
            }
        }
        Ok(view)
    }

    fn check_sources(&self) -> Result<(), PlanError> {
        for (index, source) in self.spec.sources.iter().enumerate() {
            check_name(&source.name)?;
            source.arches.keys().try_for_each(|arch| check_arch(arch))?;
            if self.spec.sources[..index].iter().any(|other| other.name == source.name) {
                return Err(PlanError::Duplicate(source.name.clone()));
            }
        }
        Ok(())
    }

    fn check_variant(&self, variant: &VariantSpec) -> Result<(), PlanError> {
        let unknown = |what: String| PlanError::Unknown { who: format!("variant {}", variant.uid), what };
        if let Some(parent) = &variant.parent {
            let parent = self.get(parent).ok_or_else(|| unknown(format!("parent {parent:?}")))?;
            // Only variants of type variant have children (pungi 4.3.2, variants.xml), so nesting is one level deep.
            if parent.parent.is_some() {
                return Err(unknown(format!("top-level parent ({} is nested itself)", parent.uid)));
            }
        }
        if variant.arches.is_empty() && !variant.is_empty {
            return Err(PlanError::NoArches(variant.uid.clone()));
        }
        for (arch, data) in &variant.arches {
            check_arch(arch)?;
            if !variant.is_empty && self.own_sources(arch).next().is_none() {
                return Err(PlanError::NoSource { variant: variant.uid.clone(), arch: arch.clone() });
            }
            for &index in &data.lookaside_sources {
                let found = self.spec.sources.get(index as usize).filter(|source| source.lookaside);
                found.ok_or_else(|| unknown(format!("lookaside source number {index}")))?;
            }
        }
        Ok(())
    }

    pub(super) fn get(&self, uid: &str) -> Option<&'a VariantSpec> {
        self.by_uid.get(uid).copied()
    }

    /// Variants that have packages, in the spec's order.
    pub(super) fn composed(&self) -> impl Iterator<Item = &'a VariantSpec> {
        self.spec.variants.iter().filter(|variant| !variant.is_empty)
    }

    /// Sources composed from that have the arch, with their index.
    pub(super) fn own_sources(&self, arch: &str) -> impl Iterator<Item = (usize, &'a PackageSource)> {
        self.spec
            .sources
            .iter()
            .enumerate()
            .filter(move |(_, source)| !source.lookaside && source.arches.contains_key(arch))
    }

    /// External lookasides of one variant and arch that have the arch, with their index.
    pub(super) fn lookaside_sources(&self, data: &VariantArch, arch: &str) -> Vec<(usize, &'a PackageSource)> {
        let mut indexes: Vec<usize> = data.lookaside_sources.iter().map(|&index| index as usize).collect();
        indexes.sort_unstable();
        indexes.dedup();
        let sources = indexes.into_iter().filter_map(|index| Some((index, self.spec.sources.get(index)?)));
        sources.filter(|(_, source)| source.arches.contains_key(arch)).collect()
    }

    /// The parent, if packages are gathered for it on that arch.
    pub(super) fn parent(&self, variant: &VariantSpec, arch: &str) -> Option<&'a VariantSpec> {
        let parent = self.get(variant.parent.as_deref()?)?;
        (!parent.is_empty && parent.arches.contains_key(arch)).then_some(parent)
    }

    /// Uid of the top-level variant that trims this one.
    pub(super) fn root<'v>(&self, variant: &'v VariantSpec) -> &'v str {
        variant.parent.as_deref().unwrap_or(&variant.uid)
    }

    /// What one `trim` job covers: the top-level variant, then its nested variants, as far as they have that arch.
    pub(super) fn family(&self, root: &str, arch: &str) -> Vec<&'a VariantSpec> {
        let member = |variant: &&VariantSpec| variant.arches.contains_key(arch) && self.root(variant) == root;
        let mut family: Vec<_> = self.composed().filter(member).collect();
        family.sort_by_key(|variant| variant.parent.is_some());
        family
    }

    /// Addons of that variant on that arch (`src`: on any).
    pub(super) fn addons(&self, variant: &VariantSpec, arch: &str) -> Vec<&'a VariantSpec> {
        let has = |addon: &VariantSpec| arch == "src" || addon.arches.contains_key(arch);
        let is_addon = |addon: &&VariantSpec| addon.kind == "addon" && addon.parent.as_deref() == Some(&variant.uid);
        self.composed().filter(is_addon).filter(|addon| has(addon)).collect()
    }

    /// Variants that this one leans on by `variant_as_lookaside`, in order.
    pub(super) fn lookasides(&self, uid: &str) -> Vec<&'a VariantSpec> {
        let mut list: Vec<&VariantSpec> = Vec::new();
        for (user, lookaside) in &self.spec.variant_lookasides {
            let Some(lookaside) = self.get(lookaside) else { continue };
            if user == uid && !lookaside.is_empty && !list.iter().any(|known| known.uid == lookaside.uid) {
                list.push(lookaside);
            }
        }
        list
    }

    /// Whether one of `deliverables` of the variant may fail on that arch; for `src`: on all its arches.
    pub(super) fn failable(&self, variant: &VariantSpec, arch: &str, deliverables: &[&str]) -> bool {
        let listed =
            |data: &VariantArch| data.failable.iter().any(|name| name == "*" || deliverables.contains(&name.as_str()));
        match arch {
            "src" => !variant.arches.is_empty() && variant.arches.values().all(listed),
            _ => variant.arches.get(arch).is_some_and(listed),
        }
    }
}

/// Refuses what cannot be one part of a job name and of a path.
fn check_name(text: &str) -> Result<(), PlanError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '+');
    if text.is_empty() || text.len() > 100 || text.starts_with('-') || !text.chars().all(fits) {
        return Err(PlanError::Name(text.chars().take(100).collect()));
    }
    Ok(())
}

/// Sources have a tree of their own, which no arch may take.
fn check_arch(arch: &str) -> Result<(), PlanError> {
    check_name(arch)?;
    if matches!(arch, "src" | "nosrc" | "source") { Err(PlanError::Name(arch.to_owned())) } else { Ok(()) }
}
