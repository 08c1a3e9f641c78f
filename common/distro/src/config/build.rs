//! From checked values to [`Settings`].
//!
//! Errors are collected, not returned one by one: each problem is noted, a stand-in takes the place of the value, and the settings are only given
//! out when nothing was noted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::createrepo::{CreaterepoExtra, parse_extra_args};
use super::error::{OptionError, Warning};
use super::mapping::{ArchMap, VariantArchMap, VariantMap};
use super::pattern::Pattern;
use super::settings::{
    ChecksumType, Createrepo, ExtraFile, FileSource, Gather, GatherMethod, GatherMethods, GatherSource, GreedyMethod,
    LinkType, MediaChecksums, MultilibMethod, PackageRepo, Pkgset, Release, RepoLocation, Scm, ScmKind, Settings,
    Strictness,
};
use super::table::option;
use super::value::{Kind, Location, Value};

/// Collects settings and problems.
pub(crate) struct Builder<'a> {
    /// Values of the right shape, defaults included.
    pub(crate) effective: &'a BTreeMap<String, Value>,
    /// Directory of the main configuration, absolute.
    pub(crate) base: &'a Path,
    pub(crate) errors: Vec<OptionError>,
    pub(crate) warnings: Vec<Warning>,
}

impl Builder<'_> {
    /// Builds the settings; they are of use only when [`Builder::errors`] stays empty.
    pub(crate) fn build(&mut self) -> Settings {
        self.remarks();
        Settings {
            release: self.release("release"),
            base_product: self.base_product(),
            release_internal: self.flag("release_internal"),
            release_discinfo_description: self.text("release_discinfo_description"),
            treeinfo_version: self.text("treeinfo_version"),
            compose_type: self.text("compose_type"),
            variants_file: self.file_source("variants_file").unwrap_or(FileSource::Path(PathBuf::new())),
            comps_file: self.file_source("comps_file"),
            comps_filter_environments: self.flag("comps_filter_environments"),
            tree_arches: self.plain_names("tree_arches"),
            tree_variants: self.texts("tree_variants"),
            translate_paths: self.pairs("translate_paths"),
            link_type: self.choice("link_type", LinkType::from_name, LinkType::HardlinkOrCopy),
            hashed_directories: self.flag("hashed_directories"),
            skip_phases: self.texts("skip_phases"),
            failable_deliverables: self.variant_arch_texts("failable_deliverables"),
            pkgset: self.pkgset(),
            gather: self.gather(),
            createrepo: self.createrepo(),
            repoclosure_strictness: self.repoclosure(),
            extra_files: self.extra_files(),
            media_checksums: self.media_checksums(),
        }
    }

    /// Remarks on values that are accepted and change nothing.
    fn remarks(&mut self) {
        const NAME: &str = "createrepo_c";
        if let Some(given) = self.get(NAME)
            && given.as_bool() == Some(false)
        {
            self.warnings.push(Warning::Note {
                at: given.at.clone(),
                option: NAME.to_owned(),
                message: "False has no effect: repositories are always written in the same way".to_owned(),
            });
        }
    }

    fn get(&self, name: &str) -> Option<&Value> {
        debug_assert!(option(name).is_some(), "{name} is no option");
        self.effective.get(name)
    }

    fn error(&mut self, at: &Location, name: &str, message: impl Into<String>) {
        self.errors.push(OptionError::new(at, name, message));
    }

    fn text(&self, name: &str) -> Option<String> {
        self.get(name).and_then(Value::as_str).map(str::to_owned)
    }

    fn flag(&self, name: &str) -> bool {
        self.get(name).and_then(Value::as_bool).unwrap_or_default()
    }

    fn texts(&self, name: &str) -> Vec<String> {
        self.get(name).map(strings).unwrap_or_default()
    }

    fn choice<T>(&self, name: &str, parse: impl Fn(&str) -> Option<T>, otherwise: T) -> T {
        self.get(name).and_then(Value::as_str).and_then(parse).unwrap_or(otherwise)
    }

    fn count(&mut self, name: &str) -> Option<u32> {
        let value = self.get(name)?;
        let (at, count) = (value.at.clone(), value.as_int().unwrap_or_default());
        match u32::try_from(count) {
            Ok(count) if count > 0 => Some(count),
            _ => {
                self.error(&at, name, "expected a number from 1 on");
                None
            }
        }
    }

    fn pairs(&self, name: &str) -> Vec<(String, String)> {
        let items = self.get(name).and_then(Value::as_array).unwrap_or_default();
        items
            .iter()
            .filter_map(|item| match strings(item).as_slice() {
                [first, second] => Some((first.clone(), second.clone())),
                _ => None,
            })
            .collect()
    }

    /// Architectures become directory names.
    fn plain_names(&mut self, name: &str) -> Vec<String> {
        let value = self.get(name).cloned();
        for item in value.as_ref().and_then(Value::as_array).unwrap_or_default() {
            let text = item.as_str().unwrap_or_default();
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if text.is_empty() || !text.chars().all(plain) {
                let message = format!("expected an architecture, found {}", item.describe());
                self.error(&item.at, name, message);
            }
        }
        self.texts(name)
    }

    fn release(&mut self, prefix: &str) -> Release {
        let mut part = |suffix: &str| {
            let name = format!("{prefix}_{suffix}");
            let Some(value) = self.get(&name) else {
                return String::new();
            };
            let (at, text) = (value.at.clone(), value.as_str().unwrap_or_default().to_owned());
            if let Some(message) = unfit_identity(suffix, &text) {
                self.error(&at, &name, message);
            }
            text
        };
        Release { name: part("name"), short: part("short"), version: part("version"), kind: part("type") }
    }

    fn base_product(&mut self) -> Option<Release> {
        self.get("base_product_name")?;
        Some(self.release("base_product"))
    }

    fn resolve(&self, path: &str) -> PathBuf {
        self.base.join(path)
    }

    fn file_source(&mut self, name: &str) -> Option<FileSource> {
        let value = self.get(name)?.clone();
        if let Some(path) = value.as_str() {
            if path.is_empty() {
                self.error(&value.at, name, "expected a path, found an empty string");
            }
            return Some(FileSource::Path(self.resolve(path)));
        }
        let scm = self.scm(name, &value)?;
        if scm.file.len() != 1 || !scm.dir.is_empty() {
            self.error(&value.at, name, "expected one file: key \"file\" with a path");
        }
        Some(FileSource::Scm(scm))
    }

    fn scm(&mut self, name: &str, value: &Value) -> Option<Scm> {
        let dict = value.as_dict()?;
        let field = |key: &str| dict.get(key);
        let text = |key: &str| {
            let text = field(key).and_then(Value::as_str)?;
            (!text.is_empty()).then(|| text.to_owned())
        };
        let list = |key: &str| field(key).map(strings).unwrap_or_default();
        let kind = field("scm")?;
        let Some(scm) = kind.as_str().and_then(ScmKind::from_name) else {
            let message = format!(
                "scm {} is not supported; supported are file and git",
                super::value::quoted(kind.as_str().unwrap_or_default())
            );
            self.error(&kind.at, name, message);
            return None;
        };
        let mut source = Scm {
            scm,
            repo: text("repo"),
            branch: text("branch"),
            file: list("file"),
            dir: list("dir"),
            command: text("command"),
            options: string_entries(field("options")),
        };
        if source.file.is_empty() && source.dir.is_empty() {
            self.error(&value.at, name, "expected one of the keys \"file\" and \"dir\"");
        }
        match scm {
            ScmKind::Git if source.repo.is_none() => {
                self.error(&value.at, name, "scm git needs the key \"repo\"");
            }
            ScmKind::File if source.repo.is_some() => {
                self.error(&value.at, name, "scm file takes no key \"repo\"");
            }
            ScmKind::File => {
                for path in source.file.iter_mut().chain(&mut source.dir) {
                    *path = self.base.join(&*path).to_string_lossy().into_owned();
                }
            }
            ScmKind::Git => {}
        }
        Some(source)
    }

    fn location(&self, text: &str) -> RepoLocation {
        match text.contains("://") {
            true => RepoLocation::Url(text.to_owned()),
            false => RepoLocation::Path(self.resolve(text)),
        }
    }

    fn repo(&self, value: &Value) -> Option<PackageRepo> {
        if let Some(text) = value.as_str() {
            return Some(PackageRepo { name: None, location: self.location(text), exclude: Vec::new() });
        }
        let dict = value.as_dict()?;
        if is_disabled(dict) {
            return None;
        }
        Some(PackageRepo {
            name: dict.get("name").and_then(Value::as_str).map(str::to_owned),
            location: self.location(dict.get("baseurl")?.as_str()?),
            exclude: dict.get("exclude").map(strings).unwrap_or_default(),
        })
    }

    fn arch_map<T>(&self, name: &str, convert: impl Fn(&Value) -> Option<T>) -> ArchMap<T> {
        self.get(name).map(|value| to_arch_map(value, &convert)).unwrap_or_default()
    }

    fn variant_arch<T>(&self, name: &str, convert: impl Fn(&Value) -> Option<T>) -> VariantArchMap<T> {
        let items = self.get(name).and_then(Value::as_array).unwrap_or_default();
        let entries = items.iter().filter_map(|item| {
            let [pattern, arches] = item.as_array()? else {
                return None;
            };
            let pattern = Pattern::new(pattern.as_str()?).ok()?;
            Some((pattern, to_arch_map(arches, &convert)))
        });
        VariantArchMap { entries: entries.collect() }
    }

    fn variant_arch_texts(&self, name: &str) -> VariantArchMap<String> {
        self.variant_arch(name, |value| value.as_str().map(str::to_owned))
    }

    fn pkgset(&mut self) -> Pkgset {
        let keys = self.get("sigkeys").and_then(Value::as_array);
        let sigkeys = keys.unwrap_or_default().iter().map(|key| {
            let text = key.as_str().unwrap_or_default();
            (!text.is_empty()).then(|| text.to_lowercase())
        });
        Pkgset {
            sigkeys: sigkeys.collect(),
            repos: self.arch_map("pkgset_repos", |value| self.repo(value)),
            exclusive_arch_considers_noarch: self.flag("pkgset_exclusive_arch_considers_noarch"),
            inherit_exclusive_arch_to_noarch: self.flag("pkgset_inherit_exclusive_arch_to_noarch"),
        }
    }

    fn gather(&mut self) -> Gather {
        let multilib = |value: &Value| value.as_str().and_then(MultilibMethod::from_name);
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Gather {
            method: self.gather_method(),
            fulltree: self.flag("gather_fulltree"),
            selfhosting: self.flag("gather_selfhosting"),
            greedy: self.choice("greedy_method", GreedyMethod::from_name, GreedyMethod::None),
            prepopulate: self.file_source("gather_prepopulate"),
            lookaside_repos: self
                .variant_arch("gather_lookaside_repos", |value| value.as_str().map(|text| self.location(text))),
            variant_as_lookaside: self.pairs("variant_as_lookaside"),
            additional_packages: self.variant_arch_texts("additional_packages"),
            filter_packages: self.variant_arch_texts("filter_packages"),
            filter_system_release_packages: self.flag("filter_system_release_packages"),
            multilib: self.variant_arch("multilib", multilib),
            multilib_whitelist: self.arch_map("multilib_whitelist", text),
            multilib_blacklist: self.arch_map("multilib_blacklist", text),
            check_deps: self.flag("check_deps"),
            require_all_comps_packages: self.flag("require_all_comps_packages"),
        }
    }

    fn gather_method(&mut self) -> GatherMethods {
        let fallback = GatherMethods::Global(GatherMethod::Deps);
        let Some(value) = self.get("gather_method").cloned() else {
            return fallback;
        };
        if let Some(name) = value.as_str() {
            match GatherMethod::from_name(name) {
                Some(method) => return GatherMethods::Global(method),
                None => self.refuse_hybrid(&value.at),
            }
            return fallback;
        }
        let mut entries = Vec::new();
        for (pattern, methods) in value.as_dict().map_or(&[][..], |dict| &dict.entries) {
            let Some(by_source) = methods.as_dict() else {
                self.refuse_hybrid(&methods.at);
                continue;
            };
            let by_source = by_source.entries.iter().filter_map(|(source, method)| {
                let source = GatherSource::from_name(source.as_str()?)?;
                Some((source, GatherMethod::from_name(method.as_str()?)?))
            });
            if let Some(Ok(pattern)) = pattern.as_str().map(Pattern::new) {
                entries.push((pattern, vec![by_source.collect()]));
            }
        }
        GatherMethods::Variants(VariantMap { entries })
    }

    fn refuse_hybrid(&mut self, at: &Location) {
        let message = "\"hybrid\" is not supported yet; supported are \"deps\" and \"nodeps\"";
        self.error(at, "gather_method", message);
    }

    fn createrepo(&mut self) -> Createrepo {
        Createrepo {
            checksum: self.choice("createrepo_checksum", ChecksumType::from_name, ChecksumType::Sha256),
            use_xz: self.flag("createrepo_use_xz"),
            num_threads: self.count("createrepo_num_threads"),
            num_workers: self.count("createrepo_num_workers").unwrap_or(1),
            database: self.flag("createrepo_database"),
            extra: self.createrepo_extra(),
        }
    }

    fn createrepo_extra(&mut self) -> CreaterepoExtra {
        let name = "createrepo_extra_args";
        let arguments = self.texts(name);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        match (parse_extra_args(&arguments), self.get(name)) {
            (Ok(extra), _) => extra,
            (Err(message), Some(value)) => {
                let at = value.at.clone();
                self.error(&at, name, message);
                CreaterepoExtra::default()
            }
            (Err(_), None) => CreaterepoExtra::default(),
        }
    }

    fn repoclosure(&self) -> VariantArchMap<Strictness> {
        self.variant_arch("repoclosure_strictness", |value| value.as_str().and_then(Strictness::from_name))
    }

    fn extra_files(&mut self) -> VariantArchMap<ExtraFile> {
        let name = "extra_files";
        let values = self.variant_arch(name, |value| Some(value.clone()));
        let mut entries = Vec::new();
        for (pattern, arches) in values.entries {
            let mut converted = ArchMap::default();
            for (arch, values) in arches.entries {
                let files = values.iter().filter_map(|value| self.extra_file(name, value));
                converted.entries.push((arch, files.collect()));
            }
            entries.push((pattern, converted));
        }
        VariantArchMap { entries }
    }

    fn extra_file(&mut self, name: &str, value: &Value) -> Option<ExtraFile> {
        let source = self.scm(name, value)?;
        let target = value.as_dict()?.get("target");
        let text = target.and_then(Value::as_str).unwrap_or_default();
        if text.starts_with('/') || text.split('/').any(|part| part == "..") {
            let message = format!("target {} must stay inside the tree", super::value::quoted(text));
            self.error(&value.at, name, message);
        }
        Some(ExtraFile { source, target: text.trim_matches('/').to_owned() })
    }

    fn media_checksums(&mut self) -> MediaChecksums {
        let types = self.texts("media_checksums");
        MediaChecksums {
            types: types.iter().filter_map(|name| ChecksumType::from_name(name)).collect(),
            one_file: self.flag("media_checksum_one_file"),
            base_filename: self.text("media_checksum_base_filename").unwrap_or_default(),
        }
    }
}

/// Whether a repository is switched off (`enabled`).
pub(super) fn is_disabled(repo: &super::value::Dict) -> bool {
    let off =
        |enabled: &Value| matches!(enabled.kind, Kind::Bool(false) | Kind::Int(0)) || enabled.as_str() == Some("0");
    repo.get("enabled").is_some_and(off)
}

/// Returns one string, or the strings of a list.
fn strings(value: &Value) -> Vec<String> {
    let texts = |items: &[Value]| {
        let texts = items.iter().filter_map(Value::as_str);
        texts.map(str::to_owned).collect()
    };
    match value.as_array() {
        Some(items) => texts(items),
        None => texts(std::slice::from_ref(value)),
    }
}

fn string_entries(value: Option<&Value>) -> BTreeMap<String, String> {
    let entries = value.and_then(Value::as_dict).map(|dict| &dict.entries);
    entries
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.key_text(), value.as_str()?.to_owned())))
        .collect()
}

/// Lists extend, single values append (Pungi 4.3.2 `get_arch_data`).
fn to_arch_map<T>(value: &Value, convert: &impl Fn(&Value) -> Option<T>) -> ArchMap<T> {
    let entries = value.as_dict().map_or(&[][..], |dict| &dict.entries);
    let entries = entries.iter().map(|(arch, item)| {
        let items = item.as_array().unwrap_or(std::slice::from_ref(item));
        (arch.key_text(), items.iter().filter_map(convert).collect())
    });
    ArchMap { entries: entries.collect() }
}

/// Short name and version become parts of directory names.
fn unfit_identity(suffix: &str, text: &str) -> Option<String> {
    if text.is_empty() {
        return Some("expected a text, found an empty string".to_owned());
    }
    if text.len() > 128 || text.chars().any(char::is_control) {
        return Some("expected at most 128 printable characters".to_owned());
    }
    let plain = |c: char| !c.is_whitespace() && c != '/';
    let in_paths = matches!(suffix, "short" | "version");
    if in_paths && (text.starts_with('.') || !text.chars().all(plain)) {
        let found = super::value::quoted(text);
        return Some(format!("expected a text without blanks and slashes, found {found}"));
    }
    None
}
