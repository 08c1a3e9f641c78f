//! Repositories of RPM files: made of a directory, merged, modified in place.
//!
//! - [`create`]: `repodata/` of a directory of packages, with all that createrepo_c can do and is used for;
//! - [`merge`]: several repositories in one;
//! - [`modify`]: metadata files added and removed;
//! - [`rpm_file`]: one pass over one RPM file;
//! - [`metadata_file`]: one file of `repodata/` and its record.
//!
//! Packages become records (`tutti-repodata`) in a file beside the metadata, so that a repository of any size needs
//! little memory. What is made comes to its place by one rename, or not at all. docs/createrepo-tools.md has the facts
//! about createrepo_c 1.2.5 that this follows, docs/createrepo-differences.md where it does not.
//!
//! This crate reads no command line and prints nothing: callers give [`Options`] and take [`Event`]s.

mod additional;
mod cache;
mod create;
mod earlier;
mod error;
mod events;
mod glob;
mod lock;
pub mod merge;
pub mod metadata_file;
pub mod modify;
mod old;
pub mod options;
mod packages;
pub mod rpm_file;
mod stage;
mod stat;
mod tasks;
mod unchanged;

pub use create::{Summary, create};
pub use error::{Broken, Error, PackageError};
pub use events::{Control, Double, Event, Observer, Silent};
pub use options::Options;
pub use packages::Work;
pub use tutti_files::chain;
