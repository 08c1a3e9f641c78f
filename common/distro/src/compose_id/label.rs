//! Milestone labels: `RC-1.0`, `Beta-2.1` (productmd 1.x `composeinfo.LABEL_NAMES`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Error;

/// Milestone of a label, in the order in which a release passes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are the documentation; productmd gives no more")]
pub enum Milestone {
    Ea,
    DevelPhaseExit,
    InternalAlpha,
    Alpha,
    InternalSnapshot,
    Beta,
    Snapshot,
    Rc,
    Update,
    SecurityFix,
}

impl Milestone {
    const ALL: [Self; 10] = [
        Self::Ea,
        Self::DevelPhaseExit,
        Self::InternalAlpha,
        Self::Alpha,
        Self::InternalSnapshot,
        Self::Beta,
        Self::Snapshot,
        Self::Rc,
        Self::Update,
        Self::SecurityFix,
    ];

    /// Returns the name used in labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ea => "EA",
            Self::DevelPhaseExit => "DevelPhaseExit",
            Self::InternalAlpha => "InternalAlpha",
            Self::Alpha => "Alpha",
            Self::InternalSnapshot => "InternalSnapshot",
            Self::Beta => "Beta",
            Self::Snapshot => "Snapshot",
            Self::Rc => "RC",
            Self::Update => "Update",
            Self::SecurityFix => "SecurityFix",
        }
    }
}

/// Milestone with major and minor number.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Label {
    milestone: Milestone,
    /// Digits as written: `01` is not `1`.
    major: String,
    minor: String,
}

impl Label {
    /// Returns the milestone.
    pub fn milestone(&self) -> Milestone {
        self.milestone
    }

    /// Whether the compose holds what will be supported (productmd 1.x `SUPPORTED_MILESTONES`): `final` in
    /// composeinfo.json.
    pub fn is_supported(&self) -> bool {
        matches!(self.milestone, Milestone::Rc | Milestone::Update | Milestone::SecurityFix)
    }

    /// Returns the label without its minor number: `Beta-1` for `Beta-1.2`.
    pub fn major_version(&self) -> String {
        format!("{}-{}", self.milestone.as_str(), self.major)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}.{}", self.milestone.as_str(), self.major, self.minor)
    }
}

impl FromStr for Label {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let read = || {
            let (name, numbers) = text.split_once('-')?;
            let (major, minor) = numbers.split_once('.')?;
            Some(Self {
                milestone: Milestone::ALL.into_iter().find(|known| known.as_str() == name)?,
                major: number(major)?,
                minor: number(minor)?,
            })
        };
        let hint = "use MILESTONE-X.Y; milestones are EA, DevelPhaseExit, InternalAlpha, Alpha, \
                    InternalSnapshot, Beta, Snapshot, RC, Update and SecurityFix";
        read().ok_or_else(|| Error::new("label", text, hint))
    }
}

fn number(text: &str) -> Option<String> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    (digits && !text.is_empty() && text.len() <= 16).then(|| text.to_owned())
}

impl TryFrom<String> for Label {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}
impl From<Label> for String {
    fn from(label: Label) -> Self {
        label.to_string()
    }
}
