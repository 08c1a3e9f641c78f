//! rpms.json: every RPM of a compose by variant, architecture and source (productmd 1.x `rpms.py`).

use std::collections::BTreeMap;
use std::io;

use serde::{Deserialize, Serialize};
use tutti_rpm::Nevra;

use super::{Compose, Error, check_arch, check_path, write_document};
use crate::variants::VariantUid;

const FILE: &str = "rpms.json";

/// What an RPM is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Category {
    /// To be installed.
    Binary,
    /// Debug information.
    Debug,
    /// Source.
    Source,
}

/// One RPM to be listed.
#[derive(Clone, Copy, Debug)]
pub struct Rpm<'a> {
    /// Identity.
    pub nevra: &'a Nevra,
    /// Source package of a binary or debug RPM; none for a source RPM.
    pub source: Option<&'a Nevra>,
    /// Path relative to `compose/`.
    pub path: &'a str,
    /// Id of the signing key, any case; none if unsigned.
    pub sigkey: Option<&'a str>,
    /// What it is for.
    pub category: Category,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Entry {
    category: Category,
    path: String,
    sigkey: Option<String>,
}

type BySource = BTreeMap<String, BTreeMap<String, Entry>>;

/// Content of rpms.json.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rpms {
    rpms: BTreeMap<String, BTreeMap<String, BySource>>,
}

/// Returns `NAME-EPOCH:VERSION-RELEASE.ARCH`; the epoch is always there.
pub fn nevra_text(nevra: &Nevra) -> String {
    let evr = &nevra.evr;
    format!("{}-{}:{}-{}.{}", nevra.name, evr.epoch.unwrap_or(0), evr.version, evr.release, nevra.arch)
}

impl Rpms {
    /// Lists an RPM under a variant and binary architecture. Sources are listed under each of them that they have
    /// packages in. An RPM listed twice is there once; the later entry counts.
    ///
    /// # Errors
    /// If productmd would refuse the entry: unknown architecture, absolute path, source without or with a source,
    /// category that contradicts the architecture.
    pub fn add(&mut self, variant: &VariantUid, arch: &str, rpm: Rpm<'_>) -> Result<(), Error> {
        check_arch(FILE, arch)?;
        check_path(FILE, rpm.path)?;
        let nevra = nevra_text(rpm.nevra);
        let is_source = matches!(rpm.nevra.arch.as_str(), "src" | "nosrc");
        if is_source != (rpm.category == Category::Source) {
            return Err(Error::new(FILE, "package", nevra, "has a category that contradicts its architecture"));
        }
        let source = match (rpm.source, is_source) {
            (None, true) => nevra.clone(),
            (Some(source), false) => nevra_text(source),
            (None, false) => return Err(Error::new(FILE, "package", nevra, "names no source package")),
            (Some(_), true) => return Err(Error::new(FILE, "source package", nevra, "names a source package")),
        };
        let entry =
            Entry { category: rpm.category, path: rpm.path.to_owned(), sigkey: rpm.sigkey.map(str::to_lowercase) };
        let arches = self.rpms.entry(variant.to_string()).or_default();
        let sources = arches.entry(arch.to_owned()).or_default();
        sources.entry(source).or_default().insert(nevra, entry);
        Ok(())
    }

    /// Writes rpms.json.
    ///
    /// # Errors
    /// If writing fails.
    pub fn write(&self, out: impl io::Write, compose: &Compose) -> io::Result<()> {
        #[derive(Serialize)]
        struct Payload<'a> {
            compose: super::ComposeSection<'a>,
            rpms: &'a BTreeMap<String, BTreeMap<String, BySource>>,
        }
        let payload = Payload { compose: compose.section(), rpms: &self.rpms };
        write_document(out, "productmd.rpms", payload)
    }
}
