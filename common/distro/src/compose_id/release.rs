//! Release and base product (productmd 1.x `composeinfo.Release`, `common.RELEASE_TYPES`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Error, check_part};

/// Kind of a release.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names are those of productmd, which explains none")]
pub enum ReleaseType {
    Fast,
    #[default]
    Ga,
    Updates,
    UpdatesTesting,
    Eus,
    Aus,
    Els,
    Tus,
    E4s,
}

impl ReleaseType {
    const ALL: [Self; 9] = [
        Self::Fast,
        Self::Ga,
        Self::Updates,
        Self::UpdatesTesting,
        Self::Eus,
        Self::Aus,
        Self::Els,
        Self::Tus,
        Self::E4s,
    ];

    /// Returns the name that productmd uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Ga => "ga",
            Self::Updates => "updates",
            Self::UpdatesTesting => "updates-testing",
            Self::Eus => "eus",
            Self::Aus => "aus",
            Self::Els => "els",
            Self::Tus => "tus",
            Self::E4s => "e4s",
        }
    }

    /// Returns what follows the version in a compose id.
    pub fn suffix(self) -> String {
        match self {
            Self::Ga => String::new(),
            other => format!("-{other}"),
        }
    }
}

impl fmt::Display for ReleaseType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ReleaseType {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let lower = text.to_ascii_lowercase();
        let hint = "use ga, fast, updates, updates-testing, eus, aus, els, tus or e4s";
        Self::ALL.into_iter().find(|kind| kind.as_str() == lower).ok_or_else(|| Error::new("release type", text, hint))
    }
}

/// The product that a layered release sits on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseProduct {
    /// Name, for example `Fedora`.
    pub name: String,
    /// Short name.
    pub short: String,
    /// Version, usually the major one.
    pub version: String,
    /// Kind.
    pub kind: ReleaseType,
}

/// What is composed. Layered exactly if it has a base product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Name, for example `Fedora`.
    pub name: String,
    /// Short name.
    pub short: String,
    /// Version, minor part included.
    pub version: String,
    /// Kind.
    pub kind: ReleaseType,
    /// Not meant for the public.
    pub internal: bool,
    /// What it sits on.
    pub base_product: Option<BaseProduct>,
}

impl Release {
    /// Checks names and versions as productmd does, and that short names and versions can be part of file names.
    ///
    /// # Errors
    /// Names the first part that does not fit.
    pub fn validate(&self) -> Result<(), Error> {
        validate_parts(
            ["release name", "release short name", "release version"],
            &self.name,
            &self.short,
            &self.version,
        )?;
        match &self.base_product {
            None => Ok(()),
            Some(base) => validate_parts(
                ["base product name", "base product short name", "base product version"],
                &base.name,
                &base.short,
                &base.version,
            ),
        }
    }

    /// Whether the release sits on another product.
    pub fn is_layered(&self) -> bool {
        self.base_product.is_some()
    }
}

fn validate_parts(what: [&'static str; 3], name: &str, short: &str, version: &str) -> Result<(), Error> {
    if name.trim().is_empty() || name.chars().any(char::is_control) || name.len() > 256 {
        return Err(Error::new(what[0], name, "use a line of text"));
    }
    check_part(what[1], short)?;
    check_part(what[2], version)?;
    let numeric = version.starts_with(|first: char| first.is_ascii_digit());
    let parts = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if numeric && !version.split('.').all(parts) {
        let hint = "a version that begins with a digit is numbers separated by dots (productmd refuses others)";
        return Err(Error::new(what[2], version, hint));
    }
    Ok(())
}
