//! A small but real distribution, made from nothing: for the first look at Tutti, and for tests that need packages.
//!
//! [`Package`] writes one RPM file; [`catalogue`] says which packages the distribution has; [`write_demo`] writes them
//! as plain directories of RPMs, with variants, comps and a configuration. The same build time gives the same bytes.
//!
//! It has a writer of its own because the `rpm` crate's builder can write neither source packages nor `ExclusiveArch`
//! (rpm 0.30.2 `builder.rs` always writes `SOURCERPM`). It only writes: Tutti reads RPMs with `tutti-rpm`.

pub mod catalogue;
mod configuration;
mod cpio;
mod distribution;
mod header;
mod package;

pub use distribution::{Summary, write_demo};
pub use package::{Package, build_time};
