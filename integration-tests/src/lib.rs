//! End-to-end tests with the real program and the real tools.
//!
//! The program is built beforehand, with failpoints: `cargo build -p tutti --features failpoints` (`.ci/test` does).
//! Functions here panic when something is not as it must be: they are the arms and legs of tests.
//!
//! * [`program`] runs `tutti` with a time limit; [`farm`] keeps a controller and workers running.
//! * [`supervised`] is a farm whose processes are killed and started again; [`chaos`] does that, and measures.
//! * [`scratch`] is a directory that is kept when its test fails; [`history`] checks those of all composes in it.
//! * [`sources`] makes what is composed: the demo distribution, real RPMs, generated corpora.
//! * [`stream`] reads `--format json`; [`compose`] looks at a finished compose; [`tree`] compares two.
//! * [`syscalls`] puts a fault at one system call of a compose; [`tracer`] does that to any program.
//! * [`judges`] asks dnf, createrepo_c and productmd.
//! * [`matrix`] kills a compose at each failpoint.

#![expect(clippy::panic, clippy::missing_panics_doc, reason = "a test's helpers fail the test")]

pub mod chaos;
pub mod compose;
pub mod corpus;
pub mod createrepo;
pub mod createrepo_bench;
pub mod farm;
pub mod history;
pub mod judges;
pub mod matrix;
pub mod measure;
pub mod odd_rpms;
pub mod program;
pub mod real_rpms;
pub mod scratch;
pub mod skip;
pub mod sources;
pub mod strace;
pub mod stream;
pub mod supervised;
pub mod syscalls;
pub mod tracer;
pub mod tree;
