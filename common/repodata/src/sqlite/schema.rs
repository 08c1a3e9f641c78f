//! Tables of the three databases, to the letter as createrepo_c 1.2.5 makes them (`sqlite.c`): yum, old dnf and zif read
//! them, and two databases with equal packages have equal dumps.

use crate::fragment::MetadataFile;

/// `dbversion` of the databases and `database_version` of their records.
pub(crate) const VERSION: u32 = 10;

/// Tables of dependencies, in the order in which they are made.
const DEPENDENCIES: [&str; 8] =
    ["requires", "provides", "conflicts", "obsoletes", "suggests", "enhances", "recommends", "supplements"];

const INFO: &str = "CREATE TABLE db_info (dbversion INTEGER, checksum TEXT)";
const PACKAGES: &str = "CREATE TABLE packages (  pkgKey INTEGER PRIMARY KEY,  pkgId TEXT,  name TEXT,  arch TEXT,  version TEXT,  epoch TEXT,  release TEXT,  summary TEXT,  description TEXT,  url TEXT,  time_file INTEGER,  time_build INTEGER,  rpm_license TEXT,  rpm_vendor TEXT,  rpm_group TEXT,  rpm_buildhost TEXT,  rpm_sourcerpm TEXT,  rpm_header_start INTEGER,  rpm_header_end INTEGER,  rpm_packager TEXT,  size_package INTEGER,  size_installed INTEGER,  size_archive INTEGER,  location_href TEXT,  location_base TEXT,  checksum_type TEXT)";
const FILES: &str = "CREATE TABLE files (  name TEXT,  type TEXT,  pkgKey INTEGER)";
const PACKAGE_IDS: &str = "CREATE TABLE packages (  pkgKey INTEGER PRIMARY KEY,  pkgId TEXT)";
const FILELIST: &str = "CREATE TABLE filelist (  pkgKey INTEGER,  dirname TEXT,  filenames TEXT,  filetypes TEXT)";
const CHANGELOG: &str = "CREATE TABLE changelog (  pkgKey INTEGER,  author TEXT,  date INTEGER,  changelog TEXT)";

/// Statements that make the tables of a database.
pub(super) fn tables(file: MetadataFile) -> Vec<String> {
    let mut statements = vec![INFO.to_owned()];
    match file {
        MetadataFile::Primary => {
            statements.extend([PACKAGES.to_owned(), FILES.to_owned()]);
            statements.extend(DEPENDENCIES.iter().map(|table| dependency_table(table)));
            let all: Vec<&str> = std::iter::once("files").chain(DEPENDENCIES).collect();
            statements.push(trigger("removals", &all));
        }
        MetadataFile::Filelists | MetadataFile::FilelistsExt => {
            statements.extend([PACKAGE_IDS.to_owned(), FILELIST.to_owned(), trigger("remove_filelist", &["filelist"])]);
        }
        MetadataFile::Other => {
            let trigger = trigger("remove_changelogs", &["changelog"]);
            statements.extend([PACKAGE_IDS.to_owned(), CHANGELOG.to_owned(), trigger]);
        }
    }
    statements
}

fn dependency_table(table: &str) -> String {
    let pre = if table == "requires" { ", pre BOOLEAN DEFAULT FALSE" } else { "" };
    format!(
        "CREATE TABLE {table} (  name TEXT,  flags TEXT,  epoch TEXT,  version TEXT,  release TEXT,  pkgKey INTEGER {pre})"
    )
}

fn trigger(name: &str, tables: &[&str]) -> String {
    let deletions: String =
        tables.iter().map(|table| format!("    DELETE FROM {table} WHERE pkgKey = old.pkgKey;")).collect();
    format!("CREATE TRIGGER {name} AFTER DELETE ON packages  BEGIN{deletions}  END")
}

/// Statements that make the indexes of a database, after its rows.
pub(super) fn indexes(file: MetadataFile) -> Vec<String> {
    let index = |name: &str, on: &str| format!("CREATE INDEX {name} {on}");
    match file {
        MetadataFile::Primary => {
            let mut statements = vec![
                index("packagename", "ON packages (name)"),
                index("packageId", "ON packages (pkgId)"),
                index("filenames", "ON files (name)"),
                index("pkgfiles", "ON files (pkgKey)"),
            ];
            for table in DEPENDENCIES {
                statements.push(index(&format!("pkg{table}"), &format!("on {table} (pkgKey)")));
                if table == "requires" || table == "provides" {
                    statements.push(index(&format!("{table}name"), &format!("ON {table} (name)")));
                }
            }
            statements
        }
        MetadataFile::Filelists | MetadataFile::FilelistsExt => vec![
            index("keyfile", "ON filelist (pkgKey)"),
            index("pkgId", "ON packages (pkgId)"),
            index("dirnames", "ON filelist (dirname)"),
        ],
        MetadataFile::Other => {
            vec![index("keychange", "ON changelog (pkgKey)"), index("pkgId", "ON packages (pkgId)")]
        }
    }
}
