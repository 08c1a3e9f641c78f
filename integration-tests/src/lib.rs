//! End-to-end tests with the real program and the real tools.
