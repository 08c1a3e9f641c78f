//! The names of the fields of spans and events, the same in every crate.
//!
//! `tracing` wants literals in its macros; these constants are for code that looks fields up, and the one list to read.

/// The compose.
pub const COMPOSE_ID: &str = "compose_id";
/// The job within its compose.
pub const JOB: &str = "job";
/// The kind of the job.
pub const KIND: &str = "kind";
/// The attempt of the job, from 1.
pub const ATTEMPT: &str = "attempt";
/// The worker.
pub const WORKER_ID: &str = "worker_id";
/// The architecture.
pub const ARCH: &str = "arch";
/// The variant.
pub const VARIANT: &str = "variant";
/// The package.
pub const NEVRA: &str = "nevra";
/// The fence of an attempt.
pub const FENCE: &str = "fence";
/// The epoch of the controller.
pub const EPOCH: &str = "epoch";
/// An error, as text.
pub const ERROR: &str = "error";
/// The name of an asynchronous task.
pub const TASK: &str = "task";
