//! Tests of the configuration as a whole.

mod damage;
mod grammar;
mod options;
mod real;
mod settings;

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::config::{ConfigError, Kind, Report, Settings, Value, check, load, parse_conf};

/// Options that every configuration must have.
pub(crate) const MINIMAL: &str = r#"
release_name = "Test"
release_short = "Test"
release_version = "1"
variants_file = "variants.xml"
pkgset_source = "repos"
pkgset_repos = {"*": "repo"}
gather_method = "deps"
"#;

/// Returns the value of `v` in a text.
pub(crate) fn value(text: &str) -> Value {
    let mut options = parse_conf(text, "t.conf").unwrap_or_else(|e| fail(text, &e));
    options.remove("v").unwrap_or_else(|| fail(text, &"v is not defined"))
}

/// Returns the value of `v` as JSON, which shows lists and tuples alike.
pub(crate) fn json(text: &str) -> serde_json::Value {
    value(text).to_json()
}

/// Returns the kind of `v`.
pub(crate) fn kind(text: &str) -> Kind {
    value(text).kind
}

/// Returns the error of a text that must not be read.
pub(crate) fn error(text: &str) -> String {
    match parse_conf(text, "t.conf") {
        Err(error) => error.to_string(),
        Ok(options) => fail(text, &format!("accepted as {options:?}")),
    }
}

pub(crate) fn fail(text: &str, what: &dyn std::fmt::Display) -> ! {
    panic!("{what}, in: {text}")
}

/// Directory with configuration files.
pub(crate) struct Files {
    directory: TempDir,
}

impl Files {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let directory = TempDir::new().expect("temporary directory");
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().expect("inside")).expect("directory");
            fs::write(path, text).expect("written");
        }
        Self { directory }
    }

    /// Holds `c.conf`: the minimal configuration and this text.
    pub(crate) fn minimal(text: &str) -> Self {
        Self::new(&[("c.conf", &format!("{MINIMAL}{text}"))])
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn check(&self, name: &str) -> Report {
        let mut report = check(&self.path(name));
        let prefix = format!("{}/", self.directory.path().display());
        for line in report.errors.iter_mut().chain(&mut report.warnings).chain(&mut report.unsupported) {
            *line = line.replace(&prefix, "");
        }
        report
    }

    pub(crate) fn load(&self, name: &str) -> Result<crate::config::Loaded, ConfigError> {
        load(&self.path(name))
    }
}

/// Returns the settings of the minimal configuration with this text.
pub(crate) fn settings(text: &str) -> Settings {
    match Files::minimal(text).load("c.conf") {
        Ok(loaded) => loaded.settings,
        Err(error) => fail(text, &error),
    }
}

/// Returns the lines of all errors of the minimal configuration with this text.
pub(crate) fn errors(text: &str) -> Vec<String> {
    Files::minimal(text).check("c.conf").errors
}

/// Returns the directory of shared test data, or says that the test is skipped.
pub(crate) fn shared() -> Option<PathBuf> {
    let fallback = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let shared = std::env::var_os("TUTTI_SHARED").map_or(fallback, PathBuf::from);
    if shared.join("rpms").is_dir() {
        return Some(shared);
    }
    let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(!ci, "{} is missing, and CI=true", shared.display());
    eprintln!("skipped: {} is missing", shared.display());
    None
}
