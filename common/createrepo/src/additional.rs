//! Metadata besides the packages: the group file, modules, and what stays of the old repository.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tutti_repodata::{Compression, Extra, ExtraContent, Repomd, RepomdRecord};

use crate::error::Error;
use crate::events::{Control, Event};
use crate::metadata_file::{MAX_WHOLE, read_open, record_of, unique_name, without_suffix};
use crate::options::{Metadata, Options};

/// Types that every run makes anew.
const OWN: [&str; 4] = ["primary", "filelists", "filelists-ext", "other"];

/// Whether a record of this type is additional metadata (createrepo_c 1.2.5 `metadata_internal.c`).
pub(crate) fn is_additional(kind: &str) -> bool {
    !OWN.iter().any(|own| kind.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('_')))
}

/// Types of additional metadata that a `repomd.xml` names that cannot be read as a whole; at most ten of them.
pub(crate) fn listed_by_name(output: &Path) -> Vec<String> {
    let mut text = Vec::new();
    let file = tutti_files::open_regular(&output.join("repodata/repomd.xml"));
    if file.and_then(|file| file.take(MAX_REPOMD).read_to_end(&mut text)).is_err() {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&text);
    let kinds = text.split("<data").skip(1).filter_map(|rest| {
        let tag = rest.split('>').next()?;
        let (_, value) = tag.split_once("type=")?;
        let quote = value.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
        value[1..].split(quote).next()
    });
    let mut found: Vec<String> = Vec::new();
    for kind in kinds.filter(|kind| is_additional(kind) && !kind.contains(char::is_control)) {
        if !found.iter().any(|known| known == kind) && found.len() < 10 {
            found.push(kind.to_owned());
        }
    }
    found
}

/// Bytes of a `repomd.xml` that are looked at: those of distributions are below 10 KB.
const MAX_REPOMD: u64 = 16 << 20;

/// What is done about additional metadata.
pub(crate) struct Plan {
    /// Files to write.
    pub(crate) extras: Vec<Extra>,
    /// Records of the old repository to keep.
    pub(crate) kept: Vec<RepomdRecord>,
}

/// Decides, and reads what is to be written. `old` is what the old repository's `repomd.xml` says, if it counts.
pub(crate) fn plan(options: &Options, output: &Path, modules: &[PathBuf], old: Option<&Repomd>) -> Result<Plan, Error> {
    let metadata = &options.metadata;
    let mut kept: Vec<RepomdRecord> = old
        .into_iter()
        .filter(|_| !options.update.discard_additional)
        .flat_map(|repomd| &repomd.records)
        .filter(|record| is_additional(&record.kind))
        .cloned()
        .collect();
    let mut extras = Vec::new();
    if let Some(path) = &metadata.group_file {
        extras.push(group(path, metadata)?);
        kept.retain(|record| !record.kind.starts_with("group"));
    }
    if !modules.is_empty() {
        let mut sources: Vec<PathBuf> = kept
            .extract_if(.., |record| record.kind == "modules")
            .map(|record| output.join(record.location_href))
            .collect();
        sources.extend_from_slice(modules);
        let content = ExtraContent::Bytes(merged_modules(&sources)?);
        extras.push(Extra { compression: Some(metadata.additional_compression), ..Extra::modules(content) });
    }
    Ok(Plan { extras, kept })
}

fn group(path: &Path, metadata: &Metadata) -> Result<Extra, Error> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let compression = metadata.group_compression.unwrap_or(metadata.additional_compression);
    let mut head = [0; 8];
    let mut read = || -> io::Result<usize> {
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        File::open(path)?.read(&mut head)
    };
    let length = read().map_err(Error::io("read the group file", path))?;
    let content = match Compression::detect(&head[..length]) {
        Compression::None => ExtraContent::File(path.to_owned()),
        _ => ExtraContent::Bytes(read_open(path)?),
    };
    Ok(Extra { compression: Some(compression), ..Extra::group(without_suffix(&name), content) })
}

/// The documents of all files, each once, in the order of the files' paths.
fn merged_modules(sources: &[PathBuf]) -> Result<Vec<u8>, Error> {
    let mut paths: Vec<&PathBuf> = sources.iter().collect();
    paths.sort();
    paths.dedup();
    let mut texts = Vec::new();
    let mut total = 0;
    for path in paths {
        let bytes = read_open(path)?;
        total += bytes.len() as u64;
        if total > MAX_WHOLE {
            let what = io::Error::other(format!("module metadata are larger than {MAX_WHOLE} bytes, with this file"));
            return Err(Error::io("read", path)(what));
        }
        let text = String::from_utf8(bytes)
            .map_err(|_| Error::io("read", path)(io::Error::other("module metadata must be UTF-8")))?;
        texts.push(text);
    }
    Ok(merged_documents(texts.iter().map(String::as_str)).into_bytes())
}

/// The documents of all texts, each once.
pub(crate) fn merged_documents<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let (mut seen, mut merged) = (HashSet::new(), String::new());
    for document in texts.flat_map(documents) {
        if seen.insert(document) {
            merged.push_str("---\n");
            merged.push_str(document);
            merged.push_str("...\n");
        }
    }
    merged
}

/// The YAML documents of a text: what stands between lines `---` and `...`.
fn documents(text: &str) -> Vec<&str> {
    let (mut found, mut start, mut at) = (Vec::new(), 0, 0);
    let is_empty = |part: &str| part.lines().all(|line| line.trim().is_empty() || line.starts_with('#'));
    for line in text.split_inclusive('\n') {
        let word = line.trim_end();
        if word == "---" || word == "..." {
            found.push(&text[start..at]);
            start = at + line.len();
        }
        at += line.len();
    }
    found.push(&text[start..]);
    found.retain(|part| !is_empty(part));
    found
}

/// Copies what is kept beside the new metadata, byte for byte, and makes its records anew.
pub(crate) fn bring(
    kept: &[RepomdRecord],
    output: &Path,
    repodata: &Path,
    metadata: &Metadata,
    timestamp: u64,
    control: Control<'_>,
) -> Result<Vec<RepomdRecord>, Error> {
    let mut records = Vec::new();
    for record in kept {
        let from = output.join(&record.location_href);
        let name = record.location_href.rsplit('/').next().unwrap_or_default();
        control.tell(Event::Kept { kind: &record.kind, file: name });
        let partial = repodata.join(format!(".{name}.partial"));
        let copy = || -> io::Result<()> {
            // Not `fs::copy`: the mode is that of a new file.
            io::copy(&mut File::open(&from)?, &mut File::create_new(&partial)?)?;
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(timestamp);
            File::options().write(true).open(&partial)?.set_modified(time)
        };
        copy().map_err(Error::io("keep", &from))?;
        // The name that it has, not the one under which it is copied.
        let mut made = record_of(&partial, &record.kind, metadata.checksum).map_err(|error| match error {
            Error::Io { source, .. } => Error::io("keep", &from)(source),
            other => other,
        })?;
        let name = if metadata.unique_names { unique_name(name, made.checksum.hex()) } else { name.to_owned() };
        tutti_files::rename(&partial, &repodata.join(&name)).map_err(Error::io("rename", &partial))?;
        made.location_href = format!("repodata/{name}");
        records.push(made);
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn additional_is_what_no_run_makes() {
        for own in ["primary", "primary_db", "filelists-ext", "filelists-ext_zck", "other_zck"] {
            assert!(!is_additional(own), "{own}");
        }
        for other in ["group", "modules", "prestodelta", "others", "filelists-x", "origin"] {
            assert!(is_additional(other), "{other}");
        }
    }

    #[test]
    fn what_a_broken_list_names_is_found() {
        let output = tempfile::tempdir().unwrap();
        assert!(listed_by_name(output.path()).is_empty());
        std::fs::create_dir(output.path().join("repodata")).unwrap();
        for (text, kinds) in [
            ("<repomd><data type=\"primary\"/><data type=\"group\"><x", &["group"][..]),
            ("<data type='modules'/><data\n type=\"updateinfo\">", &["modules", "updateinfo"]),
            ("<data type=group><data type=\"primary_db\"/>", &[]),
            ("", &[]),
        ] {
            std::fs::write(output.path().join("repodata/repomd.xml"), text).unwrap();
            assert_eq!(listed_by_name(output.path()), kinds, "{text}");
        }
    }

    #[test]
    fn module_documents_are_merged_each_once() {
        assert_eq!(documents("a: 1\n"), ["a: 1\n"]);
        assert_eq!(documents("# x\n---\na: 1\n...\n---\nb: 2\n---\nc: 3\n"), ["a: 1\n", "b: 2\n", "c: 3\n"]);
        assert!(documents("---\n").is_empty());
        let directory = tempfile::tempdir().unwrap();
        let (one, two) = (directory.path().join("1"), directory.path().join("2"));
        std::fs::write(&one, "---\na: 1\n...\n").unwrap();
        std::fs::write(&two, "a: 1\n---\nb: 2\n").unwrap();
        let merged = merged_modules(&[two.clone(), one, two]).unwrap();
        assert_eq!(String::from_utf8(merged).unwrap(), "---\na: 1\n...\n---\nb: 2\n...\n");
    }
}
