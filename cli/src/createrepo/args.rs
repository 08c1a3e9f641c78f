//! The command line of `tutti createrepo`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{ArgGroup, Args};
use tutti_createrepo::options::{
    Clashes, Duplicates, LocationOptions, Metadata, OnBroken, Options, Reading, Retain, Selection, Update,
};
use tutti_repodata::{ChecksumType, Compression, DatabaseOptions, DistroTag, Layout, Tags};

#[derive(Debug, Args)]
pub(crate) struct CreaterepoArgs {
    /// Directory of the packages; the repository's locations are relative to it
    directory: PathBuf,
    /// Make repodata/ in this directory instead
    #[arg(long, short, value_name = "DIR", visible_alias = "outputdir")]
    output: Option<PathBuf>,
    #[command(flatten)]
    selection: SelectionArgs,
    #[command(flatten)]
    location: LocationArgs,
    #[command(flatten)]
    update: UpdateArgs,
    #[command(flatten)]
    metadata: MetadataArgs,
    #[command(flatten)]
    reading: ReadingArgs,
    /// Work beside whoever has the lock (.repodata/): of two runs at once, the repository of the one that ends last stays.
    /// The lock of a process that died is taken away anyhow
    #[arg(long)]
    ignore_lock: bool,
    /// Say nothing where all is well
    #[arg(long, short)]
    pub(super) quiet: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Which packages")]
struct SelectionArgs {
    /// File with one path a line, relative to DIRECTORY, to list in place of all .rpm files below it
    #[arg(long, short = 'i', value_name = "FILE")]
    pkglist: Option<PathBuf>,
    /// One more such path; may be given again
    #[arg(long, short = 'n', value_name = "PATH", visible_alias = "includepkg")]
    include: Vec<String>,
    /// Leave out files and directories that match: * and ? over the name, or the path below DIRECTORY
    #[arg(long, short = 'x', value_name = "PATTERN", visible_alias = "excludes")]
    exclude: Vec<String>,
    /// Leave out links to files
    #[arg(long, short = 'S')]
    skip_symlinks: bool,
    /// Make the repository without packages that cannot be read, and exit with 2; they are named in any case
    #[arg(long)]
    skip_broken: bool,
    /// What to do about packages of one name, version and architecture
    #[arg(long, value_name = "RULE", default_value = "keep", visible_alias = "duplicated-nevra", value_parser = ["keep", "keep-last"])]
    duplicates: String,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Locations")]
struct LocationArgs {
    /// Where the packages are, as xml:base, when not beside repodata/
    #[arg(long, short = 'u', value_name = "URL", visible_alias = "baseurl")]
    base_url: Option<String>,
    /// Leave the first N directories out of each location
    #[arg(long, value_name = "N", default_value_t = 0)]
    cut_dirs: usize,
    /// Put this in front of each location
    #[arg(long, value_name = "PATH")]
    location_prefix: Option<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Taking over from metadata that exists")]
#[command(group = ArgGroup::new("earlier").args(["update", "recycle_pkglist"]).multiple(true))]
struct UpdateArgs {
    /// Read only packages whose size or time changed, and keep additional metadata (groups, modules, updateinfo, …).
    /// What is taken over keeps its changelog entries, and its xml:base unless --base-url is given
    #[arg(long)]
    update: bool,
    /// Take packages over from this repository, too; may be given again, the last one counts first
    #[arg(long, value_name = "DIR", requires = "update")]
    update_md_path: Vec<PathBuf>,
    /// With --update or --recycle-pkglist: believe that a file of the same location is the same, without looking at it
    #[arg(long, requires = "earlier")]
    skip_stat: bool,
    /// List the packages that the old metadata list
    #[arg(long)]
    recycle_pkglist: bool,
    /// With --update or --recycle-pkglist: leave additional metadata behind
    #[arg(long, visible_alias = "discard-additional-metadata", requires = "earlier")]
    discard_additional: bool,
    /// Which files of the old repodata/ stay: unlisted (those that its repomd.xml does not list), all, or an age such as
    /// 90m, 36h or 7d
    #[arg(long, value_name = "WHICH", default_value = "unlisted", value_parser = retain)]
    retain: Retain,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Metadata")]
struct MetadataArgs {
    /// Compression: zstd, gz, xz, bz2 or none
    #[arg(long, short = 'z', value_name = "TYPE", default_value = "zstd", visible_alias = "general-compress-type")]
    compression: Compression,
    /// Compression of group file and modules, if another
    #[arg(long, value_name = "TYPE", visible_alias = "compress-type")]
    additional_compression: Option<Compression>,
    /// Make filelists-ext, too: file lists with the digests that packages have of their files
    #[arg(long)]
    filelists_ext: bool,
    /// Make SQLite databases, too, which yum and old dnf read
    #[arg(long, short)]
    database: bool,
    /// Compression of the databases
    #[arg(long, value_name = "TYPE", default_value = "bz2", requires = "database")]
    database_compression: Compression,
    /// Checksum type: sha256, sha512, sha384, sha224, or sha1, sha and md5 for very old systems
    #[arg(long, short = 's', value_name = "TYPE", default_value = "sha256")]
    checksum: ChecksumType,
    /// Checksum type of metadata files, if another
    #[arg(long, value_name = "TYPE")]
    repomd_checksum: Option<ChecksumType>,
    /// Name metadata files without their checksums
    #[arg(long, visible_alias = "simple-md-filenames")]
    simple_names: bool,
    /// Group (comps) file to include
    #[arg(long, short = 'g', value_name = "FILE", visible_alias = "groupfile")]
    group_file: Option<PathBuf>,
    /// Revision of the repository; its timestamp if not given
    #[arg(long, value_name = "TEXT")]
    revision: Option<String>,
    /// Timestamp of metadata, seconds since 1970; the time of the newest package if not given
    #[arg(long, value_name = "SECONDS", env = "SOURCE_DATE_EPOCH")]
    timestamp: Option<u64>,
    /// Tag that says what is in the repository; may be given again
    #[arg(long, value_name = "TEXT", visible_alias = "content")]
    content_tag: Vec<String>,
    /// Tag that says what the repository is; may be given again
    #[arg(long, value_name = "TEXT", visible_alias = "repo")]
    repo_tag: Vec<String>,
    /// Distribution that the repository is for, its CPE name in front; may be given again
    #[arg(long, value_name = "[CPEID,]NAME", visible_alias = "distro")]
    distro_tag: Vec<String>,
    /// Newest changelog entries to keep of each package, or -1 for all
    #[arg(long, value_name = "N", default_value_t = 10, allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(-1..))]
    changelog_limit: i64,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Reading")]
struct ReadingArgs {
    /// Threads that read packages; as many as there are processors if not given
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    workers: Option<u16>,
    /// Directory for checksums of packages, which later runs take from it
    #[arg(long, short, value_name = "DIR")]
    cachedir: Option<PathBuf>,
    /// Compare packages' payloads with the digests in their headers
    #[arg(long)]
    verify_payload: bool,
    /// Write the locations of all packages that were read to this file
    #[arg(long, value_name = "FILE")]
    read_pkgs_list: Option<PathBuf>,
}

impl CreaterepoArgs {
    /// What is asked for.
    pub(super) fn options(self) -> Result<Options> {
        let Self { directory, output, selection, location, update, metadata, reading, ignore_lock, .. } = self;
        let compression = metadata.compression;
        Ok(Options {
            directory,
            output,
            selection: Selection {
                package_list: selection.pkglist,
                include: selection.include,
                excludes: selection.exclude,
                skip_symlinks: selection.skip_symlinks,
                broken: if selection.skip_broken { OnBroken::Skip } else { OnBroken::Refuse },
                clashes: Clashes::Refuse,
            },
            location: LocationOptions {
                base_url: location.base_url.filter(|url| !url.is_empty()),
                cut_dirs: location.cut_dirs,
                prefix: location.location_prefix,
            },
            reading: Reading {
                checksum: metadata.checksum,
                changelog_limit: usize::try_from(metadata.changelog_limit).ok(),
                cache: reading.cachedir.map(std::path::absolute).transpose()?,
                verify_payload: reading.verify_payload,
                read_list: reading.read_pkgs_list,
                workers: reading.workers.map_or(Reading::default().workers, usize::from),
            },
            update: Update {
                packages: update.update,
                paths: update.update_md_path,
                skip_stat: update.skip_stat,
                discard_additional: update.discard_additional,
                recycle_list: update.recycle_pkglist,
            },
            duplicates: match selection.duplicates.as_str() {
                "keep-last" => Duplicates::KeepLast,
                _ => Duplicates::Keep,
            },
            metadata: Metadata {
                compression,
                layout: Layout::Frames,
                additional_compression: metadata.additional_compression.unwrap_or(compression),
                group_compression: None,
                filelists_ext: metadata.filelists_ext,
                databases: metadata
                    .database
                    .then_some(DatabaseOptions { compression: metadata.database_compression, directory: None }),
                checksum: metadata.repomd_checksum.unwrap_or(metadata.checksum),
                unique_names: !metadata.simple_names,
                group_file: metadata.group_file,
                revision: metadata.revision,
                timestamp: metadata.timestamp,
                tags: Tags {
                    content: metadata.content_tag,
                    repo: metadata.repo_tag,
                    distro: metadata.distro_tag.iter().map(|text| distro_tag(text)).collect(),
                },
                retain: update.retain,
            },
            ignore_lock,
        })
    }
}

fn distro_tag(text: &str) -> DistroTag {
    match text.split_once(',') {
        Some((cpeid, name)) => {
            DistroTag { cpeid: Some(cpeid.to_owned()).filter(|cpeid| !cpeid.is_empty()), name: name.to_owned() }
        }
        None => DistroTag { cpeid: None, name: text.to_owned() },
    }
}

fn retain(text: &str) -> Result<Retain> {
    match text {
        "unlisted" => Ok(Retain::Unlisted),
        "all" => Ok(Retain::All),
        age => age_seconds(age).map(Retain::Younger),
    }
}

fn age_seconds(age: &str) -> Result<u64> {
    let units = [('m', 60), ('h', 3600), ('d', 86_400)];
    let unit = units.iter().find_map(|(unit, seconds)| Some((age.strip_suffix(*unit)?, *seconds)));
    let (number, seconds) = unit.unwrap_or((age, 1));
    match number.parse::<u64>().ok().and_then(|number| number.checked_mul(seconds)) {
        Some(seconds) => Ok(seconds),
        None => bail!("{age:?} is neither unlisted, all, nor an age such as 90m, 36h or 7d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: CreaterepoArgs,
    }

    fn parse(words: &[&str]) -> Result<Options, String> {
        let line =
            Line::try_parse_from(["createrepo", "/srv"].iter().chain(words)).map_err(|error| error.to_string())?;
        line.args.options().map_err(|error| error.to_string())
    }

    #[test]
    fn options_of_an_update_are_refused_where_nothing_is_taken_over() {
        for option in ["--skip-stat", "--discard-additional", "--discard-additional-metadata"] {
            let error = parse(&[option]).unwrap_err();
            assert!(error.contains("<--update|--recycle-pkglist>"), "{error}");
            for earlier in [&["--update"][..], &["--recycle-pkglist"], &["--update", "--recycle-pkglist"]] {
                assert!(parse(&[&[option], earlier].concat()).is_ok(), "{option} {earlier:?}");
            }
        }
    }

    #[test]
    fn a_limit_of_changelogs_is_a_number_or_minus_one() {
        let limit = |text: &str| parse(&["--changelog-limit", text]).map(|options| options.reading.changelog_limit);
        assert_eq!((limit("-1"), limit("0"), limit("7")), (Ok(None), Ok(Some(0)), Ok(Some(7))));
        assert!(limit("-5").unwrap_err().contains("--changelog-limit"));
        assert!(parse(&["--changelog-limit=-2"]).is_err());
    }

    #[test]
    fn ages() {
        assert_eq!(retain("unlisted").unwrap(), Retain::Unlisted);
        assert_eq!(retain("2h").unwrap(), Retain::Younger(7200));
        assert_eq!(retain("30").unwrap(), Retain::Younger(30));
        assert!(retain("5x").is_err() && retain("").is_err() && retain("99999999999999999d").is_err());
    }
}
