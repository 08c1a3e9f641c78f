//! Reading configuration files: choice of the format, imports and their limits.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{ConfigError, SyntaxError};
use super::json;
use super::parse::{Parsed, Parser, Scope, Variable, Weight};
use super::value::{Kind, Location, Value};

/// Largest file. Fedora's whole configuration is below 200 kB.
const MAX_FILE: u64 = 8 << 20;
/// Most imports in one configuration, and most files open in one chain.
const MAX_IMPORTS: usize = 256;
const MAX_CHAIN: usize = 16;
/// Most values, and most text in them, with all variables expanded.
const MAX_NODES: usize = 1_000_000;
const MAX_BYTES: usize = 64 << 20;

/// What a configuration file and its imports define.
#[derive(Clone, Debug)]
pub struct Document {
    /// Values by option name.
    pub options: BTreeMap<String, Value>,
    /// All files that were read, the main one first.
    pub files: Vec<PathBuf>,
    /// Names that were defined from outside.
    pub defined: Vec<String>,
    /// Names that were declared `global`.
    pub globals: BTreeSet<String>,
}

/// Reads files and counts what they cost.
#[derive(Debug, Default)]
pub(crate) struct Loader {
    chain: Vec<PathBuf>,
    files: Vec<PathBuf>,
    nodes: usize,
    bytes: usize,
}

/// Reads a configuration: `*.json` as JSON, anything else in the `.conf` dialect (Pungi 4.3.2 `load_config`).
///
/// `definitions` are variables defined before the first line, as with `-e NAME=VALUE`; the `.conf` files may use, pass on and overwrite them.
///
/// # Errors
/// Fails when a file cannot be read or breaks the grammar or a limit.
pub fn load_document(path: &Path, definitions: &[(String, String)]) -> Result<Document, ConfigError> {
    let mut loader = Loader::default();
    let text = loader.read(path, None)?;
    let name = display_name(path);
    let scope = definition_scope(definitions);
    let defined: Vec<String> = scope.keys().cloned().collect();
    let mut options: BTreeMap<String, Value>;
    let mut globals = BTreeSet::new();
    if path.extension().is_some_and(|extension| extension == "json") {
        options = scope_values(scope);
        options.extend(json::parse(&text, name)?);
    } else {
        let parsed = Parser::new(&text, name, Some(path), scope, &mut loader).run()?;
        options = scope_values(parsed.scope);
        globals = parsed.globals;
    }
    Ok(Document { globals, options, files: loader.files, defined })
}

/// Reads a configuration in the `.conf` dialect from memory; imports are refused.
///
/// # Errors
/// Fails when the text breaks the grammar or a limit.
pub fn parse_conf(text: &str, name: &str) -> Result<BTreeMap<String, Value>, ConfigError> {
    let mut loader = Loader::default();
    let parsed = Parser::new(text, Arc::from(name), None, Scope::new(), &mut loader).run()?;
    Ok(scope_values(parsed.scope))
}

/// Splits `NAME=VALUE` of the command line.
///
/// # Errors
/// Fails when there is no `=`, or the name is none that a configuration may define.
pub fn parse_definition(text: &str) -> Result<(String, String), SyntaxError> {
    let error = |message: String| SyntaxError { at: Location::command_line(), message };
    let Some((name, value)) = text.split_once('=') else {
        return Err(error(format!("expected NAME=VALUE, found {}", super::value::quoted(text))));
    };
    let letters = name.chars().all(|c| c == '_' || c.is_alphanumeric());
    let start = name.chars().next().is_some_and(char::is_alphabetic);
    if !letters || !start || super::token::is_keyword(name) {
        return Err(error(format!("{} is not a variable name", super::value::quoted(name))));
    }
    Ok((name.to_owned(), value.to_owned()))
}

fn definition_scope(definitions: &[(String, String)]) -> Scope {
    let at = Location::command_line();
    definitions
        .iter()
        .map(|(name, text)| {
            let value = Value::new(Kind::Str(text.clone()), at.clone());
            (name.clone(), Variable::new(value))
        })
        .collect()
}

fn scope_values(scope: Scope) -> BTreeMap<String, Value> {
    scope.into_iter().map(|(name, variable)| (name, variable.value)).collect()
}

fn display_name(path: &Path) -> Arc<str> {
    Arc::from(path.display().to_string())
}

impl Loader {
    /// Counts a value that is built or used again.
    pub(crate) fn charge(&mut self, at: &Location, weight: Weight) -> Result<(), SyntaxError> {
        self.nodes = self.nodes.saturating_add(weight.nodes);
        self.bytes = self.bytes.saturating_add(weight.bytes);
        if self.nodes > MAX_NODES || self.bytes > MAX_BYTES {
            return Err(SyntaxError {
                at: at.clone(),
                message: "configuration is too large once all variables are expanded".to_owned(),
            });
        }
        Ok(())
    }

    pub(crate) fn charge_one(&mut self, at: &Location) -> Result<(), SyntaxError> {
        let weight = Weight { nodes: 1, ..Weight::default() };
        self.charge(at, weight)
    }

    /// Reads `file`.conf beside the importing file. Paths may lead upwards and may be absolute, as in Pungi.
    pub(crate) fn import(
        &mut self,
        file: &str,
        importer: Option<&Path>,
        at: &Location,
        inherited: Scope,
    ) -> Result<Parsed, ConfigError> {
        let refuse = |message: String| SyntaxError { at: at.clone(), message };
        let Some(importer) = importer else {
            return Err(refuse("imports need a configuration that is a file".to_owned()).into());
        };
        if self.files.len() > MAX_IMPORTS || self.chain.len() >= MAX_CHAIN {
            let message = format!("more than {MAX_IMPORTS} imports, or {MAX_CHAIN} within each other");
            return Err(refuse(message).into());
        }
        let path = importer.parent().unwrap_or(Path::new("")).join(format!("{file}.conf"));
        if let Ok(canonical) = path.canonicalize()
            && self.chain.contains(&canonical)
        {
            return Err(refuse(format!("{} imports itself", path.display())).into());
        }
        let text = self.read(&path, Some(at))?;
        let parsed = Parser::new(&text, display_name(&path), Some(&path), inherited, self).run();
        self.chain.pop();
        parsed
    }

    /// Reads a text file whole and remembers it as open.
    fn read(&mut self, path: &Path, imported_at: Option<&Location>) -> Result<String, ConfigError> {
        let failed = |source: std::io::Error| ConfigError::Read {
            path: path.to_owned(),
            imported_at: imported_at.cloned(),
            source,
        };
        let not_text = |reason: String| ConfigError::NotText { path: path.to_owned(), reason };
        // Asked before opening, so that a pipe cannot block us.
        let metadata = std::fs::metadata(path).map_err(failed)?;
        if metadata.is_dir() {
            return Err(not_text("it is a directory: name the file in it".to_owned()));
        }
        if !metadata.is_file() {
            return Err(not_text("it is not a regular file".to_owned()));
        }
        let file = std::fs::File::open(path).map_err(failed)?;
        let mut bytes = Vec::new();
        file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(not_text(format!("it is larger than {} MiB", MAX_FILE >> 20)));
        }
        if let Some(offset) = bytes.iter().position(|&b| b == 0) {
            return Err(not_text(format!("byte {offset} is zero")));
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let offset = error.utf8_error().valid_up_to();
            not_text(format!("byte {offset} is not UTF-8"))
        })?;
        self.chain.push(path.canonicalize().map_err(failed)?);
        self.files.push(path.to_owned());
        Ok(text)
    }
}
