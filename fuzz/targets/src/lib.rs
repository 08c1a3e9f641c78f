//! Fuzz targets: one function per parser of hostile input, from bytes to "no panic, no hang, no unbounded memory".
//!
//! Each function is called by a libFuzzer program in `fuzz/` (nightly, cargo-fuzz), by a test with a fixed number of
//! mutations of the committed corpus (`tests/corpus.rs`, in CI), and by the runner of this crate for as long as one
//! likes (`cargo run --release -p tutti-fuzz-targets -- --seconds 3600`). See `docs/testing.md`.
//!
//! A target returns the *signature* of what came out: equal for inputs that went the same way, as far as messages tell.
//! The mutator keeps inputs with a new signature, which stands in for coverage.

mod formats;
mod mutate;
mod packages;
mod repositories;
mod sealed;
pub mod seeds;
mod stored;

use std::path::PathBuf;

pub use formats::{comps, conf, dependency, variants};
pub use mutate::Mutator;
pub use packages::rpm_header;
pub use repositories::{compressed, filelists, other, primary, repomd};
pub use sealed::{checkpoints, sealed_records};
pub use stored::{job_messages, protocol, records};

/// Equal for inputs that went the same way.
pub type Signature = u64;

/// Largest input that mutations make, in bytes.
pub const MAX_INPUT: usize = 64 * 1024;

/// One target by name.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Name of the function, of the directory of its corpus, and of the libFuzzer program.
    pub name: &'static str,
    /// The function.
    pub run: fn(&[u8]) -> Signature,
    /// Words that the format knows.
    pub words: &'static [&'static str],
}

const XML: &[&str] = &[
    "<!DOCTYPE a [<!ENTITY e 'x'>]>",
    "&e;",
    "&amp;",
    "&#10;",
    "&#x110000;",
    "<![CDATA[",
    "]]>",
    "<!--",
    "-->",
    "<?xml ",
    "/>",
    "</",
    "<package type='rpm'>",
    "</package>",
    "<data type='primary'>",
    "href='../x'",
    "xml:base='http://x/'",
    "type=",
    "<checksum type='sha256' pkgid='YES'>",
    "<file type='dir'>",
    "<rpm:entry name='a' flags='EQ' epoch='0' ver='1'/>",
    "<group>",
    "<packagereq type='conditional' requires='x'>",
    "<variant id='V' name='V' type='addon'>",
    "<ref id='V'/>",
    "<variants>",
    "18446744073709551616",
    "-1",
];
const CONF: &[&str] = &[
    "from x import *\n",
    "global a\n",
    "'%s' % ",
    "%(a)s",
    "{'*': [",
    "('^.*$', {",
    "True",
    "None",
    "\\u0000",
    "9223372036854775808",
    "1e999",
    "\"\"\"",
    "\n#",
    "variants_file = ",
    "comps_file = {'scm': 'git'}",
    "additional_packages = ",
    "a = [a, a]\n",
];
const DEPENDENCY: &[&str] = &[
    "(",
    ")",
    " and ",
    " or ",
    " if ",
    " else ",
    " unless ",
    " with ",
    " without ",
    " >= ",
    " = ",
    "0:1-1",
    "~",
    "^",
    "config(a)",
    "/usr/bin/x",
    "rpmlib(",
];
const NONE: &[&str] = &[];

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "rpm_header", run: rpm_header, words: NONE },
    Target { name: "primary", run: primary, words: XML },
    Target { name: "filelists", run: filelists, words: XML },
    Target { name: "other", run: other, words: XML },
    Target { name: "repomd", run: repomd, words: XML },
    Target { name: "compressed", run: compressed, words: NONE },
    Target { name: "comps", run: comps, words: XML },
    Target { name: "variants", run: variants, words: XML },
    Target { name: "conf", run: conf, words: CONF },
    Target { name: "dependency", run: dependency, words: DEPENDENCY },
    Target { name: "sealed_records", run: sealed_records, words: NONE },
    Target { name: "checkpoints", run: checkpoints, words: NONE },
    Target { name: "records", run: records, words: NONE },
    Target { name: "protocol", run: protocol, words: NONE },
    Target { name: "job_messages", run: job_messages, words: NONE },
];

/// The target of that name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// The committed corpora, a directory for each target.
pub fn corpus_directory() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../corpus"))
}

/// The committed inputs of a target by file name, with the seeds of [`seeds`].
///
/// # Errors
/// When a file cannot be read.
pub fn corpus(target: &Target) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let directory = corpus_directory().join(target.name);
    let mut inputs = Vec::new();
    if directory.is_dir() {
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            inputs.push((entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path())?));
        }
    }
    inputs.sort();
    Ok(inputs)
}

/// Signature of an answer: its text without digits and quoted parts, which the input decides.
pub(crate) fn signature<T, E: std::error::Error>(result: &Result<T, E>) -> Signature {
    match result {
        Ok(_) => 1,
        Err(error) => {
            let mut text = error.to_string();
            let mut cause = error.source();
            while let Some(error) = cause {
                text.push_str(&error.to_string());
                cause = error.source();
            }
            of_text(&text)
        }
    }
}

/// FNV-1a over the words of a message, its head alone.
pub(crate) fn of_text(text: &str) -> Signature {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut until = None;
    for byte in text.bytes().take(160) {
        match (until, byte) {
            (Some(end), _) => until = Some(end).filter(|end| *end != byte),
            (None, b'"' | b'\'' | b'`') => until = Some(byte),
            (None, b'<') => until = Some(b'>'),
            (None, b'&') => until = Some(b';'),
            (None, b'a'..=b'z' | b'A'..=b'Z' | b' ') => hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3),
            _ => {}
        }
    }
    hash
}

/// One signature of several.
pub(crate) fn combined(parts: &[Signature]) -> Signature {
    parts.iter().fold(17, |sum: u64, part| sum.rotate_left(7) ^ part.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}
