//! Standard output, which may be closed before all is written (`tutti show ID | head`), and standard error, which may be a
//! pipe that nobody reads any more, or a file on a full disk.

use std::{fmt, io, io::Write as _};

use anyhow::{Context as _, Result};

/// Exit status when standard output was closed: that of a program which ended by SIGPIPE.
pub(crate) const CLOSED: u8 = 141;

/// Writes to standard output.
///
/// # Errors
/// When it is closed ([`is_closed`]), or cannot be written.
pub(crate) fn write(text: fmt::Arguments<'_>) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_fmt(text).and_then(|()| out.flush()).context("cannot write to standard output")
}

/// Whether an error says that nobody reads standard output any more.
pub(crate) fn is_closed(error: &anyhow::Error) -> bool {
    let kind = error.chain().find_map(|cause| match cause.downcast_ref::<serde_json::Error>() {
        Some(error) => error.io_error_kind(),
        None => cause.downcast_ref::<io::Error>().map(io::Error::kind),
    });
    // Connections to a controller fail as statuses, not as these.
    kind == Some(io::ErrorKind::BrokenPipe)
}

/// As `print!`, with an error instead of a panic.
macro_rules! out {
    ($($text:tt)*) => { $crate::out::write(format_args!($($text)*)) };
}

/// As `println!`, with an error instead of a panic.
macro_rules! outln {
    ($($text:tt)*) => { $crate::out::write(format_args!("{}\n", format_args!($($text)*))) };
}

/// Writes to standard error. Losing what is said there must never end the work.
pub(crate) fn tell(text: fmt::Arguments<'_>) {
    let _ = io::stderr().lock().write_fmt(text);
}

/// As `eprint!`, without the panic when nobody can be told.
macro_rules! err {
    ($($text:tt)*) => { $crate::out::tell(format_args!($($text)*)) };
}

/// As `eprintln!`, without the panic when nobody can be told.
macro_rules! errln {
    ($($text:tt)*) => { $crate::out::tell(format_args!("{}\n", format_args!($($text)*))) };
}
