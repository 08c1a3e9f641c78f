//! The facts of a package from its headers.
//!
//! What each field means is createrepo_c's (1.2.5 `parsehdr.c`), with rpm's own treatment of old headers
//! (`lib/headerutil.c`). Lists are complete: what createrepo_c leaves out of repository metadata is for its writer.
//!
//! On purpose different from createrepo_c: a source package with NOSOURCE or NOPATCH has the architecture `nosrc`
//! (createrepo_c says `src`), a release starts after the last hyphen of a version as in rpm (createrepo_c: the first),
//! an EVR with a non-numeric epoch is kept as version (createrepo_c drops the dependency), and a dependency list
//! without flags or versions is read as unversioned (createrepo_c drops it). An epoch of 0 becomes `None`, so that a
//! package read from repository metadata, which has no other way to say "no epoch", is equal to the same from its file.

use crate::dependency::{Dependency, Sense};
use crate::error::Error;
use crate::evr::Evr;
use crate::header::RpmHeader;
use crate::model::{Changelog, FileDigests, FileEntry, FileKind, Package};
use crate::openpgp;
use crate::reader::HeaderFile;
use crate::tag::{main, signature};
use crate::text::decode;

/// Most bytes of file paths of one package: directory names are stored once and used by any number of files, so that a
/// small header could otherwise fill the memory. The largest file lists known have some 50 MB.
const MAX_PATHS: usize = 128 * 1024 * 1024;

/// RPMSENSE_POSTTRANS, PREREQ, PRETRANS, SCRIPT_PRE, SCRIPT_POST: what createrepo_c 1.2.5 writes as `pre="1"`.
const SENSE_PRE: u32 = 1 << 5 | 1 << 6 | 1 << 7 | 1 << 9 | 1 << 10;
/// RPMSENSE_MISSINGOK: a requirement that is a recommendation (old SUSE and Mandriva packages).
const SENSE_MISSING_OK: u32 = 1 << 19;
/// RPMSENSE_STRONG: an old SUSE "suggests" that is a "recommends".
const SENSE_STRONG: u32 = 1 << 27;

/// RPMFILE_GHOST.
const FILE_GHOST: u64 = 1 << 6;
/// File type bits of a mode, and those of a directory.
const MODE_TYPE: u64 = 0o170_000;
const MODE_DIRECTORY: u64 = 0o040_000;

/// Reads the facts of a package from the headers of its file, which must have the digest that they are said to have.
pub fn package(file: &HeaderFile) -> Result<Package, Error> {
    file.verify_header_digest()?;
    let header = file.header();
    let required = |tag, name| match header.string(tag)? {
        Some(text) => file_name_part(header, tag, text),
        None => Err(Error::Missing { tag, name }),
    };
    let optional = |tag| Ok::<_, Error>(header.string(tag)?.filter(|text| !text.is_empty()));
    let is_source = is_source(header)?;
    let mut package = Package {
        name: required(main::NAME, "NAME")?,
        evr: Evr {
            epoch: header.u32s(main::EPOCH)?.first().copied().filter(|epoch| *epoch != 0),
            version: required(main::VERSION, "VERSION")?,
            release: required(main::RELEASE, "RELEASE")?,
        },
        arch: if is_source { source_arch(header).to_owned() } else { required(main::ARCH, "ARCH")? },
        summary: header.i18n(main::SUMMARY)?.unwrap_or_default(),
        description: header.i18n(main::DESCRIPTION)?.unwrap_or_default(),
        url: optional(main::URL)?,
        license: optional(main::LICENSE)?,
        vendor: optional(main::VENDOR)?,
        group: optional(main::GROUP)?,
        packager: optional(main::PACKAGER)?,
        build_host: optional(main::BUILD_HOST)?,
        source_rpm: match optional(main::SOURCE_RPM)? {
            Some(name) if !is_source => Some(file_name_part(header, main::SOURCE_RPM, name)?),
            _ => None,
        },
        build_time: header.number(main::BUILD_TIME)?.unwrap_or(0),
        installed_size: first_number(&[(header, main::LONG_SIZE), (header, main::SIZE)])?,
        archive_size: archive_size(file)?,
        header_start: file.header_start(),
        header_end: file.header_end(),
        files: files(header)?,
        changelogs: changelogs(header)?,
        exclude_arch: header.strings(main::EXCLUDE_ARCH)?,
        exclusive_arch: header.strings(main::EXCLUSIVE_ARCH)?,
        signing_key: signing_key(file.signature()),
        ..Package::default()
    };
    dependencies(header, &mut package)?;
    if !header.has_region() && !is_source {
        provide_itself(&mut package);
    }
    Ok(package)
}

/// Packages of rpm 3 do not say that they provide themselves; rpm adds it (`providePackageNVR`).
fn provide_itself(package: &mut Package) {
    let range = Some((Sense::Equal, package.evr.clone()));
    let itself = Dependency { name: package.name.clone(), range, pre: false };
    if !package.provides.contains(&itself) {
        package.provides.push(itself);
    }
}

/// Whether the header is that of a source package: SOURCEPACKAGE is set, or, in packages older than that tag, there is
/// no SOURCERPM and the files have no directory (rpm `headerIsSourceHeuristic`).
fn is_source(header: &RpmHeader) -> Result<bool, Error> {
    if let Some(source) = header.number(main::SOURCE_PACKAGE)? {
        return Ok(source != 0);
    }
    if header.contains(main::SOURCE_RPM) {
        return Ok(false);
    }
    let mut directories = header.raw_strings(main::DIR_NAMES)?;
    if directories.len() == 0 {
        return Ok(header.raw_strings(main::OLD_FILE_NAMES)?.next().is_some_and(|name| !name.starts_with(b"/")));
    }
    Ok(directories.len() == 1 && directories.next().is_some_and(<[u8]>::is_empty))
}

/// Refuses what cannot be part of a file name, since file names are made of these tags.
fn file_name_part(header: &RpmHeader, tag: u32, text: String) -> Result<String, Error> {
    if text.is_empty() || text.starts_with("..") || text.contains(|letter: char| letter == '/' || letter.is_control()) {
        return Err(header.tag_error(tag, format!("{text:?} cannot be part of a file name")));
    }
    Ok(text)
}

fn source_arch(header: &RpmHeader) -> &'static str {
    if header.contains(main::NO_SOURCE) || header.contains(main::NO_PATCH) { "nosrc" } else { "src" }
}

/// First number of the first tag that exists; 0 if none does.
fn first_number(places: &[(&RpmHeader, u32)]) -> Result<u64, Error> {
    for (header, tag) in places {
        if let Some(number) = header.number(*tag)? {
            return Ok(number);
        }
    }
    Ok(0)
}

/// Uncompressed payload size: rpm merges the signature header's tags into the main one and prefers the 64-bit one.
fn archive_size(file: &HeaderFile) -> Result<u64, Error> {
    let (signature, header) = (file.signature(), file.header());
    first_number(&[
        (header, signature::LONG_ARCHIVE_SIZE),
        (signature, signature::LONG_ARCHIVE_SIZE),
        (header, main::ARCHIVE_SIZE),
        (signature, signature::PAYLOAD_SIZE),
    ])
}

fn files(header: &RpmHeader) -> Result<Vec<FileEntry>, Error> {
    let mut modes = header.numbers(main::FILE_MODES)?;
    let mut flags = header.numbers(main::FILE_FLAGS)?;
    let mut next_kind = || {
        let (mode, flags) = (modes.next().unwrap_or(0), flags.next().unwrap_or(0));
        if mode & MODE_TYPE == MODE_DIRECTORY {
            FileKind::Directory
        } else if flags & FILE_GHOST != 0 {
            FileKind::Ghost
        } else {
            FileKind::File
        }
    };
    let names = header.raw_strings(main::BASE_NAMES)?;
    if names.len() == 0 {
        // rpm 3 and `--nodirtokens`: whole paths.
        let paths = header.raw_strings(main::OLD_FILE_NAMES)?;
        return Ok(paths.map(|path| FileEntry { path: decode(path), kind: next_kind() }).collect());
    }
    let directories: Vec<&[u8]> = header.raw_strings(main::DIR_NAMES)?.collect();
    let indexes = header.numbers(main::DIR_INDEXES)?;
    if indexes.len() != names.len() {
        return Err(header.tag_error(main::DIR_INDEXES, format!("{} for {} files", indexes.len(), names.len())));
    }
    let directory_of = |index: u64| usize::try_from(index).ok().and_then(|index| directories.get(index)).copied();
    // Before memory is taken for any of them.
    let mut total = 0;
    for (name, index) in names.clone().zip(indexes.clone()) {
        let Some(directory) = directory_of(index) else {
            let reason = format!("directory {index} of {}", directories.len());
            return Err(header.tag_error(main::DIR_INDEXES, reason));
        };
        total += directory.len() + name.len();
        if total > MAX_PATHS {
            return Err(header.tag_error(main::BASE_NAMES, format!("paths are longer than {MAX_PATHS} bytes together")));
        }
    }
    let mut files = Vec::with_capacity(names.len());
    let mut path = Vec::new();
    for (name, index) in names.zip(indexes) {
        path.clear();
        path.extend_from_slice(directory_of(index).unwrap_or_default());
        path.extend_from_slice(name);
        files.push(FileEntry { path: decode(&path), kind: next_kind() });
    }
    Ok(files)
}

/// Reads the digests of a package's files, which [`package`] leaves out: they are most of a header, and next to nobody
/// wants them. Each is hexadecimal, or not there.
pub fn file_digests(file: &HeaderFile) -> Result<FileDigests, Error> {
    let header = file.header();
    let mut digests = Vec::new();
    for digest in header.raw_strings(main::FILE_DIGESTS)? {
        if !digest.iter().all(u8::is_ascii_hexdigit) {
            let reason = format!("{:?} is no digest of a file", decode(&digest[..digest.len().min(128)]));
            return Err(header.tag_error(main::FILE_DIGESTS, reason));
        }
        digests.push(decode(digest));
    }
    Ok(FileDigests { algorithm: header.u32s(main::FILE_DIGEST_ALGORITHM)?.first().copied(), digests })
}

fn changelogs(header: &RpmHeader) -> Result<Vec<Changelog>, Error> {
    let times = header.numbers(main::CHANGELOG_TIME)?;
    let authors = header.raw_strings(main::CHANGELOG_NAME)?;
    let texts = header.raw_strings(main::CHANGELOG_TEXT)?;
    let entries = times.zip(authors).zip(texts);
    Ok(entries.map(|((time, author), text)| Changelog { author: decode(author), time, text: decode(text) }).collect())
}

/// Tags of one dependency list: names, flags, versions.
type DependencyTags = (u32, u32, u32);

const PROVIDES: DependencyTags = (main::PROVIDE_NAME, main::PROVIDE_FLAGS, main::PROVIDE_VERSION);
const REQUIRES: DependencyTags = (main::REQUIRE_NAME, main::REQUIRE_FLAGS, main::REQUIRE_VERSION);
const CONFLICTS: DependencyTags = (main::CONFLICT_NAME, main::CONFLICT_FLAGS, main::CONFLICT_VERSION);
const OBSOLETES: DependencyTags = (main::OBSOLETE_NAME, main::OBSOLETE_FLAGS, main::OBSOLETE_VERSION);
const SUGGESTS: DependencyTags = (main::SUGGEST_NAME, main::SUGGEST_FLAGS, main::SUGGEST_VERSION);
const ENHANCES: DependencyTags = (main::ENHANCE_NAME, main::ENHANCE_FLAGS, main::ENHANCE_VERSION);
const RECOMMENDS: DependencyTags = (main::RECOMMEND_NAME, main::RECOMMEND_FLAGS, main::RECOMMEND_VERSION);
const SUPPLEMENTS: DependencyTags = (main::SUPPLEMENT_NAME, main::SUPPLEMENT_FLAGS, main::SUPPLEMENT_VERSION);
const OLD_SUGGESTS: DependencyTags = (main::OLD_SUGGEST_NAME, main::OLD_SUGGEST_FLAGS, main::OLD_SUGGEST_VERSION);
const OLD_ENHANCES: DependencyTags = (main::OLD_ENHANCE_NAME, main::OLD_ENHANCE_FLAGS, main::OLD_ENHANCE_VERSION);

/// Fills the dependency lists in createrepo_c's order, which matters where an old tag adds to a list of today.
fn dependencies(header: &RpmHeader, package: &mut Package) -> Result<(), Error> {
    package.provides = dependency_list(header, PROVIDES)?.map(|(dependency, _)| dependency).collect();
    package.conflicts = dependency_list(header, CONFLICTS)?.map(|(dependency, _)| dependency).collect();
    package.obsoletes = dependency_list(header, OBSOLETES)?.map(|(dependency, _)| dependency).collect();
    for (mut dependency, flags) in dependency_list(header, REQUIRES)? {
        if flags & SENSE_MISSING_OK != 0 {
            package.recommends.push(dependency);
        } else {
            dependency.pre = flags & SENSE_PRE != 0;
            package.requires.push(dependency);
        }
    }
    package.suggests = dependency_list(header, SUGGESTS)?.map(|(dependency, _)| dependency).collect();
    package.enhances = dependency_list(header, ENHANCES)?.map(|(dependency, _)| dependency).collect();
    package.recommends.extend(dependency_list(header, RECOMMENDS)?.map(|(dependency, _)| dependency));
    package.supplements = dependency_list(header, SUPPLEMENTS)?.map(|(dependency, _)| dependency).collect();
    for (dependency, flags) in dependency_list(header, OLD_SUGGESTS)? {
        let strong = flags & SENSE_STRONG != 0;
        if strong { &mut package.recommends } else { &mut package.suggests }.push(dependency);
    }
    for (dependency, flags) in dependency_list(header, OLD_ENHANCES)? {
        let strong = flags & SENSE_STRONG != 0;
        if strong { &mut package.supplements } else { &mut package.enhances }.push(dependency);
    }
    Ok(())
}

/// The dependencies of one list with their flags.
fn dependency_list(
    header: &RpmHeader,
    (names, flags, versions): DependencyTags,
) -> Result<impl Iterator<Item = (Dependency, u32)>, Error> {
    let names = header.raw_strings(names)?;
    let mut flags = header.numbers(flags)?;
    let mut versions = header.raw_strings(versions)?;
    Ok(names.map(move |name| {
        // Flags are 32 bits wide in every format.
        let flags = flags.next().unwrap_or(0) as u32;
        let version = versions.next().unwrap_or(b"");
        let range = Sense::from_bits(flags).map(|sense| {
            let mut evr = Evr::parse(&decode(version));
            evr.epoch = evr.epoch.filter(|epoch| *epoch != 0);
            (sense, evr)
        });
        (Dependency { name: decode(name), range, pre: false }, flags)
    }))
}

/// Key id of the first signature that names one: of the header alone (RSA, DSA), else of header and payload (PGP, GPG),
/// else as rpm 6 stores them. Koji (`get_sighdr_key`) looks at GPG and PGP alone, which today's packages need not have;
/// where a package has both kinds, one key made them.
fn signing_key(header: &RpmHeader) -> Option<String> {
    for tag in [signature::RSA, signature::DSA, signature::PGP, signature::GPG] {
        if let Ok(Some(packet)) = header.binary(tag)
            && let Some(key) = openpgp::short_key_id(packet)
        {
            return Some(key);
        }
    }
    header.raw_strings(signature::OPENPGP).ok()?.find_map(openpgp::short_key_id_of_base64)
}
