//! Tracing set-up, OTLP export and trace context.
//!
//! [`init`] is called once by each program; libraries only use `tracing`. Lines go to stderr, spans also to an OTLP
//! collector when one is configured. [`current_traceparent`] and [`set_parent`] carry a trace across a message, in the
//! form of W3C Trace Context. [`task::spawn_named`] is the one way to start an asynchronous task.

mod context;
pub mod field;
mod init;
mod secret;
pub mod task;

pub use crate::context::{current_traceparent, set_parent, traceparent_of};
pub use crate::init::{Guard, InitError, LogFormat, TelemetryOptions, init};
pub use crate::secret::Secret;
