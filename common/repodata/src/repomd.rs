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
}

/// A whole `repomd.xml`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repomd {
    /// Revision; absent in some repositories.
    pub revision: Option<String>,
    /// Records, in the order of the file.
    pub records: Vec<RepomdRecord>,
}

impl Repomd {
    /// Returns the first record of a type.
    pub fn record(&self, kind: &str) -> Option<&RepomdRecord> {
        self.records.iter().find(|record| record.kind == kind)
    }

    /// Puts records into the order of createrepo_c 1.2.5 (`repomd.c`): primary, filelists, other, then by type and
    /// location.
    pub fn sort(&mut self) {
        let rank = |kind: &str| ["primary", "filelists", "other"].iter().position(|known| *known == kind).unwrap_or(3);
        self.records.sort_by(|a, b| {
            (rank(&a.kind), &a.kind, &a.location_href).cmp(&(rank(&b.kind), &b.kind, &b.location_href))
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
        for record in &self.records {
            push_record(&mut out, record);
        }
        out.extend_from_slice(b"</repomd>\n");
        out
    }
}

fn push_record(out: &mut Vec<u8>, record: &RepomdRecord) {
    out.extend_from_slice(b"  <data");
    push_named(out, "type", &record.kind);
    out.extend_from_slice(b">\n");
    push_checksum(out, "checksum", &record.checksum);
    if let Some(checksum) = &record.open_checksum {
        push_checksum(out, "open-checksum", checksum);
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
    for (name, size) in [("size", record.size), ("open-size", record.open_size)] {
        if let Some(size) = size {
            push_number_element(out, name, size);
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
    record: Option<Draft>,
    element: String,
    text: String,
    checksum_type: String,
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
}

impl Parser {
    fn start(&mut self, depth: usize, element: &Element<'_>) -> Result<(), String> {
        self.text.clear();
        self.element.clear();
        match (depth, element.name()) {
            (1, "repomd") if !self.seen_root => self.seen_root = true,
            (1, name) => return Err(format!("<{name}> stands where <repomd> was expected")),
            (2, "revision") => self.element.push_str("revision"),
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
                self.checksum_type.clear();
                let (mut href, mut base, mut kind) = (None, None, None);
                element.attributes(|name, value| match name {
                    "href" => href = Some(value.into_owned()),
                    "base" => base = Some(value.into_owned()),
                    "type" => kind = Some(value.into_owned()),
                    _ => {}
                })?;
                self.checksum_type = kind.unwrap_or_default();
                if let Some(record) = self.record.as_mut().filter(|_| name == "location") {
                    (record.href, record.base) = (href, base);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, depth: usize) -> Result<(), String> {
        let text = self.text.trim();
        match (depth, self.element.as_str(), &mut self.record) {
            (2, "revision", None) => self.repomd.revision = Some(text.to_owned()),
            (2, _, record) => {
                if let Some(draft) = record.take() {
                    self.repomd.records.push(draft.complete()?);
                }
                if self.repomd.records.len() > MAX_RECORDS {
                    return Err(format!("more than {MAX_RECORDS} records"));
                }
            }
            (3, "checksum", Some(record)) => record.checksum = Some(checksum(&self.checksum_type, text)?),
            (3, "open-checksum", Some(record)) => record.open_checksum = Some(checksum(&self.checksum_type, text)?),
            (3, "timestamp", Some(record)) => record.timestamp = whole_seconds(text)?,
            (3, "size", Some(record)) => record.size = Some(number(text)?),
            (3, "open-size", Some(record)) => record.open_size = Some(number(text)?),
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
        if self.base.is_some() {
            return Err(format!("the record {kind:?} has a base, which is not supported"));
        }
        Ok(RepomdRecord {
            checksum: self.checksum.ok_or_else(|| format!("the record {kind:?} has no checksum"))?,
            open_checksum: self.open_checksum,
            location_href: href,
            location_base: None,
            timestamp: self.timestamp,
            size: self.size,
            open_size: self.open_size,
            kind,
        })
    }
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
        };
        let kinds = ["updateinfo", "other", "group", "primary", "filelists"];
        Repomd { revision: Some("a & b".into()), records: kinds.map(record).to_vec() }
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
