//! Compose metadata in the formats of productmd 1.x, header version 1.2: composeinfo.json, rpms.json, images.json,
//! modules.json.
//!
//! Each file is a typed value that is checked where it is filled, and written in the bytes that productmd itself would
//! write (indent 4, sorted keys, ASCII only, no newline at the end), so that a file can be loaded and stored again by
//! productmd without a change.

mod composeinfo;
mod images;
mod json;
mod modules;
mod rpms;
#[cfg(test)]
mod tests;

use std::io;

use serde::Serialize;

use crate::compose_id::{ComposeId, ComposeIdentity, Label};

pub use composeinfo::compose_info;
pub use images::{Image, Images};
pub use modules::{Module, Modules};
pub use rpms::{Category, Rpm, Rpms, nevra_text};

pub(crate) use json::write_json;

/// Architectures that productmd knows (productmd 1.x `common.RPM_ARCHES`, without `src` and `nosrc`): others are refused
/// by its readers.
pub const ARCHES: &[&str] = &[
    "aarch64",
    "alpha",
    "alphaev4",
    "alphaev45",
    "alphaev5",
    "alphaev56",
    "alphaev6",
    "alphaev67",
    "alphaev68",
    "alphaev7",
    "alphapca56",
    "amd64",
    "arm64",
    "armhfp",
    "armv5tejl",
    "armv5tel",
    "armv5tl",
    "armv6hl",
    "armv6l",
    "armv7hl",
    "armv7hnl",
    "armv7l",
    "armv8hl",
    "armv8l",
    "athlon",
    "geode",
    "i386",
    "i486",
    "i586",
    "i686",
    "ia32e",
    "ia64",
    "loongarch64",
    "mips",
    "mips64",
    "mips64el",
    "mipsel",
    "noarch",
    "ppc",
    "ppc64",
    "ppc64iseries",
    "ppc64le",
    "ppc64p7",
    "ppc64pseries",
    "riscv128",
    "riscv32",
    "riscv64",
    "s390",
    "s390x",
    "sh3",
    "sh4",
    "sh4a",
    "sparc",
    "sparc64",
    "sparc64v",
    "sparcv8",
    "sparcv9",
    "sparcv9v",
    "x86_64",
];

/// What productmd would refuse to load.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {what} '{}' {reason}", value.escape_debug())]
pub struct Error {
    /// File that the value is meant for.
    pub file: &'static str,
    /// What the value is.
    pub what: &'static str,
    /// The refused value.
    pub value: String,
    /// Why it is refused.
    pub reason: &'static str,
}

impl Error {
    pub(crate) fn new(file: &'static str, what: &'static str, value: impl Into<String>, reason: &'static str) -> Self {
        Self { file, what, value: value.into(), reason }
    }
}

/// The `compose` part that every file has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compose {
    /// Id.
    pub id: ComposeId,
    /// Date, type, respin.
    pub identity: ComposeIdentity,
    /// Label, if it has one.
    pub label: Option<Label>,
}

/// [`Compose`] as productmd writes it; `final` only beside a label.
#[derive(Serialize)]
pub(crate) struct ComposeSection<'a> {
    date: &'a str,
    #[serde(rename = "final", skip_serializing_if = "Option::is_none")]
    is_final: Option<bool>,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    respin: u32,
    r#type: &'static str,
}

impl Compose {
    pub(crate) fn section(&self) -> ComposeSection<'_> {
        ComposeSection {
            date: self.identity.date.as_str(),
            is_final: self.label.as_ref().map(Label::is_supported),
            id: self.id.as_str(),
            label: self.label.as_ref().map(Label::to_string),
            respin: self.identity.respin,
            r#type: self.identity.kind.as_str(),
        }
    }
}

#[derive(Serialize)]
struct Header {
    r#type: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
struct Document<P> {
    header: Header,
    payload: P,
}

/// Writes header and payload of one file.
pub(crate) fn write_document<P: Serialize>(out: impl io::Write, kind: &'static str, payload: P) -> io::Result<()> {
    let header = Header { r#type: kind, version: "1.2" };
    write_json(out, &Document { header, payload })
}

/// Checks that `arch` is one that binaries can be listed under.
fn check_arch(file: &'static str, arch: &str) -> Result<(), Error> {
    match arch {
        "src" | "nosrc" => {
            let reason = "holds no entries of its own: sources are listed under binary architectures";
            Err(Error::new(file, "architecture", arch, reason))
        }
        _ if ARCHES.contains(&arch) => Ok(()),
        _ => Err(Error::new(file, "architecture", arch, "is not known to productmd")),
    }
}

/// Checks that `path` stays below the directory it is relative to.
pub(crate) fn check_path(file: &'static str, path: &str) -> Result<(), Error> {
    let reason = if path.is_empty() {
        "is empty"
    } else if path.starts_with('/') {
        "is not relative"
    } else if path.len() > 4096 {
        "is too long"
    } else if path.chars().any(char::is_control) {
        "has a control character"
    } else if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        "has an empty part, '.' or '..'"
    } else {
        return Ok(());
    };
    Err(Error::new(file, "path", path, reason))
}
