//! Patterns of createrepo_c: `*` and `?` only, over the whole text, and `*` takes `/` too (GLib's `GPatternSpec`).

/// Whether a text is what a pattern says.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where the last `*` stands, and what of the text it has taken.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    t = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// Whether any of the patterns matches.
pub(crate) fn any(patterns: &[String], text: &str) -> bool {
    patterns.iter().any(|pattern| matches(pattern, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_take_slashes_and_brackets_are_letters() {
        for (pattern, text) in [("*.rpm", "a/b.rpm"), ("a?c*", "abc"), ("*", ""), ("a*b*c", "axxbyybc"), ("[a]", "[a]")]
        {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("*.rpm", "a.rpmx"), ("a?c", "ac"), ("", "a"), ("[a]", "a"), ("a*b", "acbc")] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
