//! Identity of a compose: release, date, type, respin, label, and the id and link name made of them.
//!
//! Pure: the date comes from the caller, and so does the knowledge of which ids are taken (productmd 1.x
//! `composeinfo.py`, pungi 4.3.2 `compose.py`).

mod label;
mod release;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

pub use label::{Label, Milestone};
pub use release::{BaseProduct, Release, ReleaseType};

/// Bytes of a compose id; it is a directory name, and image names start with it.
const MAX_ID: usize = 128;

/// What is wrong with a part of a compose's identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} '{value}' is not valid; {hint}")]
pub struct Error {
    /// Which part.
    pub what: &'static str,
    /// The refused value.
    pub value: String,
    /// What it should look like.
    pub hint: &'static str,
}

impl Error {
    fn new(what: &'static str, value: &str, hint: &'static str) -> Self {
        // Hostile values are cut: the message goes to logs.
        let value = value.chars().take(80).map(|c| if c.is_control() { '?' } else { c }).collect();
        Self { what, value, hint }
    }
}

/// Kind of a compose; decides the suffix of the date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ComposeType {
    /// Meant for release: no suffix.
    Production,
    /// Made every night: `.n`.
    Nightly,
    /// A trial: `.t`.
    Test,
    /// Made for a change: `.ci`.
    Ci,
    /// Made by a developer: `.d`.
    Development,
}

impl ComposeType {
    /// All types.
    pub const ALL: [Self; 5] = [Self::Production, Self::Nightly, Self::Test, Self::Ci, Self::Development];

    /// Returns the name that productmd uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Nightly => "nightly",
            Self::Test => "test",
            Self::Ci => "ci",
            Self::Development => "development",
        }
    }

    /// Returns what follows the date in an id.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Production => "",
            Self::Nightly => ".n",
            Self::Test => ".t",
            Self::Ci => ".ci",
            Self::Development => ".d",
        }
    }
}

impl fmt::Display for ComposeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ComposeType {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let hint = "use production, nightly, test, ci or development";
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| Error::new("compose type", text, hint))
    }
}

/// Id of a compose, safe as a file name: ASCII letters, digits and `._+~@-`, beginning with a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ComposeId(String);

impl ComposeId {
    /// Checks `text`.
    ///
    /// # Errors
    /// If `text` is empty, too long, or has other characters than those allowed.
    pub fn new(text: impl Into<String>) -> Result<Self, Error> {
        let text = text.into();
        check_part("compose id", &text)?;
        Ok(Self(text))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ComposeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl AsRef<str> for ComposeId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}
impl FromStr for ComposeId {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::new(text)
    }
}
impl TryFrom<String> for ComposeId {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        Self::new(text)
    }
}
impl From<ComposeId> for String {
    fn from(id: ComposeId) -> Self {
        id.0
    }
}

/// Checks a text that becomes part of a file name.
fn check_part(what: &'static str, text: &str) -> Result<(), Error> {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._+~@-".contains(&byte));
    let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if plain && begins && text.len() <= MAX_ID {
        return Ok(());
    }
    let hint = "use at most 128 ASCII letters, digits and . _ + ~ @ - and begin with a letter or digit";
    Err(Error::new(what, text, hint))
}

/// Day of a compose, `YYYYMMDD`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ComposeDate(String);

impl ComposeDate {
    /// Checks `text`: eight digits that name a day.
    ///
    /// # Errors
    /// If `text` is no such day.
    pub fn new(text: impl Into<String>) -> Result<Self, Error> {
        let text = text.into();
        let digits = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit());
        if digits && Date::strptime("%Y%m%d", &text).is_ok() {
            return Ok(Self(text));
        }
        Err(Error::new("compose date", &text, "use YYYYMMDD"))
    }

    /// Returns the day of `seconds` since 1970 in `zone`: the system's zone for the time of the clock, UTC for
    /// `SOURCE_DATE_EPOCH`.
    ///
    /// # Errors
    /// If the year does not have four digits.
    pub fn from_epoch(seconds: i64, zone: &TimeZone) -> Result<Self, Error> {
        let hint = "use seconds since 1970";
        let time = Timestamp::from_second(seconds).map_err(|_| Error::new("time", &seconds.to_string(), hint))?;
        let day = zone.to_datetime(time).date();
        Self::new(format!("{:04}{:02}{:02}", day.year(), day.month(), day.day()))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ComposeDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl TryFrom<String> for ComposeDate {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        Self::new(text)
    }
}
impl From<ComposeDate> for String {
    fn from(date: ComposeDate) -> Self {
        date.0
    }
}

/// What tells the composes of one release apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComposeIdentity {
    /// Day at the start.
    pub date: ComposeDate,
    /// Kind.
    pub kind: ComposeType,
    /// Count of composes of that day and kind, from 0.
    pub respin: u32,
}

impl ComposeIdentity {
    /// Returns the id of this compose of `release` (productmd 1.x `ComposeInfo.create_compose_id`).
    ///
    /// # Errors
    /// If the result has characters that an id may not have, or is too long.
    pub fn id(&self, release: &Release) -> Result<ComposeId, Error> {
        let mut id = format!("{}-{}{}", release.short, release.version, release.kind.suffix());
        if let Some(base) = &release.base_product {
            id.push_str(&format!("-{}-{}{}", base.short, base.version, base.kind.suffix()));
        }
        id.push_str(&format!("-{}{}.{}", self.date, self.kind.suffix(), self.respin));
        ComposeId::new(id)
    }

    /// Returns the identity to try if the id of this one is taken.
    pub fn next_respin(&self) -> Self {
        Self { respin: self.respin.saturating_add(1), ..self.clone() }
    }
}

/// Returns the name of the link to the newest compose of a release (pungi 4.3.2 `compose.py`, `compose_latest_dir`).
///
/// `components` keeps only so many dotted parts of the version.
///
/// # Errors
/// If the release has characters that a file name may not have.
pub fn latest_link(release: &Release, components: Option<usize>) -> Result<String, Error> {
    let version: Vec<&str> = release.version.split('.').take(components.unwrap_or(usize::MAX)).collect();
    let mut name = format!("latest-{}-{}", release.short, version.join("."));
    if let Some(base) = &release.base_product {
        name.push_str(&format!("-{}-{}", base.short, base.version));
    }
    check_part("link name", &name)?;
    Ok(name)
}
