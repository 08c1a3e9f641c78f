//! Paths that people write, as others may name them.

use std::{
    fmt, fs, io,
    path::{Component, Path, PathBuf},
};

/// Part of a path that could not be looked up.
#[derive(Debug)]
pub struct NotFound {
    /// That part.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot find {}", self.path.display())
    }
}

impl std::error::Error for NotFound {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// The path, absolute and without `..`. Where a `..` leads is for the file system to say, as what stands before it may be a
/// link; a path without one need not exist.
///
/// # Errors
/// [`NotFound`] names the part up to the last `..`.
pub fn without_dots(path: &Path) -> Result<PathBuf, NotFound> {
    let path = std::path::absolute(path).map_err(|source| NotFound { path: path.to_owned(), source })?;
    let mut parts: Vec<_> = path.components().collect();
    let Some(last) = parts.iter().rposition(|part| *part == Component::ParentDir) else { return Ok(path) };
    let below: PathBuf = parts.split_off(last + 1).into_iter().collect();
    let upper: PathBuf = parts.into_iter().collect();
    let upper = fs::canonicalize(&upper).map_err(|source| NotFound { path: upper, source })?;
    Ok(if below.as_os_str().is_empty() { upper } else { upper.join(below) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_followed_by_the_file_system() {
        let directory = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(directory.path()).unwrap();
        fs::create_dir_all(top.join("a/b")).unwrap();
        std::os::unix::fs::symlink(top.join("a/b"), top.join("link")).unwrap();
        assert_eq!(without_dots(&top.join("link/../x/y")).unwrap(), top.join("a/x/y"));
        assert_eq!(without_dots(&top.join("a/..")).unwrap(), top);
        assert_eq!(without_dots(&top.join("no/x")).unwrap(), top.join("no/x"));
        assert_eq!(without_dots(&top.join("no/../x")).unwrap_err().path, top.join("no/.."));
    }
}
