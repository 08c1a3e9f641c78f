//! `createrepo_c` 1.2.5.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use tutti_createrepo::options::{
    Clashes, Duplicates, LocationOptions, Metadata, OnBroken, Options, Reading, Retain, Selection, Update,
};
use tutti_createrepo::{Control, Error, chain, create};
use tutti_repodata::{ChecksumType, Compression, DatabaseOptions, DistroTag, Layout, Tags};

use super::goption::{Opt, Parsed, flag, help, integer, list, number, parse, refused, text};
use super::report::{Report, complain, early_warning, say};
use super::{VERSION, checksum, compression};
use crate::createrepo::stop;

const TABLE: &[Opt] = &[
    flag("version", "Print the version and exit").short('V'),
    flag("quiet", "Print errors only").short('q'),
    flag("verbose", "Print more").short('v'),
    list("excludes", "GLOB|Leave out files and directories that match").short('x'),
    text("baseurl", "URL|Base of all locations").short('u'),
    text("groupfile", "FILE|Group file to include; relative to the directory").short('g'),
    text("checksum", "TYPE|Checksum type: sha224, sha256 (default), sha384, sha512").short('s'),
    text("repomd-checksum", "TYPE|Checksum type of metadata files"),
    flag("pretty", "Indented XML (always)").short('p'),
    flag("database", "SQLite databases besides").short('d'),
    flag("no-database", "No SQLite databases (default)"),
    flag("filelists-ext", "File lists with digests of files besides"),
    flag("update", "Take over what did not change since the old metadata"),
    list("update-md-path", "DIR|Take over from this repository, too"),
    flag("skip-stat", "Take over by name alone"),
    text("pkglist", "FILE|File with the paths of the packages").short('i'),
    list("includepkg", "PATH|Path of a package").short('n'),
    text("outputdir", "DIR|Make the repository here").short('o'),
    flag("skip-symlinks", "Leave out links to files").short('S'),
    number("changelog-limit", "N|Changelog entries of each package: 10, -1 for all"),
    flag("unique-md-filenames", "File names with checksums (default)"),
    flag("simple-md-filenames", "File names without checksums"),
    number("retain-old-md", "N|0: leave out what the old repomd.xml lists; else keep all"),
    text("retain-old-md-by-age", "AGE|Keep what is younger, such as 2h or 30d"),
    list("distro", "[CPEID,]NAME|Distribution that the repository is for"),
    list("content", "TEXT|What is in the repository"),
    list("repo", "TEXT|What the repository is"),
    text("revision", "TEXT|Revision of the repository"),
    flag("set-timestamp-to-revision", "Timestamps from --revision"),
    text("read-pkgs-list", "FILE|Write locations of packages that were read"),
    number("workers", "N|Threads that read packages: 5"),
    flag("xz", "As --compress-type=xz"),
    text("compress-type", "TYPE|Compression of additional metadata: bz2, gz, xz, zstd (default)"),
    text("general-compress-type", "TYPE|Compression of all metadata"),
    flag("keep-all-metadata", "Keep additional metadata with --update (default)"),
    flag("discard-additional-metadata", "Do not keep additional metadata"),
    flag("compatibility", "gzip, plain group file, as the first createrepo"),
    text("cachedir", "DIR|Directory for checksums; relative to the output directory").short('c'),
    flag("local-sqlite", "Make databases below TMPDIR"),
    number("cut-dirs", "N|Leave out leading directories of locations"),
    text("location-prefix", "PREFIX|Put in front of locations"),
    flag("error-exit-val", "Exit with 2 for broken packages (always)"),
    flag("recycle-pkglist", "List what the old metadata list"),
    text("duplicated-nevra", "keep|keep-last"),
    flag("ignore-lock", "Work beside whoever has the lock"),
    refused("basedir"),
    refused("no-pretty"),
    refused("split"),
    refused("zck"),
    refused("zck-dict-dir"),
    refused("deltas"),
    refused("oldpackagedirs"),
    refused("num-deltas"),
    refused("max-delta-rpm-size"),
];

const USAGE: &str = "  createrepo_c [OPTION…] <directory_to_index>";
const NAME: &str = "createrepo_c";
/// Threads when nothing else is asked for.
const WORKERS: i32 = 5;

/// Runs the tool and returns its exit status.
pub(super) fn main(arguments: Vec<String>) -> u8 {
    match run(arguments) {
        Ok(status) => status,
        Err(text) => {
            complain(&text);
            1
        }
    }
}

fn run(arguments: Vec<String>) -> Result<u8, String> {
    let line = parse(TABLE, arguments.into_iter()).map_err(|error| format!("Argument parsing failed: {error}"))?;
    if line.help {
        say(&help(USAGE, "Makes the metadata of a repository of RPM packages.", TABLE));
        return Ok(0);
    }
    if line.has("version") {
        say(VERSION);
        return Ok(0);
    }
    let [directory] = line.arguments.as_slice() else {
        return Err(
            "Must specify exactly one directory to index.\nUsage: createrepo_c [options] <directory_to_index>\n"
                .to_owned(),
        );
    };
    let directory = normal(directory);
    if !Path::new(&directory).is_dir() {
        return Err(format!("Directory {directory} must exist"));
    }
    let options = options(&line, &directory)?;
    let output = line.text("outputdir").map_or_else(|| directory.clone(), normal);
    let report = Report {
        quiet: line.has("quiet"),
        verbose: line.has("verbose") && !line.has("quiet"),
        listed: line.has("pkglist") || line.has("recycle-pkglist"),
        staging: format!("{output}.repodata/"),
    };
    let told = || say("Terminated caught: Terminating...");
    match stop::run(|stop| create(&options, Control { observer: &report, stop }), told) {
        Ok(summary) => Ok(if summary.broken.is_empty() { 0 } else { 2 }),
        Err(Error::Locked { path, owner }) => Err(format!(
            "Temporary repodata directory {}/ already exists! (Another createrepo process is running?) {owner}",
            path.display()
        )),
        Err(Error::Cancelled) => Ok(1),
        Err(error) => Err(format!("Critical: {}", chain(&error))),
    }
}

/// A directory with exactly one slash at its end.
fn normal(directory: &str) -> String {
    format!("{}/", directory.trim_end_matches('/'))
}

fn options(line: &Parsed, directory: &str) -> Result<Options, String> {
    let checksum = checksum(line.text("checksum"))?.unwrap_or(ChecksumType::Sha256);
    let output = line.text("outputdir").map(PathBuf::from);
    if let Some(output) = output.as_ref().filter(|output| !output.is_dir()) {
        return Err(format!("Specified outputdir \"{}\" doesn't exist", output.display()));
    }
    let cut_dirs = usize::try_from(line.number("cut-dirs").unwrap_or(0))
        .map_err(|_| "--cut-dirs value must be positive integer".to_owned())?;
    let package_list = line.text("pkglist").map(PathBuf::from);
    if let Some(path) = package_list.as_ref().filter(|path| !path.is_file()) {
        return Err(format!("pkglist file \"{}\" doesn't exist", path.display()));
    }
    Ok(Options {
        directory: PathBuf::from(directory.strip_suffix('/').filter(|path| !path.is_empty()).unwrap_or(directory)),
        output,
        selection: Selection {
            package_list,
            include: line.list("includepkg").to_vec(),
            excludes: line.list("excludes").to_vec(),
            skip_symlinks: line.has("skip-symlinks"),
            broken: OnBroken::Skip,
            clashes: Clashes::Keep,
        },
        location: LocationOptions {
            base_url: line.text("baseurl").filter(|url| !url.is_empty()).map(str::to_owned),
            cut_dirs,
            prefix: line.text("location-prefix").map(str::to_owned),
        },
        reading: Reading {
            checksum,
            changelog_limit: changelog_limit(line),
            workers: workers(line),
            cache: line.text("cachedir").map(PathBuf::from),
            verify_payload: false,
            read_list: line.text("read-pkgs-list").map(PathBuf::from),
        },
        update: update(line)?,
        duplicates: match line.text("duplicated-nevra") {
            None | Some("keep") => Duplicates::Keep,
            Some("keep-last") => Duplicates::KeepLast,
            Some(other) => return Err(format!("Unknown option argument \"{other}\" of --duplicated-nevra")),
        },
        metadata: metadata(line, directory, checksum)?,
        ignore_lock: line.has("ignore-lock"),
    })
}

fn update(line: &Parsed) -> Result<Update, String> {
    let packages = line.has("update");
    if !packages && line.has("update-md-path") {
        early_warning(NAME, "Usage of --update-md-path without --update has no effect!");
    }
    if !packages && line.has("discard-additional-metadata") {
        early_warning(NAME, "Usage of --discard-additional-metadata without --update has no effect!");
    }
    let mut paths = Vec::new();
    for path in line.list("update-md-path").iter().filter(|_| packages) {
        let local = path.strip_prefix("file://").unwrap_or(path);
        if local.contains("://") {
            return Err(format!("--update-md-path {path} is not supported by tutti: it must be a local directory"));
        }
        paths.push(PathBuf::from(local));
    }
    Ok(Update {
        packages,
        paths,
        skip_stat: line.has("skip-stat"),
        discard_additional: line.has("discard-additional-metadata"),
        recycle_list: line.has("recycle-pkglist"),
    })
}

fn changelog_limit(line: &Parsed) -> Option<usize> {
    match line.number("changelog-limit") {
        None => Some(10),
        Some(-1) => None,
        Some(limit) => Some(usize::try_from(limit).unwrap_or_else(|_| {
            early_warning(NAME, &format!("Wrong changelog limit \"{limit}\" - Using 10"));
            10
        })),
    }
}

fn workers(line: &Parsed) -> usize {
    let wanted = line.number("workers").unwrap_or(WORKERS);
    if !(1..=100).contains(&wanted) {
        early_warning(NAME, &format!("Wrong number of workers - Using {WORKERS} workers."));
        return WORKERS as usize;
    }
    wanted as usize
}

fn metadata(line: &Parsed, directory: &str, checksum_type: ChecksumType) -> Result<Metadata, String> {
    let compatibility = line.has("compatibility");
    let general = line.text("general-compress-type").map(compression).transpose()?;
    let additional = match line.has("xz") {
        true => Some(Compression::Xz),
        false => line.text("compress-type").map(compression).transpose()?,
    };
    let fallback = if compatibility { Compression::Gzip } else { Compression::Zstd };
    // `--database` beats `--no-database`, wherever it stands.
    let wanted = line.has("database") || (compatibility && !line.has("no-database"));
    let databases = wanted.then(|| DatabaseOptions {
        compression: general.or(additional).unwrap_or(Compression::Bzip2),
        directory: line.has("local-sqlite").then(std::env::temp_dir),
    });
    let additional = general.or(additional).unwrap_or(fallback);
    let (revision, timestamp) = times(line)?;
    Ok(Metadata {
        compression: general.unwrap_or(fallback),
        layout: Layout::OneStream,
        additional_compression: additional,
        group_compression: compatibility.then_some(Compression::None),
        filelists_ext: line.has("filelists-ext"),
        databases,
        checksum: checksum(line.text("repomd-checksum"))?.unwrap_or(checksum_type),
        unique_names: !line.has("simple-md-filenames"),
        group_file: line.text("groupfile").map(|file| group_file(file, directory)).transpose()?,
        revision: Some(revision),
        timestamp: Some(timestamp),
        tags: tags(line),
        retain: retain(line, compatibility)?,
    })
}

fn group_file(file: &str, directory: &str) -> Result<PathBuf, String> {
    let path = if file.starts_with('/') { PathBuf::from(file) } else { Path::new(directory).join(file) };
    if path.is_file() { Ok(path) } else { Err(format!("groupfile {} doesn't exist", path.display())) }
}

/// Tags; a distribution without a name is none.
fn tags(line: &Parsed) -> Tags {
    let distro = |text: &String| {
        let (cpeid, name) = match text.split_once(',') {
            Some((cpeid, name)) => (Some(cpeid).filter(|cpeid| !cpeid.is_empty()), name),
            None => (None, text.as_str()),
        };
        (!name.is_empty()).then(|| DistroTag { cpeid: cpeid.map(str::to_owned), name: name.to_owned() })
    };
    Tags {
        content: line.list("content").to_vec(),
        repo: line.list("repo").to_vec(),
        distro: line.list("distro").iter().filter_map(distro).collect(),
    }
}

/// Revision and timestamp: those of now, where nothing else is asked for.
fn times(line: &Parsed) -> Result<(String, u64), String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let revision = line.text("revision");
    let mut timestamp = now;
    if line.has("set-timestamp-to-revision") {
        let number = revision.and_then(integer).and_then(|number| u64::try_from(number).ok());
        timestamp = number.ok_or("--set-timestamp-to-revision needs a --revision that is a number of seconds")?;
    }
    Ok((revision.map_or_else(|| now.to_string(), str::to_owned), timestamp))
}

fn retain(line: &Parsed, compatibility: bool) -> Result<Retain, String> {
    let count = line.number("retain-old-md").unwrap_or(0);
    if let Some(age) = line.text("retain-old-md-by-age") {
        if count != 0 {
            return Err("--retain-old-md-by-age cannot be combined with --retain-old-md".to_owned());
        }
        return age_seconds(age).map(|seconds| seconds.map_or(Retain::All, Retain::Younger));
    }
    match usize::try_from(count) {
        Ok(count) if compatibility => Ok(Retain::Newest(count)),
        Ok(0) => Ok(Retain::Unlisted),
        Ok(_) => Ok(Retain::All),
        Err(_) if count == -1 => Ok(Retain::All),
        Err(_) => Err("Bad value of --retain-old-md: it must be at least -1".to_owned()),
    }
}

/// Seconds of an age; a negative one keeps all.
fn age_seconds(age: &str) -> Result<Option<u64>, String> {
    let (number, factor) = match age.char_indices().last() {
        Some((_, '0'..='9')) | None => (age, 1),
        Some((at, 'm')) => (&age[..at], 60),
        Some((at, 'h')) => (&age[..at], 3600),
        Some((at, 'd')) => (&age[..at], 86_400),
        Some((_, unit)) => return Err(format!("Bad time unit \"{unit}\"")),
    };
    let number = integer(number).ok_or_else(|| format!("Bad value of --retain-old-md-by-age: \"{age}\""))?;
    Ok(u64::try_from(number).ok().map(|number| number.saturating_mul(factor)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(words: &[&str]) -> Result<Options, String> {
        options(&parse(TABLE, words.iter().map(|word| (*word).to_owned())).unwrap(), "/srv/")
    }

    #[test]
    fn compressions_as_the_table_in_the_docs_has_them() {
        use Compression::{Bzip2, Gzip, None as Plain, Xz, Zstd};
        for (words, expected) in [
            (&[][..], (Zstd, Zstd, None)),
            (&["--xz"], (Zstd, Xz, None)),
            (&["--compress-type=bz2", "--xz"], (Zstd, Xz, None)),
            (&["--general-compress-type=gz", "--xz"], (Gzip, Gzip, None)),
            (&["--compatibility", "--no-database"], (Gzip, Gzip, Some(Plain))),
            (&["--compatibility", "--no-database", "--compress-type=bz2"], (Gzip, Bzip2, Some(Plain))),
            (&["--compatibility", "--no-database", "--general-compress-type=zstd"], (Zstd, Zstd, Some(Plain))),
        ] {
            let metadata = made(words).unwrap().metadata;
            let found = (metadata.compression, metadata.additional_compression, metadata.group_compression);
            assert_eq!(found, expected, "{words:?}");
        }
        assert!(made(&["--compress-type=foo"]).unwrap_err().contains("\"foo\""));
    }

    #[test]
    fn databases_and_their_compression() {
        use Compression::{Bzip2, Gzip, Xz, Zstd};
        for (words, expected) in [
            (&[][..], None),
            (&["--no-database"], None),
            (&["-d", "--no-database"], Some(Bzip2)),
            (&["-d", "--compress-type=gz"], Some(Gzip)),
            (&["-d", "--xz", "--general-compress-type=zstd"], Some(Zstd)),
            (&["--compatibility"], Some(Bzip2)),
            (&["--compatibility", "--compress-type=xz"], Some(Xz)),
            (&["--compatibility", "--no-database"], None),
        ] {
            let databases = made(words).unwrap().metadata.databases;
            assert_eq!(databases.map(|databases| databases.compression), expected, "{words:?}");
        }
        let local = made(&["-d", "--local-sqlite"]).unwrap().metadata.databases.unwrap();
        assert_eq!(local.directory, Some(std::env::temp_dir()));
    }

    #[test]
    fn what_stays() {
        for (words, expected) in [
            (&[][..], Ok(Retain::Unlisted)),
            (&["--retain-old-md=3"], Ok(Retain::All)),
            (&["--retain-old-md=-1"], Ok(Retain::All)),
            (&["--retain-old-md=2", "--compatibility", "--no-database"], Ok(Retain::Newest(2))),
            (&["--retain-old-md-by-age=2h"], Ok(Retain::Younger(7200))),
            (&["--retain-old-md-by-age=-2h"], Ok(Retain::All)),
            (&["--retain-old-md-by-age=5x"], Err("Bad time unit \"x\"")),
        ] {
            let found = made(words).map(|options| options.metadata.retain);
            assert_eq!(found, expected.map_err(str::to_owned), "{words:?}");
        }
        assert!(made(&["--retain-old-md=-2"]).is_err());
        assert!(made(&["--retain-old-md=1", "--retain-old-md-by-age=1"]).is_err());
    }

    #[test]
    fn times_come_from_the_revision_if_asked() {
        let metadata = made(&["--revision=0x10", "--set-timestamp-to-revision"]).unwrap().metadata;
        assert_eq!((metadata.revision.as_deref(), metadata.timestamp), (Some("0x10"), Some(16)));
        assert!(made(&["--set-timestamp-to-revision"]).is_err());
        assert!(made(&["--revision=text", "--set-timestamp-to-revision"]).is_err());
        assert_eq!(made(&["--changelog-limit=-1"]).unwrap().reading.changelog_limit, None);
        assert_eq!(made(&["--checksum=SHA512"]).unwrap().metadata.checksum, ChecksumType::Sha512);
        assert!(made(&["--checksum=sha1"]).is_err());
    }
}
