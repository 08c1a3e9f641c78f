//! `repomd.xml`: its model and how it is written and read.

use std::io::Read;

use crate::checksum::Checksum;
use crate::escape::{push_attribute, push_named, push_number, push_text};
use crate::location;
use crate::reader::RepositoryError;
use crate::xml::{Element, Xml, XmlReader};

/// One `<data>` element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepomdRecord {
    /// `type`: `primary`, `filelists`, `other`, `group`, `modules`, …
    pub kind: String,
    /// Checksum of the file as it is.
    pub checksum: Checksum,
    /// Checksum of the decompressed content; `None` when the file is not compressed.
    pub open_checksum: Option<Checksum>,
    /// Path relative to the directory that holds `repodata/`.
    pub location_href: String,
    /// `xml:base` of the location.
    pub location_base: Option<String>,
    /// Timestamp, seconds since 1970.
    pub timestamp: u64,
    /// Size of the file in bytes.
    pub size: Option<u64>,
    /// Size of the decompressed content in bytes.
    pub open_size: Option<u64>,
    /// Checksum and size in bytes of the header of a zchunk file.
    pub header: Option<(Checksum, u64)>,
    /// Version of a database's tables.
    pub database_version: Option<u32>,
}

/// What a repository is for, in its makers' words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    /// What is in it.
    pub content: Vec<String>,
    /// What it is.
    pub repo: Vec<String>,
    /// Distributions that it is for.
    pub distro: Vec<DistroTag>,
}

impl Tags {
    /// All texts.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        let distro = self.distro.iter().flat_map(|distro| distro.cpeid.iter().chain([&distro.name]));
        self.content.iter().chain(&self.repo).chain(distro).map(String::as_str)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.content.is_empty() && self.repo.is_empty() && self.distro.is_empty()
    }
}

/// One distribution.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DistroTag {
    /// Its Common Platform Enumeration name.
    pub cpeid: Option<String>,
    /// Its name.
    pub name: String,
}

/// A text with a `type`: `<repoid>`, `<contenthash>`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypedText {
    /// The `type` attribute.
    pub kind: Option<String>,
    /// The text.
    pub text: String,
}

/// A whole `repomd.xml`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repomd {
    /// Revision; absent in some repositories.
    pub revision: Option<String>,
    /// Identity of the repository (old openSUSE).
    pub repoid: Option<TypedText>,
    /// Hash over its content (OBS).
    pub contenthash: Option<TypedText>,
    /// Tags.
    pub tags: Tags,
    /// Records, in the order of the file.
    pub records: Vec<RepomdRecord>,
}

impl Repomd {
    /// Returns the first record of a type.
    pub fn record(&self, kind: &str) -> Option<&RepomdRecord> {
        self.records.iter().find(|record| record.kind == kind)
    }

    /// Puts records into the order of createrepo_c 1.2.5 (`repomd.c`): primary, filelists, other, their databases, their
    /// zchunk files, then by type and location.
    pub fn sort(&mut self) {
        let rank = |kind: &str| FIRST_TYPES.iter().position(|known| *known == kind).unwrap_or(FIRST_TYPES.len());
        self.records.sort_by(|a, b| {
            let of = |record: &RepomdRecord| rank(&record.kind);
            (of(a), &a.kind, &a.location_href, &a.location_base).cmp(&(
                of(b),
                &b.kind,
                &b.location_href,
                &b.location_base,
            ))
        });
    }

    /// Returns the bytes of the file, as createrepo_c 1.2.5 writes it (`xml_dump_repomd.c`).
    pub fn to_xml(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(4096);
        out.extend_from_slice(b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        out.extend_from_slice(b"<repomd xmlns=\"http://linux.duke.edu/metadata/repo\"");
        out.extend_from_slice(b" xmlns:rpm=\"http://linux.duke.edu/metadata/rpm\">\n");
        if let Some(revision) = &self.revision {
            push_element(&mut out, "  ", "revision", revision);
        }
        push_typed(&mut out, "repoid", self.repoid.as_ref());
        push_typed(&mut out, "contenthash", self.contenthash.as_ref());
        push_tags(&mut out, &self.tags);
        for record in &self.records {
            push_record(&mut out, record);
        }
        out.extend_from_slice(b"</repomd>\n");
        out
    }
}

/// Types that come first, in this order.
const FIRST_TYPES: [&str; 9] = [
    "primary",
    "filelists",
    "other",
    "primary_db",
    "filelists_db",
    "other_db",
    "primary_zck",
    "filelists_zck",
    "other_zck",
];

fn push_typed(out: &mut Vec<u8>, name: &str, value: Option<&TypedText>) {
    let Some(TypedText { kind, text }) = value else { return };
    out.extend_from_slice(format!("  <{name}").as_bytes());
    if let Some(kind) = kind {
        push_named(out, "type", kind);
    }
    out.push(b'>');
    push_text(out, text);
    out.extend_from_slice(format!("</{name}>\n").as_bytes());
}

fn push_tags(out: &mut Vec<u8>, tags: &Tags) {
    if tags.is_empty() {
        return;
    }
    out.extend_from_slice(b"  <tags>\n");
    for (name, texts) in [("content", &tags.content), ("repo", &tags.repo)] {
        for text in texts {
            push_element(out, "    ", name, text);
        }
    }
    for DistroTag { cpeid, name } in &tags.distro {
        out.extend_from_slice(b"    <distro");
        if let Some(cpeid) = cpeid {
            push_named(out, "cpeid", cpeid);
        }
        out.push(b'>');
        push_text(out, name);
        out.extend_from_slice(b"</distro>\n");
    }
    out.extend_from_slice(b"  </tags>\n");
}

fn push_record(out: &mut Vec<u8>, record: &RepomdRecord) {
    out.extend_from_slice(b"  <data");
    push_named(out, "type", &record.kind);
    out.extend_from_slice(b">\n");
    push_checksum(out, "checksum", &record.checksum);
    if let Some(checksum) = &record.open_checksum {
        push_checksum(out, "open-checksum", checksum);
    }
    if let Some((checksum, _)) = &record.header {
        push_checksum(out, "header-checksum", checksum);
    }
    out.extend_from_slice(b"    <location");
    push_named(out, "href", &record.location_href);
    if let Some(base) = &record.location_base {
        out.extend_from_slice(b" xml:base=\"");
        push_attribute(out, base);
        out.push(b'"');
    }
    out.extend_from_slice(b"/>\n");
    push_number_element(out, "timestamp", record.timestamp);
    let header_size = record.header.as_ref().map(|(_, size)| *size);
    let version = record.database_version.map(u64::from);
    for (name, number) in [
        ("size", record.size),
        ("open-size", record.open_size),
        ("header-size", header_size),
        ("database_version", version),
    ] {
        if let Some(number) = number {
            push_number_element(out, name, number);
        }
    }
    out.extend_from_slice(b"  </data>\n");
}

fn push_checksum(out: &mut Vec<u8>, name: &str, checksum: &Checksum) {
    out.extend_from_slice(b"    <");
    out.extend_from_slice(name.as_bytes());
    push_named(out, "type", checksum.kind().name());
    out.push(b'>');
    out.extend_from_slice(checksum.hex().as_bytes());
    out.extend_from_slice(b"</");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b">\n");
}

fn push_number_element(out: &mut Vec<u8>, name: &str, number: u64) {
    let mut digits = Vec::with_capacity(20);
    push_number(&mut digits, number);
    push_element(out, "    ", name, std::str::from_utf8(&digits).unwrap_or_default());
}

fn push_element(out: &mut Vec<u8>, indent: &str, name: &str, text: &str) {
    out.extend_from_slice(format!("{indent}<{name}>").as_bytes());
    push_text(out, text);
    out.extend_from_slice(format!("</{name}>\n").as_bytes());
}

/// Most records of one repository.
const MAX_RECORDS: usize = 1000;

/// Reads a `repomd.xml`; unknown elements are skipped.
pub(crate) fn parse_repomd(file: &str, input: impl Read) -> Result<Repomd, RepositoryError> {
    let mut xml = XmlReader::new(file, input);
    let mut state = Parser::default();
    loop {
        let result = match xml.next()? {
            (depth, Xml::Start(element)) => state.start(depth, &element),
            (_, Xml::Text(text)) => {
                state.text.push_str(&text);
                Ok(())
            }
            (depth, Xml::End) => state.end(depth),
            (_, Xml::Nothing) => Ok(()),
            (_, Xml::Eof) => break,
        };
        result.map_err(|what| xml.invalid(what))?;
    }
    if !state.seen_root {
        return Err(xml.invalid("there is no <repomd>"));
    }
    Ok(state.repomd)
}

/// State while reading: the record and the element that are open.
#[derive(Default)]
struct Parser {
    repomd: Repomd,
    seen_root: bool,
    in_tags: bool,
    record: Option<Draft>,
    element: String,
    text: String,
    /// Attributes of the open element.
    kind: Option<String>,
    cpeid: Option<String>,
}

/// A record that is not complete yet.
#[derive(Default)]
struct Draft {
    kind: String,
    checksum: Option<Checksum>,
    open_checksum: Option<Checksum>,
    href: Option<String>,
    base: Option<String>,
    timestamp: u64,
    size: Option<u64>,
    open_size: Option<u64>,
    header_checksum: Option<Checksum>,
    header_size: Option<u64>,
    database_version: Option<u32>,
}

impl Parser {
    fn start(&mut self, depth: usize, element: &Element<'_>) -> Result<(), String> {
        self.text.clear();
        self.element.clear();
        match (depth, element.name()) {
            (1, "repomd") if !self.seen_root => self.seen_root = true,
            (1, name) => return Err(format!("<{name}> stands where <repomd> was expected")),
            (2, name @ ("revision" | "repoid" | "contenthash" | "tags")) => {
                self.element.push_str(name);
                self.in_tags = name == "tags";
                self.attributes(element)?;
            }
            (2, "data") => {
                let mut record = Draft::default();
                element.attributes(|name, value| {
                    if name == "type" {
                        record.kind = value.into_owned();
                    }
                })?;
                self.record = Some(record);
            }
            (3, name) => {
                self.element.push_str(name);
                let place = self.attributes(element)?;
                if let Some(record) = self.record.as_mut().filter(|_| name == "location") {
                    (record.href, record.base) = place;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes an element's attributes; returns those of a location.
    fn attributes(&mut self, element: &Element<'_>) -> Result<(Option<String>, Option<String>), String> {
        let (mut href, mut base) = (None, None);
        (self.kind, self.cpeid) = (None, None);
        element.attributes(|name, value| match name {
            "href" => href = Some(value.into_owned()),
            "base" => base = Some(value.into_owned()),
            "type" => self.kind = Some(value.into_owned()),
            "cpeid" => self.cpeid = Some(value.into_owned()),
            _ => {}
        })?;
        Ok((href, base))
    }

    /// The end of an element that belongs to no record.
    fn end_outside(&mut self, depth: usize) -> Result<(), String> {
        let text = self.text.trim().to_owned();
        let tags = &mut self.repomd.tags;
        match (depth, self.element.as_str()) {
            (2, "revision") => self.repomd.revision = Some(text),
            (2, "repoid") => self.repomd.repoid = Some(TypedText { kind: self.kind.take(), text }),
            (2, "contenthash") => self.repomd.contenthash = Some(TypedText { kind: self.kind.take(), text }),
            (3, "content") if self.in_tags => tags.content.push(text),
            (3, "repo") if self.in_tags => tags.repo.push(text),
            (3, "distro") if self.in_tags => tags.distro.push(DistroTag { cpeid: self.cpeid.take(), name: text }),
            _ => {}
        }
        self.in_tags &= depth > 2;
        if tags_count(&self.repomd.tags) > MAX_RECORDS {
            return Err(format!("more than {MAX_RECORDS} tags"));
        }
        Ok(())
    }

    fn end(&mut self, depth: usize) -> Result<(), String> {
        if self.record.is_none() {
            self.end_outside(depth)?;
        }
        let text = self.text.trim();
        let kind = self.kind.as_deref().unwrap_or_default();
        match (depth, self.element.as_str(), &mut self.record) {
            (2, _, record) => {
                if let Some(draft) = record.take() {
                    self.repomd.records.push(draft.complete()?);
                }
                if self.repomd.records.len() > MAX_RECORDS {
                    return Err(format!("more than {MAX_RECORDS} records"));
                }
            }
            (3, "checksum", Some(record)) => record.checksum = Some(checksum(kind, text)?),
            (3, "open-checksum", Some(record)) => record.open_checksum = Some(checksum(kind, text)?),
            (3, "timestamp", Some(record)) => record.timestamp = whole_seconds(text)?,
            (3, "size", Some(record)) => record.size = Some(number(text)?),
            (3, "open-size", Some(record)) => record.open_size = Some(number(text)?),
            (3, "header-checksum", Some(record)) => record.header_checksum = Some(checksum(kind, text)?),
            (3, "header-size", Some(record)) => record.header_size = Some(number(text)?),
            (3, "database_version", Some(record)) => {
                let version = text.parse().map_err(|_| format!("{text:?} is not a database version"))?;
                record.database_version = Some(version);
            }
            _ => {}
        }
        self.element.clear();
        self.text.clear();
        Ok(())
    }
}

impl Draft {
    fn complete(self) -> Result<RepomdRecord, String> {
        let kind = self.kind;
        let href = self.href.ok_or_else(|| format!("the record {kind:?} has no location"))?;
        location::check(&href)
            .map_err(|error| format!("the record {kind:?} has the location {href:?}, which {error}"))?;
        if let Some(base) = &self.base {
            location::check_base(base)
                .map_err(|error| format!("the record {kind:?} has the base {base:?}, which {error}"))?;
        }
        Ok(RepomdRecord {
            checksum: self.checksum.ok_or_else(|| format!("the record {kind:?} has no checksum"))?,
            open_checksum: self.open_checksum,
            location_href: href,
            location_base: self.base,
            timestamp: self.timestamp,
            size: self.size,
            open_size: self.open_size,
            header: self.header_checksum.zip(self.header_size),
            database_version: self.database_version,
            kind,
        })
    }
}

fn tags_count(tags: &Tags) -> usize {
    tags.content.len() + tags.repo.len() + tags.distro.len()
}

fn checksum(kind: &str, text: &str) -> Result<Checksum, String> {
    let kind = kind.parse().map_err(|error: crate::ChecksumError| error.to_string())?;
    Checksum::new(kind, text).map_err(|error| error.to_string())
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text:?} is not a number"))
}

/// Old repositories have fractions of a second.
fn whole_seconds(text: &str) -> Result<u64, String> {
    number(text.split('.').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::ChecksumType;

    fn sample() -> Repomd {
        let record = |kind: &str| RepomdRecord {
            kind: kind.into(),
            checksum: ChecksumType::Sha256.hash(b"a"),
            open_checksum: Some(ChecksumType::Sha512.hash(b"b")),
            location_href: format!("repodata/{kind}.xml.zst"),
            location_base: None,
            timestamp: 5,
            size: Some(6),
            open_size: Some(7),
            header: None,
            database_version: None,
        };
        let kinds = ["updateinfo", "other", "group", "primary", "filelists"];
        Repomd { revision: Some("a & b".into()), records: kinds.map(record).to_vec(), ..Repomd::default() }
    }

    #[test]
    fn sorted_as_createrepo_c_and_read_back() {
        let mut repomd = sample();
        repomd.sort();
        let kinds: Vec<&str> = repomd.records.iter().map(|record| record.kind.as_str()).collect();
        assert_eq!(kinds, ["primary", "filelists", "other", "group", "updateinfo"]);
        assert_eq!(parse_repomd("repomd.xml", repomd.to_xml().as_slice()).unwrap(), repomd);
    }

    #[test]
    fn everything_that_tools_write_comes_back() {
        let mut repomd = sample();
        repomd.repoid = Some(TypedText { kind: Some("sha256".into()), text: "1".into() });
        repomd.contenthash = Some(TypedText { kind: None, text: "x<y".into() });
        repomd.tags = Tags {
            content: vec!["c1".into(), "c2".into()],
            repo: vec!["r".into()],
            distro: vec![
                DistroTag { cpeid: Some("cpe:/o:a:b".into()), name: "A & B".into() },
                DistroTag { cpeid: None, name: "C".into() },
            ],
        };
        repomd.records[0].header = Some((ChecksumType::Sha1.hash(b"h"), 12));
        repomd.records[1].database_version = Some(10);
        repomd.records[2].location_base = Some("http://x/".into());
        let xml = String::from_utf8(repomd.to_xml()).unwrap();
        assert_eq!(parse_repomd("repomd.xml", xml.as_bytes()).unwrap(), repomd);
        let head =
            "  <contenthash>x&lt;y</contenthash>\n  <tags>\n    <content>c1</content>\n    <content>c2</content>\n";
        assert!(xml.contains(head), "{xml}");
    }

    #[test]
    fn bad_files_name_file_place_and_reason() {
        let good = String::from_utf8(sample().to_xml()).unwrap();
        for (from, to, expected) in [
            ("repodata/other", "../other", "leaves the repository"),
            ("repodata/other", "/etc/other", "absolute"),
            ("sha256", "crc32", "unknown checksum type"),
            ("<size>6", "<size>-6", "not a number"),
            ("<revision>", "<!DOCTYPE x><revision>", "document type"),
            ("</repomd>", "", "ends inside"),
            ("repomd", "other", "<otherx>"),
        ] {
            let to = if from == "repomd" { "otherx" } else { to };
            let error = parse_repomd("repomd.xml", good.replace(from, to).as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("repomd.xml at byte ") && error.contains(expected), "{error}");
        }
        assert!(parse_repomd("repomd.xml", &b""[..]).is_err());
    }
}
