//! The `tutti` program.
fn main() {}
