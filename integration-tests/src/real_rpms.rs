//! A distribution of real RPMs, from the shared set (`TUTTI_SHARED/rpms`): the readable ones with good digests.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::scratch::{read, write};

/// Architectures that an x86_64 tree may hold.
const ARCHES: [&str; 6] = ["x86_64", "noarch", "i686", "i586", "i386", "src"];

/// One line of `index.jsonl`; it has more.
#[derive(Clone, Debug, Deserialize)]
pub struct Row {
    /// Path below the set's directory.
    pub file: String,
    /// Name; none where the header is unreadable.
    pub name: Option<String>,
    /// Version.
    pub version: Option<String>,
    /// Release.
    pub release: Option<String>,
    /// Architecture; of a source package, that of its build.
    pub arch: Option<String>,
    /// A source package.
    #[serde(default)]
    pub source: bool,
    /// What `rpmkeys -K --nosignature` said.
    #[serde(rename = "rpmkeys_K_nosignature")]
    pub digests: Option<String>,
}

impl Row {
    /// `NAME-VERSION-RELEASE.ARCH`, where the header is readable.
    #[must_use]
    pub fn nvra(&self) -> Option<String> {
        let arch = if self.source { "src" } else { self.arch.as_deref()? };
        Some(format!("{}-{}-{}.{arch}", self.name.as_ref()?, self.version.as_ref()?, self.release.as_ref()?))
    }
}

/// All lines of the index.
#[must_use]
pub fn index(set: &Path) -> Vec<Row> {
    let text = read(set.join("index.jsonl"));
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("index.jsonl: {error}: {line}")))
        .collect()
}

/// Readable files with good digests for an x86_64 tree: by NVRA the one with the first path, since two epochs of one
/// NVRA would have the same file name in the tree.
#[must_use]
pub fn chosen(set: &Path) -> BTreeMap<String, Row> {
    let mut chosen: BTreeMap<String, Row> = BTreeMap::new();
    for row in index(set) {
        let good = row.digests.as_deref() == Some("digests OK");
        let fits = row.source || row.arch.as_deref().is_some_and(|arch| ARCHES.contains(&arch));
        let Some(nvra) = row.nvra().filter(|_| good && fits) else { continue };
        match chosen.get(&nvra) {
            Some(known) if known.file <= row.file => {}
            _ => drop(chosen.insert(nvra, row)),
        }
    }
    chosen
}

/// Writes a distribution of the chosen files into `directory` and returns its configuration.
#[must_use]
pub fn distribution(set: &Path, directory: &Path) -> PathBuf {
    let chosen = chosen(set);
    assert!(chosen.len() > 400, "only {} files", chosen.len());
    for row in chosen.values() {
        place(&set.join(&row.file), &directory.join("rpms").join(&row.file));
    }
    let mut names: Vec<&str> =
        chosen.values().filter(|row| !row.source).filter_map(|row| row.name.as_deref()).collect();
    names.dedup();
    let requirement = |name: &&str| format!("      <packagereq type=\"default\">{name}</packagereq>\n");
    let packages: String = names.iter().step_by(7).map(requirement).collect();
    write(&directory.join("comps.xml"), COMPS.replace("PACKAGES", &packages));
    write(&directory.join("variants.xml"), VARIANTS);
    let config = directory.join("compose.conf");
    write(&config, CONFIG);
    config
}

/// Links a file to another place, or copies it with its time to another filesystem.
fn place(from: &Path, to: &Path) {
    let made = to.parent().map_or(Ok(()), fs::create_dir_all);
    let copy = || -> std::io::Result<()> {
        fs::copy(from, to)?;
        fs::File::options().write(true).open(to)?.set_modified(fs::metadata(from)?.modified()?)
    };
    let placed = made.and_then(|()| fs::hard_link(from, to).or_else(|_| copy()));
    placed.unwrap_or_else(|error| panic!("cannot place {} at {}: {error}", from.display(), to.display()));
}

const COMPS: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<comps>
  <group>
    <id>some</id>
    <name>Some of them</name>
    <packagelist>
PACKAGES    </packagelist>
  </group>
</comps>
"#;

const VARIANTS: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<variants>
  <variant id="Everything" name="Everything" type="variant">
    <arches><arch>x86_64</arch></arches>
  </variant>
  <variant id="Server" name="Server" type="variant">
    <arches><arch>x86_64</arch></arches>
    <groups><group default="true">some</group></groups>
  </variant>
</variants>
"#;

const CONFIG: &str = r#"
release_name = "Real"
release_short = "Real"
release_version = "1"
variants_file = "variants.xml"
comps_file = "comps.xml"
tree_arches = ["x86_64"]
sigkeys = [None]
hashed_directories = True
pkgset_source = "repos"
pkgset_repos = {"x86_64": ["rpms"]}
gather_method = {
    "^Everything$": {"comps": "nodeps"},
    "^Server$": {"comps": "deps"},
}
multilib = [("^.*$", {"x86_64": ["devel", "runtime"]})]
additional_packages = [("^Everything$", {"*": ["*"]})]
check_deps = False
createrepo_checksum = "sha256"
repoclosure_strictness = [("^.*$", {"*": "lenient"})]
"#;
