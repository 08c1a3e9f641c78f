//! The names `createrepo_c`, `modifyrepo_c` and `mergerepo_c`: command lines, messages and exit statuses of those tools
//! (1.2.5), for programs that call them.
//!
//! A link of one of these names to this program, or `tutti NAME …`, is that tool. Options that are not supported are
//! refused by name.

mod createrepo_c;
mod goption;
mod keyfile;
mod mergerepo_c;
mod modifyrepo_c;
mod report;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use tutti_repodata::{ChecksumType, Compression};

/// What these tools say of their version: kojid reads the three numbers.
const VERSION: &str = "Version: 1.2.5 (Features: LegacyWeakdeps )";

/// Checksum types that the tools take; without the old ones, which 1.2.5 refuses, too.
fn checksum(text: Option<&str>) -> Result<Option<ChecksumType>, String> {
    let Some(text) = text else { return Ok(None) };
    match text.parse() {
        Ok(ChecksumType::Md5 | ChecksumType::Sha | ChecksumType::Sha1) | Err(_) => {
            Err(format!("Unknown/Unsupported checksum type \"{text}\""))
        }
        Ok(kind) => Ok(Some(kind)),
    }
}

/// Compressions by the names that the tools take.
fn compression(text: &str) -> Result<Compression, String> {
    match text.to_ascii_lowercase().as_str() {
        "gz" => Ok(Compression::Gzip),
        "bz2" => Ok(Compression::Bzip2),
        "xz" => Ok(Compression::Xz),
        "zstd" => Ok(Compression::Zstd),
        _ => Err(format!("Unknown/Unsupported compression type \"{text}\"")),
    }
}

/// The command line of one tool, and how it runs.
type Tool = fn(Vec<String>) -> u8;

fn tool(name: &str) -> Option<Tool> {
    match name {
        "createrepo_c" => Some(createrepo_c::main),
        "mergerepo_c" => Some(mergerepo_c::main),
        "modifyrepo_c" => Some(modifyrepo_c::main),
        _ => None,
    }
}

/// The tool of a link to this program: distributions have links without the `_c`, too.
fn linked(name: &str) -> Option<Tool> {
    tool(name).or_else(|| tool(&format!("{name}_c")))
}

/// Runs the tool that this program is called by, if it is one.
pub(crate) fn main_if_called() -> Option<ExitCode> {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    let called = Path::new(arguments.first()?).file_name()?.to_str()?.to_owned();
    let (tool, skip) = match linked(&called) {
        Some(tool) => (tool, 1),
        None => (tool(arguments.get(1)?.to_str()?)?, 2),
    };
    arguments.drain(..skip);
    let texts: Result<Vec<String>, OsString> = arguments.into_iter().map(OsString::into_string).collect();
    Some(match texts {
        Ok(texts) => ExitCode::from(tool(texts)),
        Err(text) => {
            errln!("The argument {} is not UTF-8", text.display());
            ExitCode::FAILURE
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_tools_with_and_without_their_suffix_and_tutti_createrepo_is_none_of_them() {
        for name in ["createrepo_c", "mergerepo_c", "modifyrepo_c", "createrepo", "mergerepo", "modifyrepo"] {
            assert!(linked(name).is_some(), "{name}");
        }
        assert!(linked("tutti").is_none() && tool("createrepo").is_none());
    }

    #[test]
    fn names_of_compressions_may_be_in_capitals() {
        assert_eq!(compression("ZSTD"), compression("zstd"));
        assert!(compression("LZ").unwrap_err().contains("\"LZ\""));
    }
}
