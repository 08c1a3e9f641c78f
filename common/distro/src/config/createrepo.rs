//! `createrepo_extra_args`: arguments of createrepo_c that have a meaning here (createrepo_c 1.2.5 `cmd_parser.c`).

use serde::{Deserialize, Serialize};

use super::settings::string_enum;

string_enum! {
    /// Compression of metadata files.
    Compression {
        /// gzip.
        Gz = "gz",
        /// bzip2.
        Bz2 = "bz2",
        /// xz.
        Xz = "xz",
        /// Zstandard.
        Zstd = "zstd",
    }
}

/// What the additional arguments ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreaterepoExtra {
    /// `--distro`: optional CPE id and name, for `<tags>` of repomd.xml.
    pub distro: Vec<(Option<String>, String)>,
    /// `--content`: content tags.
    pub content: Vec<String>,
    /// `--repo`: repository tags.
    pub repo: Vec<String>,
    /// `--revision`.
    pub revision: Option<String>,
    /// `--set-timestamp-to-revision`.
    pub set_timestamp_to_revision: bool,
    /// `--compress-type`: for metadata other than primary, filelists and other.
    pub compress_type: Option<Compression>,
    /// `--general-compress-type`: for all metadata.
    pub general_compress_type: Option<Compression>,
    /// `--compatibility`: gzip everywhere.
    pub compatibility: bool,
    /// `--changelog-limit`: changelog entries per package; absent means createrepo_c's 10, negative all.
    pub changelog_limit: Option<i32>,
    /// `--simple-md-filenames`: no checksum in the names of metadata files.
    pub simple_md_filenames: bool,
    /// `--database`: SQLite databases, as with `createrepo_database`.
    #[serde(default)]
    pub database: bool,
}

/// Reads the arguments.
///
/// # Errors
/// Returns what is wrong with the first argument that cannot be honoured.
pub(crate) fn parse_extra_args(arguments: &[&str]) -> Result<CreaterepoExtra, String> {
    let mut extra = CreaterepoExtra::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let (name, mut value) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (*argument, None),
        };
        if takes_value(name) && value.is_none() {
            value = rest.next().copied();
        }
        match value {
            Some(value) => apply_value(&mut extra, name, value)?,
            None => apply_flag(&mut extra, name)?,
        }
    }
    Ok(extra)
}

fn takes_value(name: &str) -> bool {
    matches!(
        name,
        "--distro"
            | "--content"
            | "--repo"
            | "--revision"
            | "--compress-type"
            | "--general-compress-type"
            | "--changelog-limit"
            | "--workers"
    )
}

fn apply_value(extra: &mut CreaterepoExtra, name: &str, value: &str) -> Result<(), String> {
    match name {
        "--distro" => extra.distro.push(match value.split_once(',') {
            Some((cpe, text)) => (Some(cpe.to_owned()), text.to_owned()),
            None => (None, value.to_owned()),
        }),
        "--content" => extra.content.push(value.to_owned()),
        "--repo" => extra.repo.push(value.to_owned()),
        "--revision" => extra.revision = Some(value.to_owned()),
        "--compress-type" => extra.compress_type = Some(compression(name, value)?),
        "--general-compress-type" => extra.general_compress_type = Some(compression(name, value)?),
        "--changelog-limit" => {
            let limit = value.parse::<i32>();
            extra.changelog_limit = Some(limit.map_err(|_| format!("{name} needs a whole number, found {value:?}"))?);
        }
        // How many threads write a repository is the scheduler's business.
        "--workers" => {}
        _ => return Err(unsupported(name)),
    }
    Ok(())
}

fn apply_flag(extra: &mut CreaterepoExtra, name: &str) -> Result<(), String> {
    match name {
        "--set-timestamp-to-revision" => extra.set_timestamp_to_revision = true,
        "--compatibility" => extra.compatibility = true,
        "--simple-md-filenames" => extra.simple_md_filenames = true,
        "--database" | "-d" => extra.database = true,
        // These are the behaviour anyhow, or change how createrepo_c works and not what it writes.
        "--unique-md-filenames"
        | "--no-database"
        | "--update"
        | "--skip-stat"
        | "--quiet"
        | "-q"
        | "--verbose"
        | "-v" => {}
        _ if takes_value(name) => return Err(format!("{name} needs a value")),
        _ => return Err(unsupported(name)),
    }
    Ok(())
}

fn unsupported(name: &str) -> String {
    format!("createrepo_c argument {name} is not supported; remove it from createrepo_extra_args")
}

fn compression(name: &str, value: &str) -> Result<Compression, String> {
    match value {
        "gzip" => Ok(Compression::Gz),
        "bzip2" => Ok(Compression::Bz2),
        _ => Compression::from_name(value).ok_or_else(|| format!("{name} needs gz, bz2, xz or zstd, found {value:?}")),
    }
}
