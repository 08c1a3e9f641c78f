//! Rules between options: what must be there, what needs and what excludes what (Pungi 4.3.2 `checks.py`).

use std::collections::{BTreeMap, BTreeSet};

use super::error::OptionError;
use super::table::OPTIONS;
use super::value::{Kind, Value};

type Options = BTreeMap<String, Value>;

/// Returns all broken rules. `given` is what the configuration says, `effective` has the defaults too.
pub(crate) fn check(given: &Options, effective: &Options) -> Vec<OptionError> {
    let mut errors = Vec::new();
    required(given, &mut errors);
    base_product(given, &mut errors);
    pkgset_source(given, &mut errors);
    needs(given, "cts_url", "translate_paths", &mut errors);
    needs(given, "product_id_allow_missing", "product_id", &mut errors);
    needs(given, "pkgset_scratch_modules", "mbs_api_url", &mut errors);
    if !is_set(given, "buildinstall_method") {
        for name in ["lorax_options", "buildinstall_kickstart"] {
            if let Some(value) = set(given, name) {
                let message = "needs buildinstall_method, which is not set";
                errors.push(OptionError::new(&value.at, name, message));
            }
        }
    }
    one_checksum(given, effective, &mut errors);
    lookaside(given, &mut errors);
    dead_backends(given, &mut errors);
    errors
}

/// Returns the value of an option that is given and neither None, False nor empty.
fn set<'a>(options: &'a Options, name: &str) -> Option<&'a Value> {
    options.get(name).filter(|value| match &value.kind {
        Kind::None | Kind::Bool(false) => false,
        Kind::Str(text) => !text.is_empty(),
        Kind::List(items) | Kind::Tuple(items) => !items.is_empty(),
        Kind::Dict(dict) => !dict.entries.is_empty(),
        Kind::Int(_) | Kind::Float(_) | Kind::Bool(true) => true,
    })
}

fn is_set(options: &Options, name: &str) -> bool {
    set(options, name).is_some()
}

fn required(given: &Options, errors: &mut Vec<OptionError>) {
    for spec in OPTIONS.iter().filter(|spec| spec.required) {
        if !given.contains_key(spec.name) {
            errors.push(OptionError {
                at: None,
                option: spec.name.to_owned(),
                message: format!("missing; expected {}", spec.shape.describe()),
            });
        }
    }
}

fn base_product(given: &Options, errors: &mut Vec<OptionError>) {
    const NAMES: [&str; 3] = ["base_product_name", "base_product_short", "base_product_version"];
    let Some(value) = NAMES.iter().find_map(|name| given.get(*name)) else {
        return;
    };
    for name in NAMES {
        if !given.contains_key(name) {
            let message = "missing; a layered product needs the base product's name, short and version";
            errors.push(OptionError::new(&value.at, name, message));
        }
    }
}

fn pkgset_source(given: &Options, errors: &mut Vec<OptionError>) {
    let Some(source) = given.get("pkgset_source") else {
        return;
    };
    match source.as_str() {
        Some("repos") => {
            if !is_set(given, "pkgset_repos") {
                let message = "missing; pkgset_source = \"repos\" needs it: {arch or \"*\": repositories}";
                errors.push(OptionError::new(&source.at, "pkgset_repos", message));
            }
            for name in ["pkgset_koji_tag", "pkgset_koji_inherit"] {
                if let Some(value) = given.get(name) {
                    let message = "cannot be combined with pkgset_source = \"repos\"";
                    errors.push(OptionError::new(&value.at, name, message));
                }
            }
        }
        Some("koji") => {
            let message = "\"koji\" comes with a later release; use \"repos\" with pkgset_repos";
            errors.push(OptionError::new(&source.at, "pkgset_source", message));
            if let Some(value) = set(given, "pkgset_repos") {
                let message = "cannot be combined with pkgset_source = \"koji\"";
                errors.push(OptionError::new(&value.at, "pkgset_repos", message));
            }
        }
        _ => {}
    }
}

fn needs(given: &Options, name: &str, other: &str, errors: &mut Vec<OptionError>) {
    if let Some(value) = set(given, name)
        && !is_set(given, other)
    {
        errors.push(OptionError::new(&value.at, name, format!("needs {other}, which is not set")));
    }
}

fn one_checksum(given: &Options, effective: &Options, errors: &mut Vec<OptionError>) {
    let Some(value) = set(given, "media_checksum_one_file") else {
        return;
    };
    let types = effective.get("media_checksums").and_then(Value::as_array);
    if types.is_some_and(|types| types.len() != 1) {
        let message = "needs exactly one type in media_checksums, e.g. media_checksums = [\"sha256\"]";
        errors.push(OptionError::new(&value.at, "media_checksum_one_file", message));
    }
}

/// A variant cannot be its own lookaside, nor can several in a circle.
fn lookaside(given: &Options, errors: &mut Vec<OptionError>) {
    let name = "variant_as_lookaside";
    let pairs: Vec<(&Value, &str, &str)> = given
        .get(name)
        .and_then(Value::as_array)
        .unwrap_or_default()
        .iter()
        .filter_map(|pair| match pair.as_array()? {
            [user, lookaside] => Some((pair, user.as_str()?, lookaside.as_str()?)),
            _ => None,
        })
        .collect();
    // Pairs that lead nowhere, and pairs that nothing leads to, are not part of a circle.
    let mut open: Vec<_> = pairs.iter().collect();
    loop {
        let users: BTreeSet<&str> = open.iter().map(|pair| pair.1).collect();
        let lookasides: BTreeSet<&str> = open.iter().map(|pair| pair.2).collect();
        let before = open.len();
        open.retain(|pair| users.contains(pair.2) && lookasides.contains(pair.1));
        if open.len() == before {
            break;
        }
    }
    if let Some((pair, user, _)) = open.first() {
        let message = format!("variant {user} becomes its own lookaside");
        errors.push(OptionError::new(&pair.at, name, message));
    }
}

/// The yum backends of Pungi are gone.
fn dead_backends(given: &Options, errors: &mut Vec<OptionError>) {
    for name in ["gather_backend", "repoclosure_backend"] {
        if let Some(value) = given.get(name)
            && value.as_str() == Some("yum")
        {
            let message = "\"yum\" no longer exists; remove the option";
            errors.push(OptionError::new(&value.at, name, message));
        }
    }
}
