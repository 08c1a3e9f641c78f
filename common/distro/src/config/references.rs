//! What a configuration names and what there is: variants, architectures, directories. Nothing is refused for it, as
//! configurations are shared; but whoever wrote a name with a mistake must read of it.

use std::path::{Path, PathBuf};

use super::build::is_disabled;
use super::check::Loaded;
use super::error::{OptionError, Warning};
use super::pattern::Pattern;
use super::schema::{Shape, Status};
use super::settings::{FileSource, ScmKind};
use super::table::OPTIONS;
use super::value::{Value, quoted};
use crate::variants::Variants;

/// Most names that a warning lists.
const LISTED: usize = 12;

/// Notes local files that are not there and that no compose can begin without: variants, comps and the like.
pub fn missing_files(loaded: &Loaded) -> Vec<OptionError> {
    let settings = &loaded.settings;
    let sources = [
        ("variants_file", Some(&settings.variants_file)),
        ("comps_file", settings.comps_file.as_ref()),
        ("gather_prepopulate", settings.gather.prepopulate.as_ref()),
    ];
    let mut missing = Vec::new();
    for (option, source) in sources {
        let (Some(source), Some(value)) = (source, loaded.raw.get(option)) else { continue };
        let paths: Vec<&Path> = match source {
            FileSource::Path(path) => vec![path],
            // A command may make it.
            FileSource::Scm(scm) if scm.scm == ScmKind::File && scm.command.is_none() => {
                scm.file.iter().map(Path::new).collect()
            }
            FileSource::Scm(_) => Vec::new(),
        };
        for path in paths {
            if let Err(error) = std::fs::metadata(path) {
                let message = format!("{path:?} cannot be looked at: {error}");
                missing.push(OptionError { at: Some(value.at.clone()), option: option.to_owned(), message });
            }
        }
    }
    missing
}

/// Warns of expressions that fit no variant, architectures that no variant has, and local repositories and extra files that
/// are not there.
///
/// `variants` are all of the variants file, also those that `tree_variants` and `tree_arches` leave out.
pub fn dangling(loaded: &Loaded, variants: &Variants) -> Vec<Warning> {
    let mut found = Dangling { loaded, variants, warnings: Vec::new() };
    for spec in OPTIONS.iter().filter(|spec| spec.status == Status::Supported) {
        if let (Shape::VariantArch(_), Some(value)) = (spec.shape, loaded.raw.get(spec.name)) {
            found.mapping(spec.name, value);
        }
    }
    found.names("tree_variants", |variants, name| variants.get(name).is_some(), "is no variant");
    found.names("tree_arches", |variants, name| variants.arches().contains(&name), "is an architecture of no variant");
    found.repositories();
    found.extra_files();
    found.warnings.sort_by(|one, other| one.at().cmp(&other.at()));
    found.warnings
}

struct Dangling<'a> {
    loaded: &'a Loaded,
    variants: &'a Variants,
    warnings: Vec<Warning>,
}

impl Dangling<'_> {
    fn warn(&mut self, value: &Value, option: &str, message: String) {
        self.warnings.push(Warning::Note { at: value.at.clone(), option: option.to_owned(), message });
    }

    /// A list of (variant expression, {arch: …}).
    fn mapping(&mut self, option: &str, value: &Value) {
        for item in value.as_array().unwrap_or_default() {
            let Some([expression, arches]) = item.as_array() else { continue };
            let Some(text) = expression.as_str() else { continue };
            let Ok(pattern) = Pattern::new(text) else { continue };
            let fitting: Vec<_> = self.variants.all().filter(|variant| pattern.matches(&variant.uid)).collect();
            if fitting.is_empty() {
                let message = format!("{} fits no variant, so this has no effect; {}", quoted(text), self.known());
                self.warn(expression, option, message);
                continue;
            }
            for (key, _) in arches.as_dict().map(|dict| dict.entries.as_slice()).unwrap_or_default() {
                let Some(arch) = key.as_str().filter(|arch| !matches!(*arch, "*" | "src")) else { continue };
                if !fitting.iter().any(|variant| variant.arches.iter().any(|known| known == arch)) {
                    let message =
                        format!("no variant that fits {} has the architecture {}", quoted(text), quoted(arch));
                    self.warn(key, option, message);
                }
            }
        }
    }

    fn known(&self) -> String {
        let names: Vec<&str> = self.variants.all().map(|variant| &*variant.uid).take(LISTED + 1).collect();
        let more = if names.len() > LISTED { ", …" } else { "" };
        format!("variants: {}{more}", names[..names.len().min(LISTED)].join(", "))
    }

    fn names(&mut self, option: &str, is_known: impl Fn(&Variants, &str) -> bool, what: &str) {
        let Some(value) = self.loaded.raw.get(option) else { return };
        for name in value.as_array().unwrap_or_default() {
            if let Some(text) = name.as_str().filter(|text| !is_known(self.variants, text)) {
                self.warn(name, option, format!("{} {what}", quoted(text)));
            }
        }
    }

    fn repositories(&mut self) {
        let mut places = Vec::new();
        if let Some(dict) = self.loaded.raw.get("pkgset_repos").and_then(Value::as_dict) {
            for (key, value) in &dict.entries {
                let arch = key.as_str().filter(|arch| !matches!(*arch, "*" | "src"));
                if let Some(arch) = arch.filter(|arch| !self.variants.arches().contains(arch)) {
                    let message = format!("{} is an architecture of no variant", quoted(arch));
                    self.warn(key, "pkgset_repos", message);
                    continue;
                }
                places.extend(one_or_list(value).iter().map(|value| ("pkgset_repos", value)));
            }
        }
        let lookasides = self.loaded.raw.get("gather_lookaside_repos").and_then(Value::as_array).unwrap_or_default();
        let arches = lookasides.iter().filter_map(|item| item.as_array()?.get(1)?.as_dict());
        let values = arches.flat_map(|dict| dict.entries.iter().flat_map(|(_, value)| one_or_list(value)));
        places.extend(values.map(|value| ("gather_lookaside_repos", value)));
        for (option, value) in places {
            if let Some((path, problem)) = self.local(value).and_then(problem) {
                self.warn(value, option, format!("{path:?} {problem}"));
            }
        }
    }

    fn extra_files(&mut self) {
        let items = self.loaded.raw.get("extra_files").and_then(Value::as_array).unwrap_or_default();
        let arches = items.iter().filter_map(|item| item.as_array()?.get(1)?.as_dict());
        let sources = arches.flat_map(|dict| dict.entries.iter().flat_map(|(_, value)| one_or_list(value)));
        for source in sources.filter_map(Value::as_dict) {
            if source.get("scm").and_then(Value::as_str) != Some("file") || source.get("command").is_some() {
                continue;
            }
            let names = ["file", "dir"].into_iter().filter_map(|key| source.get(key)).flat_map(one_or_list);
            for name in names {
                // What a pattern fits is seen when the job runs.
                let Some(text) = name.as_str().filter(|text| !text.contains(['*', '?', '['])) else { continue };
                let path = self.base().join(text);
                if let Err(error) = std::fs::metadata(&path) {
                    self.warn(name, "extra_files", format!("{path:?} cannot be looked at: {error}"));
                }
            }
        }
    }

    /// What relative paths begin at.
    fn base(&self) -> &Path {
        self.loaded.files.first().and_then(|file| file.parent()).unwrap_or(Path::new(""))
    }

    /// Directory of a repository, if it is a local one that is enabled.
    fn local(&self, value: &Value) -> Option<PathBuf> {
        let text = match value.as_dict() {
            Some(dict) if is_disabled(dict) => return None,
            Some(dict) => dict.get("baseurl")?.as_str()?,
            None => value.as_str()?,
        };
        match text.strip_prefix("file://") {
            Some(path) => Some(PathBuf::from(path)),
            None => (!text.contains("://")).then(|| self.base().join(text)),
        }
    }
}

fn one_or_list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or(std::slice::from_ref(value))
}

fn problem(path: PathBuf) -> Option<(PathBuf, String)> {
    let problem = match std::fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => return None,
        Ok(_) => "is no directory".to_owned(),
        Err(error) => format!("cannot be looked at: {error}"),
    };
    Some((path, problem))
}
