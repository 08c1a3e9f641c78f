//! The gRPC services: they turn wire messages into commands for the engine and its answers into wire messages.

mod compose;
mod fsck;
mod wire;
mod worker;

pub use compose::ComposeApi;
pub(crate) use wire::{fence_from, fence_to, timestamp};
pub use worker::WorkerApi;
