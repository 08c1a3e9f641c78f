//! Extra files of a compose: safe target paths, and the two JSON files that list them (productmd 1.x `extra_files.py`).

use std::collections::BTreeMap;
use std::io;

use serde::{Deserialize, Serialize};

use crate::metadata::{Compose, Error, check_path, write_document, write_json};
use crate::variants::VariantUid;

const FILE: &str = "extra_files.json";

/// Names at the root of a tree that the compose itself writes; an extra file must not take their place.
const RESERVED: &[&str] =
    &["repodata", "Packages", ".treeinfo", ".discinfo", "media.repo", "extra_files.json", "addons"];

/// Returns where a file of a configured `target` directory goes, relative to the root of its tree.
///
/// A missing or empty target, or `.`, is the root itself; slashes at its end do not count.
///
/// # Errors
/// If the path is absolute, would leave the tree, or would replace something that the compose writes.
pub fn target_path(target: Option<&str>, file: &str) -> Result<String, Error> {
    let target = target.unwrap_or_default();
    if target.starts_with('/') {
        return Err(Error::new("extra_files", "target", target, "is not relative"));
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in target.split('/').chain(file.split('/')) {
        match part {
            "" | "." => {}
            ".." => return Err(Error::new("extra_files", "target", format!("{target}/{file}"), "has a '..'")),
            part => parts.push(part),
        }
    }
    let path = parts.join("/");
    check_path("extra_files", &path)?;
    if file.starts_with('/') || file.ends_with('/') || file.is_empty() {
        return Err(Error::new("extra_files", "file", file, "is not a file name"));
    }
    if parts.iter().any(|part| part.len() > crate::layout::MAX_FILE_NAME) {
        return Err(Error::new("extra_files", "path", path, "has a part longer than 255 bytes"));
    }
    if parts.first().is_some_and(|first| RESERVED.contains(first)) {
        return Err(Error::new("extra_files", "path", path, "would replace what the compose writes itself"));
    }
    Ok(path)
}

/// One extra file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ExtraFile {
    /// Digests by algorithm.
    pub checksums: BTreeMap<String, String>,
    /// Path.
    pub file: String,
    /// Size in bytes.
    pub size: u64,
}

/// All extra files of a compose, with paths relative to `compose/`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtraFiles {
    files: BTreeMap<String, BTreeMap<String, Vec<ExtraFile>>>,
}

impl ExtraFiles {
    /// Lists a file of a variant and architecture. A file listed again replaces the first entry.
    ///
    /// # Errors
    /// If the path is not relative and inside, or the architecture is unknown to productmd. Sources count as `src`.
    pub fn add(&mut self, variant: &VariantUid, arch: &str, file: ExtraFile) -> Result<(), Error> {
        check_path(FILE, &file.file)?;
        if arch != "src" && !crate::metadata::ARCHES.contains(&arch) {
            return Err(Error::new(FILE, "architecture", arch, "is not known to productmd"));
        }
        let files = self.files.entry(variant.to_string()).or_default().entry(arch.to_owned()).or_default();
        match files.binary_search_by(|known| known.file.cmp(&file.file)) {
            Ok(at) => files[at] = file,
            Err(at) => files.insert(at, file),
        }
        Ok(())
    }

    /// Writes the file of the whole compose, for its `metadata/` directory.
    ///
    /// # Errors
    /// If writing fails.
    pub fn write(&self, out: impl io::Write, compose: &Compose) -> io::Result<()> {
        #[derive(Serialize)]
        struct Payload<'a> {
            compose: crate::metadata::ComposeSection<'a>,
            extra_files: &'a BTreeMap<String, BTreeMap<String, Vec<ExtraFile>>>,
        }
        let payload = Payload { compose: compose.section(), extra_files: &self.files };
        write_document(out, "productmd.extra_files", payload)
    }

    /// Writes the file of one tree; paths become relative to `tree`, the tree's own path relative to `compose/`.
    ///
    /// # Errors
    /// If writing fails.
    pub fn write_for_tree(&self, out: impl io::Write, variant: &str, arch: &str, tree: &str) -> io::Result<()> {
        let files = self.files.get(variant).and_then(|arches| arches.get(arch));
        let prefix = format!("{}/", tree.trim_end_matches('/'));
        let data = files.into_iter().flatten().map(|file| ExtraFile {
            file: file.file.strip_prefix(&prefix).unwrap_or(&file.file).to_owned(),
            ..file.clone()
        });
        tree_file(out, data.collect())
    }
}

/// Writes the `extra_files.json` of one tree from files with paths relative to the tree, in order of path.
///
/// # Errors
/// If writing fails.
pub fn tree_file(out: impl io::Write, mut files: Vec<ExtraFile>) -> io::Result<()> {
    #[derive(Serialize)]
    struct Header {
        version: &'static str,
    }
    #[derive(Serialize)]
    struct Document {
        data: Vec<ExtraFile>,
        header: Header,
    }
    files.sort_by(|left, right| left.file.cmp(&right.file));
    let header = Header { version: "1.0" };
    write_json(out, &Document { data: files, header })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn targets_stay_inside_and_off_what_the_compose_writes() {
        assert_eq!(target_path(None, "GPL").unwrap(), "GPL");
        assert_eq!(target_path(Some("./legal//"), "GPL").unwrap(), "legal/GPL");
        assert_eq!(target_path(Some("legal"), "a/GPL").unwrap(), "legal/a/GPL");
        for (target, file) in [
            (Some("/etc"), "passwd"),
            (Some(".."), "x"),
            (Some("a/../.."), "x"),
            (None, "../x"),
            (None, "/x"),
            (None, ""),
            (None, "."),
            (Some("repodata"), "repomd.xml"),
            (None, ".treeinfo"),
            (Some("./Packages"), "x"),
            (None, "a\u{0}b"),
            (None, "x\n"),
        ] {
            assert!(target_path(target, file).is_err(), "{target:?} {file:?}");
        }
    }

    proptest! {
        #[test]
        fn no_target_leaves_its_root(target in "[a./\\PC]{0,12}", file in "[a./\\PC]{0,12}") {
            if let Ok(path) = target_path(Some(&target), &file) {
                prop_assert!(!path.starts_with('/'));
                prop_assert!(path.split('/').all(|part| !matches!(part, "" | "." | "..")));
            }
        }
    }
}
