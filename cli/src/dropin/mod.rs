//! The names `createrepo_c`, `modifyrepo_c` and `mergerepo_c`: command lines, messages and exit statuses of those tools
//! (1.2.5), for programs that call them.
//!
//! A link of one of these names to this program, or `tutti NAME …`, is that tool. Options that are not supported are
//! refused by name.

mod createrepo_c;
mod goption;
mod report;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// What these tools say of their version: kojid reads the three numbers.
const VERSION: &str = "Version: 1.2.5 (Features: LegacyWeakdeps )";

/// The command line of one tool, and how it runs.
type Tool = fn(Vec<String>) -> u8;

fn tool(name: &str) -> Option<Tool> {
    match name {
        "createrepo_c" => Some(createrepo_c::main),
        _ => None,
    }
}

/// Runs the tool that this program is called by, if it is one.
pub(crate) fn main_if_called() -> Option<ExitCode> {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    let called = Path::new(arguments.first()?).file_name()?.to_str()?.to_owned();
    let (tool, skip) = match tool(&called) {
        Some(tool) => (tool, 1),
        None => (tool(arguments.get(1)?.to_str()?)?, 2),
    };
    arguments.drain(..skip);
    let texts: Result<Vec<String>, OsString> = arguments.into_iter().map(OsString::into_string).collect();
    Some(match texts {
        Ok(texts) => ExitCode::from(tool(texts)),
        Err(text) => {
            eprintln!("The argument {} is not UTF-8", text.display());
            ExitCode::FAILURE
        }
    })
}
