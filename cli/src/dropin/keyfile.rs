//! Batch files of modifyrepo_c: GLib key files, as far as it uses them.

use std::collections::BTreeMap;

/// A group and its keys.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) name: String,
    keys: BTreeMap<String, String>,
}

impl Group {
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.keys.get(key).map(String::as_str)
    }

    /// Only `true` and `false` are booleans; anything else counts as not given.
    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        match self.text(key)? {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }
}

/// Reads a key file; `known` are the keys that it may have.
pub(super) fn parse(text: &str, known: &[&str]) -> Result<Vec<Group>, String> {
    let mut groups: Vec<Group> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let refuse = |what: &str| Err(format!("line {}: {what}", number + 1));
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.trim_end().strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            match groups.iter().position(|group| group.name == name) {
                // A group that comes again goes on.
                Some(at) => {
                    let group = groups.remove(at);
                    groups.push(group);
                }
                None => groups.push(Group { name: name.to_owned(), ..Group::default() }),
            }
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            return refuse("neither a group, nor KEY=VALUE, nor a comment");
        };
        let Some(group) = groups.last_mut() else { return refuse("stands before the first group") };
        let key = key.trim_end();
        if !known.contains(&key) {
            return refuse(&format!("the key {key:?} is not known"));
        }
        group.keys.insert(key.to_owned(), unescaped(value.trim()));
    }
    Ok(groups)
}

fn unescaped(value: &str) -> String {
    let mut out = String::new();
    let mut letters = value.chars();
    while let Some(letter) = letters.next() {
        match (letter, letter == '\\') {
            (_, true) => match letters.next() {
                Some('s') => out.push(' '),
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('r') => out.push('\r'),
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
            (letter, false) => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_and_keys() {
        let groups =
            parse("# x\n[a b]\npath = /c\\sd\nremove=true\ncompress=no\n\n[c]\n", &["path", "remove", "compress"]);
        let groups = groups.unwrap();
        assert_eq!((groups.len(), groups[0].name.as_str(), groups[1].name.as_str()), (2, "a b", "c"));
        assert_eq!(groups[0].text("path"), Some("/c d"));
        assert_eq!((groups[0].flag("remove"), groups[0].flag("compress")), (Some(true), None));
        assert_eq!(parse("", &[]).unwrap(), []);
        for (bad, error) in
            [("path=x", "line 1: stands before"), ("[a]\nx", "line 2: neither"), ("[a]\nx=1", "not known")]
        {
            assert!(parse(bad, &["path"]).unwrap_err().contains(error), "{bad}");
        }
    }
}
