//! The text of `TUTTI_FAILPOINTS`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// What an armed point does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// SIGKILL to this process.
    Kill,
    /// Ends the process with this status.
    Exit(i32),
    /// Returns an error from the point.
    Error,
    /// Returns an error from the point until the file exists.
    ErrorUntil(PathBuf),
    /// Blocks the thread.
    Sleep(Duration),
    /// Blocks the thread until the file exists.
    PauseFile(PathBuf),
}

/// An action and when it happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) action: Action,
    /// The occurrence, from 1; every one if absent.
    pub(crate) occurrence: Option<u64>,
}

/// Why the text of `TUTTI_FAILPOINTS` was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem} in {entry:?} of TUTTI_FAILPOINTS (expected name=action[@occurrence];…)")]
pub(crate) struct ParseError {
    problem: &'static str,
    entry: String,
}

/// Parses `name=action[@occurrence];…`; a name may be given several times with different occurrences.
pub(crate) fn parse(text: &str) -> Result<BTreeMap<String, Vec<Rule>>, ParseError> {
    let mut rules: BTreeMap<String, Vec<Rule>> = BTreeMap::new();
    for entry in text.split(';').map(str::trim).filter(|entry| !entry.is_empty()) {
        let refuse = |problem| ParseError { problem, entry: entry.to_owned() };
        let (name, rest) = entry.split_once('=').ok_or_else(|| refuse("no '='"))?;
        if name.is_empty() {
            return Err(refuse("no name"));
        }
        // The last '@', outside of parentheses: a path may contain one.
        let (action, occurrence) = match rest.rsplit_once('@') {
            Some((action, number)) if !number.ends_with(')') => {
                let number = number.parse::<u64>().map_err(|_| refuse("no number after '@'"))?;
                if number == 0 {
                    return Err(refuse("occurrence 0 (they count from 1)"));
                }
                (action, Some(number))
            }
            _ => (rest, None),
        };
        let action = parse_action(action).map_err(refuse)?;
        rules.entry(name.to_owned()).or_default().push(Rule { action, occurrence });
    }
    Ok(rules)
}

fn parse_action(text: &str) -> Result<Action, &'static str> {
    let (word, argument) = match text.split_once('(') {
        Some((word, rest)) => (word, Some(rest.strip_suffix(')').ok_or("no closing parenthesis")?)),
        None => (text, None),
    };
    match (word, argument) {
        ("kill", None) => Ok(Action::Kill),
        ("exit", None) => Ok(Action::Exit(1)),
        ("exit", Some(status)) => status.parse().map(Action::Exit).map_err(|_| "no exit status"),
        ("error", None) => Ok(Action::Error),
        ("sleep", Some(milliseconds)) => match milliseconds.trim_end_matches("ms").parse() {
            Ok(milliseconds) => Ok(Action::Sleep(Duration::from_millis(milliseconds))),
            Err(_) => Err("no milliseconds"),
        },
        ("error-until", Some(path)) if !path.is_empty() => Ok(Action::ErrorUntil(PathBuf::from(path))),
        ("pause-file", Some(path)) if !path.is_empty() => Ok(Action::PauseFile(PathBuf::from(path))),
        _ => Err("unknown action"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_each_action() {
        let rules = parse("a=kill; b=exit(3)@2;c=error@1;c=sleep(20)@4;d=pause-file(/tmp/a@b);e=exit;;").unwrap();
        assert_eq!(rules["a"], [Rule { action: Action::Kill, occurrence: None }]);
        assert_eq!(rules["b"], [Rule { action: Action::Exit(3), occurrence: Some(2) }]);
        assert_eq!(
            rules["c"],
            [
                Rule { action: Action::Error, occurrence: Some(1) },
                Rule { action: Action::Sleep(Duration::from_millis(20)), occurrence: Some(4) },
            ]
        );
        assert_eq!(rules["d"], [Rule { action: Action::PauseFile("/tmp/a@b".into()), occurrence: None }]);
        assert_eq!(rules["e"], [Rule { action: Action::Exit(1), occurrence: None }]);
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for text in
            ["a", "=kill", "a=explode", "a=kill@0", "a=kill@x", "a=sleep", "a=sleep(x)", "a=sleep(3", "a=kill(1)"]
        {
            let error = parse(text).unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}
