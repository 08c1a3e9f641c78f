//! `modifyrepo_c` 1.2.5.

use std::path::{Path, PathBuf};

use tutti_createrepo::chain;
use tutti_createrepo::modify::{Add, Change, Notice, modify, type_of};
use tutti_repodata::{ChecksumType, Compression};

use super::goption::{Opt, Parsed, flag, help, parse, refused, text};
use super::report::{complain, say};
use super::{VERSION, checksum, keyfile};

const TABLE: &[Opt] = &[
    flag("version", "Print the version and exit"),
    text("mdtype", "TYPE|Type of the metadata; that of the file's name if not given"),
    text("remove", "TYPE|Remove metadata of this type"),
    flag("compress", "Compress the file (default)"),
    flag("no-compress", "Do not compress the file"),
    text("compress-type", "TYPE|Compression: gz, bz2, xz, zstd (default)"),
    text("checksum", "TYPE|Checksum type: sha224, sha256 (default), sha384, sha512").short('s'),
    flag("unique-md-filenames", "File names with checksums (default)"),
    flag("simple-md-filenames", "File names without checksums"),
    flag("verbose", "Print more"),
    text("batchfile", "FILE|File with changes, a group each").short('f'),
    text("new-name", "NAME|Name of the file in the repository"),
    refused("zck"),
    refused("zck-dict-dir"),
];

const USAGE: &str = "  modifyrepo_c [OPTION…] <input metadata> <output repodata>
  modifyrepo_c --remove <metadata type> <output repodata>
  modifyrepo_c [OPTION…] --batchfile <batch file> <output repodata>";

/// Keys of a batch file.
const KEYS: [&str; 8] =
    ["path", "type", "remove", "compress", "compress-type", "checksum", "unique-md-filenames", "new-name"];

/// Runs the tool and returns its exit status.
pub(super) fn main(arguments: Vec<String>) -> u8 {
    match run(arguments) {
        Ok(()) => 0,
        Err(text) => {
            complain(&text);
            1
        }
    }
}

fn usage() -> String {
    USAGE.lines().map(|line| format!("Usage: {}\n", line.trim_start())).collect()
}

fn run(arguments: Vec<String>) -> Result<(), String> {
    let line = parse(TABLE, arguments.into_iter()).map_err(|error| format!("{error}\n{}", usage()))?;
    if line.help {
        say(&help(USAGE, "Modifies the metadata that a repository's repomd.xml lists.", TABLE));
        return Ok(());
    }
    if line.has("version") {
        say(VERSION);
        return Ok(());
    }
    let (changes, repodata) = match (line.text("batchfile"), line.text("remove"), line.arguments.as_slice()) {
        (Some(file), _, [repodata]) => (batch(file)?, repodata),
        (None, Some(kind), [repodata]) => {
            let kind = line.text("mdtype").map_or_else(|| type_of(kind), str::to_owned);
            (vec![Change::Remove { kind }], repodata)
        }
        (None, None, [file, repodata]) => (vec![Change::Add(add(&line, file)?)], repodata),
        _ => return Err(usage()),
    };
    let repodata = Path::new(repodata);
    if !repodata.is_dir() {
        return Err(format!("Critical: Directory \"{}\" doesn't exist", repodata.display()));
    }
    if !repodata.join("repomd.xml").is_file() {
        return Err(format!("Critical: Regular file \"{}/repomd.xml\" doesn't exist", repodata.display()));
    }
    modify(repodata, &changes, &|notice| match notice {
        Notice::Replaced(kind) => {
            complain(&format!("C_CREATEREPOLIB: Warning: Record with type \"{kind}\" already exists in repomd.xml"))
        }
        Notice::Missing(kind) => complain(&format!(
            "C_CREATEREPOLIB: Warning: Record of type \"{kind}\", which should be removed, doesn't exist in repomd.xml"
        )),
    })
    .map_err(|error| format!("Critical: {}", chain(&error)))
}

fn add(line: &Parsed, file: &str) -> Result<Add, String> {
    let compression = compression(line.text("compress-type"), !line.has("no-compress"))?;
    Ok(Add {
        path: PathBuf::from(file),
        kind: line.text("mdtype").map(str::to_owned),
        new_name: line.text("new-name").filter(|name| !name.is_empty()).map(str::to_owned),
        compression,
        checksum: checksum(line.text("checksum"))?.unwrap_or(ChecksumType::Sha256),
        unique_names: !line.has("simple-md-filenames"),
    })
}

fn compression(name: Option<&str>, compress: bool) -> Result<Compression, String> {
    let compression = match name.map(str::to_ascii_lowercase).as_deref() {
        None | Some("zstd") => Compression::Zstd,
        Some("gz" | "gzip") => Compression::Gzip,
        Some("bz2" | "bzip2") => Compression::Bzip2,
        Some("xz") => Compression::Xz,
        Some(other) => return Err(format!("Critical: Unknown/Unsupported compression type \"{other}\"")),
    };
    Ok(if compress { compression } else { Compression::None })
}

fn batch(file: &str) -> Result<Vec<Change>, String> {
    let text =
        std::fs::read_to_string(file).map_err(|error| format!("Critical: Cannot read batch file {file}: {error}"))?;
    let groups =
        keyfile::parse(&text, &KEYS).map_err(|error| format!("Critical: Cannot parse batch file {file}: {error}"))?;
    let change = |group: &keyfile::Group| -> Result<Change, String> {
        let path = group.text("path").unwrap_or(&group.name);
        let named = group.text("type").map(str::to_owned);
        if group.flag("remove") == Some(true) {
            return Ok(Change::Remove { kind: named.unwrap_or_else(|| type_of(path)) });
        }
        Ok(Change::Add(Add {
            path: PathBuf::from(path),
            kind: named,
            new_name: group.text("new-name").filter(|name| !name.is_empty()).map(str::to_owned),
            compression: compression(group.text("compress-type"), group.flag("compress") != Some(false))?,
            checksum: checksum(group.text("checksum"))?.unwrap_or(ChecksumType::Sha256),
            unique_names: group.flag("unique-md-filenames") != Some(false),
        }))
    };
    groups.iter().map(change).collect()
}
