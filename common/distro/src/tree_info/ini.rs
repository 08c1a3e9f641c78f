//! INI text in the bytes of productmd's sorted `ConfigParser`: sections and keys sorted, `key = value`, an empty line
//! after each section.

use std::collections::BTreeMap;

use super::Error;

pub(super) struct Ini {
    file: &'static str,
    sections: BTreeMap<String, BTreeMap<String, String>>,
}

impl Ini {
    pub(super) fn new(file: &'static str) -> Self {
        Self { file, sections: BTreeMap::new() }
    }

    /// Sets a value. What the format would read back as something else is refused; `%` is doubled, as the reader's
    /// interpolation wants it.
    pub(super) fn set(&mut self, section: &str, key: &str, value: &str) -> Result<(), Error> {
        let refuse = |what: &str, text: &str, reason| {
            Err(Error { file: self.file, what: format!("{what} of [{section}]"), value: text.to_owned(), reason })
        };
        if section.chars().any(|c| c.is_control() || c == ']') {
            return refuse("name", section, "cannot be a section");
        }
        let special = |c: char| c.is_control() || matches!(c, '=' | ':');
        let odd_start = key.starts_with(['[', '#', ';']) || key.trim() != key;
        if key.is_empty() || odd_start || key.chars().any(special) {
            return refuse("key", key, "cannot be a key");
        }
        if value.trim() != value || value.chars().any(char::is_control) || value.contains(LINE_BREAKS) {
            return refuse(key, value, "is not one line of text without blanks around it");
        }
        self.insert(section, key.to_owned(), value.replace('%', "%%"));
        Ok(())
    }

    /// Adds a line that readers take as a comment.
    pub(super) fn comment(&mut self, section: &str, name: &str, text: &str) {
        self.insert(section, format!("; {name}"), text.to_owned());
    }

    fn insert(&mut self, section: &str, key: String, value: String) {
        self.sections.entry(section.to_owned()).or_default().insert(key, value);
    }

    pub(super) fn to_text(&self) -> String {
        let mut text = String::new();
        for (section, values) in &self.sections {
            text.push_str(&format!("[{section}]\n"));
            for (key, value) in values {
                text.push_str(&format!("{key} = {value}\n"));
            }
            text.push('\n');
        }
        text
    }
}

/// Line breaks that Python knows besides the control characters.
const LINE_BREAKS: [char; 2] = ['\u{2028}', '\u{2029}'];
