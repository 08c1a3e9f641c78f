//! `trim`: divides the results of a top-level variant and its nested variants, for one arch.

use std::collections::BTreeMap;

use tutti_depsolve::trim::{self, Entry, Packages, Variant, VariantKind};
use tutti_job::{
    PackageEntry, PackageList,
    params::{TrimParams, TrimVariant},
};

use super::{
    place,
    result::{Chosen, SolveResult},
};
use crate::{FailureClass, JobContext, OrFail as _, Output, RunnerError, log};

/// Runs the job.
///
/// # Errors
/// Class tool when results do not belong to the package sets.
pub(super) fn run(context: &JobContext) -> Result<Vec<Output>, RunnerError> {
    let params: TrimParams = context.params()?;
    let mut sets: BTreeMap<u32, Vec<PackageEntry>> = BTreeMap::new();
    for (number, name) in place::numbered(&context.spec, "set/")? {
        sets.insert(number, place::list(context, &name)?);
    }
    let mut variants = Vec::new();
    for variant in &params.variants {
        variants.push(load(context, variant)?);
    }
    trim::trim(&mut variants).or_fail(FailureClass::Tool, || "the variants do not belong together")?;
    let mut outputs = Vec::new();
    for (done, mut variant) in variants.into_iter().enumerate() {
        context.cancel.check()?;
        context.progress.set("trim", done as u64 + 1, params.variants.len() as u64);
        variant.packages.retain_delivered();
        let Packages { binary, source, debug } = variant.packages;
        log!(
            context,
            "{}: {} binary, {} debug and {} source packages",
            variant.uid,
            binary.len(),
            debug.len(),
            source.len()
        );
        for (what, entries) in [("binary", binary), ("debug", debug), ("source", source)] {
            let list = PackageList::new(entries_of(&sets, entries)?);
            let (bytes, _) = list.encode_canonical();
            outputs.push(context.write_file(&format!("{what}/{}", variant.uid), &bytes)?);
        }
    }
    Ok(outputs)
}

fn load(context: &JobContext, variant: &TrimVariant) -> Result<Variant<Chosen>, RunnerError> {
    let result = SolveResult::load(context, &format!("solve/{}", variant.uid))?;
    let entries = |chosen: Vec<Chosen>| {
        let entry = |chosen: Chosen| Entry {
            name: chosen.name.clone(),
            arch: chosen.arch.clone(),
            flags: chosen.flags.clone(),
            value: chosen,
        };
        chosen.into_iter().map(entry).collect()
    };
    Ok(Variant {
        uid: variant.uid.clone(),
        kind: kind(variant)?,
        parent: Some(variant.parent.clone()).filter(|parent| !parent.is_empty()),
        packages: Packages {
            binary: entries(result.binary),
            source: entries(result.source),
            debug: entries(result.debug),
        },
    })
}

/// A nested variant whose parent has nothing on this arch is trimmed against nothing.
fn kind(variant: &TrimVariant) -> Result<VariantKind, RunnerError> {
    if variant.parent.is_empty() {
        return Ok(VariantKind::Variant);
    }
    match variant.kind.as_str() {
        "addon" => Ok(VariantKind::Addon),
        "layered-product" => Ok(VariantKind::LayeredProduct),
        "optional" => Ok(VariantKind::Optional),
        kind => Err(RunnerError::tool(format!("variant {} has a parent and the type {kind:?}", variant.uid))),
    }
}

/// Entries of the package sets for what was kept, once each, with the flags of all that kept them.
fn entries_of(
    sets: &BTreeMap<u32, Vec<PackageEntry>>,
    kept: Vec<Entry<Chosen>>,
) -> Result<Vec<PackageEntry>, RunnerError> {
    let mut found: BTreeMap<(u32, u32), PackageEntry> = BTreeMap::new();
    for Entry { value: chosen, flags, .. } in kept {
        // Packages of lookaside sources are flagged so and are gone by now.
        let Some(index) = chosen.index else { continue };
        let entry = sets.get(&chosen.source).and_then(|set| set.get(index as usize));
        let entry = entry.filter(|entry| entry.name == chosen.name && entry.arch == chosen.arch).ok_or_else(|| {
            RunnerError::tool(format!(
                "package {}.{} of the result is not in set {}",
                chosen.name, chosen.arch, chosen.source
            ))
        })?;
        let entry = found.entry((chosen.source, index)).or_insert_with(|| entry.clone());
        entry.source = chosen.source;
        entry.flags.extend(flags.iter().map(|flag| flag.name().to_owned()));
        entry.flags.sort_unstable();
        entry.flags.dedup();
    }
    Ok(found.into_values().collect())
}
