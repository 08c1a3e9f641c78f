//! Package records, and repository metadata written and read.
//!
//! - [`fragment`]: ready-made XML of one package with holes for what depends on the repository;
//! - [`record`], [`records`]: those fragments and the package's facts in one sealed file, made once per compose;
//! - [`checkpoint`]: what takes records over from a writer that was killed;
//! - [`pack`]: sealed files of records that composes share;
//! - [`frames`]: metadata files cut into frames, so that a change compresses little again;
//! - [`writer`]: `repodata/` from a manifest of entries and a source of fragments (createrepo), with SQLite databases on
//!   request;
//! - [`previous`]: what an earlier run made, to take over what did not change;
//! - [`reader`]: repositories that others made, as hostile input.
//!
//! This crate does not walk directories, read RPM files or use the network. Formats follow createrepo_c 1.2.5 unless
//! a comment says otherwise.

pub mod checkpoint;
pub mod checksum;
mod codec;
pub mod compression;
mod escape;
pub mod fragment;
pub mod frames;
pub mod hash_order;
pub mod location;
mod ordered;
pub mod pack;
mod parse;
pub mod previous;
pub mod reader;
pub mod record;
pub mod records;
mod records_reader;
pub mod repomd;
mod requires;
#[cfg(test)]
mod round_trip;
mod sqlite;
pub mod writer;
mod xml;

pub use checkpoint::{Checkpoints, FileLocator, KnownFile, LocatorId, Prefix, Taken};
pub use checksum::{Checksum, ChecksumError, ChecksumType, Hasher};
pub use compression::Compression;
pub use fragment::{Fill, Fragment, FragmentError, FragmentOptions, Fragments, MetadataFile};
pub use frames::listing::{Listing, ListingHasher};
pub use frames::{Layout, StoredFrame};
pub use previous::{Previous, PreviousError, PreviousFiles, PreviousPackage};
pub use reader::{Fetch, Packages, ReadOptions, RepoPackage, Repository, RepositoryError};
pub use record::{FileIdentity, Record};
pub use records::{RecordId, RecordsError, RecordsWriter, SealedRecords};
pub use records_reader::{FragmentSource, RecordsReader};
pub use repomd::{DistroTag, Repomd, RepomdRecord, Tags, TypedText};
pub use writer::{
    DatabaseOptions, Entry, EntryRules, Extra, ExtraContent, FileWork, GroupStyle, WriterError, WriterOptions,
    WrittenFile, WrittenRepository, write_repository,
};
