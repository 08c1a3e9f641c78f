//! Shapes of option values, and their check. The options themselves are in [`super::table`].

use super::error::OptionError;
use super::pattern::Pattern;
use super::value::{Kind, Value};

/// Most errors that are collected; a file of garbage has millions.
const MAX_ERRORS: usize = 200;
/// Most variant expressions in one option: each costs a compilation.
const MAX_PATTERNS: usize = 10_000;

/// Longest list of names that an error message spells out.
const MAX_LISTED: usize = 12;

/// What an option's value must look like. Lists and tuples are the same here, as in Pungi's schema.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// Text.
    Str,
    /// `True` or `False`.
    Bool,
    /// Whole number, not negative.
    Int,
    /// Whole or decimal number.
    Number,
    /// Anything; for options that nothing reads yet.
    Any,
    /// One of these texts.
    Enum(&'static [&'static str]),
    /// The shape or `None`.
    Nullable(&'static Shape),
    /// List of the shape.
    List(&'static Shape),
    /// The shape or a list of it.
    OneOrList(&'static Shape),
    /// List of two strings.
    Pair,
    /// Dictionary with string keys and values of the shape.
    Dict(&'static Shape),
    /// Dictionary with known keys.
    Fields(&'static [Field]),
    /// List of (variant expression, {arch or "*": shape}).
    VariantArch(&'static Shape),
    /// Dictionary of variant expression to the shape.
    Variant(&'static Shape),
    /// One of several shapes.
    Either(&'static [Shape]),
}

/// Key of a dictionary with known keys.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Key.
    pub name: &'static str,
    /// Shape of its value.
    pub shape: Shape,
    /// Whether the key must be there.
    pub required: bool,
}

/// Value of an option that the configuration does not mention.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Default {
    /// No value.
    Absent,
    /// `True` or `False`.
    Bool(bool),
    /// Whole number.
    Int(i64),
    /// Text.
    Str(&'static str),
    /// List of texts.
    List(&'static [&'static str]),
    /// List that holds only `None`.
    ListOfNone,
    /// Empty dictionary.
    Dict,
}

/// How far an option is acted upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Acted upon.
    Supported,
    /// Accepted and reported, without effect.
    NotYet,
    /// Pungi itself no longer reads it.
    Dead,
}

/// One known option.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// Name.
    pub name: &'static str,
    /// What its value must look like.
    pub shape: Shape,
    /// Value when it is not given.
    pub default: Default,
    /// How far it is acted upon.
    pub status: Status,
    /// What the option is about.
    pub group: &'static str,
    /// Whether a configuration without it is refused.
    pub required: bool,
}

impl Default {
    /// Returns the default as a value.
    pub fn to_value(self) -> Option<Value> {
        let at = default_location();
        let text = |text: &&str| Value::new(Kind::Str((*text).to_owned()), at.clone());
        let kind = match self {
            Self::Absent => return None,
            Self::Bool(value) => Kind::Bool(value),
            Self::Int(value) => Kind::Int(value),
            Self::Str(value) => Kind::Str(value.to_owned()),
            Self::List(items) => Kind::List(items.iter().map(text).collect()),
            Self::ListOfNone => Kind::List(vec![Value::new(Kind::None, at.clone())]),
            Self::Dict => Kind::Dict(super::value::Dict::default()),
        };
        Some(Value::new(kind, at))
    }
}

fn default_location() -> super::value::Location {
    super::value::Location { file: std::sync::Arc::from("<default>"), line: 1, column: 1 }
}

impl Shape {
    /// Describes the shape after "expected".
    pub fn describe(&self) -> String {
        match self {
            Self::Str => "a string".to_owned(),
            Self::Bool => "True or False".to_owned(),
            Self::Int => "a whole number".to_owned(),
            Self::Number => "a number".to_owned(),
            Self::Any => "a value".to_owned(),
            Self::Enum(names) if names.len() > MAX_LISTED => "a known name".to_owned(),
            Self::Enum(names) => {
                let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
                format!("one of {}", quoted.join(", "))
            }
            Self::Nullable(inner) => format!("{} or None", inner.describe()),
            Self::List(inner) => format!("a list, each item {}", inner.describe()),
            Self::OneOrList(inner) => format!("{} or a list of such", inner.describe()),
            Self::Pair => "a pair of strings".to_owned(),
            Self::Dict(_) => "a dictionary".to_owned(),
            Self::Fields(fields) => {
                let names: Vec<&str> = fields.iter().map(|field| field.name).collect();
                format!("a dictionary with the keys {}", names.join(", "))
            }
            Self::VariantArch(_) => "a list of pairs (variant expression, {arch or \"*\": value})".to_owned(),
            Self::Variant(_) => "a dictionary {variant expression: value}".to_owned(),
            Self::Either(shapes) => describe_either(shapes),
        }
    }

    /// Checks a value, and adds what is wrong to `errors`. Returns whether nothing was.
    pub fn check(&self, option: &str, value: &Value, errors: &mut Vec<OptionError>) -> bool {
        let before = errors.len();
        self.check_value(option, value, errors);
        errors.len() == before
    }

    fn check_value(&self, option: &str, value: &Value, errors: &mut Vec<OptionError>) {
        if errors.len() >= MAX_ERRORS {
            return;
        }
        if self.pattern_count(value) > MAX_PATTERNS {
            let message = format!("more than {MAX_PATTERNS} variant expressions");
            errors.push(OptionError::new(&value.at, option, message));
            return;
        }
        let matches = match (self, &value.kind) {
            (Self::Any, _) | (Self::Str, Kind::Str(_)) | (Self::Bool, Kind::Bool(_)) => true,
            (Self::Int, Kind::Int(number)) => *number >= 0,
            (Self::Number, Kind::Int(_) | Kind::Float(_)) => true,
            (Self::Enum(names), Kind::Str(text)) => names.contains(&text.as_str()),
            (Self::Nullable(_), Kind::None) => true,
            (Self::Nullable(inner), _) => inner.accepts(value),
            (Self::List(inner) | Self::OneOrList(inner), Kind::List(items) | Kind::Tuple(items)) => {
                return items.iter().for_each(|item| inner.check_value(option, item, errors));
            }
            (Self::OneOrList(inner), _) => inner.accepts(value),
            (Self::Pair, Kind::List(items) | Kind::Tuple(items)) => {
                items.len() == 2 && items.iter().all(|item| item.as_str().is_some())
            }
            (Self::Dict(inner), Kind::Dict(dict)) => {
                for (key, item) in &dict.entries {
                    Self::Str.check_value(option, key, errors);
                    inner.check_value(option, item, errors);
                }
                return;
            }
            (Self::Fields(fields), Kind::Dict(_)) => {
                return check_fields(fields, option, value, errors);
            }
            (Self::VariantArch(inner), Kind::List(items) | Kind::Tuple(items)) => {
                return items.iter().for_each(|item| check_variant_arch(inner, option, item, errors));
            }
            (Self::Variant(inner), Kind::Dict(dict)) => {
                for (key, item) in &dict.entries {
                    check_pattern(option, key, errors);
                    inner.check_value(option, item, errors);
                }
                return;
            }
            (Self::Either(shapes), _) => return check_either(shapes, option, value, errors),
            _ => false,
        };
        if !matches {
            errors.push(self.mismatch(option, value));
        }
    }

    fn mismatch(&self, option: &str, value: &Value) -> OptionError {
        let mut message = format!("expected {}, found {}", self.describe(), value.describe());
        if let (Self::Enum(names), Kind::Str(text)) = (self, &value.kind)
            && let Some(name) = names.iter().find(|name| strsim::levenshtein(name, text) <= 2)
        {
            message.push_str(&format!("; did you mean \"{name}\"?"));
        }
        if matches!(self, Self::Str) && matches!(value.kind, Kind::Int(_) | Kind::Float(_)) {
            message.push_str("; write it in quotes");
        }
        OptionError::new(&value.at, option, message)
    }

    /// Returns how many variant expressions the value would have.
    fn pattern_count(&self, value: &Value) -> usize {
        match (self, &value.kind) {
            (Self::VariantArch(_), Kind::List(items) | Kind::Tuple(items)) => items.len(),
            (Self::Variant(_), Kind::Dict(dict)) => dict.entries.len(),
            _ => 0,
        }
    }

    fn accepts(&self, value: &Value) -> bool {
        self.check("", value, &mut Vec::new())
    }

    /// Tells whether the outermost type fits, so that an error inside is reported for this shape.
    fn fits_outside(&self, value: &Value) -> bool {
        match (self, &value.kind) {
            (Self::List(_) | Self::OneOrList(_) | Self::VariantArch(_), Kind::List(_) | Kind::Tuple(_))
            | (Self::Dict(_) | Self::Fields(_) | Self::Variant(_), Kind::Dict(_)) => true,
            (Self::Nullable(inner), _) => inner.fits_outside(value),
            _ => false,
        }
    }
}

fn describe_either(shapes: &[Shape]) -> String {
    let each: Vec<String> = shapes.iter().map(Shape::describe).collect();
    each.join(", or ")
}

fn check_either(shapes: &[Shape], option: &str, value: &Value, errors: &mut Vec<OptionError>) {
    if shapes.iter().any(|shape| shape.accepts(value)) {
        return;
    }
    let mut fitting = shapes.iter().filter(|shape| shape.fits_outside(value));
    match (fitting.next(), fitting.next()) {
        (Some(only), None) => only.check_value(option, value, errors),
        _ => {
            let wanted = describe_either(shapes);
            let message = format!("expected {wanted}, found {}", value.describe());
            errors.push(OptionError::new(&value.at, option, message));
        }
    }
}

fn check_fields(fields: &[Field], option: &str, value: &Value, errors: &mut Vec<OptionError>) {
    let Some(dict) = value.as_dict() else { return };
    for (key, item) in &dict.entries {
        let name = key.as_str().unwrap_or_default();
        match fields.iter().find(|field| field.name == name) {
            Some(field) => field.shape.check_value(option, item, errors),
            None => {
                let known: Vec<&str> = fields.iter().map(|field| field.name).collect();
                let message =
                    format!("unknown key {}; known are {}", super::value::quoted(&key.key_text()), known.join(", "));
                errors.push(OptionError::new(&key.at, option, message));
            }
        }
    }
    for field in fields.iter().filter(|field| field.required) {
        if dict.get(field.name).is_none() {
            let message = format!("missing key \"{}\"", field.name);
            errors.push(OptionError::new(&value.at, option, message));
        }
    }
}

fn check_variant_arch(shape: &Shape, option: &str, value: &Value, errors: &mut Vec<OptionError>) {
    let Some([pattern, arches]) = value.as_array() else {
        let message =
            format!("expected a pair (variant expression, {{arch or \"*\": value}}), found {}", value.describe());
        errors.push(OptionError::new(&value.at, option, message));
        return;
    };
    check_pattern(option, pattern, errors);
    if arches.as_dict().is_none() {
        let message =
            format!("expected {{arch or \"*\": value}} after the variant expression, found {}", arches.describe());
        errors.push(OptionError::new(&arches.at, option, message));
    }
    for (arch, item) in arches.as_dict().map_or(&[][..], |dict| &dict.entries) {
        Shape::Str.check_value(option, arch, errors);
        shape.check_value(option, item, errors);
    }
}

fn check_pattern(option: &str, value: &Value, errors: &mut Vec<OptionError>) {
    let Some(text) = value.as_str() else {
        let message = format!("expected a variant expression, found {}", value.describe());
        errors.push(OptionError::new(&value.at, option, message));
        return;
    };
    if let Err(error) = Pattern::new(text) {
        errors.push(OptionError::new(&value.at, option, error.to_string()));
    }
}
