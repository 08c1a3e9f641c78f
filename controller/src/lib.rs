//! The controller: plan, lifecycle and schedule, and the shells around them.
//!
//! `plan`, `lifecycle` and `schedule` are pure: they take state, events and the time, and return state, effects and
//! reasons. Everything that touches store, network or disk is a shell around them.

pub mod accept;
pub mod engine;
pub mod fsck;
pub mod history;
pub mod latest;
pub mod lifecycle;
pub mod nearest;
pub mod plan;
pub mod publish;
pub mod rpc;
pub mod run;
pub mod schedule;
pub mod server;
pub mod service;
pub mod spec;
pub mod volume;
