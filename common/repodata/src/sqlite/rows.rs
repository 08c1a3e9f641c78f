//! Rows of one package, with the values and in the order of createrepo_c 1.2.5 (`sqlite.c`).

use std::collections::HashMap;

use rusqlite::{Connection, Result, params};
use tutti_rpm::{Dependency, FileKind, Package};

use crate::fragment::{Fill, arch, listed_changelogs};
use crate::hash_order;
use crate::requires;

/// Numbers of times and places in files are stored as 32 bits there: later times come out negative.
fn narrow(number: u64) -> i32 {
    number as u32 as i32
}

fn wide(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Where createrepo_c has no text.
fn or_null(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

fn some_or_null(text: &Option<String>) -> Option<&str> {
    text.as_deref().and_then(or_null)
}

pub(super) fn primary(connection: &Connection, package: &Package, fill: &Fill<'_>) -> Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO packages (pkgId, name, arch, version, epoch, release, summary, description, url, time_file, \
         time_build, rpm_license, rpm_vendor, rpm_group, rpm_buildhost, rpm_sourcerpm, rpm_header_start, \
         rpm_header_end, rpm_packager, size_package, size_installed, size_archive, location_href, location_base, \
         checksum_type) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    statement.execute(params![
        fill.checksum.hex(),
        package.name,
        arch(package),
        package.evr.version,
        package.evr.epoch.unwrap_or(0).to_string(),
        package.evr.release,
        or_null(&package.summary),
        or_null(&package.description),
        some_or_null(&package.url),
        narrow(fill.mtime),
        narrow(package.build_time),
        package.license,
        package.vendor.as_deref().unwrap_or(""),
        package.group,
        package.build_host,
        package.source_rpm.as_deref().unwrap_or(""),
        narrow(package.header_start),
        narrow(package.header_end),
        some_or_null(&package.packager),
        wide(fill.size),
        wide(package.installed_size),
        wide(package.archive_size),
        fill.location_href,
        fill.location_base.and_then(or_null),
        fill.checksum.kind().name(),
    ])?;
    let key = connection.last_insert_rowid();
    let plain = |list: &'_ [Dependency], table| dependencies(connection, key, table, &list.iter().collect::<Vec<_>>());
    plain(&package.provides, "provides")?;
    plain(&package.conflicts, "conflicts")?;
    plain(&package.obsoletes, "obsoletes")?;
    dependencies(connection, key, "requires", &requires::filtered(package))?;
    plain(&package.suggests, "suggests")?;
    plain(&package.enhances, "enhances")?;
    plain(&package.recommends, "recommends")?;
    plain(&package.supplements, "supplements")?;
    let mut statement = connection.prepare_cached("INSERT INTO files (name, type, pkgKey) VALUES (?, ?, ?)")?;
    for file in package.files.iter().filter(|file| requires::is_primary(&file.path)) {
        let kind = match file.kind {
            FileKind::File => "file",
            FileKind::Directory => "dir",
            FileKind::Ghost => "ghost",
        };
        statement.execute(params![file.path, kind, key])?;
    }
    Ok(())
}

fn dependencies(connection: &Connection, key: i64, table: &str, list: &[&Dependency]) -> Result<()> {
    if list.is_empty() {
        return Ok(());
    }
    let (more, value) = if table == "requires" { (", pre", ", ?") } else { ("", "") };
    let mut statement = connection.prepare_cached(&format!(
        "INSERT INTO {table} (name, flags, epoch, version, release, pkgKey{more}) VALUES (?, ?, ?, ?, ?, ?{value})"
    ))?;
    for dependency in list {
        let range = dependency.range.as_ref().map(|(sense, evr)| (sense.repodata(), evr));
        let evr = range.map(|(_, evr)| evr).filter(|evr| !evr.is_empty());
        let name = or_null(&dependency.name);
        let flags = range.map(|(flags, _)| flags);
        let epoch = evr.map(|evr| evr.epoch_number().to_string());
        let version = evr.map(|evr| evr.version.as_str());
        let release = evr.and_then(|evr| or_null(&evr.release));
        if table == "requires" {
            let pre = if dependency.pre { "TRUE" } else { "FALSE" };
            statement.execute(params![name, flags, epoch, version, release, key, pre])?;
        } else {
            statement.execute(params![name, flags, epoch, version, release, key])?;
        }
    }
    Ok(())
}

fn package_id(connection: &Connection, fill: &Fill<'_>) -> Result<i64> {
    connection.prepare_cached("INSERT INTO packages (pkgId) VALUES (?)")?.execute([fill.checksum.hex()])?;
    Ok(connection.last_insert_rowid())
}

pub(super) fn filelists(connection: &Connection, package: &Package, fill: &Fill<'_>) -> Result<()> {
    let key = package_id(connection, fill)?;
    let mut statement = connection
        .prepare_cached("INSERT INTO filelist (pkgKey, dirname, filenames, filetypes) VALUES (?, ?, ?, ?)")?;
    for directory in directories(package) {
        statement.execute(params![key, directory.name(), directory.names, directory.kinds])?;
    }
    Ok(())
}

pub(super) fn other(connection: &Connection, package: &Package, fill: &Fill<'_>) -> Result<()> {
    let key = package_id(connection, fill)?;
    let mut statement =
        connection.prepare_cached("INSERT INTO changelog (pkgKey, author, date, changelog) VALUES (?, ?, ?, ?)")?;
    for (author, time, text) in listed_changelogs(package, None) {
        statement.execute(params![key, author, narrow(time), text])?;
    }
    Ok(())
}

/// Files of one directory.
#[derive(Debug, PartialEq, Eq)]
struct Directory<'a> {
    /// With the slash at its end; empty for files without a directory, as source packages have them.
    path: &'a str,
    /// Names with `/` between them; that of the root directory is `/`.
    names: String,
    /// A letter for each.
    kinds: String,
}

impl Directory<'_> {
    fn name(&self) -> &str {
        match self.path.trim_end_matches('/') {
            "" if self.path.is_empty() => ".",
            "" => "/",
            name => name,
        }
    }
}

/// The directories of a package, in the order of createrepo_c's hash table.
fn directories(package: &Package) -> Vec<Directory<'_>> {
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut found: Vec<Directory<'_>> = Vec::new();
    for file in &package.files {
        let (path, name) = file.path.split_at(file.path.rfind('/').map_or(0, |slash| slash + 1));
        let place = *places.entry(path).or_insert_with(|| {
            found.push(Directory { path, names: String::new(), kinds: String::new() });
            found.len() - 1
        });
        let directory = &mut found[place];
        if !directory.names.is_empty() {
            directory.names.push('/');
        }
        directory.names.push_str(if name.is_empty() { "/" } else { name });
        directory.kinds.push(match file.kind {
            FileKind::File => 'f',
            FileKind::Directory => 'd',
            FileKind::Ghost => 'g',
        });
    }
    let order = hash_order::order(&found.iter().map(|directory| directory.path).collect::<Vec<_>>());
    let mut rank = vec![0; order.len()];
    for (place, number) in order.into_iter().enumerate() {
        rank[number] = place;
    }
    let mut ranked: Vec<(usize, Directory<'_>)> = rank.into_iter().zip(found).collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, directory)| directory).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tutti_rpm::FileEntry;

    #[test]
    fn files_by_directory() {
        let entry = |path: &str, kind| FileEntry { path: path.into(), kind };
        let files = vec![
            entry("/", FileKind::Directory),
            entry("/usr/x", FileKind::File),
            entry("/bin", FileKind::Ghost),
            entry("spec", FileKind::File),
            entry("/usr/y", FileKind::Directory),
        ];
        let package = Package { files, ..Package::default() };
        let mut found: Vec<_> = directories(&package)
            .into_iter()
            .map(|directory| (directory.name().to_owned(), directory.names, directory.kinds))
            .collect();
        found.sort();
        let expected = [(".", "spec", "f"), ("/", "//bin", "dg"), ("/usr", "x/y", "fd")];
        assert_eq!(found, expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned())));
    }

    #[test]
    fn late_times_are_cut_to_32_bits() {
        assert_eq!(narrow(2_208_988_800), -2_085_978_496);
        assert_eq!(narrow(5), 5);
    }
}
