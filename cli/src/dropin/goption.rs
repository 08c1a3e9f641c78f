//! Command lines as GLib's GOption reads them, which the createrepo_c tools use (facts in docs/createrepo-tools.md).
//!
//! Options and other arguments may come in any order, `--` ends the options, short flags may be bundled, a value is the
//! next argument or stands after `=`, `--flag=anything` is the flag, integers may be hexadecimal. Of a scalar option
//! the last one counts; lists grow.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Flag,
    Text,
    List,
    Number,
    /// Known, and not supported, with or without a value: refused by name.
    Refused,
}

/// One option.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opt {
    pub(super) long: &'static str,
    pub(super) short: Option<char>,
    pub(super) kind: Kind,
    /// What it is, for the help; placeholder of the value before a `|`.
    pub(super) help: &'static str,
}

/// A flag.
pub(super) const fn flag(long: &'static str, help: &'static str) -> Opt {
    Opt { long, short: None, kind: Kind::Flag, help }
}

/// A text.
pub(super) const fn text(long: &'static str, help: &'static str) -> Opt {
    Opt { long, short: None, kind: Kind::Text, help }
}

/// A text that may come more than once.
pub(super) const fn list(long: &'static str, help: &'static str) -> Opt {
    Opt { long, short: None, kind: Kind::List, help }
}

/// An integer.
pub(super) const fn number(long: &'static str, help: &'static str) -> Opt {
    Opt { long, short: None, kind: Kind::Number, help }
}

/// An option that is refused.
pub(super) const fn refused(long: &'static str) -> Opt {
    Opt { long, short: None, kind: Kind::Refused, help: "" }
}

impl Opt {
    /// With a short name.
    pub(super) const fn short(self, short: char) -> Self {
        Self { short: Some(short), ..self }
    }
}

/// What a command line says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parsed {
    values: BTreeMap<&'static str, Vec<String>>,
    numbers: BTreeMap<&'static str, i32>,
    /// Arguments that belong to no option.
    pub(super) arguments: Vec<String>,
    /// `-h`, `--help` or one of its kin was given.
    pub(super) help: bool,
}

impl Parsed {
    pub(super) fn has(&self, long: &str) -> bool {
        self.values.contains_key(long)
    }

    pub(super) fn text(&self, long: &str) -> Option<&str> {
        self.values.get(long)?.last().map(String::as_str)
    }

    pub(super) fn list(&self, long: &str) -> &[String] {
        self.values.get(long).map(Vec::as_slice).unwrap_or_default()
    }

    pub(super) fn number(&self, long: &str) -> Option<i32> {
        self.numbers.get(long).copied()
    }
}

/// Reads a command line without the program's name.
pub(super) fn parse(table: &[Opt], arguments: impl Iterator<Item = String>) -> Result<Parsed, String> {
    let mut parsed = Parsed::default();
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            parsed.arguments.extend(arguments);
            break;
        }
        if let Some(name) = argument.strip_prefix("--") {
            long(table, &mut parsed, name, &mut arguments)?;
        } else if argument.len() > 1 && argument.starts_with('-') {
            bundle(table, &mut parsed, &argument, &mut arguments)?;
        } else {
            parsed.arguments.push(argument);
        }
    }
    Ok(parsed)
}

fn long(table: &[Opt], parsed: &mut Parsed, text: &str, rest: &mut impl Iterator<Item = String>) -> Result<(), String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    if matches!(name, "help" | "help-all" | "help-expert") {
        parsed.help = true;
        return Ok(());
    }
    let option = table.iter().find(|option| option.long == name).ok_or_else(|| format!("Unknown option --{text}"))?;
    let shown = format!("--{name}");
    let value = match option.kind {
        Kind::Flag => None,
        Kind::Refused => return Err(refusal(&shown)),
        Kind::Text | Kind::List | Kind::Number => {
            Some(value.or_else(|| rest.next()).ok_or_else(|| format!("Missing argument for {shown}"))?)
        }
    };
    store(parsed, option, value, &shown)
}

fn bundle(
    table: &[Opt],
    parsed: &mut Parsed,
    argument: &str,
    rest: &mut impl Iterator<Item = String>,
) -> Result<(), String> {
    for letter in argument.chars().skip(1) {
        if letter == 'h' {
            parsed.help = true;
            continue;
        }
        let option = table
            .iter()
            .find(|option| option.short == Some(letter))
            .ok_or_else(|| format!("Unknown option {argument}"))?;
        let shown = format!("-{letter}");
        let value = match option.kind {
            Kind::Flag => None,
            Kind::Refused => return Err(refusal(&shown)),
            _ => Some(rest.next().ok_or_else(|| format!("Missing argument for {shown}"))?),
        };
        store(parsed, option, value, &shown)?;
    }
    Ok(())
}

fn store(parsed: &mut Parsed, option: &Opt, value: Option<String>, shown: &str) -> Result<(), String> {
    if option.kind == Kind::Number {
        let text = value.as_deref().unwrap_or_default();
        let number = integer(text).ok_or_else(|| format!("Cannot parse integer value “{text}” for {shown}"))?;
        let number = i32::try_from(number).map_err(|_| format!("Integer value “{text}” for {shown} out of range"))?;
        parsed.numbers.insert(option.long, number);
    }
    let values = parsed.values.entry(option.long).or_default();
    values.extend(value);
    Ok(())
}

fn refusal(shown: &str) -> String {
    format!("Option {shown} is not supported by tutti (docs/createrepo-differences.md)")
}

/// An integer as `strtol` with base 0 reads it.
pub(super) fn integer(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let number = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => u32::from_str_radix(hex, 16).map(i64::from),
        None if digits.len() > 1 && digits.starts_with('0') => i64::from_str_radix(digits, 8),
        None if digits.starts_with(['+', '-']) => return None,
        None => digits.parse(),
    };
    number.ok().map(|number| if negative { -number } else { number })
}

/// The help of a tool.
pub(super) fn help(usage: &str, about: &str, table: &[Opt]) -> String {
    let mut text = format!("Usage:\n{usage}\n\n{about}\n\nHelp Options:\n  -h, --help\n\nApplication Options:\n");
    for option in table.iter().filter(|option| option.kind != Kind::Refused) {
        let (value, about) = match option.help.split_once('|') {
            Some((value, about)) => (format!("={value}"), about),
            None => (String::new(), option.help),
        };
        let short = option.short.map_or_else(String::new, |short| format!("-{short}, "));
        let name = format!("{short}--{}{value}", option.long);
        let _ = writeln!(text, "  {name:<42} {about}");
    }
    let refused: Vec<String> =
        table.iter().filter(|option| option.kind == Kind::Refused).map(|option| format!("--{}", option.long)).collect();
    if !refused.is_empty() {
        let _ = writeln!(text, "\nRefused, because they are not supported: {}", refused.join(" "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[Opt] = &[
        flag("quiet", "").short('q'),
        flag("verbose", "").short('v'),
        text("pkglist", "").short('i'),
        list("excludes", "").short('x'),
        number("workers", ""),
        refused("split"),
    ];

    fn read(line: &str) -> Result<Parsed, String> {
        parse(TABLE, line.split(' ').filter(|word| !word.is_empty()).map(str::to_owned))
    }

    #[test]
    fn as_goption_reads_it() {
        let parsed = read("d -qi list --excludes=a --workers=0x2 -x b --workers 3 --pkglist=other -- -v").unwrap();
        assert_eq!(parsed.arguments, ["d", "-v"]);
        assert_eq!(parsed.list("excludes"), ["a", "b"]);
        assert_eq!((parsed.text("pkglist"), parsed.number("workers")), (Some("other"), Some(3)));
        assert!(parsed.has("quiet") && !parsed.has("verbose"));
        assert!(read("--quiet=no").unwrap().has("quiet"));
        assert_eq!(read("-i -q").unwrap().text("pkglist"), Some("-q"));
        assert_eq!(read("--pkglist=").unwrap().text("pkglist"), Some(""));
        assert!(read("--help-all").unwrap().help && read("-qh").unwrap().help);
    }

    #[test]
    fn wrong_lines_are_refused_in_its_words() {
        for (line, error) in [
            ("--foo", "Unknown option --foo"),
            ("--qui", "Unknown option --qui"),
            ("-iX", "Missing argument for -i"),
            ("-iX file", "Unknown option -iX"),
            ("--workers", "Missing argument for --workers"),
            ("--workers=abc", "Cannot parse integer value “abc” for --workers"),
            ("--workers=99999999999", "Integer value “99999999999” for --workers out of range"),
            ("--split", "Option --split is not supported by tutti (docs/createrepo-differences.md)"),
        ] {
            assert_eq!(read(line).unwrap_err(), error);
        }
    }

    #[test]
    fn integers() {
        let read = ["0x10", "010", "-1", "+7", "0", "", "--1", "1x"].map(integer);
        assert_eq!(read, [Some(16), Some(8), Some(-1), Some(7), Some(0), None, None, None]);
    }
}
