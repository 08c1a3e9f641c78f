//! Files at the root of an install tree: `.treeinfo` (productmd 1.x `treeinfo.py`), `.discinfo` and `media.repo`
//! (pungi 4.3.2 `metadata.py`).
//!
//! Time is an argument: `SOURCE_DATE_EPOCH`, or the start of the compose.

mod ini;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::compose_id::Release;
use crate::layout::{Arch, Trees};
use crate::variants::{Variant, VariantKind, Variants};

use ini::Ini;

/// A value that a tree file cannot hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {what} '{}' {reason}", value.escape_debug())]
pub struct Error {
    /// File that the value is meant for.
    pub file: &'static str,
    /// What the value is.
    pub what: String,
    /// The refused value.
    pub value: String,
    /// Why it is refused.
    pub reason: &'static str,
}

/// Name, short name and version of a release or base product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    /// Name.
    pub name: String,
    /// Short name.
    pub short: String,
    /// Version.
    pub version: String,
}

/// Paths of a variant relative to the tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TreePaths {
    /// Directory of packages.
    pub packages: Option<String>,
    /// Directory of the repository.
    pub repository: Option<String>,
    /// Directory of source packages.
    pub source_packages: Option<String>,
    /// Directory of the source repository.
    pub source_repository: Option<String>,
    /// Directory of debug packages.
    pub debug_packages: Option<String>,
    /// Directory of the debug repository.
    pub debug_repository: Option<String>,
    /// Product certificate.
    pub identity: Option<String>,
}

/// Type of a variant in a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreeVariantKind {
    /// The tree's own variant.
    Variant,
    /// An optional variant with a tree of its own.
    Optional,
    /// An addon inside the tree.
    Addon,
}

/// A variant of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeVariant {
    /// Id without dashes.
    pub id: String,
    /// Unique id.
    pub uid: String,
    /// Name for people.
    pub name: String,
    /// Type.
    pub kind: TreeVariantKind,
    /// Where it lies.
    pub paths: TreePaths,
    /// Addons inside the tree.
    pub addons: Vec<TreeVariant>,
}

/// Disc of a media set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Media {
    /// Number of this disc, from 1.
    pub disc_number: u32,
    /// Number of discs.
    pub total_discs: u32,
}

/// Content of `.treeinfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeInfo {
    /// Release of the tree; that of the product itself for a layered product.
    pub release: Product,
    /// What the release sits on; makes it layered.
    pub base_product: Option<Product>,
    /// Tree architecture.
    pub arch: String,
    /// Build time in seconds since 1970, not 0.
    pub build_timestamp: i64,
    /// Platforms besides the architecture (`xen`).
    pub platforms: BTreeSet<String>,
    /// Variants that the tree holds; at least one.
    pub variants: Vec<TreeVariant>,
    /// Algorithm and digest by path relative to the tree.
    pub checksums: BTreeMap<String, (String, String)>,
    /// Path of each image by platform and name.
    pub images: BTreeMap<String, BTreeMap<String, String>>,
    /// Installer image.
    pub main_image: Option<String>,
    /// Set on discs only.
    pub media: Option<Media>,
}

const FILE: &str = ".treeinfo";

impl TreeInfo {
    /// Describes the tree of `variant` for `arch`, without checksums and images.
    ///
    /// A layered product brings its own release and takes its parent's place as variant (pungi 4.3.2 `metadata.py`).
    /// `None` for an addon: it has no tree of its own.
    pub fn for_variant(
        release: &Release,
        variants: &Variants,
        variant: &Variant,
        arch: &str,
        build_timestamp: i64,
    ) -> Option<Self> {
        if variant.kind == VariantKind::Addon {
            return None;
        }
        let product = |name: &str, short: &str, version: &str| Product {
            name: name.to_owned(),
            short: short.to_owned(),
            version: version.to_owned(),
        };
        let own = product(&release.name, &release.short, &release.version);
        let base = release.base_product.as_ref().map(|base| product(&base.name, &base.short, &base.version));
        let (release, base_product, shown) = match (&variant.release, variants.parent(variant)) {
            (Some(layered), Some(parent)) => {
                let release = product(&layered.name, &layered.short, &layered.version);
                // The base product of treeinfo has a major version only.
                let major = own.version.split('.').next().unwrap_or_default().to_owned();
                (release, Some(Product { version: major, ..own }), parent)
            }
            _ => (own, base, variant),
        };
        Some(Self {
            release,
            base_product,
            arch: arch.to_owned(),
            build_timestamp,
            platforms: BTreeSet::new(),
            variants: vec![tree_variant(variants, variant, shown, arch)],
            checksums: BTreeMap::new(),
            images: BTreeMap::new(),
            main_image: None,
            media: None,
        })
    }

    /// Adds the digest of a file; `path` is relative to the tree.
    pub fn add_checksum(&mut self, path: impl Into<String>, algorithm: &str, digest: &str) {
        self.checksums.insert(path.into(), (algorithm.to_owned(), digest.to_owned()));
    }

    /// Writes `.treeinfo` in the bytes that productmd would write.
    ///
    /// # Errors
    /// If productmd would refuse a value, or the format cannot hold it.
    pub fn to_text(&self) -> Result<String, Error> {
        let mut ini = Ini::new(FILE);
        ini.set("header", "type", "productmd.treeinfo")?;
        ini.set("header", "version", "1.2")?;
        product_section(&mut ini, "release", &self.release)?;
        if let Some(base) = &self.base_product {
            ini.set("release", "is_layered", "true")?;
            product_section(&mut ini, "base_product", base)?;
        }
        let platforms = self.platforms();
        if self.build_timestamp <= 0 {
            return Err(error("build timestamp", self.build_timestamp.to_string(), "is not a positive number"));
        }
        for key in ["arch", "platforms", "build_timestamp"] {
            let value = match key {
                "arch" => self.arch.clone(),
                "platforms" => platforms.clone(),
                _ => self.build_timestamp.to_string(),
            };
            ini.set("tree", key, &value)?;
        }
        let mut uids: Vec<&str> = self.variants.iter().map(|variant| variant.uid.as_str()).collect();
        uids.sort_unstable();
        ini.set("tree", "variants", &uids.join(","))?;
        for variant in &self.variants {
            variant_section(&mut ini, variant, None)?;
        }
        self.files(&mut ini)?;
        self.general(&mut ini, &platforms, &uids)?;
        Ok(ini.to_text())
    }

    fn platforms(&self) -> String {
        let mut platforms: BTreeSet<&str> = self.platforms.iter().map(String::as_str).collect();
        platforms.insert(&self.arch);
        platforms.into_iter().collect::<Vec<_>>().join(",")
    }

    fn files(&self, ini: &mut Ini) -> Result<(), Error> {
        for (path, (algorithm, digest)) in &self.checksums {
            relative(path)?;
            ini.set("checksums", path, &format!("{algorithm}:{digest}"))?;
        }
        for (platform, images) in &self.images {
            if platform != &self.arch && !self.platforms.contains(platform) {
                return Err(error("platform of images", platform.clone(), "is not in the list of platforms"));
            }
            for (name, path) in images {
                relative(path)?;
                ini.set(&format!("images-{platform}"), name, path)?;
            }
        }
        if let Some(path) = &self.main_image {
            relative(path)?;
            ini.set("stage2", "mainimage", path)?;
        }
        if let Some(media) = self.media {
            ini.set("media", "discnum", &media.disc_number.to_string())?;
            ini.set("media", "totaldiscs", &media.total_discs.to_string())?;
        }
        Ok(())
    }

    /// The section for readers older than productmd.
    fn general(&self, ini: &mut Ini, platforms: &str, uids: &[&str]) -> Result<(), Error> {
        let main = self.variants.iter().min_by(|left, right| left.uid.cmp(&right.uid));
        let Some(main) = main else {
            return Err(error("tree", self.arch.clone(), "has no variant"));
        };
        ini.comment("general", "WARNING.0", "This section provides compatibility with pre-productmd treeinfos.");
        ini.comment("general", "WARNING.1", "Read productmd documentation for details about new format.");
        let name = format!("{} {}", self.release.name, self.release.version);
        ini.set("general", "name", &name)?;
        ini.set("general", "family", &self.release.name)?;
        ini.set("general", "version", &self.release.version)?;
        ini.set("general", "arch", &self.arch)?;
        ini.set("general", "platforms", platforms)?;
        ini.set("general", "timestamp", &self.build_timestamp.to_string())?;
        ini.set("general", "variants", &uids.join(","))?;
        ini.set("general", "variant", &main.uid)?;
        let source = self.arch == "src";
        let choose = |binary: &Option<String>, of_source: &Option<String>| match binary {
            None if source => of_source.clone(),
            other => other.clone(),
        };
        if let Some(path) = choose(&main.paths.packages, &main.paths.source_packages) {
            ini.set("general", "packagedir", &path)?;
        }
        if let Some(path) = choose(&main.paths.repository, &main.paths.source_repository) {
            ini.set("general", "repository", &path)?;
        }
        Ok(())
    }
}

fn error(what: &str, value: impl Into<String>, reason: &'static str) -> Error {
    Error { file: FILE, what: what.to_owned(), value: value.into(), reason }
}

fn relative(path: &str) -> Result<(), Error> {
    let outside = path.starts_with('/') || path.split('/').any(|part| part == "..");
    if path.is_empty() || outside {
        return Err(error("path", path, "is not a relative path inside the tree"));
    }
    Ok(())
}

fn product_section(ini: &mut Ini, section: &str, product: &Product) -> Result<(), Error> {
    ini.set(section, "name", &product.name)?;
    ini.set(section, "short", &product.short)?;
    ini.set(section, "version", &product.version)
}

fn variant_section(ini: &mut Ini, variant: &TreeVariant, parent: Option<&str>) -> Result<(), Error> {
    if variant.id.is_empty() || variant.id.contains('-') {
        return Err(error("variant id", variant.id.clone(), "is empty or has a dash"));
    }
    if let Some(parent) = parent.filter(|parent| variant.uid != format!("{parent}-{}", variant.id)) {
        return Err(error("variant uid", variant.uid.clone(), "does not begin with its parent's").with(parent));
    }
    let (prefix, kind) = match variant.kind {
        TreeVariantKind::Variant => ("variant", "variant"),
        TreeVariantKind::Optional => ("variant", "optional"),
        TreeVariantKind::Addon => ("addon", "addon"),
    };
    let section = format!("{prefix}-{}", variant.uid);
    ini.set(&section, "id", &variant.id)?;
    ini.set(&section, "uid", &variant.uid)?;
    ini.set(&section, "name", &variant.name)?;
    ini.set(&section, "type", kind)?;
    let paths = &variant.paths;
    for (key, path) in [
        ("packages", &paths.packages),
        ("repository", &paths.repository),
        ("source_packages", &paths.source_packages),
        ("source_repository", &paths.source_repository),
        ("debug_packages", &paths.debug_packages),
        ("debug_repository", &paths.debug_repository),
        ("identity", &paths.identity),
    ] {
        if let Some(path) = path {
            ini.set(&section, key, path)?;
        }
    }
    if let Some(parent) = parent {
        ini.set(&section, "parent", parent)?;
    }
    if !variant.addons.is_empty() {
        let mut uids: Vec<&str> = variant.addons.iter().map(|addon| addon.uid.as_str()).collect();
        uids.sort_unstable();
        ini.set(&section, "addons", &uids.join(","))?;
    }
    // Addons have no addons in productmd either: one level is all there is.
    if parent.is_none() {
        for addon in &variant.addons {
            variant_section(ini, addon, Some(&variant.uid))?;
        }
    }
    Ok(())
}

impl Error {
    fn with(mut self, parent: &str) -> Self {
        self.what = format!("{} below '{parent}'", self.what);
        self
    }
}

/// `variant` gives the place, `shown` the name: they differ for a layered product.
fn tree_variant(variants: &Variants, variant: &Variant, shown: &Variant, arch: &str) -> TreeVariant {
    let tree = format!("{}/", Trees::of(variant).os_tree(Arch::Binary(arch)));
    let inside = |path: String| match path.strip_prefix(&tree) {
        Some(path) => path.to_owned(),
        None => ".".to_owned(),
    };
    let paths = |of: &Variant| TreePaths {
        packages: Some(inside(Trees::of(of).packages(Arch::Binary(arch)))),
        repository: Some(inside(Trees::of(of).repository(Arch::Binary(arch)))),
        ..TreePaths::default()
    };
    let addons = variants.children(&variant.uid).filter(|child| {
        child.kind == VariantKind::Addon && !child.is_empty && child.arches.iter().any(|own| own == arch)
    });
    TreeVariant {
        id: shown.id.replace('-', ""),
        uid: shown.uid.to_string(),
        name: shown.name.clone(),
        kind: match shown.kind {
            VariantKind::Optional => TreeVariantKind::Optional,
            _ => TreeVariantKind::Variant,
        },
        paths: paths(variant),
        addons: addons
            .map(|addon| TreeVariant {
                id: addon.id.clone(),
                uid: addon.uid.to_string(),
                name: addon.name.clone(),
                kind: TreeVariantKind::Addon,
                paths: paths(addon),
                addons: Vec::new(),
            })
            .collect(),
    }
}

/// Returns the description of a tree or disc, without a configured one (pungi 4.3.2 `metadata.py`).
pub fn description(release: &Release, variant: &Variant) -> String {
    match (&variant.release, &release.base_product) {
        (Some(layered), _) => {
            let major = release.version.split('.').next().unwrap_or_default();
            format!("{} {} for {} {major}", layered.name, layered.version, release.name)
        }
        (None, Some(base)) => format!("{} {} for {} {}", release.name, release.version, base.name, base.version),
        (None, None) => format!("{} {}", release.name, release.version),
    }
}

/// Returns the text of `.discinfo`. No disc numbers mean all discs.
///
/// # Errors
/// If description or architecture is empty or not one line.
pub fn disc_info(timestamp: i64, description: &str, arch: &str, discs: &[u32]) -> Result<String, Error> {
    for (what, value) in [("description", description), ("architecture", arch)] {
        one_line(".discinfo", what, value)?;
    }
    let discs: Vec<String> = discs.iter().map(u32::to_string).collect();
    let discs = if discs.is_empty() { "ALL".to_owned() } else { discs.join(",") };
    Ok(format!("{timestamp}\n{description}\n{arch}\n{discs}\n"))
}

/// Returns the text of `media.repo`; `timestamp` is that of `.discinfo`.
///
/// # Errors
/// If the description is empty or not one line.
pub fn media_repo(timestamp: i64, description: &str) -> Result<String, Error> {
    one_line("media.repo", "description", description)?;
    Ok(format!("[InstallMedia]\nname={description}\nmediaid={timestamp}\nmetadata_expire=-1\ngpgcheck=0\ncost=500\n"))
}

fn one_line(file: &'static str, what: &str, value: &str) -> Result<(), Error> {
    if !value.trim().is_empty() && value.trim() == value && !value.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Error { file, what: what.to_owned(), value: value.to_owned(), reason: "is not one line of text" })
}
