//! What can be wrong with a configuration.

use std::fmt;
use std::path::PathBuf;

use super::value::Location;

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file could not be read.
    #[error("cannot read configuration {}{}", path.display(), ImportedAt(.imported_at.as_ref()))]
    Read {
        /// File that was asked for.
        path: PathBuf,
        /// Place of the import, when another file asked for it.
        imported_at: Option<Location>,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// The file is something else than a text file.
    #[error("{}: not a text file ({reason}); a configuration is UTF-8 text in Pungi's .conf dialect or JSON", path.display())]
    NotText {
        /// File that was asked for.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The file breaks the grammar.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// Options have wrong values or contradict each other.
    #[error("{}", OptionErrors(.0))]
    Options(Vec<OptionError>),
}

/// Break of the grammar at one place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {message}")]
pub struct SyntaxError {
    /// Place.
    pub at: Location,
    /// What is wrong and, where it helps, what to write instead.
    pub message: String,
}

/// Wrong, missing or contradicting option.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct OptionError {
    /// Place of the value; absent for a missing option.
    pub at: Option<Location>,
    /// Name of the option.
    pub option: String,
    /// What was expected.
    pub message: String,
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(at) = &self.at {
            write!(f, "{}:{}: ", at.file, at.line)?;
        }
        write!(f, "{}: {}", self.option, self.message)
    }
}

struct ImportedAt<'a>(Option<&'a Location>);

impl fmt::Display for ImportedAt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(at) => write!(f, ", imported by {}:{}", at.file, at.line),
            None => Ok(()),
        }
    }
}

struct OptionErrors<'a>(&'a [OptionError]);

impl fmt::Display for OptionErrors<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl OptionError {
    /// Returns an error about the value at this place.
    pub(crate) fn new(at: &Location, option: &str, message: impl Into<String>) -> Self {
        Self { at: Some(at.clone()), option: option.to_owned(), message: message.into() }
    }
}

/// Something the user should know, although the configuration can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// Known options of one group that are accepted without effect.
    NotSupportedYet {
        /// What the options are about.
        group: &'static str,
        /// Names of the options, sorted.
        options: Vec<String>,
    },
    /// Option nobody knows.
    Unknown {
        /// Place.
        at: Location,
        /// Name as written.
        option: String,
        /// Known name that looks most like it.
        nearest: Option<&'static str>,
    },
    /// Option that Pungi itself no longer reads.
    Dead {
        /// Place.
        at: Location,
        /// Name.
        option: String,
    },
    /// Value that is accepted but not taken as it stands.
    Note {
        /// Place.
        at: Location,
        /// Name of the option.
        option: String,
        /// What happens instead.
        message: String,
    },
}

impl Warning {
    /// Returns the place that the warning is about.
    pub fn at(&self) -> Option<&Location> {
        match self {
            Self::NotSupportedYet { .. } => None,
            Self::Unknown { at, .. } | Self::Dead { at, .. } | Self::Note { at, .. } => Some(at),
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSupportedYet { group, options } => {
                write!(f, "not supported yet ({group}): {}, ignored", options.join(", "))
            }
            Self::Unknown { at, option, nearest } => {
                write!(f, "{}:{}: {option}: unknown option, ignored", at.file, at.line)?;
                match nearest {
                    Some(name) => write!(f, "; did you mean {name}?"),
                    None => Ok(()),
                }
            }
            Self::Dead { at, option } => {
                write!(f, "{}:{}: {option}: no longer has any effect, ignored", at.file, at.line)
            }
            Self::Note { at, option, message } => write!(f, "{}:{}: {option}: {message}", at.file, at.line),
        }
    }
}
