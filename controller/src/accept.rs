//! From configuration to spec: everything a compose depends on is read and pinned here, once.
//!
//! Runs where the user is (`tutti compose`, `tutti submit`), so that files named in the configuration are the user's.
//! The result is self-contained: git branches are commits, comps are filtered and named by digest, paths are absolute.

mod fetch;
mod identity;
mod request;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use tutti_distro::{
    comps::{Comps, FilterOptions},
    config::{self, Loaded, RepoLocation, ScmKind, Settings},
    variants::{Filter, Variant, Variants},
};
use tutti_job::{
    Digest, JobKind, JobName,
    params::{ExtraFile, LinkType, PkgsetArch},
};

use crate::{
    plan::phase_patterns,
    spec::{ComposeSpec, Options, PackageSource, SPEC_FORMAT, Strictness, VariantArch, VariantSpec},
};
pub use fetch::FetchError;
pub use identity::{IdentityOptions, LatestLink};

/// What the command line adds to the configuration.
#[derive(Clone, Debug, Default)]
pub struct AcceptOptions {
    /// `-e NAME=VALUE`.
    pub definitions: Vec<(String, String)>,
    /// Type, label, date, id.
    pub identity: IdentityOptions,
    /// `--only`.
    pub only: Vec<String>,
    /// `--skip`.
    pub skip: Vec<String>,
    /// `--just-phase`.
    pub just_phases: Vec<String>,
    /// `--skip-phase`.
    pub skip_phases: Vec<String>,
    /// `--fail-fast`.
    pub fail_fast: bool,
}

/// A spec with what it names by digest.
#[derive(Debug)]
pub struct Prepared {
    /// The spec.
    pub spec: ComposeSpec,
    /// Blobs that go with it.
    pub blobs: BTreeMap<Digest, Vec<u8>>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Why a configuration cannot be composed.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The configuration itself.
    #[error(transparent)]
    Config(#[from] config::ConfigError),
    /// A file that it names cannot be had.
    #[error("cannot get {what}")]
    Fetch {
        /// `variants_file`, `comps_file`, …, and where it is named.
        what: String,
        /// Why.
        #[source]
        source: FetchError,
    },
    /// variants.xml is wrong.
    #[error(transparent)]
    Variants(#[from] tutti_distro::variants::Error),
    /// comps is wrong.
    #[error(transparent)]
    Comps(#[from] tutti_distro::comps::Error),
    /// Names and dates are wrong.
    #[error(transparent)]
    Identity(#[from] tutti_distro::compose_id::Error),
    /// A group that no comps file defines.
    #[error("{0}\nhint: define the group in comps_file, or remove it from variants_file")]
    Group(#[from] tutti_distro::comps::UndefinedGroup),
    /// Options that contradict each other or what they refer to.
    #[error("{option}: {message}")]
    Option {
        /// Option.
        option: &'static str,
        /// What is wrong and what to do.
        message: String,
    },
    /// A file of JSON is wrong.
    #[error("cannot read {file} as JSON")]
    Json {
        /// File.
        file: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// `--just-phase` and `--skip-phase`.
    #[error(transparent)]
    Plan(#[from] crate::plan::PlanError),
}

/// Reads a configuration and all it names. Blocks: files are read and git may be asked.
///
/// # Errors
/// [`AcceptError`], each naming file, option and the way out.
pub fn load(path: &Path, options: &AcceptOptions) -> Result<Prepared, AcceptError> {
    let loaded = config::load_with(path, &options.definitions)?;
    let mut accept = Accept::new(&loaded, options)?;
    accept.check_references()?;
    let spec = accept.spec()?;
    let mut warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    warnings.append(&mut accept.warnings);
    Ok(Prepared { spec, blobs: accept.blobs, warnings })
}

/// Everything that was read, and what is collected on the way.
struct Accept<'a> {
    loaded: &'a Loaded,
    options: &'a AcceptOptions,
    settings: &'a Settings,
    variants: Variants,
    /// Filtered comps by variant uid and arch.
    comps: BTreeMap<(String, String), Comps>,
    has_comps: bool,
    prepopulate: request::Prepopulate,
    blobs: BTreeMap<Digest, Vec<u8>>,
    warnings: Vec<String>,
}

impl<'a> Accept<'a> {
    fn new(loaded: &'a Loaded, options: &'a AcceptOptions) -> Result<Self, AcceptError> {
        let settings = &loaded.settings;
        let fetched = |option: &str| {
            let at = loaded.raw.get(option).map(|value| format!(" ({}:{})", value.at.file, value.at.line));
            let what = format!("{option}{}", at.unwrap_or_default());
            move |source| AcceptError::Fetch { what, source }
        };
        let file = fetch::text(&settings.variants_file).map_err(fetched("variants_file"))?;
        let filter =
            Filter { tree_arches: settings.tree_arches.clone(), tree_variants: settings.tree_variants.clone() };
        let variants = Variants::parse(&file.text, &file.name, &filter)?;
        let mut warnings = variants.warnings.clone();
        let whole = Variants::parse(&file.text, &file.name, &Filter::default());
        let dangling = config::dangling(loaded, whole.as_ref().unwrap_or(&variants));
        warnings.extend(dangling.iter().map(ToString::to_string));
        let comps = match &settings.comps_file {
            None => None,
            Some(source) => {
                let file = fetch::text(source).map_err(fetched("comps_file"))?;
                let (comps, comps_warnings) = Comps::parse(&file.text, &file.name)?;
                warnings.extend(comps_warnings.into_iter().map(|warning| warning.message));
                warnings.extend(undefined_groups(&comps, &file.name));
                Some(comps)
            }
        };
        let prepopulate = match &settings.gather.prepopulate {
            None => request::Prepopulate::default(),
            Some(source) => {
                let file = fetch::text(source).map_err(fetched("gather_prepopulate"))?;
                request::prepopulate(&file)?
            }
        };
        let ignored = ignored_arguments(&settings.createrepo.extra);
        if !ignored.is_empty() {
            warnings.push(format!("not supported yet: createrepo_extra_args {}, ignored", ignored.join(" ")));
        }
        let has_comps = comps.is_some();
        let mut accept = Self {
            loaded,
            options,
            settings,
            variants,
            comps: BTreeMap::new(),
            has_comps,
            prepopulate,
            blobs: BTreeMap::new(),
            warnings,
        };
        accept.filter_comps(&comps.unwrap_or_default());
        Ok(accept)
    }

    /// The comps of each variant and arch (pungi 4.3.2 `phases/init.py`).
    fn filter_comps(&mut self, comps: &Comps) {
        let mut warnings = BTreeSet::new();
        for variant in self.variants.all() {
            let mut lookaside = BTreeSet::new();
            let leans_on =
                self.settings.lookaside_variants(&variant.uid).into_iter().filter_map(|uid| self.variants.get(uid));
            for other in self.variants.parent(variant).into_iter().chain(leans_on) {
                lookaside.extend(other.groups.iter().map(|group| group.name.clone()));
            }
            let options = FilterOptions {
                filter_environments: self.settings.comps_filter_environments,
                lookaside_groups: lookaside,
                keep_empty: Vec::new(),
            };
            for arch in &variant.arches {
                let (filtered, found) = comps.filter(arch, variant, &options);
                warnings.extend(found.into_iter().map(|warning| warning.message));
                self.comps.insert((variant.uid.to_string(), arch.clone()), filtered);
            }
        }
        // Groups that are missing are errors where gather needs them; here they would be said twice.
        self.warnings.extend(warnings);
    }

    /// Options that name variants must name ones that are composed.
    fn check_references(&self) -> Result<(), AcceptError> {
        if self.variants.is_empty() {
            return Err(AcceptError::Option {
                option: "variants_file",
                message: "no variant is left; hint: tree_arches and tree_variants leave out all of them".into(),
            });
        }
        for (user, lookaside) in &self.settings.gather.variant_as_lookaside {
            let Some(user_variant) = self.variants.get(user) else { continue };
            let Some(variant) = self.variants.get(lookaside) else {
                let message = format!("{user} leans on {lookaside}, which is not composed");
                return Err(AcceptError::Option { option: "variant_as_lookaside", message });
            };
            let missing: Vec<_> =
                user_variant.arches.iter().filter(|arch| !variant.arches.contains(arch)).cloned().collect();
            if !missing.is_empty() {
                let message = format!("{user} has arches that {lookaside} has not: {}", missing.join(", "));
                return Err(AcceptError::Option { option: "variant_as_lookaside", message });
            }
        }
        Ok(())
    }

    fn spec(&mut self) -> Result<ComposeSpec, AcceptError> {
        let (mut identity, source_date) = identity::resolve(self.settings, &self.options.identity)?;
        let mut sources = vec![self.own_source()?];
        let lookasides = self.lookaside_sources(&mut sources)?;
        let variants: Vec<Variant> = self.variants.all().cloned().collect();
        let variants =
            variants.iter().map(|variant| self.variant(variant, &lookasides)).collect::<Result<Vec<_>, _>>()?;
        let (only, skip) = self.selection()?;
        let whole = JobName::new(JobKind::Metadata, "", "");
        let names = |patterns: &[String]| patterns.iter().any(|pattern| whole.matches(pattern));
        if (!only.is_empty() && !names(&only)) || names(&skip) {
            // Only part of a compose, without its metadata: nothing that the latest link should lead to.
            identity.latest_link = None;
        }
        Ok(ComposeSpec {
            format: SPEC_FORMAT,
            identity,
            source_date,
            options: self.compose_options()?,
            sources,
            variants,
            variant_lookasides: self.variant_lookasides(),
            only,
            skip,
            settings: config::dump(self.loaded),
        })
    }

    fn variant_lookasides(&self) -> Vec<(String, String)> {
        let known = |uid: &str| self.variants.get(uid).is_some();
        self.settings.gather.variant_as_lookaside.iter().filter(|(user, _)| known(user)).cloned().collect()
    }

    fn selection(&self) -> Result<(Vec<String>, Vec<String>), AcceptError> {
        let mut only = self.options.only.clone();
        let mut skip = self.options.skip.clone();
        let just = phase_patterns(&self.options.just_phases)?;
        if just.is_empty() && !self.options.just_phases.is_empty() {
            let names = self.options.just_phases.join(", ");
            return Err(AcceptError::Option {
                option: "--just-phase",
                message: format!(
                    "{names} has no jobs here yet; hint: use pkgset, gather, createrepo, extra_files or repoclosure"
                ),
            });
        }
        only.extend(just);
        skip.extend(phase_patterns(&self.options.skip_phases)?);
        skip.extend(phase_patterns(&self.settings.skip_phases)?);
        Ok((only, skip))
    }

    /// The repositories that are composed from: one source named `repos`, as Pungi's only package set of this kind.
    fn own_source(&mut self) -> Result<PackageSource, AcceptError> {
        let mut arches = BTreeMap::new();
        let mut excludes = BTreeSet::new();
        for arch in self.variants.arches() {
            let mut repos = Vec::new();
            for repo in self.settings.pkgset.repos.iter(arch) {
                excludes.extend(repo.exclude.iter().cloned());
                repos.push(location("pkgset_repos", &repo.location)?);
            }
            if !repos.is_empty() {
                let multilib = self.settings.is_multilib(arch);
                arches.insert(arch.to_owned(), PkgsetArch { repos, multilib });
            }
        }
        if !excludes.is_empty() {
            let names: Vec<_> = excludes.into_iter().collect();
            self.warnings.push(format!("pkgset_repos: exclude is not supported yet, ignored: {}", names.join(", ")));
        }
        Ok(PackageSource { name: "repos".into(), arches, lookaside: false })
    }

    /// One source for each external lookaside repository; returns their indexes by location.
    fn lookaside_sources(&self, sources: &mut Vec<PackageSource>) -> Result<BTreeMap<String, u32>, AcceptError> {
        let mut indexes = BTreeMap::new();
        for variant in self.variants.all() {
            for arch in &variant.arches {
                for repo in self.settings.gather.lookaside_repos.iter(&variant.uid, arch) {
                    let place = location("gather_lookaside_repos", repo)?;
                    let index = *indexes.entry(place.clone()).or_insert_with(|| {
                        let name = format!("lookaside-{}", sources.len());
                        sources.push(PackageSource { name, arches: BTreeMap::new(), lookaside: true });
                        sources.len() as u32 - 1
                    });
                    let multilib = self.settings.is_multilib(arch);
                    let entry = PkgsetArch { repos: vec![place], multilib };
                    sources[index as usize].arches.insert(arch.clone(), entry);
                }
            }
        }
        Ok(indexes)
    }

    fn variant(&mut self, variant: &Variant, lookasides: &BTreeMap<String, u32>) -> Result<VariantSpec, AcceptError> {
        let mut arches = BTreeMap::new();
        for arch in &variant.arches {
            arches.insert(arch.clone(), self.variant_arch(variant, arch, lookasides)?);
        }
        let release = variant.release.as_ref();
        Ok(VariantSpec {
            uid: variant.uid.to_string(),
            id: variant.id.clone(),
            name: variant.name.clone(),
            kind: variant.kind.as_str().to_owned(),
            parent: variant.parent.as_ref().map(ToString::to_string),
            release: release.map(|release| (release.name.clone(), release.short.clone(), release.version.clone())),
            is_empty: variant.is_empty,
            arches,
            source_extra_files: self.extra_files(&variant.uid, "src")?,
        })
    }

    fn variant_arch(
        &mut self,
        variant: &Variant,
        arch: &str,
        lookasides: &BTreeMap<String, u32>,
    ) -> Result<VariantArch, AcceptError> {
        let request = if variant.is_empty { Vec::new() } else { request::build(self, variant, arch)? };
        let request = serde_json::to_vec(&request)
            .map_err(|source| AcceptError::Json { file: "gather request".into(), source })?;
        let comps = self.has_comps.then(|| {
            let comps = self.comps.get(&(variant.uid.to_string(), arch.to_owned()));
            comps.map(Comps::to_xml).unwrap_or_default().into_bytes()
        });
        let settings = self.settings;
        let repos = settings.gather.lookaside_repos.iter(&variant.uid, arch);
        let places: Vec<String> =
            repos.map(|repo| location("gather_lookaside_repos", repo)).collect::<Result<_, AcceptError>>()?;
        Ok(VariantArch {
            request: self.blob(request),
            comps: comps.map(|bytes| self.blob(bytes)),
            lookaside_sources: places.iter().filter_map(|place| lookasides.get(place).copied()).collect(),
            repoclosure: match settings.repoclosure(&variant.uid, arch) {
                config::Strictness::Off => Strictness::Off,
                config::Strictness::Lenient => Strictness::Lenient,
                config::Strictness::Fatal => Strictness::Fatal,
            },
            failable: settings.failable_deliverables.lists(&variant.uid, arch),
            extra_files: self.extra_files(&variant.uid, arch)?,
        })
    }

    fn blob(&mut self, bytes: Vec<u8>) -> Digest {
        let digest = Digest::of(&bytes);
        self.blobs.insert(digest, bytes);
        digest
    }

    fn extra_files(&self, uid: &str, arch: &str) -> Result<Vec<ExtraFile>, AcceptError> {
        let mut items = Vec::new();
        for item in self.settings.extra_files.iter(uid, arch) {
            let scm = &item.source;
            let repo = scm.repo.clone().unwrap_or_default();
            let commit = match scm.scm {
                ScmKind::File => String::new(),
                ScmKind::Git => fetch::resolve_commit(&repo, scm.branch.as_deref())
                    .map_err(|source| AcceptError::Fetch { what: "extra_files".to_owned(), source })?,
            };
            if scm.command.is_some() {
                let message = "command is not supported for extra_files; hint: commit what it makes".into();
                return Err(AcceptError::Option { option: "extra_files", message });
            }
            let base = |file: &str, dir: &str| ExtraFile {
                scm: scm.scm.as_str().to_owned(),
                repo: repo.clone(),
                commit: commit.clone(),
                file: file.to_owned(),
                dir: dir.to_owned(),
                target: item.target.clone(),
            };
            items.extend(scm.file.iter().map(|file| base(file, "")));
            items.extend(scm.dir.iter().map(|dir| base("", dir)));
        }
        Ok(items)
    }

    fn compose_options(&self) -> Result<Options, AcceptError> {
        let settings = self.settings;
        let createrepo = &settings.createrepo;
        let limit = createrepo.extra.changelog_limit.unwrap_or(10);
        Ok(Options {
            link_type: match settings.link_type {
                config::LinkType::Hardlink => LinkType::Hardlink,
                config::LinkType::Copy => LinkType::Copy,
                config::LinkType::HardlinkOrCopy => LinkType::HardlinkOrCopy,
                config::LinkType::Symlink => LinkType::Symlink,
                config::LinkType::AbsoluteSymlink => LinkType::AbspathSymlink,
            },
            hashed_directories: settings.hashed_directories,
            sigkeys: settings.pkgset.sigkeys.clone(),
            exclusive_arch_considers_noarch: settings.pkgset.exclusive_arch_considers_noarch,
            inherit_exclusive_arch_to_noarch: settings.pkgset.inherit_exclusive_arch_to_noarch,
            check_deps: settings.gather.check_deps,
            require_all_comps_packages: settings.gather.require_all_comps_packages,
            filter_system_release: settings.gather.filter_system_release_packages,
            checksum_type: createrepo.checksum.as_str().to_owned(),
            compression: compression(createrepo).to_owned(),
            revision: createrepo.extra.revision.clone(),
            changelog_limit: u32::try_from(limit).unwrap_or(u32::MAX),
            database: createrepo.database_compression().map(|compression| compression.as_str().to_owned()),
            media_checksums: settings.media_checksums.types.iter().map(|kind| kind.as_str().to_owned()).collect(),
            media_checksum_one_file: settings.media_checksums.one_file,
            media_checksum_base_filename: settings.media_checksums.base_filename.clone(),
            treeinfo_version: settings.treeinfo_version.clone(),
            discinfo_description: settings.release_discinfo_description.clone(),
            fail_fast: self.options.fail_fast,
        })
    }
}

/// Known arguments for createrepo_c that no job acts on yet.
fn ignored_arguments(extra: &config::CreaterepoExtra) -> Vec<&'static str> {
    [
        (!extra.distro.is_empty(), "--distro"),
        (!extra.content.is_empty(), "--content"),
        (!extra.repo.is_empty(), "--repo"),
        (extra.set_timestamp_to_revision, "--set-timestamp-to-revision"),
        (extra.compress_type.is_some(), "--compress-type"),
        (extra.simple_md_filenames, "--simple-md-filenames"),
    ]
    .into_iter()
    .filter_map(|(given, name)| given.then_some(name))
    .collect()
}

/// Groups that environments and categories name and that nothing defines: left out of the trees, as Pungi does, but not
/// without a word.
fn undefined_groups(comps: &Comps, file: &str) -> Vec<String> {
    let environments = comps.environments.iter().map(|environment| {
        ("environment", &environment.id, environment.groups.iter().chain(&environment.options).collect::<Vec<_>>())
    });
    let categories =
        comps.categories.iter().map(|category| ("category", &category.id, category.groups.iter().collect()));
    let mut warnings = Vec::new();
    for (what, id, groups) in environments.chain(categories) {
        for group in groups.into_iter().filter(|group| comps.group(&group.id).is_none()) {
            let name = &group.id;
            warnings.push(format!("{file}: {what} {id:?} names group {name:?}, which is not defined; left out"));
        }
    }
    warnings
}

/// zstd unless the configuration asks for another one (createrepo_c 1.x writes zstd by default).
fn compression(createrepo: &config::Createrepo) -> &'static str {
    createrepo.compression().map_or("zstd", config::Compression::as_str)
}

/// A repository as jobs may name it: a path is absolute and without `..`, also those of the configuration's own place.
fn location(option: &'static str, location: &RepoLocation) -> Result<String, AcceptError> {
    match location {
        RepoLocation::Path(path) => match tutti_files::without_dots(path) {
            Ok(path) => Ok(path.to_string_lossy().into_owned()),
            Err(error) => Err(AcceptError::Option { option, message: tutti_files::chain(&error) }),
        },
        RepoLocation::Url(url) => Ok(url.clone()),
    }
}

/// Paths that a user may have to fix, for messages.
pub(crate) fn shown(path: &Path) -> String {
    PathBuf::from(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_without_effect_are_named() {
        let heeded = config::CreaterepoExtra { revision: Some("1".into()), ..Default::default() };
        assert!(ignored_arguments(&heeded).is_empty());
        let ignored = config::CreaterepoExtra { simple_md_filenames: true, content: vec!["x".into()], ..heeded };
        assert_eq!(ignored_arguments(&ignored), ["--content", "--simple-md-filenames"]);
    }
}
