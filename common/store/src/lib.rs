//! The state store: etcd's semantics over redb and memory.
//!
//! [`StateStore`] promises what etcd can do and no more, so that the farm's etcd can take the place of the embedded
//! file without a change above it. Two implementations stand here: [`RedbStore`] (one file, durable, the default of a
//! single machine) and [`MemoryStore`] (with fault hooks, for tests). One contract suite (`tests/contract`) runs
//! against both.
//!
//! The rules, each with its source in etcd (v3.4/3.5, `server/` tree):
//!
//! * One global revision, 1 when empty, one higher after each transaction that changed something; all changes of a
//!   transaction share it (`mvcc/kvstore_txn.go`: `storeTxnWrite.End`). A failed compare, or deleting what does not
//!   exist, changes nothing.
//! * A key carries its create revision, mod revision and version; a delete ends it, and a later put starts again at
//!   version 1 (`mvcc/key_index.go`). An absent key compares as create and mod revision 0 (`apply.go`: `applyCompare`).
//! * A transaction has at most [`MAX_TXN_OPERATIONS`] operations and compares and names no key twice
//!   (`api/v3rpc/key.go`: `checkTxnRequest`, `checkIntervals`; etcd's own limit is 128), and its keys and values fit
//!   [`MAX_TXN_BYTES`] (`--max-request-bytes`, `v3_server.go`: `ErrRequestTooLarge`).
//! * A read at a revision below the compacted one, or a watch from there, ends with
//!   [`ErrorKind::Compacted`] (`mvcc/kvstore.go`: `ErrCompacted`; `watcher_group.go`: `chooseAll`); one of a future
//!   revision is refused (`ErrFutureRev`).
//! * A lease that expires or is revoked deletes its keys in one revision (`lease/lessor.go`: `Revoke`); a put without a
//!   lease detaches the key (`mvcc/kvstore_txn.go`: `put`). A restarted store gives every lease its full TTL again, as a
//!   new etcd leader does (`lessor.go`: `Promote`): expiry may be late and is never early, and is therefore a hint of
//!   liveness and never a proof. Safety comes from compares alone.
//!
//! [`campaign`] elects a leader, whose key's create revision is the controller epoch, and a [`Writer`] commits its
//! transitions in groups, each fenced by that key.

mod check;
mod clock;
mod compact;
mod error;
mod leader;
mod lease;
mod memory;
mod owner;
mod redb;
mod store;
mod sweep;
mod types;
mod watch;
mod writer;

pub use crate::check::{MAX_KEY_BYTES, MAX_LEASE_TTL, MAX_PAGE, MAX_TXN_BYTES, MAX_TXN_OPERATIONS, MIN_LEASE_TTL};
pub use crate::clock::{Clock, ManualClock, SystemClock};
pub use crate::compact::{CompactionPolicy, Compactor};
pub use crate::error::{ErrorKind, StoreError};
pub use crate::leader::{Campaign, Epoch, Fence, Leadership, campaign};
pub use crate::memory::{MemoryStore, TxnFault};
pub use crate::owner::{TakeOver, is_stopped};
pub use crate::redb::RedbStore;
pub use crate::store::{StateStore, StateStoreExt, WatchSource};
pub use crate::types::{
    Compare, Event, KeyRange, KeyValue, Lease, LeaseId, Operation, Page, RangeRequest, Revision, Txn, TxnResult,
    WatchBatch,
};
pub use crate::writer::{MAX_BATCH_OPERATIONS, Writer, WriterError, WriterTask};
