//! The `"text" % value` operator: Python's printf-style formatting of strings (Python 3.11, library reference "printf-style String Formatting").
//!
//! Known conversions: `s r c d i u x X o f F %`, with mapping key, flags, width and precision.

use super::value::{Kind, Value, quoted};

/// Largest width or precision, and longest result in bytes.
const MAX_WIDTH: usize = 4096;
const MAX_RESULT: usize = 1 << 20;

type Result<T> = std::result::Result<T, String>;

#[derive(Default)]
struct Spec {
    /// Whether nothing stands between `%` and the conversion.
    plain: bool,
    key: Option<String>,
    left: bool,
    zero: bool,
    plus: bool,
    space: bool,
    alternate: bool,
    width: usize,
    precision: Option<usize>,
}

struct Arguments<'a> {
    value: &'a Value,
    used: usize,
}

impl<'a> Arguments<'a> {
    fn next(&mut self) -> Result<&'a Value> {
        let argument = match &self.value.kind {
            Kind::Tuple(items) => items.get(self.used),
            _ if self.used == 0 => Some(self.value),
            _ => None,
        };
        // Stays at the end after a key: Python 3.11 then has "not enough arguments" too.
        self.used = self.used.saturating_add(1);
        argument.ok_or_else(|| "not enough values for the format".to_owned())
    }

    fn keyed(&mut self, key: &str) -> Result<&'a Value> {
        let Kind::Dict(dict) = &self.value.kind else {
            return Err(format!("format uses the key {}, so a dictionary must follow %", quoted(key)));
        };
        self.used = usize::MAX;
        dict.get(key).ok_or_else(|| format!("key {} of the format is not in the dictionary", quoted(key)))
    }

    /// Python insists that all values are used, except those of mappings; lists count as mappings.
    fn finish(&self) -> Result<()> {
        let all_used = match &self.value.kind {
            Kind::Tuple(items) => self.used >= items.len(),
            Kind::Dict(_) | Kind::List(_) => true,
            _ => self.used > 0,
        };
        if all_used { Ok(()) } else { Err("more values than the format uses".to_owned()) }
    }
}

/// Returns `format % value`, or what is wrong.
pub(crate) fn python_format(format: &str, value: &Value) -> Result<String> {
    let mut out = String::new();
    let mut arguments = Arguments { value, used: 0 };
    let mut rest = format;
    while let Some(index) = rest.find('%') {
        out.push_str(&rest[..index]);
        let (spec, conversion, after) = parse_spec(&rest[index + 1..])?;
        rest = after;
        if conversion == '%' {
            if !spec.plain {
                return Err("format conversion %% takes no width and no key".to_owned());
            }
            out.push('%');
            continue;
        }
        let argument = match &spec.key {
            Some(key) => arguments.keyed(key)?,
            None => arguments.next()?,
        };
        out.push_str(&convert(&spec, conversion, argument)?);
        if out.len() > MAX_RESULT {
            return Err("formatted string is longer than 1 MiB".to_owned());
        }
    }
    out.push_str(rest);
    arguments.finish()?;
    Ok(out)
}

/// Splits the text after `%` into the specification, the conversion character and the rest.
fn parse_spec(text: &str) -> Result<(Spec, char, &str)> {
    let mut spec = Spec::default();
    let mut rest = text;
    if let Some(after) = rest.strip_prefix('(') {
        let (key, after) = parse_key(after)?;
        spec.key = Some(key.to_owned());
        rest = after;
    }
    while let Some(flag) = rest.chars().next() {
        match flag {
            '-' => spec.left = true,
            '0' => spec.zero = true,
            '+' => spec.plus = true,
            ' ' => spec.space = true,
            '#' => spec.alternate = true,
            _ => break,
        }
        rest = &rest[1..];
    }
    let (width, after) = parse_count(rest)?;
    spec.width = width.unwrap_or(0);
    rest = after;
    if let Some(after) = rest.strip_prefix('.') {
        let (precision, after) = parse_count(after)?;
        spec.precision = Some(precision.unwrap_or(0));
        rest = after;
    }
    rest = rest.trim_start_matches(['h', 'l', 'L']);
    spec.plain = rest.len() == text.len();
    let mut characters = rest.chars();
    match characters.next() {
        Some(conversion) => Ok((spec, conversion, characters.as_str())),
        None => Err("format ends in the middle of a conversion".to_owned()),
    }
}

/// Parentheses inside a key must be balanced.
fn parse_key(text: &str) -> Result<(&str, &str)> {
    let mut depth = 1_usize;
    for (index, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Ok((&text[..index], &text[index + 1..]));
        }
    }
    Err("format key is not closed: missing ')'".to_owned())
}

fn parse_count(text: &str) -> Result<(Option<usize>, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    if end == 0 {
        return Ok((None, text));
    }
    match text[..end].parse::<usize>() {
        Ok(count) if count <= MAX_WIDTH => Ok((Some(count), &text[end..])),
        _ => Err(format!("width {} of the format is above {MAX_WIDTH}", &text[..end])),
    }
}

fn convert(spec: &Spec, conversion: char, argument: &Value) -> Result<String> {
    match conversion {
        's' | 'r' => {
            let mut text = match &argument.kind {
                Kind::Str(text) if conversion == 's' => text.clone(),
                _ => repr(argument),
            };
            if let Some(precision) = spec.precision {
                text = text.chars().take(precision).collect();
            }
            Ok(pad(spec, "", &text, false))
        }
        'c' => {
            let character = match &argument.kind {
                Kind::Str(text) if text.chars().count() == 1 => text.clone(),
                Kind::Int(code) => match u32::try_from(*code).ok().and_then(char::from_u32) {
                    Some(character) => character.to_string(),
                    None => return Err(format!("%c has no character {code}")),
                },
                _ => return Err(format!("%c needs one character, found {}", argument.describe())),
            };
            Ok(pad(spec, "", &character, false))
        }
        'd' | 'i' | 'u' => integer(spec, argument, conversion, |n| n.to_string()),
        'x' => integer(spec, argument, conversion, |n| format!("{n:x}")),
        'X' => integer(spec, argument, conversion, |n| format!("{n:X}")),
        'o' => integer(spec, argument, conversion, |n| format!("{n:o}")),
        'f' | 'F' => {
            let number = as_number(argument, conversion)?;
            let digits = format!("{:.*}", spec.precision.unwrap_or(6), number.abs());
            Ok(pad(spec, sign(spec, number.is_sign_negative()), &digits, true))
        }
        other => Err(format!("format conversion %{other} is not supported")),
    }
}

fn as_number(argument: &Value, conversion: char) -> Result<f64> {
    match argument.kind {
        Kind::Int(value) => Ok(value as f64),
        Kind::Float(value) => Ok(value),
        Kind::Bool(value) => Ok(f64::from(u8::from(value))),
        _ => Err(format!("%{conversion} needs a number, found {}", argument.describe())),
    }
}

fn integer(spec: &Spec, argument: &Value, conversion: char, show: impl Fn(u64) -> String) -> Result<String> {
    let number = match argument.kind {
        Kind::Int(value) => value,
        Kind::Bool(value) => i64::from(value),
        // Only the decimal conversions truncate floats.
        Kind::Float(value) if matches!(conversion, 'd' | 'i' | 'u') && value.abs() < 9e18 => value as i64,
        _ => return Err(format!("%{conversion} needs a whole number, found {}", argument.describe())),
    };
    let mut digits = show(number.unsigned_abs());
    if let Some(precision) = spec.precision {
        let missing = precision.saturating_sub(digits.len());
        digits.insert_str(0, &"0".repeat(missing));
    }
    let mut prefix = sign(spec, number < 0).to_owned();
    if spec.alternate && matches!(conversion, 'x' | 'X' | 'o') {
        prefix.push('0');
        prefix.push(conversion);
    }
    Ok(pad(spec, &prefix, &digits, true))
}

fn sign(spec: &Spec, negative: bool) -> &'static str {
    match (negative, spec.plus, spec.space) {
        (true, _, _) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        (false, false, false) => "",
    }
}

fn pad(spec: &Spec, prefix: &str, body: &str, numeric: bool) -> String {
    let length = prefix.chars().count() + body.chars().count();
    let missing = spec.width.saturating_sub(length);
    if spec.left {
        format!("{prefix}{body}{}", " ".repeat(missing))
    } else if spec.zero && numeric {
        format!("{prefix}{}{body}", "0".repeat(missing))
    } else {
        format!("{}{prefix}{body}", " ".repeat(missing))
    }
}

/// Returns the value as Python's `repr` shows it. Nesting is bounded by the parser.
pub(crate) fn repr(value: &Value) -> String {
    let join = |items: &[Value]| items.iter().map(repr).collect::<Vec<_>>().join(", ");
    match &value.kind {
        Kind::Str(text) => repr_string(text),
        Kind::Int(number) => number.to_string(),
        Kind::Float(number) => repr_float(*number),
        Kind::Bool(true) => "True".to_owned(),
        Kind::Bool(false) => "False".to_owned(),
        Kind::None => "None".to_owned(),
        Kind::List(items) => format!("[{}]", join(items)),
        Kind::Tuple(items) if items.len() == 1 => format!("({},)", join(items)),
        Kind::Tuple(items) => format!("({})", join(items)),
        Kind::Dict(dict) => {
            let entries: Vec<String> =
                dict.entries.iter().map(|(key, item)| format!("{}: {}", repr(key), repr(item))).collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

fn repr_string(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// Python switches to an exponent of at least two digits below 1e-4 and from 1e16 on.
fn repr_float(number: f64) -> String {
    let magnitude = number.abs();
    if number != 0.0 && !(1e-4..1e16).contains(&magnitude) {
        let text = format!("{number:e}");
        if let Some((mantissa, exponent)) = text.split_once('e') {
            let (sign, digits) = match exponent.strip_prefix('-') {
                Some(digits) => ('-', digits),
                None => ('+', exponent),
            };
            return format!("{mantissa}e{sign}{digits:0>2}");
        }
    }
    format!("{number:?}")
}
