//! Regular expressions of the configuration: Python's syntax and `re.match`, which is anchored at the start only.
//!
//! The `regex` crate runs them in linear time. Where Python (3.11 `re`) writes the same thing differently it is translated; what has no
//! counterpart (look-around, references to groups) is refused by name.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest expression in bytes.
const MAX_LENGTH: usize = 4096;
/// Largest compiled expression in bytes.
const MAX_COMPILED: usize = 256 << 10;

/// Why an expression was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("regular expression {pattern:?}: {reason}")]
pub struct PatternError {
    /// Expression as written.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Expression that is matched at the start of a variant's uid.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern {
    source: String,
    regex: regex::Regex,
}

impl Pattern {
    /// Compiles an expression in Python's syntax.
    ///
    /// # Errors
    /// Fails when the expression is wrong, too large, or uses what cannot be matched in linear time.
    pub fn new(source: &str) -> Result<Self, PatternError> {
        let error = |reason: String| PatternError { pattern: source.chars().take(100).collect(), reason };
        if source.len() > MAX_LENGTH {
            return Err(error(format!("longer than {MAX_LENGTH} bytes")));
        }
        let translated = translate(source).map_err(|reason| error(reason.to_owned()))?;
        let regex = regex::RegexBuilder::new(&format!("\\A(?:{translated})"))
            .size_limit(MAX_COMPILED)
            .nest_limit(64)
            .build()
            .map_err(|cause| error(last_line(&cause)))?;
        Ok(Self { source: source.to_owned(), regex })
    }

    /// Tells whether `text` starts with a match.
    pub fn matches(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// Returns the expression as written.
    pub fn as_str(&self) -> &str {
        &self.source
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.source, f)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Pattern {}

impl TryFrom<String> for Pattern {
    type Error = PatternError;

    fn try_from(source: String) -> Result<Self, PatternError> {
        Self::new(&source)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.source
    }
}

/// The library explains errors in several lines, the reason in the last.
fn last_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default().trim();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

/// Translates Python's syntax into that of the `regex` crate.
fn translate(source: &str) -> Result<String, &'static str> {
    let mut out = String::new();
    let mut in_class = false;
    let mut characters = source.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                None => return Err("ends with a backslash"),
                Some('Z') if !in_class => out.push_str("\\z"),
                Some('1'..='9') if !in_class => {
                    return Err("references to groups (\\1) are not supported");
                }
                Some(escaped @ ('<' | '>')) => out.push(escaped),
                Some(escaped) => {
                    out.push('\\');
                    out.push(escaped);
                }
            },
            '[' if in_class => out.push_str("\\["),
            // Doubled, these are set operations of the regex crate; Python takes them as they stand.
            '&' | '~' if in_class => {
                out.push('\\');
                out.push(character);
            }
            '[' => {
                in_class = true;
                out.push('[');
                if characters.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
                // A bracket right at the start stands for itself.
                if characters.next_if_eq(&']').is_some() {
                    out.push_str("\\]");
                }
            }
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '(' if !in_class && characters.peek() == Some(&'?') => {
                let rest: String = characters.clone().skip(1).take(2).collect();
                check_group(&rest)?;
                out.push('(');
            }
            _ => out.push(character),
        }
    }
    Ok(out)
}

/// `rest` are the two characters after `(?`.
fn check_group(rest: &str) -> Result<(), &'static str> {
    match rest {
        "<=" | "<!" => Err("look-behind is not supported"),
        "P=" => Err("references to groups (?P=…) are not supported"),
        _ if rest.starts_with(['=', '!']) => {
            Err("look-ahead is not supported; list the wanted variants, e.g. ^(Server|Client)$")
        }
        _ if rest.starts_with('(') => Err("conditional groups are not supported"),
        _ if rest.starts_with('>') => Err("atomic groups are not supported"),
        _ if rest.starts_with('#') => Err("comments (?#…) are not supported"),
        _ => Ok(()),
    }
}
