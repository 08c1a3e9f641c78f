//! Compose configuration, variants, comps, compose ids, tree layout and productmd metadata.

pub mod checksum_file;
pub mod compose_id;
pub mod comps;
pub mod config;
pub mod extra_files;
pub mod glob;
pub mod layout;
pub mod metadata;
pub mod tree_info;
pub mod variants;

#[cfg(test)]
mod testing;
mod xml;
