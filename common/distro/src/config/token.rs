//! Tokens of the `.conf` dialect.
//!
//! The dialect is read with Python's own tokenizer (kobo 0.42 `conf.py`, Python 3.11 `tokenize`), so the rules here are Python's: a backslash
//! before a line end joins lines, a backslash in a string keeps the next character from ending it, comments run to the line end. Indentation has
//! no meaning and is not looked at; Python refuses a dedent to a column that was never indented to, which is accepted here.

use std::sync::Arc;

use super::error::SyntaxError;
use super::value::Location;

/// Longest string in bytes.
const MAX_STRING: usize = 1 << 20;
/// Longest name or number in bytes.
const MAX_WORD: usize = 256;

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TokenKind {
    /// Identifier or keyword.
    Name(String),
    /// Number as written.
    Number(String),
    /// Text between the quotes as written, backslashes included.
    Str(String),
    /// One character of punctuation.
    Op(char),
    /// End of a line.
    Newline,
    /// End of the file.
    End,
}

impl TokenKind {
    /// Describes the token for an error message.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Name(name) => super::value::quoted(name),
            Self::Number(text) => format!("the number {text}"),
            Self::Str(text) => format!("the string {}", super::value::quoted(text)),
            Self::Op(character) => format!("{character:?}"),
            Self::Newline => "the end of the line".to_owned(),
            Self::End => "the end of the file".to_owned(),
        }
    }
}

/// Token with its place.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) at: Location,
}

/// Reads tokens one by one.
pub(crate) struct Lexer<'a> {
    rest: &'a str,
    file: Arc<str>,
    line: u32,
    column: u32,
}

impl<'a> Lexer<'a> {
    /// Starts at the first character of `text`; a byte order mark is passed over.
    pub(crate) fn new(text: &'a str, file: Arc<str>) -> Self {
        Self { rest: text.strip_prefix('\u{feff}').unwrap_or(text), file, line: 1, column: 1 }
    }

    fn here(&self) -> Location {
        Location { file: Arc::clone(&self.file), line: self.line, column: self.column }
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    /// Takes one character. `\r\n` and a lone `\r` are read as `\n`, as Python's text files do.
    fn bump(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.rest = &self.rest[character.len_utf8()..];
        if character == '\n' || character == '\r' {
            if character == '\r' {
                self.rest = self.rest.strip_prefix('\n').unwrap_or(self.rest);
            }
            self.line = self.line.saturating_add(1);
            self.column = 1;
            return Some('\n');
        }
        self.column = self.column.saturating_add(1);
        Some(character)
    }

    fn error<T>(&self, at: Location, message: impl Into<String>) -> Result<T, SyntaxError> {
        Err(SyntaxError { at, message: message.into() })
    }

    /// Returns the next token; at the end of the file, [`TokenKind::End`] again and again.
    pub(crate) fn next(&mut self) -> Result<Token, SyntaxError> {
        self.skip_blank()?;
        let at = self.here();
        let Some(first) = self.peek() else {
            return Ok(Token { kind: TokenKind::End, at });
        };
        let kind = match first {
            '\n' | '\r' => {
                self.bump();
                TokenKind::Newline
            }
            '\'' | '"' => self.string(&at, first)?,
            '0'..='9' => self.number(&at)?,
            '.' if self.rest[1..].starts_with(|c: char| c.is_ascii_digit()) => self.number(&at)?,
            _ if is_name_start(first) => self.name(&at)?,
            _ if first.is_control() => {
                return self.error(at, format!("unexpected control character {first:?}"));
            }
            _ => {
                self.bump();
                TokenKind::Op(first)
            }
        };
        Ok(Token { kind, at })
    }

    /// Passes over blanks, comments and joined lines.
    fn skip_blank(&mut self) -> Result<(), SyntaxError> {
        while let Some(character) = self.peek() {
            match character {
                ' ' | '\t' | '\u{c}' => {
                    self.bump();
                }
                '#' => {
                    while self.peek().is_some_and(|c| c != '\n' && c != '\r') {
                        self.bump();
                    }
                }
                '\\' => {
                    let at = self.here();
                    self.bump();
                    if !matches!(self.peek(), Some('\n' | '\r')) {
                        return self.error(at, "unexpected backslash: it may only stand at the end of a line");
                    }
                    self.bump();
                }
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    fn name(&mut self, at: &Location) -> Result<TokenKind, SyntaxError> {
        let name = self.take_while(at, is_name_part)?;
        if matches!(self.peek(), Some('\'' | '"')) && is_string_prefix(&name) {
            return self
                .error(at.clone(), format!("string prefix {name:?} is not allowed; write the string without it"));
        }
        Ok(TokenKind::Name(name))
    }

    /// Takes a number as far as letters, digits and points go, so that `0x1f`, `1abc` and `1e5` are judged as a whole.
    fn number(&mut self, at: &Location) -> Result<TokenKind, SyntaxError> {
        let mut text = self.take_while(at, |c| c == '.' || is_name_part(c))?;
        let exponent = text.contains('.') && text.ends_with(['e', 'E']);
        if exponent && matches!(self.peek(), Some('+' | '-')) {
            text.extend(self.bump());
            text.push_str(&self.take_while(at, is_name_part)?);
        }
        Ok(TokenKind::Number(text))
    }

    fn take_while(&mut self, at: &Location, wanted: impl Fn(char) -> bool) -> Result<String, SyntaxError> {
        let mut text = String::new();
        while let Some(character) = self.peek().filter(|&c| wanted(c)) {
            self.bump();
            text.push(character);
            if text.len() > MAX_WORD {
                return self.error(at.clone(), "name or number is longer than 256 bytes");
            }
        }
        Ok(text)
    }

    fn string(&mut self, at: &Location, quote: char) -> Result<TokenKind, SyntaxError> {
        let triple: [u8; 3] = [quote as u8; 3];
        if self.rest.as_bytes().starts_with(&triple) {
            return self.error(at.clone(), "triple quotes are not allowed");
        }
        self.bump();
        let mut text = String::new();
        loop {
            if matches!(self.peek(), None | Some('\n' | '\r')) {
                return self.error(at.clone(), format!("string is not closed: missing {quote}"));
            }
            let Some(character) = self.bump() else { continue };
            if character == quote {
                return Ok(TokenKind::Str(text));
            }
            text.push(character);
            if character == '\\' {
                text.extend(self.bump());
            }
            if text.len() > MAX_STRING {
                return self.error(at.clone(), "string is longer than 1 MiB");
            }
        }
    }
}

fn is_name_start(character: char) -> bool {
    character == '_' || character.is_alphabetic()
}

fn is_name_part(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}

/// Tells whether Python takes this name before a quote as part of the string (language reference 2.4.1).
fn is_string_prefix(name: &str) -> bool {
    matches!(name.to_ascii_lowercase().as_str(), "r" | "u" | "b" | "f" | "br" | "rb" | "fr" | "rf")
}

/// Tells whether Python 3.11 reserves the name (`keyword.kwlist`); soft keywords are not reserved.
pub(crate) fn is_keyword(name: &str) -> bool {
    const KEYWORDS: [&str; 35] = [
        "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue", "def", "del",
        "elif", "else", "except", "finally", "for", "from", "global", "if", "import", "in", "is", "lambda", "nonlocal",
        "not", "or", "pass", "raise", "return", "try", "while", "with", "yield",
    ];
    KEYWORDS.contains(&name)
}
