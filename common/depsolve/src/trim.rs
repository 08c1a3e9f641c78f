//! What nested variants keep of their own gather results (Pungi 4.3.2, `phases/gather/__init__.py`, `trim_packages`).
//!
//! Works on one architecture of one top-level variant and all variants nested in it, after all of them were gathered.
//! Packages are compared by name and architecture. Nothing checks what trimming leaves behind: debuginfo and source
//! packages of a package that was dropped stay, as they do in Pungi.

use std::collections::{BTreeSet, HashSet};

use serde::{Deserialize, Serialize};

use crate::gather::Flag;

/// Type of a variant, in the order in which variants are trimmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VariantKind {
    /// Top-level variant: not trimmed, but may receive packages.
    Variant,
    /// Addon.
    Addon,
    /// Layered product.
    LayeredProduct,
    /// Optional.
    Optional,
}

/// One package of a result, and the caller's value for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<T> {
    /// Name.
    pub name: String,
    /// Architecture; `src` or `nosrc` for source packages.
    pub arch: String,
    /// Flags from the gather.
    pub flags: BTreeSet<Flag>,
    /// Whatever tells the caller which package it is. Two entries with equal values are one package.
    pub value: T,
}

/// Packages of one variant by type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packages<T> {
    /// Binary packages.
    pub binary: Vec<Entry<T>>,
    /// Source packages.
    pub source: Vec<Entry<T>>,
    /// Debug packages.
    pub debug: Vec<Entry<T>>,
}

impl<T> Packages<T> {
    fn lists(&mut self) -> [&mut Vec<Entry<T>>; 3] {
        [&mut self.binary, &mut self.source, &mut self.debug]
    }

    /// Drops what is not delivered: packages flagged `lookaside`, of all three types.
    pub fn retain_delivered(&mut self) {
        for list in self.lists() {
            list.retain(|entry| !entry.flags.contains(&Flag::Lookaside));
        }
    }
}

/// A variant and its packages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant<T> {
    /// Unique id (`Server-optional`).
    pub uid: String,
    /// Type.
    pub kind: VariantKind,
    /// Uid of the direct parent; `None` for the top-level variant.
    pub parent: Option<String>,
    /// Packages.
    pub packages: Packages<T>,
}

/// Why variants cannot be trimmed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A nested variant whose parent is not among the variants.
    #[error("variant {uid} has no parent among the variants to trim (parent: {parent:?})")]
    Parent {
        /// The variant.
        uid: String,
        /// The parent it names.
        parent: Option<String>,
    },
}

type Names = [HashSet<String>; 3];

/// Trims all nested variants, in place: addons first, then layered products, then optional variants, each kind in the
/// order given. Lookaside packages take part like others and stay; drop them with [`Packages::retain_delivered`] before
/// packages are placed.
///
/// # Errors
/// A nested variant without its parent.
pub fn trim<T: Clone + PartialEq>(variants: &mut [Variant<T>]) -> Result<(), Error> {
    let mut addons = Names::default();
    let mut remove = Names::default();
    for kind in [VariantKind::Addon, VariantKind::LayeredProduct, VariantKind::Optional] {
        if kind == VariantKind::LayeredProduct {
            remove.clone_from(&addons);
        }
        let mut kept = Names::default();
        for at in (0..variants.len()).filter(|at| variants[*at].kind == kind).collect::<Vec<_>>() {
            let parent = parent_of(variants, at)?;
            trim_one(variants, at, parent, &remove, &mut kept);
        }
        let all = if kind == VariantKind::Addon { &mut addons } else { &mut remove };
        for (all, kept) in all.iter_mut().zip(kept) {
            all.extend(kept);
        }
    }
    Ok(())
}

fn parent_of<T>(variants: &[Variant<T>], at: usize) -> Result<usize, Error> {
    let Variant { uid, parent, .. } = &variants[at];
    let found = parent.as_ref().and_then(|parent| variants.iter().position(|variant| variant.uid == *parent));
    found.filter(|found| *found != at).ok_or_else(|| Error::Parent { uid: uid.clone(), parent: parent.clone() })
}

fn trim_one<T: Clone + PartialEq>(
    variants: &mut [Variant<T>],
    at: usize,
    parent: usize,
    remove: &Names,
    kept_names: &mut Names,
) {
    let kind = variants[at].kind;
    let mut own = std::mem::replace(
        &mut variants[at].packages,
        Packages { binary: Vec::new(), source: Vec::new(), debug: Vec::new() },
    );
    let parent = variants[parent].packages.lists();
    for (index, ((own, parent), names)) in own.lists().into_iter().zip(parent).zip(kept_names).enumerate() {
        // Layered products keep source and debug packages even of addon packages: their users need not have the addon.
        let keeps_removed = kind == VariantKind::LayeredProduct && index != 0;
        let in_parent: HashSet<(String, String)> =
            parent.iter().map(|entry| (entry.name.clone(), entry.arch.clone())).collect();
        let mut kept = Vec::new();
        for entry in own.drain(..) {
            if remove[index].contains(&entry.name) {
                if keeps_removed {
                    kept.push(entry);
                }
            } else if in_parent.contains(&(entry.name.clone(), entry.arch.clone())) {
                // The parent has it.
            } else if kind != VariantKind::Optional
                && entry.flags.contains(&Flag::FulltreeExclude)
                && !entry.flags.contains(&Flag::Input)
            {
                // Nobody asked for it here, and its source package is the parent's.
                if !parent.contains(&entry) {
                    parent.push(entry);
                }
            } else {
                names.insert(entry.name.clone());
                kept.push(entry);
            }
        }
        *own = kept;
    }
    variants[at].packages = own;
}

#[cfg(test)]
mod tests;
