//! The controller: plan, lifecycle and schedule, and the shells around them.
//!
//! `plan`, `lifecycle` and `schedule` are pure: they take state, events and the time, and return state, effects and
//! reasons. Everything that touches store, network or disk is a shell around them.

pub mod lifecycle;
pub mod plan;
pub mod schedule;
pub mod spec;
