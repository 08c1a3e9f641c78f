//! Repository metadata.

use std::io::{Cursor, Error, ErrorKind};

use tutti_repodata::{ChecksumType, ReadOptions, Repomd, RepomdRecord, Repository, RepositoryError, location};

use crate::{Signature, combined, signature};

fn record(kind: &str, bytes: &[u8]) -> RepomdRecord {
    RepomdRecord {
        kind: kind.to_owned(),
        checksum: ChecksumType::Sha256.hash(bytes),
        open_checksum: None,
        location_href: format!("repodata/{kind}.xml"),
        location_base: None,
        timestamp: 0,
        size: Some(bytes.len() as u64),
        open_size: None,
        header: None,
        database_version: None,
    }
}

/// A repository of which one list is `data`, and fits its `repomd.xml`.
fn repository(kind: &'static str, data: &[u8]) -> Result<Repository, RepositoryError> {
    let lists = [("primary", "metadata"), ("filelists", "filelists"), ("other", "otherdata")].map(|(name, root)| {
        let bytes = if name == kind { data.to_vec() } else { format!("<{root}/>").into_bytes() };
        (name, bytes)
    });
    let records = lists.iter().map(|(name, bytes)| record(name, bytes)).collect();
    let repomd = Repomd { records, ..Repomd::default() }.to_xml();
    Repository::load(Box::new(move |href| {
        if href == "repodata/repomd.xml" {
            return Ok(Box::new(Cursor::new(repomd.clone())));
        }
        let found = lists.iter().find(|(name, _)| href == format!("repodata/{name}.xml"));
        let (_, bytes) = found.ok_or_else(|| Error::from(ErrorKind::NotFound))?;
        Ok(Box::new(Cursor::new(bytes.clone())))
    }))
}

fn list(kind: &'static str, data: &[u8]) -> Signature {
    let mut parts = Vec::new();
    for lists in [true, false] {
        let options = ReadOptions { filelists: lists, other: lists, ..ReadOptions::default() };
        let read = || -> Result<u64, RepositoryError> {
            let repository = repository(kind, data)?;
            let mut count = 0;
            for package in repository.packages(options)? {
                let package = package?;
                assert!(location::check(&package.location_href).is_ok(), "{}", package.location_href);
                count += 1;
            }
            Ok(count)
        };
        let result = read();
        parts.push(signature(&result) ^ result.unwrap_or_default().min(3));
    }
    combined(&parts)
}

/// `primary.xml`, compressed or not.
pub fn primary(data: &[u8]) -> Signature {
    list("primary", data)
}

/// `filelists.xml`, compressed or not.
pub fn filelists(data: &[u8]) -> Signature {
    list("filelists", data)
}

/// `other.xml`, compressed or not.
pub fn other(data: &[u8]) -> Signature {
    list("other", data)
}

/// `repomd.xml`; what is read is written and read again.
pub fn repomd(data: &[u8]) -> Signature {
    let load = |data: Vec<u8>| Repository::load(Box::new(move |_| Ok(Box::new(Cursor::new(data.clone())))));
    let first = load(data.to_vec());
    if let Ok(repository) = &first {
        for record in &repository.repomd().records {
            let _ = repository.read(record, 1 << 20);
        }
        let again = load(repository.repomd().to_xml());
        assert!(again.is_ok_and(|again| again.repomd().records == repository.repomd().records), "round trip");
    }
    signature(&first)
}

/// Compressed streams, read whole.
pub fn compressed(data: &[u8]) -> Signature {
    let read = repository("primary", data).and_then(|repository| {
        let record = record("primary", data);
        repository.read(&record, 1 << 20)
    });
    if let Ok(bytes) = &read {
        assert!(bytes.len() <= 1 << 20);
    }
    signature(&read)
}
