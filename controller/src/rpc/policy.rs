//! The policy table: RPC × role, with each call's deadline.
//!
//! Every RPC of the protocol has a row; a test reads the protocol's descriptors and fails for one that has none, and
//! the guard refuses a path without a row at run time.

use std::time::Duration;

/// What a peer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Runs jobs.
    Worker,
    /// Submits composes and retries or cancels them.
    Submitter,
    /// Looks.
    Viewer,
    /// Everything that is not a worker's.
    Admin,
}

impl Role {
    /// All roles: what the owner of the controller's own socket has.
    pub const ALL: [Self; 4] = [Self::Worker, Self::Submitter, Self::Viewer, Self::Admin];
}

/// One row of the table.
#[derive(Debug)]
pub struct PolicyRow {
    /// HTTP/2 path: `/package.Service/Method`.
    pub path: &'static str,
    /// Who may call it.
    pub roles: &'static [Role],
    /// Longest time for an answer; `None` for streams, which have deadlines of their own.
    pub deadline: Option<Duration>,
}

const WORKER: &[Role] = &[Role::Worker];
const LOOK: &[Role] = &[Role::Viewer, Role::Submitter, Role::Admin];
const CHANGE: &[Role] = &[Role::Submitter, Role::Admin];
const ADMIN: &[Role] = &[Role::Admin];
/// A read from memory.
const SHORT: Option<Duration> = Some(Duration::from_secs(10));
/// A change that is stored; a submitted spec may hold megabytes of comps.
const LONG: Option<Duration> = Some(Duration::from_secs(60));

const fn worker(path: &'static str, deadline: Option<Duration>) -> PolicyRow {
    PolicyRow { path, roles: WORKER, deadline }
}

const fn compose(path: &'static str, roles: &'static [Role], deadline: Option<Duration>) -> PolicyRow {
    PolicyRow { path, roles, deadline }
}

/// The table.
pub const POLICY: &[PolicyRow] = &[
    worker("/tutti.worker.v1.WorkerService/Session", None),
    worker("/tutti.worker.v1.WorkerService/Exchange", LONG),
    worker("/tutti.worker.v1.WorkerService/Write", None),
    worker("/tutti.worker.v1.WorkerService/QueryWriteStatus", SHORT),
    compose("/tutti.compose.v1.ComposeService/Submit", CHANGE, LONG),
    compose("/tutti.compose.v1.ComposeService/List", LOOK, SHORT),
    compose("/tutti.compose.v1.ComposeService/Show", LOOK, SHORT),
    compose("/tutti.compose.v1.ComposeService/Watch", LOOK, None),
    compose("/tutti.compose.v1.ComposeService/Logs", LOOK, None),
    compose("/tutti.compose.v1.ComposeService/Cancel", CHANGE, LONG),
    compose("/tutti.compose.v1.ComposeService/Retry", CHANGE, LONG),
    compose("/tutti.compose.v1.ComposeService/Why", LOOK, SHORT),
    compose("/tutti.compose.v1.ComposeService/Fsck", LOOK, None),
    compose("/tutti.compose.v1.ComposeService/ListWorkers", LOOK, SHORT),
    compose("/tutti.compose.v1.ComposeService/DrainWorker", ADMIN, SHORT),
];

/// The row of a path.
pub fn row(path: &str) -> Option<&'static PolicyRow> {
    POLICY.iter().find(|row| row.path == path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;
    use prost_types::FileDescriptorSet;

    #[test]
    fn every_rpc_has_one_row_and_every_row_an_rpc() {
        let set = FileDescriptorSet::decode(tutti_proto::DESCRIPTORS).unwrap();
        let mut paths = Vec::new();
        for file in &set.file {
            for service in &file.service {
                for method in &service.method {
                    paths.push(format!("/{}.{}/{}", file.package(), service.name(), method.name()));
                }
            }
        }
        let mut rows: Vec<_> = POLICY.iter().map(|row| row.path.to_owned()).collect();
        paths.sort();
        rows.sort();
        assert!(!paths.is_empty());
        assert_eq!(paths, rows);
    }
}
