//! Values that depend on variant and architecture.
//!
//! Lookup follows Pungi 4.3.2 `util.py` (`get_arch_variant_data`, `get_arch_data`, `get_variant_data`): every matching entry counts, in the order
//! in which the configuration lists them, and `*` stands for every architecture but `src`.

use serde::{Deserialize, Serialize};

use super::pattern::Pattern;

/// Values by architecture; `*` stands for all but `src`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ArchMap<T> {
    /// Architecture or `*`, and its values, in order.
    pub entries: Vec<(String, Vec<T>)>,
}

/// Values by variant and architecture ("variant/arch mapping").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VariantArchMap<T> {
    /// Expression for variant uids and its values by architecture, in order.
    pub entries: Vec<(Pattern, ArchMap<T>)>,
}

/// Values by variant ("variant mapping").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VariantMap<T> {
    /// Expression for variant uids and its values, in order.
    pub entries: Vec<(Pattern, Vec<T>)>,
}

fn arch_matches(entry: &str, arch: &str) -> bool {
    entry == arch || (entry == "*" && arch != "src")
}

impl<T> ArchMap<T> {
    /// Returns the values for one architecture, those of `*` included.
    pub fn iter<'a, 'b>(&'a self, arch: &'b str) -> impl Iterator<Item = &'a T> + use<'a, 'b, T> {
        self.entries.iter().filter(move |(entry, _)| arch_matches(entry, arch)).flat_map(|(_, values)| values)
    }

    /// Tells whether there is no entry at all.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl<T: Clone> ArchMap<T> {
    /// Returns the values for one architecture, those of `*` included.
    pub fn lists(&self, arch: &str) -> Vec<T> {
        self.iter(arch).cloned().collect()
    }
}

impl<T> VariantArchMap<T> {
    /// Returns all values for a variant on an architecture, in order.
    pub fn iter<'a, 'b>(&'a self, variant: &'b str, arch: &'b str) -> impl Iterator<Item = &'a T> + use<'a, 'b, T> {
        self.entries
            .iter()
            .filter(move |(pattern, _)| pattern.matches(variant))
            .flat_map(move |(_, arches)| arches.iter(arch))
    }

    /// Returns the values for an architecture in whichever variant, in order.
    pub fn any_variant<'a, 'b>(&'a self, arch: &'b str) -> impl Iterator<Item = &'a T> + use<'a, 'b, T> {
        self.entries.iter().flat_map(move |(_, arches)| arches.iter(arch))
    }

    /// Returns the last value for a variant on an architecture.
    pub fn last(&self, variant: &str, arch: &str) -> Option<&T> {
        self.iter(variant, arch).last()
    }

    /// Tells whether there is no entry at all.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl<T: Clone> VariantArchMap<T> {
    /// Returns all values for a variant on an architecture, in order.
    pub fn lists(&self, variant: &str, arch: &str) -> Vec<T> {
        self.iter(variant, arch).cloned().collect()
    }
}

impl<T> VariantMap<T> {
    /// Returns all values for a variant, in order.
    pub fn iter<'a, 'b>(&'a self, variant: &'b str) -> impl Iterator<Item = &'a T> + use<'a, 'b, T> {
        self.entries.iter().filter(move |(pattern, _)| pattern.matches(variant)).flat_map(|(_, values)| values)
    }

    /// Returns the last value for a variant.
    pub fn last(&self, variant: &str) -> Option<&T> {
        self.iter(variant).last()
    }
}

impl<T> Default for ArchMap<T> {
    fn default() -> Self {
        Self { entries: Vec::new() }
    }
}

impl<T> Default for VariantArchMap<T> {
    fn default() -> Self {
        Self { entries: Vec::new() }
    }
}

impl<T> Default for VariantMap<T> {
    fn default() -> Self {
        Self { entries: Vec::new() }
    }
}
