//! The worker: session, staging, and one runner per job kind.
