//! Which `system-release` package a variant gets (Pungi 4.3.2, `phases/gather/__init__.py`, with
//! `filter_system_release_packages` on).

use serde::{Deserialize, Serialize};

/// The package that becomes an input of a variant, and the names that become excludes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemRelease {
    /// Name of the chosen package.
    pub input: Option<String>,
    /// Names of all others, sorted.
    pub excludes: Vec<String>,
}

/// Chooses among the names of all packages of an architecture that provide `system-release`.
///
/// For a variant of type `variant`; nested variants reuse their parent's answer. With several candidates the first, in
/// order of name, that ends in `release-<uid>` or starts with `<uid>-release` (uid in lower case) is taken, else the
/// first of all.
pub fn system_release<'n>(candidates: impl IntoIterator<Item = &'n str>, variant_uid: &str) -> SystemRelease {
    let mut names: Vec<&str> = candidates.into_iter().collect();
    names.sort_unstable();
    names.dedup();
    let uid = variant_uid.to_lowercase();
    let (suffix, prefix) = (format!("release-{uid}"), format!("{uid}-release"));
    let own = names.iter().position(|name| name.ends_with(&suffix) || name.starts_with(&prefix));
    if names.is_empty() {
        return SystemRelease::default();
    }
    let input = names.remove(own.unwrap_or(0)).to_owned();
    SystemRelease { input: Some(input), excludes: names.into_iter().map(str::to_owned).collect() }
}

#[cfg(test)]
mod tests {
    use super::system_release;

    #[test]
    fn prefers_the_name_of_the_variant() {
        let names = ["fedora-release-cloud", "fedora-release", "fedora-release-server", "server-release-x"];
        let found = system_release(names, "Server");
        assert_eq!(found.input.as_deref(), Some("fedora-release-server"));
        assert_eq!(found.excludes, ["fedora-release", "fedora-release-cloud", "server-release-x"]);
        assert_eq!(system_release(names, "Everything").input.as_deref(), Some("fedora-release"));
        assert_eq!(system_release(["a", "a"], "X"), super::SystemRelease { input: Some("a".into()), excludes: vec![] });
        assert_eq!(system_release([], "X").input, None);
    }
}
