//! Loading, checking and dumping a configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::build::Builder;
use super::error::{ConfigError, OptionError, Warning};
use super::load::{Document, load_document};
use super::schema::Status;
use super::settings::Settings;
use super::table::{OPTIONS, nearest, option};
use super::value::{Kind, Value};

/// Most characters of an unknown name that are shown.
const MAX_NAME: usize = 100;
/// Most unknown names that are compared with all known ones.
const MAX_SUGGESTIONS: usize = 100;

/// A configuration that can be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Settings with types.
    pub settings: Settings,
    /// What the user should know.
    pub warnings: Vec<Warning>,
    /// Known options with their values, defaults included.
    pub raw: BTreeMap<String, Value>,
    /// Files that were read, the main one first.
    pub files: Vec<PathBuf>,
}

/// Result of a check, each entry one line for the user.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Report {
    /// Why the configuration cannot be used; empty when it can.
    pub errors: Vec<String>,
    /// Unknown and dead options and other remarks.
    pub warnings: Vec<String>,
    /// Options without effect so far, one line per group.
    pub unsupported: Vec<String>,
}

/// Loads a configuration.
///
/// # Errors
/// Fails when a file cannot be read or breaks the grammar, or when options are wrong; then all of them are named.
pub fn load(path: &Path) -> Result<Loaded, ConfigError> {
    load_with(path, &[])
}

/// Loads a configuration with variables defined beforehand (`-e NAME=VALUE`).
///
/// # Errors
/// As [`load`].
pub fn load_with(path: &Path, definitions: &[(String, String)]) -> Result<Loaded, ConfigError> {
    let document = load_document(path, definitions)?;
    let base = base_directory(path)?;
    let (loaded, errors) = interpret(document, &base);
    if errors.is_empty() { Ok(loaded) } else { Err(ConfigError::Options(errors)) }
}

/// Checks a configuration and reports all that can be found in one go.
pub fn check(path: &Path) -> Report {
    check_with(path, &[])
}

/// Checks a configuration with variables defined beforehand.
pub fn check_with(path: &Path, definitions: &[(String, String)]) -> Report {
    let mut report = Report::default();
    let read = load_document(path, definitions).and_then(|document| Ok((document, base_directory(path)?)));
    let (document, base) = match read {
        Ok(read) => read,
        Err(error) => {
            report.errors.push(error_chain(&error));
            return report;
        }
    };
    let (loaded, errors) = interpret(document, &base);
    report.errors = errors.iter().map(OptionError::to_string).collect();
    for warning in &loaded.warnings {
        match warning {
            Warning::NotSupportedYet { .. } => report.unsupported.push(warning.to_string()),
            Warning::Unknown { .. } | Warning::Dead { .. } | Warning::Note { .. } => {
                report.warnings.push(warning.to_string());
            }
        }
    }
    report
}

/// Returns the effective configuration, defaults included, as JSON with sorted names.
///
/// What comes out is itself a configuration and loads to the same settings from the same directory.
pub fn dump(loaded: &Loaded) -> serde_json::Value {
    let entries = loaded.raw.iter();
    serde_json::Value::Object(entries.map(|(name, value)| (name.clone(), value.to_json())).collect())
}

fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

fn base_directory(path: &Path) -> Result<PathBuf, ConfigError> {
    let absolute = std::path::absolute(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        imported_at: None,
        source,
    })?;
    Ok(absolute.parent().unwrap_or(&absolute).to_owned())
}

/// Checks all options and builds the settings, which are of use only when there are no errors.
fn interpret(document: Document, base: &Path) -> (Loaded, Vec<OptionError>) {
    let mut errors = Vec::new();
    let mut warnings = Vec::new();
    let given = known_options(&document, &mut errors, &mut warnings);
    let mut raw = given.clone();
    for spec in OPTIONS.iter().filter(|spec| spec.status == Status::Supported) {
        if let Some(value) = spec.default.to_value() {
            raw.entry(spec.name.to_owned()).or_insert(value);
        }
    }
    errors.extend(super::rules::check(&document.options, &raw));
    if let Some(file) = document.files.first() {
        // What is not there has no line; which file it is not in is worth knowing.
        for error in errors.iter_mut().filter(|error| error.at.is_none()) {
            error.message = error.message.replacen("missing;", &format!("missing in {};", file.display()), 1);
        }
    }
    let mut builder = Builder { effective: &raw, base, errors: Vec::new(), warnings: Vec::new() };
    let settings = builder.build();
    errors.append(&mut builder.errors);
    warnings.append(&mut builder.warnings);
    warnings.sort_by(|a, b| a.at().cmp(&b.at()));
    warnings.extend(unsupported(&given));
    errors.sort_by(|a, b| (&a.at, &a.option).cmp(&(&b.at, &b.option)));
    let loaded = Loaded { settings, warnings, raw, files: document.files };
    (loaded, errors)
}

/// Returns the given options that are known and have the right shape.
fn known_options(
    document: &Document,
    errors: &mut Vec<OptionError>,
    warnings: &mut Vec<Warning>,
) -> BTreeMap<String, Value> {
    let mut given = BTreeMap::new();
    for (name, value) in &document.options {
        let Some(spec) = option(name) else {
            if !document.defined.contains(name) && !document.globals.contains(name) {
                let suggest = warnings.len() < MAX_SUGGESTIONS;
                warnings.push(Warning::Unknown {
                    at: value.at.clone(),
                    option: name.chars().take(MAX_NAME).collect(),
                    nearest: if suggest { nearest(name) } else { None },
                });
            }
            continue;
        };
        if spec.status == Status::Dead {
            warnings.push(Warning::Dead { at: value.at.clone(), option: name.clone() });
        } else if spec.shape.check(name, value, errors) {
            given.insert(name.clone(), value.clone());
        }
    }
    given
}

/// Names the given options without effect, one warning per group. An option set to its default loses nothing and is not named.
fn unsupported(given: &BTreeMap<String, Value>) -> Vec<Warning> {
    let mut groups: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    for (name, value) in given {
        let Some(spec) = option(name) else { continue };
        let is_default = spec.default.to_value().is_some_and(|d| same(&d, value));
        if spec.status == Status::NotYet && !is_default {
            groups.entry(spec.group).or_default().push(name.clone());
        }
    }
    groups.into_iter().map(|(group, options)| Warning::NotSupportedYet { group, options }).collect()
}

fn same(default: &Value, value: &Value) -> bool {
    match (&default.kind, &value.kind) {
        (Kind::List(a), Kind::Tuple(b)) => a == b,
        (a, b) => a == b,
    }
}
