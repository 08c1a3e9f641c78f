//! JSON configurations, read into the same values as the `.conf` dialect, with places.
//!
//! serde_json reads each string and number; the structure is walked here, so that every value keeps its place, a key that appears twice is found
//! and nesting is bounded.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::error::SyntaxError;
use super::parse::MAX_DEPTH;
use super::value::{Dict, Kind, Location, Value};

type Result<T> = std::result::Result<T, SyntaxError>;

/// Reads a JSON object as options by name.
pub(crate) fn parse(text: &str, file: Arc<str>) -> Result<BTreeMap<String, Value>> {
    let mut reader = Reader { rest: text.strip_prefix('\u{feff}').unwrap_or(text), file, line: 1, column: 1 };
    let value = reader.value(0)?;
    reader.skip_blank();
    if !reader.rest.is_empty() {
        return reader.fail("expected the end of the file");
    }
    let at = value.at.clone();
    let Kind::Dict(dict) = value.kind else {
        return Err(SyntaxError { at, message: "expected an object of options".to_owned() });
    };
    Ok(dict.entries.into_iter().map(|(key, value)| (key.key_text(), value)).collect())
}

struct Reader<'a> {
    rest: &'a str,
    file: Arc<str>,
    line: u32,
    column: u32,
}

impl<'a> Reader<'a> {
    fn here(&self) -> Location {
        Location { file: Arc::clone(&self.file), line: self.line, column: self.column }
    }

    fn fail<T>(&self, message: impl Into<String>) -> Result<T> {
        Err(SyntaxError { at: self.here(), message: message.into() })
    }

    /// Moves `length` bytes on; `length` ends at a character boundary.
    fn advance(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length);
        for character in taken.chars() {
            if character == '\n' {
                self.line = self.line.saturating_add(1);
                self.column = 1;
            } else {
                self.column = self.column.saturating_add(1);
            }
        }
        self.rest = rest;
        taken
    }

    fn skip_blank(&mut self) {
        let blank = |c: char| matches!(c, ' ' | '\t' | '\n' | '\r');
        let length = self.rest.len() - self.rest.trim_start_matches(blank).len();
        self.advance(length);
    }

    /// Passes over `wanted` after blanks, or tells that something else stands there.
    fn take(&mut self, wanted: char) -> bool {
        self.skip_blank();
        let found = self.rest.starts_with(wanted);
        if found {
            self.advance(wanted.len_utf8());
        }
        found
    }

    fn value(&mut self, level: usize) -> Result<Value> {
        self.skip_blank();
        let at = self.here();
        if level > MAX_DEPTH {
            return self.fail(format!("values nested more than {MAX_DEPTH} deep"));
        }
        let kind = match self.rest.chars().next() {
            None => return self.fail("expected a value, found the end of the file"),
            Some('{') => self.object(level)?,
            Some('[') => self.array(level)?,
            Some('"') => Kind::Str(self.string()?),
            Some(_) => self.word()?,
        };
        Ok(Value::new(kind, at))
    }

    fn array(&mut self, level: usize) -> Result<Kind> {
        self.advance(1);
        let mut items = Vec::new();
        if self.take(']') {
            return Ok(Kind::List(items));
        }
        loop {
            items.push(self.value(level + 1)?);
            if self.take(']') {
                return Ok(Kind::List(items));
            }
            if !self.take(',') {
                return self.fail("expected ',' or ']'");
            }
        }
    }

    fn object(&mut self, level: usize) -> Result<Kind> {
        self.advance(1);
        let mut dict = Dict::default();
        let mut seen = HashSet::new();
        if self.take('}') {
            return Ok(Kind::Dict(dict));
        }
        loop {
            self.skip_blank();
            let at = self.here();
            if !self.rest.starts_with('"') {
                return self.fail("expected a key in double quotes");
            }
            let key = self.string()?;
            if !seen.insert(key.clone()) {
                let message = format!("duplicate key {}", super::value::quoted(&key));
                return Err(SyntaxError { at, message });
            }
            if !self.take(':') {
                return self.fail("expected ':'");
            }
            let value = self.value(level + 1)?;
            dict.entries.push((Value::new(Kind::Str(key), at), value));
            if self.take('}') {
                return Ok(Kind::Dict(dict));
            }
            if !self.take(',') {
                return self.fail("expected ',' or '}'");
            }
        }
    }

    fn string(&mut self) -> Result<String> {
        let mut escaped = false;
        let end = self.rest.bytes().skip(1).position(|byte| {
            let closes = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            closes
        });
        let Some(end) = end else {
            return self.fail("string is not closed: missing \"");
        };
        let length = end + 2;
        match serde_json::from_str::<String>(&self.rest[..length]) {
            Ok(text) => {
                self.advance(length);
                Ok(text)
            }
            Err(_) => self.fail("string contains a bad escape or a control character"),
        }
    }

    fn word(&mut self) -> Result<Kind> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        let length = self.rest.len() - self.rest.trim_start_matches(plain).len();
        let word = &self.rest[..length];
        let kind = match word {
            "true" => Kind::Bool(true),
            "false" => Kind::Bool(false),
            "null" => Kind::None,
            _ => match serde_json::from_str::<serde_json::Number>(word) {
                Ok(number) => {
                    let fraction = word.contains(['.', 'e', 'E']);
                    match (number.as_i64(), number.as_f64()) {
                        (Some(whole), _) => Kind::Int(whole),
                        (None, Some(float)) if fraction => Kind::Float(float),
                        _ => return self.fail(format!("number {word} is too large")),
                    }
                }
                Err(_) => return self.fail("expected a JSON value"),
            },
        };
        self.advance(length);
        Ok(kind)
    }
}
