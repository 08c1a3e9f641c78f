//! Numbers of the `.conf` dialect.

use super::value::Kind;

/// A number is a float when it has a point, else a whole number in base 10 (kobo `_get_NUMBER`).
pub(crate) fn number(text: &str) -> Result<Kind, String> {
    let plain = match digits_without_underscores(text) {
        Some(plain) => plain,
        None => return Err(format!("{text} is not a number")),
    };
    if plain.contains('.') {
        return match plain.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(Kind::Float(value)),
            Ok(_) => Err(format!("number {text} is too large")),
            Err(_) => Err(format!("{text} is not a number; a text is written in quotes")),
        };
    }
    if !plain.bytes().all(|b| b.is_ascii_digit()) {
        let message = format!("{text} is not a whole number in base 10; a text is written in quotes");
        return Err(message);
    }
    if plain.len() > 1 && plain.starts_with('0') && plain.bytes().any(|b| b != b'0') {
        return Err(format!("number {text} must not start with 0"));
    }
    match plain.parse::<i64>() {
        Ok(value) => Ok(Kind::Int(value)),
        Err(_) => Err(format!("number {text} is too large")),
    }
}

/// Python allows one underscore between digits.
fn digits_without_underscores(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let digit = |index: usize| bytes.get(index).is_some_and(u8::is_ascii_digit);
    for (index, &byte) in bytes.iter().enumerate() {
        if byte == b'_' && !(index > 0 && digit(index - 1) && digit(index + 1)) {
            return None;
        }
    }
    Some(text.replace('_', ""))
}
