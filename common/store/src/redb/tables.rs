//! The tables of the file and the encoding of their values.
//!
//! Everything is little-endian and decoded explicitly. The format version stands in `meta`; a file of a newer format is
//! refused, not guessed at.

use ::redb::TableDefinition;

use crate::types::{KeyValue, LeaseId, Revision};

/// The version of all that is described here.
pub(super) const FORMAT: i64 = 1;

/// Named numbers: see the keys below.
pub(super) const META: TableDefinition<'static, &str, i64> = TableDefinition::new("meta");
/// Key of [`META`]: the format version.
pub(super) const META_FORMAT: &str = "format";
/// Key of [`META`]: the current revision.
pub(super) const META_REVISION: &str = "revision";
/// Key of [`META`]: the compacted revision.
pub(super) const META_COMPACTED: &str = "compacted";
/// Key of [`META`]: the lease id granted last.
pub(super) const META_LAST_LEASE: &str = "last-lease";
/// Key of [`META`]: how many commits there were, by which a failed one is looked up. Absent means 0: files that were
/// written before it existed are of the same format.
pub(super) const META_COMMITS: &str = "commits";

/// The live keys.
pub(super) const CURRENT: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("current");
/// Every state of every key since compaction, by key and mod revision; the live ones too.
pub(super) const HISTORY: TableDefinition<'static, (&[u8], i64), &[u8]> = TableDefinition::new("history");
/// The keys that each revision changed, by revision and position.
pub(super) const LOG: TableDefinition<'static, (i64, u32), &[u8]> = TableDefinition::new("log");
/// The TTL in seconds of each lease.
pub(super) const LEASES: TableDefinition<'static, i64, i64> = TableDefinition::new("leases");

/// First byte of a record: the key was deleted; nothing follows.
const TOMBSTONE: u8 = 0;
/// First byte of a record: create revision, mod revision, version, lease (0: none), then the value.
const LIVE: u8 = 1;
const HEADER: usize = 1 + 4 * 8;

/// A decoded record without its key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'a> {
    pub(super) create_revision: Revision,
    pub(super) mod_revision: Revision,
    pub(super) version: i64,
    pub(super) lease: Option<LeaseId>,
    pub(super) value: &'a [u8],
}

impl Record<'_> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + self.value.len());
        bytes.push(LIVE);
        let lease = self.lease.map_or(0, |lease| lease.0);
        for number in [self.create_revision.0, self.mod_revision.0, self.version, lease] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(self.value);
        bytes
    }

    pub(super) fn to_kv(self, key: &[u8]) -> KeyValue {
        KeyValue {
            key: key.to_vec(),
            value: self.value.to_vec(),
            create_revision: self.create_revision,
            mod_revision: self.mod_revision,
            version: self.version,
            lease: self.lease,
        }
    }
}

/// The record of a deleted key.
pub(super) const TOMBSTONE_RECORD: &[u8] = &[TOMBSTONE];

/// Decodes a record: `Ok(None)` is a tombstone.
pub(super) fn decode(bytes: &[u8]) -> Result<Option<Record<'_>>, String> {
    match bytes.split_first() {
        Some((&TOMBSTONE, [])) => Ok(None),
        Some((&LIVE, rest)) => {
            let (numbers, value) = rest.split_at_checked(HEADER - 1).ok_or("a record is too short")?;
            let mut fields = numbers.chunks_exact(8).map(|bytes| {
                let mut number = [0; 8];
                number.copy_from_slice(bytes);
                i64::from_le_bytes(number)
            });
            let mut field = || fields.next().ok_or("a record is too short");
            Ok(Some(Record {
                create_revision: Revision(field()?),
                mod_revision: Revision(field()?),
                version: field()?,
                lease: Some(field()?).filter(|lease| *lease != 0).map(LeaseId),
                value,
            }))
        }
        Some((kind, _)) => Err(format!("a record of unknown kind {kind}")),
        None => Err("an empty record".to_owned()),
    }
}
