//! From package files to metadata, runner by runner.

mod chain;
mod packages;
mod repositories;
mod resume;
