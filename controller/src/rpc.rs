//! What stands before every RPC: who may call it, how long it may take, how many may run.

mod guard;
mod policy;

pub use guard::{Guard, GuardLayer};
pub use policy::{POLICY, PolicyRow, Role, row};
