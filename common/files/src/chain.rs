//! An error with its causes, as one text.

use std::error::Error;

/// An error and its causes, each after a colon. One that an error above it repeats, as libraries do, is left out.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text += ": ";
            text += &cause;
        }
        below = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[derive(Debug)]
    struct Link(&'static str, Option<Box<Link>>);

    impl fmt::Display for Link {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Link {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_ref().map(|link| link.as_ref() as _)
        }
    }

    #[test]
    fn causes_follow_and_repetitions_do_not() {
        let link = |text, below| Link(text, Some(Box::new(below)));
        assert_eq!(chain(&Link("alone", None)), "alone");
        let error = link("cannot read x", link("no such file", Link("ENOENT", None)));
        assert_eq!(chain(&error), "cannot read x: no such file: ENOENT");
        let error = link("cannot read x: broken", link("broken", Link("by a mouse", None)));
        assert_eq!(chain(&error), "cannot read x: broken: by a mouse");
    }
}
