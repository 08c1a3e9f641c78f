//! `repomd.xml`: its model and how it is written. Reading is in [`crate::reader`].

use crate::checksum::Checksum;
use crate::escape::{push_attribute, push_named, push_number, push_text};

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
