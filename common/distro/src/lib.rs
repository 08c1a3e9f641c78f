//! Compose configuration, variants, comps, compose ids, tree layout and productmd metadata.

pub mod config;
