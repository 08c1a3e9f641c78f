//! Parser of the `.conf` dialect: assignments, imports and literal values, nothing is evaluated.
//!
//! Grammar and behaviour are those of kobo's `PyConfigParser` (kobo 0.42 `conf.py`), which Pungi 4.3.2 uses:
//! statements are `NAME = value`, `from FILE import a, b`, `from FILE import *` and `global NAME`; commas between items are optional and may
//! repeat; line ends matter only after `import` and between a string and `%`. A text that kobo would read as garbage without complaint (string
//! prefixes, triple quotes) is refused here.
//!
//! Everything is bounded: nesting, tokens, the size of what variables expand to, and the files that are imported ([`super::load`]).

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::error::{ConfigError, SyntaxError};
use super::format::python_format;
use super::load::Loader;
use super::number::number;
use super::token::{Lexer, Token, TokenKind, is_keyword};
use super::value::{Dict, Kind, Location, Value};

/// Deepest nesting of lists, tuples, dictionaries and formats, variables expanded. Real configurations stay below 10.
pub(crate) const MAX_DEPTH: usize = 64;
/// Longest file name in an import, in bytes.
const MAX_FILE_NAME: usize = 255;

/// Values by name, with what they cost when they are used again.
pub(crate) type Scope = BTreeMap<String, Variable>;

/// A value and its size.
#[derive(Clone, Debug)]
pub(crate) struct Variable {
    pub(crate) value: Value,
    pub(crate) weight: Weight,
}

/// Size of a value with all that it contains.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weight {
    pub(crate) nodes: usize,
    pub(crate) bytes: usize,
    pub(crate) depth: usize,
}

impl Variable {
    pub(crate) fn new(value: Value) -> Self {
        let weight = weigh(&value);
        Self { value, weight }
    }
}

/// Recursion is bounded by [`MAX_DEPTH`], which the parser enforces.
fn weigh(value: &Value) -> Weight {
    let mut total = Weight { nodes: 1, ..Weight::default() };
    let mut add = |part: Weight| {
        total.nodes += part.nodes;
        total.bytes += part.bytes;
        total.depth = total.depth.max(part.depth + 1);
    };
    match &value.kind {
        Kind::Str(text) => total.bytes = text.len(),
        Kind::List(items) | Kind::Tuple(items) => items.iter().for_each(|item| add(weigh(item))),
        Kind::Dict(dict) => dict.entries.iter().for_each(|(key, item)| {
            add(weigh(key));
            add(weigh(item));
        }),
        Kind::Int(_) | Kind::Float(_) | Kind::Bool(_) | Kind::None => {}
    }
    total
}

/// Identity of a dictionary key: type and value.
#[derive(PartialEq, Eq, Hash)]
enum KeyIdentity {
    Str(String),
    Int(i64),
    Float(u64),
    Bool(bool),
    None,
}

fn key_identity(kind: &Kind) -> Option<KeyIdentity> {
    Some(match kind {
        Kind::Str(text) => KeyIdentity::Str(text.clone()),
        Kind::Int(value) => KeyIdentity::Int(*value),
        Kind::Float(value) => KeyIdentity::Float(value.to_bits()),
        Kind::Bool(value) => KeyIdentity::Bool(*value),
        Kind::None => KeyIdentity::None,
        Kind::List(_) | Kind::Tuple(_) | Kind::Dict(_) => return None,
    })
}

/// Reads one file; imports are handed to the loader.
pub(crate) struct Parser<'a> {
    lexer: Lexer<'a>,
    ahead: Option<Token>,
    scope: Scope,
    globals: BTreeSet<String>,
    loader: &'a mut Loader,
    path: Option<&'a Path>,
}

/// What one file defines.
pub(crate) struct Parsed {
    pub(crate) scope: Scope,
    pub(crate) globals: BTreeSet<String>,
}

type Result<T, E = SyntaxError> = std::result::Result<T, E>;

fn fail<T>(at: &Location, message: impl Into<String>) -> Result<T> {
    Err(SyntaxError { at: at.clone(), message: message.into() })
}

impl<'a> Parser<'a> {
    /// Prepares to read `text`. `inherited` are the global variables of the importing files.
    pub(crate) fn new(
        text: &'a str,
        name: Arc<str>,
        path: Option<&'a Path>,
        inherited: Scope,
        loader: &'a mut Loader,
    ) -> Self {
        Self {
            lexer: Lexer::new(text, name),
            ahead: None,
            globals: inherited.keys().cloned().collect(),
            scope: inherited,
            loader,
            path,
        }
    }

    /// Reads the file to its end.
    pub(crate) fn run(mut self) -> Result<Parsed, ConfigError> {
        loop {
            let token = self.next()?;
            let TokenKind::Name(name) = &token.kind else {
                if token.kind == TokenKind::End {
                    break;
                }
                let message = statement_expected(&token.kind);
                return Err(SyntaxError { at: token.at, message }.into());
            };
            match name.as_str() {
                "from" => self.import(&token.at)?,
                "global" => self.global()?,
                _ => self.assignment(&token.at, name)?,
            }
        }
        Ok(Parsed { scope: self.scope, globals: self.globals })
    }

    /// Returns the next token that is not a line end.
    fn next(&mut self) -> Result<Token> {
        loop {
            let token = self.next_raw()?;
            if token.kind != TokenKind::Newline {
                return Ok(token);
            }
        }
    }

    fn next_raw(&mut self) -> Result<Token> {
        match self.ahead.take() {
            Some(token) => Ok(token),
            None => self.lexer.next(),
        }
    }

    fn assignment(&mut self, at: &Location, name: &str) -> Result<()> {
        check_assignable(at, name)?;
        let equals = self.next()?;
        if equals.kind != TokenKind::Op('=') {
            let found = equals.kind.describe();
            return fail(&equals.at, format!("expected '=' after {name}, found {found}"));
        }
        let first = self.next()?;
        let value = self.value(first, 0)?;
        self.scope.insert(name.to_owned(), Variable::new(value));
        Ok(())
    }

    /// `global NAME` also sets the name to None until it is assigned, as kobo does.
    fn global(&mut self) -> Result<()> {
        let token = self.next()?;
        let TokenKind::Name(name) = token.kind else {
            let found = token.kind.describe();
            return fail(&token.at, format!("expected a name after global, found {found}"));
        };
        check_assignable(&token.at, &name)?;
        let none = Value::new(Kind::None, token.at);
        self.scope.insert(name.clone(), Variable::new(none));
        self.globals.insert(name);
        Ok(())
    }

    fn import(&mut self, at: &Location) -> Result<(), ConfigError> {
        let file = self.import_file(at)?;
        let names = self.import_names()?;
        let mut inherited = Scope::new();
        for name in &self.globals {
            if let Some(variable) = self.scope.get(name) {
                self.loader.charge(at, variable.weight)?;
                inherited.insert(name.clone(), variable.clone());
            }
        }
        let mut imported = self.loader.import(&file, self.path, at, inherited)?;
        self.globals.append(&mut imported.globals);
        if names.iter().any(|(_, name)| name.is_none()) {
            self.scope.append(&mut imported.scope);
            return Ok(());
        }
        let mut taken = BTreeSet::new();
        for (at, name) in names {
            // Naming a variable twice is harmless.
            let Some(name) = name.filter(|name| !taken.contains(name)) else { continue };
            let Some(variable) = imported.scope.remove(&name) else {
                return Err(SyntaxError {
                    message: format!("cannot import {name}: {file}.conf does not define it"),
                    at,
                }
                .into());
            };
            self.scope.insert(name.clone(), variable);
            taken.insert(name);
        }
        Ok(())
    }

    /// Returns the file name, put together from all tokens up to `import`.
    fn import_file(&mut self, at: &Location) -> Result<String> {
        let mut file = String::new();
        loop {
            let token = self.next()?;
            match &token.kind {
                TokenKind::Name(word) if word == "import" => break,
                TokenKind::Name(text) | TokenKind::Number(text) => file.push_str(text),
                TokenKind::Op(character) => file.push(*character),
                TokenKind::Str(_) => {
                    return fail(&token.at, "file name in an import is written without quotes");
                }
                TokenKind::Newline | TokenKind::End => {
                    return fail(at, "from without import");
                }
            }
            if file.len() > MAX_FILE_NAME {
                let message = format!("from without import, or a file name above {MAX_FILE_NAME} bytes");
                return fail(at, message);
            }
        }
        if file.is_empty() {
            return fail(at, "expected a file name after from");
        }
        Ok(file)
    }

    /// Returns the imported names up to the line end; `*` is `None`.
    fn import_names(&mut self) -> Result<Vec<(Location, Option<String>)>> {
        let mut names = Vec::new();
        let mut token = self.next()?;
        loop {
            match token.kind {
                TokenKind::Name(name) if name.starts_with('_') => {
                    return fail(&token.at, forbidden_name(&name));
                }
                TokenKind::Name(name) => names.push((token.at, Some(name))),
                TokenKind::Op('*') => names.push((token.at, None)),
                TokenKind::Op(',') if !names.is_empty() => {}
                TokenKind::Newline | TokenKind::End if !names.is_empty() => return Ok(names),
                other => {
                    let found = other.describe();
                    return fail(&token.at, format!("expected names to import or *, found {found}"));
                }
            }
            token = self.next_raw()?;
        }
    }

    /// Reads a value that starts with `token`. `level` is the number of enclosing values.
    fn value(&mut self, token: Token, level: usize) -> Result<Value> {
        let at = token.at;
        if level > MAX_DEPTH {
            return fail(&at, format!("values nested more than {MAX_DEPTH} deep"));
        }
        let kind = match token.kind {
            TokenKind::Op('[') => Kind::List(self.items(&at, ']', level)?),
            TokenKind::Op('(') => Kind::Tuple(self.items(&at, ')', level)?),
            TokenKind::Op('{') => Kind::Dict(self.dict(&at, level)?),
            other => return self.scalar(Token { kind: other, at }, level),
        };
        self.loader.charge_one(&at)?;
        Ok(Value::new(kind, at))
    }

    fn scalar(&mut self, token: Token, level: usize) -> Result<Value> {
        let at = token.at;
        self.loader.charge_one(&at)?;
        let kind = match token.kind {
            TokenKind::Op('-') => self.negative()?,
            TokenKind::Number(text) => number(&text).or_else(|message| fail(&at, message))?,
            TokenKind::Str(text) => self.string(&at, text, level)?,
            TokenKind::Name(name) => self.name(&at, &name, level)?,
            other => {
                let found = other.describe();
                return fail(&at, format!("expected a value, found {found}"));
            }
        };
        Ok(Value::new(kind, at))
    }

    fn negative(&mut self) -> Result<Kind> {
        let token = self.next()?;
        let TokenKind::Number(text) = &token.kind else {
            let found = token.kind.describe();
            return fail(&token.at, format!("expected a number after '-', found {found}"));
        };
        Ok(match number(text).or_else(|message| fail(&token.at, message))? {
            Kind::Int(value) => Kind::Int(-value),
            Kind::Float(value) => Kind::Float(-value),
            other => other,
        })
    }

    fn name(&mut self, at: &Location, name: &str, level: usize) -> Result<Kind> {
        match name {
            "True" => return Ok(Kind::Bool(true)),
            "False" => return Ok(Kind::Bool(false)),
            "None" => return Ok(Kind::None),
            _ => {}
        }
        let Some(variable) = self.scope.get(name) else {
            return fail(at, undefined(name));
        };
        if level + variable.weight.depth > MAX_DEPTH {
            return fail(at, format!("values nested more than {MAX_DEPTH} deep"));
        }
        self.loader.charge(at, variable.weight)?;
        Ok(variable.value.kind.clone())
    }

    /// A string, formatted when `%` is the very next token.
    fn string(&mut self, at: &Location, text: String, level: usize) -> Result<Kind> {
        let next = self.lexer.next()?;
        if next.kind != TokenKind::Op('%') {
            self.ahead = Some(next);
            let weight = Weight { bytes: text.len(), ..Weight::default() };
            self.loader.charge(at, weight)?;
            return Ok(Kind::Str(text));
        }
        let first = self.next()?;
        let arguments = self.value(first, level + 1)?;
        let formatted = match python_format(&text, &arguments) {
            Ok(formatted) => formatted,
            Err(message) => return fail(at, message),
        };
        let weight = Weight { bytes: formatted.len(), ..Weight::default() };
        self.loader.charge(at, weight)?;
        Ok(Kind::Str(formatted))
    }

    /// Returns the next token after any number of commas.
    fn next_item(&mut self, open: &Location, close: char) -> Result<Option<Token>> {
        loop {
            let token = self.next()?;
            match token.kind {
                TokenKind::Op(',') => {}
                TokenKind::Op(character) if character == close => return Ok(None),
                TokenKind::End => {
                    return fail(open, format!("missing '{close}' before the end of the file"));
                }
                _ => return Ok(Some(token)),
            }
        }
    }

    fn items(&mut self, open: &Location, close: char, level: usize) -> Result<Vec<Value>> {
        let mut items = Vec::new();
        while let Some(token) = self.next_item(open, close)? {
            items.push(self.value(token, level + 1)?);
        }
        Ok(items)
    }

    fn dict(&mut self, open: &Location, level: usize) -> Result<Dict> {
        let mut dict = Dict::default();
        let mut seen = HashSet::new();
        while let Some(token) = self.next_item(open, '}')? {
            let key = self.scalar(token, level + 1)?;
            let Some(identity) = key_identity(&key.kind) else {
                let found = key.describe();
                return fail(&key.at, format!("{found} cannot be a dictionary key"));
            };
            if !seen.insert(identity) {
                let message = format!("duplicate dictionary key: {}", key.describe());
                return fail(&key.at, message);
            }
            let colon = self.next()?;
            if colon.kind != TokenKind::Op(':') {
                let found = colon.kind.describe();
                return fail(&colon.at, format!("expected ':' after a dictionary key, found {found}"));
            }
            let first = self.next()?;
            let value = self.value(first, level + 1)?;
            dict.entries.push((key, value));
        }
        Ok(dict)
    }
}

fn statement_expected(found: &TokenKind) -> String {
    let hint = match found {
        TokenKind::Op('+' | '-' | '*' | '/' | '%' | '(' | '[' | '.') => "; expressions are not evaluated",
        TokenKind::Str(_) => "; neighbouring strings are not joined",
        _ => "",
    };
    let found = found.describe();
    format!("expected NAME = value, from FILE import or global NAME, found {found}{hint}")
}

fn forbidden_name(name: &str) -> String {
    format!("name {name} is not allowed: names must not start with '_'")
}

fn undefined(name: &str) -> String {
    match name {
        "true" | "false" | "none" | "null" => {
            format!("{name} is not defined; write True, False or None")
        }
        _ => format!("{name} is not defined; a text is written in quotes"),
    }
}

fn check_assignable(at: &Location, name: &str) -> Result<()> {
    if is_keyword(name) {
        return fail(at, format!("{name} is a Python keyword and cannot be assigned"));
    }
    if name.starts_with('_') {
        return fail(at, forbidden_name(name));
    }
    Ok(())
}
