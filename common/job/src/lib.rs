//! Jobs as closed values: specs, manifests, digests, fences and logical paths.
//!
//! The words that planner, controller and worker share. Nothing here does I/O, but for hashing what a reader gives
//! and mapping logical paths to this host's.
//!
//! Encodings are canonical: a value has one encoding, so the digest of the bytes names the value. Messages are
//! protobuf (fields in number order, no maps); parameters are JSON of plain structs with sorted maps.

mod digest;
mod fence;
mod manifest;
mod name;
pub mod params;
mod path;
mod scan;
mod spec;

pub use digest::{Digest, DigestError, Hasher};
pub use fence::{Fence, FenceError};
pub use manifest::{Entry, EntryKind, Manifest, ManifestError, PackageEntry, PackageList};
pub use name::{JobKind, JobName, JobNameError};
pub use path::{LogicalPath, PathError, Root, Volumes};
pub use spec::{Input, JobSpec, OutputKind, OutputSpec, PublishMode, Resources, SpecError};
