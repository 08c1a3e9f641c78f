//! XML of one package for `primary`, `filelists` and `other`, with holes for what depends on the repository.
//!
//! Bytes are those of createrepo_c 1.2.5 (`xml_dump_primary.c`, `xml_dump_filelists.c`, `xml_dump_other.c`), including
//! its rules at reading headers: which requirements stay, how changelog entries of one second are told apart.

mod holes;

use serde::{Deserialize, Serialize};
use tutti_rpm::{Dependency, Evr, FileDigests, FileKind, Package};

use self::holes::HoleKind;
pub use self::holes::{Fill, Fragment};
pub(crate) use self::holes::{push_location, render_encoded};
use crate::escape::{is_forbidden, push_named, push_number, push_text};
use crate::requires;

/// Changelog entries per package when nothing else is asked for: createrepo_c's default.
pub const CHANGELOG_LIMIT: usize = 10;

/// One of the metadata files that list packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum MetadataFile {
    /// `primary.xml`
    Primary,
    /// `filelists.xml`
    Filelists,
    /// `other.xml`
    Other,
    /// `filelists-ext.xml`: filelists with digests of files, where they are asked for.
    FilelistsExt,
}

impl MetadataFile {
    /// The three that every repository has, in the order of `repomd.xml`.
    pub const ALL: [Self; 3] = [Self::Primary, Self::Filelists, Self::Other];

    /// Returns the `type` in `repomd.xml`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Filelists => "filelists",
            Self::Other => "other",
            Self::FilelistsExt => "filelists-ext",
        }
    }
}

/// The three fragments of one package.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fragments {
    /// For `primary.xml`.
    pub primary: Fragment,
    /// For `filelists.xml`; for `filelists-ext.xml`, too, if the package has digests of its files: [`without_digests`]
    /// takes them out.
    pub filelists: Fragment,
    /// For `other.xml`.
    pub other: Fragment,
}

/// What may differ between two makings of one package's fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FragmentOptions {
    /// Newest changelog entries to keep; `None` keeps all.
    pub changelog_limit: Option<usize>,
}

impl Default for FragmentOptions {
    fn default() -> Self {
        Self { changelog_limit: Some(CHANGELOG_LIMIT) }
    }
}

/// Why a package has no XML.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FragmentError {
    /// XML 1.0 has no way to write the character; createrepo_c leaves the whole package out.
    #[error("{field} of {nevra} holds a control character that XML cannot hold (hint: rebuild the package without it)")]
    ForbiddenCharacter {
        /// The package.
        nevra: String,
        /// The field.
        field: &'static str,
    },
    /// A fragment of 4 GiB or more.
    #[error("metadata of {nevra} is larger than 4 GiB")]
    TooLarge {
        /// The package.
        nevra: String,
    },
}

impl Fragments {
    /// Makes the fragments of a package.
    ///
    /// # Errors
    /// When a text of the package cannot stand in XML.
    pub fn make(package: &Package, options: &FragmentOptions) -> Result<Self, FragmentError> {
        check_characters(package)?;
        let fragments =
            Self { primary: primary(package), filelists: filelists(package), other: other(package, options) };
        let sizes = [&fragments.primary, &fragments.filelists, &fragments.other].map(|part| part.text.len());
        if sizes.iter().any(|size| u32::try_from(*size).is_err()) {
            return Err(FragmentError::TooLarge { nevra: nevra(package) });
        }
        Ok(fragments)
    }

    /// Returns the fragment for one file.
    pub fn get(&self, file: MetadataFile) -> &Fragment {
        match file {
            MetadataFile::Primary => &self.primary,
            MetadataFile::Filelists | MetadataFile::FilelistsExt => &self.filelists,
            MetadataFile::Other => &self.other,
        }
    }
}

fn nevra(package: &Package) -> String {
    let Evr { epoch, version, release } = &package.evr;
    let text = format!("{}-{}:{version}-{release}.{}", package.name, epoch.unwrap_or(0), package.arch);
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn check_characters(package: &Package) -> Result<(), FragmentError> {
    let refuse = |field| Err(FragmentError::ForbiddenCharacter { nevra: nevra(package), field });
    for (field, text) in single_texts(package) {
        if is_forbidden(text) {
            return refuse(field);
        }
    }
    for (field, list) in dependency_lists(package) {
        for dependency in list {
            let range = dependency.range.as_ref();
            let bad_range = range.is_some_and(|(_, evr)| is_forbidden(&evr.version) || is_forbidden(&evr.release));
            if bad_range || is_forbidden(&dependency.name) {
                return refuse(field);
            }
        }
    }
    if package.files.iter().any(|file| is_forbidden(&file.path)) {
        return refuse("a file name");
    }
    if package.file_digests.iter().flat_map(|files| &files.digests).any(|digest| is_forbidden(digest)) {
        return refuse("a file's digest");
    }
    if package.changelogs.iter().any(|entry| is_forbidden(&entry.author) || is_forbidden(&entry.text)) {
        return refuse("the changelog");
    }
    Ok(())
}

fn single_texts(package: &Package) -> [(&'static str, &str); 13] {
    [
        ("the name", &package.name),
        ("the architecture", &package.arch),
        ("the version", &package.evr.version),
        ("the release", &package.evr.release),
        ("the summary", &package.summary),
        ("the description", &package.description),
        ("the URL", package.url.as_deref().unwrap_or("")),
        ("the licence", package.license.as_deref().unwrap_or("")),
        ("the vendor", package.vendor.as_deref().unwrap_or("")),
        ("the group", package.group.as_deref().unwrap_or("")),
        ("the build host", package.build_host.as_deref().unwrap_or("")),
        ("the source package", package.source_rpm.as_deref().unwrap_or("")),
        ("the packager", package.packager.as_deref().unwrap_or("")),
    ]
}

/// The eight lists, in the order of `<format>`.
fn dependency_lists(package: &Package) -> [(&'static str, &[Dependency]); 8] {
    [
        ("provides", &package.provides),
        ("requires", &package.requires),
        ("conflicts", &package.conflicts),
        ("obsoletes", &package.obsoletes),
        ("suggests", &package.suggests),
        ("enhances", &package.enhances),
        ("recommends", &package.recommends),
        ("supplements", &package.supplements),
    ]
}

fn push_element(out: &mut Vec<u8>, indent: &str, name: &str, text: &str) {
    out.extend_from_slice(indent.as_bytes());
    out.push(b'<');
    out.extend_from_slice(name.as_bytes());
    out.push(b'>');
    push_text(out, text);
    out.extend_from_slice(b"</");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b">\n");
}

fn push_number_attribute(out: &mut Vec<u8>, name: &str, number: u64) {
    out.push(b' ');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"=\"");
    push_number(out, number);
    out.push(b'"');
}

/// createrepo_c 1.2.5 (`parsehdr.c`) calls each source package `src`, also one whose file is a `.nosrc.rpm`.
pub(crate) fn arch(package: &Package) -> &str {
    if package.is_source() { "src" } else { &package.arch }
}

fn push_version(out: &mut Vec<u8>, evr: &Evr) {
    out.extend_from_slice(b"  <version");
    push_number_attribute(out, "epoch", u64::from(evr.epoch.unwrap_or(0)));
    push_named(out, "ver", &evr.version);
    push_named(out, "rel", &evr.release);
    out.extend_from_slice(b"/>\n");
}

fn primary(package: &Package) -> Fragment {
    let mut fragment = Fragment::default();
    let out = &mut fragment.text;
    out.extend_from_slice(b"<package type=\"rpm\">\n");
    push_element(out, "  ", "name", &package.name);
    push_element(out, "  ", "arch", arch(package));
    push_version(out, &package.evr);
    out.extend_from_slice(b"  <checksum");
    fragment.hole(HoleKind::Checksum);
    let out = &mut fragment.text;
    out.extend_from_slice(b"</checksum>\n");
    push_element(out, "  ", "summary", &package.summary);
    push_element(out, "  ", "description", &package.description);
    push_element(out, "  ", "packager", package.packager.as_deref().unwrap_or(""));
    push_element(out, "  ", "url", package.url.as_deref().unwrap_or(""));
    out.extend_from_slice(b"  <time file=\"");
    fragment.hole(HoleKind::FileTime);
    let out = &mut fragment.text;
    out.push(b'"');
    push_number_attribute(out, "build", package.build_time);
    out.extend_from_slice(b"/>\n  <size package=\"");
    fragment.hole(HoleKind::PackageSize);
    let out = &mut fragment.text;
    out.push(b'"');
    push_number_attribute(out, "installed", package.installed_size);
    push_number_attribute(out, "archive", package.archive_size);
    out.extend_from_slice(b"/>\n  <location");
    fragment.hole(HoleKind::Location);
    let out = &mut fragment.text;
    out.extend_from_slice(b"/>\n");
    push_format(out, package);
    out.extend_from_slice(b"</package>\n");
    fragment
}

fn push_format(out: &mut Vec<u8>, package: &Package) {
    out.extend_from_slice(b"  <format>\n");
    for (name, text) in [
        ("rpm:license", &package.license),
        ("rpm:vendor", &package.vendor),
        ("rpm:group", &package.group),
        ("rpm:buildhost", &package.build_host),
        ("rpm:sourcerpm", &package.source_rpm),
    ] {
        push_element(out, "    ", name, text.as_deref().unwrap_or(""));
    }
    out.extend_from_slice(b"    <rpm:header-range");
    push_number_attribute(out, "start", package.header_start);
    push_number_attribute(out, "end", package.header_end);
    out.extend_from_slice(b"/>\n");
    for (name, list) in dependency_lists(package) {
        if name == "requires" {
            push_dependencies(out, name, &requires::filtered(package));
        } else {
            push_dependencies(out, name, &list.iter().collect::<Vec<_>>());
        }
    }
    for file in package.files.iter().filter(|file| requires::is_primary(&file.path)) {
        push_file(out, "    ", &file.path, file.kind, None);
    }
    out.extend_from_slice(b"  </format>\n");
}

fn push_dependencies(out: &mut Vec<u8>, name: &str, list: &[&Dependency]) {
    if list.is_empty() {
        return;
    }
    out.extend_from_slice(b"    <rpm:");
    out.extend_from_slice(name.as_bytes());
    // libxml2 closes an element without children at once; entries without a name are not written.
    if list.iter().all(|dependency| dependency.name.is_empty()) {
        out.extend_from_slice(b"/>\n");
        return;
    }
    out.extend_from_slice(b">\n");
    for dependency in list.iter().filter(|dependency| !dependency.name.is_empty()) {
        push_entry(out, dependency, name == "requires");
    }
    out.extend_from_slice(b"    </rpm:");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b">\n");
}

/// One `<rpm:entry>`; `pre` is written for requirements only.
fn push_entry(out: &mut Vec<u8>, dependency: &Dependency, with_pre: bool) {
    out.extend_from_slice(b"      <rpm:entry");
    push_named(out, "name", &dependency.name);
    if let Some((sense, evr)) = &dependency.range {
        push_named(out, "flags", sense.repodata());
        if evr.epoch.is_some() || !evr.version.is_empty() || !evr.release.is_empty() {
            push_number_attribute(out, "epoch", u64::from(evr.epoch.unwrap_or(0)));
        }
        for (name, text) in [("ver", &evr.version), ("rel", &evr.release)] {
            if !text.is_empty() {
                push_named(out, name, text);
            }
        }
    }
    if with_pre && dependency.pre {
        out.extend_from_slice(b" pre=\"1\"");
    }
    out.extend_from_slice(b"/>\n");
}

fn push_file(out: &mut Vec<u8>, indent: &str, path: &str, kind: FileKind, digest: Option<&str>) {
    out.extend_from_slice(indent.as_bytes());
    out.extend_from_slice(match kind {
        FileKind::File => FILE_START,
        FileKind::Directory => b"<file type=\"dir\"",
        FileKind::Ghost => b"<file type=\"ghost\"",
    });
    if let Some(digest) = digest.filter(|digest| !digest.is_empty()) {
        push_named(out, "hash", digest);
    }
    out.push(b'>');
    push_text(out, path);
    out.extend_from_slice(b"</file>\n");
}

fn push_list_head(fragment: &mut Fragment, package: &Package) {
    fragment.text.extend_from_slice(b"<package pkgid=\"");
    fragment.hole(HoleKind::PackageId);
    let out = &mut fragment.text;
    out.push(b'"');
    push_named(out, "name", &package.name);
    push_named(out, "arch", arch(package));
    out.extend_from_slice(b">\n");
    push_version(out, &package.evr);
}

fn filelists(package: &Package) -> Fragment {
    let mut fragment = Fragment::default();
    push_list_head(&mut fragment, package);
    let out = &mut fragment.text;
    out.reserve(package.files.iter().map(|file| file.path.len() + 30).sum());
    let digests = package.file_digests.as_ref();
    if let Some(digests) = digests {
        out.extend_from_slice(CHECKSUM_START);
        out.extend_from_slice(algorithm(digests).as_bytes());
        out.extend_from_slice(CHECKSUM_END);
    }
    let mut digests = digests.map(|digests| digests.digests.as_slice()).unwrap_or_default().iter();
    for file in &package.files {
        push_file(out, "  ", &file.path, file.kind, digests.next().map(String::as_str));
    }
    out.extend_from_slice(b"</package>\n");
    fragment
}

const FILE_START: &[u8] = b"<file";
/// The element that `filelists-ext` has after the version.
const CHECKSUM_START: &[u8] = b"  <checksum type=\"";
const CHECKSUM_END: &[u8] = b"\"/>\n";
const HASH_START: &[u8] = b" hash=\"";

/// What createrepo_c 1.2.5 calls the algorithm: seen by giving a header each number. A header without one, as all were
/// when it was MD5, has one that is unknown.
fn algorithm(digests: &FileDigests) -> &'static str {
    match digests.algorithm {
        Some(1) => "md5",
        Some(2) => "sha1",
        Some(3) => "ripemd160",
        Some(5) => "md2",
        Some(6) => "tiger192",
        Some(7) => "haval-5-160",
        Some(8) => "sha256",
        Some(9) => "sha384",
        Some(10) => "sha512",
        Some(11) => "sha224",
        _ => "unknown",
    }
}

/// Whether a rendered package of filelists has what `filelists-ext` has.
pub(crate) fn has_digests(text: &[u8]) -> bool {
    after_version(text).is_some_and(|at| text[at..].starts_with(CHECKSUM_START))
}

/// Where a package of filelists goes on after its first two lines.
fn after_version(text: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'\n', text).nth(1).map(|at| at + 1)
}

/// Makes, at the end of `out`, a package of `filelists` of one that may have digests.
pub(crate) fn without_digests(out: &mut Vec<u8>, start: usize) {
    let text = &out[start..];
    if !has_digests(text) {
        return;
    }
    let Some(at) = after_version(text) else { return };
    let mut plain = Vec::with_capacity(text.len());
    plain.extend_from_slice(&text[..at]);
    let after = memchr::memchr(b'\n', &text[at..]).map_or(text.len(), |end| at + end + 1);
    let mut rest = &text[after..];
    // In texts `<` is escaped, so that this is a tag, and in tags `>` is, so that it ends there.
    while let Some(tag) = memchr::memmem::find(rest, FILE_START) {
        let end = memchr::memchr(b'>', &rest[tag..]).map_or(rest.len(), |end| tag + end);
        let hash = memchr::memmem::find(&rest[tag..end], HASH_START).map_or(end, |hash| tag + hash);
        plain.extend_from_slice(&rest[..hash]);
        rest = &rest[end..];
    }
    plain.extend_from_slice(rest);
    out.truncate(start);
    out.append(&mut plain);
}

fn other(package: &Package, options: &FragmentOptions) -> Fragment {
    let mut fragment = Fragment::default();
    push_list_head(&mut fragment, package);
    let out = &mut fragment.text;
    for (author, time, text) in listed_changelogs(package, options.changelog_limit) {
        out.extend_from_slice(CHANGELOG_START);
        push_named(out, "author", author);
        push_number_attribute(out, "date", time);
        out.push(b'>');
        push_text(out, text);
        out.extend_from_slice(b"</changelog>\n");
    }
    out.extend_from_slice(b"</package>\n");
    fragment
}

/// What a changelog entry starts with; no text can hold it.
pub(crate) const CHANGELOG_START: &[u8] = b"  <changelog";

/// Author, time and text of the newest changelog entries, the oldest of them first.
pub(crate) fn listed_changelogs(package: &Package, limit: Option<usize>) -> impl Iterator<Item = (&str, u64, &str)> {
    let newest = &package.changelogs[..package.changelogs.len().min(limit.unwrap_or(usize::MAX))];
    let times = distinct_times(newest.iter().map(|entry| entry.time));
    newest.iter().zip(times).rev().map(|(entry, time)| (trimmed_author(&entry.author), time, entry.text.as_str()))
}

/// Without spaces at the end, but the first byte stays (createrepo_c 1.2.5 `parsehdr.c`).
fn trimmed_author(author: &str) -> &str {
    let trimmed = author.trim_end_matches(' ');
    if trimmed.is_empty() { &author[..author.len().min(1)] } else { trimmed }
}

/// Moves newer entries of one second apart, a second each, as createrepo_c does; `times` is newest first.
fn distinct_times(times: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut done: Vec<u64> = Vec::new();
    let mut last = 0;
    for time in times {
        if time == last {
            let mut taken = time;
            for newer in done.iter_mut().rev() {
                if *newer != taken {
                    break;
                }
                *newer = newer.saturating_add(1);
                taken = taken.saturating_add(1);
            }
        } else {
            last = time;
        }
        done.push(time);
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::ChecksumType;
    use crate::codec::Encoder;
    use tutti_rpm::{Changelog, FileEntry, Sense};

    fn package() -> Package {
        let evr = |version: &str| Evr { epoch: None, version: version.into(), release: String::new() };
        let dependency = |name: &str, range| Dependency { name: name.into(), range, pre: true };
        Package {
            name: "a".into(),
            evr: Evr { epoch: Some(1), version: "2".into(), release: "3".into() },
            arch: "noarch".into(),
            summary: "x & y".into(),
            provides: vec![dependency("p", Some((Sense::GreaterEqual, evr("5"))))],
            requires: vec![dependency("r", None), dependency("s", Some((Sense::Equal, evr(""))))],
            files: vec![
                FileEntry { path: "/usr/bin/a".into(), kind: FileKind::File },
                FileEntry { path: "/usr/share/a".into(), kind: FileKind::Directory },
            ],
            changelogs: [9, 7, 7, 7]
                .map(|time| Changelog { author: "Á  ".into(), time, text: "- <x>".into() })
                .to_vec(),
            ..Package::default()
        }
    }

    fn rendered(file: MetadataFile, base: Option<&str>) -> String {
        let fragments = Fragments::make(&package(), &FragmentOptions::default()).unwrap();
        let checksum = ChecksumType::Md5.hash(b"");
        let fill = Fill { checksum: &checksum, mtime: 11, size: 22, location_href: "P/a&b.rpm", location_base: base };
        let mut direct = Vec::new();
        fragments.get(file).render(&fill, &mut direct);
        let mut stored = Encoder::default();
        fragments.get(file).encode(&mut stored);
        let mut from_stored = Vec::new();
        render_encoded(stored.bytes(), &fill, &mut from_stored).unwrap();
        assert_eq!(direct, from_stored);
        assert_eq!(&Fragment::decode(stored.bytes()).unwrap(), fragments.get(file));
        String::from_utf8(direct).unwrap()
    }

    #[test]
    fn primary_is_filled() {
        let expected = concat!(
            "<package type=\"rpm\">\n  <name>a</name>\n  <arch>noarch</arch>\n",
            "  <version epoch=\"1\" ver=\"2\" rel=\"3\"/>\n",
            "  <checksum type=\"md5\" pkgid=\"YES\">d41d8cd98f00b204e9800998ecf8427e</checksum>\n",
            "  <summary>x &amp; y</summary>\n  <description></description>\n  <packager></packager>\n  <url></url>\n",
            "  <time file=\"11\" build=\"0\"/>\n  <size package=\"22\" installed=\"0\" archive=\"0\"/>\n",
            "  <location xml:base=\"file:///srv\" href=\"P/a&amp;b.rpm\"/>\n  <format>\n",
            "    <rpm:license></rpm:license>\n    <rpm:vendor></rpm:vendor>\n    <rpm:group></rpm:group>\n",
            "    <rpm:buildhost></rpm:buildhost>\n    <rpm:sourcerpm></rpm:sourcerpm>\n",
            "    <rpm:header-range start=\"0\" end=\"0\"/>\n",
            "    <rpm:provides>\n      <rpm:entry name=\"p\" flags=\"GE\" epoch=\"0\" ver=\"5\"/>\n    </rpm:provides>\n",
            "    <rpm:requires>\n      <rpm:entry name=\"r\" pre=\"1\"/>\n      <rpm:entry name=\"s\" flags=\"EQ\" pre=\"1\"/>\n",
            "    </rpm:requires>\n    <file>/usr/bin/a</file>\n  </format>\n</package>\n",
        );
        assert_eq!(rendered(MetadataFile::Primary, Some("/srv")), expected);
        assert!(rendered(MetadataFile::Primary, None).contains("<location href=\"P/a&amp;b.rpm\"/>"));
    }

    #[test]
    fn filelists_and_other_are_filled() {
        let head = concat!(
            "<package pkgid=\"d41d8cd98f00b204e9800998ecf8427e\" name=\"a\" arch=\"noarch\">\n",
            "  <version epoch=\"1\" ver=\"2\" rel=\"3\"/>\n"
        );
        let files = "  <file>/usr/bin/a</file>\n  <file type=\"dir\">/usr/share/a</file>\n</package>\n";
        assert_eq!(rendered(MetadataFile::Filelists, None), format!("{head}{files}"));
        let mut entries = String::new();
        for date in [7, 8, 9, 10] {
            entries += &format!("  <changelog author=\"&#xC1;\" date=\"{date}\">- &lt;x&gt;</changelog>\n");
        }
        assert_eq!(rendered(MetadataFile::Other, None), format!("{head}{entries}</package>\n"));
    }

    #[test]
    fn digests_of_files_stand_in_one_of_two_files() {
        let mut package = package();
        // Text that looks like markup, as far as it can.
        package.files[0].path = "/a hash=\"1\">\n  <file hash=\"2\">/b".into();
        let render = |package: &Package, file: MetadataFile| {
            let fragments = vec![Fragments::make(package, &FragmentOptions::default()).unwrap()];
            let checksum = ChecksumType::Md5.hash(b"");
            let fill = Fill { checksum: &checksum, mtime: 1, size: 2, location_href: "a.rpm", location_base: None };
            let mut text = b"before".to_vec();
            crate::FragmentSource::render(&fragments, crate::RecordId(0), file, &fill, &mut text)
                .map(|()| String::from_utf8(text).unwrap())
        };
        let plain = render(&package, MetadataFile::Filelists).unwrap();
        assert!(render(&package, MetadataFile::FilelistsExt).is_err(), "nobody asked for digests");
        package.file_digests = Some(FileDigests { algorithm: Some(8), digests: vec!["0a".into(), String::new()] });
        assert_eq!(render(&package, MetadataFile::Filelists).unwrap(), plain);
        let with = render(&package, MetadataFile::FilelistsExt).unwrap();
        let expected = plain.replacen("rel=\"3\"/>\n", "rel=\"3\"/>\n  <checksum type=\"sha256\"/>\n", 1);
        assert_eq!(with, expected.replacen("<file>", "<file hash=\"0a\">", 1));
        package.files.clear();
        let none = render(&package, MetadataFile::Filelists).unwrap();
        assert!(none.ends_with("rel=\"3\"/>\n</package>\n"), "{none}");
    }

    #[test]
    fn control_characters_are_refused_by_field() {
        let mut bad = package();
        bad.description = "a\u{1b}[31m".into();
        let error = Fragments::make(&bad, &FragmentOptions::default()).unwrap_err();
        assert!(error.to_string().starts_with("the description of a-1:2-3.noarch holds"), "{error}");
    }

    #[test]
    fn damaged_holes_are_refused() {
        let fill_checksum = ChecksumType::Md5.hash(b"");
        let fill = Fill { checksum: &fill_checksum, mtime: 1, size: 1, location_href: "a", location_base: None };
        for bytes in
            [&[][..], &[1], &[1, 9, 0, 0, 0, 0], &[1, 1, 5, 0, 0, 0, b'a'], &[2, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 9]]
        {
            assert!(render_encoded(bytes, &fill, &mut Vec::new()).is_err(), "{bytes:?}");
        }
    }
}
