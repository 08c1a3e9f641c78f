//! Generated protobuf and gRPC types.
//!
//! The protocol is documented in the `.proto` files beside this crate. Generated types stop at the service edge: the
//! crates that speak the protocol turn them into domain types.

/// Types of `tutti.worker.v1`: controller and workers.
pub mod worker {
    #![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
    include!("generated/tutti.worker.v1.rs");
}

/// Types of `tutti.compose.v1`: clients.
pub mod compose {
    #![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
    include!("generated/tutti.compose.v1.rs");
}

/// The encoded `FileDescriptorSet` of all services: what the policy table is checked against.
pub const DESCRIPTORS: &[u8] = include_bytes!("generated/descriptors.bin");

/// Lowest and highest version of the worker protocol that this build speaks.
pub const WORKER_PROTOCOL: std::ops::RangeInclusive<u32> = 1..=1;
