//! The worker: session with the controller, attempts as child processes, and one runner per job kind.
//!
//! Two programs live here. The *worker* ([`Worker::run`]) holds one session with the leading controller, accepts
//! offers, and starts each attempt as a child process that it can limit, watch and kill. The *child*
//! ([`child::main`], `tutti run-job`) confines itself to the attempt's inputs and staging directory, runs the one
//! function that the job's kind has in [`runners`], and reports over its standard output.
//!
//! Nothing here decides what is committed: a worker reports outcomes until the controller says Commit or Refused.

mod attempt;
pub mod child;
mod config;
pub mod error;
mod journal;
mod offer;
mod packs;
mod process;
pub mod report;
pub mod runner;
pub mod runners;
pub mod sandbox;
mod session;
mod state;
mod universes;
pub mod wire;
mod worker;

pub use config::{Records, Shutdown, StateGuard, WorkerConfig, WorkerError};
pub use error::{FailureClass, OrFail, RunnerError};
pub use runner::{Access, JobContext, Output, RunnerFn, Runners};
pub use session::Tls;
pub use wire::SandboxMode;
pub use worker::Worker;
