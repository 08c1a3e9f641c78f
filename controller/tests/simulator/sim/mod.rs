//! A simulator of the pure core: controllers, workers, store, clock and network as data, in one thread, from one seed.
//!
//! The core is the real one: `lifecycle`, `schedule`, stored forms of records, `plan::close`, and the history with its
//! checker. The shells around it are modelled after `engine/` and the worker's `state.rs`, with a network that loses,
//! repeats, delays and reorders, and with processes that die, stop and come back at any point between two
//! transactions. Every run ends with the checks of `verdict`.

mod engine;
mod network;
mod plans;
mod random;
mod regressions;
mod sabotage;
mod store;
mod verdict;
mod worker;
mod world;

pub(crate) use plans::{Fate, chain_of, independent};
pub(crate) use regressions::Regressions;
pub(crate) use sabotage::Sabotage;
pub(crate) use verdict::{Summary, run_seed};
pub(crate) use world::{Profile, World};
