//! Compose configuration: Pungi's `.conf` dialect or JSON in, typed [`Settings`] out.
//!
//! [`load`] reads a file with its imports ([`load_document`]), checks every option against the table of known options ([`OPTIONS`]) and the rules
//! between them, and builds the settings. Every value keeps the place it was written at, so that errors name file, line and option. Nothing is
//! evaluated, and all input is bounded in size, nesting and number of files.

mod build;
mod check;
mod createrepo;
mod error;
mod format;
mod json;
mod load;
mod mapping;
mod number;
mod parse;
mod pattern;
mod references;
mod rules;
mod schema;
mod settings;
mod table;
#[cfg(test)]
mod tests;
mod token;
mod value;

pub use check::{Loaded, Report, check, check_with, dump, load, load_with};
pub use createrepo::{Compression, CreaterepoExtra};
pub use error::{ConfigError, OptionError, SyntaxError, Warning};
pub use load::{Document, load_document, parse_conf, parse_definition};
pub use mapping::{ArchMap, VariantArchMap, VariantMap};
pub use pattern::{Pattern, PatternError};
pub use references::{dangling, missing_files};
pub use schema::{Field, OptionSpec, Shape, Status};
pub use settings::{
    ChecksumType, Createrepo, ExtraFile, FileSource, Gather, GatherMethod, GatherMethods, GatherSource, GreedyMethod,
    LinkType, MediaChecksums, MultilibMethod, PackageRepo, Pkgset, Release, RepoLocation, Scm, ScmKind, Settings,
    Strictness,
};
pub use table::{OPTIONS, PHASES, nearest, option};
pub use value::{Dict, Kind, Location, Value};
