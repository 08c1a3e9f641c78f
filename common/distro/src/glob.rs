//! Shell patterns as Python's `fnmatch.fnmatchcase` has them: `*`, `?`, `[seq]`, `[!seq]`, nothing else special.
//!
//! Matching takes time proportional to pattern × text at worst and does not recurse.

/// Tells whether the whole of `text` matches `pattern`.
pub fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut at, mut read) = (0, 0);
    // Where to go on when a later part does not fit: after the last star, one character further.
    let mut retry: Option<(usize, usize)> = None;
    while read < text.len() {
        if pattern.get(at) == Some(&'*') {
            at += 1;
            retry = Some((at, read));
            continue;
        }
        if let Some(next) = step(&pattern, at, text[read]) {
            at = next;
            read += 1;
            continue;
        }
        match retry {
            Some((star, from)) => {
                at = star;
                read = from + 1;
                retry = Some((star, read));
            }
            None => return false,
        }
    }
    pattern[at..].iter().all(|rest| *rest == '*')
}

/// Position after the one-character item at `at`, if it accepts `character`.
fn step(pattern: &[char], at: usize, character: char) -> Option<usize> {
    match pattern.get(at)? {
        '?' => Some(at + 1),
        '[' => match class(pattern, at, character) {
            Some((true, next)) => Some(next),
            Some((false, _)) => None,
            None => (character == '[').then_some(at + 1),
        },
        own => (*own == character).then_some(at + 1),
    }
}

/// Reads the class that starts at `at`: whether it accepts `character`, and where it ends. `None`: no closing bracket.
fn class(pattern: &[char], at: usize, character: char) -> Option<(bool, usize)> {
    let negated = pattern.get(at + 1) == Some(&'!');
    let first = at + 1 + usize::from(negated);
    // A bracket that comes first is a member, not the end.
    let end = (first + 1..pattern.len()).find(|position| pattern[*position] == ']')?;
    let members = &pattern[first..end];
    let mut found = false;
    let mut index = 0;
    while index < members.len() {
        if index + 2 < members.len() && members[index + 1] == '-' {
            found |= members[index] <= character && character <= members[index + 2];
            index += 3;
        } else {
            found |= members[index] == character;
            index += 1;
        }
    }
    Some((found != negated, end + 1))
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn matches_as_fnmatch_does() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("core", "core", true),
            ("core", "cores", false),
            ("*-devel*", "gtk-devel-tools", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("conflicts-?", "conflicts-a", true),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]]", "]", true),
            ("[", "[", true),
            ("[a", "[a", true),
            ("a.c", "abc", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_end_fast() {
        assert!(!matches(&"*a".repeat(2_000), &"a".repeat(1_999)));
        assert!(!matches(&format!("{}b", "*a".repeat(100)), &"a".repeat(2_000)));
    }
}
