//! Values of a configuration file, each with the place it came from.

use std::fmt;
use std::sync::Arc;

/// Place of a token or value in a configuration file.
///
/// Lines and columns count from 1; columns count characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// File as the user named it, or `<command line>`.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl Location {
    /// Returns the place of values that come from the command line.
    pub fn command_line() -> Self {
        Self { file: Arc::from("<command line>"), line: 1, column: 1 }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One value of a configuration file.
#[derive(Clone, Debug)]
pub struct Value {
    /// What the value is.
    pub kind: Kind,
    /// Where it was written; for the use of a variable, where it was used.
    pub at: Location,
}

/// What a [`Value`] is.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Text between quotes, taken as it stands: escapes are not interpreted.
    Str(String),
    /// Whole number.
    Int(i64),
    /// Number with a decimal point.
    Float(f64),
    /// `True` or `False`.
    Bool(bool),
    /// `None`.
    None,
    /// `[…]`.
    List(Vec<Value>),
    /// `(…)`; never taken for a parenthesised value.
    Tuple(Vec<Value>),
    /// `{…}`.
    Dict(Dict),
}

/// Dictionary that keeps the order in which its entries were written.
///
/// Keys are scalar and distinct.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dict {
    /// Keys and values, in order.
    pub entries: Vec<(Value, Value)>,
}

/// Two values are equal when they hold the same, wherever they were written.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

impl Dict {
    /// Returns the value under a string key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.iter().find(|(k, _)| k.as_str() == Some(key)).map(|(_, value)| value)
    }
}

impl Value {
    /// Returns a value of this kind at this place.
    pub fn new(kind: Kind, at: Location) -> Self {
        Self { kind, at }
    }

    /// Returns the text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match &self.kind {
            Kind::Str(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the items of a list or a tuple; both count as arrays.
    pub fn as_array(&self) -> Option<&[Value]> {
        match &self.kind {
            Kind::List(items) | Kind::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// Returns the dictionary.
    pub fn as_dict(&self) -> Option<&Dict> {
        match &self.kind {
            Kind::Dict(dict) => Some(dict),
            _ => None,
        }
    }

    /// Returns the truth value.
    pub fn as_bool(&self) -> Option<bool> {
        match self.kind {
            Kind::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// Returns the whole number.
    pub fn as_int(&self) -> Option<i64> {
        match self.kind {
            Kind::Int(value) => Some(value),
            _ => None,
        }
    }

    /// Describes the value in a few words, for error messages.
    pub fn describe(&self) -> String {
        match &self.kind {
            Kind::Str(text) => format!("the string {}", quoted(text)),
            Kind::Int(value) => format!("the number {value}"),
            Kind::Float(value) => format!("the number {value:?}"),
            Kind::Bool(true) => "True".to_owned(),
            Kind::Bool(false) => "False".to_owned(),
            Kind::None => "None".to_owned(),
            Kind::List(items) => format!("a list of {}", items.len()),
            Kind::Tuple(items) => format!("a tuple of {}", items.len()),
            Kind::Dict(dict) => format!("a dictionary of {}", dict.entries.len()),
        }
    }

    /// Returns the value as JSON: tuples become arrays, keys become strings.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.kind {
            Kind::Str(text) => Json::from(text.as_str()),
            Kind::Int(value) => Json::from(*value),
            Kind::Float(value) => Json::from(*value),
            Kind::Bool(value) => Json::from(*value),
            Kind::None => Json::Null,
            Kind::List(items) | Kind::Tuple(items) => Json::Array(items.iter().map(Value::to_json).collect()),
            Kind::Dict(dict) => {
                Json::Object(dict.entries.iter().map(|(key, value)| (key.key_text(), value.to_json())).collect())
            }
        }
    }

    /// Returns the text that stands for a dictionary key, as Python's json module writes it.
    pub fn key_text(&self) -> String {
        match &self.kind {
            Kind::Str(text) => text.clone(),
            Kind::Int(value) => value.to_string(),
            Kind::Float(value) => format!("{value:?}"),
            Kind::Bool(value) => value.to_string(),
            Kind::None => "null".to_owned(),
            Kind::List(_) | Kind::Tuple(_) | Kind::Dict(_) => String::new(),
        }
    }
}

/// Returns at most 60 characters of `text` in quotes, with control characters escaped.
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN: usize = 60;
    let mut out = String::from("\"");
    for (index, character) in text.chars().enumerate() {
        if index == SHOWN {
            out.push('…');
            break;
        }
        if character.is_control() {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    out.push('"');
    out
}
