//! `mergerepo_c` 1.2.5.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use tutti_createrepo::merge::{Koji, MergeOptions, Method, Source, arches, merge};
use tutti_createrepo::{Control, Error, Silent, chain};
use tutti_repodata::{Compression, DatabaseOptions, Repository, RepositoryError};

use super::goption::{Opt, Parsed, flag, help, list, parse, refused, text};
use super::report::{complain, say};
use super::{VERSION, compression};
use crate::createrepo::stop;

const TABLE: &[Opt] = &[
    flag("version", "Print the version and exit"),
    list("repo", "URL|Repository to merge: a path, file:///path or http(s)://…; the first counts most").short('r'),
    text("repo-prefix-search", "PREFIX|Start of repository paths to replace in locations' bases"),
    text("repo-prefix-replace", "PREFIX|What it is replaced by"),
    text("archlist", "ARCHES|Architectures to take, with , between them; all if not given").short('a'),
    flag("database", "SQLite databases besides").short('d'),
    flag("no-database", "No SQLite databases (default)"),
    flag("verbose", "Print more").short('v'),
    text("outputdir", "DIR|Where the repository is made: merged_repo").short('o'),
    flag("nogroups", "Has no effect, there as here: the group file is merged"),
    flag("noupdateinfo", "No empty updateinfo"),
    text("compress-type", "TYPE|Compression: bz2, gz, xz, zstd (default)"),
    text("method", "METHOD|Which of two packages is taken: repo (default), ts, nvr"),
    flag("all", "Take all packages that differ in version or release"),
    flag("unique-md-filenames", "File names with checksums (default)"),
    flag("simple-md-filenames", "File names without checksums"),
    flag("omit-baseurl", "Add no base to locations"),
    flag("koji", "Merge as Koji does").short('k'),
    flag("simple", "With --koji: keep all packages"),
    flag("pkgorigins", "Write pkgorigins"),
    flag("arch-expand", "Take compatible architectures, too"),
    text("groupfile", "FILE|Group file to include").short('g'),
    text("blocked", "FILE|With --koji: names of source packages to leave out").short('b'),
    refused("filelists-ext"),
    refused("noarch-repo"),
    refused("zck"),
    refused("zck-dict-dir"),
];

const USAGE: &str = "  mergerepo_c [OPTION…] --repo=url --repo=url";

/// Runs the tool and returns its exit status.
pub(super) fn main(arguments: Vec<String>) -> u8 {
    let line = match parse(TABLE, arguments.into_iter()) {
        Ok(line) => line,
        Err(error) => {
            // On standard output, as there; and where people look.
            say(&format!("Option parsing failed: {error}"));
            complain(&format!("Option parsing failed: {error}"));
            return 1;
        }
    };
    if line.help {
        say(&help(USAGE, "Merges the metadata of repositories into a new one.", TABLE));
        return 0;
    }
    if line.has("version") {
        say(VERSION);
        return 0;
    }
    match run(&line) {
        Ok(()) => 0,
        Err(text) => {
            complain(&text);
            1
        }
    }
}

fn run(line: &Parsed) -> Result<(), String> {
    let options = options(line)?;
    let told = || say("Terminated caught: Terminating...");
    let merged = stop::run(|stop| merge(&options, Control { observer: &Silent, stop }), told);
    match merged {
        Ok(merged) => {
            for (href, repository) in &merged.without_source {
                complain(&format!(
                    "C_CREATEREPOLIB: Warning: Package '{href}' from '{repository}' doesn't have specified source srpm"
                ));
            }
            Ok(())
        }
        Err(Error::Cancelled) => Err("Stopped".to_owned()),
        Err(error) => Err(format!("Critical: {}", chain(&error))),
    }
}

fn options(line: &Parsed) -> Result<MergeOptions, String> {
    if let Some(first) = line.arguments.first() {
        return Err(format!("Argument parsing failed: {first} is no option; each repository needs its own -r/--repo"));
    }
    if line.list("repo").is_empty() {
        return Err(format!(
            "Usage: {}\n\nmergerepo_c: take 2 or more repositories and merge their metadata into a new repo\n",
            USAGE.trim_start()
        ));
    }
    let prefix = prefix(line)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let group_file = line.text("groupfile").map(PathBuf::from);
    if let Some(path) = group_file.as_ref().filter(|path| !path.is_file()) {
        return Err(format!("Critical: Groupfile {} doesn't exist!", path.display()));
    }
    let compression = line.text("compress-type").map(compression).transpose()?;
    let databases = line.has("database").then(|| DatabaseOptions {
        compression: compression.unwrap_or(Compression::Bzip2),
        ..DatabaseOptions::default()
    });
    Ok(MergeOptions {
        sources: line.list("repo").iter().map(|given| source(given, prefix)).collect::<Result<_, _>>()?,
        output: PathBuf::from(line.text("outputdir").unwrap_or("merged_repo")),
        arches: arch_list(line)?,
        method: match line.text("method") {
            None | Some("repo") => Method::Repo,
            Some("ts") => Method::Time,
            Some("nvr") => Method::Version,
            Some(other) => return Err(format!("Critical: Unknown merge method {other}")),
        },
        all: line.has("all"),
        koji: koji(line)?,
        origins: line.has("pkgorigins"),
        omit_base: line.has("omit-baseurl"),
        group_file,
        empty_updateinfo: !line.has("noupdateinfo"),
        compression: Some(compression.unwrap_or(Compression::Zstd)),
        databases,
        simple_names: line.has("simple-md-filenames"),
        revision: Some(now.to_string()),
        timestamp: Some(now),
    })
}

/// What repository paths start with, and what is put in its place.
fn prefix(line: &Parsed) -> Result<Option<(&str, &str)>, String> {
    match (line.text("repo-prefix-search"), line.text("repo-prefix-replace")) {
        (None, None) => Ok(None),
        (Some(search), Some(replace)) if !search.is_empty() => Ok(Some((search, replace))),
        _ => Err(
            "Critical: --repo-prefix-search and --repo-prefix-replace must be given together, and what is searched \
                  must not be empty"
                .to_owned(),
        ),
    }
}

fn arch_list(line: &Parsed) -> Result<Option<Vec<String>>, String> {
    let expand = line.has("arch-expand");
    let koji = line.has("koji");
    // An empty list is none.
    match line.text("archlist").filter(|text| !text.split(',').all(str::is_empty)) {
        Some(text) if expand || koji => Ok(Some(arches::expanded(arches::named(text)))),
        Some(text) => Ok(Some(arches::named(text))),
        None if expand && !line.has("archlist") => {
            Err("Critical: --arch-expand cannot be used without -a/--archlist argument".to_owned())
        }
        None if koji => Ok(Some(arches::named(""))),
        None => Ok(None),
    }
}

fn koji(line: &Parsed) -> Result<Option<Koji>, String> {
    let blocked = match line.text("blocked") {
        Some(path) => fs::read_to_string(path).map_err(|error| format!("Critical: Cannot read {path}: {error}"))?,
        None => String::new(),
    };
    if !line.has("koji") {
        for (option, shown) in [("blocked", "-b/--blocked"), ("simple", "--simple")] {
            if line.has(option) {
                return Err(format!("Critical: {shown} cannot be used without -k/--koji argument"));
            }
        }
        return Ok(None);
    }
    let blocked = blocked.lines().filter(|name| !name.is_empty()).map(str::to_owned).collect();
    Ok(Some(Koji { simple: line.has("simple"), blocked }))
}

/// A repository as it was named: a directory, or something on a server.
fn source(given: &str, prefix: Option<(&str, &str)>) -> Result<Source, String> {
    let local = given.strip_prefix("file://").unwrap_or(given);
    let remote = ["http://", "https://"].iter().any(|scheme| local.starts_with(scheme));
    if !remote && local.contains("://") {
        return Err(format!(
            "Critical: {given} is not supported by tutti: a path, file:///path, http:// or https:// is"
        ));
    }
    let path = if remote { local.trim_end_matches('/').to_owned() } else { normal(local) };
    let base = match prefix {
        Some((search, replace)) => {
            path.strip_prefix(search).map_or_else(|| path.clone(), |rest| format!("{replace}{rest}"))
        }
        None => path.clone(),
    };
    let open: Box<dyn Fn() -> Result<Repository, RepositoryError>> = match remote {
        true => Box::new(move || tutti_worker::runners::remote_repository(&path)),
        false => Box::new(move || Repository::open_local(&path)),
    };
    Ok(Source { given: local.to_owned(), base, open })
}

/// A path without a slash at its end and without doubled ones.
fn normal(path: &str) -> String {
    let mut text: String = path.split('/').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
    if path.starts_with('/') {
        text.insert(0, '/');
    }
    if text.is_empty() { Path::new(".").display().to_string() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(words: &[&str]) -> Result<MergeOptions, String> {
        options(&parse(TABLE, words.iter().map(|word| (*word).to_owned())).unwrap())
    }

    #[test]
    fn sources_and_their_bases() {
        let options =
            made(&["-r", "file:///a//b/", "-r", "g1", "--repo-prefix-search=/a", "--repo-prefix-replace=http://x"]);
        let options = options.unwrap();
        let bases: Vec<&str> = options.sources.iter().map(|source| source.base.as_str()).collect();
        assert_eq!(bases, ["http://x/b", "g1"]);
        assert!(made(&["-r", "x", "--repo-prefix-search=/a"]).is_err());
        assert!(made(&["-r", "ftp://x"]).unwrap_err().contains("ftp://x"));
        assert!(made(&[]).unwrap_err().starts_with("Usage: "));
    }

    #[test]
    fn arches_and_modes() {
        assert_eq!(made(&["-r", "x"]).unwrap().arches, None);
        assert_eq!(made(&["-r", "x", "-a", ""]).unwrap().arches, None);
        assert_eq!(made(&["-r", "x", "-a", ","]).unwrap().arches, None);
        assert!(made(&["-r", "x", "y"]).unwrap_err().contains("y is no option"));
        assert_eq!(made(&["-r", "x", "-k"]).unwrap().arches.unwrap(), ["noarch"]);
        assert_eq!(made(&["-r", "x", "-a", "s390x"]).unwrap().arches.unwrap(), ["s390x", "noarch"]);
        assert_eq!(made(&["-r", "x", "-a", "s390x", "--arch-expand"]).unwrap().arches.unwrap().len(), 3);
        for (words, error) in [
            (&["-r", "x", "--arch-expand"][..], "--arch-expand cannot be used without"),
            (&["-r", "x", "--simple"], "--simple cannot be used without"),
            (&["-r", "x", "-k", "-b", "/none"], "Cannot read /none"),
            (&["-r", "x", "--method=foo"], "Unknown merge method foo"),
            (&["-r", "x", "-g", "/none"], "doesn't exist"),
        ] {
            assert!(made(words).unwrap_err().contains(error), "{words:?}");
        }
    }
}
