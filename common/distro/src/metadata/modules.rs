//! modules.json: every module of a compose by variant and architecture (productmd 1.x `modules.py`).

use std::collections::BTreeMap;
use std::io;

use serde::Serialize;

use super::{Category, Compose, Error, check_arch, check_path, write_document};
use crate::variants::VariantUid;

const FILE: &str = "modules.json";

/// One module to be listed.
#[derive(Clone, Copy, Debug)]
pub struct Module<'a> {
    /// Name.
    pub name: &'a str,
    /// Stream.
    pub stream: &'a str,
    /// Version; empty if unknown.
    pub version: &'a str,
    /// Context; empty if unknown.
    pub context: &'a str,
    /// Koji tag that it came from.
    pub koji_tag: &'a str,
    /// Path of its metadata relative to `compose/`.
    pub modulemd_path: &'a str,
    /// Repository that the metadata is of.
    pub category: Category,
    /// NEVRAs of its packages.
    pub rpms: &'a [String],
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Metadata {
    context: String,
    koji_tag: String,
    name: String,
    stream: String,
    uid: String,
    version: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Entry {
    metadata: Metadata,
    modulemd_path: BTreeMap<Category, String>,
    rpms: Vec<String>,
}

type ByArch = BTreeMap<String, BTreeMap<String, Entry>>;

/// Content of modules.json.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Modules {
    modules: BTreeMap<String, ByArch>,
}

impl Modules {
    /// Lists a module under a variant and architecture; a second category adds to the first.
    ///
    /// # Errors
    /// If productmd would refuse the entry.
    pub fn add(&mut self, variant: &VariantUid, arch: &str, module: Module<'_>) -> Result<(), Error> {
        check_arch(FILE, arch)?;
        check_path(FILE, module.modulemd_path)?;
        let uid = uid(&module)?;
        if module.koji_tag.is_empty() {
            return Err(Error::new(FILE, "module", uid, "has no Koji tag"));
        }
        let metadata = Metadata {
            context: module.context.to_owned(),
            koji_tag: module.koji_tag.to_owned(),
            name: module.name.to_owned(),
            stream: module.stream.to_owned(),
            uid: uid.clone(),
            version: module.version.to_owned(),
        };
        let arches = self.modules.entry(variant.to_string()).or_default();
        let entry = arches.entry(arch.to_owned()).or_default().entry(uid).or_insert_with(|| Entry {
            metadata: metadata.clone(),
            modulemd_path: BTreeMap::new(),
            rpms: Vec::new(),
        });
        entry.metadata = metadata;
        entry.modulemd_path.insert(module.category, module.modulemd_path.to_owned());
        entry.rpms.extend_from_slice(module.rpms);
        entry.rpms.sort_unstable();
        entry.rpms.dedup();
        Ok(())
    }

    /// Writes modules.json, also if there is no module.
    ///
    /// # Errors
    /// If writing fails.
    pub fn write(&self, out: impl io::Write, compose: &Compose) -> io::Result<()> {
        #[derive(Serialize)]
        struct Payload<'a> {
            compose: super::ComposeSection<'a>,
            modules: &'a BTreeMap<String, ByArch>,
        }
        let payload = Payload { compose: compose.section(), modules: &self.modules };
        write_document(out, "productmd.modules", payload)
    }
}

/// `NAME:STREAM[:VERSION[:CONTEXT]]`.
fn uid(module: &Module<'_>) -> Result<String, Error> {
    let mut uid = format!("{}:{}", module.name, module.stream);
    for part in [module.version, module.context] {
        if !part.is_empty() {
            uid.push(':');
            uid.push_str(part);
        }
    }
    let parts = [module.name, module.stream, module.version, module.context];
    if module.name.is_empty() || module.stream.is_empty() {
        return Err(Error::new(FILE, "module", uid, "has no name or no stream"));
    }
    if module.version.is_empty() && !module.context.is_empty() {
        return Err(Error::new(FILE, "module", uid, "has a context but no version"));
    }
    if parts.iter().any(|part| part.contains([':', '/', '\n'])) {
        return Err(Error::new(FILE, "module", uid, "has a colon, slash or newline inside a part"));
    }
    Ok(uid)
}
