//! The controller: plan, lifecycle and schedule, and the shells around them.
