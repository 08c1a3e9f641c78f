//! Package locations: which texts may stand in `<location href="…">`.

/// Longest location, in bytes: `PATH_MAX` of Linux.
pub const MAX_LOCATION: usize = 4096;

/// Why a location is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// Empty text.
    #[error("is empty")]
    Empty,
    /// Longer than [`MAX_LOCATION`].
    #[error("is longer than {MAX_LOCATION} bytes")]
    TooLong,
    /// Starts with `/`.
    #[error("is an absolute path")]
    Absolute,
    /// Starts with a scheme such as `http://`.
    #[error("is a URL and not a path within the repository")]
    Url,
    /// Has a `..` component.
    #[error("leaves the repository by a \"..\" component")]
    Parent,
    /// Names a directory: ends with `/`, `.` or has an empty component.
    #[error("has an empty or \".\" component")]
    EmptyComponent,
    /// Has NUL, another control character, or a character that XML cannot hold.
    #[error("holds a control character")]
    ControlCharacter,
}

/// Checks that a location is a plain relative path that stays inside its repository.
///
/// A leading `./` is allowed, because real repositories have it.
///
/// # Errors
/// When it is anything else.
pub fn check(href: &str) -> Result<(), LocationError> {
    check_text(href)?;
    if href.starts_with('/') {
        return Err(LocationError::Absolute);
    }
    if href.contains("://") {
        return Err(LocationError::Url);
    }
    for component in href.strip_prefix("./").unwrap_or(href).split('/') {
        match component {
            ".." => return Err(LocationError::Parent),
            "" | "." => return Err(LocationError::EmptyComponent),
            _ => {}
        }
    }
    Ok(())
}

/// Checks a base: any URL or absolute path without control characters.
///
/// # Errors
/// When it is empty, too long or holds control characters.
pub fn check_base(base: &str) -> Result<(), LocationError> {
    check_text(base)
}

/// Checks what a location needs to stand in XML, wherever it leads.
///
/// # Errors
/// When it is empty, too long or holds control characters.
pub fn check_text(text: &str) -> Result<(), LocationError> {
    if text.is_empty() {
        return Err(LocationError::Empty);
    }
    if text.len() > MAX_LOCATION {
        return Err(LocationError::TooLong);
    }
    // Nearly all are plain: many bytes are compared at once.
    let is_plain = text.bytes().filter(|byte| !matches!(byte, b' '..=b'~')).count() == 0;
    if !is_plain && text.chars().any(|c| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}')) {
        return Err(LocationError::ControlCharacter);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_relative_paths_only() {
        for good in ["a.rpm", "Packages/a/a.rpm", "./a.rpm", "a..b.rpm", "x/..a"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("", LocationError::Empty),
            ("/etc/passwd", LocationError::Absolute),
            ("../a.rpm", LocationError::Parent),
            ("a/../../b", LocationError::Parent),
            ("./../b", LocationError::Parent),
            ("a//b", LocationError::EmptyComponent),
            ("a/", LocationError::EmptyComponent),
            ("a/./b", LocationError::EmptyComponent),
            ("a\0b", LocationError::ControlCharacter),
            ("a\nb", LocationError::ControlCharacter),
            ("http://x/y", LocationError::Url),
        ] {
            assert_eq!(check(bad), Err(why), "{bad:?}");
        }
        assert_eq!(check(&"a".repeat(5000)), Err(LocationError::TooLong));
    }
}
