//! Name patterns: those of `fnmatch(3)` without flags, as libdnf's `name__glob` uses it, and Pungi's simpler `*` form.

/// A compiled name pattern.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    tokens: Vec<Token>,
    literal: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Char(char),
    Any,
    Star,
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Pattern {
    /// Compiles a pattern with `*`, `?`, `[…]` and `\`. A `[` that is never closed stands for itself.
    pub(crate) fn shell(text: &str) -> Pattern {
        let chars: Vec<char> = text.chars().collect();
        let mut tokens = Vec::new();
        let mut at = 0;
        while at < chars.len() {
            let (token, used) = match chars[at] {
                '*' => (Token::Star, 1),
                '?' => (Token::Any, 1),
                '\\' if at + 1 < chars.len() => (Token::Char(chars[at + 1]), 2),
                '[' => class(&chars[at..]).unwrap_or((Token::Char('['), 1)),
                other => (Token::Char(other), 1),
            };
            at += used;
            push(&mut tokens, token);
        }
        Pattern::new(tokens)
    }

    /// Compiles a pattern in which only `*` is special.
    pub(crate) fn star(text: &str) -> Pattern {
        let mut tokens = Vec::new();
        for character in text.chars() {
            push(&mut tokens, if character == '*' { Token::Star } else { Token::Char(character) });
        }
        Pattern::new(tokens)
    }

    fn new(tokens: Vec<Token>) -> Pattern {
        let literal = tokens.iter().map(|token| if let Token::Char(c) = token { Some(*c) } else { None }).collect();
        Pattern { tokens, literal }
    }

    /// Returns the only text that matches, if the pattern has nothing special in it.
    pub(crate) fn literal(&self) -> Option<&str> {
        self.literal.as_deref()
    }

    /// Whether the whole text matches. Time is at most pattern length × text length.
    pub(crate) fn matches(&self, text: &str) -> bool {
        if let Some(literal) = &self.literal {
            return literal == text;
        }
        let mut rest = text.chars();
        let mut token = 0;
        // After the last star: its next token, and what it has not taken yet.
        let mut retry: Option<(usize, std::str::Chars<'_>)> = None;
        loop {
            match (self.tokens.get(token), rest.clone().next()) {
                (Some(Token::Star), _) => {
                    token += 1;
                    retry = Some((token, rest.clone()));
                    continue;
                }
                (None, None) => return true,
                (Some(one), Some(character)) if one.accepts(character) => {
                    token += 1;
                    rest.next();
                    continue;
                }
                _ => {}
            }
            let Some((after, from)) = &mut retry else { return false };
            if from.next().is_none() {
                return false;
            }
            token = *after;
            rest = from.clone();
        }
    }
}

fn push(tokens: &mut Vec<Token>, token: Token) {
    if token != Token::Star || tokens.last() != Some(&Token::Star) {
        tokens.push(token);
    }
}

impl Token {
    fn accepts(&self, character: char) -> bool {
        match self {
            Token::Char(own) => *own == character,
            Token::Any => true,
            Token::Star => false,
            Token::Class { negated, ranges } => {
                ranges.iter().any(|(low, high)| *low <= character && character <= *high) != *negated
            }
        }
    }
}

/// Reads a bracket expression; `None` if it is never closed. A `]` that comes first stands for itself.
fn class(chars: &[char]) -> Option<(Token, usize)> {
    let mut at = 1;
    let negated = matches!(chars.get(at), Some('!' | '^'));
    at += usize::from(negated);
    let first = at;
    let mut ranges = Vec::new();
    loop {
        let mut low = *chars.get(at)?;
        if low == ']' && at > first {
            return Some((Token::Class { negated, ranges }, at + 1));
        }
        if low == '\\' {
            at += 1;
            low = *chars.get(at)?;
        }
        at += 1;
        let mut high = low;
        if chars.get(at) == Some(&'-') && chars.get(at + 1).is_some_and(|next| *next != ']') {
            high = chars[at + 1];
            at += 2;
        }
        ranges.push((low, high));
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn shell_patterns() {
        let cases = [
            ("foo", "foo", true),
            ("foo", "foobar", false),
            ("foo*", "foo", true),
            ("*-devel", "glibc-devel", true),
            ("*-devel", "glibc-devel-static", false),
            ("*a*b*c", "xxaybzzbqc", true),
            ("*a*b*c", "xxaybzzbqd", false),
            ("lib?", "liba", true),
            ("lib?", "lib", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("[]]", "]", true),
            ("[a", "[a", true),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("*", "", true),
            ("**", "anything", true),
            ("libstdc++", "libstdc++", true),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(Pattern::shell(pattern).matches(text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn star_patterns_have_nothing_else() {
        assert!(Pattern::star("gtk[2]+*").matches("gtk[2]+-devel"));
        assert!(!Pattern::star("fo?").matches("foo"));
        assert_eq!(Pattern::star("a.b").literal(), Some("a.b"));
    }

    #[test]
    fn many_stars_stay_cheap() {
        let pattern = "*a".repeat(50) + "b";
        assert!(!Pattern::shell(&pattern).matches(&"a".repeat(2000)));
    }
}
