//! What tests compose: configuration text and the demo distribution.

use std::path::{Path, PathBuf};

use tutti_examples::Package;

use crate::scratch::write;

/// Build time of all packages that tests make.
pub const BUILD_TIME: u32 = 1_767_225_600;

/// Writes the demo distribution and returns its configuration.
#[must_use]
pub fn demo(directory: &Path) -> PathBuf {
    let written = tutti_examples::write_demo(directory, BUILD_TIME);
    written.unwrap_or_else(|error| panic!("cannot write the demo distribution: {error:#}"));
    directory.join("compose.conf")
}

/// A distribution of a handful of packages for one architecture, to be broken in some way.
#[derive(Clone, Debug)]
pub struct Tiny {
    /// Where it lies.
    pub directory: PathBuf,
    /// Text of `variants.xml`.
    pub variants: String,
    /// Text of `comps.xml`.
    pub comps: String,
    /// Text of `compose.conf`.
    pub config: String,
}

impl Tiny {
    /// A whole one in `directory`: `hello`, `hello-libs` and their source.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        let tiny = Self {
            directory: directory.to_owned(),
            variants: VARIANTS.into(),
            comps: COMPS.into(),
            config: CONFIG.into(),
        };
        for package in hello("1.0") {
            tiny.add("repo", &package);
        }
        tiny
    }

    /// Adds a package to a directory of packages, and returns the file.
    #[expect(clippy::must_use_candidate, reason = "the file lies where it should")]
    pub fn add(&self, repository: &str, package: &Package) -> PathBuf {
        let written = package.clone().built_at(BUILD_TIME).write_into(&self.directory.join(repository));
        written.unwrap_or_else(|error| panic!("cannot write a package: {error:#}"))
    }

    /// Writes the texts and returns the configuration.
    #[must_use]
    pub fn write(&self) -> PathBuf {
        write(&self.directory.join("variants.xml"), &self.variants);
        write(&self.directory.join("comps.xml"), &self.comps);
        let config = self.directory.join("compose.conf");
        write(&config, &self.config);
        config
    }
}

/// A distribution of a handful of packages in so many variants for one architecture: many jobs, each quick.
#[must_use]
pub fn several_variants(directory: &Path, count: usize) -> PathBuf {
    let mut tiny = Tiny::new(directory);
    let (head, rest) = VARIANTS.split_once("  <variant ").unwrap_or_default();
    let (one, tail) = rest.split_once("</variant>\n").unwrap_or_default();
    let variant = |number| format!("  <variant {}</variant>\n", one.replace("Server", &format!("V{number}")));
    tiny.variants = format!("{head}{}{tail}", (1..=count).map(variant).collect::<String>());
    tiny.config = tiny.config.replace("\"Tiny\"", "\"Matrix\"");
    // What zstd sets up for each file is a good part of such small jobs.
    tiny.config += "createrepo_extra_args = [\"--general-compress-type=gz\"]\n";
    tiny.write()
}

/// Source, program and library of one version.
#[must_use]
pub fn hello(version: &str) -> [Package; 3] {
    let source = Package::source("hello", version, "1");
    let from = source.file_name();
    let program = Package::binary("hello", version, "1", "x86_64").from_source(&from);
    let library = Package::binary("hello-libs", version, "1", "x86_64").from_source(&from);
    let program = program.file("/usr/bin/hello", "hello\n").requires("libhello.so.1()(64bit)");
    [source, program, library.file("/usr/lib64/libhello.so.1", "lib\n").provides("libhello.so.1()(64bit)")]
}

const VARIANTS: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<variants>
  <variant id="Server" name="Server" type="variant">
    <arches><arch>x86_64</arch></arches>
    <groups><group default="true">core</group></groups>
  </variant>
</variants>
"#;

const COMPS: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<comps>
  <group>
    <id>core</id>
    <name>Core</name>
    <packagelist>
      <packagereq type="mandatory">hello</packagereq>
    </packagelist>
  </group>
</comps>
"#;

const CONFIG: &str = r#"
release_name = "Tiny"
release_short = "Tiny"
release_version = "1"
variants_file = "variants.xml"
comps_file = "comps.xml"
tree_arches = ["x86_64"]
sigkeys = [None]
pkgset_source = "repos"
pkgset_repos = {"*": ["repo"]}
gather_method = "deps"
check_deps = True
createrepo_checksum = "sha256"
repoclosure_strictness = [("^.*$", {"*": "fatal"})]
"#;
