//! Watching by reading the revision log: nothing is queued per watcher, so a slow reader costs nothing and loses
//! nothing until compaction overtakes it.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::error::StoreError;
use crate::store::WatchSource;
use crate::types::{Revision, WatchBatch};

/// The most changes read from the log at once, which bounds what a watcher holds.
pub(crate) const LOG_CHUNK: usize = 256;

/// Part of the log.
pub(crate) struct LogChunk {
    /// The revisions that concern the watcher.
    pub(crate) batches: Vec<WatchBatch>,
    /// Where to read on.
    pub(crate) next: Revision,
}

/// A store whose log can be read.
#[async_trait]
pub(crate) trait LogSource: Send + Sync + 'static {
    /// Reads whole revisions from `from` on, about [`LOG_CHUNK`] changes.
    async fn read_log(self: Arc<Self>, prefix: &[u8], from: Revision) -> Result<LogChunk, StoreError>;
}

/// A reader of the log.
pub(crate) struct LogWatcher<S> {
    source: Weak<S>,
    revision: watch::Receiver<Revision>,
    prefix: Vec<u8>,
    next: Revision,
    buffer: VecDeque<WatchBatch>,
}

impl<S> LogWatcher<S> {
    pub(crate) fn new(source: &Arc<S>, revision: watch::Receiver<Revision>, prefix: Vec<u8>, next: Revision) -> Self {
        Self { source: Arc::downgrade(source), revision, prefix, next, buffer: VecDeque::new() }
    }
}

fn gone() -> StoreError {
    StoreError::Unavailable { operation: "watch", reason: "the store is closed".to_owned() }
}

#[async_trait]
impl<S: LogSource> WatchSource for LogWatcher<S> {
    async fn next(&mut self) -> Result<WatchBatch, StoreError> {
        loop {
            if let Some(batch) = self.buffer.pop_front() {
                return Ok(batch);
            }
            let current = *self.revision.borrow_and_update();
            if self.next > current {
                self.revision.changed().await.map_err(|_| gone())?;
                continue;
            }
            let source = self.source.upgrade().ok_or_else(gone)?;
            let chunk = source.read_log(&self.prefix, self.next).await?;
            self.next = chunk.next;
            self.buffer.extend(chunk.batches);
        }
    }
}
